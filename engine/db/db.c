/* Databases: making, opening, closing; the identity file; statistics. */
#include "engine/base/codec.h"
#include "engine/base/limits.h"
#include "engine/db/db_int.h"
#include "engine/txn/ballast.h"
#include "engine/volume/posix.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define CACHE_BYTES_DEFAULT      (256ull << 20)
#define MAX_BYTES_LEAST          (4ull << 20)
#define CACHE_BYTES_MIN          (8ull << 20)
#define SYNC_INTERVAL_MS_DEFAULT 100
#define HASH_MOD_DEFAULT         250
#define HASH_MOD_MAX             750000

const char *sop_version(void)
{
    return "0.1.0";
}

void sop_db_options_init(struct sop_db_options *o)
{
    memset(o, 0, sizeof *o);
    o->size = sizeof *o;
    o->durability = SOP_DURABLE_COMMIT;
    o->sync_interval_ms = SYNC_INTERVAL_MS_DEFAULT;
    o->cache_bytes = CACHE_BYTES_DEFAULT;
    o->registry_hash_mod = HASH_MOD_DEFAULT;
}

static int check_options(const struct sop_db_options *o, struct sop_err *err)
{
    if (o->size != sizeof *o) {
        return SOP_ERR(err, INVALID, "options were not filled by sop_db_options_init()");
    }
    if (o->durability > SOP_DURABLE_NONE) {
        return SOP_ERR(err, INVALID, "durability %d does not exist", (int)o->durability);
    }
    if (o->durability == SOP_DURABLE_INTERVAL && o->sync_interval_ms == 0) {
        return SOP_ERR(err, INVALID,
                       "sync_interval_ms is 0; to sync always choose "
                       "SOP_DURABLE_COMMIT");
    }
    if (o->comparers == NULL && o->comparers_count != 0) {
        return SOP_ERR(err, INVALID, "comparers is NULL, comparers_count is not 0");
    }
    if (o->cache_bytes < CACHE_BYTES_MIN) {
        return SOP_ERR(err, INVALID, "cache_bytes is %" PRIu64 "; the least is %llu",
                       o->cache_bytes, CACHE_BYTES_MIN);
    }
    if (o->max_bytes != 0 && o->max_bytes < MAX_BYTES_LEAST) {
        return SOP_ERR(err, INVALID,
                       "max_bytes is %" PRIu64 ", less than an empty database needs; give at "
                       "least %llu, or 0 for no limit",
                       o->max_bytes, MAX_BYTES_LEAST);
    }
    if (o->registry_hash_mod < HASH_MOD_DEFAULT || o->registry_hash_mod > HASH_MOD_MAX) {
        return SOP_ERR(err, INVALID, "registry_hash_mod is %u; it must be %d..%d",
                       o->registry_hash_mod, HASH_MOD_DEFAULT, HASH_MOD_MAX);
    }
    if (o->read_only && (o->create || o->ignore_lock)) {
        return SOP_ERR(err, INVALID, "read_only excludes create and ignore_lock");
    }
    for (size_t i = 0; i < o->comparers_count; i++) {
        const struct sop_comparer *c = &o->comparers[i];
        if (c->name == NULL || c->compare == NULL || c->name[0] == 0 ||
            strlen(c->name) > SOP_COMPARER_NAME_BYTES_MAX) {
            return SOP_ERR(err, INVALID,
                           "comparer %zu needs a function and a name of 1..%u bytes", i,
                           SOP_COMPARER_NAME_BYTES_MAX);
        }
    }
    return 0;
}

/* ---- identity ------------------------------------------------------------------------------
 */

static void identity_encode(const struct sop_identity *id, uint8_t to[SOP_IDENTITY_BYTES])
{
    memset(to, 0, SOP_IDENTITY_BYTES);
    sop_put_u64(to, SOP_IDENTITY_MAGIC);
    sop_put_u32(to + 8, SOP_IDENTITY_VERSION);
    memcpy(to + 16, id->database_id, 16);
    sop_put_u64(to + 32, id->created_ms);
    sop_put_u64(to + 40, id->max_bytes);
    sop_put_u32(to + 48, id->registry_hash_mod);
    sop_put_u64(to + 56, id->genesis.dir_first);
    memcpy(to + 64, id->genesis.dir, SOP_CHAIN_DIR_BYTES);
    sop_put_u64(to + 128, id->genesis.hash);
    sop_put_u32(to + 12, sop_crc32c(to + 16, SOP_IDENTITY_BYTES - 16, 0));
}

static int any_name(void *arg, const char *name, struct sop_err *err)
{
    (void)name;
    (void)err;
    *(bool *)arg = true;
    return 0;
}

/* A folder without sop.db: none of a database's (NOT_A_DATABASE), or one whose sop.db is lost?
 * A creation, a backup and a destruction that were cut short leave nothing in these folders, or
 * the name of what is not finished. */
static int without_identity(struct sop_volume *v, struct sop_err *err)
{
    static const char *const folders[] = {"members", "checkpoints", "packs"};
    struct sop_stat unfinished = {0};
    int rc = sop_volume_stat(v, SOP_DB_UNFINISHED, &unfinished, err);
    for (size_t i = 0; rc == 0 && i < SOP_ARRAY_LEN(folders); i++) {
        bool any = false;
        rc = sop_volume_list(v, folders[i], any_name, &any, err);
        rc = rc == SOP_ERR_NOT_FOUND ? 0 : rc;
        if (rc == 0 && any && unfinished.kind == SOP_FILE_ABSENT) {
            return SOP_ERR(err, DATA_LOSS,
                           "sop.db is missing in %s, but %s/ holds files of a database; put "
                           "sop.db back, or restore a backup into another folder",
                           v->shown, folders[i]);
        }
    }
    return rc != 0 ? rc
                   : SOP_ERR(err, NOT_A_DATABASE,
                             "%s holds no database (no file sop.db); check the path, or "
                             "create one",
                             v->shown);
}

int sop_db__identity_read(struct sop_volume *v, const char *name, struct sop_identity *id,
                          struct sop_err *err)
{
    struct sop_buf file = {0};
    int rc = sop_volume_read_file(v, name, SOP_IDENTITY_BYTES, &file, err);
    if (rc == SOP_ERR_NOT_FOUND) {
        rc = without_identity(v, err);
    } else if (rc == SOP_ERR_TOO_LARGE || (rc == 0 && file.len != SOP_IDENTITY_BYTES)) {
        rc = SOP_ERR(err, DATA_LOSS,
                     "sop.db at byte %zu: its size is wrong; restore it from a backup",
                     rc == 0 ? file.len : (size_t)SOP_IDENTITY_BYTES);
    }
    const uint8_t *b = file.data;
    if (rc == 0 && sop_get_u64(b) != SOP_IDENTITY_MAGIC) {
        rc = SOP_ERR(err, NOT_A_DATABASE,
                     "sop.db in %s is not of a SOP database (at byte 0: another magic number)",
                     v->shown);
    }
    if (rc == 0 && sop_get_u32(b + 12) != sop_crc32c(b + 16, SOP_IDENTITY_BYTES - 16, 0)) {
        rc = SOP_ERR(err, DATA_LOSS,
                     "sop.db at bytes 12 to %d: wrong CRC; restore it from a backup",
                     SOP_IDENTITY_BYTES);
    }
    if (rc == 0 && sop_get_u32(b + 8) != SOP_IDENTITY_VERSION) {
        rc = SOP_ERR(err, VERSION,
                     "sop.db at byte 8: format version %u; this release knows version %d",
                     sop_get_u32(b + 8), SOP_IDENTITY_VERSION);
    }
    if (rc == 0) {
        memset(id, 0, sizeof *id);
        memcpy(id->database_id, b + 16, 16);
        id->created_ms = sop_get_u64(b + 32);
        id->max_bytes = sop_get_u64(b + 40);
        id->registry_hash_mod = sop_get_u32(b + 48);
        id->genesis.dir_first = sop_get_u64(b + 56);
        memcpy(id->genesis.dir, b + 64, SOP_CHAIN_DIR_BYTES);
        id->genesis.hash = sop_get_u64(b + 128);
        if (id->genesis.dir[SOP_CHAIN_DIR_BYTES - 1] != 0) {
            rc = SOP_ERR(err, DATA_LOSS,
                         "sop.db at byte 64: the name of the chain does not end");
        }
    }
    sop_buf_fini(&file);
    return rc;
}

/* sop.db gets its name only when its bytes are durable: it is written under a name of its own
 * and linked. While both names are there the creation may not be durable yet. */
#define NEW_NAME       "sop.db.new-"
#define NEW_NAME_BYTES (sizeof NEW_NAME + 16)

/* What lies beside sop.db in the folder of a database. */
static const char *const names_beside[] = {"chain",
                                           "members",
                                           "registry",
                                           "checkpoints",
                                           "packs",
                                           SOP_BALLAST_NAME,
                                           SOP_BALLAST_OPEN_NAME,
                                           SOP_OPTIONS_NAME};

static bool is_new_name(const char *name)
{
    return strncmp(name, NEW_NAME, sizeof NEW_NAME - 1) == 0;
}

static int only_ours(void *arg, const char *name, struct sop_err *err)
{
    const struct sop_volume *v = arg;
    for (size_t i = 0; i < SOP_ARRAY_LEN(names_beside); i++) {
        if (strcmp(name, names_beside[i]) == 0 || is_new_name(name)) {
            return 0; /* left by a creation that did not finish: harmless */
        }
    }
    return SOP_ERR(err, NOT_A_DATABASE,
                   "%s holds \"%s\" and no database; choose an absent or empty folder",
                   v->shown, name);
}

/* The options as a file for people; what counts is sop.db. */
size_t sop_db__options_text(const struct sop_identity *id, char to[SOP_OPTIONS_TEXT_BYTES])
{
    int n = snprintf(to, SOP_OPTIONS_TEXT_BYTES,
                     "{\n  \"type\": \"standalone\",\n  \"registry_hash_mod\": %u,\n"
                     "  \"max_bytes\": %" PRIu64 "\n}\n",
                     id->registry_hash_mod, id->max_bytes);
    SOP_ASSERT(n > 0 && n < SOP_OPTIONS_TEXT_BYTES);
    return (size_t)n;
}

static int write_options(struct sop_volume *v, const struct sop_identity *id,
                         struct sop_err *err)
{
    char text[SOP_OPTIONS_TEXT_BYTES];
    size_t len = sop_db__options_text(id, text);
    int rc = sop_volume_unlink(v, SOP_OPTIONS_NAME, err);
    rc = rc == SOP_ERR_NOT_FOUND ? 0 : rc;
    return rc == 0 ? sop_volume_write_file(v, SOP_OPTIONS_NAME, sop_slice(text, len), err) : rc;
}

/* The name that makes it a database. EXISTS: somebody else was faster. */
static int name_it(struct sop_volume *v, const char *name, const struct sop_identity *id,
                   struct sop_err *err)
{
    char path[NEW_NAME_BYTES];
    uint8_t bytes[SOP_IDENTITY_BYTES];
    identity_encode(id, bytes);
    (void)snprintf(path, sizeof path, NEW_NAME "%016" PRIx64, sop_get_u64(id->database_id));
    int rc = sop_volume_write_file(v, path, sop_slice(bytes, sizeof bytes), err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_volume_link(v, path, name, err);
    if (rc != 0 && rc != SOP_ERR_EXISTS) {
        return rc; /* it may be there all the same: then both names say that it is not finished
                    */
    }
    int synced = rc == 0 ? sop_volume_dir_sync(v, "", err) : 0;
    if (synced == 0 || sop_volume_unlink(v, name, NULL) == 0) {
        (void)sop_volume_unlink(v, path, NULL); /* a name that may be lost must not be found */
    }
    return rc == 0 ? synced : rc;
}

struct second_name {
    const char *first;
    char found[NEW_NAME_BYTES];
};

static int find_second(void *arg, const char *name, struct sop_err *err)
{
    struct second_name *s = arg;
    bool ours = is_new_name(name) || strcmp(name, SOP_DB_UNFINISHED) == 0;
    (void)err;
    if (ours && strcmp(name, s->first) != 0 && strlen(name) < sizeof s->found) {
        memcpy(s->found, name, strlen(name) + 1);
    }
    return 0;
}

/* Whoever made it may have died between giving it its name and making that durable. */
static int finish_creation(struct sop_volume *v, const char *name, struct sop_err *err)
{
    struct sop_stat st;
    struct second_name second = {.first = name};
    int rc = sop_volume_stat(v, name, &st, err);
    if (rc != 0 || st.links < 2) {
        return rc;
    }
    rc = sop_volume_dir_sync(v, "", err);
    if (rc == 0) {
        rc = sop_volume_list(v, "", find_second, &second, err);
    }
    if (rc == 0 && second.found[0] != 0) {
        (void)sop_volume_unlink(v, second.found, NULL);
    }
    return rc;
}

/* Makes an empty database; its name, sop.db, comes last. */
static int create(struct sop_volume *v, struct sop_env *env, const struct sop_db_options *o,
                  const char *name, struct sop_identity *id, struct sop_err *err)
{
    static const char *const folders[] = {"registry", "checkpoints", "packs"};
    int rc = sop_volume_list(v, "", only_ours, v, err);
    memset(id, 0, sizeof *id);
    sop_env_random(env, id->database_id, sizeof id->database_id);
    id->created_ms = sop_env_wall_ms(env);
    id->max_bytes = o->max_bytes;
    id->registry_hash_mod = o->registry_hash_mod;
    for (size_t i = 0; i < SOP_ARRAY_LEN(folders) && rc == 0; i++) {
        rc = sop_volume_mkdir_if_absent(v, folders[i], err);
    }
    if (rc == 0) {
        rc = sop_chain_create(v, env, id->database_id, &id->genesis, err);
    }
    if (rc == 0) {
        rc = write_options(v, id, err);
    }
    if (rc == 0) { /* it can do without: upkeep makes what is absent once there is room */
        bool made = sop_ballast_make_for_opening(v, NULL);
        (void)made;
    }
    if (rc == 0) { /* all names are durable before the one that makes it a database */
        rc = sop_volume_dir_sync(v, "", err);
    }
    if (rc == 0) {
        rc = name_it(v, name, id, err);
    }
    return rc != 0 ? sop_err_wrap(err, rc, "create a database in %s", v->shown) : 0;
}

/* ---- generations ---------------------------------------------------------------------------
 */

struct sop_generation *sop_db__enter(struct sop_db *db)
{
    sop_mutex_lock(&db->mutex);
    struct sop_generation *g = db->now;
    g->refs++;
    db->users++;
    sop_mutex_unlock(&db->mutex);
    return g;
}

/* Its engine is closed. */
static void generation_free(struct sop_generation *g)
{
    sop_cards_fini(&g->cards);
    sop_free(g);
}

static void generation_unref(struct sop_db *db, struct sop_generation *g, bool user)
{
    sop_mutex_lock(&db->mutex);
    SOP_ASSERT(g->refs > 0);
    bool last = --g->refs == 0;
    db->users -= user ? 1 : 0;
    sop_mutex_unlock(&db->mutex);
    if (last) { /* an old state of a read-only database: nothing to write */
        (void)sop_engine_close(&g->engine, false, NULL);
        generation_free(g);
    }
}

void sop_db__leave(struct sop_db *db, struct sop_generation *g)
{
    generation_unref(db, g, true);
}

int sop_db__check(struct sop_db *db, struct sop_err *err)
{
    if (db == NULL || db->magic != SOP_DB_MAGIC) {
        return SOP_ERR(err, CLOSED, "the database handle is closed or not one");
    }
    if (sop_db__forked(db)) {
        return SOP_ERR(err, FORKED, "the database was opened before fork(); open it here");
    }
    return 0;
}

static int open_generation(struct sop_db *db, struct sop_generation **out, struct sop_err *err)
{
    struct sop_engine_options o = {.volume = db->volume,
                                   .env = db->env,
                                   .genesis = db->identity.genesis,
                                   .durability = db->options.durability,
                                   .sync_interval_ms = db->options.sync_interval_ms,
                                   .cache_bytes = db->options.cache_bytes,
                                   .max_bytes = db->options.max_bytes,
                                   .checkpoint_bytes = db->options.checkpoint_bytes,
                                   .observer = db->options.read_only,
                                   .ignore_os_lock = db->options.ignore_lock,
                                   .chain_dir_slots = db->chain_dir_slots,
                                   .journal_bytes_max = db->journal_bytes_max,
                                   .host = db->host,
                                   .describe = sop_catalog_describe,
                                   .arg = db};
    memcpy(o.database_id, db->identity.database_id, sizeof o.database_id);
    struct sop_generation *g = sop_calloc(1, sizeof *g);
    if (g == NULL) {
        return SOP_ERR(err, NOMEM, "open a database");
    }
    g->refs = 1;
    sop_cards_init(&g->cards);
    int rc = sop_engine_open(&g->engine, &o, err);
    if (rc == 0 && !db->options.manual) {
        rc = sop_engine_start_thread(g->engine, err);
        if (rc != 0) {
            (void)sop_engine_close(&g->engine, true, NULL);
        }
    }
    if (rc != 0) {
        generation_free(g);
        return rc;
    }
    *out = g;
    return 0;
}

/* ---- opening and closing -------------------------------------------------------------------
 */

static void db_free(struct sop_db *db)
{
    for (size_t i = 0; i < db->comparers_count; i++) {
        sop_free((void *)(uintptr_t)db->comparers[i].name);
    }
    sop_free(db->comparers);
    sop_mutex_fini(&db->mutex);
    if (db->owns_volume) {
        sop_volume_destroy(db->volume);
    }
    db->magic = 0;
    sop_free(db);
}

static int copy_comparers(struct sop_db *db, const struct sop_db_options *o,
                          struct sop_err *err)
{
    db->comparers = sop_calloc(o->comparers_count + 1, sizeof *db->comparers);
    if (db->comparers == NULL) {
        return SOP_ERR(err, NOMEM, "open a database");
    }
    for (size_t i = 0; i < o->comparers_count; i++) {
        size_t bytes = strlen(o->comparers[i].name) + 1;
        char *name = sop_malloc(bytes);
        if (name == NULL) {
            return SOP_ERR(err, NOMEM, "open a database");
        }
        memcpy(name, o->comparers[i].name, bytes);
        db->comparers[i] = o->comparers[i];
        db->comparers[i].name = name;
        db->comparers_count++;
    }
    return 0;
}

int sop_db__open_as(struct sop_db **out, const struct sop_db_place *place,
                    const struct sop_db_options *options, struct sop_err *err)
{
    struct sop_volume *volume = place->volume;
    const char *name = place->name;
    *out = NULL;
    int rc = check_options(options, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_db *db = sop_calloc(1, sizeof *db);
    if (db == NULL) {
        return SOP_ERR(err, NOMEM, "open a database");
    }
    db->magic = SOP_DB_MAGIC;
    db->forks = sop_forks();
    db->volume = volume;
    db->env = place->env;
    db->options = *options;
    db->options.comparers = NULL;
    db->chain_dir_slots = place->chain_dir_slots;
    db->journal_bytes_max = place->journal_bytes_max;
    sop_mutex_init(&db->mutex, SOP_RANK_DATABASE);
    if (gethostname(db->host, sizeof db->host - 1) != 0) {
        db->host[0] = 0;
    }
    struct sop_err why = {0};
    rc = copy_comparers(db, options, err);
    if (rc == 0) {
        rc = sop_db__identity_read(volume, name, &db->identity, &why);
        if (rc == SOP_ERR_NOT_A_DATABASE && why.sys == 0 && options->create) {
            struct sop_stat st;
            rc = sop_volume_stat(volume, name, &st, &why);
            rc = rc != 0 ? rc
                 : st.kind != SOP_FILE_ABSENT
                     ? SOP_ERR(&why, NOT_A_DATABASE, "sop.db is not of a SOP database")
                     : create(volume, place->env, options, name, &db->identity, &why);
            if (rc == SOP_ERR_EXISTS) { /* somebody else was faster */
                rc = sop_db__identity_read(volume, name, &db->identity, &why);
            }
        }
        if (rc == 0 && !options->read_only) {
            rc = finish_creation(volume, name, &why);
        }
        if (rc != 0 && err != NULL) {
            *err = why;
        }
    }
    if (rc == 0) {
        if (options->max_bytes == 0) {
            db->options.max_bytes = db->identity.max_bytes;
        }
        rc = open_generation(db, &db->now, err);
    }
    if (rc != 0) {
        db_free(db);
        return rc;
    }
    *out = db;
    return 0;
}

int sop_db_open_on(struct sop_db **out, struct sop_volume *volume, struct sop_env *env,
                   const struct sop_db_options *options, uint32_t chain_dir_slots,
                   struct sop_err *err)
{
    struct sop_db_place place = {
        .volume = volume, .env = env, .name = SOP_DB_NAME, .chain_dir_slots = chain_dir_slots};
    struct sop_db_options defaults;
    if (options == NULL) {
        sop_db_options_init(&defaults);
        options = &defaults;
    }
    return sop_db__open_as(out, &place, options, err);
}

int sop_db__no_folder(const char *folder, const struct sop_err *why, struct sop_err *err)
{
    return why->sys == ENOTDIR
               ? SOP_ERR(err, NOT_A_DATABASE, "%s is not a folder; check the path", folder)
               : SOP_ERR(err, NOT_A_DATABASE,
                         "there is no folder %s; check the path, or create the database",
                         folder);
}

int sop_db__no_parent(const char *folder, struct sop_err *err)
{
    return SOP_ERR(err, NOT_A_DATABASE,
                   "the folder that %s would lie in is absent; make that folder first", folder);
}

int sop_db__open_folder(const char *folder, bool create, struct sop_volume **volume,
                        struct sop_err *err)
{
    struct sop_err why = {0};
    int rc = sop_volume_posix_open(folder, volume, &why);
    if (rc == SOP_ERR_NOT_FOUND && create && why.sys != ENOTDIR) {
        rc = sop_volume_posix_make_root(folder, &why);
        if (rc == SOP_ERR_NOT_FOUND && why.sys != ENOTDIR) {
            return sop_db__no_parent(folder, err);
        }
        rc = rc == 0 ? sop_volume_posix_open(folder, volume, &why) : rc;
    }
    if (rc == SOP_ERR_NOT_FOUND) {
        return sop_db__no_folder(folder, &why, err);
    }
    if (rc != 0 && err != NULL) {
        *err = why;
    }
    return rc != 0 ? sop_err_wrap(err, rc, "open %s", folder) : 0;
}

int sop_db_open(struct sop_db **out, const char *folder, const struct sop_db_options *options,
                struct sop_err *err)
{
    *out = NULL;
    if (folder == NULL || folder[0] == 0) {
        return SOP_ERR(err, INVALID, "the folder's path is empty");
    }
    struct sop_volume *volume = NULL;
    int rc = sop_db__open_folder(folder, options != NULL && options->create, &volume, err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_db_open_on(out, volume, sop_env_system(), options, 0, err);
    if (rc == 0) {
        (*out)->owns_volume = true;
    } else {
        sop_volume_destroy(volume);
    }
    return rc != 0 ? sop_err_wrap(err, rc, "open %s", folder) : 0;
}

int sop_db_close(struct sop_db **pdb, struct sop_err *err)
{
    if (pdb == NULL || *pdb == NULL) {
        return 0;
    }
    struct sop_db *db = *pdb;
    int rc = sop_db__check(db, err);
    if (rc != 0) {
        return rc;
    }
    sop_mutex_lock(&db->mutex);
    uint64_t users = db->users;
    sop_mutex_unlock(&db->mutex);
    if (users != 0) {
        return SOP_ERR(
            err, BUSY,
            "%" PRIu64 " transactions or snapshots are open; end them before closing", users);
    }
    *pdb = NULL;
    rc = sop_engine_close(&db->now->engine, true, err);
    generation_free(db->now);
    db_free(db);
    return rc;
}

void sop_db_abandon(struct sop_db **pdb)
{
    struct sop_db *db = *pdb;
    *pdb = NULL;
    if (db != NULL) {
        SOP_ASSERT(db->users == 0);
        (void)sop_engine_close(&db->now->engine, false, NULL);
        generation_free(db->now);
        db_free(db);
    }
}

int sop_db_destroy(const char *folder, struct sop_err *err)
{
    struct sop_db *db = NULL;
    struct sop_volume *v = NULL;
    struct sop_identity id;
    if (folder == NULL || folder[0] == 0) {
        return SOP_ERR(err, INVALID, "the folder's path is empty");
    }
    int rc = sop_db__open_folder(folder, false, &v, err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_db__identity_read(v, SOP_DB_NAME, &id, err);
    if (rc == 0) { /* opening proves that nobody has it */
        rc = sop_db_open(&db, folder, NULL, err);
        rc = rc == SOP_ERR_BUSY ? rc : 0;
        sop_db_abandon(&db);
    }
    /* sop.db last: as long as it is there, what was cut short can be done again. */
    for (size_t i = 0; i < SOP_ARRAY_LEN(names_beside) && rc == 0; i++) {
        rc = sop_volume_remove_tree(v, names_beside[i], err);
    }
    if (rc == 0) {
        rc = sop_volume_dir_sync(v, "", err);
    }
    if (rc == 0) {
        rc = sop_volume_unlink(v, SOP_DB_NAME, err);
    }
    if (rc == 0) {
        rc = sop_volume_dir_sync(v, "", err);
    }
    sop_volume_destroy(v);
    return rc != 0 ? sop_err_wrap(err, rc, "destroy %s", folder) : 0;
}

/* ---- upkeep --------------------------------------------------------------------------------
 */

typedef int (*engine_fn)(struct sop_engine *e, struct sop_err *err);

static int with_engine(struct sop_db *db, engine_fn call, struct sop_err *err)
{
    int rc = sop_db__check(db, err);
    if (rc == 0) {
        struct sop_generation *g = sop_db__enter(db);
        rc = call(g->engine, err);
        sop_db__leave(db, g);
    }
    return rc;
}

int sop_maintain(struct sop_db *db, struct sop_err *err)
{
    return with_engine(db, sop_engine_maintain, err);
}

int sop_db_checkpoint(struct sop_db *db, struct sop_err *err)
{
    return with_engine(db, sop_engine_checkpoint, err);
}

int sop_db_sync(struct sop_db *db, struct sop_err *err)
{
    return with_engine(db, sop_engine_sync, err);
}

int sop_db_compact(struct sop_db *db, struct sop_err *err)
{
    return with_engine(db, sop_engine_compact, err);
}

int sop_db_refresh(struct sop_db *db, struct sop_err *err)
{
    int rc = sop_db__check(db, err);
    if (rc != 0 || !db->options.read_only) {
        return rc;
    }
    struct sop_generation *fresh = NULL;
    struct sop_generation *here = sop_db__enter(db); /* nobody may close it meanwhile */
    rc = open_generation(db, &fresh, err);
    if (rc == 0) {
        sop_mutex_lock(&db->mutex);
        struct sop_generation *old = db->now;
        db->now = fresh;
        sop_mutex_unlock(&db->mutex);
        generation_unref(db, old, false);
    }
    sop_db__leave(db, here);
    return rc;
}

static int add_bytes(void *arg, uint64_t member, uint32_t file, uint64_t bytes, bool writing,
                     struct sop_err *err)
{
    (void)member;
    (void)file;
    (void)writing;
    (void)err;
    *(uint64_t *)arg += bytes;
    return 0;
}

static void stats_of_state(struct sop_engine *e, struct sop_db_stats *s)
{
    sop_mutex_lock(&e->pages.history);
    s->head = e->pages.head;
    s->pins = e->pages.pins_count;
    sop_mutex_unlock(&e->pages.history);
    s->pages = atomic_load(&e->next_page) - 1;
    sop_mutex_lock(&e->trees_mutex);
    for (size_t i = 0; i < e->trees_count; i++) {
        struct sop_tree *t = e->trees[i];
        sop_mutex_lock(&t->mutex);
        s->pages -= t->free_count;
        sop_mutex_unlock(&t->mutex);
        s->stores += t->id != SOP_CATALOG_STORE && atomic_load(&t->created) != SOP_NEVER &&
                     atomic_load(&t->dropped) == SOP_NEVER;
    }
    sop_mutex_unlock(&e->trees_mutex);
}

static void stats_of_chain(struct sop_engine *e, struct sop_db_stats *s)
{
    struct sop_chain_load load;
    sop_mutex_lock(&e->maintain);
    s->checkpoint = e->kept[0].used ? e->kept[0].manifest.point.lsn : (struct sop_lsn){0, 0};
    for (size_t i = 0; i < e->passed_count; i++) {
        s->checkpoints_damaged += e->passed[i].official;
    }
    if (!e->options.observer) {
        sop_chain_load(e->chain,
                       e->kept[0].used ? &e->kept[0].manifest.point : &e->options.genesis,
                       &load);
        s->journal_bytes = load.journal_bytes;
        s->syncs = load.syncs + sop_packs_syncs(e->packs);
    }
    sop_mutex_unlock(&e->maintain);
    s->durable = e->options.durability == SOP_DURABLE_COMMIT || e->options.observer
                     ? s->head
                     : sop_engine_durable(e);
    s->member = sop_chain_member(e->chain);
}

/* The struct of the first release; later ones only add to its end. */
#define STATS_BYTES_MIN offsetof(struct sop_db_stats, checkpoints_damaged)

static int fill_stats(struct sop_db *db, struct sop_db_stats *s, struct sop_err *err)
{
    int rc = 0;
    memset(s, 0, sizeof *s);
    struct sop_generation *g = sop_db__enter(db);
    struct sop_engine *e = g->engine;
    memcpy(s->database_id, db->identity.database_id, sizeof s->database_id);
    s->durability = db->options.durability;
    s->read_only = db->options.read_only;
    s->registry_hash_mod = db->identity.registry_hash_mod;
    stats_of_state(e, s);
    stats_of_chain(e, s);
    s->max_bytes = db->options.max_bytes;
    s->commits = atomic_load(&e->commits);
    s->conflicts = atomic_load(&e->conflicts);
    s->rollbacks = atomic_load(&e->rollbacks);
    s->batches = atomic_load(&e->batches);
    s->checkpoints = atomic_load(&e->checkpoints);
    struct sop_cache_stats c;
    sop_cache_stats(&e->cache, &c);
    s->cache_budget_bytes = c.budget_bytes;
    s->cache_used_bytes = c.used_bytes;
    s->cache_dirty_bytes = c.dirty_bytes;
    s->cache_misses = c.misses;
    s->cache_evictions = c.evictions;
    s->volume_bytes = atomic_load(&e->volume_bytes);
    if (e->options.observer) { /* its upkeep measures nothing */
        rc = sop_engine_volume_bytes(e, &s->volume_bytes, err);
    }
    s->pack_live_bytes = sop_files_live_bytes(&e->files);
    s->open_ns = e->open_ns;
    s->open_records = e->open_records;
    if (rc == 0) {
        rc = sop_packs_files(e->options.observer ? e->reader : e->packs, add_bytes,
                             &s->pack_bytes, err);
    }
    sop_db__leave(db, g);
    return rc;
}

int sop_db_stats(struct sop_db *db, struct sop_db_stats *stats, struct sop_err *err)
{
    struct sop_db_stats all;
    int rc = sop_db__check(db, err);
    if (rc != 0) {
        return rc;
    }
    size_t size = stats->size;
    if (size < STATS_BYTES_MIN || size > sizeof all) {
        return SOP_ERR(
            err, INVALID,
            "stats->size is %zu; set it to sizeof(struct sop_db_stats), which is %zu "
            "for this library",
            size, sizeof all);
    }
    rc = fill_stats(db, &all, err);
    if (rc == 0) {
        all.size = size;
        memcpy(stats, &all, size);
    }
    return rc;
}
