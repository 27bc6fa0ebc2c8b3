/* LMDB: a copy-on-write B+-tree in a memory map; one writer at a time. */
#include "bench/engine.h"

#include <lmdb.h>
#include <stdlib.h>

#define READERS_SPARE 8
#define MAP_BYTES     (UINT64_C(1) << 30)
#define MAP_FACTOR    6 /* room for data that was replaced and not used again yet */

struct db {
    MDB_env *env;
    MDB_dbi dbi;
    unsigned put; /* flags of inserts */
};

struct session {
    struct db *db;
    MDB_txn *txn; /* for reads; reset between them outside of read_begin */
    MDB_cursor *cursor;
    bool reading, fresh;
};

static int failed(const char *what, int rc)
{
    return bench_fail("lmdb: %s: %s", what, mdb_strerror(rc));
}

static const char *version(void)
{
    return mdb_version(NULL, NULL, NULL);
}

static const char *describe(const struct bench_setup *s)
{
    return s->durable && s->ordered ? "MDB_NOTLS, fdatasync at commit, MDB_APPEND"
           : s->durable && s->cold  ? "MDB_NOTLS, MDB_NORDAHEAD"
           : s->durable ? "MDB_NOTLS, fdatasync at commit (default); reads renew one "
                          "transaction; cache: the system's"
                        : "MDB_NOTLS, MDB_NOSYNC (survives kill -9)";
}

static int open_env(struct db *db, const struct bench_setup *s)
{
    unsigned flags = MDB_NOTLS | (s->durable ? 0 : MDB_NOSYNC) | (s->cold ? MDB_NORDAHEAD : 0);
    MDB_txn *txn;
    int rc = mdb_env_create(&db->env);
    rc = rc == 0 ? mdb_env_set_mapsize(db->env, MAP_BYTES + MAP_FACTOR * s->data_bytes) : rc;
    rc = rc == 0 ? mdb_env_set_maxreaders(db->env, s->threads + READERS_SPARE) : rc;
    rc = rc == 0 ? mdb_env_open(db->env, s->folder, flags, 0644) : rc;
    rc = rc == 0 ? mdb_txn_begin(db->env, NULL, 0, &txn) : rc;
    if (rc == 0) {
        rc = mdb_dbi_open(txn, NULL, 0, &db->dbi);
        int ended = mdb_txn_commit(txn);
        rc = rc == 0 ? ended : rc;
    }
    return rc;
}

static int open_db(void **out, const struct bench_setup *s)
{
    struct db *db = calloc(1, sizeof *db);
    *out = db;
    if (db == NULL) {
        return bench_fail("lmdb: no memory");
    }
    db->put = s->ordered ? MDB_APPEND : MDB_NOOVERWRITE;
    int rc = open_env(db, s);
    return rc == 0 ? 0 : failed("open", rc);
}

static int close_db(void *arg)
{
    struct db *db = arg;
    mdb_env_close(db->env);
    free(db);
    return 0;
}

static int settle(void *arg)
{
    struct db *db = arg;
    int rc = mdb_env_sync(db->env, 1);
    return rc == 0 ? 0 : failed("sync", rc);
}

static int session_open(void **session, void *db)
{
    struct session *s = calloc(1, sizeof *s);
    *session = s;
    if (s == NULL) {
        return bench_fail("lmdb: no memory");
    }
    s->db = db;
    return 0;
}

static void session_close(void *session)
{
    struct session *s = session;
    if (s->cursor != NULL) {
        mdb_cursor_close(s->cursor);
    }
    if (s->txn != NULL) {
        mdb_txn_abort(s->txn);
    }
    free(s);
}

static MDB_val val(struct sop_slice s)
{
    return (MDB_val){s.len, (void *)(uintptr_t)s.data};
}

/* ---- reads ------------------------------------------------------------------------------ */

static int begin(struct session *s)
{
    if (s->txn != NULL) {
        int rc = mdb_txn_renew(s->txn);
        return rc == 0 ? 0 : failed("renew", rc);
    }
    int rc = mdb_txn_begin(s->db->env, NULL, MDB_RDONLY, &s->txn);
    return rc == 0 ? 0 : failed("begin to read", rc);
}

static int read_begin(void *session)
{
    struct session *s = session;
    s->reading = true;
    s->fresh = true;
    return begin(s);
}

static int read_end(void *session)
{
    struct session *s = session;
    s->reading = false;
    mdb_txn_reset(s->txn);
    return 0;
}

static int get(void *session, const struct bench_item *keys, size_t count,
               struct bench_seen *seen)
{
    struct session *s = session;
    int rc = s->reading ? 0 : begin(s);
    for (size_t i = 0; i < count && rc == 0; i++) {
        MDB_val key = val(keys[i].key), value;
        rc = mdb_get(s->txn, s->db->dbi, &key, &value);
        if (rc == 0) {
            bench_see(seen, keys[i].key.data, keys[i].key.len, value.mv_data, value.mv_size);
        } else if (rc == MDB_NOTFOUND) {
            seen->missing++;
            rc = 0;
        } else {
            failed("get", rc);
        }
    }
    if (!s->reading) {
        mdb_txn_reset(s->txn);
    }
    return rc;
}

static int cursor(struct session *s)
{
    if (s->cursor == NULL) {
        return mdb_cursor_open(s->txn, s->db->dbi, &s->cursor);
    }
    if (s->reading && !s->fresh) {
        return 0;
    }
    s->fresh = false;
    return mdb_cursor_renew(s->txn, s->cursor);
}

static int scan(void *session, struct sop_slice from, size_t limit, struct bench_seen *seen)
{
    struct session *s = session;
    int rc = s->reading ? 0 : begin(s);
    rc = rc == 0 ? cursor(s) : rc;
    MDB_val key = val(from), value;
    MDB_cursor_op move = from.len > 0 ? MDB_SET_RANGE : MDB_FIRST;
    while (rc == 0 && limit-- > 0) {
        rc = mdb_cursor_get(s->cursor, &key, &value, move);
        move = MDB_NEXT;
        if (rc == 0) {
            bench_see(seen, key.mv_data, key.mv_size, value.mv_data, value.mv_size);
        }
    }
    if (!s->reading) {
        mdb_txn_reset(s->txn);
    }
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : failed("scan", rc);
}

/* ---- changes ---------------------------------------------------------------------------- */

static int put_all(MDB_txn *txn, struct db *db, const struct bench_item *items, size_t count,
                   unsigned flags)
{
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        MDB_val key = val(items[i].key), value = val(items[i].value);
        rc = mdb_put(txn, db->dbi, &key, &value, flags);
    }
    return rc;
}

static int end(MDB_txn *txn, int rc, const char *what)
{
    if (rc == 0) {
        rc = mdb_txn_commit(txn);
    } else {
        mdb_txn_abort(txn);
    }
    return rc == 0 ? 0 : failed(what, rc);
}

static int put(struct session *s, const struct bench_item *items, size_t count, unsigned flags)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->db->env, NULL, 0, &txn);
    return rc == 0 ? end(txn, put_all(txn, s->db, items, count, flags), "put")
                   : failed("begin", rc);
}

static int insert(void *session, const struct bench_item *items, size_t count)
{
    struct session *s = session;
    return put(s, items, count, s->db->put);
}

static int update(void *session, const struct bench_item *items, size_t count)
{
    return put(session, items, count, 0);
}

static int remove_items(void *session, const struct bench_item *items, size_t count)
{
    struct session *s = session;
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->db->env, NULL, 0, &txn);
    if (rc != 0) {
        return failed("begin", rc);
    }
    for (size_t i = 0; i < count && rc == 0; i++) {
        MDB_val key = val(items[i].key);
        rc = mdb_del(txn, s->db->dbi, &key, NULL);
    }
    return end(txn, rc, "remove");
}

static int modify(void *session, const struct bench_item *item, struct bench_seen *seen)
{
    struct session *s = session;
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->db->env, NULL, 0, &txn);
    if (rc != 0) {
        return failed("begin", rc);
    }
    MDB_val key = val(item->key), value;
    rc = mdb_get(txn, s->db->dbi, &key, &value);
    if (rc == 0) {
        bench_see(seen, item->key.data, item->key.len, value.mv_data, value.mv_size);
        rc = put_all(txn, s->db, item, 1, 0);
    }
    return end(txn, rc, "modify");
}

const struct bench_engine bench_lmdb = {
    .name = "lmdb",
    .can = BENCH_READS | BENCH_REOPENS,
    .version = version,
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
