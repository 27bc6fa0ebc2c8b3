/* A read-only opening pins nothing: while it reads, the owner may write checkpoints and sweep
 * what they do not need. At each operation of an opening the owner does so; the opening begins
 * again with what is there now, and succeeds. One that is open already and reads what has been
 * compacted away is told to look again. */
#include "engine/db/db_int.h"
#include "engine/volume/sim.h"
#include "tests/lib/api_kit.h"
#include "tests/lib/watch_volume.h"

#include <pthread.h>

#define ITEMS 40u

static struct sop_volume *disk, *watched;
static struct db_kit kit;
static uint64_t wanted, seen;

static int open_on(struct sop_volume *volume, bool owner, struct sop_db **db)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = owner;
    o.read_only = !owner;
    o.manual = true;
    return sop_db_open_on(db, volume, sop_env_system(), &o, 0, &kit.err);
}

/* Enough checkpoints to sweep everything that was named before. */
static void *move_on(void *arg)
{
    struct db_kit *owner = arg;
    for (unsigned i = 0; i <= SOP_CHECKPOINTS_KEPT; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%06u", i * 10);
        db_kit_put(owner, "s", key, "new");
        OK(sop_db_checkpoint(owner->db, &owner->err), owner->err);
    }
    return NULL;
}

/* On another thread: the one that opens holds locks. */
static void before(void *arg, enum sop_fault_op op)
{
    pthread_t thread;
    (void)op;
    if (seen++ == wanted) {
        ck_assert_int_eq(pthread_create(&thread, NULL, move_on, arg), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    }
}

static void check_items(struct sop_db *db)
{
    struct sop_txn *t = NULL;
    struct sop_store *s = NULL;
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    OK(sop_txn_begin(&t, db, &o, &kit.err), kit.err);
    OK(sop_store_open(&s, t, "s", &kit.err), kit.err);
    for (unsigned i = 0; i < ITEMS; i++) {
        struct sop_view view;
        OK(sop_get(s, text(numbered(i)), &view, &kit.err), kit.err);
    }
    sop_txn_rollback(&t);
}

START_TEST(an_opening_outruns_the_sweep)
{
    struct db_kit owner = {0};
    struct watch_calls calls = {.before = before, .arg = &owner};
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.slot_length = 4;
    OK(sop_volume_sim_new(&disk, &kit.err), kit.err);
    watched = watch_volume_new(disk, &calls);
    OK(open_on(disk, true, &owner.db), kit.err);
    db_kit_store(&owner, "s", &o);
    for (unsigned i = 0; i < ITEMS; i++) {
        db_kit_put(&owner, "s", numbered(i), "old");
    }
    (void)move_on(&owner);
    for (wanted = 0, seen = 1; wanted < seen; wanted++) {
        struct sop_db *db = NULL;
        seen = 0;
        OK(open_on(watched, false, &db), kit.err);
        uint64_t end = seen; /* what is read later does not count */
        seen = UINT64_MAX / 2;
        check_items(db);
        OK(sop_db_close(&db, &kit.err), kit.err);
        seen = end;
    }
    ck_assert_uint_gt(wanted, 10);
    OK(sop_db_close(&owner.db, &kit.err), kit.err);
    sop_volume_destroy(watched);
    sop_volume_destroy(disk);
}
END_TEST

START_TEST(a_state_that_was_compacted_away_asks_for_a_refresh)
{
    struct db_kit owner = {0};
    struct sop_db *db = NULL;
    struct sop_txn *t = NULL;
    struct sop_store *s = NULL;
    struct sop_view view;
    OK(sop_volume_sim_new(&disk, &kit.err), kit.err);
    OK(open_on(disk, true, &owner.db), kit.err);
    db_kit_store(&owner, "s", NULL);
    for (unsigned i = 0; i < ITEMS; i++) {
        db_kit_put(&owner, "s", numbered(i), "old");
    }
    OK(sop_db_checkpoint(owner.db, &owner.err), owner.err);
    OK(sop_db_close(&owner.db, &kit.err), kit.err);
    OK(open_on(disk, true, &owner.db), kit.err); /* with a pack file of its own */
    db_kit_store(&owner, "t", NULL);
    OK(sop_db_checkpoint(owner.db, &owner.err), owner.err);
    OK(open_on(disk, false, &db), kit.err); /* knows the catalog, nothing of the store */
    for (unsigned i = 0; i < ITEMS; i++) {
        db_kit_put(&owner, "s", numbered(i), "new");
    }
    for (int i = 0; i < 3; i++) {
        OK(sop_db_compact(owner.db, &owner.err), owner.err);
    }
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    OK(sop_txn_begin(&t, db, &o, &kit.err), kit.err);
    int rc = sop_store_open(&s, t, "s", &kit.err);
    rc = rc == 0 ? sop_get(s, text(numbered(0)), &view, &kit.err) : rc;
    ck_assert_msg(rc == SOP_ERR_CONFLICT, "%s: %s", sop_err_name(rc), kit.err.text);
    ck_assert_ptr_nonnull(strstr(kit.err.text, "sop_db_refresh()"));
    sop_txn_rollback(&t);
    OK(sop_db_refresh(db, &kit.err), kit.err);
    check_items(db);
    OK(sop_db_close(&db, &kit.err), kit.err);
    OK(sop_db_close(&owner.db, &kit.err), kit.err);
    sop_volume_destroy(disk);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("observer");
    TCase *t = tcase_create("opening");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, an_opening_outruns_the_sweep);
    tcase_add_test(t, a_state_that_was_compacted_away_asks_for_a_refresh);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
