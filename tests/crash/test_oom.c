/* Every allocation fails, once: the call says NOMEM, nothing is lost, half visible or leaked
 * (the sanitizer says so), the database goes on, and the same step works when there is memory.
 */
#include "tests/lib/drive.h"
#include "tests/lib/oom.h"
#include "tests/lib/scale.h"
#include "tests/lib/watch_volume.h"

#include <check.h>
#include <stdlib.h>

/* The simulated disk's own memory is not under test. */
static void before(void *arg, enum sop_fault_op op)
{
    (void)arg;
    (void)op;
    oom_pause();
}

static void after(void *arg, enum sop_fault_op op)
{
    (void)arg;
    (void)op;
    oom_resume();
}

static void wrap(struct drive *d)
{
    struct watch_calls calls = {.before = before, .after = after};
    d->top = watch_volume_new(d->sim, &calls);
}

static void unwrap(struct drive *d)
{
    sop_volume_destroy(d->top);
}

static void arm(struct drive *d, uint64_t n)
{
    (void)d;
    oom_fail_at(n);
}

static bool disarm(struct drive *d, uint64_t n)
{
    (void)d;
    (void)n;
    bool hit = oom_hit();
    oom_off();
    return hit;
}

/* Closing is the one step that may end otherwise: what it could not do the next opening does.
 */
static bool may(const struct drive *d, int rc, enum script_do step, bool stopped)
{
    (void)d;
    return rc == SOP_ERR_NOMEM && (!stopped || step == SCRIPT_OPEN || step == SCRIPT_CLOSE);
}

START_TEST(every_allocation_fails)
{
    uint64_t seeds = script_wanted((size_t)_i) ? test_scale(1, 2, 10) : 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct script s;
        script_init(&s, (size_t)_i, seed);
        struct drive d = {.script = &s,
                          .mode = "allocations",
                          .seed = seed,
                          .one_host = (seed + (uint64_t)_i) % 2 == 1,
                          .wrap = wrap,
                          .unwrap = unwrap,
                          .arm = arm,
                          .disarm = disarm,
                          .may = may,
                          .skip_max = test_scale(5, 0, 0),
                          .check_each = test_scale(16, 16, 4),
                          .passes_max = test_scale(1, 1000, 1000)};
        drive_run(&d);
        printf("allocations: %-10s %6" PRIu64 " points%s, %4" PRIu64 " stops, %5" PRIu64
               " without effect, %" PRIu64 " passes\n",
               s.name, d.points, d.all ? " (all)" : " (drawn)", d.stops, d.absorbed, d.passes);
        ck_assert_uint_gt(d.points, 0);
        ck_assert_msg(d.all || d.skip_max > 0, "%s: points are left", s.name);
        script_fini(&s);
    }
    (void)fflush(stdout);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("allocations");
    TCase *tcase = tcase_create("scripts");
    tcase_set_timeout(tcase, (double)test_scale(1200, 1800, 86400));
    tcase_add_loop_test(tcase, every_allocation_fails, 0, (int)script_count());
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
