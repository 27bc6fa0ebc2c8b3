/* How a database ends, and what the next opening must find. */
#include "tests/sim/model/world.h"

/* ---- ends and new beginnings ---------------------------------------------------------------
 */

/* The newest acknowledged commit is known to have happened, or long ago. */
static void check_last(struct world *w, bool exact, const char *how)
{
    enum sop_txn_outcome outcome = SOP_COMMITTED;
    struct sop_err err = {0};
    if (w->last_id.member != 0 && (exact || w->options.durability == SOP_DURABLE_COMMIT)) {
        world_ok(sop_txn_status(w->db, &w->last_id, &outcome, &err), &err, "status");
    }
    if (outcome == SOP_NOT_COMMITTED) {
        FAIL("%s: an acknowledged commit is told not to have happened", how);
    }
    memset(&w->last_id, 0, sizeof w->last_id);
}

/* After an opening: which of the states that may have come back is it? */
static void recognise(struct world *w, bool exact, const char *how)
{
    uint64_t digest = world_digest_db(w);
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
        world_compare_head(w, how);
        FAIL("%s: the digests differ, the items do not", how);
    }
    if (w->maybe != NULL && w->maybe_id.member != 0 &&
        model_state_digest(w->head) != model_state_digest(w->maybe)) {
        enum sop_txn_outcome outcome = SOP_TOO_OLD_TO_TELL;
        struct sop_err err = {0};
        world_ok(sop_txn_status(w->db, &w->maybe_id, &outcome, &err), &err, "status");
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
        world_history_clear(w);
    }
    if (found != w->head || w->history_count == 0) {
        world_history_add(w, found);
    }
    model_state_unref(&w->head);
    w->head = found;
    world_compare_head(w, how);
    check_last(w, exact, how);
    w->recent_count = 0;
    w->observed = 0;
    world_remember(w);
    w->reopens++;
}

void world_pick_options(struct world *w)
{
    struct kit_rng *r = &w->rng;
    w->options.checkpoint_bytes = model_chance(r, 500) ? 0 : 20000 + kit_below(r, 300000);
    w->options.cache_bytes = (8u << 20) + (model_chance(r, 300) ? 64u << 20 : 0);
    /* Next to nothing stays, or some of it does: what was evicted is read again all the time.
     */
    w->cache_bytes = model_chance(r, 400) ? 1u << kit_below(r, 21) : 0;
}

/* exact: all that was acknowledged must be there. */
void world_reopen(struct world *w, enum ending how, bool exact)
{
    static const char *const shown[] = {"after closing", "after kill -9", "after a power loss",
                                        "after a power loss inside a call"};
    struct sop_err err = {0};
    struct sop_volume *next = w->sim;
    TRACE(w, "%s", shown[how]);
    world_disarm(w);
    if (how == KILL && model_chance(&w->rng, 700)) {
        world_ok(sop_volume_sim_copy(w->sim, &next, &err), &err, "copy the volume");
    } else if (how == CUT) {
        world_make_crash(w);
        world_cut_power(w);
    }
    if (how == CUT || how == CUT_INSIDE) {
        next = w->image;
        w->image = NULL;
        w->cuts++;
    }
    world_end_all(w);
    struct sop_db_stats stats = {.size = sizeof stats};
    world_ok(sop_db_stats(w->db, &stats, &err), &err, "stats");
    w->evictions += stats.cache_evictions;
    if (how == CLOSE) {
        world_ok(sop_db_close(&w->db, &err), &err, "close");
        world_history_settle(w);
    } else {
        sop_db_abandon(&w->db);
        w->kills += how == KILL;
    }
    world_use_volume(w, next);
    world_pick_options(w);
    world_open_db(w);
    recognise(w, exact && (how == CLOSE || how == KILL), shown[how]);
    if (model_chance(&w->rng, 300)) {
        world_verify(w, model_chance(&w->rng, 300));
    }
}

/* A call failed because the volume did. Goes on or begins anew. */
void world_trouble(struct world *w)
{
    struct sop_txn *txn = NULL;
    struct sop_txn_options o;
    struct sop_err err = {0};
    if (w->image != NULL) {
        world_reopen(w, CUT_INSIDE, false);
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
        world_ok(rc, &err, "begin after a fault");
    }
    TRACE(w, "stopped: %s", err.text);
    /* a sync that failed may have lost what only it would have made durable */
    bool exact = w->options.durability == SOP_DURABLE_COMMIT ||
                 strstr(err.text, "injected fault: sync") == NULL;
    /* closed or abandoned, with or without loss of power */
    enum ending how = model_chance(&w->rng, 500) ? KILL : CUT;
    if (how == KILL && model_chance(&w->rng, 500)) {
        world_disarm(w);
        world_end_all(w);
        (void)sop_db_close(&w->db, &err); /* may fail; closes all the same */
        world_use_volume(w, w->sim);
        world_open_db(w);
        recognise(w, exact, "after closing a stopped one");
        return;
    }
    world_reopen(w, how, exact);
}
