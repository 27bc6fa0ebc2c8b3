/* Large records in a row go into files with reserved room, and everything is read back whatever
 * comes in between: small records, files that end, a volume without room to reserve. */
#include "engine/volume/fault.h"
#include "tests/lib/journal_kit.h"

#define LARGE     (300u * 1024u)
#define SMALL     100u
#define BULK_FILE (8u << 20)

static struct sop_journal *bulk_journal(struct sop_volume *v)
{
    struct sop_journal_config config = {.volume = v,
                                        .dir = DIR,
                                        .file_bytes_min = 1u << 20,
                                        .file_bytes_max = BULK_FILE,
                                        .syncs = &syncs};
    struct sop_journal *j;
    memcpy(config.nonce, nonce, sizeof config.nonce);
    ck_assert_int_eq(sop_journal_new(&j, &config, NULL), 0);
    sop_journal_begin(j, TENURE, TENURE, HASH);
    return j;
}

/* Appends a record and syncs; returns the file it went into. */
static uint32_t put(struct sop_journal *j, size_t len)
{
    struct sop_err err = {0};
    uint64_t r = sop_journal_last(j) + 1;
    ck_assert_msg(append(j, r, len, 0, &err) == 0, "%s", err.text);
    ck_assert_int_eq(sop_journal_sync(j, &err), 0);
    return sop_journal_next_place(j).file;
}

/* Records of these lengths are there, and no more. */
static void check_all(struct sop_volume *v, const size_t *lens, uint64_t count)
{
    static uint8_t bytes[LARGE];
    struct sop_journal_cursor c;
    struct sop_journal_record r;
    start(&c, v);
    for (uint64_t i = 1; i <= count; i++) {
        ck_assert_int_eq(sop_journal_cursor_next(&c, &r, NULL), 0);
        ck_assert_uint_eq(r.header.record, i);
        ck_assert_uint_eq(r.payload.len, lens[i]);
        fill(bytes, lens[i], i);
        ck_assert_mem_eq(r.payload.data, bytes, lens[i]);
    }
    ck_assert_int_eq(sop_journal_cursor_next(&c, &r, NULL), SOP_ERR_END);
    sop_journal_cursor_fini(&c);
}

START_TEST(large_records_in_a_row_leave_the_files_of_zeros)
{
    struct sop_volume *v = new_volume();
    struct sop_journal *j = bulk_journal(v);
    size_t lens[128] = {0};
    uint64_t n = 0;
    ck_assert_uint_eq(put(j, lens[++n] = SMALL), 1);
    uint32_t file = put(j, lens[++n] = LARGE);
    ck_assert_uint_eq(file, 1); /* one alone */
    file = put(j, lens[++n] = LARGE);
    ck_assert_uint_ne(file, 1);
    uint32_t last = file;
    unsigned changes = 0;
    for (int i = 0; i < 40; i++) {
        if (i % 5 == 4) { /* one small one changes nothing */
            ck_assert_uint_eq(put(j, lens[++n] = SMALL), last);
        }
        uint32_t now = put(j, lens[++n] = LARGE);
        changes += now != last;
        last = now;
    }
    /* 12 MB in files for 16 such records each, but at most BULK_FILE */
    ck_assert_uint_ge(changes, 2);
    ck_assert_uint_le(changes, 3);
    for (int i = 0; i < 20; i++) {
        file = put(j, lens[++n] = SMALL);
    }
    ck_assert_uint_ne(file, last); /* small ones are back in a file of zeros */
    for (int i = 0; i < 3; i++) {  /* and stay there beside single large ones */
        ck_assert_uint_eq(put(j, lens[++n] = SMALL), file);
    }
    check_all(v, lens, n);
    sop_journal_free(j);
    sop_volume_destroy(v);
}
END_TEST

/* Appends and syncs until the journal is broken; a failure that did not break it is tried
 * again. Returns how many records are acknowledged; *unnoticed: a fault struck and nothing
 * failed. */
static uint64_t put_against_faults(struct sop_volume *v, struct sop_journal *j,
                                   const size_t *lens, uint64_t count, bool *unnoticed)
{
    uint64_t done = 0;
    bool failed = false;
    while (done < count && !sop_journal_broken(j)) {
        int rc = sop_journal_last(j) > done ? 0 : append(j, done + 1, lens[done + 1], 0, NULL);
        rc = rc == 0 ? sop_journal_sync(j, NULL) : rc;
        failed = failed || rc != 0;
        done += rc == 0;
    }
    *unnoticed = !failed && sop_volume_fault_count(v) > 0;
    return done;
}

START_TEST(a_full_volume_loses_nothing_and_may_go_unnoticed)
{
    const size_t lens[] = {0, SMALL, LARGE, LARGE, LARGE, SMALL, LARGE};
    const uint64_t count = SOP_ARRAY_LEN(lens) - 1;
    unsigned without_room = 0;
    for (uint64_t at = 0;; at++) {
        struct sop_volume *sim = new_volume();
        struct sop_volume *v;
        ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
        struct sop_journal *j = bulk_journal(v);
        struct sop_fault_plan plan = {
            .ops = SOP_FAULT_BIT(SOP_FAULT_WRITE), .at = at, .sys = 28 /* ENOSPC */};
        sop_volume_fault_set(v, &plan);
        bool unnoticed;
        uint64_t done = put_against_faults(v, j, lens, count, &unnoticed);
        bool struck = sop_volume_fault_count(v) > at;
        without_room += struck && unnoticed;
        sop_journal_free(j);
        struct sop_journal_cursor c;
        struct sop_journal_record r;
        start(&c, sim);
        for (uint64_t i = 1; i <= done; i++) {
            ck_assert_int_eq(sop_journal_cursor_next(&c, &r, NULL), 0);
            ck_assert_uint_eq(r.payload.len, lens[i]);
        }
        sop_journal_cursor_fini(&c);
        sop_volume_destroy(v);
        sop_volume_destroy(sim);
        if (!struck) {
            ck_assert_uint_eq(done, count);
            break;
        }
    }
    ck_assert_uint_eq(without_room,
                      1); /* the reservation, and nothing else, can be done without */
}
END_TEST

static void no_new_files(struct sop_volume *fault, bool yes)
{
    struct sop_fault_plan plan = {.ops = SOP_FAULT_BIT(SOP_FAULT_OPEN),
                                  .at = yes ? 0 : UINT64_MAX,
                                  .sys = 28 /* ENOSPC */,
                                  .sticky = true};
    sop_volume_fault_set(fault, &plan);
}

/* A volume that is full takes what fits into the files that are there. */
START_TEST(a_full_volume_takes_what_its_files_have_room_for)
{
    struct sop_volume *sim = new_volume();
    struct sop_volume *v;
    ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
    struct sop_journal *j = bulk_journal(v);
    size_t lens[64] = {0};
    uint64_t n = 0;
    ck_assert_uint_eq(put(j, lens[++n] = LARGE), 1);
    no_new_files(v, true);
    ck_assert_uint_eq(put(j, lens[++n] = LARGE), 1); /* no room for a reserved file */
    no_new_files(v, false);
    uint32_t reserved = put(j, lens[++n] = LARGE);
    ck_assert_uint_ne(reserved, 1);
    no_new_files(v, true);
    for (int i = 0; i < 30; i++) { /* no room for a file of zeros either */
        ck_assert_uint_eq(put(j, lens[++n] = SMALL), reserved);
    }
    no_new_files(v, false);
    check_all(v, lens, n);
    sop_journal_free(j);
    sop_volume_destroy(v);
    sop_volume_destroy(sim);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal_bulk");
    TCase *tc = tcase_create("journal_bulk");
    tcase_add_test(tc, large_records_in_a_row_leave_the_files_of_zeros);
    tcase_add_test(tc, a_full_volume_loses_nothing_and_may_go_unnoticed);
    tcase_add_test(tc, a_full_volume_takes_what_its_files_have_room_for);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
