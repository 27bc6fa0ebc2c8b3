/* Cursors: every move, over the snapshot and over pending changes; a cursor with changes is
 * compared with a plain sorted array. Ranges: test_ranges.c. */
#include "tests/lib/api_kit.h"

static struct db_kit kit;

static void store_of(const char *name, bool unique, uint32_t slots)
{
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.unique = unique;
    o.slot_length = slots;
    db_kit_store(&kit, name, &o);
}

static void setup(void)
{
    db_kit_init(&kit);
    store_of("u", true, 4);
    store_of("d", false, 4);
}

static void teardown(void)
{
    db_kit_verify(&kit);
    db_kit_fini(&kit);
}

static struct sop_cursor *cursor(struct sop_store *s)
{
    struct sop_cursor *c = NULL;
    OK(sop_cursor_open(&c, s, &kit.err), kit.err);
    return c;
}

static void put_all(const char *store, const char *const *keys, size_t count)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, store);
    for (size_t i = 0; i < count; i++) {
        db_kit_add(&kit, s, keys[i], keys[i]);
    }
    db_kit_commit(&kit, t);
}

/* b, d, f, h, j, l, n in both stores: some leaves. */
static void seven(void)
{
    static const char *const keys[] = {"b", "d", "f", "h", "j", "l", "n"};
    put_all("u", keys, 7);
    put_all("d", keys, 7);
}

static void stands_on(struct sop_cursor *c, const char *key)
{
    struct sop_view v;
    OK(sop_cursor_item(c, &v, &kit.err), kit.err);
    IS(v.key, key);
    ck_assert(v.loaded);
}

static void stands_nowhere(struct sop_cursor *c)
{
    struct sop_view v;
    uint64_t at = 0;
    FAILS(NOT_FOUND, sop_cursor_key(c, &v, &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_cursor_item(c, &v, &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_cursor_next(c, &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_cursor_prev(c, &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_cursor_position(c, &at, &kit.err), kit.err);
}

/* Walks from the first to the last item, back, and to each position. */
static void sequence(struct sop_store *s, const char *want)
{
    char got[512] = "";
    struct sop_cursor *c = cursor(s);
    struct sop_view v;
    size_t n = 0;
    uint64_t at = 0;
    for (int rc = sop_cursor_first(c, &kit.err); rc == 0; rc = sop_cursor_next(c, &kit.err)) {
        OK(sop_cursor_position(c, &at, &kit.err), kit.err);
        ck_assert_uint_eq(at, n);
        OK(sop_cursor_key(c, &v, &kit.err), kit.err);
        ck_assert_uint_eq(v.key.len, 1);
        got[n++] = (char)v.key.data[0];
    }
    ck_assert_str_eq(got, want);
    for (int rc = sop_cursor_last(c, &kit.err); rc == 0; rc = sop_cursor_prev(c, &kit.err)) {
        OK(sop_cursor_key(c, &v, &kit.err), kit.err);
        ck_assert_uint_gt(n, 0);
        ck_assert_int_eq(v.key.data[0], want[--n]);
    }
    ck_assert_uint_eq(n, 0);
    for (size_t i = 0; i < strlen(want); i++) {
        char key[2] = {want[i], 0};
        OK(sop_cursor_seek(c, i, &kit.err), kit.err);
        stands_on(c, key);
    }
    FAILS(END, sop_cursor_seek(c, strlen(want), &kit.err), kit.err);
    FAILS(END, sop_cursor_seek(c, UINT64_MAX, &kit.err), kit.err);
    stands_nowhere(c);
    sop_cursor_close(&c);
}

static void remove_key(struct sop_store *s, const char *key)
{
    OK(sop_remove(s, text(key), &kit.err), kit.err);
}

/* ---- moves over the snapshot ---------------------------------------------------------------
 */

START_TEST(all_moves_over_a_snapshot)
{
    bool exact = true;
    seven();
    for (int i = 0; i < 2; i++) {
        struct sop_txn *t = db_kit_begin(&kit, i == 0 ? SOP_READ : SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, i == 0 ? "u" : "d");
        struct sop_cursor *c = cursor(s);
        stands_nowhere(c);
        sequence(s, "bdfhjln");
        OK(sop_cursor_find(c, text("h"), &kit.err), kit.err);
        stands_on(c, "h");
        OK(sop_cursor_next(c, &kit.err), kit.err);
        stands_on(c, "j");
        OK(sop_cursor_prev(c, &kit.err), kit.err);
        OK(sop_cursor_prev(c, &kit.err), kit.err);
        stands_on(c, "f");
        FAILS(NOT_FOUND, sop_cursor_find(c, text("g"), &kit.err), kit.err);
        stands_nowhere(c);
        OK(sop_cursor_find_near(c, text("g"), &exact, &kit.err), kit.err);
        ck_assert(!exact);
        stands_on(c, "h");
        OK(sop_cursor_prev(c, &kit.err), kit.err);
        stands_on(c, "f");
        OK(sop_cursor_find_near(c, text("h"), &exact, &kit.err), kit.err);
        ck_assert(exact);
        OK(sop_cursor_find_before(c, text("g"), &exact, &kit.err), kit.err);
        ck_assert(!exact);
        stands_on(c, "f");
        OK(sop_cursor_next(c, &kit.err), kit.err);
        stands_on(c, "h");
        OK(sop_cursor_find_before(c, text("h"), &exact, &kit.err), kit.err);
        ck_assert(exact);
        stands_on(c, "h");
        OK(sop_cursor_find_near(c, bytes(NULL, 0), &exact, &kit.err), kit.err);
        stands_on(c, "b");
        FAILS(END, sop_cursor_prev(c, &kit.err), kit.err);
        stands_nowhere(c);
        FAILS(END, sop_cursor_find_near(c, text("o"), &exact, &kit.err), kit.err);
        stands_nowhere(c);
        FAILS(END, sop_cursor_find_before(c, text("a"), &exact, &kit.err), kit.err);
        stands_nowhere(c);
        OK(sop_cursor_find_before(c, text("zz"), &exact, &kit.err), kit.err);
        stands_on(c, "n");
        FAILS(END, sop_cursor_next(c, &kit.err), kit.err);
        OK(sop_cursor_last(c, &kit.err), kit.err);
        stands_on(c, "n");
        sop_cursor_close(&c);
        sop_cursor_close(&c);
        db_kit_commit(&kit, t);
    }
}
END_TEST

START_TEST(an_empty_store_has_no_places)
{
    bool exact = false;
    struct sop_store *s = NULL;
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_store_create(&s, t, "fresh", NULL, &kit.err), kit.err);
    for (int i = 0; i < 3; i++) {
        if (i == 1) {
            s = db_kit_open(&kit, t, "u");
        }
        if (i == 2) { /* empty by own changes */
            db_kit_add(&kit, s, "k", "v");
            remove_key(s, "k");
        }
        struct sop_cursor *c = cursor(s);
        sequence(s, "");
        FAILS(END, sop_cursor_first(c, &kit.err), kit.err);
        FAILS(END, sop_cursor_last(c, &kit.err), kit.err);
        FAILS(NOT_FOUND, sop_cursor_find(c, text("k"), &kit.err), kit.err);
        FAILS(END, sop_cursor_find_near(c, text("k"), &exact, &kit.err), kit.err);
        FAILS(END, sop_cursor_find_before(c, text("k"), &exact, &kit.err), kit.err);
        FAILS(END, sop_cursor_seek(c, 0, &kit.err), kit.err);
        stands_nowhere(c);
    }
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(duplicates_have_ids)
{
    static const char *const keys[] = {"a", "k", "k", "k", "k", "k", "k", "z"};
    struct sop_item_id ids[6];
    struct sop_view v;
    bool exact = false;
    put_all("d", keys, 8);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "d");
    struct sop_cursor *c = cursor(s);
    OK(sop_cursor_find(c, text("k"), &kit.err), kit.err);
    for (int i = 0; i < 6; i++) {
        OK(sop_cursor_key(c, &v, &kit.err), kit.err);
        IS(v.key, "k");
        ids[i] = v.id;
        ck_assert(i == 0 || memcmp(&ids[i - 1], &ids[i], sizeof v.id) < 0);
        OK(sop_cursor_next(c, &kit.err), kit.err);
    }
    stands_on(c, "z");
    OK(sop_cursor_find_before(c, text("k"), &exact, &kit.err), kit.err); /* the last of them */
    ck_assert(exact);
    OK(sop_cursor_key(c, &v, &kit.err), kit.err);
    ck_assert_mem_eq(&v.id, &ids[5], sizeof v.id);
    OK(sop_cursor_find_id(c, text("k"), &ids[3], &kit.err), kit.err);
    OK(sop_cursor_remove(c, &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_cursor_find_id(c, text("k"), &ids[3], &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_cursor_find_id(c, text("a"), &ids[2], &kit.err), kit.err);
    stands_nowhere(c);
    OK(sop_cursor_find_id(c, text("k"), &ids[2], &kit.err), kit.err);
    OK(sop_cursor_update(c, text("second"), &kit.err), kit.err);
    OK(sop_cursor_item(c, &v, &kit.err), kit.err);
    IS(v.value, "second");
    ck_assert_mem_eq(&v.id, &ids[2], sizeof v.id); /* an update keeps it */
    OK(sop_cursor_next(c, &kit.err), kit.err);
    OK(sop_cursor_key(c, &v, &kit.err), kit.err);
    ck_assert_mem_eq(&v.id, &ids[4], sizeof v.id);
    struct sop_entry to = entry("b", "");
    OK(sop_cursor_update_key(c, &to, &kit.err), kit.err); /* the cursor goes with it */
    stands_on(c, "b");
    OK(sop_cursor_next(c, &kit.err), kit.err);
    OK(sop_cursor_key(c, &v, &kit.err), kit.err);
    ck_assert_mem_eq(&v.id, &ids[0], sizeof v.id);
    sequence(s, "abkkkkz");
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_READ);
    sequence(db_kit_open(&kit, t, "d"), "abkkkkz");
    c = cursor(db_kit_open(&kit, t, "u"));
    db_kit_commit(&kit, t);
    db_kit_put(&kit, "u", "x", "1");
    t = db_kit_begin(&kit, SOP_READ); /* in unique stores the id is zero */
    c = cursor(db_kit_open(&kit, t, "u"));
    memset(ids, 0, sizeof ids);
    OK(sop_cursor_find_id(c, text("x"), ids, &kit.err), kit.err);
    OK(sop_cursor_key(c, &v, &kit.err), kit.err);
    ck_assert_mem_eq(&v.id, ids, sizeof v.id);
    db_kit_commit(&kit, t);
}
END_TEST

/* ---- changes under a cursor ----------------------------------------------------------------
 */

START_TEST(a_removed_item_leaves_its_place)
{
    struct sop_view v;
    seven();
    for (int way = 0; way < 4; way++) { /* by cursor or by key, then forward or back */
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "u");
        struct sop_cursor *c = cursor(s);
        OK(sop_cursor_find(c, text("h"), &kit.err), kit.err);
        if (way % 2 == 0) {
            OK(sop_cursor_remove(c, &kit.err), kit.err);
            FAILS(NOT_FOUND, sop_cursor_remove(c, &kit.err), kit.err);
        } else {
            remove_key(s, "h");
        }
        FAILS(NOT_FOUND, sop_cursor_item(c, &v, &kit.err), kit.err);
        FAILS(NOT_FOUND, sop_cursor_key(c, &v, &kit.err), kit.err);
        FAILS(NOT_FOUND, sop_cursor_update(c, text("x"), &kit.err), kit.err);
        FAILS(NOT_FOUND, sop_cursor_remove(c, &kit.err), kit.err);
        struct sop_entry to = entry("q", "");
        FAILS(NOT_FOUND, sop_cursor_update_key(c, &to, &kit.err), kit.err);
        if (way == 1) { /* new neighbours are seen */
            db_kit_add(&kit, s, "i", "new");
            OK(sop_cursor_next(c, &kit.err), kit.err);
            stands_on(c, "i");
            OK(sop_cursor_prev(c, &kit.err), kit.err);
            stands_on(c, "f");
        } else if (way == 2) {
            OK(sop_cursor_prev(c, &kit.err), kit.err);
            stands_on(c, "f");
            OK(sop_cursor_next(c, &kit.err), kit.err);
            stands_on(c, "j");
        } else {
            OK(sop_cursor_next(c, &kit.err), kit.err);
            stands_on(c, "j");
        }
        sop_txn_rollback(&t);
    }
}
END_TEST

START_TEST(inserts_around_the_cursor_show)
{
    seven();
    for (int i = 0; i < 2; i++) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, i == 0 ? "u" : "d");
        struct sop_cursor *c = cursor(s);
        OK(sop_cursor_find(c, text("h"), &kit.err), kit.err);
        db_kit_add(&kit, s, "g", "g");
        db_kit_add(&kit, s, "i", "i");
        stands_on(c, "h");
        OK(sop_cursor_next(c, &kit.err), kit.err);
        stands_on(c, "i");
        OK(sop_cursor_next(c, &kit.err), kit.err);
        stands_on(c, "j");
        OK(sop_cursor_prev(c, &kit.err), kit.err);
        OK(sop_cursor_prev(c, &kit.err), kit.err);
        OK(sop_cursor_prev(c, &kit.err), kit.err);
        stands_on(c, "g");
        OK(sop_cursor_prev(c, &kit.err), kit.err);
        stands_on(c, "f");
        db_kit_add(&kit, s, "a", "a");
        db_kit_add(&kit, s, "z", "z");
        sequence(s, "abdfghijlnz");
        remove_key(s, "a");
        remove_key(s, "n");
        remove_key(s, "b");
        OK(sop_cursor_first(c, &kit.err), kit.err);
        stands_on(c, "d");
        remove_key(s, "g");
        sequence(s, "dfhijlz");
        sop_txn_rollback(&t);
    }
}
END_TEST

START_TEST(positions_see_blind_upserts)
{
    uint64_t at = 0;
    seven();
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    static const char *const upserts[] = {"a", "b", "c", "h", "z"}; /* b and h are there */
    for (int i = 0; i < 5; i++) {
        struct sop_entry e = entry(upserts[i], upserts[i]);
        OK(sop_upsert(s, &e, &kit.err), kit.err);
    }
    struct sop_cursor *c = cursor(s);
    OK(sop_cursor_seek(c, 3, &kit.err), kit.err);
    stands_on(c, "d");
    OK(sop_cursor_find(c, text("z"), &kit.err), kit.err);
    OK(sop_cursor_position(c, &at, &kit.err), kit.err);
    ck_assert_uint_eq(at, 9);
    remove_key(s, "b");
    sequence(s, "acdfhjlnz");
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_READ);
    sequence(db_kit_open(&kit, t, "u"), "acdfhjlnz");
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(seeking_near_removed_ends)
{
    seven();
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    remove_key(s, "l");
    remove_key(s, "n");
    sequence(s, "bdfhj");
    remove_key(s, "b");
    remove_key(s, "d");
    sequence(s, "fhj");
    remove_key(s, "f");
    remove_key(s, "h");
    remove_key(s, "j");
    sequence(s, "");
    db_kit_add(&kit, s, "m", "m");
    sequence(s, "m");
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(changes_at_the_cursor)
{
    struct sop_view v;
    seven();
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    struct sop_cursor *c = cursor(s);
    FAILS(NOT_FOUND, sop_cursor_update(c, text("x"), &kit.err), kit.err);
    OK(sop_cursor_find(c, text("d"), &kit.err), kit.err);
    OK(sop_cursor_update(c, text("dd"), &kit.err), kit.err);
    OK(sop_cursor_item(c, &v, &kit.err), kit.err);
    IS(v.value, "dd");
    struct sop_entry to = {.ride = text("ride")}; /* no key: the same */
    OK(sop_cursor_update_key(c, &to, &kit.err), kit.err);
    OK(sop_cursor_item(c, &v, &kit.err), kit.err);
    IS(v.key, "d");
    IS(v.ride, "ride");
    IS(v.value, "dd");
    to = entry("f", "");
    FAILS(EXISTS, sop_cursor_update_key(c, &to, &kit.err), kit.err);
    stands_on(c, "d");
    to = entry("k", "");
    OK(sop_cursor_update_key(c, &to, &kit.err), kit.err);
    OK(sop_cursor_item(c, &v, &kit.err), kit.err);
    IS(v.key, "k");
    IS(v.value, "dd");
    IS(v.ride, "ride");
    OK(sop_cursor_next(c, &kit.err), kit.err);
    stands_on(c, "l");
    sequence(s, "bfhjkln");
    db_kit_commit(&kit, t);
    ck_assert_str_eq(db_kit_read(&kit, "u", "k"), "dd");
}
END_TEST

START_TEST(views_of_a_cursor_are_its_arguments)
{
    struct sop_view v;
    bool exact = false;
    seven();
    for (int i = 0; i < 2; i++) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, i == 0 ? "u" : "d");
        struct sop_cursor *c = cursor(s);
        OK(sop_cursor_find(c, text("h"), &kit.err), kit.err);
        OK(sop_cursor_item(c, &v, &kit.err), kit.err);
        OK(sop_cursor_find(c, v.value, &kit.err), kit.err);
        OK(sop_cursor_item(c, &v, &kit.err), kit.err);
        OK(sop_cursor_find_near(c, v.key, &exact, &kit.err), kit.err);
        ck_assert(exact);
        OK(sop_cursor_item(c, &v, &kit.err), kit.err);
        OK(sop_cursor_find_before(c, v.key, &exact, &kit.err), kit.err);
        ck_assert(exact);
        OK(sop_cursor_item(c, &v, &kit.err), kit.err);
        OK(sop_cursor_find_id(c, v.key, &v.id, &kit.err), kit.err);
        OK(sop_cursor_item(c, &v, &kit.err), kit.err);
        OK(sop_cursor_update(c, v.key, &kit.err), kit.err);
        OK(sop_cursor_item(c, &v, &kit.err), kit.err);
        struct sop_entry e = {.key = v.key, .ride = v.value};
        OK(sop_cursor_update_key(c, &e, &kit.err), kit.err);
        OK(sop_cursor_item(c, &v, &kit.err), kit.err);
        IS(v.ride, "h");
        e = (struct sop_entry){.key = v.key, .ride = v.ride, .value = v.value};
        OK(sop_update(s, &e, &kit.err), kit.err);
        OK(sop_cursor_item(c, &v, &kit.err), kit.err);
        OK(sop_remove(s, v.key, &kit.err), kit.err);
        OK(sop_cursor_next(c, &kit.err), kit.err);
        stands_on(c, "j");
        db_kit_commit(&kit, t);
    }
}
END_TEST

START_TEST(cursors_of_closed_transactions_stores_and_null)
{
    struct sop_cursor *c = NULL;
    struct sop_view v;
    bool exact = false;
    uint64_t at = 0;
    struct sop_item_id id = {{0}};
    struct sop_entry e = entry("k", "v");
    FAILS(CLOSED, sop_cursor_open(&c, NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_first(NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_last(NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_next(NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_find(NULL, text("k"), &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_find_near(NULL, text("k"), &exact, &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_find_before(NULL, text("k"), &exact, &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_find_id(NULL, text("k"), &id, &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_seek(NULL, 0, &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_position(NULL, &at, &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_key(NULL, &v, &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_item(NULL, &v, &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_update(NULL, text("x"), &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_update_key(NULL, &e, &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_remove(NULL, &kit.err), kit.err);
    sop_cursor_close(NULL);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    c = cursor(db_kit_open(&kit, t, "u"));
    OK(sop_txn_prepare(&t, &kit.err), kit.err);
    FAILS(CLOSED, sop_cursor_first(c, &kit.err), kit.err);
    sop_cursor_close(&c);
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(a_cursor_without_snapshot_follows)
{
    seven();
    struct sop_view v;
    struct sop_txn *t = db_kit_begin(&kit, SOP_NO_CHECK);
    struct sop_store *s = db_kit_open(&kit, t, "u");
    struct sop_cursor *c = cursor(s);
    OK(sop_cursor_find(c, text("f"), &kit.err), kit.err);
    db_kit_put(&kit, "u", "g", "new");
    OK(sop_cursor_next(c, &kit.err), kit.err);
    stands_on(c, "g");
    db_kit_put(&kit, "u", "g", "newer");
    OK(sop_cursor_item(c, &v, &kit.err), kit.err);
    IS(v.value, "newer");
    struct sop_txn *w = db_kit_begin(&kit, SOP_WRITE);
    remove_key(db_kit_open(&kit, w, "u"), "g");
    db_kit_commit(&kit, w);
    FAILS(NOT_FOUND, sop_cursor_item(c, &v, &kit.err), kit.err);
    OK(sop_cursor_next(c, &kit.err), kit.err);
    stands_on(c, "h");
    db_kit_commit(&kit, t);
}
END_TEST

/* ---- against an array ----------------------------------------------------------------------
 */

#define KEYS 64
struct mirror {
    bool there[KEYS];
    int at; /* -1 nowhere */
};

static const char *key_of(int i)
{
    static char key[3];
    key[0] = (char)('A' + i / 8);
    key[1] = (char)('a' + i % 8);
    key[2] = 0;
    return key;
}

static int nearest(const struct mirror *m, int from, int by)
{
    int i = from;
    while (i >= 0 && i < KEYS && !m->there[i]) {
        i += by;
    }
    return i >= 0 && i < KEYS ? i : -1;
}

static uint64_t items_before(const struct mirror *m, int at)
{
    uint64_t n = 0;
    for (int i = 0; i < at; i++) {
        n += m->there[i];
    }
    return n;
}

static int at_rank(const struct mirror *m, uint64_t rank)
{
    for (int i = 0; i < KEYS; i++) {
        if (m->there[i] && rank-- == 0) {
            return i;
        }
    }
    return -1;
}

static void agree(struct sop_cursor *c, const struct mirror *m)
{
    struct sop_view v;
    if (m->at < 0) {
        FAILS(NOT_FOUND, sop_cursor_key(c, &v, &kit.err), kit.err);
    } else if (!m->there[m->at]) {
        FAILS(NOT_FOUND, sop_cursor_item(c, &v, &kit.err), kit.err);
    } else {
        uint64_t at = 0;
        OK(sop_cursor_item(c, &v, &kit.err), kit.err);
        IS(v.key, key_of(m->at));
        OK(sop_cursor_position(c, &at, &kit.err), kit.err);
        ck_assert_uint_eq(at, items_before(m, m->at));
    }
}

static void one_step(struct sop_store *s, struct sop_cursor *c, struct mirror *m, unsigned dice)
{
    int i = (int)(dice / 16 % KEYS);
    bool exact = false;
    struct sop_entry e = entry(key_of(i), "v");
    int rc = 0;
    int was = m->at;
    switch (dice % 12) {
    case 0:
    case 1:
        OK(sop_upsert(s, &e, &kit.err), kit.err);
        m->there[i] = true;
        return;
    case 2:
    case 3:
        rc = sop_remove(s, e.key, &kit.err);
        ck_assert_int_eq(rc, m->there[i] ? 0 : SOP_ERR_NOT_FOUND);
        m->there[i] = false;
        return;
    case 4:
        rc = sop_cursor_find_near(c, e.key, &exact, &kit.err);
        ck_assert(exact == (rc == 0 && m->there[i]));
        m->at = nearest(m, i, 1);
        break;
    case 5:
        rc = sop_cursor_find_before(c, e.key, &exact, &kit.err);
        ck_assert(exact == (rc == 0 && m->there[i]));
        m->at = nearest(m, i, -1);
        break;
    case 6:
        rc = sop_cursor_seek(c, (uint64_t)i, &kit.err);
        m->at = at_rank(m, (uint64_t)i);
        break;
    case 7:
        rc = sop_cursor_remove(c, &kit.err);
        ck_assert_int_eq(rc, was >= 0 && m->there[was] ? 0 : SOP_ERR_NOT_FOUND);
        if (was >= 0) {
            m->there[was] = false;
        }
        return;
    case 8:
    case 9:
        rc = sop_cursor_next(c, &kit.err);
        m->at = was < 0 ? -1 : nearest(m, was + 1, 1);
        break;
    default:
        rc = sop_cursor_prev(c, &kit.err);
        m->at = was < 0 ? -1 : nearest(m, was - 1, -1);
        break;
    }
    ck_assert_int_eq(rc == 0, m->at >= 0);
}

static bool check_duplicates; /* the same in a store that may have duplicates but has none */

static void upsert_as_update(struct sop_store *s)
{
    struct sop_store_info info;
    OK(sop_store_info(s, &info, &kit.err), kit.err);
    ck_assert_int_eq(info.options.unique, !check_duplicates);
}

START_TEST(random_walks_agree_with_an_array)
{
    uint32_t x = 12345u + (uint32_t)_i;
    struct mirror m = {.at = -1};
    check_duplicates = _i % 2 == 1;
    for (int round = 0; round < 12; round++) {
        struct mirror before = m;
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, check_duplicates ? "d" : "u");
        upsert_as_update(s);
        struct sop_cursor *c = cursor(s);
        m.at = -1;
        for (int i = 0; i < 150; i++) {
            x = x * 1664525u + 1013904223u;
            one_step(s, c, &m, x >> 12);
            agree(c, &m);
        }
        if (round % 3 == 2) {
            sop_txn_rollback(&t);
            m = before;
        } else {
            db_kit_commit(&kit, t);
        }
    }
    uint64_t items = items_before(&m, KEYS);
    ck_assert_uint_eq(db_kit_count(&kit, check_duplicates ? "d" : "u"), items);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cursors");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 300);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, all_moves_over_a_snapshot);
    tcase_add_test(all, an_empty_store_has_no_places);
    tcase_add_test(all, duplicates_have_ids);
    tcase_add_test(all, a_removed_item_leaves_its_place);
    tcase_add_test(all, inserts_around_the_cursor_show);
    tcase_add_test(all, positions_see_blind_upserts);
    tcase_add_test(all, seeking_near_removed_ends);
    tcase_add_test(all, changes_at_the_cursor);
    tcase_add_test(all, views_of_a_cursor_are_its_arguments);
    tcase_add_test(all, cursors_of_closed_transactions_stores_and_null);
    tcase_add_test(all, a_cursor_without_snapshot_follows);
    tcase_add_loop_test(all, random_walks_agree_with_an_array, 0, 6);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
