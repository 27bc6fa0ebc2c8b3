/* What is the same for every back end: error codes, path rules, and helpers made of the table.
 */
#include "engine/volume/volume_int.h"

#include <errno.h>

int sop_volume__code(int sys)
{
    switch (sys) {
    case ENOENT:
    case ENOTDIR:
        return SOP_ERR_NOT_FOUND;
    case EEXIST:
        return SOP_ERR_EXISTS;
    case ENOSPC:
    case EDQUOT:
        return SOP_ERR_NOSPACE;
    case EROFS:
    case EACCES:
    case EPERM:
        return SOP_ERR_READ_ONLY;
    case ENOMEM:
        return SOP_ERR_NOMEM;
    default:
        return SOP_ERR_IO;
    }
}

bool sop_volume__path_ok(const char *path)
{
    if (path[0] == '\0' || strcmp(path, ".") == 0) {
        return true;
    }
    for (;;) {
        size_t len = strcspn(path, "/");
        if (len == 0 || (len == 1 && path[0] == '.') ||
            (len == 2 && memcmp(path, "..", 2) == 0)) {
            return false;
        }
        if (path[len] == '\0') {
            return true;
        }
        path += len + 1;
    }
}

static int read_whole(struct sop_file *file, size_t max_bytes, struct sop_buf *to,
                      struct sop_err *err)
{
    uint64_t bytes = 0;
    int rc = sop_file_size(file, &bytes, err);
    if (rc != 0) {
        return rc;
    }
    if (bytes > max_bytes) {
        return SOP_ERR(err, TOO_LARGE, "%" PRIu64 " bytes where %zu are expected at most",
                       bytes, max_bytes);
    }
    rc = sop_buf_reserve(to, (size_t)bytes, err);
    if (rc != 0 || bytes == 0) {
        return rc;
    }
    rc = sop_file_read(file, 0, to->data, (size_t)bytes, NULL, err);
    if (rc == SOP_ERR_END) {
        return SOP_ERR(err, IO, "shrank while it was read");
    }
    if (rc == 0) {
        to->len = (size_t)bytes;
    }
    return rc;
}

int sop_volume_read_file(struct sop_volume *v, const char *path, size_t max_bytes,
                         struct sop_buf *to, struct sop_err *err)
{
    sop_buf_clear(to);
    struct sop_file *file;
    int rc = sop_file_open(v, path, SOP_OPEN_READ, &file, err);
    if (rc != 0) {
        return rc;
    }
    rc = read_whole(file, max_bytes, to, err);
    sop_file_close(file);
    return rc == 0 ? 0 : sop_err_wrap(err, rc, "read %s", path);
}

int sop_volume_write_file(struct sop_volume *v, const char *path, struct sop_slice bytes,
                          struct sop_err *err)
{
    struct sop_file *file;
    int rc = sop_file_open(v, path, SOP_OPEN_WRITE | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE,
                           &file, err);
    if (rc != 0) {
        return rc;
    }
    if (bytes.len != 0) {
        rc = sop_file_write(file, 0, bytes.data, bytes.len, err);
    }
    if (rc == 0) {
        rc = sop_file_sync(file, err);
    }
    sop_file_close(file);
    if (rc != 0) {
        /* A file of unknown content is of no use; if it cannot be removed, so be it. */
        (void)sop_volume_unlink(v, path, NULL);
        return sop_err_wrap(err, rc, "write %s", path);
    }
    return 0;
}

int sop_volume_mkdir_if_absent(struct sop_volume *v, const char *path, struct sop_err *err)
{
    struct sop_err mkdir_err = {0};
    int rc = sop_volume_mkdir(v, path, &mkdir_err);
    if (rc == SOP_ERR_EXISTS) {
        struct sop_stat found;
        rc = sop_volume_stat(v, path, &found, err);
        if (rc != 0 || found.kind == SOP_FILE_DIRECTORY) {
            return rc;
        }
        rc = SOP_ERR_EXISTS; /* a file is in the way */
    }
    if (rc != 0 && err != NULL) {
        *err = mkdir_err;
    }
    return rc;
}

/* remove_tree keeps the folders that it has yet to remove on a stack of paths: in `paths`, each
 * zero-terminated, the newest last. A folder stays on the stack until it is empty. */
struct removal {
    struct sop_volume *volume;
    struct sop_buf paths;
    size_t top; /* where the path of the folder being emptied begins */
    bool grown; /* a folder was found in it, and pushed */
};

static int push_path(struct removal *r, size_t parent, const char *name, struct sop_err *err)
{
    size_t parent_len = strlen((const char *)r->paths.data + parent);
    size_t name_len = strlen(name);
    int rc = sop_buf_reserve(&r->paths, parent_len + name_len + 2, err);
    if (rc != 0) {
        return rc;
    }
    uint8_t *to = r->paths.data + r->paths.len;
    memcpy(to, r->paths.data + parent, parent_len);
    to[parent_len] = '/';
    memcpy(to + parent_len + 1, name, name_len + 1);
    r->paths.len += parent_len + name_len + 2;
    return 0;
}

/* Removes one name; leaves it on the stack if it is a folder. Unlink is tried before anything
 * else, so that a symbolic link to a folder is removed and never followed. */
static int remove_entry(void *arg, const char *name, struct sop_err *err)
{
    struct removal *r = arg;
    size_t start = r->paths.len;
    int rc = push_path(r, r->top, name, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_err unlink_err = {0};
    rc = sop_volume_unlink(r->volume, (const char *)r->paths.data + start, &unlink_err);
    if (rc != 0 && unlink_err.sys == EISDIR) {
        r->grown = true;
        return 0;
    }
    r->paths.len = start;
    if (rc == 0 || rc == SOP_ERR_NOT_FOUND) {
        return 0;
    }
    if (err != NULL) {
        *err = unlink_err;
    }
    return rc;
}

/* Start of the newest path on the stack. */
static size_t last_path(const struct sop_buf *paths)
{
    size_t at = paths->len - 1;
    while (at > 0 && paths->data[at - 1] != '\0') {
        at--;
    }
    return at;
}

static int empty_and_remove(struct removal *r, struct sop_err *err)
{
    while (r->paths.len > 0) {
        r->top = last_path(&r->paths);
        r->grown = false;
        /* The stack moves when it grows, and the back end may still read the path then. */
        struct sop_buf path = {0};
        int rc = sop_buf_append(&path, r->paths.data + r->top, r->paths.len - r->top, err);
        if (rc == 0) {
            rc = sop_volume_list(r->volume, (const char *)path.data, remove_entry, r, err);
        }
        if (rc == 0 && !r->grown) {
            rc = sop_volume_rmdir(r->volume, (const char *)path.data, err);
            r->paths.len = r->top;
        }
        sop_buf_fini(&path);
        if (rc != 0 && rc != SOP_ERR_NOT_FOUND) {
            return rc;
        }
        if (rc == SOP_ERR_NOT_FOUND) {
            r->paths.len = r->top; /* somebody else removed it */
        }
    }
    return 0;
}

int sop_volume_remove_tree(struct sop_volume *v, const char *path, struct sop_err *err)
{
    SOP_ASSERT(path[0] != '\0' && strcmp(path, ".") != 0);
    struct sop_err unlink_err = {0};
    int rc = sop_volume_unlink(v, path, &unlink_err);
    if (rc == 0 || rc == SOP_ERR_NOT_FOUND) {
        return 0;
    }
    if (unlink_err.sys != EISDIR) {
        if (err != NULL) {
            *err = unlink_err;
        }
        return rc;
    }
    struct removal r = {.volume = v};
    rc = sop_buf_append(&r.paths, path, strlen(path) + 1, err);
    if (rc == 0) {
        rc = empty_and_remove(&r, err);
    }
    sop_buf_fini(&r.paths);
    return rc == 0 ? 0 : sop_err_wrap(err, rc, "remove %s", path);
}
