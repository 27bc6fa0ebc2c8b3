/* Arena: a list of heap blocks; only the newest (the head) is carved from. Blocks of the
 * largest size go through the pool, if there is one.
 *
 * Invariants:
 * 1. `at` and `end` lie in the head block, or both are NULL.
 * 2. `used` is the sum of `bytes` over the list, and at most `budget` if that is not 0.
 * A block that serves one large request goes behind the head, which stays in use. */
#include "engine/base/arena.h"

#define BLOCK_BYTES_MIN ((size_t)4096)
#define BLOCK_BYTES_MAX ((size_t)1 << 20)

struct sop_arena_block {
    struct sop_arena_block *next;
    size_t bytes; /* of the heap block, this header included */
};
_Static_assert(sizeof(struct sop_arena_block) % 8 == 0, "what follows the header is aligned");

void sop_arena_init(struct sop_arena *arena, size_t budget)
{
    *arena = (struct sop_arena){.budget = budget};
}

/* ---- pool ----------------------------------------------------------------------------------
 */

void sop_arena_pool_init(struct sop_arena_pool *pool, size_t most)
{
    *pool = (struct sop_arena_pool){.most = most};
    sop_mutex_init(&pool->mutex, SOP_RANK_LEAF);
}

void sop_arena_pool_fini(struct sop_arena_pool *pool)
{
    while (pool->blocks != NULL) {
        struct sop_arena_block *next = pool->blocks->next;
        sop_free(pool->blocks);
        pool->blocks = next;
    }
    sop_mutex_fini(&pool->mutex);
}

static struct sop_arena_block *pool_take(struct sop_arena_pool *pool)
{
    sop_mutex_lock(&pool->mutex);
    struct sop_arena_block *block = pool->blocks;
    if (block != NULL) {
        pool->blocks = block->next;
        pool->bytes -= block->bytes;
    }
    sop_mutex_unlock(&pool->mutex);
    return block;
}

/* false: the pool has enough. */
static bool pool_give(struct sop_arena_pool *pool, struct sop_arena_block *block)
{
    sop_mutex_lock(&pool->mutex);
    bool taken = SOP_RECYCLES && block->bytes <= pool->most - pool->bytes;
    if (taken) {
        block->next = pool->blocks;
        pool->blocks = block;
        pool->bytes += block->bytes;
    }
    sop_mutex_unlock(&pool->mutex);
    return taken;
}

/* ---- arenas --------------------------------------------------------------------------------
 */

/* Gives back the blocks of a list but for `keep`, which may be NULL. */
static void give_back(struct sop_arena_pool *pool, struct sop_arena_block *block,
                      const struct sop_arena_block *keep)
{
    while (block != NULL) {
        struct sop_arena_block *next = block->next;
        bool pooled = block->bytes == BLOCK_BYTES_MAX && pool != NULL;
        if (block != keep && (!pooled || !pool_give(pool, block))) {
            sop_free(block);
        }
        block = next;
    }
}

void sop_arena_reset(struct sop_arena *arena)
{
    struct sop_arena_pool *pool = arena->pool;
    give_back(pool, arena->blocks, NULL);
    sop_arena_init(arena, arena->budget);
    arena->pool = pool;
}

void sop_arena_rewind(struct sop_arena *arena, size_t budget)
{
    struct sop_arena_pool *pool = arena->pool;
    struct sop_arena_block *keep = arena->blocks;
    while (keep != NULL && keep->next != NULL) {
        keep = keep->next;
    }
    if (!SOP_RECYCLES || keep == NULL || keep->bytes != BLOCK_BYTES_MIN ||
        (budget != 0 && budget < BLOCK_BYTES_MIN)) {
        keep = NULL;
    }
    give_back(pool, arena->blocks, keep);
    sop_arena_init(arena, budget);
    arena->pool = pool;
    if (keep != NULL) {
        keep->next = NULL;
        arena->blocks = keep;
        arena->at = (uint8_t *)(keep + 1);
        arena->end = (uint8_t *)keep + keep->bytes;
        arena->used = keep->bytes;
    }
}

/* A heap block within the budget, counted but not yet in the list; NULL if there is none. */
static struct sop_arena_block *block_new(struct sop_arena *arena, size_t bytes)
{
    arena->refused = arena->budget != 0 && bytes > arena->budget - arena->used;
    if (arena->refused) {
        return NULL;
    }
    struct sop_arena_block *block = NULL;
    if (bytes == BLOCK_BYTES_MAX && arena->pool != NULL) {
        block = pool_take(arena->pool);
    }
    if (block == NULL) {
        block = sop_malloc(bytes);
    }
    if (block != NULL) {
        block->next = NULL;
        block->bytes = bytes;
        arena->used += bytes;
    }
    return block;
}

/* Total size doubles with each block, up to the largest block. */
static size_t next_block_bytes(const struct sop_arena *arena)
{
    size_t bytes = BLOCK_BYTES_MIN;
    while (bytes < arena->used && bytes < BLOCK_BYTES_MAX) {
        bytes *= 2;
    }
    return bytes;
}

/* A block for this request alone. */
static void *alloc_alone(struct sop_arena *arena, size_t bytes)
{
    struct sop_arena_block *block = block_new(arena, sizeof *block + bytes);
    if (block == NULL) {
        return NULL;
    }
    if (arena->blocks != NULL) {
        block->next = arena->blocks->next;
        arena->blocks->next = block;
    } else {
        arena->blocks = block;
    }
    return block + 1;
}

static void *alloc_from_new_block(struct sop_arena *arena, size_t bytes)
{
    size_t block_bytes = next_block_bytes(arena);
    if (bytes > block_bytes - sizeof(struct sop_arena_block)) {
        return alloc_alone(arena, bytes);
    }
    struct sop_arena_block *block = block_new(arena, block_bytes);
    if (block == NULL) {
        return alloc_alone(arena, bytes); /* the end of the budget is used to the byte */
    }
    block->next = arena->blocks;
    arena->blocks = block;
    arena->at = (uint8_t *)(block + 1);
    arena->end = (uint8_t *)block + block_bytes;
    void *place = arena->at;
    arena->at += bytes;
    return place;
}

void *sop_arena__more(struct sop_arena *arena, size_t bytes)
{
    SOP_ASSERT(arena->at <= arena->end);
    if (bytes > SIZE_MAX / 2) {
        return NULL;
    }
    bytes = bytes == 0 ? 8 : (bytes + 7) & ~(size_t)7;
    if (bytes > (size_t)(arena->end - arena->at)) {
        return alloc_from_new_block(arena, bytes);
    }
    void *place = arena->at;
    arena->at += bytes;
    return place;
}

int sop_arena_copy(struct sop_arena *arena, struct sop_slice from, struct sop_slice *to,
                   struct sop_err *err)
{
    if (from.len == 0) {
        *to = sop_slice("", 0);
        return 0;
    }
    uint8_t *copy = sop_arena_alloc(arena, from.len);
    if (copy == NULL) {
        return SOP_ERR(err, NOMEM, "copy %zu bytes: %zu of a budget of %zu bytes are held",
                       from.len, arena->used, arena->budget);
    }
    if (from.len != 0) {
        memcpy(copy, from.data, from.len);
    }
    *to = sop_slice(copy, from.len);
    return 0;
}
