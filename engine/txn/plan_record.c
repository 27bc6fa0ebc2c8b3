/* Plans as records and back; layout in format.h. */
#include "engine/txn/plan.h"

#include "engine/base/codec.h"
#include "engine/base/limits.h"

/* ---- encoding ------------------------------------------------------------------------------
 */

/* Starts a section; section_end fills in its length. */
static size_t section_begin(struct sop_writer *w, enum sop_batch_section type)
{
    sop_write_u8(w, (uint8_t)type);
    sop_write_u32(w, 0);
    return w->to->len;
}

static void section_end(struct sop_writer *w, size_t begin)
{
    if (!w->failed) {
        sop_put_u32(w->to->data + begin - 4, (uint32_t)(w->to->len - begin));
    }
}

/* Bytes of an operation's numbers, at most: flags, transaction, three lengths. */
#define OP_HEAD_BYTES (1 + 4 * SOP_VARINT_BYTES_MAX)

static inline uint8_t *put_blob(uint8_t *to, struct sop_slice s)
{
    to = sop_put_varint(to, s.len);
    sop_copy(to, s.data, s.len);
    return to + s.len;
}

static inline uint8_t *put_op(uint8_t *to, const struct sop_op *op)
{
    bool ride = op->ride.len > 0;
    *to++ = (uint8_t)(op->kind | (ride ? SOP_OP_HAS_RIDE : 0));
    to = sop_put_varint(to, op->txn);
    to = put_blob(to, op->key);
    if (ride) {
        to = put_blob(to, op->ride);
    }
    return op->kind == SOP_VALUE_TOMBSTONE ? to : put_blob(to, op->value);
}

/* Room is made for all at once, so that the loop that writes need not look at it. */
static void encode_ops(struct sop_writer *w, const struct sop_op *ops, size_t count)
{
    size_t most = 0;
    for (size_t i = 0; i < count; i++) {
        most += OP_HEAD_BYTES + ops[i].key.len + ops[i].ride.len + ops[i].value.len;
    }
    uint8_t *to = sop_writer_room(w, most);
    if (to == NULL) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        to = put_op(to, &ops[i]);
    }
    sop_writer_advance(w, to);
}

/* Bytes of a page's numbers, at most: flags, level, six numbers, two lengths. */
#define PAGE_HEAD_BYTES (2 + 8 * SOP_VARINT_BYTES_MAX)

static void encode_page(struct sop_writer *w, const struct sop_pend *d)
{
    uint8_t flags =
        (uint8_t)((d->free ? SOP_PAGE_FREE : 0) | (d->has_high ? SOP_PAGE_HAS_HIGH : 0) |
                  (d->source_page != d->page ? SOP_PAGE_SOURCE : 0));
    uint8_t *to = sop_writer_room(w, PAGE_HEAD_BYTES + d->low.len + d->high.len);
    if (to == NULL) {
        return;
    }
    to = sop_put_varint(to, d->page);
    to = sop_put_varint(to, d->tree->id);
    *to++ = flags;
    *to++ = d->level;
    if (d->free) {
        sop_writer_advance(w, to);
        return;
    }
    if ((flags & SOP_PAGE_SOURCE) != 0) {
        to = sop_put_varint(to, d->source_page);
    }
    to = sop_put_varint(to, (uint64_t)d->items);
    to = sop_put_varint(to, d->bytes_live > 0 ? (uint64_t)d->bytes_live : 0);
    to = put_blob(to, d->low);
    if (d->has_high) {
        to = put_blob(to, d->high);
    }
    to = sop_put_varint(to, d->ops_count);
    sop_writer_advance(w, to);
    encode_ops(w, d->ops, d->ops_count);
}

static uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static void encode_lists(struct sop_writer *w, const struct sop_plan *p)
{
    size_t at = section_begin(w, SOP_SECTION_IDS);
    sop_write_varint(w, atomic_load(&p->engine->next_page));
    sop_write_varint(w, atomic_load(&p->engine->next_store));
    section_end(w, at);
    if (p->events_count > 0) {
        at = section_begin(w, SOP_SECTION_STORES);
        sop_write_varint(w, p->events_count);
        for (size_t i = 0; i < p->events_count; i++) {
            const struct sop_plan_store_event *e = &p->events[i];
            sop_write_u8(w, (uint8_t)e->what);
            sop_write_varint(w, e->tree->id);
            sop_write_varint(w, e->tree->root);
            if (e->what == SOP_STORE_CREATED) {
                sop_write_blob(w, e->info);
            }
        }
        section_end(w, at);
    }
    if (p->counts_count > 0) {
        at = section_begin(w, SOP_SECTION_COUNTS);
        sop_write_varint(w, p->counts_count);
        for (size_t i = 0; i < p->counts_count; i++) {
            sop_write_varint(w, p->counts[i].tree->id);
            sop_write_varint(w, p->counts[i].items);
        }
        section_end(w, at);
    }
    if (p->values_count > 0) {
        at = section_begin(w, SOP_SECTION_VALUES);
        sop_write_varint(w, p->values_count);
        for (size_t i = 0; i < p->values_count; i++) {
            sop_write_varint(w, p->values[i].place.member);
            sop_write_varint(w, p->values[i].place.file);
            sop_write_varint(w, zigzag(p->values[i].change));
        }
        section_end(w, at);
    }
}

int sop_plan_encode(const struct sop_plan *p, struct sop_buf *to, struct sop_err *err)
{
    struct sop_writer w = sop_writer(to);
    sop_write_u8(&w, SOP_BATCH_FORMAT);
    sop_write_varint(&w, p->txns);
    for (uint32_t i = 0; i < p->txns; i += 8) {
        uint32_t live = p->txns - i;
        sop_write_u8(&w, (uint8_t)((1u << (live < 8 ? live : 8)) - 1));
    }
    encode_lists(&w, p);
    if (p->pends > 0) {
        size_t at = section_begin(&w, SOP_SECTION_PAGES);
        sop_write_varint(&w, p->pends);
        for (const struct sop_pend *d = p->first; d != NULL; d = d->next) {
            encode_page(&w, d);
        }
        if (!w.failed && to->len - at > UINT32_MAX) {
            return SOP_ERR(err, TOO_LARGE,
                           "a batch of %zu bytes; commit fewer or smaller changes at once",
                           to->len);
        }
        section_end(&w, at);
    }
    return sop_writer_end(&w, err);
}

/* ---- decoding ------------------------------------------------------------------------------
 */

static int damaged(struct sop_err *err, const char *what)
{
    return SOP_ERR(err, DATA_LOSS, "a batch record is damaged: %s", what);
}

static int decode_op(struct sop_reader *r, struct sop_op *op, struct sop_err *err)
{
    uint8_t flags = sop_read_u8(r);
    op->kind = flags & SOP_OP_KIND_MASK;
    op->txn = (uint32_t)sop_read_varint(r);
    op->key = sop_read_blob(r);
    op->ride = (flags & SOP_OP_HAS_RIDE) != 0 ? sop_read_blob(r) : sop_slice(NULL, 0);
    op->value = op->kind != SOP_VALUE_TOMBSTONE ? sop_read_blob(r) : sop_slice(NULL, 0);
    if (r->bad || op->kind > SOP_VALUE_TOMBSTONE || (flags & ~7u) != 0) {
        return damaged(err, "an operation");
    }
    if (op->kind == SOP_VALUE_PLACE && op->value.len != SOP_PLACE_BYTES) {
        return damaged(err, "the place of a value");
    }
    if (op->kind == SOP_VALUE_TOMBSTONE && op->ride.len > 0) {
        return damaged(err, "a tombstone with a ride");
    }
    return 0;
}

/* What the page asks of its operations besides their order. */
static bool op_fits(const struct sop_pend *d, const struct sop_op *op)
{
    if (d->level > 0) { /* separators with page ids */
        return op->kind == SOP_VALUE_TOMBSTONE ||
               (op->kind == SOP_VALUE_INLINE && op->ride.len == 0 && op->value.len == 8);
    }
    return op->key.len >= d->tree->order.id_bytes;
}

static int decode_ops(struct sop_plan *p, struct sop_pend *d, struct sop_reader *r,
                      struct sop_err *err)
{
    uint64_t count = sop_read_varint(r);
    if (r->bad || count > sop_reader_left(r) / 3) { /* an operation takes at least 3 bytes */
        return damaged(err, "the number of operations");
    }
    d->ops = sop_arena_alloc(&p->arena, count * sizeof *d->ops + 1);
    if (d->ops == NULL) {
        return SOP_ERR(err, NOMEM, "replay %" PRIu64 " operations", count);
    }
    d->ops_count = count;
    for (uint64_t i = 0; i < count; i++) {
        memset(&d->ops[i], 0, sizeof d->ops[i]);
        int rc = decode_op(r, &d->ops[i], err);
        if (rc == 0 && !op_fits(d, &d->ops[i])) {
            rc = damaged(err, "an operation that its page cannot take");
        }
        if (rc == 0 && i > 0 &&
            sop_order_cmp(&d->tree->order, d->ops[i - 1].key, d->ops[i].key) >= 0) {
            rc = damaged(err, "operations out of order");
        }
        if (rc != 0) {
            return rc;
        }
    }
    /* I-fences: every key lies inside its page. */
    if (count > 0 && (sop_order_cmp(&d->tree->order, d->ops[0].key, d->low) < 0 ||
                      (d->has_high &&
                       sop_order_cmp(&d->tree->order, d->ops[count - 1].key, d->high) >= 0))) {
        return damaged(err, "a key outside its page's fences");
    }
    return 0;
}

/* An id that is used again leaves the free list. */
static int take_free(struct sop_plan *p, struct sop_tree *tree, uint64_t page)
{
    sop_mutex_lock(&tree->mutex);
    for (size_t i = tree->free_count; i-- > 0;) {
        if (tree->free_pages[i] == page) {
            tree->free_pages[i] = tree->free_pages[--tree->free_count];
            break;
        }
    }
    sop_mutex_unlock(&tree->mutex);
    (void)p;
    return 0;
}

/* An observer without the store's comparer: nobody can open the store, so its pages stay as
 * they were, and only the form of the entry is looked at. */
static int skip_page(struct sop_reader *r, uint8_t flags, struct sop_err *err)
{
    if ((flags & SOP_PAGE_FREE) != 0) {
        return 0;
    }
    if ((flags & SOP_PAGE_SOURCE) != 0) {
        (void)sop_read_varint(r);
    }
    (void)sop_read_varint(r); /* items, live bytes, fences */
    (void)sop_read_varint(r);
    (void)sop_read_blob(r);
    if ((flags & SOP_PAGE_HAS_HIGH) != 0) {
        (void)sop_read_blob(r);
    }
    uint64_t count = sop_read_varint(r);
    if (r->bad || count > sop_reader_left(r) / 3) {
        return damaged(err, "the number of operations");
    }
    int rc = 0;
    for (uint64_t i = 0; i < count && rc == 0; i++) {
        struct sop_op op = {0};
        rc = decode_op(r, &op, err);
    }
    return rc;
}

static int decode_page(struct sop_plan *p, struct sop_reader *r, struct sop_err *err)
{
    uint64_t page = sop_read_varint(r);
    uint64_t store = sop_read_varint(r);
    uint8_t flags = sop_read_u8(r);
    uint8_t level = sop_read_u8(r);
    struct sop_tree *tree = r->bad ? NULL : sop_engine_tree(p->engine, store);
    if (tree == NULL || page == 0 || page >= p->next_page || (flags & ~7u) != 0 ||
        level >= SOP_LEVELS_MAX) {
        return damaged(err, "a page of an unknown store");
    }
    if (tree->needs_comparer) {
        SOP_ASSERT(p->engine->options.observer);
        return skip_page(r, flags, err);
    }
    int rc = sop_plan_free_page(p, tree, page, err);
    struct sop_pend *d = p->last;
    if (rc != 0 || (flags & SOP_PAGE_FREE) != 0) {
        return rc;
    }
    d->free = false;
    d->level = level;
    d->source_page = (flags & SOP_PAGE_SOURCE) != 0 ? sop_read_varint(r) : page;
    d->items = (int64_t)(sop_read_varint(r) & INT32_MAX);
    d->bytes_live = (int64_t)(sop_read_varint(r) & INT64_MAX);
    d->low = sop_read_blob(r);
    d->has_high = (flags & SOP_PAGE_HAS_HIGH) != 0;
    d->high = d->has_high ? sop_read_blob(r) : sop_slice(NULL, 0);
    if (r->bad || (d->has_high && sop_order_cmp(&tree->order, d->low, d->high) >= 0)) {
        return damaged(err, "a page");
    }
    if (d->source_page != page) {
        rc = take_free(p, tree, page);
    }
    if (rc == 0 && d->source_page != 0) {
        rc = sop_pages_source(&p->engine->pages, &tree->order, d->source_page, &d->source,
                              &d->source_owned, err);
    }
    if (rc == 0 && d->source != NULL && (d->source->free || d->source->level != level)) {
        rc = damaged(err, "a page made from a free one or one of another level");
    }
    return rc != 0 ? rc : decode_ops(p, d, r, err);
}

static int decode_pages(struct sop_plan *p, struct sop_reader *r, struct sop_err *err)
{
    uint64_t count = sop_read_varint(r);
    int rc = 0;
    for (uint64_t i = 0; i < count && rc == 0; i++) {
        if (r->bad) {
            return damaged(err, "the number of pages");
        }
        rc = decode_page(p, r, err);
    }
    return rc;
}

static int decode_created(struct sop_plan *p, uint64_t store, uint64_t root,
                          struct sop_slice info, struct sop_tree **out, struct sop_err *err)
{
    if (sop_engine_tree(p->engine, store) != NULL) {
        return damaged(err, "a store is created twice");
    }
    struct sop_tree *tree = NULL;
    int rc = sop_tree_new(&tree, store, root, err);
    if (rc != 0) {
        return rc;
    }
    const struct sop_engine_options *o = &p->engine->options;
    rc = o->describe(o->arg, info, tree, err);
    if (rc == 0) {
        tree->created = SOP_NEVER;
        rc = sop_engine_add_tree(p->engine, tree, err);
    }
    if (rc != 0) {
        sop_tree_free(tree);
        return rc;
    }
    *out = tree;
    return 0;
}

static int decode_stores(struct sop_plan *p, struct sop_reader *r, struct sop_err *err)
{
    uint64_t count = sop_read_varint(r);
    int rc = 0;
    for (uint64_t i = 0; i < count && rc == 0; i++) {
        uint8_t what = sop_read_u8(r);
        uint64_t store = sop_read_varint(r);
        uint64_t root = sop_read_varint(r);
        struct sop_slice info =
            what == SOP_STORE_CREATED ? sop_read_blob(r) : sop_slice(NULL, 0);
        if (r->bad || what < SOP_STORE_CREATED || what > SOP_STORE_FREED) {
            return damaged(err, "a store event");
        }
        struct sop_tree *tree = sop_engine_tree(p->engine, store);
        if (what == SOP_STORE_CREATED) {
            rc = decode_created(p, store, root, info, &tree, err);
        } else if (tree == NULL) {
            rc = damaged(err, "an unknown store is removed");
        }
        if (rc == 0) {
            rc = sop_plan_event(p, tree, (enum sop_store_event)what, info, err);
        }
    }
    return rc;
}

static int decode_counts(struct sop_plan *p, struct sop_reader *r, struct sop_err *err)
{
    uint64_t count = sop_read_varint(r);
    if (r->bad || count > sop_reader_left(r)) {
        return damaged(err, "the number of counts");
    }
    p->counts = sop_calloc(count + 1, sizeof *p->counts);
    if (p->counts == NULL) {
        return SOP_ERR(err, NOMEM, "replay %" PRIu64 " counts", count);
    }
    p->counts_cap = count + 1;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t store = sop_read_varint(r);
        uint64_t items = sop_read_varint(r);
        struct sop_tree *tree = r->bad ? NULL : sop_engine_tree(p->engine, store);
        if (tree == NULL) {
            return damaged(err, "the count of an unknown store");
        }
        p->counts[p->counts_count++] = (struct sop_plan_count){.tree = tree, .items = items};
    }
    return 0;
}

static int decode_values(struct sop_plan *p, struct sop_reader *r, struct sop_err *err)
{
    uint64_t count = sop_read_varint(r);
    if (r->bad || count > sop_reader_left(r)) {
        return damaged(err, "the number of values");
    }
    p->values = sop_calloc(count + 1, sizeof *p->values);
    if (p->values == NULL) {
        return SOP_ERR(err, NOMEM, "replay %" PRIu64 " values", count);
    }
    p->values_cap = count + 1;
    for (uint64_t i = 0; i < count; i++) {
        struct sop_plan_value *v = &p->values[p->values_count++];
        v->place.member = sop_read_varint(r);
        v->place.file = (uint32_t)sop_read_varint(r);
        v->change = unzigzag(sop_read_varint(r));
        int rc = r->bad ? damaged(err, "a value")
                        : sop_files_note(&p->engine->files, &v->place, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* Ids only grow: one that is given out twice would mix two pages. */
static int decode_ids(struct sop_plan *p, struct sop_reader *r, struct sop_err *err)
{
    uint64_t page = sop_read_varint(r);
    uint64_t store = sop_read_varint(r);
    if (r->bad || page < p->next_page || store < p->next_store) {
        return damaged(err, "its ids");
    }
    p->next_page = page;
    p->next_store = store;
    return 0;
}

static int decode_section(struct sop_plan *p, uint8_t type, struct sop_reader *r,
                          struct sop_err *err)
{
    int rc = 0;
    switch (type) {
    case SOP_SECTION_IDS:
        rc = decode_ids(p, r, err);
        break;
    case SOP_SECTION_STORES:
        rc = decode_stores(p, r, err);
        break;
    case SOP_SECTION_PAGES:
        rc = decode_pages(p, r, err);
        break;
    case SOP_SECTION_COUNTS:
        rc = decode_counts(p, r, err);
        break;
    case SOP_SECTION_VALUES:
        rc = decode_values(p, r, err);
        break;
    default:
        return SOP_ERR(err, VERSION, "a batch record has a section of type %u", type);
    }
    return rc == 0 && (r->bad || r->at != r->end) ? damaged(err, "a section's length") : rc;
}

int sop_plan_decode(struct sop_plan *p, struct sop_slice payload, struct sop_err *err)
{
    struct sop_reader r = sop_reader(payload);
    uint8_t format = sop_read_u8(&r);
    if (!r.bad && format != SOP_BATCH_FORMAT) {
        return SOP_ERR(err, VERSION, "a batch record has format %u", format);
    }
    uint64_t txns = sop_read_varint(&r);
    if (r.bad || txns > UINT32_MAX) {
        return damaged(err, "the number of transactions");
    }
    p->txns = (uint32_t)txns;
    (void)sop_read_bytes(&r, (txns + 7) / 8);
    int rc = 0;
    uint64_t seen = 0; /* each section once */
    while (rc == 0 && !r.bad && sop_reader_left(&r) > 0) {
        uint8_t type = sop_read_u8(&r);
        if (type < 64 && (seen >> type & 1) != 0) {
            return damaged(err, "a section that comes twice");
        }
        seen |= type < 64 ? UINT64_C(1) << type : 0;
        uint32_t bytes = sop_read_u32(&r);
        struct sop_reader section = sop_reader(sop_read_bytes(&r, bytes));
        if (r.bad) {
            break;
        }
        rc = decode_section(p, type, &section, err);
    }
    return rc == 0 && r.bad ? damaged(err, "its length") : rc;
}
