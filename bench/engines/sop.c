/* SOP through its public interface: one unique store, values in the pages. */
#include "bench/engine.h"
#include "sop/sop.h"

#include <stdlib.h>

#define STORE        "bench"
#define CHUNK        256 /* items of one call */
#define WRITES_BYTES (UINT64_C(4) << 30)

struct session {
    struct sop_db *db;
    struct sop_txn *reading; /* between read_begin and read_end */
    struct sop_txn *newest;  /* for reads outside */
    struct sop_store *store, *newest_store;
    struct sop_slice keys[CHUNK];
    struct sop_entry entries[CHUNK];
    struct sop_view views[CHUNK];
    bool found[CHUNK];
};

static int failed(const char *what, const struct sop_err *err)
{
    return bench_fail("sop: %s: %s [%s]", what, err->text, sop_err_name(err->code));
}

static const char *describe(const struct bench_setup *s)
{
    return s->durable ? "unique store, 2000 slots a page; SOP_DURABLE_COMMIT (synced at commit)"
                      : "unique store, 2000 slots a page; SOP_DURABLE_NONE (survives kill -9)";
}

static int make_store(void *arg, struct sop_txn *txn, struct sop_err *err)
{
    (void)arg;
    struct sop_store *store;
    return sop_store_create(&store, txn, STORE, NULL, err);
}

static int open_db(void **db, const struct bench_setup *s)
{
    struct sop_db_options options;
    sop_db_options_init(&options);
    options.create = s->create;
    options.durability = s->durable ? SOP_DURABLE_COMMIT : SOP_DURABLE_NONE;
    options.cache_bytes = s->cache_bytes;
    options.manual = s->manual;
    struct sop_db *opened = NULL;
    struct sop_err err;
    int rc = sop_db_open(&opened, s->folder, &options, &err);
    if (rc == 0 && s->create) {
        rc = sop_txn_run(opened, NULL, 0, make_store, NULL, NULL, &err);
    }
    *db = opened;
    return rc == 0 ? 0 : failed("open", &err);
}

static int close_db(void *arg)
{
    struct sop_db *db = arg;
    struct sop_err err;
    return sop_db_close(&db, &err) == 0 ? 0 : failed("close", &err);
}

static int settle(void *db)
{
    struct sop_err err;
    return sop_db_checkpoint(db, &err) == 0 ? 0 : failed("checkpoint", &err);
}

static int session_open(void **session, void *db)
{
    struct session *s = calloc(1, sizeof *s);
    *session = s;
    if (s == NULL) {
        return bench_fail("sop: no memory");
    }
    s->db = db;
    return 0;
}

static void session_close(void *session)
{
    struct session *s = session;
    sop_txn_rollback(&s->reading);
    sop_txn_rollback(&s->newest);
    free(s);
}

/* ---- changes ---------------------------------------------------------------------------- */

struct change {
    struct session *session;
    const struct bench_item *items;
    size_t count;
    struct bench_seen *seen; /* of modify */
    struct bench_seen before;
};

static int write_items(struct change *c, struct sop_txn *txn,
                       int (*body)(struct change *, struct sop_store *, struct sop_err *),
                       struct sop_err *err)
{
    struct sop_store *store;
    int rc = sop_store_open(&store, txn, STORE, err);
    return rc == 0 ? body(c, store, err) : rc;
}

static int add_all(struct change *c, struct sop_store *store, struct sop_err *err)
{
    struct sop_entry *entries = c->session->entries;
    int rc = 0;
    for (size_t at = 0; at < c->count && rc == 0; at += CHUNK) {
        size_t n = c->count - at < CHUNK ? c->count - at : CHUNK;
        for (size_t i = 0; i < n; i++) {
            entries[i].key = c->items[at + i].key;
            entries[i].value = c->items[at + i].value;
        }
        size_t done;
        rc = sop_add_many(store, entries, n, &done, err);
    }
    return rc;
}

static int upsert_all(struct change *c, struct sop_store *store, struct sop_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < c->count && rc == 0; i++) {
        struct sop_entry entry = {.key = c->items[i].key, .value = c->items[i].value};
        rc = sop_upsert(store, &entry, err);
    }
    return rc;
}

static int remove_all(struct change *c, struct sop_store *store, struct sop_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < c->count && rc == 0; i++) {
        rc = sop_remove(store, c->items[i].key, err);
    }
    return rc;
}

static int read_and_write(struct change *c, struct sop_store *store, struct sop_err *err)
{
    struct sop_view view;
    *c->seen = c->before; /* after a conflict this is not the first time */
    int rc = sop_get(store, c->items->key, &view, err);
    if (rc == 0) {
        bench_see(c->seen, c->items->key.data, c->items->key.len, view.value.data,
                  view.value.len);
        rc = upsert_all(c, store, err);
    }
    return rc;
}

static int add_body(void *arg, struct sop_txn *txn, struct sop_err *err)
{
    return write_items(arg, txn, add_all, err);
}

static int upsert_body(void *arg, struct sop_txn *txn, struct sop_err *err)
{
    return write_items(arg, txn, upsert_all, err);
}

static int remove_body(void *arg, struct sop_txn *txn, struct sop_err *err)
{
    return write_items(arg, txn, remove_all, err);
}

static int modify_body(void *arg, struct sop_txn *txn, struct sop_err *err)
{
    return write_items(arg, txn, read_and_write, err);
}

static int run(struct change *c, sop_txn_fn body, const char *what)
{
    struct sop_txn_options options;
    sop_txn_options_init(&options);
    options.memory_bytes = WRITES_BYTES;
    struct sop_err err;
    int rc = sop_txn_run(c->session->db, &options, 0, body, c, NULL, &err);
    return rc == 0 ? 0 : failed(what, &err);
}

static int insert(void *session, const struct bench_item *items, size_t count)
{
    struct change c = {.session = session, .items = items, .count = count};
    return run(&c, add_body, "insert");
}

static int update(void *session, const struct bench_item *items, size_t count)
{
    struct change c = {.session = session, .items = items, .count = count};
    return run(&c, upsert_body, "update");
}

static int remove_items(void *session, const struct bench_item *items, size_t count)
{
    struct change c = {.session = session, .items = items, .count = count};
    return run(&c, remove_body, "remove");
}

static int modify(void *session, const struct bench_item *item, struct bench_seen *seen)
{
    struct change c = {
        .session = session, .items = item, .count = 1, .seen = seen, .before = *seen};
    return run(&c, modify_body, "modify");
}

/* ---- reads ------------------------------------------------------------------------------ */

static int begin(struct sop_txn **txn, struct sop_store **store, struct sop_db *db,
                 enum sop_txn_mode mode)
{
    struct sop_txn_options options;
    sop_txn_options_init(&options);
    options.mode = mode;
    struct sop_err err;
    int rc = sop_txn_begin(txn, db, &options, &err);
    if (rc == 0) {
        rc = sop_store_open(store, *txn, STORE, &err);
    }
    return rc == 0 ? 0 : failed("begin to read", &err);
}

static int read_begin(void *session)
{
    struct session *s = session;
    return begin(&s->reading, &s->store, s->db, SOP_READ);
}

static int read_end(void *session)
{
    struct session *s = session;
    sop_txn_rollback(&s->reading);
    s->store = NULL;
    return 0;
}

static struct sop_store *store_to_read(struct session *s)
{
    if (s->store != NULL) {
        return s->store;
    }
    if (s->newest == NULL && begin(&s->newest, &s->newest_store, s->db, SOP_NO_CHECK) != 0) {
        return NULL;
    }
    return s->newest_store;
}

static int get_one(struct sop_store *store, struct sop_slice key, struct bench_seen *seen)
{
    struct sop_view view;
    struct sop_err err;
    int rc = sop_get(store, key, &view, &err);
    if (rc == SOP_ERR_NOT_FOUND) {
        seen->missing++;
        return 0;
    }
    if (rc != 0) {
        return failed("get", &err);
    }
    bench_see(seen, key.data, key.len, view.value.data, view.value.len);
    return 0;
}

static int get_chunk(struct session *s, struct sop_store *store, const struct bench_item *items,
                     size_t count, struct bench_seen *seen)
{
    struct sop_err err;
    for (size_t i = 0; i < count; i++) {
        s->keys[i] = items[i].key;
    }
    if (sop_get_many(store, s->keys, count, s->views, s->found, &err) != 0) {
        return failed("get_many", &err);
    }
    for (size_t i = 0; i < count; i++) {
        if (s->found[i]) {
            bench_see(seen, s->keys[i].data, s->keys[i].len, s->views[i].value.data,
                      s->views[i].value.len);
        } else {
            seen->missing++;
        }
    }
    return 0;
}

static int get(void *session, const struct bench_item *keys, size_t count,
               struct bench_seen *seen)
{
    struct session *s = session;
    struct sop_store *store = store_to_read(s);
    if (store == NULL) {
        return -1;
    }
    if (count == 1) {
        return get_one(store, keys->key, seen);
    }
    int rc = 0;
    for (size_t at = 0; at < count && rc == 0; at += CHUNK) {
        size_t n = count - at < CHUNK ? count - at : CHUNK;
        rc = get_chunk(s, store, keys + at, n, seen);
    }
    return rc;
}

static int scan(void *session, struct sop_slice from, size_t limit, struct bench_seen *seen)
{
    struct session *s = session;
    struct sop_store *store = store_to_read(s);
    struct sop_range *range = NULL;
    struct sop_range_options options;
    struct sop_err err;
    sop_range_options_init(&options);
    options.low = from.len > 0 ? from : (struct sop_slice){NULL, 0};
    int rc = store != NULL ? sop_range_open(&range, store, &options, &err) : -1;
    size_t got = 1;
    while (rc == 0 && limit > 0 && got > 0) {
        rc = sop_range_next(range, s->views, limit < CHUNK ? limit : CHUNK, &got, &err);
        for (size_t i = 0; rc == 0 && i < got; i++) {
            const struct sop_view *v = &s->views[i];
            bench_see(seen, v->key.data, v->key.len, v->value.data, v->value.len);
        }
        limit -= rc == 0 ? got : 0;
    }
    if (range != NULL) {
        sop_range_close(&range);
    }
    return rc == 0 ? 0 : failed("scan", &err);
}

const struct bench_engine bench_sop = {
    .name = "sop",
    .can = BENCH_READS | BENCH_REOPENS,
    .version = sop_version,
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
