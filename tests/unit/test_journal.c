/* The journal: what is appended is read back, a torn tail is told from damage, and failures
 * leave either nothing or a broken journal. */
#include "engine/journal/journal.h"

#include "engine/base/codec.h"
#include "engine/volume/fault.h"
#include "tests/lib/journal_kit.h"

#include <stdio.h>

#define STEPS_MAX 2000

static void append_synced(struct sop_journal *j, uint64_t from, uint64_t to, size_t max)
{
    struct sop_err err = {0};
    for (uint64_t r = from; r <= to; r++) {
        ck_assert_msg(append(j, r, payload_len(r, max), r - 1, &err) == 0, "%s", err.text);
        ck_assert_int_eq(sop_journal_sync(j, &err), 0);
    }
}

/* --- reading back --- */

START_TEST(appended_records_are_read_back)
{
    /* Up to 3000: many records a file. Up to 20000: some fill a file. Up to 300000: most get a
     * file of their own. */
    static const size_t maxima[] = {3000, 20000, 300000};
    size_t max = maxima[_i];
    struct sop_volume *v = new_volume();
    struct sop_journal *j;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    append_synced(j, 1, 60, max);
    struct sop_journal_cursor c;
    start(&c, v);
    ck_assert_uint_eq(read_all(&c, max), 60);
    ck_assert_uint_eq(c.hash, sop_journal_hash(j));
    struct sop_journal_place place = sop_journal_next_place(j);
    ck_assert_uint_eq(c.next.file, place.file);
    ck_assert_uint_eq(c.next.offset, place.offset);
    uint64_t lac;
    ck_assert_int_eq(sop_journal_cursor_scan(&c, &lac, NULL), 0);
    ck_assert_uint_eq(lac, 0);
    sop_journal_cursor_fini(&c);
    sop_journal_free(j);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(synced_records_survive_a_power_loss)
{
    struct sop_volume *v = new_volume();
    struct sop_journal *j;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    append_synced(j, 1, 40, 40000);
    /* And one that is not synced. */
    ck_assert_int_eq(append(j, 41, 100, 40, NULL), 0);
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct sop_sim_crash how = {
            .seed = seed, .keep_sector = 30, .garble_sector = 30, .keep_names = 30};
        struct sop_volume *after;
        ck_assert_int_eq(sop_volume_sim_crash(v, &how, &after, NULL), 0);
        struct sop_journal_cursor c;
        start(&c, after);
        struct sop_journal_record r;
        int rc;
        while ((rc = sop_journal_cursor_next(&c, &r, NULL)) == 0) {
        }
        ck_assert_int_eq(rc, SOP_ERR_END);
        ck_assert_uint_ge(c.record, 41);
        uint64_t lac;
        ck_assert_int_eq(sop_journal_cursor_scan(&c, &lac, NULL), 0);
        ck_assert_uint_lt(lac, c.record); /* no proof of damage */
        sop_journal_cursor_fini(&c);
        sop_volume_destroy(after);
    }
    sop_journal_free(j);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(unsynced_records_behind_a_gap_prove_nothing)
{
    struct sop_volume *v = new_volume();
    struct sop_journal *j;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    for (uint64_t r = 1; r <= 5; r++) { /* LAC stays 0: nothing was ever synced */
        ck_assert_int_eq(append(j, r, 10, 0, NULL), 0);
    }
    /* A header and ten bytes take three units. */
    ck_assert_int_eq(sop_volume_sim_flip(v, DIR "/1", (2 * 192 + 130) * 8, NULL), 0);
    struct sop_journal_cursor c;
    start(&c, v);
    struct sop_journal_record r;
    int rc;
    while ((rc = sop_journal_cursor_next(&c, &r, NULL)) == 0) {
    }
    ck_assert_int_eq(rc, SOP_ERR_END);
    ck_assert_uint_eq(c.record, 3);
    uint64_t lac;
    ck_assert_int_eq(sop_journal_cursor_scan(&c, &lac, NULL), 0);
    ck_assert_uint_lt(lac, c.record);
    sop_journal_cursor_fini(&c);
    sop_journal_free(j);
    sop_volume_destroy(v);
}
END_TEST

/* Damage to record `bad` of `all`, each synced before the next: the scan proves it, unless it
 * is the last one, which cannot be told from a torn tail. */
static void damage(size_t max, uint64_t bad, uint64_t all, unsigned bit_in_block)
{
    struct sop_volume *v = new_volume();
    struct sop_journal *j;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    struct sop_journal_place place = {0};
    for (uint64_t r = 1; r <= all; r++) {
        if (r == bad) {
            struct sop_journal_cursor at;
            start(&at, v);
            (void)read_all(&at, max);
            sop_journal_cursor_fini(&at);
        }
        append_synced(j, r, r, max);
    }
    struct sop_journal_cursor c;
    start(&c, v);
    struct sop_journal_record r;
    while (sop_journal_cursor_next(&c, &r, NULL) == 0) {
        if (r.header.record == bad) {
            place = r.place;
        }
    }
    sop_journal_cursor_fini(&c);
    char path[64];
    sop_journal_path(path, sizeof path, DIR, place.file);
    ck_assert_int_eq(sop_volume_sim_flip(v, path, place.offset * 8 + bit_in_block, NULL), 0);
    start(&c, v);
    ck_assert_uint_eq(read_all(&c, max), bad - 1);
    ck_assert_uint_eq(c.next.file, place.file);
    ck_assert_uint_eq(c.missing, place.offset);
    uint64_t lac;
    ck_assert_int_eq(sop_journal_cursor_scan(&c, &lac, NULL), 0);
    if (bad < all) {
        ck_assert_uint_ge(lac, bad);
    } else {
        ck_assert_uint_lt(lac, bad);
    }
    sop_journal_cursor_fini(&c);
    sop_journal_free(j);
    sop_volume_destroy(v);
}

START_TEST(damage_in_the_middle_is_proven)
{
    for (uint64_t bad = 1; bad <= 12; bad++) {
        damage(20000, bad, 12, 8 * 50); /* in the header */
    }
    damage(20000, 3, 12, 8 * 200); /* in the payload */
    damage(200000, 2, 6, 8 * 50);  /* in a file of its own */
    damage(200000, 5, 6, 8 * 50);
}
END_TEST

START_TEST(a_wrong_rolling_hash_is_damage)
{
    struct sop_volume *v = new_volume();
    struct sop_journal *j;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    append_synced(j, 1, 3, 100);
    struct sop_journal_cursor c;
    start(&c, v);
    c.hash ^= 1;
    struct sop_journal_record r;
    ck_assert_int_eq(sop_journal_cursor_next(&c, &r, NULL), SOP_ERR_DATA_LOSS);
    sop_journal_cursor_fini(&c);
    sop_journal_free(j);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(records_of_others_end_the_reading)
{
    struct sop_volume *v = new_volume();
    struct sop_journal *j;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    append_synced(j, 1, 3, 100);
    struct sop_journal_record r;
    struct sop_journal_cursor c;
    start(&c, v);
    c.nonce[0] ^= 1;
    ck_assert_int_eq(sop_journal_cursor_next(&c, &r, NULL), SOP_ERR_END);
    sop_journal_cursor_fini(&c);
    start(&c, v);
    c.tenure++;
    ck_assert_int_eq(sop_journal_cursor_next(&c, &r, NULL), SOP_ERR_END);
    sop_journal_cursor_fini(&c);
    /* A whole record at a place that it does not name is a copy, not the record. */
    start(&c, v);
    struct sop_file *f;
    uint8_t block[4096];
    ck_assert_int_eq(sop_file_open(v, DIR "/1", SOP_OPEN_WRITE, &f, NULL), 0);
    ck_assert_int_eq(sop_file_read(f, 0, block, sizeof block, NULL, NULL), 0);
    ck_assert_int_eq(sop_file_write(f, 5 * 4096, block, sizeof block, NULL), 0);
    sop_file_close(f);
    c.next.offset = 5 * 4096;
    ck_assert_int_eq(sop_journal_cursor_next(&c, &r, NULL), SOP_ERR_END);
    sop_journal_cursor_fini(&c);
    sop_journal_free(j);
    sop_volume_destroy(v);
}
END_TEST

/* --- files --- */

START_TEST(the_next_file_is_made_ahead)
{
    struct sop_volume *v = new_volume();
    struct sop_journal *j;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    ck_assert(!sop_journal_wants_prepare(j));
    uint64_t r = 0;
    while (!sop_journal_wants_prepare(j)) {
        r++;
        ck_assert_uint_lt(r, 100);
        ck_assert_int_eq(append(j, r, 4000, 0, NULL), 0);
    }
    struct sop_stat st;
    ck_assert_int_eq(sop_volume_stat(v, DIR "/2", &st, NULL), 0);
    ck_assert_int_eq(st.kind, SOP_FILE_ABSENT);
    ck_assert_int_eq(sop_journal_prepare(j, NULL), 0);
    ck_assert(!sop_journal_wants_prepare(j));
    ck_assert_int_eq(sop_volume_stat(v, DIR "/2", &st, NULL), 0);
    ck_assert_uint_eq(st.bytes, 2 * FILE_MIN); /* files double */
    /* A change of files costs no sync; the next one then costs two. */
    uint64_t before = atomic_load(&syncs);
    while (sop_journal_next_place(j).file == 1) {
        r++;
        ck_assert_uint_lt(r, 100);
        ck_assert_int_eq(append(j, r, 4000, 0, NULL), 0);
    }
    ck_assert_uint_eq(atomic_load(&syncs), before);
    ck_assert(sop_journal_wants_prepare(j)); /* unless somebody does one of them before */
    ck_assert_int_eq(sop_journal_sync(j, NULL), 0);
    ck_assert_uint_eq(atomic_load(&syncs), before + 2);
    ck_assert(!sop_journal_wants_prepare(j));
    sop_journal_free(j);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(a_last_record_always_fits)
{
    /* However full the file is, LEAVE makes no file and costs one sync. */
    for (uint64_t n = 1; n < 20; n++) {
        struct sop_volume *v = new_volume();
        struct sop_journal *j;
        ck_assert_int_eq(new_journal(v, &j, NULL), 0);
        for (uint64_t r = 1; r <= n; r++) {
            ck_assert_int_eq(append(j, r, r % 5 == 4 ? 100000 : 3000, 0, NULL), 0);
        }
        ck_assert_int_eq(sop_journal_sync(j, NULL), 0);
        uint32_t file = sop_journal_next_place(j).file;
        uint64_t before = atomic_load(&syncs);
        struct sop_slice part = sop_slice_str("leave");
        struct sop_journal_entry entry = {
            .kind = 5, .parts = &part, .part_count = 1, .last = true};
        uint64_t record;
        ck_assert_int_eq(sop_journal_append(j, &entry, &record, NULL), 0);
        ck_assert_int_eq(sop_journal_sync(j, NULL), 0);
        ck_assert_uint_eq(atomic_load(&syncs), before + 1);
        ck_assert_uint_eq(sop_journal_next_place(j).file, file);
        sop_journal_free(j);
        sop_volume_destroy(v);
    }
}
END_TEST

START_TEST(trim_removes_only_older_files)
{
    struct sop_volume *v = new_volume();
    struct sop_journal *j;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    append_synced(j, 1, 30, 40000);
    struct sop_journal_place mid = sop_journal_next_place(j);
    uint64_t hash = sop_journal_hash(j);
    append_synced(j, 31, 50, 40000);
    uint64_t since = sop_journal_bytes_since(j, &mid);
    uint64_t all = sop_journal_bytes_since(j, &(struct sop_journal_place){0});
    ck_assert_uint_lt(since, all);
    ck_assert_int_eq(sop_journal_trim(j, mid.file, NULL), 0);
    ck_assert_int_eq(sop_journal_trim(j, mid.file, NULL), 0);
    ck_assert_uint_eq(sop_journal_bytes_since(j, &mid), since);
    struct sop_stat st;
    ck_assert_int_eq(sop_volume_stat(v, DIR "/1", &st, NULL), 0);
    ck_assert_int_eq(st.kind, SOP_FILE_ABSENT);
    struct sop_journal_start s = {
        .tenure = TENURE, .record = 31, .hash_known = true, .hash = hash, .place = mid};
    memcpy(s.nonce, nonce, sizeof s.nonce);
    struct sop_journal_cursor c;
    sop_journal_cursor_init(&c, v, DIR, &s);
    ck_assert_uint_eq(read_all(&c, 40000), 50);
    sop_journal_cursor_fini(&c);
    sop_journal_free(j);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(a_record_over_the_limit_is_refused)
{
    struct sop_volume *v = new_volume();
    struct sop_journal *j;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    uint8_t byte = 0;
    struct sop_slice parts[] = {sop_slice(&byte, 1),
                                sop_slice(&byte, (size_t)SOP_JOURNAL_PAYLOAD_MAX)};
    struct sop_journal_entry entry = {.kind = 1, .parts = parts, .part_count = 2};
    uint64_t record;
    ck_assert_int_eq(sop_journal_append(j, &entry, &record, NULL), SOP_ERR_TOO_LARGE);
    append_synced(j, 1, 2, 100); /* and nothing happened */
    sop_journal_free(j);
    sop_volume_destroy(v);
}
END_TEST

/* --- failures --- */

/* Appends and syncs until something fails; returns the number of records acknowledged. */
static uint64_t work(struct sop_volume *v, bool *broken, int *rc_out)
{
    struct sop_journal *j = NULL;
    uint64_t acknowledged = 0;
    struct sop_err err = {0};
    int rc = new_journal(v, &j, &err);
    for (uint64_t r = 1; rc == 0 && r <= 24; r++) {
        rc = append(j, r, payload_len(r, 50000), acknowledged, &err);
        if (rc != 0 && !sop_journal_broken(j)) {
            /* Nothing happened: the same append may be tried again. */
            rc = append(j, r, payload_len(r, 50000), acknowledged, &err);
        }
        if (rc == 0) {
            rc = sop_journal_sync(j, &err);
        }
        if (rc == 0) {
            acknowledged = r;
        }
    }
    *broken = j != NULL && sop_journal_broken(j);
    if (*broken) {
        ck_assert_int_eq(append(j, acknowledged + 1, 1, 0, NULL), SOP_ERR_STOPPED);
        ck_assert_int_eq(sop_journal_sync(j, NULL), SOP_ERR_STOPPED);
    }
    sop_journal_free(j);
    *rc_out = rc;
    return acknowledged;
}

START_TEST(every_failure_keeps_what_was_acknowledged)
{
    static const int errors[] = {5 /* EIO */, 28 /* ENOSPC */};
    unsigned repaired = 0;
    unsigned broken_count = 0;
    for (size_t e = 0; e < SOP_ARRAY_LEN(errors); e++) {
        bool done = false;
        for (uint64_t step = 0; !done; step++) {
            ck_assert_uint_lt(step, STEPS_MAX);
            struct sop_volume *sim = new_volume();
            struct sop_volume *v;
            ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
            struct sop_fault_plan plan = {
                .ops = SOP_FAULT_ALL, .at = step, .sys = errors[e], .half_write = true};
            sop_volume_fault_set(v, &plan);
            bool broken;
            int rc;
            uint64_t acknowledged = work(v, &broken, &rc);
            done = sop_volume_fault_count(v) <= step;
            repaired += rc == 0 && !done;
            broken_count += broken;
            struct sop_volume *after;
            ck_assert_int_eq(sop_volume_sim_crash(sim, NULL, &after, NULL), 0);
            struct sop_journal_cursor c;
            start(&c, after);
            uint64_t there = read_all(&c, 50000);
            ck_assert_uint_ge(there, acknowledged);
            ck_assert_uint_le(there, acknowledged + 1);
            sop_journal_cursor_fini(&c);
            sop_volume_destroy(after);
            sop_volume_destroy(v);
            sop_volume_destroy(sim);
        }
    }
    ck_assert_uint_gt(repaired, 0);
    ck_assert_uint_gt(broken_count, 0);
}
END_TEST

START_TEST(power_loss_at_every_operation_keeps_what_was_acknowledged)
{
    struct sop_volume *counted = new_volume();
    struct sop_volume *fault;
    ck_assert_int_eq(sop_volume_fault_new(counted, &fault, NULL), 0);
    sop_volume_fault_set(fault,
                         &(struct sop_fault_plan){.ops = SOP_FAULT_ALL, .at = UINT64_MAX});
    bool broken;
    int rc;
    (void)work(fault, &broken, &rc);
    ck_assert_int_eq(rc, 0);
    uint64_t steps = sop_volume_fault_count(fault);
    sop_volume_destroy(fault);
    sop_volume_destroy(counted);
    for (uint64_t step = 0; step < steps; step++) {
        struct sop_volume *sim = new_volume();
        ck_assert_int_eq(sop_volume_fault_new(sim, &fault, NULL), 0);
        struct sop_fault_plan plan = {.ops = SOP_FAULT_ALL,
                                      .at = step,
                                      .sys = 5,
                                      .sticky = true,
                                      .half_write = step % 2 == 0};
        sop_volume_fault_set(fault, &plan);
        uint64_t acknowledged = work(fault, &broken, &rc);
        for (uint64_t seed = 0; seed < 4; seed++) {
            struct sop_sim_crash how = {.seed = step * 4 + seed,
                                        .keep_sector = 40,
                                        .garble_sector = 20,
                                        .keep_names = 50};
            struct sop_volume *after;
            ck_assert_int_eq(sop_volume_sim_crash(sim, &how, &after, NULL), 0);
            struct sop_journal_cursor c;
            start(&c, after);
            ck_assert_uint_ge(read_all(&c, 50000), acknowledged);
            uint64_t lac;
            struct sop_stat st;
            ck_assert_int_eq(sop_volume_stat(after, DIR, &st, NULL), 0);
            ck_assert_int_eq(sop_journal_cursor_scan(&c, &lac, NULL), 0);
            ck_assert_uint_lt(lac, c.record);
            sop_journal_cursor_fini(&c);
            sop_volume_destroy(after);
        }
        sop_volume_destroy(fault);
        sop_volume_destroy(sim);
    }
}
END_TEST

START_TEST(a_header_decodes_to_what_was_encoded)
{
    struct sop_journal_header h = {.kind = 3,
                                   .payload_crc = 0x12345678,
                                   .tenure = 5,
                                   .record = 9,
                                   .member = 4,
                                   .batch = 77,
                                   .hash_before = 0x1122334455667788,
                                   .lac = 8,
                                   .payload_bytes = 1234567,
                                   .file = 12,
                                   .offset = 40960};
    memcpy(h.nonce, nonce, sizeof h.nonce);
    uint8_t bytes[SOP_JOURNAL_HEADER_BYTES];
    sop_journal_header_encode(&h, bytes);
    struct sop_journal_header got;
    ck_assert_int_eq(sop_journal_header_decode(sop_slice(bytes, sizeof bytes), &got),
                     SOP_JOURNAL_VALID);
    ck_assert_mem_eq(&got, &h, sizeof h);
    ck_assert_int_eq(sop_journal_header_decode(sop_slice(bytes, sizeof bytes - 1), &got),
                     SOP_JOURNAL_INVALID);
    for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(sop_journal_header_decode(sop_slice(bytes, sizeof bytes), &got),
                         SOP_JOURNAL_INVALID);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    bytes[8] = 3; /* whole, of a version to come */
    sop_put_u32(bytes + 4, sop_crc32c(bytes + 8, sizeof bytes - 8, 0));
    ck_assert_int_eq(sop_journal_header_decode(sop_slice(bytes, sizeof bytes), &got),
                     SOP_JOURNAL_NEWER);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("journal");
    TCase *t = tcase_create("journal");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, appended_records_are_read_back, 0, 3);
    tcase_add_test(t, synced_records_survive_a_power_loss);
    tcase_add_test(t, unsynced_records_behind_a_gap_prove_nothing);
    tcase_add_test(t, damage_in_the_middle_is_proven);
    tcase_add_test(t, a_wrong_rolling_hash_is_damage);
    tcase_add_test(t, records_of_others_end_the_reading);
    tcase_add_test(t, the_next_file_is_made_ahead);
    tcase_add_test(t, a_last_record_always_fits);
    tcase_add_test(t, trim_removes_only_older_files);
    tcase_add_test(t, a_record_over_the_limit_is_refused);
    tcase_add_test(t, every_failure_keeps_what_was_acknowledged);
    tcase_add_test(t, power_loss_at_every_operation_keeps_what_was_acknowledged);
    tcase_add_test(t, a_header_decodes_to_what_was_encoded);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
