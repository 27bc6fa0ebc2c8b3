/* Which mounts keep the volume contract: pure judgement over what the kernel tells. */
#ifndef SOP_MOUNT_INT_H
#define SOP_MOUNT_INT_H

#include "engine/base/base.h"

/* One line of /proc/self/mountinfo; borrows from it. */
struct sop_mount {
    struct sop_slice type;    /* "nfs4", "fuse.s3fs" */
    struct sop_slice source;  /* "server:/export" */
    struct sop_slice options; /* of the file system, comma separated */
};

/* Finds the mount with this id in the text of mountinfo. false if it is not there or its line
 * cannot be understood. */
bool sop_mount__find(struct sop_slice mountinfo, uint64_t id, struct sop_mount *out);
/* Whether judging needs the mount line: true for NFS and FUSE. magic: f_type of statfs. */
bool sop_mount__needed(uint64_t magic);
/* Judges a file system. mount may be NULL only if it is not needed, or could not be found (then
 * a file system that needs it is refused). *one_host is set on success. REFUSED_VOLUME. */
int sop_mount__judge(uint64_t magic, const struct sop_mount *mount, bool *one_host,
                     struct sop_err *err) SOP_MUST_USE;

#endif
