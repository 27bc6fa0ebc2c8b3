/* Rolling and truncating: little stays behind, and what is kept is enough. */
#include "tests/lib/chain_kit.h"

#include <errno.h>

#define STEPS_MAX 3000

static int count_name(void *arg, const char *name, struct sop_err *err)
{
    (void)name;
    (void)err;
    (*(size_t *)arg)++;
    return 0;
}

static size_t names_in(struct sop_volume *v, const char *path)
{
    size_t n = 0;
    ck_assert_int_eq(sop_volume_list(v, path, count_name, &n, NULL), 0);
    return n;
}

START_TEST(a_hundred_openings_leave_little_behind)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct chain_saved saves[3] = {{.point = genesis}, {.point = genesis}, {.point = genesis}};
    uint64_t token = 1;
    for (int round = 0; round < 100; round++) {
        struct sop_chain_options o = chain_options(v, &genesis, &log_a);
        start_from(&o, &saves[0]);
        struct sop_chain *c = chain_open(&o);
        for (int i = 0; i < 3; i++) {
            chain_commit(c, token++, 12000);
        }
        struct chain_saved oldest = saves[2];
        saves[2] = saves[1];
        saves[1] = saves[0];
        saves[0] = oldest;
        save(c, &saves[0]);
        struct sop_chain_load load;
        sop_chain_load(c, &saves[0].point, &load);
        ck_assert_uint_eq(load.journal_bytes, 0);
        sop_chain_load(c, &saves[1].point, &load);
        ck_assert_uint_gt(load.journal_bytes, 3 * 12000);
        /* Kept: the two newest, as manifests are. */
        ck_assert_int_eq(sop_chain_trim(c, &saves[1].point, NULL), 0);
        ck_assert_int_eq(sop_chain_trim(c, &saves[1].point, NULL), 0);
        chain_close(&c, round % 3 != 0);
        ck_assert_uint_le(names_in(v, "members"), 4);
        ck_assert_uint_le(names_in(v, "chain"), 2);
        /* Both kept places are good for a start. */
        for (int k = 0; k < 2 && round % 10 == 9; k++) {
            struct sop_chain_options again = chain_options(v, &genesis, &log_b);
            start_from(&again, &saves[k]);
            again.observer = true;
            struct sop_chain *d = chain_open(&again);
            chain_close(&d, true);
        }
    }
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c;
    ck_assert_int_eq(sop_chain_open(&c, &o, NULL), SOP_ERR_SEALED);
    for (size_t i = 0; i < 3; i++) {
        sop_buf_fini(&saves[i].state);
    }
    sop_volume_destroy(v);
}
END_TEST

/* Runs rounds of open, commit, save, trim with failures; the saved places stay good. */
START_TEST(trim_survives_every_failure)
{
    struct sop_chain_point genesis;
    struct sop_volume *base = chain_disk(&genesis);
    struct chain_saved saves[2];
    memset(saves, 0, sizeof saves);
    for (int round = 0; round < 9; round++) {
        struct sop_chain_options o = chain_options(base, &genesis, &log_a);
        struct sop_chain *c = chain_open(&o);
        chain_commit(c, (uint64_t)round + 1, 12000);
        if (round >= 7) {
            save(c, &saves[round - 7]);
        }
        chain_close(&c, round % 2 == 0);
    }
    bool done = false;
    for (uint64_t step = 0; !done; step++) {
        ck_assert_uint_lt(step, STEPS_MAX);
        struct sop_volume *sim;
        struct sop_volume *v;
        ck_assert_int_eq(sop_volume_sim_copy(base, &sim, NULL), 0);
        ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
        struct sop_chain_options o = chain_options(v, &genesis, &log_a);
        start_from(&o, &saves[1]);
        struct sop_chain *c = chain_open(&o);
        chain_commit(c, 40, 8);
        sop_volume_fault_set(
            v, &(struct sop_fault_plan){
                   .ops = SOP_FAULT_ALL, .at = step, .sys = EIO, .sticky = step % 2 == 0});
        int rc = sop_chain_trim(c, &saves[0].point, NULL);
        done = sop_volume_fault_count(v) <= step;
        ck_assert(!done || rc == 0);
        sop_volume_fault_set(v,
                             &(struct sop_fault_plan){.ops = SOP_FAULT_ALL, .at = UINT64_MAX});
        struct sop_sim_crash how = {
            .seed = step, .keep_sector = 50, .garble_sector = 10, .keep_names = 30};
        struct sop_volume *after;
        ck_assert_int_eq(sop_volume_sim_crash(sim, &how, &after, NULL), 0);
        for (int k = 0; k < 2; k++) {
            struct sop_chain_options again = chain_options(after, &genesis, &log_b);
            start_from(&again, &saves[k]);
            struct sop_chain *d = chain_open(&again);
            ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, 40), 1);
            ck_assert_int_eq(sop_chain_trim(d, &saves[0].point, NULL), 0);
            chain_close(&d, k == 0);
        }
        /* The failed trim can simply be done again. */
        if (rc == 0 || sop_chain_barrier(c, NULL) == 0) {
            ck_assert_int_eq(sop_chain_trim(c, &saves[0].point, NULL), 0);
        }
        chain_close(&c, true);
        sop_volume_destroy(after);
        sop_volume_destroy(v);
        sop_volume_destroy(sim);
    }
    sop_buf_fini(&saves[0].state);
    sop_buf_fini(&saves[1].state);
    sop_volume_destroy(base);
}
END_TEST

START_TEST(a_start_inside_a_tenure_keeps_what_it_needs)
{
    /* `older` lies in the tenure of a member that is long gone: its journal must stay. */
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    chain_commit(c, 1, 8);
    struct chain_saved s = {0};
    save(c, &s);
    chain_commit(c, 2, 8);
    chain_close(&c, false);
    for (int i = 0; i < 3; i++) {
        o = chain_options(v, &genesis, &log_a);
        start_from(&o, &s);
        c = chain_open(&o);
        ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, 2), 1);
        ck_assert_int_eq(sop_chain_trim(c, &s.point, NULL), 0);
        chain_close(&c, true);
    }
    sop_buf_fini(&s.state);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(folders_that_never_joined_are_removed)
{
    struct sop_chain_point genesis;
    struct sop_volume *sim = chain_disk(&genesis);
    struct sop_volume *v;
    ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    /* Dies before its put, and cannot clean up either. */
    sop_volume_fault_set(v, &(struct sop_fault_plan){.ops = SOP_FAULT_BIT(SOP_FAULT_LINK) |
                                                            SOP_FAULT_BIT(SOP_FAULT_UNLINK) |
                                                            SOP_FAULT_BIT(SOP_FAULT_RMDIR),
                                                     .at = 0,
                                                     .sys = EIO,
                                                     .sticky = true});
    struct sop_chain *c;
    ck_assert_int_ne(sop_chain_open(&c, &o, NULL), 0);
    ck_assert_uint_eq(names_in(sim, "members"), 1);
    o = chain_options(sim, &genesis, &log_a);
    c = chain_open(&o);
    ck_assert_uint_eq(names_in(sim, "members"), 2);
    ck_assert_int_eq(sop_chain_trim(c, &genesis, NULL), 0);
    ck_assert_uint_eq(names_in(sim, "members"), 1);
    chain_commit(c, 1, 8);
    chain_close(&c, true);
    sop_volume_destroy(v);
    sop_volume_destroy(sim);
}
END_TEST

/* Fails the n-th hit of one point, and calls back there instead if told to. */
struct point {
    const char *name;
    uint64_t at;
    uint64_t seen;
    void (*act)(void *arg);
    void *arg;
};

static int on_point(void *arg, const char *name)
{
    struct point *p = arg;
    if (strcmp(name, p->name) != 0 || p->seen++ != p->at) {
        return 0;
    }
    if (p->act == NULL) {
        return SOP_ERR_IO;
    }
    p->act(p->arg);
    return 0;
}

START_TEST(a_half_removed_directory_never_looks_whole)
{
    unsigned sealed = 0;
    for (uint64_t at = 0; at < 9; at++) {
        struct sop_chain_point genesis;
        struct sop_volume *v = chain_disk(&genesis);
        struct chain_saved s = {0};
        struct point p = {.name = "chain.trunc_unlink_n", .at = at};
        struct sop_failpoints fp = {.hit = on_point, .arg = &p};
        struct sop_chain *c = NULL;
        for (uint64_t t = 1; t <= 8; t++) {
            struct sop_chain_options o = chain_options(v, &genesis, &log_a);
            o.failpoints = &fp;
            c = chain_open(&o);
            chain_commit(c, t, 8);
            if (t < 8) {
                chain_close(&c, true);
            }
        }
        save(c, &s);
        int rc = sop_chain_trim(c, &s.point, NULL);
        ck_assert_int_eq(rc, at < 7 ? SOP_ERR_IO : 0); /* 6 slots of members, 1 ROLL */
        chain_close(&c, true);
        struct sop_volume *after;
        ck_assert_int_eq(sop_volume_sim_crash(v, NULL, &after, NULL), 0);
        struct sop_volume *disks[] = {v, after};
        for (size_t i = 0; i < 2; i++) {
            struct sop_chain_options o = chain_options(disks[i], &genesis, &log_a);
            rc = sop_chain_open(&c, &o, NULL);
            if (rc == 0) { /* whole history, or nothing */
                for (uint64_t t = 1; t <= 8; t++) {
                    ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, t), 1);
                }
                chain_close(&c, true);
            } else {
                ck_assert_int_eq(rc, SOP_ERR_SEALED);
                sealed++;
            }
            o = chain_options(disks[i], &genesis, &log_a);
            start_from(&o, &s);
            c = chain_open(&o);
            chain_close(&c, true);
        }
        sop_buf_fini(&s.state);
        sop_volume_destroy(after);
        sop_volume_destroy(v);
    }
    ck_assert_uint_gt(sealed, 8);
}
END_TEST

static void take_and_die(void *arg)
{
    const struct sop_chain_options *o = arg;
    struct sop_chain *c = chain_open(o);
    chain_commit(c, 2, 8);
    chain_close(&c, false);
}

START_TEST(a_sealed_owner_removes_no_successor)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options taker = chain_options(v, &genesis, &log_b);
    taker.ignore_os_lock = true;
    struct point p = {.name = "chain.gc_horizon", .act = take_and_die, .arg = &taker};
    struct sop_failpoints fp = {.hit = on_point, .arg = &p};
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    o.failpoints = &fp;
    struct sop_chain *c = chain_open(&o);
    chain_commit(c, 1, 8);
    /* A taker joins, commits and dies right after the owner looked at its TEN. */
    ck_assert_int_eq(sop_chain_trim(c, &genesis, NULL), SOP_ERR_SEALED);
    ck_assert_uint_eq(p.seen, 1);
    ck_assert_int_eq(sop_chain_close(&c, true, NULL), SOP_ERR_SEALED);
    check_told(v, &genesis, &(struct chain_told){.acknowledged = 2});
    sop_volume_destroy(v);
}
END_TEST

START_TEST(the_roll_of_another_is_made_durable)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain *c;
    for (uint64_t t = 1; t <= 6; t++) {
        struct sop_chain_options o = chain_options(v, &genesis, &log_a);
        c = chain_open(&o);
        chain_commit(c, t, 8);
        chain_close(&c, true);
    }
    /* The next one rolls and dies before the name of its ROLL is durable. */
    struct point p = {.name = "chain.put_dirsync"};
    struct sop_failpoints fp = {.hit = on_point, .arg = &p};
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    o.failpoints = &fp;
    ck_assert_int_eq(sop_chain_open(&c, &o, NULL), SOP_ERR_IO);
    o = chain_options(v, &genesis, &log_a);
    c = chain_open(&o);
    ck_assert_uint_eq(sop_chain_member(c), 8); /* behind the ROLL */
    chain_commit(c, 7, 8);
    chain_close(&c, false);
    struct sop_volume *after;
    ck_assert_int_eq(sop_volume_sim_crash(v, NULL, &after, NULL), 0);
    check_told(after, &genesis, &(struct chain_told){.acknowledged = 7});
    sop_volume_destroy(after);
    sop_volume_destroy(v);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chain_trim");
    TCase *t = tcase_create("chain_trim");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, a_hundred_openings_leave_little_behind);
    tcase_add_test(t, trim_survives_every_failure);
    tcase_add_test(t, a_start_inside_a_tenure_keeps_what_it_needs);
    tcase_add_test(t, folders_that_never_joined_are_removed);
    tcase_add_test(t, a_half_removed_directory_never_looks_whole);
    tcase_add_test(t, a_sealed_owner_removes_no_successor);
    tcase_add_test(t, the_roll_of_another_is_made_durable);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
