/* Which files of a database consist of blocks that are never written again after a sync: the
 * rule that the simulated volume checks for the tests. */
#ifndef SOP_TEST_WRITE_ONCE_H
#define SOP_TEST_WRITE_ONCE_H

#include "engine/volume/sim.h"

#include <string.h>

/* All but the flags (GATE, TEN, TEN.<i>), the beat, and ballast, which nobody reads. */
static inline bool write_once_path(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *leaf = slash != NULL ? slash + 1 : path;
    return strcmp(leaf, "GATE") != 0 && strncmp(leaf, "TEN", 3) != 0 &&
           strcmp(leaf, "beat") != 0 && strncmp(leaf, "ballast", 7) != 0;
}

static inline void write_once(struct sop_volume *v)
{
    sop_volume_sim_write_once(v, write_once_path);
}

#endif
