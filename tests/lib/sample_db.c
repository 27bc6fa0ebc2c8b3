#include "tests/lib/sample_db.h"

#include "engine/base/codec.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define BIG_BYTES (5u << 20) /* more than a copy takes in one piece */

int sample_turned(void *arg, struct sop_slice a, struct sop_slice b)
{
    (void)arg;
    return sop_slice_cmp(b, a);
}

void sample_options(struct sop_db_options *options)
{
    static const struct sop_comparer turned = {.name = "turned", .compare = sample_turned};
    sop_db_options_init(options);
    options->manual = true;
    options->comparers = &turned;
    options->comparers_count = 1;
}

static struct sop_txn *begin(struct sop_db *db)
{
    struct sop_txn *txn = NULL;
    struct sop_err err = {0};
    ck_assert_msg(sop_txn_begin(&txn, db, NULL, &err) == 0, "%s", err.text);
    return txn;
}

static void commit(struct sop_txn *txn)
{
    struct sop_err err = {0};
    int rc = sop_txn_commit(&txn, NULL, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
}

static struct sop_store *make(struct sop_txn *txn, const char *name,
                              const struct sop_store_options *options)
{
    struct sop_store *store = NULL;
    struct sop_err err = {0};
    ck_assert_msg(sop_store_create(&store, txn, name, options, &err) == 0, "%s", err.text);
    return store;
}

static void add(struct sop_store *store, const char *key, const char *ride,
                struct sop_slice value)
{
    struct sop_err err = {0};
    struct sop_entry e = {.key = sop_slice_str(key),
                          .ride = sop_slice(ride, ride == NULL ? 0 : strlen(ride)),
                          .value = value};
    ck_assert_msg(sop_add(store, &e, &err) == 0, "%s", err.text);
}

static uint8_t *pattern(size_t bytes, unsigned seed)
{
    uint8_t *p = malloc(bytes);
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < bytes; i++) {
        p[i] = (uint8_t)((i * 31 + seed) ^ (i >> 8));
    }
    return p;
}

static void fill_plain(struct sop_db *db, unsigned items)
{
    char key[64];
    char value[64];
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.slot_length = 50; /* several levels with few items */
    o.description = "many small items";
    o.custom = sop_slice("\0\1\2", 3);
    struct sop_txn *txn = begin(db);
    struct sop_store *s = make(txn, "plain", &o);
    for (unsigned i = 0; i < items; i++) {
        (void)snprintf(key, sizeof key, "key %08u", i * 7919 % items);
        (void)snprintf(value, sizeof value, "value of %u", i);
        add(s, key, i % 3 == 0 ? "ride" : NULL, sop_slice_str(value));
    }
    sop_store_options_init(&o);
    (void)make(txn, "nothing in it", &o);
    commit(txn);
}

static void fill_twice(struct sop_db *db, unsigned items)
{
    char key[64];
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.unique = false;
    o.slot_length = 20;
    struct sop_txn *txn = begin(db);
    (void)make(txn, "twice", &o);
    commit(txn);
    for (unsigned round = 0; round < 5; round++) { /* ids of several transactions */
        struct sop_err err = {0};
        struct sop_store *s = NULL;
        txn = begin(db);
        ck_assert_msg(sop_store_open(&s, txn, "twice", &err) == 0, "%s", err.text);
        for (unsigned i = 0; i < items / 10 + 1; i++) {
            (void)snprintf(key, sizeof key, "%u", i);
            add(s, key, "r", sop_slice(&round, sizeof round));
        }
        commit(txn);
    }
}

static void fill_values(struct sop_db *db)
{
    char key[64];
    struct sop_err err = {0};
    struct sop_store_options o;
    struct sop_txn *txn = begin(db);
    sop_store_options_init(&o);
    o.values = SOP_VALUES_MEDIUM;
    o.blob_key = "blobs";
    struct sop_store *medium = make(txn, "medium", &o);
    sop_store_options_init(&o);
    o.values = SOP_VALUES_BIG;
    struct sop_store *big = make(txn, "big", &o);
    for (unsigned i = 0; i < 12; i++) {
        size_t bytes = i * 9001; /* the first is empty, the last over 64 KiB */
        uint8_t *p = pattern(bytes + 1, i);
        (void)snprintf(key, sizeof key, "m%02u", i);
        add(medium, key, NULL, sop_slice(p, bytes));
        free(p);
    }
    struct sop_value_writer *w = NULL;
    struct sop_entry e = {.key = sop_slice_str("film")};
    uint8_t *p = pattern(BIG_BYTES, 99);
    ck_assert_msg(sop_value_create(&w, big, SOP_PUT_ADD, &e, &err) == 0, "%s", err.text);
    for (size_t at = 0; at < BIG_BYTES; at += BIG_BYTES / 4) {
        ck_assert(sop_value_write(w, sop_slice(p + at, BIG_BYTES / 4), &err) == 0);
    }
    ck_assert_msg(sop_value_finish(&w, &err) == 0, "%s", err.text);
    free(p);
    commit(txn);
}

static void fill_typed(struct sop_db *db)
{
    struct sop_err err = {0};
    struct sop_store_options o;
    sop_store_options_init(&o);
    ck_assert(sop_key_schema_parse(&o.key, "int64 desc, string?", &err) == 0);
    o.cache_page_seconds = 7;
    struct sop_txn *txn = begin(db);
    struct sop_store *s = make(txn, "typed", &o);
    for (int64_t i = -50; i < 50; i++) {
        uint8_t bytes[64];
        struct sop_key_buf key = {.data = bytes, .room = sizeof bytes};
        struct sop_key_value v[2] = {{.type = SOP_KEY_INT64, .as.int64 = i},
                                     {.type = i % 2 == 0 ? SOP_KEY_NULL : SOP_KEY_STRING,
                                      .as.bytes = sop_slice_str("odd")}};
        ck_assert_msg(sop_key_encode(&o.key, v, 2, &key, &err) == 0, "%s", err.text);
        struct sop_entry e = {.key = sop_slice(bytes, key.len),
                              .value = sop_slice(&i, sizeof i)};
        ck_assert_msg(sop_add(s, &e, &err) == 0, "%s", err.text);
    }
    commit(txn);
}

void sample_fill_plain(struct sop_db *db, unsigned items)
{
    fill_plain(db, items);
    fill_twice(db, items);
    fill_values(db);
    fill_typed(db);
}

void sample_fill(struct sop_db *db, unsigned items)
{
    char key[64];
    sample_fill_plain(db, items);
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.comparer = "turned";
    o.slot_length = 10;
    struct sop_txn *txn = begin(db);
    struct sop_store *s = make(txn, "turned", &o);
    for (unsigned i = 0; i < items / 5 + 1; i++) {
        (void)snprintf(key, sizeof key, "%06u", i);
        add(s, key, NULL, sop_slice_str(key));
    }
    commit(txn);
}

/* ---- digest --------------------------------------------------------------------------------
 */

static void mix(struct sample_digest *d, const void *bytes, size_t len)
{
    uint64_t size = len;
    d->hash = sop_hash64(&size, sizeof size, d->hash);
    d->hash = sop_hash64(bytes, len, d->hash);
}

static void mix_text(struct sample_digest *d, const char *text)
{
    mix(d, text == NULL ? "" : text, text == NULL ? 0 : strlen(text));
}

static void digest_value(struct sample_digest *d, struct sop_cursor *c,
                         const struct sop_view *view)
{
    struct sop_err err = {0};
    d->value_bytes += view->value_bytes;
    if (view->loaded) {
        mix(d, view->value.data, view->value.len);
        return;
    }
    struct sop_value_reader *r = NULL;
    ck_assert_msg(sop_value_open(&r, c, &err) == 0, "%s", err.text);
    uint8_t *all = malloc((size_t)view->value_bytes + 1);
    size_t got = 0;
    ck_assert_ptr_nonnull(all);
    int rc = sop_value_read(r, 0, all, (size_t)view->value_bytes, &got, &err);
    ck_assert_msg(rc == 0 && got == view->value_bytes, "%s", err.text);
    mix(d, all, got);
    free(all);
    sop_value_close(&r);
}

struct digesting {
    struct sop_txn *txn;
    struct sample_digest *digest;
};

static int digest_store(void *arg, const struct sop_store_info *info, struct sop_err *err)
{
    struct digesting *g = arg;
    struct sample_digest *d = g->digest;
    struct sop_store *s = NULL;
    struct sop_cursor *c = NULL;
    const struct sop_store_options *o = &info->options;
    d->stores++;
    mix_text(d, info->name);
    mix_text(d, o->description);
    mix_text(d, o->comparer);
    mix_text(d, o->blob_key);
    mix(d, o->custom.data, o->custom.len);
    uint32_t facts[6] = {o->unique,           o->slot_length,
                         (uint32_t)o->values, o->cache_page_seconds,
                         o->key.fields_count, o->cache_value_seconds};
    mix(d, facts, sizeof facts);
    int rc = sop_store_open(&s, g->txn, info->name, err);
    rc = rc == 0 ? sop_cursor_open(&c, s, err) : rc;
    uint64_t items = 0;
    for (rc = rc == 0 ? sop_cursor_first(c, err) : rc; rc == 0; rc = sop_cursor_next(c, err)) {
        struct sop_view view;
        rc = sop_cursor_item(c, &view, err);
        if (rc != 0) {
            return rc;
        }
        items++;
        mix(d, view.key.data, view.key.len);
        mix(d, view.ride.data, view.ride.len);
        mix(d, view.id.bytes, sizeof view.id.bytes);
        digest_value(d, c, &view);
    }
    if (rc != SOP_ERR_END && rc != SOP_ERR_NOT_FOUND) {
        return rc;
    }
    ck_assert_uint_eq(items, info->items);
    d->items += items;
    sop_cursor_close(&c);
    return 0;
}

struct sample_digest sample_digest(struct sop_db *db)
{
    struct sample_digest d = {0};
    struct digesting g = {.digest = &d};
    struct sop_err err = {0};
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    ck_assert_msg(sop_txn_begin(&g.txn, db, &o, &err) == 0, "%s", err.text);
    int rc = sop_store_list(g.txn, "", digest_store, &g, &err);
    ck_assert_msg(rc == 0 || rc == SOP_ERR_END, "%s", err.text);
    sop_txn_rollback(&g.txn);
    return d;
}

void sample_same(struct sample_digest a, struct sample_digest b)
{
    ck_assert_uint_eq(a.stores, b.stores);
    ck_assert_uint_eq(a.items, b.items);
    ck_assert_uint_eq(a.value_bytes, b.value_bytes);
    ck_assert_uint_eq(a.hash, b.hash);
}
