/* Ballast: files that do nothing but take room, so that there is some when the volume is full.
 *
 * Two of them, because two things need space before any can be given back:
 *   ballast-open   for openings: a member has files of its own. Every database has it, from its
 *                  creation on; it comes before the other.
 *   ballast        for checkpoints. Small databases have none: what they have to write fits
 * into what an opening leaves of the first. Whoever meets a full volume removes one and tries
 * again; later, with room, they are made anew. Neither is ever synced: all that counts is the
 * room that they take now. */
#ifndef SOP_BALLAST_H
#define SOP_BALLAST_H

#include "engine/txn/engine.h"

#define SOP_BALLAST_NAME           "ballast"
#define SOP_BALLAST_OPEN_NAME      "ballast-open"
#define SOP_BALLAST_OPEN_BYTES     (512ull << 10)
#define SOP_BALLAST_OPEN_BYTES_MIN (192ull << 10) /* suffices for one opening */
#define SOP_BALLAST_BYTES_MAX      (64ull << 20)
#define SOP_BALLAST_BYTES_MIN      (1ull << 20) /* less is not worth a file */
#define SOP_BALLAST_FRACTION       8            /* of the database's bytes */

enum sop_ballast { SOP_BALLAST_OPEN, SOP_BALLAST_CHECKPOINT };

/* Makes the ballast for openings if it is absent or smaller than it should be, as far as there
 * is room: on a nearly full volume it is a smaller one. True if it is there in full. *made
 * (NULL: of no interest) grows by the bytes that were added. */
bool sop_ballast_make_for_opening(struct sop_volume *v, uint64_t *made);
/* The same, then (`all`) the one for checkpoints, if it is worth it and there is room for many
 * times as much; makes that smaller or larger as the database has become much smaller or
 * larger. Errors are of no matter: then there is none, and the engine knows. Maintain lock
 * held. */
void sop_ballast_make(struct sop_engine *e, bool all);
/* Bytes that the one for checkpoints should have; 0: none. Any thread. */
uint64_t sop_ballast_wanted(const struct sop_engine *e);
/* What one takes now; 0: there is none. */
uint64_t sop_ballast_bytes(struct sop_volume *v, enum sop_ballast which);
/* Removes it; true if there was one. By an opening, or with the maintain lock held. */
bool sop_ballast_give_up(struct sop_volume *v, enum sop_ballast which);

#endif
