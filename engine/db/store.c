/* Stores: creating, opening, listing, changing, removing, inside transactions. The catalog is
 * itself a store: name -> record (catalog.c). */
#include "engine/base/limits.h"
#include "engine/btree/keycode.h"
#include "engine/db/db_int.h"

void sop_store_options_init(struct sop_store_options *o)
{
    memset(o, 0, sizeof *o);
    o->size = sizeof *o;
    o->unique = true;
    o->slot_length = SOP_SLOT_LENGTH_DEFAULT;
    o->values = SOP_VALUES_SMALL;
    o->description = "";
    o->blob_key = "";
}

/* ---- checks --------------------------------------------------------------------------------
 */

static int check_txn(struct sop_txn *t, struct sop_err *err)
{
    if (t == NULL || t->magic != SOP_TXN_MAGIC) {
        return SOP_ERR(err, CLOSED, "the transaction has ended");
    }
    if (sop_txn__forked(t)) {
        return SOP_ERR(err, FORKED, "the transaction was begun before fork()");
    }
    if (t->state != SOP_TXN_OPEN) {
        return SOP_ERR(err, CLOSED, "the transaction is prepared; commit it or roll it back");
    }
    return t->mode == SOP_NO_CHECK ? sop_engine_renew(t, err) : 0;
}

static int check_mode(const struct sop_txn *t, struct sop_err *err)
{
    return t->mode == SOP_WRITE
               ? 0
               : SOP_ERR(err, READ_ONLY,
                         "the transaction only reads; begin one with SOP_WRITE");
}

static int check_write(struct sop_txn *t, struct sop_err *err)
{
    int rc = check_txn(t, err);
    return rc == 0 ? check_mode(t, err) : rc;
}

/* UTF-8 without overlong forms or surrogates, and no control characters. */
static bool valid_text(struct sop_slice s)
{
    for (size_t i = 0; i < s.len;) {
        uint8_t c = s.data[i];
        size_t n = c < 0x80                ? 1
                   : c >= 0xc2 && c < 0xe0 ? 2
                   : c >= 0xe0 && c < 0xf0 ? 3
                   : c >= 0xf0 && c < 0xf5 ? 4
                                           : 0;
        if (n == 0 || i + n > s.len || (n == 1 && (c < 0x20 || c == 0x7f))) {
            return false;
        }
        uint32_t code = n == 1 ? c : (uint32_t)(c & (0xff >> (n + 1)));
        for (size_t k = 1; k < n; k++) {
            if ((s.data[i + k] & 0xc0) != 0x80) {
                return false;
            }
            code = (code << 6) | (s.data[i + k] & 0x3f);
        }
        if ((n == 3 && code < 0x800) || (n == 4 && code < 0x10000) || code > 0x10ffff ||
            (code >= 0xd800 && code < 0xe000)) {
            return false;
        }
        i += n;
    }
    return true;
}

static int check_name(const char *name, struct sop_slice *out, struct sop_err *err)
{
    *out = sop_slice(name, name == NULL ? 0 : strlen(name));
    if (out->len > SOP_STORE_NAME_BYTES_MAX) {
        return SOP_ERR(err, TOO_LARGE, "the store's name has %zu bytes; the most is %u",
                       out->len, SOP_STORE_NAME_BYTES_MAX);
    }
    if (out->len == 0 || !valid_text(*out)) {
        return SOP_ERR(err, INVALID,
                       "a store's name is 1..%u bytes of UTF-8 without control characters",
                       SOP_STORE_NAME_BYTES_MAX);
    }
    return 0;
}

static int too_long(const char *what, size_t bytes, size_t most, struct sop_err *err)
{
    return bytes <= most
               ? 0
               : SOP_ERR(err, TOO_LARGE, "the store's %s has %zu bytes; the most is %zu", what,
                         bytes, most);
}

static int check_options(const struct sop_store_options *o, struct sop_err *err)
{
    if (o->size != sizeof *o) {
        return SOP_ERR(err, INVALID, "options were not filled by sop_store_options_init()");
    }
    if (o->slot_length < SOP_SLOT_LENGTH_MIN || o->slot_length > SOP_SLOT_LENGTH_MAX ||
        o->slot_length % 2 != 0) {
        return SOP_ERR(err, INVALID, "slot_length is %u; it must be even, %u..%u",
                       o->slot_length, SOP_SLOT_LENGTH_MIN, SOP_SLOT_LENGTH_MAX);
    }
    if (o->values > SOP_VALUES_BIG) {
        return SOP_ERR(err, INVALID, "value class %d does not exist", (int)o->values);
    }
    int rc = sop_key_schema_check(&o->key, err);
    if (rc == 0 && o->comparer != NULL && o->comparer[0] != 0 && o->key.fields_count != 0) {
        rc = SOP_ERR(err, INVALID, "a store with a comparer has raw keys, no schema");
    }
    if (rc == 0 && o->comparer != NULL) {
        rc = too_long("comparer", strlen(o->comparer), SOP_COMPARER_NAME_BYTES_MAX, err);
    }
    if (rc == 0 && o->description != NULL) {
        rc = too_long("description", strlen(o->description), SOP_DESCRIPTION_BYTES_MAX, err);
    }
    if (rc == 0 && o->blob_key != NULL) {
        rc = too_long("blob_key", strlen(o->blob_key), SOP_BLOB_KEY_BYTES_MAX, err);
    }
    return rc == 0 ? too_long("custom data", o->custom.len, SOP_CUSTOM_BYTES_MAX, err) : rc;
}

/* Was the store removed as far as its transaction sees? */
static bool gone(const struct sop_store *s)
{
    return atomic_load(&s->tree->dropped) <= s->txn->moment;
}

int sop_store__check(struct sop_store *s, struct sop_err *err)
{
    if (s == NULL || s->magic != SOP_STORE_MAGIC) {
        return SOP_ERR(err, CLOSED,
                       "the store handle is closed: its transaction has ended, or "
                       "the store was removed");
    }
    int rc = check_txn(s->txn, err);
    if (rc == 0 && s->txn->mode == SOP_NO_CHECK && gone(s)) { /* without a pin of its own */
        rc = SOP_ERR(err, CLOSED, "the store was removed by another transaction");
    }
    return rc;
}

int sop_store__writable(struct sop_store *s, struct sop_err *err)
{
    int rc = sop_store__check(s, err);
    return rc == 0 ? check_mode(s->txn, err) : rc;
}

/* ---- handles -------------------------------------------------------------------------------
 */

void sop_store__free(struct sop_store *s)
{
    while (s->writers != NULL) {
        sop_writer__free(s->writers);
    }
    while (s->readers != NULL) {
        sop_reader__free(s->readers);
    }
    while (s->ranges != NULL) {
        sop_range__free(s->ranges);
    }
    if (s->probe != NULL) {
        sop_cursor_close(&s->probe);
    }
    while (s->cursors != NULL) {
        struct sop_cursor *c = s->cursors;
        sop_cursor_close(&c);
    }
    sop_buf_fini(&s->key);
    sop_card_unref(s->card);
    for (size_t i = 0; i < s->old_cards_count; i++) {
        sop_card_unref(s->old_cards[i]);
    }
    sop_free(s->old_cards);
    s->magic = 0;
    sop_free(s);
}

void sop_txn__close_all(struct sop_txn *t)
{
    struct sop_session *session = t->user;
    while (session->stores != NULL) {
        struct sop_store *s = session->stores;
        session->stores = s->next;
        sop_store__free(s);
    }
}

/* The handle says from now on what the record says. */
static int take_record(struct sop_store *s, struct sop_slice record, struct sop_err *err)
{
    if (sop_slice_eq(record, sop_buf_slice(&s->card->record))) {
        return 0;
    }
    size_t count = s->old_cards_count + 1;
    struct sop_card **old = sop_realloc(s->old_cards, count * sizeof(struct sop_card *));
    if (old == NULL) {
        return SOP_ERR(err, NOMEM, "renew a store");
    }
    s->old_cards = old;
    struct sop_card *card = NULL;
    int rc = sop_card_new(&card, s->card->name, s->tree, record, err);
    if (rc == 0) {
        old[s->old_cards_count++] = s->card;
        s->card = card;
    }
    return rc;
}

/* A handle for a store, in the transaction's list. Takes the card on success. */
static int handle_new(struct sop_txn *t, struct sop_card *take_card, struct sop_store **out,
                      struct sop_err *err)
{
    struct sop_store *s = sop_calloc(1, sizeof *s);
    if (s == NULL) {
        return SOP_ERR(err, NOMEM, "open a store");
    }
    s->magic = SOP_STORE_MAGIC;
    s->txn = t;
    s->tree = take_card->tree;
    s->order = take_card->order;
    int rc = sop_txn_access(t, s->tree, &s->access, err);
    if (rc != 0) {
        sop_store__free(s);
        return rc;
    }
    s->card = take_card;
    struct sop_session *session = t->user;
    s->next = session->stores;
    session->stores = s;
    *out = s;
    return 0;
}

static struct sop_store *find_handle(struct sop_txn *t, const char *name)
{
    struct sop_session *session = t->user;
    for (struct sop_store *s = session->stores; s != NULL; s = s->next) {
        if (strcmp(s->card->name, name) == 0 && !(t->mode == SOP_NO_CHECK && gone(s))) {
            return s;
        }
    }
    return NULL;
}

/* ---- the catalog ---------------------------------------------------------------------------
 */

static int catalog_access(struct sop_txn *t, struct sop_access **out, struct sop_err *err)
{
    return sop_txn_access(t, sop_engine_tree(t->engine, SOP_CATALOG_STORE), out, err);
}

/* Looks a name up as the transaction sees it; copies the record. *was: what the snapshot has.
 */
static int catalog_look(struct sop_txn *t, struct sop_slice name, bool *there, uint8_t *was,
                        struct sop_buf *record, struct sop_err *err)
{
    struct sop_access *a = NULL;
    struct sop_look look;
    int rc = catalog_access(t, &a, err);
    if (rc == 0) {
        rc = sop_txn_look(t, a, name, &look, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_slice value = sop_slice(NULL, 0);
    if (look.cell != NULL) {
        *there = look.cell->kind != SOP_VALUE_TOMBSTONE;
        *was = look.cell->was;
        value = look.cell->value;
    } else {
        *there = look.found;
        *was = look.found ? 2 : 1;
        value = look.found ? look.item.value : value;
    }
    if (*there) {
        sop_buf_clear(record);
        rc = sop_buf_append(record, value.data, value.len, err);
    }
    sop_txn_look_end(t, &look);
    return rc;
}

static int catalog_put(struct sop_txn *t, struct sop_slice name, struct sop_slice record,
                       uint8_t was, struct sop_err *err)
{
    struct sop_access *a = NULL;
    int rc = catalog_access(t, &a, err);
    struct sop_put put = {.key = name,
                          .value = record,
                          .was = was,
                          .kind = record.data == NULL ? SOP_VALUE_TOMBSTONE : SOP_VALUE_INLINE};
    return rc == 0 ? sop_txn_put(t, a, &put, err) : rc;
}

static void facts_of(const struct sop_store_options *o, uint64_t id, uint64_t root,
                     struct sop_catalog_record *r)
{
    *r = (struct sop_catalog_record){
        .id = id,
        .root = root,
        .unique = o->unique,
        .slot_length = o->slot_length,
        .values = (uint8_t)o->values,
        .key = o->key,
        .comparer = sop_slice_str(o->comparer != NULL ? o->comparer : ""),
        .description = sop_slice_str(o->description != NULL ? o->description : ""),
        .blob_key = sop_slice_str(o->blob_key != NULL ? o->blob_key : ""),
        .custom = o->custom,
        .cache_page_seconds = o->cache_page_seconds,
        .cache_value_seconds = o->cache_value_seconds,
        .cache_info_seconds = o->cache_info_seconds};
}

/* The tree of a store that this transaction creates; nobody else can see it. */
static int create_tree(struct sop_txn *t, const struct sop_store_options *o,
                       struct sop_buf *record, struct sop_tree **out, struct sop_err *err)
{
    struct sop_session *session = t->user;
    struct sop_catalog_record r;
    struct sop_tree *tree = NULL;
    uint64_t id = sop_engine_new_store_id(t->engine);
    uint64_t root = sop_engine_new_page_id(t->engine);
    facts_of(o, id, root, &r);
    int rc = sop_catalog_encode(&r, record, err);
    if (rc == 0) {
        rc = sop_tree_new(&tree, id, root, err);
    }
    if (rc != 0) {
        return rc;
    }
    tree->created = SOP_NEVER;
    rc = sop_catalog_describe(session->db, sop_buf_slice(record), tree, err);
    if (rc == 0) {
        rc = sop_engine_add_tree(t->engine, tree, err);
    }
    if (rc != 0) {
        sop_tree_free(tree);
        return rc;
    }
    *out = tree;
    return 0;
}

int sop_store_create(struct sop_store **out, struct sop_txn *txn, const char *name,
                     const struct sop_store_options *options, struct sop_err *err)
{
    struct sop_store_options defaults;
    struct sop_slice key;
    struct sop_buf record = {0};
    struct sop_tree *tree = NULL;
    struct sop_store *s = NULL;
    bool there = false;
    uint8_t was = 0;
    *out = NULL;
    if (options == NULL) {
        sop_store_options_init(&defaults);
        options = &defaults;
    }
    int rc = check_write(txn, err);
    if (rc == 0) {
        rc = check_name(name, &key, err);
    }
    if (rc == 0) {
        rc = check_options(options, err);
    }
    if (rc == 0) {
        rc = catalog_look(txn, key, &there, &was, &record, err);
    }
    if (rc == 0 && there) { /* seen: a removal by somebody else must not go unnoticed */
        struct sop_access *a = NULL;
        rc = catalog_access(txn, &a, err);
        rc = rc == 0 ? sop_txn_read_point(txn, a, key, err) : rc;
        rc = rc == 0 ? SOP_ERR(err, EXISTS, "there is a store with this name already") : rc;
    }
    if (rc == 0) {
        sop_buf_clear(&record);
        rc = create_tree(txn, options, &record, &tree, err);
    }
    struct sop_card *card = NULL;
    if (rc == 0) {
        rc = sop_card_new(&card, name, tree, sop_buf_slice(&record), err);
    }
    if (rc == 0) {
        rc = handle_new(txn, card, &s, err);
        if (rc != 0) {
            sop_card_unref(card);
        }
    }
    if (rc == 0) {
        s->access->created = true;
        rc = sop_arena_copy(&txn->arena, sop_buf_slice(&record), &s->access->info, err);
    }
    if (rc == 0) {
        rc = catalog_put(txn, key, sop_buf_slice(&record), was, err);
    }
    if (rc == 0) {
        *out = s;
    } else if (s != NULL) {
        s->access->dropped = true; /* created and dropped: nothing of it is committed */
        struct sop_session *session = txn->user;
        session->stores = s->next;
        sop_store__free(s);
    }
    sop_buf_fini(&record);
    return rc != 0 ? sop_err_wrap(err, rc, "create store %s", name != NULL ? name : "?") : 0;
}

/* Has this transaction changed the catalog? */
static bool changes_catalog(const struct sop_txn *t)
{
    for (const struct sop_access *a = t->accesses; a != NULL; a = a->next) {
        if (a->tree->id == SOP_CATALOG_STORE) {
            return a->wset != NULL;
        }
    }
    return false;
}

/* Reads the catalog for a card, and keeps it for others if it says what they would find, too.
 */
static int card_from_catalog(struct sop_txn *t, const char *name, bool keep,
                             struct sop_card **out, struct sop_err *err)
{
    struct sop_slice key;
    struct sop_buf record = {0};
    struct sop_catalog_record facts;
    bool there = false;
    uint8_t was = 0;
    int rc = check_name(name, &key, err);
    if (rc == 0) {
        rc = catalog_look(t, key, &there, &was, &record, err);
    }
    if (rc == 0 && !there) {
        struct sop_access *a = NULL;
        rc = catalog_access(t, &a, err);
        rc = rc == 0 ? sop_txn_read_point(t, a, key, err) : rc; /* its absence was seen */
        rc = rc == 0 ? SOP_ERR(err, NOT_FOUND, "there is no store with this name") : rc;
    }
    if (rc == 0) {
        rc = sop_catalog_decode(sop_buf_slice(&record), &facts, err);
    }
    if (rc == 0) {
        struct sop_tree *tree = sop_engine_tree(t->engine, facts.id);
        rc = tree == NULL
                 ? SOP_ERR(err, DATA_LOSS,
                           "the catalog names store %" PRIu64 ", which is unknown", facts.id)
                 : sop_card_new(out, name, tree, sop_buf_slice(&record), err);
    }
    sop_buf_fini(&record);
    if (rc == 0 && keep) {
        struct sop_session *session = t->user;
        (*out)->moment = t->moment;
        sop_cards_keep(&session->generation->cards, *out);
    }
    return rc;
}

static int card_of(struct sop_txn *t, const char *name, struct sop_card **out,
                   struct sop_err *err)
{
    struct sop_session *session = t->user;
    const struct sop_tree *catalog = sop_engine_tree(t->engine, SOP_CATALOG_STORE);
    bool own = changes_catalog(t);
    *out = own || name == NULL
               ? NULL
               : sop_cards_find(&session->generation->cards, name, catalog, t->moment);
    return *out != NULL ? 0 : card_from_catalog(t, name, !own, out, err);
}

/* The handle of a store, also of one whose comparer was not given: its facts can be told. */
static int open_any(struct sop_store **out, struct sop_txn *txn, const char *name,
                    struct sop_err *err)
{
    *out = NULL;
    int rc = check_txn(txn, err);
    if (rc == 0 && name != NULL) {
        *out = find_handle(txn, name);
        if (*out != NULL) {
            return 0;
        }
    }
    struct sop_card *card = NULL;
    if (rc == 0) {
        rc = card_of(txn, name, &card, err);
    }
    if (rc == 0) {
        rc = handle_new(txn, card, out, err);
        if (rc != 0) {
            sop_card_unref(card);
        }
    }
    return rc != 0 ? sop_err_wrap(err, rc, "open store %s", name != NULL ? name : "?") : 0;
}

int sop_store_open(struct sop_store **out, struct sop_txn *txn, const char *name,
                   struct sop_err *err)
{
    int rc = open_any(out, txn, name, err);
    if (rc == 0 && (*out)->tree->needs_comparer) {
        rc = SOP_ERR(err, UNSUPPORTED,
                     "store %s is ordered by the comparer \"%s\", which is not registered in "
                     "sop_db_options.comparers; other stores can be used",
                     name, (*out)->card->comparer);
        *out = NULL;
    }
    return rc;
}

static void fill_info(const struct sop_store *s, struct sop_store_info *info)
{
    const struct sop_catalog_record *f = &s->card->facts;
    memset(info, 0, sizeof *info);
    info->name = s->card->name;
    info->id = f->id;
    info->options.size = sizeof info->options;
    info->options.unique = f->unique;
    info->options.slot_length = f->slot_length;
    info->options.values = (enum sop_value_class)f->values;
    info->options.key = f->key;
    info->options.comparer = s->card->comparer[0] != 0 ? s->card->comparer : NULL;
    info->options.description = s->card->description;
    info->options.blob_key = s->card->blob_key;
    info->options.custom = f->custom;
    info->options.cache_page_seconds = f->cache_page_seconds;
    info->options.cache_value_seconds = f->cache_value_seconds;
    info->options.cache_info_seconds = f->cache_info_seconds;
}

/* Others may have changed the store since it was opened. */
static int renew_record(struct sop_store *s, struct sop_err *err)
{
    struct sop_buf record = {0};
    bool there = false;
    uint8_t was = 0;
    int rc = catalog_look(s->txn, sop_slice_str(s->card->name), &there, &was, &record, err);
    if (rc == 0 && there) {
        rc = take_record(s, sop_buf_slice(&record), err);
    }
    sop_buf_fini(&record);
    return rc;
}

int sop_store_info(struct sop_store *s, struct sop_store_info *info, struct sop_err *err)
{
    int rc = sop_store__check(s, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_access *a = NULL;
    rc = catalog_access(s->txn, &a, err);
    if (rc == 0 && !s->access->created) {
        rc = sop_txn_read_point(s->txn, a, sop_slice_str(s->card->name), err);
    }
    if (rc == 0 && s->txn->mode == SOP_NO_CHECK) {
        rc = renew_record(s, err);
    }
    if (rc == 0) {
        fill_info(s, info);
        rc = sop_store_count(s, true, &info->items, err);
    }
    return rc;
}

/* A handle on the catalog itself, for walking; it is not in the list of opened stores. */
static int catalog_handle(struct sop_txn *txn, struct sop_store **out, struct sop_err *err)
{
    struct sop_store *s = sop_calloc(1, sizeof *s);
    if (s == NULL) {
        return SOP_ERR(err, NOMEM, "list stores");
    }
    s->magic = SOP_STORE_MAGIC;
    s->txn = txn;
    s->tree = sop_engine_tree(txn->engine, SOP_CATALOG_STORE);
    int rc = catalog_access(txn, &s->access, err);
    if (rc == 0) {
        rc = sop_card_new_catalog(&s->card, s->tree, err);
    }
    if (rc != 0) {
        sop_store__free(s);
        return rc;
    }
    *out = s;
    return 0;
}

/* The store at the catalog's cursor; *info->name NULL: it is gone (readers without snapshot).
 */
static int list_one(struct sop_cursor *c, struct sop_buf *name, struct sop_store_info *info,
                    struct sop_err *err)
{
    struct sop_txn *txn = c->store->txn;
    struct sop_view view;
    struct sop_store *found = NULL;
    memset(info, 0, sizeof *info);
    int rc = sop_cursor_key(c, &view, err);
    if (rc == 0) {
        sop_buf_clear(name);
        rc = sop_buf_append(name, view.key.data, view.key.len, err);
    }
    if (rc == 0) {
        rc = sop_buf_append(name, "", 1, err);
    }
    if (rc == 0) {
        rc = open_any(&found, txn, (const char *)name->data, err);
    }
    if (rc == 0) {
        fill_info(found, info);
        rc = sop_store_count(found, true, &info->items, err);
    }
    if (txn->mode == SOP_NO_CHECK && (rc == SOP_ERR_NOT_FOUND || rc == SOP_ERR_CLOSED)) {
        info->name = NULL; /* removed while the list was on its way */
        return 0;
    }
    return rc;
}

int sop_store_list(struct sop_txn *txn, const char *after, sop_store_fn each, void *arg,
                   struct sop_err *err)
{
    struct sop_store *s = NULL;
    struct sop_cursor *c = NULL;
    struct sop_buf name = {0};
    bool exact = false;
    int said = 0; /* by the caller */
    int rc = check_txn(txn, err);
    if (rc == 0) {
        rc = catalog_handle(txn, &s, err);
    }
    if (rc != 0) {
        return rc;
    }
    rc = sop_cursor_open(&c, s, err);
    if (rc == 0) {
        rc = sop_cursor_find_near(c, sop_slice_str(after != NULL ? after : ""), &exact, err);
        if (rc == 0 && exact) {
            rc = sop_cursor_next(c, err);
        }
    }
    while (rc == 0 && said == 0) {
        struct sop_store_info info;
        rc = list_one(c, &name, &info, err);
        if (rc == 0 && info.name != NULL) {
            said = each(arg, &info, err);
        }
        if (rc == 0 && said == 0) {
            rc = sop_cursor_next(c, err);
        }
    }
    if (c != NULL) {
        int noted = sop_cursor__flush(c, said == 0 ? err : NULL);
        rc = rc == SOP_ERR_END || rc == 0 ? noted : rc;
    }
    sop_store__free(s);
    sop_buf_fini(&name);
    return said != 0 ? said : rc;
}

int sop_store_change(struct sop_store *s, const struct sop_store_options *options,
                     struct sop_err *err)
{
    int rc = sop_store__writable(s, err);
    if (rc == 0) {
        rc = check_options(options, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_catalog_record r = s->card->facts;
    struct sop_buf record = {0};
    struct sop_buf old = {0};
    bool there = false;
    uint8_t was = 0;
    r.description = sop_slice_str(options->description != NULL ? options->description : "");
    r.custom = options->custom;
    r.cache_page_seconds = options->cache_page_seconds;
    r.cache_value_seconds = options->cache_value_seconds;
    r.cache_info_seconds = options->cache_info_seconds;
    struct sop_slice key = sop_slice_str(s->card->name);
    rc = sop_catalog_encode(&r, &record, err);
    if (rc == 0) {
        rc = catalog_look(s->txn, key, &there, &was, &old, err);
    }
    if (rc == 0) {
        rc = catalog_put(s->txn, key, sop_buf_slice(&record), was, err);
    }
    if (rc == 0) {
        rc = take_record(s, sop_buf_slice(&record), err);
    }
    if (rc == 0 && s->access->created) {
        rc = sop_arena_copy(&s->txn->arena, sop_buf_slice(&record), &s->access->info, err);
    }
    sop_buf_fini(&record);
    sop_buf_fini(&old);
    return rc != 0 ? sop_err_wrap(err, rc, "change store %s", s->card->name) : 0;
}

int sop_store_remove(struct sop_txn *txn, const char *name, struct sop_err *err)
{
    struct sop_store *s = NULL;
    struct sop_buf old = {0};
    bool there = false;
    uint8_t was = 0;
    int rc = check_write(txn, err);
    if (rc == 0) {
        rc = sop_store_open(&s, txn, name, err);
    }
    if (rc == 0) {
        rc = catalog_look(txn, sop_slice_str(name), &there, &was, &old, err);
    }
    if (rc == 0) {
        rc = catalog_put(txn, sop_slice_str(name), sop_slice(NULL, 0), was, err);
    }
    sop_buf_fini(&old);
    if (rc != 0) {
        return sop_err_wrap(err, rc, "remove store %s", name != NULL ? name : "?");
    }
    s->access->dropped = true;
    struct sop_session *session = txn->user;
    struct sop_store **at = &session->stores;
    while (*at != s) {
        at = &(*at)->next;
    }
    *at = s->next;
    sop_store__free(s);
    return 0;
}

/* Items that blind upserts will add, found out by looking. What an exact count has seen must
 * stay so: the upserts are blind no longer. */
static int count_blind(struct sop_store *s, bool estimate, int64_t *more, struct sop_err *err)
{
    struct sop_txn *t = s->txn;
    struct sop_wset_cursor c;
    int rc = 0;
    sop_wset_cursor_init(&c, s->access->wset);
    for (struct sop_cell *cell = sop_wset_first(&c); cell != NULL && rc == 0;
         cell = sop_wset_next(&c)) {
        if (cell->was == 0) {
            bool found = false;
            struct sop_item item;
            struct sop_seen seen;
            sop_epoch_enter(&t->engine->epochs, t->slot);
            if (!estimate) {
                rc = sop_store__see(s, cell->key, &seen, err);
                found = rc == 0 && cell->was == 2;
                if (rc == 0) {
                    sop_store__seen(s, &seen);
                }
            } else if (!s->access->created) {
                rc = sop_tree_find(&t->engine->pages, s->tree, t->moment, cell->key, &found,
                                   &item, NULL, err);
            }
            sop_epoch_leave(t->slot);
            *more += rc == 0 && !found ? 1 : 0;
        }
    }
    return rc;
}

int sop_store_count(struct sop_store *s, bool estimate, uint64_t *items, struct sop_err *err)
{
    int rc = sop_store__check(s, err);
    rc = rc == 0 ? sop_txn_assure(s->txn, err) : rc;
    if (rc != 0) {
        return rc;
    }
    int64_t delta = s->access->delta;
    uint64_t base = s->access->created ? 0 : sop_tree_items(s->tree, s->txn->moment);
    if (s->access->wset != NULL) {
        rc = count_blind(s, estimate, &delta, err);
    }
    if (!estimate && s->txn->mode == SOP_WRITE) {
        s->access->read_count = true;
    }
    *items = base + (uint64_t)delta;
    return rc;
}
