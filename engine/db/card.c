/* Making, keeping and finding cards; see card.h. */
#include "engine/db/card.h"

#include "engine/base/codec.h"
#include "engine/btree/keycode.h"

static int text_of(struct sop_slice from, char **out, struct sop_err *err)
{
    *out = sop_malloc(from.len + 1);
    if (*out == NULL) {
        return SOP_ERR(err, NOMEM, "open a store");
    }
    sop_copy(*out, from.data, from.len);
    (*out)[from.len] = 0;
    return 0;
}

static struct sop_card *card_alloc(struct sop_tree *tree, struct sop_err *err)
{
    struct sop_card *c = sop_calloc(1, sizeof *c);
    if (c == NULL) {
        (void)SOP_ERR(err, NOMEM, "open a store");
        return NULL;
    }
    atomic_store(&c->refs, 1);
    c->tree = tree;
    c->order = tree->order;
    return c;
}

int sop_card_new(struct sop_card **out, const char *name, struct sop_tree *tree,
                 struct sop_slice record, struct sop_err *err)
{
    *out = NULL;
    struct sop_card *c = card_alloc(tree, err);
    if (c == NULL) {
        return SOP_ERR_NOMEM;
    }
    int rc = sop_buf_append(&c->record, record.data, record.len, err);
    if (rc == 0) {
        rc = sop_catalog_decode(sop_buf_slice(&c->record), &c->facts, err);
    }
    if (rc == 0) {
        rc = text_of(sop_slice_str(name), &c->name, err);
    }
    if (rc == 0) {
        rc = text_of(c->facts.description, &c->description, err);
    }
    if (rc == 0) {
        rc = text_of(c->facts.blob_key, &c->blob_key, err);
    }
    if (rc == 0) {
        rc = text_of(c->facts.comparer, &c->comparer, err);
    }
    if (rc != 0) {
        sop_card_unref(c);
        return rc;
    }
    c->delimits =
        !tree->unique && tree->order.compare == NULL && sop_keycode_has_tail(&c->facts.key);
    *out = c;
    return 0;
}

int sop_card_new_catalog(struct sop_card **out, struct sop_tree *catalog, struct sop_err *err)
{
    *out = card_alloc(catalog, err);
    if (*out == NULL) {
        return SOP_ERR_NOMEM;
    }
    (*out)->facts.unique = true;
    return 0;
}

void sop_card_unref(struct sop_card *card)
{
    if (card == NULL || atomic_fetch_sub(&card->refs, 1) != 1) {
        return;
    }
    sop_buf_fini(&card->record);
    sop_free(card->name);
    sop_free(card->description);
    sop_free(card->blob_key);
    sop_free(card->comparer);
    sop_free(card);
}

void sop_cards_init(struct sop_cards *cards)
{
    memset(cards, 0, sizeof *cards);
    sop_mutex_init(&cards->mutex, SOP_RANK_LEAF);
}

void sop_cards_fini(struct sop_cards *cards)
{
    for (size_t i = 0; i < SOP_CARDS_KEPT; i++) {
        sop_card_unref(cards->kept[i]);
        cards->kept[i] = NULL;
    }
    sop_mutex_fini(&cards->mutex);
}

static struct sop_card **slot_of(struct sop_cards *cards, const char *name)
{
    uint32_t hash = sop_crc32c(name, strlen(name), 0);
    return &cards->kept[hash % SOP_CARDS_KEPT];
}

struct sop_card *sop_cards_find(struct sop_cards *cards, const char *name,
                                const struct sop_tree *catalog, uint64_t moment)
{
    struct sop_card **slot = slot_of(cards, name);
    sop_mutex_lock(&cards->mutex);
    struct sop_card *card = *slot;
    bool holds = card != NULL && strcmp(card->name, name) == 0;
    if (holds) {
        /* Asked after the card was taken: whoever kept it had seen what changed until then. A
         * change before that would be missed, and a state shown what comes after it. */
        uint64_t changed = atomic_load(&catalog->changed);
        holds = changed <= card->moment && changed <= moment;
    }
    if (holds) {
        atomic_fetch_add(&card->refs, 1);
    }
    sop_mutex_unlock(&cards->mutex);
    return holds ? card : NULL;
}

void sop_cards_keep(struct sop_cards *cards, struct sop_card *card)
{
    struct sop_card **slot = slot_of(cards, card->name);
    atomic_fetch_add(&card->refs, 1);
    sop_mutex_lock(&cards->mutex);
    struct sop_card *before = *slot;
    *slot = card;
    sop_mutex_unlock(&cards->mutex);
    sop_card_unref(before);
}
