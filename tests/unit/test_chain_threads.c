/* One thread commits, others care, trim and ask: what they are told fits together, and nothing
 * is lost. Worth running under ThreadSanitizer. */
#include "tests/lib/chain_kit.h"

#include "engine/base/thread.h"

#include <stdatomic.h>

#define COMMITS 300

struct shared {
    struct sop_chain *chain;
    struct sop_chain_point start;
    _Atomic bool done;
};

static void *care_and_trim(void *arg)
{
    struct shared *s = arg;
    uint64_t rounds = 0;
    while (!atomic_load(&s->done) || rounds == 0) {
        SOP_ASSERT(sop_chain_care(s->chain, s->start.lsn, NULL) == 0);
        if (rounds++ % 8 == 0) {
            SOP_ASSERT(sop_chain_trim(s->chain, &s->start, NULL) == 0);
        }
    }
    return NULL;
}

static void *ask(void *arg)
{
    struct shared *s = arg;
    uint64_t member = sop_chain_member(s->chain);
    struct sop_lsn last = {0, 0};
    while (!atomic_load(&s->done)) {
        SOP_ASSERT(sop_chain_barrier(s->chain, NULL) == 0);
        struct sop_chain_load load;
        sop_chain_load(s->chain, &s->start, &load);
        struct sop_chain_point p;
        sop_chain_point(s->chain, &p);
        SOP_ASSERT(sop_lsn_cmp(last, p.lsn) <= 0); /* a head never goes back */
        last = p.lsn;
        SOP_ASSERT(sop_chain_decided(s->chain, member, COMMITS + 1) == SOP_DECIDED_NO);
        (void)sop_chain_wants_care(s->chain);
    }
    return NULL;
}

START_TEST(others_may_ask_and_care_while_one_commits)
{
    static struct chain_log log;
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log);
    struct shared s = {.chain = chain_open(&o)};
    sop_chain_point(s.chain, &s.start);
    pthread_t threads[3];
    ck_assert_int_eq(sop_thread_start(&threads[0], care_and_trim, &s, "care", NULL), 0);
    ck_assert_int_eq(sop_thread_start(&threads[1], ask, &s, "ask", NULL), 0);
    ck_assert_int_eq(sop_thread_start(&threads[2], ask, &s, "ask", NULL), 0);
    for (uint64_t t = 1; t <= COMMITS; t++) {
        chain_commit(s.chain, t, t % 50 == 0 ? 200000 : 3000);
    }
    atomic_store(&s.done, true);
    for (size_t i = 0; i < SOP_ARRAY_LEN(threads); i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    chain_close(&s.chain, false);
    check_told(v, &genesis, &(struct chain_told){.acknowledged = COMMITS});
    sop_volume_destroy(v);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chain_threads");
    TCase *t = tcase_create("chain_threads");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, others_may_ask_and_care_while_one_commits);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
