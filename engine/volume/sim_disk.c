/* The simulated disk: blocks, inodes, names (see sim_int.h for the model). */
#include "engine/volume/sim_int.h"

#include <errno.h>
#include <stdio.h>

/* ---- blocks ---- */

struct sim_block *sop_sim__block_ref(struct sim_block *block)
{
    if (block != NULL) {
        atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
    }
    return block;
}

void sop_sim__block_unref(struct sim_block *block)
{
    if (block != NULL &&
        atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel) == 1) {
        sop_free(block);
    }
}

int sop_sim__block_own(struct sim_block **block)
{
    struct sim_block *shared = *block;
    if (shared != NULL && atomic_load_explicit(&shared->refs, memory_order_acquire) == 1) {
        return 0;
    }
    struct sim_block *own = sop_malloc(sizeof *own);
    if (own == NULL) {
        return ENOMEM;
    }
    atomic_init(&own->refs, 1);
    if (shared == NULL) {
        memset(own->bytes, 0, sizeof own->bytes);
    } else {
        memcpy(own->bytes, shared->bytes, sizeof own->bytes);
        sop_sim__block_unref(shared);
    }
    *block = own;
    return 0;
}

/* ---- files ---- */

static size_t slots_for(uint64_t bytes)
{
    return (size_t)((bytes + SIM_BLOCK_BYTES - 1) / SIM_BLOCK_BYTES);
}

static void count_block(struct sim_volume *v, struct sim_inode *inode, bool before, bool after)
{
    if (after && !before) {
        inode->held_bytes += SIM_BLOCK_BYTES;
        v->used += SIM_BLOCK_BYTES;
    } else if (before && !after) {
        inode->held_bytes -= SIM_BLOCK_BYTES;
        v->used -= SIM_BLOCK_BYTES;
    }
}

void sop_sim__set_visible(struct sim_volume *v, struct sim_inode *inode, size_t slot,
                          struct sim_block *take_block)
{
    struct sim_block *old = inode->slots[slot].visible;
    inode->slots[slot].visible = take_block;
    count_block(v, inode, old != NULL, take_block != NULL);
    sop_sim__block_unref(old);
}

int sop_sim__resize_slots(struct sim_volume *v, struct sim_inode *inode, uint64_t bytes)
{
    SOP_ASSERT(bytes <= SIM_FILE_BYTES_MAX);
    size_t count = slots_for(bytes);
    for (size_t i = count; i < inode->slot_count; i++) {
        sop_sim__set_visible(v, inode, i, NULL);
        sop_sim__block_unref(inode->slots[i].stable);
    }
    if (count > inode->slot_count) {
        size_t cap = inode->slot_cap == 0 ? 1 : inode->slot_cap;
        while (cap < count) {
            cap *= 2;
        }
        if (cap > inode->slot_cap) {
            struct sim_slot *slots = sop_realloc(inode->slots, cap * sizeof *slots);
            if (slots == NULL) {
                return ENOMEM;
            }
            inode->slots = slots;
            inode->slot_cap = cap;
        }
        memset(inode->slots + inode->slot_count, 0,
               (count - inode->slot_count) * sizeof *inode->slots);
    }
    inode->slot_count = count;
    if (inode->dirty_to > count) {
        inode->dirty_to = count;
        inode->dirty_from = inode->dirty_from < count ? inode->dirty_from : count;
    }
    return 0;
}

/* File systems give room back when a name goes, though only a sync makes that last: what is
 * kept for a crash alone takes none. */
uint64_t sop_sim__used(const struct sim_volume *v)
{
    uint64_t used = v->used;
    for (const struct sim_inode *inode = v->inodes; inode != NULL; inode = inode->next) {
        bool gone = inode->links == 0 && inode->opens == 0;
        used -= gone ? inode->held_bytes : 0;
    }
    return used;
}

static int check_room(const struct sim_volume *v, const struct sim_inode *inode,
                      uint64_t offset, size_t len)
{
    if (len > SIM_FILE_BYTES_MAX || offset > SIM_FILE_BYTES_MAX - len) {
        return EFBIG;
    }
    if (v->capacity == 0) {
        return 0;
    }
    uint64_t more = 0;
    for (size_t i = (size_t)(offset / SIM_BLOCK_BYTES); i < slots_for(offset + len); i++) {
        if (i >= inode->slot_count || inode->slots[i].visible == NULL) {
            more += SIM_BLOCK_BYTES;
        }
    }
    bool fits = v->used + more <= v->capacity || sop_sim__used(v) + more <= v->capacity;
    return fits ? 0 : ENOSPC;
}

/* Writes inside one slot. */
static int write_slot(struct sim_volume *v, struct sim_inode *inode, size_t slot, size_t at,
                      const uint8_t *from, size_t len)
{
    struct sim_slot *s = &inode->slots[slot];
    bool before = s->visible != NULL;
    int rc = sop_sim__block_own(&s->visible);
    if (rc != 0) {
        return rc;
    }
    count_block(v, inode, before, true);
    memcpy(s->visible->bytes + at, from, len);
    for (size_t sector = at / SIM_SECTOR_BYTES; sector <= (at + len - 1) / SIM_SECTOR_BYTES;
         sector++) {
        s->dirty = (uint8_t)(s->dirty | 1u << sector);
    }
    if (inode->dirty_from == inode->dirty_to) {
        inode->dirty_from = slot;
        inode->dirty_to = slot;
    }
    inode->dirty_from = slot < inode->dirty_from ? slot : inode->dirty_from;
    inode->dirty_to = slot + 1 > inode->dirty_to ? slot + 1 : inode->dirty_to;
    return 0;
}

int sop_sim__write(struct sim_volume *v, struct sim_inode *inode, uint64_t offset,
                   const uint8_t *from, size_t len)
{
    int rc = check_room(v, inode, offset, len);
    if (rc != 0 || len == 0) {
        return rc;
    }
    uint64_t end = offset + len;
    if (slots_for(end) > inode->slot_count) {
        rc = sop_sim__resize_slots(v, inode, end);
        if (rc != 0) {
            return rc;
        }
    }
    while (len > 0) {
        size_t at = (size_t)(offset % SIM_BLOCK_BYTES);
        size_t step = SIM_BLOCK_BYTES - at < len ? SIM_BLOCK_BYTES - at : len;
        rc = write_slot(v, inode, (size_t)(offset / SIM_BLOCK_BYTES), at, from, step);
        if (rc != 0) {
            return rc;
        }
        offset += step;
        from += step;
        len -= step;
        if (offset > inode->bytes) {
            inode->bytes = offset;
        }
    }
    SOP_ASSERT(inode->bytes >= end);
    return 0;
}

bool sop_sim__blocks_unused(const struct sim_inode *inode, uint64_t offset, size_t len)
{
    static const uint8_t zeros[SIM_BLOCK_BYTES];
    size_t end = slots_for(offset + len);
    for (size_t i = (size_t)(offset / SIM_BLOCK_BYTES); i < end && i < inode->slot_count; i++) {
        const struct sim_block *stable = inode->slots[i].stable;
        if (stable != NULL && memcmp(stable->bytes, zeros, sizeof zeros) != 0) {
            return false;
        }
    }
    return true;
}

size_t sop_sim__read(const struct sim_inode *inode, uint64_t offset, uint8_t *to, size_t len)
{
    if (offset >= inode->bytes) {
        return 0;
    }
    if (len > inode->bytes - offset) {
        len = (size_t)(inode->bytes - offset);
    }
    size_t done = 0;
    while (done < len) {
        size_t at = (size_t)((offset + done) % SIM_BLOCK_BYTES);
        size_t step = SIM_BLOCK_BYTES - at < len - done ? SIM_BLOCK_BYTES - at : len - done;
        const struct sim_block *block = inode->slots[(offset + done) / SIM_BLOCK_BYTES].visible;
        if (block == NULL) {
            memset(to + done, 0, step);
        } else {
            memcpy(to + done, block->bytes + at, step);
        }
        done += step;
    }
    return done;
}

void sop_sim__sync(struct sim_inode *inode)
{
    for (size_t i = inode->dirty_from; i < inode->dirty_to; i++) {
        struct sim_slot *slot = &inode->slots[i];
        if (slot->dirty != 0) {
            sop_sim__block_unref(slot->stable);
            slot->stable = sop_sim__block_ref(slot->visible);
            slot->dirty = 0;
        }
    }
    inode->dirty_from = 0;
    inode->dirty_to = 0;
    inode->stable_bytes = inode->bytes;
}

/* ---- names ---- */

struct sim_name *sop_sim__name_new(const char *text)
{
    size_t len = strlen(text) + 1;
    struct sim_name *name = sop_malloc(sizeof *name + len);
    if (name != NULL) {
        name->refs = 1;
        memcpy(name->text, text, len);
    }
    return name;
}

void sop_sim__name_unref(struct sim_name *name)
{
    SOP_ASSERT(name->refs > 0);
    if (--name->refs == 0) {
        sop_free(name);
    }
}

size_t sop_sim__entry_at(const struct sim_entries *entries, const char *name)
{
    for (size_t i = entries->count; i > 0; i--) { /* new names are asked for most */
        if (strcmp(entries->items[i - 1].name->text, name) == 0) {
            return i - 1;
        }
    }
    return entries->count;
}

int sop_sim__entries_reserve(struct sim_entries *entries, size_t count)
{
    if (count <= entries->cap) {
        return 0;
    }
    size_t cap = entries->cap == 0 ? 8 : entries->cap;
    while (cap < count) {
        cap *= 2;
    }
    struct sim_entry *items = sop_realloc(entries->items, cap * sizeof *items);
    if (items == NULL) {
        return ENOMEM;
    }
    entries->items = items;
    entries->cap = cap;
    return 0;
}

static void entry_drop(struct sim_volume *v, struct sim_entry entry)
{
    sop_sim__name_unref(entry.name);
    if (entry.inode != NULL) {
        sop_sim__unref(v, entry.inode);
    }
}

void sop_sim__entries_fini(struct sim_volume *v, struct sim_entries *entries)
{
    for (size_t i = 0; i < entries->count; i++) {
        entry_drop(v, entries->items[i]);
    }
    sop_free(entries->items);
    *entries = (struct sim_entries){0};
}

/* The order of entries means nothing, so the last one fills the gap. */
static struct sim_entry entry_take(struct sim_entries *entries, size_t at)
{
    SOP_ASSERT(at < entries->count);
    struct sim_entry taken = entries->items[at];
    entries->items[at] = entries->items[--entries->count];
    return taken;
}

int sop_sim__add_name(struct sim_inode *dir, const char *name, struct sim_inode *inode)
{
    if (sop_sim__entries_reserve(&dir->visible, dir->visible.count + 1) != 0 ||
        sop_sim__entries_reserve(&dir->changes, dir->changes.count + 1) != 0 ||
        sop_sim__entries_reserve(&dir->stable, dir->stable.count + dir->changes.count + 1) !=
            0) {
        return ENOMEM;
    }
    struct sim_entry entry = {.name = sop_sim__name_new(name), .inode = inode};
    if (entry.name == NULL) {
        return ENOMEM;
    }
    entry.name->refs = 2;
    inode->refs += 2;
    inode->links++;
    dir->visible.items[dir->visible.count++] = entry;
    dir->changes.items[dir->changes.count++] = entry;
    return 0;
}

int sop_sim__remove_name(struct sim_volume *v, struct sim_inode *dir, size_t at)
{
    if (sop_sim__entries_reserve(&dir->changes, dir->changes.count + 1) != 0) {
        return ENOMEM;
    }
    struct sim_entry gone = entry_take(&dir->visible, at);
    gone.inode->links--;
    sop_sim__unref(v, gone.inode);
    gone.inode = NULL;
    dir->changes.items[dir->changes.count++] = gone;
    return 0;
}

void sop_sim__settle_names(struct sim_volume *v, struct sim_inode *dir, size_t count)
{
    SOP_ASSERT(count <= dir->changes.count);
    for (size_t i = 0; i < count; i++) {
        struct sim_entry change = dir->changes.items[i];
        if (change.inode != NULL) {
            SOP_ASSERT(dir->stable.count < dir->stable.cap);
            dir->stable.items[dir->stable.count++] = change;
            continue;
        }
        size_t at = sop_sim__entry_at(&dir->stable, change.name->text);
        entry_drop(v, entry_take(&dir->stable, at));
        sop_sim__name_unref(change.name);
    }
    for (size_t i = count; i < dir->changes.count; i++) {
        entry_drop(v, dir->changes.items[i]);
    }
    dir->changes.count = 0;
}

/* ---- inodes ---- */

struct sim_inode *sop_sim__inode_new(struct sim_volume *v, uint64_t id, bool directory)
{
    struct sim_inode *inode = sop_calloc(1, sizeof *inode);
    if (inode == NULL) {
        return NULL;
    }
    inode->id = id;
    inode->directory = directory;
    inode->next = v->inodes;
    if (v->inodes != NULL) {
        v->inodes->previous = inode;
    }
    v->inodes = inode;
    return inode;
}

void sop_sim__unref(struct sim_volume *v, struct sim_inode *inode)
{
    SOP_ASSERT(inode->refs > 0);
    if (--inode->refs == 0) {
        inode->next_dead = v->dead;
        v->dead = inode;
    }
}

static void inode_free(struct sim_volume *v, struct sim_inode *inode)
{
    for (size_t i = 0; i < inode->slot_count; i++) {
        sop_sim__set_visible(v, inode, i, NULL);
        sop_sim__block_unref(inode->slots[i].stable);
    }
    SOP_ASSERT(inode->held_bytes == 0);
    if (inode->previous != NULL) {
        inode->previous->next = inode->next;
    } else {
        v->inodes = inode->next;
    }
    if (inode->next != NULL) {
        inode->next->previous = inode->previous;
    }
    sop_free(inode->slots);
    sop_free(inode);
}

static void drop_names(struct sim_volume *v, struct sim_inode *inode)
{
    sop_sim__entries_fini(v, &inode->visible);
    sop_sim__entries_fini(v, &inode->stable);
    sop_sim__entries_fini(v, &inode->changes);
}

void sop_sim__reap(struct sim_volume *v)
{
    while (v->dead != NULL) {
        struct sim_inode *inode = v->dead;
        v->dead = inode->next_dead;
        drop_names(v, inode); /* may add to the dead */
        inode_free(v, inode);
    }
}

/* ---- paths ---- */

static int step_down(const struct sim_inode *dir, const char *part, size_t len,
                     struct sim_inode **out)
{
    if (!dir->directory) {
        return ENOTDIR;
    }
    for (size_t i = dir->visible.count; i > 0; i--) {
        const struct sim_entry *entry = &dir->visible.items[i - 1];
        if (strncmp(entry->name->text, part, len) == 0 && entry->name->text[len] == '\0') {
            *out = entry->inode;
            return 0;
        }
    }
    return ENOENT;
}

int sop_sim__find_parent(struct sim_volume *v, const char *path, struct sim_inode **dir,
                         const char **leaf)
{
    SOP_ASSERT(sop_volume__path_ok(path));
    if (strcmp(path, ".") == 0) {
        path = "";
    }
    struct sim_inode *at = v->root;
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(path, '/')) {
        int rc = step_down(at, path, (size_t)(slash - path), &at);
        if (rc != 0) {
            return rc;
        }
        path = slash + 1;
    }
    if (!at->directory) {
        return ENOTDIR;
    }
    if (strlen(path) > SIM_NAME_BYTES_MAX) {
        return ENAMETOOLONG;
    }
    *dir = at;
    *leaf = path;
    return 0;
}

int sop_sim__find(struct sim_volume *v, const char *path, struct sim_inode **out)
{
    struct sim_inode *dir;
    const char *leaf;
    int rc = sop_sim__find_parent(v, path, &dir, &leaf);
    if (rc != 0) {
        return rc;
    }
    if (leaf[0] == '\0') {
        *out = v->root;
        return 0;
    }
    return step_down(dir, leaf, strlen(leaf), out);
}

/* ---- volumes ---- */

struct sim_volume *sop_sim__volume_new(void)
{
    struct sim_volume *v = sop_calloc(1, sizeof *v);
    if (v == NULL) {
        return NULL;
    }
    v->base.ops = &sop_sim__ops;
    v->base.one_host = true;
    (void)snprintf(v->base.shown, sizeof v->base.shown, "(simulated)");
    sop_mutex_init(&v->mutex, SOP_RANK_VOLUME);
    return v;
}

void sop_sim__volume_free(struct sim_volume *v)
{
    SOP_ASSERT(v->open_files == 0);
    /* A reference on everything first, so that nothing dies while the list is walked. */
    for (struct sim_inode *inode = v->inodes; inode != NULL; inode = inode->next) {
        inode->refs++;
    }
    for (struct sim_inode *inode = v->inodes; inode != NULL; inode = inode->next) {
        drop_names(v, inode);
    }
    while (v->inodes != NULL) {
        inode_free(v, v->inodes);
    }
    SOP_ASSERT(v->used == 0);
    sop_mutex_fini(&v->mutex);
    sop_free(v);
}
