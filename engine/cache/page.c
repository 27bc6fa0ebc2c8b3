/* Frames, versions and their retention; see page.h. */
#include "engine/cache/page.h"

#include "engine/base/limits.h"

#define RADIX_BITS 12
#define RADIX_SIZE (1u << RADIX_BITS)
#define RADIX_MASK (RADIX_SIZE - 1u)

/* ---- versions ------------------------------------------------------------------------------
 */

static uint8_t *copy_slice(uint8_t *to, struct sop_slice from, struct sop_slice *out)
{
    if (from.len > 0) {
        memcpy(to, from.data, from.len);
    }
    *out = sop_slice(to, from.len);
    return to + from.len;
}

int sop_version_new(struct sop_version **out, struct sop_cache *c,
                    const struct sop_version_spec *spec, struct sop_err *err)
{
    SOP_ASSERT(spec->layers_count <= SOP_LAYERS_MAX);
    *out = NULL;
    size_t layers_bytes = spec->layers_count * sizeof(struct sop_layer);
    size_t bytes = sizeof(struct sop_version) + layers_bytes + spec->low.len + spec->high.len;
    for (uint32_t i = 0; i < spec->layers_count; i++) {
        if (spec->layers[i].clipped) {
            bytes += spec->layers[i].clip_low.len + spec->layers[i].clip_high.len;
        }
    }
    struct sop_version *v = sop_malloc(bytes);
    if (v == NULL) {
        return SOP_ERR(err, NOMEM, "make a version of page %" PRIu64, spec->page);
    }
    memset(v, 0, sizeof *v);
    v->page = spec->page;
    v->at = spec->at;
    v->until = SOP_NEVER;
    v->lsn = spec->lsn;
    v->bytes_live = spec->bytes_live;
    v->items = spec->items;
    v->level = spec->level;
    v->free = spec->free;
    v->exact = spec->exact;
    v->has_high = spec->has_high;
    v->block_bytes = (uint32_t)bytes;
    v->layers_count = spec->layers_count;
    uint8_t *at = (uint8_t *)(v->layers + spec->layers_count);
    at = copy_slice(at, spec->low, &v->low);
    at = copy_slice(at, spec->high, &v->high);
    for (uint32_t i = 0; i < spec->layers_count; i++) {
        v->layers[i] = spec->layers[i];
        if (spec->layers[i].clipped) {
            at = copy_slice(at, spec->layers[i].clip_low, &v->layers[i].clip_low);
            at = copy_slice(at, spec->layers[i].clip_high, &v->layers[i].clip_high);
        }
        sop_body_ref(v->layers[i].body);
    }
    sop_cache_charge(c, (int64_t)bytes);
    *out = v;
    return 0;
}

void sop_version_drop(struct sop_cache *c, struct sop_version *v)
{
    for (uint32_t i = 0; i < v->layers_count; i++) {
        sop_body_unref(v->layers[i].body);
    }
    sop_cache_charge(c, -(int64_t)v->block_bytes);
    sop_free(v);
}

static void version_free(struct sop_retired *retired)
{
    struct sop_version *v = (struct sop_version *)(void *)retired;
    struct sop_cache *c = v->layers_count > 0 ? v->layers[0].body->cache : NULL;
    if (c != NULL) {
        sop_version_drop(c, v);
    } else {
        sop_free(v);
    }
}

static void version_retire(struct sop_pages *p, struct sop_version *v)
{
    if (v->layers_count == 0) {
        sop_cache_charge(p->cache, -(int64_t)v->block_bytes);
    }
    sop_epoch_retire(p->epochs, &v->retired, version_free);
}

/* ---- frames --------------------------------------------------------------------------------
 */

int sop_pages_init(struct sop_pages *p, struct sop_cache *c, sop_handle_fn handle, void *arg,
                   struct sop_err *err)
{
    memset(p, 0, sizeof *p);
    p->root = sop_calloc(RADIX_SIZE, sizeof *p->root);
    if (p->root == NULL) {
        return SOP_ERR(err, NOMEM, "make the page table");
    }
    p->cache = c;
    p->epochs = c->epochs;
    p->handle = handle;
    p->arg = arg;
    for (size_t i = 0; i < SOP_PAGE_STRIPES; i++) {
        sop_mutex_init(&p->stripes[i], SOP_RANK_PAGE);
    }
    sop_mutex_init(&p->grow, SOP_RANK_LEAF);
    sop_mutex_init(&p->history, SOP_RANK_STATE);
    return 0;
}

static void frame_fini(struct sop_pages *p, struct sop_frame *frame)
{
    struct sop_version *v = atomic_load(&frame->newest);
    while (v != NULL) {
        struct sop_version *older = atomic_load(&v->older);
        sop_version_drop(p->cache, v);
        v = older;
    }
}

void sop_pages_fini(struct sop_pages *p)
{
    if (p->root == NULL) {
        return;
    }
    SOP_ASSERT(p->newest_pin == NULL);
    for (size_t i = 0; i < RADIX_SIZE; i++) {
        _Atomic(void *) *middle = atomic_load(&p->root[i]);
        for (size_t j = 0; middle != NULL && j < RADIX_SIZE; j++) {
            struct sop_frame *frames = atomic_load(&middle[j]);
            for (size_t k = 0; frames != NULL && k < RADIX_SIZE; k++) {
                frame_fini(p, &frames[k]);
            }
            if (frames != NULL) {
                sop_cache_charge(p->cache, -(int64_t)(RADIX_SIZE * sizeof *frames));
            }
            sop_free(frames);
        }
        sop_free((void *)(uintptr_t)middle);
    }
    sop_free((void *)(uintptr_t)p->root);
    for (size_t i = 0; i < SOP_PAGE_STRIPES; i++) {
        sop_mutex_fini(&p->stripes[i]);
    }
    sop_mutex_fini(&p->grow);
    sop_mutex_fini(&p->history);
    p->root = NULL;
}

/* The child block at slot[0], made if absent; `charge` is what the cache pays for it then. */
static void *grow(struct sop_pages *p, _Atomic(void *) *slot, size_t bytes, int64_t charge)
{
    void *block = atomic_load_explicit(slot, memory_order_acquire);
    if (block != NULL) {
        return block;
    }
    sop_mutex_lock(&p->grow);
    block = atomic_load(slot);
    if (block == NULL) {
        block = sop_calloc(1, bytes);
        if (block != NULL) {
            atomic_store_explicit(slot, block, memory_order_release);
            sop_cache_charge(p->cache, charge);
        }
    }
    sop_mutex_unlock(&p->grow);
    return block;
}

int sop_pages_frame(struct sop_pages *p, uint64_t page, struct sop_frame **out,
                    struct sop_err *err)
{
    if (page >> (3 * RADIX_BITS) != 0) {
        return SOP_ERR(err, DATA_LOSS, "page id %" PRIu64 " is out of range", page);
    }
    _Atomic(void *) *middle =
        atomic_load_explicit(&p->root[page >> (2 * RADIX_BITS)], memory_order_acquire);
    if (middle == NULL) {
        middle = grow(p, &p->root[page >> (2 * RADIX_BITS)], RADIX_SIZE * sizeof(void *), 0);
        if (middle == NULL) {
            return SOP_ERR(err, NOMEM, "grow the page table");
        }
    }
    _Atomic(void *) *leaf = &middle[(page >> RADIX_BITS) & RADIX_MASK];
    struct sop_frame *frames = atomic_load_explicit(leaf, memory_order_acquire);
    if (frames == NULL) {
        frames =
            grow(p, leaf, RADIX_SIZE * sizeof *frames, (int64_t)(RADIX_SIZE * sizeof *frames));
        if (frames == NULL) {
            return SOP_ERR(err, NOMEM, "grow the page table");
        }
    }
    *out = &frames[page & RADIX_MASK];
    return 0;
}

static struct sop_mutex *stripe(struct sop_pages *p, uint64_t page)
{
    return &p->stripes[page % SOP_PAGE_STRIPES];
}

/* A version for what a handle says; with_fences reads its top sheet for them. */
static int version_of_handle(struct sop_pages *p, const struct sop_order *order, uint64_t page,
                             const struct sop_handle *h, bool with_fences,
                             struct sop_version **out, struct sop_err *err)
{
    struct sop_layer layers[2];
    memset(layers, 0, sizeof layers);
    uint32_t count = 0;
    const struct sop_place *places[2] = {&h->run, &h->base};
    struct sop_version_spec spec = {.page = page,
                                    .lsn = h->lsn,
                                    .items = h->items,
                                    .level = h->level,
                                    .exact = true,
                                    .layers = layers};
    int rc = 0;
    for (int i = 0; i < 2 && rc == 0; i++) {
        if (!sop_place_none(places[i])) {
            rc = sop_body_at(&layers[count].body, p->cache, order, places[i], err);
            count += rc == 0;
            spec.bytes_live += places[i]->bytes;
        }
    }
    spec.layers_count = count;
    if (rc == 0 && count == 0) {
        rc = SOP_ERR(err, DATA_LOSS, "page %" PRIu64 " is named but has no content", page);
    }
    const struct sop_sheet *top = NULL;
    if (rc == 0 && with_fences) {
        rc = h->level > 0 ? sop_body_sheet(layers[0].body, &top, err)
                          : sop_body_front(layers[0].body, &top, err);
    }
    if (rc == 0 && top != NULL) {
        if (top->page != page || top->level != h->level) {
            rc = SOP_ERR(err, DATA_LOSS, "page %" PRIu64 " holds the sheet of page %" PRIu64,
                         page, top->page);
        }
        spec.low = top->low;
        spec.high = top->high;
        spec.has_high = top->has_high;
    }
    if (rc == 0) {
        rc = sop_version_new(out, p->cache, &spec, err);
    }
    for (uint32_t i = 0; i < count; i++) {
        sop_body_unref(layers[i].body);
    }
    return rc;
}

/* Fills a frame that nobody has touched. */
static int frame_load(struct sop_pages *p, const struct sop_order *order, uint64_t page,
                      struct sop_frame *frame, struct sop_version **out, struct sop_err *err)
{
    struct sop_handle h;
    int rc = p->handle(p->arg, page, &h, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_version *v = NULL;
    rc = version_of_handle(p, order, page, &h, true, &v, err);
    if (rc != 0) {
        return sop_err_wrap(err, rc, "load page %" PRIu64, page);
    }
    sop_mutex_lock(stripe(p, page));
    struct sop_version *there = atomic_load(&frame->newest);
    if (there == NULL) {
        atomic_store_explicit(&frame->newest, v, memory_order_release);
        there = v;
        v = NULL;
    }
    sop_mutex_unlock(stripe(p, page));
    if (v != NULL) {
        sop_version_drop(p->cache, v);
    }
    *out = there;
    return 0;
}

int sop_pages_at(struct sop_pages *p, const struct sop_order *order, uint64_t page,
                 uint64_t moment, struct sop_version **out, struct sop_err *err)
{
    struct sop_frame *frame = NULL;
    int rc = sop_pages_frame(p, page, &frame, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_version *v = atomic_load_explicit(&frame->newest, memory_order_acquire);
    if (__builtin_expect(v == NULL, 0)) {
        rc = frame_load(p, order, page, frame, &v, err);
        if (rc != 0) {
            return rc;
        }
    }
    while (v != NULL && v->at > moment) {
        v = atomic_load_explicit(&v->older, memory_order_acquire);
    }
    if (v == NULL || v->free) {
        return SOP_ERR(err, DATA_LOSS, "page %" PRIu64 " is %s at moment %" PRIu64, page,
                       v == NULL ? "absent" : "free", moment);
    }
    *out = v;
    return 0;
}

int sop_pages_source(struct sop_pages *p, const struct sop_order *order, uint64_t page,
                     struct sop_version **out, bool *owned, struct sop_err *err)
{
    struct sop_frame *frame = NULL;
    *owned = false;
    int rc = sop_pages_frame(p, page, &frame, err);
    if (rc != 0) {
        return rc;
    }
    *out = atomic_load(&frame->newest);
    if (*out != NULL) {
        return 0;
    }
    struct sop_handle h;
    rc = p->handle(p->arg, page, &h, err);
    if (rc == 0) {
        rc = version_of_handle(p, order, page, &h, false, out, err);
        *owned = rc == 0;
    }
    return rc;
}

int sop_pages_items(struct sop_pages *p, uint64_t page, uint64_t moment, uint32_t *items,
                    struct sop_err *err)
{
    struct sop_frame *frame = NULL;
    int rc = sop_pages_frame(p, page, &frame, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_version *v = atomic_load_explicit(&frame->newest, memory_order_acquire);
    if (v == NULL) {
        struct sop_handle h;
        rc = p->handle(p->arg, page, &h, err);
        v = atomic_load_explicit(&frame->newest, memory_order_acquire);
        if (rc != 0 || v == NULL) { /* else: changed meanwhile, and perhaps folded since */
            *items = h.items;
            return rc;
        }
    }
    while (v != NULL && v->at > moment) {
        v = atomic_load_explicit(&v->older, memory_order_acquire);
    }
    if (v == NULL || v->free) {
        return SOP_ERR(err, DATA_LOSS, "page %" PRIu64 " is absent at moment %" PRIu64, page,
                       moment);
    }
    *items = v->items;
    return 0;
}

/* ---- publishing and retention --------------------------------------------------------------
 */

/* Takes v out of its page's chain. History mutex held. */
static void unlink_version(struct sop_pages *p, struct sop_version *v)
{
    struct sop_frame *frame = NULL;
    int rc = sop_pages_frame(p, v->page, &frame, NULL);
    SOP_ASSERT(rc == 0); /* the frame exists: v is in it */
    sop_mutex_lock(stripe(p, v->page));
    struct sop_version *newer = atomic_load(&frame->newest);
    SOP_ASSERT(newer != v);
    while (atomic_load(&newer->older) != v) {
        newer = atomic_load(&newer->older);
        SOP_ASSERT(newer != NULL);
    }
    atomic_store_explicit(&newer->older, atomic_load(&v->older), memory_order_release);
    sop_mutex_unlock(stripe(p, v->page));
    version_retire(p, v);
}

/* Hands a superseded version to the newest pin that needs it, or unlinks it. `pin` is the
 * newest pin that is older than v->until. History mutex held. */
static void hold_or_unlink(struct sop_pages *p, struct sop_version *v, struct sop_pin *pin)
{
    if (pin != NULL && pin->moment >= v->at) {
        v->held_next = pin->held;
        pin->held = v;
    } else {
        unlink_version(p, v);
    }
}

void sop_pages_publish(struct sop_pages *p, const struct sop_publish *list, size_t count,
                       uint64_t moment, struct sop_lsn lsn)
{
    SOP_ASSERT(moment > atomic_load(&p->moment));
    SOP_ASSERT(sop_lsn_cmp(p->head, lsn) < 0);
    for (size_t i = 0; i < count; i++) {
        struct sop_version *v = list[i].version;
        SOP_ASSERT(v->at == moment);
        sop_mutex_lock(stripe(p, v->page));
        atomic_store(&v->older, atomic_load(&list[i].frame->newest));
        atomic_store_explicit(&list[i].frame->newest, v, memory_order_release);
        sop_mutex_unlock(stripe(p, v->page));
    }
    sop_mutex_lock(&p->history);
    p->head = lsn;
    atomic_store(&p->moment, moment);
    for (size_t i = 0; i < count; i++) {
        struct sop_version *v = atomic_load(&list[i].version->older);
        if (v != NULL) {
            v->until = moment;
            hold_or_unlink(p, v, p->newest_pin);
        }
    }
    sop_mutex_unlock(&p->history);
}

bool sop_pages_replace(struct sop_pages *p, struct sop_frame *frame, struct sop_version *old,
                       struct sop_version *fresh)
{
    bool done = false;
    sop_mutex_lock(&p->history);
    sop_mutex_lock(stripe(p, old->page));
    /* Only the newest version is replaced: older ones are in lists of pins. */
    if (atomic_load(&frame->newest) == old) {
        atomic_store(&fresh->older, atomic_load(&old->older));
        atomic_store_explicit(&frame->newest, fresh, memory_order_release);
        done = true;
    }
    sop_mutex_unlock(stripe(p, old->page));
    sop_mutex_unlock(&p->history);
    if (done) {
        version_retire(p, old);
    }
    return done;
}

int sop_pages_pin(struct sop_pages *p, struct sop_pin **out, struct sop_err *err)
{
    sop_mutex_lock(&p->history);
    uint64_t moment = atomic_load(&p->moment);
    struct sop_pin *pin = p->newest_pin;
    if (pin == NULL || pin->moment != moment) {
        pin = sop_calloc(1, sizeof *pin);
        if (pin == NULL) {
            sop_mutex_unlock(&p->history);
            return SOP_ERR(err, NOMEM, "pin a state");
        }
        pin->moment = moment;
        pin->lsn = p->head;
        pin->older = p->newest_pin;
        if (p->newest_pin != NULL) {
            p->newest_pin->newer = pin;
        } else {
            p->oldest_pin = pin;
        }
        p->newest_pin = pin;
        p->pins_count++;
    }
    pin->refs++;
    sop_mutex_unlock(&p->history);
    *out = pin;
    return 0;
}

struct sop_pin *sop_pages_pin_again(struct sop_pages *p, struct sop_pin *pin)
{
    sop_mutex_lock(&p->history);
    SOP_ASSERT(pin->refs > 0);
    pin->refs++;
    sop_mutex_unlock(&p->history);
    return pin;
}

void sop_pages_unpin(struct sop_pages *p, struct sop_pin *pin)
{
    sop_mutex_lock(&p->history);
    SOP_ASSERT(pin->refs > 0);
    struct sop_version *held = NULL;
    if (--pin->refs == 0) {
        struct sop_pin *older = pin->older;
        *(older != NULL ? &older->newer : &p->oldest_pin) = pin->newer;
        *(pin->newer != NULL ? &pin->newer->older : &p->newest_pin) = older;
        p->pins_count--;
        held = pin->held;
        while (held != NULL) {
            struct sop_version *next = held->held_next;
            hold_or_unlink(p, held, older);
            held = next;
        }
        sop_free(pin);
    }
    sop_mutex_unlock(&p->history);
}

size_t sop_pages_held_dirty(struct sop_pages *p, struct sop_body **out, size_t most)
{
    size_t count = 0;
    sop_mutex_lock(&p->history);
    for (struct sop_pin *pin = p->oldest_pin; pin != NULL && count < most; pin = pin->newer) {
        for (struct sop_version *v = pin->held; v != NULL && count < most; v = v->held_next) {
            for (uint32_t i = 0; i < v->layers_count && count < most; i++) {
                struct sop_body *b = v->layers[i].body;
                if (!atomic_load(&b->placed)) {
                    sop_body_ref(b); /* the version is linked: it has a reference itself */
                    out[count++] = b;
                }
            }
        }
    }
    sop_mutex_unlock(&p->history);
    return count;
}

struct sop_lsn sop_pages_oldest(struct sop_pages *p, uint64_t *moment)
{
    sop_mutex_lock(&p->history);
    struct sop_lsn lsn = p->oldest_pin != NULL ? p->oldest_pin->lsn : p->head;
    *moment = p->oldest_pin != NULL ? p->oldest_pin->moment : atomic_load(&p->moment);
    sop_mutex_unlock(&p->history);
    return lsn;
}

/* ---- reading a version ---------------------------------------------------------------------
 */

static bool layer_covers(const struct sop_layer *layer, const struct sop_order *order,
                         struct sop_slice key)
{
    if (!layer->clipped) {
        return true;
    }
    return (layer->clip_low.len == 0 || sop_order_cmp(order, key, layer->clip_low) >= 0) &&
           (!layer->clip_has_high || sop_order_cmp(order, key, layer->clip_high) < 0);
}

int sop_version_find(struct sop_version *v, const struct sop_order *order, struct sop_slice key,
                     bool *found, struct sop_item *item, struct sop_err *err)
{
    *found = false;
    for (uint32_t i = 0; i < v->layers_count; i++) {
        if (!layer_covers(&v->layers[i], order, key)) {
            continue;
        }
        bool exact = false;
        const struct sop_sheet *sheet = sop_body_resident(v->layers[i].body);
        if (__builtin_expect(sheet != NULL, 1)) {
            uint32_t at = sop_sheet_seek(sheet, order, key, &exact);
            if (exact) {
                *item = sop_sheet_item(sheet, at);
            }
        } else {
            int rc = sop_body_find(v->layers[i].body, key, &exact, item, err);
            if (rc != 0) {
                return rc;
            }
        }
        if (exact) {
            *found = item->kind != SOP_VALUE_TOMBSTONE;
            return 0;
        }
    }
    return 0;
}

/* Narrows sheet i of a walk to the layer's clip. */
static void walk_clip(struct sop_walk *walk, uint32_t i, const struct sop_order *order,
                      const struct sop_layer *layer)
{
    bool exact = false;
    if (layer->clip_low.len > 0) {
        uint32_t first = sop_sheet_seek(walk->sheets[i], order, layer->clip_low, &exact);
        if (first > walk->first[i]) {
            walk->first[i] = first;
        }
    }
    if (layer->clip_has_high) {
        uint32_t end = sop_sheet_seek(walk->sheets[i], order, layer->clip_high, &exact);
        if (end < walk->end[i]) {
            walk->end[i] = end;
        }
    }
    if (walk->end[i] < walk->first[i]) {
        walk->end[i] = walk->first[i];
    }
}

int sop_version_walk(struct sop_version *v, const struct sop_order *order,
                     struct sop_hold *hold, struct sop_walk *walk, struct sop_err *err)
{
    const struct sop_sheet *sheets[SOP_LAYERS_MAX];
    for (uint32_t i = 0; i < v->layers_count; i++) {
        struct sop_body *body = v->layers[i].body;
        int rc = hold != NULL ? sop_body_hold(body, &sheets[i], err)
                              : sop_body_sheet(body, &sheets[i], err);
        if (rc != 0) {
            if (hold != NULL) {
                sop_hold_end(hold);
            }
            return rc;
        }
        if (hold != NULL) {
            sop_body_ref(body);
            hold->bodies[hold->count++] = body;
        }
    }
    sop_walk_init(walk, order, sheets, v->layers_count, v->low, v->high, v->has_high, false);
    for (uint32_t i = 0; i < v->layers_count; i++) {
        if (v->layers[i].clipped) {
            walk_clip(walk, i, order, &v->layers[i]);
        }
    }
    return 0;
}

void sop_hold_end(struct sop_hold *hold)
{
    while (hold->count > 0) {
        struct sop_body *body = hold->bodies[--hold->count];
        sop_body_release(body);
        sop_body_unref(body);
    }
}

/* The slow way, for clipped stacks: item by item through the walk. */
static int merge_by_walk(struct sop_version *v, const struct sop_order *order,
                         const struct sop_sheet_meta *meta, struct sop_slice *image,
                         uint32_t *items, struct sop_err *err)
{
    struct sop_walk walk;
    int rc = sop_version_walk(v, order, NULL, &walk, err);
    if (rc != 0) {
        return rc;
    }
    walk.keep_tombstones = meta->run;
    struct sop_sheet_maker maker;
    sop_sheet_maker_init(&maker, order);
    for (bool on = sop_walk_first(&walk); on && rc == 0; on = sop_walk_next(&walk)) {
        struct sop_item item = sop_walk_item(&walk);
        rc = sop_sheet_maker_add(&maker, &item, err);
    }
    *items = maker.count;
    if (rc == 0) {
        rc = sop_sheet_maker_finish(&maker, meta, image, err);
    }
    sop_sheet_maker_fini(&maker);
    return rc;
}

int sop_version_merge(struct sop_version *v, const struct sop_order *order,
                      const struct sop_sheet_meta *meta, struct sop_slice *image,
                      uint32_t *items, struct sop_err *err)
{
    const struct sop_sheet *sheets[SOP_LAYERS_MAX];
    bool clipped = false;
    for (uint32_t i = 0; i < v->layers_count; i++) {
        clipped = clipped || v->layers[i].clipped;
        int rc = sop_body_sheet(v->layers[i].body, &sheets[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    if (clipped || v->layers_count == 0) {
        return merge_by_walk(v, order, meta, image, items, err);
    }
    return sop_stack_merge(sheets, v->layers_count, order, meta, image, items, err);
}
