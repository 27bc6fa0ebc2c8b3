/* Items through the public API: every kind of change, keys and values of all sizes, views and
 * how long they live. Values in pieces: test_values.c. */
#include "tests/lib/api_kit.h"

static struct db_kit kit;

static void setup(void)
{
    struct sop_store_options o;
    db_kit_init(&kit);
    db_kit_store(&kit, "u", NULL);
    sop_store_options_init(&o);
    o.unique = false;
    db_kit_store(&kit, "d", &o);
}

static void teardown(void)
{
    db_kit_verify(&kit);
    db_kit_fini(&kit);
}

static void expect(struct sop_store *s, const char *key, const char *ride, const char *value)
{
    struct sop_view v;
    OK(sop_get(s, text(key), &v, &kit.err), kit.err);
    IS(v.key, key);
    IS(v.ride, ride);
    IS(v.value, value);
    ck_assert(v.loaded);
    ck_assert_uint_eq(v.value_bytes, strlen(value));
}

static void expect_none(struct sop_store *s, const char *key)
{
    struct sop_view v;
    FAILS(NOT_FOUND, sop_get(s, text(key), &v, &kit.err), kit.err);
}

static uint64_t count(struct sop_store *s)
{
    uint64_t exact = 0;
    uint64_t estimate = 0;
    OK(sop_store_count(s, true, &estimate, &kit.err), kit.err);
    OK(sop_store_count(s, false, &exact, &kit.err), kit.err);
    ck_assert_uint_eq(exact, estimate);
    return exact;
}

/* Runs `after` on the transaction's view, then on the committed state, then after a reopening.
 */
typedef void (*look_fn)(struct sop_store *s);
static void look_three_times(struct sop_txn *t, const char *store, look_fn look)
{
    look(db_kit_open(&kit, t, store));
    db_kit_commit(&kit, t);
    for (int i = 0; i < 2; i++) {
        t = db_kit_begin(&kit, SOP_READ);
        look(db_kit_open(&kit, t, store));
        db_kit_commit(&kit, t);
        db_kit_reopen(&kit);
    }
}

/* ---- unique stores -------------------------------------------------------------------------
 */

static void after_all_changes(struct sop_store *s)
{
    expect(s, "add", "r1", "1");
    expect(s, "absent", "", "1");
    expect(s, "upserted", "", "2");
    expect(s, "upserted-new", "r", "1");
    expect(s, "updated", "kept", "2");
    expect(s, "ridden", "new", "2");
    expect(s, "unridden", "", "2");
    expect_none(s, "removed");
    expect_none(s, "old key");
    expect(s, "new key", "its", "moved");
    expect(s, "rekeyed", "other", "same");
    ck_assert_uint_eq(count(s), 9);
}

START_TEST(every_change_of_a_unique_store)
{
    bool added = false;
    struct sop_entry e;
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    static const char *const before[] = {"upserted", "updated", "ridden", "unridden",
                                         "removed",  "old key", "rekeyed"};
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        e = entry(before[i], "1");
        e.ride = text("kept");
        OK(sop_add(s, &e, &kit.err), kit.err);
    }
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_WRITE);
    s = db_kit_open(&kit, t, "u");
    e = entry("add", "1");
    e.ride = text("r1");
    OK(sop_add(s, &e, &kit.err), kit.err);
    FAILS(EXISTS, sop_add(s, &e, &kit.err), kit.err);
    e = entry("absent", "1");
    OK(sop_add_if_absent(s, &e, &added, &kit.err), kit.err);
    ck_assert(added);
    e = entry("absent", "2");
    OK(sop_add_if_absent(s, &e, &added, &kit.err), kit.err);
    ck_assert(!added);
    e = entry("upserted", "2"); /* an upsert replaces all */
    OK(sop_upsert(s, &e, &kit.err), kit.err);
    e = entry("upserted-new", "1");
    e.ride = text("r");
    OK(sop_upsert(s, &e, &kit.err), kit.err);
    e = entry("updated", "2");
    OK(sop_update(s, &e, &kit.err), kit.err);
    e = entry("ridden", "2");
    e.ride = text("new");
    OK(sop_update(s, &e, &kit.err), kit.err);
    e = entry("unridden", "2");
    e.ride = text("");
    OK(sop_update(s, &e, &kit.err), kit.err);
    e = entry("nothing", "2");
    FAILS(NOT_FOUND, sop_update(s, &e, &kit.err), kit.err);
    OK(sop_remove(s, text("removed"), &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_remove(s, text("removed"), &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_remove(s, text("nothing"), &kit.err), kit.err);
    e = entry("removed", "2");
    FAILS(NOT_FOUND, sop_update(s, &e, &kit.err), kit.err);
    e = entry("old key", "moved");
    e.ride = text("its");
    OK(sop_update(s, &e, &kit.err), kit.err);
    e = entry("new key", "ignored");
    OK(sop_update_key(s, text("old key"), &e, &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_update_key(s, text("old key"), &e, &kit.err), kit.err);
    FAILS(EXISTS, sop_update_key(s, text("add"), &e, &kit.err), kit.err);
    e = entry("rekeyed", "same");
    OK(sop_update(s, &e, &kit.err), kit.err);
    e = entry("rekeyed", "ignored"); /* the same key: only the ride */
    e.ride = text("other");
    OK(sop_update_key(s, text("rekeyed"), &e, &kit.err), kit.err);
    look_three_times(t, "u", after_all_changes);
}
END_TEST

static void after_back_and_forth(struct sop_store *s)
{
    expect(s, "a", "", "3");
    expect_none(s, "b");
    expect(s, "c", "", "old");
    expect(s, "d", "", "again");
    ck_assert_uint_eq(count(s), 3);
}

START_TEST(own_changes_change_each_other)
{
    struct sop_entry e = entry("c", "old");
    db_kit_put(&kit, "u", "c", "old");
    db_kit_put(&kit, "u", "d", "old");
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    db_kit_add(&kit, s, "a", "1");
    OK(sop_remove(s, text("a"), &kit.err), kit.err);
    ck_assert_uint_eq(count(s), 2);
    db_kit_add(&kit, s, "a", "2");
    e = entry("a", "3");
    OK(sop_update(s, &e, &kit.err), kit.err);
    e = entry("b", "1");
    OK(sop_upsert(s, &e, &kit.err), kit.err);
    ck_assert_uint_eq(count(s), 4);
    OK(sop_remove(s, text("b"), &kit.err), kit.err);
    ck_assert_uint_eq(count(s), 3);
    e = entry("z", ""); /* away and back */
    OK(sop_update_key(s, text("c"), &e, &kit.err), kit.err);
    e = entry("c", "");
    OK(sop_update_key(s, text("z"), &e, &kit.err), kit.err);
    OK(sop_remove(s, text("d"), &kit.err), kit.err);
    e = entry("d", "again");
    OK(sop_upsert(s, &e, &kit.err), kit.err);
    look_three_times(t, "u", after_back_and_forth);
}
END_TEST

START_TEST(an_unlooked_upsert_counts_right)
{
    uint64_t items = 0;
    db_kit_put(&kit, "u", "there", "1");
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    struct sop_entry e = entry("there", "2");
    OK(sop_upsert(s, &e, &kit.err), kit.err);
    OK(sop_upsert(s, &e, &kit.err), kit.err);
    e = entry("new", "2");
    OK(sop_upsert(s, &e, &kit.err), kit.err);
    OK(sop_store_count(s, true, &items, &kit.err), kit.err);
    ck_assert_uint_eq(items, 2);
    OK(sop_remove(s, text("there"), &kit.err), kit.err);
    OK(sop_remove(s, text("new"), &kit.err), kit.err);
    OK(sop_store_count(s, true, &items, &kit.err), kit.err);
    ck_assert_uint_eq(items, 0);
    OK(sop_upsert(s, &e, &kit.err), kit.err);
    ck_assert_uint_eq(count(s), 1);
    db_kit_commit(&kit, t);
    ck_assert_uint_eq(db_kit_count(&kit, "u"), 1);
}
END_TEST

START_TEST(blind_upserts_of_two_do_not_conflict)
{
    struct sop_entry e = entry("k", "a");
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_txn *b = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_upsert(db_kit_open(&kit, a, "u"), &e, &kit.err), kit.err);
    e = entry("k", "b");
    OK(sop_upsert(db_kit_open(&kit, b, "u"), &e, &kit.err), kit.err);
    db_kit_commit(&kit, a);
    db_kit_commit(&kit, b);
    ck_assert_str_eq(db_kit_read(&kit, "u", "k"), "b");
    ck_assert_uint_eq(db_kit_count(&kit, "u"), 1);
}
END_TEST

START_TEST(a_refused_add_has_read_the_item)
{
    struct sop_entry e = entry("k", "2");
    bool added = true;
    db_kit_put(&kit, "u", "k", "1");
    for (int i = 0; i < 2; i++) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "u");
        if (i == 0) {
            FAILS(EXISTS, sop_add(s, &e, &kit.err), kit.err);
        } else {
            OK(sop_add_if_absent(s, &e, &added, &kit.err), kit.err);
            ck_assert(!added);
        }
        struct sop_txn *other = db_kit_begin(&kit, SOP_WRITE);
        OK(sop_remove(db_kit_open(&kit, other, "u"), text("k"), &kit.err), kit.err);
        db_kit_commit(&kit, other);
        db_kit_conflicts(&kit, t);
        db_kit_put(&kit, "u", "k", "1");
    }
}
END_TEST

/* ---- duplicates ----------------------------------------------------------------------------
 */

static void values_of(struct sop_store *s, const char *key, const char *want)
{
    char got[256] = "";
    struct sop_cursor *c = NULL;
    struct sop_view v;
    OK(sop_cursor_open(&c, s, &kit.err), kit.err);
    int rc = sop_cursor_find(c, text(key), &kit.err);
    while (rc == 0) {
        OK(sop_cursor_item(c, &v, &kit.err), kit.err);
        if (!is(v.key, key)) {
            break;
        }
        strncat(got, (const char *)v.value.data, v.value.len);
        rc = sop_cursor_next(c, &kit.err);
    }
    ck_assert(rc == 0 || rc == SOP_ERR_END || (rc == SOP_ERR_NOT_FOUND && got[0] == 0));
    sop_cursor_close(&c);
    ck_assert_str_eq(got, want);
}

static void after_duplicates(struct sop_store *s)
{
    values_of(s, "k", "Xcd"); /* a updated, b removed as the first, X in a's place */
    values_of(s, "once", "1");
    values_of(s, "moved", "m");
    values_of(s, "from", "n");
    values_of(s, "up", "2");
    values_of(s, "kk", "z");
    ck_assert_uint_eq(count(s), 8);
}

START_TEST(every_change_of_a_store_with_duplicates)
{
    bool added = false;
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "d");
    db_kit_add(&kit, s, "k", "a");
    db_kit_add(&kit, s, "k", "b");
    db_kit_add(&kit, s, "kk", "z");
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_WRITE);
    s = db_kit_open(&kit, t, "d");
    db_kit_add(&kit, s, "k", "c");
    db_kit_add(&kit, s, "k", "d");
    values_of(s, "k", "abcd");
    expect(s, "k", "", "a"); /* get gives the first */
    OK(sop_remove(s, text("k"), &kit.err), kit.err);
    struct sop_entry e = entry("k", "X");
    OK(sop_update(s, &e, &kit.err), kit.err);
    values_of(s, "k", "Xcd");
    e = entry("once", "1");
    OK(sop_add_if_absent(s, &e, &added, &kit.err), kit.err);
    ck_assert(added);
    OK(sop_add_if_absent(s, &e, &added, &kit.err), kit.err);
    ck_assert(!added);
    db_kit_add(&kit, s, "from", "m");
    db_kit_add(&kit, s, "from", "n");
    e = entry("moved", "");
    OK(sop_update_key(s, text("from"), &e, &kit.err), kit.err);
    e = entry("up", "1");
    OK(sop_upsert(s, &e, &kit.err), kit.err);
    e = entry("up", "2");
    OK(sop_upsert(s, &e, &kit.err), kit.err);
    e = entry("nothing", "1");
    FAILS(NOT_FOUND, sop_update(s, &e, &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_remove(s, text("nothing"), &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_update_key(s, text("nothing"), &e, &kit.err), kit.err);
    look_three_times(t, "d", after_duplicates);
}
END_TEST

START_TEST(a_moved_duplicate_becomes_the_last_of_its_key)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "d");
    db_kit_add(&kit, s, "a", "1");
    db_kit_add(&kit, s, "b", "2");
    db_kit_add(&kit, s, "b", "3");
    struct sop_entry e = entry("b", ""); /* an existing key is no obstacle here */
    OK(sop_update_key(s, text("a"), &e, &kit.err), kit.err);
    values_of(s, "b", "231");
    values_of(s, "a", "");
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(adders_of_duplicates_do_not_conflict)
{
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_txn *b = db_kit_begin(&kit, SOP_WRITE);
    db_kit_add(&kit, db_kit_open(&kit, a, "d"), "k", "a");
    db_kit_add(&kit, db_kit_open(&kit, b, "d"), "k", "b");
    db_kit_commit(&kit, b);
    db_kit_commit(&kit, a);
    ck_assert_uint_eq(db_kit_count(&kit, "d"), 2);
}
END_TEST

/* ---- sizes ---------------------------------------------------------------------------------
 */

START_TEST(keys_up_to_64_kib)
{
    static uint8_t key[65537];
    static const char *const stores[] = {"u", "d"};
    static const size_t lengths[] = {0, 1, 255, 256, 4096, 32768, 65511, 65535, 65536};
    for (unsigned fill = 0; fill < 3; fill++) { /* zeros are escaped in stores of duplicates */
        memset(key, fill == 0 ? 0 : fill == 1 ? 'k' : 0xff, sizeof key);
        for (int i = 0; i < 2; i++) {
            struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
            struct sop_store *s = db_kit_open(&kit, t, stores[i]);
            for (size_t k = fill == 0 ? 0 : 1; k < sizeof lengths / sizeof *lengths; k++) {
                struct sop_entry e = {.key = bytes(key, lengths[k]), .ride = bytes(key, 65536)};
                OK(sop_add(s, &e, &kit.err), kit.err);
            }
            struct sop_view v;
            struct sop_entry e = {.key = bytes(key, 65537)};
            FAILS(TOO_LARGE, sop_add(s, &e, &kit.err), kit.err);
            FAILS(TOO_LARGE, sop_get(s, e.key, &v, &kit.err), kit.err);
            e = (struct sop_entry){.key = text("r"), .ride = bytes(key, 65537)};
            FAILS(TOO_LARGE, sop_add(s, &e, &kit.err), kit.err);
            FAILS(TOO_LARGE, sop_update_key(s, bytes(key, 1), &e, &kit.err), kit.err);
            db_kit_commit(&kit, t);
        }
    }
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    db_kit_reopen(&kit);
    db_kit_verify(&kit);
    for (int i = 0; i < 2; i++) {
        struct sop_view v;
        struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
        struct sop_store *s = db_kit_open(&kit, t, stores[i]);
        ck_assert_uint_eq(count(s), 25);
        OK(sop_get(s, bytes(key, 65536), &v, &kit.err), kit.err);
        ck_assert_uint_eq(v.key.len, 65536);
        ck_assert_mem_eq(v.key.data, key, 65536);
        ck_assert_uint_eq(v.ride.len, 65536);
        OK(sop_get(s, bytes(NULL, 0), &v, &kit.err), kit.err);
        ck_assert_uint_eq(v.key.len, 0);
        db_kit_commit(&kit, t);
    }
}
END_TEST

static const size_t value_sizes[] = {0, 1, 16383, 16384, 16385, 65536, 1u << 20};

static void expect_sizes(struct sop_store *s, enum sop_value_class values)
{
    for (unsigned i = 0; i < sizeof value_sizes / sizeof *value_sizes; i++) {
        struct sop_view v;
        size_t len = value_sizes[i];
        uint8_t *want = filler(len, i + 1);
        OK(sop_get(s, text(numbered(i)), &v, &kit.err), kit.err);
        ck_assert_uint_eq(v.value_bytes, len);
        bool here = values != SOP_VALUES_BIG || len == 0;
        ck_assert_int_eq(v.loaded, here);
        ck_assert_uint_eq(v.value.len, here ? len : 0);
        if (here && len > 0) {
            ck_assert_mem_eq(v.value.data, want, len);
        }
        struct sop_cursor *c = NULL;
        struct sop_value_reader *r = NULL;
        uint8_t *got = malloc(len + 1);
        size_t n = 0;
        OK(sop_cursor_open(&c, s, &kit.err), kit.err);
        OK(sop_cursor_find(c, text(numbered(i)), &kit.err), kit.err);
        OK(sop_cursor_item(c, &v, &kit.err), kit.err);
        ck_assert_int_eq(v.loaded, here);
        OK(sop_cursor_key(c, &v, &kit.err), kit.err);
        ck_assert(!v.loaded && v.value.len == 0 && v.value_bytes == len);
        OK(sop_value_open(&r, c, &kit.err), kit.err);
        ck_assert_uint_eq(sop_value_size(r), len);
        OK(sop_value_read(r, 0, got, len + 1, &n, &kit.err), kit.err);
        ck_assert_uint_eq(n, len);
        ck_assert(len == 0 || memcmp(got, want, len) == 0);
        sop_value_close(&r);
        sop_cursor_close(&c);
        free(got);
        free(want);
    }
}

START_TEST(values_of_all_sizes_in_all_classes)
{
    for (int class = 0; class < 3; class ++) {
        struct sop_store_options o;
        struct sop_store *s = NULL;
        sop_store_options_init(&o);
        o.values = (enum sop_value_class) class;
        o.unique = class != 1;
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        OK(sop_store_create(&s, t, "values", &o, &kit.err), kit.err);
        for (unsigned i = 0; i < sizeof value_sizes / sizeof *value_sizes; i++) {
            uint8_t *value = filler(value_sizes[i], i + 1);
            struct sop_entry e = {.key = text(numbered(i)),
                                  .value = bytes(value, value_sizes[i])};
            OK(sop_add(s, &e, &kit.err), kit.err);
            free(value);
        }
        expect_sizes(s, o.values);
        db_kit_commit(&kit, t);
        for (int i = 0; i < 2; i++) {
            t = db_kit_begin(&kit, SOP_READ);
            expect_sizes(db_kit_open(&kit, t, "values"), o.values);
            db_kit_commit(&kit, t);
            OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
            db_kit_reopen(&kit);
        }
        db_kit_verify(&kit);
        t = db_kit_begin(&kit, SOP_WRITE);
        OK(sop_store_remove(t, "values", &kit.err), kit.err);
        db_kit_commit(&kit, t);
    }
}
END_TEST

START_TEST(a_value_over_1_gib_is_refused_unread)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    struct sop_entry e = entry("k", "v");
    struct sop_cursor *c = NULL;
    OK(sop_add(s, &e, &kit.err), kit.err);
    e.value.len = (1ull << 30) + 1; /* nobody may look that far */
    FAILS(TOO_LARGE, sop_upsert(s, &e, &kit.err), kit.err);
    FAILS(TOO_LARGE, sop_update(s, &e, &kit.err), kit.err);
    OK(sop_cursor_open(&c, s, &kit.err), kit.err);
    OK(sop_cursor_first(c, &kit.err), kit.err);
    FAILS(TOO_LARGE, sop_cursor_update(c, e.value, &kit.err), kit.err);
    expect(s, "k", "", "v");
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(replaced_values_give_their_space_back)
{
    struct sop_db_stats s0 = stats_of(&kit);
    uint8_t *big = filler(1u << 20, 7);
    struct sop_entry e = {.key = text("k"), .value = bytes(big, 1u << 20)};
    for (int i = 0; i < 8; i++) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "u");
        big[0] = (uint8_t)i;
        OK(i % 2 == 0 ? sop_upsert(s, &e, &kit.err) : sop_update(s, &e, &kit.err), kit.err);
        if (i % 3 == 0) { /* written twice in one transaction */
            OK(sop_upsert(s, &e, &kit.err), kit.err);
        }
        db_kit_commit(&kit, t);
        t = db_kit_begin(&kit, SOP_WRITE); /* and never committed */
        OK(sop_upsert(db_kit_open(&kit, t, "u"), &e, &kit.err), kit.err);
        sop_txn_rollback(&t);
    }
    free(big);
    ck_assert_uint_lt(stats_of(&kit).pack_live_bytes - s0.pack_live_bytes, 3u << 20);
    for (int i = 0; i < 3; i++) {
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        OK(sop_db_compact(kit.db, &kit.err), kit.err);
    }
    ck_assert_uint_lt(stats_of(&kit).pack_bytes, 4u << 20);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_remove(db_kit_open(&kit, t, "u"), text("k"), &kit.err), kit.err);
    db_kit_commit(&kit, t);
    ck_assert_uint_lt(stats_of(&kit).pack_live_bytes, s0.pack_live_bytes + (1u << 20));
}
END_TEST

/* ---- typed keys ----------------------------------------------------------------------------
 */

START_TEST(keys_of_the_wrong_type_are_refused)
{
    struct sop_store_options o;
    struct sop_store *s = NULL;
    struct sop_view v;
    struct sop_cursor *c = NULL;
    struct sop_value_writer *w = NULL;
    bool found = false;
    sop_store_options_init(&o);
    OK(sop_key_schema_parse(&o.key, "int64", &kit.err), kit.err);
    for (int unique = 0; unique < 2; unique++) {
        o.unique = unique != 0;
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        OK(sop_store_create(&s, t, unique ? "t1" : "t2", &o, &kit.err), kit.err);
        struct sop_entry e = entry("7 bytes", "v");
        FAILS(WRONG_TYPE, sop_add(s, &e, &kit.err), kit.err);
        FAILS(WRONG_TYPE, sop_upsert(s, &e, &kit.err), kit.err);
        FAILS(WRONG_TYPE, sop_update(s, &e, &kit.err), kit.err);
        FAILS(WRONG_TYPE, sop_add_if_absent(s, &e, &found, &kit.err), kit.err);
        FAILS(WRONG_TYPE, sop_remove(s, e.key, &kit.err), kit.err);
        FAILS(WRONG_TYPE, sop_get(s, e.key, &v, &kit.err), kit.err);
        FAILS(WRONG_TYPE, sop_get_many(s, &e.key, 1, &v, &found, &kit.err), kit.err);
        FAILS(WRONG_TYPE, sop_value_create(&w, s, SOP_PUT_ADD, &e, &kit.err), kit.err);
        OK(sop_cursor_open(&c, s, &kit.err), kit.err);
        FAILS(WRONG_TYPE, sop_cursor_find(c, e.key, &kit.err), kit.err);
        FAILS(WRONG_TYPE, sop_cursor_find_near(c, e.key, &found, &kit.err), kit.err);
        FAILS(WRONG_TYPE, sop_cursor_find_before(c, e.key, &found, &kit.err), kit.err);
        FAILS(WRONG_TYPE, sop_cursor_find_id(c, e.key, &v.id, &kit.err), kit.err);
        OK(sop_add(s, &(struct sop_entry){.key = text("8 bytes!")}, &kit.err), kit.err);
        FAILS(WRONG_TYPE, sop_update_key(s, text("8 bytes!"), &e, &kit.err), kit.err);
        ck_assert_uint_eq(count(s), 1);
        db_kit_commit(&kit, t);
    }
}
END_TEST

/* ---- batches -------------------------------------------------------------------------------
 */

START_TEST(get_many_answers_each_key)
{
    struct sop_slice keys[6] = {text("c"), text("a"),   text("none"),
                                text("a"), text("big"), text("pending")};
    struct sop_view views[6];
    bool found[6];
    uint8_t *big = filler(200000, 3);
    db_kit_put(&kit, "u", "a", "1");
    db_kit_put(&kit, "u", "c", "3");
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    struct sop_entry e = {.key = text("big"), .value = bytes(big, 200000)};
    OK(sop_add(s, &e, &kit.err), kit.err);
    db_kit_add(&kit, s, "pending", "p");
    OK(sop_get_many(s, keys, 6, views, found, &kit.err), kit.err);
    ck_assert(found[0] && found[1] && !found[2] && found[3] && found[4] && found[5]);
    IS(views[0].value, "3");
    IS(views[1].value, "1");
    IS(views[3].value, "1");
    IS(views[3].key, "a");
    IS(views[5].value, "p");
    ck_assert_uint_eq(views[4].value.len, 200000);
    ck_assert_mem_eq(views[4].value.data, big, 200000);
    OK(sop_get_many(s, keys, 0, views, found, &kit.err), kit.err);
    db_kit_commit(&kit, t);
    free(big);
    t = db_kit_begin(&kit, SOP_WRITE); /* absences count as read */
    OK(sop_get_many(db_kit_open(&kit, t, "u"), keys + 2, 1, views, found, &kit.err), kit.err);
    db_kit_put(&kit, "u", "none", "now");
    db_kit_conflicts(&kit, t);
    t = db_kit_begin(&kit, SOP_WRITE);
    s = db_kit_open(&kit, t, "d");
    db_kit_add(&kit, s, "c", "first");
    db_kit_add(&kit, s, "c", "second");
    OK(sop_get_many(s, keys, 3, views, found, &kit.err), kit.err);
    ck_assert(found[0] && !found[1] && !found[2]);
    IS(views[0].value, "first");
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(add_many_stops_at_the_first_error)
{
    struct sop_entry e[4] = {entry("a", "1"), entry("b", "2"), entry("a", "3"),
                             entry("c", "4")};
    size_t done = 9;
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    FAILS(EXISTS, sop_add_many(s, e, 4, &done, &kit.err), kit.err);
    ck_assert_uint_eq(done, 2);
    expect_none(s, "c");
    OK(sop_add_many(s, e + 3, 1, &done, &kit.err), kit.err);
    ck_assert_uint_eq(done, 1);
    OK(sop_add_many(s, e, 0, &done, &kit.err), kit.err);
    ck_assert_uint_eq(done, 0);
    s = db_kit_open(&kit, t, "d");
    OK(sop_add_many(s, e, 4, &done, &kit.err), kit.err);
    ck_assert_uint_eq(done, 4);
    values_of(s, "a", "13");
    db_kit_commit(&kit, t);
}
END_TEST

/* ---- lifetimes -----------------------------------------------------------------------------
 */

START_TEST(views_are_arguments_of_the_next_call)
{
    struct sop_view v;
    struct sop_view many[2];
    bool found[2];
    for (int i = 0; i < 2; i++) {
        const char *store = i == 0 ? "u" : "d";
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, store);
        db_kit_add(&kit, s, "a", "b");
        db_kit_add(&kit, s, "b", "c");
        db_kit_add(&kit, s, "c", "a");
        for (unsigned k = 0; k < 300; k++) {
            db_kit_add(&kit, s, numbered(k), "filler");
        }
        db_kit_commit(&kit, t);
        t = db_kit_begin(&kit, SOP_WRITE);
        s = db_kit_open(&kit, t, store);
        OK(sop_get(s, text("a"), &v, &kit.err), kit.err);
        for (int k = 0; k < 7; k++) { /* a -> b -> c -> a ... */
            OK(sop_get(s, v.value, &v, &kit.err), kit.err);
        }
        IS(v.key, "b");
        struct sop_slice keys[2] = {v.key, v.value};
        OK(sop_get_many(s, keys, 2, many, found, &kit.err), kit.err);
        ck_assert(found[0] && found[1]);
        IS(many[0].value, "c");
        IS(many[1].value, "a");
        struct sop_entry e = {.key = many[0].key, .ride = many[1].key, .value = many[1].value};
        OK(sop_update(s, &e, &kit.err), kit.err);
        expect(s, "b", "c", "a");
        OK(sop_get(s, text("b"), &v, &kit.err), kit.err);
        e = (struct sop_entry){.key = text("x"), .ride = v.value, .value = v.key};
        OK(sop_update_key(s, v.key, &e, &kit.err), kit.err);
        expect(s, "x", "a", "a");
        OK(sop_get(s, text("x"), &v, &kit.err), kit.err);
        OK(sop_remove(s, v.key, &kit.err), kit.err);
        expect_none(s, "x");
        db_kit_commit(&kit, t);
    }
}
END_TEST

START_TEST(a_view_lives_until_the_next_get)
{
    struct sop_view v;
    db_kit_put(&kit, "u", "k", "before");
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    struct sop_entry e = entry("k", "after");
    OK(sop_get(s, text("k"), &v, &kit.err), kit.err);
    for (int i = 0; i < 4; i++) {
        db_kit_put(&kit, "d", "k", "elsewhere");
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    }
    IS(v.value, "before");
    db_kit_add(&kit, db_kit_open(&kit, t, "d"), "x", "y");
    IS(v.value, "before");
    OK(sop_update(s, &e, &kit.err), kit.err);
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(readers_change_no_items)
{
    bool added = false;
    size_t done = 0;
    struct sop_entry e = entry("k", "v");
    struct sop_value_writer *w = NULL;
    struct sop_cursor *c = NULL;
    db_kit_put(&kit, "u", "k", "v");
    for (int mode = SOP_READ; mode <= SOP_NO_CHECK; mode++) {
        struct sop_txn *t = db_kit_begin(&kit, (enum sop_txn_mode)mode);
        struct sop_store *s = db_kit_open(&kit, t, "u");
        FAILS(READ_ONLY, sop_add(s, &e, &kit.err), kit.err);
        FAILS(READ_ONLY, sop_add_if_absent(s, &e, &added, &kit.err), kit.err);
        FAILS(READ_ONLY, sop_upsert(s, &e, &kit.err), kit.err);
        FAILS(READ_ONLY, sop_update(s, &e, &kit.err), kit.err);
        FAILS(READ_ONLY, sop_update_key(s, e.key, &e, &kit.err), kit.err);
        FAILS(READ_ONLY, sop_remove(s, e.key, &kit.err), kit.err);
        FAILS(READ_ONLY, sop_add_many(s, &e, 1, &done, &kit.err), kit.err);
        FAILS(READ_ONLY, sop_value_create(&w, s, SOP_PUT_ADD, &e, &kit.err), kit.err);
        OK(sop_cursor_open(&c, s, &kit.err), kit.err);
        OK(sop_cursor_first(c, &kit.err), kit.err);
        FAILS(READ_ONLY, sop_cursor_update(c, e.value, &kit.err), kit.err);
        FAILS(READ_ONLY, sop_cursor_update_key(c, &e, &kit.err), kit.err);
        FAILS(READ_ONLY, sop_cursor_remove(c, &kit.err), kit.err);
        db_kit_commit(&kit, t);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("items");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 300);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, every_change_of_a_unique_store);
    tcase_add_test(all, own_changes_change_each_other);
    tcase_add_test(all, an_unlooked_upsert_counts_right);
    tcase_add_test(all, blind_upserts_of_two_do_not_conflict);
    tcase_add_test(all, a_refused_add_has_read_the_item);
    tcase_add_test(all, every_change_of_a_store_with_duplicates);
    tcase_add_test(all, a_moved_duplicate_becomes_the_last_of_its_key);
    tcase_add_test(all, adders_of_duplicates_do_not_conflict);
    tcase_add_test(all, keys_up_to_64_kib);
    tcase_add_test(all, values_of_all_sizes_in_all_classes);
    tcase_add_test(all, a_value_over_1_gib_is_refused_unread);
    tcase_add_test(all, replaced_values_give_their_space_back);
    tcase_add_test(all, keys_of_the_wrong_type_are_refused);
    tcase_add_test(all, get_many_answers_each_key);
    tcase_add_test(all, add_many_stops_at_the_first_error);
    tcase_add_test(all, views_are_arguments_of_the_next_call);
    tcase_add_test(all, a_view_lives_until_the_next_get);
    tcase_add_test(all, readers_change_no_items);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
