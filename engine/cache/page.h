/* Page versions, page frames, and which old versions somebody may still read.
 *
 * A *moment* is a position in history as this process counts it: dense, 64 bits, one more for
 * each batch applied; moment 0 is the state that opening found. It stands for an LSN.
 *
 * frame(page id) -> newest version -> older -> ... ; versions are immutable. A reader at moment
 * m takes the first version with at <= m. A version is unlinked when it is superseded and no
 * pin lies in [at, until). A frame without versions is a page that nobody has touched since
 * opening; its content is what the extents say.
 *
 * Rules:
 * - Only the committing leader links new versions (sop_pages_publish); a checkpoint may replace
 *   a version by one with the same content (sop_pages_replace).
 * - Readers hold a pin at m, or the history mutex, and are inside an epoch.
 * - Lock order: history mutex (STATE), then page stripes (PAGE). */
#ifndef SOP_PAGE_H
#define SOP_PAGE_H

#include "engine/cache/cache.h"
#include "engine/registry/registry.h"

#define SOP_NEVER UINT64_MAX

/* A body in a page's stack. Clipped: it counts only for keys in [low, high), because the page's
 * fences were wider later than when the body was made (a neighbour was merged into it). */
struct sop_layer {
    struct sop_body *body;
    bool clipped;
    bool clip_has_high;
    struct sop_slice clip_low, clip_high;
};

struct sop_pin;

struct sop_version {
    struct sop_retired retired;
    _Atomic(struct sop_version *) older;
    uint64_t page;
    uint64_t at;                   /* moment from which on it is the content */
    uint64_t until;                /* moment at which it was superseded; history mutex */
    struct sop_version *held_next; /* list of the pin that keeps it; history mutex */
    struct sop_lsn lsn;            /* of at; of the handle for what opening found */
    uint64_t bytes_live;           /* estimate of bytes of live items, for splitting */
    uint32_t items;                /* live items (children of an inner page) */
    uint8_t level;
    bool free;  /* the page id belongs to no tree at this moment */
    bool exact; /* the lowest sheet has no items outside the fences, and says them */
    bool has_high;
    struct sop_slice low, high;
    uint32_t block_bytes;  /* of this allocation */
    uint32_t layers_count; /* newest first */
    struct sop_layer layers[];
};

/* What a new version shall say. Slices are copied; each layer's body gets a reference. */
struct sop_version_spec {
    uint64_t page;
    uint64_t at;
    struct sop_lsn lsn;
    uint64_t bytes_live;
    uint32_t items;
    uint8_t level;
    bool free;
    bool exact;
    bool has_high;
    struct sop_slice low, high;
    const struct sop_layer *layers;
    uint32_t layers_count;
};
int sop_version_new(struct sop_version **out, struct sop_cache *c,
                    const struct sop_version_spec *spec, struct sop_err *err) SOP_MUST_USE;
/* For a version that was never published. */
void sop_version_drop(struct sop_cache *c, struct sop_version *v);

struct sop_frame {
    _Atomic(struct sop_version *) newest;
    _Atomic uint32_t dirty; /* in the list of what the next checkpoint writes; commit lock */
};

/* A pin keeps one moment readable. Shared by all that pin the same moment. */
struct sop_pin {
    uint64_t moment;
    struct sop_lsn lsn;
    uint32_t refs;
    struct sop_pin *older, *newer;
    struct sop_version *held; /* versions for which this is the newest pin that needs them */
};

#define SOP_PAGE_STRIPES 64
/* Finds the handle of a page at the state that opening found. Called without locks. */
typedef int (*sop_handle_fn)(void *arg, uint64_t page, struct sop_handle *handle,
                             struct sop_err *err);

struct sop_pages {
    struct sop_cache *cache;
    struct sop_epochs *epochs;
    sop_handle_fn handle;
    void *arg;
    struct sop_mutex stripes[SOP_PAGE_STRIPES];
    struct sop_mutex grow; /* of the radix table */
    _Atomic(void *) *root; /* radix: 4096 x 4096 x 4096 frames */

    struct sop_mutex history; /* guards what follows */
    _Atomic uint64_t moment;  /* newest visible; written under the mutex */
    struct sop_lsn head;      /* its LSN */
    struct sop_pin *newest_pin, *oldest_pin;
    uint64_t pins_count;
};

int sop_pages_init(struct sop_pages *p, struct sop_cache *c, sop_handle_fn handle, void *arg,
                   struct sop_err *err) SOP_MUST_USE;
/* Frees all frames and versions. No pins, no readers. */
void sop_pages_fini(struct sop_pages *p);

/* The frame of a page id; NOMEM, INVALID (id out of range). Any thread. */
int sop_pages_frame(struct sop_pages *p, uint64_t page, struct sop_frame **out,
                    struct sop_err *err) SOP_MUST_USE;
/* The version of `page` at `moment`, loaded from the extents if it was never touched. Inside an
 * epoch, with `moment` pinned. DATA_LOSS when the page is in no state to be read. */
int sop_pages_at(struct sop_pages *p, const struct sop_order *order, uint64_t page,
                 uint64_t moment, struct sop_version **out, struct sop_err *err) SOP_MUST_USE;
/* As above but reads no sheet: for replay. A version that had to be made from a handle has no
 * fences (low and high empty) and is not kept: *owned true, the caller drops it. */
int sop_pages_source(struct sop_pages *p, const struct sop_order *order, uint64_t page,
                     struct sop_version **out, bool *owned, struct sop_err *err) SOP_MUST_USE;
/* Items of the page at the moment, without reading the page. */
int sop_pages_items(struct sop_pages *p, uint64_t page, uint64_t moment, uint32_t *items,
                    struct sop_err *err) SOP_MUST_USE;

/* Links new versions (one per page, frames made before), moves the head to (moment, lsn), and
 * unlinks or hands to pins what was superseded. Nothing can fail. Leader only. */
struct sop_publish {
    struct sop_frame *frame;
    struct sop_version *version;
};
void sop_pages_publish(struct sop_pages *p, const struct sop_publish *list, size_t count,
                       uint64_t moment, struct sop_lsn lsn);
/* Replaces `old` by `fresh` (same page, at, content) if old is still linked; true when done
 * (fresh is owned by the frame), false: fresh still belongs to the caller. */
bool sop_pages_replace(struct sop_pages *p, struct sop_frame *frame, struct sop_version *old,
                       struct sop_version *fresh);

/* Pins the newest moment. NOMEM. */
int sop_pages_pin(struct sop_pages *p, struct sop_pin **out, struct sop_err *err) SOP_MUST_USE;
/* One more reference to a pin that is held. */
struct sop_pin *sop_pages_pin_again(struct sop_pages *p, struct sop_pin *pin);
void sop_pages_unpin(struct sop_pages *p, struct sop_pin *pin);
/* Bodies that only pins need (layers of versions that have been superseded) and that lie in no
 * pack yet: up to `most` into `out`, each with a reference of the caller's. Inside an epoch. */
size_t sop_pages_held_dirty(struct sop_pages *p, struct sop_body **out, size_t most);
/* LSN of the oldest pin, or of the head. */
struct sop_lsn sop_pages_oldest(struct sop_pages *p, uint64_t *moment);

/* The version at the moment if it is in memory, else NULL; and the sheet of a version that is
 * one plain base in memory, else NULL. Read no volume. Inside an epoch, the moment pinned. */
struct sop_version *sop_pages_near(struct sop_pages *p, uint64_t page, uint64_t moment);
const struct sop_sheet *sop_version_near(const struct sop_version *v);
/* Brings towards the processor what searches for keys[i] in pages[i] at the moment will touch,
 * the waits for memory of all of them side by side. versions[i] = the version there, NULL where
 * it is not in memory (or pages[i] is 0): whoever asks for it alone gets it, or the error.
 * Reads no volume, cannot fail, and changes nothing. At most SOP_FETCH_MOST. Inside an epoch,
 * with the moment pinned. */
#define SOP_FETCH_MOST 32
void sop_pages_fetch_ahead(struct sop_pages *p, uint64_t moment, const uint64_t *pages,
                           const struct sop_slice *keys, size_t count,
                           struct sop_version **versions);

/* ---- reading a version ---------------------------------------------------------------------
 */

/* Up to SOP_SHEETS_MAX layers are kept by the commit path; replay may leave more, up to this.
 */
#define SOP_LAYERS_MAX 8

/* Inside an epoch. The key must lie inside the fences. *found false: absent. */
int sop_version_find(struct sop_version *v, const struct sop_order *order, struct sop_slice key,
                     bool *found, struct sop_item *item, struct sop_err *err) SOP_MUST_USE;
/* Bodies that a walk keeps alive and resident. */
struct sop_hold {
    struct sop_body *bodies[SOP_LAYERS_MAX];
    uint32_t count;
};
/* A walk over the version's items, made inside an epoch. With `hold` (empty before) it outlives
 * the epoch and the version, until sop_hold_end; without, it dies with the epoch. */
int sop_version_walk(struct sop_version *v, const struct sop_order *order,
                     struct sop_hold *hold, struct sop_walk *walk,
                     struct sop_err *err) SOP_MUST_USE;
/* Releases what is held; empty afterwards; fine on an empty one. */
void sop_hold_end(struct sop_hold *hold);
/* One image with exactly the version's content inside its fences (base when `run` false). */
int sop_version_merge(struct sop_version *v, const struct sop_order *order,
                      const struct sop_sheet_meta *meta, struct sop_slice *image,
                      uint32_t *items, struct sop_err *err) SOP_MUST_USE;

#endif
