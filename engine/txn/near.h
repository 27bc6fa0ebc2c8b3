/* The leaf near which a transaction looks keys up.
 *
 * Neighbours are looked up one after the other more often than not. A leaf that was asked for
 * twice running is held: its sheets stay in memory, so that further look-ups in it need neither
 * a descent nor an epoch. What covers a key at a pinned moment never changes, so a held leaf is
 * right as long as its transaction reads at that moment. One thread. */
#ifndef SOP_NEAR_H
#define SOP_NEAR_H

#include "engine/cache/page.h"

/* All zero: nothing is held. */
struct sop_near {
    uint64_t page; /* of the newest look-up that went down the tree */
    bool inside;   /* what lies between two keys of sheets[0] lies between the fences */
    bool has_high;
    uint32_t at; /* where the newest look-up ended in sheets[0] */
    const struct sop_sheet *sheets[SOP_LAYERS_MAX];
    struct sop_hold hold; /* count 0: nothing is held */
    struct sop_buf low, high;
};
/* Gives up what is held. */
void sop_near_fini(struct sop_near *n);
/* A look-up went down to this leaf. Inside an epoch. Holding it fails in silence: then the next
 * look-up goes down again. */
void sop_near_note(struct sop_near *n, struct sop_version *leaf);
/* false: the key lies elsewhere, as far as is known. true: *found and *item as of
 * sop_version_find; the item lives until the next sop_near_note or sop_near_fini, and beyond it
 * inside an epoch. Needs no epoch. */
bool sop_near_find(struct sop_near *n, const struct sop_order *order, struct sop_slice key,
                   bool *found, struct sop_item *item);

#endif
