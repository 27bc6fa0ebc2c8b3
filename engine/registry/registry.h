/* The registry: page id -> handle, as immutable extents of 256 sectors of 63 handles, and the
 * manifest that names them: a checkpoint.
 *
 * registry/x<extent, hex>.<slot>-<record>-<member>   checkpoints/<slot>-<record>-<member>
 * Pure bytes and files; what is current lives in engine/txn. */
#ifndef SOP_REGISTRY_H
#define SOP_REGISTRY_H

#include "engine/base/base.h"
#include "engine/chain/chain.h"
#include "engine/pack/pack.h"

/* Where a page's content is at a checkpoint: a base and/or one run over it. 64 bytes stored.
 * A page id in no store (free or never used) has lsn {0,0}. */
struct sop_handle {
    struct sop_lsn lsn; /* of the page version */
    uint32_t items;     /* of a leaf: items; of an inner page: children */
    uint8_t level;      /* 0 = leaf */
    struct sop_place base;
    struct sop_place run;
};
#define SOP_EXTENT_HANDLES (SOP_EXTENT_SECTORS * SOP_SECTOR_HANDLES)

/* One extent in memory: handle of page id (extent * SOP_EXTENT_HANDLES + i). */
struct sop_extent {
    uint64_t extent;
    struct sop_handle handles[256 * 63];
};

/* Names an extent file. */
struct sop_extent_ref {
    uint64_t extent;
    struct sop_lsn lsn; /* L of the checkpoint that wrote it */
    uint64_t member;
};

/* Writes the extent's sectors that have at least one handle, syncs the file (not the folder:
 * sop_registry_sync does once for all). */
int sop_extent_write(struct sop_volume *v, const uint8_t database_id[16],
                     const struct sop_extent *x, const struct sop_extent_ref *ref,
                     struct sop_err *err) SOP_MUST_USE;
/* Fills *x (absent sectors: all free). DATA_LOSS with file and offset when it does not check.
 */
int sop_extent_read(struct sop_volume *v, const uint8_t database_id[16],
                    const struct sop_extent_ref *ref, struct sop_extent *x,
                    struct sop_err *err) SOP_MUST_USE;
int sop_extent_unlink(struct sop_volume *v, const struct sop_extent_ref *ref,
                      struct sop_err *err) SOP_MUST_USE;
int sop_registry_sync(struct sop_volume *v, struct sop_err *err) SOP_MUST_USE;

struct sop_manifest_store {
    uint64_t store;
    uint64_t root; /* page id, fixed for the store's life */
    uint64_t items;
    uint8_t dropping; /* removed from the catalog; pages are being freed */
};
struct sop_manifest_file { /* a pack file and how much of it this checkpoint names */
    uint64_t member;
    uint32_t file;
    uint64_t live_bytes;
};
struct sop_manifest_free { /* a free page id that may serve its store again */
    uint64_t store;
    uint64_t page;
};

/* The state of a database at one LSN. Arrays are owned by the manifest (sop_malloc). */
struct sop_manifest {
    uint8_t database_id[16];
    struct sop_chain_point point; /* point.lsn = L = redo */
    uint64_t member;              /* who wrote it */
    uint64_t next_page;           /* page ids below were handed out */
    uint64_t next_store;
    uint64_t value_bytes; /* live bytes of values in packs */
    struct sop_extent_ref *extents;
    size_t extents_count;
    struct sop_manifest_store *stores;
    size_t stores_count;
    struct sop_manifest_file *files;
    size_t files_count;
    struct sop_manifest_free *free_pages;
    size_t free_pages_count;
    struct sop_buf chain_state; /* sop_chain_state() at L */
    struct sop_buf more;        /* typed sections to come (drives, snapshots); must be empty
                                   or known: an unknown section refuses the manifest */
};
void sop_manifest_fini(struct sop_manifest *m);
int sop_manifest_encode(const struct sop_manifest *m, struct sop_buf *to,
                        struct sop_err *err) SOP_MUST_USE;
/* Verifies everything (CRC, bounds, counts) before it trusts. On failure *m is empty. */
int sop_manifest_decode(struct sop_slice bytes, struct sop_manifest *m,
                        struct sop_err *err) SOP_MUST_USE;
/* Writes checkpoints/<lsn>-<member>, syncs file and folder. */
int sop_manifest_write(struct sop_volume *v, const struct sop_manifest *m,
                       struct sop_err *err) SOP_MUST_USE;
int sop_manifest_read(struct sop_volume *v, struct sop_lsn lsn, uint64_t member,
                      struct sop_manifest *m, struct sop_err *err) SOP_MUST_USE;
/* The names on the volume, newest LSN first; *list is sop_free()d by the caller. Names that are
 * not manifests are ignored. */
struct sop_manifest_name {
    struct sop_lsn lsn;
    uint64_t member;
};
int sop_manifest_list(struct sop_volume *v, struct sop_manifest_name **list, size_t *count,
                      struct sop_err *err) SOP_MUST_USE;
/* Syncs a manifest that somebody else wrote, and who may have died before it did so. */
int sop_manifest_settle(struct sop_volume *v, struct sop_lsn lsn, uint64_t member,
                        struct sop_err *err) SOP_MUST_USE;
int sop_manifest_unlink(struct sop_volume *v, struct sop_lsn lsn, uint64_t member,
                        struct sop_err *err) SOP_MUST_USE;
/* After 0 every manifest removed before the call stays removed. */
int sop_manifest_sync(struct sop_volume *v, struct sop_err *err) SOP_MUST_USE;
/* Every extent file on the volume, for the sweep. */
typedef int (*sop_extent_fn)(void *arg, const struct sop_extent_ref *ref, struct sop_err *err);
int sop_extent_list(struct sop_volume *v, sop_extent_fn each, void *arg,
                    struct sop_err *err) SOP_MUST_USE;

#endif
