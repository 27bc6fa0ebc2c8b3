/* Stored layouts of the chain: tickets, the flag blocks GATE and TEN, the beat, and the chain's
 * state inside a manifest. All integers little-endian; everything is a multiple of 4096 bytes
 * except the state.
 *
 * Ticket: what a slot holds. The head (header and sections) has a CRC; copies of adopted
 * journal records may follow, each with the CRCs of its own (engine/journal/format.h).
 *
 *   offset size  meaning
 *        0    4  magic "SOPT"
 *        4    4  CRC32C of bytes 8..head-1
 *        8    2  format version (1)
 *       10    2  kind (enum sop_record_kind)
 *       12    4  flags: 1 exclusive, 2 opens a tenure, 4 follows an open slot (cut is valid)
 *       16    4  head: bytes of header and sections
 *       20    4  zero
 *       24   16  database id
 *       40   16  nonce of the member (names its folder)
 *       56   16  nonce of the ticket
 *       72    8  id of the member; 0 where it has none yet (JOIN, ROLL at an opening)
 *       80    8  batch number, 0 if none
 *       88   16  base LSN b that the ticket was built at: slot, record
 *      104    8  rolling hash of everything <= b
 *      112    4  tenure opened: number of the journal file where its record 1 will lie
 *      116    4  tenure opened: TEN file (0 = "TEN", i = "TEN.<i>")
 *      120    8  tenure opened: offset in the journal file
 *      128    4  tenure opened: block of the TEN file that seals it
 *      132    4  number of expelled members
 *      136    8  cut: last record of the tenure before this slot
 *      144    8  number of the first copied record, 0 = no copies
 *      152    8  offset of the copies in the ticket file
 *      160    8  bytes of the copies
 *      168    4  mask bytes; 0 = every transaction is live
 *      172    4  payload bytes
 *      176   32  place of a payload that is not inline: member, file (4), zero (4), offset,
 * length 208    8  process id of the writer, shown to people 216    8  wall clock in ms, shown
 * to people 224    2  host name bytes 226   30  zero 256       sections: expelled ids (8 each),
 * mask, payload, host name The payload of a ROLL is the name of the next chain directory.
 *
 * Flag block: 64 times one 64-byte unit. Alive: tag "SOPLIVE\n" (GATE) or "SOPOPEN\n" (TEN),
 * database id (16), nonce of the directory or member (16), file (4), block (4), zeros (16).
 * Dead: the tag "SOPDEAD\n" and zeros. A block that is neither, nor a mix of both units (a kill
 * that was torn), is damaged; it counts as dead wherever liveness is asked.
 *
 * Beat (one block, rewritten by its member alone):
 *        0    4  magic "SOPB"
 *        4    4  CRC32C of bytes 8..4095
 *        8    2  format version (1)
 *       10    2  flags: 1 waiting, 2 left in order (nothing of the member follows its LAC)
 *       12    4  number of older pins that follow (at most 16)
 *       16   16  database id
 *       32   16  nonce of the member
 *       48    8  sequence, grows with each write
 *       56   16  head
 *       72   16  LAC
 *       88   16  newest pin
 *      104    8  process id
 *      112    2  host bytes
 *      114    2  address bytes
 *      116    4  zero
 *      120  256  older pins, 16 bytes each
 *      376       host, address
 *
 * State: see state.c, which alone reads and writes it. */
#ifndef SOP_CHAIN_FORMAT_H
#define SOP_CHAIN_FORMAT_H

#include "engine/base/base.h"
#include "engine/base/limits.h"
#include "engine/journal/format.h"

#define SOP_TICKET_MAGIC        0x54504f53u
#define SOP_TICKET_VERSION      1
#define SOP_TICKET_HEADER_BYTES 256u
#define SOP_TICKET_HEAD_MAX     (8u << 20) /* header and sections */
#define SOP_TICKET_EXCLUSIVE    1u
#define SOP_TICKET_OPENS        2u
#define SOP_TICKET_FOLLOWS_OPEN 4u
#define SOP_TICKET_FLAGS        7u
#define SOP_HOST_BYTES_MAX      255

struct sop_ticket {
    uint16_t kind;
    uint32_t flags;
    uint8_t database_id[16];
    uint8_t member_nonce[SOP_NONCE_BYTES];
    uint8_t nonce[SOP_NONCE_BYTES];
    uint64_t member;
    uint64_t batch;
    struct sop_lsn base;
    uint64_t base_hash;
    uint32_t journal_file;
    uint64_t journal_offset;
    uint32_t ten_file;
    uint32_t ten_block;
    uint64_t cut;
    uint64_t copies_from;
    uint64_t copies_at;
    uint64_t copies_bytes;
    uint64_t place_member;
    uint32_t place_file;
    uint64_t place_offset;
    uint64_t place_bytes;
    uint64_t pid;
    uint64_t wall_ms;
    struct sop_slice expels; /* 8 bytes each */
    struct sop_slice mask;
    struct sop_slice payload;
    struct sop_slice host;
};

/* Appends the head, padded with zeros to whole blocks. copies_at is set to the end of it if
 * there are copies (the ticket is changed accordingly). NOMEM, TOO_LARGE. */
int sop_ticket_encode(struct sop_ticket *t, struct sop_buf *to,
                      struct sop_err *err) SOP_MUST_USE;
/* Bytes of the head that a first block announces; 0 if it is no ticket. */
size_t sop_ticket_head_bytes(struct sop_slice first_block);
/* Slices of *t borrow from `head`. *crc: identifies the content. DATA_LOSS if it is not whole
 * or contradicts itself, VERSION. */
int sop_ticket_decode(struct sop_slice head, struct sop_ticket *t, uint32_t *crc,
                      struct sop_err *err) SOP_MUST_USE;

/* --- flag blocks --- */

enum sop_flag_kind { SOP_FLAG_GATE = 0, SOP_FLAG_TEN = 1 };
enum sop_flag_state { SOP_FLAG_LIVE = 0, SOP_FLAG_DEAD = 1, SOP_FLAG_DAMAGED = 2 };

struct sop_flag_name {
    enum sop_flag_kind kind;
    uint8_t database_id[16];
    uint8_t nonce[SOP_NONCE_BYTES];
    uint32_t file;
    uint32_t block;
};
#define SOP_FLAG_UNIT_BYTES 64u /* a block repeats it */
void sop_flag_live_pattern(const struct sop_flag_name *name, uint8_t block[SOP_BLOCK_BYTES]);
void sop_flag_dead_pattern(uint8_t block[SOP_BLOCK_BYTES]);
enum sop_flag_state sop_flag_state(const struct sop_flag_name *name,
                                   const uint8_t block[SOP_BLOCK_BYTES]);
/* Is a unit of a kill in the block, whatever the others are? */
bool sop_flag_any_dead(const uint8_t block[SOP_BLOCK_BYTES]);

/* --- beat --- */

#define SOP_BEAT_MAGIC    0x42504f53u
#define SOP_BEAT_VERSION  1
#define SOP_BEAT_PINS_MAX 16
#define SOP_BEAT_WAITING  1u
#define SOP_BEAT_LEFT     2u

struct sop_beat {
    uint16_t flags;
    uint8_t database_id[16];
    uint8_t nonce[SOP_NONCE_BYTES];
    uint64_t sequence;
    struct sop_lsn head;
    struct sop_lsn lac;
    struct sop_lsn pin;
    uint32_t old_pin_count;
    struct sop_lsn old_pins[SOP_BEAT_PINS_MAX];
    uint64_t pid;
    char host[SOP_HOST_BYTES_MAX + 1];
    char address[SOP_HOST_BYTES_MAX + 1];
};
void sop_beat_encode(const struct sop_beat *b, uint8_t block[SOP_BLOCK_BYTES]);
/* false: not a whole beat of a version that we know. */
bool sop_beat_decode(const uint8_t block[SOP_BLOCK_BYTES], struct sop_beat *b);

#endif
