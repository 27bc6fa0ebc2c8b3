/* The rows on one database: load, reads, scans, updates, deletes; and those of single commits.
 */
#include "bench/compare.h"

#include <stdlib.h>

#define COMMIT_LARGE   10000 /* items of a commit of loads and deletes */
#define COMMIT_SMALL   100
#define READS_A_CALL   100
#define RANGE_ITEMS    100
#define SAMPLE_MASK    7 /* one operation of 8 is timed by itself */
#define SECONDS_READ   5.0
#define SECONDS_WRITE  8.0
#define SCAN_PASSES    20
#define SCAN_SECONDS   0.7
#define SINGLE_BEFORE  100000 /* items that are there when single items are added */
#define SINGLE_SECONDS 4.0

static struct sop_slice slice(const uint8_t *key)
{
    return (struct sop_slice){key, BENCH_KEY_BYTES};
}

static uint64_t thread_seed(const struct bench_worker *w)
{
    return bench_mix(w->task->run * 1000 + w->id + 1);
}

/* ---- reads ------------------------------------------------------------------------------ */

static int read_points(struct bench_worker *w)
{
    const struct bench_engine *e = w->task->engine;
    uint64_t state = thread_seed(w);
    uint8_t key[BENCH_KEY_BYTES];
    struct bench_item item = {.key = slice(key)};
    int rc = e->read_begin(w->session);
    for (; rc == 0 && w->ops < w->ops_most; w->ops++) {
        bench_key(&w->task->keys, bench_random(&state) % w->task->keys.items, key);
        if ((w->ops & SAMPLE_MASK) != 0) {
            rc = e->get(w->session, &item, 1, &w->seen);
            continue;
        }
        uint64_t before = sop_bench__now_ns();
        rc = e->get(w->session, &item, 1, &w->seen);
        uint64_t now = sop_bench__now_ns();
        sop_bench__record(&w->latency, now - before);
        if (!bench_more(w, now)) {
            w->ops++;
            break;
        }
    }
    return rc != 0 ? rc : e->read_end(w->session);
}

static int read_many(struct bench_worker *w)
{
    const struct bench_engine *e = w->task->engine;
    uint64_t state = thread_seed(w);
    uint8_t keys[READS_A_CALL][BENCH_KEY_BYTES];
    struct bench_item items[READS_A_CALL];
    int rc = e->read_begin(w->session);
    uint64_t now = w->begin_ns;
    while (rc == 0 && bench_more(w, now)) {
        for (size_t i = 0; i < READS_A_CALL; i++) {
            bench_key(&w->task->keys, bench_random(&state) % w->task->keys.items, keys[i]);
            items[i].key = slice(keys[i]);
        }
        uint64_t before = sop_bench__now_ns();
        rc = e->get(w->session, items, READS_A_CALL, &w->seen);
        now = sop_bench__now_ns();
        sop_bench__record(&w->latency, now - before);
        w->ops += READS_A_CALL;
    }
    return rc != 0 ? rc : e->read_end(w->session);
}

static int scan_all(struct bench_worker *w)
{
    const struct bench_engine *e = w->task->engine;
    int rc = e->read_begin(w->session);
    for (uint64_t now = w->begin_ns; rc == 0 && bench_more(w, now); w->ops++) {
        rc =
            e->scan(w->session, (struct sop_slice){(const uint8_t *)"", 0}, SIZE_MAX, &w->seen);
        now = sop_bench__now_ns();
    }
    return rc != 0 ? rc : e->read_end(w->session);
}

/* The sum that bench_see() makes of the keys of a range. */
static uint64_t sum_of_keys(const struct bench_keys *keys, uint64_t from, uint64_t count)
{
    uint64_t sum = 0;
    uint8_t key[BENCH_KEY_BYTES];
    for (uint64_t i = from; i < from + count; i++) {
        bench_key(keys, i, key);
        sum += bench_word(key);
    }
    return sum;
}

static int read_ranges(struct bench_worker *w)
{
    const struct bench_engine *e = w->task->engine;
    const struct bench_keys *keys = &w->task->keys;
    uint64_t state = thread_seed(w);
    uint8_t key[BENCH_KEY_BYTES];
    uint64_t items = keys->items < RANGE_ITEMS ? keys->items : RANGE_ITEMS;
    int rc = e->read_begin(w->session);
    for (uint64_t now = w->begin_ns; rc == 0 && bench_more(w, now); w->ops++) {
        uint64_t from = bench_random(&state) % (keys->items - items + 1);
        bench_key(keys, from, key);
        uint64_t sum = w->seen.keys;
        uint64_t before = sop_bench__now_ns();
        rc = e->scan(w->session, slice(key), items, &w->seen);
        now = sop_bench__now_ns();
        sop_bench__record(&w->latency, now - before);
        if ((w->ops & 15) == 0 && w->seen.keys - sum != sum_of_keys(keys, from, items)) {
            w->seen.wrong++;
        }
    }
    return rc != 0 ? rc : e->read_end(w->session);
}

static int reading(struct bench_task *task, enum bench_row row, struct bench_limit limit,
                   bench_work_fn fn, struct bench_timing *t)
{
    if (row < BENCH_ROWS && !task->plan->wanted[row]) {
        return 0;
    }
    limit.ops = bench_amount(task, limit.ops);
    int rc = bench_timed(task, row, &limit, fn, NULL, t);
    uint64_t expected = row == ROW_SCAN       ? t->ops * task->keys.items
                        : row == ROW_RANGE100 ? t->ops * RANGE_ITEMS
                                              : t->ops;
    bool verified = t->seen.items == expected && t->seen.missing == 0 && t->seen.wrong == 0;
    if (row == ROW_SCAN) {
        uint64_t sum = sum_of_keys(&task->keys, 0, task->keys.items);
        verified = verified && t->seen.keys == sum * t->ops;
    }
    bench_done(task, t, t->seen.items, verified);
    return rc;
}

static int reads(struct bench_task *task, struct bench_timing *t)
{
    uint64_t n = task->keys.items < 1000000 ? task->keys.items : 1000000;
    /* Warm: everything once in order, then some at random. */
    struct bench_limit warm = {1, 1, SECONDS_READ};
    int rc = bench_timed(task, BENCH_ROWS, &warm, scan_all, NULL, t);
    struct {
        enum bench_row row;
        struct bench_limit limit;
        bench_work_fn fn;
    } steps[] = {
        {BENCH_ROWS, {1, n / 2, SECONDS_READ}, read_points},
        {ROW_READ1, {1, n, SECONDS_READ}, read_points},
        {ROW_READ2, {2, 2 * n, SECONDS_READ}, read_points},
        {ROW_READ_MANY, {1, n, SECONDS_READ}, read_many},
        {ROW_SCAN, {1, SCAN_PASSES * 10, SCAN_SECONDS}, scan_all},
        {ROW_RANGE100, {1, n / 20, SECONDS_READ}, read_ranges},
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && rc == 0; i++) {
        rc = reading(task, steps[i].row, steps[i].limit, steps[i].fn, t);
    }
    return rc;
}

/* ---- updates and deletes ---------------------------------------------------------------- */

struct changes {
    struct bench_shuffle order;
    size_t commit;
    bool removes;
    uint64_t done;
};

static int change(struct bench_worker *w)
{
    const struct changes *c = w->arg;
    const struct bench_engine *e = w->task->engine;
    struct bench_batch batch;
    int rc = bench_batch_init(&batch, c->commit, w->task->setup.value_bytes);
    w->begin_ns = sop_bench__now_ns();
    uint64_t before = w->begin_ns;
    while (rc == 0 && bench_more(w, before)) {
        uint64_t left = w->ops_most - w->ops;
        size_t n = left < c->commit ? (size_t)left : c->commit;
        for (size_t i = 0; i < n; i++) {
            bench_batch_set(&batch, i, &w->task->keys, bench_shuffled(&c->order, w->ops + i),
                            1);
        }
        rc = (c->removes ? e->remove : e->update)(w->session, batch.items, n);
        w->ops += n;
        uint64_t now = sop_bench__now_ns();
        sop_bench__record(&w->latency, now - before);
        before = now;
    }
    bench_batch_fini(&batch);
    return rc;
}

/* Reads what was updated. */
static int read_changed(struct bench_worker *w)
{
    const struct changes *c = w->arg;
    uint8_t key[BENCH_KEY_BYTES] = {0};
    struct bench_item item = {.key = slice(key)};
    int rc = w->task->engine->read_begin(w->session);
    for (; rc == 0 && w->ops < c->done; w->ops++) {
        bench_key(&w->task->keys, bench_shuffled(&c->order, w->ops), key);
        rc = w->task->engine->get(w->session, &item, 1, &w->seen);
    }
    return rc != 0 ? rc : w->task->engine->read_end(w->session);
}

static int updates(struct bench_task *task, struct bench_timing *t)
{
    struct changes c = {.commit = COMMIT_SMALL};
    if (!task->plan->wanted[ROW_UPDATE100]) {
        return 0;
    }
    bench_shuffle_init(&c.order, task->keys.items, 2);
    uint64_t most = task->keys.items < 1000000 ? task->keys.items / 4 : 250000;
    struct bench_limit limit = {1, most, SECONDS_WRITE};
    int rc = bench_timed(task, ROW_UPDATE100, &limit, change, &c, t);
    if (rc == 0) {
        rc = bench_done_writing(task, t, t->ops, true);
    }
    if (rc != 0 || (task->engine->can & BENCH_READS) == 0) {
        return rc;
    }
    c.done = t->ops;
    struct bench_limit check = {1, c.done, SECONDS_WRITE};
    rc = bench_timed(task, BENCH_ROWS, &check, read_changed, &c, t);
    task->results[ROW_UPDATE100].verified =
        rc == 0 && t->seen.items == c.done && t->seen.versions == c.done && t->seen.wrong == 0;
    return rc;
}

static int deletes(struct bench_task *task, struct bench_timing *t)
{
    struct changes c = {.commit = COMMIT_LARGE, .removes = true};
    if (!task->plan->wanted[ROW_DELETE]) {
        return 0;
    }
    bench_shuffle_init(&c.order, task->keys.items, 3);
    uint64_t half = task->keys.items / 2;
    struct bench_limit limit = {1, half < 5000000 ? half : 5000000, 1e6};
    int rc = bench_timed(task, ROW_DELETE, &limit, change, &c, t);
    uint64_t left = task->keys.items - t->ops;
    if (rc == 0) {
        rc = bench_done_writing(task, t, t->ops, true);
    }
    bool verified = true;
    if (rc == 0) {
        rc = bench_count(task, left, &verified);
        task->results[ROW_DELETE].verified = verified;
    }
    return rc;
}

int bench_core(struct bench_task *task)
{
    struct bench_timing *t = malloc(sizeof *t);
    int rc = t != NULL ? bench_task_open(task) : -1;
    if (rc == 0) {
        rc = bench_load(task, ROW_LOAD_RANDOM, task->keys.items, COMMIT_LARGE, false);
    }
    if (rc == 0 && (task->engine->can & BENCH_READS) != 0) {
        rc = reads(task, t);
    }
    rc = rc == 0 ? updates(task, t) : rc;
    rc = rc == 0 ? deletes(task, t) : rc;
    free(t);
    return rc == 0 ? bench_task_close(task) : rc;
}

int bench_ordered(struct bench_task *task)
{
    task->setup.ordered = true;
    int rc = bench_task_open(task);
    if (rc == 0) {
        rc = bench_load(task, ROW_LOAD_ORDERED, task->keys.items, COMMIT_LARGE, true);
    }
    return rc == 0 ? bench_task_close(task) : rc;
}

/* ---- single items ----------------------------------------------------------------------- */

struct singles {
    uint64_t base; /* number of the first key */
    unsigned threads;
    const uint64_t *ops_of; /* when checking */
};

static int add_singles(struct bench_worker *w)
{
    const struct singles *s = w->arg;
    struct bench_batch batch;
    int rc = bench_batch_init(&batch, 1, w->task->setup.value_bytes);
    uint64_t now = sop_bench__now_ns();
    while (rc == 0 && bench_more(w, now)) {
        bench_batch_set(&batch, 0, &w->task->keys, s->base + w->ops * w->threads + w->id, 0);
        uint64_t before = sop_bench__now_ns();
        rc = w->task->engine->insert(w->session, batch.items, 1);
        now = sop_bench__now_ns();
        sop_bench__record(&w->latency, now - before);
        w->ops++;
    }
    bench_batch_fini(&batch);
    return rc;
}

static int read_singles(struct bench_worker *w)
{
    const struct singles *s = w->arg;
    uint8_t key[BENCH_KEY_BYTES] = {0};
    struct bench_item item = {.key = slice(key)};
    int rc = w->task->engine->read_begin(w->session);
    for (unsigned thread = 0; thread < s->threads; thread++) {
        for (uint64_t i = 0; rc == 0 && i < s->ops_of[thread]; i++) {
            bench_key(&w->task->keys, s->base + i * s->threads + thread, key);
            rc = w->task->engine->get(w->session, &item, 1, &w->seen);
        }
    }
    return rc != 0 ? rc : w->task->engine->read_end(w->session);
}

static int single(struct bench_task *task, enum bench_row row, struct bench_limit limit,
                  struct singles *s)
{
    struct bench_timing *t = malloc(2 * sizeof *t);
    limit.ops = bench_amount(task, limit.ops);
    s->threads = limit.threads;
    int rc = t != NULL ? bench_timed(task, row, &limit, add_singles, s, &t[0]) : -1;
    if (rc == 0) {
        rc = bench_done_writing(task, &t[0], t[0].ops, true);
    }
    if (rc == 0 && (task->engine->can & BENCH_READS) != 0) {
        struct bench_limit check = {.threads = 1};
        s->ops_of = t[0].ops_of;
        rc = bench_timed(task, BENCH_ROWS, &check, read_singles, s, &t[1]);
        task->results[row].verified =
            rc == 0 && t[1].seen.items == t[0].ops && t[1].seen.wrong == 0;
    }
    s->base += limit.ops + limit.threads;
    free(t);
    return rc;
}

int bench_single(struct bench_task *task)
{
    uint64_t before = task->keys.items < SINGLE_BEFORE ? task->keys.items : SINGLE_BEFORE;
    struct singles s = {.base = task->keys.items};
    int rc = bench_task_open(task);
    if (rc == 0) {
        rc = bench_load(task, BENCH_ROWS, before, COMMIT_LARGE, false);
    }
    const struct {
        enum bench_row row;
        struct bench_limit limit;
    } steps[] = {
        {ROW_SINGLE1, {1, 15000, SINGLE_SECONDS}},
        {ROW_SINGLE8, {8, 60000, SINGLE_SECONDS}},
        {ROW_SINGLE64, {64, 128000, SINGLE_SECONDS}},
    };
    for (size_t i = 0; i < 3 && rc == 0; i++) {
        if (task->plan->wanted[steps[i].row]) {
            rc = single(task, steps[i].row, steps[i].limit, &s);
        }
    }
    return rc == 0 ? bench_task_close(task) : rc;
}
