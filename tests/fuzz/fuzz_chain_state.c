/* Bytes as a chain state: refused, or decoded to a view that keeps its invariants and encodes
 * to a state that decodes to the same again. The CRC is mended. */
#include "engine/base/codec.h"
#include "engine/chain/chain_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct sop_slice state)
{
    struct sop_chain_view v;
    if (sop_chain__view_decode(&v, state, NULL) != 0) {
        return;
    }
    sop_chain__view_check(&v);
    struct sop_buf again = {0};
    if (sop_chain__view_encode(&v, &again, NULL) == 0) {
        SOP_ASSERT(sop_slice_eq(sop_buf_slice(&again), state));
    }
    sop_buf_fini(&again);
    sop_chain__view_fini(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    if (copy != NULL && size >= 16) {
        memcpy(copy, data, size);
        sop_put_u32(copy, 0x53504f53u);
        sop_put_u16(copy + 8, 1);
        sop_put_u32(copy + 4, sop_crc32c(copy + 8, size - 8, 0));
        check(sop_slice(copy, size));
    }
    free(copy);
    return 0;
}
