/* Merging stacks of sheets, against a sorted array. */
#include "tests/lib/scale.h"
#include "tests/lib/sheet_kit.h"

#include "engine/btree/format.h"

#include <check.h>

static void expect(const struct sop_sheet *s, const struct kit_model *model, uint64_t seed)
{
    ck_assert_msg(s->count == model->count, "seed %" PRIu64 ": %" PRIu32 " items for %" PRIu32,
                  seed, s->count, model->count);
    for (uint32_t i = 0; i < s->count; i++) {
        struct sop_item item = sop_sheet_item(s, i);
        ck_assert_msg(kit_same(&model->items[i], &item), "seed %" PRIu64 ": item %" PRIu32,
                      seed, i);
    }
}

/* What the maker makes of the same items must be the same bytes. */
static void same_as_made(struct sop_slice image, const struct kit_model *model,
                         const struct sop_sheet_meta *meta, uint64_t seed)
{
    struct sop_slice made = kit_image(model, meta);
    ck_assert_msg(sop_slice_eq(made, image), "seed %" PRIu64 ": other bytes than the maker's",
                  seed);
    sop_free((void *)(uintptr_t)made.data);
}

static void one_seed(uint64_t seed)
{
    struct kit_stack s;
    kit_stack_init(&s, seed);
    for (int run = 0; run < 2; run++) {
        const struct kit_model *model = run ? &s.kept : &s.shown;
        struct sop_sheet_meta meta = s.meta;
        struct sop_slice image;
        uint32_t items = UINT32_MAX;
        meta.run = run != 0;
        meta.level = (uint8_t)(seed % 3);
        struct sop_err err = {0};
        ck_assert_int_eq(sop_stack_merge(s.views, s.count, kit_order(s.ordering), &meta, &image,
                                         &items, &err),
                         0);
        struct sop_sheet got;
        int rc = sop_sheet_check(image, kit_order(s.ordering), &got, &err);
        ck_assert_msg(rc == 0, "seed %" PRIu64 ": %s", seed, err.text);
        ck_assert_uint_eq(items, s.shown.count);
        ck_assert_uint_eq(got.level, meta.level);
        ck_assert_uint_eq(got.page, meta.page);
        expect(&got, model, seed);
        same_as_made(image, model, &meta, seed);
        sop_free((void *)(uintptr_t)image.data);
    }
    kit_stack_fini(&s);
}

START_TEST(merge_gives_what_a_sorted_array_gives)
{
    uint64_t seeds = test_scale(400, 6000, 200000);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        one_seed(seed);
    }
}
END_TEST

START_TEST(merge_of_merges_is_the_merge)
{
    /* Runs merged first, their base later: as pages do it. */
    uint64_t seeds = test_scale(100, 1500, 30000);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct kit_stack s;
        kit_stack_init(&s, seed);
        struct sop_sheet_meta meta = s.meta;
        struct sop_slice image;
        struct sop_slice upper;
        uint32_t items;
        if (s.count > 1) {
            struct sop_sheet top;
            struct sop_sheet_meta run = s.metas[0];
            run.low = sop_slice(NULL, 0);
            run.has_high = false;
            run.run = true;
            ck_assert_int_eq(sop_stack_merge(s.views, s.count - 1, kit_order(s.ordering), &run,
                                             &upper, &items, NULL),
                             0);
            sop_sheet_view(upper, &top);
            const struct sop_sheet *both[2] = {&top, s.views[s.count - 1]};
            ck_assert_int_eq(
                sop_stack_merge(both, 2, kit_order(s.ordering), &meta, &image, &items, NULL),
                0);
            same_as_made(image, &s.shown, &meta, seed);
            sop_free((void *)(uintptr_t)image.data);
            sop_free((void *)(uintptr_t)upper.data);
        }
        kit_stack_fini(&s);
    }
}
END_TEST

/* Sheets of many items, so that stretches are long and have all lengths. */
START_TEST(large_sheets_merge)
{
    for (uint64_t seed = 1; seed <= test_scale(2, 20, 200); seed++) {
        struct kit_rng r = {.state = seed};
        struct kit_model models[2];
        struct kit_model all;
        struct sop_slice images[2];
        struct sop_sheet sheets[2];
        struct sop_sheet_meta metas[2] = {{.run = true}, {.run = false}};
        const struct sop_sheet *views[2] = {&sheets[0], &sheets[1]};
        kit_model_init(&all, KIT_MEMCMP);
        for (int x = 1; x >= 0; x--) {
            kit_model_init(&models[x], KIT_MEMCMP);
            kit_model_fill(&models[x], &r, KIT_NUMBERS, KIT_MEMCMP, x == 0 ? 300 : 2500,
                           &metas[x]);
            images[x] = kit_image(&models[x], &metas[x]);
            sop_sheet_view(images[x], &sheets[x]);
            for (uint32_t i = 0; i < models[x].count; i++) {
                kit_model_put(&all, &models[x].items[i]);
            }
        }
        for (uint32_t i = all.count; i-- > 0;) {
            if (all.items[i].kind == SOP_VALUE_TOMBSTONE) {
                kit_model_remove(&all, i);
            }
        }
        struct sop_slice image;
        uint32_t items;
        ck_assert_int_eq(sop_stack_merge(views, 2, all.order, &metas[1], &image, &items, NULL),
                         0);
        same_as_made(image, &all, &metas[1], seed);
        ck_assert_uint_eq(items, all.count);
        sop_free((void *)(uintptr_t)image.data);
        for (int x = 0; x < 2; x++) {
            sop_free((void *)(uintptr_t)images[x].data);
            kit_model_fini(&models[x]);
        }
        kit_model_fini(&all);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("merge");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, merge_gives_what_a_sorted_array_gives);
    tcase_add_test(tc, merge_of_merges_is_the_merge);
    tcase_add_test(tc, large_sheets_merge);
    Suite *suite = suite_create("merge");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
