/* Layout of a sheet's image. The same bytes on the volume and in memory; integers
 * little-endian.
 *
 *   front: header (72) | guide (16 a piece) | low fence | high fence | common prefix
 *   0..7 zeros | heads | offsets | cells
 *
 * The image is divided into pieces. Piece 0 has 4032 bytes, every other one 4096, the last one
 * what is left: in a pack a record's header of 64 bytes lies before the image, so where the
 * record begins at a multiple of 4096, borders of pieces are borders of blocks of the file.
 *
 * The front has a CRC of its own, in the header; the CRC of a piece covers what of it lies
 * behind the front. So each byte is covered exactly once, and a point read needs the front,
 * which stays in memory, and the one piece that its cell begins in (and the next one, if the
 * cell crosses the border).
 *
 *   guide     for each piece: CRC32C of its bytes behind the front (4, of nothing 0), offset of
 *             the first cell that begins in it or behind it (4), that cell's head (8). Without
 *             such a cell: the size of the image, the greatest head.
 *   heads     u64[count], 8-byte aligned: the first 8 bytes of each suffix as a big-endian
 *             number, zeros behind a shorter suffix. So a smaller head means a smaller key, and
 *             equal heads mean nothing ("a" and "a\0" have the same). All zero in a COMPARED
 *             sheet.
 *   offsets   u32[count + 1] from the start of the image; cell i is offsets[i] ..
 *             offsets[i + 1], the last one is the size of the image.
 *
 * Cell:
 *
 *   1         kind (bits 0-1: enum sop_value_kind), has ride (bit 2), others zero
 *   1..5      varint: bytes of the suffix
 *   0 | 1..5  varint: bytes of the ride, not zero; only if it has one
 *   ...       suffix | ride
 *   0 | 1..5  varint: bytes of the value; INLINE only, a PLACE has 19, a TOMBSTONE none
 *   ...       value
 *
 * Varints are LEB128 in their shortest form. The key is the common prefix followed by the
 * suffix. In a COMPARED sheet (the store has a registered comparer) the prefix is empty. */
#ifndef SOP_BTREE_FORMAT_H
#define SOP_BTREE_FORMAT_H

#include "engine/base/base.h"

/* Header, 72 bytes:
 *
 *   offset  bytes  meaning
 *        0      4  magic "SOPS"
 *        4      2  format version, 2
 *        6      1  flags: 1 run, 2 has a high fence, 4 in the order of a comparer (COMPARED)
 *        7      1  level: 0 leaf, else inner
 *        8      8  store id
 *       16      8  page id
 *       24     16  LSN: slot, record
 *       40      4  items
 *       44      4  bytes of the image
 *       48      4  bytes of the low fence
 *       52      4  bytes of the high fence; 0 if it has none
 *       56      4  bytes of the common prefix
 *       60      4  pieces of the image
 *       64      4  zero
 *       68      4  CRC32C of bytes 0..67 and of the front behind the header */
enum {
    SOP_SHEET_AT_MAGIC = 0,
    SOP_SHEET_AT_VERSION = 4,
    SOP_SHEET_AT_FLAGS = 6,
    SOP_SHEET_AT_LEVEL = 7,
    SOP_SHEET_AT_STORE = 8,
    SOP_SHEET_AT_PAGE = 16,
    SOP_SHEET_AT_LSN = 24,
    SOP_SHEET_AT_COUNT = 40,
    SOP_SHEET_AT_BYTES = 44,
    SOP_SHEET_AT_LOW_BYTES = 48,
    SOP_SHEET_AT_HIGH_BYTES = 52,
    SOP_SHEET_AT_PREFIX_BYTES = 56,
    SOP_SHEET_AT_PIECES = 60,
    SOP_SHEET_AT_ZERO = 64,
    SOP_SHEET_AT_CRC = 68,
    SOP_SHEET_HEADER_BYTES = 72,
};
_Static_assert(SOP_SHEET_AT_LSN + 16 == SOP_SHEET_AT_COUNT, "an LSN takes 16 bytes");
_Static_assert(SOP_SHEET_AT_CRC + 4 == SOP_SHEET_HEADER_BYTES, "the CRC ends the header");
_Static_assert(SOP_SHEET_HEADER_BYTES % 8 == 0, "what follows the header is aligned");

#define SOP_SHEET_MAGIC       0x53504F53u /* "SOPS" */
#define SOP_SHEET_VERSION     2
#define SOP_SHEET_PIECE_BYTES 4096u
#define SOP_SHEET_LEAD_BYTES  64u /* what lies before the image in a pack */
#define SOP_SHEET_GUIDE_BYTES 16u /* of one piece */
#define SOP_SHEET_BYTES_MAX   UINT32_MAX
#define SOP_SHEET_BYTES_MIN                                                                    \
    (SOP_SHEET_HEADER_BYTES + SOP_SHEET_GUIDE_BYTES + 4) /* one offset */
#define SOP_SHEET_PLACE_BYTES 19 /* a value of kind PLACE: a place as the packs encode it */

/* What the guide says of a piece. */
enum {
    SOP_GUIDE_AT_CRC = 0,
    SOP_GUIDE_AT_CELL = 4,
    SOP_GUIDE_AT_HEAD = 8,
};
_Static_assert(SOP_GUIDE_AT_HEAD + 8 == SOP_SHEET_GUIDE_BYTES, "the head ends it");
_Static_assert(SOP_SHEET_GUIDE_BYTES % 8 == 0, "heads in the guide are aligned");

enum sop_sheet_flag {
    SOP_SHEET_RUN = 1,
    SOP_SHEET_HAS_HIGH = 2,
    SOP_SHEET_COMPARED = 4,
    SOP_SHEET_FLAGS = 7, /* all */
};

enum sop_cell_flag {
    SOP_CELL_KIND = 3, /* mask of enum sop_value_kind */
    SOP_CELL_HAS_RIDE = 4,
    SOP_CELL_FLAGS = 7, /* all */
};

/* Pieces of an image. */
static inline uint64_t sop_sheet__pieces(uint64_t bytes)
{
    return (bytes + SOP_SHEET_LEAD_BYTES + SOP_SHEET_PIECE_BYTES - 1) / SOP_SHEET_PIECE_BYTES;
}
/* The piece that a byte of the image lies in. */
static inline uint32_t sop_sheet__piece_of(uint32_t at)
{
    return (uint32_t)(((uint64_t)at + SOP_SHEET_LEAD_BYTES) / SOP_SHEET_PIECE_BYTES);
}
/* Where piece `i` begins in an image of so many bytes; that of the piece behind the last one is
 * the size. */
static inline uint32_t sop_sheet__piece_at(uint32_t i, uint32_t bytes)
{
    uint64_t at = (uint64_t)i * SOP_SHEET_PIECE_BYTES;
    at -= at == 0 ? 0 : SOP_SHEET_LEAD_BYTES;
    return at < bytes ? (uint32_t)at : bytes;
}

#endif
