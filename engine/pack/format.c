/* Places and record headers <-> bytes. */
#include "engine/pack/format.h"

#include "engine/base/codec.h"

_Static_assert(SOP_PLACE_BYTES == 6 + 4 + 5 + 4, "the parts of a place fill it");

/* Little-endian integers of 5 and 6 bytes. */
static void put_bytes(uint8_t *to, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        to[i] = (uint8_t)(v >> (8 * i));
    }
}

static uint64_t get_bytes(const uint8_t *from, int bytes)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) {
        v |= (uint64_t)from[i] << (8 * i);
    }
    return v;
}

void sop_place_encode(const struct sop_place *p, uint8_t to[SOP_PLACE_BYTES])
{
    SOP_ASSERT(p->member >> 48 == 0);
    SOP_ASSERT(p->offset >> 40 == 0);
    put_bytes(to, p->member, 6);
    sop_put_u32(to + 6, p->file);
    put_bytes(to + 10, p->offset, 5);
    sop_put_u32(to + 15, p->bytes);
}

struct sop_place sop_place_decode(const uint8_t from[SOP_PLACE_BYTES])
{
    return (struct sop_place){
        .member = get_bytes(from, 6),
        .offset = get_bytes(from + 10, 5),
        .file = sop_get_u32(from + 6),
        .bytes = sop_get_u32(from + 15),
    };
}

void sop_pack__header_encode(const struct sop_pack_header *h, uint8_t to[SOP_PACK_HEADER_BYTES])
{
    SOP_ASSERT(h->place.member >> 48 == 0);
    SOP_ASSERT(h->place.offset % SOP_PACK_ALIGN == 0);
    SOP_ASSERT(h->pad == 0 || h->place.offset % SOP_BLOCK_BYTES == 0);
    memset(to, 0, SOP_PACK_HEADER_BYTES);
    sop_put_u32(to + SOP_PACK_AT_MAGIC, SOP_PACK_MAGIC);
    to[SOP_PACK_AT_TYPE] = h->type;
    to[SOP_PACK_AT_VERSION] = SOP_PACK_VERSION;
    put_bytes(to + SOP_PACK_AT_MEMBER, h->place.member, 6);
    sop_put_u32(to + SOP_PACK_AT_FILE, h->place.file);
    sop_put_u32(to + SOP_PACK_AT_PAYLOAD_CRC, h->payload_crc);
    sop_put_u64(to + SOP_PACK_AT_OFFSET, h->place.offset);
    sop_put_u32(to + SOP_PACK_AT_PAYLOAD_BYTES, h->place.bytes);
    sop_put_u32(to + SOP_PACK_AT_PAD, h->pad);
    sop_put_u64(to + SOP_PACK_AT_DATABASE, h->database);
    sop_put_u64(to + SOP_PACK_AT_STORE, h->store);
    if (h->type == SOP_PACK_SHEET) {
        sop_put_u64(to + SOP_PACK_AT_PAGE, h->page);
    } else if (h->type == SOP_PACK_VALUE) {
        sop_put_u32(to + SOP_PACK_AT_KEY_BYTES, h->key_bytes);
        sop_put_u32(to + SOP_PACK_AT_KEY_CRC, h->key_crc);
    }
    uint32_t crc =
        sop_crc32c(to + SOP_PACK_AT_TYPE, SOP_PACK_HEADER_BYTES - SOP_PACK_AT_TYPE, 0);
    sop_put_u32(to + SOP_PACK_AT_CRC, crc);
}

/* Magic, CRC and version: what must hold before a field means anything. */
static int header_verify(const uint8_t *from, struct sop_err *err)
{
    if (sop_get_u32(from + SOP_PACK_AT_MAGIC) != SOP_PACK_MAGIC) {
        return SOP_ERR(err, DATA_LOSS, "record header has no magic number");
    }
    uint32_t crc =
        sop_crc32c(from + SOP_PACK_AT_TYPE, SOP_PACK_HEADER_BYTES - SOP_PACK_AT_TYPE, 0);
    if (sop_get_u32(from + SOP_PACK_AT_CRC) != crc) {
        return SOP_ERR(err, DATA_LOSS, "record header has a wrong CRC");
    }
    if (from[SOP_PACK_AT_VERSION] != SOP_PACK_VERSION) {
        return SOP_ERR(err, VERSION, "record has format version %u, this release reads %u",
                       from[SOP_PACK_AT_VERSION], SOP_PACK_VERSION);
    }
    return 0;
}

static bool header_sane(const struct sop_pack_header *h, const uint8_t *from)
{
    if (h->place.offset >> 40 != 0 || h->place.offset % SOP_PACK_ALIGN != 0 ||
        h->place.file == 0 || h->pad >= SOP_BLOCK_BYTES ||
        (h->pad != 0 && h->place.offset % SOP_BLOCK_BYTES != 0)) {
        return false;
    }
    switch (h->type) {
    case SOP_PACK_SHEET:
        return true;
    case SOP_PACK_VALUE:
        return h->key_bytes <= SOP_PACK_KEY_BYTES_MAX;
    case SOP_PACK_VOID:
        return h->payload_crc == 0 && sop_get_u64(from + SOP_PACK_AT_PAGE) == 0;
    default:
        return false;
    }
}

int sop_pack__header_decode(const uint8_t from[SOP_PACK_HEADER_BYTES],
                            struct sop_pack_header *h, struct sop_err *err)
{
    int rc = header_verify(from, err);
    if (rc != 0) {
        return rc;
    }
    *h = (struct sop_pack_header){
        .type = from[SOP_PACK_AT_TYPE],
        .place.member = get_bytes(from + SOP_PACK_AT_MEMBER, 6),
        .place.offset = sop_get_u64(from + SOP_PACK_AT_OFFSET),
        .place.file = sop_get_u32(from + SOP_PACK_AT_FILE),
        .place.bytes = sop_get_u32(from + SOP_PACK_AT_PAYLOAD_BYTES),
        .payload_crc = sop_get_u32(from + SOP_PACK_AT_PAYLOAD_CRC),
        .pad = sop_get_u32(from + SOP_PACK_AT_PAD),
        .database = sop_get_u64(from + SOP_PACK_AT_DATABASE),
        .store = sop_get_u64(from + SOP_PACK_AT_STORE),
    };
    if (h->type == SOP_PACK_SHEET) {
        h->page = sop_get_u64(from + SOP_PACK_AT_PAGE);
    } else if (h->type == SOP_PACK_VALUE) {
        h->key_bytes = sop_get_u32(from + SOP_PACK_AT_KEY_BYTES);
        h->key_crc = sop_get_u32(from + SOP_PACK_AT_KEY_CRC);
    }
    if (!header_sane(h, from)) {
        return SOP_ERR(err, DATA_LOSS, "record header checks but makes no sense");
    }
    return 0;
}
