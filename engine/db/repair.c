/* Repair of what keeps a whole database from being opened: the gates of its chain directories.
 *
 * Where reading begins is the older of the two kept checkpoints, so that all that an opening
 * may ask is looked at; if that way is broken, the newest, which is what openings need. While
 * only one was written the older one is the beginning of history.
 *
 * A directory is truncated only when two official checkpoints lie behind it. So what the way
 * passes was never truncated if at most one checkpoint newer than its beginning is known, by
 * name or by record (engine/chain/repair.c has the rest of the proof). */
#include "engine/base/codec.h"
#include "engine/db/db_int.h"
#include "engine/registry/registry.h"
#include "engine/txn/format.h"
#include "engine/volume/posix.h"

#include <stdio.h>
#include <unistd.h>

#define TEXT_BYTES 512

void sop_repair_options_init(struct sop_repair_options *o)
{
    memset(o, 0, sizeof *o);
    o->size = sizeof *o;
}

struct repair {
    const struct sop_db_repair_call *call;
    struct sop_identity identity;
    struct sop_manifest_name *names; /* newest first */
    size_t names_count;
    struct sop_manifest manifest; /* where reading begins; unused: at the beginning */
    struct sop_lsn start;
    struct sop_lsn newer[2]; /* checkpoints behind start that records tell of */
    size_t newer_count;      /* 2 = at least two */
    struct sop_chain *chain;
};

static void tell(const struct repair *r, int severity, const char *fmt, ...) SOP_PRINTF(3, 4);
static void tell(const struct repair *r, int severity, const char *fmt, ...)
{
    char line[TEXT_BYTES];
    va_list args;
    if (r->call->report == NULL) {
        return;
    }
    va_start(args, fmt);
    (void)vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    r->call->report(r->call->arg, severity, line);
}

/* ---- where it begins -----------------------------------------------------------------------
 */

static void count_newer(struct repair *r, struct sop_lsn lsn)
{
    if (sop_lsn_cmp(lsn, r->start) <= 0 || r->newer_count == SOP_ARRAY_LEN(r->newer)) {
        return;
    }
    for (size_t i = 0; i < r->newer_count; i++) {
        if (sop_lsn_cmp(r->newer[i], lsn) == 0) {
            return;
        }
    }
    r->newer[r->newer_count++] = lsn;
}

static int note_checkpoint(void *arg, struct sop_lsn lsn, enum sop_record_kind kind,
                           uint64_t member, uint64_t batch, struct sop_slice payload,
                           struct sop_err *err)
{
    struct repair *r = arg;
    (void)lsn;
    (void)member;
    (void)batch;
    (void)err;
    if (kind == SOP_RECORD_CHECKPOINT && payload.len == SOP_CHECKPOINT_PAYLOAD_BYTES) {
        count_newer(r, (struct sop_lsn){.slot = sop_get_u64(payload.data),
                                        .record = sop_get_u64(payload.data + 8)});
    }
    return 0;
}

/* Follows history from the i-th manifest; i == names_count: from its beginning. */
static int follow_from(struct repair *r, size_t i, struct sop_err *err)
{
    struct sop_chain_options o = {.volume = r->call->volume,
                                  .env = r->call->env,
                                  .start = r->identity.genesis,
                                  .apply = note_checkpoint,
                                  .arg = r,
                                  .host = r->call->host,
                                  .repair = true};
    memcpy(o.database_id, r->identity.database_id, sizeof o.database_id);
    int rc = 0;
    if (i < r->names_count) {
        rc =
            sop_manifest_read(o.volume, r->names[i].lsn, r->names[i].member, &r->manifest, err);
        if (rc != 0) {
            return rc;
        }
        o.start = r->manifest.point;
        o.state = sop_buf_slice(&r->manifest.chain_state);
    }
    r->start = o.start.lsn;
    r->newer_count = 0;
    for (size_t n = 0; n < r->names_count; n++) {
        count_newer(r, r->names[n].lsn);
    }
    rc = sop_chain_open(&r->chain, &o, err);
    if (rc == 0 && r->newer_count > 1) {
        rc = SOP_ERR(err, DATA_LOSS,
                     "two checkpoints are newer than the one that can be read: its chain "
                     "directory may have been truncated");
    }
    if (rc != 0) {
        (void)sop_chain_close(&r->chain, false, NULL);
        sop_manifest_fini(&r->manifest);
    }
    return rc;
}

static bool another_start_may_help(int rc)
{
    return rc == SOP_ERR_DATA_LOSS || rc == SOP_ERR_SEALED || rc == SOP_ERR_NOT_FOUND;
}

static int follow(struct repair *r, struct sop_err *err)
{
    size_t older = r->names_count > 1 ? 1 : r->names_count;
    int rc = follow_from(r, older, err);
    if (r->names_count > 0 && another_start_may_help(rc)) {
        if (err != NULL) {
            memset(err, 0, sizeof *err);
        }
        rc = follow_from(r, 0, err);
    }
    if (rc == SOP_ERR_SEALED || rc == SOP_ERR_NOT_FOUND) { /* nobody is there to wait for */
        rc = SOP_ERR_DATA_LOSS;
        if (err != NULL) {
            err->code = rc;
        }
    }
    return rc;
}

/* ---- the repair ----------------------------------------------------------------------------
 */

static void tell_gates(const struct repair *r, struct sop_repair_result *result)
{
    struct sop_chain_broken_gate gate;
    for (size_t i = 0; sop_chain_broken_gate(r->chain, i, &gate); i++) {
        tell(r, 2, "%s%s", gate.path,
             gate.absent ? " is missing" : " at byte 0: neither live nor killed");
        result->damaged++;
    }
    if (result->damaged == 0) {
        tell(r, 0, "no gate that an opening asks is damaged: nothing to repair");
    }
}

static int mend(struct repair *r, struct sop_repair_result *result, struct sop_err *err)
{
    struct sop_chain_broken_gate gate;
    int rc = sop_chain_mend(r->chain, err);
    for (size_t i = 0; rc == 0 && sop_chain_broken_gate(r->chain, i, &gate); i++) {
        tell(r, 0, "%s is live again", gate.path);
        result->repaired++;
    }
    return rc;
}

int sop_db__repair(const struct sop_db_repair_call *call, struct sop_repair_result *result,
                   struct sop_err *err)
{
    struct repair r = {.call = call};
    memset(result, 0, sizeof *result);
    int rc = sop_db__identity_read(call->volume, SOP_DB_NAME, &r.identity, err);
    if (rc == 0) {
        rc = sop_manifest_list(call->volume, &r.names, &r.names_count, err);
    }
    if (rc == 0) {
        rc = follow(&r, err);
    }
    if (rc == 0) {
        tell_gates(&r, result);
        if (!call->dry_run) {
            rc = mend(&r, result, err);
        } else if (result->damaged > 0) {
            rc = SOP_ERR(err, DATA_LOSS,
                         "%" PRIu64 " damaged gates; a repair that is no dry run mends them",
                         result->damaged);
        }
    }
    (void)sop_chain_close(&r.chain, false, NULL);
    sop_manifest_fini(&r.manifest);
    sop_free(r.names);
    return rc;
}

int sop_db_repair(const char *folder, const struct sop_repair_options *options,
                  sop_report_fn report, void *arg, struct sop_repair_result *result,
                  struct sop_err *err)
{
    struct sop_repair_result own;
    struct sop_db_repair_call call = {.env = sop_env_system(), .report = report, .arg = arg};
    char host[SOP_DB_HOST_BYTES] = {0};
    if (folder == NULL || folder[0] == 0) {
        return SOP_ERR(err, INVALID, "the folder's path is empty");
    }
    if (options != NULL && options->size != sizeof *options) {
        return SOP_ERR(err, INVALID, "options were not filled by sop_repair_options_init()");
    }
    int rc = sop_db__open_folder(folder, false, &call.volume, err);
    if (rc != 0) {
        return rc;
    }
    if (gethostname(host, sizeof host - 1) != 0) {
        host[0] = 0;
    }
    call.host = host;
    call.dry_run = options != NULL && options->dry_run;
    rc = sop_db__repair(&call, result != NULL ? result : &own, err);
    sop_volume_destroy(call.volume);
    return rc != 0 ? sop_err_wrap(err, rc, "repair %s", folder) : 0;
}
