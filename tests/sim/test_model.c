/* Random transactions on a simulated volume against a plain ordered map: everything that is
 * answered is compared, every commit and every conflict is judged, and at random places the
 * database is closed, killed, loses its power (anywhere in a call, too), or meets a failing
 * volume, after which it must hold exactly what was acknowledged. In four openings of ten the
 * cache has far too little room, so that pages are read again all the time.
 *
 * A failure prints the seed and the command that repeats it. SOP_SEED chooses the first seed,
 * SOP_STEPS the steps of each round, SOP_TRACE=1 prints every step. */
#include "engine/db/db_int.h"
#include "engine/volume/fault.h"
#include "engine/volume/sim.h"
#include "tests/lib/model_make.h"
#include "tests/lib/scale.h"

#include <check.h>
#include <errno.h>

#define TXNS        6
#define SNAPSHOTS   3
#define HISTORY_MAX 4096
#define CHAIN_SLOTS 8
#define RECENT_MAX  4096
#define FAT_ITEMS   1500

#define STEPS_THAT_EVICT 10000

struct world {
    uint64_t seed, steps, step;
    struct kit_rng rng; /* of the driver; the maker has its own */
    struct model_maker maker;
    struct sop_env env;
    uint64_t clock_ns;
    struct kit_rng env_rng;
    struct sop_volume *sim, *fault;
    struct sop_db *db;
    struct sop_db_options options;
    uint64_t cache_bytes; /* budget below what options allow; 0 = as these say */
    struct sop_comparer comparer;
    struct model_state *head;
    /* What a power loss may bring back, oldest first; the last one is the head. */
    struct model_state *history[HISTORY_MAX];
    uint32_t history_count;
    struct model_txn *txns[TXNS];
    struct {
        struct sop_snapshot *pin;
        struct model_state *state;
    } snapshots[SNAPSHOTS];
    bool armed;                 /* a fault may come */
    bool suspect;               /* one may have come since opening */
    struct sop_volume *image;   /* the disk at the moment of a power loss inside a call */
    struct sop_sim_crash crash; /* how it treats what was not synced */
    bool crash_armed;
    struct model_state *maybe; /* what a commit of unknown outcome would make */
    struct sop_txn_id maybe_id;
    uint64_t recent[RECENT_MAX]; /* digests of the heads since opening */
    uint64_t recent_count, observed;
    struct sop_txn_id last_id; /* of the newest acknowledged commit */
    bool hook_called, hook_committed;
    uint64_t compactions, evictions, observers;
    uint64_t ops, commits, conflicts, reopens, kills, cuts, faults, unknown, prepared;
    bool trace;
};

static struct world *the_world; /* for messages */

#define FAIL(...)                                                                              \
    do {                                                                                       \
        printf("step %llu of seed %llu: ", (unsigned long long)the_world->step,                \
               (unsigned long long)the_world->seed);                                           \
        printf(__VA_ARGS__);                                                                   \
        printf("\nrepeat with: SOP_SEED=%llu SOP_STEPS=%llu CK_FORK=no ./test_model\n",        \
               (unsigned long long)the_world->seed, (unsigned long long)the_world->steps);     \
        fflush(stdout);                                                                        \
        ck_abort_msg("seed %llu", (unsigned long long)the_world->seed);                        \
    } while (0)
#define TRACE(w, ...)                                                                          \
    do {                                                                                       \
        if ((w)->trace) {                                                                      \
            printf("%llu: ", (unsigned long long)(w)->step);                                   \
            printf(__VA_ARGS__);                                                               \
            printf("\n");                                                                      \
            fflush(stdout);                                                                    \
        }                                                                                      \
    } while (0)

static void ok(int rc, const struct sop_err *err, const char *what)
{
    if (rc != 0) {
        FAIL("%s: %s: %s", what, sop_err_name(rc), err->text);
    }
}

/* ---- the world around: time and chance from the seed ---------------------------------------
 */

static uint64_t env_mono(struct sop_env *env)
{
    (void)env;
    return the_world->clock_ns += 1000;
}

static uint64_t env_wall(struct sop_env *env)
{
    (void)env;
    return 1700000000000u + the_world->clock_ns / 1000000;
}

static void env_sleep(struct sop_env *env, uint64_t ns)
{
    (void)env;
    the_world->clock_ns += ns;
}

static void env_random(struct sop_env *env, void *to, size_t len)
{
    (void)env;
    uint8_t *bytes = to;
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)kit_next(&the_world->env_rng);
    }
}

static const struct sop_env_ops env_ops = {env_mono, env_wall, env_sleep, env_random};

/* ---- states that may come back -------------------------------------------------------------
 */

static void history_clear(struct world *w)
{
    for (uint32_t i = 0; i < w->history_count; i++) {
        model_state_unref(&w->history[i]);
    }
    w->history_count = 0;
}

static void history_add(struct world *w, struct model_state *s)
{
    if (w->history_count == HISTORY_MAX) {
        FAIL("too many commits between two syncs");
    }
    w->history[w->history_count++] = model_state_ref(s);
}

/* All that was acknowledged is durable. */
static void history_settle(struct world *w)
{
    history_clear(w);
    history_add(w, w->head);
}

static void remember(struct world *w)
{
    w->recent[w->recent_count++ % RECENT_MAX] = model_state_digest(w->head);
}

static void new_head(struct world *w, struct model_state *s)
{
    model_state_unref(&w->head);
    w->head = s;
    if (w->options.durability == SOP_DURABLE_COMMIT) {
        history_settle(w);
    } else {
        history_add(w, s);
    }
    remember(w);
}

/* ---- faults --------------------------------------------------------------------------------
 */

static void disarm(struct world *w)
{
    struct sop_fault_plan none = {.at = UINT64_MAX};
    sop_volume_fault_set(w->fault, &none);
    sop_volume_sim_set_capacity(w->sim, 0);
    w->armed = false;
    w->crash_armed = false;
}

static void cut_power(void *arg)
{
    struct world *w = arg;
    struct sop_err err = {0};
    ok(sop_volume_sim_crash(w->sim, &w->crash, &w->image, &err), &err, "take the image");
}

static void make_crash(struct world *w)
{
    static const unsigned chances[] = {0, 30, 60, 100};
    w->crash = (struct sop_sim_crash){.seed = kit_next(&w->rng),
                                      .keep_sector = chances[kit_below(&w->rng, 4)],
                                      .keep_names = chances[kit_below(&w->rng, 4)]};
    if (model_chance(&w->rng, 500)) {
        w->crash.garble_sector = kit_below(&w->rng, 101 - w->crash.keep_sector);
    }
}

static void arm(struct world *w, bool crash)
{
    struct sop_fault_plan plan = {.ops = SOP_FAULT_ALL & ~SOP_FAULT_BIT(SOP_FAULT_LOCK),
                                  .at = kit_below(&w->rng, model_chance(&w->rng, 500) ? 8 : 60),
                                  .sys = model_chance(&w->rng, 600) ? EIO : ENOSPC,
                                  .half_write = model_chance(&w->rng, 500)};
    if (model_chance(&w->rng, 500)) {
        plan.ops = SOP_FAULT_BIT(SOP_FAULT_WRITE) | SOP_FAULT_BIT(SOP_FAULT_SYNC);
    }
    if (!crash && model_chance(&w->rng, 100)) { /* the volume runs full */
        struct sop_db_stats stats = {.size = sizeof stats};
        struct sop_err err = {0};
        ok(sop_db_stats(w->db, &stats, &err), &err, "stats");
        sop_volume_sim_set_capacity(w->sim, stats.volume_bytes + kit_below(&w->rng, 1u << 20));
        plan.at = UINT64_MAX;
    } else if (!crash) {
        plan.sticky = model_chance(&w->rng, 200);
    } else {
        plan.stop = cut_power;
        plan.arg = w;
        make_crash(w);
    }
    sop_volume_fault_set(w->fault, &plan);
    w->armed = true;
    w->suspect = true;
    w->crash_armed = crash;
    TRACE(w, "%s at operation %llu of %x", crash ? "power loss" : "fault",
          (unsigned long long)plan.at, plan.ops);
}

/* May this error come from the volume's misbehaviour? */
static bool by_fault(const struct world *w, int rc)
{
    bool stopped = rc == SOP_ERR_STOPPED || rc == SOP_ERR_SEALED;
    return (w->armed && (rc == SOP_ERR_IO || rc == SOP_ERR_NOSPACE || rc == SOP_ERR_UNKNOWN)) ||
           (w->suspect && stopped);
}

/* ---- opening -------------------------------------------------------------------------------
 */

static void end_txn(struct world *w, uint32_t slot)
{
    struct model_txn *t = w->txns[slot];
    if (t == NULL) {
        return;
    }
    sop_txn_rollback(&t->txn);
    model_view_fini(&t->view);
    for (uint32_t i = 0; i < t->ops_count; i++) {
        model_op_fini(&t->ops[i]);
    }
    free(t->ops);
    free(t);
    w->txns[slot] = NULL;
}

static void release(struct world *w, uint32_t slot)
{
    sop_snapshot_release(&w->snapshots[slot].pin);
    model_state_unref(&w->snapshots[slot].state);
}

static void end_all(struct world *w)
{
    for (uint32_t i = 0; i < TXNS; i++) {
        end_txn(w, i);
    }
    for (uint32_t i = 0; i < SNAPSHOTS; i++) {
        release(w, i);
    }
}

static void use_volume(struct world *w, struct sop_volume *sim)
{
    struct sop_err err = {0};
    sop_volume_destroy(w->fault);
    if (w->sim != sim) {
        sop_volume_destroy(w->sim);
        w->sim = sim;
    }
    w->fault = NULL;
    ok(sop_volume_fault_new(sim, &w->fault, &err), &err, "wrap the volume");
    disarm(w);
    w->suspect = false;
}

static void open_db(struct world *w)
{
    struct sop_err err = {0};
    ok(sop_db_open_on(&w->db, w->fault, &w->env, &w->options, CHAIN_SLOTS, &err), &err, "open");
    if (w->cache_bytes != 0) { /* one thread, so that nobody reads it now */
        w->db->now->engine->cache.budget_bytes = w->cache_bytes;
    }
    w->compactions++; /* places may differ; nobody is there who read them */
}

static void report(void *arg, int severity, const char *text)
{
    struct world *w = arg;
    if (severity == 2) {
        printf("step %llu: verify: %s\n", (unsigned long long)w->step, text);
    }
}

static void verify(struct world *w, bool deep)
{
    struct sop_err err = {0};
    struct sop_verify_result result;
    ok(sop_db_verify(w->db, deep, report, NULL, w, &result, &err), &err, "verify");
}

/* ---- comparing everything ------------------------------------------------------------------
 */

struct listing {
    struct world *w;
    struct sop_txn *txn;
    uint64_t digest;
};

static int digest_store(void *arg, const struct sop_store_info *info, struct sop_err *err)
{
    struct listing *l = arg;
    struct sop_store *s = NULL;
    struct sop_cursor *c = NULL;
    uint64_t items = 0;
    uint64_t uid = 0;
    uint64_t notes = 0;
    ck_assert_uint_eq(info->options.custom.len, MODEL_CUSTOM_BYTES);
    memcpy(&uid, info->options.custom.data, 8);
    memcpy(&notes, info->options.custom.data + 8, 8);
    ok(sop_store_open(&s, l->txn, info->name, err), err, "open a store");
    ok(sop_cursor_open(&c, s, err), err, "open a cursor");
    int rc = sop_cursor_first(c, err);
    for (; rc == 0; rc = sop_cursor_next(c, err)) {
        struct sop_view view;
        struct sop_value_reader *reader = NULL;
        uint8_t seed[8] = {0};
        size_t got = 0;
        ok(sop_cursor_key(c, &view, err), err, "key");
        ok(sop_value_open(&reader, c, err), err, "open a value");
        ok(sop_value_read(reader, 0, seed, 8, &got, err), err, "read a value");
        sop_value_close(&reader);
        uint64_t number = 0;
        memcpy(&number, seed, 8);
        items += model_item_digest(view.key, view.ride, number, (uint32_t)view.value_bytes);
    }
    if (rc != SOP_ERR_END) {
        ok(rc, err, "walk");
    }
    sop_cursor_close(&c);
    l->digest =
        model_store_digest(l->digest, (uint32_t)(info->name[1] - '0'), uid, notes, items);
    return 0;
}

static struct sop_txn *begin_read(struct world *w)
{
    struct sop_txn_options o;
    struct sop_txn *txn = NULL;
    struct sop_err err = {0};
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    ok(sop_txn_begin(&txn, w->db, &o, &err), &err, "begin reading");
    return txn;
}

static uint64_t digest_db(struct world *w)
{
    struct listing l = {.w = w, .txn = begin_read(w)};
    struct sop_err err = {0};
    ok(sop_store_list(l.txn, NULL, digest_store, &l, &err), &err, "list stores");
    sop_txn_rollback(&l.txn);
    return l.digest;
}

/* An operation that must work, compared. */
static int checked(struct world *w, struct model_txn *t, struct model_op *op,
                   const char *during)
{
    struct model_got *got = malloc(sizeof *got);
    struct model_answer *a = malloc(sizeof *a);
    ck_assert(got != NULL && a != NULL);
    model_run(t, op, got);
    uint32_t name = op->kind > MODEL_CURSOR_CLOSE ? t->view.cursors[op->cursor].name : op->name;
    model_do(&t->view, op, a);
    const struct model_store *s = t->view.now->stores[name];
    if (!model_same(op, s != NULL ? &s->facts : &op->facts, a, got)) {
        char text[300];
        model_op_text(op, text, sizeof text);
        FAIL("%s: %s: %s", during, text, got->text);
    }
    int rc = a->rc;
    free(got);
    free(a);
    (void)w;
    return rc;
}

static void walk(struct world *w, struct model_txn *t, uint32_t name, bool forward,
                 const char *during)
{
    struct model_op op = {.kind = MODEL_CURSOR_OPEN, .name = name};
    (void)checked(w, t, &op, during);
    op.kind = forward ? MODEL_FIRST : MODEL_LAST;
    uint32_t i = 0;
    int rc = checked(w, t, &op, during);
    for (; rc == 0; i++) {
        struct model_op view = {.kind = forward ? MODEL_VALUE : MODEL_VIEW_ITEM};
        (void)checked(w, t, &view, during);
        if (i % 16 == 3) {
            view.kind = MODEL_POSITION;
            (void)checked(w, t, &view, during);
        }
        op.kind = forward ? MODEL_NEXT : MODEL_PREV;
        rc = checked(w, t, &op, during);
    }
    op.kind = MODEL_CURSOR_CLOSE;
    (void)checked(w, t, &op, during);
}

/* Compares all that a reader sees with a state. */
static void compare_all(struct world *w, struct model_state *state, struct sop_txn *txn,
                        const char *during)
{
    struct model_txn t = {.txn = txn, .mode = SOP_READ};
    model_view_init(&t.view, state, false);
    struct model_op list = {.kind = MODEL_STORE_LIST};
    (void)checked(w, &t, &list, during);
    for (uint32_t i = 0; i < MODEL_NAMES; i++) {
        struct model_op op = {.kind = MODEL_STORE_INFO, .name = i};
        if (checked(w, &t, &op, during) != 0) {
            continue;
        }
        op.kind = MODEL_COUNT;
        (void)checked(w, &t, &op, during);
        walk(w, &t, i, true, during);
        walk(w, &t, i, false, during);
    }
    model_view_fini(&t.view);
}

static void compare_head(struct world *w, const char *during)
{
    struct sop_txn *txn = begin_read(w);
    compare_all(w, w->head, txn, during);
    sop_txn_rollback(&txn);
}

/* ---- ends and new beginnings ---------------------------------------------------------------
 */

/* The newest acknowledged commit is known to have happened, or long ago. */
static void check_last(struct world *w, bool exact, const char *how)
{
    enum sop_txn_outcome outcome = SOP_COMMITTED;
    struct sop_err err = {0};
    if (w->last_id.member != 0 && (exact || w->options.durability == SOP_DURABLE_COMMIT)) {
        ok(sop_txn_status(w->db, &w->last_id, &outcome, &err), &err, "status");
    }
    if (outcome == SOP_NOT_COMMITTED) {
        FAIL("%s: an acknowledged commit is told not to have happened", how);
    }
    memset(&w->last_id, 0, sizeof w->last_id);
}

/* After an opening: which of the states that may have come back is it? */
static void recognise(struct world *w, bool exact, const char *how)
{
    uint64_t digest = digest_db(w);
    struct model_state *found = NULL;
    if (w->maybe != NULL && model_state_digest(w->maybe) == digest) {
        found = w->maybe;
    }
    uint32_t oldest = exact ? w->history_count - 1 : 0;
    for (uint32_t i = w->history_count; i > oldest && found == NULL; i--) {
        if (model_state_digest(w->history[i - 1]) == digest) {
            found = w->history[i - 1];
        }
    }
    if (found == NULL) {
        for (uint32_t i = w->history_count; i > 0; i--) {
            if (model_state_digest(w->history[i - 1]) == digest) {
                FAIL("%s: the last %u acknowledged transactions are lost", how,
                     w->history_count - i);
            }
        }
        printf("%s: the database is in no state that it was in\n", how);
        compare_head(w, how);
        FAIL("%s: the digests differ, the items do not", how);
    }
    if (w->maybe != NULL && w->maybe_id.member != 0 &&
        model_state_digest(w->head) != model_state_digest(w->maybe)) {
        enum sop_txn_outcome outcome = SOP_TOO_OLD_TO_TELL;
        struct sop_err err = {0};
        ok(sop_txn_status(w->db, &w->maybe_id, &outcome, &err), &err, "status");
        enum sop_txn_outcome wanted = found == w->maybe ? SOP_COMMITTED : SOP_NOT_COMMITTED;
        if (outcome != wanted) {
            FAIL("%s: the outcome of the last transaction is told as %d and is %d", how,
                 outcome, wanted);
        }
    }
    found = model_state_ref(found);
    model_state_unref(&w->maybe);
    memset(&w->maybe_id, 0, sizeof w->maybe_id);
    if (!exact || w->options.durability == SOP_DURABLE_COMMIT) {
        history_clear(w);
    }
    if (found != w->head || w->history_count == 0) {
        history_add(w, found);
    }
    model_state_unref(&w->head);
    w->head = found;
    compare_head(w, how);
    check_last(w, exact, how);
    w->recent_count = 0;
    w->observed = 0;
    remember(w);
    w->reopens++;
}

static void pick_options(struct world *w)
{
    struct kit_rng *r = &w->rng;
    w->options.checkpoint_bytes = model_chance(r, 500) ? 0 : 20000 + kit_below(r, 300000);
    w->options.cache_bytes = (8u << 20) + (model_chance(r, 300) ? 64u << 20 : 0);
    /* Next to nothing stays, or some of it does: what was evicted is read again all the time.
     */
    w->cache_bytes = model_chance(r, 400) ? 1u << kit_below(r, 21) : 0;
}

enum ending { CLOSE, KILL, CUT, CUT_INSIDE };

/* exact: all that was acknowledged must be there. */
static void reopen(struct world *w, enum ending how, bool exact)
{
    static const char *const shown[] = {"after closing", "after kill -9", "after a power loss",
                                        "after a power loss inside a call"};
    struct sop_err err = {0};
    struct sop_volume *next = w->sim;
    TRACE(w, "%s", shown[how]);
    disarm(w);
    if (how == KILL && model_chance(&w->rng, 700)) {
        ok(sop_volume_sim_copy(w->sim, &next, &err), &err, "copy the volume");
    } else if (how == CUT) {
        make_crash(w);
        cut_power(w);
    }
    if (how == CUT || how == CUT_INSIDE) {
        next = w->image;
        w->image = NULL;
        w->cuts++;
    }
    end_all(w);
    struct sop_db_stats stats = {.size = sizeof stats};
    ok(sop_db_stats(w->db, &stats, &err), &err, "stats");
    w->evictions += stats.cache_evictions;
    if (how == CLOSE) {
        ok(sop_db_close(&w->db, &err), &err, "close");
        history_settle(w);
    } else {
        sop_db_abandon(&w->db);
        w->kills += how == KILL;
    }
    use_volume(w, next);
    pick_options(w);
    open_db(w);
    recognise(w, exact && (how == CLOSE || how == KILL), shown[how]);
    if (model_chance(&w->rng, 300)) {
        verify(w, model_chance(&w->rng, 300));
    }
}

/* A call failed because the volume did. Goes on or begins anew. */
static void trouble(struct world *w)
{
    struct sop_txn *txn = NULL;
    struct sop_txn_options o;
    struct sop_err err = {0};
    if (w->image != NULL) {
        reopen(w, CUT_INSIDE, false);
        return;
    }
    w->faults++;
    sop_txn_options_init(&o);
    o.mode = SOP_READ_RELAXED;
    int rc = sop_txn_begin(&txn, w->db, &o, &err);
    sop_txn_rollback(&txn);
    if (rc == 0 && w->maybe == NULL) {
        return;
    }
    if (rc == 0) {
        FAIL("a commit's outcome is unknown and the database goes on");
    }
    if (sop_err_class(rc) != SOP_CLASS_FATAL) {
        ok(rc, &err, "begin after a fault");
    }
    TRACE(w, "stopped: %s", err.text);
    /* a sync that failed may have lost what only it would have made durable */
    bool exact = w->options.durability == SOP_DURABLE_COMMIT ||
                 strstr(err.text, "injected fault: sync") == NULL;
    /* closed or abandoned, with or without loss of power */
    enum ending how = model_chance(&w->rng, 500) ? KILL : CUT;
    if (how == KILL && model_chance(&w->rng, 500)) {
        disarm(w);
        end_all(w);
        (void)sop_db_close(&w->db, &err); /* may fail; closes all the same */
        use_volume(w, w->sim);
        open_db(w);
        recognise(w, exact, "after closing a stopped one");
        return;
    }
    reopen(w, how, exact);
}

/* ---- transactions --------------------------------------------------------------------------
 */

static void begin(struct world *w, uint32_t slot, bool writes)
{
    struct sop_txn_options o;
    struct sop_err err = {0};
    struct model_state *base = w->head;
    sop_txn_options_init(&o);
    uint32_t dice = writes ? 0 : kit_below(&w->rng, 100);
    o.mode = dice < 75   ? SOP_WRITE
             : dice < 85 ? SOP_READ
             : dice < 91 ? SOP_READ_RELAXED
                         : SOP_NO_CHECK;
    uint32_t pinned = kit_below(&w->rng, SNAPSHOTS);
    if ((o.mode == SOP_READ || o.mode == SOP_READ_RELAXED) &&
        w->snapshots[pinned].pin != NULL && model_chance(&w->rng, 700)) {
        o.at = w->snapshots[pinned].pin;
        base = w->snapshots[pinned].state;
    }
    struct model_txn *t = calloc(1, sizeof *t);
    ck_assert_ptr_nonnull(t);
    int rc = sop_txn_begin(&t->txn, w->db, &o, &err);
    if (rc != 0) {
        free(t);
        if (!by_fault(w, rc)) {
            ok(rc, &err, "begin");
        }
        trouble(w);
        return;
    }
    t->mode = o.mode;
    t->compactions = w->compactions;
    model_view_init(&t->view, base, o.mode == SOP_WRITE);
    w->txns[slot] = t;
    TRACE(w, "txn %u begins, mode %d", slot, (int)t->mode);
}

/* A reader without snapshot sees the newest state; cursors of stores that are gone end. */
static void renew(struct world *w, struct model_txn *t)
{
    if (t->mode != SOP_NO_CHECK || t->view.base == w->head) {
        return;
    }
    for (uint32_t i = 0; i < MODEL_CURSORS; i++) {
        struct model_cursor *c = &t->view.cursors[i];
        const struct model_store *a = c->open ? t->view.now->stores[c->name] : NULL;
        const struct model_store *b = c->open ? w->head->stores[c->name] : NULL;
        if (c->open && (a == NULL || b == NULL || a->facts.uid != b->facts.uid)) {
            struct sop_err err = {0};
            int rc = sop_cursor_first(t->cursors[i], &err);
            if (rc != SOP_ERR_CLOSED && rc != SOP_ERR_NOT_FOUND && !by_fault(w, rc)) {
                FAIL("a cursor on a removed store gives %s", sop_err_name(rc));
            }
            sop_cursor_close(&t->cursors[i]);
            c->open = false;
            c->stand = MODEL_NOWHERE;
        }
    }
    model_view_renew(&t->view, w->head);
}

static void keep_op(struct model_txn *t, const struct model_op *op)
{
    if (t->ops_count == t->ops_room) {
        t->ops_room = t->ops_room == 0 ? 16 : t->ops_room * 2;
        t->ops = realloc(t->ops, t->ops_room * sizeof *t->ops);
        ck_assert_ptr_nonnull(t->ops);
    }
    t->ops[t->ops_count++] = *op;
}

static struct model_got got_now;
static struct model_answer answer_now;

/* Does an operation (taken) on both sides and compares. */
static void perform(struct world *w, uint32_t slot, struct model_op op)
{
    struct model_txn *t = w->txns[slot];
    char text[300];
    if (w->trace) {
        model_op_text(&op, text, sizeof text);
        TRACE(w, "txn %u: %s", slot, text);
    }
    w->ops++;
    model_run(t, &op, &got_now);
    if (by_fault(w, got_now.rc)) {
        TRACE(w, "txn %u: failed: %s", slot, got_now.text);
        t->view.reads_all = true; /* some of it may have been read */
        model_op_fini(&op);
        bool jumps = op.kind >= MODEL_FIND && op.kind <= MODEL_SEEK && op.kind != MODEL_NEXT &&
                     op.kind != MODEL_PREV;
        if (jumps || model_chance(&w->rng, 300)) {
            end_txn(w, slot); /* where a cursor stands after a failed jump is not said */
        }
        trouble(w);
        return;
    }
    uint32_t name = op.kind > MODEL_CURSOR_CLOSE ? t->view.cursors[op.cursor].name : op.name;
    model_do(&t->view, &op, &answer_now);
    const struct model_store *s = t->view.now->stores[name];
    if (!model_same(&op, s != NULL ? &s->facts : &op.facts, &answer_now, &got_now)) {
        model_op_text(&op, text, sizeof text);
        FAIL("txn %u, mode %d: %s: %s", slot, (int)t->mode, text, got_now.text);
    }
    if (t->mode == SOP_WRITE) {
        keep_op(t, &op);
    } else {
        model_op_fini(&op);
    }
}

static void operate(struct world *w, uint32_t slot)
{
    struct model_op op;
    renew(w, w->txns[slot]);
    model_make(&w->maker, w->txns[slot], &op);
    perform(w, slot, op);
}

/* Is a conflict with the committed state or with a prepared transaction possible? */
static bool may_conflict(const struct world *w, const struct model_txn *t)
{
    if (t->mode != SOP_WRITE || t->prepared) {
        return false;
    }
    if (model_may_conflict(&t->view, w->head, t->compactions != w->compactions)) {
        return true;
    }
    for (uint32_t i = 0; i < TXNS; i++) {
        if (w->txns[i] != NULL && w->txns[i]->prepared &&
            model_may_hinder(&t->view, &w->txns[i]->view)) {
            return true;
        }
    }
    return false;
}

static void explain(const struct model_txn *t, int wrong)
{
    char text[300];
    if (wrong > 0) {
        model_op_text(&t->ops[wrong - 1], text, sizeof text);
        printf("with another answer now: %s\n", text);
    } else {
        printf("an item that it changed was changed by another one\n");
    }
}

/* What a commit or prepare answered, judged. */
static void judge(struct world *w, const struct model_txn *t, int rc, int wrong,
                  const struct sop_err *err)
{
    if (rc == SOP_ERR_CONFLICT) {
        w->conflicts++;
        if (!may_conflict(w, t)) {
            FAIL("a conflict that nobody caused: %s", err->text);
        }
    } else if (rc == 0 && wrong != 0 && t->mode == SOP_WRITE) {
        explain(t, wrong);
        FAIL("a commit or prepare that had to be refused");
    } else if (rc != 0) {
        ok(rc, err, "commit or prepare");
    }
}

static void hook(void *arg, bool committed, const struct sop_commit *result)
{
    struct world *w = arg;
    w->hook_called = true;
    w->hook_committed = committed && result != NULL;
}

static bool changes(const struct model_txn *t)
{
    return t->view.changes_count > 0 || t->view.names_changed != 0;
}

static void commit(struct world *w, uint32_t slot)
{
    struct model_txn *t = w->txns[slot];
    struct model_state *after = NULL;
    struct sop_commit result = {0};
    struct sop_err err = {0};
    int wrong = 0;
    if (t->mode == SOP_WRITE) {
        wrong = model_again(&t->view, t->ops, t->ops_count, w->head, &after);
    }
    bool failed_before = w->image != NULL;
    bool hooked = !t->prepared;
    if (hooked) {
        w->hook_called = false;
        ok(sop_txn_on_commit(t->txn, hook, w, &err), &err, "register a hook");
    }
    int rc = sop_txn_commit(&t->txn, &result, &err);
    if (hooked && (!w->hook_called || w->hook_committed != (rc == 0))) {
        FAIL("a hook was not called, or told something else than the commit");
    }
    TRACE(w, "txn %u commits: %s %s at %llu/%llu", slot, sop_err_name(rc), err.text,
          (unsigned long long)result.lsn.slot, (unsigned long long)result.lsn.record);
    bool inside = w->image != NULL && !failed_before;
    bool bad = by_fault(w, rc);
    if (!bad) {
        judge(w, t, rc, wrong, &err);
    }
    if (rc == SOP_ERR_UNKNOWN || inside) {
        w->unknown++;
        if (wrong != 0) {
            model_state_unref(&after); /* it cannot have happened */
        } else if (after != NULL && changes(t)) {
            w->maybe = after;
            after = NULL;
            w->maybe_id = result.id;
        }
    } else if (rc == 0 && t->mode == SOP_WRITE && changes(t)) {
        bool same = model_state_digest(after) == model_state_digest(w->head);
        if (result.durable != w->options.durability || (result.id.member == 0 && !same)) {
            FAIL("a commit says too little of itself");
        }
        w->last_id = result.id.member != 0 ? result.id : w->last_id;
        new_head(w, after);
        after = NULL;
        w->commits++;
    }
    model_state_unref(&after);
    end_txn(w, slot);
    if (bad || inside) {
        trouble(w);
    }
}

static void prepare(struct world *w, uint32_t slot)
{
    struct model_txn *t = w->txns[slot];
    struct model_state *after = NULL;
    struct sop_err err = {0};
    if (t->mode != SOP_WRITE || t->prepared) {
        return;
    }
    int wrong = model_again(&t->view, t->ops, t->ops_count, w->head, &after);
    model_state_unref(&after);
    int rc = sop_txn_prepare(&t->txn, &err);
    TRACE(w, "txn %u prepares: %s %s", slot, sop_err_name(rc), err.text);
    if (by_fault(w, rc)) {
        end_txn(w, slot);
        trouble(w);
        return;
    }
    judge(w, t, rc, wrong, &err);
    if (rc != 0) {
        end_txn(w, slot);
    } else {
        t->prepared = true;
        w->prepared++;
    }
}

static void with_txn(struct world *w)
{
    uint32_t slot = kit_below(&w->rng, TXNS);
    struct model_txn *t = w->txns[slot];
    if (t == NULL) {
        begin(w, slot, false);
        return;
    }
    uint32_t dice = kit_below(&w->rng, 1000);
    if (t->prepared) {
        if (dice < 100) {
            commit(w, slot);
        } else if (dice < 130) {
            TRACE(w, "txn %u, prepared, rolls back", slot);
            end_txn(w, slot);
        }
    } else if (dice < 110 || t->ops_count > 200) {
        commit(w, slot);
    } else if (dice < 125) {
        TRACE(w, "txn %u rolls back", slot);
        end_txn(w, slot);
    } else if (dice < 133) {
        prepare(w, slot);
    } else {
        operate(w, slot);
    }
}

/* ---- the rest of life ----------------------------------------------------------------------
 */

static void pin(struct world *w)
{
    uint32_t i = kit_below(&w->rng, SNAPSHOTS);
    struct sop_err err = {0};
    if (w->snapshots[i].pin != NULL) {
        for (uint32_t k = 0; k < TXNS; k++) { /* readers borrow the pin */
            if (w->txns[k] != NULL && w->txns[k]->view.base == w->snapshots[i].state) {
                end_txn(w, k);
            }
        }
        release(w, i);
        return;
    }
    int rc = sop_snapshot_pin(&w->snapshots[i].pin, w->db, &err);
    if (rc == 0) {
        w->snapshots[i].state = model_state_ref(w->head);
    } else if (by_fault(w, rc)) {
        trouble(w);
    } else {
        ok(rc, &err, "pin");
    }
}

static void care(struct world *w)
{
    struct sop_err err = {0};
    uint32_t dice = kit_below(&w->rng, 100);
    int rc = 0;
    const char *what = "maintain";
    w->clock_ns += 1000000000u;
    if (dice < 30) {
        what = "checkpoint";
        rc = sop_db_checkpoint(w->db, &err);
    } else if (dice < 45) {
        what = "compact";
        w->compactions++;
        rc = sop_db_compact(w->db, &err);
    } else if (dice < 55) {
        what = "sync";
        rc = sop_db_sync(w->db, &err);
    } else {
        rc = sop_maintain(w->db, &err);
    }
    TRACE(w, "%s: %s %s", what, sop_err_name(rc), err.text);
    if (by_fault(w, rc) || w->image != NULL) {
        trouble(w);
    } else {
        ok(rc, &err, what);
        if (rc == 0 && dice < 55 && dice >= 45) {
            history_settle(w);
        }
    }
}

/* Somebody else looks at the database without taking it: a state that it was in, and never an
 * older one than the time before. */
static void observe(struct world *w)
{
    struct sop_db_options o = w->options;
    struct sop_db *own = w->db;
    struct sop_err err = {0};
    if (w->armed || w->recent_count > RECENT_MAX) {
        return;
    }
    o.create = false;
    o.read_only = true;
    ok(sop_db_open_on(&w->db, w->fault, &w->env, &o, CHAIN_SLOTS, &err), &err, "observe");
    uint64_t digest = digest_db(w);
    ok(sop_db_refresh(w->db, &err), &err, "refresh");
    uint64_t again = digest_db(w);
    ok(sop_db_close(&w->db, &err), &err, "close an observer");
    w->db = own;
    uint64_t at = w->observed;
    while (at < w->recent_count && w->recent[at] != digest) {
        at++;
    }
    if (at == w->recent_count || again != digest) {
        FAIL("an observer sees a state that never was, or an older one than before");
    }
    w->observers++;
    w->observed = w->options.durability == SOP_DURABLE_COMMIT ? at : 0;
}

static void step(struct world *w)
{
    uint32_t dice = kit_below(&w->rng, 100000);
    if (w->image != NULL) { /* the power went; whatever follows has no effect */
        trouble(w);
    } else if (dice < 60) {
        reopen(w, CLOSE, true);
    } else if (dice < 120) {
        reopen(w, KILL, true);
    } else if (dice < 200) {
        reopen(w, CUT, false);
    } else if (dice < 220) {
        observe(w);
    } else if (dice < 500) {
        if (!w->armed) {
            arm(w, model_chance(&w->rng, 500));
        }
    } else if (dice < 1000) {
        pin(w);
    } else if (dice < 1500) {
        care(w);
    } else {
        with_txn(w);
    }
    if (w->armed && !w->crash_armed && kit_below(&w->rng, 300) == 0) {
        disarm(w);
    }
}

/* One store that is larger than the cache, and three small ones. */
static void populate(struct world *w)
{
    struct model_facts facts = {
        .unique = true, .slot_length = 32, .keys = MODEL_TEXT, .universe = FAT_ITEMS};
    uint32_t item = 0;
    begin(w, 0, true);
    for (uint32_t name = 0; name < 4; name++) {
        struct model_op op = {.kind = MODEL_STORE_CREATE, .name = name, .facts = facts};
        op.facts.uid = ++w->maker.uids;
        op.facts.unique = name != 3;
        op.facts.keys = name == 2 ? MODEL_COMPARER : MODEL_TEXT;
        op.facts.universe = name == 0 ? FAT_ITEMS : 100;
        perform(w, 0, op);
    }
    while (item < FAT_ITEMS) {
        struct model_op op = {.kind = MODEL_ADD, .value_bytes = 12000, .value_seed = item};
        model_make_key(&facts, item++, &op.key);
        perform(w, 0, op);
        if (item % 100 == 0) {
            commit(w, 0);
            begin(w, 0, true);
        }
    }
    commit(w, 0);
}

static void round_of(uint64_t seed, uint64_t steps)
{
    struct world *w = calloc(1, sizeof *w);
    struct sop_err err = {0};
    struct sop_volume *sim = NULL;
    ck_assert_ptr_nonnull(w);
    the_world = w;
    w->seed = seed;
    w->steps = steps;
    w->trace = getenv("SOP_TRACE") != NULL;
    w->rng.state = seed * 2 + 1;
    w->env_rng.state = seed * 3 + 1;
    w->maker.rng.state = seed * 5 + 1;
    w->maker.fat = seed % 5 == 4;
    w->maker.calm = w->maker.fat;
    w->env.ops = &env_ops;
    w->comparer =
        (struct sop_comparer){.name = MODEL_COMPARER_NAME, .compare = model_compare_keys};
    sop_db_options_init(&w->options);
    w->options.create = true;
    w->options.manual = true;
    w->options.durability = seed % 4 == 2   ? SOP_DURABLE_INTERVAL
                            : seed % 4 == 3 ? SOP_DURABLE_NONE
                                            : SOP_DURABLE_COMMIT;
    w->options.comparers = &w->comparer;
    w->options.comparers_count = 1;
    pick_options(w);
    w->head = model_state_new();
    history_add(w, w->head);
    remember(w);
    ok(sop_volume_sim_new(&sim, &err), &err, "make a volume");
    use_volume(w, sim);
    open_db(w);
    if (w->maker.fat) {
        populate(w);
    }
    for (w->step = 0; w->step < steps; w->step++) {
        step(w);
    }
    if (w->image != NULL) {
        trouble(w);
    }
    reopen(w, CLOSE, true);
    verify(w, true);
    if (steps >= STEPS_THAT_EVICT && w->evictions == 0) {
        FAIL("nothing was evicted");
    }
    printf("seed %llu: %llu operations, %llu commits, %llu conflicts, %llu prepared, %llu "
           "openings, "
           "%llu kills, %llu power losses, %llu faults, %llu unknown outcomes, "
           "%llu observers, %llu evictions\n",
           (unsigned long long)seed, (unsigned long long)w->ops, (unsigned long long)w->commits,
           (unsigned long long)w->conflicts, (unsigned long long)w->prepared,
           (unsigned long long)w->reopens, (unsigned long long)w->kills,
           (unsigned long long)w->cuts, (unsigned long long)w->faults,
           (unsigned long long)w->unknown, (unsigned long long)w->observers,
           (unsigned long long)w->evictions);
    fflush(stdout);
    ok(sop_db_close(&w->db, &err), &err, "close");
    history_clear(w);
    model_state_unref(&w->head);
    sop_volume_destroy(w->fault);
    sop_volume_destroy(w->sim);
    free(w);
}

static uint64_t number_of(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

START_TEST(random_transactions_agree_with_an_ordered_map)
{
    bool one = getenv("SOP_SEED") != NULL && getenv("SOP_ROUNDS") == NULL;
    uint64_t first = number_of("SOP_SEED", 1);
    uint64_t rounds = number_of("SOP_ROUNDS", one ? 1 : test_scale(10, 22, 100000));
    uint64_t steps = number_of("SOP_STEPS", test_scale(14000, 63000, 63000));
    for (uint64_t i = 0; i < rounds; i++) {
        printf("SOP_SEED=%llu SOP_STEPS=%llu\n", (unsigned long long)(first + i),
               (unsigned long long)steps);
        fflush(stdout);
        round_of(first + i, steps);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model");
    TCase *tcase = tcase_create("model");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, random_transactions_agree_with_an_ordered_map);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
