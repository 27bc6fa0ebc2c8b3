/* A volume that tells a test before and after each operation. */
#include "tests/lib/watch_volume.h"

#include <stdlib.h>

struct watch_volume {
    struct sop_volume base;
    struct sop_volume *wrapped;
    struct watch_calls calls;
};
struct watch_file {
    struct sop_file base;
    struct sop_file *wrapped;
};

static struct watch_volume *watch_of(struct sop_volume *v)
{
    return (struct watch_volume *)v;
}

static struct sop_file *inner(struct sop_file *f)
{
    return ((struct watch_file *)f)->wrapped;
}

static void begin(struct sop_volume *v, enum sop_fault_op op)
{
    struct watch_volume *w = watch_of(v);
    if (w->calls.before != NULL) {
        w->calls.before(w->calls.arg, op);
    }
}

static int end(struct sop_volume *v, enum sop_fault_op op, int rc)
{
    struct watch_volume *w = watch_of(v);
    if (w->calls.after != NULL) {
        w->calls.after(w->calls.arg, op);
    }
    return rc;
}

static void moved(struct sop_volume *v, enum sop_fault_op op, uint64_t bytes)
{
    struct watch_volume *w = watch_of(v);
    if (w->calls.moved != NULL) {
        w->calls.moved(w->calls.arg, op, bytes);
    }
}

static int watch_open(struct sop_volume *v, const char *path, unsigned flags,
                      struct sop_file **out, struct sop_err *err)
{
    begin(v, SOP_FAULT_OPEN);
    struct watch_file *f = calloc(1, sizeof *f);
    if (f == NULL) {
        abort();
    }
    f->base.volume = v;
    int rc = sop_file_open(watch_of(v)->wrapped, path, flags, &f->wrapped, err);
    if (rc == 0) {
        *out = &f->base;
    } else {
        free(f);
    }
    return end(v, SOP_FAULT_OPEN, rc);
}

static void watch_close(struct sop_file *f)
{
    sop_file_close(inner(f));
    free(f);
}

static int watch_read(struct sop_file *f, uint64_t offset, void *to, size_t len, size_t *got,
                      struct sop_err *err)
{
    begin(f->volume, SOP_FAULT_READ);
    int rc = sop_file_read(inner(f), offset, to, len, got, err);
    if (rc == 0) {
        moved(f->volume, SOP_FAULT_READ, got != NULL ? *got : len);
    }
    return end(f->volume, SOP_FAULT_READ, rc);
}

static int watch_write(struct sop_file *f, uint64_t offset, const void *from, size_t len,
                       struct sop_err *err)
{
    begin(f->volume, SOP_FAULT_WRITE);
    int rc = sop_file_write(inner(f), offset, from, len, err);
    if (rc == 0) {
        moved(f->volume, SOP_FAULT_WRITE, len);
    }
    return end(f->volume, SOP_FAULT_WRITE, rc);
}

static int watch_reserve(struct sop_file *f, uint64_t bytes, struct sop_err *err)
{
    begin(f->volume, SOP_FAULT_WRITE);
    return end(f->volume, SOP_FAULT_WRITE, sop_file_reserve(inner(f), bytes, err));
}

static int watch_sync(struct sop_file *f, struct sop_err *err)
{
    begin(f->volume, SOP_FAULT_SYNC);
    return end(f->volume, SOP_FAULT_SYNC, sop_file_sync(inner(f), err));
}

static int watch_size(struct sop_file *f, uint64_t *bytes, struct sop_err *err)
{
    begin(f->volume, SOP_FAULT_STAT);
    return end(f->volume, SOP_FAULT_STAT, sop_file_size(inner(f), bytes, err));
}

static int watch_lock(struct sop_file *f, struct sop_err *err)
{
    begin(f->volume, SOP_FAULT_LOCK);
    return end(f->volume, SOP_FAULT_LOCK, sop_file_lock(inner(f), err));
}

static int watch_holder(struct sop_volume *v, const char *path, struct sop_lock_holder *out,
                        struct sop_err *err)
{
    begin(v, SOP_FAULT_LOCK);
    return end(v, SOP_FAULT_LOCK, sop_volume_lock_holder(watch_of(v)->wrapped, path, out, err));
}

static int watch_link(struct sop_volume *v, const char *from, const char *to,
                      struct sop_err *err)
{
    begin(v, SOP_FAULT_LINK);
    return end(v, SOP_FAULT_LINK, sop_volume_link(watch_of(v)->wrapped, from, to, err));
}

static int watch_unlink(struct sop_volume *v, const char *path, struct sop_err *err)
{
    begin(v, SOP_FAULT_UNLINK);
    return end(v, SOP_FAULT_UNLINK, sop_volume_unlink(watch_of(v)->wrapped, path, err));
}

static int watch_mkdir(struct sop_volume *v, const char *path, struct sop_err *err)
{
    begin(v, SOP_FAULT_MKDIR);
    return end(v, SOP_FAULT_MKDIR, sop_volume_mkdir(watch_of(v)->wrapped, path, err));
}

static int watch_rmdir(struct sop_volume *v, const char *path, struct sop_err *err)
{
    begin(v, SOP_FAULT_RMDIR);
    return end(v, SOP_FAULT_RMDIR, sop_volume_rmdir(watch_of(v)->wrapped, path, err));
}

static int watch_dir_sync(struct sop_volume *v, const char *path, struct sop_err *err)
{
    begin(v, SOP_FAULT_DIR_SYNC);
    return end(v, SOP_FAULT_DIR_SYNC, sop_volume_dir_sync(watch_of(v)->wrapped, path, err));
}

/* Names are gathered inside and handed up outside: what the caller does with them is its own.
 */
struct names {
    char *text;
    size_t len, cap;
};

static int gather(void *arg, const char *name, struct sop_err *err)
{
    struct names *n = arg;
    size_t len = strlen(name) + 1;
    (void)err;
    if (n->len + len > n->cap) {
        n->cap = (n->cap + len) * 2;
        n->text = realloc(n->text, n->cap);
        if (n->text == NULL) {
            abort();
        }
    }
    memcpy(n->text + n->len, name, len);
    n->len += len;
    return 0;
}

static int watch_list(struct sop_volume *v, const char *path, sop_list_fn each, void *arg,
                      struct sop_err *err)
{
    struct names n = {0};
    begin(v, SOP_FAULT_LIST);
    int rc = sop_volume_list(watch_of(v)->wrapped, path, gather, &n, err);
    rc = end(v, SOP_FAULT_LIST, rc);
    for (size_t at = 0; rc == 0 && at < n.len; at += strlen(n.text + at) + 1) {
        rc = each(arg, n.text + at, err);
    }
    free(n.text);
    return rc;
}

static int watch_stat(struct sop_volume *v, const char *path, struct sop_stat *out,
                      struct sop_err *err)
{
    begin(v, SOP_FAULT_STAT);
    return end(v, SOP_FAULT_STAT, sop_volume_stat(watch_of(v)->wrapped, path, out, err));
}

static int watch_space(struct sop_volume *v, uint64_t *free_bytes, struct sop_err *err)
{
    begin(v, SOP_FAULT_STAT);
    return end(v, SOP_FAULT_STAT, sop_volume_space(watch_of(v)->wrapped, free_bytes, err));
}

static void watch_destroy(struct sop_volume *v)
{
    free(v);
}

static const struct sop_volume_ops watch_ops = {
    .file_open = watch_open,
    .file_close = watch_close,
    .file_read = watch_read,
    .file_write = watch_write,
    .file_reserve = watch_reserve,
    .file_sync = watch_sync,
    .file_size = watch_size,
    .file_lock = watch_lock,
    .lock_holder = watch_holder,
    .link = watch_link,
    .unlink = watch_unlink,
    .mkdir = watch_mkdir,
    .rmdir = watch_rmdir,
    .dir_sync = watch_dir_sync,
    .list = watch_list,
    .stat = watch_stat,
    .space = watch_space,
    .destroy = watch_destroy,
};

struct sop_volume *watch_volume_new(struct sop_volume *wrapped, const struct watch_calls *calls)
{
    struct watch_volume *w = calloc(1, sizeof *w);
    if (w == NULL) {
        abort();
    }
    w->base = *wrapped;
    w->base.ops = &watch_ops;
    w->wrapped = wrapped;
    w->calls = *calls;
    return &w->base;
}
