/* Each allocation of an opening fails, once. If it opens all the same, nothing that is needed
 * may look like garbage later: a value in a pack file of its own, which the manifest names
 * first, outlives the checkpoints that sweep. */
#include "engine/db/db_int.h"
#include "engine/volume/sim.h"
#include "tests/lib/api_kit.h"
#include "tests/lib/oom.h"
#include "tests/lib/watch_volume.h"

static struct sop_volume *disk, *volume;
static struct db_kit kit;

/* The simulated disk's own memory is not under test. */
static void before(void *arg, enum sop_fault_op op)
{
    (void)arg;
    (void)op;
    oom_pause();
}

static void after(void *arg, enum sop_fault_op op)
{
    (void)arg;
    (void)op;
    oom_resume();
}

static int open_it(bool create)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = create;
    o.manual = true;
    return sop_db_open_on(&kit.db, volume, sop_env_system(), &o, 0, &kit.err);
}

static void put_streamed(const char *key, const char *value)
{
    struct sop_value_writer *w = NULL;
    struct sop_entry e = {.key = text(key)};
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    OK(sop_value_create(&w, s, SOP_PUT_UPSERT, &e, &kit.err), kit.err);
    OK(sop_value_write(w, text(value), &kit.err), kit.err);
    OK(sop_value_finish(&w, &kit.err), kit.err);
    db_kit_commit(&kit, t);
}

static void make_database(void)
{
    struct watch_calls calls = {.before = before, .after = after};
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.values = SOP_VALUES_MEDIUM;
    OK(sop_volume_sim_new(&disk, &kit.err), kit.err);
    volume = watch_volume_new(disk, &calls);
    OK(open_it(true), kit.err);
    db_kit_store(&kit, "s", &o);
    put_streamed("streamed", "value");
    db_kit_put(&kit, "s", "short", "value");
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
}

/* Enough checkpoints to forget all that only older ones named. */
static void sweep(void)
{
    for (unsigned i = 0; i <= SOP_CHECKPOINTS_KEPT; i++) {
        db_kit_put(&kit, "s", "changed", numbered(i));
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    }
}

static void check(void)
{
    IS(text(db_kit_read(&kit, "s", "streamed")), "value");
    IS(text(db_kit_read(&kit, "s", "short")), "value");
    db_kit_verify(&kit);
}

START_TEST(an_opening_without_memory_makes_no_garbage)
{
    bool hit = true;
    unsigned opened = 0;
    for (uint64_t n = 0; hit; n++) {
        make_database();
        oom_fail_at(n);
        int rc = open_it(false);
        hit = oom_hit();
        oom_off();
        if (rc == 0) {
            opened++;
            sweep();
            check();
            sop_db_abandon(&kit.db);
            OK(open_it(false), kit.err);
            sweep();
            check();
            sop_db_abandon(&kit.db);
        } else {
            ck_assert_int_eq(rc, SOP_ERR_NOMEM);
        }
        sop_volume_destroy(volume);
        sop_volume_destroy(disk);
    }
    ck_assert_uint_gt(opened, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("openings without memory");
    TCase *t = tcase_create("each allocation");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, an_opening_without_memory_makes_no_garbage);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
