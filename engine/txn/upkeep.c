/* Upkeep: what keeps a database small and quick to open, done beside transactions: beat and
 * journal care, checkpoints when due, sweeping, freeing the pages of removed stores. */
#include "engine/base/limits.h"
#include "engine/txn/ballast.h"
#include "engine/txn/plan.h"

#define CHECKPOINT_SLOTS        512
#define CHECKPOINT_MEMBERS_GONE 32
#define QUIET_NS                (30ull * 1000000000)
#define ROUND_NS                1000000000ull
#define STEP_NS                 10000000ull /* how often the thread looks whether it is wanted sooner */
#define TRIGGER_BYTES_MAX       (256ull << 20) /* replayed in well under a second */
#define REPLAY_BYTES_LEAST      1024           /* a record counts as so many */
#define PACKED_FACTOR           4 /* values in packs are not replayed, but replaced ones wait to go */
#define FREE_PAGES_PER_BATCH    512
#define TREE_DEPTH_ALL          SOP_LEVELS_MAX

/* ---- durability of what was shown ----------------------------------------------------------
 */

static void note_durable(struct sop_engine *e, struct sop_lsn lac)
{
    sop_mutex_lock(&e->pages.history);
    if (sop_lsn_cmp(lac, e->durable) > 0) {
        e->durable = lac;
    }
    sop_mutex_unlock(&e->pages.history);
}

/* Commits go on while the volume works: what they append meanwhile is left to the next sync. */
int sop_engine_sync(struct sop_engine *e, struct sop_err *err)
{
    if (e->options.observer || e->options.durability == SOP_DURABLE_COMMIT) {
        return 0;
    }
    struct sop_chain_mark mark;
    sop_mutex_lock(&e->commit);
    int rc = sop_engine_check(e, err);
    if (rc == 0) {
        rc = sop_chain_sync_begin(e->chain, &mark, err);
        rc = rc != 0 ? sop_engine_fatal(e, rc, err) : 0;
    }
    sop_mutex_unlock(&e->commit);
    if (rc != 0) {
        return rc;
    }
    struct sop_lsn lac;
    rc = sop_packs_sync(e->packs, err); /* values before the records that name them */
    int waited = rc == 0 ? sop_chain_sync_wait(e->chain, &mark, err) : 0;
    sop_mutex_lock(&e->commit);
    if (rc == 0) {
        rc = sop_chain_sync_end(e->chain, &mark, waited, &lac, err);
    }
    if (rc != 0) {
        rc = sop_engine_fatal(e, rc, err);
    } else {
        note_durable(e, lac);
    }
    sop_mutex_unlock(&e->commit);
    return rc;
}

struct sop_lsn sop_engine_durable(struct sop_engine *e)
{
    sop_mutex_lock(&e->pages.history);
    struct sop_lsn lsn = e->durable;
    sop_mutex_unlock(&e->pages.history);
    return lsn;
}

/* ---- measuring -----------------------------------------------------------------------------
 */

struct measure {
    struct sop_volume *volume;
    uint64_t bytes;
    char path[512];
    int depth;
};

static int measure_name(void *arg, const char *name, struct sop_err *err)
{
    struct measure *m = arg;
    size_t len = strlen(m->path);
    if (len + strlen(name) + 2 > sizeof m->path || m->depth > 6) {
        return SOP_ERR(err, NOT_A_DATABASE, "%s holds folders that are not a database's",
                       m->path);
    }
    if (len > 0) {
        m->path[len] = '/';
        strcpy(m->path + len + 1, name);
    } else {
        strcpy(m->path, name);
    }
    struct sop_stat st;
    int rc = sop_volume_stat(m->volume, m->path, &st, err);
    if (rc == 0 && st.kind == SOP_FILE_REGULAR) {
        m->bytes += st.allocated_bytes;
    } else if (rc == 0 && st.kind == SOP_FILE_DIRECTORY) {
        m->depth++;
        rc = sop_volume_list(m->volume, m->path, measure_name, m, err);
        m->depth--;
        rc = rc == SOP_ERR_NOT_FOUND ? 0 : rc; /* removed meanwhile */
    }
    m->path[len] = 0;
    return rc;
}

int sop_engine_volume_bytes(struct sop_engine *e, uint64_t *bytes, struct sop_err *err)
{
    struct measure m = {.volume = e->volume};
    int rc = sop_volume_list(e->volume, "", measure_name, &m, err);
    *bytes = m.bytes;
    return rc;
}

int sop_engine__measure(struct sop_engine *e, struct sop_err *err)
{
    if (e->options.observer) {
        return 0;
    }
    uint64_t bytes;
    int rc = sop_engine_volume_bytes(e, &bytes, err);
    if (rc == 0) {
        atomic_store(&e->volume_bytes, bytes);
        e->last_measure_ns = sop_env_mono_ns(e->env);
    }
    return rc;
}

/* ---- sweeping ------------------------------------------------------------------------------
 *
 * Garbage is what the own history says nobody names. Of members that joined later it knows
 * nothing: whoever was stopped in the middle of a sweep while another took over must not take
 * the new owner's files for garbage. Those of the own time are as dead for a taker: what made
 * them garbage was confirmed before (I8). */

static bool of_later_member(const struct sop_engine *e, uint64_t member)
{
    return member > sop_chain_member(e->chain);
}

/* A checkpoint of another member that is newer than the newest one known here is not garbage
 * before there is a newer one of our own: should ours turn out to be unusable, that one helps.
 */
static bool not_ours_to_judge(const struct sop_engine *e, uint64_t member, struct sop_lsn lsn)
{
    const struct sop_kept *k = &e->kept[0];
    bool newer = !k->used || sop_lsn_cmp(k->manifest.point.lsn, lsn) < 0;
    return of_later_member(e, member) || (newer && member != sop_chain_member(e->chain));
}

/* Nothing is swept by whoever has been relieved. */
static int still_owner(struct sop_engine *e, struct sop_err *err)
{
    int rc = sop_engine_check(e, err);
    if (rc == 0) {
        rc = sop_chain_barrier(e->chain, err);
        rc = rc == SOP_ERR_SEALED ? sop_engine_fatal(e, rc, err) : rc;
    }
    return rc;
}

static bool kept_manifest(const struct sop_engine *e, const struct sop_manifest_name *n)
{
    for (size_t i = 0; i < SOP_CHECKPOINTS_KEPT; i++) {
        const struct sop_kept *k = &e->kept[i];
        if (k->used && sop_lsn_cmp(k->manifest.point.lsn, n->lsn) == 0 &&
            k->manifest.member == n->member) {
            return true;
        }
    }
    return false;
}

/* What opening could not use and history does not name is of no use to anybody. */
static bool is_attempt(const struct sop_engine *e, const struct sop_manifest_name *n)
{
    for (size_t i = 0; i < e->passed_count; i++) {
        const struct sop_passed_over *x = &e->passed[i];
        if (sop_lsn_cmp(x->lsn, n->lsn) == 0 && x->member == n->member) {
            return !x->official;
        }
    }
    return false;
}

/* What a manifest names may go only after its own name is gone for good: a power loss could
 * bring the manifest back without its extents. */
static int sweep_manifests(struct sop_engine *e, struct sop_err *err)
{
    struct sop_manifest_name *names = NULL;
    size_t count = 0;
    int rc = sop_manifest_list(e->volume, &names, &count, err);
    for (size_t i = 0; i < count && rc == 0; i++) {
        bool garbage =
            is_attempt(e, &names[i]) || !not_ours_to_judge(e, names[i].member, names[i].lsn);
        if (garbage && !kept_manifest(e, &names[i])) {
            rc = sop_manifest_unlink(e->volume, names[i].lsn, names[i].member, err);
            e->manifests_unsynced = true;
        }
    }
    sop_free(names);
    if (rc == 0 && e->manifests_unsynced) {
        rc = sop_manifest_sync(e->volume, err);
        e->manifests_unsynced = rc != 0;
    }
    return rc;
}

static bool same_ref(const struct sop_extent_ref *a, const struct sop_extent_ref *b)
{
    return a->extent == b->extent && a->member == b->member && sop_lsn_cmp(a->lsn, b->lsn) == 0;
}

/* Is it named by a kept manifest? Refs of a manifest ascend by extent. */
static bool kept_extent(const struct sop_engine *e, const struct sop_extent_ref *ref)
{
    for (size_t i = 0; i < SOP_CHECKPOINTS_KEPT; i++) {
        const struct sop_manifest *m = &e->kept[i].manifest;
        size_t low = 0;
        size_t high = e->kept[i].used ? m->extents_count : 0;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if (m->extents[middle].extent < ref->extent) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (e->kept[i].used && low < m->extents_count && same_ref(&m->extents[low], ref)) {
            return true;
        }
    }
    return false;
}

struct list {
    struct sop_engine *engine;
    void *at;
    size_t count, cap, each;
};

static int list_add(struct list *l, const void *entry, struct sop_err *err)
{
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 64 : l->cap * 2;
        void *at = sop_realloc(l->at, cap * l->each);
        if (at == NULL) {
            return SOP_ERR(err, NOMEM, "list files");
        }
        l->at = at;
        l->cap = cap;
    }
    memcpy((uint8_t *)l->at + l->count++ * l->each, entry, l->each);
    return 0;
}

static int note_extent(void *arg, const struct sop_extent_ref *ref, struct sop_err *err)
{
    struct list *l = arg;
    return kept_extent(l->engine, ref) || not_ours_to_judge(l->engine, ref->member, ref->lsn)
               ? 0
               : list_add(l, ref, err);
}

static int sweep_extents(struct sop_engine *e, struct sop_err *err)
{
    struct list l = {.engine = e, .each = sizeof(struct sop_extent_ref)};
    int rc = sop_extent_list(e->volume, note_extent, &l, err);
    const struct sop_extent_ref *refs = l.at;
    for (size_t i = 0; i < l.count && rc == 0; i++) {
        rc = sop_extent_unlink(e->volume, &refs[i], err);
    }
    sop_free(l.at);
    return rc;
}

int sop_engine__sweep_checkpoints(struct sop_engine *e, struct sop_err *err)
{
    int rc = still_owner(e, err);
    if (rc == 0) {
        rc = sweep_manifests(e, err);
    }
    if (rc == 0) {
        rc = sweep_extents(e, err);
    }
    return rc;
}

static int note_pack(void *arg, uint64_t member, uint32_t file, uint64_t bytes, bool writing,
                     struct sop_err *err)
{
    (void)bytes;
    struct list *l = arg;
    struct sop_manifest_file f = {.member = member, .file = file};
    return writing || of_later_member(l->engine, member) ? 0 : list_add(l, &f, err);
}

static bool kept_pack(const struct sop_engine *e, uint64_t member, uint32_t file)
{
    for (size_t i = 0; i < SOP_CHECKPOINTS_KEPT; i++) {
        const struct sop_manifest *m = &e->kept[i].manifest;
        for (size_t k = 0; e->kept[i].used && k < m->files_count; k++) {
            if (m->files[k].member == member && m->files[k].file == file) {
                return true;
            }
        }
    }
    return false;
}

/* A pack goes when nothing names it and no pin is older than the moment it was found dead
 * (engine/txn/files.h). */
static int sweep_packs(struct sop_engine *e, struct sop_err *err)
{
    struct list l = {.engine = e, .each = sizeof(struct sop_manifest_file)};
    int rc = sop_packs_files(e->packs, note_pack, &l, err);
    struct sop_manifest_file *files = l.at;
    /* Values written before this look are counted in flight unless their writer is still on its
     * way to note them. */
    sop_mutex_lock(&e->commit); /* moment, pins and uses of one and the same history */
    bool own_in_doubt = atomic_load(&e->value_writers) != 0;
    if (rc == 0 && sop_files_failed(&e->files)) {
        l.count = 0; /* reopening counts anew */
    }
    uint64_t moment = atomic_load(&e->pages.moment);
    uint64_t oldest = 0;
    (void)sop_pages_oldest(&e->pages, &oldest);
    size_t dead_count = 0;
    for (size_t i = 0; i < l.count && rc == 0; i++) {
        uint64_t member = files[i].member;
        uint32_t file = files[i].file;
        if (own_in_doubt && member == sop_chain_member(e->chain)) {
            continue;
        }
        struct sop_file_use use = sop_files_get(&e->files, member, file);
        bool dead = use.live <= 0 && use.bodies == 0 && use.inflight == 0 &&
                    !kept_pack(e, member, file);
        sop_files_mark(&e->files, member, file, dead ? moment : SOP_NEVER);
        use = sop_files_get(&e->files, member, file);
        if (dead && use.dead_since != 0 && oldest + 1 >= use.dead_since) {
            files[dead_count++] = files[i];
        }
    }
    sop_mutex_unlock(&e->commit);
    if (rc == 0 && dead_count > 0) { /* the records that made them garbage must be decided */
        rc = sop_engine_sync(e, err);
    }
    for (size_t i = 0; i < dead_count && rc == 0; i++) {
        rc = sop_packs_unlink(e->packs, files[i].member, files[i].file, err);
        sop_packs_forget(e->reader, files[i].member, files[i].file);
        sop_files_forget(&e->files, files[i].member, files[i].file);
    }
    sop_free(l.at);
    return rc;
}

int sop_engine__sweep(struct sop_engine *e, struct sop_err *err)
{
    if (!e->kept[0].used) {
        return 0;
    }
    int rc = sop_engine__sweep_checkpoints(e, err);
    if (rc == 0) {
        rc = sweep_packs(e, err);
    }
    if (rc == 0 && e->kept[1].used) {
        rc = sop_chain_trim(e->chain, &e->kept[1].manifest.point, err);
        rc = rc == SOP_ERR_SEALED ? sop_engine_fatal(e, rc, err) : rc;
    }
    return rc != 0 ? sop_err_wrap(err, rc, "sweep") : 0;
}

/* ---- freeing removed stores ----------------------------------------------------------------
 */

struct freeing {
    struct sop_engine *engine;
    struct sop_tree *tree;
    uint64_t moment;
    struct list pages[TREE_DEPTH_ALL]; /* ids by level */
};

/* The version of a page at the head, or NULL if it has been freed already. Inside an epoch. */
static int version_if_any(struct sop_engine *e, struct sop_tree *t, uint64_t page,
                          uint64_t moment, struct sop_version **out, struct sop_err *err)
{
    struct sop_frame *frame = NULL;
    struct sop_handle h;
    *out = NULL;
    int rc = sop_pages_frame(&e->pages, page, &frame, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_version *v = atomic_load(&frame->newest);
    if (v == NULL) {
        rc = sop_extents_handle(&e->extents, page, &h, err);
        if (rc != 0 || h.lsn.slot == 0) {
            return rc;
        }
    } else if (v->free) {
        return 0;
    }
    return sop_pages_at(&e->pages, &t->order, page, moment, out, err);
}

/* Adds the children of an inner page to the list of the level below. */
static int list_children(struct freeing *f, uint64_t page, uint8_t level, struct sop_err *err)
{
    struct sop_version *v = NULL;
    struct sop_walk walk;
    int rc = version_if_any(f->engine, f->tree, page, f->moment, &v, err);
    if (rc != 0 || v == NULL) {
        return rc;
    }
    rc = sop_version_walk(v, &f->tree->order, NULL, &walk, err);
    for (bool on = rc == 0 && sop_walk_first(&walk); on && rc == 0; on = sop_walk_next(&walk)) {
        struct sop_item item = sop_walk_item(&walk);
        uint64_t id = 0;
        if (item.value.len != sizeof id) {
            return SOP_ERR(err, DATA_LOSS, "inner page %" PRIu64 " is damaged", page);
        }
        memcpy(&id, item.value.data, sizeof id);
        rc = list_add(&f->pages[level - 1], &id, err);
    }
    return rc;
}

/* Lists the pages of a removed store, level by level from the root. Pages that an earlier round
 * has freed are skipped. What a damaged page would lead to is lost: its room is never used
 * again, but the rest must not wait for it, or no checkpoint would ever be written. */
static int list_pages(struct freeing *f, struct sop_err *err)
{
    struct sop_version *v = NULL;
    uint8_t level = 0;
    int rc = version_if_any(f->engine, f->tree, f->tree->root, f->moment, &v, err);
    if (rc == 0 && v != NULL) {
        level = v->level;
    }
    if ((rc == 0 && v != NULL) || rc == SOP_ERR_DATA_LOSS) {
        rc = list_add(&f->pages[level], &f->tree->root, err);
    }
    for (; level > 0 && rc == 0; level--) {
        const uint64_t *ids = f->pages[level].at;
        for (size_t i = 0; i < f->pages[level].count && rc == 0; i++) {
            rc = list_children(f, ids[i], level, err);
            rc = rc == SOP_ERR_DATA_LOSS ? 0 : rc;
        }
    }
    return rc;
}

/* The values of a leaf go with it. */
static int free_values(struct sop_plan *p, struct sop_tree *t, struct sop_version *v,
                       struct sop_err *err)
{
    struct sop_walk walk;
    int rc = sop_version_walk(v, &t->order, NULL, &walk, err);
    for (bool on = rc == 0 && sop_walk_first(&walk); on && rc == 0; on = sop_walk_next(&walk)) {
        struct sop_item item = sop_walk_item(&walk);
        if (item.kind == SOP_VALUE_PLACE && item.value.len == SOP_PLACE_BYTES) {
            struct sop_place place = sop_place_decode(item.value.data);
            rc = sop_plan_value(p, &place, -1, err);
        }
    }
    return rc;
}

/* Frees one page, if that has not been done. A damaged one goes, too: its values, if it has
 * any, keep their files. */
static int free_page(struct sop_plan *p, struct sop_tree *t, uint8_t level, uint64_t page,
                     struct sop_err *err)
{
    struct sop_version *v = NULL;
    int rc = version_if_any(p->engine, t, page, p->base, &v, err);
    if (rc == 0 && v == NULL) {
        return 0;
    }
    if (rc == 0 && level == 0) {
        rc = free_values(p, t, v, err);
    }
    return rc == 0 || rc == SOP_ERR_DATA_LOSS ? sop_plan_free_page(p, t, page, err) : rc;
}

/* One batch that frees some pages, or says that the store is gone. Commit lock held. */
static int free_batch(struct sop_engine *e, struct sop_tree *t, uint8_t level,
                      const uint64_t *ids, size_t count, bool last, struct sop_err *err)
{
    struct sop_plan plan;
    struct sop_buf record = {0};
    sop_epoch_enter(&e->epochs, e->leader_slot);
    sop_plan_init(&plan, e, false);
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = free_page(&plan, t, level, ids[i], err);
    }
    if (rc == 0 && last) {
        rc = sop_plan_event(&plan, t, SOP_STORE_FREED, sop_slice(NULL, 0), err);
    }
    if (rc == 0) {
        rc = sop_plan_finish(&plan, err);
    }
    if (rc == 0) {
        rc = sop_plan_encode(&plan, &record, err);
    }
    sop_epoch_leave(e->leader_slot);
    if (rc == 0 && !sop_plan_empty(&plan)) {
        struct sop_slice payload = sop_buf_slice(&record);
        struct sop_lsn lsn;
        bool decided = false;
        const struct sop_chain_sync at_once = {.meanwhile = NULL};
        bool sync = e->options.durability == SOP_DURABLE_COMMIT;
        rc = sop_chain_append(e->chain, SOP_RECORD_BATCH, &payload, 1, sync ? &at_once : NULL,
                              &lsn, &decided, err);
        if (rc == 0) {
            sop_plan_publish(&plan, lsn);
        } else {
            rc = sop_engine_append_failed(e, rc, err);
        }
    }
    sop_plan_fini(&plan);
    sop_buf_fini(&record);
    return rc;
}

static void lock_unless(struct sop_engine *e, bool locked)
{
    if (!locked) {
        sop_mutex_lock(&e->commit);
    }
}

static void unlock_unless(struct sop_engine *e, bool locked)
{
    if (!locked) {
        sop_mutex_unlock(&e->commit);
    }
}

static int free_store(struct sop_engine *e, struct sop_tree *t, bool locked,
                      struct sop_err *err)
{
    struct freeing f = {.engine = e, .tree = t};
    for (size_t i = 0; i < TREE_DEPTH_ALL; i++) {
        f.pages[i].each = sizeof(uint64_t);
    }
    sop_epoch_enter(&e->epochs, e->maintain_slot);
    f.moment = atomic_load(&e->pages.moment); /* nobody changes a removed store but this */
    int rc = list_pages(&f, err);
    sop_epoch_leave(e->maintain_slot);
    for (size_t level = 0; level < TREE_DEPTH_ALL && rc == 0; level++) {
        const uint64_t *ids = f.pages[level].at;
        for (size_t i = 0; i < f.pages[level].count && rc == 0; i += FREE_PAGES_PER_BATCH) {
            size_t n = f.pages[level].count - i;
            n = n < FREE_PAGES_PER_BATCH ? n : FREE_PAGES_PER_BATCH;
            lock_unless(e, locked);
            rc = sop_engine_check(e, err);
            if (rc == 0) {
                rc = free_batch(e, t, (uint8_t)level, ids + i, n, false, err);
            }
            unlock_unless(e, locked);
            sop_epoch_reclaim(&e->epochs);
        }
    }
    if (rc == 0) {
        lock_unless(e, locked);
        rc = sop_engine_check(e, err);
        rc = rc == 0 ? free_batch(e, t, 0, NULL, 0, true, err) : rc;
        unlock_unless(e, locked);
    }
    for (size_t i = 0; i < TREE_DEPTH_ALL; i++) {
        sop_free(f.pages[i].at);
    }
    return rc != 0 ? sop_err_wrap(err, rc, "free removed store %" PRIu64, t->id) : 0;
}

bool sop_engine__any_dropped(struct sop_engine *e)
{
    return sop_engine__next_dropped(e, 0) != NULL;
}

int sop_engine__free_dropped(struct sop_engine *e, bool locked, struct sop_err *err)
{
    int rc = 0;
    for (struct sop_tree *t = sop_engine__next_dropped(e, 0); t != NULL && rc == 0;
         t = sop_engine__next_dropped(e, t->id)) {
        rc = free_store(e, t, locked, err);
    }
    return rc;
}

/* ---- rounds --------------------------------------------------------------------------------
 */

/* What an opening would have to replay. Small records that share blocks take time all the same.
 */
static uint64_t replay_bytes(const struct sop_chain_load *load)
{
    uint64_t least = load->journal_records * REPLAY_BYTES_LEAST;
    return load->journal_bytes > least ? load->journal_bytes : least;
}

/* Is a checkpoint due? docs/PROTOCOL.md section 8. */
static bool due(struct sop_engine *e)
{
    if (sop_engine__space_due(e) || atomic_load(&e->checkpoint_wanted)) {
        return true;
    }
    struct sop_chain_load load;
    const struct sop_chain_point *since =
        e->kept[0].used ? &e->kept[0].manifest.point : &e->options.genesis;
    sop_chain_load(e->chain, since, &load);
    if (replay_bytes(&load) >= e->checkpoint_trigger_bytes) {
        if (e->options.checkpoint_bytes == 0 &&
            e->checkpoint_trigger_bytes < TRIGGER_BYTES_MAX) {
            e->checkpoint_trigger_bytes *= 2; /* sustained load: longer redo, fewer rewrites */
        }
        return true;
    }
    if ((sop_packs_appended(e->packs) - e->packed_bytes) / PACKED_FACTOR >=
        e->checkpoint_trigger_bytes) {
        return true;
    }
    if (load.slots >= CHECKPOINT_SLOTS || load.members_gone >= CHECKPOINT_MEMBERS_GONE) {
        return true;
    }
    uint64_t now = sop_env_mono_ns(e->env);
    uint64_t moment = atomic_load(&e->pages.moment);
    if (moment != e->quiet_moment) {
        e->quiet_moment = moment;
        e->quiet_since_ns = now;
        return false;
    }
    if (now - e->quiet_since_ns < QUIET_NS) {
        return false;
    }
    e->quiet_since_ns = now;
    if (e->options.checkpoint_bytes == 0 && e->checkpoint_trigger_bytes > (64ull << 20)) {
        e->checkpoint_trigger_bytes /= 2;
    }
    sop_mutex_lock(&e->commit);
    bool changed = e->dirty_count > 0;
    sop_mutex_unlock(&e->commit);
    return changed;
}

/* A full volume must not keep a round from the checkpoint that gives space back. */
static int go_on_without_space(struct sop_engine *e, int rc, struct sop_err *err)
{
    if (rc == SOP_ERR_NOSPACE) {
        sop_engine_short_of_space(e);
        memset(err, 0, sizeof *err);
        rc = 0;
    }
    return rc;
}

static int round_locked(struct sop_engine *e, struct sop_err *err)
{
    atomic_store(&e->space_look_at, UINT64_MAX); /* this is the look */
    int rc = sop_engine_check(e, err);
    if (rc == 0) {
        uint64_t moment = 0;
        struct sop_lsn oldest = sop_pages_oldest(&e->pages, &moment);
        rc = sop_chain_care(e->chain, oldest, err);
        rc = go_on_without_space(e, rc, err);
    }
    if (rc == 0 && e->options.durability == SOP_DURABLE_INTERVAL) {
        rc = sop_engine_sync(e, err);
    }
    if (rc == 0) {
        rc = sop_engine__free_dropped(e, false, err);
        rc = go_on_without_space(e, rc, err);
    }
    if (rc == 0 && due(e)) {
        rc = sop_engine__checkpoint(e, err);
        e->quiet_moment = atomic_load(&e->pages.moment);
        e->quiet_since_ns = sop_env_mono_ns(e->env);
    } else if (rc == 0 && (e->ballast_open_missing || e->ballast_missing)) {
        sop_ballast_make(e, e->ballast_missing);
    }
    sop_cache_trim(&e->cache);
    sop_epoch_reclaim(&e->epochs);
    return rc;
}

int sop_engine_maintain(struct sop_engine *e, struct sop_err *err)
{
    if (e->options.observer) {
        return 0;
    }
    struct sop_err own = {0};
    struct sop_err *why = err != NULL ? err : &own;
    sop_mutex_lock(&e->maintain);
    int rc = round_locked(e, why);
    sop_mutex_unlock(&e->maintain);
    return rc != 0 ? sop_err_wrap(why, rc, "maintain") : 0;
}

/* Waits for ns, or until the thread shall end: true. */
static bool thread_waits(struct sop_engine *e, uint64_t ns)
{
    sop_mutex_lock(&e->thread_mutex);
    if (!e->thread_ends && ns > 0) {
        (void)sop_cond_wait_for(&e->thread_wake, &e->thread_mutex, ns);
    }
    bool ends = e->thread_ends;
    sop_mutex_unlock(&e->thread_mutex);
    return ends;
}

static void *thread_run(void *arg)
{
    struct sop_engine *e = arg;
    uint64_t pause = ROUND_NS;
    if (e->options.durability == SOP_DURABLE_INTERVAL && e->options.sync_interval_ms > 0) {
        pause = e->options.sync_interval_ms * 1000000ull;
    }
    while (!thread_waits(e, 0)) {
        struct sop_err err = {0};
        /* A stopped database says so to every caller; a full volume is tried again later. */
        if (sop_engine_maintain(e, &err) != 0 && thread_waits(e, STEP_NS)) {
            return NULL;
        }
        for (uint64_t waited = 0; waited < pause; waited += STEP_NS) {
            if (thread_waits(e, STEP_NS)) {
                return NULL;
            }
            if (atomic_load(&e->checkpoint_wanted) || sop_chain_wants_care(e->chain) ||
                atomic_load(&e->volume_bytes) > atomic_load(&e->space_look_at)) {
                break;
            }
        }
    }
    return NULL;
}

int sop_engine_start_thread(struct sop_engine *e, struct sop_err *err)
{
    if (e->options.observer) {
        return 0;
    }
    e->thread_ends = false;
    int rc = sop_thread_start(&e->thread, thread_run, e, "sop-upkeep", err);
    e->thread_runs = rc == 0;
    return rc;
}

void sop_engine_stop_thread(struct sop_engine *e)
{
    if (!e->thread_runs) {
        return;
    }
    sop_mutex_lock(&e->thread_mutex);
    e->thread_ends = true;
    sop_cond_broadcast(&e->thread_wake);
    sop_mutex_unlock(&e->thread_mutex);
    pthread_join(e->thread, NULL);
    e->thread_runs = false;
}
