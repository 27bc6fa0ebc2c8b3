/* Bodies in packs for tests of the cache: sheets whose keys and values can be told from their
 * numbers, on a faulty volume. */
#ifndef SOP_TESTS_CACHE_KIT_H
#define SOP_TESTS_CACHE_KIT_H

#include "engine/cache/cache.h"
#include "tests/lib/pack_kit.h"

#include <check.h>

enum { CACHE_KIT_ITEMS = 1000, CACHE_KIT_BODIES_MAX = 64, CACHE_KIT_VALUE = 100 };

struct cache_kit {
    struct kit packs;
    struct sop_epochs epochs;
    struct sop_epoch_slot *slot;
    struct sop_cache cache;
    struct sop_order order; /* plain */
    struct sop_body *bodies[CACHE_KIT_BODIES_MAX];
    uint32_t count;
};

/* Key 2i of sheet b is there, key 2i + 1 is not. Spread evenly, as random keys are. */
static inline struct sop_slice cache_kit_key(uint8_t to[16], uint32_t b, uint32_t i)
{
    uint64_t head = __builtin_bswap64((uint64_t)i << 40 | 77);
    uint64_t rest = (uint64_t)b * 1000003 + i;
    memcpy(to, &head, 8);
    memcpy(to + 8, &rest, 8);
    return sop_slice(to, 16);
}

static inline void cache_kit_value(uint8_t to[CACHE_KIT_VALUE], uint32_t b, uint32_t i)
{
    for (uint32_t k = 0; k < CACHE_KIT_VALUE; k++) {
        to[k] = (uint8_t)(b * 31 + i * 7 + k);
    }
}

/* A sheet of so many items that says it is of page b + 1; free with sop_free. */
static inline struct sop_slice cache_kit_image(const struct sop_order *order, uint32_t b,
                                               uint32_t items)
{
    struct sop_sheet_maker maker;
    struct sop_slice image;
    struct sop_sheet_meta meta = {.store = 3, .page = b + 1};
    sop_sheet_maker_init(&maker, order);
    for (uint32_t i = 0; i < items; i++) {
        uint8_t key[16];
        uint8_t value[CACHE_KIT_VALUE];
        cache_kit_value(value, b, 2 * i);
        struct sop_item item = {.suffix = cache_kit_key(key, b, 2 * i),
                                .value = sop_slice(value, sizeof value)};
        ck_assert_int_eq(sop_sheet_maker_add(&maker, &item, NULL), 0);
    }
    ck_assert_int_eq(sop_sheet_maker_finish(&maker, &meta, &image, NULL), 0);
    sop_sheet_maker_fini(&maker);
    return image;
}

static inline void cache_kit_add(struct cache_kit *k, struct sop_slice image, uint64_t page)
{
    struct sop_err err = {0};
    struct sop_place place;
    struct sop_pack_owner owner = kit_sheet(page);
    OK(sop_packs_append(k->packs.packs, &owner, image, &place, &err));
    OK(sop_body_at(&k->bodies[k->count++], &k->cache, &k->order, &place, &err));
}

static inline void cache_kit_init(struct cache_kit *k, uint32_t bodies, uint64_t budget)
{
    memset(k, 0, sizeof *k);
    k->packs = kit_init();
    sop_epochs_init(&k->epochs);
    sop_cache_init(&k->cache, &k->epochs, k->packs.packs, budget);
    k->slot = sop_epoch_take(&k->epochs);
    ck_assert_ptr_nonnull(k->slot);
    for (uint32_t b = 0; b < bodies; b++) {
        struct sop_slice image = cache_kit_image(&k->order, b, CACHE_KIT_ITEMS);
        cache_kit_add(k, image, b + 1);
        sop_free((void *)(uintptr_t)image.data);
    }
}

/* Nothing may be charged when all is gone. */
static inline void cache_kit_fini(struct cache_kit *k)
{
    for (uint32_t b = 0; b < k->count; b++) {
        sop_body_unref(k->bodies[b]);
    }
    sop_epoch_give(&k->epochs, k->slot);
    sop_epochs_fini(&k->epochs);
    ck_assert_uint_eq(atomic_load(&k->cache.used_bytes), 0);
    sop_cache_fini(&k->cache);
    kit_fini(&k->packs);
}

/* Looks key i of body b up as a version does, inside an epoch; verifies what is found. */
static inline int cache_kit_find(struct cache_kit *k, struct sop_epoch_slot *slot, uint32_t b,
                                 uint32_t i, struct sop_err *err)
{
    uint8_t bytes[16];
    uint8_t value[CACHE_KIT_VALUE];
    struct sop_slice key = cache_kit_key(bytes, b, i);
    struct sop_item item;
    bool exact = false;
    int rc = 0;
    cache_kit_value(value, b, i);
    sop_epoch_enter(&k->epochs, slot);
    const struct sop_sheet *sheet = sop_body_resident(k->bodies[b]);
    if (sheet != NULL) {
        uint32_t at = sop_sheet_seek(sheet, &k->order, key, &exact);
        if (exact) {
            item = sop_sheet_item(sheet, at);
        }
    } else {
        rc = sop_body_find(k->bodies[b], key, &exact, &item, err);
    }
    if (rc == 0) {
        ck_assert_int_eq(exact, i % 2 == 0);
        ck_assert(!exact || sop_slice_eq(item.value, sop_slice(value, sizeof value)));
    }
    sop_epoch_leave(slot);
    return rc;
}

#endif
