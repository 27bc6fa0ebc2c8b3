/* The benchmark that the original publishes, on every engine: N items key_%d/value_%d in one
 * commit, N reads in one reading transaction, N removes in one commit; the making of the texts
 * is in the time, as in `sop-bench classic`. */
#include "bench/compare.h"

#include <stdlib.h>

#define VALUE_ROOM  32
#define SAMPLE_MASK 7

struct classic {
    struct bench_batch batch;
    uint64_t count;
    bool removes;
};

static int change(struct bench_worker *w)
{
    struct classic *c = w->arg;
    const struct bench_engine *e = w->task->engine;
    for (uint64_t i = 0; i < c->count; i++) {
        bench_batch_text(&c->batch, i, i);
    }
    w->ops = c->count;
    return (c->removes ? e->remove : e->insert)(w->session, c->batch.items, c->count);
}

static int lookup(struct bench_worker *w)
{
    struct classic *c = w->arg;
    const struct bench_engine *e = w->task->engine;
    w->seen.texts = true;
    int rc = e->read_begin(w->session);
    for (; rc == 0 && w->ops < c->count; w->ops++) {
        uint64_t before = (w->ops & SAMPLE_MASK) == 0 ? sop_bench__now_ns() : 0;
        bench_batch_text(&c->batch, 0, w->ops);
        rc = e->get(w->session, c->batch.items, 1, &w->seen);
        if (before != 0) {
            sop_bench__record(&w->latency, sop_bench__now_ns() - before);
        }
    }
    return rc != 0 ? rc : e->read_end(w->session);
}

static int count_left(struct bench_worker *w)
{
    const struct sop_slice first = {(const uint8_t *)"", 0};
    w->seen.texts = true;
    return w->task->engine->scan(w->session, first, SIZE_MAX, &w->seen);
}

static int run(struct bench_task *task, enum bench_row insert, struct classic *c,
               struct bench_timing *t)
{
    const struct bench_limit one = {.threads = 1, .ops = c->count};
    int rc = bench_timed(task, insert, &one, change, c, t);
    if (rc == 0) {
        bench_done(task, t, c->count, true);
        rc = bench_timed(task, insert + 1, &one, lookup, c, t);
    }
    if (rc == 0) {
        bool found = t->seen.items == c->count && t->seen.wrong == 0 && t->seen.missing == 0;
        bench_done(task, t, c->count, found);
        task->results[insert].verified = found;
        c->removes = true;
        rc = bench_timed(task, insert + 2, &one, change, c, t);
    }
    if (rc == 0) {
        bench_done(task, t, c->count, true);
        rc = bench_timed(task, BENCH_ROWS, &one, count_left, c, t);
        task->results[insert + 2].verified = rc == 0 && t->seen.items == 0;
    }
    return rc;
}

static int classic(struct bench_task *task, enum bench_row insert, uint64_t count)
{
    if ((task->engine->can & BENCH_READS) == 0) {
        return 0;
    }
    struct classic c = {.count = count};
    struct bench_timing *t = malloc(sizeof *t);
    task->setup.value_bytes = VALUE_ROOM;
    task->setup.items = count;
    task->setup.data_bytes = count * VALUE_ROOM;
    int rc = t != NULL ? bench_batch_init(&c.batch, count, VALUE_ROOM) : -1;
    rc = rc == 0 ? bench_task_open(task) : rc;
    rc = rc == 0 ? run(task, insert, &c, t) : rc;
    rc = rc == 0 ? bench_task_close(task) : rc;
    bench_batch_fini(&c.batch);
    free(t);
    return rc;
}

int bench_classic10k(struct bench_task *task)
{
    return classic(task, ROW_CLASSIC10K_INSERT, 10000);
}

int bench_classic100k(struct bench_task *task)
{
    return classic(task, ROW_CLASSIC100K_INSERT, 100000);
}
