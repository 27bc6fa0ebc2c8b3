/* The states and views of the model; see model.h. What operations do is in model_ops.c. */
#include "tests/lib/model_int.h"

#include "engine/base/codec.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- memory --------------------------------------------------------------------------------
 */

void *model_alloc(size_t bytes)
{
    void *p = calloc(1, bytes + 1);
    if (p == NULL) {
        abort();
    }
    return p;
}

void model_append(struct sop_buf *to, const void *data, size_t len)
{
    if (sop_buf_append(to, data, len, NULL) != 0) {
        abort();
    }
}

void model_set(struct sop_buf *to, struct sop_slice from)
{
    sop_buf_clear(to);
    model_append(to, from.data, from.len);
}

/* ---- items ---------------------------------------------------------------------------------
 */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint64_t model_hash(uint64_t seed, const void *data, size_t len)
{
    const uint8_t *bytes = data;
    uint64_t h = mix(seed + 0x9e3779b97f4a7c15u * (len + 1));
    for (size_t i = 0; i < len; i++) {
        h = (h ^ bytes[i]) * 0x100000001b3u;
    }
    return mix(h);
}

uint64_t model_item_digest(struct sop_slice key, struct sop_slice ride, uint64_t value_seed,
                           uint32_t value_bytes)
{
    uint64_t h = model_hash(1, key.data, key.len);
    h = model_hash(h, ride.data, ride.len);
    return mix(h ^ mix(value_seed ^ ((uint64_t)value_bytes << 40)));
}

struct sop_slice model_key_of(const struct model_item *item)
{
    return sop_slice(item->bytes, item->key_bytes);
}

struct sop_slice model_ride_of(const struct model_item *item)
{
    return sop_slice(item->bytes + item->key_bytes, item->ride_bytes);
}

struct model_place model_place_of(const struct model_item *item)
{
    struct model_place p = {.key = model_key_of(item)};
    memcpy(p.turn, item->turn, sizeof p.turn);
    return p;
}

struct model_item *model_item_new(const struct model_place *place, struct sop_slice ride,
                                  uint64_t value_seed, uint32_t value_bytes)
{
    struct model_item *item = model_alloc(sizeof *item + place->key.len + ride.len);
    item->refs = 1;
    item->key_bytes = (uint32_t)place->key.len;
    item->ride_bytes = (uint32_t)ride.len;
    item->value_seed = value_seed;
    item->value_bytes = value_bytes;
    memcpy(item->turn, place->turn, sizeof item->turn);
    if (place->key.len > 0) {
        memcpy(item->bytes, place->key.data, place->key.len);
    }
    if (ride.len > 0) {
        memcpy(item->bytes + place->key.len, ride.data, ride.len);
    }
    item->digest = model_item_digest(place->key, ride, value_seed, value_bytes);
    return item;
}

void model_item_unref(struct model_item *item)
{
    if (--item->refs == 0) {
        free(item);
    }
}

/* ---- maps ----------------------------------------------------------------------------------
 */

static struct model_map *map_new(uint32_t room)
{
    struct model_map *m = model_alloc(sizeof *m);
    m->refs = 1;
    m->room = room < 8 ? 8 : room;
    m->items = model_alloc(m->room * sizeof(struct model_item *));
    return m;
}

static void map_unref(struct model_map *m)
{
    if (--m->refs == 0) {
        for (uint32_t i = 0; i < m->count; i++) {
            model_item_unref(m->items[i]);
        }
        free(m->items);
        free(m);
    }
}

/* The map of a store as its own, to be changed. */
static struct model_map *map_own(struct model_store *s)
{
    struct model_map *old = s->map;
    if (old->refs > 1) {
        s->map = map_new(old->count + 8);
        s->map->count = old->count;
        s->map->digest = old->digest;
        for (uint32_t i = 0; i < old->count; i++) {
            s->map->items[i] = old->items[i];
            s->map->items[i]->refs++;
        }
        old->refs--;
    }
    return s->map;
}

void model_map_put(struct model_store *s, struct model_item *item)
{
    struct model_place p = model_place_of(item);
    struct model_map *m = map_own(s);
    bool exact = false;
    uint32_t at = model_bound(s, &p, &exact);
    if (exact) {
        m->digest -= m->items[at]->digest;
        model_item_unref(m->items[at]);
    } else {
        if (m->count == m->room) {
            m->room *= 2;
            m->items = realloc(m->items, m->room * sizeof(struct model_item *));
            if (m->items == NULL) {
                abort();
            }
        }
        memmove(m->items + at + 1, m->items + at, (m->count - at) * sizeof *m->items);
        m->count++;
    }
    m->items[at] = item;
    m->digest += item->digest;
}

void model_map_remove(struct model_store *s, uint32_t at)
{
    struct model_map *m = map_own(s);
    m->digest -= m->items[at]->digest;
    model_item_unref(m->items[at]);
    m->count--;
    memmove(m->items + at, m->items + at + 1, (m->count - at) * sizeof *m->items);
}

/* ---- order ---------------------------------------------------------------------------------
 */

int model_compare_keys(void *arg, struct sop_slice a, struct sop_slice b)
{
    (void)arg;
    if (a.len != b.len) {
        return a.len < b.len ? -1 : 1;
    }
    return a.len == 0 ? 0 : memcmp(b.data, a.data, a.len);
}

int model_key_cmp(const struct model_facts *f, struct sop_slice a, struct sop_slice b)
{
    return f->keys == MODEL_COMPARER ? model_compare_keys(NULL, a, b) : sop_slice_cmp(a, b);
}

int model_place_cmp(const struct model_facts *f, const struct model_place *a,
                    const struct model_place *b)
{
    int order = model_key_cmp(f, a->key, b->key);
    for (size_t i = 0; i < 3 && order == 0; i++) {
        order = (a->turn[i] > b->turn[i]) - (a->turn[i] < b->turn[i]);
    }
    return order;
}

uint32_t model_bound(const struct model_store *s, const struct model_place *p, bool *exact)
{
    uint32_t low = 0;
    uint32_t high = s->map->count;
    *exact = false;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        struct model_place q = model_place_of(s->map->items[mid]);
        int order = model_place_cmp(&s->facts, &q, p);
        if (order < 0) {
            low = mid + 1;
        } else {
            *exact = *exact || order == 0;
            high = mid;
        }
    }
    return low;
}

/* ---- stores and states ---------------------------------------------------------------------
 */

struct model_store *model_store_new(const struct model_facts *facts)
{
    struct model_store *s = model_alloc(sizeof *s);
    s->refs = 1;
    s->facts = *facts;
    s->map = map_new(8);
    return s;
}

void model_store_unref(struct model_store *s)
{
    if (s != NULL && --s->refs == 0) {
        map_unref(s->map);
        free(s);
    }
}

struct model_store *model_store_own(struct model_state *state, uint32_t name)
{
    struct model_store *old = state->stores[name];
    if (old->refs > 1) {
        struct model_store *s = model_alloc(sizeof *s);
        s->refs = 1;
        s->facts = old->facts;
        s->map = old->map;
        s->map->refs++;
        old->refs--;
        state->stores[name] = s;
    }
    return state->stores[name];
}

struct model_state *model_state_new(void)
{
    struct model_state *s = model_alloc(sizeof *s);
    s->refs = 1;
    return s;
}

struct model_state *model_state_copy(const struct model_state *from)
{
    struct model_state *s = model_state_new();
    for (size_t i = 0; i < MODEL_NAMES; i++) {
        s->stores[i] = from->stores[i];
        if (s->stores[i] != NULL) {
            s->stores[i]->refs++;
        }
    }
    return s;
}

struct model_state *model_state_ref(struct model_state *s)
{
    s->refs++;
    return s;
}

void model_state_unref(struct model_state **ps)
{
    struct model_state *s = *ps;
    *ps = NULL;
    if (s != NULL && --s->refs == 0) {
        for (size_t i = 0; i < MODEL_NAMES; i++) {
            model_store_unref(s->stores[i]);
        }
        free(s);
    }
}

uint64_t model_store_digest(uint64_t digest, uint32_t name, uint64_t uid, uint64_t notes,
                            uint64_t items)
{
    return mix(digest ^ mix(name + 1u) ^ mix(uid * 31 + notes)) + items;
}

uint64_t model_state_digest(const struct model_state *s)
{
    uint64_t h = 0;
    for (uint32_t i = 0; i < MODEL_NAMES; i++) {
        const struct model_store *store = s->stores[i];
        if (store != NULL) {
            h = model_store_digest(h, i, store->facts.uid, store->facts.notes,
                                   store->map->digest);
        }
    }
    return h;
}

/* ---- views ---------------------------------------------------------------------------------
 */

void model_view_init(struct model_view *v, struct model_state *base, bool notes)
{
    memset(v, 0, sizeof *v);
    v->base = model_state_ref(base);
    v->now = model_state_copy(base);
    v->notes = notes;
}

static void reach_fini(struct model_reach *list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        sop_buf_fini(&list[i].low);
        sop_buf_fini(&list[i].high);
    }
    free(list);
}

void model_view_fini(struct model_view *v)
{
    model_state_unref(&v->base);
    model_state_unref(&v->now);
    for (size_t i = 0; i < MODEL_CURSORS; i++) {
        sop_buf_fini(&v->cursors[i].key);
    }
    reach_fini(v->reads, v->reads_count);
    reach_fini(v->changes, v->changes_count);
    reach_fini(v->seen, v->seen_count);
    memset(v, 0, sizeof *v);
}

void model_view_renew(struct model_view *v, struct model_state *base)
{
    model_state_unref(&v->base);
    model_state_unref(&v->now);
    v->base = model_state_ref(base);
    v->now = model_state_copy(base);
}

static void note(struct model_reach **list, uint32_t *count, uint32_t *room, uint64_t uid,
                 const struct model_place *low, const struct model_place *high)
{
    if (*count == *room) {
        *room = *room == 0 ? 16 : *room * 2;
        *list = realloc(*list, *room * sizeof **list);
        if (*list == NULL) {
            abort();
        }
    }
    struct model_reach *r = &(*list)[(*count)++];
    memset(r, 0, sizeof *r);
    r->uid = uid;
    r->has_low = low != NULL;
    r->has_high = high != NULL;
    if (low != NULL) {
        model_append(&r->low, low->key.data, low->key.len);
        memcpy(r->low_turn, low->turn, sizeof r->low_turn);
    }
    if (high != NULL) {
        model_append(&r->high, high->key.data, high->key.len);
        memcpy(r->high_turn, high->turn, sizeof r->high_turn);
    }
}

void model_note_read(struct model_view *v, const struct model_store *s,
                     const struct model_place *low, const struct model_place *high)
{
    if (v->notes) {
        note(&v->reads, &v->reads_count, &v->reads_room, s->facts.uid, low, high);
    }
}

static const struct model_item *find(const struct model_store *s, const struct model_place *p)
{
    bool exact = false;
    uint32_t at = model_bound(s, p, &exact);
    return exact ? s->map->items[at] : NULL;
}

void model_note_change(struct model_view *v, const struct model_store *s, uint32_t name,
                       const struct model_place *place, bool blind)
{
    if (!v->notes) {
        return;
    }
    note(&v->changes, &v->changes_count, &v->changes_room, s->facts.uid, place, place);
    if (blind) {
        return;
    }
    model_note_read(v, s, place, place);
    const struct model_store *base = v->base->stores[name];
    if (base != NULL && base->facts.uid == s->facts.uid &&
        find(base, place) == find(s, place)) {
        note(&v->seen, &v->seen_count, &v->seen_room, s->facts.uid, place, place);
    }
}

/* ---- judging -------------------------------------------------------------------------------
 */

static const struct model_store *by_uid(const struct model_state *s, uint64_t uid)
{
    for (size_t i = 0; i < MODEL_NAMES; i++) {
        if (s->stores[i] != NULL && s->stores[i]->facts.uid == uid) {
            return s->stores[i];
        }
    }
    return NULL;
}

static struct model_place low_of(const struct model_reach *r)
{
    struct model_place p = {.key = sop_buf_slice(&r->low)};
    memcpy(p.turn, r->low_turn, sizeof p.turn);
    return p;
}

static struct model_place high_of(const struct model_reach *r)
{
    struct model_place p = {.key = sop_buf_slice(&r->high)};
    memcpy(p.turn, r->high_turn, sizeof p.turn);
    return p;
}

/* [*from, *to) of a store's items lie in the reach. */
static void span_of(const struct model_store *s, const struct model_reach *r, uint32_t *from,
                    uint32_t *to)
{
    bool exact = false;
    struct model_place low = low_of(r);
    struct model_place high = high_of(r);
    *from = r->has_low ? model_bound(s, &low, &exact) : 0;
    *to = s->map->count;
    if (r->has_high) {
        *to = model_bound(s, &high, &exact);
        *to += exact ? 1 : 0;
    }
    *to = *to < *from ? *from : *to;
}

static bool reach_same(const struct model_reach *r, const struct model_state *base,
                       const struct model_state *head)
{
    const struct model_store *then = by_uid(base, r->uid);
    const struct model_store *now = by_uid(head, r->uid);
    if (then == NULL) {
        return true; /* created by itself */
    }
    if (now == NULL) {
        return false;
    }
    if (then->map == now->map) {
        return true;
    }
    uint32_t a = 0;
    uint32_t a_end = 0;
    uint32_t b = 0;
    uint32_t b_end = 0;
    span_of(then, r, &a, &a_end);
    span_of(now, r, &b, &b_end);
    return a_end - a == b_end - b &&
           (a_end == a || memcmp(then->map->items + a, now->map->items + b,
                                 (a_end - a) * sizeof *then->map->items) == 0);
}

/* Is a value in the reach that may lie in a file? */
static bool reach_files(const struct model_reach *r, const struct model_state *base)
{
    const struct model_store *s = by_uid(base, r->uid);
    uint32_t i = 0;
    uint32_t end = 0;
    if (s != NULL) {
        span_of(s, r, &i, &end);
    }
    for (; i < end; i++) {
        if (s->facts.values != SOP_VALUES_SMALL || s->map->items[i]->value_bytes > 16 * 1024 ||
            s->map->items[i]->streamed) {
            return true;
        }
    }
    return false;
}

bool model_may_conflict(const struct model_view *v, const struct model_state *head, bool moved)
{
    if (v->reads_all) {
        return v->base != head || moved;
    }
    for (uint32_t i = 0; i < v->reads_count && moved; i++) {
        if (reach_files(&v->reads[i], v->base)) {
            return true;
        }
    }
    for (uint32_t i = 0; i < MODEL_NAMES; i++) {
        const struct model_store *a = v->base->stores[i];
        const struct model_store *b = head->stores[i];
        if (((v->names_read | v->names_changed) & (1u << i)) != 0 && a != b &&
            (a == NULL || b == NULL || a->facts.uid != b->facts.uid ||
             a->facts.notes != b->facts.notes)) {
            return true;
        }
    }
    for (uint32_t i = 0; i < v->reads_count; i++) {
        if (!reach_same(&v->reads[i], v->base, head)) {
            return true;
        }
    }
    return false;
}

static bool overlap(const struct model_view *a, const struct model_reach *read,
                    const struct model_reach *change)
{
    if (read->uid != change->uid) {
        return false;
    }
    const struct model_store *s = by_uid(a->now, read->uid);
    s = s != NULL ? s : by_uid(a->base, read->uid);
    struct model_place low = low_of(read);
    struct model_place high = high_of(read);
    struct model_place at = low_of(change);
    return (!read->has_low || model_place_cmp(&s->facts, &low, &at) <= 0) &&
           (!read->has_high || model_place_cmp(&s->facts, &at, &high) <= 0);
}

static bool hinders(const struct model_view *reader, const struct model_view *writer)
{
    if ((reader->names_read & writer->names_changed) != 0) {
        return true;
    }
    if (reader->reads_all && (writer->changes_count > 0 || writer->names_changed != 0)) {
        return true;
    }
    for (uint32_t i = 0; i < reader->reads_count; i++) {
        for (uint32_t k = 0; k < writer->changes_count; k++) {
            if (overlap(reader, &reader->reads[i], &writer->changes[k])) {
                return true;
            }
        }
    }
    return false;
}

bool model_may_hinder(const struct model_view *a, const struct model_view *b)
{
    return hinders(a, b) || hinders(b, a);
}

static bool seen_same(const struct model_view *v, const struct model_reach *r,
                      const struct model_state *head)
{
    const struct model_store *then = by_uid(v->base, r->uid);
    const struct model_store *now = by_uid(head, r->uid);
    if (then == NULL || now == NULL) {
        return true; /* judged by the answers */
    }
    struct model_place p = low_of(r);
    const struct model_item *a = find(then, &p);
    const struct model_item *b = find(now, &p);
    return a == b || (a != NULL && b != NULL && a->digest == b->digest);
}

int model_again(const struct model_view *v, struct model_op *ops, uint32_t count,
                struct model_state *head, struct model_state **after)
{
    struct model_view again;
    int wrong = 0;
    *after = NULL;
    if (head == v->base) {
        *after = model_state_copy(v->now);
        return 0;
    }
    for (uint32_t i = 0; i < v->seen_count; i++) {
        if (!seen_same(v, &v->seen[i], head)) {
            return -1;
        }
    }
    model_view_init(&again, head, false);
    for (uint32_t i = 0; i < count && wrong == 0; i++) {
        struct model_answer answer;
        uint64_t first = ops[i].answer;
        model_do(&again, &ops[i], &answer);
        wrong = ops[i].answer == first ? 0 : (int)i + 1;
        ops[i].answer = first;
    }
    if (wrong == 0) {
        *after = model_state_ref(again.now);
    }
    model_view_fini(&again);
    return wrong;
}
