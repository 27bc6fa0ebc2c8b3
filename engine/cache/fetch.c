/* Fetching ahead: what searches in a group of pages will touch is brought towards the processor
 * for all of them together; see page.h.
 *
 * A search waits for memory again and again, one wait after the other: frame, version, body,
 * the sheet's view, the heads around the expected place. Here each of these steps is made for
 * the whole group before the next one, so the waits of a step overlap. Nothing is read from a
 * volume, nothing can fail; whoever searches afterwards does all of it again, in memory that is
 * near. */
#include "engine/cache/page.h"

#define LINE_BYTES 64u

static void fetch(const void *from, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += LINE_BYTES) {
        __builtin_prefetch((const uint8_t *)from + at);
    }
}

static struct sop_version *version_at(const struct sop_frame *frame, uint64_t moment)
{
    struct sop_version *v = atomic_load_explicit(&frame->newest, memory_order_acquire);
    while (v != NULL && v->at > moment) {
        v = atomic_load_explicit(&v->older, memory_order_acquire);
    }
    return v != NULL && !v->free ? v : NULL;
}

static const struct sop_sheet *sheet_of(const struct sop_version *v, uint32_t layer)
{
    const struct sop_resident *r =
        atomic_load_explicit(&v->layers[layer].body->resident, memory_order_acquire);
    return r != NULL ? &r->sheet : NULL;
}

struct sop_version *sop_pages_near(struct sop_pages *p, uint64_t page, uint64_t moment)
{
    struct sop_frame *frame = NULL;
    return sop_pages_frame(p, page, &frame, NULL) == 0 ? version_at(frame, moment) : NULL;
}

const struct sop_sheet *sop_version_near(const struct sop_version *v)
{
    if (v->layers_count != 1 || v->layers[0].clipped) {
        return NULL;
    }
    const struct sop_sheet *s = sheet_of(v, 0);
    return s != NULL && s->count == v->items && !s->run ? s : NULL;
}

void sop_pages_fetch_ahead(struct sop_pages *p, uint64_t moment, const uint64_t *pages,
                           const struct sop_slice *keys, size_t count,
                           struct sop_version **versions)
{
    struct sop_frame *frames[SOP_FETCH_MOST];
    SOP_ASSERT(count <= SOP_FETCH_MOST);
    for (size_t i = 0; i < count; i++) {
        frames[i] = NULL;
        if (pages[i] != 0 && sop_pages_frame(p, pages[i], &frames[i], NULL) == 0) {
            __builtin_prefetch(frames[i]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct sop_version *v = NULL;
        if (frames[i] != NULL) {
            v = atomic_load_explicit(&frames[i]->newest, memory_order_acquire);
        }
        if (v != NULL) {
            fetch(v, sizeof *v + 2 * sizeof v->layers[0]);
        }
    }
    for (size_t i = 0; i < count; i++) {
        versions[i] = frames[i] != NULL ? version_at(frames[i], moment) : NULL;
        for (uint32_t k = 0; versions[i] != NULL && k < versions[i]->layers_count; k++) {
            fetch(versions[i]->layers[k].body, sizeof(struct sop_body));
        }
    }
    for (size_t i = 0; i < count; i++) {
        for (uint32_t k = 0; versions[i] != NULL && k < versions[i]->layers_count; k++) {
            const struct sop_sheet *s = sheet_of(versions[i], k);
            if (s != NULL) {
                fetch(s, sizeof *s);
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        for (uint32_t k = 0; versions[i] != NULL && k < versions[i]->layers_count; k++) {
            const struct sop_sheet *s = sheet_of(versions[i], k);
            if (s != NULL) {
                sop_sheet_fetch_ahead(s, keys[i]);
            }
        }
    }
}
