/* Bodies that are resident in part.
 *
 * A look-up in a sheet that is not in memory needs its front once and then, for each key, the
 * one piece of 4 KiB that the key's cell lies in (engine/btree/part.c). While the cache has
 * room for the sheet it is read as a whole; when it has not, a look-up costs one small read,
 * and what stays in the cache is what look-ups touch and not all that lies around it.
 *
 * Invariants:
 * 1. Fronts and chunks are immutable. Readers find them inside an epoch without a lock; they
 * are unlinked under the cache mutex only and freed by the epochs. So whoever holds the mutex
 *    (the clock) may look at what is linked without an epoch.
 * 2. A chunk in a slot begins with the piece of that slot. A longer one may take the place of a
 *    shorter one, never the other way round.
 * 3. What is linked is charged. A chunk that comes into parts that were unlinked meanwhile is
 *    charged until the parts are freed.
 * 4. A chunk is not hot when it comes: what is read once only is the first to go. */
#include "engine/btree/format.h"
#include "engine/cache/cache_int.h"
#include "engine/pack/format.h"

#define WHOLE_BYTES_MAX SOP_PACK_BLOCKS_BYTES /* smaller sheets are read as a whole */
#define WHOLE_ROOM      4 /* a whole sheet comes while this part of the budget stays free */
#define WHOLE_HOT       4 /* or when this part of its pieces is there and in use */

_Static_assert(SOP_SHEET_LEAD_BYTES == SOP_PACK_HEADER_BYTES &&
                   SOP_SHEET_PIECE_BYTES == SOP_BLOCK_BYTES,
               "a piece of a sheet is a block of the pack file");

struct chunk {
    struct sop_retired retired;
    _Atomic bool hot; /* used again since it came, or since the clock passed */
    uint32_t bytes;
    uint8_t data[];
};

struct sop_parts {
    struct sop_retired retired;
    struct sop_cache *cache;
    struct sop_front front;
    uint8_t *bytes; /* of the front; behind the slots, in the same block */
    uint32_t slots_count;
    _Atomic(struct chunk *) slots[]; /* by piece */
};

static uint64_t chunk_bytes(const struct chunk *chunk)
{
    return sizeof *chunk + chunk->bytes;
}

static uint64_t parts_bytes(const struct sop_parts *p)
{
    return sizeof *p + p->slots_count * sizeof p->slots[0] + p->front.bytes;
}

static void chunk_free(struct sop_retired *retired)
{
    sop_free(retired); /* it begins the chunk */
}

/* No reader has it any more. */
static void parts_free(struct sop_retired *retired)
{
    struct sop_parts *p = (struct sop_parts *)(void *)retired;
    for (uint32_t i = 0; i < p->slots_count; i++) {
        struct chunk *chunk = atomic_load(&p->slots[i]);
        if (chunk != NULL) {
            sop_cache_charge(p->cache, -(int64_t)chunk_bytes(chunk));
            sop_free(chunk);
        }
    }
    sop_free(p);
}

/* ---- for the clock --------------------------------------------------------------------------
 */

/* Puts another chunk, or none, into a slot. Cache mutex held. */
static void slot_set(struct sop_parts *p, uint32_t piece, struct chunk *fresh)
{
    struct chunk *old = atomic_exchange(&p->slots[piece], fresh);
    if (fresh != NULL) {
        sop_cache_charge(p->cache, (int64_t)chunk_bytes(fresh));
    }
    if (old != NULL) {
        sop_cache_charge(p->cache, -(int64_t)chunk_bytes(old));
        sop_epoch_retire(p->cache->epochs, &old->retired, chunk_free);
    }
}

bool sop_cache__parts_sweep(struct sop_body *b)
{
    struct sop_parts *p = atomic_load(&b->parts);
    bool left = false;
    for (uint32_t i = 0; p != NULL && i < p->slots_count; i++) {
        struct chunk *chunk = atomic_load_explicit(&p->slots[i], memory_order_acquire);
        if (chunk == NULL) {
            continue;
        }
        if (atomic_exchange(&chunk->hot, false)) {
            left = true;
        } else {
            slot_set(p, i, NULL);
            atomic_fetch_add_explicit(&p->cache->evictions, 1, memory_order_relaxed);
        }
    }
    return left;
}

bool sop_cache__parts_drop(struct sop_body *b)
{
    struct sop_parts *p = atomic_exchange(&b->parts, NULL);
    if (p == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < p->slots_count; i++) {
        slot_set(p, i, NULL);
    }
    sop_cache_charge(p->cache, -(int64_t)parts_bytes(p));
    sop_epoch_retire(p->cache->epochs, &p->retired, parts_free);
    return true;
}

void sop_cache__parts_free(struct sop_body *b)
{
    struct sop_parts *p = atomic_load(&b->parts);
    if (p != NULL) {
        sop_cache_charge(p->cache, -(int64_t)parts_bytes(p));
        parts_free(&p->retired);
    }
}

/* ---- reading --------------------------------------------------------------------------------
 */

static int wrap(const struct sop_body *b, uint32_t at, int rc, struct sop_err *err)
{
    return sop_err_wrap(err, rc, "pack file %" PRIx64 "/%u at %" PRIu64, b->place.member,
                        b->place.file, b->place.offset + SOP_PACK_HEADER_BYTES + at);
}

/* Bytes of a front whose first ones are in `first`. */
static int front_read(const struct sop_body *b, const struct sop_buf *first, uint8_t *to,
                      uint32_t bytes, struct sop_err *err)
{
    uint32_t have = bytes < first->len ? bytes : (uint32_t)first->len;
    memcpy(to, first->data, have);
    return have == bytes ? 0
                         : sop_packs_read_part(b->cache->packs, &b->place, have, to + have,
                                               bytes - have, err);
}

static int front_check(const struct sop_body *b, const struct sop_pack_owner *owner,
                       struct sop_parts *p, struct sop_err *err)
{
    int rc = sop_front_check(p->bytes, b->bytes, &p->front, err);
    const struct sop_sheet *s = &p->front.sheet;
    if (rc == 0 && (s->store != owner->store || s->page != owner->page)) {
        rc = SOP_ERR(err, DATA_LOSS,
                     "the sheet of page %" PRIu64 " is in a record of page %" PRIu64, s->page,
                     owner->page);
    }
    if (rc == 0 && s->compared) {
        rc = SOP_ERR(err, DATA_LOSS, "a sheet is in the order of another comparer");
    }
    return wrap(b, 0, rc, err);
}

static int parts_read(const struct sop_body *b, struct sop_parts **out, struct sop_err *err)
{
    struct sop_buf first = {0};
    struct sop_pack_owner owner;
    struct sop_parts *p = NULL;
    uint32_t bytes = 0;
    int rc = sop_packs_read_first(b->cache->packs, &b->place,
                                  SOP_BLOCK_BYTES - SOP_PACK_HEADER_BYTES, &first, &owner, err);
    if (rc == 0) {
        rc = wrap(b, 0, sop_front_bytes(first.data, b->bytes, &bytes, err), err);
    }
    if (rc != 0) {
        goto end;
    }
    size_t slots = sop_front_pieces(b->bytes);
    size_t head = sizeof *p + slots * sizeof p->slots[0];
    p = sop_malloc(head + bytes);
    if (p == NULL) {
        rc = SOP_ERR(err, NOMEM, "keep the front of a sheet, %" PRIu32 " bytes", bytes);
        goto end;
    }
    memset(p, 0, head);
    p->cache = b->cache;
    p->slots_count = (uint32_t)slots;
    p->bytes = (uint8_t *)p + head;
    rc = front_read(b, &first, p->bytes, bytes, err);
    if (rc == 0) {
        rc = front_check(b, &owner, p, err);
    }
    if (rc == 0) {
        *out = p;
        p = NULL;
    }
end:
    sop_free(p);
    sop_buf_fini(&first);
    return rc;
}

/* The parts of a body, with its front. */
static int parts_get(struct sop_body *b, struct sop_parts **out, struct sop_err *err)
{
    struct sop_cache *c = b->cache;
    struct sop_parts *fresh = NULL;
    *out = atomic_load_explicit(&b->parts, memory_order_acquire);
    if (*out != NULL) {
        return 0;
    }
    SOP_ASSERT(atomic_load(&b->placed));
    atomic_fetch_add_explicit(&c->misses, 1, memory_order_relaxed);
    int rc = parts_read(b, &fresh, err);
    if (rc != 0) {
        return rc;
    }
    sop_mutex_lock(&c->mutex);
    *out = atomic_load(&b->parts);
    if (*out == NULL) {
        sop_cache_charge(c, (int64_t)parts_bytes(fresh));
        atomic_store_explicit(&b->parts, fresh, memory_order_release);
        atomic_store(&b->hot, true);
        sop_cache__ring_add(c, b);
        *out = fresh;
        fresh = NULL;
    }
    sop_mutex_unlock(&c->mutex);
    sop_free(fresh); /* another reader was faster */
    sop_cache_trim(c);
    return 0;
}

/* One piece, or (`old` is the piece) all that its last cell needs. */
static int chunk_read(const struct sop_body *b, const struct sop_parts *p, uint32_t piece,
                      const struct chunk *old, struct chunk **out, struct sop_err *err)
{
    uint32_t from;
    uint32_t until;
    sop_front_span(&p->front, piece, old != NULL, &from, &until);
    struct chunk *chunk = sop_malloc(sizeof *chunk + (until - from));
    if (chunk == NULL) {
        return SOP_ERR(err, NOMEM, "keep %" PRIu32 " bytes of a sheet", until - from);
    }
    uint32_t have = 0;
    uint32_t bad = 0;
    memset(chunk, 0, sizeof *chunk);
    chunk->bytes = until - from;
    if (old != NULL) {
        SOP_ASSERT(old->bytes < chunk->bytes);
        have = old->bytes;
        memcpy(chunk->data, old->data, have);
    }
    struct sop_slice read = sop_slice(chunk->data + have, chunk->bytes - have);
    int rc = sop_packs_read_part(b->cache->packs, &b->place, from + have, chunk->data + have,
                                 read.len, err);
    if (rc == 0) {
        rc = sop_front_verify(&p->front, from + have, read, &bad, err);
        rc = wrap(b, bad, rc, err);
    }
    if (rc != 0) {
        sop_free(chunk);
        return rc;
    }
    *out = chunk;
    return 0;
}

/* The chunk of a piece: what is there; or (`old` is too short) a longer one. */
static int chunk_get(const struct sop_body *b, struct sop_parts *p, uint32_t piece,
                     const struct chunk *old, struct chunk **out, struct sop_err *err)
{
    struct sop_cache *c = b->cache;
    struct chunk *fresh = NULL;
    *out = atomic_load_explicit(&p->slots[piece], memory_order_acquire);
    if (*out != NULL && (old == NULL || (*out)->bytes > old->bytes)) {
        return 0;
    }
    atomic_fetch_add_explicit(&c->misses, 1, memory_order_relaxed);
    int rc = chunk_read(b, p, piece, old, &fresh, err);
    if (rc != 0) {
        return rc;
    }
    sop_mutex_lock(&c->mutex);
    struct chunk *there = atomic_load(&p->slots[piece]);
    if (there == NULL || there->bytes < fresh->bytes) {
        slot_set(p, piece, fresh);
        there = fresh;
        fresh = NULL;
    }
    sop_mutex_unlock(&c->mutex);
    sop_free(fresh); /* another reader was faster */
    *out = there;
    sop_cache_trim(c);
    return 0;
}

/* ---- look-ups -------------------------------------------------------------------------------
 */

static bool wants_whole(const struct sop_body *b)
{
    const struct sop_cache *c = b->cache;
    uint64_t used = atomic_load_explicit(&c->used_bytes, memory_order_relaxed);
    return b->bytes < WHOLE_BYTES_MAX || b->order->compare != NULL ||
           used + b->bytes <= c->budget_bytes - c->budget_bytes / WHOLE_ROOM;
}

/* A chunk was used once more. If so many are in use by now that the whole sheet would serve
 * better, it is read; a failure shows when it is needed. */
static void chunk_warm(struct sop_body *b, struct sop_parts *p, struct chunk *chunk)
{
    if (atomic_load_explicit(&chunk->hot, memory_order_relaxed)) {
        return;
    }
    atomic_store_explicit(&chunk->hot, true, memory_order_relaxed);
    uint32_t hot = 0;
    for (uint32_t i = 0; i < p->slots_count; i++) {
        struct chunk *other = atomic_load_explicit(&p->slots[i], memory_order_acquire);
        hot += other != NULL && atomic_load_explicit(&other->hot, memory_order_relaxed);
    }
    const struct sop_sheet *sheet = NULL;
    int rc = hot * WHOLE_HOT >= p->slots_count ? sop_body_load(b, &sheet, NULL) : 0;
    (void)rc;
}

/* The answer of the chunk of a piece, read as far as it takes. */
static int ask_piece(struct sop_body *b, struct sop_parts *p, uint32_t piece,
                     struct sop_slice key, enum sop_chunk_answer *answer, struct sop_item *item,
                     struct sop_err *err)
{
    struct chunk *chunk = atomic_load_explicit(&p->slots[piece], memory_order_acquire);
    bool warm = chunk != NULL;
    int rc = warm ? 0 : chunk_get(b, p, piece, NULL, &chunk, err);
    *answer = SOP_CHUNK_BAD;
    if (rc == 0) {
        struct sop_slice bytes = sop_slice(chunk->data, chunk->bytes);
        *answer = sop_chunk_find(&p->front, piece, bytes, key, item);
    }
    if (rc == 0 && *answer == SOP_CHUNK_SHORT) {
        rc = chunk_get(b, p, piece, chunk, &chunk, err);
        if (rc == 0) {
            struct sop_slice bytes = sop_slice(chunk->data, chunk->bytes);
            *answer = sop_chunk_find(&p->front, piece, bytes, key, item);
        }
    }
    if (rc == 0 && *answer == SOP_CHUNK_BAD) {
        uint32_t from;
        uint32_t until;
        sop_front_span(&p->front, piece, false, &from, &until);
        rc = SOP_ERR(err, DATA_LOSS, "malformed cell in piece %" PRIu32 " of a sheet", piece);
        rc = wrap(b, from, rc, err);
    }
    if (rc == 0 && warm) {
        chunk_warm(b, p, chunk);
    }
    return rc;
}

static int parts_find(struct sop_body *b, struct sop_parts *p, struct sop_slice key,
                      bool *exact, struct sop_item *item, struct sop_err *err)
{
    struct sop_probe probe;
    int rc = 0;
    bool ask = sop_probe_first(&probe, &p->front, key);
    while (ask && rc == 0) {
        enum sop_chunk_answer answer;
        rc = ask_piece(b, p, probe.piece, key, &answer, item, err);
        *exact = rc == 0 && answer == SOP_CHUNK_FOUND;
        ask = !*exact && sop_probe_next(&probe, &p->front, answer);
    }
    return rc;
}

int sop_body_front(struct sop_body *b, const struct sop_sheet **front, struct sop_err *err)
{
    struct sop_parts *p = NULL;
    if (atomic_load_explicit(&b->resident, memory_order_acquire) != NULL || wants_whole(b)) {
        return sop_body_sheet(b, front, err);
    }
    int rc = parts_get(b, &p, err);
    *front = rc == 0 ? &p->front.sheet : NULL;
    return rc;
}

int sop_body_find(struct sop_body *b, struct sop_slice key, bool *exact, struct sop_item *item,
                  struct sop_err *err)
{
    *exact = false;
    if (wants_whole(b)) {
        const struct sop_sheet *sheet = NULL;
        int rc = sop_body_sheet(b, &sheet, err);
        uint32_t at = rc == 0 ? sop_sheet_seek(sheet, b->order, key, exact) : 0;
        if (*exact) {
            *item = sop_sheet_item(sheet, at);
        }
        return rc;
    }
    struct sop_parts *p = NULL;
    int rc = parts_get(b, &p, err);
    if (rc != 0) {
        return rc;
    }
    if (!atomic_load_explicit(&b->hot, memory_order_relaxed)) {
        atomic_store_explicit(&b->hot, true, memory_order_relaxed);
    }
    return parts_find(b, p, key, exact, item, err);
}
