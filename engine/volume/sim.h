/* A volume in memory that knows what is durable: the crash simulator.
 *
 * Each file keeps its visible bytes and, per 512-byte sector, what is durable and what was
 * written since the last sync; each folder keeps its names and the ordered list of changes
 * since its last sync. A crash builds a new disk from that, drawn by a seed. */
#ifndef SOP_VOLUME_SIM_H
#define SOP_VOLUME_SIM_H

#include "engine/volume/volume.h"

/* How a crash treats what was not synced. */
struct sop_sim_crash {
    uint64_t seed;
    /* Chances in percent, applied to each unsynced 512-byte sector independently;
     * the rest of 100 is: dropped (old content, or zeros / absent beyond the old size). */
    unsigned keep_sector;
    unsigned garble_sector; /* random bytes */
    /* Chance in percent that a folder keeps all its unsynced name changes; otherwise a prefix
     * of them, drawn uniformly, survives (names of one folder become durable in order). */
    unsigned keep_names;
};

/* An empty volume (root folder only). *out is due sop_volume_destroy(). NOMEM. */
int sop_volume_sim_new(struct sop_volume **out, struct sop_err *err) SOP_MUST_USE;
/* The disk that a power loss now would leave, as a new independent volume; `v` is unchanged.
 * `how` NULL: everything unsynced is dropped. Locks are gone in the copy. */
int sop_volume_sim_crash(struct sop_volume *v, const struct sop_sim_crash *how,
                         struct sop_volume **out, struct sop_err *err) SOP_MUST_USE;
/* Independent copy with everything visible kept as is (kill -9: the page cache survives),
 * locks gone. */
int sop_volume_sim_copy(struct sop_volume *v, struct sop_volume **out,
                        struct sop_err *err) SOP_MUST_USE;
/* Test access: flip one bit / set the visible and durable size of a file. */
int sop_volume_sim_flip(struct sop_volume *v, const char *path, uint64_t bit,
                        struct sop_err *err) SOP_MUST_USE;
int sop_volume_sim_truncate(struct sop_volume *v, const char *path, uint64_t bytes,
                            struct sop_err *err) SOP_MUST_USE;
/* From now on, in files opened later and in copies of the volume, a write into a 4096-byte
 * block that holds anything but zeros since a sync ends the process, if once(path) says so.
 * NULL: not any more. For tests that do not write and sync one file at the same time: a sync
 * takes along what others write meanwhile, and that is no promise; such a block may be written
 * on. */
void sop_volume_sim_write_once(struct sop_volume *v, bool (*once)(const char *path));
/* Bytes the volume may hold before NOSPACE; 0 = no limit. */
void sop_volume_sim_set_capacity(struct sop_volume *v, uint64_t bytes);
/* Sync calls (file_sync + dir_sync) so far. */
uint64_t sop_volume_sim_syncs(struct sop_volume *v);

#endif
