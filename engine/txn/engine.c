/* Opening and closing an engine: newest manifest, then chain and journal; see engine.h.
 *
 * Opening costs: the manifest, the extents that its checkpoint wrote, the catalog's pages, the
 * records since the manifest. No data page is read. */
#include "engine/txn/engine.h"

#include "engine/base/codec.h"
#include "engine/base/limits.h"
#include "engine/txn/ballast.h"
#include "engine/txn/format.h"
#include "engine/txn/plan.h"

#define OPEN_TRIES_MAX           8
#define ROOM_ENOUGH              (16ull << 20) /* for any opening without a long unsynced tail */
#define QUOTA_JOURNAL_PART       16 /* of max_bytes: the largest journal file made ahead */
#define CHECKPOINT_BYTES_DEFAULT (64ull << 20)
/* What ended transactions leave to the next ones: so much, or a part of the cache budget. */
#define ARENAS_BYTES_MAX ((size_t)16 << 20)
#define ARENAS_PART      16u

/* ---- stopping ------------------------------------------------------------------------------
 */

int sop_engine_check(struct sop_engine *e, struct sop_err *err)
{
    if (atomic_load_explicit(&e->stopped, memory_order_acquire) == 0) {
        return 0;
    }
    sop_mutex_lock(&e->stop_mutex);
    struct sop_err why = e->stop_err;
    sop_mutex_unlock(&e->stop_mutex);
    return SOP_ERR(err, STOPPED, "the database stopped: %s; close and reopen it", why.text);
}

int sop_engine_stop(struct sop_engine *e, int code, const struct sop_err *why)
{
    sop_mutex_lock(&e->stop_mutex);
    if (atomic_load(&e->stopped) == 0) {
        if (why != NULL) {
            e->stop_err = *why;
        }
        atomic_store_explicit(&e->stopped, code, memory_order_release);
    }
    sop_mutex_unlock(&e->stop_mutex);
    return code;
}

int sop_engine_fatal(struct sop_engine *e, int rc, struct sop_err *err)
{
    if (rc == SOP_ERR_SEALED) {
        rc = SOP_ERR_STOPPED;
        if (err != NULL) {
            err->code = rc;
        }
    }
    return sop_engine_stop(e, rc, err);
}

int sop_engine_append_failed(struct sop_engine *e, int rc, struct sop_err *err)
{
    if (rc == SOP_ERR_NOSPACE) {
        sop_engine_short_of_space(e);
    }
    bool harmless = rc == SOP_ERR_NOSPACE || rc == SOP_ERR_NOMEM || rc == SOP_ERR_TOO_LARGE;
    return harmless ? rc : sop_engine_fatal(e, rc, err);
}

/* ---- trees and ids -------------------------------------------------------------------------
 */

/* How many trees have a smaller id. Trees lock held. */
static size_t trees_below(const struct sop_engine *e, uint64_t store)
{
    size_t low = 0;
    size_t high = e->trees_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (e->trees[middle]->id < store) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct sop_tree *tree_at(const struct sop_engine *e, size_t i, uint64_t store)
{
    return i < e->trees_count && e->trees[i]->id == store ? e->trees[i] : NULL;
}

struct sop_tree *sop_engine_tree(struct sop_engine *e, uint64_t store)
{
    sop_mutex_lock(&e->trees_mutex);
    struct sop_tree *t = tree_at(e, trees_below(e, store), store);
    sop_mutex_unlock(&e->trees_mutex);
    return t;
}

struct sop_tree *sop_engine_shown_tree(struct sop_engine *e, uint64_t store)
{
    sop_mutex_lock(&e->trees_mutex);
    struct sop_tree *t = tree_at(e, trees_below(e, store), store);
    if (t != NULL && atomic_load(&t->created) == SOP_NEVER) {
        t = NULL;
    }
    sop_mutex_unlock(&e->trees_mutex);
    return t;
}

int sop_engine_add_tree(struct sop_engine *e, struct sop_tree *t, struct sop_err *err)
{
    int rc = 0;
    sop_mutex_lock(&e->trees_mutex);
    if (e->trees_count == e->trees_cap) {
        size_t cap = e->trees_cap == 0 ? 64 : e->trees_cap * 2;
        struct sop_tree **trees = sop_realloc(e->trees, cap * sizeof(struct sop_tree *));
        if (trees == NULL) {
            rc = SOP_ERR(err, NOMEM, "keep store %" PRIu64, t->id);
        } else {
            e->trees = trees;
            e->trees_cap = cap;
        }
    }
    if (rc == 0) {
        size_t i = trees_below(e, t->id); /* nearly always the end: ids grow */
        SOP_ASSERT(tree_at(e, i, t->id) == NULL);
        memmove(&e->trees[i + 1], &e->trees[i],
                (e->trees_count - i) * sizeof(struct sop_tree *));
        e->trees[i] = t;
        e->trees_count++;
    }
    sop_mutex_unlock(&e->trees_mutex);
    return rc;
}

void sop_engine_forget_tree(struct sop_engine *e, struct sop_tree *t)
{
    SOP_ASSERT(atomic_load(&t->created) == SOP_NEVER);
    sop_mutex_lock(&e->trees_mutex);
    size_t i = trees_below(e, t->id);
    SOP_ASSERT(tree_at(e, i, t->id) == t);
    e->trees_count--;
    memmove(&e->trees[i], &e->trees[i + 1], (e->trees_count - i) * sizeof(struct sop_tree *));
    sop_mutex_unlock(&e->trees_mutex);
    sop_tree_free(t);
}

struct sop_tree *sop_engine__next_dropped(struct sop_engine *e, uint64_t after)
{
    struct sop_tree *found = NULL;
    sop_mutex_lock(&e->trees_mutex);
    for (size_t i = trees_below(e, after + 1); i < e->trees_count && found == NULL; i++) {
        found = e->trees[i]->freeing ? e->trees[i] : NULL;
    }
    sop_mutex_unlock(&e->trees_mutex);
    return found;
}

uint64_t sop_engine_new_store_id(struct sop_engine *e)
{
    return atomic_fetch_add(&e->next_store, 1);
}

uint64_t sop_engine_new_page_id(struct sop_engine *e)
{
    return atomic_fetch_add(&e->next_page, 1);
}

uint64_t sop_engine_new_item_number(struct sop_engine *e)
{
    return atomic_fetch_add_explicit(&e->next_item, 1, memory_order_relaxed) + 1;
}

int sop_engine_reserve_dirty(struct sop_engine *e, size_t more, struct sop_err *err)
{
    if (e->dirty_count + more <= e->dirty_cap) {
        return 0;
    }
    size_t cap = (e->dirty_count + more) * 2;
    uint64_t *dirty = sop_realloc(e->dirty, cap * sizeof *dirty);
    if (dirty == NULL) {
        return SOP_ERR(err, NOMEM, "remember %zu changed pages", cap);
    }
    e->dirty = dirty;
    e->dirty_cap = cap;
    return 0;
}

void sop_engine_mark_dirty(struct sop_engine *e, uint64_t page, struct sop_frame *frame)
{
    if (atomic_exchange(&frame->dirty, 1) == 0) {
        SOP_ASSERT(e->dirty_count < e->dirty_cap);
        e->dirty[e->dirty_count++] = page;
    }
}

/* ---- making and unmaking -------------------------------------------------------------------
 */

static int handle_of_page(void *arg, uint64_t page, struct sop_handle *handle,
                          struct sop_err *err)
{
    struct sop_engine *e = arg;
    return sop_extents_handle(&e->extents, page, handle, err);
}

static void on_place(void *arg, const struct sop_place *place, int change)
{
    struct sop_engine *e = arg;
    sop_files_add(&e->files, place, SOP_FILES_BODIES, change);
}

static void engine_free(struct sop_engine *e)
{
    sop_pages_fini(&e->pages);
    sop_engine_forget_idle(e);
    if (e->leader_slot != NULL) {
        sop_epoch_give(&e->epochs, e->leader_slot);
    }
    if (e->maintain_slot != NULL) {
        sop_epoch_give(&e->epochs, e->maintain_slot);
    }
    sop_epochs_fini(&e->epochs);
    sop_extents_fini(&e->extents);
    sop_cache_fini(&e->cache);
    sop_files_fini(&e->files);
    sop_packs_close(&e->packs);
    sop_packs_close(&e->reader);
    for (size_t i = 0; i < e->trees_count; i++) {
        sop_tree_free(e->trees[i]);
    }
    sop_free(e->trees);
    sop_free(e->dirty);
    sop_buf_fini(&e->record);
    for (size_t i = 0; i < SOP_CHECKPOINTS_KEPT; i++) {
        if (e->kept[i].used) {
            sop_manifest_fini(&e->kept[i].manifest);
        }
    }
    sop_mutex_fini(&e->idle_mutex);
    sop_arena_pool_fini(&e->arenas);
    sop_mutex_fini(&e->trees_mutex);
    sop_mutex_fini(&e->commit);
    sop_mutex_fini(&e->queue);
    sop_cond_fini(&e->queue_moved);
    sop_mutex_fini(&e->maintain);
    sop_mutex_fini(&e->stop_mutex);
    sop_mutex_fini(&e->thread_mutex);
    sop_cond_fini(&e->thread_wake);
    sop_free(e);
}

static struct sop_engine *engine_new(const struct sop_engine_options *o, struct sop_err *err)
{
    struct sop_engine *e = sop_calloc(1, sizeof *e);
    if (e == NULL) {
        (void)SOP_ERR(err, NOMEM, "open a database");
        return NULL;
    }
    e->options = *o;
    e->manifests_unsynced = true;   /* those before us may have left it so */
    e->ballast_open_missing = true; /* upkeep looks once */
    atomic_store(&e->space_moment, SOP_NEVER);
    atomic_store(&e->space_look_at, UINT64_MAX);
    atomic_store(&e->space_hold_at, UINT64_MAX);
    e->volume = o->volume;
    e->env = o->env;
    e->checkpoint_trigger_bytes =
        o->checkpoint_bytes != 0 ? o->checkpoint_bytes : CHECKPOINT_BYTES_DEFAULT;
    uint64_t arenas = o->cache_bytes / ARENAS_PART;
    sop_arena_pool_init(&e->arenas,
                        arenas < ARENAS_BYTES_MAX ? (size_t)arenas : ARENAS_BYTES_MAX);
    sop_mutex_init(&e->idle_mutex, SOP_RANK_LEAF);
    sop_mutex_init(&e->trees_mutex, SOP_RANK_STATE);
    sop_mutex_init(&e->commit, SOP_RANK_COMMIT);
    sop_mutex_init(&e->queue, SOP_RANK_QUEUE);
    sop_cond_init(&e->queue_moved);
    sop_mutex_init(&e->maintain, SOP_RANK_MAINTAIN);
    sop_mutex_init(&e->stop_mutex, SOP_RANK_LEAF);
    sop_mutex_init(&e->thread_mutex, SOP_RANK_LEAF);
    sop_cond_init(&e->thread_wake);
    sop_epochs_init(&e->epochs);
    sop_files_init(&e->files);
    sop_cache_init(&e->cache, &e->epochs, NULL, o->cache_bytes);
    e->cache.on_place = on_place;
    e->cache.arg = e;
    sop_extents_init(&e->extents, o->volume, &e->cache, o->database_id);
    int rc = sop_packs_open(&e->reader, o->volume, o->env, o->database_id, 0, err);
    e->cache.packs = e->reader;
    if (rc == 0) {
        rc = sop_pages_init(&e->pages, &e->cache, handle_of_page, e, err);
    }
    e->leader_slot = sop_epoch_take(&e->epochs);
    e->maintain_slot = sop_epoch_take(&e->epochs);
    if (rc == 0 && (e->leader_slot == NULL || e->maintain_slot == NULL)) {
        rc = SOP_ERR(err, NOMEM, "open a database");
    }
    if (rc != 0) {
        engine_free(e);
        return NULL;
    }
    return e;
}

/* ---- loading a manifest --------------------------------------------------------------------
 */

/* The state before anything was written: an empty catalog. */
static int load_genesis(struct sop_engine *e, struct sop_err *err)
{
    struct sop_tree *catalog = NULL;
    struct sop_frame *frame = NULL;
    struct sop_version *v = NULL;
    struct sop_layer layer;
    struct sop_slice image = {0};
    struct sop_sheet_meta meta = {.store = SOP_CATALOG_STORE, .page = SOP_CATALOG_ROOT};
    struct sop_sheet_maker maker;
    static const struct sop_order by_name = {0};
    struct sop_version_spec spec = {
        .page = SOP_CATALOG_ROOT, .exact = true, .layers = &layer, .layers_count = 1};
    int rc = sop_tree_new(&catalog, SOP_CATALOG_STORE, SOP_CATALOG_ROOT, err);
    if (rc == 0) {
        rc = sop_engine_add_tree(e, catalog, err);
        if (rc != 0) {
            sop_tree_free(catalog);
        }
    }
    if (rc == 0) {
        rc = sop_tree_reserve(catalog, &e->pages, 0, err);
    }
    if (rc == 0) {
        rc = sop_pages_frame(&e->pages, SOP_CATALOG_ROOT, &frame, err);
    }
    if (rc == 0) {
        rc = sop_engine_reserve_dirty(e, 1, err);
    }
    if (rc != 0) {
        return rc;
    }
    memset(&layer, 0, sizeof layer);
    sop_sheet_maker_init(&maker, &by_name);
    rc = sop_sheet_maker_finish(&maker, &meta, &image, err);
    sop_sheet_maker_fini(&maker);
    if (rc != 0) {
        return rc;
    }
    rc = sop_body_new(&layer.body, &e->cache, &catalog->order, image, err);
    if (rc != 0) {
        sop_free((void *)(uintptr_t)image.data);
        return rc;
    }
    rc = sop_version_new(&v, &e->cache, &spec, err);
    sop_body_unref(layer.body);
    if (rc != 0) {
        return rc;
    }
    sop_tree_set_items(catalog, 0, 0);
    atomic_store(&frame->newest, v);
    sop_engine_mark_dirty(e, SOP_CATALOG_ROOT, frame);
    atomic_store(&e->next_page, SOP_CATALOG_ROOT + 1);
    atomic_store(&e->next_store, SOP_CATALOG_STORE + 1);
    return 0;
}

static int load_tree(struct sop_engine *e, const struct sop_manifest_store *s,
                     struct sop_err *err)
{
    struct sop_tree *t = NULL;
    int rc = sop_tree_new(&t, s->store, s->root, err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_tree_reserve(t, &e->pages, 0, err);
    if (rc == 0 && sop_engine_tree(e, s->store) != NULL) {
        rc = SOP_ERR(err, DATA_LOSS, "the manifest names store %" PRIu64 " twice", s->store);
    }
    if (rc == 0) {
        rc = sop_engine_add_tree(e, t, err);
    }
    if (rc != 0) {
        sop_tree_free(t);
        return rc;
    }
    sop_tree_set_items(t, 0, s->items);
    if (s->dropping != 0) {
        t->freeing = true;
        atomic_store(&t->dropped, 0);
    }
    return 0;
}

static int load_manifest(struct sop_engine *e, const struct sop_manifest *m,
                         struct sop_err *err)
{
    int rc = sop_extents_set(&e->extents, m->extents, m->extents_count, err);
    atomic_store(&e->next_page, m->next_page);
    atomic_store(&e->next_store, m->next_store);
    for (size_t i = 0; i < m->stores_count && rc == 0; i++) {
        rc = load_tree(e, &m->stores[i], err);
    }
    for (size_t i = 0; i < m->free_pages_count && rc == 0; i++) {
        struct sop_tree *t = sop_engine_tree(e, m->free_pages[i].store);
        if (t != NULL) {
            rc = sop_tree_reserve(t, &e->pages, 1, err);
            if (rc == 0) {
                t->free_pages[t->free_count++] = m->free_pages[i].page;
            }
        }
    }
    for (size_t i = 0; i < m->files_count && rc == 0; i++) {
        struct sop_place place = {.member = m->files[i].member, .file = m->files[i].file};
        rc = sop_files_note(&e->files, &place, err);
        if (rc == 0) {
            sop_files_add(&e->files, &place, SOP_FILES_LIVE, (int64_t)m->files[i].live_bytes);
        }
    }
    if (rc == 0 && sop_engine_tree(e, SOP_CATALOG_STORE) == NULL) {
        rc = SOP_ERR(err, DATA_LOSS, "the manifest names no catalog");
    }
    e->pages.head = m->point.lsn;
    return rc;
}

/* Describes every tree from its record in the catalog at moment 0. */
static int load_catalog(struct sop_engine *e, struct sop_err *err)
{
    struct sop_scan scan;
    struct sop_tree *catalog = sop_engine_tree(e, SOP_CATALOG_STORE);
    sop_scan_init(&scan, &e->pages, catalog, e->maintain_slot, 0);
    int rc = sop_scan_first(&scan, err);
    while (rc == 0 && scan.on) {
        struct sop_item item = sop_scan_item(&scan);
        struct sop_tree *t = NULL;
        if (item.kind == SOP_VALUE_INLINE && item.value.len >= 16) {
            t = sop_engine_tree(e, sop_get_u64(item.value.data));
        }
        if (t == NULL) {
            rc = SOP_ERR(err, DATA_LOSS, "the catalog names a store that the manifest lacks");
            break;
        }
        rc = e->options.describe(e->options.arg, item.value, t, err);
        if (rc == 0) {
            rc = sop_scan_next(&scan, err);
        }
    }
    sop_scan_fini(&scan);
    return rc;
}

/* ---- replay --------------------------------------------------------------------------------
 */

static int replay_batch(struct sop_engine *e, struct sop_lsn lsn, struct sop_slice payload,
                        struct sop_err *err)
{
    struct sop_plan plan;
    sop_epoch_enter(&e->epochs, e->leader_slot);
    sop_plan_init(&plan, e, true);
    plan.lsn = lsn;
    int rc = sop_plan_decode(&plan, payload, err);
    if (rc == 0) {
        rc = sop_plan_finish(&plan, err);
    }
    sop_epoch_leave(e->leader_slot);
    if (rc == 0) {
        atomic_store(&e->next_page, plan.next_page);
        atomic_store(&e->next_store, plan.next_store);
        sop_plan_publish(&plan, lsn);
    }
    sop_plan_fini(&plan);
    sop_epoch_reclaim(&e->epochs);
    return rc;
}

/* History says that this checkpoint was complete. */
static void note_official(struct sop_engine *e, struct sop_slice payload)
{
    if (payload.len != SOP_CHECKPOINT_PAYLOAD_BYTES) {
        return;
    }
    struct sop_manifest_name *name = &e->official;
    name->lsn.slot = sop_get_u64(payload.data);
    name->lsn.record = sop_get_u64(payload.data + 8);
    name->member = sop_get_u64(payload.data + 16);
    for (size_t i = 0; i < e->passed_count; i++) {
        struct sop_passed_over *x = &e->passed[i];
        if (sop_lsn_cmp(x->lsn, name->lsn) == 0 && x->member == name->member) {
            x->official = true;
        }
    }
}

static int apply(void *arg, struct sop_lsn lsn, enum sop_record_kind kind, uint64_t member,
                 uint64_t batch, struct sop_slice payload, struct sop_err *err)
{
    struct sop_engine *e = arg;
    (void)member;
    (void)batch;
    if (kind == SOP_RECORD_BATCH || kind == SOP_RECORD_DECIDE) {
        int rc = replay_batch(e, lsn, payload, err);
        if (rc != 0) {
            return sop_err_wrap(err, rc, "replay record %" PRIu64 "/%" PRIu64, lsn.slot,
                                lsn.record);
        }
        e->open_records++;
        return 0;
    }
    if (kind == SOP_RECORD_CHECKPOINT) {
        note_official(e, payload);
    }
    if (sop_lsn_cmp(e->pages.head, lsn) < 0) { /* one slot may say several things of members */
        sop_pages_publish(&e->pages, NULL, 0, atomic_load(&e->pages.moment) + 1, lsn);
    }
    return 0;
}

/* ---- opening -------------------------------------------------------------------------------
 */

/* The state of a manifest (NULL: before anything was written), without what followed it. */
static int load_state(struct sop_engine *e, const struct sop_manifest *m, struct sop_err *err)
{
    if (m == NULL) {
        return load_genesis(e, err);
    }
    int rc = load_manifest(e, m, err);
    if (rc == 0) { /* what it shares with the older one is no reason to prefer that */
        rc = sop_extents_check(&e->extents, m->point.lsn, m->member, err);
    }
    return rc != 0 ? rc : load_catalog(e, err);
}

/* Journals that are made ahead shall not eat up a quota. */
static void size_journals(const struct sop_engine_options *e, struct sop_chain_options *o)
{
    uint64_t most = e->journal_bytes_max != 0 ? e->journal_bytes_max : SOP_JOURNAL_BYTES_MAX;
    uint64_t least = e->journal_bytes_min != 0 ? e->journal_bytes_min : SOP_JOURNAL_BYTES_MIN;
    uint64_t part = e->max_bytes / QUOTA_JOURNAL_PART;
    if (e->max_bytes != 0 && part < most) {
        most = part - part % SOP_BLOCK_BYTES;
        most = most > SOP_JOURNAL_BYTES_LEAST ? most : SOP_JOURNAL_BYTES_LEAST;
    }
    o->journal_bytes_max = most;
    o->journal_bytes_min = least < most ? least : most;
}

/* Brings a loaded state to the head. */
static int follow_chain(struct sop_engine *e, const struct sop_manifest *m, struct sop_err *err)
{
    struct sop_chain_options o = {.volume = e->volume,
                                  .env = e->env,
                                  .apply = apply,
                                  .arg = e,
                                  .observer = e->options.observer,
                                  .ignore_os_lock = e->options.ignore_os_lock,
                                  .dir_slots = e->options.chain_dir_slots,
                                  .host = e->options.host};
    memcpy(o.database_id, e->options.database_id, sizeof o.database_id);
    size_journals(&e->options, &o);
    o.start = m == NULL ? e->options.genesis : m->point;
    if (m != NULL) {
        o.state = sop_buf_slice(&m->chain_state);
    }
    int rc = sop_chain_open(&e->chain, &o, err);
    if (rc == 0 && !e->options.observer) {
        rc = sop_packs_open(&e->packs, e->volume, e->env, e->options.database_id,
                            sop_chain_member(e->chain), err);
    }
    if (rc == 0) { /* the own JOIN is history too */
        struct sop_chain_point point;
        sop_chain_point(e->chain, &point);
        if (sop_lsn_cmp(e->pages.head, point.lsn) < 0) {
            sop_pages_publish(&e->pages, NULL, 0, atomic_load(&e->pages.moment) + 1, point.lsn);
        }
    }
    return rc;
}

static void pass_over(struct sop_passed_over *list, size_t *count,
                      const struct sop_manifest_name *name, bool official,
                      const struct sop_err *why)
{
    if (*count < SOP_PASSED_OVER_MAX) {
        list[(*count)++] = (struct sop_passed_over){
            .lsn = name->lsn, .member = name->member, .official = official, .why = *why};
    }
}

/* Keeps the manifest that was opened and the next older one that can be read. One in between
 * was complete (see any_litter), and is damaged. NOMEM says nothing about it. */
static int keep_manifests(struct sop_engine *e, struct sop_manifest *take_newest,
                          const struct sop_manifest_name *names, size_t count,
                          struct sop_err *err)
{
    e->kept[0] = (struct sop_kept){.manifest = *take_newest, .used = true};
    memset(take_newest, 0, sizeof *take_newest);
    for (size_t i = 0; i < count && !e->kept[1].used; i++) {
        struct sop_manifest older;
        struct sop_err why = {0};
        if (sop_lsn_cmp(names[i].lsn, e->kept[0].manifest.point.lsn) >= 0) {
            continue;
        }
        int rc = sop_manifest_read(e->volume, names[i].lsn, names[i].member, &older, &why);
        if (rc == 0) {
            e->kept[1] = (struct sop_kept){.manifest = older, .used = true};
        } else if (rc == SOP_ERR_NOMEM) {
            *err = why;
            return rc;
        } else if (rc != SOP_ERR_NOT_FOUND) { /* swept meanwhile */
            pass_over(e->passed, &e->passed_count, &names[i], true, &why);
        }
    }
    return 0;
}

/* What an attempt left is removed, durably, before the next checkpoint is written: so one that
 * cannot be read and is older than one that can was complete. */
static bool any_litter(const struct sop_engine *e)
{
    bool any = false;
    for (size_t i = 0; i < e->passed_count; i++) {
        any = any || !e->passed[i].official;
    }
    return any;
}

/* Has an owner written a newer checkpoint since `names` were listed (SEALED)? Then what they
 * name may have been swept. */
static int moved_on(struct sop_volume *v, const struct sop_manifest_name *names, size_t count,
                    struct sop_err *err)
{
    struct sop_manifest_name *now = NULL;
    size_t now_count = 0;
    int rc = sop_manifest_list(v, &now, &now_count, err);
    if (rc == 0 && now_count > 0 && (count == 0 || sop_lsn_cmp(names[0].lsn, now[0].lsn) < 0)) {
        rc = SOP_ERR(err, SEALED, "a newer checkpoint was written meanwhile");
    }
    sop_free(now);
    return rc;
}

static bool may_be_swept(int rc)
{
    return rc == SOP_ERR_DATA_LOSS || rc == SOP_ERR_NOT_FOUND;
}

/* The manifests of an opening, newest first, and the one that it stands on. */
struct choice {
    struct sop_manifest_name *names;
    size_t count;
    size_t at; /* of the manifest in use; == count: the state before the first one */
    struct sop_manifest manifest;
    struct sop_passed_over passed[SOP_PASSED_OVER_MAX]; /* newer ones that cannot be used */
    size_t passed_count;
};

static const struct sop_manifest *chosen(const struct choice *c)
{
    return c->at < c->count ? &c->manifest : NULL;
}

/* Loads the state of the manifest c->at. *damaged: it cannot be used, though an older one may.
 */
static int load_chosen(struct sop_engine **out, const struct sop_engine_options *options,
                       struct choice *c, bool *damaged, struct sop_err *err)
{
    *damaged = false;
    if (c->at < c->count) {
        int rc = sop_manifest_read(options->volume, c->names[c->at].lsn, c->names[c->at].member,
                                   &c->manifest, err);
        if (rc != 0) {
            *damaged = rc != SOP_ERR_NOMEM && rc != SOP_ERR_VERSION;
            return rc;
        }
    }
    struct sop_engine *e = engine_new(options, err);
    if (e == NULL) {
        return err->code != 0 ? err->code : SOP_ERR_NOMEM;
    }
    int rc = load_state(e, chosen(c), err);
    if (rc != 0) {
        *damaged = rc == SOP_ERR_DATA_LOSS && c->at < c->count;
        sop_manifest_fini(&c->manifest);
        engine_free(e);
        return rc;
    }
    *out = e;
    return 0;
}

/* The state of the newest manifest that can be used. One that is damaged, or whose extents or
 * catalog are, is passed over: the next older one has all that it needs, and while only one was
 * ever written the chain still begins at its genesis. */
static int load_newest(struct sop_engine **out, const struct sop_engine_options *options,
                       struct choice *c, struct sop_err *err)
{
    for (c->at = 0;; c->at++) {
        struct sop_err why = {0};
        bool damaged = false;
        int rc = load_chosen(out, options, c, &damaged, &why);
        if (rc == 0) {
            memcpy((*out)->passed, c->passed, sizeof c->passed);
            (*out)->passed_count = c->passed_count;
            return 0;
        }
        if (may_be_swept(rc) &&
            moved_on(options->volume, c->names, c->count, err) == SOP_ERR_SEALED) {
            return SOP_ERR_SEALED;
        }
        if (!damaged) {
            *err = why;
            return rc;
        }
        pass_over(c->passed, &c->passed_count, &c->names[c->at], false, &why);
    }
}

/* The newest checkpoint of history may be newer than all whose manifests are there. */
static int note_missing(struct sop_engine *e, const struct choice *c, struct sop_err *err)
{
    const struct sop_manifest_name *newest = &e->official;
    struct sop_manifest found;
    struct sop_err why = {0};
    if (newest->lsn.slot == 0 ||
        (c->count > 0 && sop_lsn_cmp(newest->lsn, c->names[0].lsn) <= 0)) {
        return 0;
    }
    int rc = sop_manifest_read(e->volume, newest->lsn, newest->member, &found, &why);
    if (rc == 0) {
        sop_manifest_fini(&found); /* written since the list was made */
    } else if (rc == SOP_ERR_NOMEM) {
        *err = why;
        return rc;
    } else if (moved_on(e->volume, newest, 1, NULL) != SOP_ERR_SEALED) {
        pass_over(e->passed, &e->passed_count, newest, true, &why);
    }
    return 0;
}

/* The manifest in use may be whole and never have been synced: its writer was killed before it
 * made the checkpoint official. Its successor will count on it as the older one that is kept.
 */
static int settle(struct sop_engine *e, const struct choice *c, struct sop_err *err)
{
    const struct sop_manifest *m = chosen(c);
    if (m == NULL || e->options.observer ||
        (sop_lsn_cmp(e->official.lsn, m->point.lsn) == 0 && e->official.member == m->member)) {
        return 0;
    }
    return sop_manifest_settle(e->volume, m->point.lsn, m->member, err);
}

/* One try with the manifests that are there now. SEALED: look again. */
static int open_once(struct sop_engine **out, const struct sop_engine_options *options,
                     struct sop_err *err)
{
    struct choice c;
    memset(&c, 0, sizeof c);
    struct sop_engine *e = NULL;
    int rc = sop_manifest_list(options->volume, &c.names, &c.count, err);
    if (rc == 0) {
        rc = load_newest(&e, options, &c, err);
    }
    if (rc == 0) {
        rc = follow_chain(e, chosen(&c), err);
        if (rc == 0 && !options->observer) {
            /* The owner before may have gone on until it was sealed, or closed just now. Now
             * that we have joined, it writes no checkpoint more that counts. */
            rc = moved_on(options->volume, c.names, c.count, err);
        }
        bool gone = rc == SOP_ERR_SEALED || rc == SOP_ERR_DATA_LOSS;
        if (gone && c.passed_count > 0 && c.at == c.count) {
            rc = c.passed[0].why.code; /* history is gone: the manifest was needed */
            *err = c.passed[0].why;
        }
        if (may_be_swept(rc) &&
            moved_on(options->volume, c.names, c.count, NULL) == SOP_ERR_SEALED) {
            rc = SOP_ERR_SEALED;
        }
    }
    if (rc == 0) {
        rc = note_missing(e, &c, err);
    }
    rc = rc == 0 ? settle(e, &c, err) : rc;
    if (rc == 0 && c.at < c.count) {
        rc = keep_manifests(e, &c.manifest, c.names, c.count, err);
    }
    if (rc == 0) {
        e->litter = any_litter(e);
    }
    sop_manifest_fini(&c.manifest);
    sop_free(c.names);
    if (rc != 0 && e != NULL) {
        sop_chain_close(&e->chain, false, NULL);
        engine_free(e);
        e = NULL;
    }
    *out = e;
    return rc;
}

bool sop_engine_overtaken(struct sop_engine *e)
{
    struct sop_manifest_name known = {0};
    if (e->kept[0].used) {
        known.lsn = e->kept[0].manifest.point.lsn;
    }
    for (size_t i = 0; i < e->passed_count; i++) {
        if (sop_lsn_cmp(known.lsn, e->passed[i].lsn) < 0) {
            known.lsn = e->passed[i].lsn;
        }
    }
    return moved_on(e->volume, &known, 1, NULL) == SOP_ERR_SEALED;
}

static bool owner_moved_on(void *arg)
{
    return sop_engine_overtaken(arg);
}

/* As often as somebody else was faster. */
static int open_tries(struct sop_engine **out, const struct sop_engine_options *options,
                      struct sop_err *err)
{
    int rc = SOP_ERR_SEALED;
    for (int i = 0; i < OPEN_TRIES_MAX && rc == SOP_ERR_SEALED; i++) {
        memset(err, 0, sizeof *err);
        rc = open_once(out, options, err);
    }
    if (rc == SOP_ERR_SEALED) { /* no newer manifest explains what is missing */
        err->code = SOP_ERR_DATA_LOSS;
        rc = SOP_ERR_DATA_LOSS;
    }
    return rc;
}

/* An opening needs some room for the files of its member. On a full volume it gives up what is
 * set aside for it, then what is set aside for checkpoints, and makes its files small. */
static int open_with_ballast(struct sop_engine **out, const struct sop_engine_options *options,
                             struct sop_err *err)
{
    static const enum sop_ballast order[] = {SOP_BALLAST_OPEN, SOP_BALLAST_CHECKPOINT};
    struct sop_engine_options small = *options;
    small.journal_bytes_min = SOP_JOURNAL_BYTES_LEAST;
    int rc = open_tries(out, options, err);
    bool tight = rc == SOP_ERR_NOSPACE && !options->observer;
    for (size_t i = 0; i < SOP_ARRAY_LEN(order) && rc == SOP_ERR_NOSPACE && tight; i++) {
        uint64_t room = 0;
        if (i > 0 && sop_volume_space(options->volume, &room, NULL) == 0 &&
            room > ROOM_ENOUGH) {
            break; /* it is not room that is missing: inodes, perhaps */
        }
        if (sop_ballast_give_up(options->volume, order[i])) {
            rc = open_tries(out, &small, err);
        }
    }
    if (rc == SOP_ERR_NOSPACE && tight) { /* what was given up is no use to others */
        bool made = sop_ballast_make_for_opening(options->volume, NULL);
        (void)made;
    }
    if (rc == 0 && tight) {
        struct sop_engine *e = *out;
        e->options.journal_bytes_min = options->journal_bytes_min;
        e->ballast_missing = true;
        atomic_store(&e->space_short, true);
        atomic_store(&e->checkpoint_wanted, true);
    }
    return rc;
}

/* Opened with the room that was set aside: the next opening needs it again, and who knows when
 * that will be. What the predecessors left is freed at once, unless that cannot fit. */
static void free_space(struct sop_engine *e)
{
    uint64_t room = 0;
    if (sop_volume_space(e->volume, &room, NULL) != 0) {
        return;
    }
    room += sop_ballast_bytes(e->volume, SOP_BALLAST_CHECKPOINT);
    if (sop_engine__checkpoint_bytes(e, room) <= room) {
        int ignored = sop_engine_checkpoint(e, NULL); /* upkeep tries again */
        (void)ignored;
    }
}

int sop_engine_open(struct sop_engine **out, const struct sop_engine_options *options,
                    struct sop_err *err)
{
    *out = NULL;
    struct sop_err own = {0};
    struct sop_err *why = err != NULL ? err : &own;
    uint64_t begin = sop_env_mono_ns(options->env);
    int rc = open_with_ballast(out, options, why);
    if (rc != 0) {
        return rc; /* the caller names the folder */
    }
    struct sop_engine *e = *out;
    if (options->observer) { /* until here what is missing was a reason to look again */
        sop_packs_follow(e->reader, owner_moved_on, e);
    }
    e->durable = e->pages.head;
    rc = sop_engine__measure(e, why);
    e->open_ns = sop_env_mono_ns(e->env) - begin;
    if (rc != 0) {
        (void)sop_engine_close(out, false, NULL);
    } else {
        memset(why, 0, sizeof *why); /* what was looked for and not needed is no error */
        if (atomic_load(&e->space_short)) {
            free_space(e);
        }
        if (!options->observer) {
            sop_engine__space_look(e);
        }
    }
    return rc;
}

int sop_engine_close(struct sop_engine **engine, bool orderly, struct sop_err *err)
{
    struct sop_engine *e = *engine;
    *engine = NULL;
    int rc = 0;
    sop_engine_stop_thread(e);
    bool stopped = atomic_load(&e->stopped) != 0;
    if (orderly && !stopped && !e->options.observer) {
        rc = sop_engine_sync(e, err);
        if (rc == 0) {
            struct sop_err why = {0};
            if (e->checkpoint_trigger_bytes > CHECKPOINT_BYTES_DEFAULT) {
                e->checkpoint_trigger_bytes = CHECKPOINT_BYTES_DEFAULT; /* the load is over */
            }
            if (atomic_load(&e->space_short)) { /* who opens next needs room */
                atomic_store(&e->checkpoint_wanted, true);
            }
            rc = sop_engine_maintain(e, &why); /* a checkpoint if one is due */
            if (rc != 0 && err != NULL) {
                *err = why;
            }
            rc = rc == SOP_ERR_NOSPACE ? 0 : rc; /* nothing is lost without it */
        }
    }
    stopped = atomic_load(&e->stopped) != 0;
    int closed = sop_chain_close(&e->chain, orderly && !stopped, rc == 0 ? err : NULL);
    engine_free(e);
    return rc != 0 ? rc : closed;
}
