/* Reading records: nothing is handed out that was not verified against its CRC, and no memory
 * is taken on the word of a byte that was not. */
#include "engine/pack/pack_int.h"

#include "engine/base/codec.h"

/* A record up to here is read together with its header and then moved down; above, a second
 * read costs less than the move. */
#define ONE_READ_BYTES 32768u
_Static_assert(ONE_READ_BYTES <= SOP_PACK_PIECE_BYTES, "a record read at once has no table");

int sop_pack__read_exactly(struct sop_file *file, const struct sop_place *place,
                           uint64_t offset, void *to, size_t len, struct sop_err *err)
{
    size_t got = 0;
    int rc = sop_file_read(file, offset, to, len, &got, err);
    if (rc == SOP_ERR_END) {
        return sop_pack__damaged(err, place->member, place->file, offset + got,
                                 "file ends inside a record");
    }
    if (rc != 0) {
        return sop_err_wrap(err, rc, "read packs/%" PRIx64 "/%" PRIu32, place->member,
                            place->file);
    }
    return 0;
}

int sop_pack__header_at(const struct sop_packs *p, const struct sop_place *place,
                        const uint8_t bytes[SOP_PACK_HEADER_BYTES], struct sop_pack_header *h,
                        struct sop_err *err)
{
    int rc = sop_pack__header_decode(bytes, h, err);
    if (rc != 0) {
        return sop_err_wrap(err, rc, "packs/%" PRIx64 "/%" PRIu32 " at byte %" PRIu64,
                            place->member, place->file, place->offset);
    }
    const char *what = NULL;
    if (h->database != p->database) {
        what = "record belongs to another database";
    } else if (h->place.member != place->member || h->place.file != place->file ||
               h->place.offset != place->offset) {
        what = "record was written for another place";
    }
    return what == NULL
               ? 0
               : sop_pack__damaged(err, place->member, place->file, place->offset, what);
}

/* A header as above, of the record that the place means. type 0: sheet or value. */
static int header_of_place(const struct sop_packs *p, const struct sop_place *place, int type,
                           const uint8_t *bytes, struct sop_pack_header *h, struct sop_err *err)
{
    int rc = sop_pack__header_at(p, place, bytes, h, err);
    if (rc != 0) {
        return rc;
    }
    const char *what = NULL;
    if (h->type == SOP_PACK_VOID || (type != 0 && h->type != type)) {
        what = "record has another type";
    } else if (h->place.bytes != place->bytes) {
        what = "record has another length";
    }
    return what == NULL
               ? 0
               : sop_pack__damaged(err, place->member, place->file, place->offset, what);
}

/* Opens the file of a place. A file that is not there is damage: the place was given out.
 * Whoever follows another's database has no say in what that one sweeps, and must look again.
 */
static int use_place(struct sop_packs *p, const struct sop_place *place, bool random,
                     struct sop_pack_use *use, struct sop_err *err)
{
    SOP_ASSERT(!sop_place_none(place));
    int rc = sop_pack__use(p, place->member, place->file, random, use, err);
    if (rc == SOP_ERR_NOT_FOUND && p->moved_on != NULL && p->moved_on(p->moved_on_arg)) {
        return SOP_ERR(err, CONFLICT,
                       "packs/%" PRIx64 "/%" PRIu32
                       " is gone: the writer has compacted away what this state reads; call "
                       "sop_db_refresh() and begin again",
                       place->member, place->file);
    }
    if (rc == SOP_ERR_NOT_FOUND) {
        return sop_pack__damaged(err, place->member, place->file, place->offset,
                                 "the file is missing");
    }
    return rc;
}

static int piece_damaged(const struct sop_place *place, uint64_t piece, struct sop_err *err)
{
    return sop_pack__damaged(err, place->member, place->file,
                             place->offset + SOP_PACK_HEADER_BYTES +
                                 piece * SOP_PACK_PIECE_BYTES,
                             "payload has a wrong CRC");
}

static int table_verify(const struct sop_pack_header *h, const uint8_t *table,
                        struct sop_err *err)
{
    size_t bytes = (size_t)sop_pack__table_bytes(h->place.bytes);
    if (sop_crc32c(table, bytes, 0) != h->payload_crc) {
        uint64_t at = h->place.offset + SOP_PACK_HEADER_BYTES + h->place.bytes;
        return sop_pack__damaged(err, h->place.member, h->place.file, at,
                                 "table of piece CRCs has a wrong CRC");
    }
    return 0;
}

/* Payload and, behind it, its table. */
static int payload_verify(const struct sop_pack_header *h, const uint8_t *payload,
                          struct sop_err *err)
{
    uint32_t pieces = sop_pack__pieces(h->place.bytes);
    if (pieces == 0) {
        return sop_crc32c(payload, h->place.bytes, 0) == h->payload_crc
                   ? 0
                   : piece_damaged(&h->place, 0, err);
    }
    const uint8_t *table = payload + h->place.bytes;
    int rc = table_verify(h, table, err);
    for (uint32_t i = 0; rc == 0 && i < pieces; i++) {
        uint64_t from = (uint64_t)i * SOP_PACK_PIECE_BYTES;
        uint64_t left = h->place.bytes - from;
        size_t len = (size_t)(left < SOP_PACK_PIECE_BYTES ? left : SOP_PACK_PIECE_BYTES);
        if (sop_crc32c(payload + from, len, 0) != sop_get_u32(table + (size_t)i * 4)) {
            rc = piece_damaged(&h->place, i, err);
        }
    }
    return rc;
}

/* Header and payload with one read. */
static int read_small(struct sop_packs *p, struct sop_file *file, const struct sop_place *place,
                      int type, struct sop_buf *to, struct sop_err *err)
{
    size_t bytes = SOP_PACK_HEADER_BYTES + place->bytes;
    int rc = sop_buf_reserve(to, bytes, err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_pack__read_exactly(file, place, place->offset, to->data, bytes, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_pack_header h;
    rc = header_of_place(p, place, type, to->data, &h, err);
    if (rc != 0) {
        return rc;
    }
    rc = payload_verify(&h, to->data + SOP_PACK_HEADER_BYTES, err);
    if (rc != 0) {
        return rc;
    }
    memmove(to->data, to->data + SOP_PACK_HEADER_BYTES, place->bytes);
    to->len = place->bytes;
    return 0;
}

static int read_header(struct sop_packs *p, struct sop_file *file,
                       const struct sop_place *place, int type, struct sop_pack_header *h,
                       struct sop_err *err)
{
    uint8_t bytes[SOP_PACK_HEADER_BYTES];
    int rc = sop_pack__read_exactly(file, place, place->offset, bytes, sizeof bytes, err);
    return rc != 0 ? rc : header_of_place(p, place, type, bytes, h, err);
}

/* The header first, because it must agree before so much memory is taken; then payload and
 * table to where they stay. */
static int read_large(struct sop_packs *p, struct sop_file *file, const struct sop_place *place,
                      int type, struct sop_buf *to, struct sop_err *err)
{
    struct sop_pack_header h;
    int rc = read_header(p, file, place, type, &h, err);
    if (rc != 0) {
        return rc;
    }
    size_t bytes = (size_t)(place->bytes + sop_pack__table_bytes(place->bytes));
    rc = sop_buf_reserve(to, bytes, err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_pack__read_exactly(file, place, place->offset + SOP_PACK_HEADER_BYTES, to->data,
                                bytes, err);
    if (rc == 0) {
        rc = payload_verify(&h, to->data, err);
    }
    if (rc == 0) {
        to->len = place->bytes;
    }
    return rc;
}

int sop_packs_read(struct sop_packs *p, const struct sop_place *place, enum sop_pack_type type,
                   struct sop_buf *to, struct sop_err *err)
{
    sop_buf_clear(to);
    struct sop_pack_use use;
    int rc = use_place(p, place, false, &use, err);
    if (rc != 0) {
        return rc;
    }
    rc = place->bytes <= ONE_READ_BYTES ? read_small(p, use.file, place, (int)type, to, err)
                                        : read_large(p, use.file, place, (int)type, to, err);
    sop_pack__use_end(p, &use);
    SOP_ASSERT(rc != 0 ||
               ((uintptr_t)to->data % SOP_PACK_ALIGN == 0 && to->len == place->bytes));
    return rc;
}

/* ---- parts of sheets ------------------------------------------------------------------------
 */

int sop_packs_read_first(struct sop_packs *p, const struct sop_place *place, size_t len,
                         struct sop_buf *to, struct sop_pack_owner *owner, struct sop_err *err)
{
    SOP_ASSERT(len <= place->bytes);
    sop_buf_clear(to);
    struct sop_pack_use use;
    int rc = use_place(p, place, true, &use, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_pack_header h;
    rc = sop_buf_reserve(to, SOP_PACK_HEADER_BYTES + len, err);
    if (rc == 0) {
        rc = sop_pack__read_exactly(use.file, place, place->offset, to->data,
                                    SOP_PACK_HEADER_BYTES + len, err);
    }
    if (rc == 0) {
        rc = header_of_place(p, place, SOP_PACK_SHEET, to->data, &h, err);
    }
    if (rc == 0) {
        memmove(to->data, to->data + SOP_PACK_HEADER_BYTES, len);
        to->len = len;
        *owner =
            (struct sop_pack_owner){.type = SOP_PACK_SHEET, .store = h.store, .page = h.page};
    }
    sop_pack__use_end(p, &use);
    return rc;
}

int sop_packs_read_part(struct sop_packs *p, const struct sop_place *place, uint32_t from,
                        void *to, size_t len, struct sop_err *err)
{
    SOP_ASSERT(from <= place->bytes && len <= place->bytes - from);
    struct sop_pack_use use;
    int rc = use_place(p, place, true, &use, err);
    if (rc == 0) {
        uint64_t at = place->offset + SOP_PACK_HEADER_BYTES + from;
        rc = sop_pack__read_exactly(use.file, place, at, to, len, err);
        sop_pack__use_end(p, &use);
    }
    return rc;
}

/* ---- ranges ---------------------------------------------------------------------------------
 */

/* One range read: what is wanted, and what it is verified with. */
struct range {
    struct sop_file *file;
    const struct sop_pack_header *header;
    const uint8_t *table; /* NULL: one CRC, in the header */
    uint8_t *piece;       /* room for one piece */
    uint64_t from;
    uint64_t until;
    uint8_t *to;
};

/* Reads piece i, directly to where it is wanted if all of it is. */
static int range_piece(const struct range *r, uint64_t i, struct sop_err *err)
{
    const struct sop_place *place = &r->header->place;
    uint64_t begin = i * SOP_PACK_PIECE_BYTES;
    uint64_t end = begin + SOP_PACK_PIECE_BYTES;
    if (end > place->bytes) {
        end = place->bytes;
    }
    bool all = begin >= r->from && end <= r->until;
    uint8_t *at = all ? r->to + (begin - r->from) : r->piece;
    size_t len = (size_t)(end - begin);
    int rc = sop_pack__read_exactly(
        r->file, place, place->offset + SOP_PACK_HEADER_BYTES + begin, at, len, err);
    if (rc != 0) {
        return rc;
    }
    uint32_t crc = r->table == NULL ? r->header->payload_crc : sop_get_u32(r->table + i * 4);
    if (sop_crc32c(at, len, 0) != crc) {
        return piece_damaged(place, i, err);
    }
    if (!all) {
        uint64_t low = begin > r->from ? begin : r->from;
        uint64_t high = end < r->until ? end : r->until;
        memcpy(r->to + (low - r->from), r->piece + (low - begin), (size_t)(high - low));
    }
    return 0;
}

/* Takes room for one piece and, behind it, the table; reads and verifies the table. */
static int range_init(struct range *r, struct sop_err *err)
{
    const struct sop_place *place = &r->header->place;
    size_t piece = place->bytes < SOP_PACK_PIECE_BYTES ? place->bytes : SOP_PACK_PIECE_BYTES;
    size_t table = (size_t)sop_pack__table_bytes(place->bytes);
    r->table = NULL;
    r->piece = sop_malloc(piece + table);
    if (r->piece == NULL) {
        return SOP_ERR(err, NOMEM, "read a range of a record of %" PRIu32 " bytes",
                       place->bytes);
    }
    if (table == 0) {
        return 0;
    }
    uint64_t at = place->offset + SOP_PACK_HEADER_BYTES + place->bytes;
    int rc = sop_pack__read_exactly(r->file, place, at, r->piece + piece, table, err);
    if (rc == 0) {
        rc = table_verify(r->header, r->piece + piece, err);
    }
    if (rc != 0) {
        sop_free(r->piece);
        return rc;
    }
    r->table = r->piece + piece;
    return 0;
}

static int read_pieces(struct range *r, struct sop_err *err)
{
    int rc = range_init(r, err);
    if (rc != 0) {
        return rc;
    }
    uint64_t last = (r->until - 1) / SOP_PACK_PIECE_BYTES;
    for (uint64_t i = r->from / SOP_PACK_PIECE_BYTES; rc == 0 && i <= last; i++) {
        rc = range_piece(r, i, err);
    }
    sop_free(r->piece);
    return rc;
}

int sop_packs_read_range(struct sop_packs *p, const struct sop_place *place, uint64_t from,
                         void *to, size_t len, struct sop_err *err)
{
    if (from > place->bytes || len > place->bytes - from) {
        return SOP_ERR(err, INVALID, "%zu bytes from %" PRIu64 " of a record of %" PRIu32, len,
                       from, place->bytes);
    }
    struct sop_pack_use use;
    int rc = use_place(p, place, false, &use, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_pack_header h;
    rc = read_header(p, use.file, place, 0, &h, err);
    if (rc == 0 && len != 0) {
        struct range r = {
            .file = use.file,
            .header = &h,
            .from = from,
            .until = from + len,
            .to = to,
        };
        rc = read_pieces(&r, err);
    }
    sop_pack__use_end(p, &use);
    return rc;
}
