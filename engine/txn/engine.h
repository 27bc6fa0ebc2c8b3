/* The engine of one open database: everything below the public API, put together.
 *
 * Locks, outer first: maintain, commit (the leader), queue, then those of the parts. */
#ifndef SOP_ENGINE_H
#define SOP_ENGINE_H

#include "engine/base/env.h"
#include "engine/base/thread.h"
#include "engine/chain/chain.h"
#include "engine/txn/extents.h"
#include "engine/txn/files.h"
#include "engine/txn/txn.h"

struct sop_engine_options {
    struct sop_volume *volume; /* borrowed */
    struct sop_env *env;       /* borrowed */
    uint8_t database_id[16];
    struct sop_chain_point genesis;
    enum sop_durability durability;
    uint32_t sync_interval_ms;
    uint64_t cache_bytes;
    uint64_t max_bytes;
    uint64_t checkpoint_bytes; /* 0 = default and growing */
    bool observer;
    bool ignore_os_lock;
    uint32_t chain_dir_slots;   /* 0 = default; tests use few */
    uint64_t journal_bytes_min; /* first journal file; 0 = default */
    uint64_t journal_bytes_max; /* of one that is made ahead; 0 = default, less under a quota */
    const char *host;
    /* Fills order, slot length and so on of a tree from its catalog record, at open, in replay
     * and when a store is created. UNSUPPORTED: a comparer is missing; for an observer it may
     * set needs_comparer instead. A record begins with u64
     * store id, u64 root page id; the rest is the layer above's. */
    int (*describe)(void *arg, struct sop_slice info, struct sop_tree *tree,
                    struct sop_err *err);
    void *arg;
};

/* One checkpoint that is kept. */
struct sop_kept {
    struct sop_manifest manifest;
    bool used;
};

/* A checkpoint that opening could not use, though it is newer than the one in use, or the one
 * that should be kept beside that. */
struct sop_passed_over {
    struct sop_lsn lsn;
    uint64_t member;
    bool official; /* it was complete once. false: it may be what a crash left of an attempt */
    struct sop_err why;
};
#define SOP_PASSED_OVER_MAX 4 /* the newest ones are remembered */

struct sop_engine {
    struct sop_engine_options options;
    struct sop_volume *volume;
    struct sop_env *env;
    struct sop_epochs epochs;
    struct sop_cache cache;
    struct sop_packs *reader;       /* reads any member's packs */
    struct sop_packs *packs;        /* appends to the own ones; NULL for an observer */
    _Atomic uint64_t value_writers; /* values between being written and being noted in flight */
    struct sop_files files;
    struct sop_pages pages;
    struct sop_extents extents;
    struct sop_chain *chain;
    struct sop_arena_pool arenas; /* of transactions */
    struct sop_mutex idle_mutex;
    struct sop_txn *idle; /* ended transactions, for the next ones: each has its epoch slot */
    uint32_t idle_count;

    struct sop_mutex trees_mutex;
    struct sop_tree **trees; /* ascending by store id */
    size_t trees_count, trees_cap;
    _Atomic uint64_t next_page, next_store, next_item;

    struct sop_mutex commit; /* held by the leader, and where history must stand still */
    struct sop_mutex queue;
    struct sop_cond queue_moved;
    struct sop_txn *queue_first, *queue_last;
    bool leading;
    struct sop_txn *prepared;           /* commit lock */
    struct sop_epoch_slot *leader_slot; /* commit lock */
    struct sop_buf record;              /* of the batch at hand; commit lock */
    uint64_t *dirty; /* page ids changed since the last checkpoint; commit lock */
    size_t dirty_count, dirty_cap;
    struct sop_lsn appended; /* last record handed to the chain; commit lock */

    struct sop_mutex maintain;
    struct sop_epoch_slot *maintain_slot;       /* maintain lock */
    struct sop_kept kept[SOP_CHECKPOINTS_KEPT]; /* [0] newest; maintain lock */
    /* Until a newer checkpoint takes their place; maintain lock. */
    struct sop_passed_over passed[SOP_PASSED_OVER_MAX];
    size_t passed_count;
    struct sop_manifest_name official; /* the newest one that replay met; while opening */
    bool manifests_unsynced;           /* some were removed, not yet for good; maintain lock */
    bool litter; /* files of a failed checkpoint may be left; maintain lock */
    uint64_t checkpoint_trigger_bytes;
    uint64_t packed_bytes; /* appended to packs until the newest checkpoint; maintain lock */
    _Atomic uint64_t
        volume_bytes; /* of all files: measured by upkeep, plus what commits added */
    _Atomic bool checkpoint_wanted;
    /* Room on the volume (space.c). */
    _Atomic bool space_short;      /* something met a full volume and nothing was freed since */
    _Atomic uint64_t space_moment; /* of the newest checkpoint; SOP_NEVER: none yet */
    _Atomic uint64_t space_look_at; /* volume_bytes at which upkeep looks at the room again */
    _Atomic uint64_t space_hold_at; /* volume_bytes from which commits look themselves */
    uint64_t space_room;            /* bytes free after that checkpoint; maintain lock */
    bool ballast_open_missing, ballast_missing; /* in part or in full; maintain lock */
    uint64_t ballast_retry_ns; /* monotonic: it could not be made, not again before */
    pthread_t thread;
    bool thread_runs;
    bool thread_ends; /* thread_mutex */
    struct sop_mutex thread_mutex;
    struct sop_cond thread_wake;
    uint64_t quiet_since_ns, quiet_moment; /* maintain lock */
    uint64_t last_measure_ns;
    _Atomic int stopped; /* error code that stopped it, 0 = running */
    struct sop_mutex stop_mutex;
    struct sop_err stop_err;

    struct sop_lsn durable; /* history mutex of pages */
    _Atomic uint64_t commits, conflicts, rollbacks, batches, checkpoints, over_quota;
    uint64_t open_ns, open_records;
};

/* Opens the database that `options` describe: newest manifest, chain, journal. Errors as
 * sop_db_open. */
int sop_engine_open(struct sop_engine **out, const struct sop_engine_options *options,
                    struct sop_err *err) SOP_MUST_USE;
/* Has the owner written a newer checkpoint than all that this engine knows? Then what it reads
 * may have been swept. For an observer. */
bool sop_engine_overtaken(struct sop_engine *e);
/* No transaction may be open. orderly false: as if the process had died (nothing is written).
 */
int sop_engine_close(struct sop_engine **e, bool orderly, struct sop_err *err);
/* 0, or the error that stopped it, with its text. */
int sop_engine_check(struct sop_engine *e, struct sop_err *err) SOP_MUST_USE;
/* Stops it for good: the first error is kept. Returns code. */
int sop_engine_stop(struct sop_engine *e, int code, const struct sop_err *why);
/* The same for what chain and packs answered; of a tenure that somebody took over (SEALED) the
 * caller hears STOPPED. Gives the code, which *err then has too. */
int sop_engine_fatal(struct sop_engine *e, int rc, struct sop_err *err);
/* Something met a full volume: the next checkpoints free all that they can. Any thread. */
void sop_engine_short_of_space(struct sop_engine *e);
/* What a failed append to the chain means: after NOSPACE, NOMEM and TOO_LARGE nothing happened
 * and the database goes on; anything else is fatal. Gives the code. */
int sop_engine_append_failed(struct sop_engine *e, int rc, struct sop_err *err);

/* NULL: unknown. What a transaction is creating is found, too: only that transaction, and
 * replay, may know its id. */
struct sop_tree *sop_engine_tree(struct sop_engine *e, uint64_t store);
/* For whoever has the id from elsewhere: NULL for what was never committed, and may be freed by
 * its transaction at any time. */
struct sop_tree *sop_engine_shown_tree(struct sop_engine *e, uint64_t store);
int sop_engine_add_tree(struct sop_engine *e, struct sop_tree *t,
                        struct sop_err *err) SOP_MUST_USE;
/* Takes a tree that was never committed out of the table and frees it. Its id is not used
 * again. By the thread of the transaction that made it. */
void sop_engine_forget_tree(struct sop_engine *e, struct sop_tree *t);
uint64_t sop_engine_new_store_id(struct sop_engine *e);
uint64_t sop_engine_new_page_id(struct sop_engine *e);
uint64_t sop_engine_new_item_number(struct sop_engine *e); /* counts since open, from 1 */
#define SOP_CATALOG_STORE 1
#define SOP_CATALOG_ROOT  1

/* Adds page ids to the dirty list (room was reserved). Commit lock held. */
int sop_engine_reserve_dirty(struct sop_engine *e, size_t more,
                             struct sop_err *err) SOP_MUST_USE;
void sop_engine_mark_dirty(struct sop_engine *e, uint64_t page, struct sop_frame *frame);

/* Makes what was shown durable (interval/none). */
int sop_engine_sync(struct sop_engine *e, struct sop_err *err) SOP_MUST_USE;
/* The newest LSN that sop_engine_sync (or opening) made durable. */
struct sop_lsn sop_engine_durable(struct sop_engine *e);
/* One checkpoint now. Takes the maintain lock. */
int sop_engine_checkpoint(struct sop_engine *e, struct sop_err *err) SOP_MUST_USE;
/* Beat, journal care, checkpoint if due, sweep, freeing of dropped stores. */
int sop_engine_maintain(struct sop_engine *e, struct sop_err *err) SOP_MUST_USE;
/* Rewrites the live content of mostly dead pack files and frees them. */
int sop_engine_compact(struct sop_engine *e, struct sop_err *err) SOP_MUST_USE;
/* The maintenance thread: one sop_engine_maintain() a second, sooner when asked. */
int sop_engine_start_thread(struct sop_engine *e, struct sop_err *err) SOP_MUST_USE;
void sop_engine_stop_thread(struct sop_engine *e);

/* Shared by the files of this folder; maintain lock held. */
int sop_engine__checkpoint(struct sop_engine *e, struct sop_err *err) SOP_MUST_USE;
/* As many checkpoints as are kept: history and files from before are free then. */
int sop_engine__checkpoint_all_kept(struct sop_engine *e, struct sop_err *err) SOP_MUST_USE;
/* Will a checkpoint write only the changes of this page, and no new base? In an epoch. */
bool sop_engine__folds_to_run(const struct sop_version *v);
/* About what a checkpoint now would write; a figure that is too high if even that is not more
 * than `enough`. */
uint64_t sop_engine__checkpoint_bytes(struct sop_engine *e, uint64_t enough);
/* Is a checkpoint due because room is getting short, or because there is room again? */
bool sop_engine__space_due(struct sop_engine *e);
/* After a checkpoint or an attempt: the room that is left. */
void sop_engine__space_noted(struct sop_engine *e);
/* How far commits may go before the room is looked at again. */
void sop_engine__space_look(struct sop_engine *e);
/* Before a commit that adds `more` bytes, where room is short: writes a checkpoint if one is
 * due. NOSPACE: with these bytes the checkpoint after them might not fit any more. Takes the
 * maintain lock. */
int sop_engine__make_space(struct sop_engine *e, uint64_t more,
                           struct sop_err *err) SOP_MUST_USE;
/* The same before a value is written ahead of its commit: what that would refuse would stay as
 * garbage in its pack, and whoever tries again and again would fill the volume with it. */
int sop_engine_room_for_value(struct sop_engine *e, uint64_t bytes,
                              struct sop_err *err) SOP_MUST_USE;
int sop_engine__sweep(struct sop_engine *e, struct sop_err *err) SOP_MUST_USE;
/* Removes manifests and extents that no kept checkpoint names. */
int sop_engine__sweep_checkpoints(struct sop_engine *e, struct sop_err *err) SOP_MUST_USE;
/* Frees the pages of removed stores; `locked`: the commit lock is held and stays held. */
int sop_engine__free_dropped(struct sop_engine *e, bool locked,
                             struct sop_err *err) SOP_MUST_USE;
bool sop_engine__any_dropped(struct sop_engine *e); /* commit lock */
/* The first removed store with a greater id whose pages are not all freed; NULL: none. */
struct sop_tree *sop_engine__next_dropped(struct sop_engine *e, uint64_t after);
/* What all files of the database take on the volume now. Any thread. */
int sop_engine_volume_bytes(struct sop_engine *e, uint64_t *bytes,
                            struct sop_err *err) SOP_MUST_USE;
int sop_engine__measure(struct sop_engine *e, struct sop_err *err) SOP_MUST_USE;

#endif
