/* A real process that writes is killed with SIGKILL at random moments, reopened and compared
 * with what it had acknowledged: all of that is there, of what was in flight all or nothing,
 * nothing else, and verify is clean.
 *
 * The writer is this program again (argument --writer). It has three lanes, each a thread with
 * a store and a row of transactions; transaction n of a lane adds items whose keys and values
 * follow from lane and n, removes those of transaction n - WINDOW, and writes n into the store
 * "seq". So what a database holds is known from the three numbers in "seq". After each
 * acknowledged commit a lane tells its parent through a pipe. A fourth thread checkpoints and
 * compacts.
 *
 * Take-over: the writer is stopped (SIGSTOP) in the middle, another opens with ignore_lock,
 * commits, then the writer goes on. It must acknowledge nothing that is not in the database,
 * must not call undone what is, and its upkeep must take away nothing that the new owner needs.
 */
#include "sop/sop.h"
#include "tests/lib/db_kit.h"
#include "tests/lib/scale.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LANES       3
#define WINDOW      40 /* transactions of a lane whose items are there */
#define ITEMS_MAX   8
#define VALUE_MAX   24000
#define SLOT_LENGTH 20 /* many splits and merges */

/* ---- what transaction n of a lane does -----------------------------------------------------
 */

static const char *const stores[LANES] = {"small", "medium", "big"};
static const char *const lanes[LANES] = {"lane 0", "lane 1", "lane 2"};

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t draw(unsigned lane, uint64_t n, uint64_t i)
{
    return mix(mix(n * 4 + lane + 1) + i);
}

static unsigned items_of(unsigned lane, uint64_t n)
{
    return 1 + (unsigned)(draw(lane, n, 1000) % ITEMS_MAX);
}

static size_t value_bytes(unsigned lane, uint64_t n, unsigned i)
{
    uint64_t d = draw(lane, n, i);
    return d % 16 == 0 ? VALUE_MAX : 16 + (size_t)(d >> 8) % 300;
}

static struct sop_slice key_of(unsigned lane, uint64_t n, unsigned i, char to[32])
{
    int len = snprintf(to, 32, "%u %012" PRIu64 " %02u", lane, n, i);
    return (struct sop_slice){.data = (const uint8_t *)to, .len = (size_t)len};
}

/* Each value says which process wrote it. */
static struct sop_slice value_of(unsigned lane, uint64_t n, unsigned i, uint64_t writer,
                                 uint8_t to[VALUE_MAX])
{
    size_t bytes = value_bytes(lane, n, i);
    uint64_t d = draw(lane, n, i);
    memcpy(to, &writer, 8);
    for (size_t k = 8; k < bytes; k++) {
        to[k] = (uint8_t)(d >> (k % 8 * 8)) ^ (uint8_t)(k >> 3);
    }
    return (struct sop_slice){.data = to, .len = bytes};
}

/* Last transaction of a lane and its writer; what "seq" holds. */
struct last {
    uint64_t n, writer;
};

static int read_last(struct sop_txn *t, unsigned lane, struct last *out, struct sop_err *err)
{
    struct sop_store *s = NULL;
    struct sop_view v;
    *out = (struct last){0};
    int rc = sop_store_open(&s, t, "seq", err);
    if (rc == 0) {
        rc = sop_get(s, text(lanes[lane]), &v, err);
        if (rc == 0) {
            if (v.value.len == sizeof *out) {
                memcpy(out, v.value.data, sizeof *out);
            } else {
                out->n = UINT64_MAX / 2; /* no check will take it */
            }
        }
    }
    return rc == SOP_ERR_NOT_FOUND ? 0 : rc;
}

static int add_one(struct sop_store *s, unsigned lane, const struct sop_entry *e,
                   struct sop_err *err)
{
    if (lane != 2 || e->value.len < 100) {
        return sop_add(s, e, err);
    }
    struct sop_value_writer *w = NULL; /* in two pieces */
    struct sop_slice first = {e->value.data, 50};
    struct sop_slice rest = {e->value.data + 50, e->value.len - 50};
    int rc = sop_value_create(&w, s, SOP_PUT_ADD, e, err);
    rc = rc != 0 ? rc : sop_value_write(w, first, err);
    rc = rc != 0 ? rc : sop_value_write(w, rest, err);
    return rc != 0 ? rc : sop_value_finish(&w, err);
}

/* Everything of transaction n but its commit. */
static int fill(struct sop_txn *t, unsigned lane, uint64_t n, uint64_t writer,
                struct sop_err *err)
{
    static _Thread_local uint8_t value[VALUE_MAX];
    struct sop_store *s = NULL;
    char key[32];
    int rc = sop_store_open(&s, t, stores[lane], err);
    for (unsigned i = 0; rc == 0 && i < items_of(lane, n); i++) {
        struct sop_entry e = {.key = key_of(lane, n, i, key),
                              .value = value_of(lane, n, i, writer, value)};
        rc = add_one(s, lane, &e, err);
    }
    for (unsigned i = 0; rc == 0 && n > WINDOW && i < items_of(lane, n - WINDOW); i++) {
        rc = sop_remove(s, key_of(lane, n - WINDOW, i, key), err);
    }
    if (rc == 0) {
        rc = sop_store_open(&s, t, "seq", err);
    }
    if (rc == 0) {
        struct last last = {.n = n, .writer = writer};
        struct sop_entry e = {.key = text(lanes[lane]),
                              .value = {(const uint8_t *)&last, sizeof last}};
        rc = sop_upsert(s, &e, err);
    }
    return rc;
}

/* What went wrong, and where. */
enum stage { BEGIN, FILL, COMMIT };
static int try_one(struct sop_db *db, unsigned lane, uint64_t n, uint64_t writer,
                   struct sop_commit *done, enum stage *stage, struct sop_err *err)
{
    struct sop_txn *t = NULL;
    *stage = BEGIN;
    int rc = sop_txn_begin(&t, db, NULL, err);
    if (rc == 0) {
        *stage = FILL;
        rc = fill(t, lane, n, writer, err);
    }
    if (rc == 0) {
        *stage = COMMIT;
        return sop_txn_commit(&t, done, err);
    }
    sop_txn_rollback(&t);
    return rc;
}

/* Lanes have nothing in common, but compaction may move a value that is being removed. */
static int commit_one(struct sop_db *db, unsigned lane, uint64_t n, uint64_t writer,
                      struct sop_commit *done, enum stage *stage, struct sop_err *err)
{
    int rc = SOP_ERR_CONFLICT;
    for (unsigned tries = 0; rc == SOP_ERR_CONFLICT && tries < 100; tries++) {
        rc = try_one(db, lane, n, writer, done, stage, err);
    }
    return rc;
}

static int make_stores(struct sop_db *db, struct sop_err *err)
{
    struct sop_txn *t = NULL;
    struct sop_store *s = NULL;
    struct sop_store_options o;
    int rc = sop_txn_begin(&t, db, NULL, err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_store_open(&s, t, "seq", err);
    if (rc == SOP_ERR_NOT_FOUND) {
        rc = sop_store_create(&s, t, "seq", NULL, err);
        for (unsigned i = 0; rc == 0 && i < LANES; i++) {
            sop_store_options_init(&o);
            o.slot_length = SLOT_LENGTH;
            o.values = (enum sop_value_class)i;
            rc = sop_store_create(&s, t, stores[i], &o, err);
        }
        if (rc == 0) {
            return sop_txn_commit(&t, NULL, err);
        }
    }
    sop_txn_rollback(&t);
    return rc;
}

/* ---- the writer ----------------------------------------------------------------------------
 */

/* What the writer tells; a whole one or none (shorter than PIPE_BUF). */
enum tells { TELLS_START = 1, TELLS_ACK, TELLS_REFUSED, TELLS_FAILED };
struct tell {
    uint32_t what, lane;
    uint64_t n;
    int32_t code;
    uint32_t stage;
    struct sop_txn_id id;
    char text[SOP_ERR_TEXT_BYTES];
};

struct writer {
    struct sop_db *db;
    uint64_t name, seed;
    int pipe;
    atomic_uint going;
};
struct lane {
    struct writer *writer;
    unsigned number;
    uint64_t next;
};

static void tell(const struct writer *w, const struct tell *what)
{
    if (write(w->pipe, what, sizeof *what) != (ssize_t)sizeof *what) {
        _exit(3); /* the parent is gone */
    }
}

static void tell_error(const struct writer *w, enum tells what, unsigned lane, uint64_t n,
                       enum stage stage, const struct sop_txn_id *id, const struct sop_err *err)
{
    struct tell m = {.what = what, .lane = lane, .n = n, .code = err->code, .stage = stage};
    if (id != NULL) {
        m.id = *id;
    }
    (void)snprintf(m.text, sizeof m.text, "%s", err->text);
    tell(w, &m);
}

static void *run_lane(void *arg)
{
    struct lane *l = arg;
    struct writer *w = l->writer;
    for (uint64_t n = l->next;; n++) {
        struct sop_err err = {0};
        struct sop_commit done = {0};
        enum stage stage;
        int rc = commit_one(w->db, l->number, n, w->name, &done, &stage, &err);
        if (rc != 0) {
            tell_error(w, TELLS_REFUSED, l->number, n, stage, &done.id, &err);
            break;
        }
        struct tell m = {.what = TELLS_ACK, .lane = l->number, .n = n, .id = done.id};
        tell(w, &m);
    }
    atomic_fetch_sub(&w->going, 1);
    return NULL;
}

static void pause_us(uint64_t us)
{
    struct timespec t = {.tv_sec = (time_t)(us / 1000000),
                         .tv_nsec = (long)(us % 1000000 * 1000)};
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {
    }
}

static void *run_upkeep(void *arg)
{
    struct writer *w = arg;
    struct sop_err err = {0};
    for (uint64_t i = 0; atomic_load(&w->going) > 0; i++) {
        uint64_t d = mix(w->seed + i);
        pause_us(d % 15000);
        int rc = d >> 32 & 1 ? sop_db_checkpoint(w->db, &err) : sop_db_compact(w->db, &err);
        if (rc != 0) { /* the lanes find out by themselves */
            break;
        }
    }
    return NULL;
}

static void writer_options(struct sop_db_options *o, uint64_t seed)
{
    static const enum sop_durability durability[] = {SOP_DURABLE_COMMIT, SOP_DURABLE_COMMIT,
                                                     SOP_DURABLE_COMMIT, SOP_DURABLE_INTERVAL,
                                                     SOP_DURABLE_NONE};
    sop_db_options_init(o);
    o->create = true;
    o->durability = durability[seed % 5];
    o->sync_interval_ms = 5;
    o->checkpoint_bytes = seed % 3 == 0 ? 256u << 10 : 4u << 20;
    o->cache_bytes = 8u << 20;
}

/* Check's macros serve the parent only. */
static void start_thread(pthread_t *thread, void *(*body)(void *), void *arg)
{
    if (pthread_create(thread, NULL, body, arg) != 0) {
        abort();
    }
}

/* --writer FOLDER NAME SEED; tells on descriptor 3. */
static int writer_main(char **args)
{
    struct writer w = {.pipe = 3};
    struct lane l[LANES];
    pthread_t threads[LANES + 1];
    struct sop_db_options o;
    struct sop_err err = {0};
    w.name = strtoull(args[1], NULL, 10);
    w.seed = strtoull(args[2], NULL, 10);
    writer_options(&o, w.seed);
    int rc = sop_db_open(&w.db, args[0], &o, &err);
    if (rc == 0) {
        rc = make_stores(w.db, &err);
    }
    struct sop_txn *t = NULL;
    if (rc == 0) {
        rc = sop_txn_begin(&t, w.db, NULL, &err);
    }
    for (unsigned i = 0; rc == 0 && i < LANES; i++) {
        struct last last;
        l[i] = (struct lane){.writer = &w, .number = i};
        rc = read_last(t, i, &last, &err);
        l[i].next = last.n + 1;
    }
    sop_txn_rollback(&t);
    if (rc != 0) {
        tell_error(&w, TELLS_FAILED, 0, 0, BEGIN, NULL, &err);
        return 1;
    }
    atomic_store(&w.going, LANES);
    for (unsigned i = 0; i < LANES; i++) {
        struct tell m = {.what = TELLS_START, .lane = i, .n = l[i].next};
        tell(&w, &m);
    }
    for (unsigned i = 0; i < LANES; i++) {
        start_thread(&threads[i], run_lane, &l[i]);
    }
    start_thread(&threads[LANES], run_upkeep, &w);
    for (unsigned i = 0; i <= LANES; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    (void)sop_db_close(&w.db, &err); /* stopped: it may say so */
    return 0;
}

/* ---- the parent ----------------------------------------------------------------------------
 */

struct record {
    uint64_t acked, known; /* acknowledged; seen by an opener */
    struct last told[64];  /* who acknowledged what, by n % 64 */
};
struct run {
    struct tmpdir dir;
    struct record record[LANES];
    struct tell refused[LANES];
    bool refused_any, failed;
    struct tell why;
    pid_t child;
    int pipe;
    bool started;
    uint64_t writer; /* name of the newest writer */
    uint64_t acks, kills, before_start, in_flight;
};
static struct run r;
_Static_assert(WINDOW < 64, "the ring of writers is longer than the window");

static void spawn(uint64_t seed)
{
    int ends[2];
    char name[24], number[24];
    r.writer++;
    r.started = r.failed = r.refused_any = false;
    memset(r.refused, 0, sizeof r.refused);
    (void)snprintf(name, sizeof name, "%" PRIu64, r.writer);
    (void)snprintf(number, sizeof number, "%" PRIu64, seed);
    ck_assert_int_eq(pipe(ends), 0);
    r.child = fork();
    ck_assert_int_ge(r.child, 0);
    if (r.child == 0) {
        char self[] = "/proc/self/exe", mode[] = "--writer";
        char *args[] = {self, mode, r.dir.path, name, number, NULL};
        if (ends[1] == 3 || dup2(ends[1], 3) == 3) {
            (void)close(ends[0] == 3 ? -1 : ends[0]);
            (void)execv(self, args);
        }
        _exit(4);
    }
    (void)close(ends[1]);
    r.pipe = ends[0];
}

static void take_tell(const struct tell *m)
{
    ck_assert_uint_lt(m->lane, LANES);
    struct record *c = &r.record[m->lane];
    switch (m->what) {
    case TELLS_START: /* its transactions go on from what is there */
        ck_assert_uint_gt(m->n, c->acked);
        ck_assert_uint_le(m->n - 1, c->known + 1);
        c->known = m->n - 1;
        r.started = true;
        break;
    case TELLS_ACK:
        ck_assert_uint_eq(m->n, c->known + 1);
        c->acked = c->known = m->n;
        c->told[m->n % 64] = (struct last){m->n, r.writer};
        r.acks++;
        break;
    case TELLS_REFUSED:
        r.refused[m->lane] = *m;
        r.refused_any = true;
        break;
    default:
        r.failed = true;
        break;
    }
    if (m->what >= TELLS_REFUSED) {
        r.why = *m;
    }
}

/* One tell; false: the writer has ended, or nothing came in time. */
static bool hear(int wait_ms)
{
    struct pollfd p = {.fd = r.pipe, .events = POLLIN};
    struct tell m;
    int n = poll(&p, 1, wait_ms);
    ck_assert_int_ge(n, 0);
    if (n == 0) {
        return false;
    }
    ssize_t got = read(r.pipe, &m, sizeof m);
    ck_assert(got == 0 || got == (ssize_t)sizeof m);
    if (got == 0) {
        return false;
    }
    take_tell(&m);
    return true;
}

/* Lets it run for a while and takes what it tells, so that it never waits for us. */
static void hear_for(uint64_t us)
{
    struct timespec begin, now;
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    for (;;) {
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t gone =
            (now.tv_sec - begin.tv_sec) * 1000000 + (now.tv_nsec - begin.tv_nsec) / 1000;
        if (gone >= (int64_t)us) {
            return;
        }
        if ((int64_t)us - gone < 1000) {
            pause_us(us - (uint64_t)gone);
            return;
        }
        if (!hear((int)(((int64_t)us - gone) / 1000)) && r.failed) {
            return;
        }
    }
}

static void hear_start(void)
{
    while (!r.started && hear(60000)) {
    }
    while (r.started && hear(0)) {
    }
    ck_assert_msg(r.started, "the writer did not start: %s", r.why.text);
}

static void check_item(const struct sop_view *v, unsigned lane, uint64_t n, unsigned i,
                       uint64_t *writer)
{
    static uint8_t value[VALUE_MAX];
    char key[32];
    struct sop_slice k = key_of(lane, n, i, key);
    ck_assert_msg(v->key.len == k.len && memcmp(v->key.data, k.data, k.len) == 0,
                  "lane %u: %.*s where %s should be", lane, (int)v->key.len,
                  (const char *)v->key.data, key);
    ck_assert_uint_ge(v->value_bytes, 8);
    if (!v->loaded) { /* class Big: its length is all that a range tells */
        ck_assert_uint_eq(v->value_bytes, value_bytes(lane, n, i));
        return;
    }
    if (*writer == 0) {
        memcpy(writer, v->value.data, 8);
    }
    struct sop_slice e = value_of(lane, n, i, *writer, value);
    ck_assert_msg(v->value.len == e.len && memcmp(v->value.data, e.data, e.len) == 0,
                  "lane %u: value of %s", lane, key);
}

/* The lane holds exactly the items of the newest WINDOW transactions. */
static void check_lane(struct sop_txn *t, unsigned lane, const struct last *last)
{
    struct sop_err err = {0};
    struct sop_store *s = NULL;
    struct sop_cursor *c = NULL;
    struct sop_view v;
    uint64_t items = 0, count = 0;
    OK(sop_store_open(&s, t, stores[lane], &err), err);
    OK(sop_cursor_open(&c, s, &err), err);
    int rc = sop_cursor_first(c, &err);
    for (uint64_t n = last->n > WINDOW ? last->n - WINDOW + 1 : 1; n <= last->n; n++) {
        uint64_t writer = n == last->n ? last->writer : 0;
        for (unsigned i = 0; i < items_of(lane, n); i++, items++) {
            OK(rc, err);
            OK(sop_cursor_item(c, &v, &err), err);
            if (!v.loaded) {
                static uint8_t value[VALUE_MAX];
                struct sop_value_reader *reader = NULL;
                size_t got = 0;
                OK(sop_value_open(&reader, c, &err), err);
                OK(sop_value_read(reader, 0, value, sizeof value, &got, &err), err);
                sop_value_close(&reader);
                v.value = (struct sop_slice){value, got};
                v.loaded = true;
            }
            check_item(&v, lane, n, i, &writer);
            rc = sop_cursor_next(c, &err);
        }
        const struct last *told = &r.record[lane].told[n % 64];
        if (told->n == n) {
            ck_assert_uint_eq(writer, told->writer);
        }
    }
    ck_assert_int_eq(rc, SOP_ERR_END);
    OK(sop_store_count(s, false, &count, &err), err);
    ck_assert_uint_eq(count, items);
}

/* Compares a database with the record; gives where each lane stands. */
static void check(struct sop_db *db, struct last *last)
{
    struct sop_err err = {0};
    struct sop_txn *t = NULL;
    struct sop_store *s = NULL;
    OK(sop_txn_begin(&t, db, NULL, &err), err);
    int rc = sop_store_open(&s, t, "seq", &err);
    for (unsigned i = 0; i < LANES; i++) {
        struct record *c = &r.record[i];
        last[i] = (struct last){0};
        if (rc == 0) {
            OK(read_last(t, i, &last[i], &err), err);
            check_lane(t, i, &last[i]);
        }
        ck_assert_msg(last[i].n >= c->acked && last[i].n <= c->known + 1,
                      "lane %u: %" PRIu64 " is there, acknowledged %" PRIu64
                      ", none asked for after %" PRIu64,
                      i, last[i].n, c->acked, c->known + 1);
        r.in_flight += last[i].n > c->known;
        c->known = last[i].n;
    }
    sop_txn_rollback(&t);
}

static void verify(struct sop_db *db)
{
    struct sop_err err = {0};
    struct sop_verify_result result;
    OK(sop_db_verify(db, true, NULL, NULL, NULL, &result, &err), err);
}

static struct sop_db *open_it(bool ignore_lock)
{
    struct sop_db *db = NULL;
    struct sop_err err = {0};
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = true; /* the writer may have died before it had made it */
    o.ignore_lock = ignore_lock;
    o.cache_bytes = 8u << 20;
    OK(sop_db_open(&db, r.dir.path, &o, &err), err);
    return db;
}

static void reap(void)
{
    int status;
    ck_assert_int_eq(waitpid(r.child, &status, 0), r.child);
    while (hear(0)) {
    }
    (void)close(r.pipe);
}

static void run_init(void)
{
    memset(&r, 0, sizeof r);
    tmpdir_init(&r.dir);
}

/* Waits until it has committed something: a busy machine must not turn every kill into one of a
 * writer that has done nothing yet. */
static void hear_ack(void)
{
    uint64_t before = r.acks;
    while (r.acks == before && !r.failed && hear(60000)) {
    }
}

/* ---- the tests -----------------------------------------------------------------------------
 */

START_TEST(what_was_acknowledged_survives_kill_9)
{
    uint64_t rounds = test_scale(15, 200, 10000);
    uint64_t base = test_scale(1, 1000, (uint64_t)time(NULL));
    struct last last[LANES];
    run_init();
    printf("kill -9: seed %" PRIu64 "\n", base);
    for (uint64_t i = 0; i < rounds; i++) {
        uint64_t seed = mix(base + i);
        spawn(seed);
        if (seed % 8 != 0) { /* else it may die while it opens */
            hear_start();
        }
        if (seed % 8 > 3) {
            hear_ack();
        }
        hear_for(1000 + (seed >> 8) % 60000);
        ck_assert_int_eq(kill(r.child, SIGKILL), 0);
        reap();
        r.kills++;
        r.before_start += !r.started;
        ck_assert_msg(!r.failed && !r.refused_any, "round %" PRIu64 ": %d %s", i, r.why.code,
                      r.why.text);
        if ((seed >> 4) % 4 != 0) { /* else the next writer finds what this one left */
            struct sop_db *db = open_it(false);
            struct sop_err err = {0};
            check(db, last);
            verify(db);
            OK(sop_db_close(&db, &err), err);
        }
    }
    struct sop_db *db = open_it(false);
    struct sop_err err = {0};
    check(db, last);
    verify(db);
    OK(sop_db_close(&db, &err), err);
    printf("kill -9: %" PRIu64 " kills, %" PRIu64 " while opening, %" PRIu64
           " acknowledged commits, %" PRIu64 " found that were in flight\n",
           r.kills, r.before_start, r.acks, r.in_flight);
    ck_assert_uint_gt(r.acks, rounds / 3);
    tmpdir_fini(&r.dir);
}
END_TEST

/* Wakes the sleeper after a while, from another process: beside whatever we do. */
static pid_t wake_after(uint64_t us)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        pause_us(us);
        (void)kill(r.child, SIGCONT);
        _exit(0);
    }
    return pid;
}

static void commit_some(struct sop_db *db, struct last *last, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        for (unsigned lane = 0; lane < LANES; lane++) {
            struct record *c = &r.record[lane];
            struct sop_err err = {0};
            enum stage stage;
            uint64_t n = ++last[lane].n;
            OK(commit_one(db, lane, n, r.writer, NULL, &stage, &err), err);
            last[lane].writer = r.writer;
            c->acked = c->known = n;
            c->told[n % 64] = (struct last){n, r.writer};
        }
    }
}

/* What the sleeper says after it woke, against what was there when it had been relieved. */
static void hear_sleeper(struct sop_db *db, const struct last *taken, uint64_t *acked_late)
{
    struct tell m;
    unsigned ended = 0;
    for (;;) {
        struct pollfd p = {.fd = r.pipe, .events = POLLIN};
        ck_assert_msg(poll(&p, 1, 60000) == 1, "the sleeper hangs");
        ssize_t got = read(r.pipe, &m, sizeof m);
        ck_assert(got == 0 || got == (ssize_t)sizeof m);
        if (got == 0) {
            break;
        }
        ck_assert_uint_ne(m.what, TELLS_START);
        if (m.what == TELLS_ACK) {
            ck_assert_msg(m.n <= taken[m.lane].n,
                          "lane %u: the sleeper acknowledged %" PRIu64 ", only %" PRIu64
                          " are there",
                          m.lane, m.n, taken[m.lane].n);
            ++*acked_late;
            continue;
        }
        ck_assert_msg(m.what == TELLS_REFUSED, "%s", m.text);
        ended++;
        bool there = m.n <= taken[m.lane].n;
        if (m.code == SOP_ERR_UNKNOWN) {
            enum sop_txn_outcome outcome;
            struct sop_err err = {0};
            OK(sop_txn_status(db, &m.id, &outcome, &err), err);
            ck_assert_msg((outcome == SOP_COMMITTED) == there,
                          "lane %u: outcome %d of %" PRIu64 ", %" PRIu64 " are there", m.lane,
                          (int)outcome, m.n, taken[m.lane].n);
        } else {
            ck_assert_msg(!there, "lane %u: %" PRIu64 " is there, the sleeper was told %s (%s)",
                          m.lane, m.n, sop_err_name(m.code), m.text);
        }
    }
    ck_assert_uint_eq(ended, LANES);
}

START_TEST(a_sleeper_acknowledges_nothing_after_a_take_over)
{
    uint64_t rounds = test_scale(3, 20, 1000);
    uint64_t late = 0;
    run_init();
    for (uint64_t i = 0; i < rounds; i++) {
        struct last last[LANES], taken[LANES];
        struct sop_err err = {0};
        uint64_t seed = mix(i + 77);
        int status;
        spawn(seed);
        hear_start();
        hear_for(1000 + seed % 40000);
        ck_assert_int_eq(kill(r.child, SIGSTOP), 0);
        ck_assert_int_eq(waitpid(r.child, &status, WUNTRACED), r.child);
        ck_assert(WIFSTOPPED(status));
        while (hear(0)) {
        }
        ck_assert_msg(!r.refused_any, "%s", r.why.text);
        pid_t waker = i % 2 == 0 ? wake_after(seed >> 8 & 0x7fff) : -1;
        struct sop_db *db = open_it(true);
        struct record before[LANES];
        memcpy(before, r.record, sizeof before);
        if (waker >= 0) { /* it may have gone on before it was relieved, and be right */
            for (unsigned lane = 0; lane < LANES; lane++) {
                r.record[lane].known += 1000000;
            }
        }
        check(db, last);
        memcpy(taken, last, sizeof taken);
        r.writer++;
        commit_some(db, last, 5);
        if (waker >= 0) {
            ck_assert_int_eq(waitpid(waker, &status, 0), waker);
        } else {
            ck_assert_int_eq(kill(r.child, SIGCONT), 0);
        }
        commit_some(db, last, 5);
        hear_sleeper(db, taken, &late);
        ck_assert_int_eq(waitpid(r.child, &status, 0), r.child);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x",
                      (unsigned)status);
        (void)close(r.pipe);
        OK(sop_db_checkpoint(db, &err), err);
        commit_some(db, last, 5);
        check(db, last);
        verify(db);
        OK(sop_db_close(&db, &err), err);
        db = open_it(false);
        check(db, last);
        verify(db);
        OK(sop_db_close(&db, &err), err);
    }
    printf("take-over: %" PRIu64 " rounds, %" PRIu64
           " commits acknowledged late that are there\n",
           rounds, late);
    tmpdir_fini(&r.dir);
}
END_TEST

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--writer") == 0) {
        return writer_main(argv + 2);
    }
    Suite *s = suite_create("kill9");
    TCase *t = tcase_create("kill9");
    tcase_set_timeout(t, (double)test_scale(300, 800, 86400));
    tcase_add_test(t, what_was_acknowledged_survives_kill_9);
    tcase_add_test(t, a_sleeper_acknowledges_nothing_after_a_take_over);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
