/* Is a transaction still valid at the head? Keys, absences and ranges that it read are looked
 * up again; pages that have not changed since its snapshot need no look (docs/ARCHITECTURE.md
 * 4). */
#ifndef SOP_VALIDATE_H
#define SOP_VALIDATE_H

#include "engine/txn/engine.h"

/* CONFLICT (with the store and what changed in the text), or 0. Against the head `moment`, by
 * reading both states. Inside the epoch of `slot`. */
int sop_validate(struct sop_txn *t, uint64_t moment, struct sop_epoch_slot *slot,
                 struct sop_err *err) SOP_MUST_USE;
/* Against the changes of a transaction that goes before it in the same batch, or that is
 * prepared (then both ways): by keys alone. */
int sop_validate_after(struct sop_txn *t, const struct sop_txn *earlier,
                       struct sop_err *err) SOP_MUST_USE;

#endif
