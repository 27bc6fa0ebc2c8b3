/* Real files below a root folder.
 *
 * Everything goes through openat(2) and friends on the root's descriptor, so renaming the root
 * or changing the working folder of the process does no harm. */
#include "engine/volume/posix.h"

#include "engine/volume/mount_int.h"
#include "engine/volume/volume_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

struct posix_volume {
    struct sop_volume base;
    int root;
};

struct posix_file {
    struct sop_file base;
    int fd;
    bool direct;           /* opened with SOP_OPEN_DIRECT, even where the file system cannot */
    bool created;          /* by this opening */
    _Atomic bool unsynced; /* created, and its inode was never synced */
    char path[];           /* for messages */
};

static int root_of(struct sop_volume *v)
{
    return ((struct posix_volume *)v)->root;
}

static const char *at_path(const char *path)
{
    SOP_ASSERT(sop_volume__path_ok(path));
    return path[0] == '\0' ? "." : path;
}

static int open_at(int root, const char *path, int flags)
{
    int fd;
    do {
        fd = openat(root, at_path(path), flags | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/* O_DIRECT is set on the open file: with openat a file system without it may create the file
 * and then fail. EINVAL means that it cannot; buffered I/O serves there. */
static int set_direct(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (fcntl(fd, F_SETFL, flags | O_DIRECT) != 0 && errno != EINVAL)) {
        return errno;
    }
    return 0;
}

static int posix_file_open(struct sop_volume *v, const char *path, unsigned flags,
                           struct sop_file **out, struct sop_err *err)
{
    SOP_ASSERT((flags & SOP_OPEN_CREATE) == 0 || (flags & SOP_OPEN_EXCLUSIVE) != 0);
    size_t path_bytes = strlen(path) + 1;
    struct posix_file *file = sop_malloc(sizeof *file + path_bytes);
    if (file == NULL) {
        return SOP_ERR(err, NOMEM, "open %s", path);
    }
    *file = (struct posix_file){.base.volume = v,
                                .direct = (flags & SOP_OPEN_DIRECT) != 0,
                                .created = (flags & SOP_OPEN_CREATE) != 0,
                                .unsynced = (flags & SOP_OPEN_CREATE) != 0};
    memcpy(file->path, path, path_bytes);
    int mode = (flags & SOP_OPEN_WRITE) != 0 ? O_RDWR : O_RDONLY;
    if (file->created) {
        mode |= O_CREAT | O_EXCL;
    }
    int sys = 0;
    file->fd = open_at(root_of(v), path, mode);
    if (file->fd < 0) {
        sys = errno;
        goto undo_file;
    }
    if (file->direct) {
        sys = set_direct(file->fd);
        if (sys != 0) {
            goto undo_open;
        }
    }
    if ((flags & SOP_OPEN_RANDOM) != 0) {
        (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_RANDOM); /* advice: may do nothing */
    }
    *out = &file->base;
    return 0;

undo_open:
    (void)close(file->fd);
undo_file:
    sop_free(file);
    return SOP_VOLUME__ERR(err, sys, "open %s", path);
}

static void posix_file_close(struct sop_file *f)
{
    struct posix_file *file = (struct posix_file *)f;
    (void)close(file->fd); /* what matters was synced; nothing to learn here */
    sop_free(file);
}

/* A direct read stops where the file ends, and cannot go on from an unaligned place to see so.
 */
static bool at_file_end(const struct posix_file *file, uint64_t offset)
{
    struct stat st;
    return file->direct && offset % SOP_DIRECT_ALIGN != 0 && fstat(file->fd, &st) == 0 &&
           (uint64_t)st.st_size <= offset;
}

static int posix_file_read(struct sop_file *f, uint64_t offset, void *to, size_t len,
                           size_t *got, struct sop_err *err)
{
    struct posix_file *file = (struct posix_file *)f;
    SOP_ASSERT(!file->direct || sop_volume__direct_ok(offset, to, len));
    size_t done = 0;
    int sys = 0;
    bool end = false;
    while (done < len && !end) {
        ssize_t n = pread(file->fd, (uint8_t *)to + done, len - done, (off_t)(offset + done));
        if (n > 0) {
            done += (size_t)n;
            end = done < len && at_file_end(file, offset + done);
        } else if (n == 0) {
            end = true;
        } else if (errno != EINTR) {
            sys = errno;
            break;
        }
    }
    if (got != NULL) {
        *got = done;
    }
    if (sys != 0) {
        return SOP_VOLUME__ERR(err, sys, "read %zu bytes at %" PRIu64 " of %s", len, offset,
                               file->path);
    }
    if (end) {
        return SOP_ERR(err, END, "read %zu bytes at %" PRIu64 " of %s: the file ends after %zu",
                       len, offset, file->path, done);
    }
    return 0;
}

static int posix_file_write(struct sop_file *f, uint64_t offset, const void *from, size_t len,
                            struct sop_err *err)
{
    struct posix_file *file = (struct posix_file *)f;
    SOP_ASSERT(!file->direct || sop_volume__direct_ok(offset, from, len));
    size_t done = 0;
    while (done < len) {
        ssize_t n =
            pwrite(file->fd, (const uint8_t *)from + done, len - done, (off_t)(offset + done));
        if (n > 0) {
            done += (size_t)n;
        } else if (n == 0 || errno != EINTR) {
            int sys = n == 0 ? EIO : errno;
            return SOP_VOLUME__ERR(err, sys, "write %zu bytes at %" PRIu64 " of %s", len,
                                   offset, file->path);
        }
    }
    return 0;
}

static int posix_file_reserve(struct sop_file *f, uint64_t bytes, struct sop_err *err)
{
    struct posix_file *file = (struct posix_file *)f;
    int rc = 0;
    do {
        rc = fallocate(file->fd, 0, 0, (off_t)bytes);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) {
        return SOP_ERR(err, UNSUPPORTED, "this file system reserves no room for %s",
                       file->path);
    }
    return rc == 0 ? 0
                   : SOP_VOLUME__ERR(err, errno, "reserve %" PRIu64 " bytes for %s", bytes,
                                     file->path);
}

/* A failure to write what was begun here is told by the next sync of this descriptor. */
static void posix_file_hurry(struct sop_file *f, uint64_t offset, uint64_t bytes)
{
    const struct posix_file *file = (const struct posix_file *)f;
    if (!file->direct) {
        (void)sync_file_range(file->fd, (off_t)offset, (off_t)bytes, SYNC_FILE_RANGE_WRITE);
    }
}

static int posix_file_sync(struct sop_file *f, struct sop_err *err)
{
    struct posix_file *file = (struct posix_file *)f;
    /* Once, even after EINTR: the kernel may have marked lost pages clean. A new file in full;
     * from then on without its times, whose change would be a transaction of the file system.
     */
    bool full = atomic_load_explicit(&file->unsynced, memory_order_relaxed);
    int rc = full ? fsync(file->fd) : fdatasync(file->fd);
    if (rc != 0) {
        return SOP_VOLUME__ERR(err, errno, "sync %s", file->path);
    }
    if (full) {
        atomic_store_explicit(&file->unsynced, false, memory_order_relaxed);
    }
    return 0;
}

static int posix_file_size(struct sop_file *f, uint64_t *bytes, struct sop_err *err)
{
    struct posix_file *file = (struct posix_file *)f;
    struct stat st;
    if (fstat(file->fd, &st) != 0) {
        return SOP_VOLUME__ERR(err, errno, "size of %s", file->path);
    }
    *bytes = (uint64_t)st.st_size;
    return 0;
}

static int record_lock(int fd, int command, struct flock *lock)
{
    *lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int rc;
    do {
        rc = fcntl(fd, command, lock);
    } while (rc != 0 && errno == EINTR);
    return rc;
}

static int posix_file_lock(struct sop_file *f, struct sop_err *err)
{
    struct posix_file *file = (struct posix_file *)f;
    struct flock lock;
    if (record_lock(file->fd, F_SETLK, &lock) == 0) {
        return 0;
    }
    int sys = errno;
    if (sys != EACCES && sys != EAGAIN) {
        return SOP_VOLUME__ERR(err, sys, "lock %s", file->path);
    }
    if (record_lock(file->fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK &&
        lock.l_pid > 0) {
        return SOP_ERR(err, BUSY, "lock %s: process %ld has it", file->path, (long)lock.l_pid);
    }
    return SOP_ERR(err, BUSY, "lock %s: another process has it", file->path);
}

static int posix_lock_holder(struct sop_volume *v, const char *path,
                             struct sop_lock_holder *out, struct sop_err *err)
{
    int fd = open_at(root_of(v), path, O_RDONLY);
    if (fd < 0) {
        return SOP_VOLUME__ERR(err, errno, "ask who locks %s", path);
    }
    struct flock lock;
    int sys = record_lock(fd, F_GETLK, &lock) == 0 ? 0 : errno;
    (void)close(fd);
    if (sys != 0) {
        return SOP_VOLUME__ERR(err, sys, "ask who locks %s", path);
    }
    out->held = lock.l_type != F_UNLCK;
    /* The kernel shows processes of other hosts as numbers <= 0. */
    out->pid = out->held && lock.l_pid > 0 ? (int64_t)lock.l_pid : 0;
    return 0;
}

static int posix_link(struct sop_volume *v, const char *from, const char *to,
                      struct sop_err *err)
{
    if (linkat(root_of(v), at_path(from), root_of(v), at_path(to), 0) != 0) {
        return SOP_VOLUME__ERR(err, errno, "link %s to %s", from, to);
    }
    return 0;
}

static int posix_unlink(struct sop_volume *v, const char *path, struct sop_err *err)
{
    if (unlinkat(root_of(v), at_path(path), 0) != 0) {
        return SOP_VOLUME__ERR(err, errno, "unlink %s", path);
    }
    return 0;
}

static int posix_mkdir(struct sop_volume *v, const char *path, struct sop_err *err)
{
    if (mkdirat(root_of(v), at_path(path), 0777) != 0) {
        return SOP_VOLUME__ERR(err, errno, "make folder %s", path);
    }
    return 0;
}

static int posix_rmdir(struct sop_volume *v, const char *path, struct sop_err *err)
{
    if (unlinkat(root_of(v), at_path(path), AT_REMOVEDIR) != 0) {
        return SOP_VOLUME__ERR(err, errno, "remove folder %s", path);
    }
    return 0;
}

static int posix_dir_sync(struct sop_volume *v, const char *path, struct sop_err *err)
{
    int fd = open_at(root_of(v), path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return SOP_VOLUME__ERR(err, errno, "sync folder %s", path);
    }
    int sys = fsync(fd) == 0 ? 0 : errno;
    (void)close(fd);
    return sys == 0 ? 0 : SOP_VOLUME__ERR(err, sys, "sync folder %s", path);
}

static int list_names(DIR *dir, const char *path, sop_list_fn each, void *arg,
                      struct sop_err *err)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            return errno == 0 ? 0 : SOP_VOLUME__ERR(err, errno, "list %s", path);
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        int rc = each(arg, entry->d_name, err);
        if (rc != 0) {
            return rc;
        }
    }
}

static int posix_list(struct sop_volume *v, const char *path, sop_list_fn each, void *arg,
                      struct sop_err *err)
{
    int fd = open_at(root_of(v), path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return SOP_VOLUME__ERR(err, errno, "list %s", path);
    }
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        int sys = errno;
        (void)close(fd);
        return SOP_VOLUME__ERR(err, sys, "list %s", path);
    }
    int rc = list_names(dir, path, each, arg, err);
    (void)closedir(dir);
    return rc;
}

static int posix_stat(struct sop_volume *v, const char *path, struct sop_stat *out,
                      struct sop_err *err)
{
    *out = (struct sop_stat){.kind = SOP_FILE_ABSENT};
    struct stat st;
    if (fstatat(root_of(v), at_path(path), &st, 0) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) {
            return 0;
        }
        return SOP_VOLUME__ERR(err, errno, "stat %s", path);
    }
    out->kind = S_ISDIR(st.st_mode) ? SOP_FILE_DIRECTORY : SOP_FILE_REGULAR;
    out->bytes = (uint64_t)st.st_size;
    out->allocated_bytes = (uint64_t)st.st_blocks * 512;
    out->links = (uint32_t)st.st_nlink;
    return 0;
}

static int posix_space(struct sop_volume *v, uint64_t *free_bytes, struct sop_err *err)
{
    struct statvfs st;
    int rc;
    do {
        rc = fstatvfs(root_of(v), &st);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        return SOP_VOLUME__ERR(err, errno, "free space of %s", v->shown);
    }
    /* All zeros: a file system without limits (tmpfs with size=0), or one that does not tell.
     */
    uint64_t blocks = geteuid() == 0 ? st.f_bfree : st.f_bavail; /* root has the reserve, too */
    *free_bytes = st.f_blocks == 0 ? UINT64_MAX : blocks * (uint64_t)st.f_frsize;
    return 0;
}

static int posix_identity(struct sop_volume *v, uint8_t id[16], struct sop_err *err)
{
    struct stat st;
    if (fstat(root_of(v), &st) != 0) {
        return SOP_VOLUME__ERR(err, errno, "identity of %s", v->shown);
    }
    uint64_t device = (uint64_t)st.st_dev;
    uint64_t inode = (uint64_t)st.st_ino;
    memcpy(id, &device, 8);
    memcpy(id + 8, &inode, 8);
    return 0;
}

static void posix_destroy(struct sop_volume *v)
{
    (void)close(root_of(v));
    sop_free(v);
}

static const struct sop_volume_ops posix_ops = {
    .file_open = posix_file_open,
    .file_close = posix_file_close,
    .file_read = posix_file_read,
    .file_write = posix_file_write,
    .file_reserve = posix_file_reserve,
    .file_hurry = posix_file_hurry,
    .file_sync = posix_file_sync,
    .file_size = posix_file_size,
    .file_lock = posix_file_lock,
    .lock_holder = posix_lock_holder,
    .link = posix_link,
    .unlink = posix_unlink,
    .mkdir = posix_mkdir,
    .rmdir = posix_rmdir,
    .dir_sync = posix_dir_sync,
    .list = posix_list,
    .stat = posix_stat,
    .space = posix_space,
    .destroy = posix_destroy,
    .identity = posix_identity,
};

#define PROC_FILE_BYTES_MAX ((size_t)16 << 20)

/* A file of /proc, which has no size to ask for. */
static int read_proc(const char *path, struct sop_buf *to, struct sop_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return SOP_VOLUME__ERR(err, errno, "open %s", path);
    }
    int rc = 0;
    while (rc == 0 && to->len < PROC_FILE_BYTES_MAX) {
        rc = sop_buf_reserve(to, 4096, err);
        if (rc != 0) {
            break;
        }
        ssize_t n = read(fd, to->data + to->len, to->cap - to->len);
        if (n == 0) {
            break;
        }
        if (n > 0) {
            to->len += (size_t)n;
        } else if (errno != EINTR) {
            rc = SOP_VOLUME__ERR(err, errno, "read %s", path);
        }
    }
    (void)close(fd);
    return rc;
}

/* The mount that fd is on, by the mount id that the kernel tells in fdinfo (device numbers are
 * not reliable: btrfs shows others in stat). False if it cannot be known. *text keeps the bytes
 * that *mount borrows. */
static bool find_mount(int fd, struct sop_buf *text, struct sop_mount *mount)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    static const char mark[] = "mnt_id:";
    if (read_proc(path, text, NULL) != 0 || sop_buf_append(text, "", 1, NULL) != 0) {
        return false;
    }
    const char *id = strstr((const char *)text->data, mark);
    if (id == NULL) {
        return false;
    }
    uint64_t mount_id = strtoull(id + sizeof mark - 1, NULL, 10);
    sop_buf_clear(text);
    return read_proc("/proc/self/mountinfo", text, NULL) == 0 &&
           sop_mount__find(sop_buf_slice(text), mount_id, mount);
}

static int judge_root(int fd, bool *one_host, struct sop_err *err)
{
    struct statfs st;
    int rc;
    do {
        rc = fstatfs(fd, &st);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) {
        return SOP_VOLUME__ERR(err, errno, "ask for the kind of file system");
    }
    uint64_t magic = (uint64_t)(uint32_t)st.f_type;
    struct sop_buf text = {0};
    struct sop_mount mount;
    bool found = sop_mount__needed(magic) && find_mount(fd, &text, &mount);
    rc = sop_mount__judge(magic, found ? &mount : NULL, one_host, err);
    sop_buf_fini(&text);
    return rc;
}

int sop_volume_posix_open(const char *root, struct sop_volume **out, struct sop_err *err)
{
    *out = NULL;
    struct posix_volume *v = sop_calloc(1, sizeof *v);
    if (v == NULL) {
        return SOP_ERR(err, NOMEM, "open volume %s", root);
    }
    v->base.ops = &posix_ops;
    (void)snprintf(v->base.shown, sizeof v->base.shown, "%s", root);
    int rc;
    do {
        v->root = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } while (v->root < 0 && errno == EINTR);
    if (v->root < 0) {
        rc = SOP_VOLUME__ERR(err, errno, "open volume %s", root);
        goto undo_new;
    }
    rc = judge_root(v->root, &v->base.one_host, err);
    if (rc != 0) {
        rc = sop_err_wrap(err, rc, "open volume %s", root);
        goto undo_open;
    }
    *out = &v->base;
    return 0;

undo_open:
    (void)close(v->root);
undo_new:
    sop_free(v);
    return rc;
}

int sop_volume_posix_make_root(const char *root, struct sop_err *err)
{
    if (mkdir(root, 0777) != 0 && errno != EEXIST) {
        return SOP_VOLUME__ERR(err, errno, "make folder %s", root);
    }
    return 0;
}
