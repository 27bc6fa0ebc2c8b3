/* Tickets, flags, beats and chain states: what is encoded is decoded, and nothing else is. */
#include "engine/base/codec.h"
#include "engine/chain/chain_int.h"

#include <check.h>
#include <stdlib.h>

static struct sop_ticket sample_ticket(const uint8_t *expels, size_t count)
{
    struct sop_ticket t = {.kind = SOP_RECORD_JOIN,
                           .flags = SOP_TICKET_EXCLUSIVE | SOP_TICKET_OPENS |
                                    SOP_TICKET_FOLLOWS_OPEN,
                           .member = 1,
                           .batch = 2,
                           .base = {.slot = 3, .record = 14},
                           .base_hash = 5,
                           .journal_file = 6,
                           .journal_offset = 8192,
                           .ten_file = 7,
                           .ten_block = 8,
                           .cut = 14,
                           .copies_from = 13,
                           .copies_bytes = 12288,
                           .place_member = 9,
                           .place_file = 10,
                           .place_offset = 11,
                           .place_bytes = 12,
                           .pid = 13,
                           .wall_ms = 14,
                           .expels = sop_slice(expels, count * 8),
                           .mask = sop_slice_str("mask"),
                           .payload = sop_slice_str("payload"),
                           .host = sop_slice_str("host")};
    memcpy(t.database_id, "database 1234567", 16);
    memcpy(t.member_nonce, "member 123456789", 16);
    memcpy(t.nonce, "ticket 123456789", 16);
    return t;
}

static void check_same(const struct sop_ticket *a, const struct sop_ticket *b)
{
    ck_assert_uint_eq(a->kind, b->kind);
    ck_assert_uint_eq(a->flags, b->flags);
    ck_assert_mem_eq(a->database_id, b->database_id, 16);
    ck_assert_mem_eq(a->member_nonce, b->member_nonce, 16);
    ck_assert_mem_eq(a->nonce, b->nonce, 16);
    ck_assert_uint_eq(a->member, b->member);
    ck_assert_uint_eq(a->batch, b->batch);
    ck_assert_int_eq(sop_lsn_cmp(a->base, b->base), 0);
    ck_assert_uint_eq(a->base_hash, b->base_hash);
    ck_assert_uint_eq(a->journal_file, b->journal_file);
    ck_assert_uint_eq(a->journal_offset, b->journal_offset);
    ck_assert_uint_eq(a->ten_file, b->ten_file);
    ck_assert_uint_eq(a->ten_block, b->ten_block);
    ck_assert_uint_eq(a->cut, b->cut);
    ck_assert_uint_eq(a->copies_from, b->copies_from);
    ck_assert_uint_eq(a->copies_at, b->copies_at);
    ck_assert_uint_eq(a->copies_bytes, b->copies_bytes);
    ck_assert_uint_eq(a->place_member, b->place_member);
    ck_assert_uint_eq(a->place_file, b->place_file);
    ck_assert_uint_eq(a->place_offset, b->place_offset);
    ck_assert_uint_eq(a->place_bytes, b->place_bytes);
    ck_assert_uint_eq(a->pid, b->pid);
    ck_assert_uint_eq(a->wall_ms, b->wall_ms);
    ck_assert(sop_slice_eq(a->expels, b->expels));
    ck_assert(sop_slice_eq(a->mask, b->mask));
    ck_assert(sop_slice_eq(a->payload, b->payload));
    ck_assert(sop_slice_eq(a->host, b->host));
}

START_TEST(a_ticket_decodes_to_what_was_encoded)
{
    static uint8_t expels[8 * 1000];
    static const size_t counts[] = {0, 1, 1000};
    for (size_t i = 0; i < SOP_ARRAY_LEN(counts); i++) {
        struct sop_ticket t = sample_ticket(expels, counts[i]);
        struct sop_buf buf = {0};
        ck_assert_int_eq(sop_ticket_encode(&t, &buf, NULL), 0);
        ck_assert_uint_eq(buf.len % SOP_BLOCK_BYTES, 0);
        ck_assert_uint_eq(t.copies_at, buf.len);
        struct sop_ticket got;
        uint32_t crc;
        ck_assert_int_eq(sop_ticket_decode(sop_buf_slice(&buf), &got, &crc, NULL), 0);
        check_same(&got, &t);
        ck_assert_int_eq(sop_ticket_decode(sop_slice(buf.data, 255), &got, &crc, NULL),
                         SOP_ERR_DATA_LOSS);
        sop_buf_fini(&buf);
    }
}
END_TEST

START_TEST(no_flipped_bit_of_a_ticket_passes)
{
    uint8_t expels[8] = {1};
    struct sop_ticket t = sample_ticket(expels, 1);
    struct sop_buf buf = {0};
    ck_assert_int_eq(sop_ticket_encode(&t, &buf, NULL), 0);
    size_t head = sop_ticket_head_bytes(sop_buf_slice(&buf));
    for (size_t bit = 0; bit < head * 8; bit++) {
        buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct sop_ticket got;
        uint32_t crc;
        ck_assert_int_eq(sop_ticket_decode(sop_buf_slice(&buf), &got, &crc, NULL),
                         SOP_ERR_DATA_LOSS);
        buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    sop_buf_fini(&buf);
}
END_TEST

/* Encodes, changes 8 bytes at `offset` to `value`, mends the CRC, decodes. */
static int decode_changed(size_t offset, size_t len, uint64_t value)
{
    uint8_t expels[8] = {1};
    struct sop_ticket t = sample_ticket(expels, 1);
    struct sop_buf buf = {0};
    ck_assert_int_eq(sop_ticket_encode(&t, &buf, NULL), 0);
    uint8_t bytes[8];
    sop_put_u64(bytes, value);
    memcpy(buf.data + offset, bytes, len);
    size_t head = sop_ticket_head_bytes(sop_buf_slice(&buf));
    if (head > 8 && head <= buf.len) {
        sop_put_u32(buf.data + 4, sop_crc32c(buf.data + 8, head - 8, 0));
    }
    struct sop_ticket got;
    uint32_t crc;
    int rc = sop_ticket_decode(sop_buf_slice(&buf), &got, &crc, NULL);
    sop_buf_fini(&buf);
    return rc;
}

START_TEST(a_ticket_that_contradicts_itself_is_refused)
{
    ck_assert_int_eq(decode_changed(10, 2, SOP_RECORD_CUT), 0); /* the method works */
    ck_assert_int_eq(decode_changed(8, 2, 2), SOP_ERR_VERSION);
    ck_assert_int_eq(decode_changed(12, 4, 8), SOP_ERR_DATA_LOSS); /* unknown flag */
    ck_assert_int_eq(decode_changed(12, 4, 3), SOP_ERR_DATA_LOSS); /* a cut of nothing */
    ck_assert_int_eq(decode_changed(16, 4, 255), SOP_ERR_DATA_LOSS);
    ck_assert_int_eq(decode_changed(16, 4, 300), SOP_ERR_DATA_LOSS);
    ck_assert_int_eq(decode_changed(16, 4, 1u << 30), SOP_ERR_DATA_LOSS);
    ck_assert_int_eq(decode_changed(112, 4, 0), SOP_ERR_DATA_LOSS); /* no journal file */
    ck_assert_int_eq(decode_changed(120, 8, 100), SOP_ERR_DATA_LOSS);
    ck_assert_int_eq(decode_changed(132, 4, UINT32_MAX), SOP_ERR_DATA_LOSS);
    ck_assert_int_eq(decode_changed(144, 8, 15), SOP_ERR_DATA_LOSS); /* copies behind the cut */
    ck_assert_int_eq(decode_changed(144, 8, 0), SOP_ERR_DATA_LOSS);
    ck_assert_int_eq(decode_changed(152, 8, 1), SOP_ERR_DATA_LOSS);
    ck_assert_int_eq(decode_changed(160, 8, UINT64_MAX - 4095), SOP_ERR_DATA_LOSS);
    ck_assert_int_eq(decode_changed(168, 4, 5), SOP_ERR_DATA_LOSS);
    ck_assert_int_eq(decode_changed(224, 2, 3), SOP_ERR_DATA_LOSS);
}
END_TEST

START_TEST(a_ticket_over_the_limit_is_refused)
{
    uint8_t *large = calloc(1, SOP_TICKET_HEAD_MAX + 8);
    ck_assert_ptr_nonnull(large);
    struct sop_ticket t = sample_ticket(large, SOP_TICKET_HEAD_MAX / 8);
    struct sop_buf buf = {0};
    ck_assert_int_eq(sop_ticket_encode(&t, &buf, NULL), SOP_ERR_TOO_LARGE);
    t = sample_ticket(large, 0);
    t.payload = sop_slice(large, SOP_TICKET_HEAD_MAX + 1);
    ck_assert_int_eq(sop_ticket_encode(&t, &buf, NULL), SOP_ERR_TOO_LARGE);
    ck_assert_uint_eq(buf.len, 0);
    sop_buf_fini(&buf);
    free(large);
}
END_TEST

START_TEST(only_the_exact_pattern_is_alive)
{
    struct sop_flag_name name = {.kind = SOP_FLAG_TEN, .file = 1, .block = 2};
    uint8_t live[SOP_BLOCK_BYTES];
    uint8_t dead[SOP_BLOCK_BYTES];
    uint8_t mix[SOP_BLOCK_BYTES];
    sop_flag_live_pattern(&name, live);
    sop_flag_dead_pattern(dead);
    ck_assert_int_eq(sop_flag_state(&name, live), SOP_FLAG_LIVE);
    ck_assert_int_eq(sop_flag_state(&name, dead), SOP_FLAG_DEAD);
    for (size_t bit = 0; bit < sizeof live * 8; bit++) {
        live[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(sop_flag_state(&name, live), SOP_FLAG_DAMAGED);
        live[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    /* A kill that was torn between sectors. */
    for (size_t at = 512; at < sizeof mix; at += 512) {
        memcpy(mix, dead, at);
        memcpy(mix + at, live + at, sizeof mix - at);
        ck_assert_int_eq(sop_flag_state(&name, mix), SOP_FLAG_DEAD);
        memcpy(mix, live, at);
        memcpy(mix + at, dead + at, sizeof mix - at);
        ck_assert_int_eq(sop_flag_state(&name, mix), SOP_FLAG_DEAD);
    }
    struct sop_flag_name others[] = {name, name, name, name, name};
    others[0].kind = SOP_FLAG_GATE;
    others[1].file++;
    others[2].block++;
    others[3].nonce[15]++;
    others[4].database_id[0]++;
    for (size_t i = 0; i < SOP_ARRAY_LEN(others); i++) {
        ck_assert_int_ne(sop_flag_state(&others[i], live), SOP_FLAG_LIVE);
    }
}
END_TEST

START_TEST(a_beat_decodes_to_what_was_encoded)
{
    struct sop_beat b;
    memset(&b, 0, sizeof b);
    b.flags = SOP_BEAT_LEFT;
    memcpy(b.database_id, "database 1234567", 16);
    memcpy(b.nonce, "member 123456789", 16);
    b.sequence = 17;
    b.head = (struct sop_lsn){1, 2};
    b.lac = (struct sop_lsn){3, 4};
    b.pin = (struct sop_lsn){5, 6};
    b.old_pin_count = SOP_BEAT_PINS_MAX;
    for (uint64_t i = 0; i < SOP_BEAT_PINS_MAX; i++) {
        b.old_pins[i] = (struct sop_lsn){i, i + 1};
    }
    b.pid = 99;
    memset(b.host, 'h', SOP_HOST_BYTES_MAX);
    memset(b.address, 'a', SOP_HOST_BYTES_MAX);
    uint8_t block[SOP_BLOCK_BYTES];
    sop_beat_encode(&b, block);
    struct sop_beat got;
    ck_assert(sop_beat_decode(block, &got));
    ck_assert_mem_eq(&got, &b, sizeof b);
    for (size_t bit = 0; bit < sizeof block * 8; bit += 3) {
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert(!sop_beat_decode(block, &got));
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}
END_TEST

/* --- chain states --- */

static void sample_view(struct sop_chain_view *v)
{
    memset(v, 0, sizeof *v);
    v->lsn = (struct sop_lsn){.slot = 20};
    v->dir_first = 17;
    v->dir_here_first = 17;
    memcpy(v->dir, "d3-00112233445566778899aabbccddeeff", 36);
    memcpy(v->dir_here, v->dir, sizeof v->dir);
    for (uint64_t id = 10; id < 14; id++) {
        struct sop_chain_member_row row = {.id = id, .flags = 1, .ten_block = 3};
        ck_assert_int_eq(sop_chain__view_reserve(v, NULL), 0);
        sop_chain__view_join(v, &row);
        sop_chain__find_decided(v, id)->batch = id * 10;
    }
    for (uint64_t id = 10; id < 12; id++) {
        ck_assert_int_eq(sop_chain__view_reserve(v, NULL), 0);
        sop_chain__view_gone(v, id, (struct sop_lsn){.slot = 20}, id == 10);
    }
    v->lsn.record = 5;
    v->hash = 0xabcdef;
    v->open = true;
    v->tenure = (struct sop_chain_tenure){
        .slot = 20, .member = 13, .ten_block = 3, .next = {.file = 4, .offset = 8192}};
}

START_TEST(a_state_decodes_to_what_was_encoded)
{
    struct sop_chain_view v;
    sample_view(&v);
    ck_assert_uint_eq(v.member_count, 2);
    ck_assert_uint_eq(v.gone_count, 2);
    ck_assert_uint_eq(v.decided_count, 3); /* LEAVE took the row away, EXPEL kept it */
    struct sop_buf buf = {0};
    struct sop_buf again = {0};
    ck_assert_int_eq(sop_chain__view_encode(&v, &buf, NULL), 0);
    struct sop_chain_view got;
    ck_assert_int_eq(sop_chain__view_decode(&got, sop_buf_slice(&buf), NULL), 0);
    ck_assert_int_eq(sop_chain__view_encode(&got, &again, NULL), 0);
    ck_assert(sop_slice_eq(sop_buf_slice(&buf), sop_buf_slice(&again)));
    ck_assert_uint_eq(sop_chain__find_decided(&got, 10)->gone_slot, 20);
    ck_assert_uint_eq(sop_chain__find_decided(&got, 12)->batch, 120);
    ck_assert_ptr_null(sop_chain__find_decided(&got, 11));
    ck_assert(got.open);
    ck_assert_uint_eq(got.tenure.next.offset, 8192);
    sop_chain__view_fini(&got);
    for (size_t bit = 0; bit < buf.len * 8; bit++) {
        buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(sop_chain__view_decode(&got, sop_buf_slice(&buf), NULL),
                         SOP_ERR_DATA_LOSS);
        buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t len = 0; len < buf.len; len++) {
        ck_assert_int_eq(sop_chain__view_decode(&got, sop_slice(buf.data, len), NULL),
                         SOP_ERR_DATA_LOSS);
    }
    sop_buf_fini(&buf);
    sop_buf_fini(&again);
    sop_chain__view_fini(&v);
}
END_TEST

START_TEST(rows_of_expelled_members_are_kept_for_a_while)
{
    struct sop_chain_view v;
    memset(&v, 0, sizeof v);
    v.lsn = (struct sop_lsn){.slot = 1};
    uint64_t id = 1;
    for (; id <= SOP_DECIDED_ROWS_MAX + 10; id++) {
        v.lsn.slot = id;
        ck_assert_int_eq(sop_chain__view_reserve(&v, NULL), 0);
        sop_chain__view_join(&v, &(struct sop_chain_member_row){.id = id});
        sop_chain__view_gone(&v, id, v.lsn, true);
    }
    ck_assert_uint_eq(v.decided_count, SOP_DECIDED_ROWS_MAX);
    ck_assert_ptr_null(sop_chain__find_decided(&v, 10)); /* the oldest went */
    ck_assert_ptr_nonnull(sop_chain__find_decided(&v, 11));
    v.lsn.slot = id + SOP_DECIDED_SLOTS;
    ck_assert_int_eq(sop_chain__view_reserve(&v, NULL), 0);
    sop_chain__view_join(&v, &(struct sop_chain_member_row){.id = v.lsn.slot});
    sop_chain__view_gone(&v, v.lsn.slot, v.lsn, true);
    ck_assert_uint_eq(v.decided_count, 1);
    sop_chain__view_fini(&v);
}
END_TEST

START_TEST(names_of_directories_are_checked)
{
    static const char *const bad[] = {
        "",
        "d",
        "d0-00112233445566778899aabbccddeeff",
        "d1",
        "d1-",
        "d1-00112233445566778899aabbccddeef",
        "d1-00112233445566778899aabbccddeeff0",
        "d1-00112233445566778899AABBCCDDEEFF",
        "e1-00112233445566778899aabbccddeeff",
        "d99999999999999999999999-00112233445566778899aabbccddeeff",
        "d1/../../x"};
    uint64_t number;
    uint8_t nonce[SOP_NONCE_BYTES];
    for (size_t i = 0; i < SOP_ARRAY_LEN(bad); i++) {
        ck_assert_msg(!sop_chain__parse_dir(bad[i], &number, nonce), "%s", bad[i]);
    }
    ck_assert(sop_chain__parse_dir("d412-00112233445566778899aabbccddeeff", &number, nonce));
    ck_assert_uint_eq(number, 412);
    ck_assert_uint_eq(nonce[1], 0x11);
    ck_assert_uint_eq(nonce[15], 0xff);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chain_format");
    TCase *t = tcase_create("chain_format");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, a_ticket_decodes_to_what_was_encoded);
    tcase_add_test(t, no_flipped_bit_of_a_ticket_passes);
    tcase_add_test(t, a_ticket_that_contradicts_itself_is_refused);
    tcase_add_test(t, a_ticket_over_the_limit_is_refused);
    tcase_add_test(t, only_the_exact_pattern_is_alive);
    tcase_add_test(t, a_beat_decodes_to_what_was_encoded);
    tcase_add_test(t, a_state_decodes_to_what_was_encoded);
    tcase_add_test(t, rows_of_expelled_members_are_kept_for_a_while);
    tcase_add_test(t, names_of_directories_are_checked);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
