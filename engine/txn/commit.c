/* Committing: the queue, the leader, one batch from validation to acknowledgement.
 *
 * Group commit without timers: whoever finds nobody leading leads; what waits while it works
 * forms the next batch. Steps of a batch and what they cost:
 *
 *   validate      memory; a read of pages that changed since the snapshot
 *   plan, finish  memory; reads of pages that are not resident. Everything that can fail is
 * here packs sync    only when values were written: one sync a file append        one journal
 * write + one sync + one read of TEN      <- point of no return publish       memory; cannot
 * fail
 *
 * Errors before the append undo the plan and nothing has happened. Errors of the append say
 * themselves what holds (engine/chain/chain.h). */
#include "engine/base/codec.h"
#include "engine/base/limits.h"
#include "engine/txn/plan.h"
#include "engine/txn/validate.h"

/* The buffer of records stays from one batch to the next up to this size: the system takes
 * longer to give pages for a new one than it takes to fill them. */
#define RECORD_BYTES_KEPT (4u << 20)
#define TXN_BYTES_COUNTED                                                                      \
    (256u << 20) /* nearer to a full volume, what a commit adds is counted */

/* ---- what a transaction brings -------------------------------------------------------------
 */

static bool has_changes(const struct sop_txn *t)
{
    for (const struct sop_access *a = t->accesses; a != NULL; a = a->next) {
        if (a->created || a->dropped) {
            return true;
        }
        if (a->wset == NULL) {
            continue;
        }
        struct sop_wset_cursor c;
        sop_wset_cursor_init(&c, a->wset);
        for (struct sop_cell *cell = sop_wset_first(&c); cell != NULL;
             cell = sop_wset_next(&c)) {
            if (cell->change != SOP_CHANGE_NOTHING) {
                return true;
            }
        }
    }
    return false;
}

static bool only_removes(const struct sop_txn *t)
{
    for (const struct sop_access *a = t->accesses; a != NULL; a = a->next) {
        if (a->created) {
            return false;
        }
        struct sop_wset_cursor c;
        if (a->wset == NULL) {
            continue;
        }
        sop_wset_cursor_init(&c, a->wset);
        for (struct sop_cell *cell = sop_wset_first(&c); cell != NULL;
             cell = sop_wset_next(&c)) {
            if (cell->kind != SOP_VALUE_TOMBSTONE) {
                return false;
            }
        }
    }
    return true;
}

/* Bytes that the record will need. Values in packs are on the volume already. */
static uint64_t change_bytes(const struct sop_txn *t)
{
    uint64_t bytes = 0;
    for (const struct sop_access *a = t->accesses; a != NULL; a = a->next) {
        bytes += a->wset != NULL ? sop_wset_bytes(a->wset) : 0;
    }
    return bytes;
}

/* ---- merging the write sets of a batch -----------------------------------------------------
 */

struct batch {
    struct sop_engine *engine;
    struct sop_txn *txns[SOP_BATCH_TXNS_MAX];
    uint32_t count;
    struct sop_plan plan;
};

static int merge_cell(struct sop_wset *into, const struct sop_cell *from, uint8_t index,
                      struct sop_err *err)
{
    struct sop_cell *cell = NULL;
    bool added = false;
    int rc = sop_wset_put(into, from->key, &cell, &added, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_slice key = cell->key;
    struct sop_cell before = *cell;
    *cell = *from;
    cell->key = key;
    cell->flags = index;
    if (!added) { /* a blind upsert over an earlier transaction of the batch */
        cell->was = before.was;
        cell->old_place = before.old_place;
        cell->change = before.was == 1 ? SOP_CHANGE_INSERT : SOP_CHANGE_UPSERT;
    }
    return 0;
}

/* One write set with what all live transactions do to a tree. NULL in *out: nothing. */
static int merge_tree(struct batch *b, struct sop_tree *tree, struct sop_wset **out,
                      struct sop_err *err)
{
    struct sop_wset *merged = NULL;
    int rc = 0;
    *out = NULL;
    for (uint32_t i = 0; i < b->count; i++) {
        for (struct sop_access *a = b->txns[i]->accesses; a != NULL; a = a->next) {
            if (a->tree != tree || a->wset == NULL || a->dropped) {
                continue;
            }
            if (b->count == 1) {
                *out = a->wset;
                return 0;
            }
            if (merged == NULL) {
                rc = sop_wset_new(&merged, &b->plan.arena, &tree->order, err);
            }
            struct sop_wset_cursor c;
            sop_wset_cursor_init(&c, a->wset);
            for (struct sop_cell *cell = sop_wset_first(&c); cell != NULL && rc == 0;
                 cell = sop_wset_next(&c)) {
                if (cell->change != SOP_CHANGE_NOTHING) {
                    rc = merge_cell(merged, cell, (uint8_t)i, err);
                }
            }
            if (rc != 0) {
                return rc;
            }
        }
    }
    *out = merged;
    return 0;
}

/* Has the tree been merged already? An earlier transaction that only read it merged nothing. */
static bool seen_before(const struct batch *b, uint32_t upto, const struct sop_access *stop,
                        const struct sop_tree *tree)
{
    for (uint32_t i = 0; i <= upto; i++) {
        for (struct sop_access *a = b->txns[i]->accesses; a != NULL; a = a->next) {
            if (a == stop) {
                return false;
            }
            if (a->tree == tree && a->wset != NULL) {
                return true;
            }
        }
    }
    return false;
}

static int plan_batch(struct batch *b, struct sop_err *err)
{
    int rc = 0;
    for (uint32_t i = 0; i < b->count && rc == 0; i++) { /* stores first: they make roots */
        for (struct sop_access *a = b->txns[i]->accesses; a != NULL && rc == 0; a = a->next) {
            if (a->created && !a->dropped) {
                rc = sop_plan_event(&b->plan, a->tree, SOP_STORE_CREATED, a->info, err);
            } else if (a->dropped && !a->created) {
                rc = sop_plan_event(&b->plan, a->tree, SOP_STORE_REMOVED, sop_slice(NULL, 0),
                                    err);
            }
        }
    }
    for (uint32_t i = 0; i < b->count && rc == 0; i++) {
        for (struct sop_access *a = b->txns[i]->accesses; a != NULL && rc == 0; a = a->next) {
            if (a->wset == NULL || seen_before(b, i, a, a->tree)) {
                continue;
            }
            struct sop_wset *wset = NULL;
            rc = merge_tree(b, a->tree, &wset, err);
            if (rc == 0 && wset != NULL) {
                rc = sop_plan_store(&b->plan, a->tree, wset, err);
            }
        }
    }
    b->plan.txns = b->count;
    if (rc == 0) {
        rc = sop_plan_finish(&b->plan, err);
    }
    if (rc == 0) {
        rc = sop_plan_encode(&b->plan, &b->engine->record, err);
    }
    return rc;
}

/* ---- validation ----------------------------------------------------------------------------
 */

static int validate_prepared(struct sop_engine *e, struct sop_txn *t, struct sop_err *err)
{
    for (struct sop_txn *p = e->prepared; p != NULL; p = p->prepared_next) {
        if (p == t) {
            continue;
        }
        int rc = sop_validate_after(t, p, err);
        if (rc == 0) { /* and what it would change must not be what the other has read */
            rc = sop_validate_after(p, t, err);
        }
        if (rc != 0) {
            return sop_err_wrap(err, rc, "a prepared transaction holds it");
        }
    }
    return 0;
}

static int quota(struct sop_engine *e, const struct sop_txn *t, struct sop_err *err)
{
    uint64_t most = e->options.max_bytes;
    if (most == 0 || t->internal || only_removes(t)) { /* compaction gives more than it takes */
        return 0;
    }
    uint64_t now = atomic_load(&e->volume_bytes);
    uint64_t more = change_bytes(t);
    if (now + more <= most) {
        return 0;
    }
    atomic_fetch_add(&e->over_quota, 1);
    return SOP_ERR(
        err, QUOTA,
        "%" PRIu64 " bytes of files and %" PRIu64 " more would exceed the limit of %" PRIu64
        "; delete and compact, or open with a greater max_bytes (sopctl: --max-bytes)",
        now, more, most);
}

static int admit(struct batch *b, struct sop_txn *t, struct sop_err *err)
{
    struct sop_engine *e = b->engine;
    if (t->state == SOP_TXN_PREPARED) {
        return 0; /* its reservations kept it valid, for however long the others took to agree
                   */
    }
    if (sop_env_mono_ns(e->env) > t->deadline_ns) {
        return SOP_ERR(err, TIMEOUT, "the transaction took longer than its max_time");
    }
    int rc = sop_validate(t, b->plan.base, e->leader_slot, err);
    for (uint32_t i = 0; i < b->count && rc == 0; i++) {
        rc = sop_validate_after(t, b->txns[i], err);
    }
    if (rc == 0) {
        rc = validate_prepared(e, t, err);
    }
    return rc == 0 ? quota(e, t, err) : rc;
}

static void fail(struct sop_txn *t, int rc, const struct sop_err *err)
{
    t->rc = rc;
    t->err = *err;
    if (rc == SOP_ERR_CONFLICT) {
        atomic_fetch_add_explicit(&t->engine->conflicts, 1, memory_order_relaxed);
    }
}

/* ---- one batch -----------------------------------------------------------------------------
 */

static void fill_result(struct batch *b, uint64_t number, struct sop_lsn lsn)
{
    for (uint32_t i = 0; i < b->count; i++) {
        struct sop_txn *t = b->txns[i];
        t->result.id = (struct sop_txn_id){
            .member = sop_chain_member(b->engine->chain), .batch = number, .index = i};
        t->result.lsn = lsn;
        t->result.durable = b->engine->options.durability;
    }
}

static int sync_values(struct batch *b, struct sop_err *err)
{
    bool any = false;
    for (uint32_t i = 0; i < b->count; i++) {
        any = any || b->txns[i]->writes_values;
    }
    if (!any) {
        return 0;
    }
    /* In every durability: a record that nobody synced may survive a power loss all the same,
     * and then what it names must be there (docs/PROTOCOL.md section 7). */
    int rc = sop_packs_sync(b->engine->packs, err);
    return rc != 0 ? sop_engine_stop(b->engine, rc, err) : 0;
}

static void fill_sheets(void *plan)
{
    sop_plan_fill(plan);
}

/* Appends the record and publishes the plan. All memory is taken and all reading done; copying
 * items into the new sheets is left for the time that the volume needs. */
static int decide(struct batch *b, enum sop_record_kind kind, struct sop_err *err)
{
    struct sop_engine *e = b->engine;
    int rc = sync_values(b, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_slice payload = sop_buf_slice(&b->engine->record);
    struct sop_lsn lsn = {0, 0};
    bool decided = false;
    uint64_t number = sop_chain_next_batch(e->chain);
    fill_result(b, number, lsn);
    const struct sop_chain_sync sync = {.meanwhile = fill_sheets, .arg = &b->plan};
    bool durable = e->options.durability == SOP_DURABLE_COMMIT;
    rc = sop_chain_append(e->chain, kind, &payload, 1, durable ? &sync : NULL, &lsn, &decided,
                          err);
    if (rc == SOP_ERR_SEALED && decided) {
        sop_engine_stop(e, SOP_ERR_STOPPED, err); /* committed, and the last thing done here */
    } else if (rc == SOP_ERR_SEALED) { /* not committed: whoever has it now may be asked */
        sop_engine_stop(e, SOP_ERR_STOPPED, err);
        return rc;
    } else if (rc != 0) {
        return sop_engine_append_failed(e, rc, err);
    }
    SOP_ASSERT(sop_lsn_cmp(lsn, b->plan.lsn) >= 0);
    fill_result(b, number, lsn);
    atomic_fetch_add(&e->volume_bytes, e->record.len);
    sop_plan_publish(&b->plan, lsn);
    atomic_fetch_add_explicit(&e->batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->commits, b->count, memory_order_relaxed);
    return 0;
}

/* Runs transactions as one batch. Nonzero: none of the admitted ones happened, their rc is set,
 * and each may be tried alone. Commit lock held. */
static int run(struct batch *b, struct sop_txn **txns, uint32_t count)
{
    struct sop_engine *e = b->engine;
    struct sop_err err = {0};
    enum sop_record_kind kind = SOP_RECORD_BATCH;
    sop_epoch_enter(&e->epochs, e->leader_slot);
    sop_plan_init(&b->plan, e, false);
    sop_buf_clear(&e->record);
    b->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct sop_txn *t = txns[i];
        int rc = admit(b, t, &err);
        if (rc != 0) {
            fail(t, rc, &err);
            memset(&err, 0, sizeof err);
        } else if (!has_changes(t)) {
            t->rc = sop_txn_assure(t, &t->err); /* handles alone may be all that it was told */
            t->result.lsn = t->lsn;
            t->result.durable = e->options.durability;
        } else {
            kind = t->state == SOP_TXN_PREPARED ? SOP_RECORD_DECIDE : kind;
            b->txns[b->count++] = t;
        }
    }
    int rc = 0;
    if (b->count > 0) {
        rc = plan_batch(b, &err);
    }
    sop_epoch_leave(e->leader_slot);
    if (rc == 0 && b->count > 0) {
        rc = decide(b, kind, &err);
    }
    for (uint32_t i = 0; i < b->count; i++) {
        b->txns[i]->rc = rc;
        if (rc != 0) {
            b->txns[i]->err = err;
        }
    }
    sop_plan_fini(&b->plan);
    return rc;
}

/* First phase of two: validate, reserve, make the reservation durable. Commit lock held. */
static int encode_reservation(struct sop_txn *t, struct sop_buf *to, struct sop_err *err)
{
    struct sop_writer w = sop_writer(to);
    uint64_t stores = 0;
    for (struct sop_access *a = t->accesses; a != NULL; a = a->next) {
        stores += a->wset != NULL;
    }
    sop_write_u8(&w, SOP_BATCH_FORMAT);
    sop_write_varint(&w, stores);
    for (struct sop_access *a = t->accesses; a != NULL; a = a->next) {
        if (a->wset == NULL) {
            continue;
        }
        sop_write_varint(&w, a->tree->id);
        sop_write_varint(&w, sop_wset_count(a->wset));
        struct sop_wset_cursor c;
        sop_wset_cursor_init(&c, a->wset);
        for (struct sop_cell *cell = sop_wset_first(&c); cell != NULL;
             cell = sop_wset_next(&c)) {
            sop_write_blob(&w, cell->key);
        }
    }
    return sop_writer_end(&w, err);
}

static void reserve(struct batch *b, struct sop_txn *t)
{
    struct sop_engine *e = b->engine;
    struct sop_err err = {0};
    sop_epoch_enter(&e->epochs, e->leader_slot);
    sop_plan_init(&b->plan, e, false);
    sop_buf_clear(&e->record);
    b->count = 0;
    int rc = admit(b, t, &err);
    sop_epoch_leave(e->leader_slot);
    if (rc == 0) {
        rc = encode_reservation(t, &e->record, &err);
    }
    if (rc == 0 && t->writes_values) {
        rc = sop_packs_sync(e->packs, &err);
        rc = rc != 0 ? sop_engine_stop(e, rc, &err) : 0;
    }
    if (rc == 0) {
        struct sop_slice payload = sop_buf_slice(&b->engine->record);
        struct sop_lsn lsn;
        bool decided = false;
        const struct sop_chain_sync at_once = {.meanwhile = NULL};
        rc = sop_chain_append(e->chain, SOP_RECORD_PREPARED, &payload, 1, &at_once, &lsn,
                              &decided, &err);
        if (rc == 0) {
            sop_pages_publish(&e->pages, NULL, 0, b->plan.moment, lsn);
            t->state = SOP_TXN_PREPARED;
            t->prepared_next = e->prepared;
            e->prepared = t;
        } else {
            rc = sop_engine_append_failed(e, rc, &err);
        }
    }
    if (rc != 0) {
        fail(t, rc, &err);
    } else {
        t->rc = 0;
    }
    sop_plan_fini(&b->plan);
}

/* ---- the queue -----------------------------------------------------------------------------
 */

/* Takes what waits: up to a batch; prepared and preparing ones go alone. Queue lock held. */
static uint32_t take(struct sop_engine *e, struct sop_txn **txns)
{
    uint32_t count = 0;
    uint64_t bytes = 0;
    while (e->queue_first != NULL && count < SOP_BATCH_TXNS_MAX) {
        struct sop_txn *t = e->queue_first;
        bool alone = t->preparing || t->state == SOP_TXN_PREPARED;
        bool first = count == 0;
        /* Counting takes a walk over all changes: not for one that nobody waits behind. */
        uint64_t more = first && t->queue_next == NULL ? 0 : change_bytes(t);
        if (!first && (alone || bytes + more > SOP_BATCH_BYTES_SOFT)) {
            break;
        }
        e->queue_first = t->queue_next;
        if (e->queue_first == NULL) {
            e->queue_last = NULL;
        }
        txns[count++] = t;
        bytes += more;
        if (alone) {
            break;
        }
    }
    return count;
}

static void run_all(struct sop_engine *e, struct batch *b, struct sop_txn **txns,
                    uint32_t count)
{
    b->engine = e;
    sop_mutex_lock(&e->commit);
    struct sop_err err = {0};
    int stopped = sop_engine_check(e, &err);
    if (stopped != 0) {
        for (uint32_t i = 0; i < count; i++) {
            fail(txns[i], stopped, &err);
        }
    } else if (txns[0]->preparing) {
        reserve(b, txns[0]);
    } else {
        int rc = run(b, txns, count);
        if (rc != 0 && count > 1 && sop_engine_check(e, NULL) == 0) { /* nobody ended it */
            for (uint32_t i = 0; i < count;
                 i++) { /* one that is too much must not hurt others */
                if (txns[i]->rc == rc) {
                    (void)run(b, &txns[i], 1);
                }
            }
        }
    }
    if (e->record.cap > RECORD_BYTES_KEPT) {
        sop_buf_fini(&e->record);
    }
    sop_mutex_unlock(&e->commit);
    sop_epoch_reclaim(&e->epochs);
    sop_cache_trim(&e->cache);
}

/* Leads one batch. Queue lock held on entry and exit. */
static void lead(struct sop_engine *e)
{
    struct sop_txn *txns[SOP_BATCH_TXNS_MAX];
    struct batch b; /* large, and filled by run() or reserve() */
    e->leading = true;
    uint32_t count = take(e, txns);
    sop_mutex_unlock(&e->queue);
    run_all(e, &b, txns, count);
    sop_mutex_lock(&e->queue);
    for (uint32_t i = 0; i < count; i++) {
        txns[i]->done = true;
    }
    e->leading = false;
    sop_cond_broadcast(&e->queue_moved);
}

static void enqueue_and_wait(struct sop_engine *e, struct sop_txn *t)
{
    sop_mutex_lock(&e->queue);
    t->queue_next = NULL;
    t->done = false;
    if (e->queue_last == NULL) {
        e->queue_first = t;
    } else {
        e->queue_last->queue_next = t;
    }
    e->queue_last = t;
    while (!t->done) {
        if (!e->leading) {
            lead(e);
        } else {
            sop_cond_wait(&e->queue_moved, &e->queue);
        }
    }
    sop_mutex_unlock(&e->queue);
}

/* Writers pay for a checkpoint themselves when memory fills with what only the journal holds.
 */
static int make_room(struct sop_engine *e, const struct sop_txn *t, struct sop_err *err)
{
    uint64_t all = atomic_load_explicit(&e->volume_bytes, memory_order_relaxed);
    uint64_t hold_at = atomic_load_explicit(&e->space_hold_at, memory_order_relaxed);
    if (all + TXN_BYTES_COUNTED > hold_at && t->state != SOP_TXN_PREPARED &&
        all + change_bytes(t) > hold_at && !only_removes(t)) {
        int rc = sop_engine__make_space(e, change_bytes(t), err);
        if (rc != 0) {
            return rc;
        }
    }
    uint64_t dirty = atomic_load(&e->cache.dirty_bytes);
    if (dirty > e->cache.budget_bytes / 2) {
        atomic_store(&e->checkpoint_wanted, true);
    }
    if (dirty <= e->cache.budget_bytes / 4 * 3) {
        return 0;
    }
    int rc = sop_engine_checkpoint(e, err);
    return rc == SOP_ERR_NOSPACE ? rc : sop_engine_check(e, err);
}

int sop_engine_prepare(struct sop_txn *t, struct sop_err *err)
{
    SOP_ASSERT(t->state == SOP_TXN_OPEN && t->mode == SOP_WRITE);
    t->preparing = true;
    enqueue_and_wait(t->engine, t);
    t->preparing = false;
    if (t->rc != 0 && err != NULL) {
        *err = t->err;
    }
    return t->rc;
}

int sop_engine_commit(struct sop_txn *t, struct sop_err *err)
{
    struct sop_engine *e = t->engine;
    if (t->mode != SOP_WRITE) {
        t->result.lsn = t->lsn;
        t->result.durable = e->options.durability;
        return sop_txn_assure(t, err);
    }
    int rc = t->internal ? 0 : make_room(e, t, err);
    if (rc != 0) {
        return rc;
    }
    enqueue_and_wait(e, t);
    if (t->rc != 0) {
        if (err != NULL) {
            *err = t->err;
        }
        return t->rc;
    }
    if (t->state == SOP_TXN_PREPARED) {
        struct sop_txn **at = &e->prepared;
        sop_mutex_lock(&e->commit);
        while (*at != t) {
            at = &(*at)->prepared_next;
        }
        *at = t->prepared_next;
        sop_mutex_unlock(&e->commit);
    }
    t->state = SOP_TXN_ENDED;
    return 0;
}
