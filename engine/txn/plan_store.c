/* Merging a write set into a tree: grouping by leaf, splitting, growing the root; see plan.h.
 *
 * Level by level: the changes of one level give, after splits and merges, a list of separator
 * operations for the level above, until a level asks for nothing. */
#include "engine/txn/plan.h"

#include "engine/base/codec.h"
#include "engine/base/limits.h"

#define ITEM_BYTES 24u /* in a sheet, beside key, ride and value; roughly */

static size_t item_bytes(const struct sop_item *item)
{
    return item->prefix.len + item->suffix.len + item->ride.len + item->value.len + ITEM_BYTES;
}

/* ---- leaves --------------------------------------------------------------------------------
 */

static int count_of(struct sop_plan *p, struct sop_tree *tree, struct sop_plan_count **out,
                    struct sop_err *err)
{
    for (size_t i = 0; i < p->counts_count; i++) {
        if (p->counts[i].tree == tree) {
            *out = &p->counts[i];
            return 0;
        }
    }
    if (p->counts_count == p->counts_cap) {
        size_t cap = p->counts_cap == 0 ? 16 : p->counts_cap * 2;
        struct sop_plan_count *counts = sop_realloc(p->counts, cap * sizeof *counts);
        if (counts == NULL) {
            return SOP_ERR(err, NOMEM, "count items");
        }
        p->counts = counts;
        p->counts_cap = cap;
    }
    *out = &p->counts[p->counts_count++];
    **out = (struct sop_plan_count){.tree = tree, .items = sop_tree_items(tree, p->base)};
    return 0;
}

static int last_key_of_source(struct sop_pend *d, struct sop_buf *key, bool *any,
                              struct sop_err *err)
{
    *any = false;
    if (d->source == NULL) {
        return 0;
    }
    struct sop_walk walk;
    int rc = sop_version_walk(d->source, &d->tree->order, NULL, &walk, err);
    if (rc == 0 && sop_walk_last(&walk)) {
        struct sop_item item = sop_walk_item(&walk);
        rc = sop_item_key(&item, key, err);
        *any = true;
    }
    return rc;
}

/* Is the key greater than all keys of the page below the batch? Keys come in order: once one
 * is, all are. */
static int is_behind(struct sop_pend *d, struct sop_slice key, bool *behind,
                     struct sop_err *err)
{
    if (*behind || d->source == NULL || d->source->items == 0) {
        *behind = true;
        return 0;
    }
    struct sop_buf last = {0};
    bool any = false;
    int rc = last_key_of_source(d, &last, &any, err);
    *behind =
        rc == 0 && (!any || sop_order_cmp(&d->tree->order, sop_buf_slice(&last), key) < 0);
    sop_buf_fini(&last);
    return rc;
}

/* What a cell replaces. */
struct replaced {
    bool there;
    const uint8_t *place; /* encoded place of its value, if that lies in a pack */
    int64_t bytes; /* that it took; where nobody looked, what an item of the page takes */
};

/* Was the cell's key there at the head? */
static int resolve(struct sop_pend *d, const struct sop_cell *cell, bool *behind,
                   struct replaced *old, struct sop_err *err)
{
    *old = (struct replaced){.there = cell->was == 2};
    if (cell->was != 0) {
        old->place = old->there ? cell->old_place : NULL;
        old->bytes = old->there && d->items > 0 ? d->bytes_live / d->items : 0;
        return 0;
    }
    /* Only the page at the right end is asked: elsewhere few keys would be behind. */
    int rc = d->has_high ? 0 : is_behind(d, cell->key, behind, err);
    if (rc != 0 || *behind || d->source == NULL) {
        return rc;
    }
    struct sop_item item;
    rc = sop_version_find(d->source, &d->tree->order, cell->key, &old->there, &item, err);
    if (rc != 0 || !old->there) {
        return rc;
    }
    old->bytes = (int64_t)item_bytes(&item);
    if (item.kind == SOP_VALUE_PLACE) {
        if (item.value.len != SOP_PLACE_BYTES) {
            return SOP_ERR(err, DATA_LOSS, "page %" PRIu64 " holds a bad place", d->page);
        }
        old->place = item.value.data;
    }
    return 0;
}

/* The values in packs that come and go with a cell. */
static int change_values(struct sop_plan *p, const struct sop_cell *cell,
                         const struct replaced *old, struct sop_err *err)
{
    int rc = 0;
    if (old->place != NULL) {
        struct sop_place place = sop_place_decode(old->place);
        rc = sop_place_none(&place) ? 0 : sop_plan_value(p, &place, -1, err);
    }
    if (rc == 0 && cell->kind == SOP_VALUE_PLACE) {
        struct sop_place place = sop_place_decode(cell->value.data);
        rc = sop_plan_value(p, &place, 1, err);
    }
    return rc;
}

/* Adds one cell to its leaf, whose list of operations has the room. */
static int add_cell(struct sop_plan *p, struct sop_pend *d, const struct sop_cell *cell,
                    bool *behind, struct sop_err *err)
{
    struct replaced old;
    int rc = resolve(d, cell, behind, &old, err);
    bool removes = cell->kind == SOP_VALUE_TOMBSTONE;
    if (rc != 0 || (removes && !old.there)) {
        return rc;
    }
    if (old.place != NULL || cell->kind == SOP_VALUE_PLACE) {
        rc = change_values(p, cell, &old, err);
        if (rc != 0) {
            return rc;
        }
    }
    int64_t bytes = (int64_t)(cell->key.len + cell->ride.len + cell->value.len + ITEM_BYTES);
    struct sop_op *op = &d->ops[d->ops_count++];
    *op = (struct sop_op){.key = cell->key,
                          .ride = cell->ride,
                          .value = cell->value,
                          .kind = cell->kind,
                          .txn = cell->flags,
                          .delta = (int8_t)((removes ? 0 : 1) - (old.there ? 1 : 0))};
    d->items += op->delta;
    /* Of an item that nobody looked at only the usual size is known. An update never makes the
     * page seem smaller by it: a page over its limit would go unnoticed. */
    if (cell->was != 0 && !removes && old.bytes > bytes) {
        old.bytes = bytes;
    }
    d->bytes_live += (removes ? 0 : bytes) - old.bytes;
    return 0;
}

/* Moves a list of operations into the arena as the pend's own. */
static int set_ops(struct sop_plan *p, struct sop_pend *d, const struct sop_op *ops,
                   size_t count, struct sop_err *err)
{
    d->ops = sop_arena_alloc(&p->arena, count * sizeof *ops + 1);
    if (d->ops == NULL) {
        return SOP_ERR(err, NOMEM, "plan %zu operations", count);
    }
    if (count > 0) {
        memcpy(d->ops, ops, count * sizeof *ops);
    }
    d->ops_count = count;
    return 0;
}

/* Leaves that are fetched ahead, in the order of the keys; a batch with few changes a leaf
 * waits for memory more than anything. */
struct ahead {
    struct sop_version *leaves[SOP_FETCH_MOST];
    size_t at, count;
    size_t cells_seen, leaves_seen; /* so far */
};

#define CELLS_A_LEAF_MOST 32 /* with more of them the waits for the leaf do not count */

/* Looks for the leaves of the cells from the cursor's on. */
static void fetch_ahead(struct sop_plan *p, struct sop_tree *tree, struct ahead *a,
                        const struct sop_wset_cursor *from)
{
    size_t step = a->leaves_seen == 0 ? 1 : a->cells_seen / a->leaves_seen;
    step = step > 0 ? step : 1;
    a->at = 0;
    a->count = 0;
    if (step > CELLS_A_LEAF_MOST) {
        return;
    }
    struct sop_slice keys[SOP_FETCH_MOST];
    struct sop_wset_cursor c = *from;
    size_t count = 0;
    while (c.cell != NULL && count < SOP_FETCH_MOST) {
        keys[count++] = c.cell->key;
        for (size_t i = 0; i < step && c.cell != NULL; i++) {
            (void)sop_wset_next(&c);
        }
    }
    if (count > 1) { /* one alone has nobody to wait with */
        sop_tree_fetch_ahead(&p->engine->pages, tree, p->base, keys, count, a->leaves);
        a->count = count;
    }
}

/* The leaf of the cursor's cell if it was fetched ahead, else NULL. */
static struct sop_version *leaf_ahead(struct sop_plan *p, struct sop_tree *tree,
                                      struct ahead *a, const struct sop_wset_cursor *cursor)
{
    if (a->at == a->count) {
        fetch_ahead(p, tree, a, cursor);
    }
    struct sop_slice key = cursor->cell->key;
    for (; a->at < a->count; a->at++) {
        struct sop_version *v = a->leaves[a->at];
        if (v != NULL && (!v->has_high || sop_order_cmp(&tree->order, key, v->high) < 0)) {
            bool inside = v->low.len == 0 || sop_order_cmp(&tree->order, key, v->low) >= 0;
            return inside ? v : NULL;
        }
    }
    return NULL;
}

/* The leaf for the cursor's cell: of the tree at the head, or the root that this batch creates.
 */
static struct sop_pend *leaf_for(struct sop_plan *p, struct sop_tree *tree, struct ahead *a,
                                 const struct sop_wset_cursor *cursor, struct sop_err *err)
{
    if (tree->created == SOP_NEVER) {
        for (struct sop_pend *d = p->first; d != NULL; d = d->next) {
            if (d->tree == tree && d->page == tree->root) {
                return d;
            }
        }
        SOP_UNREACHABLE("a created store has a root in the plan");
    }
    struct sop_version *leaf = leaf_ahead(p, tree, a, cursor);
    if (leaf == NULL && sop_tree_descend(&p->engine->pages, tree, p->base, SOP_WAY_KEY,
                                         cursor->cell->key, 0, &leaf, NULL, err) != 0) {
        return NULL;
    }
    return sop_plan__pend(p, tree, leaf->page, err);
}

static int code_of(const struct sop_err *err)
{
    return err != NULL && err->code != 0 ? err->code : SOP_ERR_NOMEM;
}

#define CELLS_BEFORE_SEEK 8

/* Gives a leaf the cells from the cursor's on that lie below its high fence; the cursor then
 * stands on the first one of the next leaf. */
static int add_cells(struct sop_plan *p, struct sop_pend *d, struct sop_wset_cursor *cursor,
                     struct sop_err *err)
{
    const struct sop_order *order = &d->tree->order;
    const struct sop_cell *end = NULL; /* of a leaf with many cells it is found by a search */
    bool known = !d->has_high;
    bool behind = false;
    int rc = 0;
    size_t seen = 0;
    for (struct sop_cell *cell = cursor->cell; cell != end && rc == 0;
         cell = sop_wset_next(cursor)) {
        if (!known && sop_order_cmp(order, cell->key, d->high) >= 0) {
            break;
        }
        if (cell->change != SOP_CHANGE_NOTHING) {
            rc = add_cell(p, d, cell, &behind, err);
        }
        if (!known && ++seen == CELLS_BEFORE_SEEK) {
            struct sop_wset_cursor high;
            sop_wset_cursor_init(&high, cursor->wset);
            end = sop_wset_seek(&high, d->high);
            known = true;
        }
    }
    return rc;
}

static int group_leaves(struct sop_plan *p, struct sop_tree *tree, const struct sop_wset *wset,
                        struct sop_pend_list *leaves, struct sop_err *err)
{
    /* One array for all: each leaf has its part of it. */
    size_t most = sop_wset_count(wset);
    struct sop_op *ops = sop_arena_alloc(&p->arena, most * sizeof *ops + 1);
    if (ops == NULL) {
        return SOP_ERR(err, NOMEM, "plan %zu operations", most);
    }
    struct sop_plan_count *count = NULL;
    struct ahead ahead;
    memset(&ahead, 0, sizeof ahead);
    int rc = 0;
    struct sop_wset_cursor cursor;
    sop_wset_cursor_init(&cursor, wset);
    (void)sop_wset_first(&cursor);
    while (cursor.cell != NULL && rc == 0) {
        if (cursor.cell->change == SOP_CHANGE_NOTHING) {
            (void)sop_wset_next(&cursor);
            continue;
        }
        struct sop_pend *d = leaf_for(p, tree, &ahead, &cursor, err);
        if (d == NULL) {
            return code_of(err);
        }
        d->ops = ops;
        int64_t before = d->items;
        rc = add_cells(p, d, &cursor, err);
        ops += d->ops_count;
        ahead.cells_seen += d->ops_count;
        ahead.leaves_seen++;
        if (rc == 0) {
            rc = count_of(p, tree, &count, err);
        }
        if (rc == 0) {
            count->items += (uint64_t)(d->items - before);
            rc = sop_pend_list_add(leaves, d, err);
        }
    }
    return rc;
}

/* ---- splitting -----------------------------------------------------------------------------
 */

struct split {
    uint64_t items_most; /* per part */
    uint64_t bytes_most;
};

/* Is everything new at the right end of the tree? Then parts are filled to the brim. *last: the
 * page's greatest key before the batch. */
static int appends(struct sop_pend *d, struct sop_buf *last, bool *yes, struct sop_err *err)
{
    bool any = false;
    *yes = !d->has_high && d->ops_count > 0 && d->ops[0].delta > 0;
    int rc = *yes ? last_key_of_source(d, last, &any, err) : 0;
    if (rc == 0 && any) {
        *yes = sop_order_cmp(&d->tree->order, sop_buf_slice(last), d->ops[0].key) < 0;
    }
    return rc;
}

static struct split size_parts(const struct sop_pend *d, bool full, uint64_t items,
                               uint64_t bytes)
{
    uint64_t slots = sop_plan__slots(d);
    if (full) {
        return (struct split){.items_most = slots, .bytes_most = SOP_PAGE_BYTES_SOFT};
    }
    uint64_t fill = slots * 7 / 10 > 0 ? slots * 7 / 10 : 1;
    uint64_t by_items = items > slots ? (items + fill - 1) / fill : 1;
    uint64_t by_bytes =
        bytes > SOP_PAGE_BYTES_SOFT ? bytes / (SOP_PAGE_BYTES_SOFT * 7ull / 10) + 1 : 1;
    uint64_t parts = by_items > by_bytes ? by_items : by_bytes;
    return (struct split){.items_most = (items + parts - 1) / parts,
                          .bytes_most = bytes / parts + 1};
}

/* Items that a page may hold. Inner pages of stores with few items a page hold more, or a path
 * would be as long as the tree is wide. */
uint64_t sop_plan__slots(const struct sop_pend *d)
{
    uint64_t slots = d->tree->slot_length;
    return d->level > 0 && slots < SOP_INNER_SLOTS_MIN ? SOP_INNER_SLOTS_MIN : slots;
}

/* One finished part of a split. */
static int add_part(struct sop_plan *p, struct sop_pend *d, struct sop_slice low,
                    struct sop_slice high, bool has_high, size_t op_first, size_t op_end,
                    uint64_t items, uint64_t bytes, struct sop_pend_list *parts,
                    struct sop_err *err)
{
    struct sop_pend *part = sop_plan__pend(p, d->tree, 0, err);
    if (part == NULL) {
        return SOP_ERR_NOMEM;
    }
    if (d->source != NULL && d->source->items > 0) { /* else nothing need be laid over it */
        part->source = d->source;
        part->source_page = d->source_page;
    }
    part->level = d->level;
    part->split = true;
    part->low = low;
    part->high = high;
    part->has_high = has_high;
    part->ops = d->ops + op_first;
    part->ops_count = op_end - op_first;
    part->items = (int64_t)items;
    part->items_before = items;
    part->bytes_live = (int64_t)bytes;
    return sop_pend_list_add(parts, part, err);
}

/* Where a page begins whose first key is `right`, after one whose last is `left`; in the arena.
 */
static int part_low(struct sop_plan *p, const struct sop_pend *d, struct sop_slice left,
                    struct sop_slice right, struct sop_slice *low, struct sop_err *err)
{
    if (d->level > 0) { /* an inner page begins with the key of its first child */
        return sop_arena_copy(&p->arena, right, low, err);
    }
    struct sop_buf separator = {0};
    int rc = sop_separator(&d->tree->order, left, right, &separator, err);
    if (rc == 0) {
        rc = sop_arena_copy(&p->arena, sop_buf_slice(&separator), low, err);
    }
    sop_buf_fini(&separator);
    return rc;
}

/* Cuts the content of d, its operations applied, into parts (without page ids yet). One part: d
 * needs no split. */
static int cut(struct sop_plan *p, struct sop_pend *d, struct sop_walk *walk,
               const struct split *size, struct sop_pend_list *parts, struct sop_err *err)
{
    struct sop_item before;
    struct sop_slice low = d->low;
    size_t op = 0;
    size_t op_first = 0;
    uint64_t items = 0;
    uint64_t bytes = 0;
    int rc = 0;
    for (bool on = sop_walk_first(walk); on && rc == 0; on = sop_walk_next(walk)) {
        struct sop_item item = sop_walk_item(walk);
        size_t more = item_bytes(&item);
        if (items >= size->items_most || (items > 0 && bytes + more > size->bytes_most)) {
            struct sop_slice at;
            struct sop_slice left;
            struct sop_slice right;
            rc = sop_plan__key(p, &before, &left, err);
            if (rc == 0) {
                rc = sop_plan__key(p, &item, &right, err);
            }
            if (rc == 0) {
                rc = part_low(p, d, left, right, &at, err);
            }
            while (rc == 0 && op < d->ops_count &&
                   sop_order_cmp(&d->tree->order, d->ops[op].key, at) < 0) {
                op++;
            }
            if (rc == 0) {
                rc = add_part(p, d, low, at, true, op_first, op, items, bytes, parts, err);
                low = at;
                op_first = op;
                items = 0;
                bytes = 0;
            }
        }
        items++;
        bytes += more;
        before = item;
    }
    if (rc == 0) {
        rc = add_part(p, d, low, d->high, d->has_high, op_first, d->ops_count, items, bytes,
                      parts, err);
    }
    return rc;
}

static size_t op_bytes(const struct sop_op *op)
{
    return op->key.len + op->ride.len + op->value.len + ITEM_BYTES;
}

/* The same for a page whose operations are all behind its own items, or that had none: it keeps
 * its items and takes what it has room for; the rest goes to pages that hold nothing else. No
 * sheet need be read or made only to be cut up. `last` is the page's greatest key before the
 * batch. */
static int cut_ops(struct sop_plan *p, struct sop_pend *d, struct sop_slice last,
                   const struct split *size, struct sop_pend_list *parts, struct sop_err *err)
{
    bool stands = d->source != NULL && d->source->items > 0;
    uint64_t items = stands ? d->source->items : 0;
    uint64_t bytes = stands ? d->source->bytes_live : 0;
    struct sop_slice low = d->low;
    size_t first = 0;
    int rc = 0;
    for (size_t i = 0; i <= d->ops_count && rc == 0; i++) {
        bool end = i == d->ops_count;
        const struct sop_op *op = end ? NULL : &d->ops[i];
        if (!end && op->kind == SOP_VALUE_TOMBSTONE) {
            continue;
        }
        size_t more = end ? 0 : op_bytes(op);
        if (end || items >= size->items_most ||
            (items > 0 && bytes + more > size->bytes_most)) {
            struct sop_slice at = {NULL, 0};
            rc = end ? 0 : part_low(p, d, i > 0 ? d->ops[i - 1].key : last, op->key, &at, err);
            if (rc == 0) {
                rc = add_part(p, d, low, end ? d->high : at, !end || d->has_high, first, i,
                              items, bytes, parts, err);
            }
            if (rc == 0 && parts->count > 1) {
                parts->at[parts->count - 1]->source = NULL;
                parts->at[parts->count - 1]->source_page = 0;
            }
            low = at;
            first = i;
            items = 0;
            bytes = 0;
        }
        items++;
        bytes += more;
    }
    return rc;
}

/* Takes pend x out of the plan again: the parts stand for it. */
static void forget_pend(struct sop_plan *p, struct sop_pend *x)
{
    struct sop_pend **at = &p->first;
    struct sop_pend *before = NULL;
    while (*at != x) {
        before = *at;
        at = &(*at)->next;
    }
    *at = x->next;
    if (p->last == x) {
        p->last = before;
    }
    p->pends--;
    sop_plan__unstack(p, x);
}

static int child_op(struct sop_plan *p, struct sop_slice key, uint64_t page, struct sop_op *op,
                    struct sop_err *err)
{
    uint8_t *id = sop_arena_alloc(&p->arena, 8);
    if (id == NULL) {
        return SOP_ERR(err, NOMEM, "plan a separator");
    }
    sop_put_u64(id, page);
    *op = (struct sop_op){
        .key = key, .value = sop_slice(id, 8), .kind = SOP_VALUE_INLINE, .delta = 1};
    return 0;
}

/* The root was split: its page becomes an inner page over the parts. */
static int grow_root(struct sop_plan *p, struct sop_tree *tree, struct sop_pend_list *parts,
                     struct sop_pend **root, struct sop_err *err)
{
    struct sop_pend *r = sop_plan__pend(p, tree, 0, err);
    struct sop_op_list ops = {0};
    int rc = r == NULL ? SOP_ERR_NOMEM : 0;
    for (size_t i = 0; i < parts->count && rc == 0; i++) {
        struct sop_op op;
        rc = sop_plan__page_id(p, tree, &parts->at[i]->page, err);
        if (rc == 0) {
            rc = child_op(p, parts->at[i]->low, parts->at[i]->page, &op, err);
        }
        if (rc == 0) {
            rc = sop_op_list_add(&ops, &op, err);
        }
    }
    if (rc == 0) {
        r->page = tree->root;
        r->level = (uint8_t)(parts->at[0]->level + 1);
        r->items = (int64_t)parts->count;
        r->items_before = parts->count;
        rc = set_ops(p, r, ops.at, ops.count, err);
        for (size_t i = 0; i < ops.count && rc == 0; i++) {
            r->bytes_live += (int64_t)(ops.at[i].key.len + 32);
        }
        *root = r;
    }
    sop_free(ops.at);
    return rc;
}

/* Cuts a page that has items other than its operations by walking all of it; the others by
 * their operations. No parts: it is not over its limits after all. */
static int cut_whole(struct sop_plan *p, struct sop_pend *d, bool full,
                     struct sop_pend_list *parts, struct sop_err *err)
{
    bool walks = d->source != NULL && d->source->items > 0;
    struct sop_walk walk;
    uint64_t items = 0;
    uint64_t bytes = 0;
    int rc = walks ? sop_plan__walk(p, d, &walk, err) : 0;
    for (bool on = rc == 0 && walks && sop_walk_first(&walk); on; on = sop_walk_next(&walk)) {
        struct sop_item item = sop_walk_item(&walk);
        items++;
        bytes += item_bytes(&item);
    }
    for (size_t i = 0; i < d->ops_count && !walks; i++) {
        bool stays = d->ops[i].kind != SOP_VALUE_TOMBSTONE;
        items += stays;
        bytes += stays ? op_bytes(&d->ops[i]) : 0;
    }
    if (rc == 0 && items != (uint64_t)d->items) {
        rc = SOP_ERR(err, DATA_LOSS, "page %" PRIu64 " holds %" PRIu64 " items, not %" PRIi64,
                     d->page, items, d->items);
    }
    if (rc != 0) {
        return rc;
    }
    d->bytes_live = (int64_t)bytes; /* the estimate may have been far too high */
    if (items <= sop_plan__slots(d) && bytes <= SOP_PAGE_BYTES_SOFT) {
        return 0;
    }
    struct split size = size_parts(d, full, items, bytes);
    return walks ? cut(p, d, &walk, &size, parts, err)
                 : cut_ops(p, d, sop_slice(NULL, 0), &size, parts, err);
}

/* The parts stand for d; those that are new get page ids and separators. */
static int place_parts(struct sop_plan *p, struct sop_pend *d, struct sop_pend_list *parts,
                       struct sop_pend_list *out, struct sop_op_list *above,
                       struct sop_pend **root, struct sop_err *err)
{
    struct sop_tree *tree = d->tree;
    int rc = d->page == tree->root ? grow_root(p, tree, parts, root, err) : 0;
    for (size_t i = 0; i < parts->count && rc == 0; i++) {
        struct sop_op op;
        if (d->page != tree->root && i == 0) {
            parts->at[i]->page = d->page;
        } else if (d->page != tree->root) {
            rc = sop_plan__page_id(p, tree, &parts->at[i]->page, err);
            if (rc == 0) {
                rc = child_op(p, parts->at[i]->low, parts->at[i]->page, &op, err);
            }
            if (rc == 0) {
                rc = sop_op_list_add(above, &op, err);
            }
        }
        if (rc == 0) {
            rc = sop_pend_list_add(out, parts->at[i], err);
        }
    }
    if (rc == 0) {
        forget_pend(p, d);
    }
    return rc;
}

/* Splits d if it is over its limits. parts gets what stands for it (d itself if not split);
 * *root is set when the root grew. */
static int split(struct sop_plan *p, struct sop_pend *d, struct sop_pend_list *out,
                 struct sop_op_list *above, struct sop_pend **root, struct sop_err *err)
{
    if (d->items <= (int64_t)sop_plan__slots(d) &&
        (d->bytes_live <= (int64_t)SOP_PAGE_BYTES_SOFT || d->items < 2)) {
        return sop_pend_list_add(out, d, err);
    }
    struct sop_pend_list parts = {0};
    struct sop_buf last = {0};
    bool full = false;
    int rc = appends(d, &last, &full, err);
    if (rc == 0) {
        bool behind = full && d->source != NULL && d->source->items > 0;
        struct split size = size_parts(d, true, 0, 0);
        rc = behind ? cut_ops(p, d, sop_buf_slice(&last), &size, &parts, err)
                    : cut_whole(p, d, full, &parts, err);
    }
    if (rc == 0 && parts.count > 1) {
        rc = place_parts(p, d, &parts, out, above, root, err);
    } else if (rc == 0) { /* one huge item, or none fits better */
        if (parts.count == 1) {
            forget_pend(p, parts.at[0]);
        }
        sop_plan__unstack(p, d);
        rc = sop_pend_list_add(out, d, err);
    }
    sop_buf_fini(&last);
    sop_free(parts.at);
    return rc;
}

int sop_plan__walk(struct sop_plan *p, struct sop_pend *d, struct sop_walk *walk,
                   struct sop_err *err)
{
    int rc = sop_plan__stack(p, d, err);
    return rc != 0 ? rc : sop_version_walk(d->made, &d->tree->order, NULL, walk, err);
}

/* ---- levels --------------------------------------------------------------------------------
 */

int sop_plan__level(struct sop_plan *p, struct sop_tree *tree, struct sop_pend_list *pends,
                    struct sop_op_list *above, struct sop_err *err)
{
    struct sop_pend_list now = {0};
    struct sop_pend *root = NULL;
    int rc = 0;
    for (size_t i = 0; i < pends->count && rc == 0; i++) {
        rc = split(p, pends->at[i], &now, above, &root, err);
    }
    if (rc == 0 && root == NULL) {
        rc = sop_plan__merge(p, tree, &now, above, err);
    }
    pends->count = 0;
    if (rc == 0 && root != NULL) {
        rc = sop_pend_list_add(pends, root, err);
    }
    if (rc == 0 && root == NULL && now.count == 1 && now.at[0]->page == tree->root) {
        rc = sop_plan__shrink_root(p, tree, now.at[0], err);
    }
    sop_free(now.at);
    return rc;
}

/* Groups separator operations by the page of `level` that covers them. */
static int group_inner(struct sop_plan *p, struct sop_tree *tree, uint8_t level,
                       const struct sop_op_list *ops, struct sop_pend_list *out,
                       struct sop_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < ops->count && rc == 0;) {
        struct sop_version *v = NULL;
        rc = sop_tree_descend(&p->engine->pages, tree, p->base, SOP_WAY_KEY, ops->at[i].key,
                              level, &v, NULL, err);
        if (rc != 0) {
            break;
        }
        SOP_ASSERT(v->level == level);
        struct sop_pend *d = sop_plan__pend(p, tree, v->page, err);
        if (d == NULL) {
            return code_of(err);
        }
        size_t first = i;
        while (i < ops->count &&
               (!d->has_high || sop_order_cmp(&tree->order, ops->at[i].key, d->high) < 0)) {
            d->items += ops->at[i].delta;
            d->bytes_live += ops->at[i].delta * (int64_t)(ops->at[i].key.len + 32);
            i++;
        }
        SOP_ASSERT(i > first);
        rc = set_ops(p, d, ops->at + first, i - first, err);
        if (rc == 0) {
            rc = sop_pend_list_add(out, d, err);
        }
    }
    return rc;
}

/* Drops pends that turned out to change nothing (partners that were too full, removals of what
 * is not there). */
static void forget_idle(struct sop_plan *p)
{
    struct sop_pend **at = &p->first;
    p->last = NULL;
    while (*at != NULL) {
        struct sop_pend *d = *at;
        const struct sop_version *s = d->source;
        if (s != NULL && !d->free && d->ops_count == 0 && d->source_page == d->page &&
            sop_slice_eq(d->low, s->low) && d->has_high == s->has_high &&
            (!d->has_high || sop_slice_eq(d->high, s->high))) {
            sop_plan__unstack(p, d);
            *at = d->next;
            p->pends--;
        } else {
            p->last = d;
            at = &d->next;
        }
    }
}

int sop_plan_store(struct sop_plan *p, struct sop_tree *tree, const struct sop_wset *wset,
                   struct sop_err *err)
{
    struct sop_err own = {0};
    struct sop_err *e = err != NULL ? err : &own;
    struct sop_pend_list pends = {0};
    struct sop_op_list above = {0};
    int rc = group_leaves(p, tree, wset, &pends, e);
    uint8_t level = 0;
    while (rc == 0 && pends.count > 0) {
        above.count = 0;
        rc = level < SOP_LEVELS_MAX
                 ? sop_plan__level(p, tree, &pends, &above, e)
                 : SOP_ERR(e, LIMIT, "store %" PRIu64 " has too many levels", tree->id);
        level++;
        if (rc == 0 && above.count > 0) {
            SOP_ASSERT(pends.count == 0);
            rc = group_inner(p, tree, level, &above, &pends, e);
        }
    }
    sop_free(pends.at);
    sop_free(above.at);
    forget_idle(p);
    return rc != 0 ? sop_err_wrap(e, rc, "store %" PRIu64, tree->id) : 0;
}
