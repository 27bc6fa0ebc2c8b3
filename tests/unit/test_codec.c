/* engine/base/codec: integers, varints, CRC32C, history hash. */
#include "engine/base/codec.h"
#include "tests/lib/oom.h"

#include <check.h>
#include <stdlib.h>

START_TEST(what_is_written_is_read_back)
{
    struct sop_buf buf = {0};
    struct sop_writer w = sop_writer(&buf);
    sop_write_u8(&w, 0xab);
    sop_write_u16(&w, 0x1234);
    sop_write_u32(&w, 0xdeadbeef);
    sop_write_u64(&w, UINT64_C(0x0123456789abcdef));
    sop_write_varint(&w, 300);
    sop_write_bytes(&w, sop_slice_str("raw"));
    sop_write_blob(&w, sop_slice_str("counted"));
    sop_write_blob(&w, sop_slice(NULL, 0));
    sop_write_lsn(&w, (struct sop_lsn){.slot = 5, .record = 6});
    ck_assert_int_eq(sop_writer_end(&w, NULL), 0);
    ck_assert_mem_eq(buf.data, "\xab\x34\x12\xef\xbe\xad\xde\xef\xcd\xab\x89\x67\x45\x23\x01",
                     15);

    struct sop_reader r = sop_reader(sop_buf_slice(&buf));
    ck_assert_uint_eq(sop_read_u8(&r), 0xab);
    ck_assert_uint_eq(sop_read_u16(&r), 0x1234);
    ck_assert_uint_eq(sop_read_u32(&r), 0xdeadbeef);
    ck_assert_uint_eq(sop_read_u64(&r), UINT64_C(0x0123456789abcdef));
    ck_assert_uint_eq(sop_read_varint(&r), 300);
    ck_assert(sop_slice_eq(sop_read_bytes(&r, 3), sop_slice_str("raw")));
    ck_assert(sop_slice_eq(sop_read_blob(&r), sop_slice_str("counted")));
    ck_assert_uint_eq(sop_read_blob(&r).len, 0);
    struct sop_lsn lsn = sop_read_lsn(&r);
    ck_assert_uint_eq(lsn.slot, 5);
    ck_assert_uint_eq(lsn.record, 6);
    ck_assert_uint_eq(sop_reader_left(&r), 0);
    ck_assert(!r.bad);
    sop_buf_fini(&buf);
}
END_TEST

/* Reads one thing of `bytes` bytes at least; true if the reader took offence. */
static bool short_read_is_bad(size_t have, int what)
{
    uint8_t *exact = malloc(have + 1); /* the address sanitizer watches the end */
    memset(exact, 1, have + 1);
    exact = realloc(exact, have == 0 ? 1 : have);
    struct sop_reader r = sop_reader(sop_slice(have == 0 ? NULL : exact, have));
    uint64_t got = 0;
    switch (what) {
    case 0:
        got = sop_read_u8(&r);
        break;
    case 1:
        got = sop_read_u16(&r);
        break;
    case 2:
        got = sop_read_u32(&r);
        break;
    case 3:
        got = sop_read_u64(&r);
        break;
    case 4:
        got = sop_read_lsn(&r).slot;
        break;
    default:
        got = sop_read_bytes(&r, 5).len;
        break;
    }
    bool bad = r.bad;
    if (bad) {
        ck_assert_uint_eq(got, 0);
        ck_assert_uint_eq(sop_reader_left(&r), 0);
        ck_assert_uint_eq(sop_read_u8(&r), 0); /* it stays bad */
        ck_assert_uint_eq(sop_read_varint(&r), 0);
        ck_assert_uint_eq(sop_read_blob(&r).len, 0);
        ck_assert(r.bad);
    }
    free(exact);
    return bad;
}

START_TEST(a_short_read_is_bad_and_stays_bad)
{
    static const size_t needs[] = {1, 2, 4, 8, 16, 5};
    for (int what = 0; what < 6; what++) {
        for (size_t have = 0; have <= needs[what]; have++) {
            ck_assert_int_eq(short_read_is_bad(have, what), have < needs[what]);
        }
    }
}
END_TEST

START_TEST(varints_round_trip_in_their_shortest_form)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int around = -1; around <= 1; around++) {
            uint64_t value = (UINT64_C(1) << bit) + (uint64_t)(int64_t)around;
            struct sop_buf buf = {0};
            struct sop_writer w = sop_writer(&buf);
            sop_write_varint(&w, value);
            size_t bits = 64 - (size_t)__builtin_clzll(value | 1);
            ck_assert_uint_eq(buf.len, (bits + 6) / 7);
            struct sop_reader r = sop_reader(sop_buf_slice(&buf));
            ck_assert_uint_eq(sop_read_varint(&r), value);
            ck_assert(!r.bad && sop_reader_left(&r) == 0);
            for (size_t cut = 0; cut < buf.len; cut++) {
                r = sop_reader(sop_slice(buf.data, cut));
                ck_assert_uint_eq(sop_read_varint(&r), 0);
                ck_assert(r.bad);
            }
            sop_buf_fini(&buf);
        }
    }
}
END_TEST

static bool varint_is_bad(const char *bytes, size_t len)
{
    struct sop_reader r = sop_reader(sop_slice(bytes, len));
    (void)sop_read_varint(&r);
    return r.bad;
}

START_TEST(a_varint_has_one_form_only)
{
    ck_assert(varint_is_bad("\x80\x00", 2));
    ck_assert(varint_is_bad("\xff\x00", 2));
    ck_assert(!varint_is_bad("\x00", 1));
    ck_assert(!varint_is_bad("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10));
    ck_assert(varint_is_bad("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10));
    ck_assert(varint_is_bad("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 11));
}
END_TEST

START_TEST(a_blob_longer_than_the_input_is_bad)
{
    struct sop_reader r = sop_reader(sop_slice_str("\x04"
                                                   "abc"));
    ck_assert_uint_eq(sop_read_blob(&r).len, 0);
    ck_assert(r.bad);
    r = sop_reader(sop_slice_str("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                                 "abc"));
    ck_assert_uint_eq(sop_read_blob(&r).len, 0);
    ck_assert(r.bad);
}
END_TEST

START_TEST(a_writer_remembers_that_memory_ran_out)
{
    struct sop_buf buf = {0};
    struct sop_writer w = sop_writer(&buf);
    oom_fail_at(0);
    sop_write_u32(&w, 1);
    oom_off();
    sop_write_u32(&w, 2);
    struct sop_err err = {0};
    ck_assert_int_eq(sop_writer_end(&w, &err), SOP_ERR_NOMEM);
    ck_assert_uint_eq(buf.len, 0); /* nothing after a gap */
    sop_buf_fini(&buf);
}
END_TEST

/* The definition, bit by bit. */
static uint32_t crc32c_by_definition(const uint8_t *data, size_t len)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

START_TEST(crc32c_is_the_standard_one)
{
    ck_assert_uint_eq(sop_crc32c("123456789", 9, 0), 0xe3069283u);
    ck_assert_uint_eq(sop_crc32c("", 0, 0), 0);
    ck_assert_uint_eq(sop_crc32c(NULL, 0, 7), 7);
    uint8_t zeros[32] = {0};
    ck_assert_uint_eq(sop_crc32c(zeros, 32, 0), 0x8a9136aau); /* RFC 3720 B.4 */
    uint8_t bytes[600];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 37 + i / 7);
    }
    for (size_t len = 0; len <= sizeof bytes; len++) {
        ck_assert_uint_eq(sop_crc32c(bytes, len, 0), crc32c_by_definition(bytes, len));
    }
}
END_TEST

START_TEST(crc32c_chains)
{
    const char *text = "the quick brown fox jumps over the lazy dog";
    size_t len = strlen(text);
    for (size_t cut = 0; cut <= len; cut++) {
        ck_assert_uint_eq(sop_crc32c(text + cut, len - cut, sop_crc32c(text, cut, 0)),
                          sop_crc32c(text, len, 0));
    }
}
END_TEST

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

START_TEST(the_hash_tells_like_inputs_apart)
{
    enum { COUNT = 4 * 1024 };
    uint64_t *seen = malloc(COUNT * sizeof *seen);
    uint8_t bytes[64] = {0};
    size_t n = 0;
    for (size_t len = 0; len < 64; len++) { /* zeros of each length */
        seen[n++] = sop_hash64(bytes, len, 0);
    }
    for (size_t bit = 0; bit < 512; bit++) { /* one bit of a block */
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        seen[n++] = sop_hash64(bytes, 64, 0);
        seen[n++] = sop_hash64(bytes, 64, 1);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (uint64_t v = 1; n < COUNT; v++) { /* counters */
        seen[n++] = sop_hash64(&v, sizeof v, 0);
    }
    qsort(seen, n, sizeof *seen, compare_u64);
    for (size_t i = 1; i < n; i++) {
        ck_assert_uint_ne(seen[i - 1], seen[i]);
    }
    free(seen);
}
END_TEST

START_TEST(the_hash_depends_on_order_and_edges)
{
    uint64_t ab = sop_hash64("bbbbbbbb", 8, sop_hash64("aaaaaaaa", 8, 0));
    uint64_t ba = sop_hash64("aaaaaaaa", 8, sop_hash64("bbbbbbbb", 8, 0));
    ck_assert_uint_ne(ab, ba);
    ck_assert_uint_ne(sop_hash64("aaaaaaaabbbbbbbb", 16, 0),
                      sop_hash64("bbbbbbbbaaaaaaaa", 16, 0));
    ck_assert_uint_ne(sop_hash64("bc", 2, sop_hash64("a", 1, 0)),
                      sop_hash64("c", 1, sop_hash64("ab", 2, 0)));
    ck_assert_uint_eq(sop_hash64("abcdefghi", 9, 42), sop_hash64("abcdefghi", 9, 42));
}
END_TEST

START_TEST(one_bit_of_input_moves_half_of_the_hash)
{
    uint8_t bytes[24] = "some bytes of history..";
    uint64_t plain = sop_hash64(bytes, sizeof bytes, 9);
    unsigned moved = 0;
    for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        moved += (unsigned)__builtin_popcountll(plain ^ sop_hash64(bytes, sizeof bytes, 9));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    double mean = (double)moved / (double)(sizeof bytes * 8);
    ck_assert(mean > 30.0 && mean < 34.0);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("codec");
    tcase_add_test(tc, what_is_written_is_read_back);
    tcase_add_test(tc, a_short_read_is_bad_and_stays_bad);
    tcase_add_test(tc, varints_round_trip_in_their_shortest_form);
    tcase_add_test(tc, a_varint_has_one_form_only);
    tcase_add_test(tc, a_blob_longer_than_the_input_is_bad);
    tcase_add_test(tc, a_writer_remembers_that_memory_ran_out);
    tcase_add_test(tc, crc32c_is_the_standard_one);
    tcase_add_test(tc, crc32c_chains);
    tcase_add_test(tc, the_hash_tells_like_inputs_apart);
    tcase_add_test(tc, the_hash_depends_on_order_and_edges);
    tcase_add_test(tc, one_bit_of_input_moves_half_of_the_hash);
    Suite *suite = suite_create("codec");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
