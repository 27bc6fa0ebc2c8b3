/* The limit max_bytes: values in packs count, deletes and compaction run all the same and give
 * room for new items. */
#include "engine/db/db_int.h"
#include "tests/lib/api_kit.h"

#include <inttypes.h>
#include <stdio.h>

#define VALUE_BYTES 100000u
#define MOST_BYTES  (20u << 20)

static struct db_kit kit;

static int put(unsigned number)
{
    static uint8_t value[VALUE_BYTES];
    char key[16];
    (void)snprintf(key, sizeof key, "%06u", number);
    struct sop_entry e = {.key = text(key), .value = {value, sizeof value}};
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_add(db_kit_open(&kit, t, "s"), &e, &kit.err), kit.err);
    return sop_txn_commit(&t, NULL, &kit.err);
}

START_TEST(compaction_brings_a_full_database_below_its_limit)
{
    struct sop_db_options o;
    struct sop_store_options medium;
    tmpdir_init(&kit.dir);
    sop_db_options_init(&o);
    o.create = true;
    o.manual = true; /* nobody measures but who is called */
    o.max_bytes = MOST_BYTES;
    OK(sop_db_open(&kit.db, kit.dir.path, &o, &kit.err), kit.err);
    ck_assert_uint_eq(stats_of(&kit).max_bytes, MOST_BYTES);
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    o.create = false;
    o.max_bytes = 10 * MOST_BYTES; /* of that opening alone */
    OK(sop_db_open(&kit.db, kit.dir.path, &o, &kit.err), kit.err);
    ck_assert_uint_eq(stats_of(&kit).max_bytes, 10 * MOST_BYTES);
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    o.max_bytes = 0;
    OK(sop_db_open(&kit.db, kit.dir.path, &o, &kit.err), kit.err);
    ck_assert_uint_eq(stats_of(&kit).max_bytes, MOST_BYTES);
    sop_store_options_init(&medium);
    medium.values = SOP_VALUES_MEDIUM;
    db_kit_store(&kit, "s", &medium);
    unsigned n = 0;
    while (n < 2 * MOST_BYTES / VALUE_BYTES && put(n) == 0) {
        n++;
    }
    ck_assert_uint_gt(n, MOST_BYTES / VALUE_BYTES / 2);
    ck_assert_uint_le(n, MOST_BYTES / VALUE_BYTES);
    FAILS(QUOTA, put(n), kit.err);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (unsigned i = 0; i < n; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%06u", i);
        if (i % 5 != 0) {
            OK(sop_remove(s, text(key), &kit.err), kit.err);
        }
    }
    db_kit_commit(&kit, t);
    FAILS(QUOTA, put(n), kit.err);
    OK(sop_db_compact(kit.db, &kit.err), kit.err);
    OK(put(n), kit.err);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), (n + 4) / 5 + 1);
    db_kit_verify(&kit);
    db_kit_fini(&kit);
}
END_TEST

/* A bulk load of large records, which go into journals that are made ahead. */
START_TEST(a_bulk_load_stops_near_the_limit)
{
    enum { ITEMS = 10000, BYTES = 200 };
    struct sop_db_options o;
    static char value[BYTES + 1];
    memset(value, 'v', BYTES);
    tmpdir_init(&kit.dir);
    sop_db_options_init(&o);
    o.create = true;
    o.max_bytes = MOST_BYTES;
    OK(sop_db_open(&kit.db, kit.dir.path, &o, &kit.err), kit.err);
    db_kit_store(&kit, "s", NULL);
    int rc = 0;
    unsigned n = 0;
    uint64_t most = 0;
    uint64_t bytes = 0;
    for (; rc == 0 && n < MOST_BYTES / BYTES; n += ITEMS) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "s");
        for (unsigned i = n; i < n + ITEMS; i++) {
            char key[16];
            (void)snprintf(key, sizeof key, "%08u", i);
            struct sop_entry e = {.key = text(key), .value = text(value)};
            OK(sop_add(s, &e, &kit.err), kit.err);
        }
        rc = sop_txn_commit(&t, NULL, &kit.err);
        OK(sop_engine_volume_bytes(kit.db->now->engine, &bytes, &kit.err), kit.err);
        most = bytes > most ? bytes : most;
    }
    printf("quota: %u items, at most %" PRIu64 " KiB of files under a limit of %u KiB\n", n,
           most / 1024, MOST_BYTES / 1024);
    ck_assert_int_eq(rc, SOP_ERR_QUOTA);
    ck_assert_uint_lt(most, MOST_BYTES / 2 * 3); /* a checkpoint writes before it frees */
    db_kit_fini(&kit);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("quota");
    TCase *t = tcase_create("quota");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, compaction_brings_a_full_database_below_its_limit);
    tcase_add_test(t, a_bulk_load_stops_near_the_limit);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
