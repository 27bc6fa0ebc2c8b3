/* Assertions, checked casts, heap and growing buffers. */
#include "engine/base/base.h"

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

void *sop_malloc(size_t bytes)
{
    return alloc_fails() ? NULL : malloc(at_least_one(bytes));
}

void *sop_calloc(size_t count, size_t bytes)
{
    return alloc_fails() ? NULL : calloc(at_least_one(count), at_least_one(bytes));
}

void *sop_realloc(void *old, size_t bytes)
{
    return alloc_fails() ? NULL : realloc(old, at_least_one(bytes));
}

void *sop_malloc_aligned(size_t align, size_t bytes)
{
    SOP_ASSERT(align != 0 && (align & (align - 1)) == 0);
    if (align <= _Alignof(max_align_t)) {
        return sop_malloc(bytes); /* aligned so anyway, and at a third of the price */
    }
    void *block = NULL;
    if (alloc_fails() || posix_memalign(&block, align, at_least_one(bytes)) != 0) {
        return NULL;
    }
    return block;
}

void sop_free(void *block)
{
    free(block);
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
