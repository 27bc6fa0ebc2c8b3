/* Looking keys up by way of a sheet's front and single pieces: the same answers as the whole
 * sheet gives, whatever the keys look like; and what is damaged is noticed. */
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

static void same_answer(struct kit_part *p, const struct sop_sheet *s, struct sop_slice key)
{
    static const struct sop_order plain = {0};
    bool exact = false;
    struct sop_item item;
    uint32_t at = sop_sheet_seek(s, &plain, key, &exact);
    enum sop_chunk_answer answer = kit_part_find(p, key, &item);
    ck_assert_int_eq(answer, exact ? SOP_CHUNK_FOUND : SOP_CHUNK_ABSENT);
    if (exact) {
        struct sop_item whole = sop_sheet_item(s, at);
        ck_assert_int_eq(item.kind, whole.kind);
        ck_assert(sop_slice_eq(item.prefix, whole.prefix));
        ck_assert(sop_slice_eq(item.suffix, whole.suffix));
        ck_assert(sop_slice_eq(item.ride, whole.ride));
        ck_assert(sop_slice_eq(item.value, whole.value));
    }
}

/* A key, and those next to it. */
static void around(struct kit_part *p, const struct sop_sheet *s, struct sop_slice key,
                   struct kit_rng *r)
{
    struct sop_buf near = {0};
    ck_assert_int_eq(sop_buf_append(&near, key.data, key.len, NULL), 0);
    ck_assert_int_eq(sop_buf_append(&near, "\0", 1, NULL), 0);
    same_answer(p, s, key);
    same_answer(p, s, sop_buf_slice(&near));
    if (key.len > 0) {
        uint32_t at = kit_below(r, (uint32_t)key.len);
        near.data[at] = (uint8_t)(near.data[at] + 1 + kit_below(r, 2) * 254);
        same_answer(p, s, sop_slice(near.data, key.len));
        same_answer(p, s, sop_slice(key.data, at));
    }
    sop_buf_fini(&near);
}

/* Values up to a few pieces, now and then one that is longer than many. */
static void grow_values(struct kit_model *m, struct kit_rng *r)
{
    for (uint32_t i = 0; i < m->count; i++) {
        struct kit_item *item = &m->items[i];
        uint32_t chance = kit_below(r, 8);
        if (item->kind != SOP_VALUE_INLINE || chance > 2) {
            continue;
        }
        size_t bytes = kit_below(r, chance == 0 ? 50000 : chance == 1 ? 5000 : 300);
        ck_assert_int_eq(sop_buf_reserve(&item->value, bytes, NULL), 0);
        memset(item->value.data + item->value.len, (int)i, bytes);
        item->value.len += bytes;
    }
}

START_TEST(part_answers_as_the_whole)
{
    uint64_t seeds = test_scale(150, 3000, 50000);
    uint64_t pieces_most = 0;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct kit_rng r = {.state = seed};
        enum kit_shape shape = (enum kit_shape)kit_below(&r, KIT_SHAPES);
        struct sop_sheet_meta meta = {.store = 3, .page = 7, .run = seed % 2 == 0};
        struct kit_model m;
        struct sop_sheet s;
        struct kit_part p;
        kit_model_init(&m, KIT_MEMCMP);
        kit_model_fill(&m, &r, shape, KIT_MEMCMP, kit_below(&r, shape == KIT_LONG ? 9 : 200),
                       &meta);
        grow_values(&m, &r);
        struct sop_slice image = kit_image(&m, &meta);
        ck_assert_int_eq(sop_sheet_check(image, m.order, &s, NULL), 0);
        ck_assert(kit_part_init(&p, image));
        ck_assert(p.front.sheet.page == 7 && p.front.sheet.run == meta.run);
        for (uint32_t i = 0; i < m.count; i++) {
            around(&p, &s, sop_buf_slice(&m.items[i].key), &r);
            pieces_most = p.pieces > pieces_most ? p.pieces : pieces_most;
        }
        for (uint32_t i = 0; i < 30; i++) {
            struct sop_buf key = kit_key(&r, shape, KIT_MEMCMP);
            around(&p, &s, sop_buf_slice(&key), &r);
            sop_buf_fini(&key);
        }
        kit_part_fini(&p);
        image_free(image);
        kit_model_fini(&m);
    }
    ck_assert_uint_gt(pieces_most, 10); /* there were such cells */
}
END_TEST

/* ---- how much is read -----------------------------------------------------------------------
 */

#define ITEMS     2000u
#define KEY_BYTES 16u

struct keys {
    uint8_t bytes[ITEMS][KEY_BYTES];
    size_t value_bytes;
};
static uint8_t value[200];

static void keys_item(const void *arg, size_t i, struct sop_item *item)
{
    const struct keys *k = arg;
    *item = (struct sop_item){.suffix = sop_slice(k->bytes[i], KEY_BYTES),
                              .value = sop_slice(value, k->value_bytes)};
}

static int keys_cmp(const void *a, const void *b)
{
    return memcmp(a, b, KEY_BYTES);
}

/* Random keys whose first `tied` bytes behind the first one are the same. */
static struct sop_slice keys_image(struct keys *k, size_t tied)
{
    struct kit_rng r = {.state = tied + 1};
    struct sop_slice image;
    for (uint32_t i = 0; i < ITEMS; i++) {
        for (size_t b = 0; b < KEY_BYTES; b++) {
            uint8_t any = (uint8_t)kit_next(&r);
            k->bytes[i][b] = b == 0 ? (tied > 0 ? any & 1 : any) : b <= tied ? 7 : any;
        }
    }
    qsort(k->bytes, ITEMS, KEY_BYTES, keys_cmp);
    k->value_bytes = 100;
    ck_assert_int_eq(sop_sheet_make(kit_order(KIT_MEMCMP), &(struct sop_sheet_meta){.page = 1},
                                    keys_item, k, ITEMS, &image, NULL),
                     0);
    return image;
}

START_TEST(a_look_up_reads_one_piece)
{
    static struct keys k;
    struct sop_slice image = keys_image(&k, 0);
    struct sop_item item;
    struct kit_part p;
    uint64_t pieces = 0;
    ck_assert(kit_part_init(&p, image));
    ck_assert_uint_lt(p.front.bytes, SOP_SHEET_PIECE_BYTES - SOP_SHEET_LEAD_BYTES);
    for (uint32_t i = 0; i < ITEMS; i++) {
        ck_assert_int_eq(kit_part_find(&p, sop_slice(k.bytes[i], KEY_BYTES), &item),
                         SOP_CHUNK_FOUND);
        ck_assert_uint_le(p.pieces, 2);
        pieces += p.pieces;
    }
    ck_assert_uint_lt(pieces, ITEMS + ITEMS / 20); /* 1 of 34 cells crosses a border */
    kit_part_fini(&p);
    image_free(image);
}
END_TEST

START_TEST(tied_heads_are_told_apart_by_keys)
{
    static struct keys k;
    struct sop_slice image = keys_image(&k, 8);
    struct sop_item item;
    struct kit_part p;
    uint64_t pieces = 0;
    ck_assert(kit_part_init(&p, image));
    ck_assert_uint_gt(p.front.pieces, 50);
    for (uint32_t i = 0; i < ITEMS; i++) {
        ck_assert_int_eq(kit_part_find(&p, sop_slice(k.bytes[i], KEY_BYTES), &item),
                         SOP_CHUNK_FOUND);
        ck_assert_uint_le(p.pieces, 10);
        pieces += p.pieces;
        k.bytes[i][KEY_BYTES - 1] ^= 1;
        ck_assert_int_eq(kit_part_find(&p, sop_slice(k.bytes[i], KEY_BYTES), &item),
                         SOP_CHUNK_ABSENT);
        k.bytes[i][KEY_BYTES - 1] ^= 1;
    }
    ck_assert_uint_gt(pieces, ITEMS * 3); /* heads did tie */
    kit_part_fini(&p);
    image_free(image);
}
END_TEST

START_TEST(what_lies_outside_reads_nothing)
{
    struct kit_model m;
    struct sop_item item;
    struct kit_part p;
    kit_model_init(&m, KIT_MEMCMP);
    struct kit_item put = {.kind = SOP_VALUE_INLINE};
    ck_assert_int_eq(sop_buf_append(&put.key, "pre5", 4, NULL), 0);
    kit_model_put(&m, &put);
    put.key.data[3] = '7';
    kit_model_put(&m, &put);
    sop_buf_fini(&put.key);
    struct sop_slice image = kit_image(&m, &(struct sop_sheet_meta){.page = 1});
    ck_assert(kit_part_init(&p, image));
    const char *outside[] = {"", "pr", "pre", "pre4", "prf", "q"};
    for (size_t i = 0; i < SOP_ARRAY_LEN(outside); i++) {
        ck_assert_int_eq(kit_part_find(&p, sop_slice_str(outside[i]), &item), SOP_CHUNK_ABSENT);
        ck_assert_uint_eq(p.pieces, 0);
    }
    ck_assert_int_eq(kit_part_find(&p, sop_slice_str("pre6"), &item), SOP_CHUNK_ABSENT);
    ck_assert_uint_eq(p.pieces, 1);
    kit_part_fini(&p);
    image_free(image);
    kit_model_fini(&m);
    kit_model_init(&m, KIT_MEMCMP); /* nothing at all */
    image = kit_image(&m, &(struct sop_sheet_meta){.page = 1});
    ck_assert(kit_part_init(&p, image));
    ck_assert_int_eq(kit_part_find(&p, sop_slice_str("a"), &item), SOP_CHUNK_ABSENT);
    kit_part_fini(&p);
    image_free(image);
}
END_TEST

/* ---- damage ---------------------------------------------------------------------------------
 */

START_TEST(every_flipped_bit_is_noticed)
{
    static struct keys k;
    struct sop_slice image = keys_image(&k, 0);
    uint8_t *bytes = (uint8_t *)(uintptr_t)image.data;
    struct sop_sheet s;
    struct kit_rng r = {.state = 4};
    uint32_t front_bytes = 0;
    sop_sheet_view(image, &s);
    ck_assert_int_eq(sop_front_bytes(bytes, (uint32_t)image.len, &front_bytes, NULL), 0);
    uint32_t cells = s.offsets[0];
    for (uint32_t bit = 0; bit < image.len * 8;) {
        struct kit_part p;
        struct sop_item item;
        uint32_t at = bit / 8;
        uint32_t i = 0; /* the item that the byte belongs to */
        while (i + 1 < ITEMS && s.offsets[i + 1] <= at) {
            i++;
        }
        bytes[at] ^= (uint8_t)(1u << bit % 8);
        bool front = kit_part_init(&p, image);
        ck_assert_int_eq(front, at >= front_bytes);
        if (front && at >= cells) {
            ck_assert_int_eq(kit_part_find(&p, sop_slice(k.bytes[i], KEY_BYTES), &item),
                             SOP_CHUNK_BAD);
        }
        if (front) {
            kit_part_fini(&p);
        }
        bytes[at] ^= (uint8_t)(1u << bit % 8);
        bit += at < cells && at >= front_bytes ? 999 : 1 + kit_below(&r, 500);
    }
    image_free(image);
}
END_TEST

START_TEST(damage_under_a_right_checksum_does_no_harm)
{
    struct kit_rng r = {.state = 8};
    struct sop_sheet_meta meta = {.page = 9, .run = true};
    struct kit_model m;
    kit_model_init(&m, KIT_MEMCMP);
    kit_model_fill(&m, &r, KIT_PREFIX, KIT_MEMCMP, 80, &meta);
    grow_values(&m, &r);
    struct sop_slice good = kit_image(&m, &meta);
    uint64_t rounds = test_scale(1500, 30000, 1000000);
    uint64_t answers[SOP_CHUNK_BAD + 1] = {0};
    uint64_t refused = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        struct kit_part p;
        struct sop_item item;
        uint8_t *bytes = sop_malloc_aligned(8, good.len);
        ck_assert_ptr_nonnull(bytes);
        memcpy(bytes, good.data, good.len);
        uint32_t most = (uint32_t)good.len - 3;
        for (uint32_t n = 1 + kit_below(&r, 4); n > 0; n--) {
            static const uint32_t odd[] = {0, 1, 0x7f, 0x80, 0xff, 4096, UINT32_MAX};
            uint32_t at = kit_below(&r, kit_below(&r, 2) == 0 ? 600 : most);
            if (kit_below(&r, 2) == 0) {
                bytes[at] = (uint8_t)kit_next(&r);
            } else {
                sop_put_u32(bytes + (at & ~3u),
                            odd[kit_below(&r, SOP_ARRAY_LEN(odd))] + kit_below(&r, 3));
            }
        }
        kit_mend(bytes, good.len);
        bool front = kit_part_init(&p, sop_slice(bytes, good.len));
        refused += !front;
        for (uint32_t n = 0; front && !p.front.sheet.compared && n < m.count; n++) {
            answers[kit_part_find(&p, sop_buf_slice(&m.items[n].key), &item)]++;
        }
        if (front) {
            kit_part_fini(&p);
        }
        sop_free(bytes);
    }
    ck_assert_uint_gt(refused, 0);
    ck_assert_uint_gt(answers[SOP_CHUNK_FOUND], 0);
    ck_assert_uint_gt(answers[SOP_CHUNK_ABSENT], 0);
    ck_assert_uint_gt(answers[SOP_CHUNK_BAD], 0);
    image_free(good);
    kit_model_fini(&m);
}
END_TEST

/* A guide that sends a reader to where no cell begins is refused, one fact each. */
START_TEST(a_guide_that_leads_astray_is_refused)
{
    static struct keys k;
    static const struct {
        uint32_t piece;
        uint32_t cell; /* of the piece: this one */
        int64_t head;  /* added */
        int64_t shift; /* added to the cell */
    } wrong[] = {
        {5, 0, -1, 0},       /* heads descend */
        {9, 9, 0, -4096},    /* before the piece */
        {9, 10, 0, 0},       /* over a piece that has one of its own */
        {60, 0, 0, 1 << 20}, /* behind the image */
        {0, 0, 0, 4},        /* pieces with the same cell differ in its head */
    };
    struct sop_slice image = keys_image(&k, 0);
    struct kit_part p;
    ck_assert(kit_part_init(&p, image));
    kit_part_fini(&p);
    for (size_t i = 0; i < SOP_ARRAY_LEN(wrong); i++) {
        uint8_t *copy = sop_malloc_aligned(8, image.len);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, image.data, image.len);
        uint8_t *guide =
            copy + SOP_SHEET_HEADER_BYTES + (size_t)wrong[i].piece * SOP_SHEET_GUIDE_BYTES;
        const uint8_t *other =
            copy + SOP_SHEET_HEADER_BYTES + (size_t)wrong[i].cell * SOP_SHEET_GUIDE_BYTES;
        uint32_t cell = sop_get_u32((wrong[i].cell != 0 ? other : guide) + SOP_GUIDE_AT_CELL);
        sop_put_u32(guide + SOP_GUIDE_AT_CELL, (uint32_t)(cell + wrong[i].shift));
        uint64_t head = sop_get_u64(guide + SOP_GUIDE_AT_HEAD);
        sop_put_u64(guide + SOP_GUIDE_AT_HEAD, wrong[i].head < 0 ? 0 : head);
        kit_mend(copy, image.len);
        ck_assert_msg(!kit_part_init(&p, sop_slice(copy, image.len)), "fact %zu", i);
        sop_free(copy);
    }
    image_free(image);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("part");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, part_answers_as_the_whole);
    tcase_add_test(tc, a_look_up_reads_one_piece);
    tcase_add_test(tc, tied_heads_are_told_apart_by_keys);
    tcase_add_test(tc, what_lies_outside_reads_nothing);
    tcase_add_test(tc, every_flipped_bit_is_noticed);
    tcase_add_test(tc, damage_under_a_right_checksum_does_no_harm);
    tcase_add_test(tc, a_guide_that_leads_astray_is_refused);
    Suite *suite = suite_create("part");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
