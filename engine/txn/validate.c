/* Validation of read sets; see validate.h. */
#include "engine/txn/validate.h"

/* The layer above knows the name of the store. */
static int conflict(struct sop_txn *t, const struct sop_tree *tree, const char *what,
                    struct sop_err *err)
{
    t->conflict_store = tree->id;
    return SOP_ERR(err, CONFLICT, "%s; run the transaction again", what);
}

/* ---- against the head ----------------------------------------------------------------------
 */

static bool same_item(const struct sop_item *a, const struct sop_item *b)
{
    return a->kind == b->kind && sop_slice_eq(a->value, b->value) &&
           sop_slice_eq(a->ride, b->ride);
}

/* Did the item with this key (or its absence) stay the same from S to the head? */
static int point_holds(struct sop_txn *t, struct sop_tree *tree, struct sop_slice key,
                       uint64_t head, bool *holds, struct sop_err *err)
{
    struct sop_pages *pages = &t->engine->pages;
    struct sop_version *now = NULL;
    int rc = sop_tree_descend(pages, tree, head, SOP_WAY_KEY, key, 0, &now, NULL, err);
    *holds = rc == 0 && now->at <= t->moment; /* this very page was there, unchanged */
    if (rc != 0 || *holds) {
        return rc;
    }
    bool there = false;
    bool was_there = false;
    struct sop_item item;
    struct sop_item was;
    rc = sop_version_find(now, &tree->order, key, &there, &item, err);
    if (rc == 0) {
        rc = sop_tree_find(pages, tree, t->moment, key, &was_there, &was, NULL, err);
    }
    *holds = rc == 0 && there == was_there && (!there || same_item(&item, &was));
    return rc;
}

static bool same_key(const struct sop_item *a, const struct sop_item *b)
{
    size_t len = a->prefix.len + a->suffix.len;
    if (len != b->prefix.len + b->suffix.len) {
        return false;
    }
    for (size_t i = 0; i < len;) { /* the two may be cut at different places */
        struct sop_slice x = i < a->prefix.len
                                 ? sop_slice(a->prefix.data + i, a->prefix.len - i)
                                 : sop_slice(a->suffix.data + (i - a->prefix.len), len - i);
        struct sop_slice y = i < b->prefix.len
                                 ? sop_slice(b->prefix.data + i, b->prefix.len - i)
                                 : sop_slice(b->suffix.data + (i - b->prefix.len), len - i);
        size_t n = x.len < y.len ? x.len : y.len;
        if (memcmp(x.data, y.data, n) != 0) {
            return false;
        }
        i += n;
    }
    return true;
}

static int scan_past(struct sop_scan *s, struct sop_slice high, bool has_high,
                     struct sop_buf *key, bool *past, struct sop_err *err)
{
    *past = !s->on;
    if (!s->on || !has_high) {
        return 0;
    }
    struct sop_item item = sop_scan_item(s);
    int rc = sop_item_key(&item, key, err);
    *past = rc == 0 && sop_order_cmp(&s->tree->order, sop_buf_slice(key), high) > 0;
    return rc;
}

/* Walks both scans side by side until one leaves the range. Where both stand in the same
 * unchanged leaf, the rest of that leaf is skipped. */
static int compare_scans(struct sop_scan *then, struct sop_scan *now, struct sop_slice high,
                         bool has_high, bool *holds, struct sop_err *err)
{
    struct sop_buf key = {0};
    int rc = 0;
    *holds = true;
    while (rc == 0 && *holds) {
        if (then->on && now->on && sop_scan_same_leaf(then, now)) {
            if (!now->has_high ||
                (has_high &&
                 sop_order_cmp(&now->tree->order, sop_buf_slice(&now->high), high) > 0)) {
                break; /* the range ends inside this leaf */
            }
            struct sop_buf edge = {0};
            rc = sop_buf_append(&edge, now->high.data, now->high.len, err);
            if (rc == 0) {
                rc = sop_scan_seek(then, sop_buf_slice(&edge), NULL, err);
            }
            if (rc == 0) {
                rc = sop_scan_seek(now, sop_buf_slice(&edge), NULL, err);
            }
            sop_buf_fini(&edge);
            continue;
        }
        bool then_past = false;
        bool now_past = false;
        rc = scan_past(then, high, has_high, &key, &then_past, err);
        if (rc == 0) {
            rc = scan_past(now, high, has_high, &key, &now_past, err);
        }
        if (rc != 0 || then_past || now_past) {
            *holds = rc == 0 && then_past == now_past;
            break;
        }
        struct sop_item a = sop_scan_item(then);
        struct sop_item b = sop_scan_item(now);
        *holds = same_key(&a, &b) && same_item(&a, &b);
        if (*holds) {
            rc = sop_scan_next(then, err);
        }
        if (*holds && rc == 0) {
            rc = sop_scan_next(now, err);
        }
    }
    sop_buf_fini(&key);
    return rc;
}

static int range_holds(struct sop_txn *t, struct sop_tree *tree, const struct sop_read_range *r,
                       uint64_t head, struct sop_epoch_slot *slot, bool *holds,
                       struct sop_err *err)
{
    struct sop_scan then;
    struct sop_scan now;
    sop_scan_init(&then, &t->engine->pages, tree, slot, t->moment);
    sop_scan_init(&now, &t->engine->pages, tree, slot, head);
    int rc =
        r->low.len == 0 ? sop_scan_first(&then, err) : sop_scan_seek(&then, r->low, NULL, err);
    if (rc == 0) {
        rc = r->low.len == 0 ? sop_scan_first(&now, err)
                             : sop_scan_seek(&now, r->low, NULL, err);
    }
    if (rc == 0) {
        rc = compare_scans(&then, &now, r->high, r->has_high, holds, err);
    }
    sop_scan_fini(&then);
    sop_scan_fini(&now);
    return rc;
}

/* Changes count as reads of the item, but for blind upserts. */
static int changes_hold(struct sop_txn *t, struct sop_access *a, uint64_t head, bool *holds,
                        struct sop_err *err)
{
    struct sop_wset_cursor c;
    *holds = true;
    sop_wset_cursor_init(&c, a->wset);
    int rc = 0;
    for (struct sop_cell *cell = sop_wset_first(&c); cell != NULL && *holds && rc == 0;
         cell = sop_wset_next(&c)) {
        if (cell->was != 0) {
            rc = point_holds(t, a->tree, cell->key, head, holds, err);
        }
    }
    return rc;
}

static int access_holds(struct sop_txn *t, struct sop_access *a, uint64_t head,
                        struct sop_epoch_slot *slot, struct sop_err *err)
{
    bool holds = true;
    int rc = 0;
    if (atomic_load(&a->tree->dropped) != SOP_NEVER) {
        return conflict(t, a->tree, "the store was removed", err);
    }
    if (a->read_count && sop_tree_items(a->tree, t->moment) != sop_tree_items(a->tree, head)) {
        return conflict(t, a->tree, "the number of items that was read has changed", err);
    }
    for (size_t i = 0; i < a->points_count && holds && rc == 0; i++) {
        rc = point_holds(t, a->tree, a->points[i], head, &holds, err);
    }
    if (rc == 0 && !holds) {
        return conflict(t, a->tree, "an item that was read has changed", err);
    }
    if (rc == 0 && a->wset != NULL) {
        rc = changes_hold(t, a, head, &holds, err);
    }
    if (rc == 0 && !holds) {
        return conflict(t, a->tree, "an item that was changed here has changed", err);
    }
    if (rc == 0 && a->read_all) {
        static const struct sop_read_range everything;
        rc = range_holds(t, a->tree, &everything, head, slot, &holds, err);
    }
    for (size_t i = 0; i < a->ranges_count && holds && rc == 0; i++) {
        rc = range_holds(t, a->tree, &a->ranges[i], head, slot, &holds, err);
    }
    if (rc == 0 && !holds) {
        return conflict(t, a->tree, "a range that was read has changed", err);
    }
    return rc;
}

int sop_validate(struct sop_txn *t, uint64_t moment, struct sop_epoch_slot *slot,
                 struct sop_err *err)
{
    if (moment == t->moment) {
        return 0;
    }
    for (struct sop_access *a = t->accesses; a != NULL; a = a->next) {
        if (!a->created) {
            int rc = access_holds(t, a, moment, slot, err);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

/* ---- against another transaction -----------------------------------------------------------
 */

static bool touches(const struct sop_wset *w, struct sop_slice key)
{
    const struct sop_cell *cell = sop_wset_find(w, key);
    return cell != NULL && cell->change != SOP_CHANGE_NOTHING;
}

static bool touches_range(const struct sop_wset *w, const struct sop_tree *tree,
                          const struct sop_read_range *r)
{
    struct sop_wset_cursor c;
    sop_wset_cursor_init(&c, w);
    struct sop_cell *cell = r->low.len == 0 ? sop_wset_first(&c) : sop_wset_seek(&c, r->low);
    for (; cell != NULL; cell = sop_wset_next(&c)) {
        if (r->has_high && sop_order_cmp(&tree->order, cell->key, r->high) > 0) {
            return false;
        }
        if (cell->change != SOP_CHANGE_NOTHING) {
            return true;
        }
    }
    return false;
}

/* Did `w`, written by another, touch what `a` read or changed? */
static bool access_touched(const struct sop_access *a, const struct sop_wset *w)
{
    for (size_t i = 0; i < a->points_count; i++) {
        if (touches(w, a->points[i])) {
            return true;
        }
    }
    for (size_t i = 0; i < a->ranges_count; i++) {
        if (touches_range(w, a->tree, &a->ranges[i])) {
            return true;
        }
    }
    if (a->wset != NULL) {
        struct sop_wset_cursor c;
        sop_wset_cursor_init(&c, a->wset);
        for (struct sop_cell *cell = sop_wset_first(&c); cell != NULL;
             cell = sop_wset_next(&c)) {
            if (cell->was != 0 && touches(w, cell->key)) {
                return true;
            }
        }
    }
    return false;
}

int sop_validate_after(struct sop_txn *t, const struct sop_txn *earlier, struct sop_err *err)
{
    for (struct sop_access *a = t->accesses; a != NULL; a = a->next) {
        for (const struct sop_access *b = earlier->accesses; b != NULL; b = b->next) {
            if (a->tree != b->tree) {
                continue;
            }
            if (b->dropped) {
                return conflict(t, a->tree, "the store was removed", err);
            }
            if ((a->read_count || a->read_all) && b->wset != NULL &&
                sop_wset_count(b->wset) > 0) {
                return conflict(t, a->tree, "the number of items has changed", err);
            }
            if (b->wset != NULL && access_touched(a, b->wset)) {
                return conflict(t, a->tree, "what was read or changed has changed", err);
            }
        }
    }
    return 0;
}
