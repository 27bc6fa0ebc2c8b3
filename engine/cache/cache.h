/* The cache: sheets in memory under a byte budget.
 *
 * A *body* is one sheet as the engine knows it: its place in a pack (or none yet: dirty) and,
 * while resident, its image in memory. Bodies are immutable but for residency and for getting a
 * place once. A clean resident body may be evicted at any time and is read again when needed; a
 * dirty one is the only copy outside the journal and stays.
 *
 * A clean body may also be resident in part: its front (fences, prefix, guide) and single
 * chunks of its cells, for look-ups of single keys while there is no room for the whole
 * (engine/cache/parts.c).
 *
 * Rules:
 * - Pointers to a resident sheet are loaded inside an epoch and die with it, unless the body is
 *   held (sop_body_hold), which keeps it resident.
 * - used_bytes counts resident images, parts and their frames; it exceeds the budget only by
 *   what is dirty, held, or being read at this moment. */
#ifndef SOP_CACHE_H
#define SOP_CACHE_H

#include "engine/btree/sheet.h"
#include "engine/cache/epoch.h"
#include "engine/pack/pack.h"

/* A resident image with its parsed view. */
struct sop_resident {
    struct sop_retired retired;
    struct sop_sheet sheet;
    uint8_t *image; /* owned */
    bool embedded;  /* in its body: only the image is freed */
};

struct sop_cache;
struct sop_parts;

struct sop_body {
    struct sop_retired retired;
    struct sop_cache *cache;
    _Atomic uint32_t refs; /* page versions that name it, and other owners */
    _Atomic int32_t held;  /* > 0: stays resident; -1: being evicted */
    _Atomic(struct sop_resident *) resident;
    _Atomic(struct sop_parts *) parts; /* unlinked under the cache mutex only */
    struct sop_place place;            /* set once, under the cache mutex; read when `placed` */
    _Atomic bool placed;
    _Atomic bool hot;              /* used since the clock hand passed */
    uint32_t bytes;                /* of the image */
    uint32_t ring_at;              /* index in the ring + 1; 0 = not in it; cache mutex */
    const struct sop_order *order; /* of its store; outlives the body */
    struct sop_resident own[];     /* one in a body made over an image: its first view */
};

struct sop_cache_stats {
    uint64_t budget_bytes, used_bytes, dirty_bytes;
    uint64_t hits, misses, evictions;
};

struct sop_cache {
    struct sop_epochs *epochs;
    struct sop_packs *packs;
    uint64_t budget_bytes;
    _Atomic uint64_t used_bytes;  /* resident images, and whatever else is charged */
    _Atomic uint64_t dirty_bytes; /* resident images without a place */
    _Atomic uint64_t misses, evictions;
    /* Told when a body gets (+1) or gives up (-1) a place; may be NULL. No cache lock held. */
    void (*on_place)(void *arg, const struct sop_place *place, int change);
    void *arg;
    struct sop_mutex mutex; /* ring, places */
    struct sop_body **ring; /* clean bodies, resident as a whole or in part */
    uint32_t ring_count, ring_cap, hand;
};

void sop_cache_init(struct sop_cache *c, struct sop_epochs *epochs, struct sop_packs *packs,
                    uint64_t budget_bytes);
/* All bodies must be gone (their epochs reclaimed). */
void sop_cache_fini(struct sop_cache *c);
void sop_cache_stats(struct sop_cache *c, struct sop_cache_stats *out);
/* Accounts memory that is not a body (frames, extents, versions); may be negative. */
void sop_cache_charge(struct sop_cache *c, int64_t bytes);
/* Evicts clean bodies until used <= budget or none is left to evict. Any thread. */
void sop_cache_trim(struct sop_cache *c);

/* A dirty resident body over a fresh image; takes the image on success. One reference for the
 * caller. */
int sop_body_new(struct sop_body **out, struct sop_cache *c, const struct sop_order *order,
                 struct sop_slice take_image, struct sop_err *err) SOP_MUST_USE;
/* Its image was a draft, and has got its items: what is known of them is looked at anew. Before
 * anybody else sees the body. */
void sop_body_filled(struct sop_body *b);
/* A body that lies in a pack and is not resident yet. */
int sop_body_at(struct sop_body **out, struct sop_cache *c, const struct sop_order *order,
                const struct sop_place *place, struct sop_err *err) SOP_MUST_USE;
static inline void sop_body_ref(struct sop_body *b)
{
    uint32_t before = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    SOP_ASSERT(before > 0);
}
/* The last reference retires it through the epochs. */
void sop_body_unref(struct sop_body *b);
/* The body now lies at `place` too: clean from here on. */
void sop_body_set_place(struct sop_body *b, const struct sop_place *place);

int sop_body_load(struct sop_body *b, const struct sop_sheet **sheet,
                  struct sop_err *err) SOP_MUST_USE;
/* The sheet if it is resident, else NULL. Inside an epoch; the pointer is good until the epoch
 * is left. */
static inline const struct sop_sheet *sop_body_resident(struct sop_body *b)
{
    struct sop_resident *r = atomic_load_explicit(&b->resident, memory_order_acquire);
    if (__builtin_expect(r == NULL, 0)) {
        return NULL;
    }
    if (!atomic_load_explicit(&b->hot, memory_order_relaxed)) {
        atomic_store_explicit(&b->hot, true, memory_order_relaxed);
    }
    return &r->sheet;
}
/* The sheet, read and checked if it is not resident. Inside an epoch; the pointer is good until
 * the epoch is left. DATA_LOSS, IO, NOMEM. */
static inline int sop_body_sheet(struct sop_body *b, const struct sop_sheet **sheet,
                                 struct sop_err *err)
{
    *sheet = sop_body_resident(b);
    return __builtin_expect(*sheet != NULL, 1) ? 0 : sop_body_load(b, sheet, err);
}
/* What the sheet says beside its items: a view without heads and offsets, if there is no room
 * for the whole. As sop_body_sheet in everything else. */
int sop_body_front(struct sop_body *b, const struct sop_sheet **front,
                   struct sop_err *err) SOP_MUST_USE;
/* Looks for a key in a body that is not resident: in the whole while the cache has room for it,
 * else in the one part that has the key. *exact: found, and *item is good until the epoch is
 * left. Errors as of sop_body_sheet. */
int sop_body_find(struct sop_body *b, struct sop_slice key, bool *exact, struct sop_item *item,
                  struct sop_err *err) SOP_MUST_USE;
/* As sop_body_sheet, and keeps it resident until sop_body_release, beyond the epoch. The caller
 * must keep the body alive (hold its version). Inside an epoch. */
int sop_body_hold(struct sop_body *b, const struct sop_sheet **sheet,
                  struct sop_err *err) SOP_MUST_USE;
void sop_body_release(struct sop_body *b);

#endif
