/* Shared by the back ends of this folder only. */
#ifndef SOP_VOLUME_INT_H
#define SOP_VOLUME_INT_H

#include "engine/volume/volume.h"

#define SOP_DIRECT_ALIGN 4096u

/* The code of an errno, by the table in volume.h. */
int sop_volume__code(int sys);
#define SOP_VOLUME__ERR(err, sys, ...)                                                         \
    sop_err_set(err, sop_volume__code(sys), sys, __FILE__, __LINE__, __VA_ARGS__)

/* Whether a path keeps the rules: relative, no "..", no empty part. "" and "." are the root. */
bool sop_volume__path_ok(const char *path);
/* Whether a transfer keeps the rules of SOP_OPEN_DIRECT. Checked by every back end, so that a
 * breach shows also where the file system would forgive it. */
static inline bool sop_volume__direct_ok(uint64_t offset, const void *memory, size_t len)
{
    return (offset | (uintptr_t)memory | len) % SOP_DIRECT_ALIGN == 0;
}

#endif
