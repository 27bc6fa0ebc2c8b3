/* NDJSON for sopctl load: one object per line. */
#include "cli/load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What the slices of an item point into. */
struct held {
    uint8_t *bytes[SOP_LOAD_FIELDS_MAX + 2];
    size_t count;
};

static void held_fini(struct held *h)
{
    for (size_t i = 0; i < h->count; i++) {
        free(h->bytes[i]);
    }
}

/* A member as bytes: strings and {"base64"} as they are, other JSON as its text. */
static bool member_bytes(const json_t *value, struct sop_slice *bytes, struct held *h)
{
    uint8_t *take;
    if (sop_out__bytes_from(value, bytes, &take)) {
        h->bytes[h->count] = take;
        h->count += take != NULL;
        return true;
    }
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL) {
        return false;
    }
    *bytes = sop_ctl__slice(text);
    h->bytes[h->count++] = (uint8_t *)text;
    return true;
}

static int take_value(struct sop_load *load, json_t *object, struct sop_load_item *item,
                      struct held *h)
{
    const struct sop_load_columns *c = &load->columns;
    const char *name = c->value != NULL ? c->value : "value";
    const json_t *value = json_object_get(object, name);
    if (value == NULL && (c->value != NULL || !c->given)) {
        return SOP_ERR(&load->ctl->err, INVALID, "line %llu: there is no member '%s'",
                       (unsigned long long)item->line, name);
    }
    bool ok;
    if (value != NULL) {
        ok = member_bytes(value, &item->value, h);
    } else {
        for (size_t i = 0; i < c->keys; i++) {
            json_object_del(object, c->key[i]);
        }
        ok = member_bytes(object, &item->value, h);
    }
    return ok ? 0 : SOP_ERR(&load->ctl->err, NOMEM, "hold a value");
}

/* One field of the key. Null is null where the schema has it, and an error elsewhere. */
static int take_field(struct sop_load *load, const json_t *field, struct sop_load_item *item,
                      struct held *h)
{
    const struct sop_key_schema *schema = &load->info.options.key;
    size_t i = item->keys++;
    if (json_is_null(field) && !item->whole) {
        item->key[i] = (struct sop_slice){NULL, 0};
        return i < schema->fields_count && schema->fields[i].nullable
                   ? 0
                   : sop_load__complain(load, item->line, "a field of the key is null");
    }
    return member_bytes(field, &item->key[i], h)
               ? 0
               : SOP_ERR(&load->ctl->err, NOMEM, "hold a key");
}

/* The key is the member 'key' (a list has a field in each place), or --key-columns. */
static int take_key(struct sop_load *load, const json_t *object, struct sop_load_item *item,
                    struct held *h)
{
    const struct sop_load_columns *c = &load->columns;
    item->whole = sop_load__whole(load, c->keys);
    for (size_t i = 0; i < c->keys; i++) {
        const json_t *key = json_object_get(object, c->key[i]);
        if (key == NULL) {
            return SOP_ERR(&load->ctl->err, INVALID, "line %llu: there is no member '%s'",
                           (unsigned long long)item->line, c->key[i]);
        }
        bool list = !c->given && json_is_array(key);
        size_t fields = list ? json_array_size(key) : 1;
        item->whole = item->whole && !list;
        if (fields > SOP_LOAD_FIELDS_MAX) {
            return sop_load__complain(load, item->line, "the key has too many fields");
        }
        for (size_t k = 0; k < fields; k++) {
            int rc = take_field(load, list ? json_array_get(key, k) : key, item, h);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

static int take_object(struct sop_load *load, json_t *object, uint64_t line, struct held *h)
{
    struct sop_load_item item = {.line = line};
    int rc = take_key(load, object, &item, h);
    if (rc != 0) {
        return rc;
    }
    const json_t *ride = load->columns.given ? NULL : json_object_get(object, "ride");
    if (ride != NULL && !member_bytes(ride, &item.ride, h)) {
        return SOP_ERR(&load->ctl->err, NOMEM, "hold ride-on bytes");
    }
    rc = take_value(load, object, &item, h);
    return rc == 0 ? sop_load__item(load, &item) : rc;
}

static int take_line(struct sop_load *load, const char *text, size_t len, uint64_t line)
{
    size_t blank = strspn(text, " \t\r\n");
    if (blank >= len || sop_load__skips(load)) {
        return 0;
    }
    json_error_t problem;
    json_t *object = json_loadb(text, len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &problem);
    if (object == NULL) {
        return sop_load__complain(load, line, problem.text);
    }
    if (!json_is_object(object)) {
        json_decref(object);
        return sop_load__complain(load, line, "not a JSON object");
    }
    struct held h = {.count = 0};
    int rc = take_object(load, object, line, &h);
    held_fini(&h);
    json_decref(object);
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
        rc = take_line(load, text, (size_t)len, ++line);
    }
    free(text);
    if (rc == 0 && ferror(load->from)) {
        rc = SOP_ERR_SYS(&load->ctl->err, IO, errno, "read the file");
    }
    return rc;
}
