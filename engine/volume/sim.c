/* The operations of the simulated volume: each takes the mutex, works on the disk of
 * sim_disk.c, and turns an errno into an error. */
#include "engine/volume/sim_int.h"

#include <errno.h>

struct sim_file {
    struct sop_file base;
    struct sim_inode *inode;
    bool writable;
    bool direct;
    bool write_once;
    char path[]; /* for messages */
};

static struct sim_volume *sim_of(struct sop_volume *v)
{
    SOP_ASSERT(v->ops == &sop_sim__ops);
    return (struct sim_volume *)v;
}

static struct sim_volume *lock_sim(struct sop_volume *v)
{
    struct sim_volume *sim = sim_of(v);
    sop_mutex_lock(&sim->mutex);
    return sim;
}

static void unlock_sim(struct sim_volume *sim)
{
    sop_sim__reap(sim);
    sop_mutex_unlock(&sim->mutex);
}

/* A new inode under a new name. */
static int create(struct sim_volume *sim, struct sim_inode *dir, const char *name,
                  bool directory, struct sim_inode **out)
{
    struct sim_inode *inode = sop_sim__inode_new(sim, sim->next_id, directory);
    if (inode == NULL) {
        return ENOMEM;
    }
    inode->refs = 1; /* ours, until we are done */
    int rc = sop_sim__add_name(dir, name, inode);
    if (rc == 0) {
        sim->next_id++;
        *out = inode;
    }
    sop_sim__unref(sim, inode);
    return rc;
}

static int find_or_create(struct sim_volume *sim, const char *path, unsigned flags,
                          struct sim_inode **out)
{
    struct sim_inode *dir;
    const char *leaf;
    int rc = sop_sim__find_parent(sim, path, &dir, &leaf);
    if (rc != 0) {
        return rc;
    }
    if (leaf[0] == '\0') {
        return EISDIR;
    }
    size_t at = sop_sim__entry_at(&dir->visible, leaf);
    if (at == dir->visible.count) {
        return (flags & SOP_OPEN_CREATE) == 0 ? ENOENT : create(sim, dir, leaf, false, out);
    }
    if ((flags & SOP_OPEN_CREATE) != 0) {
        return EEXIST;
    }
    *out = dir->visible.items[at].inode;
    return (*out)->directory ? EISDIR : 0;
}

static int sim_file_open(struct sop_volume *v, const char *path, unsigned flags,
                         struct sop_file **out, struct sop_err *err)
{
    SOP_ASSERT((flags & SOP_OPEN_CREATE) == 0 || (flags & SOP_OPEN_EXCLUSIVE) != 0);
    size_t path_bytes = strlen(path) + 1;
    struct sim_file *file = sop_malloc(sizeof *file + path_bytes);
    if (file == NULL) {
        return SOP_ERR(err, NOMEM, "open %s", path);
    }
    *file = (struct sim_file){.base.volume = v,
                              .writable = (flags & SOP_OPEN_WRITE) != 0,
                              .direct = (flags & SOP_OPEN_DIRECT) != 0};
    memcpy(file->path, path, path_bytes);
    struct sim_volume *sim = lock_sim(v);
    int sys = find_or_create(sim, path, flags, &file->inode);
    if (sys == 0) {
        file->inode->refs++;
        file->inode->opens++;
        file->write_once = sim->write_once != NULL && sim->write_once(path);
        sim->open_files++;
    }
    unlock_sim(sim);
    if (sys != 0) {
        sop_free(file);
        return SOP_VOLUME__ERR(err, sys, "open %s", path);
    }
    *out = &file->base;
    return 0;
}

static void sim_file_close(struct sop_file *f)
{
    struct sim_file *file = (struct sim_file *)f;
    struct sim_volume *sim = lock_sim(f->volume);
    if (file->inode->locked_by == f) {
        file->inode->locked_by = NULL;
    }
    SOP_ASSERT(sim->open_files > 0);
    sim->open_files--;
    file->inode->opens--;
    sop_sim__unref(sim, file->inode);
    unlock_sim(sim);
    sop_free(file);
}

static int sim_file_read(struct sop_file *f, uint64_t offset, void *to, size_t len, size_t *got,
                         struct sop_err *err)
{
    struct sim_file *file = (struct sim_file *)f;
    SOP_ASSERT(!file->direct || sop_volume__direct_ok(offset, to, len));
    struct sim_volume *sim = lock_sim(f->volume);
    size_t done = sop_sim__read(file->inode, offset, to, len);
    unlock_sim(sim);
    if (got != NULL) {
        *got = done;
    }
    if (done < len) {
        return SOP_ERR(err, END, "read %zu bytes at %" PRIu64 " of %s: the file ends after %zu",
                       len, offset, file->path, done);
    }
    return 0;
}

static int sim_file_write(struct sop_file *f, uint64_t offset, const void *from, size_t len,
                          struct sop_err *err)
{
    struct sim_file *file = (struct sim_file *)f;
    SOP_ASSERT(!file->direct || sop_volume__direct_ok(offset, from, len));
    SOP_ASSERT(file->writable);
    struct sim_volume *sim = lock_sim(f->volume);
    if (file->write_once && !sop_sim__blocks_unused(file->inode, offset, len)) {
        SOP_UNREACHABLE("a block that was synced is written again");
    }
    int sys = sop_sim__write(sim, file->inode, offset, from, len);
    unlock_sim(sim);
    return sys == 0 ? 0
                    : SOP_VOLUME__ERR(err, sys, "write %zu bytes at %" PRIu64 " of %s", len,
                                      offset, file->path);
}

static int sim_file_reserve(struct sop_file *f, uint64_t bytes, struct sop_err *err)
{
    static const uint8_t zeros[65536];
    struct sim_file *file = (struct sim_file *)f;
    struct sim_volume *sim = lock_sim(f->volume);
    int sys = 0;
    for (uint64_t at = 0; at < bytes && sys == 0; at += sizeof zeros) {
        uint64_t left = bytes - at;
        size_t len = left < sizeof zeros ? (size_t)left : sizeof zeros;
        sys = sop_sim__write(sim, file->inode, at, zeros, len);
    }
    unlock_sim(sim);
    return sys == 0 ? 0
                    : SOP_VOLUME__ERR(err, sys, "reserve %" PRIu64 " bytes for %s", bytes,
                                      file->path);
}

static int sim_file_sync(struct sop_file *f, struct sop_err *err)
{
    (void)err;
    struct sim_file *file = (struct sim_file *)f;
    struct sim_volume *sim = lock_sim(f->volume);
    sop_sim__sync(file->inode);
    sim->syncs++;
    unlock_sim(sim);
    return 0;
}

static int sim_file_size(struct sop_file *f, uint64_t *bytes, struct sop_err *err)
{
    (void)err;
    struct sim_volume *sim = lock_sim(f->volume);
    *bytes = ((struct sim_file *)f)->inode->bytes;
    unlock_sim(sim);
    return 0;
}

static int sim_file_lock(struct sop_file *f, struct sop_err *err)
{
    struct sim_file *file = (struct sim_file *)f;
    struct sim_volume *sim = lock_sim(f->volume);
    bool free = file->inode->locked_by == NULL || file->inode->locked_by == f;
    if (free) {
        file->inode->locked_by = f;
    }
    unlock_sim(sim);
    return free ? 0 : SOP_ERR(err, BUSY, "lock %s: another open file has it", file->path);
}

static int sim_lock_holder(struct sop_volume *v, const char *path, struct sop_lock_holder *out,
                           struct sop_err *err)
{
    struct sim_volume *sim = lock_sim(v);
    struct sim_inode *inode;
    int sys = sop_sim__find(sim, path, &inode);
    if (sys == 0) {
        *out = (struct sop_lock_holder){.held = inode->locked_by != NULL, .pid = 0};
    }
    unlock_sim(sim);
    return sys == 0 ? 0 : SOP_VOLUME__ERR(err, sys, "ask who locks %s", path);
}

static int add_link(struct sim_volume *sim, const char *from, const char *to)
{
    struct sim_inode *inode;
    struct sim_inode *dir;
    const char *leaf;
    int rc = sop_sim__find(sim, from, &inode);
    if (rc == 0) {
        rc = sop_sim__find_parent(sim, to, &dir, &leaf);
    }
    if (rc != 0) {
        return rc;
    }
    if (leaf[0] == '\0' || sop_sim__entry_at(&dir->visible, leaf) != dir->visible.count) {
        return EEXIST;
    }
    return inode->directory ? EPERM : sop_sim__add_name(dir, leaf, inode);
}

static int sim_link(struct sop_volume *v, const char *from, const char *to, struct sop_err *err)
{
    struct sim_volume *sim = lock_sim(v);
    int sys = add_link(sim, from, to);
    unlock_sim(sim);
    return sys == 0 ? 0 : SOP_VOLUME__ERR(err, sys, "link %s to %s", from, to);
}

/* Removes a name that must be of a folder, or of a file. */
static int remove_name(struct sim_volume *sim, const char *path, bool directory)
{
    struct sim_inode *dir;
    const char *leaf;
    int rc = sop_sim__find_parent(sim, path, &dir, &leaf);
    if (rc != 0) {
        return rc;
    }
    if (leaf[0] == '\0') {
        return directory ? EBUSY : EISDIR;
    }
    size_t at = sop_sim__entry_at(&dir->visible, leaf);
    if (at == dir->visible.count) {
        return ENOENT;
    }
    const struct sim_inode *inode = dir->visible.items[at].inode;
    if (inode->directory != directory) {
        return directory ? ENOTDIR : EISDIR;
    }
    return inode->visible.count != 0 ? ENOTEMPTY : sop_sim__remove_name(sim, dir, at);
}

static int sim_unlink(struct sop_volume *v, const char *path, struct sop_err *err)
{
    struct sim_volume *sim = lock_sim(v);
    int sys = remove_name(sim, path, false);
    unlock_sim(sim);
    return sys == 0 ? 0 : SOP_VOLUME__ERR(err, sys, "unlink %s", path);
}

static int sim_rmdir(struct sop_volume *v, const char *path, struct sop_err *err)
{
    struct sim_volume *sim = lock_sim(v);
    int sys = remove_name(sim, path, true);
    unlock_sim(sim);
    return sys == 0 ? 0 : SOP_VOLUME__ERR(err, sys, "remove folder %s", path);
}

static int sim_mkdir(struct sop_volume *v, const char *path, struct sop_err *err)
{
    struct sim_volume *sim = lock_sim(v);
    struct sim_inode *dir;
    struct sim_inode *made;
    const char *leaf;
    int sys = sop_sim__find_parent(sim, path, &dir, &leaf);
    if (sys == 0) {
        bool there =
            leaf[0] == '\0' || sop_sim__entry_at(&dir->visible, leaf) != dir->visible.count;
        sys = there ? EEXIST : create(sim, dir, leaf, true, &made);
    }
    unlock_sim(sim);
    return sys == 0 ? 0 : SOP_VOLUME__ERR(err, sys, "make folder %s", path);
}

static int find_folder(struct sim_volume *sim, const char *path, struct sim_inode **out)
{
    int rc = sop_sim__find(sim, path, out);
    if (rc != 0) {
        return rc;
    }
    return (*out)->directory ? 0 : ENOTDIR;
}

static int sim_dir_sync(struct sop_volume *v, const char *path, struct sop_err *err)
{
    struct sim_volume *sim = lock_sim(v);
    struct sim_inode *dir;
    int sys = find_folder(sim, path, &dir);
    if (sys == 0) {
        sop_sim__settle_names(sim, dir, dir->changes.count);
        sim->syncs++;
    }
    unlock_sim(sim);
    return sys == 0 ? 0 : SOP_VOLUME__ERR(err, sys, "sync folder %s", path);
}

/* The names of a folder, each held, so that they can be told without the mutex: the callback
 * may use the volume. */
static int take_names(const struct sim_inode *dir, struct sim_name ***out)
{
    struct sim_name **names = sop_malloc(dir->visible.count * sizeof(struct sim_name *));
    if (names == NULL) {
        return ENOMEM;
    }
    for (size_t i = 0; i < dir->visible.count; i++) {
        names[i] = dir->visible.items[i].name;
        names[i]->refs++;
    }
    *out = names;
    return 0;
}

static int sim_list(struct sop_volume *v, const char *path, sop_list_fn each, void *arg,
                    struct sop_err *err)
{
    struct sim_volume *sim = lock_sim(v);
    struct sim_inode *dir;
    struct sim_name **names = NULL;
    size_t count = 0;
    int sys = find_folder(sim, path, &dir);
    if (sys == 0) {
        count = dir->visible.count;
        sys = take_names(dir, &names);
    }
    unlock_sim(sim);
    if (sys != 0) {
        return SOP_VOLUME__ERR(err, sys, "list %s", path);
    }
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = each(arg, names[i]->text, err);
    }
    (void)lock_sim(v);
    for (size_t i = 0; i < count; i++) {
        sop_sim__name_unref(names[i]);
    }
    unlock_sim(sim);
    sop_free(names);
    return rc;
}

static int sim_stat(struct sop_volume *v, const char *path, struct sop_stat *out,
                    struct sop_err *err)
{
    *out = (struct sop_stat){.kind = SOP_FILE_ABSENT};
    struct sim_volume *sim = lock_sim(v);
    struct sim_inode *inode;
    int sys = sop_sim__find(sim, path, &inode);
    if (sys == 0) {
        out->kind = inode->directory ? SOP_FILE_DIRECTORY : SOP_FILE_REGULAR;
        out->bytes = inode->bytes;
        out->allocated_bytes = inode->held_bytes;
        out->links = inode == sim->root ? 1 : inode->links;
    }
    unlock_sim(sim);
    if (sys == 0 || sys == ENOENT || sys == ENOTDIR) {
        return 0;
    }
    return SOP_VOLUME__ERR(err, sys, "stat %s", path);
}

static int sim_space(struct sop_volume *v, uint64_t *free_bytes, struct sop_err *err)
{
    (void)err;
    struct sim_volume *sim = lock_sim(v);
    if (sim->capacity == 0) {
        *free_bytes = UINT64_MAX;
    } else {
        uint64_t used = sop_sim__used(sim);
        *free_bytes = sim->capacity > used ? sim->capacity - used : 0;
    }
    unlock_sim(sim);
    return 0;
}

static void sim_destroy(struct sop_volume *v)
{
    sop_sim__volume_free(sim_of(v));
}

const struct sop_volume_ops sop_sim__ops = {
    .file_open = sim_file_open,
    .file_close = sim_file_close,
    .file_read = sim_file_read,
    .file_write = sim_file_write,
    .file_reserve = sim_file_reserve,
    .file_sync = sim_file_sync,
    .file_size = sim_file_size,
    .file_lock = sim_file_lock,
    .lock_holder = sim_lock_holder,
    .link = sim_link,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .rmdir = sim_rmdir,
    .dir_sync = sim_dir_sync,
    .list = sim_list,
    .stat = sim_stat,
    .space = sim_space,
    .destroy = sim_destroy,
};

int sop_volume_sim_new(struct sop_volume **out, struct sop_err *err)
{
    *out = NULL;
    struct sim_volume *v = sop_sim__volume_new();
    if (v == NULL) {
        return SOP_ERR(err, NOMEM, "make a simulated volume");
    }
    v->root = sop_sim__inode_new(v, 0, true);
    if (v->root == NULL) {
        sop_sim__volume_free(v);
        return SOP_ERR(err, NOMEM, "make a simulated volume");
    }
    v->root->refs = 1;
    v->next_id = 1;
    *out = &v->base;
    return 0;
}

void sop_volume_sim_write_once(struct sop_volume *v, bool (*once)(const char *path))
{
    struct sim_volume *sim = lock_sim(v);
    sim->write_once = once;
    unlock_sim(sim);
}

void sop_volume_sim_set_capacity(struct sop_volume *v, uint64_t bytes)
{
    struct sim_volume *sim = lock_sim(v);
    sim->capacity = bytes;
    unlock_sim(sim);
}

uint64_t sop_volume_sim_syncs(struct sop_volume *v)
{
    struct sim_volume *sim = lock_sim(v);
    uint64_t syncs = sim->syncs;
    unlock_sim(sim);
    return syncs;
}
