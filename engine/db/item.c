/* Single items: add, update, upsert, remove, get, and their batch forms.
 *
 * Every change is resolved against what the transaction sees: its own pending change, else the
 * snapshot. What was looked at counts as read, but for blind upserts. */
#include "engine/base/limits.h"
#include "engine/btree/keycode.h"
#include "engine/db/db_int.h"

#define GROUP_MAX 64u /* keys whose look-ups are fetched ahead together */

/* ---- keys ----------------------------------------------------------------------------------
 */

static int check_key(struct sop_store *s, struct sop_slice user, struct sop_err *err)
{
    if (user.len > SOP_KEY_BYTES_MAX) { /* stored keys may be longer: escapes, item id */
        return SOP_ERR(err, TOO_LARGE, "the key has %zu bytes; the most is %u", user.len,
                       SOP_KEY_BYTES_MAX);
    }
    if (s->order.compare != NULL && user.len == 0) {
        return SOP_ERR(err, INVALID, "a store with a comparer has no empty keys");
    }
    return s->card->facts.key.fields_count == 0
               ? 0
               : sop_keycode_verify(&s->card->facts.key, user, err);
}

/* Bounds of ranges need not be whole keys, so nothing is verified here. */
static int full_key(struct sop_store *s, struct sop_slice user, const struct sop_item_id *id,
                    struct sop_buf *to, struct sop_err *err)
{
    static const struct sop_item_id lowest;
    sop_buf_clear(to);
    int rc = s->card->delimits ? sop_keycode_delimit(&s->card->facts.key, user, true, to, err)
                               : sop_buf_append(to, user.data, user.len, err);
    return rc == 0
               ? sop_buf_append(to, (id != NULL ? id : &lowest)->bytes, SOP_ITEM_ID_BYTES, err)
               : rc;
}

int sop_store__key(struct sop_store *s, struct sop_slice user, const struct sop_item_id *id,
                   struct sop_slice *full, struct sop_err *err)
{
    int rc = check_key(s, user, err);
    *full = user;
    if (rc == 0 && !s->card->facts.unique) {
        rc = full_key(s, user, id, &s->key, err);
        *full = sop_buf_slice(&s->key);
    }
    return rc;
}

int sop_store__user_key(struct sop_store *s, struct sop_slice full, struct sop_buf *scratch,
                        struct sop_slice *user, struct sop_item_id *id, struct sop_err *err)
{
    *user = full;
    memset(id, 0, sizeof *id);
    if (s->card->facts.unique) {
        return 0;
    }
    if (full.len < SOP_ITEM_ID_BYTES) {
        return SOP_ERR(err, DATA_LOSS, "store %s holds a key without item id", s->card->name);
    }
    struct sop_slice part = sop_slice(full.data, full.len - SOP_ITEM_ID_BYTES);
    memcpy(id->bytes, full.data + part.len, SOP_ITEM_ID_BYTES);
    *user = part;
    return s->card->delimits
               ? sop_keycode_undelimit(&s->card->facts.key, part, scratch, user, err)
               : 0;
}

bool sop_store__same_user_key(const struct sop_store *s, struct sop_slice a, struct sop_slice b)
{
    if (!s->card->facts.unique) {
        if (a.len < SOP_ITEM_ID_BYTES || b.len < SOP_ITEM_ID_BYTES) {
            return false;
        }
        a.len -= SOP_ITEM_ID_BYTES;
        b.len -= SOP_ITEM_ID_BYTES;
    }
    return s->order.compare != NULL ? s->order.compare(s->order.arg, a, b) == 0
                                    : sop_slice_eq(a, b);
}

/* ---- values --------------------------------------------------------------------------------
 */

static int check_sizes(const struct sop_entry *e, struct sop_err *err)
{
    if (e->ride.len > SOP_RIDE_BYTES_MAX) {
        return SOP_ERR(err, TOO_LARGE, "the ride-on bytes have %zu bytes; the most is %u",
                       e->ride.len, SOP_RIDE_BYTES_MAX);
    }
    if (e->value.len > SOP_VALUE_BYTES_MAX) {
        return SOP_ERR(err, TOO_LARGE, "the value has %zu bytes; the most is %llu",
                       e->value.len, (unsigned long long)SOP_VALUE_BYTES_MAX);
    }
    return 0;
}

int sop_store__value(struct sop_store *s, struct sop_slice full_key, struct sop_slice value,
                     uint8_t encoded[SOP_PLACE_BYTES], struct sop_slice *cell_value,
                     uint8_t *kind, struct sop_err *err)
{
    *cell_value = value;
    *kind = SOP_VALUE_INLINE;
    bool small = s->card->facts.values == SOP_VALUES_SMALL && value.len <= SOP_VALUE_INLINE_MAX;
    if (small || value.len == 0) {
        return 0;
    }
    struct sop_engine *e = s->txn->engine;
    struct sop_pack_owner owner = {
        .type = SOP_PACK_VALUE, .store = s->tree->id, .key = full_key};
    struct sop_place place;
    int rc = sop_engine_room_for_value(e, value.len, err);
    if (rc != 0) {
        return rc;
    }
    atomic_fetch_add(&e->value_writers, 1);
    rc = sop_packs_append(e->packs, &owner, value, &place, err);
    if (rc == 0) {
        rc = sop_txn_wrote_value(s->txn, &place, err);
    }
    atomic_fetch_sub(&e->value_writers, 1);
    if (rc == SOP_ERR_NOSPACE) {
        sop_engine_short_of_space(e);
    }
    if (rc == 0) {
        sop_place_encode(&place, encoded);
        *cell_value = sop_slice(encoded, SOP_PLACE_BYTES);
        *kind = SOP_VALUE_PLACE;
    }
    return rc;
}

int sop_store__value_of(uint8_t kind, struct sop_slice value, uint64_t *bytes,
                        struct sop_place *place, struct sop_err *err)
{
    memset(place, 0, sizeof *place);
    *bytes = value.len;
    if (kind == SOP_VALUE_PLACE) {
        if (value.len != SOP_PLACE_BYTES) {
            return SOP_ERR(err, DATA_LOSS, "an item holds a damaged place of its value");
        }
        *place = sop_place_decode(value.data);
        *bytes = place->bytes;
    }
    return 0;
}

int sop_store__view(struct sop_store *s, struct sop_slice full, struct sop_slice ride,
                    struct sop_slice value, uint8_t kind, bool load, struct sop_buf *key_buf,
                    struct sop_buf *value_buf, struct sop_view *view, struct sop_err *err)
{
    struct sop_place place;
    memset(view, 0, sizeof *view);
    view->ride = ride;
    int rc = sop_store__user_key(s, full, key_buf, &view->key, &view->id, err);
    if (rc == 0) {
        rc = sop_store__value_of(kind, value, &view->value_bytes, &place, err);
    }
    if (rc != 0 || kind == SOP_VALUE_INLINE) {
        view->value = value;
        view->loaded = rc == 0;
        return rc;
    }
    if (load && s->card->facts.values != SOP_VALUES_BIG) {
        rc = sop_packs_read(s->txn->engine->reader, &place, SOP_PACK_VALUE, value_buf, err);
        view->value = sop_buf_slice(value_buf);
        view->loaded = rc == 0;
    }
    return rc;
}

/* ---- seeing and putting --------------------------------------------------------------------
 */

/* The encoded place of a value that lies in a pack; NULL for others. */
static int place_of(const struct sop_item *item, const uint8_t **place, struct sop_err *err)
{
    *place = item->kind == SOP_VALUE_PLACE ? item->value.data : NULL;
    return *place == NULL || item->value.len == SOP_PLACE_BYTES
               ? 0
               : SOP_ERR(err, DATA_LOSS, "an item holds a damaged place of its value");
}

/* A blind upsert is looked at after all: what the snapshot has decides from now on. */
static int resolve_blind(struct sop_store *s, struct sop_cell *cell, struct sop_err *err)
{
    struct sop_txn *t = s->txn;
    bool found = false;
    struct sop_item item;
    const uint8_t *place = NULL;
    sop_epoch_enter(&t->engine->epochs, t->slot);
    int rc = s->access->created ? 0
                                : sop_tree_find(&t->engine->pages, s->tree, t->moment,
                                                cell->key, &found, &item, NULL, err);
    if (rc == 0 && found) {
        rc = place_of(&item, &place, err);
    }
    if (rc == 0 && place != NULL) {
        struct sop_slice copy;
        rc = sop_arena_copy(&t->arena, sop_slice(place, SOP_PLACE_BYTES), &copy, err);
        cell->old_place = rc == 0 ? copy.data : NULL;
    }
    sop_epoch_leave(t->slot);
    if (rc == 0) {
        cell->was = found ? 2 : 1;
        cell->change = found ? SOP_CHANGE_UPDATE : SOP_CHANGE_INSERT;
        s->access->delta += found ? 0 : 1;
    }
    return rc;
}

/* What its own change says of an item. */
static int see_cell(struct sop_store *s, struct sop_seen *seen, struct sop_err *err)
{
    struct sop_cell *cell = seen->look.cell;
    int rc = cell->was == 0 ? resolve_blind(s, cell, err) : 0;
    seen->there = cell->kind != SOP_VALUE_TOMBSTONE;
    seen->was = cell->was;
    seen->kind = cell->kind;
    seen->ride = cell->ride;
    seen->value = cell->value;
    return rc;
}

int sop_store__see(struct sop_store *s, struct sop_slice full, struct sop_seen *seen,
                   struct sop_err *err)
{
    return sop_store__see_in(s, full, NULL, seen, err);
}

int sop_store__see_in(struct sop_store *s, struct sop_slice full, struct sop_version *leaf,
                      struct sop_seen *seen, struct sop_err *err)
{
    seen->old_place = NULL;
    int rc = sop_txn_look_in(s->txn, s->access, full, leaf, &seen->look, err);
    if (rc != 0) {
        return rc;
    }
    const struct sop_item *item = &seen->look.item;
    seen->there = seen->look.found;
    seen->was = seen->there ? 2 : 1;
    if (seen->look.cell != NULL) {
        rc = see_cell(s, seen, err);
    } else if (seen->there) {
        seen->kind = (uint8_t)item->kind;
        seen->ride = item->ride;
        seen->value = item->value;
        rc = place_of(item, &seen->old_place, err);
    }
    if (rc != 0) {
        sop_store__seen(s, seen);
    }
    return rc;
}

int sop_store__put(struct sop_store *s, struct sop_slice full, const struct sop_seen *seen,
                   struct sop_slice ride, struct sop_slice value, uint8_t kind,
                   struct sop_err *err)
{
    struct sop_put put = {.key = full,
                          .ride = ride,
                          .value = value,
                          .kind = kind,
                          .was = seen->was,
                          .old_place = seen->old_place,
                          .place = &seen->look.place};
    return sop_txn_put(s->txn, s->access, &put, err);
}

static void enter(struct sop_store *s)
{
    sop_epoch_enter(&s->txn->engine->epochs, s->txn->slot);
}

static void leave(struct sop_store *s)
{
    sop_epoch_leave(s->txn->slot);
}

int sop_store__first(struct sop_store *s, struct sop_slice user, struct sop_buf *key,
                     struct sop_err *err)
{
    struct sop_slice full;
    struct sop_slice here;
    int rc = sop_store__key(s, user, NULL, &full, err);
    if (rc == 0 && s->probe == NULL) {
        rc = sop_cursor_open(&s->probe, s, err);
    }
    if (rc == 0) {
        sop_buf_clear(key);
        rc = sop_buf_append(key, full.data, full.len, err); /* s->key may be used again below */
    }
    bool exact = false;
    if (rc == 0) {
        rc = sop_cursor__go(s->probe, sop_buf_slice(key), &exact, err);
    }
    if (rc == 0) {
        rc = sop_cursor__here(s->probe, &here, err);
    }
    if (rc == 0 && !sop_store__same_user_key(s, here, sop_buf_slice(key))) {
        rc = SOP_ERR_END;
    }
    if (rc == SOP_ERR_END) {
        return SOP_ERR(err, NOT_FOUND, "there is no item with this key");
    }
    if (rc == 0) {
        sop_buf_clear(key);
        rc = sop_buf_append(key, here.data, here.len, err);
    }
    return rc;
}

/* The full key of the item that an operation by user key means: the key itself, or the first of
 * the duplicates. Borrowed from s->key or the caller. */
static int target_key(struct sop_store *s, struct sop_slice user, struct sop_slice *full,
                      struct sop_err *err)
{
    if (s->card->facts.unique) {
        return sop_store__key(s, user, NULL, full, err);
    }
    struct sop_buf first = {0};
    int rc = sop_store__first(s, user, &first, err);
    if (rc == 0) {
        sop_buf_clear(&s->key);
        rc = sop_buf_append(&s->key, first.data, first.len, err);
        *full = sop_buf_slice(&s->key);
    }
    sop_buf_fini(&first);
    return rc;
}

/* ---- changes -------------------------------------------------------------------------------
 */

static int begin_change(struct sop_store *s, const struct sop_entry *e, struct sop_err *err)
{
    int rc = sop_store__writable(s, err);
    return rc == 0 ? check_sizes(e, err) : rc;
}

/* An absence was read. */
static int read_absent(struct sop_store *s, struct sop_slice full, struct sop_err *err)
{
    int rc = sop_txn_read_point(s->txn, s->access, full, err);
    return rc != 0 ? rc : SOP_ERR(err, NOT_FOUND, "there is no item with this key");
}

/* Puts entry under a full key after it was seen. */
static int put_entry(struct sop_store *s, struct sop_slice full, const struct sop_seen *seen,
                     struct sop_slice ride, struct sop_slice value, struct sop_err *err)
{
    uint8_t encoded[SOP_PLACE_BYTES];
    struct sop_slice cell_value;
    uint8_t kind = 0;
    int rc = sop_store__value(s, full, value, encoded, &cell_value, &kind, err);
    return rc == 0 ? sop_store__put(s, full, seen, ride, cell_value, kind, err) : rc;
}

static int add_unique(struct sop_store *s, const struct sop_entry *e, struct sop_version *leaf,
                      bool *added, struct sop_err *err)
{
    struct sop_slice full;
    struct sop_seen seen;
    *added = false;
    int rc = sop_store__key(s, e->key, NULL, &full, err);
    if (rc == 0) {
        rc = sop_store__see_in(s, full, leaf, &seen, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (seen.there) {
        rc = sop_txn_read_point(s->txn, s->access, full, err);
    } else {
        rc = put_entry(s, full, &seen, e->ride, e->value, err);
        *added = rc == 0;
    }
    sop_store__seen(s, &seen);
    return rc;
}

static int add_duplicate(struct sop_store *s, const struct sop_entry *e, struct sop_err *err)
{
    struct sop_item_id id = sop_txn_item_id(s->txn);
    struct sop_slice full;
    const struct sop_seen seen = sop_seen_nothing(1); /* nobody else can make this id */
    int rc = sop_store__key(s, e->key, &id, &full, err);
    return rc == 0 ? put_entry(s, full, &seen, e->ride, e->value, err) : rc;
}

/* After begin_change. leaf: as in sop_store__see_in. */
static int add(struct sop_store *s, const struct sop_entry *e, struct sop_version *leaf,
               struct sop_err *err)
{
    bool added = false;
    if (!s->card->facts.unique) {
        return add_duplicate(s, e, err);
    }
    int rc = add_unique(s, e, leaf, &added, err);
    return rc != 0 || added ? rc
                            : SOP_ERR(err, EXISTS, "an item with this key is there already");
}

int sop_add(struct sop_store *s, const struct sop_entry *e, struct sop_err *err)
{
    int rc = begin_change(s, e, err);
    return rc == 0 ? add(s, e, NULL, err) : rc;
}

int sop_add_if_absent(struct sop_store *s, const struct sop_entry *e, bool *added,
                      struct sop_err *err)
{
    *added = false;
    int rc = begin_change(s, e, err);
    if (rc == 0 && s->card->facts.unique) {
        return add_unique(s, e, NULL, added, err);
    }
    struct sop_buf first = {0};
    if (rc == 0) {
        rc = sop_store__first(s, e->key, &first, err);
        if (rc == SOP_ERR_NOT_FOUND) {
            rc = add_duplicate(s, e, err);
            *added = rc == 0;
        }
    }
    sop_buf_fini(&first);
    return rc;
}

int sop_upsert(struct sop_store *s, const struct sop_entry *e, struct sop_err *err)
{
    struct sop_slice full;
    int rc = begin_change(s, e, err);
    if (rc != 0) {
        return rc;
    }
    if (!s->card->facts.unique) {
        struct sop_entry whole = *e; /* unlike an update it does not keep the old ride */
        if (whole.ride.data == NULL) {
            whole.ride = sop_slice("", 0);
        }
        rc = sop_update(s, &whole, err);
        return rc == SOP_ERR_NOT_FOUND ? add_duplicate(s, e, err) : rc;
    }
    rc = sop_store__key(s, e->key, NULL, &full, err);
    if (rc == 0) { /* blind: resolved at commit, so that it conflicts with nobody's upsert */
        const struct sop_seen seen = sop_seen_nothing(0);
        rc = put_entry(s, full, &seen, e->ride, e->value, err);
    }
    return rc;
}

int sop_update(struct sop_store *s, const struct sop_entry *e, struct sop_err *err)
{
    struct sop_slice full;
    struct sop_seen seen;
    int rc = begin_change(s, e, err);
    if (rc == 0) {
        rc = target_key(s, e->key, &full, err);
    }
    if (rc == 0) {
        rc = sop_store__see(s, full, &seen, err);
    }
    if (rc != 0) {
        return rc;
    }
    rc = seen.there ? put_entry(s, full, &seen, e->ride.data != NULL ? e->ride : seen.ride,
                                e->value, err)
                    : read_absent(s, full, err);
    sop_store__seen(s, &seen);
    return rc;
}

/* Where an item went: its new full key, which may be empty. */
struct moved {
    bool yes;
    struct sop_buf to;
};

/* Moves an item to another key: the value goes along unread. */
static int move_key(struct sop_store *s, struct sop_slice from, const struct sop_seen *seen,
                    const struct sop_entry *to, struct moved *moved, struct sop_err *err)
{
    struct sop_slice target;
    struct sop_seen there = sop_seen_nothing(1);
    struct sop_slice ride = to->ride.data != NULL ? to->ride : seen->ride;
    struct sop_item_id id;
    int rc = 0;
    if (!s->card->facts.unique) {
        id = sop_txn_item_id(s->txn);
    }
    rc = sop_store__key(s, to->key, s->card->facts.unique ? NULL : &id, &target, err);
    if (rc == 0 && s->card->facts.unique) {
        rc = sop_store__see(s, target, &there, err);
        if (rc == 0) { /* the caller is inside an epoch */
            sop_store__seen(s, &there);
        }
        if (rc == 0 && there.there) {
            rc = sop_txn_read_point(s->txn, s->access, target, err);
            rc = rc == 0 ? sop_txn_read_point(s->txn, s->access, from, err) : rc;
            rc = rc == 0 ? SOP_ERR(err, EXISTS, "an item with the new key is there already")
                         : rc;
        }
    }
    if (rc == 0 && moved != NULL) {
        moved->yes = true;
        rc = sop_buf_append(&moved->to, target.data, target.len, err);
    }
    if (rc == 0) {
        rc = sop_store__put(s, target, &there, ride, seen->value, seen->kind, err);
    }
    if (rc == 0) {
        rc = sop_store__put(s, from, seen, sop_slice(NULL, 0), sop_slice(NULL, 0),
                            SOP_VALUE_TOMBSTONE, err);
    }
    return rc;
}

/* Are two user keys the same key? Bytes may differ in a store with a comparer. */
static bool same_key(const struct sop_store *s, struct sop_slice a, struct sop_slice b)
{
    if (s->order.compare == NULL || a.len == 0 || b.len == 0) {
        return sop_slice_eq(a, b);
    }
    return s->order.compare(s->order.arg, a, b) == 0;
}

/* Gives the item with a full key another ride and/or user key. *moved (may be NULL): its new
 * full key, if that is another one. */
static int change_key(struct sop_store *s, struct sop_slice full, const struct sop_entry *to,
                      struct moved *moved, struct sop_err *err)
{
    struct sop_seen seen;
    struct sop_buf own = {0}; /* full may lie in s->key, which the target's key needs */
    struct sop_slice user;
    struct sop_buf scratch = {0};
    struct sop_item_id id;
    int rc = check_sizes(to, err);
    if (rc == 0) {
        rc = sop_buf_append(&own, full.data, full.len, err);
    }
    if (rc == 0) {
        rc = sop_store__user_key(s, sop_buf_slice(&own), &scratch, &user, &id, err);
    }
    if (rc == 0) {
        enter(s); /* what is seen of one key outlives the look at the other */
        rc = sop_store__see(s, sop_buf_slice(&own), &seen, err);
        if (rc == 0) {
            sop_store__seen(s, &seen);
        }
        if (rc == 0 && !seen.there) {
            rc = read_absent(s, sop_buf_slice(&own), err);
        } else if (rc == 0 && (to->key.data == NULL || same_key(s, to->key, user))) {
            rc = sop_store__put(s, sop_buf_slice(&own), &seen,
                                to->ride.data != NULL ? to->ride : seen.ride, seen.value,
                                seen.kind, err);
        } else if (rc == 0) {
            rc = move_key(s, sop_buf_slice(&own), &seen, to, moved, err);
        }
        leave(s);
    }
    sop_buf_fini(&own);
    sop_buf_fini(&scratch);
    return rc;
}

int sop_update_key(struct sop_store *s, struct sop_slice key, const struct sop_entry *to,
                   struct sop_err *err)
{
    struct sop_slice full;
    int rc = sop_store__writable(s, err);
    if (rc == 0) {
        rc = target_key(s, key, &full, err);
    }
    return rc == 0 ? change_key(s, full, to, NULL, err) : rc;
}

static int remove_full(struct sop_store *s, struct sop_slice full, struct sop_err *err)
{
    struct sop_seen seen;
    int rc = sop_store__see(s, full, &seen, err);
    if (rc != 0) {
        return rc;
    }
    rc = seen.there ? sop_store__put(s, full, &seen, sop_slice(NULL, 0), sop_slice(NULL, 0),
                                     SOP_VALUE_TOMBSTONE, err)
                    : read_absent(s, full, err);
    sop_store__seen(s, &seen);
    return rc;
}

int sop_remove(struct sop_store *s, struct sop_slice key, struct sop_err *err)
{
    struct sop_slice full;
    int rc = sop_store__writable(s, err);
    if (rc == 0) {
        rc = target_key(s, key, &full, err);
    }
    return rc == 0 ? remove_full(s, full, err) : rc;
}

/* Brings together what the look-ups of a group of keys will touch. Only in unique stores is the
 * key that the user gives the whole one. */
static void fetch_ahead(struct sop_store *s, const struct sop_slice *keys, size_t count,
                        struct sop_version **leaves)
{
    if (s->card->facts.unique && s->txn->mode != SOP_NO_CHECK) {
        sop_txn_fetch_ahead(s->txn, s->access, keys, count, leaves);
    } else {
        memset(leaves, 0, count * sizeof *leaves);
    }
}

/* Adds a group; *done as in sop_add_many. */
static int add_group(struct sop_store *s, const struct sop_entry *entries, size_t count,
                     size_t *done, struct sop_err *err)
{
    struct sop_slice keys[GROUP_MAX];
    struct sop_version *leaves[GROUP_MAX];
    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        keys[i] = entries[i].key;
    }
    enter(s);
    fetch_ahead(s, keys, count, leaves);
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = check_sizes(&entries[i], err);
        rc = rc == 0 ? add(s, &entries[i], leaves[i], err) : rc;
        *done += rc == 0;
    }
    leave(s);
    return rc;
}

int sop_add_many(struct sop_store *s, const struct sop_entry *entries, size_t count,
                 size_t *done, struct sop_err *err)
{
    int rc = sop_store__writable(s, err);
    *done = 0;
    while (*done < count && rc == 0) {
        size_t n = count - *done < GROUP_MAX ? count - *done : GROUP_MAX;
        rc = add_group(s, entries + *done, n, done, err);
    }
    return rc;
}

/* ---- changes at a cursor -------------------------------------------------------------------
 */

static int cursor_target(struct sop_cursor *c, struct sop_buf *full, struct sop_err *err)
{
    struct sop_slice here;
    if (c == NULL || c->magic != SOP_CURSOR_MAGIC) {
        return SOP_ERR(err, CLOSED, "the cursor is closed");
    }
    int rc = sop_store__writable(c->store, err);
    if (rc == 0 && c->stand == SOP_NOWHERE) {
        rc = SOP_ERR(err, NOT_FOUND, "the cursor stands on no item");
    }
    if (rc == 0) {
        rc = sop_cursor__here(c, &here, err);
    }
    return rc == 0 ? sop_buf_append(full, here.data, here.len, err) : rc;
}

int sop_cursor_update(struct sop_cursor *c, struct sop_slice value, struct sop_err *err)
{
    struct sop_buf full = {0};
    struct sop_entry entry = {.value = value};
    struct sop_seen seen;
    int rc = check_sizes(&entry, err);
    if (rc == 0) {
        rc = cursor_target(c, &full, err);
    }
    if (rc == 0) {
        rc = sop_store__see(c->store, sop_buf_slice(&full), &seen, err);
    }
    if (rc == 0) {
        rc = seen.there
                 ? put_entry(c->store, sop_buf_slice(&full), &seen, seen.ride, value, err)
                 : SOP_ERR(err, NOT_FOUND, "the cursor's item was removed");
        sop_store__seen(c->store, &seen);
    }
    sop_buf_fini(&full);
    return rc;
}

int sop_cursor_update_key(struct sop_cursor *c, const struct sop_entry *to, struct sop_err *err)
{
    struct sop_buf full = {0};
    int rc = cursor_target(c, &full, err);
    struct moved moved = {0};
    if (rc == 0) {
        rc = change_key(c->store, sop_buf_slice(&full), to, &moved, err);
    }
    if (rc == 0 && moved.yes) { /* it goes with its item */
        rc = sop_cursor__stand(c, sop_buf_slice(&moved.to), err);
    }
    sop_buf_fini(&full);
    sop_buf_fini(&moved.to);
    return rc;
}

int sop_cursor_remove(struct sop_cursor *c, struct sop_err *err)
{
    struct sop_buf full = {0};
    int rc = cursor_target(c, &full, err);
    if (rc == 0) {
        rc = remove_full(c->store, sop_buf_slice(&full), err);
    }
    if (rc == 0) {
        c->stand = SOP_ON_KEY; /* on its place: the key was copied when the target was found */
    }
    sop_buf_fini(&full);
    return rc;
}

/* ---- reading -------------------------------------------------------------------------------
 */

/* Appends to the session's answer and gives the offset. Buffers move when they grow, so offsets
 * are turned into slices at the end. */
static int answer_add(struct sop_session *session, struct sop_slice bytes, size_t *at,
                      struct sop_err *err)
{
    *at = session->answer.len;
    return sop_buf_append(&session->answer, bytes.data, bytes.len, err);
}

/* What one look-up gave, as offsets into the answer. */
struct found {
    bool there;
    size_t key, ride, value;
    size_t key_len, ride_len, value_len;
    bool placed; /* its value lies in a pack, at: */
    struct sop_place place;
};

/* The bytes of a value that lies in a pack, at the end of the answer. Outside the epoch. */
static int answer_value(struct sop_store *s, struct sop_view *view, struct found *f,
                        struct sop_err *err)
{
    struct sop_session *session = s->txn->user;
    if (!f->there || !f->placed || s->card->facts.values == SOP_VALUES_BIG) {
        return 0;
    }
    struct sop_buf value = {0};
    int rc = sop_packs_read(s->txn->engine->reader, &f->place, SOP_PACK_VALUE, &value, err);
    if (rc == 0) {
        rc = answer_add(session, sop_buf_slice(&value), &f->value, err);
        f->value_len = value.len;
        view->loaded = rc == 0;
    }
    sop_buf_fini(&value);
    return rc;
}

/* Copies an item that was found to the answer: key, ride, and the value if it lies here. */
static int answer_item(struct sop_session *session, struct sop_slice user,
                       struct sop_slice ride, struct sop_slice value, struct found *f,
                       struct sop_err *err)
{
    struct sop_buf *to = &session->answer;
    int rc = sop_buf_reserve(to, user.len + ride.len + value.len, err);
    if (rc != 0) {
        return rc;
    }
    f->key = to->len;
    f->key_len = user.len;
    f->ride = f->key + user.len;
    f->ride_len = ride.len;
    f->value = f->ride + ride.len;
    f->value_len = value.len;
    sop_copy(to->data + f->key, user.data, user.len);
    sop_copy(to->data + f->ride, ride.data, ride.len);
    sop_copy(to->data + f->value, value.data, value.len);
    to->len = f->value + value.len;
    return 0;
}

/* Fills view and *f from what was seen; a value in a pack is left for answer_value. */
static int answer_seen(struct sop_store *s, struct sop_slice user, const struct sop_look *look,
                       struct sop_view *view, struct found *f, struct sop_err *err)
{
    const struct sop_cell *cell = look->cell;
    bool own = cell != NULL;
    uint8_t kind = own ? cell->kind : (uint8_t)look->item.kind;
    struct sop_slice ride = own ? cell->ride : look->item.ride;
    struct sop_slice value = own ? cell->value : look->item.value;
    view->loaded = kind == SOP_VALUE_INLINE;
    if (view->loaded) {
        view->value_bytes = value.len;
        return answer_item(s->txn->user, user, ride, value, f, err);
    }
    int rc = sop_store__value_of(kind, value, &view->value_bytes, &f->place, err);
    f->placed = rc == 0;
    return rc == 0 ? answer_item(s->txn->user, user, ride, sop_slice(NULL, 0), f, err) : rc;
}

/* Looks one key up, in a leaf that is known or NULL; the view's numbers are final, its slices
 * are in *f. */
static int get_one(struct sop_store *s, struct sop_slice user, struct sop_version *leaf,
                   struct sop_view *view, struct found *f, struct sop_err *err)
{
    struct sop_slice full;
    struct sop_look look;
    f->there = false;
    f->placed = false;
    int rc = target_key(s, user, &full, err);
    if (rc == 0 && s->txn->mode == SOP_WRITE) {
        rc = sop_txn_read_point(s->txn, s->access, full, err);
    }
    if (rc == 0) {
        rc = sop_txn_look_in(s->txn, s->access, full, leaf, &look, err);
    }
    if (rc != 0) {
        return rc;
    }
    uint8_t kind = look.cell != NULL ? look.cell->kind
                   : look.found      ? (uint8_t)look.item.kind
                                     : SOP_VALUE_TOMBSTONE;
    f->there = kind != SOP_VALUE_TOMBSTONE;
    if (f->there) {
        rc = answer_seen(s, user, &look, view, f, err);
    }
    sop_txn_look_end(s->txn, &look);
    if (f->there && !s->card->facts.unique) {
        memcpy(view->id.bytes, full.data + full.len - SOP_ITEM_ID_BYTES, SOP_ITEM_ID_BYTES);
    }
    return rc;
}

static void settle(const struct sop_session *session, const struct found *f,
                   struct sop_view *view)
{
    const uint8_t *base = session->answer.data;
    if (f->there) {
        view->key = sop_slice(base + f->key, f->key_len);
        view->ride = sop_slice(base + f->ride, f->ride_len);
        if (view->loaded) {
            view->value = sop_slice(base + f->value, f->value_len);
        }
    }
}

/* The keys of this call may be slices that the last one handed out: they stay for it. */
static void next_answer(struct sop_session *session)
{
    struct sop_buf last = session->answer;
    session->answer = session->before;
    session->before = last;
    sop_buf_clear(&session->answer);
}

int sop_get(struct sop_store *s, struct sop_slice key, struct sop_view *view,
            struct sop_err *err)
{
    struct found f;
    int rc = sop_store__check(s, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_session *session = s->txn->user;
    next_answer(session);
    memset(view, 0, sizeof *view);
    rc = get_one(s, key, NULL, view, &f, err);
    rc = rc == 0 ? answer_value(s, view, &f, err) : rc;
    if (rc == 0 && !f.there) {
        rc = SOP_ERR(err, NOT_FOUND, "there is no item with this key");
    }
    settle(session, &f, view);
    return rc;
}

/* Some of the keys of sop_get_many, looked up together. */
struct group {
    struct sop_store *store;
    struct sop_view *views;
    bool *found;
    struct found *all;
};

static int get_group(const struct group *g, const struct sop_slice *keys, size_t count,
                     struct sop_err *err)
{
    struct sop_version *leaves[GROUP_MAX];
    int rc = 0;
    enter(g->store);
    fetch_ahead(g->store, keys, count, leaves);
    for (size_t i = 0; i < count && rc == 0; i++) {
        memset(&g->views[i], 0, sizeof g->views[i]);
        rc = get_one(g->store, keys[i], leaves[i], &g->views[i], &g->all[i], err);
        rc = rc == SOP_ERR_NOT_FOUND ? 0 : rc;
        g->found[i] = rc == 0 && g->all[i].there;
    }
    leave(g->store);
    for (size_t i = 0; i < count && rc == 0; i++) { /* no epoch waits for the volume */
        rc = answer_value(g->store, &g->views[i], &g->all[i], err);
    }
    return rc;
}

int sop_get_many(struct sop_store *s, const struct sop_slice *keys, size_t count,
                 struct sop_view *views, bool *found, struct sop_err *err)
{
    int rc = sop_store__check(s, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_session *session = s->txn->user;
    struct found *all = sop_calloc(count + 1, sizeof *all);
    if (all == NULL) {
        return SOP_ERR(err, NOMEM, "look %zu keys up", count);
    }
    next_answer(session);
    for (size_t i = 0; i < count && rc == 0; i += GROUP_MAX) {
        struct group g = {.store = s, .views = views + i, .found = found + i, .all = all + i};
        rc = get_group(&g, keys + i, count - i < GROUP_MAX ? count - i : GROUP_MAX, err);
    }
    for (size_t i = 0; i < count && rc == 0; i++) {
        settle(session, &all[i], &views[i]);
    }
    sop_free(all);
    return rc;
}
