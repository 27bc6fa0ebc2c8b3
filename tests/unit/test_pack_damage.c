/* Packs under damage: flipped bits are told with their place, power loss never turns unsynced
 * records into wrong ones nor takes synced ones, a full volume leaves the file usable. */
#include "tests/lib/pack_kit.h"

#include <errno.h>

#define FILE_1 "packs/7/1"

static int pass(void *arg, const struct sop_pack_owner *owner, const struct sop_place *place,
                struct sop_err *err)
{
    (void)owner;
    (void)place;
    (void)err;
    ++*(size_t *)arg;
    return 0;
}

/* Region of the file that a test of flips goes through. */
struct region {
    const char *name;
    uint64_t from;
    uint64_t until;
    uint64_t step;
    const struct sop_place *place; /* whose read must fail; NULL: only a scan looks there */
};

static void check_flip(struct kit *k, const struct region *r, uint64_t byte, unsigned bit,
                       const struct sop_place *all, const enum sop_pack_type *types, size_t n)
{
    struct sop_err err = {0};
    size_t seen = 0;
    OK(sop_volume_sim_flip(k->sim, FILE_1, byte * 8 + bit, &err));
    ck_assert_msg(sop_packs_scan(k->packs, 7, 1, true, pass, &seen, &err) == SOP_ERR_DATA_LOSS,
                  "%s: byte %ju bit %u was not noticed", r->name, (uintmax_t)byte, bit);
    ck_assert_msg(strstr(err.text, FILE_1 " at byte ") != NULL, "%s", err.text);
    for (size_t i = 0; i < n; i++) {
        int rc = kit_check(k->packs, &all[i], types[i], i, &err);
        if (&all[i] == r->place) {
            ck_assert_msg(rc == SOP_ERR_DATA_LOSS, "%s: byte %ju bit %u was read", r->name,
                          (uintmax_t)byte, bit);
            ck_assert_msg(strstr(err.text, FILE_1 " at byte ") != NULL, "%s", err.text);
        } else {
            ck_assert_int_eq(rc, 0);
        }
    }
    OK(sop_volume_sim_flip(k->sim, FILE_1, byte * 8 + bit, &err));
}

START_TEST(every_flipped_bit_is_noticed_and_told_where)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_place p[3];
    const enum sop_pack_type types[] = {SOP_PACK_SHEET, SOP_PACK_VALUE, SOP_PACK_VALUE};
    struct sop_pack_owner sheet = kit_sheet(77);
    struct sop_pack_owner value = kit_value("key 12345"); /* 7 bytes of padding follow */
    OK(kit_append(k.packs, &sheet, 104, 0, &p[0], &err));
    OK(kit_append(k.packs, &value, 200, 1, &p[1], &err));
    OK(kit_append(k.packs, &value, 70000, 2, &p[2], &err));
    sop_packs_cut(k.packs);
    const struct region regions[] = {
        {"sheet header", 0, 64, 1, &p[0]},
        {"sheet payload", 64, 168, 1, &p[0]},
        {"value header", 168, 232, 1, &p[1]},
        {"value payload", 232, 432, 1, &p[1]},
        {"value key and padding", 432, 448, 1, NULL},
        {"large header", 448, 512, 1, &p[2]},
        {"large payload", 512, 70512, 4801, &p[2]},
        {"large table", 70512, 70520, 1, &p[2]},
        {"large key and padding", 70520, 70536, 1, NULL},
    };
    ck_assert_uint_eq(p[1].offset, 168);
    ck_assert_uint_eq(p[2].offset, 448);
    for (size_t i = 0; i < SOP_ARRAY_LEN(regions); i++) {
        const struct region *r = &regions[i];
        for (uint64_t byte = r->from; byte < r->until; byte += r->step) {
            check_flip(&k, r, byte, (unsigned)(byte * 5 + byte / 8) % 8, p, types, 3);
        }
    }
    struct sop_stat st;
    OK(sop_volume_stat(k.sim, FILE_1, &st, &err));
    ck_assert_uint_eq(st.bytes, 70536); /* the regions are all of it */
    kit_fini(&k);
}
END_TEST

START_TEST(the_gap_after_a_sync_is_zeros_and_known)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_place p[3];
    const enum sop_pack_type types[] = {SOP_PACK_SHEET, SOP_PACK_SHEET, SOP_PACK_SHEET};
    struct sop_pack_owner owner = kit_sheet(1);
    OK(kit_append(k.packs, &owner, 1000, 0, &p[0], &err));
    OK(kit_append(k.packs, &owner, 1000, 1, &p[1], &err));
    OK(sop_packs_sync(k.packs, &err));
    OK(kit_append(k.packs, &owner, 1000, 2, &p[2], &err));
    ck_assert_uint_eq(p[2].offset, 4096);
    OK(sop_packs_sync(k.packs, &err));
    sop_packs_cut(k.packs);
    size_t seen = 0;
    OK(sop_packs_scan(k.packs, 7, 1, true, pass, &seen, &err));
    ck_assert_uint_eq(seen, 3);
    const struct region gap = {"gap", 2 * 1064, 4096, 31, NULL};
    for (uint64_t byte = gap.from; byte < gap.until; byte += gap.step) {
        check_flip(&k, &gap, byte, (unsigned)byte % 8, p, types, 3);
    }
    sop_packs_close(&k.packs);

    /* A record that became zeros is not taken for a longer gap. */
    struct sop_buf bytes = {0};
    OK(sop_volume_read_file(k.sim, FILE_1, 1 << 20, &bytes, &err));
    memset(bytes.data + p[1].offset, 0, 1064);
    OK(sop_volume_unlink(k.sim, FILE_1, &err));
    OK(sop_volume_write_file(k.sim, FILE_1, sop_buf_slice(&bytes), &err));
    sop_buf_fini(&bytes);
    k.packs = kit_open(k.fault, 8);
    seen = 0;
    FAILS(DATA_LOSS, sop_packs_scan(k.packs, 7, 1, false, pass, &seen, &err));
    ck_assert_uint_eq(seen, 1);
    kit_fini(&k);
}
END_TEST

/* Appends to one instance in rounds; what was synced is `synced`. */
enum { POWER_RECORDS = 12 };
struct power {
    struct sop_place places[POWER_RECORDS];
    bool synced[POWER_RECORDS];
};

static void power_append(struct kit *k, struct power *w, size_t i)
{
    struct sop_err err = {0};
    struct sop_pack_owner owner = kit_value("power");
    size_t len = i % 3 == 2 ? 70000 + i : 300 * i;
    uint8_t *bytes = kit_bytes(len, i);
    if (i % 4 == 3) {
        struct sop_pack_stream *s = NULL;
        OK(sop_packs_stream(k->packs, &owner, &s, &err));
        OK(sop_pack_stream_write(s, sop_slice(bytes, len), &err));
        OK(sop_pack_stream_finish(&s, &w->places[i], &err));
    } else {
        OK(sop_packs_append(k->packs, &owner, sop_slice(bytes, len), &w->places[i], &err));
    }
    free(bytes);
}

static void power_check(struct sop_volume *disk, const struct power *w, size_t count)
{
    struct sop_err err = {0};
    struct sop_packs *p = kit_open(disk, 8);
    for (size_t i = 0; i < count; i++) {
        int rc = kit_check(p, &w->places[i], SOP_PACK_VALUE, i, &err); /* compares the bytes */
        if (w->synced[i]) {
            ck_assert_msg(rc == 0, "record %zu: %s", i, err.text);
        } else {
            ck_assert_msg(rc == 0 || rc == SOP_ERR_DATA_LOSS, "record %zu: %s", i, err.text);
        }
    }
    sop_packs_close(&p);
}

START_TEST(power_loss_spares_what_was_synced)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct power w = {0};
    for (size_t i = 0; i < POWER_RECORDS; i++) {
        power_append(&k, &w, i);
        if (i == 3 || i == 8) {
            OK(sop_packs_sync(k.packs, &err));
            memset(w.synced, true, i + 1);
        }
        for (uint64_t seed = 0; seed < 12; seed++) {
            struct sop_sim_crash how = {.seed = seed * 31 + i,
                                        .keep_sector = 60,
                                        .garble_sector = 20,
                                        .keep_names = 50};
            struct sop_volume *disk = NULL;
            OK(sop_volume_sim_crash(k.sim, seed == 0 ? NULL : &how, &disk, &err));
            power_check(disk, &w, i + 1);
            sop_volume_destroy(disk);
        }
    }
    kit_fini(&k);
}
END_TEST

START_TEST(without_a_sync_power_loss_takes_everything)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_pack_owner owner = kit_sheet(1);
    struct sop_place p;
    OK(kit_append(k.packs, &owner, 100, 1, &p, &err));
    struct sop_volume *disk = NULL;
    OK(sop_volume_sim_crash(k.sim, NULL, &disk, &err));
    struct sop_packs *after = kit_open(disk, 8);
    FAILS(DATA_LOSS,
          kit_check(after, &p, SOP_PACK_SHEET, 1, &err)); /* so syncing is not vain */
    sop_packs_close(&after);
    sop_volume_destroy(disk);
    kit_fini(&k);
}
END_TEST

START_TEST(a_folder_left_by_a_dead_process_is_made_durable)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    OK(sop_volume_mkdir(k.sim, "packs", &err)); /* never synced by its maker */
    OK(sop_volume_mkdir(k.sim, "packs/7", &err));
    struct sop_pack_owner owner = kit_sheet(1);
    struct sop_place p;
    OK(kit_append(k.packs, &owner, 100, 1, &p, &err));
    OK(sop_packs_sync(k.packs, &err));
    struct sop_volume *disk = NULL;
    OK(sop_volume_sim_crash(k.sim, NULL, &disk, &err));
    struct sop_packs *after = kit_open(disk, 8);
    OK(kit_check(after, &p, SOP_PACK_SHEET, 1, &err));
    sop_packs_close(&after);
    sop_volume_destroy(disk);
    kit_fini(&k);
}
END_TEST

START_TEST(a_failed_append_leaves_a_void_that_scans_skip)
{
    const size_t lens[] = {5000, 100000}; /* one write, three writes */
    for (size_t i = 0; i < SOP_ARRAY_LEN(lens); i++) {
        for (uint64_t at = 0; at < (i == 0 ? 1u : 3u); at++) {
            struct sop_err err = {0};
            struct kit k = kit_init();
            struct sop_pack_owner owner = kit_value("k");
            struct sop_place a;
            struct sop_place b;
            OK(kit_append(k.packs, &owner, 1000, 1, &a, &err));
            struct sop_fault_plan plan = {.ops = SOP_FAULT_BIT(SOP_FAULT_WRITE),
                                          .at = at,
                                          .sys = ENOSPC,
                                          .half_write = true};
            sop_volume_fault_set(k.fault, &plan);
            FAILS(NOSPACE, kit_append(k.packs, &owner, lens[i], 2, &b, &err));
            ck_assert_ptr_nonnull(strstr(err.text, FILE_1));
            kit_heal(&k);
            OK(kit_append(k.packs, &owner, 1000, 3, &b, &err));
            ck_assert_uint_eq(b.file, 1); /* the same file goes on behind the void */
            OK(kit_check(k.packs, &a, SOP_PACK_VALUE, 1, &err));
            OK(kit_check(k.packs, &b, SOP_PACK_VALUE, 3, &err));
            sop_packs_cut(k.packs);
            size_t seen = 0;
            OK(sop_packs_scan(k.packs, 7, 1, true, pass, &seen, &err));
            ck_assert_uint_eq(seen, 2);
            kit_fini(&k);
        }
    }
}
END_TEST

START_TEST(a_volume_that_stays_full_ends_the_file)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_pack_owner owner = kit_value("k");
    struct sop_place a;
    struct sop_place b;
    OK(kit_append(k.packs, &owner, 1000, 1, &a, &err));
    struct sop_fault_plan plan = {
        .ops = SOP_FAULT_BIT(SOP_FAULT_WRITE), .at = 0, .sys = ENOSPC, .sticky = true};
    sop_volume_fault_set(k.fault, &plan);
    FAILS(NOSPACE, kit_append(k.packs, &owner, 1000, 2, &b, &err));
    FAILS(NOSPACE, kit_append(k.packs, &owner, 1000, 2, &b, &err));
    kit_heal(&k);
    OK(kit_append(k.packs, &owner, 1000, 3, &b, &err));
    ck_assert_uint_gt(b.file, 1);
    size_t seen = 0;
    OK(sop_packs_scan(k.packs, 7, 1, true, pass, &seen, &err));
    ck_assert_uint_eq(seen, 1);
    OK(sop_packs_sync(k.packs, &err));
    kit_fini(&k);
}
END_TEST

START_TEST(a_failed_sync_is_final)
{
    const enum sop_fault_op ops[] = {SOP_FAULT_SYNC, SOP_FAULT_DIR_SYNC};
    for (size_t i = 0; i < SOP_ARRAY_LEN(ops); i++) {
        struct sop_err err = {0};
        struct kit k = kit_init();
        struct sop_pack_owner owner = kit_value("k");
        struct sop_place a;
        struct sop_pack_stream *open = NULL;
        OK(kit_append(k.packs, &owner, 1000, 1, &a, &err));
        OK(sop_packs_stream(k.packs, &owner, &open, &err));
        kit_fail(&k, SOP_FAULT_BIT(ops[i]), 0, EIO);
        FAILS(IO, sop_packs_sync(k.packs, &err));
        kit_heal(&k);
        FAILS(STOPPED, sop_packs_sync(k.packs, &err));
        FAILS(STOPPED, kit_append(k.packs, &owner, 1000, 2, &a, &err));
        struct sop_pack_stream *s = NULL;
        FAILS(STOPPED, sop_packs_stream(k.packs, &owner, &s, &err));
        FAILS(STOPPED, sop_pack_stream_finish(&open, &a, &err));
        ck_assert_ptr_null(open);
        kit_fini(&k);
    }
}
END_TEST

START_TEST(later_formats_are_refused_by_version)
{
    struct sop_pack_header h = {.type = SOP_PACK_SHEET, .place = {.member = 7, .file = 1}};
    struct sop_err err = {0};
    uint8_t bytes[SOP_PACK_HEADER_BYTES];
    sop_pack__header_encode(&h, bytes);
    OK(sop_pack__header_decode(bytes, &h, &err));
    bytes[SOP_PACK_AT_VERSION]++;
    FAILS(DATA_LOSS, sop_pack__header_decode(bytes, &h, &err)); /* a flip, not a version */
    uint32_t crc =
        sop_crc32c(bytes + SOP_PACK_AT_TYPE, SOP_PACK_HEADER_BYTES - SOP_PACK_AT_TYPE, 0);
    sop_put_u32(bytes + SOP_PACK_AT_CRC, crc);
    FAILS(VERSION, sop_pack__header_decode(bytes, &h, &err));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        every_flipped_bit_is_noticed_and_told_where,
        the_gap_after_a_sync_is_zeros_and_known,
        power_loss_spares_what_was_synced,
        without_a_sync_power_loss_takes_everything,
        a_folder_left_by_a_dead_process_is_made_durable,
        a_failed_append_leaves_a_void_that_scans_skip,
        a_volume_that_stays_full_ends_the_file,
        a_failed_sync_is_final,
        later_formats_are_refused_by_version,
    };
    return kit_main("pack_damage", tests, SOP_ARRAY_LEN(tests));
}
