/* Typed keys: values <-> byte strings whose memcmp order is the order of the values.
 *
 * A store orders its items by byte strings. A schema says how such a string is made from typed
 * fields: compare field by field, each ascending or descending. A schema without fields ("raw",
 * all zero) is the user's own bytes, unchanged.
 *
 * Order inside a field, ascending:
 *   bool        false < true
 *   int64, uint64, timestamp (nanoseconds since 1970 UTC)    numerically
 *   double      numerically, infinities included; -0 becomes +0; NaN is refused
 *   uuid, bytes by memcmp, a proper prefix first
 *   string      UTF-8 (verified), by code points
 *   any         null < bool < numbers < string < bytes < uuid < timestamp. Numbers compare
 *               exactly across int64, uint64 and double; equal ones are the same key, and it
 *               comes back as int64 if it fits, else as uint64, else as double.
 * In a nullable field null comes before all values. `descending` turns everything in the field
 * around, null included.
 *
 * The functions are pure and may be called by any thread. Bytes and texts go to memory of the
 * caller; see struct sop_key_buf. */
#ifndef SOP_KEY_H
#define SOP_KEY_H

#include "sop/sop_err.h"
#include "sop/sop_types.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SOP_KEY_FIELDS_MAX 16

/* Numbers are stored and never change. */
enum sop_key_type {
    SOP_KEY_NULL = 0, /* only of values */
    SOP_KEY_BOOL = 1,
    SOP_KEY_INT64 = 2,
    SOP_KEY_UINT64 = 3,
    SOP_KEY_DOUBLE = 4,
    SOP_KEY_TIMESTAMP = 5,
    SOP_KEY_UUID = 6,
    SOP_KEY_STRING = 7,
    SOP_KEY_BYTES = 8,
    SOP_KEY_ANY = 9, /* only of fields: values of any type, null included */
};

struct sop_key_field {
    enum sop_key_type type;
    bool descending;
    bool nullable; /* not with SOP_KEY_ANY */
};

/* All zero = raw bytes. */
struct sop_key_schema {
    uint32_t fields_count; /* 0..SOP_KEY_FIELDS_MAX */
    struct sop_key_field fields[SOP_KEY_FIELDS_MAX];
};

/* One value. Which member counts is told by type; strings and bytes are borrowed. */
struct sop_key_value {
    enum sop_key_type type;
    union {
        bool boolean;
        int64_t int64;
        uint64_t uint64;
        double real;
        int64_t timestamp; /* nanoseconds since 1970-01-01T00:00:00Z */
        uint8_t uuid[16];
        struct sop_slice bytes; /* SOP_KEY_STRING and SOP_KEY_BYTES */
    } as;
};

/* Memory of the caller that is appended to from `len` on. If `room` does not suffice, the call
 * gives TOO_LARGE and len is what room would have had to be (all zero asks for the size). After
 * other errors len is as before. */
struct sop_key_buf {
    void *data;
    size_t room;
    size_t len;
};

/* Fields and types in their ranges, else INVALID. */
SOP_API int sop_key_schema_check(const struct sop_key_schema *schema,
                                 struct sop_err *err) SOP_MUST_USE;
/* "raw", or types separated by commas, each with "?" if nullable and "desc" if descending:
 * "int64, string? desc". The text ends at NUL. INVALID says where it is wrong. */
SOP_API int sop_key_schema_parse(struct sop_key_schema *schema, const char *text,
                                 struct sop_err *err) SOP_MUST_USE;
/* The text of a schema, NUL-terminated (len does not count the NUL, room must). */
SOP_API int sop_key_schema_format(const struct sop_key_schema *schema, struct sop_key_buf *text,
                                  struct sop_err *err) SOP_MUST_USE;

/* The key made of `count` values, one for each field (raw: one of type bytes or string).
 * WRONG_TYPE: number or type of a value. INVALID: NaN, or a string that is not UTF-8.
 * TOO_LARGE: see struct sop_key_buf; for a key over 64 KiB key->len is as before. */
SOP_API int sop_key_encode(const struct sop_key_schema *schema,
                           const struct sop_key_value *values, size_t count,
                           struct sop_key_buf *key, struct sop_err *err) SOP_MUST_USE;
/* What all keys begin with whose first `count` fields have these values; count may be less than
 * the number of fields, and 0. Errors as sop_key_encode(). If count is the number of fields and
 * the last is an ascending string, bytes or any, longer ones begin with it, too. */
SOP_API int sop_key_encode_prefix(const struct sop_key_schema *schema,
                                  const struct sop_key_value *values, size_t count,
                                  struct sop_key_buf *prefix, struct sop_err *err) SOP_MUST_USE;
/* The smallest byte string that is greater than every one that begins with prefix. *none: there
 * is no such (prefix is empty or all FF); nothing is appended. */
SOP_API int sop_key_prefix_end(struct sop_slice prefix, struct sop_key_buf *end, bool *none,
                               struct sop_err *err) SOP_MUST_USE;
/* Takes a key apart into values[0..max(1, fields_count)). Strings and bytes lie in the key
 * where that is possible, else in scratch (appended; room for key.len bytes always suffices).
 * WRONG_TYPE: the bytes are not a key of this schema. */
SOP_API int sop_key_decode(const struct sop_key_schema *schema, struct sop_slice key,
                           struct sop_key_value *values, struct sop_key_buf *scratch,
                           struct sop_err *err) SOP_MUST_USE;

/* A key as text for people, NUL-terminated as above: {66, "ada", 2024-01-31T12:00:00Z}; without
 * braces if there is one field. sop_key_parse() reads it back. WRONG_TYPE as decode. NOMEM (it
 * needs a copy of the key). */
SOP_API int sop_key_format(const struct sop_key_schema *schema, struct sop_slice key,
                           struct sop_key_buf *text, struct sop_err *err) SOP_MUST_USE;
/* Values from text, NUL-terminated: null true false, numbers, inf -inf, "quoted" (with \" \\ \n
 * \r \t \xHH \uHHHH), 0x hex for bytes, UUIDs, RFC 3339 timestamps. In a field of type string
 * or bytes quotes may be left out where that is clear; the text of a single such field without
 * quotes is taken whole. *count = values found, 0..max(1, fields_count); values needs that
 * room. Fewer than fields are good for sop_key_encode_prefix(). Strings and bytes lie in
 * scratch (room for strlen(text) always suffices). INVALID says where the text is wrong. */
SOP_API int sop_key_parse(const struct sop_key_schema *schema, const char *text,
                          struct sop_key_value *values, size_t *count,
                          struct sop_key_buf *scratch, struct sop_err *err) SOP_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
