/* Writing a journal.
 *
 * Packing: a record begins at the next unit of 64 behind the one before, as long as nothing of
 * that block was synced; otherwise with the next block (engine/journal/format.h). A write that
 * begins a block fills it up with zeros: the system then need not read it first. What follows
 * in that block are the bytes of records alone.
 *
 * Room: a record is put into a file only if two more blocks fit behind it, one for the END that
 * leads on and one for the LEAVE of an orderly close, so that closing never makes a file.
 * A record that is too large for a file is the first one of a file made for it. In both cases
 * the new file is complete and durable, name included, before the END that leads to it is
 * written, so that a failure to make it leaves nothing behind.
 *
 * Syncs: a file that has ended waits in `ended` until somebody syncs it: whoever confirms
 * records next, or the care thread before. One thread syncs at a time (`syncing`), because the
 * system tells a failed write-back to only one of those that ask. A sync beside appends is a
 * mark (from there on a new block) and a settling of it.
 *
 * Invariants: 1. all files but the current one and those in `ended` are durable. 2. `next`, if
 * set, is zero-filled, durable and named. 3. block_border(offset) + 2 blocks <= size until the
 * last record. 4. unless `fresh`, no record in front of a sync or a mark has a byte in the
 * block of `offset`. */
#include "engine/journal/journal.h"

#include "engine/base/codec.h"
#include "engine/base/thread.h"

#include <stdio.h>

#define STAGE_BYTES (256u * 1024u)
#define DIRECT_PART (64u * 1024u) /* parts this large are written from where they lie */
#define EAGER_BYTES (4u << 20)    /* up to this size the next file is made at once */
#define RESERVE     (2u * SOP_BLOCK_BYTES)
/* Large records in a row go into a file with reserved room, of a size for some of them. */
#define BULK_BYTES   (256u * 1024u)
#define BULK_RECORDS 16u
#define BULK_STEP    2u
#define BULK_ENOUGH  4u /* of BULK_STEP for each large record, less 1 for each small one */
#define BULK_MOST    8u
#define HURRY_BYTES  (128u * 1024u) /* below this the device is as fast as we are */
#define ENDED_MAX    4u /* files that wait for their sync; one more and the append waits */

struct journal_file {
    uint32_t number;
    uint64_t before; /* bytes appended to the files before it */
};

struct sop_journal {
    struct sop_volume *volume;
    char dir[SOP_JOURNAL_DIR_BYTES];
    uint8_t nonce[SOP_NONCE_BYTES];
    uint64_t file_bytes_max;
    _Atomic uint64_t *syncs;
    const struct sop_failpoints *failpoints;
    unsigned open_flags;
    bool direct;

    /* The appending thread's. */
    struct sop_file *file;
    uint64_t size;
    uint32_t number;
    bool never_reserves;     /* the volume cannot */
    bool reserved;           /* the current file is a reserved one, for large records */
    unsigned bulk;           /* how much the newest records were large ones, 0..BULK_MOST */
    uint64_t file_first;     /* first record that the file may hold without being durable */
    _Atomic uint64_t offset; /* behind the last record; a multiple of the unit */
    _Atomic bool fresh;      /* the next record begins with a block */
    uint64_t tenure;
    uint64_t member;
    uint64_t record; /* last one */
    uint64_t hash;
    _Atomic bool broken;
    uint8_t *stage;

    /* Files that ended and are not synced: the appending thread adds, who holds `syncing`
     * takes away. */
    struct sop_file *ended[ENDED_MAX];
    _Atomic uint64_t ended_count, settled_count; /* ever */

    struct sop_mutex syncing;
    uint64_t synced;  /* last record known to be durable; under `syncing` */
    bool sync_failed; /* the system may have forgotten what a file held; under `syncing` */

    /* Under `making`, which is held while a file is made. */
    struct sop_mutex making;
    struct sop_file *next;
    uint64_t next_size;
    uint32_t next_number;
    uint32_t last_number;
    uint64_t normal_size;
    struct journal_file *files; /* oldest first, the current one last */
    size_t file_count;
    size_t file_cap;
    _Atomic bool wants;
};

void sop_journal_path(char *to, size_t cap, const char *dir, uint32_t file)
{
    int len = snprintf(to, cap, "%s/%" PRIu32, dir, file);
    SOP_ASSERT(len > 0 && (size_t)len < cap);
}

static int sync_file(struct sop_journal *j, struct sop_file *file, struct sop_err *err)
{
    atomic_fetch_add(j->syncs, 1);
    return sop_file_sync(file, err);
}

/* --- making files --- */

static int fill_zeros(struct sop_file *file, uint64_t from, uint64_t to, struct sop_err *err)
{
    uint8_t *zeros = sop_malloc_aligned(SOP_BLOCK_BYTES, STAGE_BYTES);
    if (zeros == NULL) {
        return SOP_ERR(err, NOMEM, "a block of zeros");
    }
    memset(zeros, 0, STAGE_BYTES);
    int rc = 0;
    while (rc == 0 && from < to) {
        size_t len = to - from < STAGE_BYTES ? (size_t)(to - from) : STAGE_BYTES;
        rc = sop_file_write(file, from, zeros, len, err);
        from += len;
    }
    sop_free(zeros);
    return rc;
}

static int create_file(struct sop_journal *j, uint32_t number, struct sop_file **out,
                       struct sop_err *err)
{
    char path[SOP_JOURNAL_DIR_BYTES + 16];
    sop_journal_path(path, sizeof path, j->dir, number);
    int rc = sop_file_open(j->volume, path,
                           j->open_flags | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE, out, err);
    return sop_err_wrap(err, rc, "make journal file %s", path);
}

/* Gives up a file that nothing leads to; if it stays, it goes with the member's folder. */
static void discard_file(struct sop_journal *j, uint32_t number, struct sop_file *file)
{
    char path[SOP_JOURNAL_DIR_BYTES + 16];
    sop_journal_path(path, sizeof path, j->dir, number);
    sop_file_close(file);
    (void)sop_volume_unlink(j->volume, path, NULL);
}

static int settle_file(struct sop_journal *j, struct sop_file *file, struct sop_err *err)
{
    int rc = sync_file(j, file, err);
    if (rc != 0) {
        return rc;
    }
    atomic_fetch_add(j->syncs, 1);
    return sop_volume_dir_sync(j->volume, j->dir, err);
}

/* Makes `next` with this size. Under `making`. */
static int make_sized(struct sop_journal *j, uint64_t size, struct sop_err *err)
{
    uint32_t number = ++j->last_number;
    struct sop_file *file;
    int rc = create_file(j, number, &file, err);
    if (rc != 0) {
        return rc;
    }
    rc = fill_zeros(file, 0, size, err);
    if (rc == 0) {
        rc = settle_file(j, file, err);
    }
    if (rc != 0) {
        discard_file(j, number, file);
        return sop_err_wrap(err, rc, "make journal file %s/%" PRIu32, j->dir, number);
    }
    j->next = file;
    j->next_number = number;
    j->next_size = size;
    j->normal_size = size;
    return 0;
}

/* Makes `next`, twice as large as the last one; smaller where the volume is nearly full. */
static int make_next(struct sop_journal *j, struct sop_err *err)
{
    SOP_ASSERT(j->next == NULL);
    uint64_t size = j->last_number == 0 ? j->normal_size : j->normal_size * 2;
    if (size > j->file_bytes_max) {
        size = j->file_bytes_max;
    }
    int rc = make_sized(j, size, err);
    while (rc == SOP_ERR_NOSPACE && size / 2 >= SOP_JOURNAL_BYTES_LEAST) {
        size /= 2;
        rc = make_sized(j, size, err);
    }
    return rc;
}

/* Room for one more entry in `files`, so that switching cannot fail. Under `making`. */
static int reserve_files(struct sop_journal *j, struct sop_err *err)
{
    if (j->file_count < j->file_cap) {
        return 0;
    }
    size_t cap = j->file_cap == 0 ? 8 : j->file_cap * 2;
    struct journal_file *files = sop_realloc(j->files, cap * sizeof *files);
    if (files == NULL) {
        return SOP_ERR(err, NOMEM, "list of journal files");
    }
    j->files = files;
    j->file_cap = cap;
    return 0;
}

/* Makes `file` the current one. Under `making`; reserve_files() was called. */
static void switch_file(struct sop_journal *j, struct sop_file *file, uint32_t number,
                        uint64_t size, uint64_t offset)
{
    uint64_t before = 0;
    if (j->file_count > 0) {
        uint64_t count = atomic_load(&j->ended_count);
        SOP_ASSERT(count - atomic_load(&j->settled_count) < ENDED_MAX);
        before = j->files[j->file_count - 1].before + atomic_load(&j->offset);
        j->ended[count % ENDED_MAX] = j->file;
        atomic_store(&j->ended_count, count + 1);
    }
    SOP_ASSERT(j->file_count < j->file_cap);
    j->files[j->file_count++] = (struct journal_file){.number = number, .before = before};
    j->file = file;
    j->number = number;
    j->size = size;
    j->reserved = false;
    atomic_store(&j->offset, offset);
    j->file_first = j->record + (offset == 0 ? 1 : 2); /* its own record is durable already */
    atomic_store(&j->fresh, true);
}

int sop_journal_new(struct sop_journal **out, const struct sop_journal_config *config,
                    struct sop_err *err)
{
    *out = NULL;
    struct sop_journal *j = sop_calloc(1, sizeof *j);
    if (j == NULL) {
        return SOP_ERR(err, NOMEM, "journal");
    }
    j->volume = config->volume;
    (void)snprintf(j->dir, sizeof j->dir, "%s", config->dir);
    SOP_ASSERT(strcmp(j->dir, config->dir) == 0);
    memcpy(j->nonce, config->nonce, sizeof j->nonce);
    j->normal_size =
        config->file_bytes_min != 0 ? config->file_bytes_min : SOP_JOURNAL_BYTES_MIN;
    j->file_bytes_max =
        config->file_bytes_max != 0 ? config->file_bytes_max : SOP_JOURNAL_BYTES_MAX;
    SOP_ASSERT(j->normal_size % SOP_BLOCK_BYTES == 0 && j->normal_size >= 2 * RESERVE);
    SOP_ASSERT(j->file_bytes_max >= j->normal_size);
    j->syncs = config->syncs;
    j->failpoints = config->failpoints;
    j->direct = !config->volume->one_host;
    j->open_flags = SOP_OPEN_WRITE | (j->direct ? SOP_OPEN_DIRECT : 0u);
    sop_mutex_init(&j->making, SOP_RANK_JOURNAL);
    sop_mutex_init(&j->syncing, SOP_RANK_JOURNAL);

    int rc = 0;
    j->stage = sop_malloc_aligned(SOP_BLOCK_BYTES, STAGE_BYTES);
    if (j->stage == NULL) {
        rc = SOP_ERR(err, NOMEM, "journal");
    }
    if (rc == 0) {
        rc = reserve_files(j, err);
    }
    if (rc == 0) {
        rc = make_next(j, err);
    }
    if (rc != 0) {
        sop_journal_free(j);
        return rc;
    }
    switch_file(j, j->next, j->next_number, j->next_size, 0);
    j->next = NULL;
    *out = j;
    return 0;
}

void sop_journal_free(struct sop_journal *j)
{
    if (j == NULL) {
        return;
    }
    uint64_t ended = atomic_load(&j->ended_count);
    for (uint64_t i = atomic_load(&j->settled_count); i < ended; i++) {
        sop_file_close(j->ended[i % ENDED_MAX]);
    }
    sop_file_close(j->file);
    sop_file_close(j->next);
    sop_mutex_fini(&j->making);
    sop_mutex_fini(&j->syncing);
    sop_free(j->files);
    sop_free(j->stage);
    sop_free(j);
}

void sop_journal_begin(struct sop_journal *j, uint64_t tenure, uint64_t member, uint64_t hash)
{
    SOP_ASSERT(j->tenure == 0 && tenure != 0);
    j->tenure = tenure;
    j->member = member;
    j->hash = hash;
}

/* --- appending --- */

/* Gathers small pieces and writes them in large ones. */
struct stage {
    struct sop_journal *j;
    struct sop_file *file;
    uint64_t at; /* offset in the file of what is gathered */
    size_t len;
};

static int stage_flush(struct stage *s, struct sop_err *err)
{
    if (s->len == 0) {
        return 0;
    }
    int rc = sop_file_write(s->file, s->at, s->j->stage, s->len, err);
    s->at += s->len;
    s->len = 0;
    return rc;
}

/* `data` NULL: zeros. */
static int stage_put(struct stage *s, const uint8_t *data, size_t len, struct sop_err *err)
{
    if (data != NULL && len >= DIRECT_PART && !s->j->direct) {
        int rc = stage_flush(s, err);
        if (rc == 0) {
            rc = sop_file_write(s->file, s->at, data, len, err);
            s->at += len;
        }
        return rc;
    }
    while (len > 0) {
        size_t take = STAGE_BYTES - s->len < len ? STAGE_BYTES - s->len : len;
        if (data != NULL) {
            memcpy(s->j->stage + s->len, data, take);
            data += take;
        } else {
            memset(s->j->stage + s->len, 0, take);
        }
        s->len += take;
        len -= take;
        if (s->len == STAGE_BYTES) {
            int rc = stage_flush(s, err);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

/* Zeros behind a record of `bytes` at `at`: to the end of the last block that it begins. */
static size_t padding(uint64_t at, uint64_t bytes)
{
    uint64_t end = at + bytes;
    bool begins_block = sop_journal_block_border(at) < end;
    return begins_block ? (size_t)(sop_journal_block_border(end) - end) : 0;
}

/* Writes header, payload and padding at header->offset, and `extra` zeros behind. */
static int write_record(struct sop_journal *j, struct sop_file *file,
                        const struct sop_journal_header *header, const struct sop_slice *parts,
                        size_t part_count, size_t extra, struct sop_err *err)
{
    int rc = SOP_FAILPOINT_ERR(j->failpoints, "journal.write_before", err);
    if (rc != 0) {
        return rc;
    }
    uint8_t head[SOP_JOURNAL_HEADER_BYTES];
    sop_journal_header_encode(header, head);
    struct stage s = {.j = j, .file = file, .at = header->offset};
    rc = stage_put(&s, head, sizeof head, err);
    for (size_t i = 0; rc == 0 && i < part_count; i++) {
        rc = stage_put(&s, parts[i].data, parts[i].len, err);
    }
    if (rc == 0) {
        rc = SOP_FAILPOINT_ERR(j->failpoints, "journal.write_mid", err);
    }
    if (rc == 0) {
        size_t zeros =
            padding(header->offset, SOP_JOURNAL_HEADER_BYTES + header->payload_bytes);
        rc = stage_put(&s, NULL, zeros + extra, err);
    }
    if (rc == 0) {
        rc = stage_flush(&s, err);
    }
    if (rc == 0) {
        SOP_ASSERT(!j->direct || s.at % SOP_BLOCK_BYTES == 0);
        rc = SOP_FAILPOINT_ERR(j->failpoints, "journal.write_after", err);
    }
    return rc;
}

/* Where the next record goes. A block that a sync covers is never written again (m13). */
static uint64_t next_at(const struct sop_journal *j)
{
    uint64_t offset = atomic_load(&j->offset);
    return atomic_load(&j->fresh) ? sop_journal_block_border(offset) : offset;
}

/* A record lies at header->offset of the current file. */
static void advance(struct sop_journal *j, const struct sop_journal_header *h)
{
    uint64_t before = atomic_load(&j->offset);
    uint64_t after = h->offset + sop_journal_record_bytes(h->payload_bytes);
    SOP_ASSERT(before <= h->offset && after <= j->size);
    atomic_store(&j->offset, after);
    atomic_store(&j->fresh, j->direct);
    if (before <= j->size / 2 && after > j->size / 2) {
        atomic_store(&j->wants, true);
    }
}

/* Writes END: with the next sync the file is complete. */
static int end_file(struct sop_journal *j, const struct sop_journal_header *follower,
                    uint32_t number, uint64_t size, struct sop_err *err)
{
    uint8_t payload[SOP_JOURNAL_END_BYTES] = {0};
    sop_put_u32(payload, number);
    sop_put_u64(payload + 8, size);
    struct sop_slice part = sop_slice(payload, sizeof payload);
    struct sop_journal_header h = *follower;
    h.kind = SOP_JOURNAL_END;
    h.batch = 0;
    h.payload_bytes = sizeof payload;
    h.payload_crc = sop_crc32c(payload, sizeof payload, 0);
    h.file = j->number;
    h.offset = next_at(j);
    SOP_ASSERT(h.offset + SOP_BLOCK_BYTES <= j->size);
    int rc = write_record(j, j->file, &h, &part, 1, 0, err);
    if (rc != 0) {
        atomic_store(&j->broken, true);
        return sop_err_wrap(err, rc, "end journal file %s/%" PRIu32, j->dir, j->number);
    }
    advance(j, &h);
    return 0;
}

/* Goes on in the next ordinary file. Under `making`. */
static int go_on(struct sop_journal *j, const struct sop_journal_header *follower,
                 struct sop_err *err)
{
    int rc = j->next != NULL ? 0 : make_next(j, err);
    if (rc == 0) {
        rc = end_file(j, follower, j->next_number, j->next_size, err);
    }
    if (rc != 0) {
        return rc;
    }
    switch_file(j, j->next, j->next_number, j->next_size, 0);
    j->next = NULL;
    /* Half of a small file is filled sooner than the next one, twice as large, can be made. */
    atomic_store(&j->wants, j->size < j->file_bytes_max && j->size <= EAGER_BYTES);
    return 0;
}

/* Goes on in a file with reserved room: its zeros were not written, so a sync there has to tell
 * the file system which blocks are in use now. That costs a small record as much as its own
 * sync, a large one nothing that counts; zeros would double what a bulk load writes.
 * UNSUPPORTED, NOSPACE: nothing has happened. Under `making`. */
static int go_on_reserved(struct sop_journal *j, const struct sop_journal_header *follower,
                          uint64_t size, struct sop_err *err)
{
    uint32_t number = ++j->last_number;
    struct sop_file *file;
    int rc = create_file(j, number, &file, err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_file_reserve(file, size, err);
    if (rc == 0) {
        rc = settle_file(j, file, err);
    }
    if (rc != 0) {
        discard_file(j, number, file);
        return sop_err_wrap(err, rc, "make journal file %s/%" PRIu32, j->dir, number);
    }
    rc = end_file(j, follower, number, size, err);
    if (rc != 0) {
        sop_file_close(file); /* END may lead to it: it stays */
        return rc;
    }
    switch_file(j, file, number, size, 0);
    j->reserved = true;
    if (j->next == NULL) {
        atomic_store(&j->wants, true);
    }
    return 0;
}

/* The record is written: whoever waits for it does something else while the device begins. */
static void let_others_work(struct sop_file *file, const struct sop_journal_header *h,
                            const struct sop_journal_entry *entry)
{
    uint64_t bytes = sop_journal_record_bytes(h->payload_bytes);
    if (entry->meanwhile == NULL) {
        return;
    }
    if (bytes >= HURRY_BYTES) {
        sop_file_hurry(file, h->offset, bytes);
    }
    entry->meanwhile(entry->arg);
}

/* Puts the record into a file of its own and goes on behind it. Under `making`. */
static int append_own_file(struct sop_journal *j, struct sop_journal_header *h,
                           const struct sop_journal_entry *entry, struct sop_err *err)
{
    uint32_t number = ++j->last_number;
    uint64_t total = sop_journal_record_bytes(h->payload_bytes);
    uint64_t size = sop_journal_block_border(total) + RESERVE;
    struct sop_file *file;
    int rc = create_file(j, number, &file, err);
    if (rc != 0) {
        return rc;
    }
    h->file = number;
    h->offset = 0;
    rc = write_record(j, file, h, entry->parts, entry->part_count, RESERVE, err);
    if (rc == 0) {
        let_others_work(file, h, entry);
        rc = settle_file(j, file, err);
    }
    if (rc == 0) {
        rc = end_file(j, h, number, size, err);
        if (rc != 0) {
            sop_file_close(file); /* END may lead to it: it stays */
            return rc;
        }
    } else {
        discard_file(j, number, file);
        return sop_err_wrap(err, rc, "write journal file %s/%" PRIu32, j->dir, number);
    }
    switch_file(j, file, number, size, total);
    if (j->next == NULL) {
        atomic_store(&j->wants, true);
    }
    return 0;
}

static int append_here(struct sop_journal *j, struct sop_journal_header *h,
                       const struct sop_journal_entry *entry, struct sop_err *err)
{
    h->file = j->number;
    h->offset = next_at(j);
    int rc = write_record(j, j->file, h, entry->parts, entry->part_count, 0, err);
    if (rc != 0) {
        atomic_store(&j->broken, true);
        return sop_err_wrap(err, rc, "append to journal file %s/%" PRIu32, j->dir, j->number);
    }
    advance(j, h);
    let_others_work(j->file, h, entry);
    SOP_ASSERT(entry->last ||
               sop_journal_block_border(atomic_load(&j->offset)) + RESERVE <= j->size);
    return 0;
}

/* Notes how large the newest records are. A few small ones among large ones change nothing. */
static void note_bulk(struct sop_journal *j, uint64_t total)
{
    if (total < BULK_BYTES) {
        j->bulk -= j->bulk > 0;
    } else {
        j->bulk = j->bulk + BULK_STEP < BULK_MOST ? j->bulk + BULK_STEP : BULK_MOST;
    }
}

/* Size of a reserved file for this record and those that may follow; 0: it wants none. */
static uint64_t reserved_size(const struct sop_journal *j, uint64_t total)
{
    uint64_t size = sop_journal_block_border(total) * BULK_RECORDS + RESERVE;
    bool wants = total >= BULK_BYTES && j->bulk >= BULK_ENOUGH && !j->never_reserves;
    size = size > j->file_bytes_max ? j->file_bytes_max : size;
    return wants && sop_journal_block_border(total) + RESERVE <= size ? size : 0;
}

static bool fits(const struct sop_journal *j, const struct sop_journal_entry *entry,
                 uint64_t total)
{
    return sop_journal_block_border(next_at(j) + total) + (entry->last ? 0 : RESERVE) <=
           j->size;
}

/* Is this the kind of file that the newest records should be in? */
static bool suits(const struct sop_journal *j, const struct sop_journal_entry *entry,
                  uint64_t total)
{
    return entry->last || (j->reserved ? j->bulk > 0 : reserved_size(j, total) == 0);
}

/* Goes on in another file. *own: the record has been written into it. A failure that breaks
 * nothing leaves the current file as it is. Under `making`. */
static int go_on_somewhere(struct sop_journal *j, struct sop_journal_header *h,
                           const struct sop_journal_entry *entry, bool *own,
                           struct sop_err *err)
{
    uint64_t total = sop_journal_record_bytes(h->payload_bytes);
    uint64_t reserved = reserved_size(j, total);
    *own = false;
    if (reserved > 0) {
        int rc = go_on_reserved(j, h, reserved, err);
        j->never_reserves = rc == SOP_ERR_UNSUPPORTED;
        if (rc == 0 || atomic_load(&j->broken) || fits(j, entry, total)) {
            return rc;
        }
    }
    uint64_t next_size = j->next != NULL ? j->next_size : j->normal_size * 2;
    next_size = next_size > j->file_bytes_max ? j->file_bytes_max : next_size;
    *own = total + RESERVE > next_size / 2;
    return *own ? append_own_file(j, h, entry, err) : go_on(j, h, err);
}

/* Finds room for the record and writes it. */
static int append_somewhere(struct sop_journal *j, struct sop_journal_header *h,
                            const struct sop_journal_entry *entry, struct sop_err *err)
{
    uint64_t total = sop_journal_record_bytes(h->payload_bytes);
    note_bulk(j, total);
    if (suits(j, entry, total) && fits(j, entry, total)) {
        return append_here(j, h, entry, err);
    }
    if (atomic_load(&j->ended_count) - atomic_load(&j->settled_count) == ENDED_MAX) {
        int settled = sop_journal_settle_ended(j, err);
        if (settled != 0) {
            return settled;
        }
    }
    bool own = false;
    sop_mutex_lock(&j->making);
    int rc = reserve_files(j, err);
    if (rc == 0) {
        rc = go_on_somewhere(j, h, entry, &own, err);
    }
    sop_mutex_unlock(&j->making);
    if (own || atomic_load(&j->broken) || (rc != 0 && !fits(j, entry, total))) {
        return rc;
    }
    /* In the other file; or in this one, which only suits less: without room for another one
     * that is all there is, and nobody is to fail while a file has room. */
    return append_here(j, h, entry, err);
}

int sop_journal_append(struct sop_journal *j, const struct sop_journal_entry *entry,
                       uint64_t *record, struct sop_err *err)
{
    SOP_ASSERT(j->tenure != 0 && entry->lac <= j->record);
    if (atomic_load(&j->broken)) {
        return SOP_ERR(err, STOPPED, "journal %s stopped after a failed write", j->dir);
    }
    struct sop_journal_header h = {.kind = entry->kind,
                                   .tenure = j->tenure,
                                   .record = j->record + 1,
                                   .member = j->member,
                                   .batch = entry->batch,
                                   .hash_before = j->hash,
                                   .lac = entry->lac};
    memcpy(h.nonce, j->nonce, sizeof h.nonce);
    for (size_t i = 0; i < entry->part_count; i++) {
        if (entry->parts[i].len > SOP_JOURNAL_PAYLOAD_MAX - h.payload_bytes) {
            return SOP_ERR(err, TOO_LARGE, "a journal record over %" PRIu64 " bytes",
                           SOP_JOURNAL_PAYLOAD_MAX);
        }
        h.payload_bytes += entry->parts[i].len;
        h.payload_crc = sop_crc32c(entry->parts[i].data, entry->parts[i].len, h.payload_crc);
    }
    int rc = append_somewhere(j, &h, entry, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_history_step step = {.lsn = {.slot = j->tenure, .record = h.record},
                                    .kind = h.kind,
                                    .member = h.member,
                                    .batch = h.batch,
                                    .payload_bytes = h.payload_bytes,
                                    .payload_crc = h.payload_crc};
    j->hash = sop_history_hash(&step, j->hash);
    j->record = h.record;
    *record = h.record;
    return 0;
}

/* --- syncing --- */

/* What a failed sync means, for all of them. Under `syncing`. */
static int sync_broke(struct sop_journal *j, int rc, struct sop_err *err)
{
    j->sync_failed = true;
    atomic_store(&j->broken, true);
    return sop_err_wrap(err, rc, "sync journal %s", j->dir);
}

/* Makes the files that have ended durable. Under `syncing`. */
static int settle_ended(struct sop_journal *j, struct sop_err *err)
{
    uint64_t ended = atomic_load(&j->ended_count);
    uint64_t at = atomic_load(&j->settled_count);
    for (; at < ended; at++) {
        int rc = sync_file(j, j->ended[at % ENDED_MAX], err);
        if (rc != 0) {
            return sync_broke(j, rc, err);
        }
        sop_file_close(j->ended[at % ENDED_MAX]);
        atomic_store(&j->settled_count, at + 1);
    }
    return 0;
}

/* Makes `record` durable, which lies in `file` if it is not in front of `first`; the files
 * before are settled. Under `syncing`. */
static int settle_file_of(struct sop_journal *j, struct sop_file *file, uint64_t first,
                          uint64_t record, struct sop_err *err)
{
    if (record <= j->synced) {
        return 0;
    }
    int rc = record >= first ? sync_file(j, file, err) : 0;
    if (rc != 0) {
        return sync_broke(j, rc, err);
    }
    j->synced = record;
    return 0;
}

static int settle_all(struct sop_journal *j, uint64_t first, struct sop_err *err)
{
    int rc = settle_ended(j, err);
    return rc == 0 ? settle_file_of(j, j->file, first, j->record, err) : rc;
}

static int stopped(const struct sop_journal *j, struct sop_err *err)
{
    return SOP_ERR(err, STOPPED, "journal %s stopped after a failed write", j->dir);
}

int sop_journal_sync(struct sop_journal *j, struct sop_err *err)
{
    sop_mutex_lock(&j->syncing);
    int rc = atomic_load(&j->broken) ? stopped(j, err) : settle_all(j, j->file_first, err);
    sop_mutex_unlock(&j->syncing);
    atomic_store(&j->fresh, true);
    return rc;
}

void sop_journal_mark(struct sop_journal *j, struct sop_journal_mark *mark)
{
    *mark = (struct sop_journal_mark){.file = j->file,
                                      .ended = atomic_load(&j->ended_count),
                                      .first = j->file_first,
                                      .record = j->record};
    atomic_store(&j->fresh, true);
}

int sop_journal_settle(struct sop_journal *j, const struct sop_journal_mark *mark,
                       struct sop_err *err)
{
    sop_mutex_lock(&j->syncing);
    int rc = 0;
    if (mark->record > j->synced) {
        rc = atomic_load(&j->broken) ? stopped(j, err) : settle_ended(j, err);
    }
    if (rc == 0) {
        /* The file may have ended since, and then it is durable and closed. If it ends only
         * now, it stays open: nobody else may take it away. */
        bool open = atomic_load(&j->settled_count) <= mark->ended;
        rc = settle_file_of(j, mark->file, open ? mark->first : UINT64_MAX, mark->record, err);
        /* Not a promise, since nothing behind the mark is: an append at this moment may miss
         * it. But what is on the disk is better left alone. */
        atomic_store(&j->fresh, true);
    }
    sop_mutex_unlock(&j->syncing);
    return rc;
}

int sop_journal_settle_ended(struct sop_journal *j, struct sop_err *err)
{
    if (atomic_load(&j->ended_count) == atomic_load(&j->settled_count)) {
        return 0;
    }
    sop_mutex_lock(&j->syncing);
    int rc = atomic_load(&j->broken) ? stopped(j, err) : settle_ended(j, err);
    sop_mutex_unlock(&j->syncing);
    return rc;
}

int sop_journal_rescue(struct sop_journal *j, struct sop_err *err)
{
    sop_mutex_lock(&j->syncing);
    int rc = j->sync_failed
                 ? SOP_ERR(err, STOPPED, "journal %s stopped after a failed sync", j->dir)
                 : settle_all(j, 0, err);
    sop_mutex_unlock(&j->syncing);
    return rc;
}

bool sop_journal_broken(const struct sop_journal *j)
{
    return atomic_load(&j->broken);
}
uint64_t sop_journal_hash(const struct sop_journal *j)
{
    return j->hash;
}
uint64_t sop_journal_last(const struct sop_journal *j)
{
    return j->record;
}

struct sop_journal_place sop_journal_next_place(const struct sop_journal *j)
{
    return (struct sop_journal_place){.file = j->number, .offset = atomic_load(&j->offset)};
}

/* --- care --- */

bool sop_journal_wants_prepare(const struct sop_journal *j)
{
    return atomic_load(&j->wants) ||
           atomic_load(&j->ended_count) != atomic_load(&j->settled_count);
}

int sop_journal_prepare(struct sop_journal *j, struct sop_err *err)
{
    int settled = sop_journal_settle_ended(j, err);
    if (settled != 0 || !atomic_load(&j->wants)) {
        return settled;
    }
    sop_mutex_lock(&j->making);
    int rc = j->next != NULL ? 0 : make_next(j, err);
    if (rc == 0) {
        atomic_store(&j->wants, false);
    }
    sop_mutex_unlock(&j->making);
    return rc;
}

int sop_journal_trim(struct sop_journal *j, uint32_t file, struct sop_err *err)
{
    sop_mutex_lock(&j->making);
    size_t keep = 0;
    while (keep < j->file_count && j->files[keep].number != file) {
        keep++;
    }
    int rc = 0;
    size_t gone = 0;
    while (rc == 0 && keep < j->file_count && gone < keep) {
        char path[SOP_JOURNAL_DIR_BYTES + 16];
        sop_journal_path(path, sizeof path, j->dir, j->files[gone].number);
        rc = sop_volume_unlink(j->volume, path, err);
        rc = rc == SOP_ERR_NOT_FOUND ? 0 : rc;
        gone += rc == 0;
    }
    if (gone > 0) {
        memmove(j->files, j->files + gone, (j->file_count - gone) * sizeof *j->files);
        j->file_count -= gone;
    }
    sop_mutex_unlock(&j->making);
    return sop_err_wrap(err, rc, "remove old journal files of %s", j->dir);
}

uint64_t sop_journal_bytes_since(struct sop_journal *j, const struct sop_journal_place *place)
{
    sop_mutex_lock(&j->making);
    uint64_t all = j->files[j->file_count - 1].before + atomic_load(&j->offset);
    uint64_t since = 0;
    for (size_t i = 0; i < j->file_count; i++) {
        if (j->files[i].number == place->file) {
            since = j->files[i].before + place->offset;
        }
    }
    sop_mutex_unlock(&j->making);
    return all > since ? all - since : 0;
}
