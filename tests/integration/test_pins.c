/* What readers and prepared transactions keep for a long time: old states within the byte
 * budget of the cache, counts of old states, commits long after their preparation. */
#include "engine/db/db_int.h"
#include "engine/volume/sim.h"
#include "tests/lib/db_kit.h"
#include "tests/lib/scale.h"

#include <stdio.h>
#include <unistd.h>

#define CACHE_BYTES     (8u << 20)
#define VALUE_BYTES     500u
#define ITEMS           30000u /* twice the cache */
#define PER_COMMIT      50u
#define SLOT_LENGTH     200u
#define STRIDE          7919u
#define PINS_MAX        24u
#define COMMITS_PER_PIN 40u
#define VIEWS           256
#define COMMITS         3000u
#define COUNTS_MOST     64u
#define ROOM_BYTES      (64u << 10) /* less than the record */

static struct sop_volume *volume;
static struct db_kit kit;

static void open_it(void)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = true;
    o.manual = true;
    o.cache_bytes = CACHE_BYTES;
    OK(sop_db_open_on(&kit.db, volume, sop_env_system(), &o, 0, &kit.err), kit.err);
}

static void setup(void)
{
    memset(&kit, 0, sizeof kit);
    OK(sop_volume_sim_new(&volume, &kit.err), kit.err);
    open_it();
}

static void teardown(void)
{
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    sop_volume_destroy(volume);
}

/* The state after `writes` writes: write number i changes item i * STRIDE % ITEMS to say
 * i / ITEMS, so each round changes every item once, far from the one before. */
struct pinned {
    struct sop_snapshot *at;
    unsigned writes;
};
static uint64_t cache_most;

static void write_some(unsigned from, unsigned until)
{
    uint8_t value[VALUE_BYTES];
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (unsigned i = from; i < until; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%08u", i * STRIDE % ITEMS);
        memset(value, (int)(i / ITEMS), sizeof value);
        struct sop_entry e = {.key = text(key), .value = {value, sizeof value}};
        OK(sop_upsert(s, &e, &kit.err), kit.err);
    }
    db_kit_commit(&kit, t);
    struct sop_db_stats stats = {.size = sizeof stats};
    OK(sop_db_stats(kit.db, &stats, &kit.err), kit.err);
    cache_most = stats.cache_used_bytes > cache_most ? stats.cache_used_bytes : cache_most;
}

static void read_all(const struct pinned *p)
{
    static uint8_t expected[ITEMS];
    static struct sop_view views[VIEWS];
    struct sop_txn_options o;
    struct sop_txn *t = NULL;
    struct sop_range *r = NULL;
    size_t count = 0;
    unsigned seen = 0;
    for (unsigned i = 0; i < p->writes; i++) {
        expected[i * STRIDE % ITEMS] = (uint8_t)(i / ITEMS);
    }
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    o.at = p->at;
    OK(sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    OK(sop_range_open(&r, db_kit_open(&kit, t, "s"), NULL, &kit.err), kit.err);
    do {
        OK(sop_range_next(r, views, VIEWS, &count, &kit.err), kit.err);
        for (size_t i = 0; i < count; i++, seen++) {
            ck_assert_uint_eq(views[i].value.len, VALUE_BYTES);
            ck_assert_uint_eq(views[i].value.data[0], expected[seen]);
            ck_assert_uint_eq(views[i].value.data[VALUE_BYTES - 1], expected[seen]);
        }
    } while (count > 0);
    ck_assert_uint_eq(seen, ITEMS);
    sop_range_close(&r);
    db_kit_commit(&kit, t);
}

START_TEST(old_states_leave_memory_too)
{
    struct pinned pins[PINS_MAX];
    unsigned pins_count = (unsigned)test_scale(8, PINS_MAX, PINS_MAX);
    struct sop_store_options so;
    sop_store_options_init(&so);
    so.slot_length = SLOT_LENGTH;
    db_kit_store(&kit, "s", &so);
    unsigned writes = 0;
    while (writes < ITEMS) {
        write_some(writes, writes + PER_COMMIT);
        writes += PER_COMMIT;
    }
    for (unsigned i = 0; i < pins_count; i++) {
        pins[i].writes = writes;
        OK(sop_snapshot_pin(&pins[i].at, kit.db, &kit.err), kit.err);
        for (unsigned k = 0; k < COMMITS_PER_PIN; k++) {
            write_some(writes, writes + PER_COMMIT);
            writes += PER_COMMIT;
        }
    }
    /* A commit may go over it with its own pages before it makes room. */
    ck_assert_uint_lt(cache_most, CACHE_BYTES + CACHE_BYTES / 4);
    struct sop_db_stats stats = {.size = sizeof stats};
    OK(sop_db_stats(kit.db, &stats, &kit.err), kit.err);
    ck_assert_uint_lt(stats.checkpoints,
                      2u * pins_count + ITEMS / 2000u); /* not one for each commit */
    for (unsigned i = 0; i < pins_count; i++) {
        read_all(&pins[i]);
        sop_snapshot_release(&pins[i].at);
    }
    const struct pinned now = {.writes = writes};
    read_all(&now);
    OK(sop_db_compact(kit.db, &kit.err), kit.err); /* what only pins needed goes */
    read_all(&now);
    db_kit_verify(&kit);
    OK(sop_db_stats(kit.db, &stats, &kit.err), kit.err);
    ck_assert_uint_lt(stats.pack_bytes, 3ull * ITEMS * VALUE_BYTES);
}
END_TEST

START_TEST(counts_of_old_states_are_kept_for_pins_only)
{
    db_kit_store(&kit, "s", NULL);
    struct sop_snapshot *first = NULL;
    struct sop_snapshot *middle = NULL;
    OK(sop_snapshot_pin(&first, kit.db, &kit.err), kit.err);
    for (unsigned i = 0; i < COMMITS; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%08u", i);
        db_kit_put(&kit, "s", key, "v");
        if (i + 1 == COMMITS / 2) {
            OK(sop_snapshot_pin(&middle, kit.db, &kit.err), kit.err);
        }
    }
    struct sop_snapshot *pins[] = {first, middle, NULL};
    const uint64_t counts[] = {0, COMMITS / 2, COMMITS};
    for (int i = 0; i < 3; i++) {
        struct sop_txn_options o;
        struct sop_txn *t = NULL;
        uint64_t count = 0;
        sop_txn_options_init(&o);
        o.mode = SOP_READ;
        o.at = pins[i];
        OK(sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
        OK(sop_store_count(db_kit_open(&kit, t, "s"), false, &count, &kit.err), kit.err);
        ck_assert_uint_eq(count, counts[i]);
        db_kit_commit(&kit, t);
    }
    struct sop_tree *tree = sop_engine_tree(kit.db->now->engine, SOP_CATALOG_STORE + 1);
    ck_assert_uint_le(tree->counts_cap, COUNTS_MOST);
    sop_snapshot_release(&first);
    sop_snapshot_release(&middle);
}
END_TEST

START_TEST(prepared_ones_do_not_run_out_of_time)
{
    db_kit_store(&kit, "s", NULL);
    struct sop_txn_options o;
    struct sop_txn *t = NULL;
    sop_txn_options_init(&o);
    o.max_time_ms = 1000;
    OK(sop_txn_begin(&t, kit.db, &o, &kit.err), kit.err);
    db_kit_add(&kit, db_kit_open(&kit, t, "s"), "k", "v");
    OK(sop_txn_prepare(&t, &kit.err), kit.err);
    (void)usleep(1100 * 1000);
    OK(sop_txn_commit(&t, NULL, &kit.err), kit.err);
    ck_assert_str_eq(db_kit_read(&kit, "s", "k"), "v");
}
END_TEST

START_TEST(prepared_ones_wait_for_space)
{
    static uint8_t value[VALUE_BYTES];
    db_kit_store(&kit, "s", NULL);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (unsigned i = 0; i < ITEMS; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "%08u", i);
        struct sop_entry e = {.key = text(key), .value = {value, sizeof value}};
        OK(sop_add(s, &e, &kit.err), kit.err);
    }
    OK(sop_txn_prepare(&t, &kit.err), kit.err);
    uint64_t free_bytes = 0;
    sop_volume_sim_set_capacity(volume, UINT64_MAX);
    OK(sop_volume_space(volume, &free_bytes, &kit.err), kit.err);
    sop_volume_sim_set_capacity(volume, UINT64_MAX - free_bytes + ROOM_BYTES);
    FAILS(NOSPACE, sop_txn_commit(&t, NULL, &kit.err), kit.err);
    ck_assert_ptr_nonnull(t);
    struct sop_txn *other = db_kit_begin(&kit, SOP_WRITE); /* its reservations hold */
    db_kit_add(&kit, db_kit_open(&kit, other, "s"), "00000000", "other");
    db_kit_conflicts(&kit, other);
    sop_volume_sim_set_capacity(volume, 0);
    OK(sop_txn_commit(&t, NULL, &kit.err), kit.err);
    ck_assert_ptr_null(t);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), ITEMS);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pins");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, old_states_leave_memory_too);
    tcase_add_test(t, counts_of_old_states_are_kept_for_pins_only);
    tcase_add_test(t, prepared_ones_do_not_run_out_of_time);
    tcase_add_test(t, prepared_ones_wait_for_space);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
