/* Values in pieces: streamed in, read from any offset, aborted, left open. */
#include "tests/lib/api_kit.h"
#include "tests/lib/scale.h"

#define MIB (1u << 20)

static struct db_kit kit;

static void setup(void)
{
    struct sop_store_options o;
    db_kit_init(&kit);
    db_kit_store(&kit, "u", NULL);
    sop_store_options_init(&o);
    o.unique = false;
    o.values = SOP_VALUES_BIG;
    db_kit_store(&kit, "d", &o);
}

static void teardown(void)
{
    db_kit_verify(&kit);
    db_kit_fini(&kit);
}

/* Byte i of the endless text that values are made of. */
static uint8_t byte_at(uint64_t i)
{
    return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

static void write_pieces(struct sop_value_writer *w, uint64_t len, size_t piece)
{
    uint8_t *buf = malloc(piece);
    for (uint64_t at = 0; at < len;) {
        size_t n = len - at < piece ? (size_t)(len - at) : piece;
        for (size_t i = 0; i < n; i++) {
            buf[i] = byte_at(at + i);
        }
        OK(sop_value_write(w, bytes(buf, n), &kit.err), kit.err);
        at += n;
    }
    free(buf);
}

static void stream(struct sop_store *s, enum sop_put_mode mode, const char *key, uint64_t len)
{
    struct sop_value_writer *w = NULL;
    struct sop_entry e = {.key = text(key)};
    OK(sop_value_create(&w, s, mode, &e, &kit.err), kit.err);
    write_pieces(w, len, 300000);
    OK(sop_value_finish(&w, &kit.err), kit.err);
    ck_assert_ptr_null(w);
}

static struct sop_value_reader *reader_of(struct sop_store *s, const char *key)
{
    struct sop_cursor *c = NULL;
    struct sop_value_reader *r = NULL;
    OK(sop_cursor_open(&c, s, &kit.err), kit.err);
    OK(sop_cursor_find(c, text(key), &kit.err), kit.err);
    OK(sop_value_open(&r, c, &kit.err), kit.err);
    sop_cursor_close(&c); /* the reader stays */
    return r;
}

static void expect_part(struct sop_value_reader *r, uint64_t from, size_t len)
{
    uint8_t *buf = malloc(len + 1);
    size_t got = 0;
    uint64_t size = sop_value_size(r);
    size_t want = from >= size ? 0 : size - from < len ? (size_t)(size - from) : len;
    OK(sop_value_read(r, from, buf, len, &got, &kit.err), kit.err);
    ck_assert_uint_eq(got, want);
    size_t right = 0;
    while (right < got && buf[right] == byte_at(from + right)) {
        right++;
    }
    ck_assert_uint_eq(right, got);
    free(buf);
}

static void expect_streamed(struct sop_store *s, const char *key, uint64_t len)
{
    struct sop_value_reader *r = reader_of(s, key);
    ck_assert_uint_eq(sop_value_size(r), len);
    expect_part(r, 0, 1);
    expect_part(r, len / 2, 70001);
    expect_part(r, len - 5, 10);
    expect_part(r, len, 10);
    expect_part(r, UINT64_MAX, 10);
    expect_part(r, len / 3, 0);
    expect_part(r, len > MIB ? len - MIB : 0, MIB);
    sop_value_close(&r);
    ck_assert_ptr_null(r);
}

START_TEST(forty_mib_in_pieces)
{
    uint64_t len = 40ull * MIB + 17;
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "d");
    stream(s, SOP_PUT_ADD, "film", len);
    expect_streamed(s, "film", len);
    db_kit_commit(&kit, t);
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    db_kit_reopen(&kit);
    t = db_kit_begin(&kit, SOP_READ);
    expect_streamed(db_kit_open(&kit, t, "d"), "film", len);
    db_kit_commit(&kit, t);
}
END_TEST

/* Too much to write for the builds that are slow. */
START_TEST(one_gib_is_the_most)
{
    uint64_t len = 1024ull * MIB;
    struct sop_value_writer *w = NULL;
    struct sop_entry e = {.key = text("too long")};
    if (test_scale(0, 1, 1) == 0) {
        return;
    }
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "d");
    stream(s, SOP_PUT_ADD, "longest", len);
    OK(sop_value_create(&w, s, SOP_PUT_ADD, &e, &kit.err), kit.err);
    write_pieces(w, len, MIB);
    FAILS(TOO_LARGE, sop_value_write(w, text("x"), &kit.err), kit.err);
    sop_value_abort(&w);
    db_kit_commit(&kit, t);
    db_kit_reopen(&kit);
    ck_assert_uint_eq(db_kit_count(&kit, "d"), 1);
    t = db_kit_begin(&kit, SOP_READ);
    expect_streamed(db_kit_open(&kit, t, "d"), "longest", len);
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(small_and_empty_streams)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    struct sop_view v;
    stream(s, SOP_PUT_ADD, "empty", 0);
    stream(s, SOP_PUT_ADD, "one", 1);
    struct sop_value_writer *w = NULL;
    struct sop_entry e = entry("nothing written", "ignored");
    OK(sop_value_create(&w, s, SOP_PUT_UPSERT, &e, &kit.err), kit.err);
    OK(sop_value_write(w, bytes(NULL, 0), &kit.err), kit.err);
    OK(sop_value_finish(&w, &kit.err), kit.err);
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_READ);
    s = db_kit_open(&kit, t, "u");
    OK(sop_get(s, text("empty"), &v, &kit.err), kit.err);
    ck_assert(v.loaded && v.value_bytes == 0);
    OK(sop_get(s, text("nothing written"), &v, &kit.err), kit.err);
    ck_assert(v.loaded && v.value_bytes == 0);
    OK(sop_get(s, text("one"), &v, &kit.err), kit.err);
    ck_assert(v.loaded && v.value.len == 1 && v.value.data[0] == byte_at(0));
    struct sop_value_reader *r = reader_of(s, "empty");
    expect_part(r, 0, 10);
    sop_value_close(&r);
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(the_three_ways_to_put)
{
    struct sop_view v;
    for (int i = 0; i < 2; i++) {
        bool unique = i == 0;
        struct sop_value_writer *w = NULL;
        uint64_t items = 0;
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, unique ? "u" : "d");
        struct sop_entry e = entry("k", "");
        e.ride = text("first");
        OK(sop_value_create(&w, s, SOP_PUT_UPDATE, &e, &kit.err), kit.err);
        write_pieces(w, 10, 10);
        FAILS(NOT_FOUND, sop_value_finish(&w, &kit.err), kit.err);
        ck_assert_ptr_null(w);
        OK(sop_value_create(&w, s, SOP_PUT_ADD, &e, &kit.err), kit.err);
        write_pieces(w, 50000, 50000);
        OK(sop_value_finish(&w, &kit.err), kit.err);
        OK(sop_value_create(&w, s, SOP_PUT_ADD, &e, &kit.err), kit.err);
        write_pieces(w, 10, 10);
        if (unique) {
            FAILS(EXISTS, sop_value_finish(&w, &kit.err), kit.err);
        } else {
            OK(sop_value_finish(&w, &kit.err), kit.err);
        }
        stream(s, SOP_PUT_UPDATE, "k", 60000); /* keeps the ride */
        OK(sop_get(s, text("k"), &v, &kit.err), kit.err);
        IS(v.ride, "first");
        ck_assert_uint_eq(v.value_bytes, 60000);
        ck_assert_int_eq(v.loaded, unique);    /* the other store is Big */
        stream(s, SOP_PUT_UPSERT, "k", 70000); /* does not */
        OK(sop_get(s, text("k"), &v, &kit.err), kit.err);
        IS(v.ride, "");
        ck_assert_uint_eq(v.value_bytes, 70000);
        stream(s, SOP_PUT_UPSERT, "new", 80000);
        OK(sop_store_count(s, false, &items, &kit.err), kit.err);
        ck_assert_uint_eq(items, unique ? 2 : 3);
        db_kit_commit(&kit, t);
        t = db_kit_begin(&kit, SOP_READ);
        expect_streamed(db_kit_open(&kit, t, unique ? "u" : "d"), "k", 70000);
        db_kit_commit(&kit, t);
    }
}
END_TEST

START_TEST(many_writers_at_once_and_other_calls_between)
{
    struct sop_value_writer *w[5] = {NULL};
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    for (unsigned i = 0; i < 5; i++) {
        struct sop_entry e = {.key = text(numbered(i))};
        OK(sop_value_create(&w[i], s, SOP_PUT_ADD, &e, &kit.err), kit.err);
    }
    for (uint64_t at = 0; at < 2u * MIB; at += MIB / 4) {
        uint8_t *buf = malloc(MIB / 4);
        for (size_t k = 0; k < MIB / 4; k++) {
            buf[k] = byte_at(at + k);
        }
        for (unsigned i = 0; i < 5; i++) {
            OK(sop_value_write(w[i], bytes(buf, MIB / 4), &kit.err), kit.err);
        }
        free(buf);
        OK(sop_maintain(kit.db, &kit.err), kit.err);
        db_kit_put(&kit, "d", "other", "change");
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        OK(sop_db_compact(kit.db, &kit.err), kit.err);
    }
    sop_value_abort(&w[1]);
    ck_assert_ptr_null(w[1]);
    for (unsigned i = 0; i < 5; i++) {
        if (w[i] != NULL && i != 3) { /* 3 is left open: the commit aborts it */
            OK(sop_value_finish(&w[i], &kit.err), kit.err);
        }
    }
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_READ);
    s = db_kit_open(&kit, t, "u");
    expect_streamed(s, numbered(0), 2u * MIB);
    expect_streamed(s, numbered(2), 2u * MIB);
    expect_streamed(s, numbered(4), 2u * MIB);
    ck_assert_ptr_null(db_kit_get(&kit, s, numbered(1)));
    ck_assert_ptr_null(db_kit_get(&kit, s, numbered(3)));
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(what_was_aborted_is_compacted_away)
{
    for (int i = 0; i < 3; i++) {
        struct sop_value_writer *w = NULL;
        struct sop_entry e = {.key = text("k")};
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "u");
        OK(sop_value_create(&w, s, SOP_PUT_ADD, &e, &kit.err), kit.err);
        write_pieces(w, 3u * MIB, MIB);
        if (i == 0) {
            sop_value_abort(&w);
        } else if (i == 1) {
            OK(sop_value_finish(&w, &kit.err), kit.err);
        }
        sop_txn_rollback(&t);
    }
    for (int i = 0; i < 3; i++) {
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        OK(sop_db_compact(kit.db, &kit.err), kit.err);
    }
    ck_assert_uint_lt(stats_of(&kit).pack_live_bytes, MIB);
    ck_assert_uint_lt(stats_of(&kit).pack_bytes, 4u * MIB);
}
END_TEST

START_TEST(a_reader_keeps_its_value)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    stream(s, SOP_PUT_ADD, "k", 2u * MIB);
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_WRITE);
    s = db_kit_open(&kit, t, "u");
    struct sop_value_reader *r = reader_of(s, "k");
    struct sop_value_reader *left_open = reader_of(s, "k");
    expect_part(left_open, 7, 7);
    OK(sop_remove(s, text("k"), &kit.err), kit.err); /* in its own transaction */
    expect_part(r, MIB, MIB);
    sop_value_close(&r);
    db_kit_commit(&kit, t);
    stream(db_kit_open(&kit, t = db_kit_begin(&kit, SOP_WRITE), "u"), SOP_PUT_ADD, "k", MIB);
    db_kit_commit(&kit, t);
    struct sop_txn *reading = db_kit_begin(&kit, SOP_READ);
    r = reader_of(db_kit_open(&kit, reading, "u"), "k");
    t = db_kit_begin(&kit, SOP_WRITE); /* and in another */
    OK(sop_remove(db_kit_open(&kit, t, "u"), text("k"), &kit.err), kit.err);
    db_kit_commit(&kit, t);
    for (int i = 0; i < 3; i++) {
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        OK(sop_db_compact(kit.db, &kit.err), kit.err);
        OK(sop_maintain(kit.db, &kit.err), kit.err);
    }
    expect_part(r, 0, MIB);
    sop_value_close(&r);
    db_kit_commit(&kit, reading);
}
END_TEST

START_TEST(a_value_that_was_read_in_pieces_is_read)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    stream(db_kit_open(&kit, t, "u"), SOP_PUT_ADD, "k", 100000);
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_value_reader *r = reader_of(db_kit_open(&kit, t, "u"), "k");
    sop_value_close(&r);
    db_kit_add(&kit, db_kit_open(&kit, t, "d"), "x", "y");
    db_kit_put(&kit, "u", "k", "changed");
    db_kit_conflicts(&kit, t);
}
END_TEST

START_TEST(wrong_calls_are_refused)
{
    static uint8_t long_key[65537];
    struct sop_value_writer *w = NULL;
    struct sop_value_reader *r = NULL;
    struct sop_cursor *c = NULL;
    size_t got = 1;
    struct sop_entry e = entry("k", "");
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    FAILS(INVALID, sop_value_create(&w, s, (enum sop_put_mode)3, &e, &kit.err), kit.err);
    e.key = bytes(long_key, sizeof long_key);
    FAILS(TOO_LARGE, sop_value_create(&w, s, SOP_PUT_ADD, &e, &kit.err), kit.err);
    e = entry("k", "");
    e.ride = bytes(long_key, sizeof long_key);
    FAILS(TOO_LARGE, sop_value_create(&w, s, SOP_PUT_ADD, &e, &kit.err), kit.err);
    FAILS(CLOSED, sop_value_create(&w, NULL, SOP_PUT_ADD, &e, &kit.err), kit.err);
    FAILS(CLOSED, sop_value_write(NULL, text("x"), &kit.err), kit.err);
    FAILS(CLOSED, sop_value_finish(&w, &kit.err), kit.err);
    FAILS(CLOSED, sop_value_finish(NULL, &kit.err), kit.err);
    sop_value_abort(&w);
    sop_value_abort(NULL);
    FAILS(CLOSED, sop_value_open(&r, NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_value_read(NULL, 0, &got, 1, &got, &kit.err), kit.err);
    ck_assert_uint_eq(got, 0);
    sop_value_close(&r);
    sop_value_close(NULL);
    OK(sop_cursor_open(&c, s, &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_value_open(&r, c, &kit.err), kit.err);
    db_kit_add(&kit, s, "k", "v");
    OK(sop_cursor_first(c, &kit.err), kit.err);
    OK(sop_remove(s, text("k"), &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_value_open(&r, c, &kit.err), kit.err);
    ck_assert_ptr_null(r);
    e = entry("k", ""); /* over the limit, but nobody may read that far */
    OK(sop_value_create(&w, s, SOP_PUT_ADD, &e, &kit.err), kit.err);
    OK(sop_value_write(w, text("x"), &kit.err), kit.err);
    FAILS(TOO_LARGE, sop_value_write(w, bytes(long_key, 1u << 30), &kit.err), kit.err);
    FAILS(TOO_LARGE, sop_value_write(w, bytes(long_key, SIZE_MAX), &kit.err), kit.err);
    OK(sop_value_write(w, text("y"), &kit.err), kit.err); /* goes on */
    OK(sop_value_finish(&w, &kit.err), kit.err);
    ck_assert_str_eq(db_kit_get(&kit, s, "k"), "xy");
    OK(sop_value_create(&w, s, SOP_PUT_ADD, &e, &kit.err), kit.err);
    OK(sop_txn_prepare(&t, &kit.err), kit.err);
    FAILS(CLOSED, sop_value_write(w, text("x"), &kit.err), kit.err);
    FAILS(CLOSED, sop_value_finish(&w, &kit.err), kit.err);
    ck_assert_ptr_nonnull(w);
    db_kit_commit(&kit, t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("values");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 300);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, forty_mib_in_pieces);
    tcase_add_test(all, one_gib_is_the_most);
    tcase_add_test(all, small_and_empty_streams);
    tcase_add_test(all, the_three_ways_to_put);
    tcase_add_test(all, many_writers_at_once_and_other_calls_between);
    tcase_add_test(all, what_was_aborted_is_compacted_away);
    tcase_add_test(all, a_reader_keeps_its_value);
    tcase_add_test(all, a_value_that_was_read_in_pieces_is_read);
    tcase_add_test(all, wrong_calls_are_refused);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
