/* Somebody opens a database for writing while its owner goes on: at each operation of the
 * opening the owner writes checkpoints and sweeps what they do not need. Then it lives on and
 * is taken over, or it closes in order. Whoever opens must not build on what was swept, and
 * must not sweep what it did not know of: nothing is lost, then or later. */
#include "engine/db/db_int.h"
#include "engine/volume/sim.h"
#include "tests/lib/api_kit.h"
#include "tests/lib/watch_volume.h"

#include <pthread.h>

#define ITEMS       40u
#define BIG_BYTES   8000u
#define BIG_COMMITS 400u /* fills more than one journal file, so that the first may go */

static struct sop_volume *disk, *watched;
static struct db_kit owner, taker;
static uint64_t wanted, seen;
static bool closes;

/* One commit and one checkpoint; false: the owner has been relieved. */
static bool checkpoint(unsigned number)
{
    struct sop_txn *t = NULL;
    struct sop_store *s = NULL;
    struct sop_entry e = entry("changed", number % 2 == 0 ? "even" : "odd");
    int rc = sop_txn_begin(&t, owner.db, NULL, &owner.err);
    if (rc == 0) {
        rc = sop_store_open(&s, t, "s", &owner.err);
    }
    if (rc == 0) {
        rc = sop_upsert(s, &e, &owner.err);
    }
    if (rc == 0) {
        rc = sop_txn_commit(&t, NULL, &owner.err);
    }
    sop_txn_rollback(&t);
    return rc == 0 && sop_db_checkpoint(owner.db, &owner.err) == 0;
}

/* Enough checkpoints to sweep everything that was named before. */
static void *move_on(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i <= SOP_CHECKPOINTS_KEPT && checkpoint(i); i++) {
    }
    if (closes) {
        OK(sop_db_close(&owner.db, &owner.err), owner.err);
    }
    return NULL;
}

/* On another thread: the one that opens holds locks. */
static void before(void *arg, enum sop_fault_op op)
{
    pthread_t thread;
    (void)arg;
    (void)op;
    if (seen++ == wanted) {
        ck_assert_int_eq(pthread_create(&thread, NULL, move_on, NULL), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    }
}

static int open_on(struct sop_volume *volume, bool ignore_lock, struct db_kit *k)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = true;
    o.manual = true;
    o.ignore_lock = ignore_lock;
    return sop_db_open_on(&k->db, volume, sop_env_system(), &o, 0, &k->err);
}

static void make_database(void)
{
    static uint8_t big[BIG_BYTES];
    struct watch_calls calls = {.before = before};
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.slot_length = 4;
    OK(sop_volume_sim_new(&disk, &owner.err), owner.err);
    watched = watch_volume_new(disk, &calls);
    OK(open_on(disk, false, &owner), owner.err);
    db_kit_store(&owner, "s", &o);
    for (unsigned i = 0; i < ITEMS; i++) {
        db_kit_put(&owner, "s", numbered(i), "value");
    }
    for (unsigned i = 0; i < BIG_COMMITS; i++) {
        struct sop_txn *t = db_kit_begin(&owner, SOP_WRITE);
        struct sop_entry e = {.key = text("big"), .value = bytes(big, sizeof big)};
        OK(sop_upsert(db_kit_open(&owner, t, "s"), &e, &owner.err), owner.err);
        db_kit_commit(&owner, t);
    }
    for (unsigned i = 0; i <= SOP_CHECKPOINTS_KEPT; i++) {
        ck_assert(checkpoint(i));
    }
}

static void check(struct db_kit *k)
{
    for (unsigned i = 0; i < ITEMS; i++) {
        IS(text(db_kit_read(k, "s", numbered(i))), "value");
    }
    db_kit_verify(k);
}

/* The taker works and sweeps. */
static void go_on(void)
{
    check(&taker);
    for (unsigned i = 0; i <= SOP_CHECKPOINTS_KEPT; i++) {
        db_kit_put(&taker, "s", "taken", numbered(i));
        OK(sop_db_checkpoint(taker.db, &taker.err), taker.err);
    }
    check(&taker);
}

START_TEST(an_opening_that_is_overtaken_loses_nothing)
{
    closes = _i == 1;
    bool over = false;
    unsigned opened = 0;
    for (wanted = 0; !over; wanted++) {
        make_database();
        seen = 0;
        int rc = open_on(watched, !closes, &taker);
        over = seen <= wanted;
        seen = UINT64_MAX / 2; /* nothing happens any more */
        if (rc == 0) {
            opened++;
            go_on();
            sop_db_abandon(&taker.db);
        } else { /* the owner closed too late for it */
            ck_assert_msg(closes && rc == SOP_ERR_BUSY, "%s", taker.err.text);
            over = over || owner.db != NULL;
        }
        sop_db_abandon(&owner.db);
        OK(open_on(disk, false, &taker), taker.err);
        check(&taker);
        OK(sop_db_close(&taker.db, &taker.err), taker.err);
        sop_volume_destroy(watched);
        sop_volume_destroy(disk);
    }
    ck_assert_uint_gt(opened, 5);
}
END_TEST

/* ---- an owner that was relieved and does not know it ---------------------------------------
 *
 * Its transactions still begin: whether the state they began at is the newest one is asked
 * before the first answer. */

static int one_store(void *arg, const struct sop_store_info *info, struct sop_err *err)
{
    (void)arg;
    (void)info;
    (void)err;
    return 0;
}

static int ask_cursor(struct sop_store *s, struct sop_err *err)
{
    struct sop_cursor *c = NULL;
    int rc = sop_cursor_open(&c, s, err);
    rc = rc == 0 ? sop_cursor_first(c, err) : rc;
    sop_cursor_close(&c);
    return rc;
}

static int ask_range(struct sop_store *s, struct sop_err *err)
{
    struct sop_range *r = NULL;
    struct sop_view view;
    size_t n;
    int rc = sop_range_open(&r, s, NULL, err);
    rc = rc == 0 ? sop_range_next(r, &view, 1, &n, err) : rc;
    sop_range_close(&r);
    return rc;
}

#define READS     8 /* the first questions; the others need SOP_WRITE */
#define QUESTIONS 13

static int ask(unsigned question, struct sop_txn *t, struct sop_store *s, struct sop_err *err)
{
    struct sop_store_info info;
    struct sop_store *other = NULL;
    struct sop_view view;
    uint64_t items;
    bool found;
    struct sop_slice key = text("k");
    struct sop_entry e = entry("k", "relieved");
    struct sop_entry absent = entry("absent", "relieved");
    switch (question) {
    case 0:
        return sop_get(s, key, &view, err);
    case 1:
        return sop_get_many(s, &key, 1, &view, &found, err);
    case 2:
        return ask_cursor(s, err);
    case 3:
        return ask_range(s, err);
    case 4:
        return sop_store_count(s, false, &items, err);
    case 5:
        return sop_store_info(s, &info, err);
    case 6:
        return sop_store_open(&other, t, "no such store", err);
    case 7:
        return sop_store_list(t, NULL, one_store, NULL, err);
    case 8:
        return sop_add(s, &e, err);
    case 9:
        return sop_add_if_absent(s, &absent, &found, err);
    case 10:
        return sop_update(s, &absent, err);
    case 11:
        return sop_remove(s, absent.key, err);
    default:
        return sop_store_create(&other, t, "s", NULL, err);
    }
}

static void relieve(void)
{
    OK(open_on(disk, true, &taker), taker.err);
    db_kit_put(&taker, "s", "k", "newer");
}

/* _i: what is asked. Each way of asking has its own owner, who stops at the first answer. */
START_TEST(a_relieved_owner_answers_nothing)
{
    for (int way = 0; way < 4; way++) {
        bool writes = way % 2 == 1;
        bool early = way < 2; /* began while it still owned the database */
        if (_i >= READS && !writes) {
            continue;
        }
        OK(sop_volume_sim_new(&disk, &owner.err), owner.err);
        OK(open_on(disk, false, &owner), owner.err);
        db_kit_store(&owner, "s", NULL);
        db_kit_put(&owner, "s", "k", "older");
        if (!early) {
            relieve();
        }
        struct sop_txn *t = db_kit_begin(&owner, writes ? SOP_WRITE : SOP_READ);
        struct sop_store *s = db_kit_open(&owner, t, "s"); /* known already */
        if (early) {
            relieve();
        }
        FAILS(SEALED, ask((unsigned)_i, t, s, &owner.err), owner.err);
        sop_txn_rollback(&t);
        FAILS(STOPPED, sop_txn_begin(&t, owner.db, NULL, &owner.err), owner.err);
        sop_db_abandon(&owner.db);
        ck_assert_str_eq(db_kit_read(&taker, "s", "k"), "newer");
        sop_db_abandon(&taker.db);
        sop_volume_destroy(disk);
    }
}
END_TEST

START_TEST(a_relieved_owner_commits_nothing_and_copies_nothing)
{
    struct sop_volume *target;
    OK(sop_volume_sim_new(&disk, &owner.err), owner.err);
    OK(sop_volume_sim_new(&target, &owner.err), owner.err);
    OK(open_on(disk, false, &owner), owner.err);
    db_kit_store(&owner, "s", NULL);
    db_kit_put(&owner, "s", "k", "older");
    struct sop_txn *asked = db_kit_begin(&owner, SOP_READ);
    struct sop_store *s = db_kit_open(&owner, asked, "s");
    ck_assert_str_eq(db_kit_get(&owner, s, "k"), "older");
    relieve();
    ck_assert_str_eq(db_kit_get(&owner, s, "k"), "older"); /* its moment stays what it was */
    sop_txn_rollback(&asked);
    if (_i == 0) {
        FAILS(SEALED, sop_db__backup_on(owner.db, target, &owner.err), owner.err);
    } else {
        struct sop_entry e = entry("k", "relieved");
        struct sop_txn *t = db_kit_begin(&owner, SOP_WRITE);
        OK(sop_upsert(db_kit_open(&owner, t, "s"), &e, &owner.err), owner.err); /* blind */
        FAILS(SEALED, sop_txn_commit(&t, NULL, &owner.err), owner.err);
    }
    sop_db_abandon(&owner.db);
    ck_assert_str_eq(db_kit_read(&taker, "s", "k"), "newer");
    sop_db_abandon(&taker.db);
    sop_volume_destroy(target);
    sop_volume_destroy(disk);
}
END_TEST

/* _i: SOP_WRITE or SOP_READ. Nothing was asked but a handle; and what is not there yet. */
START_TEST(a_relieved_owner_confirms_nothing)
{
    struct sop_txn_options o;
    struct sop_txn *t = NULL;
    OK(sop_volume_sim_new(&disk, &owner.err), owner.err);
    OK(open_on(disk, false, &owner), owner.err);
    db_kit_store(&owner, "s", NULL);
    db_kit_put(&owner, "s", "k", "older");
    t = db_kit_begin(&owner, SOP_READ); /* the facts of the store are known from now on */
    (void)db_kit_open(&owner, t, "s");
    sop_txn_rollback(&t);
    relieve();
    sop_txn_options_init(&o);
    o.mode = _i < 2 ? SOP_WRITE : SOP_READ;
    if (_i % 2 == 0) {
        OK(sop_txn_begin(&t, owner.db, &o, &owner.err), owner.err);
        (void)db_kit_open(&owner, t, "s");
        FAILS(SEALED, sop_txn_commit(&t, NULL, &owner.err), owner.err);
    } else {
        o.not_before = (struct sop_lsn){UINT64_MAX, 0};
        FAILS(SEALED, sop_txn_begin(&t, owner.db, &o, &owner.err), owner.err);
    }
    sop_db_abandon(&owner.db);
    sop_db_abandon(&taker.db);
    sop_volume_destroy(disk);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("overtaken openings");
    TCase *t = tcase_create("each operation");
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, an_opening_that_is_overtaken_loses_nothing, 0, 2);
    tcase_add_loop_test(t, a_relieved_owner_answers_nothing, 0, QUESTIONS);
    tcase_add_loop_test(t, a_relieved_owner_commits_nothing_and_copies_nothing, 0, 2);
    tcase_add_loop_test(t, a_relieved_owner_confirms_nothing, 0, 4);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
