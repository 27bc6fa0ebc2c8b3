/* Bodies and the clock that evicts them; see cache.h.
 *
 * Eviction is a race with readers on two levels. A reader inside an epoch that has loaded
 * `resident` is safe because the image is retired, not freed. A holder is safe because `held`
 * moves 0 -> -1 only by the evictor and only 0 or more -> +1 by holders; the evictor clears
 * `resident` between -1 and back to 0, and a holder that finds -1 waits for it.
 *
 * The view of an image that was made here lies in its body. When it is evicted, it has a
 * reference to the body until it is freed. */
#include "engine/cache/cache.h"

#include "engine/cache/cache_int.h"

#include <sched.h>

void sop_cache_init(struct sop_cache *c, struct sop_epochs *epochs, struct sop_packs *packs,
                    uint64_t budget_bytes)
{
    memset(c, 0, sizeof *c);
    c->epochs = epochs;
    c->packs = packs;
    c->budget_bytes = budget_bytes;
    sop_mutex_init(&c->mutex, SOP_RANK_CACHE);
}

void sop_cache_fini(struct sop_cache *c)
{
    SOP_ASSERT(c->ring_count == 0);
    sop_free(c->ring);
    sop_mutex_fini(&c->mutex);
    memset(c, 0, sizeof *c);
}

void sop_cache_stats(struct sop_cache *c, struct sop_cache_stats *out)
{
    memset(out, 0, sizeof *out);
    out->budget_bytes = c->budget_bytes;
    out->used_bytes = atomic_load(&c->used_bytes);
    out->dirty_bytes = atomic_load(&c->dirty_bytes);
    out->misses = atomic_load(&c->misses);
    out->evictions = atomic_load(&c->evictions);
}

void sop_cache_charge(struct sop_cache *c, int64_t bytes)
{
    atomic_fetch_add_explicit(&c->used_bytes, (uint64_t)bytes, memory_order_relaxed);
}

static void tell_place(struct sop_cache *c, const struct sop_place *place, int change)
{
    if (c->on_place != NULL) {
        c->on_place(c->arg, place, change);
    }
}

static void resident_free(struct sop_retired *retired)
{
    struct sop_resident *r = (struct sop_resident *)(void *)retired;
    sop_free(r->image);
    if (!r->embedded) {
        sop_free(r);
    }
}

/* The same for one that was evicted. */
static void evicted_free(struct sop_retired *retired)
{
    struct sop_resident *r = (struct sop_resident *)(void *)retired;
    struct sop_body *b = NULL;
    if (r->embedded) {
        b = (struct sop_body *)(void *)((uint8_t *)r - offsetof(struct sop_body, own));
    }
    resident_free(retired);
    if (b != NULL) {
        sop_body_unref(b);
    }
}

static uint64_t resident_bytes(const struct sop_body *b)
{
    return b->bytes + sizeof(struct sop_resident);
}

void sop_cache__ring_add(struct sop_cache *c, struct sop_body *b)
{
    if (b->ring_at != 0) {
        return;
    }
    if (c->ring_count == c->ring_cap) {
        uint32_t cap = c->ring_cap == 0 ? 256 : c->ring_cap * 2;
        struct sop_body **ring = sop_realloc(c->ring, cap * sizeof(struct sop_body *));
        if (ring == NULL) {
            return; /* not evictable until it is loaded again: only a matter of memory */
        }
        c->ring = ring;
        c->ring_cap = cap;
    }
    c->ring[c->ring_count++] = b;
    b->ring_at = c->ring_count;
}

static void ring_remove(struct sop_cache *c, struct sop_body *b)
{
    if (b->ring_at == 0) {
        return;
    }
    SOP_ASSERT(c->ring[b->ring_at - 1] == b);
    struct sop_body *last = c->ring[--c->ring_count];
    c->ring[b->ring_at - 1] = last;
    last->ring_at = b->ring_at;
    b->ring_at = 0;
}

/* A reference to a body of the ring, which may be retired already: then there is none. */
static bool ref_if_any(struct sop_body *b)
{
    uint32_t refs = atomic_load_explicit(&b->refs, memory_order_relaxed);
    while (refs > 0 && !atomic_compare_exchange_weak(&b->refs, &refs, refs + 1)) {
    }
    return refs > 0;
}

/* Makes a body non-resident, its front too, if nobody holds it. */
static bool evict_live(struct sop_cache *c, struct sop_body *b)
{
    int32_t free_of_holders = 0;
    if (!atomic_compare_exchange_strong(&b->held, &free_of_holders, -1)) {
        return false;
    }
    struct sop_resident *r = atomic_exchange(&b->resident, NULL);
    atomic_store(&b->held, 0);
    ring_remove(c, b);
    bool parts = sop_cache__parts_drop(b);
    if (r == NULL) {
        return parts;
    }
    atomic_fetch_sub(&c->used_bytes, resident_bytes(b));
    atomic_fetch_add_explicit(&c->evictions, 1, memory_order_relaxed);
    if (r->embedded) {
        sop_body_ref(b);
    }
    sop_epoch_retire(c->epochs, &r->retired, evicted_free);
    return true;
}

/* Tries to make one body non-resident. Cache mutex held. One that is retired already goes with
 * its image anyway. */
static bool evict(struct sop_cache *c, struct sop_body *b)
{
    if (!ref_if_any(b)) {
        return false;
    }
    bool done = evict_live(c, b);
    sop_body_unref(b);
    return done;
}

void sop_cache_trim(struct sop_cache *c)
{
    if (atomic_load_explicit(&c->used_bytes, memory_order_relaxed) <= c->budget_bytes) {
        return;
    }
    sop_mutex_lock(&c->mutex);
    uint64_t steps = 2ull * c->ring_count + 1; /* one turn cools, the second evicts */
    while (steps-- > 0 && c->ring_count > 0 && atomic_load(&c->used_bytes) > c->budget_bytes) {
        if (c->hand >= c->ring_count) {
            c->hand = 0;
        }
        struct sop_body *b = c->ring[c->hand];
        bool hot = atomic_exchange(&b->hot, false);
        bool chunks = sop_cache__parts_sweep(b);
        if (hot || chunks || !evict(c, b)) {
            c->hand++;
        }
    }
    sop_mutex_unlock(&c->mutex);
    sop_epoch_reclaim(c->epochs);
}

/* `own`: residents in it, 0 or 1. */
static struct sop_body *body_alloc(struct sop_cache *c, const struct sop_order *order,
                                   size_t own)
{
    struct sop_body *b = sop_malloc(sizeof *b + own * sizeof b->own[0]);
    if (b != NULL) {
        memset(b, 0, sizeof *b);
        b->cache = c;
        b->order = order;
        atomic_store(&b->refs, 1);
        sop_cache_charge(c, (int64_t)sizeof *b);
    }
    return b;
}

static struct sop_resident *resident_new(struct sop_slice image)
{
    struct sop_resident *r = sop_calloc(1, sizeof *r);
    if (r != NULL) {
        r->image = (uint8_t *)(uintptr_t)image.data;
    }
    return r;
}

int sop_body_new(struct sop_body **out, struct sop_cache *c, const struct sop_order *order,
                 struct sop_slice take_image, struct sop_err *err)
{
    SOP_ASSERT(take_image.len <= UINT32_MAX);
    *out = NULL;
    struct sop_body *b = body_alloc(c, order, 1);
    if (b == NULL) {
        return SOP_ERR(err, NOMEM, "keep a new sheet of %zu bytes", take_image.len);
    }
    struct sop_resident *r = &b->own[0];
    memset(&r->retired, 0, sizeof r->retired);
    r->image = (uint8_t *)(uintptr_t)take_image.data;
    r->embedded = true;
    sop_sheet_view(take_image, &r->sheet);
    b->bytes = (uint32_t)take_image.len;
    atomic_store_explicit(&b->resident, r, memory_order_release);
    atomic_fetch_add_explicit(&c->used_bytes, resident_bytes(b), memory_order_relaxed);
    atomic_fetch_add_explicit(&c->dirty_bytes, resident_bytes(b), memory_order_relaxed);
    *out = b;
    return 0;
}

void sop_body_filled(struct sop_body *b)
{
    struct sop_resident *r = &b->own[0];
    SOP_ASSERT(atomic_load(&b->resident) == r && r->embedded);
    sop_sheet_view(sop_slice(r->image, b->bytes), &r->sheet);
}

int sop_body_at(struct sop_body **out, struct sop_cache *c, const struct sop_order *order,
                const struct sop_place *place, struct sop_err *err)
{
    *out = NULL;
    struct sop_body *b = body_alloc(c, order, 0);
    if (b == NULL) {
        return SOP_ERR(err, NOMEM, "keep a sheet's place");
    }
    b->place = *place;
    b->bytes = place->bytes;
    atomic_store(&b->placed, true);
    tell_place(c, place, 1);
    *out = b;
    return 0;
}

static void body_free(struct sop_retired *retired)
{
    struct sop_body *b = (struct sop_body *)(void *)retired;
    struct sop_cache *c = b->cache;
    bool placed = atomic_load(&b->placed);
    if (placed) { /* else it never was in the ring */
        sop_mutex_lock(&c->mutex);
        ring_remove(c, b);
        sop_mutex_unlock(&c->mutex);
    }
    sop_cache__parts_free(b);
    struct sop_resident *r = atomic_load(&b->resident);
    if (r != NULL) {
        atomic_fetch_sub(&c->used_bytes, resident_bytes(b));
        if (!placed) {
            atomic_fetch_sub(&c->dirty_bytes, resident_bytes(b));
        }
        resident_free(&r->retired);
    }
    if (placed) {
        tell_place(c, &b->place, -1);
    }
    sop_cache_charge(c, -(int64_t)sizeof *b);
    sop_free(b);
}

void sop_body_unref(struct sop_body *b)
{
    uint32_t before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    SOP_ASSERT(before > 0);
    if (before == 1) {
        SOP_ASSERT(atomic_load(&b->held) <= 0);
        sop_epoch_retire(b->cache->epochs, &b->retired, body_free);
    }
}

void sop_body_set_place(struct sop_body *b, const struct sop_place *place)
{
    struct sop_cache *c = b->cache;
    sop_mutex_lock(&c->mutex);
    SOP_ASSERT(!atomic_load(&b->placed));
    SOP_ASSERT(place->bytes == b->bytes);
    b->place = *place;
    atomic_store_explicit(&b->placed, true, memory_order_release);
    atomic_fetch_sub(&c->dirty_bytes, resident_bytes(b));
    sop_cache__ring_add(c, b);
    sop_mutex_unlock(&c->mutex);
    tell_place(c, place, 1);
}

static int body_read(struct sop_body *b, struct sop_resident **out, struct sop_err *err)
{
    struct sop_buf image = {0};
    int rc = sop_packs_read(b->cache->packs, &b->place, SOP_PACK_SHEET, &image, err);
    if (rc != 0) {
        goto undo_image;
    }
    struct sop_resident *r = resident_new(sop_buf_slice(&image));
    if (r == NULL) {
        rc = SOP_ERR(err, NOMEM, "keep a sheet of %zu bytes", image.len);
        goto undo_image;
    }
    rc = sop_sheet_check(sop_buf_slice(&image), NULL, &r->sheet, err);
    if (rc != 0) {
        sop_err_wrap(err, rc, "pack file %" PRIx64 "/%u at %" PRIu64, b->place.member,
                     b->place.file, b->place.offset);
        sop_free(r);
        goto undo_image;
    }
    *out = r;
    return 0;

undo_image:
    sop_buf_fini(&image);
    return rc;
}

int sop_body_load(struct sop_body *b, const struct sop_sheet **sheet, struct sop_err *err)
{
    struct sop_cache *c = b->cache;
    struct sop_resident *r = atomic_load(&b->resident);
    if (r == NULL) {
        SOP_ASSERT(atomic_load(&b->placed));
        atomic_fetch_add_explicit(&c->misses, 1, memory_order_relaxed);
        struct sop_resident *fresh = NULL;
        int rc = body_read(b, &fresh, err);
        if (rc != 0) {
            return rc;
        }
        struct sop_resident *nobody = NULL;
        if (atomic_compare_exchange_strong(&b->resident, &nobody, fresh)) {
            r = fresh;
            atomic_fetch_add(&c->used_bytes, resident_bytes(b));
            sop_mutex_lock(&c->mutex);
            sop_cache__ring_add(c, b);
            (void)sop_cache__parts_drop(b); /* the whole has them */
            sop_mutex_unlock(&c->mutex);
        } else { /* another reader was faster: its copy is as good */
            resident_free(&fresh->retired);
            r = nobody;
        }
        atomic_store(&b->hot, true);
        sop_cache_trim(c);
    }
    *sheet = &r->sheet;
    return 0;
}

int sop_body_hold(struct sop_body *b, const struct sop_sheet **sheet, struct sop_err *err)
{
    for (;;) {
        int32_t held = atomic_load(&b->held);
        if (held < 0) {
            sched_yield(); /* an evictor is between two stores */
            continue;
        }
        if (atomic_compare_exchange_weak(&b->held, &held, held + 1)) {
            break;
        }
    }
    int rc = sop_body_sheet(b, sheet, err);
    if (rc != 0) {
        sop_body_release(b);
    }
    return rc;
}

void sop_body_release(struct sop_body *b)
{
    int32_t before = atomic_fetch_sub(&b->held, 1);
    SOP_ASSERT(before > 0);
}
