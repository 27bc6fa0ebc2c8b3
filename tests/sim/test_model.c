/* Random transactions on a simulated volume against a plain ordered map: everything that is
 * answered is compared, every commit and every conflict is judged, and at random places the
 * database is closed, killed, loses its power (anywhere in a call, too), or meets a failing
 * volume, after which it must hold exactly what was acknowledged. In four openings of ten the
 * cache has far too little room, so that pages are read again all the time.
 *
 * A failure prints the seed and the command that repeats it. SOP_SEED chooses the first seed,
 * SOP_STEPS the steps of each round, SOP_TRACE=1 prints every step. */
#include "tests/sim/model/world.h"

#include "tests/lib/write_once.h"

/* ---- the rest of life ----------------------------------------------------------------------
 */

static void pin(struct world *w)
{
    uint32_t i = kit_below(&w->rng, SNAPSHOTS);
    struct sop_err err = {0};
    if (w->snapshots[i].pin != NULL) {
        for (uint32_t k = 0; k < TXNS; k++) { /* readers borrow the pin */
            if (w->txns[k] != NULL && w->txns[k]->view.base == w->snapshots[i].state) {
                world_end_txn(w, k);
            }
        }
        world_release(w, i);
        return;
    }
    int rc = sop_snapshot_pin(&w->snapshots[i].pin, w->db, &err);
    if (rc == 0) {
        w->snapshots[i].state = model_state_ref(w->head);
    } else if (world_by_fault(w, rc)) {
        world_trouble(w);
    } else {
        world_ok(rc, &err, "pin");
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
    if (world_by_fault(w, rc) || w->image != NULL) {
        world_trouble(w);
    } else {
        world_ok(rc, &err, what);
        if (rc == 0 && dice < 55 && dice >= 45) {
            world_history_settle(w);
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
    world_ok(sop_db_open_on(&w->db, w->fault, &w->env, &o, CHAIN_SLOTS, &err), &err, "observe");
    uint64_t digest = world_digest_db(w);
    world_ok(sop_db_refresh(w->db, &err), &err, "refresh");
    uint64_t again = world_digest_db(w);
    world_ok(sop_db_close(&w->db, &err), &err, "close an observer");
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
        world_trouble(w);
    } else if (dice < 60) {
        world_reopen(w, CLOSE, true);
    } else if (dice < 120) {
        world_reopen(w, KILL, true);
    } else if (dice < 200) {
        world_reopen(w, CUT, false);
    } else if (dice < 220) {
        observe(w);
    } else if (dice < 500) {
        if (!w->armed) {
            world_arm(w, model_chance(&w->rng, 500));
        }
    } else if (dice < 1000) {
        pin(w);
    } else if (dice < 1500) {
        care(w);
    } else {
        world_with_txn(w);
    }
    if (w->armed && !w->crash_armed && kit_below(&w->rng, 300) == 0) {
        world_disarm(w);
    }
}

/* One store that is larger than the cache, and three small ones. */
static void populate(struct world *w)
{
    struct model_facts facts = {
        .unique = true, .slot_length = 32, .keys = MODEL_TEXT, .universe = FAT_ITEMS};
    uint32_t item = 0;
    world_begin(w, 0, true);
    for (uint32_t name = 0; name < 4; name++) {
        struct model_op op = {.kind = MODEL_STORE_CREATE, .name = name, .facts = facts};
        op.facts.uid = ++w->maker.uids;
        op.facts.unique = name != 3;
        op.facts.keys = name == 2 ? MODEL_COMPARER : MODEL_TEXT;
        op.facts.universe = name == 0 ? FAT_ITEMS : 100;
        world_perform(w, 0, op);
    }
    while (item < FAT_ITEMS) {
        struct model_op op = {.kind = MODEL_ADD, .value_bytes = 12000, .value_seed = item};
        model_make_key(&facts, item++, &op.key);
        world_perform(w, 0, op);
        if (item % 100 == 0) {
            world_commit(w, 0);
            world_begin(w, 0, true);
        }
    }
    world_commit(w, 0);
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
    w->env.ops = &world_env_ops;
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
    world_pick_options(w);
    w->head = model_state_new();
    world_history_add(w, w->head);
    world_remember(w);
    world_ok(sop_volume_sim_new(&sim, &err), &err, "make a volume");
    write_once(sim);
    world_use_volume(w, sim);
    world_open_db(w);
    if (w->maker.fat) {
        populate(w);
    }
    for (w->step = 0; w->step < steps; w->step++) {
        step(w);
    }
    if (w->image != NULL) {
        world_trouble(w);
    }
    world_reopen(w, CLOSE, true);
    world_verify(w, true);
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
    world_ok(sop_db_close(&w->db, &err), &err, "close");
    world_history_clear(w);
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
