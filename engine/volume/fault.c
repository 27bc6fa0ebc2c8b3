/* A volume that wraps another one, counts operations, and fails or stops at a chosen one.
 *
 * The mutex guards the plan and the counters only: it is not held during wrapped operations nor
 * the stop callback, which may use the wrapped volume. After a stop every operation fails,
 * counted or not: the world ended there, and what comes later must not reach the wrapped
 * volume. Closing files always works. */
#include "engine/volume/fault.h"

#include "engine/base/thread.h"
#include "engine/volume/volume_int.h"

#include <stdio.h>

struct fault_volume {
    struct sop_volume base;
    struct sop_volume *wrapped;
    struct sop_mutex mutex;
    struct sop_fault_plan plan;
    uint64_t count;
    uint64_t calls[SOP_FAULT_OPS];
    bool stopped;
};

struct fault_file {
    struct sop_file base;
    struct sop_file *wrapped;
    bool direct;
};

static const struct sop_volume_ops fault_ops;

static struct fault_volume *fault_of(struct sop_volume *v)
{
    SOP_ASSERT(v->ops == &fault_ops);
    return (struct fault_volume *)v;
}

static struct sop_file *wrapped_file(struct sop_file *f)
{
    return ((struct fault_file *)f)->wrapped;
}

/* Counts one operation; the errno that it is to fail with, or 0. */
static int strike(struct sop_volume *v, enum sop_fault_op op, bool *half_write)
{
    struct fault_volume *fault = fault_of(v);
    sop_mutex_lock(&fault->mutex);
    fault->calls[op]++;
    struct sop_fault_plan plan = fault->plan;
    bool fails = fault->stopped;
    bool stops = false;
    if ((plan.ops & SOP_FAULT_BIT(op)) != 0) {
        uint64_t at = fault->count++;
        if (at == plan.at) {
            fails = true;
            stops = plan.stop != NULL && !fault->stopped;
            fault->stopped = fault->stopped || stops;
        } else if (at > plan.at) {
            fails = fails || plan.sticky;
        }
    }
    sop_mutex_unlock(&fault->mutex);
    if (stops) {
        plan.stop(plan.arg);
    }
    if (half_write != NULL) {
        *half_write = plan.half_write && plan.stop == NULL;
    }
    return fails ? plan.sys : 0;
}

static int struck(int sys, const char *what, struct sop_err *err)
{
    return SOP_VOLUME__ERR(err, sys, "injected fault: %s", what);
}

static int fault_file_open(struct sop_volume *v, const char *path, unsigned flags,
                           struct sop_file **out, struct sop_err *err)
{
    int sys = strike(v, SOP_FAULT_OPEN, NULL);
    if (sys != 0) {
        return struck(sys, path, err);
    }
    struct fault_file *file = sop_malloc(sizeof *file);
    if (file == NULL) {
        return SOP_ERR(err, NOMEM, "open %s", path);
    }
    file->base.volume = v;
    file->direct = (flags & SOP_OPEN_DIRECT) != 0;
    int rc = sop_file_open(fault_of(v)->wrapped, path, flags, &file->wrapped, err);
    if (rc != 0) {
        sop_free(file);
        return rc;
    }
    *out = &file->base;
    return 0;
}

static void fault_file_close(struct sop_file *f)
{
    sop_file_close(wrapped_file(f));
    sop_free(f);
}

static int fault_file_read(struct sop_file *f, uint64_t offset, void *to, size_t len,
                           size_t *got, struct sop_err *err)
{
    int sys = strike(f->volume, SOP_FAULT_READ, NULL);
    if (sys != 0) {
        if (got != NULL) {
            *got = 0;
        }
        return struck(sys, "read", err);
    }
    return sop_file_read(wrapped_file(f), offset, to, len, got, err);
}

static int fault_file_write(struct sop_file *f, uint64_t offset, const void *from, size_t len,
                            struct sop_err *err)
{
    bool half_write;
    int sys = strike(f->volume, SOP_FAULT_WRITE, &half_write);
    if (sys == 0) {
        return sop_file_write(wrapped_file(f), offset, from, len, err);
    }
    size_t half = len / 2;
    if (((struct fault_file *)f)->direct) {
        half -= half % SOP_DIRECT_ALIGN;
    }
    if (half_write && half != 0) {
        (void)sop_file_write(wrapped_file(f), offset, from, half, NULL);
    }
    return struck(sys, "write", err);
}

static int fault_file_reserve(struct sop_file *f, uint64_t bytes, struct sop_err *err)
{
    bool half;
    int sys = strike(f->volume, SOP_FAULT_WRITE, &half);
    if (sys == 0) {
        return sop_file_reserve(wrapped_file(f), bytes, err);
    }
    if (half) {
        (void)sop_file_reserve(wrapped_file(f), bytes / 2, NULL);
    }
    return struck(sys, "reserve", err);
}

static int fault_file_sync(struct sop_file *f, struct sop_err *err)
{
    int sys = strike(f->volume, SOP_FAULT_SYNC, NULL);
    return sys != 0 ? struck(sys, "sync", err) : sop_file_sync(wrapped_file(f), err);
}

static int fault_file_size(struct sop_file *f, uint64_t *bytes, struct sop_err *err)
{
    int sys = strike(f->volume, SOP_FAULT_STAT, NULL);
    return sys != 0 ? struck(sys, "size", err) : sop_file_size(wrapped_file(f), bytes, err);
}

static int fault_file_lock(struct sop_file *f, struct sop_err *err)
{
    int sys = strike(f->volume, SOP_FAULT_LOCK, NULL);
    return sys != 0 ? struck(sys, "lock", err) : sop_file_lock(wrapped_file(f), err);
}

static int fault_lock_holder(struct sop_volume *v, const char *path,
                             struct sop_lock_holder *out, struct sop_err *err)
{
    int sys = strike(v, SOP_FAULT_LOCK, NULL);
    return sys != 0 ? struck(sys, path, err)
                    : sop_volume_lock_holder(fault_of(v)->wrapped, path, out, err);
}

static int fault_link(struct sop_volume *v, const char *from, const char *to,
                      struct sop_err *err)
{
    int sys = strike(v, SOP_FAULT_LINK, NULL);
    return sys != 0 ? struck(sys, to, err)
                    : sop_volume_link(fault_of(v)->wrapped, from, to, err);
}

static int fault_unlink(struct sop_volume *v, const char *path, struct sop_err *err)
{
    int sys = strike(v, SOP_FAULT_UNLINK, NULL);
    return sys != 0 ? struck(sys, path, err)
                    : sop_volume_unlink(fault_of(v)->wrapped, path, err);
}

static int fault_mkdir(struct sop_volume *v, const char *path, struct sop_err *err)
{
    int sys = strike(v, SOP_FAULT_MKDIR, NULL);
    return sys != 0 ? struck(sys, path, err)
                    : sop_volume_mkdir(fault_of(v)->wrapped, path, err);
}

static int fault_rmdir(struct sop_volume *v, const char *path, struct sop_err *err)
{
    int sys = strike(v, SOP_FAULT_RMDIR, NULL);
    return sys != 0 ? struck(sys, path, err)
                    : sop_volume_rmdir(fault_of(v)->wrapped, path, err);
}

static int fault_dir_sync(struct sop_volume *v, const char *path, struct sop_err *err)
{
    int sys = strike(v, SOP_FAULT_DIR_SYNC, NULL);
    return sys != 0 ? struck(sys, path, err)
                    : sop_volume_dir_sync(fault_of(v)->wrapped, path, err);
}

static int fault_list(struct sop_volume *v, const char *path, sop_list_fn each, void *arg,
                      struct sop_err *err)
{
    int sys = strike(v, SOP_FAULT_LIST, NULL);
    return sys != 0 ? struck(sys, path, err)
                    : sop_volume_list(fault_of(v)->wrapped, path, each, arg, err);
}

static int fault_stat(struct sop_volume *v, const char *path, struct sop_stat *out,
                      struct sop_err *err)
{
    int sys = strike(v, SOP_FAULT_STAT, NULL);
    return sys != 0 ? struck(sys, path, err)
                    : sop_volume_stat(fault_of(v)->wrapped, path, out, err);
}

static int fault_space(struct sop_volume *v, uint64_t *free_bytes, struct sop_err *err)
{
    int sys = strike(v, SOP_FAULT_STAT, NULL);
    return sys != 0 ? struck(sys, "space", err)
                    : sop_volume_space(fault_of(v)->wrapped, free_bytes, err);
}

static void fault_destroy(struct sop_volume *v)
{
    struct fault_volume *fault = fault_of(v);
    sop_mutex_fini(&fault->mutex);
    sop_free(fault);
}

static const struct sop_volume_ops fault_ops = {
    .file_open = fault_file_open,
    .file_close = fault_file_close,
    .file_read = fault_file_read,
    .file_write = fault_file_write,
    .file_reserve = fault_file_reserve,
    .file_sync = fault_file_sync,
    .file_size = fault_file_size,
    .file_lock = fault_file_lock,
    .lock_holder = fault_lock_holder,
    .link = fault_link,
    .unlink = fault_unlink,
    .mkdir = fault_mkdir,
    .rmdir = fault_rmdir,
    .dir_sync = fault_dir_sync,
    .list = fault_list,
    .stat = fault_stat,
    .space = fault_space,
    .destroy = fault_destroy,
};

int sop_volume_fault_new(struct sop_volume *wrapped, struct sop_volume **out,
                         struct sop_err *err)
{
    *out = NULL;
    struct fault_volume *fault = sop_calloc(1, sizeof *fault);
    if (fault == NULL) {
        return SOP_ERR(err, NOMEM, "wrap volume %s", wrapped->shown);
    }
    fault->base = *wrapped;
    fault->base.ops = &fault_ops;
    fault->wrapped = wrapped;
    fault->plan.at = UINT64_MAX;
    sop_mutex_init(&fault->mutex, SOP_RANK_LEAF);
    *out = &fault->base;
    return 0;
}

void sop_volume_fault_set(struct sop_volume *v, const struct sop_fault_plan *plan)
{
    SOP_ASSERT(plan->at == UINT64_MAX || plan->sys > 0);
    struct fault_volume *fault = fault_of(v);
    sop_mutex_lock(&fault->mutex);
    fault->plan = *plan;
    fault->count = 0;
    fault->stopped = false;
    sop_mutex_unlock(&fault->mutex);
}

uint64_t sop_volume_fault_count(struct sop_volume *v)
{
    struct fault_volume *fault = fault_of(v);
    sop_mutex_lock(&fault->mutex);
    uint64_t count = fault->count;
    sop_mutex_unlock(&fault->mutex);
    return count;
}

uint64_t sop_volume_fault_calls(struct sop_volume *v, enum sop_fault_op op)
{
    SOP_ASSERT(op < SOP_FAULT_OPS);
    struct fault_volume *fault = fault_of(v);
    sop_mutex_lock(&fault->mutex);
    uint64_t calls = fault->calls[op];
    sop_mutex_unlock(&fault->mutex);
    return calls;
}
