/* Loads in key order, a commit at a time: pages fill to the brim, whatever the sizes of
 * commits, items and pages, and the journal says the same as memory. */
#include "engine/db/db_int.h"
#include "tests/lib/db_kit.h"
#include "tests/lib/sheet_kit.h"

#include <stdio.h>

#define COMMITS     60
#define VALUE_MOST  9000u
#define UPDATED     3 /* of each commit in some rounds, so that not all of it is new */
#define KEY_BYTES   16
#define SLOTS_KINDS 4

static struct db_kit kit;
static const uint32_t slots_of[SLOTS_KINDS] = {2, 6, 100, 2000};

static void setup(void)
{
    db_kit_init(&kit);
}

static void teardown(void)
{
    db_kit_fini(&kit);
}

static uint32_t value_bytes(uint32_t n, bool large)
{
    return large ? (n * 2654435761u) % VALUE_MOST : n % 50;
}

static void put(struct sop_store *s, uint32_t n, uint8_t version, bool large, bool blind)
{
    static uint8_t value[VALUE_MOST];
    char key[KEY_BYTES + 1];
    (void)snprintf(key, sizeof key, "%08u", n);
    memset(value, version, sizeof value);
    struct sop_entry e = {.key = text(key), .value = {value, value_bytes(n, large)}};
    OK(blind ? sop_upsert(s, &e, &kit.err) : sop_add(s, &e, &kit.err), kit.err);
}

#define GROUP 70 /* keys fetched ahead at once */

static size_t fetched; /* leaves, in all */

/* What is fetched ahead is what a way down the tree finds. */
static void fetch(struct sop_txn *t, const struct sop_store *s, uint32_t count)
{
    struct sop_pages *pages = &t->engine->pages;
    struct sop_version *leaves[GROUP];
    struct sop_slice keys[GROUP];
    char bytes[GROUP][KEY_BYTES + 1];
    struct kit_rng rng = {.state = count};
    for (size_t i = 0; i < GROUP; i++) {
        (void)snprintf(bytes[i], sizeof bytes[i], "%08u", kit_below(&rng, count + 10));
        keys[i] = text(bytes[i]);
    }
    sop_epoch_enter(&t->engine->epochs, t->slot);
    sop_tree_fetch_ahead(pages, s->tree, t->moment, keys, GROUP, leaves);
    for (size_t i = 0; i < GROUP; i++) {
        struct sop_version *leaf = NULL;
        OK(sop_tree_descend(pages, s->tree, t->moment, SOP_WAY_KEY, keys[i], 0, &leaf, NULL,
                            &kit.err),
           kit.err);
        ck_assert(leaves[i] == leaf || leaves[i] == NULL);
        fetched += leaves[i] != NULL;
    }
    sop_epoch_leave(t->slot);
}

/* Items 0..count in order; those below `updated` say 1. */
static void look(uint32_t count, uint32_t updated, bool large)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    struct sop_range *r = NULL;
    struct sop_view views[64];
    size_t got = 0;
    uint32_t n = 0;
    OK(sop_range_open(&r, db_kit_open(&kit, t, "s"), NULL, &kit.err), kit.err);
    do {
        OK(sop_range_next(r, views, 64, &got, &kit.err), kit.err);
        for (size_t i = 0; i < got; i++, n++) {
            char key[KEY_BYTES + 1];
            (void)snprintf(key, sizeof key, "%08u", n);
            ck_assert_int_eq(memcmp(views[i].key.data, key, 8), 0);
            ck_assert_uint_eq(views[i].value.len, value_bytes(n, large));
            ck_assert(views[i].value.len == 0 || views[i].value.data[0] == (n < updated));
        }
    } while (got > 0);
    ck_assert_uint_eq(n, count);
    sop_range_close(&r);
    fetch(t, db_kit_open(&kit, t, "s"), count);
    db_kit_commit(&kit, t);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), count);
    db_kit_verify(&kit);
}

static uint64_t pages(void)
{
    struct sop_db_stats stats = {.size = sizeof stats};
    OK(sop_db_stats(kit.db, &stats, &kit.err), kit.err);
    return stats.pages;
}

static void load(uint32_t slots, bool large, bool blind, bool updates)
{
    struct kit_rng rng = {.state = slots + large * 2u + blind * 4u + updates * 8u};
    struct sop_store_options so;
    sop_store_options_init(&so);
    so.slot_length = slots;
    uint64_t pages_before = pages();
    db_kit_store(&kit, "s", &so);
    uint32_t count = 0;
    uint32_t updated = 0;
    for (int c = 0; c < COMMITS; c++) {
        uint32_t more = 1 + kit_below(&rng, c % 7 == 0 ? 5 * slots : slots + 1);
        more = large && more > 300 ? 300 : more;
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "s");
        for (uint32_t i = 0; updates && i < UPDATED && updated < count; i++) {
            put(s, updated++, 1, large, true);
        }
        for (uint32_t i = 0; i < more; i++) {
            put(s, count++, 0, large, blind);
        }
        db_kit_commit(&kit, t);
        if (c == COMMITS / 2) {
            OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        }
    }
    look(count, updated, large);
    if (!large &&
        !updates) { /* leaves are full: the last one aside, and inner pages beside them */
        uint64_t leaves = (count + slots - 1) / slots;
        ck_assert_uint_le(pages() - pages_before, leaves + leaves / 10 + 8);
    }
    sop_db_abandon(&kit.db); /* what the journal says */
    db_kit_reopen(&kit);
    look(count, updated, large);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    OK(sop_store_remove(t, "s", &kit.err), kit.err);
    db_kit_commit(&kit, t);
    OK(sop_maintain(kit.db, &kit.err), kit.err);
}

START_TEST(loads_in_order_fill_pages)
{
    for (int how = 0; how < 8; how++) {
        load(slots_of[_i], (how & 1) != 0, (how & 2) != 0, (how & 4) != 0);
    }
    ck_assert_uint_gt(fetched, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("append");
    TCase *t = tcase_create("append");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, loads_in_order_fill_pages, 0, SLOTS_KINDS);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
