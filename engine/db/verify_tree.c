/* Verifying one tree: every page from the root down, at the pinned moment.
 *
 * A page is looked at inside an epoch and held while its items are checked, so that reading
 * values takes as long as it takes. The way down is kept as a list of children for each level:
 * memory for one page a level, no recursion.
 *
 * What is proved of a page: it is named once; its sheets can be read from the volume, not only
 * from memory; its level is one less than its parent's; its fences are the separators around
 * it; keys ascend strictly inside them; the number of its items is the one that version and
 * handle say. */
#include "engine/base/codec.h"
#include "engine/db/verify_int.h"

#define VALUE_PIECE_BYTES (1u << 20)

struct child {
    uint64_t page;
    size_t at; /* of its separator in keys */
    size_t len;
};
struct level {
    struct child *children;
    size_t count, cap;
    size_t next;
    struct sop_buf keys;
    struct sop_buf high; /* fence of the page that they are children of */
    bool has_high;
};

/* What was seen of a version inside the epoch. */
struct sight {
    struct sop_lsn lsn;
    uint32_t items;
    uint8_t level;
    bool has_high;
    bool empty; /* no sheets at all: the catalog of a database that was never written to */
    struct sop_buf low, high;
    struct sop_hold hold;
    struct sop_walk walk;
    struct sop_place places[SOP_LAYERS_MAX];
    bool fresh[SOP_LAYERS_MAX]; /* read from the volume by this look */
    uint32_t places_count;
};

struct walking {
    struct sop_verify *v;
    struct sop_verify_tree *entry;
    struct sop_tree *tree;
    struct level levels[SOP_LEVELS_MAX];
    struct sop_buf low, high; /* what the parent says of the page being visited */
    bool has_high;
    struct sop_buf key, last; /* of the items being checked */
    uint64_t items, pages;
    bool broken;
};

/* ---- looking at a page ---------------------------------------------------------------------
 */

static int copy_facts(struct sight *s, const struct sop_version *v, struct sop_err *err)
{
    s->lsn = v->lsn;
    s->items = v->items;
    s->level = v->level;
    s->has_high = v->has_high;
    s->empty = v->layers_count == 0;
    int rc = sop_buf_append(&s->low, v->low.data, v->low.len, err);
    return rc == 0 ? sop_buf_append(&s->high, v->high.data, v->high.len, err) : rc;
}

static void note_places(struct sight *s, struct sop_version *v, bool loaded)
{
    for (uint32_t i = 0; i < v->layers_count; i++) {
        struct sop_body *b = v->layers[i].body;
        if (!atomic_load(&b->placed)) {
            continue; /* only in memory and in the journal so far */
        }
        s->places[s->places_count] = b->place;
        s->fresh[s->places_count] = (loaded && i == 0) || atomic_load(&b->resident) == NULL;
        s->places_count++;
    }
}

/* Inside the epoch: the version at the moment, held. */
static int look_inside(struct walking *w, uint64_t page, struct sight *s, struct sop_err *err)
{
    struct sop_engine *e = w->v->engine;
    struct sop_frame *frame = NULL;
    struct sop_version *v = NULL;
    int rc = sop_pages_frame(&e->pages, page, &frame, err);
    if (rc != 0) {
        return rc;
    }
    bool loaded = atomic_load(&frame->newest) == NULL;
    rc = sop_pages_at(&e->pages, &w->tree->order, page, w->v->pin->moment, &v, err);
    if (rc == 0) {
        rc = copy_facts(s, v, err);
    }
    if (rc != 0 || s->empty) {
        return rc;
    }
    note_places(s, v, loaded);
    rc = sop_version_walk(v, &w->tree->order, &s->hold, &s->walk, err);
    for (uint32_t i = 0; i < s->walk.sheets_count && rc == 0; i++) {
        const struct sop_sheet *sheet = s->walk.sheets[i];
        if (sheet->store != w->tree->id || sheet->level != s->level) {
            rc = SOP_ERR(err, DATA_LOSS,
                         "it has a sheet of store %" PRIu64 ", page %" PRIu64 ", level %u",
                         sheet->store, sheet->page, sheet->level);
        }
    }
    return rc;
}

static void sight_fini(struct sight *s)
{
    sop_hold_end(&s->hold);
    sop_buf_fini(&s->low);
    sop_buf_fini(&s->high);
}

/* ---- what the volume has of a page ---------------------------------------------------------
 */

static bool among(const struct sight *s, const struct sop_place *p, bool *fresh)
{
    for (uint32_t i = 0; i < s->places_count; i++) {
        if (sop_place_eq(&s->places[i], p)) {
            *fresh = s->fresh[i];
            return true;
        }
    }
    return false;
}

/* The sheets of the newest checkpoint. A checkpoint may come in between and an old file go:
 * then the page has another handle, which is looked at in the end. */
static int check_handle(struct walking *w, uint64_t page, const struct sight *s,
                        struct sop_err *err)
{
    struct sop_verify *v = w->v;
    struct sop_handle h;
    struct sop_handle again;
    struct sop_err why = {0};
    int rc = sop_extents_handle(&v->engine->extents, page, &h, &why);
    if (rc != 0) {
        return sop_verify__judge(v, rc, &why, err, "store %" PRIu64 ", page %" PRIu64,
                                 w->tree->id, page);
    }
    if (h.lsn.slot == 0) {
        return 0; /* in no checkpoint yet */
    }
    if (sop_lsn_cmp(h.lsn, s->lsn) == 0 && (h.items != s->items || h.level != s->level)) {
        sop_verify__find(v, 2,
                         "store %" PRIu64 ", page %" PRIu64
                         ": its handle says %u items at level %u, the page has %u at %u",
                         w->tree->id, page, h.items, h.level, s->items, s->level);
    }
    const struct sop_place *places[2] = {&h.base, &h.run};
    for (int i = 0; i < 2; i++) {
        bool fresh = false;
        if (sop_place_none(places[i]) || (among(s, places[i], &fresh) && fresh)) {
            continue;
        }
        rc = sop_verify__read_sheet(v, places[i], &why);
        if (rc == 0) {
            continue;
        }
        if (sop_extents_handle(&v->engine->extents, page, &again, NULL) == 0 &&
            (!sop_place_eq(&again.base, &h.base) || !sop_place_eq(&again.run, &h.run))) {
            return 0;
        }
        rc = sop_verify__judge(v, rc, &why, err, "store %" PRIu64 ", page %" PRIu64,
                               w->tree->id, page);
        if (rc != 0) {
            return rc;
        }
    }
    (void)sop_verify__set(&v->covered, page);
    return 0;
}

/* Sheets that memory has and the volume should have, too. Those of the handle were read above.
 */
static int check_sheets(struct walking *w, uint64_t page, const struct sight *s,
                        struct sop_err *err)
{
    struct sop_verify *v = w->v;
    struct sop_handle h;
    int rc = check_handle(w, page, s, err);
    bool known = rc == 0 && sop_extents_handle(&v->engine->extents, page, &h, NULL) == 0;
    for (uint32_t i = 0; i < s->places_count && rc == 0; i++) {
        struct sop_err why = {0};
        sop_verify__named(v, &s->places[i], false, w->tree->id, page);
        bool read = s->fresh[i] || (known && (sop_place_eq(&h.base, &s->places[i]) ||
                                              sop_place_eq(&h.run, &s->places[i])));
        if (!read) {
            rc = sop_verify__read_sheet(v, &s->places[i], &why);
            rc = sop_verify__judge(v, rc, &why, err, "store %" PRIu64 ", page %" PRIu64,
                                   w->tree->id, page);
        }
    }
    return rc;
}

/* ---- items ---------------------------------------------------------------------------------
 */

static int read_value(struct sop_verify *v, const struct sop_place *place, struct sop_err *err)
{
    if (!v->deep || sop_verify__scanned(v, place)) { /* that its record begins there */
        return sop_packs_read_range(v->engine->reader, place, 0, NULL, 0, err);
    }
    sop_buf_clear(&v->piece);
    int rc = sop_buf_reserve(&v->piece, VALUE_PIECE_BYTES, err);
    uint64_t at = 0;
    do {
        uint64_t left = place->bytes - at;
        size_t len = (size_t)(left < VALUE_PIECE_BYTES ? left : VALUE_PIECE_BYTES);
        rc = rc != 0
                 ? rc
                 : sop_packs_read_range(v->engine->reader, place, at, v->piece.data, len, err);
        at += len;
    } while (rc == 0 && at < place->bytes);
    return rc;
}

static int check_value(struct walking *w, uint64_t page, const struct sop_item *item,
                       struct sop_err *err)
{
    struct sop_verify *v = w->v;
    struct sop_place place = {0};
    if (item->value.len == SOP_PLACE_BYTES) {
        place = sop_place_decode(item->value.data);
    }
    if (sop_place_none(&place) || place.bytes > SOP_VALUE_BYTES_MAX) {
        sop_verify__find(v, 2, "store %" PRIu64 ", page %" PRIu64 ": an item names no place",
                         w->tree->id, page);
        return 0;
    }
    v->result->values += w->entry->dropping ? 0 : 1;
    sop_verify__named(v, &place, true, w->tree->id, page);
    struct sop_err why = {0};
    int rc = read_value(v, &place, &why);
    return sop_verify__judge(v, rc, &why, err, "store %" PRIu64 ", page %" PRIu64 ", a value",
                             w->tree->id, page);
}

static int add_child(struct walking *w, struct level *to, uint64_t page,
                     const struct sop_item *item, struct sop_err *err)
{
    if (item->kind != SOP_VALUE_INLINE || item->value.len != 8) {
        sop_verify__find(w->v, 2,
                         "store %" PRIu64 ", inner page %" PRIu64 ": an item is no child",
                         w->tree->id, page);
        w->broken = true;
        return 0;
    }
    if (to->count == to->cap) {
        size_t cap = to->cap == 0 ? 64 : to->cap * 2;
        struct child *children = sop_realloc(to->children, cap * sizeof *children);
        if (children == NULL) {
            return SOP_ERR(err, NOMEM, "list the children of a page");
        }
        to->children = children;
        to->cap = cap;
    }
    to->children[to->count++] = (struct child){
        .page = sop_get_u64(item->value.data), .at = to->keys.len, .len = w->key.len};
    return sop_buf_append(&to->keys, w->key.data, w->key.len, err);
}

static int check_leaf_item(struct walking *w, uint64_t page, const struct sop_item *item,
                           struct sop_err *err)
{
    if (!w->tree->unique && w->key.len < SOP_ITEM_ID_BYTES) {
        sop_verify__find(w->v, 2,
                         "store %" PRIu64 ", page %" PRIu64
                         ": a key of %zu bytes is too short for an item id",
                         w->tree->id, page, w->key.len);
    }
    if (w->tree->id == SOP_CATALOG_STORE) {
        return sop_verify__catalog_item(w->v, sop_buf_slice(&w->key), item, err);
    }
    switch (item->kind) {
    case SOP_VALUE_INLINE:
        return 0;
    case SOP_VALUE_PLACE:
        return check_value(w, page, item, err);
    case SOP_VALUE_TOMBSTONE:
        break;
    }
    sop_verify__find(w->v, 2, "store %" PRIu64 ", page %" PRIu64 ": a deleted item is shown",
                     w->tree->id, page);
    return 0;
}

/* The key against the one before and the fences. One finding a page says enough. */
static bool check_key(struct walking *w, uint64_t page, bool first, bool *told)
{
    const struct sop_order *order = &w->tree->order;
    struct sop_slice key = sop_buf_slice(&w->key);
    const char *what = NULL;
    if (!first && sop_order_cmp(order, sop_buf_slice(&w->last), key) >= 0) {
        what = "keys do not ascend";
    } else if (first && sop_order_cmp(order, key, sop_buf_slice(&w->low)) < 0) {
        what = "a key lies below the low fence";
    } else if (w->has_high && sop_order_cmp(order, key, sop_buf_slice(&w->high)) >= 0) {
        what = "a key lies beyond the high fence";
    }
    if (what != NULL && !*told) {
        sop_verify__find(w->v, 2, "store %" PRIu64 ", page %" PRIu64 ": %s", w->tree->id, page,
                         what);
        *told = true;
    }
    return what == NULL;
}

static int check_items(struct walking *w, uint64_t page, struct sight *s, struct level *below,
                       struct sop_err *err)
{
    uint32_t count = 0;
    bool told = false;
    int rc = 0;
    for (bool on = !s->empty && sop_walk_first(&s->walk); on && rc == 0;
         on = sop_walk_next(&s->walk)) {
        struct sop_item item = sop_walk_item(&s->walk);
        rc = sop_item_key(&item, &w->key, err);
        if (rc != 0) {
            break;
        }
        bool good = check_key(w, page, count == 0, &told);
        w->broken = w->broken || (!good && s->level > 0);
        count++;
        if (s->level > 0) {
            rc = add_child(w, below, page, &item, err);
        } else {
            rc = check_leaf_item(w, page, &item, err);
        }
        struct sop_buf swap = w->last;
        w->last = w->key;
        w->key = swap;
    }
    if (rc == 0 && count != s->items) {
        sop_verify__find(w->v, 2,
                         "store %" PRIu64 ", page %" PRIu64 ": %u items, and it says %u",
                         w->tree->id, page, count, s->items);
    }
    if (s->level == 0) {
        w->items += count;
        bool counts = w->tree->id != SOP_CATALOG_STORE && !w->entry->dropping;
        w->v->result->items += counts ? count : 0;
    }
    return rc;
}

/* ---- pages ---------------------------------------------------------------------------------
 */

/* level < 0: the root's is not known before. */
static void check_place_in_tree(struct walking *w, uint64_t page, int level,
                                const struct sight *s)
{
    if (s->level >= SOP_LEVELS_MAX || (level >= 0 && s->level != level)) {
        sop_verify__find(w->v, 2,
                         "store %" PRIu64 ", page %" PRIu64 ": it is at level %u, not %d",
                         w->tree->id, page, s->level, level);
        w->broken = true;
    }
    if (!sop_slice_eq(sop_buf_slice(&s->low), sop_buf_slice(&w->low)) ||
        s->has_high != w->has_high ||
        (w->has_high && !sop_slice_eq(sop_buf_slice(&s->high), sop_buf_slice(&w->high)))) {
        sop_verify__find(w->v, 2,
                         "store %" PRIu64 ", page %" PRIu64
                         ": its fences are not the separators of its parent",
                         w->tree->id, page);
    }
}

/* Children of an inner page: there is one, and the first begins where the page begins. */
static int finish_level(struct walking *w, uint64_t page, struct level *below,
                        struct sop_err *err)
{
    below->has_high = w->has_high;
    int rc = sop_buf_append(&below->high, w->high.data, w->high.len, err);
    struct sop_slice first = below->count == 0
                                 ? sop_slice(NULL, 0)
                                 : sop_slice(below->keys.data, below->children[0].len);
    if (below->count == 0 || !sop_slice_eq(first, sop_buf_slice(&w->low))) {
        sop_verify__find(w->v, 2,
                         "store %" PRIu64 ", inner page %" PRIu64
                         ": its children do not begin at its low fence",
                         w->tree->id, page);
        w->broken = true;
    }
    return rc;
}

static void level_clear(struct level *l)
{
    l->count = 0;
    l->next = 0;
    sop_buf_clear(&l->keys);
    sop_buf_clear(&l->high);
}

/* Whether the page may be visited: a good id that nobody else named. */
static int admit(struct walking *w, uint64_t page, bool *go, struct sop_err *err)
{
    struct sop_verify *v = w->v;
    *go = false;
    if (page == 0 || page >= v->next_page) {
        sop_verify__find(v, 2, "store %" PRIu64 ": page %" PRIu64 " was never handed out",
                         w->tree->id, page);
        w->broken = true;
        return 0;
    }
    if (w->entry->dropping) { /* pages go from the leaves up, a few at a time */
        bool exists = false;
        struct sop_err why = {0};
        int rc = sop_verify__exists(v, page, &exists, &why);
        if (rc != 0 || !exists) {
            return sop_verify__judge(v, rc, &why, err, "page %" PRIu64, page);
        }
    }
    if (sop_verify__set(&v->seen, page)) {
        sop_verify__find(v, 2, "store %" PRIu64 ": page %" PRIu64 " is named twice",
                         w->tree->id, page);
        w->broken = true;
        return 0;
    }
    *go = true;
    return 0;
}

/* Visits one page; w->low, high, has_high say what its parent says. *deeper: its children lie
 * in `below` now. */
static int visit(struct walking *w, uint64_t page, int level, struct level *below,
                 uint8_t *found, bool *deeper, struct sop_err *err)
{
    struct sop_verify *v = w->v;
    struct sight s;
    struct sop_err why = {0};
    bool go = false;
    *deeper = false;
    memset(&s, 0, sizeof s);
    int rc = admit(w, page, &go, err);
    if (rc != 0 || !go) {
        return rc;
    }
    sop_epoch_enter(&v->engine->epochs, v->slot);
    rc = look_inside(w, page, &s, &why);
    sop_epoch_leave(v->slot);
    if (rc != 0) {
        w->broken = true;
        sight_fini(&s);
        return sop_verify__judge(v, rc, &why, err, "store %" PRIu64 ", page %" PRIu64,
                                 w->tree->id, page);
    }
    *found = s.level;
    w->pages++;
    v->result->pages++;
    check_place_in_tree(w, page, level, &s);
    if (s.level < SOP_LEVELS_MAX) {
        level_clear(below);
        rc = check_items(w, page, &s, below, err);
        if (rc == 0 && s.level > 0) {
            rc = finish_level(w, page, below, err);
            *deeper = level < 0 || s.level == level;
        }
    }
    if (rc == 0) {
        rc = check_sheets(w, page, &s, err);
    }
    sight_fini(&s);
    sop_epoch_reclaim(&v->engine->epochs);
    return rc == 0 ? sop_verify__progress(v, "pages", v->result->pages, v->next_page - 1, err)
                   : rc;
}

/* Fences of child i of a level, as the parent says. */
static int set_fences(struct walking *w, const struct level *l, size_t i, struct sop_err *err)
{
    const struct child *c = &l->children[i];
    sop_buf_clear(&w->low);
    sop_buf_clear(&w->high);
    int rc = sop_buf_append(&w->low, l->keys.data + c->at, c->len, err);
    if (rc != 0) {
        return rc;
    }
    if (i + 1 < l->count) {
        w->has_high = true;
        return sop_buf_append(&w->high, l->keys.data + c[1].at, c[1].len, err);
    }
    w->has_high = l->has_high;
    return sop_buf_append(&w->high, l->high.data, l->high.len, err);
}

static int walk_down(struct walking *w, struct sop_err *err)
{
    uint8_t top = 0;
    uint8_t found = 0;
    bool deeper = false;
    int rc = visit(w, w->tree->root, -1, &w->levels[0], &top, &deeper, err);
    int depth = rc == 0 && deeper ? 0 : -1;
    while (rc == 0 && depth >= 0) {
        struct level *l = &w->levels[depth];
        if (l->next == l->count) {
            depth--;
            continue;
        }
        size_t i = l->next++;
        rc = set_fences(w, l, i, err);
        SOP_ASSERT(depth < top && top < SOP_LEVELS_MAX);
        if (rc == 0) {
            rc = visit(w, l->children[i].page, top - depth - 1, &w->levels[depth + 1], &found,
                       &deeper, err);
        }
        depth += rc == 0 && deeper ? 1 : 0;
    }
    return rc;
}

int sop_verify__tree(struct sop_verify *v, struct sop_verify_tree *t, struct sop_err *err)
{
    struct walking *w = sop_calloc(1, sizeof *w);
    if (w == NULL) {
        return SOP_ERR(err, NOMEM, "verify a store");
    }
    w->v = v;
    w->entry = t;
    w->tree = t->tree;
    int rc = walk_down(w, err);
    uint64_t items = sop_tree_items(t->tree, v->pin->moment);
    if (rc == 0 && !w->broken && !t->dropping && w->items != items) {
        sop_verify__find(
            v, 2, "store %" PRIu64 ": its leaves hold %" PRIu64 " items, and it says %" PRIu64,
            t->tree->id, w->items, items);
    }
    if (rc == 0 && !w->broken && !t->dropping) {
        sop_verify__find(v, 0, "store %" PRIu64 " \"%s\": items %" PRIu64 ", pages %" PRIu64,
                         t->tree->id, t->name, w->items, w->pages);
    }
    v->broken = v->broken || w->broken;
    for (size_t i = 0; i < SOP_LEVELS_MAX; i++) {
        sop_free(w->levels[i].children);
        sop_buf_fini(&w->levels[i].keys);
        sop_buf_fini(&w->levels[i].high);
    }
    sop_buf_fini(&w->low);
    sop_buf_fini(&w->high);
    sop_buf_fini(&w->key);
    sop_buf_fini(&w->last);
    sop_free(w);
    return rc;
}
