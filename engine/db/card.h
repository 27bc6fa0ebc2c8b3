/* What the catalog says of a store, decoded once for all transactions that open it.
 *
 * A card is immutable and shared by reference. Cards of stores that are opened again and again
 * are kept, with the moment at which the catalog was read: as long as nothing in the catalog
 * has changed since, a card is as good as another look. */
#ifndef SOP_CARD_H
#define SOP_CARD_H

#include "engine/db/catalog.h"
#include "engine/txn/tree.h"

#include <stdatomic.h>

struct sop_card {
    _Atomic uint32_t refs;
    uint64_t moment; /* at which the catalog said so; set before it is shared */
    struct sop_tree *tree;
    struct sop_order order;
    bool delimits;                                  /* user keys and stored keys differ */
    struct sop_buf record;                          /* encoded */
    struct sop_catalog_record facts;                /* slices into record */
    char *name, *description, *blob_key, *comparer; /* NUL-terminated copies */
};

/* A card with one reference. DATA_LOSS: the record is damaged. */
int sop_card_new(struct sop_card **out, const char *name, struct sop_tree *tree,
                 struct sop_slice record, struct sop_err *err) SOP_MUST_USE;
/* A card for the catalog itself, which no record describes. */
int sop_card_new_catalog(struct sop_card **out, struct sop_tree *catalog,
                         struct sop_err *err) SOP_MUST_USE;
void sop_card_unref(struct sop_card *card);

#define SOP_CARDS_KEPT 64u
/* Any thread. */
struct sop_cards {
    struct sop_mutex mutex;
    struct sop_card *kept[SOP_CARDS_KEPT]; /* by a hash of the name */
};
void sop_cards_init(struct sop_cards *cards);
void sop_cards_fini(struct sop_cards *cards);
/* The card of a name if it holds at `moment`, with a reference for the caller; or NULL. */
struct sop_card *sop_cards_find(struct sop_cards *cards, const char *name,
                                const struct sop_tree *catalog, uint64_t moment);
/* Keeps a card, instead of the one that was kept in its place. */
void sop_cards_keep(struct sop_cards *cards, struct sop_card *card);

#endif
