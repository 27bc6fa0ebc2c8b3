/* The primitives of docs/PROTOCOL.md section 4: putting a ticket into a slot, reading a slot,
 * the one-way flags, and the gates of chain directories.
 *
 * put() believes only content: whatever link() answers, except a plain success on a volume of
 * one host, the slot is read back and the nonce in it decides who won. */
#include "engine/chain/chain_int.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define PUT_TRIES      6
#define PUT_BACKOFF_NS 1000000u /* doubles with each try */

void sop_chain__path(char to[SOP_CHAIN_PATH_BYTES], const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(to, SOP_CHAIN_PATH_BYTES, fmt, args);
    va_end(args);
    SOP_ASSERT(len > 0 && len < SOP_CHAIN_PATH_BYTES);
}

void sop_chain__hex(const uint8_t nonce[SOP_NONCE_BYTES], char to[SOP_NONCE_HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < SOP_NONCE_BYTES; i++) {
        to[2 * i] = digits[nonce[i] >> 4];
        to[2 * i + 1] = digits[nonce[i] & 15];
    }
    to[2 * SOP_NONCE_BYTES] = '\0';
}

int sop_chain__sync_file(struct sop_chain *c, struct sop_file *f, struct sop_err *err)
{
    atomic_fetch_add(&c->syncs, 1);
    return sop_file_sync(f, err);
}

int sop_chain__sync_dir(struct sop_chain *c, const char *path, struct sop_err *err)
{
    atomic_fetch_add(&c->syncs, 1);
    int rc = sop_volume_dir_sync(c->volume, path, err);
    return sop_err_wrap(err, rc, "sync folder %s", path);
}

int sop_chain__blocks(uint8_t **out, size_t blocks, struct sop_err *err)
{
    *out = sop_malloc_aligned(SOP_BLOCK_BYTES, blocks * SOP_BLOCK_BYTES);
    return *out != NULL ? 0 : SOP_ERR(err, NOMEM, "%zu blocks", blocks);
}

int sop_chain__create_file(struct sop_chain *c, const char *path, const uint8_t *bytes,
                           size_t len, bool sync, struct sop_file **keep, struct sop_err *err)
{
    struct sop_file *f;
    int rc = sop_file_open(c->volume, path,
                           SOP_OPEN_WRITE | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE |
                               sop_chain__mode(c->volume),
                           &f, err);
    if (rc != 0) {
        return sop_err_wrap(err, rc, "make %s", path);
    }
    rc = sop_file_write(f, 0, bytes, len, err);
    if (rc == 0 && sync) {
        rc = sop_chain__sync_file(c, f, err);
    }
    if (rc == 0 && keep != NULL) {
        *keep = f;
        return 0;
    }
    sop_file_close(f);
    if (rc != 0) {
        (void)sop_volume_unlink(c->volume, path, NULL);
    }
    return sop_err_wrap(err, rc, "make %s", path);
}

/* --- slots --- */

void sop_chain__slot_fini(struct sop_slot *s)
{
    sop_free(s->head);
    s->head = NULL;
}

/* Reads head blocks into out->head. END: the file is shorter than its head. */
static int read_head(struct sop_file *f, struct sop_slot *out, struct sop_err *err)
{
    int rc = sop_chain__blocks(&out->head, 1, err);
    if (rc == 0) {
        rc = sop_file_read(f, 0, out->head, SOP_BLOCK_BYTES, NULL, err);
    }
    if (rc != 0) {
        return rc;
    }
    out->head_bytes = sop_ticket_head_bytes(sop_slice(out->head, SOP_BLOCK_BYTES));
    if (out->head_bytes <= SOP_BLOCK_BYTES) {
        return 0;
    }
    size_t blocks = (out->head_bytes + SOP_BLOCK_BYTES - 1) / SOP_BLOCK_BYTES;
    sop_free(out->head);
    rc = sop_chain__blocks(&out->head, blocks, err);
    if (rc == 0) {
        rc = sop_file_read(f, 0, out->head, blocks * SOP_BLOCK_BYTES, NULL, err);
    }
    return rc;
}

static void slot_path(char to[SOP_CHAIN_PATH_BYTES], const char *dir, uint64_t slot)
{
    sop_chain__path(to, "chain/%s/%016" PRIx64, dir, slot);
}

int sop_chain__read_slot(struct sop_chain *c, const char *dir, uint64_t slot,
                         struct sop_slot *out, struct sop_err *err)
{
    memset(out, 0, sizeof *out);
    slot_path(out->path, dir, slot);
    struct sop_file *f;
    int rc = sop_file_open(c->volume, out->path, SOP_OPEN_READ | sop_chain__mode(c->volume), &f,
                           err);
    if (rc != 0) {
        return sop_err_wrap(err, rc, "open slot %s", out->path);
    }
    rc = read_head(f, out, err);
    sop_file_close(f);
    if (rc == 0) {
        rc = sop_ticket_decode(sop_slice(out->head, out->head_bytes), &out->t, &out->crc, err);
    } else if (rc == SOP_ERR_END) {
        rc = SOP_ERR(err, DATA_LOSS, "at byte 0: the file is shorter than its ticket");
    }
    if (rc == 0 && memcmp(out->t.database_id, c->database_id, 16) != 0) {
        rc = SOP_ERR(err, DATA_LOSS, "at byte 24: ticket of another database");
    }
    if (rc != 0) {
        sop_chain__slot_fini(out);
        SOP_ASSERT(rc != SOP_ERR_NOT_FOUND);
        return sop_err_wrap(err, rc, "read slot %s", out->path);
    }
    return 0;
}

/* --- put --- */

/* Whose ticket is in the slot? 0 with *result WON, LOST or (absent) FAILED. */
static int look(struct sop_chain *c, uint64_t slot, const uint8_t nonce[SOP_NONCE_BYTES],
                enum sop_put *result, struct sop_err *err)
{
    struct sop_slot got;
    int rc = sop_chain__read_slot(c, c->view.dir, slot, &got, err);
    if (rc == SOP_ERR_NOT_FOUND) {
        *result = SOP_PUT_FAILED;
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    bool mine = memcmp(got.t.nonce, nonce, SOP_NONCE_BYTES) == 0;
    *result = mine ? SOP_PUT_WON : SOP_PUT_LOST;
    sop_chain__slot_fini(&got);
    return 0;
}

/* The name is ours: make it durable. Failing that, nobody can tell what a crash leaves. */
static int settle(struct sop_chain *c, enum sop_put *result, struct sop_err *err)
{
    char dir[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(dir, "chain/%s", c->view.dir);
    int rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.put_dirsync", err);
    if (rc == 0) {
        rc = sop_chain__sync_dir(c, dir, err);
    }
    if (rc == 0) {
        rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.put_done", err);
    }
    *result = rc == 0 ? SOP_PUT_WON : SOP_PUT_UNKNOWN;
    return rc;
}

/* link() refused for good. After the ticket's own name is gone a late link of it can only fail,
 * so an absent slot means that nothing happened. `why` is what link said. */
static int give_up(struct sop_chain *c, uint64_t slot, const char *path,
                   const uint8_t nonce[SOP_NONCE_BYTES], int why, enum sop_put *result,
                   struct sop_err *err)
{
    char dir[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(dir, "%s/tickets", c->member_dir);
    struct sop_err inner = {0};
    int rc = sop_volume_unlink(c->volume, path, &inner);
    if (rc == 0) {
        rc = sop_chain__sync_dir(c, dir, &inner);
    }
    if (rc == 0) {
        rc = look(c, slot, nonce, result, &inner);
    }
    if (rc != 0) {
        *result = SOP_PUT_UNKNOWN;
        return why; /* *err tells of the link */
    }
    if (*result == SOP_PUT_WON) {
        return settle(c, result, err);
    }
    return *result == SOP_PUT_FAILED ? why : 0;
}

static bool refused_for_good(int rc, int sys)
{
    return rc == SOP_ERR_NOSPACE || rc == SOP_ERR_READ_ONLY || sys == EMLINK;
}

/* One try. *again: its outcome is unknown, and another try with the same ticket may tell. Not
 * after a failed sync of the directory: a second one would succeed over a lost name. */
static int put_once(struct sop_chain *c, uint64_t slot, const char *path,
                    const uint8_t nonce[SOP_NONCE_BYTES], enum sop_put *result, bool *again,
                    struct sop_err *err)
{
    *again = false;
    char to[SOP_CHAIN_PATH_BYTES];
    slot_path(to, c->view.dir, slot);
    struct sop_err link_err = {0};
    int rc = sop_volume_link(c->volume, path, to, &link_err);
    if (rc == 0) {
        rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.put_sent", &link_err);
    }
    if (rc == 0 && c->volume->one_host) {
        return settle(c, result, err);
    }
    if (rc == SOP_ERR_NOT_FOUND || link_err.sys == ESTALE) {
        *result = SOP_PUT_LOST; /* the directory is gone: history has moved on */
        return 0;
    }
    if (refused_for_good(rc, link_err.sys)) {
        if (err != NULL) {
            *err = link_err;
        }
        return give_up(c, slot, path, nonce, rc, result, err);
    }
    enum sop_put seen;
    int seen_rc = look(c, slot, nonce, &seen, err);
    if (seen_rc != 0) {
        *again = true;
        return seen_rc;
    }
    if (seen == SOP_PUT_WON) {
        return settle(c, result, err);
    }
    if (seen == SOP_PUT_LOST) {
        *result = SOP_PUT_LOST;
        return 0;
    }
    *again = true;
    /* Absent now, whatever link said: it may still land. */
    if (err != NULL) {
        *err = link_err;
    }
    return rc != 0 ? rc : SOP_ERR(err, IO, "a name that was made is not there");
}

int sop_chain__put(struct sop_chain *c, const char *path, const uint8_t nonce[SOP_NONCE_BYTES],
                   enum sop_put *result, struct sop_err *err)
{
    uint64_t slot = c->view.lsn.slot + 1; /* I2: only behind what was applied */
    SOP_ASSERT(slot >= c->view.dir_first);
    *result = SOP_PUT_FAILED;
    int rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.put_before", err);
    if (rc != 0) {
        return rc;
    }
    bool again = true;
    for (unsigned i = 0; again && i < PUT_TRIES; i++) {
        if (i > 0) {
            sop_env_sleep_ns(c->env, (uint64_t)PUT_BACKOFF_NS << i);
        }
        *result = SOP_PUT_UNKNOWN;
        rc = put_once(c, slot, path, nonce, result, &again, err);
    }
    SOP_ASSERT((rc == 0) == (*result == SOP_PUT_WON || *result == SOP_PUT_LOST));
    return sop_err_wrap(err, rc, "put slot %" PRIu64 " into chain/%s", slot, c->view.dir);
}

/* --- flags --- */

int sop_chain__flag_read(struct sop_chain *c, const char *path,
                         const struct sop_flag_name *name, enum sop_flag_state *state,
                         struct sop_err *err)
{
    *state = SOP_FLAG_DAMAGED;
    uint8_t *block;
    int rc = sop_chain__blocks(&block, 1, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_file *f;
    rc = sop_file_open(c->volume, path, SOP_OPEN_READ | sop_chain__mode(c->volume), &f, err);
    if (rc == 0) {
        rc = sop_file_read(f, (uint64_t)name->block * SOP_BLOCK_BYTES, block, SOP_BLOCK_BYTES,
                           NULL, err);
        sop_file_close(f);
        if (rc == 0) {
            *state = sop_flag_state(name, block);
        }
    }
    sop_free(block);
    if (rc == SOP_ERR_NOT_FOUND || rc == SOP_ERR_END) {
        return 0;
    }
    return sop_err_wrap(err, rc, "read flag %s", path);
}

int sop_chain__flag_kill(struct sop_chain *c, const char *path, uint32_t block,
                         struct sop_err *err)
{
    uint8_t *dead;
    int rc = sop_chain__blocks(&dead, 1, err);
    if (rc != 0) {
        return rc;
    }
    sop_flag_dead_pattern(dead);
    struct sop_file *f;
    rc = sop_file_open(c->volume, path, SOP_OPEN_WRITE | sop_chain__mode(c->volume), &f, err);
    if (rc == 0) {
        rc = sop_file_write(f, (uint64_t)block * SOP_BLOCK_BYTES, dead, SOP_BLOCK_BYTES, err);
        if (rc == 0) {
            rc = sop_chain__sync_file(c, f, err);
        }
        sop_file_close(f);
    }
    sop_free(dead);
    return sop_err_wrap(err, rc, "kill flag %s", path);
}

/* --- chain directories --- */

bool sop_chain__parse_nonce(const char *text, uint8_t nonce[SOP_NONCE_BYTES])
{
    for (size_t i = 0; i < 2 * SOP_NONCE_BYTES; i++) {
        char ch = text[i];
        int digit = ch >= '0' && ch <= '9'   ? ch - '0'
                    : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
                                             : -1;
        if (digit < 0) {
            return false;
        }
        nonce[i / 2] = (uint8_t)(i % 2 == 0 ? digit << 4 : nonce[i / 2] | digit);
    }
    return text[2 * SOP_NONCE_BYTES] == '\0';
}

bool sop_chain__parse_dir(const char *dir, uint64_t *number, uint8_t nonce[SOP_NONCE_BYTES])
{
    if (dir[0] != 'd' || dir[1] < '1' || dir[1] > '9') {
        return false;
    }
    uint64_t n = 0;
    const char *at = dir + 1;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (n > UINT64_MAX / 10 - 1) {
            return false;
        }
        n = n * 10 + (uint64_t)(*at - '0');
    }
    *number = n;
    return *at == '-' && sop_chain__parse_nonce(at + 1, nonce);
}

int sop_chain__gate_name(struct sop_chain *c, const char *dir, struct sop_flag_name *name,
                         char path[SOP_CHAIN_PATH_BYTES], struct sop_err *err)
{
    *name = (struct sop_flag_name){.kind = SOP_FLAG_GATE};
    memcpy(name->database_id, c->database_id, 16);
    uint64_t number;
    if (!sop_chain__parse_dir(dir, &number, name->nonce)) {
        return SOP_ERR(err, DATA_LOSS, "\"%s\" is no chain directory", dir);
    }
    sop_chain__path(path, "chain/%s/GATE", dir);
    return 0;
}

int sop_chain__gate(struct sop_chain *c, const char *dir, struct sop_err *err)
{
    struct sop_flag_name name;
    char path[SOP_CHAIN_PATH_BYTES];
    int rc = sop_chain__gate_name(c, dir, &name, path, err);
    if (rc == 0) {
        rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.gate_read", err);
    }
    enum sop_flag_state state;
    if (rc == 0) {
        rc = sop_chain__flag_read(c, path, &name, &state, err);
    }
    if (rc != 0 || state == SOP_FLAG_LIVE) {
        return rc;
    }
    if (c->survey != NULL) {
        return sop_chain__survey_gate(c, dir, err);
    }
    if (state == SOP_FLAG_DAMAGED) {
        struct sop_stat found;
        rc = sop_volume_stat(c->volume, path, &found, err);
        if (rc != 0) {
            return rc;
        }
        if (found.kind == SOP_FILE_ABSENT) {
            return SOP_ERR(err, SEALED,
                           "%s is missing; if opening again says the same, `sopctl repair` "
                           "makes it anew where that is safe",
                           path);
        }
        return SOP_ERR(err, DATA_LOSS,
                       "%s at byte 0: neither live nor killed; sopctl repair mends it", path);
    }
    return SOP_ERR(err, SEALED, "chain directory %s was truncated; a newer manifest helps",
                   dir);
}

int sop_chain__make_dir(struct sop_chain *c, uint64_t number, char to[SOP_CHAIN_DIR_BYTES],
                        struct sop_err *err)
{
    struct sop_flag_name name = {.kind = SOP_FLAG_GATE};
    char hex[SOP_NONCE_HEX_BYTES];
    char path[SOP_CHAIN_PATH_BYTES];
    memcpy(name.database_id, c->database_id, 16);
    sop_env_random(c->env, name.nonce, sizeof name.nonce);
    sop_chain__hex(name.nonce, hex);
    int len = snprintf(to, SOP_CHAIN_DIR_BYTES, "d%" PRIu64 "-%s", number, hex);
    SOP_ASSERT(len > 0 && len < SOP_CHAIN_DIR_BYTES);

    uint8_t *block;
    int rc = sop_chain__blocks(&block, 1, err);
    if (rc == 0) {
        rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.roll_mkdir", err);
        sop_chain__path(path, "chain/%s", to);
        rc = rc == 0 ? sop_volume_mkdir(c->volume, path, err) : rc;
    }
    if (rc == 0) {
        sop_flag_live_pattern(&name, block);
        sop_chain__path(path, "chain/%s/GATE", to);
        rc = sop_chain__create_file(c, path, block, SOP_BLOCK_BYTES, true, NULL, err);
    }
    if (rc == 0) {
        sop_chain__path(path, "chain/%s", to);
        rc = sop_chain__sync_dir(c, path, err);
    }
    if (rc == 0) {
        rc = sop_chain__sync_dir(c, "chain", err);
    }
    sop_free(block);
    return sop_err_wrap(err, rc, "make chain directory %s", to);
}
