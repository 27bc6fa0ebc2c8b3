/* Holding a leaf, and searching it; see near.h. */
#include "engine/txn/near.h"

void sop_near_fini(struct sop_near *n)
{
    sop_hold_end(&n->hold);
    sop_buf_fini(&n->low);
    sop_buf_fini(&n->high);
    n->page = 0;
}

/* Only what is in memory and counts for all keys of the page: nothing is read for it. */
static bool may_be_held(const struct sop_version *leaf)
{
    for (uint32_t i = 0; i < leaf->layers_count; i++) {
        if (leaf->layers[i].clipped || atomic_load(&leaf->layers[i].body->resident) == NULL) {
            return false;
        }
    }
    return leaf->layers_count > 0;
}

void sop_near_note(struct sop_near *n, struct sop_version *leaf)
{
    sop_hold_end(&n->hold);
    if (n->page != leaf->page) {
        n->page = leaf->page;
        return;
    }
    sop_buf_clear(&n->low);
    sop_buf_clear(&n->high);
    n->has_high = leaf->has_high;
    n->inside = leaf->exact && leaf->layers_count == 1;
    n->at = 0;
    if (!may_be_held(leaf) ||
        sop_buf_append(&n->low, leaf->low.data, leaf->low.len, NULL) != 0 ||
        sop_buf_append(&n->high, leaf->high.data, leaf->high.len, NULL) != 0) {
        return;
    }
    for (uint32_t i = 0; i < leaf->layers_count; i++) {
        struct sop_body *body = leaf->layers[i].body;
        if (sop_body_hold(body, &n->sheets[i], NULL) != 0) {
            sop_hold_end(&n->hold);
            return;
        }
        sop_body_ref(body);
        n->hold.bodies[n->hold.count++] = body;
    }
}

static bool covers(const struct sop_near *n, const struct sop_order *order,
                   struct sop_slice key)
{
    return (n->low.len == 0 || sop_order_cmp(order, key, sop_buf_slice(&n->low)) >= 0) &&
           (!n->has_high || sop_order_cmp(order, key, sop_buf_slice(&n->high)) < 0);
}

static bool answer(const struct sop_sheet *sheet, uint32_t at, bool exact, bool *found,
                   struct sop_item *item)
{
    if (exact) {
        *item = sop_sheet_item(sheet, at);
        *found = item->kind != SOP_VALUE_TOMBSTONE;
    }
    return exact;
}

bool sop_near_find(struct sop_near *n, const struct sop_order *order, struct sop_slice key,
                   bool *found, struct sop_item *item)
{
    *found = false;
    if (n->hold.count == 0) {
        return false;
    }
    bool exact = false;
    if (n->inside) {
        const struct sop_sheet *sheet = n->sheets[0];
        uint32_t at = sop_sheet_seek_near(sheet, order, key, n->at, &exact);
        n->at = at;
        return answer(sheet, at, exact, found, item) || (at > 0 && at < sheet->count) ||
               covers(n, order, key);
    }
    if (!covers(n, order, key)) {
        return false;
    }
    for (uint32_t i = 0; i < n->hold.count && !exact; i++) {
        uint32_t at = sop_sheet_seek(n->sheets[i], order, key, &exact);
        (void)answer(n->sheets[i], at, exact, found, item);
    }
    return true;
}
