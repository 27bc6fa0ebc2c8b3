/* Making, checking and searching one sheet. */
#include "engine/base/codec.h"
#include "engine/btree/format.h"
#include "tests/lib/scale.h"
#include "tests/lib/sheet_kit.h"

#include <check.h>
#include <stdlib.h>

static void image_free(struct sop_slice image)
{
    sop_free((void *)(uintptr_t)image.data);
}

/* ---- against a sorted array -----------------------------------------------------------------
 */

static void search_agrees(const struct sop_sheet *s, const struct kit_model *m,
                          struct sop_slice key)
{
    bool exact;
    bool equal;
    uint32_t got = sop_sheet_seek(s, m->order, key, &exact);
    uint32_t want = kit_model_bound(m, key, &equal);
    ck_assert_uint_eq(got, want);
    ck_assert_int_eq(exact, equal);
    if (want < m->count) {
        ck_assert_int_eq(sop_sheet_cmp(s, m->order, want, key) == 0, equal);
        ck_assert_int_ge(sop_sheet_cmp(s, m->order, want, key), 0);
    }
    if (want > 0) {
        ck_assert_int_lt(sop_sheet_cmp(s, m->order, want - 1, key), 0);
    }
}

/* Keys next to a key: cut, longer, one byte more or less. */
static void search_around(const struct sop_sheet *s, const struct kit_model *m,
                          struct sop_slice key, struct kit_rng *r)
{
    struct sop_buf near = {0};
    ck_assert_int_eq(sop_buf_append(&near, key.data, key.len, NULL), 0);
    ck_assert_int_eq(sop_buf_append(&near, "\0", 2, NULL), 0);
    search_agrees(s, m, key);
    search_agrees(s, m, sop_slice(near.data, key.len + 1));
    search_agrees(s, m, sop_slice(near.data, key.len + 2));
    if (key.len > 0) {
        uint32_t at = kit_below(r, (uint32_t)key.len);
        near.data[at] = (uint8_t)(near.data[at] + 1 + kit_below(r, 2) * 254);
        search_agrees(s, m, sop_slice(near.data, key.len));
        search_agrees(s, m, sop_slice(key.data, key.len - 1));
        search_agrees(s, m, sop_slice(key.data, at));
    }
    sop_buf_fini(&near);
}

START_TEST(sheet_holds_and_finds_what_was_put_in)
{
    uint64_t seeds = test_scale(120, 2000, 50000);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct kit_rng r = {.state = seed};
        enum kit_shape shape = (enum kit_shape)kit_below(&r, KIT_SHAPES);
        enum kit_ordering ordering = (enum kit_ordering)kit_below(&r, KIT_ORDERINGS);
        struct sop_sheet_meta meta = {.store = seed,
                                      .page = 7,
                                      .run = seed % 2 == 0,
                                      .level = 2,
                                      .lsn = {.slot = 8, .record = 9}};
        struct kit_model m;
        kit_model_init(&m, ordering);
        kit_model_fill(&m, &r, shape, ordering, kit_below(&r, shape == KIT_LONG ? 8 : 150),
                       &meta);
        struct sop_slice image = kit_image(&m, &meta);
        struct sop_sheet s;
        struct sop_err err = {0};
        int rc = sop_sheet_check(image, m.order, &s, &err);
        ck_assert_msg(rc == 0, "seed %" PRIu64 ": %s", seed, err.text);
        ck_assert_uint_eq(s.count, m.count);
        ck_assert_uint_eq(s.store, seed);
        ck_assert(s.page == 7 && s.level == 2 && s.run == meta.run && s.lsn.slot == 8 &&
                  s.lsn.record == 9);
        for (uint32_t i = 0; i < m.count; i++) {
            struct sop_item item = sop_sheet_item(&s, i);
            ck_assert(kit_same(&m.items[i], &item));
            search_around(&s, &m, sop_buf_slice(&m.items[i].key), &r);
        }
        for (uint32_t i = 0; i < 30; i++) {
            struct sop_buf key = kit_key(&r, shape, ordering);
            search_around(&s, &m, sop_buf_slice(&key), &r);
            sop_buf_fini(&key);
        }
        image_free(image);
        kit_model_fini(&m);
    }
}
END_TEST

static void put_key(struct kit_model *m, const void *key, size_t len)
{
    struct kit_item item = {.kind = SOP_VALUE_INLINE};
    ck_assert_int_eq(sop_buf_append(&item.key, key, len, NULL), 0);
    kit_model_put(m, &item);
    sop_buf_fini(&item.key);
}

START_TEST(zeros_at_the_end_of_keys_count)
{
    struct kit_model m;
    kit_model_init(&m, KIT_MEMCMP);
    for (size_t len = 0; len <= 12; len++) {
        put_key(&m, "a\0\0\0\0\0\0\0\0\0\0\0\0", len);
    }
    put_key(&m, "b", 1);
    struct sop_slice image = kit_image(&m, &(struct sop_sheet_meta){.page = 1});
    struct sop_sheet s;
    ck_assert_int_eq(sop_sheet_check(image, m.order, &s, NULL), 0);
    ck_assert_uint_eq(s.heads[1],
                      s.heads[9]); /* "a" and "a" with 8 zeros: heads do tell little */
    for (uint32_t len = 0; len <= 12; len++) {
        bool exact;
        ck_assert_uint_eq(
            sop_sheet_seek(&s, m.order, sop_slice("a\0\0\0\0\0\0\0\0\0\0\0\0", len), &exact),
            len);
        ck_assert(exact);
    }
    bool exact;
    ck_assert_uint_eq(
        sop_sheet_seek(&s, m.order, sop_slice("a\0\0\0\0\0\0\0\0\0\0\0\0", 13), &exact), 13);
    ck_assert(!exact);
    image_free(image);
    kit_model_fini(&m);
}
END_TEST

START_TEST(prefix_is_that_of_the_keys)
{
    struct kit_model m;
    struct sop_sheet s;
    kit_model_init(&m, KIT_MEMCMP);
    put_key(&m, "abcdef", 6);
    struct sop_slice image = kit_image(&m, &(struct sop_sheet_meta){.page = 1});
    sop_sheet_view(image, &s);
    ck_assert_uint_eq(s.prefix.len, 6); /* one key: all of it */
    image_free(image);
    put_key(&m, "abcxyz", 6);
    image = kit_image(&m, &(struct sop_sheet_meta){.page = 1, .low = sop_slice_str("aa")});
    sop_sheet_view(image, &s);
    ck_assert(sop_slice_eq(s.prefix, sop_slice_str("abc")));
    ck_assert(sop_slice_eq(s.low, sop_slice_str("aa")) && !s.has_high);
    bool exact;
    const char *below[] = {"", "ab", "abb", "aaz"};
    for (size_t i = 0; i < SOP_ARRAY_LEN(below); i++) {
        ck_assert_uint_eq(sop_sheet_seek(&s, m.order, sop_slice_str(below[i]), &exact), 0);
    }
    ck_assert_uint_eq(sop_sheet_seek(&s, m.order, sop_slice_str("abd"), &exact), 2);
    image_free(image);
    kit_model_fini(&m);
}
END_TEST

START_TEST(empty_sheets_are_sheets)
{
    for (int ordering = 0; ordering < KIT_ORDERINGS; ordering++) {
        struct kit_model m;
        kit_model_init(&m, (enum kit_ordering)ordering);
        struct sop_sheet_meta meta = {
            .page = 4, .low = sop_slice_str("l"), .high = sop_slice_str("n"), .has_high = true};
        struct sop_slice image = kit_image(&m, &meta);
        struct sop_sheet s;
        ck_assert_int_eq(sop_sheet_check(image, m.order, &s, NULL), 0);
        bool exact = true;
        ck_assert_uint_eq(sop_sheet_seek(&s, m.order, sop_slice_str("m"), &exact), 0);
        ck_assert(!exact && s.count == 0 && s.has_high);
        ck_assert(sop_slice_eq(s.high, meta.high));
        const struct sop_sheet *views[1] = {&s};
        struct sop_walk w;
        sop_walk_init(&w, m.order, views, 1, meta.low, meta.high, true, false);
        ck_assert(!sop_walk_first(&w) && !sop_walk_last(&w) && !sop_walk_next(&w));
        image_free(image);
        kit_model_fini(&m);
    }
}
END_TEST

START_TEST(maker_is_reusable)
{
    struct sop_sheet_maker maker;
    struct sop_slice images[2];
    sop_sheet_maker_init(&maker, kit_order(KIT_MEMCMP));
    for (int round = 0; round < 2; round++) {
        sop_sheet_maker_reset(&maker);
        struct sop_item item = {.suffix = sop_slice_str("key"), .value = sop_slice_str("v")};
        ck_assert_int_eq(sop_sheet_maker_add(&maker, &item, NULL), 0);
        ck_assert_int_eq(sop_sheet_maker_finish(&maker, &(struct sop_sheet_meta){.page = 1},
                                                &images[round], NULL),
                         0);
        ck_assert_uint_ge(maker.estimate, images[round].len);
    }
    ck_assert(sop_slice_eq(images[0], images[1]));
    image_free(images[0]);
    image_free(images[1]);
    sop_sheet_maker_fini(&maker);
}
END_TEST

START_TEST(sheet_may_have_many_pieces)
{
    struct sop_buf value = {0};
    ck_assert_int_eq(sop_buf_reserve(&value, 1 << 20, NULL), 0);
    memset(value.data, 7, 1 << 20);
    for (size_t bytes = 0; bytes <= 1 << 20; bytes += bytes < 40000 ? 1021 : 123457) {
        struct sop_sheet_maker maker;
        struct sop_slice image;
        struct sop_sheet s;
        sop_sheet_maker_init(&maker, kit_order(KIT_MEMCMP));
        struct sop_item item = {.suffix = sop_slice_str("k"),
                                .value = sop_slice(value.data, bytes)};
        ck_assert_int_eq(sop_sheet_maker_add(&maker, &item, NULL), 0);
        ck_assert_int_eq(
            sop_sheet_maker_finish(&maker, &(struct sop_sheet_meta){.page = 1}, &image, NULL),
            0);
        ck_assert_int_eq(sop_sheet_check(image, maker.order, &s, NULL), 0);
        ck_assert_uint_eq(sop_sheet_item(&s, 0).value.len, bytes);
        ck_assert_uint_ge(maker.estimate, image.len);
        image_free(image);
        sop_sheet_maker_fini(&maker);
    }
    sop_buf_fini(&value);
}
END_TEST

/* ---- damage ---------------------------------------------------------------------------------
 */

static struct sop_slice damage_image(struct kit_model *m)
{
    struct kit_rng r = {.state = 11};
    struct sop_sheet_meta meta = {.page = 9,
                                  .run = true,
                                  .low = sop_slice_str("c"),
                                  .high = sop_slice_str("d"),
                                  .has_high = true};
    kit_model_init(m, KIT_MEMCMP);
    kit_model_fill(m, &r, KIT_PREFIX, KIT_MEMCMP, 20, &meta);
    return kit_image(m, &meta);
}

START_TEST(every_flipped_bit_is_noticed)
{
    struct kit_model m;
    struct sop_slice image = damage_image(&m);
    uint8_t *bytes = (uint8_t *)(uintptr_t)image.data;
    struct sop_sheet s;
    ck_assert_int_eq(sop_sheet_check(image, m.order, &s, NULL), 0);
    for (size_t bit = 0; bit < image.len * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(sop_sheet_check(image, NULL, &s, NULL), SOP_ERR_DATA_LOSS);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    image_free(image);
    kit_model_fini(&m);
}
END_TEST

START_TEST(every_wrong_length_is_noticed)
{
    struct kit_model m;
    struct sop_slice image = damage_image(&m);
    struct sop_sheet s;
    for (size_t len = 0; len < image.len; len++) {
        ck_assert_int_eq(sop_sheet_check(sop_slice(image.data, len), NULL, &s, NULL),
                         SOP_ERR_DATA_LOSS);
    }
    image_free(image);
    kit_model_fini(&m);
}
END_TEST

/* Uses everything that a sheet offers; what the check passed must never lead out of it. */
static void use(const struct sop_sheet *s, const struct sop_order *order)
{
    const struct sop_sheet *views[2] = {s, s};
    struct sop_walk w;
    bool exact;
    for (uint32_t i = 0; i < s->count; i++) {
        struct sop_item item = sop_sheet_item(s, i);
        if (item.value.len > 0) {
            (void)*(const volatile uint8_t *)(item.value.data + item.value.len - 1);
        }
        struct sop_buf key = {0};
        ck_assert_int_eq(sop_item_key(&item, &key, NULL), 0);
        (void)sop_sheet_seek(s, order, sop_buf_slice(&key), &exact);
        sop_buf_fini(&key);
    }
    sop_walk_init(&w, order, views, 2, s->low, s->high, s->has_high, false);
    for (bool on = sop_walk_first(&w); on; on = sop_walk_next(&w)) {
    }
    for (bool on = sop_walk_last(&w); on; on = sop_walk_prev(&w)) {
    }
}

START_TEST(damage_under_a_right_checksum_does_no_harm)
{
    struct kit_model m;
    struct sop_slice good = damage_image(&m);
    struct kit_rng r = {.state = 5};
    uint64_t rounds = test_scale(20000, 300000, 5000000);
    uint64_t refused = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        /* Its own allocation, so that a read behind it is seen. */
        uint8_t *bytes = sop_malloc_aligned(8, good.len);
        ck_assert_ptr_nonnull(bytes);
        memcpy(bytes, good.data, good.len);
        for (uint32_t n = 1 + kit_below(&r, 3); n > 0; n--) {
            static const uint32_t odd[] = {0, 1, 0x7f, 0x80, 0xff, UINT32_MAX, UINT32_MAX / 12};
            uint32_t at = kit_below(&r, (uint32_t)good.len - 3);
            if (kit_below(&r, 2) == 0) {
                bytes[at] = (uint8_t)kit_next(&r);
            } else {
                sop_put_u32(bytes + (at & ~3u),
                            odd[kit_below(&r, SOP_ARRAY_LEN(odd))] + kit_below(&r, 3));
            }
        }
        kit_mend(bytes, good.len);
        if (i % 2 == 0) {
            kit_guide(bytes, good.len);
        }
        struct sop_sheet s;
        int rc = sop_sheet_check(sop_slice(bytes, good.len), NULL, &s, NULL);
        ck_assert(rc == 0 || rc == SOP_ERR_DATA_LOSS);
        refused += rc != 0;
        if (rc == 0) {
            use(&s, m.order);
        }
        sop_free(bytes);
    }
    ck_assert_uint_gt(refused, rounds / 20);
    ck_assert_uint_lt(refused, rounds);
    image_free(good);
    kit_model_fini(&m);
}
END_TEST

/* One wrong fact each, under right checksums. */
static void refuses(const char *fact, const struct kit_model *m, size_t at, uint8_t with)
{
    struct sop_slice image = kit_image(m, &(struct sop_sheet_meta){.page = 1});
    uint8_t *bytes = (uint8_t *)(uintptr_t)image.data;
    struct sop_sheet s;
    bytes[at] = with;
    kit_mend(bytes, image.len);
    struct sop_err err = {0};
    ck_assert_msg(sop_sheet_check(image, m->order, &s, &err) == SOP_ERR_DATA_LOSS, "%s", fact);
    ck_assert_msg(strstr(err.text, fact) != NULL, "%s, not %s", err.text, fact);
    image_free(image);
}

START_TEST(each_wrong_fact_is_refused)
{
    /* Two keys "a", "b" and no values: header 72, guide 16, heads 16, offsets 12, cells 4 + 4.
     */
    struct kit_model m;
    kit_model_init(&m, KIT_MEMCMP);
    put_key(&m, "a", 1);
    put_key(&m, "b", 1);
    struct sop_slice image = kit_image(&m, &(struct sop_sheet_meta){.page = 1});
    ck_assert_uint_eq(image.len, 72 + 16 + 16 + 12 + 8);
    image_free(image);
    refuses("contradicts", &m, SOP_SHEET_AT_FLAGS, 8);
    refuses("contradicts", &m, SOP_SHEET_AT_ZERO, 1);
    refuses("contradicts", &m, SOP_SHEET_AT_HIGH_BYTES, 1); /* without the flag; no padding */
    refuses("longer than the sheet", &m, SOP_SHEET_AT_COUNT, 200);
    refuses("begin or end", &m, SOP_SHEET_AT_COUNT, 1);
    refuses("claims other sizes", &m, SOP_SHEET_AT_LOW_BYTES + 3, 0xff);
    refuses("guide to piece 0", &m, 76, 120);     /* cell */
    refuses("guide to piece 0", &m, 80 + 6, 'b'); /* head */
    refuses("cell 0", &m, 88 + 7, 'c');           /* head */
    refuses("begin or end", &m, 104, 117);        /* first offset */
    refuses("offset 1", &m, 108, 1);              /* second offset, before the first */
    refuses("offset 1", &m, 108, 255);            /* behind the image */
    refuses("begin or end", &m, 112, 123);        /* last offset */
    refuses("cell 0", &m, 116, 3);                /* unknown kind */
    refuses("cell 0", &m, 116, 2);                /* tombstone in a base */
    refuses("cell 0", &m, 116, 1);                /* place without place */
    refuses("cell 0", &m, 116, 4);                /* ride without ride */
    refuses("cell 0", &m, 116, 8);                /* unknown flag */
    refuses("cell 0", &m, 117, 2);                /* suffix longer than the cell */
    refuses("cell 0", &m, 117, 0);                /* suffix shorter than the cell */
    refuses("cell 0", &m, 117, 0x81);             /* length longer than the cell */
    refuses("cell 0", &m, 119, 1);                /* value longer than the cell */
    refuses("cell 0", &m, SOP_SHEET_AT_FLAGS, 4); /* heads in a comparer's sheet */
    kit_model_fini(&m);
    /* With a prefix "c" at 88 and seven zeros behind it. */
    kit_model_init(&m, KIT_MEMCMP);
    put_key(&m, "ca", 2);
    put_key(&m, "cb", 2);
    refuses("padding of a sheet is", &m, 89, 1);
    refuses("padding of a sheet is", &m, 95, 1);
    refuses("contradicts", &m, SOP_SHEET_AT_COUNT, 0); /* whose prefix would it be */
    refuses("contradicts", &m, SOP_SHEET_AT_FLAGS, SOP_SHEET_COMPARED);
    kit_model_fini(&m);
}
END_TEST

START_TEST(keys_out_of_order_are_refused)
{
    struct sop_sheet_maker maker;
    struct sop_slice image;
    struct sop_sheet s;
    struct sop_err err = {0};
    /* Made in the order of the comparer, read as if in memcmp order and the other way round. */
    sop_sheet_maker_init(&maker, kit_order(KIT_COMPARER));
    struct sop_item b = {.suffix = sop_slice_str("b")};
    struct sop_item a = {.suffix = sop_slice_str("a")};
    ck_assert_int_eq(sop_sheet_maker_add(&maker, &b, NULL), 0);
    ck_assert_int_eq(sop_sheet_maker_add(&maker, &a, NULL), 0);
    ck_assert_int_eq(
        sop_sheet_maker_finish(&maker, &(struct sop_sheet_meta){.page = 1}, &image, NULL), 0);
    sop_sheet_maker_fini(&maker);
    ck_assert_int_eq(sop_sheet_check(image, kit_order(KIT_COMPARER), &s, NULL), 0);
    ck_assert_int_eq(sop_sheet_check(image, NULL, &s, NULL), 0);
    ck_assert_int_eq(sop_sheet_check(image, kit_order(KIT_MEMCMP), &s, &err),
                     SOP_ERR_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(err.text, "another comparer"));
    /* The same cells as a plain sheet: right heads, wrong order. */
    uint8_t *bytes = (uint8_t *)(uintptr_t)image.data;
    bytes[SOP_SHEET_AT_FLAGS] = 0;
    bytes[88 + 7] = 'b';
    bytes[96 + 7] = 'a';
    kit_mend(bytes, image.len);
    kit_guide(bytes, image.len);
    ck_assert_int_eq(sop_sheet_check(image, NULL, &s, NULL), SOP_ERR_DATA_LOSS);
    ck_assert_int_eq(sop_sheet_check(image, kit_order(KIT_MEMCMP), &s, &err),
                     SOP_ERR_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(err.text, "out of order"));
    image_free(image);
}
END_TEST

START_TEST(keys_outside_the_fences_are_refused)
{
    struct kit_model m;
    struct sop_sheet s;
    kit_model_init(&m, KIT_MEMCMP);
    put_key(&m, "bb", 2);
    put_key(&m, "bc", 2);
    struct sop_sheet_meta meta = {
        .page = 1, .low = sop_slice_str("ba"), .high = sop_slice_str("bd"), .has_high = true};
    struct sop_slice image = kit_image(&m, &meta);
    uint8_t *bytes = (uint8_t *)(uintptr_t)image.data;
    ck_assert_int_eq(sop_sheet_check(image, m.order, &s, NULL), 0);
    bytes[89] = 'c'; /* low fence "bc" */
    kit_mend(bytes, image.len);
    ck_assert_int_eq(sop_sheet_check(image, m.order, &s, NULL), SOP_ERR_DATA_LOSS);
    bytes[89] = 'b';
    kit_mend(bytes, image.len);
    ck_assert_int_eq(sop_sheet_check(image, m.order, &s, NULL), 0);
    bytes[91] = 'c'; /* high fence "bc" */
    kit_mend(bytes, image.len);
    ck_assert_int_eq(sop_sheet_check(image, m.order, &s, NULL), SOP_ERR_DATA_LOSS);
    image_free(image);
    kit_model_fini(&m);
}
END_TEST

/* ---- order and separators -------------------------------------------------------------------
 */

static int never(void *arg, struct sop_slice a, struct sop_slice b)
{
    (void)arg;
    (void)a;
    (void)b;
    abort();
}

START_TEST(keys_too_short_for_an_id_come_first)
{
    struct sop_order order = {never, NULL, SOP_ITEM_ID_BYTES};
    static const char long_key[30] = "k";
    struct sop_slice whole = sop_slice(long_key, sizeof long_key);
    struct sop_slice empty = {NULL, 0};
    ck_assert_int_lt(sop_order_cmp(&order, empty, whole), 0);
    ck_assert_int_gt(sop_order_cmp(&order, whole, empty), 0);
    ck_assert_int_eq(sop_order_cmp(&order, empty, empty), 0);
    ck_assert_int_lt(sop_order_cmp(&order, sop_slice_str("zzz"), whole), 0);
    order.id_bytes = 0;
    ck_assert_int_lt(sop_order_cmp(&order, empty, whole), 0);
}
END_TEST

START_TEST(ids_break_ties)
{
    const struct sop_order *order = kit_order(KIT_COMPARER_IDS);
    char a[25] = "x.......................a";
    char b[25] = "x.......................b";
    char y[25] = "y.......................a";
    ck_assert_int_lt(sop_order_cmp(order, sop_slice(a, 25), sop_slice(b, 25)), 0);
    ck_assert_int_gt(sop_order_cmp(order, sop_slice(a, 25), sop_slice(y, 25)), 0);
    ck_assert_int_eq(sop_order_cmp(order, sop_slice(a, 25), sop_slice(a, 25)), 0);
}
END_TEST

START_TEST(separator_is_between_and_shortest)
{
    struct kit_rng r = {.state = 3};
    uint64_t rounds = test_scale(3000, 100000, 3000000);
    for (uint64_t i = 0; i < rounds; i++) {
        enum kit_shape shape = (enum kit_shape)kit_below(&r, KIT_LONG);
        enum kit_ordering ordering = (enum kit_ordering)kit_below(&r, KIT_ORDERINGS);
        const struct sop_order *order = kit_order(ordering);
        struct sop_buf keys[2] = {kit_key(&r, shape, ordering), kit_key(&r, shape, ordering)};
        struct sop_slice left = sop_buf_slice(&keys[0]);
        struct sop_slice right = sop_buf_slice(&keys[1]);
        struct sop_buf to = {0};
        if (sop_order_cmp(order, left, right) < 0) {
            ck_assert_int_eq(sop_separator(order, left, right, &to, NULL), 0);
            struct sop_slice got = sop_buf_slice(&to);
            ck_assert_int_lt(sop_order_cmp(order, left, got), 0);
            ck_assert_int_le(sop_order_cmp(order, got, right), 0);
            if (ordering == KIT_MEMCMP) {
                /* Any shorter one would be a beginning of right, or greater than it. */
                ck_assert_int_ge(sop_slice_cmp(left, sop_slice(right.data, got.len - 1)), 0);
            } else {
                ck_assert(sop_slice_eq(got, right));
            }
        }
        sop_buf_fini(&to);
        sop_buf_fini(&keys[0]);
        sop_buf_fini(&keys[1]);
    }
}
END_TEST

/* ---- where a search looks first ------------------------------------------------------------
 */

#define SPREAD_MOST 3000

enum spread { EVEN, CLUSTERED, GROWING, TIED, EXTREME, SPREADS };

static uint64_t spread_head(struct kit_rng *rng, enum spread how)
{
    uint64_t any = kit_next(rng);
    switch (how) {
    case CLUSTERED: /* two heaps far apart */
        return (any & 1) != 0 ? any % 5000 : UINT64_MAX - any % 100000;
    case GROWING: /* each power of two has as many */
        return (any >> 6) >> (any & 63);
    case TIED:
        return (any % 7) << 40;
    case EXTREME:
        return any % 3 == 0 ? 0 : any % 3 == 1 ? UINT64_MAX : any;
    default:
        return any;
    }
}

struct spread_key {
    uint8_t bytes[10]; /* the head, and two more */
};

static int spread_cmp(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct spread_key));
}

static void spread_item(const void *arg, size_t i, struct sop_item *item)
{
    const struct spread_key *key = (const struct spread_key *)arg + i;
    *item = (struct sop_item){.suffix = sop_slice(key->bytes, sizeof key->bytes)};
}

static void spread_key_of(struct spread_key *key, uint64_t head, uint16_t rest)
{
    for (size_t i = 0; i < 8; i++) {
        key->bytes[i] = (uint8_t)(head >> (56 - 8 * i));
    }
    key->bytes[8] = (uint8_t)(rest >> 8);
    key->bytes[9] = (uint8_t)rest;
}

/* In two steps; in between it shows everything but the items. */
static struct sop_slice from_row(const struct sop_order *order,
                                 const struct sop_sheet_meta *meta,
                                 const struct sop_sheet_row *row)
{
    struct sop_sheet_draft draft;
    struct sop_sheet sheet;
    ck_assert_int_eq(sop_sheet_draft_row(&draft, order, meta, row, NULL), 0);
    sop_sheet_view(draft.image, &sheet);
    ck_assert_uint_eq(sheet.count, row->count);
    ck_assert(sop_slice_eq(sheet.low, meta->low) && sop_slice_eq(sheet.high, meta->high));
    ck_assert(sheet.head_rate == 0); /* whoever looks too early expects nothing */
    sop_sheet_draft_fill(&draft);
    sop_sheet_view(draft.image, &sheet);
    ck_assert(sheet.head_rate > 0);
    return draft.image;
}

START_TEST(a_loose_sheet_is_whole_once_it_is_sealed)
{
    struct {
        struct sop_sheet_entry entry;
        uint64_t other;
    } row[300];
    static uint8_t keys[300][4];
    memset(row, 0, sizeof row);
    for (unsigned i = 0; i < 300; i++) {
        keys[i][0] = (uint8_t)(i >> 8);
        keys[i][1] = (uint8_t)i;
        row[i].entry.key = sop_slice(keys[i], sizeof keys[i]);
        row[i].entry.value = sop_slice("some value of an item", 1 + i % 20);
    }
    const struct sop_order *order = kit_order(KIT_MEMCMP);
    struct sop_sheet_row all = {.first = row, .step = sizeof row[0], .count = 300};
    struct sop_sheet_meta meta = {.page = 1,
                                  .low = sop_slice(keys[0], 2),
                                  .high = sop_slice("\x7f", 1),
                                  .has_high = true};
    struct sop_slice whole;
    struct sop_slice loose;
    struct sop_sheet sheet;
    whole = from_row(order, &meta, &all);
    meta.loose = true;
    loose = from_row(order, &meta, &all);
    ck_assert_int_eq(sop_sheet_check(loose, order, &sheet, NULL), SOP_ERR_DATA_LOSS);
    sop_sheet_view(loose, &sheet); /* it can be read all the same */
    for (uint32_t i = 0; i < 300; i++) {
        bool exact = false;
        sop_sheet_fetch_ahead(&sheet, row[i].entry.key);
        ck_assert_uint_eq(sop_sheet_seek(&sheet, order, row[i].entry.key, &exact), i);
        ck_assert(exact);
    }
    sop_sheet_seal(loose);
    ck_assert(sop_slice_eq(loose, whole));
    ck_assert_int_eq(sop_sheet_check(loose, order, &sheet, NULL), 0);
    sop_free((void *)(uintptr_t)whole.data);
    sop_free((void *)(uintptr_t)loose.data);
}
END_TEST

START_TEST(seeks_find_their_place_however_keys_are_spread)
{
    static struct spread_key keys[SPREAD_MOST];
    struct kit_rng rng = {.state = 17 + (uint64_t)_i};
    for (int round = 0; round < 20; round++) {
        size_t made = 2 + kit_next(&rng) % (SPREAD_MOST - 2);
        for (size_t i = 0; i < made; i++) {
            spread_key_of(&keys[i], spread_head(&rng, (enum spread)_i),
                          (uint16_t)kit_next(&rng));
        }
        qsort(keys, made, sizeof *keys, spread_cmp);
        size_t count = 1;
        for (size_t i = 1; i < made; i++) {
            if (spread_cmp(&keys[i], &keys[count - 1]) != 0) {
                keys[count++] = keys[i];
            }
        }
        struct sop_slice image;
        struct sop_sheet sheet;
        const struct sop_order *order = kit_order(KIT_MEMCMP);
        ck_assert_int_eq(sop_sheet_make(order, &(struct sop_sheet_meta){.page = 1}, spread_item,
                                        keys, count, &image, NULL),
                         0);
        ck_assert_int_eq(sop_sheet_check(image, order, &sheet, NULL), 0);
        for (size_t i = 0; i < count; i++) {
            bool exact = false;
            struct sop_slice key = sop_slice(keys[i].bytes, sizeof keys[i].bytes);
            ck_assert_uint_eq(sop_sheet_seek(&sheet, order, key, &exact), i);
            ck_assert(exact);
            key.len--; /* just before it */
            uint32_t at = sop_sheet_seek(&sheet, order, key, &exact);
            ck_assert(!exact && at <= i);
            ck_assert(at == 0 || sop_sheet_cmp(&sheet, order, at - 1, key) < 0);
            ck_assert(sop_sheet_cmp(&sheet, order, at, key) > 0);
        }
        for (int i = 0; i < 1000; i++) { /* and what is not there */
            struct spread_key other;
            bool exact = false;
            spread_key_of(&other, spread_head(&rng, (enum spread)(i % SPREADS)),
                          (uint16_t)kit_next(&rng));
            struct sop_slice key = sop_slice(other.bytes, sizeof other.bytes);
            uint32_t at = sop_sheet_seek(&sheet, order, key, &exact);
            ck_assert(at == 0 || sop_sheet_cmp(&sheet, order, at - 1, key) < 0);
            ck_assert(at == count ||
                      (sop_sheet_cmp(&sheet, order, at, key) == 0 ? exact : !exact));
            ck_assert(at == count || sop_sheet_cmp(&sheet, order, at, key) >= 0);
        }
        sop_free((void *)(uintptr_t)image.data);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("sheet");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, sheet_holds_and_finds_what_was_put_in);
    tcase_add_test(tc, a_loose_sheet_is_whole_once_it_is_sealed);
    tcase_add_loop_test(tc, seeks_find_their_place_however_keys_are_spread, 0, SPREADS);
    tcase_add_test(tc, zeros_at_the_end_of_keys_count);
    tcase_add_test(tc, prefix_is_that_of_the_keys);
    tcase_add_test(tc, empty_sheets_are_sheets);
    tcase_add_test(tc, maker_is_reusable);
    tcase_add_test(tc, sheet_may_have_many_pieces);
    tcase_add_test(tc, every_flipped_bit_is_noticed);
    tcase_add_test(tc, every_wrong_length_is_noticed);
    tcase_add_test(tc, damage_under_a_right_checksum_does_no_harm);
    tcase_add_test(tc, each_wrong_fact_is_refused);
    tcase_add_test(tc, keys_out_of_order_are_refused);
    tcase_add_test(tc, keys_outside_the_fences_are_refused);
    tcase_add_test(tc, keys_too_short_for_an_id_come_first);
    tcase_add_test(tc, ids_break_ties);
    tcase_add_test(tc, separator_is_between_and_shortest);
    Suite *suite = suite_create("sheet");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
