/* engine/volume/fault: the contract through the wrapper, counting, failing, stopping. */
#include "engine/volume/fault.h"
#include "engine/volume/sim.h"
#include "tests/lib/oom.h"
#include "tests/lib/volume_contract.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define CREATE (SOP_OPEN_WRITE | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE)

static struct sop_volume *sim;
static struct sop_volume *volume;
static struct sop_err err;

static void setup(void)
{
    volume_ok(sop_volume_sim_new(&sim, &err), &err);
    volume_ok(sop_volume_fault_new(sim, &volume, &err), &err);
}

static void teardown(void)
{
    sop_volume_destroy(volume);
    sop_volume_destroy(sim);
}

static void plan(struct sop_fault_plan p)
{
    sop_volume_fault_set(volume, &p);
}

static void no_plan(void)
{
    plan((struct sop_fault_plan){.at = UINT64_MAX});
}

START_TEST(the_contract_holds_through_the_wrapper)
{
    ck_assert_int_eq(volume->one_host, sim->one_host);
    ck_assert_str_eq(volume->shown, sim->shown);
    volume_contract_run(_i, volume);
    ck_assert_uint_eq(sop_volume_fault_count(volume), 0); /* no plan, nothing counted */
}
END_TEST

/* One operation of each kind. */
static int do_op(enum sop_fault_op op, struct sop_file *file, struct sop_err *e)
{
    struct sop_file *other;
    struct sop_stat st;
    char byte;
    int rc;
    switch (op) {
    case SOP_FAULT_OPEN:
        rc = sop_file_open(volume, "f", SOP_OPEN_READ, &other, e);
        if (rc == 0) {
            sop_file_close(other);
        }
        return rc;
    case SOP_FAULT_READ:
        return sop_file_read(file, 0, &byte, 1, NULL, e);
    case SOP_FAULT_WRITE:
        return sop_file_write(file, 0, "w", 1, e);
    case SOP_FAULT_SYNC:
        return sop_file_sync(file, e);
    case SOP_FAULT_LINK:
        return sop_volume_link(volume, "f", "linked", e);
    case SOP_FAULT_UNLINK:
        return sop_volume_unlink(volume, "linked", e);
    case SOP_FAULT_MKDIR:
        return sop_volume_mkdir(volume, "made", e);
    case SOP_FAULT_RMDIR:
        return sop_volume_rmdir(volume, "made", e);
    case SOP_FAULT_DIR_SYNC:
        return sop_volume_dir_sync(volume, "", e);
    case SOP_FAULT_LIST:
        return sop_volume_list(volume, "d", NULL, NULL, e); /* an empty folder */
    case SOP_FAULT_STAT:
        return sop_volume_stat(volume, "f", &st, e);
    case SOP_FAULT_LOCK:
        return sop_file_lock(file, e);
    case SOP_FAULT_OPS:
        break;
    }
    return -1;
}

static struct sop_file *prepare(void)
{
    struct sop_file *file;
    volume_put_file(sim, "f", "content");
    volume_ok(sop_volume_mkdir(sim, "d", &err), &err);
    volume_ok(sop_file_open(volume, "f", SOP_OPEN_WRITE, &file, &err), &err);
    return file;
}

START_TEST(each_kind_of_operation_counts_and_fails)
{
    struct sop_file *file = prepare();
    for (unsigned op = 0; op < SOP_FAULT_OPS; op++) {
        uint64_t calls = sop_volume_fault_calls(volume, op);
        plan((struct sop_fault_plan){.ops = SOP_FAULT_BIT(op), .at = 0, .sys = ENOSPC});
        ck_assert_int_eq(do_op(op, file, &err), SOP_ERR_NOSPACE);
        ck_assert_int_eq(err.sys, ENOSPC);
        ck_assert_uint_eq(sop_volume_fault_count(volume), 1);
        volume_ok(do_op(op, file, &err), &err); /* it failed once, and had done nothing */
        ck_assert_uint_eq(sop_volume_fault_count(volume), 2);
        ck_assert_uint_eq(sop_volume_fault_calls(volume, op), calls + 2);
    }
    no_plan();
    sop_file_close(file);
}
END_TEST

START_TEST(only_planned_kinds_count)
{
    struct sop_file *file = prepare();
    for (unsigned op = 0; op < SOP_FAULT_OPS; op++) {
        plan((struct sop_fault_plan){
            .ops = SOP_FAULT_ALL & ~SOP_FAULT_BIT(op), .at = 0, .sys = EIO});
        volume_ok(do_op(op, file, &err), &err);
        ck_assert_uint_eq(sop_volume_fault_count(volume), 0);
    }
    sop_file_close(file);
}
END_TEST

START_TEST(sizes_space_and_lock_holders_fail_too)
{
    struct sop_file *file = prepare();
    uint64_t n;
    struct sop_lock_holder holder;
    plan((struct sop_fault_plan){.ops = SOP_FAULT_ALL, .at = 0, .sys = EIO, .sticky = true});
    ck_assert_int_eq(sop_file_size(file, &n, &err), SOP_ERR_IO);
    ck_assert_int_eq(sop_volume_space(volume, &n, &err), SOP_ERR_IO);
    ck_assert_int_eq(sop_volume_lock_holder(volume, "f", &holder, &err), SOP_ERR_IO);
    size_t got = 5;
    char byte;
    ck_assert_int_eq(sop_file_read(file, 0, &byte, 1, &got, &err), SOP_ERR_IO);
    ck_assert_uint_eq(got, 0);
    sop_file_close(file);
}
END_TEST

START_TEST(the_nth_operation_fails_and_sticky_ones_for_good)
{
    struct sop_file *file = prepare();
    for (int sticky = 0; sticky < 2; sticky++) {
        plan((struct sop_fault_plan){
            .ops = SOP_FAULT_BIT(SOP_FAULT_WRITE), .at = 3, .sys = EIO, .sticky = sticky != 0});
        for (int i = 0; i < 6; i++) {
            int rc = sop_file_write(file, 0, "w", 1, &err);
            bool fails = i == 3 || (i > 3 && sticky != 0);
            ck_assert_int_eq(rc, fails ? SOP_ERR_IO : 0);
            volume_ok(sop_file_sync(file, &err), &err);
        }
    }
    sop_file_close(file);
}
END_TEST

START_TEST(a_failing_write_may_have_written_half)
{
    struct sop_file *file = prepare();
    struct sop_fault_plan p = {
        .ops = SOP_FAULT_BIT(SOP_FAULT_WRITE), .at = 0, .sys = EIO, .half_write = true};
    plan(p);
    ck_assert_int_eq(sop_file_write(file, 0, "CONTENT", 7, &err), SOP_ERR_IO);
    volume_expect_file(sim, "f", "CONtent");
    p.half_write = false;
    plan(p);
    ck_assert_int_eq(sop_file_write(file, 0, "xxxxxxx", 7, &err), SOP_ERR_IO);
    volume_expect_file(sim, "f", "CONtent");
    sop_file_close(file);

    /* A direct file is torn between blocks. */
    p.half_write = true;
    plan(p);
    volume_ok(sop_file_open(volume, "direct", CREATE | SOP_OPEN_DIRECT, &file, &err), &err);
    uint8_t *blocks = sop_malloc_aligned(4096, 3 * 4096);
    memset(blocks, 'b', 3 * 4096);
    ck_assert_int_eq(sop_file_write(file, 0, blocks, 3 * 4096, &err), SOP_ERR_IO);
    uint64_t size;
    volume_ok(sop_file_size(file, &size, &err), &err);
    ck_assert_uint_eq(size, 4096);
    sop_free(blocks);
    sop_file_close(file);
}
END_TEST

static void take_crash(void *arg)
{
    struct sop_volume **after = arg;
    volume_ok(sop_volume_sim_copy(sim, after, &err), &err);
}

START_TEST(a_stop_sees_the_state_before_the_operation_and_ends_the_world)
{
    struct sop_file *file = prepare();
    struct sop_volume *after = NULL;
    plan((struct sop_fault_plan){.ops = SOP_FAULT_BIT(SOP_FAULT_WRITE),
                                 .at = 1,
                                 .sys = EIO,
                                 .half_write = true,
                                 .stop = take_crash,
                                 .arg = &after});
    volume_ok(sop_file_write(file, 0, "1111111", 7, &err), &err);
    ck_assert_ptr_null(after);
    struct sop_err failed = {0};
    ck_assert_int_eq(sop_file_write(file, 0, "2222222", 7, &failed), SOP_ERR_IO);
    ck_assert_ptr_nonnull(after);
    volume_expect_file(after, "f", "1111111");
    volume_expect_file(sim, "f", "1111111"); /* the operation did not happen, not even half */
    for (unsigned op = 0; op < SOP_FAULT_OPS; op++) { /* of any kind, planned or not */
        ck_assert_int_eq(do_op(op, file, &failed), SOP_ERR_IO);
    }
    struct sop_volume *first = after;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(sop_file_write(file, 0, "3333333", 7, &failed), SOP_ERR_IO);
    }
    ck_assert_ptr_eq(after, first); /* called once */
    sop_file_close(file);
    sop_volume_destroy(after);
    no_plan();
    volume_expect_file(volume, "f", "1111111"); /* a new plan is a new world */
}
END_TEST

START_TEST(files_outlive_plans_and_close_after_a_stop)
{
    struct sop_file *file = prepare();
    plan((struct sop_fault_plan){.ops = SOP_FAULT_ALL, .at = 0, .sys = EIO, .sticky = true});
    struct sop_file *other;
    ck_assert_int_eq(sop_file_open(volume, "f", SOP_OPEN_READ, &other, &err), SOP_ERR_IO);
    no_plan();
    volume_ok(sop_file_write(file, 0, "w", 1, &err), &err);
    sop_file_close(file);
}
END_TEST

START_TEST(every_exhausted_heap_is_survived)
{
    volume_put_file(sim, "f", "content");
    for (uint64_t step = 0;; step++) {
        ck_assert_uint_lt(step, 20);
        struct sop_volume *v;
        struct sop_file *file;
        oom_fail_at(step);
        int rc = sop_volume_fault_new(sim, &v, &err);
        if (rc == 0) {
            rc = sop_file_open(v, "f", SOP_OPEN_READ, &file, &err);
            if (rc == 0) {
                sop_file_close(file);
            }
            sop_volume_destroy(v);
        }
        bool hit = oom_hit();
        oom_off();
        ck_assert_int_eq(rc, hit ? SOP_ERR_NOMEM : 0);
        if (!hit) {
            ck_assert_uint_eq(step, 3);
            break;
        }
    }
}
END_TEST

START_TEST(a_plan_that_fails_without_an_errno_aborts)
{
    plan((struct sop_fault_plan){.ops = SOP_FAULT_ALL, .at = 0});
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("fault");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, the_contract_holds_through_the_wrapper, 0, volume_contract_cases());
    tcase_add_test(tc, each_kind_of_operation_counts_and_fails);
    tcase_add_test(tc, only_planned_kinds_count);
    tcase_add_test(tc, sizes_space_and_lock_holders_fail_too);
    tcase_add_test(tc, the_nth_operation_fails_and_sticky_ones_for_good);
    tcase_add_test(tc, a_failing_write_may_have_written_half);
    tcase_add_test(tc, a_stop_sees_the_state_before_the_operation_and_ends_the_world);
    tcase_add_test(tc, files_outlive_plans_and_close_after_a_stop);
    tcase_add_test(tc, every_exhausted_heap_is_survived);
    tcase_add_test_raise_signal(tc, a_plan_that_fails_without_an_errno_aborts, SIGABRT);
    Suite *suite = suite_create("volume_fault");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
