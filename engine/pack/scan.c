/* Walking over the records of a file, and over the files of a volume. */
#include "engine/pack/pack_int.h"

#include "engine/base/codec.h"

#include <stdio.h>
#include <stdlib.h>

#define WINDOW_BYTES ((size_t)1 << 19)
#define JUMP_BYTES   8192u /* read after a jump over a payload: enough for header and key */
_Static_assert(WINDOW_BYTES >= 2 * SOP_PACK_KEY_BYTES_MAX, "a key fits the window");
_Static_assert(WINDOW_BYTES >= SOP_PACK_PIECE_BYTES, "so does a piece");

struct scan {
    struct sop_packs *packs;
    struct sop_file *file;
    uint64_t member;
    uint32_t number;
    uint64_t size; /* of the file */
    uint8_t *window;
    uint64_t window_at;
    size_t window_len;
};

/* One record of it. */
struct found {
    struct sop_pack_header header;
    struct sop_slice key; /* in the window */
    uint64_t end;         /* where the next record begins */
};

/* len bytes at `at`, which must lie in the file; they live until the next call. */
static int window_get(struct scan *s, uint64_t at, size_t len, const uint8_t **out,
                      struct sop_err *err)
{
    SOP_ASSERT(len <= WINDOW_BYTES && at + len <= s->size);
    uint64_t window_end = s->window_at + s->window_len;
    if (at < s->window_at || at + len > window_end) {
        bool jump = at > window_end || s->window_len == 0;
        uint64_t want = jump && at != 0 ? (len > JUMP_BYTES ? len : JUMP_BYTES) : WINDOW_BYTES;
        if (want > s->size - at) {
            want = s->size - at;
        }
        struct sop_place place = {.member = s->member, .file = s->number};
        s->window_len = 0;
        int rc = sop_pack__read_exactly(s->file, &place, at, s->window, (size_t)want, err);
        if (rc != 0) {
            return rc;
        }
        s->window_at = at;
        s->window_len = (size_t)want;
    }
    *out = s->window + (at - s->window_at);
    return 0;
}

static int damaged(const struct scan *s, uint64_t at, const char *what, struct sop_err *err)
{
    return sop_pack__damaged(err, s->member, s->number, at, what);
}

/* The header at `at`, if a record begins there. */
static int load_header(struct scan *s, uint64_t at, struct sop_pack_header *h,
                       struct sop_err *err)
{
    if (s->size - at < SOP_PACK_HEADER_BYTES) {
        return damaged(s, at, "file ends inside a record header", err);
    }
    const uint8_t *bytes = NULL;
    int rc = window_get(s, at, SOP_PACK_HEADER_BYTES, &bytes, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_place place = {.member = s->member, .file = s->number, .offset = at};
    return sop_pack__header_at(s->packs, &place, bytes, h, err);
}

/* Verifies the payload piece by piece against the table behind it. */
static int check_payload(struct scan *s, const struct sop_pack_header *h, struct sop_err *err)
{
    uint64_t from = h->place.offset + SOP_PACK_HEADER_BYTES;
    uint64_t table_at = from + h->place.bytes;
    size_t table_bytes = (size_t)sop_pack__table_bytes(h->place.bytes);
    uint8_t *table = NULL;
    const uint8_t *bytes = NULL;
    int rc = 0;
    if (table_bytes != 0) {
        table = sop_malloc(table_bytes);
        if (table == NULL) {
            return SOP_ERR(err, NOMEM, "table of piece CRCs");
        }
        rc = window_get(s, table_at, table_bytes, &bytes, err);
        if (rc != 0) {
            goto end;
        }
        memcpy(table, bytes, table_bytes);
        if (sop_crc32c(table, table_bytes, 0) != h->payload_crc) {
            rc = damaged(s, table_at, "table of piece CRCs has a wrong CRC", err);
            goto end;
        }
    }
    for (uint64_t at = 0; rc == 0 && at < h->place.bytes; at += SOP_PACK_PIECE_BYTES) {
        uint64_t left = h->place.bytes - at;
        size_t len = (size_t)(left < SOP_PACK_PIECE_BYTES ? left : SOP_PACK_PIECE_BYTES);
        rc = window_get(s, from + at, len, &bytes, err);
        if (rc != 0) {
            break;
        }
        uint32_t want =
            table == NULL ? h->payload_crc : sop_get_u32(table + at / SOP_PACK_PIECE_BYTES * 4);
        if (sop_crc32c(bytes, len, 0) != want) {
            rc = damaged(s, from + at, "payload has a wrong CRC", err);
        }
    }
end:
    sop_free(table);
    return rc;
}

/* Key and padding, which only scans look at. */
static int load_key(struct scan *s, const struct sop_pack_header *h, struct sop_slice *key,
                    struct sop_err *err)
{
    uint64_t at = h->place.offset + SOP_PACK_HEADER_BYTES + h->place.bytes +
                  sop_pack__table_bytes(h->place.bytes);
    size_t len = (size_t)(h->place.offset + sop_pack__record_bytes(h) - at);
    const uint8_t *bytes = NULL;
    int rc = window_get(s, at, len, &bytes, err);
    if (rc != 0) {
        return rc;
    }
    if (sop_crc32c(bytes, h->key_bytes, 0) != h->key_crc) {
        return damaged(s, at, "key has a wrong CRC", err);
    }
    for (size_t i = h->key_bytes; i < len; i++) {
        if (bytes[i] != 0) {
            return damaged(s, at + i, "padding is not zero", err);
        }
    }
    *key = sop_slice(bytes, h->key_bytes);
    return 0;
}

/* The record at `at`. DATA_LOSS: damage, and f->end says from where to look for the next one.
 */
static int load_record(struct scan *s, uint64_t at, bool verify, struct found *f,
                       struct sop_err *err)
{
    *f = (struct found){.end = at + SOP_PACK_ALIGN};
    int rc = load_header(s, at, &f->header, err);
    if (rc != 0) {
        return rc;
    }
    uint64_t end = at + sop_pack__record_bytes(&f->header);
    if (f->header.type == SOP_PACK_VOID) {
        f->end = end;
        return 0;
    }
    if (end > s->size) {
        return damaged(s, s->size, "file ends inside a record", err);
    }
    f->end = end;
    if (verify) {
        rc = check_payload(s, &f->header, err);
        if (rc != 0) {
            return rc;
        }
    }
    return load_key(s, &f->header, &f->key, err);
}

/* Whether at `at` there is no record but the pad of the next one: zeros, as many as that one's
 * header says. *next: where that record begins, else `at`. */
static int skip_pad(struct scan *s, uint64_t at, uint64_t *next, struct sop_err *err)
{
    *next = at;
    uint64_t end = (at + SOP_BLOCK_BYTES - 1) / SOP_BLOCK_BYTES * SOP_BLOCK_BYTES;
    if (end == at || s->size < end + SOP_PACK_HEADER_BYTES) {
        return 0;
    }
    const uint8_t *pad = NULL;
    int rc = window_get(s, at, (size_t)(end - at), &pad, err);
    for (uint64_t i = 0; rc == 0 && i < end - at; i++) {
        if (pad[i] != 0) {
            return 0;
        }
    }
    struct sop_pack_header h;
    if (rc == 0) {
        rc = load_header(s, end, &h, err);
    }
    if (rc == 0 && h.pad == end - at) {
        *next = end;
    }
    return rc == SOP_ERR_DATA_LOSS ? 0 : rc; /* whoever looks at `at` tells the damage */
}

/* First offset from `at` on where a record of this file begins; the size if none does. */
static int find_record(struct scan *s, uint64_t at, uint64_t *next, struct sop_err *err)
{
    struct sop_pack_header h;
    for (; at < s->size; at += SOP_PACK_ALIGN) {
        int rc = load_header(s, at, &h, err);
        if (rc != SOP_ERR_DATA_LOSS) {
            *next = at;
            return rc;
        }
    }
    *next = s->size;
    return 0;
}

/* Opens the file and takes the window. Damage to sop_free and end the use: scan_fini. */
static int scan_init(struct scan *s, struct sop_pack_use *use, struct sop_err *err)
{
    if (sop_pack__file_writing(s->packs, s->member, s->number)) {
        return SOP_ERR(err, BUSY, "still being written");
    }
    int rc = sop_pack__use(s->packs, s->member, s->number, false, use, err);
    if (rc != 0) {
        return rc;
    }
    s->file = use->file;
    rc = sop_file_size(s->file, &s->size, err);
    if (rc != 0) {
        goto undo_use;
    }
    s->window = sop_malloc(WINDOW_BYTES);
    if (s->window == NULL) {
        rc = SOP_ERR(err, NOMEM, "window of %zu bytes", WINDOW_BYTES);
        goto undo_use;
    }
    return 0;

undo_use:
    sop_pack__use_end(s->packs, use);
    return rc;
}

static int hand_up(const struct found *f, sop_pack_record_fn each, void *arg,
                   struct sop_err *err)
{
    struct sop_pack_owner owner = {
        .type = (enum sop_pack_type)f->header.type,
        .store = f->header.store,
        .page = f->header.page,
        .key = f->key,
    };
    return each(arg, &owner, &f->header.place, err);
}

/* All records; gap NULL: stops at damage. */
static int scan_records(struct scan *s, bool verify, sop_pack_record_fn each,
                        sop_pack_gap_fn gap, void *arg, struct sop_err *err)
{
    struct found f;
    for (uint64_t at = 0; at < s->size;) {
        int rc = skip_pad(s, at, &at, err);
        if (rc == 0) {
            rc = load_record(s, at, verify, &f, err);
        }
        if (rc == SOP_ERR_DATA_LOSS && gap != NULL) {
            uint64_t next = s->size;
            rc = find_record(s, f.end < s->size ? f.end : s->size, &next, err);
            if (rc != 0) {
                return rc;
            }
            rc = gap(arg, at, next, err);
            f.end = next;
        } else if (rc == 0 && f.header.type != SOP_PACK_VOID) {
            rc = hand_up(&f, each, arg, err);
        }
        if (rc != 0) {
            return rc;
        }
        SOP_ASSERT(f.end > at);
        at = f.end;
    }
    return 0;
}

static int scan_file(struct scan *s, bool verify, sop_pack_record_fn each, sop_pack_gap_fn gap,
                     void *arg, struct sop_err *err)
{
    struct sop_pack_use use;
    int rc = scan_init(s, &use, err);
    if (rc != 0) {
        return sop_err_wrap(err, rc, "scan packs/%" PRIx64 "/%" PRIu32, s->member, s->number);
    }
    rc = scan_records(s, verify, each, gap, arg, err);
    sop_free(s->window);
    sop_pack__use_end(s->packs, &use);
    return rc;
}

int sop_packs_scan(struct sop_packs *p, uint64_t member, uint32_t file, bool verify_payload,
                   sop_pack_record_fn each, void *arg, struct sop_err *err)
{
    struct scan s = {.packs = p, .member = member, .number = file};
    return scan_file(&s, verify_payload, each, NULL, arg, err);
}

int sop_packs_salvage(struct sop_packs *p, uint64_t member, uint32_t file,
                      sop_pack_record_fn each, sop_pack_gap_fn gap, void *arg,
                      struct sop_err *err)
{
    struct scan s = {.packs = p, .member = member, .number = file};
    return scan_file(&s, true, each, gap, arg, err);
}

/* Numbers that are names of a folder. */
struct numbers {
    struct sop_buf list; /* 8 bytes each */
    int base;
    uint64_t max;
};

/* Exactly the digits that we would print: no sign, no leading zero, lower case. */
static bool number_parse(const char *name, int base, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (name[0] == '\0' || name[0] == '0') {
        return false;
    }
    for (const char *c = name; *c != '\0'; c++) {
        int digit = *c >= '0' && *c <= '9'   ? *c - '0'
                    : *c >= 'a' && *c <= 'f' ? *c - 'a' + 10
                                             : 16;
        if (digit >= base || v > max / (uint64_t)base) {
            return false;
        }
        v = v * (uint64_t)base + (uint64_t)digit;
    }
    *out = v;
    return v <= max;
}

static int number_add(void *arg, const char *name, struct sop_err *err)
{
    struct numbers *n = arg;
    uint64_t v = 0;
    if (!number_parse(name, n->base, n->max, &v)) {
        return 0; /* not ours */
    }
    uint8_t bytes[8];
    sop_put_u64(bytes, v);
    return sop_buf_append(&n->list, bytes, sizeof bytes, err);
}

/* Fills n->list. A folder that is not there has no names. */
static int numbers_list(struct sop_packs *p, const char *path, struct numbers *n,
                        struct sop_err *err)
{
    int rc = sop_volume_list(p->volume, path, number_add, n, err);
    return rc == SOP_ERR_NOT_FOUND ? 0 : sop_err_wrap(err, rc, "list %s", path);
}

static int file_hand_up(struct sop_packs *p, uint64_t member, uint32_t number,
                        sop_pack_file_fn each, void *arg, struct sop_err *err)
{
    char path[SOP_PACK_PATH_BYTES];
    sop_pack__file_path(member, number, path);
    bool writing = sop_pack__file_writing(p, member, number);
    struct sop_stat st;
    int rc = sop_volume_stat(p->volume, path, &st, err);
    if (rc != 0) {
        return sop_err_wrap(err, rc, "stat %s", path);
    }
    return st.kind == SOP_FILE_REGULAR ? each(arg, member, number, st.bytes, writing, err) : 0;
}

static int member_files(struct sop_packs *p, uint64_t member, sop_pack_file_fn each, void *arg,
                        struct sop_err *err)
{
    char path[SOP_PACK_PATH_BYTES];
    sop_pack__folder_path(member, path);
    struct numbers files = {.base = 10, .max = UINT32_MAX};
    int rc = numbers_list(p, path, &files, err);
    for (size_t i = 0; rc == 0 && i < files.list.len; i += 8) {
        uint32_t number = (uint32_t)sop_get_u64(files.list.data + i);
        rc = file_hand_up(p, member, number, each, arg, err);
    }
    sop_buf_fini(&files.list);
    return rc;
}

/* Names are collected before anything is done with them, so that `each` may unlink. */
int sop_packs_files(struct sop_packs *p, sop_pack_file_fn each, void *arg, struct sop_err *err)
{
    struct numbers members = {.base = 16, .max = ((uint64_t)1 << 48) - 1};
    int rc = numbers_list(p, "packs", &members, err);
    for (size_t i = 0; rc == 0 && i < members.list.len; i += 8) {
        rc = member_files(p, sop_get_u64(members.list.data + i), each, arg, err);
    }
    sop_buf_fini(&members.list);
    return rc;
}
