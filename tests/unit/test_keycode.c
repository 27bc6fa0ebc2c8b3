/* Typed keys: the order of the bytes is the order of the values, both ways, and nothing but
 * what encoding makes is decoded. */
#include "engine/btree/keycode.h"
#include "engine/base/limits.h"
#include "tests/lib/scale.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define OK(call) ck_assert_int_eq(call, 0)
#define ROOM     4096

static uint64_t next_random(uint64_t *seed)
{
    *seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t v = *seed;
    v = (v ^ (v >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    v = (v ^ (v >> 27)) * UINT64_C(0x94d049bb133111eb);
    return v ^ (v >> 31);
}

static size_t below(uint64_t *seed, size_t limit)
{
    return (size_t)(next_random(seed) % limit);
}

/* A key with the values that it was made of. */
struct key {
    struct sop_key_value values[SOP_KEY_FIELDS_MAX];
    uint8_t strings[SOP_KEY_FIELDS_MAX][16];
    uint8_t bytes[ROOM];
    size_t len;
};

static struct sop_slice slice_of(const struct key *k)
{
    return sop_slice(k->bytes, k->len);
}

/* ---- random values, with many near each other and at the edges ----------------------------
 */

static uint64_t random_integer(uint64_t *seed)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     2,
                                     255,
                                     256,
                                     UINT64_C(1) << 52,
                                     UINT64_C(1) << 53,
                                     UINT64_C(1) << 62,
                                     INT64_MAX,
                                     UINT64_C(1) << 63,
                                     UINT64_MAX};
    uint64_t v = edges[below(seed, SOP_ARRAY_LEN(edges))];
    switch (below(seed, 4)) {
    case 0:
        return v + below(seed, 3) - 1;
    case 1:
        return 0 - v;
    case 2:
        return next_random(seed) >> below(seed, 64);
    default:
        return v;
    }
}

static double random_double(uint64_t *seed)
{
    static const double edges[] = {0.0,
                                   -0.0,
                                   0.5,
                                   1,
                                   2,
                                   9007199254740992.0,
                                   5e-324,
                                   2.2250738585072014e-308,
                                   1.7976931348623157e308,
                                   9223372036854775808.0,
                                   18446744073709551616.0,
                                   0.1};
    double v = edges[below(seed, SOP_ARRAY_LEN(edges))];
    uint64_t bits;
    switch (below(seed, 5)) {
    case 0:
        return -v;
    case 1:
        return nextafter(v, below(seed, 2) == 0 ? HUGE_VAL : -HUGE_VAL);
    case 2:
        return (double)(int64_t)random_integer(seed);
    case 3:
        bits = next_random(seed);
        memcpy(&v, &bits, sizeof v);
        return isnan(v) ? HUGE_VAL : v;
    default:
        return below(seed, 20) == 0 ? -HUGE_VAL : v;
    }
}

static struct sop_slice random_string(uint64_t *seed, uint8_t to[16], bool text)
{
    static const char *const characters[] = {
        "\0", "\x01", "a", "b", "\x7F", "\xC3\xA9", "\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF",
        "a",  ","};
    static const uint8_t bytes[] = {0, 0, 1, 'a', 'a', 0xFE, 0xFF};
    size_t len = 0;
    size_t count = below(seed, 5);
    for (size_t i = 0; i < count && len < 12; i++) {
        if (!text) {
            to[len++] = bytes[below(seed, sizeof bytes)];
            continue;
        }
        size_t which = below(seed, SOP_ARRAY_LEN(characters));
        size_t size = which == 0 ? 1 : strlen(characters[which]);
        memcpy(to + len, characters[which], size);
        len += size;
    }
    return sop_slice(to, len);
}

static void random_value(uint64_t *seed, enum sop_key_type type, uint8_t string[16],
                         struct sop_key_value *v)
{
    *v = (struct sop_key_value){.type = type};
    switch (type) {
    case SOP_KEY_BOOL:
        v->as.boolean = below(seed, 2) == 0;
        break;
    case SOP_KEY_INT64:
        v->as.int64 = (int64_t)random_integer(seed);
        break;
    case SOP_KEY_UINT64:
        v->as.uint64 = random_integer(seed);
        break;
    case SOP_KEY_DOUBLE:
        v->as.real = random_double(seed);
        break;
    case SOP_KEY_TIMESTAMP:
        v->as.timestamp = (int64_t)random_integer(seed);
        break;
    case SOP_KEY_UUID:
        v->as.uuid[0] = (uint8_t)below(seed, 3);
        v->as.uuid[15] = (uint8_t)below(seed, 256);
        break;
    case SOP_KEY_STRING:
    case SOP_KEY_BYTES:
        v->as.bytes = random_string(seed, string, type == SOP_KEY_STRING);
        break;
    case SOP_KEY_ANY:
        random_value(seed, (enum sop_key_type)below(seed, SOP_KEY_ANY), string, v);
        break;
    case SOP_KEY_NULL:
    default:
        break;
    }
}

static struct sop_key_schema random_schema(uint64_t *seed)
{
    struct sop_key_schema s = {.fields_count = 1 + (uint32_t)below(seed, 4)};
    for (uint32_t i = 0; i < s.fields_count; i++) {
        s.fields[i].type = (enum sop_key_type)(1 + below(seed, SOP_KEY_ANY));
        s.fields[i].descending = below(seed, 3) == 0;
        s.fields[i].nullable = s.fields[i].type != SOP_KEY_ANY && below(seed, 4) == 0;
    }
    return s;
}

static void make_key(const struct sop_key_schema *s, struct key *k)
{
    struct sop_err err = {0};
    struct sop_key_buf to = {.data = k->bytes, .room = sizeof k->bytes};
    ck_assert_msg(sop_key_encode(s, k->values, s->fields_count, &to, &err) == 0, "%s",
                  err.text);
    k->len = to.len;
}

static void random_key(uint64_t *seed, const struct sop_key_schema *s, struct key *k)
{
    for (uint32_t i = 0; i < s->fields_count; i++) {
        bool null = s->fields[i].nullable && below(seed, 4) == 0;
        random_value(seed, null ? SOP_KEY_NULL : s->fields[i].type, k->strings[i],
                     &k->values[i]);
    }
    make_key(s, k);
}

/* ---- the order that is promised, by other means -------------------------------------------
 */

static int sign(int v)
{
    return (v > 0) - (v < 0);
}

/* A type's place in the order of any; the three kinds of numbers share one. */
static int rank(enum sop_key_type type)
{
    static const int ranks[] = {
        [SOP_KEY_NULL] = 0,   [SOP_KEY_BOOL] = 1,   [SOP_KEY_INT64] = 2,
        [SOP_KEY_UINT64] = 2, [SOP_KEY_DOUBLE] = 2, [SOP_KEY_STRING] = 3,
        [SOP_KEY_BYTES] = 4,  [SOP_KEY_UUID] = 5,   [SOP_KEY_TIMESTAMP] = 6,
    };
    return ranks[type];
}

/* long double holds every int64, uint64 and double exactly. */
_Static_assert(__LDBL_MANT_DIG__ >= 64, "this test compares numbers as long double");
static long double number(const struct sop_key_value *v)
{
    return v->type == SOP_KEY_INT64    ? (long double)v->as.int64
           : v->type == SOP_KEY_UINT64 ? (long double)v->as.uint64
                                       : (long double)v->as.real;
}

static int model_cmp(const struct sop_key_value *a, const struct sop_key_value *b)
{
    if (rank(a->type) != rank(b->type)) {
        return rank(a->type) < rank(b->type) ? -1 : 1;
    }
    switch (a->type) {
    case SOP_KEY_BOOL:
        return (int)a->as.boolean - (int)b->as.boolean;
    case SOP_KEY_TIMESTAMP:
        return (a->as.timestamp > b->as.timestamp) - (a->as.timestamp < b->as.timestamp);
    case SOP_KEY_UUID:
        return sign(memcmp(a->as.uuid, b->as.uuid, 16));
    case SOP_KEY_STRING:
    case SOP_KEY_BYTES:
        return sign(sop_slice_cmp(a->as.bytes, b->as.bytes));
    case SOP_KEY_INT64:
    case SOP_KEY_UINT64:
    case SOP_KEY_DOUBLE:
        return (number(a) > number(b)) - (number(a) < number(b));
    case SOP_KEY_NULL:
    case SOP_KEY_ANY:
    default:
        return 0;
    }
}

static int model_keys_cmp(const struct sop_key_schema *s, const struct key *a,
                          const struct key *b, uint32_t fields)
{
    for (uint32_t i = 0; i < fields; i++) {
        int order = model_cmp(&a->values[i], &b->values[i]);
        if (order != 0) {
            return s->fields[i].descending ? -order : order;
        }
    }
    return 0;
}

/* ---- properties ---------------------------------------------------------------------------
 */

static void check_round_trip(const struct sop_key_schema *s, const struct key *k)
{
    struct key again;
    uint8_t scratch_bytes[ROOM];
    struct sop_key_buf scratch = {.data = scratch_bytes, .room = k->len};
    OK(sop_key_decode(s, slice_of(k), again.values, &scratch, NULL));
    OK(sop_keycode_verify(s, slice_of(k), NULL));
    for (uint32_t i = 0; i < s->fields_count; i++) {
        ck_assert_int_eq(model_cmp(&k->values[i], &again.values[i]), 0);
        if (s->fields[i].type != SOP_KEY_ANY) {
            ck_assert_int_eq(k->values[i].type, again.values[i].type);
        }
    }
    make_key(s, &again);
    ck_assert(sop_slice_eq(slice_of(&again), slice_of(k)));
}

static void check_prefix(const struct sop_key_schema *s, const struct key *a,
                         const struct key *b, uint32_t fields)
{
    uint8_t low_bytes[ROOM];
    uint8_t high_bytes[ROOM];
    struct sop_key_buf low = {.data = low_bytes, .room = ROOM};
    struct sop_key_buf high = {.data = high_bytes, .room = ROOM};
    bool none;
    OK(sop_key_encode_prefix(s, a->values, fields, &low, NULL));
    OK(sop_key_prefix_end(sop_slice(low.data, low.len), &high, &none, NULL));
    bool inside = sop_slice_cmp(slice_of(b), sop_slice(low.data, low.len)) >= 0 &&
                  (none || sop_slice_cmp(slice_of(b), sop_slice(high.data, high.len)) < 0);
    ck_assert(inside == (model_keys_cmp(s, a, b, fields) == 0));
}

static void delimit(const struct sop_key_schema *s, const struct key *k, uint8_t id,
                    struct sop_buf *to)
{
    uint8_t item_id[SOP_ITEM_ID_BYTES];
    memset(item_id, id, sizeof item_id);
    sop_buf_clear(to);
    OK(sop_keycode_delimit(s, slice_of(k), true, to, NULL));
    OK(sop_buf_append(to, item_id, sizeof item_id, NULL));
}

static void check_delimited(const struct sop_key_schema *s, const struct key *a,
                            const struct key *b, uint64_t *seed)
{
    struct sop_buf x = {0};
    struct sop_buf y = {0};
    struct sop_buf scratch = {0};
    uint8_t id_a = (uint8_t)(below(seed, 2) * 255);
    uint8_t id_b = (uint8_t)(below(seed, 2) * 255);
    delimit(s, a, id_a, &x);
    delimit(s, b, id_b, &y);
    int order = sign(sop_slice_cmp(slice_of(a), slice_of(b)));
    order = order != 0 ? order : (id_a > id_b) - (id_a < id_b);
    ck_assert_int_eq(sign(sop_slice_cmp(sop_buf_slice(&x), sop_buf_slice(&y))), order);

    struct sop_slice stored = sop_slice(x.data, x.len - SOP_ITEM_ID_BYTES);
    struct sop_slice user;
    OK(sop_keycode_undelimit(s, stored, &scratch, &user, NULL));
    ck_assert(sop_slice_eq(user, slice_of(a)));

    /* A range that starts anywhere starts at the same item. */
    struct key bound = *b;
    bound.len = below(seed, b->len + 1);
    if (bound.len > 0 && below(seed, 2) == 0) {
        bound.bytes[bound.len - 1] = (uint8_t)below(seed, 256);
    }
    sop_buf_clear(&y);
    OK(sop_keycode_delimit(s, slice_of(&bound), false, &y, NULL));
    ck_assert((sop_slice_cmp(sop_buf_slice(&x), sop_buf_slice(&y)) >= 0) ==
              (sop_slice_cmp(slice_of(a), slice_of(&bound)) >= 0));
    sop_buf_fini(&x);
    sop_buf_fini(&y);
    sop_buf_fini(&scratch);
}

static void check_text(const struct sop_key_schema *s, const struct key *k)
{
    char text[ROOM];
    uint8_t scratch_bytes[ROOM];
    struct key again;
    struct sop_err err = {0};
    struct sop_key_buf to = {.data = text, .room = sizeof text};
    OK(sop_key_format(s, slice_of(k), &to, NULL));
    ck_assert_uint_eq(strlen(text), to.len);
    struct sop_key_buf scratch = {.data = scratch_bytes, .room = to.len};
    size_t count;
    ck_assert_msg(sop_key_parse(s, text, again.values, &count, &scratch, &err) == 0, "%s",
                  err.text);
    ck_assert_uint_eq(count, s->fields_count == 0 ? 1 : s->fields_count);
    struct sop_key_buf key = {.data = again.bytes, .room = ROOM};
    OK(sop_key_encode(s, again.values, count, &key, NULL));
    ck_assert_msg(sop_slice_eq(sop_slice(again.bytes, key.len), slice_of(k)), "%s", text);
}

/* Whatever is decoded is what encoding would have made. */
static void check_damaged(const struct sop_key_schema *s, const struct key *k, uint64_t *seed)
{
    struct key bad = *k;
    switch (below(seed, 3)) {
    case 0:
        bad.len = below(seed, bad.len + 1);
        break;
    case 1:
        bad.bytes[bad.len++] = (uint8_t)below(seed, 3);
        break;
    default:
        if (bad.len > 0) {
            static const uint8_t to[] = {0, 1, 0x80, 0xFF};
            bad.bytes[below(seed, bad.len)] = to[below(seed, sizeof to)];
        }
    }
    uint8_t bytes[ROOM];
    struct sop_key_buf scratch = {.data = bytes, .room = bad.len};
    int rc = sop_key_decode(s, slice_of(&bad), bad.values, &scratch, NULL);
    ck_assert_int_eq(sop_keycode_verify(s, slice_of(&bad), NULL), rc);
    if (rc != 0) {
        ck_assert_int_eq(rc, SOP_ERR_WRONG_TYPE);
        ck_assert_uint_eq(scratch.len, 0);
        return;
    }
    struct key again = bad;
    make_key(s, &again);
    ck_assert(sop_slice_eq(slice_of(&again), slice_of(&bad)));
}

START_TEST(encodings_order_like_values)
{
    uint64_t seed = (uint64_t)_i;
    size_t schemas = test_scale(100, 5000, 500000);
    size_t equal = 0;
    size_t prefixes = 0;
    for (size_t n = 0; n < schemas; n++) {
        struct sop_key_schema s = random_schema(&seed);
        struct key a;
        struct key b;
        random_key(&seed, &s, &a);
        for (size_t i = 0; i < 30; i++) {
            random_key(&seed, &s, &b);
            if (below(&seed, 2) == 0) { /* neighbours: equal but for a field */
                uint32_t other = (uint32_t)below(&seed, s.fields_count);
                struct key mixed = a;
                mixed.values[other] = b.values[other];
                memcpy(mixed.strings[other], b.strings[other], 16);
                for (uint32_t f = 0; f < s.fields_count; f++) {
                    enum sop_key_type type = mixed.values[f].type;
                    if (type == SOP_KEY_STRING || type == SOP_KEY_BYTES) {
                        mixed.values[f].as.bytes.data = mixed.strings[f];
                    }
                }
                make_key(&s, &mixed);
                b = mixed;
                for (uint32_t f = 0; f < s.fields_count; f++) {
                    enum sop_key_type type = b.values[f].type;
                    if (type == SOP_KEY_STRING || type == SOP_KEY_BYTES) {
                        b.values[f].as.bytes.data = b.strings[f];
                    }
                }
            }
            int order = model_keys_cmp(&s, &a, &b, s.fields_count);
            ck_assert_int_eq(sign(sop_slice_cmp(slice_of(&a), slice_of(&b))), order);
            equal += order == 0;
            check_round_trip(&s, &b);
            check_delimited(&s, &a, &b, &seed);
            check_text(&s, &b);
            check_damaged(&s, &b, &seed);
            for (uint32_t fields = 0; fields < s.fields_count; fields++, prefixes++) {
                check_prefix(&s, &a, &b, fields);
            }
        }
    }
    ck_assert_uint_gt(equal, schemas / 10);
    ck_assert_uint_gt(prefixes, schemas);
}
END_TEST

static struct sop_key_value int64_value(int64_t v)
{
    return (struct sop_key_value){.type = SOP_KEY_INT64, .as.int64 = v};
}

static struct sop_key_value uint64_value(uint64_t v)
{
    return (struct sop_key_value){.type = SOP_KEY_UINT64, .as.uint64 = v};
}

static struct sop_key_value double_value(double v)
{
    return (struct sop_key_value){.type = SOP_KEY_DOUBLE, .as.real = v};
}

static struct sop_key_schema schema_of(const char *text)
{
    struct sop_key_schema s;
    struct sop_err err = {0};
    ck_assert_msg(sop_key_schema_parse(&s, text, &err) == 0, "%s", err.text);
    return s;
}

/* Where doubles and integers cannot be told apart by converting one to the other. */
START_TEST(any_interleaves_numbers_exactly)
{
    const struct sop_key_value ascending[] = {
        double_value(-HUGE_VAL),
        double_value(-1e300),
        double_value(-9223372036854777856.0), /* the double before -2^63 */
        int64_value(INT64_MIN),
        int64_value(INT64_MIN + 1),
        int64_value(-9007199254740993),
        double_value(-9007199254740992.0),
        double_value(-1.5),
        int64_value(-1),
        double_value(-5e-324),
        double_value(-0.0),
        double_value(5e-324),
        double_value(1e-310),
        double_value(0.1),
        uint64_value(1),
        double_value(nextafter(1, 2)),
        double_value(9007199254740992.0),
        int64_value(9007199254740993),
        double_value(9007199254740994.0),
        int64_value(INT64_MAX - 1),
        uint64_value(INT64_MAX),
        double_value(9223372036854775808.0),
        uint64_value((UINT64_C(1) << 63) + 1),
        uint64_value(UINT64_MAX),
        double_value(18446744073709551616.0),
        double_value(HUGE_VAL),
    };
    struct sop_key_schema s = schema_of("any");
    struct key before = {.len = 0};
    for (size_t i = 0; i < SOP_ARRAY_LEN(ascending); i++) {
        struct key k = {.values = {ascending[i]}};
        make_key(&s, &k);
        if (i > 0) {
            ck_assert_int_lt(sop_slice_cmp(slice_of(&before), slice_of(&k)), 0);
        }
        check_round_trip(&s, &k);
        before = k;
    }
    /* Equal numbers of different types are one key; it comes back as int64. */
    const struct sop_key_value equal[] = {int64_value(7), uint64_value(7), double_value(7)};
    for (size_t i = 0; i < SOP_ARRAY_LEN(equal); i++) {
        struct key k = {.values = {equal[i]}};
        make_key(&s, &k);
        ck_assert(i == 0 || sop_slice_eq(slice_of(&k), slice_of(&before)));
        before = k;
        struct sop_key_value back;
        struct sop_key_buf none = {0};
        OK(sop_key_decode(&s, slice_of(&k), &back, &none, NULL));
        ck_assert_int_eq(back.type, SOP_KEY_INT64);
        ck_assert_int_eq(back.as.int64, 7);
    }
}
END_TEST

START_TEST(bytes_are_as_documented)
{
    static const struct {
        const char *schema;
        const char *text;
        const char *hex;
    } rows[] = {
        {"raw", "0x00ff", "00ff"},
        {"bytes", "0x00ff", "00ff"},
        {"bytes desc", "0x00ff", "ff0000ffff"},
        {"bool", "true", "01"},
        {"int64", "1", "8000000000000001"},
        {"int64", "-1", "7fffffffffffffff"},
        {"int64 desc", "-1", "8000000000000000"},
        {"uint64", "258", "0000000000000102"},
        {"double", "1", "bff0000000000000"},
        {"double", "-1", "400fffffffffffff"},
        {"double", "-0.0", "8000000000000000"},
        {"string", "ab", "6162"},
        {"string,bool", "{ab, true}", "6162000001"},
        {"bytes,bool", "{0x6100, true}", "6100ff000001"},
        {"string?", "null", "00"},
        {"string?", "x", "0178"},
        {"string? desc", "null", "ff"},
        {"timestamp", "1970-01-01T00:00:00Z", "8000000000000000"},
        {"any", "null", "10"},
        {"any", "false", "2000"},
        {"any", "0", "32"},
        {"any", "1", "3308008000000000000000"},
        {"any", "-1", "31f7ff7fffffffffffffff"},
        {"any", "\"a\"", "4061"},
        {"any", "0x61", "5061"},
        {"any desc", "\"a\"", "bf9effff"},
    };
    for (size_t i = 0; i < SOP_ARRAY_LEN(rows); i++) {
        struct sop_key_schema s = schema_of(rows[i].schema);
        struct sop_key_value values[SOP_KEY_FIELDS_MAX];
        uint8_t scratch_bytes[64];
        struct sop_key_buf scratch = {.data = scratch_bytes, .room = sizeof scratch_bytes};
        uint8_t bytes[64];
        struct sop_key_buf key = {.data = bytes, .room = sizeof bytes};
        size_t count;
        OK(sop_key_parse(&s, rows[i].text, values, &count, &scratch, NULL));
        OK(sop_key_encode(&s, values, count, &key, NULL));
        char hex[130] = "";
        for (size_t b = 0; b < key.len; b++) {
            (void)snprintf(hex + 2 * b, 3, "%02x", bytes[b]);
        }
        ck_assert_str_eq(hex, rows[i].hex);
    }
}
END_TEST

START_TEST(malformed_keys_are_refused)
{
    static const struct {
        const char *schema;
        const char *bytes;
        size_t len;
    } rows[] = {
        {"bool", "\x02", 1},
        {"bool", "", 0},
        {"bool", "\x01\x00", 2},
        {"int64", "\x80\x00\x00\x00\x00\x00\x00", 7},
        {"double", "\xff\xf8\x00\x00\x00\x00\x00\x00", 8}, /* NaN */
        {"double", "\x00\x00\x00\x00\x00\x00\x00\x00", 8}, /* negative NaN */
        {"double", "\x7f\xff\xff\xff\xff\xff\xff\xff", 8}, /* -0 */
        {"string", "\x80", 1},
        {"string", "\xC0\x80", 2},                   /* overlong */
        {"string", "\xED\xA0\x80", 3},               /* surrogate */
        {"string", "\xF4\x90\x80\x80", 4},           /* over U+10FFFF */
        {"string", "a\xC3", 2},                      /* cut short */
        {"string,bool", "\xC3\x00\x00\x01", 4},      /* cut short */
        {"string,bool", "a\x00\x01\x00\x00\x01", 6}, /* unknown escape */
        {"string,bool", "a", 1},
        {"string,bool", "a\x00", 2},
        {"string,bool", "a\x00\x00", 3},
        {"bytes?", "\x02", 1},
        {"bytes?", "\x00\x00", 2},
        {"any", "", 0},
        {"any", "\x11", 1},
        {"any", "\x32\x00", 2},
        {"any", "\x33\x08\x00\x40\x00\x00\x00\x00\x00\x00\x00", 11}, /* not normal */
        {"any", "\x33\x0c\x00\x80\x00\x00\x00\x00\x00\x00\x00", 11}, /* 2^1024 */
        {"any", "\x33\x03\xcd\x80\x00\x00\x00\x00\x00\x00\x00", 11}, /* 2^-1075 */
        {"any", "\x33\x03\xce\xc0\x00\x00\x00\x00\x00\x00\x00", 11}, /* 1.5 * 2^-1074 */
        {"any", "\x33\x08\x40\x80\x00\x00\x00\x00\x00\x00\x01", 11}, /* 65 bits needed */
        {"any", "\x33\x07\xff\x80\x00\x00\x00\x00\x00\x00\x01", 11}, /* half and a bit */
    };
    for (size_t i = 0; i < SOP_ARRAY_LEN(rows); i++) {
        struct sop_key_schema s = schema_of(rows[i].schema);
        struct sop_key_value values[SOP_KEY_FIELDS_MAX];
        uint8_t bytes[64];
        struct sop_key_buf scratch = {.data = bytes, .room = sizeof bytes};
        struct sop_err err = {0};
        int rc =
            sop_key_decode(&s, sop_slice(rows[i].bytes, rows[i].len), values, &scratch, &err);
        ck_assert_msg(rc == SOP_ERR_WRONG_TYPE, "row %zu: %d", i, rc);
        ck_assert_uint_gt(strlen(err.text), 0);
    }
}
END_TEST

START_TEST(damaged_delimited_keys_are_data_loss)
{
    static const struct {
        const char *schema;
        const char *bytes;
        size_t len;
    } rows[] = {
        {"raw", "", 0},         {"raw", "a", 1},           {"raw", "a\0", 2},
        {"raw", "a\0\0b", 4},   {"raw", "a\0\x01\0\0", 5}, {"bool,string", "\x02\0\0", 3},
        {"bool,string", "", 0},
    };
    struct sop_buf scratch = {0};
    for (size_t i = 0; i < SOP_ARRAY_LEN(rows); i++) {
        struct sop_key_schema s = schema_of(rows[i].schema);
        struct sop_slice key;
        ck_assert_int_eq(sop_keycode_undelimit(&s, sop_slice(rows[i].bytes, rows[i].len),
                                               &scratch, &key, NULL),
                         SOP_ERR_DATA_LOSS);
    }
    sop_buf_fini(&scratch);
}
END_TEST

START_TEST(wrong_values_are_refused)
{
    uint8_t bytes[64];
    struct sop_key_buf key = {.data = bytes, .room = sizeof bytes, .len = 3};
    struct sop_key_schema s = schema_of("bool,double");
    struct sop_key_value v[2] = {{.type = SOP_KEY_BOOL}, double_value(nan(""))};
    ck_assert_int_eq(sop_key_encode(&s, v, 2, &key, NULL), SOP_ERR_INVALID);
    ck_assert_uint_eq(key.len, 3);
    v[1] = int64_value(1);
    ck_assert_int_eq(sop_key_encode(&s, v, 2, &key, NULL), SOP_ERR_WRONG_TYPE);
    v[1] = (struct sop_key_value){.type = SOP_KEY_NULL};
    ck_assert_int_eq(sop_key_encode(&s, v, 2, &key, NULL), SOP_ERR_WRONG_TYPE);
    ck_assert_int_eq(sop_key_encode(&s, v, 1, &key, NULL), SOP_ERR_WRONG_TYPE);
    ck_assert_int_eq(sop_key_encode_prefix(&s, v, 3, &key, NULL), SOP_ERR_WRONG_TYPE);
    v[0].type = (enum sop_key_type)77;
    ck_assert_int_eq(sop_key_encode_prefix(&s, v, 1, &key, NULL), SOP_ERR_WRONG_TYPE);
    s = schema_of("string");
    v[0] = (struct sop_key_value){.type = SOP_KEY_STRING, .as.bytes = sop_slice("\xFF", 1)};
    ck_assert_int_eq(sop_key_encode(&s, v, 1, &key, NULL), SOP_ERR_INVALID);
    static const uint8_t zeros[SOP_KEY_BYTES_MAX + 1];
    struct sop_key_schema raw = {0};
    v[0] = (struct sop_key_value){.type = SOP_KEY_BYTES,
                                  .as.bytes = sop_slice(zeros, sizeof zeros)};
    ck_assert_int_eq(sop_key_encode(&raw, v, 1, &key, NULL), SOP_ERR_TOO_LARGE);
    ck_assert_uint_eq(key.len, 3);
    v[0] = int64_value(1);
    ck_assert_int_eq(sop_key_encode(&raw, v, 1, &key, NULL), SOP_ERR_WRONG_TYPE);
}
END_TEST

/* Every size of room up to the right one: TOO_LARGE, the size that would do, nothing beyond. */
START_TEST(short_room_tells_what_is_needed)
{
    struct sop_key_schema s = schema_of("string desc,any,bytes");
    const char *source = "{\"a\\u0000b\", -1.5, 0x0061}";
    char memory[256];
    struct sop_key_value values[3];
    struct sop_key_value back[3];
    struct sop_key_buf strings = {.data = memory, .room = sizeof memory};
    size_t count;
    OK(sop_key_parse(&s, source, values, &count, &strings, NULL));
    size_t needed[4] = {0};
    struct key k = {.len = 0};
    for (int what = 0; what < 4; what++) {
        uint8_t out[128];
        int rc = -1;
        for (size_t room = 0; rc != 0; room++) {
            ck_assert_uint_lt(room, sizeof out);
            memset(out, 0x5A, sizeof out);
            struct sop_key_buf to = {.data = out, .room = room};
            rc = what == 0   ? sop_key_encode(&s, values, 3, &to, NULL)
                 : what == 1 ? sop_key_decode(&s, slice_of(&k), back, &to, NULL)
                 : what == 2 ? sop_key_format(&s, slice_of(&k), &to, NULL)
                             : sop_key_parse(&s, source, back, &count, &to, NULL);
            ck_assert(rc == 0 || rc == SOP_ERR_TOO_LARGE);
            ck_assert_int_eq(out[room], 0x5A);
            size_t told = rc == 0 ? room : to.len;
            needed[what] = room == 0 ? told : needed[what];
            ck_assert_uint_eq(told, needed[what]);
            if (rc == 0 && what == 0) {
                memcpy(k.bytes, out, to.len);
                k.len = to.len;
            }
        }
    }
    ck_assert_uint_eq(needed[1], 3); /* only the complemented string is copied */
}
END_TEST

START_TEST(raw_keys_are_the_bytes_themselves)
{
    struct sop_key_schema raw = {0};
    OK(sop_key_schema_check(&raw, NULL));
    struct sop_slice bytes = sop_slice("\0\xFF\0a", 4);
    struct sop_key_value v;
    struct sop_key_buf none = {0};
    OK(sop_key_decode(&raw, bytes, &v, &none, NULL));
    ck_assert_int_eq(v.type, SOP_KEY_BYTES);
    ck_assert_ptr_eq(v.as.bytes.data, bytes.data);
    ck_assert_uint_eq(v.as.bytes.len, 4);
    OK(sop_keycode_verify(&raw, bytes, NULL));
    ck_assert(sop_keycode_has_tail(&raw));
    /* Delimited keys without zero bytes are handed out where they lie. */
    struct sop_buf scratch = {0};
    struct sop_slice key;
    struct sop_slice stored = sop_slice("ab\0\0", 4);
    OK(sop_keycode_undelimit(&raw, stored, &scratch, &key, NULL));
    ck_assert_ptr_eq(key.data, stored.data);
    ck_assert_uint_eq(key.len, 2);
    ck_assert_ptr_null(scratch.data);
}
END_TEST

START_TEST(prefix_end_is_the_least_greater)
{
    static const struct {
        const char *prefix;
        size_t len;
        const char *end;
        size_t end_len;
    } rows[] = {
        {"a", 1, "b", 1},         {"a\xFF", 2, "b", 1}, {"a\xFF\x00", 3, "a\xFF\x01", 3},
        {"\xFF\xFF", 2, NULL, 0}, {"", 0, NULL, 0},
    };
    for (size_t i = 0; i < SOP_ARRAY_LEN(rows); i++) {
        uint8_t bytes[8];
        struct sop_key_buf end = {.data = bytes, .room = sizeof bytes};
        bool none;
        OK(sop_key_prefix_end(sop_slice(rows[i].prefix, rows[i].len), &end, &none, NULL));
        ck_assert(none == (rows[i].end == NULL));
        ck_assert(
            sop_slice_eq(sop_slice(bytes, end.len), sop_slice(rows[i].end, rows[i].end_len)));
    }
}
END_TEST

START_TEST(schemas_survive_text_and_bytes)
{
    uint64_t seed = 11;
    struct sop_buf bytes = {0};
    for (size_t i = 0; i < 300; i++) {
        struct sop_key_schema s = random_schema(&seed);
        s.fields_count = i % 10 == 0 ? 0 : s.fields_count;
        if (s.fields_count == 0) {
            s = (struct sop_key_schema){0};
        }
        char text[256];
        struct sop_key_buf to = {.data = text, .room = sizeof text};
        OK(sop_key_schema_format(&s, &to, NULL));
        struct sop_key_schema again = schema_of(text);
        ck_assert_int_eq(memcmp(&s, &again, sizeof s), 0);
        sop_buf_clear(&bytes);
        OK(sop_key_schema_encode(&s, &bytes, NULL));
        ck_assert_uint_le(bytes.len, SOP_KEY_SCHEMA_BYTES_MAX);
        OK(sop_key_schema_decode(sop_buf_slice(&bytes), &again, NULL));
        ck_assert_int_eq(memcmp(&s, &again, sizeof s), 0);
        for (size_t cut = 0; cut < bytes.len; cut++) {
            ck_assert_int_eq(sop_key_schema_decode(sop_slice(bytes.data, cut), &again, NULL),
                             SOP_ERR_DATA_LOSS);
        }
        bytes.data[0] = 2;
        ck_assert_int_eq(sop_key_schema_decode(sop_buf_slice(&bytes), &again, NULL),
                         SOP_ERR_VERSION);
        bytes.data[0] = 1;
        if (s.fields_count != 0) {
            bytes.data[2] = 10;
            ck_assert_int_eq(sop_key_schema_decode(sop_buf_slice(&bytes), &again, NULL),
                             SOP_ERR_DATA_LOSS);
        }
    }
    sop_buf_fini(&bytes);
    struct sop_key_schema s = schema_of(" int64 , string? desc,uuid asc ");
    ck_assert_uint_eq(s.fields_count, 3);
    ck_assert(s.fields[1].nullable && s.fields[1].descending && !s.fields[2].descending);
    static const char *const wrong[] = {"",           "int32", "int64,",
                                        "int64 down", "any?",  "raw,raw",
                                        "raw desc",   "null",  "string ? desc desc"};
    for (size_t i = 0; i < SOP_ARRAY_LEN(wrong); i++) {
        ck_assert_int_eq(sop_key_schema_parse(&s, wrong[i], NULL), SOP_ERR_INVALID);
        ck_assert_uint_eq(s.fields_count, 0);
    }
    char many[17 * 5 + 1] = "";
    for (int i = 0; i < 17; i++) {
        strcat(many, i == 0 ? "bool" : ",bool");
    }
    ck_assert_int_eq(sop_key_schema_parse(&s, many, NULL), SOP_ERR_INVALID);
}
END_TEST

/* Text as people write it -> text as we write it; NULL = refused. */
START_TEST(texts_parse_as_people_write_them)
{
    static const struct {
        const char *schema;
        const char *text;
        const char *shown;
    } rows[] = {
        {"int64,string", "{66, kDefinition}", "{66, \"kDefinition\"}"},
        {"int64,string", " 66 , \"k, D}\" ", "{66, \"k, D}\"}"},
        {"raw", "any text, {as it is}", "\"any text, {as it is}\""},
        {"raw", "", "\"\""},
        {"raw", "0x00", "0x00"},
        {"string", "\"\\x41\\u00e9\\n\\\\\"", "\"A\xC3\xA9\\n\\\\\""},
        {"int64", "9223372036854775807", "9223372036854775807"},
        {"int64", "-9223372036854775808", "-9223372036854775808"},
        {"int64", "9223372036854775808", NULL},
        {"int64", "-9223372036854775809", NULL},
        {"int64", "1x", NULL},
        {"int64", "-", NULL},
        {"uint64", "18446744073709551615", "18446744073709551615"},
        {"uint64", "18446744073709551616", NULL},
        {"uint64", "-1", NULL},
        {"double", "0.1", "0.1"},
        {"double", "1e-7", "1e-07"},
        {"double", "-inf", "-inf"},
        {"double", "nan", NULL},
        {"double", "1e999", NULL},
        {"double", "0x10", NULL},
        {"any", "18446744073709551616.0", "1.8446744073709552e+19"},
        {"any", "18446744073709551616", NULL},
        {"any", "word", NULL},
        {"any", "00112233-4455-6677-8899-AABBCCDDEEFF", "00112233-4455-6677-8899-aabbccddeeff"},
        {"uuid", "00112233-4455-6677-8899-aabbccddeef", NULL},
        {"uuid", "00112233-4455-6677-8899+aabbccddeeff", NULL},
        {"timestamp", "2024-02-29T23:59:59.5+01:30", "2024-02-29T22:29:59.5Z"},
        {"timestamp", "2023-02-29T00:00:00Z", NULL},
        {"timestamp", "1900-02-29T00:00:00Z", NULL},
        {"timestamp", "2024-13-01T00:00:00Z", NULL},
        {"timestamp", "2024-00-01T00:00:00Z", NULL},
        {"timestamp", "2024-01-01T24:00:00Z", NULL},
        {"timestamp", "2024-01-01T00:00:00", NULL},
        {"timestamp", "1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999999Z"},
        {"timestamp", "-1", "1969-12-31T23:59:59.999999999Z"},
        {"timestamp", "1677-09-21T00:12:43.145224192Z", "1677-09-21T00:12:43.145224192Z"},
        {"timestamp", "1677-09-21T00:12:43.145224191Z", NULL},
        {"timestamp", "2262-04-11T23:47:16.854775807Z", "2262-04-11T23:47:16.854775807Z"},
        {"timestamp", "2262-04-11T23:47:16.854775808Z", NULL},
        {"bool", "yes", NULL},
        {"bool?", "null", "null"},
        {"bool", "null", NULL},
        {"bool,bool", "{true, false", NULL},
        {"bool,bool", "true, false}", NULL},
        {"bool,bool", "{true,}", NULL},
        {"bool,bool", "{true, false, true}", NULL},
        {"string", "\"a", NULL},
        {"string", "\"\\q\"", NULL},
        {"string", "\"\\ud800\"", NULL},
        {"bytes", "0x123", NULL},
    };
    for (size_t i = 0; i < SOP_ARRAY_LEN(rows); i++) {
        struct sop_key_schema s = schema_of(rows[i].schema);
        struct sop_key_value values[SOP_KEY_FIELDS_MAX];
        uint8_t scratch_bytes[128];
        struct sop_key_buf scratch = {.data = scratch_bytes, .room = strlen(rows[i].text)};
        struct sop_err err = {0};
        size_t count;
        int rc = sop_key_parse(&s, rows[i].text, values, &count, &scratch, &err);
        if (rows[i].shown == NULL) {
            ck_assert_msg(rc == SOP_ERR_INVALID, "row %zu: %d", i, rc);
            ck_assert_uint_eq(scratch.len, 0);
            continue;
        }
        ck_assert_msg(rc == 0, "row %zu: %s", i, err.text);
        uint8_t bytes[128];
        struct sop_key_buf key = {.data = bytes, .room = sizeof bytes};
        OK(sop_key_encode(&s, values, count, &key, NULL));
        char shown[128];
        struct sop_key_buf text = {.data = shown, .room = sizeof shown};
        OK(sop_key_format(&s, sop_slice(bytes, key.len), &text, NULL));
        ck_assert_str_eq(shown, rows[i].shown);
    }
    /* Fewer values are for prefixes. */
    struct sop_key_schema s = schema_of("int64,string,bool");
    struct sop_key_value values[3];
    uint8_t bytes[16];
    struct sop_key_buf scratch = {.data = bytes, .room = sizeof bytes};
    size_t count = 9;
    OK(sop_key_parse(&s, "{}", values, &count, &scratch, NULL));
    ck_assert_uint_eq(count, 0);
    OK(sop_key_parse(&s, "5, x", values, &count, &scratch, NULL));
    ck_assert_uint_eq(count, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keycode");
    TCase *t = tcase_create("keycode");
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, encodings_order_like_values, 0, 4);
    tcase_add_test(t, any_interleaves_numbers_exactly);
    tcase_add_test(t, bytes_are_as_documented);
    tcase_add_test(t, malformed_keys_are_refused);
    tcase_add_test(t, damaged_delimited_keys_are_data_loss);
    tcase_add_test(t, wrong_values_are_refused);
    tcase_add_test(t, short_room_tells_what_is_needed);
    tcase_add_test(t, raw_keys_are_the_bytes_themselves);
    tcase_add_test(t, prefix_end_is_the_least_greater);
    tcase_add_test(t, schemas_survive_text_and_bytes);
    tcase_add_test(t, texts_parse_as_people_write_them);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
