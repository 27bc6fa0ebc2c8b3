/* Single look-ups in a database that is larger than its cache: right answers, few reads, memory
 * in its budget; with changes over what lies on the volume, and after reopening. */
#include "engine/db/db_int.h"
#include "engine/volume/fault.h"
#include "engine/volume/sim.h"
#include "tests/lib/db_kit.h"

#include <stdio.h>

#define ITEMS       24000u
#define VALUE_BYTES 1000u
#define CACHE       (8u << 20) /* a third of the data */
#define MIB         (1u << 20)

static struct sop_volume *sim;
static struct sop_volume *volume; /* counts reads */
static struct db_kit kit;
static uint32_t versions[ITEMS]; /* 0: not there */

static void open_it(bool create)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = create;
    o.manual = true;
    o.cache_bytes = CACHE;
    OK(sop_db_open_on(&kit.db, volume, sop_env_system(), &o, 0, &kit.err), kit.err);
}

/* Spread over all pages, in no order of numbers. */
static struct sop_slice key_of(char to[24], uint32_t i)
{
    int n = snprintf(to, 24, "%08x-%u", i * 2654435761u, i);
    return sop_slice(to, (size_t)n);
}

static struct sop_slice value_of(uint8_t to[VALUE_BYTES], uint32_t i, uint32_t version)
{
    for (uint32_t k = 0; k < VALUE_BYTES; k++) {
        to[k] = (uint8_t)(i * 13 + version * 101 + k);
    }
    return sop_slice(to, VALUE_BYTES - version % 50);
}

static uint32_t any(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static void load(void)
{
    for (uint32_t i = 0; i < ITEMS;) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "s");
        for (uint32_t end = i + 1000; i < end; i++) {
            char key[24];
            uint8_t value[VALUE_BYTES];
            versions[i] = 1;
            struct sop_entry e = {.key = key_of(key, i), .value = value_of(value, i, 1)};
            OK(sop_add(s, &e, &kit.err), kit.err);
        }
        db_kit_commit(&kit, t);
    }
}

static void change(uint64_t seed, uint32_t count)
{
    for (uint32_t n = 0; n < count; n += 10) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "s");
        for (uint32_t k = 0; k < 10; k++) {
            char key[24];
            uint8_t value[VALUE_BYTES];
            uint32_t i = any(&seed) % ITEMS;
            if (any(&seed) % 5 == 0 && versions[i] != 0) {
                OK(sop_remove(s, key_of(key, i), &kit.err), kit.err);
                versions[i] = 0;
                continue;
            }
            versions[i]++;
            struct sop_entry e = {.key = key_of(key, i),
                                  .value = value_of(value, i, versions[i])};
            OK(sop_upsert(s, &e, &kit.err), kit.err);
        }
        db_kit_commit(&kit, t);
    }
}

/* Reads that it took. */
static uint64_t look(uint64_t seed, uint32_t count)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    uint64_t before = sop_volume_fault_calls(volume, SOP_FAULT_READ);
    for (uint32_t n = 0; n < count; n++) {
        char key[24];
        uint8_t value[VALUE_BYTES];
        struct sop_view v;
        uint32_t i = any(&seed) % ITEMS;
        int rc = sop_get(s, key_of(key, i), &v, &kit.err);
        ck_assert_msg(rc == (versions[i] == 0 ? SOP_ERR_NOT_FOUND : 0), "%s", kit.err.text);
        ck_assert(rc != 0 || sop_slice_eq(v.value, value_of(value, i, versions[i])));
    }
    db_kit_commit(&kit, t);
    struct sop_db_stats stats = {.size = sizeof stats};
    OK(sop_db_stats(kit.db, &stats, &kit.err), kit.err);
    ck_assert_uint_le(stats.cache_used_bytes, stats.cache_budget_bytes + MIB / 4);
    return sop_volume_fault_calls(volume, SOP_FAULT_READ) - before;
}

static uint64_t count_all(void)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < ITEMS; i++) {
        count += versions[i] != 0;
    }
    return count;
}

START_TEST(look_ups_beyond_the_cache_read_pieces)
{
    OK(sop_volume_sim_new(&sim, &kit.err), kit.err);
    OK(sop_volume_fault_new(sim, &volume, &kit.err), kit.err);
    open_it(true);
    db_kit_store(&kit, "s", NULL);
    load();
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    open_it(false);
    (void)look(1, 3000);
    uint64_t reads = look(2, 3000);
    ck_assert_uint_gt(reads, 500);          /* it does not fit */
    ck_assert_uint_lt(reads, 3000 * 3 / 2); /* a cell of 1 KiB crosses a border now and then */
    for (uint64_t round = 3; round < 6; round++) { /* runs in memory, then on the volume */
        change(round, 2000);
        (void)look(round, 1500);
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        (void)look(round * 7, 1500);
        ck_assert_uint_eq(db_kit_count(&kit, "s"), count_all());
    }
    db_kit_verify(&kit);
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    open_it(false);
    (void)look(99, 4000);
    db_kit_verify(&kit);
    sop_db_abandon(&kit.db);
    sop_volume_destroy(volume);
    sop_volume_destroy(sim);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cold_reads");
    TCase *t = tcase_create("cold");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, look_ups_beyond_the_cache_read_pieces);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
