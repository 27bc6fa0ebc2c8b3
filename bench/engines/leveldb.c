/* LevelDB: a log-structured merge tree. A write batch is atomic, but isolates nothing. */
#include "bench/engine.h"

#include <leveldb/c.h>
#include <stdio.h>
#include <stdlib.h>

#define MEMTABLE_BYTES (64u << 20)
#define MEMTABLE_PART  8 /* of the cache, when cold */
#define TABLE_BYTES    (16u << 20)
#define BLOOM_BITS     10

struct db {
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    leveldb_writeoptions_t *write;
};

struct session {
    struct db *db;
    leveldb_writebatch_t *batch;
    leveldb_readoptions_t *read;
    const leveldb_snapshot_t *snapshot;
    leveldb_iterator_t *iterator; /* between read_begin and read_end */
};

static int failed(const char *what, char *message)
{
    if (message == NULL) {
        return 0;
    }
    bench_fail("leveldb: %s: %s", what, message);
    leveldb_free(message);
    return -1;
}

static const char *version(void)
{
    static char text[32];
    snprintf(text, sizeof text, "%d.%d", leveldb_major_version(), leveldb_minor_version());
    return text;
}

static const char *describe(const struct bench_setup *s)
{
    return s->durable
               ? "WriteBatch, sync=true (not isolated), memtable 64M, tables of 16M, LRU "
                 "cache, bloom 10 bits, no compression"
               : "as durable, but sync=false (survives kill -9)";
}

static int open_db(void **out, const struct bench_setup *s)
{
    struct db *db = calloc(1, sizeof *db);
    char *error = NULL;
    *out = db;
    if (db == NULL) {
        return bench_fail("leveldb: no memory");
    }
    db->options = leveldb_options_create();
    db->cache = leveldb_cache_create_lru(s->cache_bytes);
    db->filter = leveldb_filterpolicy_create_bloom(BLOOM_BITS);
    leveldb_options_set_cache(db->options, db->cache);
    leveldb_options_set_filter_policy(db->options, db->filter);
    leveldb_options_set_create_if_missing(db->options, s->create);
    /* With little memory the memtable is small, too. */
    leveldb_options_set_write_buffer_size(db->options, s->cold ? s->cache_bytes / MEMTABLE_PART
                                                               : MEMTABLE_BYTES);
    leveldb_options_set_max_file_size(db->options, TABLE_BYTES);
    leveldb_options_set_compression(db->options, leveldb_no_compression);
    db->write = leveldb_writeoptions_create();
    leveldb_writeoptions_set_sync(db->write, s->durable);
    db->db = leveldb_open(db->options, s->folder, &error);
    return failed("open", error);
}

static int close_db(void *arg)
{
    struct db *db = arg;
    leveldb_close(db->db);
    leveldb_writeoptions_destroy(db->write);
    leveldb_options_destroy(db->options);
    leveldb_filterpolicy_destroy(db->filter);
    leveldb_cache_destroy(db->cache);
    free(db);
    return 0;
}

static int session_open(void **session, void *arg)
{
    struct session *s = calloc(1, sizeof *s);
    *session = s;
    if (s == NULL) {
        return bench_fail("leveldb: no memory");
    }
    s->db = arg;
    s->batch = leveldb_writebatch_create();
    s->read = leveldb_readoptions_create();
    return 0;
}

static int read_begin(void *session)
{
    struct session *s = session;
    s->snapshot = leveldb_create_snapshot(s->db->db);
    leveldb_readoptions_set_snapshot(s->read, s->snapshot);
    return 0;
}

static int read_end(void *session)
{
    struct session *s = session;
    if (s->iterator != NULL) {
        leveldb_iter_destroy(s->iterator);
        s->iterator = NULL;
    }
    if (s->snapshot != NULL) {
        leveldb_readoptions_set_snapshot(s->read, NULL);
        leveldb_release_snapshot(s->db->db, s->snapshot);
        s->snapshot = NULL;
    }
    return 0;
}

static void session_close(void *session)
{
    struct session *s = session;
    read_end(s);
    leveldb_writebatch_destroy(s->batch);
    leveldb_readoptions_destroy(s->read);
    free(s);
}

/* ---- reads ------------------------------------------------------------------------------ */

static int get(void *session, const struct bench_item *keys, size_t count,
               struct bench_seen *seen)
{
    struct session *s = session;
    for (size_t i = 0; i < count; i++) {
        char *error = NULL;
        size_t len;
        char *value = leveldb_get(s->db->db, s->read, (const char *)keys[i].key.data,
                                  keys[i].key.len, &len, &error);
        if (error != NULL) {
            return failed("get", error);
        }
        if (value == NULL) {
            seen->missing++;
            continue;
        }
        bench_see(seen, keys[i].key.data, keys[i].key.len, value, len);
        leveldb_free(value);
    }
    return 0;
}

static int scan(void *session, struct sop_slice from, size_t limit, struct bench_seen *seen)
{
    struct session *s = session;
    leveldb_iterator_t *it = s->iterator;
    if (it == NULL) {
        it = leveldb_create_iterator(s->db->db, s->read);
        s->iterator = s->snapshot != NULL ? it : NULL;
    }
    if (from.len > 0) {
        leveldb_iter_seek(it, (const char *)from.data, from.len);
    } else {
        leveldb_iter_seek_to_first(it);
    }
    while (limit > 0 && leveldb_iter_valid(it)) {
        size_t key_len, value_len;
        const char *key = leveldb_iter_key(it, &key_len);
        const char *value = leveldb_iter_value(it, &value_len);
        bench_see(seen, key, key_len, value, value_len);
        if (--limit > 0) {
            leveldb_iter_next(it);
        }
    }
    char *error = NULL;
    leveldb_iter_get_error(it, &error);
    if (s->iterator == NULL) {
        leveldb_iter_destroy(it);
    }
    return failed("scan", error);
}

/* ---- changes ---------------------------------------------------------------------------- */

static int write_batch(struct session *s)
{
    char *error = NULL;
    leveldb_write(s->db->db, s->db->write, s->batch, &error);
    leveldb_writebatch_clear(s->batch);
    return failed("write", error);
}

static int put(void *session, const struct bench_item *items, size_t count)
{
    struct session *s = session;
    for (size_t i = 0; i < count; i++) {
        leveldb_writebatch_put(s->batch, (const char *)items[i].key.data, items[i].key.len,
                               (const char *)items[i].value.data, items[i].value.len);
    }
    return write_batch(s);
}

static int remove_items(void *session, const struct bench_item *items, size_t count)
{
    struct session *s = session;
    for (size_t i = 0; i < count; i++) {
        leveldb_writebatch_delete(s->batch, (const char *)items[i].key.data, items[i].key.len);
    }
    return write_batch(s);
}

static int modify(void *session, const struct bench_item *item, struct bench_seen *seen)
{
    int rc = get(session, item, 1, seen);
    return rc == 0 ? put(session, item, 1) : rc;
}

const struct bench_engine bench_leveldb = {
    .name = "leveldb",
    .can = BENCH_READS | BENCH_REOPENS,
    .version = version,
    .describe = describe,
    .open = open_db,
    .close = close_db,
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
