/* Stores in transactions: creating, opening, listing, describing, changing, removing; what
 * becomes of the space of removed ones. */
#include "tests/lib/api_kit.h"

#include <malloc.h>

/* Of the sanitizers' run-time library; elsewhere its address is NULL. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static struct db_kit kit;

static void setup(void)
{
    db_kit_init(&kit);
}

static void teardown(void)
{
    db_kit_verify(&kit);
    db_kit_fini(&kit);
}

/* ---- creating and opening ------------------------------------------------------------------
 */

static struct sop_store *create(struct sop_txn *t, const char *name)
{
    struct sop_store *s = NULL;
    OK(sop_store_create(&s, t, name, NULL, &kit.err), kit.err);
    return s;
}

static void drop(const char *name)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_store_remove(t, name, &kit.err), kit.err);
    db_kit_commit(&kit, t);
}

START_TEST(all_facts_of_a_store_come_back)
{
    static const uint8_t custom[] = {0, 1, 2, 255, 0};
    struct sop_store_options o;
    struct sop_store_info info;
    sop_store_options_init(&o);
    ck_assert(o.unique && o.slot_length == 2000 && o.values == SOP_VALUES_SMALL);
    o.unique = false;
    o.slot_length = 20000;
    o.values = SOP_VALUES_MEDIUM;
    OK(sop_key_schema_parse(&o.key, "int64, string? desc", &kit.err), kit.err);
    o.description = "what it \"is\"";
    o.blob_key = "gold";
    o.custom = bytes(custom, sizeof custom);
    o.cache_page_seconds = 1;
    o.cache_value_seconds = 2;
    o.cache_info_seconds = UINT32_MAX;
    db_kit_store(&kit, "facts", &o);
    for (int round = 0; round < 3; round++) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
        OK(sop_store_info(db_kit_open(&kit, t, "facts"), &info, &kit.err), kit.err);
        ck_assert_str_eq(info.name, "facts");
        ck_assert_uint_ne(info.id, 0);
        ck_assert_uint_eq(info.items, 0);
        ck_assert_uint_eq(info.options.size, sizeof info.options);
        ck_assert(!info.options.unique && info.options.slot_length == 20000);
        ck_assert_int_eq(info.options.values, SOP_VALUES_MEDIUM);
        ck_assert_uint_eq(info.options.key.fields_count, 2);
        ck_assert(info.options.key.fields[1].descending && info.options.key.fields[1].nullable);
        ck_assert_ptr_null(info.options.comparer);
        ck_assert_str_eq(info.options.description, "what it \"is\"");
        ck_assert_str_eq(info.options.blob_key, "gold");
        ck_assert_uint_eq(info.options.custom.len, sizeof custom);
        ck_assert_mem_eq(info.options.custom.data, custom, sizeof custom);
        ck_assert_uint_eq(info.options.cache_page_seconds, 1);
        ck_assert_uint_eq(info.options.cache_value_seconds, 2);
        ck_assert_uint_eq(info.options.cache_info_seconds, UINT32_MAX);
        db_kit_commit(&kit, t);
        if (round == 0) {
            db_kit_reopen(&kit); /* from the journal */
        } else {
            OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
            db_kit_reopen(&kit); /* from the checkpoint */
        }
    }
}
END_TEST

START_TEST(names_have_1_to_128_bytes_of_utf8)
{
    static const char *const bad[] = {"",
                                      "a\nb",
                                      "\x7f",
                                      "\xff",
                                      "\xc0\x80",
                                      "\xe0\x80\x80",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf0\x80\x80\x80",
                                      "cut\xe2\x82",
                                      "\xe2\x82z"};
    static const char *const good[] = {"a",
                                       " ",
                                       "Z\xc3\xbcrich",
                                       "\xe2\x82\xac",
                                       "\xf0\x9f\x98\x80",
                                       "../etc/passwd",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xed\x9f\xbf"};
    char longest[130];
    struct sop_store *s = NULL;
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FAILS(INVALID, sop_store_create(&s, t, bad[i], NULL, &kit.err), kit.err);
        ck_assert_ptr_null(s);
        FAILS(INVALID, sop_store_open(&s, t, bad[i], &kit.err), kit.err);
        FAILS(INVALID, sop_store_remove(t, bad[i], &kit.err), kit.err);
    }
    FAILS(INVALID, sop_store_create(&s, t, NULL, NULL, &kit.err), kit.err);
    FAILS(INVALID, sop_store_open(&s, t, NULL, &kit.err), kit.err);
    FAILS(INVALID, sop_store_remove(t, NULL, &kit.err), kit.err);
    memset(longest, 'x', sizeof longest);
    longest[129] = 0;
    FAILS(TOO_LARGE, sop_store_create(&s, t, longest, NULL, &kit.err), kit.err);
    longest[128] = 0;
    create(t, longest);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        db_kit_add(&kit, create(t, good[i]), "k", good[i]);
    }
    db_kit_commit(&kit, t);
    db_kit_reopen(&kit);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_str_eq(db_kit_read(&kit, good[i], "k"), good[i]);
    }
    ck_assert_uint_eq(db_kit_count(&kit, longest), 0);
}
END_TEST

START_TEST(bad_options_are_refused_by_name)
{
    static char text_1025[1026];
    static uint8_t custom[65537];
    struct sop_store *s = NULL;
    struct sop_store_options o;
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    static const uint32_t slots[] = {0, 1, 3, 1999, 20001, 20002, UINT32_MAX};
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++) {
        sop_store_options_init(&o);
        o.slot_length = slots[i];
        FAILS(INVALID, sop_store_create(&s, t, "s", &o, &kit.err), kit.err);
        ck_assert_ptr_nonnull(strstr(kit.err.text, "slot_length"));
    }
    sop_store_options_init(&o);
    o.size = 0;
    FAILS(INVALID, sop_store_create(&s, t, "s", &o, &kit.err), kit.err);
    sop_store_options_init(&o);
    o.values = (enum sop_value_class)3;
    FAILS(INVALID, sop_store_create(&s, t, "s", &o, &kit.err), kit.err);
    sop_store_options_init(&o);
    o.key.fields_count = SOP_KEY_FIELDS_MAX + 1;
    FAILS(INVALID, sop_store_create(&s, t, "s", &o, &kit.err), kit.err);
    sop_store_options_init(&o);
    o.comparer = "nobody";
    FAILS(UNSUPPORTED, sop_store_create(&s, t, "s", &o, &kit.err), kit.err);
    OK(sop_key_schema_parse(&o.key, "int64", &kit.err), kit.err);
    FAILS(INVALID, sop_store_create(&s, t, "s", &o, &kit.err), kit.err);
    memset(text_1025, 'x', 1025);
    sop_store_options_init(&o);
    o.comparer = text_1025;
    FAILS(TOO_LARGE, sop_store_create(&s, t, "s", &o, &kit.err), kit.err);
    sop_store_options_init(&o);
    o.description = text_1025;
    FAILS(TOO_LARGE, sop_store_create(&s, t, "s", &o, &kit.err), kit.err);
    o.description = "";
    text_1025[129] = 0;
    o.blob_key = text_1025;
    FAILS(TOO_LARGE, sop_store_create(&s, t, "s", &o, &kit.err), kit.err);
    sop_store_options_init(&o);
    o.custom = bytes(custom, 65537);
    FAILS(TOO_LARGE, sop_store_create(&s, t, "s", &o, &kit.err), kit.err);
    ck_assert_ptr_null(s);
    FAILS(NOT_FOUND, sop_store_open(&s, t, "s", &kit.err), kit.err);
    o.custom = bytes(custom, 65536); /* all limits at once are fine */
    text_1025[129] = 'x';
    text_1025[1024] = 0;
    o.description = text_1025;
    o.blob_key = text_1025 + 1024 - 128;
    o.slot_length = 2;
    OK(sop_store_create(&s, t, "s", &o, &kit.err), kit.err);
    db_kit_commit(&kit, t);
    db_kit_reopen(&kit);
    struct sop_store_info info;
    t = db_kit_begin(&kit, SOP_READ);
    OK(sop_store_info(db_kit_open(&kit, t, "s"), &info, &kit.err), kit.err);
    ck_assert_uint_eq(strlen(info.options.description), 1024);
    ck_assert_uint_eq(strlen(info.options.blob_key), 128);
    ck_assert_uint_eq(info.options.custom.len, 65536);
    ck_assert_uint_eq(info.options.slot_length, 2);
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(null_strings_are_empty_ones)
{
    struct sop_store_options o;
    struct sop_store_info info;
    sop_store_options_init(&o);
    o.description = NULL;
    o.blob_key = NULL;
    o.comparer = "";
    db_kit_store(&kit, "s", &o);
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    OK(sop_store_info(db_kit_open(&kit, t, "s"), &info, &kit.err), kit.err);
    ck_assert_str_eq(info.options.description, "");
    ck_assert_str_eq(info.options.blob_key, "");
    ck_assert_ptr_null(info.options.comparer);
    ck_assert_uint_eq(info.options.custom.len, 0);
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(creation_is_part_of_its_transaction)
{
    struct sop_store *s = NULL;
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *own = create(t, "new");
    db_kit_add(&kit, own, "k", "v");
    FAILS(EXISTS, sop_store_create(&s, t, "new", NULL, &kit.err), kit.err);
    ck_assert_ptr_eq(db_kit_open(&kit, t, "new"), own);
    struct sop_txn *other = db_kit_begin(&kit, SOP_READ);
    FAILS(NOT_FOUND, sop_store_open(&s, other, "new", &kit.err), kit.err);
    sop_txn_rollback(&t);
    ck_assert_ptr_null(t);
    db_kit_commit(&kit, other);
    t = db_kit_begin(&kit, SOP_WRITE);
    FAILS(NOT_FOUND, sop_store_open(&s, t, "new", &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_store_remove(t, "new", &kit.err), kit.err);
    db_kit_add(&kit, create(t, "new"), "k", "second");
    db_kit_commit(&kit, t);
    ck_assert_str_eq(db_kit_read(&kit, "new", "k"), "second");
    t = db_kit_begin(&kit, SOP_WRITE);
    FAILS(EXISTS, sop_store_create(&s, t, "new", NULL, &kit.err), kit.err);
    sop_txn_rollback(&t);
}
END_TEST

START_TEST(rolled_back_creations_leave_nothing)
{
    struct sop_store *s = NULL;
    db_kit_store(&kit, "keep", NULL);
    uint64_t pages = stats_of(&kit).pages;
    for (int i = 0; i < 50; i++) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        db_kit_add(&kit, create(t, "x"), "k", "v");
        sop_txn_rollback(&t);
    }
    for (int i = 0; i < 4; i++) {
        OK(sop_maintain(kit.db, &kit.err), kit.err);
    }
    ck_assert_uint_eq(stats_of(&kit).stores, 1);
    ck_assert_uint_le(stats_of(&kit).pages, pages + 50);
    db_kit_reopen(&kit);
    ck_assert_uint_eq(stats_of(&kit).stores, 1);
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    FAILS(NOT_FOUND, sop_store_open(&s, t, "x", &kit.err), kit.err);
    db_kit_commit(&kit, t);
}
END_TEST

static size_t heap_bytes(void)
{
    if (__sanitizer_get_current_allocated_bytes != NULL) { /* mallinfo2() knows nothing then */
        return __sanitizer_get_current_allocated_bytes();
    }
    return mallinfo2().uordblks;
}

/* Two at once, so that the newest id is not always the first to go. */
static void creations_come_to_nothing(unsigned pairs)
{
    for (unsigned i = 0; i < pairs; i++) {
        struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
        struct sop_txn *b = db_kit_begin(&kit, SOP_WRITE);
        (void)create(a, "never");
        (void)create(b, "never");
        sop_txn_rollback(&a);
        sop_txn_rollback(&b);
    }
}

START_TEST(rolled_back_creations_take_no_memory)
{
    db_kit_store(&kit, "before", NULL);
    creations_come_to_nothing(100); /* what is made once */
    size_t before = heap_bytes();
    creations_come_to_nothing(50000);
    ck_assert_uint_le(heap_bytes(), before + 4096);
    db_kit_store(&kit, "after", NULL);
    db_kit_reopen(&kit); /* ids that nothing came of are no hindrance */
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    (void)db_kit_open(&kit, t, "before");
    (void)db_kit_open(&kit, t, "after");
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(readers_change_no_stores)
{
    static const enum sop_txn_mode modes[] = {SOP_READ, SOP_READ_RELAXED, SOP_NO_CHECK};
    db_kit_store(&kit, "s", NULL);
    struct sop_store_options o;
    sop_store_options_init(&o);
    for (int i = 0; i < 3; i++) {
        struct sop_store *s = NULL;
        struct sop_txn *t = db_kit_begin(&kit, modes[i]);
        FAILS(READ_ONLY, sop_store_create(&s, t, "n", NULL, &kit.err), kit.err);
        FAILS(READ_ONLY, sop_store_remove(t, "s", &kit.err), kit.err);
        s = db_kit_open(&kit, t, "s");
        FAILS(READ_ONLY, sop_store_change(s, &o, &kit.err), kit.err);
        db_kit_commit(&kit, t);
    }
}
END_TEST

/* ---- changing ------------------------------------------------------------------------------
 */

START_TEST(change_touches_description_custom_and_cache_only)
{
    struct sop_store_options o;
    struct sop_store_info info;
    sop_store_options_init(&o);
    o.description = "first";
    o.blob_key = "kept";
    o.custom = text("old");
    db_kit_store(&kit, "s", &o);
    db_kit_put(&kit, "s", "k", "v");
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    OK(sop_store_info(s, &info, &kit.err), kit.err);
    struct sop_store_options change = info.options; /* its own strings may be handed back */
    change.unique = false;
    change.slot_length = 4;
    change.values = SOP_VALUES_BIG;
    change.blob_key = "other";
    change.cache_page_seconds = 7;
    OK(sop_store_change(s, &change, &kit.err), kit.err);
    OK(sop_store_info(s, &info, &kit.err), kit.err);
    ck_assert_str_eq(info.options.description, "first");
    ck_assert_uint_eq(info.options.cache_page_seconds, 7);
    IS(info.options.custom, "old");
    change.description = "second";
    change.custom = bytes(NULL, 0);
    OK(sop_store_change(s, &change, &kit.err), kit.err);
    change.slot_length = 3;
    FAILS(INVALID, sop_store_change(s, &change, &kit.err), kit.err);
    struct sop_txn *before = db_kit_begin(&kit, SOP_READ);
    db_kit_commit(&kit, t);
    OK(sop_store_info(db_kit_open(&kit, before, "s"), &info, &kit.err), kit.err);
    ck_assert_str_eq(info.options.description, "first");
    db_kit_commit(&kit, before);
    db_kit_reopen(&kit);
    t = db_kit_begin(&kit, SOP_READ);
    OK(sop_store_info(db_kit_open(&kit, t, "s"), &info, &kit.err), kit.err);
    ck_assert_str_eq(info.options.description, "second");
    ck_assert_uint_eq(info.options.custom.len, 0);
    ck_assert(info.options.unique && info.options.slot_length == 2000);
    ck_assert_int_eq(info.options.values, SOP_VALUES_SMALL);
    ck_assert_str_eq(info.options.blob_key, "kept");
    ck_assert_uint_eq(info.items, 1);
    db_kit_commit(&kit, t);
}
END_TEST

/* What sop_store_info() gave stays readable, and says what it said, as long as the handle does,
 * however often the store is changed or described anew in between. */
START_TEST(facts_outlive_changes_of_the_store)
{
    enum { CHANGES = 20 };
    static char texts[CHANGES + 1][32];
    struct sop_store_options o;
    struct sop_store_info infos[CHANGES + 1];
    sop_store_options_init(&o);
    o.description = "0";
    o.blob_key = "gold";
    o.custom = text("0");
    db_kit_store(&kit, "s", &o);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_txn *watch = db_kit_begin(&kit, SOP_NO_CHECK);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (unsigned i = 0; i <= CHANGES; i++) {
        (void)snprintf(texts[i], sizeof texts[i], "%u", i);
        o.description = texts[i];
        o.custom = text(texts[i]);
        if (i > 0) {
            OK(sop_store_change(s, &o, &kit.err), kit.err);
        }
        OK(sop_store_info(s, &infos[i], &kit.err), kit.err);
    }
    for (unsigned i = 0; i <= CHANGES; i++) {
        ck_assert_str_eq(infos[i].name, "s");
        ck_assert_str_eq(infos[i].options.description, texts[i]);
        ck_assert_str_eq(infos[i].options.blob_key, "gold");
        IS(infos[i].options.custom, texts[i]);
    }
    /* A reader without a snapshot, whose handle follows what others commit. */
    struct sop_store_info before, after;
    struct sop_store *seen = db_kit_open(&kit, watch, "s");
    OK(sop_store_info(seen, &before, &kit.err), kit.err);
    db_kit_commit(&kit, t);
    OK(sop_store_info(seen, &after, &kit.err), kit.err);
    ck_assert_str_eq(before.options.description, "0");
    IS(before.options.custom, "0");
    ck_assert_str_eq(after.options.description, texts[CHANGES]);
    db_kit_commit(&kit, watch);
}
END_TEST

START_TEST(a_new_store_is_changed_before_its_commit)
{
    struct sop_store_options o;
    struct sop_store_info info;
    sop_store_options_init(&o);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = create(t, "s");
    o.description = "changed";
    OK(sop_store_change(s, &o, &kit.err), kit.err);
    db_kit_add(&kit, s, "k", "v");
    db_kit_commit(&kit, t);
    db_kit_reopen(&kit);
    t = db_kit_begin(&kit, SOP_READ);
    OK(sop_store_info(db_kit_open(&kit, t, "s"), &info, &kit.err), kit.err);
    ck_assert_str_eq(info.options.description, "changed");
    ck_assert_uint_eq(info.items, 1);
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(two_changes_of_one_store_second_fails)
{
    struct sop_store_options o;
    sop_store_options_init(&o);
    db_kit_store(&kit, "s", NULL);
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_txn *b = db_kit_begin(&kit, SOP_WRITE);
    o.description = "a";
    OK(sop_store_change(db_kit_open(&kit, a, "s"), &o, &kit.err), kit.err);
    o.description = "b";
    OK(sop_store_change(db_kit_open(&kit, b, "s"), &o, &kit.err), kit.err);
    db_kit_commit(&kit, a);
    db_kit_conflicts(&kit, b);
}
END_TEST

START_TEST(items_and_changes_of_a_store_do_not_conflict)
{
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.description = "x";
    db_kit_store(&kit, "s", NULL);
    struct sop_txn *a = db_kit_begin(&kit, SOP_WRITE);
    struct sop_txn *b = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_store_change(db_kit_open(&kit, a, "s"), &o, &kit.err), kit.err);
    db_kit_add(&kit, db_kit_open(&kit, b, "s"), "k", "v");
    db_kit_commit(&kit, a);
    db_kit_commit(&kit, b);
}
END_TEST

/* ---- removing ------------------------------------------------------------------------------
 */

START_TEST(drop_and_recreate_in_one_transaction)
{
    db_kit_store(&kit, "s", NULL);
    db_kit_put(&kit, "s", "old", "1");
    for (int round = 0; round < 3; round++) {
        struct sop_store *s = NULL;
        struct sop_store_options o;
        sop_store_options_init(&o);
        o.slot_length = 4;
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        db_kit_add(&kit, db_kit_open(&kit, t, "s"), "lost", "1");
        OK(sop_store_remove(t, "s", &kit.err), kit.err);
        FAILS(NOT_FOUND, sop_store_open(&s, t, "s", &kit.err), kit.err);
        OK(sop_store_create(&s, t, "s", &o, &kit.err), kit.err);
        db_kit_add(&kit, s, "new", "2");
        if (round == 1) { /* once more */
            OK(sop_store_remove(t, "s", &kit.err), kit.err);
            OK(sop_store_create(&s, t, "s", &o, &kit.err), kit.err);
            db_kit_add(&kit, s, "newer", "3");
        }
        db_kit_commit(&kit, t);
        db_kit_verify(&kit);
        ck_assert_ptr_null(db_kit_read(&kit, "s", "old"));
        ck_assert_ptr_null(db_kit_read(&kit, "s", "lost"));
        ck_assert_str_eq(db_kit_read(&kit, "s", round == 1 ? "newer" : "new"),
                         round == 1 ? "3" : "2");
        ck_assert_uint_eq(db_kit_count(&kit, "s"), 1);
        ck_assert_uint_eq(stats_of(&kit).stores, 1);
        if (round == 1) {
            OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        }
        db_kit_reopen(&kit);
        ck_assert_uint_eq(db_kit_count(&kit, "s"), 1);
        ck_assert_uint_eq(stats_of(&kit).stores, 1);
    }
}
END_TEST

START_TEST(create_and_drop_in_one_transaction_is_nothing)
{
    struct sop_store *s = NULL;
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    db_kit_add(&kit, create(t, "s"), "k", "v");
    OK(sop_store_remove(t, "s", &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_store_remove(t, "s", &kit.err), kit.err);
    db_kit_commit(&kit, t);
    ck_assert_uint_eq(stats_of(&kit).stores, 0);
    t = db_kit_begin(&kit, SOP_READ);
    FAILS(NOT_FOUND, sop_store_open(&s, t, "s", &kit.err), kit.err);
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(pinned_readers_outlive_a_drop)
{
    struct sop_snapshot *pin = NULL;
    struct sop_txn_options o;
    struct sop_txn *t = NULL;
    struct sop_store *s = NULL;
    static uint8_t big[70000];
    memset(big, 'b', sizeof big);
    db_kit_store(&kit, "s", NULL);
    t = db_kit_begin(&kit, SOP_WRITE);
    s = db_kit_open(&kit, t, "s");
    for (unsigned i = 0; i < 300; i++) {
        db_kit_add(&kit, s, numbered(i), "value");
    }
    struct sop_entry e = {.key = text("big"), .value = bytes(big, sizeof big)};
    OK(sop_add(s, &e, &kit.err), kit.err);
    db_kit_commit(&kit, t);
    OK(sop_snapshot_pin(&pin, kit.db, &kit.err), kit.err);
    struct sop_txn *reader = db_kit_begin(&kit, SOP_READ);
    struct sop_txn *writer = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *sr = db_kit_open(&kit, reader, "s");
    db_kit_add(&kit, db_kit_open(&kit, writer, "s"), "late", "1");
    drop("s");
    for (int i = 0; i < 4; i++) {
        OK(sop_maintain(kit.db, &kit.err), kit.err);
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        OK(sop_db_compact(kit.db, &kit.err), kit.err);
    }
    ck_assert_str_eq(db_kit_get(&kit, sr, numbered(299)), "value");
    db_kit_commit(&kit, reader);
    db_kit_conflicts(&kit, writer); /* the store is gone */
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    o.at = pin;
    OK(sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    s = db_kit_open(&kit, t, "s");
    struct sop_view v;
    OK(sop_get(s, text("big"), &v, &kit.err), kit.err);
    ck_assert_uint_eq(v.value.len, sizeof big);
    ck_assert_mem_eq(v.value.data, big, sizeof big);
    uint64_t items = 0;
    OK(sop_store_count(s, false, &items, &kit.err), kit.err);
    ck_assert_uint_eq(items, 301);
    db_kit_commit(&kit, t);
    sop_snapshot_release(&pin);
    db_kit_verify(&kit);
}
END_TEST

/* Pages that stores have. */
static uint64_t pages_in_use(void)
{
    struct sop_verify_result result;
    OK(sop_db_verify(kit.db, false, NULL, NULL, NULL, &result, &kit.err), kit.err);
    ck_assert_uint_eq(result.errors, 0);
    return result.pages;
}

START_TEST(the_space_of_a_dropped_store_comes_back)
{
    static uint8_t value[40000];
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.slot_length = 20;
    o.values = SOP_VALUES_MEDIUM;
    db_kit_store(&kit, "keep", NULL);
    db_kit_put(&kit, "keep", "k", "v");
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    uint64_t pages = pages_in_use();
    uint64_t live = stats_of(&kit).pack_live_bytes;
    db_kit_store(&kit, "s", &o);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (unsigned i = 0; i < 300; i++) {
        struct sop_entry e = {.key = text(numbered(i)), .value = bytes(value, sizeof value)};
        memset(value, (int)i, sizeof value);
        OK(sop_add(s, &e, &kit.err), kit.err);
    }
    db_kit_commit(&kit, t);
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    struct sop_db_stats full = stats_of(&kit);
    ck_assert_uint_gt(pages_in_use(), pages + 10);
    ck_assert_uint_gt(full.pack_live_bytes, live + 300 * sizeof value);
    drop("s");
    for (int i = 0; i < 40 && pages_in_use() > pages; i++) {
        OK(sop_maintain(kit.db, &kit.err), kit.err);
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    }
    ck_assert_uint_le(pages_in_use(), pages);
    for (int i = 0; i < 6; i++) {
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        OK(sop_db_compact(kit.db, &kit.err), kit.err);
        OK(sop_maintain(kit.db, &kit.err), kit.err);
    }
    struct sop_db_stats after = stats_of(&kit);
    ck_assert_uint_lt(after.pack_live_bytes, live + 100000);
    ck_assert_uint_lt(after.pack_bytes, 4u << 20);
    ck_assert_str_eq(db_kit_read(&kit, "keep", "k"), "v");
    db_kit_reopen(&kit);
    ck_assert_str_eq(db_kit_read(&kit, "keep", "k"), "v");
}
END_TEST

START_TEST(freeing_goes_on_after_reopening)
{
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.slot_length = 2;
    db_kit_store(&kit, "s", &o);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (unsigned i = 0; i < 2000; i++) {
        db_kit_add(&kit, s, numbered(i), "v");
    }
    db_kit_commit(&kit, t);
    ck_assert_uint_gt(pages_in_use(), 1000);
    drop("s");
    db_kit_reopen(&kit);
    for (int i = 0; i < 100 && pages_in_use() > 10; i++) {
        OK(sop_maintain(kit.db, &kit.err), kit.err);
        if (i % 10 == 9) {
            db_kit_reopen(&kit);
        }
    }
    ck_assert_uint_le(pages_in_use(), 10);
}
END_TEST

/* ---- listing -------------------------------------------------------------------------------
 */

struct listing {
    char names[32][132];
    uint64_t items[32];
    unsigned count, stop_at;
    int answer;
};

static int note(void *arg, const struct sop_store_info *info, struct sop_err *err)
{
    struct listing *l = arg;
    (void)err;
    ck_assert_uint_lt(l->count, 32);
    (void)snprintf(l->names[l->count], sizeof l->names[0], "%s", info->name);
    l->items[l->count++] = info->items;
    return l->count == l->stop_at ? l->answer : 0;
}

START_TEST(list_shows_pending_creations_and_removals)
{
    struct listing l = {.count = 0};
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    OK(sop_store_list(t, NULL, note, &l, &kit.err), kit.err);
    ck_assert_uint_eq(l.count, 0);
    db_kit_commit(&kit, t);
    db_kit_store(&kit, "b", NULL);
    db_kit_store(&kit, "d", NULL);
    db_kit_store(&kit, "c", NULL);
    db_kit_put(&kit, "d", "k", "v");
    t = db_kit_begin(&kit, SOP_WRITE);
    create(t, "e");
    db_kit_add(&kit, create(t, "a"), "k", "v");
    OK(sop_store_remove(t, "c", &kit.err), kit.err);
    OK(sop_store_list(t, "", note, &l, &kit.err), kit.err);
    ck_assert_uint_eq(l.count, 4);
    ck_assert_str_eq(l.names[0], "a");
    ck_assert_str_eq(l.names[1], "b");
    ck_assert_str_eq(l.names[2], "d");
    ck_assert_str_eq(l.names[3], "e");
    ck_assert(l.items[0] == 1 && l.items[1] == 0 && l.items[2] == 1);
    l.count = 0;
    OK(sop_store_list(t, "b", note, &l, &kit.err), kit.err); /* after it */
    ck_assert_uint_eq(l.count, 2);
    l.count = 0;
    OK(sop_store_list(t, "bb", note, &l, &kit.err), kit.err);
    ck_assert_uint_eq(l.count, 2);
    l.count = 0;
    OK(sop_store_list(t, "z", note, &l, &kit.err), kit.err);
    ck_assert_uint_eq(l.count, 0);
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(list_stops_with_what_the_caller_says)
{
    struct listing l = {.stop_at = 2, .answer = 77};
    db_kit_store(&kit, "a", NULL);
    db_kit_store(&kit, "b", NULL);
    db_kit_store(&kit, "c", NULL);
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    ck_assert_int_eq(sop_store_list(t, "", note, &l, &kit.err), 77);
    ck_assert_uint_eq(l.count, 2);
    l = (struct listing){.stop_at = 1, .answer = SOP_ERR_END}; /* even with the walk's own */
    ck_assert_int_eq(sop_store_list(t, "", note, &l, &kit.err), SOP_ERR_END);
    ck_assert_uint_eq(l.count, 1);
    db_kit_commit(&kit, t);
}
END_TEST

START_TEST(a_list_is_a_read_of_names)
{
    struct listing l = {.count = 0};
    db_kit_store(&kit, "a", NULL);
    db_kit_store(&kit, "s", NULL);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_store_list(t, "", note, &l, &kit.err), kit.err);
    db_kit_add(&kit, db_kit_open(&kit, t, "s"), "names", "2");
    db_kit_store(&kit, "b", NULL);
    db_kit_conflicts(&kit, t);
}
END_TEST

static int remove_each(void *arg, const struct sop_store_info *info, struct sop_err *err)
{
    char name[132];
    (void)snprintf(name, sizeof name, "%s", info->name);
    return sop_store_remove(arg, name, err);
}

START_TEST(stores_can_be_removed_while_listing)
{
    char name[16];
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    for (unsigned i = 0; i < 30; i++) {
        (void)snprintf(name, sizeof name, "s%02u", i);
        create(t, name);
    }
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_WRITE);
    create(t, "fresh");
    OK(sop_store_list(t, "", remove_each, t, &kit.err), kit.err);
    struct listing l = {.count = 0};
    OK(sop_store_list(t, "", note, &l, &kit.err), kit.err);
    ck_assert_uint_eq(l.count, 0);
    db_kit_commit(&kit, t);
    ck_assert_uint_eq(stats_of(&kit).stores, 0);
}
END_TEST

static int count_each(void *arg, const struct sop_store_info *info, struct sop_err *err)
{
    unsigned *count = arg;
    (void)err;
    ck_assert_uint_eq(info->items, 1);
    (*count)++;
    return 0;
}

START_TEST(many_stores)
{
    char name[16];
    unsigned count = 0;
    for (unsigned batch = 0; batch < 5; batch++) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        for (unsigned i = 0; i < 300; i++) {
            (void)snprintf(name, sizeof name, "store%05u", i * 5 + batch);
            db_kit_add(&kit, create(t, name), "k", name);
        }
        db_kit_commit(&kit, t);
    }
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    db_kit_reopen(&kit);
    ck_assert_uint_eq(stats_of(&kit).stores, 1500);
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    OK(sop_store_list(t, "", count_each, &count, &kit.err), kit.err);
    ck_assert_uint_eq(count, 1500);
    db_kit_commit(&kit, t);
    ck_assert_str_eq(db_kit_read(&kit, "store00777", "k"), "store00777");
}
END_TEST

/* ---- handles -------------------------------------------------------------------------------
 */

START_TEST(closed_handles_are_refused)
{
    struct sop_store *s = NULL;
    struct sop_store_info info;
    uint64_t items = 0;
    struct sop_view v;
    FAILS(CLOSED, sop_store_create(&s, NULL, "s", NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_store_open(&s, NULL, "s", &kit.err), kit.err);
    FAILS(CLOSED, sop_store_remove(NULL, "s", &kit.err), kit.err);
    FAILS(CLOSED, sop_store_list(NULL, "", note, NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_store_info(NULL, &info, &kit.err), kit.err);
    FAILS(CLOSED, sop_store_count(NULL, false, &items, &kit.err), kit.err);
    FAILS(CLOSED, sop_get(NULL, text("k"), &v, &kit.err), kit.err);
    db_kit_store(&kit, "s", NULL);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    s = db_kit_open(&kit, t, "s");
    OK(sop_txn_prepare(&t, &kit.err), kit.err);
    FAILS(CLOSED, sop_get(s, text("k"), &v, &kit.err), kit.err);
    FAILS(CLOSED, sop_store_remove(t, "s", &kit.err), kit.err);
    sop_txn_rollback(&t);
}
END_TEST

START_TEST(readers_without_snapshot_see_a_store_go)
{
    struct sop_store_info info;
    struct sop_store *s2 = NULL;
    struct sop_view v;
    db_kit_store(&kit, "s", NULL);
    db_kit_put(&kit, "s", "k", "1");
    struct sop_txn *t = db_kit_begin(&kit, SOP_NO_CHECK);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    ck_assert_str_eq(db_kit_get(&kit, s, "k"), "1");
    drop("s");
    FAILS(CLOSED, sop_get(s, text("k"), &v, &kit.err), kit.err);
    FAILS(CLOSED, sop_store_info(s, &info, &kit.err), kit.err);
    FAILS(NOT_FOUND, sop_store_open(&s2, t, "s", &kit.err), kit.err);
    db_kit_store(&kit, "s", NULL);
    db_kit_put(&kit, "s", "k", "2");
    ck_assert_str_eq(db_kit_get(&kit, db_kit_open(&kit, t, "s"), "k"), "2");
    struct listing l = {.count = 0};
    OK(sop_store_list(t, "", note, &l, &kit.err), kit.err);
    ck_assert_uint_eq(l.count, 1);
    db_kit_commit(&kit, t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stores");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 300);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, all_facts_of_a_store_come_back);
    tcase_add_test(all, names_have_1_to_128_bytes_of_utf8);
    tcase_add_test(all, bad_options_are_refused_by_name);
    tcase_add_test(all, null_strings_are_empty_ones);
    tcase_add_test(all, creation_is_part_of_its_transaction);
    tcase_add_test(all, rolled_back_creations_leave_nothing);
    tcase_add_test(all, rolled_back_creations_take_no_memory);
    tcase_add_test(all, readers_change_no_stores);
    tcase_add_test(all, change_touches_description_custom_and_cache_only);
    tcase_add_test(all, facts_outlive_changes_of_the_store);
    tcase_add_test(all, a_new_store_is_changed_before_its_commit);
    tcase_add_test(all, two_changes_of_one_store_second_fails);
    tcase_add_test(all, items_and_changes_of_a_store_do_not_conflict);
    tcase_add_test(all, drop_and_recreate_in_one_transaction);
    tcase_add_test(all, create_and_drop_in_one_transaction_is_nothing);
    tcase_add_test(all, pinned_readers_outlive_a_drop);
    tcase_add_test(all, the_space_of_a_dropped_store_comes_back);
    tcase_add_test(all, freeing_goes_on_after_reopening);
    tcase_add_test(all, list_shows_pending_creations_and_removals);
    tcase_add_test(all, list_stops_with_what_the_caller_says);
    tcase_add_test(all, a_list_is_a_read_of_names);
    tcase_add_test(all, stores_can_be_removed_while_listing);
    tcase_add_test(all, many_stores);
    tcase_add_test(all, closed_handles_are_refused);
    tcase_add_test(all, readers_without_snapshot_see_a_store_go);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
