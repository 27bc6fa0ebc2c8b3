/* Cursors: the snapshot's items and the transaction's own changes as one ordered sequence.
 *
 * While the store has no pending changes a cursor is its scan. Otherwise each move looks for
 * the nearest key in the scan and in the write set; the write set wins on equal keys, and
 * removed ones are passed over. A cursor remembers its place by key, so that changes cannot
 * upset it.
 *
 * Reads: between two jumps a cursor has read one contiguous range; it is noted when the next
 * jump, the close or the commit comes, so that a step costs nothing. */
#include "engine/db/db_int.h"

static struct sop_engine *engine_of(const struct sop_cursor *c)
{
    return c->store->txn->engine;
}

static bool has_changes(const struct sop_cursor *c)
{
    return c->store->access->wset != NULL && sop_wset_count(c->store->access->wset) > 0;
}

static int set_buf(struct sop_buf *b, struct sop_slice s, struct sop_err *err)
{
    struct sop_buf fresh = {0};
    if (s.data >= b->data && b->data != NULL && s.data < b->data + b->cap) { /* our own bytes */
        int rc = sop_buf_append(&fresh, s.data, s.len, err);
        if (rc == 0) {
            sop_buf_clear(b);
            rc = sop_buf_append(b, fresh.data, fresh.len, err);
        }
        sop_buf_fini(&fresh);
        return rc;
    }
    sop_buf_clear(b);
    return sop_buf_append(b, s.data, s.len, err);
}

/* ---- opening -------------------------------------------------------------------------------
 */

int sop_cursor_open(struct sop_cursor **out, struct sop_store *s, struct sop_err *err)
{
    *out = NULL;
    int rc = sop_store__check(s, err);
    rc = rc == 0 ? sop_txn_assure(s->txn, err) : rc;
    if (rc != 0) {
        return rc;
    }
    struct sop_cursor *c = sop_calloc(1, sizeof *c);
    if (c == NULL) {
        return SOP_ERR(err, NOMEM, "open a cursor");
    }
    c->magic = SOP_CURSOR_MAGIC;
    c->store = s;
    sop_scan_init(&c->scan, &s->txn->engine->pages, s->tree, s->txn->slot, s->txn->moment);
    c->next = s->cursors;
    s->cursors = c;
    *out = c;
    return 0;
}

void sop_cursor_close(struct sop_cursor **cursor)
{
    struct sop_cursor *c = cursor == NULL ? NULL : *cursor;
    if (c == NULL) {
        return;
    }
    SOP_ASSERT(c->magic == SOP_CURSOR_MAGIC);
    *cursor = NULL;
    if (sop_txn__forked(c->store->txn)) {
        return;
    }
    if (c->store->txn->state == SOP_TXN_OPEN && sop_cursor__flush(c, NULL) != 0) {
        /* What was read can no longer be noted: then everything counts as read. */
        c->store->access->read_count = true;
        c->store->access->read_all = true;
    }
    struct sop_cursor **at = &c->store->cursors;
    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    sop_scan_fini(&c->scan);
    sop_buf_fini(&c->key);
    sop_buf_fini(&c->out_key);
    sop_buf_fini(&c->out_value);
    sop_buf_fini(&c->span_low);
    sop_buf_fini(&c->span_high);
    c->magic = 0;
    sop_free(c);
}

/* Checks the handle; NO_CHECK transactions move to the newest state. */
static int ready(struct sop_cursor *c, struct sop_err *err)
{
    if (c == NULL || c->magic != SOP_CURSOR_MAGIC) {
        return SOP_ERR(err, CLOSED, "the cursor is closed");
    }
    int rc = sop_store__check(c->store, err);
    if (rc == 0 && c->scan.moment != c->store->txn->moment) {
        struct sop_slice here;
        if (c->stand == SOP_ON_SCAN) {
            rc = sop_cursor__here(c, &here, err);
            c->stand = SOP_ON_KEY;
        }
        sop_scan_fini(&c->scan);
        sop_scan_init(&c->scan, &engine_of(c)->pages, c->store->tree, c->store->txn->slot,
                      c->store->txn->moment);
    }
    return rc;
}

int sop_cursor__here(struct sop_cursor *c, struct sop_slice *full, struct sop_err *err)
{
    if (c->stand == SOP_ON_SCAN) {
        struct sop_item item = sop_scan_item(&c->scan);
        int rc = sop_item_key(&item, &c->key, err);
        *full = sop_buf_slice(&c->key);
        return rc;
    }
    *full = sop_buf_slice(&c->key);
    return 0;
}

/* ---- what was read -------------------------------------------------------------------------
 */

/* Makes the end of the span that follows the cursor a fixed key. A span never shrinks: a cursor
 * that turned round may have been further out before. */
static int span_settle(struct sop_cursor *c, struct sop_err *err)
{
    const struct sop_order *order = &c->store->order;
    struct sop_slice here;
    struct sop_slice low = sop_buf_slice(&c->span_low);
    struct sop_slice high = sop_buf_slice(&c->span_high);
    int rc = 0;
    if (c->span && (c->span_follows_high || c->span_follows_low) && c->stand != SOP_NOWHERE) {
        rc = sop_cursor__here(c, &here, err);
        if (rc == 0 && c->span_follows_high && c->span_has_high &&
            sop_order_cmp(order, here, high) > 0) {
            rc = set_buf(&c->span_high, here, err);
        } else if (rc == 0 && c->span_follows_low && low.len > 0 &&
                   sop_order_cmp(order, here, low) < 0) {
            rc = set_buf(&c->span_low, here, err);
        }
    }
    if (rc == 0) {
        c->span_follows_high = false;
        c->span_follows_low = false;
    }
    return rc;
}

/* A range stops at its bounds: the item beyond, on which it saw that, is none of its business.
 */
static int span_limit(struct sop_cursor *c, struct sop_err *err)
{
    const struct sop_order *order = &c->store->order;
    const struct sop_buf *low = c->limit_low;
    const struct sop_buf *high = c->limit_high;
    int rc = 0;
    if (high != NULL && (!c->span_has_high || sop_order_cmp(order, sop_buf_slice(&c->span_high),
                                                            sop_buf_slice(high)) > 0)) {
        rc = set_buf(&c->span_high, sop_buf_slice(high), err);
        c->span_has_high = true;
    }
    if (rc == 0 && low != NULL &&
        (c->span_low.len == 0 ||
         sop_order_cmp(order, sop_buf_slice(&c->span_low), sop_buf_slice(low)) < 0)) {
        rc = set_buf(&c->span_low, sop_buf_slice(low), err);
    }
    return rc;
}

int sop_cursor__flush(struct sop_cursor *c, struct sop_err *err)
{
    if (!c->span) {
        return 0;
    }
    int rc = span_settle(c, err);
    if (rc == 0) {
        rc = span_limit(c, err);
    }
    if (rc == 0) {
        rc = sop_txn_read_range(c->store->txn, c->store->access, sop_buf_slice(&c->span_low),
                                sop_buf_slice(&c->span_high), c->span_has_high, err);
    }
    c->span = rc != 0;
    return rc;
}

int sop_txn__flush(struct sop_txn *t, struct sop_err *err)
{
    struct sop_session *session = t->user;
    int rc = 0;
    for (struct sop_store *s = session->stores; s != NULL && rc == 0; s = s->next) {
        for (struct sop_cursor *c = s->cursors; c != NULL && rc == 0; c = c->next) {
            rc = sop_cursor__flush(c, err);
        }
        for (struct sop_range *r = s->ranges; r != NULL && rc == 0;) {
            rc = sop_range__flush(r, &r, err);
        }
    }
    return rc;
}

static bool notes(const struct sop_cursor *c)
{
    return c->store->txn->mode == SOP_WRITE && !c->store->access->created;
}

/* A jump to `key` (empty data NULL: an end of the store) begins a new span there. */
static int span_begin(struct sop_cursor *c, struct sop_slice key, bool from_end,
                      struct sop_err *err)
{
    if (!notes(c)) {
        return 0;
    }
    int rc = sop_cursor__flush(c, err);
    if (rc == 0) {
        rc = set_buf(&c->span_low, from_end ? sop_slice(NULL, 0) : key, err);
    }
    if (rc == 0) {
        rc = set_buf(&c->span_high, from_end ? sop_slice(NULL, 0) : key, err);
    }
    return rc;
}

/* After a move: the span reaches to where the cursor stands, or to the end of the store. */
static int span_reach(struct sop_cursor *c, bool forward, struct sop_err *err)
{
    if (!notes(c)) {
        return 0;
    }
    (void)err;
    c->span = true;
    if (c->stand == SOP_NOWHERE) {
        c->span_follows_high = false;
        c->span_follows_low = false;
        if (forward) {
            c->span_has_high = false;
        } else {
            sop_buf_clear(&c->span_low);
        }
        return 0;
    }
    c->span_follows_high = forward;
    c->span_follows_low = !forward;
    return 0;
}

int sop_cursor__stand(struct sop_cursor *c, struct sop_slice full, struct sop_err *err)
{
    int rc = span_begin(c, full, false, err);
    if (rc == 0) {
        rc = set_buf(&c->key, full, err);
    }
    if (rc == 0) {
        c->span_has_high = true;
        c->stand = SOP_ON_KEY;
    }
    return rc;
}

/* ---- the two sources -----------------------------------------------------------------------
 */

static int end_of(struct sop_cursor *c, struct sop_err *err)
{
    c->stand = SOP_NOWHERE;
    return SOP_ERR(err, END, "there are no more items");
}

static int stand_on_cell(struct sop_cursor *c, const struct sop_cell *cell, struct sop_err *err)
{
    int rc = set_buf(&c->key, cell->key, err);
    c->stand = rc == 0 ? SOP_ON_KEY : SOP_NOWHERE;
    return rc;
}

static int cmp_scan(struct sop_cursor *c, struct sop_slice key, struct sop_buf *buf, int *order,
                    struct sop_err *err)
{
    struct sop_item item = sop_scan_item(&c->scan);
    int rc = sop_item_key(&item, buf, err);
    *order = rc == 0 ? sop_order_cmp(&c->store->order, sop_buf_slice(buf), key) : 0;
    return rc;
}

static struct sop_cell *step(struct sop_wset_cursor *w, bool forward)
{
    return forward ? sop_wset_next(w) : sop_wset_prev(w);
}

/* Scan and write set cursor stand on the nearest keys in the direction; takes the nearer one
 * that is not removed. */
static int merge(struct sop_cursor *c, struct sop_wset_cursor *w, struct sop_cell *cell,
                 bool forward, struct sop_err *err)
{
    struct sop_buf buf = {0};
    int rc = 0;
    c->stand = SOP_NOWHERE;
    while (rc == 0) {
        bool scan_on = !c->store->access->created && c->scan.on;
        if (!scan_on && cell == NULL) {
            rc = end_of(c, err);
            break;
        }
        int order = scan_on ? -1 : 1; /* < 0: the scan's item is nearer */
        if (scan_on && cell != NULL) {
            rc = cmp_scan(c, cell->key, &buf, &order, err);
            order = forward ? order : -order;
            if (rc != 0) {
                break;
            }
        }
        if (order < 0) {
            c->stand = SOP_ON_SCAN;
            break;
        }
        if (cell->kind != SOP_VALUE_TOMBSTONE) {
            rc = stand_on_cell(c, cell, err);
            break;
        }
        if (order == 0) {
            rc = forward ? sop_scan_next(&c->scan, err) : sop_scan_prev(&c->scan, err);
        }
        cell = step(w, forward);
    }
    sop_buf_fini(&buf);
    return rc;
}

/* Moves to the nearest item from `key` on in a direction, key included unless `beyond`. */
static int go(struct sop_cursor *c, struct sop_slice key, bool forward, bool beyond,
              struct sop_err *err)
{
    bool exact = false;
    int rc = 0;
    struct sop_wset_cursor w;
    struct sop_cell *cell = NULL;
    if (!c->store->access->created) {
        rc = forward ? sop_scan_seek(&c->scan, key, &exact, err)
                     : sop_scan_floor(&c->scan, key, &exact, err);
        if (rc == 0 && exact && beyond) {
            rc = forward ? sop_scan_next(&c->scan, err) : sop_scan_prev(&c->scan, err);
        }
    }
    if (rc != 0) {
        c->stand = SOP_NOWHERE;
        return rc;
    }
    if (!has_changes(c)) {
        c->stand = !c->store->access->created && c->scan.on ? SOP_ON_SCAN : SOP_NOWHERE;
        return c->stand == SOP_NOWHERE ? end_of(c, err) : 0;
    }
    sop_wset_cursor_init(&w, c->store->access->wset);
    cell = forward ? sop_wset_seek(&w, key) : sop_wset_floor(&w, key);
    if (cell != NULL && beyond && sop_order_cmp(&c->store->order, cell->key, key) == 0) {
        cell = step(&w, forward);
    }
    return merge(c, &w, cell, forward, err);
}

static int go_end(struct sop_cursor *c, bool forward, struct sop_err *err)
{
    int rc = 0;
    struct sop_wset_cursor w;
    struct sop_cell *cell = NULL;
    if (!c->store->access->created) {
        rc = forward ? sop_scan_first(&c->scan, err) : sop_scan_last(&c->scan, err);
    }
    if (rc != 0) {
        c->stand = SOP_NOWHERE;
        return rc;
    }
    if (has_changes(c)) {
        sop_wset_cursor_init(&w, c->store->access->wset);
        cell = forward ? sop_wset_first(&w) : sop_wset_last(&w);
        return merge(c, &w, cell, forward, err);
    }
    c->stand = !c->store->access->created && c->scan.on ? SOP_ON_SCAN : SOP_NOWHERE;
    return c->stand == SOP_NOWHERE ? end_of(c, err) : 0;
}

/* ---- jumps ---------------------------------------------------------------------------------
 */

static int jump(struct sop_cursor *c, struct sop_slice full, bool forward, bool *exact,
                struct sop_err *err)
{
    struct sop_buf own = {0}; /* full may lie in what the move changes */
    struct sop_slice here;
    int rc = ready(c, err); /* also for a store's own cursor: the state may have moved on */
    if (rc == 0) {
        rc = sop_buf_append(&own, full.data, full.len, err);
    }
    if (rc == 0) {
        rc = span_begin(c, sop_buf_slice(&own), false, err);
    }
    if (rc == 0) {
        c->span_has_high = true;
        rc = go(c, sop_buf_slice(&own), forward, false, err);
        if (rc == 0 || rc == SOP_ERR_END) {
            int noted = span_reach(c, forward, err);
            rc = noted != 0 ? noted : rc;
        }
    }
    *exact = false;
    if (rc == 0) {
        rc = sop_cursor__here(c, &here, err);
        *exact = rc == 0 && sop_order_cmp(&c->store->order, here, sop_buf_slice(&own)) == 0;
    }
    sop_buf_fini(&own);
    return rc;
}

int sop_cursor__go(struct sop_cursor *c, struct sop_slice full, bool *exact,
                   struct sop_err *err)
{
    return jump(c, full, true, exact, err);
}

int sop_cursor__go_back(struct sop_cursor *c, struct sop_slice full, bool *exact,
                        struct sop_err *err)
{
    return jump(c, full, false, exact, err);
}

static int nothing(struct sop_cursor *c, struct sop_err *err)
{
    c->stand = SOP_NOWHERE;
    return SOP_ERR(err, NOT_FOUND, "there is no item with this key");
}

int sop_cursor_find(struct sop_cursor *c, struct sop_slice key, struct sop_err *err)
{
    bool exact = false;
    int rc = sop_cursor_find_near(c, key, &exact, err);
    if (rc == SOP_ERR_END || (rc == 0 && !exact)) {
        int noted = sop_cursor__flush(c, err);
        return noted != 0 ? noted : nothing(c, err);
    }
    return rc;
}

int sop_cursor_find_near(struct sop_cursor *c, struct sop_slice key, bool *exact,
                         struct sop_err *err)
{
    struct sop_slice full;
    struct sop_slice here;
    *exact = false;
    int rc = ready(c, err);
    if (rc == 0) {
        rc = sop_store__key(c->store, key, NULL, &full, err);
    }
    if (rc != 0 || c->store->card->facts.unique) {
        return rc != 0 ? rc : sop_cursor__go(c, full, exact, err);
    }
    struct sop_buf wanted = {0};
    rc = sop_buf_append(&wanted, full.data, full.len, err);
    if (rc == 0) {
        rc = sop_cursor__go(c, sop_buf_slice(&wanted), exact, err);
    }
    if (rc == 0) {
        rc = sop_cursor__here(c, &here, err);
        *exact = rc == 0 && sop_store__same_user_key(c->store, here, sop_buf_slice(&wanted));
    }
    sop_buf_fini(&wanted);
    return rc;
}

int sop_cursor_find_before(struct sop_cursor *c, struct sop_slice key, bool *exact,
                           struct sop_err *err)
{
    struct sop_item_id highest;
    struct sop_slice full;
    struct sop_slice here;
    *exact = false;
    memset(&highest, 0xff, sizeof highest);
    int rc = ready(c, err);
    if (rc == 0) {
        rc = sop_store__key(c->store, key, &highest, &full, err);
    }
    struct sop_buf wanted = {0};
    if (rc == 0) {
        rc = sop_buf_append(&wanted, full.data, full.len, err);
    }
    if (rc == 0) {
        rc = sop_cursor__go_back(c, sop_buf_slice(&wanted), exact, err);
    }
    if (rc == 0) {
        rc = sop_cursor__here(c, &here, err);
        *exact = rc == 0 && sop_store__same_user_key(c->store, here, sop_buf_slice(&wanted));
    }
    sop_buf_fini(&wanted);
    return rc;
}

int sop_cursor_find_id(struct sop_cursor *c, struct sop_slice key, const struct sop_item_id *id,
                       struct sop_err *err)
{
    struct sop_slice full;
    bool exact = false;
    int rc = ready(c, err);
    if (rc == 0) {
        rc = sop_store__key(c->store, key, id, &full, err);
    }
    if (rc == 0) {
        rc = sop_cursor__go(c, full, &exact, err);
    }
    if (rc == SOP_ERR_END || (rc == 0 && !exact)) {
        int noted = sop_cursor__flush(c, err);
        return noted != 0 ? noted : nothing(c, err);
    }
    return rc;
}

static int jump_end(struct sop_cursor *c, bool forward, struct sop_err *err)
{
    int rc = ready(c, err);
    if (rc == 0) {
        rc = span_begin(c, sop_slice(NULL, 0), true, err);
    }
    if (rc != 0) {
        return rc;
    }
    c->span_has_high =
        forward; /* forward: up to where it stands; back: from there to the end */
    rc = go_end(c, forward, err);
    if (rc == 0 && notes(c)) { /* from the end of the store to here, and further as it moves */
        struct sop_slice here;
        rc = sop_cursor__here(c, &here, err);
        rc = rc == 0 ? set_buf(forward ? &c->span_high : &c->span_low, here, err) : rc;
        c->stand = rc == 0 ? c->stand : SOP_NOWHERE;
    }
    if (rc == 0 || rc == SOP_ERR_END) {
        int noted = span_reach(c, forward, err);
        rc = noted != 0 ? noted : rc;
    }
    return rc;
}

int sop_cursor_first(struct sop_cursor *c, struct sop_err *err)
{
    return jump_end(c, true, err);
}

int sop_cursor_last(struct sop_cursor *c, struct sop_err *err)
{
    return jump_end(c, false, err);
}

/* ---- steps ---------------------------------------------------------------------------------
 */

/* A step of the scan. To reach another leaf may fail; then the cursor stands where it stood, by
 * key, because the scan has let go of its leaf. */
static int step_scan(struct sop_cursor *c, bool forward, struct sop_err *err)
{
    struct sop_slice here;
    if (sop_scan_step_here(&c->scan, forward)) {
        return 0;
    }
    int rc = sop_cursor__here(c, &here, err);
    if (rc == 0) {
        rc = forward ? sop_scan_next(&c->scan, err) : sop_scan_prev(&c->scan, err);
        c->stand = rc != 0 ? SOP_ON_KEY : SOP_ON_SCAN;
    }
    return rc == 0 && !c->scan.on ? end_of(c, err) : rc;
}

/* A step by key, over the transaction's own changes. After a failure it stands where it stood.
 */
static int step_key(struct sop_cursor *c, bool forward, struct sop_err *err)
{
    struct sop_slice here;
    struct sop_buf own = {0};
    int rc = sop_cursor__here(c, &here, err);
    if (rc == 0) {
        rc = sop_buf_append(&own, here.data, here.len, err);
    }
    if (rc == 0) {
        rc = go(c, sop_buf_slice(&own), forward, true, err);
        if (rc != 0 && rc != SOP_ERR_END && set_buf(&c->key, sop_buf_slice(&own), NULL) == 0) {
            c->stand = SOP_ON_KEY;
        }
    }
    sop_buf_fini(&own);
    return rc;
}

static int move(struct sop_cursor *c, bool forward, struct sop_err *err)
{
    int rc = ready(c, err);
    if (rc != 0) {
        return rc;
    }
    if (c->stand == SOP_NOWHERE) {
        return SOP_ERR(err, NOT_FOUND, "the cursor stands on no item; find one first");
    }
    if (c->span && (forward ? c->span_follows_low : c->span_follows_high)) {
        rc = span_settle(c, err); /* it turns round */
        if (rc != 0) {
            return rc;
        }
    }
    rc = c->stand == SOP_ON_SCAN && !has_changes(c) ? step_scan(c, forward, err)
                                                    : step_key(c, forward, err);
    if (rc == 0 || rc == SOP_ERR_END) {
        int noted = span_reach(c, forward, err);
        rc = noted != 0 ? noted : rc;
    }
    return rc;
}

int sop_cursor_next(struct sop_cursor *c, struct sop_err *err)
{
    return move(c, true, err);
}

int sop_cursor_prev(struct sop_cursor *c, struct sop_err *err)
{
    return move(c, false, err);
}

/* ---- views ---------------------------------------------------------------------------------
 */

int sop_cursor__view(struct sop_cursor *c, bool load, struct sop_view *view,
                     struct sop_err *err)
{
    struct sop_slice full;
    int rc = ready(c, err);
    if (rc == 0 && c->stand == SOP_NOWHERE) {
        rc = SOP_ERR(err, NOT_FOUND, "the cursor stands on no item");
    }
    if (rc == 0) {
        rc = sop_cursor__here(c, &full, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_store *s = c->store;
    struct sop_cell *cell = has_changes(c) ? sop_wset_find(s->access->wset, full) : NULL;
    if (cell != NULL) {
        if (cell->kind == SOP_VALUE_TOMBSTONE) {
            return SOP_ERR(err, NOT_FOUND, "the cursor's item was removed");
        }
        return sop_store__view(s, full, cell->ride, cell->value, cell->kind, load, &c->out_key,
                               &c->out_value, view, err);
    }
    if (c->stand == SOP_ON_KEY) { /* its change is not there any more, or the state moved on */
        bool exact = false;
        rc = sop_scan_seek(&c->scan, full, &exact, err);
        if (rc != 0 || !exact) {
            return rc != 0 ? rc : SOP_ERR(err, NOT_FOUND, "the cursor's item was removed");
        }
    }
    struct sop_item item = sop_scan_item(&c->scan);
    return sop_store__view(s, full, item.ride, item.value, (uint8_t)item.kind, load,
                           &c->out_key, &c->out_value, view, err);
}

int sop_cursor_key(struct sop_cursor *c, struct sop_view *view, struct sop_err *err)
{
    int rc = sop_cursor__view(c, false, view, err);
    view->value = sop_slice(NULL, 0);
    view->loaded = false;
    return rc;
}

int sop_cursor_item(struct sop_cursor *c, struct sop_view *view, struct sop_err *err)
{
    return sop_cursor__view(c, true, view, err);
}

/* ---- positions -----------------------------------------------------------------------------
 */

static int read_all(struct sop_cursor *c, struct sop_err *err)
{
    return notes(c) ? sop_txn_read_range(c->store->txn, c->store->access, sop_slice(NULL, 0),
                                         sop_slice(NULL, 0), false, err)
                    : 0;
}

/* How many items of the write set before `key` change the count, each resolved. */
static int changes_before(struct sop_cursor *c, struct sop_slice key, int64_t *change,
                          struct sop_err *err)
{
    struct sop_store *s = c->store;
    struct sop_wset_cursor w;
    int rc = 0;
    *change = 0;
    if (!has_changes(c)) {
        return 0;
    }
    sop_wset_cursor_init(&w, s->access->wset);
    for (struct sop_cell *cell = sop_wset_first(&w);
         cell != NULL && rc == 0 && sop_order_cmp(&s->order, cell->key, key) < 0;
         cell = sop_wset_next(&w)) {
        struct sop_seen seen;
        rc = sop_store__see(s, cell->key, &seen, err); /* resolves blind upserts */
        if (rc == 0) {
            *change += (seen.there ? 1 : 0) - (cell->was == 2 ? 1 : 0);
            sop_store__seen(s, &seen);
        }
    }
    return rc;
}

static int rank_of(struct sop_cursor *c, struct sop_slice key, uint64_t *rank,
                   struct sop_err *err)
{
    struct sop_store *s = c->store;
    int64_t change = 0;
    int rc = 0;
    *rank = 0;
    if (!s->access->created) {
        sop_epoch_enter(&engine_of(c)->epochs, s->txn->slot);
        rc = sop_tree_rank(&engine_of(c)->pages, s->tree, s->txn->moment, key, rank, err);
        sop_epoch_leave(s->txn->slot);
    }
    if (rc == 0) {
        rc = changes_before(c, key, &change, err);
        *rank += (uint64_t)change;
    }
    return rc;
}

int sop_cursor_position(struct sop_cursor *c, uint64_t *position, struct sop_err *err)
{
    struct sop_slice here;
    int rc = ready(c, err);
    if (rc == 0 && c->stand == SOP_NOWHERE) {
        rc = SOP_ERR(err, NOT_FOUND, "the cursor stands on no item");
    }
    if (rc == 0) {
        rc = sop_cursor__here(c, &here, err);
    }
    if (rc == 0) {
        rc = read_all(c, err);
    }
    return rc == 0 ? rank_of(c, here, position, err) : rc;
}

/* Goes to the item with a rank in the snapshot, or to its end. */
static int seek_snapshot(struct sop_cursor *c, uint64_t rank, struct sop_err *err)
{
    struct sop_store *s = c->store;
    struct sop_version *leaf = NULL;
    uint64_t first = 0;
    struct sop_buf low = {0};
    sop_epoch_enter(&engine_of(c)->epochs, s->txn->slot);
    int rc = sop_tree_at_rank(&engine_of(c)->pages, s->tree, s->txn->moment, rank, &leaf,
                              &first, err);
    if (rc == 0) {
        rc = sop_buf_append(&low, leaf->low.data, leaf->low.len, err);
    }
    sop_epoch_leave(s->txn->slot);
    if (rc == 0) {
        rc = low.len == 0 ? sop_scan_first(&c->scan, err)
                          : sop_scan_seek(&c->scan, sop_buf_slice(&low), NULL, err);
    }
    for (; rc == 0 && c->scan.on && first < rank; first++) {
        rc = sop_scan_next(&c->scan, err);
    }
    c->stand = rc == 0 && c->scan.on ? SOP_ON_SCAN : SOP_NOWHERE;
    sop_buf_fini(&low);
    return rc;
}

int sop_cursor_seek(struct sop_cursor *c, uint64_t position, struct sop_err *err)
{
    int rc = ready(c, err);
    if (rc == 0) {
        rc = sop_cursor__flush(c, err);
    }
    if (rc == 0) {
        rc = read_all(c, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (!has_changes(c)) {
        rc = c->store->access->created ? end_of(c, err) : seek_snapshot(c, position, err);
        return rc == 0 && c->stand == SOP_NOWHERE ? end_of(c, err) : rc;
    }
    /* With own changes: near the snapshot's rank, then step to the right place. */
    uint64_t items =
        c->store->access->created ? 0 : sop_tree_items(c->store->tree, c->store->txn->moment);
    uint64_t guess = position < items ? position : items == 0 ? 0 : items - 1;
    struct sop_slice here;
    uint64_t rank = 0;
    if (items > 0) {
        rc = seek_snapshot(c, guess, err);
    }
    if (rc == 0 && items > 0 && c->stand == SOP_ON_SCAN) {
        struct sop_buf key = {0};
        rc = sop_cursor__here(c, &here, err);
        rc = rc == 0 ? sop_buf_append(&key, here.data, here.len, err) : rc;
        rc = rc == 0 ? rank_of(c, sop_buf_slice(&key), &rank, err) : rc;
        rc = rc == 0 ? go(c, sop_buf_slice(&key), true, false, err) : rc;
        if (rc == SOP_ERR_END) { /* what follows was removed: count from the last one */
            rc = go_end(c, false, err);
            rank = rank == 0 ? 0 : rank - 1;
        }
        sop_buf_fini(&key);
    } else if (rc == 0) {
        rc = go_end(c, true, err);
        rank = 0;
    }
    while (rc == 0 && rank < position) {
        rc = move(c, true, err);
        rank++;
    }
    while (rc == 0 && rank > position) {
        rc = move(c, false, err);
        rank--;
    }
    if (c->span) { /* the whole store was noted already */
        c->span = false;
    }
    return rc;
}
