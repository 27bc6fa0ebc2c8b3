/* A store with a damaged page can be removed, and the database goes on without it: whichever
 * page it was, checkpoints are written and the other stores are whole. */
#include "engine/db/db_int.h"
#include "engine/volume/sim.h"
#include "tests/lib/api_kit.h"

#define ITEMS      300u
#define SHEETS_MAX 100u

static struct sop_volume *whole, *disk;
static struct db_kit kit;
static struct sop_place sheets[SHEETS_MAX];
static size_t sheets_count;
static uint64_t store_id;

static void open_it(struct sop_volume *volume)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = true;
    o.manual = true;
    OK(sop_db_open_on(&kit.db, volume, sop_env_system(), &o, 0, &kit.err), kit.err);
}

static void fill(const char *name)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, name);
    for (unsigned i = 0; i < ITEMS; i++) {
        db_kit_add(&kit, s, numbered(i), "value");
    }
    db_kit_commit(&kit, t);
}

static int note_sheet(void *arg, const struct sop_pack_owner *owner,
                      const struct sop_place *place, struct sop_err *err)
{
    (void)arg;
    (void)err;
    if (owner->type == SOP_PACK_SHEET && owner->store == store_id) {
        ck_assert_uint_lt(sheets_count, SHEETS_MAX);
        sheets[sheets_count++] = *place;
    }
    return 0;
}

/* Two stores of several levels, closed in order, and where the first one's pages lie. */
static void make_database(void)
{
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.slot_length = 6;
    OK(sop_volume_sim_new(&whole, &kit.err), kit.err);
    open_it(whole);
    db_kit_store(&kit, "damaged", &o);
    db_kit_store(&kit, "sound", &o);
    fill("damaged");
    fill("sound");
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    store_id = db_kit_open(&kit, t, "damaged")->tree->id;
    sop_txn_rollback(&t);
    struct sop_engine *e = kit.db->now->engine;
    sop_packs_cut(e->packs);
    OK(sop_packs_scan(e->packs, sop_chain_member(e->chain), 1, true, note_sheet, NULL,
                      &kit.err),
       kit.err);
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
}

START_TEST(a_damaged_store_can_be_removed)
{
    make_database();
    ck_assert_uint_gt(sheets_count, 20);
    for (size_t i = 0; i < sheets_count; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "packs/%" PRIx64 "/%" PRIu32, sheets[i].member,
                       sheets[i].file);
        OK(sop_volume_sim_copy(whole, &disk, &kit.err), kit.err);
        OK(sop_volume_sim_flip(disk, path, (sheets[i].offset + 100) * 8, &kit.err), kit.err);
        open_it(disk);
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        OK(sop_store_remove(t, "damaged", &kit.err), kit.err);
        db_kit_commit(&kit, t);
        for (unsigned k = 0; k <= SOP_CHECKPOINTS_KEPT; k++) {
            db_kit_put(&kit, "sound", "changed", numbered(k));
            OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        }
        OK(sop_db_close(&kit.db, &kit.err), kit.err);
        open_it(disk);
        ck_assert_uint_eq(db_kit_count(&kit, "sound"), ITEMS + 1);
        IS(text(db_kit_read(&kit, "sound", "changed")), numbered(SOP_CHECKPOINTS_KEPT));
        OK(sop_db_close(&kit.db, &kit.err), kit.err);
        sop_volume_destroy(disk);
    }
    sop_volume_destroy(whole);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("damaged store");
    TCase *t = tcase_create("removed");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, a_damaged_store_can_be_removed);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
