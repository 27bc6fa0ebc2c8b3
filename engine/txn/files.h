/* Which pack files hold how much that is still named, and which may be removed.
 *
 * live: bytes that the state at the head names (pages as of the newest checkpoint, values as of
 * the newest batch). bodies: sheets in memory that lie there (they keep it for pinned readers).
 * inflight: values of transactions that have not ended, and sheets that a running checkpoint
 * has written. A file may go when all three are zero, the two kept checkpoints do not name it,
 * it is not being written, and no pin is older than the moment when it was found dead. */
#ifndef SOP_FILES_H
#define SOP_FILES_H

#include "engine/base/thread.h"
#include "engine/pack/pack.h"
#include "engine/registry/registry.h"

struct sop_file_use {
    uint64_t member;
    uint32_t file;
    int64_t live;
    int64_t bodies;
    int64_t inflight;
    uint64_t dead_since; /* moment + 1 when a checkpoint first found it dead; 0 = not dead */
};

struct sop_files {
    struct sop_mutex mutex;
    struct sop_file_use *uses; /* sorted by (member, file) */
    size_t count, cap;
    bool failed; /* a count is missing: no file may be removed, and no manifest written */
};

void sop_files_init(struct sop_files *f);
void sop_files_fini(struct sop_files *f);
enum sop_files_what { SOP_FILES_LIVE, SOP_FILES_BODIES, SOP_FILES_INFLIGHT };
/* Makes sure that counting in the place's file cannot fail from now on. NOMEM. */
int sop_files_note(struct sop_files *f, const struct sop_place *place,
                   struct sop_err *err) SOP_MUST_USE;
/* Adds `change` to a count of the place's file, which was noted or is counted already. Out of
 * memory otherwise latches `failed`. */
void sop_files_add(struct sop_files *f, const struct sop_place *place, enum sop_files_what what,
                   int64_t change);
/* Files with live bytes, as an array for a manifest (sop_free by the caller). */
int sop_files_live(struct sop_files *f, struct sop_manifest_file **out, size_t *count,
                   struct sop_err *err) SOP_MUST_USE;
/* Copy of one file's use; zeros when unknown. */
struct sop_file_use sop_files_get(struct sop_files *f, uint64_t member, uint32_t file);
/* Marks a file found dead at `moment` (keeps the first mark), or alive (moment = SOP_NEVER).
 * Without memory it stays unmarked. */
void sop_files_mark(struct sop_files *f, uint64_t member, uint32_t file, uint64_t moment);
/* A count is missing, for lack of memory: only reopening tells again what is in use. */
bool sop_files_failed(struct sop_files *f);
void sop_files_forget(struct sop_files *f, uint64_t member, uint32_t file);
/* Sum of live bytes. */
uint64_t sop_files_live_bytes(struct sop_files *f);

#endif
