/* Encoding of tickets, flag blocks and beats. */
#include "engine/chain/format.h"

#include "engine/base/codec.h"

#define TICKET_CRC_FROM 8u

/* --- tickets --- */

static void encode_ticket_header(const struct sop_ticket *t, size_t head, uint8_t *p)
{
    memset(p, 0, SOP_TICKET_HEADER_BYTES);
    sop_put_u32(p, SOP_TICKET_MAGIC);
    sop_put_u16(p + 8, SOP_TICKET_VERSION);
    sop_put_u16(p + 10, t->kind);
    sop_put_u32(p + 12, t->flags);
    sop_put_u32(p + 16, (uint32_t)head);
    memcpy(p + 24, t->database_id, 16);
    memcpy(p + 40, t->member_nonce, 16);
    memcpy(p + 56, t->nonce, 16);
    sop_put_u64(p + 72, t->member);
    sop_put_u64(p + 80, t->batch);
    sop_put_u64(p + 88, t->base.slot);
    sop_put_u64(p + 96, t->base.record);
    sop_put_u64(p + 104, t->base_hash);
    sop_put_u32(p + 112, t->journal_file);
    sop_put_u32(p + 116, t->ten_file);
    sop_put_u64(p + 120, t->journal_offset);
    sop_put_u32(p + 128, t->ten_block);
    sop_put_u32(p + 132, (uint32_t)(t->expels.len / 8));
    sop_put_u64(p + 136, t->cut);
    sop_put_u64(p + 144, t->copies_from);
    sop_put_u64(p + 152, t->copies_at);
    sop_put_u64(p + 160, t->copies_bytes);
    sop_put_u32(p + 168, (uint32_t)t->mask.len);
    sop_put_u32(p + 172, (uint32_t)t->payload.len);
    sop_put_u64(p + 176, t->place_member);
    sop_put_u32(p + 184, t->place_file);
    sop_put_u64(p + 192, t->place_offset);
    sop_put_u64(p + 200, t->place_bytes);
    sop_put_u64(p + 208, t->pid);
    sop_put_u64(p + 216, t->wall_ms);
    sop_put_u16(p + 224, (uint16_t)t->host.len);
}

int sop_ticket_encode(struct sop_ticket *t, struct sop_buf *to, struct sop_err *err)
{
    SOP_ASSERT(t->expels.len % 8 == 0 && t->host.len <= SOP_HOST_BYTES_MAX);
    SOP_ASSERT((t->copies_from == 0) == (t->copies_bytes == 0));
    if (t->payload.len > SOP_TICKET_HEAD_MAX || t->mask.len > SOP_TICKET_HEAD_MAX ||
        t->expels.len > SOP_TICKET_HEAD_MAX) {
        return SOP_ERR(err, TOO_LARGE, "a ticket over %u bytes", SOP_TICKET_HEAD_MAX);
    }
    size_t head =
        SOP_TICKET_HEADER_BYTES + t->expels.len + t->mask.len + t->payload.len + t->host.len;
    if (head > SOP_TICKET_HEAD_MAX) {
        return SOP_ERR(err, TOO_LARGE, "a ticket over %u bytes", SOP_TICKET_HEAD_MAX);
    }
    size_t padded = (head + SOP_BLOCK_BYTES - 1) / SOP_BLOCK_BYTES * SOP_BLOCK_BYTES;
    int rc = sop_buf_reserve(to, padded, err);
    if (rc != 0) {
        return rc;
    }
    t->copies_at = t->copies_from != 0 ? padded : 0;
    uint8_t *p = to->data + to->len;
    memset(p, 0, padded);
    encode_ticket_header(t, head, p);
    uint8_t *at = p + SOP_TICKET_HEADER_BYTES;
    const struct sop_slice sections[] = {t->expels, t->mask, t->payload, t->host};
    for (size_t i = 0; i < SOP_ARRAY_LEN(sections); i++) {
        if (sections[i].len > 0) {
            memcpy(at, sections[i].data, sections[i].len);
            at += sections[i].len;
        }
    }
    SOP_ASSERT(at == p + head);
    sop_put_u32(p + 4, sop_crc32c(p + TICKET_CRC_FROM, head - TICKET_CRC_FROM, 0));
    to->len += padded;
    return 0;
}

size_t sop_ticket_head_bytes(struct sop_slice first_block)
{
    if (first_block.len < SOP_TICKET_HEADER_BYTES ||
        sop_get_u32(first_block.data) != SOP_TICKET_MAGIC) {
        return 0;
    }
    size_t head = sop_get_u32(first_block.data + 16);
    return head < SOP_TICKET_HEADER_BYTES || head > SOP_TICKET_HEAD_MAX ? 0 : head;
}

static void decode_ticket_header(const uint8_t *p, struct sop_ticket *t)
{
    *t = (struct sop_ticket){
        .kind = sop_get_u16(p + 10),
        .flags = sop_get_u32(p + 12),
        .member = sop_get_u64(p + 72),
        .batch = sop_get_u64(p + 80),
        .base = {.slot = sop_get_u64(p + 88), .record = sop_get_u64(p + 96)},
        .base_hash = sop_get_u64(p + 104),
        .journal_file = sop_get_u32(p + 112),
        .ten_file = sop_get_u32(p + 116),
        .journal_offset = sop_get_u64(p + 120),
        .ten_block = sop_get_u32(p + 128),
        .cut = sop_get_u64(p + 136),
        .copies_from = sop_get_u64(p + 144),
        .copies_at = sop_get_u64(p + 152),
        .copies_bytes = sop_get_u64(p + 160),
        .place_member = sop_get_u64(p + 176),
        .place_file = sop_get_u32(p + 184),
        .place_offset = sop_get_u64(p + 192),
        .place_bytes = sop_get_u64(p + 200),
        .pid = sop_get_u64(p + 208),
        .wall_ms = sop_get_u64(p + 216),
    };
    memcpy(t->database_id, p + 24, 16);
    memcpy(t->member_nonce, p + 40, 16);
    memcpy(t->nonce, p + 56, 16);
}

/* Do the numbers of the ticket fit each other? */
static bool ticket_makes_sense(const struct sop_ticket *t)
{
    bool follows = (t->flags & SOP_TICKET_FOLLOWS_OPEN) != 0;
    bool copies = t->copies_from != 0;
    if ((t->flags & ~SOP_TICKET_FLAGS) != 0 || (!follows && (t->cut != 0 || copies)) ||
        copies != (t->copies_bytes != 0)) {
        return false;
    }
    if (copies && (t->copies_from > t->cut || t->copies_at % SOP_BLOCK_BYTES != 0 ||
                   t->copies_bytes % SOP_BLOCK_BYTES != 0 || t->copies_at == 0 ||
                   t->copies_bytes > UINT64_MAX - t->copies_at)) {
        return false;
    }
    return (t->flags & SOP_TICKET_OPENS) == 0 ||
           (t->journal_offset % SOP_JOURNAL_UNIT == 0 && t->journal_file != 0);
}

int sop_ticket_decode(struct sop_slice head, struct sop_ticket *t, uint32_t *crc,
                      struct sop_err *err)
{
    size_t len = sop_ticket_head_bytes(head);
    if (len == 0 || len > head.len ||
        sop_crc32c(head.data + TICKET_CRC_FROM, len - TICKET_CRC_FROM, 0) !=
            sop_get_u32(head.data + 4)) {
        return SOP_ERR(err, DATA_LOSS, "at byte 0: not a whole ticket");
    }
    if (sop_get_u16(head.data + 8) != SOP_TICKET_VERSION) {
        return SOP_ERR(err, VERSION, "ticket of format version %u",
                       (unsigned)sop_get_u16(head.data + 8));
    }
    decode_ticket_header(head.data, t);
    *crc = sop_get_u32(head.data + 4);
    struct sop_reader r = sop_reader(
        sop_slice(head.data + SOP_TICKET_HEADER_BYTES, len - SOP_TICKET_HEADER_BYTES));
    t->expels = sop_read_bytes(&r, (size_t)sop_get_u32(head.data + 132) * 8);
    t->mask = sop_read_bytes(&r, sop_get_u32(head.data + 168));
    t->payload = sop_read_bytes(&r, sop_get_u32(head.data + 172));
    t->host = sop_read_bytes(&r, sop_get_u16(head.data + 224));
    static const uint8_t zeros[30];
    bool reserved = sop_get_u32(head.data + 20) == 0 && sop_get_u32(head.data + 188) == 0 &&
                    memcmp(head.data + 226, zeros, sizeof zeros) == 0;
    if (r.bad || !reserved || sop_reader_left(&r) != 0 || t->host.len > SOP_HOST_BYTES_MAX ||
        !ticket_makes_sense(t)) {
        return SOP_ERR(err, DATA_LOSS, "at byte 0: a ticket that contradicts itself");
    }
    return 0;
}

/* --- flag blocks --- */

static const char *const live_tags[] = {
    [SOP_FLAG_GATE] = "SOPLIVE\n", [SOP_FLAG_TEN] = "SOPOPEN\n"};

static void live_unit(const struct sop_flag_name *name, uint8_t unit[SOP_FLAG_UNIT_BYTES])
{
    memset(unit, 0, SOP_FLAG_UNIT_BYTES);
    memcpy(unit, live_tags[name->kind], 8);
    memcpy(unit + 8, name->database_id, 16);
    memcpy(unit + 24, name->nonce, 16);
    sop_put_u32(unit + 40, name->file);
    sop_put_u32(unit + 44, name->block);
}

static void dead_unit(uint8_t unit[SOP_FLAG_UNIT_BYTES])
{
    memset(unit, 0, SOP_FLAG_UNIT_BYTES);
    memcpy(unit, "SOPDEAD\n", 8);
}

static void fill_units(uint8_t block[SOP_BLOCK_BYTES], const uint8_t unit[SOP_FLAG_UNIT_BYTES])
{
    for (size_t at = 0; at < SOP_BLOCK_BYTES; at += SOP_FLAG_UNIT_BYTES) {
        memcpy(block + at, unit, SOP_FLAG_UNIT_BYTES);
    }
}

void sop_flag_live_pattern(const struct sop_flag_name *name, uint8_t block[SOP_BLOCK_BYTES])
{
    uint8_t unit[SOP_FLAG_UNIT_BYTES];
    live_unit(name, unit);
    fill_units(block, unit);
}

void sop_flag_dead_pattern(uint8_t block[SOP_BLOCK_BYTES])
{
    uint8_t unit[SOP_FLAG_UNIT_BYTES];
    dead_unit(unit);
    fill_units(block, unit);
}

enum sop_flag_state sop_flag_state(const struct sop_flag_name *name,
                                   const uint8_t block[SOP_BLOCK_BYTES])
{
    uint8_t live[SOP_FLAG_UNIT_BYTES];
    uint8_t dead[SOP_FLAG_UNIT_BYTES];
    live_unit(name, live);
    dead_unit(dead);
    bool killed = false;
    for (size_t at = 0; at < SOP_BLOCK_BYTES; at += SOP_FLAG_UNIT_BYTES) {
        if (memcmp(block + at, live, SOP_FLAG_UNIT_BYTES) == 0) {
            continue;
        }
        if (memcmp(block + at, dead, SOP_FLAG_UNIT_BYTES) != 0) {
            return SOP_FLAG_DAMAGED;
        }
        killed = true;
    }
    return killed ? SOP_FLAG_DEAD : SOP_FLAG_LIVE;
}

bool sop_flag_any_dead(const uint8_t block[SOP_BLOCK_BYTES])
{
    uint8_t dead[SOP_FLAG_UNIT_BYTES];
    dead_unit(dead);
    bool any = false;
    for (size_t at = 0; at < SOP_BLOCK_BYTES; at += SOP_FLAG_UNIT_BYTES) {
        any = any || memcmp(block + at, dead, SOP_FLAG_UNIT_BYTES) == 0;
    }
    return any;
}

/* --- beats --- */

#define BEAT_TEXTS 376u
_Static_assert(BEAT_TEXTS == 120 + SOP_BEAT_PINS_MAX * 16, "old pins end where texts begin");
_Static_assert(BEAT_TEXTS + 2 * SOP_HOST_BYTES_MAX <= SOP_BLOCK_BYTES, "a beat is one block");

static void put_lsn(uint8_t *p, struct sop_lsn lsn)
{
    sop_put_u64(p, lsn.slot);
    sop_put_u64(p + 8, lsn.record);
}

static struct sop_lsn get_lsn(const uint8_t *p)
{
    return (struct sop_lsn){.slot = sop_get_u64(p), .record = sop_get_u64(p + 8)};
}

void sop_beat_encode(const struct sop_beat *b, uint8_t block[SOP_BLOCK_BYTES])
{
    size_t host = strnlen(b->host, SOP_HOST_BYTES_MAX);
    size_t address = strnlen(b->address, SOP_HOST_BYTES_MAX);
    SOP_ASSERT(b->old_pin_count <= SOP_BEAT_PINS_MAX);
    memset(block, 0, SOP_BLOCK_BYTES);
    sop_put_u32(block, SOP_BEAT_MAGIC);
    sop_put_u16(block + 8, SOP_BEAT_VERSION);
    sop_put_u16(block + 10, b->flags);
    sop_put_u32(block + 12, b->old_pin_count);
    memcpy(block + 16, b->database_id, 16);
    memcpy(block + 32, b->nonce, 16);
    sop_put_u64(block + 48, b->sequence);
    put_lsn(block + 56, b->head);
    put_lsn(block + 72, b->lac);
    put_lsn(block + 88, b->pin);
    sop_put_u64(block + 104, b->pid);
    sop_put_u16(block + 112, (uint16_t)host);
    sop_put_u16(block + 114, (uint16_t)address);
    for (size_t i = 0; i < b->old_pin_count; i++) {
        put_lsn(block + 120 + i * 16, b->old_pins[i]);
    }
    memcpy(block + BEAT_TEXTS, b->host, host);
    memcpy(block + BEAT_TEXTS + host, b->address, address);
    sop_put_u32(block + 4, sop_crc32c(block + 8, SOP_BLOCK_BYTES - 8, 0));
}

bool sop_beat_decode(const uint8_t block[SOP_BLOCK_BYTES], struct sop_beat *b)
{
    size_t host = sop_get_u16(block + 112);
    size_t address = sop_get_u16(block + 114);
    if (sop_get_u32(block) != SOP_BEAT_MAGIC || sop_get_u16(block + 8) != SOP_BEAT_VERSION ||
        sop_get_u32(block + 4) != sop_crc32c(block + 8, SOP_BLOCK_BYTES - 8, 0) ||
        sop_get_u32(block + 12) > SOP_BEAT_PINS_MAX || sop_get_u32(block + 116) != 0 ||
        host > SOP_HOST_BYTES_MAX || address > SOP_HOST_BYTES_MAX) {
        return false;
    }
    memset(b, 0, sizeof *b);
    b->flags = sop_get_u16(block + 10);
    b->old_pin_count = sop_get_u32(block + 12);
    memcpy(b->database_id, block + 16, 16);
    memcpy(b->nonce, block + 32, 16);
    b->sequence = sop_get_u64(block + 48);
    b->head = get_lsn(block + 56);
    b->lac = get_lsn(block + 72);
    b->pin = get_lsn(block + 88);
    b->pid = sop_get_u64(block + 104);
    for (size_t i = 0; i < b->old_pin_count; i++) {
        b->old_pins[i] = get_lsn(block + 120 + i * 16);
    }
    memcpy(b->host, block + BEAT_TEXTS, host);
    memcpy(b->address, block + BEAT_TEXTS + host, address);
    return true;
}
