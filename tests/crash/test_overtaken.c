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

int main(void)
{
    Suite *s = suite_create("overtaken openings");
    TCase *t = tcase_create("each operation");
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, an_opening_that_is_overtaken_loses_nothing, 0, 2);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
