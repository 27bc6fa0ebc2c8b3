/* Openings and closings cost what they cost, however often it is done: after many cycles of
 * open, put one item, close the folder is as small as after a few, an opening asks the volume
 * for as much and replays as much, and neither asks for more syncs than docs/PROTOCOL.md
 * section 7 allows.
 *
 * What an opening costs is counted (calls of the volume, bytes read and written, records), not
 * timed: counts are the same on every machine, so a tenth more is seen. Of the times only those
 * of the quickest openings are compared. */
#include "engine/base/codec.h"
#include "engine/db/db_int.h"
#include "engine/volume/posix.h"
#include "tests/lib/db_kit.h"
#include "tests/lib/scale.h"
#include "tests/lib/watch_volume.h"

#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define EARLY               100u
#define KEYS                50u /* the items themselves must not be what grows */
#define SYNCS_OPEN_MAX      16u
#define SYNCS_CLOSE_MAX     3u
#define WINDOW              20u
#define SPACE_GROWTH_MAX    2u
#define COST_GROWTH_PERCENT 110u
#define TIME_GROWTH_MAX     2u
#define TIME_NOISE_NS       UINT64_C(2000000)

/* What one opening asked for. */
struct cost {
    uint64_t calls, read_bytes, written_bytes, records;
};

struct measure {
    uint64_t files, bytes, state_bytes;
    struct cost cost;     /* the most of each */
    uint64_t quickest_ns; /* opening */
};

static struct tmpdir dir;
static struct sop_volume *real, *counted;
static uint64_t file_count, file_bytes;

static int add_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path;
    (void)ftw;
    if (type == FTW_F) {
        file_count++;
        file_bytes += (uint64_t)st->st_blocks * 512;
    }
    return 0;
}

static uint64_t sync_count;
static struct cost spent; /* so far; without records */

static void count_call(void *arg, enum sop_fault_op op)
{
    (void)arg;
    spent.calls++;
    sync_count += op == SOP_FAULT_SYNC || op == SOP_FAULT_DIR_SYNC;
}

static void count_bytes(void *arg, enum sop_fault_op op, uint64_t bytes)
{
    (void)arg;
    *(op == SOP_FAULT_READ ? &spent.read_bytes : &spent.written_bytes) += bytes;
}

static void most_cost(struct cost *m, const struct cost *x)
{
    m->calls = x->calls > m->calls ? x->calls : m->calls;
    m->read_bytes = x->read_bytes > m->read_bytes ? x->read_bytes : m->read_bytes;
    m->written_bytes =
        x->written_bytes > m->written_bytes ? x->written_bytes : m->written_bytes;
    m->records = x->records > m->records ? x->records : m->records;
}

struct counts {
    uint64_t open_most, close_most, close_checkpoint_most, checkpoints;
    struct cost cost;     /* of an opening, the most since it was last asked for */
    uint64_t quickest_ns; /* since then, too */
    uint64_t state_bytes; /* of the chain in the newest opening: part of every manifest */
};

static int add_name(void *arg, const char *name, struct sop_err *err)
{
    uint64_t *sum = arg;
    (void)err;
    *sum += sop_crc32c(name, strlen(name), 1);
    return 0;
}

/* A number that changes with the set of checkpoints. */
static uint64_t checkpoint_names(void)
{
    uint64_t sum = 0;
    struct sop_err err = {0};
    OK(sop_volume_list(real, "checkpoints", add_name, &sum, &err), err);
    return sum;
}

/* Opens, puts, closes; counts syncs of opening and closing. */
static void cycle(uint64_t n, struct counts *c)
{
    struct sop_err err = {0};
    struct sop_db *db = NULL;
    struct sop_db_options o;
    struct sop_db_stats stats = {.size = sizeof stats};
    sop_db_options_init(&o);
    o.create = n == 0;
    o.manual = true; /* a beat in between would not be opening's */
    uint64_t before = sync_count;
    memset(&spent, 0, sizeof spent);
    OK(sop_db_open_on(&db, counted, sop_env_system(), &o, 0, &err), err);
    uint64_t opened = sync_count - before;
    OK(sop_db_stats(db, &stats, &err), err);
    spent.records = stats.open_records;
    most_cost(&c->cost, &spent);
    bool first = c->quickest_ns == 0;
    c->quickest_ns = first || stats.open_ns < c->quickest_ns ? stats.open_ns : c->quickest_ns;
    struct sop_buf state = {0};
    OK(sop_chain_state(db->now->engine->chain, &state, &err), err);
    c->state_bytes = state.len;
    sop_buf_fini(&state);

    struct sop_txn *t = NULL;
    struct sop_store *s = NULL;
    char key[24];
    (void)snprintf(key, sizeof key, "%" PRIu64, n % KEYS);
    OK(sop_txn_begin(&t, db, NULL, &err), err);
    OK(n == 0 ? sop_store_create(&s, t, "s", NULL, &err) : sop_store_open(&s, t, "s", &err),
       err);
    struct sop_entry e = {.key = text(key), .value = {(const uint8_t *)&n, sizeof n}};
    OK(sop_upsert(s, &e, &err), err);
    if (n >= KEYS) {
        uint64_t items = 0;
        OK(sop_store_count(s, false, &items, &err), err);
        ck_assert_uint_eq(items, KEYS);
    }
    OK(sop_txn_commit(&t, NULL, &err), err);

    /* Names of the folder say whether closing wrote a checkpoint. */
    uint64_t names = checkpoint_names();
    before = sync_count;
    OK(sop_db_close(&db, &err), err);
    uint64_t closed = sync_count - before;
    bool wrote = checkpoint_names() != names;
    if (n == 0) {
        return; /* making a database costs more */
    }
    c->open_most = opened > c->open_most ? opened : c->open_most;
    if (wrote) {
        c->checkpoints++;
        c->close_checkpoint_most =
            closed > c->close_checkpoint_most ? closed : c->close_checkpoint_most;
    } else {
        c->close_most = closed > c->close_most ? closed : c->close_most;
    }
}

static void measure(struct counts *c, uint64_t n, struct measure *m)
{
    file_count = file_bytes = 0;
    ck_assert_int_eq(nftw(dir.path, add_file, 16, FTW_PHYS), 0);
    *m = (struct measure){.files = file_count,
                          .bytes = file_bytes,
                          .cost = c->cost,
                          .state_bytes = c->state_bytes,
                          .quickest_ns = c->quickest_ns};
    printf("cycles: after %5" PRIu64 ": %" PRIu64 " files, %" PRIu64 " KiB, %" PRIu64
           " bytes of chain state; openings: at most %" PRIu64 " calls, %" PRIu64
           " KiB read, %" PRIu64 " KiB written, %" PRIu64 " records; quickest %.2f ms\n",
           n, m->files, m->bytes / 1024, m->state_bytes, c->cost.calls,
           c->cost.read_bytes / 1024, c->cost.written_bytes / 1024, c->cost.records,
           (double)c->quickest_ns / 1e6);
    memset(&c->cost, 0, sizeof c->cost);
    c->quickest_ns = 0;
}

static void most(struct measure *m, const struct measure *x)
{
    m->files = x->files > m->files ? x->files : m->files;
    m->bytes = x->bytes > m->bytes ? x->bytes : m->bytes;
    m->state_bytes = x->state_bytes > m->state_bytes ? x->state_bytes : m->state_bytes;
    most_cost(&m->cost, &x->cost);
    m->quickest_ns = m->quickest_ns == 0 || x->quickest_ns < m->quickest_ns ? x->quickest_ns
                                                                            : m->quickest_ns;
}

static void check_growth(const char *what, uint64_t early, uint64_t late)
{
    ck_assert_msg(late * 100 <= early * COST_GROWTH_PERCENT,
                  "%s of an opening: at most %" PRIu64 " in the first %u, %" PRIu64
                  " in the last",
                  what, early, EARLY, late);
}

/* The quickest of many: what a busy machine adds is in the others. */
static void check_time(uint64_t early_ns, uint64_t late_ns)
{
    ck_assert_msg(late_ns <= early_ns * TIME_GROWTH_MAX + TIME_NOISE_NS,
                  "the quickest opening took %.2f ms in the first %u, %.2f ms in the last",
                  (double)early_ns / 1e6, EARLY, (double)late_ns / 1e6);
}

static void check_costs(const struct cost *early, const struct cost *late)
{
    check_growth("calls of the volume", early->calls, late->calls);
    check_growth("bytes read", early->read_bytes, late->read_bytes);
    check_growth("bytes written", early->written_bytes, late->written_bytes);
    check_growth("records replayed", early->records, late->records);
}

START_TEST(many_cycles_leave_no_trace)
{
    struct sop_err err = {0};
    struct counts c = {0};
    struct measure early = {0}, late = {0};
    uint64_t cycles = test_scale(300, 10000, 10000);
    /* In memory where that is possible: syncs are counted, waiting for a disk tells nothing. */
    if (access("/dev/shm", W_OK) == 0) {
        ck_assert_int_eq(setenv("TMPDIR", "/dev/shm", 1), 0);
    }
    tmpdir_init(&dir);
    OK(sop_volume_posix_open(dir.path, &real, &err), err);
    counted = watch_volume_new(
        real, &(struct watch_calls){.before = count_call, .moved = count_bytes});
    for (uint64_t n = 0; n < cycles; n++) {
        struct measure now;
        cycle(n, &c);
        /* The folder breathes with the checkpoints: a hundred cycles see all of it. */
        if (n + 1 <= EARLY && (n + 1) % WINDOW == 0) {
            measure(&c, n + 1, &now);
            most(&early, &now);
        } else if (n + 1 + EARLY > cycles && (cycles - n - 1) % WINDOW == 0) {
            measure(&c, n + 1, &now);
            most(&late, &now);
        } else if (n + 1 + EARLY == cycles) {
            memset(&c.cost, 0, sizeof c.cost); /* those in between */
            c.quickest_ns = 0;
        }
    }
    printf("cycles: syncs of an opening: at most %" PRIu64 ", of a closing: at most %" PRIu64
           ", with a checkpoint %" PRIu64 " (%" PRIu64 " of %" PRIu64 ")\n",
           c.open_most, c.close_most, c.close_checkpoint_most, c.checkpoints, cycles);
    ck_assert_uint_le(c.open_most, SYNCS_OPEN_MAX);
    ck_assert_uint_le(c.close_most, SYNCS_CLOSE_MAX);
    ck_assert_uint_lt(c.checkpoints, cycles / 8);
    ck_assert_uint_le(late.files, early.files * SPACE_GROWTH_MAX);
    ck_assert_uint_le(late.bytes, early.bytes * SPACE_GROWTH_MAX);
    ck_assert_uint_le(late.state_bytes, early.state_bytes * SPACE_GROWTH_MAX);
    check_costs(&early.cost, &late.cost);
    check_time(early.quickest_ns, late.quickest_ns);
    sop_volume_destroy(counted);
    sop_volume_destroy(real);
    tmpdir_fini(&dir);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cycles");
    TCase *t = tcase_create("cycles");
    tcase_set_timeout(t, (double)test_scale(300, 900, 3600));
    tcase_add_test(t, many_cycles_leave_no_trace);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
