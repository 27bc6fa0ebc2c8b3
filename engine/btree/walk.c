/* Merged walk over a stack of sheets.
 *
 * at[x] divides sheet x into what is before and what is after the place of the walk: forward
 * the sheet stands on item at[x], backward on item at[x] - 1. Turning round therefore changes
 * nothing but the reading of at[].
 *
 * Invariants, between calls, with more than one sheet:
 *   1. first[x] <= at[x] <= end[x].
 *   2. rank[0 .. live) are the sheets that still stand on an item, nearest key first; equal
 * keys stand side by side, newest sheet first, and tied[] marks all but the first of them.
 *   3. forward every item before at[x], backward every item from at[x] on, has been passed.
 *   4. current = rank[0], or -1 when nothing is left in this direction.
 * So a step moves only the sheets that stand on the current key, and costs one comparison of
 * heads as long as the same sheet stays in front. */
#include "engine/btree/sheet.h"

#include "engine/btree/sheet_int.h"

/* ---- comparing across sheets ----------------------------------------------------------------
 */

int sop_walk__cmp_tied(const struct sop_walk *w, unsigned x, uint32_t i, unsigned y, uint32_t j)
{
    const struct sop_sheet *a = w->sheets[x];
    const struct sop_sheet *b = w->sheets[y];
    struct sop_slice a_suffix = sop_sheet__suffix(a, i);
    struct sop_slice b_suffix = sop_sheet__suffix(b, j);
    if (w->order->compare != NULL) {
        return sop_order_cmp(w->order, a_suffix, b_suffix);
    }
    if (a->prefix.len == w->prefix_bytes && b->prefix.len == w->prefix_bytes) {
        return sop_sheet__cmp_tied(a_suffix, b_suffix);
    }
    return sop_sheet__cmp_parts(sop_slice__from(a->prefix, w->prefix_bytes), a_suffix,
                                sop_slice__from(b->prefix, w->prefix_bytes), b_suffix);
}

/* Order of the items that two sheets stand on, in the direction of the walk. */
static int cmp_standing(const struct sop_walk *w, unsigned x, unsigned y)
{
    int order;
    if (w->head[x] != w->head[y]) {
        order = w->head[x] < w->head[y] ? -1 : 1;
    } else {
        order = sop_walk__cmp_tied(w, x, sop_walk__index(w, x), y, sop_walk__index(w, y));
        order = (order > 0) - (order < 0);
    }
    return w->backward ? -order : order;
}

/* The prefix that all sheets share, and what each sheet's own prefix adds to its heads. */
static void align_heads(struct sop_walk *w)
{
    const struct sop_sheet *base = NULL;
    size_t shared = 0;
    for (uint32_t x = 0; x < w->sheets_count; x++) {
        const struct sop_sheet *s = w->sheets[x];
        if (s->count == 0) {
            continue;
        }
        struct sop_slice known = sop_slice(base == NULL ? NULL : base->prefix.data, shared);
        shared = base == NULL ? s->prefix.len : sop_sheet__common(known, s->prefix);
        base = s;
    }
    w->prefix_bytes = (uint32_t)shared;
    for (uint32_t x = 0; x < w->sheets_count; x++) {
        const struct sop_sheet *s = w->sheets[x];
        size_t own = s->count == 0 ? 0 : s->prefix.len - shared;
        bool covered = own >= SOP_HEAD_BYTES; /* the head is the prefix alone */
        w->lead[x] = own == 0 ? 0 : sop_sheet__head(s->prefix.data + shared, own);
        w->shift[x] = covered ? 0 : (uint8_t)(8 * own);
        w->keep[x] = covered ? 0 : UINT64_MAX;
    }
}

/* ---- ranks ----------------------------------------------------------------------------------
 */

static bool standing(const struct sop_walk *w, unsigned x)
{
    return w->backward ? w->at[x] > w->first[x] : w->at[x] < w->end[x];
}

/* Puts sheet x, which stands on an item, among the ranks. */
static void rank_insert(struct sop_walk *w, unsigned x)
{
    unsigned p = 0;
    bool joins = false;   /* an older sheet's key is the same: x goes in front of that sheet */
    bool follows = false; /* a newer sheet's key is the same: x goes behind it */
    w->head[x] = sop_walk__head(w, x, sop_walk__index(w, x));
    while (p < w->live) {
        int order = cmp_standing(w, x, w->rank[p]);
        if (order < 0) {
            break;
        }
        if (order == 0) {
            while (p < w->live && w->rank[p] < x && (!follows || w->tied[p])) {
                follows = true;
                p++;
            }
            joins = p < w->live && (!follows || w->tied[p]);
            break;
        }
        do { /* past the whole group */
            p++;
        } while (p < w->live && w->tied[p]);
    }
    for (unsigned q = w->live; q > p; q--) {
        w->rank[q] = w->rank[q - 1];
        w->tied[q] = w->tied[q - 1];
    }
    w->rank[p] = (uint8_t)x;
    w->tied[p] = follows;
    w->live++;
    if (p + 1u < w->live) {
        w->tied[p + 1] = joins;
    }
}

static void rank_drop(struct sop_walk *w, unsigned n)
{
    SOP_ASSERT(n <= w->live);
    w->live = (uint8_t)(w->live - n);
    for (unsigned p = 0; p < w->live; p++) {
        w->rank[p] = w->rank[p + n];
        w->tied[p] = w->tied[p + n];
    }
    w->tied[0] = false;
}

void sop_walk__rank(struct sop_walk *w)
{
    w->live = 0;
    for (uint32_t x = 0; x < w->sheets_count; x++) {
        if (standing(w, x)) {
            rank_insert(w, x);
        }
    }
}

/* Puts the first sheet, which stands alone and has moved, where it belongs. */
static void rank_first(struct sop_walk *w)
{
    unsigned x = w->rank[0];
    if (!standing(w, x)) {
        rank_drop(w, 1);
        return;
    }
    if (w->live > 1) {
        uint64_t head = sop_walk__head(w, x, sop_walk__index(w, x));
        uint64_t next = w->head[w->rank[1]];
        if (w->backward ? head <= next : head >= next) {
            rank_drop(w, 1);
            rank_insert(w, x);
            return;
        }
        w->head[x] = head;
    }
}

void sop_walk__pass(struct sop_walk *w)
{
    unsigned group = sop_walk__group(w);
    uint32_t step = w->backward ? UINT32_MAX : 1; /* -1 by wrapping */
    if (group == 1) {
        w->at[w->rank[0]] += step;
        rank_first(w);
        return;
    }
    uint8_t moved[8];
    memcpy(moved, w->rank, sizeof moved);
    rank_drop(w, group);
    for (unsigned p = 0; p < group; p++) {
        unsigned x = moved[p];
        w->at[x] += step;
        if (standing(w, x)) {
            rank_insert(w, x);
        }
    }
}

void sop_walk__jump(struct sop_walk *w, uint32_t at)
{
    SOP_ASSERT(!w->backward && w->live > 0 && at <= w->end[w->rank[0]]);
    w->at[w->rank[0]] = at;
    rank_first(w);
}

/* ---- places ---------------------------------------------------------------------------------
 */

static bool hidden(const struct sop_walk *w, unsigned x)
{
    const struct sop_sheet *s = w->sheets[x];
    return s->run && !w->keep_tombstones &&
           sop_sheet__kind(s, sop_walk__index(w, x)) == SOP_VALUE_TOMBSTONE;
}

/* From where the walk stands now to the next item to be shown. */
static bool settle_one(struct sop_walk *w)
{
    w->current = -1;
    while (standing(w, 0)) {
        if (!hidden(w, 0)) {
            w->current = 0;
            return true;
        }
        w->at[0] += w->backward ? UINT32_MAX : 1;
    }
    return false;
}

static bool settle(struct sop_walk *w)
{
    if (w->sheets_count == 1) {
        return settle_one(w);
    }
    w->current = -1;
    while (w->live > 0) {
        if (!hidden(w, w->rank[0])) {
            w->current = w->rank[0];
            return true;
        }
        sop_walk__pass(w);
    }
    return false;
}

/* After at[] or the direction was set. first[] and end[] may have been narrowed since. */
static bool place(struct sop_walk *w, bool backward)
{
    w->backward = backward;
    for (uint32_t x = 0; x < w->sheets_count; x++) {
        uint32_t at = w->at[x] < w->end[x] ? w->at[x] : w->end[x];
        w->at[x] = at > w->first[x] ? at : w->first[x];
    }
    if (w->sheets_count > 1) {
        sop_walk__rank(w);
    }
    return settle(w);
}

void sop_walk_init(struct sop_walk *w, const struct sop_order *order,
                   const struct sop_sheet *const *sheets, uint32_t sheets_count,
                   struct sop_slice low, struct sop_slice high, bool has_high,
                   bool keep_tombstones)
{
    SOP_ASSERT(sheets_count >= 1 && sheets_count <= SOP_ARRAY_LEN(w->sheets));
    w->sheets_count = sheets_count;
    w->current = -1;
    w->keep_tombstones = keep_tombstones;
    w->backward = true; /* stands before everything, with nothing left in this direction */
    w->order = order;
    w->live = 0;
    w->prefix_bytes = 0;
    for (uint32_t x = 0; x < sheets_count; x++) {
        w->sheets[x] = sheets[x];
        sop_sheet__bounds(sheets[x], order, low, high, has_high, &w->first[x], &w->end[x]);
        w->at[x] = w->first[x];
    }
    if (sheets_count > 1) {
        align_heads(w);
    }
}

bool sop_walk_first(struct sop_walk *w)
{
    memcpy(w->at, w->first, w->sheets_count * sizeof w->at[0]);
    return place(w, false);
}

bool sop_walk_last(struct sop_walk *w)
{
    memcpy(w->at, w->end, w->sheets_count * sizeof w->at[0]);
    return place(w, true);
}

/* Stands on the first item >= key, or backward on the last one <= key. */
static bool place_at(struct sop_walk *w, struct sop_slice key, bool backward, bool *exact)
{
    int known = -1; /* the newest sheet that has the key: it decides whether the key is there */
    for (uint32_t x = 0; x < w->sheets_count; x++) {
        bool equal;
        uint32_t at = sop_sheet_seek(w->sheets[x], w->order, key, &equal);
        if (equal && known < 0 && at >= w->first[x] && at < w->end[x]) {
            known = (int)x;
        }
        w->at[x] = at + (backward && equal ? 1 : 0);
    }
    uint32_t found = known < 0 ? 0 : w->at[known];
    bool on = place(w, backward);
    if (exact != NULL) {
        /* If that item was hidden, its sheet has moved on. */
        *exact = on && known >= 0 && w->current == known && w->at[known] == found;
    }
    return on;
}

bool sop_walk_seek(struct sop_walk *w, struct sop_slice key, bool *exact)
{
    return place_at(w, key, false, exact);
}

bool sop_walk_floor(struct sop_walk *w, struct sop_slice key, bool *exact)
{
    return place_at(w, key, true, exact);
}

bool sop_walk_next(struct sop_walk *w)
{
    if (w->backward) {
        return place(w, false);
    }
    if (w->current < 0) {
        return false;
    }
    if (w->sheets_count == 1) {
        w->at[0]++;
        return settle_one(w);
    }
    sop_walk__pass(w);
    return settle(w);
}

bool sop_walk_prev(struct sop_walk *w)
{
    if (!w->backward) {
        return place(w, true);
    }
    if (w->current < 0) {
        return false;
    }
    if (w->sheets_count == 1) {
        w->at[0]--;
        return settle_one(w);
    }
    sop_walk__pass(w);
    return settle(w);
}

struct sop_item sop_walk_item(const struct sop_walk *w)
{
    SOP_ASSERT(w->current >= 0);
    unsigned x = (unsigned)w->current;
    return sop_sheet_item(w->sheets[x], sop_walk__index(w, x));
}
