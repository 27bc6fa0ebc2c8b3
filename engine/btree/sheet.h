/* Sheet: an immutable sorted image of items; base of a page, or a run of deltas over it.
 *
 * The same bytes on the volume and in memory. Layout in engine/btree/format.h: front
 * (header, guide to the pieces, fences of the page it was made for, common key prefix), 8-byte
 * big-endian heads (the first bytes of each key after the common prefix), offsets, cells. Inner
 * pages are sheets whose values are 8-byte little-endian child page ids.
 *
 * A sheet from the volume is checked whole once (sop_sheet_check); everything below assumes a
 * checked or self-built image and never fails. Any thread. */
#ifndef SOP_SHEET_H
#define SOP_SHEET_H

#include "engine/base/base.h"
#include "engine/btree/order.h"

/* What an item's value is. */
enum sop_value_kind {
    SOP_VALUE_INLINE = 0,
    SOP_VALUE_PLACE = 1,     /* value = SOP_PLACE_BYTES encoded place in a pack (Medium, Big) */
    SOP_VALUE_TOMBSTONE = 2, /* runs only: the key is deleted; no ride, no value */
};

/* One item as seen in a sheet. key = prefix followed by suffix (two slices, so that nothing is
 * copied); all slices point into the sheet and live as long as it does. */
struct sop_item {
    struct sop_slice prefix;
    struct sop_slice suffix;
    struct sop_slice ride;
    struct sop_slice value;
    enum sop_value_kind kind;
};

/* A parsed view of an image: plain pointers, made once when the image becomes resident. */
struct sop_sheet {
    const uint8_t *image; /* borrowed */
    uint32_t bytes;
    uint32_t count;
    bool run;      /* may hold tombstones */
    bool compared; /* made in the order of a comparer; belongs to stores with one only */
    uint8_t level;
    struct sop_lsn lsn; /* complete up to here */
    uint64_t store;
    uint64_t page;
    struct sop_slice low;  /* low fence, inclusive; empty = smallest */
    struct sop_slice high; /* high fence, exclusive; meaningful if has_high */
    bool has_high;
    struct sop_slice prefix; /* common prefix of all keys; empty with a registered comparer */
    const uint64_t *heads;   /* native integers, 8-byte aligned */
    const uint32_t *offsets; /* count + 1 */
    /* Where a head is to be expected if heads are spread evenly: (head - head_first) *
     * head_rate items behind the first. head_rate 0: a few items, or no heads. */
    uint64_t head_first;
    double head_rate;
};

/* Verifies untrusted bytes entirely: sizes, CRCs, order of offsets, each cell's lengths.
 * DATA_LOSS with what is wrong. The order of the keys is checked, too; that of a comparer only
 * when `order` is given (NULL if it is not known). image must be 8-aligned. */
int sop_sheet_check(struct sop_slice image, const struct sop_order *order,
                    struct sop_sheet *out, struct sop_err *err) SOP_MUST_USE;
/* Makes the view of an image that was checked or built here before. */
void sop_sheet_view(struct sop_slice image, struct sop_sheet *out);

/* Item i < count. */
struct sop_item sop_sheet_item(const struct sop_sheet *s, uint32_t i);
/* First index whose key is >= key (lower bound), in 0..count; *exact = equal key found. */
uint32_t sop_sheet_seek(const struct sop_sheet *s, const struct sop_order *order,
                        struct sop_slice key, bool *exact);
/* The same; looks first behind `near`, where an earlier search ended (any number). */
uint32_t sop_sheet_seek_near(const struct sop_sheet *s, const struct sop_order *order,
                             struct sop_slice key, uint32_t near, bool *exact);
/* Fetches the lines that the first step of such a search looks at; any key. */
void sop_sheet_fetch_ahead(const struct sop_sheet *s, struct sop_slice key);
/* Compares item i's key with key, in the store's order. */
int sop_sheet_cmp(const struct sop_sheet *s, const struct sop_order *order, uint32_t i,
                  struct sop_slice key);
/* Copies the whole key into `to` (replaced). */
int sop_item_key(const struct sop_item *item, struct sop_buf *to,
                 struct sop_err *err) SOP_MUST_USE;

/* ---- a sheet in part ------------------------------------------------------------------------
 *
 * A point look-up in a sheet on the volume needs its front and one *chunk*: the pieces that the
 * cells beginning in one piece lie in. Bytes are verified when they come (by the front's CRC
 * and those in the guide), cells when they are read. Not for sheets in the order of a comparer.
 */

/* A view of a front. */
struct sop_front {
    struct sop_sheet sheet; /* without heads and offsets; image: the front */
    uint32_t bytes;         /* of the front */
    uint32_t pieces;        /* up to the last one with the beginning of a cell */
};
/* Reads from the first SOP_FRONT_BYTES_MIN bytes of an image of so many bytes how long its
 * front is. Not verified yet, but not longer than the image. DATA_LOSS. */
#define SOP_FRONT_BYTES_MIN 72
int sop_front_bytes(const uint8_t *first, uint32_t image_bytes, uint32_t *bytes,
                    struct sop_err *err) SOP_MUST_USE;
/* Verifies a front of as many bytes as sop_front_bytes says and makes the view. `front` must be
 * 8-aligned and stay. DATA_LOSS. */
int sop_front_check(const uint8_t *front, uint32_t image_bytes, struct sop_front *out,
                    struct sop_err *err) SOP_MUST_USE;
/* Pieces of an image of so many bytes. */
uint32_t sop_front_pieces(uint32_t image_bytes);
/* Bytes [*from, *until) of the image: the piece without the front, and if `whole` all pieces
 * that the cells beginning in it reach into. */
void sop_front_span(const struct sop_front *f, uint32_t piece, bool whole, uint32_t *from,
                    uint32_t *until);
/* Verifies whole pieces (without the front) from byte `from` of the image on. On DATA_LOSS *bad
 * is where in the image the wrong one begins. */
int sop_front_verify(const struct sop_front *f, uint32_t from, struct sop_slice pieces,
                     uint32_t *bad, struct sop_err *err) SOP_MUST_USE;

enum sop_chunk_answer {
    SOP_CHUNK_FOUND,
    SOP_CHUNK_BEFORE, /* the key is less than the first one that begins in the piece */
    SOP_CHUNK_ABSENT, /* it would lie between two of them */
    SOP_CHUNK_BEHIND, /* it is greater than the last one */
    SOP_CHUNK_SHORT,  /* cannot be told without the whole chunk */
    SOP_CHUNK_BAD,    /* a cell is malformed */
};
/* Looks for a key among the cells that begin in a piece that a probe names. `chunk` has the
 * bytes that sop_front_span gave, verified. FOUND: *item points into it and into the front. */
enum sop_chunk_answer sop_chunk_find(const struct sop_front *f, uint32_t piece,
                                     struct sop_slice chunk, struct sop_slice key,
                                     struct sop_item *item);

/* Which pieces to ask for a key: one, as a rule; where the heads in the guide tie, it halves
 * their range by the keys themselves. */
struct sop_probe {
    uint32_t piece; /* to be asked now */
    uint32_t first, middle, last;
};
/* False: the sheet does not have the key. */
bool sop_probe_first(struct sop_probe *p, const struct sop_front *f, struct sop_slice key);
/* After BEFORE, ABSENT or BEHIND of the piece asked: false: the sheet does not have the key. */
bool sop_probe_next(struct sop_probe *p, const struct sop_front *f,
                    enum sop_chunk_answer answer);

/* What an image says of itself beside its items. */
struct sop_sheet_meta {
    uint64_t store;
    uint64_t page;
    uint8_t level;
    bool run;
    struct sop_lsn lsn;
    struct sop_slice low;
    struct sop_slice high;
    bool has_high;
    bool loose; /* its CRCs are left out: it must be sealed before it leaves memory */
};
/* Computes the CRCs of an image, whose owner no other thread does this for. Others may read the
 * items meanwhile: they never look at the CRCs. */
void sop_sheet_seal(struct sop_slice image);
/* A fresh image of `count` items that the caller has in memory, in key order: item_at gives the
 * i-th (called more than once for each; its slices must stay until the end). Image and errors
 * as sop_sheet_maker_finish. */
typedef void (*sop_item_at_fn)(const void *arg, size_t i, struct sop_item *item);
int sop_sheet_make(const struct sop_order *order, const struct sop_sheet_meta *meta,
                   sop_item_at_fn item_at, const void *arg, size_t count,
                   struct sop_slice *image, struct sop_err *err) SOP_MUST_USE;
/* Items in memory as a row of structs, `step` bytes apart, that begin with an entry. */
struct sop_sheet_entry {
    struct sop_slice key, ride, value;
    uint8_t kind; /* enum sop_value_kind */
};
struct sop_sheet_row {
    const void *first;
    size_t step;
    size_t count;
};

/* A sheet of a row in two steps. After the first one the image (owned: sop_free) has its
 * memory, its length, and what a view of it shows but for the items; the second cannot fail.
 * Until then order, row and what it names must stay; afterwards a view is to be made anew, for
 * its items can be searched only then. If the second never comes, free the image. */
struct sop_sheet_draft {
    struct sop_slice image;
    /* private */
    const struct sop_order *order;
    struct sop_sheet_row row;
    uint32_t cells;
    uint32_t prefix_bytes;
    bool loose;
};
int sop_sheet_draft_row(struct sop_sheet_draft *draft, const struct sop_order *order,
                        const struct sop_sheet_meta *meta, const struct sop_sheet_row *row,
                        struct sop_err *err) SOP_MUST_USE;
void sop_sheet_draft_fill(const struct sop_sheet_draft *draft);

/* Builder: items are added in key order, then the image is finished. Reusable after reset.
 * Budget-free; grows by sop_malloc. One thread. */
struct sop_sheet_maker {
    const struct sop_order *order;
    struct sop_buf keys;  /* internal */
    struct sop_buf cells; /* internal */
    struct sop_buf index; /* internal */
    uint32_t count;
    uint32_t tombstones;
    size_t estimate; /* image bytes if finished now with empty fences (upper bound) */
};
void sop_sheet_maker_init(struct sop_sheet_maker *m, const struct sop_order *order);
void sop_sheet_maker_reset(struct sop_sheet_maker *m);
void sop_sheet_maker_fini(struct sop_sheet_maker *m);
/* Keys must come strictly ascending (deep assert). */
int sop_sheet_maker_add(struct sop_sheet_maker *m, const struct sop_item *item,
                        struct sop_err *err) SOP_MUST_USE;
/* A fresh image (sop_malloc_aligned 8, owned by the caller) with all CRCs set. The maker stays
 * as it is. Without meta->run there must be no tombstone. NOMEM; TOO_LARGE over 4 GiB. */
int sop_sheet_maker_finish(struct sop_sheet_maker *m, const struct sop_sheet_meta *meta,
                           struct sop_slice *image, struct sop_err *err) SOP_MUST_USE;

/* Merged walk over a stack of sheets (newest first), restricted to [low, high), both ways.
 * Newer sheets win; tombstones hide older items. If every sheet is a run (no base), deleted
 * keys are simply absent, too; with keep_tombstones they are shown (for merging runs). A single
 * sheet is walked without comparing. The sheets must outlive the walk. */
struct sop_walk {
    const struct sop_sheet *sheets[8];
    uint32_t at[8];    /* current index in each sheet */
    uint32_t first[8]; /* index bounds by the fences */
    uint32_t end[8];
    uint32_t sheets_count;
    int current; /* sheet of the current item; -1 = before the first / after the last */
    bool keep_tombstones;
    bool backward; /* at[] is one behind the items then */
    const struct sop_order *order;
    /* Internal, for several sheets: the live ones in the order of the items they stand on,
     * equal keys newest first, and heads that compare across sheets with different prefixes. */
    uint8_t live;
    uint8_t rank[8];
    bool tied[8];     /* rank[i] stands on the same key as rank[i - 1] */
    uint8_t shift[8]; /* head across sheets = lead | (head >> shift & keep) */
    uint64_t lead[8];
    uint64_t keep[8];
    uint64_t head[8];      /* of the item that the sheet stands on */
    uint32_t prefix_bytes; /* prefix that all sheets share */
};
/* sheets_count 1..8. low empty = no lower bound; has_high false = no upper bound. Afterwards
 * the walk stands before the first item; first[] and end[] may be narrowed before it is used.
 */
void sop_walk_init(struct sop_walk *w, const struct sop_order *order,
                   const struct sop_sheet *const *sheets, uint32_t sheets_count,
                   struct sop_slice low, struct sop_slice high, bool has_high,
                   bool keep_tombstones);
/* Position on the first / last item, the first item >= key, the last item <= key (floor).
 * false: there is none. seek sets *exact (may be NULL). */
bool sop_walk_first(struct sop_walk *w);
bool sop_walk_last(struct sop_walk *w);
bool sop_walk_seek(struct sop_walk *w, struct sop_slice key, bool *exact);
bool sop_walk_floor(struct sop_walk *w, struct sop_slice key, bool *exact);
bool sop_walk_next(struct sop_walk *w);
bool sop_walk_prev(struct sop_walk *w);
/* The current item; valid only after a true. */
struct sop_item sop_walk_item(const struct sop_walk *w);

/* Point look-up in a stack, newest first: true and *item, or false: absent or deleted. The key
 * must lie inside the page's fences. */
bool sop_stack_find(const struct sop_sheet *const *sheets, uint32_t sheets_count,
                    const struct sop_order *order, struct sop_slice key, struct sop_item *item);

/* Merges a stack into one fresh image: a base (run false, drops tombstones) or a run. The
 * result holds only [meta->low, meta->high). Fast where cells can be copied whole. *items =
 * live items in the result; NULL: nobody asks, and a run is merged without looking at each.
 * NOMEM; TOO_LARGE over 4 GiB. */
int sop_stack_merge(const struct sop_sheet *const *sheets, uint32_t sheets_count,
                    const struct sop_order *order, const struct sop_sheet_meta *meta,
                    struct sop_slice *image, uint32_t *items, struct sop_err *err) SOP_MUST_USE;

/* A short key k with left < k <= right, for separators (memcmp order: shortest such; with a
 * comparer: right itself). Appended to *to. left < right in `order`. */
int sop_separator(const struct sop_order *order, struct sop_slice left, struct sop_slice right,
                  struct sop_buf *to, struct sop_err *err) SOP_MUST_USE;

#endif
