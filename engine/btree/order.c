/* The order of a store's full keys. */
#include "engine/btree/order.h"

int sop_order_cmp(const struct sop_order *order, struct sop_slice a, struct sop_slice b)
{
    if (order->compare == NULL) {
        return sop_slice_cmp(a, b);
    }
    /* Keys without room for an item id are no keys of items but the smallest fence (empty). A
     * comparer never sees them, and they come first. */
    size_t id = order->id_bytes;
    bool a_whole = a.len > 0 && a.len >= id;
    bool b_whole = b.len > 0 && b.len >= id;
    if (!a_whole || !b_whole) {
        return a_whole != b_whole ? (a_whole ? 1 : -1) : sop_slice_cmp(a, b);
    }
    int cmp = order->compare(order->arg, sop_slice(a.data, a.len - id),
                             sop_slice(b.data, b.len - id));
    if (cmp != 0 || id == 0) {
        return cmp;
    }
    return memcmp(a.data + a.len - id, b.data + b.len - id, id);
}
