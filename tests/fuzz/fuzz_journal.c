/* Bytes as a journal file: the cursor must neither crash nor read a record that does not fit.
 * The first byte chooses how headers are mended, so that the fuzzer gets past their CRCs. */
#include "engine/base/codec.h"
#include "engine/journal/journal.h"
#include "engine/volume/sim.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t nonce[SOP_NONCE_BYTES] = "fuzzing journals";

/* Makes a record's header valid but for what the input says, if asked to: one in each block, or
 * (how & 4) wherever the one before may be followed by one. */
static void mend(uint8_t *file, size_t len, uint8_t how)
{
    uint64_t record = 1;
    size_t step;
    for (size_t at = 0; at < len && len - at >= SOP_JOURNAL_HEADER_BYTES; at += step) {
        uint8_t *p = file + at;
        step = SOP_BLOCK_BYTES;
        if ((how & 1) != 0) {
            sop_put_u32(p, SOP_JOURNAL_MAGIC);
            sop_put_u16(p + 8, SOP_JOURNAL_VERSION);
            memcpy(p + 16, nonce, sizeof nonce);
            sop_put_u64(p + 32, 1);
            sop_put_u64(p + 40, record++);
            sop_put_u32(p + 88, 1);
            sop_put_u32(p + 92, 0);
            sop_put_u64(p + 96, at);
            memset(p + 104, 0, 24);
        }
        uint64_t payload = sop_get_u64(p + 80);
        if ((how & 4) != 0 && payload < len) {
            step = (size_t)sop_journal_record_bytes(payload);
        }
        if ((how & 2) != 0 && payload <= len - at - SOP_JOURNAL_HEADER_BYTES) {
            sop_put_u32(p + 12, sop_crc32c(p + SOP_JOURNAL_HEADER_BYTES, payload, 0));
        }
        sop_put_u32(p + 4, sop_crc32c(p + 8, SOP_JOURNAL_HEADER_BYTES - 8, 0));
    }
}

static void read_all(struct sop_volume *v)
{
    struct sop_journal_start start = {.tenure = 1, .record = 1, .place = {.file = 1}};
    memcpy(start.nonce, nonce, sizeof start.nonce);
    struct sop_journal_cursor c;
    sop_journal_cursor_init(&c, v, "j", &start);
    struct sop_journal_record r;
    uint64_t expected = 1;
    int rc;
    while ((rc = sop_journal_cursor_next(&c, &r, NULL)) == 0) {
        SOP_ASSERT(r.header.record == expected++);
        SOP_ASSERT(sop_crc32c(r.payload.data, r.payload.len, 0) == r.header.payload_crc);
    }
    if (rc == SOP_ERR_END) {
        uint64_t lac;
        rc = sop_journal_cursor_scan(&c, &lac, NULL);
        SOP_ASSERT(rc == 0);
    }
    sop_journal_cursor_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sop_volume *v;
    if (size < 1 || sop_volume_sim_new(&v, NULL) != 0) {
        return 0;
    }
    size_t len = size - 1;
    uint8_t *file = malloc(len + 1);
    if (file != NULL) {
        memcpy(file, data + 1, len);
        mend(file, len, data[0]);
        if (sop_volume_mkdir(v, "j", NULL) == 0 &&
            sop_volume_write_file(v, "j/1", sop_slice(file, len), NULL) == 0) {
            read_all(v);
        }
        free(file);
    }
    sop_volume_destroy(v);
    return 0;
}
