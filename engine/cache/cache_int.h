/* What the cache and its parts share. */
#ifndef SOP_CACHE_INT_H
#define SOP_CACHE_INT_H

#include "engine/cache/cache.h"

/* Puts a clean body that is resident, whole or in part, into the ring. Cache mutex held. */
void sop_cache__ring_add(struct sop_cache *c, struct sop_body *b);

/* The clock passes the parts of a body: chunks that were used since the last time cool, the
 * others go. True: chunks are left. Cache mutex held. */
bool sop_cache__parts_sweep(struct sop_body *b);
/* Gives up all parts; true: there were any. Cache mutex held. */
bool sop_cache__parts_drop(struct sop_body *b);
/* Frees the parts of a body that nobody can reach any more. */
void sop_cache__parts_free(struct sop_body *b);

#endif
