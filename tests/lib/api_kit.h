/* More short words for tests of the public API; see db_kit.h. */
#ifndef SOP_TEST_API_KIT_H
#define SOP_TEST_API_KIT_H

#include "tests/lib/db_kit.h"

#include <stdio.h>
#include <stdlib.h>

static inline struct sop_slice bytes(const void *data, size_t len)
{
    return (struct sop_slice){.data = data, .len = len};
}

static inline struct sop_entry entry(const char *key, const char *value)
{
    return (struct sop_entry){.key = text(key), .value = text(value)};
}

/* Is the slice this text? */
static inline bool is(struct sop_slice s, const char *want)
{
    return s.len == strlen(want) && (s.len == 0 || memcmp(s.data, want, s.len) == 0);
}

#define IS(slice, want)                                                                        \
    do {                                                                                       \
        struct sop_slice is_s_ = (slice);                                                      \
        ck_assert_msg(is(is_s_, want), "%s is \"%.*s\", not \"%s\"", #slice, (int)is_s_.len,   \
                      is_s_.len == 0 ? "" : (const char *)is_s_.data, want);                   \
    } while (0)

/* The key "k000042"; static storage, four in turn. */
static inline const char *numbered(unsigned i)
{
    static char keys[4][16];
    static unsigned turn;
    char *k = keys[turn++ % 4];
    (void)snprintf(k, sizeof keys[0], "k%06u", i);
    return k;
}

/* Bytes that follow from seed; the caller frees them. */
static inline uint8_t *filler(size_t len, unsigned seed)
{
    uint8_t *b = malloc(len + 1);
    uint32_t x = seed * 2654435761u + 1;
    ck_assert_ptr_nonnull(b);
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        b[i] = (uint8_t)(x >> 24);
    }
    return b;
}

static inline struct sop_db_stats stats_of(struct db_kit *k)
{
    struct sop_db_stats s = {.size = sizeof s};
    OK(sop_db_stats(k->db, &s, &k->err), k->err);
    return s;
}

#endif
