/* Stored layout of a journal record.
 *
 * A journal file is a row of records: header, payload. A record begins at one of two places
 * behind the one before it: at the next multiple of 64 (a unit), or, if anything of the file
 * was synced in between, at the next multiple of 4096 (a block). What lies between is zeros.
 * The header has a CRC of its own, so that a record is known to have existed even if its
 * payload is bad; it names its own place, so that a copy of it inside somebody's payload is not
 * taken for it.
 *
 * Invariants: 1. A block that held a byte of a record when the file was synced is never written
 * again: only records that no sync covered yet share a block. 2. Record r of a tenure lies at
 * one place: a writer that failed in one writes nothing more. So a reader looks at the unit and
 * then at the block, and whichever has record r whole is right. 3. Bytes of a block only ever
 * go from zero to what a record says, so whatever mixture of its states a power loss leaves,
 * each record in it is whole or its CRC does not match. 4. On a volume of several hosts (direct
 * I/O) every record begins with a block.
 *
 *   offset size  meaning
 *        0    4  magic "SOPJ"
 *        4    4  CRC32C of bytes 8..127
 *        8    2  format version (2)
 *       10    2  kind (enum sop_record_kind of the chain, or SOP_JOURNAL_END)
 *       12    4  CRC32C of the payload
 *       16   16  nonce of the member that wrote it
 *       32    8  tenure: slot t that opened it
 *       40    8  record number r in the tenure, from 1; END: the number that comes next
 *       48    8  id of the member (slot of its JOIN)
 *       56    8  batch number of the member, 0 for kinds that use up none
 *       64    8  rolling hash of everything before this record
 *       72    8  LAC: greatest record number of this tenure known to be synced and confirmed
 *       80    8  payload length in bytes
 *       88    4  number of the file that it lies in
 *       92    4  zero
 *       96    8  offset in that file, a multiple of 64
 *      104   24  zero
 *
 * END (payload 16 bytes): number of the next file (4), zero (4), size of it (8). It says where
 * record r is, if there is a record r: the file named may not exist yet. */
#ifndef SOP_JOURNAL_FORMAT_H
#define SOP_JOURNAL_FORMAT_H

#include "engine/base/base.h"
#include "engine/base/limits.h"

#define SOP_JOURNAL_MAGIC        0x4a504f53u
#define SOP_JOURNAL_VERSION      2
#define SOP_JOURNAL_UNIT         64u /* records begin at multiples of it */
#define SOP_JOURNAL_HEADER_BYTES 128u
#define SOP_JOURNAL_END          254 /* kind of the block that names the next file */
#define SOP_JOURNAL_END_BYTES    16u
#define SOP_JOURNAL_PAYLOAD_MAX  ((uint64_t)2 << 30) /* longer: SOP_ERR_TOO_LARGE */
#define SOP_JOURNAL_NONCE_AT     16u                 /* in every version */
#define SOP_NONCE_BYTES          16

struct sop_journal_header {
    uint16_t kind;
    uint32_t payload_crc;
    uint8_t nonce[SOP_NONCE_BYTES];
    uint64_t tenure;
    uint64_t record;
    uint64_t member;
    uint64_t batch;
    uint64_t hash_before;
    uint64_t lac;
    uint64_t payload_bytes;
    uint32_t file;
    uint64_t offset;
};

_Static_assert(SOP_JOURNAL_HEADER_BYTES + SOP_JOURNAL_END_BYTES <= SOP_BLOCK_BYTES,
               "an END fits into one block");
_Static_assert(SOP_BLOCK_BYTES % SOP_JOURNAL_UNIT == 0, "a block is whole units");

enum sop_journal_verdict {
    SOP_JOURNAL_VALID = 0,
    SOP_JOURNAL_INVALID = 1, /* zeros, torn, damaged, or something else */
    SOP_JOURNAL_NEWER = 2,   /* whole, but of a format version that we do not know */
};

void sop_journal_header_encode(const struct sop_journal_header *h,
                               uint8_t to[SOP_JOURNAL_HEADER_BYTES]);
/* Fills *h only when the verdict is VALID. Shorter input than a header is INVALID. */
enum sop_journal_verdict sop_journal_header_decode(struct sop_slice from,
                                                   struct sop_journal_header *h);

/* Bytes from a record with this payload to the first place where the next one may begin. */
static inline uint64_t sop_journal_record_bytes(uint64_t payload_bytes)
{
    uint64_t bytes = SOP_JOURNAL_HEADER_BYTES + payload_bytes;
    return (bytes + SOP_JOURNAL_UNIT - 1) / SOP_JOURNAL_UNIT * SOP_JOURNAL_UNIT;
}

/* The second place: the first block border that is not before `offset`. */
static inline uint64_t sop_journal_block_border(uint64_t offset)
{
    return (offset + SOP_BLOCK_BYTES - 1) / SOP_BLOCK_BYTES * SOP_BLOCK_BYTES;
}

/* One step of the rolling hash over history: what happened, not where it is stored. */
struct sop_history_step {
    struct sop_lsn lsn;
    uint16_t kind;
    uint64_t member;
    uint64_t batch;
    uint64_t payload_bytes;
    uint32_t payload_crc;
};
uint64_t sop_history_hash(const struct sop_history_step *step, uint64_t before);

#endif
