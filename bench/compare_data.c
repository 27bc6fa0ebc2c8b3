/* Keys, values, orders and random draws. Everything is a function of numbers, so that any found
 * value can be proved and no tables grow with the data. */
#include "bench/compare.h"

#include <math.h>
#include <stdlib.h>

#define GOLDEN UINT64_C(0x9E3779B97F4A7C15)

uint64_t bench_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

uint64_t bench_random(uint64_t *state)
{
    return bench_mix(*state += GOLDEN);
}

/* A random number below n. */
static uint64_t scale(uint64_t random, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)random * n) >> 64);
}

void bench_keys_init(struct bench_keys *keys, uint64_t items)
{
    keys->items = items;
    keys->gap = UINT64_MAX / items;
}

void bench_key(const struct bench_keys *keys, uint64_t number, uint8_t key[BENCH_KEY_BYTES])
{
    uint64_t random = bench_mix((number + 1) * GOLDEN);
    uint64_t low = bench_mix(random + GOLDEN);
    uint64_t high = number < keys->items ? number * keys->gap + scale(random, keys->gap)
                                         : bench_mix(low + GOLDEN);
    high = __builtin_bswap64(high);
    memcpy(key, &high, sizeof high);
    memcpy(key + 8, &low, sizeof low);
}

/* A Feistel network over the least even number of bits that holds count - 1; what falls outside
 * is sent through again. */
void bench_shuffle_init(struct bench_shuffle *s, uint64_t count, uint64_t seed)
{
    *s = (struct bench_shuffle){.count = count, .seed = bench_mix(seed + GOLDEN)};
    s->half_bits = 1;
    while (UINT64_C(1) << (2 * s->half_bits) < count) {
        s->half_bits++;
    }
}

uint64_t bench_shuffled(const struct bench_shuffle *s, uint64_t t)
{
    uint64_t mask = (UINT64_C(1) << s->half_bits) - 1;
    do {
        uint64_t left = t >> s->half_bits, right = t & mask;
        for (uint64_t round = 0; round < 4; round++) {
            uint64_t next = left ^ (bench_mix(s->seed + round * GOLDEN + right) & mask);
            left = right;
            right = next;
        }
        t = left << s->half_bits | right;
    } while (t >= s->count);
    return t;
}

#define ZIPF_EXPONENT 0.99
#define ZIPF_EXACT    10000000 /* terms that are added up; the rest is an integral */

void bench_zipf_init(struct bench_zipf *z, uint64_t count)
{
    const double theta = ZIPF_EXPONENT;
    uint64_t exact = count < ZIPF_EXACT ? count : ZIPF_EXACT;
    double n = (double)count;
    z->count = count;
    z->zeta = 0;
    for (uint64_t i = 1; i <= exact; i++) {
        z->zeta += pow((double)i, -theta);
    }
    z->zeta += (pow(n + 0.5, 1 - theta) - pow((double)exact + 0.5, 1 - theta)) / (1 - theta);
    z->zeta2 = 1 + pow(0.5, theta);
    z->alpha = 1 / (1 - theta);
    z->eta = (1 - pow(2 / n, 1 - theta)) / (1 - z->zeta2 / z->zeta);
}

uint64_t bench_zipf_draw(const struct bench_zipf *z, uint64_t *state)
{
    double u = (double)(bench_random(state) >> 11) / 9007199254740992.0;
    double uz = u * z->zeta;
    double rank = uz < 1          ? 0
                  : uz < z->zeta2 ? 1
                                  : (double)z->count * pow(z->eta * u - z->eta + 1, z->alpha);
    return scale(bench_mix((uint64_t)rank + GOLDEN), z->count);
}

int bench_batch_init(struct bench_batch *b, size_t count, size_t value_bytes)
{
    *b = (struct bench_batch){.count = count, .value_bytes = value_bytes};
    b->items = calloc(count, sizeof *b->items);
    b->keys = calloc(count, BENCH_KEY_BYTES);
    b->values = malloc(count * value_bytes + 8);
    if (b->items == NULL || b->keys == NULL || b->values == NULL) {
        bench_batch_fini(b);
        return bench_fail("no memory for %zu items of a batch", count);
    }
    uint64_t state = 1;
    for (size_t i = 0; i < count * value_bytes; i += 8) {
        uint64_t word = bench_random(&state);
        memcpy(b->values + i, &word, sizeof word);
    }
    for (size_t i = 0; i < count; i++) {
        b->items[i].key = (struct sop_slice){b->keys + i * BENCH_KEY_BYTES, BENCH_KEY_BYTES};
        b->items[i].value = (struct sop_slice){b->values + i * value_bytes, value_bytes};
    }
    return 0;
}

void bench_batch_fini(struct bench_batch *b)
{
    free(b->items);
    free(b->keys);
    free(b->values);
    memset(b, 0, sizeof *b);
}

void bench_batch_set(struct bench_batch *b, size_t at, const struct bench_keys *keys,
                     uint64_t number, uint64_t version)
{
    uint8_t *key = b->keys + at * BENCH_KEY_BYTES;
    uint8_t *value = b->values + at * b->value_bytes;
    bench_key(keys, number, key);
    uint64_t proof = bench_proof(key, version);
    memcpy(value, &proof, sizeof proof);
    memcpy(value + 8, &version, sizeof version);
    if (b->value_bytes >= BENCH_LARGE_BYTES) {
        memcpy(value + b->value_bytes - 8, &proof, sizeof proof);
    }
}

/* Writes prefix and number; returns the length. */
static size_t text(uint8_t *to, const char *prefix, size_t prefix_len, uint64_t n)
{
    memcpy(to, prefix, prefix_len);
    uint8_t digits[20];
    size_t used = 0, len = prefix_len;
    do {
        digits[used++] = (uint8_t)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    while (used > 0) {
        to[len++] = digits[--used];
    }
    return len;
}

void bench_batch_text(struct bench_batch *b, size_t at, uint64_t number)
{
    b->items[at].key.len = text(b->keys + at * BENCH_KEY_BYTES, "key_", 4, number);
    b->items[at].value.len = text(b->values + at * b->value_bytes, "value_", 6, number);
}
