/* Latency histograms and the order in which keys are used. */
#include "bench/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t sop_bench__now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static size_t bucket(uint64_t ns)
{
    if (ns < 32) {
        return (size_t)ns;
    }
    unsigned power = 63u - (unsigned)__builtin_clzll(ns);
    return (size_t)(power - 4) * 32 + (size_t)((ns >> (power - 5)) & 31);
}

/* The largest time that falls into a bucket. */
static uint64_t bucket_top(size_t b)
{
    if (b < 32) {
        return b;
    }
    size_t power = b / 32 + 4;
    return ((UINT64_C(33) + b % 32) << (power - 5)) - 1;
}

void sop_bench__record(struct sop_bench_histogram *h, uint64_t ns)
{
    h->buckets[bucket(ns)]++;
    h->count++;
    h->max = ns > h->max ? ns : h->max;
}

void sop_bench__merge(struct sop_bench_histogram *h, const struct sop_bench_histogram *other)
{
    for (size_t i = 0; i < SOP_BENCH_BUCKETS; i++) {
        h->buckets[i] += other->buckets[i];
    }
    h->count += other->count;
    h->max = other->max > h->max ? other->max : h->max;
}

uint64_t sop_bench__percentile(const struct sop_bench_histogram *h, double part)
{
    uint64_t want = (uint64_t)ceil(part * (double)h->count);
    uint64_t seen = 0;
    for (size_t i = 0; i < SOP_BENCH_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= want && seen > 0) {
            uint64_t top = bucket_top(i);
            return top < h->max ? top : h->max;
        }
    }
    return h->max;
}

/* splitmix64 */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Zipfian ranks after Gray et al., "Quickly generating billion-record synthetic databases". */
static void draw_zipfian(struct sop_bench_order *o, uint64_t *state)
{
    const double theta = 0.99;
    double n = (double)o->count, zeta = 0;
    for (size_t i = 1; i <= o->count; i++) {
        zeta += 1 / pow((double)i, theta);
    }
    double alpha = 1 / (1 - theta);
    double zeta2 = 1 + pow(0.5, theta);
    double eta = (1 - pow(2 / n, 1 - theta)) / (1 - zeta2 / zeta);
    for (size_t i = 0; i < o->count; i++) {
        double u = (double)(random_next(state) >> 11) / 9007199254740992.0;
        double uz = u * zeta;
        double rank = uz < 1 ? 0 : uz < zeta2 ? 1 : n * pow(eta * u - eta + 1, alpha);
        size_t at = rank < n - 1 ? (size_t)rank : o->count - 1;
        o->drawn[i] = o->shuffled[at];
    }
}

int sop_bench__order_init(struct sop_bench_order *order,
                          enum sop_bench_distribution distribution, size_t count, uint64_t seed,
                          struct sop_err *err)
{
    memset(order, 0, sizeof *order);
    order->distribution = distribution;
    order->count = count;
    if (distribution == SOP_SEQUENTIAL) {
        return 0;
    }
    order->shuffled = malloc(count * sizeof *order->shuffled);
    order->drawn = distribution == SOP_ZIPFIAN ? malloc(count * sizeof *order->drawn) : NULL;
    if (order->shuffled == NULL || (distribution == SOP_ZIPFIAN && order->drawn == NULL)) {
        sop_bench__order_fini(order);
        return SOP_ERR(err, NOMEM, "shuffle %zu keys", count);
    }
    uint64_t state = seed;
    for (size_t i = 0; i < count; i++) {
        size_t j = (size_t)(random_next(&state) % (i + 1));
        order->shuffled[i] = order->shuffled[j];
        order->shuffled[j] = (uint32_t)i;
    }
    if (order->drawn != NULL) {
        draw_zipfian(order, &state);
    }
    return 0;
}

void sop_bench__order_fini(struct sop_bench_order *order)
{
    free(order->shuffled);
    free(order->drawn);
    memset(order, 0, sizeof *order);
}
