/* Assertions, checked casts, heap and growing buffers. */
#include "engine/base/base.h"

#include "engine/base/heap.h"

#include <stdio.h>
#include <stdlib.h>

/* Defined only by test programs that inject allocation failures (tests/lib/oom.h); elsewhere
 * its address is NULL. A weak symbol, because a hook in a variable would be global state. */
bool sop_test_alloc_fails(void) __attribute__((weak, visibility("hidden")));

static inline bool alloc_fails(void)
{
    return sop_test_alloc_fails != NULL && sop_test_alloc_fails();
}

_Noreturn void sop_assert_fail(const char *fact, const char *file, int line)
{
    (void)fprintf(stderr, "sop: %s:%d: assertion failed: %s\n", file, line, fact);
    (void)fflush(stderr);
    abort();
}

void *sop_cast_check(void *object, uint32_t magic, const char *file, int line)
{
    uint32_t found = 0;
    if (object == NULL) {
        sop_assert_fail("cast of NULL", file, line);
    }
    memcpy(&found, object, sizeof found);
    if (found != magic) {
        sop_assert_fail("cast to another kind of object, or of a freed one", file, line);
    }
    return object;
}

/* NULL must mean exhaustion only, so an allocation of nothing takes one byte. */
static inline size_t at_least_one(size_t bytes)
{
    return bytes == 0 ? 1 : bytes;
}

/* A block from the heap of large ones, or from the C library. Sanitizers watch only the latter.
 */
static void *block_new(size_t bytes, size_t align)
{
    void *block = SOP_RECYCLES ? sop_heap_take(bytes, align) : NULL;
    if (block != NULL) {
        return block;
    }
    if (align <= _Alignof(max_align_t)) {
        return malloc(at_least_one(bytes)); /* aligned so anyway, and at a third of the price */
    }
    return posix_memalign(&block, align, at_least_one(bytes)) == 0 ? block : NULL;
}

void *sop_malloc(size_t bytes)
{
    return alloc_fails() ? NULL : block_new(bytes, _Alignof(max_align_t));
}

/* Large ones stay with the C library, whose fresh memory is zero and not touched yet. */
void *sop_calloc(size_t count, size_t bytes)
{
    return alloc_fails() ? NULL : calloc(at_least_one(count), at_least_one(bytes));
}

void *sop_realloc(void *old, size_t bytes)
{
    if (alloc_fails()) {
        return NULL;
    }
    if (old == NULL) {
        return block_new(bytes, _Alignof(max_align_t));
    }
    if (!sop_heap_has(old)) {
        return realloc(old, at_least_one(bytes));
    }
    size_t had = sop_heap_bytes(old);
    if (bytes <= had && bytes >= had / 2) {
        return old;
    }
    void *block = block_new(bytes, _Alignof(max_align_t));
    if (block != NULL) {
        memcpy(block, old, bytes < had ? bytes : had);
        sop_heap_give(old);
    }
    return block;
}

void *sop_malloc_aligned(size_t align, size_t bytes)
{
    SOP_ASSERT(align != 0 && (align & (align - 1)) == 0);
    return alloc_fails() ? NULL : block_new(bytes, align);
}

void sop_free(void *block)
{
    if (sop_heap_has(block)) {
        sop_heap_give(block);
    } else {
        free(block);
    }
}

void sop_buf_fini(struct sop_buf *buf)
{
    sop_free(buf->data);
    *buf = (struct sop_buf){0};
}

#define BUF_BYTES_MIN 64u

int sop_buf__grow(struct sop_buf *buf, size_t extra, struct sop_err *err)
{
    SOP_ASSERT(buf->len <= buf->cap);
    if (extra > SIZE_MAX / 2 - buf->len) {
        return SOP_ERR(err, NOMEM, "grow a buffer of %zu bytes by %zu", buf->len, extra);
    }
    size_t need = buf->len + extra;
    size_t cap = buf->cap < BUF_BYTES_MIN ? BUF_BYTES_MIN : buf->cap;
    while (cap < need) {
        cap *= 2;
    }
    uint8_t *data = sop_realloc(buf->data, cap);
    if (data == NULL) {
        return SOP_ERR(err, NOMEM, "grow a buffer to %zu bytes", cap);
    }
    buf->data = data;
    buf->cap = cap;
    return 0;
}
