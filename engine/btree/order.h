/* The order of a store's full keys. */
#ifndef SOP_ORDER_H
#define SOP_ORDER_H

#include "engine/base/base.h"

/* Registered comparer: total order of two user keys (without item ids); <0, 0, >0. Must be
 * deterministic and thread-safe, and never change for a store. */
typedef int (*sop_compare_fn)(void *arg, struct sop_slice a, struct sop_slice b);

/* compare NULL: memcmp order of full keys. Otherwise keys compare by `compare` on all but
 * their last id_bytes bytes, ties by memcmp of those (id_bytes is 0 or SOP_ITEM_ID_BYTES). The
 * empty full key is the smallest fence and comes first without asking the comparer, as does any
 * key shorter than id_bytes. */
struct sop_order {
    sop_compare_fn compare;
    void *arg;
    uint32_t id_bytes;
};
int sop_order_cmp(const struct sop_order *order, struct sop_slice a, struct sop_slice b);

#endif
