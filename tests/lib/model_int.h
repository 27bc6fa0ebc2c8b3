/* Shared by the files of the model. */
#ifndef SOP_TEST_MODEL_INT_H
#define SOP_TEST_MODEL_INT_H

#include "tests/lib/model.h"

void *model_alloc(size_t bytes);
void model_append(struct sop_buf *to, const void *data, size_t len);
void model_set(struct sop_buf *to, struct sop_slice from);
uint64_t model_hash(uint64_t seed, const void *data, size_t len);

struct model_item *model_item_new(const struct model_place *place, struct sop_slice ride,
                                  uint64_t value_seed, uint32_t value_bytes);
void model_item_unref(struct model_item *item);
/* Takes the item; replaces one at its place. */
void model_map_put(struct model_store *s, struct model_item *item);
void model_map_remove(struct model_store *s, uint32_t at);

int model_key_cmp(const struct model_facts *f, struct sop_slice a, struct sop_slice b);
int model_place_cmp(const struct model_facts *f, const struct model_place *a,
                    const struct model_place *b);

struct model_store *model_store_new(const struct model_facts *facts);
void model_store_unref(struct model_store *s);
/* The store under a name of an own state as one's own, to be changed. */
struct model_store *model_store_own(struct model_state *state, uint32_t name);
struct model_state *model_state_copy(const struct model_state *from);

/* low, high NULL: from the first, to the last. */
void model_note_read(struct model_view *v, const struct model_store *s,
                     const struct model_place *low, const struct model_place *high);
/* Before the change is made. blind: whatever was there does not matter. */
void model_note_change(struct model_view *v, const struct model_store *s, uint32_t name,
                       const struct model_place *place, bool blind);

#endif
