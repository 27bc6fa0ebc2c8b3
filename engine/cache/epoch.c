/* Epoch-based reclamation; see epoch.h.
 *
 * Why it is safe: retire stamps an object with the epoch E read after it was unlinked. A
 * reader that could still see it entered at an epoch <= E and keeps its mark until it leaves;
 * objects are freed only when every mark is 0 or > E. The clock moves on by itself at each
 * reclaim, so a mark > E belongs to a reader that entered after the unlinking. */
#include "engine/cache/epoch.h"

void sop_epochs_init(struct sop_epochs *e)
{
    memset(e, 0, sizeof *e);
    atomic_store(&e->now, 1);
    sop_mutex_init(&e->mutex, SOP_RANK_LEAF);
}

void sop_epochs_fini(struct sop_epochs *e)
{
    while (e->first != NULL) { /* freeing a version retires its bodies in turn */
        struct sop_retired *r = e->first;
        e->first = r->next;
        if (e->first == NULL) {
            e->last = NULL;
        }
        r->free_fn(r);
    }
    struct sop_epoch_slot *s = atomic_load(&e->slots);
    while (s != NULL) {
        struct sop_epoch_slot *next = s->next;
        SOP_ASSERT(!s->used && s->depth == 0);
        sop_free(s);
        s = next;
    }
    sop_mutex_fini(&e->mutex);
    memset(e, 0, sizeof *e);
}

struct sop_epoch_slot *sop_epoch_take(struct sop_epochs *e)
{
    sop_mutex_lock(&e->mutex);
    struct sop_epoch_slot *s = atomic_load(&e->slots);
    while (s != NULL && s->used) {
        s = s->next;
    }
    if (s == NULL) {
        s = sop_malloc_aligned(SOP_CACHE_LINE, sizeof *s);
        if (s != NULL) {
            memset(s, 0, sizeof *s);
            s->next = atomic_load(&e->slots);
            atomic_store(&e->slots, s);
        }
    }
    if (s != NULL) {
        s->used = true;
        SOP_ASSERT(s->depth == 0);
    }
    sop_mutex_unlock(&e->mutex);
    return s;
}

void sop_epoch_give(struct sop_epochs *e, struct sop_epoch_slot *slot)
{
    sop_mutex_lock(&e->mutex);
    SOP_ASSERT(slot->used && slot->depth == 0);
    slot->used = false;
    sop_mutex_unlock(&e->mutex);
}

void sop_epoch_retire(struct sop_epochs *e, struct sop_retired *retired,
                      void (*free_fn)(struct sop_retired *))
{
    retired->next = NULL;
    retired->free_fn = free_fn;
    sop_mutex_lock(&e->mutex);
    retired->epoch = atomic_load(&e->now);
    if (e->last == NULL) {
        e->first = retired;
    } else {
        e->last->next = retired;
    }
    e->last = retired;
    atomic_fetch_add_explicit(&e->retired_count, 1, memory_order_relaxed);
    sop_mutex_unlock(&e->mutex);
}

void sop_epoch_reclaim(struct sop_epochs *e)
{
    if (atomic_load_explicit(&e->retired_count, memory_order_relaxed) == 0) {
        return; /* whoever only read ends without a lock */
    }
    sop_mutex_lock(&e->mutex);
    struct sop_retired *done = NULL;
    if (e->first != NULL) {
        atomic_fetch_add_explicit(&e->now, 1, memory_order_seq_cst);
        atomic_thread_fence(memory_order_seq_cst);
        uint64_t oldest = UINT64_MAX;
        for (struct sop_epoch_slot *s = atomic_load(&e->slots); s != NULL; s = s->next) {
            uint64_t entered = atomic_load_explicit(&s->entered, memory_order_seq_cst);
            if (entered != 0 && entered < oldest) {
                oldest = entered;
            }
        }
        struct sop_retired **cut = &e->first;
        struct sop_retired *last_kept_before = NULL;
        uint64_t count = 0;
        while (*cut != NULL && (*cut)->epoch < oldest) {
            last_kept_before = *cut;
            cut = &(*cut)->next;
            count++;
        }
        atomic_fetch_sub_explicit(&e->retired_count, count, memory_order_relaxed);
        if (last_kept_before != NULL) {
            done = e->first;
            e->first = *cut;
            last_kept_before->next = NULL;
            if (e->first == NULL) {
                e->last = NULL;
            }
        }
    }
    sop_mutex_unlock(&e->mutex);
    while (done != NULL) {
        struct sop_retired *next = done->next;
        done->free_fn(done);
        done = next;
    }
}
