/* Checkpoints: the state at one LSN as immutable files, so that older history may go.
 *
 * Steps and cost (commits go on beside all but the two marked *):
 *   1* capture: L = head, what is dirty, counts, chain state            memory
 *   2  fold each dirty page at L into sheets in the own pack            writes, reads of
 * evicted 3  sync packs                                                       1 sync a file 4
 * write extents with the new handles, sync                         1 sync an extent + folder 5
 * write the manifest, sync                                         2 syncs 6* CHECKPOINT record
 * 1 sync 7  use the new extents; forget the oldest checkpoint; sweep A failure before 6 leaves
 * files that nobody names; the pages stay dirty. */
#include "engine/base/codec.h"
#include "engine/base/limits.h"
#include "engine/txn/ballast.h"
#include "engine/txn/engine.h"
#include "engine/txn/format.h"

#include <stdlib.h>

/* A run is written over an old base while it is this many times smaller. */
#define RUN_FRACTION  4
#define RUN_BYTES_MAX (64u * 1024)

/* Sheets that only pins need leave memory when what is dirty after a checkpoint is more than
 * this part of the budget. */
#define HELD_FRACTION  4
#define HELD_PER_EPOCH 512

#define HOPELESS_FACTOR 4 /* by which the estimate may be too high */

#define FREE_TRIES_MAX 4 /* before commits have to wait for the freeing of removed stores */

struct capture {
    struct sop_pin *pin;
    struct sop_manifest manifest;
    uint64_t *pages; /* dirty at L, ascending */
    size_t pages_count;
    struct sop_handle_change *changes;
    struct sop_place *written; /* in flight until the checkpoint is official */
    size_t written_count;
    struct sop_extent_ref *refs;
    size_t refs_count;
};

static int cmp_u64(const void *a, const void *b)
{
    uint64_t x = 0;
    uint64_t y = 0;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

/* ---- 1 capture -----------------------------------------------------------------------------
 */

static int capture_trees(struct sop_engine *e, uint64_t moment, struct sop_manifest *m,
                         struct sop_err *err)
{
    size_t free_count = 0;
    sop_mutex_lock(&e->trees_mutex);
    for (size_t i = 0; i < e->trees_count; i++) {
        free_count += e->trees[i]->free_count;
    }
    m->stores = sop_calloc(e->trees_count + 1, sizeof *m->stores);
    m->free_pages = sop_calloc(free_count + 1, sizeof *m->free_pages);
    if (m->stores == NULL || m->free_pages == NULL) {
        sop_mutex_unlock(&e->trees_mutex);
        return SOP_ERR(err, NOMEM, "list the stores");
    }
    for (size_t i = 0; i < e->trees_count; i++) {
        struct sop_tree *t = e->trees[i];
        bool exists =
            atomic_load(&t->created) != SOP_NEVER && atomic_load(&t->dropped) == SOP_NEVER;
        if (!exists) {
            continue;
        }
        m->stores[m->stores_count++] = (struct sop_manifest_store){
            .store = t->id, .root = t->root, .items = sop_tree_items(t, moment)};
        for (size_t k = 0; k < t->free_count; k++) {
            m->free_pages[m->free_pages_count++] =
                (struct sop_manifest_free){.store = t->id, .page = t->free_pages[k]};
        }
    }
    sop_mutex_unlock(&e->trees_mutex);
    return 0;
}

/* Takes the commit lock when no removed store has pages left. A checkpoint does not name such
 * stores: their order is told by the catalog, which has forgotten them, so whoever opened at it
 * could not walk them to free their pages. */
static int lock_without_dropped(struct sop_engine *e, struct sop_err *err)
{
    int rc = 0;
    for (int i = 0; i < FREE_TRIES_MAX && rc == 0; i++) {
        rc = sop_engine__free_dropped(e, false, err);
        sop_mutex_lock(&e->commit);
        if (rc == 0 && !sop_engine__any_dropped(e)) {
            return 0;
        }
        sop_mutex_unlock(&e->commit); /* one was removed meanwhile */
    }
    sop_mutex_lock(&e->commit);
    return rc == 0 ? sop_engine__free_dropped(e, true, err) : rc;
}

/* Commit lock held: history stands still. */
static int capture_locked(struct sop_engine *e, struct capture *c, struct sop_err *err)
{
    struct sop_manifest *m = &c->manifest;
    int rc = sop_engine_check(e, err);
    if (rc == 0 && sop_files_failed(&e->files)) { /* what it forgets to name would be swept */
        rc = SOP_ERR(err, NOMEM, "what the pack files hold was lost count of; reopen");
    }
    if (rc == 0) {
        rc = sop_pages_pin(&e->pages, &c->pin, err);
    }
    if (rc != 0) {
        return rc;
    }
    memcpy(m->database_id, e->options.database_id, sizeof m->database_id);
    sop_chain_point(e->chain, &m->point);
    SOP_ASSERT(sop_lsn_cmp(m->point.lsn, c->pin->lsn) == 0);
    m->member = sop_chain_member(e->chain);
    m->next_page = atomic_load(&e->next_page);
    m->next_store = atomic_load(&e->next_store);
    rc = sop_chain_state(e->chain, &m->chain_state, err);
    if (rc == 0) {
        rc = capture_trees(e, c->pin->moment, m, err);
    }
    if (rc == 0) {
        rc = sop_files_live(&e->files, &m->files, &m->files_count, err);
    }
    if (rc != 0) {
        return rc;
    }
    c->pages = e->dirty; /* the list goes over to the checkpoint */
    c->pages_count = e->dirty_count;
    e->dirty = NULL;
    e->dirty_count = 0;
    e->dirty_cap = 0;
    for (size_t i = 0; i < c->pages_count; i++) {
        struct sop_frame *frame = NULL;
        int found = sop_pages_frame(&e->pages, c->pages[i], &frame, NULL);
        SOP_ASSERT(found == 0);
        atomic_store(&frame->dirty, 0);
    }
    return 0;
}

static int capture(struct sop_engine *e, struct capture *c, struct sop_err *err)
{
    int rc = 0;
    if (e->options.durability != SOP_DURABLE_COMMIT) {
        rc = sop_engine_sync(e, err); /* most of it before history stands still */
    }
    struct sop_err own = {0};
    int freed = lock_without_dropped(e, rc == 0 ? err : &own);
    rc = rc == 0 ? freed : rc;
    if (rc == 0 && e->options.durability != SOP_DURABLE_COMMIT) {
        struct sop_lsn lac;
        rc = sop_packs_sync(e->packs, err);
        rc = rc == 0 ? sop_chain_sync(e->chain, &lac, err) : rc; /* L must be decided */
        rc = rc != 0 ? sop_engine_stop(e, rc, err) : 0;
    }
    if (rc == 0) {
        rc = capture_locked(e, c, err);
    }
    sop_mutex_unlock(&e->commit);
    if (rc == 0 && c->pages_count > 0) {
        qsort(c->pages, c->pages_count, sizeof *c->pages, cmp_u64);
    }
    return rc;
}

/* After a failure: what was dirty is dirty again. */
static void give_back(struct sop_engine *e, struct capture *c)
{
    struct sop_err err = {0};
    sop_mutex_lock(&e->commit);
    if (sop_engine_reserve_dirty(e, c->pages_count, &err) != 0) {
        sop_engine_stop(e, SOP_ERR_NOMEM, &err); /* nothing is lost: the journal has it all */
    } else {
        for (size_t i = 0; i < c->pages_count; i++) {
            struct sop_frame *frame = NULL;
            int found = sop_pages_frame(&e->pages, c->pages[i], &frame, NULL);
            SOP_ASSERT(found == 0);
            sop_engine_mark_dirty(e, c->pages[i], frame);
        }
    }
    sop_mutex_unlock(&e->commit);
}

static void capture_fini(struct sop_engine *e, struct capture *c)
{
    for (size_t i = 0; i < c->written_count; i++) {
        sop_files_add(&e->files, &c->written[i], SOP_FILES_INFLIGHT, -1);
    }
    if (c->pin != NULL) {
        sop_pages_unpin(&e->pages, c->pin);
    }
    sop_manifest_fini(&c->manifest);
    sop_free(c->pages);
    sop_free(c->changes);
    sop_free(c->written);
    sop_free(c->refs);
    sop_epoch_reclaim(&e->epochs);
}

/* ---- 2 fold --------------------------------------------------------------------------------
 */

static int write_image(struct sop_engine *e, struct capture *c, const struct sop_tree *t,
                       uint64_t page, struct sop_slice image, struct sop_place *place,
                       struct sop_err *err)
{
    struct sop_pack_owner owner = {.type = SOP_PACK_SHEET, .store = t->id, .page = page};
    int rc = sop_packs_append(e->packs, &owner, image, place, err);
    if (rc == 0) {
        rc = sop_files_note(&e->files, place, err);
    }
    if (rc == 0) {
        sop_files_add(&e->files, place, SOP_FILES_INFLIGHT, 1);
        c->written[c->written_count++] = *place;
        atomic_fetch_add(&e->volume_bytes, image.len);
    }
    return rc;
}

static bool same_fences(const struct sop_version *v, const struct sop_sheet *s)
{
    return sop_slice_eq(v->low, s->low) && v->has_high == s->has_high &&
           (!v->has_high || sop_slice_eq(v->high, s->high)) && s->page == v->page;
}

/* Puts a version in front of v that says the same from the pack. */
static int replace(struct sop_engine *e, struct sop_version *v, const struct sop_layer *layers,
                   uint32_t count, struct sop_err *err)
{
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
                                    .layers = layers,
                                    .layers_count = count};
    struct sop_version *fresh = NULL;
    struct sop_frame *frame = NULL;
    int rc = sop_version_new(&fresh, &e->cache, &spec, err);
    if (rc == 0) {
        rc = sop_pages_frame(&e->pages, v->page, &frame, err);
    }
    if (rc == 0 && !sop_pages_replace(&e->pages, frame, v, fresh)) {
        sop_version_drop(&e->cache, fresh); /* it has been changed since: stays as it is */
    }
    return rc;
}

/* Merges layers [0, count) of v into one sheet in the pack; gives its body. */
static int merge_to_pack(struct sop_engine *e, struct capture *c, struct sop_tree *t,
                         struct sop_version *v, uint32_t count, bool run, struct sop_body **out,
                         struct sop_place *place, struct sop_err *err)
{
    struct sop_version_spec spec = {.page = v->page,
                                    .at = v->at,
                                    .items = v->items,
                                    .level = v->level,
                                    .has_high = v->has_high,
                                    .low = v->low,
                                    .high = v->high,
                                    .layers = v->layers,
                                    .layers_count = count};
    struct sop_sheet_meta meta = {.store = t->id,
                                  .page = v->page,
                                  .level = v->level,
                                  .run = run,
                                  .lsn = v->lsn,
                                  .low = v->low,
                                  .high = v->high,
                                  .has_high = v->has_high};
    struct sop_version *part = NULL;
    struct sop_slice image = {0};
    uint32_t items = 0;
    int rc = sop_version_new(&part, &e->cache, &spec, err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_version_merge(part, &t->order, &meta, &image, &items, err);
    sop_version_drop(&e->cache, part);
    if (rc == 0 && !run && items != v->items) {
        rc = SOP_ERR(err, DATA_LOSS, "page %" PRIu64 " holds %u items, its handle says %u",
                     v->page, items, v->items);
    }
    if (rc == 0) {
        rc = write_image(e, c, t, v->page, image, place, err);
    }
    if (rc == 0) {
        rc = sop_body_new(out, &e->cache, &t->order, image, err);
        if (rc == 0) {
            sop_body_set_place(*out, place);
            return 0;
        }
    }
    sop_free((void *)(uintptr_t)image.data);
    return rc;
}

/* A sheet made by the commit path that says exactly what the handle needs: written as it is. */
static int place_as_is(struct sop_engine *e, struct capture *c, struct sop_tree *t,
                       struct sop_version *v, struct sop_body *b, struct sop_place *place,
                       bool *done, struct sop_err *err)
{
    const struct sop_sheet *s = NULL;
    int rc = sop_body_sheet(b, &s, err);
    *done = false;
    if (rc != 0 || !same_fences(v, s)) {
        return rc;
    }
    if (atomic_load(&b->placed)) {
        *place = b->place;
    } else {
        sop_sheet_seal(sop_slice(s->image, s->bytes)); /* commits leave that to us */
        rc = write_image(e, c, t, v->page, sop_slice(s->image, s->bytes), place, err);
        if (rc == 0) {
            sop_body_set_place(b, place);
        }
    }
    *done = rc == 0;
    return rc;
}

bool sop_engine__folds_to_run(const struct sop_version *v)
{
    if (v->level > 0 || !v->exact || v->layers_count < 2) {
        return false;
    }
    const struct sop_body *base = v->layers[v->layers_count - 1].body;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < v->layers_count; i++) {
        if (v->layers[i].clipped) {
            return false;
        }
        bytes += i + 1 < v->layers_count ? v->layers[i].body->bytes : 0;
    }
    return atomic_load(&base->placed) && bytes < RUN_BYTES_MAX &&
           bytes * RUN_FRACTION < base->bytes;
}

static int fold_run(struct sop_engine *e, struct capture *c, struct sop_tree *t,
                    struct sop_version *v, struct sop_handle *h, struct sop_err *err)
{
    struct sop_body *base = v->layers[v->layers_count - 1].body;
    h->base = base->place;
    bool done = false;
    int rc = 0;
    if (v->layers_count == 2) {
        rc = place_as_is(e, c, t, v, v->layers[0].body, &h->run, &done, err);
    }
    if (rc != 0 || done) {
        return rc;
    }
    struct sop_layer layers[2];
    memset(layers, 0, sizeof layers);
    rc = merge_to_pack(e, c, t, v, v->layers_count - 1, true, &layers[0].body, &h->run, err);
    if (rc == 0) {
        layers[1].body = base;
        rc = replace(e, v, layers, 2, err);
        sop_body_unref(layers[0].body);
    }
    return rc;
}

static int fold_base(struct sop_engine *e, struct capture *c, struct sop_tree *t,
                     struct sop_version *v, struct sop_handle *h, struct sop_err *err)
{
    bool done = false;
    int rc = 0;
    if (v->layers_count == 1 && v->exact && !v->layers[0].clipped) {
        rc = place_as_is(e, c, t, v, v->layers[0].body, &h->base, &done, err);
    }
    if (rc != 0 || done) {
        return rc;
    }
    struct sop_layer layer;
    memset(&layer, 0, sizeof layer);
    rc = merge_to_pack(e, c, t, v, v->layers_count, false, &layer.body, &h->base, err);
    if (rc == 0) {
        rc = replace(e, v, &layer, 1, err);
        sop_body_unref(layer.body);
    }
    return rc;
}

/* The tree that a page version belongs to, from its sheets. */
static struct sop_tree *tree_of(struct sop_engine *e, struct sop_version *v,
                                struct sop_err *err)
{
    const struct sop_sheet *s = NULL;
    if (sop_body_sheet(v->layers[0].body, &s, err) != 0) {
        return NULL;
    }
    struct sop_tree *t = sop_engine_tree(e, s->store);
    if (t == NULL) {
        (void)SOP_ERR(err, DATA_LOSS, "page %" PRIu64 " is of unknown store %" PRIu64, v->page,
                      s->store);
    }
    return t;
}

static int fold_page(struct sop_engine *e, struct capture *c, uint64_t page,
                     struct sop_handle_change *change, struct sop_err *err)
{
    struct sop_frame *frame = NULL;
    memset(change, 0, sizeof *change);
    change->page = page;
    int rc = sop_pages_frame(&e->pages, page, &frame, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_version *v = atomic_load(&frame->newest);
    while (v != NULL && v->at > c->pin->moment) {
        v = atomic_load(&v->older);
    }
    SOP_ASSERT(v != NULL); /* it was dirty at L, and L is pinned */
    if (v->free) {
        return 0;
    }
    struct sop_tree *t = tree_of(e, v, err);
    if (t == NULL) {
        return err->code;
    }
    struct sop_handle *h = &change->handle;
    h->lsn = v->lsn.slot != 0 ? v->lsn : c->manifest.point.lsn;
    h->items = v->items;
    h->level = v->level;
    rc = sop_engine__folds_to_run(v) ? fold_run(e, c, t, v, h, err)
                                     : fold_base(e, c, t, v, h, err);
    return rc != 0 ? sop_err_wrap(err, rc, "fold page %" PRIu64, page) : 0;
}

static int fold_all(struct sop_engine *e, struct capture *c, struct sop_err *err)
{
    c->changes = sop_calloc(c->pages_count + 1, sizeof *c->changes);
    c->written = sop_calloc(c->pages_count * 2 + 1, sizeof *c->written);
    if (c->changes == NULL || c->written == NULL) {
        return SOP_ERR(err, NOMEM, "checkpoint %zu pages", c->pages_count);
    }
    int rc = 0;
    for (size_t i = 0; i < c->pages_count && rc == 0; i++) {
        sop_epoch_enter(&e->epochs, e->maintain_slot);
        rc = fold_page(e, c, c->pages[i], &c->changes[i], err);
        sop_epoch_leave(e->maintain_slot);
        if (i % 64 == 63) {
            sop_cache_trim(&e->cache);
            sop_epoch_reclaim(&e->epochs);
            /* Commits must not wait for a file because upkeep is busy here. If it cannot be
             * made, the commit that needs it says so. */
            int ahead = sop_chain_prepare(e->chain, NULL);
            (void)ahead;
        }
    }
    return rc;
}

/* ---- 4, 5: extents and manifest ------------------------------------------------------------
 */

static int add_live(struct sop_manifest *m, size_t *cap, const struct sop_place *p,
                    int64_t change, struct sop_err *err)
{
    if (sop_place_none(p)) {
        return 0;
    }
    for (size_t i = m->files_count; i-- > 0;) {
        if (m->files[i].member == p->member && m->files[i].file == p->file) {
            m->files[i].live_bytes += (uint64_t)change;
            return 0;
        }
    }
    if (change <= 0) {
        return 0; /* a file that an older manifest did not count: only statistics suffer */
    }
    if (m->files_count >= *cap) {
        size_t more = m->files_count * 2 + 16;
        struct sop_manifest_file *files = sop_realloc(m->files, more * sizeof *files);
        if (files == NULL) {
            return SOP_ERR(err, NOMEM, "list pack files");
        }
        m->files = files;
        *cap = more;
    }
    m->files[m->files_count++] = (struct sop_manifest_file){
        .member = p->member, .file = p->file, .live_bytes = (uint64_t)change};
    return 0;
}

/* The manifest's live bytes: as captured, with the pages' old places out and the new in. */
static int settle_live(struct capture *c, struct sop_err *err)
{
    size_t cap = c->manifest.files_count;
    int rc = 0;
    for (size_t i = 0; i < c->pages_count && rc == 0; i++) {
        const struct sop_handle *now = &c->changes[i].handle;
        rc = add_live(&c->manifest, &cap, &now->base, now->base.bytes, err);
        if (rc == 0) {
            rc = add_live(&c->manifest, &cap, &now->run, now->run.bytes, err);
        }
    }
    for (size_t i = 0; i < c->pages_count && rc == 0; i++) {
        const struct sop_handle *old = &c->changes[i].before;
        rc = add_live(&c->manifest, &cap, &old->base, -(int64_t)old->base.bytes, err);
        if (rc == 0) {
            rc = add_live(&c->manifest, &cap, &old->run, -(int64_t)old->run.bytes, err);
        }
    }
    size_t n = 0;
    for (size_t i = 0; i < c->manifest.files_count; i++) {
        if (c->manifest.files[i].live_bytes != 0) {
            c->manifest.files[n++] = c->manifest.files[i];
        }
    }
    c->manifest.files_count = n;
    return rc;
}

static int write_files(struct sop_engine *e, struct capture *c, struct sop_err *err)
{
    struct sop_manifest *m = &c->manifest;
    int rc = sop_packs_sync(e->packs, err);
    if (rc != 0) {
        return sop_engine_stop(e, rc, err);
    }
    rc = sop_extents_write(&e->extents, c->changes, c->pages_count, m->point.lsn, m->member,
                           &c->refs, &c->refs_count, err);
    if (rc == 0) {
        rc = sop_registry_sync(e->volume, err);
    }
    if (rc == 0) {
        rc = settle_live(c, err);
    }
    if (rc == 0) {
        m->extents = sop_malloc((c->refs_count + 1) * sizeof *m->extents);
        rc = m->extents == NULL ? SOP_ERR(err, NOMEM, "list extents") : 0;
    }
    if (rc != 0) {
        return rc;
    }
    if (c->refs_count > 0) {
        memcpy(m->extents, c->refs, c->refs_count * sizeof *c->refs);
    }
    m->extents_count = c->refs_count;
    rc = sop_manifest_write(e->volume, m, err);
    if (rc != 0) { /* if it was removed again, a power loss may bring it back, complete */
        e->manifests_unsynced = true;
    }
    return rc;
}

/* ---- 6, 7: official ------------------------------------------------------------------------
 */

static int make_official(struct sop_engine *e, struct capture *c, struct sop_err *err)
{
    uint8_t payload[SOP_CHECKPOINT_PAYLOAD_BYTES];
    sop_put_u64(payload, c->manifest.point.lsn.slot);
    sop_put_u64(payload + 8, c->manifest.point.lsn.record);
    sop_put_u64(payload + 16, c->manifest.member);
    struct sop_slice part = sop_slice(payload, sizeof payload);
    const struct sop_chain_sync at_once = {.meanwhile = NULL};
    struct sop_lsn lsn;
    bool decided = false;
    sop_mutex_lock(&e->commit);
    int rc = sop_engine_check(e, err);
    if (rc == 0) {
        rc = sop_chain_append(e->chain, SOP_RECORD_CHECKPOINT, &part, 1, &at_once, &lsn,
                              &decided, err);
        if (rc == 0) {
            sop_pages_publish(&e->pages, NULL, 0, atomic_load(&e->pages.moment) + 1, lsn);
        } else {
            rc = sop_engine_append_failed(e, rc, err);
        }
    }
    sop_mutex_unlock(&e->commit);
    return rc;
}

static void install(struct sop_engine *e, struct capture *c)
{
    sop_extents_take(&e->extents, c->refs, c->refs_count);
    c->refs = NULL;
    for (size_t i = 0; i < c->pages_count; i++) {
        const struct sop_handle_change *x = &c->changes[i];
        sop_files_add(&e->files, &x->before.base, SOP_FILES_LIVE,
                      -(int64_t)x->before.base.bytes);
        sop_files_add(&e->files, &x->before.run, SOP_FILES_LIVE, -(int64_t)x->before.run.bytes);
        sop_files_add(&e->files, &x->handle.base, SOP_FILES_LIVE, x->handle.base.bytes);
        sop_files_add(&e->files, &x->handle.run, SOP_FILES_LIVE, x->handle.run.bytes);
    }
    if (e->kept[1].used) {
        sop_manifest_fini(&e->kept[1].manifest);
    }
    e->kept[1] = e->kept[0];
    e->kept[0] = (struct sop_kept){.manifest = c->manifest, .used = true};
    memset(&c->manifest, 0, sizeof c->manifest);
    e->passed_count = 0; /* the new one and the one that served are kept */
    atomic_fetch_add(&e->checkpoints, 1);
}

/* ---- 8 what pins hold ----------------------------------------------------------------------
 *
 * A checkpoint places the sheets of the newest versions. Those that were superseded since the
 * one before, and that a pin still needs, would stay in memory for as long as the pin: they are
 * put into the pack too, where the cache can leave them. Nobody names them there after this
 * process; the pack file goes when the last such body does (engine/txn/files.h). */

static int place_held(struct sop_engine *e, struct sop_body *b, struct sop_err *err)
{
    const struct sop_sheet *s = NULL;
    struct sop_place place;
    int rc = atomic_load(&b->placed) ? 0 : sop_body_sheet(b, &s, err);
    if (rc != 0 || s == NULL) {
        return rc;
    }
    struct sop_pack_owner owner = {.type = SOP_PACK_SHEET, .store = s->store, .page = s->page};
    sop_sheet_seal(sop_slice(s->image, s->bytes));
    rc = sop_packs_append(e->packs, &owner, sop_slice(s->image, s->bytes), &place, err);
    if (rc == 0) {
        rc = sop_files_note(&e->files, &place, err);
    }
    if (rc == 0) {
        sop_body_set_place(b, &place);
        atomic_fetch_add(&e->volume_bytes, s->bytes);
    }
    return rc;
}

/* What fails stays in memory: a later checkpoint tries again. */
static void place_all_held(struct sop_engine *e)
{
    struct sop_body *held[HELD_PER_EPOCH];
    struct sop_err err = {0};
    size_t count = HELD_PER_EPOCH;
    int rc = 0;
    while (count == HELD_PER_EPOCH && rc == 0) {
        sop_epoch_enter(&e->epochs, e->maintain_slot);
        count = sop_pages_held_dirty(&e->pages, held, HELD_PER_EPOCH);
        for (size_t i = 0; i < count; i++) {
            rc = rc == 0 ? place_held(e, held[i], &err) : rc;
            sop_body_unref(held[i]);
        }
        sop_epoch_leave(e->maintain_slot);
        sop_cache_trim(&e->cache);
        sop_epoch_reclaim(&e->epochs);
    }
}

/* The files of a checkpoint that failed are nobody's; one at the same L needs their names. */
static int clear_litter(struct sop_engine *e, struct sop_err *err)
{
    int rc = e->litter ? sop_engine_check(e, err) : 0;
    if (rc == 0 && e->litter) {
        rc = sop_engine__sweep_checkpoints(e, err);
        e->litter = rc != 0;
    }
    return rc;
}

static int checkpoint_once(struct sop_engine *e, struct sop_err *err)
{
    struct sop_err own = {0};
    struct sop_err *why = err != NULL ? err : &own;
    struct sop_err later = {0}; /* if it stops the database, it tells why */
    struct capture c;
    memset(&c, 0, sizeof c);
    atomic_store(&e->checkpoint_wanted, false);
    int rc = clear_litter(e, why);
    rc = rc == 0 ? capture(e, &c, why) : rc;
    if (rc == 0) {
        rc = fold_all(e, &c, why);
        if (rc == 0) {
            rc = write_files(e, &c, why);
        }
        if (rc == 0) {
            rc = make_official(e, &c, why);
        }
        if (rc == 0) {
            install(e, &c);
            if (atomic_load(&e->cache.dirty_bytes) > e->cache.budget_bytes / HELD_FRACTION) {
                place_all_held(e);
            }
            e->packed_bytes = sop_packs_appended(e->packs);
        } else {
            give_back(e, &c);
            e->litter = true;
            (void)clear_litter(e, &later);
        }
    }
    capture_fini(e, &c);
    if (rc != 0) {
        return sop_err_wrap(why, rc, "checkpoint");
    }
    rc = sop_engine__sweep(e, why);
    if (rc == 0) {
        rc = sop_engine__measure(e, why);
    }
    sop_cache_trim(&e->cache);
    return rc;
}

/* Where room is short, an attempt that cannot succeed would only fill the pack with the rest of
 * it, and the next opening needs that. */
static int foresee(struct sop_engine *e, struct sop_err *err)
{
    uint64_t room = 0;
    if (!atomic_load(&e->space_short) || sop_volume_space(e->volume, &room, NULL) != 0 ||
        room == UINT64_MAX) {
        return 0;
    }
    room += sop_ballast_bytes(e->volume, SOP_BALLAST_CHECKPOINT);
    uint64_t bytes = sop_engine__checkpoint_bytes(e, room) / HOPELESS_FACTOR;
    return bytes <= room ? 0
                         : SOP_ERR(err, NOSPACE,
                                   "a checkpoint of more than %" PRIu64 " bytes where %" PRIu64
                                   " are free; free space there",
                                   bytes, room);
}

/* One checkpoint; on a full volume with the room that is set aside for it. */
static int checkpoint_anyhow(struct sop_engine *e, struct sop_err *err)
{
    int hopeless = foresee(e, err);
    if (hopeless != 0) {
        return hopeless;
    }
    int rc = checkpoint_once(e, err);
    if (rc == SOP_ERR_NOSPACE) {
        atomic_store(&e->space_short, true);
        e->ballast_missing = true;
        if (sop_ballast_give_up(e->volume, SOP_BALLAST_CHECKPOINT)) {
            memset(err, 0, sizeof *err);
            rc = checkpoint_once(e, err);
        }
    }
    return rc;
}

/* `count` checkpoints in a row. History, extents and packs from before go with the one that
 * makes the kept ones forget them: the last of SOP_CHECKPOINTS_KEPT. The first costs what it
 * has to write, the others little more than a manifest. If one of those fails, the first still
 * counts: upkeep goes on later. */
static int checkpoints(struct sop_engine *e, int count, struct sop_err *err)
{
    struct sop_err own = {0};
    struct sop_err *why = err != NULL ? err : &own;
    struct sop_err later = {0};
    int rc = checkpoint_anyhow(e, why);
    int more = rc;
    count = atomic_load(&e->space_short) && count < SOP_CHECKPOINTS_KEPT ? SOP_CHECKPOINTS_KEPT
                                                                         : count;
    for (int i = 1; more == 0 && i < count; i++) {
        more = checkpoint_anyhow(e, &later);
        if (more == 0 && i + 1 >= SOP_CHECKPOINTS_KEPT) {
            atomic_store(&e->space_short, false);
        }
    }
    if (rc == 0 && more != 0 && more != SOP_ERR_NOSPACE) {
        *why = later;
        rc = more;
    }
    if (more == 0) {
        sop_ballast_make(e, true);
    }
    if (more == SOP_ERR_NOSPACE) { /* not again before something has changed */
        atomic_store(&e->checkpoint_wanted, false);
    }
    sop_engine__space_noted(e);
    return rc;
}

int sop_engine__checkpoint(struct sop_engine *e, struct sop_err *err)
{
    return checkpoints(e, 1, err);
}

int sop_engine__checkpoint_all_kept(struct sop_engine *e, struct sop_err *err)
{
    return checkpoints(e, SOP_CHECKPOINTS_KEPT, err);
}

int sop_engine_checkpoint(struct sop_engine *e, struct sop_err *err)
{
    if (e->options.observer) {
        return SOP_ERR(err, READ_ONLY, "checkpoint: the database is open read-only");
    }
    sop_mutex_lock(&e->maintain);
    int rc = sop_engine__checkpoint(e, err);
    sop_mutex_unlock(&e->maintain);
    return rc;
}
