/* Batches of a known make-up: a transaction that leads is held back until the others have
 * queued behind it, so that these are committed as one batch, in a known order. */
#include "engine/db/db_int.h"
#include "tests/lib/db_kit.h"

#include <pthread.h>
#include <sched.h>

#define BATCH 3

static struct db_kit kit;

static void setup(void)
{
    db_kit_init(&kit);
    db_kit_store(&kit, "x", NULL);
    db_kit_store(&kit, "y", NULL);
}

static void teardown(void)
{
    db_kit_fini(&kit);
}

struct member {
    pthread_t thread;
    struct sop_txn *txn;
    int rc;
};

static void *commit(void *arg)
{
    struct member *m = arg;
    struct sop_err err = {0};
    m->rc = sop_txn_commit(&m->txn, NULL, &err);
    return NULL;
}

static bool reached(struct sop_engine *e, size_t waiting)
{
    size_t count = 0;
    sop_mutex_lock(&e->queue);
    for (struct sop_txn *t = e->queue_first; t != NULL; t = t->queue_next) {
        count++;
    }
    bool there = e->leading && count == waiting;
    sop_mutex_unlock(&e->queue);
    return there;
}

/* Commits the transactions as one batch. */
static void commit_together(struct member *m, size_t count)
{
    struct member first = {.txn = db_kit_begin(&kit, SOP_WRITE)};
    struct sop_engine *e = kit.db->now->engine;
    uint64_t batches = 0;
    db_kit_add(&kit, db_kit_open(&kit, first.txn, "y"), "first", "");
    sop_mutex_lock(&e->commit);
    batches = atomic_load(&e->batches);
    ck_assert_int_eq(pthread_create(&first.thread, NULL, commit, &first), 0);
    while (!reached(e, 0)) {
        sched_yield();
    }
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(pthread_create(&m[i].thread, NULL, commit, &m[i]), 0);
        while (!reached(e, i + 1)) {
            sched_yield();
        }
    }
    sop_mutex_unlock(&e->commit);
    ck_assert_int_eq(pthread_join(first.thread, NULL), 0);
    ck_assert_int_eq(first.rc, 0);
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(pthread_join(m[i].thread, NULL), 0);
    }
    ck_assert_uint_eq(atomic_load(&e->batches), batches + 2);
}

/* The first has only read the store that the others change. */
START_TEST(a_reader_of_a_store_goes_before_its_writers)
{
    struct member m[BATCH];
    for (size_t i = 0; i < BATCH; i++) {
        m[i].txn = db_kit_begin(&kit, SOP_WRITE);
    }
    ck_assert_ptr_null(db_kit_get(&kit, db_kit_open(&kit, m[0].txn, "x"), "unused"));
    db_kit_add(&kit, db_kit_open(&kit, m[0].txn, "y"), "a", "0");
    db_kit_add(&kit, db_kit_open(&kit, m[1].txn, "x"), "b", "1");
    db_kit_add(&kit, db_kit_open(&kit, m[2].txn, "x"), "c", "2");
    commit_together(m, BATCH);
    for (size_t i = 0; i < BATCH; i++) {
        ck_assert_int_eq(m[i].rc, 0);
    }
    ck_assert_str_eq(db_kit_read(&kit, "y", "a"), "0");
    ck_assert_str_eq(db_kit_read(&kit, "x", "b"), "1");
    ck_assert_str_eq(db_kit_read(&kit, "x", "c"), "2");
    ck_assert_uint_eq(db_kit_count(&kit, "x"), 2);
    db_kit_reopen(&kit);
    ck_assert_uint_eq(db_kit_count(&kit, "x"), 2);
    db_kit_verify(&kit);
}
END_TEST

/* Of three that insert one key the first wins; blind upserts of it go over each other. */
START_TEST(one_key_in_one_batch)
{
    struct member m[BATCH];
    struct sop_entry e = {.key = text("k"), .value = text("blind")};
    for (size_t i = 0; i < BATCH; i++) {
        m[i].txn = db_kit_begin(&kit, SOP_WRITE);
    }
    db_kit_add(&kit, db_kit_open(&kit, m[0].txn, "x"), "k", "0");
    db_kit_add(&kit, db_kit_open(&kit, m[1].txn, "x"), "k", "1");
    OK(sop_upsert(db_kit_open(&kit, m[2].txn, "x"), &e, &kit.err), kit.err);
    commit_together(m, BATCH);
    ck_assert_int_eq(m[0].rc, 0);
    ck_assert_int_eq(m[1].rc, SOP_ERR_CONFLICT);
    ck_assert_int_eq(m[2].rc, 0);
    ck_assert_str_eq(db_kit_read(&kit, "x", "k"), "blind");
    ck_assert_uint_eq(db_kit_count(&kit, "x"), 1);
    db_kit_verify(&kit);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("batch_threads");
    TCase *t = tcase_create("batch");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_reader_of_a_store_goes_before_its_writers);
    tcase_add_test(t, one_key_in_one_batch);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
