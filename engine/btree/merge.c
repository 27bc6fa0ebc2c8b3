/* Merging a stack of sheets into one image.
 *
 * Two rounds. The first finds which stretches of which sheets make up the result: the front
 * sheet runs until the key of the next one, found by galloping, so the work grows with the
 * number of changes of sheet, not with the items. The second copies: cells, heads and offsets
 * of a stretch as whole blocks where the sheet's prefix is as long as that of the result (then
 * it is the same prefix), item by item otherwise. */
#include "engine/btree/sheet.h"

#include "engine/btree/sheet_int.h"

/* Items [from, end) of sheet x. */
struct stretch {
    uint32_t sheet;
    uint32_t from;
    uint32_t end;
};

struct merge {
    struct sop_walk walk;
    bool run; /* of the result */
    struct sop_buf stretches;
    uint32_t count;
    uint32_t tombstones;
    size_t prefix; /* bytes of the result's prefix */
    struct sop_err *err;
};

/* ---- which stretches ------------------------------------------------------------------------
 */

static int add_stretch(struct merge *m, uint32_t x, uint32_t from, uint32_t end)
{
    if (from == end) {
        return 0;
    }
    m->count += end - from;
    if (m->stretches.len > 0) {
        struct stretch *last =
            (struct stretch *)(void *)(m->stretches.data + m->stretches.len) - 1;
        if (last->sheet == x && last->end == from) {
            last->end = end;
            return 0;
        }
    }
    struct stretch s = {.sheet = x, .from = from, .end = end};
    return sop_buf_append(&m->stretches, &s, sizeof s, m->err);
}

/* Takes items into the result, without tombstones if it is a base. */
static int take(struct merge *m, uint32_t x, uint32_t from, uint32_t end)
{
    const struct sop_sheet *s = m->walk.sheets[x];
    int rc = 0;
    if (!s->run) {
        return add_stretch(m, x, from, end);
    }
    for (uint32_t i = from; i < end && rc == 0; i++) {
        if (sop_sheet__kind(s, i) != SOP_VALUE_TOMBSTONE) {
            continue;
        }
        m->tombstones++;
        if (!m->run) {
            rc = add_stretch(m, x, from, i);
            from = i + 1;
        }
    }
    return rc != 0 ? rc : add_stretch(m, x, from, end);
}

/* Is item i of sheet x before the item that sheet y stands on? */
static bool before(const struct sop_walk *w, unsigned x, uint32_t i, unsigned y)
{
    uint64_t head = sop_walk__head(w, x, i);
    if (head != w->head[y]) {
        return head < w->head[y];
    }
    return sop_walk__cmp_tied(w, x, i, y, w->at[y]) < 0;
}

/* The first item of sheet x after its place that is not before the one that sheet y stands on.
 */
static uint32_t gallop(const struct sop_walk *w, unsigned x, unsigned y)
{
    uint32_t from = w->at[x] + 1; /* what is before it is known to be less */
    uint32_t end = w->end[x];
    uint32_t step = 1;
    while (step <= end - from && before(w, x, from + step - 1, y)) {
        from += step;
        step = step < UINT32_MAX / 2 ? step * 2 : step;
    }
    if (step <= end - from) {
        end = from + step - 1;
    }
    while (from < end) {
        uint32_t middle = from + (end - from) / 2;
        if (before(w, x, middle, y)) {
            from = middle + 1;
        } else {
            end = middle;
        }
    }
    return from;
}

static int find_stretches(struct merge *m)
{
    struct sop_walk *w = &m->walk;
    int rc = 0;
    w->backward = false;
    sop_walk__rank(w);
    while (w->live > 0 && rc == 0) {
        unsigned x = w->rank[0];
        uint32_t at = w->at[x];
        if (sop_walk__group(w) > 1) {
            rc = take(m, x, at, at + 1); /* the newest of equal keys; the others are passed */
            sop_walk__pass(w);
            continue;
        }
        uint32_t end = w->live == 1 ? w->end[x] : gallop(w, x, w->rank[1]);
        rc = take(m, x, at, end);
        sop_walk__jump(w, end);
    }
    return rc;
}

/* ---- copying --------------------------------------------------------------------------------
 */

static const struct stretch *stretch_at(const struct merge *m, size_t i)
{
    return (const struct stretch *)(const void *)m->stretches.data + i;
}

static size_t stretches_count(const struct merge *m)
{
    return m->stretches.len / sizeof(struct stretch);
}

/* The suffix of an item under the result's prefix, in two pieces. */
static void new_suffix(const struct merge *m, const struct sop_item *item,
                       struct sop_slice *first, struct sop_slice *second)
{
    size_t old = item->prefix.len;
    *first = sop_slice__from(item->prefix, m->prefix < old ? m->prefix : old);
    *second = sop_slice__from(item->suffix, m->prefix > old ? m->prefix - old : 0);
}

static uint64_t cells_bytes(const struct merge *m)
{
    uint64_t sum = 0;
    for (size_t k = 0; k < stretches_count(m); k++) {
        const struct stretch *part = stretch_at(m, k);
        const struct sop_sheet *s = m->walk.sheets[part->sheet];
        sum += s->offsets[part->end] - s->offsets[part->from];
        if (s->prefix.len == m->prefix) {
            continue;
        }
        for (uint32_t i = part->from; i < part->end; i++) {
            size_t old = sop_sheet__suffix(s, i).len;
            size_t len = old + s->prefix.len - m->prefix;
            sum += len + sop_cell__len_bytes(len);
            sum -= old + sop_cell__len_bytes(old);
        }
    }
    return sum;
}

/* Where the next item goes. */
struct target {
    uint32_t item;
    uint8_t *cell;
};

static void copy_whole(const struct sop_sheet *s, const struct stretch *part,
                       const struct sop_sheet_frame *f, struct target *to)
{
    uint32_t n = part->end - part->from;
    uint32_t start = s->offsets[part->from];
    uint32_t bytes = s->offsets[part->end] - start;
    uint32_t move = (uint32_t)(to->cell - f->image) - start; /* may wrap, and then wraps back */
    memcpy(to->cell, s->image + start, bytes);
    memcpy(f->heads + to->item, s->heads + part->from, (size_t)n * sizeof *f->heads);
    const uint32_t *offsets = s->offsets + part->from;
    uint32_t *moved = f->offsets + to->item;
    for (uint32_t i = 0; i < n; i++) {
        moved[i] = offsets[i] + move;
    }
    to->item += n;
    to->cell += bytes;
}

static void copy_anew(const struct merge *m, const struct sop_sheet *s,
                      const struct stretch *part, const struct sop_sheet_frame *f,
                      struct target *to)
{
    for (uint32_t i = part->from; i < part->end; i++) {
        struct sop_item item = sop_sheet_item(s, i);
        struct sop_slice first;
        struct sop_slice second;
        new_suffix(m, &item, &first, &second);
        size_t len = first.len + second.len;
        uint8_t *at = to->cell;
        *at++ = s->image[s->offsets[i]]; /* kind and whether it has a ride stay */
        at = sop_cell__put_len(at, len);
        if (item.ride.len > 0) {
            at = sop_cell__put_len(at, item.ride.len);
        }
        f->offsets[to->item] = (uint32_t)(to->cell - f->image);
        uint8_t *suffix = at;
        at = sop_cell__put_slice(at, first);
        at = sop_cell__put_slice(at, second);
        f->heads[to->item] = sop_sheet__head(suffix, len);
        /* What is behind the suffix stays as it is. */
        const uint8_t *rest = item.suffix.data + item.suffix.len;
        size_t rest_bytes = (size_t)(s->image + s->offsets[i + 1] - rest);
        to->cell = sop_cell__put_slice(at, sop_slice(rest, rest_bytes));
        to->item++;
    }
}

static void copy_stretches(const struct merge *m, const struct sop_sheet_frame *f)
{
    struct target to = {.item = 0, .cell = f->image + f->cells};
    for (size_t k = 0; k < stretches_count(m); k++) {
        const struct stretch *part = stretch_at(m, k);
        const struct sop_sheet *s = m->walk.sheets[part->sheet];
        if (s->prefix.len == m->prefix) {
            copy_whole(s, part, f, &to);
        } else {
            copy_anew(m, s, part, f, &to);
        }
    }
    SOP_ASSERT(to.item == m->count && to.cell == f->image + f->bytes);
}

/* The common prefix of the result's first and last key, in two pieces of the first. */
static void find_prefix(struct merge *m, struct sop_sheet_parts *parts)
{
    if (m->count == 0 || parts->compared) {
        return;
    }
    const struct stretch *a = stretch_at(m, 0);
    const struct stretch *z = stretch_at(m, stretches_count(m) - 1);
    struct sop_item first = sop_sheet_item(m->walk.sheets[a->sheet], a->from);
    struct sop_item last = sop_sheet_item(m->walk.sheets[z->sheet], z->end - 1);
    size_t shared =
        sop_sheet__common_parts(first.prefix, first.suffix, last.prefix, last.suffix);
    size_t from_prefix = shared < first.prefix.len ? shared : first.prefix.len;
    m->prefix = shared;
    parts->prefix1 = sop_slice(first.prefix.data, from_prefix);
    parts->prefix2 = sop_slice(first.suffix.data, shared - from_prefix);
}

int sop_stack_merge(const struct sop_sheet *const *sheets, uint32_t sheets_count,
                    const struct sop_order *order, const struct sop_sheet_meta *meta,
                    struct sop_slice *image, uint32_t *items, struct sop_err *err)
{
    struct merge m = {.run = meta->run, .err = err};
    sop_walk_init(&m.walk, order, sheets, sheets_count, meta->low, meta->high, meta->has_high,
                  true);
    int rc = find_stretches(&m);
    if (rc != 0) {
        goto undo_stretches;
    }
    struct sop_sheet_parts parts = {
        .meta = meta, .compared = order->compare != NULL, .count = m.count};
    find_prefix(&m, &parts);
    parts.cells_bytes = cells_bytes(&m);
    struct sop_sheet_frame frame;
    rc = sop_sheet__begin(&frame, &parts, err);
    if (rc != 0) {
        goto undo_stretches;
    }
    copy_stretches(&m, &frame);
    *image = sop_sheet__seal(&frame);
    *items = m.count - (m.run ? m.tombstones : 0);

undo_stretches:
    sop_buf_fini(&m.stretches);
    return rc;
}
