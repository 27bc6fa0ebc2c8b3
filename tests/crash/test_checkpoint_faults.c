/* Checkpoints that fail in the middle leave files that nobody names. Whatever is left of them,
 * after a power loss too, the database opens with all that was acknowledged; and the next
 * checkpoint is not hindered by them. */
#include "engine/db/db_int.h"
#include "engine/volume/fault.h"
#include "engine/volume/sim.h"
#include "tests/lib/db_kit.h"
#include "tests/lib/scale.h"
#include "tests/lib/write_once.h"

#include <errno.h>
#include <stdio.h>

#define KEYS       40
#define POINTS_MAX 200

static struct sop_volume *disk, *volume;
static struct db_kit kit;
static unsigned commits; /* what the database holds follows from it */

static struct sop_db *open_on(struct sop_volume *v, bool create)
{
    struct sop_db *db = NULL;
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = create;
    o.manual = true;
    OK(sop_db_open_on(&db, v, sop_env_system(), &o, 0, &kit.err), kit.err);
    return db;
}

static void key_of(unsigned i, char to[16])
{
    (void)snprintf(to, 16, "%08u", i);
}

/* One commit more: a few keys get its number. */
static void change(void)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    commits++;
    for (unsigned i = commits % 7; i < KEYS; i += 7) {
        char key[16];
        key_of(i, key);
        struct sop_entry e = {.key = text(key), .value = sop_slice(&commits, sizeof commits)};
        OK(sop_upsert(s, &e, &kit.err), kit.err);
    }
    db_kit_commit(&kit, t);
}

static void check(struct sop_db *db)
{
    struct sop_txn_options o;
    struct sop_txn *t = NULL;
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    OK(sop_txn_begin(&t, db, &o, &kit.err), kit.err);
    struct sop_store *s = NULL;
    OK(sop_store_open(&s, t, "s", &kit.err), kit.err);
    for (unsigned i = 0; i < KEYS; i++) {
        char key[16];
        struct sop_view view;
        unsigned last = 0;
        key_of(i, key);
        OK(sop_get(s, text(key), &view, &kit.err), kit.err);
        ck_assert_uint_eq(view.value.len, sizeof last);
        memcpy(&last, view.value.data, sizeof last);
        ck_assert_uint_eq(last, commits - (commits + 7 - i % 7) % 7);
    }
    sop_txn_rollback(&t);
}

/* The power goes now, in many ways: everything is there each time. */
static void lose_power(void)
{
    uint64_t ways = test_scale(8, 40, 400);
    for (uint64_t seed = 0; seed < ways; seed++) {
        struct sop_sim_crash how = {.seed = seed,
                                    .keep_sector = seed % 4 == 0 ? 50 : 100,
                                    .keep_names = seed % 3 == 0 ? 80 : 30};
        struct sop_volume *after = NULL;
        struct sop_verify_result result;
        OK(sop_volume_sim_crash(disk, &how, &after, &kit.err), kit.err);
        struct sop_db *db = open_on(after, false);
        check(db);
        OK(sop_db_verify(db, true, NULL, NULL, NULL, &result, &kit.err), kit.err);
        sop_db_abandon(&db);
        sop_volume_destroy(after);
    }
}

static void begin(void)
{
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.slot_length = 8;
    commits = 0;
    OK(sop_volume_sim_new(&disk, &kit.err), kit.err);
    write_once(disk);
    OK(sop_volume_fault_new(disk, &volume, &kit.err), kit.err);
    kit.db = open_on(volume, true);
    db_kit_store(&kit, "s", &o);
    for (unsigned i = 0; i < 7; i++) {
        change();
    }
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
}

static void end(void)
{
    check(kit.db);
    db_kit_verify(&kit);
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    sop_volume_destroy(volume);
    sop_volume_destroy(disk);
}

/* A checkpoint whose n-th operation fails; *hit: there was such a one. */
static int failing_checkpoint(struct sop_fault_plan plan, uint64_t n, bool *hit)
{
    static const struct sop_fault_plan well = {.at = UINT64_MAX};
    plan.at = n;
    sop_volume_fault_set(volume, &plan);
    int rc = sop_db_checkpoint(kit.db, &kit.err);
    *hit = sop_volume_fault_count(volume) > n;
    sop_volume_fault_set(volume, &well);
    return rc;
}

/* Some failures stop the database; opens it again then. */
static bool stopped(void)
{
    struct sop_txn *t = NULL;
    if (sop_txn_begin(&t, kit.db, NULL, &kit.err) == 0) {
        sop_txn_rollback(&t);
        return false;
    }
    ck_assert_msg(strstr(kit.err.text, "stopped: ;") == NULL, "no reason: %s", kit.err.text);
    sop_db_abandon(&kit.db);
    kit.db = open_on(volume, false);
    return true;
}

static const struct sop_fault_plan plans[] = {
    {.ops = SOP_FAULT_ALL, .sys = EIO},
    {.ops = SOP_FAULT_ALL, .sys = EIO, .sticky = true},
    {.ops = SOP_FAULT_BIT(SOP_FAULT_WRITE) | SOP_FAULT_BIT(SOP_FAULT_SYNC) |
            SOP_FAULT_BIT(SOP_FAULT_DIR_SYNC),
     .sys = ENOSPC,
     .half_write = true},
    {.ops = SOP_FAULT_BIT(SOP_FAULT_SYNC) | SOP_FAULT_BIT(SOP_FAULT_DIR_SYNC),
     .sys = EIO,
     .sticky = true},
};

START_TEST(power_loss_after_a_failed_checkpoint)
{
    bool hit = true;
    unsigned failed = 0;
    begin();
    for (uint64_t n = 0; hit; n++) {
        ck_assert_uint_lt(n, POINTS_MAX);
        change();
        int rc = failing_checkpoint(plans[_i], n, &hit);
        ck_assert(hit || rc == 0);
        failed += rc != 0;
        lose_power();
        (void)stopped();
    }
    ck_assert_uint_gt(failed, 5);
    end();
}
END_TEST

START_TEST(the_next_checkpoint_works)
{
    bool hit = true;
    unsigned alive = 0;
    begin();
    for (uint64_t n = 0; hit; n++) {
        ck_assert_uint_lt(n, POINTS_MAX);
        change();
        int rc = failing_checkpoint(plans[_i], n, &hit);
        if (!stopped() && rc != 0) { /* nothing was committed meanwhile: L is the same */
            OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
            alive++;
        }
    }
    ck_assert_uint_gt(alive, 0);
    end();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("checkpoint_faults");
    TCase *t = tcase_create("checkpoints");
    tcase_set_timeout(t, (double)test_scale(900, 1800, 86400));
    tcase_add_loop_test(t, power_loss_after_a_failed_checkpoint, 0, (int)SOP_ARRAY_LEN(plans));
    tcase_add_loop_test(t, the_next_checkpoint_works, 0, (int)SOP_ARRAY_LEN(plans));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
