/* The chain in exclusive use, in its ordinary course: what is acknowledged is replayed, once
 * and in order, from any place; and damage is told. */
#include "tests/lib/chain_kit.h"

#include <stdio.h>

START_TEST(what_is_appended_is_replayed)
{
    static const bool orderly[] = {true, false};
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    uint64_t token = 100;
    for (int round = 0; round < 6; round++) {
        o.start = genesis;
        log_a.count = 0;
        struct sop_chain *c = chain_open(&o);
        ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_JOIN, sop_chain_member(c)), 1);
        for (uint64_t t = 100; t < token; t++) {
            ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, t), 1);
        }
        for (int i = 0; i < 7; i++) {
            chain_commit(c, token, (size_t)8 * (1 + token * 977 % 6000));
            token++;
        }
        struct sop_chain_point p;
        sop_chain_point(c, &p);
        chain_close(&c, orderly[round % 2]);
        if (!orderly[round % 2]) { /* else LEAVE is behind it */
            ck_assert_uint_eq(hash_of(v, &genesis), p.hash);
            ck_assert_uint_eq(log_b.count, log_a.count + 7);
        }
    }
    sop_volume_destroy(v);
}
END_TEST

START_TEST(the_order_of_members_is_told)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    uint64_t first = sop_chain_member(c);
    chain_commit(c, 1, 8);
    chain_close(&c, true);
    log_a.count = 0;
    c = chain_open(&o);
    uint64_t second = sop_chain_member(c);
    chain_close(&c, false);
    log_a.count = 0;
    c = chain_open(&o);
    const enum sop_record_kind kinds[] = {SOP_RECORD_JOIN, SOP_RECORD_BATCH, SOP_RECORD_LEAVE,
                                          SOP_RECORD_JOIN, SOP_RECORD_EXPEL, SOP_RECORD_JOIN};
    const uint64_t tokens[] = {first, 1, first, second, second, sop_chain_member(c)};
    ck_assert_uint_eq(log_a.count, 6);
    for (size_t i = 0; i < 6; i++) {
        ck_assert_int_eq(log_a.kind[i], kinds[i]);
        ck_assert_uint_eq(log_a.token[i], tokens[i]);
    }
    chain_close(&c, true);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(syncs_stay_in_the_budget)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    for (int round = 0; round < 40; round++) {
        o.start = genesis;
        log_a.count = 0;
        uint64_t before = sop_volume_sim_syncs(v);
        struct sop_chain *c = chain_open(&o);
        uint64_t opening = sop_volume_sim_syncs(v) - before;
        struct sop_chain_load load;
        sop_chain_load(c, &genesis, &load);
        ck_assert_uint_eq(load.syncs, opening);
        struct sop_chain_point p;
        sop_chain_point(c, &p);
        bool rolled = p.lsn.slot == p.dir_first && p.lsn.slot > 1;
        ck_assert_uint_le(opening, rolled ? 16 : 12);
        before = sop_volume_sim_syncs(v);
        chain_commit(c, 1, 8);
        ck_assert_uint_eq(sop_volume_sim_syncs(v), before + 1);
        if (round % 3 == 0) {
            chain_commit(c, 2, 200000);
        }
        before = sop_volume_sim_syncs(v);
        chain_close(&c, round % 4 != 0);
        ck_assert_uint_le(sop_volume_sim_syncs(v) - before, 2);
    }
    sop_volume_destroy(v);
}
END_TEST

START_TEST(an_observer_leaves_no_trace)
{
    struct sop_chain_point genesis;
    struct sop_volume *sim = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(sim, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    for (uint64_t t = 1; t <= 5; t++) {
        chain_commit(c, t, 8);
    }
    ck_assert_int_eq(sop_chain_care(c, (struct sop_lsn){0}, NULL), 0);
    struct sop_lsn lsn;
    bool decided;
    ck_assert_int_eq(chain_append(c, SOP_RECORD_BATCH, 6, 8, false, &lsn, &decided, NULL), 0);
    ck_assert(!decided);
    struct sop_volume *v;
    ck_assert_int_eq(sop_volume_fault_new(sim, &v, NULL), 0);
    struct sop_chain_options watch = chain_options(v, &genesis, &log_b);
    watch.observer = true;
    struct sop_chain *seen = chain_open(&watch);
    /* The living owner's decided records, not what is only shown. */
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, 5), 1);
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, 6), 0);
    ck_assert_int_eq(chain_append(seen, SOP_RECORD_BATCH, 7, 8, true, &lsn, &decided, NULL),
                     SOP_ERR_READ_ONLY);
    ck_assert_uint_eq(sop_chain_member(seen), 0);
    chain_close(&seen, true);
    chain_close(&c, false);
    /* The dead owner's whole records: who opens next adopts them. */
    watch = chain_options(v, &genesis, &log_b);
    watch.observer = true;
    seen = chain_open(&watch);
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, 6), 1);
    chain_close(&seen, true);
    static const enum sop_fault_op writes[] = {
        SOP_FAULT_WRITE, SOP_FAULT_SYNC,  SOP_FAULT_LINK,    SOP_FAULT_UNLINK,
        SOP_FAULT_MKDIR, SOP_FAULT_RMDIR, SOP_FAULT_DIR_SYNC};
    for (size_t i = 0; i < SOP_ARRAY_LEN(writes); i++) {
        ck_assert_uint_eq(sop_volume_fault_calls(v, writes[i]), 0);
    }
    sop_volume_destroy(v);
    sop_volume_destroy(sim);
}
END_TEST

START_TEST(any_point_is_a_start)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    enum { SAVED = 60 };
    static struct chain_saved saved[SAVED];
    static uint64_t next_token[SAVED];
    memset(saved, 0, sizeof saved);
    size_t count = 0;
    uint64_t token = 1;
    for (int round = 0; round < 12; round++) {
        struct sop_chain_options o = chain_options(v, &genesis, &log_a);
        struct sop_chain *c = chain_open(&o);
        for (int i = 0; i < 5; i++) {
            next_token[count] = token;
            save(c, &saved[count++]);
            chain_commit(c, token++, i == 3 ? 120000 : 8u * (unsigned)(500 + round * 100));
        }
        chain_close(&c, round % 2 == 0);
    }
    for (size_t i = 0; i < count; i++) {
        struct sop_chain_options o = chain_options(v, &genesis, &log_a);
        start_from(&o, &saved[i]);
        o.observer = true;
        struct sop_chain *c = chain_open(&o);
        struct sop_chain_point p;
        sop_chain_point(c, &p);
        chain_close(&c, true);
        for (uint64_t t = 1; t < token; t++) {
            ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, t), t >= next_token[i]);
        }
        ck_assert_uint_eq(p.hash, hash_of(v, &genesis));
    }
    /* A member, too, and also right inside the newest tenure. */
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    start_from(&o, &saved[count - 1]);
    struct sop_chain *c = chain_open(&o);
    chain_commit(c, token, 8);
    chain_close(&c, true);
    (void)hash_of(v, &genesis);
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, token), 1);
    for (size_t i = 0; i < count; i++) {
        sop_buf_fini(&saved[i].state);
    }
    sop_volume_destroy(v);
}
END_TEST

static void member_path(struct sop_chain *c, const char *rest, char to[256])
{
    (void)snprintf(to, 256, "%s/%s", sop_chain_member_dir(c), rest);
}

START_TEST(damage_in_the_middle_is_data_loss)
{
    for (int ended = 0; ended < 2; ended++) {
        struct sop_chain_point genesis;
        struct sop_volume *v = chain_disk(&genesis);
        struct sop_chain_options o = chain_options(v, &genesis, &log_a);
        struct sop_chain *c = chain_open(&o);
        char path[256];
        member_path(c, "journal/1", path);
        for (uint64_t t = 1; t <= 5; t++) {
            chain_commit(c, t, 8);
        }
        chain_close(&c, false);
        if (ended == 1) {
            o = chain_options(v, &genesis, &log_a);
            c = chain_open(&o);
            chain_close(&c, true);
        }
        ck_assert_int_eq(sop_volume_sim_flip(v, path, (2 * 4096 + 60) * 8, NULL), 0);
        o = chain_options(v, &genesis, &log_a);
        struct sop_err err = {0};
        ck_assert_int_eq(sop_chain_open(&c, &o, &err), SOP_ERR_DATA_LOSS);
        ck_assert_msg(strstr(err.text, path) != NULL && strstr(err.text, "8192") != NULL, "%s",
                      err.text);
        o.observer = true;
        log_a.count = 0;
        ck_assert_int_eq(sop_chain_open(&c, &o, &err), SOP_ERR_DATA_LOSS);
        sop_volume_destroy(v);
    }
}
END_TEST

START_TEST(a_torn_tail_is_cut)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    char path[256];
    member_path(c, "journal/1", path);
    for (uint64_t t = 1; t <= 5; t++) {
        chain_commit(c, t, 8);
    }
    chain_close(&c, false);
    ck_assert_int_eq(sop_volume_sim_flip(v, path, (4 * 4096 + 130) * 8, NULL), 0);
    o = chain_options(v, &genesis, &log_a);
    c = chain_open(&o);
    ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, 4), 1);
    ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, 5), 0);
    chain_close(&c, true);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(an_orderly_close_proves_its_tail)
{
    /* After LEAVE the beat says how far the journal was durable: rot of its last record is
     * damage and no torn tail. */
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    char path[256];
    member_path(c, "journal/1", path);
    chain_commit(c, 1, 8);
    chain_close(&c, true);
    ck_assert_int_eq(sop_volume_sim_flip(v, path, (4096 + 60) * 8, NULL), 0);
    o = chain_options(v, &genesis, &log_a);
    ck_assert_int_eq(sop_chain_open(&c, &o, NULL), SOP_ERR_DATA_LOSS);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(damage_to_slots_and_gates_is_data_loss)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    chain_close(&c, true);
    char slot[256];
    char gate[256];
    (void)snprintf(slot, sizeof slot, "chain/%s/%016x", genesis.dir, 1);
    (void)snprintf(gate, sizeof gate, "chain/%s/GATE", genesis.dir);
    const char *paths[] = {slot, gate};
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(sop_volume_sim_flip(v, paths[i], 100 * 8, NULL), 0);
        o = chain_options(v, &genesis, &log_a);
        struct sop_err err = {0};
        ck_assert_int_eq(sop_chain_open(&c, &o, &err), SOP_ERR_DATA_LOSS);
        ck_assert_msg(strstr(err.text, paths[i]) != NULL, "%s", err.text);
        ck_assert_int_eq(sop_volume_sim_flip(v, paths[i], 100 * 8, NULL), 0);
    }
    ck_assert_int_eq(sop_volume_sim_truncate(v, slot, 100, NULL), 0);
    o = chain_options(v, &genesis, &log_a);
    ck_assert_int_eq(sop_chain_open(&c, &o, NULL), SOP_ERR_DATA_LOSS);
    sop_volume_destroy(v);
}
END_TEST

START_TEST(a_damaged_ten_stops_its_owner)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    char path[256];
    member_path(c, "TEN", path);
    chain_commit(c, 1, 8);
    ck_assert_int_eq(sop_volume_sim_flip(v, path, 77, NULL), 0);
    ck_assert_int_eq(sop_chain_barrier(c, NULL), SOP_ERR_SEALED);
    struct sop_lsn lsn;
    bool decided = false;
    ck_assert_int_eq(chain_append(c, SOP_RECORD_BATCH, 2, 8, true, &lsn, &decided, NULL),
                     SOP_ERR_SEALED);
    ck_assert(decided); /* nobody was there: the owner ended its tenure behind the record */
    chain_close(&c, true);
    check_told(v, &genesis, &(struct chain_told){.acknowledged = 2});
    sop_volume_destroy(v);
}
END_TEST

START_TEST(a_start_that_does_not_fit_is_refused)
{
    struct sop_chain_point genesis;
    struct sop_volume *v = chain_disk(&genesis);
    struct sop_chain_options o = chain_options(v, &genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    chain_commit(c, 1, 8);
    struct chain_saved s = {0};
    save(c, &s);
    chain_close(&c, true);
    struct sop_chain_options bad = chain_options(v, &genesis, &log_a);
    bad.start.hash ^= 1;
    ck_assert_int_eq(sop_chain_open(&c, &bad, NULL), SOP_ERR_DATA_LOSS);
    bad = chain_options(v, &genesis, &log_a);
    bad.database_id[0] ^= 1;
    bad.start.hash = sop_hash64(bad.database_id, 16, 0);
    ck_assert_int_eq(sop_chain_open(&c, &bad, NULL), SOP_ERR_DATA_LOSS);
    for (size_t i = 0; i < 4; i++) {
        bad = chain_options(v, &genesis, &log_a);
        start_from(&bad, &s);
        bad.start.hash ^= i == 0;
        bad.start.lsn.record += i == 1;
        bad.start.journal_offset += i == 2 ? 4096 : 0;
        bad.start.dir[1] = i == 3 ? '9' : bad.start.dir[1];
        ck_assert_int_eq(sop_chain_open(&c, &bad, NULL), SOP_ERR_DATA_LOSS);
    }
    bad = chain_options(v, &genesis, &log_a);
    bad.dir_slots = 3;
    ck_assert_int_eq(sop_chain_open(&c, &bad, NULL), SOP_ERR_INVALID);
    sop_buf_fini(&s.state);
    sop_volume_destroy(v);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chain");
    TCase *t = tcase_create("chain");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, what_is_appended_is_replayed);
    tcase_add_test(t, the_order_of_members_is_told);
    tcase_add_test(t, syncs_stay_in_the_budget);
    tcase_add_test(t, an_observer_leaves_no_trace);
    tcase_add_test(t, any_point_is_a_start);
    tcase_add_test(t, damage_in_the_middle_is_data_loss);
    tcase_add_test(t, a_torn_tail_is_cut);
    tcase_add_test(t, an_orderly_close_proves_its_tail);
    tcase_add_test(t, damage_to_slots_and_gates_is_data_loss);
    tcase_add_test(t, a_damaged_ten_stops_its_owner);
    tcase_add_test(t, a_start_that_does_not_fit_is_refused);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
