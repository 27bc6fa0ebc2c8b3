/* Random operations; see model_make.h. */
#include "tests/lib/model_make.h"

#include "tests/lib/model_int.h"

#include <stdlib.h>

#define TIDE_OPERATIONS 6000 /* a store grows for so long, then shrinks */

bool model_chance(struct kit_rng *r, uint32_t of)
{
    return kit_below(r, 1000) < of;
}

/* ---- parts ---------------------------------------------------------------------------------
 */

static void make_facts(struct model_maker *m, struct model_facts *f)
{
    static const uint32_t slots[] = {2, 2, 4, 4, 6, 8, 16, 32, 64};
    static const uint32_t universes[] = {6, 60, 300, 700, 1500};
    struct kit_rng *r = &m->rng;
    memset(f, 0, sizeof *f);
    f->uid = ++m->uids;
    f->unique = !model_chance(r, 350);
    f->slot_length = slots[kit_below(r, SOP_ARRAY_LEN(slots))];
    f->values = model_chance(r, 600)   ? SOP_VALUES_SMALL
                : model_chance(r, 500) ? SOP_VALUES_MEDIUM
                                       : SOP_VALUES_BIG;
    f->keys = (enum model_keys)kit_below(r, MODEL_KEYS);
    f->universe = universes[kit_below(r, SOP_ARRAY_LEN(universes))];
    f->notes = ++m->notes;
}

/* Hot ones are fought over. */
static uint32_t some_index(struct model_maker *m, const struct model_facts *f)
{
    uint32_t hot = 4 + (uint32_t)(m->made / 2000 * 37 % f->universe);
    return model_chance(&m->rng, 150) ? (hot + kit_below(&m->rng, 4)) % f->universe
                                      : kit_below(&m->rng, f->universe);
}

/* A key of the store: often one that is there. */
static void some_key(struct model_maker *m, const struct model_store *s, bool there,
                     struct sop_buf *to)
{
    sop_buf_clear(to);
    if (s->map->count > 0 && model_chance(&m->rng, there ? 850 : 150)) {
        struct sop_slice key = model_key_of(s->map->items[kit_below(&m->rng, s->map->count)]);
        model_append(to, key.data, key.len);
    } else {
        model_make_key(&s->facts, some_index(m, &s->facts), to);
    }
}

static void some_ride(struct model_maker *m, struct model_op *op)
{
    struct kit_rng *r = &m->rng;
    op->has_ride = model_chance(r, 400);
    if (op->has_ride) {
        uint8_t bytes[64];
        uint32_t len = model_chance(r, 300) ? 0 : kit_below(r, sizeof bytes);
        memset(bytes, (int)kit_below(r, 256), sizeof bytes);
        model_append(&op->ride, bytes, len);
    }
}

static void some_value(struct model_maker *m, const struct model_store *s, bool streamed,
                       struct model_op *op)
{
    struct kit_rng *r = &m->rng;
    uint32_t most = s->facts.values != SOP_VALUES_SMALL ? 3000 : m->fat ? 15000 : 60;
    if (streamed || model_chance(r, 8)) {
        most = model_chance(r, 150) ? MODEL_VALUE_MAX : 24 * 1024;
    } else if (model_chance(r, 20)) {
        most = 20 * 1024;
    }
    op->value_bytes = model_chance(r, 50) ? 0 : kit_below(r, most + 1);
    op->value_seed = kit_next(r);
    if (op->value_bytes < 8) {
        op->value_seed &= (1ull << (8 * op->value_bytes)) - 1;
    }
}

static void some_range(struct model_maker *m, const struct model_store *s, struct model_op *op)
{
    struct kit_rng *r = &m->rng;
    bool compares = s->facts.keys == MODEL_COMPARER;
    op->has_key = model_chance(r, 700);
    op->has_other = model_chance(r, 700);
    op->prefix = op->has_key && !compares && model_chance(r, 200);
    if (op->has_key) {
        some_key(m, s, true, &op->key);
        if (op->prefix) {
            op->key.len = kit_below(r, (uint32_t)op->key.len + 1);
        }
    }
    if (op->has_other) {
        some_key(m, s, true, &op->other);
    }
    if (op->has_key && op->has_other && !op->prefix &&
        model_key_cmp(&s->facts, sop_buf_slice(&op->key), sop_buf_slice(&op->other)) > 0) {
        struct sop_buf swap = op->key;
        op->key = op->other;
        op->other = swap;
    }
    bool bounds = !compares || !s->facts.unique;
    op->low_open = bounds && !op->prefix && op->key.len > 0 && model_chance(r, 300);
    op->high_closed = bounds && model_chance(r, 300);
    op->reverse = model_chance(r, 400);
    op->keys_only = model_chance(r, 300);
    op->limit = 1 + kit_below(r, model_chance(r, 300) ? MODEL_ITEMS_MAX : 20);
}

/* ---- choosing ------------------------------------------------------------------------------
 */

static const enum model_op_kind growing[] = {
    MODEL_ADD,    MODEL_ADD,    MODEL_ADD,        MODEL_ADD_IF_ABSENT, MODEL_UPSERT,
    MODEL_UPSERT, MODEL_UPDATE, MODEL_UPDATE_KEY, MODEL_REMOVE,        MODEL_STREAM};
static const enum model_op_kind shrinking[] = {MODEL_REMOVE,     MODEL_REMOVE, MODEL_REMOVE,
                                               MODEL_REMOVE,     MODEL_REMOVE, MODEL_UPDATE,
                                               MODEL_UPDATE_KEY, MODEL_ADD};
static const enum model_op_kind reading[] = {
    MODEL_GET, MODEL_GET, MODEL_GET, MODEL_GET_MANY, MODEL_RANGE, MODEL_RANGE, MODEL_COUNT};
static const enum model_op_kind moving[] = {
    MODEL_FIND,     MODEL_NEAR,     MODEL_BEFORE,    MODEL_FIND_ID,   MODEL_FIRST,
    MODEL_LAST,     MODEL_NEXT,     MODEL_NEXT,      MODEL_NEXT,      MODEL_PREV,
    MODEL_PREV,     MODEL_PREV,     MODEL_NEXT,      MODEL_SEEK,      MODEL_VALUE,
    MODEL_POSITION, MODEL_VIEW_KEY, MODEL_VIEW_ITEM, MODEL_VIEW_ITEM, MODEL_CURSOR_CLOSE};
static const enum model_op_kind changing[] = {MODEL_CURSOR_UPDATE, MODEL_CURSOR_UPDATE_KEY,
                                              MODEL_CURSOR_REMOVE};
#define ANY(rng, list) ((list)[kit_below(rng, SOP_ARRAY_LEN(list))])

static bool choose_store_op(struct model_maker *m, const struct model_txn *t,
                            struct model_op *op)
{
    struct kit_rng *r = &m->rng;
    bool there = t->view.now->stores[op->name] != NULL;
    bool writes = t->mode == SOP_WRITE;
    if (!there && writes && model_chance(r, m->calm ? 0 : 700)) {
        op->kind = MODEL_STORE_CREATE;
    } else if (there && writes && !m->calm && model_chance(r, 2)) {
        op->kind = MODEL_STORE_REMOVE;
    } else if (writes && !m->calm && model_chance(r, 2)) {
        op->kind = MODEL_STORE_CREATE; /* EXISTS, mostly */
    } else if (writes && model_chance(r, 2)) {
        op->kind = MODEL_STORE_CHANGE;
    } else if (model_chance(r, 4)) {
        op->kind = MODEL_STORE_INFO;
    } else if (model_chance(r, 2)) {
        op->kind = MODEL_STORE_LIST;
    } else {
        return false;
    }
    make_facts(m, &op->facts);
    return true;
}

static void choose(struct model_maker *m, const struct model_txn *t, struct model_op *op)
{
    struct kit_rng *r = &m->rng;
    bool writes = t->mode == SOP_WRITE;
    op->cursor = kit_below(r, MODEL_CURSORS);
    bool open = t->view.cursors[op->cursor].open;
    if (model_chance(r, writes ? 350 : 700)) {
        op->kind = open ? ANY(r, moving) : MODEL_CURSOR_OPEN;
        if (open && writes && model_chance(r, 200)) {
            op->kind = ANY(r, changing);
        }
    } else if (!writes || model_chance(r, 350)) {
        op->kind = ANY(r, reading);
    } else {
        uint64_t tide = m->made / TIDE_OPERATIONS + op->name;
        op->kind = tide % 3 == 2 ? ANY(r, shrinking) : ANY(r, growing);
    }
}

/* ---- filling in ----------------------------------------------------------------------------
 */

static void fill_find_id(struct model_maker *m, const struct model_store *s,
                         struct model_op *op)
{
    some_key(m, s, true, &op->key);
    if (s->map->count == 0) {
        return;
    }
    const struct model_item *item = s->map->items[kit_below(&m->rng, s->map->count)];
    if (item->has_id) {
        model_set(&op->key, model_key_of(item));
        memcpy(op->turn, item->turn, sizeof op->turn);
        op->id = item->id;
    }
}

static void fill(struct model_maker *m, const struct model_store *s, struct model_op *op)
{
    struct kit_rng *r = &m->rng;
    op->has_key = true;
    switch (op->kind) {
    case MODEL_FIND_ID:
        fill_find_id(m, s, op);
        return;
    case MODEL_SEEK:
        op->position = kit_below(r, s->map->count + 3);
        return;
    case MODEL_COUNT:
        op->estimate = model_chance(r, 700); /* exact ones conflict with everybody */
        return;
    case MODEL_RANGE:
        some_range(m, s, op);
        return;
    case MODEL_GET_MANY:
        op->keys_count = 1 + kit_below(r, MODEL_KEYS_MAX);
        for (uint32_t i = 0; i < op->keys_count; i++) {
            some_key(m, s, true, &op->keys[i]);
        }
        return;
    case MODEL_ADD:
    case MODEL_ADD_IF_ABSENT:
        some_key(m, s, false, &op->key);
        break;
    case MODEL_UPDATE_KEY:
    case MODEL_CURSOR_UPDATE_KEY:
        some_key(m, s, true, &op->key);
        op->has_other = model_chance(r, 700);
        if (op->has_other) {
            some_key(m, s, false, &op->other);
        }
        some_ride(m, op);
        return;
    default:
        some_key(m, s, true, &op->key);
        break;
    }
    some_ride(m, op);
    some_value(m, s, op->kind == MODEL_STREAM, op);
    op->mode = (enum sop_put_mode)kit_below(r, 3);
}

void model_make(struct model_maker *m, const struct model_txn *t, struct model_op *op)
{
    memset(op, 0, sizeof *op);
    m->made++;
    op->name = kit_below(&m->rng, MODEL_NAMES);
    if (model_chance(&m->rng, 500)) {
        op->name = op->name % 3; /* some stores are busier */
    }
    struct sop_lsn lsn = sop_txn_lsn(t->txn);
    op->turn[0] = lsn.slot;
    op->turn[1] = lsn.record;
    op->turn[2] = ++m->turns;
    if (choose_store_op(m, t, op)) {
        return;
    }
    choose(m, t, op);
    uint32_t name = op->kind > MODEL_CURSOR_OPEN ? t->view.cursors[op->cursor].name : op->name;
    const struct model_store *s = t->view.now->stores[name];
    if (s != NULL) {
        fill(m, s, op);
    } else if (op->kind == MODEL_RANGE) {
        op->limit = 1;
    } else if (op->kind == MODEL_GET_MANY) {
        op->keys_count = 1;
    }
}
