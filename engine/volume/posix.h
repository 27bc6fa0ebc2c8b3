/* Real files below a root folder, through openat(2). */
#ifndef SOP_VOLUME_POSIX_H
#define SOP_VOLUME_POSIX_H

#include "engine/volume/volume.h"

/* `root` must be an existing folder. NOT_FOUND, READ_ONLY, IO, NOMEM; REFUSED_VOLUME when
 * statfs / mountinfo show a file system or mount options that PROTOCOL.md section 2 refuses
 * (SMB, FUSE over object storage, NFS without lookupcache=none|pos). *out is due
 * sop_volume_destroy(). */
int sop_volume_posix_open(const char *root, struct sop_volume **out,
                          struct sop_err *err) SOP_MUST_USE;

/* Makes the folder `root` (its parent must exist); an existing one is success. NOT_FOUND,
 * READ_ONLY, NOSPACE, IO. */
int sop_volume_posix_make_root(const char *root, struct sop_err *err) SOP_MUST_USE;

#endif
