/* Walks over stacks of sheets, against a sorted array. */
#include "tests/lib/scale.h"
#include "tests/lib/sheet_kit.h"

#include <check.h>

/* A cursor over the model that does what the contract says: -1 before the first, count after
 * the last. */
struct cursor {
    const struct kit_model *model;
    int64_t at;
};

static bool on(const struct cursor *c)
{
    return c->at >= 0 && c->at < (int64_t)c->model->count;
}

static void agree(const struct sop_walk *w, bool got, const struct cursor *c, uint64_t seed,
                  const char *what)
{
    ck_assert_msg(got == on(c), "seed %" PRIu64 ": %s says %d", seed, what, got);
    if (got) {
        struct sop_item item = sop_walk_item(w);
        ck_assert_msg(kit_same(&c->model->items[c->at], &item), "seed %" PRIu64 ": %s, item %d",
                      seed, what, (int)c->at);
    }
}

static void move(struct sop_walk *w, struct cursor *c, bool forward, uint64_t seed)
{
    bool got;
    if (forward) {
        c->at += c->at < (int64_t)c->model->count;
        got = sop_walk_next(w);
    } else {
        c->at -= c->at >= 0;
        got = sop_walk_prev(w);
    }
    agree(w, got, c, seed, forward ? "next" : "prev");
}

static void search(struct sop_walk *w, struct cursor *c, struct kit_rng *r,
                   const struct kit_stack *s, uint64_t seed)
{
    struct sop_buf key = kit_key(r, s->shape, s->ordering);
    struct sop_slice slice = sop_buf_slice(&key);
    bool floor = kit_below(r, 2) == 0;
    bool exact = !floor;
    bool equal;
    uint32_t bound = kit_model_bound(c->model, slice, &equal);
    bool got = floor ? sop_walk_floor(w, slice, &exact) : sop_walk_seek(w, slice, &exact);
    c->at = floor && !equal ? (int64_t)bound - 1 : (int64_t)bound;
    agree(w, got, c, seed, floor ? "floor" : "seek");
    ck_assert_msg(exact == equal, "seed %" PRIu64 ": exact is %d", seed, exact);
    sop_buf_fini(&key);
}

static void whole(struct sop_walk *w, struct cursor *c, uint64_t seed)
{
    c->at = 0;
    agree(w, sop_walk_first(w), c, seed, "first");
    while (on(c)) {
        move(w, c, true, seed);
    }
    while (c->at >= 0) {
        move(w, c, false, seed);
    }
    c->at = (int64_t)c->model->count - 1;
    agree(w, sop_walk_last(w), c, seed, "last");
    while (on(c)) {
        move(w, c, false, seed);
    }
    move(w, c, true, seed);
}

static void steps(struct sop_walk *w, struct cursor *c, struct kit_rng *r,
                  const struct kit_stack *s, uint64_t seed)
{
    bool forward = true;
    for (uint32_t i = 0; i < 300; i++) {
        uint32_t chance = kit_below(r, 20);
        if (chance == 0) {
            search(w, c, r, s, seed);
        } else {
            forward = chance < 5 ? !forward : forward;
            move(w, c, forward, seed);
        }
    }
}

static void one_seed(uint64_t seed)
{
    struct kit_stack s;
    kit_stack_init(&s, seed);
    struct kit_rng r = {.state = ~seed};
    for (int keep = 0; keep < 2; keep++) {
        struct sop_walk w;
        struct cursor c = {.model = keep ? &s.kept : &s.shown, .at = -1};
        sop_walk_init(&w, kit_order(s.ordering), s.views, s.count, s.meta.low, s.meta.high,
                      s.meta.has_high, keep != 0);
        move(&w, &c, true, seed); /* a fresh walk stands before the first */
        steps(&w, &c, &r, &s, seed);
        whole(&w, &c, seed);
        steps(&w, &c, &r, &s, seed);
    }
    /* Point look-ups see the same. */
    for (uint32_t i = 0; i < 50; i++) {
        struct sop_buf key = kit_key(&r, s.shape, s.ordering);
        bool equal;
        struct sop_item item;
        uint32_t at = kit_model_bound(&s.shown, sop_buf_slice(&key), &equal);
        bool low = s.meta.low.len > 0 &&
                   sop_order_cmp(kit_order(s.ordering), sop_buf_slice(&key), s.meta.low) < 0;
        bool high = s.meta.has_high &&
                    sop_order_cmp(kit_order(s.ordering), sop_buf_slice(&key), s.meta.high) >= 0;
        if (!low && !high) {
            bool found = sop_stack_find(s.views, s.count, kit_order(s.ordering),
                                        sop_buf_slice(&key), &item);
            ck_assert_msg(found == equal, "seed %" PRIu64, seed);
            ck_assert(!found || kit_same(&s.shown.items[at], &item));
        }
        sop_buf_fini(&key);
    }
    kit_stack_fini(&s);
}

START_TEST(walk_shows_what_a_sorted_array_shows)
{
    uint64_t seeds = test_scale(120, 4000, 100000);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        one_seed(seed);
    }
}
END_TEST

/* A stack by hand: what each letter of `spec` says about the keys 0, 1, 2 ...: '.' nothing, '-'
 * tombstone, other letters: the value. */
static struct sop_slice by_hand(struct sop_sheet *s, const char *spec, bool run)
{
    struct kit_model m;
    kit_model_init(&m, KIT_MEMCMP);
    for (uint8_t i = 0; spec[i] != 0; i++) {
        if (spec[i] == '.') {
            continue;
        }
        struct kit_item item = {.kind =
                                    spec[i] == '-' ? SOP_VALUE_TOMBSTONE : SOP_VALUE_INLINE};
        ck_assert_int_eq(sop_buf_append(&item.key, &i, 1, NULL), 0);
        if (spec[i] != '-') {
            ck_assert_int_eq(sop_buf_append(&item.value, &spec[i], 1, NULL), 0);
        }
        kit_model_put(&m, &item);
        sop_buf_fini(&item.key);
        sop_buf_fini(&item.value);
    }
    struct sop_sheet_meta meta = {.store = 1, .page = 1, .run = run};
    struct sop_slice image = kit_image(&m, &meta);
    sop_sheet_view(image, s);
    kit_model_fini(&m);
    return image;
}

START_TEST(newer_sheets_win_and_tombstones_hide)
{
    struct sop_sheet sheets[3];
    struct sop_slice images[3] = {by_hand(&sheets[0], "..x-.-y", true),
                                  by_hand(&sheets[1], "-.zz.w.", true),
                                  by_hand(&sheets[2], "aaaaaaa", false)};
    const struct sop_sheet *views[3] = {&sheets[0], &sheets[1], &sheets[2]};
    char seen[16] = {0};
    size_t n = 0;
    struct sop_walk w;
    sop_walk_init(&w, kit_order(KIT_MEMCMP), views, 3, sop_slice_str(""), sop_slice_str(""),
                  false, false);
    for (bool more = sop_walk_first(&w); more; more = sop_walk_next(&w)) {
        seen[n++] = (char)sop_walk_item(&w).value.data[0];
    }
    for (bool more = sop_walk_last(&w); more; more = sop_walk_prev(&w)) {
        seen[n++] = (char)sop_walk_item(&w).value.data[0];
    }
    ck_assert_str_eq(seen, "axayyaxa"); /* keys 1 2 4 6 */
    for (size_t i = 0; i < 3; i++) {
        sop_free((void *)(uintptr_t)images[i].data);
    }
}
END_TEST

START_TEST(bounds_may_be_narrowed_after_init)
{
    struct sop_sheet sheets[2];
    struct sop_slice images[2] = {by_hand(&sheets[0], "x.x.x", true),
                                  by_hand(&sheets[1], "aaaaa", false)};
    const struct sop_sheet *views[2] = {&sheets[0], &sheets[1]};
    struct sop_walk w;
    sop_walk_init(&w, kit_order(KIT_MEMCMP), views, 2, sop_slice_str(""), sop_slice_str(""),
                  false, false);
    w.first[1] = 3;
    w.end[1] = 4;
    char seen[8] = {0};
    size_t n = 0;
    while (sop_walk_next(&w)) {
        seen[n++] = (char)sop_walk_item(&w).value.data[0];
    }
    ck_assert_str_eq(seen, "xxax"); /* keys 0 2 3 4 */
    bool exact;
    ck_assert(sop_walk_seek(&w, sop_slice("\1", 1), &exact) && !exact);
    ck_assert_int_eq(sop_walk_item(&w).value.data[0], 'x');
    /* What is cut off from a newer sheet hides nothing in an older one. */
    sop_walk_init(&w, kit_order(KIT_MEMCMP), views, 2, sop_slice_str(""), sop_slice_str(""),
                  false, false);
    w.end[0] = 1;
    ck_assert(sop_walk_seek(&w, sop_slice("\2", 1), &exact) && exact);
    ck_assert_int_eq(sop_walk_item(&w).value.data[0], 'a');
    ck_assert(sop_walk_floor(&w, sop_slice("\2", 1), &exact) && exact);
    ck_assert_int_eq(sop_walk_item(&w).value.data[0], 'a');
    for (size_t i = 0; i < 2; i++) {
        sop_free((void *)(uintptr_t)images[i].data);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("walk");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, walk_shows_what_a_sorted_array_shows);
    tcase_add_test(tc, newer_sheets_win_and_tombstones_hide);
    tcase_add_test(tc, bounds_may_be_narrowed_after_init);
    Suite *suite = suite_create("walk");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
