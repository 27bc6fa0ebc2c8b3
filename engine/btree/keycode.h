/* Typed keys inside the engine: what include/sop/sop_key.h does not show.
 *
 * A *user key* is what sop_key_encode() makes: a last string, bytes or any (ascending) lies raw
 * at its end. In a non-unique store an item id is appended, so there the end must be told:
 * the *delimited* form has that tail escaped and terminated, like the same field in the middle
 * of a key. The order of delimited keys is that of user keys, and none is a prefix of another.
 * All other keys delimit themselves: both forms are the same bytes. Any thread. */
#ifndef SOP_KEYCODE_H
#define SOP_KEYCODE_H

#include "engine/base/base.h"
#include "sop/sop_key.h"

/* Whether user keys and delimited keys differ: the schema is raw or ends with such a tail. */
bool sop_keycode_has_tail(const struct sop_key_schema *schema);

/* 0, or WRONG_TYPE if the bytes are not a user key of the schema; costs nothing for raw. */
int sop_keycode_verify(const struct sop_key_schema *schema, struct sop_slice key,
                       struct sop_err *err) SOP_MUST_USE;

/* Appends the delimited form of a user key. `whole` false: key is the bound of a range, any
 * byte string (perhaps only the beginning of a key), and no terminator is written: delimited
 * keys are >= the result exactly if their user keys are >= key; prefixes stay prefixes. NOMEM:
 * *to is as before. */
int sop_keycode_delimit(const struct sop_key_schema *schema, struct sop_slice key, bool whole,
                        struct sop_buf *to, struct sop_err *err) SOP_MUST_USE;
/* The user key of a delimited one (without item id). *key lies in `delimited` if that is
 * possible, else in scratch (replaced). DATA_LOSS: not a delimited key (it came from a volume).
 * NOMEM. */
int sop_keycode_undelimit(const struct sop_key_schema *schema, struct sop_slice delimited,
                          struct sop_buf *scratch, struct sop_slice *key,
                          struct sop_err *err) SOP_MUST_USE;

/* A schema as stored in the catalog: u8 version (1), u8 fields_count, then per field u8 type,
 * u8 flags (1 descending, 2 nullable). */
#define SOP_KEY_SCHEMA_BYTES_MAX (2u + 2u * SOP_KEY_FIELDS_MAX)
/* Appends. The schema is a checked one. NOMEM. */
int sop_key_schema_encode(const struct sop_key_schema *schema, struct sop_buf *to,
                          struct sop_err *err) SOP_MUST_USE;
/* All of `from`. VERSION: of a newer release. DATA_LOSS: not a schema. */
int sop_key_schema_decode(struct sop_slice from, struct sop_key_schema *schema,
                          struct sop_err *err) SOP_MUST_USE;

#endif
