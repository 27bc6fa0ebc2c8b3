/* Files that this instance writes: names, folders, numbers, and when a descriptor may go. */
#include "engine/pack/pack_int.h"

#include <stdio.h>
#include <stdlib.h>

void sop_pack__folder_path(uint64_t member, char to[SOP_PACK_PATH_BYTES])
{
    int n = snprintf(to, SOP_PACK_PATH_BYTES, "packs/%" PRIx64, member);
    SOP_ASSERT(n > 0 && n < SOP_PACK_PATH_BYTES);
}

void sop_pack__file_path(uint64_t member, uint32_t number, char to[SOP_PACK_PATH_BYTES])
{
    int n = snprintf(to, SOP_PACK_PATH_BYTES, "packs/%" PRIx64 "/%" PRIu32, member, number);
    SOP_ASSERT(n > 0 && n < SOP_PACK_PATH_BYTES);
}

/* Keeps the greatest file number among the names of the own folder. */
static int note_number(void *arg, const char *name, struct sop_err *err)
{
    struct sop_packs *p = arg;
    (void)err;
    char *end = NULL;
    unsigned long long number = strtoull(name, &end, 10);
    if (*end == '\0' && number <= UINT32_MAX && number > p->number_last) {
        p->number_last = (uint32_t)number;
    }
    return 0;
}

/* Makes packs/ and packs/<member>/. A folder that is there already may be one whose name was
 * never synced, so all names are due either way. */
static int make_folders(struct sop_packs *p, struct sop_err *err)
{
    if (p->folders_made) {
        return 0;
    }
    int rc = sop_volume_mkdir_if_absent(p->volume, "packs", err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_volume_mkdir(p->volume, p->folder, err);
    if (rc == SOP_ERR_EXISTS) {
        rc = sop_volume_list(p->volume, p->folder, note_number, p, err);
    }
    if (rc != 0) {
        return rc;
    }
    p->names |= SOP_PACK_NAMES_ROOT | SOP_PACK_NAMES_PACKS;
    p->folders_made = true;
    return 0;
}

int sop_pack__file_new(struct sop_packs *p, struct sop_pack_file **out, struct sop_err *err)
{
    *out = NULL;
    int rc = make_folders(p, err);
    if (rc != 0) {
        return sop_err_wrap(err, rc, "make %s", p->folder);
    }
    if (p->number_last == UINT32_MAX) {
        return SOP_ERR(err, LIMIT, "no pack file numbers left; close and reopen");
    }
    struct sop_pack_file *f = sop_calloc(1, sizeof *f);
    if (f == NULL) {
        return SOP_ERR(err, NOMEM, "pack file");
    }
    /* The number is used up even if this fails: nobody knows whether the name is there. */
    f->number = ++p->number_last;
    char path[SOP_PACK_PATH_BYTES];
    sop_pack__file_path(p->member, f->number, path);
    rc = sop_file_open(p->volume, path,
                       SOP_OPEN_READ | SOP_OPEN_WRITE | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE,
                       &f->file, err);
    if (rc != 0) {
        sop_free(f);
        return sop_err_wrap(err, rc, "create %s", path);
    }
    p->names |= SOP_PACK_NAMES_MEMBER;
    f->writers[f->turn] = 1;
    f->next = p->files;
    p->files = f;
    *out = f;
    return 0;
}

void sop_pack__file_reap(struct sop_packs *p, struct sop_pack_file *f)
{
    if (f == p->appending || f->writers[0] + f->writers[1] != 0 || f->dirty || f->due) {
        return;
    }
    struct sop_pack_file **link = &p->files;
    while (*link != f) {
        SOP_ASSERT(*link != NULL);
        link = &(*link)->next;
    }
    *link = f->next;
    sop_file_close(f->file);
    sop_free(f);
}

void sop_pack__file_release(struct sop_packs *p, struct sop_pack_file *f, uint32_t turn,
                            bool dirty)
{
    sop_mutex_lock(&p->lock);
    SOP_ASSERT(f->writers[turn] > 0);
    f->writers[turn]--;
    if (turn == f->turn) {
        f->dirty = f->dirty || dirty;
    } else if (f->writers[turn] == 0) {
        sop_cond_broadcast(&p->synced); /* the sync that turned the file over waits for us */
    }
    sop_pack__file_reap(p, f);
    sop_mutex_unlock(&p->lock);
}

bool sop_pack__file_writing(struct sop_packs *p, uint64_t member, uint32_t number)
{
    bool writing = false;
    if (member != p->member) {
        return false;
    }
    sop_mutex_lock(&p->lock);
    for (const struct sop_pack_file *f = p->files; f != NULL; f = f->next) {
        if (f->number == number) {
            writing = f == p->appending || f->writers[0] + f->writers[1] != 0;
        }
    }
    sop_mutex_unlock(&p->lock);
    return writing;
}
