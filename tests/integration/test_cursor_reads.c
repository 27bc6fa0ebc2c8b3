/* What a cursor has passed counts as read, whichever way it turned afterwards. */
#include "tests/lib/db_kit.h"

static struct db_kit kit;

static void setup(void)
{
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f"};
    db_kit_init(&kit);
    db_kit_store(&kit, "s", NULL);
    db_kit_store(&kit, "other", NULL);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        db_kit_put(&kit, "s", keys[i], "v");
    }
}

static void teardown(void)
{
    db_kit_fini(&kit);
}

/* Begins with '^' first, '$' last, ']' the key "d" and up, '[' the key "d" and down; '>' and
 * '<' are steps. */
static void walk(struct sop_cursor *c, const char *moves)
{
    bool exact = false;
    for (const char *m = moves; *m != 0; m++) {
        int rc = *m == '^'   ? sop_cursor_first(c, &kit.err)
                 : *m == '$' ? sop_cursor_last(c, &kit.err)
                 : *m == ']' ? sop_cursor_find_near(c, text("d"), &exact, &kit.err)
                 : *m == '[' ? sop_cursor_find_before(c, text("d"), &exact, &kit.err)
                 : *m == '>' ? sop_cursor_next(c, &kit.err)
                             : sop_cursor_prev(c, &kit.err);
        OK(rc, kit.err);
    }
}

/* Does the walk count a change of `key` as a change of what it read? */
static bool has_read(const char *moves, const char *key)
{
    struct sop_cursor *c = NULL;
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_cursor_open(&c, db_kit_open(&kit, t, "s"), &kit.err), kit.err);
    walk(c, moves);
    struct sop_entry e = {.key = text("own"), .value = text("v")};
    OK(sop_upsert(db_kit_open(&kit, t, "other"), &e, &kit.err), kit.err);
    struct sop_txn *u = db_kit_begin(&kit, SOP_WRITE);
    struct sop_entry change = {.key = text(key), .value = text(moves)};
    OK(sop_upsert(db_kit_open(&kit, u, "s"), &change, &kit.err), kit.err);
    db_kit_commit(&kit, u);
    int rc = sop_txn_commit(&t, NULL, &kit.err);
    ck_assert_msg(rc == 0 || rc == SOP_ERR_CONFLICT, "%s: %s", moves, kit.err.text);
    return rc == SOP_ERR_CONFLICT;
}

static void reads(const char *moves, const char *keys, const char *others)
{
    char key[2] = "";
    for (; *keys != 0; keys++) {
        key[0] = *keys;
        ck_assert_msg(has_read(moves, key), "%s does not count %s as read", moves, key);
    }
    for (; *others != 0; others++) {
        key[0] = *others;
        ck_assert_msg(!has_read(moves, key), "%s counts %s as read", moves, key);
    }
}

START_TEST(straight_walks)
{
    reads("^", "a", "bf");
    reads("^>>", "abc", "df");
    reads("$<<", "fed", "ca");
    reads("]>", "de", "cf");
    reads("[<", "cd", "be");
}
END_TEST

START_TEST(turning_keeps_what_was_read)
{
    reads("^>>><", "abcd", "ef");
    reads("^>>><<<", "abcd", "ef");
    reads("$<<<>", "fedc", "ba");
    reads("[<<>", "bcd", "aef");
    reads("]>><", "def", "abc");
    reads("]<<>>>", "bcde", "af");
    reads("[>><<<", "cdef", "ab");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cursor_reads");
    TCase *t = tcase_create("spans");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, straight_walks);
    tcase_add_test(t, turning_keeps_what_was_read);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
