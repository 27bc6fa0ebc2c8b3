/* What the files of this folder share: the instance, files being written, files being read. */
#ifndef SOP_PACK_INT_H
#define SOP_PACK_INT_H

#include "engine/base/thread.h"
#include "engine/pack/format.h"

#include <stdatomic.h>

#define SOP_PACK_ROOT       "" /* the volume's root folder, for dir_sync */
#define SOP_PACK_PATH_BYTES 64 /* "packs/<member, hex>/<file number>" with its 0 */
#define SOP_PACK_READERS_MAX                                                                   \
    64 /* descriptors kept open for reading; more are opened for one                           \
          read and closed after it */

/* One file that this instance writes: the one that appends go to, those before it that are not
 * synced yet, and one for each stream. In the list while any of the reasons to keep it holds.
 */
struct sop_pack_file {
    struct sop_pack_file *next;
    struct sop_file *file;
    uint32_t number;
    uint32_t writers[2]; /* appends between reserve and release, those of `turn` and those
                            before the sync that changed it; an open stream */
    uint32_t turn;       /* 0 or 1, changed by each sync of the file */
    uint32_t pad;        /* zeros before the next record */
    uint64_t end;        /* first byte that no append has reserved; pad included */
    bool dirty;          /* has records since its last sync */
    bool due;            /* a sync in progress has still to sync it */
};

/* A cached descriptor. Free slot: file == NULL. */
struct sop_pack_reader {
    struct sop_file *file;
    uint64_t member;
    uint64_t used; /* tick of the last use */
    uint32_t number;
    uint32_t readers; /* reads in progress; the slot may not be reused */
    bool random;      /* opened for single places (SOP_OPEN_RANDOM) */
    bool gone;        /* file was unlinked: close with the last read */
};

/* Descriptors for reading. The lock is held for look-up only, never during I/O. */
struct sop_pack_readers {
    struct sop_mutex lock;
    uint64_t tick;
    uint64_t unlinks; /* so that a file opened before its unlink is not cached after it */
    struct sop_pack_reader slots[SOP_PACK_READERS_MAX];
};

/* Folders whose names a sync has to make durable. */
enum sop_pack_names {
    SOP_PACK_NAMES_ROOT = 1,   /* packs/ itself */
    SOP_PACK_NAMES_PACKS = 2,  /* packs/<member>/ */
    SOP_PACK_NAMES_MEMBER = 4, /* files */
};

/* Invariants, under `lock`:
 * 1. `appending` is in `files`, or NULL.
 * 2. A file is in `files` iff it is `appending`, has writers, is dirty or is due.
 * 3. Bytes below `end` of a file belong to exactly one append each, or are pad.
 * 4. When a sync of a file begins, no append writes below its `end` any more, and `end` is a
 *    multiple of SOP_BLOCK_BYTES: a block with synced records is never written again. */
struct sop_packs {
    struct sop_volume *volume;
    uint64_t member;
    uint64_t database; /* first 8 bytes of the id */
    char folder[SOP_PACK_PATH_BYTES];

    struct sop_mutex lock;
    struct sop_cond synced; /* a sync ended, or the last writer that one waits for */
    struct sop_pack_file *files;
    struct sop_pack_file *appending;
    uint32_t number_last;     /* greatest file number given out or found */
    sop_moved_on_fn moved_on; /* sop_packs_follow; NULL: the files are our own to remove */
    void *moved_on_arg;
    unsigned names; /* set of enum sop_pack_names, due for the next sync */
    bool folders_made;
    bool syncing;
    bool stopped; /* a sync failed: what was written is unknown for good */

    _Atomic uint64_t appended_bytes;
    _Atomic uint64_t syncs;
    struct sop_pack_readers readers;
};

/* packs/<member> and packs/<member>/<file>. */
void sop_pack__folder_path(uint64_t member, char to[SOP_PACK_PATH_BYTES]);
void sop_pack__file_path(uint64_t member, uint32_t number, char to[SOP_PACK_PATH_BYTES]);

/* readers.c: a descriptor for one read; `random`: one without read-ahead, for a part of a
 * record. Missing file: NOT_FOUND. */
struct sop_pack_use {
    struct sop_file *file;
    int slot; /* -1: not cached, closed at the end of use */
};
void sop_pack__readers_init(struct sop_pack_readers *r);
void sop_pack__readers_fini(struct sop_pack_readers *r);
int sop_pack__use(struct sop_packs *p, uint64_t member, uint32_t number, bool random,
                  struct sop_pack_use *use, struct sop_err *err) SOP_MUST_USE;
void sop_pack__use_end(struct sop_packs *p, struct sop_pack_use *use);
/* The file is about to be, or was, unlinked: its descriptors are not used any more. */
void sop_pack__readers_forget(struct sop_packs *p, uint64_t member, uint32_t number);

/* files.c: files being written. new: a file in the list with one writer, its name due. `lock`
 * must be held. */
int sop_pack__file_new(struct sop_packs *p, struct sop_pack_file **out,
                       struct sop_err *err) SOP_MUST_USE;
/* Ends a writer that began in that turn; dirty: it left records that the next sync has to care
 * for. Takes `lock`. */
void sop_pack__file_release(struct sop_packs *p, struct sop_pack_file *f, uint32_t turn,
                            bool dirty);
/* Frees *f if no reason to keep it is left. `lock` must be held. */
void sop_pack__file_reap(struct sop_packs *p, struct sop_pack_file *f);
/* Whether this instance may still write to the file. Takes `lock`. */
bool sop_pack__file_writing(struct sop_packs *p, uint64_t member, uint32_t number);

/* record.c: a record on its way to a file. */
struct sop_pack_record {
    struct sop_pack_header header;
    struct sop_slice payload; /* borrowed */
    uint64_t bytes;           /* whole record */
    uint8_t *block;           /* small: the whole record; else header, then tail */
    uint8_t *tail;            /* what follows the payload, inside block */
    size_t tail_bytes;
    bool whole; /* block holds the payload too: one write */
};
/* Sizes and CRCs; everything but the place. Errors: TOO_LARGE, NOMEM. */
int sop_pack__record_init(struct sop_pack_record *r, const struct sop_packs *p,
                          const struct sop_pack_owner *owner, struct sop_slice payload,
                          struct sop_err *err) SOP_MUST_USE;
void sop_pack__record_fini(struct sop_pack_record *r);
int sop_pack__record_write(struct sop_pack_record *r, struct sop_file *file,
                           struct sop_err *err) SOP_MUST_USE;
/* Fills the part of a header that comes from the owner. */
int sop_pack__header_of(struct sop_pack_header *h, const struct sop_packs *p,
                        const struct sop_pack_owner *owner, struct sop_err *err) SOP_MUST_USE;

/* DATA_LOSS with the name of the file and the offset. */
int sop_pack__damaged(struct sop_err *err, uint64_t member, uint32_t number, uint64_t offset,
                      const char *what);
/* As sop_file_read, but the end of the file is damage. */
int sop_pack__read_exactly(struct sop_file *file, const struct sop_place *place,
                           uint64_t offset, void *to, size_t len,
                           struct sop_err *err) SOP_MUST_USE;
/* Decodes a header read at place->member, file, offset and verifies that it names them and this
 * database. Errors as sop_pack__header_decode, with the place in the text. */
int sop_pack__header_at(const struct sop_packs *p, const struct sop_place *place,
                        const uint8_t bytes[SOP_PACK_HEADER_BYTES], struct sop_pack_header *h,
                        struct sop_err *err) SOP_MUST_USE;

#endif
