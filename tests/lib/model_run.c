/* Operations of the model by the public API; see model_run.h. */
#include "tests/lib/model_run.h"

#include "engine/base/codec.h"
#include "tests/lib/model_int.h"

#include <stdio.h>
#include <stdlib.h>

#define PIECE_BYTES_MAX 5000u /* of streamed values */

struct run {
    struct model_txn *t;
    struct model_op *op;
    struct model_got *got;
    struct sop_store *s;
    struct sop_cursor *c;
    struct sop_err err;
};

/* ---- views ---------------------------------------------------------------------------------
 */

static uint64_t seed_of(struct sop_slice value)
{
    uint64_t seed = 0;
    for (size_t i = 0; i < value.len && i < 8; i++) {
        seed |= (uint64_t)value.data[i] << (8 * i);
    }
    return seed;
}

bool model_see(const struct sop_view *view, struct model_seen *seen)
{
    memset(seen, 0, sizeof *seen);
    seen->name = model_hash(model_hash(1, view->key.data, view->key.len), view->ride.data,
                            view->ride.len);
    seen->value_bytes = (uint32_t)view->value_bytes;
    seen->loaded = view->loaded;
    seen->id = view->id;
    if (view->loaded) {
        seen->value_seed = seed_of(view->value);
        return model_is_value(seen->value_seed, seen->value_bytes, view->value);
    }
    return view->value.len == 0;
}

static void give(struct run *r, const struct sop_view *view)
{
    if (r->got->count == MODEL_ITEMS_MAX) {
        r->got->wrong = true;
        return;
    }
    if (!model_see(view, &r->got->items[r->got->count++])) {
        r->got->wrong = true;
        snprintf(r->got->text, sizeof r->got->text, "item %u has a wrong value",
                 r->got->count - 1);
    }
}

/* ---- stores --------------------------------------------------------------------------------
 */

void model_name(uint32_t name, char text[4])
{
    snprintf(text, 4, "s%u", name % MODEL_NAMES);
}

void model_options(const struct model_facts *f, struct sop_store_options *o,
                   char description[64], uint8_t custom[MODEL_CUSTOM_BYTES])
{
    sop_store_options_init(o);
    model_notes(f, description, custom);
    o->unique = f->unique;
    o->slot_length = f->slot_length;
    o->values = f->values;
    o->key = model_schema(f->keys);
    o->comparer = f->keys == MODEL_COMPARER ? MODEL_COMPARER_NAME : NULL;
    o->description = description;
    o->custom = sop_slice(custom, MODEL_CUSTOM_BYTES);
}

static int list_one(void *arg, const struct sop_store_info *info, struct sop_err *err)
{
    struct run *r = arg;
    (void)err;
    r->got->number |= 1u << (unsigned)(info->name[1] - '0');
    return 0;
}

static void take_info(struct run *r, const struct sop_store_info *info)
{
    struct model_facts *f = &r->got->facts;
    char description[64];
    uint8_t custom[MODEL_CUSTOM_BYTES];
    f->unique = info->options.unique;
    f->slot_length = info->options.slot_length;
    f->values = info->options.values;
    if (info->options.custom.len == MODEL_CUSTOM_BYTES) {
        f->uid = sop_get_u64(info->options.custom.data);
        f->notes = sop_get_u64(info->options.custom.data + 8);
    }
    model_notes(f, description, custom);
    if (strcmp(description, info->options.description) != 0) {
        r->got->wrong = true;
        snprintf(r->got->text, sizeof r->got->text, "description is \"%s\"",
                 info->options.description);
    }
    r->got->number = f->uid;
}

static void forget_cursors(struct model_txn *t, uint32_t name)
{
    for (size_t i = 0; i < MODEL_CURSORS; i++) {
        if (t->view.cursors[i].open && t->view.cursors[i].name == name) {
            t->cursors[i] = NULL; /* closed with its store */
        }
    }
}

static int run_store(struct run *r)
{
    struct model_op *op = r->op;
    struct sop_store_options options;
    struct sop_store_info info;
    char description[64];
    uint8_t custom[MODEL_CUSTOM_BYTES];
    char name[4];
    model_name(op->name, name);
    int rc = 0;
    switch (op->kind) {
    case MODEL_STORE_CREATE:
        model_options(&op->facts, &options, description, custom);
        return sop_store_create(&r->s, r->t->txn, name, &options, &r->err);
    case MODEL_STORE_LIST:
        rc = sop_store_list(r->t->txn, NULL, list_one, r, &r->err);
        return rc;
    default:
        break;
    }
    rc = sop_store_open(&r->s, r->t->txn, name, &r->err);
    if (rc == 0) {
        rc = sop_store_info(r->s, &info, &r->err);
    }
    if (rc == 0) {
        take_info(r, &info);
    }
    if (rc == 0 && op->kind == MODEL_STORE_REMOVE) {
        rc = sop_store_remove(r->t->txn, name, &r->err);
        if (rc == 0) {
            forget_cursors(r->t, op->name);
        }
    } else if (rc == 0 && op->kind == MODEL_STORE_CHANGE) {
        struct model_facts f = r->got->facts;
        f.notes = op->facts.notes;
        model_options(&f, &options, description, custom);
        options.comparer = NULL;
        memset(&options.key, 0, sizeof options.key);
        rc = sop_store_change(r->s, &options, &r->err);
    }
    return rc;
}

/* ---- items ---------------------------------------------------------------------------------
 */

static struct sop_slice slice_or_null(const struct sop_buf *b, bool has)
{
    return has ? sop_slice(b->data != NULL ? b->data : (const uint8_t *)"", b->len)
               : sop_slice(NULL, 0);
}

static int run_change(struct run *r)
{
    struct model_op *op = r->op;
    uint8_t *value = model_alloc(op->value_bytes);
    model_value(op->value_seed, 0, value, op->value_bytes);
    struct sop_entry e = {.key = sop_buf_slice(&op->key),
                          .ride = slice_or_null(&op->ride, op->has_ride),
                          .value = sop_slice(value, op->value_bytes)};
    int rc = 0;
    switch (op->kind) {
    case MODEL_ADD:
        rc = sop_add(r->s, &e, &r->err);
        r->got->flag = rc == 0;
        break;
    case MODEL_ADD_IF_ABSENT:
        rc = sop_add_if_absent(r->s, &e, &r->got->flag, &r->err);
        break;
    case MODEL_UPSERT:
        rc = sop_upsert(r->s, &e, &r->err);
        break;
    case MODEL_UPDATE:
        rc = sop_update(r->s, &e, &r->err);
        break;
    default:
        rc = sop_cursor_update(r->c, e.value, &r->err);
        break;
    }
    free(value);
    return rc;
}

static struct sop_entry entry_to(const struct model_op *op)
{
    return (struct sop_entry){.key = slice_or_null(&op->other, op->has_other),
                              .ride = slice_or_null(&op->ride, op->has_ride)};
}

static int run_get_many(struct run *r)
{
    struct sop_slice keys[MODEL_KEYS_MAX];
    struct sop_view views[MODEL_KEYS_MAX];
    bool found[MODEL_KEYS_MAX];
    for (uint32_t i = 0; i < r->op->keys_count; i++) {
        keys[i] = sop_buf_slice(&r->op->keys[i]);
    }
    int rc = sop_get_many(r->s, keys, r->op->keys_count, views, found, &r->err);
    for (uint32_t i = 0; i < r->op->keys_count && rc == 0; i++) {
        r->got->number |= found[i] ? 1u << i : 0;
        if (found[i]) {
            give(r, &views[i]);
        }
    }
    return rc;
}

static int run_stream(struct run *r)
{
    struct model_op *op = r->op;
    struct sop_entry e = {.key = sop_buf_slice(&op->key),
                          .ride = slice_or_null(&op->ride, op->has_ride)};
    struct sop_value_writer *w = NULL;
    uint8_t piece[PIECE_BYTES_MAX];
    int rc = sop_value_create(&w, r->s, op->mode, &e, &r->err);
    for (uint32_t done = 0; rc == 0 && done < op->value_bytes;) {
        uint32_t n = op->value_bytes - done;
        uint32_t most = 1 + (uint32_t)((op->value_seed + done) % PIECE_BYTES_MAX);
        n = n < most ? n : most;
        model_value(op->value_seed, done, piece, n);
        rc = sop_value_write(w, sop_slice(piece, n), &r->err);
        done += n;
    }
    if (rc == 0) {
        rc = sop_value_finish(&w, &r->err);
        r->got->flag = rc == 0 && op->mode == SOP_PUT_ADD;
    }
    sop_value_abort(&w);
    return rc;
}

static int run_range(struct run *r)
{
    struct model_op *op = r->op;
    struct sop_range_options o;
    struct sop_range *range = NULL;
    struct sop_view views[48];
    sop_range_options_init(&o);
    o.low = slice_or_null(&op->key, op->has_key);
    o.high = slice_or_null(&op->other, op->has_other);
    o.low_open = op->low_open;
    o.high_closed = op->high_closed;
    o.prefix = op->prefix;
    o.reverse = op->reverse;
    o.keys_only = op->keys_only;
    int rc = sop_range_open(&range, r->s, &o, &r->err);
    size_t count = 1;
    while (rc == 0 && count > 0 && r->got->count < op->limit) {
        size_t most = op->limit - r->got->count;
        most = most < SOP_ARRAY_LEN(views) ? most : SOP_ARRAY_LEN(views);
        rc = sop_range_next(range, views, most, &count, &r->err);
        for (size_t i = 0; i < count && rc == 0; i++) {
            give(r, &views[i]);
        }
    }
    sop_range_close(&range);
    return rc;
}

static int run_items(struct run *r)
{
    struct model_op *op = r->op;
    struct sop_view view;
    struct sop_entry to = entry_to(op);
    int rc = 0;
    switch (op->kind) {
    case MODEL_COUNT:
        return sop_store_count(r->s, op->estimate, &r->got->number, &r->err);
    case MODEL_UPDATE_KEY:
        return sop_update_key(r->s, sop_buf_slice(&op->key), &to, &r->err);
    case MODEL_REMOVE:
        return sop_remove(r->s, sop_buf_slice(&op->key), &r->err);
    case MODEL_GET:
        rc = sop_get(r->s, sop_buf_slice(&op->key), &view, &r->err);
        if (rc == 0) {
            give(r, &view);
        }
        return rc;
    case MODEL_GET_MANY:
        return run_get_many(r);
    case MODEL_STREAM:
        return run_stream(r);
    case MODEL_RANGE:
        return run_range(r);
    default:
        return run_change(r);
    }
}

/* ---- cursors -------------------------------------------------------------------------------
 */

static int run_view(struct run *r)
{
    struct sop_view view;
    int rc = r->op->kind == MODEL_VIEW_KEY ? sop_cursor_key(r->c, &view, &r->err)
                                           : sop_cursor_item(r->c, &view, &r->err);
    if (rc == 0) {
        give(r, &view);
    }
    return rc;
}

/* The whole value by a reader, in pieces, and a piece from its middle. */
static int run_value(struct run *r)
{
    struct sop_value_reader *reader = NULL;
    struct sop_view view;
    int rc = sop_cursor_key(r->c, &view, &r->err);
    if (rc == 0) {
        rc = sop_value_open(&reader, r->c, &r->err);
    }
    if (rc != 0) {
        return rc;
    }
    uint64_t size = sop_value_size(reader);
    uint8_t *bytes = model_alloc(size);
    size_t done = 0;
    size_t got = 1;
    while (rc == 0 && got > 0) {
        size_t n = 1 + (done * 7 + 4093) % PIECE_BYTES_MAX;
        n = n < size + 1 - done ? n : (size_t)size + 1 - done;
        rc = sop_value_read(reader, done, bytes + done, n, &got, &r->err);
        done += got;
    }
    if (rc == 0 && size > 0) {
        uint8_t piece[64];
        rc = sop_value_read(reader, size / 2, piece, sizeof piece, &got, &r->err);
        if (rc == 0 && memcmp(piece, bytes + size / 2, got) != 0) {
            r->got->wrong = true;
            snprintf(r->got->text, sizeof r->got->text, "two reads of a value differ");
        }
    }
    view.value = sop_slice(bytes, done);
    view.loaded = true;
    if (rc == 0) {
        give(r, &view);
    }
    sop_value_close(&reader);
    free(bytes);
    return rc;
}

static int run_cursor(struct run *r)
{
    struct model_op *op = r->op;
    struct sop_slice key = sop_buf_slice(&op->key);
    struct sop_entry to = entry_to(op);
    switch (op->kind) {
    case MODEL_FIND:
        return sop_cursor_find(r->c, key, &r->err);
    case MODEL_NEAR:
        return sop_cursor_find_near(r->c, key, &r->got->flag, &r->err);
    case MODEL_BEFORE:
        return sop_cursor_find_before(r->c, key, &r->got->flag, &r->err);
    case MODEL_FIND_ID:
        return sop_cursor_find_id(r->c, key, &op->id, &r->err);
    case MODEL_FIRST:
        return sop_cursor_first(r->c, &r->err);
    case MODEL_LAST:
        return sop_cursor_last(r->c, &r->err);
    case MODEL_NEXT:
        return sop_cursor_next(r->c, &r->err);
    case MODEL_PREV:
        return sop_cursor_prev(r->c, &r->err);
    case MODEL_SEEK:
        return sop_cursor_seek(r->c, op->position, &r->err);
    case MODEL_POSITION:
        return sop_cursor_position(r->c, &r->got->number, &r->err);
    case MODEL_VALUE:
        return run_value(r);
    case MODEL_CURSOR_UPDATE:
        return run_change(r);
    case MODEL_CURSOR_UPDATE_KEY:
        return sop_cursor_update_key(r->c, &to, &r->err);
    case MODEL_CURSOR_REMOVE:
        return sop_cursor_remove(r->c, &r->err);
    default:
        return run_view(r);
    }
}

/* ---- all of them ---------------------------------------------------------------------------
 */

void model_run(struct model_txn *t, struct model_op *op, struct model_got *got)
{
    struct run r = {.t = t, .op = op, .got = got};
    int rc = 0;
    memset(got, 0, offsetof(struct model_got, items));
    got->wrong = false;
    got->text[0] = 0;
    if (op->kind <= MODEL_STORE_CHANGE) {
        rc = run_store(&r);
    } else if (op->kind == MODEL_CURSOR_CLOSE) {
        sop_cursor_close(&t->cursors[op->cursor]);
    } else if (op->kind > MODEL_CURSOR_CLOSE) {
        r.c = t->cursors[op->cursor];
        rc = run_cursor(&r);
    } else {
        char name[4];
        model_name(op->name, name);
        rc = sop_store_open(&r.s, t->txn, name, &r.err);
        if (rc == 0 && op->kind == MODEL_CURSOR_OPEN) {
            rc = sop_cursor_open(&t->cursors[op->cursor], r.s, &r.err);
        } else if (rc == 0) {
            rc = run_items(&r);
        }
    }
    got->rc = rc;
    if (rc != 0 && got->text[0] == 0) {
        snprintf(got->text, sizeof got->text, "%s", r.err.text);
    }
}

/* ---- comparing -----------------------------------------------------------------------------
 */

static bool differs(struct model_got *got, const char *what, uint64_t theirs, uint64_t ours)
{
    char text[512];
    if (theirs == ours) {
        return false;
    }
    snprintf(text, sizeof text, "%s: the database says %llu, the model %llu (%.300s)", what,
             (unsigned long long)theirs, (unsigned long long)ours, got->text);
    memcpy(got->text, text, sizeof text);
    return true;
}

static bool wants_value(const struct model_op *op, const struct model_facts *f,
                        const struct model_item *item)
{
    if (op->kind == MODEL_VALUE) {
        return true;
    }
    if (op->kind == MODEL_VIEW_KEY || item->value_bytes == 0) {
        return false;
    }
    bool here =
        f->values == SOP_VALUES_SMALL && item->value_bytes <= 16 * 1024 && !item->streamed;
    return here || (f->values != SOP_VALUES_BIG && !op->keys_only);
}

static bool item_same(const struct model_op *op, const struct model_facts *f,
                      const struct model_item *item, struct model_got *got, uint32_t i)
{
    struct model_seen *s = &got->items[i];
    struct sop_slice key = model_key_of(item);
    struct sop_slice ride = model_ride_of(item);
    uint64_t name = model_hash(model_hash(1, key.data, key.len), ride.data, ride.len);
    if (differs(got, "key and ride (hash)", s->name, name) ||
        differs(got, "bytes of the value", s->value_bytes, item->value_bytes)) {
        return false;
    }
    bool wants = wants_value(op, f, item);
    if (wants && differs(got, "value is loaded", s->loaded, 1)) {
        return false;
    }
    if (s->loaded && differs(got, "value", s->value_seed, item->value_seed)) {
        return false;
    }
    struct model_item *learner = (struct model_item *)(uintptr_t)item;
    if (f->unique) {
        memset(&learner->id, 0, sizeof learner->id);
        learner->has_id = true;
    }
    if (learner->has_id && memcmp(&learner->id, &s->id, sizeof s->id) != 0) {
        snprintf(got->text, sizeof got->text, "an item has another id than before");
        return false;
    }
    learner->id = s->id;
    learner->has_id = true;
    return true;
}

bool model_same(const struct model_op *op, const struct model_facts *facts,
                const struct model_answer *a, struct model_got *got)
{
    if (got->wrong ||
        differs(got, "error", (uint64_t)(uint32_t)-got->rc, (uint64_t)(uint32_t)-a->rc) ||
        differs(got, "flag", got->flag, a->flag) ||
        differs(got, "number", got->number, a->number) ||
        differs(got, "items", got->count, a->count)) {
        return false;
    }
    if (op->kind == MODEL_STORE_INFO && a->rc == 0 &&
        (differs(got, "unique", got->facts.unique, a->facts.unique) ||
         differs(got, "slot length", got->facts.slot_length, a->facts.slot_length) ||
         differs(got, "value class", got->facts.values, a->facts.values) ||
         differs(got, "notes", got->facts.notes, a->facts.notes))) {
        return false;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        if (!item_same(op, facts, a->items[i], got, i)) {
            return false;
        }
    }
    return true;
}

/* ---- showing -------------------------------------------------------------------------------
 */

const char *model_op_name(enum model_op_kind kind)
{
    static const char *const names[MODEL_OPS] = {
        "create store", "remove store",  "info",
        "list stores",  "change store",  "count",
        "add",          "add if absent", "upsert",
        "update",       "update key",    "remove",
        "get",          "get many",      "stream",
        "range",        "open cursor",   "close cursor",
        "find",         "find near",     "find before",
        "find id",      "first",         "last",
        "next",         "prev",          "seek",
        "position",     "view key",      "view item",
        "read value",   "cursor update", "cursor update key",
        "cursor remove"};
    return kind < MODEL_OPS ? names[kind] : "?";
}

static void hex(const struct sop_buf *b, char *text, size_t room)
{
    size_t at = 0;
    text[0] = 0;
    for (size_t i = 0; i < b->len && at + 3 < room; i++) {
        at += (size_t)snprintf(text + at, room - at, "%02x", b->data[i]);
    }
}

void model_op_text(const struct model_op *op, char *text, size_t room)
{
    char key[64];
    char other[64];
    hex(&op->key, key, sizeof key);
    hex(&op->other, other, sizeof other);
    snprintf(text, room,
             "%s s%u c%u key%s %s other%s %s ride%s %zu value %llx/%u mode %d pos %llu limit "
             "%u%s%s%s%s",
             model_op_name(op->kind), op->name, op->cursor, op->has_key ? "" : "(no)", key,
             op->has_other ? "" : "(no)", other, op->has_ride ? "" : "(no)", op->ride.len,
             (unsigned long long)op->value_seed, op->value_bytes, (int)op->mode,
             (unsigned long long)op->position, op->limit, op->low_open ? " low_open" : "",
             op->high_closed ? " high_closed" : "", op->prefix ? " prefix" : "",
             op->reverse ? " reverse" : "");
}
