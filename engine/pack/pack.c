/* Packs: open, append, sync, and the files of all members.
 *
 * Append: CRCs are made first; room is reserved under the lock; the write happens outside it,
 * so several threads write one file at once. A write that fails leaves a VOID record over its
 * room, so that the records behind it are still found by a scan; if that fails too, nothing
 * is appended to the file any more.
 *
 * Sync: each file with new records once, then each folder with new names once. One sync runs
 * at a time; a second caller waits for it, because the first may be about to fail on records
 * of the second. Appends that began before the sync are waited for, later ones begin in a new
 * block, so that no block with synced records is written again. A failed sync is final
 * (docs/PROTOCOL.md, sections 2 and 3). */
#include "engine/pack/pack_int.h"

#include "engine/base/codec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int sop_packs_open(struct sop_packs **out, struct sop_volume *v, struct sop_env *env,
                   const uint8_t database_id[16], uint64_t member, struct sop_err *err)
{
    SOP_ASSERT(member >> 48 == 0);
    (void)env; /* nothing here depends on time or chance yet */
    *out = NULL;
    struct sop_packs *p = sop_calloc(1, sizeof *p);
    if (p == NULL) {
        return SOP_ERR(err, NOMEM, "packs");
    }
    p->volume = v;
    p->member = member;
    p->database = sop_get_u64(database_id);
    sop_pack__folder_path(member, p->folder);
    sop_mutex_init(&p->lock, SOP_RANK_PACK);
    sop_cond_init(&p->synced);
    sop_pack__readers_init(&p->readers);
    atomic_init(&p->appended_bytes, 0);
    atomic_init(&p->syncs, 0);
    *out = p;
    return 0;
}

void sop_packs_close(struct sop_packs **packs)
{
    struct sop_packs *p = *packs;
    *packs = NULL;
    if (p == NULL) {
        return;
    }
    SOP_ASSERT(!p->syncing);
    while (p->files != NULL) {
        struct sop_pack_file *f = p->files;
        SOP_ASSERT(f->writers[0] + f->writers[1] == 0);
        p->files = f->next;
        sop_file_close(f->file);
        sop_free(f);
    }
    sop_pack__readers_fini(&p->readers);
    sop_cond_fini(&p->synced);
    sop_mutex_fini(&p->lock);
    sop_free(p);
}

int sop_pack__damaged(struct sop_err *err, uint64_t member, uint32_t number, uint64_t offset,
                      const char *what)
{
    return SOP_ERR(err, DATA_LOSS, "packs/%" PRIx64 "/%" PRIu32 " at byte %" PRIu64 ": %s",
                   member, number, offset, what);
}

/* Ends appending to the current file. `lock` must be held. */
static void cut_locked(struct sop_packs *p)
{
    struct sop_pack_file *f = p->appending;
    p->appending = NULL;
    if (f != NULL) {
        sop_pack__file_reap(p, f);
    }
}

/* Where the next record of the file begins. A large sheet begins with a block, so that a piece
 * of it is a block, and reading one reads no other. */
static uint64_t next_offset(const struct sop_pack_file *f, const struct sop_pack_header *header)
{
    bool blocks =
        header->type == SOP_PACK_SHEET && header->place.bytes >= SOP_PACK_BLOCKS_BYTES;
    return blocks ? (f->end + SOP_BLOCK_BYTES - 1) / SOP_BLOCK_BYTES * SOP_BLOCK_BYTES : f->end;
}

/* Gives `bytes` of a file to the caller, as one more writer of it; fills the header's place. */
static int reserve(struct sop_packs *p, uint64_t bytes, struct sop_pack_file **file,
                   uint32_t *turn, struct sop_pack_header *header, struct sop_err *err)
{
    int rc = 0;
    sop_mutex_lock(&p->lock);
    if (p->stopped) {
        rc = SOP_ERR(err, STOPPED, "packs stopped after a failed sync");
        goto unlock;
    }
    struct sop_pack_file *f = p->appending;
    if (f != NULL && f->end != 0 && next_offset(f, header) + bytes > SOP_PACK_FILE_BYTES) {
        cut_locked(p);
        f = NULL;
    }
    if (f == NULL) {
        rc = sop_pack__file_new(p, &f, err);
        if (rc != 0) {
            goto unlock;
        }
        p->appending = f;
    } else {
        f->writers[f->turn]++;
    }
    SOP_ASSERT(f->end % SOP_PACK_ALIGN == 0);
    header->place.file = f->number;
    header->place.offset = next_offset(f, header);
    header->pad = f->pad + (uint32_t)(header->place.offset - f->end);
    f->pad = 0;
    f->end = header->place.offset + bytes;
    *turn = f->turn;
    *file = f;
unlock:
    sop_mutex_unlock(&p->lock);
    return rc;
}

/* The write of this record failed: its room becomes a VOID record. */
static void bury(struct sop_packs *p, struct sop_pack_file *f, const struct sop_pack_record *r)
{
    struct sop_pack_header h = {
        .type = SOP_PACK_VOID,
        .place = r->header.place,
        .pad = r->header.pad,
        .database = p->database,
    };
    h.place.bytes = (uint32_t)(r->bytes - SOP_PACK_HEADER_BYTES);
    uint8_t bytes[SOP_PACK_HEADER_BYTES];
    sop_pack__header_encode(&h, bytes);
    if (sop_file_write(f->file, h.place.offset, bytes, sizeof bytes, NULL) != 0) {
        sop_mutex_lock(&p->lock);
        if (p->appending == f) {
            cut_locked(p);
        }
        sop_mutex_unlock(&p->lock);
    }
}

int sop_packs_append(struct sop_packs *p, const struct sop_pack_owner *owner,
                     struct sop_slice payload, struct sop_place *place, struct sop_err *err)
{
    if (p->member == 0) {
        return SOP_ERR(err, READ_ONLY, "append to packs opened for reading");
    }
    struct sop_pack_record r;
    int rc = sop_pack__record_init(&r, p, owner, payload, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_pack_file *f = NULL;
    uint32_t turn = 0;
    rc = reserve(p, r.bytes, &f, &turn, &r.header, err);
    if (rc != 0) {
        goto undo_record;
    }
    rc = sop_pack__record_write(&r, f->file, err);
    if (rc != 0) {
        rc = sop_err_wrap(err, rc, "append to packs/%" PRIx64 "/%" PRIu32 " at byte %" PRIu64,
                          p->member, r.header.place.file, r.header.place.offset);
        bury(p, f, &r);
        sop_pack__file_release(p, f, turn, true);
        goto undo_record;
    }
    atomic_fetch_add_explicit(&p->appended_bytes, r.bytes + r.header.pad, memory_order_relaxed);
    sop_pack__file_release(p, f, turn, true);
    *place = r.header.place;
    sop_pack__record_fini(&r);
    return 0;

undo_record:
    sop_pack__record_fini(&r);
    return rc;
}

/* From here on, appends to the file begin in a new block and count as of the other turn. */
static void turn_over(struct sop_pack_file *f)
{
    SOP_ASSERT(f->writers[1 - f->turn] == 0);
    f->turn = 1 - f->turn;
    uint64_t end = (f->end + SOP_BLOCK_BYTES - 1) / SOP_BLOCK_BYTES * SOP_BLOCK_BYTES;
    f->pad += (uint32_t)(end - f->end);
    f->end = end;
    f->due = true;
    f->dirty = false;
}

/* Waits until nobody writes into blocks that are about to be synced. `lock` must be held. */
static void wait_for_writers(struct sop_packs *p, struct sop_pack_file *f)
{
    while (f->writers[1 - f->turn] != 0) {
        sop_cond_wait(&p->synced, &p->lock);
    }
}

/* Syncs every file that is due, one after the other. `lock` must be held; it is released
 * during each sync. */
static int sync_files(struct sop_packs *p, struct sop_err *err)
{
    struct sop_pack_file *f = p->files;
    while (f != NULL) {
        if (!f->due) {
            f = f->next;
            continue;
        }
        wait_for_writers(p, f);
        sop_mutex_unlock(&p->lock);
        int rc = sop_file_sync(f->file, err);
        sop_mutex_lock(&p->lock);
        f->due = false;
        atomic_fetch_add_explicit(&p->syncs, 1, memory_order_relaxed);
        if (rc != 0) {
            return sop_err_wrap(err, rc, "sync packs/%" PRIx64 "/%" PRIu32, p->member,
                                f->number);
        }
        sop_pack__file_reap(p, f);
        f = p->files; /* the list may have changed; what is done is not due any more */
    }
    return 0;
}

/* Innermost folder first; the order does not matter, as nobody relies on any before all are. */
static int sync_names(struct sop_packs *p, unsigned names, struct sop_err *err)
{
    const struct {
        unsigned bit;
        const char *path;
    } folders[] = {
        {SOP_PACK_NAMES_MEMBER, p->folder},
        {SOP_PACK_NAMES_PACKS, "packs"},
        {SOP_PACK_NAMES_ROOT, SOP_PACK_ROOT},
    };
    for (size_t i = 0; i < SOP_ARRAY_LEN(folders); i++) {
        if ((names & folders[i].bit) == 0) {
            continue;
        }
        int rc = sop_volume_dir_sync(p->volume, folders[i].path, err);
        atomic_fetch_add_explicit(&p->syncs, 1, memory_order_relaxed);
        if (rc != 0) {
            return sop_err_wrap(err, rc, "sync folder \"%s\"", folders[i].path);
        }
    }
    return 0;
}

/* Waits for its turn, then marks what this sync has to care for. `lock` must be held. */
static int sync_begin(struct sop_packs *p, unsigned *names, struct sop_err *err)
{
    while (p->syncing) {
        sop_cond_wait(&p->synced, &p->lock);
    }
    if (p->stopped) {
        return SOP_ERR(err, STOPPED, "packs stopped after a failed sync");
    }
    p->syncing = true;
    for (struct sop_pack_file *f = p->files; f != NULL; f = f->next) {
        if (f->dirty) {
            turn_over(f);
        }
    }
    *names = p->names;
    p->names = 0;
    return 0;
}

int sop_packs_sync(struct sop_packs *p, struct sop_err *err)
{
    unsigned names = 0;
    sop_mutex_lock(&p->lock);
    int rc = sync_begin(p, &names, err);
    if (rc != 0) {
        sop_mutex_unlock(&p->lock);
        return rc;
    }
    rc = sync_files(p, err);
    if (rc == 0 && names != 0) {
        sop_mutex_unlock(&p->lock);
        rc = sync_names(p, names, err);
        sop_mutex_lock(&p->lock);
    }
    if (rc != 0) {
        p->stopped = true; /* what reached the volume is unknown, and asking again would lie */
        for (struct sop_pack_file *f = p->files; f != NULL; f = f->next) {
            f->due = false;
        }
    }
    p->syncing = false;
    sop_cond_broadcast(&p->synced);
    sop_mutex_unlock(&p->lock);
    return rc;
}

void sop_packs_cut(struct sop_packs *p)
{
    sop_mutex_lock(&p->lock);
    cut_locked(p);
    sop_mutex_unlock(&p->lock);
}

void sop_packs_follow(struct sop_packs *p, sop_moved_on_fn moved_on, void *arg)
{
    p->moved_on = moved_on;
    p->moved_on_arg = arg;
}

uint64_t sop_packs_appended(const struct sop_packs *p)
{
    return atomic_load_explicit(&p->appended_bytes, memory_order_relaxed);
}

uint64_t sop_packs_syncs(const struct sop_packs *p)
{
    return atomic_load_explicit(&p->syncs, memory_order_relaxed);
}

/* Stops a listing at its first name. */
static int stop_at_first(void *arg, const char *name, struct sop_err *err)
{
    (void)name;
    (void)err;
    *(bool *)arg = true;
    return SOP_ERR_EXISTS;
}

/* Removes the folder of another member if nothing is left in it. Somebody else may be at the
 * same: absent is as good as removed. */
static int remove_folder_if_empty(struct sop_packs *p, uint64_t member, struct sop_err *err)
{
    char path[SOP_PACK_PATH_BYTES];
    sop_pack__folder_path(member, path);
    bool used = false;
    struct sop_err own;
    int rc = sop_volume_list(p->volume, path, stop_at_first, &used, &own);
    if (used || rc == SOP_ERR_NOT_FOUND) {
        return 0;
    }
    if (rc == 0) {
        rc = sop_volume_rmdir(p->volume, path, &own);
        if (rc == SOP_ERR_NOT_FOUND) {
            return 0;
        }
    }
    if (rc != 0 && err != NULL) {
        *err = own;
    }
    return sop_err_wrap(err, rc, "remove folder %s", path);
}

int sop_packs_unlink(struct sop_packs *p, uint64_t member, uint32_t file, struct sop_err *err)
{
    if (p->member == 0) {
        return SOP_ERR(err, READ_ONLY, "unlink in packs opened for reading");
    }
    char path[SOP_PACK_PATH_BYTES];
    sop_pack__file_path(member, file, path);
    if (sop_pack__file_writing(p, member, file)) {
        return SOP_ERR(err, BUSY, "unlink %s: still being written", path);
    }
    int rc = sop_volume_unlink(p->volume, path, err);
    sop_pack__readers_forget(p, member, file);
    if (rc != 0 && rc != SOP_ERR_NOT_FOUND) {
        return sop_err_wrap(err, rc, "unlink %s", path);
    }
    return member == p->member ? 0 : remove_folder_if_empty(p, member, err);
}

void sop_packs_forget(struct sop_packs *p, uint64_t member, uint32_t file)
{
    sop_pack__readers_forget(p, member, file);
}
