/* Reading a journal, or copies of its records inside a ticket.
 *
 * Record r + 1 lies in the unit behind record r or, after a sync, in the block behind it; so
 * both places are looked at, in this order. A power loss may have left anything in the first
 * one but record r + 1 itself, if that lies in the second (engine/journal/format.h).
 *
 * The window holds a piece of the current file and grows to the largest record; it is aligned
 * and read at multiples of the block, as files opened for direct I/O demand. */
#include "engine/journal/journal.h"

#include "engine/base/codec.h"

#include <stdio.h>
#include <stdlib.h>

#define WINDOW_BYTES (256u * 1024u)
#define WINDOW_KEEP  (16u * 1024u * 1024u) /* a larger window is given back after use */
#define HOPS_MAX     64                    /* files in a row without a record */

static void cursor_init(struct sop_journal_cursor *c, struct sop_volume *v, const char *path,
                        const struct sop_journal_start *start)
{
    memset(c, 0, sizeof *c);
    c->volume = v;
    (void)snprintf(c->path, sizeof c->path, "%s", path);
    SOP_ASSERT(strcmp(c->path, path) == 0);
    memcpy(c->nonce, start->nonce, sizeof c->nonce);
    c->tenure = start->tenure;
    c->record = start->record;
    c->hash_known = start->hash_known;
    c->hash = start->hash;
    c->next = start->place;
}

void sop_journal_cursor_init(struct sop_journal_cursor *c, struct sop_volume *v,
                             const char *dir, const struct sop_journal_start *start)
{
    cursor_init(c, v, dir, start);
}

void sop_journal_cursor_init_copies(struct sop_journal_cursor *c, struct sop_volume *v,
                                    const char *path, uint64_t end,
                                    const struct sop_journal_start *start)
{
    SOP_ASSERT(end > 0);
    cursor_init(c, v, path, start);
    c->end = end;
    c->next.file = 0;
}

static void close_file(struct sop_journal_cursor *c)
{
    sop_file_close(c->file);
    c->file = NULL;
    c->window_len = 0;
}

void sop_journal_cursor_fini(struct sop_journal_cursor *c)
{
    close_file(c);
    sop_free(c->window);
    c->window = NULL;
}

static int open_file(struct sop_journal_cursor *c, uint32_t number, struct sop_err *err)
{
    if (c->file != NULL && c->file_open == number) {
        return 0;
    }
    close_file(c);
    char path[sizeof c->path + 16];
    if (c->end != 0) {
        (void)snprintf(path, sizeof path, "%s", c->path);
    } else {
        sop_journal_path(path, sizeof path, c->path, number);
    }
    unsigned flags = SOP_OPEN_READ | (c->volume->one_host ? 0u : SOP_OPEN_DIRECT);
    int rc = sop_file_open(c->volume, path, flags, &c->file, err);
    if (rc != 0) {
        c->file = NULL;
        return sop_err_wrap(err, rc, "open journal file %s", path);
    }
    rc = sop_file_size(c->file, &c->file_bytes, err);
    if (rc != 0) {
        close_file(c);
        return sop_err_wrap(err, rc, "size of journal file %s", path);
    }
    if (c->end != 0 && c->file_bytes > c->end) {
        c->file_bytes = c->end;
    }
    c->file_open = number;
    return 0;
}

/* Brings [at, at + len) of the open file into the window; it must lie inside the file. */
static int load(struct sop_journal_cursor *c, uint64_t at, size_t len, struct sop_err *err)
{
    SOP_ASSERT(at + len <= c->file_bytes);
    if (c->window_len > 0 && at >= c->window_at && at + len <= c->window_at + c->window_len) {
        return 0;
    }
    len += at % SOP_BLOCK_BYTES;
    at -= at % SOP_BLOCK_BYTES;
    size_t want = len < WINDOW_BYTES ? WINDOW_BYTES : (size_t)sop_journal_block_border(len);
    if (c->window_cap < want || (c->window_cap > WINDOW_KEEP && want <= WINDOW_BYTES)) {
        uint8_t *window = sop_malloc_aligned(SOP_BLOCK_BYTES, want);
        if (window == NULL) {
            return SOP_ERR(err, NOMEM, "a journal record of %zu bytes", len);
        }
        sop_free(c->window);
        c->window = window;
        c->window_cap = want;
    }
    c->window_len = 0;
    if (want > c->file_bytes - at) {
        want = (size_t)(c->file_bytes - at);
    }
    int rc = sop_file_read(c->file, at, c->window, want, NULL, err);
    if (rc != 0) {
        /* The file became shorter after we asked for its size: damage, but not ours to name. */
        rc = rc == SOP_ERR_END ? SOP_ERR_IO : rc;
        return sop_err_wrap(err, rc, "read journal %s file %" PRIu32, c->path, c->file_open);
    }
    c->window_at = at;
    c->window_len = want;
    return 0;
}

static const uint8_t *window_at(const struct sop_journal_cursor *c, uint64_t at)
{
    return c->window + (at - c->window_at);
}

/* Is this a header of our tenure, at the place it names? */
static bool belongs(const struct sop_journal_cursor *c, const struct sop_journal_header *h,
                    uint32_t file, uint64_t offset)
{
    return memcmp(h->nonce, c->nonce, sizeof c->nonce) == 0 && h->tenure == c->tenure &&
           (c->end != 0 || (h->file == file && h->offset == offset));
}

/* What comes next lies in another file, as the END in `payload` says. */
static bool follow_end(struct sop_journal_cursor *c, struct sop_slice payload)
{
    if (payload.len != SOP_JOURNAL_END_BYTES || sop_get_u32(payload.data) == 0) {
        return false;
    }
    c->next = (struct sop_journal_place){.file = sop_get_u32(payload.data), .offset = 0};
    return true;
}

/* Reads the whole record at `at` of the open file into *out. END: there is none. */
static int read_at(struct sop_journal_cursor *c, uint64_t at, struct sop_journal_record *out,
                   struct sop_err *err)
{
    if (at > c->file_bytes || c->file_bytes - at < SOP_JOURNAL_HEADER_BYTES) {
        return SOP_ERR_END;
    }
    int rc = load(c, at, SOP_JOURNAL_HEADER_BYTES, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_journal_header *h = &out->header;
    enum sop_journal_verdict verdict =
        sop_journal_header_decode(sop_slice(window_at(c, at), SOP_JOURNAL_HEADER_BYTES), h);
    /* In front of the nonce nothing ever moves, so that a stranger's bytes are told apart. */
    if (verdict == SOP_JOURNAL_NEWER &&
        memcmp(window_at(c, at) + SOP_JOURNAL_NONCE_AT, c->nonce, sizeof c->nonce) == 0) {
        return SOP_ERR(err, VERSION, "%s/%" PRIu32 " at byte %" PRIu64 ": a newer format",
                       c->path, c->next.file, at);
    }
    if (verdict != SOP_JOURNAL_VALID || !belongs(c, h, c->next.file, at) ||
        h->record != c->record) {
        return SOP_ERR_END;
    }
    uint64_t total = sop_journal_record_bytes(h->payload_bytes);
    if (total > c->file_bytes - at) { /* its file had room for it when it was made */
        return c->end != 0
                   ? SOP_ERR_END
                   : SOP_ERR(err, DATA_LOSS,
                             "%s/%" PRIu32 " at byte %" PRIu64 ": the file is shorter than it "
                             "was, the record there has %" PRIu64 " bytes",
                             c->path, c->next.file, at, total);
    }
    rc = load(c, at, (size_t)total, err);
    if (rc != 0) {
        return rc;
    }
    out->place = (struct sop_journal_place){.file = c->next.file, .offset = at};
    out->raw = sop_slice(window_at(c, at), (size_t)total);
    out->payload =
        sop_slice(out->raw.data + SOP_JOURNAL_HEADER_BYTES, (size_t)h->payload_bytes);
    if (sop_crc32c(out->payload.data, out->payload.len, 0) != h->payload_crc) {
        return SOP_ERR_END;
    }
    return 0;
}

/* Nothing was ever begun at c->next, so that what is missing lay at the block border. */
static bool untouched(struct sop_journal_cursor *c)
{
    static const uint8_t zeros[SOP_JOURNAL_UNIT];
    uint64_t at = c->next.offset;
    return at + sizeof zeros <= c->file_bytes && load(c, at, sizeof zeros, NULL) == 0 &&
           memcmp(window_at(c, at), zeros, sizeof zeros) == 0;
}

/* The same at c->next, or at the block border behind it. */
static int read_record(struct sop_journal_cursor *c, struct sop_journal_record *out,
                       struct sop_err *err)
{
    int rc = open_file(c, c->next.file, err);
    if (rc != 0) {
        return rc == SOP_ERR_NOT_FOUND && c->end == 0 ? SOP_ERR_END : rc;
    }
    uint64_t border = sop_journal_block_border(c->next.offset);
    rc = read_at(c, c->next.offset, out, err);
    if (rc == SOP_ERR_END && border != c->next.offset) {
        rc = read_at(c, border, out, err);
    }
    if (rc == SOP_ERR_END) {
        c->missing = untouched(c) ? border : c->next.offset;
    }
    return rc;
}

int sop_journal_cursor_next(struct sop_journal_cursor *c, struct sop_journal_record *out,
                            struct sop_err *err)
{
    for (int hops = 0; hops < HOPS_MAX; hops++) {
        int rc = read_record(c, out, err);
        if (rc != 0) {
            return rc;
        }
        const struct sop_journal_header *h = &out->header;
        if (c->hash_known && h->hash_before != c->hash) {
            return SOP_ERR(err, DATA_LOSS,
                           "%s/%" PRIu32 " at byte %" PRIu64 ": rolling hash does not fit",
                           c->path, out->place.file, out->place.offset);
        }
        c->hash = h->hash_before;
        c->hash_known = true;
        if (h->kind == SOP_JOURNAL_END) {
            if (c->end != 0 || !follow_end(c, out->payload)) {
                return SOP_ERR_END;
            }
            continue;
        }
        struct sop_history_step step = {.lsn = {.slot = h->tenure, .record = h->record},
                                        .kind = h->kind,
                                        .member = h->member,
                                        .batch = h->batch,
                                        .payload_bytes = h->payload_bytes,
                                        .payload_crc = h->payload_crc};
        c->hash = sop_history_hash(&step, c->hash);
        c->record++;
        c->next.offset = out->place.offset + out->raw.len;
        return 0;
    }
    return SOP_ERR_END;
}

/* --- looking for proof of damage --- */

/* Looks at each unit of file `number` from `at` on. */
static int scan_file(struct sop_journal_cursor *c, uint32_t number, uint64_t at, uint64_t *lac,
                     struct sop_err *err)
{
    int rc = open_file(c, number, err);
    if (rc != 0) {
        return rc == SOP_ERR_NOT_FOUND ? 0 : rc;
    }
    for (; at < c->file_bytes && c->file_bytes - at >= SOP_JOURNAL_HEADER_BYTES;
         at += SOP_JOURNAL_UNIT) {
        rc = load(c, at, SOP_JOURNAL_HEADER_BYTES, err);
        if (rc != 0) {
            return rc;
        }
        struct sop_journal_header h;
        if (sop_journal_header_decode(sop_slice(window_at(c, at), SOP_JOURNAL_HEADER_BYTES),
                                      &h) == SOP_JOURNAL_VALID &&
            belongs(c, &h, number, at) && h.lac > *lac) {
            *lac = h.lac;
        }
    }
    return 0;
}

struct numbers {
    uint32_t *all;
    size_t count;
    size_t cap;
};

static int add_number(void *arg, const char *name, struct sop_err *err)
{
    struct numbers *n = arg;
    char *end;
    unsigned long long number = strtoull(name, &end, 10);
    if (*name < '1' || *name > '9' || *end != '\0' || number > UINT32_MAX) {
        return 0;
    }
    if (n->count == n->cap) {
        size_t cap = n->cap == 0 ? 16 : n->cap * 2;
        uint32_t *all = sop_realloc(n->all, cap * sizeof *all);
        if (all == NULL) {
            return SOP_ERR(err, NOMEM, "list of journal files");
        }
        n->all = all;
        n->cap = cap;
    }
    n->all[n->count++] = (uint32_t)number;
    return 0;
}

/* Can file `number` hold records behind c->record? Not if it begins with an earlier one of
 * this tenure: then what follows in it is earlier, too, or was read already. */
static int worth_scanning(struct sop_journal_cursor *c, uint32_t number, bool *worth,
                          struct sop_err *err)
{
    int rc = open_file(c, number, err);
    if (rc == SOP_ERR_NOT_FOUND || (rc == 0 && c->file_bytes < SOP_JOURNAL_HEADER_BYTES)) {
        *worth = false;
        return 0;
    }
    if (rc == 0) {
        rc = load(c, 0, SOP_JOURNAL_HEADER_BYTES, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_journal_header h;
    *worth = sop_journal_header_decode(sop_slice(window_at(c, 0), SOP_JOURNAL_HEADER_BYTES),
                                       &h) != SOP_JOURNAL_VALID ||
             !belongs(c, &h, number, 0) || h.record >= c->record;
    return 0;
}

int sop_journal_cursor_scan(struct sop_journal_cursor *c, uint64_t *lac, struct sop_err *err)
{
    *lac = 0;
    SOP_ASSERT(c->end == 0);
    struct sop_journal_place stop = c->next;
    int rc = scan_file(c, stop.file, stop.offset, lac, err);
    if (rc != 0) {
        return rc;
    }
    struct numbers n = {0};
    rc = sop_volume_list(c->volume, c->path, add_number, &n, err);
    for (size_t i = 0; rc == 0 && i < n.count; i++) {
        bool worth = false;
        if (n.all[i] != stop.file) {
            rc = worth_scanning(c, n.all[i], &worth, err);
        }
        if (rc == 0 && worth) {
            rc = scan_file(c, n.all[i], 0, lac, err);
        }
    }
    sop_free(n.all);
    close_file(c);
    return sop_err_wrap(err, rc, "scan journal %s behind file %" PRIu32 " offset %" PRIu64,
                        c->path, stop.file, stop.offset);
}
