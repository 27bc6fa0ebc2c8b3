/* Ballast: a file that does nothing but take room, so that there is some when the volume is
 * full.
 *
 * A checkpoint needs space before it can give any back. When it meets a full volume the ballast
 * is removed and the checkpoint tried again; a later one, with room, makes the ballast anew.
 * Small databases have none: their journals, made ahead, are ballast enough. */
#ifndef SOP_BALLAST_H
#define SOP_BALLAST_H

#include "engine/txn/engine.h"

#define SOP_BALLAST_BYTES_MAX (64ull << 20)
#define SOP_BALLAST_BYTES_MIN (1ull << 20) /* less is not worth a file */
#define SOP_BALLAST_FRACTION  8            /* of the database's bytes */

/* Makes the ballast if it is absent, worth it, and there is room for many times as much; makes
 * it smaller once the database has become much smaller. Errors are of no matter: then there is
 * none. Maintain lock held. */
void sop_ballast_make(struct sop_engine *e);
/* Removes it; true if there was one. Maintain lock held. */
bool sop_ballast_give_up(struct sop_engine *e);

#endif
