/* Makers and merges without memory: each allocation fails once, nothing leaks (the sanitizer
 * looks), and the same call works afterwards. */
#include "tests/lib/sheet_kit.h"

#include <check.h>

/* Called by the heap of the library (engine/base/base.c). */
bool sop_test_alloc_fails(void);

static int64_t failing_at = -1; /* which allocation from now on fails; -1 = none */

bool sop_test_alloc_fails(void)
{
    return failing_at >= 0 && failing_at-- == 0;
}

#define STEPS_MAX 200

static int fill(struct sop_sheet_maker *maker, const struct kit_model *m, struct sop_err *err)
{
    int rc = 0;
    for (uint32_t i = 0; i < m->count && rc == 0; i++) {
        struct sop_item item = {.suffix = sop_buf_slice(&m->items[i].key),
                                .ride = sop_buf_slice(&m->items[i].ride),
                                .value = sop_buf_slice(&m->items[i].value),
                                .kind = m->items[i].kind};
        uint32_t count = maker->count;
        rc = sop_sheet_maker_add(maker, &item, err);
        if (rc != 0) {
            /* As if it had not been called: the same item can be added again. */
            ck_assert_uint_eq(maker->count, count);
            ck_assert_int_eq(rc, SOP_ERR_NOMEM);
            ck_assert_int_eq(err->code, SOP_ERR_NOMEM);
            rc = sop_sheet_maker_add(maker, &item, err);
        }
    }
    return rc;
}

START_TEST(maker_survives_every_failed_allocation)
{
    struct sop_sheet_meta meta = {.page = 1, .run = true};
    struct kit_rng r = {.state = 2};
    struct kit_model m;
    kit_model_init(&m, KIT_MEMCMP);
    kit_model_fill(&m, &r, KIT_PREFIX, KIT_MEMCMP, 200, &meta);
    struct sop_slice want = kit_image(&m, &meta);
    bool failed = true;
    int step = 0;
    for (; failed; step++) {
        ck_assert_int_lt(step, STEPS_MAX);
        struct sop_sheet_maker maker;
        struct sop_err err = {0};
        struct sop_slice image;
        sop_sheet_maker_init(&maker, m.order);
        failing_at = step;
        ck_assert_int_eq(fill(&maker, &m, &err), 0);
        int rc = sop_sheet_maker_finish(&maker, &meta, &image, &err);
        if (rc != 0) {
            ck_assert_int_eq(rc, SOP_ERR_NOMEM);
            rc = sop_sheet_maker_finish(&maker, &meta, &image, &err);
        }
        ck_assert_int_eq(rc, 0);
        failed = failing_at < 0;
        failing_at = -1;
        ck_assert(sop_slice_eq(image, want));
        sop_free((void *)(uintptr_t)image.data);
        sop_sheet_maker_fini(&maker);
    }
    ck_assert_int_gt(step, 5);
    sop_free((void *)(uintptr_t)want.data);
    kit_model_fini(&m);
}
END_TEST

START_TEST(merge_survives_every_failed_allocation)
{
    for (uint64_t seed = 1; seed < 60; seed++) {
        struct kit_stack s;
        kit_stack_init(&s, seed);
        int rc = -1;
        for (int step = 0; rc != 0; step++) {
            ck_assert_int_lt(step, STEPS_MAX);
            struct sop_err err = {0};
            struct sop_slice image = {NULL, 0};
            uint32_t items = 77;
            failing_at = step;
            rc = sop_stack_merge(s.views, s.count, kit_order(s.ordering), &s.meta, &image,
                                 &items, &err);
            failing_at = -1;
            if (rc != 0) {
                ck_assert_int_eq(rc, SOP_ERR_NOMEM);
                ck_assert_int_eq(err.code, SOP_ERR_NOMEM);
                ck_assert_ptr_null(image.data);
                ck_assert_uint_eq(items, 77);
            } else {
                ck_assert_uint_eq(items, s.shown.count);
                ck_assert_int_gt(step, 0);
                sop_free((void *)(uintptr_t)image.data);
            }
        }
        kit_stack_fini(&s);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("sheet_oom");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, maker_survives_every_failed_allocation);
    tcase_add_test(tc, merge_survives_every_failed_allocation);
    Suite *suite = suite_create("sheet_oom");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
