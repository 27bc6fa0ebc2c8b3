/* Packs: append-only files of one member that hold sheets (bases, runs) and large values.
 *
 * packs/<member, hex>/<file number>. A file is written by its member only, up to
 * SOP_PACK_FILE_BYTES, and never again after it is closed; a streamed value has a file of its
 * own. A place names the bytes of one record; it never changes its meaning. Every record checks
 * itself: header with magic, type, database id, owner and CRC, payload with CRC32C (streamed
 * and large values: one CRC per 64 KiB piece, so that a range can be read alone). Erasure-coded
 * packs will stand behind the same functions.
 *
 * Any thread. After a failed sync the instance is stopped: every append and sync gives STOPPED.
 */
#ifndef SOP_PACK_H
#define SOP_PACK_H

#include "engine/base/base.h"
#include "engine/base/env.h"
#include "engine/volume/volume.h"

/* Where a record lies. All zero = nowhere. */
struct sop_place {
    uint64_t member; /* < 2^48 */
    uint64_t offset; /* of the record's header in the file; < 2^40 */
    uint32_t file;   /* file numbers begin at 1 */
    uint32_t bytes;  /* payload bytes (of a value: its own length) */
};
#define SOP_PLACE_BYTES 19 /* encoded: member 6, file 4, offset 5, bytes 4 */
void sop_place_encode(const struct sop_place *p, uint8_t to[SOP_PLACE_BYTES]);
struct sop_place sop_place_decode(const uint8_t from[SOP_PLACE_BYTES]);
static inline bool sop_place_none(const struct sop_place *p)
{
    return p->file == 0;
}
static inline bool sop_place_eq(const struct sop_place *a, const struct sop_place *b)
{
    return a->member == b->member && a->file == b->file && a->offset == b->offset &&
           a->bytes == b->bytes;
}

enum sop_pack_type {
    SOP_PACK_SHEET = 1, /* owner: store id, page id */
    SOP_PACK_VALUE =
        2, /* owner: store id, and the full key, so that compaction finds the item */
};

/* What a record says about itself (header), for scans. */
struct sop_pack_owner {
    enum sop_pack_type type;
    uint64_t store;
    uint64_t page;        /* SHEET */
    struct sop_slice key; /* VALUE: full key; borrowed */
};

struct sop_packs;

/* `member`: own id, 0 for read-only use. Makes nothing until the first append. */
int sop_packs_open(struct sop_packs **out, struct sop_volume *v, struct sop_env *env,
                   const uint8_t database_id[16], uint64_t member,
                   struct sop_err *err) SOP_MUST_USE;
void sop_packs_close(struct sop_packs **packs);
/* The files are another process's, which removes them when it likes. Of a place whose file is
 * gone `moved_on` is asked whether that one has gone on since this state (then CONFLICT;
 * otherwise DATA_LOSS as ever); any thread, no lock held. Before the first read. */
typedef bool (*sop_moved_on_fn)(void *arg);
void sop_packs_follow(struct sop_packs *p, sop_moved_on_fn moved_on, void *arg);

/* Writes one record; *place is readable at once, durable after the next sync.
 * NOSPACE: nothing of it counts; a later append may work. IO, NOMEM. */
int sop_packs_append(struct sop_packs *p, const struct sop_pack_owner *owner,
                     struct sop_slice payload, struct sop_place *place,
                     struct sop_err *err) SOP_MUST_USE;
/* After 0 all records whose append returned before the call survive power loss, names
 * included. One sync per file written since the last call, plus folder syncs for new names. */
int sop_packs_sync(struct sop_packs *p, struct sop_err *err) SOP_MUST_USE;

/* Reads and verifies a whole record into *to (replaced), or the payload range
 * [from, from + len) into `to`. DATA_LOSS (file and offset in the text) when bytes are not what
 * was written: magic, type, id, owner store, place or CRC differ, or the file is missing. */
int sop_packs_read(struct sop_packs *p, const struct sop_place *place, enum sop_pack_type type,
                   struct sop_buf *to, struct sop_err *err) SOP_MUST_USE;
int sop_packs_read_range(struct sop_packs *p, const struct sop_place *place, uint64_t from,
                         void *to, size_t len, struct sop_err *err) SOP_MUST_USE;

/* Parts of a sheet, without read-ahead, for a caller who verifies them by the sheet's own
 * checksums. A sheet of SOP_PACK_BLOCKS_BYTES or more begins at a multiple of SOP_BLOCK_BYTES
 * of its file. first: the record's header is verified as in sop_packs_read() and says the
 * *owner; then `len` bytes of the payload into *to (replaced). part: bytes [from, from + len)
 * of a payload whose header was verified so before. Both must lie in the payload. Errors as of
 * sop_packs_read(), but for what only a CRC of the payload would show. */
#define SOP_PACK_BLOCKS_BYTES 32768u
int sop_packs_read_first(struct sop_packs *p, const struct sop_place *place, size_t len,
                         struct sop_buf *to, struct sop_pack_owner *owner,
                         struct sop_err *err) SOP_MUST_USE;
int sop_packs_read_part(struct sop_packs *p, const struct sop_place *place, uint32_t from,
                        void *to, size_t len, struct sop_err *err) SOP_MUST_USE;

/* A value that is written as it comes, into a file of its own. Many streams at once; each used
 * by one thread at a time. finish: *place readable; durable after sop_packs_sync().
 * abort (also after a failed write): the file is removed. Both free the stream. */
struct sop_pack_stream;
int sop_packs_stream(struct sop_packs *p, const struct sop_pack_owner *owner,
                     struct sop_pack_stream **out, struct sop_err *err) SOP_MUST_USE;
int sop_pack_stream_write(struct sop_pack_stream *s, struct sop_slice bytes,
                          struct sop_err *err) SOP_MUST_USE;
int sop_pack_stream_finish(struct sop_pack_stream **s, struct sop_place *place,
                           struct sop_err *err) SOP_MUST_USE;
void sop_pack_stream_abort(struct sop_pack_stream **s);

/* Every record of one closed file, in order; stops at nonzero. DATA_LOSS at damage.
 * verify_payload: also read and check payloads. */
typedef int (*sop_pack_record_fn)(void *arg, const struct sop_pack_owner *owner,
                                  const struct sop_place *place, struct sop_err *err);
int sop_packs_scan(struct sop_packs *p, uint64_t member, uint32_t file, bool verify_payload,
                   sop_pack_record_fn each, void *arg, struct sop_err *err) SOP_MUST_USE;

/* As a scan with verify_payload, but goes on behind damage: bytes [from, until) that are no
 * record go to `gap`, then the next record that checks. For files whose writer ended without
 * warning: what it had not synced is damage to a scan, and nobody names it. Whoever removes a
 * file afterwards must know from elsewhere that all it holds of value was seen. */
typedef int (*sop_pack_gap_fn)(void *arg, uint64_t from, uint64_t until, struct sop_err *err);
int sop_packs_salvage(struct sop_packs *p, uint64_t member, uint32_t file,
                      sop_pack_record_fn each, sop_pack_gap_fn gap, void *arg,
                      struct sop_err *err) SOP_MUST_USE;

/* Every pack file on the volume. `writing`: it is still being appended to by this instance. */
typedef int (*sop_pack_file_fn)(void *arg, uint64_t member, uint32_t file, uint64_t bytes,
                                bool writing, struct sop_err *err);
int sop_packs_files(struct sop_packs *p, sop_pack_file_fn each, void *arg,
                    struct sop_err *err) SOP_MUST_USE;
/* Closes the file being written (if any), so that it can be scanned and removed. */
void sop_packs_cut(struct sop_packs *p);
/* Removes a file (absent is success), and its folder when empty and not the own one. */
int sop_packs_unlink(struct sop_packs *p, uint64_t member, uint32_t file,
                     struct sop_err *err) SOP_MUST_USE;
/* Another instance has removed the file: this one lets go of it. An open descriptor would keep
 * its blocks on the volume. */
void sop_packs_forget(struct sop_packs *p, uint64_t member, uint32_t file);

/* Bytes of all records and pad appended by this instance; for statistics. */
uint64_t sop_packs_appended(const struct sop_packs *p);
/* File and syncs since open; for budgets asserted by tests. */
uint64_t sop_packs_syncs(const struct sop_packs *p);

#endif
