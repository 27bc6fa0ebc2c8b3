/* Bodies that are resident in part: what a look-up reads, what stays, what goes, and what
 * damage and failures do. */
#include "tests/lib/cache_kit.h"
#include "tests/lib/oom.h"
#include "tests/lib/scale.h"
#include "tests/lib/sheet_kit.h"

#include <errno.h>

#define KIB 1024u
#define MIB (1024u * KIB)
#define ALL (2u * CACHE_KIT_ITEMS) /* keys that are looked for */

static struct cache_kit kit;

static uint64_t reads(void)
{
    return sop_volume_fault_calls(kit.packs.fault, SOP_FAULT_READ);
}

static uint64_t used(void)
{
    return atomic_load(&kit.cache.used_bytes);
}

/* Reads that one look-up takes. */
static uint64_t find(uint32_t b, uint32_t i)
{
    struct sop_err err = {0};
    uint64_t before = reads();
    OK(cache_kit_find(&kit, kit.slot, b, i, &err));
    return reads() - before;
}

START_TEST(a_large_sheet_begins_with_a_block)
{
    cache_kit_init(&kit, 5, MIB);
    for (uint32_t b = 0; b < 5; b++) {
        ck_assert_uint_ge(kit.bodies[b]->bytes, SOP_PACK_BLOCKS_BYTES);
        ck_assert_uint_eq(kit.bodies[b]->place.offset % SOP_BLOCK_BYTES, 0);
    }
    cache_kit_fini(&kit);
}
END_TEST

START_TEST(while_there_is_room_sheets_come_whole)
{
    cache_kit_init(&kit, 2, MIB);
    ck_assert_uint_eq(find(0, 8), 2); /* header and all the rest */
    ck_assert_ptr_nonnull(atomic_load(&kit.bodies[0]->resident));
    ck_assert_ptr_null(atomic_load(&kit.bodies[0]->parts));
    for (uint32_t i = 0; i < ALL; i++) {
        ck_assert_uint_eq(find(0, i), 0);
    }
    cache_kit_fini(&kit);
}
END_TEST

START_TEST(without_room_a_look_up_reads_one_piece)
{
    cache_kit_init(&kit, 1, 150 * KIB);  /* the sheet has 130 */
    ck_assert_uint_eq(find(0, 1000), 2); /* front, piece */
    ck_assert_uint_eq(find(0, 1000), 0);
    ck_assert_uint_eq(find(0, 400), 1);
    ck_assert_ptr_null(atomic_load(&kit.bodies[0]->resident));
    ck_assert_ptr_nonnull(atomic_load(&kit.bodies[0]->parts));
    ck_assert_uint_lt(used(), 4 * KIB + 2 * (4 * KIB + 64));
    /* What lies before, behind and between all keys. */
    struct sop_item item;
    bool exact = true;
    sop_epoch_enter(&kit.epochs, kit.slot);
    const char *absent[] = {"", "\1", "\xff\xff"};
    for (size_t i = 0; i < SOP_ARRAY_LEN(absent); i++) {
        ck_assert_int_eq(
            sop_body_find(kit.bodies[0], sop_slice_str(absent[i]), &exact, &item, NULL), 0);
        ck_assert(!exact);
    }
    sop_epoch_leave(kit.slot);
    cache_kit_fini(&kit);
}
END_TEST

START_TEST(fences_need_the_front_alone)
{
    cache_kit_init(&kit, 1, 150 * KIB);
    const struct sop_sheet *front = NULL;
    sop_epoch_enter(&kit.epochs, kit.slot);
    uint64_t before = reads();
    ck_assert_int_eq(sop_body_front(kit.bodies[0], &front, NULL), 0);
    ck_assert_uint_eq(reads() - before, 1);
    ck_assert(front->page == 1 && front->store == 3 && front->low.len == 0 && !front->has_high);
    ck_assert_uint_eq(front->count, CACHE_KIT_ITEMS);
    sop_epoch_leave(kit.slot);
    cache_kit_fini(&kit);
}
END_TEST

START_TEST(memory_stays_in_its_budget)
{
    uint64_t rounds = test_scale(20000, 200000, 3000000);
    struct kit_rng r = {.state = 5};
    cache_kit_init(&kit, 40, MIB); /* of 5 MiB */
    for (uint64_t n = 0; n < rounds; n++) {
        (void)find(kit_below(&r, 40), kit_below(&r, ALL));
        ck_assert_uint_le(used(), MIB);
        /* What is unlinked is freed soon: it is not charged any more. */
        ck_assert_uint_le(kit.epochs.retired_count, 64);
    }
    ck_assert_uint_gt(used(), MIB / 2);
    cache_kit_fini(&kit);
}
END_TEST

START_TEST(what_is_read_once_goes_first)
{
    struct kit_rng r = {.state = 6};
    cache_kit_init(&kit, 40, MIB);
    for (uint32_t n = 0; n < 3000; n++) { /* the budget is full of parts */
        (void)find(kit_below(&r, 40), kit_below(&r, ALL));
    }
    uint64_t misses = 0;
    for (uint32_t n = 0; n < 20000; n++) {
        uint32_t b = n / 2 % 39; /* that many keys are looked up again and again */
        uint64_t reads = n % 2 == 0 ? find(b, 50 * b) : 0;
        misses += n >= 2000 && reads > 0;
        (void)find(kit_below(&r, 40), kit_below(&r, ALL));
    }
    ck_assert_uint_lt(misses, 100);
    cache_kit_fini(&kit);
}
END_TEST

START_TEST(fronts_without_chunks_go_too)
{
    cache_kit_init(&kit, 60, 400 * KIB);
    for (uint32_t i = 0; i < ALL; i += 40) {
        (void)find(0, i);
    }
    for (uint32_t b = 1; b < 60; b++) {
        for (uint32_t i = 0; i < ALL; i += 150) {
            (void)find(b, i);
        }
    }
    uint32_t fronts = 0;
    for (uint32_t b = 0; b < 60; b++) {
        fronts += atomic_load(&kit.bodies[b]->parts) != NULL;
    }
    ck_assert_ptr_null(atomic_load(&kit.bodies[0]->parts));
    ck_assert_uint_ge(fronts, 1);
    ck_assert_uint_le(used(), 400 * KIB);
    cache_kit_fini(&kit);
}
END_TEST

START_TEST(what_is_in_use_becomes_whole)
{
    cache_kit_init(&kit, 1, 160 * KIB);
    uint32_t pieces = 0;
    for (uint32_t i = 0; i < ALL && atomic_load(&kit.bodies[0]->resident) == NULL; i += 70) {
        pieces++;
        (void)find(0, i);
        (void)find(0, i);
    }
    ck_assert_uint_gt(pieces, 5);
    ck_assert_uint_lt(pieces, 15); /* of 33 */
    ck_assert_ptr_nonnull(atomic_load(&kit.bodies[0]->resident));
    ck_assert_ptr_null(atomic_load(&kit.bodies[0]->parts));
    ck_assert_uint_eq(used(), sizeof(struct sop_body) + sizeof(struct sop_resident) +
                                  kit.bodies[0]->bytes);
    cache_kit_fini(&kit);
}
END_TEST

START_TEST(a_walk_takes_the_whole)
{
    const struct sop_sheet *sheet = NULL;
    cache_kit_init(&kit, 2, 150 * KIB);
    (void)find(0, 10);
    sop_epoch_enter(&kit.epochs, kit.slot);
    ck_assert_int_eq(sop_body_hold(kit.bodies[0], &sheet, NULL), 0);
    sop_epoch_leave(kit.slot);
    ck_assert_ptr_null(atomic_load(&kit.bodies[0]->parts));
    for (uint32_t i = 0; i < ALL; i += 3) { /* crowds the cache */
        (void)find(1, i);
    }
    ck_assert_uint_eq(find(0, 20), 0); /* what is held stays */
    sop_body_release(kit.bodies[0]);
    for (uint32_t i = 0; i < ALL; i += 3) {
        (void)find(1, i);
    }
    ck_assert_uint_le(used(), 150 * KIB);
    cache_kit_fini(&kit);
}
END_TEST

START_TEST(small_sheets_and_those_of_a_comparer_come_whole)
{
    struct kit_model m;
    kit_model_init(&m, KIT_COMPARER);
    cache_kit_init(&kit, 1, 150 * KIB);
    (void)find(0, 2);
    struct sop_slice image = cache_kit_image(&kit.order, 1, 100);
    cache_kit_add(&kit, image, 2);
    sop_free((void *)(uintptr_t)image.data);
    ck_assert_uint_eq(find(1, 2), 1); /* header and sheet at once */
    ck_assert_ptr_nonnull(atomic_load(&kit.bodies[1]->resident));
    image = cache_kit_image(m.order, 2, 1); /* one item, so that it is in any order */
    struct sop_buf value = {0};
    ck_assert_int_eq(sop_buf_reserve(&value, 100000, NULL), 0);
    memset(value.data, 1, 100000);
    value.len = 100000;
    struct kit_item item = {.value = value};
    kit_model_put(&m, &item);
    sop_free((void *)(uintptr_t)image.data);
    image = kit_image(&m, &(struct sop_sheet_meta){.store = 3, .page = 3});
    cache_kit_add(&kit, image, 3);
    kit.bodies[2]->order = m.order;
    bool exact = false;
    struct sop_item found;
    sop_epoch_enter(&kit.epochs, kit.slot);
    ck_assert_int_eq(sop_body_find(kit.bodies[2], sop_slice(NULL, 0), &exact, &found, NULL), 0);
    ck_assert(exact && found.value.len == 100000);
    sop_epoch_leave(kit.slot);
    ck_assert_ptr_nonnull(atomic_load(&kit.bodies[2]->resident));
    sop_free((void *)(uintptr_t)image.data);
    sop_buf_fini(&value);
    kit_model_fini(&m);
    cache_kit_fini(&kit);
}
END_TEST

/* ---- damage ---------------------------------------------------------------------------------
 */

/* Changes one byte of a body's record, `at` bytes behind its header. */
static void damage(const struct sop_body *b, int64_t at, uint8_t change)
{
    struct sop_err err = {0};
    struct sop_file *f = NULL;
    char path[64];
    uint8_t byte;
    uint64_t offset = (uint64_t)((int64_t)b->place.offset + SOP_PACK_HEADER_BYTES + at);
    (void)snprintf(path, sizeof path, "packs/%" PRIx64 "/%" PRIu32, b->place.member,
                   b->place.file);
    OK(sop_file_open(kit.packs.sim, path, SOP_OPEN_READ | SOP_OPEN_WRITE, &f, &err));
    OK(sop_file_read(f, offset, &byte, 1, NULL, &err));
    byte ^= change;
    OK(sop_file_write(f, offset, &byte, 1, &err));
    sop_file_close(f);
}

static void is_lost(uint32_t i, const char *text)
{
    struct sop_err err = {0};
    FAILS(DATA_LOSS, cache_kit_find(&kit, kit.slot, 0, i, &err));
    ck_assert_msg(strstr(err.text, text) != NULL, "%s, not %s", err.text, text);
    ck_assert_msg(strstr(err.text, "7/1") != NULL, "%s", err.text); /* member and file */
}

START_TEST(flipped_bits_are_data_loss)
{
    struct kit_rng r = {.state = 9};
    int64_t front = SOP_FRONT_BYTES_MIN + 16 * 32; /* and the prefix */
    for (int64_t at = -SOP_PACK_HEADER_BYTES; at < front; at += 1 + kit_below(&r, 7)) {
        struct sop_err err = {0};
        cache_kit_init(&kit, 1, 150 * KIB);
        damage(kit.bodies[0], at, (uint8_t)(1u << kit_below(&r, 8)));
        int rc = cache_kit_find(&kit, kit.slot, 0, 8, &err);
        ck_assert_msg(rc == SOP_ERR_DATA_LOSS, "%d at %d: %s", rc, (int)at, err.text);
        cache_kit_fini(&kit);
    }
    for (uint32_t n = 0; n < 60; n++) { /* any byte of a piece, not only those of the cell */
        cache_kit_init(&kit, 1, 150 * KIB);
        for (int64_t at = 4096; at + 4096 < kit.bodies[0]->bytes; at += 4096) {
            damage(kit.bodies[0], at - 64 + kit_below(&r, 4096), 0x10);
        }
        is_lost(200 + kit_below(&r, 800) * 2, "checksum of piece");
        cache_kit_fini(&kit);
    }
}
END_TEST

START_TEST(damage_elsewhere_does_not_matter)
{
    cache_kit_init(&kit, 1, 150 * KIB);
    ck_assert_uint_eq(find(0, 1000), 2);
    damage(kit.bodies[0], kit.bodies[0]->bytes - 10, 1); /* the last piece */
    ck_assert_uint_eq(find(0, 400), 1);
    is_lost(ALL - 2, "checksum of piece 31");
    cache_kit_fini(&kit);
}
END_TEST

START_TEST(a_foreign_record_is_not_served)
{
    cache_kit_init(&kit, 2, 150 * KIB);
    /* The sheet of page 3 in a record that says page 4. */
    struct sop_slice image = cache_kit_image(&kit.order, 2, CACHE_KIT_ITEMS);
    struct sop_body *own = kit.bodies[0];
    kit.count = 2;
    cache_kit_add(&kit, image, 4);
    sop_free((void *)(uintptr_t)image.data);
    kit.bodies[0] = kit.bodies[2];
    is_lost(8, "in a record of page 4");
    kit.bodies[0] = own;
    /* A place that is another's: the record says where it belongs. */
    own->place.offset += 8;
    is_lost(8, "record header");
    own->place.offset -= 8;
    own->place.bytes -= 8;
    own->bytes -= 8;
    is_lost(8, "another length");
    own->place.bytes += 8;
    own->bytes += 8;
    ck_assert_uint_eq(find(0, 8), 2);
    cache_kit_fini(&kit);
}
END_TEST

/* ---- failures -------------------------------------------------------------------------------
 */

START_TEST(failed_reads_leave_all_as_it_was)
{
    for (uint64_t at = 0; at < 4; at++) {
        struct sop_err err = {0};
        cache_kit_init(&kit, 1, 150 * KIB);
        kit_fail(&kit.packs, SOP_FAULT_BIT(SOP_FAULT_READ) | SOP_FAULT_BIT(SOP_FAULT_OPEN), at,
                 EIO);
        int rc = cache_kit_find(&kit, kit.slot, 0, 500, &err);
        ck_assert_int_eq(rc, at < 3 ? SOP_ERR_IO : 0); /* open, front, piece */
        kit_heal(&kit.packs);
        OK(cache_kit_find(&kit, kit.slot, 0, 500, &err));
        ck_assert_uint_lt(used(), 4 * KIB + 4 * KIB + 64);
        cache_kit_fini(&kit);
    }
}
END_TEST

START_TEST(without_memory_nothing_leaks)
{
    uint64_t step = 0;
    for (bool hit = true; hit; step++) {
        struct sop_err err = {0};
        cache_kit_init(&kit, 1, 150 * KIB);
        oom_fail_at(step);
        int rc = cache_kit_find(&kit, kit.slot, 0, 500, &err);
        hit = oom_hit();
        oom_off();
        /* The ring may fail to grow: then it is only not evicted. */
        ck_assert_int_eq(rc == 0 || rc == SOP_ERR_NOMEM, 1);
        OK(cache_kit_find(&kit, kit.slot, 0, 500, &err));
        cache_kit_fini(&kit);
    }
    ck_assert_uint_gt(step, 5);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        a_large_sheet_begins_with_a_block,
        while_there_is_room_sheets_come_whole,
        without_room_a_look_up_reads_one_piece,
        fences_need_the_front_alone,
        memory_stays_in_its_budget,
        what_is_read_once_goes_first,
        fronts_without_chunks_go_too,
        what_is_in_use_becomes_whole,
        a_walk_takes_the_whole,
        small_sheets_and_those_of_a_comparer_come_whole,
        flipped_bits_are_data_loss,
        damage_elsewhere_does_not_matter,
        a_foreign_record_is_not_served,
        failed_reads_leave_all_as_it_was,
        without_memory_nothing_leaks,
    };
    return kit_main("cache_parts", tests, SOP_ARRAY_LEN(tests));
}
