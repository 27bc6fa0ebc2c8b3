/* Transactions and snapshots through the public API: modes, options, limits, hooks, two phases,
 * the retry helper, outcomes. Anomalies: test_isolation.c. */
#include "engine/db/db_int.h"
#include "tests/lib/api_kit.h"

#include <time.h>

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

static int lsn_cmp(struct sop_lsn a, struct sop_lsn b)
{
    return a.slot != b.slot ? (a.slot < b.slot ? -1 : 1)
                            : (a.record > b.record) - (a.record < b.record);
}

static struct sop_commit put(const char *key, const char *value)
{
    struct sop_commit done;
    struct sop_entry e = entry(key, value);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_upsert(db_kit_open(&kit, t, "s"), &e, &kit.err), kit.err);
    OK(sop_txn_commit(&t, &done, &kit.err), kit.err);
    return done;
}

static void spend_ms(long ms)
{
    struct timespec begin;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 < ms);
}

/* As if the process had died, and open again. */
static void die_and_reopen(void)
{
    sop_db_abandon(&kit.db);
    OK(sop_db_open(&kit.db, kit.dir.path, NULL, &kit.err), kit.err);
}

/* ---- options -------------------------------------------------------------------------------
 */

START_TEST(bad_options_are_refused)
{
    struct sop_txn *t = NULL;
    struct sop_txn_options o;
    struct sop_snapshot *pin = NULL;
    sop_txn_options_init(&o);
    ck_assert(o.mode == SOP_WRITE && o.max_time_ms == 15 * 60 * 1000);
    o.size = 8;
    FAILS(INVALID, sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    sop_txn_options_init(&o);
    o.mode = (enum sop_txn_mode)4;
    FAILS(INVALID, sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    sop_txn_options_init(&o);
    o.max_time_ms = 0;
    FAILS(INVALID, sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    o.max_time_ms = 3600001;
    FAILS(INVALID, sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    o.max_time_ms = 3600000;
    OK(sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    sop_txn_rollback(&t);
    OK(sop_snapshot_pin(&pin, kit.db, &kit.err), kit.err);
    sop_txn_options_init(&o);
    o.at = pin;
    FAILS(INVALID, sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    o.mode = SOP_NO_CHECK;
    FAILS(INVALID, sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    ck_assert_ptr_null(t);
    struct db_kit other;
    db_kit_init(&other);
    o.mode = SOP_READ;
    FAILS(INVALID, sop_txn_begin(&t, other.db, &o, &kit.err), kit.err);
    db_kit_fini(&other);
    sop_snapshot_release(&pin);
    ck_assert_ptr_null(pin);
    sop_snapshot_release(&pin);
    sop_snapshot_release(NULL);
    ck_assert_uint_eq(stats_of(&kit).pins, 0);
}
END_TEST

START_TEST(an_old_transaction_does_not_commit)
{
    struct sop_txn *t = NULL;
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.max_time_ms = 1;
    OK(sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    db_kit_add(&kit, db_kit_open(&kit, t, "s"), "k", "v");
    spend_ms(3);
    FAILS(TIMEOUT, sop_txn_commit(&t, NULL, &kit.err), kit.err);
    ck_assert_ptr_null(t);
    ck_assert_ptr_null(db_kit_read(&kit, "s", "k"));
    OK(sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    db_kit_add(&kit, db_kit_open(&kit, t, "s"), "k", "v");
    spend_ms(3);
    FAILS(TIMEOUT, sop_txn_prepare(&t, &kit.err), kit.err);
    ck_assert_ptr_null(t);
}
END_TEST

START_TEST(the_memory_limit_is_kept)
{
    static uint8_t value[10000];
    struct sop_txn *t = NULL;
    struct sop_txn_options o;
    int rc = 0;
    unsigned n = 0;
    sop_txn_options_init(&o);
    o.memory_bytes = 1u << 20;
    OK(sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (; rc == 0; n++) {
        struct sop_entry e = {.key = text(numbered(n)), .value = bytes(value, sizeof value)};
        rc = sop_add(s, &e, &kit.err);
    }
    ck_assert_int_eq(rc, SOP_ERR_LIMIT);
    ck_assert_uint_gt(n, 50);
    ck_assert_uint_lt(n, 107);
    db_kit_commit(&kit, t); /* what fitted is committed all the same */
    ck_assert_uint_eq(db_kit_count(&kit, "s"), n - 1);
    OK(sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err); /* reads count, too */
    s = db_kit_open(&kit, t, "s");
    for (rc = 0, n = 0; rc == 0 && n < 1000000; n++) {
        struct sop_view v;
        rc = sop_get(s, text(numbered(n)), &v, &kit.err);
        rc = rc == SOP_ERR_NOT_FOUND ? 0 : rc;
    }
    ck_assert_int_eq(rc, SOP_ERR_LIMIT);
    sop_txn_rollback(&t);
}
END_TEST

START_TEST(not_before_waits_for_nobody)
{
    struct sop_txn *t = NULL;
    struct sop_txn_options o;
    struct sop_commit done = put("k", "1");
    ck_assert_int_eq(done.durable, SOP_DURABLE_COMMIT);
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    o.not_before = done.lsn;
    OK(sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    ck_assert_int_eq(lsn_cmp(sop_txn_lsn(t), done.lsn), 0);
    struct sop_commit read;
    OK(sop_txn_commit(&t, &read, &kit.err), kit.err); /* what it read */
    ck_assert_int_eq(lsn_cmp(read.lsn, done.lsn), 0);
    o.not_before.record++;
    FAILS(NOT_FOUND, sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    ck_assert_ptr_null(t);
    ck_assert_uint_eq(stats_of(&kit).pins, 0);
    ck_assert_int_eq(lsn_cmp(sop_txn_lsn(NULL), (struct sop_lsn){0, 0}), 0);
}
END_TEST

/* ---- modes ---------------------------------------------------------------------------------
 */

START_TEST(readers_by_mode)
{
    put("k", "1");
    struct sop_txn *strict = db_kit_begin(&kit, SOP_READ);
    struct sop_txn *relaxed = db_kit_begin(&kit, SOP_READ_RELAXED);
    struct sop_txn *none = db_kit_begin(&kit, SOP_NO_CHECK);
    struct sop_store *s[3] = {db_kit_open(&kit, strict, "s"), db_kit_open(&kit, relaxed, "s"),
                              db_kit_open(&kit, none, "s")};
    for (int i = 0; i < 3; i++) {
        ck_assert_str_eq(db_kit_get(&kit, s[i], "k"), "1");
    }
    struct sop_commit done = put("k", "2");
    ck_assert_str_eq(db_kit_get(&kit, s[0], "k"), "1");
    ck_assert_str_eq(db_kit_get(&kit, s[1], "k"), "1");
    ck_assert_str_eq(db_kit_get(&kit, s[2], "k"), "2"); /* each call sees the newest */
    ck_assert_int_eq(lsn_cmp(sop_txn_lsn(none), done.lsn), 0);
    uint64_t items = 0;
    put("l", "1");
    OK(sop_store_count(s[2], false, &items, &kit.err), kit.err);
    ck_assert_uint_eq(items, 2);
    OK(sop_store_count(s[0], false, &items, &kit.err), kit.err);
    ck_assert_uint_eq(items, 1);
    db_kit_commit(&kit, strict);
    sop_txn_rollback(&relaxed);
    db_kit_commit(&kit, none);
}
END_TEST

START_TEST(reading_commits_never_conflict)
{
    uint64_t conflicts = stats_of(&kit).conflicts;
    put("k", "1");
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    ck_assert_str_eq(db_kit_get(&kit, db_kit_open(&kit, t, "s"), "k"), "1");
    put("k", "2");
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_WRITE); /* one that only read is checked */
    ck_assert_str_eq(db_kit_get(&kit, db_kit_open(&kit, t, "s"), "k"), "2");
    put("k", "3");
    db_kit_conflicts(&kit, t);
    ck_assert_uint_eq(stats_of(&kit).conflicts, conflicts + 1);
}
END_TEST

START_TEST(empty_commits_cost_nothing)
{
    struct sop_commit done;
    uint64_t batches = stats_of(&kit).batches;
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_txn_commit(&t, &done, &kit.err), kit.err);
    ck_assert_uint_eq(done.id.member, 0);
    t = db_kit_begin(&kit, SOP_WRITE);
    db_kit_add(&kit, db_kit_open(&kit, t, "s"), "k", "v");
    OK(sop_remove(db_kit_open(&kit, t, "s"), text("k"), &kit.err), kit.err);
    OK(sop_txn_commit(&t, &done, &kit.err), kit.err);
    ck_assert_uint_eq(stats_of(&kit).batches, batches);
    enum sop_txn_outcome outcome;
    if (done.id.member == 0) {
        FAILS(INVALID, sop_txn_status(kit.db, &done.id, &outcome, &kit.err), kit.err);
    }
}
END_TEST

/* ---- snapshots -----------------------------------------------------------------------------
 */

START_TEST(snapshots_stay)
{
    struct sop_snapshot *pins[5];
    struct sop_txn_options o;
    char value[16];
    sop_txn_options_init(&o);
    for (int i = 0; i < 5; i++) {
        (void)snprintf(value, sizeof value, "%d", i);
        struct sop_commit done = put("k", value);
        OK(sop_snapshot_pin(&pins[i], kit.db, &kit.err), kit.err);
        ck_assert_int_eq(lsn_cmp(sop_snapshot_lsn(pins[i]), done.lsn), 0);
    }
    ck_assert_uint_eq(stats_of(&kit).pins, 5);
    put("k", "newest");
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    OK(sop_db_compact(kit.db, &kit.err), kit.err);
    FAILS(BUSY, sop_db_close(&kit.db, &kit.err), kit.err);
    ck_assert_ptr_nonnull(kit.db);
    static const int order[] = {3, 0, 4, 1, 2};
    for (int i = 0; i < 5; i++) {
        struct sop_txn *t = NULL;
        o.mode = i % 2 ? SOP_READ : SOP_READ_RELAXED;
        o.at = pins[order[i]];
        OK(sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
        sop_snapshot_release(&pins[order[i]]); /* the transaction holds it on its own */
        (void)snprintf(value, sizeof value, "%d", order[i]);
        ck_assert_str_eq(db_kit_get(&kit, db_kit_open(&kit, t, "s"), "k"), value);
        db_kit_commit(&kit, t);
    }
    ck_assert_uint_eq(stats_of(&kit).pins, 0);
}
END_TEST

/* ---- hooks ---------------------------------------------------------------------------------
 */

static char heard[64];

struct listener {
    char name;
    uint64_t member;
};

static void listen(void *arg, bool committed, const struct sop_commit *result)
{
    struct listener *l = arg;
    size_t n = strlen(heard);
    ck_assert_int_eq(committed, result != NULL);
    heard[n] = l->name;
    heard[n + 1] = committed ? '+' : '-';
    heard[n + 2] = 0;
    l->member = committed ? result->id.member : 0;
}

static struct sop_txn *listened(struct listener *a, struct listener *b)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    heard[0] = 0;
    OK(sop_txn_on_commit(t, listen, a, &kit.err), kit.err);
    OK(sop_txn_on_commit(t, listen, b, &kit.err), kit.err);
    return t;
}

START_TEST(hooks_hear_the_outcome_once_in_order)
{
    struct listener a = {'a', 9};
    struct listener b = {'b', 9};
    struct sop_commit done;
    struct sop_txn *t = listened(&a, &b);
    db_kit_add(&kit, db_kit_open(&kit, t, "s"), "k", "1");
    OK(sop_txn_commit(&t, &done, &kit.err), kit.err);
    ck_assert_str_eq(heard, "a+b+");
    ck_assert_uint_eq(a.member, done.id.member);
    ck_assert_uint_ne(a.member, 0);
    t = listened(&a, &b);
    sop_txn_rollback(&t);
    ck_assert_str_eq(heard, "a-b-");
    t = listened(&a, &b);
    ck_assert_ptr_nonnull(db_kit_get(&kit, db_kit_open(&kit, t, "s"), "k"));
    put("k", "2");
    db_kit_conflicts(&kit, t);
    ck_assert_str_eq(heard, "a-b-");
    t = listened(&a, &b);
    ck_assert_ptr_nonnull(db_kit_get(&kit, db_kit_open(&kit, t, "s"), "k"));
    put("k", "3");
    FAILS(CONFLICT, sop_txn_prepare(&t, &kit.err), kit.err);
    ck_assert_ptr_null(t);
    ck_assert_str_eq(heard, "a-b-");
    t = listened(&a, &b);
    db_kit_add(&kit, db_kit_open(&kit, t, "s"), "l", "1");
    OK(sop_txn_prepare(&t, &kit.err), kit.err);
    ck_assert_str_eq(heard, "");
    db_kit_commit(&kit, t);
    ck_assert_str_eq(heard, "a+b+");
    FAILS(CLOSED, sop_txn_on_commit(NULL, listen, &a, &kit.err), kit.err);
}
END_TEST

/* ---- two phases ----------------------------------------------------------------------------
 */

START_TEST(only_open_writers_are_prepared)
{
    struct sop_view v;
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    FAILS(INVALID, sop_txn_prepare(&t, &kit.err), kit.err);
    ck_assert_ptr_nonnull(t);
    db_kit_commit(&kit, t);
    t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    db_kit_add(&kit, s, "k", "v");
    OK(sop_txn_prepare(&t, &kit.err), kit.err);
    FAILS(INVALID, sop_txn_prepare(&t, &kit.err), kit.err);
    FAILS(CLOSED, sop_get(s, text("k"), &v, &kit.err), kit.err);
    FAILS(CLOSED, sop_store_open(&s, t, "s", &kit.err), kit.err);
    FAILS(BUSY, sop_db_close(&kit.db, &kit.err), kit.err);
    sop_txn_rollback(&t);
    ck_assert_ptr_null(db_kit_read(&kit, "s", "k"));
    FAILS(CLOSED, sop_txn_prepare(&t, &kit.err), kit.err);
    FAILS(CLOSED, sop_txn_prepare(NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_txn_commit(&t, NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_txn_commit(NULL, NULL, &kit.err), kit.err);
    sop_txn_rollback(&t);
    sop_txn_rollback(NULL);
}
END_TEST

START_TEST(a_prepared_one_commits_whatever_happens)
{
    struct sop_commit done;
    struct sop_store_options so;
    sop_store_options_init(&so);
    so.slot_length = 2;
    db_kit_store(&kit, "tiny", &so);
    struct sop_txn *p = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *fresh = NULL;
    OK(sop_store_create(&fresh, p, "made", NULL, &kit.err), kit.err);
    db_kit_add(&kit, fresh, "k", "v");
    db_kit_add(&kit, db_kit_open(&kit, p, "tiny"), "m", "prepared");
    OK(sop_txn_prepare(&p, &kit.err), kit.err);
    for (char c = 'a'; c <= 'z'; c++) { /* the page it will change splits meanwhile */
        char key[2] = {c, 0};
        if (c != 'm') {
            db_kit_put(&kit, "tiny", key, "other");
        }
    }
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = NULL;
    OK(sop_store_create(&s, t, "made", NULL, &kit.err), kit.err);
    db_kit_conflicts(&kit, t);
    t = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_store_remove(t, "tiny", &kit.err), kit.err);
    db_kit_conflicts(&kit, t);
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    OK(sop_txn_commit(&p, &done, &kit.err), kit.err);
    ck_assert_uint_ne(done.id.member, 0);
    enum sop_txn_outcome outcome = SOP_NOT_COMMITTED;
    OK(sop_txn_status(kit.db, &done.id, &outcome, &kit.err), kit.err);
    ck_assert_int_eq(outcome, SOP_COMMITTED);
    die_and_reopen();
    ck_assert_str_eq(db_kit_read(&kit, "tiny", "m"), "prepared");
    ck_assert_str_eq(db_kit_read(&kit, "made", "k"), "v");
    ck_assert_uint_eq(db_kit_count(&kit, "tiny"), 26);
    OK(sop_txn_status(kit.db, &done.id, &outcome, &kit.err), kit.err);
    ck_assert_int_eq(outcome, SOP_COMMITTED);
}
END_TEST

START_TEST(outcomes_can_be_asked_for)
{
    enum sop_txn_outcome outcome = SOP_TOO_OLD_TO_TELL;
    struct sop_commit done = put("k", "1");
    OK(sop_txn_status(kit.db, &done.id, &outcome, &kit.err), kit.err);
    ck_assert_int_eq(outcome, SOP_COMMITTED);
    struct sop_txn_id never = done.id;
    never.batch += 1000;
    OK(sop_txn_status(kit.db, &never, &outcome, &kit.err), kit.err);
    ck_assert_int_eq(outcome, SOP_NOT_COMMITTED);
    die_and_reopen();
    OK(sop_txn_status(kit.db, &done.id, &outcome, &kit.err), kit.err);
    ck_assert_int_eq(outcome, SOP_COMMITTED);
    OK(sop_txn_status(kit.db, &never, &outcome, &kit.err), kit.err);
    ck_assert_int_eq(outcome, SOP_NOT_COMMITTED);
    struct sop_commit later = put("k", "2");
    put("k", "3");
    OK(sop_txn_status(kit.db, &later.id, &outcome, &kit.err), kit.err);
    ck_assert_int_eq(outcome, SOP_TOO_OLD_TO_TELL);
    OK(sop_txn_status(kit.db, &done.id, &outcome, &kit.err), kit.err);
    ck_assert_int_eq(outcome, SOP_COMMITTED); /* the last of the opening that died */
    done = put("k", "4");
    db_kit_reopen(&kit); /* a closing leaves nothing in doubt */
    OK(sop_txn_status(kit.db, &done.id, &outcome, &kit.err), kit.err);
    ck_assert_int_eq(outcome, SOP_TOO_OLD_TO_TELL);
    never = (struct sop_txn_id){0};
    FAILS(INVALID, sop_txn_status(kit.db, &never, &outcome, &kit.err), kit.err);
    FAILS(CLOSED, sop_txn_status(NULL, &done.id, &outcome, &kit.err), kit.err);
}
END_TEST

/* ---- the retry helper ----------------------------------------------------------------------
 */

struct body {
    int calls, conflicts; /* how many times others are faster */
    int fails_with;
};

static int count_up(void *arg, struct sop_txn *t, struct sop_err *err)
{
    struct body *b = arg;
    struct sop_store *s = NULL;
    struct sop_view v;
    char value[16];
    b->calls++;
    int rc = sop_store_open(&s, t, "s", err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_get(s, text("n"), &v, err);
    if (rc != 0 && rc != SOP_ERR_NOT_FOUND) {
        return rc;
    }
    size_t length = rc == 0 ? v.value.len : 0;
    ck_assert_uint_lt(length, sizeof value);
    if (length > 0) {
        memcpy(value, v.value.data, length);
    }
    value[length] = '\0'; /* a view ends with its bytes */
    int n = atoi(value);
    (void)snprintf(value, sizeof value, "%d;", n + 1);
    struct sop_entry e = entry("n", value);
    rc = sop_upsert(s, &e, err);
    if (b->calls <= b->conflicts) {
        put("n", value);
    }
    return b->fails_with != 0 ? sop_err_set(err, b->fails_with, 0, __FILE__, __LINE__, "told")
                              : rc;
}

START_TEST(run_tries_again)
{
    struct sop_commit done;
    struct body b = {.conflicts = 0};
    OK(sop_txn_run(kit.db, NULL, 0, count_up, &b, &done, &kit.err), kit.err);
    ck_assert_int_eq(b.calls, 1);
    ck_assert_str_eq(db_kit_read(&kit, "s", "n"), "1;");
    b = (struct body){.conflicts = 3};
    OK(sop_txn_run(kit.db, NULL, 0, count_up, &b, NULL, &kit.err), kit.err);
    ck_assert_int_eq(b.calls, 4);
    ck_assert_str_eq(db_kit_read(&kit, "s", "n"), "5;"); /* three by others */
    b = (struct body){.conflicts = 100};
    FAILS(CONFLICT, sop_txn_run(kit.db, NULL, 3, count_up, &b, NULL, &kit.err), kit.err);
    ck_assert_int_eq(b.calls, 3);
    b = (struct body){.fails_with = SOP_ERR_INVALID}; /* not tried again */
    FAILS(INVALID, sop_txn_run(kit.db, NULL, 3, count_up, &b, NULL, &kit.err), kit.err);
    ck_assert_int_eq(b.calls, 1);
    b = (struct body){.fails_with = SOP_ERR_CANCELLED}; /* a RESTART code */
    FAILS(CANCELLED, sop_txn_run(kit.db, NULL, 2, count_up, &b, NULL, &kit.err), kit.err);
    ck_assert_int_eq(b.calls, 2);
    ck_assert_str_eq(db_kit_read(&kit, "s", "n"), "8;");
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    b = (struct body){.conflicts = 0};
    FAILS(READ_ONLY, sop_txn_run(kit.db, &o, 3, count_up, &b, NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_txn_run(NULL, NULL, 3, count_up, &b, NULL, &kit.err), kit.err);
    OK(sop_txn_run(kit.db, NULL, 0, count_up, &b, NULL, NULL), kit.err); /* err may be NULL */
}
END_TEST

static void names(const char *part)
{
    ck_assert_msg(strstr(kit.err.text, part) != NULL, "%s", kit.err.text);
}

START_TEST(conflicts_name_their_store)
{
    struct sop_store *s = NULL;
    struct sop_view v;
    for (int prepares = 0; prepares < 2; prepares++) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        db_kit_store(&kit, prepares ? "other" : "one more", NULL);
        s = db_kit_open(&kit, t, "s");
        FAILS(NOT_FOUND, sop_get(s, text("k"), &v, &kit.err), kit.err);
        db_kit_add(&kit, s, "mine", "1");
        put("k", "1");
        FAILS(CONFLICT,
              prepares ? sop_txn_prepare(&t, &kit.err) : sop_txn_commit(&t, NULL, &kit.err),
              kit.err);
        names("store s: ");
        OK(sop_txn_begin(&t, kit.db, NULL, &kit.err), kit.err);
        OK(sop_remove(db_kit_open(&kit, t, "s"), text("k"), &kit.err), kit.err);
        db_kit_commit(&kit, t);
    }
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE); /* two make the same store */
    OK(sop_store_create(&s, t, "both", NULL, &kit.err), kit.err);
    db_kit_store(&kit, "both", NULL);
    FAILS(CONFLICT, sop_txn_commit(&t, NULL, &kit.err), kit.err);
    names("the list of stores: ");
}
END_TEST

START_TEST(errors_need_not_be_wanted)
{
    struct sop_view v;
    struct sop_store *s = NULL;
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    ck_assert_int_eq(sop_store_open(&s, t, "none", NULL), SOP_ERR_NOT_FOUND);
    ck_assert_int_eq(sop_get(db_kit_open(&kit, t, "s"), text("k"), &v, NULL),
                     SOP_ERR_NOT_FOUND);
    put("k", "1");
    ck_assert_int_eq(sop_txn_commit(&t, NULL, NULL), SOP_ERR_CONFLICT);
    ck_assert_int_eq(sop_txn_begin(&t, NULL, NULL, NULL), SOP_ERR_CLOSED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("transactions");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 300);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, bad_options_are_refused);
    tcase_add_test(all, an_old_transaction_does_not_commit);
    tcase_add_test(all, the_memory_limit_is_kept);
    tcase_add_test(all, not_before_waits_for_nobody);
    tcase_add_test(all, readers_by_mode);
    tcase_add_test(all, reading_commits_never_conflict);
    tcase_add_test(all, empty_commits_cost_nothing);
    tcase_add_test(all, snapshots_stay);
    tcase_add_test(all, hooks_hear_the_outcome_once_in_order);
    tcase_add_test(all, only_open_writers_are_prepared);
    tcase_add_test(all, a_prepared_one_commits_whatever_happens);
    tcase_add_test(all, outcomes_can_be_asked_for);
    tcase_add_test(all, run_tries_again);
    tcase_add_test(all, conflicts_name_their_store);
    tcase_add_test(all, errors_need_not_be_wanted);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
