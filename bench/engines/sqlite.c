/* SQLite with a write-ahead log; a connection per thread; one writer at a time. */
#include "bench/engine.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#define LARGE_VALUE 4096 /* from here on the values are out of the key's tree */
#define PAGE        4096
#define PAGE_LARGE  16384
#define CHECKPOINT  16384 /* pages of log */
#define CONNECTIONS 4     /* among which the cache is divided */
#define BUSY_MS     60000

struct db {
    char path[4352];
    struct bench_setup setup;
    pthread_mutex_t writer; /* queues better than SQLite's pauses */
    sqlite3 *main;
};

enum statement { BEGIN, COMMIT, READ, INSERT, UPDATE, REMOVE, GET, ALL, FROM, STATEMENTS };
static const char *const texts[STATEMENTS] = {
    "BEGIN IMMEDIATE",
    "COMMIT",
    "BEGIN",
    "INSERT INTO bench VALUES (?1, ?2)",
    "UPDATE bench SET v = ?2 WHERE k = ?1",
    "DELETE FROM bench WHERE k = ?1",
    "SELECT v FROM bench WHERE k = ?1",
    "SELECT k, v FROM bench ORDER BY k",
    "SELECT k, v FROM bench WHERE k >= ?1 ORDER BY k LIMIT ?2",
};

struct session {
    struct db *db;
    sqlite3 *sql;
    sqlite3_stmt *statements[STATEMENTS];
};

static int failed(sqlite3 *sql, const char *what)
{
    return bench_fail("sqlite: %s: %s", what, sql != NULL ? sqlite3_errmsg(sql) : "no memory");
}

static const char *describe(const struct bench_setup *s)
{
    return s->durable
               ? "WAL, synchronous=FULL, WITHOUT ROWID (values from 4K: rowid table, 16K "
                 "pages), 4K pages, wal_autocheckpoint 16384, prepared statements, writers "
                 "queue on a mutex"
               : "as durable, but synchronous=NORMAL (survives kill -9)";
}

static int run(sqlite3 *sql, const char *text)
{
    return sqlite3_exec(sql, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : failed(sql, text);
}

static int connect(sqlite3 **sql, const struct db *db)
{
    char text[512];
    const struct bench_setup *s = &db->setup;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(db->path, sql, flags, NULL) != SQLITE_OK) {
        return failed(*sql, "open");
    }
    sqlite3_busy_timeout(*sql, BUSY_MS);
    snprintf(text, sizeof text,
             "PRAGMA page_size = %d; PRAGMA journal_mode = WAL; PRAGMA synchronous = %s; "
             "PRAGMA wal_autocheckpoint = %d; PRAGMA cache_size = -%llu; "
             "PRAGMA temp_store = MEMORY",
             s->value_bytes >= LARGE_VALUE ? PAGE_LARGE : PAGE, s->durable ? "FULL" : "NORMAL",
             CHECKPOINT, (unsigned long long)(s->cache_bytes / CONNECTIONS >> 10));
    return run(*sql, text);
}

static int open_db(void **out, const struct bench_setup *s)
{
    struct db *db = calloc(1, sizeof *db);
    *out = db;
    if (db == NULL) {
        return bench_fail("sqlite: no memory");
    }
    db->setup = *s;
    snprintf(db->path, sizeof db->path, "%s/db", s->folder);
    pthread_mutex_init(&db->writer, NULL);
    int rc = connect(&db->main, db);
    if (rc == 0 && s->create) {
        rc = run(db->main,
                 s->value_bytes >= LARGE_VALUE
                     ? "CREATE TABLE bench (k BLOB PRIMARY KEY, v BLOB)"
                     : "CREATE TABLE bench (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID");
    }
    return rc;
}

static int close_db(void *arg)
{
    struct db *db = arg;
    int rc = sqlite3_close(db->main) == SQLITE_OK ? 0 : failed(db->main, "close");
    pthread_mutex_destroy(&db->writer);
    free(db);
    return rc;
}

static int settle(void *arg)
{
    struct db *db = arg;
    return run(db->main, "PRAGMA wal_checkpoint(TRUNCATE)");
}

static void session_close(void *session)
{
    struct session *s = session;
    for (size_t i = 0; i < STATEMENTS; i++) {
        sqlite3_finalize(s->statements[i]);
    }
    sqlite3_close(s->sql);
    free(s);
}

static int session_open(void **session, void *db)
{
    struct session *s = calloc(1, sizeof *s);
    *session = s;
    if (s == NULL) {
        return bench_fail("sqlite: no memory");
    }
    s->db = db;
    int rc = connect(&s->sql, s->db);
    for (size_t i = 0; i < STATEMENTS && rc == 0; i++) {
        if (sqlite3_prepare_v3(s->sql, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &s->statements[i], NULL) != SQLITE_OK) {
            rc = failed(s->sql, "prepare");
        }
    }
    return rc;
}

/* Runs a statement that gives no rows. */
static int step(struct session *s, enum statement which)
{
    int rc = sqlite3_step(s->statements[which]);
    sqlite3_reset(s->statements[which]);
    return rc == SQLITE_DONE ? 0 : failed(s->sql, texts[which]);
}

static void bind(sqlite3_stmt *statement, int at, struct sop_slice bytes)
{
    sqlite3_bind_blob64(statement, at, bytes.data, bytes.len, SQLITE_STATIC);
}

/* ---- reads ------------------------------------------------------------------------------ */

static int read_begin(void *session)
{
    return step(session, READ);
}

static int read_end(void *session)
{
    return step(session, COMMIT);
}

static int get(void *session, const struct bench_item *keys, size_t count,
               struct bench_seen *seen)
{
    struct session *s = session;
    sqlite3_stmt *select = s->statements[GET];
    for (size_t i = 0; i < count; i++) {
        bind(select, 1, keys[i].key);
        int rc = sqlite3_step(select);
        if (rc == SQLITE_ROW) {
            const void *value = sqlite3_column_blob(select, 0);
            bench_see(seen, keys[i].key.data, keys[i].key.len, value,
                      (size_t)sqlite3_column_bytes(select, 0));
        } else if (rc == SQLITE_DONE) {
            seen->missing++;
        } else {
            return failed(s->sql, "get");
        }
        sqlite3_reset(select);
    }
    return 0;
}

static int scan(void *session, struct sop_slice from, size_t limit, struct bench_seen *seen)
{
    struct session *s = session;
    sqlite3_stmt *select = s->statements[from.len > 0 ? FROM : ALL];
    if (from.len > 0) {
        bind(select, 1, from);
        sqlite3_bind_int64(select, 2, (sqlite3_int64)limit);
    }
    int rc = SQLITE_ROW;
    for (; limit > 0 && (rc = sqlite3_step(select)) == SQLITE_ROW; limit--) {
        const void *key = sqlite3_column_blob(select, 0);
        const void *value = sqlite3_column_blob(select, 1);
        bench_see(seen, key, (size_t)sqlite3_column_bytes(select, 0), value,
                  (size_t)sqlite3_column_bytes(select, 1));
    }
    sqlite3_reset(select);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : failed(s->sql, "scan");
}

/* ---- changes ---------------------------------------------------------------------------- */

static int each(struct session *s, enum statement which, const struct bench_item *items,
                size_t count)
{
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        bind(s->statements[which], 1, items[i].key);
        if (which != REMOVE) {
            bind(s->statements[which], 2, items[i].value);
        }
        rc = step(s, which);
    }
    return rc;
}

static int change(struct session *s, enum statement which, const struct bench_item *items,
                  size_t count, struct bench_seen *seen)
{
    pthread_mutex_lock(&s->db->writer);
    int rc = step(s, BEGIN);
    if (rc == 0 && seen != NULL) {
        rc = get(s, items, count, seen);
    }
    rc = rc == 0 ? each(s, which, items, count) : rc;
    rc = rc == 0 ? step(s, COMMIT) : rc;
    pthread_mutex_unlock(&s->db->writer);
    return rc;
}

static int insert(void *session, const struct bench_item *items, size_t count)
{
    return change(session, INSERT, items, count, NULL);
}

static int update(void *session, const struct bench_item *items, size_t count)
{
    return change(session, UPDATE, items, count, NULL);
}

static int remove_items(void *session, const struct bench_item *items, size_t count)
{
    return change(session, REMOVE, items, count, NULL);
}

static int modify(void *session, const struct bench_item *item, struct bench_seen *seen)
{
    return change(session, UPDATE, item, 1, seen);
}

const struct bench_engine bench_sqlite = {
    .name = "sqlite",
    .can = BENCH_READS | BENCH_REOPENS,
    .version = sqlite3_libversion,
    .describe = describe,
    .open = open_db,
    .close = close_db,
    .settle = settle,
    .session_open = session_open,
    .session_close = session_close,
    .insert = insert,
    .update = update,
    .remove = remove_items,
    .read_begin = read_begin,
    .read_end = read_end,
    .get = get,
    .scan = scan,
    .modify = modify,
};
