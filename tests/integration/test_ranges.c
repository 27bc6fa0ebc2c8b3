/* Ranges: bounds, prefixes, directions and batches over every kind of key; stores with a
 * comparer; what a range has read. Each walk is compared with a filter over all keys. */
#include "tests/lib/api_kit.h"

#include <ctype.h>

static struct db_kit kit;

/* Without regard to case; bytes otherwise. */
static int fold(void *arg, struct sop_slice a, struct sop_slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    ck_assert_str_eq(arg, "arg");
    ck_assert(a.len > 0 && b.len > 0); /* empty keys are never shown to a comparer */
    for (size_t i = 0; i < n; i++) {
        int x = tolower(a.data[i]);
        int y = tolower(b.data[i]);
        if (x != y) {
            return x < y ? -1 : 1;
        }
    }
    return (a.len > b.len) - (a.len < b.len);
}

static char fold_arg[] = "arg";
static struct sop_comparer comparers[] = {{"fold", fold, fold_arg}};

static void open_with_comparers(bool create)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = create;
    o.comparers = comparers;
    o.comparers_count = 1;
    OK(sop_db_open(&kit.db, kit.dir.path, &o, &kit.err), kit.err);
}

static void setup(void)
{
    memset(&kit, 0, sizeof kit);
    tmpdir_init(&kit.dir);
    open_with_comparers(true);
}

static void teardown(void)
{
    db_kit_verify(&kit);
    db_kit_fini(&kit);
}

static void reopen(void)
{
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    open_with_comparers(false);
}

/* ---- raw keys ------------------------------------------------------------------------------
 */

#define BAR "|"
struct wanted {
    const char *low, *high; /* NULL = none */
    bool low_open, high_closed, prefix;
    const char *keys; /* ascending, each followed by a bar */
};

static void reversed(const char *keys, char *to)
{
    const char *end = keys + strlen(keys);
    *to = 0;
    while (end > keys) {
        const char *begin = end - 1;
        while (begin > keys && begin[-1] != '|') {
            begin--;
        }
        strncat(to, begin, (size_t)(end - begin));
        end = begin;
    }
}

static void append(char *to, struct sop_slice s)
{
    if (s.len > 0) {
        strncat(to, (const char *)s.data, s.len);
    }
    strncat(to, BAR, 2);
}

static void walk(struct sop_store *s, const struct sop_range_options *o, size_t max,
                 const char *want)
{
    char got[1024] = "";
    struct sop_range *r = NULL;
    struct sop_view views[300];
    size_t n = 0;
    OK(sop_range_open(&r, s, o, &kit.err), kit.err);
    do {
        OK(sop_range_next(r, views, max, &n, &kit.err), kit.err);
        ck_assert_uint_le(n, max);
        for (size_t i = 0; i < n; i++) {
            append(got, views[i].key);
            ck_assert(views[i].loaded && views[i].value.len == views[i].key.len);
            ck_assert(views[i].key.len == 0 ||
                      memcmp(views[i].value.data, views[i].key.data, views[i].key.len) == 0);
        }
    } while (n > 0);
    OK(sop_range_next(r, views, max, &n, &kit.err), kit.err); /* stays at the end */
    ck_assert_uint_eq(n, 0);
    sop_range_close(&r);
    sop_range_close(&r);
    ck_assert_str_eq(got, want);
}

static void check(struct sop_store *s, const struct wanted *w)
{
    char back[1024];
    struct sop_range_options o;
    sop_range_options_init(&o);
    o.low = w->low != NULL ? text(w->low) : o.low;
    o.high = w->high != NULL ? text(w->high) : o.high;
    o.low_open = w->low_open;
    o.high_closed = w->high_closed;
    o.prefix = w->prefix;
    reversed(w->keys, back);
    static const size_t batches[] = {1, 2, 3, 256, 300};
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        o.reverse = false;
        walk(s, &o, batches[i], w->keys);
        o.reverse = true;
        walk(s, &o, batches[i], back);
    }
}

static const char *const raw_keys[] = {"",      "a",         "ab", "abc",  "abd",     "b",
                                       "b\xff", "b\xff\xff", "c",  "\xff", "\xff\xff"};
#define ALL "|a|ab|abc|abd|b|b\xff|b\xff\xff|c|\xff|\xff\xff|"
static const struct wanted raw_wanted[] = {
    {.keys = ALL},
    {.low = "", .keys = ALL},
    {.low = "", .low_open = true, .keys = &ALL[1]},
    {.low = "ab", .keys = "ab|abc|abd|b|b\xff|b\xff\xff|c|\xff|\xff\xff|"},
    {.low = "ab", .low_open = true, .keys = "abc|abd|b|b\xff|b\xff\xff|c|\xff|\xff\xff|"},
    {.low = "aa", .low_open = true, .high = "b", .keys = "ab|abc|abd|"},
    {.low = "aa", .high = "b", .high_closed = true, .keys = "ab|abc|abd|b|"},
    {.high = "ab", .keys = "|a|"},
    {.high = "ab", .high_closed = true, .keys = "|a|ab|"},
    {.high = "", .keys = ""},
    {.high = "", .high_closed = true, .keys = "|"},
    {.low = "b", .high = "a", .keys = ""},
    {.low = "b", .high = "b", .keys = ""},
    {.low = "b", .high = "b", .high_closed = true, .keys = "b|"},
    {.low = "b", .high = "b", .low_open = true, .high_closed = true, .keys = ""},
    {.low = "ab", .prefix = true, .keys = "ab|abc|abd|"},
    {.low = "ab", .prefix = true, .low_open = true, .high = "aba", .keys = "ab|abc|abd|"},
    {.low = "", .prefix = true, .keys = ALL},
    {.prefix = true, .keys = ALL},
    {.low = "b\xff", .prefix = true, .keys = "b\xff|b\xff\xff|"},
    {.low = "\xff", .prefix = true, .keys = "\xff|\xff\xff|"},
    {.low = "x", .prefix = true, .keys = ""},
    {.low = "\xff\xff", .low_open = true, .keys = ""},
};

static void fill(struct sop_store *s, size_t from, size_t by)
{
    for (size_t i = from; i < sizeof raw_keys / sizeof *raw_keys; i += by) {
        db_kit_add(&kit, s, raw_keys[i], raw_keys[i]);
    }
}

START_TEST(raw_bounds)
{
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.unique = _i % 2 == 0;
    o.slot_length = _i < 2 ? 2 : 2000;
    db_kit_store(&kit, "s", &o);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    fill(s, 0, 2); /* half of them are pending, then committed */
    db_kit_add(&kit, s, "aaa", "gone");
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_WRITE);
    s = db_kit_open(&kit, t, "s");
    fill(s, 1, 2);
    OK(sop_remove(s, text("aaa"), &kit.err), kit.err);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof raw_wanted / sizeof *raw_wanted; i++) {
            check(s, &raw_wanted[i]);
        }
        walk(s, NULL, 7, ALL);
        db_kit_commit(&kit, t);
        if (round == 1) {
            OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
            reopen();
        }
        t = db_kit_begin(&kit, round == 0 ? SOP_READ : SOP_WRITE);
        s = db_kit_open(&kit, t, "s");
    }
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(wrong_calls_are_refused)
{
    struct sop_range_options o;
    struct sop_range *r = NULL;
    struct sop_view v;
    size_t n = 1;
    db_kit_store(&kit, "s", NULL);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    sop_range_options_init(&o);
    o.size = 1;
    FAILS(INVALID, sop_range_open(&r, s, &o, &kit.err), kit.err);
    FAILS(CLOSED, sop_range_open(&r, NULL, NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_range_next(NULL, &v, 1, &n, &kit.err), kit.err);
    ck_assert_uint_eq(n, 0);
    sop_range_close(NULL);
    db_kit_add(&kit, s, "k", "v");
    OK(sop_range_open(&r, s, NULL, &kit.err), kit.err);
    OK(sop_range_next(r, &v, 0, &n, &kit.err), kit.err); /* no room is not the end */
    ck_assert_uint_eq(n, 0);
    OK(sop_range_next(r, &v, 1, &n, &kit.err), kit.err);
    ck_assert_uint_eq(n, 1);
    OK(sop_txn_prepare(&t, &kit.err), kit.err);
    FAILS(CLOSED, sop_range_next(r, &v, 1, &n, &kit.err), kit.err);
    db_kit_commit(&kit, t);
}
END_TEST

/* ---- large ranges, changes on the way ------------------------------------------------------
 */

static void fill_numbered(const char *store, unsigned from, unsigned to, unsigned by,
                          size_t len)
{
    uint8_t *value = filler(len, 1);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, store);
    for (unsigned i = from; i < to; i += by) {
        struct sop_entry e = {
            .key = text(numbered(i)), .ride = text("r"), .value = bytes(value, len)};
        OK(sop_add(s, &e, &kit.err), kit.err);
    }
    db_kit_commit(&kit, t);
    free(value);
}

START_TEST(views_of_a_batch_live_together)
{
    struct sop_store_options so;
    struct sop_range_options o;
    sop_store_options_init(&so);
    so.slot_length = 100;
    so.values = (enum sop_value_class)(_i % 3);
    so.unique = _i < 3;
    db_kit_store(&kit, "s", &so);
    fill_numbered("s", 0, 1000, 1, 300);
    sop_range_options_init(&o);
    for (int way = 0; way < 4; way++) {
        struct sop_view views[256];
        struct sop_range *r = NULL;
        size_t n = 0;
        unsigned seen = 0;
        struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
        o.reverse = way % 2 == 1;
        o.keys_only = way >= 2;
        OK(sop_range_open(&r, db_kit_open(&kit, t, "s"), &o, &kit.err), kit.err);
        bool loaded =
            so.values == SOP_VALUES_SMALL || (so.values == SOP_VALUES_MEDIUM && !o.keys_only);
        do {
            OK(sop_range_next(r, views, 256, &n, &kit.err), kit.err);
            for (size_t i = 0; i < n; i++, seen++) {
                const char *key = numbered(o.reverse ? 999 - seen : seen);
                IS(views[i].key, key);
                IS(views[i].ride, "r");
                ck_assert_int_eq(views[i].loaded, loaded);
                ck_assert_uint_eq(views[i].value_bytes, 300);
                ck_assert_uint_eq(views[i].value.len, loaded ? 300 : 0);
            }
        } while (n > 0);
        ck_assert_uint_eq(seen, 1000);
        db_kit_commit(&kit, t); /* the range is closed with it */
    }
}
END_TEST

START_TEST(changes_on_the_way_are_seen)
{
    struct sop_store_options so;
    struct sop_range *r = NULL;
    struct sop_view views[10];
    size_t n = 0;
    unsigned seen = 0;
    sop_store_options_init(&so);
    so.slot_length = 8;
    db_kit_store(&kit, "s", &so);
    fill_numbered("s", 0, 200, 2, 5);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    OK(sop_range_open(&r, s, NULL, &kit.err), kit.err);
    do { /* what was handed out is removed; what comes is doubled */
        OK(sop_range_next(r, views, 10, &n, &kit.err), kit.err);
        for (size_t i = 0; i < n; i++, seen++) {
            IS(views[i].key, numbered(seen < 10 ? 2 * seen : seen + 10));
            IS(views[i].ride, "r");
            OK(sop_remove(s, views[i].key, &kit.err), kit.err);
        }
        if (seen == n) {
            ck_assert_uint_ge(n, 1);
            ck_assert_uint_le(n, 10);
            while (seen < 10) { /* batches end with leaves: go on to ten */
                OK(sop_range_next(r, views, 10 - seen, &n, &kit.err), kit.err);
                for (size_t i = 0; i < n; i++, seen++) {
                    IS(views[i].key, numbered(2 * seen));
                    OK(sop_remove(s, views[i].key, &kit.err), kit.err);
                }
            }
            for (unsigned k = 21; k < 200; k += 2) {
                struct sop_entry e = {.key = text(numbered(k)), .ride = text("r")};
                OK(sop_add(s, &e, &kit.err), kit.err);
            }
        }
    } while (n > 0);
    ck_assert_uint_eq(seen, 10 + 180);
    uint64_t items = 9;
    OK(sop_store_count(s, false, &items, &kit.err), kit.err);
    ck_assert_uint_eq(items, 0);
    db_kit_commit(&kit, t);
}
END_TEST

static void read_some(struct sop_txn *t, const char *low, const char *high, bool reverse)
{
    struct sop_range_options o;
    struct sop_range *r = NULL;
    struct sop_view views[64];
    size_t n = 0;
    sop_range_options_init(&o);
    o.low = text(low);
    o.high = text(high);
    o.reverse = reverse;
    OK(sop_range_open(&r, db_kit_open(&kit, t, "s"), &o, &kit.err), kit.err);
    do {
        OK(sop_range_next(r, views, 64, &n, &kit.err), kit.err);
    } while (n > 0);
    sop_range_close(&r);
}

START_TEST(a_range_has_read_what_lies_between_its_bounds)
{
    static const struct {
        const char *changed;
        bool conflicts;
    } cases[] = {{"k000009", false}, {"k000010", true},  {"k000011", true}, {"k000019x", true},
                 {"k000020", false}, {"k000021", false}, {"k000000", false}};
    db_kit_store(&kit, "s", NULL);
    db_kit_store(&kit, "other", NULL);
    fill_numbered("s", 0, 40, 2, 5);
    for (int reverse = 0; reverse < 2; reverse++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
            read_some(t, "k000010", "k000020", reverse != 0);
            struct sop_entry e = entry("x", "y");
            OK(sop_upsert(db_kit_open(&kit, t, "other"), &e, &kit.err), kit.err);
            db_kit_put(&kit, "s", cases[i].changed, reverse ? "changed" : "changed more");
            if (cases[i].conflicts) {
                db_kit_conflicts(&kit, t);
            } else if (strcmp(cases[i].changed, "k000020") == 0) {
                sop_txn_rollback(&t); /* the bound itself may count as read */
            } else {
                db_kit_commit(&kit, t);
            }
        }
    }
}
END_TEST

/* ---- typed keys ----------------------------------------------------------------------------
 */

static struct sop_slice city(struct sop_key_buf *b, const char *country, const char *name,
                             int64_t people, size_t fields)
{
    struct sop_key_schema schema;
    OK(sop_key_schema_parse(&schema, "string, int64 desc, string?", &kit.err), kit.err);
    struct sop_key_value v[3] = {{.type = SOP_KEY_STRING, .as.bytes = text(country)},
                                 {.type = SOP_KEY_INT64, .as.int64 = people},
                                 {.type = SOP_KEY_NULL}};
    if (name != NULL) {
        v[2] = (struct sop_key_value){.type = SOP_KEY_STRING, .as.bytes = text(name)};
    }
    b->len = 0;
    if (fields == 3) {
        OK(sop_key_encode(&schema, v, 3, b, &kit.err), kit.err);
    } else {
        OK(sop_key_encode_prefix(&schema, v, fields, b, &kit.err), kit.err);
    }
    return bytes(b->data, b->len);
}

static void cities(struct sop_store *s, struct sop_slice low, struct sop_slice high,
                   bool prefix, const char *want)
{
    char got[256] = "";
    char back[256];
    struct sop_range_options o;
    struct sop_view views[3];
    size_t n = 0;
    sop_range_options_init(&o);
    o.low = low;
    o.high = high;
    o.prefix = prefix;
    for (int reverse = 0; reverse < 2; reverse++) {
        struct sop_range *r = NULL;
        got[0] = 0;
        o.reverse = reverse != 0;
        OK(sop_range_open(&r, s, &o, &kit.err), kit.err);
        do {
            OK(sop_range_next(r, views, 3, &n, &kit.err), kit.err);
            for (size_t i = 0; i < n; i++) {
                append(got, views[i].value);
            }
        } while (n > 0);
        sop_range_close(&r);
        reversed(want, back);
        ck_assert_str_eq(got, reverse ? back : want);
    }
}

START_TEST(composite_keys_with_descending_fields)
{
    static const struct {
        const char *country, *name, *value;
        int64_t people;
    } data[] = {{"ch", "Basel", "Basel", 170},
                {"ch", "Genf", "Genf", 200},
                {"ch", NULL, "none", 200},
                {"chi", "x", "x", 1},
                {"de", "Bonn", "Bonn", -5},
                {"de", "Berlin", "Berlin", 3500},
                {"", "y", "y", 0}};
    uint8_t one[200];
    uint8_t two[200];
    struct sop_key_buf a = {one, sizeof one, 0};
    struct sop_key_buf b = {two, sizeof two, 0};
    struct sop_slice none = bytes(NULL, 0);
    struct sop_store_options o;
    struct sop_view v;
    sop_store_options_init(&o);
    o.unique = _i == 0;
    o.slot_length = 2;
    OK(sop_key_schema_parse(&o.key, "string, int64 desc, string?", &kit.err), kit.err);
    db_kit_store(&kit, "cities", &o);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "cities");
    for (size_t i = 0; i < sizeof data / sizeof *data; i++) {
        struct sop_entry e = {.key = city(&a, data[i].country, data[i].name, data[i].people, 3),
                              .value = text(data[i].value)};
        OK(sop_add(s, &e, &kit.err), kit.err);
    }
    for (int round = 0; round < 2; round++) {
        cities(s, none, none, false, "y|none|Genf|Basel|x|Berlin|Bonn|");
        cities(s, city(&a, "ch", NULL, 0, 1), none, true, "none|Genf|Basel|");
        cities(s, city(&a, "ch", NULL, 200, 2), none, true, "none|Genf|");
        cities(s, city(&a, "ch", NULL, 200, 3), none, true, "none|");
        cities(s, city(&a, "ch", "Ge", 200, 3), none, true, _i == 0 ? "Genf|" : "Genf|");
        cities(s, city(&a, "", NULL, 0, 1), none, true, "y|");
        cities(s, city(&a, "ch", NULL, 190, 2), city(&b, "de", NULL, 0, 2), false,
               "Basel|x|Berlin|");
        cities(s, none, city(&b, "ch", "Genf", 200, 3), false, "y|none|");
        OK(sop_get(s, city(&a, "de", "Bonn", -5, 3), &v, &kit.err), kit.err);
        struct sop_key_value values[3];
        uint8_t room[100];
        struct sop_key_buf scratch = {room, sizeof room, 0};
        OK(sop_key_decode(&o.key, v.key, values, &scratch, &kit.err), kit.err);
        ck_assert_int_eq(values[1].as.int64, -5);
        IS(values[2].as.bytes, "Bonn");
        db_kit_commit(&kit, t);
        t = db_kit_begin(&kit, SOP_READ);
        s = db_kit_open(&kit, t, "cities");
    }
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(zero_bytes_in_keys_with_duplicates)
{
    static const uint8_t keys[][3] = {{0, 0, 0}, {0, 0, 1}, {0, 1, 0}, {1, 0, 0}, {1, 0, 255}};
    struct sop_store_options so;
    struct sop_range_options o;
    struct sop_range *r = NULL;
    struct sop_view views[40];
    size_t n = 0;
    sop_store_options_init(&so);
    so.unique = false;
    so.slot_length = 4;
    db_kit_store(&kit, "s", &so);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (int copy = 0; copy < 2; copy++) {
        for (size_t i = 0; i < 5; i++) {
            for (size_t len = 1; len <= 3; len++) {
                struct sop_entry e = {.key = bytes(keys[i], len)};
                OK(sop_add(s, &e, &kit.err), kit.err);
            }
        }
    }
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_READ);
    s = db_kit_open(&kit, t, "s");
    size_t total = 0;
    struct sop_buf_like {
        uint8_t data[4];
        size_t len;
    } last = {{0}, 0};
    sop_range_options_init(&o);
    OK(sop_range_open(&r, s, &o, &kit.err), kit.err);
    do {
        OK(sop_range_next(r, views, 40, &n, &kit.err), kit.err);
        for (size_t i = 0; i < n; i++, total++) {
            size_t m = last.len < views[i].key.len ? last.len : views[i].key.len;
            int cmp = memcmp(last.data, views[i].key.data, m);
            ck_assert(cmp < 0 || (cmp == 0 && last.len <= views[i].key.len));
            last.len = views[i].key.len;
            memcpy(last.data, views[i].key.data, last.len);
        }
    } while (n > 0);
    ck_assert_uint_eq(total, 30);
    sop_range_close(&r);
    o.prefix = true; /* {0, 0}: itself four times (two of it from each), {0,0,0}, {0,0,1} */
    o.low = bytes(keys[0], 2);
    OK(sop_range_open(&r, s, &o, &kit.err), kit.err);
    for (total = 0;;) {
        OK(sop_range_next(r, views, 40, &n, &kit.err), kit.err);
        if (n == 0) {
            break;
        }
        total += n;
    }
    ck_assert_uint_eq(total, 8);
    db_kit_commit(&kit, t);
}
END_TEST

/* ---- comparers -----------------------------------------------------------------------------
 */

static const struct wanted fold_wanted[] = {
    {.keys = "a|B|bb|C|cc|D|"},
    {.low = "b", .keys = "B|bb|C|cc|D|"},
    {.low = "b", .low_open = true, .keys = "bb|C|cc|D|"},
    {.low = "BA", .low_open = true, .keys = "bb|C|cc|D|"},
    {.high = "c", .keys = "a|B|bb|"},
    {.high = "c", .high_closed = true, .keys = "a|B|bb|C|"},
    {.low = "A", .high = "d", .low_open = true, .keys = "B|bb|C|cc|"},
    {.low = "A", .high = "d", .high_closed = true, .keys = "a|B|bb|C|cc|D|"},
    {.low = "d", .high = "d", .high_closed = true, .keys = "D|"},
    {.low = "d", .high = "d", .high_closed = true, .low_open = true, .keys = ""},
    {.high = "", .keys = ""},
    {.low = "", .keys = "a|B|bb|C|cc|D|"},
    {.low = "", .low_open = true, .keys = "a|B|bb|C|cc|D|"},
};

START_TEST(stores_with_a_comparer)
{
    static const char *const keys[] = {"C", "a", "D", "bb", "B", "cc"};
    struct sop_store_options so;
    struct sop_range_options o;
    struct sop_view v;
    struct sop_range *r = NULL;
    bool exact = false;
    sop_store_options_init(&so);
    so.comparer = "fold";
    so.unique = _i == 0;
    so.slot_length = 2;
    db_kit_store(&kit, "s", &so);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (int i = 0; i < 6; i++) {
        db_kit_add(&kit, s, keys[i], keys[i]);
    }
    FAILS(INVALID, sop_add(s, &(struct sop_entry){.key = text("")}, &kit.err), kit.err);
    sop_range_options_init(&o);
    o.prefix = true;
    o.low = text("b");
    FAILS(UNSUPPORTED, sop_range_open(&r, s, &o, &kit.err), kit.err);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof fold_wanted / sizeof *fold_wanted; i++) {
            check(s, &fold_wanted[i]);
        }
        struct sop_cursor *c = NULL;
        OK(sop_cursor_open(&c, s, &kit.err), kit.err);
        OK(sop_cursor_find(c, text("Bb"), &kit.err), kit.err);
        OK(sop_cursor_item(c, &v, &kit.err), kit.err);
        IS(v.key, "bb");
        OK(sop_cursor_find_near(c, text("CC"), &exact, &kit.err), kit.err);
        ck_assert(exact);
        OK(sop_cursor_find_before(c, text("d"), &exact, &kit.err), kit.err);
        ck_assert(exact);
        OK(sop_get(s, text("cC"), &v, &kit.err), kit.err);
        IS(v.value, "cc");
        sop_cursor_close(&c);
        db_kit_commit(&kit, t);
        reopen();
        t = db_kit_begin(&kit, SOP_WRITE);
        s = db_kit_open(&kit, t, "s");
    }
    struct sop_entry e = entry("CC", "new");
    if (_i == 0) {
        FAILS(EXISTS, sop_add(s, &e, &kit.err), kit.err);
    }
    OK(sop_update(s, &e, &kit.err), kit.err);
    OK(sop_upsert(s, &e, &kit.err), kit.err);
    e = entry("Cc", "ignored");
    e.ride = text("ride");
    OK(sop_update_key(s, text("cC"), &e, &kit.err), kit.err); /* the same key */
    OK(sop_get(s, text("cc"), &v, &kit.err), kit.err);
    IS(v.value, "new");
    IS(v.ride, "ride");
    OK(sop_remove(s, text("A"), &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_get(s, text("a"), &v, &kit.err), kit.err);
    db_kit_commit(&kit, t);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), 5);
}
END_TEST

START_TEST(many_keys_in_the_order_of_a_comparer)
{
    struct sop_store_options so;
    char key[16];
    sop_store_options_init(&so);
    so.comparer = "fold";
    so.unique = _i == 0;
    so.slot_length = 10;
    db_kit_store(&kit, "s", &so);
    for (unsigned batch = 0; batch < 4; batch++) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "s");
        for (unsigned i = batch; i < 1200; i += 4) {
            unsigned k = i * 7919 % 1200;
            (void)snprintf(key, sizeof key, k % 2 == 0 ? "kEy%04u" : "KEY%04u", k);
            db_kit_add(&kit, s, key, key);
            if (i % 5 == 0) { /* another form of a key: still one item */
                (void)snprintf(key, sizeof key, "key%04u", k);
                struct sop_entry e = entry(key, "2");
                OK(i % 2 ? sop_update(s, &e, &kit.err) : sop_upsert(s, &e, &kit.err), kit.err);
            }
        }
        db_kit_commit(&kit, t);
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    }
    db_kit_verify(&kit);
    reopen();
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (unsigned k = 0; k < 1200; k += 3) {
        (void)snprintf(key, sizeof key, "kEY%04u", k);
        OK(sop_remove(s, text(key), &kit.err), kit.err);
    }
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_READ);
    s = db_kit_open(&kit, t, "s");
    struct sop_cursor *c = NULL;
    unsigned k = 1;
    OK(sop_cursor_open(&c, s, &kit.err), kit.err);
    for (int rc = sop_cursor_first(c, &kit.err); rc == 0; rc = sop_cursor_next(c, &kit.err)) {
        struct sop_view v;
        (void)snprintf(key, sizeof key, "key%04u", k);
        OK(sop_cursor_key(c, &v, &kit.err), kit.err);
        ck_assert_int_eq(fold(fold_arg, v.key, text(key)), 0);
        k += k % 3 == 1 ? 1 : 2;
    }
    ck_assert_uint_eq(k, 1201);
    db_kit_commit(&kit, t);
}
END_TEST

static int note_comparer(void *arg, const struct sop_store_info *info, struct sop_err *err)
{
    unsigned *stores = arg;
    (void)err;
    if (strcmp(info->name, "s") == 0) {
        ck_assert_str_eq(info->options.comparer, "fold");
        ck_assert_uint_gt(info->items, 0);
    }
    *stores += 1;
    return 0;
}

/* What a reader without the comparer can do at the head. */
static void read_without_comparer(unsigned stores, uint64_t plain)
{
    struct sop_db_options o;
    struct sop_store *s = NULL;
    struct db_kit reader = {.db = NULL};
    char folder[sizeof kit.dir.path + 16];
    unsigned seen = 0;
    sop_db_options_init(&o);
    o.read_only = true;
    OK(sop_db_open(&reader.db, kit.dir.path, &o, &kit.err), kit.err);
    struct sop_txn *t = db_kit_begin(&reader, SOP_READ);
    OK(sop_store_list(t, "", note_comparer, &seen, &kit.err), kit.err);
    ck_assert_uint_eq(seen, stores);
    if (stores == 2) {
        FAILS(UNSUPPORTED, sop_store_open(&s, t, "s", &kit.err), kit.err);
        ck_assert_ptr_nonnull(strstr(kit.err.text, "\"fold\""));
        FAILS(UNSUPPORTED, sop_db_verify(reader.db, true, NULL, NULL, NULL, NULL, &kit.err),
              kit.err);
        ck_assert_ptr_nonnull(strstr(kit.err.text, "store s "));
        (void)snprintf(folder, sizeof folder, "%s-copy", kit.dir.path);
        FAILS(UNSUPPORTED, sop_db_backup(reader.db, folder, NULL, NULL, &kit.err), kit.err);
    }
    OK(sop_store_open(&s, t, "plain", &kit.err), kit.err);
    db_kit_commit(&reader, t);
    ck_assert_uint_eq(db_kit_count(&reader, "plain"), plain);
    OK(sop_db_refresh(reader.db, &kit.err), kit.err);
    OK(sop_db_close(&reader.db, &kit.err), kit.err);
}

/* Splits, merges, removals and the drop of a store are replayed past, not through. */
START_TEST(readers_do_without_a_comparer)
{
    struct sop_store_options so;
    char key[16];
    sop_store_options_init(&so);
    so.slot_length = 4;
    db_kit_store(&kit, "plain", &so);
    so.comparer = "fold";
    db_kit_store(&kit, "s", &so);
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned n = 0; n < 60; n++) {
            (void)snprintf(key, sizeof key, "%c%03u", n % 2 == 0 ? 'k' : 'K', n * 7 % 60);
            db_kit_put(&kit, "s", key, "value");
            (void)snprintf(key, sizeof key, "%u.%u", round, n);
            db_kit_put(&kit, "plain", key, "value");
        }
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "s");
        for (unsigned n = 0; n < 50; n++) { /* pages become free, and are used again */
            (void)snprintf(key, sizeof key, "k%03u", n);
            OK(sop_remove(s, text(key), &kit.err), kit.err);
        }
        db_kit_commit(&kit, t);
        if (round == 1) {
            OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        }
        OK(sop_db_close(&kit.db, &kit.err), kit.err);
        read_without_comparer(2, 60 * (round + 1));
        open_with_comparers(false);
        db_kit_verify(&kit);
    }
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_store_remove(t, "s", &kit.err), kit.err);
    db_kit_commit(&kit, t);
    OK(sop_maintain(kit.db, &kit.err), kit.err);
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    read_without_comparer(1, 240);
    open_with_comparers(false);
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    OK(sop_db_open(&kit.db, kit.dir.path, NULL, &kit.err), kit.err); /* it is forgotten */
    db_kit_verify(&kit);
}
END_TEST

START_TEST(a_missing_comparer_is_said)
{
    struct sop_store_options so;
    sop_store_options_init(&so);
    so.comparer = "fold";
    db_kit_store(&kit, "s", &so);
    for (int i = 0; i < 2; i++) {
        OK(sop_db_close(&kit.db, &kit.err), kit.err);
        FAILS(UNSUPPORTED, sop_db_open(&kit.db, kit.dir.path, NULL, &kit.err), kit.err);
        ck_assert_ptr_nonnull(strstr(kit.err.text, "\"fold\""));
        ck_assert_ptr_null(kit.db);
        open_with_comparers(false);
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    }
    struct sop_store_info info;
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    OK(sop_store_info(db_kit_open(&kit, t, "s"), &info, &kit.err), kit.err);
    ck_assert_str_eq(info.options.comparer, "fold");
    db_kit_commit(&kit, t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ranges");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 300);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_loop_test(all, raw_bounds, 0, 4);
    tcase_add_test(all, wrong_calls_are_refused);
    tcase_add_loop_test(all, views_of_a_batch_live_together, 0, 6);
    tcase_add_test(all, changes_on_the_way_are_seen);
    tcase_add_test(all, a_range_has_read_what_lies_between_its_bounds);
    tcase_add_loop_test(all, composite_keys_with_descending_fields, 0, 2);
    tcase_add_test(all, zero_bytes_in_keys_with_duplicates);
    tcase_add_loop_test(all, stores_with_a_comparer, 0, 2);
    tcase_add_loop_test(all, many_keys_in_the_order_of_a_comparer, 0, 2);
    tcase_add_test(all, a_missing_comparer_is_said);
    tcase_add_test(all, readers_do_without_a_comparer);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
