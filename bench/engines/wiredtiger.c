/* WiredTiger: a B-tree with a redo log and snapshot isolation. */
#include "bench/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <wiredtiger.h>

#define TABLE "file:bench.wt"

struct session {
    WT_SESSION *session;
    WT_CURSOR *cursor;
    bool reading;
};

static int failed(const char *what, int rc)
{
    return rc == 0 ? 0 : bench_fail("wiredtiger: %s: %s", what, wiredtiger_strerror(rc));
}

static const char *version(void)
{
    return wiredtiger_version(NULL, NULL, NULL);
}

static const char *describe(const struct bench_setup *s)
{
    return s->durable
               ? "file B-tree, log of 128M files, transaction_sync=(enabled,method=fsync), "
                 "snapshot isolation, checkpoint each 60 s or 1 GB of log, no compression"
               : "as durable, but transaction_sync off: the log is buffered in the process "
                 "(does "
                 "not survive kill -9)";
}

static int open_db(void **out, const struct bench_setup *s)
{
    char config[512];
    WT_CONNECTION *connection = NULL;
    WT_SESSION *session;
    snprintf(config, sizeof config,
             "create,cache_size=%lluM,session_max=%u,log=(enabled=true,file_max=128MB),"
             "transaction_sync=(enabled=%s,method=fsync),checkpoint=(wait=60,log_size=1GB)",
             (unsigned long long)(s->cache_bytes >> 20), s->threads + 20,
             s->durable ? "true" : "false");
    int rc = wiredtiger_open(s->folder, NULL, config, &connection);
    *out = connection;
    if (rc != 0) {
        return failed("open", rc);
    }
    rc = connection->open_session(connection, NULL, "isolation=snapshot", &session);
    if (rc == 0) {
        rc = session->create(session, TABLE, "key_format=u,value_format=u");
        session->close(session, NULL);
    }
    return failed("create", rc);
}

static int close_db(void *db)
{
    WT_CONNECTION *connection = db;
    return failed("close", connection->close(connection, "leak_memory=true"));
}

static int settle(void *db)
{
    WT_CONNECTION *connection = db;
    WT_SESSION *session;
    int rc = connection->open_session(connection, NULL, NULL, &session);
    if (rc == 0) {
        rc = session->checkpoint(session, NULL);
        session->close(session, NULL);
    }
    return failed("checkpoint", rc);
}

static int session_open(void **out, void *db)
{
    WT_CONNECTION *connection = db;
    struct session *s = calloc(1, sizeof *s);
    *out = s;
    if (s == NULL) {
        return bench_fail("wiredtiger: no memory");
    }
    int rc = connection->open_session(connection, NULL, "isolation=snapshot", &s->session);
    if (rc == 0) {
        rc = s->session->open_cursor(s->session, TABLE, NULL, NULL, &s->cursor);
    }
    return failed("open a session", rc);
}

static void session_close(void *session)
{
    struct session *s = session;
    if (s->session != NULL) {
        s->session->close(s->session, NULL);
    }
    free(s);
}

static void set_key(WT_CURSOR *c, struct sop_slice key)
{
    WT_ITEM item = {.data = key.data, .size = key.len};
    c->set_key(c, &item);
}

static void set_value(WT_CURSOR *c, struct sop_slice value)
{
    WT_ITEM item = {.data = value.data, .size = value.len};
    c->set_value(c, &item);
}

/* ---- reads ------------------------------------------------------------------------------ */

static int read_begin(void *session)
{
    struct session *s = session;
    return failed("begin", s->session->begin_transaction(s->session, NULL));
}

static int read_end(void *session)
{
    struct session *s = session;
    return failed("end", s->session->commit_transaction(s->session, NULL));
}

static int get_one(WT_CURSOR *c, struct sop_slice key, struct bench_seen *seen)
{
    WT_ITEM value;
    set_key(c, key);
    int rc = c->search(c);
    if (rc == WT_NOTFOUND) {
        seen->missing++;
        return 0;
    }
    rc = rc == 0 ? c->get_value(c, &value) : rc;
    if (rc == 0) {
        bench_see(seen, key.data, key.len, value.data, value.size);
    }
    return rc;
}

static int get(void *session, const struct bench_item *keys, size_t count,
               struct bench_seen *seen)
{
    struct session *s = session;
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = get_one(s->cursor, keys[i].key, seen);
    }
    s->cursor->reset(s->cursor);
    return failed("get", rc);
}

static int first(WT_CURSOR *c, struct sop_slice from)
{
    int exact = 0;
    if (from.len == 0) {
        return c->next(c);
    }
    set_key(c, from);
    int rc = c->search_near(c, &exact);
    return rc == 0 && exact < 0 ? c->next(c) : rc;
}

static int scan(void *session, struct sop_slice from, size_t limit, struct bench_seen *seen)
{
    struct session *s = session;
    WT_CURSOR *c = s->cursor;
    WT_ITEM key, value;
    int rc = first(c, from);
    while (rc == 0 && limit > 0) {
        rc = c->get_key(c, &key);
        rc = rc == 0 ? c->get_value(c, &value) : rc;
        if (rc == 0) {
            bench_see(seen, key.data, key.size, value.data, value.size);
            rc = --limit > 0 ? c->next(c) : 0;
        }
    }
    c->reset(c);
    return rc == WT_NOTFOUND ? 0 : failed("scan", rc);
}

/* ---- changes ---------------------------------------------------------------------------- */

static int put_all(WT_CURSOR *c, const struct bench_item *items, size_t count)
{
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        set_key(c, items[i].key);
        set_value(c, items[i].value);
        rc = c->insert(c); /* overwrites */
    }
    return rc;
}

static int remove_all(WT_CURSOR *c, const struct bench_item *items, size_t count)
{
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        set_key(c, items[i].key);
        rc = c->remove(c);
    }
    return rc;
}

enum what { PUT, REMOVE, MODIFY };

/* Runs one transaction; again after a conflict. */
static int change(struct session *s, enum what what, const struct bench_item *items,
                  size_t count, struct bench_seen *seen)
{
    WT_SESSION *session = s->session;
    int rc;
    do {
        rc = session->begin_transaction(session, NULL);
        if (rc == 0 && what == MODIFY) {
            struct bench_seen before = *seen;
            rc = get_one(s->cursor, items->key, seen);
            rc = rc == 0 ? put_all(s->cursor, items, count) : rc;
            if (rc != 0) {
                *seen = before;
            }
        } else if (rc == 0) {
            rc = (what == PUT ? put_all : remove_all)(s->cursor, items, count);
        }
        s->cursor->reset(s->cursor);
        if (rc == 0) {
            rc = session->commit_transaction(session, NULL);
        } else {
            session->rollback_transaction(session, NULL);
        }
    } while (rc == WT_ROLLBACK);
    return failed("commit", rc);
}

static int put(void *session, const struct bench_item *items, size_t count)
{
    return change(session, PUT, items, count, NULL);
}

static int remove_items(void *session, const struct bench_item *items, size_t count)
{
    return change(session, REMOVE, items, count, NULL);
}

static int modify(void *session, const struct bench_item *item, struct bench_seen *seen)
{
    return change(session, MODIFY, item, 1, seen);
}

const struct bench_engine bench_wiredtiger = {
    .name = "wiredtiger",
    .can = BENCH_READS | BENCH_REOPENS,
    .version = version,
    .describe = describe,
    .open = open_db,
    .close = close_db,
    .settle = settle,
    .session_open = session_open,
    .session_close = session_close,
    .insert = put,
    .update = put,
    .remove = remove_items,
    .read_begin = read_begin,
    .read_end = read_end,
    .get = get,
    .scan = scan,
    .modify = modify,
};
