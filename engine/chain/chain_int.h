/* Inside of the chain: its state in memory, shared by the files of this folder.
 *
 * Invariants of docs/PROTOCOL.md section 12 are asserted where they apply: I2 in put_next and
 * adopt, I4/I8 in tenure.c, I7 by flags having no "revive", I9 in trim.c, I12 in view.c. */
#ifndef SOP_CHAIN_INT_H
#define SOP_CHAIN_INT_H

#include "engine/base/failpoint.h"
#include "engine/base/thread.h"
#include "engine/chain/chain.h"
#include "engine/chain/format.h"
#include "engine/journal/journal.h"

#include <stdatomic.h>
#include <sys/types.h>

#define SOP_TEN_BLOCKS       16u
#define SOP_NONCE_HEX_BYTES  33 /* with its 0 */
#define SOP_CHAIN_PATH_BYTES 160
#define SOP_MASK_BYTES_MAX   (SOP_BATCH_TXNS_MAX / 8)

/* --- view.c: what history up to `lsn` amounts to, as far as the chain knows --- */

struct sop_chain_member_row {
    uint64_t id;
    uint8_t nonce[SOP_NONCE_BYTES];
    uint32_t flags; /* SOP_TICKET_EXCLUSIVE */
    uint32_t ten_file;
    uint32_t ten_block;
};
struct sop_chain_gone_row { /* its folder may still be there */
    uint64_t id;
    uint8_t nonce[SOP_NONCE_BYTES];
    struct sop_lsn gone; /* LEAVE or EXPEL */
};
struct sop_chain_decided_row {
    uint64_t member;
    uint64_t batch;
    uint8_t nonce[SOP_NONCE_BYTES]; /* of the ticket; zeros for a journal record */
    uint32_t mask_bytes;            /* 0 = every transaction is live */
    uint8_t mask[SOP_MASK_BYTES_MAX];
    uint64_t gone_slot; /* expelled in this slot, 0 = joined */
};

/* The open slot. */
struct sop_chain_tenure {
    uint64_t slot;
    uint64_t member;
    uint8_t nonce[SOP_NONCE_BYTES];
    uint32_t ten_file;
    uint32_t ten_block;
    struct sop_journal_place next; /* where record lsn.record + 1 will lie */
};

struct sop_chain_view {
    struct sop_lsn lsn;
    uint64_t hash;
    char dir[SOP_CHAIN_DIR_BYTES]; /* where slot lsn.slot + 1 will lie */
    uint64_t dir_first;
    char dir_here[SOP_CHAIN_DIR_BYTES]; /* where slot lsn.slot lies */
    uint64_t dir_here_first;
    bool open;
    struct sop_chain_tenure tenure; /* if open */
    struct sop_chain_member_row *members;
    size_t member_count, member_cap;
    struct sop_chain_gone_row *gone;
    size_t gone_count, gone_cap;
    struct sop_chain_decided_row *decided;
    size_t decided_count, decided_cap;
};

void sop_chain__view_fini(struct sop_chain_view *v);
uint64_t sop_chain__genesis_hash(const uint8_t database_id[16]);
struct sop_chain_member_row *sop_chain__find_member(struct sop_chain_view *v, uint64_t id);
struct sop_chain_decided_row *sop_chain__find_decided(struct sop_chain_view *v, uint64_t id);
/* Room for one more row of each kind, so that what follows cannot fail. NOMEM. */
int sop_chain__view_reserve(struct sop_chain_view *v, struct sop_err *err) SOP_MUST_USE;
/* view_reserve was called. */
void sop_chain__view_join(struct sop_chain_view *v, const struct sop_chain_member_row *row);
/* LEAVE (its decided row goes) or EXPEL (it stays a while). view_reserve was called. */
void sop_chain__view_gone(struct sop_chain_view *v, uint64_t id, struct sop_lsn at,
                          bool expelled);
void sop_chain__view_check(const struct sop_chain_view *v);
int sop_chain__view_encode(const struct sop_chain_view *v, struct sop_buf *out,
                           struct sop_err *err) SOP_MUST_USE;
/* *v is empty before; after a failure, too. DATA_LOSS, VERSION, NOMEM. */
int sop_chain__view_decode(struct sop_chain_view *v, struct sop_slice from,
                           struct sop_err *err) SOP_MUST_USE;

/* --- the chain --- */

struct sop_chain {
    struct sop_volume *volume;
    struct sop_env *env;
    uint8_t database_id[16];
    sop_chain_apply_fn apply;
    void *arg;
    const struct sop_failpoints *failpoints;
    uint64_t dir_slots;
    bool observer;
    bool ignore_os_lock;
    pid_t pid;      /* process that opened it */
    uint64_t forks; /* sop_forks() then */
    char host[SOP_HOST_BYTES_MAX + 1];
    bool in_table;
    uint8_t identity[16];            /* of the volume */
    struct sop_chain_survey *survey; /* opened for repair; otherwise NULL */

    struct sop_mutex mutex; /* guards view and lac of an opened chain, and the beat */
    struct sop_chain_view view;
    uint64_t lac;       /* own tenure: last confirmed record */
    uint64_t lac_hash;  /* rolling hash there */
    uint64_t lac_batch; /* own last batch there */
    bool end_unclear;   /* stopped, and batches behind lac_batch may be decided or not */
    struct sop_lsn pin;
    uint64_t beat_sequence;
    _Atomic uint64_t syncs;
    _Atomic bool stopped;
    uint64_t replayed_bytes; /* journal bytes of others read since options.start */
    uint64_t replayed_records;

    /* The member. */
    uint64_t member; /* 0 until it has joined */
    uint8_t nonce[SOP_NONCE_BYTES];
    char member_dir[SOP_CHAIN_PATH_BYTES]; /* "members/<nonce>" */
    bool member_made;
    uint32_t tickets; /* ticket files made so far */
    bool spare;       /* "tickets/t0" waits, filled with zeros */
    struct sop_file *lock;
    struct sop_file *ten;
    struct sop_file *beat;
    struct sop_journal *journal;
    uint64_t journal_bytes_min, journal_bytes_max; /* 0 = the journal's own */
    uint64_t tenure;
    uint64_t next_batch;
    uint8_t ten_live[SOP_BLOCK_BYTES];
};

/* Path below the volume's root; SOP_CHAIN_PATH_BYTES always suffice. */
void sop_chain__path(char to[SOP_CHAIN_PATH_BYTES], const char *fmt, ...) SOP_PRINTF(2, 3);
void sop_chain__hex(const uint8_t nonce[SOP_NONCE_BYTES], char to[SOP_NONCE_HEX_BYTES]);
int sop_chain__sync_file(struct sop_chain *c, struct sop_file *f,
                         struct sop_err *err) SOP_MUST_USE;
int sop_chain__sync_dir(struct sop_chain *c, const char *path,
                        struct sop_err *err) SOP_MUST_USE;
/* O_DIRECT where the volume is shared: files that several hosts may read. */
static inline unsigned sop_chain__mode(const struct sop_volume *v)
{
    return v->one_host ? 0u : (unsigned)SOP_OPEN_DIRECT;
}
/* Block-aligned memory of `blocks` blocks. NOMEM. */
int sop_chain__blocks(uint8_t **out, size_t blocks, struct sop_err *err) SOP_MUST_USE;

/* --- put.c: primitives of section 4 --- */

enum sop_put { SOP_PUT_WON = 1, SOP_PUT_LOST = 2, SOP_PUT_FAILED = 3, SOP_PUT_UNKNOWN = 4 };

/* A ticket read from a slot; `head` owns what t's slices borrow. */
struct sop_slot {
    struct sop_ticket t;
    uint32_t crc;
    uint8_t *head;
    size_t head_bytes;
    char path[SOP_CHAIN_PATH_BYTES];
};
void sop_chain__slot_fini(struct sop_slot *s);
/* NOT_FOUND: there is no such slot (or no such directory). DATA_LOSS, VERSION, IO, NOMEM. */
int sop_chain__read_slot(struct sop_chain *c, const char *dir, uint64_t slot,
                         struct sop_slot *out, struct sop_err *err) SOP_MUST_USE;
/* Links the durable ticket at `path` to the slot after the view's. Always sets *result: for
 * FAILED and UNKNOWN the code says why. 0 for WON and LOST. */
int sop_chain__put(struct sop_chain *c, const char *path, const uint8_t nonce[SOP_NONCE_BYTES],
                   enum sop_put *result, struct sop_err *err) SOP_MUST_USE;

/* State of a flag; an absent file or a short one is DAMAGED. IO, NOMEM. */
int sop_chain__flag_read(struct sop_chain *c, const char *path,
                         const struct sop_flag_name *name, enum sop_flag_state *state,
                         struct sop_err *err) SOP_MUST_USE;
/* Durably dead after 0. */
int sop_chain__flag_kill(struct sop_chain *c, const char *path, uint32_t block,
                         struct sop_err *err) SOP_MUST_USE;
/* Name and path of a directory's gate. DATA_LOSS: `dir` is no name of a directory. */
int sop_chain__gate_name(struct sop_chain *c, const char *dir, struct sop_flag_name *name,
                         char path[SOP_CHAIN_PATH_BYTES], struct sop_err *err) SOP_MUST_USE;
/* 0: chain directory `dir` is live. SEALED: gone or killed. DATA_LOSS: neither. IO. Opened for
 * repair: 0 also if it is damaged, which is noted; DATA_LOSS: killed. */
int sop_chain__gate(struct sop_chain *c, const char *dir, struct sop_err *err) SOP_MUST_USE;
/* Fills `to` with "d<number>-<new nonce>" and makes chain/<to> with a live gate, durable. */
int sop_chain__make_dir(struct sop_chain *c, uint64_t number, char to[SOP_CHAIN_DIR_BYTES],
                        struct sop_err *err) SOP_MUST_USE;
/* Takes the name of a chain directory apart; false if it is none. */
bool sop_chain__parse_dir(const char *dir, uint64_t *number, uint8_t nonce[SOP_NONCE_BYTES]);
/* A nonce from its 32 hexadecimal digits; false if they are none. */
bool sop_chain__parse_nonce(const char *hex, uint8_t nonce[SOP_NONCE_BYTES]);
/* Creates a file of these block-aligned bytes and syncs it; what fails is removed again.
 * keep: if not NULL, filled with the open file instead of closing it. */
int sop_chain__create_file(struct sop_chain *c, const char *path, const uint8_t *bytes,
                           size_t len, bool sync, struct sop_file **keep,
                           struct sop_err *err) SOP_MUST_USE;

/* --- follow.c: replay --- */

/* Takes every slot behind the view, then checks the gate. Afterwards the view is at the newest
 * slot; if that is open, its journal has not been read further. */
int sop_chain__follow(struct sop_chain *c, struct sop_err *err) SOP_MUST_USE;
/* Applies the ticket of slot view.lsn.slot + 1; an open slot before has been read to its cut.
 */
int sop_chain__apply_ticket(struct sop_chain *c, const struct sop_slot *s,
                            struct sop_err *err) SOP_MUST_USE;

/* A record in the tail from which copies may begin. */
struct sop_tail_mark {
    uint64_t record;
    struct sop_journal_place place;
    uint64_t hash;   /* rolling hash before it */
    uint64_t before; /* bytes of the tail's records in front of it */
};
/* What a taker finds behind the view in the open slot. */
struct sop_tail {
    uint64_t cut;                /* last record that is whole */
    uint64_t lac;                /* greatest record proven durable */
    uint64_t shown;              /* greatest LAC in the records themselves */
    uint64_t copies_from;        /* first one to be copied, 0 = none */
    uint64_t copies_bytes;       /* of the copies, a multiple of the block */
    struct sop_tail_mark copies; /* where they begin: not behind record lac + 1 */
    struct sop_tail_mark later;  /* the newest record that showed a new LAC */
    uint64_t bytes;              /* of all records of the tail */
    bool left;                   /* the member's LEAVE is among the records */
};
/* Reads the open slot to its end and applies it. The TEN is dead (taker), or the records are
 * known not to change. DATA_LOSS: a record proven durable is damaged. */
int sop_chain__read_tail(struct sop_chain *c, struct sop_tail *tail,
                         struct sop_err *err) SOP_MUST_USE;
/* An observer's look at a tenure whose owner may be alive: applies records <= LAC. */
int sop_chain__read_to_lac(struct sop_chain *c, struct sop_err *err) SOP_MUST_USE;
/* false: no readable beat of that member. Errors of the volume count as that. */
bool sop_chain__read_beat(struct sop_chain *c, const uint8_t nonce[SOP_NONCE_BYTES],
                          struct sop_beat *beat);

/* --- end.c --- */

/* After follow: DATA_LOSS if something shows that history goes on behind the view, SEALED if it
 * has gone on meanwhile. Rows of gone members without a folder are dropped. */
int sop_chain__check_end(struct sop_chain *c, struct sop_err *err) SOP_MUST_USE;

/* --- member.c: the own folder --- */

int sop_chain__member_make(struct sop_chain *c, struct sop_err *err) SOP_MUST_USE;
/* Removes the folder of a member that has not joined, as far as possible. */
void sop_chain__member_unmake(struct sop_chain *c);
/* Writes a ticket, with copies if `tail` has some, and syncs it. path is filled. */
int sop_chain__write_ticket(struct sop_chain *c, struct sop_ticket *t,
                            const struct sop_tail *tail, char path[SOP_CHAIN_PATH_BYTES],
                            struct sop_err *err) SOP_MUST_USE;
/* Fills what every ticket of this member has in common, with a new nonce. */
void sop_chain__ticket_init(struct sop_chain *c, struct sop_ticket *t, uint16_t kind);
int sop_chain__write_beat(struct sop_chain *c, uint16_t flags,
                          struct sop_err *err) SOP_MUST_USE;
void sop_chain__flag_of_ten(const struct sop_chain *c, const struct sop_chain_tenure *t,
                            struct sop_flag_name *name, char path[SOP_CHAIN_PATH_BYTES]);

/* --- open.c: is anybody there? --- */

/* Fills *alive and *pid: does a process of this host hold the lock of the member? A folder or
 * lock file that is absent holds none. IO. */
int sop_chain__is_alive(struct sop_chain *c, const char *member_hex, bool *alive, int64_t *pid,
                        struct sop_err *err) SOP_MUST_USE;
/* BUSY, with what the member's beat tells of it. pid 0: not known. */
int sop_chain__busy(struct sop_chain *c, const uint8_t nonce[SOP_NONCE_BYTES], int64_t pid,
                    struct sop_err *err) SOP_MUST_USE;
/* BUSY: the beat of a member of another host moves. Takes its time. */
int sop_chain__watch_beat(struct sop_chain *c, const struct sop_chain_member_row *m,
                          struct sop_err *err) SOP_MUST_USE;

/* --- repair.c --- */

struct sop_chain_survey;
int sop_chain__survey_new(struct sop_chain_survey **out, struct sop_err *err) SOP_MUST_USE;
/* Lets the locks go. NULL is fine. */
void sop_chain__survey_free(struct sop_chain_survey *s);
/* Of a gate that is not live: 0 if it may be mended, and notes it. DATA_LOSS: it was killed.
 * SEALED: its directory is gone. IO, NOMEM. */
int sop_chain__survey_gate(struct sop_chain *c, const char *dir,
                           struct sop_err *err) SOP_MUST_USE;
/* After follow and check_end: nobody has it and nobody can open it from here on; reads the open
 * slot to its end. BUSY, DATA_LOSS, IO. */
int sop_chain__survey_end(struct sop_chain *c, struct sop_err *err) SOP_MUST_USE;

/* --- tenure.c --- */

/* FORKED, STOPPED, READ_ONLY (observer), or 0. */
int sop_chain__usable(struct sop_chain *c, struct sop_err *err) SOP_MUST_USE;
/* Appends LEAVE and syncs it. */
int sop_chain__leave(struct sop_chain *c, struct sop_err *err) SOP_MUST_USE;

/* --- table.c: databases open exclusively in this process, the only global --- */

/* BUSY: it is there. NOMEM. */
int sop_chain__table_enter(struct sop_chain *c, struct sop_err *err) SOP_MUST_USE;
void sop_chain__table_leave(struct sop_chain *c);
/* Is this database open exclusively in this process? */
bool sop_chain__table_has(const struct sop_chain *c);

#endif
