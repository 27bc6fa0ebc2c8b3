/* One store as the engine keeps it in memory, and reading it at a moment.
 *
 * Whether a tree exists at a moment is said by created/dropped. Its object lives as long as the
 * engine, unless the transaction that made it was never committed: then it goes with that.
 * Reading functions are called inside an epoch with the moment pinned. */
#ifndef SOP_TREE_H
#define SOP_TREE_H

#include "engine/cache/page.h"

/* Item count from a moment on. */
struct sop_tree_count {
    uint64_t at;
    uint64_t items;
};

struct sop_tree {
    uint64_t id;
    uint64_t root;
    _Atomic uint64_t created; /* moment, SOP_NEVER until then */
    _Atomic uint64_t dropped; /* moment, SOP_NEVER while it exists */
    _Atomic uint64_t changed; /* newest moment that changed a page; who sees that, sees this */
    struct sop_order order;
    uint32_t slot_length;
    bool unique;
    bool needs_comparer;    /* it was not given (observer only): no page is read or replayed */
    uint8_t values;         /* enum sop_value_class */
    _Atomic bool freeing;   /* removed; its pages are being freed in the background */
    struct sop_mutex mutex; /* counts, free pages */
    struct sop_tree_count *counts; /* ascending; the last is the newest */
    size_t counts_count, counts_cap;
    uint64_t *free_pages; /* ids of this store that may be used again */
    size_t free_count, free_cap;
};

int sop_tree_new(struct sop_tree **out, uint64_t id, uint64_t root,
                 struct sop_err *err) SOP_MUST_USE;
void sop_tree_free(struct sop_tree *t);
/* Items at the moment. */
uint64_t sop_tree_items(struct sop_tree *t, uint64_t moment);
/* Makes room for one more count and `pages` more free pages, so that publishing cannot fail.
 * Counts that no pin of `p` needs are forgotten when room is short. Commit lock. */
int sop_tree_reserve(struct sop_tree *t, struct sop_pages *p, size_t pages,
                     struct sop_err *err) SOP_MUST_USE;
/* The count from `moment` on. After reserve. */
void sop_tree_set_items(struct sop_tree *t, uint64_t moment, uint64_t items);

/* Which child to take on the way down. */
enum sop_way {
    SOP_WAY_KEY,    /* the page that covers the key */
    SOP_WAY_BEFORE, /* the page that covers the greatest possible key < key */
    SOP_WAY_FIRST,
    SOP_WAY_LAST,
};
/* The version of the page at `level` (0 = leaf) on that way. *none (may be NULL for KEY, FIRST,
 * LAST): no page is before. */
int sop_tree_descend(struct sop_pages *p, struct sop_tree *t, uint64_t moment, enum sop_way way,
                     struct sop_slice key, uint8_t level, struct sop_version **out, bool *none,
                     struct sop_err *err) SOP_MUST_USE;
/* Finds one item; the item dies with the epoch. *leaf (may be NULL) = where it is or would be.
 */
int sop_tree_find(struct sop_pages *p, struct sop_tree *t, uint64_t moment,
                  struct sop_slice key, bool *found, struct sop_item *item,
                  struct sop_version **leaf, struct sop_err *err) SOP_MUST_USE;
/* For look-ups of several keys: goes down the tree for all of them and brings what searches in
 * the leaves will touch towards the processor, so that they wait for memory together and not
 * one after the other. leaves[i] = the leaf that covers keys[i], NULL where something is not in
 * memory: sop_tree_descend gives that one, or the error. Any count and order of keys; ascending
 * ones share more. Reads no volume, cannot fail. Inside an epoch, with the moment pinned. */
void sop_tree_fetch_ahead(struct sop_pages *p, struct sop_tree *t, uint64_t moment,
                          const struct sop_slice *keys, size_t count,
                          struct sop_version **leaves);
/* Rank: how many items are < key at the moment; and the reverse: the leaf that holds the item
 * with that rank, with the rank of its first item. Cost: one visit per leaf to the left, none
 * of which is read. */
int sop_tree_rank(struct sop_pages *p, struct sop_tree *t, uint64_t moment,
                  struct sop_slice key, uint64_t *rank, struct sop_err *err) SOP_MUST_USE;
int sop_tree_at_rank(struct sop_pages *p, struct sop_tree *t, uint64_t moment, uint64_t rank,
                     struct sop_version **leaf, uint64_t *first,
                     struct sop_err *err) SOP_MUST_USE;

/* A position among the items of a tree at a moment. It holds its leaf, so the current item
 * stays valid between calls, outside epochs; the moment must stay pinned. */
struct sop_scan {
    struct sop_pages *pages;
    struct sop_tree *tree;
    struct sop_epoch_slot *slot; /* of the owner; entered by each call */
    uint64_t moment;
    struct sop_hold hold;
    struct sop_walk walk;
    struct sop_buf low, high; /* fences of the held leaf */
    bool has_high;
    bool on;       /* stands on an item */
    uint64_t page; /* id and moment of the held leaf, for validation shortcuts */
    uint64_t page_at;
};
void sop_scan_init(struct sop_scan *s, struct sop_pages *p, struct sop_tree *t,
                   struct sop_epoch_slot *slot, uint64_t moment);
void sop_scan_fini(struct sop_scan *s);
/* Move; s->on tells whether there is an item. seek: first >= key; floor: last <= key. */
int sop_scan_first(struct sop_scan *s, struct sop_err *err) SOP_MUST_USE;
int sop_scan_last(struct sop_scan *s, struct sop_err *err) SOP_MUST_USE;
int sop_scan_seek(struct sop_scan *s, struct sop_slice key, bool *exact,
                  struct sop_err *err) SOP_MUST_USE;
int sop_scan_floor(struct sop_scan *s, struct sop_slice key, bool *exact,
                   struct sop_err *err) SOP_MUST_USE;
/* From the current item; NOT when !on. */
int sop_scan_next(struct sop_scan *s, struct sop_err *err) SOP_MUST_USE;
int sop_scan_prev(struct sop_scan *s, struct sop_err *err) SOP_MUST_USE;
/* Moves only inside the held leaf, so that what its items point to stays; false: it stands on
 * the leaf's last (first) item and has not moved. */
bool sop_scan_step_here(struct sop_scan *s, bool forward);
static inline struct sop_item sop_scan_item(const struct sop_scan *s)
{
    return sop_walk_item(&s->walk);
}
/* Same leaf as another scan at another moment, with the same content. */
static inline bool sop_scan_same_leaf(const struct sop_scan *a, const struct sop_scan *b)
{
    return a->page == b->page && a->page_at == b->page_at;
}

#endif
