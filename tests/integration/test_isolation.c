/* Strict serializability: each anomaly is provoked and refused; what is no conflict commits.
 * And the behaviours that users of the older system know. */
#include "tests/lib/db_kit.h"

static struct db_kit kit;

static void setup(void)
{
    db_kit_init(&kit);
    db_kit_store(&kit, "s", NULL);
}

static void teardown(void)
{
    db_kit_verify(&kit);
    db_kit_fini(&kit);
}

static void update(struct sop_store *s, const char *key, const char *value)
{
    struct sop_entry e = {.key = text(key), .value = text(value)};
    OK(sop_update(s, &e, &kit.err), kit.err);
}

START_TEST(lost_update_is_refused)
{
    db_kit_put(&kit, "s", "x", "1");
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_txn *b = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *sa = db_kit_open(&kit, a, "s");
    struct sop_store *sb = db_kit_open(&kit, b, "s");
    struct sop_entry two = {.key = text("x"), .value = text("2")};
    struct sop_entry three = {.key = text("x"), .value = text("3")};
    ck_assert_str_eq(db_kit_get(&kit, sa, "x"), "1");
    ck_assert_str_eq(db_kit_get(&kit, sb, "x"), "1");
    OK(sop_upsert(sa, &two, &kit.err), kit.err); /* blind, but x was read */
    OK(sop_upsert(sb, &three, &kit.err), kit.err);
    db_kit_commit(&kit, a);
    db_kit_conflicts(&kit, b);
    ck_assert_str_eq(db_kit_read(&kit, "s", "x"), "2");
}
END_TEST

START_TEST(two_updates_of_one_item_second_fails)
{
    db_kit_put(&kit, "s", "x", "1");
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_txn *b = db_kit_begin(&kit, SOP_WRITE);
    update(db_kit_open(&kit, a, "s"), "x", "a");
    update(db_kit_open(&kit, b, "s"), "x", "b");
    db_kit_commit(&kit, b);
    db_kit_conflicts(&kit, a);
    ck_assert_str_eq(db_kit_read(&kit, "s", "x"), "b");
}
END_TEST

START_TEST(different_items_of_one_page_both_commit)
{
    db_kit_put(&kit, "s", "x", "1");
    db_kit_put(&kit, "s", "y", "1");
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_txn *b = db_kit_begin(&kit, SOP_WRITE);
    update(db_kit_open(&kit, a, "s"), "x", "a");
    update(db_kit_open(&kit, b, "s"), "y", "b");
    db_kit_add(&kit, db_kit_open(&kit, a, "s"), "w", "new");
    db_kit_add(&kit, db_kit_open(&kit, b, "s"), "z", "new");
    db_kit_commit(&kit, a);
    db_kit_commit(&kit, b);
    ck_assert_str_eq(db_kit_read(&kit, "s", "x"), "a");
    ck_assert_str_eq(db_kit_read(&kit, "s", "y"), "b");
    ck_assert_uint_eq(db_kit_count(&kit, "s"), 4);
}
END_TEST

START_TEST(reader_of_what_another_writes_fails_at_commit)
{
    db_kit_put(&kit, "s", "x", "1");
    struct sop_txn *reads = db_kit_begin(&kit, SOP_WRITE);
    ck_assert_str_eq(db_kit_get(&kit, db_kit_open(&kit, reads, "s"), "x"), "1");
    db_kit_put(&kit, "s", "x", "2");
    db_kit_conflicts(&kit, reads);
}
END_TEST

START_TEST(write_skew_is_refused)
{
    db_kit_put(&kit, "s", "x", "1");
    db_kit_put(&kit, "s", "y", "1");
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_txn *b = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *sa = db_kit_open(&kit, a, "s");
    struct sop_store *sb = db_kit_open(&kit, b, "s");
    ck_assert_str_eq(db_kit_get(&kit, sa, "y"), "1");
    ck_assert_str_eq(db_kit_get(&kit, sb, "x"), "1");
    update(sa, "x", "0");
    update(sb, "y", "0");
    db_kit_commit(&kit, a);
    db_kit_conflicts(&kit, b);
}
END_TEST

START_TEST(absence_that_was_filled_is_refused)
{
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *sa = db_kit_open(&kit, a, "s");
    ck_assert_ptr_null(db_kit_get(&kit, sa, "x"));
    db_kit_add(&kit, sa, "other", "1");
    db_kit_put(&kit, "s", "x", "1");
    db_kit_conflicts(&kit, a);
}
END_TEST

static unsigned count_range(struct sop_store *s, const char *low, const char *high)
{
    struct sop_range_options o;
    struct sop_range *r = NULL;
    struct sop_view views[4];
    size_t n = 0;
    unsigned total = 0;
    sop_range_options_init(&o);
    o.low = text(low);
    o.high = text(high);
    OK(sop_range_open(&r, s, &o, &kit.err), kit.err);
    do {
        OK(sop_range_next(r, views, 4, &n, &kit.err), kit.err);
        total += (unsigned)n;
    } while (n > 0);
    sop_range_close(&r);
    return total;
}

START_TEST(phantom_in_a_range_is_refused)
{
    db_kit_put(&kit, "s", "b", "1");
    db_kit_put(&kit, "s", "d", "1");
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *sa = db_kit_open(&kit, a, "s");
    ck_assert_uint_eq(count_range(sa, "a", "e"), 2);
    db_kit_add(&kit, sa, "sum", "2");
    db_kit_put(&kit, "s", "c", "1");
    db_kit_conflicts(&kit, a);

    a = db_kit_begin(&kit, SOP_WRITE); /* outside the range: no conflict */
    sa = db_kit_open(&kit, a, "s");
    ck_assert_uint_eq(count_range(sa, "a", "e"), 3);
    db_kit_add(&kit, sa, "sum", "3");
    db_kit_put(&kit, "s", "x", "1");
    db_kit_commit(&kit, a);
}
END_TEST

START_TEST(phantom_over_a_split_is_refused)
{
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.slot_length = 2;
    db_kit_store(&kit, "tiny", &o);
    db_kit_put(&kit, "tiny", "b", "1");
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *sa = db_kit_open(&kit, a, "tiny");
    ck_assert_uint_eq(count_range(sa, "a", "z"), 1);
    ck_assert_ptr_null(db_kit_get(&kit, sa, "m"));
    db_kit_add(&kit, db_kit_open(&kit, a, "s"), "sum", "1");
    for (char c = 'c'; c < 'n'; c++) { /* m moves to another page on the way */
        char key[2] = {c, 0};
        db_kit_put(&kit, "tiny", key, "1");
    }
    db_kit_conflicts(&kit, a);
}
END_TEST

START_TEST(a_split_alone_is_no_conflict)
{
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.slot_length = 2;
    db_kit_store(&kit, "tiny", &o);
    db_kit_put(&kit, "tiny", "b", "1");
    db_kit_put(&kit, "tiny", "m", "1");
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *sa = db_kit_open(&kit, a, "tiny");
    ck_assert_str_eq(db_kit_get(&kit, sa, "m"), "1");
    ck_assert_uint_eq(count_range(sa, "l", "n"), 1);
    update(sa, "m", "2");
    for (char c = 'c'; c < 'l'; c++) {
        char key[2] = {c, 0};
        db_kit_put(&kit, "tiny", key, "1");
    }
    db_kit_commit(&kit, a);
    ck_assert_str_eq(db_kit_read(&kit, "tiny", "m"), "2");
}
END_TEST

START_TEST(read_skew_never_shows)
{
    db_kit_put(&kit, "s", "x", "old");
    db_kit_put(&kit, "s", "y", "old");
    struct sop_txn *r = db_kit_begin(&kit, SOP_READ);
    struct sop_store *sr = db_kit_open(&kit, r, "s");
    ck_assert_str_eq(db_kit_get(&kit, sr, "x"), "old");
    struct sop_txn *w = db_kit_begin(&kit, SOP_WRITE);
    update(db_kit_open(&kit, w, "s"), "x", "new");
    update(db_kit_open(&kit, w, "s"), "y", "new");
    db_kit_commit(&kit, w);
    ck_assert_str_eq(db_kit_get(&kit, sr, "y"), "old");
    db_kit_commit(&kit, r);
    ck_assert_str_eq(db_kit_read(&kit, "s", "y"), "new");
}
END_TEST

START_TEST(a_writer_with_skewed_reads_is_refused)
{
    db_kit_put(&kit, "s", "x", "old");
    db_kit_put(&kit, "s", "y", "old");
    struct sop_txn *r = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *sr = db_kit_open(&kit, r, "s");
    ck_assert_str_eq(db_kit_get(&kit, sr, "x"), "old");
    struct sop_txn *w = db_kit_begin(&kit, SOP_WRITE);
    update(db_kit_open(&kit, w, "s"), "x", "new");
    update(db_kit_open(&kit, w, "s"), "y", "new");
    db_kit_commit(&kit, w);
    ck_assert_str_eq(db_kit_get(&kit, sr, "y"), "old"); /* one state, though an old one */
    db_kit_add(&kit, sr, "sum", "old old");
    db_kit_conflicts(&kit, r);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), 2);
}
END_TEST

START_TEST(long_fork_never_shows)
{
    db_kit_put(&kit, "s", "x", "0");
    db_kit_put(&kit, "s", "y", "0");
    struct sop_txn *first = db_kit_begin(&kit, SOP_READ);
    db_kit_put(&kit, "s", "x", "1");
    struct sop_txn *second = db_kit_begin(&kit, SOP_READ);
    db_kit_put(&kit, "s", "y", "1");
    struct sop_txn *third = db_kit_begin(&kit, SOP_READ);
    struct sop_txn *all[] = {first, second, third};
    const char *const x[] = {"0", "1", "1"};
    const char *const y[] = {"0", "0", "1"};
    for (int i = 2; i >= 0; i--) { /* read in another order than begun */
        ck_assert_str_eq(db_kit_get(&kit, db_kit_open(&kit, all[i], "s"), "y"), y[i]);
        ck_assert_str_eq(db_kit_get(&kit, db_kit_open(&kit, all[i], "s"), "x"), x[i]);
        db_kit_commit(&kit, all[i]);
    }
}
END_TEST

/* Two that write down what they saw: in one order of x and y both cannot be right. */
START_TEST(a_long_fork_of_writers_is_refused)
{
    db_kit_put(&kit, "s", "x", "0");
    db_kit_put(&kit, "s", "y", "0");
    struct sop_txn *writes_x = db_kit_begin(&kit, SOP_WRITE);
    struct sop_txn *writes_y = db_kit_begin(&kit, SOP_WRITE);
    struct sop_txn *early = db_kit_begin(&kit, SOP_WRITE);
    update(db_kit_open(&kit, writes_x, "s"), "x", "1");
    update(db_kit_open(&kit, writes_y, "s"), "y", "1");
    db_kit_commit(&kit, writes_x);
    struct sop_txn *late = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, late, "s");
    ck_assert_str_eq(db_kit_get(&kit, s, "x"), "1");
    ck_assert_str_eq(db_kit_get(&kit, s, "y"), "0");
    db_kit_add(&kit, s, "late saw", "x");
    db_kit_commit(&kit, writes_y);
    s = db_kit_open(&kit, early, "s");
    ck_assert_str_eq(db_kit_get(&kit, s, "x"), "0");
    ck_assert_str_eq(db_kit_get(&kit, s, "y"), "0");
    db_kit_add(&kit, s, "early saw", "nothing");
    db_kit_conflicts(&kit, late);
    db_kit_conflicts(&kit, early);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), 2);
}
END_TEST

START_TEST(count_that_was_read_is_a_read_of_the_store)
{
    uint64_t items = 0;
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_store_count(db_kit_open(&kit, a, "s"), false, &items, &kit.err), kit.err);
    ck_assert_uint_eq(items, 0);
    db_kit_put(&kit, "s", "x", "1");
    db_kit_conflicts(&kit, a);
    a = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_store_count(db_kit_open(&kit, a, "s"), true, &items, &kit.err), kit.err);
    db_kit_add(&kit, db_kit_open(&kit, a, "s"), "mine", "1");
    db_kit_put(&kit, "s", "y", "1");
    db_kit_commit(&kit, a); /* only an estimate */
    ck_assert_uint_eq(db_kit_count(&kit, "s"), 3);
}
END_TEST

START_TEST(creation_of_one_store_by_two_second_fails)
{
    struct sop_store *s = NULL;
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_txn *b = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_store_create(&s, a, "new", NULL, &kit.err), kit.err);
    db_kit_add(&kit, s, "from", "a");
    OK(sop_store_create(&s, b, "new", NULL, &kit.err), kit.err);
    db_kit_add(&kit, s, "from", "b");
    db_kit_commit(&kit, a);
    db_kit_conflicts(&kit, b);
    ck_assert_str_eq(db_kit_read(&kit, "new", "from"), "a");
}
END_TEST

START_TEST(creator_rolls_back_while_others_commit)
{
    struct sop_store *s = NULL;
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_store_create(&s, a, "new", NULL, &kit.err), kit.err);
    db_kit_add(&kit, s, "k", "v");
    db_kit_put(&kit, "s", "x", "1");
    sop_txn_rollback(&a);
    db_kit_put(&kit, "s", "y", "1");
    a = db_kit_begin(&kit, SOP_READ);
    FAILS(NOT_FOUND, sop_store_open(&s, a, "new", &kit.err), kit.err);
    db_kit_commit(&kit, a);
    db_kit_reopen(&kit);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), 2);
    db_kit_store(&kit, "new", NULL);
    ck_assert_uint_eq(db_kit_count(&kit, "new"), 0);
}
END_TEST

START_TEST(store_removed_under_a_writer_is_a_conflict)
{
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    db_kit_add(&kit, db_kit_open(&kit, a, "s"), "x", "1");
    struct sop_txn *b = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_store_remove(b, "s", &kit.err), kit.err);
    db_kit_commit(&kit, b);
    db_kit_conflicts(&kit, a);
}
END_TEST

START_TEST(same_store_opened_twice_is_one)
{
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *one = db_kit_open(&kit, a, "s");
    struct sop_store *two = db_kit_open(&kit, a, "s");
    db_kit_add(&kit, one, "x", "1");
    ck_assert_str_eq(db_kit_get(&kit, two, "x"), "1");
    db_kit_commit(&kit, a);
    ck_assert_str_eq(db_kit_read(&kit, "s", "x"), "1");
}
END_TEST

START_TEST(duplicates_are_refused_or_kept_in_order)
{
    struct sop_store_options o;
    struct sop_view v;
    sop_store_options_init(&o);
    o.unique = false;
    db_kit_store(&kit, "many", &o);
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, a, "s");
    struct sop_store *many = db_kit_open(&kit, a, "many");
    struct sop_entry again = {.key = text("k"), .value = text("2")};
    db_kit_add(&kit, s, "k", "1");
    FAILS(EXISTS, sop_add(s, &again, &kit.err), kit.err);
    db_kit_add(&kit, many, "k", "1");
    db_kit_add(&kit, many, "k", "2");
    db_kit_add(&kit, many, "j", "0");
    db_kit_commit(&kit, a);
    a = db_kit_begin(&kit, SOP_WRITE);
    many = db_kit_open(&kit, a, "many");
    db_kit_add(&kit, many, "k", "3");
    struct sop_cursor *c = NULL;
    OK(sop_cursor_open(&c, many, &kit.err), kit.err);
    OK(sop_cursor_find(c, text("k"), &kit.err), kit.err);
    struct sop_item_id second = {{0}};
    for (char want = '1'; want <= '3'; want++) {
        OK(sop_cursor_item(c, &v, &kit.err), kit.err);
        ck_assert_uint_eq(v.value.len, 1);
        ck_assert_int_eq(v.value.data[0], want);
        second = want == '2' ? v.id : second;
        if (want < '3') {
            OK(sop_cursor_next(c, &kit.err), kit.err);
        }
    }
    FAILS(END, sop_cursor_next(c, &kit.err), kit.err);
    OK(sop_cursor_find_id(c, text("k"), &second, &kit.err), kit.err);
    OK(sop_cursor_remove(c, &kit.err), kit.err);
    OK(sop_cursor_next(c, &kit.err), kit.err);
    OK(sop_cursor_item(c, &v, &kit.err), kit.err);
    ck_assert_int_eq(v.value.data[0], '3');
    db_kit_commit(&kit, a);
    ck_assert_uint_eq(db_kit_count(&kit, "many"), 3);
}
END_TEST

START_TEST(key_only_update_leaves_the_value)
{
    struct sop_store_options o;
    struct sop_view v;
    static char big[100000];
    sop_store_options_init(&o);
    o.values = SOP_VALUES_MEDIUM;
    db_kit_store(&kit, "m", &o);
    memset(big, 'v', sizeof big);
    struct sop_entry e = {
        .key = text("k"), .ride = text("one"), .value = {(const uint8_t *)big, sizeof big}};
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_add(db_kit_open(&kit, a, "m"), &e, &kit.err), kit.err);
    db_kit_commit(&kit, a);
    a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_entry to = {.key = text("k"), .ride = text("two")};
    OK(sop_update_key(db_kit_open(&kit, a, "m"), text("k"), &to, &kit.err), kit.err);
    struct sop_entry moved = {.key = text("l")};
    OK(sop_update_key(db_kit_open(&kit, a, "m"), text("k"), &moved, &kit.err), kit.err);
    db_kit_commit(&kit, a);
    a = db_kit_begin(&kit, SOP_READ);
    FAILS(NOT_FOUND, sop_get(db_kit_open(&kit, a, "m"), text("k"), &v, &kit.err), kit.err);
    OK(sop_get(db_kit_open(&kit, a, "m"), text("l"), &v, &kit.err), kit.err);
    ck_assert_uint_eq(v.value.len, sizeof big);
    ck_assert_int_eq(memcmp(v.value.data, big, sizeof big), 0);
    ck_assert_uint_eq(v.ride.len, 3);
    ck_assert_int_eq(memcmp(v.ride.data, "two", 3), 0);
    db_kit_commit(&kit, a);
}
END_TEST

START_TEST(delete_does_not_fetch_the_value)
{
    struct sop_store_options o;
    struct sop_db_stats before = {.size = sizeof before};
    struct sop_db_stats after = {.size = sizeof after};
    static char big[300000];
    sop_store_options_init(&o);
    o.values = SOP_VALUES_BIG;
    db_kit_store(&kit, "b", &o);
    struct sop_entry e = {.key = text("k"), .value = {(const uint8_t *)big, sizeof big}};
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_add(db_kit_open(&kit, a, "b"), &e, &kit.err), kit.err);
    db_kit_commit(&kit, a);
    OK(sop_db_stats(kit.db, &before, &kit.err), kit.err);
    a = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_remove(db_kit_open(&kit, a, "b"), text("k"), &kit.err), kit.err);
    db_kit_commit(&kit, a);
    OK(sop_db_stats(kit.db, &after, &kit.err), kit.err);
    ck_assert_uint_eq(after.pack_bytes, before.pack_bytes); /* nothing written for it */
    ck_assert_uint_eq(before.pack_live_bytes - after.pack_live_bytes, sizeof big);
    ck_assert_uint_eq(db_kit_count(&kit, "b"), 0);
}
END_TEST

START_TEST(prepared_transaction_holds_what_it_needs)
{
    db_kit_put(&kit, "s", "x", "1");
    struct sop_txn *p = db_kit_begin(&kit, SOP_WRITE);
    ck_assert_str_eq(db_kit_get(&kit, db_kit_open(&kit, p, "s"), "x"), "1");
    db_kit_add(&kit, db_kit_open(&kit, p, "s"), "y", "p");
    OK(sop_txn_prepare(&p, &kit.err), kit.err);
    ck_assert_ptr_null(db_kit_read(&kit, "s", "y")); /* nothing visible yet */
    struct sop_txn *w = db_kit_begin(&kit, SOP_WRITE);
    update(db_kit_open(&kit, w, "s"), "x", "2"); /* p has read it */
    db_kit_conflicts(&kit, w);
    w = db_kit_begin(&kit, SOP_WRITE);
    db_kit_add(&kit, db_kit_open(&kit, w, "s"), "y", "w"); /* p will write it */
    db_kit_conflicts(&kit, w);
    db_kit_put(&kit, "s", "z", "free");
    db_kit_commit(&kit, p);
    ck_assert_str_eq(db_kit_read(&kit, "s", "y"), "p");

    p = db_kit_begin(&kit, SOP_WRITE);
    update(db_kit_open(&kit, p, "s"), "x", "never");
    OK(sop_txn_prepare(&p, &kit.err), kit.err);
    sop_txn_rollback(&p);
    db_kit_put(&kit, "s", "x", "3");
    db_kit_reopen(&kit);
    ck_assert_str_eq(db_kit_read(&kit, "s", "x"), "3");
    ck_assert_str_eq(db_kit_read(&kit, "s", "y"), "p");
}
END_TEST

START_TEST(snapshot_reads_its_state)
{
    struct sop_snapshot *snap = NULL;
    struct sop_txn_options o;
    struct sop_txn *r = NULL;
    db_kit_put(&kit, "s", "x", "1");
    OK(sop_snapshot_pin(&snap, kit.db, &kit.err), kit.err);
    for (int i = 0; i < 100; i++) {
        db_kit_put(&kit, "s", "x", "2");
        if (i % 30 == 0) {
            OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        }
    }
    OK(sop_db_compact(kit.db, &kit.err), kit.err);
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    o.at = snap;
    OK(sop_txn_begin(&r, kit.db, &o, &kit.err), kit.err);
    ck_assert_str_eq(db_kit_get(&kit, db_kit_open(&kit, r, "s"), "x"), "1");
    db_kit_commit(&kit, r);
    struct sop_db *db = kit.db;
    FAILS(BUSY, sop_db_close(&db, &kit.err), kit.err);
    sop_snapshot_release(&snap);
    ck_assert_str_eq(db_kit_read(&kit, "s", "x"), "2");
}
END_TEST

START_TEST(max_time_ends_a_transaction)
{
    struct sop_txn_options o;
    struct sop_txn *t = NULL;
    sop_txn_options_init(&o);
    o.max_time_ms = 1;
    OK(sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    db_kit_add(&kit, db_kit_open(&kit, t, "s"), "x", "1");
    for (int i = 0; i < 40; i++) { /* other commits take longer than a millisecond in all */
        db_kit_put(&kit, "s", "y", "1");
    }
    FAILS(TIMEOUT, sop_txn_commit(&t, NULL, &kit.err), kit.err);
    ck_assert_ptr_null(db_kit_read(&kit, "s", "x"));
}
END_TEST

static int tries;
static int bump(void *arg, struct sop_txn *t, struct sop_err *err)
{
    struct db_kit *k = arg;
    struct sop_store *s = NULL;
    (void)err;
    OK(sop_store_open(&s, t, "s", &k->err), k->err);
    (void)db_kit_get(k, s, "x");
    if (tries++ < 2) {
        db_kit_put(k, "s", "x", tries == 1 ? "first" : "second");
    }
    update(s, "x", "mine");
    return 0;
}

START_TEST(retry_helper_begins_again_after_conflicts)
{
    struct sop_commit done;
    db_kit_put(&kit, "s", "x", "0");
    tries = 0;
    OK(sop_txn_run(kit.db, NULL, 0, bump, &kit, &done, &kit.err), kit.err);
    ck_assert_int_eq(tries, 3);
    ck_assert_str_eq(db_kit_read(&kit, "s", "x"), "mine");
    enum sop_txn_outcome outcome;
    OK(sop_txn_status(kit.db, &done.id, &outcome, &kit.err), kit.err);
    ck_assert_int_ne(outcome, SOP_NOT_COMMITTED);
}
END_TEST

static int hooks_called;
static void hook(void *arg, bool committed, const struct sop_commit *result)
{
    hooks_called += committed ? 1 : 100;
    ck_assert(committed == (result != NULL));
    ck_assert_ptr_eq(arg, &hooks_called);
}

START_TEST(hooks_hear_of_the_end)
{
    hooks_called = 0;
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_txn_on_commit(t, hook, &hooks_called, &kit.err), kit.err);
    db_kit_add(&kit, db_kit_open(&kit, t, "s"), "x", "1");
    db_kit_commit(&kit, t);
    ck_assert_int_eq(hooks_called, 1);
    t = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_txn_on_commit(t, hook, &hooks_called, &kit.err), kit.err);
    sop_txn_rollback(&t);
    ck_assert_int_eq(hooks_called, 101);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("isolation");
    TCase *t = tcase_create("isolation");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, lost_update_is_refused);
    tcase_add_test(t, two_updates_of_one_item_second_fails);
    tcase_add_test(t, different_items_of_one_page_both_commit);
    tcase_add_test(t, reader_of_what_another_writes_fails_at_commit);
    tcase_add_test(t, write_skew_is_refused);
    tcase_add_test(t, absence_that_was_filled_is_refused);
    tcase_add_test(t, phantom_in_a_range_is_refused);
    tcase_add_test(t, phantom_over_a_split_is_refused);
    tcase_add_test(t, a_split_alone_is_no_conflict);
    tcase_add_test(t, read_skew_never_shows);
    tcase_add_test(t, a_writer_with_skewed_reads_is_refused);
    tcase_add_test(t, long_fork_never_shows);
    tcase_add_test(t, a_long_fork_of_writers_is_refused);
    tcase_add_test(t, count_that_was_read_is_a_read_of_the_store);
    tcase_add_test(t, creation_of_one_store_by_two_second_fails);
    tcase_add_test(t, creator_rolls_back_while_others_commit);
    tcase_add_test(t, store_removed_under_a_writer_is_a_conflict);
    tcase_add_test(t, same_store_opened_twice_is_one);
    tcase_add_test(t, duplicates_are_refused_or_kept_in_order);
    tcase_add_test(t, key_only_update_leaves_the_value);
    tcase_add_test(t, delete_does_not_fetch_the_value);
    tcase_add_test(t, prepared_transaction_holds_what_it_needs);
    tcase_add_test(t, snapshot_reads_its_state);
    tcase_add_test(t, max_time_ends_a_transaction);
    tcase_add_test(t, retry_helper_begins_again_after_conflicts);
    tcase_add_test(t, hooks_hear_of_the_end);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
