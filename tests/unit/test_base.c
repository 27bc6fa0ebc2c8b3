/* engine/base: errors, assertions, heap, buffers, threads, environment, failpoints. */
#include "engine/base/env.h"
#include "engine/base/failpoint.h"
#include "engine/base/thread.h"
#include "tests/lib/oom.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

START_TEST(every_code_has_a_class_a_name_and_a_text)
{
    ck_assert_int_eq(sop_err_class(0), SOP_CLASS_NONE);
    ck_assert_str_eq(sop_err_name(0), "OK");
    for (int code = -1; code >= SOP_ERR_UNSUPPORTED; code--) {
        ck_assert_str_ne(sop_err_name(code), "?");
        ck_assert_int_ne(sop_err_class(code), SOP_CLASS_NONE);
        ck_assert_uint_gt(strlen(sop_err_text(code)), 4);
        /* People read it: no words that only the engine uses. */
        static const char *const words[] = {"tenure", "member",   "cut",   "batch",
                                            "sealed", "manifest", "slot ", "ticket"};
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
            ck_assert_ptr_null(strstr(sop_err_text(code), words[i]));
        }
    }
    ck_assert_int_eq(sop_err_class(SOP_ERR_CONFLICT), SOP_CLASS_RESTART);
    ck_assert_str_eq(sop_err_name(SOP_ERR_DATA_LOSS), "DATA_LOSS");
    ck_assert_int_eq(sop_err_class(-9999), SOP_CLASS_FATAL);
    ck_assert_str_eq(sop_err_name(-9999), "?");
    ck_assert_ptr_nonnull(strstr(sop_err_text(-9999), "unknown"));
}
END_TEST

START_TEST(an_error_reads_from_the_outside_in)
{
    struct sop_err err = {0};
    int rc = SOP_ERR_SYS(&err, IO, EIO, "read %d bytes at %d", 4096, 8192);
    ck_assert_int_eq(rc, SOP_ERR_IO);
    ck_assert_int_eq(sop_err_wrap(&err, rc, "read extent %d", 7), SOP_ERR_IO);
    ck_assert_int_eq(sop_err_wrap(&err, rc, "open store %s", "users"), SOP_ERR_IO);
    ck_assert_str_eq(
        err.text,
        "open store users: read extent 7: read 4096 bytes at 8192: Input/output error");
    ck_assert_int_eq(err.code, SOP_ERR_IO);
    ck_assert_int_eq(err.sys, EIO);
    ck_assert_ptr_nonnull(strstr(err.file, "test_base.c"));
    ck_assert_int_gt(err.line, 0);
}
END_TEST

START_TEST(an_error_may_be_of_no_interest)
{
    ck_assert_int_eq(SOP_ERR(NULL, BUSY, "x"), SOP_ERR_BUSY);
    ck_assert_int_eq(sop_err_wrap(NULL, SOP_ERR_BUSY, "x"), SOP_ERR_BUSY);
    struct sop_err err = {.text = "as it was"};
    ck_assert_int_eq(sop_err_wrap(&err, 0, "x"), 0);
    ck_assert_str_eq(err.text, "as it was");
}
END_TEST

START_TEST(an_error_may_quote_its_own_text)
{
    struct sop_err err = {0};
    (void)SOP_ERR(&err, IO, "inner");
    (void)SOP_ERR(&err, BUSY, "outer (%s)", err.text);
    ck_assert_str_eq(err.text, "outer (inner)");
    (void)sop_err_wrap(&err, err.code, "again (%s)", err.text);
    ck_assert_str_eq(err.text, "again (outer (inner)): outer (inner)");
}
END_TEST

START_TEST(a_long_story_never_hides_the_cause)
{
    char story[1000];
    memset(story, 's', sizeof story - 1);
    story[sizeof story - 1] = '\0';
    struct sop_err err = {0};
    (void)SOP_ERR_SYS(&err, NOSPACE, ENOSPC, "%s", story);
    ck_assert_uint_eq(strlen(err.text), SOP_ERR_TEXT_BYTES - 1);
    const char *cause = ": No space left on device";
    ck_assert_str_eq(err.text + strlen(err.text) - strlen(cause), cause);

    (void)SOP_ERR(&err, BUSY, "the cause");
    for (int i = 0; i < 100; i++) {
        (void)sop_err_wrap(&err, err.code, "%.*s", 1 + i * 7 % 40, story);
        ck_assert_uint_lt(strlen(err.text), SOP_ERR_TEXT_BYTES);
    }
    ck_assert_uint_gt(strlen(err.text), SOP_ERR_TEXT_BYTES - 5);
    ck_assert_str_eq(err.text + strlen(err.text) - strlen("the cause"), "the cause");
}
END_TEST

START_TEST(a_false_fact_aborts)
{
    SOP_ASSERT(1 + 1 == 3);
}
END_TEST

struct thing {
    uint32_t magic;
    int value;
};

START_TEST(a_cast_gives_the_object)
{
    struct thing thing = {.magic = 0x1234, .value = 7};
    void *travelling = &thing;
    ck_assert_int_eq(SOP_CAST(thing, 0x1234, travelling)->value, 7);
}
END_TEST

START_TEST(a_cast_of_another_kind_aborts)
{
    struct thing thing = {.magic = 0x1235, .value = 7};
    void *travelling = &thing;
    ck_assert_int_eq(SOP_CAST(thing, 0x1234, travelling)->value, 7);
}
END_TEST

START_TEST(a_cast_of_null_aborts)
{
    (void)SOP_CAST(thing, 0x1234, NULL);
}
END_TEST

START_TEST(slices_order_as_memcmp_with_prefixes_first)
{
    struct sop_slice none = {0};
    struct sop_slice a = sop_slice_str("a");
    struct sop_slice ab = sop_slice_str("ab");
    struct sop_slice high = sop_slice_str("\xff");
    ck_assert_int_lt(sop_slice_cmp(none, a), 0);
    ck_assert_int_lt(sop_slice_cmp(a, ab), 0);
    ck_assert_int_gt(sop_slice_cmp(high, ab), 0); /* bytes are unsigned */
    ck_assert_int_eq(sop_slice_cmp(none, none), 0);
    ck_assert(sop_slice_eq(ab, sop_slice("abc", 2)));
    ck_assert(!sop_slice_eq(a, ab));
    ck_assert(sop_slice_eq(none, sop_slice("x", 0)));
}
END_TEST

START_TEST(lsns_order_by_slot_then_record)
{
    struct sop_lsn low = {.slot = 1, .record = 9};
    struct sop_lsn high = {.slot = 2, .record = 0};
    ck_assert_int_lt(sop_lsn_cmp(low, high), 0);
    ck_assert_int_gt(sop_lsn_cmp(high, low), 0);
    high = (struct sop_lsn){.slot = 1, .record = 10};
    ck_assert_int_lt(sop_lsn_cmp(low, high), 0);
    ck_assert_int_eq(sop_lsn_cmp(low, low), 0);
}
END_TEST

START_TEST(the_heap_gives_aligned_and_zeroed_memory)
{
    void *nothing = sop_malloc(0);
    ck_assert_ptr_nonnull(nothing); /* NULL means exhaustion only */
    sop_free(nothing);
    sop_free(NULL);
    uint8_t *zeros = sop_calloc(100, 3);
    for (int i = 0; i < 300; i++) {
        ck_assert_uint_eq(zeros[i], 0);
    }
    zeros = sop_realloc(zeros, 1000);
    ck_assert_uint_eq(zeros[299], 0);
    sop_free(zeros);
    void *aligned = sop_malloc_aligned(4096, 10);
    ck_assert_uint_eq((uintptr_t)aligned % 4096, 0);
    sop_free(aligned);
    aligned = sop_malloc_aligned(1, 10);
    ck_assert_ptr_nonnull(aligned);
    sop_free(aligned);
}
END_TEST

START_TEST(a_test_can_exhaust_the_heap)
{
    oom_fail_at(1);
    void *first = sop_malloc(1);
    void *second = sop_malloc(1);
    void *third = sop_calloc(1, 1);
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_null(second);
    ck_assert_ptr_nonnull(third);
    ck_assert_uint_eq(oom_count(), 3);
    ck_assert(oom_hit());
    sop_free(third);
    oom_fail_from(0);
    ck_assert_ptr_null(sop_malloc(1));
    ck_assert_ptr_null(sop_realloc(first, 100));
    ck_assert_ptr_null(sop_calloc(1, 1));
    ck_assert_ptr_null(sop_malloc_aligned(64, 1));
    oom_off();
    ck_assert(!oom_hit());
    sop_free(first);
}
END_TEST

START_TEST(a_buffer_grows_and_keeps_its_content)
{
    struct sop_buf buf = {0};
    struct sop_err err = {0};
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(sop_buf_append(&buf, &i, sizeof i, &err), 0);
    }
    ck_assert_int_eq(sop_buf_append(&buf, NULL, 0, &err), 0);
    ck_assert_uint_eq(buf.len, 1000 * sizeof(int));
    ck_assert_uint_le(buf.cap, 2 * buf.len);
    for (int i = 0; i < 1000; i++) {
        int value;
        memcpy(&value, buf.data + (size_t)i * sizeof value, sizeof value);
        ck_assert_int_eq(value, i);
    }
    sop_buf_clear(&buf);
    ck_assert_uint_eq(sop_buf_slice(&buf).len, 0);
    sop_buf_fini(&buf);
    ck_assert_ptr_null(buf.data);
    ck_assert_uint_eq(buf.cap, 0);
}
END_TEST

START_TEST(a_buffer_that_cannot_grow_stays_as_it_was)
{
    struct sop_buf buf = {0};
    struct sop_err err = {0};
    ck_assert_int_eq(sop_buf_append(&buf, "abc", 3, &err), 0);
    ck_assert_int_eq(sop_buf_reserve(&buf, SIZE_MAX - 1, &err), SOP_ERR_NOMEM);
    oom_fail_at(0);
    ck_assert_int_eq(sop_buf_reserve(&buf, 1000, &err), SOP_ERR_NOMEM);
    oom_off();
    ck_assert(sop_slice_eq(sop_buf_slice(&buf), sop_slice_str("abc")));
    sop_buf_fini(&buf);
}
END_TEST

/* ---- threads ---- */

struct meeting {
    struct sop_mutex mutex;
    struct sop_cond cond;
    int said;
};

static void *say(void *arg)
{
    struct meeting *m = arg;
    sop_mutex_lock(&m->mutex);
    m->said = 1;
    sop_cond_broadcast(&m->cond);
    while (m->said == 1) {
        sop_cond_wait(&m->cond, &m->mutex);
    }
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    m->said = sigismember(&blocked, SIGTERM) == 1 ? 3 : 4;
    sop_mutex_unlock(&m->mutex);
    return NULL;
}

START_TEST(threads_meet_and_block_signals)
{
    struct meeting m = {.said = 0};
    sop_mutex_init(&m.mutex, SOP_RANK_QUEUE);
    sop_cond_init(&m.cond);
    pthread_t thread;
    struct sop_err err = {0};
    ck_assert_int_eq(sop_thread_start(&thread, say, &m, "a name longer than linux keeps", &err),
                     0);
    sop_mutex_lock(&m.mutex);
    while (m.said == 0) {
        sop_cond_wait(&m.cond, &m.mutex);
    }
    m.said = 2;
    sop_cond_signal(&m.cond);
    sop_mutex_unlock(&m.mutex);
    pthread_join(thread, NULL);
    ck_assert_int_eq(m.said, 3);
    sigset_t mine;
    pthread_sigmask(SIG_SETMASK, NULL, &mine);
    ck_assert_int_eq(sigismember(&mine, SIGTERM), 0);
    sop_cond_fini(&m.cond);
    sop_mutex_fini(&m.mutex);
}
END_TEST

START_TEST(a_wait_ends_when_its_time_is_up)
{
    struct meeting m = {.said = 0};
    sop_mutex_init(&m.mutex, SOP_RANK_QUEUE);
    sop_cond_init(&m.cond);
    struct sop_env *env = sop_env_system();
    sop_mutex_lock(&m.mutex);
    uint64_t start = sop_env_mono_ns(env);
    while (sop_cond_wait_for(&m.cond, &m.mutex, 2000000)) {
    }
    ck_assert_uint_ge(sop_env_mono_ns(env) - start, 1900000);
    sop_mutex_unlock(&m.mutex);
    sop_cond_fini(&m.cond);
    sop_mutex_fini(&m.mutex);
}
END_TEST

static void *wake(void *arg)
{
    struct meeting *m = arg;
    sop_mutex_lock(&m->mutex);
    m->said = 1;
    sop_cond_signal(&m->cond);
    sop_mutex_unlock(&m->mutex);
    return NULL;
}

START_TEST(the_longest_wait_is_a_long_one)
{
    struct meeting m = {.said = 0};
    sop_mutex_init(&m.mutex, SOP_RANK_QUEUE);
    sop_cond_init(&m.cond);
    pthread_t thread;
    sop_mutex_lock(&m.mutex);
    ck_assert_int_eq(sop_thread_start(&thread, wake, &m, "wake", NULL), 0);
    while (m.said == 0) {
        ck_assert(sop_cond_wait_for(&m.cond, &m.mutex, UINT64_MAX));
    }
    sop_mutex_unlock(&m.mutex);
    pthread_join(thread, NULL);
    sop_cond_fini(&m.cond);
    sop_mutex_fini(&m.mutex);
}
END_TEST

START_TEST(mutexes_in_rank_order_are_fine_and_released_in_any)
{
    struct sop_mutex outer;
    struct sop_mutex inner;
    sop_mutex_init(&outer, SOP_RANK_COMMIT);
    sop_mutex_init(&inner, SOP_RANK_CACHE);
    for (int i = 0; i < 2; i++) {
        sop_mutex_lock(&outer);
        sop_mutex_lock(&inner);
        sop_mutex_unlock(&outer);
        sop_mutex_unlock(&inner);
    }
    sop_mutex_lock(&inner);
    sop_mutex_unlock(&inner);
    sop_mutex_lock(&outer);
    sop_mutex_unlock(&outer);
    sop_mutex_fini(&inner);
    sop_mutex_fini(&outer);
}
END_TEST

#ifdef SOP_DEEP_CHECKS
START_TEST(mutexes_out_of_rank_order_abort)
{
    struct sop_mutex outer;
    struct sop_mutex inner;
    sop_mutex_init(&outer, SOP_RANK_COMMIT);
    sop_mutex_init(&inner, SOP_RANK_CACHE);
    sop_mutex_lock(&inner);
    sop_mutex_lock(&outer);
}
END_TEST

START_TEST(two_mutexes_of_one_rank_abort)
{
    struct sop_mutex one;
    struct sop_mutex other;
    sop_mutex_init(&one, SOP_RANK_PAGE);
    sop_mutex_init(&other, SOP_RANK_PAGE);
    sop_mutex_lock(&one);
    sop_mutex_lock(&other);
}
END_TEST

START_TEST(releasing_what_is_not_held_aborts)
{
    struct sop_mutex one;
    sop_mutex_init(&one, SOP_RANK_PAGE);
    sop_mutex_unlock(&one);
}
END_TEST
#endif

/* ---- environment and failpoints ---- */

START_TEST(the_system_tells_time_and_draws_bytes)
{
    struct sop_env *env = sop_env_system();
    uint64_t before = sop_env_mono_ns(env);
    sop_env_sleep_ns(env, 1000000);
    uint64_t after = sop_env_mono_ns(env);
    ck_assert_uint_ge(after - before, 1000000);
    ck_assert_uint_gt(sop_env_wall_ms(env), UINT64_C(1600000000000));
    uint8_t one[1000] = {0};
    uint8_t other[1000] = {0};
    sop_env_random(env, one, sizeof one);
    sop_env_random(env, other, sizeof other);
    ck_assert_mem_ne(one, other, sizeof one);
    ck_assert_mem_ne(one + 992, "\0\0\0\0\0\0\0\0", 8); /* filled to the end */
    sop_env_random(env, NULL, 0);
}
END_TEST

static int hit_second(void *arg, const char *name)
{
    int *left = arg;
    ck_assert_str_eq(name, "test.place");
    return (*left)-- == 0 ? SOP_ERR_NOSPACE : 0;
}

START_TEST(a_failpoint_fails_where_it_is_told)
{
    const struct sop_failpoints *off = NULL;
    ck_assert_int_eq(SOP_FAILPOINT(off, "test.place"), 0);
    int left = 1;
    struct sop_failpoints points = {.hit = hit_second, .arg = &left};
    struct sop_err err = {0};
    ck_assert_int_eq(SOP_FAILPOINT(&points, "test.place"), 0);
    ck_assert_int_eq(SOP_FAILPOINT_ERR(&points, "test.place", &err), SOP_ERR_NOSPACE);
    ck_assert_str_eq(err.text, "failpoint test.place");
    ck_assert_int_eq(SOP_FAILPOINT(&points, "test.place"), 0);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("base");
    tcase_add_test(tc, every_code_has_a_class_a_name_and_a_text);
    tcase_add_test(tc, an_error_reads_from_the_outside_in);
    tcase_add_test(tc, an_error_may_be_of_no_interest);
    tcase_add_test(tc, an_error_may_quote_its_own_text);
    tcase_add_test(tc, a_long_story_never_hides_the_cause);
    tcase_add_test_raise_signal(tc, a_false_fact_aborts, SIGABRT);
    tcase_add_test(tc, a_cast_gives_the_object);
    tcase_add_test_raise_signal(tc, a_cast_of_another_kind_aborts, SIGABRT);
    tcase_add_test_raise_signal(tc, a_cast_of_null_aborts, SIGABRT);
    tcase_add_test(tc, slices_order_as_memcmp_with_prefixes_first);
    tcase_add_test(tc, lsns_order_by_slot_then_record);
    tcase_add_test(tc, the_heap_gives_aligned_and_zeroed_memory);
    tcase_add_test(tc, a_test_can_exhaust_the_heap);
    tcase_add_test(tc, a_buffer_grows_and_keeps_its_content);
    tcase_add_test(tc, a_buffer_that_cannot_grow_stays_as_it_was);
    tcase_add_test(tc, threads_meet_and_block_signals);
    tcase_add_test(tc, a_wait_ends_when_its_time_is_up);
    tcase_add_test(tc, the_longest_wait_is_a_long_one);
    tcase_add_test(tc, mutexes_in_rank_order_are_fine_and_released_in_any);
#ifdef SOP_DEEP_CHECKS
    tcase_add_test_raise_signal(tc, mutexes_out_of_rank_order_abort, SIGABRT);
    tcase_add_test_raise_signal(tc, two_mutexes_of_one_rank_abort, SIGABRT);
    tcase_add_test_raise_signal(tc, releasing_what_is_not_held_aborts, SIGABRT);
#endif
    tcase_add_test(tc, the_system_tells_time_and_draws_bytes);
    tcase_add_test(tc, a_failpoint_fails_where_it_is_told);
    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
