/* Records that no sync covers yet share blocks: whatever their sizes and wherever syncs fall,
 * they are read back, lost from the end only, and nothing that was synced is written again. */
#include "engine/volume/fault.h"
#include "tests/lib/journal_kit.h"
#include "tests/lib/scale.h"

#include <stdio.h>

#define UNIT  SOP_JOURNAL_UNIT
#define BLOCK SOP_BLOCK_BYTES

static uint64_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* Mostly small, some over a block, a few over half a file. */
static size_t draw_len(uint64_t *state)
{
    uint64_t kind = draw(state) % 100;
    return (size_t)(draw(state) % (kind < 85 ? 300u : kind < 98 ? 9000u : 60000u));
}

static size_t lens[4096]; /* of the payload of record r */

static uint64_t put(struct sop_journal *j, size_t len, uint64_t lac)
{
    uint64_t r = sop_journal_last(j) + 1;
    SOP_ASSERT(r < SOP_ARRAY_LEN(lens));
    lens[r] = len;
    struct sop_err err = {0};
    ck_assert_msg(append(j, r, len, lac, &err) == 0, "%s", err.text);
    return r;
}

static void check_payload(const struct sop_journal_record *r)
{
    static uint8_t bytes[1u << 17];
    ck_assert_uint_eq(r->payload.len, lens[r->header.record]);
    fill(bytes, r->payload.len, r->header.record);
    ck_assert_mem_eq(r->payload.data, bytes, r->payload.len);
}

/* Reads from `from` on; returns the last whole record. No damage may be seen. */
static uint64_t read_from(struct sop_volume *v, const struct sop_journal_start *from)
{
    struct sop_journal_cursor c;
    struct sop_journal_record r;
    struct sop_err err = {0};
    int rc;
    sop_journal_cursor_init(&c, v, DIR, from);
    while ((rc = sop_journal_cursor_next(&c, &r, &err)) == 0) {
        check_payload(&r);
    }
    ck_assert_msg(rc == SOP_ERR_END, "%s", err.text);
    uint64_t lac;
    ck_assert_int_eq(sop_journal_cursor_scan(&c, &lac, NULL), 0);
    ck_assert_uint_lt(lac, c.record);
    uint64_t last = c.record - 1;
    sop_journal_cursor_fini(&c);
    return last;
}

static struct sop_journal_start beginning(void)
{
    struct sop_journal_start s = {
        .tenure = TENURE, .record = 1, .hash_known = true, .hash = HASH, .place = {.file = 1}};
    memcpy(s.nonce, nonce, sizeof s.nonce);
    return s;
}

static struct sop_journal_start here(const struct sop_journal *j)
{
    struct sop_journal_start s = beginning();
    s.record = sop_journal_last(j) + 1;
    s.hash = sop_journal_hash(j);
    s.place = sop_journal_next_place(j);
    return s;
}

/* Where record r lies. */
static uint64_t offset_of(struct sop_volume *v, uint64_t r)
{
    struct sop_journal_cursor c;
    struct sop_journal_record found;
    start(&c, v);
    do {
        ck_assert_int_eq(sop_journal_cursor_next(&c, &found, NULL), 0);
    } while (found.header.record != r);
    sop_journal_cursor_fini(&c);
    return found.place.offset;
}

START_TEST(only_unsynced_records_share_a_block)
{
    struct sop_volume *v = new_volume();
    struct sop_journal *j;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    (void)put(j, 10, 0);
    (void)put(j, 64, 0);
    ck_assert_uint_eq(offset_of(v, 2), 3 * UNIT);
    ck_assert_int_eq(sop_journal_sync(j, NULL), 0);
    (void)put(j, 1, 2);
    ck_assert_uint_eq(offset_of(v, 3), BLOCK);
    (void)put(j, 1, 2);
    ck_assert_uint_eq(offset_of(v, 4), BLOCK + 3 * UNIT);
    struct sop_journal_mark mark;
    sop_journal_mark(j, &mark); /* counts as the sync that will follow */
    (void)put(j, 1, 2);
    ck_assert_uint_eq(offset_of(v, 5), 2 * BLOCK);
    ck_assert_int_eq(sop_journal_settle(j, &mark, NULL), 0);
    (void)put(j, 1, 4);
    ck_assert_uint_eq(offset_of(v, 6), 3 * BLOCK);
    sop_journal_free(j);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(with_direct_io_every_record_begins_a_block)
{
    struct sop_volume *v = new_volume();
    v->one_host = false;
    struct sop_journal *j;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    for (uint64_t r = 1; r <= 20; r++) {
        (void)put(j, r * 700, 0);
        ck_assert_uint_eq(offset_of(v, r) % BLOCK, 0);
    }
    struct sop_journal_start s = beginning();
    ck_assert_uint_eq(read_from(v, &s), 20);
    v->one_host = true; /* and what was written so is read in the other mode */
    ck_assert_uint_eq(read_from(v, &s), 20);
    sop_journal_free(j);
    sop_volume_destroy(v);
}
END_TEST

/* A journal that one host packed is read by another mode. */
START_TEST(packed_records_are_read_with_direct_io)
{
    struct sop_volume *v = new_volume();
    struct sop_journal *j;
    uint64_t state = 5;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    for (uint64_t r = 1; r <= 300; r++) {
        (void)put(j, draw_len(&state), 0);
    }
    v->one_host = false;
    struct sop_journal_start s = beginning();
    ck_assert_uint_eq(read_from(v, &s), 300);
    v->one_host = true;
    sop_journal_free(j);
    sop_volume_destroy(v);
}
END_TEST

/* What a power loss at this moment leaves: nothing that was synced is missing. */
static void check_crash(struct sop_volume *v, uint64_t seed, uint64_t durable, uint64_t last)
{
    struct sop_sim_crash how = {.seed = seed,
                                .keep_sector = (unsigned)(seed * 37 % 101),
                                .garble_sector = 15,
                                .keep_names = 50};
    how.garble_sector = how.keep_sector > 85 ? 0 : how.garble_sector;
    struct sop_volume *after;
    struct sop_journal_start s = beginning();
    ck_assert_int_eq(sop_volume_sim_crash(v, &how, &after, NULL), 0);
    uint64_t found = read_from(after, &s);
    ck_assert_uint_ge(found, durable);
    ck_assert_uint_le(found, last);
    sop_volume_destroy(after);
}

START_TEST(any_sizes_and_syncs_are_read_back)
{
    uint64_t state = (uint64_t)_i;
    struct sop_volume *v = new_volume();
    struct sop_journal *j;
    struct sop_journal_mark mark;
    bool marked = false;
    uint64_t durable = 0;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    struct sop_journal_start begin = beginning();
    for (int step = 0; step < 400; step++) {
        uint64_t what = draw(&state) % 100;
        if (what < 80) {
            struct sop_journal_start s = here(j);
            (void)put(j, draw_len(&state), durable);
            ck_assert_uint_eq(read_from(v, &s), s.record); /* from any point */
        } else if (what < 85) {
            ck_assert_int_eq(sop_journal_sync(j, NULL), 0);
            durable = sop_journal_last(j);
        } else if (what < 90 && !marked) {
            sop_journal_mark(j, &mark);
            marked = true;
        } else if (what < 95 && marked) {
            ck_assert_int_eq(sop_journal_settle(j, &mark, NULL), 0);
            durable = mark.record > durable ? mark.record : durable;
            marked = false;
        } else if (what < 97) {
            ck_assert_int_eq(sop_journal_prepare(j, NULL), 0);
        } else {
            check_crash(v, state, durable, sop_journal_last(j));
        }
    }
    ck_assert_uint_eq(read_from(v, &begin), sop_journal_last(j));
    sop_journal_free(j);
    sop_volume_destroy(v);
}
END_TEST

/* --- torn tails --- */

/* Everything from byte `from` of file 1 on is what `how` says: 0 zeros, else noise. */
static void tear(struct sop_volume *v, uint64_t from, uint64_t to, int how)
{
    static uint8_t bytes[4 * BLOCK];
    uint64_t state = from;
    ck_assert_uint_le(to - from, sizeof bytes);
    for (uint64_t i = from; i < to; i++) {
        bytes[i - from] = (uint8_t)(how == 0 ? 0 : draw(&state));
    }
    struct sop_file *f;
    ck_assert_int_eq(sop_file_open(v, DIR "/1", SOP_OPEN_WRITE, &f, NULL), 0);
    ck_assert_int_eq(sop_file_write(f, from, bytes, (size_t)(to - from), NULL), 0);
    sop_file_close(f);
}

START_TEST(a_tail_torn_at_any_byte_keeps_what_is_in_front)
{
    struct sop_volume *v = new_volume();
    sop_volume_sim_write_once(v, NULL);
    struct sop_journal *j;
    uint64_t ends[64];
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    (void)put(j, 100, 0);
    ck_assert_int_eq(sop_journal_sync(j, NULL), 0);
    uint64_t last = 1;
    ends[1] = SOP_JOURNAL_HEADER_BYTES + 100;
    while (sop_journal_next_place(j).offset < 3 * BLOCK - 200) { /* two blocks, shared */
        last = put(j, (size_t)(last * 97 % 400), 1);
        ends[last] = offset_of(v, last) + SOP_JOURNAL_HEADER_BYTES + lens[last];
    }
    sop_journal_free(j);
    struct sop_journal_start s = beginning();
    ck_assert_uint_eq(read_from(v, &s), last);
    uint64_t end = ends[last];
    for (uint64_t from = end - 1; from >= BLOCK; from--) {
        /* Once as zeros, once as noise: each copy is torn anew. */
        for (int how = 0; how < 2; how++) {
            struct sop_volume *torn;
            ck_assert_int_eq(sop_volume_sim_copy(v, &torn, NULL), 0);
            tear(torn, from, 3 * BLOCK, how);
            uint64_t expected = 1;
            while (expected < last && ends[expected + 1] <= from) {
                expected++;
            }
            uint64_t found = read_from(torn, &s);
            /* Zeros in place of zeros, or the same byte by chance, tear nothing. */
            ck_assert_uint_ge(found, expected);
            ck_assert_uint_le(found, expected + (how == 0 || from + 2 >= ends[expected + 1]));
            sop_volume_destroy(torn);
        }
    }
    sop_volume_destroy(v);
}
END_TEST

START_TEST(a_lost_record_in_a_shared_block_hides_those_behind_it)
{
    /* Sectors of one block reach the disk by themselves: record 3 is gone, 4 and on are there.
     */
    struct sop_volume *v = new_volume();
    struct sop_journal *j;
    ck_assert_int_eq(new_journal(v, &j, NULL), 0);
    for (int i = 0; i < 12; i++) {
        (void)put(j, 300, 0);
    }
    sop_journal_free(j);
    ck_assert_int_eq(sop_volume_sim_flip(v, DIR "/1", (offset_of(v, 3) + 140) * 8, NULL), 0);
    struct sop_journal_start s = beginning();
    ck_assert_uint_eq(read_from(v, &s), 2);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(damage_in_a_shared_block_is_proven_by_what_follows_its_sync)
{
    for (uint64_t bad = 1; bad <= 12; bad++) {
        struct sop_volume *v = new_volume();
        struct sop_journal *j;
        ck_assert_int_eq(new_journal(v, &j, NULL), 0);
        for (int i = 0; i < 12; i++) {
            (void)put(j, 100, 0);
        }
        ck_assert_int_eq(sop_journal_sync(j, NULL), 0);
        (void)put(j, 100, 12);
        (void)put(j, 100, 12);
        sop_journal_free(j);
        uint64_t at = offset_of(v, bad);
        uint64_t behind = offset_of(v, 13);
        ck_assert_int_eq(sop_volume_sim_flip(v, DIR "/1", (at + 140) * 8, NULL), 0);
        if (bad % 2 == 0) { /* the first one that tells is gone, too: the second is inside */
            ck_assert_int_eq(sop_volume_sim_flip(v, DIR "/1", (behind + 50) * 8, NULL), 0);
        }
        struct sop_journal_cursor c;
        struct sop_journal_record r;
        int rc;
        start(&c, v);
        while ((rc = sop_journal_cursor_next(&c, &r, NULL)) == 0) {
        }
        ck_assert_int_eq(rc, SOP_ERR_END);
        ck_assert_uint_eq(c.record, bad);
        ck_assert_uint_eq(c.missing, at);
        uint64_t lac;
        ck_assert_int_eq(sop_journal_cursor_scan(&c, &lac, NULL), 0);
        ck_assert_uint_eq(lac, 12);
        sop_journal_cursor_fini(&c);
        sop_volume_destroy(v);
    }
}
END_TEST

/* --- kills and failures --- */

/* Appends without a sync but now and then; what is acknowledged as shown or durable. */
static int work(struct sop_volume *v, uint64_t *shown, uint64_t *durable)
{
    struct sop_journal *j = NULL;
    struct sop_err err = {0};
    uint64_t state = 77;
    *shown = *durable = 0;
    int rc = new_journal(v, &j, &err);
    for (uint64_t r = 1; rc == 0 && r <= 60; r++) {
        lens[r] = draw_len(&state);
        rc = append(j, r, lens[r], *durable, &err);
        if (rc != 0 && !sop_journal_broken(j)) {
            rc = append(j, r, lens[r], *durable, &err);
        }
        if (rc == 0) {
            *shown = r;
        }
        if (rc == 0 && r % 7 == 0) {
            rc = sop_journal_sync(j, &err);
            *durable = rc == 0 ? r : *durable;
        }
        if (rc == 0 && r % 11 == 0) {
            struct sop_journal_mark mark;
            sop_journal_mark(j, &mark);
            rc = sop_journal_settle(j, &mark, &err);
            *durable = rc == 0 ? r : *durable;
        }
        if (rc == 0 && r % 5 == 0) {
            rc = sop_journal_prepare(j, &err);
            rc = sop_journal_broken(j) ? rc : 0;
        }
    }
    sop_journal_free(j);
    return rc;
}

static void check_stop(struct sop_volume *sim, uint64_t step, uint64_t shown, uint64_t durable)
{
    struct sop_journal_start s = beginning();
    uint64_t found = read_from(sim, &s); /* killed: nothing shown is missing */
    ck_assert_uint_ge(found, shown);
    ck_assert_uint_le(found, shown + 1);
    for (uint64_t seed = 0; seed < 3; seed++) {
        check_crash(sim, step * 3 + seed, durable, shown + 1);
    }
}

START_TEST(a_stop_at_every_operation_keeps_what_was_promised)
{
    uint64_t shown;
    uint64_t durable;
    bool done = false;
    for (uint64_t step = 0; !done; step++) {
        struct sop_volume *sim = new_volume();
        struct sop_volume *v;
        ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
        struct sop_fault_plan plan = {.ops = SOP_FAULT_ALL,
                                      .at = step,
                                      .sys = 5,
                                      .sticky = step % 2 == 0,
                                      .half_write = step % 3 != 0};
        sop_volume_fault_set(v, &plan);
        (void)work(v, &shown, &durable);
        done = sop_volume_fault_count(v) <= step;
        check_stop(sim, step, shown, durable);
        sop_volume_destroy(v);
        sop_volume_destroy(sim);
    }
    ck_assert_uint_eq(shown, 60);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("journal_pack");
    TCase *t = tcase_create("journal_pack");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, only_unsynced_records_share_a_block);
    tcase_add_test(t, with_direct_io_every_record_begins_a_block);
    tcase_add_test(t, packed_records_are_read_with_direct_io);
    tcase_add_loop_test(t, any_sizes_and_syncs_are_read_back, 0, (int)test_scale(8, 60, 1000));
    tcase_add_test(t, a_tail_torn_at_any_byte_keeps_what_is_in_front);
    tcase_add_test(t, a_lost_record_in_a_shared_block_hides_those_behind_it);
    tcase_add_test(t, damage_in_a_shared_block_is_proven_by_what_follows_its_sync);
    tcase_add_test(t, a_stop_at_every_operation_keeps_what_was_promised);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
