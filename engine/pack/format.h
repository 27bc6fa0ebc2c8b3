/* Layout of pack files. A pack file is nothing but records, one after the other, each at a
 * multiple of 8:
 *
 *   header (64) | payload | piece CRCs (4 each, only if the payload is over 64 KiB) | key |
 * 0..7 zeros
 *
 * The payload begins right after the header, so that a place alone tells where to read. A
 * header names its own place (member, file, offset): a record that lies anywhere else does not
 * check.
 *
 * Payload up to 64 KiB: one CRC32C, in the header. Longer: one CRC32C per 64 KiB piece in the
 * table behind the payload, and the CRC32C of the table in the header, so that a range is read
 * and verified with its own pieces only.
 *
 * A block (4096 bytes) that holds a synced record is never written again, because a torn write
 * would take the record with it. So the first record after a sync begins at the next multiple
 * of 4096; its header says how many zeros lie between it and the record before it. A sheet of
 * 32 KiB or more begins at a multiple of 4096, too: together with the header the pieces that it
 * has checksums of (engine/btree/format.h) are blocks of the file then.
 *
 * A VOID record covers room that was given to an append that then failed. Its payload was never
 * promised to anybody, is not verified, and may reach over the end of the file. */
#ifndef SOP_PACK_FORMAT_H
#define SOP_PACK_FORMAT_H

#include "engine/base/limits.h"
#include "engine/pack/pack.h"

/* Record header, 64 bytes:
 *
 *   offset  bytes  meaning
 *        0      4  magic "SOPR"
 *        4      4  CRC32C of bytes 8..63
 *        8      1  type: 1 sheet, 2 value, 3 void
 *        9      1  format version, 1
 *       10      6  place: member
 *       16      4  place: file number
 *       20      4  CRC32C of the payload, or of the table of piece CRCs; 0 for void
 *       24      8  place: offset of this header in the file
 *       32      4  payload bytes
 *       36      4  pad: zeros before this header; not 0 only at a multiple of 4096
 *       40      8  first 8 bytes of the database id
 *       48      8  store id
 *       56      8  sheet: page id
 *       56      4  value: key bytes
 *       60      4  value: CRC32C of the key */
enum {
    SOP_PACK_AT_MAGIC = 0,
    SOP_PACK_AT_CRC = 4,
    SOP_PACK_AT_TYPE = 8,
    SOP_PACK_AT_VERSION = 9,
    SOP_PACK_AT_MEMBER = 10,
    SOP_PACK_AT_FILE = 16,
    SOP_PACK_AT_PAYLOAD_CRC = 20,
    SOP_PACK_AT_OFFSET = 24,
    SOP_PACK_AT_PAYLOAD_BYTES = 32,
    SOP_PACK_AT_PAD = 36,
    SOP_PACK_AT_DATABASE = 40,
    SOP_PACK_AT_STORE = 48,
    SOP_PACK_AT_PAGE = 56,
    SOP_PACK_AT_KEY_BYTES = 56,
    SOP_PACK_AT_KEY_CRC = 60,
    SOP_PACK_HEADER_BYTES = 64,
};
_Static_assert(SOP_PACK_AT_MEMBER + 6 == SOP_PACK_AT_FILE, "member takes 6 bytes");
_Static_assert(SOP_PACK_AT_PAGE + 8 == SOP_PACK_HEADER_BYTES, "the page id ends the header");
_Static_assert(SOP_PACK_AT_KEY_CRC + 4 == SOP_PACK_HEADER_BYTES, "so does the key's CRC");

#define SOP_PACK_MAGIC         0x52504F53u /* "SOPR" */
#define SOP_PACK_VERSION       1
#define SOP_PACK_ALIGN         8u
#define SOP_PACK_PIECE_BYTES   65536u
#define SOP_PACK_KEY_BYTES_MAX (4u * SOP_KEY_BYTES_MAX) /* encoded; longer: TOO_LARGE */
#define SOP_PACK_VOID          3 /* third type; never leaves this folder */
_Static_assert(SOP_PACK_HEADER_BYTES % SOP_PACK_ALIGN == 0, "payloads are aligned in the file");

struct sop_pack_header {
    uint8_t type; /* enum sop_pack_type or SOP_PACK_VOID */
    struct sop_place place;
    uint32_t payload_crc;
    uint32_t pad;      /* zeros between the record before and this one; < SOP_BLOCK_BYTES */
    uint64_t database; /* first 8 bytes of the id, as a number */
    uint64_t store;
    uint64_t page;      /* SHEET, else 0 */
    uint32_t key_bytes; /* VALUE, else 0 */
    uint32_t key_crc;   /* VALUE, else 0 */
};

/* Fills 64 bytes. The place must be in range. */
void sop_pack__header_encode(const struct sop_pack_header *h,
                             uint8_t to[SOP_PACK_HEADER_BYTES]);
/* Verifies magic, CRC, version, type and that what must be zero is zero; then fills *h. The
 * text of a failure says what is wrong, not where. DATA_LOSS; VERSION when the header checks
 * but was written by a later format. */
int sop_pack__header_decode(const uint8_t from[SOP_PACK_HEADER_BYTES],
                            struct sop_pack_header *h, struct sop_err *err) SOP_MUST_USE;

/* Pieces of a payload that have a CRC in the table: 0 when it is not over 64 KiB. */
static inline uint32_t sop_pack__pieces(uint64_t payload_bytes)
{
    if (payload_bytes <= SOP_PACK_PIECE_BYTES) {
        return 0;
    }
    return (uint32_t)((payload_bytes + SOP_PACK_PIECE_BYTES - 1) / SOP_PACK_PIECE_BYTES);
}
static inline uint64_t sop_pack__table_bytes(uint64_t payload_bytes)
{
    return (uint64_t)sop_pack__pieces(payload_bytes) * 4;
}
static inline uint64_t sop_pack__round(uint64_t bytes)
{
    return (bytes + (SOP_PACK_ALIGN - 1)) & ~(uint64_t)(SOP_PACK_ALIGN - 1);
}
/* Whole record, padding included. */
static inline uint64_t sop_pack__record_bytes(const struct sop_pack_header *h)
{
    uint64_t table = h->type == SOP_PACK_VOID ? 0 : sop_pack__table_bytes(h->place.bytes);
    return sop_pack__round(SOP_PACK_HEADER_BYTES + h->place.bytes + table + h->key_bytes);
}

#endif
