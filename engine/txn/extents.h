/* The extents of the newest checkpoint: where pages lie that nobody has touched since opening,
 * and the writing of new extents by the next checkpoint. Few are kept in memory. */
#ifndef SOP_EXTENTS_H
#define SOP_EXTENTS_H

#include "engine/base/limits.h"
#include "engine/base/thread.h"
#include "engine/cache/cache.h"
#include "engine/registry/registry.h"

#define SOP_EXTENTS_LOADED_MAX 8

struct sop_extents {
    struct sop_mutex mutex;
    struct sop_volume *volume;
    struct sop_cache *cache;
    uint8_t database_id[16];
    struct sop_extent_ref *refs; /* ascending by extent */
    size_t count;
    struct sop_extent *loaded[SOP_EXTENTS_LOADED_MAX];
    uint64_t used_at[SOP_EXTENTS_LOADED_MAX];
    uint64_t clock;
};

void sop_extents_init(struct sop_extents *x, struct sop_volume *v, struct sop_cache *c,
                      const uint8_t database_id[16]);
void sop_extents_fini(struct sop_extents *x);
/* Takes over the list of a manifest (copied). Forgets what is loaded. */
int sop_extents_set(struct sop_extents *x, const struct sop_extent_ref *refs, size_t count,
                    struct sop_err *err) SOP_MUST_USE;
/* The same with a list made by sop_extents_write, which is taken over. Cannot fail: a
 * checkpoint that is official must be used. */
void sop_extents_take(struct sop_extents *x, struct sop_extent_ref *take_refs, size_t count);
/* The handle of a page; all zero when the page is in no extent. */
int sop_extents_handle(struct sop_extents *x, uint64_t page, struct sop_handle *out,
                       struct sop_err *err) SOP_MUST_USE;
/* Reads the extents that the checkpoint (lsn, member) wrote itself: as many as were changed by
 * what came before it. DATA_LOSS: one is missing or damaged. For openings: nobody else uses x.
 */
int sop_extents_check(struct sop_extents *x, struct sop_lsn lsn, uint64_t member,
                      struct sop_err *err) SOP_MUST_USE;

struct sop_handle_change {
    uint64_t page;
    struct sop_handle handle; /* lsn {0,0}: the page is free now */
    struct sop_handle before; /* filled by sop_extents_write */
};
/* Writes new extent files for the changes (ascending by page), stamped (lsn, member), and gives
 * the new complete list of refs (sop_free by the caller). Extents that became empty drop out.
 * Nothing is installed: call sop_extents_take once the checkpoint is official. */
int sop_extents_write(struct sop_extents *x, struct sop_handle_change *changes, size_t count,
                      struct sop_lsn lsn, uint64_t member, struct sop_extent_ref **refs,
                      size_t *refs_count, struct sop_err *err) SOP_MUST_USE;

#endif
