/* One run of the classic benchmark.
 *
 * As published: begin, N adds, commit; begin a reading transaction, N gets, end it; begin, N
 * removes, commit. What is timed is all of that, with the making of the key and value texts,
 * and nothing else: opening, closing and checkpoints of close are not. With T threads each has
 * its own transactions over its own T-th of the keys. Every value read is compared. */
#include "bench/bench.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_BYTES 32

struct worker {
    const struct sop_bench_config *config;
    const struct sop_bench_order *order;
    struct sop_db *db;
    size_t from, to; /* places in the order */
    enum sop_bench_phase phase;
    struct sop_bench_histogram *latency; /* NULL = not measured */
    uint64_t commit_ns;
    uint8_t *value; /* value_size bytes, or NULL */
    pthread_t thread;
    int rc;
    struct sop_err err;
};

/* Writes prefix and number; returns the length. */
static size_t make_text(uint8_t *to, const char *prefix, size_t n)
{
    size_t len = strlen(prefix);
    memcpy(to, prefix, len);
    uint8_t digits[20];
    size_t used = 0;
    do {
        digits[used++] = (uint8_t)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    while (used > 0) {
        to[len++] = digits[--used];
    }
    return len;
}

/* The value of key n in w->value (padded with dots to value_size) or text. */
static struct sop_slice make_value(struct worker *w, size_t n, uint8_t *text)
{
    size_t len = make_text(text, "value_", n);
    if (w->value == NULL) {
        return (struct sop_slice){text, len};
    }
    size_t size = w->config->value_size;
    size_t head = len < size ? len : size;
    memset(w->value, '.', size < TEXT_BYTES ? size : TEXT_BYTES);
    memcpy(w->value, text, head);
    return (struct sop_slice){w->value, size};
}

static int one(struct worker *w, struct sop_store *store, size_t place)
{
    uint8_t key_text[TEXT_BYTES], value_text[TEXT_BYTES];
    size_t n = w->phase == SOP_LOOKUP ? sop_bench__order_read(w->order, place)
                                      : sop_bench__order_each(w->order, place);
    struct sop_entry entry = {.key = {key_text, make_text(key_text, "key_", n)}};
    if (w->phase == SOP_DELETE) {
        return sop_remove(store, entry.key, &w->err);
    }
    entry.value = make_value(w, n, value_text);
    if (w->phase == SOP_INSERT) {
        return sop_add(store, &entry, &w->err);
    }
    struct sop_view view;
    int rc = sop_get(store, entry.key, &view, &w->err);
    if (rc == 0 && (view.value.len != entry.value.len ||
                    memcmp(view.value.data, entry.value.data, entry.value.len) != 0)) {
        rc = SOP_ERR(&w->err, DATA_LOSS, "wrong value of key_%zu", n);
    }
    return rc;
}

static int all(struct worker *w, struct sop_store *store)
{
    uint64_t before = w->latency != NULL ? sop_bench__now_ns() : 0;
    for (size_t i = w->from; i < w->to; i++) {
        int rc = one(w, store, i);
        if (rc != 0) {
            return rc;
        }
        if (w->latency != NULL) {
            uint64_t now = sop_bench__now_ns();
            sop_bench__record(w->latency, now - before);
            before = now;
        }
    }
    return 0;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct sop_txn_options options;
    sop_txn_options_init(&options);
    options.mode = w->phase == SOP_LOOKUP ? SOP_READ : SOP_WRITE;
    options.memory_bytes = UINT64_C(16) << 30; /* one commit of everything is the point */
    struct sop_txn *txn = NULL;
    struct sop_store *store;
    w->rc = sop_txn_begin(&txn, w->db, &options, &w->err);
    if (w->rc != 0) {
        return NULL;
    }
    w->rc = sop_store_open(&store, txn, "classic", &w->err);
    if (w->rc == 0) {
        w->rc = all(w, store);
    }
    if (w->rc != 0) {
        sop_txn_rollback(&txn);
        return NULL;
    }
    uint64_t before = sop_bench__now_ns();
    w->rc = sop_txn_commit(&txn, NULL, &w->err);
    w->commit_ns = sop_bench__now_ns() - before;
    return NULL;
}

/* Runs one phase on all threads; the slowest counts. */
static int run_phase(struct worker *workers, enum sop_bench_phase phase,
                     struct sop_bench_result *result, struct sop_err *err)
{
    unsigned threads = workers[0].config->threads;
    unsigned started = 0;
    int rc = 0;
    uint64_t before = sop_bench__now_ns();
    for (unsigned i = 0; i < threads; i++) {
        workers[i].phase = phase;
        workers[i].rc = 0;
        if (threads == 1) {
            work(&workers[0]);
        } else if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            rc = SOP_ERR(err, NOMEM, "start thread %u", i);
            break;
        }
        started++;
    }
    for (unsigned i = 0; i < started && threads > 1; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    result->ns[phase] = sop_bench__now_ns() - before;
    for (unsigned i = 0; i < started; i++) {
        struct worker *w = &workers[i];
        if (w->rc != 0 && rc == 0) {
            rc = w->rc;
            *err = w->err;
        }
        if (w->latency != NULL) {
            sop_bench__merge(&result->latency[phase], w->latency);
            memset(w->latency, 0, sizeof *w->latency);
        }
        result->commit_ns[phase] =
            w->commit_ns > result->commit_ns[phase] ? w->commit_ns : result->commit_ns[phase];
        w->commit_ns = 0;
    }
    return rc != 0 ? sop_err_wrap(err, rc, "%s", sop_bench__phases[phase]) : 0;
}

static int make_store(void *arg, struct sop_txn *txn, struct sop_err *err)
{
    const struct sop_bench_config *config = arg;
    struct sop_store_options options;
    sop_store_options_init(&options);
    options.slot_length = config->slot_length;
    struct sop_store *store;
    return sop_store_create(&store, txn, "classic", &options, err);
}

struct expected {
    uint64_t items;
};

static int check_count(void *arg, struct sop_txn *txn, struct sop_err *err)
{
    const struct expected *e = arg;
    struct sop_store *store;
    uint64_t items = 0;
    int rc = sop_store_open(&store, txn, "classic", err);
    if (rc == 0) {
        rc = sop_store_count(store, false, &items, err);
    }
    return rc != 0 || items == e->items
               ? rc
               : SOP_ERR(err, DATA_LOSS, "%" PRIu64 " items instead of %" PRIu64, items,
                         e->items);
}

static int run_phases(struct worker *workers, struct sop_bench_result *result,
                      struct sop_err *err)
{
    struct sop_db *db = workers[0].db;
    for (enum sop_bench_phase p = SOP_INSERT; p < SOP_PHASES; p++) {
        int rc = run_phase(workers, p, result, err);
        struct expected e = {p == SOP_DELETE ? 0 : workers[0].config->count};
        if (rc == 0) {
            rc = sop_txn_run(db, NULL, 0, check_count, &e, NULL, err);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static void workers_free(struct worker *workers, unsigned threads)
{
    for (unsigned i = 0; workers != NULL && i < threads; i++) {
        free(workers[i].latency);
        free(workers[i].value);
    }
    free(workers);
}

static struct worker *workers_new(const struct sop_bench_config *config,
                                  const struct sop_bench_order *order, struct sop_db *db)
{
    struct worker *workers = calloc(config->threads, sizeof *workers);
    bool ok = workers != NULL;
    for (unsigned i = 0; ok && i < config->threads; i++) {
        struct worker *w = &workers[i];
        w->config = config;
        w->order = order;
        w->db = db;
        w->from = config->count * i / config->threads;
        w->to = config->count * (i + 1) / config->threads;
        if (config->latency) {
            w->latency = calloc(1, sizeof *w->latency);
            ok = w->latency != NULL;
        }
        if (ok && config->value_size > 0) {
            w->value = malloc(config->value_size);
            ok = w->value != NULL;
            if (ok) {
                memset(w->value, '.', config->value_size);
            }
        }
    }
    if (!ok) {
        workers_free(workers, config->threads);
        return NULL;
    }
    return workers;
}

static int run_in(const struct sop_bench_config *config, const char *folder,
                  struct sop_bench_result *result, struct sop_err *err)
{
    struct sop_db_options options;
    sop_db_options_init(&options);
    options.create = true;
    options.durability = config->durability;
    if (config->cache_bytes > 0) {
        options.cache_bytes = config->cache_bytes;
    }
    struct sop_db *db;
    int rc = sop_db_open(&db, folder, &options, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_bench_config copy = *config;
    struct sop_bench_order order;
    rc = sop_txn_run(db, NULL, 0, make_store, &copy, NULL, err);
    if (rc == 0) {
        rc = sop_bench__order_init(&order, config->distribution, config->count, config->seed,
                                   err);
    }
    if (rc == 0) {
        struct worker *workers = workers_new(config, &order, db);
        rc = workers != NULL ? run_phases(workers, result, err)
                             : SOP_ERR(err, NOMEM, "start %u threads", config->threads);
        workers_free(workers, workers != NULL ? config->threads : 0);
        sop_bench__order_fini(&order);
    }
    struct sop_err closing;
    int closed = sop_db_close(&db, &closing);
    if (rc == 0 && closed != 0) {
        *err = closing;
        rc = closed;
    }
    return rc;
}

int sop_bench__run(const struct sop_bench_config *config, struct sop_bench_result *result,
                   struct sop_err *err)
{
    memset(result, 0, sizeof *result);
    char folder[4096];
    int len = snprintf(folder, sizeof folder, "%s/sop-bench-XXXXXX", config->dir);
    if (len < 0 || (size_t)len >= sizeof folder) {
        return SOP_ERR(err, INVALID, "the path of --dir is too long");
    }
    if (mkdtemp(folder) == NULL) {
        return SOP_ERR(err, INVALID, "make a folder in '%s'; give another --dir", config->dir);
    }
    int rc = run_in(config, folder, result, err);
    struct sop_err destroying;
    int destroyed = sop_db_destroy(folder, &destroying);
    rmdir(folder);
    if (rc == 0 && destroyed != 0) {
        *err = destroying;
        rc = destroyed;
    }
    return rc;
}
