/* Writing images: the frame that a maker and a merge fill, the maker itself, separators.
 *
 * Cells can only be written when the common prefix is known, and that is known when the last
 * key is. So the maker collects whole keys and contents, and writes everything in finish. */
#include "engine/btree/sheet.h"

#include "engine/btree/sheet_int.h"

/* ---- frame ----------------------------------------------------------------------------------
 */

static void put_header(uint8_t *p, const struct sop_sheet_parts *parts, uint32_t bytes,
                       uint32_t pieces)
{
    const struct sop_sheet_meta *meta = parts->meta;
    memset(p, 0, SOP_SHEET_HEADER_BYTES);
    sop_put_u32(p + SOP_SHEET_AT_MAGIC, SOP_SHEET_MAGIC);
    sop_put_u16(p + SOP_SHEET_AT_VERSION, SOP_SHEET_VERSION);
    p[SOP_SHEET_AT_FLAGS] =
        (uint8_t)((meta->run ? SOP_SHEET_RUN : 0) | (meta->has_high ? SOP_SHEET_HAS_HIGH : 0) |
                  (parts->compared ? SOP_SHEET_COMPARED : 0));
    p[SOP_SHEET_AT_LEVEL] = meta->level;
    sop_put_u64(p + SOP_SHEET_AT_STORE, meta->store);
    sop_put_u64(p + SOP_SHEET_AT_PAGE, meta->page);
    sop_put_u64(p + SOP_SHEET_AT_LSN, meta->lsn.slot);
    sop_put_u64(p + SOP_SHEET_AT_LSN + 8, meta->lsn.record);
    sop_put_u32(p + SOP_SHEET_AT_COUNT, parts->count);
    sop_put_u32(p + SOP_SHEET_AT_BYTES, bytes);
    sop_put_u32(p + SOP_SHEET_AT_LOW_BYTES, (uint32_t)meta->low.len);
    sop_put_u32(p + SOP_SHEET_AT_HIGH_BYTES, meta->has_high ? (uint32_t)meta->high.len : 0);
    sop_put_u32(p + SOP_SHEET_AT_PREFIX_BYTES,
                (uint32_t)(parts->prefix1.len + parts->prefix2.len));
    sop_put_u32(p + SOP_SHEET_AT_PIECES, pieces);
}

int sop_sheet__begin(struct sop_sheet_frame *f, const struct sop_sheet_parts *parts,
                     struct sop_err *err)
{
    const struct sop_sheet_meta *meta = parts->meta;
    struct sop_slice high = meta->has_high ? meta->high : sop_slice(NULL, 0);
    uint64_t names =
        (uint64_t)meta->low.len + high.len + parts->prefix1.len + parts->prefix2.len;
    uint64_t index = (uint64_t)parts->count * 12 + 4;
    uint64_t pieces = 0;
    uint64_t front = 0;
    uint64_t bytes = 0;
    do { /* once more if the guide itself takes the image over a border */
        pieces = sop_sheet__pieces(bytes);
        front = SOP_SHEET_HEADER_BYTES + pieces * SOP_SHEET_GUIDE_BYTES + names;
        bytes = ((front + 7) & ~UINT64_C(7)) + index + parts->cells_bytes;
    } while (pieces < sop_sheet__pieces(bytes));
    if (bytes > SOP_SHEET_BYTES_MAX) {
        return SOP_ERR(err, TOO_LARGE, "a sheet of %" PRIu64 " bytes", bytes);
    }
    uint8_t *image = sop_malloc_aligned(8, (size_t)bytes);
    if (image == NULL) {
        return SOP_ERR(err, NOMEM, "make a sheet of %" PRIu64 " bytes", bytes);
    }
    put_header(image, parts, (uint32_t)bytes, (uint32_t)pieces);
    memset(image + SOP_SHEET_HEADER_BYTES, 0, (size_t)pieces * SOP_SHEET_GUIDE_BYTES);
    f->loose = meta->loose;
    uint8_t *at = sop_cell__put_slice(image + sop_sheet__guide_at((uint32_t)pieces), meta->low);
    at = sop_cell__put_slice(at, high);
    at = sop_cell__put_slice(at, parts->prefix1);
    at = sop_cell__put_slice(at, parts->prefix2);
    while ((uintptr_t)at % 8 != 0) {
        *at++ = 0;
    }
    f->image = image;
    f->bytes = (uint32_t)bytes;
    f->heads = (uint64_t *)(void *)at;
    f->offsets = (uint32_t *)(void *)(at + (size_t)parts->count * 8);
    f->cells = (uint32_t)(bytes - parts->cells_bytes);
    f->offsets[parts->count] = f->bytes;
    return 0;
}

void sop_sheet_seal(struct sop_slice image)
{
    struct sop_sheet s;
    sop_sheet_view(image, &s);
    uint8_t *to = (uint8_t *)(uintptr_t)image.data;
    uint32_t pieces = sop_get_u32(to + SOP_SHEET_AT_PIECES);
    uint32_t front = (uint32_t)sop_sheet__front_bytes(to);
    uint32_t at = front;
    uint32_t item = 0;
    for (uint32_t i = 0; i < pieces; i++) {
        uint8_t *guide = to + sop_sheet__guide_at(i);
        uint32_t end = sop_sheet__piece_at(i + 1, s.bytes);
        uint32_t len = end > at ? end - at : 0;
        item = sop_sheet__first_in(s.offsets, s.count, item, i);
        sop_put_u32(guide + SOP_GUIDE_AT_CRC, sop_crc32c(to + at, len, 0));
        sop_put_u32(guide + SOP_GUIDE_AT_CELL, s.offsets[item]);
        sop_put_u64(guide + SOP_GUIDE_AT_HEAD, item < s.count ? s.heads[item] : UINT64_MAX);
        at += len;
    }
    SOP_ASSERT(at == s.bytes);
    uint32_t crc = sop_crc32c(to, SOP_SHEET_AT_CRC, 0);
    crc = sop_crc32c(to + SOP_SHEET_HEADER_BYTES, front - SOP_SHEET_HEADER_BYTES, crc);
    sop_put_u32(to + SOP_SHEET_AT_CRC, crc);
}

struct sop_slice sop_sheet__end(const struct sop_sheet_frame *f)
{
    struct sop_slice image = sop_slice(f->image, f->bytes);
    if (!f->loose) {
        sop_sheet_seal(image);
    }
    return image;
}

/* ---- maker ----------------------------------------------------------------------------------
 */

/* What index holds for each item; its key lies in keys, its ride and value in cells. */
struct maker_entry {
    uint64_t key_at;
    uint64_t cell_at;
    uint32_t key_bytes;
    uint32_t ride_bytes;
    uint32_t value_bytes;
    uint32_t kind;
};

/* Header, guide of one piece, padding, last offset. The rest of the guide is counted per item:
 * it takes a byte for so many others. */
#define ESTIMATE_EMPTY ((size_t)SOP_SHEET_HEADER_BYTES + SOP_SHEET_GUIDE_BYTES + 8 + 4)
#define ESTIMATE_GUIDE (SOP_SHEET_PIECE_BYTES / SOP_SHEET_GUIDE_BYTES - 1)

void sop_sheet_maker_init(struct sop_sheet_maker *m, const struct sop_order *order)
{
    *m = (struct sop_sheet_maker){.order = order, .estimate = ESTIMATE_EMPTY};
}

void sop_sheet_maker_reset(struct sop_sheet_maker *m)
{
    sop_buf_clear(&m->keys);
    sop_buf_clear(&m->cells);
    sop_buf_clear(&m->index);
    m->count = 0;
    m->tombstones = 0;
    m->estimate = ESTIMATE_EMPTY;
}

void sop_sheet_maker_fini(struct sop_sheet_maker *m)
{
    sop_buf_fini(&m->keys);
    sop_buf_fini(&m->cells);
    sop_buf_fini(&m->index);
    m->count = 0;
}

static const struct maker_entry *maker_entry(const struct sop_sheet_maker *m, uint32_t i)
{
    return (const struct maker_entry *)(const void *)m->index.data + i;
}

static struct sop_slice maker_key(const struct sop_sheet_maker *m, uint32_t i)
{
    const struct maker_entry *e = maker_entry(m, i);
    return sop_slice(m->keys.data + e->key_at, e->key_bytes);
}

__attribute__((unused)) static bool maker_ascends(const struct sop_sheet_maker *m)
{
    return m->count < 2 ||
           sop_order_cmp(m->order, maker_key(m, m->count - 2), maker_key(m, m->count - 1)) < 0;
}

/* Appends to a buffer that has the room. */
static void buf_put(struct sop_buf *buf, struct sop_slice s)
{
    if (s.len > 0) {
        memcpy(buf->data + buf->len, s.data, s.len);
        buf->len += s.len;
    }
}

int sop_sheet_maker_add(struct sop_sheet_maker *m, const struct sop_item *item,
                        struct sop_err *err)
{
    bool tombstone = item->kind == SOP_VALUE_TOMBSTONE;
    SOP_ASSERT(!tombstone || (item->ride.len == 0 && item->value.len == 0));
    SOP_ASSERT(item->kind != SOP_VALUE_PLACE || item->value.len == SOP_SHEET_PLACE_BYTES);

    size_t key_bytes = item->prefix.len + item->suffix.len;
    size_t content = item->ride.len + item->value.len;
    /* Each size first: their sum must not overflow. */
    if (key_bytes > SOP_SHEET_BYTES_MAX || item->ride.len > SOP_SHEET_BYTES_MAX ||
        item->value.len > SOP_SHEET_BYTES_MAX ||
        m->estimate + key_bytes + content > SOP_SHEET_BYTES_MAX || m->count == UINT32_MAX) {
        return SOP_ERR(err, TOO_LARGE, "add an item of %zu + %zu bytes to a sheet", key_bytes,
                       content);
    }
    int rc = sop_buf_reserve(&m->keys, key_bytes, err);
    if (rc == 0) {
        rc = sop_buf_reserve(&m->cells, content, err);
    }
    if (rc == 0) {
        rc = sop_buf_reserve(&m->index, sizeof(struct maker_entry), err);
    }
    if (rc != 0) {
        return rc;
    }
    struct maker_entry e = {.key_at = m->keys.len,
                            .cell_at = m->cells.len,
                            .key_bytes = (uint32_t)key_bytes,
                            .ride_bytes = (uint32_t)item->ride.len,
                            .value_bytes = (uint32_t)item->value.len,
                            .kind = (uint32_t)item->kind};
    buf_put(&m->keys, item->prefix);
    buf_put(&m->keys, item->suffix);
    buf_put(&m->cells, item->ride);
    buf_put(&m->cells, item->value);
    buf_put(&m->index, sop_slice(&e, sizeof e));
    m->count++;
    m->tombstones += tombstone;
    size_t cell = sop_cell__bytes(item->kind, key_bytes, item->ride.len, item->value.len);
    m->estimate += cell + 12 + (cell + 12) / ESTIMATE_GUIDE + 1;
    SOP_DEEP_ASSERT(maker_ascends(m));
    return 0;
}

static void maker_item(const void *arg, size_t i, struct sop_item *item)
{
    const struct sop_sheet_maker *m = (const struct sop_sheet_maker *)arg;
    const struct maker_entry *e = maker_entry(m, (uint32_t)i);
    *item = (struct sop_item){.suffix = sop_slice(m->keys.data + e->key_at, e->key_bytes),
                              .ride = sop_slice(m->cells.data + e->cell_at, e->ride_bytes),
                              .kind = (enum sop_value_kind)e->kind};
    item->value = sop_slice(m->cells.data + e->cell_at + e->ride_bytes, e->value_bytes);
}

int sop_sheet_maker_finish(struct sop_sheet_maker *m, const struct sop_sheet_meta *meta,
                           struct sop_slice *image, struct sop_err *err)
{
    SOP_ASSERT(meta->run || m->tombstones == 0);
    return sop_sheet_make(m->order, meta, maker_item, m, m->count, image, err);
}

/* ---- items in memory ------------------------------------------------------------------------
 */

/* Bytes of all cells, their keys without the prefix. */
static inline __attribute__((always_inline)) uint64_t
cells_bytes(sop_item_at_fn item_at, const void *arg, size_t count, size_t prefix)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        struct sop_item item;
        item_at(arg, i, &item);
        sum +=
            sop_cell__bytes(item.kind, item.suffix.len - prefix, item.ride.len, item.value.len);
    }
    return sum;
}

static inline __attribute__((always_inline)) void write_cells(sop_item_at_fn item_at,
                                                              const void *arg, uint32_t count,
                                                              size_t prefix, bool compared,
                                                              struct sop_sheet_frame *f)
{
    uint8_t *at = f->image + f->cells;
    for (uint32_t i = 0; i < count; i++) {
        struct sop_item item;
        item_at(arg, i, &item);
        struct sop_slice suffix = sop_slice__from(item.suffix, prefix);
        f->offsets[i] = (uint32_t)(at - f->image);
        f->heads[i] = compared ? 0 : sop_sheet__head(suffix.data, suffix.len);
        *at++ = (uint8_t)(item.kind | (item.ride.len > 0 ? SOP_CELL_HAS_RIDE : 0u));
        at = sop_cell__put_len(at, suffix.len);
        if (item.ride.len > 0) {
            at = sop_cell__put_len(at, item.ride.len);
        }
        at = sop_cell__put_slice(at, suffix);
        at = sop_cell__put_slice(at, item.ride);
        if (item.kind == SOP_VALUE_INLINE) {
            at = sop_cell__put_len(at, item.value.len);
        }
        at = sop_cell__put_slice(at, item.value);
    }
    SOP_ASSERT(at == f->image + f->bytes);
}

/* Everything but the items. Inlined, so that an item_at that is known costs no calls. */
static inline __attribute__((always_inline)) int
begin(const struct sop_order *order, const struct sop_sheet_meta *meta, sop_item_at_fn item_at,
      const void *arg, size_t count, struct sop_sheet_parts *parts,
      struct sop_sheet_frame *frame, struct sop_err *err)
{
    *parts = (struct sop_sheet_parts){.meta = meta, .compared = order->compare != NULL};
    if (count > UINT32_MAX) {
        return SOP_ERR(err, TOO_LARGE, "a sheet of %zu items", count);
    }
    parts->count = (uint32_t)count;
    if (count > 0) {
        struct sop_item first;
        struct sop_item last;
        item_at(arg, 0, &first);
        item_at(arg, count - 1, &last);
        SOP_ASSERT(first.prefix.len == 0 && last.prefix.len == 0);
        /* Keys must lie between the fences they are filed under: readers rely on it to skip
         * searches. */
        SOP_ASSERT(meta->low.len == 0 || sop_order_cmp(order, first.suffix, meta->low) >= 0);
        SOP_ASSERT(!meta->has_high || sop_order_cmp(order, last.suffix, meta->high) < 0);
        if (!parts->compared) {
            parts->prefix1 =
                sop_slice(first.suffix.data, sop_sheet__common(first.suffix, last.suffix));
        }
    }
    parts->cells_bytes = cells_bytes(item_at, arg, count, parts->prefix1.len);
    return sop_sheet__begin(frame, parts, err);
}

static inline __attribute__((always_inline)) int
make(const struct sop_order *order, const struct sop_sheet_meta *meta, sop_item_at_fn item_at,
     const void *arg, size_t count, struct sop_slice *image, struct sop_err *err)
{
    struct sop_sheet_parts parts;
    struct sop_sheet_frame frame;
    int rc = begin(order, meta, item_at, arg, count, &parts, &frame, err);
    if (rc != 0) {
        return rc;
    }
    write_cells(item_at, arg, parts.count, parts.prefix1.len, parts.compared, &frame);
    *image = sop_sheet__end(&frame);
    return 0;
}

int sop_sheet_make(const struct sop_order *order, const struct sop_sheet_meta *meta,
                   sop_item_at_fn item_at, const void *arg, size_t count,
                   struct sop_slice *image, struct sop_err *err)
{
    return make(order, meta, item_at, arg, count, image, err);
}

static inline void row_item(const void *arg, size_t i, struct sop_item *item)
{
    const struct sop_sheet_row *row = (const struct sop_sheet_row *)arg;
    const struct sop_sheet_entry *e =
        (const struct sop_sheet_entry *)(const void *)((const uint8_t *)row->first +
                                                       i * row->step);
    *item = (struct sop_item){.suffix = e->key,
                              .ride = e->ride,
                              .value = e->value,
                              .kind = (enum sop_value_kind)e->kind};
}

/* A view of the draft expects nothing of heads that are equal. In builds with deep checks what
 * lay there before would lead a search astray. */
static void leave_blank(const struct sop_sheet_frame *f, uint32_t count)
{
#ifdef SOP_DEEP_CHECKS
    for (uint32_t i = 0; i < count; i++) {
        f->heads[i] = UINT64_MAX - count + i;
        f->offsets[i] = UINT32_MAX;
    }
    memset(f->image + f->cells, 0xe5, f->bytes - f->cells);
#endif
    if (count > 0) {
        f->heads[0] = 0;
        f->heads[count - 1] = 0;
    }
}

int sop_sheet_draft_row(struct sop_sheet_draft *draft, const struct sop_order *order,
                        const struct sop_sheet_meta *meta, const struct sop_sheet_row *row,
                        struct sop_err *err)
{
    struct sop_sheet_parts parts;
    struct sop_sheet_frame f;
    int rc = begin(order, meta, row_item, row, row->count, &parts, &f, err);
    if (rc == 0) {
        leave_blank(&f, parts.count);
        *draft = (struct sop_sheet_draft){.image = sop_slice(f.image, f.bytes),
                                          .order = order,
                                          .row = *row,
                                          .cells = f.cells,
                                          .prefix_bytes = (uint32_t)parts.prefix1.len,
                                          .loose = f.loose};
    }
    return rc;
}

void sop_sheet_draft_fill(const struct sop_sheet_draft *draft)
{
    struct sop_sheet view;
    sop_sheet_view(draft->image, &view);
    uint8_t *image = (uint8_t *)(uintptr_t)draft->image.data; /* ours until it is filled */
    struct sop_sheet_frame f = {
        .image = image,
        .bytes = (uint32_t)draft->image.len,
        .heads = (uint64_t *)(void *)(image + ((const uint8_t *)view.heads - image)),
        .offsets = (uint32_t *)(void *)(image + ((const uint8_t *)view.offsets - image)),
        .cells = draft->cells,
        .loose = draft->loose};
    write_cells(row_item, &draft->row, (uint32_t)draft->row.count, draft->prefix_bytes,
                draft->order->compare != NULL, &f);
    (void)sop_sheet__end(&f);
}

/* ---- separators -----------------------------------------------------------------------------
 */

int sop_separator(const struct sop_order *order, struct sop_slice left, struct sop_slice right,
                  struct sop_buf *to, struct sop_err *err)
{
    SOP_DEEP_ASSERT(sop_order_cmp(order, left, right) < 0);
    if (order->compare != NULL) {
        return sop_buf_append(to, right.data, right.len, err);
    }
    size_t common = sop_sheet__common(left, right);
    SOP_ASSERT(common < right.len);
    return sop_buf_append(to, right.data, common + 1, err);
}
