/* Reading a sheet: the check of untrusted bytes, the view, search.
 *
 * The check looks at every byte once; everything else relies on it (or on the maker) and
 * follows lengths and offsets blindly. It holds back whatever could lead a reader out of the
 * image or make it loop: sizes, offsets, lengths in cells, and heads that do not belong to
 * their cells. */
#include "engine/btree/sheet.h"

#include "engine/btree/sheet_int.h"

/* ---- comparing in pieces --------------------------------------------------------------------
 */

static int sign(int order)
{
    return (order > 0) - (order < 0);
}

static struct sop_slice slice_first(struct sop_slice s, size_t len)
{
    return sop_slice(s.data, len);
}

int sop_sheet__cmp_parts(struct sop_slice a1, struct sop_slice a2, struct sop_slice b1,
                         struct sop_slice b2)
{
    if (a1.len < b1.len) {
        return -sop_sheet__cmp_parts(b1, b2, a1, a2);
    }
    int order = sign(sop_slice_cmp(slice_first(a1, b1.len), b1));
    if (order != 0) {
        return order;
    }
    /* What is left of a1 stands against b2. */
    struct sop_slice rest = sop_slice__from(a1, b1.len);
    if (b2.len <= rest.len) {
        order = sign(sop_slice_cmp(slice_first(rest, b2.len), b2));
        return order != 0 ? order : (rest.len - b2.len + a2.len > 0);
    }
    order = sign(sop_slice_cmp(rest, slice_first(b2, rest.len)));
    return order != 0 ? order : sign(sop_slice_cmp(a2, sop_slice__from(b2, rest.len)));
}

size_t sop_sheet__common(struct sop_slice a, struct sop_slice b)
{
    size_t least = a.len < b.len ? a.len : b.len;
    size_t i = 0;
    while (i + 8 <= least && sop_get_u64(a.data + i) == sop_get_u64(b.data + i)) {
        i += 8;
    }
    while (i < least && a.data[i] == b.data[i]) {
        i++;
    }
    return i;
}

size_t sop_sheet__common_parts(struct sop_slice a1, struct sop_slice a2, struct sop_slice b1,
                               struct sop_slice b2)
{
    if (a1.len < b1.len) {
        return sop_sheet__common_parts(b1, b2, a1, a2);
    }
    size_t common = sop_sheet__common(a1, b1);
    if (common < b1.len) {
        return common;
    }
    struct sop_slice rest = sop_slice__from(a1, b1.len);
    common = sop_sheet__common(rest, b2);
    if (common < rest.len) {
        return b1.len + common;
    }
    return a1.len + sop_sheet__common(a2, sop_slice__from(b2, rest.len));
}

/* A search looks first at so many items around the place where the key is to be expected. */
#define GUESS_WINDOW     80u
#define CACHE_LINE_BYTES 64u

/* ---- view -----------------------------------------------------------------------------------
 */

/* Finds out whether heads are spread evenly enough for a guess to save anything: those at a
 * quarter, half and three quarters lie where they are expected. Heads of an image that was not
 * checked yet may be anything. */
static void expect_heads(struct sop_sheet *s)
{
    if (s->count <= GUESS_WINDOW || s->compared || s->heads[s->count - 1] <= s->heads[0]) {
        return;
    }
    uint64_t first = s->heads[0];
    double rate = (double)(s->count - 1) / (double)(s->heads[s->count - 1] - first);
    for (uint32_t quarter = 1; quarter < 4; quarter++) {
        uint32_t at = (uint32_t)((uint64_t)s->count * quarter / 4);
        double off = (double)(s->heads[at] - first) * rate - (double)at;
        if (s->heads[at] < first || off > GUESS_WINDOW / 2.0 || off < -(GUESS_WINDOW / 2.0)) {
            return;
        }
    }
    s->head_first = first;
    s->head_rate = rate;
}

void sop_sheet__view_front(const uint8_t *front, struct sop_sheet *s)
{
    const uint8_t *p = front;
    uint8_t flags = p[SOP_SHEET_AT_FLAGS];
    uint32_t low = sop_get_u32(p + SOP_SHEET_AT_LOW_BYTES);
    uint32_t high = sop_get_u32(p + SOP_SHEET_AT_HIGH_BYTES);
    uint32_t prefix = sop_get_u32(p + SOP_SHEET_AT_PREFIX_BYTES);
    const uint8_t *names = p + sop_sheet__front_bytes(p) - low - high - prefix;

    *s = (struct sop_sheet){
        .image = p,
        .bytes = sop_get_u32(p + SOP_SHEET_AT_BYTES),
        .count = sop_get_u32(p + SOP_SHEET_AT_COUNT),
        .run = (flags & SOP_SHEET_RUN) != 0,
        .compared = (flags & SOP_SHEET_COMPARED) != 0,
        .level = p[SOP_SHEET_AT_LEVEL],
        .lsn = {.slot = sop_get_u64(p + SOP_SHEET_AT_LSN),
                .record = sop_get_u64(p + SOP_SHEET_AT_LSN + 8)},
        .store = sop_get_u64(p + SOP_SHEET_AT_STORE),
        .page = sop_get_u64(p + SOP_SHEET_AT_PAGE),
        .low = sop_slice(names, low),
        .high = sop_slice(names + low, high),
        .has_high = (flags & SOP_SHEET_HAS_HIGH) != 0,
        .prefix = sop_slice(names + low + high, prefix),
    };
}

/* Fills the view from header fields and lengths that fit together. */
static void view_fill(struct sop_slice image, struct sop_sheet *s)
{
    sop_sheet__view_front(image.data, s);
    size_t at = ((size_t)sop_sheet__front_bytes(image.data) + 7) & ~(size_t)7;
    s->heads = (const uint64_t *)(const void *)(image.data + at);
    s->offsets = (const uint32_t *)(const void *)(image.data + at + (size_t)s->count * 8);
    expect_heads(s);
}

void sop_sheet_view(struct sop_slice image, struct sop_sheet *out)
{
    SOP_ASSERT(image.len >= SOP_SHEET_BYTES_MIN && (uintptr_t)image.data % 8 == 0);
    SOP_ASSERT(sop_get_u32(image.data + SOP_SHEET_AT_MAGIC) == SOP_SHEET_MAGIC);
    SOP_ASSERT(sop_get_u32(image.data + SOP_SHEET_AT_BYTES) == image.len);
    view_fill(image, out);
    SOP_ASSERT(out->offsets[out->count] == image.len);
}

/* ---- check ----------------------------------------------------------------------------------
 */

int sop_sheet__check_header(const uint8_t *header, uint64_t image_bytes, struct sop_err *err)
{
    const uint8_t *p = header;
    if (image_bytes < SOP_SHEET_BYTES_MIN || image_bytes > SOP_SHEET_BYTES_MAX) {
        return SOP_ERR(err, DATA_LOSS, "a sheet cannot have %" PRIu64 " bytes", image_bytes);
    }
    if (sop_get_u32(p + SOP_SHEET_AT_MAGIC) != SOP_SHEET_MAGIC) {
        return SOP_ERR(err, DATA_LOSS, "not a sheet: no magic number");
    }
    if (sop_get_u16(p + SOP_SHEET_AT_VERSION) != SOP_SHEET_VERSION) {
        return SOP_ERR(err, DATA_LOSS, "sheet of unknown format version %u",
                       (unsigned)sop_get_u16(p + SOP_SHEET_AT_VERSION));
    }
    if (sop_get_u32(p + SOP_SHEET_AT_BYTES) != image_bytes ||
        sop_get_u32(p + SOP_SHEET_AT_PIECES) != sop_sheet__pieces(image_bytes) ||
        sop_sheet__front_bytes(p) > image_bytes) {
        return SOP_ERR(err, DATA_LOSS, "sheet of %" PRIu64 " bytes claims other sizes",
                       image_bytes);
    }
    return 0;
}

int sop_sheet__check_front(const uint8_t *front, struct sop_err *err)
{
    const uint8_t *p = front;
    size_t bytes = (size_t)sop_sheet__front_bytes(p);
    uint32_t crc = sop_crc32c(p, SOP_SHEET_AT_CRC, 0);
    crc = sop_crc32c(p + SOP_SHEET_HEADER_BYTES, bytes - SOP_SHEET_HEADER_BYTES, crc);
    if (crc != sop_get_u32(p + SOP_SHEET_AT_CRC)) {
        return SOP_ERR(err, DATA_LOSS, "checksum of a sheet's front");
    }
    uint8_t flags = p[SOP_SHEET_AT_FLAGS];
    bool prefix = sop_get_u32(p + SOP_SHEET_AT_PREFIX_BYTES) != 0;
    if (flags > SOP_SHEET_FLAGS || sop_get_u32(p + SOP_SHEET_AT_ZERO) != 0 ||
        (!(flags & SOP_SHEET_HAS_HIGH) && sop_get_u32(p + SOP_SHEET_AT_HIGH_BYTES) != 0) ||
        (prefix && (flags & SOP_SHEET_COMPARED)) ||
        (prefix && sop_get_u32(p + SOP_SHEET_AT_COUNT) == 0)) {
        return SOP_ERR(err, DATA_LOSS, "a sheet's header contradicts itself");
    }
    return 0;
}

/* What is behind the front, piece by piece. */
static int check_pieces(struct sop_slice image, struct sop_err *err)
{
    const uint8_t *p = image.data;
    uint32_t pieces = sop_get_u32(p + SOP_SHEET_AT_PIECES);
    uint32_t at = (uint32_t)sop_sheet__front_bytes(p);
    for (uint32_t i = 0; i < pieces; i++) {
        uint32_t end = sop_sheet__piece_at(i + 1, (uint32_t)image.len);
        uint32_t len = end > at ? end - at : 0;
        if (sop_crc32c(p + at, len, 0) !=
            sop_get_u32(p + sop_sheet__guide_at(i) + SOP_GUIDE_AT_CRC)) {
            return SOP_ERR(err, DATA_LOSS, "checksum of piece %" PRIu32 " of a sheet", i);
        }
        at += len;
    }
    return 0;
}

/* Whether the index fits, and the padding before it. */
static int check_index(struct sop_slice image, struct sop_err *err)
{
    const uint8_t *p = image.data;
    uint64_t front = sop_sheet__front_bytes(p);
    uint64_t heads = (front + 7) & ~UINT64_C(7);
    if (heads + (uint64_t)sop_get_u32(p + SOP_SHEET_AT_COUNT) * 12 + 4 > image.len) {
        return SOP_ERR(err, DATA_LOSS, "the index of a sheet is longer than the sheet");
    }
    for (uint64_t i = front; i < heads; i++) {
        if (p[i] != 0) {
            return SOP_ERR(err, DATA_LOSS, "padding of a sheet is not zero");
        }
    }
    return 0;
}

bool sop_cell__read_rest(struct sop_reader *r, bool run, const struct sop_cell_key *key,
                         struct sop_item *item)
{
    bool has_ride = (key->flags & SOP_CELL_HAS_RIDE) != 0;
    if (key->flags > SOP_CELL_FLAGS || (has_ride && key->ride_bytes == 0)) {
        return false;
    }
    uint64_t value_bytes = 0;
    item->ride = sop_read_bytes(r, (size_t)key->ride_bytes);
    item->kind = (enum sop_value_kind)(key->flags & SOP_CELL_KIND);
    switch (key->flags & SOP_CELL_KIND) {
    case SOP_VALUE_INLINE:
        value_bytes = sop_cell__read_len(r);
        break;
    case SOP_VALUE_PLACE:
        value_bytes = SOP_SHEET_PLACE_BYTES;
        break;
    case SOP_VALUE_TOMBSTONE:
        if (!run || has_ride) {
            return false;
        }
        break;
    default:
        return false;
    }
    if (r->bad || value_bytes > UINT32_MAX) {
        return false;
    }
    item->value = sop_read_bytes(r, (size_t)value_bytes);
    item->suffix = key->suffix;
    return !r->bad;
}

/* One cell: lengths add up, the kind is allowed, the head is that of the suffix. */
static bool cell_ok(const struct sop_sheet *s, uint32_t i)
{
    struct sop_reader r =
        sop_reader(sop_slice(s->image + s->offsets[i], s->offsets[i + 1] - s->offsets[i]));
    struct sop_cell_key key;
    struct sop_item item;
    if (!sop_cell__read_key(&r, &key) || !sop_cell__read_rest(&r, s->run, &key, &item) ||
        sop_reader_left(&r) != 0) {
        return false;
    }
    return s->heads[i] == (s->compared ? 0 : sop_sheet__head(key.suffix.data, key.suffix.len));
}

uint32_t sop_sheet__first_in(const uint32_t *offsets, uint32_t count, uint32_t from,
                             uint32_t piece)
{
    uint32_t at = sop_sheet__piece_at(piece, UINT32_MAX);
    uint32_t end = count;
    while (from < end) {
        uint32_t middle = from + (end - from) / 2;
        if (offsets[middle] < at) {
            from = middle + 1;
        } else {
            end = middle;
        }
    }
    return from;
}

/* After the cells. */
static int check_guide(const struct sop_sheet *s, struct sop_err *err)
{
    const uint8_t *p = s->image;
    uint32_t pieces = sop_get_u32(p + SOP_SHEET_AT_PIECES);
    uint32_t item = 0;
    for (uint32_t i = 0; i < pieces; i++) {
        const uint8_t *guide = p + sop_sheet__guide_at(i);
        item = sop_sheet__first_in(s->offsets, s->count, item, i);
        if (sop_get_u32(guide + SOP_GUIDE_AT_CELL) != s->offsets[item] ||
            sop_get_u64(guide + SOP_GUIDE_AT_HEAD) !=
                (item < s->count ? s->heads[item] : UINT64_MAX)) {
            return SOP_ERR(err, DATA_LOSS, "guide to piece %" PRIu32 " of a sheet", i);
        }
    }
    return 0;
}

static int check_cells(const struct sop_sheet *s, struct sop_err *err)
{
    const uint8_t *cells = (const uint8_t *)(s->offsets + s->count + 1);
    if (s->offsets[0] != (size_t)(cells - s->image) || s->offsets[s->count] != s->bytes) {
        return SOP_ERR(err, DATA_LOSS, "a sheet's cells begin or end at a wrong place");
    }
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->offsets[i + 1] < s->offsets[i] || s->offsets[i + 1] > s->bytes) {
            return SOP_ERR(err, DATA_LOSS, "offset %" PRIu32 " of a sheet", i + 1);
        }
        if (!cell_ok(s, i)) {
            return SOP_ERR(err, DATA_LOSS, "cell %" PRIu32 " of a sheet", i);
        }
    }
    return 0;
}

/* Order of items i - 1 and i. */
static int cmp_neighbours(const struct sop_sheet *s, const struct sop_order *order, uint32_t i)
{
    if (order->compare == NULL && s->heads[i - 1] != s->heads[i]) {
        return s->heads[i - 1] < s->heads[i] ? -1 : 1;
    }
    struct sop_slice a = sop_sheet__suffix(s, i - 1);
    struct sop_slice b = sop_sheet__suffix(s, i);
    return order->compare == NULL ? sop_sheet__cmp_tied(a, b) : sop_order_cmp(order, a, b);
}

static int check_order(const struct sop_sheet *s, const struct sop_order *order,
                       struct sop_err *err)
{
    if (s->compared != (order->compare != NULL)) {
        return SOP_ERR(err, DATA_LOSS, "a sheet is in the order of another comparer");
    }
    for (uint32_t i = 1; i < s->count; i++) {
        if (cmp_neighbours(s, order, i) >= 0) {
            return SOP_ERR(err, DATA_LOSS, "item %" PRIu32 " of a sheet is out of order", i);
        }
    }
    if (s->count == 0) {
        return 0;
    }
    if ((s->low.len > 0 && sop_sheet_cmp(s, order, 0, s->low) < 0) ||
        (s->has_high && sop_sheet_cmp(s, order, s->count - 1, s->high) >= 0)) {
        return SOP_ERR(err, DATA_LOSS, "a sheet's keys pass its fences");
    }
    return 0;
}

int sop_sheet_check(struct sop_slice image, const struct sop_order *order,
                    struct sop_sheet *out, struct sop_err *err)
{
    SOP_ASSERT((uintptr_t)image.data % 8 == 0);
    *out = (struct sop_sheet){0};
    int rc = image.len < SOP_SHEET_HEADER_BYTES
                 ? SOP_ERR(err, DATA_LOSS, "a sheet cannot have %zu bytes", image.len)
                 : sop_sheet__check_header(image.data, image.len, err);
    if (rc == 0) {
        rc = sop_sheet__check_front(image.data, err);
    }
    if (rc == 0) {
        rc = check_pieces(image, err);
    }
    if (rc == 0) {
        rc = check_index(image, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_sheet s;
    view_fill(image, &s);
    rc = check_cells(&s, err);
    if (rc == 0) {
        rc = check_guide(&s, err);
    }
    /* A plain order needs nothing that the image does not hold; and a merge could be led out of
     * a cell by keys that do not ascend, as it takes the prefix from the first and last one. */
    static const struct sop_order plain = {0};
    if (rc == 0 && order == NULL && !s.compared) {
        order = &plain;
    }
    if (rc == 0 && order != NULL) {
        rc = check_order(&s, order, err);
    }
    if (rc == 0) {
        *out = s;
    }
    return rc;
}

/* ---- items ----------------------------------------------------------------------------------
 */

struct sop_item sop_sheet_item(const struct sop_sheet *s, uint32_t i)
{
    SOP_ASSERT(i < s->count);
    const uint8_t *p = s->image + s->offsets[i];
    const uint8_t *end = s->image + s->offsets[i + 1];
    uint8_t flags = *p++;
    struct sop_item item;
    size_t ride = 0;
    p = sop_cell__get_len(p, &item.suffix.len);
    if ((flags & SOP_CELL_HAS_RIDE) != 0) {
        p = sop_cell__get_len(p, &ride);
    }
    item.prefix = s->prefix;
    item.suffix.data = p;
    p += item.suffix.len;
    item.ride = sop_slice(p, ride);
    p += ride;
    item.kind = (enum sop_value_kind)(flags & SOP_CELL_KIND);
    if (item.kind == SOP_VALUE_INLINE) {
        while (*p++ >= 0x80) { /* its length, which the end tells, too */
        }
    }
    item.value = sop_slice(p, (size_t)(end - p));
    return item;
}

int sop_item_key(const struct sop_item *item, struct sop_buf *to, struct sop_err *err)
{
    sop_buf_clear(to);
    int rc = sop_buf_reserve(to, item->prefix.len + item->suffix.len, err);
    if (rc == 0) {
        rc = sop_buf_append(to, item->prefix.data, item->prefix.len, err);
    }
    if (rc == 0) {
        rc = sop_buf_append(to, item->suffix.data, item->suffix.len, err);
    }
    return rc;
}

int sop_sheet_cmp(const struct sop_sheet *s, const struct sop_order *order, uint32_t i,
                  struct sop_slice key)
{
    SOP_ASSERT(i < s->count);
    struct sop_slice suffix = sop_sheet__suffix(s, i);
    if (order->compare != NULL) {
        return sop_order_cmp(order, suffix, key);
    }
    return sop_sheet__cmp_parts(s->prefix, suffix, key, sop_slice(NULL, 0));
}

/* ---- search ---------------------------------------------------------------------------------
 */

/* How many of the heads are less than `head`. No branch depends on what is compared: in a
 * search by a random key each such branch would be mispredicted every other time. */
static uint32_t heads_below(const uint64_t *heads, uint32_t count, uint64_t head)
{
    if (count == 0) {
        return 0;
    }
    const uint64_t *at = heads;
    while (count > 1) {
        uint32_t half = count / 2;
        at += (size_t)half * (at[half - 1] < head);
        count -= half;
    }
    return (uint32_t)(at - heads) + (*at < head);
}

/* The same for all heads of a sheet. Where heads are spread evenly (random keys are), one look
 * at the place to be expected, all its cache lines fetched at once, saves the search over the
 * whole sheet, in which each step waits for memory. Where they are not, the look halves the
 * search. */
static uint32_t sheet_below(const struct sop_sheet *s, uint64_t head)
{
    uint32_t count = s->count;
    if (s->head_rate == 0 || head <= s->head_first) {
        return s->head_rate == 0 ? heads_below(s->heads, count, head) : 0;
    }
    double expected = (double)(head - s->head_first) * s->head_rate;
    uint32_t guess = expected < (double)count ? (uint32_t)expected : count;
    uint32_t low = guess > GUESS_WINDOW / 2 ? guess - GUESS_WINDOW / 2 : 0;
    low = low > count - GUESS_WINDOW ? count - GUESS_WINDOW : low;
    uint32_t high = low + GUESS_WINDOW;
    for (uint32_t i = low; i < high; i += CACHE_LINE_BYTES / sizeof *s->heads) {
        __builtin_prefetch(s->heads + i);
    }
    for (uint32_t i = low; i < high; i += CACHE_LINE_BYTES / sizeof *s->offsets) {
        __builtin_prefetch(s->offsets + i);
    }
    if (low > 0 && s->heads[low - 1] >= head) {
        return heads_below(s->heads, low, head);
    }
    if (high < count && s->heads[high] < head) {
        return high + heads_below(s->heads + high, count - high, head);
    }
    return low + heads_below(s->heads + low, GUESS_WINDOW, head);
}

/* The lower bound of a suffix among items [from, end), whose heads are all equal to its head.
 */
static uint32_t seek_tied(const struct sop_sheet *s, uint32_t from, uint32_t end,
                          struct sop_slice suffix, bool *exact)
{
    while (from < end) {
        uint32_t middle = from + (end - from) / 2;
        int order = sop_sheet__cmp_tied(sop_sheet__suffix(s, middle), suffix);
        if (order == 0) {
            *exact = true;
            return middle;
        }
        if (order < 0) {
            from = middle + 1;
        } else {
            end = middle;
        }
    }
    return from;
}

static uint32_t seek_compared(const struct sop_sheet *s, const struct sop_order *order,
                              struct sop_slice key, bool *exact)
{
    uint32_t from = 0;
    uint32_t end = s->count;
    while (from < end) {
        uint32_t middle = from + (end - from) / 2;
        int cmp = sop_order_cmp(order, sop_sheet__suffix(s, middle), key);
        if (cmp == 0) {
            *exact = true;
            return middle;
        }
        if (cmp < 0) {
            from = middle + 1;
        } else {
            end = middle;
        }
    }
    return from;
}

uint32_t sop_sheet_seek(const struct sop_sheet *s, const struct sop_order *order,
                        struct sop_slice key, bool *exact)
{
    *exact = false;
    if (order->compare != NULL) {
        return seek_compared(s, order, key, exact);
    }
    size_t prefix = s->prefix.len;
    if (prefix > 0) {
        size_t least = key.len < prefix ? key.len : prefix;
        int cmp = least == 0 ? 0 : memcmp(key.data, s->prefix.data, least);
        if (cmp != 0 || key.len < prefix) {
            return cmp > 0 ? s->count : 0; /* all keys are less, or all are greater */
        }
    }
    struct sop_slice suffix = sop_slice__from(key, prefix);
    uint64_t head = sop_sheet__head(suffix.data, suffix.len);
    uint32_t at = sheet_below(s, head);
    if (at == s->count || s->heads[at] != head) {
        return at;
    }
    uint32_t end = at + 1;
    if (end < s->count && s->heads[end] == head) {
        end = head == UINT64_MAX ? s->count
                                 : at + heads_below(s->heads + at, s->count - at, head + 1);
    }
    return seek_tied(s, at, end, suffix, exact);
}

void sop_sheet__bounds(const struct sop_sheet *s, const struct sop_order *order,
                       struct sop_slice low, struct sop_slice high, bool has_high,
                       uint32_t *first, uint32_t *end)
{
    bool exact;
    SOP_ASSERT(s->compared == (order->compare != NULL));
    /* A sheet's keys lie between its own fences, so the same fences need no search. */
    bool all_above = low.len == 0 || sop_slice_eq(low, s->low);
    bool all_below = !has_high || (s->has_high && sop_slice_eq(high, s->high));
    *first = all_above ? 0 : sop_sheet_seek(s, order, low, &exact);
    *end = all_below ? s->count : sop_sheet_seek(s, order, high, &exact);
    if (*end < *first) {
        *end = *first;
    }
}

bool sop_stack_find(const struct sop_sheet *const *sheets, uint32_t sheets_count,
                    const struct sop_order *order, struct sop_slice key, struct sop_item *item)
{
    for (uint32_t i = 0; i < sheets_count; i++) {
        bool exact;
        uint32_t at = sop_sheet_seek(sheets[i], order, key, &exact);
        if (exact) {
            *item = sop_sheet_item(sheets[i], at);
            return item->kind != SOP_VALUE_TOMBSTONE;
        }
    }
    return false;
}
