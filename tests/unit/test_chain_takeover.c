/* The chain when somebody else opens it: one wins, and everybody is told the truth. */
#include "tests/lib/chain_kit.h"

#include "engine/volume/posix.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

struct takeover {
    const char *at;
    struct sop_chain_options taker;
    struct sop_chain *taken; /* by the taker */
    int rc;
    struct sop_chain *owner; /* appends at the point instead, if set */
    bool decided;
};

static int on_point(void *arg, const char *name)
{
    struct takeover *t = arg;
    if (t->at == NULL || strcmp(name, t->at) != 0) {
        return 0;
    }
    t->at = NULL;
    if (t->owner != NULL) {
        struct sop_lsn lsn;
        t->rc = chain_append(t->owner, SOP_RECORD_BATCH, 50, 8, true, &lsn, &t->decided, NULL);
    } else {
        t->rc = sop_chain_open(&t->taken, &t->taker, NULL);
    }
    return 0;
}

/* A taker comes while the owner is at `at` with token 50. Whatever the owner is told is true.
 */
static void take_over_at(const char *at, bool expect_decided)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct takeover t = {.taker = chain_options(v, &genesis, &log_b)};
    t.taker.ignore_os_lock = true;
    struct sop_failpoints fp = {.hit = on_point, .arg = &t};
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    o.failpoints = &fp;
    struct sop_chain *c = chain_open(&o);
    chain_commit(c, 1, 8);
    t.at = at;
    struct sop_lsn lsn;
    bool decided = false;
    int rc = chain_append(c, SOP_RECORD_BATCH, 50, 8, true, &lsn, &decided, NULL);
    ck_assert_ptr_null(t.at);
    ck_assert_int_eq(t.rc, 0);
    ck_assert_int_eq(rc, SOP_ERR_SEALED);
    ck_assert_int_eq(decided, expect_decided);
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, 1), 1);
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, 50), expect_decided);
    ck_assert_int_eq(sop_chain_decided(c, sop_chain_member(c), 2),
                     expect_decided ? SOP_DECIDED_YES : SOP_DECIDED_NO);
    ck_assert_int_eq(sop_chain_barrier(c, NULL), SOP_ERR_STOPPED);
    ck_assert_int_eq(chain_append(c, SOP_RECORD_BATCH, 51, 8, true, &lsn, &decided, NULL),
                     SOP_ERR_STOPPED);
    chain_commit(t.taken, 60, 8);
    chain_close(&c, true);
    chain_close(&t.taken, true);
    (void)hash_of(v, &genesis);
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, 50), expect_decided);
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, 51), 0);
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, 60), 1);
    sop_volume_destroy(v);
}

START_TEST(a_taken_over_owner_tells_the_truth)
{
    take_over_at("journal.write_before", false);
    take_over_at("journal.write_mid", false);
    take_over_at("journal.write_after", true);
    take_over_at("chain.ack_before", true);
    take_over_at("chain.ten_read", true);
}
END_TEST

START_TEST(a_taken_over_owner_notices_at_the_barrier)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    chain_commit(c, 1, 8);
    ck_assert_int_eq(sop_chain_barrier(c, NULL), 0);
    struct chain_saved s = {0};
    save(c, &s);
    struct sop_chain_options taker = chain_options(v, &genesis, &log_b);
    taker.ignore_os_lock = true;
    struct sop_chain *d = chain_open(&taker);
    ck_assert_int_eq(sop_chain_barrier(c, NULL), SOP_ERR_SEALED);
    ck_assert_int_eq(sop_chain_trim(c, &s.point, NULL), SOP_ERR_SEALED);
    struct sop_lsn lac;
    ck_assert_int_eq(sop_chain_sync(c, &lac, NULL), SOP_ERR_SEALED);
    ck_assert_int_eq(sop_lsn_cmp(lac, s.point.lsn), 0);
    /* LEAVE of an expelled member changes nothing either. */
    chain_close(&c, true);
    chain_commit(d, 2, 8);
    chain_close(&d, true);
    sop_buf_fini(&s.state);
    sop_volume_destroy(v);
}
END_TEST

/* The owner commits while the taker is at `at`; whoever puts the next slot first decides. */
static void owner_acts_at(const char *at, bool taker_wins)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct takeover t = {0};
    t.owner = chain_open(&o);
    chain_commit(t.owner, 1, 8);
    struct sop_failpoints fp = {.hit = on_point, .arg = &t};
    struct sop_chain_options taker = chain_options(v, &genesis, &log_b);
    taker.ignore_os_lock = true;
    taker.failpoints = &fp;
    t.at = at;
    struct sop_chain *d = NULL;
    int rc = sop_chain_open(&d, &taker, NULL);
    ck_assert_ptr_null(t.at);
    ck_assert_int_eq(rc, taker_wins ? 0 : SOP_ERR_SEALED);
    if (d == NULL) {
        taker = chain_options(v, &genesis, &log_b);
        taker.ignore_os_lock = true;
        d = chain_open(&taker);
    }
    bool acknowledged = t.rc == 0 || (t.rc == SOP_ERR_SEALED && t.decided);
    ck_assert(t.rc == 0 || t.rc == SOP_ERR_SEALED);
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, 50), acknowledged);
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, 1), 1);
    chain_close(&d, true);
    chain_close(&t.owner, false);
    sop_volume_destroy(v);
}

START_TEST(owner_and_taker_agree_whoever_is_first)
{
    owner_acts_at("chain.ten_kill_before", true);
    owner_acts_at("chain.ten_kill_after", false);
    owner_acts_at("chain.tail_read", false);
    owner_acts_at("chain.cut_chosen", false);
    owner_acts_at("chain.join_put", false);
    owner_acts_at("chain.put_before", false);
    owner_acts_at("chain.put_sent", true);
    owner_acts_at("chain.put_done", true);
}
END_TEST

START_TEST(only_one_of_two_takers_wins)
{
    static const char *const points[] = {"chain.ten_kill_after", "chain.cut_chosen",
                                         "chain.put_before"};
    for (size_t i = 0; i < SOP_ARRAY_LEN(points); i++) {
        struct sop_chain_point genesis;
        struct sop_volume *v = chain_disk(&genesis);
        struct sop_chain_options o = chain_options(v, &genesis, &log_a);
        struct sop_chain *c = chain_open(&o);
        chain_commit(c, 1, 8);
        chain_close(&c, false);
        struct takeover t = {.at = points[i], .taker = chain_options(v, &genesis, &log_b)};
        struct sop_failpoints fp = {.hit = on_point, .arg = &t};
        o = chain_options(v, &genesis, &log_a);
        o.failpoints = &fp;
        o.ignore_os_lock = true;
        t.taker.ignore_os_lock = true;
        ck_assert_int_eq(sop_chain_open(&c, &o, NULL), SOP_ERR_SEALED);
        ck_assert_int_eq(t.rc, 0);
        chain_commit(t.taken, 2, 8);
        o.failpoints = NULL;
        o.ignore_os_lock = false;
        log_a.count = 0;
        ck_assert_int_eq(sop_chain_open(&c, &o, NULL), SOP_ERR_BUSY);
        chain_close(&t.taken, true);
        log_a.count = 0;
        c = chain_open(&o);
        ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, 2), 1);
        chain_close(&c, true);
        sop_volume_destroy(v);
    }
}
END_TEST

START_TEST(a_second_opener_is_busy)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    struct sop_chain *d;
    struct sop_chain_options second = chain_options(v, &genesis, &log_b);
    ck_assert_int_eq(sop_chain_open(&d, &second, NULL), SOP_ERR_BUSY);
    ck_assert_ptr_null(d);
    chain_close(&c, true);
    second = chain_options(v, &genesis, &log_b);
    d = chain_open(&second);
    chain_close(&d, true);
    sop_volume_destroy(v);
}
END_TEST

static void remove_folder(const char *path)
{
    char command[300];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", path);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(another_process_is_busy_and_a_fork_is_refused)
{
    char root[] = "/tmp/sop_test_chain_XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(root));
    struct sop_err err = {0};
    struct sop_volume *v;
    struct sop_volume *same;
    ck_assert_msg(sop_volume_posix_open(root, &v, &err) == 0, "%s", err.text);
    ck_assert_int_eq(sop_volume_posix_open(root, &same, &err), 0);
    struct sop_chain_point genesis;
    ck_assert_int_eq(sop_chain_create(v, sop_env_system(), (const uint8_t *)"chain kit tests",
                                      &genesis, &err),
                     0);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    chain_commit(c, 1, 8);
    /* The same folder, reached anew in the same process. */
    struct sop_chain_options second = chain_options(same, &genesis, &log_b);
    struct sop_chain *d;
    ck_assert_int_eq(sop_chain_open(&d, &second, &err), SOP_ERR_BUSY);
    second.observer = true;
    log_b.count = 0;
    d = chain_open(&second); /* and this does not cost the owner its lock */
    chain_close(&d, true);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct sop_lsn lsn;
        bool decided;
        bool ok = chain_append(c, SOP_RECORD_BATCH, 9, 8, true, &lsn, &decided, NULL) ==
                  SOP_ERR_FORKED;
        ok = ok && sop_chain_barrier(c, NULL) == SOP_ERR_FORKED;
        ok = ok && sop_chain_sync(c, &lsn, NULL) == SOP_ERR_FORKED;
        second = chain_options(same, &genesis, &log_b);
        err.text[0] = '\0';
        ok = ok && sop_chain_open(&d, &second, &err) == SOP_ERR_BUSY;
        char pid[32];
        (void)snprintf(pid, sizeof pid, "process %lld", (long long)getppid());
        ok = ok && strstr(err.text, pid) != NULL;
        ok = ok && sop_chain_close(&c, true, NULL) == 0; /* writes nothing */
        _exit(ok ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    chain_commit(c, 2, 8);
    chain_close(&c, true);
    second = chain_options(same, &genesis, &log_b);
    d = chain_open(&second);
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, 2), 1);
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_LEAVE, 1), 1);
    chain_close(&d, true);
    sop_volume_destroy(v);
    sop_volume_destroy(same);
    remove_folder(root);
}
END_TEST

START_TEST(a_killed_process_loses_nothing)
{
    char root[] = "/tmp/sop_test_chain_XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(root));
    struct sop_volume *v;
    ck_assert_int_eq(sop_volume_posix_open(root, &v, NULL), 0);
    struct sop_chain_point genesis;
    ck_assert_int_eq(sop_chain_create(v, sop_env_system(), (const uint8_t *)"chain kit tests",
                                      &genesis, NULL),
                     0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct sop_chain_options o = chain_options(v, &genesis, &log_a);
        struct sop_chain *c = chain_open(&o);
        for (uint64_t t = 1; t <= 20; t++) {
            chain_commit(c, t, t % 7 == 0 ? 300000 : 5000 / 8 * 8);
        }
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    check_told(v, &genesis, &(struct chain_told){.acknowledged = 20});
    sop_volume_destroy(v);
    remove_folder(root);
}
END_TEST

START_TEST(a_shared_volume_is_written_past_the_cache)
{
    /* Real files opened for direct I/O, where the file system has it: everything is aligned. */
    char root[] = "/tmp/sop_test_chain_XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(root));
    struct sop_volume *v;
    ck_assert_int_eq(sop_volume_posix_open(root, &v, NULL), 0);
    v->one_host = false;
    struct sop_chain_point genesis;
    ck_assert_int_eq(sop_chain_create(v, sop_env_system(), (const uint8_t *)"chain kit tests",
                                      &genesis, NULL),
                     0);
    uint64_t token = 0;
    for (int round = 0; round < 10; round++) {
        struct sop_chain_options o = chain_options(v, &genesis, &log_a);
        struct sop_chain *c = chain_open(&o);
        chain_commit(c, ++token, 8);
        chain_commit(c, ++token, 300000);
        struct sop_lsn lsn;
        bool decided;
        ck_assert_int_eq(
            chain_append(c, SOP_RECORD_BATCH, ++token, 5000, false, &lsn, &decided, NULL), 0);
        ck_assert_int_eq(sop_chain_care(c, lsn, NULL), 0);
        chain_close(&c, round % 2 == 0);
    }
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    for (uint64_t t = 1; t <= token; t++) {
        ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, t), 1);
    }
    chain_close(&c, true);
    sop_volume_destroy(v);
    remove_folder(root);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chain_takeover");
    TCase *t = tcase_create("chain_takeover");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, a_taken_over_owner_tells_the_truth);
    tcase_add_test(t, a_taken_over_owner_notices_at_the_barrier);
    tcase_add_test(t, owner_and_taker_agree_whoever_is_first);
    tcase_add_test(t, only_one_of_two_takers_wins);
    tcase_add_test(t, a_second_opener_is_busy);
    tcase_add_test(t, another_process_is_busy_and_a_fork_is_refused);
    tcase_add_test(t, a_killed_process_loses_nothing);
    tcase_add_test(t, a_shared_volume_is_written_past_the_cache);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
