/* The simulated disk: blocks, inodes, names. Shared by sim.c (the operations), sim_disk.c (the
 * disk) and sim_crash.c (what a crash makes of it).
 *
 * A file is an array of 4 KiB slots. Each slot points to the block that reads see and to the
 * block that is durable, and says which of its eight sectors were written since the last sync.
 * Blocks are counted references, shared between slots and between volumes and copied before a
 * write to a shared one; so a sync moves pointers, and a copy of a whole disk is cheap.
 *
 * Invariants, under the volume's mutex:
 * 1. A slot without dirty sectors has visible == stable. Dirty slots lie in
 *    [dirty_from, dirty_to).
 * 2. Bytes of a block beyond the file's (visible, stable) size are zero; a NULL block reads as
 *    zeros. slot_count covers the greater of the two sizes.
 * 3. Applying `changes` to `stable` gives `visible`, as sets of names.
 * 4. stable.cap has room for every addition in `changes`, so syncing a folder cannot fail.
 * 5. An inode's refs count the entries and changes that hold it, its open files, and for the
 * root the volume. At 0 it waits on `dead` until sop_sim__reap. */
#ifndef SOP_SIM_INT_H
#define SOP_SIM_INT_H

#include "engine/base/thread.h"
#include "engine/volume/sim.h"
#include "engine/volume/volume_int.h"

#include <stdatomic.h>

#define SIM_SECTOR_BYTES   512u
#define SIM_BLOCK_BYTES    4096u
#define SIM_BLOCK_SECTORS  (SIM_BLOCK_BYTES / SIM_SECTOR_BYTES)
#define SIM_FILE_BYTES_MAX (UINT64_C(1) << 36)
#define SIM_NAME_BYTES_MAX 255u
_Static_assert(SIM_BLOCK_SECTORS == 8, "one bit of uint8_t for each sector");

struct sim_block {
    atomic_uint refs; /* atomic: volumes with different mutexes share blocks */
    uint8_t bytes[SIM_BLOCK_BYTES];
};

struct sim_slot {
    struct sim_block *visible;
    struct sim_block *stable;
    uint8_t dirty;
};

struct sim_inode;
struct sim_name {
    unsigned refs;
    char text[];
};
struct sim_entry {
    struct sim_name *name;
    struct sim_inode *inode; /* NULL in the change that removes a name */
};
struct sim_entries {
    struct sim_entry *items;
    size_t count;
    size_t cap;
};

struct sim_inode {
    uint64_t id; /* same in copies of the volume, so that draws repeat */
    bool directory;
    unsigned refs;
    uint32_t links; /* visible names */
    uint32_t opens; /* open files */
    struct sim_inode *previous;
    struct sim_inode *next;
    struct sim_inode *next_dead;
    struct sim_inode *twin; /* while a copy is made */
    /* Files. */
    struct sim_slot *slots;
    size_t slot_count;
    size_t slot_cap;
    uint64_t bytes;
    uint64_t stable_bytes;
    uint64_t held_bytes; /* of visible blocks */
    size_t dirty_from;
    size_t dirty_to;
    const struct sop_file *locked_by;
    /* Folders. `changes` are entries with inode NULL for a removal, oldest first. */
    struct sim_entries visible;
    struct sim_entries stable;
    struct sim_entries changes;
};

struct sim_volume {
    struct sop_volume base;
    struct sop_mutex mutex;
    struct sim_inode *root;
    struct sim_inode *inodes;
    struct sim_inode *dead;
    uint64_t next_id;
    uint64_t capacity; /* 0: no limit */
    uint64_t used;     /* sum of held_bytes */
    uint64_t syncs;
    size_t open_files;
    bool (*write_once)(const char *path); /* NULL: every block may be written again */
};

extern const struct sop_volume_ops sop_sim__ops;

/* A volume without a root folder; NULL when out of memory. free takes everything that is left,
 * in whatever state. */
struct sim_volume *sop_sim__volume_new(void);
void sop_sim__volume_free(struct sim_volume *v);

/* In the volume's list, refs 0, not dead. NULL when out of memory. */
struct sim_inode *sop_sim__inode_new(struct sim_volume *v, uint64_t id, bool directory);
void sop_sim__unref(struct sim_volume *v, struct sim_inode *inode);
/* Frees what unref left without references. */
void sop_sim__reap(struct sim_volume *v);

/* Every function below that returns int returns 0 or an errno and changes nothing on failure,
 * unless said otherwise. */

/* The inode at path; ENOENT, ENOTDIR. */
int sop_sim__find(struct sim_volume *v, const char *path, struct sim_inode **out);
/* The folder that holds path's last part, and that part ("" for the root itself). ENOENT,
 * ENOTDIR, ENAMETOOLONG. */
int sop_sim__find_parent(struct sim_volume *v, const char *path, struct sim_inode **dir,
                         const char **leaf);
/* Index of a name, or count if absent. */
size_t sop_sim__entry_at(const struct sim_entries *entries, const char *name);
int sop_sim__entries_reserve(struct sim_entries *entries, size_t count);
/* Copies a name. NULL when out of memory. */
struct sim_name *sop_sim__name_new(const char *text);
void sop_sim__name_unref(struct sim_name *name);
/* Gives up all entries, with their references. */
void sop_sim__entries_fini(struct sim_volume *v, struct sim_entries *entries);
/* Visible at once, durable with sop_sim__settle_names. ENOMEM. */
int sop_sim__add_name(struct sim_inode *dir, const char *name, struct sim_inode *inode);
int sop_sim__remove_name(struct sim_volume *v, struct sim_inode *dir, size_t at);
/* Makes the first `count` changes durable and forgets the rest (their visible effect stays:
 * the caller sees to invariant 3 if there is a rest). */
void sop_sim__settle_names(struct sim_volume *v, struct sim_inode *dir, size_t count);

struct sim_block *sop_sim__block_ref(struct sim_block *block);
void sop_sim__block_unref(struct sim_block *block);
/* Makes *block one that nobody else sees, with the same content. ENOMEM. */
int sop_sim__block_own(struct sim_block **block);
/* Replaces the visible block of a slot; takes the reference. */
void sop_sim__set_visible(struct sim_volume *v, struct sim_inode *inode, size_t slot,
                          struct sim_block *take_block);
/* Slots for `bytes`. ENOMEM. Shrinking drops the slots beyond. */
int sop_sim__resize_slots(struct sim_volume *v, struct sim_inode *inode, uint64_t bytes);
/* ENOSPC, EFBIG: nothing written. ENOMEM: a part may be. */
int sop_sim__write(struct sim_volume *v, struct sim_inode *inode, uint64_t offset,
                   const uint8_t *from, size_t len);
/* Bytes that visible and open files hold. */
uint64_t sop_sim__used(const struct sim_volume *v);
/* Do the blocks that [offset, offset + len) touches hold nothing but zeros since a sync? */
bool sop_sim__blocks_unused(const struct sim_inode *inode, uint64_t offset, size_t len);
/* Copies what there is, up to len; returns how much. */
size_t sop_sim__read(const struct sim_inode *inode, uint64_t offset, uint8_t *to, size_t len);
void sop_sim__sync(struct sim_inode *inode);

#endif
