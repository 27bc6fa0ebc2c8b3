/* Epochs: readers use shared memory without locks; what is unlinked is freed when no reader can
 * still hold it (Fraser, "Practical lock-freedom", 2004, epoch-based reclamation).
 *
 * A reader enters before it loads a shared pointer and leaves when it has let go of all of
 * them. Retired memory is freed once every reader that was inside has left. */
#ifndef SOP_EPOCH_H
#define SOP_EPOCH_H

#include "engine/base/base.h"
#include "engine/base/thread.h"

#include <stdatomic.h>

#define SOP_CACHE_LINE 64

/* One reader's mark: 0 = outside, else the epoch it entered in. */
struct sop_epoch_slot {
    _Alignas(SOP_CACHE_LINE) _Atomic uint64_t entered;
    struct sop_epoch_slot *next; /* all slots, for ever */
    bool used;                   /* guarded by the mutex */
    uint32_t depth;              /* of the owner's nested entries */
};

struct sop_retired {
    struct sop_retired *next;
    void (*free_fn)(struct sop_retired *retired);
    uint64_t epoch;
};

struct sop_epochs {
    _Atomic uint64_t now;
    struct sop_mutex mutex;
    _Atomic(struct sop_epoch_slot *) slots;
    struct sop_retired *first, *last; /* in order of epoch */
    _Atomic uint64_t retired_count;   /* written under the mutex */
};

void sop_epochs_init(struct sop_epochs *e);
/* Nobody may be inside. Frees everything retired. */
void sop_epochs_fini(struct sop_epochs *e);
/* A slot for one user at a time; NULL when out of memory. */
struct sop_epoch_slot *sop_epoch_take(struct sop_epochs *e);
void sop_epoch_give(struct sop_epochs *e, struct sop_epoch_slot *slot);

static inline void sop_epoch_enter(struct sop_epochs *e, struct sop_epoch_slot *slot)
{
    if (slot->depth++ == 0) {
        /* acquire: who sees the clock moved on since something was unlinked, sees it unlinked
         */
        uint64_t now = atomic_load_explicit(&e->now, memory_order_acquire);
        /* seq_cst: the mark is visible before any shared pointer is loaded */
        atomic_exchange_explicit(&slot->entered, now, memory_order_seq_cst);
    }
}
static inline void sop_epoch_leave(struct sop_epoch_slot *slot)
{
    SOP_ASSERT(slot->depth > 0);
    if (--slot->depth == 0) {
        atomic_store_explicit(&slot->entered, 0, memory_order_release);
    }
}
/* `retired` (embedded in the object) must already be unreachable for newcomers. Any thread. */
void sop_epoch_retire(struct sop_epochs *e, struct sop_retired *retired,
                      void (*free_fn)(struct sop_retired *));
/* Advances and frees what can be freed now. Any thread, inside or outside. */
void sop_epoch_reclaim(struct sop_epochs *e);

#endif
