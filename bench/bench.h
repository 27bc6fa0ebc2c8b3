/* What the parts of sop-bench share. */
#ifndef SOP_BENCH_H
#define SOP_BENCH_H

#include "cli/args.h"
#include "sop/sop.h"

#include <jansson.h>

enum sop_bench_option {
    OPT_COUNT_ITEMS,
    OPT_SLOT,
    OPT_SWEEP,
    OPT_THREADS,
    OPT_VALUE_SIZE,
    OPT_DISTRIBUTION,
    OPT_RUNS,
    OPT_DURABILITY,
    OPT_DIR,
    OPT_CACHE,
    OPT_SEED,
    OPT_NO_LATENCY,
    OPT_ITEMS,
    OPT_ONLY,
    OPT_ENGINES,
    OPT_QUICK,
    OPT_MANUAL,
    OPT_JSON,
    OPT_SVG,
    OPT_OUTPUT,
    OPT_OPTIONS,
};
#define OPT(name) (UINT64_C(1) << OPT_##name)
extern const struct sop_program sop_bench__program;

int sop_bench__classic(void *context, const struct sop_args *args);
int sop_bench__compare(void *context, const struct sop_args *args);
int sop_bench__completion(void *context, const struct sop_args *args);

/* ---- latencies -------------------------------------------------------------------------- */

/* Counts of nanoseconds in buckets that are 1/32 of a power of two wide: percentiles are right
 * to 3 %. */
#define SOP_BENCH_BUCKETS (64 * 32)
struct sop_bench_histogram {
    uint64_t buckets[SOP_BENCH_BUCKETS];
    uint64_t count, max;
};
void sop_bench__record(struct sop_bench_histogram *h, uint64_t ns);
void sop_bench__merge(struct sop_bench_histogram *h, const struct sop_bench_histogram *other);
/* The smallest time that `part` (0..1) of the operations did not exceed. */
uint64_t sop_bench__percentile(const struct sop_bench_histogram *h, double part);

/* ---- order of keys ------------------------------------------------------------------------
 */

enum sop_bench_distribution { SOP_SEQUENTIAL, SOP_RANDOM, SOP_ZIPFIAN };

/* Which key comes i-th. Inserts and deletes touch each key once: in order (sequential) or
 * shuffled (random and zipfian). Reads are in order, shuffled, or drawn with replacement by
 * Zipf's law with exponent 0.99 over shuffled keys. Same seed, same order. */
struct sop_bench_order {
    enum sop_bench_distribution distribution;
    uint32_t *shuffled; /* NULL when sequential */
    uint32_t *drawn;    /* zipfian only */
    size_t count;
};
int sop_bench__order_init(struct sop_bench_order *order,
                          enum sop_bench_distribution distribution, size_t count, uint64_t seed,
                          struct sop_err *err);
void sop_bench__order_fini(struct sop_bench_order *order);
static inline size_t sop_bench__order_each(const struct sop_bench_order *o, size_t i)
{
    return o->shuffled != NULL ? o->shuffled[i] : i;
}
static inline size_t sop_bench__order_read(const struct sop_bench_order *o, size_t i)
{
    return o->drawn != NULL ? o->drawn[i] : sop_bench__order_each(o, i);
}

/* ---- one run --------------------------------------------------------------------------------
 */

enum sop_bench_phase { SOP_INSERT, SOP_LOOKUP, SOP_DELETE, SOP_PHASES };

struct sop_bench_config {
    size_t count;
    uint32_t slot_length;
    unsigned threads;
    size_t value_size; /* 0 = "value_%d" as it is */
    enum sop_bench_distribution distribution;
    enum sop_durability durability;
    unsigned runs;
    uint64_t seed, cache_bytes;
    bool latency;
    const char *dir;
};
struct sop_bench_result {
    uint64_t ns[SOP_PHASES];        /* time of the whole phase, begin and commit included */
    uint64_t commit_ns[SOP_PHASES]; /* the longest commit of it */
    struct sop_bench_histogram latency[SOP_PHASES];
};
/* Makes a database, inserts, reads, deletes, checks counts, removes the database. */
int sop_bench__run(const struct sop_bench_config *config, struct sop_bench_result *result,
                   struct sop_err *err);
double sop_bench__rate(const struct sop_bench_config *config, const struct sop_bench_result *r,
                       enum sop_bench_phase phase);
uint64_t sop_bench__now_ns(void);

/* ---- reports --------------------------------------------------------------------------------
 */

extern const char *const sop_bench__phases[SOP_PHASES];
extern const char *const sop_bench__distributions[];
void sop_bench__print_config(const struct sop_bench_config *config);
void sop_bench__print_result(const struct sop_bench_config *config,
                             const struct sop_bench_result *result);
json_t *sop_bench__config_json(const struct sop_bench_config *config);
json_t *sop_bench__result_json(const struct sop_bench_config *config,
                               const struct sop_bench_result *result);
/* Runs and prints both published tables beside our figures; json collects rows if not NULL. */
int sop_bench__sweep(const struct sop_bench_config *config, json_t *json, struct sop_err *err);
/* Runs config->runs times; *result is the run with the median sum of times. */
int sop_bench__median(const struct sop_bench_config *config, struct sop_bench_result *result,
                      struct sop_err *err);

#endif
