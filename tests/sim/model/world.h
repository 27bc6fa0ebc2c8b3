/* A database under test and the model beside it: what the parts of test_model share.
 *
 *   world.c     the surroundings (time, chance, faults), states that may come back, opening
 *   compare.c   everything that can be read against the model
 *   ends.c      closing, killing, power loss, failures, and what must be there afterwards
 *   txns.c      operations, commits and conflicts, each judged
 *
 * The driver is tests/sim/test_model.c. */
#ifndef SOP_TEST_MODEL_WORLD_H
#define SOP_TEST_MODEL_WORLD_H

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

extern struct world *the_world; /* for messages */

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

/* ---- world.c ---------------------------------------------------------------------------- */

/* Time and chance from the seed. */
extern const struct sop_env_ops world_env_ops;
/* Fails the test unless rc is 0. */
void world_ok(int rc, const struct sop_err *err, const char *what);
/* The states that a power loss may bring back: none; one more; only the newest; a new newest
 * one that is durable or not, by the options; a new head. */
void world_history_clear(struct world *w);
void world_history_add(struct world *w, struct model_state *s);
void world_history_settle(struct world *w);
void world_remember(struct world *w);
void world_new_head(struct world *w, struct model_state *s);
/* Faults: no more of them; the disk as a power loss leaves it now; draw how one would; let one
 * come soon. by_fault: may the code be the answer of one? */
void world_disarm(struct world *w);
void world_cut_power(void *arg);
void world_make_crash(struct world *w);
void world_arm(struct world *w, bool crash);
bool world_by_fault(const struct world *w, int rc);
/* Ends a transaction, a snapshot, all of them, on both sides. */
void world_end_txn(struct world *w, uint32_t slot);
void world_release(struct world *w, uint32_t slot);
void world_end_all(struct world *w);
/* Takes `sim` as the disk from now on; opens the database on it. */
void world_use_volume(struct world *w, struct sop_volume *sim);
void world_open_db(struct world *w);

/* ---- compare.c -------------------------------------------------------------------------- */

/* Proves the database; a digest of all that it holds; all that can be read is as in the model.
 */
void world_verify(struct world *w, bool deep);
uint64_t world_digest_db(struct world *w);
void world_compare_head(struct world *w, const char *during);

/* ---- ends.c ----------------------------------------------------------------------------- */

enum ending { CLOSE, KILL, CUT, CUT_INSIDE };
/* Options of the next opening. */
void world_pick_options(struct world *w);
/* Ends the database in this way, opens it and looks. exact: all that was acknowledged must be
 * there. */
void world_reopen(struct world *w, enum ending how, bool exact);
/* After a fault: the database is reopened and compared. */
void world_trouble(struct world *w);

/* ---- txns.c ----------------------------------------------------------------------------- */

/* One step of a transaction, or of any of them. */
void world_begin(struct world *w, uint32_t slot, bool writes);
void world_perform(struct world *w, uint32_t slot, struct model_op op);
void world_commit(struct world *w, uint32_t slot);
void world_with_txn(struct world *w);

#endif
