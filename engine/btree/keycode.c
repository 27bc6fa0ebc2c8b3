/* Typed keys <-> byte strings that memcmp orders like the values.
 *
 * One field, ascending (descending = every byte of the field complemented; since no encoding of
 * a field is a prefix of another of the same field, that reverses the order exactly):
 *
 *   nullable        00 = null, nothing follows; 01 = the value follows
 *   bool            00, 01
 *   int64, timestamp    8 bytes big-endian, sign bit inverted
 *   uint64          8 bytes big-endian
 *   double          IEEE bits big-endian; all inverted if negative, else the sign bit
 *   uuid            16 bytes
 *   string, bytes   00 written as 00 FF, then 00 00. After equal bytes the shorter one has 00
 * 00 where the other has 00 FF or a byte > 00: it comes first. As the last field, if ascending:
 * the bytes as they are ("tail"). any             a tag, then: null, -inf, 0, +inf nothing;
 * bool, uuid, timestamp, string and bytes as above (a tail in the last field); negative and
 * positive numbers u16 (exponent + 2048), u64 mantissa with its highest bit set, both
 *                   big-endian, complemented if negative: value = mantissa * 2^(exponent - 63).
 *                   Every int64, uint64 and double has exactly one such form.
 *
 * Decoding accepts exactly what encoding makes: equal values are equal bytes, both ways. */
#include "engine/btree/keycode.h"

#include "engine/base/codec.h"
#include "engine/base/limits.h"

#include <math.h>

#define SIGN_BIT      (UINT64_C(1) << 63)
#define INFINITY_BITS UINT64_C(0x7FF0000000000000)
#define EXPONENT_BIAS 2048
#define EXPONENT_MIN  (-1074) /* of the smallest double */
#define EXPONENT_MAX  1023

enum tag {
    TAG_NULL = 0x10,
    TAG_BOOL = 0x20,
    TAG_MINUS_INFINITY = 0x30,
    TAG_NEGATIVE = 0x31,
    TAG_ZERO = 0x32,
    TAG_POSITIVE = 0x33,
    TAG_INFINITY = 0x34,
    TAG_STRING = 0x40,
    TAG_BYTES = 0x50,
    TAG_UUID = 0x60,
    TAG_TIMESTAMP = 0x70,
};

/* ---- UTF-8, byte by byte ----------------------------------------------------------------- */

struct utf8 {
    uint8_t need; /* bytes still to come of the current character */
    uint8_t low;  /* bounds of the next one */
    uint8_t high;
};

static bool utf8_start(struct utf8 *u, uint8_t byte)
{
    u->low = 0x80;
    u->high = 0xBF;
    if (byte < 0x80) {
        u->need = 0;
    } else if (byte >= 0xC2 && byte <= 0xDF) {
        u->need = 1;
    } else if (byte >= 0xE0 && byte <= 0xEF) {
        u->need = 2;
        u->low = byte == 0xE0 ? 0xA0 : 0x80;  /* overlong */
        u->high = byte == 0xED ? 0x9F : 0xBF; /* surrogates */
    } else if (byte >= 0xF0 && byte <= 0xF4) {
        u->need = 3;
        u->low = byte == 0xF0 ? 0x90 : 0x80;  /* overlong */
        u->high = byte == 0xF4 ? 0x8F : 0xBF; /* over U+10FFFF */
    } else {
        return false;
    }
    return true;
}

static inline bool utf8_next(struct utf8 *u, uint8_t byte)
{
    if (u->need == 0) {
        return byte < 0x80 || utf8_start(u, byte);
    }
    if (byte < u->low || byte > u->high) {
        return false;
    }
    u->need--;
    u->low = 0x80;
    u->high = 0xBF;
    return true;
}

static bool utf8_valid(struct sop_slice text)
{
    struct utf8 u = {0};
    for (size_t i = 0; i < text.len; i++) {
        if (!utf8_next(&u, text.data[i])) {
            return false;
        }
    }
    return u.need == 0;
}

/* ---- schemas ----------------------------------------------------------------------------- */

static bool has_tail(const struct sop_key_field *field)
{
    return !field->descending && (field->type == SOP_KEY_STRING ||
                                  field->type == SOP_KEY_BYTES || field->type == SOP_KEY_ANY);
}

static bool is_last(const struct sop_key_schema *schema, size_t i)
{
    return i + 1 == schema->fields_count;
}

bool sop_keycode_has_tail(const struct sop_key_schema *schema)
{
    return schema->fields_count == 0 || has_tail(&schema->fields[schema->fields_count - 1]);
}

int sop_key_schema_check(const struct sop_key_schema *schema, struct sop_err *err)
{
    if (schema->fields_count > SOP_KEY_FIELDS_MAX) {
        return SOP_ERR(err, INVALID, "key schema of %" PRIu32 " fields; at most %d",
                       schema->fields_count, SOP_KEY_FIELDS_MAX);
    }
    for (uint32_t i = 0; i < schema->fields_count; i++) {
        const struct sop_key_field *field = &schema->fields[i];
        if ((int)field->type < SOP_KEY_BOOL || (int)field->type > SOP_KEY_ANY) {
            return SOP_ERR(err, INVALID, "key field %" PRIu32 ": no field type %d", i,
                           (int)field->type);
        }
        if (field->nullable && field->type == SOP_KEY_ANY) {
            return SOP_ERR(err, INVALID, "key field %" PRIu32 ": any is nullable by itself", i);
        }
    }
    return 0;
}

#define SCHEMA_VERSION    1u
#define SCHEMA_DESCENDING 1u
#define SCHEMA_NULLABLE   2u

int sop_key_schema_encode(const struct sop_key_schema *schema, struct sop_buf *to,
                          struct sop_err *err)
{
    SOP_ASSERT(schema->fields_count <= SOP_KEY_FIELDS_MAX);
    int rc = sop_buf_reserve(to, SOP_KEY_SCHEMA_BYTES_MAX, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_writer w = sop_writer(to);
    sop_write_u8(&w, SCHEMA_VERSION);
    sop_write_u8(&w, (uint8_t)schema->fields_count);
    for (uint32_t i = 0; i < schema->fields_count; i++) {
        const struct sop_key_field *field = &schema->fields[i];
        sop_write_u8(&w, (uint8_t)field->type);
        sop_write_u8(&w, (uint8_t)((field->descending ? SCHEMA_DESCENDING : 0) |
                                   (field->nullable ? SCHEMA_NULLABLE : 0)));
    }
    return sop_writer_end(&w, err);
}

int sop_key_schema_decode(struct sop_slice from, struct sop_key_schema *schema,
                          struct sop_err *err)
{
    struct sop_reader r = sop_reader(from);
    *schema = (struct sop_key_schema){0};
    uint8_t version = sop_read_u8(&r);
    if (!r.bad && version > SCHEMA_VERSION) {
        return SOP_ERR(err, VERSION, "key schema of version %u", version);
    }
    uint8_t count = sop_read_u8(&r);
    if (r.bad || version != SCHEMA_VERSION || count > SOP_KEY_FIELDS_MAX ||
        sop_reader_left(&r) != 2u * count) {
        return SOP_ERR(err, DATA_LOSS, "key schema of %zu bytes is damaged", from.len);
    }
    struct sop_key_schema read = {.fields_count = count};
    for (uint32_t i = 0; i < count; i++) {
        read.fields[i].type = (enum sop_key_type)sop_read_u8(&r);
        uint8_t flags = sop_read_u8(&r);
        if ((flags & ~(SCHEMA_DESCENDING | SCHEMA_NULLABLE)) != 0) {
            return SOP_ERR(err, DATA_LOSS, "key schema: flags %u of field %" PRIu32, flags, i);
        }
        read.fields[i].descending = (flags & SCHEMA_DESCENDING) != 0;
        read.fields[i].nullable = (flags & SCHEMA_NULLABLE) != 0;
    }
    struct sop_err why = {0};
    if (sop_key_schema_check(&read, &why) != 0) {
        return SOP_ERR(err, DATA_LOSS, "key schema: %s", why.text);
    }
    *schema = read;
    return 0;
}

/* ---- values to bytes --------------------------------------------------------------------- */

/* Appends what fits and counts the rest. */
static void put(struct sop_key_buf *to, const void *bytes, size_t len)
{
    if (len != 0 && to->len <= to->room && len <= to->room - to->len) {
        memcpy((uint8_t *)to->data + to->len, bytes, len);
    }
    to->len += len;
}

static void put_byte(struct sop_key_buf *to, unsigned byte)
{
    uint8_t b = (uint8_t)byte;
    put(to, &b, 1);
}

static void put_big_endian(struct sop_key_buf *to, uint64_t v)
{
    v = __builtin_bswap64(v);
    put(to, &v, sizeof v);
}

static void put_escaped(struct sop_key_buf *to, struct sop_slice bytes)
{
    size_t at = 0;
    while (at < bytes.len) {
        const uint8_t *zero = memchr(bytes.data + at, 0, bytes.len - at);
        size_t plain = zero == NULL ? bytes.len - at : (size_t)(zero - bytes.data) - at;
        put(to, bytes.data + at, plain);
        at += plain;
        if (zero != NULL) {
            put(to, "\x00\xFF", 2);
            at++;
        }
    }
}

static void put_bytes(struct sop_key_buf *to, struct sop_slice bytes, bool tail)
{
    if (tail) {
        put(to, bytes.data, bytes.len);
        return;
    }
    put_escaped(to, bytes);
    put(to, "\x00\x00", 2);
}

static uint64_t double_bits(double real)
{
    uint64_t bits;
    memcpy(&bits, &real, sizeof bits);
    return bits == SIGN_BIT ? 0 : bits; /* -0 is 0 */
}

static void put_number(struct sop_key_buf *to, bool negative, int exponent, uint64_t mantissa)
{
    SOP_ASSERT((mantissa & SIGN_BIT) != 0);
    uint64_t flip = negative ? UINT64_MAX : 0;
    unsigned biased = (unsigned)(exponent + EXPONENT_BIAS) ^ (unsigned)(flip & 0xFFFF);
    put_byte(to, negative ? TAG_NEGATIVE : TAG_POSITIVE);
    put_byte(to, biased >> 8);
    put_byte(to, biased & 0xFF);
    put_big_endian(to, mantissa ^ flip);
}

static void put_integer(struct sop_key_buf *to, bool negative, uint64_t magnitude)
{
    if (magnitude == 0) {
        put_byte(to, TAG_ZERO);
        return;
    }
    int shift = __builtin_clzll(magnitude);
    put_number(to, negative, 63 - shift, magnitude << shift);
}

static void put_real(struct sop_key_buf *to, double real)
{
    uint64_t bits = double_bits(real);
    bool negative = (bits & SIGN_BIT) != 0;
    bits &= ~SIGN_BIT;
    uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
    if (bits == 0) {
        put_byte(to, TAG_ZERO);
    } else if (bits == INFINITY_BITS) {
        put_byte(to, negative ? TAG_MINUS_INFINITY : TAG_INFINITY);
    } else if (bits >> 52 != 0) {
        put_number(to, negative, (int)(bits >> 52) - 1023, SIGN_BIT | fraction << 11);
    } else {
        int shift = __builtin_clzll(fraction);
        put_number(to, negative, 63 - shift + EXPONENT_MIN, fraction << shift);
    }
}

/* A value of a type that a field can have, encoded as in such a field. It has been checked. */
static void put_value(struct sop_key_buf *to, const struct sop_key_value *value, bool tail)
{
    uint64_t bits;
    switch (value->type) {
    case SOP_KEY_BOOL:
        put_byte(to, value->as.boolean ? 1 : 0);
        break;
    case SOP_KEY_INT64:
        put_big_endian(to, (uint64_t)value->as.int64 ^ SIGN_BIT);
        break;
    case SOP_KEY_UINT64:
        put_big_endian(to, value->as.uint64);
        break;
    case SOP_KEY_DOUBLE:
        bits = double_bits(value->as.real);
        put_big_endian(to, (bits & SIGN_BIT) != 0 ? ~bits : bits ^ SIGN_BIT);
        break;
    case SOP_KEY_TIMESTAMP:
        put_big_endian(to, (uint64_t)value->as.timestamp ^ SIGN_BIT);
        break;
    case SOP_KEY_UUID:
        put(to, value->as.uuid, sizeof value->as.uuid);
        break;
    case SOP_KEY_STRING:
    case SOP_KEY_BYTES:
        put_bytes(to, value->as.bytes, tail);
        break;
    case SOP_KEY_NULL:
    case SOP_KEY_ANY:
    default:
        SOP_UNREACHABLE("value types are checked before");
    }
}

static void put_any(struct sop_key_buf *to, const struct sop_key_value *value, bool tail)
{
    static const uint8_t tags[] = {
        [SOP_KEY_BOOL] = TAG_BOOL,           [SOP_KEY_STRING] = TAG_STRING,
        [SOP_KEY_BYTES] = TAG_BYTES,         [SOP_KEY_UUID] = TAG_UUID,
        [SOP_KEY_TIMESTAMP] = TAG_TIMESTAMP,
    };
    bool negative;
    switch (value->type) {
    case SOP_KEY_NULL:
        put_byte(to, TAG_NULL);
        break;
    case SOP_KEY_INT64:
        negative = value->as.int64 < 0;
        put_integer(to, negative,
                    negative ? -(uint64_t)value->as.int64 : (uint64_t)value->as.int64);
        break;
    case SOP_KEY_UINT64:
        put_integer(to, false, value->as.uint64);
        break;
    case SOP_KEY_DOUBLE:
        put_real(to, value->as.real);
        break;
    case SOP_KEY_BOOL:
    case SOP_KEY_TIMESTAMP:
    case SOP_KEY_UUID:
    case SOP_KEY_STRING:
    case SOP_KEY_BYTES:
    case SOP_KEY_ANY:
    default:
        put_byte(to, tags[value->type]);
        put_value(to, value, tail);
    }
}

/* What a value must fulfil whatever its field is. */
static int check_value(const struct sop_key_value *value, struct sop_err *err)
{
    if ((int)value->type < SOP_KEY_NULL || (int)value->type > SOP_KEY_BYTES) {
        return SOP_ERR(err, WRONG_TYPE, "no value type %d", (int)value->type);
    }
    if (value->type == SOP_KEY_DOUBLE && isnan(value->as.real)) {
        return SOP_ERR(err, INVALID, "NaN has no place in an order");
    }
    if (value->type == SOP_KEY_STRING || value->type == SOP_KEY_BYTES) {
        if (value->as.bytes.len > SOP_KEY_BYTES_MAX) {
            return SOP_ERR(err, TOO_LARGE, "%zu bytes; a key has at most %u",
                           value->as.bytes.len, SOP_KEY_BYTES_MAX);
        }
        if (value->type == SOP_KEY_STRING && !utf8_valid(value->as.bytes)) {
            return SOP_ERR(err, INVALID, "string is not UTF-8");
        }
    }
    return 0;
}

static int put_field(struct sop_key_buf *to, const struct sop_key_field *field,
                     const struct sop_key_value *value, bool last, struct sop_err *err)
{
    int rc = check_value(value, err);
    if (rc != 0) {
        return rc;
    }
    bool null = value->type == SOP_KEY_NULL;
    if (field->type != SOP_KEY_ANY && value->type != field->type &&
        !(null && field->nullable)) {
        return SOP_ERR(err, WRONG_TYPE, "value of type %d in a field of type %d",
                       (int)value->type, (int)field->type);
    }
    size_t start = to->len;
    bool tail = last && has_tail(field);
    if (field->nullable) {
        put_byte(to, null ? 0 : 1);
    }
    if (field->type == SOP_KEY_ANY) {
        put_any(to, value, tail);
    } else if (!null) {
        put_value(to, value, tail);
    }
    if (field->descending && to->len <= to->room) {
        uint8_t *data = to->data;
        for (size_t i = start; i < to->len; i++) {
            data[i] = (uint8_t)~data[i];
        }
    }
    return 0;
}

static int check_room(const struct sop_key_buf *to, struct sop_err *err)
{
    if (to->len > to->room) {
        return SOP_ERR(err, TOO_LARGE, "%zu bytes do not fit into %zu", to->len, to->room);
    }
    return 0;
}

static int put_raw(struct sop_key_buf *to, const struct sop_key_value *value,
                   struct sop_err *err)
{
    if (value->type != SOP_KEY_BYTES && value->type != SOP_KEY_STRING) {
        return SOP_ERR(err, WRONG_TYPE, "value of type %d in a raw key", (int)value->type);
    }
    int rc = check_value(value, err);
    if (rc == 0) {
        put_bytes(to, value->as.bytes, true);
    }
    return rc;
}

int sop_key_encode_prefix(const struct sop_key_schema *schema,
                          const struct sop_key_value *values, size_t count,
                          struct sop_key_buf *prefix, struct sop_err *err)
{
    int rc = sop_key_schema_check(schema, err);
    if (rc != 0) {
        return rc;
    }
    size_t most = schema->fields_count == 0 ? 1 : schema->fields_count;
    if (count > most) {
        return SOP_ERR(err, WRONG_TYPE, "%zu values for a key of %zu fields", count, most);
    }
    size_t start = prefix->len;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = schema->fields_count == 0
                 ? put_raw(prefix, &values[i], err)
                 : put_field(prefix, &schema->fields[i], &values[i], is_last(schema, i), err);
        if (rc != 0) {
            rc = sop_err_wrap(err, rc, "key field %zu", i);
        }
    }
    if (rc == 0 && prefix->len - start > SOP_KEY_BYTES_MAX) {
        rc = SOP_ERR(err, TOO_LARGE, "key of %zu bytes; at most %u", prefix->len - start,
                     SOP_KEY_BYTES_MAX);
    }
    if (rc != 0) {
        prefix->len = start;
        return rc;
    }
    return check_room(prefix, err);
}

int sop_key_encode(const struct sop_key_schema *schema, const struct sop_key_value *values,
                   size_t count, struct sop_key_buf *key, struct sop_err *err)
{
    size_t needed = schema->fields_count == 0 ? 1 : schema->fields_count;
    if (count != needed) {
        return SOP_ERR(err, WRONG_TYPE, "%zu values for a key of %zu fields", count, needed);
    }
    return sop_key_encode_prefix(schema, values, count, key, err);
}

int sop_key_prefix_end(struct sop_slice prefix, struct sop_key_buf *end, bool *none,
                       struct sop_err *err)
{
    size_t len = prefix.len;
    while (len > 0 && prefix.data[len - 1] == 0xFF) {
        len--;
    }
    *none = len == 0;
    if (len == 0) {
        return 0;
    }
    put(end, prefix.data, len - 1);
    put_byte(end, prefix.data[len - 1] + 1u);
    return check_room(end, err);
}

/* ---- bytes to values --------------------------------------------------------------------- */

/* Latches the first thing that is wrong; then every further read gives zero. */
struct decoder {
    const uint8_t *at;
    const uint8_t *end;
    uint8_t flip; /* FF in a descending field */
    const char *bad;
    struct sop_key_buf *scratch; /* NULL: contents of strings are not wanted */
};

static struct decoder decoder(struct sop_slice key, struct sop_key_buf *scratch)
{
    const uint8_t *end = key.len == 0 ? key.data : key.data + key.len;
    return (struct decoder){.at = key.data, .end = end, .scratch = scratch};
}

static void refuse(struct decoder *d, const char *why)
{
    if (d->bad == NULL) {
        d->bad = why;
    }
    d->at = d->end;
}

static size_t left(const struct decoder *d)
{
    return (size_t)(d->end - d->at);
}

static void get(struct decoder *d, uint8_t *to, size_t len)
{
    if (left(d) < len) {
        refuse(d, "it is too short");
        memset(to, 0, len);
        return;
    }
    for (size_t i = 0; i < len; i++) {
        to[i] = d->at[i] ^ d->flip;
    }
    d->at += len;
}

static uint8_t get_byte(struct decoder *d)
{
    uint8_t byte;
    get(d, &byte, 1);
    return byte;
}

static uint64_t get_big_endian(struct decoder *d)
{
    uint8_t bytes[8];
    get(d, bytes, sizeof bytes);
    return __builtin_bswap64(sop_get_u64(bytes));
}

static struct sop_slice get_tail(struct decoder *d, bool text)
{
    struct sop_slice bytes = sop_slice(d->at, left(d));
    d->at = d->end;
    if (text && !utf8_valid(bytes)) {
        refuse(d, "its string is not UTF-8");
    }
    return bytes;
}

/* The length of the escaped bytes at d->at before their terminator. */
static size_t escaped_length(struct decoder *d, bool text, size_t *escapes)
{
    struct utf8 u = {0};
    *escapes = 0;
    for (const uint8_t *p = d->at; p != d->end; p++) {
        uint8_t byte = *p ^ d->flip;
        if (byte == 0) {
            if (p + 1 == d->end) {
                break;
            }
            uint8_t next = p[1] ^ d->flip;
            if (next == 0 && u.need == 0) {
                return (size_t)(p - d->at);
            }
            if (next != 0xFF) {
                refuse(d, next == 0 ? "its string is not UTF-8" : "it has an unknown escape");
                return 0;
            }
            p++;
            ++*escapes;
        }
        if (text && !utf8_next(&u, byte)) {
            refuse(d, "its string is not UTF-8");
            return 0;
        }
    }
    refuse(d, "its string does not end");
    return 0;
}

static struct sop_slice get_escaped(struct decoder *d, bool text)
{
    size_t escapes;
    size_t stored = escaped_length(d, text, &escapes);
    if (d->bad != NULL) {
        return sop_slice(NULL, 0);
    }
    const uint8_t *from = d->at;
    size_t len = stored - escapes;
    d->at += stored + 2;
    if (escapes == 0 && d->flip == 0) {
        return sop_slice(from, len);
    }
    struct sop_key_buf *to = d->scratch;
    if (to == NULL) {
        return sop_slice(NULL, 0);
    }
    size_t start = to->len;
    bool fits = start <= to->room && len <= to->room - start;
    to->len += len;
    if (!fits || len == 0) {
        return sop_slice(NULL, 0); /* the whole call fails, if it does not fit */
    }
    uint8_t *out = (uint8_t *)to->data + start;
    for (size_t i = 0; i < stored; i++) {
        uint8_t byte = from[i] ^ d->flip;
        *out++ = byte;
        i += byte == 0; /* FF follows */
    }
    return sop_slice((uint8_t *)to->data + start, len);
}

static struct sop_slice get_bytes(struct decoder *d, bool text, bool tail)
{
    return tail ? get_tail(d, text) : get_escaped(d, text);
}

static double get_double(struct decoder *d)
{
    uint64_t bits = get_big_endian(d);
    bits = (bits & SIGN_BIT) != 0 ? bits ^ SIGN_BIT : ~bits;
    if (d->bad == NULL && (bits & ~SIGN_BIT) > INFINITY_BITS) {
        refuse(d, "its number is not a number");
    }
    if (bits == SIGN_BIT) {
        refuse(d, "its number is a negative zero");
    }
    double real;
    memcpy(&real, &bits, sizeof real);
    return d->bad == NULL ? real : 0;
}

/* The double that is exactly mantissa * 2^(exponent - 63), or refuses. */
static double exact_double(struct decoder *d, bool negative, int exponent, uint64_t mantissa)
{
    int drop = exponent >= -1022 ? 11 : 63 - (exponent - EXPONENT_MIN);
    if ((mantissa & ((UINT64_C(1) << drop) - 1)) != 0) {
        refuse(d, "its number is neither an integer nor a double");
        return 0;
    }
    uint64_t bits = mantissa >> drop;
    if (exponent >= -1022) {
        bits &= (UINT64_C(1) << 52) - 1;
        bits |= (uint64_t)(exponent + 1023) << 52;
    }
    bits |= negative ? SIGN_BIT : 0;
    double real;
    memcpy(&real, &bits, sizeof real);
    return real;
}

static void get_number(struct decoder *d, bool negative, struct sop_key_value *value)
{
    uint64_t flip = negative ? UINT64_MAX : 0;
    unsigned high = get_byte(d);
    unsigned biased = (high << 8 | get_byte(d)) ^ (unsigned)(flip & 0xFFFF);
    uint64_t mantissa = get_big_endian(d) ^ flip;
    int exponent = (int)biased - EXPONENT_BIAS;
    if (d->bad != NULL || (mantissa & SIGN_BIT) == 0 || exponent < EXPONENT_MIN ||
        exponent > EXPONENT_MAX) {
        refuse(d, "its number is out of range");
        return;
    }
    bool integer =
        exponent >= 0 && exponent <= 63 && (exponent == 63 || mantissa << (exponent + 1) == 0);
    uint64_t magnitude = integer ? mantissa >> (63 - exponent) : 0;
    if (integer && magnitude <= INT64_MAX) {
        value->type = SOP_KEY_INT64;
        value->as.int64 = negative ? -(int64_t)magnitude : (int64_t)magnitude;
    } else if (integer && negative && magnitude == SIGN_BIT) {
        value->type = SOP_KEY_INT64;
        value->as.int64 = INT64_MIN;
    } else if (integer && !negative) {
        value->type = SOP_KEY_UINT64;
        value->as.uint64 = magnitude;
    } else {
        value->type = SOP_KEY_DOUBLE;
        value->as.real = exact_double(d, negative, exponent, mantissa);
    }
}

static void get_value(struct decoder *d, enum sop_key_type type, bool tail,
                      struct sop_key_value *value)
{
    value->type = type;
    uint8_t byte;
    switch (type) {
    case SOP_KEY_BOOL:
        byte = get_byte(d);
        if (byte > 1) {
            refuse(d, "its bool is neither 0 nor 1");
        }
        value->as.boolean = byte == 1;
        break;
    case SOP_KEY_INT64:
        value->as.int64 = (int64_t)(get_big_endian(d) ^ SIGN_BIT);
        break;
    case SOP_KEY_UINT64:
        value->as.uint64 = get_big_endian(d);
        break;
    case SOP_KEY_DOUBLE:
        value->as.real = get_double(d);
        break;
    case SOP_KEY_TIMESTAMP:
        value->as.timestamp = (int64_t)(get_big_endian(d) ^ SIGN_BIT);
        break;
    case SOP_KEY_UUID:
        get(d, value->as.uuid, sizeof value->as.uuid);
        break;
    case SOP_KEY_STRING:
    case SOP_KEY_BYTES:
        value->as.bytes = get_bytes(d, type == SOP_KEY_STRING, tail);
        break;
    case SOP_KEY_NULL:
    case SOP_KEY_ANY:
    default:
        SOP_UNREACHABLE("types are checked before");
    }
}

static void get_any(struct decoder *d, bool tail, struct sop_key_value *value)
{
    uint8_t tag = get_byte(d);
    switch (tag) {
    case TAG_NULL:
        value->type = SOP_KEY_NULL;
        break;
    case TAG_BOOL:
        get_value(d, SOP_KEY_BOOL, false, value);
        break;
    case TAG_MINUS_INFINITY:
    case TAG_INFINITY:
        value->type = SOP_KEY_DOUBLE;
        value->as.real = tag == TAG_INFINITY ? HUGE_VAL : -HUGE_VAL;
        break;
    case TAG_ZERO:
        value->type = SOP_KEY_INT64;
        value->as.int64 = 0;
        break;
    case TAG_NEGATIVE:
    case TAG_POSITIVE:
        get_number(d, tag == TAG_NEGATIVE, value);
        break;
    case TAG_STRING:
        get_value(d, SOP_KEY_STRING, tail, value);
        break;
    case TAG_BYTES:
        get_value(d, SOP_KEY_BYTES, tail, value);
        break;
    case TAG_UUID:
        get_value(d, SOP_KEY_UUID, false, value);
        break;
    case TAG_TIMESTAMP:
        get_value(d, SOP_KEY_TIMESTAMP, false, value);
        break;
    default:
        refuse(d, "it has an unknown tag");
    }
}

/* false: the field is null. */
static bool get_marker(struct decoder *d, const struct sop_key_field *field)
{
    d->flip = field->descending ? 0xFF : 0;
    if (!field->nullable) {
        return true;
    }
    uint8_t marker = get_byte(d);
    if (marker > 1) {
        refuse(d, "its null marker is neither 0 nor 1");
    }
    return marker != 0;
}

static void get_field(struct decoder *d, const struct sop_key_field *field, bool last,
                      struct sop_key_value *value)
{
    *value = (struct sop_key_value){.type = SOP_KEY_NULL};
    if (!get_marker(d, field)) {
        return;
    }
    bool tail = last && has_tail(field);
    if (field->type == SOP_KEY_ANY) {
        get_any(d, tail, value);
    } else {
        get_value(d, field->type, tail, value);
    }
}

/* values NULL: only verifies. */
static int decode(const struct sop_key_schema *schema, struct sop_slice key,
                  struct sop_key_value *values, struct sop_key_buf *scratch,
                  struct sop_err *err)
{
    struct decoder d = decoder(key, scratch);
    for (uint32_t i = 0; i < schema->fields_count; i++) {
        struct sop_key_value value;
        get_field(&d, &schema->fields[i], is_last(schema, i), &value);
        if (d.bad != NULL) {
            return SOP_ERR(err, WRONG_TYPE, "key of %zu bytes, field %" PRIu32 ": %s", key.len,
                           i, d.bad);
        }
        if (values != NULL) {
            values[i] = value;
        }
    }
    if (left(&d) != 0) {
        return SOP_ERR(err, WRONG_TYPE, "key of %zu bytes: %zu too many", key.len, left(&d));
    }
    return 0;
}

int sop_key_decode(const struct sop_key_schema *schema, struct sop_slice key,
                   struct sop_key_value *values, struct sop_key_buf *scratch,
                   struct sop_err *err)
{
    int rc = sop_key_schema_check(schema, err);
    if (rc != 0) {
        return rc;
    }
    if (schema->fields_count == 0) {
        values[0] = (struct sop_key_value){.type = SOP_KEY_BYTES, .as.bytes = key};
        return 0;
    }
    size_t start = scratch->len;
    rc = decode(schema, key, values, scratch, err);
    if (rc != 0) {
        scratch->len = start;
        return rc;
    }
    return check_room(scratch, err);
}

int sop_keycode_verify(const struct sop_key_schema *schema, struct sop_slice key,
                       struct sop_err *err)
{
    SOP_ASSERT(schema->fields_count <= SOP_KEY_FIELDS_MAX);
    return schema->fields_count == 0 ? 0 : decode(schema, key, NULL, NULL, err);
}

/* ---- delimited keys ---------------------------------------------------------------------- */

/* Where the tail of a key begins (the same in both forms), or why it has none: it has none in
 * this schema or with these values (*bad NULL), or its beginning is no key (*bad set). */
static bool find_tail(const struct sop_key_schema *schema, struct sop_slice key, size_t *at,
                      const char **bad)
{
    *bad = NULL;
    *at = 0;
    if (schema->fields_count == 0) {
        return true;
    }
    uint32_t last = schema->fields_count - 1;
    const struct sop_key_field *field = &schema->fields[last];
    if (!has_tail(field)) {
        return false;
    }
    struct decoder d = decoder(key, NULL);
    for (uint32_t i = 0; i < last; i++) {
        struct sop_key_value value;
        get_field(&d, &schema->fields[i], false, &value);
    }
    bool found = get_marker(&d, field);
    if (field->type == SOP_KEY_ANY) {
        uint8_t tag = get_byte(&d);
        found = tag == TAG_STRING || tag == TAG_BYTES;
    }
    *bad = d.bad;
    *at = key.len - left(&d);
    return found && d.bad == NULL;
}

int sop_keycode_delimit(const struct sop_key_schema *schema, struct sop_slice key, bool whole,
                        struct sop_buf *to, struct sop_err *err)
{
    size_t at;
    const char *bad;
    if (!find_tail(schema, key, &at, &bad)) {
        return sop_buf_append(to, key.data, key.len, err);
    }
    struct sop_slice tail = sop_slice(at == 0 ? key.data : key.data + at, key.len - at);
    size_t zeros = 0;
    for (size_t i = 0; i < tail.len; i++) {
        zeros += tail.data[i] == 0;
    }
    size_t needed = key.len + zeros + (whole ? 2 : 0);
    int rc = sop_buf_reserve(to, needed, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_key_buf out = {.data = to->data, .room = to->cap, .len = to->len};
    put(&out, key.data, at);
    put_escaped(&out, tail);
    if (whole) {
        put(&out, "\x00\x00", 2);
    }
    SOP_ASSERT(out.len == to->len + needed);
    to->len = out.len;
    return 0;
}

int sop_keycode_undelimit(const struct sop_key_schema *schema, struct sop_slice delimited,
                          struct sop_buf *scratch, struct sop_slice *key, struct sop_err *err)
{
    size_t at;
    const char *bad;
    *key = delimited;
    if (!find_tail(schema, delimited, &at, &bad)) {
        return bad == NULL ? 0 : SOP_ERR(err, DATA_LOSS, "stored key: %s", bad);
    }
    struct decoder d = decoder(delimited, NULL);
    d.at = at == 0 ? d.at : d.at + at;
    size_t escapes;
    size_t stored = escaped_length(&d, false, &escapes);
    if (d.bad != NULL || at + stored + 2 != delimited.len) {
        return SOP_ERR(err, DATA_LOSS, "stored key: %s",
                       d.bad != NULL ? d.bad : "bytes follow its end");
    }
    if (escapes == 0) {
        key->len -= 2;
        return 0;
    }
    sop_buf_clear(scratch);
    int rc = sop_buf_reserve(scratch, delimited.len, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_key_buf out = {.data = scratch->data, .room = scratch->cap};
    put(&out, delimited.data, at);
    d.scratch = &out;
    (void)get_escaped(&d, false);
    SOP_ASSERT(d.bad == NULL && out.len <= out.room);
    scratch->len = out.len;
    *key = sop_buf_slice(scratch);
    return 0;
}
