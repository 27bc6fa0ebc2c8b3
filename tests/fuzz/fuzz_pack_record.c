/* Any bytes as a pack file: scans, salvage and reads refuse or parse. The first byte tells how
 * much of the damage is undone, so that more than the CRC is reached: bit 0 gives each header
 * found at a multiple of 64 a right CRC, bit 1 its own place, bit 2 the database. A header that
 * decodes must encode to the bytes it came from. */
#include "engine/base/codec.h"
#include "engine/pack/format.h"
#include "engine/volume/sim.h"

#include <stdlib.h>

static const uint8_t database[16] = {1, 2, 3, 4, 5, 6, 7, 8};

static void mend(uint8_t *bytes, size_t len, unsigned how)
{
    for (size_t at = 0; at + SOP_PACK_HEADER_BYTES <= len; at += 64) {
        uint8_t *h = bytes + at;
        if (sop_get_u32(h + SOP_PACK_AT_MAGIC) != SOP_PACK_MAGIC) {
            continue;
        }
        if ((how & 2) != 0) {
            memset(h + SOP_PACK_AT_MEMBER, 0, 6);
            h[SOP_PACK_AT_MEMBER] = 7;
            sop_put_u32(h + SOP_PACK_AT_FILE, 1);
            sop_put_u64(h + SOP_PACK_AT_OFFSET, at);
        }
        if ((how & 4) != 0) {
            memcpy(h + SOP_PACK_AT_DATABASE, database, 8);
        }
        if ((how & 1) != 0) {
            sop_put_u32(
                h + SOP_PACK_AT_CRC,
                sop_crc32c(h + SOP_PACK_AT_TYPE, SOP_PACK_HEADER_BYTES - SOP_PACK_AT_TYPE, 0));
        }
    }
}

static void check_headers(const uint8_t *bytes, size_t len)
{
    for (size_t at = 0; at + SOP_PACK_HEADER_BYTES <= len; at += 8) {
        struct sop_pack_header h;
        uint8_t again[SOP_PACK_HEADER_BYTES];
        if (sop_pack__header_decode(bytes + at, &h, NULL) == 0) {
            sop_pack__header_encode(&h, again);
            SOP_ASSERT(memcmp(again, bytes + at, sizeof again) == 0);
        }
    }
}

static int read_it(void *arg, const struct sop_pack_owner *owner, const struct sop_place *place,
                   struct sop_err *err)
{
    struct sop_packs *p = arg;
    struct sop_buf buf = {0};
    uint8_t one;
    if (owner->type == SOP_PACK_VALUE) { /* so that the key's bytes are touched */
        (void)sop_crc32c(owner->key.data, owner->key.len, 0);
    }
    int rc = sop_packs_read(p, place, owner->type, &buf, err);
    SOP_ASSERT(rc != 0 || buf.len == place->bytes);
    if (place->bytes != 0) {
        int rc_one = sop_packs_read_range(p, place, place->bytes - 1, &one, 1, err);
        SOP_ASSERT(rc != 0 || (rc_one == 0 && one == buf.data[buf.len - 1]));
    }
    sop_buf_fini(&buf);
    return 0;
}

static int gap(void *arg, uint64_t from, uint64_t until, struct sop_err *err)
{
    (void)arg;
    (void)err;
    SOP_ASSERT(from < until);
    return 0;
}

static void need(bool fact)
{
    if (!fact) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0) {
        return 0;
    }
    uint8_t *bytes = malloc(len);
    need(bytes != NULL);
    memcpy(bytes, data + 1, len - 1);
    mend(bytes, len - 1, data[0]);
    check_headers(bytes, len - 1);

    struct sop_volume *v = NULL;
    struct sop_packs *p = NULL;
    need(sop_volume_sim_new(&v, NULL) == 0);
    need(sop_volume_mkdir(v, "packs", NULL) == 0 && sop_volume_mkdir(v, "packs/7", NULL) == 0);
    need(sop_volume_write_file(v, "packs/7/1", sop_slice(bytes, len - 1), NULL) == 0);
    need(sop_packs_open(&p, v, sop_env_system(), database, 0, NULL) == 0);
    struct sop_err err = {0};
    int rc = sop_packs_scan(p, 7, 1, false, read_it, p, &err);
    need(rc == 0 || rc == SOP_ERR_DATA_LOSS || rc == SOP_ERR_VERSION);
    rc = sop_packs_salvage(p, 7, 1, read_it, gap, p, &err);
    need(rc == 0 || rc == SOP_ERR_VERSION);
    sop_packs_close(&p);
    sop_volume_destroy(v);
    free(bytes);
    return 0;
}
