/* The table of pack files in use; see files.h. */
#include "engine/txn/files.h"

void sop_files_init(struct sop_files *f)
{
    memset(f, 0, sizeof *f);
    sop_mutex_init(&f->mutex, SOP_RANK_LEAF);
}

void sop_files_fini(struct sop_files *f)
{
    sop_free(f->uses);
    sop_mutex_fini(&f->mutex);
    memset(f, 0, sizeof *f);
}

/* Index of the first use >= (member, file). */
static size_t lower(const struct sop_files *f, uint64_t member, uint32_t file)
{
    size_t low = 0;
    size_t high = f->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct sop_file_use *u = &f->uses[middle];
        if (u->member < member || (u->member == member && u->file < file)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct sop_file_use *find(struct sop_files *f, uint64_t member, uint32_t file)
{
    size_t at = lower(f, member, file);
    if (at < f->count && f->uses[at].member == member && f->uses[at].file == file) {
        return &f->uses[at];
    }
    return NULL;
}

/* The use of a file, made if absent; NULL when out of memory. */
static struct sop_file_use *find_or_make(struct sop_files *f, uint64_t member, uint32_t file)
{
    struct sop_file_use *u = find(f, member, file);
    if (u != NULL) {
        return u;
    }
    if (f->count == f->cap) {
        size_t cap = f->cap == 0 ? 64 : f->cap * 2;
        struct sop_file_use *uses = sop_realloc(f->uses, cap * sizeof *uses);
        if (uses == NULL) {
            return NULL;
        }
        f->uses = uses;
        f->cap = cap;
    }
    size_t at = lower(f, member, file);
    memmove(&f->uses[at + 1], &f->uses[at], (f->count - at) * sizeof *f->uses);
    f->count++;
    f->uses[at] = (struct sop_file_use){.member = member, .file = file};
    return &f->uses[at];
}

int sop_files_note(struct sop_files *f, const struct sop_place *place, struct sop_err *err)
{
    sop_mutex_lock(&f->mutex);
    bool there = find_or_make(f, place->member, place->file) != NULL;
    sop_mutex_unlock(&f->mutex);
    return there ? 0 : SOP_ERR(err, NOMEM, "count what is used of a pack file");
}

bool sop_files_failed(struct sop_files *f)
{
    sop_mutex_lock(&f->mutex);
    bool failed = f->failed;
    sop_mutex_unlock(&f->mutex);
    return failed;
}

void sop_files_add(struct sop_files *f, const struct sop_place *place, enum sop_files_what what,
                   int64_t change)
{
    if (sop_place_none(place)) {
        return;
    }
    sop_mutex_lock(&f->mutex);
    struct sop_file_use *u = find_or_make(f, place->member, place->file);
    f->failed = f->failed || u == NULL;
    if (u != NULL) {
        switch (what) {
        case SOP_FILES_LIVE:
            u->live += change;
            break;
        case SOP_FILES_BODIES:
            u->bodies += change;
            break;
        case SOP_FILES_INFLIGHT:
            u->inflight += change;
            break;
        }
    }
    sop_mutex_unlock(&f->mutex);
}

int sop_files_live(struct sop_files *f, struct sop_manifest_file **out, size_t *count,
                   struct sop_err *err)
{
    *out = NULL;
    *count = 0;
    sop_mutex_lock(&f->mutex);
    struct sop_manifest_file *list = sop_calloc(f->count + 1, sizeof *list);
    if (list == NULL) {
        sop_mutex_unlock(&f->mutex);
        return SOP_ERR(err, NOMEM, "list %zu pack files", f->count);
    }
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++) {
        if (f->uses[i].live > 0) {
            list[n++] = (struct sop_manifest_file){.member = f->uses[i].member,
                                                   .file = f->uses[i].file,
                                                   .live_bytes = (uint64_t)f->uses[i].live};
        }
    }
    sop_mutex_unlock(&f->mutex);
    *out = list;
    *count = n;
    return 0;
}

struct sop_file_use sop_files_get(struct sop_files *f, uint64_t member, uint32_t file)
{
    struct sop_file_use use = {.member = member, .file = file};
    sop_mutex_lock(&f->mutex);
    const struct sop_file_use *u = find(f, member, file);
    if (u != NULL) {
        use = *u;
    }
    sop_mutex_unlock(&f->mutex);
    return use;
}

void sop_files_mark(struct sop_files *f, uint64_t member, uint32_t file, uint64_t moment)
{
    sop_mutex_lock(&f->mutex);
    struct sop_file_use *u = find_or_make(f, member, file);
    if (u != NULL) {
        if (moment == UINT64_MAX) {
            u->dead_since = 0;
        } else if (u->dead_since == 0) {
            u->dead_since = moment + 1;
        }
    }
    sop_mutex_unlock(&f->mutex);
}

void sop_files_forget(struct sop_files *f, uint64_t member, uint32_t file)
{
    sop_mutex_lock(&f->mutex);
    struct sop_file_use *u = find(f, member, file);
    if (u != NULL) {
        size_t at = (size_t)(u - f->uses);
        memmove(u, u + 1, (f->count - at - 1) * sizeof *u);
        f->count--;
    }
    sop_mutex_unlock(&f->mutex);
}

uint64_t sop_files_live_bytes(struct sop_files *f)
{
    uint64_t sum = 0;
    sop_mutex_lock(&f->mutex);
    for (size_t i = 0; i < f->count; i++) {
        sum += f->uses[i].live > 0 ? (uint64_t)f->uses[i].live : 0;
    }
    sop_mutex_unlock(&f->mutex);
    return sum;
}
