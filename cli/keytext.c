/* Keys and values as people write them.
 *
 * Raw keys are their bytes (or hex or base64 of them on the command line). Typed keys are texts
 * of sop_key_parse() and sop_key_format(); around the fields of a composite key the braces may
 * be left out. In files each field stands alone: strings and bytes as they are, other types as
 * text; an empty field is null where null is allowed. In JSON a key is a value, or a list of
 * values. Keys with nullable fields or fields of any type are always in the text of
 * sop_key_format(), so that nothing is lost. */
#include "cli/ctl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_SHOWN 100u /* bytes of a key in an error, as sop_key_parse() shows */

/* ---- bytes of the command line ------------------------------------------------------------
 */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static int decode_hex(const char *text, struct sop_ctl_buf *to, struct sop_err *err)
{
    size_t len = strlen(text);
    int rc = sop_ctl__buf_room(to, len / 2 + 1, err);
    for (size_t i = 0; i < len && rc == 0; i += 2) {
        int high = hex_digit(text[i]);
        int low = hex_digit(text[i + 1]); /* NUL at an odd end: not a digit */
        if (high < 0 || low < 0) {
            return SOP_ERR(err, INVALID,
                           "'%s' is not pairs of hex digits: character %zu is not one", text,
                           high < 0 ? i + 1 : i + 2);
        }
        to->data[to->len++] = (uint8_t)(high << 4 | low);
    }
    return rc;
}

int sop_ctl__decode(struct sop_ctl *ctl, const char *text, struct sop_ctl_buf *to)
{
    const char *code = ctl->args->text[OPT_ENCODING];
    if (code == NULL || code[0] == 't') {
        /* Room even for nothing: NULL means "no bound" to ranges. */
        int rc = sop_ctl__buf_room(to, 1, &ctl->err);
        return rc == 0 ? sop_ctl__buf_add(to, sop_ctl__slice(text), &ctl->err) : rc;
    }
    if (code[0] == 'h') {
        return decode_hex(text, to, &ctl->err);
    }
    struct sop_slice bytes;
    uint8_t *decoded = sop_out__base64_decode(text, strlen(text), &bytes.len);
    if (decoded == NULL) {
        return SOP_ERR(&ctl->err, INVALID, "'%s' is not base64", text);
    }
    bytes.data = decoded;
    int rc = sop_ctl__buf_room(to, 1, &ctl->err);
    if (rc == 0) {
        rc = sop_ctl__buf_add(to, bytes, &ctl->err);
    }
    free(decoded);
    return rc;
}

bool sop_ctl__encodes(const struct sop_ctl *ctl)
{
    const char *code = ctl->args->text[OPT_ENCODING];
    return code != NULL && code[0] != 't';
}

int sop_ctl__encode(struct sop_ctl *ctl, struct sop_slice bytes, struct sop_ctl_buf *to)
{
    static const char digits[] = "0123456789abcdef";
    to->len = 0;
    if (!sop_ctl__encodes(ctl)) {
        return sop_ctl__buf_add(to, bytes, &ctl->err);
    }
    if (ctl->args->text[OPT_ENCODING][0] == 'h') {
        int rc = sop_ctl__buf_room(to, 2 * bytes.len + 1, &ctl->err);
        for (size_t i = 0; i < bytes.len && rc == 0; i++) {
            to->data[to->len++] = (uint8_t)digits[bytes.data[i] >> 4];
            to->data[to->len++] = (uint8_t)digits[bytes.data[i] & 15];
        }
        return rc;
    }
    char *text = sop_out__base64(bytes);
    if (text == NULL) {
        return SOP_ERR(&ctl->err, NOMEM, "base64 of %zu bytes", bytes.len);
    }
    int rc = sop_ctl__buf_add(to, sop_ctl__slice(text), &ctl->err);
    free(text);
    return rc;
}

/* ---- typed keys from text ------------------------------------------------------------------
 */

/* Values parsed from one text, with the memory they lie in. */
struct parsed {
    struct sop_key_value values[SOP_KEY_FIELDS_MAX];
    size_t count;
    struct sop_ctl_buf text, scratch;
};

static void parsed_fini(struct parsed *p)
{
    sop_ctl__buf_fini(&p->text);
    sop_ctl__buf_fini(&p->scratch);
}

static int parse(const struct sop_key_schema *schema, struct sop_slice text, struct parsed *p,
                 struct sop_err *err)
{
    memset(p, 0, sizeof *p);
    int rc = sop_ctl__buf_room(&p->text, text.len + 1, err);
    if (rc == 0) {
        rc = sop_ctl__buf_room(&p->scratch, 2 * text.len + 16, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (text.len > 0 && memchr(text.data, '\0', text.len) != NULL) {
        return SOP_ERR(err, INVALID, "a key of this type has no zero bytes in its text");
    }
    if (text.len > 0) {
        memcpy(p->text.data, text.data, text.len);
    }
    p->text.data[text.len] = 0;
    struct sop_key_buf scratch = {p->scratch.data, p->scratch.room, 0};
    return sop_key_parse(schema, (char *)p->text.data, p->values, &p->count, &scratch, err);
}

typedef int (*encode_fn)(const struct sop_key_schema *schema,
                         const struct sop_key_value *values, size_t count,
                         struct sop_key_buf *key, struct sop_err *err);

/* Appends what encode makes to `to`. */
static int append(encode_fn encode, const struct sop_key_schema *schema,
                  const struct sop_key_value *values, size_t count, struct sop_ctl_buf *to,
                  struct sop_err *err)
{
    int rc = sop_ctl__buf_room(to, 128, err);
    for (int turn = 0; turn < 2 && rc == 0; turn++) {
        struct sop_key_buf key = {to->data + to->len, to->room - to->len, 0};
        rc = encode(schema, values, count, &key, err);
        if (rc == 0) {
            to->len += key.len;
            return 0;
        }
        if (rc == SOP_ERR_TOO_LARGE && key.len > key.room && turn == 0) {
            rc = sop_ctl__buf_room(to, key.len, err);
        }
    }
    return rc;
}

int sop_ctl__key_whole(const struct sop_store_info *info, struct sop_slice text,
                       struct sop_ctl_buf *to, struct sop_err *err)
{
    const struct sop_key_schema *schema = &info->options.key;
    if (schema->fields_count == 0) {
        return sop_ctl__buf_add(to, text, err);
    }
    struct parsed p;
    int rc = parse(schema, text, &p, err);
    if (rc == 0 && p.count < schema->fields_count) {
        rc = SOP_ERR(err, INVALID, "key \"%.*s\": it has %zu of the %u fields",
                     (int)(text.len < TEXT_SHOWN ? text.len : TEXT_SHOWN),
                     (const char *)text.data, p.count, (unsigned)schema->fields_count);
    }
    if (rc == 0) {
        rc = append(sop_key_encode, schema, p.values, p.count, to, err);
    }
    parsed_fini(&p);
    return rc;
}

/* What the parser says shows the text and the place in it; here comes what was wanted. */
static int wrap_key(struct sop_ctl *ctl, const struct sop_store_info *info, int rc)
{
    char schema[256];
    if (rc != SOP_ERR_INVALID && rc != SOP_ERR_WRONG_TYPE) {
        return rc;
    }
    sop_ctl__schema_text(&info->options.key, schema, sizeof schema);
    rc = sop_err_wrap(&ctl->err, SOP_ERR_INVALID, "keys of store '%s' are of type %s",
                      info->name, schema);
    ctl->err.code = rc;
    return rc;
}

int sop_ctl__key(struct sop_ctl *ctl, const struct sop_store_info *info, const char *text,
                 struct sop_ctl_buf *to)
{
    if (info->options.key.fields_count == 0) {
        return sop_ctl__decode(ctl, text, to);
    }
    int rc = sop_ctl__key_whole(info, sop_ctl__slice(text), to, &ctl->err);
    return wrap_key(ctl, info, rc);
}

/* Encodes a text of all fields or of the first ones. */
static int key_part(struct sop_ctl *ctl, const struct sop_store_info *info, const char *text,
                    bool prefix, struct sop_ctl_buf *to, bool *whole)
{
    const struct sop_key_schema *schema = &info->options.key;
    *whole = true;
    if (schema->fields_count == 0) {
        return sop_ctl__decode(ctl, text, to);
    }
    struct parsed p;
    int rc = parse(schema, sop_ctl__slice(text), &p, &ctl->err);
    if (rc == 0) {
        *whole = p.count == schema->fields_count;
        rc = append(*whole && !prefix ? sop_key_encode : sop_key_encode_prefix, schema,
                    p.values, p.count, to, &ctl->err);
    }
    parsed_fini(&p);
    return wrap_key(ctl, info, rc);
}

int sop_ctl__key_prefix(struct sop_ctl *ctl, const struct sop_store_info *info,
                        const char *text, struct sop_ctl_buf *to)
{
    bool whole;
    return key_part(ctl, info, text, true, to, &whole);
}

int sop_ctl__key_bound(struct sop_ctl *ctl, const struct sop_store_info *info, const char *text,
                       struct sop_ctl_buf *to, bool *whole)
{
    return key_part(ctl, info, text, false, to, whole);
}

int sop_ctl__key_fields(const struct sop_store_info *info, const struct sop_slice *fields,
                        size_t count, struct sop_ctl_buf *to, struct sop_err *err)
{
    const struct sop_key_schema *schema = &info->options.key;
    if (schema->fields_count == 0 && count == 1) {
        return sop_ctl__buf_add(to, fields[0], err);
    }
    if (count != schema->fields_count) {
        return SOP_ERR(err, INVALID, "the store's key has %u fields, not %zu",
                       (unsigned)(schema->fields_count > 0 ? schema->fields_count : 1), count);
    }
    struct sop_key_value values[SOP_KEY_FIELDS_MAX];
    struct parsed parsed[SOP_KEY_FIELDS_MAX];
    size_t used = 0;
    int rc = 0;
    for (; used < count && rc == 0; used++) {
        struct sop_key_field field = schema->fields[used];
        memset(&parsed[used], 0, sizeof parsed[used]);
        if (field.nullable && fields[used].data == NULL) {
            values[used].type = SOP_KEY_NULL;
        } else if (field.type == SOP_KEY_STRING || field.type == SOP_KEY_BYTES) {
            values[used].type = field.type;
            values[used].as.bytes = fields[used];
        } else {
            struct sop_key_schema single = {.fields_count = 1, .fields = {field}};
            rc = parse(&single, fields[used], &parsed[used], err);
            values[used] = parsed[used].values[0];
            if (rc == 0 && parsed[used].count != 1) {
                rc = SOP_ERR(err, INVALID, "it is empty");
            }
            if (rc != 0 && count > 1) {
                rc = sop_err_wrap(err, rc, "field %zu of the key", used + 1);
            }
        }
    }
    if (rc == 0) {
        rc = append(sop_key_encode, schema, values, count, to, err);
    }
    for (size_t i = 0; i < used; i++) {
        parsed_fini(&parsed[i]);
    }
    return rc;
}

/* ---- text from typed keys ------------------------------------------------------------------
 */

bool sop_ctl__schema_plain(const struct sop_key_schema *schema)
{
    for (uint32_t i = 0; i < schema->fields_count; i++) {
        if (schema->fields[i].nullable || schema->fields[i].type == SOP_KEY_ANY) {
            return false;
        }
    }
    return true;
}

static int format(const struct sop_key_schema *schema, struct sop_slice key,
                  struct sop_ctl_buf *to, struct sop_err *err)
{
    int rc = sop_ctl__buf_room(to, 128, err);
    for (int turn = 0; turn < 2 && rc == 0; turn++) {
        struct sop_key_buf text = {to->data + to->len, to->room - to->len, 0};
        rc = sop_key_format(schema, key, &text, err);
        if (rc == 0) {
            to->len += text.len;
            return 0;
        }
        if (rc == SOP_ERR_TOO_LARGE && turn == 0) {
            rc = sop_ctl__buf_room(to, text.len + 1, err);
        }
    }
    return rc;
}

/* One value of a plain field as text of its own. */
static int value_text(const struct sop_key_value *value, struct sop_ctl_buf *to,
                      struct sop_err *err)
{
    if (value->type == SOP_KEY_STRING || value->type == SOP_KEY_BYTES) {
        return sop_ctl__buf_add(to, value->as.bytes, err);
    }
    struct sop_key_schema single = {.fields_count = 1};
    single.fields[0].type = value->type;
    uint8_t bytes[64];
    struct sop_key_buf key = {bytes, sizeof bytes, 0};
    int rc = sop_key_encode(&single, value, 1, &key, err);
    return rc == 0 ? format(&single, (struct sop_slice){bytes, key.len}, to, err) : rc;
}

static int decode(const struct sop_key_schema *schema, struct sop_slice key,
                  struct sop_key_value *values, struct sop_ctl_buf *scratch,
                  struct sop_err *err)
{
    scratch->len = 0;
    int rc = sop_ctl__buf_room(scratch, key.len + 1, err);
    struct sop_key_buf room = {scratch->data, scratch->room, 0};
    return rc == 0 ? sop_key_decode(schema, key, values, &room, err) : rc;
}

int sop_ctl__key_text(const struct sop_store_info *info, struct sop_slice key,
                      struct sop_ctl_buf *to, struct sop_err *err)
{
    const struct sop_key_schema *schema = &info->options.key;
    to->len = 0;
    if (schema->fields_count == 0) {
        return sop_ctl__buf_add(to, key, err);
    }
    if (schema->fields_count > 1 || !sop_ctl__schema_plain(schema)) {
        return format(schema, key, to, err);
    }
    struct sop_key_value value;
    struct sop_ctl_buf scratch = {0};
    int rc = decode(schema, key, &value, &scratch, err);
    if (rc == 0) {
        rc = value_text(&value, to, err);
    }
    sop_ctl__buf_fini(&scratch);
    return rc;
}

int sop_ctl__key_columns(const struct sop_key_schema *schema, struct sop_slice key,
                         struct sop_ctl_buf *to, size_t *ends, struct sop_err *err)
{
    struct sop_key_value values[SOP_KEY_FIELDS_MAX];
    struct sop_ctl_buf scratch = {0};
    to->len = 0;
    int rc = decode(schema, key, values, &scratch, err);
    for (uint32_t i = 0; i < schema->fields_count && rc == 0; i++) {
        rc = value_text(&values[i], to, err);
        ends[i] = to->len;
    }
    sop_ctl__buf_fini(&scratch);
    return rc;
}

/* ---- JSON -----------------------------------------------------------------------------------
 */

/* Text of a value that JSON has no type for. */
static json_t *text_json(const struct sop_key_value *value, struct sop_err *err)
{
    struct sop_ctl_buf text = {0};
    json_t *out =
        value_text(value, &text, err) == 0 ? sop_out__bytes(sop_ctl__buf_slice(&text)) : NULL;
    sop_ctl__buf_fini(&text);
    return out;
}

static json_t *value_json(const struct sop_key_value *value, struct sop_err *err)
{
    switch (value->type) {
    case SOP_KEY_BOOL:
        return json_boolean(value->as.boolean);
    case SOP_KEY_INT64:
        return json_integer(value->as.int64);
    case SOP_KEY_UINT64:
        return value->as.uint64 <= INT64_MAX ? json_integer((json_int_t)value->as.uint64)
                                             : text_json(value, err);
    case SOP_KEY_DOUBLE:
        return isfinite(value->as.real) ? json_real(value->as.real) : text_json(value, err);
    case SOP_KEY_NULL:
    case SOP_KEY_TIMESTAMP:
    case SOP_KEY_UUID:
    case SOP_KEY_ANY:
        return text_json(value, err);
    case SOP_KEY_STRING:
    case SOP_KEY_BYTES:
        break;
    }
    return sop_out__bytes(value->as.bytes);
}

static int key_json(const struct sop_key_schema *schema, struct sop_slice key,
                    struct sop_ctl_buf *scratch, json_t **out, struct sop_err *err)
{
    struct sop_key_value values[SOP_KEY_FIELDS_MAX];
    *out = NULL;
    if (schema->fields_count == 0) {
        *out = sop_out__bytes(key);
    } else if (!sop_ctl__schema_plain(schema)) {
        scratch->len = 0;
        int rc = format(schema, key, scratch, err);
        if (rc != 0) {
            return rc;
        }
        *out = sop_out__bytes(sop_ctl__buf_slice(scratch));
    } else {
        int rc = decode(schema, key, values, scratch, err);
        if (rc != 0) {
            return rc;
        }
        if (schema->fields_count == 1) {
            *out = value_json(&values[0], err);
        } else {
            *out = json_array();
            for (uint32_t i = 0; i < schema->fields_count; i++) {
                json_array_append_new(*out, value_json(&values[i], err));
            }
        }
    }
    return *out != NULL ? 0 : SOP_ERR(err, NOMEM, "make JSON of a key");
}

int sop_ctl__item_json(const struct sop_store_info *info, const struct sop_view *view,
                       bool keys_only, struct sop_ctl_buf *scratch, json_t **out,
                       struct sop_err *err)
{
    json_t *key;
    int rc = key_json(&info->options.key, view->key, scratch, &key, err);
    if (rc != 0) {
        return rc;
    }
    json_t *item = json_pack("{s:o}", "key", key);
    if (item != NULL && view->ride.len > 0) {
        json_object_set_new(item, "ride", sop_out__bytes(view->ride));
    }
    if (item != NULL && !keys_only) {
        json_object_set_new(item, "value", sop_out__bytes(view->value));
    }
    *out = item;
    return item != NULL ? 0 : SOP_ERR(err, NOMEM, "make JSON of an item");
}

/* ---- schemas --------------------------------------------------------------------------------
 */

int sop_ctl__schema_parse(const char *text, struct sop_key_schema *schema, struct sop_err *err)
{
    int rc = sop_key_schema_parse(schema, text, err);
    return rc != 0 ? sop_err_wrap(err, rc, "--key '%s'", text) : 0;
}

void sop_ctl__schema_text(const struct sop_key_schema *schema, char *text, size_t bytes)
{
    struct sop_key_buf buf = {text, bytes, 0};
    if (sop_key_schema_format(schema, &buf, NULL) != 0) {
        snprintf(text, bytes, "?");
    }
}
