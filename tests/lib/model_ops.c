/* What each operation does to a state of the model, and keys and values made from seeds. */
#include "tests/lib/model_int.h"

#include "engine/base/codec.h"

#include <stdio.h>
#include <stdlib.h>

static const uint64_t last_turn[3] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};

/* ---- looking -------------------------------------------------------------------------------
 */

struct at { /* an operation at work */
    struct model_view *v;
    struct model_op *op;
    struct model_answer *a;
    struct model_store *s; /* of the view; may be shared */
    uint32_t name;
};

static struct model_place place(struct sop_slice key, const uint64_t turn[3])
{
    struct model_place p = {.key = key};
    if (turn != NULL) {
        memcpy(p.turn, turn, sizeof p.turn);
    }
    return p;
}

static void give(struct at *x, const struct model_item *item)
{
    x->a->items[x->a->count++] = item;
}

static struct model_item *item_at(const struct model_store *s, uint32_t i)
{
    return s->map->items[i];
}

/* The item that a change by user key means: the key, or the first of its duplicates. NULL:
 * there is none. *at is where it is or would be. */
static struct model_item *target(struct at *x, struct sop_slice key, uint32_t *at)
{
    struct model_place low = place(key, NULL);
    bool exact = false;
    *at = model_bound(x->s, &low, &exact);
    struct model_item *item = *at < x->s->map->count ? item_at(x->s, *at) : NULL;
    bool same = item != NULL && model_key_cmp(&x->s->facts, model_key_of(item), key) == 0;
    if (x->s->facts.unique) {
        model_note_read(x->v, x->s, &low, &low);
    } else {
        struct model_place high = place(key, last_turn);
        if (item != NULL) {
            high = model_place_of(item);
        }
        model_note_read(x->v, x->s, &low, item != NULL ? &high : NULL);
    }
    return same ? item : NULL;
}

static void own(struct at *x)
{
    x->s = model_store_own(x->v->now, x->name);
}

static void put(struct at *x, const struct model_place *p, struct sop_slice ride, uint64_t seed,
                uint32_t bytes, const struct model_item *was, bool blind)
{
    struct model_item *item = model_item_new(p, ride, seed, bytes);
    if (was != NULL && memcmp(was->turn, item->turn, sizeof item->turn) == 0) {
        item->id = was->id;
        item->has_id = was->has_id;
    }
    item->streamed = x->op->kind == MODEL_STREAM || (was != NULL && was->streamed);
    model_note_change(x->v, x->s, x->name, p, blind);
    own(x);
    model_map_put(x->s, item);
}

static void take(struct at *x, const struct model_place *p)
{
    bool exact = false;
    model_note_change(x->v, x->s, x->name, p, false);
    uint32_t i = model_bound(x->s, p, &exact);
    own(x);
    model_map_remove(x->s, i);
}

/* ---- stores --------------------------------------------------------------------------------
 */

static void close_cursors(struct model_view *v, uint32_t name)
{
    for (size_t i = 0; i < MODEL_CURSORS; i++) {
        if (v->cursors[i].open && v->cursors[i].name == name) {
            v->cursors[i].open = false;
            v->cursors[i].stand = MODEL_NOWHERE;
        }
    }
}

static int do_store(struct at *x)
{
    struct model_state *now = x->v->now;
    struct model_op *op = x->op;
    x->v->names_read |= 1u << op->name;
    switch (op->kind) {
    case MODEL_STORE_CREATE:
        if (x->s != NULL) {
            return SOP_ERR_EXISTS;
        }
        now->stores[op->name] = model_store_new(&op->facts);
        x->v->names_changed |= 1u << op->name;
        return 0;
    case MODEL_STORE_LIST:
        x->v->names_read |= (1u << MODEL_NAMES) - 1;
        for (size_t i = 0; i < MODEL_NAMES; i++) {
            x->a->number |= now->stores[i] != NULL ? 1u << i : 0;
        }
        return 0;
    default:
        break;
    }
    if (x->s == NULL) {
        return SOP_ERR_NOT_FOUND;
    }
    x->a->number = x->s->facts.uid;
    x->a->facts = x->s->facts;
    switch (op->kind) {
    case MODEL_STORE_REMOVE:
        close_cursors(x->v, op->name);
        model_store_unref(x->s);
        now->stores[op->name] = NULL;
        x->v->names_changed |= 1u << op->name;
        return 0;
    case MODEL_STORE_CHANGE:
        own(x);
        x->s->facts.notes = op->facts.notes;
        x->v->names_changed |= 1u << op->name;
        return 0;
    default:
        return 0;
    }
}

static int do_count(struct at *x)
{
    if (!x->op->estimate) {
        model_note_read(x->v, x->s, NULL, NULL);
    }
    x->a->number = x->s->map->count;
    return 0;
}

/* ---- single items --------------------------------------------------------------------------
 */

static struct sop_slice op_key(const struct at *x)
{
    return sop_buf_slice(&x->op->key);
}

static struct sop_slice op_ride(const struct at *x)
{
    return sop_buf_slice(&x->op->ride);
}

static void add_new(struct at *x)
{
    struct model_place p = place(op_key(x), x->s->facts.unique ? NULL : x->op->turn);
    put(x, &p, op_ride(x), x->op->value_seed, x->op->value_bytes, NULL, false);
}

static int do_add(struct at *x, bool always)
{
    uint32_t at = 0;
    bool look = x->s->facts.unique || !always;
    struct model_item *item = look ? target(x, op_key(x), &at) : NULL;
    x->a->flag = item == NULL;
    if (item == NULL) {
        add_new(x);
    }
    return item != NULL && always ? SOP_ERR_EXISTS : 0;
}

static void replace(struct at *x, const struct model_item *item, bool keep_ride, bool blind)
{
    struct model_place p = model_place_of(item);
    struct sop_slice ride = keep_ride ? model_ride_of(item) : op_ride(x);
    put(x, &p, ride, x->op->value_seed, x->op->value_bytes, item, blind);
}

static int do_upsert(struct at *x, bool blind)
{
    uint32_t at = 0;
    bool exact = false;
    struct model_item *item = NULL;
    if (x->s->facts.unique && blind) {
        struct model_place p = place(op_key(x), NULL);
        at = model_bound(x->s, &p, &exact);
        item = exact ? item_at(x->s, at) : NULL;
        put(x, &p, op_ride(x), x->op->value_seed, x->op->value_bytes, item, true);
        return 0;
    }
    item = target(x, op_key(x), &at);
    if (item != NULL) {
        replace(x, item, false, false);
    } else {
        add_new(x);
    }
    return 0;
}

static int do_update(struct at *x)
{
    uint32_t at = 0;
    struct model_item *item = target(x, op_key(x), &at);
    if (item == NULL) {
        return SOP_ERR_NOT_FOUND;
    }
    replace(x, item, !x->op->has_ride, false);
    return 0;
}

/* Gives an item another ride and/or key; *to is where it is then, if it moved. */
static int change_key(struct at *x, const struct model_item *item, struct model_place *to,
                      bool *moved_to)
{
    struct sop_slice key = model_key_of(item);
    struct sop_slice ride = x->op->has_ride ? op_ride(x) : model_ride_of(item);
    struct sop_slice wanted = x->op->has_other ? sop_buf_slice(&x->op->other) : key;
    uint64_t seed = item->value_seed;
    uint32_t bytes = item->value_bytes;
    bool exact = false;
    struct model_place from = model_place_of(item);
    *to = from;
    *moved_to = false;
    if (sop_slice_eq(wanted, key)) {
        model_note_read(x->v, x->s, &from, &from);
        put(x, &from, ride, seed, bytes, item, false);
        return 0;
    }
    struct model_place there = place(wanted, x->s->facts.unique ? NULL : x->op->turn);
    model_note_read(x->v, x->s, &from, &from);
    if (x->s->facts.unique) {
        model_note_read(x->v, x->s, &there, &there);
        (void)model_bound(x->s, &there, &exact);
        if (exact) {
            return SOP_ERR_EXISTS;
        }
    }
    struct model_item *moved = model_item_new(&there, ride, seed, bytes);
    moved->streamed = item->streamed;
    model_note_change(x->v, x->s, x->name, &there, false);
    take(x, &from); /* may free item */
    model_map_put(x->s, moved);
    *to = there;
    *moved_to = true;
    return 0;
}

static int do_update_key(struct at *x)
{
    uint32_t at = 0;
    struct model_place to;
    bool moved = false;
    struct model_item *item = target(x, op_key(x), &at);
    return item == NULL ? SOP_ERR_NOT_FOUND : change_key(x, item, &to, &moved);
}

static int do_remove(struct at *x)
{
    uint32_t at = 0;
    struct model_item *item = target(x, op_key(x), &at);
    if (item == NULL) {
        return SOP_ERR_NOT_FOUND;
    }
    struct model_place p = place(op_key(x), item->turn);
    take(x, &p);
    return 0;
}

static int do_get(struct at *x)
{
    uint32_t at = 0;
    struct model_item *item = target(x, op_key(x), &at);
    if (item == NULL) {
        return SOP_ERR_NOT_FOUND;
    }
    give(x, item);
    return 0;
}

static int do_get_many(struct at *x)
{
    for (uint32_t i = 0; i < x->op->keys_count; i++) {
        uint32_t at = 0;
        struct model_item *item = target(x, sop_buf_slice(&x->op->keys[i]), &at);
        x->a->number |= item != NULL ? 1u << i : 0;
        if (item != NULL) {
            give(x, item);
        }
    }
    return 0;
}

static int do_stream(struct at *x)
{
    switch (x->op->mode) {
    case SOP_PUT_ADD:
        return do_add(x, true);
    case SOP_PUT_UPSERT:
        return do_upsert(x, false);
    case SOP_PUT_UPDATE:
        return do_update(x);
    }
    abort();
}

/* ---- ranges --------------------------------------------------------------------------------
 */

static bool begins_with(struct sop_slice key, struct sop_slice prefix)
{
    return key.len >= prefix.len &&
           (prefix.len == 0 || memcmp(key.data, prefix.data, prefix.len) == 0);
}

static bool in_range(const struct at *x, const struct model_item *item)
{
    const struct model_op *op = x->op;
    struct sop_slice key = model_key_of(item);
    if (op->prefix) {
        return begins_with(key, op_key(x));
    }
    if (op->has_key && op->key.len > 0) {
        int order = model_key_cmp(&x->s->facts, key, op_key(x));
        if (order < 0 || (order == 0 && op->low_open)) {
            return false;
        }
    }
    if (op->has_other) {
        int order = model_key_cmp(&x->s->facts, key, sop_buf_slice(&op->other));
        return order < 0 || (order == 0 && op->high_closed);
    }
    return true;
}

/* The key behind which a range from above begins: that of the high bound, or the next byte
 * string after it, which may be a key that is looked at and not given. */
static void high_key(const struct at *x, struct sop_buf *to)
{
    model_append(to, x->op->other.data, x->op->other.len);
    if (x->op->high_closed && x->s->facts.unique) {
        model_append(to, "", 1);
    }
}

static void note_between(struct at *x, int64_t low, int64_t high)
{
    const struct model_map *m = x->s->map;
    struct model_place a;
    struct model_place b;
    bool has_low = low >= 0;
    bool has_high = high < m->count;
    if (has_low) {
        a = model_place_of(m->items[low]);
    }
    if (has_high) {
        b = model_place_of(m->items[high]);
    }
    model_note_read(x->v, x->s, has_low ? &a : NULL, has_high ? &b : NULL);
}

/* The range as it was read: from its bound to item `stop`, the last one given, and one further
 * if all were given. */
static void note_range(struct at *x, int64_t stop)
{
    bool whole = x->a->count < x->op->limit;
    struct sop_buf key = {0};
    if (x->op->reverse) {
        int64_t from = x->s->map->count;
        if (x->op->has_other && !x->op->prefix) {
            bool exact = false;
            high_key(x, &key);
            struct model_place high = place(sop_buf_slice(&key), last_turn);
            from = model_bound(x->s, &high, &exact);
            model_note_read(x->v, x->s, &high, &high);
        }
        note_between(x, whole ? stop - 1 : stop, from);
    } else {
        bool exact = false;
        struct model_place low = place(op_key(x), NULL);
        int64_t from = x->op->has_key ? (int64_t)model_bound(x->s, &low, &exact) : -1;
        if (x->op->has_key) { /* and what comes to lie between the bound and the first one */
            struct model_place first = low;
            if (from < x->s->map->count) {
                first = model_place_of(item_at(x->s, (uint32_t)from));
            }
            model_note_read(x->v, x->s, &low, from < x->s->map->count ? &first : NULL);
        }
        note_between(x, from, whole ? stop + 1 : stop);
    }
    sop_buf_fini(&key);
}

static int do_range(struct at *x)
{
    const struct model_store *s = x->s;
    uint32_t first = s->map->count;
    uint32_t last = 0; /* of those in the range */
    bool any = false;
    for (uint32_t i = 0; i < s->map->count; i++) {
        if (in_range(x, item_at(s, i))) {
            first = any ? first : i;
            last = i;
            any = true;
        }
    }
    if (!any) { /* where the range would be does not matter: all of it */
        model_note_read(x->v, s, NULL, NULL);
        return 0;
    }
    uint32_t stop = first;
    if (x->op->reverse) {
        for (uint32_t i = last + 1; i > first && x->a->count < x->op->limit; i--) {
            give(x, item_at(s, i - 1));
            stop = i - 1;
        }
    } else {
        for (uint32_t i = first; i <= last && x->a->count < x->op->limit; i++) {
            give(x, item_at(s, i));
            stop = i;
        }
    }
    note_range(x, stop);
    return 0;
}

/* ---- cursors -------------------------------------------------------------------------------
 */

static struct model_cursor *cursor_of(struct at *x)
{
    return &x->v->cursors[x->op->cursor];
}

static struct model_place here(const struct model_cursor *c)
{
    return place(sop_buf_slice(&c->key), c->turn);
}

static void stand_on(struct model_cursor *c, const struct model_place *p)
{
    model_set(&c->key, p->key);
    memcpy(c->turn, p->turn, sizeof c->turn);
    c->stand = MODEL_ON;
}

static int nowhere(struct model_cursor *c, int rc)
{
    c->stand = MODEL_NOWHERE;
    return rc;
}

/* Stands on item i, if there is one: index -1 and count mean none. */
static int stand_at(struct at *x, int64_t i)
{
    struct model_cursor *c = cursor_of(x);
    if (i < 0 || i >= x->s->map->count) {
        return nowhere(c, SOP_ERR_END);
    }
    struct model_place p = model_place_of(item_at(x->s, (uint32_t)i));
    stand_on(c, &p);
    return 0;
}

/* Notes what lies between a place and where the cursor stands now. */
static void note_way(struct at *x, const struct model_place *from, bool forward)
{
    struct model_cursor *c = cursor_of(x);
    struct model_place to = here(c);
    bool stands = c->stand != MODEL_NOWHERE;
    if (forward) {
        model_note_read(x->v, x->s, from, stands ? &to : NULL);
    } else {
        model_note_read(x->v, x->s, stands ? &to : NULL, from);
    }
}

static int do_near(struct at *x)
{
    struct model_cursor *c = cursor_of(x);
    struct model_place from = place(op_key(x), NULL);
    bool exact = false;
    int rc = stand_at(x, model_bound(x->s, &from, &exact));
    note_way(x, &from, true);
    x->a->flag = rc == 0 && model_key_cmp(&x->s->facts, sop_buf_slice(&c->key), op_key(x)) == 0;
    return rc;
}

static int do_before(struct at *x)
{
    struct model_cursor *c = cursor_of(x);
    struct model_place from = place(op_key(x), x->s->facts.unique ? NULL : last_turn);
    bool exact = false;
    int64_t i = model_bound(x->s, &from, &exact);
    int rc = stand_at(x, exact ? i : i - 1);
    note_way(x, &from, false);
    x->a->flag = rc == 0 && model_key_cmp(&x->s->facts, sop_buf_slice(&c->key), op_key(x)) == 0;
    return rc;
}

static int do_find(struct at *x)
{
    int rc = do_near(x);
    bool exact = x->a->flag;
    x->a->flag = false;
    return rc == 0 && exact ? 0 : nowhere(cursor_of(x), SOP_ERR_NOT_FOUND);
}

static int do_find_id(struct at *x)
{
    struct model_place from = place(op_key(x), x->s->facts.unique ? NULL : x->op->turn);
    bool exact = false;
    int rc = stand_at(x, model_bound(x->s, &from, &exact));
    memset(from.turn, 0, sizeof from.turn); /* an id that was made up may be any */
    note_way(x, &from, true);
    return rc == 0 && exact ? 0 : nowhere(cursor_of(x), SOP_ERR_NOT_FOUND);
}

static int do_end(struct at *x, bool forward)
{
    int rc = stand_at(x, forward ? 0 : (int64_t)x->s->map->count - 1);
    note_way(x, NULL, forward);
    return rc;
}

static int do_step(struct at *x, bool forward)
{
    struct model_cursor *c = cursor_of(x);
    if (c->stand == MODEL_NOWHERE) {
        return SOP_ERR_NOT_FOUND;
    }
    struct sop_buf key = {0};
    struct model_place from = here(c);
    model_set(&key, from.key);
    from.key = sop_buf_slice(&key);
    bool exact = false;
    int64_t i = model_bound(x->s, &from, &exact);
    int rc = stand_at(x, forward ? i + (exact ? 1 : 0) : i - 1);
    note_way(x, &from, forward);
    sop_buf_fini(&key);
    return rc;
}

static int do_seek(struct at *x)
{
    model_note_read(x->v, x->s, NULL, NULL);
    uint64_t count = x->s->map->count;
    return stand_at(x, x->op->position < count ? (int64_t)x->op->position : -1);
}

static int do_position(struct at *x)
{
    struct model_cursor *c = cursor_of(x);
    bool exact = false;
    if (c->stand == MODEL_NOWHERE) {
        return SOP_ERR_NOT_FOUND;
    }
    struct model_place p = here(c);
    model_note_read(x->v, x->s, NULL, NULL);
    x->a->number = model_bound(x->s, &p, &exact);
    return 0;
}

/* The item that the cursor stands on. */
static struct model_item *current(struct at *x)
{
    struct model_cursor *c = cursor_of(x);
    bool exact = false;
    if (c->stand != MODEL_ON) {
        return NULL;
    }
    struct model_place p = here(c);
    model_note_read(x->v, x->s, &p, &p);
    uint32_t i = model_bound(x->s, &p, &exact);
    return exact ? item_at(x->s, i) : NULL;
}

static int do_current(struct at *x)
{
    struct model_place to;
    bool moved = false;
    struct model_item *item = current(x);
    int rc = 0;
    if (item == NULL) {
        return SOP_ERR_NOT_FOUND;
    }
    switch (x->op->kind) {
    case MODEL_CURSOR_UPDATE:
        replace(x, item, true, false);
        return 0;
    case MODEL_CURSOR_UPDATE_KEY:
        rc = change_key(x, item, &to, &moved);
        if (rc == 0 && moved) {
            stand_on(cursor_of(x), &to);
        }
        return rc;
    case MODEL_CURSOR_REMOVE:
        to = here(cursor_of(x));
        take(x, &to);
        return 0;
    default:
        give(x, item);
        return 0;
    }
}

static int do_cursor(struct at *x)
{
    switch (x->op->kind) {
    case MODEL_FIND:
        return do_find(x);
    case MODEL_NEAR:
        return do_near(x);
    case MODEL_BEFORE:
        return do_before(x);
    case MODEL_FIND_ID:
        return do_find_id(x);
    case MODEL_FIRST:
        return do_end(x, true);
    case MODEL_LAST:
        return do_end(x, false);
    case MODEL_NEXT:
        return do_step(x, true);
    case MODEL_PREV:
        return do_step(x, false);
    case MODEL_SEEK:
        return do_seek(x);
    case MODEL_POSITION:
        return do_position(x);
    default:
        return do_current(x);
    }
}

/* ---- all of them ---------------------------------------------------------------------------
 */

static int do_items(struct at *x)
{
    switch (x->op->kind) {
    case MODEL_COUNT:
        return do_count(x);
    case MODEL_ADD:
        return do_add(x, true);
    case MODEL_ADD_IF_ABSENT:
        return do_add(x, false);
    case MODEL_UPSERT:
        return do_upsert(x, true);
    case MODEL_UPDATE:
        return do_update(x);
    case MODEL_UPDATE_KEY:
        return do_update_key(x);
    case MODEL_REMOVE:
        return do_remove(x);
    case MODEL_GET:
        return do_get(x);
    case MODEL_GET_MANY:
        return do_get_many(x);
    case MODEL_STREAM:
        return do_stream(x);
    default:
        return do_range(x);
    }
}

static bool on_cursor(enum model_op_kind kind)
{
    return kind >= MODEL_CURSOR_CLOSE;
}

static uint64_t digest_of(const struct at *x, int rc)
{
    uint64_t uid = x->s != NULL ? x->s->facts.uid : 0;
    bool created = x->op->kind == MODEL_STORE_CREATE;
    uint64_t parts[4] = {(uint64_t)rc, x->a->flag, x->a->number, created ? 0 : uid};
    if (x->op->kind == MODEL_COUNT && x->op->estimate) {
        parts[2] = 0;
    }
    uint64_t h = model_hash(7, parts, sizeof parts);
    if (x->op->kind == MODEL_STORE_INFO) {
        h = model_hash(h, &x->a->facts.notes, sizeof x->a->facts.notes);
    }
    for (uint32_t i = 0; i < x->a->count; i++) {
        const struct model_item *item = x->a->items[i];
        h = model_hash(h, &item->digest, sizeof item->digest);
        h = model_hash(h, item->turn, sizeof item->turn);
    }
    return h;
}

void model_do(struct model_view *v, struct model_op *op, struct model_answer *a)
{
    struct at x = {.v = v, .op = op, .a = a, .name = op->name};
    int rc = 0;
    memset(a, 0, offsetof(struct model_answer, items));
    memset(&a->facts, 0, sizeof a->facts);
    if (on_cursor(op->kind)) {
        x.name = v->cursors[op->cursor].name;
    }
    x.s = v->now->stores[x.name];
    if (op->kind <= MODEL_STORE_CHANGE) {
        rc = do_store(&x);
        x.s = v->now->stores[x.name];
    } else if (op->kind == MODEL_CURSOR_CLOSE) {
        v->cursors[op->cursor].open = false;
    } else if (x.s == NULL) {
        v->names_read |= 1u << x.name;
        rc = SOP_ERR_NOT_FOUND;
    } else if (on_cursor(op->kind)) {
        rc = do_cursor(&x);
    } else {
        v->names_read |= 1u << x.name;
        if (op->kind == MODEL_CURSOR_OPEN) {
            struct model_cursor *c = &v->cursors[op->cursor];
            c->open = true;
            c->name = op->name;
            c->stand = MODEL_NOWHERE;
        } else {
            rc = do_items(&x);
        }
    }
    a->rc = rc;
    op->answer = digest_of(&x, rc);
}

void model_op_fini(struct model_op *op)
{
    sop_buf_fini(&op->key);
    sop_buf_fini(&op->other);
    sop_buf_fini(&op->ride);
    for (size_t i = 0; i < MODEL_KEYS_MAX; i++) {
        sop_buf_fini(&op->keys[i]);
    }
}

/* ---- made from seeds ------------------------------------------------------------------------
 */

struct sop_key_schema model_schema(enum model_keys keys)
{
    struct sop_key_schema s;
    memset(&s, 0, sizeof s);
    if (keys == MODEL_INT64) {
        s.fields_count = 1;
        s.fields[0].type = SOP_KEY_INT64;
    } else if (keys == MODEL_COMPOSITE) {
        s.fields_count = 2;
        s.fields[0] = (struct sop_key_field){.type = SOP_KEY_STRING, .descending = true};
        s.fields[1] = (struct sop_key_field){.type = SOP_KEY_UINT64, .nullable = true};
    }
    return s;
}

static void typed_key(const struct model_facts *f, uint32_t index, struct sop_buf *to)
{
    struct sop_key_schema schema = model_schema(f->keys);
    struct sop_key_value values[2];
    char text[16];
    uint8_t room[64];
    struct sop_key_buf key = {.data = room, .room = sizeof room};
    memset(values, 0, sizeof values);
    size_t count = 1;
    if (f->keys == MODEL_INT64) {
        values[0].type = SOP_KEY_INT64;
        values[0].as.int64 = ((int64_t)index - f->universe / 2) * 1000003;
    } else {
        count = 2;
        int len = snprintf(text, sizeof text, "%.*s", (int)(index % 5), "zebra");
        values[0].type = SOP_KEY_STRING;
        values[0].as.bytes = sop_slice(text, (size_t)len);
        values[1].type = index < 5 ? SOP_KEY_NULL : SOP_KEY_UINT64;
        values[1].as.uint64 = index / 5;
    }
    if (sop_key_encode(&schema, values, count, &key, NULL) != 0) {
        abort();
    }
    model_append(to, room, key.len);
}

/* Different for different indexes: digits of base 3 after a length that depends on the index.
 */
static void binary_key(uint32_t index, bool empty_too, struct sop_buf *to)
{
    static const uint8_t letters[3] = {0x00, 0xff, 'a'};
    uint8_t bytes[24];
    size_t len = 0;
    uint32_t n = index + (empty_too ? 0 : 1);
    while (n > 0) { /* bijective base 3: the empty string is 0 */
        n--;
        bytes[len++] = letters[n % 3];
        n /= 3;
    }
    model_append(to, bytes, len);
}

void model_make_key(const struct model_facts *f, uint32_t index, struct sop_buf *to)
{
    char text[16];
    switch (f->keys) {
    case MODEL_TEXT:
        model_append(to, text, (size_t)snprintf(text, sizeof text, "k%05u", index));
        return;
    case MODEL_BINARY:
        binary_key(index, true, to);
        return;
    case MODEL_COMPARER:
        binary_key(index, false, to);
        return;
    default:
        typed_key(f, index, to);
    }
}

/* Byte i of a value: those of the seed first, then something that differs everywhere. */
static uint8_t value_byte(uint64_t seed, uint64_t i)
{
    if (i < 8) {
        return (uint8_t)(seed >> (8 * i));
    }
    uint64_t x = (seed ^ (i >> 3)) * 0x9e3779b97f4a7c15u;
    return (uint8_t)((x ^ (x >> 29)) >> (8 * (i & 7)));
}

void model_value(uint64_t seed, uint64_t offset, uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bytes[i] = value_byte(seed, offset + i);
    }
}

bool model_is_value(uint64_t seed, uint32_t bytes, struct sop_slice value)
{
    if (value.len != bytes) {
        return false;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] != value_byte(seed, i)) {
            return false;
        }
    }
    return true;
}

void model_notes(const struct model_facts *f, char description[64],
                 uint8_t custom[MODEL_CUSTOM_BYTES])
{
    snprintf(description, 64, f->notes % 3 == 0 ? "%.0llu" : "store with notes %llu",
             f->notes % 3 == 0 ? 0 : (unsigned long long)f->notes);
    sop_put_u64(custom, f->uid);
    sop_put_u64(custom + 8, f->notes);
}
