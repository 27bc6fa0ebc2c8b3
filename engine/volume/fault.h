/* A volume that wraps another one and misbehaves on request: counts every operation, fails
 * chosen ones, or stops the world at one. Owned apart from the wrapped volume, which must
 * outlive it and is not destroyed with it. */
#ifndef SOP_VOLUME_FAULT_H
#define SOP_VOLUME_FAULT_H

#include "engine/volume/volume.h"

enum sop_fault_op {
    SOP_FAULT_OPEN,
    SOP_FAULT_READ,
    SOP_FAULT_WRITE,
    SOP_FAULT_SYNC,
    SOP_FAULT_LINK,
    SOP_FAULT_UNLINK,
    SOP_FAULT_MKDIR,
    SOP_FAULT_RMDIR,
    SOP_FAULT_DIR_SYNC,
    SOP_FAULT_LIST,
    SOP_FAULT_STAT,
    SOP_FAULT_LOCK,
    SOP_FAULT_OPS,
};
#define SOP_FAULT_BIT(op) (1u << (op))
#define SOP_FAULT_ALL     ((1u << SOP_FAULT_OPS) - 1u)

struct sop_fault_plan {
    unsigned ops;    /* set of SOP_FAULT_BIT: which operations count and may fail */
    uint64_t at;     /* the at-th counted operation (from 0) fails; UINT64_MAX = none */
    int sys;         /* errno to fail with (EIO, ENOSPC, ...) */
    bool sticky;     /* every counted operation from `at` on fails */
    bool half_write; /* a failing write writes its first half before failing */
    /* If set: called before operation `at` instead of failing it (with the wrapped volume in
     * the state of a crash right here); the operation then fails with sys, as do all later
     * ones, so that the code under test unwinds. */
    void (*stop)(void *arg);
    void *arg;
};

int sop_volume_fault_new(struct sop_volume *wrapped, struct sop_volume **out,
                         struct sop_err *err) SOP_MUST_USE;
/* Replaces the plan and resets the count of operations to 0. Thread-safe. */
void sop_volume_fault_set(struct sop_volume *v, const struct sop_fault_plan *plan);
/* Operations counted under the current plan, and all calls of one kind since new. */
uint64_t sop_volume_fault_count(struct sop_volume *v);
uint64_t sop_volume_fault_calls(struct sop_volume *v, enum sop_fault_op op);

#endif
