/* What the parts of the sheet share: numbers inside cells, heads, comparing in pieces, writing
 * an image, and the steps of a walk that a merge uses, too. */
#ifndef SOP_SHEET_INT_H
#define SOP_SHEET_INT_H

#include "engine/base/codec.h"
#include "engine/btree/format.h"
#include "engine/btree/sheet.h"

/* ---- cells ----------------------------------------------------------------------------------
 */

#define SOP_CELL_LEN_BYTES_MAX 5 /* a varint of 32 bits */

/* Reads a length of a checked cell. */
static inline const uint8_t *sop_cell__get_len(const uint8_t *p, size_t *len)
{
    uint32_t v = *p++;
    if (v >= 0x80) {
        v &= 0x7f;
        unsigned shift = 7;
        uint32_t byte;
        do {
            byte = *p++;
            v |= (byte & 0x7f) << shift;
            shift += 7;
        } while (byte >= 0x80);
    }
    *len = v;
    return p;
}

static inline uint8_t *sop_cell__put_len(uint8_t *p, size_t len)
{
    while (len >= 0x80) {
        *p++ = (uint8_t)(len | 0x80);
        len >>= 7;
    }
    *p++ = (uint8_t)len;
    return p;
}

static inline size_t sop_cell__len_bytes(size_t len)
{
    return len < 1u << 7 ? 1 : len < 1u << 14 ? 2 : len < 1u << 21 ? 3 : len < 1u << 28 ? 4 : 5;
}

static inline size_t sop_cell__bytes(enum sop_value_kind kind, size_t suffix, size_t ride,
                                     size_t value)
{
    return 1 + sop_cell__len_bytes(suffix) + (ride == 0 ? 0 : sop_cell__len_bytes(ride)) +
           suffix + ride + (kind == SOP_VALUE_INLINE ? sop_cell__len_bytes(value) : 0) + value;
}

static inline uint8_t *sop_cell__put_slice(uint8_t *to, struct sop_slice s)
{
    if (s.len == 0) {
        return to;
    }
    sop_copy(to, s.data, s.len);
    return to + s.len;
}

static inline enum sop_value_kind sop_sheet__kind(const struct sop_sheet *s, uint32_t i)
{
    return (enum sop_value_kind)(s->image[s->offsets[i]] & SOP_CELL_KIND);
}

static inline struct sop_slice sop_sheet__suffix(const struct sop_sheet *s, uint32_t i)
{
    const uint8_t *p = s->image + s->offsets[i];
    uint8_t flags = *p++;
    struct sop_slice suffix;
    p = sop_cell__get_len(p, &suffix.len);
    if ((flags & SOP_CELL_HAS_RIDE) != 0) {
        size_t ride;
        p = sop_cell__get_len(p, &ride);
    }
    suffix.data = p;
    return suffix;
}

/* A length in bytes that were not verified. */
static inline uint64_t sop_cell__read_len(struct sop_reader *r)
{
    if (r->at < r->end && *r->at < 0x80) {
        return *r->at++;
    }
    return sop_read_varint(r);
}

/* The first part of a cell in bytes that were not verified or end inside of it: false. */
struct sop_cell_key {
    struct sop_slice suffix;
    uint64_t ride_bytes;
    uint8_t flags;
};
static inline bool sop_cell__read_key(struct sop_reader *r, struct sop_cell_key *key)
{
    key->flags = sop_read_u8(r);
    bool has_ride = (key->flags & SOP_CELL_HAS_RIDE) != 0;
    uint64_t suffix_bytes = sop_cell__read_len(r);
    key->ride_bytes = has_ride ? sop_cell__read_len(r) : 0;
    if (r->bad || suffix_bytes > UINT32_MAX || key->ride_bytes > UINT32_MAX) {
        return false;
    }
    key->suffix = sop_read_bytes(r, (size_t)suffix_bytes);
    return !r->bad;
}
/* The rest of it; `run`: tombstones are allowed. False, too, for what no cell can say. */
bool sop_cell__read_rest(struct sop_reader *r, bool run, const struct sop_cell_key *key,
                         struct sop_item *item);

/* ---- heads and comparing --------------------------------------------------------------------
 */

#define SOP_HEAD_BYTES 8

/* The first 8 bytes as a big-endian number, zeros behind fewer. Short ones are put together
 * from reads that overlap, because a copy of variable length costs a call. */
static inline uint64_t sop_sheet__head(const uint8_t *p, size_t len)
{
    if (len >= SOP_HEAD_BYTES) {
        return __builtin_bswap64(sop_get_u64(p));
    }
    if (len >= 4) {
        uint64_t first = __builtin_bswap32(sop_get_u32(p));
        uint64_t last = __builtin_bswap32(sop_get_u32(p + len - 4));
        return first << 32 | last << (8 * (SOP_HEAD_BYTES - len));
    }
    if (len == 0) {
        return 0;
    }
    return (uint64_t)p[0] << 56 | (uint64_t)p[len / 2] << (56 - 8 * (len / 2)) |
           (uint64_t)p[len - 1] << (56 - 8 * (len - 1));
}

/* memcmp order of two suffixes with equal heads: their common part of the heads is equal. */
static inline int sop_sheet__cmp_tied(struct sop_slice a, struct sop_slice b)
{
    size_t least = a.len < b.len ? a.len : b.len;
    if (least > SOP_HEAD_BYTES) {
        int order =
            memcmp(a.data + SOP_HEAD_BYTES, b.data + SOP_HEAD_BYTES, least - SOP_HEAD_BYTES);
        if (order != 0) {
            return order;
        }
    }
    return (a.len > b.len) - (a.len < b.len);
}

static inline struct sop_slice sop_slice__from(struct sop_slice s, size_t at)
{
    return at == 0 ? s : sop_slice(s.data + at, s.len - at);
}

/* memcmp order of a1 a2 against b1 b2; exactly -1, 0 or 1. */
int sop_sheet__cmp_parts(struct sop_slice a1, struct sop_slice a2, struct sop_slice b1,
                         struct sop_slice b2);
/* How many first bytes a and b have in common. */
size_t sop_sheet__common(struct sop_slice a, struct sop_slice b);
/* The same for a1 a2 and b1 b2. */
size_t sop_sheet__common_parts(struct sop_slice a1, struct sop_slice a2, struct sop_slice b1,
                               struct sop_slice b2);

/* The part [*first, *end) of the sheet that lies in [low, high). */
void sop_sheet__bounds(const struct sop_sheet *s, const struct sop_order *order,
                       struct sop_slice low, struct sop_slice high, bool has_high,
                       uint32_t *first, uint32_t *end);

/* ---- the front ------------------------------------------------------------------------------
 */

/* Bytes of the front, by what the header says. */
static inline uint64_t sop_sheet__front_bytes(const uint8_t *image)
{
    return SOP_SHEET_HEADER_BYTES +
           (uint64_t)sop_get_u32(image + SOP_SHEET_AT_PIECES) * SOP_SHEET_GUIDE_BYTES +
           sop_get_u32(image + SOP_SHEET_AT_LOW_BYTES) +
           sop_get_u32(image + SOP_SHEET_AT_HIGH_BYTES) +
           sop_get_u32(image + SOP_SHEET_AT_PREFIX_BYTES);
}
/* Where the guide to a piece is. */
static inline size_t sop_sheet__guide_at(uint32_t piece)
{
    return SOP_SHEET_HEADER_BYTES + (size_t)piece * SOP_SHEET_GUIDE_BYTES;
}
/* Whether a header can be that of an image of so many bytes. */
int sop_sheet__check_header(const uint8_t *header, uint64_t image_bytes,
                            struct sop_err *err) SOP_MUST_USE;
/* The CRC of a front whose header was looked at, and whether its lengths and flags agree. */
int sop_sheet__check_front(const uint8_t *front, struct sop_err *err) SOP_MUST_USE;
/* Fills the view but for heads and offsets. */
void sop_sheet__view_front(const uint8_t *front, struct sop_sheet *out);
/* The first item from `from` on that begins in piece `i` or behind it. */
uint32_t sop_sheet__first_in(const uint32_t *offsets, uint32_t count, uint32_t from,
                             uint32_t piece);

/* ---- writing an image -----------------------------------------------------------------------
 */

/* An image under construction. begin writes everything but the guide, heads, offsets (the last
 * one is written), cells and CRCs; the owner fills heads, offsets and cells and calls seal. */
struct sop_sheet_frame {
    uint8_t *image;
    uint32_t bytes;
    uint32_t front; /* bytes of it */
    uint32_t count;
    uint64_t *heads;
    uint32_t *offsets;
    uint32_t cells; /* offset of the first cell */
};
struct sop_sheet_parts {
    const struct sop_sheet_meta *meta;
    bool compared;
    uint32_t count;
    uint64_t cells_bytes;
    struct sop_slice prefix1; /* the common prefix, in two pieces */
    struct sop_slice prefix2;
};
/* NOMEM, or TOO_LARGE when the image would pass SOP_SHEET_BYTES_MAX. */
int sop_sheet__begin(struct sop_sheet_frame *f, const struct sop_sheet_parts *parts,
                     struct sop_err *err) SOP_MUST_USE;
struct sop_slice sop_sheet__seal(struct sop_sheet_frame *f);

/* ---- the order of the sheets in a walk ------------------------------------------------------
 */

/* The item that sheet x stands on; backward, `at` is one behind it, so that turning round needs
 * no search: at divides what is before from what is after in both directions. */
static inline uint32_t sop_walk__index(const struct sop_walk *w, unsigned x)
{
    return w->at[x] - (w->backward ? 1 : 0);
}

/* The head of item i of sheet x as if the sheet's prefix were only what all sheets share; such
 * heads compare across sheets. */
static inline uint64_t sop_walk__head(const struct sop_walk *w, unsigned x, uint32_t i)
{
    return w->lead[x] | ((w->sheets[x]->heads[i] >> w->shift[x]) & w->keep[x]);
}

/* Order of items of two sheets whose heads (above) are equal. */
int sop_walk__cmp_tied(const struct sop_walk *w, unsigned x, uint32_t i, unsigned y,
                       uint32_t j);
/* Orders the sheets anew after `at` or the direction has changed. */
void sop_walk__rank(struct sop_walk *w);
/* How many sheets at the front stand on the same key. */
static inline unsigned sop_walk__group(const struct sop_walk *w)
{
    unsigned n = 1;
    while (n < w->live && w->tied[n]) {
        n++;
    }
    return n;
}
/* Moves the sheets at the front past their key, and puts them where they then belong. */
void sop_walk__pass(struct sop_walk *w);
/* Moves the first sheet, which must stand alone, forward to `at`. */
void sop_walk__jump(struct sop_walk *w, uint32_t at);

#endif
