/* NDJSON for sopctl load: one object per line.
 *
 * Strings are stored as the text they mean and {"base64": "..."} as its bytes. Every other
 * value (number, true, list, object, ...) is stored as it is written in the file, to the
 * byte: 1.10 stays 1.10, and no number is too long. An object of the members beside the key's
 * is put together from their texts.
 *
 * Nothing of a line is dropped without a word: a member that would not be stored is refused,
 * unless --value-column says which one the value is. Keys are single values: a list stands for
 * the fields of a typed key only, and what is a list or an object otherwise is no key. */
#include "cli/jsontext.h"
#include "cli/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SHOWN 60u /* bytes of a name in an error */

/* What the slices of an item point into, where it is not the line. */
struct held {
    uint8_t *bytes[SOP_LOAD_FIELDS_MAX + 2];
    size_t count;
};

/* One line. */
struct line {
    struct sop_load *load;
    struct sop_slice text;
    struct sop_slice object;
    uint64_t number;
    struct held held;
};

static void hold(struct line *l, uint8_t *take)
{
    l->held.bytes[l->held.count] = take;
    l->held.count += take != NULL;
}

static void held_fini(struct held *h)
{
    for (size_t i = 0; i < h->count; i++) {
        free(h->bytes[i]);
    }
}

static int complain_at(struct line *l, const uint8_t *place, const char *problem)
{
    return SOP_ERR(&l->load->ctl->err, INVALID, "line %" PRIu64 ", character %zu: %s",
                   l->number, (size_t)(place - l->text.data) + 1, problem);
}

/* A checked string in quotes. */
static int string_bytes(struct line *l, struct sop_slice string, struct sop_slice *bytes)
{
    uint8_t *take;
    if (!sop_jsontext__string(string, bytes, &take)) {
        return complain_at(l, string.data, "half of a surrogate pair stands alone");
    }
    hold(l, take);
    return 0;
}

static int is_name(struct line *l, struct sop_slice string, const char *name, bool *same)
{
    uint8_t *take;
    struct sop_slice bytes;
    if (!sop_jsontext__string(string, &bytes, &take)) {
        return complain_at(l, string.data, "half of a surrogate pair stands alone");
    }
    *same = bytes.len == strlen(name) && memcmp(bytes.data, name, bytes.len) == 0;
    free(take);
    return 0;
}

/* The member of the line's object with this name; value->data NULL if there is none. */
static int find(struct line *l, const char *name, struct sop_slice *value)
{
    struct sop_slice found, string;
    size_t at = 0;
    *value = (struct sop_slice){NULL, 0};
    while (sop_jsontext__next(l->object, &at, &string, &found)) {
        bool same;
        int rc = is_name(l, string, name, &same);
        if (rc != 0) {
            return rc;
        }
        if (same && value->data != NULL) {
            return SOP_ERR(&l->load->ctl->err, INVALID,
                           "line %" PRIu64 ": the member '%s' is there twice", l->number, name);
        }
        if (same) {
            *value = found;
        }
    }
    return 0;
}

static int find_needed(struct line *l, const char *name, struct sop_slice *value)
{
    int rc = find(l, name, value);
    return rc == 0 && value->data == NULL
               ? SOP_ERR(&l->load->ctl->err, INVALID,
                         "line %" PRIu64 ": there is no member '%s'", l->number, name)
               : rc;
}

/* True for {"base64": "..."} and nothing else in it. */
static bool is_base64(struct line *l, struct sop_slice object, struct sop_slice *bytes)
{
    struct sop_slice name, value;
    size_t at = 0;
    static const char wanted[] = "\"base64\"";
    if (!sop_jsontext__next(object, &at, &name, &value) || name.len != sizeof wanted - 1 ||
        memcmp(name.data, wanted, name.len) != 0 || value.data[0] != '"') {
        return false;
    }
    struct sop_slice more;
    uint8_t *decoded =
        sop_out__base64_decode((const char *)value.data + 1, value.len - 2, &bytes->len);
    if (decoded == NULL || sop_jsontext__next(object, &at, &name, &more)) {
        free(decoded);
        return false;
    }
    bytes->data = decoded;
    hold(l, decoded);
    return true;
}

/* What is stored of a value. */
static int value_bytes(struct line *l, struct sop_slice value, struct sop_slice *bytes)
{
    if (value.data[0] == '"') {
        return string_bytes(l, value, bytes);
    }
    if (value.data[0] != '{' || !is_base64(l, value, bytes)) {
        *bytes = value;
    }
    return 0;
}

/* The object of all members that are not of the key, without the blanks between them. */
static int rest_bytes(struct line *l, struct sop_slice *bytes)
{
    const struct sop_load_columns *c = &l->load->columns;
    uint8_t *text = malloc(l->object.len + 2);
    if (text == NULL) {
        return SOP_ERR(&l->load->ctl->err, NOMEM, "hold a value");
    }
    hold(l, text);
    struct sop_slice name, value;
    size_t at = 0, len = 0;
    text[len++] = '{';
    while (sop_jsontext__next(l->object, &at, &name, &value)) {
        bool of_key = false;
        for (size_t i = 0; i < c->keys && !of_key; i++) {
            int rc = is_name(l, name, c->key[i], &of_key);
            if (rc != 0) {
                return rc;
            }
        }
        if (of_key) {
            continue;
        }
        if (len > 1) {
            text[len++] = ',';
        }
        memcpy(text + len, name.data, name.len);
        len += name.len;
        text[len++] = ':';
        memcpy(text + len, value.data, value.len);
        len += value.len;
    }
    text[len++] = '}';
    *bytes = (struct sop_slice){text, len};
    return 0;
}

static int take_value(struct line *l, struct sop_load_item *item)
{
    const struct sop_load_columns *c = &l->load->columns;
    const char *name = c->value != NULL ? c->value : "value";
    bool optional = c->value == NULL && c->given;
    struct sop_slice value;
    int rc = optional ? find(l, name, &value) : find_needed(l, name, &value);
    if (rc != 0) {
        return rc;
    }
    return value.data != NULL ? value_bytes(l, value, &item->value)
                              : rest_bytes(l, &item->value);
}

/* A list or an object has more than one way to be written, so as bytes of a key it would be
 * found again by chance only. */
static int take_key_value(struct line *l, struct sop_slice value, struct sop_slice *bytes)
{
    uint8_t first = value.data[0];
    if (first == '[' || (first == '{' && !is_base64(l, value, bytes))) {
        bool raw = l->load->info.options.key.fields_count == 0;
        return complain_at(l, value.data,
                           raw ? "the keys of this store are raw bytes: write a string, a "
                                 "number or {\"base64\":\"...\"}, not a list or an object"
                               : "a field of the key is a string, a number, true, false or "
                                 "{\"base64\":\"...\"}, not a list or an object");
    }
    return first == '{' ? 0 : value_bytes(l, value, bytes);
}

/* One field of the key. Null is null where the schema has it, and an error elsewhere. */
static int take_field(struct line *l, struct sop_slice field, struct sop_load_item *item)
{
    const struct sop_key_schema *schema = &l->load->info.options.key;
    if (item->keys == SOP_LOAD_FIELDS_MAX) {
        return sop_load__complain(l->load, l->number, "the key has too many fields");
    }
    size_t i = item->keys++;
    if (field.data[0] == 'n' && !item->whole) {
        item->key[i] = (struct sop_slice){NULL, 0};
        return i < schema->fields_count && schema->fields[i].nullable
                   ? 0
                   : complain_at(l, field.data, "a field of the key is null");
    }
    return take_key_value(l, field, &item->key[i]);
}

/* The key is the member 'key' (a list has a field in each place), or --key-columns. */
static int take_key(struct line *l, struct sop_load_item *item)
{
    const struct sop_load_columns *c = &l->load->columns;
    item->whole = sop_load__whole(l->load, c->keys);
    for (size_t i = 0; i < c->keys; i++) {
        struct sop_slice key;
        int rc = find_needed(l, c->key[i], &key);
        if (rc != 0) {
            return rc;
        }
        if (c->given || key.data[0] != '[' || l->load->info.options.key.fields_count == 0) {
            rc = take_field(l, key, item);
        } else {
            struct sop_slice name, field;
            size_t at = 0;
            item->whole = false;
            while (rc == 0 && sop_jsontext__next(key, &at, &name, &field)) {
                rc = take_field(l, field, item);
            }
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* Is this one of the members that are stored? */
static int is_stored(struct line *l, struct sop_slice name, bool *stored)
{
    const struct sop_load_columns *c = &l->load->columns;
    int rc = is_name(l, name, "value", stored);
    if (rc == 0 && !*stored && !c->given) {
        rc = is_name(l, name, "ride", stored);
    }
    for (size_t i = 0; i < c->keys && rc == 0 && !*stored; i++) {
        rc = is_name(l, name, c->key[i], stored);
    }
    return rc;
}

/* Refuses a line with a member that would be dropped. */
static int check_members(struct line *l)
{
    const struct sop_load_columns *c = &l->load->columns;
    struct sop_slice name, value;
    size_t at = 0;
    while (sop_jsontext__next(l->object, &at, &name, &value)) {
        bool stored = false;
        int rc = is_stored(l, name, &stored);
        if (rc == 0 && !stored) {
            rc = SOP_ERR(
                &l->load->ctl->err, INVALID,
                "line %" PRIu64 ", character %zu: the member %.*s would not be "
                "stored: an item has %s; leave it out, or say --value-column to load "
                "that member and leave out all others%s",
                l->number, (size_t)(name.data - l->text.data) + 1,
                (int)(name.len < NAME_SHOWN ? name.len : NAME_SHOWN), (const char *)name.data,
                c->given ? "the members of the key and 'value'" : "'key', 'value' and 'ride'",
                c->given ? "" : ", or --key-columns to make an object of the others");
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* Without 'value' the rest of the object is the value, and nothing is left over. */
static int check_nothing_is_dropped(struct line *l)
{
    const struct sop_load_columns *c = &l->load->columns;
    struct sop_slice value = {NULL, 0};
    if (c->value != NULL) {
        return 0;
    }
    int rc = c->given ? find(l, "value", &value) : 0;
    return rc != 0 || (c->given && value.data == NULL) ? rc : check_members(l);
}

static int take_object(struct line *l)
{
    struct sop_load_item item = {.line = l->number};
    int rc = take_key(l, &item);
    if (rc == 0 && !l->load->columns.given) {
        struct sop_slice ride;
        rc = find(l, "ride", &ride);
        if (rc == 0 && ride.data != NULL) {
            rc = value_bytes(l, ride, &item.ride);
        }
    }
    if (rc == 0) {
        rc = take_value(l, &item);
    }
    if (rc == 0) {
        rc = check_nothing_is_dropped(l);
    }
    return rc == 0 ? sop_load__item(l->load, &item) : rc;
}

static int take_line(struct sop_load *load, struct sop_slice text, uint64_t number)
{
    while (text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]) != NULL &&
           text.data[text.len - 1] != 0) {
        text.len--;
    }
    if (text.len == 0 || sop_load__skips(load)) {
        return 0;
    }
    struct line l = {.load = load, .text = text, .number = number};
    size_t at = 0;
    const char *problem = sop_jsontext__check(text, &l.object, &at);
    if (problem != NULL) {
        return complain_at(&l, text.data + at, problem);
    }
    if (l.object.data[0] != '{') {
        return sop_load__complain(load, number, "not a JSON object");
    }
    int rc = take_object(&l);
    held_fini(&l.held);
    return rc;
}

int sop_load__ndjson(struct sop_load *load)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t len;
    uint64_t line = 0;
    int rc = 0;
    while (rc == 0 && (len = getline(&text, &room, load->from)) > 0) {
        load->bytes_read += (uint64_t)len;
        rc = take_line(load, (struct sop_slice){(uint8_t *)text, (size_t)len}, ++line);
    }
    free(text);
    if (rc == 0 && ferror(load->from)) {
        rc = SOP_ERR_SYS(&load->ctl->err, IO, errno, "read the file");
    }
    return rc;
}
