/* Bytes <-> integers for every stored format: little-endian, bounds-checked on reading.
 *
 * A reader never reads past its slice: after the first short read `bad` is set, every later
 * read gives zero or an empty slice, and the caller checks `bad` once at the end (and before
 * any loop whose count it has read). A writer appends to a sop_buf and latches NOMEM. */
#ifndef SOP_CODEC_H
#define SOP_CODEC_H

#include "engine/base/base.h"

struct sop_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
};

static inline struct sop_reader sop_reader(struct sop_slice from)
{
    /* Even NULL + 0 is undefined in C. */
    const uint8_t *end = from.len == 0 ? from.data : from.data + from.len;
    return (struct sop_reader){.at = from.data, .end = end, .bad = false};
}
static inline size_t sop_reader_left(const struct sop_reader *r)
{
    return (size_t)(r->end - r->at);
}
uint8_t sop_read_u8(struct sop_reader *r);
uint16_t sop_read_u16(struct sop_reader *r);
uint32_t sop_read_u32(struct sop_reader *r);
uint64_t sop_read_u64(struct sop_reader *r);
/* LEB128, at most 10 bytes, must be the shortest form that fits 64 bits; else bad. */
uint64_t sop_read_varint(struct sop_reader *r);
/* Borrows len bytes from the input. */
struct sop_slice sop_read_bytes(struct sop_reader *r, size_t len);
/* varint length, then bytes. */
struct sop_slice sop_read_blob(struct sop_reader *r);
struct sop_lsn sop_read_lsn(struct sop_reader *r);

struct sop_writer {
    struct sop_buf *to;
    bool failed; /* an append ran out of memory; nothing more is written */
};

static inline struct sop_writer sop_writer(struct sop_buf *to)
{
    return (struct sop_writer){.to = to, .failed = false};
}
/* For writers of many small fields at once: a place for up to `bytes`, or NULL (failed); then
 * `end` says how far it was filled. */
static inline uint8_t *sop_writer_room(struct sop_writer *w, size_t bytes)
{
    if (w->failed || sop_buf_reserve(w->to, bytes, NULL) != 0) {
        w->failed = true;
        return NULL;
    }
    return w->to->data + w->to->len;
}
static inline void sop_writer_advance(struct sop_writer *w, const uint8_t *end)
{
    w->to->len = (size_t)(end - w->to->data);
}
void sop_write_u8(struct sop_writer *w, uint8_t v);
void sop_write_u16(struct sop_writer *w, uint16_t v);
void sop_write_u32(struct sop_writer *w, uint32_t v);
void sop_write_u64(struct sop_writer *w, uint64_t v);
void sop_write_varint(struct sop_writer *w, uint64_t v);
void sop_write_bytes(struct sop_writer *w, struct sop_slice bytes);
void sop_write_blob(struct sop_writer *w, struct sop_slice bytes);
void sop_write_lsn(struct sop_writer *w, struct sop_lsn lsn);
/* 0, or SOP_ERR_NOMEM if any write failed. */
int sop_writer_end(const struct sop_writer *w, struct sop_err *err) SOP_MUST_USE;

/* Fixed-place integers in memory that the caller has bounds-checked. */
static inline uint16_t sop_get_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint32_t sop_get_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline uint64_t sop_get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void sop_put_u16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof v);
}
static inline void sop_put_u32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}
#define SOP_VARINT_BYTES_MAX 10
/* Gives the place behind it. */
static inline uint8_t *sop_put_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}
static inline void sop_put_u64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "SOP supports little-endian machines");

/* CRC32C (Castagnoli) by isa-l; crc of nothing is 0; chains: crc(b, crc(a, 0)). */
uint32_t sop_crc32c(const void *data, size_t len, uint32_t before);
/* 64-bit mixing step of the rolling hash over history: depends on order. Not cryptographic. */
uint64_t sop_hash64(const void *data, size_t len, uint64_t before);

#endif
