/* Opening, transactions and small helpers that the commands share. */
#include "cli/ctl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int sop_ctl__buf_room(struct sop_ctl_buf *buf, size_t more, struct sop_err *err)
{
    if (buf->room - buf->len >= more) {
        return 0;
    }
    size_t room = buf->room < 256 ? 256 : buf->room;
    while (room - buf->len < more) {
        if (room > SIZE_MAX / 2) {
            return SOP_ERR(err, NOMEM, "hold %zu bytes", buf->len + more);
        }
        room *= 2;
    }
    uint8_t *data = realloc(buf->data, room);
    if (data == NULL) {
        return SOP_ERR(err, NOMEM, "hold %zu bytes", room);
    }
    buf->data = data;
    buf->room = room;
    return 0;
}

int sop_ctl__buf_add(struct sop_ctl_buf *buf, struct sop_slice bytes, struct sop_err *err)
{
    int rc = sop_ctl__buf_room(buf, bytes.len, err);
    if (rc == 0 && bytes.len > 0) {
        memcpy(buf->data + buf->len, bytes.data, bytes.len);
        buf->len += bytes.len;
    }
    return rc;
}

void sop_ctl__buf_fini(struct sop_ctl_buf *buf)
{
    free(buf->data);
    memset(buf, 0, sizeof *buf);
}

struct sop_slice sop_ctl__slice(const char *text)
{
    return (struct sop_slice){(const uint8_t *)text, strlen(text)};
}

int sop_ctl__path(struct sop_ctl *ctl, size_t at, const char **path)
{
    const struct sop_args *args = ctl->args;
    *path = at < args->count ? args->rest[at] : args->text[OPT_DB];
    if (at < args->count && args->given[OPT_DB]) {
        return SOP_ERR(&ctl->err, INVALID, "name the database once: '%s' or --db '%s'",
                       args->rest[at], args->text[OPT_DB]);
    }
    if (*path == NULL) {
        *path = getenv("SOP_DB");
    }
    if (*path == NULL || (*path)[0] == '\0') {
        return SOP_ERR(&ctl->err, INVALID, "which database? give --db PATH or set SOP_DB");
    }
    return 0;
}

int sop_ctl__open(struct sop_ctl *ctl, enum sop_ctl_access access, const char *path)
{
    if (path == NULL) {
        int rc = sop_ctl__path(ctl, SIZE_MAX, &path);
        if (rc != 0) {
            return rc;
        }
    }
    const struct sop_args *args = ctl->args;
    struct sop_db_options options;
    sop_db_options_init(&options);
    options.create = access == SOP_CTL_CREATE;
    options.read_only = access == SOP_CTL_READ;
    options.ignore_lock = args->given[OPT_TAKE_OVER];
    if (args->given[OPT_CACHE]) {
        options.cache_bytes = args->number[OPT_CACHE];
    }
    if (args->given[OPT_MAX_BYTES]) {
        options.max_bytes = args->number[OPT_MAX_BYTES];
    }
    if (args->given[OPT_HASH_MOD]) {
        if (args->number[OPT_HASH_MOD] > UINT32_MAX) {
            return SOP_ERR(&ctl->err, INVALID, "--registry-hash-mod is over 750000");
        }
        options.registry_hash_mod = (uint32_t)args->number[OPT_HASH_MOD];
    }
    const char *level = args->text[OPT_DURABILITY];
    if (level != NULL) {
        options.durability = level[0] == 'n'   ? SOP_DURABLE_NONE
                             : level[0] == 'i' ? SOP_DURABLE_INTERVAL
                                               : SOP_DURABLE_COMMIT;
    }
    return sop_db_open(&ctl->db, path, &options, &ctl->err);
}

int sop_ctl__begin(struct sop_ctl *ctl, enum sop_txn_mode mode, struct sop_txn **txn)
{
    struct sop_txn_options options;
    sop_txn_options_init(&options);
    options.mode = mode;
    options.max_time_ms = 60 * 60 * 1000; /* scans and dumps of people may be long */
    return sop_txn_begin(txn, ctl->db, &options, &ctl->err);
}

int sop_ctl__no_store(struct sop_ctl *ctl)
{
    return SOP_ERR(&ctl->err, NOT_FOUND,
                   "there is no store '%s'; `sopctl store list` shows those there are, "
                   "`sopctl store create` makes one",
                   ctl->args->rest[0]);
}

int sop_ctl__open_store(struct sop_ctl *ctl, enum sop_ctl_access access,
                        struct sop_ctl_store *store)
{
    memset(store, 0, sizeof *store);
    int rc = sop_ctl__open(ctl, access, NULL);
    if (rc == 0) {
        rc = sop_ctl__begin(ctl, access == SOP_CTL_READ ? SOP_READ : SOP_WRITE, &store->txn);
    }
    if (rc != 0) {
        return rc;
    }
    const char *name = ctl->args->rest[0];
    rc = sop_store_open(&store->store, store->txn, name, &ctl->err);
    if (rc == 0) {
        rc = sop_store_info(store->store, &store->info, &ctl->err);
    }
    if (rc != 0) {
        sop_txn_rollback(&store->txn);
        return rc == SOP_ERR_NOT_FOUND ? sop_ctl__no_store(ctl) : rc;
    }
    return 0;
}

const char *sop_ctl__durable_text(enum sop_durability durability)
{
    switch (durability) {
    case SOP_DURABLE_COMMIT:
        return "commit";
    case SOP_DURABLE_INTERVAL:
        return "interval";
    case SOP_DURABLE_NONE:
        return "none";
    }
    return "?";
}

int sop_ctl__commit(struct sop_ctl *ctl, struct sop_txn **txn, const char *what, uint64_t items)
{
    struct sop_commit commit;
    memset(&commit, 0, sizeof commit);
    int rc = sop_txn_commit(txn, &commit, &ctl->err);
    if (rc == SOP_ERR_UNKNOWN) {
        return sop_err_wrap(&ctl->err, rc, "transaction %" PRIu64 ".%" PRIu64 ".%" PRIu32,
                            commit.id.member, commit.id.batch, commit.id.index);
    }
    if (rc != 0 || ctl->args->given[OPT_QUIET]) {
        return rc;
    }
    char lsn[48];
    snprintf(lsn, sizeof lsn, "%" PRIu64 ".%" PRIu64, commit.lsn.slot, commit.lsn.record);
    if (ctl->out.format == SOP_FORMAT_TABLE) {
        fprintf(ctl->out.to, "%s: %" PRIu64 " (durability %s)\n", what, items,
                sop_ctl__durable_text(commit.durable));
    } else if (ctl->out.format != SOP_FORMAT_RAW) {
        sop_out__object(&ctl->out,
                        json_pack("{s:s, s:I, s:s, s:s}", "done", what, "items",
                                  (json_int_t)items, "durable",
                                  sop_ctl__durable_text(commit.durable), "lsn", lsn));
    }
    return 0;
}

uint64_t sop_ctl__now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}
