/* Verification: proves a database while it is used.
 *
 * Everything is judged at one pinned moment, which commits beside it do not touch. Steps:
 *
 *   1 pin            what trees exist, which page ids are free           commit lock, memory
 *   2 pack files     deep: every record read; what is no record is noted
 *   3 trees          catalog first, then every store (verify_tree.c)
 *   4 page ids       each belongs to one tree or to none
 *   5 checkpoints    manifests and extents; sheets that no tree named    maintain lock
 *   6 accounts       live bytes of each pack file against the table
 *   7 other files    dboptions.json; deep: history since the older checkpoint (all of it while
 *                    there is only one), and what lies in the folders of members and of the
 *                    chain (verify_files.c)
 *
 * Files may be swept while they are looked at: 2 holds the maintain lock for one file at a
 * time, 5 to 7 hold it throughout (so report and progress must not call the database). Nothing
 * can hold back the owner of a database that is open here read-only: see sop_verify__find(). */
#include "engine/db/verify_int.h"

#include <stdio.h>

#define FINDINGS_MAX 1000 /* more are counted and not handed to report */

/* ---- findings ------------------------------------------------------------------------------
 */

/* Another process may have written newer checkpoints since this read-only database was opened,
 * and swept what they do not need. */
static bool moved_on(struct sop_verify *v)
{
    return v->engine->options.observer && sop_engine_overtaken(v->engine);
}

static void find(struct sop_verify *v, int severity, const char *text)
{
    if (severity == 2 && moved_on(v)) {
        severity = 1;
        v->doubtful++;
    }
    if (severity == 2) {
        if (v->result->errors++ == 0) {
            (void)SOP_ERR(&v->first, DATA_LOSS, "%s", text);
        }
    }
    v->findings++;
    if (v->report == NULL || v->findings > FINDINGS_MAX) {
        return;
    }
    v->report(v->arg, severity,
              v->findings < FINDINGS_MAX ? text
                                         : "too many findings: the rest is only counted");
}

void sop_verify__find(struct sop_verify *v, int severity, const char *fmt, ...)
{
    char text[SOP_ERR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    find(v, severity, text);
}

int sop_verify__judge(struct sop_verify *v, int rc, const struct sop_err *why,
                      struct sop_err *err, const char *fmt, ...)
{
    if (rc == 0) {
        return 0;
    }
    if (rc == SOP_ERR_NOMEM || rc == SOP_ERR_CANCELLED) {
        if (err != NULL) {
            *err = *why;
        }
        return rc;
    }
    char text[2 * SOP_ERR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, SOP_ERR_TEXT_BYTES, fmt, args);
    va_end(args);
    size_t at = n < 0 ? 0 : n < SOP_ERR_TEXT_BYTES ? (size_t)n : SOP_ERR_TEXT_BYTES - 1;
    (void)snprintf(text + at, sizeof text - at, ": %s", why->text);
    find(v, 2, text);
    return 0;
}

int sop_verify__progress(struct sop_verify *v, const char *what, uint64_t done, uint64_t total,
                         struct sop_err *err)
{
    if (v->progress == NULL || v->progress(v->arg, what, done, total) == 0) {
        return 0;
    }
    return SOP_ERR(err, CANCELLED, "verify: cancelled after %" PRIu64 " %s", done, what);
}

/* ---- small sets ----------------------------------------------------------------------------
 */

bool sop_verify__get(const struct sop_buf *bits, uint64_t i)
{
    SOP_ASSERT(i / 8 < bits->len);
    return (bits->data[i / 8] >> (i % 8) & 1) != 0;
}

bool sop_verify__set(struct sop_buf *bits, uint64_t i)
{
    bool before = sop_verify__get(bits, i);
    bits->data[i / 8] = (uint8_t)(bits->data[i / 8] | 1u << (i % 8));
    return before;
}

static int bits_init(struct sop_buf *bits, uint64_t count, struct sop_err *err)
{
    size_t bytes = (size_t)(count / 8 + 1);
    int rc = sop_buf_reserve(bits, bytes, err);
    if (rc == 0) {
        memset(bits->data, 0, bytes);
        bits->len = bytes;
    }
    return rc;
}

bool sop_verify__scanned(struct sop_verify *v, const struct sop_place *place)
{
    return sop_files_get(&v->scanned, place->member, place->file).live > 0;
}

void sop_verify__named(struct sop_verify *v, const struct sop_place *place, bool count,
                       uint64_t store, uint64_t page)
{
    if (count) {
        sop_files_add(&v->files, place, SOP_FILES_LIVE, place->bytes);
    }
    for (size_t i = 0; i < v->gaps_count; i++) {
        struct sop_verify_gap *g = &v->gaps[i];
        if (g->member == place->member && g->file == place->file && !g->named &&
            place->offset < g->until && place->offset + place->bytes >= g->from) {
            g->named = true;
            sop_verify__find(v, 2,
                             "packs/%" PRIx64 "/%" PRIu32 ": bytes %" PRIu64 " to %" PRIu64
                             " are damaged; store %" PRIu64 ", page %" PRIu64 " needs them",
                             g->member, g->file, g->from, g->until, store, page);
        }
    }
}

int sop_verify__read_sheet(struct sop_verify *v, const struct sop_place *place,
                           struct sop_err *err)
{
    if (sop_verify__scanned(v, place)) { /* that its record begins there */
        return sop_packs_read_range(v->engine->reader, place, 0, NULL, 0, err);
    }
    return sop_packs_read(v->engine->reader, place, SOP_PACK_SHEET, &v->piece, err);
}

/* ---- 1 pin ---------------------------------------------------------------------------------
 */

static bool exists_now(struct sop_tree *t, bool *dropping)
{
    if (atomic_load(&t->created) == SOP_NEVER) {
        return false;
    }
    *dropping = t->freeing;
    return t->freeing || atomic_load(&t->dropped) == SOP_NEVER;
}

/* Commit lock held: trees and free pages stand still. */
static int list_trees(struct sop_verify *v, struct sop_err *err)
{
    struct sop_engine *e = v->engine;
    size_t free_count = 0;
    int rc = 0;
    sop_mutex_lock(&e->trees_mutex);
    for (size_t i = 0; i < e->trees_count; i++) {
        free_count += e->trees[i]->free_count;
    }
    v->trees = sop_calloc(e->trees_count + 1, sizeof *v->trees);
    v->free_pages = sop_calloc(free_count + 1, sizeof *v->free_pages);
    if (v->trees == NULL || v->free_pages == NULL) {
        rc = SOP_ERR(err, NOMEM, "list the stores");
    }
    for (size_t i = 0; i < e->trees_count && rc == 0; i++) {
        struct sop_tree *t = e->trees[i];
        bool dropping = false;
        if (!exists_now(t, &dropping)) {
            continue;
        }
        v->trees[v->trees_count++] = (struct sop_verify_tree){.tree = t, .dropping = dropping};
        for (size_t k = 0; k < t->free_count; k++) {
            v->free_pages[v->free_count++] =
                (struct sop_manifest_free){.store = t->id, .page = t->free_pages[k]};
        }
    }
    sop_mutex_unlock(&e->trees_mutex);
    return rc;
}

static int pin(struct sop_verify *v, struct sop_err *err)
{
    struct sop_engine *e = v->engine;
    v->slot = sop_epoch_take(&e->epochs);
    if (v->slot == NULL) {
        return SOP_ERR(err, NOMEM, "verify");
    }
    sop_mutex_lock(&e->commit);
    int rc = sop_pages_pin(&e->pages, &v->pin, err);
    if (rc == 0) {
        v->next_page = atomic_load(&e->next_page);
        rc = list_trees(v, err);
    }
    sop_mutex_unlock(&e->commit);
    if (rc == 0) {
        rc = bits_init(&v->seen, v->next_page, err);
    }
    if (rc == 0) {
        rc = bits_init(&v->covered, v->next_page, err);
    }
    if (rc == 0) {
        v->trees[0].named = true;
        (void)snprintf(v->trees[0].name, sizeof v->trees[0].name, "(catalog)");
    }
    return rc;
}

/* ---- 2 pack files --------------------------------------------------------------------------
 */

struct pack_list {
    struct sop_manifest_file *files; /* live_bytes = size */
    bool *writing;
    size_t count, cap;
};

static int list_pack(void *arg, uint64_t member, uint32_t file, uint64_t bytes, bool writing,
                     struct sop_err *err)
{
    struct pack_list *l = arg;
    if (l->count == l->cap) {
        size_t cap = l->cap == 0 ? 64 : l->cap * 2;
        struct sop_manifest_file *files = sop_realloc(l->files, cap * sizeof *files);
        bool *flags = sop_realloc(l->writing, cap * sizeof *flags);
        l->files = files != NULL ? files : l->files;
        l->writing = flags != NULL ? flags : l->writing;
        if (files == NULL || flags == NULL) {
            return SOP_ERR(err, NOMEM, "list pack files");
        }
        l->cap = cap;
    }
    l->writing[l->count] = writing;
    l->files[l->count++] =
        (struct sop_manifest_file){.member = member, .file = file, .live_bytes = bytes};
    return 0;
}

struct scanning {
    struct sop_verify *v;
    uint64_t member;
    uint32_t file;
};

static int on_record(void *arg, const struct sop_pack_owner *owner,
                     const struct sop_place *place, struct sop_err *err)
{
    (void)arg;
    (void)owner;
    (void)place;
    (void)err;
    return 0;
}

static int on_gap(void *arg, uint64_t from, uint64_t until, struct sop_err *err)
{
    struct scanning *s = arg;
    struct sop_verify *v = s->v;
    if (v->gaps_count == v->gaps_cap) {
        size_t cap = v->gaps_cap == 0 ? 16 : v->gaps_cap * 2;
        struct sop_verify_gap *gaps = sop_realloc(v->gaps, cap * sizeof *gaps);
        if (gaps == NULL) {
            return SOP_ERR(err, NOMEM, "list damaged bytes");
        }
        v->gaps = gaps;
        v->gaps_cap = cap;
    }
    v->gaps[v->gaps_count++] = (struct sop_verify_gap){
        .member = s->member, .file = s->file, .from = from, .until = until};
    return 0;
}

/* Reads every record of one file. Swept meanwhile: nothing to say. */
static int scan_pack(struct sop_verify *v, const struct sop_manifest_file *f, bool writing,
                     struct sop_err *err)
{
    struct sop_engine *e = v->engine;
    struct scanning s = {.v = v, .member = f->member, .file = f->file};
    struct sop_err why = {0};
    int rc = SOP_ERR_BUSY;
    if (!writing) {
        sop_mutex_lock(&e->maintain);
        struct sop_packs *packs = e->packs != NULL ? e->packs : e->reader;
        rc = sop_packs_salvage(packs, f->member, f->file, on_record, on_gap, &s, &why);
        sop_mutex_unlock(&e->maintain);
    }
    if (rc == 0) {
        struct sop_place place = {.member = f->member, .file = f->file};
        sop_files_add(&v->scanned, &place, SOP_FILES_LIVE, 1);
    } else if (rc == SOP_ERR_BUSY) {
        sop_verify__find(v, 0,
                         "packs/%" PRIx64 "/%" PRIu32
                         ": still being written; only what is named in it was read",
                         f->member, f->file);
        rc = 0;
    } else if (rc == SOP_ERR_NOT_FOUND) {
        rc = 0;
    }
    return sop_verify__judge(v, rc, &why, err, "packs/%" PRIx64 "/%" PRIu32, f->member,
                             f->file);
}

static int check_packs(struct sop_verify *v, struct sop_err *err)
{
    struct sop_engine *e = v->engine;
    struct pack_list l = {0};
    struct sop_err why = {0};
    int rc = sop_packs_files(e->packs != NULL ? e->packs : e->reader, list_pack, &l, &why);
    rc = sop_verify__judge(v, rc, &why, err, "list the pack files");
    for (size_t i = 0; i < l.count && rc == 0; i++) {
        v->result->files++;
        v->result->bytes += l.files[i].live_bytes;
        if (v->deep) {
            rc = scan_pack(v, &l.files[i], l.writing[i], err);
            rc = rc == 0 ? sop_verify__progress(v, "pack files", i + 1, l.count, err) : rc;
        }
    }
    sop_free(l.files);
    sop_free(l.writing);
    return rc;
}

/* What was damaged and nobody asked for. */
static void report_gaps(struct sop_verify *v)
{
    for (size_t i = 0; i < v->gaps_count; i++) {
        const struct sop_verify_gap *g = &v->gaps[i];
        if (!g->named) {
            sop_verify__find(v, 1,
                             "packs/%" PRIx64 "/%" PRIu32 ": bytes %" PRIu64 " to %" PRIu64
                             " are no record; nothing names them",
                             g->member, g->file, g->from, g->until);
        }
    }
}

/* ---- 3 trees -------------------------------------------------------------------------------
 */

static struct sop_verify_tree *tree_entry(struct sop_verify *v, uint64_t store)
{
    for (size_t low = 0, high = v->trees_count; low < high;) { /* ascending by id */
        size_t middle = low + (high - low) / 2;
        if (v->trees[middle].tree->id == store) {
            return &v->trees[middle];
        }
        if (v->trees[middle].tree->id < store) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

static bool same_facts(const struct sop_tree *t, const struct sop_catalog_record *r)
{
    return t->root == r->root && t->unique == r->unique && t->slot_length == r->slot_length &&
           t->values == r->values && (t->order.compare != NULL) == (r->comparer.len != 0) &&
           t->order.id_bytes == (r->unique ? 0 : SOP_ITEM_ID_BYTES);
}

int sop_verify__catalog_item(struct sop_verify *v, struct sop_slice name,
                             const struct sop_item *item, struct sop_err *err)
{
    struct sop_catalog_record r;
    struct sop_err why = {0};
    int shown =
        (int)(name.len < SOP_STORE_NAME_BYTES_MAX ? name.len : SOP_STORE_NAME_BYTES_MAX);
    int rc = item->kind == SOP_VALUE_INLINE
                 ? sop_catalog_decode(item->value, &r, &why)
                 : SOP_ERR(&why, DATA_LOSS, "its record is no record");
    if (rc != 0) {
        return sop_verify__judge(v, rc, &why, err, "catalog, store \"%.*s\"", shown,
                                 (const char *)name.data);
    }
    struct sop_verify_tree *t = tree_entry(v, r.id);
    const char *what = NULL;
    if (name.len == 0 || name.len > SOP_STORE_NAME_BYTES_MAX) {
        what = "its name has a wrong length";
    } else if (t == NULL || t->dropping || r.id == SOP_CATALOG_STORE) {
        what = "there is no such store";
    } else if (t->named) {
        what = "the store has two names";
    } else if (!same_facts(t->tree, &r)) {
        what = "the store is another one than its record says";
    }
    if (what != NULL) {
        sop_verify__find(v, 2, "catalog, store \"%.*s\" (%" PRIu64 "): %s", shown,
                         (const char *)name.data, r.id, what);
        return 0;
    }
    t->named = true;
    memcpy(t->name, name.data, name.len);
    return 0;
}

static int check_trees(struct sop_verify *v, struct sop_err *err)
{
    SOP_ASSERT(v->trees_count > 0 && v->trees[0].tree->id == SOP_CATALOG_STORE);
    int rc = sop_verify__tree(v, &v->trees[0], err);
    bool catalog_broken = v->broken;
    for (size_t i = 1; i < v->trees_count && rc == 0; i++) {
        struct sop_verify_tree *t = &v->trees[i];
        if (!t->dropping) {
            v->result->stores++;
        }
        if (!t->dropping && !t->named && !catalog_broken) {
            sop_verify__find(v, 2, "store %" PRIu64 " is not in the catalog", t->tree->id);
        }
        rc = sop_verify__tree(v, t, err);
    }
    return rc;
}

/* ---- 4 page ids ----------------------------------------------------------------------------
 */

int sop_verify__exists(struct sop_verify *v, uint64_t page, bool *exists, struct sop_err *err)
{
    struct sop_engine *e = v->engine;
    struct sop_frame *frame = NULL;
    struct sop_handle h;
    *exists = false;
    int rc = sop_pages_frame(&e->pages, page, &frame, err);
    if (rc != 0) {
        return rc;
    }
    sop_epoch_enter(&e->epochs, v->slot);
    struct sop_version *version = atomic_load(&frame->newest);
    if (version == NULL) {
        rc = sop_extents_handle(&e->extents, page, &h, err);
        *exists = rc == 0 && h.lsn.slot != 0;
    }
    while (version != NULL && version->at > v->pin->moment) {
        version = atomic_load(&version->older);
    }
    if (version != NULL) {
        *exists = !version->free;
    }
    sop_epoch_leave(v->slot);
    return rc;
}

static int check_free_pages(struct sop_verify *v, struct sop_err *err)
{
    struct sop_buf listed = {0};
    int rc = bits_init(&listed, v->next_page, err);
    for (size_t i = 0; i < v->free_count && rc == 0; i++) {
        const struct sop_manifest_free *f = &v->free_pages[i];
        const char *what = NULL;
        if (f->page == 0 || f->page >= v->next_page) {
            what = "was never handed out";
        } else if (sop_verify__set(&listed, f->page)) {
            what = "is listed twice";
        } else if (sop_verify__get(&v->seen, f->page)) {
            what = "is in use";
        }
        if (what != NULL) {
            sop_verify__find(v, 2, "store %" PRIu64 ": free page %" PRIu64 " %s", f->store,
                             f->page, what);
        }
    }
    sop_buf_fini(&listed);
    return rc;
}

static int check_page_ids(struct sop_verify *v, struct sop_err *err)
{
    int rc = check_free_pages(v, err);
    if (v->broken) {
        sop_verify__find(v, 1, "pages that belong to no store were not looked for");
        return rc;
    }
    for (uint64_t page = 1; page < v->next_page && rc == 0; page++) {
        bool exists = false;
        struct sop_err why = {0};
        if (sop_verify__get(&v->seen, page)) {
            continue;
        }
        rc = sop_verify__exists(v, page, &exists, &why);
        rc = sop_verify__judge(v, rc, &why, err, "page %" PRIu64, page);
        if (rc == 0 && exists) {
            sop_verify__find(v, 2, "page %" PRIu64 " belongs to no store", page);
        }
        if (rc == 0 && page % 1024 == 0) {
            rc = sop_verify__progress(v, "page ids", page, v->next_page - 1, err);
        }
    }
    return rc;
}

/* ---- 5 checkpoints -------------------------------------------------------------------------
 */

/* The sheets that the newest checkpoint has for one page. Those that a walk has read need only
 * be counted. */
static int check_extent_page(struct sop_verify *v, uint64_t page, const struct sop_handle *h,
                             struct sop_err *err)
{
    const struct sop_place *places[2] = {&h->base, &h->run};
    bool covered = page < v->next_page && sop_verify__get(&v->covered, page);
    int rc = 0;
    if (sop_place_none(&h->base) && sop_place_none(&h->run)) {
        sop_verify__find(v, 2, "page %" PRIu64 ": its handle names nothing", page);
    }
    for (int i = 0; i < 2 && rc == 0; i++) {
        if (sop_place_none(places[i])) {
            continue;
        }
        struct sop_err why = {0};
        sop_verify__named(v, places[i], true, 0, page);
        rc = covered ? 0 : sop_verify__read_sheet(v, places[i], &why);
        rc = sop_verify__judge(v, rc, &why, err, "page %" PRIu64 " at the newest checkpoint",
                               page);
    }
    return rc;
}

static int check_extent(struct sop_verify *v, const struct sop_extent_ref *ref,
                        const struct sop_manifest *m, bool newest, struct sop_extent *x,
                        struct sop_err *err)
{
    struct sop_engine *e = v->engine;
    struct sop_err why = {0};
    int rc = sop_extent_read(e->volume, e->options.database_id, ref, x, &why);
    if (rc != 0) {
        return sop_verify__judge(v, rc, &why, err, "extent %" PRIx64, ref->extent);
    }
    v->result->files++;
    for (size_t i = 0; i < SOP_EXTENT_HANDLES && rc == 0; i++) {
        const struct sop_handle *h = &x->handles[i];
        uint64_t page = ref->extent * SOP_EXTENT_HANDLES + i;
        if (h->lsn.slot == 0) {
            continue;
        }
        if (page >= m->next_page || h->level >= SOP_LEVELS_MAX) {
            sop_verify__find(v, 2,
                             "extent %" PRIx64 ": the handle of page %" PRIu64 " cannot be",
                             ref->extent, page);
        } else if (newest) {
            rc = check_extent_page(v, page, h, err);
        }
    }
    return rc;
}

static bool ref_in(const struct sop_manifest *m, const struct sop_extent_ref *ref)
{
    for (size_t i = 0; i < m->extents_count; i++) {
        const struct sop_extent_ref *r = &m->extents[i];
        if (r->extent == ref->extent) {
            return r->member == ref->member && sop_lsn_cmp(r->lsn, ref->lsn) == 0;
        }
    }
    return false;
}

static int check_manifest(struct sop_verify *v, const struct sop_manifest *m,
                          struct sop_err *err)
{
    struct sop_err why = {0};
    struct sop_manifest stored;
    memset(&stored, 0, sizeof stored);
    int rc = sop_manifest_read(v->engine->volume, m->point.lsn, m->member, &stored, &why);
    if (rc == 0 &&
        (stored.point.hash != m->point.hash || stored.next_page != m->next_page ||
         stored.stores_count != m->stores_count || stored.extents_count != m->extents_count)) {
        rc = SOP_ERR(&why, DATA_LOSS, "the file is of another checkpoint");
    }
    sop_manifest_fini(&stored);
    v->result->files++;
    return sop_verify__judge(v, rc, &why, err, "checkpoint %" PRIu64 "/%" PRIu64,
                             m->point.lsn.slot, m->point.lsn.record);
}

/* What opening could not use. Its state was made from an older checkpoint and history, so
 * nothing is missing; but there is one copy less. */
static void report_passed_over(struct sop_verify *v)
{
    struct sop_engine *e = v->engine;
    for (size_t i = 0; i < e->passed_count; i++) {
        const struct sop_passed_over *x = &e->passed[i];
        sop_verify__find(v, x->official ? 2 : 1,
                         x->official ? "checkpoint %" PRIu64 "/%" PRIu64
                                       " was passed over by opening, an older one served: %s"
                                     : "checkpoint %" PRIu64 "/%" PRIu64
                                       ", which may never have been complete, cannot be used: "
                                       "%s",
                         x->lsn.slot, x->lsn.record, x->why.text);
    }
}

/* Maintain lock held. */
static int check_checkpoints(struct sop_verify *v, struct sop_err *err)
{
    struct sop_engine *e = v->engine;
    struct sop_extent *x = sop_malloc(sizeof *x);
    int rc = x == NULL ? SOP_ERR(err, NOMEM, "read extents") : 0;
    report_passed_over(v);
    for (size_t k = 0; k < SOP_CHECKPOINTS_KEPT && rc == 0; k++) {
        const struct sop_manifest *m = &e->kept[k].manifest;
        if (!e->kept[k].used) {
            continue;
        }
        rc = check_manifest(v, m, err);
        for (size_t i = 0; i < m->extents_count && rc == 0; i++) {
            if (k == 0 || !ref_in(&e->kept[0].manifest, &m->extents[i])) {
                rc = check_extent(v, &m->extents[i], m, k == 0, x, err);
            }
            if (rc == 0) {
                rc = sop_verify__progress(v, "extents", i + 1, m->extents_count, err);
            }
        }
    }
    sop_free(x);
    return rc;
}

/* ---- 6 accounts ----------------------------------------------------------------------------
 */

static void compare_file(struct sop_verify *v, const struct sop_file_use *table,
                         int64_t counted)
{
    if (table->live != counted) {
        sop_verify__find(v, 1,
                         "packs/%" PRIx64 "/%" PRIu32 ": %" PRId64
                         " bytes of it are named, the table says %" PRId64,
                         table->member, table->file, counted, table->live);
    }
}

static bool file_before(const struct sop_file_use *a, const struct sop_file_use *b)
{
    return a->member < b->member || (a->member == b->member && a->file < b->file);
}

/* Maintain lock held: sheets stand still. Values do if no commit has come since the pin. */
static int check_accounts(struct sop_verify *v, struct sop_err *err)
{
    struct sop_engine *e = v->engine;
    struct sop_file_use *uses = NULL;
    size_t count = 0;
    if (v->broken || v->files.failed) {
        return 0;
    }
    sop_mutex_lock(&e->commit);
    bool same = atomic_load(&e->pages.moment) == v->pin->moment;
    sop_mutex_lock(&e->files.mutex);
    uses = sop_malloc((e->files.count + 1) * sizeof *uses);
    if (uses != NULL && e->files.count > 0) {
        count = e->files.count;
        memcpy(uses, e->files.uses, count * sizeof *uses);
    }
    sop_mutex_unlock(&e->files.mutex);
    sop_mutex_unlock(&e->commit);
    if (uses == NULL) {
        return SOP_ERR(err, NOMEM, "compare the accounts");
    }
    for (size_t i = 0; i < count && same; i++) {
        compare_file(v, &uses[i], sop_files_get(&v->files, uses[i].member, uses[i].file).live);
    }
    for (size_t i = 0, k = 0; i < v->files.count && same; i++) { /* what the table lacks */
        const struct sop_file_use *u = &v->files.uses[i];
        while (k < count && file_before(&uses[k], u)) {
            k++;
        }
        if (k == count || file_before(u, &uses[k])) {
            struct sop_file_use none = {.member = u->member, .file = u->file};
            compare_file(v, &none, u->live);
        }
    }
    sop_free(uses);
    return 0;
}

/* ---- all of it -----------------------------------------------------------------------------
 */

static int verify_all(struct sop_verify *v, struct sop_err *err)
{
    int rc = pin(v, err);
    if (rc == 0) {
        rc = check_packs(v, err);
    }
    if (rc == 0) {
        rc = check_trees(v, err);
    }
    if (rc == 0) {
        rc = check_page_ids(v, err);
    }
    if (rc == 0) {
        sop_mutex_lock(&v->engine->maintain);
        rc = check_checkpoints(v, err);
        if (rc == 0) {
            rc = check_accounts(v, err);
        }
        if (rc == 0) {
            rc = sop_verify__files(v, err);
        }
        sop_mutex_unlock(&v->engine->maintain);
    }
    if (rc == 0) {
        report_gaps(v);
    }
    return rc;
}

static void verify_fini(struct sop_verify *v)
{
    struct sop_engine *e = v->engine;
    if (v->pin != NULL) {
        sop_pages_unpin(&e->pages, v->pin);
    }
    if (v->slot != NULL) {
        sop_epoch_give(&e->epochs, v->slot);
    }
    sop_buf_fini(&v->seen);
    sop_buf_fini(&v->covered);
    sop_buf_fini(&v->piece);
    sop_free(v->trees);
    sop_free(v->free_pages);
    sop_free(v->gaps);
    sop_files_fini(&v->files);
    sop_files_fini(&v->scanned);
    sop_epoch_reclaim(&e->epochs);
    sop_cache_trim(&e->cache);
}

static int has_comparer(void *arg, const struct sop_store_info *info, struct sop_err *err)
{
    const struct sop_db *db = arg;
    if (info->options.comparer == NULL || info->options.comparer[0] == 0) {
        return 0;
    }
    for (size_t i = 0; i < db->comparers_count; i++) {
        if (strcmp(db->comparers[i].name, info->options.comparer) == 0) {
            return 0;
        }
    }
    return SOP_ERR(err, UNSUPPORTED,
                   "store %s is ordered by the comparer \"%s\"; only a program that registers "
                   "it in sop_db_options.comparers can verify the database",
                   info->name, info->options.comparer);
}

/* A read-only database opens without comparers. Its proof would have a hole: the pages and
 * values of such a store could not be told from what nobody names. */
static int check_comparers(struct sop_db *db, struct sop_err *err)
{
    struct sop_txn *t = NULL;
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    int rc = sop_txn_begin(&t, db, &o, err);
    if (rc == 0) {
        rc = sop_store_list(t, "", has_comparer, db, err);
    }
    sop_txn_rollback(&t);
    return rc;
}

/* The same of the state that will be read: the owner may have gone on since. */
static int check_orders(struct sop_engine *e, struct sop_err *err)
{
    int rc = 0;
    sop_mutex_lock(&e->trees_mutex);
    for (size_t i = 0; i < e->trees_count && rc == 0; i++) {
        if (e->trees[i]->needs_comparer) {
            rc = SOP_ERR(err, UNSUPPORTED,
                         "store %" PRIu64 " is ordered by a comparer that was not given; only "
                         "a program that registers it can verify the database",
                         e->trees[i]->id);
        }
    }
    sop_mutex_unlock(&e->trees_mutex);
    return rc;
}

int sop_db_verify(struct sop_db *db, bool deep, sop_report_fn report, sop_progress_fn progress,
                  void *arg, struct sop_verify_result *result, struct sop_err *err)
{
    struct sop_verify_result own;
    result = result != NULL ? result : &own;
    memset(result, 0, sizeof *result);
    int rc = sop_db__check(db, err);
    if (rc == 0 && db->options.read_only) {
        rc = check_comparers(db, err);
        rc = rc == SOP_ERR_DATA_LOSS ? 0 : rc; /* found again, and reported */
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_generation *g = sop_db__enter(db);
    rc = check_orders(g->engine, err);
    if (rc != 0) {
        sop_db__leave(db, g);
        return rc;
    }
    struct sop_verify v = {.db = db,
                           .engine = g->engine,
                           .deep = deep,
                           .report = report,
                           .progress = progress,
                           .arg = arg,
                           .result = result};
    sop_files_init(&v.files);
    sop_files_init(&v.scanned);
    rc = sop_engine_check(g->engine, err);
    if (rc == 0) {
        rc = verify_all(&v, err);
    }
    if (rc == 0 && result->errors != 0) {
        rc = SOP_ERR(err, DATA_LOSS, "%" PRIu64 " errors; the first: %s", result->errors,
                     v.first.text);
    } else if (rc == 0 && v.doubtful != 0) {
        rc =
            SOP_ERR(err, BUSY,
                    "its owner has written newer checkpoints meanwhile; refresh it, and verify "
                    "again");
    }
    verify_fini(&v);
    sop_db__leave(db, g);
    return rc;
}
