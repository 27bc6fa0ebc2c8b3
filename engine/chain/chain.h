/* The chain: numbered write-once slots on the volume, members, and the tenure of an open slot.
 *
 * One struct sop_chain is one opening of a database. Opened exclusively it is a member that
 * owns the open slot (its JOIN) and commits through its journal alone; opened as an observer it
 * follows without a trace on the volume. Protocol: docs/PROTOCOL.md; formats:
 * engine/chain/format.h and engine/journal/format.h.
 *
 * What the layer above gives: payloads it alone understands. What it gets: every decided
 * record once, in LSN order, first during open (replay), later as its own appends return.
 *
 * Threads: append, sync and the two ends of a sync beside appends by one thread at a time (the
 * committing leader, guarded by the caller); beat, trim and the getters from any thread. */
#ifndef SOP_CHAIN_H
#define SOP_CHAIN_H

#include "engine/base/base.h"
#include "engine/base/env.h"
#include "engine/base/failpoint.h"
#include "engine/journal/journal.h"
#include "engine/volume/volume.h"

enum sop_record_kind {
    SOP_RECORD_BATCH = 1, /* transactions (payload: engine/txn/format.h) */
    SOP_RECORD_OPEN = 2,  /* opens a tenure in this slot */
    SOP_RECORD_CUT = 3,   /* ends somebody's tenure, nothing else */
    SOP_RECORD_JOIN = 4,
    SOP_RECORD_LEAVE = 5,
    SOP_RECORD_EXPEL = 6,
    SOP_RECORD_ROLL = 7,
    SOP_RECORD_CHECKPOINT = 8, /* payload: place of the manifest that is now official */
    SOP_RECORD_SNAPSHOT = 9,
    SOP_RECORD_PREPARED = 10, /* two-phase: reservations of one transaction */
    SOP_RECORD_DECIDE = 11,   /* two-phase: a batch that ends a PREPARED */
};

#define SOP_CHAIN_DIR_BYTES 64 /* name of a chain directory, with its 0 */

/* A place in history from which replay can begin; stored in sop.db (genesis) and manifests. */
struct sop_chain_point {
    struct sop_lsn lsn;            /* everything <= lsn is known already */
    uint64_t hash;                 /* rolling hash of everything <= lsn */
    char dir[SOP_CHAIN_DIR_BYTES]; /* chain directory in which slot lsn.slot (or, at genesis,
                                      slot 1) lies; first slot number of it is dir_first */
    uint64_t dir_first;
    /* If lsn lies in an open slot: where its record lsn.record + 1 will lie. */
    uint64_t journal_member; /* 0 = not in an open slot */
    uint32_t journal_file;
    uint64_t journal_offset;
};

/* A record is handed up when it is decided. `member` is its writer. Kinds JOIN, LEAVE, EXPEL
 * come too (payload: the 8-byte little-endian id of the member that came or went), so that the
 * layer above can end what that member left. Nonzero stops the replay and is returned. */
typedef int (*sop_chain_apply_fn)(void *arg, struct sop_lsn lsn, enum sop_record_kind kind,
                                  uint64_t member, uint64_t batch, struct sop_slice payload,
                                  struct sop_err *err);

struct sop_chain_options {
    struct sop_volume *volume; /* borrowed, outlives the chain */
    struct sop_env *env;       /* borrowed */
    uint8_t database_id[16];
    struct sop_chain_point start;
    struct sop_slice state; /* from sop_chain_state() at start.lsn; empty at genesis */
    sop_chain_apply_fn apply;
    void *arg;
    bool observer;              /* read-only: no member, no lock, no write */
    bool repair;                /* see sop_chain_mend() */
    bool ignore_os_lock;        /* tests only: take over from a living owner */
    const char *host;           /* shown in messages; NULL = "" */
    uint32_t dir_slots;         /* slots of a chain directory, >= 4; 0 = SOP_CHAIN_DIR_SLOTS */
    uint64_t journal_bytes_min; /* first journal file; 0 = SOP_JOURNAL_BYTES_MIN */
    uint64_t journal_bytes_max; /* 0 = SOP_JOURNAL_BYTES_MAX */
    const struct sop_failpoints *failpoints; /* borrowed; NULL = none */
};

struct sop_chain;

/* Makes chain/, members/ and the first chain directory, durable, and fills the genesis point.
 * For `init` of a new database in an empty folder. IO, NOSPACE, ... */
int sop_chain_create(struct sop_volume *v, struct sop_env *env, const uint8_t database_id[16],
                     struct sop_chain_point *genesis, struct sop_err *err) SOP_MUST_USE;

/* PROTOCOL.md section 7, "Opening exclusively" (or an observer's refresh): replays from
 * options.start to the head through apply, expels the dead, joins, serves. At most 12 syncs; 16
 * when the chain directory is full and a new one is begun, once in thousands of openings.
 * BUSY: a living member has it (text names host and pid). SEALED: what `start` needs has been
 * truncated meanwhile, or somebody won a race and history moved to where only a newer manifest
 * helps: load the newest manifest and call again (a few times at most: if no newer one appears,
 * files are missing). DATA_LOSS: damage, with file and offset. VERSION, IO, NOSPACE, NOMEM. */
int sop_chain_open(struct sop_chain **out, const struct sop_chain_options *options,
                   struct sop_err *err) SOP_MUST_USE;

/* Leaves: appends LEAVE, one sync, LAC into the beat, unlocks, frees. `orderly` false: frees
 * and unlocks without writing anything (after a fatal error, or to simulate a crash).
 * *chain becomes NULL also on failure. At most 2 syncs. */
int sop_chain_close(struct sop_chain **chain, bool orderly, struct sop_err *err);

uint64_t sop_chain_member(const struct sop_chain *c);        /* own id; 0 for an observer */
const char *sop_chain_member_dir(const struct sop_chain *c); /* "members/<nonce>" */
uint64_t sop_chain_next_batch(const struct sop_chain *c); /* number the next batch will get */

/* How an append is made durable. */
struct sop_chain_sync {
    /* Called after the record is written, while the volume works on it; NULL = nothing to do.
     */
    void (*meanwhile)(void *arg);
    void *arg;
};

/* Appends one record to the journal of the own tenure and returns the LSN it will have.
 * payload: `parts` slices that are written one after the other (borrowed during the call).
 * sync: also make it durable (one sync) and confirm it: TEN is read after the sync, and 0 means
 * decided. With NULL the record is only shown (durability interval/none); it is decided by a
 * later sop_chain_sync().
 * Only kinds BATCH, CHECKPOINT, SNAPSHOT, PREPARED, DECIDE. BATCH, PREPARED and DECIDE use up
 * a batch number.
 * NOSPACE before anything was written: nothing happened, may be tried again.
 * SEALED: another member took over; *decided tells whether this record is <= its cut.
 * IO: write or sync failed; the own TEN was killed and the tenure ended by a CUT that leaves
 * this record out, durably: it is not committed, never will be; the chain has stopped.
 * UNKNOWN: as IO, but that CUT could not be put: nobody can tell yet; the chain has stopped.
 * After SEALED, IO and UNKNOWN every further append gives STOPPED. */
int sop_chain_append(struct sop_chain *c, enum sop_record_kind kind,
                     const struct sop_slice *payload, size_t parts,
                     const struct sop_chain_sync *sync, struct sop_lsn *lsn, bool *decided,
                     struct sop_err *err) SOP_MUST_USE;

/* Makes everything appended durable and confirms it; *lac = last decided LSN. Errors as
 * append. */
int sop_chain_sync(struct sop_chain *c, struct sop_lsn *lac, struct sop_err *err) SOP_MUST_USE;

/* The same in three steps, so that appends go on while the volume works: begin and end as
 * append, wait by any thread. What was appended before begin is then decided; *lac = last
 * decided LSN, which may be a later one. Whatever wait gave goes to end, with its text, and end
 * gives it back, or what has become of it: errors as append. Of two that overlap each confirms
 * its own. */
struct sop_chain_mark {
    struct sop_journal_mark journal; /* private */
    uint64_t hash;
    uint64_t batch;
};
int sop_chain_sync_begin(struct sop_chain *c, struct sop_chain_mark *mark,
                         struct sop_err *err) SOP_MUST_USE;
int sop_chain_sync_wait(struct sop_chain *c, const struct sop_chain_mark *mark,
                        struct sop_err *err) SOP_MUST_USE;
int sop_chain_sync_end(struct sop_chain *c, const struct sop_chain_mark *mark, int waited,
                       struct sop_lsn *lac, struct sop_err *err) SOP_MUST_USE;

/* The barrier of strict readers: reads TEN (no sync, < 1 us on a one-host volume). 0: the last
 * LSN that append/sync returned is still the head. SEALED otherwise. Any thread. */
int sop_chain_barrier(struct sop_chain *c, struct sop_err *err) SOP_MUST_USE;

/* The place right after the last appended record, and the chain's own state there (members,
 * decided[], open slot) for a manifest. Call with no append in flight. NOMEM. */
void sop_chain_point(struct sop_chain *c, struct sop_chain_point *out);
int sop_chain_state(struct sop_chain *c, struct sop_buf *out, struct sop_err *err) SOP_MUST_USE;

/* Frees history that no kept manifest needs: journal files wholly below `older`, folders of
 * gone members, and chain directories wholly below it (gate killed first). `older` is the point
 * of the last but one official checkpoint. Puts no slot: directories are rolled by openings,
 * which alone use them up. Idempotent; leftovers are found again by listing.
 * Maintenance thread or manual caller, one at a time, concurrently with append. */
int sop_chain_trim(struct sop_chain *c, const struct sop_chain_point *older,
                   struct sop_err *err) SOP_MUST_USE;
/* Writes the beat (head, LAC, oldest pin) and makes the next journal file when half full.
 * Call about once a second and when sop_chain_wants_care() is true.
 * Concurrent with append. */
int sop_chain_care(struct sop_chain *c, struct sop_lsn oldest_pin,
                   struct sop_err *err) SOP_MUST_USE;
bool sop_chain_wants_care(const struct sop_chain *c);
/* Care for journal files alone, if they want it: for whoever works for long. Any thread. */
int sop_chain_prepare(struct sop_chain *c, struct sop_err *err) SOP_MUST_USE;

/* What checkpoint triggers count: journal bytes and slots since `since`, members gone. */
struct sop_chain_load {
    uint64_t journal_bytes;   /* appended by this member since its JOIN, and left by others */
    uint64_t journal_records; /* the records that these bytes are */
    uint64_t slots;
    uint32_t members_gone;
    uint64_t syncs; /* syncs done by chain and journal since open */
};
void sop_chain_load(struct sop_chain *c, const struct sop_chain_point *since,
                    struct sop_chain_load *out);

/* Looks at every file of members and of chain directories that has a checksum or a pattern.
 * Each damage is reported with file and offset: severity 2, of a slot, which was whole once; 1,
 * what a power loss may have left and nothing needs. Any thread; nothing may be trimmed
 * meanwhile. IO, NOMEM. */
struct sop_chain_inspection {
    struct sop_volume *volume; /* borrowed */
    uint8_t database_id[16];
    const char *skip; /* folder of a member that is being written; NULL = none */
    void (*report)(void *arg, int severity, const char *text);
    void *arg;
};
int sop_chain_inspect(const struct sop_chain_inspection *what,
                      struct sop_err *err) SOP_MUST_USE;

/* Repair of gates. A chain opened with options.repair is an observer that owns the database: it
 * holds the locks of the joined members and what it has read is all that there is (BUSY
 * otherwise). A gate on its way from options.start to the head that is damaged does not stop it
 * but is noted, if nothing of the gate says that it was killed.
 *
 * That none of these directories was truncated only the layer above can tell: truncation needs
 * two official checkpoints behind the directory. If it knows at most one that is newer than
 * options.start, it may call sop_chain_mend(): LIVE into the noted gates, durably. */
struct sop_chain_broken_gate {
    char path[SOP_CHAIN_DIR_BYTES + 16];
    bool absent;
};
/* The i-th one that was noted; false: there are not so many. */
bool sop_chain_broken_gate(const struct sop_chain *c, size_t i,
                           struct sop_chain_broken_gate *out);
/* IO, NOSPACE, DATA_LOSS (killed meanwhile): some may be mended; it may be called again, by
 * this opening or a later one. */
int sop_chain_mend(struct sop_chain *c, struct sop_err *err) SOP_MUST_USE;

/* Outcome of an earlier batch, from decided[]. */
enum sop_decided { SOP_DECIDED_YES = 1, SOP_DECIDED_NO = 2, SOP_DECIDED_TOO_OLD = 3 };
enum sop_decided sop_chain_decided(struct sop_chain *c, uint64_t member, uint64_t batch);

#endif
