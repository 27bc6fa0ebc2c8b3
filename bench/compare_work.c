/* How a row is measured: threads with sessions of their own, time from the first start to the
 * last end, meters around it. */
#include "bench/compare.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#define REST_POLL_US     50000
#define REST_POLLS_QUIET 4       /* so many polls without work are rest */
#define REST_POLL_NS_MAX 1500000 /* CPU time that is no work */
#define REST_POLLS_MOST  2400

int bench_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("sop-bench: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return -1;
}

bool bench_any_wanted(const struct bench_plan *plan, enum bench_group group)
{
    bool any = false;
    for (size_t row = 0; row < BENCH_ROWS; row++) {
        any = any || (plan->wanted[row] && bench_rows[row].group == group);
    }
    return any;
}

uint64_t bench_amount(const struct bench_task *task, uint64_t full)
{
    return task->plan->quick ? (full + 9) / 10 : full;
}

int bench_task_open(struct bench_task *task)
{
    int rc = task->engine->open(&task->db, &task->setup);
    task->setup.create = false;
    return rc;
}

int bench_task_close(struct bench_task *task)
{
    int rc = task->db != NULL ? task->engine->close(task->db) : 0;
    task->db = NULL;
    return rc;
}

/* ---- threads ---------------------------------------------------------------------------- */

struct thread {
    struct bench_worker worker;
    bench_work_fn work;
    pthread_barrier_t *start;
    pthread_t id;
};

static void *run_thread(void *arg)
{
    struct thread *t = arg;
    struct bench_worker *w = &t->worker;
    const struct bench_engine *engine = w->task->engine;
    w->rc = engine->session_open(&w->session, w->task->db);
    pthread_barrier_wait(t->start);
    w->begin_ns = sop_bench__now_ns();
    if (w->rc == 0) {
        w->rc = t->work(w);
    }
    w->end_ns = sop_bench__now_ns();
    if (w->session != NULL) {
        engine->session_close(w->session);
    }
    return NULL;
}

static void add_seen(struct bench_seen *to, const struct bench_seen *from)
{
    to->items += from->items;
    to->missing += from->missing;
    to->wrong += from->wrong;
    to->versions += from->versions;
    to->keys += from->keys;
    to->bytes += from->bytes;
    to->touched += from->touched;
}

static int collect(struct bench_timing *t, const struct thread *threads, unsigned count)
{
    uint64_t begin = UINT64_MAX, end = 0;
    int rc = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct bench_worker *w = &threads[i].worker;
        rc = w->rc != 0 ? w->rc : rc;
        begin = w->begin_ns < begin ? w->begin_ns : begin;
        end = w->end_ns > end ? w->end_ns : end;
        t->ops += w->ops;
        t->ops_of[i] = w->ops;
        add_seen(&t->seen, &w->seen);
        sop_bench__merge(&t->latency, &w->latency);
    }
    t->ns = end - begin;
    return rc;
}

int bench_timed(struct bench_task *task, enum bench_row row, const struct bench_limit *limit,
                bench_work_fn fn, void *arg, struct bench_timing *t)
{
    memset(t, 0, sizeof *t);
    t->row = row;
    struct thread *threads = calloc(limit->threads, sizeof *threads);
    pthread_barrier_t start;
    if (threads == NULL || pthread_barrier_init(&start, NULL, limit->threads + 1) != 0) {
        free(threads);
        return bench_fail("no memory for %u threads", limit->threads);
    }
    for (unsigned i = 0; i < limit->threads; i++) {
        struct thread *th = &threads[i];
        th->worker = (struct bench_worker){
            .task = task,
            .arg = arg,
            .id = i,
            .threads = limit->threads,
            .ops_most = limit->ops / limit->threads,
            .ns_most = (uint64_t)(limit->seconds * (task->plan->quick ? 1e8 : 1e9)),
        };
        th->work = fn;
        th->start = &start;
        if (pthread_create(&th->id, NULL, run_thread, th) != 0) {
            abort(); /* those that wait at the barrier would never leave it */
        }
    }
    bench_peak_reset();
    bench_meter_read(&t->before, task->setup.folder);
    pthread_barrier_wait(&start);
    for (unsigned i = 0; i < limit->threads; i++) {
        pthread_join(threads[i].id, NULL);
    }
    bench_meter_read(&t->after, task->setup.folder);
    int rc = collect(t, threads, limit->threads);
    pthread_barrier_destroy(&start);
    free(threads);
    return rc == 0 ? 0
                   : bench_fail("%s: %s failed", task->engine->name,
                                row < BENCH_ROWS ? bench_rows[row].id : "preparation");
}

/* ---- results ---------------------------------------------------------------------------- */

void bench_done(struct bench_task *task, struct bench_timing *t, uint64_t amount, bool verified)
{
    if (t->row >= BENCH_ROWS) {
        return;
    }
    struct bench_meter now;
    bench_meter_read(&now, task->setup.folder);
    double seconds = (double)(t->ns > 0 ? t->ns : 1) / 1e9;
    enum bench_unit unit = bench_rows[t->row].unit;
    uint64_t peak = bench_peak_bytes();
    task->results[t->row] = (struct bench_result){
        .there = true,
        .verified = verified,
        .ops = t->ops,
        .amount = amount,
        .ns = t->ns,
        .rate = unit == BENCH_MILLISECONDS ? seconds * 1e3
                : unit == BENCH_MEGABYTES  ? (double)amount / 1e6 / seconds
                                           : (double)amount / seconds,
        .p50_ns = sop_bench__percentile(&t->latency, 0.50),
        .p99_ns = sop_bench__percentile(&t->latency, 0.99),
        .cpu_seconds = (double)(t->after.cpu_ns - t->before.cpu_ns) / 1e9,
        .written_bytes = t->after.write_bytes - t->before.write_bytes,
        .settled_bytes = now.write_bytes - t->after.write_bytes,
        .read_bytes = t->after.read_bytes - t->before.read_bytes,
        .device_written_bytes = now.device_writes - t->before.device_writes,
        .device_read_bytes = t->after.device_reads - t->before.device_reads,
        .file_bytes = bench_folder_bytes(task->setup.folder),
        .peak_bytes = peak > task->base_bytes ? peak - task->base_bytes : 0,
    };
}

void bench_rest(void)
{
    struct bench_meter m;
    bench_meter_read(&m, "/");
    uint64_t before = m.cpu_ns;
    unsigned quiet = 0;
    for (unsigned i = 0; i < REST_POLLS_MOST && quiet < REST_POLLS_QUIET; i++) {
        usleep(REST_POLL_US);
        bench_meter_read(&m, "/");
        quiet = m.cpu_ns - before < REST_POLL_NS_MAX ? quiet + 1 : 0;
        before = m.cpu_ns;
    }
}

int bench_done_writing(struct bench_task *task, struct bench_timing *t, uint64_t amount,
                       bool verified)
{
    int rc = task->engine->settle != NULL ? task->engine->settle(task->db) : 0;
    bench_rest();
    bench_done(task, t, amount, verified);
    return rc == 0 ? 0 : bench_fail("%s: settling failed", task->engine->name);
}

/* ---- loads ------------------------------------------------------------------------------ */

struct load {
    struct bench_shuffle order;
    uint64_t count;
    size_t batch;
    bool ordered;
};

static int load(struct bench_worker *w)
{
    const struct load *l = w->arg;
    struct bench_batch batch;
    int rc = bench_batch_init(&batch, l->batch, w->task->setup.value_bytes);
    uint64_t before = sop_bench__now_ns();
    w->begin_ns = before; /* filling the batch with random bytes is no part of the load */
    while (rc == 0 && w->ops < l->count) {
        size_t n = l->count - w->ops < l->batch ? (size_t)(l->count - w->ops) : l->batch;
        for (size_t i = 0; i < n; i++) {
            uint64_t number = l->ordered ? w->ops + i : bench_shuffled(&l->order, w->ops + i);
            bench_batch_set(&batch, i, &w->task->keys, number, 0);
        }
        rc = w->task->engine->insert(w->session, batch.items, n);
        w->ops += n;
        uint64_t now = sop_bench__now_ns();
        sop_bench__record(&w->latency, now - before);
        before = now;
    }
    bench_batch_fini(&batch);
    return rc;
}

static int count_all(struct bench_worker *w)
{
    const struct sop_slice first = {(const uint8_t *)"", 0};
    return w->task->engine->scan(w->session, first, SIZE_MAX, &w->seen);
}

int bench_count(struct bench_task *task, uint64_t expected, bool *verified)
{
    if ((task->engine->can & BENCH_READS) == 0) {
        return 0;
    }
    struct bench_timing *t = malloc(sizeof *t);
    struct bench_limit limit = {.threads = 1};
    int rc = t != NULL ? bench_timed(task, BENCH_ROWS, &limit, count_all, NULL, t) : -1;
    if (rc == 0 && (t->seen.items != expected || t->seen.wrong != 0)) {
        *verified = false;
        bench_fail("%s: a scan found %llu items of which %llu are wrong, instead of %llu",
                   task->engine->name, (unsigned long long)t->seen.items,
                   (unsigned long long)t->seen.wrong, (unsigned long long)expected);
    }
    free(t);
    return rc;
}

int bench_load_only(struct bench_task *task, uint64_t count, size_t batch)
{
    struct load l = {.count = count, .batch = batch};
    bench_shuffle_init(&l.order, count, 1);
    struct bench_limit limit = {.threads = 1, .ops = count};
    struct bench_timing *t = malloc(sizeof *t);
    int rc = t != NULL ? bench_timed(task, BENCH_ROWS, &limit, load, &l, t) : -1;
    free(t);
    return rc;
}

int bench_load(struct bench_task *task, enum bench_row row, uint64_t count, size_t batch,
               bool ordered)
{
    struct load l = {.count = count, .batch = batch, .ordered = ordered};
    bench_shuffle_init(&l.order, count, 1);
    struct bench_limit limit = {.threads = 1, .ops = count};
    struct bench_timing *t = malloc(sizeof *t);
    int rc = t != NULL ? bench_timed(task, row, &limit, load, &l, t) : -1;
    if (rc == 0) {
        rc = bench_done_writing(task, t, count, true);
    }
    bool verified = true;
    if (rc == 0 && row < BENCH_ROWS) {
        rc = bench_count(task, count, &verified);
        task->results[row].verified = verified;
    }
    free(t);
    return rc;
}
