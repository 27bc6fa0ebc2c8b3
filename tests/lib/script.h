/* Workloads as data, for tests that stop, fail or starve a database at every point of them.
 *
 * A script is a list of steps: transactions, checkpoints, openings and so on. Transaction n
 * (from 1) writes n into the store "seq" beside its own changes; so the state of a database
 * names the last transaction that it holds, and everything else must be exactly what the first
 * n transactions of the script leave: nothing lost, nothing half there. One thread. */
#ifndef SOP_TEST_SCRIPT_H
#define SOP_TEST_SCRIPT_H

#include "engine/db/db_int.h"

#define SCRIPT_STORES 6
#define SCRIPT_KEYS   512

/* What the stores of scripts are. */
enum script_store {
    SCRIPT_TINY = 0,   /* short values in the page */
    SCRIPT_PLAIN = 1,  /* some 100 bytes in the page */
    SCRIPT_MEDIUM = 2, /* values in records of their own */
    SCRIPT_BIG = 3,    /* streamed */
    SCRIPT_MANY = 4,   /* not unique */
    SCRIPT_WIDE = 5,   /* 15 KB in the page */
};

enum script_what { SCRIPT_PUT = 1, SCRIPT_DEL, SCRIPT_CREATE, SCRIPT_DROP };
struct script_op {
    uint8_t what, store;
    uint16_t key;
};
struct script_txn {
    struct script_op *ops;
    size_t count, cap;
};
enum script_do {
    SCRIPT_OPEN,
    SCRIPT_CLOSE,
    SCRIPT_TXN,
    SCRIPT_ROLLBACK, /* does the next transaction's work, and takes it back */
    SCRIPT_CHECKPOINT,
    SCRIPT_MAINTAIN,
    SCRIPT_SYNC,
    SCRIPT_COMPACT,
    SCRIPT_VERIFY,
};
struct script_step {
    enum script_do what;
    size_t txn; /* index */
};

/* Version of each key (number of the transaction that put it, 0 = absent). */
struct script_state {
    bool exists[SCRIPT_STORES];
    uint32_t version[SCRIPT_STORES][SCRIPT_KEYS];
};

struct script {
    const char *name;
    enum sop_durability durability;
    uint32_t slot_length, dir_slots;
    uint64_t checkpoint_bytes;
    struct script_step *steps;
    size_t steps_count, steps_cap;
    struct script_txn *txns;
    size_t txns_count, txns_cap;
    uint64_t random;
    struct script_state state; /* after all transactions so far */
};

/* All scripts of the tests. */
size_t script_count(void);
const char *script_name(size_t which);
/* Is it asked for? SOP_TEST_SCRIPT names one, not set means all. */
bool script_wanted(size_t which);
/* Builds one; the same for the same seed. */
void script_init(struct script *s, size_t which, uint64_t seed);
void script_fini(struct script *s);
/* What the first n transactions leave. */
void script_state_after(const struct script *s, uint64_t n, struct script_state *state);

/* Time and randomness that repeat. Time passes by being asked for. */
struct script_env {
    struct sop_env base;
    uint64_t now_ns, random;
};
void script_env_init(struct script_env *env, uint64_t seed);

/* A run of a script on a volume. */
struct script_world {
    const struct script *script;
    struct sop_volume *volume; /* borrowed */
    struct script_env env;
    struct sop_db *db;
    bool made;              /* opening succeeded once */
    uint64_t acked;         /* transactions that were acknowledged */
    uint64_t attempted;     /* the greatest whose commit was asked for */
    uint64_t synced;        /* acknowledged ones that must survive power loss */
    struct sop_commit last; /* of the newest call of commit */
};
void script_world_init(struct script_world *w, const struct script *s, struct sop_volume *v,
                       uint64_t seed);
void script_world_fini(struct script_world *w); /* abandons what is open */
/* One step; counts what it acknowledged. */
int script_step(struct script_world *w, size_t step, struct sop_err *err);
/* Opens the database as the script does. */
int script_open(struct script_world *w, bool create, struct sop_err *err);

/* Ends the test unless rc is 0, or rc is a code of the table that *err repeats with a text. */
void script_typed(int rc, const struct sop_err *err, const char *context);
/* Ends the test unless the database holds exactly what the first n transactions leave, for an
 * n in [low, high]; gives n. */
uint64_t script_check(struct sop_db *db, const struct script *s, uint64_t low, uint64_t high,
                      const char *context);
/* Ends the test unless verify finds nothing. */
void script_verify(struct sop_db *db, bool deep, const char *context);
/* The store "after", which no script has: shows that a database goes on. Puts / must hold
 * the number (0 = whatever is there, gives it). */
int script_after_put(struct sop_db *db, uint64_t number, struct sop_err *err);
uint64_t script_after_get(struct sop_db *db, const char *context);

#endif
