/* The catalog: the store that says which stores there are. Its keys are their names. */
#ifndef SOP_CATALOG_H
#define SOP_CATALOG_H

#include "engine/txn/tree.h"
#include "sop/sop.h"

/* What the catalog says of a store. Strings and custom point into the record or are owned by
 * the caller of encode. */
struct sop_catalog_record {
    uint64_t id;
    uint64_t root;
    bool unique;
    uint32_t slot_length;
    uint8_t values;
    struct sop_key_schema key;
    struct sop_slice comparer, description, blob_key, custom;
    uint32_t cache_page_seconds, cache_value_seconds, cache_info_seconds;
};
int sop_catalog_encode(const struct sop_catalog_record *r, struct sop_buf *to,
                       struct sop_err *err) SOP_MUST_USE;
int sop_catalog_decode(struct sop_slice from, struct sop_catalog_record *r,
                       struct sop_err *err) SOP_MUST_USE;
/* The engine's describe callback; arg = struct sop_db. */
int sop_catalog_describe(void *arg, struct sop_slice info, struct sop_tree *tree,
                         struct sop_err *err);

#endif
