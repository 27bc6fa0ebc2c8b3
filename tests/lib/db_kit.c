/* Databases for tests; see db_kit.h. */
#include "tests/lib/db_kit.h"

#include <stdio.h>

void db_kit_init(struct db_kit *k)
{
    struct sop_db_options o;
    memset(k, 0, sizeof *k);
    tmpdir_init(&k->dir);
    sop_db_options_init(&o);
    o.create = true;
    OK(sop_db_open(&k->db, k->dir.path, &o, &k->err), k->err);
}

void db_kit_fini(struct db_kit *k)
{
    OK(sop_db_close(&k->db, &k->err), k->err);
    tmpdir_fini(&k->dir);
}

void db_kit_reopen(struct db_kit *k)
{
    OK(sop_db_close(&k->db, &k->err), k->err);
    OK(sop_db_open(&k->db, k->dir.path, NULL, &k->err), k->err);
}

struct sop_txn *db_kit_begin(struct db_kit *k, enum sop_txn_mode mode)
{
    struct sop_txn *t = NULL;
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.mode = mode;
    OK(sop_txn_begin(&t, k->db, &o, &k->err), k->err);
    return t;
}

void db_kit_commit(struct db_kit *k, struct sop_txn *t)
{
    struct sop_commit done;
    OK(sop_txn_commit(&t, &done, &k->err), k->err);
    ck_assert_ptr_null(t);
}

void db_kit_conflicts(struct db_kit *k, struct sop_txn *t)
{
    FAILS(CONFLICT, sop_txn_commit(&t, NULL, &k->err), k->err);
    ck_assert_ptr_null(t);
}

void db_kit_store(struct db_kit *k, const char *name, const struct sop_store_options *o)
{
    struct sop_store *s = NULL;
    struct sop_txn *t = db_kit_begin(k, SOP_WRITE);
    OK(sop_store_create(&s, t, name, o, &k->err), k->err);
    db_kit_commit(k, t);
}

struct sop_store *db_kit_open(struct db_kit *k, struct sop_txn *t, const char *name)
{
    struct sop_store *s = NULL;
    OK(sop_store_open(&s, t, name, &k->err), k->err);
    return s;
}

void db_kit_add(struct db_kit *k, struct sop_store *s, const char *key, const char *value)
{
    struct sop_entry e = {.key = text(key), .value = text(value)};
    OK(sop_add(s, &e, &k->err), k->err);
}

const char *db_kit_get(struct db_kit *k, struct sop_store *s, const char *key)
{
    static char copy[4096];
    struct sop_view v;
    int rc = sop_get(s, text(key), &v, &k->err);
    if (rc == SOP_ERR_NOT_FOUND) {
        return NULL;
    }
    OK(rc, k->err);
    ck_assert(v.loaded && v.value.len < sizeof copy);
    memcpy(copy, v.value.data, v.value.len);
    copy[v.value.len] = 0;
    return copy;
}

void db_kit_put(struct db_kit *k, const char *store, const char *key, const char *value)
{
    struct sop_txn *t = db_kit_begin(k, SOP_WRITE);
    struct sop_entry e = {.key = text(key), .value = text(value)};
    OK(sop_upsert(db_kit_open(k, t, store), &e, &k->err), k->err);
    db_kit_commit(k, t);
}

const char *db_kit_read(struct db_kit *k, const char *store, const char *key)
{
    struct sop_txn *t = db_kit_begin(k, SOP_READ);
    const char *value = db_kit_get(k, db_kit_open(k, t, store), key);
    db_kit_commit(k, t);
    return value;
}

uint64_t db_kit_count(struct db_kit *k, const char *store)
{
    uint64_t items = 0;
    struct sop_txn *t = db_kit_begin(k, SOP_READ);
    OK(sop_store_count(db_kit_open(k, t, store), false, &items, &k->err), k->err);
    db_kit_commit(k, t);
    return items;
}

static void finding(void *arg, int severity, const char *what)
{
    (void)arg;
    if (severity == 2) {
        printf("verify: %s\n", what);
    }
}

void db_kit_verify(struct db_kit *k)
{
    struct sop_verify_result result;
    OK(sop_db_verify(k->db, true, finding, NULL, NULL, &result, &k->err), k->err);
    ck_assert_uint_eq(result.errors, 0);
}
