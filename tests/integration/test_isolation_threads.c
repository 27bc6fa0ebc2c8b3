/* Many threads at once: disjoint keys never conflict, the first commits to an empty store lose
 * nothing, and a bank keeps its sum in every state that a reader sees. */
#include "tests/lib/db_kit.h"
#include "tests/lib/scale.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static struct db_kit kit;
static _Atomic int conflicts;
static _Atomic bool stop;

struct worker {
    pthread_t thread;
    int number;
    int rounds;
};

/* Adds one item a transaction; conflicts are counted, not retried. */
static void *disjoint(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < w->rounds; i++) {
        struct sop_err err = {0};
        struct sop_txn *t = NULL;
        struct sop_store *s = NULL;
        char key[32];
        (void)snprintf(key, sizeof key, "%d-%d", w->number, i);
        struct sop_entry e = {.key = text(key), .value = text("v")};
        OK(sop_txn_begin(&t, kit.db, NULL, &err), err);
        OK(sop_store_open(&s, t, "s", &err), err);
        OK(sop_add(s, &e, &err), err);
        int rc = sop_txn_commit(&t, NULL, &err);
        if (rc == SOP_ERR_CONFLICT) {
            atomic_fetch_add(&conflicts, 1);
        } else {
            OK(rc, err);
        }
    }
    return NULL;
}

static void run(void *(*body)(void *), int threads, int rounds)
{
    struct worker w[32];
    for (int i = 0; i < threads; i++) {
        w[i] = (struct worker){.number = i, .rounds = rounds};
        ck_assert_int_eq(pthread_create(&w[i].thread, NULL, body, &w[i]), 0);
    }
    for (int i = 0; i < threads; i++) {
        ck_assert_int_eq(pthread_join(w[i].thread, NULL), 0);
    }
}

START_TEST(eight_threads_on_disjoint_keys)
{
    int rounds = (int)test_scale(60, 2000, 20000);
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.slot_length = 16;
    db_kit_init(&kit);
    db_kit_store(&kit, "s", &o);
    run(disjoint, 8, rounds);
    ck_assert_int_eq(atomic_load(&conflicts), 0);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), 8u * (unsigned)rounds);
    db_kit_verify(&kit);
    db_kit_reopen(&kit);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), 8u * (unsigned)rounds);
    db_kit_verify(&kit);
    db_kit_fini(&kit);
}
END_TEST

START_TEST(sixteen_threads_make_the_first_commits)
{
    db_kit_init(&kit);
    for (int i = 0; i < (int)test_scale(3, 30, 300); i++) {
        struct sop_txn *t = NULL;
        db_kit_store(&kit, "s", NULL);
        run(disjoint, 16, 1);
        ck_assert_int_eq(atomic_load(&conflicts), 0);
        ck_assert_uint_eq(db_kit_count(&kit, "s"), 16);
        t = db_kit_begin(&kit, SOP_WRITE);
        OK(sop_store_remove(t, "s", &kit.err), kit.err);
        db_kit_commit(&kit, t);
    }
    db_kit_verify(&kit);
    db_kit_fini(&kit);
}
END_TEST

#define ACCOUNTS 20
#define EACH     100

static int amount_of(struct sop_store *s, int account)
{
    struct sop_err err = {0};
    struct sop_view v;
    char key[16];
    char number[16] = {0};
    (void)snprintf(key, sizeof key, "a%02d", account);
    OK(sop_get(s, text(key), &v, &err), err);
    ck_assert_uint_lt(v.value.len, sizeof number);
    memcpy(number, v.value.data, v.value.len);
    return atoi(number);
}

static void set_amount(struct sop_store *s, int account, int amount, bool add)
{
    struct sop_err err = {0};
    char key[16];
    char number[16];
    (void)snprintf(key, sizeof key, "a%02d", account);
    (void)snprintf(number, sizeof number, "%d", amount);
    struct sop_entry e = {.key = text(key), .value = text(number)};
    OK(add ? sop_add(s, &e, &err) : sop_update(s, &e, &err), err);
}

struct transfer {
    int from, to;
};

static int transfer(void *arg, struct sop_txn *t, struct sop_err *err)
{
    const struct transfer *x = arg;
    struct sop_store *s = NULL;
    int rc = sop_store_open(&s, t, "bank", err);
    ck_assert_int_eq(rc, 0);
    int from = amount_of(s, x->from);
    int to = amount_of(s, x->to);
    set_amount(s, x->from, from - 1, false);
    set_amount(s, x->to, to + 1, false);
    return 0;
}

static void *clerk(void *arg)
{
    struct worker *w = arg;
    uint64_t seed = (uint64_t)w->number * 7919 + 1;
    for (int i = 0; i < w->rounds; i++) {
        struct sop_err err = {0};
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        struct transfer x = {.from = (int)(seed >> 33) % ACCOUNTS};
        x.to = (x.from + 1 + (int)(seed >> 50) % (ACCOUNTS - 1)) % ACCOUNTS;
        OK(sop_txn_run(kit.db, NULL, 1000, transfer, &x, NULL, &err), err);
    }
    return NULL;
}

static void *auditor(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        struct sop_err err = {0};
        struct sop_txn_options o;
        struct sop_txn *t = NULL;
        struct sop_store *s = NULL;
        int sum = 0;
        sop_txn_options_init(&o);
        o.mode = SOP_READ;
        OK(sop_txn_begin(&t, kit.db, &o, &err), err);
        OK(sop_store_open(&s, t, "bank", &err), err);
        for (int i = 0; i < ACCOUNTS; i++) {
            sum += amount_of(s, i);
        }
        ck_assert_int_eq(sum, ACCOUNTS * EACH);
        OK(sop_txn_commit(&t, NULL, &err), err);
    }
    return NULL;
}

/* Upkeep at every moment: nobody may notice. */
static void *keeper(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        struct sop_err err = {0};
        OK(sop_db_checkpoint(kit.db, &err), err);
        OK(sop_db_compact(kit.db, &err), err);
    }
    return NULL;
}

START_TEST(the_bank_keeps_its_sum)
{
    pthread_t readers[2];
    pthread_t upkeep;
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.slot_length = 4;
    db_kit_init(&kit);
    db_kit_store(&kit, "bank", &o);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    for (int i = 0; i < ACCOUNTS; i++) {
        set_amount(db_kit_open(&kit, t, "bank"), i, EACH, true);
    }
    db_kit_commit(&kit, t);
    atomic_store(&stop, false);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&readers[i], NULL, auditor, NULL), 0);
    }
    ck_assert_int_eq(pthread_create(&upkeep, NULL, keeper, NULL), 0);
    run(clerk, 4, (int)test_scale(60, 1500, 15000));
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_join(readers[i], NULL), 0);
    }
    ck_assert_int_eq(pthread_join(upkeep, NULL), 0);
    db_kit_verify(&kit);
    db_kit_fini(&kit);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("isolation_threads");
    TCase *t = tcase_create("threads");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, eight_threads_on_disjoint_keys);
    tcase_add_test(t, sixteen_threads_make_the_first_commits);
    tcase_add_test(t, the_bank_keeps_its_sum);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
