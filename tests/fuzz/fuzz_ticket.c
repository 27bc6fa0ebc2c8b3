/* Bytes as a ticket: refused, or decoded to something that encodes to the same head. The CRC is
 * mended so that the fuzzer gets past it. */
#include "engine/base/codec.h"
#include "engine/chain/format.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct sop_slice head)
{
    struct sop_ticket t;
    uint32_t crc;
    if (sop_ticket_decode(head, &t, &crc, NULL) != 0) {
        return;
    }
    size_t len = sop_ticket_head_bytes(head);
    uint64_t at = t.copies_at;
    struct sop_buf again = {0};
    if (sop_ticket_encode(&t, &again, NULL) == 0 && at == t.copies_at) {
        SOP_ASSERT(again.len >= len && memcmp(again.data, head.data, len) == 0);
    }
    sop_buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(sop_slice(data, size));
    uint8_t *copy = malloc(size + 1);
    if (copy != NULL && size >= SOP_TICKET_HEADER_BYTES) {
        memcpy(copy, data, size);
        sop_put_u32(copy, SOP_TICKET_MAGIC);
        sop_put_u16(copy + 8, SOP_TICKET_VERSION);
        sop_put_u32(copy + 16, (uint32_t)size);
        size_t head = sop_ticket_head_bytes(sop_slice(copy, size));
        if (head != 0) {
            sop_put_u32(copy + 4, sop_crc32c(copy + 8, head - 8, 0));
        }
        check(sop_slice(copy, size));
    }
    if (size >= SOP_BLOCK_BYTES) {
        struct sop_beat beat;
        (void)sop_beat_decode(data, &beat);
        struct sop_flag_name name = {.kind = SOP_FLAG_GATE};
        (void)sop_flag_state(&name, data);
    }
    free(copy);
    return 0;
}
