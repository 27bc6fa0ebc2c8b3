/* Any bytes as an extent file: refused or parsed; what parses encodes to the same bytes. The
 * first byte: bit 0 gives header and sectors a right CRC, bit 1 also a right stamp, number and
 * count. */
#include "engine/base/codec.h"
#include "engine/registry/format.h"

#include <stdlib.h>

static const uint8_t database[16] = {9, 8, 7, 6, 5, 4, 3, 2, 1};

static uint32_t count_used(const uint8_t *sector)
{
    static const uint8_t zero[16];
    uint32_t used = 0;
    for (size_t i = 0; i < SOP_SECTOR_HANDLES; i++) {
        used += memcmp(sector + SOP_SECTOR_AT_HANDLES + i * SOP_HANDLE_BYTES, zero, 16) != 0;
    }
    return used;
}

static void mend_sector(const uint8_t *header, uint8_t *sector, uint32_t number, bool stamp)
{
    if (stamp) {
        memset(sector, 0, SOP_SECTOR_AT_HANDLES);
        sop_put_u32(sector + SOP_SECTOR_AT_MAGIC, SOP_SECTOR_MAGIC);
        memcpy(sector + SOP_SECTOR_AT_EXTENT, header + SOP_EXTENT_AT_EXTENT, 8);
        memcpy(sector + SOP_SECTOR_AT_LSN, header + SOP_EXTENT_AT_LSN, 16);
        memcpy(sector + SOP_SECTOR_AT_DATABASE, database, 8);
        memcpy(sector + SOP_SECTOR_AT_MEMBER, header + SOP_EXTENT_AT_MEMBER, 8);
        sop_put_u32(sector + SOP_SECTOR_AT_NUMBER, number);
        sop_put_u32(sector + SOP_SECTOR_AT_COUNT, count_used(sector));
    }
    sop_put_u32(
        sector + SOP_SECTOR_AT_CRC,
        sop_crc32c(sector + SOP_SECTOR_AT_EXTENT, SOP_SECTOR_BYTES - SOP_SECTOR_AT_EXTENT, 0));
}

/* Sectors follow the header in the order of the bits that are set. */
static void mend(uint8_t *bytes, size_t len, bool stamp)
{
    if (len < SOP_EXTENT_HEADER_BYTES) {
        return;
    }
    size_t at = SOP_EXTENT_HEADER_BYTES;
    for (uint32_t i = 0; i < SOP_EXTENT_SECTORS && len - at >= SOP_SECTOR_BYTES; i++) {
        if ((bytes[SOP_EXTENT_AT_BITMAP + i / 8] >> (i % 8) & 1) != 0) {
            mend_sector(bytes, bytes + at, i, stamp);
            at += SOP_SECTOR_BYTES;
        }
    }
    if (stamp) {
        sop_put_u64(bytes + SOP_EXTENT_AT_MAGIC, SOP_EXTENT_MAGIC);
        sop_put_u32(bytes + SOP_EXTENT_AT_VERSION, SOP_REGISTRY_VERSION);
        memcpy(bytes + SOP_EXTENT_AT_DATABASE, database, 16);
    }
    sop_put_u32(bytes + SOP_EXTENT_AT_CRC,
                sop_crc32c(bytes + SOP_EXTENT_AT_VERSION,
                           SOP_EXTENT_HEADER_BYTES - SOP_EXTENT_AT_VERSION, 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct sop_extent x;
    if (len == 0) {
        return 0;
    }
    uint8_t *bytes = malloc(len);
    if (bytes == NULL) {
        return 0;
    }
    memcpy(bytes, data + 1, len - 1);
    if ((data[0] & 1) != 0) {
        mend(bytes, len - 1, (data[0] & 2) != 0);
    }
    struct sop_extent_ref ref;
    struct sop_err err = {0};
    int rc = sop_registry__extent_decode(database, sop_slice(bytes, len - 1), &ref, &x, &err);
    if (rc == 0) {
        struct sop_buf again = {0};
        rc = sop_registry__extent_encode(database, &x, &ref, &again, &err);
        SOP_ASSERT(rc == 0);
        SOP_ASSERT(sop_slice_eq(sop_buf_slice(&again), sop_slice(bytes, len - 1)));
        sop_buf_fini(&again);
    } else {
        SOP_ASSERT(rc == SOP_ERR_DATA_LOSS || rc == SOP_ERR_VERSION);
    }
    free(bytes);
    return 0;
}
