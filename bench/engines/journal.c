/* The bound "journal": commits are made durable and forgotten. */
#include "bench/engines/log.h"

static const char *version(void)
{
    return "";
}

static const char *describe(const struct bench_setup *s)
{
    return s->durable ? "append + fdatasync to a pre-zeroed ring, grouped; not a database"
                      : "append to a pre-zeroed ring, grouped, not synced; not a database";
}

static int open_db(void **db, const struct bench_setup *s)
{
    struct bench_log *log;
    int rc = bench_log_open(&log, s);
    *db = log;
    return rc;
}

static int close_db(void *db)
{
    bench_log_close(db);
    return 0;
}

static int session_open(void **session, void *db)
{
    *session = db;
    return 0;
}

static void session_close(void *session)
{
    (void)session;
}

static int put(void *session, const struct bench_item *items, size_t count)
{
    return bench_log_append(session, BENCH_LOG_PUT, items, count);
}

static int remove_items(void *session, const struct bench_item *items, size_t count)
{
    return bench_log_append(session, BENCH_LOG_REMOVE, items, count);
}

const struct bench_engine bench_journal = {
    .name = "journal",
    .bound = true,
    .version = version,
    .describe = describe,
    .open = open_db,
    .close = close_db,
    .session_open = session_open,
    .session_close = session_close,
    .insert = put,
    .update = put,
    .remove = remove_items,
};
