/* A plan: everything a batch will do, worked out before a byte is written.
 *
 * It is filled either by merging write sets into the tree at the head (sop_plan_store) or by
 * decoding a record (sop_plan_decode). Both end as a list of pages with their new versions;
 * then sop_plan_publish installs it, which cannot fail. So replay and commit share one apply.
 *
 * Used by the leader (commit lock) or during opening. */
#ifndef SOP_PLAN_H
#define SOP_PLAN_H

#include "engine/txn/engine.h"
#include "engine/txn/format.h"

/* One item operation on a page. */
struct sop_op {
    struct sop_slice key, ride, value;
    uint8_t kind; /* enum sop_value_kind */
    int8_t delta; /* items that it adds: -1, 0, 1; worked out, not stored */
    uint32_t txn;
};
/* Sheets are made from operations as they lie. */
_Static_assert(offsetof(struct sop_op, key) == offsetof(struct sop_sheet_entry, key) &&
                   offsetof(struct sop_op, ride) == offsetof(struct sop_sheet_entry, ride) &&
                   offsetof(struct sop_op, value) == offsetof(struct sop_sheet_entry, value) &&
                   offsetof(struct sop_op, kind) == offsetof(struct sop_sheet_entry, kind),
               "an operation begins with an entry of a sheet");

/* A page that the batch changes. */
struct sop_pend {
    struct sop_pend *next; /* in the order of creation, all of the plan */
    struct sop_tree *tree;
    uint64_t page;
    uint64_t source_page;       /* 0 = from nothing */
    struct sop_version *source; /* at the head before the batch; NULL = from nothing */
    bool source_owned;          /* to be dropped with the plan */
    uint8_t level;
    bool free;
    bool split; /* made by a split of this batch: not a partner for merging */
    bool has_high;
    struct sop_slice low, high;
    struct sop_op *ops; /* ascending by key; arena */
    size_t ops_count;
    int64_t items;
    int64_t bytes_live;
    uint64_t items_before;
    struct sop_body *run; /* sheet of ops, made on demand */
    struct sop_version *made;
    struct sop_frame *frame;
};

struct sop_plan_count {
    struct sop_tree *tree;
    uint64_t items;
};
struct sop_plan_store_event {
    struct sop_tree *tree;
    enum sop_store_event what;
    struct sop_slice info;
};
struct sop_plan_value {
    struct sop_place place; /* bytes unused */
    int64_t change;
};

struct sop_plan_draft {
    struct sop_sheet_draft sheet;
    struct sop_body *body; /* over its image; borrowed from a version of the plan */
};

struct sop_plan {
    struct sop_engine *engine;
    struct sop_arena arena;
    uint64_t moment;    /* of the batch: head + 1 */
    uint64_t base;      /* head moment that it was worked out on */
    struct sop_lsn lsn; /* that it will get */
    bool replay;        /* no sheet may be read */
    uint32_t txns;
    struct sop_pend *first, *last;
    size_t pends;
    struct sop_plan_count *counts;
    size_t counts_count, counts_cap;
    struct sop_plan_store_event *events;
    size_t events_count, events_cap;
    struct sop_plan_value *values;
    size_t values_count, values_cap;
    struct {
        struct sop_tree *tree;
        uint64_t page;
    } * taken; /* ids taken from free lists */
    size_t taken_count, taken_cap;
    struct sop_plan_draft *drafts; /* what sop_plan_fill() is to fill */
    size_t drafts_count, drafts_cap;
    uint64_t next_page, next_store; /* decoded */
    struct sop_publish *publish;    /* filled by sop_plan_finish */
};

/* moment and lsn follow the head. Inside the leader's epoch from init to finish. */
void sop_plan_init(struct sop_plan *p, struct sop_engine *e, bool replay);
/* Undoes everything that was not published. */
void sop_plan_fini(struct sop_plan *p);

/* Merges a write set (all its transactions validated, so `was` of its cells holds at the head)
 * into a tree at the head: groups by leaf, resolves blind upserts, splits, merges, level by
 * level. cell->flags of each cell = index of its transaction. */
int sop_plan_store(struct sop_plan *p, struct sop_tree *tree, const struct sop_wset *wset,
                   struct sop_err *err) SOP_MUST_USE;
/* A store is created, removed or freed in this batch. created: makes its empty root. */
int sop_plan_event(struct sop_plan *p, struct sop_tree *tree, enum sop_store_event what,
                   struct sop_slice info, struct sop_err *err) SOP_MUST_USE;
/* A page of a removed store is freed. */
int sop_plan_free_page(struct sop_plan *p, struct sop_tree *tree, uint64_t page,
                       struct sop_err *err) SOP_MUST_USE;
/* Bytes of a value come (+) or go (-). */
int sop_plan_value(struct sop_plan *p, const struct sop_place *place, int sign,
                   struct sop_err *err) SOP_MUST_USE;
static inline bool sop_plan_empty(const struct sop_plan *p)
{
    return p->pends == 0 && p->events_count == 0 && p->values_count == 0;
}

int sop_plan_encode(const struct sop_plan *p, struct sop_buf *to,
                    struct sop_err *err) SOP_MUST_USE;
/* Verifies all before it trusts; DATA_LOSS, VERSION. Slices point into payload. */
int sop_plan_decode(struct sop_plan *p, struct sop_slice payload,
                    struct sop_err *err) SOP_MUST_USE;

/* Makes all new versions and takes all memory that publishing needs. */
int sop_plan_finish(struct sop_plan *p, struct sop_err *err) SOP_MUST_USE;
/* Copies the items into large new sheets: what finish has left undone, because it needs nothing
 * and can wait until the record is on its way. Publishing does it otherwise. Cannot fail. */
void sop_plan_fill(struct sop_plan *p);
/* Installs it at p->moment / lsn. Cannot fail. The plan is empty afterwards. */
void sop_plan_publish(struct sop_plan *p, struct sop_lsn lsn);

/* Shared by the files of the plan only. */
struct sop_pend *sop_plan__pend(struct sop_plan *p, struct sop_tree *tree, uint64_t page,
                                struct sop_err *err);
/* The stacked version of a pend: ops over its source. Invalidated by changing ops or fences. */
int sop_plan__stack(struct sop_plan *p, struct sop_pend *d, struct sop_err *err) SOP_MUST_USE;
void sop_plan__unstack(struct sop_plan *p, struct sop_pend *d);
int sop_plan__walk(struct sop_plan *p, struct sop_pend *d, struct sop_walk *walk,
                   struct sop_err *err) SOP_MUST_USE;
uint64_t sop_plan__slots(const struct sop_pend *d);
int sop_plan__page_id(struct sop_plan *p, struct sop_tree *tree, uint64_t *page,
                      struct sop_err *err) SOP_MUST_USE;
int sop_plan__key(struct sop_plan *p, const struct sop_item *item, struct sop_slice *out,
                  struct sop_err *err) SOP_MUST_USE;
/* A list of pends of one level, and of operations on the level above. */
struct sop_pend_list {
    struct sop_pend **at;
    size_t count, cap;
};
struct sop_op_list {
    struct sop_op *at;
    size_t count, cap;
};
int sop_pend_list_add(struct sop_pend_list *l, struct sop_pend *d,
                      struct sop_err *err) SOP_MUST_USE;
int sop_op_list_add(struct sop_op_list *l, const struct sop_op *op,
                    struct sop_err *err) SOP_MUST_USE;
/* Splits and merges one level (pends ascending) and gives what the level above must do. */
int sop_plan__level(struct sop_plan *p, struct sop_tree *tree, struct sop_pend_list *pends,
                    struct sop_op_list *above, struct sop_err *err) SOP_MUST_USE;
int sop_plan__merge(struct sop_plan *p, struct sop_tree *tree, struct sop_pend_list *pends,
                    struct sop_op_list *above, struct sop_err *err) SOP_MUST_USE;
int sop_plan__shrink_root(struct sop_plan *p, struct sop_tree *tree, struct sop_pend *root,
                          struct sop_err *err) SOP_MUST_USE;

#endif
