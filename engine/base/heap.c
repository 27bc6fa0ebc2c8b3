/* Large blocks in huge pages; see heap.h.
 *
 * Address space for all chunks is reserved once, so that one comparison tells whose a block is.
 * A chunk is divided into units of 4 KiB; a bit says whether a unit is in use. Chunks are
 * listed by the length of their longest free run, as in "two-level segregated fit" (Masmano and
 * others, 2004) with its first level alone: a chunk that has room is found without a search.
 *
 * Blocks do not all begin at the start of a unit: their first lines would all fall into the
 * same few sets of the processor's cache.
 *
 * Invariants, under the mutex: 1. `units[i]` is the length of the block that begins in unit i,
 * 0 if none does. 2. `longest` is the longest free run; a chunk is in bins[log2(longest)], if
 * it has any room and is not cold. 3. A cold chunk has no block, and no memory. */
#include "engine/base/heap.h"

#include "engine/base/thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CHUNK_BYTES ((size_t)2 << 20)
#define UNIT_BYTES  ((size_t)4096)
#define UNITS       512u /* of a chunk */
#define WORDS       (UNITS / 64u)
#define BINS        10u
#define CHUNKS_MAX  (1u << 18)
#define LINE_BYTES  ((size_t)64)
#define TRIES       8u /* chunks looked at in the bin where some are too small */
#define WARM_MAX    4u /* chunks without a block that keep their memory */

_Static_assert(sizeof(size_t) >= 8, "the reserved addresses need 64 bits");

struct chunk {
    struct chunk *next, **link; /* in its list */
    uint64_t used[WORDS];
    uint16_t units[UNITS];
    uint16_t longest;
    uint16_t blocks;
    uint32_t number;
};

static struct {
    pthread_once_t once;
    struct sop_mutex mutex;  /* a leaf: nothing is called under it but the system */
    _Atomic(uint8_t *) base; /* NULL: no address space, and no heap */
    struct chunk *bins[BINS];
    struct chunk *cold;
    uint32_t count; /* chunks */
    uint32_t cold_count, warm_count;
    uint32_t turn;
    size_t block_units;
    struct chunk *chunks[CHUNKS_MAX];
} heap = {.once = PTHREAD_ONCE_INIT};

/* ---- beginning -----------------------------------------------------------------------------
 */

static void lock(void)
{
    sop_mutex_lock(&heap.mutex);
}

static void unlock(void)
{
    sop_mutex_unlock(&heap.mutex);
}

/* Written once, before the first block. */
static uint8_t *base(void)
{
    return atomic_load_explicit(&heap.base, memory_order_relaxed);
}

static void reserve(void);

/* Another thread may have made the mutex a moment ago. */
static void before_fork(void)
{
    (void)pthread_once(&heap.once, reserve);
    lock();
}

static void reserve(void)
{
    sop_mutex_init(&heap.mutex, SOP_RANK_HEAP);
    size_t bytes = CHUNK_BYTES * (CHUNKS_MAX + 1);
    void *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) {
        return; /* a limit on address space, perhaps */
    }
    if (pthread_atfork(before_fork, unlock, unlock) != 0) {
        (void)munmap(at, bytes);
        return;
    }
    atomic_store(&heap.base,
                 (uint8_t *)at + (CHUNK_BYTES - (uintptr_t)at % CHUNK_BYTES) % CHUNK_BYTES);
}

/* ---- units of a chunk ----------------------------------------------------------------------
 */

/* The first unit from `at` on that is in use (free: that is not), or UNITS. */
static unsigned next_unit(const struct chunk *c, unsigned at, bool in_use)
{
    for (unsigned w = at / 64; w < WORDS; w++) {
        uint64_t bits = in_use ? c->used[w] : ~c->used[w];
        if (w == at / 64) {
            bits &= ~UINT64_C(0) << (at % 64);
        }
        if (bits != 0) {
            return w * 64 + (unsigned)__builtin_ctzll(bits);
        }
    }
    return UNITS;
}

static void mark(struct chunk *c, unsigned from, unsigned count, bool in_use)
{
    for (unsigned i = from; i < from + count; i++) {
        uint64_t bit = UINT64_C(1) << (i % 64);
        SOP_ASSERT(((c->used[i / 64] & bit) != 0) != in_use);
        c->used[i / 64] ^= bit;
    }
}

/* Where the first run of `count` free units begins; UNITS if there is none. *longest: of all
 * runs that were looked at. */
static unsigned find_run(const struct chunk *c, unsigned count, unsigned *longest)
{
    *longest = 0;
    for (unsigned at = next_unit(c, 0, false); at < UNITS;) {
        unsigned end = next_unit(c, at, true);
        if (end - at >= count) {
            return at;
        }
        *longest = end - at > *longest ? end - at : *longest;
        at = next_unit(c, end, false);
    }
    return UNITS;
}

/* ---- lists ---------------------------------------------------------------------------------
 */

static unsigned bin_of(unsigned units)
{
    return 31u - (unsigned)__builtin_clz(units);
}

static void list_add(struct chunk **list, struct chunk *c)
{
    c->next = *list;
    c->link = list;
    if (c->next != NULL) {
        c->next->link = &c->next;
    }
    *list = c;
}

static void list_take(struct chunk *c)
{
    if (c->link != NULL) {
        *c->link = c->next;
        if (c->next != NULL) {
            c->next->link = c->link;
        }
        c->link = NULL;
    }
}

/* Puts a chunk whose units have changed where it belongs. */
static void list_again(struct chunk *c)
{
    unsigned longest;
    (void)find_run(c, UNITS + 1, &longest);
    list_take(c);
    c->longest = (uint16_t)longest;
    if (longest > 0) {
        list_add(&heap.bins[bin_of(longest)], c);
    }
}

/* ---- chunks --------------------------------------------------------------------------------
 */

static uint8_t *chunk_at(const struct chunk *c)
{
    return base() + c->number * CHUNK_BYTES;
}

static struct chunk *chunk_new(void)
{
    struct chunk *c = heap.count < CHUNKS_MAX ? calloc(1, sizeof *c) : NULL;
    if (c == NULL) {
        return NULL;
    }
    c->number = heap.count;
    if (mprotect(chunk_at(c), CHUNK_BYTES, PROT_READ | PROT_WRITE) != 0) {
        free(c);
        return NULL;
    }
    if (c->number > 0) { /* whoever needs little shall not take a huge page for it */
        (void)madvise(chunk_at(c), CHUNK_BYTES, MADV_HUGEPAGE);
    }
    heap.chunks[heap.count++] = c;
    heap.warm_count++;
    list_again(c);
    return c;
}

/* A chunk with a free run of `units`. */
static struct chunk *chunk_with(unsigned units)
{
    unsigned bin = bin_of(units);
    unsigned tries = TRIES;
    for (struct chunk *c = heap.bins[bin]; c != NULL && tries > 0; c = c->next, tries--) {
        if (c->longest >= units) {
            return c;
        }
    }
    while (++bin < BINS) {
        if (heap.bins[bin] != NULL) {
            return heap.bins[bin];
        }
    }
    struct chunk *c = heap.cold;
    if (c == NULL) {
        return chunk_new();
    }
    heap.cold_count--;
    heap.warm_count++;
    list_again(c);
    return c;
}

/* A chunk has lost its last block. */
static void retire(struct chunk *c)
{
    heap.warm_count++;
    if (heap.warm_count > WARM_MAX && madvise(chunk_at(c), CHUNK_BYTES, MADV_DONTNEED) == 0) {
        list_take(c);
        list_add(&heap.cold, c);
        heap.warm_count--;
        heap.cold_count++;
    }
}

/* ---- blocks --------------------------------------------------------------------------------
 */

/* How far behind the start of its unit the next block begins; what it does not need lets it. */
static size_t offset_for(size_t spare, size_t align)
{
    size_t places = (spare < UNIT_BYTES ? spare : UNIT_BYTES - 1) / LINE_BYTES + 1;
    return align > LINE_BYTES ? 0 : (heap.turn++ * 7u) % places * LINE_BYTES;
}

void *sop_heap_take(size_t bytes, size_t align)
{
    if (bytes < SOP_HEAP_BYTES_MIN || bytes > SOP_HEAP_BYTES_MAX || align > UNIT_BYTES) {
        return NULL;
    }
    (void)pthread_once(&heap.once, reserve);
    if (base() == NULL) {
        return NULL;
    }
    unsigned units = (unsigned)((bytes + UNIT_BYTES - 1) / UNIT_BYTES);
    uint8_t *block = NULL;
    lock();
    struct chunk *c = chunk_with(units);
    if (c != NULL) {
        unsigned longest;
        unsigned at = find_run(c, units, &longest);
        SOP_ASSERT(at < UNITS);
        mark(c, at, units, true);
        c->units[at] = (uint16_t)units;
        heap.warm_count -= c->blocks++ == 0;
        heap.block_units += units;
        list_again(c);
        block = chunk_at(c) + at * UNIT_BYTES + offset_for(units * UNIT_BYTES - bytes, align);
    }
    unlock();
    return block;
}

bool sop_heap_has(const void *block)
{
    const uint8_t *first = base();
    return first != NULL && (uintptr_t)block - (uintptr_t)first < CHUNK_BYTES * CHUNKS_MAX;
}

static struct chunk *chunk_of(const void *block, unsigned *unit)
{
    size_t at = (size_t)((const uint8_t *)block - base());
    *unit = (unsigned)(at % CHUNK_BYTES / UNIT_BYTES);
    struct chunk *c = heap.chunks[at / CHUNK_BYTES];
    SOP_ASSERT(c != NULL && c->units[*unit] != 0); /* else it has ended before, or never was */
    return c;
}

size_t sop_heap_bytes(const void *block)
{
    unsigned unit;
    const struct chunk *c = chunk_of(block, &unit); /* nobody else changes what is ours */
    return c->units[unit] * UNIT_BYTES - (uintptr_t)block % UNIT_BYTES;
}

void sop_heap_give(void *block)
{
    unsigned unit;
    lock();
    struct chunk *c = chunk_of(block, &unit);
    mark(c, unit, c->units[unit], false);
    heap.block_units -= c->units[unit];
    c->units[unit] = 0;
    list_again(c);
    if (--c->blocks == 0) {
        retire(c);
    }
    unlock();
}

void sop_heap_stats(struct sop_heap_stats *stats)
{
    (void)pthread_once(&heap.once, reserve);
    lock();
    stats->chunk_bytes = (heap.count - heap.cold_count) * CHUNK_BYTES;
    stats->block_bytes = heap.block_units * UNIT_BYTES;
    unlock();
}
