/* Syncs beside appends: what was appended before the sync began is decided with it, what a
 * taker shows stays, and a failure or a taker in between is told. */
#include "tests/lib/chain_kit.h"

#include "engine/base/thread.h"
#include "engine/volume/fault.h"

#include <stdatomic.h>

static struct chain_log log_t;

static uint64_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void show(struct sop_chain *c, uint64_t token, size_t len)
{
    struct sop_lsn lsn;
    bool decided;
    struct sop_err err = {0};
    int rc = chain_append(c, SOP_RECORD_BATCH, token, len, false, &lsn, &decided, &err);
    ck_assert_msg(rc == 0 && !decided, "%s", err.text);
}

/* Opens and gives the last of the tokens 1, 2, ..., none of which may be missing. */
static uint64_t opened(struct sop_volume *v, const struct sop_chain_point *genesis,
                       struct sop_chain **out)
{
    struct sop_chain_options o = chain_options(v, genesis, &log_t);
    o.ignore_os_lock = true;
    *out = chain_open(&o);
    uint64_t last = 0;
    for (size_t i = 0; i < log_t.count; i++) {
        if (log_t.kind[i] == SOP_RECORD_BATCH) {
            ck_assert_uint_eq(log_t.token[i], ++last);
        }
    }
    return last;
}

/* Now the process is killed, another one takes over, and then the power fails. */
static void check_taker(struct sop_volume *v, const struct sop_chain_point *genesis,
                        uint64_t shown)
{
    struct sop_volume *killed;
    struct sop_volume *lost;
    struct sop_chain *c;
    ck_assert_int_eq(sop_volume_sim_copy(v, &killed, NULL), 0);
    ck_assert_uint_eq(opened(killed, genesis, &c), shown);
    chain_close(&c, false);
    ck_assert_int_eq(sop_volume_sim_crash(killed, NULL, &lost, NULL), 0);
    ck_assert_uint_eq(opened(lost, genesis, &c), shown);
    chain_close(&c, false);
    sop_volume_destroy(lost);
    sop_volume_destroy(killed);
}

/* Or the power fails at once. */
static void check_power(struct sop_volume *v, const struct sop_chain_point *genesis,
                        uint64_t seed, uint64_t durable, uint64_t shown)
{
    struct sop_sim_crash how = {.seed = seed,
                                .keep_sector = (unsigned)(seed % 90),
                                .garble_sector = 10,
                                .keep_names = 50};
    struct sop_volume *after;
    struct sop_chain *c;
    ck_assert_int_eq(sop_volume_sim_crash(v, &how, &after, NULL), 0);
    uint64_t last = opened(after, genesis, &c);
    ck_assert_uint_ge(last, durable);
    ck_assert_uint_le(last, shown);
    chain_close(&c, false);
    sop_volume_destroy(after);
}

START_TEST(any_order_of_appends_and_syncs_keeps_what_was_told)
{
    uint64_t state = (uint64_t)_i * 977 + 1;
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    struct sop_chain_mark mark;
    struct sop_lsn lac;
    uint64_t marked = 0; /* last token in front of the open mark; 0 = none is open */
    uint64_t durable = 0;
    uint64_t shown = 0;
    for (int step = 0; step < 150; step++) {
        uint64_t what = draw(&state) % 100;
        if (what < 70) {
            shown++;
            show(c, shown, what == 0 ? 40000 : 8 + draw(&state) % 50 * 8);
        } else if (what < 80 && marked == 0 && shown > 0) {
            ck_assert_int_eq(sop_chain_sync_begin(c, &mark, NULL), 0);
            marked = shown;
        } else if (what < 88 && marked != 0) {
            int waited = sop_chain_sync_wait(c, &mark, NULL);
            show(c, ++shown, 8);
            ck_assert_int_eq(sop_chain_sync_end(c, &mark, waited, &lac, NULL), 0);
            durable = marked > durable ? marked : durable;
            marked = 0;
        } else if (what < 91) {
            ck_assert_int_eq(sop_chain_sync(c, &lac, NULL), 0);
            durable = shown;
        } else if (what < 94) {
            check_taker(v, &genesis, shown);
        } else if (what < 98) {
            check_power(v, &genesis, state, durable, shown);
        } else {
            ck_assert_int_eq(sop_chain_care(c, genesis.lsn, NULL), 0);
        }
    }
    check_taker(v, &genesis, shown);
    chain_close(&c, false);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(small_records_are_counted)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    struct sop_chain_point middle;
    struct sop_chain_load load;
    for (uint64_t t = 1; t <= 30; t++) {
        show(c, t, 8);
        if (t == 10) {
            sop_chain_point(c, &middle);
        }
    }
    sop_chain_load(c, &genesis, &load);
    ck_assert_uint_eq(load.journal_records, 30);
    ck_assert_uint_eq(load.journal_bytes, 30 * 3 * SOP_JOURNAL_UNIT);
    sop_chain_load(c, &middle, &load);
    ck_assert_uint_eq(load.journal_records, 20);
    ck_assert_uint_eq(load.journal_bytes, 20 * 3 * SOP_JOURNAL_UNIT);
    chain_close(&c, false);
    ck_assert_uint_eq(opened(v, &genesis, &c), 30);
    show(c, 31, 8);
    sop_chain_load(c, &genesis, &load); /* what was replayed counts, too */
    ck_assert_uint_eq(load.journal_records, 31);
    ck_assert_uint_eq(load.journal_bytes, 31 * 3 * SOP_JOURNAL_UNIT);
    chain_close(&c, false);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(a_sync_that_fails_beside_appends_ends_the_tenure)
{
    struct sop_chain_point genesis;
    struct sop_volume *sim = chain_disk(&genesis);
    struct sop_volume *v;
    ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    struct sop_chain_mark mark;
    struct sop_lsn lac;
    struct sop_err err = {0};
    chain_commit(c, 1, 8);
    show(c, 2, 8);
    ck_assert_int_eq(sop_chain_sync_begin(c, &mark, NULL), 0);
    show(c, 3, 8);
    struct sop_fault_plan plan = {.ops = SOP_FAULT_BIT(SOP_FAULT_SYNC), .sys = 5};
    sop_volume_fault_set(v, &plan);
    int waited = sop_chain_sync_wait(c, &mark, &err);
    ck_assert_int_eq(waited, SOP_ERR_IO);
    ck_assert_int_eq(sop_chain_sync_end(c, &mark, waited, &lac, &err), SOP_ERR_IO);
    ck_assert_int_eq(sop_chain_sync(c, &lac, NULL), SOP_ERR_STOPPED);
    chain_close(&c, false);
    ck_assert_uint_eq(opened(sim, &genesis, &c), 1); /* it said so */
    chain_close(&c, false);
    sop_volume_destroy(v);
    sop_volume_destroy(sim);
}
END_TEST

START_TEST(who_was_relieved_between_the_steps_hears_it)
{
    for (int when = 0; when < 2; when++) {
        struct sop_chain_point genesis;
        struct sop_volume *v = chain_disk(&genesis);
        struct sop_chain_options o = chain_options(v, &genesis, &log_a);
        struct sop_chain *c = chain_open(&o);
        struct sop_chain *taker = NULL;
        struct sop_chain_mark mark;
        struct sop_lsn lac;
        show(c, 1, 8);
        ck_assert_int_eq(sop_chain_sync_begin(c, &mark, NULL), 0);
        show(c, 2, 8);
        int waited = when == 0 ? sop_chain_sync_wait(c, &mark, NULL) : 0;
        o = chain_options(v, &genesis, &log_b);
        o.ignore_os_lock = true;
        taker = chain_open(&o);
        waited = when == 0 ? waited : sop_chain_sync_wait(c, &mark, NULL);
        ck_assert_int_eq(sop_chain_sync_end(c, &mark, waited, &lac, NULL), SOP_ERR_SEALED);
        chain_close(&c, false);
        chain_close(&taker, false);
        ck_assert_uint_eq(opened(v, &genesis, &c), 2);
        chain_close(&c, false);
        sop_volume_destroy(v);
    }
}
END_TEST

/* --- two threads --- */

#define APPENDS 3000

struct shared {
    struct sop_mutex mutex; /* the commit lock */
    struct sop_chain *chain;
    struct sop_volume *volume;
    struct sop_chain_point genesis;
    _Atomic bool done;
    uint64_t rounds;
    uint64_t late; /* rounds in which something was appended meanwhile */
};

static void *sync_beside(void *arg)
{
    struct shared *s = arg;
    while (!atomic_load(&s->done)) {
        struct sop_chain_mark mark;
        struct sop_lsn lac;
        struct sop_chain_point p;
        sop_mutex_lock(&s->mutex);
        SOP_ASSERT(sop_chain_sync_begin(s->chain, &mark, NULL) == 0);
        sop_mutex_unlock(&s->mutex);
        int waited = sop_chain_sync_wait(s->chain, &mark, NULL);
        SOP_ASSERT(waited == 0 && sop_chain_care(s->chain, s->genesis.lsn, NULL) == 0);
        sop_mutex_lock(&s->mutex);
        SOP_ASSERT(sop_chain_sync_end(s->chain, &mark, waited, &lac, NULL) == 0);
        sop_chain_point(s->chain, &p);
        sop_mutex_unlock(&s->mutex);
        SOP_ASSERT(lac.record == mark.journal.record);
        s->late += p.lsn.record > lac.record;
        if (s->rounds++ % 16 == 0) {
            struct sop_volume *after;
            struct sop_chain *c;
            SOP_ASSERT(sop_volume_sim_crash(s->volume, NULL, &after, NULL) == 0);
            SOP_ASSERT(opened(after, &s->genesis, &c) >= lac.record);
            chain_close(&c, false);
            sop_volume_destroy(after);
        }
    }
    return NULL;
}

START_TEST(one_thread_syncs_while_another_appends)
{
    struct shared s = {0};
    s.volume = chain_disk(&s.genesis);
    /* A sync may take along what is appended while it runs: no promise, so it is written on. */
    sop_volume_sim_write_once(s.volume, NULL);
    struct sop_chain_options o = chain_options(s.volume, &s.genesis, &log_a);
    sop_mutex_init(&s.mutex, SOP_RANK_COMMIT);
    s.chain = chain_open(&o);
    pthread_t thread;
    ck_assert_int_eq(sop_thread_start(&thread, sync_beside, &s, "sync", NULL), 0);
    for (uint64_t t = 1; t <= APPENDS; t++) {
        sop_mutex_lock(&s.mutex);
        show(s.chain, t, t % 500 == 0 ? 80000 : 8 + t % 40 * 8);
        sop_mutex_unlock(&s.mutex);
    }
    atomic_store(&s.done, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_gt(s.rounds, 0);
    check_taker(s.volume, &s.genesis, APPENDS);
    chain_close(&s.chain, false);
    sop_mutex_fini(&s.mutex);
    sop_volume_destroy(s.volume);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chain_beside");
    TCase *t = tcase_create("chain_beside");
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, any_order_of_appends_and_syncs_keeps_what_was_told, 0, 12);
    tcase_add_test(t, small_records_are_counted);
    tcase_add_test(t, a_sync_that_fails_beside_appends_ends_the_tenure);
    tcase_add_test(t, who_was_relieved_between_the_steps_hears_it);
    tcase_add_test(t, one_thread_syncs_while_another_appends);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
