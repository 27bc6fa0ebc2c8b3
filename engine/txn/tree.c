/* Reading trees at a moment; see tree.h. */
#include "engine/txn/tree.h"

#include "engine/base/codec.h"
#include "engine/base/limits.h"

int sop_tree_new(struct sop_tree **out, uint64_t id, uint64_t root, struct sop_err *err)
{
    *out = NULL;
    struct sop_tree *t = sop_calloc(1, sizeof *t);
    if (t == NULL) {
        return SOP_ERR(err, NOMEM, "make store %" PRIu64, id);
    }
    t->id = id;
    t->root = root;
    t->slot_length = SOP_SLOT_LENGTH_DEFAULT;
    t->unique = true;
    atomic_store(&t->dropped, SOP_NEVER);
    sop_mutex_init(&t->mutex, SOP_RANK_LEAF);
    *out = t;
    return 0;
}

void sop_tree_free(struct sop_tree *t)
{
    sop_mutex_fini(&t->mutex);
    sop_free(t->counts);
    sop_free(t->free_pages);
    sop_free(t);
}

uint64_t sop_tree_items(struct sop_tree *t, uint64_t moment)
{
    sop_mutex_lock(&t->mutex);
    size_t low = 0; /* the counts before it are of moments <= moment */
    size_t high = t->counts_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->counts[middle].at <= moment) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    uint64_t items = low > 0 ? t->counts[low - 1].items : 0;
    sop_mutex_unlock(&t->mutex);
    return items;
}

/* Forgets counts that no pin needs. New pins are made only at the newest moment, whose count is
 * the last one, and at moments that are pinned. */
static void thin_counts(struct sop_tree *t, struct sop_pages *p)
{
    sop_mutex_lock(&p->history);
    sop_mutex_lock(&t->mutex);
    const struct sop_pin *pin = p->oldest_pin;
    size_t kept = 0;
    for (size_t i = 0; i < t->counts_count; i++) {
        bool newest = i + 1 == t->counts_count;
        while (!newest && pin != NULL && pin->moment < t->counts[i].at) {
            pin = pin->newer; /* served by a count before */
        }
        if (newest || (pin != NULL && pin->moment < t->counts[i + 1].at)) {
            t->counts[kept++] = t->counts[i];
        }
    }
    t->counts_count = kept;
    sop_mutex_unlock(&t->mutex);
    sop_mutex_unlock(&p->history);
}

int sop_tree_reserve(struct sop_tree *t, struct sop_pages *p, size_t pages, struct sop_err *err)
{
    int rc = 0;
    bool full = t->counts_count == t->counts_cap; /* only commits change them */
    if (full) {
        thin_counts(t, p);
    }
    sop_mutex_lock(&t->mutex);
    if (full && t->counts_count >= t->counts_cap / 2) { /* so that thinning stays seldom */
        size_t cap = t->counts_cap == 0 ? 8 : t->counts_cap * 2;
        struct sop_tree_count *counts = sop_realloc(t->counts, cap * sizeof *counts);
        if (counts == NULL) {
            rc = SOP_ERR(err, NOMEM, "count the items of store %" PRIu64, t->id);
        } else {
            t->counts = counts;
            t->counts_cap = cap;
        }
    }
    if (rc == 0 && t->free_count + pages > t->free_cap) {
        size_t cap = (t->free_count + pages) * 2;
        uint64_t *list = sop_realloc(t->free_pages, cap * sizeof *list);
        if (list == NULL) {
            rc = SOP_ERR(err, NOMEM, "keep free pages of store %" PRIu64, t->id);
        } else {
            t->free_pages = list;
            t->free_cap = cap;
        }
    }
    sop_mutex_unlock(&t->mutex);
    return rc;
}

void sop_tree_set_items(struct sop_tree *t, uint64_t moment, uint64_t items)
{
    sop_mutex_lock(&t->mutex);
    if (t->counts_count > 0 && t->counts[t->counts_count - 1].at == moment) {
        t->counts[t->counts_count - 1].items = items;
    } else {
        SOP_ASSERT(t->counts_count < t->counts_cap);
        SOP_ASSERT(t->counts_count == 0 || t->counts[t->counts_count - 1].at < moment);
        t->counts[t->counts_count++] = (struct sop_tree_count){.at = moment, .items = items};
    }
    sop_mutex_unlock(&t->mutex);
}

/* ---- descending ----------------------------------------------------------------------------
 */

static int child_id(const struct sop_item *item, uint64_t *id, struct sop_err *err)
{
    if (item->kind != SOP_VALUE_INLINE || item->value.len != 8) {
        return SOP_ERR(err, DATA_LOSS, "an inner page holds a value of %zu bytes",
                       item->value.len);
    }
    *id = sop_get_u64(item->value.data);
    return 0;
}

/* Inner pages usually are one sheet: search it without a walk. */
static int child_in_sheet(const struct sop_sheet *s, const struct sop_order *order,
                          enum sop_way way, struct sop_slice key, uint64_t *id, bool *none,
                          struct sop_err *err)
{
    uint32_t at = 0;
    bool exact = false;
    *none = s->count == 0;
    if (*none) {
        return 0;
    }
    switch (way) {
    case SOP_WAY_FIRST:
        break;
    case SOP_WAY_LAST:
        at = s->count - 1;
        break;
    case SOP_WAY_KEY:
        at = sop_sheet_seek(s, order, key, &exact);
        if (!exact) {
            *none = at == 0;
            at -= at > 0;
        }
        break;
    case SOP_WAY_BEFORE:
        at = sop_sheet_seek(s, order, key, &exact);
        *none = at == 0;
        at -= at > 0;
        break;
    }
    struct sop_item item = sop_sheet_item(s, at);
    return *none ? 0 : child_id(&item, id, err);
}

static int child_in_walk(struct sop_version *v, const struct sop_order *order, enum sop_way way,
                         struct sop_slice key, uint64_t *id, bool *none, struct sop_err *err)
{
    struct sop_walk walk;
    int rc = sop_version_walk(v, order, NULL, &walk, err);
    if (rc != 0) {
        return rc;
    }
    bool exact = false;
    bool on = false;
    switch (way) {
    case SOP_WAY_FIRST:
        on = sop_walk_first(&walk);
        break;
    case SOP_WAY_LAST:
        on = sop_walk_last(&walk);
        break;
    case SOP_WAY_KEY:
        on = sop_walk_floor(&walk, key, &exact);
        break;
    case SOP_WAY_BEFORE:
        on = sop_walk_floor(&walk, key, &exact);
        if (on && exact) {
            on = sop_walk_prev(&walk);
        }
        break;
    }
    *none = !on;
    if (!on) {
        return 0;
    }
    struct sop_item item = sop_walk_item(&walk);
    return child_id(&item, id, err);
}

static int child_of(struct sop_version *v, const struct sop_order *order, enum sop_way way,
                    struct sop_slice key, uint64_t *id, bool *none, struct sop_err *err)
{
    if (v->layers_count == 1 && !v->layers[0].clipped) {
        const struct sop_sheet *s = NULL;
        int rc = sop_body_sheet(v->layers[0].body, &s, err);
        if (rc != 0) {
            return rc;
        }
        /* A shared base may reach beyond the fences: only an exact one is searched plainly. */
        if (s->count == v->items && !s->run) {
            return child_in_sheet(s, order, way, key, id, none, err);
        }
    }
    return child_in_walk(v, order, way, key, id, none, err);
}

int sop_tree_descend(struct sop_pages *p, struct sop_tree *t, uint64_t moment, enum sop_way way,
                     struct sop_slice key, uint8_t level, struct sop_version **out, bool *none,
                     struct sop_err *err)
{
    uint64_t page = t->root;
    struct sop_version *v = NULL;
    int expected = -1;
    if (none != NULL) {
        *none = false;
    }
    for (int depth = 0; depth < SOP_LEVELS_MAX; depth++) {
        int rc = sop_pages_at(p, &t->order, page, moment, &v, err);
        if (rc != 0) {
            return sop_err_wrap(err, rc, "store %" PRIu64, t->id);
        }
        if (expected >= 0 && v->level != expected) {
            break;
        }
        if (v->level <= level) {
            *out = v;
            return 0;
        }
        bool nothing = false;
        rc = child_of(v, &t->order, way, key, &page, &nothing, err);
        if (rc != 0) {
            return sop_err_wrap(err, rc, "store %" PRIu64 ", page %" PRIu64, t->id, page);
        }
        if (nothing) {
            if (way == SOP_WAY_BEFORE && none != NULL) {
                *none = true;
                return 0;
            }
            return SOP_ERR(err, DATA_LOSS,
                           "store %" PRIu64 ": inner page %" PRIu64
                           " has no child for a key inside it",
                           t->id, v->page);
        }
        expected = v->level - 1;
    }
    return SOP_ERR(err, DATA_LOSS, "store %" PRIu64 ": page %" PRIu64 " is at a wrong level",
                   t->id, page);
}

int sop_tree_find(struct sop_pages *p, struct sop_tree *t, uint64_t moment,
                  struct sop_slice key, bool *found, struct sop_item *item,
                  struct sop_version **leaf, struct sop_err *err)
{
    struct sop_version *v = NULL;
    *found = false;
    int rc = sop_tree_descend(p, t, moment, SOP_WAY_KEY, key, 0, &v, NULL, err);
    if (rc != 0) {
        return rc;
    }
    if (leaf != NULL) {
        *leaf = v;
    }
    return sop_version_find(v, &t->order, key, found, item, err);
}

/* The id of the leaf that covers the key, if all above it is in memory; else 0. */
static uint64_t leaf_near(struct sop_pages *p, struct sop_tree *t, uint64_t moment,
                          struct sop_slice key)
{
    uint64_t page = t->root;
    for (int depth = 0; depth < SOP_LEVELS_MAX; depth++) {
        const struct sop_version *v = sop_pages_near(p, page, moment);
        if (v == NULL || v->level == 0) {
            return v != NULL ? page : 0;
        }
        const struct sop_sheet *s = sop_version_near(v);
        bool none = true;
        if (s == NULL ||
            child_in_sheet(s, &t->order, SOP_WAY_KEY, key, &page, &none, NULL) != 0 || none) {
            return 0;
        }
        if (v->level == 1) {
            return page;
        }
    }
    return 0;
}

void sop_tree_fetch_ahead(struct sop_pages *p, struct sop_tree *t, uint64_t moment,
                          const struct sop_slice *keys, size_t count,
                          struct sop_version **leaves)
{
    uint64_t pages[SOP_FETCH_MOST];
    for (size_t at = 0; at < count; at += SOP_FETCH_MOST) {
        size_t n = count - at < SOP_FETCH_MOST ? count - at : SOP_FETCH_MOST;
        for (size_t i = 0; i < n; i++) {
            pages[i] = leaf_near(p, t, moment, keys[at + i]);
        }
        sop_pages_fetch_ahead(p, moment, pages, keys + at, n, leaves + at);
        for (size_t i = at; i < at + n; i++) {
            if (leaves[i] != NULL && leaves[i]->level != 0) {
                leaves[i] = NULL; /* damage: the plain way finds it and says so */
            }
        }
    }
}

/* ---- ranks ---------------------------------------------------------------------------------
 */

/* Sums the items of all leaves below `page`. */
static int items_below(struct sop_pages *p, struct sop_tree *t, uint64_t moment, uint64_t page,
                       uint8_t level, uint64_t *sum, struct sop_err *err);

/* Visits the children of an inner version in order until `visit` says stop. */
typedef int (*child_fn)(void *arg, uint64_t id, struct sop_slice prefix,
                        struct sop_slice suffix, bool *stop, struct sop_err *err);
static int each_child(struct sop_version *v, const struct sop_order *order, child_fn visit,
                      void *arg, struct sop_err *err)
{
    struct sop_walk walk;
    int rc = sop_version_walk(v, order, NULL, &walk, err);
    bool stop = false;
    for (bool on = rc == 0 && sop_walk_first(&walk); on && rc == 0 && !stop;
         on = sop_walk_next(&walk)) {
        struct sop_item item = sop_walk_item(&walk);
        uint64_t id = 0;
        rc = child_id(&item, &id, err);
        if (rc == 0) {
            rc = visit(arg, id, item.prefix, item.suffix, &stop, err);
        }
    }
    return rc;
}

struct sum_arg {
    struct sop_pages *p;
    struct sop_tree *t;
    uint64_t moment;
    uint8_t level; /* of the children */
    uint64_t sum;
    uint64_t limit;     /* stop when sum would reach it (rank search) */
    uint64_t stop_page; /* stop at this child */
    uint64_t found;     /* child where it stopped, 0 = none */
};

static int sum_child(void *arg, uint64_t id, struct sop_slice prefix, struct sop_slice suffix,
                     bool *stop, struct sop_err *err)
{
    (void)prefix;
    (void)suffix;
    struct sum_arg *a = arg;
    if (id == a->stop_page) {
        a->found = id;
        *stop = true;
        return 0;
    }
    uint64_t items = 0;
    int rc = items_below(a->p, a->t, a->moment, id, a->level, &items, err);
    if (rc == 0 && a->sum + items > a->limit) {
        a->found = id;
        *stop = true;
        return 0;
    }
    a->sum += items;
    return rc;
}

static int items_below(struct sop_pages *p, struct sop_tree *t, uint64_t moment, uint64_t page,
                       uint8_t level, uint64_t *sum, struct sop_err *err)
{
    if (level == 0) {
        uint32_t items = 0;
        int rc = sop_pages_items(p, page, moment, &items, err);
        *sum = items;
        return rc;
    }
    struct sop_version *v = NULL;
    int rc = sop_pages_at(p, &t->order, page, moment, &v, err);
    if (rc != 0) {
        return rc;
    }
    if (v->level != level) {
        return SOP_ERR(err, DATA_LOSS, "page %" PRIu64 " is at level %u, not %u", page,
                       v->level, level);
    }
    struct sum_arg a = {
        .p = p, .t = t, .moment = moment, .level = (uint8_t)(level - 1), .limit = SOP_NEVER};
    rc = each_child(v, &t->order, sum_child, &a, err);
    *sum = a.sum;
    return rc;
}

int sop_tree_rank(struct sop_pages *p, struct sop_tree *t, uint64_t moment,
                  struct sop_slice key, uint64_t *rank, struct sop_err *err)
{
    struct sop_version *v = NULL;
    *rank = 0;
    int rc = sop_pages_at(p, &t->order, t->root, moment, &v, err);
    while (rc == 0 && v->level > 0) {
        uint64_t child = 0;
        bool none = false;
        rc = child_of(v, &t->order, SOP_WAY_KEY, key, &child, &none, err);
        if (rc == 0 && none) {
            return SOP_ERR(err, DATA_LOSS, "page %" PRIu64 " has no child for a key", v->page);
        }
        struct sum_arg a = {.p = p,
                            .t = t,
                            .moment = moment,
                            .level = (uint8_t)(v->level - 1),
                            .limit = SOP_NEVER,
                            .stop_page = child};
        if (rc == 0) {
            rc = each_child(v, &t->order, sum_child, &a, err);
            *rank += a.sum;
        }
        if (rc == 0) {
            rc = sop_pages_at(p, &t->order, child, moment, &v, err);
        }
    }
    struct sop_walk walk;
    if (rc == 0) {
        rc = sop_version_walk(v, &t->order, NULL, &walk, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (walk.sheets_count == 1) { /* one sheet: indexes are ranks */
        bool exact = false;
        uint32_t at = sop_sheet_seek(walk.sheets[0], &t->order, key, &exact);
        at = at < walk.first[0] ? walk.first[0] : at > walk.end[0] ? walk.end[0] : at;
        if (!walk.sheets[0]->run) {
            *rank += at - walk.first[0];
            return 0;
        }
    }
    for (bool on = sop_walk_first(&walk); on; on = sop_walk_next(&walk)) {
        struct sop_item item = sop_walk_item(&walk);
        struct sop_buf whole = {0};
        rc = sop_item_key(&item, &whole, err);
        bool less = rc == 0 && sop_order_cmp(&t->order, sop_buf_slice(&whole), key) < 0;
        sop_buf_fini(&whole);
        if (rc != 0 || !less) {
            break;
        }
        (*rank)++;
    }
    return rc;
}

int sop_tree_at_rank(struct sop_pages *p, struct sop_tree *t, uint64_t moment, uint64_t rank,
                     struct sop_version **leaf, uint64_t *first, struct sop_err *err)
{
    struct sop_version *v = NULL;
    *first = 0;
    int rc = sop_pages_at(p, &t->order, t->root, moment, &v, err);
    while (rc == 0 && v->level > 0) {
        struct sum_arg a = {.p = p,
                            .t = t,
                            .moment = moment,
                            .level = (uint8_t)(v->level - 1),
                            .limit = rank - *first};
        rc = each_child(v, &t->order, sum_child, &a, err);
        if (rc == 0 && a.found == 0) {
            return SOP_ERR(err, END, "there is no item number %" PRIu64, rank);
        }
        *first += a.sum;
        if (rc == 0) {
            rc = sop_pages_at(p, &t->order, a.found, moment, &v, err);
        }
    }
    if (rc == 0 && rank - *first >= v->items) {
        return SOP_ERR(err, END, "there is no item number %" PRIu64, rank);
    }
    *leaf = v;
    return rc;
}

/* ---- scans ---------------------------------------------------------------------------------
 */

void sop_scan_init(struct sop_scan *s, struct sop_pages *p, struct sop_tree *t,
                   struct sop_epoch_slot *slot, uint64_t moment)
{
    memset(s, 0, sizeof *s);
    s->pages = p;
    s->tree = t;
    s->slot = slot;
    s->moment = moment;
}

void sop_scan_fini(struct sop_scan *s)
{
    sop_hold_end(&s->hold);
    sop_buf_fini(&s->low);
    sop_buf_fini(&s->high);
    s->on = false;
}

/* Lets go of the held leaf and holds v. Inside an epoch. */
static int scan_take(struct sop_scan *s, struct sop_version *v, struct sop_err *err)
{
    sop_hold_end(&s->hold);
    s->on = false;
    sop_buf_clear(&s->low);
    sop_buf_clear(&s->high);
    int rc = sop_buf_append(&s->low, v->low.data, v->low.len, err);
    if (rc == 0) {
        rc = sop_buf_append(&s->high, v->high.data, v->high.len, err);
    }
    s->has_high = v->has_high;
    s->page = v->page;
    s->page_at = v->at;
    if (rc == 0) {
        rc = sop_version_walk(v, &s->tree->order, &s->hold, &s->walk, err);
    }
    return rc;
}

/* Moves to leaves on the right until one has an item. Inside an epoch; !s->on. */
static int scan_right(struct sop_scan *s, struct sop_err *err)
{
    while (!s->on && s->has_high) {
        struct sop_version *v = NULL;
        int rc = sop_tree_descend(s->pages, s->tree, s->moment, SOP_WAY_KEY,
                                  sop_buf_slice(&s->high), 0, &v, NULL, err);
        if (rc == 0) {
            rc = scan_take(s, v, err);
        }
        if (rc != 0) {
            return rc;
        }
        s->on = sop_walk_first(&s->walk);
    }
    return 0;
}

static int scan_left(struct sop_scan *s, struct sop_err *err)
{
    while (!s->on && s->low.len > 0) {
        struct sop_version *v = NULL;
        bool none = false;
        int rc = sop_tree_descend(s->pages, s->tree, s->moment, SOP_WAY_BEFORE,
                                  sop_buf_slice(&s->low), 0, &v, &none, err);
        if (rc != 0 || none) {
            return rc;
        }
        rc = scan_take(s, v, err);
        if (rc != 0) {
            return rc;
        }
        s->on = sop_walk_last(&s->walk);
    }
    return 0;
}

static int scan_go(struct sop_scan *s, enum sop_way way, struct sop_slice key,
                   struct sop_err *err)
{
    struct sop_version *v = NULL;
    int rc = sop_tree_descend(s->pages, s->tree, s->moment, way, key, 0, &v, NULL, err);
    return rc != 0 ? rc : scan_take(s, v, err);
}

int sop_scan_first(struct sop_scan *s, struct sop_err *err)
{
    sop_epoch_enter(s->pages->epochs, s->slot);
    int rc = scan_go(s, SOP_WAY_FIRST, sop_slice(NULL, 0), err);
    if (rc == 0) {
        s->on = sop_walk_first(&s->walk);
        rc = scan_right(s, err);
    }
    sop_epoch_leave(s->slot);
    return rc;
}

int sop_scan_last(struct sop_scan *s, struct sop_err *err)
{
    sop_epoch_enter(s->pages->epochs, s->slot);
    int rc = scan_go(s, SOP_WAY_LAST, sop_slice(NULL, 0), err);
    if (rc == 0) {
        s->on = sop_walk_last(&s->walk);
        rc = scan_left(s, err);
    }
    sop_epoch_leave(s->slot);
    return rc;
}

int sop_scan_seek(struct sop_scan *s, struct sop_slice key, bool *exact, struct sop_err *err)
{
    bool equal = false;
    sop_epoch_enter(s->pages->epochs, s->slot);
    int rc = scan_go(s, SOP_WAY_KEY, key, err);
    if (rc == 0) {
        s->on = sop_walk_seek(&s->walk, key, &equal);
        equal = equal && s->on;
        rc = scan_right(s, err);
    }
    sop_epoch_leave(s->slot);
    if (exact != NULL) {
        *exact = equal;
    }
    return rc;
}

int sop_scan_floor(struct sop_scan *s, struct sop_slice key, bool *exact, struct sop_err *err)
{
    bool equal = false;
    sop_epoch_enter(s->pages->epochs, s->slot);
    int rc = scan_go(s, SOP_WAY_KEY, key, err);
    if (rc == 0) {
        s->on = sop_walk_floor(&s->walk, key, &equal);
        equal = equal && s->on;
        rc = scan_left(s, err);
    }
    sop_epoch_leave(s->slot);
    if (exact != NULL) {
        *exact = equal;
    }
    return rc;
}

int sop_scan_next(struct sop_scan *s, struct sop_err *err)
{
    SOP_ASSERT(s->on);
    s->on = sop_walk_next(&s->walk);
    if (s->on) {
        return 0;
    }
    sop_epoch_enter(s->pages->epochs, s->slot);
    int rc = scan_right(s, err);
    sop_epoch_leave(s->slot);
    return rc;
}

int sop_scan_prev(struct sop_scan *s, struct sop_err *err)
{
    SOP_ASSERT(s->on);
    s->on = sop_walk_prev(&s->walk);
    if (s->on) {
        return 0;
    }
    sop_epoch_enter(s->pages->epochs, s->slot);
    int rc = scan_left(s, err);
    sop_epoch_leave(s->slot);
    return rc;
}

bool sop_scan_step_here(struct sop_scan *s, bool forward)
{
    SOP_ASSERT(s->on);
    if (forward ? sop_walk_next(&s->walk) : sop_walk_prev(&s->walk)) {
        return true;
    }
    bool back = forward ? sop_walk_prev(&s->walk) : sop_walk_next(&s->walk);
    SOP_ASSERT(back);
    return false;
}
