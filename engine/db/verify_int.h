/* What the parts of verification share: verify.c (catalog, packs, checkpoints, accounts),
 * verify_tree.c (walking one tree) and verify_files.c (history, small files). */
#ifndef SOP_VERIFY_INT_H
#define SOP_VERIFY_INT_H

#include "engine/base/limits.h"
#include "engine/db/db_int.h"

/* A store that exists at the pinned moment, or whose pages are still being freed. */
struct sop_verify_tree {
    struct sop_tree *tree;
    bool dropping;
    bool named; /* by the catalog */
    char name[SOP_STORE_NAME_BYTES_MAX + 1];
};

/* Bytes of a pack file that are no record. Harmless if nothing names them: a writer that died
 * leaves such an end. */
struct sop_verify_gap {
    uint64_t member;
    uint32_t file;
    uint64_t from, until;
    bool named; /* something names bytes in it: reported as an error already */
};

/* Invariants:
 * 1. A damaged byte is a finding and never ends the walk; only NOMEM and CANCELLED do.
 * 2. A bit of `seen` is set once for each page that a tree names.
 * 3. A bit of `covered` is set when the sheets that the newest checkpoint has for the page were
 *    read from the volume. */
struct sop_verify {
    struct sop_db *db;
    struct sop_engine *engine;
    struct sop_pin *pin;
    struct sop_epoch_slot *slot;
    bool deep;
    sop_report_fn report;
    sop_progress_fn progress;
    void *arg;
    struct sop_verify_result *result;
    struct sop_err first; /* the first finding that is an error */
    uint64_t findings;    /* handed to report */
    uint64_t doubtful;    /* errors of an observer whose files may have been swept */
    bool broken;          /* a page could not be read: what it leads to is not known */
    uint64_t next_page;   /* at the moment of the pin, as are the lists below */
    struct sop_buf seen, covered;
    struct sop_verify_tree *trees; /* [0] = catalog */
    size_t trees_count;
    struct sop_manifest_free *free_pages;
    size_t free_count;
    struct sop_files files;   /* live bytes as counted here */
    struct sop_files scanned; /* pack files that were read whole: live = 1 */
    struct sop_verify_gap *gaps;
    size_t gaps_count, gaps_cap;
    struct sop_buf piece; /* bytes of values and sheets that are only read */
};

/* Reports a finding; severity 2 counts as an error. */
void sop_verify__find(struct sop_verify *v, int severity, const char *fmt, ...)
    SOP_PRINTF(3, 4);
/* What to do about a failure `rc` with its text: 0 when it is a finding now ("<what>: <text>"),
 * or rc when the walk must end. */
int sop_verify__judge(struct sop_verify *v, int rc, const struct sop_err *why,
                      struct sop_err *err, const char *fmt, ...) SOP_PRINTF(5, 6) SOP_MUST_USE;
int sop_verify__progress(struct sop_verify *v, const char *what, uint64_t done, uint64_t total,
                         struct sop_err *err) SOP_MUST_USE;

/* Sets bit i; gives what it was. i < next_page. */
bool sop_verify__set(struct sop_buf *bits, uint64_t i);
bool sop_verify__get(const struct sop_buf *bits, uint64_t i);

/* Does the page id belong to a tree at the pinned moment, says its version or handle? */
int sop_verify__exists(struct sop_verify *v, uint64_t page, bool *exists,
                       struct sop_err *err) SOP_MUST_USE;
/* Notes that the place is named: accounts (if `count`) and gaps. */
void sop_verify__named(struct sop_verify *v, const struct sop_place *place, bool count,
                       uint64_t store, uint64_t page);
/* Were all records of the place's file read and checked? */
bool sop_verify__scanned(struct sop_verify *v, const struct sop_place *place);
/* Reads a sheet's record from the volume and checks it. */
int sop_verify__read_sheet(struct sop_verify *v, const struct sop_place *place,
                           struct sop_err *err) SOP_MUST_USE;
/* One item of the catalog. */
int sop_verify__catalog_item(struct sop_verify *v, struct sop_slice name,
                             const struct sop_item *item, struct sop_err *err) SOP_MUST_USE;

/* dboptions.json; deep: history since the older checkpoint (all of it while there is only one),
 * flags, tickets, beats, journals. */
int sop_verify__files(struct sop_verify *v, struct sop_err *err) SOP_MUST_USE;

/* Walks one tree. */
int sop_verify__tree(struct sop_verify *v, struct sop_verify_tree *t,
                     struct sop_err *err) SOP_MUST_USE;

#endif
