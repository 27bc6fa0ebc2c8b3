/* RocksDB: a log-structured merge tree. A write batch is atomic, but isolates nothing. */
#include "bench/engine.h"

#include <rocksdb/c.h>
#include <stdlib.h>
#include <unistd.h>

#define MEMTABLE_BYTES  (64u << 20)
#define MEMTABLES       3
#define MEMTABLE_PART   8 /* of the cache, when cold */
#define BLOOM_BITS      10
#define BLOB_FROM_BYTES (16u << 10)
#define MANY            128 /* keys of one call */
#define REST_POLL_US    20000

struct db {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table;
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
    rocksdb_column_family_handle_t *family;
};

struct session {
    struct db *db;
    rocksdb_writebatch_t *batch;
    rocksdb_readoptions_t *read;
    const rocksdb_snapshot_t *snapshot;
    rocksdb_iterator_t *iterator; /* between read_begin and read_end */
    const char *keys[MANY];
    size_t lens[MANY];
    rocksdb_pinnableslice_t *values[MANY];
    char *errors[MANY];
};

static int failed(const char *what, char *message)
{
    if (message == NULL) {
        return 0;
    }
    bench_fail("rocksdb: %s: %s", what, message);
    rocksdb_free(message);
    return -1;
}

static const char *version(void)
{
    return BENCH_ROCKSDB_VERSION;
}

static const char *describe(const struct bench_setup *s)
{
    return s->cold
               ? "as durable, memtables an eighth of the cache, files opened for random access"
           : s->durable
               ? "WriteBatch, sync=true (not isolated), memtables 3 x 64M, LRU cache, bloom 10 "
                 "bits, no compression, blobs from 16K, 2 background jobs, pinned and batched "
                 "gets"
               : "as durable, but sync=false (survives kill -9)";
}

static void configure(struct db *db, const struct bench_setup *s)
{
    rocksdb_options_t *o = db->options = rocksdb_options_create();
    db->table = rocksdb_block_based_options_create();
    db->cache = rocksdb_cache_create_lru(s->cache_bytes);
    rocksdb_block_based_options_set_block_cache(db->table, db->cache);
    rocksdb_block_based_options_set_filter_policy(
        db->table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_block_based_options_set_format_version(db->table, 5);
    rocksdb_options_set_block_based_table_factory(o, db->table);
    rocksdb_options_set_create_if_missing(o, s->create);
    /* With little memory the memtables are small, too. */
    rocksdb_options_set_write_buffer_size(o, s->cold ? s->cache_bytes / MEMTABLE_PART
                                                     : MEMTABLE_BYTES);
    rocksdb_options_set_max_write_buffer_number(o, MEMTABLES);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_compression(o, rocksdb_no_compression);
    if (s->value_bytes >= BLOB_FROM_BYTES) {
        rocksdb_options_set_enable_blob_files(o, 1);
        rocksdb_options_set_min_blob_size(o, BLOB_FROM_BYTES);
    }
    if (s->cold) {
        rocksdb_options_set_advise_random_on_open(o, 1);
    }
    db->read = rocksdb_readoptions_create();
    db->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(db->write, s->durable);
}

static int open_db(void **out, const struct bench_setup *s)
{
    struct db *db = calloc(1, sizeof *db);
    char *error = NULL;
    *out = db;
    if (db == NULL) {
        return bench_fail("rocksdb: no memory");
    }
    configure(db, s);
    /* Opened by family: the C interface gives out no other handle of the default one, and
     * batched gets want a handle. */
    const char *name = "default";
    const rocksdb_options_t *options = db->options;
    db->db = rocksdb_open_column_families(db->options, s->folder, 1, &name, &options,
                                          &db->family, &error);
    if (failed("open", error) != 0) {
        return -1;
    }
    return 0;
}

static int close_db(void *arg)
{
    struct db *db = arg;
    rocksdb_column_family_handle_destroy(db->family);
    rocksdb_close(db->db);
    rocksdb_readoptions_destroy(db->read);
    rocksdb_writeoptions_destroy(db->write);
    rocksdb_options_destroy(db->options);
    rocksdb_block_based_options_destroy(db->table);
    rocksdb_cache_destroy(db->cache);
    free(db);
    return 0;
}

static bool busy(rocksdb_t *db)
{
    static const char *const names[] = {
        "rocksdb.num-running-compactions", "rocksdb.num-running-flushes",
        "rocksdb.compaction-pending", "rocksdb.mem-table-flush-pending"};
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && n == 0; i++) {
        if (rocksdb_property_int(db, names[i], &n) != 0) {
            n = 0;
        }
    }
    return n > 0;
}

static int settle(void *arg)
{
    struct db *db = arg;
    while (busy(db->db)) {
        usleep(REST_POLL_US);
    }
    return 0;
}

static int session_open(void **session, void *arg)
{
    struct session *s = calloc(1, sizeof *s);
    *session = s;
    if (s == NULL) {
        return bench_fail("rocksdb: no memory");
    }
    s->db = arg;
    s->batch = rocksdb_writebatch_create();
    s->read = rocksdb_readoptions_create();
    return 0;
}

static int read_end(void *session)
{
    struct session *s = session;
    if (s->iterator != NULL) {
        rocksdb_iter_destroy(s->iterator);
        s->iterator = NULL;
    }
    if (s->snapshot != NULL) {
        rocksdb_readoptions_set_snapshot(s->read, NULL);
        rocksdb_release_snapshot(s->db->db, s->snapshot);
        s->snapshot = NULL;
    }
    return 0;
}

static int read_begin(void *session)
{
    struct session *s = session;
    s->snapshot = rocksdb_create_snapshot(s->db->db);
    rocksdb_readoptions_set_snapshot(s->read, s->snapshot);
    return 0;
}

static void session_close(void *session)
{
    struct session *s = session;
    read_end(s);
    rocksdb_writebatch_destroy(s->batch);
    rocksdb_readoptions_destroy(s->read);
    free(s);
}

/* ---- reads ------------------------------------------------------------------------------ */

static void take(const struct bench_item *item, rocksdb_pinnableslice_t *slice,
                 struct bench_seen *seen)
{
    if (slice == NULL) {
        seen->missing++;
        return;
    }
    size_t len;
    const char *value = rocksdb_pinnableslice_value(slice, &len);
    bench_see(seen, item->key.data, item->key.len, value, len);
    rocksdb_pinnableslice_destroy(slice);
}

static int get_one(struct session *s, const struct bench_item *item, struct bench_seen *seen)
{
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(
        s->db->db, s->read, (const char *)item->key.data, item->key.len, &error);
    if (error == NULL) {
        take(item, slice, seen);
    }
    return failed("get", error);
}

static int get_some(struct session *s, const struct bench_item *items, size_t count,
                    struct bench_seen *seen)
{
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        s->keys[i] = (const char *)items[i].key.data;
        s->lens[i] = items[i].key.len;
    }
    rocksdb_batched_multi_get_cf(s->db->db, s->read, s->db->family, count, s->keys, s->lens,
                                 s->values, s->errors, false);
    for (size_t i = 0; i < count; i++) {
        if (s->errors[i] != NULL) {
            rc = failed("get", s->errors[i]);
        } else {
            take(&items[i], s->values[i], seen);
        }
    }
    return rc;
}

static int get(void *session, const struct bench_item *keys, size_t count,
               struct bench_seen *seen)
{
    if (count == 1) {
        return get_one(session, keys, seen);
    }
    int rc = 0;
    for (size_t at = 0; at < count && rc == 0; at += MANY) {
        rc = get_some(session, keys + at, count - at < MANY ? count - at : MANY, seen);
    }
    return rc;
}

static int scan(void *session, struct sop_slice from, size_t limit, struct bench_seen *seen)
{
    struct session *s = session;
    rocksdb_iterator_t *it = s->iterator;
    if (it == NULL) {
        it = rocksdb_create_iterator(s->db->db, s->read);
        s->iterator = s->snapshot != NULL ? it : NULL;
    }
    if (from.len > 0) {
        rocksdb_iter_seek(it, (const char *)from.data, from.len);
    } else {
        rocksdb_iter_seek_to_first(it);
    }
    for (; limit > 0 && rocksdb_iter_valid(it); limit--, rocksdb_iter_next(it)) {
        size_t key_len, value_len;
        const char *key = rocksdb_iter_key(it, &key_len);
        const char *value = rocksdb_iter_value(it, &value_len);
        bench_see(seen, key, key_len, value, value_len);
        if (limit == 1) {
            break;
        }
    }
    char *error = NULL;
    rocksdb_iter_get_error(it, &error);
    if (s->iterator == NULL) {
        rocksdb_iter_destroy(it);
    }
    return failed("scan", error);
}

/* ---- changes ---------------------------------------------------------------------------- */

static int write_batch(struct session *s)
{
    char *error = NULL;
    rocksdb_write(s->db->db, s->db->write, s->batch, &error);
    rocksdb_writebatch_clear(s->batch);
    return failed("write", error);
}

static int put(void *session, const struct bench_item *items, size_t count)
{
    struct session *s = session;
    for (size_t i = 0; i < count; i++) {
        rocksdb_writebatch_put(s->batch, (const char *)items[i].key.data, items[i].key.len,
                               (const char *)items[i].value.data, items[i].value.len);
    }
    return write_batch(s);
}

static int remove_items(void *session, const struct bench_item *items, size_t count)
{
    struct session *s = session;
    for (size_t i = 0; i < count; i++) {
        rocksdb_writebatch_delete(s->batch, (const char *)items[i].key.data, items[i].key.len);
    }
    return write_batch(s);
}

static int modify(void *session, const struct bench_item *item, struct bench_seen *seen)
{
    int rc = get_one(session, item, seen);
    return rc == 0 ? put(session, item, 1) : rc;
}

const struct bench_engine bench_rocksdb = {
    .name = "rocksdb",
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
