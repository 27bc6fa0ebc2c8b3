/* Merging pages that became small, and shrinking the root; see plan.h.
 *
 * Only siblings under one parent are merged. The items of the small page move as operations of
 * its neighbour, whose fences grow over it; the page is freed. What the parent must do is the
 * difference between its children before and after. */
#include "engine/txn/plan.h"

#include "engine/base/codec.h"
#include "engine/base/limits.h"

struct child {
    struct sop_slice low;
    uint64_t page;
    struct sop_pend *pend; /* NULL: not changed in this batch so far */
    bool alive;
};
struct children {
    struct child *at;
    size_t count, cap;
};

/* Worth trying to merge: it became empty, or fell below a quarter in this batch. */
static bool is_small(const struct sop_pend *d)
{
    int64_t least = (int64_t)sop_plan__slots(d) / 4;
    return !d->split && !d->free && d->page != d->tree->root &&
           (d->items == 0 || (d->items < least && (int64_t)d->items_before >= least));
}

static int children_add(struct children *c, struct sop_slice low, uint64_t page,
                        struct sop_err *err)
{
    if (c->count == c->cap) {
        size_t cap = c->cap == 0 ? 64 : c->cap * 2;
        struct child *at = sop_realloc(c->at, cap * sizeof *at);
        if (at == NULL) {
            return SOP_ERR(err, NOMEM, "list %zu pages", cap);
        }
        c->at = at;
        c->cap = cap;
    }
    c->at[c->count++] = (struct child){.low = low, .page = page, .alive = true};
    return 0;
}

/* The children of an inner version, in order. */
static int children_of(struct sop_plan *p, struct sop_tree *tree, struct sop_version *v,
                       struct children *out, struct sop_err *err)
{
    struct sop_walk walk;
    int rc = sop_version_walk(v, &tree->order, NULL, &walk, err);
    for (bool on = rc == 0 && sop_walk_first(&walk); on && rc == 0; on = sop_walk_next(&walk)) {
        struct sop_item item = sop_walk_item(&walk);
        struct sop_slice key;
        if (item.kind != SOP_VALUE_INLINE || item.value.len != 8) {
            return SOP_ERR(err, DATA_LOSS, "inner page %" PRIu64 " holds a bad child", v->page);
        }
        rc = sop_plan__key(p, &item, &key, err);
        if (rc == 0) {
            rc = children_add(out, key, sop_get_u64(item.value.data), err);
        }
    }
    return rc;
}

static int cmp_low(const struct sop_tree *tree, struct sop_slice a, struct sop_slice b)
{
    if (a.len == 0 || b.len == 0) {
        return (a.len > 0) - (b.len > 0);
    }
    return sop_order_cmp(&tree->order, a, b);
}

/* before + the splits of this batch = children now. ops: those inside the parent. */
static int children_now(struct sop_tree *tree, const struct children *before,
                        const struct sop_op *ops, size_t count, struct children *out,
                        struct sop_err *err)
{
    size_t o = 0;
    int rc = 0;
    for (size_t i = 0; i < before->count && rc == 0; i++) {
        for (; o < count && rc == 0 && cmp_low(tree, ops[o].key, before->at[i].low) < 0; o++) {
            rc = children_add(out, ops[o].key, sop_get_u64(ops[o].value.data), err);
        }
        if (rc == 0) {
            rc = children_add(out, before->at[i].low, before->at[i].page, err);
        }
    }
    for (; o < count && rc == 0; o++) {
        rc = children_add(out, ops[o].key, sop_get_u64(ops[o].value.data), err);
    }
    return rc;
}

/* The pend of a child, made from the head if this batch has not touched it. */
static int partner(struct sop_plan *p, struct sop_tree *tree, struct child *c,
                   struct sop_err *err)
{
    if (c->pend == NULL) {
        c->pend = sop_plan__pend(p, tree, c->page, err);
        if (c->pend == NULL) {
            return err->code != 0 ? err->code : SOP_ERR_NOMEM;
        }
    }
    return 0;
}

/* May `small` move into `into`? Both have pends. */
static bool fits(const struct sop_pend *small, const struct sop_pend *into)
{
    if (into->split || into->free || into->level != small->level) {
        return false;
    }
    if (small->items == 0) {
        return true;
    }
    int64_t slots = (int64_t)sop_plan__slots(small);
    return small->items + into->items <= slots * 3 / 4 &&
           small->bytes_live + into->bytes_live <= (int64_t)SOP_PAGE_BYTES_SOFT / 2;
}

/* Lists the live items of a pend as operations. */
static int items_as_ops(struct sop_plan *p, struct sop_pend *d, struct sop_op_list *ops,
                        struct sop_err *err)
{
    struct sop_walk walk;
    int rc = sop_plan__walk(p, d, &walk, err);
    for (bool on = rc == 0 && sop_walk_first(&walk); on && rc == 0; on = sop_walk_next(&walk)) {
        struct sop_item item = sop_walk_item(&walk);
        struct sop_op op = {.kind = (uint8_t)item.kind, .delta = 1};
        rc = sop_plan__key(p, &item, &op.key, err);
        if (rc == 0) { /* copied: the sheet of d's own operations goes away with its stack */
            rc = sop_arena_copy(&p->arena, item.ride, &op.ride, err);
        }
        if (rc == 0) {
            rc = sop_arena_copy(&p->arena, item.value, &op.value, err);
        }
        if (rc == 0) {
            rc = sop_op_list_add(ops, &op, err);
        }
    }
    return rc;
}

static int add_all(struct sop_op_list *to, const struct sop_op *ops, size_t count,
                   struct sop_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = sop_op_list_add(to, &ops[i], err);
    }
    return rc;
}

/* Adds the items of small to the operations of its neighbour. */
static int join_ops(struct sop_plan *p, struct sop_pend *small, struct sop_pend *into,
                    bool to_left, struct sop_err *err)
{
    struct sop_op_list ops = {0};
    int rc = to_left ? add_all(&ops, into->ops, into->ops_count, err) : 0;
    if (rc == 0) {
        rc = items_as_ops(p, small, &ops, err);
    }
    if (rc == 0 && !to_left) {
        rc = add_all(&ops, into->ops, into->ops_count, err);
    }
    struct sop_op *copy = NULL;
    if (rc == 0) {
        copy = sop_arena_alloc(&p->arena, ops.count * sizeof *copy + 1);
        rc = copy == NULL ? SOP_ERR(err, NOMEM, "merge pages") : 0;
    }
    if (rc == 0) {
        if (ops.count > 0) {
            memcpy(copy, ops.at, ops.count * sizeof *copy);
        }
        into->ops = copy;
        into->ops_count = ops.count;
    }
    sop_free(ops.at);
    return rc;
}

/* Moves everything of small into its neighbour and frees small. */
static int move(struct sop_plan *p, struct sop_pend *small, struct sop_pend *into, bool to_left,
                struct sop_err *err)
{
    int rc = small->items > 0 ? join_ops(p, small, into, to_left, err) : 0;
    if (rc == 0) {
        sop_plan__unstack(p, into);
        sop_plan__unstack(p, small);
        into->items += small->items;
        into->bytes_live += small->bytes_live;
        if (to_left) {
            into->high = small->high;
            into->has_high = small->has_high;
        } else {
            into->low = small->low;
        }
        small->free = true;
        small->ops_count = 0;
        small->items = 0;
        small->bytes_live = 0;
    }
    return rc;
}

/* Merges the small ones among the children of one parent. */
static int sweep(struct sop_plan *p, struct sop_tree *tree, struct children *c,
                 struct sop_err *err)
{
    int rc = 0;
    for (size_t i = 0; i < c->count && rc == 0; i++) {
        struct child *small = &c->at[i];
        if (!small->alive || small->pend == NULL || !is_small(small->pend)) {
            continue;
        }
        size_t left = i;
        while (left > 0 && !c->at[left - 1].alive) {
            left--;
        }
        if (left > 0) {
            struct child *l = &c->at[left - 1];
            rc = partner(p, tree, l, err);
            if (rc == 0 && fits(small->pend, l->pend)) {
                rc = move(p, small->pend, l->pend, true, err);
                small->alive = false;
                continue;
            }
        }
        if (rc == 0 && i + 1 < c->count) {
            struct child *r = &c->at[i + 1];
            rc = partner(p, tree, r, err);
            if (rc == 0 && fits(small->pend, r->pend)) {
                rc = move(p, small->pend, r->pend, false, err);
                r->low = small->low;
                small->alive = false;
            }
        }
    }
    return rc;
}

/* What turns `before` into the living of `after`, appended to ops. */
static int difference(struct sop_plan *p, struct sop_tree *tree, const struct children *before,
                      const struct children *after, struct sop_op_list *ops,
                      struct sop_err *err)
{
    size_t b = 0;
    size_t a = 0;
    int rc = 0;
    while (rc == 0 && (b < before->count || a < after->count)) {
        if (a < after->count && !after->at[a].alive) {
            a++;
            continue;
        }
        int order = b == before->count  ? 1
                    : a == after->count ? -1
                                        : cmp_low(tree, before->at[b].low, after->at[a].low);
        if (order == 0 && before->at[b].page == after->at[a].page) {
            a++;
            b++;
            continue;
        }
        struct sop_op op = {.kind = SOP_VALUE_TOMBSTONE, .delta = -1};
        if (order < 0) {
            op.key = before->at[b++].low;
        } else {
            uint8_t *id = sop_arena_alloc(&p->arena, 8);
            if (id == NULL) {
                return SOP_ERR(err, NOMEM, "plan a separator");
            }
            sop_put_u64(id, after->at[a].page);
            op = (struct sop_op){.key = after->at[a].low,
                                 .value = sop_slice(id, 8),
                                 .kind = SOP_VALUE_INLINE,
                                 .delta = order == 0 ? 0 : 1};
            b += order == 0;
            a++;
        }
        rc = sop_op_list_add(ops, &op, err);
    }
    return rc;
}

/* Merges below one parent version. ops: what the splits of this batch ask of it; out: what it
 * shall do in the end. */
static int merge_below(struct sop_plan *p, struct sop_tree *tree, struct sop_version *parent,
                       const struct sop_pend_list *pends, size_t first, size_t end,
                       const struct sop_op *ops, size_t ops_count, struct sop_op_list *out,
                       struct sop_err *err)
{
    struct children before = {0};
    struct children now = {0};
    int rc = children_of(p, tree, parent, &before, err);
    if (rc == 0) {
        rc = children_now(tree, &before, ops, ops_count, &now, err);
    }
    size_t k = first;
    for (size_t i = 0; i < now.count && rc == 0; i++) {
        while (k < end && cmp_low(tree, pends->at[k]->low, now.at[i].low) < 0) {
            k++;
        }
        if (k < end && pends->at[k]->page == now.at[i].page) {
            now.at[i].pend = pends->at[k];
        }
    }
    if (rc == 0) {
        rc = sweep(p, tree, &now, err);
    }
    if (rc == 0) {
        rc = difference(p, tree, &before, &now, out, err);
    }
    sop_free(before.at);
    sop_free(now.at);
    return rc;
}

static bool inside(const struct sop_tree *tree, const struct sop_version *v,
                   struct sop_slice key)
{
    return !v->has_high || cmp_low(tree, key, v->high) < 0;
}

int sop_plan__merge(struct sop_plan *p, struct sop_tree *tree, struct sop_pend_list *pends,
                    struct sop_op_list *above, struct sop_err *err)
{
    bool any = false;
    for (size_t i = 0; i < pends->count && !any; i++) {
        any = is_small(pends->at[i]);
    }
    if (!any) {
        return 0;
    }
    struct sop_op_list out = {0};
    size_t o = 0;
    size_t i = 0;
    int rc = 0;
    uint8_t level = (uint8_t)(pends->at[0]->level + 1);
    while (i < pends->count && rc == 0) { /* parent by parent */
        struct sop_version *parent = NULL;
        rc = sop_tree_descend(&p->engine->pages, tree, p->base, SOP_WAY_KEY, pends->at[i]->low,
                              level, &parent, NULL, err);
        if (rc != 0) {
            break;
        }
        SOP_ASSERT(parent->level == level);
        size_t first = i;
        bool small = false;
        while (i < pends->count && inside(tree, parent, pends->at[i]->low)) {
            small = small || is_small(pends->at[i]);
            i++;
        }
        SOP_ASSERT(i > first);
        size_t ops_first = o;
        while (o < above->count && inside(tree, parent, above->at[o].key)) {
            o++;
        }
        struct sop_op *ops = above->at == NULL ? NULL : above->at + ops_first;
        if (small) {
            rc = merge_below(p, tree, parent, pends, first, i, ops, o - ops_first, &out, err);
        } else {
            rc = add_all(&out, ops, o - ops_first, err);
        }
    }
    if (rc == 0) {
        SOP_ASSERT(o == above->count);
        above->count = 0;
        rc = add_all(above, out.at, out.count, err);
    }
    sop_free(out.at);
    return rc;
}

/* The pend of a page that this batch changes, or NULL. */
static struct sop_pend *find_pend(struct sop_plan *p, const struct sop_tree *tree,
                                  uint64_t page)
{
    for (struct sop_pend *d = p->first; d != NULL; d = d->next) {
        if (d->tree == tree && d->page == page) {
            return d;
        }
    }
    return NULL;
}

int sop_plan__shrink_root(struct sop_plan *p, struct sop_tree *tree, struct sop_pend *root,
                          struct sop_err *err)
{
    while (root->level > 0 && root->items == 1) {
        struct sop_walk walk;
        int rc = sop_plan__walk(p, root, &walk, err);
        if (rc != 0) {
            return rc;
        }
        if (!sop_walk_first(&walk) || sop_walk_item(&walk).value.len != 8) {
            return SOP_ERR(err, DATA_LOSS, "root page %" PRIu64 " holds no child", root->page);
        }
        uint64_t only = sop_get_u64(sop_walk_item(&walk).value.data);
        struct sop_pend *child = find_pend(p, tree, only);
        if (child == NULL) {
            child = sop_plan__pend(p, tree, only, err);
        }
        if (child == NULL) {
            return err->code != 0 ? err->code : SOP_ERR_NOMEM;
        }
        SOP_ASSERT(!child->free && !child->split);
        sop_plan__unstack(p, root);
        sop_plan__unstack(p, child);
        root->source = child->source;
        root->source_page = child->source_page;
        root->level = child->level;
        root->ops = child->ops;
        root->ops_count = child->ops_count;
        root->items = child->items;
        root->bytes_live = child->bytes_live;
        child->free = true;
        child->ops_count = 0;
        child->items = 0;
        child->bytes_live = 0;
    }
    return 0;
}
