/* A full volume: commits are refused cleanly, deletes and checkpoints still run, space comes
 * back, nothing acknowledged is lost. */
#include "engine/db/db_int.h"
#include "engine/volume/sim.h"
#include "tests/lib/db_kit.h"

#include <stdio.h>

#define VALUE_BYTES 8000
#define CAPACITY    (48ull << 20)
#define ROOMY       (1ull << 30)
#define ROUNDS      20u
#define DIR_SLOTS   4u /* of a chain directory: an opening in two begins a new one */

static struct sop_volume *volume;
static struct db_kit kit;
static enum sop_durability durability; /* commit, unless a test says otherwise */

static void open_with(bool create, uint64_t checkpoint_bytes)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = create;
    o.manual = true;
    o.cache_bytes = 8u << 20;
    o.durability = durability;
    o.checkpoint_bytes = checkpoint_bytes;
    OK(sop_db_open_on(&kit.db, volume, sop_env_system(), &o, DIR_SLOTS, &kit.err), kit.err);
}

static void open_it(bool create)
{
    open_with(create, 4u << 20);
}

static void make_volume(uint64_t capacity)
{
    OK(sop_volume_sim_new(&volume, &kit.err), kit.err);
    sop_volume_sim_set_capacity(volume, capacity);
}

/* Other files take all the room but `left`, now. */
static void others_leave(uint64_t left)
{
    uint64_t room = 0;
    sop_volume_sim_set_capacity(volume, ROOMY);
    OK(sop_volume_space(volume, &room, &kit.err), kit.err);
    sop_volume_sim_set_capacity(volume, ROOMY - room + left);
}

static uint64_t bytes_of(const char *name)
{
    struct sop_stat st;
    OK(sop_volume_stat(volume, name, &st, &kit.err), kit.err);
    return st.bytes;
}

static void end_it(bool orderly)
{
    if (orderly) {
        OK(sop_db_close(&kit.db, &kit.err), kit.err);
    } else {
        sop_db_abandon(&kit.db);
    }
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
    make_volume(CAPACITY);
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
    open_it(false);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), again);
    db_kit_verify(&kit);
    sop_db_abandon(&kit.db);
    sop_volume_destroy(volume);
}
END_TEST

/* One small commit; false: it met the full volume. */
static bool try_put(const char *key, size_t bytes)
{
    static uint8_t value[1u << 20];
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    struct sop_entry e = {.key = text(key), .value = {value, bytes}};
    int rc = sop_upsert(s, &e, &kit.err); /* a large value is written at once */
    if (rc == 0) {
        rc = sop_txn_commit(&t, NULL, &kit.err);
    }
    if (rc != SOP_ERR_NOSPACE) {
        OK(rc, kit.err);
    }
    sop_txn_rollback(&t);
    return rc == 0;
}

static bool try_remove(const char *key)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    OK(sop_remove(s, text(key), &kit.err), kit.err);
    int rc = sop_txn_commit(&t, NULL, &kit.err);
    if (rc != SOP_ERR_NOSPACE) {
        OK(rc, kit.err);
    }
    return rc == 0;
}

static void make_small(unsigned items)
{
    make_volume(ROOMY);
    open_it(true);
    db_kit_store(&kit, "s", NULL);
    for (unsigned i = 0; i < items; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%03u", i);
        ck_assert(try_put(key, 100));
    }
}

/* Round by round others take every byte that it leaves free; each time it is opened for
 * writing, changed, and ended in one way or the other. */
START_TEST(a_small_database_opens_on_a_volume_without_a_free_byte)
{
    bool orderly = _i == 1;
    unsigned count = 2 * ROUNDS;
    unsigned changes = 0;
    make_small(count);
    for (unsigned i = 0; i < ROUNDS; i++) {
        char key[16];
        others_leave(0);
        end_it(_i == 2 ? i % 2 == 0 : orderly);
        others_leave(0);
        open_it(false);
        ck_assert_uint_eq(db_kit_count(&kit, "s"), count);
        if (_i == 3) { /* nothing but openings and deaths */
            changes++;
            continue;
        }
        (void)snprintf(key, sizeof key, "k%03u", i);
        bool removed = try_remove(key);
        count -= removed;
        (void)snprintf(key, sizeof key, "n%03u", i);
        bool put = try_put(key, 100);
        count += put;
        changes += removed && put;
    }
    ck_assert_uint_eq(changes, ROUNDS); /* the journals have room for them */
    others_leave(0);
    end_it(false);
    open_it(false);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), count);
    sop_volume_sim_set_capacity(volume, ROOMY); /* others make room */
    OK(sop_maintain(kit.db, &kit.err), kit.err);
    ck_assert_uint_eq(bytes_of("ballast-open"), 512u << 10);
    db_kit_verify(&kit);
    end_it(false);
    sop_volume_destroy(volume);
}
END_TEST

static struct sop_db_stats stats_now(void)
{
    struct sop_db_stats s = {.size = sizeof s};
    OK(sop_db_stats(kit.db, &s, &kit.err), kit.err);
    return s;
}

static uint64_t room_now(void)
{
    uint64_t room = 0;
    OK(sop_volume_space(volume, &room, &kit.err), kit.err);
    return room;
}

static void remove_all(unsigned n)
{
    for (unsigned i = 0; i < n; i += 50) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "s");
        for (unsigned k = i; k < i + 50 && k < n; k++) {
            char key[16];
            (void)snprintf(key, sizeof key, "%08u", k);
            OK(sop_remove(s, text(key), &kit.err), kit.err);
        }
        db_kit_commit(&kit, t);
        OK(sop_maintain(kit.db, &kit.err), kit.err);
    }
}

/* Whoever opens copies what nothing says to be confirmed: of a large commit the beat says it,
 * and with durability `none` nobody. */
START_TEST(a_large_last_commit_is_adopted_without_a_free_byte)
{
    static const uint8_t value[14000];
    unsigned items = _i == 0 ? 100 : 20;
    durability = _i == 0 ? SOP_DURABLE_COMMIT : SOP_DURABLE_NONE;
    make_small(1);
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (unsigned i = 0; i < items; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "l%03u", i);
        struct sop_entry e = {.key = text(key), .value = {value, sizeof value}};
        OK(sop_add(s, &e, &kit.err), kit.err);
    }
    db_kit_commit(&kit, t);
    others_leave(0);
    end_it(false);
    open_it(false);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), items + 1);
    others_leave(ROOMY / 2);
    OK(sop_maintain(kit.db, &kit.err), kit.err);
    ck_assert_uint_eq(bytes_of("ballast-open"), 512u << 10);
    db_kit_verify(&kit);
    end_it(false);
    durability = SOP_DURABLE_COMMIT;
    sop_volume_destroy(volume);
}
END_TEST

/* Without any ballast: as long as the room does not suffice, a try leaves nothing behind, but
 * for a ROLL, which is history: a gate, a ticket, a copy. The next try goes on from there. */
START_TEST(an_opening_that_fails_takes_nothing)
{
    struct sop_db_options o;
    uint64_t room = 0;
    uint64_t lost = 0;
    bool rolls = _i % 2 == 1;
    int rc = SOP_ERR_NOSPACE;
    sop_db_options_init(&o);
    o.manual = true;
    o.cache_bytes = 8u << 20;
    make_small(10);
    for (int i = 0; i < _i; i++) { /* the slots of a directory: with one the opening rolls */
        end_it(false);
        open_it(false);
    }
    end_it(false);
    OK(sop_volume_unlink(volume, "ballast-open", &kit.err), kit.err);
    for (; rc == SOP_ERR_NOSPACE; room += 4096) {
        others_leave(room);
        rc = sop_db_open_on(&kit.db, volume, sop_env_system(), &o, DIR_SLOTS, &kit.err);
        lost += rc == 0 ? 0 : room - room_now();
        ck_assert_uint_le(lost, rolls ? 2u * 4096 : 0);
        ck_assert_uint_lt(room, 192u << 10); /* what the least ballast gives suffices */
    }
    OK(rc, kit.err);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), 10);
    db_kit_verify(&kit);
    end_it(false);
    sop_volume_destroy(volume);
}
END_TEST

/* Nothing but the journals has what was committed, and not a byte is free. */
START_TEST(what_only_the_journal_holds_is_no_obstacle)
{
    make_volume(CAPACITY);
    open_with(true, 1u << 30);
    db_kit_store(&kit, "s", NULL);
    unsigned n = 0;
    while (put_ten(n) == 0) { /* no upkeep in between */
        n += 10;
    }
    ck_assert_uint_gt(n, 500);
    others_leave(0);
    end_it(_i == 1);
    others_leave(0);
    open_with(false, 1u << 30);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), n);
    remove_all(n);
    OK(sop_db_compact(kit.db, &kit.err), kit.err);
    ck_assert_uint_gt(room_now(), CAPACITY / 2);
    ck_assert_int_eq(put_ten(0), 0);
    sop_volume_sim_set_capacity(volume, ROOMY);
    OK(sop_maintain(kit.db, &kit.err), kit.err);
    ck_assert_uint_eq(bytes_of("ballast-open"), 512u << 10);
    db_kit_verify(&kit);
    end_it(true);
    sop_volume_destroy(volume);
}
END_TEST

/* The room for a checkpoint is used while it is there, and not again and again. */
START_TEST(upkeep_writes_a_checkpoint_before_the_room_for_it_is_gone)
{
    make_volume(CAPACITY);
    open_with(true, 1u << 30);
    db_kit_store(&kit, "s", NULL);
    unsigned n = 0;
    OK(sop_maintain(kit.db, &kit.err), kit.err);
    ck_assert_uint_eq(stats_now().checkpoints, 0);
    for (; n < 100; n += 10) {
        ck_assert_int_eq(put_ten(n), 0);
    }
    OK(sop_maintain(kit.db, &kit.err), kit.err);
    ck_assert_uint_eq(stats_now().checkpoints, 0); /* there is room for many times as much */
    others_leave(1400u << 10);
    OK(sop_maintain(kit.db, &kit.err), kit.err);
    ck_assert_uint_eq(stats_now().checkpoints, 2);
    others_leave(0);
    for (int i = 0; i < 5; i++) {
        OK(sop_maintain(kit.db, &kit.err), kit.err);
    }
    ck_assert_uint_eq(stats_now().checkpoints, 2);
    end_it(false);
    others_leave(0);
    open_it(false);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), n);
    db_kit_verify(&kit);
    end_it(false);
    sop_volume_destroy(volume);
}
END_TEST

/* A commit met the full volume, then a round of upkeep did: what the close can free, it frees.
 */
START_TEST(closing_after_nospace_gives_back_what_it_can)
{
    make_small(1);
    for (unsigned i = 0; i < 120; i++) { /* more than one journal file of one small page */
        ck_assert(try_put("again", 15000));
    }
    others_leave(0);
    ck_assert(!try_put("large", 1u << 20));
    FAILS(NOSPACE, sop_maintain(kit.db, &kit.err), kit.err);
    for (int i = 0; i < 5; i++) { /* nothing has changed: nothing is tried */
        uint64_t syncs = sop_volume_sim_syncs(volume);
        OK(sop_maintain(kit.db, &kit.err), kit.err);
        ck_assert_uint_eq(sop_volume_sim_syncs(volume), syncs);
    }
    others_leave(160u << 10);
    end_it(true);
    ck_assert_uint_ge(room_now(), 1u << 20); /* the first journal file */
    others_leave(0);
    open_it(false);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), 2);
    db_kit_verify(&kit);
    end_it(true);
    sop_volume_destroy(volume);
}
END_TEST

/* Both kinds of ballast are made anew when other files make room, without a commit. */
START_TEST(ballast_comes_back_with_the_room)
{
    make_volume(CAPACITY);
    open_it(true);
    db_kit_store(&kit, "s", NULL);
    unsigned n = fill_up();
    uint64_t checkpoint = bytes_of("ballast");
    ck_assert_uint_gt(checkpoint, 1u << 20);
    others_leave(0);
    ck_assert_uint_lt(n, CAPACITY / VALUE_BYTES);
    ck_assert_int_eq(put_ten(n), SOP_ERR_NOSPACE);
    end_it(false);
    others_leave(0);
    open_it(false);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), n);
    sop_volume_sim_set_capacity(volume, ROOMY);
    for (int i = 0; i < 2; i++) {
        OK(sop_maintain(kit.db, &kit.err), kit.err);
    }
    ck_assert_uint_eq(bytes_of("ballast-open"), 512u << 10);
    ck_assert_uint_ge(bytes_of("ballast"), checkpoint);
    ck_assert_int_eq(put_ten(n), 0);
    db_kit_verify(&kit);
    end_it(true);
    sop_volume_destroy(volume);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("full_volume");
    TCase *t = tcase_create("full");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_full_volume_gives_space_back_after_deletes);
    tcase_add_loop_test(t, a_small_database_opens_on_a_volume_without_a_free_byte, 0, 4);
    tcase_add_loop_test(t, a_large_last_commit_is_adopted_without_a_free_byte, 0, 2);
    tcase_add_loop_test(t, an_opening_that_fails_takes_nothing, 0, 4);
    tcase_add_loop_test(t, what_only_the_journal_holds_is_no_obstacle, 0, 2);
    tcase_add_test(t, upkeep_writes_a_checkpoint_before_the_room_for_it_is_gone);
    tcase_add_test(t, closing_after_nospace_gives_back_what_it_can);
    tcase_add_test(t, ballast_comes_back_with_the_room);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
