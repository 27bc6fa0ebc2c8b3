/* Plain values shared by the public API and the engine. */
#ifndef SOP_TYPES_H
#define SOP_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Borrowed bytes: never freed through the slice. data may be NULL only when len is 0. */
struct sop_slice {
    const uint8_t *data;
    size_t len;
};

/* A position in the history of a database: record `record` of slot `slot`. Ordered
 * lexicographically. {0, 0} is the state before anything was written. */
struct sop_lsn {
    uint64_t slot;
    uint64_t record;
};

/* Identity of an item in a non-unique store; compares by memcmp in insertion order.
 * All zero in unique stores, where the key is the identity. */
#define SOP_ITEM_ID_BYTES 24
struct sop_item_id {
    uint8_t bytes[SOP_ITEM_ID_BYTES];
};

/* Identity of a transaction in history, for sop_txn_status(). */
struct sop_txn_id {
    uint64_t member; /* slot of the member's JOIN */
    uint64_t batch;  /* the member's batch number */
    uint32_t index;  /* place inside the batch */
};

#ifdef __cplusplus
}
#endif
#endif
