/* Reads that miss the cache, and opening after a kill. */
#include "bench/compare.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define COMMIT_LARGE 10000
#define COMMIT_OPEN  1000
#define COLD_PART    10         /* the cache is this part of the data */
#define COLD_LEAST   (8u << 20) /* but not below what all engines accept */
#define COLD_OPS     40000
#define COLD_SECONDS 8.0
#define POLL_MASK    31 /* how often those bytes are looked at */
#define OPEN_CHECKED 100

/* Loads in a process of its own, so that the memory it took is not counted for what follows; it
 * closes the database, or ends as if killed. */
static int load_elsewhere(struct bench_task *task, uint64_t count, size_t commit, bool closes)
{
    pid_t child = fork();
    if (child == 0) {
        int rc = bench_task_open(task);
        rc = rc == 0 ? bench_load_only(task, count, commit) : rc;
        if (rc == 0 && closes) {
            rc = task->engine->settle != NULL ? task->engine->settle(task->db) : 0;
            bench_rest();
            rc = rc == 0 ? bench_task_close(task) : rc;
        }
        _exit(rc == 0 ? 0 : 1);
    }
    int status = 1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    task->setup.create = false;
    return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : bench_fail("%s: loading failed", task->engine->name);
}

/* ---- cold reads ---------------------------------------------------------------------------
 * The engine's own cache is a tenth of the data, and the system's cache of its files is held to
 * as much again: it is emptied whenever so many bytes were read or written. */

static int read_cold(struct bench_worker *w)
{
    const struct bench_engine *e = w->task->engine;
    const struct bench_setup *setup = &w->task->setup;
    uint64_t state = bench_mix(w->task->run * 1000 + w->ops_most);
    uint8_t key[BENCH_KEY_BYTES];
    struct bench_item item = {.key = {key, BENCH_KEY_BYTES}};
    bench_folder_drop(setup->folder);
    uint64_t dropped = bench_process_bytes();
    int rc = e->read_begin(w->session);
    w->begin_ns = sop_bench__now_ns();
    for (uint64_t now = w->begin_ns; rc == 0 && bench_more(w, now); w->ops++) {
        bench_key(&w->task->keys, bench_random(&state) % w->task->keys.items, key);
        uint64_t before = sop_bench__now_ns();
        rc = e->get(w->session, &item, 1, &w->seen);
        now = sop_bench__now_ns();
        sop_bench__record(&w->latency, now - before);
        if ((w->ops & POLL_MASK) == 0 && bench_process_bytes() - dropped > setup->cache_bytes) {
            bench_folder_drop(setup->folder);
            dropped = bench_process_bytes();
            w->begin_ns += sop_bench__now_ns() - now; /* is not in the time */
            now = sop_bench__now_ns();
        }
    }
    return rc != 0 ? rc : e->read_end(w->session);
}

int bench_cold(struct bench_task *task)
{
    if ((task->engine->can & BENCH_REOPENS) == 0) {
        return 0;
    }
    struct bench_timing *t = malloc(sizeof *t);
    int rc = t != NULL ? load_elsewhere(task, task->keys.items, COMMIT_LARGE, true) : -1;
    uint64_t cache = task->setup.data_bytes / COLD_PART;
    task->setup.cache_bytes = cache < COLD_LEAST ? COLD_LEAST : cache;
    task->setup.cold = true;
    bench_folder_drop(task->setup.folder);
    rc = rc == 0 ? bench_task_open(task) : rc;
    bench_rest();
    struct bench_limit limit = {1, bench_amount(task, COLD_OPS), COLD_SECONDS};
    struct bench_limit warm = {1, limit.ops / 4, COLD_SECONDS};
    if (rc == 0) {
        rc = bench_timed(task, BENCH_ROWS, &warm, read_cold, NULL, t);
    }
    if (rc == 0) {
        rc = bench_timed(task, ROW_COLD_READ, &limit, read_cold, NULL, t);
    }
    if (rc == 0) {
        bool found = t->seen.items == t->ops && t->seen.wrong == 0 && t->seen.missing == 0;
        bench_done(task, t, t->ops, found);
    }
    free(t);
    return rc == 0 ? bench_task_close(task) : rc;
}

/* ---- opening ---------------------------------------------------------------------------- */

static int look(struct bench_worker *w)
{
    const struct bench_engine *e = w->task->engine;
    const uint64_t *count = w->arg;
    uint8_t key[BENCH_KEY_BYTES];
    struct bench_item item = {.key = {key, BENCH_KEY_BYTES}};
    struct bench_shuffle order;
    bench_shuffle_init(&order, *count, 1);
    int rc = e->read_begin(w->session);
    for (uint64_t i = 0; i < OPEN_CHECKED && rc == 0; i++, w->ops++) {
        bench_key(&w->task->keys, bench_shuffled(&order, *count - 1 - i), key);
        rc = e->get(w->session, &item, 1, &w->seen);
    }
    return rc != 0 ? rc : e->read_end(w->session);
}

static int open_after(struct bench_task *task, enum bench_row row, uint64_t count,
                      struct bench_timing *t)
{
    int rc = load_elsewhere(task, count, COMMIT_OPEN, false);
    memset(t, 0, sizeof *t);
    t->row = row;
    t->ops = 1;
    bench_peak_reset();
    bench_meter_read(&t->before, task->setup.folder);
    rc = rc == 0 ? bench_task_open(task) : rc;
    bench_meter_read(&t->after, task->setup.folder);
    t->ns = t->after.ns - t->before.ns;
    sop_bench__record(&t->latency, t->ns);
    bench_done(task, t, 1, rc == 0);
    struct bench_limit check = {.threads = 1};
    if (rc == 0) {
        rc = bench_timed(task, BENCH_ROWS, &check, look, &count, t);
        task->results[row].verified =
            rc == 0 && t->seen.items == OPEN_CHECKED && t->seen.wrong == 0;
    }
    bool verified = true;
    if (rc == 0) {
        rc = bench_count(task, count, &verified);
        task->results[row].verified = task->results[row].verified && verified;
    }
    return rc == 0 ? bench_task_close(task) : rc;
}

int bench_open(struct bench_task *task)
{
    if ((task->engine->can & BENCH_REOPENS) == 0) {
        return 0;
    }
    struct bench_timing *t = malloc(sizeof *t);
    int rc = t != NULL ? 0 : -1;
    for (enum bench_row row = ROW_OPEN_SHORT; row <= ROW_OPEN_LONG && rc == 0; row++) {
        uint64_t part = row == ROW_OPEN_SHORT ? 100 : row == ROW_OPEN_MIDDLE ? 10 : 1;
        uint64_t count = task->keys.items / part;
        if (task->plan->wanted[row]) {
            bench_folder_empty(task->setup.folder);
            task->setup.create = true;
            rc = open_after(task, row, count < OPEN_CHECKED ? OPEN_CHECKED : count, t);
        }
    }
    free(t);
    return rc;
}
