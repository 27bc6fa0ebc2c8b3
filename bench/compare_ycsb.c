/* YCSB A, B, C, E and F with two threads; each operation is a transaction of its own. D, which
 * reads what was inserted last, is not among them. */
#include "bench/compare.h"

#include <stdlib.h>

#define COMMIT_LARGE 10000
#define THREADS      2
#define SCAN_MOST    100
#define OPS          2000000
#define SECONDS      4.0
#define SAMPLE_MASK  7

/* Per cent; what is left are reads. */
struct mix {
    enum bench_row row; /* of the relaxed form */
    unsigned updates, scans, inserts, modifies;
};
static const struct mix mixes[] = {
    {ROW_YCSB_A_RELAXED, 50, 0, 0, 0}, {ROW_YCSB_B_RELAXED, 5, 0, 0, 0},
    {ROW_YCSB_C_RELAXED, 0, 0, 0, 0},  {ROW_YCSB_F_RELAXED, 0, 0, 0, 50},
    {ROW_YCSB_E_RELAXED, 0, 95, 5, 0},
};

struct ycsb {
    struct bench_zipf zipf;
    const struct mix *mix;
    _Atomic uint64_t next;     /* number of the next new key */
    _Atomic uint64_t version;  /* of the next update */
    _Atomic uint64_t expected; /* single items that reads and modifies must have found */
    _Atomic uint64_t bad_scans;
};

struct client {
    struct bench_worker *worker;
    struct ycsb *ycsb;
    struct bench_batch batch; /* of one item */
    uint64_t state;
    uint64_t lookups;
};

static int scan(struct client *c)
{
    struct bench_worker *w = c->worker;
    const struct bench_keys *keys = &w->task->keys;
    uint64_t number = bench_zipf_draw(&c->ycsb->zipf, &c->state);
    uint64_t length = 1 + bench_random(&c->state) % SCAN_MOST;
    uint64_t left = keys->items - number, before = w->seen.items;
    bench_batch_set(&c->batch, 0, keys, number, 0);
    int rc = w->task->engine->scan(w->session, c->batch.items->key, length, &w->seen);
    uint64_t got = w->seen.items - before;
    if (got > length || got < (left < length ? left : length)) {
        atomic_fetch_add(&c->ycsb->bad_scans, 1);
    }
    return rc;
}

static int operate(struct client *c)
{
    struct bench_worker *w = c->worker;
    const struct bench_engine *e = w->task->engine;
    const struct mix *mix = c->ycsb->mix;
    unsigned dice = (unsigned)(bench_random(&c->state) % 100);
    if (dice < mix->scans) {
        return scan(c);
    }
    if (dice < mix->scans + mix->inserts) {
        uint64_t number = atomic_fetch_add(&c->ycsb->next, 1);
        bench_batch_set(&c->batch, 0, &w->task->keys, number, 0);
        return e->insert(w->session, c->batch.items, 1);
    }
    uint64_t number = bench_zipf_draw(&c->ycsb->zipf, &c->state);
    if (dice < mix->updates) {
        uint64_t version = atomic_fetch_add(&c->ycsb->version, 1);
        bench_batch_set(&c->batch, 0, &w->task->keys, number, version);
        return e->update(w->session, c->batch.items, 1);
    }
    c->lookups++;
    if (dice < mix->modifies) {
        uint64_t version = atomic_fetch_add(&c->ycsb->version, 1);
        bench_batch_set(&c->batch, 0, &w->task->keys, number, version);
        return e->modify(w->session, c->batch.items, &w->seen);
    }
    bench_key(&w->task->keys, number, c->batch.keys);
    return e->get(w->session, c->batch.items, 1, &w->seen);
}

static int run_client(struct bench_worker *w)
{
    struct client c = {.worker = w, .ycsb = w->arg};
    c.state = bench_mix(w->task->run * 1000 + w->id + 17);
    int rc = bench_batch_init(&c.batch, 1, w->task->setup.value_bytes);
    uint64_t now = sop_bench__now_ns();
    while (rc == 0 && bench_more(w, now)) {
        uint64_t before = sop_bench__now_ns();
        rc = operate(&c);
        now = sop_bench__now_ns();
        sop_bench__record(&w->latency, now - before);
        w->ops++;
        for (unsigned i = 0; rc == 0 && i < SAMPLE_MASK && w->ops < w->ops_most; i++) {
            rc = operate(&c);
            w->ops++;
        }
    }
    if (c.ycsb->mix->scans == 0) {
        atomic_fetch_add(&c.ycsb->expected, c.lookups);
    }
    bench_batch_fini(&c.batch);
    return rc;
}

static int run_mix(struct bench_task *task, struct ycsb *y, enum bench_row row,
                   struct bench_timing *t)
{
    struct bench_limit limit = {THREADS, bench_amount(task, OPS), SECONDS};
    y->expected = 0;
    y->bad_scans = 0;
    int rc = bench_timed(task, row, &limit, run_client, y, t);
    bool verified = t->seen.wrong == 0 && t->seen.missing == 0 && y->bad_scans == 0 &&
                    (y->mix->scans > 0 || t->seen.items == y->expected);
    if (rc != 0 || y->mix->updates + y->mix->inserts + y->mix->modifies == 0) {
        bench_done(task, t, t->ops, verified);
        return rc;
    }
    rc = bench_done_writing(task, t, t->ops, verified);
    return rc;
}

static int ycsb(struct bench_task *task, enum bench_row first)
{
    if ((task->engine->can & BENCH_READS) == 0) {
        return 0;
    }
    struct ycsb y = {.next = task->keys.items, .version = 1};
    struct bench_timing *t = malloc(sizeof *t);
    bench_zipf_init(&y.zipf, task->keys.items);
    int rc = t != NULL ? bench_task_open(task) : -1;
    if (rc == 0) {
        rc = bench_load(task, BENCH_ROWS, task->keys.items, COMMIT_LARGE, false);
    }
    for (size_t i = 0; i < sizeof mixes / sizeof mixes[0] && rc == 0; i++) {
        enum bench_row row = first + (mixes[i].row - ROW_YCSB_A_RELAXED);
        bool verified = true;
        if (!task->plan->wanted[row]) {
            continue;
        }
        y.mix = &mixes[i];
        rc = run_mix(task, &y, row, t);
        if (rc == 0) {
            rc = bench_count(task, y.next, &verified);
            task->results[row].verified = task->results[row].verified && verified;
        }
    }
    free(t);
    return rc == 0 ? bench_task_close(task) : rc;
}

int bench_ycsb_relaxed(struct bench_task *task)
{
    task->setup.durable = false;
    return ycsb(task, ROW_YCSB_A_RELAXED);
}

int bench_ycsb_durable(struct bench_task *task)
{
    return ycsb(task, ROW_YCSB_A_DURABLE);
}
