/* A full volume: commits are refused cleanly, deletes and checkpoints still run, space comes
 * back, nothing acknowledged is lost. */
#include "engine/db/db_int.h"
#include "engine/volume/sim.h"
#include "tests/lib/db_kit.h"

#include <stdio.h>

#define VALUE_BYTES 8000
#define CAPACITY    (48ull << 20)

static struct sop_volume *volume;
static struct db_kit kit;

static void open_it(bool create)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = create;
    o.manual = true;
    o.cache_bytes = 8u << 20;
    o.checkpoint_bytes = 4u << 20;
    OK(sop_db_open_on(&kit.db, volume, sop_env_system(), &o, 0, &kit.err), kit.err);
}

/* One commit of ten values; 0 or NOSPACE. */
static int put_ten(unsigned first)
{
    static uint8_t value[VALUE_BYTES];
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (unsigned i = first; i < first + 10; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%08u", i);
        value[0] = (uint8_t)i;
        struct sop_entry e = {.key = text(key), .value = {value, sizeof value}};
        OK(sop_add(s, &e, &kit.err), kit.err);
    }
    return sop_txn_commit(&t, NULL, &kit.err);
}

static unsigned fill_up(void)
{
    unsigned n = 0;
    for (;;) {
        int rc = put_ten(n);
        if (rc == 0) {
            rc = sop_maintain(kit.db, &kit.err);
            n += 10;
        }
        if (rc == SOP_ERR_NOSPACE) {
            return n;
        }
        OK(rc, kit.err);
        ck_assert_uint_lt(n, CAPACITY / VALUE_BYTES);
    }
}

START_TEST(a_full_volume_gives_space_back_after_deletes)
{
    OK(sop_volume_sim_new(&volume, &kit.err), kit.err);
    sop_volume_sim_set_capacity(volume, CAPACITY);
    open_it(true);
    db_kit_store(&kit, "s", NULL);
    unsigned n = fill_up();
    ck_assert_uint_gt(n, 500);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), n);
    for (unsigned i = 0; i < n; i += 100) { /* small commits still find room */
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "s");
        for (unsigned k = i; k < i + 100 && k < n; k++) {
            char key[16];
            (void)snprintf(key, sizeof key, "%08u", k);
            OK(sop_remove(s, text(key), &kit.err), kit.err);
        }
        db_kit_commit(&kit, t);
    }
    OK(sop_db_compact(kit.db, &kit.err), kit.err);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), 0);
    unsigned again = fill_up();
    ck_assert_uint_gt(again, n / 2);
    db_kit_verify(&kit);
    sop_db_abandon(&kit.db);
    /* An opening makes a member with a journal; nothing is set aside for it where the database
     * is as small as this one, and what is left by chance need not suffice. */
    sop_volume_sim_set_capacity(volume, CAPACITY + (1u << 20));
    open_it(false);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), again);
    db_kit_verify(&kit);
    sop_db_abandon(&kit.db);
    sop_volume_destroy(volume);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("full_volume");
    TCase *t = tcase_create("full");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_full_volume_gives_space_back_after_deletes);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
