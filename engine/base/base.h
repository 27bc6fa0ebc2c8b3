/* The smallest common ground of the engine: slices, buffers, allocation, assertions.
 *
 * A slice borrows and is never freed; a buf owns its bytes. */
#ifndef SOP_BASE_H
#define SOP_BASE_H

#include "sop/sop_err.h"
#include "sop/sop_types.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SOP_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Always compiled in; cheap, free of side effects; our own guarantees only. */
#define SOP_ASSERT(fact)                                                                       \
    (__builtin_expect(!!(fact), 1) ? (void)0 : sop_assert_fail(#fact, __FILE__, __LINE__))
#ifdef SOP_DEEP_CHECKS
#define SOP_DEEP_ASSERT(fact) SOP_ASSERT(fact)
#else
#define SOP_DEEP_ASSERT(fact) ((void)sizeof(!!(fact)))
#endif
#define SOP_UNREACHABLE(reason) sop_assert_fail("unreachable: " reason, __FILE__, __LINE__)
_Noreturn void sop_assert_fail(const char *fact, const char *file, int line);

/* Objects that travel as void* begin with `uint32_t magic`. */
#define SOP_CAST(type, magic_number, pointer)                                                  \
    ((struct type *)sop_cast_check((pointer), (magic_number), __FILE__, __LINE__))
void *sop_cast_check(void *object, uint32_t magic, const char *file, int line);

static inline struct sop_slice sop_slice(const void *data, size_t len)
{
    return (struct sop_slice){.data = (const uint8_t *)data, .len = len};
}
static inline struct sop_slice sop_slice_str(const char *text)
{
    return sop_slice(text, strlen(text));
}
/* memcmp order, a proper prefix first. <0, 0, >0. */
static inline int sop_slice_cmp(struct sop_slice a, struct sop_slice b)
{
    size_t least = a.len < b.len ? a.len : b.len;
    int order = least == 0 ? 0 : memcmp(a.data, b.data, least);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}
static inline bool sop_slice_eq(struct sop_slice a, struct sop_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* LSN order: (slot, record), lexicographic. */
static inline int sop_lsn_cmp(struct sop_lsn a, struct sop_lsn b)
{
    if (a.slot != b.slot) {
        return a.slot < b.slot ? -1 : 1;
    }
    return a.record < b.record ? -1 : a.record > b.record;
}

/* Heap. NULL on exhaustion; the caller reports SOP_ERR_NOMEM. sop_free(NULL) is fine.
 * sop_malloc_aligned: `align` a power of two; freed with sop_free. Any thread. */
void *sop_malloc(size_t bytes) SOP_MUST_USE;
void *sop_calloc(size_t count, size_t bytes) SOP_MUST_USE;
void *sop_realloc(void *old, size_t bytes) SOP_MUST_USE;
void *sop_malloc_aligned(size_t align, size_t bytes) SOP_MUST_USE;
void sop_free(void *block);

/* Growing byte buffer; zero-initialise to start, sop_buf_fini to end. Growth failures return
 * SOP_ERR_NOMEM and leave the content as it was. Capacity doubles. One thread at a time. */
struct sop_buf {
    uint8_t *data;
    size_t len;
    size_t cap;
};
void sop_buf_fini(struct sop_buf *buf);
static inline void sop_buf_clear(struct sop_buf *buf)
{
    buf->len = 0;
}
/* What sop_buf_reserve does when there is no room. */
int sop_buf__grow(struct sop_buf *buf, size_t extra, struct sop_err *err) SOP_MUST_USE;
SOP_MUST_USE static inline int sop_buf_reserve(struct sop_buf *buf, size_t extra,
                                               struct sop_err *err)
{
    return extra <= buf->cap - buf->len ? 0 : sop_buf__grow(buf, extra, err);
}

/* May memory that an object gave up go to the next one of its kind, past the heap? Not under a
 * sanitizer, which notices a use after the end only in what went back to the heap. */
#if defined(__SANITIZE_ADDRESS__)
#define SOP_RECYCLES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SOP_RECYCLES 0
#endif
#endif
#ifndef SOP_RECYCLES
#define SOP_RECYCLES 1
#endif

/* Copies bytes that do not overlap; for lengths that are mostly small and not known before,
 * where a call of memcpy costs more than the copy. Reads and writes nothing beyond len. */
static inline void sop_copy(void *to, const void *from, size_t len)
{
    uint8_t *t = (uint8_t *)to;
    const uint8_t *f = (const uint8_t *)from;
    if (len > 32) {
        memcpy(t, f, len);
    } else if (len >= 16) { /* two pieces that may overlap */
        uint8_t last[16];
        memcpy(last, f + len - 16, 16);
        memcpy(t, f, 16);
        memcpy(t + len - 16, last, 16);
    } else if (len >= 8) {
        uint64_t last;
        memcpy(&last, f + len - 8, 8);
        memcpy(t, f, 8);
        memcpy(t + len - 8, &last, 8);
    } else if (len >= 4) {
        uint32_t last;
        memcpy(&last, f + len - 4, 4);
        memcpy(t, f, 4);
        memcpy(t + len - 4, &last, 4);
    } else if (len > 0) {
        t[0] = f[0];
        t[len / 2] = f[len / 2];
        t[len - 1] = f[len - 1];
    }
}

SOP_MUST_USE static inline int sop_buf_append(struct sop_buf *buf, const void *data, size_t len,
                                              struct sop_err *err)
{
    int rc = sop_buf_reserve(buf, len, err);
    if (rc == 0 && len > 0) {
        memcpy(buf->data + buf->len, data, len);
        buf->len += len;
    }
    return rc;
}
static inline struct sop_slice sop_buf_slice(const struct sop_buf *buf)
{
    return sop_slice(buf->data, buf->len);
}

#endif
