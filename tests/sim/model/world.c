/* The surroundings of the database under test; see world.h. */
#include "tests/sim/model/world.h"

struct world *the_world;

void world_ok(int rc, const struct sop_err *err, const char *what)
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

const struct sop_env_ops world_env_ops = {env_mono, env_wall, env_sleep, env_random};

/* ---- states that may come back -------------------------------------------------------------
 */

void world_history_clear(struct world *w)
{
    for (uint32_t i = 0; i < w->history_count; i++) {
        model_state_unref(&w->history[i]);
    }
    w->history_count = 0;
}

void world_history_add(struct world *w, struct model_state *s)
{
    if (w->history_count == HISTORY_MAX) {
        FAIL("too many commits between two syncs");
    }
    w->history[w->history_count++] = model_state_ref(s);
}

/* All that was acknowledged is durable. */
void world_history_settle(struct world *w)
{
    world_history_clear(w);
    world_history_add(w, w->head);
}

void world_remember(struct world *w)
{
    w->recent[w->recent_count++ % RECENT_MAX] = model_state_digest(w->head);
}

void world_new_head(struct world *w, struct model_state *s)
{
    model_state_unref(&w->head);
    w->head = s;
    if (w->options.durability == SOP_DURABLE_COMMIT) {
        world_history_settle(w);
    } else {
        world_history_add(w, s);
    }
    world_remember(w);
}

/* ---- faults --------------------------------------------------------------------------------
 */

void world_disarm(struct world *w)
{
    struct sop_fault_plan none = {.at = UINT64_MAX};
    sop_volume_fault_set(w->fault, &none);
    sop_volume_sim_set_capacity(w->sim, 0);
    w->armed = false;
    w->crash_armed = false;
}

void world_cut_power(void *arg)
{
    struct world *w = arg;
    struct sop_err err = {0};
    world_ok(sop_volume_sim_crash(w->sim, &w->crash, &w->image, &err), &err, "take the image");
}

void world_make_crash(struct world *w)
{
    static const unsigned chances[] = {0, 30, 60, 100};
    w->crash = (struct sop_sim_crash){.seed = kit_next(&w->rng),
                                      .keep_sector = chances[kit_below(&w->rng, 4)],
                                      .keep_names = chances[kit_below(&w->rng, 4)]};
    if (model_chance(&w->rng, 500)) {
        w->crash.garble_sector = kit_below(&w->rng, 101 - w->crash.keep_sector);
    }
}

void world_arm(struct world *w, bool crash)
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
        world_ok(sop_db_stats(w->db, &stats, &err), &err, "stats");
        sop_volume_sim_set_capacity(w->sim, stats.volume_bytes + kit_below(&w->rng, 1u << 20));
        plan.at = UINT64_MAX;
    } else if (!crash) {
        plan.sticky = model_chance(&w->rng, 200);
    } else {
        plan.stop = world_cut_power;
        plan.arg = w;
        world_make_crash(w);
    }
    sop_volume_fault_set(w->fault, &plan);
    w->armed = true;
    w->suspect = true;
    w->crash_armed = crash;
    TRACE(w, "%s at operation %llu of %x", crash ? "power loss" : "fault",
          (unsigned long long)plan.at, plan.ops);
}

/* May this error come from the volume's misbehaviour? */
bool world_by_fault(const struct world *w, int rc)
{
    bool stopped = rc == SOP_ERR_STOPPED || rc == SOP_ERR_SEALED;
    return (w->armed && (rc == SOP_ERR_IO || rc == SOP_ERR_NOSPACE || rc == SOP_ERR_UNKNOWN)) ||
           (w->suspect && stopped);
}

/* ---- opening -------------------------------------------------------------------------------
 */

void world_end_txn(struct world *w, uint32_t slot)
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

void world_release(struct world *w, uint32_t slot)
{
    sop_snapshot_release(&w->snapshots[slot].pin);
    model_state_unref(&w->snapshots[slot].state);
}

void world_end_all(struct world *w)
{
    for (uint32_t i = 0; i < TXNS; i++) {
        world_end_txn(w, i);
    }
    for (uint32_t i = 0; i < SNAPSHOTS; i++) {
        world_release(w, i);
    }
}

void world_use_volume(struct world *w, struct sop_volume *sim)
{
    struct sop_err err = {0};
    sop_volume_destroy(w->fault);
    if (w->sim != sim) {
        sop_volume_destroy(w->sim);
        w->sim = sim;
    }
    w->fault = NULL;
    world_ok(sop_volume_fault_new(sim, &w->fault, &err), &err, "wrap the volume");
    world_disarm(w);
    w->suspect = false;
}

void world_open_db(struct world *w)
{
    struct sop_err err = {0};
    world_ok(sop_db_open_on(&w->db, w->fault, &w->env, &w->options, CHAIN_SLOTS, &err), &err,
             "open");
    if (w->cache_bytes != 0) { /* one thread, so that nobody reads it now */
        w->db->now->engine->cache.budget_bytes = w->cache_bytes;
    }
    w->compactions++; /* places may differ; nobody is there who read them */
}
