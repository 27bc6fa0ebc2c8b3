/* Looking a key up in a sheet of which only the front and single pieces are there.
 *
 * The guide in the front names, for each piece, the first cell that begins in it or behind it.
 * Cells delimit themselves, so those that begin in one piece are read one after the other,
 * without heads and offsets.
 *
 * What a front says of places is verified once (sop_front_check), so that a chunk never begins
 * or ends outside of its bytes; cells are read with a bound. */
#include "engine/btree/sheet.h"

#include "engine/btree/sheet_int.h"

_Static_assert(SOP_FRONT_BYTES_MIN == SOP_SHEET_HEADER_BYTES, "the header tells the length");

static uint32_t guide_cell(const struct sop_front *f, uint32_t piece)
{
    return sop_get_u32(f->sheet.image + sop_sheet__guide_at(piece) + SOP_GUIDE_AT_CELL);
}

static uint64_t guide_head(const struct sop_front *f, uint32_t piece)
{
    return sop_get_u64(f->sheet.image + sop_sheet__guide_at(piece) + SOP_GUIDE_AT_HEAD);
}

/* Where the cells that begin in a piece end. */
static uint32_t cells_end(const struct sop_front *f, uint32_t piece)
{
    return piece + 1 < f->pieces ? guide_cell(f, piece + 1) : f->sheet.bytes;
}

/* ---- the front ------------------------------------------------------------------------------
 */

int sop_front_bytes(const uint8_t *first, uint32_t image_bytes, uint32_t *bytes,
                    struct sop_err *err)
{
    int rc = sop_sheet__check_header(first, image_bytes, err);
    *bytes = rc == 0 ? (uint32_t)sop_sheet__front_bytes(first) : 0;
    return rc;
}

/* Cells and heads ascend, and the piece that a cell begins in names that cell. */
static int check_guide(struct sop_front *f, uint32_t pieces, struct sop_err *err)
{
    uint32_t cell = f->bytes;
    uint64_t head = 0;
    bool ahead = false; /* the cell before is said to begin here or behind */
    for (uint32_t i = 0; i < pieces; i++) {
        uint32_t next = guide_cell(f, i);
        uint64_t next_head = guide_head(f, i);
        bool same = next == cell && next_head == head;
        if (next < cell || next > f->sheet.bytes || next_head < head || (ahead && !same) ||
            (i > 0 && !ahead && next == cell) ||
            next < sop_sheet__piece_at(i, f->sheet.bytes)) {
            return SOP_ERR(err, DATA_LOSS, "guide to piece %" PRIu32 " of a sheet", i);
        }
        f->pieces = next == f->sheet.bytes ? f->pieces : i + 1;
        ahead = next == f->sheet.bytes || sop_sheet__piece_of(next) > i;
        cell = next;
        head = next_head;
    }
    return 0;
}

int sop_front_check(const uint8_t *front, uint32_t image_bytes, struct sop_front *out,
                    struct sop_err *err)
{
    SOP_ASSERT((uintptr_t)front % 8 == 0);
    *out = (struct sop_front){0};
    int rc = sop_sheet__check_header(front, image_bytes, err);
    if (rc == 0) {
        rc = sop_sheet__check_front(front, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_front f = {.bytes = (uint32_t)sop_sheet__front_bytes(front)};
    sop_sheet__view_front(front, &f.sheet);
    rc = check_guide(&f, sop_get_u32(front + SOP_SHEET_AT_PIECES), err);
    if (rc == 0) {
        *out = f;
    }
    return rc;
}

/* ---- bytes ----------------------------------------------------------------------------------
 */

uint32_t sop_front_pieces(uint32_t image_bytes)
{
    return (uint32_t)sop_sheet__pieces(image_bytes);
}

void sop_front_span(const struct sop_front *f, uint32_t piece, bool whole, uint32_t *from,
                    uint32_t *until)
{
    uint32_t at = sop_sheet__piece_at(piece, f->sheet.bytes);
    uint32_t last = whole ? sop_sheet__piece_of(cells_end(f, piece) - 1) : piece;
    *from = at > f->bytes ? at : f->bytes;
    *until = sop_sheet__piece_at(last + 1, f->sheet.bytes);
    SOP_ASSERT(*from < *until);
}

int sop_front_verify(const struct sop_front *f, uint32_t from, struct sop_slice pieces,
                     uint32_t *bad, struct sop_err *err)
{
    uint32_t until = from + (uint32_t)pieces.len;
    for (uint32_t at = from; at < until;) {
        uint32_t i = sop_sheet__piece_of(at);
        uint32_t end = sop_sheet__piece_at(i + 1, f->sheet.bytes);
        SOP_ASSERT(end <= until);
        const uint8_t *guide = f->sheet.image + sop_sheet__guide_at(i);
        if (sop_crc32c(pieces.data + (at - from), end - at, 0) !=
            sop_get_u32(guide + SOP_GUIDE_AT_CRC)) {
            *bad = at;
            return SOP_ERR(err, DATA_LOSS, "checksum of piece %" PRIu32 " of a sheet", i);
        }
        at = end;
    }
    return 0;
}

enum sop_chunk_answer sop_chunk_find(const struct sop_front *f, uint32_t piece,
                                     struct sop_slice chunk, struct sop_slice key,
                                     struct sop_item *item)
{
    uint32_t from;
    uint32_t until;
    sop_front_span(f, piece, false, &from, &until);
    uint32_t end = cells_end(f, piece);
    until = from + (uint32_t)chunk.len;
    bool whole = end <= until;
    uint32_t begin = guide_cell(f, piece);
    SOP_ASSERT(sop_sheet__piece_of(begin) == piece && begin < until);
    struct sop_reader r =
        sop_reader(sop_slice(chunk.data + (begin - from), (whole ? end : until) - begin));
    struct sop_slice suffix = sop_slice__from(key, f->sheet.prefix.len);
    for (bool first = true; sop_reader_left(&r) > 0; first = false) {
        struct sop_cell_key cell;
        if (!sop_cell__read_key(&r, &cell)) {
            return whole ? SOP_CHUNK_BAD : SOP_CHUNK_SHORT;
        }
        int order = sop_slice_cmp(cell.suffix, suffix);
        if (order > 0) {
            return first ? SOP_CHUNK_BEFORE : SOP_CHUNK_ABSENT;
        }
        bool ok = sop_cell__read_rest(&r, f->sheet.run, &cell, item);
        if (!ok && (whole || !r.bad)) {
            return SOP_CHUNK_BAD;
        }
        if (order == 0) {
            item->prefix = f->sheet.prefix;
            return ok ? SOP_CHUNK_FOUND : SOP_CHUNK_SHORT;
        }
        if (!ok) {
            break; /* the last one, and the key is behind it */
        }
    }
    return SOP_CHUNK_BEHIND;
}

/* ---- which pieces ---------------------------------------------------------------------------
 */

/* How many pieces have a head less than `head`, or not greater than it. */
static uint32_t heads_below(const struct sop_front *f, uint64_t head, bool or_equal)
{
    uint32_t from = 0;
    uint32_t end = f->pieces;
    while (from < end) {
        uint32_t middle = from + (end - from) / 2;
        uint64_t there = guide_head(f, middle);
        if (there < head || (or_equal && there == head)) {
            from = middle + 1;
        } else {
            end = middle;
        }
    }
    return from;
}

/* Goes to the middle of what is left, if anything is. The guide names a cell for all pieces
 * that it reaches over, too; the last of these has it. */
static bool probe_go(struct sop_probe *p, const struct sop_front *f)
{
    if (p->first > p->last) {
        return false;
    }
    p->middle = p->first + (p->last - p->first + 1) / 2;
    p->piece = sop_sheet__piece_of(guide_cell(f, p->middle));
    return true;
}

bool sop_probe_first(struct sop_probe *p, const struct sop_front *f, struct sop_slice key)
{
    size_t prefix = f->sheet.prefix.len;
    SOP_ASSERT(!f->sheet.compared);
    if (key.len < prefix ||
        (prefix > 0 && memcmp(key.data, f->sheet.prefix.data, prefix) != 0)) {
        return false;
    }
    struct sop_slice suffix = sop_slice__from(key, prefix);
    uint64_t head = sop_sheet__head(suffix.data, suffix.len);
    uint32_t upto = heads_below(f, head, true);
    uint32_t below = heads_below(f, head, false);
    if (upto == 0) {
        return false;
    }
    p->first = below > 0 ? below - 1 : 0;
    p->last = upto - 1;
    return probe_go(p, f);
}

bool sop_probe_next(struct sop_probe *p, const struct sop_front *f,
                    enum sop_chunk_answer answer)
{
    if (answer == SOP_CHUNK_BEHIND) {
        p->first = p->piece + 1;
    } else if (answer == SOP_CHUNK_BEFORE && p->middle > p->first) {
        p->last = p->middle - 1;
    } else {
        return false;
    }
    return probe_go(p, f);
}
