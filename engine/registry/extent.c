/* Handles, sectors and extents <-> bytes. */
#include "engine/registry/format.h"

#include "engine/base/codec.h"

static void put_lsn(uint8_t *to, struct sop_lsn lsn)
{
    sop_put_u64(to, lsn.slot);
    sop_put_u64(to + 8, lsn.record);
}

static struct sop_lsn get_lsn(const uint8_t *from)
{
    return (struct sop_lsn){.slot = sop_get_u64(from), .record = sop_get_u64(from + 8)};
}

static bool is_free(const struct sop_handle *h)
{
    return h->lsn.slot == 0 && h->lsn.record == 0;
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    uint8_t any = 0;
    for (size_t i = 0; i < len; i++) {
        any |= bytes[i];
    }
    return any == 0;
}

void sop_registry__handle_encode(const struct sop_handle *h, uint8_t to[SOP_HANDLE_BYTES])
{
    memset(to, 0, SOP_HANDLE_BYTES);
    if (is_free(h)) {
        return;
    }
    put_lsn(to + SOP_HANDLE_AT_LSN, h->lsn);
    sop_put_u32(to + SOP_HANDLE_AT_ITEMS, h->items);
    to[SOP_HANDLE_AT_LEVEL] = h->level;
    if (!sop_place_none(&h->base)) {
        sop_place_encode(&h->base, to + SOP_HANDLE_AT_BASE);
    }
    if (!sop_place_none(&h->run)) {
        sop_place_encode(&h->run, to + SOP_HANDLE_AT_RUN);
    }
}

/* "Nowhere" has one form: all zero. */
static bool place_sane(const struct sop_place *p, const uint8_t *from)
{
    return !sop_place_none(p) || all_zero(from, SOP_PLACE_BYTES);
}

bool sop_registry__handle_decode(const uint8_t from[SOP_HANDLE_BYTES], struct sop_handle *h)
{
    *h = (struct sop_handle){.lsn = get_lsn(from + SOP_HANDLE_AT_LSN)};
    if (is_free(h)) {
        return all_zero(from, SOP_HANDLE_BYTES);
    }
    h->items = sop_get_u32(from + SOP_HANDLE_AT_ITEMS);
    h->level = from[SOP_HANDLE_AT_LEVEL];
    h->base = sop_place_decode(from + SOP_HANDLE_AT_BASE);
    h->run = sop_place_decode(from + SOP_HANDLE_AT_RUN);
    return h->level < SOP_LEVELS_MAX && place_sane(&h->base, from + SOP_HANDLE_AT_BASE) &&
           place_sane(&h->run, from + SOP_HANDLE_AT_RUN) &&
           all_zero(from + SOP_HANDLE_AT_ZERO, SOP_HANDLE_BYTES - SOP_HANDLE_AT_ZERO);
}

static uint32_t handles_used(const struct sop_handle *handles)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < SOP_SECTOR_HANDLES; i++) {
        used += !is_free(&handles[i]);
    }
    return used;
}

static void sector_encode(const uint8_t database_id[16], const struct sop_extent_ref *ref,
                          uint32_t number, const struct sop_handle *handles, uint32_t used,
                          uint8_t *to)
{
    memset(to, 0, SOP_SECTOR_AT_HANDLES);
    sop_put_u32(to + SOP_SECTOR_AT_MAGIC, SOP_SECTOR_MAGIC);
    sop_put_u64(to + SOP_SECTOR_AT_EXTENT, ref->extent);
    put_lsn(to + SOP_SECTOR_AT_LSN, ref->lsn);
    memcpy(to + SOP_SECTOR_AT_DATABASE, database_id, 8);
    sop_put_u64(to + SOP_SECTOR_AT_MEMBER, ref->member);
    sop_put_u32(to + SOP_SECTOR_AT_NUMBER, number);
    sop_put_u32(to + SOP_SECTOR_AT_COUNT, used);
    for (size_t i = 0; i < SOP_SECTOR_HANDLES; i++) {
        sop_registry__handle_encode(&handles[i],
                                    to + SOP_SECTOR_AT_HANDLES + i * SOP_HANDLE_BYTES);
    }
    sop_put_u32(to + SOP_SECTOR_AT_CRC, sop_crc32c(to + SOP_SECTOR_AT_EXTENT,
                                                   SOP_SECTOR_BYTES - SOP_SECTOR_AT_EXTENT, 0));
}

static int sector_decode(const uint8_t database_id[16], const struct sop_extent_ref *ref,
                         uint32_t number, const uint8_t *from, struct sop_handle *handles,
                         struct sop_err *err)
{
    uint32_t crc =
        sop_crc32c(from + SOP_SECTOR_AT_EXTENT, SOP_SECTOR_BYTES - SOP_SECTOR_AT_EXTENT, 0);
    if (sop_get_u32(from + SOP_SECTOR_AT_MAGIC) != SOP_SECTOR_MAGIC ||
        sop_get_u32(from + SOP_SECTOR_AT_CRC) != crc) {
        return SOP_ERR(err, DATA_LOSS, "sector %" PRIu32 " has a wrong CRC", number);
    }
    if (sop_get_u64(from + SOP_SECTOR_AT_EXTENT) != ref->extent ||
        sop_lsn_cmp(get_lsn(from + SOP_SECTOR_AT_LSN), ref->lsn) != 0 ||
        memcmp(from + SOP_SECTOR_AT_DATABASE, database_id, 8) != 0 ||
        sop_get_u64(from + SOP_SECTOR_AT_MEMBER) != ref->member ||
        sop_get_u32(from + SOP_SECTOR_AT_NUMBER) != number) {
        return SOP_ERR(err, DATA_LOSS, "sector %" PRIu32 " was written for another place",
                       number);
    }
    for (size_t i = 0; i < SOP_SECTOR_HANDLES; i++) {
        const uint8_t *bytes = from + SOP_SECTOR_AT_HANDLES + i * SOP_HANDLE_BYTES;
        if (!sop_registry__handle_decode(bytes, &handles[i])) {
            return SOP_ERR(err, DATA_LOSS, "sector %" PRIu32 ": handle %zu makes no sense",
                           number, i);
        }
    }
    uint32_t used = handles_used(handles);
    if (used == 0 || sop_get_u32(from + SOP_SECTOR_AT_COUNT) != used ||
        sop_get_u64(from + SOP_SECTOR_AT_ZERO) != 0) {
        return SOP_ERR(err, DATA_LOSS, "sector %" PRIu32 ": wrong count of handles", number);
    }
    return 0;
}

static uint32_t header_crc(const uint8_t *header)
{
    return sop_crc32c(header + SOP_EXTENT_AT_VERSION,
                      SOP_EXTENT_HEADER_BYTES - SOP_EXTENT_AT_VERSION, 0);
}

static void header_encode(const uint8_t database_id[16], const struct sop_extent_ref *ref,
                          const uint8_t *bitmap, uint8_t *to)
{
    memset(to, 0, SOP_EXTENT_HEADER_BYTES);
    sop_put_u64(to + SOP_EXTENT_AT_MAGIC, SOP_EXTENT_MAGIC);
    sop_put_u32(to + SOP_EXTENT_AT_VERSION, SOP_REGISTRY_VERSION);
    memcpy(to + SOP_EXTENT_AT_DATABASE, database_id, 16);
    sop_put_u64(to + SOP_EXTENT_AT_EXTENT, ref->extent);
    put_lsn(to + SOP_EXTENT_AT_LSN, ref->lsn);
    sop_put_u64(to + SOP_EXTENT_AT_MEMBER, ref->member);
    memcpy(to + SOP_EXTENT_AT_BITMAP, bitmap, SOP_EXTENT_SECTORS / 8);
    sop_put_u32(to + SOP_EXTENT_AT_CRC, header_crc(to));
}

static int header_decode(const uint8_t database_id[16], struct sop_slice bytes,
                         struct sop_extent_ref *ref, struct sop_err *err)
{
    const uint8_t *from = bytes.data;
    if (bytes.len < SOP_EXTENT_HEADER_BYTES) {
        return SOP_ERR(err, DATA_LOSS, "at byte %zu: file ends inside its header", bytes.len);
    }
    if (sop_get_u64(from + SOP_EXTENT_AT_MAGIC) != SOP_EXTENT_MAGIC) {
        return SOP_ERR(err, DATA_LOSS, "at byte 0: no magic number");
    }
    if (sop_get_u32(from + SOP_EXTENT_AT_CRC) != header_crc(from)) {
        return SOP_ERR(err, DATA_LOSS, "at byte 0: header has a wrong CRC");
    }
    uint32_t version = sop_get_u32(from + SOP_EXTENT_AT_VERSION);
    if (version != SOP_REGISTRY_VERSION) {
        return SOP_ERR(err, VERSION,
                       "extent has format version %" PRIu32 ", this release reads %d", version,
                       SOP_REGISTRY_VERSION);
    }
    if (memcmp(from + SOP_EXTENT_AT_DATABASE, database_id, 16) != 0) {
        return SOP_ERR(err, DATA_LOSS, "at byte 16: extent belongs to another database");
    }
    *ref = (struct sop_extent_ref){
        .extent = sop_get_u64(from + SOP_EXTENT_AT_EXTENT),
        .lsn = get_lsn(from + SOP_EXTENT_AT_LSN),
        .member = sop_get_u64(from + SOP_EXTENT_AT_MEMBER),
    };
    return 0;
}

int sop_registry__extent_encode(const uint8_t database_id[16], const struct sop_extent *x,
                                const struct sop_extent_ref *ref, struct sop_buf *to,
                                struct sop_err *err)
{
    SOP_ASSERT(x->extent == ref->extent);
    uint8_t bitmap[SOP_EXTENT_SECTORS / 8] = {0};
    uint32_t used[SOP_EXTENT_SECTORS];
    size_t bytes = SOP_EXTENT_HEADER_BYTES;
    for (uint32_t i = 0; i < SOP_EXTENT_SECTORS; i++) {
        used[i] = handles_used(&x->handles[(size_t)i * SOP_SECTOR_HANDLES]);
        if (used[i] != 0) {
            bitmap[i / 8] |= (uint8_t)(1u << (i % 8));
            bytes += SOP_SECTOR_BYTES;
        }
    }
    sop_buf_clear(to);
    int rc = sop_buf_reserve(to, bytes, err);
    if (rc != 0) {
        return rc;
    }
    header_encode(database_id, ref, bitmap, to->data);
    to->len = SOP_EXTENT_HEADER_BYTES;
    for (uint32_t i = 0; i < SOP_EXTENT_SECTORS; i++) {
        if (used[i] != 0) {
            sector_encode(database_id, ref, i, &x->handles[(size_t)i * SOP_SECTOR_HANDLES],
                          used[i], to->data + to->len);
            to->len += SOP_SECTOR_BYTES;
        }
    }
    SOP_ASSERT(to->len == bytes);
    return 0;
}

/* Sector after sector, as the bitmap tells; what it does not name is free. */
static int sectors_decode(const uint8_t database_id[16], struct sop_slice bytes,
                          const struct sop_extent_ref *ref, struct sop_extent *x,
                          struct sop_err *err)
{
    size_t at = SOP_EXTENT_HEADER_BYTES;
    for (uint32_t i = 0; i < SOP_EXTENT_SECTORS; i++) {
        if ((bytes.data[SOP_EXTENT_AT_BITMAP + i / 8] >> (i % 8) & 1) == 0) {
            continue;
        }
        if (bytes.len - at < SOP_SECTOR_BYTES) {
            return SOP_ERR(err, DATA_LOSS, "at byte %zu: file ends inside sector %" PRIu32,
                           bytes.len, i);
        }
        int rc = sector_decode(database_id, ref, i, bytes.data + at,
                               &x->handles[(size_t)i * SOP_SECTOR_HANDLES], err);
        if (rc != 0) {
            return sop_err_wrap(err, rc, "at byte %zu", at);
        }
        at += SOP_SECTOR_BYTES;
    }
    if (at != bytes.len) {
        return SOP_ERR(err, DATA_LOSS, "at byte %zu: bytes that no sector accounts for", at);
    }
    return 0;
}

int sop_registry__extent_decode(const uint8_t database_id[16], struct sop_slice bytes,
                                struct sop_extent_ref *ref, struct sop_extent *x,
                                struct sop_err *err)
{
    int rc = header_decode(database_id, bytes, ref, err);
    if (rc != 0) {
        return rc;
    }
    if (!all_zero(bytes.data + SOP_EXTENT_AT_ZERO,
                  SOP_EXTENT_HEADER_BYTES - SOP_EXTENT_AT_ZERO)) {
        return SOP_ERR(err, DATA_LOSS, "at byte %d: header is not zero", SOP_EXTENT_AT_ZERO);
    }
    memset(x, 0, sizeof *x);
    x->extent = ref->extent;
    return sectors_decode(database_id, bytes, ref, x, err);
}
