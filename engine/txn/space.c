/* Room on the volume: how much a checkpoint would need, and when it must be written because the
 * room for it is going.
 *
 * A checkpoint gives space back, but needs some first. So upkeep looks at the room (one call a
 * round, and again once the files have grown by a part of what is left) and has one written
 * while it fits comfortably; where the room is shorter than that, commits look themselves, and
 * are refused if with them the next checkpoint might not fit, unless they only remove. The
 * ballast is what is left if others were faster. Where something
 * met a full volume already (`space_short`), a checkpoint is followed by a second one, which
 * frees what the older of the kept ones held; see checkpoints() in checkpoint.c.
 *
 * Without a change of history a second attempt would free no more than the first: there is none
 * before something was committed (`space_moment`) or others have made room (`space_room`). */
#include "engine/base/limits.h"
#include "engine/registry/registry.h"
#include "engine/txn/ballast.h"
#include "engine/txn/engine.h"

#define ROOM_PART       2          /* of the room, which a checkpoint may take in comfort */
#define LOOK_PART       4          /* of the room left beyond that, after which to look again */
#define LOOK_BYTES_MIN  (1u << 20) /* it is no use to look more often */
#define WORTH_BYTES     (128u << 10) /* less is no reason to write a checkpoint */
#define GAINED_BYTES    (256u << 10) /* so much more room is a reason to try again */
#define KEPT_BYTES_MAX  (4ull << 20) /* what compaction needs beside a checkpoint, at most */
#define RECORD_BYTES    256u         /* header of a sheet's record in a pack, and padding */
#define REGISTRY_BYTES  (64u << 10)  /* manifest, and what file systems add */
#define PAGES_PER_EPOCH 256

void sop_engine_short_of_space(struct sop_engine *e)
{
    atomic_store(&e->space_short, true);
    if (atomic_load(&e->pages.moment) != atomic_load(&e->space_moment)) {
        atomic_store(&e->checkpoint_wanted, true);
    }
}

void sop_engine__space_noted(struct sop_engine *e)
{
    uint64_t room = 0;
    atomic_store(&e->space_moment, atomic_load(&e->pages.moment));
    e->space_room = sop_volume_space(e->volume, &room, NULL) == 0 ? room : UINT64_MAX;
}

/* ---- what a checkpoint would write ---------------------------------------------------------
 */

/* What folding this version writes, or a little more: sheets that are placed already, dead
 * items and what is written as it is are counted too. */
static uint64_t fold_bytes(const struct sop_version *v)
{
    uint64_t bytes = 0;
    if (v == NULL || v->free) {
        return 0;
    }
    bool run = sop_engine__folds_to_run(v);
    for (uint32_t i = 0; i < v->layers_count; i++) {
        bool base = i + 1 == v->layers_count;
        bytes += base && run ? 0 : v->layers[i].body->bytes;
    }
    return bytes + RECORD_BYTES;
}

/* The extents of so many changed pages are written whole. */
static uint64_t extents_bytes(const struct sop_engine *e, size_t pages)
{
    uint64_t all = atomic_load(&e->next_page);
    uint64_t extents = all / SOP_EXTENT_HANDLES + 1;
    uint64_t each = all < SOP_EXTENT_HANDLES ? all : SOP_EXTENT_HANDLES;
    each = (each / SOP_SECTOR_HANDLES + 2) * SOP_BLOCK_BYTES;
    return (pages < extents ? pages : extents) * each;
}

/* Sums up the pages, which the caller has as a copy of the dirty list. */
static uint64_t sum(struct sop_engine *e, const uint64_t *pages, size_t count)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i += PAGES_PER_EPOCH) {
        sop_epoch_enter(&e->epochs, e->maintain_slot);
        for (size_t k = i; k < count && k < i + PAGES_PER_EPOCH; k++) {
            struct sop_frame *frame = NULL;
            if (sop_pages_frame(&e->pages, pages[k], &frame, NULL) == 0) {
                bytes += fold_bytes(atomic_load(&frame->newest));
            }
        }
        sop_epoch_leave(e->maintain_slot);
    }
    return bytes;
}

uint64_t sop_engine__checkpoint_bytes(struct sop_engine *e, uint64_t enough)
{
    sop_mutex_lock(&e->commit);
    size_t count = e->dirty_count;
    uint64_t rest = REGISTRY_BYTES + extents_bytes(e, count);
    uint64_t crude = atomic_load(&e->cache.dirty_bytes) +
                     count * (uint64_t)(SOP_PAGE_BYTES_SOFT + RECORD_BYTES) + rest;
    uint64_t *pages = NULL;
    if (count > 0 && crude > enough) {
        pages = sop_malloc(count * sizeof *pages);
    }
    if (pages != NULL) {
        memcpy(pages, e->dirty, count * sizeof *pages);
    }
    sop_mutex_unlock(&e->commit);
    if (pages == NULL) {
        return count > 0 ? crude : 0;
    }
    uint64_t bytes = sum(e, pages, count) + rest;
    sop_free(pages);
    return bytes;
}

/* ---- when ----------------------------------------------------------------------------------
 */

struct look {
    uint64_t room;  /* free bytes, the ballast not counted; UINT64_MAX: nobody knows */
    uint64_t fits;  /* of them, what a checkpoint may take in comfort */
    uint64_t bytes; /* what a checkpoint now would take */
};

/* Commits count what they add to the volume: beyond one figure upkeep looks again, beyond the
 * other they do so themselves. */
static struct look look(struct sop_engine *e)
{
    struct look l = {.room = UINT64_MAX};
    if (sop_volume_space(e->volume, &l.room, NULL) != 0 || l.room == UINT64_MAX) {
        atomic_store(&e->space_look_at, UINT64_MAX);
        atomic_store(&e->space_hold_at, UINT64_MAX);
        return (struct look){.room = UINT64_MAX};
    }
    l.fits = l.room / ROOM_PART;
    l.bytes = sop_engine__checkpoint_bytes(e, l.fits);
    uint64_t now = atomic_load(&e->volume_bytes);
    uint64_t left = l.bytes < l.fits ? l.fits - l.bytes : 0;
    uint64_t some = left / LOOK_PART > LOOK_BYTES_MIN ? left / LOOK_PART : LOOK_BYTES_MIN;
    atomic_store(&e->space_look_at, now + some);
    atomic_store(&e->space_hold_at, now + left);
    return l;
}

void sop_engine__space_look(struct sop_engine *e)
{
    sop_mutex_lock(&e->maintain);
    (void)look(e);
    sop_mutex_unlock(&e->maintain);
}

bool sop_engine__space_due(struct sop_engine *e)
{
    struct look l = look(e);
    if (l.room == UINT64_MAX) {
        return false;
    }
    bool changed = atomic_load(&e->pages.moment) != atomic_load(&e->space_moment);
    if (atomic_load(&e->space_short)) {
        uint64_t gained = l.room / 2 > e->space_room ? l.room / 2 - e->space_room : 0;
        return changed || gained > GAINED_BYTES;
    }
    if (!changed || l.bytes < WORTH_BYTES || l.bytes <= l.fits) {
        return false;
    }
    atomic_store(&e->space_short, true); /* what it replaces has to go at once */
    return true;
}

/* What is set aside for the checkpoint after a commit: the ballast, and of the one for openings
 * what an opening leaves. */
static uint64_t reserve(struct sop_engine *e)
{
    uint64_t open = sop_ballast_bytes(e->volume, SOP_BALLAST_OPEN);
    open = open > SOP_BALLAST_OPEN_BYTES_MIN ? open - SOP_BALLAST_OPEN_BYTES_MIN : 0;
    return open + sop_ballast_bytes(e->volume, SOP_BALLAST_CHECKPOINT);
}

/* The journal takes `more`, and folding it takes as much again. A part of what is set aside
 * stays for whoever deletes and compacts then: compaction writes what it moves before it frees.
 */
static bool fits_after(struct sop_engine *e, const struct look *l, uint64_t more)
{
    uint64_t kept = sop_ballast_wanted(e) / 2;
    kept = kept < KEPT_BYTES_MAX ? kept : KEPT_BYTES_MAX;
    return l->room == UINT64_MAX ||
           (more < UINT64_MAX / 4 && l->bytes + 2 * more + kept <= l->room + reserve(e));
}

int sop_engine__make_space(struct sop_engine *e, uint64_t more, struct sop_err *err)
{
    sop_mutex_lock(&e->maintain);
    struct look l = look(e);
    if (l.room != UINT64_MAX && (e->ballast_missing || l.bytes + more > l.fits)) {
        if (l.bytes >= WORTH_BYTES || !fits_after(e, &l, more)) {
            bool changed = atomic_load(&e->pages.moment) != atomic_load(&e->space_moment);
            atomic_store(&e->space_short, true);
            int ignored = changed ? sop_engine__checkpoint(e, NULL) : 0;
            (void)ignored; /* whether it helped, the next look tells */
            if (e->ballast_missing) {
                sop_ballast_make(e, true);
            }
            l = look(e);
        }
    }
    bool fits = fits_after(e, &l, more);
    sop_mutex_unlock(&e->maintain);
    return fits ? 0
                : SOP_ERR(err, NOSPACE,
                          "%" PRIu64 " bytes more would take the room that checkpoints need; "
                          "free space there, or delete and compact",
                          more);
}

int sop_engine_room_for_value(struct sop_engine *e, uint64_t bytes, struct sop_err *err)
{
    uint64_t all = atomic_load_explicit(&e->volume_bytes, memory_order_relaxed);
    uint64_t hold_at = atomic_load_explicit(&e->space_hold_at, memory_order_relaxed);
    return all + bytes <= hold_at ? 0 : sop_engine__make_space(e, bytes, err);
}
