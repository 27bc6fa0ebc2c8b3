/* Scripts with a failure at every point. */
#include "tests/lib/drive.h"

#include "engine/volume/sim.h"
#include "tests/lib/write_once.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define POINTS_MAX 200000u
/* Each stop leaves a member whose files a checkpoint has to look at: the end of the step moves
 * away. After so many stops in a step the disk goes back, after each further one, to what it
 * was then. */
#define STOPS_LEFT 2

/* The disk while the current step was not tried any more, and what was acknowledged on it. */
struct base {
    struct sop_volume *disk; /* NULL = none */
    uint64_t acked;
};

struct course {
    struct drive *d;
    struct script_world w;
    uint64_t *next;  /* of each step: the first point that was not tried */
    uint64_t *stops; /* of each step */
    bool *done;      /* every point of it was */
    struct base base;
    size_t at; /* step */
    uint64_t n;
    uint64_t random;
    char context[200];
};

static uint64_t draw(struct course *c)
{
    c->random = c->random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return c->random >> 33;
}

static void say(struct course *c)
{
    (void)snprintf(c->context, sizeof c->context,
                   "%s, %s, seed %" PRIu64 ", step %zu, point %" PRIu64, c->d->script->name,
                   c->d->mode, c->d->seed, c->at, c->n);
}

static void fine(struct course *c, int rc, const struct sop_err *err, const char *what)
{
    ck_assert_msg(rc == 0, "%s: %s: %s: %s", c->context, what, sop_err_name(rc), err->text);
}

/* Is the handle still good for something? */
static bool stopped(struct course *c)
{
    struct sop_txn *t = NULL;
    struct sop_err err = {0};
    if (c->w.db == NULL) {
        return true;
    }
    int rc = sop_txn_begin(&t, c->w.db, NULL, &err);
    script_typed(rc, &err, c->context);
    if (rc != 0) {
        ck_assert_msg(rc == SOP_ERR_STOPPED || rc == SOP_ERR_SEALED, "%s: begin gives %s: %s",
                      c->context, sop_err_name(rc), err.text);
        ck_assert_int_eq(sop_txn_begin(&t, c->w.db, NULL, &err), SOP_ERR_STOPPED);
        return true;
    }
    sop_txn_rollback(&t);
    return false;
}

/* Opens again after a stop. What was acknowledged is there; in doubt, the status tells. */
static uint64_t reopen(struct course *c, bool unknown)
{
    struct sop_err err = {0};
    struct script_world *w = &c->w;
    if (w->db != NULL && c->n % 2 == 0) {
        int rc = sop_db_close(&w->db, &err);
        script_typed(rc, &err, c->context);
        ck_assert_ptr_null(w->db);
    }
    sop_db_abandon(&w->db);
    memset(&err, 0, sizeof err);
    fine(c, script_open(w, !w->made, &err), &err, "open after a failure");
    w->made = true;
    bool keeps_all = w->script->durability == SOP_DURABLE_COMMIT;
    uint64_t low = keeps_all ? w->acked : w->synced;
    uint64_t n =
        script_check(w->db, w->script, low, unknown ? w->attempted : w->acked, c->context);
    if (unknown) {
        enum sop_txn_outcome outcome = 0;
        fine(c, sop_txn_status(w->db, &w->last.id, &outcome, &err), &err, "status");
        enum sop_txn_outcome should = n > w->acked ? SOP_COMMITTED : SOP_NOT_COMMITTED;
        ck_assert_msg(outcome == should, "%s: the status says %d, found is %d", c->context,
                      (int)outcome, (int)should);
    }
    w->attempted = w->acked = w->synced = n;
    return n;
}

static void forget_base(struct course *c)
{
    sop_volume_destroy(c->base.disk);
    c->base.disk = NULL;
}

/* The disk becomes `disk`, which is taken; nothing is open. */
static void change_disk(struct course *c, struct sop_volume *disk)
{
    struct drive *d = c->d;
    d->unwrap(d);
    sop_volume_destroy(d->sim);
    d->sim = disk;
    d->wrap(d);
    c->w.volume = d->top;
}

static struct sop_volume *copy_disk(struct course *c, struct sop_volume *disk)
{
    struct sop_volume *copy = NULL;
    struct sop_err err = {0};
    fine(c, sop_volume_sim_copy(disk, &copy, &err), &err, "copy");
    copy->one_host = c->d->one_host;
    return copy;
}

/* Before a step is tried once more. */
static void keep_base(struct course *c)
{
    if (c->base.disk == NULL && c->stops[c->at] >= STOPS_LEFT) {
        c->base = (struct base){.disk = copy_disk(c, c->d->sim), .acked = c->w.acked};
    }
}

/* After a stop that was settled: back to the disk that was kept, and open again. Its member
 * died in the middle of whatever it did. */
static void go_back(struct course *c)
{
    struct script_world *w = &c->w;
    struct sop_err err = {0};
    sop_db_abandon(&w->db);
    change_disk(c, copy_disk(c, c->base.disk));
    fine(c, script_open(w, !w->made, &err), &err, "open what was kept");
    uint64_t n = script_check(w->db, w->script, c->base.acked, c->base.acked, c->context);
    w->attempted = w->acked = w->synced = n;
}

/* Power loss now would lose nothing that was acknowledged. */
static void check_disk(struct course *c)
{
    struct sop_volume *disk = NULL;
    struct script_world w;
    struct sop_err err = {0};
    if (!c->w.made) {
        return;
    }
    fine(c, sop_volume_sim_crash(c->d->sim, NULL, &disk, &err), &err, "crash");
    sop_volume_sim_set_capacity(disk, 0);
    script_world_init(&w, c->d->script, disk, c->random);
    fine(c, script_open(&w, false, &err), &err, "open after power loss");
    (void)script_check(w.db, c->d->script, c->w.synced, c->w.attempted, c->context);
    script_verify(w.db, false, c->context);
    script_world_fini(&w);
    sop_volume_destroy(disk);
}

/* The step that makes transaction n + 1. */
static size_t step_of(const struct script *s, uint64_t n, size_t from)
{
    while (from > 0 && !(s->steps[from].what == SCRIPT_TXN && s->steps[from].txn == n)) {
        from--;
    }
    return from;
}

static int attempt(struct course *c, struct sop_err *err)
{
    memset(err, 0, sizeof *err);
    if (c->w.db == NULL && c->d->script->steps[c->at].what != SCRIPT_OPEN) {
        return 0; /* a second try of what closed it */
    }
    if (c->w.db != NULL && c->d->script->steps[c->at].what == SCRIPT_OPEN) {
        return 0;
    }
    int rc = script_step(&c->w, c->at, err);
    script_typed(rc, err, c->context);
    return rc;
}

/* After a failure: true when the step counts as done. */
static bool settle(struct course *c, int rc, const struct sop_err *err, bool unknown)
{
    struct drive *d = c->d;
    enum script_do what = d->script->steps[c->at].what;
    uint64_t acked = c->w.acked;
    bool stops = stopped(c);
    ck_assert_msg(rc == 0 || d->may(d, rc, what, stops), "%s: an answer %s (%s): %s",
                  c->context, sop_err_name(rc), stops ? "stopped" : "alive", err->text);
    d->stops += stops && what != SCRIPT_CLOSE;
    c->stops[c->at] += stops;
    if (draw(c) % d->check_each == 0) {
        check_disk(c);
    }
    if (!stops) {
        if (draw(c) % d->check_each == 0) {
            (void)script_check(c->w.db, d->script, c->w.acked, c->w.acked, c->context);
        }
        return rc == 0 || c->w.acked > acked;
    }
    d->unknown += unknown;
    uint64_t n = reopen(c, unknown);
    if (n < acked) { /* relaxed durability: the script goes back to what is not there */
        forget_base(c);
        c->at = step_of(d->script, n, c->at);
        return false;
    }
    if (c->base.disk != NULL) {
        go_back(c);
        return false;
    }
    if (what == SCRIPT_CLOSE) {
        return false; /* closed, and open again */
    }
    return what == SCRIPT_TXN && n > d->script->steps[c->at].txn;
}

/* The same for a failed opening: a clean one works, and the disk becomes what it was. Otherwise
 * each failure would leave a member whose files the next opening meets, and the end of the step
 * would move away faster than it is approached. */
static void settle_open(struct course *c, int rc, const struct sop_err *why,
                        struct sop_volume *before)
{
    struct drive *d = c->d;
    struct sop_err err = {0};
    struct script_world *w = &c->w;
    ck_assert_ptr_null(w->db);
    ck_assert_msg(d->may(d, rc, SCRIPT_OPEN, true), "%s: an answer %s: %s", c->context,
                  sop_err_name(rc), why->text);
    if (draw(c) % d->check_each == 0) {
        check_disk(c);
    }
    fine(c, script_open(w, !w->made, &err), &err, "open after a failed opening");
    (void)script_check(w->db, w->script, w->acked, w->acked, c->context);
    sop_db_abandon(&w->db);
    change_disk(c, before);
}

/* One point of the current step; true when the step is done. */
static bool strike(struct course *c)
{
    struct drive *d = c->d;
    struct sop_err err;
    uint64_t before = c->w.acked;
    struct sop_volume *disk = NULL;
    say(c);
    if (d->script->steps[c->at].what == SCRIPT_OPEN) {
        disk = copy_disk(c, d->sim);
    } else if (!c->done[c->at]) {
        keep_base(c);
    }
    d->arm(d, c->n);
    int rc = attempt(c, &err);
    bool txn = d->script->steps[c->at].what == SCRIPT_TXN;
    bool unknown = txn && rc == SOP_ERR_UNKNOWN;
    if (rc != 0 && d->twice) {
        struct sop_commit last = c->w.last;
        int again = attempt(c, &err);
        ck_assert_msg(!unknown || again != 0, "%s: goes on after UNKNOWN", c->context);
        if (unknown) {
            c->w.last = last;
        }
        rc = again == 0 ? 0 : rc;
        unknown = unknown || (txn && again == SOP_ERR_UNKNOWN);
    }
    bool hit = d->disarm(d, c->n);
    c->done[c->at] = c->done[c->at] || !hit;
    if (!hit) {
        fine(c, rc, &err, "a step that nothing disturbed");
        sop_volume_destroy(disk);
        return true;
    }
    d->points++;
    c->next[c->at] = c->n + 1 + draw(c) % (d->skip_max + 1);
    if (rc != 0 && disk != NULL) {
        settle_open(c, rc, &err, disk);
        return false;
    }
    sop_volume_destroy(disk);
    if (rc == 0) {
        d->absorbed++;
        if (c->w.db != NULL && stopped(c)) { /* it answered, and that was the last thing done */
            (void)reopen(c, false);
            ck_assert_uint_ge(c->w.acked, before);
        }
        return true;
    }
    return settle(c, rc, &err, unknown);
}

static bool pass(struct course *c)
{
    struct drive *d = c->d;
    struct sop_err err = {0};
    bool all = true;
    script_world_init(&c->w, d->script, d->top, d->seed + d->passes);
    for (c->at = 0; c->at < d->script->steps_count; c->at++) {
        bool done = false;
        while (!done) {
            size_t at = c->at;
            c->n = c->done[at] ? UINT64_MAX - 1 : c->next[at];
            ck_assert_msg(c->n == UINT64_MAX - 1 || c->n < POINTS_MAX, "%s: endless",
                          c->context);
            done = strike(c);
        }
        forget_base(c);
    }
    for (size_t i = 0; i < d->script->steps_count; i++) {
        all = all && c->done[i];
    }
    c->at--;
    say(c);
    uint64_t most = d->script->txns_count;
    fine(c, script_open(&c->w, false, &err), &err, "open at the end");
    ck_assert_uint_eq(script_check(c->w.db, d->script, most, most, c->context), most);
    script_verify(c->w.db, true, c->context);
    fine(c, sop_db_close(&c->w.db, &err), &err, "close at the end");
    return all;
}

void drive_run(struct drive *d)
{
    struct course c = {.d = d, .random = d->seed};
    c.next = calloc(d->script->steps_count, sizeof *c.next);
    c.stops = calloc(d->script->steps_count, sizeof *c.stops);
    c.done = calloc(d->script->steps_count, sizeof *c.done);
    ck_assert_ptr_nonnull(c.next);
    ck_assert_ptr_nonnull(c.stops);
    ck_assert_ptr_nonnull(c.done);
    bool all = false;
    for (d->passes = 0; !all && d->passes < d->passes_max; d->passes++) {
        struct sop_err err = {0};
        ck_assert_int_eq(sop_volume_sim_new(&d->sim, &err), 0);
        write_once(d->sim);
        d->sim->one_host = d->one_host;
        d->wrap(d);
        all = pass(&c);
        d->unwrap(d);
        sop_volume_destroy(d->sim);
    }
    d->all = all && d->skip_max == 0;
    free(c.next);
    free(c.stops);
    free(c.done);
}
