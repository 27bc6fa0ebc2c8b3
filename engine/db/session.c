/* Transactions and snapshots of the public API over those of the engine. */
#include "engine/db/db_int.h"

#define MAX_TIME_MS_DEFAULT (15u * 60 * 1000)
#define MAX_TIME_MS_MAX     (60u * 60 * 1000)
#define RUN_TRIES_DEFAULT   16
#define RUN_PAUSE_NS_MIN    200000ull
#define RUN_PAUSE_NS_MAX    50000000ull

#define SNAPSHOT_MAGIC 0x50414e53u
struct sop_snapshot {
    uint32_t magic;
    struct sop_db *db;
    struct sop_generation *generation;
    struct sop_pin *pin;
};

void sop_txn_options_init(struct sop_txn_options *o)
{
    memset(o, 0, sizeof *o);
    o->size = sizeof *o;
    o->mode = SOP_WRITE;
    o->max_time_ms = MAX_TIME_MS_DEFAULT;
}

static int check_txn_options(const struct sop_txn_options *o, struct sop_err *err)
{
    if (o->size != sizeof *o) {
        return SOP_ERR(err, INVALID, "options were not filled by sop_txn_options_init()");
    }
    if (o->mode > SOP_NO_CHECK) {
        return SOP_ERR(err, INVALID, "transaction mode %d does not exist", (int)o->mode);
    }
    if (o->max_time_ms == 0 || o->max_time_ms > MAX_TIME_MS_MAX) {
        return SOP_ERR(err, INVALID, "max_time_ms is %u; it must be 1..%u (1 hour)",
                       o->max_time_ms, MAX_TIME_MS_MAX);
    }
    if (o->at != NULL && (o->mode == SOP_WRITE || o->mode == SOP_NO_CHECK)) {
        return SOP_ERR(err, INVALID, "a snapshot can only be read (SOP_READ)");
    }
    return 0;
}

static int check_txn(struct sop_txn *t, struct sop_err *err)
{
    if (t == NULL || t->magic != SOP_TXN_MAGIC) {
        return SOP_ERR(err, CLOSED, "the transaction has ended");
    }
    struct sop_session *s = t->user;
    return sop_db__check(s->db, err);
}

int sop_txn_begin(struct sop_txn **out, struct sop_db *db,
                  const struct sop_txn_options *options, struct sop_err *err)
{
    struct sop_txn_options defaults;
    *out = NULL;
    if (options == NULL) {
        sop_txn_options_init(&defaults);
        options = &defaults;
    }
    int rc = sop_db__check(db, err);
    if (rc == 0) {
        rc = check_txn_options(options, err);
    }
    if (rc == 0 && options->at != NULL &&
        (options->at->magic != SNAPSHOT_MAGIC || options->at->db != db)) {
        rc = SOP_ERR(err, INVALID, "the snapshot is released, or of another database");
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_session *s = sop_calloc(1, sizeof *s);
    if (s == NULL) {
        return SOP_ERR(err, NOMEM, "begin a transaction");
    }
    s->db = db;
    s->generation = sop_db__enter(db);
    struct sop_engine *e = s->generation->engine;
    struct sop_pin *at = NULL;
    if (options->at != NULL) {
        if (options->at->generation != s->generation) { /* read where it was pinned */
            sop_db__leave(db, s->generation);
            sop_mutex_lock(&db->mutex);
            s->generation = options->at->generation;
            s->generation->refs++;
            db->users++;
            sop_mutex_unlock(&db->mutex);
            e = s->generation->engine;
        }
        at = options->at->pin;
    }
    struct sop_txn *t = NULL;
    rc = sop_engine_begin(&t, e, options->mode, at, options->max_time_ms, options->memory_bytes,
                          err);
    if (rc == 0 && sop_lsn_cmp(t->lsn, options->not_before) < 0) {
        rc = sop_txn_assure(t, err);
        rc = rc != 0 ? rc
                     : SOP_ERR(err, NOT_FOUND,
                               "the newest state is %" PRIu64 "/%" PRIu64
                               ", older than %" PRIu64 "/%" PRIu64,
                               t->lsn.slot, t->lsn.record, options->not_before.slot,
                               options->not_before.record);
        sop_engine_end(t);
    }
    if (rc != 0) {
        sop_db__leave(db, s->generation);
        sop_free(s);
        return rc;
    }
    t->user = s;
    *out = t;
    return 0;
}

/* Frees everything; hooks have been called. */
static void end(struct sop_txn *t)
{
    struct sop_session *s = t->user;
    sop_txn__close_all(t);
    while (s->hooks != NULL) {
        struct sop_hook *next = s->hooks->next;
        sop_free(s->hooks);
        s->hooks = next;
    }
    sop_buf_fini(&s->answer);
    sop_buf_fini(&s->before);
    sop_engine_end(t);
    sop_db__leave(s->db, s->generation);
    sop_free(s);
}

static void call_hooks(struct sop_txn *t, bool committed, const struct sop_commit *result)
{
    struct sop_session *s = t->user;
    for (struct sop_hook *h = s->hooks; h != NULL; h = h->next) {
        h->call(h->arg, committed, committed ? result : NULL);
    }
}

/* Puts the name of the store in front of a conflict. A store that is open in the transaction no
 * more was removed by it: its number must do. */
static int name_conflict(const struct sop_txn *t, int rc, struct sop_err *err)
{
    if (rc != SOP_ERR_CONFLICT || t->conflict_store == 0) {
        return rc;
    }
    if (t->conflict_store == SOP_CATALOG_STORE) {
        return sop_err_wrap(err, rc, "the list of stores");
    }
    const struct sop_session *session = t->user;
    for (const struct sop_store *s = session->stores; s != NULL; s = s->next) {
        if (s->tree->id == t->conflict_store) {
            return sop_err_wrap(err, rc, "store %s", s->card->name);
        }
    }
    return sop_err_wrap(err, rc, "store %" PRIu64, t->conflict_store);
}

int sop_txn_commit(struct sop_txn **txn, struct sop_commit *result, struct sop_err *err)
{
    struct sop_txn *t = txn == NULL ? NULL : *txn;
    int rc = check_txn(t, err);
    if (rc != 0) {
        return rc;
    }
    if (t->state == SOP_TXN_OPEN) {
        rc = sop_txn__flush(t, err);
    }
    if (rc == 0) {
        rc = name_conflict(t, sop_engine_commit(t, err), err);
    }
    struct sop_commit done = t->result;
    if (result != NULL) {
        *result = done;
    }
    if (rc != 0 && t->state == SOP_TXN_PREPARED && sop_engine_check(t->engine, NULL) == 0) {
        return sop_err_wrap(err, rc, "commit what is prepared: it stays so, try again");
    }
    *txn = NULL;
    call_hooks(t, rc == 0, &done);
    end(t);
    return rc != 0 ? sop_err_wrap(err, rc, "commit") : 0;
}

void sop_txn_rollback(struct sop_txn **txn)
{
    struct sop_txn *t = txn == NULL ? NULL : *txn;
    if (t == NULL || check_txn(t, NULL) != 0) {
        return;
    }
    *txn = NULL;
    atomic_fetch_add_explicit(&t->engine->rollbacks, 1, memory_order_relaxed);
    call_hooks(t, false, NULL);
    end(t);
}

int sop_txn_prepare(struct sop_txn **txn, struct sop_err *err)
{
    struct sop_txn *t = txn == NULL ? NULL : *txn;
    int rc = check_txn(t, err);
    if (rc != 0) {
        return rc;
    }
    if (t->mode != SOP_WRITE || t->state != SOP_TXN_OPEN) {
        return SOP_ERR(err, INVALID, "only an open writing transaction can be prepared");
    }
    rc = sop_txn__flush(t, err);
    if (rc == 0) {
        rc = name_conflict(t, sop_engine_prepare(t, err), err);
    }
    if (rc != 0) {
        *txn = NULL;
        call_hooks(t, false, NULL);
        end(t);
        return sop_err_wrap(err, rc, "prepare");
    }
    return 0;
}

int sop_txn_on_commit(struct sop_txn *t, sop_commit_fn hook, void *arg, struct sop_err *err)
{
    int rc = check_txn(t, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_hook *h = sop_calloc(1, sizeof *h);
    if (h == NULL) {
        return SOP_ERR(err, NOMEM, "register a hook");
    }
    struct sop_session *s = t->user;
    h->call = hook;
    h->arg = arg;
    if (s->hooks_last == NULL) {
        s->hooks = h;
    } else {
        s->hooks_last->next = h;
    }
    s->hooks_last = h;
    return 0;
}

int sop_txn_run(struct sop_db *db, const struct sop_txn_options *options, unsigned tries,
                sop_txn_fn body, void *arg, struct sop_commit *result, struct sop_err *err)
{
    unsigned most = tries == 0 ? RUN_TRIES_DEFAULT : tries;
    uint64_t pause = RUN_PAUSE_NS_MIN;
    int rc = 0;
    for (unsigned i = 0; i < most; i++) {
        struct sop_txn *t = NULL;
        if (err != NULL) {
            memset(err, 0, sizeof *err);
        }
        rc = sop_txn_begin(&t, db, options, err);
        if (rc != 0) {
            return rc;
        }
        rc = body(arg, t, err);
        if (rc == 0) {
            rc = sop_txn_commit(&t, result, err);
        } else {
            sop_txn_rollback(&t);
        }
        if (rc == 0 || sop_err_class(rc) != SOP_CLASS_RESTART) {
            return rc;
        }
        uint64_t jitter = 0;
        sop_env_random(db->env, &jitter, sizeof jitter);
        sop_env_sleep_ns(db->env, pause / 2 + jitter % (pause / 2 + 1));
        pause = pause * 2 < RUN_PAUSE_NS_MAX ? pause * 2 : RUN_PAUSE_NS_MAX;
    }
    return sop_err_wrap(err, rc, "gave up after %u tries", most);
}

struct sop_lsn sop_txn_lsn(const struct sop_txn *t)
{
    return t != NULL && t->magic == SOP_TXN_MAGIC ? t->lsn : (struct sop_lsn){0, 0};
}

int sop_txn_status(struct sop_db *db, const struct sop_txn_id *id,
                   enum sop_txn_outcome *outcome, struct sop_err *err)
{
    int rc = sop_db__check(db, err);
    if (rc != 0) {
        return rc;
    }
    if (id->member == 0) {
        return SOP_ERR(err, INVALID, "the transaction changed nothing; it has no id");
    }
    struct sop_generation *g = sop_db__enter(db);
    switch (sop_chain_decided(g->engine->chain, id->member, id->batch)) {
    case SOP_DECIDED_YES:
        *outcome = SOP_COMMITTED;
        break;
    case SOP_DECIDED_NO:
        *outcome = SOP_NOT_COMMITTED;
        break;
    case SOP_DECIDED_TOO_OLD:
        *outcome = SOP_TOO_OLD_TO_TELL;
        break;
    }
    sop_db__leave(db, g);
    return 0;
}

/* ---- snapshots -----------------------------------------------------------------------------
 */

int sop_snapshot_pin(struct sop_snapshot **out, struct sop_db *db, struct sop_err *err)
{
    *out = NULL;
    int rc = sop_db__check(db, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_snapshot *s = sop_calloc(1, sizeof *s);
    if (s == NULL) {
        return SOP_ERR(err, NOMEM, "pin a snapshot");
    }
    s->magic = SNAPSHOT_MAGIC;
    s->db = db;
    s->generation = sop_db__enter(db);
    rc = sop_engine_check(s->generation->engine, err);
    if (rc == 0) {
        rc = sop_pages_pin(&s->generation->engine->pages, &s->pin, err);
    }
    if (rc != 0) {
        sop_db__leave(db, s->generation);
        sop_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void sop_snapshot_release(struct sop_snapshot **snapshot)
{
    struct sop_snapshot *s = snapshot == NULL ? NULL : *snapshot;
    if (s == NULL) {
        return;
    }
    *snapshot = NULL;
    SOP_ASSERT(s->magic == SNAPSHOT_MAGIC);
    if (sop_db__forked(s->db)) {
        return;
    }
    sop_pages_unpin(&s->generation->engine->pages, s->pin);
    sop_db__leave(s->db, s->generation);
    s->magic = 0;
    sop_free(s);
}

struct sop_lsn sop_snapshot_lsn(const struct sop_snapshot *s)
{
    return s->pin->lsn;
}
