/* engine/base/arena: memory that dies together, under a budget. */
#include "engine/base/arena.h"
#include "tests/lib/oom.h"

#include <check.h>
#include <stdlib.h>

START_TEST(an_empty_arena_holds_nothing)
{
    struct sop_arena arena;
    sop_arena_init(&arena, 0);
    ck_assert_uint_eq(arena.used, 0);
    sop_arena_fini(&arena);
}
END_TEST

START_TEST(pieces_are_aligned_and_do_not_overlap)
{
    struct sop_arena arena;
    sop_arena_init(&arena, 0);
    enum { PIECES = 3000 };
    static uint8_t *pieces[PIECES];
    for (size_t i = 0; i < PIECES; i++) {
        size_t bytes = i % 97 == 0 ? 5000 + i : i % 61;
        pieces[i] = sop_arena_alloc(&arena, bytes);
        ck_assert_ptr_nonnull(pieces[i]);
        ck_assert_uint_eq((uintptr_t)pieces[i] % 8, 0);
        if (bytes > 0) {
            memset(pieces[i], (int)(i % 251), bytes);
        }
    }
    for (size_t i = 0; i < PIECES; i++) {
        size_t bytes = i % 97 == 0 ? 5000 + i : i % 61;
        for (size_t at = 0; at < bytes; at++) {
            ck_assert_uint_eq(pieces[i][at], i % 251);
        }
    }
    sop_arena_fini(&arena);
    ck_assert_uint_eq(arena.used, 0);
}
END_TEST

START_TEST(blocks_double_so_small_pieces_take_few)
{
    struct sop_arena arena;
    sop_arena_init(&arena, 0);
    oom_off();
    for (int i = 0; i < 100000; i++) {
        ck_assert_ptr_nonnull(sop_arena_alloc(&arena, 64));
    }
    ck_assert_uint_lt(oom_count(), 20); /* 6.4 MB */
    ck_assert_uint_lt(arena.used, 2 * 6400000);
    sop_arena_fini(&arena);
}
END_TEST

START_TEST(a_large_piece_leaves_the_rest_of_the_block_in_use)
{
    struct sop_arena arena;
    sop_arena_init(&arena, 0);
    uint8_t *before = sop_arena_alloc(&arena, 16);
    ck_assert_ptr_nonnull(sop_arena_alloc(&arena, 3 << 20));
    uint8_t *after = sop_arena_alloc(&arena, 16);
    ck_assert_ptr_eq(after, before + 16);
    sop_arena_fini(&arena);
}
END_TEST

START_TEST(the_budget_is_a_limit_and_can_be_used_up)
{
    struct sop_arena arena;
    sop_arena_init(&arena, 10000);
    ck_assert_ptr_null(sop_arena_alloc(&arena, 10001));
    size_t got = 0;
    while (sop_arena_alloc(&arena, 100) != NULL) {
        got += 104;
        ck_assert_uint_le(arena.used, 10000);
    }
    ck_assert_uint_gt(got, 9000);
    struct sop_slice copy = sop_slice_str("untouched");
    struct sop_err err = {0};
    char big[200] = {0};
    ck_assert_int_eq(sop_arena_copy(&arena, sop_slice(big, sizeof big), &copy, &err),
                     SOP_ERR_NOMEM);
    ck_assert_ptr_nonnull(strstr(err.text, "budget of 10000"));
    ck_assert(sop_slice_eq(copy, sop_slice_str("untouched")));
    sop_arena_reset(&arena);
    ck_assert_uint_eq(arena.budget, 10000);
    ck_assert_ptr_nonnull(sop_arena_alloc(&arena, 9000));
    sop_arena_fini(&arena);
}
END_TEST

START_TEST(a_copy_lives_in_the_arena)
{
    struct sop_arena arena;
    sop_arena_init(&arena, 0);
    char text[] = "hello";
    struct sop_slice copy;
    ck_assert_int_eq(sop_arena_copy(&arena, sop_slice_str(text), &copy, NULL), 0);
    text[0] = 'j';
    ck_assert(sop_slice_eq(copy, sop_slice_str("hello")));
    ck_assert_int_eq(sop_arena_copy(&arena, sop_slice(NULL, 0), &copy, NULL), 0);
    ck_assert_uint_eq(copy.len, 0);
    sop_arena_fini(&arena);
}
END_TEST

START_TEST(an_exhausted_heap_leaves_the_arena_usable)
{
    struct sop_arena arena;
    sop_arena_init(&arena, 0);
    oom_fail_from(0);
    ck_assert_ptr_null(sop_arena_alloc(&arena, 10));
    ck_assert_ptr_null(sop_arena_alloc(&arena, 1 << 21));
    oom_off();
    ck_assert_uint_eq(arena.used, 0);
    ck_assert_ptr_null(sop_arena_alloc(&arena, SIZE_MAX));
    ck_assert_ptr_null(sop_arena_alloc(&arena, SIZE_MAX - 16));
    ck_assert_ptr_nonnull(sop_arena_alloc(&arena, 10));
    sop_arena_fini(&arena);
}
END_TEST

START_TEST(a_rewound_arena_starts_anew_within_its_new_budget)
{
    struct sop_arena arena;
    sop_arena_init(&arena, 0);
    for (int i = 0; i < 1000; i++) {
        ck_assert_ptr_nonnull(sop_arena_alloc(&arena, 1000));
    }
    sop_arena_rewind(&arena, 20000);
    ck_assert_uint_le(arena.used, 4096);
    ck_assert_uint_eq(arena.budget, 20000);
    uint8_t *bytes = sop_arena_alloc(&arena, 3000);
    ck_assert_ptr_nonnull(bytes);
    memset(bytes, 1, 3000);
    while (sop_arena_alloc(&arena, 1000) != NULL) {
        ck_assert_uint_le(arena.used, 20000);
    }
    sop_arena_rewind(&arena, 100); /* less than any block */
    ck_assert_uint_eq(arena.used, 0);
    ck_assert_ptr_null(sop_arena_alloc(&arena, 200));
    sop_arena_fini(&arena);
}
END_TEST

START_TEST(a_pool_keeps_what_it_may)
{
    struct sop_arena_pool pool;
    struct sop_arena arena;
    sop_arena_pool_init(&pool, (size_t)2 << 20);
    for (int round = 0; round < 3; round++) {
        sop_arena_init(&arena, 0);
        arena.pool = &pool;
        for (int i = 0; i < 64; i++) { /* 6 MiB, mostly in the largest blocks */
            uint8_t *bytes = sop_arena_alloc(&arena, 100000);
            ck_assert_ptr_nonnull(bytes);
            memset(bytes, i, 100000);
        }
        size_t used = arena.used;
        ck_assert_uint_gt(used, 6400000);
        sop_arena_reset(&arena);
        ck_assert_uint_eq(arena.used, 0);
        ck_assert_ptr_eq(arena.pool, &pool);
        ck_assert_uint_le(pool.bytes, pool.most);
        ck_assert(pool.bytes == 0 || pool.bytes == pool.most); /* a sanitizer wants none */
    }
    sop_arena_pool_fini(&pool);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("arena");
    tcase_add_test(tc, an_empty_arena_holds_nothing);
    tcase_add_test(tc, pieces_are_aligned_and_do_not_overlap);
    tcase_add_test(tc, blocks_double_so_small_pieces_take_few);
    tcase_add_test(tc, a_large_piece_leaves_the_rest_of_the_block_in_use);
    tcase_add_test(tc, the_budget_is_a_limit_and_can_be_used_up);
    tcase_add_test(tc, a_copy_lives_in_the_arena);
    tcase_add_test(tc, a_rewound_arena_starts_anew_within_its_new_budget);
    tcase_add_test(tc, a_pool_keeps_what_it_may);
    tcase_add_test(tc, an_exhausted_heap_leaves_the_arena_usable);
    Suite *suite = suite_create("arena");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
