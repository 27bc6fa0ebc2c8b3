/* What `sop-bench compare` asks of a database, so that the same work runs on each.
 *
 * An adapter turns these calls into the engine's own, in the way its makers recommend. It may
 * queue, batch or cache where a careful user would; it may not leave work out. Every item that
 * is found goes through bench_see(), which proves the value by the key. */
#ifndef SOP_BENCH_ENGINE_H
#define SOP_BENCH_ENGINE_H

#include "sop/sop_types.h"

#include <stdbool.h>
#include <string.h>

struct bench_item {
    struct sop_slice key, value;
};

/* How a database is to be opened. */
struct bench_setup {
    const char *folder; /* exists; empty when create */
    bool create;
    bool durable;         /* an answered commit survives power loss; else: see describe */
    bool ordered;         /* what is inserted is inserted in key order */
    bool manual;          /* SOP: no maintenance thread */
    bool cold;            /* reads will mostly miss the cache: no read-ahead */
    uint64_t cache_bytes; /* for all caches of the engine together */
    uint64_t items;       /* about how many there will be */
    uint64_t data_bytes;  /* about how many bytes of keys and values there will be */
    size_t value_bytes;
    unsigned threads; /* most sessions at a time */
};

/* What reads found. */
struct bench_seen {
    uint64_t items, missing;
    uint64_t wrong;    /* values that do not belong to their key */
    uint64_t versions; /* sum of the versions of the values */
    uint64_t keys;     /* sum of the first words of the keys */
    uint64_t bytes;    /* of keys and values */
    uint64_t touched;  /* sum over large values: every cache line was read */
    bool texts;        /* keys are key_%d and values value_%d */
};

/* Optional parts. */
enum {
    BENCH_READS = 1,   /* it can be read; otherwise get, scan and modify are NULL */
    BENCH_REOPENS = 2, /* closing and opening keeps what was written */
};

/* Sessions: one per thread. Functions return 0, or -1 after bench_fail(). */
struct bench_engine {
    const char *name;
    bool bound; /* not a database but the speed limit of one */
    unsigned can;
    /* The version of the library. */
    const char *(*version)(void);
    /* Its settings in words, for the report. */
    const char *(*describe)(const struct bench_setup *setup);
    int (*open)(void **db, const struct bench_setup *setup);
    int (*close)(void *db);
    /* Finishes deferred work (checkpoint), as far as the engine has a call for it. NULL: none.
     */
    int (*settle)(void *db);
    int (*session_open)(void **session, void *db);
    void (*session_close)(void *session);
    /* Each one commit of all items: keys that are new; keys that are there; keys that go. */
    int (*insert)(void *session, const struct bench_item *items, size_t count);
    int (*update)(void *session, const struct bench_item *items, size_t count);
    int (*remove)(void *session, const struct bench_item *items, size_t count);
    /* Around many reads that may all see one state. */
    int (*read_begin)(void *session);
    int (*read_end)(void *session);
    /* Looks all keys up: at once, if the engine has a call for that. Outside of read_begin each
     * call sees the newest state. */
    int (*get)(void *session, const struct bench_item *keys, size_t count,
               struct bench_seen *seen);
    /* At most `limit` items in order, from the first key >= from. */
    int (*scan)(void *session, struct sop_slice from, size_t limit, struct bench_seen *seen);
    /* Reads the item and writes its new value, in one transaction where the engine has them. */
    int (*modify)(void *session, const struct bench_item *item, struct bench_seen *seen);
};

/* All that were built in, SOP first; NULL at the end. */
extern const struct bench_engine *const bench_engines[];
/* Names of known engines, "lmdb", and whether they were built in. */
struct bench_known {
    const char *name;
    bool built;
    const char *package; /* what to install for it */
};
extern const struct bench_known bench_known[];
extern const size_t bench_known_count;

/* Says on stderr what failed; returns -1. */
int bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- values that prove themselves ------------------------------------------------------- */

#define BENCH_KEY_BYTES     16
#define BENCH_LARGE_BYTES   1024 /* from here on reads touch every cache line of a value */
#define BENCH_VERSION_MIX   UINT64_C(0x9E3779B97F4A7C15)
#define BENCH_TEXT_KEY_HEAD 4 /* "key_" */

static inline uint64_t bench_word(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

/* The first word of the value of a key in a version; the version is the second word, and large
 * values end with the first word again. */
static inline uint64_t bench_proof(const uint8_t *key, uint64_t version)
{
    uint64_t b = bench_word(key + 8);
    return bench_word(key) ^ (b << 32 | b >> 32) ^ version * BENCH_VERSION_MIX;
}

static inline void bench_see_large(struct bench_seen *seen, uint64_t proof,
                                   struct sop_slice value)
{
    uint64_t sum = 0;
    for (size_t i = 0; i + 8 <= value.len; i += 64) {
        sum += bench_word(value.data + i);
    }
    seen->touched += sum;
    seen->wrong += bench_word(value.data + value.len - 8) != proof;
}

static inline void bench_see(struct bench_seen *seen, const void *key_data, size_t key_len,
                             const void *value_data, size_t value_len)
{
    const uint8_t *key = key_data, *value = value_data;
    seen->items++;
    seen->bytes += key_len + value_len;
    if (seen->texts) {
        seen->wrong += value_len != key_len + 2 || key_len <= BENCH_TEXT_KEY_HEAD ||
                       memcmp(key + 4, value + 6, key_len - 4) != 0;
        return;
    }
    if (key_len != BENCH_KEY_BYTES || value_len < 16) {
        seen->wrong++;
        return;
    }
    uint64_t version = bench_word(value + 8);
    uint64_t proof = bench_proof(key, version);
    seen->wrong += bench_word(value) != proof;
    seen->versions += version;
    seen->keys += bench_word(key);
    if (value_len >= BENCH_LARGE_BYTES) {
        bench_see_large(seen, proof, (struct sop_slice){value, value_len});
    }
}

#endif
