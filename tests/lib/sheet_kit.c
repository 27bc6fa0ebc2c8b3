/* The model of sheets. Memory is not what these helpers test: without it they abort. */
#include "tests/lib/sheet_kit.h"

#include "engine/base/codec.h"
#include "engine/btree/sheet_int.h"

#include <stdlib.h>

/* ---- chance ---------------------------------------------------------------------------------
 */

uint64_t kit_next(struct kit_rng *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint32_t kit_below(struct kit_rng *r, uint32_t below)
{
    return (uint32_t)(kit_next(r) >> 32) % below;
}

/* ---- orders ---------------------------------------------------------------------------------
 */

static int shorter_first(void *arg, struct sop_slice a, struct sop_slice b)
{
    (void)arg;
    if (a.len != b.len) {
        return a.len < b.len ? -1 : 1;
    }
    return -sop_slice_cmp(a, b);
}

const struct sop_order *kit_order(enum kit_ordering ordering)
{
    static const struct sop_order orders[KIT_ORDERINGS] = {
        [KIT_MEMCMP] = {NULL, NULL, 0},
        [KIT_COMPARER] = {shorter_first, NULL, 0},
        [KIT_COMPARER_IDS] = {shorter_first, NULL, SOP_ITEM_ID_BYTES},
    };
    return &orders[ordering];
}

/* ---- keys -----------------------------------------------------------------------------------
 */

static void must(int rc)
{
    if (rc != 0) {
        abort();
    }
}

static void put(struct sop_buf *b, const void *data, size_t len)
{
    must(sop_buf_append(b, data, len, NULL));
}

static void put_repeated(struct sop_buf *b, uint8_t byte, size_t len)
{
    must(sop_buf_reserve(b, len, NULL));
    if (len > 0) {
        memset(b->data + b->len, byte, len);
        b->len += len;
    }
}

static void put_letters(struct kit_rng *r, struct sop_buf *b, const char *letters, uint32_t n,
                        uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        put(b, letters + kit_below(r, n), 1);
    }
}

struct sop_buf kit_key(struct kit_rng *r, enum kit_shape shape, enum kit_ordering ordering)
{
    static const char *const prefixes[] = {"", "customer", "customer/0000/",
                                           "customer/0001/order"};
    struct sop_buf key = {0};
    uint64_t number = __builtin_bswap64(kit_below(r, 4000));
    switch (shape) {
    case KIT_NUMBERS:
        put(&key, &number, sizeof number);
        break;
    case KIT_SHORT:
        put_letters(r, &key, "\0\1ab", 4, kit_below(r, 5));
        break;
    case KIT_ZEROS:
        put_repeated(&key, 0, kit_below(r, 21));
        put_letters(r, &key, "\0\1", 2, kit_below(r, 2));
        break;
    case KIT_PREFIX: {
        const char *prefix = prefixes[kit_below(r, 20) == 0 ? kit_below(r, 4) : 3];
        put(&key, prefix, strlen(prefix));
        put_letters(r, &key, "\0azZ", 4, kit_below(r, 13));
        break;
    }
    case KIT_RANDOM:
        for (uint32_t i = kit_below(r, 25); i > 0; i--) {
            uint8_t byte = (uint8_t)kit_next(r);
            put(&key, &byte, 1);
        }
        break;
    case KIT_HIGH:
        put_repeated(&key, 0xff, kit_below(r, 12));
        put_letters(r, &key, "\xfe\xff", 2, kit_below(r, 4));
        break;
    case KIT_LONG:
        put_repeated(&key, 'x', kit_below(r, 2) == 0 ? 65530 : kit_below(r, 65530));
        put_letters(r, &key, "\0xy", 3, kit_below(r, 7));
        break;
    case KIT_SHAPES:
        abort();
    }
    if (ordering == KIT_COMPARER_IDS) {
        put_repeated(&key, 0, SOP_ITEM_ID_BYTES - 1);
        put_letters(r, &key, "abc", 3, 1);
    }
    return key;
}

/* ---- the model ------------------------------------------------------------------------------
 */

static void item_fini(struct kit_item *item)
{
    sop_buf_fini(&item->key);
    sop_buf_fini(&item->ride);
    sop_buf_fini(&item->value);
}

static struct kit_item item_copy(const struct kit_item *from)
{
    struct kit_item to = {.kind = from->kind};
    put(&to.key, from->key.data, from->key.len);
    put(&to.ride, from->ride.data, from->ride.len);
    put(&to.value, from->value.data, from->value.len);
    return to;
}

void kit_model_init(struct kit_model *m, enum kit_ordering ordering)
{
    *m = (struct kit_model){.order = kit_order(ordering)};
}

void kit_model_fini(struct kit_model *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        item_fini(&m->items[i]);
    }
    free(m->items);
    *m = (struct kit_model){.order = m->order};
}

uint32_t kit_model_bound(const struct kit_model *m, struct sop_slice key, bool *exact)
{
    uint32_t i = 0; /* one by one, so that nothing can be wrong with it */
    int order = -1;
    while (i < m->count) {
        order = sop_order_cmp(m->order, sop_buf_slice(&m->items[i].key), key);
        if (order >= 0) {
            break;
        }
        i++;
    }
    *exact = i < m->count && order == 0;
    return i;
}

void kit_model_put(struct kit_model *m, const struct kit_item *item)
{
    bool exact;
    uint32_t at = kit_model_bound(m, sop_buf_slice(&item->key), &exact);
    if (exact) {
        item_fini(&m->items[at]);
        m->items[at] = item_copy(item);
        return;
    }
    if (m->count == m->room) {
        m->room = m->room == 0 ? 16 : m->room * 2;
        m->items = realloc(m->items, m->room * sizeof *m->items);
        if (m->items == NULL) {
            abort();
        }
    }
    memmove(m->items + at + 1, m->items + at, (m->count - at) * sizeof *m->items);
    m->items[at] = item_copy(item);
    m->count++;
}

void kit_model_remove(struct kit_model *m, uint32_t i)
{
    item_fini(&m->items[i]);
    m->count--;
    memmove(m->items + i, m->items + i + 1, (m->count - i) * sizeof *m->items);
}

static void item_fill(struct kit_item *item, struct kit_rng *r, bool run)
{
    uint32_t chance = kit_below(r, 20);
    item->kind = SOP_VALUE_INLINE;
    if (run && chance < 6) {
        item->kind = SOP_VALUE_TOMBSTONE;
        return;
    }
    if (kit_below(r, 4) == 0) {
        put_repeated(&item->ride, (uint8_t)kit_next(r),
                     kit_below(r, 50) == 0 ? kit_below(r, 65537) : kit_below(r, 200));
    }
    if (chance < 8) {
        item->kind = SOP_VALUE_PLACE;
        put_repeated(&item->value, (uint8_t)kit_next(r), SOP_SHEET_PLACE_BYTES);
    } else {
        put_repeated(&item->value, (uint8_t)kit_next(r),
                     kit_below(r, 60) == 0 ? kit_below(r, 40000) : kit_below(r, 20));
    }
}

static bool inside(const struct kit_model *m, struct sop_slice key,
                   const struct sop_sheet_meta *meta)
{
    return (meta->low.len == 0 || sop_order_cmp(m->order, key, meta->low) >= 0) &&
           (!meta->has_high || sop_order_cmp(m->order, key, meta->high) < 0);
}

void kit_model_fill(struct kit_model *m, struct kit_rng *r, enum kit_shape shape,
                    enum kit_ordering ordering, uint32_t count,
                    const struct sop_sheet_meta *meta)
{
    for (uint32_t i = 0; i < count; i++) {
        struct kit_item item = {.key = kit_key(r, shape, ordering)};
        item_fill(&item, r, meta->run);
        if (inside(m, sop_buf_slice(&item.key), meta)) {
            kit_model_put(m, &item);
        }
        item_fini(&item);
    }
}

bool kit_same(const struct kit_item *a, const struct sop_item *b)
{
    struct sop_buf key = {0};
    must(sop_item_key(b, &key, NULL));
    bool same = sop_slice_eq(sop_buf_slice(&a->key), sop_buf_slice(&key)) &&
                sop_slice_eq(sop_buf_slice(&a->ride), b->ride) &&
                sop_slice_eq(sop_buf_slice(&a->value), b->value) && a->kind == b->kind;
    sop_buf_fini(&key);
    return same;
}

/* ---- images ---------------------------------------------------------------------------------
 */

struct sop_slice kit_image(const struct kit_model *m, const struct sop_sheet_meta *meta)
{
    struct sop_sheet_maker maker;
    struct sop_slice image;
    sop_sheet_maker_init(&maker, m->order);
    for (uint32_t i = 0; i < m->count; i++) {
        const struct kit_item *from = &m->items[i];
        /* Keys arrive in two pieces, cut somewhere. */
        size_t cut = from->key.len == 0 ? 0 : i % from->key.len;
        struct sop_slice key = sop_buf_slice(&from->key);
        struct sop_item item = {.prefix = sop_slice(key.data, cut),
                                .suffix =
                                    cut == 0 ? key : sop_slice(key.data + cut, key.len - cut),
                                .ride = sop_buf_slice(&from->ride),
                                .value = sop_buf_slice(&from->value),
                                .kind = from->kind};
        must(sop_sheet_maker_add(&maker, &item, NULL));
    }
    must(sop_sheet_maker_finish(&maker, meta, &image, NULL));
    /* The estimate is an upper bound, but knows no fences and thus not their checksums. */
    size_t fences = meta->low.len + meta->high.len;
    if (maker.estimate + fences + fences / (SOP_SHEET_PIECE_BYTES / SOP_SHEET_GUIDE_BYTES - 1) +
            8 <
        image.len) {
        abort();
    }
    sop_sheet_maker_fini(&maker);
    return image;
}

void kit_mend(uint8_t *image, size_t bytes)
{
    if (bytes < SOP_SHEET_BYTES_MIN) {
        return;
    }
    uint32_t pieces = (uint32_t)sop_sheet__pieces(bytes);
    sop_put_u32(image + SOP_SHEET_AT_MAGIC, SOP_SHEET_MAGIC);
    sop_put_u16(image + SOP_SHEET_AT_VERSION, SOP_SHEET_VERSION);
    sop_put_u32(image + SOP_SHEET_AT_BYTES, (uint32_t)bytes);
    sop_put_u32(image + SOP_SHEET_AT_PIECES, pieces);
    if (sop_sheet__front_bytes(image) > bytes) {
        return;
    }
    uint32_t front = (uint32_t)sop_sheet__front_bytes(image);
    uint32_t at = front;
    for (uint32_t i = 0; i < pieces; i++) {
        uint32_t end = sop_sheet__piece_at(i + 1, (uint32_t)bytes);
        uint32_t len = end > at ? end - at : 0;
        sop_put_u32(image + sop_sheet__guide_at(i), sop_crc32c(image + at, len, 0));
        at += len;
    }
    uint32_t crc = sop_crc32c(image, SOP_SHEET_AT_CRC, 0);
    crc = sop_crc32c(image + SOP_SHEET_HEADER_BYTES, front - SOP_SHEET_HEADER_BYTES, crc);
    sop_put_u32(image + SOP_SHEET_AT_CRC, crc);
}

void kit_guide(uint8_t *image, size_t bytes)
{
    uint64_t at = bytes < SOP_SHEET_BYTES_MIN ? 0 : sop_sheet__front_bytes(image);
    uint32_t count = bytes < SOP_SHEET_BYTES_MIN ? 0 : sop_get_u32(image + SOP_SHEET_AT_COUNT);
    at = (at + 7) & ~UINT64_C(7);
    if (bytes < SOP_SHEET_BYTES_MIN || at + (uint64_t)count * 12 + 4 > bytes) {
        return;
    }
    const uint64_t *heads = (const uint64_t *)(const void *)(image + at);
    const uint32_t *offsets = (const uint32_t *)(const void *)(heads + count);
    uint32_t pieces = sop_get_u32(image + SOP_SHEET_AT_PIECES);
    for (uint32_t i = 0, item = 0; i < pieces; i++) {
        item = sop_sheet__first_in(offsets, count, item, i);
        sop_put_u32(image + sop_sheet__guide_at(i) + SOP_GUIDE_AT_CELL, offsets[item]);
        sop_put_u64(image + sop_sheet__guide_at(i) + SOP_GUIDE_AT_HEAD,
                    item < count ? heads[item] : UINT64_MAX);
    }
    kit_mend(image, bytes);
}

/* ---- parts ----------------------------------------------------------------------------------
 */

static uint8_t *block_of(const uint8_t *from, size_t bytes)
{
    uint8_t *block = sop_malloc_aligned(8, bytes);
    if (block == NULL) {
        abort();
    }
    memcpy(block, from, bytes);
    return block;
}

bool kit_part_init(struct kit_part *p, struct sop_slice image)
{
    uint32_t bytes = 0;
    *p = (struct kit_part){.image = image};
    if (image.len < SOP_FRONT_BYTES_MIN || image.len > UINT32_MAX) {
        return false;
    }
    uint8_t *first = block_of(image.data, SOP_FRONT_BYTES_MIN);
    int rc = sop_front_bytes(first, (uint32_t)image.len, &bytes, NULL);
    sop_free(first);
    if (rc != 0) {
        return false;
    }
    p->front_block = block_of(image.data, bytes);
    if (sop_front_check(p->front_block, (uint32_t)image.len, &p->front, NULL) != 0) {
        kit_part_fini(p);
        return false;
    }
    return true;
}

void kit_part_fini(struct kit_part *p)
{
    sop_free(p->front_block);
    sop_free(p->chunk);
    *p = (struct kit_part){0};
}

static enum sop_chunk_answer part_ask(struct kit_part *p, uint32_t piece, bool whole,
                                      struct sop_slice key, struct sop_item *item)
{
    uint32_t from;
    uint32_t until;
    uint32_t bad;
    sop_front_span(&p->front, piece, whole, &from, &until);
    sop_free(p->chunk);
    p->chunk = block_of(p->image.data + from, until - from);
    p->pieces += (until - from + SOP_SHEET_PIECE_BYTES - 1) / SOP_SHEET_PIECE_BYTES;
    struct sop_slice chunk = sop_slice(p->chunk, until - from);
    return sop_front_verify(&p->front, from, chunk, &bad, NULL) != 0
               ? SOP_CHUNK_BAD
               : sop_chunk_find(&p->front, piece, chunk, key, item);
}

enum sop_chunk_answer kit_part_find(struct kit_part *p, struct sop_slice key,
                                    struct sop_item *item)
{
    struct sop_probe probe;
    p->pieces = 0;
    for (bool ask = sop_probe_first(&probe, &p->front, key); ask;) {
        enum sop_chunk_answer answer = part_ask(p, probe.piece, false, key, item);
        if (answer == SOP_CHUNK_SHORT) {
            p->pieces--; /* it is not read again */
            answer = part_ask(p, probe.piece, true, key, item);
        }
        if (answer == SOP_CHUNK_SHORT) {
            abort(); /* there is no more to be had */
        }
        if (answer == SOP_CHUNK_FOUND || answer == SOP_CHUNK_BAD) {
            return answer;
        }
        ask = sop_probe_next(&probe, &p->front, answer);
    }
    return SOP_CHUNK_ABSENT;
}

/* ---- stacks ---------------------------------------------------------------------------------
 */

/* Random fences in two bufs, the low one less than the high one. */
static void fences_fill(struct sop_sheet_meta *meta, struct sop_buf bufs[2], struct kit_rng *r,
                        enum kit_shape shape, enum kit_ordering ordering)
{
    const struct sop_order *order = kit_order(ordering);
    bufs[0] = kit_key(r, shape, ordering);
    bufs[1] = kit_key(r, shape, ordering);
    int cmp = sop_order_cmp(order, sop_buf_slice(&bufs[0]), sop_buf_slice(&bufs[1]));
    if (cmp > 0) {
        struct sop_buf swap = bufs[0];
        bufs[0] = bufs[1];
        bufs[1] = swap;
    }
    if (kit_below(r, 2) == 0) {
        meta->low = sop_buf_slice(&bufs[0]);
    }
    if (cmp != 0 && kit_below(r, 2) == 0) {
        meta->high = sop_buf_slice(&bufs[1]);
        meta->has_high = true;
    }
}

/* What the stack should show, item by item, oldest sheet first. */
static void stack_expect(struct kit_stack *s)
{
    kit_model_init(&s->kept, s->ordering);
    kit_model_init(&s->shown, s->ordering);
    for (uint32_t x = s->count; x-- > 0;) {
        for (uint32_t i = 0; i < s->models[x].count; i++) {
            const struct kit_item *item = &s->models[x].items[i];
            if (!inside(&s->kept, sop_buf_slice(&item->key), &s->meta)) {
                continue;
            }
            kit_model_put(&s->kept, item);
        }
    }
    for (uint32_t i = 0; i < s->kept.count; i++) {
        if (s->kept.items[i].kind != SOP_VALUE_TOMBSTONE) {
            kit_model_put(&s->shown, &s->kept.items[i]);
        }
    }
}

void kit_stack_init(struct kit_stack *s, uint64_t seed)
{
    struct kit_rng r = {.state = seed};
    *s = (struct kit_stack){.count = 1 + kit_below(&r, 8)};
    s->shape = (enum kit_shape)kit_below(&r, KIT_SHAPES);
    s->ordering = (enum kit_ordering)kit_below(&r, KIT_ORDERINGS);
    bool base = kit_below(&r, 3) > 0;
    uint32_t most = s->shape == KIT_LONG ? 8 : kit_below(&r, 4) == 0 ? 4 : 120;
    struct sop_sheet_meta page = {.store = 3, .page = seed, .lsn = {.slot = 5, .record = 6}};
    if (kit_below(&r, 3) == 0) {
        fences_fill(&page, s->fences, &r, s->shape, s->ordering);
    }
    s->meta = page;
    if (kit_below(&r, 2) == 0) {
        s->meta.low = sop_slice(NULL, 0);
        s->meta.has_high = false;
        fences_fill(&s->meta, s->fences + 2, &r, s->shape, s->ordering);
    }
    for (uint32_t x = 0; x < s->count; x++) {
        s->metas[x] = page;
        s->metas[x].run = !base || x + 1 < s->count;
        /* Some runs know more precise fences, or none. */
        if (kit_below(&r, 4) == 0) {
            s->metas[x].low = sop_slice(NULL, 0);
            s->metas[x].high = sop_slice(NULL, 0);
            s->metas[x].has_high = false;
        }
        uint32_t count = kit_below(&r, (s->metas[x].run ? most / 2 : most) + 1);
        kit_model_init(&s->models[x], s->ordering);
        kit_model_fill(&s->models[x], &r, s->shape, s->ordering, count, &s->metas[x]);
        s->images[x] = kit_image(&s->models[x], &s->metas[x]);
        sop_sheet_view(s->images[x], &s->sheets[x]);
        s->views[x] = &s->sheets[x];
    }
    stack_expect(s);
}

void kit_stack_fini(struct kit_stack *s)
{
    for (uint32_t x = 0; x < s->count; x++) {
        kit_model_fini(&s->models[x]);
        sop_free((void *)(uintptr_t)s->images[x].data);
    }
    for (size_t i = 0; i < SOP_ARRAY_LEN(s->fences); i++) {
        sop_buf_fini(&s->fences[i]);
    }
    kit_model_fini(&s->shown);
    kit_model_fini(&s->kept);
}
