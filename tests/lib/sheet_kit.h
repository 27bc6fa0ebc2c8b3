/* A plain model of sheets: items in a sorted array, made at random in many shapes, and the
 * images that should say the same. */
#ifndef TEST_SHEET_KIT_H
#define TEST_SHEET_KIT_H

#include "engine/btree/sheet.h"

/* Small, fast, the same everywhere: splitmix64. */
struct kit_rng {
    uint64_t state;
};
uint64_t kit_next(struct kit_rng *r);
/* 0 .. below - 1 */
uint32_t kit_below(struct kit_rng *r, uint32_t below);

/* What keys look like. */
enum kit_shape {
    KIT_NUMBERS, /* 8 bytes big-endian, dense */
    KIT_SHORT, /* 0..4 bytes of few letters and zeros: heads tie, suffixes are shorter than 8 */
    KIT_ZEROS, /* 0..20 zero bytes, sometimes with an end */
    KIT_PREFIX, /* long shared prefixes, tails of 0..12 bytes */
    KIT_RANDOM, /* 0..24 random bytes */
    KIT_HIGH,   /* bytes 0xff: the greatest head */
    KIT_LONG,   /* up to 64 KiB, few differences, some at the end */
    KIT_SHAPES,
};

/* How keys are ordered. */
enum kit_ordering {
    KIT_MEMCMP,
    KIT_COMPARER,     /* shorter first, then the greater bytes first */
    KIT_COMPARER_IDS, /* the same, then item ids */
    KIT_ORDERINGS,
};
const struct sop_order *kit_order(enum kit_ordering ordering);

/* A key; free with sop_buf_fini. */
struct sop_buf kit_key(struct kit_rng *r, enum kit_shape shape, enum kit_ordering ordering);

struct kit_item {
    struct sop_buf key;
    struct sop_buf ride;
    struct sop_buf value;
    enum sop_value_kind kind;
};
/* Sorted, keys differ. */
struct kit_model {
    const struct sop_order *order;
    struct kit_item *items;
    uint32_t count;
    uint32_t room;
};
void kit_model_init(struct kit_model *m, enum kit_ordering ordering);
void kit_model_fini(struct kit_model *m);
/* First index with a key >= key. */
uint32_t kit_model_bound(const struct kit_model *m, struct sop_slice key, bool *exact);
/* A copy of the item is put in, or replaces the one with its key. */
void kit_model_put(struct kit_model *m, const struct kit_item *item);
void kit_model_remove(struct kit_model *m, uint32_t i);
/* About `count` random items; tombstones only if `run`; within the fences of meta. */
void kit_model_fill(struct kit_model *m, struct kit_rng *r, enum kit_shape shape,
                    enum kit_ordering ordering, uint32_t count,
                    const struct sop_sheet_meta *meta);
/* Does a slice of the model look like the item? */
bool kit_same(const struct kit_item *a, const struct sop_item *b);

/* The image of a model; free image.data with sop_free. Aborts without memory. */
struct sop_slice kit_image(const struct kit_model *m, const struct sop_sheet_meta *meta);
/* Puts right whatever the checks refuse before they look at the body: magic, version, sizes,
 * CRCs. Images shorter than the smallest sheet are left alone. */
void kit_mend(uint8_t *image, size_t bytes);
/* And the guide, by heads and offsets as they are, if they fit. After kit_mend. */
void kit_guide(uint8_t *image, size_t bytes);

/* A look-up by way of the front and single chunks of an image, each in a block of its own that
 * is no longer than it must be. */
struct kit_part {
    struct sop_slice image;
    uint8_t *front_block;
    struct sop_front front;
    uint8_t *chunk;  /* of the newest look-up */
    uint32_t pieces; /* that it read */
};
/* False: the front is refused, and there is nothing to end. */
bool kit_part_init(struct kit_part *p, struct sop_slice image);
void kit_part_fini(struct kit_part *p);
/* FOUND (*item is good until the next look-up), ABSENT, or BAD: a cell or a CRC is. */
enum sop_chunk_answer kit_part_find(struct kit_part *p, struct sop_slice key,
                                    struct sop_item *item);

/* A random stack, newest first, and what it should show. */
struct kit_stack {
    struct kit_model models[8];
    struct sop_sheet_meta metas[8];
    struct sop_slice images[8];
    struct sop_sheet sheets[8];
    const struct sop_sheet *views[8];
    uint32_t count;
    struct sop_sheet_meta meta; /* fences that a reader restricts the stack to */
    struct sop_buf fences[4];
    struct kit_model shown; /* what a walk should show, without tombstones */
    struct kit_model kept;  /* the same with tombstones */
    enum kit_shape shape;
    enum kit_ordering ordering;
};
void kit_stack_init(struct kit_stack *s, uint64_t seed);
void kit_stack_fini(struct kit_stack *s);

#endif
