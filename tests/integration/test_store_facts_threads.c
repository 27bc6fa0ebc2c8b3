/* What a store says of itself is part of the state that a transaction sees: threads change a
 * store's description and durations while others open it, at old snapshots, at new ones and
 * without any. Facts that are kept for all (engine/db/card.h) must never show through in a
 * state that they do not belong to.
 *
 * Every change writes one number three times, in one transaction: as description, as
 * cache_info_seconds and as an item of another store. Whoever sees one sees the others. */
#include "tests/lib/api_kit.h"
#include "tests/lib/scale.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define CHANGERS 2
#define READERS  4
#define BEHIND   3u /* changes that an old snapshot waits for before it opens the store */

static struct db_kit kit;
static _Atomic uint64_t committed; /* the newest number that is surely there */
static _Atomic uint64_t looks[3];  /* by enum kind */
static _Atomic bool stop;

enum kind { NEW, OLD, HEAD };

static uint64_t number_in(struct sop_txn *t)
{
    struct sop_err err = {0};
    struct sop_store *s = NULL;
    struct sop_view v;
    uint64_t n = 0;
    OK(sop_store_open(&s, t, "numbers", &err), err);
    OK(sop_get(s, text("n"), &v, &err), err);
    ck_assert_uint_eq(v.value.len, sizeof n);
    memcpy(&n, v.value.data, sizeof n);
    return n;
}

/* The number that the store's facts say; all of them the same one. */
static uint64_t described_in(struct sop_txn *t)
{
    struct sop_err err = {0};
    struct sop_store *s = NULL;
    struct sop_store_info info;
    OK(sop_store_open(&s, t, "s", &err), err);
    OK(sop_store_info(s, &info, &err), err);
    uint64_t n = strtoull(info.options.description, NULL, 10);
    if (info.options.cache_info_seconds != n ||
        !is(info.options.custom, info.options.description)) {
        ck_abort_msg("facts of two changes: \"%s\", %u", info.options.description,
                     info.options.cache_info_seconds);
    }
    return n;
}

static int change(void *arg, struct sop_txn *t, struct sop_err *err)
{
    uint64_t *n = arg;
    struct sop_store *s = NULL;
    struct sop_store *numbers = NULL;
    struct sop_store_options o;
    char description[24];
    *n = number_in(t) + 1;
    ck_assert_uint_eq(described_in(t) + 1, *n);
    (void)snprintf(description, sizeof description, "%" PRIu64, *n);
    sop_store_options_init(&o);
    o.description = description;
    o.custom = text(description);
    o.cache_info_seconds = (uint32_t)*n;
    struct sop_entry e = {.key = text("n"), .value = bytes(n, sizeof *n)};
    int rc = sop_store_open(&s, t, "s", err);
    rc = rc == 0 ? sop_store_open(&numbers, t, "numbers", err) : rc;
    rc = rc == 0 ? sop_update(numbers, &e, err) : rc;
    rc = rc == 0 ? sop_store_change(s, &o, err) : rc;
    ck_assert_uint_eq(described_in(t), *n); /* its own change, too */
    return rc;
}

static void *changer(void *arg)
{
    unsigned rounds = *(unsigned *)arg;
    for (unsigned i = 0; i < rounds; i++) {
        struct sop_err err = {0};
        uint64_t n = 0;
        OK(sop_txn_run(kit.db, NULL, 100000, change, &n, NULL, &err), err);
        uint64_t before = atomic_load(&committed);
        while (before < n && !atomic_compare_exchange_weak(&committed, &before, n)) {
        }
    }
    return NULL;
}

/* One look, with a snapshot: `old`, so that the store was changed since. */
static void look_at_snapshot(enum sop_txn_mode mode, bool old)
{
    struct sop_err err = {0};
    struct sop_txn *t = NULL;
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.mode = mode;
    uint64_t least = atomic_load(&committed);
    OK(sop_txn_begin(&t, kit.db, &o, &err), err);
    uint64_t n = number_in(t);
    while (old && atomic_load(&committed) < n + BEHIND && !atomic_load(&stop)) {
        (void)sched_yield();
    }
    uint64_t described = described_in(t);
    if (described != n || n < least) {
        ck_abort_msg("a snapshot of change %" PRIu64 " (at least %" PRIu64
                     ") shows the facts of change %" PRIu64,
                     n, least, described);
    }
    sop_txn_rollback(&t);
}

/* Without a snapshot: each look sees what was committed before it, or newer. */
static void look_at_head(void)
{
    struct sop_err err = {0};
    struct sop_txn *t = NULL;
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.mode = SOP_NO_CHECK;
    OK(sop_txn_begin(&t, kit.db, &o, &err), err);
    for (unsigned i = 0; i < 4; i++) {
        uint64_t least = atomic_load(&committed);
        uint64_t described = described_in(t);
        uint64_t most = number_in(t);
        if (described < least || described > most) {
            ck_abort_msg("the head, between change %" PRIu64 " and %" PRIu64
                         ", shows the facts of change %" PRIu64,
                         least, most, described);
        }
    }
    sop_txn_rollback(&t);
}

static void *reader(void *arg)
{
    unsigned number = *(unsigned *)arg;
    for (unsigned i = number; !atomic_load(&stop); i++) {
        enum kind kind = i % 4 == 0 ? HEAD : i % 4 == 1 ? OLD : NEW;
        if (kind == HEAD) {
            look_at_head();
        } else {
            look_at_snapshot(i % 8 < 4 ? SOP_READ : SOP_WRITE, kind == OLD);
        }
        atomic_fetch_add(&looks[kind], 1);
    }
    return NULL;
}

START_TEST(facts_belong_to_the_state_that_shows_them)
{
    pthread_t changers[CHANGERS];
    pthread_t readers[READERS];
    unsigned numbers[READERS];
    unsigned rounds = (unsigned)test_scale(400, 4000, 100000);
    uint64_t zero = 0;
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.description = "0";
    o.custom = text("0");
    db_kit_init(&kit);
    db_kit_store(&kit, "s", &o);
    db_kit_store(&kit, "numbers", NULL);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_entry e = {.key = text("n"), .value = bytes(&zero, sizeof zero)};
    OK(sop_add(db_kit_open(&kit, t, "numbers"), &e, &kit.err), kit.err);
    db_kit_commit(&kit, t);
    for (unsigned i = 0; i < READERS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&readers[i], NULL, reader, &numbers[i]), 0);
    }
    for (unsigned i = 0; i < CHANGERS; i++) {
        ck_assert_int_eq(pthread_create(&changers[i], NULL, changer, &rounds), 0);
    }
    for (unsigned i = 0; i < CHANGERS; i++) {
        ck_assert_int_eq(pthread_join(changers[i], NULL), 0);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < READERS; i++) {
        ck_assert_int_eq(pthread_join(readers[i], NULL), 0);
    }
    ck_assert_uint_eq(atomic_load(&committed), (uint64_t)CHANGERS * rounds);
    printf("facts: %u changes; looks: %" PRIu64 " at new snapshots, %" PRIu64
           " at old ones, %" PRIu64 " at the head\n",
           CHANGERS * rounds, atomic_load(&looks[NEW]), atomic_load(&looks[OLD]),
           atomic_load(&looks[HEAD]));
    for (unsigned i = 0; i <= HEAD; i++) {
        ck_assert_uint_gt(atomic_load(&looks[i]), rounds / 100);
    }
    db_kit_verify(&kit);
    db_kit_fini(&kit);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("store_facts_threads");
    TCase *t = tcase_create("threads");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, facts_belong_to_the_state_that_shows_them);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
