/* Backup and restore: a database copied store by store, as one state of it was.
 *
 * The source is read at one pinned state by a scan of its catalog and of each store. The copy
 * is an ordinary database of its own (own id, own history), filled through the engine's
 * interface so that full keys, item ids included, stay what they are.
 *
 *   1 make the folder, if it is absent
 *   2 create the database under a name that nobody looks for: sop.db.unfinished
 *   3 stores and items, some MB a transaction; a checkpoint when one is due
 *   4 checkpoint, sync, close; give it its name, sop.db; sync folder and parent
 *   5 open it read-only and verify it
 *
 * So whoever finds the folder of a copy that was cut short finds no database in it. When a step
 * fails what was made is removed. */
#include "engine/base/limits.h"
#include "engine/db/db_int.h"
#include "engine/volume/posix.h"

#include <errno.h>

#define BATCH_ITEMS        10000
#define BATCH_BYTES        (8u << 20)
#define PIECE_BYTES        ((size_t)1 << 20)
#define APPEND_BYTES_MAX   (4u << 20) /* longer values are streamed, into a file of their own */
#define COPY_JOURNAL_BYTES (1u << 20)
#define COPY_CACHE_BYTES   (64ull << 20)
#define COPY_TIME_MS       (60u * 60 * 1000)

/* ---- the folder of the copy ----------------------------------------------------------------
 */

struct target {
    struct sop_volume *volume; /* of the folder itself */
    struct sop_volume *parent; /* NULL: the folder was there, and empty */
    char *path;                /* of the parent; name points behind its end */
    const char *name;
};

static int refuse_name(void *arg, const char *name, struct sop_err *err)
{
    return SOP_ERR(err, EXISTS, "%s holds \"%s\"; choose an absent or empty folder",
                   (const char *)arg, name);
}

/* The folder as a volume; *volume NULL: it is absent. EXISTS: it is not empty. */
static int open_empty(const char *folder, struct sop_volume **volume, struct sop_err *err)
{
    *volume = NULL;
    if (folder == NULL || folder[0] == '\0') {
        return SOP_ERR(err, INVALID, "the folder's path is empty");
    }
    struct sop_err why = {0};
    int rc = sop_volume_posix_open(folder, volume, &why);
    if (rc == SOP_ERR_NOT_FOUND) {
        return why.sys == ENOTDIR ? sop_db__no_folder(folder, &why, err) : 0;
    }
    if (rc != 0) {
        if (err != NULL) {
            *err = why;
        }
        return rc;
    }
    char *shown = (*volume)->shown;
    rc = sop_volume_list(*volume, "", refuse_name, shown, err);
    if (rc != 0) {
        sop_volume_destroy(*volume);
        *volume = NULL;
    }
    return rc;
}

/* Splits a path into parent and name: "a/b/" = "a" and "b", "b" = "." and "b". */
static int split(struct target *t, const char *folder, struct sop_err *err)
{
    size_t len = strlen(folder);
    while (len > 1 && folder[len - 1] == '/') {
        len--;
    }
    size_t at = len;
    while (at > 0 && folder[at - 1] != '/') {
        at--;
    }
    t->path = sop_malloc(len + 4);
    if (t->path == NULL) {
        return SOP_ERR(err, NOMEM, "make folder %s", folder);
    }
    size_t parent_len = at > 1 ? at - 1 : 1;
    memcpy(t->path, at > 0 ? folder : ".", parent_len);
    t->path[parent_len] = '\0';
    char *name = t->path + parent_len + 1;
    memcpy(name, folder + at, len - at);
    name[len - at] = '\0';
    t->name = name;
    if (len == at || strcmp(name, "..") == 0 || strcmp(name, ".") == 0) {
        return SOP_ERR(err, INVALID, "%s is no name for a folder", folder);
    }
    return 0;
}

static void target_fini(struct target *t)
{
    sop_volume_destroy(t->volume);
    sop_volume_destroy(t->parent);
    sop_free(t->path);
    memset(t, 0, sizeof *t);
}

/* Opens the folder, made if it is absent. */
static int target_init(struct target *t, const char *folder, struct sop_err *err)
{
    memset(t, 0, sizeof *t);
    int rc = open_empty(folder, &t->volume, err);
    if (rc != 0 || t->volume != NULL) {
        return rc;
    }
    rc = split(t, folder, err);
    if (rc == 0) {
        rc = sop_volume_posix_open(t->path, &t->parent, err);
        rc = rc == SOP_ERR_NOT_FOUND ? sop_db__no_parent(folder, err) : rc;
    }
    if (rc == 0) {
        rc = sop_volume_mkdir(t->parent, t->name, err);
    }
    if (rc == 0) {
        rc = sop_volume_posix_open(folder, &t->volume, err);
        if (rc != 0) {
            (void)sop_volume_rmdir(t->parent, t->name, NULL);
        }
    }
    if (rc != 0) {
        target_fini(t);
        return sop_err_wrap(err, rc, "make folder %s", folder);
    }
    return 0;
}

static int collect_name(void *arg, const char *name, struct sop_err *err)
{
    return sop_buf_append(arg, name, strlen(name) + 1, err);
}

/* Removes what was made; what cannot be removed is left. */
static void target_undo(struct target *t)
{
    struct sop_buf names = {0};
    (void)sop_volume_unlink(t->volume, SOP_DB_NAME,
                            NULL); /* no database any more, whatever follows */
    if (sop_volume_list(t->volume, "", collect_name, &names, NULL) == 0) {
        for (size_t at = 0; at < names.len;) {
            const char *name = (const char *)names.data + at;
            int gone = sop_volume_remove_tree(t->volume, name, NULL);
            (void)gone; /* nothing more can be done about it here */
            at += strlen(name) + 1;
        }
    }
    sop_buf_fini(&names);
    if (t->parent != NULL) {
        (void)sop_volume_rmdir(t->parent, t->name, NULL);
    }
}

static int name_it(struct target *t, struct sop_err *err)
{
    int rc = sop_volume_link(t->volume, SOP_DB_UNFINISHED, SOP_DB_NAME, err);
    if (rc == 0) {
        rc = sop_volume_unlink(t->volume, SOP_DB_UNFINISHED, err);
    }
    return rc == 0 ? sop_volume_dir_sync(t->volume, "", err) : rc;
}

/* ---- copying items -------------------------------------------------------------------------
 */

struct copy {
    struct sop_engine *from;
    struct sop_txn *read; /* the state that is copied */
    struct sop_db *to;
    sop_progress_fn progress;
    void *arg;
    uint64_t done, total; /* items */
    struct sop_txn *txn;  /* in the copy; NULL between transactions */
    struct sop_store *store;
    struct sop_buf name; /* of the store, NUL-terminated */
    uint32_t batch_items;
    uint64_t batch_bytes;
    struct sop_buf key, value;
};

static int tell(struct copy *c, struct sop_err *err)
{
    if (c->progress == NULL || c->progress(c->arg, "items", c->done, c->total) == 0) {
        return 0;
    }
    return SOP_ERR(err, CANCELLED, "cancelled after %" PRIu64 " of %" PRIu64 " items", c->done,
                   c->total);
}

static int begin(struct copy *c, struct sop_err *err)
{
    struct sop_txn_options options;
    sop_txn_options_init(&options);
    options.max_time_ms = COPY_TIME_MS;
    c->batch_items = 0;
    c->batch_bytes = 0;
    return sop_txn_begin(&c->txn, c->to, &options, err);
}

static int begin_batch(struct copy *c, struct sop_err *err)
{
    int rc = begin(c, err);
    return rc == 0 ? sop_store_open(&c->store, c->txn, (const char *)c->name.data, err) : rc;
}

static int commit_batch(struct copy *c, struct sop_err *err)
{
    c->store = NULL;
    int rc = sop_txn_commit(&c->txn, NULL, err);
    if (rc == 0) {
        rc = sop_maintain(c->to, err);
    }
    return rc == 0 ? tell(c, err) : rc;
}

/* A value into a file of its own, piece by piece. */
static int stream_value(struct copy *c, const struct sop_pack_owner *owner,
                        const struct sop_place *from, struct sop_place *to, struct sop_err *err)
{
    struct sop_pack_stream *stream = NULL;
    sop_buf_clear(&c->value);
    int rc = sop_buf_reserve(&c->value, PIECE_BYTES, err);
    if (rc == 0) {
        rc = sop_packs_stream(c->txn->engine->packs, owner, &stream, err);
    }
    for (uint64_t at = 0; rc == 0 && at < from->bytes; at += PIECE_BYTES) {
        uint64_t left = from->bytes - at;
        size_t len = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        rc = sop_packs_read_range(c->from->reader, from, at, c->value.data, len, err);
        if (rc == 0) {
            rc = sop_pack_stream_write(stream, sop_slice(c->value.data, len), err);
        }
        if (rc == 0) {
            rc = tell(c, err);
        }
    }
    if (rc == 0) {
        return sop_pack_stream_finish(&stream, to, err);
    }
    if (stream != NULL) {
        sop_pack_stream_abort(&stream);
    }
    return rc;
}

static int append_value(struct copy *c, const struct sop_pack_owner *owner,
                        const struct sop_place *from, struct sop_place *to, struct sop_err *err)
{
    int rc = sop_packs_read(c->from->reader, from, SOP_PACK_VALUE, &c->value, err);
    return rc == 0 ? sop_packs_append(c->txn->engine->packs, owner, sop_buf_slice(&c->value),
                                      to, err)
                   : rc;
}

/* Copies a value that lies in a pack; c->key is the key of its item. */
static int copy_value(struct copy *c, struct sop_slice encoded, struct sop_place *to,
                      struct sop_err *err)
{
    struct sop_engine *e = c->txn->engine;
    if (encoded.len != SOP_PLACE_BYTES) {
        return SOP_ERR(err, DATA_LOSS, "an item names no place; verify the database");
    }
    struct sop_place from = sop_place_decode(encoded.data);
    struct sop_pack_owner owner = {
        .type = SOP_PACK_VALUE, .store = c->store->tree->id, .key = sop_buf_slice(&c->key)};
    if (sop_place_none(&from)) {
        return SOP_ERR(err, DATA_LOSS, "an item names no place; verify the database");
    }
    atomic_fetch_add(&e->value_writers, 1);
    int rc = from.bytes <= APPEND_BYTES_MAX ? append_value(c, &owner, &from, to, err)
                                            : stream_value(c, &owner, &from, to, err);
    if (rc == 0) {
        rc = sop_txn_wrote_value(c->txn, to, err);
    }
    atomic_fetch_sub(&e->value_writers, 1);
    c->batch_bytes += from.bytes;
    return rc;
}

/* The item that the scan stands on. */
static int copy_item(struct copy *c, const struct sop_scan *scan, struct sop_err *err)
{
    uint8_t encoded[SOP_PLACE_BYTES];
    struct sop_item item = sop_scan_item(scan);
    int rc = sop_item_key(&item, &c->key, err);
    struct sop_slice value = item.value;
    if (rc == 0 && item.kind == SOP_VALUE_PLACE) {
        struct sop_place to = {0};
        rc = copy_value(c, item.value, &to, err);
        if (rc == 0) {
            sop_place_encode(&to, encoded);
            value = sop_slice(encoded, sizeof encoded);
        }
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_put put = {.key = sop_buf_slice(&c->key),
                          .ride = item.ride,
                          .value = value,
                          .kind = (uint8_t)item.kind,
                          .was = 1}; /* absent: keys ascend, and nobody else writes here */
    c->batch_items++;
    c->batch_bytes += c->key.len + item.ride.len + value.len;
    c->done++;
    return sop_txn_put(c->txn, c->store->access, &put, err);
}

static int copy_items(struct copy *c, struct sop_tree *tree, struct sop_err *err)
{
    struct sop_scan scan;
    sop_scan_init(&scan, &c->from->pages, tree, c->read->slot, c->read->moment);
    int rc = sop_scan_first(&scan, err);
    while (rc == 0 && scan.on) {
        if (c->txn == NULL) {
            rc = begin_batch(c, err);
        }
        if (rc == 0) {
            rc = copy_item(c, &scan, err);
        }
        if (rc == 0 && (c->batch_items >= BATCH_ITEMS || c->batch_bytes >= BATCH_BYTES)) {
            rc = commit_batch(c, err);
        }
        if (rc == 0) {
            rc = sop_scan_next(&scan, err);
        }
    }
    if (rc == 0 && c->txn != NULL) {
        rc = commit_batch(c, err);
    }
    sop_scan_fini(&scan);
    return rc;
}

/* ---- copying stores ------------------------------------------------------------------------
 */

/* The options that make a store with these facts. Texts point into `texts`. */
static int options_of(const struct sop_catalog_record *r, struct sop_buf *texts,
                      struct sop_store_options *o, struct sop_err *err)
{
    const struct sop_slice from[3] = {r->comparer, r->description, r->blob_key};
    size_t at[3];
    int rc = 0;
    for (int i = 0; i < 3 && rc == 0; i++) {
        at[i] = texts->len;
        rc = sop_buf_append(texts, from[i].data, from[i].len, err);
        rc = rc == 0 ? sop_buf_append(texts, "", 1, err) : rc;
    }
    if (rc != 0) {
        return rc;
    }
    sop_store_options_init(o);
    o->unique = r->unique;
    o->slot_length = r->slot_length;
    o->values = (enum sop_value_class)r->values;
    o->key = r->key;
    o->comparer = r->comparer.len > 0 ? (const char *)texts->data + at[0] : NULL;
    o->description = (const char *)texts->data + at[1];
    o->blob_key = (const char *)texts->data + at[2];
    o->custom = r->custom;
    o->cache_page_seconds = r->cache_page_seconds;
    o->cache_value_seconds = r->cache_value_seconds;
    o->cache_info_seconds = r->cache_info_seconds;
    return 0;
}

/* The tree of a catalog item, which exists at the state that is read. */
static int tree_of(struct copy *c, const struct sop_item *item, struct sop_catalog_record *r,
                   struct sop_tree **tree, struct sop_err *err)
{
    int rc = item->kind == SOP_VALUE_INLINE
                 ? sop_catalog_decode(item->value, r, err)
                 : SOP_ERR(err, DATA_LOSS, "the catalog holds what is no record");
    if (rc != 0) {
        return rc;
    }
    *tree = sop_engine_tree(c->from, r->id);
    return *tree != NULL
               ? 0
               : SOP_ERR(err, DATA_LOSS,
                         "the catalog names store %" PRIu64 ", which is unknown", r->id);
}

static int copy_store(struct copy *c, const struct sop_item *item, struct sop_err *err)
{
    struct sop_catalog_record r;
    struct sop_store_options options;
    struct sop_tree *tree = NULL;
    struct sop_store *store = NULL;
    struct sop_buf texts = {0};
    int rc = tree_of(c, item, &r, &tree, err);
    if (rc == 0) {
        rc = sop_item_key(item, &c->name, err);
    }
    if (rc == 0) {
        rc = sop_buf_append(&c->name, "", 1, err);
    }
    if (rc == 0) {
        rc = options_of(&r, &texts, &options, err);
    }
    if (rc == 0) {
        rc = begin(c, err);
    }
    if (rc == 0) {
        rc = sop_store_create(&store, c->txn, (const char *)c->name.data, &options, err);
    }
    if (rc == 0) {
        rc = commit_batch(c, err);
    }
    if (rc == 0) {
        rc = copy_items(c, tree, err);
    }
    sop_buf_fini(&texts);
    return rc == 0 ? 0
                   : sop_err_wrap(err, rc, "copy store %s",
                                  c->name.len > 0 ? (const char *)c->name.data : "?");
}

/* Every store of the catalog, to be counted or copied. */
static int each_store(struct copy *c, bool count, struct sop_err *err)
{
    struct sop_scan scan;
    struct sop_tree *catalog = sop_engine_tree(c->from, SOP_CATALOG_STORE);
    if (sop_tree_items(catalog, c->read->moment) == 0) {
        return 0;
    }
    sop_scan_init(&scan, &c->from->pages, catalog, c->read->slot, c->read->moment);
    int rc = sop_scan_first(&scan, err);
    while (rc == 0 && scan.on) {
        struct sop_item item = sop_scan_item(&scan);
        struct sop_catalog_record r;
        struct sop_tree *tree = NULL;
        if (count) {
            rc = tree_of(c, &item, &r, &tree, err);
            c->total += rc == 0 ? sop_tree_items(tree, c->read->moment) : 0;
        } else {
            rc = copy_store(c, &item, err);
        }
        if (rc == 0) {
            rc = sop_scan_next(&scan, err);
        }
    }
    sop_scan_fini(&scan);
    return rc;
}

static int copy_all(struct copy *c, struct sop_err *err)
{
    int rc = each_store(c, true, err);
    if (rc == 0) {
        rc = tell(c, err);
    }
    if (rc == 0) {
        rc = each_store(c, false, err);
    }
    if (rc == 0) {
        rc = sop_db_checkpoint(c->to, err);
    }
    if (rc == 0) {
        rc = sop_db_sync(c->to, err);
    }
    if (rc != 0) {
        sop_txn_rollback(&c->txn);
    }
    sop_buf_fini(&c->name);
    sop_buf_fini(&c->key);
    sop_buf_fini(&c->value);
    return rc;
}

/* ---- backup --------------------------------------------------------------------------------
 */

static void copy_options(const struct sop_db *source, struct sop_db_options *o)
{
    sop_db_options_init(o);
    o->comparers = source->comparers;
    o->comparers_count = source->comparers_count;
    o->cache_bytes = COPY_CACHE_BYTES;
}

/* Steps 2 to 4. */
static int fill(struct target *t, const struct sop_db *source, struct copy *c,
                struct sop_err *err)
{
    struct sop_db_options options;
    copy_options(source, &options);
    options.create = true;
    options.manual = true;
    options.durability = SOP_DURABLE_NONE; /* all of it is synced in the end */
    options.max_bytes = source->identity.max_bytes;
    options.registry_hash_mod = source->identity.registry_hash_mod;
    struct sop_db_place place = {.volume = t->volume,
                                 .env = sop_env_system(),
                                 .name = SOP_DB_UNFINISHED,
                                 .journal_bytes_max = COPY_JOURNAL_BYTES};
    int rc = sop_db__open_as(&c->to, &place, &options, err);
    if (rc != 0) {
        return rc;
    }
    /* What the source could keep the copy may keep, even while its journal is there, too. */
    c->to->now->engine->options.max_bytes = 0;
    rc = copy_all(c, err);
    for (int i = 0; i < SOP_CHECKPOINTS_KEPT && rc == 0; i++) { /* the journals go */
        rc = sop_db_checkpoint(c->to, err);
    }
    if (rc != 0) {
        sop_db_abandon(&c->to);
        return rc;
    }
    rc = sop_db_close(&c->to, err);
    if (rc == 0) {
        rc = name_it(t, err);
    }
    if (rc == 0 && t->parent != NULL) {
        rc = sop_volume_dir_sync(t->parent, "", err);
    }
    return rc;
}

/* Step 5: the copy opens and proves itself. */
static int prove(struct target *t, const struct sop_db *source, const struct copy *c,
                 struct sop_err *err)
{
    struct sop_db_options options;
    struct sop_db *db = NULL;
    struct sop_verify_result result;
    copy_options(source, &options);
    options.read_only = true;
    int rc = sop_db_open_on(&db, t->volume, sop_env_system(), &options, 0, err);
    if (rc == 0) {
        rc = sop_db_verify(db, false, NULL, c->progress, c->arg, &result, err);
        (void)sop_db_close(&db, NULL);
    }
    if (rc == 0 && (result.items != c->total || c->done != c->total)) {
        rc = SOP_ERR(err, DATA_LOSS,
                     "%" PRIu64 " items were to be copied, %" PRIu64
                     " were, the copy has %" PRIu64,
                     c->total, c->done, result.items);
    }
    return rc == 0 ? 0 : sop_err_wrap(err, rc, "verify the copy");
}

static int copy_to(struct sop_db *db, struct target *t, sop_progress_fn progress, void *arg,
                   struct sop_err *err)
{
    struct copy c = {.progress = progress, .arg = arg};
    struct sop_generation *g = sop_db__enter(db);
    c.from = g->engine;
    int rc = sop_engine_begin(&c.read, g->engine, SOP_READ, NULL, COPY_TIME_MS, 0, err);
    if (rc == 0) {
        rc = sop_txn_assure(c.read, err);
        rc = rc == 0 ? fill(t, db, &c, err) : rc;
        sop_engine_end(c.read);
    }
    sop_db__leave(db, g);
    if (rc == 0) {
        rc = prove(t, db, &c, err);
    }
    if (rc != 0) {
        target_undo(t);
    }
    return rc;
}

int sop_db__backup_on(struct sop_db *db, struct sop_volume *volume, struct sop_err *err)
{
    struct target t = {.volume = volume};
    return copy_to(db, &t, NULL, NULL, err);
}

int sop_db_backup(struct sop_db *db, const char *folder, sop_progress_fn progress, void *arg,
                  struct sop_err *err)
{
    struct target t;
    int rc = sop_db__check(db, err);
    if (rc == 0) {
        rc = target_init(&t, folder, err);
    }
    if (rc != 0) {
        return sop_err_wrap(err, rc, "backup");
    }
    rc = copy_to(db, &t, progress, arg, err);
    target_fini(&t);
    return rc == 0 ? 0 : sop_err_wrap(err, rc, "backup to %s", folder);
}

/* ---- restore -------------------------------------------------------------------------------
 */

int sop_db_restore(const char *backup, const char *folder, sop_progress_fn progress, void *arg,
                   struct sop_err *err)
{
    struct sop_volume *volume = NULL;
    struct sop_db *db = NULL;
    struct sop_db_options options;
    struct sop_verify_result result;
    int rc = open_empty(folder, &volume, err); /* said before the long work */
    sop_volume_destroy(volume);
    if (rc != 0) {
        return sop_err_wrap(err, rc, "restore");
    }
    sop_db_options_init(&options);
    options.read_only = true;
    rc = sop_db_open(&db, backup, &options, err);
    if (rc == 0) {
        rc = sop_db_verify(db, true, NULL, progress, arg, &result, err);
        if (rc == 0) {
            rc = sop_db_backup(db, folder, progress, arg, err);
        }
        (void)sop_db_close(&db, NULL);
    }
    if (rc == SOP_ERR_UNSUPPORTED) {
        return sop_err_wrap(err, rc,
                            "restore %s: open it read-only with its comparers, then "
                            "sop_db_verify() and sop_db_backup()",
                            backup);
    }
    return rc == 0
               ? 0
               : sop_err_wrap(err, rc, "restore %s", backup != NULL ? backup : "(no folder)");
}
