/* Every operation of the volume fails: once or from then on, with EIO, with ENOSPC, after half
 * a write. Each call answers with an error that may be, nothing acknowledged is lost, nothing
 * is half there; a database that stopped can be reopened, one that did not goes on; an unknown
 * outcome is resolved by sop_txn_status(). And volumes that are full. */
#include "engine/volume/fault.h"
#include "engine/volume/sim.h"
#include "tests/lib/drive.h"
#include "tests/lib/scale.h"
#include "tests/lib/write_once.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>

static const struct {
    const char *name;
    unsigned ops;
    int sys;
    bool sticky, half_write;
} modes[] = {
    {"EIO", SOP_FAULT_ALL, EIO, false, false},
    {"EIO after half a write", SOP_FAULT_BIT(SOP_FAULT_WRITE), EIO, false, true},
    {"EIO from then on", SOP_FAULT_ALL, EIO, true, false},
    {"syncs fail", SOP_FAULT_BIT(SOP_FAULT_SYNC) | SOP_FAULT_BIT(SOP_FAULT_DIR_SYNC), EIO, true,
     false},
    {"ENOSPC",
     SOP_FAULT_BIT(SOP_FAULT_OPEN) | SOP_FAULT_BIT(SOP_FAULT_WRITE) |
         SOP_FAULT_BIT(SOP_FAULT_SYNC) | SOP_FAULT_BIT(SOP_FAULT_LINK) |
         SOP_FAULT_BIT(SOP_FAULT_MKDIR) | SOP_FAULT_BIT(SOP_FAULT_DIR_SYNC),
     ENOSPC, false, true},
};

struct faults {
    size_t mode;
};

static void wrap(struct drive *d)
{
    ck_assert_int_eq(sop_volume_fault_new(d->sim, &d->top, NULL), 0);
}

static void unwrap(struct drive *d)
{
    sop_volume_destroy(d->top);
}

static void arm(struct drive *d, uint64_t n)
{
    const struct faults *f = d->arg;
    struct sop_fault_plan plan = {.ops = modes[f->mode].ops,
                                  .at = n,
                                  .sys = modes[f->mode].sys,
                                  .sticky = modes[f->mode].sticky,
                                  .half_write = modes[f->mode].half_write};
    sop_volume_fault_set(d->top, &plan);
    ck_assert_uint_eq(sop_volume_fault_count(d->top), 0);
}

static bool disarm(struct drive *d, uint64_t n)
{
    struct sop_fault_plan off = {.at = UINT64_MAX};
    bool hit = sop_volume_fault_count(d->top) > n;
    sop_volume_fault_set(d->top, &off);
    return hit;
}

/* What an operation of the volume that fails may look like from above. Never: damage, absence,
 * a conflict. */
static bool may(const struct drive *d, int rc, enum script_do step, bool stopped)
{
    const struct faults *f = d->arg;
    switch (rc) {
    case SOP_ERR_DATA_LOSS: /* what cannot be read is a finding */
        return step == SCRIPT_VERIFY;
    case SOP_ERR_NOSPACE:
        return modes[f->mode].sys == ENOSPC;
    case SOP_ERR_IO:
        return true;
    case SOP_ERR_SEALED: /* of TEN that could not be read */
    case SOP_ERR_STOPPED:
        return stopped;
    case SOP_ERR_UNKNOWN:
        return stopped && step != SCRIPT_OPEN;
    default:
        return false;
    }
}

START_TEST(every_operation_fails)
{
    size_t which = (size_t)_i / SOP_ARRAY_LEN(modes);
    struct faults f = {.mode = (size_t)_i % SOP_ARRAY_LEN(modes)};
    uint64_t seeds = script_wanted(which) ? test_scale(1, 1, 20) : 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct script s;
        script_init(&s, which, seed);
        struct drive d = {.script = &s,
                          .mode = modes[f.mode].name,
                          .seed = seed,
                          .one_host = (seed + (uint64_t)_i) % 2 == 1,
                          .wrap = wrap,
                          .unwrap = unwrap,
                          .arm = arm,
                          .disarm = disarm,
                          .may = may,
                          .arg = &f,
                          .skip_max = test_scale(16, 0, 0),
                          .check_each = test_scale(8, 4, 1),
                          .passes_max = test_scale(1, 1000, 1000),
                          .twice = modes[f.mode].sticky};
        drive_run(&d);
        printf("faults: %-10s %-22s %5" PRIu64 " points%s, %5" PRIu64 " stops, %4" PRIu64
               " unknown, %5" PRIu64 " without effect, %" PRIu64 " passes\n",
               s.name, d.mode, d.points, d.all ? " (all)" : " (drawn)", d.stops, d.unknown,
               d.absorbed, d.passes);
        (void)fflush(stdout);
        ck_assert_uint_gt(d.points, 0);
        ck_assert_msg(d.all || d.skip_max > 0,
                      "%s, %s: points are left after %" PRIu64 " passes", s.name, d.mode,
                      d.passes);
        script_fini(&s);
    }
}
END_TEST

/* ---- full volumes --------------------------------------------------------------------------
 */

/* Runs a script on a volume that is full again and again; room comes in small pieces. */
START_TEST(full_volume)
{
    size_t which = (size_t)_i;
    struct script s;
    struct sop_volume *sim = NULL;
    struct script_world w;
    struct sop_err err = {0};
    uint64_t room = 64u << 10;
    uint64_t refused = 0;
    script_init(&s, which, 1);
    ck_assert_int_eq(sop_volume_sim_new(&sim, &err), 0);
    write_once(sim);
    script_world_init(&w, &s, sim, 7);
    sop_volume_sim_set_capacity(sim, room);
    for (size_t i = 0; i < s.steps_count;) {
        char context[128];
        (void)snprintf(context, sizeof context, "%s, step %zu, room %" PRIu64, s.name, i, room);
        memset(&err, 0, sizeof err);
        int rc = script_step(&w, i, &err);
        script_typed(rc, &err, context);
        if (rc == 0) {
            i++;
            continue;
        }
        refused++;
        ck_assert_msg(rc == SOP_ERR_NOSPACE, "%s: %s: %s", context, sop_err_name(rc), err.text);
        if (w.db != NULL) {
            (void)script_check(w.db, &s, w.acked, w.acked, context);
        } else if (s.steps[i].what == SCRIPT_CLOSE) {
            i++;
        }
        if (refused % 3 == 0) { /* one that is tried again without room is refused again */
            rc = w.db == NULL && s.steps[i].what != SCRIPT_OPEN ? 0 : script_step(&w, i, &err);
            i += rc == 0;
        }
        room += 48u << 10;
        ck_assert_msg(room < 64u << 20, "%s: %s", context, err.text);
        sop_volume_sim_set_capacity(sim, room);
    }
    ck_assert_uint_gt(refused, 0);
    struct sop_volume *disk = NULL;
    ck_assert_int_eq(sop_volume_sim_crash(sim, NULL, &disk, &err), 0);
    struct script_world after;
    script_world_init(&after, &s, disk, 8);
    sop_volume_sim_set_capacity(disk, 0);
    int rc = script_open(&after, false, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    (void)script_check(after.db, &s, s.txns_count, s.txns_count, s.name);
    script_verify(after.db, true, s.name);
    script_world_fini(&after);
    sop_volume_destroy(disk);
    printf("full volume: %-10s %4" PRIu64 " times\n", s.name, refused);
    (void)fflush(stdout);
    script_world_fini(&w);
    sop_volume_destroy(sim);
    script_fini(&s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("faults");
    TCase *tcase = tcase_create("volume");
    tcase_set_timeout(tcase, (double)test_scale(1200, 1800, 86400));
    tcase_add_loop_test(tcase, every_operation_fails, 0,
                        (int)(script_count() * SOP_ARRAY_LEN(modes)));
    tcase_add_loop_test(tcase, full_volume, 0, (int)script_count());
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
