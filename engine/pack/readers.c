/* Descriptors kept open for reading, at most SOP_PACK_READERS_MAX, least recently used first
 * out. Reads of any number of threads share one descriptor; the lock is held to find it and to
 * give it back, never while a file is opened, read or closed. A reader that finds all slots in
 * use opens the file for itself. */
#include "engine/pack/pack_int.h"

void sop_pack__readers_init(struct sop_pack_readers *r)
{
    memset(r, 0, sizeof *r);
    sop_mutex_init(&r->lock, SOP_RANK_LEAF);
}

void sop_pack__readers_fini(struct sop_pack_readers *r)
{
    for (size_t i = 0; i < SOP_ARRAY_LEN(r->slots); i++) {
        SOP_ASSERT(r->slots[i].readers == 0);
        sop_file_close(r->slots[i].file);
    }
    sop_mutex_fini(&r->lock);
}

/* Index of the file's slot, or -1. */
static int slot_find(const struct sop_pack_readers *r, uint64_t member, uint32_t number,
                     bool random)
{
    for (int i = 0; i < SOP_PACK_READERS_MAX; i++) {
        const struct sop_pack_reader *s = &r->slots[i];
        if (s->number == number && s->member == member && s->random == random &&
            s->file != NULL && !s->gone) {
            return i;
        }
    }
    return -1;
}

/* Index of a free slot, else of the least recently used one that nobody reads, else -1. */
static int slot_for_new(const struct sop_pack_readers *r)
{
    int best = -1;
    for (int i = 0; i < SOP_PACK_READERS_MAX; i++) {
        const struct sop_pack_reader *s = &r->slots[i];
        if (s->file == NULL) {
            return i;
        }
        if (s->readers == 0 && (best < 0 || s->used < r->slots[best].used)) {
            best = i;
        }
    }
    return best;
}

static struct sop_file *slot_take(struct sop_pack_readers *r, int i)
{
    r->slots[i].readers++;
    r->slots[i].used = ++r->tick;
    return r->slots[i].file;
}

/* Puts a newly opened file into a slot, unless another thread was faster, there is no slot, or
 * a file was unlinked meanwhile. Returns what is to be closed: the file that made room, the new
 * one if another thread was faster, or NULL. */
static struct sop_file *slot_fill(struct sop_pack_readers *r, uint64_t member, uint32_t number,
                                  bool random, uint64_t unlinks, struct sop_pack_use *use)
{
    struct sop_file *opened = use->file;
    int i = slot_find(r, member, number, random);
    if (i >= 0) {
        *use = (struct sop_pack_use){.file = slot_take(r, i), .slot = i};
        return opened;
    }
    i = r->unlinks == unlinks ? slot_for_new(r) : -1;
    if (i < 0) {
        return NULL;
    }
    struct sop_file *old = r->slots[i].file;
    r->slots[i] = (struct sop_pack_reader){
        .file = opened, .member = member, .number = number, .random = random};
    *use = (struct sop_pack_use){.file = slot_take(r, i), .slot = i};
    return old;
}

int sop_pack__use(struct sop_packs *p, uint64_t member, uint32_t number, bool random,
                  struct sop_pack_use *use, struct sop_err *err)
{
    struct sop_pack_readers *r = &p->readers;
    sop_mutex_lock(&r->lock);
    uint64_t unlinks = r->unlinks;
    int i = slot_find(r, member, number, random);
    if (i >= 0) {
        *use = (struct sop_pack_use){.file = slot_take(r, i), .slot = i};
    }
    sop_mutex_unlock(&r->lock);
    if (i >= 0) {
        return 0;
    }

    char path[SOP_PACK_PATH_BYTES];
    sop_pack__file_path(member, number, path);
    *use = (struct sop_pack_use){.file = NULL, .slot = -1};
    unsigned flags = SOP_OPEN_READ | (random ? SOP_OPEN_RANDOM : 0u);
    int rc = sop_file_open(p->volume, path, flags, &use->file, err);
    if (rc != 0) {
        return sop_err_wrap(err, rc, "open %s", path);
    }
    sop_mutex_lock(&r->lock);
    struct sop_file *extra = slot_fill(r, member, number, random, unlinks, use);
    sop_mutex_unlock(&r->lock);
    sop_file_close(extra);
    return 0;
}

/* If nobody reads the slot any more and its file is gone, empties it; what is to be closed. */
static struct sop_file *slot_drop_if_gone(struct sop_pack_reader *s)
{
    struct sop_file *file = s->file;
    if (!s->gone || s->readers != 0) {
        return NULL;
    }
    *s = (struct sop_pack_reader){.file = NULL};
    return file;
}

void sop_pack__use_end(struct sop_packs *p, struct sop_pack_use *use)
{
    struct sop_pack_readers *r = &p->readers;
    struct sop_file *close = use->file;
    if (use->slot >= 0) {
        struct sop_pack_reader *s = &r->slots[use->slot];
        sop_mutex_lock(&r->lock);
        SOP_ASSERT(s->readers > 0 && s->file == use->file);
        s->readers--;
        close = slot_drop_if_gone(s);
        sop_mutex_unlock(&r->lock);
    }
    sop_file_close(close);
    *use = (struct sop_pack_use){.file = NULL, .slot = -1};
}

void sop_pack__readers_forget(struct sop_packs *p, uint64_t member, uint32_t number)
{
    struct sop_pack_readers *r = &p->readers;
    struct sop_file *close[2] = {NULL, NULL};
    sop_mutex_lock(&r->lock);
    r->unlinks++;
    for (int random = 0; random <= 1; random++) {
        int i = slot_find(r, member, number, random != 0);
        if (i >= 0) {
            r->slots[i].gone = true;
            close[random] = slot_drop_if_gone(&r->slots[i]);
        }
    }
    sop_mutex_unlock(&r->lock);
    sop_file_close(close[0]);
    sop_file_close(close[1]);
}
