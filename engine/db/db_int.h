/* Inside of databases, stores and cursors; shared by the files of this folder and by tests that
 * run a database on a simulated volume. */
#ifndef SOP_DB_INT_H
#define SOP_DB_INT_H

#include "engine/db/card.h"
#include "engine/txn/engine.h"
#include "sop/sop.h"

#define SOP_DB_MAGIC                0x42444f53u
#define SOP_COMPARER_NAME_BYTES_MAX 64u
#define SOP_DESCRIPTION_BYTES_MAX   1024u
#define SOP_BLOB_KEY_BYTES_MAX      128u
#define SOP_CUSTOM_BYTES_MAX        65536u
#define SOP_VALUE_INLINE_MAX        (16u * 1024) /* longer values go to a pack */

/* sop.db, the identity card of a database; immutable. 512 bytes:
 *   0  u64 magic "SOPDB\0\0\1"      8  u32 format version (1)    12 u32 CRC32C of the rest
 *  16  16 bytes database id        32  u64 created, ms since 1970
 *  40  u64 max_bytes               48  u32 registry_hash_mod     52 u32 zero
 *  56  u64 first slot of the first chain directory
 *  64  64 bytes its name, zero padded
 * 128  u64 rolling hash before the first record;  zeros to the end */
#define SOP_IDENTITY_BYTES   512
#define SOP_IDENTITY_MAGIC   0x0100004244504f53ull
#define SOP_IDENTITY_VERSION 1
struct sop_identity {
    uint8_t database_id[16];
    uint64_t created_ms;
    uint64_t max_bytes;
    uint32_t registry_hash_mod;
    struct sop_chain_point genesis;
};

/* An engine with the number of users that keep it open: a read-only database moves to a new one
 * at each refresh while old transactions go on in the old one. */
struct sop_generation {
    struct sop_engine *engine;
    uint64_t refs;
    struct sop_cards cards; /* of the engine's stores */
};

#define SOP_DB_HOST_BYTES 128

struct sop_db {
    uint32_t magic;
    uint64_t forks; /* sop_forks() at opening */
    struct sop_volume *volume;
    bool owns_volume;
    struct sop_env *env;
    struct sop_db_options options; /* comparers: own copy below */
    struct sop_comparer *comparers;
    size_t comparers_count;
    char host[SOP_DB_HOST_BYTES];
    struct sop_identity identity;
    uint32_t chain_dir_slots;
    uint64_t journal_bytes_max; /* as in struct sop_db_place */
    struct sop_mutex mutex;     /* generation, users */
    struct sop_generation *now;
    uint64_t users; /* transactions and snapshots that are open */
};

/* The options at creation as a text for people. */
#define SOP_OPTIONS_NAME       "dboptions.json"
#define SOP_OPTIONS_TEXT_BYTES 512
size_t sop_db__options_text(const struct sop_identity *id, char to[SOP_OPTIONS_TEXT_BYTES]);

/* The file that makes a folder a database, and what it is called while a backup is made. */
#define SOP_DB_NAME       "sop.db"
#define SOP_DB_UNFINISHED "sop.db.unfinished"

/* Where a database is, and under which name. Borrowed; volume and env until close. */
struct sop_db_place {
    struct sop_volume *volume;
    struct sop_env *env;
    const char *name;
    uint32_t chain_dir_slots;   /* 0 = default */
    uint64_t journal_bytes_max; /* of a journal file that is made ahead; 0 = default */
};
int sop_db__open_as(struct sop_db **out, const struct sop_db_place *place,
                    const struct sop_db_options *options, struct sop_err *err) SOP_MUST_USE;
/* Opens on a volume that the caller owns and keeps until close. chain_dir_slots: 0 = default.
 */
int sop_db_open_on(struct sop_db **out, struct sop_volume *volume, struct sop_env *env,
                   const struct sop_db_options *options, uint32_t chain_dir_slots,
                   struct sop_err *err) SOP_MUST_USE;
/* Closes as if the process had died: nothing more is written. For crash tests. */
void sop_db_abandon(struct sop_db **db);

/* What sop.db (or what has its `name`) says. NOT_A_DATABASE, DATA_LOSS, VERSION, IO. */
int sop_db__identity_read(struct sop_volume *v, const char *name, struct sop_identity *id,
                          struct sop_err *err) SOP_MUST_USE;
/* Opens the folder, or makes it, but nothing above it. *volume is due sop_volume_destroy().
 * NOT_A_DATABASE: it is absent, or a file. */
int sop_db__open_folder(const char *folder, bool create, struct sop_volume **volume,
                        struct sop_err *err) SOP_MUST_USE;

/* sop_db_repair() on a volume that the caller owns. */
struct sop_db_repair_call {
    struct sop_volume *volume;
    struct sop_env *env;
    const char *host;
    bool dry_run;
    sop_report_fn report;
    void *arg;
};
int sop_db__repair(const struct sop_db_repair_call *call, struct sop_repair_result *result,
                   struct sop_err *err) SOP_MUST_USE;

/* sop_db_backup() into an empty volume that the caller owns and keeps. For crash tests. */
int sop_db__backup_on(struct sop_db *db, struct sop_volume *volume,
                      struct sop_err *err) SOP_MUST_USE;

/* A generation for as long as the caller needs it. */
struct sop_generation *sop_db__enter(struct sop_db *db);
void sop_db__leave(struct sop_db *db, struct sop_generation *g);
int sop_db__check(struct sop_db *db, struct sop_err *err) SOP_MUST_USE; /* magic, fork */
/* Are we in a child of the process that opened it? Then handles are left alone: their locks may
 * be held by threads that are not here. Cheap enough for every call. */
static inline bool sop_db__forked(const struct sop_db *db)
{
    return db->forks != sop_forks_since();
}

struct sop_hook {
    struct sop_hook *next;
    sop_commit_fn call;
    void *arg;
};

/* What the database layer keeps of a transaction (sop_txn.user). */
struct sop_session {
    struct sop_db *db;
    struct sop_generation *generation;
    struct sop_store *stores;
    struct sop_hook *hooks, *hooks_last;
    struct sop_buf answer; /* what sop_get and sop_get_many handed out */
    struct sop_buf before; /* what the call before did: its slices may be the next arguments */
};

static inline bool sop_txn__forked(const struct sop_txn *t)
{
    const struct sop_session *s = t->user;
    return sop_db__forked(s->db);
}

#define SOP_STORE_MAGIC 0x524f5453u
struct sop_store {
    uint32_t magic;
    struct sop_store *next;
    struct sop_txn *txn;
    struct sop_access *access;
    struct sop_tree *tree;
    struct sop_order order;
    struct sop_card *card;
    struct sop_card *
        *old_cards; /* earlier ones: what was handed out lives as long as the handle */
    size_t old_cards_count;
    struct sop_cursor *cursors;
    struct sop_range *ranges;
    struct sop_value_writer *writers;
    struct sop_value_reader *readers;
    struct sop_cursor *probe; /* for finding first duplicates */
    struct sop_buf key;       /* full key being built */
};

/* Where a cursor stands. */
enum sop_stand {
    SOP_NOWHERE = 0,
    SOP_ON_SCAN = 1, /* on the scan's item; key is in the scan */
    SOP_ON_KEY = 2,  /* on the item with `key`, or where it was if it is removed */
};

#define SOP_CURSOR_MAGIC 0x53525543u
struct sop_cursor {
    uint32_t magic;
    struct sop_cursor *next;
    struct sop_store *store;
    struct sop_scan scan;
    enum sop_stand stand;
    struct sop_buf key;     /* full key of the place */
    struct sop_buf out_key; /* what views point to */
    struct sop_buf out_value;
    /* What was read since the last jump, noted in the read set when the next jump comes. */
    bool span;
    bool span_has_high;
    const struct sop_buf *limit_low,
        *limit_high;                          /* of a range: nothing beyond counts as read */
    bool span_follows_high, span_follows_low; /* that end is where the cursor stands */
    struct sop_buf span_low, span_high;
};

/* ---- shared helpers ------------------------------------------------------------------------
 */

/* Verifies a user key and gives the full key: borrowed where it is the same bytes, else in
 * store->key. id NULL: the lowest possible id (non-unique stores). */
int sop_store__key(struct sop_store *s, struct sop_slice user, const struct sop_item_id *id,
                   struct sop_slice *full, struct sop_err *err) SOP_MUST_USE;
/* The reverse: user key (in `full` or in scratch) and id. */
int sop_store__user_key(struct sop_store *s, struct sop_slice full, struct sop_buf *scratch,
                        struct sop_slice *user, struct sop_item_id *id,
                        struct sop_err *err) SOP_MUST_USE;
/* Do two full keys belong to the same user key? */
bool sop_store__same_user_key(const struct sop_store *s, struct sop_slice a,
                              struct sop_slice b);
int sop_store__writable(struct sop_store *s, struct sop_err *err) SOP_MUST_USE;
int sop_store__check(struct sop_store *s, struct sop_err *err) SOP_MUST_USE;
/* Stores a value by the store's class: bytes for the cell and their kind. */
int sop_store__value(struct sop_store *s, struct sop_slice full_key, struct sop_slice value,
                     uint8_t encoded[SOP_PLACE_BYTES], struct sop_slice *cell_value,
                     uint8_t *kind, struct sop_err *err) SOP_MUST_USE;
/* What a value is: length and, if it lies in a pack, its place. */
int sop_store__value_of(uint8_t kind, struct sop_slice value, uint64_t *bytes,
                        struct sop_place *place, struct sop_err *err) SOP_MUST_USE;

/* An item as the transaction sees it: its own change or the snapshot's. */
struct sop_seen {
    bool there;
    uint8_t was; /* what was at the snapshot, for sop_txn_put */
    uint8_t kind;
    struct sop_slice ride, value; /* die with the look-up */
    const uint8_t *old_place;     /* of the snapshot's item: in its value; or NULL */
    struct sop_look look;
};
/* What is known of an item that nobody looked at. was: as in sop_txn_put. */
static inline struct sop_seen sop_seen_nothing(uint8_t was)
{
    return (struct sop_seen){.was = was};
}
/* Ends with sop_store__seen, unless it fails. Slices of the one before die, but inside an epoch
 * of the caller's. */
int sop_store__see(struct sop_store *s, struct sop_slice full, struct sop_seen *seen,
                   struct sop_err *err) SOP_MUST_USE;
/* The same in a leaf that is known (sop_txn_look_in); NULL: it is not. */
int sop_store__see_in(struct sop_store *s, struct sop_slice full, struct sop_version *leaf,
                      struct sop_seen *seen, struct sop_err *err) SOP_MUST_USE;
static inline void sop_store__seen(struct sop_store *s, const struct sop_seen *seen)
{
    sop_txn_look_end(s->txn, &seen->look);
}
/* Puts a change after sop_store__see of the same key. */
int sop_store__put(struct sop_store *s, struct sop_slice full, const struct sop_seen *seen,
                   struct sop_slice ride, struct sop_slice value, uint8_t kind,
                   struct sop_err *err) SOP_MUST_USE;
/* The full key of the first item with a user key, in *key (replaced). NOT_FOUND. */
int sop_store__first(struct sop_store *s, struct sop_slice user, struct sop_buf *key,
                     struct sop_err *err) SOP_MUST_USE;

/* The full key where the cursor stands (copied into c->key if need be). */
int sop_cursor__here(struct sop_cursor *c, struct sop_slice *full,
                     struct sop_err *err) SOP_MUST_USE;
/* The errors of a folder that is not there, or is no folder (why->sys tells), and of one that
 * cannot be made because the one around it is not there. Both give NOT_A_DATABASE. */
int sop_db__no_folder(const char *folder, const struct sop_err *why, struct sop_err *err);
int sop_db__no_parent(const char *folder, struct sop_err *err);
/* The current item; values in packs only if `load`. */
int sop_cursor__view(struct sop_cursor *c, bool load, struct sop_view *view,
                     struct sop_err *err) SOP_MUST_USE;
/* Stands on the item with this full key from now on, without reading. */
int sop_cursor__stand(struct sop_cursor *c, struct sop_slice full,
                      struct sop_err *err) SOP_MUST_USE;
/* Goes to an exact full key / the first >= / the last <=. */
int sop_cursor__go(struct sop_cursor *c, struct sop_slice full, bool *exact,
                   struct sop_err *err) SOP_MUST_USE;
int sop_cursor__go_back(struct sop_cursor *c, struct sop_slice full, bool *exact,
                        struct sop_err *err) SOP_MUST_USE;
/* Notes what the cursor has read so far in the transaction's read set. */
int sop_cursor__flush(struct sop_cursor *c, struct sop_err *err) SOP_MUST_USE;
int sop_txn__flush(struct sop_txn *t, struct sop_err *err) SOP_MUST_USE;
/* Same for a range; gives the next one of the store. */
int sop_range__flush(struct sop_range *r, struct sop_range **next,
                     struct sop_err *err) SOP_MUST_USE;
/* Frees everything opened in the transaction. */
void sop_txn__close_all(struct sop_txn *t);
void sop_store__free(struct sop_store *s);
void sop_range__free(struct sop_range *r);
void sop_writer__free(struct sop_value_writer *w);
void sop_reader__free(struct sop_value_reader *r);
/* Fills a view from parts; loads the value if wanted (into value_buf) and not class Big. */
int sop_store__view(struct sop_store *s, struct sop_slice full, struct sop_slice ride,
                    struct sop_slice value, uint8_t kind, bool load, struct sop_buf *key_buf,
                    struct sop_buf *value_buf, struct sop_view *view,
                    struct sop_err *err) SOP_MUST_USE;

#endif
