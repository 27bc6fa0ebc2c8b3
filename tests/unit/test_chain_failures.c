/* The chain when operations fail or the power goes: what was acknowledged stays, what was
 * refused stays away. */
#include "tests/lib/chain_kit.h"
#include "tests/lib/oom.h"

#include <errno.h>
#include <stdio.h>

#define STEPS_MAX 3000

/* Opens, appends, closes, twice. Stops at the first error of a kind that stops it. */
static void work(struct sop_volume *v, const struct sop_chain_point *genesis,
                 struct chain_told *told)
{
    *told = (struct chain_told){0};
    uint64_t token = 1;
    for (int round = 0; round < 2; round++) {
        struct sop_chain_options o = chain_options(v, genesis, &log_a);
        struct sop_chain *c;
        struct sop_err err = {0};
        int rc = sop_chain_open(&c, &o, &err);
        if (rc != 0) {
            ck_assert_ptr_null(c);
            continue;
        }
        for (int i = 0; i < 4 && rc == 0; i++) {
            struct sop_lsn lsn;
            bool decided = false;
            size_t len = i == 2 ? 100000 : 8;
            rc = chain_append(c, SOP_RECORD_BATCH, token, len, true, &lsn, &decided, &err);
            if (rc == 0 || (rc == SOP_ERR_SEALED && decided)) {
                told->acknowledged = token;
            } else if (rc == SOP_ERR_UNKNOWN) {
                told->doubt = token;
                ck_assert_int_eq(
                    chain_append(c, SOP_RECORD_BATCH, 999, 8, true, &lsn, &decided, NULL),
                    SOP_ERR_STOPPED);
                sop_chain_close(&c, true, NULL);
                return;
            } else {
                told->refused = token;
            }
            token++;
        }
        (void)sop_chain_close(&c, true, &err);
        if (told->refused != 0) {
            return;
        }
    }
}

static uint64_t count_steps(void)
{
    struct sop_chain_point genesis;
    struct sop_volume *sim = chain_disk(&genesis);
    struct sop_volume *v;
    ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
    sop_volume_fault_set(v, &(struct sop_fault_plan){.ops = SOP_FAULT_ALL, .at = UINT64_MAX});
    struct chain_told told;
    work(v, &genesis, &told);
    ck_assert_uint_eq(told.acknowledged, 8);
    uint64_t steps = sop_volume_fault_count(v);
    sop_volume_destroy(v);
    sop_volume_destroy(sim);
    ck_assert_uint_lt(steps, STEPS_MAX);
    return steps;
}

START_TEST(power_loss_at_every_operation)
{
    uint64_t steps = count_steps();
    for (uint64_t step = 0; step <= steps; step++) {
        struct sop_chain_point genesis;
        struct sop_volume *sim = chain_disk(&genesis);
        struct sop_volume *v;
        ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
        struct sop_fault_plan plan = {.ops = SOP_FAULT_ALL,
                                      .at = step,
                                      .sys = EIO,
                                      .sticky = true,
                                      .half_write = step % 2 == 0};
        sop_volume_fault_set(v, &plan);
        struct chain_told told;
        work(v, &genesis, &told);
        told.refused = 0; /* the world ended: IO was never told to anybody */
        for (uint64_t seed = 0; seed < 5; seed++) {
            struct sop_sim_crash how = {.seed = step * 5 + seed,
                                        .keep_sector = 40,
                                        .garble_sector = 20,
                                        .keep_names = 50};
            struct sop_volume *after;
            int rc = seed == 4
                         ? sop_volume_sim_copy(sim, &after, NULL)
                         : sop_volume_sim_crash(sim, seed == 0 ? NULL : &how, &after, NULL);
            ck_assert_int_eq(rc, 0);
            check_told(after, &genesis, &told);
            sop_volume_destroy(after);
        }
        sop_volume_destroy(v);
        sop_volume_destroy(sim);
    }
}
END_TEST

/* One failure, then the world goes on: what was told as not committed stays away, too. */
START_TEST(every_operation_fails_once)
{
    static const int errors[] = {EIO, ENOSPC, EROFS};
    int sys = errors[_i];
    uint64_t steps = count_steps();
    unsigned refused = 0;
    unsigned doubted = 0;
    for (uint64_t step = 0; step <= steps; step++) {
        struct sop_chain_point genesis;
        struct sop_volume *sim = chain_disk(&genesis);
        struct sop_volume *v;
        ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
        struct sop_fault_plan plan = {
            .ops = SOP_FAULT_ALL, .at = step, .sys = sys, .half_write = step % 2 == 0};
        sop_volume_fault_set(v, &plan);
        struct chain_told told;
        work(v, &genesis, &told);
        refused += told.refused != 0;
        doubted += told.doubt != 0;
        struct sop_volume *after;
        ck_assert_int_eq(sop_volume_sim_crash(sim, NULL, &after, NULL), 0);
        check_told(after, &genesis, &told);
        sop_volume_destroy(after);
        check_told(sim, &genesis, &told);
        sop_volume_destroy(v);
        sop_volume_destroy(sim);
    }
    ck_assert_uint_gt(refused, 0);
    ck_assert_uint_eq(doubted, 0); /* a single failure never leaves a doubt */
}
END_TEST

START_TEST(a_volume_that_stays_away_leaves_a_doubt)
{
    struct sop_chain_point genesis;
    struct sop_volume *sim = chain_disk(&genesis);
    struct sop_volume *v;
    ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    chain_commit(c, 1, 8);
    sop_volume_fault_set(
        v, &(struct sop_fault_plan){
               .ops = SOP_FAULT_BIT(SOP_FAULT_SYNC), .at = 0, .sys = EIO, .sticky = true});
    struct sop_lsn lsn;
    bool decided;
    struct sop_err err = {0};
    ck_assert_int_eq(chain_append(c, SOP_RECORD_BATCH, 2, 8, true, &lsn, &decided, &err),
                     SOP_ERR_UNKNOWN);
    ck_assert_int_eq(chain_append(c, SOP_RECORD_BATCH, 3, 8, true, &lsn, &decided, &err),
                     SOP_ERR_STOPPED);
    ck_assert_int_eq(sop_chain_barrier(c, NULL), SOP_ERR_STOPPED);
    ck_assert_int_eq(sop_chain_sync(c, &lsn, NULL), SOP_ERR_STOPPED);
    ck_assert_int_eq(sop_chain_decided(c, sop_chain_member(c), 1), SOP_DECIDED_YES);
    ck_assert_int_eq(sop_chain_decided(c, sop_chain_member(c), 2), SOP_DECIDED_TOO_OLD);
    chain_close(&c, true);
    check_told(sim, &genesis, &(struct chain_told){.acknowledged = 1, .doubt = 2});
    sop_volume_destroy(v);
    sop_volume_destroy(sim);
}
END_TEST

START_TEST(a_failed_sync_is_certain_and_final)
{
    struct sop_chain_point genesis;
    struct sop_volume *sim = chain_disk(&genesis);
    struct sop_volume *v;
    ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    uint64_t member = sop_chain_member(c);
    chain_commit(c, 1, 8);
    chain_commit(c, 2, 8);
    sop_volume_fault_set(
        v, &(struct sop_fault_plan){.ops = SOP_FAULT_BIT(SOP_FAULT_SYNC), .at = 0, .sys = EIO});
    struct sop_lsn lsn;
    bool decided = true;
    ck_assert_int_eq(chain_append(c, SOP_RECORD_BATCH, 3, 8, true, &lsn, &decided, NULL),
                     SOP_ERR_IO);
    ck_assert(!decided);
    char ten[256];
    (void)snprintf(ten, sizeof ten, "%s/TEN", sop_chain_member_dir(c));
    struct sop_buf block = {0};
    ck_assert_int_eq(sop_volume_read_file(sim, ten, 1 << 20, &block, NULL), 0);
    ck_assert_mem_eq(block.data, "SOPDEAD\n", 8);
    sop_buf_fini(&block);
    ck_assert_int_eq(sop_chain_decided(c, member, 2), SOP_DECIDED_YES);
    ck_assert_int_eq(sop_chain_decided(c, member, 3), SOP_DECIDED_NO);
    ck_assert_int_eq(chain_append(c, SOP_RECORD_BATCH, 3, 8, true, &lsn, &decided, NULL),
                     SOP_ERR_STOPPED);
    chain_close(&c, true);
    /* The bytes of token 3 are in the journal, whole; the cut leaves them out. */
    o = chain_options(v, &genesis, &log_a);
    c = chain_open(&o);
    ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, 2), 1);
    ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, 3), 0);
    ck_assert_int_eq(sop_chain_decided(c, member, 2), SOP_DECIDED_YES);
    ck_assert_int_eq(sop_chain_decided(c, member, 3), SOP_DECIDED_NO);
    ck_assert_int_eq(sop_chain_decided(c, member, 1), SOP_DECIDED_TOO_OLD);
    chain_close(&c, true);
    sop_volume_destroy(v);
    sop_volume_destroy(sim);
}
END_TEST

START_TEST(a_full_volume_refuses_and_goes_on)
{
    struct sop_chain_point genesis;
    struct sop_volume *sim = chain_disk(&genesis);
    struct sop_volume *v;
    ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    chain_commit(c, 1, 8);
    /* A large record needs a file of its own, which cannot be made now. */
    sop_volume_fault_set(v, &(struct sop_fault_plan){.ops = SOP_FAULT_BIT(SOP_FAULT_WRITE),
                                                     .at = 0,
                                                     .sys = ENOSPC,
                                                     .half_write = true});
    struct sop_lsn lsn;
    bool decided;
    ck_assert_int_eq(chain_append(c, SOP_RECORD_BATCH, 2, 200000, true, &lsn, &decided, NULL),
                     SOP_ERR_NOSPACE);
    ck_assert_uint_eq(sop_chain_next_batch(c), 2);
    chain_commit(c, 3, 200000);
    chain_commit(c, 4, 8);
    chain_close(&c, true);
    o = chain_options(v, &genesis, &log_a);
    c = chain_open(&o);
    ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, 2), 0);
    ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, 3), 1);
    ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, 4), 1);
    chain_close(&c, true);
    sop_volume_destroy(v);
    sop_volume_destroy(sim);
}
END_TEST

/* --- durability none: shown, not yet decided --- */

START_TEST(adopted_records_are_durable)
{
    /* Each time the owner dies with some records behind its last sync. Nobody ever syncs them
     * in its journal; who opens next makes them durable all the same. */
    for (uint64_t synced = 0; synced <= 6; synced++) {
        struct sop_chain_point genesis;
        struct sop_volume *v = chain_disk(&genesis);
        struct sop_chain_options o = chain_options(v, &genesis, &log_a);
        struct sop_chain *c = chain_open(&o);
        struct sop_lsn lsn;
        bool decided;
        for (uint64_t t = 1; t <= 6; t++) {
            size_t len = t == 5 ? 9000 : 800;
            ck_assert_int_eq(
                chain_append(c, SOP_RECORD_BATCH, t, len, t == synced, &lsn, &decided, NULL),
                0);
        }
        chain_close(&c, false);
        o = chain_options(v, &genesis, &log_a);
        c = chain_open(&o);
        ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, 6), 1);
        chain_close(&c, false);
        struct sop_volume *after;
        ck_assert_int_eq(sop_volume_sim_crash(v, NULL, &after, NULL), 0);
        check_told(after, &genesis, &(struct chain_told){.acknowledged = 6});
        sop_volume_destroy(after);
        sop_volume_destroy(v);
    }
}
END_TEST

START_TEST(shown_records_are_lost_from_the_end_only)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    struct sop_lsn lsn;
    bool decided;
    for (uint64_t t = 1; t <= 40; t++) {
        size_t len = t % 10 == 0 ? 150000 : 2000;
        ck_assert_int_eq(chain_append(c, SOP_RECORD_BATCH, t, len, false, &lsn, &decided, NULL),
                         0);
        ck_assert(!decided);
        if (t == 15) {
            struct sop_lsn lac;
            ck_assert_int_eq(sop_chain_sync(c, &lac, NULL), 0);
            ck_assert_int_eq(sop_lsn_cmp(lac, lsn), 0);
        }
    }
    uint64_t fewest = 40;
    for (uint64_t seed = 0; seed < 25; seed++) {
        struct sop_sim_crash how = {
            .seed = seed, .keep_sector = 70, .garble_sector = 10, .keep_names = 50};
        struct sop_volume *after;
        int rc = seed == 0 ? sop_volume_sim_copy(v, &after, NULL)
                           : sop_volume_sim_crash(v, &how, &after, NULL);
        ck_assert_int_eq(rc, 0);
        struct sop_chain_options again = chain_options(after, &genesis, &log_b);
        struct sop_chain *d = chain_open(&again);
        uint64_t last = 0;
        for (uint64_t t = 1; t <= 40; t++) {
            size_t found = chain_log_find(&log_b, SOP_RECORD_BATCH, t);
            ck_assert_uint_le(found, t == last + 1);
            last += found;
        }
        ck_assert_uint_ge(last, 15);
        fewest = last < fewest ? last : fewest;
        ck_assert(seed != 0 || last == 40); /* a killed process loses nothing */
        size_t count = log_b.count;
        chain_close(&d, false);
        /* What the opener adopted is durable now, although its writer never synced it. */
        struct sop_volume *later;
        ck_assert_int_eq(sop_volume_sim_crash(after, NULL, &later, NULL), 0);
        again = chain_options(later, &genesis, &log_b);
        d = chain_open(&again);
        ck_assert_uint_eq(log_b.count, count + 2); /* EXPEL, JOIN */
        chain_close(&d, true);
        sop_volume_destroy(later);
        sop_volume_destroy(after);
    }
    ck_assert_uint_lt(fewest, 40); /* something was lost */
    chain_close(&c, false);
    sop_volume_destroy(v);
}
END_TEST

struct nth {
    uint64_t at;
    uint64_t seen;
};

static int fail_nth(void *arg, const char *name)
{
    (void)name;
    struct nth *n = arg;
    return n->seen++ == n->at ? SOP_ERR_IO : 0;
}

START_TEST(every_fault_point_can_fail)
{
    for (uint64_t at = 0;; at++) {
        ck_assert_uint_lt(at, STEPS_MAX);
        struct sop_chain_point genesis;
        struct sop_volume *v = chain_disk(&genesis);
        struct nth n = {.at = at};
        struct sop_failpoints fp = {.hit = fail_nth, .arg = &n};
        uint64_t acknowledged = 0;
        uint64_t refused = 0;
        for (int round = 0; round < 8; round++) {
            struct sop_chain_options o = chain_options(v, &genesis, &log_a);
            o.failpoints = &fp;
            struct sop_chain *c;
            if (sop_chain_open(&c, &o, NULL) != 0) {
                continue;
            }
            struct sop_lsn lsn;
            bool decided = false;
            int rc = chain_append(c, SOP_RECORD_BATCH, acknowledged + 1, 50000, true, &lsn,
                                  &decided, NULL);
            ck_assert_int_ne(rc, SOP_ERR_UNKNOWN);
            acknowledged += rc == 0 || (rc == SOP_ERR_SEALED && decided);
            if (rc != 0 && !decided) {
                refused = acknowledged + 1;
            }
            int care = sop_chain_care(c, (struct sop_lsn){0}, NULL);
            ck_assert(care == 0 || care == SOP_ERR_IO || care == SOP_ERR_STOPPED);
            int trim = sop_chain_trim(c, &genesis, NULL);
            ck_assert(trim == 0 || trim == SOP_ERR_IO || trim == SOP_ERR_STOPPED ||
                      trim == SOP_ERR_SEALED);
            sop_chain_close(&c, round % 2 == 0, NULL);
            if (refused != 0) {
                break;
            }
        }
        check_told(v, &genesis,
                   &(struct chain_told){.acknowledged = acknowledged, .refused = refused});
        sop_volume_destroy(v);
        if (n.seen <= at) {
            ck_assert_uint_eq(acknowledged, 8);
            break;
        }
    }
}
END_TEST

/* --- memory --- */

START_TEST(every_allocation_can_fail)
{
    unsigned failed = 0;
    for (uint64_t at = 0;; at++) {
        ck_assert_uint_lt(at, STEPS_MAX);
        struct sop_chain_point genesis;
        struct sop_volume *v = chain_disk(&genesis);
        struct chain_told told = {0};
        bool injected = false;
        for (int round = 0; round < 2; round++) {
            struct sop_chain_options o = chain_options(v, &genesis, &log_a);
            struct sop_chain *c;
            /* The simulated disk takes memory, too: its failures come as NOMEM of an operation.
             */
            if (round == 1) {
                oom_fail_at(at);
            }
            int rc = sop_chain_open(&c, &o, NULL);
            for (uint64_t i = 0; rc == 0 && i < 3; i++) {
                struct sop_lsn lsn;
                bool decided = false;
                uint64_t token = told.acknowledged + 1;
                rc = chain_append(c, SOP_RECORD_BATCH, token, i == 1 ? 90000 : 8, true, &lsn,
                                  &decided, NULL);
                told.acknowledged += rc == 0 || (rc == SOP_ERR_SEALED && decided);
                told.doubt = rc == SOP_ERR_UNKNOWN ? token : 0;
            }
            if (c != NULL) {
                (void)sop_chain_close(&c, true, NULL);
            }
            injected = oom_hit();
            oom_off();
        }
        failed += injected;
        check_told(v, &genesis, &told);
        sop_volume_destroy(v);
        if (!injected) {
            break;
        }
    }
    ck_assert_uint_gt(failed, 20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chain_failures");
    TCase *t = tcase_create("chain_failures");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, power_loss_at_every_operation);
    tcase_add_loop_test(t, every_operation_fails_once, 0, 3);
    tcase_add_test(t, a_volume_that_stays_away_leaves_a_doubt);
    tcase_add_test(t, a_failed_sync_is_certain_and_final);
    tcase_add_test(t, a_full_volume_refuses_and_goes_on);
    tcase_add_test(t, adopted_records_are_durable);
    tcase_add_test(t, shown_records_are_lost_from_the_end_only);
    tcase_add_test(t, every_fault_point_can_fail);
    tcase_add_test(t, every_allocation_can_fail);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
