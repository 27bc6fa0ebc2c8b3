/* One member's journal: append-only files of records, synced by group.
 *
 * The writer appends records of one tenure and makes them durable; the cursor reads them back,
 * of any member, and tells a torn tail from damage. Formats: engine/journal/format.h. What a
 * record means, and when it is decided, is the chain's business (docs/PROTOCOL.md section 7).
 *
 * Why files are filled with zeros ahead: overwriting allocated bytes costs one data write per
 * sync; growing a file costs a file-system transaction as well. */
#ifndef SOP_JOURNAL_H
#define SOP_JOURNAL_H

#include "engine/base/base.h"
#include "engine/base/failpoint.h"
#include "engine/journal/format.h"
#include "engine/volume/volume.h"

#include <stdatomic.h>

#define SOP_JOURNAL_DIR_BYTES 64 /* "members/<32 hex digits>/journal" with its 0 */

/* A place in a journal: where a record lies or will lie. */
struct sop_journal_place {
    uint32_t file;
    uint64_t offset;
};

/* --- writing --- */

struct sop_journal_config {
    struct sop_volume *volume;               /* borrowed */
    const char *dir;                         /* existing folder, copied */
    uint8_t nonce[SOP_NONCE_BYTES];          /* of the member */
    uint64_t file_bytes_min;                 /* 0 = SOP_JOURNAL_BYTES_MIN */
    uint64_t file_bytes_max;                 /* 0 = SOP_JOURNAL_BYTES_MAX */
    _Atomic uint64_t *syncs;                 /* counts sync calls; borrowed */
    const struct sop_failpoints *failpoints; /* borrowed, may be NULL */
};

struct sop_journal;

/* Makes the first file: zero-filled, synced, its name durable in `dir`. Two syncs. *out is due
 * sop_journal_free(). NOSPACE, IO, NOMEM: what was made is removed again as far as possible. */
int sop_journal_new(struct sop_journal **out, const struct sop_journal_config *config,
                    struct sop_err *err) SOP_MUST_USE;
/* Closes the files; writes nothing. NULL is fine. */
void sop_journal_free(struct sop_journal *j);

/* Says which tenure the records belong to. Before the first append, once. */
void sop_journal_begin(struct sop_journal *j, uint64_t tenure, uint64_t member, uint64_t hash);

struct sop_journal_entry {
    uint16_t kind;
    uint64_t batch;
    uint64_t lac;                  /* record number */
    const struct sop_slice *parts; /* the payload, one after the other; borrowed */
    size_t part_count;
    bool last; /* LEAVE: nothing will follow, so it may use the room kept for it */
    /* Called when the record is written and the device works on it, before any sync of it; NULL
     * = nothing to do meanwhile. A sync should follow the append. */
    void (*meanwhile)(void *arg);
    void *arg;
};

/* Writes one record, without a sync unless it gets a file of its own, or too many files have
 * ended since the last sync. *record is its number. One thread at a time.
 * If a failure leaves sop_journal_broken() false, nothing happened and the append may be tried
 * again: NOSPACE, NOMEM, IO while making a new file; TOO_LARGE. Otherwise bytes of the record
 * may be on the volume and the journal refuses everything from now on. */
int sop_journal_append(struct sop_journal *j, const struct sop_journal_entry *entry,
                       uint64_t *record, struct sop_err *err) SOP_MUST_USE;
/* Makes everything appended durable; one sync, one more for each file that ended. A failure
 * breaks the journal: a sync that failed is never repeated. The appending thread. */
int sop_journal_sync(struct sop_journal *j, struct sop_err *err) SOP_MUST_USE;

/* The same in two steps, so that appends go on meanwhile: mark() by the appending thread;
 * settle() by any thread makes durable what was appended before the mark. 0 also if a later
 * sync has done so. A failure breaks the journal, as above. */
struct sop_journal_mark {
    struct sop_file *file; /* private, as all but: */
    uint64_t ended;
    uint64_t first;
    uint64_t record; /* last one in front of the mark */
};
void sop_journal_mark(struct sop_journal *j, struct sop_journal_mark *mark);
int sop_journal_settle(struct sop_journal *j, const struct sop_journal_mark *mark,
                       struct sop_err *err) SOP_MUST_USE;
/* Makes the files durable that nothing is appended to any more. Any thread. Failures as above.
 */
int sop_journal_settle_ended(struct sop_journal *j, struct sop_err *err) SOP_MUST_USE;
bool sop_journal_broken(const struct sop_journal *j);
/* After an append that broke the journal: makes the records before it durable, whose bytes were
 * all written. STOPPED: a sync has failed, so nobody can. IO. */
int sop_journal_rescue(struct sop_journal *j, struct sop_err *err) SOP_MUST_USE;

/* Rolling hash after the last record; its number; the first place where the next record, or the
 * END that leads to it, may lie: it lies there or at the next block border. Not during an
 * append. */
uint64_t sop_journal_hash(const struct sop_journal *j);
uint64_t sop_journal_last(const struct sop_journal *j);
struct sop_journal_place sop_journal_next_place(const struct sop_journal *j);

/* Settles what has ended and makes the next file if the current one is half full and there is
 * none. Any thread, also during an append. A failure to make it changes nothing; one to sync
 * breaks the journal. */
int sop_journal_prepare(struct sop_journal *j, struct sop_err *err) SOP_MUST_USE;
bool sop_journal_wants_prepare(const struct sop_journal *j);

/* Removes the files that end before `file` (one of this journal's). Any thread, also during an
 * append; idempotent, no sync. */
int sop_journal_trim(struct sop_journal *j, uint32_t file, struct sop_err *err) SOP_MUST_USE;
/* Bytes appended after a place; all bytes if the place is not in this journal. Any thread. */
uint64_t sop_journal_bytes_since(struct sop_journal *j, const struct sop_journal_place *place);

/* --- reading --- */

struct sop_journal_record {
    struct sop_journal_header header;
    struct sop_journal_place place; /* where it was found */
    struct sop_slice payload;       /* lives until the next call on the cursor */
    struct sop_slice raw;           /* header, payload, zeros to the next unit: a copy */
};

/* Reads the records of one tenure in order. Fill with one of the init functions, end with
 * sop_journal_cursor_fini(). One thread. */
struct sop_journal_cursor {
    struct sop_volume *volume;
    char path[SOP_JOURNAL_DIR_BYTES + 64]; /* folder; or file, if `end` is set */
    uint8_t nonce[SOP_NONCE_BYTES];
    uint64_t tenure;
    uint64_t record; /* number of the next record */
    bool hash_known;
    uint64_t hash;                 /* rolling hash before it, if known */
    struct sop_journal_place next; /* where it should be, or at the block border behind */
    uint64_t missing;              /* after END: offset in that file of what is not whole */
    uint64_t end;                  /* end of a region of copies; 0 = a journal */
    /* private */
    struct sop_file *file;
    uint32_t file_open;
    uint64_t file_bytes;
    uint8_t *window;
    size_t window_cap;
    size_t window_len;
    uint64_t window_at;
};

struct sop_journal_start {
    uint8_t nonce[SOP_NONCE_BYTES];
    uint64_t tenure;
    uint64_t record; /* first record wanted */
    bool hash_known; /* else the first record read is believed */
    uint64_t hash;
    struct sop_journal_place place; /* of that record; file unused for copies */
};

/* From a place in the journal below `dir`. */
void sop_journal_cursor_init(struct sop_journal_cursor *c, struct sop_volume *v,
                             const char *dir, const struct sop_journal_start *start);
/* Copies of records inside the file `path`, from start->place.offset to `end`. */
void sop_journal_cursor_init_copies(struct sop_journal_cursor *c, struct sop_volume *v,
                                    const char *path, uint64_t end,
                                    const struct sop_journal_start *start);
void sop_journal_cursor_fini(struct sop_journal_cursor *c);

/* The next record. END: none that is whole lies at c->next (never written, torn or damaged:
 * sop_journal_cursor_scan() helps to tell). DATA_LOSS: a whole record with a wrong rolling
 * hash. VERSION, IO, NOMEM. */
int sop_journal_cursor_next(struct sop_journal_cursor *c, struct sop_journal_record *out,
                            struct sop_err *err) SOP_MUST_USE;
/* After END: looks at everything behind c->next, in this file and in all that may follow, for
 * whole headers of the tenure. *lac = the greatest LAC in any of them, 0 if there is none: a
 * LAC >= c->record proves that a record was durable and is damaged. */
int sop_journal_cursor_scan(struct sop_journal_cursor *c, uint64_t *lac,
                            struct sop_err *err) SOP_MUST_USE;

/* "<dir>/<file>" for messages and for whoever removes files. */
void sop_journal_path(char *to, size_t cap, const char *dir, uint32_t file);

#endif
