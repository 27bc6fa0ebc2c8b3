/* Layout of a sheet's image. The same bytes on the volume and in memory; integers
 * little-endian.
 *
 *   header (72) | piece CRCs, padded to 8 | body
 *   body: low fence | high fence | common prefix | 0..7 zeros | heads | offsets | cells
 *
 * The CRCs of the pieces stand in front of the body and the header's CRC covers them, so each
 * byte is covered exactly once, and a point read can verify the header, the pieces with the
 * heads and offsets, and the one or two pieces that its cell lies in, and nothing else.
 *
 *   heads     u64[count], 8-byte aligned: the first 8 bytes of each suffix as a big-endian
 * number, zeros behind a shorter suffix. So a smaller head means a smaller key, and equal heads
 * mean nothing ("a" and "a\0" have the same). All zero in a COMPARED sheet. offsets   u32[count
 * + 1] from the start of the image; cell i is offsets[i] .. offsets[i + 1], the last one is the
 * size of the image.
 *
 * Cell:
 *
 *   1         kind (bits 0-1: enum sop_value_kind), has ride (bit 2), others zero
 *   1..5      varint: bytes of the suffix
 *   0 | 1..5  varint: bytes of the ride, not zero; only if it has one
 *   ...       suffix | ride | value (the rest of the cell)
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
 *        4      2  format version, 1
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
 *       60      4  pieces of the body, 16 KiB each, the last one shorter
 *       64      4  zero
 *       68      4  CRC32C of bytes 0..67 and of the padded table of piece CRCs */
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
#define SOP_SHEET_VERSION     1
#define SOP_SHEET_PIECE_BYTES 16384u
#define SOP_SHEET_BYTES_MAX   UINT32_MAX
#define SOP_SHEET_BYTES_MIN   (SOP_SHEET_HEADER_BYTES + 8 + 4) /* one piece CRC, one offset */
#define SOP_SHEET_PLACE_BYTES 19 /* a value of kind PLACE: a place as the packs encode it */

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

/* Bytes of the table of piece CRCs, padded so that the body is aligned wherever it begins. */
static inline uint64_t sop_sheet__table_bytes(uint64_t pieces)
{
    return (pieces * 4 + 7) & ~UINT64_C(7);
}
static inline uint64_t sop_sheet__pieces(uint64_t body_bytes)
{
    return (body_bytes + SOP_SHEET_PIECE_BYTES - 1) / SOP_SHEET_PIECE_BYTES;
}

#endif
