/* Arena: memory that dies together (a transaction, a request, a batch), under a budget.
 * Blocks double from 4 KiB to 1 MiB; larger requests get a block of their own. One thread. */
#ifndef SOP_ARENA_H
#define SOP_ARENA_H

#include "engine/base/base.h"
#include "engine/base/thread.h"

struct sop_arena_block;

/* Blocks of the largest size that arenas gave back, for the next ones: fresh memory costs a
 * page fault every 4 KiB. Any thread. */
struct sop_arena_pool {
    struct sop_mutex mutex;
    struct sop_arena_block *blocks;
    size_t bytes;
    size_t most; /* bytes to keep */
};
void sop_arena_pool_init(struct sop_arena_pool *pool, size_t most);
/* Frees the blocks; arenas that use the pool must be empty. */
void sop_arena_pool_fini(struct sop_arena_pool *pool);

struct sop_arena {
    struct sop_arena_block *blocks; /* newest first */
    uint8_t *at;                    /* next free byte of the newest block */
    uint8_t *end;
    size_t used;                 /* bytes held from the heap, block headers included */
    size_t budget;               /* most bytes to hold; 0 = no limit */
    bool refused;                /* the newest failure was of the budget, not of the heap */
    struct sop_arena_pool *pool; /* borrowed, or NULL: set after init, before the first use */
};

/* Fills *arena; takes no memory yet. budget in bytes, 0 = none. */
void sop_arena_init(struct sop_arena *arena, size_t budget);
/* Frees everything; the arena is empty and usable again with the same budget. */
void sop_arena_reset(struct sop_arena *arena);
/* The same, with a new budget; the oldest block may stay, for the next who uses it. */
void sop_arena_rewind(struct sop_arena *arena, size_t budget);
static inline void sop_arena_fini(struct sop_arena *arena)
{
    sop_arena_reset(arena);
}
/* What sop_arena_alloc does when the newest block has no room. */
void *sop_arena__more(struct sop_arena *arena, size_t bytes) SOP_MUST_USE;
/* 8-byte aligned bytes that live until reset/fini; NULL when heap or budget is exhausted. */
SOP_MUST_USE static inline void *sop_arena_alloc(struct sop_arena *arena, size_t bytes)
{
    size_t left = (size_t)(arena->end - arena->at); /* a multiple of 8 */
    if (bytes - 1 >= left) {                        /* also of 0 bytes */
        return sop_arena__more(arena, bytes);
    }
    void *place = arena->at;
    arena->at += (bytes + 7) & ~(size_t)7;
    return place;
}
/* Copy of `from` in the arena. 0, or SOP_ERR_NOMEM (heap or budget). */
int sop_arena_copy(struct sop_arena *arena, struct sop_slice from, struct sop_slice *to,
                   struct sop_err *err) SOP_MUST_USE;

#endif
