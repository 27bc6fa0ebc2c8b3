/* Ranges in batches: keys, rides and inline values are handed out where they lie.
 *
 * A range walks a cursor of its own. Without pending changes in the store a batch never crosses
 * a leaf, so what it hands out stays held; only compressed keys are put together in a buffer.
 * With pending changes, and for values in packs, the batch is copied. */
#include "engine/btree/keycode.h"
#include "engine/db/db_int.h"

#define RANGE_MAGIC 0x474e4152u
struct sop_range {
    uint32_t magic;
    struct sop_range *next;
    struct sop_store *store;
    struct sop_cursor *cursor;
    struct sop_range_options options;
    struct sop_buf low, high; /* full keys */
    bool has_low, has_high;
    bool without_low, with_high; /* bounds that a comparer must tell: see bound() */
    bool begun, ended;
    struct sop_buf keys; /* of the batch */
    struct sop_buf scratch;
};

void sop_range_options_init(struct sop_range_options *o)
{
    memset(o, 0, sizeof *o);
    o->size = sizeof *o;
}

/* A bound as a full key: `after` = behind all items with that user key. Behind a key of a
 * unique store is the next byte string; in the order of a comparer there is no such thing, so
 * that the range remembers what is meant and compares. */
static int bound(struct sop_store *s, struct sop_slice user, bool after, struct sop_buf *to,
                 struct sop_err *err)
{
    struct sop_item_id id;
    memset(&id, after ? 0xff : 0, sizeof id);
    if (s->order.compare != NULL && user.len == 0) {
        return 0; /* no key of such a store: before all, and never shown to the comparer */
    }
    if (s->card->facts.unique) {
        int rc = sop_buf_append(to, user.data, user.len, err);
        bool next = after && s->order.compare == NULL;
        return rc == 0 && next ? sop_buf_append(to, "", 1, err) : rc;
    }
    int rc = s->card->delimits ? sop_keycode_delimit(&s->card->facts.key, user, after, to, err)
                               : sop_buf_append(to, user.data, user.len, err);
    if (rc == 0 && (after || s->order.compare != NULL)) {
        rc = sop_buf_append(to, id.bytes, sizeof id.bytes, err);
    }
    return rc;
}

static int set_bounds(struct sop_range *r, struct sop_err *err)
{
    const struct sop_range_options *o = &r->options;
    struct sop_store *s = r->store;
    int rc = 0;
    bool open = o->low_open && !o->prefix;
    bool compares = s->card->facts.unique && s->order.compare != NULL;
    r->without_low = compares && open;
    r->with_high = compares && o->high_closed;
    if (o->low.data != NULL && (o->low.len > 0 || open)) {
        r->has_low = true;
        rc = bound(s, o->low, open, &r->low, err);
    }
    if (rc == 0 && o->prefix && r->has_low) {
        rc = sop_buf_append(&r->high, r->low.data, r->low.len, err);
        while (r->high.len > 0 && r->high.data[r->high.len - 1] == 0xff) {
            r->high.len--;
        }
        r->has_high = r->high.len > 0;
        if (r->has_high) {
            r->high.data[r->high.len - 1]++;
        }
    } else if (rc == 0 && !o->prefix && o->high.data != NULL) {
        r->has_high = true;
        rc = bound(s, o->high, o->high_closed, &r->high, err);
    }
    return rc;
}

int sop_range_open(struct sop_range **out, struct sop_store *s,
                   const struct sop_range_options *options, struct sop_err *err)
{
    struct sop_range_options defaults;
    *out = NULL;
    int rc = sop_store__check(s, err);
    if (rc != 0) {
        return rc;
    }
    if (options == NULL) {
        sop_range_options_init(&defaults);
        options = &defaults;
    }
    if (options->size != sizeof *options) {
        return SOP_ERR(err, INVALID, "options were not filled by sop_range_options_init()");
    }
    if (s->order.compare != NULL && options->prefix) {
        return SOP_ERR(err, UNSUPPORTED,
                       "a prefix needs keys in byte order; this store has a comparer");
    }
    struct sop_range *r = sop_calloc(1, sizeof *r);
    if (r == NULL) {
        return SOP_ERR(err, NOMEM, "open a range");
    }
    r->magic = RANGE_MAGIC;
    r->store = s;
    r->options = *options;
    r->next = s->ranges;
    s->ranges = r;
    rc = set_bounds(r, err);
    if (rc == 0) {
        rc = sop_cursor_open(&r->cursor, s, err);
    }
    if (rc == 0) {
        r->cursor->limit_low = r->has_low ? &r->low : NULL;
        r->cursor->limit_high = r->has_high ? &r->high : NULL;
    }
    if (rc != 0) {
        sop_range__free(r);
        return rc;
    }
    *out = r;
    return 0;
}

void sop_range__free(struct sop_range *r)
{
    struct sop_range **at = &r->store->ranges;
    while (*at != r) {
        at = &(*at)->next;
    }
    *at = r->next;
    sop_cursor_close(&r->cursor);
    sop_buf_fini(&r->low);
    sop_buf_fini(&r->high);
    sop_buf_fini(&r->keys);
    sop_buf_fini(&r->scratch);
    r->magic = 0;
    sop_free(r);
}

void sop_range_close(struct sop_range **range)
{
    if (range != NULL && *range != NULL) {
        SOP_ASSERT((*range)->magic == RANGE_MAGIC);
        if (!sop_txn__forked((*range)->store->txn)) {
            sop_range__free(*range);
        }
        *range = NULL;
    }
}

int sop_range__flush(struct sop_range *r, struct sop_range **next, struct sop_err *err)
{
    *next = r->next;
    return sop_cursor__flush(r->cursor, err);
}

/* ---- moving --------------------------------------------------------------------------------
 */

static int begin(struct sop_range *r, struct sop_err *err)
{
    struct sop_cursor *c = r->cursor;
    bool exact = false;
    int rc = 0;
    r->begun = true;
    if (!r->options.reverse) {
        rc = r->has_low ? sop_cursor__go(c, sop_buf_slice(&r->low), &exact, err)
                        : sop_cursor_first(c, err);
        return rc == 0 && exact && r->without_low ? sop_cursor_next(c, err) : rc;
    }
    if (!r->has_high) {
        return sop_cursor_last(c, err);
    }
    rc = sop_cursor__go_back(c, sop_buf_slice(&r->high), &exact, err);
    return rc == 0 && exact && !r->with_high ? sop_cursor_prev(c, err) : rc;
}

static int step(struct sop_range *r, struct sop_err *err)
{
    return r->options.reverse ? sop_cursor_prev(r->cursor, err)
                              : sop_cursor_next(r->cursor, err);
}

static bool outside(const struct sop_range *r, struct sop_slice key)
{
    const struct sop_order *order = &r->store->order;
    if (r->options.reverse) {
        int cmp = r->has_low ? sop_order_cmp(order, key, sop_buf_slice(&r->low)) : 1;
        return cmp < 0 || (cmp == 0 && r->without_low);
    }
    int cmp = r->has_high ? sop_order_cmp(order, key, sop_buf_slice(&r->high)) : -1;
    return cmp > 0 || (cmp == 0 && !r->with_high);
}

/* ---- handing out ---------------------------------------------------------------------------
 */

/* Where slices of a batch are in r->keys while it grows: offsets, turned into slices at the
 * end. */
struct where {
    size_t key, ride, value;
    bool key_here, ride_here, value_here;
};
#define BATCH_MAX 256

static int put(struct sop_range *r, struct sop_slice bytes, size_t *at, bool *here,
               struct sop_err *err)
{
    *at = r->keys.len;
    *here = true;
    return sop_buf_append(&r->keys, bytes.data, bytes.len, err);
}

static void settle(struct sop_range *r, const struct where *w, size_t count,
                   struct sop_view *views)
{
    for (size_t i = 0; i < count; i++) {
        if (w[i].key_here) {
            views[i].key.data = r->keys.data + w[i].key;
        }
        if (w[i].ride_here) {
            views[i].ride.data = r->keys.data + w[i].ride;
        }
        if (w[i].value_here) {
            views[i].value.data = r->keys.data + w[i].value;
        }
    }
}

/* One view of the scan's item, nothing copied but a key in two parts. */
static int view_in_place(struct sop_range *r, struct sop_view *v, struct where *w,
                         struct sop_err *err)
{
    struct sop_item item = sop_scan_item(&r->cursor->scan);
    struct sop_slice full = item.suffix;
    int rc = 0;
    memset(v, 0, sizeof *v);
    memset(w, 0, sizeof *w);
    size_t begin_at = r->keys.len;
    if (item.prefix.len > 0) {
        rc = put(r, item.prefix, &w->key, &w->key_here, err);
        if (rc == 0) {
            rc = sop_buf_append(&r->keys, item.suffix.data, item.suffix.len, err);
        }
        full = sop_slice(r->keys.data + begin_at, item.prefix.len + item.suffix.len);
    }
    if (rc == 0 && outside(r, full)) {
        r->keys.len = begin_at;
        return SOP_ERR_END;
    }
    if (rc == 0) {
        rc = sop_store__user_key(r->store, full, &r->scratch, &v->key, &v->id, err);
    }
    bool undelimited = v->key.data >= r->scratch.data && r->scratch.data != NULL &&
                       v->key.data < r->scratch.data + r->scratch.cap;
    if (rc == 0 && undelimited) { /* its bytes go with the batch */
        rc = put(r, v->key, &w->key, &w->key_here, err);
    }
    v->ride = item.ride;
    struct sop_place place;
    if (rc == 0) {
        rc = sop_store__value_of((uint8_t)item.kind, item.value, &v->value_bytes, &place, err);
    }
    if (rc != 0 || item.kind == SOP_VALUE_INLINE) {
        v->value = item.value;
        v->loaded = rc == 0;
        return rc;
    }
    if (!r->options.keys_only && r->store->card->facts.values != SOP_VALUES_BIG) {
        struct sop_buf value = {0};
        rc = sop_packs_read(r->store->txn->engine->reader, &place, SOP_PACK_VALUE, &value, err);
        if (rc == 0) {
            v->value = sop_buf_slice(&value);
            rc = put(r, v->value, &w->value, &w->value_here, err);
            v->loaded = rc == 0;
        }
        sop_buf_fini(&value);
    }
    return rc;
}

/* One view by the cursor, everything copied. */
static int view_copied(struct sop_range *r, struct sop_view *v, struct where *w,
                       struct sop_err *err)
{
    struct sop_slice full;
    memset(w, 0, sizeof *w);
    int rc = sop_cursor__here(r->cursor, &full, err);
    if (rc == 0 && outside(r, full)) {
        return SOP_ERR_END;
    }
    if (rc == 0) {
        rc = sop_cursor__view(r->cursor, !r->options.keys_only, v, err);
    }
    if (rc == 0) {
        rc = put(r, v->key, &w->key, &w->key_here, err);
    }
    if (rc == 0) {
        rc = put(r, v->ride, &w->ride, &w->ride_here, err);
    }
    if (rc == 0 && v->loaded) {
        rc = put(r, v->value, &w->value, &w->value_here, err);
    }
    return rc;
}

static bool in_place(const struct sop_range *r)
{
    const struct sop_access *a = r->store->access;
    return r->cursor->stand == SOP_ON_SCAN && (a->wset == NULL || sop_wset_count(a->wset) == 0);
}

int sop_range_next(struct sop_range *r, struct sop_view *views, size_t max, size_t *count,
                   struct sop_err *err)
{
    struct where where[BATCH_MAX];
    *count = 0;
    if (r == NULL || r->magic != RANGE_MAGIC) {
        return SOP_ERR(err, CLOSED, "the range is closed");
    }
    int rc = sop_store__check(r->store, err);
    if (rc != 0 || r->ended || max == 0) {
        return rc;
    }
    max = max < BATCH_MAX ? max : BATCH_MAX;
    sop_buf_clear(&r->keys);
    rc = r->begun ? step(r, err) : begin(r, err);
    while (rc == 0) {
        rc = in_place(r) ? view_in_place(r, &views[*count], &where[*count], err)
                         : view_copied(r, &views[*count], &where[*count], err);
        if (rc != 0) {
            break;
        }
        (*count)++;
        if (*count == max) {
            break;
        }
        if (!in_place(r)) {
            rc = step(r, err);
        } else if (!sop_scan_step_here(&r->cursor->scan, !r->options.reverse)) {
            break; /* stepping on would let go of the leaf that the views point to */
        }
    }
    if (rc == SOP_ERR_END) {
        r->ended = true;
        rc = 0;
    }
    if (rc == 0) {
        settle(r, where, *count, views);
    } else {
        *count = 0;
    }
    return rc;
}
