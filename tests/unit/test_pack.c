/* Packs: what is appended comes back, and only that. */
#include "tests/lib/pack_kit.h"

#include <stdio.h>

/* Around every border: pieces, the size up to which one read does, alignment. */
static const size_t sizes[] = {0,     1,      7,      8,      63,      100,
                               4096,  32767,  32768,  32769,  65535,   65536,
                               65537, 131072, 131073, 200001, 1u << 20};

START_TEST(append_then_read_gives_the_same_bytes)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_place places[2][SOP_ARRAY_LEN(sizes)];
    for (size_t i = 0; i < SOP_ARRAY_LEN(sizes); i++) {
        struct sop_pack_owner sheet = kit_sheet(i);
        struct sop_pack_owner value = kit_value("some key");
        OK(kit_append(k.packs, &sheet, sizes[i], i, &places[0][i], &err));
        OK(kit_append(k.packs, &value, sizes[i], i + 100, &places[1][i], &err));
        ck_assert_uint_eq(places[0][i].offset % 8, 0);
        ck_assert_uint_eq(places[1][i].offset % 8, 0);
        ck_assert_uint_eq(places[1][i].member, 7);
        ck_assert_uint_eq(places[1][i].bytes, sizes[i]);
    }
    for (size_t i = 0; i < SOP_ARRAY_LEN(sizes); i++) {
        OK(kit_check(k.packs, &places[0][i], SOP_PACK_SHEET, i, &err));
        OK(kit_check(k.packs, &places[1][i], SOP_PACK_VALUE, i + 100, &err));
    }
    kit_fini(&k);
}
END_TEST

START_TEST(places_survive_encoding)
{
    struct sop_place p = {.member = 0xABCDEF012345,
                          .offset = 0xFEDCBA9876,
                          .file = 0x89ABCDEF,
                          .bytes = 0xFFFFFFFE};
    uint8_t bytes[SOP_PLACE_BYTES];
    sop_place_encode(&p, bytes);
    struct sop_place q = sop_place_decode(bytes);
    ck_assert(sop_place_eq(&p, &q));
    memset(bytes, 0, sizeof bytes);
    q = sop_place_decode(bytes);
    ck_assert(sop_place_none(&q));
}
END_TEST

static void check_range(struct sop_packs *p, const struct sop_place *place, const uint8_t *want,
                        uint64_t from, size_t len)
{
    struct sop_err err = {0};
    uint8_t *got = malloc(len + 1);
    ck_assert_ptr_nonnull(got);
    got[len] = 0x5A;
    OK(sop_packs_read_range(p, place, from, got, len, &err));
    ck_assert_int_eq(memcmp(got, want + from, len), 0);
    ck_assert_uint_eq(got[len], 0x5A);
    free(got);
}

START_TEST(ranges_give_their_part)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    const size_t totals[] = {1, 5000, 65536, 65537, 300000};
    for (size_t t = 0; t < SOP_ARRAY_LEN(totals); t++) {
        size_t total = totals[t];
        uint8_t *bytes = kit_bytes(total, t);
        struct sop_pack_owner owner = kit_value("k");
        struct sop_place place;
        OK(sop_packs_append(k.packs, &owner, sop_slice(bytes, total), &place, &err));
        const uint64_t edges[] = {0, 1, 65535, 65536, 65537, 131072, 196607, total - 1, total};
        for (size_t i = 0; i < SOP_ARRAY_LEN(edges); i++) {
            for (size_t j = i; j < SOP_ARRAY_LEN(edges); j++) {
                if (edges[i] <= edges[j] && edges[j] <= total) {
                    check_range(k.packs, &place, bytes, edges[i],
                                (size_t)(edges[j] - edges[i]));
                }
            }
        }
        uint8_t one;
        FAILS(INVALID, sop_packs_read_range(k.packs, &place, total, &one, 1, &err));
        FAILS(INVALID, sop_packs_read_range(k.packs, &place, total + 1, &one, 0, &err));
        FAILS(INVALID, sop_packs_read_range(k.packs, &place, 1, &one, SIZE_MAX, &err));
        free(bytes);
    }
    kit_fini(&k);
}
END_TEST

START_TEST(a_range_reads_its_own_pieces_only)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_pack_owner owner = kit_value("k");
    struct sop_place place;
    uint8_t *bytes = kit_bytes(300000, 1);
    OK(sop_packs_append(k.packs, &owner, sop_slice(bytes, 300000), &place, &err));
    /* Damage in piece 3 hurts nobody who does not ask for it. */
    OK(sop_volume_sim_flip(k.sim, "packs/7/1", (64 + 3 * 65536 + 10) * 8, &err));
    check_range(k.packs, &place, bytes, 100, 196000);
    uint8_t got[10];
    FAILS(DATA_LOSS, sop_packs_read_range(k.packs, &place, 3 * 65536 + 60000, got, 10, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "packs/7/1 at byte 196672"));
    FAILS(DATA_LOSS, kit_check(k.packs, &place, SOP_PACK_VALUE, 1, &err));
    free(bytes);
    kit_fini(&k);
}
END_TEST

START_TEST(a_place_that_is_not_exact_is_refused)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_pack_owner owner = kit_sheet(9);
    struct sop_place a;
    struct sop_place b;
    OK(kit_append(k.packs, &owner, 200, 1, &a, &err));
    OK(kit_append(k.packs, &owner, 200, 2, &b, &err));
    OK(kit_check(k.packs, &b, SOP_PACK_SHEET, 2, &err));
    FAILS(DATA_LOSS, kit_check(k.packs, &b, SOP_PACK_VALUE, 2, &err));
    struct sop_place wrong = b;
    wrong.offset += 8;
    FAILS(DATA_LOSS, kit_check(k.packs, &wrong, SOP_PACK_SHEET, 2, &err));
    wrong = b;
    wrong.bytes = 199;
    FAILS(DATA_LOSS, kit_check(k.packs, &wrong, SOP_PACK_SHEET, 2, &err));
    wrong = b;
    wrong.bytes = UINT32_MAX; /* must not take 4 GiB to find out */
    FAILS(DATA_LOSS, kit_check(k.packs, &wrong, SOP_PACK_SHEET, 2, &err));
    wrong = b;
    wrong.file = 2;
    FAILS(DATA_LOSS, kit_check(k.packs, &wrong, SOP_PACK_SHEET, 2, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "packs/7/2"));
    wrong = b;
    wrong.member = 8;
    FAILS(DATA_LOSS, kit_check(k.packs, &wrong, SOP_PACK_SHEET, 2, &err));

    uint8_t other_id[16] = {1};
    struct sop_packs *other = NULL;
    OK(sop_packs_open(&other, k.fault, sop_env_system(), other_id, 8, &err));
    FAILS(DATA_LOSS, kit_check(other, &b, SOP_PACK_SHEET, 2, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "another database"));
    sop_packs_close(&other);
    kit_fini(&k);
}
END_TEST

START_TEST(a_moved_record_is_refused)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_pack_owner owner = kit_sheet(9);
    struct sop_place a;
    OK(kit_append(k.packs, &owner, 1000, 1, &a, &err));
    struct sop_buf bytes = {0};
    OK(sop_volume_read_file(k.sim, "packs/7/1", 1 << 20, &bytes, &err));
    OK(sop_volume_write_file(k.sim, "packs/7/5", sop_buf_slice(&bytes), &err));
    struct sop_place moved = a;
    moved.file = 5;
    FAILS(DATA_LOSS, kit_check(k.packs, &moved, SOP_PACK_SHEET, 1, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "another place"));
    sop_buf_fini(&bytes);
    kit_fini(&k);
}
END_TEST

START_TEST(records_that_changed_places_are_refused)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_pack_owner owner = kit_sheet(9);
    struct sop_place p[2];
    OK(kit_append(k.packs, &owner, 1000, 0, &p[0], &err));
    OK(kit_append(k.packs, &owner, 1000, 1, &p[1], &err));
    sop_packs_close(&k.packs);
    struct sop_buf bytes = {0};
    OK(sop_volume_read_file(k.sim, "packs/7/1", 1 << 20, &bytes, &err));
    ck_assert_uint_eq(bytes.len, 2 * 1064);
    uint8_t first[1064];
    memcpy(first, bytes.data, 1064);
    memcpy(bytes.data, bytes.data + 1064, 1064);
    memcpy(bytes.data + 1064, first, 1064);
    OK(sop_volume_unlink(k.sim, "packs/7/1", &err));
    OK(sop_volume_write_file(k.sim, "packs/7/1", sop_buf_slice(&bytes), &err));
    k.packs = kit_open(k.fault, 8);
    for (uint64_t i = 0; i < 2; i++) {
        FAILS(DATA_LOSS, kit_check(k.packs, &p[i], SOP_PACK_SHEET, 1 - i, &err));
        ck_assert_ptr_nonnull(strstr(err.text, "another place"));
    }
    sop_buf_fini(&bytes);
    kit_fini(&k);
}
END_TEST

START_TEST(another_member_reads_and_writes_beside)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_pack_owner owner = kit_sheet(1);
    struct sop_place a;
    struct sop_place b;
    OK(kit_append(k.packs, &owner, 500, 1, &a, &err));
    sop_packs_close(&k.packs);
    k.packs = kit_open(k.fault, 0x1f);
    OK(kit_append(k.packs, &owner, 500, 2, &b, &err));
    OK(kit_check(k.packs, &a, SOP_PACK_SHEET, 1, &err));
    OK(kit_check(k.packs, &b, SOP_PACK_SHEET, 2, &err));
    struct sop_stat st;
    OK(sop_volume_stat(k.sim, "packs/1f/1", &st, &err));
    ck_assert_int_eq(st.kind, SOP_FILE_REGULAR);

    struct sop_packs *reader = kit_open(k.fault, 0);
    OK(kit_check(reader, &a, SOP_PACK_SHEET, 1, &err));
    FAILS(READ_ONLY, kit_append(reader, &owner, 500, 2, &b, &err));
    struct sop_pack_owner value = kit_value("k");
    struct sop_pack_stream *s = NULL;
    FAILS(READ_ONLY, sop_packs_stream(reader, &value, &s, &err));
    FAILS(READ_ONLY, sop_packs_unlink(reader, 7, 1, &err));
    OK(sop_packs_sync(reader, &err));
    sop_packs_close(&reader);

    /* The same member again: file numbers go on, nothing is written twice. */
    sop_packs_close(&k.packs);
    k.packs = kit_open(k.fault, 0x1f);
    struct sop_place c;
    OK(kit_append(k.packs, &owner, 500, 3, &c, &err));
    ck_assert_uint_eq(c.file, 2);
    OK(kit_check(k.packs, &b, SOP_PACK_SHEET, 2, &err));
    kit_fini(&k);
}
END_TEST

START_TEST(nothing_is_made_before_the_first_append)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    OK(sop_packs_sync(k.packs, &err));
    struct sop_stat st;
    OK(sop_volume_stat(k.sim, "packs", &st, &err));
    ck_assert_int_eq(st.kind, SOP_FILE_ABSENT);
    ck_assert_uint_eq(sop_packs_syncs(k.packs), 0);
    kit_fini(&k);
}
END_TEST

START_TEST(a_full_file_is_followed_by_the_next)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_pack_owner owner = kit_value("k");
    struct sop_place p[4];
    for (size_t i = 0; i < 4; i++) {
        OK(kit_append(k.packs, &owner, 20u << 20, i, &p[i], &err));
    }
    ck_assert_uint_eq(p[2].file, 1);
    ck_assert_uint_eq(p[3].file, 2);
    ck_assert_uint_eq(p[3].offset, 0);
    OK(kit_check(k.packs, &p[2], SOP_PACK_VALUE, 2, &err));
    OK(kit_check(k.packs, &p[3], SOP_PACK_VALUE, 3, &err));
    OK(sop_packs_sync(k.packs, &err));
    ck_assert_uint_eq(sop_packs_syncs(k.packs), 2 + 3); /* two files, three folders */
    kit_fini(&k);
}
END_TEST

START_TEST(syncs_are_as_few_as_promised)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_pack_owner owner = kit_sheet(1);
    struct sop_place p;
    OK(kit_append(k.packs, &owner, 10, 1, &p, &err));
    OK(kit_append(k.packs, &owner, 10, 1, &p, &err));
    OK(sop_packs_sync(k.packs, &err));
    ck_assert_uint_eq(sop_packs_syncs(k.packs), 1 + 3);
    OK(sop_packs_sync(k.packs, &err));
    ck_assert_uint_eq(sop_packs_syncs(k.packs), 4);
    OK(kit_append(k.packs, &owner, 10, 1, &p, &err));
    OK(sop_packs_sync(k.packs, &err));
    ck_assert_uint_eq(sop_packs_syncs(k.packs), 5);
    ck_assert_uint_eq(sop_packs_syncs(k.packs), sop_volume_sim_syncs(k.sim));
    ck_assert_uint_eq(sop_packs_appended(k.packs), 4096 + 80); /* a block begun anew */
    sop_packs_cut(k.packs);
    OK(kit_append(k.packs, &owner, 10, 1, &p, &err));
    ck_assert_uint_eq(p.file, 2);
    OK(sop_packs_sync(k.packs, &err));
    ck_assert_uint_eq(sop_packs_syncs(k.packs), 7); /* the file and its name */
    kit_fini(&k);
}
END_TEST

/* Streams `total` bytes in parts of `part`. */
static void stream_one(struct kit *k, size_t total, size_t part, struct sop_place *place)
{
    struct sop_err err = {0};
    uint8_t *bytes = kit_bytes(total, total);
    struct sop_pack_owner owner = kit_value("streamed");
    struct sop_pack_stream *s = NULL;
    OK(sop_packs_stream(k->packs, &owner, &s, &err));
    for (size_t at = 0; at < total; at += part) {
        size_t len = total - at < part ? total - at : part;
        OK(sop_pack_stream_write(s, sop_slice(bytes + at, len), &err));
    }
    OK(sop_pack_stream_finish(&s, place, &err));
    ck_assert_ptr_null(s);
    ck_assert_uint_eq(place->bytes, total);
    check_range(k->packs, place, bytes, 0, total);
    free(bytes);
}

START_TEST(streams_give_the_same_bytes)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    const size_t parts[] = {97, 4096, 65536, 65537, 200000};
    for (size_t i = 0; i < SOP_ARRAY_LEN(sizes); i++) {
        for (size_t j = 0; j < SOP_ARRAY_LEN(parts); j++) {
            struct sop_place place;
            stream_one(&k, sizes[i], parts[j], &place);
            ck_assert_uint_eq(place.offset, 0);
            OK(kit_check(k.packs, &place, SOP_PACK_VALUE, sizes[i], &err));
        }
    }
    kit_fini(&k);
}
END_TEST

START_TEST(a_stream_is_the_same_record_as_an_append)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_place streamed;
    stream_one(&k, 150001, 1000, &streamed);
    struct sop_packs *other = kit_open(k.sim, 8);
    struct sop_pack_owner owner = kit_value("streamed");
    struct sop_place appended;
    OK(kit_append(other, &owner, 150001, 150001, &appended, &err));
    struct sop_buf a = {0};
    struct sop_buf b = {0};
    OK(sop_volume_read_file(k.sim, "packs/7/1", 1 << 20, &a, &err));
    OK(sop_volume_read_file(k.sim, "packs/8/1", 1 << 20, &b, &err));
    ck_assert_uint_eq(a.len, b.len);
    ck_assert_int_eq(
        memcmp(a.data + SOP_PACK_AT_FILE, b.data + SOP_PACK_AT_FILE, a.len - SOP_PACK_AT_FILE),
        0);
    sop_buf_fini(&a);
    sop_buf_fini(&b);
    sop_packs_close(&other);
    kit_fini(&k);
}
END_TEST

START_TEST(an_aborted_stream_leaves_nothing)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_pack_owner owner = kit_value("k");
    struct sop_pack_stream *s[3];
    uint8_t *bytes = kit_bytes(100000, 1);
    for (size_t i = 0; i < 3; i++) {
        OK(sop_packs_stream(k.packs, &owner, &s[i], &err));
    }
    for (size_t i = 0; i < 3; i++) {
        OK(sop_pack_stream_write(s[i], sop_slice(bytes, 100000), &err));
    }
    sop_pack_stream_abort(&s[1]);
    ck_assert_ptr_null(s[1]);
    struct sop_place p[3];
    OK(sop_pack_stream_finish(&s[2], &p[2], &err));
    OK(sop_pack_stream_finish(&s[0], &p[0], &err));
    struct sop_stat st;
    OK(sop_volume_stat(k.sim, "packs/7/2", &st, &err));
    ck_assert_int_eq(st.kind, SOP_FILE_ABSENT);
    OK(kit_check(k.packs, &p[0], SOP_PACK_VALUE, 1, &err));
    OK(kit_check(k.packs, &p[2], SOP_PACK_VALUE, 1, &err));
    free(bytes);
    kit_fini(&k);
}
END_TEST

START_TEST(a_key_over_the_limit_is_refused)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    size_t len = SOP_PACK_KEY_BYTES_MAX;
    uint8_t *key = kit_bytes(len + 1, 1);
    struct sop_pack_owner owner = {.type = SOP_PACK_VALUE, .key = sop_slice(key, len + 1)};
    struct sop_place p;
    struct sop_pack_stream *s = NULL;
    FAILS(TOO_LARGE, kit_append(k.packs, &owner, 10, 1, &p, &err));
    FAILS(TOO_LARGE, sop_packs_stream(k.packs, &owner, &s, &err));
    owner.key.len = len;
    OK(kit_append(k.packs, &owner, 10, 1, &p, &err));
    OK(kit_check(k.packs, &p, SOP_PACK_VALUE, 1, &err));
    free(key);
    kit_fini(&k);
}
END_TEST

/* What a scan handed up, compared with what was appended. */
#define SEEN_MAX 64
struct seen {
    struct sop_packs *packs;
    size_t count;
    size_t stop_after; /* 0 = never */
    struct sop_place places[SEEN_MAX];
    enum sop_pack_type types[SEEN_MAX];
    uint64_t pages[SEEN_MAX];
    char keys[SEEN_MAX][32];
    size_t gaps;
    uint64_t gap_from;
    uint64_t gap_until;
};

static int see(void *arg, const struct sop_pack_owner *owner, const struct sop_place *place,
               struct sop_err *err)
{
    struct seen *s = arg;
    ck_assert_uint_lt(s->count, SEEN_MAX);
    s->places[s->count] = *place;
    s->types[s->count] = owner->type;
    s->pages[s->count] = owner->page;
    ck_assert_uint_eq(owner->store, owner->type == SOP_PACK_SHEET ? 3 : 4);
    size_t len = owner->key.len < 31 ? owner->key.len : 31;
    memcpy(s->keys[s->count], owner->key.data, len);
    s->keys[s->count][len] = '\0';
    s->count++;
    return s->count == s->stop_after ? SOP_ERR(err, CANCELLED, "enough") : 0;
}

static int see_gap(void *arg, uint64_t from, uint64_t until, struct sop_err *err)
{
    struct seen *s = arg;
    (void)err;
    s->gaps++;
    s->gap_from = from;
    s->gap_until = until;
    return 0;
}

START_TEST(a_scan_gives_every_record_in_order)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_place places[SOP_ARRAY_LEN(sizes) * 2];
    size_t n = 0;
    for (size_t i = 0; i < SOP_ARRAY_LEN(sizes); i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "key %zu", i);
        struct sop_pack_owner sheet = kit_sheet(i);
        struct sop_pack_owner value = kit_value(key);
        OK(kit_append(k.packs, &sheet, sizes[i], i, &places[n++], &err));
        OK(kit_append(k.packs, &value, sizes[i], i, &places[n++], &err));
    }
    struct seen *s = calloc(1, sizeof *s);
    ck_assert_ptr_nonnull(s);
    FAILS(BUSY, sop_packs_scan(k.packs, 7, 1, true, see, s, &err));
    sop_packs_cut(k.packs);
    for (int verify = 0; verify <= 1; verify++) {
        memset(s, 0, sizeof *s);
        OK(sop_packs_scan(k.packs, 7, 1, verify == 1, see, s, &err));
        ck_assert_uint_eq(s->count, n);
        for (size_t i = 0; i < n; i++) {
            char key[32] = "";
            ck_assert(sop_place_eq(&places[i], &s->places[i]));
            ck_assert_int_eq(s->types[i], i % 2 == 0 ? SOP_PACK_SHEET : SOP_PACK_VALUE);
            if (i % 2 == 0) {
                ck_assert_uint_eq(s->pages[i], i / 2);
            } else {
                (void)snprintf(key, sizeof key, "key %zu", i / 2);
            }
            ck_assert_str_eq(s->keys[i], key);
        }
    }
    memset(s, 0, sizeof *s);
    s->stop_after = 3;
    FAILS(CANCELLED, sop_packs_scan(k.packs, 7, 1, true, see, s, &err));
    ck_assert_uint_eq(s->count, 3);
    FAILS(NOT_FOUND, sop_packs_scan(k.packs, 7, 2, true, see, s, &err));
    free(s);
    kit_fini(&k);
}
END_TEST

START_TEST(salvage_goes_on_behind_damage)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_pack_owner owner = kit_sheet(1);
    struct sop_place p[4];
    for (size_t i = 0; i < 4; i++) {
        OK(kit_append(k.packs, &owner, 1000, i, &p[i], &err));
    }
    sop_packs_cut(k.packs);
    struct seen *s = calloc(1, sizeof *s);
    ck_assert_ptr_nonnull(s);
    for (uint64_t at = p[1].offset; at < p[1].offset + 1064; at += 90) {
        OK(sop_volume_sim_flip(k.sim, "packs/7/1", at * 8, &err));
        memset(s, 0, sizeof *s);
        OK(sop_packs_salvage(k.packs, 7, 1, see, see_gap, s, &err));
        ck_assert_uint_eq(s->count, 3);
        ck_assert(sop_place_eq(&s->places[1], &p[2]));
        ck_assert_uint_eq(s->gaps, 1);
        ck_assert_uint_eq(s->gap_from, p[1].offset);
        ck_assert_uint_eq(s->gap_until, p[2].offset);
        memset(s, 0, sizeof *s);
        FAILS(DATA_LOSS, sop_packs_scan(k.packs, 7, 1, true, see, s, &err));
        ck_assert_uint_eq(s->count, 1);
        OK(sop_volume_sim_flip(k.sim, "packs/7/1", at * 8, &err));
    }
    for (uint64_t cut = 1; cut < 1064; cut += 61) { /* the end of the file is lost */
        OK(sop_volume_sim_truncate(k.sim, "packs/7/1", p[3].offset + 1064 - cut, &err));
        memset(s, 0, sizeof *s);
        FAILS(DATA_LOSS, sop_packs_scan(k.packs, 7, 1, false, see, s, &err));
        ck_assert_uint_eq(s->count, 3);
        memset(s, 0, sizeof *s);
        OK(sop_packs_salvage(k.packs, 7, 1, see, see_gap, s, &err));
        ck_assert_uint_eq(s->count, 3);
        ck_assert_uint_eq(s->gap_from, p[3].offset);
        FAILS(DATA_LOSS, kit_check(k.packs, &p[3], SOP_PACK_SHEET, 3, &err));
    }
    free(s);
    kit_fini(&k);
}
END_TEST

struct listed {
    size_t count;
    size_t writing;
    uint64_t bytes;
};

static int list_one(void *arg, uint64_t member, uint32_t file, uint64_t bytes, bool writing,
                    struct sop_err *err)
{
    struct listed *l = arg;
    (void)err;
    ck_assert(member == 7 || member == 0x20);
    ck_assert_uint_ge(file, 1);
    l->count++;
    l->writing += writing;
    l->bytes += bytes;
    return 0;
}

START_TEST(files_are_listed_with_who_writes_them)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct listed l = {0};
    OK(sop_packs_files(k.packs, list_one, &l, &err));
    ck_assert_uint_eq(l.count, 0);

    struct sop_packs *other = kit_open(k.sim, 0x20);
    struct sop_pack_owner owner = kit_value("k");
    struct sop_place p;
    OK(kit_append(other, &owner, 8, 1, &p, &err));
    OK(kit_append(k.packs, &owner, 8, 1, &p, &err));
    struct sop_pack_stream *s = NULL;
    OK(sop_packs_stream(k.packs, &owner, &s, &err));
    OK(sop_volume_mkdir(k.sim, "packs/no-member", &err));
    OK(sop_volume_write_file(k.sim, "packs/7/01", sop_slice_str("no"), &err));
    OK(sop_volume_write_file(k.sim, "packs/7/x", sop_slice_str("no"), &err));
    l = (struct listed){0};
    OK(sop_packs_files(k.packs, list_one, &l, &err));
    ck_assert_uint_eq(l.count, 3);
    ck_assert_uint_eq(l.writing, 2);
    OK(sop_pack_stream_finish(&s, &p, &err));
    sop_packs_cut(k.packs);
    l = (struct listed){0};
    OK(sop_packs_files(k.packs, list_one, &l, &err));
    ck_assert_uint_eq(l.count, 3);
    ck_assert_uint_eq(l.writing, 0);
    ck_assert_uint_eq(l.bytes, 80 + 80 + 72);
    sop_packs_close(&other);
    kit_fini(&k);
}
END_TEST

START_TEST(unlink_removes_the_file_and_an_empty_folder)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_packs *other = kit_open(k.sim, 9);
    struct sop_pack_owner owner = kit_sheet(1);
    struct sop_place a;
    struct sop_place b;
    struct sop_place own;
    OK(kit_append(other, &owner, 8, 1, &a, &err));
    sop_packs_cut(other);
    OK(kit_append(other, &owner, 8, 2, &b, &err));
    sop_packs_close(&other);
    OK(kit_append(k.packs, &owner, 8, 3, &own, &err));
    OK(kit_check(k.packs, &a, SOP_PACK_SHEET, 1, &err));

    OK(sop_packs_unlink(k.packs, 9, 1, &err));
    FAILS(DATA_LOSS, kit_check(k.packs, &a, SOP_PACK_SHEET, 1, &err));
    OK(kit_check(k.packs, &b, SOP_PACK_SHEET, 2, &err));
    struct sop_stat st;
    OK(sop_volume_stat(k.sim, "packs/9", &st, &err));
    ck_assert_int_eq(st.kind, SOP_FILE_DIRECTORY);
    OK(sop_packs_unlink(k.packs, 9, 2, &err));
    OK(sop_volume_stat(k.sim, "packs/9", &st, &err));
    ck_assert_int_eq(st.kind, SOP_FILE_ABSENT);
    OK(sop_packs_unlink(k.packs, 9, 2, &err));
    OK(sop_packs_unlink(k.packs, 9, 77, &err));

    FAILS(BUSY, sop_packs_unlink(k.packs, 7, 1, &err));
    OK(kit_check(k.packs, &own, SOP_PACK_SHEET, 3, &err));
    sop_packs_cut(k.packs);
    OK(sop_packs_unlink(k.packs, 7, 1, &err));
    OK(sop_volume_stat(k.sim, "packs/7", &st, &err));
    ck_assert_int_eq(st.kind, SOP_FILE_DIRECTORY);
    OK(kit_append(k.packs, &owner, 8, 4, &own, &err));
    ck_assert_uint_eq(own.file, 2);
    OK(sop_packs_sync(k.packs, &err));
    kit_fini(&k);
}
END_TEST

START_TEST(descriptors_are_kept_and_bounded)
{
    enum { FILES = 100 };
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_pack_owner owner = kit_sheet(1);
    struct sop_place p[FILES];
    for (size_t i = 0; i < FILES; i++) {
        OK(kit_append(k.packs, &owner, 8, i, &p[i], &err));
        sop_packs_cut(k.packs);
    }
    uint64_t before = sop_volume_fault_calls(k.fault, SOP_FAULT_OPEN);
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < 60; i++) {
            OK(kit_check(k.packs, &p[i], SOP_PACK_SHEET, i, &err));
        }
    }
    ck_assert_uint_eq(sop_volume_fault_calls(k.fault, SOP_FAULT_OPEN) - before, 60);
    for (size_t i = 0; i < FILES; i++) { /* more than fit */
        OK(kit_check(k.packs, &p[i], SOP_PACK_SHEET, i, &err));
    }
    before = sop_volume_fault_calls(k.fault, SOP_FAULT_OPEN);
    for (size_t i = FILES - 60; i < FILES; i++) { /* the last ones are still there */
        OK(kit_check(k.packs, &p[i], SOP_PACK_SHEET, i, &err));
    }
    ck_assert_uint_eq(sop_volume_fault_calls(k.fault, SOP_FAULT_OPEN) - before, 0);
    kit_fini(&k);
}
END_TEST

static int count_record(void *arg, const struct sop_pack_owner *owner,
                        const struct sop_place *place, struct sop_err *err)
{
    uint32_t *seen = arg;
    (void)err;
    bool large = owner->type == SOP_PACK_SHEET && place->bytes >= SOP_PACK_BLOCKS_BYTES;
    ck_assert(!large || place->offset % SOP_BLOCK_BYTES == 0);
    (*seen)++;
    return 0;
}

START_TEST(large_sheets_begin_with_a_block)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_place places[60];
    for (uint32_t i = 0; i < SOP_ARRAY_LEN(places); i++) {
        struct sop_pack_owner owner = i % 3 == 2 ? kit_value("k") : kit_sheet(i);
        size_t len = i % 2 == 0 ? 32768 + i * 1001 : 32767 - i * 501;
        OK(kit_append(k.packs, &owner, len, i, &places[i], &err));
        bool blocks = owner.type == SOP_PACK_SHEET && len >= 32768;
        ck_assert(!blocks || places[i].offset % SOP_BLOCK_BYTES == 0);
        ck_assert(blocks || i % 7 == 0 || places[i].offset % SOP_BLOCK_BYTES != 0);
        if (i % 7 == 6) {
            OK(sop_packs_sync(k.packs, &err));
        }
    }
    for (uint32_t i = 0; i < SOP_ARRAY_LEN(places); i++) {
        enum sop_pack_type type = i % 3 == 2 ? SOP_PACK_VALUE : SOP_PACK_SHEET;
        OK(kit_check(k.packs, &places[i], type, i, &err));
    }
    sop_packs_cut(k.packs);
    uint32_t seen = 0;
    OK(sop_packs_scan(k.packs, 7, 1, true, count_record, &seen, &err));
    ck_assert_uint_eq(seen, SOP_ARRAY_LEN(places));
    kit_fini(&k);
}
END_TEST

START_TEST(a_large_sheet_does_not_take_a_file_over_its_limit)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_place place;
    struct sop_pack_owner owner = kit_sheet(1);
    /* Up to 40,104 bytes before the limit, which is no border of a block. */
    size_t first = SOP_PACK_FILE_BYTES - 40104 - SOP_PACK_HEADER_BYTES - 4 * 1024;
    OK(kit_append(k.packs, &owner, first, 1, &place, &err));
    ck_assert_uint_eq(place.offset, 0);
    OK(kit_append(k.packs, &owner, 40000, 2, &place, &err)); /* would fit without the pad */
    ck_assert_uint_eq(place.file, 2);
    kit_fini(&k);
}
END_TEST

START_TEST(parts_of_a_sheet_are_read_alone)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_place sheet;
    struct sop_place value;
    struct sop_pack_owner owner = kit_sheet(9);
    struct sop_buf first = {0};
    uint8_t part[5000];
    uint8_t *want = kit_bytes(100000, 5);
    OK(kit_append(k.packs, &owner, 100000, 5, &sheet, &err));
    owner = kit_value("k");
    OK(kit_append(k.packs, &owner, 100000, 6, &value, &err));
    uint64_t before = sop_volume_fault_calls(k.fault, SOP_FAULT_READ);
    OK(sop_packs_read_first(k.packs, &sheet, 4032, &first, &owner, &err));
    ck_assert(owner.type == SOP_PACK_SHEET && owner.store == 3 && owner.page == 9);
    ck_assert_uint_eq(first.len, 4032);
    ck_assert_int_eq(memcmp(first.data, want, 4032), 0);
    OK(sop_packs_read_part(k.packs, &sheet, 95000, part, 5000, &err));
    ck_assert_int_eq(memcmp(part, want + 95000, 5000), 0);
    ck_assert_uint_eq(sop_volume_fault_calls(k.fault, SOP_FAULT_READ) - before, 2);
    /* What is no sheet, or lies elsewhere, is not read. */
    FAILS(DATA_LOSS, sop_packs_read_first(k.packs, &value, 4032, &first, &owner, &err));
    struct sop_place off = sheet;
    off.bytes--;
    FAILS(DATA_LOSS, sop_packs_read_first(k.packs, &off, 4032, &first, &owner, &err));
    off = value;
    off.bytes += 100000; /* over the end of the file */
    FAILS(DATA_LOSS, sop_packs_read_part(k.packs, &off, 199000, part, 1000, &err));
    /* Both descriptors of a file go with it. */
    OK(kit_check(k.packs, &sheet, SOP_PACK_SHEET, 5, &err));
    sop_packs_cut(k.packs);
    OK(sop_packs_sync(k.packs, &err));
    OK(sop_packs_unlink(k.packs, 7, 1, &err));
    FAILS(DATA_LOSS, sop_packs_read_part(k.packs, &sheet, 0, part, 100, &err));
    FAILS(DATA_LOSS, kit_check(k.packs, &sheet, SOP_PACK_SHEET, 5, &err));
    sop_buf_fini(&first);
    free(want);
    kit_fini(&k);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        append_then_read_gives_the_same_bytes,
        places_survive_encoding,
        ranges_give_their_part,
        a_range_reads_its_own_pieces_only,
        a_place_that_is_not_exact_is_refused,
        a_moved_record_is_refused,
        records_that_changed_places_are_refused,
        another_member_reads_and_writes_beside,
        nothing_is_made_before_the_first_append,
        a_full_file_is_followed_by_the_next,
        syncs_are_as_few_as_promised,
        streams_give_the_same_bytes,
        a_stream_is_the_same_record_as_an_append,
        an_aborted_stream_leaves_nothing,
        a_key_over_the_limit_is_refused,
        a_scan_gives_every_record_in_order,
        salvage_goes_on_behind_damage,
        files_are_listed_with_who_writes_them,
        unlink_removes_the_file_and_an_empty_folder,
        descriptors_are_kept_and_bounded,
        large_sheets_begin_with_a_block,
        a_large_sheet_does_not_take_a_file_over_its_limit,
        parts_of_a_sheet_are_read_alone,
    };
    return kit_main("pack", tests, SOP_ARRAY_LEN(tests));
}
