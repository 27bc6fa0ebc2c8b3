/* The life of a transaction before its commit; see txn.h. */
#include "engine/txn/engine.h"

#include "engine/base/codec.h"
#include "engine/base/limits.h"

#define TXN_MEMORY_MIN (64ull << 20)
#define NS_PER_MS      1000000ull
#define IDLE_MAX       64u

/* A transaction costs its epoch slot, its own memory and a first block of its arena: those that
 * end leave that to the next ones. */

static void txn_free(struct sop_engine *e, struct sop_txn *t)
{
    sop_epoch_give(&e->epochs, t->slot);
    sop_arena_fini(&t->arena);
    sop_free(t);
}

/* An open transaction that has nothing but a slot and perhaps memory in its arena. */
static struct sop_txn *txn_take(struct sop_engine *e)
{
    sop_mutex_lock(&e->idle_mutex);
    struct sop_txn *t = e->idle;
    if (t != NULL) {
        e->idle = t->idle_next;
        e->idle_count--;
    }
    sop_mutex_unlock(&e->idle_mutex);
    if (t == NULL) {
        t = sop_calloc(1, sizeof *t);
        if (t == NULL) {
            return NULL;
        }
        t->engine = e;
        sop_arena_init(&t->arena, 0);
        t->arena.pool = &e->arenas;
        t->slot = sop_epoch_take(&e->epochs);
        if (t->slot == NULL) {
            sop_free(t);
            return NULL;
        }
    }
    t->idle_next = NULL;
    t->magic = SOP_TXN_MAGIC;
    t->state = SOP_TXN_OPEN;
    return t;
}

static void txn_give(struct sop_engine *e, struct sop_txn *t)
{
    SOP_ASSERT(t->slot->depth == 0);
    struct sop_arena arena = t->arena;
    struct sop_epoch_slot *slot = t->slot;
    sop_arena_rewind(&arena, 0);
    memset(t, 0, sizeof *t);
    t->engine = e;
    t->arena = arena;
    t->slot = slot;
    sop_mutex_lock(&e->idle_mutex);
    bool keep = SOP_RECYCLES && e->idle_count < IDLE_MAX;
    if (keep) {
        t->idle_next = e->idle;
        e->idle = t;
        e->idle_count++;
    }
    sop_mutex_unlock(&e->idle_mutex);
    if (!keep) {
        txn_free(e, t);
    }
}

void sop_engine_forget_idle(struct sop_engine *e)
{
    while (e->idle != NULL) {
        struct sop_txn *next = e->idle->idle_next;
        txn_free(e, e->idle);
        e->idle = next;
    }
    e->idle_count = 0;
}

int sop_engine_begin(struct sop_txn **out, struct sop_engine *e, enum sop_txn_mode mode,
                     struct sop_pin *at, uint32_t max_time_ms, uint64_t memory_bytes,
                     struct sop_err *err)
{
    *out = NULL;
    int rc = sop_engine_check(e, err);
    if (rc != 0) {
        return rc;
    }
    if (mode == SOP_WRITE && e->options.observer) {
        return SOP_ERR(err, READ_ONLY, "the database is open read-only; open it for writing");
    }
    struct sop_txn *t = txn_take(e);
    if (t == NULL) {
        return SOP_ERR(err, NOMEM, "begin a transaction");
    }
    t->mode = mode;
    t->unsure = (mode == SOP_WRITE || mode == SOP_READ) && at == NULL && e->chain != NULL &&
                !e->options.observer;
    uint64_t budget = memory_bytes != 0 ? memory_bytes : e->options.cache_bytes;
    if (memory_bytes == 0 && budget < TXN_MEMORY_MIN) {
        budget = TXN_MEMORY_MIN;
    }
    sop_arena_rewind(&t->arena, budget);
    t->deadline_ns = sop_env_mono_ns(e->env) + max_time_ms * NS_PER_MS;
    if (at != NULL) {
        t->pin = sop_pages_pin_again(&e->pages, at);
    } else {
        rc = sop_pages_pin(&e->pages, &t->pin, err);
        if (rc != 0) {
            txn_give(e, t);
            return rc;
        }
    }
    t->moment = t->pin->moment;
    t->lsn = t->pin->lsn;
    *out = t;
    return 0;
}

int sop_txn__assure(struct sop_txn *t, struct sop_err *err)
{
    int rc = sop_chain_barrier(t->engine->chain, err);
    if (rc != 0) {
        return sop_engine_stop(t->engine, rc, err);
    }
    t->unsure = false;
    return 0;
}

int sop_engine_renew(struct sop_txn *t, struct sop_err *err)
{
    SOP_ASSERT(t->mode == SOP_NO_CHECK);
    struct sop_pages *pages = &t->engine->pages;
    if (atomic_load(&pages->moment) == t->moment) {
        return 0;
    }
    struct sop_pin *pin = NULL;
    int rc = sop_pages_pin(pages, &pin, err);
    if (rc == 0) {
        sop_pages_unpin(pages, t->pin);
        t->pin = pin;
        t->moment = pin->moment;
        t->lsn = pin->lsn;
    }
    return rc;
}

static void forget_prepared(struct sop_engine *e, struct sop_txn *t)
{
    sop_mutex_lock(&e->commit);
    struct sop_txn **at = &e->prepared;
    while (*at != NULL && *at != t) {
        at = &(*at)->prepared_next;
    }
    if (*at == t) {
        *at = t->prepared_next;
    }
    sop_mutex_unlock(&e->commit);
}

/* Frees the trees that this transaction made and that never came to be. Nobody else has seen
 * them: neither the catalog nor a record names them, and the batch that had them is undone. */
static void drop_created(struct sop_txn *t)
{
    for (struct sop_access *a = t->accesses; a != NULL; a = a->next) {
        if (a->created && atomic_load(&a->tree->created) == SOP_NEVER) {
            sop_engine_forget_tree(t->engine, a->tree);
            a->tree = NULL;
        }
    }
}

void sop_engine_end(struct sop_txn *t)
{
    struct sop_engine *e = t->engine;
    if (t->state == SOP_TXN_PREPARED) {
        forget_prepared(e, t);
    }
    drop_created(t);
    for (size_t i = 0; i < t->values_count; i++) {
        sop_files_add(&e->files, &t->values[i], SOP_FILES_INFLIGHT, -1);
    }
    sop_free(t->values);
    for (struct sop_access *a = t->accesses; a != NULL; a = a->next) {
        sop_free(a->points);
        sop_free(a->ranges);
        sop_near_fini(&a->near);
    }
    sop_pages_unpin(&e->pages, t->pin);
    txn_give(e, t);
    sop_epoch_reclaim(&e->epochs);
}

/* ---- read and write sets -------------------------------------------------------------------
 */

/* The arena gave nothing: was it the budget or the heap? */
static int budget(struct sop_txn *t, struct sop_err *err)
{
    if (!t->arena.refused) {
        return SOP_ERR(err, NOMEM, "the changes and reads of a transaction");
    }
    return SOP_ERR(err, LIMIT,
                   "the transaction's memory budget of %zu bytes is used up; commit smaller "
                   "transactions or raise memory_bytes",
                   t->arena.budget);
}

int sop_txn_access(struct sop_txn *t, struct sop_tree *tree, struct sop_access **out,
                   struct sop_err *err)
{
    for (struct sop_access *a = t->accesses; a != NULL; a = a->next) {
        if (a->tree == tree) {
            *out = a;
            return 0;
        }
    }
    struct sop_access *a = sop_arena_alloc(&t->arena, sizeof *a);
    if (a == NULL) {
        return budget(t, err);
    }
    memset(a, 0, sizeof *a);
    a->tree = tree;
    a->next = t->accesses;
    t->accesses = a;
    *out = a;
    return 0;
}

int sop_access_wset(struct sop_txn *t, struct sop_access *a, struct sop_wset **out,
                    struct sop_err *err)
{
    int rc = 0;
    if (a->wset == NULL) {
        rc = sop_wset_new(&a->wset, &t->arena, &a->tree->order, err);
    }
    *out = a->wset;
    return rc;
}

static bool notes_reads(const struct sop_txn *t, const struct sop_access *a)
{
    return t->mode == SOP_WRITE && !a->created;
}

int sop_txn_read_point(struct sop_txn *t, struct sop_access *a, struct sop_slice key,
                       struct sop_err *err)
{
    if (!notes_reads(t, a)) {
        return 0;
    }
    if (a->points_count == a->points_cap) {
        size_t cap = a->points_cap == 0 ? 16 : a->points_cap * 2;
        struct sop_slice *points = sop_realloc(a->points, cap * sizeof *points);
        if (points == NULL) {
            return SOP_ERR(err, NOMEM, "note a read");
        }
        a->points = points;
        a->points_cap = cap;
    }
    struct sop_slice copy;
    if (sop_arena_copy(&t->arena, key, &copy, err) != 0) {
        return budget(t, err);
    }
    a->points[a->points_count++] = copy;
    return 0;
}

int sop_txn_read_range(struct sop_txn *t, struct sop_access *a, struct sop_slice low,
                       struct sop_slice high, bool has_high, struct sop_err *err)
{
    if (!notes_reads(t, a)) {
        return 0;
    }
    if (a->ranges_count == a->ranges_cap) {
        size_t cap = a->ranges_cap == 0 ? 8 : a->ranges_cap * 2;
        struct sop_read_range *ranges = sop_realloc(a->ranges, cap * sizeof *ranges);
        if (ranges == NULL) {
            return SOP_ERR(err, NOMEM, "note a range that was read");
        }
        a->ranges = ranges;
        a->ranges_cap = cap;
    }
    struct sop_read_range *r = &a->ranges[a->ranges_count];
    memset(r, 0, sizeof *r);
    r->has_high = has_high;
    if (sop_arena_copy(&t->arena, low, &r->low, err) != 0 ||
        (has_high && sop_arena_copy(&t->arena, high, &r->high, err) != 0)) {
        return budget(t, err);
    }
    a->ranges_count++;
    return 0;
}

int sop_txn_wrote_value(struct sop_txn *t, const struct sop_place *place, struct sop_err *err)
{
    if (t->values_count == t->values_cap) {
        size_t cap = t->values_cap == 0 ? 16 : t->values_cap * 2;
        struct sop_place *values = sop_realloc(t->values, cap * sizeof *values);
        if (values == NULL) {
            return SOP_ERR(err, NOMEM, "note a value");
        }
        t->values = values;
        t->values_cap = cap;
    }
    int rc = sop_files_note(&t->engine->files, place, err);
    if (rc != 0) {
        return rc;
    }
    t->values[t->values_count++] = *place;
    t->writes_values = true;
    sop_files_add(&t->engine->files, place, SOP_FILES_INFLIGHT, 1);
    atomic_fetch_add(&t->engine->volume_bytes, place->bytes);
    return 0;
}

static void put_be48(uint8_t *to, uint64_t v)
{
    for (int i = 0; i < 6; i++) {
        to[i] = (uint8_t)(v >> (40 - 8 * i));
    }
}

struct sop_item_id sop_txn_item_id(struct sop_txn *t)
{
    struct sop_item_id id;
    put_be48(id.bytes, t->lsn.slot);
    put_be48(id.bytes + 6, t->lsn.record);
    put_be48(id.bytes + 12, sop_chain_member(t->engine->chain));
    /* two transactions of this member may begin at the same LSN: one counter for all */
    put_be48(id.bytes + 18, sop_engine_new_item_number(t->engine));
    t->ids++;
    return id;
}

/* A key was not found in the last leaf. Is it greater than all? Whoever loads in key order asks
 * for keys behind the last one again and again, and need not go down the tree for them. Asked
 * for one in 256 such keys: others may be loaded in no order. */
static int note_behind(struct sop_txn *t, struct sop_access *a, struct sop_version *leaf,
                       struct sop_slice key, struct sop_err *err)
{
    if (a->misses++ != 0) {
        return 0;
    }
    struct sop_walk walk;
    struct sop_buf last = {0};
    int rc = sop_version_walk(leaf, &a->tree->order, NULL, &walk, err);
    bool any = rc == 0 && sop_walk_last(&walk);
    if (any) {
        struct sop_item item = sop_walk_item(&walk);
        rc = sop_item_key(&item, &last, err);
    }
    if (rc == 0 && (!any || sop_order_cmp(&a->tree->order, sop_buf_slice(&last), key) < 0)) {
        struct sop_slice from = any || leaf->low.len > 0 ? key : sop_slice(NULL, 0);
        /* Without room for it the look-ups go on as before: that is no error. */
        a->knows_behind = sop_arena_copy(&t->arena, from, &a->behind, NULL) == 0;
    }
    sop_buf_fini(&last);
    return rc;
}

/* What the snapshot has. Inside an epoch. leaf NULL: found here. */
static int look_down(struct sop_txn *t, struct sop_access *a, struct sop_slice key,
                     struct sop_version *leaf, struct sop_look *look, struct sop_err *err)
{
    int rc = leaf != NULL ? 0
                          : sop_tree_descend(&t->engine->pages, a->tree, t->moment, SOP_WAY_KEY,
                                             key, 0, &leaf, NULL, err);
    if (rc == 0) {
        rc = sop_version_find(leaf, &a->tree->order, key, &look->found, &look->item, err);
    }
    if (rc == 0 && !look->found && !leaf->has_high && t->mode == SOP_WRITE) {
        rc = note_behind(t, a, leaf, key, err);
    }
    if (rc == 0 && t->mode != SOP_NO_CHECK) { /* which moves on to new moments */
        sop_near_note(&a->near, leaf);
    }
    return rc;
}

static bool is_behind(const struct sop_access *a, struct sop_slice key)
{
    const struct sop_order *order = &a->tree->order;
    if (!a->knows_behind || a->behind.len == 0) {
        return a->knows_behind;
    }
    return (order->compare == NULL ? sop_slice_cmp(key, a->behind)
                                   : sop_order_cmp(order, key, a->behind)) >= 0;
}

void sop_txn_fetch_ahead(struct sop_txn *t, struct sop_access *a, const struct sop_slice *keys,
                         size_t count, struct sop_version **leaves)
{
    memset(leaves, 0, count * sizeof *leaves);
    if (!a->created && !a->knows_behind) {
        sop_tree_fetch_ahead(&t->engine->pages, a->tree, t->moment, keys, count, leaves);
    }
}

int sop_txn_look(struct sop_txn *t, struct sop_access *a, struct sop_slice key,
                 struct sop_look *look, struct sop_err *err)
{
    return sop_txn_look_in(t, a, key, NULL, look, err);
}

int sop_txn_look_in(struct sop_txn *t, struct sop_access *a, struct sop_slice key,
                    struct sop_version *leaf, struct sop_look *look, struct sop_err *err)
{
    look->cell = NULL;
    look->found = false;
    look->inside = false;
    look->place.leaf = NULL;
    int rc = sop_txn_assure(t, err);
    if (rc != 0) {
        return rc;
    }
    if (a->wset != NULL) {
        look->cell = sop_wset_locate(a->wset, key, &look->place);
    }
    if (look->cell != NULL || a->created || is_behind(a, key) ||
        sop_near_find(&a->near, &a->tree->order, key, &look->found, &look->item)) {
        return 0;
    }
    sop_epoch_enter(&t->engine->epochs, t->slot);
    rc = look_down(t, a, key, leaf, look, err);
    look->inside = rc == 0;
    if (rc != 0) {
        sop_epoch_leave(t->slot);
    }
    return rc;
}

static uint8_t change_of(uint8_t was, uint8_t kind)
{
    if (kind == SOP_VALUE_TOMBSTONE) {
        return was == 1 ? SOP_CHANGE_NOTHING : SOP_CHANGE_DELETE;
    }
    return was == 0 ? SOP_CHANGE_UPSERT : was == 1 ? SOP_CHANGE_INSERT : SOP_CHANGE_UPDATE;
}

/* Items that a cell adds to what the snapshot has. */
static int64_t delta_of(const struct sop_cell *c)
{
    switch (c->change) {
    case SOP_CHANGE_INSERT:
        return 1;
    case SOP_CHANGE_DELETE:
        return -1;
    default:
        return 0;
    }
}

/* A new cell has room for all that is put into it behind its key. */
static void fill_new(struct sop_cell *cell, const struct sop_put *put)
{
    uint8_t *room = sop_cell_room(cell);
    if (put->old_place != NULL) {
        memcpy(room, put->old_place, SOP_PLACE_BYTES);
        cell->old_place = room;
        room += SOP_PLACE_BYTES;
    }
    sop_copy(room, put->ride.data, put->ride.len);
    cell->ride = sop_slice(room, put->ride.len);
    room += put->ride.len;
    sop_copy(room, put->value.data, put->value.len);
    cell->value = sop_slice(room, put->value.len);
    cell->was = put->was;
}

/* Replaces what a cell says; nothing is changed before all is copied. */
static int fill_again(struct sop_txn *t, struct sop_cell *cell, const struct sop_put *put,
                      struct sop_err *err)
{
    struct sop_slice ride;
    struct sop_slice value;
    if (sop_arena_copy(&t->arena, put->ride, &ride, err) != 0 ||
        sop_arena_copy(&t->arena, put->value, &value, err) != 0) {
        return budget(t, err);
    }
    cell->ride = ride;
    cell->value = value;
    return 0;
}

int sop_txn_put(struct sop_txn *t, struct sop_access *a, const struct sop_put *put,
                struct sop_err *err)
{
    SOP_ASSERT(t->mode == SOP_WRITE && t->state == SOP_TXN_OPEN);
    struct sop_wset *wset = NULL;
    struct sop_cell *cell = NULL;
    bool added = false;
    const struct sop_wset_want want = {.key = put->key,
                                       .room = put->ride.len + put->value.len +
                                               (put->old_place != NULL ? SOP_PLACE_BYTES : 0),
                                       .place = put->place};
    int rc = sop_access_wset(t, a, &wset, err);
    if (rc == 0) {
        rc = sop_wset_want(wset, &want, &cell, &added, err);
    }
    if (rc == SOP_ERR_NOMEM && t->arena.budget != 0) {
        return budget(t, err);
    }
    if (rc == 0 && !added) {
        rc = fill_again(t, cell, put, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (added) {
        fill_new(cell, put);
    } else {
        a->delta -= delta_of(cell);
    }
    cell->kind = put->kind;
    cell->change = change_of(cell->was, put->kind);
    a->delta += delta_of(cell);
    return 0;
}
