/* Bytes <-> integers, CRC32C and the history hash. */
#include "engine/base/codec.h"

#include <isa-l/crc.h>

/* The next len bytes, or NULL with `bad` set. A bad reader is also an empty one, so one test
 * serves for both. */
static const uint8_t *take(struct sop_reader *r, size_t len)
{
    if (len > sop_reader_left(r)) {
        r->bad = true;
        r->at = r->end;
        return NULL;
    }
    const uint8_t *at = r->at;
    if (len != 0) {
        r->at += len;
    }
    return at;
}

static void refuse(struct sop_reader *r)
{
    r->bad = true;
    r->at = r->end;
}

uint8_t sop_read_u8(struct sop_reader *r)
{
    const uint8_t *p = take(r, 1);
    return p == NULL ? 0 : *p;
}

uint16_t sop_read_u16(struct sop_reader *r)
{
    const uint8_t *p = take(r, 2);
    return p == NULL ? 0 : sop_get_u16(p);
}

uint32_t sop_read_u32(struct sop_reader *r)
{
    const uint8_t *p = take(r, 4);
    return p == NULL ? 0 : sop_get_u32(p);
}

uint64_t sop_read_u64(struct sop_reader *r)
{
    const uint8_t *p = take(r, 8);
    return p == NULL ? 0 : sop_get_u64(p);
}

uint64_t sop_read_varint(struct sop_reader *r)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < SOP_VARINT_BYTES_MAX; i++) {
        const uint8_t *p = take(r, 1);
        if (p == NULL) {
            return 0;
        }
        if (i == SOP_VARINT_BYTES_MAX - 1 && *p > 1) {
            break; /* more than 64 bits */
        }
        value |= (uint64_t)(*p & 0x7fu) << (7 * i);
        if ((*p & 0x80u) == 0) {
            if (*p == 0 && i != 0) {
                break; /* a shorter form exists: equal values must be equal bytes */
            }
            return value;
        }
    }
    refuse(r);
    return 0;
}

struct sop_slice sop_read_bytes(struct sop_reader *r, size_t len)
{
    const uint8_t *p = take(r, len);
    return p == NULL ? sop_slice(NULL, 0) : sop_slice(p, len);
}

struct sop_slice sop_read_blob(struct sop_reader *r)
{
    uint64_t len = sop_read_varint(r);
    if (len > sop_reader_left(r)) {
        refuse(r);
        return sop_slice(NULL, 0);
    }
    return sop_read_bytes(r, (size_t)len);
}

struct sop_lsn sop_read_lsn(struct sop_reader *r)
{
    struct sop_lsn lsn = {.slot = sop_read_u64(r), .record = 0};
    lsn.record = sop_read_u64(r);
    return r->bad ? (struct sop_lsn){0} : lsn;
}

void sop_write_bytes(struct sop_writer *w, struct sop_slice bytes)
{
    if (!w->failed && sop_buf_append(w->to, bytes.data, bytes.len, NULL) != 0) {
        w->failed = true;
    }
}

void sop_write_u8(struct sop_writer *w, uint8_t v)
{
    sop_write_bytes(w, sop_slice(&v, sizeof v));
}

void sop_write_u16(struct sop_writer *w, uint16_t v)
{
    sop_write_bytes(w, sop_slice(&v, sizeof v));
}

void sop_write_u32(struct sop_writer *w, uint32_t v)
{
    sop_write_bytes(w, sop_slice(&v, sizeof v));
}

void sop_write_u64(struct sop_writer *w, uint64_t v)
{
    sop_write_bytes(w, sop_slice(&v, sizeof v));
}

void sop_write_varint(struct sop_writer *w, uint64_t v)
{
    uint8_t bytes[SOP_VARINT_BYTES_MAX];
    const uint8_t *end = sop_put_varint(bytes, v);
    sop_write_bytes(w, sop_slice(bytes, (size_t)(end - bytes)));
}

void sop_write_blob(struct sop_writer *w, struct sop_slice bytes)
{
    sop_write_varint(w, bytes.len);
    sop_write_bytes(w, bytes);
}

void sop_write_lsn(struct sop_writer *w, struct sop_lsn lsn)
{
    sop_write_u64(w, lsn.slot);
    sop_write_u64(w, lsn.record);
}

int sop_writer_end(const struct sop_writer *w, struct sop_err *err)
{
    if (w->failed) {
        return SOP_ERR(err, NOMEM, "encode after %zu bytes", w->to->len);
    }
    return 0;
}

/* isa-l's length is an int. */
#define CRC_STEP_BYTES ((size_t)1 << 30)

uint32_t sop_crc32c(const void *data, size_t len, uint32_t before)
{
    /* isa-l neither inverts the start value nor the result, as the standard CRC32C does; and it
     * takes a pointer to non-const without writing through it. */
    unsigned char *at = (unsigned char *)(uintptr_t)data;
    uint32_t crc = ~before;
    while (len > 0) {
        size_t step = len < CRC_STEP_BYTES ? len : CRC_STEP_BYTES;
        crc = crc32_iscsi(at, (int)step, crc);
        at += step;
        len -= step;
    }
    return ~crc;
}

/* Odd constants (xxHash64's primes): multiplication by them is a bijection of 64-bit words. */
#define HASH_A UINT64_C(0x9e3779b185ebca87)
#define HASH_B UINT64_C(0xc2b2ae3d27d4eb4f)
#define HASH_C UINT64_C(0x165667b19e3779f9)

static inline uint64_t rotate(uint64_t v, unsigned by)
{
    return v << by | v >> (64 - by);
}

static inline uint64_t hash_step(uint64_t hash, uint64_t word)
{
    hash ^= rotate(word * HASH_B, 31) * HASH_A;
    return rotate(hash, 27) * HASH_A + HASH_C;
}

uint64_t sop_hash64(const void *data, size_t len, uint64_t before)
{
    const uint8_t *at = data;
    /* The length is mixed in, so trailing zero bytes count and pieces have edges. */
    uint64_t hash = hash_step(before + HASH_C, (uint64_t)len);
    for (; len >= 8; at += 8, len -= 8) {
        hash = hash_step(hash, sop_get_u64(at));
    }
    if (len > 0) {
        uint64_t word = 0;
        memcpy(&word, at, len);
        hash = hash_step(hash, word);
    }
    /* Each bit of the input reaches each bit of the result (the finish of xxHash64). */
    hash ^= hash >> 33;
    hash *= HASH_B;
    hash ^= hash >> 29;
    hash *= HASH_C;
    hash ^= hash >> 32;
    return hash;
}
