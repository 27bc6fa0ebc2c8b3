/* Encoding of journal headers and the step of the rolling hash. */
#include "engine/journal/format.h"

#include "engine/base/codec.h"

void sop_journal_header_encode(const struct sop_journal_header *h,
                               uint8_t to[SOP_JOURNAL_HEADER_BYTES])
{
    SOP_ASSERT(h->record >= 1 && h->lac < h->record);
    SOP_ASSERT(h->offset % SOP_JOURNAL_UNIT == 0);
    memset(to, 0, SOP_JOURNAL_HEADER_BYTES);
    sop_put_u32(to, SOP_JOURNAL_MAGIC);
    sop_put_u16(to + 8, SOP_JOURNAL_VERSION);
    sop_put_u16(to + 10, h->kind);
    sop_put_u32(to + 12, h->payload_crc);
    memcpy(to + SOP_JOURNAL_NONCE_AT, h->nonce, SOP_NONCE_BYTES);
    sop_put_u64(to + 32, h->tenure);
    sop_put_u64(to + 40, h->record);
    sop_put_u64(to + 48, h->member);
    sop_put_u64(to + 56, h->batch);
    sop_put_u64(to + 64, h->hash_before);
    sop_put_u64(to + 72, h->lac);
    sop_put_u64(to + 80, h->payload_bytes);
    sop_put_u32(to + 88, h->file);
    sop_put_u64(to + 96, h->offset);
    sop_put_u32(to + 4, sop_crc32c(to + 8, SOP_JOURNAL_HEADER_BYTES - 8, 0));
}

enum sop_journal_verdict sop_journal_header_decode(struct sop_slice from,
                                                   struct sop_journal_header *h)
{
    if (from.len < SOP_JOURNAL_HEADER_BYTES || sop_get_u32(from.data) != SOP_JOURNAL_MAGIC) {
        return SOP_JOURNAL_INVALID;
    }
    const uint8_t *p = from.data;
    if (sop_get_u32(p + 4) != sop_crc32c(p + 8, SOP_JOURNAL_HEADER_BYTES - 8, 0)) {
        return SOP_JOURNAL_INVALID;
    }
    if (sop_get_u16(p + 8) != SOP_JOURNAL_VERSION) {
        return SOP_JOURNAL_NEWER;
    }
    struct sop_journal_header got = {
        .kind = sop_get_u16(p + 10),
        .payload_crc = sop_get_u32(p + 12),
        .tenure = sop_get_u64(p + 32),
        .record = sop_get_u64(p + 40),
        .member = sop_get_u64(p + 48),
        .batch = sop_get_u64(p + 56),
        .hash_before = sop_get_u64(p + 64),
        .lac = sop_get_u64(p + 72),
        .payload_bytes = sop_get_u64(p + 80),
        .file = sop_get_u32(p + 88),
        .offset = sop_get_u64(p + 96),
    };
    memcpy(got.nonce, p + SOP_JOURNAL_NONCE_AT, SOP_NONCE_BYTES);
    static const uint8_t zeros[24];
    if (sop_get_u32(p + 92) != 0 || memcmp(p + 104, zeros, sizeof zeros) != 0) {
        return SOP_JOURNAL_NEWER;
    }
    if (got.record == 0 || got.lac >= got.record || got.offset % SOP_JOURNAL_UNIT != 0 ||
        got.payload_bytes > SOP_JOURNAL_PAYLOAD_MAX) {
        return SOP_JOURNAL_INVALID;
    }
    *h = got;
    return SOP_JOURNAL_VALID;
}

uint64_t sop_history_hash(const struct sop_history_step *step, uint64_t before)
{
    uint8_t bytes[48];
    sop_put_u64(bytes, step->lsn.slot);
    sop_put_u64(bytes + 8, step->lsn.record);
    sop_put_u64(bytes + 16, step->member);
    sop_put_u64(bytes + 24, step->batch);
    sop_put_u64(bytes + 32, step->payload_bytes);
    sop_put_u32(bytes + 40, step->payload_crc);
    sop_put_u16(bytes + 44, step->kind);
    sop_put_u16(bytes + 46, 0);
    return sop_hash64(bytes, sizeof bytes, before);
}
