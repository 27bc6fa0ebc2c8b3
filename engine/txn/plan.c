/* The common part of plans: pages and their new versions, finishing, publishing; see plan.h. */
#include "engine/txn/plan.h"

#include "engine/base/limits.h"

/* Runs up to these sizes are laid over a base before it is made anew: rewriting a base of 2,000
 * items costs about as much as 300 single changes. */
#define RUNS_BYTES_MIN    (16u * 1024)
#define RUNS_BYTES_UNREAD (64u * 1024) /* when the base would have to be read for it */
/* Up to this size the newest run takes new changes in at once: copying it costs less than each
 * look-up in one more sheet. */
#define RUN_BYTES_SMALL 2048u
/* From this size on the copying of items into a sheet may wait for the volume's turn. */
#define DRAFT_BYTES_MIN 4096u

void sop_plan_init(struct sop_plan *p, struct sop_engine *e, bool replay)
{
    memset(p, 0, sizeof *p);
    p->engine = e;
    p->replay = replay;
    sop_arena_init(&p->arena, 0);
    p->base = atomic_load(&e->pages.moment);
    p->moment = p->base + 1;
    p->lsn = e->pages.head;
    p->lsn.record++;
    p->next_page = atomic_load(&e->next_page);
    p->next_store = atomic_load(&e->next_store);
}

void sop_plan_fini(struct sop_plan *p)
{
    for (struct sop_pend *d = p->first; d != NULL; d = d->next) {
        sop_plan__unstack(p, d);
        if (d->source_owned) {
            sop_version_drop(&p->engine->cache, d->source);
        }
    }
    for (size_t i = 0; i < p->taken_count; i++) { /* back to where they came from */
        struct sop_tree *t = p->taken[i].tree;
        sop_mutex_lock(&t->mutex);
        SOP_ASSERT(t->free_count < t->free_cap);
        t->free_pages[t->free_count++] = p->taken[i].page;
        sop_mutex_unlock(&t->mutex);
    }
    sop_free(p->counts);
    sop_free(p->events);
    sop_free(p->values);
    sop_free(p->taken);
    sop_free(p->drafts);
    sop_arena_fini(&p->arena);
    memset(p, 0, sizeof *p);
}

/* Grows a heap array by doubling; *at stays valid on failure. */
static int grow(void **at, size_t *cap, size_t count, size_t each, struct sop_err *err)
{
    if (count < *cap) {
        return 0;
    }
    size_t wanted = *cap == 0 ? 16 : *cap * 2;
    void *bigger = sop_realloc(*at, wanted * each);
    if (bigger == NULL) {
        return SOP_ERR(err, NOMEM, "grow a list of a batch to %zu", wanted);
    }
    *at = bigger;
    *cap = wanted;
    return 0;
}

int sop_pend_list_add(struct sop_pend_list *l, struct sop_pend *d, struct sop_err *err)
{
    int rc = grow((void **)&l->at, &l->cap, l->count, sizeof(struct sop_pend *), err);
    if (rc == 0) {
        l->at[l->count++] = d;
    }
    return rc;
}

int sop_op_list_add(struct sop_op_list *l, const struct sop_op *op, struct sop_err *err)
{
    int rc = grow((void **)&l->at, &l->cap, l->count, sizeof(struct sop_op), err);
    if (rc == 0) {
        l->at[l->count++] = *op;
    }
    return rc;
}

/* A pend without source, in the list. */
static struct sop_pend *pend_new(struct sop_plan *p, struct sop_tree *tree, uint64_t page,
                                 struct sop_err *err)
{
    struct sop_pend *d = sop_arena_alloc(&p->arena, sizeof *d);
    if (d == NULL) {
        (void)SOP_ERR(err, NOMEM, "plan a change of page %" PRIu64, page);
        return NULL;
    }
    memset(d, 0, sizeof *d);
    d->tree = tree;
    d->page = page;
    if (p->last == NULL) {
        p->first = d;
    } else {
        p->last->next = d;
    }
    p->last = d;
    p->pends++;
    return d;
}

struct sop_pend *sop_plan__pend(struct sop_plan *p, struct sop_tree *tree, uint64_t page,
                                struct sop_err *err)
{
    struct sop_pend *d = pend_new(p, tree, page, err);
    if (d == NULL || page == 0) { /* page 0: the caller makes it from nothing */
        return d;
    }
    struct sop_version *v = NULL;
    if (sop_pages_at(&p->engine->pages, &tree->order, page, p->base, &v, err) != 0) {
        return NULL;
    }
    d->source = v;
    d->source_page = page;
    d->level = v->level;
    d->low = v->low;
    d->high = v->high;
    d->has_high = v->has_high;
    d->items = v->items;
    d->items_before = v->items;
    d->bytes_live = (int64_t)v->bytes_live;
    return d;
}

int sop_plan__page_id(struct sop_plan *p, struct sop_tree *tree, uint64_t *page,
                      struct sop_err *err)
{
    int rc = grow((void **)&p->taken, &p->taken_cap, p->taken_count, sizeof *p->taken, err);
    if (rc != 0) {
        return rc;
    }
    uint64_t id = 0;
    sop_mutex_lock(&tree->mutex);
    if (tree->free_count > 0) {
        id = tree->free_pages[--tree->free_count];
    }
    sop_mutex_unlock(&tree->mutex);
    if (id == 0) {
        *page = sop_engine_new_page_id(p->engine);
        return 0;
    }
    p->taken[p->taken_count].tree = tree;
    p->taken[p->taken_count++].page = id;
    *page = id;
    return 0;
}

int sop_plan__key(struct sop_plan *p, const struct sop_item *item, struct sop_slice *out,
                  struct sop_err *err)
{
    uint8_t *to = sop_arena_alloc(&p->arena, item->prefix.len + item->suffix.len + 1);
    if (to == NULL) {
        return SOP_ERR(err, NOMEM, "copy a key");
    }
    if (item->prefix.len > 0) {
        memcpy(to, item->prefix.data, item->prefix.len);
    }
    if (item->suffix.len > 0) {
        memcpy(to + item->prefix.len, item->suffix.data, item->suffix.len);
    }
    *out = sop_slice(to, item->prefix.len + item->suffix.len);
    return 0;
}

/* ---- versions ------------------------------------------------------------------------------
 */

static struct sop_sheet_meta meta_of(const struct sop_plan *p, const struct sop_pend *d,
                                     bool run)
{
    return (struct sop_sheet_meta){.store = d->tree->id,
                                   .page = d->page,
                                   .level = d->level,
                                   .run = run,
                                   .lsn = p->lsn,
                                   .low = d->low,
                                   .high = d->high,
                                   .has_high = d->has_high,
                                   .loose = true}; /* most are folded before they are written */
}

/* Operations that a base takes: removals of what is not there say nothing in it. */
static int without_tombstones(struct sop_plan *p, const struct sop_pend *d,
                              const struct sop_op **ops, size_t *count, struct sop_err *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->ops_count; i++) {
        kept += d->ops[i].kind != SOP_VALUE_TOMBSTONE;
    }
    *ops = d->ops;
    *count = kept;
    if (kept == d->ops_count) {
        return 0;
    }
    struct sop_op *some = sop_arena_alloc(&p->arena, kept * sizeof *some);
    if (some == NULL) {
        return SOP_ERR(err, NOMEM, "plan %zu operations", kept);
    }
    *ops = some;
    for (size_t i = 0; i < d->ops_count; i++) {
        if (d->ops[i].kind != SOP_VALUE_TOMBSTONE) {
            *some++ = d->ops[i];
        }
    }
    return 0;
}

/* The sheet of a pend's operations, without them: a run, or a base when nothing lies below. */
static int draft_image(struct sop_plan *p, struct sop_pend *d, bool base,
                       struct sop_sheet_draft *draft, struct sop_err *err)
{
    const struct sop_op *ops = d->ops;
    size_t count = d->ops_count;
    int rc = base ? without_tombstones(p, d, &ops, &count, err) : 0;
    if (rc != 0) {
        return rc;
    }
    struct sop_sheet_meta meta = meta_of(p, d, !base);
    struct sop_sheet_row row = {.first = ops, .step = sizeof *ops, .count = count};
    return sop_sheet_draft_row(draft, &d->tree->order, &meta, &row, err);
}

static void fill(const struct sop_plan_draft *d)
{
    sop_sheet_draft_fill(&d->sheet);
    sop_body_filled(d->body);
}

/* Copies the operations now, or, if there are many, later: see sop_plan_fill(). Those of inner
 * pages name fences of versions that stay only inside the leader's epoch. */
static int fill_or_note(struct sop_plan *p, const struct sop_pend *d,
                        const struct sop_sheet_draft *draft, struct sop_body *body,
                        struct sop_err *err)
{
    struct sop_plan_draft it = {.sheet = *draft, .body = body};
    if (d->level == 0 && draft->image.len >= DRAFT_BYTES_MIN) {
        int rc = grow((void **)&p->drafts, &p->drafts_cap, p->drafts_count, sizeof it, err);
        if (rc == 0) {
            p->drafts[p->drafts_count++] = it;
        }
        return rc;
    }
    fill(&it);
    return 0;
}

void sop_plan_fill(struct sop_plan *p)
{
    for (size_t i = 0; i < p->drafts_count; i++) {
        fill(&p->drafts[i]);
    }
    p->drafts_count = 0;
}

/* A body over an image, which goes with it or is freed. */
static int make_body(struct sop_plan *p, struct sop_pend *d, struct sop_slice image,
                     struct sop_body **out, struct sop_err *err)
{
    int rc = sop_body_new(out, &p->engine->cache, &d->tree->order, image, err);
    if (rc != 0) {
        sop_free((void *)(uintptr_t)image.data);
    }
    return rc;
}

static int make_run(struct sop_plan *p, struct sop_pend *d, bool base, struct sop_err *err)
{
    struct sop_sheet_draft draft;
    int rc = draft_image(p, d, base, &draft, err);
    if (rc != 0) {
        return rc;
    }
    sop_sheet_draft_fill(&draft); /* others will look into it */
    return make_body(p, d, draft.image, &d->run, err);
}

void sop_plan__unstack(struct sop_plan *p, struct sop_pend *d)
{
    if (d->made != NULL) {
        sop_version_drop(&p->engine->cache, d->made);
        d->made = NULL;
    }
    if (d->run != NULL) {
        sop_body_unref(d->run);
        d->run = NULL;
    }
}

/* Most pages borrow the fences of their source: then there is nothing to compare. */
static bool same_slice(struct sop_slice a, struct sop_slice b)
{
    return a.len == b.len && (a.data == b.data || sop_slice_eq(a, b));
}

static bool same_fences(const struct sop_pend *d, const struct sop_version *s)
{
    return same_slice(d->low, s->low) && d->has_high == s->has_high &&
           (!d->has_high || same_slice(d->high, s->high));
}

/* The layer of a source under a page whose fences may have grown beyond the source's. */
static struct sop_layer clip_layer(const struct sop_pend *d, const struct sop_layer *from)
{
    const struct sop_order *order = &d->tree->order;
    const struct sop_version *s = d->source;
    struct sop_layer l = *from;
    if (same_fences(d, s)) {
        return l;
    }
    bool grown_low =
        s->low.len > 0 && (d->low.len == 0 || sop_order_cmp(order, d->low, s->low) < 0);
    bool grown_high =
        s->has_high && (!d->has_high || sop_order_cmp(order, d->high, s->high) > 0);
    if (!grown_low && !grown_high) {
        return l;
    }
    if (!l.clipped) {
        l.clipped = true;
        l.clip_low = s->low;
        l.clip_has_high = s->has_high;
        l.clip_high = s->high;
        return l;
    }
    if (s->low.len > 0 &&
        (l.clip_low.len == 0 || sop_order_cmp(order, s->low, l.clip_low) > 0)) {
        l.clip_low = s->low;
    }
    if (s->has_high && (!l.clip_has_high || sop_order_cmp(order, s->high, l.clip_high) < 0)) {
        l.clip_has_high = true;
        l.clip_high = s->high;
    }
    return l;
}

static struct sop_version_spec spec_of(const struct sop_plan *p, const struct sop_pend *d)
{
    return (struct sop_version_spec){.page = d->page,
                                     .at = p->moment,
                                     .lsn = p->lsn,
                                     .bytes_live =
                                         d->bytes_live > 0 ? (uint64_t)d->bytes_live : 0,
                                     .items = (uint32_t)d->items,
                                     .level = d->level,
                                     .free = d->free,
                                     .has_high = d->has_high,
                                     .low = d->low,
                                     .high = d->high};
}

/* Merges layers[0, count) of v into one body. base: nothing lies below them. */
static int merge_layers(struct sop_plan *p, struct sop_pend *d, struct sop_version *v,
                        uint32_t count, bool base, struct sop_body **out, uint32_t *items,
                        struct sop_err *err)
{
    struct sop_version_spec spec = spec_of(p, d);
    spec.layers = v->layers;
    spec.layers_count = count;
    struct sop_version *part = NULL;
    int rc = sop_version_new(&part, &p->engine->cache, &spec, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_sheet_meta meta = meta_of(p, d, !base);
    struct sop_slice image = {0};
    rc = sop_version_merge(part, &d->tree->order, &meta, &image, items, err);
    sop_version_drop(&p->engine->cache, part);
    if (rc != 0) {
        return rc;
    }
    return make_body(p, d, image, out, err);
}

static int wrong_items(const struct sop_pend *d, uint32_t items, struct sop_err *err)
{
    return SOP_ERR(err, DATA_LOSS, "page %" PRIu64 " holds %u items, its handle says %" PRIi64,
                   d->page, items, d->items);
}

/* Replaces the top `count` layers of d->made by their merge. */
static int fold_top(struct sop_plan *p, struct sop_pend *d, uint32_t count, struct sop_err *err)
{
    struct sop_version *v = d->made;
    bool base = count == v->layers_count;
    struct sop_body *body = NULL;
    uint32_t items = 0;
    int rc = merge_layers(p, d, v, count, base, &body, &items, err);
    if (rc != 0) {
        return rc;
    }
    if (base && items != (uint64_t)d->items) {
        sop_body_unref(body);
        return wrong_items(d, items, err);
    }
    struct sop_layer layers[SOP_LAYERS_MAX];
    memset(layers, 0, sizeof layers);
    layers[0].body = body;
    memcpy(&layers[1], &v->layers[count], (v->layers_count - count) * sizeof layers[0]);
    struct sop_version_spec spec = spec_of(p, d);
    spec.exact = base || v->exact;
    if (base) {
        spec.bytes_live = body->bytes;
    }
    spec.layers = layers;
    spec.layers_count = 1 + v->layers_count - count;
    struct sop_version *folded = NULL;
    rc = sop_version_new(&folded, &p->engine->cache, &spec, err);
    sop_body_unref(body); /* the version has its own reference */
    if (rc == 0) {
        sop_version_drop(&p->engine->cache, v);
        d->made = folded;
    }
    return rc;
}

/* How many layers on top are only in memory. */
static uint32_t dirty_on_top(const struct sop_version *v)
{
    uint32_t n = 0;
    while (n < v->layers_count && !atomic_load(&v->layers[n].body->placed)) {
        n++;
    }
    return n;
}

/* Does a body hold items outside the page's fences (a base shared after a split)? */
static bool shares_base(const struct sop_pend *d)
{
    return d->source != NULL && d->source->layers_count > 0 && !same_fences(d, d->source);
}

/* A base that was written for another page (the child that a root took in) is written anew by
 * the next checkpoint: compaction looks for a sheet's owner by the page in its record. */
static bool is_exact(const struct sop_pend *d)
{
    return d->source == NULL || d->source->layers_count == 0 ||
           (d->source->exact && d->source_page == d->page && !shares_base(d));
}

int sop_plan__stack(struct sop_plan *p, struct sop_pend *d, struct sop_err *err)
{
    if (d->made != NULL) {
        return 0;
    }
    struct sop_layer layers[SOP_LAYERS_MAX];
    memset(layers, 0, sizeof layers);
    uint32_t count = 0;
    uint32_t below = d->source == NULL ? 0 : d->source->layers_count;
    int rc = 0;
    if (!d->free && (d->ops_count > 0 || below == 0)) {
        rc = make_run(p, d, below == 0, err);
        if (rc != 0) {
            return rc;
        }
        layers[count++].body = d->run;
    }
    SOP_ASSERT(count + below <= SOP_LAYERS_MAX);
    for (uint32_t i = 0; i < below && !d->free; i++) {
        layers[count++] = clip_layer(d, &d->source->layers[i]);
    }
    struct sop_version_spec spec = spec_of(p, d);
    spec.exact = is_exact(d);
    spec.layers = layers;
    spec.layers_count = count;
    rc = sop_version_new(&d->made, &p->engine->cache, &spec, err);
    if (rc == 0 && p->replay && count >= SOP_SHEETS_MAX) {
        uint32_t top = dirty_on_top(d->made);
        if (top > 1) {
            rc = fold_top(p, d, top, err);
        }
    }
    return rc;
}

/* ---- folding -------------------------------------------------------------------------------
 */

static bool any_clipped(const struct sop_layer *layers, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (layers[i].clipped) {
            return true;
        }
    }
    return false;
}

/* How many layers on top become one. Keeps stacks short: inner pages are one sheet; a leaf is a
 * base and few runs that grow geometrically downwards. bytes: of each layer's image. */
static uint32_t fold_count(const struct sop_pend *d, const struct sop_layer *layers,
                           const uint32_t *bytes, uint32_t count)
{
    bool clipped = any_clipped(layers, count) || shares_base(d);
    if (clipped || count <= 1) {
        return clipped ? count : 1;
    }
    if (d->level > 0) {
        return count;
    }
    uint64_t runs_bytes = 0;
    for (uint32_t i = 0; i + 1 < count; i++) {
        runs_bytes += bytes[i];
    }
    uint32_t base_bytes = bytes[count - 1];
    bool read = atomic_load(&layers[count - 1].body->resident) != NULL;
    uint64_t most = base_bytes / 4 > RUNS_BYTES_MIN ? base_bytes / 4 : RUNS_BYTES_MIN;
    if (!read) {
        most = RUNS_BYTES_UNREAD;
    }
    if (runs_bytes > most) {
        return count;
    }
    uint32_t top = 1;
    uint64_t top_bytes = bytes[0];
    while (top + 1 < count &&
           (top_bytes * 2 >= bytes[top] || top_bytes + bytes[top] <= RUN_BYTES_SMALL)) {
        top_bytes += bytes[top];
        top++;
    }
    return count - top + 1 > SOP_SHEETS_MAX ? count - 1 : top;
}

/* Folds what was stacked. */
static int fold(struct sop_plan *p, struct sop_pend *d, struct sop_err *err)
{
    const struct sop_version *v = d->made;
    uint32_t bytes[SOP_LAYERS_MAX];
    for (uint32_t i = 0; i < v->layers_count; i++) {
        bytes[i] = v->layers[i].body->bytes;
    }
    uint32_t top = fold_count(d, v->layers, bytes, v->layers_count);
    bool again = v->layers_count == 1 && (v->layers[0].clipped || shares_base(d));
    return top > 1 || again ? fold_top(p, d, top, err) : 0;
}

/* The image of a pend's operations with the top layers of its source merged into it. `image` is
 * that of the operations; it is freed. */
static int merge_image(struct sop_plan *p, struct sop_pend *d, const struct sop_layer *layers,
                       uint32_t top, bool base, struct sop_slice *image, struct sop_err *err)
{
    struct sop_sheet run;
    const struct sop_sheet *sheets[SOP_LAYERS_MAX] = {&run};
    sop_sheet_view(*image, &run);
    int rc = 0;
    for (uint32_t i = 1; i < top && rc == 0; i++) {
        rc = sop_body_sheet(layers[i].body, &sheets[i], err);
    }
    struct sop_slice merged = {0};
    uint32_t items = 0;
    if (rc == 0) {
        struct sop_sheet_meta meta = meta_of(p, d, !base);
        rc = sop_stack_merge(sheets, top, &d->tree->order, &meta, &merged, base ? &items : NULL,
                             err);
    }
    sop_free((void *)(uintptr_t)image->data);
    if (rc == 0 && base && items != (uint64_t)d->items) {
        sop_free((void *)(uintptr_t)merged.data);
        rc = wrong_items(d, items, err);
    }
    *image = merged;
    return rc;
}

/* The layer of a pend's operations, which takes in the first `*top` - 1 of those `below`. It
 * becomes layers[*top - 1]. */
static int make_top(struct sop_plan *p, struct sop_pend *d, struct sop_layer *layers,
                    uint32_t *bytes, uint32_t below, uint32_t *top, struct sop_err *err)
{
    struct sop_sheet_draft draft;
    int rc = draft_image(p, d, below == 0, &draft, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_slice image = draft.image;
    memset(&layers[0], 0, sizeof layers[0]);
    bytes[0] = (uint32_t)image.len;
    *top = fold_count(d, layers, bytes, below + 1);
    struct sop_layer *to = &layers[*top - 1];
    if (*top > 1) {
        sop_sheet_draft_fill(&draft);
        rc = merge_image(p, d, layers, *top, *top == below + 1, &image, err);
    }
    if (rc == 0) {
        rc = make_body(p, d, image, &to->body, err);
    }
    if (rc == 0 && *top == 1) {
        rc = fill_or_note(p, d, &draft, to->body, err);
        if (rc != 0) {
            sop_body_unref(to->body);
        }
    }
    to->clipped = false;
    return rc;
}

/* Makes the version of a pend that nobody has stacked: what folding leaves is made at once,
 * without what it folds. *done false: layers that are clipped, or only partly the page's, are
 * for the slow way. */
static int make_version(struct sop_plan *p, struct sop_pend *d, bool *done, struct sop_err *err)
{
    struct sop_layer layers[SOP_LAYERS_MAX];
    uint32_t bytes[SOP_LAYERS_MAX];
    uint32_t below = d->source == NULL ? 0 : d->source->layers_count;
    *done = false;
    SOP_ASSERT(below < SOP_LAYERS_MAX);
    if (d->ops_count == 0 || shares_base(d)) {
        return 0;
    }
    for (uint32_t i = 0; i < below; i++) {
        layers[i + 1] = clip_layer(d, &d->source->layers[i]);
        bytes[i + 1] = layers[i + 1].body->bytes;
        if (layers[i + 1].clipped) {
            return 0;
        }
    }
    *done = true;
    uint32_t top;
    int rc = make_top(p, d, layers, bytes, below, &top, err);
    if (rc != 0) {
        return rc;
    }
    bool base = top == below + 1;
    struct sop_version_spec spec = spec_of(p, d);
    spec.exact = base || is_exact(d);
    if (base && below > 0) {
        spec.bytes_live = layers[top - 1].body->bytes;
    }
    spec.layers = layers + top - 1;
    spec.layers_count = below + 2 - top;
    rc = sop_version_new(&d->made, &p->engine->cache, &spec, err);
    sop_body_unref(layers[top - 1].body); /* the version has its own reference */
    return rc;
}

/* The version that the page gets. */
static int finish_page(struct sop_plan *p, struct sop_pend *d, struct sop_err *err)
{
    SOP_ASSERT(d->items >= 0 && d->items <= UINT32_MAX);
    bool done = false;
    int rc = 0;
    if (d->made == NULL && !d->free && !p->replay) {
        rc = make_version(p, d, &done, err);
    }
    if (rc == 0 && !done) {
        rc = sop_plan__stack(p, d, err);
        if (rc == 0 && !p->replay && !d->free) {
            rc = fold(p, d, err);
        }
    }
    if (rc == 0) {
        rc = sop_pages_frame(&p->engine->pages, d->page, &d->frame, err);
    }
    if (rc == 0 && d->free) {
        rc = sop_tree_reserve(d->tree, &p->engine->pages, p->pends, err);
    }
    return rc;
}

int sop_plan_finish(struct sop_plan *p, struct sop_err *err)
{
    struct sop_engine *e = p->engine;
    p->publish = sop_arena_alloc(&p->arena, (p->pends + 1) * sizeof *p->publish);
    if (p->publish == NULL) {
        return SOP_ERR(err, NOMEM, "publish %zu pages", p->pends);
    }
    int rc = sop_engine_reserve_dirty(e, p->pends, err);
    size_t i = 0;
    for (struct sop_pend *d = p->first; d != NULL && rc == 0; d = d->next) {
        rc = finish_page(p, d, err);
        if (rc == 0) {
            p->publish[i].frame = d->frame;
            p->publish[i].version = d->made;
            i++;
        }
    }
    for (size_t k = 0; k < p->counts_count && rc == 0; k++) {
        rc = sop_tree_reserve(p->counts[k].tree, &p->engine->pages, 0, err);
    }
    for (size_t k = 0; k < p->taken_count && rc == 0; k++) {
        rc = sop_tree_reserve(p->taken[k].tree, &p->engine->pages, p->taken_count, err);
    }
    return rc;
}

static void publish_events(struct sop_plan *p)
{
    for (size_t i = 0; i < p->events_count; i++) {
        struct sop_tree *t = p->events[i].tree;
        switch (p->events[i].what) {
        case SOP_STORE_CREATED:
            atomic_store(&t->created, p->moment);
            break;
        case SOP_STORE_REMOVED:
            atomic_store(&t->freeing, true);
            atomic_store(&t->dropped, p->moment);
            break;
        case SOP_STORE_FREED:
            atomic_store(&t->freeing, false);
            break;
        }
    }
}

void sop_plan_publish(struct sop_plan *p, struct sop_lsn lsn)
{
    struct sop_engine *e = p->engine;
    SOP_ASSERT(p->base == atomic_load(&e->pages.moment));
    sop_plan_fill(p);
    publish_events(p);
    for (size_t i = 0; i < p->counts_count; i++) {
        sop_tree_set_items(p->counts[i].tree, p->moment, p->counts[i].items);
    }
    for (size_t i = 0; i < p->values_count; i++) {
        sop_files_add(&e->files, &p->values[i].place, SOP_FILES_LIVE, p->values[i].change);
    }
    for (struct sop_pend *d = p->first; d != NULL; d = d->next) {
        d->made->lsn = lsn;
        if (d->free && !d->tree->freeing) {
            sop_mutex_lock(&d->tree->mutex);
            SOP_ASSERT(d->tree->free_count < d->tree->free_cap);
            d->tree->free_pages[d->tree->free_count++] = d->page;
            sop_mutex_unlock(&d->tree->mutex);
        }
        sop_engine_mark_dirty(e, d->page, d->frame);
        d->made = NULL; /* the frame owns it now */
    }
    for (const struct sop_pend *d = p->first; d != NULL; d = d->next) {
        atomic_store_explicit(&d->tree->changed, p->moment, memory_order_relaxed);
    }
    sop_pages_publish(&e->pages, p->publish, p->pends, p->moment, lsn);
    p->taken_count = 0;
}

/* ---- small parts ---------------------------------------------------------------------------
 */

int sop_plan_event(struct sop_plan *p, struct sop_tree *tree, enum sop_store_event what,
                   struct sop_slice info, struct sop_err *err)
{
    int rc = grow((void **)&p->events, &p->events_cap, p->events_count, sizeof *p->events, err);
    if (rc != 0) {
        return rc;
    }
    if (what == SOP_STORE_CREATED && !p->replay) {
        struct sop_pend *d = pend_new(p, tree, tree->root, err);
        if (d == NULL) {
            return SOP_ERR_NOMEM;
        }
        rc = grow((void **)&p->counts, &p->counts_cap, p->counts_count, sizeof *p->counts, err);
        if (rc != 0) {
            return rc;
        }
        p->counts[p->counts_count++] = (struct sop_plan_count){.tree = tree, .items = 0};
    }
    p->events[p->events_count++] =
        (struct sop_plan_store_event){.tree = tree, .what = what, .info = info};
    return 0;
}

int sop_plan_free_page(struct sop_plan *p, struct sop_tree *tree, uint64_t page,
                       struct sop_err *err)
{
    struct sop_pend *d = pend_new(p, tree, page, err);
    if (d == NULL) {
        return SOP_ERR_NOMEM;
    }
    d->free = true;
    return 0;
}

int sop_plan_value(struct sop_plan *p, const struct sop_place *place, int sign,
                   struct sop_err *err)
{
    int64_t change = sign * (int64_t)place->bytes;
    for (size_t i = p->values_count; i-- > 0 && p->values_count - i < 8;) {
        if (p->values[i].place.member == place->member &&
            p->values[i].place.file == place->file) {
            p->values[i].change += change;
            return 0;
        }
    }
    int rc = grow((void **)&p->values, &p->values_cap, p->values_count, sizeof *p->values, err);
    if (rc == 0) {
        p->values[p->values_count++] =
            (struct sop_plan_value){.place = *place, .change = change};
    }
    return rc;
}
