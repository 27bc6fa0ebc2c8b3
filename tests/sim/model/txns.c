/* Transactions on both sides: each answer is compared, each commit and conflict judged. */
#include "tests/sim/model/world.h"

/* ---- transactions --------------------------------------------------------------------------
 */

void world_begin(struct world *w, uint32_t slot, bool writes)
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
        if (!world_by_fault(w, rc)) {
            world_ok(rc, &err, "begin");
        }
        world_trouble(w);
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
            if (rc != SOP_ERR_CLOSED && rc != SOP_ERR_NOT_FOUND && !world_by_fault(w, rc)) {
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
void world_perform(struct world *w, uint32_t slot, struct model_op op)
{
    struct model_txn *t = w->txns[slot];
    char text[300];
    if (w->trace) {
        model_op_text(&op, text, sizeof text);
        TRACE(w, "txn %u: %s", slot, text);
    }
    w->ops++;
    model_run(t, &op, &got_now);
    if (world_by_fault(w, got_now.rc)) {
        TRACE(w, "txn %u: failed: %s", slot, got_now.text);
        t->view.reads_all = true; /* some of it may have been read */
        model_op_fini(&op);
        bool jumps = op.kind >= MODEL_FIND && op.kind <= MODEL_SEEK && op.kind != MODEL_NEXT &&
                     op.kind != MODEL_PREV;
        if (jumps || model_chance(&w->rng, 300)) {
            world_end_txn(w, slot); /* where a cursor stands after a failed jump is not said */
        }
        world_trouble(w);
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
    world_perform(w, slot, op);
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
        world_ok(rc, err, "commit or prepare");
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

void world_commit(struct world *w, uint32_t slot)
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
        world_ok(sop_txn_on_commit(t->txn, hook, w, &err), &err, "register a hook");
    }
    int rc = sop_txn_commit(&t->txn, &result, &err);
    if (hooked && (!w->hook_called || w->hook_committed != (rc == 0))) {
        FAIL("a hook was not called, or told something else than the commit");
    }
    TRACE(w, "txn %u commits: %s %s at %llu/%llu", slot, sop_err_name(rc), err.text,
          (unsigned long long)result.lsn.slot, (unsigned long long)result.lsn.record);
    bool inside = w->image != NULL && !failed_before;
    bool bad = world_by_fault(w, rc);
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
        world_new_head(w, after);
        after = NULL;
        w->commits++;
    }
    model_state_unref(&after);
    world_end_txn(w, slot);
    if (bad || inside) {
        world_trouble(w);
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
    if (world_by_fault(w, rc)) {
        world_end_txn(w, slot);
        world_trouble(w);
        return;
    }
    judge(w, t, rc, wrong, &err);
    if (rc != 0) {
        world_end_txn(w, slot);
    } else {
        t->prepared = true;
        w->prepared++;
    }
}

void world_with_txn(struct world *w)
{
    uint32_t slot = kit_below(&w->rng, TXNS);
    struct model_txn *t = w->txns[slot];
    if (t == NULL) {
        world_begin(w, slot, false);
        return;
    }
    uint32_t dice = kit_below(&w->rng, 1000);
    if (t->prepared) {
        if (dice < 100) {
            world_commit(w, slot);
        } else if (dice < 130) {
            TRACE(w, "txn %u, prepared, rolls back", slot);
            world_end_txn(w, slot);
        }
    } else if (dice < 110 || t->ops_count > 200) {
        world_commit(w, slot);
    } else if (dice < 125) {
        TRACE(w, "txn %u rolls back", slot);
        world_end_txn(w, slot);
    } else if (dice < 133) {
        prepare(w, slot);
    } else {
        operate(w, slot);
    }
}
