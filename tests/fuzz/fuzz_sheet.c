/* sop_sheet_check on any bytes; what it accepts is walked and searched everywhere.
 *
 * Then the same bytes by way of their front and single pieces: what the whole has they must
 * have, too, and otherwise do no harm.
 *
 * The first byte of the input says how: bit 0: put sizes and checksums right first, so that the
 * rest is reached; bit 1: the order has a comparer; bit 2: check the order of the keys, too;
 * bit 3: put the guide right, too. */
#include "engine/btree/format.h"
#include "tests/lib/sheet_kit.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads the ends of a slice, so that the sanitizer sees where it lies. */
static void touch(struct sop_slice s)
{
    if (s.len > 0) {
        (void)*(const volatile uint8_t *)s.data;
        (void)*(const volatile uint8_t *)(s.data + s.len - 1);
    }
}

/* A search must end, whatever the order of the keys. */
static void search(const struct sop_sheet *s, const struct sop_order *order, bool ordered)
{
    for (uint32_t i = 0; i < s->count; i++) {
        struct sop_item item = sop_sheet_item(s, i);
        struct sop_buf key = {0};
        bool exact;
        touch(item.prefix);
        touch(item.suffix);
        touch(item.ride);
        touch(item.value);
        if (sop_item_key(&item, &key, NULL) != 0) {
            abort();
        }
        uint32_t at = sop_sheet_seek(s, order, sop_buf_slice(&key), &exact);
        if (at > s->count || (ordered && (at != i || !exact)) ||
            (exact && sop_sheet_cmp(s, order, at, sop_buf_slice(&key)) != 0)) {
            abort();
        }
        sop_buf_fini(&key);
    }
}

static void walk(const struct sop_sheet *s, const struct sop_order *order,
                 uint32_t sheets_count)
{
    const struct sop_sheet *views[3] = {s, s, s};
    struct sop_walk w;
    uint32_t seen[2] = {0, 0};
    sop_walk_init(&w, order, views, sheets_count, s->low, s->high, s->has_high, true);
    for (bool on = sop_walk_first(&w); on; on = sop_walk_next(&w)) {
        seen[0]++;
    }
    for (bool on = sop_walk_last(&w); on; on = sop_walk_prev(&w)) {
        seen[1]++;
    }
    if (seen[0] > s->count * sheets_count || (sheets_count == 1 && seen[0] != s->count) ||
        (sheets_count == 1 && seen[1] != s->count)) {
        abort();
    }
}

/* The sheet under itself gives the items of the sheet, if its keys ascend. */
static void merge(const struct sop_sheet *s, const struct sop_order *order)
{
    const struct sop_sheet *views[2] = {s, s};
    struct sop_sheet_meta meta = {
        .run = true, .low = s->low, .high = s->high, .has_high = s->has_high};
    struct sop_slice image;
    uint32_t items;
    if (sop_stack_merge(views, 2, order, &meta, &image, &items, NULL) != 0) {
        return;
    }
    struct sop_sheet got;
    if (sop_sheet_check(image, order, &got, NULL) != 0 || got.count != s->count) {
        abort();
    }
    sop_free((void *)(uintptr_t)image.data);
}

/* Keys of the sheet if it passed, else whatever lies in the image. */
static void parts(struct sop_slice image, const struct sop_sheet *s)
{
    struct kit_part p;
    struct sop_item got;
    struct sop_buf key = {0};
    if (!kit_part_init(&p, image)) {
        if (s != NULL) {
            abort();
        }
        return;
    }
    touch(p.front.sheet.low);
    touch(p.front.sheet.high);
    uint32_t count = p.front.sheet.compared ? 0 : s != NULL ? s->count : 64;
    for (uint32_t i = 0; i < count; i++) {
        if (s != NULL) {
            struct sop_item item = sop_sheet_item(s, i);
            if (sop_item_key(&item, &key, NULL) != 0 ||
                kit_part_find(&p, sop_buf_slice(&key), &got) != SOP_CHUNK_FOUND ||
                !sop_slice_eq(item.value, got.value) || !sop_slice_eq(item.ride, got.ride) ||
                item.kind != got.kind) {
                abort();
            }
            continue;
        }
        size_t at = i * (image.len - 1) / count;
        struct sop_slice any = sop_slice(image.data + at, i % 12 % (image.len - at));
        sop_buf_clear(&key);
        if (sop_buf_append(&key, p.front.sheet.prefix.data, p.front.sheet.prefix.len, NULL) ||
            sop_buf_append(&key, any.data, any.len, NULL)) {
            abort();
        }
        if (kit_part_find(&p, sop_buf_slice(&key), &got) == SOP_CHUNK_FOUND) {
            touch(got.prefix);
            touch(got.suffix);
            touch(got.ride);
            touch(got.value);
        }
    }
    sop_buf_fini(&key);
    kit_part_fini(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const struct sop_order *order = kit_order((*data & 2) != 0 ? KIT_COMPARER : KIT_MEMCMP);
    bool ordered = (*data & 4) != 0;
    bool mend = (*data & 1) != 0;
    size_t bytes = size - 1;
    uint8_t *image = sop_malloc_aligned(8, bytes);
    if (image == NULL) {
        return 0;
    }
    memcpy(image, data + 1, bytes);
    if (mend) {
        kit_mend(image, bytes);
        if ((*data & 8) != 0) {
            kit_guide(image, bytes);
        }
    }
    struct sop_sheet s;
    int rc = sop_sheet_check(sop_slice(image, bytes), ordered ? order : NULL, &s, NULL);
    if (rc != 0 && rc != SOP_ERR_DATA_LOSS) {
        abort();
    }
    if (bytes > 1) {
        parts(sop_slice(image, bytes), rc == 0 ? &s : NULL);
    }
    if (rc == 0) {
        /* A sheet of a comparer is used with one, but its keys may be in any order for it. */
        order = kit_order(s.compared ? KIT_COMPARER : KIT_MEMCMP);
        ordered = ordered || !s.compared;
        search(&s, order, ordered);
        walk(&s, order, 1);
        walk(&s, order, 3);
        if (ordered) {
            merge(&s, order);
        }
    }
    sop_free(image);
    return 0;
}
