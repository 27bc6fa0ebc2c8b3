/* Crashes and copies of the simulated disk, and damage to it.
 *
 * A crash is a copy that is then settled in place: each folder keeps what was durable and a
 * prefix of the later changes, each file keeps, garbles or drops each unsynced sector. What no
 * name reaches any more dies by its reference count.
 *
 * Draws depend on the seed and the inode's id only, so they repeat. */
#include "engine/volume/sim_int.h"

#include <errno.h>

/* ---- copies ---- */

static int copy_slots(struct sim_volume *to, const struct sim_inode *from)
{
    struct sim_inode *twin = from->twin;
    int rc = sop_sim__resize_slots(to, twin, (uint64_t)from->slot_count * SIM_BLOCK_BYTES);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < from->slot_count; i++) {
        sop_sim__set_visible(to, twin, i, sop_sim__block_ref(from->slots[i].visible));
        twin->slots[i].stable = sop_sim__block_ref(from->slots[i].stable);
        twin->slots[i].dirty = from->slots[i].dirty;
    }
    twin->bytes = from->bytes;
    twin->stable_bytes = from->stable_bytes;
    twin->dirty_from = from->dirty_from;
    twin->dirty_to = from->dirty_to;
    return 0;
}

/* cap is at least `room`, for invariant 4. */
static int copy_entries(const struct sim_entries *from, size_t room, struct sim_entries *to)
{
    SOP_ASSERT(room >= from->count && to->count == 0);
    if (sop_sim__entries_reserve(to, room) != 0) {
        return ENOMEM;
    }
    for (size_t i = 0; i < from->count; i++) {
        struct sim_entry entry = {.name = sop_sim__name_new(from->items[i].name->text)};
        if (entry.name == NULL) {
            return ENOMEM;
        }
        if (from->items[i].inode != NULL) {
            entry.inode = from->items[i].inode->twin;
            entry.inode->refs++;
        }
        to->items[to->count++] = entry;
    }
    return 0;
}

static int copy_inode(struct sim_volume *to, const struct sim_inode *from)
{
    struct sim_inode *twin = from->twin;
    twin->links = from->links;
    if (!from->directory) {
        return copy_slots(to, from);
    }
    int rc = copy_entries(&from->visible, from->visible.count, &twin->visible);
    if (rc == 0) {
        rc = copy_entries(&from->stable, from->stable.count + from->changes.count,
                          &twin->stable);
    }
    if (rc == 0) {
        rc = copy_entries(&from->changes, from->changes.count, &twin->changes);
    }
    return rc;
}

static int copy_disk(struct sim_volume *from, struct sim_volume *to)
{
    for (struct sim_inode *inode = from->inodes; inode != NULL; inode = inode->next) {
        inode->twin = sop_sim__inode_new(to, inode->id, inode->directory);
        if (inode->twin == NULL) {
            return ENOMEM;
        }
        inode->twin->refs = 1; /* ours, until all names are there */
    }
    for (const struct sim_inode *inode = from->inodes; inode != NULL; inode = inode->next) {
        int rc = copy_inode(to, inode);
        if (rc != 0) {
            return rc;
        }
    }
    to->root = from->root->twin;
    to->root->refs++;
    to->next_id = from->next_id;
    to->capacity = from->capacity;
    to->write_once = from->write_once;
    /* What only open files held is gone with them. */
    for (struct sim_inode *inode = to->inodes; inode != NULL; inode = inode->next) {
        sop_sim__unref(to, inode);
    }
    sop_sim__reap(to);
    return 0;
}

static struct sim_volume *copy_volume(struct sop_volume *v)
{
    SOP_ASSERT(v->ops == &sop_sim__ops);
    struct sim_volume *from = (struct sim_volume *)v;
    struct sim_volume *to = sop_sim__volume_new();
    if (to == NULL) {
        return NULL;
    }
    sop_mutex_lock(&from->mutex);
    int rc = copy_disk(from, to);
    sop_mutex_unlock(&from->mutex);
    if (rc != 0) {
        sop_sim__volume_free(to);
        return NULL;
    }
    return to;
}

int sop_volume_sim_copy(struct sop_volume *v, struct sop_volume **out, struct sop_err *err)
{
    *out = NULL;
    struct sim_volume *copy = copy_volume(v);
    if (copy == NULL) {
        return SOP_ERR(err, NOMEM, "copy a simulated volume");
    }
    *out = &copy->base;
    return 0;
}

/* ---- crashes ---- */

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static unsigned draw_percent(uint64_t *state)
{
    return (unsigned)(draw(state) % 100);
}

static uint64_t seed_of(const struct sop_sim_crash *how, const struct sim_inode *inode)
{
    uint64_t state = how->seed ^ inode->id * UINT64_C(0xd6e8feb86659fd93);
    return draw(&state);
}

/* The durable names become the visible ones. */
static int settle_folder(struct sim_volume *v, struct sim_inode *dir,
                         const struct sop_sim_crash *how)
{
    size_t kept = 0;
    if (how != NULL && dir->changes.count > 0) {
        uint64_t state = seed_of(how, dir);
        kept = draw_percent(&state) < how->keep_names
                   ? dir->changes.count
                   : (size_t)(draw(&state) % (dir->changes.count + 1));
    }
    sop_sim__settle_names(v, dir, kept);
    struct sim_entries now = {0};
    if (sop_sim__entries_reserve(&now, dir->stable.count) != 0) {
        return ENOMEM;
    }
    for (size_t i = 0; i < dir->stable.count; i++) {
        now.items[i] = dir->stable.items[i];
        now.items[i].name->refs++;
        now.items[i].inode->refs++;
    }
    now.count = dir->stable.count;
    sop_sim__entries_fini(v, &dir->visible);
    dir->visible = now;
    return 0;
}

/* Brings an unsynced sector, or garbage in its place, onto the durable block. Returns ENOMEM,
 * or 0 and the end of what the file has there in *end. */
static int keep_sector(const struct sim_inode *file, size_t slot, unsigned sector, bool garble,
                       uint64_t *state, uint64_t *end)
{
    struct sim_slot *s = &file->slots[slot];
    uint64_t start = (uint64_t)slot * SIM_BLOCK_BYTES + sector * SIM_SECTOR_BYTES;
    SOP_ASSERT(start < file->bytes); /* it was written, so the file reaches it */
    size_t len = SIM_SECTOR_BYTES;
    if (len > file->bytes - start) {
        len = (size_t)(file->bytes - start);
    }
    if (sop_sim__block_own(&s->stable) != 0) {
        return ENOMEM;
    }
    size_t at = sector * SIM_SECTOR_BYTES;
    memcpy(s->stable->bytes + at, s->visible->bytes + at, len);
    for (size_t i = 0; garble && i < len; i++) {
        s->stable->bytes[at + i] = (uint8_t)draw(state);
    }
    *end = start + len;
    return 0;
}

static int settle_sectors(struct sim_inode *file, const struct sop_sim_crash *how,
                          uint64_t *bytes)
{
    uint64_t state = seed_of(how, file);
    /* The size is metadata and can get to the disk ahead of the sectors it covers. */
    if (file->bytes > *bytes && draw_percent(&state) < how->keep_sector) {
        *bytes = file->bytes;
    }
    for (size_t i = file->dirty_from; i < file->dirty_to; i++) {
        for (unsigned sector = 0; sector < SIM_BLOCK_SECTORS; sector++) {
            if ((file->slots[i].dirty & 1u << sector) == 0) {
                continue;
            }
            unsigned luck = draw_percent(&state);
            if (luck >= how->keep_sector + how->garble_sector) {
                continue;
            }
            uint64_t end = 0;
            int rc = keep_sector(file, i, sector, luck >= how->keep_sector, &state, &end);
            if (rc != 0) {
                return rc;
            }
            *bytes = end > *bytes ? end : *bytes;
        }
    }
    return 0;
}

static int settle_file(struct sim_volume *v, struct sim_inode *file,
                       const struct sop_sim_crash *how)
{
    uint64_t bytes = file->stable_bytes;
    if (how != NULL) {
        int rc = settle_sectors(file, how, &bytes);
        if (rc != 0) {
            return rc;
        }
    }
    for (size_t i = file->dirty_from; i < file->dirty_to; i++) {
        sop_sim__set_visible(v, file, i, sop_sim__block_ref(file->slots[i].stable));
        file->slots[i].dirty = 0;
    }
    file->dirty_from = 0;
    file->dirty_to = 0;
    file->bytes = bytes;
    file->stable_bytes = bytes;
    return sop_sim__resize_slots(v, file, bytes); /* shrinks at most */
}

static void count_links(struct sim_volume *v)
{
    for (struct sim_inode *inode = v->inodes; inode != NULL; inode = inode->next) {
        inode->links = 0;
    }
    for (const struct sim_inode *dir = v->inodes; dir != NULL; dir = dir->next) {
        for (size_t i = 0; i < dir->visible.count; i++) {
            dir->visible.items[i].inode->links++;
        }
    }
}

static int settle_disk(struct sim_volume *v, const struct sop_sim_crash *how)
{
    for (struct sim_inode *inode = v->inodes; inode != NULL; inode = inode->next) {
        int rc = inode->directory ? settle_folder(v, inode, how) : settle_file(v, inode, how);
        if (rc != 0) {
            return rc;
        }
    }
    sop_sim__reap(v);
    count_links(v);
    return 0;
}

int sop_volume_sim_crash(struct sop_volume *v, const struct sop_sim_crash *how,
                         struct sop_volume **out, struct sop_err *err)
{
    SOP_ASSERT(how == NULL ||
               (how->keep_sector + how->garble_sector <= 100 && how->keep_names <= 100));
    *out = NULL;
    struct sim_volume *copy = copy_volume(v);
    if (copy == NULL) {
        return SOP_ERR(err, NOMEM, "crash a simulated volume");
    }
    if (settle_disk(copy, how) != 0) {
        sop_sim__volume_free(copy);
        return SOP_ERR(err, NOMEM, "crash a simulated volume");
    }
    *out = &copy->base;
    return 0;
}

/* ---- damage ---- */

/* Makes both blocks of a slot writable; where nothing is unsynced they stay one block, in
 * *visible, and *stable is NULL. */
static int own_slot(struct sim_volume *v, struct sim_inode *file, size_t at,
                    struct sim_block **visible, struct sim_block **stable)
{
    struct sim_slot *slot = &file->slots[at];
    if (slot->visible != slot->stable) {
        int rc = sop_sim__block_own(&slot->visible);
        if (rc == 0 && slot->stable != NULL) {
            rc = sop_sim__block_own(&slot->stable);
        }
        *visible = slot->visible;
        *stable = slot->stable;
        return rc;
    }
    struct sim_block *own = sop_sim__block_ref(slot->visible);
    int rc = sop_sim__block_own(&own);
    if (rc != 0) {
        sop_sim__block_unref(own);
        return rc;
    }
    sop_sim__block_unref(slot->stable);
    slot->stable = sop_sim__block_ref(own);
    sop_sim__set_visible(v, file, at, own);
    *visible = own;
    *stable = NULL;
    return 0;
}

static int find_file(struct sim_volume *v, const char *path, struct sim_inode **out)
{
    int rc = sop_sim__find(v, path, out);
    if (rc != 0) {
        return rc;
    }
    return (*out)->directory ? EISDIR : 0;
}

static int flip(struct sim_volume *v, const char *path, uint64_t bit)
{
    struct sim_inode *file;
    int rc = find_file(v, path, &file);
    if (rc != 0) {
        return rc;
    }
    uint64_t byte = bit / 8;
    if (byte >= file->bytes) {
        return EINVAL;
    }
    struct sim_block *visible;
    struct sim_block *stable;
    rc = own_slot(v, file, (size_t)(byte / SIM_BLOCK_BYTES), &visible, &stable);
    if (rc != 0) {
        return rc;
    }
    uint8_t mask = (uint8_t)(1u << bit % 8);
    visible->bytes[byte % SIM_BLOCK_BYTES] ^= mask;
    if (stable != NULL && byte < file->stable_bytes) {
        stable->bytes[byte % SIM_BLOCK_BYTES] ^= mask;
    }
    return 0;
}

int sop_volume_sim_flip(struct sop_volume *v, const char *path, uint64_t bit,
                        struct sop_err *err)
{
    SOP_ASSERT(v->ops == &sop_sim__ops);
    struct sim_volume *sim = (struct sim_volume *)v;
    sop_mutex_lock(&sim->mutex);
    int sys = flip(sim, path, bit);
    sop_mutex_unlock(&sim->mutex);
    if (sys == EINVAL) {
        return SOP_ERR(err, INVALID, "flip bit %" PRIu64 " of %s: beyond its end", bit, path);
    }
    return sys == 0 ? 0 : SOP_VOLUME__ERR(err, sys, "flip bit %" PRIu64 " of %s", bit, path);
}

static int truncate_to(struct sim_volume *v, const char *path, uint64_t bytes)
{
    struct sim_inode *file;
    int rc = find_file(v, path, &file);
    if (rc != 0) {
        return rc;
    }
    if (bytes > SIM_FILE_BYTES_MAX) {
        return EFBIG;
    }
    size_t last = (size_t)(bytes / SIM_BLOCK_BYTES);
    size_t tail = (size_t)(bytes % SIM_BLOCK_BYTES);
    if (tail != 0 && last < file->slot_count) {
        struct sim_block *visible;
        struct sim_block *stable;
        rc = own_slot(v, file, last, &visible, &stable);
        if (rc != 0) {
            return rc;
        }
        memset(visible->bytes + tail, 0, SIM_BLOCK_BYTES - tail);
        if (stable != NULL) {
            memset(stable->bytes + tail, 0, SIM_BLOCK_BYTES - tail);
        }
        /* Sectors wholly beyond the end are not there any more. */
        unsigned sectors = (unsigned)((tail + SIM_SECTOR_BYTES - 1) / SIM_SECTOR_BYTES);
        uint8_t dirty = (uint8_t)(file->slots[last].dirty & ((1u << sectors) - 1u));
        if (dirty == 0 && stable != NULL) {
            sop_sim__block_unref(stable);
            file->slots[last].stable = sop_sim__block_ref(visible);
        }
        file->slots[last].dirty = dirty;
    }
    rc = sop_sim__resize_slots(v, file, bytes);
    if (rc == 0) {
        file->bytes = bytes;
        file->stable_bytes = bytes;
    }
    return rc;
}

int sop_volume_sim_truncate(struct sop_volume *v, const char *path, uint64_t bytes,
                            struct sop_err *err)
{
    SOP_ASSERT(v->ops == &sop_sim__ops);
    struct sim_volume *sim = (struct sim_volume *)v;
    sop_mutex_lock(&sim->mutex);
    int sys = truncate_to(sim, path, bytes);
    sop_mutex_unlock(&sim->mutex);
    return sys == 0
               ? 0
               : SOP_VOLUME__ERR(err, sys, "truncate %s to %" PRIu64 " bytes", path, bytes);
}
