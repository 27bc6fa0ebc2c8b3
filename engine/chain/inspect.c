/* Looks at every file below chain/ and members/, needed or not, for damage that nothing else
 * would meet: replay reads only what lies behind the checkpoint that it begins at.
 *
 * What history needs is proved by following it (an observer's opening). Here most findings are
 * no loss: tickets of slots are whole before they get their name, so a damaged one is damage
 * (severity 2); flags, beats, tickets without a slot and the ends of journals may also be what
 * a power loss left (severity 1). */
#include "engine/chain/chain_int.h"

#include "engine/base/codec.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW_BYTES (256u * SOP_BLOCK_BYTES)

/* What is being looked at. */
struct look {
    const struct sop_chain_inspection *what;
    uint8_t *window; /* WINDOW_BYTES */
    char path[SOP_CHAIN_PATH_BYTES];
    struct sop_file *file;
    uint64_t bytes; /* of the file */
};

static void tell(const struct look *l, int severity, uint64_t at, const char *fmt, ...)
    SOP_PRINTF(4, 5);
static void tell(const struct look *l, int severity, uint64_t at, const char *fmt, ...)
{
    char what[200];
    char text[SOP_CHAIN_PATH_BYTES + sizeof what + 40];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    (void)snprintf(text, sizeof text, "%s at byte %" PRIu64 ": %s", l->path, at, what);
    l->what->report(l->what->arg, severity, text);
}

static int read_at(struct look *l, uint64_t at, size_t len, struct sop_err *err)
{
    return sop_file_read(l->file, at, l->window, len, NULL, err);
}

/* ---- records -------------------------------------------------------------------------------
 */

/* Is the payload what its header says? The record lies whole in the file. */
static int payload_fits(struct look *l, uint64_t at, const struct sop_journal_header *h,
                        bool *fits, struct sop_err *err)
{
    uint32_t crc = 0;
    int rc = 0;
    at += SOP_JOURNAL_HEADER_BYTES;
    for (uint64_t left = h->payload_bytes; left > 0 && rc == 0;) {
        size_t len = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
        rc = read_at(l, at, len, err);
        if (rc == 0) {
            crc = sop_crc32c(l->window, len, crc);
            at += len;
            left -= len;
        }
    }
    *fits = crc == h->payload_crc;
    return rc;
}

/* Behind records there is nothing but zeros, made with the file: `what` says what else there
 * is. */
static int check_zeros(struct look *l, uint64_t from, uint64_t until, const char *what,
                       struct sop_err *err)
{
    int rc = 0;
    for (uint64_t at = from; at < until && rc == 0;) {
        uint64_t left = until - at;
        size_t len = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
        rc = read_at(l, at, len, err);
        for (size_t i = 0; i < len && rc == 0; i++) {
            if (l->window[i] != 0) {
                tell(l, 1, at + i, "%s", what);
                return 0;
            }
        }
        at += len;
    }
    return rc;
}

/* Is there a record at `at`? `file`: of a journal, 0 = copies. */
static int header_at(struct look *l, uint64_t at, uint64_t until, uint32_t file, bool *whole,
                     struct sop_journal_header *h, struct sop_err *err)
{
    *whole = false;
    if (until < SOP_JOURNAL_HEADER_BYTES || at > until - SOP_JOURNAL_HEADER_BYTES) {
        return 0;
    }
    int rc = read_at(l, at, SOP_JOURNAL_HEADER_BYTES, err);
    *whole = rc == 0 &&
             sop_journal_header_decode(sop_slice(l->window, SOP_JOURNAL_HEADER_BYTES), h) ==
                 SOP_JOURNAL_VALID &&
             (file == 0 || (h->file == file && h->offset == at));
    return rc;
}

/* The next record of a journal: behind the one before, or with the next block. */
static int find_record(struct look *l, uint64_t *at, uint64_t until, uint32_t file, bool *whole,
                       struct sop_journal_header *h, struct sop_err *err)
{
    uint64_t border = sop_journal_block_border(*at);
    int rc = header_at(l, *at, until, file, whole, h, err);
    if (rc != 0 || *whole || file == 0 || border == *at) {
        return rc;
    }
    rc = header_at(l, border, until, file, whole, h, err);
    if (rc == 0 && *whole) {
        uint64_t from = *at;
        *at = border;
        rc = check_zeros(l, from, border, "bytes that are not zero behind a record", err);
    }
    return rc;
}

/* Records from `at` until `until`, one after the other. `file`: of a journal; 0 = `copies`
 * copies.
 */
static int check_records(struct look *l, uint64_t at, uint64_t until, uint32_t file,
                         uint64_t copies, struct sop_err *err)
{
    int severity = file == 0 ? 2 : 1;
    for (uint64_t seen = 0; at < until; seen++) {
        if (file == 0 && seen == copies) {
            return check_zeros(l, at, until, "bytes that are not zero behind copies", err);
        }
        struct sop_journal_header h;
        bool fits = false;
        bool whole = false;
        int rc = find_record(l, &at, until, file, &whole, &h, err);
        if (rc != 0) {
            return rc;
        }
        uint64_t end = whole ? at + sop_journal_record_bytes(h.payload_bytes) : 0;
        bool inside = whole && at + SOP_JOURNAL_HEADER_BYTES + h.payload_bytes <= until;
        if (!whole && file != 0) {
            return check_zeros(l, at, until,
                               "no whole record; it was never acknowledged, or is not needed",
                               err);
        }
        if (!inside) {
            tell(l, severity, at, whole ? "the file ends inside a record" : "no whole record");
            return 0;
        }
        rc = payload_fits(l, at, &h, &fits, err);
        if (rc != 0) {
            return rc;
        }
        if (!fits) {
            tell(l, severity, at, "record %" PRIu64 " of slot %" PRIu64 " has a wrong CRC",
                 h.record, h.tenure);
        }
        at += SOP_JOURNAL_HEADER_BYTES + h.payload_bytes;
        if (h.kind == SOP_JOURNAL_END && file != 0) {
            return check_zeros(l, at, until, "bytes that are not zero behind the end", err);
        }
        rc = check_zeros(l, at, end < until ? end : until,
                         "bytes that are not zero behind a record", err);
        if (rc != 0) {
            return rc;
        }
        at = end;
    }
    return 0;
}

/* ---- the kinds of files --------------------------------------------------------------------
 */

static int check_flags(struct look *l, enum sop_flag_kind kind, const char *nonce,
                       uint32_t file, uint32_t blocks, struct sop_err *err)
{
    struct sop_flag_name name = {.kind = kind, .file = file};
    memcpy(name.database_id, l->what->database_id, sizeof name.database_id);
    if (!sop_chain__parse_nonce(nonce, name.nonce)) {
        return 0; /* not ours */
    }
    for (; name.block < blocks; name.block++) {
        uint64_t at = (uint64_t)name.block * SOP_BLOCK_BYTES;
        if (at + SOP_BLOCK_BYTES > l->bytes) {
            tell(l, 1, l->bytes, "the file is too short");
            return 0;
        }
        int rc = read_at(l, at, SOP_BLOCK_BYTES, err);
        if (rc != 0) {
            return rc;
        }
        if (sop_flag_state(&name, l->window) == SOP_FLAG_DAMAGED) {
            tell(l, 1, at, "neither live nor killed; that counts as killed");
        }
    }
    return 0;
}

static int check_beat(struct look *l, struct sop_err *err)
{
    struct sop_beat beat;
    int rc = l->bytes >= SOP_BLOCK_BYTES ? read_at(l, 0, SOP_BLOCK_BYTES, err) : 0;
    if (rc == 0 && (l->bytes < SOP_BLOCK_BYTES || !sop_beat_decode(l->window, &beat))) {
        tell(l, 1, 0, "not a whole beat; that counts as none");
    }
    return rc;
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    uint8_t any = 0;
    for (size_t i = 0; i < len; i++) {
        any |= bytes[i];
    }
    return any == 0;
}

/* severity: of a slot 2, of a ticket that may have none 1. */
static int check_ticket(struct look *l, int severity, struct sop_err *err)
{
    struct sop_ticket t;
    uint32_t crc;
    struct sop_err why = {0};
    uint8_t *head = NULL;
    int rc = l->bytes >= SOP_BLOCK_BYTES ? read_at(l, 0, SOP_BLOCK_BYTES, err) : 0;
    if (rc != 0) {
        return rc;
    }
    size_t len = l->bytes >= SOP_BLOCK_BYTES
                     ? sop_ticket_head_bytes(sop_slice(l->window, SOP_BLOCK_BYTES))
                     : 0;
    if (severity == 1 && len == 0 && l->bytes == SOP_BLOCK_BYTES &&
        all_zero(l->window, SOP_BLOCK_BYTES)) {
        return 0;
    }
    size_t blocks = (len + SOP_BLOCK_BYTES - 1) / SOP_BLOCK_BYTES;
    if (len == 0 || blocks * SOP_BLOCK_BYTES > l->bytes) {
        tell(l, severity, 0, "not a whole ticket");
        return 0;
    }
    rc = sop_chain__blocks(&head, blocks, err);
    rc = rc == 0 ? sop_file_read(l->file, 0, head, blocks * SOP_BLOCK_BYTES, NULL, err) : rc;
    if (rc == 0 && sop_ticket_decode(sop_slice(head, len), &t, &crc, &why) != 0) {
        tell(l, severity, 0, "%s", why.text);
    } else if (rc == 0 && t.copies_from != 0) {
        uint64_t until = t.copies_at + t.copies_bytes;
        if (until > l->bytes) {
            tell(l, severity, l->bytes, "the file ends inside copies of records");
        } else {
            rc = check_records(l, t.copies_at, until, 0, t.cut - t.copies_from + 1, err);
        }
    }
    bool padded = rc == 0 && len < blocks * SOP_BLOCK_BYTES;
    if (padded && !all_zero(head + len, blocks * SOP_BLOCK_BYTES - len)) {
        tell(l, 1, len, "bytes that are not zero behind the head of a ticket");
    }
    sop_free(head);
    return rc;
}

/* ---- finding them --------------------------------------------------------------------------
 */

struct names {
    struct sop_buf text; /* each with its 0 */
};

static int add_name(void *arg, const char *name, struct sop_err *err)
{
    struct names *n = arg;
    return sop_buf_append(&n->text, name, strlen(name) + 1, err);
}

typedef int (*check_fn)(struct look *l, const char *folder, const char *name,
                        struct sop_err *err);

/* Nobody here makes a name so long that its path and what may lie below it would not fit. */
static bool too_long(struct look *l, const char *folder, const char *name)
{
    bool yes = strlen(folder) + 1 + strlen(name) > SOP_CHAIN_PATH_BYTES - 40;
    if (yes) {
        char text[SOP_CHAIN_PATH_BYTES + 80];
        (void)snprintf(text, sizeof text, "%.80s/%.40s...: not a file of a database", folder,
                       name);
        l->what->report(l->what->arg, 1, text);
    }
    return yes;
}

/* Calls `each` for the names of a folder; one that is gone has none. */
static int for_names(struct look *l, const char *folder, check_fn each, struct sop_err *err)
{
    struct names n = {0};
    int rc = sop_volume_list(l->what->volume, folder, add_name, &n, err);
    rc = rc == SOP_ERR_NOT_FOUND ? 0 : rc;
    for (size_t at = 0; at < n.text.len && rc == 0;) {
        const char *name = (const char *)n.text.data + at;
        at += strlen(name) + 1;
        rc = too_long(l, folder, name) ? 0 : each(l, folder, name, err);
    }
    sop_buf_fini(&n.text);
    return rc;
}

/* Opens folder/name; *there = it is a file. */
static int open_file(struct look *l, const char *folder, const char *name, bool *there,
                     struct sop_err *err)
{
    struct sop_volume *v = l->what->volume;
    struct sop_stat st;
    sop_chain__path(l->path, "%s/%s", folder, name);
    *there = false;
    int rc = sop_volume_stat(v, l->path, &st, err);
    if (rc != 0 || st.kind == SOP_FILE_ABSENT || st.kind == SOP_FILE_DIRECTORY) {
        return rc;
    }
    rc = sop_file_open(v, l->path, SOP_OPEN_READ, &l->file, err);
    *there = rc == 0;
    l->bytes = st.bytes;
    return rc == SOP_ERR_NOT_FOUND ? 0 : rc;
}

static int done(struct look *l, int rc, struct sop_err *err)
{
    sop_file_close(l->file);
    l->file = NULL;
    return sop_err_wrap(err, rc, "read %s", l->path);
}

static int in_chain_dir(struct look *l, const char *folder, const char *name,
                        struct sop_err *err)
{
    bool there;
    int rc = open_file(l, folder, name, &there, err);
    if (rc != 0 || !there) {
        return rc;
    }
    if (strcmp(name, "GATE") == 0) {
        const char *nonce = strchr(folder, '-');
        rc = nonce != NULL ? check_flags(l, SOP_FLAG_GATE, nonce + 1, 0, 1, err) : 0;
    } else {
        rc = check_ticket(l, 2, err);
    }
    return done(l, rc, err);
}

static int in_tickets(struct look *l, const char *folder, const char *name, struct sop_err *err)
{
    bool there;
    int rc = open_file(l, folder, name, &there, err);
    return rc != 0 || !there ? rc : done(l, check_ticket(l, 1, err), err);
}

static int in_journal(struct look *l, const char *folder, const char *name, struct sop_err *err)
{
    bool there;
    int rc = open_file(l, folder, name, &there, err);
    if (rc != 0 || !there) {
        return rc;
    }
    uint32_t file = (uint32_t)strtoul(name, NULL, 10);
    return done(l, file != 0 ? check_records(l, 0, l->bytes, file, 0, err) : 0, err);
}

static int in_member(struct look *l, const char *folder, const char *name, struct sop_err *err)
{
    bool there;
    char path[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(path, "%s/%s", folder, name);
    if (strcmp(name, "tickets") == 0) {
        return for_names(l, path, in_tickets, err);
    }
    if (strcmp(name, "journal") == 0) {
        return for_names(l, path, in_journal, err);
    }
    bool beat = strcmp(name, "beat") == 0;
    if (!beat && strncmp(name, "TEN", 3) != 0) {
        return 0; /* not the lock: closing it would drop the lock if it is this process's */
    }
    int rc = open_file(l, folder, name, &there, err);
    if (rc != 0 || !there) {
        return rc;
    }
    if (beat) {
        rc = check_beat(l, err);
    } else {
        uint32_t file = name[3] == '.' ? (uint32_t)strtoul(name + 4, NULL, 10) : 0;
        rc = check_flags(l, SOP_FLAG_TEN, strrchr(folder, '/') + 1, file, SOP_TEN_BLOCKS, err);
    }
    return done(l, rc, err);
}

static int a_chain_dir(struct look *l, const char *folder, const char *name,
                       struct sop_err *err)
{
    char path[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(path, "%s/%s", folder, name);
    return for_names(l, path, in_chain_dir, err);
}

static int a_member(struct look *l, const char *folder, const char *name, struct sop_err *err)
{
    char path[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(path, "%s/%s", folder, name);
    bool skip = l->what->skip != NULL && strcmp(path, l->what->skip) == 0;
    return skip ? 0 : for_names(l, path, in_member, err);
}

int sop_chain_inspect(const struct sop_chain_inspection *what, struct sop_err *err)
{
    struct look l = {.what = what};
    int rc = sop_chain__blocks(&l.window, WINDOW_BYTES / SOP_BLOCK_BYTES, err);
    rc = rc == 0 ? for_names(&l, "chain", a_chain_dir, err) : rc;
    rc = rc == 0 ? for_names(&l, "members", a_member, err) : rc;
    sop_free(l.window);
    return rc;
}
