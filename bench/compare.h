/* What the parts of `sop-bench compare` share: data, meters, rows, work, reports. */
#ifndef SOP_BENCH_COMPARE_H
#define SOP_BENCH_COMPARE_H

#include "bench/bench.h"
#include "bench/engine.h"

#include <stdatomic.h>

/* ---- data ------------------------------------------------------------------------------- */

uint64_t bench_mix(uint64_t x);

/* Keys 0..items-1 ascend with their number and are otherwise random; those from `items` on lie
 * anywhere. */
struct bench_keys {
    uint64_t items, gap;
};
void bench_keys_init(struct bench_keys *keys, uint64_t items);
void bench_key(const struct bench_keys *keys, uint64_t number, uint8_t key[BENCH_KEY_BYTES]);

/* The t-th of 0..count-1 in a random order that visits each once. */
struct bench_shuffle {
    uint64_t count, seed;
    unsigned half_bits;
};
void bench_shuffle_init(struct bench_shuffle *s, uint64_t count, uint64_t seed);
uint64_t bench_shuffled(const struct bench_shuffle *s, uint64_t t);

/* Numbers 0..count-1 by Zipf's law with exponent 0.99, the frequent ones scattered. */
struct bench_zipf {
    uint64_t count;
    double zeta, zeta2, alpha, eta;
};
void bench_zipf_init(struct bench_zipf *z, uint64_t count);
uint64_t bench_zipf_draw(const struct bench_zipf *z, uint64_t *state);
uint64_t bench_random(uint64_t *state);

/* Items that are filled again and again; what lies between the words that prove a value is
 * random once. */
struct bench_batch {
    struct bench_item *items;
    uint8_t *keys, *values;
    size_t count, value_bytes;
};
int bench_batch_init(struct bench_batch *b, size_t count, size_t value_bytes);
void bench_batch_fini(struct bench_batch *b);
/* Item `at` becomes key `number` with its value in `version`. */
void bench_batch_set(struct bench_batch *b, size_t at, const struct bench_keys *keys,
                     uint64_t number, uint64_t version);
/* Item `at` becomes key_`number` with value_`number`. */
void bench_batch_text(struct bench_batch *b, size_t at, uint64_t number);

/* ---- meters ----------------------------------------------------------------------------- */

/* What this process has used since it began, and what went to the disk of a folder. */
struct bench_meter {
    uint64_t ns, cpu_ns;
    uint64_t read_bytes, write_bytes;     /* of this process */
    uint64_t device_reads, device_writes; /* bytes of the whole device; 0 = not known */
};
void bench_meter_read(struct bench_meter *m, const char *folder);
/* Read and written: what is now in the caches of the system, at most. */
uint64_t bench_process_bytes(void);
/* Bytes of all files below a folder, holes not counted. */
uint64_t bench_folder_bytes(const char *folder);
/* Takes all files below a folder out of the caches of the system. */
void bench_folder_drop(const char *folder);
/* Removes what is in it; and itself. */
void bench_folder_empty(const char *folder);
void bench_folder_remove(const char *folder);
/* Peak memory: reset, and read since. */
void bench_peak_reset(void);
uint64_t bench_peak_bytes(void);
uint64_t bench_resident_bytes(void);

/* ---- rows ------------------------------------------------------------------------------- */

enum bench_unit { BENCH_OPS, BENCH_ITEMS, BENCH_MEGABYTES, BENCH_MILLISECONDS, BENCH_UNITS };
enum bench_bound { BENCH_NO_BOUND, BENCH_JOURNAL, BENCH_MEMORY };

enum bench_row {
    ROW_CLASSIC10K_INSERT,
    ROW_CLASSIC10K_READ,
    ROW_CLASSIC10K_DELETE,
    ROW_CLASSIC100K_INSERT,
    ROW_CLASSIC100K_READ,
    ROW_CLASSIC100K_DELETE,
    ROW_LOAD_RANDOM,
    ROW_READ1,
    ROW_READ2,
    ROW_READ_MANY,
    ROW_SCAN,
    ROW_RANGE100,
    ROW_UPDATE100,
    ROW_DELETE,
    ROW_LOAD_ORDERED,
    ROW_SINGLE1,
    ROW_SINGLE8,
    ROW_SINGLE64,
    ROW_VALUES64K_PUT,
    ROW_VALUES64K_GET,
    ROW_VALUES1M_PUT,
    ROW_VALUES1M_GET,
    ROW_YCSB_A_RELAXED,
    ROW_YCSB_B_RELAXED,
    ROW_YCSB_C_RELAXED,
    ROW_YCSB_E_RELAXED,
    ROW_YCSB_F_RELAXED,
    ROW_YCSB_A_DURABLE,
    ROW_YCSB_B_DURABLE,
    ROW_YCSB_C_DURABLE,
    ROW_YCSB_E_DURABLE,
    ROW_YCSB_F_DURABLE,
    ROW_COLD_READ,
    ROW_OPEN_SHORT,
    ROW_OPEN_MIDDLE,
    ROW_OPEN_LONG,
    BENCH_ROWS,
};

enum bench_group {
    GROUP_CLASSIC10K,
    GROUP_CLASSIC100K,
    GROUP_CORE,
    GROUP_ORDERED,
    GROUP_SINGLE,
    GROUP_VALUES64K,
    GROUP_VALUES1M,
    GROUP_YCSB_RELAXED,
    GROUP_YCSB_DURABLE,
    GROUP_COLD,
    GROUP_OPEN,
    BENCH_GROUPS,
};

/* bars: 0 = none. peer NULL = the best one. */
struct bench_row_info {
    const char *id, *title;
    enum bench_group group;
    enum bench_unit unit;
    double peer_bar;
    const char *peer;
    enum bench_bound bound;
    double bound_bar;
    double read_bar, write_bar; /* most bytes of one operation by the thriftiest peer's */
};
extern const struct bench_row_info bench_rows[BENCH_ROWS];
extern const char *const bench_units[BENCH_UNITS];
extern const char *const bench_bound_names[];

/* One row of one engine in one run. */
struct bench_result {
    bool there;      /* it was measured */
    bool verified;   /* and every count and value was as it must be */
    uint64_t ops;    /* operations, or items of scans */
    uint64_t amount; /* what the rate counts: operations, items, bytes */
    uint64_t ns;     /* of the whole work */
    double rate;     /* in the unit of the row */
    uint64_t p50_ns, p99_ns;
    double cpu_seconds;
    uint64_t written_bytes; /* to the device by this process while it was timed */
    uint64_t settled_bytes; /* and after it, until the engine came to rest */
    uint64_t read_bytes;
    uint64_t device_written_bytes, device_read_bytes; /* both times, by anybody */
    uint64_t file_bytes, peak_bytes;
};

/* ---- work ------------------------------------------------------------------------------- */

#define BENCH_ENGINES_MAX 16

struct bench_plan {
    uint64_t items;
    unsigned runs;
    bool quick;
    bool manual;
    uint64_t cache_bytes;
    const char *dir;
    bool wanted[BENCH_ROWS];
    const struct bench_engine *engines[BENCH_ENGINES_MAX];
    size_t engines_count;
};

/* A child process: one engine, one group, one run. */
struct bench_task {
    const struct bench_plan *plan;
    const struct bench_engine *engine;
    struct bench_setup setup;
    struct bench_keys keys;
    unsigned run;
    uint64_t base_bytes; /* memory of the process before anything was opened */
    void *db;
    struct bench_result *results; /* BENCH_ROWS of them, shared with the parent */
};

struct bench_worker;
typedef int (*bench_work_fn)(struct bench_worker *w);
/* One thread of a row. */
struct bench_worker {
    struct bench_task *task;
    void *session;
    void *arg;
    unsigned id, threads;
    uint64_t ops;      /* what it did; the function counts */
    uint64_t ops_most; /* and at most */
    uint64_t ns_most;
    uint64_t begin_ns, end_ns;
    struct bench_seen seen;
    struct sop_bench_histogram latency;
    int rc;
};

/* A row that is being measured. */
struct bench_timing {
    enum bench_row row;
    struct bench_meter before, after;
    struct bench_seen seen; /* of all threads */
    uint64_t ops, ns;
    uint64_t ops_of[256]; /* of each thread */
    struct sop_bench_histogram latency;
};

/* Limits of the work of one row. */
struct bench_limit {
    unsigned threads;
    uint64_t ops; /* of all threads together */
    double seconds;
};
bool bench_any_wanted(const struct bench_plan *plan, enum bench_group group);
/* Runs fn in sessions of its own on limit->threads threads; fills t. */
int bench_timed(struct bench_task *task, enum bench_row row, const struct bench_limit *limit,
                bench_work_fn fn, void *arg, struct bench_timing *t);
/* Writes the result down. `amount`: what the rate counts (operations, items, bytes). */
void bench_done(struct bench_task *task, struct bench_timing *t, uint64_t amount,
                bool verified);
/* As bench_done() after writes: lets the engine come to rest and charges what it writes. */
int bench_done_writing(struct bench_task *task, struct bench_timing *t, uint64_t amount,
                       bool verified);
/* Waits until the process does nothing any more: merges and the like run in the background. */
void bench_rest(void);
static inline bool bench_more(const struct bench_worker *w, uint64_t now)
{
    return w->ops < w->ops_most && now - w->begin_ns < w->ns_most;
}
int bench_task_open(struct bench_task *task);
int bench_task_close(struct bench_task *task);
/* Loads items number 0..count-1 in random order, `batch` a commit, as row `row` (or untimed,
 * BENCH_ROWS). */
int bench_load(struct bench_task *task, enum bench_row row, uint64_t count, size_t batch,
               bool ordered);
/* The same in random order and untimed, without letting the engine come to rest. */
int bench_load_only(struct bench_task *task, uint64_t count, size_t batch);
/* Scans everything; *verified becomes false unless there are so many items and each is right.
 */
int bench_count(struct bench_task *task, uint64_t expected, bool *verified);
/* Scales the amount of work down for --quick. */
uint64_t bench_amount(const struct bench_task *task, uint64_t full);

typedef int (*bench_group_fn)(struct bench_task *task);
int bench_classic10k(struct bench_task *task);
int bench_classic100k(struct bench_task *task);
int bench_core(struct bench_task *task);
int bench_ordered(struct bench_task *task);
int bench_single(struct bench_task *task);
int bench_values64k(struct bench_task *task);
int bench_values1m(struct bench_task *task);
int bench_ycsb_relaxed(struct bench_task *task);
int bench_ycsb_durable(struct bench_task *task);
int bench_cold(struct bench_task *task);
int bench_open(struct bench_task *task);

/* ---- reports ---------------------------------------------------------------------------- */

/* What the runs of one engine made of one row: the run with the median rate, and the spread. */
struct bench_summary {
    struct bench_result median;
    double least, most;
    unsigned runs;
    bool verified;
};
/* SOP beside the others in one row. */
struct bench_verdict {
    const struct bench_engine *peer; /* the one compared with; NULL = none was measured */
    double peer_rate;
    double peer_ratio, bound_ratio; /* above 1: SOP is ahead; 0 = not known */
    double cpu_ratio; /* the same of the CPU time for the same amount, with the peer */
    /* Bytes of one operation by those of the peer that needs least; 0 = not known. Written ones
     * are those of the device, so they decide nothing: others may write, too. */
    double read_ratio, write_ratio;
    bool has_bar, pass;
};
struct bench_report {
    const struct bench_plan *plan;
    struct bench_summary of[BENCH_ROWS][BENCH_ENGINES_MAX];
    unsigned failures;
};
void bench_summarize(struct bench_summary *to, const struct bench_result *runs, size_t count,
                     enum bench_row row);
/* CPU time of one of what the rate counts. */
double bench_cpu_us(const struct bench_result *r);
void bench_judge(struct bench_verdict *v, const struct bench_report *report,
                 enum bench_row row);
void bench_print(const struct bench_report *report);
json_t *bench_report_json(const struct bench_report *report);
int bench_svg(const struct bench_report *report, const char *path, struct sop_err *err);

#endif
