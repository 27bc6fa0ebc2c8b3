/* Many items: 10 million at full scale, loaded in commits of 10,000 with the default cache. The
 * database opens at once, everything is there in order, memory stays in its budget, and after
 * all is deleted and compacted the space is given back. */
#include "tests/lib/db_kit.h"
#include "tests/lib/scale.h"

#include <ftw.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PER_COMMIT 10000u
#define RUN        100u
#define KEY_BYTES  16
#define VIEWS      1000
#define MIB        (1u << 20)
#define LEFT_MAX   (8u * MIB) /* of an emptied database, beside the journal of the opening */
/* Beside what the cache holds: what a transaction of 10,000 items needs, buffers of journal and
 * packs, page frames, stacks, the library itself. Measured at full scale: 3 to 42 MiB. */
#define OVERHEAD_BYTES (64u * MIB)
/* malloc() keeps what was freed: malloc_trim() gives it back, so what is resident after that is
 * what the database holds. At the peak there is what commits and a checkpoint work with. */
#define OPEN_NS_MAX  1000000000u
#define DELETES_EACH 10000u

static struct db_kit kit;
static uint64_t items;

static void key_of(uint64_t i, char to[KEY_BYTES + 1])
{
    (void)snprintf(to, KEY_BYTES + 1, "%016" PRIx64, i);
}

/* Runs of RUN neighbours in no order: neither the easiest way to load nor the hardest. */
static uint64_t shuffled(uint64_t i)
{
    uint64_t runs = items / RUN;
    return i / RUN * UINT64_C(7368787) % runs * RUN + i % RUN; /* a prime: every run once */
}

static uint64_t status_kib(const char *name)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    uint64_t kib = 0;
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            kib = strtoull(line + strlen(name) + 1, NULL, 10);
        }
    }
    (void)fclose(f);
    return kib;
}

static uint64_t disk_bytes, journal_bytes;
static int add_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)ftw;
    if (type == FTW_F) {
        disk_bytes += (uint64_t)st->st_blocks * 512;
        journal_bytes += strstr(path, "/journal/") != NULL ? (uint64_t)st->st_blocks * 512 : 0;
    }
    return 0;
}

static void measure_disk(void)
{
    disk_bytes = journal_bytes = 0;
    ck_assert_int_eq(nftw(kit.dir.path, add_file, 16, FTW_PHYS), 0);
}

static double seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fine(int rc, const struct sop_err *err)
{
    if (rc != 0) {
        ck_abort_msg("%s: %s", sop_err_name(rc), err->text);
    }
}

/* What malloc() has given out and not got back, in all threads. */
static uint64_t heap_used(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static uint64_t cache_most, heap_most;
static void note_memory(void)
{
    uint64_t heap = heap_used();
    heap_most = heap > heap_most ? heap : heap_most;
    struct sop_err err = {0};
    struct sop_db_stats stats = {.size = sizeof stats};
    OK(sop_db_stats(kit.db, &stats, &err), err);
    cache_most = stats.cache_used_bytes > cache_most ? stats.cache_used_bytes : cache_most;
}

static void load(void)
{
    struct sop_err err = {0};
    char key[KEY_BYTES + 1];
    for (uint64_t i = 0; i < items;) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "s");
        for (uint64_t end = i + PER_COMMIT; i < end && i < items; i++) {
            uint64_t n = shuffled(i);
            key_of(n, key);
            struct sop_entry e = {.key = {(const uint8_t *)key, KEY_BYTES},
                                  .value = {(const uint8_t *)&n, sizeof n}};
            fine(sop_add(s, &e, &err), &err);
        }
        db_kit_commit(&kit, t);
        note_memory();
    }
}

static void scan(void)
{
    static struct sop_view views[VIEWS];
    struct sop_err err = {0};
    struct sop_range *r = NULL;
    char key[KEY_BYTES + 1];
    uint64_t n = 0;
    size_t count = 0;
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    OK(sop_range_open(&r, db_kit_open(&kit, t, "s"), NULL, &err), err);
    do {
        OK(sop_range_next(r, views, VIEWS, &count, &err), err);
        for (size_t i = 0; i < count; i++, n++) {
            key_of(n, key);
            bool right = views[i].key.len == KEY_BYTES &&
                         memcmp(views[i].key.data, key, KEY_BYTES) == 0 &&
                         views[i].value.len == sizeof n &&
                         memcmp(views[i].value.data, &n, sizeof n) == 0;
            if (!right) { /* Check's own comparisons cost more than the database */
                ck_abort_msg("item %" PRIu64 " is %.*s", n, (int)views[i].key.len,
                             (const char *)views[i].key.data);
            }
        }
    } while (count > 0);
    ck_assert_uint_eq(n, items);
    sop_range_close(&r);
    db_kit_commit(&kit, t);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), items);
}

static void delete_all(void)
{
    struct sop_err err = {0};
    for (uint64_t i = 0; i < items;) {
        char key[KEY_BYTES + 1];
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "s");
        for (uint64_t end = i + DELETES_EACH; i < end && i < items; i++) {
            key_of(shuffled(i), key);
            fine(sop_remove(s, (struct sop_slice){(const uint8_t *)key, KEY_BYTES}, &err),
                 &err);
        }
        db_kit_commit(&kit, t);
        note_memory();
    }
    ck_assert_uint_eq(db_kit_count(&kit, "s"), 0);
}

static bool in_full(void)
{
    return test_scale(0, 1, 1) != 0;
}

static void reopen(const char *when)
{
    struct sop_err err = {0};
    struct sop_db_stats stats = {.size = sizeof stats};
    db_kit_reopen(&kit);
    OK(sop_db_stats(kit.db, &stats, &err), err);
    printf("ten million: opened %s in %.1f ms, %" PRIu64 " records\n", when,
           (double)stats.open_ns / 1e6, stats.open_records);
    if (in_full()) { /* sanitizers take their time */
        ck_assert_uint_lt(stats.open_ns, OPEN_NS_MAX);
    }
}

/* Highest resident memory so far, over what the program began with. */
static void check_memory(const char *when, uint64_t base_kib, uint64_t budget)
{
    uint64_t most = (status_kib("VmHWM") - base_kib) * 1024;
    struct sop_err err = {0};
    struct sop_db_stats stats = {.size = sizeof stats};
    OK(sop_db_stats(kit.db, &stats, &err), err);
    printf("ten million: heap in use %s: at most %" PRIu64 " MiB, now %" PRIu64 " MiB\n", when,
           heap_most / MIB, heap_used() / MIB);
    printf("ten million: memory %s: at most %" PRIu64 " MiB, now %" PRIu64
           "; cache at most %" PRIu64 " MiB, now %" PRIu64 " MiB, of these dirty %" PRIu64 "\n",
           when, most / MIB, (status_kib("VmRSS") - base_kib) / 1024, cache_most / MIB,
           stats.cache_used_bytes / MIB, stats.cache_dirty_bytes / MIB);
    ck_assert_uint_le(cache_most, budget);
    (void)malloc_trim(0);
    uint64_t held = (status_kib("VmRSS") - base_kib) * 1024;
    printf("ten million: memory %s: %" PRIu64
           " MiB when malloc has given back what was freed\n",
           when, held / MIB);
    if (in_full()) {
        /* A fifth of large blocks' memory may lie between them (engine/base/heap.h). */
        ck_assert_uint_lt(held, stats.cache_used_bytes / 4 * 5 + OVERHEAD_BYTES);
        ck_assert_uint_lt(most, budget / 4 * 7 + OVERHEAD_BYTES);
    }
}

START_TEST(many_items_come_and_go)
{
    struct sop_err err = {0};
    struct sop_db_stats stats = {.size = sizeof stats};
    uint64_t base_kib = status_kib("VmRSS");
    items = test_scale(50000, 10000000, 10000000);
    db_kit_init(&kit);
    db_kit_store(&kit, "s", NULL);
    double begin = seconds();
    load();
    printf("ten million: %" PRIu64 " items loaded in %.1f s\n", items, seconds() - begin);
    OK(sop_db_stats(kit.db, &stats, &err), err);
    check_memory("after loading", base_kib, stats.cache_budget_bytes);
    measure_disk();
    printf("ten million: %" PRIu64 " MiB of files, %" PRIu64 " of them journals\n",
           disk_bytes / MIB, journal_bytes / MIB);
    reopen("after loading");
    begin = seconds();
    scan();
    printf("ten million: scanned in %.1f s\n", seconds() - begin);
    check_memory("after the scan", base_kib, stats.cache_budget_bytes);
    begin = seconds();
    delete_all();
    printf("ten million: deleted in %.1f s\n", seconds() - begin);
    check_memory("after deleting", base_kib, stats.cache_budget_bytes);
    begin = seconds();
    OK(sop_db_compact(kit.db, &err), err);
    printf("ten million: compacted in %.1f s\n", seconds() - begin);
    measure_disk();
    printf("ten million: %" PRIu64 " KiB of files, %" PRIu64 " KiB of them journals\n",
           disk_bytes / 1024, journal_bytes / 1024);
    reopen("when empty");
    OK(sop_db_compact(kit.db, &err), err);
    measure_disk();
    printf("ten million: reopened: %" PRIu64 " KiB of files, %" PRIu64
           " KiB of them journals\n",
           disk_bytes / 1024, journal_bytes / 1024);
    ck_assert_uint_lt(disk_bytes - journal_bytes, LEFT_MAX);
    ck_assert_uint_lt(disk_bytes, 2 * LEFT_MAX);
    db_kit_verify(&kit);
    check_memory("at the end", base_kib, stats.cache_budget_bytes);
    db_kit_fini(&kit);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ten_million");
    TCase *t = tcase_create("ten_million");
    tcase_set_timeout(t, (double)test_scale(300, 900, 3600));
    tcase_add_test(t, many_items_come_and_go);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
