/* The volume: every operation that reaches stored files goes through this table.
 *
 * Back ends: posix (real files below a root folder), sim (in memory; models what is volatile
 * and what is durable, cuts power), fault (wraps another; counts operations, fails or stops at
 * the n-th). The engine never calls open(2) and friends itself.
 *
 * Paths are relative to the volume's root, '/'-separated, no leading '/', no "..".
 * Any thread, unless said otherwise. Every function: 0 or a negative code with *err filled;
 * on failure of a write or sync the caller must assume nothing about the bytes concerned and
 * must never retry a sync on the same file as if it could succeed.
 *
 * Error codes: ENOENT/ENOTDIR -> NOT_FOUND, EEXIST -> EXISTS, ENOSPC/EDQUOT -> NOSPACE,
 * EROFS/EACCES/EPERM -> READ_ONLY, ENOMEM -> NOMEM, everything else -> IO; err->sys = errno. */
#ifndef SOP_VOLUME_H
#define SOP_VOLUME_H

#include "engine/base/base.h"

enum sop_open_flags {
    SOP_OPEN_READ = 1,
    SOP_OPEN_WRITE = 2,  /* implies READ */
    SOP_OPEN_CREATE = 4, /* with EXCLUSIVE only: files are never created by accident */
    SOP_OPEN_EXCLUSIVE = 8,
    SOP_OPEN_DIRECT = 16, /* O_DIRECT where it serves: offset, length, memory 4096-aligned.
                             A back end that cannot ignores it. One mode per file, always. */
    SOP_OPEN_RANDOM = 32, /* what is read through this open file are single places: nothing
                             beyond them should be fetched. Advice that changes no result; a
                             back end that fetches nothing ahead ignores it. */
};

enum sop_file_kind { SOP_FILE_ABSENT = 0, SOP_FILE_REGULAR = 1, SOP_FILE_DIRECTORY = 2 };
struct sop_stat {
    enum sop_file_kind kind;
    uint64_t bytes;           /* size */
    uint64_t allocated_bytes; /* st_blocks * 512 */
    uint32_t links;
};

/* The lock asked about by lock_holder. */
struct sop_lock_holder {
    bool held;
    int64_t pid; /* 0 if unknown (another host) */
};

struct sop_volume;
struct sop_file; /* an open file; any thread may use it at once for disjoint ranges */

/* Called for each name of a folder, in no particular order; nonzero stops the listing and is
 * returned by list(). `name` dies with the call. */
typedef int (*sop_list_fn)(void *arg, const char *name, struct sop_err *err);

struct sop_volume_ops {
    /* *out is due a file_close() after success. */
    int (*file_open)(struct sop_volume *v, const char *path, unsigned flags,
                     struct sop_file **out, struct sop_err *err);
    void (*file_close)(struct sop_file *f);
    /* Exactly len bytes at offset. Reading over the end of the file: SOP_ERR_END, *got bytes
     * are filled (got may be NULL). */
    int (*file_read)(struct sop_file *f, uint64_t offset, void *to, size_t len, size_t *got,
                     struct sop_err *err);
    /* All len bytes or an error; a write may be torn by a crash at 512-byte granularity. */
    int (*file_write)(struct sop_file *f, uint64_t offset, const void *from, size_t len,
                      struct sop_err *err);
    /* Room for bytes 0 .. `bytes` of a new, empty file: they read as zeros, and writing them
     * cannot run out of space. UNSUPPORTED: the back end cannot. NOSPACE. After a failure part
     * of the room may be taken. */
    int (*file_reserve)(struct sop_file *f, uint64_t bytes, struct sop_err *err);
    /* These bytes will be synced soon: the device may begin with them. No promise, no error.
     * NULL: the back end has no use for it. */
    void (*file_hurry)(struct sop_file *f, uint64_t offset, uint64_t bytes);
    /* After 0 every byte written before the call, and the file's size, survives power loss. */
    int (*file_sync)(struct sop_file *f, struct sop_err *err);
    int (*file_size)(struct sop_file *f, uint64_t *bytes, struct sop_err *err);
    /* Exclusive lock of the whole file for this process (fcntl record lock: lost when the
     * process ends or closes any descriptor of the file; not inherited by fork). BUSY with the
     * holder's pid in the text if another process has it. */
    int (*file_lock)(struct sop_file *f, struct sop_err *err);
    /* Who holds the lock on `path`, asked without taking it. The caller must not itself be the
     * holder of it through this process. NOT_FOUND if there is no such file. */
    int (*lock_holder)(struct sop_volume *v, const char *path, struct sop_lock_holder *out,
                       struct sop_err *err);

    /* Create-if-absent: the one contended operation. EXISTS if `to` is there. */
    int (*link)(struct sop_volume *v, const char *from, const char *to, struct sop_err *err);
    int (*unlink)(struct sop_volume *v, const char *path, struct sop_err *err);
    int (*mkdir)(struct sop_volume *v, const char *path, struct sop_err *err);
    int (*rmdir)(struct sop_volume *v, const char *path, struct sop_err *err);
    /* After 0 every name made or removed in the folder before the call survives power loss. */
    int (*dir_sync)(struct sop_volume *v, const char *path, struct sop_err *err);
    int (*list)(struct sop_volume *v, const char *path, sop_list_fn each, void *arg,
                struct sop_err *err);
    /* An absent path is success with kind SOP_FILE_ABSENT. */
    int (*stat)(struct sop_volume *v, const char *path, struct sop_stat *out,
                struct sop_err *err);
    /* Free bytes for this user; UINT64_MAX if the back end cannot tell. */
    int (*space)(struct sop_volume *v, uint64_t *free_bytes, struct sop_err *err);
    void (*destroy)(struct sop_volume *v);
    /* Equal for two volumes of this process exactly if they are the same folder. NULL: the
     * volume is its own identity. */
    int (*identity)(struct sop_volume *v, uint8_t id[16], struct sop_err *err);
};

struct sop_volume {
    const struct sop_volume_ops *ops;
    bool one_host;   /* ext4, xfs, btrfs, tmpfs: no other host mounts it */
    char shown[256]; /* the root as shown in messages */
};

static inline int sop_file_open(struct sop_volume *v, const char *path, unsigned flags,
                                struct sop_file **out, struct sop_err *err)
{
    return v->ops->file_open(v, path, flags, out, err);
}
/* struct sop_file begins with its volume in every back end. */
struct sop_file {
    struct sop_volume *volume;
};
static inline void sop_file_close(struct sop_file *f)
{
    if (f != NULL) {
        f->volume->ops->file_close(f);
    }
}
static inline int sop_file_read(struct sop_file *f, uint64_t offset, void *to, size_t len,
                                size_t *got, struct sop_err *err)
{
    return f->volume->ops->file_read(f, offset, to, len, got, err);
}
static inline int sop_file_write(struct sop_file *f, uint64_t offset, const void *from,
                                 size_t len, struct sop_err *err)
{
    return f->volume->ops->file_write(f, offset, from, len, err);
}
static inline int sop_file_reserve(struct sop_file *f, uint64_t bytes, struct sop_err *err)
{
    return f->volume->ops->file_reserve(f, bytes, err);
}
static inline void sop_file_hurry(struct sop_file *f, uint64_t offset, uint64_t bytes)
{
    if (f->volume->ops->file_hurry != NULL) {
        f->volume->ops->file_hurry(f, offset, bytes);
    }
}
static inline int sop_file_sync(struct sop_file *f, struct sop_err *err)
{
    return f->volume->ops->file_sync(f, err);
}
static inline int sop_file_size(struct sop_file *f, uint64_t *bytes, struct sop_err *err)
{
    return f->volume->ops->file_size(f, bytes, err);
}
static inline int sop_file_lock(struct sop_file *f, struct sop_err *err)
{
    return f->volume->ops->file_lock(f, err);
}
static inline int sop_volume_lock_holder(struct sop_volume *v, const char *path,
                                         struct sop_lock_holder *out, struct sop_err *err)
{
    return v->ops->lock_holder(v, path, out, err);
}
static inline int sop_volume_link(struct sop_volume *v, const char *from, const char *to,
                                  struct sop_err *err)
{
    return v->ops->link(v, from, to, err);
}
static inline int sop_volume_unlink(struct sop_volume *v, const char *path, struct sop_err *err)
{
    return v->ops->unlink(v, path, err);
}
static inline int sop_volume_mkdir(struct sop_volume *v, const char *path, struct sop_err *err)
{
    return v->ops->mkdir(v, path, err);
}
static inline int sop_volume_rmdir(struct sop_volume *v, const char *path, struct sop_err *err)
{
    return v->ops->rmdir(v, path, err);
}
static inline int sop_volume_dir_sync(struct sop_volume *v, const char *path,
                                      struct sop_err *err)
{
    return v->ops->dir_sync(v, path, err);
}
static inline int sop_volume_list(struct sop_volume *v, const char *path, sop_list_fn each,
                                  void *arg, struct sop_err *err)
{
    return v->ops->list(v, path, each, arg, err);
}
static inline int sop_volume_stat(struct sop_volume *v, const char *path, struct sop_stat *out,
                                  struct sop_err *err)
{
    return v->ops->stat(v, path, out, err);
}
static inline int sop_volume_space(struct sop_volume *v, uint64_t *bytes, struct sop_err *err)
{
    return v->ops->space(v, bytes, err);
}
static inline int sop_volume_identity(struct sop_volume *v, uint8_t id[16], struct sop_err *err)
{
    if (v->ops->identity != NULL) {
        return v->ops->identity(v, id, err);
    }
    memset(id, 0, 16);
    memcpy(id, &v, sizeof v);
    return 0;
}
static inline void sop_volume_destroy(struct sop_volume *v)
{
    if (v != NULL) {
        v->ops->destroy(v);
    }
}

/* Reads a whole file of at most max_bytes into *to (replaced). TOO_LARGE beyond. */
int sop_volume_read_file(struct sop_volume *v, const char *path, size_t max_bytes,
                         struct sop_buf *to, struct sop_err *err) SOP_MUST_USE;
/* Creates path exclusively with these bytes and syncs the file (not the folder). */
int sop_volume_write_file(struct sop_volume *v, const char *path, struct sop_slice bytes,
                          struct sop_err *err) SOP_MUST_USE;
/* mkdir that accepts an existing folder. */
int sop_volume_mkdir_if_absent(struct sop_volume *v, const char *path,
                               struct sop_err *err) SOP_MUST_USE;
/* Removes path and everything below it; absent is success. No sync. */
int sop_volume_remove_tree(struct sop_volume *v, const char *path,
                           struct sop_err *err) SOP_MUST_USE;

#endif
