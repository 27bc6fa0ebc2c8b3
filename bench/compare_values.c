/* Large values: put in commits of 4 MiB, read at random. */
#include "bench/compare.h"

#include <stdlib.h>

#define COMMIT_BYTES (4u << 20)
#define TOTAL_BYTES  (UINT64_C(512) << 20)
#define PUT_SECONDS  20.0
#define GET_SECONDS  3.0

struct values {
    struct bench_shuffle order;
    uint64_t done;
};

static int put(struct bench_worker *w)
{
    const struct values *v = w->arg;
    size_t commit = COMMIT_BYTES / w->task->setup.value_bytes;
    struct bench_batch batch;
    int rc = bench_batch_init(&batch, commit, w->task->setup.value_bytes);
    w->begin_ns = sop_bench__now_ns();
    uint64_t before = w->begin_ns;
    while (rc == 0 && bench_more(w, before)) {
        for (size_t i = 0; i < commit; i++) {
            bench_batch_set(&batch, i, &w->task->keys, bench_shuffled(&v->order, w->ops + i),
                            0);
        }
        rc = w->task->engine->insert(w->session, batch.items, commit);
        w->ops += commit;
        uint64_t now = sop_bench__now_ns();
        sop_bench__record(&w->latency, now - before);
        before = now;
    }
    bench_batch_fini(&batch);
    return rc;
}

static int get(struct bench_worker *w)
{
    const struct values *v = w->arg;
    uint64_t state = bench_mix(w->task->run + 1);
    uint8_t key[BENCH_KEY_BYTES];
    struct bench_item item = {.key = {key, BENCH_KEY_BYTES}};
    int rc = w->task->engine->read_begin(w->session);
    for (uint64_t now = w->begin_ns; rc == 0 && bench_more(w, now); w->ops++) {
        uint64_t before = now;
        bench_key(&w->task->keys, bench_shuffled(&v->order, bench_random(&state) % v->done),
                  key);
        rc = w->task->engine->get(w->session, &item, 1, &w->seen);
        now = sop_bench__now_ns();
        sop_bench__record(&w->latency, now - before);
    }
    return rc != 0 ? rc : w->task->engine->read_end(w->session);
}

static int put_and_get(struct bench_task *task, enum bench_row row, struct bench_timing *t)
{
    struct values v;
    struct bench_limit limit = {1, task->keys.items, PUT_SECONDS};
    bench_shuffle_init(&v.order, task->keys.items, 1);
    int rc = bench_timed(task, row, &limit, put, &v, t);
    if (rc == 0) {
        rc = bench_done_writing(task, t, t->ops * task->setup.value_bytes, true);
    }
    v.done = t->ops;
    if (rc != 0 || (task->engine->can & BENCH_READS) == 0) {
        return rc;
    }
    bool complete = true;
    rc = bench_count(task, v.done, &complete);
    limit = (struct bench_limit){1, bench_amount(task, 4 * v.done), GET_SECONDS};
    if (rc == 0) {
        rc = bench_timed(task, row + 1, &limit, get, &v, t);
    }
    if (rc == 0) {
        bool found = t->seen.items == t->ops && t->seen.wrong == 0 && t->seen.missing == 0;
        bench_done(task, t, t->ops * task->setup.value_bytes, found);
        task->results[row].verified = found && complete;
    }
    return rc;
}

static int values(struct bench_task *task, enum bench_row row, size_t value_bytes)
{
    uint64_t total = bench_amount(task, TOTAL_BYTES);
    uint64_t commit = COMMIT_BYTES / value_bytes;
    uint64_t count = total / value_bytes / commit * commit;
    task->setup.value_bytes = value_bytes;
    task->setup.items = count;
    task->setup.data_bytes = count * value_bytes;
    bench_keys_init(&task->keys, count);
    struct bench_timing *t = malloc(sizeof *t);
    int rc = t != NULL ? bench_task_open(task) : -1;
    rc = rc == 0 ? put_and_get(task, row, t) : rc;
    free(t);
    return rc == 0 ? bench_task_close(task) : rc;
}

int bench_values64k(struct bench_task *task)
{
    return values(task, ROW_VALUES64K_PUT, 64u << 10);
}

int bench_values1m(struct bench_task *task)
{
    return values(task, ROW_VALUES1M_PUT, 1u << 20);
}
