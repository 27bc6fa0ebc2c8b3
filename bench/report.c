/* What sop-bench prints, and the published figures it compares with. */
#include "bench/bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *const sop_bench__phases[SOP_PHASES] = {"insert", "read", "delete"};
const char *const sop_bench__distributions[] = {"sequential", "random", "zipfian"};
static const char *const durabilities[] = {"commit", "interval", "none"};

/* Operations a second as published for a MacBook Pro of 2015 (two cores at 2.7 GHz, 8 GB). */
struct published {
    uint32_t slot_length;
    double rate[SOP_PHASES];
};
static const struct {
    size_t count;
    struct published rows[5];
} tables[] = {
    {10000,
     {{1000, {107652, 136754, 40964}},
      {2000, {132901, 142907, 50093}},
      {3000, {135066, 137035, 49754}},
      {4000, {123190, 122228, 48094}},
      {5000, {132670, 126432, 47150}}}},
    {100000,
     {{1000, {121139, 145195, 48346}},
      {2000, {132805, 136684, 51817}},
      {3000, {137296, 141764, 50605}},
      {4000, {145417, 143770, 51988}},
      {5000, {137054, 144565, 50309}}}},
};

double sop_bench__rate(const struct sop_bench_config *config, const struct sop_bench_result *r,
                       enum sop_bench_phase phase)
{
    return r->ns[phase] > 0 ? (double)config->count * 1e9 / (double)r->ns[phase] : 0;
}

static const char *durability_meaning(enum sop_durability durability)
{
    switch (durability) {
    case SOP_DURABLE_COMMIT:
        return "commit (every acknowledged commit was synced: survives power loss)";
    case SOP_DURABLE_INTERVAL:
        return "interval (survives kill -9; power loss may take the last 100 ms)";
    case SOP_DURABLE_NONE:
        return "none (survives kill -9; power loss may take all since the last checkpoint)";
    }
    return "?";
}

void sop_bench__print_config(const struct sop_bench_config *c)
{
    printf("durability %s\n%u thread%s, %s keys, values of ", durability_meaning(c->durability),
           c->threads, c->threads == 1 ? "" : "s", sop_bench__distributions[c->distribution]);
    if (c->value_size > 0) {
        printf("%zu bytes", c->value_size);
    } else {
        printf("\"value_%%d\"");
    }
    printf(", %u run%s%s, in %s\n\n", c->runs, c->runs == 1 ? "" : "s",
           c->runs == 1 ? "" : " (the median is shown)", c->dir);
}

static void print_us(double ns)
{
    printf(" %9.2f", ns / 1000);
}

void sop_bench__print_result(const struct sop_bench_config *config,
                             const struct sop_bench_result *result)
{
    printf("%zu items, slot length %" PRIu32 "\n", config->count, config->slot_length);
    printf("%-8s %10s %10s %10s", "", "ops/s", "total ms", "commit ms");
    if (config->latency) {
        printf(" %9s %9s %9s %9s %9s", "p50 us", "p90 us", "p99 us", "p99.9 us", "max us");
    }
    printf("\n");
    for (enum sop_bench_phase p = SOP_INSERT; p < SOP_PHASES; p++) {
        const struct sop_bench_histogram *h = &result->latency[p];
        printf("%-8s %10.0f %10.2f %10.2f", sop_bench__phases[p],
               sop_bench__rate(config, result, p), (double)result->ns[p] / 1e6,
               (double)result->commit_ns[p] / 1e6);
        if (config->latency) {
            print_us((double)sop_bench__percentile(h, 0.50));
            print_us((double)sop_bench__percentile(h, 0.90));
            print_us((double)sop_bench__percentile(h, 0.99));
            print_us((double)sop_bench__percentile(h, 0.999));
            print_us((double)h->max);
        }
        printf("\n");
    }
}

json_t *sop_bench__config_json(const struct sop_bench_config *c)
{
    return json_pack(
        "{s:s, s:s, s:I, s:s, s:I, s:I, s:I, s:s}", "version", sop_version(), "durability",
        durabilities[c->durability], "threads", (json_int_t)c->threads, "distribution",
        sop_bench__distributions[c->distribution], "value_size", (json_int_t)c->value_size,
        "runs", (json_int_t)c->runs, "seed", (json_int_t)c->seed, "dir", c->dir);
}

json_t *sop_bench__result_json(const struct sop_bench_config *config,
                               const struct sop_bench_result *result)
{
    json_t *j = json_pack("{s:I, s:I}", "count", (json_int_t)config->count, "slot_length",
                          (json_int_t)config->slot_length);
    for (enum sop_bench_phase p = SOP_INSERT; p < SOP_PHASES; p++) {
        const struct sop_bench_histogram *h = &result->latency[p];
        json_t *o = json_pack(
            "{s:f, s:I, s:I}", "ops_per_second", sop_bench__rate(config, result, p), "total_ns",
            (json_int_t)result->ns[p], "commit_ns", (json_int_t)result->commit_ns[p]);
        if (config->latency) {
            json_object_set_new(o, "latency_ns",
                                json_pack("{s:I, s:I, s:I, s:I, s:I}", "p50",
                                          (json_int_t)sop_bench__percentile(h, 0.50), "p90",
                                          (json_int_t)sop_bench__percentile(h, 0.90), "p99",
                                          (json_int_t)sop_bench__percentile(h, 0.99), "p99.9",
                                          (json_int_t)sop_bench__percentile(h, 0.999), "max",
                                          (json_int_t)h->max));
        }
        json_object_set_new(j, sop_bench__phases[p], o);
    }
    return j;
}

/* ---- medians and the sweep -----------------------------------------------------------------
 */

static uint64_t whole(const struct sop_bench_result *r)
{
    return r->ns[SOP_INSERT] + r->ns[SOP_LOOKUP] + r->ns[SOP_DELETE];
}

static int by_time(const void *a, const void *b)
{
    uint64_t x = whole(a), y = whole(b);
    return x < y ? -1 : x > y;
}

int sop_bench__median(const struct sop_bench_config *config, struct sop_bench_result *result,
                      struct sop_err *err)
{
    struct sop_bench_result *runs = calloc(config->runs, sizeof *runs);
    if (runs == NULL) {
        return SOP_ERR(err, NOMEM, "hold the results of %u runs", config->runs);
    }
    int rc = 0;
    for (unsigned i = 0; i < config->runs && rc == 0; i++) {
        rc = sop_bench__run(config, &runs[i], err);
    }
    if (rc == 0) {
        qsort(runs, config->runs, sizeof *runs, by_time);
        *result = runs[config->runs / 2];
    }
    free(runs);
    return rc;
}

static void print_row(const struct sop_bench_config *c, const struct sop_bench_result *r,
                      const struct published *published)
{
    printf("%6" PRIu32, c->slot_length);
    for (enum sop_bench_phase p = SOP_INSERT; p < SOP_PHASES; p++) {
        double rate = sop_bench__rate(c, r, p);
        printf(" | %10.0f %10.0f %6.1fx", rate, published->rate[p], rate / published->rate[p]);
    }
    printf("\n");
    fflush(stdout);
}

static json_t *row_json(const struct sop_bench_config *c, const struct sop_bench_result *r,
                        const struct published *published)
{
    json_t *row = sop_bench__result_json(c, r);
    for (enum sop_bench_phase p = SOP_INSERT; p < SOP_PHASES; p++) {
        json_t *o = json_object_get(row, sop_bench__phases[p]);
        json_object_set_new(o, "published", json_real(published->rate[p]));
        json_object_set_new(o, "ratio",
                            json_real(sop_bench__rate(c, r, p) / published->rate[p]));
    }
    return row;
}

int sop_bench__sweep(const struct sop_bench_config *config, json_t *json, struct sop_err *err)
{
    struct sop_bench_config c = *config;
    struct sop_bench_result *r = malloc(sizeof *r);
    int rc = r != NULL ? 0 : SOP_ERR(err, NOMEM, "hold a result");
    for (size_t t = 0; t < 2 && rc == 0; t++) {
        c.count = tables[t].count;
        if (json == NULL) {
            printf("%zu items, operations a second\n", c.count);
            printf("%6s | %28s | %28s | %28s\n", "", "insert", "read", "delete");
            printf("%6s | %10s %10s %7s | %10s %10s %7s | %10s %10s %7s\n", "slots", "here",
                   "published", "ratio", "here", "published", "ratio", "here", "published",
                   "ratio");
        }
        for (size_t i = 0; i < 5 && rc == 0; i++) {
            c.slot_length = tables[t].rows[i].slot_length;
            rc = sop_bench__median(&c, r, err);
            if (rc == 0 && json == NULL) {
                print_row(&c, r, &tables[t].rows[i]);
            } else if (rc == 0) {
                json_array_append_new(json, row_json(&c, r, &tables[t].rows[i]));
            }
        }
        if (json == NULL && rc == 0) {
            printf("\n");
        }
    }
    if (json == NULL && rc == 0) {
        printf("published: by the makers of the original, on a MacBook Pro of 2015 (two cores, "
               "8 GB);\ntheir figures do not say whether a commit was synced.\n");
    }
    free(r);
    return rc;
}
