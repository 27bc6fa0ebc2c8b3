/* Transactions of the engine: what they read, what they want to change, and committing them.
 *
 * A transaction pins the state it began at, keeps its changes in write sets and what it read in
 * read sets, and is validated and merged at commit by a leader that commits everything that
 * waits (engine/txn/commit.c). One thread at a time per transaction. */
#ifndef SOP_TXN_H
#define SOP_TXN_H

#include "engine/btree/wset.h"
#include "engine/txn/near.h"
#include "engine/txn/tree.h"
#include "sop/sop.h"

struct sop_engine;

/* Keys in [low, high] were read, present or not. low empty: from the first; !has_high: to the
 * last. Slices in the transaction's arena. */
struct sop_read_range {
    struct sop_slice low, high;
    bool has_high;
};

/* What a transaction does with one store. */
struct sop_access {
    struct sop_access *next;
    struct sop_tree *tree;
    struct sop_wset *wset;    /* NULL until the first change */
    struct sop_slice *points; /* single keys that were read; heap array, keys in the arena */
    size_t points_count, points_cap;
    struct sop_read_range *ranges; /* heap array */
    size_t ranges_count, ranges_cap;
    bool read_count;   /* the exact number of items was read */
    bool read_all;     /* every key counts as read (a read could not be noted) */
    bool created;      /* by this transaction: no other can see it */
    bool dropped;      /* by this transaction */
    bool knows_behind; /* no key >= behind is in the snapshot; an empty one: none at all */
    uint8_t misses;    /* at the right end, since that was last tried to be found out */
    struct sop_slice behind; /* arena */
    struct sop_near near;
    int64_t delta;         /* items that the changes add, as far as known */
    struct sop_slice info; /* created: the catalog's record; arena */
};

enum sop_txn_state { SOP_TXN_OPEN = 1, SOP_TXN_PREPARED = 2, SOP_TXN_ENDED = 3 };

#define SOP_TXN_MAGIC 0x4e58544fu
struct sop_txn {
    uint32_t magic;
    enum sop_txn_mode mode;
    enum sop_txn_state state;
    struct sop_engine *engine;
    struct sop_epoch_slot *slot;
    struct sop_pin *pin;
    uint64_t moment; /* of the pin */
    struct sop_lsn lsn;
    uint64_t deadline_ns;   /* monotonic */
    struct sop_arena arena; /* dies with the transaction; has a budget */
    struct sop_access *accesses;
    bool writes_values;       /* bytes in packs must be synced before the record */
    struct sop_place *values; /* records in packs that it wrote: inflight until it ends; heap */
    size_t values_count, values_cap;
    uint64_t ids;            /* item ids handed out */
    uint64_t conflict_store; /* where validation failed, or 0 */
    /* the commit queue's part */
    struct sop_txn *queue_next;
    int rc;
    bool done;
    bool preparing;
    bool unsure;   /* strict, and nobody looked yet whether its head is that of all history */
    bool internal; /* by upkeep, which holds the maintain lock: never waits for a checkpoint */
    struct sop_err err;
    struct sop_commit result;
    struct sop_txn *prepared_next;
    struct sop_txn *idle_next; /* ended, kept for the next one */
    void *user;                /* of the layer above */
};

/* Begins at the head, or at `at` (a pin that the caller holds, may be NULL). At the head,
 * SOP_READ and SOP_WRITE are unsure until sop_txn_assure(). */
int sop_engine_begin(struct sop_txn **out, struct sop_engine *e, enum sop_txn_mode mode,
                     struct sop_pin *at, uint32_t max_time_ms, uint64_t memory_bytes,
                     struct sop_err *err) SOP_MUST_USE;
/* Commits; the transaction stays for reading results and is freed by sop_engine_end. */
int sop_engine_commit(struct sop_txn *t, struct sop_err *err) SOP_MUST_USE;
int sop_engine_prepare(struct sop_txn *t, struct sop_err *err) SOP_MUST_USE;
/* Ends in any state: what was not committed never happens. Frees t, or keeps it for the next.
 */
void sop_engine_end(struct sop_txn *t);
/* Frees those that ended and were kept. */
void sop_engine_forget_idle(struct sop_engine *e);
/* Before the first answer of a strict transaction: the barrier. The head that it began at was
 * the head of all history if the own tenure still lives, and no commit of anybody lies between.
 * A transaction that asks nothing needs none: its append looks at TEN. SEALED, ...: the engine
 * has stopped. */
int sop_txn__assure(struct sop_txn *t, struct sop_err *err) SOP_MUST_USE;
static inline int sop_txn_assure(struct sop_txn *t, struct sop_err *err)
{
    return t->unsure ? sop_txn__assure(t, err) : 0;
}
/* NO_CHECK: moves the transaction to the newest state. No scan of it may be open. */
int sop_engine_renew(struct sop_txn *t, struct sop_err *err) SOP_MUST_USE;

/* The access to a tree, made at first use. */
int sop_txn_access(struct sop_txn *t, struct sop_tree *tree, struct sop_access **out,
                   struct sop_err *err) SOP_MUST_USE;
/* The write set, made at first use. */
int sop_access_wset(struct sop_txn *t, struct sop_access *a, struct sop_wset **out,
                    struct sop_err *err) SOP_MUST_USE;
/* Notes reads; only writing transactions need them (a no-op otherwise). Keys are copied.
 * LIMIT when the memory budget is used up. */
int sop_txn_read_point(struct sop_txn *t, struct sop_access *a, struct sop_slice key,
                       struct sop_err *err) SOP_MUST_USE;
int sop_txn_read_range(struct sop_txn *t, struct sop_access *a, struct sop_slice low,
                       struct sop_slice high, bool has_high, struct sop_err *err) SOP_MUST_USE;
/* A record in a pack that an item of this transaction will name. */
int sop_txn_wrote_value(struct sop_txn *t, const struct sop_place *place,
                        struct sop_err *err) SOP_MUST_USE;
/* The next item id of this transaction: ordered by (begin LSN, member, counter). */
struct sop_item_id sop_txn_item_id(struct sop_txn *t);

/* What the store looks like to the transaction for one key: its own change, or the snapshot. */
struct sop_look {
    struct sop_cell *cell;       /* its own change, or NULL */
    bool found;                  /* without a cell: the snapshot has the item */
    bool inside;                 /* an epoch was entered for it */
    struct sop_item item;        /* if found */
    struct sop_wset_place place; /* for sop_txn_put */
};
/* Fills *look, which lives until sop_txn_look_end and the next look-up in the same store; its
 * slices outlive both inside an epoch of the caller's. On failure nothing is to be ended. */
int sop_txn_look(struct sop_txn *t, struct sop_access *a, struct sop_slice key,
                 struct sop_look *look, struct sop_err *err) SOP_MUST_USE;
/* The same, when it is known already which leaf of the snapshot covers the key. Inside the
 * epoch in which that was found out; leaf NULL: it is not known. */
int sop_txn_look_in(struct sop_txn *t, struct sop_access *a, struct sop_slice key,
                    struct sop_version *leaf, struct sop_look *look,
                    struct sop_err *err) SOP_MUST_USE;
/* Several keys will be looked up: brings what that touches towards the processor together.
 * leaves[i] is for sop_txn_look_in of keys[i], or NULL. Inside an epoch. */
void sop_txn_fetch_ahead(struct sop_txn *t, struct sop_access *a, const struct sop_slice *keys,
                         size_t count, struct sop_version **leaves);
static inline void sop_txn_look_end(struct sop_txn *t, const struct sop_look *look)
{
    if (look->inside) {
        sop_epoch_leave(t->slot);
    }
}

/* Puts a change into the write set. `kind`/`value` as in struct sop_cell; slices are copied.
 * The caller says what was at the snapshot (was: 1 absent, 2 present, 0 unknown = blind upsert)
 * and, if the replaced item's value lies in a pack, its encoded place. Keeps a->delta. */
struct sop_put {
    struct sop_slice key, ride, value;
    uint8_t kind; /* enum sop_value_kind; TOMBSTONE removes */
    uint8_t was;
    const uint8_t *old_place;
    const struct sop_wset_place *place; /* from the look-up of this very key, or NULL */
};
int sop_txn_put(struct sop_txn *t, struct sop_access *a, const struct sop_put *put,
                struct sop_err *err) SOP_MUST_USE;

#endif
