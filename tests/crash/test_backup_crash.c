/* A backup is stopped at each of its operations: power is lost there, it is killed, or the
 * operation fails. Then its folder holds no database, or the whole copy: never part of one. A
 * backup that was reported done survives power loss. The source does not notice. */
#include "engine/db/db_int.h"
#include "engine/volume/fault.h"
#include "engine/volume/sim.h"
#include "tests/lib/sample_db.h"
#include "tests/lib/scale.h"
#include "tests/lib/watch_volume.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define CHANGING                                                                               \
    (SOP_FAULT_BIT(SOP_FAULT_OPEN) | SOP_FAULT_BIT(SOP_FAULT_WRITE) |                          \
     SOP_FAULT_BIT(SOP_FAULT_SYNC) | SOP_FAULT_BIT(SOP_FAULT_LINK) |                           \
     SOP_FAULT_BIT(SOP_FAULT_UNLINK) | SOP_FAULT_BIT(SOP_FAULT_MKDIR) |                        \
     SOP_FAULT_BIT(SOP_FAULT_RMDIR) | SOP_FAULT_BIT(SOP_FAULT_DIR_SYNC))

static struct sop_volume *origin, *target;
static struct sop_db *source;
static struct sample_digest want;
static uint64_t points, disks, absent, whole;

static void fine(int rc, const struct sop_err *err, const char *what)
{
    ck_assert_msg(rc == 0, "%s: %s: %s", what, sop_err_name(rc), err->text);
}

static int open_on(struct sop_db **db, struct sop_volume *v, bool read_only,
                   struct sop_err *err)
{
    struct sop_db_options o;
    sample_options(&o);
    o.read_only = read_only;
    return sop_db_open_on(db, v, sop_env_system(), &o, 0, err);
}

static void make_source(void)
{
    struct sop_err err = {0};
    struct sop_db_options o;
    sample_options(&o);
    o.create = true;
    fine(sop_volume_sim_new(&origin, &err), &err, "make");
    fine(sop_db_open_on(&source, origin, sop_env_system(), &o, 0, &err), &err, "create");
    sample_fill(source, 60);
    want = sample_digest(source);
}

static void drop_source(void)
{
    struct sop_err err = {0};
    sample_same(sample_digest(source), want);
    fine(sop_db_close(&source, &err), &err, "close");
    sop_volume_destroy(origin);
}

/* Nothing there, or all of it, for readers and for writers. */
static bool check_disk(struct sop_volume *disk, const char *what)
{
    struct sop_err err = {0};
    struct sop_db *db = NULL;
    struct sop_verify_result result;
    int rc = open_on(&db, disk, true, &err);
    disks++;
    if (rc != 0) {
        ck_assert_msg(rc == SOP_ERR_NOT_A_DATABASE, "%s: %s: %s", what, sop_err_name(rc),
                      err.text);
        ck_assert_int_eq(open_on(&db, disk, false, &err), SOP_ERR_NOT_A_DATABASE);
        absent++;
        return false;
    }
    whole++;
    sample_same(sample_digest(db), want);
    fine(sop_db_close(&db, &err), &err, what);
    fine(open_on(&db, disk, false, &err), &err, what);
    sample_same(sample_digest(db), want);
    fine(sop_db_verify(db, true, NULL, NULL, NULL, &result, &err), &err, what);
    struct sop_stat st;
    fine(sop_volume_stat(disk, SOP_DB_UNFINISHED, &st, &err), &err, what);
    ck_assert_msg(st.kind == SOP_FILE_ABSENT, "%s: two names", what);
    fine(sop_db_close(&db, &err), &err, what);
    return true;
}

static void check_crash(const struct sop_sim_crash *how, const char *what)
{
    struct sop_err err = {0};
    struct sop_volume *disk = NULL;
    fine(sop_volume_sim_crash(target, how, &disk, &err), &err, what);
    (void)check_disk(disk, what);
    sop_volume_destroy(disk);
}

static void *crash_here(void *arg)
{
    struct sop_err err = {0};
    struct sop_volume *disk = NULL;
    (void)arg;
    check_crash(NULL, "power lost");
    fine(sop_volume_sim_copy(target, &disk, &err), &err, "killed");
    (void)check_disk(disk, "killed");
    sop_volume_destroy(disk);
    for (unsigned i = 0; i < test_scale(1, 6, 60); i++) {
        struct sop_sim_crash how = {.seed = points * 64 + i,
                                    .keep_sector = (unsigned)(points * 29 + i * 31) % 80,
                                    .garble_sector = i % 3 * 10,
                                    .keep_names = i * 37 % 100};
        check_crash(&how, "power lost, some kept");
    }
    return NULL;
}

/* On another thread: the one that writes the backup holds locks. */
static void before(void *arg, enum sop_fault_op op)
{
    pthread_t thread;
    (void)arg;
    if ((SOP_FAULT_BIT(op) & CHANGING) != 0) {
        points++;
        ck_assert_int_eq(pthread_create(&thread, NULL, crash_here, NULL), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    }
}

START_TEST(a_crash_leaves_no_half_backup)
{
    struct sop_err err = {0};
    struct watch_calls calls = {.before = before};
    make_source();
    fine(sop_volume_sim_new(&target, &err), &err, "make");
    struct sop_volume *watched = watch_volume_new(target, &calls);
    fine(sop_db__backup_on(source, watched, &err), &err, "backup");
    printf("backup: %" PRIu64 " crash points, %" PRIu64 " disks: %" PRIu64
           " without a database, %" PRIu64 " with all of it\n",
           points, disks, absent, whole);
    ck_assert_uint_gt(absent, 100);
    ck_assert_uint_gt(whole, 1);
    struct sop_volume *disk = NULL;
    fine(sop_volume_sim_crash(target, NULL, &disk, &err), &err, "crash");
    ck_assert(check_disk(disk, "done, then power lost"));
    sop_volume_destroy(disk);
    sop_volume_destroy(watched);
    sop_volume_destroy(target);
    drop_source();
}
END_TEST

/* DATA_LOSS: the copy could not be proved. SEALED: TEN could not be read. */
static bool may_be(int rc)
{
    return rc == SOP_ERR_IO || rc == SOP_ERR_NOSPACE || rc == SOP_ERR_DATA_LOSS ||
           rc == SOP_ERR_STOPPED || rc == SOP_ERR_SEALED;
}

/* _i: EIO, ENOSPC. */
START_TEST(a_backup_that_fails_leaves_nothing)
{
    bool hit = true;
    make_source();
    for (uint64_t n = 0; hit; n += test_scale(5, 1, 1)) {
        struct sop_err err = {0};
        struct sop_volume *faulty = NULL;
        struct sop_fault_plan plan = {.ops = SOP_FAULT_ALL, .at = n, .sys = _i ? ENOSPC : EIO};
        struct sop_fault_plan off = {.at = UINT64_MAX};
        fine(sop_volume_sim_new(&target, &err), &err, "make");
        fine(sop_volume_fault_new(target, &faulty, &err), &err, "make");
        sop_volume_fault_set(faulty, &plan);
        int rc = sop_db__backup_on(source, faulty, &err);
        hit = sop_volume_fault_count(faulty) > n;
        sop_volume_fault_set(faulty, &off);
        if (rc != 0) {
            ck_assert_msg(err.code == rc && err.text[0] != 0, "%d: no text", rc);
            ck_assert_msg(may_be(rc), "operation %" PRIu64 ": %s: %s", n, sop_err_name(rc),
                          err.text);
            ck_assert(!check_disk(target, "failed"));
            rc = sop_db__backup_on(source, faulty, &err);
            fine(rc, &err, "try again");
        }
        ck_assert(check_disk(target, "done"));
        sop_volume_destroy(faulty);
        sop_volume_destroy(target);
    }
    drop_source();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stopped backups");
    TCase *t = tcase_create("each operation");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, a_crash_leaves_no_half_backup);
    tcase_add_loop_test(t, a_backup_that_fails_leaves_nothing, 0, 2);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
