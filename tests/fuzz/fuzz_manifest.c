/* Any bytes as a manifest: refused or parsed; what parses encodes to the same bytes. If the
 * first byte is odd, magic, length and CRC are made right first. */
#include "engine/base/codec.h"
#include "engine/registry/format.h"

#include <stdlib.h>

static void mend(uint8_t *bytes, size_t len)
{
    if (len < SOP_MANIFEST_HEADER_BYTES) {
        return;
    }
    sop_put_u64(bytes + SOP_MANIFEST_AT_MAGIC, SOP_MANIFEST_MAGIC);
    sop_put_u64(bytes + SOP_MANIFEST_AT_BYTES, len);
    sop_put_u32(bytes + SOP_MANIFEST_AT_CRC,
                sop_crc32c(bytes + SOP_MANIFEST_AT_VERSION, len - SOP_MANIFEST_AT_VERSION, 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0) {
        return 0;
    }
    uint8_t *bytes = malloc(len);
    if (bytes == NULL) {
        return 0;
    }
    memcpy(bytes, data + 1, len - 1);
    if ((data[0] & 1) != 0) {
        mend(bytes, len - 1);
    }
    struct sop_manifest m;
    struct sop_err err = {0};
    int rc = sop_manifest_decode(sop_slice(bytes, len - 1), &m, &err);
    if (rc == 0) {
        struct sop_buf again = {0};
        rc = sop_manifest_encode(&m, &again, &err);
        SOP_ASSERT(rc == 0);
        SOP_ASSERT(sop_slice_eq(sop_buf_slice(&again), sop_slice(bytes, len - 1)));
        sop_buf_fini(&again);
        sop_manifest_fini(&m);
    } else {
        SOP_ASSERT(rc == SOP_ERR_DATA_LOSS || rc == SOP_ERR_VERSION);
        SOP_ASSERT(m.extents == NULL && m.chain_state.data == NULL);
    }
    free(bytes);
    return 0;
}
