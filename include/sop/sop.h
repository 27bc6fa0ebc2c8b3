/* SOP: an ordered, durable, transactional key-value database in one process.
 *
 * Shape: a database (struct sop_db) is a folder. Transactions (struct sop_txn) read and write
 * stores (struct sop_store), each one B-tree of items: key, optional ride-on bytes, value.
 *
 * Threads: a database and its snapshots may be used by any number of threads at once ("any
 * thread" below). A transaction, and everything opened in it (stores, cursors, ranges, values),
 * is used by one thread at a time ("its thread": whichever has it).
 *
 * Ownership: `T **out` parameters receive an object that the caller ends with the function
 * named there. Slices passed in are borrowed for the call. Slices handed out say how long they
 * live. Structs of options are filled by their _init function first.
 *
 * Errors: 0, or a negative code of sop_err.h with *err filled (err may be NULL). Unless a
 * comment says otherwise a failed call changed nothing. Every function may return NOMEM, and
 * INVALID for arguments that break its rules; functions that reach the volume may return IO,
 * NOSPACE, DATA_LOSS, and STOPPED once the database has stopped. After fork() every handle
 * gives FORKED in the child. Once a transaction has ended, its stores and cursors are freed;
 * the pointer variable passed to the ending call is set to NULL. */
#ifndef SOP_H
#define SOP_H

#include "sop/sop_err.h"
#include "sop/sop_key.h"
#include "sop/sop_types.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sop_db;
struct sop_txn;
struct sop_store;
struct sop_cursor;
struct sop_range;
struct sop_snapshot;
struct sop_value_writer;
struct sop_value_reader;

/* The library's version, "0.1.0"; static storage. Any thread; never fails. */
SOP_API const char *sop_version(void);

/* ---- databases ------------------------------------------------------------------------- */

/* What an acknowledged commit has survived. */
enum sop_durability {
    SOP_DURABLE_COMMIT = 0, /* power loss: the record was synced before the answer (default) */
    SOP_DURABLE_INTERVAL = 1, /* kill -9; power loss may lose the last sync_interval_ms */
    SOP_DURABLE_NONE = 2,     /* kill -9; power loss may lose all since the last checkpoint */
};

/* Total order of user keys in a store with a registered comparer: <0, 0, >0. Deterministic,
 * thread-safe, the same for ever. Keys that compare as 0 are the same key; which of their forms
 * is stored and handed out is that of one of its changes. Empty keys are INVALID. */
typedef int (*sop_comparer_fn)(void *arg, struct sop_slice a, struct sop_slice b);
struct sop_comparer {
    const char *name; /* as in sop_store_options.comparer; <= 64 bytes */
    sop_comparer_fn compare;
    void *arg;
};

struct sop_db_options {
    size_t size;      /* sizeof(struct sop_db_options) */
    bool create;      /* make the database if the folder is absent or empty */
    bool read_only;   /* follow without writing a byte; no lock; see sop_db_refresh() */
    bool manual;      /* no maintenance thread: the caller calls sop_maintain() */
    bool ignore_lock; /* take the database over from an owner that is believed dead;
                         safe (the old owner never acknowledges again), but rude */
    enum sop_durability durability;
    uint32_t sync_interval_ms; /* for SOP_DURABLE_INTERVAL, at least 1; default 100 */
    uint64_t cache_bytes;      /* budget for pages, extents and dirty data; default 256 MiB,
                                  least 8 MiB */
    uint64_t max_bytes; /* most bytes of files. With create: of the new database for good (0 =
                           no limit); otherwise of this opening, 0 = as at creation. Commits
                           that would exceed it give QUOTA; deletes still work */
    uint64_t checkpoint_bytes;  /* journal bytes that trigger a checkpoint; 0 = 64 MiB, growing
                                   to 256 MiB under sustained load */
    uint32_t registry_hash_mod; /* 250..750000; kept and shown, otherwise ignored */
    const struct sop_comparer *comparers; /* borrowed until sop_db_open returns; names copied */
    size_t comparers_count;
};
/* Fills *options with the defaults above and its size. Any thread; never fails. */
SOP_API void sop_db_options_init(struct sop_db_options *options);

/* Opens (or with options->create makes) the database in `folder`. options NULL = defaults.
 * NOT_A_DATABASE: there is none and create is false, or the folder holds other things, or it is
 * a file, or would lie in a folder that is absent. READ_ONLY: no right to open it so (err->sys
 * is EACCES or EPERM). BUSY: another process or handle has it (the text names it). VERSION:
 * written by a newer format. REFUSED_VOLUME, DATA_LOSS. UNSUPPORTED: a store needs a comparer
 * that is not given; a read_only database opens without, and only that store does not. folder
 * and options are borrowed for the call. End with sop_db_close(). Any thread. */
SOP_API int sop_db_open(struct sop_db **out, const char *folder,
                        const struct sop_db_options *options, struct sop_err *err) SOP_MUST_USE;
/* Makes everything acknowledged durable and closes. NULL inside is fine. All transactions,
 * snapshots of it must have ended: BUSY otherwise (nothing closed). Other errors: closed all
 * the same, and what was acknowledged under SOP_DURABLE_COMMIT is safe. *db becomes NULL. By
 * one thread, when no other uses it any more. */
SOP_API int sop_db_close(struct sop_db **db, struct sop_err *err);
/* Removes every file of the database in `folder`; the folder stays. BUSY if somebody has it
 * open. NOT_A_DATABASE: there is none. After another error some files may be gone: call it
 * again. Any thread. */
SOP_API int sop_db_destroy(const char *folder, struct sop_err *err) SOP_MUST_USE;

/* One round of upkeep (beat, journal files ahead, sync of interval mode, checkpoint if due,
 * sweep, freeing of dropped stores). For `manual` databases: call about once a second; any
 * thread; harmless otherwise. An error (NOSPACE, say) loses nothing: the next round tries
 * again. */
SOP_API int sop_maintain(struct sop_db *db, struct sop_err *err) SOP_MUST_USE;
/* Writes a checkpoint now; afterwards opening replays nothing older. Any thread, beside
 * transactions. READ_ONLY. After another error the last checkpoint still holds. */
SOP_API int sop_db_checkpoint(struct sop_db *db, struct sop_err *err) SOP_MUST_USE;
/* Makes everything acknowledged so far survive power loss, in every durability. Any thread.
 * IO: the database has stopped. */
SOP_API int sop_db_sync(struct sop_db *db, struct sop_err *err) SOP_MUST_USE;
/* Rewrites live data out of mostly dead files and gives the space back to the volume. Runs
 * beside transactions; what a pinned state needs stays until it is released. Any thread.
 * READ_ONLY. After another error everything is as before or smaller. */
SOP_API int sop_db_compact(struct sop_db *db, struct sop_err *err) SOP_MUST_USE;
/* read_only: moves to the newest state that the writer has shown on the volume: a living one
 * shows its commits once a second (sop_maintain()), all of them when it closes. Open
 * transactions keep theirs; when the writer has compacted away what an old state needs, reading
 * it gives CONFLICT: refresh and begin again. Otherwise does nothing. Any thread. After an
 * error it stays where it was. */
SOP_API int sop_db_refresh(struct sop_db *db, struct sop_err *err) SOP_MUST_USE;

struct sop_db_stats {
    size_t size;               /* sizeof(struct sop_db_stats): the caller's, before the call */
    struct sop_lsn head;       /* newest visible state */
    struct sop_lsn durable;    /* newest state that survives power loss */
    struct sop_lsn checkpoint; /* L of the newest official checkpoint */
    uint8_t database_id[16];
    uint64_t member;
    uint64_t stores;
    uint64_t commits, conflicts, rollbacks;
    uint64_t batches; /* journal records; commits / batches = group size */
    uint64_t syncs;
    uint64_t journal_bytes; /* since the redo position */
    uint64_t pages; /* ids handed out, without those that wait for use again; those of removed
                       stores are never used again */
    uint64_t cache_budget_bytes, cache_used_bytes, cache_dirty_bytes;
    uint64_t cache_misses, cache_evictions;
    uint64_t checkpoints;                 /* since open */
    uint64_t pack_bytes, pack_live_bytes; /* file bytes, and those that are named */
    uint64_t volume_bytes;                /* of all files of the database, as last measured;
                                             read_only: measured by this call */
    uint64_t pins;                        /* LSNs held by transactions and snapshots */
    uint64_t open_ns;                     /* how long opening took */
    uint64_t open_records;                /* records replayed by opening */
    enum sop_durability durability;
    bool read_only;
    uint32_t registry_hash_mod;
    /* Checkpoints that opening wanted and could not use; sop_db_verify() names them. The next
     * checkpoint takes their place: then 0. */
    uint64_t checkpoints_damaged;
    uint64_t max_bytes; /* most bytes of files, as this opening has it; 0 = no limit */
};
/* What is going on: a consistent enough picture, not a snapshot. Fills the stats->size bytes
 * that the caller's sop.h knows; later releases add fields at the end only, so that older
 * programs go on. Any thread. INVALID: size is not set, or is of a newer sop.h than the
 * library; nothing is filled. IO. */
SOP_API int sop_db_stats(struct sop_db *db, struct sop_db_stats *stats,
                         struct sop_err *err) SOP_MUST_USE;

/* Progress of a long call: `done` of `total` units (0 = not known), `what` names them. Nonzero
 * cancels (the call gives CANCELLED). */
typedef int (*sop_progress_fn)(void *arg, const char *what, uint64_t done, uint64_t total);

/* One finding of verify, repair or doctor. severity 0 = fine, 1 = warning, 2 = error. */
typedef void (*sop_report_fn)(void *arg, int severity, const char *text);

struct sop_verify_result {
    uint64_t stores, pages, items, values, files, bytes;
    uint64_t errors;
};
/* Proves the database at its newest checkpoint and head: every extent, sheet and value readable
 * with good CRC, keys ordered and inside their fences, tree balanced, counts equal items, every
 * page and byte accounted for once. A damaged checkpoint that opening could do without counts
 * as an error until a new one has taken its place. What history lies behind the newest
 * checkpoint is proved by opening. With `deep` every record of every pack file is read, too,
 * the history since the older checkpoint (all of it while there is one), and every small file;
 * damage that nothing depends on, and that a power loss may leave as well, is a warning.
 * *result (may be NULL) is filled. Any
 * thread; the maintenance of the database waits meanwhile, so report and progress must not call
 * it. UNSUPPORTED: the comparer of a store was not given; nothing was looked at. DATA_LOSS if
 * result->errors != 0; each finding goes to report (may be NULL). BUSY: of a read_only database
 * its owner has swept what was to be read; refresh it and try again. */
SOP_API int sop_db_verify(struct sop_db *db, bool deep, sop_report_fn report,
                          sop_progress_fn progress, void *arg, struct sop_verify_result *result,
                          struct sop_err *err) SOP_MUST_USE;
struct sop_repair_options {
    size_t size;  /* sizeof(struct sop_repair_options) */
    bool dry_run; /* look and report only: nothing is written */
};
struct sop_repair_result {
    uint64_t damaged;  /* marks that were found damaged */
    uint64_t repaired; /* of them, mended for good */
};
/* Fills *options with the defaults above (no dry run) and its size. Any thread; never fails. */
SOP_API void sop_repair_options_init(struct sop_repair_options *options);
/* Mends what makes every opening of a closed database fail although no data is damaged: the
 * mark (GATE) of a chain directory that is damaged or missing. It is written anew only if all
 * history that an opening needs is there, nothing says that the directory was given up, and
 * nobody has the database open or can open it meanwhile. options (NULL = defaults) and folder
 * are borrowed for the call. What is found and done goes to report (may be NULL); *result (may
 * be NULL) is filled. 0 also if nothing had to be mended. BUSY: somebody has it open.
 * DATA_LOSS: damage that this cannot mend, with file and offset, nothing was written; or, of a
 * dry run, damage that it can. NOT_A_DATABASE, VERSION, READ_ONLY as sop_db_open(). IO,
 * NOSPACE: some may be mended; call it again. Any thread; of a volume of several hosts it takes
 * half a minute to see that the others are dead. */
SOP_API int sop_db_repair(const char *folder, const struct sop_repair_options *options,
                          sop_report_fn report, void *arg, struct sop_repair_result *result,
                          struct sop_err *err) SOP_MUST_USE;
/* Copies the state at one LSN into `folder` (absent or empty) as a complete, compact database,
 * while transactions go on. On failure the folder is removed again. NOT_A_DATABASE: folder is a
 * file, or would lie in a folder that is absent. UNSUPPORTED: the comparer of a store was not
 * given. CANCELLED by progress (may be NULL). Any thread. */
SOP_API int sop_db_backup(struct sop_db *db, const char *folder, sop_progress_fn progress,
                          void *arg, struct sop_err *err) SOP_MUST_USE;
/* Makes a database in `folder` (absent or empty) from a backup, after verifying the backup. On
 * failure the folder is removed again: DATA_LOSS of a damaged backup, CANCELLED by progress
 * (may be NULL), NOT_A_DATABASE as for sop_db_open() and sop_db_backup(). Any thread. */
SOP_API int sop_db_restore(const char *backup, const char *folder, sop_progress_fn progress,
                           void *arg, struct sop_err *err) SOP_MUST_USE;
/* Probes whether a folder's volume keeps the contract of docs/PROTOCOL.md section 2: races
 * `processes` processes for names, checks read-after-write and absent names, measures syncs.
 * Works in a temporary sub-folder, which is removed. Each finding goes to report (may be NULL).
 * REFUSED_VOLUME when it does not. NOT_A_DATABASE: there is no such folder. Any thread. */
SOP_API int sop_doctor(const char *folder, unsigned processes, sop_report_fn report, void *arg,
                       struct sop_err *err) SOP_MUST_USE;

/* ---- transactions ---------------------------------------------------------------------- */

enum sop_txn_mode {
    SOP_WRITE = 0, /* reads and writes; strict serializable */
    SOP_READ = 1,  /* reads one state, not older than any commit acknowledged before begin; of a
                      read_only database the state of its opening or last refresh */
    SOP_READ_RELAXED = 2, /* reads the last state known here, without looking at the volume */
    SOP_NO_CHECK = 3,     /* reads without any barrier: each call sees the newest state */
};
struct sop_txn_options {
    size_t size;
    enum sop_txn_mode mode;
    uint32_t max_time_ms; /* default 15 min, at most 1 h: a later commit gives TIMEOUT */
    const struct sop_snapshot *at; /* SOP_READ*: read this state (borrowed until the end) */
    struct sop_lsn not_before;     /* read a state >= this, or NOT_FOUND */
    uint64_t memory_bytes; /* most memory of its write and read sets, beside the cache; 0 = as
                              much as the cache budget, at least 64 MiB; beyond: LIMIT */
};
/* Fills *options with the defaults above and its size. Any thread; never fails. */
SOP_API void sop_txn_options_init(struct sop_txn_options *options);

/* What a commit tells. */
struct sop_commit {
    struct sop_txn_id id;        /* for sop_txn_status() */
    struct sop_lsn lsn;          /* where it took place; of a read-only one: what it read */
    enum sop_durability durable; /* what it has survived already */
};

/* Begins a transaction at the state that options->mode says. options (borrowed for the call)
 * NULL = SOP_WRITE with defaults. End with commit or rollback, before the database is closed.
 * Any thread. READ_ONLY: SOP_WRITE on a read-only database. NOT_FOUND: not_before is not there
 * yet. STOPPED: the database must be reopened; if another opener took it over unnoticed, the
 * first question of a transaction says so (SEALED), or its commit. */
SOP_API int sop_txn_begin(struct sop_txn **out, struct sop_db *db,
                          const struct sop_txn_options *options,
                          struct sop_err *err) SOP_MUST_USE;
/* Ends the transaction; *txn becomes NULL (but see sop_txn_prepare). 0: committed, *result (may
 * be NULL) filled. CONFLICT (the text names the store), TIMEOUT: nothing happened, run it
 * again. UNKNOWN: the outcome is not known; result->id is filled: ask sop_txn_status() after
 * reopening. QUOTA, NOSPACE, NOMEM, LIMIT: nothing happened. IO, SEALED (another opener has
 * taken the database over): nothing happened, and the database has stopped. Its thread; hooks
 * are called before it returns. */
SOP_API int sop_txn_commit(struct sop_txn **txn, struct sop_commit *result,
                           struct sop_err *err) SOP_MUST_USE;
/* Nothing of it happens. *txn becomes NULL, and with it all that was opened in it. Its thread.
 * Never fails; NULL inside is fine. */
SOP_API void sop_txn_rollback(struct sop_txn **txn);
/* First phase of two: validates, and reserves what was read and written, so that a following
 * sop_txn_commit() cannot give CONFLICT. On error the transaction has been rolled back and *txn
 * is NULL. A prepared transaction accepts only commit and rollback; it ends with its process.
 * Its max_time counts no more, and a commit that fails (NOSPACE, NOMEM, a page that cannot be
 * read) leaves it prepared and *txn as it is, unless the database has stopped: mend the cause
 * and commit again, or roll back. Its thread. Errors as of commit. */
SOP_API int sop_txn_prepare(struct sop_txn **txn, struct sop_err *err) SOP_MUST_USE;
/* Called after the commit has been decided (committed true) or the transaction ended otherwise,
 * on the thread that ends it, in the order of registration; `result` is NULL when not
 * committed. */
typedef void (*sop_commit_fn)(void *arg, bool committed, const struct sop_commit *result);
/* Has `hook` called with arg (borrowed until then) when the transaction ends. Its thread.
 * Nothing but NOMEM can go wrong. */
SOP_API int sop_txn_on_commit(struct sop_txn *txn, sop_commit_fn hook, void *arg,
                              struct sop_err *err) SOP_MUST_USE;
/* Runs body in a transaction and commits it; on errors of class RESTART begins again with
 * growing pauses, at most `tries` times (0 = 16). body returns 0 to commit; any other code
 * rolls back and is returned (a RESTART code: tried again). options as for begin, *result (may
 * be NULL) as for commit. Any thread; body runs on it, and must not end txn itself. */
typedef int (*sop_txn_fn)(void *arg, struct sop_txn *txn, struct sop_err *err);
SOP_API int sop_txn_run(struct sop_db *db, const struct sop_txn_options *options,
                        unsigned tries, sop_txn_fn body, void *arg, struct sop_commit *result,
                        struct sop_err *err) SOP_MUST_USE;
/* The state that this transaction reads; {0, 0} of one that has ended. Its thread. */
SOP_API struct sop_lsn sop_txn_lsn(const struct sop_txn *txn);
enum sop_txn_outcome { SOP_COMMITTED = 1, SOP_NOT_COMMITTED = 2, SOP_TOO_OLD_TO_TELL = 3 };
/* What became of a transaction, also of an opening before this one. Told for the newest commit
 * of an opening, the only one that can be UNKNOWN; after later commits, or once that opening
 * was closed in order, it is TOO_OLD_TO_TELL. *outcome is filled. Any thread. INVALID: the
 * transaction changed nothing (member 0). */
SOP_API int sop_txn_status(struct sop_db *db, const struct sop_txn_id *id,
                           enum sop_txn_outcome *outcome, struct sop_err *err) SOP_MUST_USE;

/* Pins the newest state, which stays readable until the snapshot is released. Costs nothing
 * while nothing changes; holds back the space of what is replaced. Several transactions may
 * read at it at once (sop_txn_options.at). Any thread. End with sop_snapshot_release(). */
SOP_API int sop_snapshot_pin(struct sop_snapshot **out, struct sop_db *db,
                             struct sop_err *err) SOP_MUST_USE;
/* Lets it go, when no transaction reads at it any more and before the database is closed. NULL
 * inside is fine; *snapshot becomes NULL. Any thread; never fails. */
SOP_API void sop_snapshot_release(struct sop_snapshot **snapshot);
/* The state that it pins. Any thread; never fails. */
SOP_API struct sop_lsn sop_snapshot_lsn(const struct sop_snapshot *snapshot);

/* ---- stores ---------------------------------------------------------------------------- */

/* Where values live. */
enum sop_value_class {
    SOP_VALUES_SMALL = 0,  /* in the page; values over 16 KiB go to a pack (default) */
    SOP_VALUES_MEDIUM = 1, /* each in its own record of a pack; cached */
    SOP_VALUES_BIG = 2,    /* in a pack, streamed as they are written, not cached */
};

struct sop_store_options {
    size_t size;
    bool unique;          /* default true; false: a key may have many items, in the order
                             of insertion */
    uint32_t slot_length; /* most items of a page: even, 2..20000; default 2000 */
    enum sop_value_class values;
    struct sop_key_schema key; /* default raw bytes */
    const char *comparer;      /* NULL, or the name of a registered comparer (raw keys only) */
    const char *description;   /* <= 1024 bytes; NULL = "" */
    const char *blob_key;      /* redundancy entry of its packs, <= 128 bytes; "" = default */
    struct sop_slice custom;   /* the user's own data, <= 64 KiB */
    uint32_t
        cache_page_seconds; /* how long pages, values and store facts are worth keeping in */
    uint32_t cache_value_seconds; /* shared caches; 0 = as long as there is room */
    uint32_t cache_info_seconds;
};

struct sop_store_info {
    const char *name; /* strings and custom live as long as the store handle */
    uint64_t id;
    uint64_t items; /* as this transaction sees it */
    struct sop_store_options options;
};

/* Fills *options with the defaults above and its size. Any thread; never fails. */
SOP_API void sop_store_options_init(struct sop_store_options *options);

/* Stores are opened in a transaction and end with it. Names: 1..128 bytes of UTF-8 without
 * control characters. All calls: the thread of the transaction. CLOSED: the store was removed
 * (in a SOP_NO_CHECK transaction also by another), or the transaction is prepared. */

/* Makes a store; options NULL = defaults. name and options are borrowed for the call. *out
 * lives as long as the transaction. EXISTS. UNSUPPORTED: unknown comparer. TOO_LARGE:
 * description, blob_key or custom. READ_ONLY. */
SOP_API int sop_store_create(struct sop_store **out, struct sop_txn *txn, const char *name,
                             const struct sop_store_options *options,
                             struct sop_err *err) SOP_MUST_USE;
/* Opens a store; twice in a transaction gives the same handle, which lives as long as the
 * transaction. NOT_FOUND (its absence was read). UNSUPPORTED: its comparer was not given. */
SOP_API int sop_store_open(struct sop_store **out, struct sop_txn *txn, const char *name,
                           struct sop_err *err) SOP_MUST_USE;
/* Fills *info with what the transaction sees of the store; strings and custom in it live as
 * long as the handle. */
SOP_API int sop_store_info(struct sop_store *store, struct sop_store_info *info,
                           struct sop_err *err) SOP_MUST_USE;
/* One store of a list; *info and what it points to live until it returns. */
typedef int (*sop_store_fn)(void *arg, const struct sop_store_info *info, struct sop_err *err);
/* Calls `each` for the stores in ascending order of names, from the first > after ("" = all);
 * stops at nonzero, which is returned. In a writing transaction a read of these names. */
SOP_API int sop_store_list(struct sop_txn *txn, const char *after, sop_store_fn each, void *arg,
                           struct sop_err *err) SOP_MUST_USE;
/* Changes description, custom and cache durations to those of options (borrowed for the call);
 * the rest is ignored. TOO_LARGE, READ_ONLY. NOT_FOUND: it was removed. */
SOP_API int sop_store_change(struct sop_store *store, const struct sop_store_options *options,
                             struct sop_err *err) SOP_MUST_USE;
/* Removes a store: O(1) at commit, its pages are freed in the background. The handle, if open,
 * is closed. NOT_FOUND, READ_ONLY. */
SOP_API int sop_store_remove(struct sop_txn *txn, const char *name,
                             struct sop_err *err) SOP_MUST_USE;
/* *items = number of items as this transaction sees them. In a writing transaction a read of
 * the whole store, unless `estimate`. */
SOP_API int sop_store_count(struct sop_store *store, bool estimate, uint64_t *items,
                            struct sop_err *err) SOP_MUST_USE;

/* ---- items ----------------------------------------------------------------------------- */

/* Keys are encoded by the store's schema (sop_key.h); raw bytes by default. WRONG_TYPE: the key
 * is not an encoding of the schema. TOO_LARGE: key or ride over 64 KiB, value over 1 GiB.
 * READ_ONLY: changes in a reading transaction. */
struct sop_entry {
    struct sop_slice key;
    struct sop_slice ride; /* ride-on key bytes: stored beside the key, do not order */
    struct sop_slice value;
};

/* An item handed out. Slices live until the next call on the same cursor, range or (for
 * sop_get) transaction. */
struct sop_view {
    struct sop_slice key; /* user key, without item id */
    struct sop_slice ride;
    struct sop_slice value; /* empty if not loaded; see loaded */
    uint64_t value_bytes;   /* its length, loaded or not */
    struct sop_item_id id;  /* zero in unique stores */
    bool loaded; /* value is here; otherwise read it by a cursor and sop_value_open(),
                    as in stores of class Big every value that is not empty */
};

/* All calls of this part: the thread of the transaction. Entries and keys are borrowed for the
 * call, what they point to is copied. Beside their own errors they give those named above,
 * CLOSED (as for stores), LIMIT (the transaction's memory is used up) and CONFLICT (a state
 * that a read-only database cannot read any more). */

/* Adds an item; in a non-unique store behind those that have the key. EXISTS: unique store, and
 * the key is there. */
SOP_API int sop_add(struct sop_store *store, const struct sop_entry *entry,
                    struct sop_err *err) SOP_MUST_USE;
/* Adds an item if none has the key. *added false: some item has it already; nothing changed. */
SOP_API int sop_add_if_absent(struct sop_store *store, const struct sop_entry *entry,
                              bool *added, struct sop_err *err) SOP_MUST_USE;
/* Adds an item or changes the one that has the key, of duplicates the first. */
SOP_API int sop_upsert(struct sop_store *store, const struct sop_entry *entry,
                       struct sop_err *err) SOP_MUST_USE;
/* Gives the item with this key, of duplicates the first, another value. Its ride stays unless
 * entry->ride has data != NULL. NOT_FOUND. */
SOP_API int sop_update(struct sop_store *store, const struct sop_entry *entry,
                       struct sop_err *err) SOP_MUST_USE;
/* Gives the item another ride and/or key without touching its value: to->key with data NULL
 * keeps the key, to->ride likewise. EXISTS: unique store and to->key (if different) is there.
 * to->value is ignored. In a non-unique store an item with another key has another id.
 * NOT_FOUND. */
SOP_API int sop_update_key(struct sop_store *store, struct sop_slice key,
                           const struct sop_entry *to, struct sop_err *err) SOP_MUST_USE;
/* The item with this key goes, of duplicates the first. NOT_FOUND. */
SOP_API int sop_remove(struct sop_store *store, struct sop_slice key,
                       struct sop_err *err) SOP_MUST_USE;
/* Fills *view with the item of this key, of duplicates the first; struct sop_view says how long
 * it lives. NOT_FOUND. */
SOP_API int sop_get(struct sop_store *store, struct sop_slice key, struct sop_view *view,
                    struct sop_err *err) SOP_MUST_USE;

/* sop_get() for `count` keys: views[i] answers keys[i]; found[i] false = absent. Slices live
 * until the next call on the transaction. After an error views and found mean nothing. */
SOP_API int sop_get_many(struct sop_store *store, const struct sop_slice *keys, size_t count,
                         struct sop_view *views, bool *found, struct sop_err *err) SOP_MUST_USE;
/* sop_add() for `count` entries in turn. *done = how many were added: all, or at the first
 * error those before it, which stay. Errors as sop_add(). */
SOP_API int sop_add_many(struct sop_store *store, const struct sop_entry *entries, size_t count,
                         size_t *done, struct sop_err *err) SOP_MUST_USE;

/* ---- values that are written or read in pieces ------------------------------------------- */

enum sop_put_mode { SOP_PUT_ADD = 0, SOP_PUT_UPSERT = 1, SOP_PUT_UPDATE = 2 };
/* Writers and readers: the thread of the transaction; several at once are fine. */

/* Begins a value that is written in pieces, for an item with entry->key and ->ride (borrowed
 * for the call; ->value is ignored). Bytes go to the volume as they are written; the item
 * appears with finish. End with finish or abort; a transaction's end aborts what is open.
 * WRONG_TYPE, TOO_LARGE, READ_ONLY, CLOSED (as for stores). */
SOP_API int sop_value_create(struct sop_value_writer **out, struct sop_store *store,
                             enum sop_put_mode mode, const struct sop_entry *entry,
                             struct sop_err *err) SOP_MUST_USE;
/* Appends bytes (borrowed for the call). TOO_LARGE: over 1 GiB in all. After an error only
 * abort makes sense. */
SOP_API int sop_value_write(struct sop_value_writer *writer, struct sop_slice bytes,
                            struct sop_err *err) SOP_MUST_USE;
/* Makes the item: errors as sop_add(), sop_upsert(), sop_update(). *writer becomes NULL in any
 * case. */
SOP_API int sop_value_finish(struct sop_value_writer **writer,
                             struct sop_err *err) SOP_MUST_USE;
/* Drops what was written; *writer becomes NULL. Never fails; NULL inside is fine. */
SOP_API void sop_value_abort(struct sop_value_writer **writer);
/* Opens the value of the cursor's current item for reading from any offset. It stays valid when
 * the cursor moves, until it is closed or the transaction ends. NOT_FOUND: the cursor stands
 * nowhere, or on the place of a removed item. */
SOP_API int sop_value_open(struct sop_value_reader **out, struct sop_cursor *cursor,
                           struct sop_err *err) SOP_MUST_USE;
/* Its bytes in all. Never fails. */
SOP_API uint64_t sop_value_size(const struct sop_value_reader *reader);
/* Copies up to len bytes from `offset` to `to`; *got < len only at the end. */
SOP_API int sop_value_read(struct sop_value_reader *reader, uint64_t offset, void *to,
                           size_t len, size_t *got, struct sop_err *err) SOP_MUST_USE;
/* Ends it; *reader becomes NULL. Never fails; NULL inside is fine. */
SOP_API void sop_value_close(struct sop_value_reader **reader);

/* ---- cursors ----------------------------------------------------------------------------- */

/* A cursor stands on an item or nowhere. It survives changes of its own transaction; after its
 * item was removed it stands on the place: key and item give NOT_FOUND (unless the key is added
 * again), next and prev go on from there. Moves return 0 and stand on an item, or stand nowhere
 * and give NOT_FOUND (no such item; next or prev from nowhere) or END (nothing lies there; next
 * from the last item, prev from the first). The key to find is a whole one (WRONG_TYPE if
 * it is not of the schema; borrowed for the call): ranges take parts of composite keys. All
 * calls: the thread of the transaction; CLOSED, LIMIT and CONFLICT as for items. */

/* A cursor that stands nowhere yet. End with sop_cursor_close(); the transaction's end does so,
 * too. */
SOP_API int sop_cursor_open(struct sop_cursor **out, struct sop_store *store,
                            struct sop_err *err) SOP_MUST_USE;
/* Ends it; *cursor becomes NULL. Never fails; NULL inside is fine. */
SOP_API void sop_cursor_close(struct sop_cursor **cursor);
/* To the item with this key, of duplicates the first. NOT_FOUND. */
SOP_API int sop_cursor_find(struct sop_cursor *c, struct sop_slice key,
                            struct sop_err *err) SOP_MUST_USE;
/* To the first item with a key >= this one; *exact = equal key. END if there is none. */
SOP_API int sop_cursor_find_near(struct sop_cursor *c, struct sop_slice key, bool *exact,
                                 struct sop_err *err) SOP_MUST_USE;
/* To the last item with a key <= this one; *exact = equal key. END if there is none. */
SOP_API int sop_cursor_find_before(struct sop_cursor *c, struct sop_slice key, bool *exact,
                                   struct sop_err *err) SOP_MUST_USE;
/* To the item with this key and id (borrowed for the call). NOT_FOUND. */
SOP_API int sop_cursor_find_id(struct sop_cursor *c, struct sop_slice key,
                               const struct sop_item_id *id, struct sop_err *err) SOP_MUST_USE;
/* To the first item of the store. END: it is empty. */
SOP_API int sop_cursor_first(struct sop_cursor *c, struct sop_err *err) SOP_MUST_USE;
/* To the last item of the store. END: it is empty. */
SOP_API int sop_cursor_last(struct sop_cursor *c, struct sop_err *err) SOP_MUST_USE;
/* To the item behind the current one. END: it was the last. NOT_FOUND: it stands nowhere. */
SOP_API int sop_cursor_next(struct sop_cursor *c, struct sop_err *err) SOP_MUST_USE;
/* To the item before the current one. END: it was the first. NOT_FOUND: it stands nowhere. */
SOP_API int sop_cursor_prev(struct sop_cursor *c, struct sop_err *err) SOP_MUST_USE;
/* To the item at `position` (0 = first) in key order. Cost grows with the number of pages, not
 * items. A read of the whole store in a writing transaction. END: there are not so many. */
SOP_API int sop_cursor_seek(struct sop_cursor *c, uint64_t position,
                            struct sop_err *err) SOP_MUST_USE;
/* *position = that of the current item; cost and reads as for sop_cursor_seek(). NOT_FOUND. */
SOP_API int sop_cursor_position(struct sop_cursor *c, uint64_t *position,
                                struct sop_err *err) SOP_MUST_USE;
/* Fills *view with the current item without its value; it lives until the next call on the
 * cursor. NOT_FOUND: it stands nowhere, or its item was removed. */
SOP_API int sop_cursor_key(struct sop_cursor *c, struct sop_view *view,
                           struct sop_err *err) SOP_MUST_USE;
/* The same with its value; one of class Big is not loaded. */
SOP_API int sop_cursor_item(struct sop_cursor *c, struct sop_view *view,
                            struct sop_err *err) SOP_MUST_USE;
/* Gives the current item another value (borrowed for the call); the cursor stays on it.
 * NOT_FOUND as above, TOO_LARGE, READ_ONLY, LIMIT. */
SOP_API int sop_cursor_update(struct sop_cursor *c, struct sop_slice value,
                              struct sop_err *err) SOP_MUST_USE;
/* Gives the current item another ride and/or key, as sop_update_key() does, without fetching
 * its value; the cursor stays on it. EXISTS, NOT_FOUND, WRONG_TYPE, TOO_LARGE, READ_ONLY,
 * LIMIT. */
SOP_API int sop_cursor_update_key(struct sop_cursor *c, const struct sop_entry *to,
                                  struct sop_err *err) SOP_MUST_USE;
/* Removes the current item, without fetching its value; the cursor stands on its place.
 * NOT_FOUND, READ_ONLY, LIMIT. */
SOP_API int sop_cursor_remove(struct sop_cursor *c, struct sop_err *err) SOP_MUST_USE;

/* ---- ranges ------------------------------------------------------------------------------ */

struct sop_range_options {
    size_t size;
    struct sop_slice low;  /* data NULL = from the first; copied */
    struct sop_slice high; /* data NULL = to the last; copied */
    bool low_open;         /* without keys equal to low */
    bool high_closed;      /* with keys equal to high; to end with all keys that begin with a
                              part of a key, give its sop_key_prefix_end() as an open high */
    bool prefix;           /* all keys that begin with low (byte-wise); high and low_open are
                              ignored; UNSUPPORTED in a store with a comparer */
    bool reverse;
    bool keys_only; /* values of packs are not loaded */
};
/* Fills *options: the whole store, ascending. Any thread; never fails. */
SOP_API void sop_range_options_init(struct sop_range_options *options);

/* Ranges: the thread of the transaction; CLOSED, LIMIT and CONFLICT as for items. */

/* Begins to walk a range in batches; options NULL = the whole store. Bounds are copied and need
 * not be whole keys. Changes that its transaction makes ahead of where it stands are seen. End
 * with sop_range_close(); the transaction's end does so, too. UNSUPPORTED: see prefix. */
SOP_API int sop_range_open(struct sop_range **out, struct sop_store *store,
                           const struct sop_range_options *options,
                           struct sop_err *err) SOP_MUST_USE;
/* Fills up to max views and *count; 0 with *count == 0 at the end. Keys, rides and inline
 * values are handed out where they lie: nothing is copied but compressed keys. Views live until
 * the next call on this range. */
SOP_API int sop_range_next(struct sop_range *range, struct sop_view *views, size_t max,
                           size_t *count, struct sop_err *err) SOP_MUST_USE;
/* Ends it; *range becomes NULL. Never fails; NULL inside is fine. */
SOP_API void sop_range_close(struct sop_range **range);

#ifdef __cplusplus
}
#endif
#endif
