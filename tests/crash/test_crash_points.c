/* Crashes at every operation of the volume: at each point of each script the disk that a crash
 * would leave is built in several ways (nothing unsynced kept; everything kept, as after kill
 * -9; random sectors kept, dropped and garbled, with a prefix of the names), reopened and
 * compared. What was acknowledged is there, nothing else is half there, verify is clean, and
 * the database goes on: it takes a transaction and a checkpoint, and survives power loss after
 * them.
 *
 * For some of these disks the recovery itself is stopped at its points in the same way.
 *
 * The images are made while the script runs, in front of an operation, and looked at between
 * its steps; so one run of the script gives all of its points. */
#include "engine/volume/sim.h"
#include "tests/lib/scale.h"
#include "tests/lib/script.h"
#include "tests/lib/watch_volume.h"
#include "tests/lib/write_once.h"

#include <check.h>
#include <stdlib.h>

/* A crash before the database exists leaves nothing to find; other operations change no disk.
 */
#define CHANGING                                                                               \
    (SOP_FAULT_BIT(SOP_FAULT_OPEN) | SOP_FAULT_BIT(SOP_FAULT_WRITE) |                          \
     SOP_FAULT_BIT(SOP_FAULT_SYNC) | SOP_FAULT_BIT(SOP_FAULT_LINK) |                           \
     SOP_FAULT_BIT(SOP_FAULT_UNLINK) | SOP_FAULT_BIT(SOP_FAULT_MKDIR) |                        \
     SOP_FAULT_BIT(SOP_FAULT_RMDIR) | SOP_FAULT_BIT(SOP_FAULT_DIR_SYNC))

/* What must hold on a disk. */
struct bounds {
    uint64_t power, kill; /* transactions that must be there after power loss, after kill -9 */
    uint64_t high;        /* that may be there */
    uint64_t after_low, after_high;
    bool made;
};

enum how { NOTHING_KEPT, ALL_KEPT, DRAWN };
struct image {
    struct sop_volume *disk;
    struct bounds bounds;
    uint64_t point, seed;
    enum how how;
};

/* One run under watch. */
struct run {
    const struct script *script;
    struct sop_volume *sim, *watch;
    void (*bounds)(const struct run *r, struct bounds *out);
    const void *arg;
    uint64_t seed, stride, draws; /* stride 0: only count */
    uint64_t points;
    struct image *images;
    size_t count, cap;
};

static struct {
    uint64_t points, states, nested_points, nested_states;
} total;

static void image_add(struct run *r, enum how how, uint64_t seed)
{
    if (r->count == r->cap) {
        r->cap = r->cap * 2 + 64;
        r->images = realloc(r->images, r->cap * sizeof *r->images);
        ck_assert_ptr_nonnull(r->images);
    }
    struct image *i = &r->images[r->count++];
    *i = (struct image){.point = r->points, .seed = seed, .how = how};
    r->bounds(r, &i->bounds);
    struct sop_sim_crash crash = {.seed = seed,
                                  .keep_sector = (unsigned)(seed * 29 % 90),
                                  .garble_sector = (unsigned)(seed % 3) * 15,
                                  .keep_names = (unsigned)(seed * 31 % 100)};
    crash.garble_sector =
        crash.keep_sector + crash.garble_sector > 100 ? 0 : crash.garble_sector;
    struct sop_err err = {0};
    int rc = how == ALL_KEPT
                 ? sop_volume_sim_copy(r->sim, &i->disk, &err)
                 : sop_volume_sim_crash(r->sim, how == DRAWN ? &crash : NULL, &i->disk, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
}

static void before(void *arg, enum sop_fault_op op)
{
    struct run *r = arg;
    if ((SOP_FAULT_BIT(op) & CHANGING) == 0) {
        return;
    }
    if (r->stride != 0 && (r->points + r->seed) % r->stride == 0) {
        image_add(r, NOTHING_KEPT, 0);
        image_add(r, ALL_KEPT, 0);
        for (uint64_t i = 0; i < r->draws; i++) {
            image_add(r, DRAWN, (r->seed + r->points) * 64 + i);
        }
    }
    r->points++;
}

static void run_init(struct run *r, const struct script *s, struct sop_volume *sim,
                     uint64_t seed)
{
    memset(r, 0, sizeof *r);
    struct watch_calls calls = {.before = before, .arg = r};
    r->script = s;
    r->sim = sim;
    r->seed = seed;
    r->watch = watch_volume_new(sim, &calls);
}

static void run_fini(struct run *r)
{
    ck_assert_uint_eq(r->count, 0);
    free(r->images);
    sop_volume_destroy(r->watch);
}

/* Names are drawn: openings of one disk and its copies must not draw the same ones. */
static uint64_t fresh_seed(uint64_t of)
{
    static uint64_t openings;
    return of * UINT64_C(0x9e3779b97f4a7c15) + (++openings << 20);
}

/* ---- one disk ------------------------------------------------------------------------------
 */

static void fine(int rc, const struct sop_err *err, const char *what, const char *context)
{
    ck_assert_msg(rc == 0, "%s: %s: %s: %s", context, what, sop_err_name(rc), err->text);
}

/* A recovery, and how far it came. */
struct recovery {
    struct script_world world;
    struct bounds bounds;
    uint64_t last, after;
};

static void recovery_bounds(const struct run *r, struct bounds *out)
{
    *out = ((const struct recovery *)r->arg)->bounds;
}

/* Opens, compares, and goes on with a transaction and a checkpoint. */
static void recover(struct recovery *x, const struct image *i, const char *context)
{
    const struct script *s = x->world.script;
    struct sop_err err = {0};
    struct bounds *b = &x->bounds;
    fine(script_open(&x->world, !b->made, &err), &err, "open", context);
    b->made = true;
    uint64_t low = i->how == ALL_KEPT ? b->kill : b->power;
    x->last = script_check(x->world.db, s, low, b->high, context);
    x->after = script_after_get(x->world.db, context);
    ck_assert_msg(x->after >= b->after_low && x->after <= b->after_high, "%s: after %" PRIu64,
                  context, x->after);
    b->power = b->kill = b->high = x->last; /* what it has shown once it must keep */
    b->after_low = x->after;
    b->after_high = x->after + 1;
    if (test_scale(i->point % 4 == 0, 1, 1)) {
        script_verify(x->world.db, i->point % 16 == 0, context);
    }
    fine(script_after_put(x->world.db, x->after + 1, &err), &err, "put", context);
    if (s->durability == SOP_DURABLE_COMMIT) {
        b->after_low = x->after + 1;
    }
    fine(sop_db_checkpoint(x->world.db, &err), &err, "checkpoint", context);
    b->after_low = x->after + 1;
    (void)script_check(x->world.db, s, x->last, x->last, context);
}

/* After recovery, power loss loses nothing any more. */
static void check_again(const struct recovery *x, struct sop_volume *disk, uint64_t seed,
                        const char *context)
{
    struct sop_err err = {0};
    struct sop_volume *copy = NULL;
    struct script_world w;
    fine(sop_volume_sim_crash(disk, NULL, &copy, &err), &err, "crash", context);
    script_world_init(&w, x->world.script, copy, fresh_seed(seed));
    fine(script_open(&w, false, &err), &err, "open again", context);
    (void)script_check(w.db, x->world.script, x->last, x->last, context);
    ck_assert_msg(script_after_get(w.db, context) == x->after + 1,
                  "%s: what came after is lost", context);
    if (seed % 4 == 1) {
        script_verify(w.db, false, context);
    }
    fine(sop_db_close(&w.db, &err), &err, "close", context);
    sop_volume_destroy(copy);
}

static void name_of(const struct script *s, const struct image *i, const char *before_it,
                    char to[256])
{
    static const char *const hows[] = {"nothing kept", "all kept", "seed"};
    (void)snprintf(to, 256, "%s%s, point %" PRIu64 ", %s %" PRIu64, before_it, s->name,
                   i->point, hows[i->how], i->seed);
}

static void check_image(const struct script *s, const struct image *i, const char *before_it)
{
    char context[256];
    struct sop_err err = {0};
    struct recovery x = {.bounds = i->bounds};
    name_of(s, i, before_it, context);
    script_world_init(&x.world, s, i->disk, fresh_seed(i->point));
    recover(&x, i, context);
    if (i->point % 2 == 0) {
        fine(sop_db_close(&x.world.db, &err), &err, "close", context);
    } else {
        sop_db_abandon(&x.world.db);
    }
    check_again(&x, i->disk, i->point, context);
}

/* ---- crashes while a crash is recovered from -----------------------------------------------
 */

static void check_nested(const struct script *s, const struct image *i, uint64_t wanted)
{
    char context[256];
    for (int round = 0; round < 2; round++) { /* first count, then stop */
        struct sop_volume *disk = NULL;
        struct sop_err err = {0};
        struct recovery x = {.bounds = i->bounds};
        struct run r;
        static uint64_t points;
        name_of(s, i, "", context);
        fine(sop_volume_sim_copy(i->disk, &disk, &err), &err, "copy", context);
        run_init(&r, s, disk, i->point);
        r.bounds = recovery_bounds;
        r.arg = &x;
        r.draws = 1;
        r.stride = round == 0 ? 0 : points / wanted + 1;
        script_world_init(&x.world, s, r.watch, fresh_seed(i->point));
        recover(&x, i, context);
        fine(sop_db_close(&x.world.db, &err), &err, "close", context);
        points = r.points;
        (void)strcat(context, "; recovery of ");
        for (size_t k = 0; k < r.count; k++) {
            char nested[256];
            /* An image that keeps everything is no kill -9 of a disk that lost power. */
            struct image *inner = &r.images[k];
            (void)snprintf(nested, sizeof nested, "%.120s", context);
            if (i->how != ALL_KEPT && inner->bounds.kill > inner->bounds.power) {
                inner->bounds.kill = inner->bounds.power;
            }
            check_image(s, inner, nested);
            sop_volume_destroy(inner->disk);
            total.nested_states++;
        }
        total.nested_points += r.stride == 0 ? 0 : r.points / r.stride;
        r.count = 0;
        run_fini(&r);
        sop_volume_destroy(disk);
    }
}

/* ---- a script ------------------------------------------------------------------------------
 */

static void world_bounds(const struct run *r, struct bounds *out)
{
    const struct script_world *w = r->arg;
    *out = (struct bounds){
        .power = w->synced, .kill = w->acked, .high = w->attempted, .made = w->made};
}

struct amounts {
    uint64_t points, draws, nest_each, nest_points; /* points of a script; 0 = all */
};

static void check_images(struct run *r, const struct amounts *a)
{
    for (size_t i = 0; i < r->count; i++) {
        struct image *image = &r->images[i];
        total.states++;
        if (total.states % a->nest_each == 0) {
            check_nested(r->script, image, a->nest_points);
        }
        check_image(r->script, image, "");
        sop_volume_destroy(image->disk);
    }
    r->count = 0;
}

static uint64_t run_script(const struct script *s, uint64_t seed, uint64_t stride,
                           const struct amounts *a, bool one_host)
{
    struct sop_volume *sim = NULL;
    struct script_world w;
    struct run r;
    struct sop_err err = {0};
    ck_assert_int_eq(sop_volume_sim_new(&sim, &err), 0);
    write_once(sim);
    sim->one_host = one_host;
    run_init(&r, s, sim, seed);
    r.stride = stride;
    r.draws = a->draws;
    r.bounds = world_bounds;
    r.arg = &w;
    script_world_init(&w, s, r.watch, seed);
    for (size_t i = 0; i < s->steps_count; i++) {
        int rc = script_step(&w, i, &err);
        ck_assert_msg(rc == 0, "%s, step %zu: %s: %s", s->name, i, sop_err_name(rc), err.text);
        check_images(&r, a);
    }
    if (stride != 0) {
        image_add(&r, NOTHING_KEPT, 0);
        image_add(&r, ALL_KEPT, 0);
        check_images(&r, a);
        total.points += r.points / stride;
    }
    uint64_t points = r.points;
    run_fini(&r);
    script_world_fini(&w);
    sop_volume_destroy(sim);
    return points;
}

START_TEST(every_point_of_a_script_is_survived)
{
    struct amounts a = {.points = test_scale(30, 0, 0),
                        .draws = test_scale(2, 3, 12),
                        .nest_each = test_scale(40, 40, 10),
                        .nest_points = test_scale(8, 25, 100)};
    uint64_t seeds = script_wanted((size_t)_i) ? test_scale(1, 1, 20) : 0;
    const char *only = getenv("SOP_CRASH_SEED"); /* repeats one seed */
    uint64_t first = only != NULL ? strtoull(only, NULL, 10) : 1;
    memset(&total, 0, sizeof total);
    uint64_t all = 0;
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        struct script s;
        script_init(&s, (size_t)_i, seed);
        all = run_script(&s, seed, 0, &a, seed % 2 == 1);
        uint64_t stride = a.points == 0 || all <= a.points ? 1 : all / a.points;
        (void)run_script(&s, seed, stride, &a, seed % 2 == 1);
        script_fini(&s);
    }
    printf("crash points: %-10s %5" PRIu64 " of %5" PRIu64 " operations, %6" PRIu64
           " disks; in recovery %5" PRIu64 " points, %6" PRIu64 " disks; seeds %" PRIu64
           "..%" PRIu64 "\n",
           script_name((size_t)_i), total.points, all * seeds, total.states,
           total.nested_points, total.nested_states, first, first + seeds - 1);
    (void)fflush(stdout);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("crash points");
    TCase *tcase = tcase_create("scripts");
    tcase_set_timeout(tcase, (double)test_scale(1200, 1800, 86400));
    tcase_add_loop_test(tcase, every_point_of_a_script_is_survived, 0, (int)script_count());
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
