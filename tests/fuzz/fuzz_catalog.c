/* Any bytes as a record of the catalog: refused, or decoded to what encodes to a record that
 * decodes to the same again. */
#include "engine/db/db_int.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sop_catalog_record r;
    struct sop_err err = {0};
    uint8_t *copy = malloc(len + 1);
    if (copy == NULL) {
        return 0;
    }
    memcpy(copy, data, len);
    int rc = sop_catalog_decode(sop_slice(copy, len), &r, &err);
    if (rc == 0) {
        struct sop_buf once = {0};
        struct sop_buf twice = {0};
        struct sop_catalog_record again;
        rc = sop_catalog_encode(&r, &once, &err);
        SOP_ASSERT(rc == 0);
        rc = sop_catalog_decode(sop_buf_slice(&once), &again, &err);
        SOP_ASSERT(rc == 0 && again.id == r.id && again.root == r.root &&
                   again.unique == r.unique && again.slot_length == r.slot_length &&
                   again.values == r.values && sop_slice_eq(again.comparer, r.comparer) &&
                   sop_slice_eq(again.custom, r.custom));
        rc = sop_catalog_encode(&again, &twice, &err);
        SOP_ASSERT(rc == 0 && sop_slice_eq(sop_buf_slice(&once), sop_buf_slice(&twice)));
        sop_buf_fini(&once);
        sop_buf_fini(&twice);
    } else {
        SOP_ASSERT(rc == SOP_ERR_DATA_LOSS || rc == SOP_ERR_VERSION || rc == SOP_ERR_INVALID);
    }
    free(copy);
    return 0;
}
