/* Compaction: what still lives in mostly dead pack files is written again elsewhere, so that
 * the files can go.
 *
 * Sheets are found by the page id in their record and made dirty; the next checkpoint writes
 * them. Values are found by store and key in their record and moved by ordinary transactions
 * that change nothing but the place. Two checkpoints later nothing names the old files. */
#include "engine/base/limits.h"
#include "engine/txn/engine.h"

#define MOVE_BYTES_PER_TXN (8u << 20)
#define MOVE_TRIES_MAX     8

struct victim {
    uint64_t member;
    uint32_t file;
    uint64_t bytes;
};
struct compaction {
    struct sop_engine *engine;
    struct victim *victims;
    size_t count, cap;
    struct sop_txn *txn; /* moving values */
    uint64_t txn_bytes;
    bool record_failed; /* the last record was found and could not be moved */
};

/* ---- choosing ------------------------------------------------------------------------------
 */

static int consider(void *arg, uint64_t member, uint32_t file, uint64_t bytes, bool writing,
                    struct sop_err *err)
{
    struct compaction *c = arg;
    struct sop_file_use use = sop_files_get(&c->engine->files, member, file);
    if (writing || use.live <= 0 || (uint64_t)use.live * 2 > bytes) {
        return 0; /* still written, dead already (the sweep takes it), or more than half alive
                   */
    }
    if (c->count == c->cap) {
        size_t cap = c->cap == 0 ? 32 : c->cap * 2;
        struct victim *victims = sop_realloc(c->victims, cap * sizeof *victims);
        if (victims == NULL) {
            return SOP_ERR(err, NOMEM, "list pack files");
        }
        c->victims = victims;
        c->cap = cap;
    }
    c->victims[c->count++] = (struct victim){.member = member, .file = file, .bytes = bytes};
    return 0;
}

/* ---- sheets --------------------------------------------------------------------------------
 */

static bool lies_in(const struct sop_version *v, const struct victim *x)
{
    for (uint32_t i = 0; i < v->layers_count; i++) {
        const struct sop_body *b = v->layers[i].body;
        if (atomic_load(&b->placed) && b->place.member == x->member &&
            b->place.file == x->file) {
            return true;
        }
    }
    return false;
}

/* Puts the page's newest version into memory as one dirty sheet. Commit lock held, in an epoch.
 */
static int make_dirty(struct sop_engine *e, struct sop_tree *t, struct sop_frame *frame,
                      struct sop_version *v, struct sop_err *err)
{
    struct sop_sheet_meta meta = {.store = t->id,
                                  .page = v->page,
                                  .level = v->level,
                                  .lsn = v->lsn,
                                  .low = v->low,
                                  .high = v->high,
                                  .has_high = v->has_high};
    struct sop_slice image = {0};
    struct sop_layer layer;
    memset(&layer, 0, sizeof layer);
    uint32_t items = 0;
    int rc = sop_engine_reserve_dirty(e, 1, err);
    if (rc == 0) {
        rc = sop_version_merge(v, &t->order, &meta, &image, &items, err);
    }
    if (rc != 0) {
        return rc;
    }
    rc = sop_body_new(&layer.body, &e->cache, &t->order, image, err);
    if (rc != 0) {
        sop_free((void *)(uintptr_t)image.data);
        return rc;
    }
    struct sop_version_spec spec = {.page = v->page,
                                    .at = v->at,
                                    .lsn = v->lsn,
                                    .bytes_live = v->bytes_live,
                                    .items = v->items,
                                    .level = v->level,
                                    .exact = true,
                                    .has_high = v->has_high,
                                    .low = v->low,
                                    .high = v->high,
                                    .layers = &layer,
                                    .layers_count = 1};
    struct sop_version *fresh = NULL;
    rc = sop_version_new(&fresh, &e->cache, &spec, err);
    sop_body_unref(layer.body);
    if (rc == 0) {
        bool done = sop_pages_replace(&e->pages, frame, v, fresh);
        SOP_ASSERT(done); /* the commit lock keeps it the newest */
        sop_engine_mark_dirty(e, v->page, frame);
    }
    return rc;
}

static int move_sheet(struct compaction *c, const struct sop_pack_owner *owner,
                      const struct sop_place *place, struct sop_err *err)
{
    struct sop_engine *e = c->engine;
    struct sop_tree *t = sop_engine_shown_tree(e, owner->store);
    struct victim x = {.member = place->member, .file = place->file};
    if (t == NULL || atomic_load(&t->dropped) != SOP_NEVER || owner->page == 0) {
        return 0; /* nobody's any more */
    }
    sop_mutex_lock(&e->commit);
    sop_epoch_enter(&e->epochs, e->maintain_slot);
    struct sop_frame *frame = NULL;
    struct sop_version *v = NULL;
    int rc = sop_pages_frame(&e->pages, owner->page, &frame, err);
    if (rc == 0 && atomic_load(&frame->newest) == NULL) {
        struct sop_handle h;
        rc = sop_extents_handle(&e->extents, owner->page, &h, err);
        bool names = rc == 0 && ((h.base.member == x.member && h.base.file == x.file) ||
                                 (h.run.member == x.member && h.run.file == x.file));
        if (rc == 0 && names) {
            rc = sop_pages_at(&e->pages, &t->order, owner->page, atomic_load(&e->pages.moment),
                              &v, err);
        }
    } else if (rc == 0) {
        v = atomic_load(&frame->newest);
    }
    if (rc == 0 && v != NULL && !v->free && lies_in(v, &x)) {
        rc = make_dirty(e, t, frame, v, err);
    }
    sop_epoch_leave(e->maintain_slot);
    sop_mutex_unlock(&e->commit);
    return rc;
}

/* ---- values --------------------------------------------------------------------------------
 */

static void drop_txn(struct compaction *c)
{
    if (c->txn != NULL) {
        sop_engine_end(c->txn);
        c->txn = NULL;
        c->txn_bytes = 0;
    }
}

static int finish_txn(struct compaction *c, struct sop_err *err)
{
    int rc = c->txn != NULL ? sop_engine_commit(c->txn, err) : 0;
    drop_txn(c);
    return rc;
}

/* Copies a value to the current pack and makes its item name the copy, if the item still names
 * the old place. */
static int move_value(struct compaction *c, const struct sop_pack_owner *owner,
                      const struct sop_place *place, struct sop_err *err)
{
    struct sop_engine *e = c->engine;
    struct sop_tree *t = sop_engine_shown_tree(e, owner->store);
    if (t == NULL || atomic_load(&t->dropped) != SOP_NEVER) {
        return 0;
    }
    int rc = 0;
    if (c->txn == NULL) {
        rc = sop_engine_begin(&c->txn, e, SOP_WRITE, NULL, 3600000u, 0, err);
        if (rc != 0) {
            return rc;
        }
        c->txn->internal = true;
    }
    struct sop_access *a = NULL;
    bool found = false;
    struct sop_item item;
    memset(&item, 0, sizeof item);
    rc = sop_txn_access(c->txn, t, &a, err);
    struct sop_buf ride = {0};
    uint8_t old[SOP_PLACE_BYTES];
    sop_epoch_enter(&e->epochs, c->txn->slot);
    if (rc == 0) {
        rc = sop_tree_find(&e->pages, t, c->txn->moment, owner->key, &found, &item, NULL, err);
    }
    found = rc == 0 && found && item.kind == SOP_VALUE_PLACE;
    if (found) {
        struct sop_place now = sop_place_decode(item.value.data);
        found = sop_place_eq(&now, place);
        memcpy(old, item.value.data, sizeof old);
        rc = sop_buf_append(&ride, item.ride.data, item.ride.len, err);
    }
    sop_epoch_leave(c->txn->slot);
    struct sop_buf value = {0};
    struct sop_place fresh;
    if (rc == 0 && found) {
        rc = sop_packs_read(e->reader, place, SOP_PACK_VALUE, &value, err);
    }
    if (rc == 0 && found) {
        atomic_fetch_add(&e->value_writers, 1);
        rc = sop_packs_append(e->packs, owner, sop_buf_slice(&value), &fresh, err);
        if (rc == 0) {
            rc = sop_txn_wrote_value(c->txn, &fresh, err);
        }
        atomic_fetch_sub(&e->value_writers, 1);
    }
    if (rc == 0 && found) {
        uint8_t encoded[SOP_PLACE_BYTES];
        sop_place_encode(&fresh, encoded);
        struct sop_put put = {.key = owner->key,
                              .ride = sop_buf_slice(&ride),
                              .value = sop_slice(encoded, sizeof encoded),
                              .kind = SOP_VALUE_PLACE,
                              .was = 2,
                              .old_place = old};
        rc = sop_txn_put(c->txn, a, &put, err);
        c->txn_bytes += value.len;
    }
    sop_buf_fini(&ride);
    sop_buf_fini(&value);
    return rc == 0 && c->txn_bytes > MOVE_BYTES_PER_TXN ? finish_txn(c, err) : rc;
}

static int move_record(void *arg, const struct sop_pack_owner *owner,
                       const struct sop_place *place, struct sop_err *err)
{
    struct compaction *c = arg;
    int rc = owner->type == SOP_PACK_SHEET ? move_sheet(c, owner, place, err)
                                           : move_value(c, owner, place, err);
    c->record_failed = rc != 0;
    return rc;
}

/* ---- all of it -----------------------------------------------------------------------------
 */

/* What a member had not synced when it died, or a write that failed and could not be voided:
 * nobody names it, and if anybody does, the file keeps live bytes and stays. */
static int pass_gap(void *arg, uint64_t from, uint64_t until, struct sop_err *err)
{
    (void)arg;
    (void)from;
    (void)until;
    (void)err;
    return 0;
}

/* Moves what lives in one file, once. Own files have no gaps, as a rule: their payloads need
 * not be read for what is dead. */
static int try_file(struct compaction *c, const struct victim *x, bool gaps,
                    struct sop_err *err)
{
    struct sop_packs *packs = c->engine->packs;
    c->record_failed = false;
    int rc = gaps ? sop_packs_salvage(packs, x->member, x->file, move_record, pass_gap, c, err)
                  : sop_packs_scan(packs, x->member, x->file, false, move_record, c, err);
    if (rc == 0) {
        rc = finish_txn(c, err);
    }
    drop_txn(c);
    return rc;
}

/* Moves what lives in one file. A conflict with somebody's change starts the file again: what
 * was moved meanwhile no longer names the old place. */
static int empty_file(struct compaction *c, const struct victim *x, struct sop_err *err)
{
    bool gaps = x->member != sop_chain_member(c->engine->chain);
    int rc = SOP_ERR_CONFLICT;
    for (int i = 0; i < MOVE_TRIES_MAX && rc == SOP_ERR_CONFLICT; i++) {
        rc = try_file(c, x, gaps, err);
        if (rc == SOP_ERR_DATA_LOSS && !gaps && !c->record_failed) {
            gaps = true;
            rc = try_file(c, x, gaps, err);
        }
    }
    return rc == SOP_ERR_CONFLICT ? 0 : rc; /* too busy now: the next compaction gets it */
}

int sop_engine_compact(struct sop_engine *e, struct sop_err *err)
{
    if (e->options.observer) {
        return SOP_ERR(err, READ_ONLY, "compact: the database is open read-only");
    }
    struct compaction c = {.engine = e};
    sop_mutex_lock(&e->maintain);
    int rc = sop_engine__free_dropped(e, false, err);
    if (rc == 0) {
        rc = sop_engine__checkpoint(e, err);
    }
    if (rc == 0) {
        sop_packs_cut(e->packs);
        rc = sop_packs_files(e->packs, consider, &c, err);
    }
    for (size_t i = 0; i < c.count && rc == 0; i++) {
        const struct victim *x = &c.victims[i];
        if (sop_files_get(&e->files, x->member, x->file).live > 0) { /* else: swept by now */
            rc = empty_file(&c, x, err);
        }
        if (rc == 0 && atomic_load(&e->cache.dirty_bytes) > e->cache.budget_bytes / 2) {
            rc = sop_engine__checkpoint(e, err); /* memory holds what was moved until then */
        }
    }
    /* The first checkpoint names only the new places, the second makes the kept ones forget the
     * old, and its sweep removes the files. */
    if (rc == 0) {
        rc = sop_engine__checkpoint_all_kept(e, err);
    }
    sop_mutex_unlock(&e->maintain);
    sop_free(c.victims);
    return rc != 0 ? sop_err_wrap(err, rc, "compact") : 0;
}
