/* Commit in an open slot (docs/PROTOCOL.md section 7), seen by its owner.
 *
 *   SERVING ── TEN found dead ──► stopped; the taker's cut decides (SEALED)
 *      │
 *      └── write or sync failed ─► stopped; own TEN dead, own CUT at the last confirmed
 *                                  record (IO), or nobody can tell yet (UNKNOWN)
 *
 * A record is confirmed when it is durable and TEN was read alive after that (I4). Everything
 * acknowledged is <= the cut of every possible taker, because a taker kills TEN before it reads
 * the journal (I8). A sync that failed is never tried again: the bytes in question stay behind
 * the cut for good. */
#include "engine/chain/chain_int.h"

#include "engine/base/codec.h"

int sop_chain__usable(struct sop_chain *c, struct sop_err *err)
{
    if (c->forks != sop_forks_since()) { /* no call of the system: asked with each record */
        return SOP_ERR(err, FORKED, "opened by process %lld", (long long)c->pid);
    }
    if (c->observer) {
        return SOP_ERR(err, READ_ONLY, "an observer");
    }
    if (atomic_load(&c->stopped)) {
        return SOP_ERR(err, STOPPED, "member %" PRIu64 " stopped", c->member);
    }
    return 0;
}

/* False also if it cannot be read: then nothing is acknowledged. One unit says it on a volume
 * of one host: a kill is complete before its taker reads the journal, so whoever still sees any
 * unit alive looked before that. */
static bool ten_lives(struct sop_chain *c, struct sop_err *err)
{
    if (SOP_FAILPOINT_ERR(c->failpoints, "chain.ten_read", err) != 0) {
        return false;
    }
    _Alignas(SOP_BLOCK_BYTES) uint8_t block[SOP_BLOCK_BYTES];
    size_t len = c->volume->one_host ? SOP_FLAG_UNIT_BYTES : sizeof block;
    return sop_file_read(c->ten, 0, block, len, NULL, err) == 0 &&
           memcmp(block, c->ten_live, len) == 0;
}

/* Kills the own TEN through the descriptor that we have: no name can be in the way. */
static int kill_own_ten(struct sop_chain *c, struct sop_err *err)
{
    _Alignas(SOP_BLOCK_BYTES) uint8_t block[SOP_BLOCK_BYTES];
    sop_flag_dead_pattern(block);
    int rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.ten_kill_before", err);
    if (rc == 0) {
        rc = sop_file_write(c->ten, 0, block, sizeof block, err);
    }
    if (rc == 0) {
        rc = sop_chain__sync_file(c, c->ten, err);
    }
    if (rc == 0) {
        rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.ten_kill_after", err);
    }
    return sop_err_wrap(err, rc, "kill the own tenure");
}

/* The cut in the slot behind the tenure. NOT_FOUND: there is none yet. */
static int successor_cut(struct sop_chain *c, uint64_t *cut, struct sop_err *err)
{
    struct sop_slot s;
    int rc = sop_chain__read_slot(c, c->view.dir, c->tenure + 1, &s, err);
    if (rc != 0) {
        return rc;
    }
    *cut = s.t.cut;
    if ((s.t.flags & SOP_TICKET_FOLLOWS_OPEN) == 0 || s.t.base.slot != c->tenure ||
        (s.t.cut == c->view.lsn.record && s.t.base.record == s.t.cut &&
         s.t.base_hash != c->view.hash)) {
        rc = SOP_ERR(err, DATA_LOSS, "%s does not follow the own tenure", s.path);
    }
    sop_chain__slot_fini(&s);
    return rc;
}

/* Ends the own, sealed tenure at record `cut`, unless a taker was faster: then *cut becomes the
 * taker's. 0: *cut is decided and durable. Otherwise nobody can tell yet. */
static int end_tenure(struct sop_chain *c, uint64_t *cut, uint64_t hash, struct sop_err *err)
{
    int rc = successor_cut(c, cut, err);
    if (rc != SOP_ERR_NOT_FOUND) {
        return rc;
    }
    rc = sop_chain__gate(c, c->view.dir, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_ticket t;
    sop_chain__ticket_init(c, &t, SOP_RECORD_CUT);
    t.flags = SOP_TICKET_FOLLOWS_OPEN;
    t.base = (struct sop_lsn){.slot = c->tenure, .record = *cut};
    t.base_hash = hash;
    t.cut = *cut;
    char path[SOP_CHAIN_PATH_BYTES];
    rc = sop_chain__write_ticket(c, &t, NULL, path, err);
    if (rc != 0) {
        /* The spare may lie on the sick spot: a new file gets a second chance. */
        rc = sop_chain__write_ticket(c, &t, NULL, path, err);
    }
    enum sop_put result;
    if (rc == 0) {
        rc = sop_chain__put(c, path, t.nonce, &result, err);
    }
    if (rc == 0 && result == SOP_PUT_LOST) {
        rc = successor_cut(c, cut, err);
    } else if (rc == 0) {
        rc = sop_chain__gate(c, c->view.dir, err); /* m1 */
    }
    return rc;
}

static int unknown(struct sop_err *err, const struct sop_err *cause, const struct sop_err *why)
{
    return SOP_ERR(err, UNKNOWN, "%s; and the tenure could not be ended: %s", cause->text,
                   why->text);
}

/* The own tenure is over at `cut`: what lies behind it never was. Which batches lie between
 * LAC and a cut in front of the last record is not worth reading the journal again for. */
static void settle_end(struct sop_chain *c, uint64_t cut)
{
    sop_mutex_lock(&c->mutex);
    SOP_ASSERT(c->lac <= cut); /* I8 */
    struct sop_chain_decided_row *row = sop_chain__find_decided(&c->view, c->member);
    SOP_ASSERT(row != NULL && c->lac_batch <= row->batch);
    c->end_unclear = false;
    if (cut >= c->view.lsn.record) {
        c->lac_batch = row->batch;
        c->lac = c->view.lsn.record;
    } else if (cut == c->lac) {
        row->batch = c->lac_batch;
    } else {
        c->end_unclear = true;
        c->lac = cut;
    }
    sop_mutex_unlock(&c->mutex);
}

static void stop(struct sop_chain *c)
{
    sop_mutex_lock(&c->mutex);
    c->end_unclear = true;
    sop_mutex_unlock(&c->mutex);
    atomic_store(&c->stopped, true);
}

/* TEN is dead: somebody takes over, or began to. Every record up to the view's is durable. */
static int sealed(struct sop_chain *c, uint64_t record, bool *decided, struct sop_err *err)
{
    stop(c);
    struct sop_err cause = {0};
    struct sop_err why = {0};
    (void)SOP_ERR(&cause, SEALED, "%s", sop_err_text(SOP_ERR_SEALED));
    uint64_t cut = c->view.lsn.record;
    int rc = kill_own_ten(c, &why);
    if (rc == 0) {
        rc = end_tenure(c, &cut, c->view.hash, &why);
    }
    if (rc != 0) {
        return unknown(err, &cause, &why);
    }
    settle_end(c, cut);
    *decided = record <= cut;
    return SOP_ERR(err, SEALED, "%s", cause.text);
}

/* A write or sync of the journal failed with *cause; record `record` is in doubt. Records
 * before it that were shown and not yet synced are saved if that is still possible: only a
 * power loss may take them (SOP_DURABLE_INTERVAL, SOP_DURABLE_NONE). */
static int fail(struct sop_chain *c, uint64_t record, const struct sop_err *cause,
                bool *decided, struct sop_err *err)
{
    stop(c);
    struct sop_err why = {0};
    uint64_t cut = c->lac;
    uint64_t hash = c->lac_hash;
    if (c->view.lsn.record < record && c->lac < c->view.lsn.record &&
        sop_journal_rescue(c->journal, NULL) == 0) {
        cut = c->view.lsn.record;
        hash = c->view.hash;
    }
    int rc = kill_own_ten(c, &why);
    if (rc == 0) {
        rc = end_tenure(c, &cut, hash, &why);
    }
    if (rc != 0) {
        return unknown(err, cause, &why);
    }
    settle_end(c, cut);
    if (cut >= record) {
        *decided = true;
        return SOP_ERR(err, SEALED, "%s (it kept the last commit, after: %s)",
                       sop_err_text(SOP_ERR_SEALED), cause->text);
    }
    return SOP_ERR_SYS(err, IO, cause->sys, "%s", cause->text);
}

/* Everything up to `record` is durable, and TEN was alive after that. */
static void move_lac(struct sop_chain *c, uint64_t record, uint64_t hash, uint64_t batch)
{
    sop_mutex_lock(&c->mutex);
    SOP_ASSERT(record <= c->view.lsn.record);
    if (record > c->lac) {
        c->lac = record;
        c->lac_hash = hash;
        c->lac_batch = batch;
    }
    sop_mutex_unlock(&c->mutex);
}

/* Makes the journal durable and reads TEN: W1, R1. */
static int confirm(struct sop_chain *c, bool *decided, struct sop_err *err)
{
    uint64_t record = c->view.lsn.record;
    struct sop_err cause = {0};
    int rc = sop_journal_sync(c->journal, &cause);
    if (rc == 0) {
        rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.ack_before", &cause);
    }
    if (rc != 0) {
        return fail(c, record, &cause, decided, err);
    }
    if (!ten_lives(c, NULL)) {
        return sealed(c, record, decided, err);
    }
    SOP_ASSERT(c->lac <= record);
    move_lac(c, record, c->view.hash, c->next_batch - 1);
    *decided = true;
    return 0;
}

static bool takes_batch(enum sop_record_kind kind)
{
    return kind == SOP_RECORD_BATCH || kind == SOP_RECORD_PREPARED || kind == SOP_RECORD_DECIDE;
}

/* The record is in the journal: the view moves behind it. */
static void advance(struct sop_chain *c, enum sop_record_kind kind, uint64_t record)
{
    sop_mutex_lock(&c->mutex);
    struct sop_chain_view *v = &c->view;
    SOP_ASSERT(v->open && v->lsn.slot == c->tenure && record == v->lsn.record + 1);
    v->lsn.record = record;
    v->hash = sop_journal_hash(c->journal);
    v->tenure.next = sop_journal_next_place(c->journal);
    if (takes_batch(kind)) {
        struct sop_chain_decided_row *row = sop_chain__find_decided(v, c->member);
        SOP_ASSERT(row != NULL && row->batch + 1 == c->next_batch);
        row->batch = c->next_batch++;
    }
    sop_mutex_unlock(&c->mutex);
}

static int append(struct sop_chain *c, const struct sop_journal_entry *entry, bool *decided,
                  struct sop_err *err)
{
    uint64_t record = c->view.lsn.record + 1;
    uint64_t got;
    struct sop_err cause = {0};
    int rc = sop_journal_append(c->journal, entry, &got, &cause);
    if (rc == 0) {
        SOP_ASSERT(got == record);
        advance(c, (enum sop_record_kind)entry->kind, record);
        return 0;
    }
    bool harmless = rc == SOP_ERR_NOSPACE || rc == SOP_ERR_NOMEM || rc == SOP_ERR_TOO_LARGE;
    if (harmless && !sop_journal_broken(c->journal)) {
        if (err != NULL) {
            *err = cause;
        }
        return rc;
    }
    return fail(c, record, &cause, decided, err);
}

/* That a record is confirmed, the next one says, or the beat. Who opens after a death in
 * between copies it, and on a full volume there may be no room for a large one: the beat tells
 * at once. */
#define BEAT_RECORD_BYTES (64u * 1024)

static uint64_t bytes_of(const struct sop_slice *parts, size_t count)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += parts[i].len;
    }
    return bytes;
}

int sop_chain_append(struct sop_chain *c, enum sop_record_kind kind,
                     const struct sop_slice *payload, size_t parts,
                     const struct sop_chain_sync *sync, struct sop_lsn *lsn, bool *decided,
                     struct sop_err *err)
{
    SOP_ASSERT(takes_batch(kind) || kind == SOP_RECORD_CHECKPOINT ||
               kind == SOP_RECORD_SNAPSHOT);
    bool unused;
    decided = decided != NULL ? decided : &unused;
    *decided = false;
    int rc = sop_chain__usable(c, err);
    if (rc != 0) {
        return rc;
    }
    *lsn = (struct sop_lsn){.slot = c->tenure, .record = c->view.lsn.record + 1};
    struct sop_journal_entry entry = {.kind = (uint16_t)kind,
                                      .batch = takes_batch(kind) ? c->next_batch : 0,
                                      .lac = c->lac,
                                      .parts = payload,
                                      .part_count = parts,
                                      .meanwhile = sync != NULL ? sync->meanwhile : NULL,
                                      .arg = sync != NULL ? sync->arg : NULL};
    rc = append(c, &entry, decided, err);
    /* Without a sync, too, nothing is acknowledged in a sealed tenure (I8): who kills TEN after
     * this look finds the record in the journal. */
    if (rc == 0 && (sync != NULL || !ten_lives(c, NULL))) {
        rc = confirm(c, decided, err);
        if (rc == 0 && bytes_of(payload, parts) >= BEAT_RECORD_BYTES) {
            int ignored = sop_chain__write_beat(c, 0, NULL); /* then they are copied */
            (void)ignored;
        }
    }
    return rc;
}

int sop_chain_sync(struct sop_chain *c, struct sop_lsn *lac, struct sop_err *err)
{
    int rc = sop_chain__usable(c, err);
    if (rc != 0) {
        return rc;
    }
    bool decided = false;
    rc = confirm(c, &decided, err);
    *lac = (struct sop_lsn){.slot = c->tenure, .record = c->lac};
    return rc;
}

int sop_chain_sync_begin(struct sop_chain *c, struct sop_chain_mark *mark, struct sop_err *err)
{
    int rc = sop_chain__usable(c, err);
    if (rc == 0) {
        sop_journal_mark(c->journal, &mark->journal);
        SOP_ASSERT(mark->journal.record == c->view.lsn.record);
        mark->hash = c->view.hash;
        mark->batch = c->next_batch - 1;
    }
    return rc;
}

int sop_chain_sync_wait(struct sop_chain *c, const struct sop_chain_mark *mark,
                        struct sop_err *err)
{
    return sop_journal_settle(c->journal, &mark->journal, err);
}

int sop_chain_sync_end(struct sop_chain *c, const struct sop_chain_mark *mark, int waited,
                       struct sop_lsn *lac, struct sop_err *err)
{
    int rc = sop_chain__usable(c, err);
    if (rc != 0) {
        return rc;
    }
    bool decided = false;
    if (waited != 0) {
        struct sop_err cause = {0};
        if (err != NULL) {
            cause = *err;
        }
        rc = fail(c, c->view.lsn.record, &cause, &decided, err);
    } else if (ten_lives(c, NULL)) {
        move_lac(c, mark->journal.record, mark->hash, mark->batch);
    } else {
        rc = confirm(c, &decided, err); /* which finds it dead, too, and tells what counts */
    }
    *lac = (struct sop_lsn){.slot = c->tenure, .record = c->lac};
    return rc;
}

int sop_chain_barrier(struct sop_chain *c, struct sop_err *err)
{
    int rc = sop_chain__usable(c, err);
    if (rc != 0) {
        return rc;
    }
    return ten_lives(c, NULL) ? 0 : SOP_ERR(err, SEALED, "%s", sop_err_text(SOP_ERR_SEALED));
}

int sop_chain__leave(struct sop_chain *c, struct sop_err *err)
{
    int rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.exit_leave", err);
    if (rc != 0) {
        return rc;
    }
    uint8_t id[8];
    sop_put_u64(id, c->member);
    struct sop_slice part = sop_slice(id, sizeof id);
    struct sop_journal_entry entry = {
        .kind = SOP_RECORD_LEAVE, .lac = c->lac, .parts = &part, .part_count = 1, .last = true};
    bool decided = false;
    rc = append(c, &entry, &decided, err);
    if (rc == 0) {
        rc = confirm(c, &decided, err);
    }
    if (rc != 0) {
        return rc;
    }
    /* The beat spares the next opener copies and a scan; LEAVE alone is what counts. */
    if (sop_chain__write_beat(c, SOP_BEAT_LEFT, NULL) == 0) {
        rc = sop_chain__sync_file(c, c->beat, NULL);
        (void)rc;
    }
    return 0;
}
