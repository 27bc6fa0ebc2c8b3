/* A database as it should be: states of plain sorted arrays, shared between snapshots by
 * counting references, and one function that does an operation on a state.
 *
 * A transaction is a view: a private copy of the state it began at, with cursors. What it did
 * is kept as a list of operations with a digest of their answers. It may commit if doing the
 * list again on the newest state gives the same answers: that is serializability, whatever the
 * engine's rules are. For the other side, that a refusal was due, a view notes every range that
 * the engine may hold to have been read; items are never changed in place, so "nobody touched
 * the range" is equality of pointers.
 *
 * Values are not kept: they are made from a seed and a length. Memory: plain malloc, which ends
 * the program when there is none. */
#ifndef SOP_TEST_MODEL_H
#define SOP_TEST_MODEL_H

#include "sop/sop.h"
#include "tests/lib/sheet_kit.h"

#define MODEL_NAMES     8   /* stores are called s0 .. s7 */
#define MODEL_CURSORS   4   /* of a view */
#define MODEL_KEYS_MAX  8   /* of a batch of look-ups */
#define MODEL_ITEMS_MAX 256 /* that one operation hands out */
#define MODEL_VALUE_MAX (300u * 1024)

/* How keys of a store are made and ordered. */
enum model_keys {
    MODEL_TEXT = 0,  /* raw: "k00017" */
    MODEL_BINARY,    /* raw: few different bytes, zeros among them, lengths 0..12 */
    MODEL_INT64,     /* one typed field */
    MODEL_COMPOSITE, /* string descending, nullable uint64 */
    MODEL_COMPARER,  /* shorter keys first, then the greater bytes first */
    MODEL_KEYS,
};
#define MODEL_COMPARER_NAME "model.short_first"
int model_compare_keys(void *arg, struct sop_slice a, struct sop_slice b);

/* A place in the order of a store: a user key, and for duplicates when it was inserted: the LSN
 * at which its transaction began, and a count. */
struct model_place {
    struct sop_slice key;
    uint64_t turn[3];
};

struct model_item {
    uint32_t refs;
    uint64_t digest;
    uint64_t turn[3];
    struct sop_item_id id; /* as the engine calls it, once it has been seen */
    bool has_id;
    bool streamed; /* so that a short value lies in a file, too */
    uint32_t key_bytes, ride_bytes;
    uint64_t value_seed;
    uint32_t value_bytes;
    uint8_t bytes[]; /* key, ride */
};
struct sop_slice model_key_of(const struct model_item *item);
struct sop_slice model_ride_of(const struct model_item *item);
struct model_place model_place_of(const struct model_item *item);

struct model_map {
    uint32_t refs;
    uint32_t count, room;
    uint64_t digest; /* sum over the items: independent of their order */
    struct model_item **items;
};

/* Facts of a store. */
struct model_facts {
    uint64_t uid; /* a store created anew under an old name is another one */
    bool unique;
    uint32_t slot_length;
    enum sop_value_class values;
    enum model_keys keys;
    uint32_t universe; /* so many different keys */
    uint64_t notes;    /* description and custom data are made from it */
};
struct model_store {
    uint32_t refs;
    struct model_facts facts;
    struct model_map *map;
};
struct model_state {
    uint32_t refs;
    struct model_store *stores[MODEL_NAMES];
};

struct model_state *model_state_new(void);
struct model_state *model_state_ref(struct model_state *s);
void model_state_unref(struct model_state **s);
/* Equal states give equal digests. The other two are for those who read a database: a state's
 * digest is made from 0 by adding its stores in the order of their names, with the sums of
 * their items' digests. */
uint64_t model_state_digest(const struct model_state *s);
uint64_t model_store_digest(uint64_t digest, uint32_t name, uint64_t uid, uint64_t notes,
                            uint64_t items);
uint64_t model_item_digest(struct sop_slice key, struct sop_slice ride, uint64_t value_seed,
                           uint32_t value_bytes);
/* First index with a place >= the given one. */
uint32_t model_bound(const struct model_store *s, const struct model_place *p, bool *exact);

/* ---- operations ----------------------------------------------------------------------------
 */

enum model_op_kind {
    MODEL_STORE_CREATE,
    MODEL_STORE_REMOVE,
    MODEL_STORE_INFO,
    MODEL_STORE_LIST,
    MODEL_STORE_CHANGE,
    MODEL_COUNT,
    MODEL_ADD,
    MODEL_ADD_IF_ABSENT,
    MODEL_UPSERT,
    MODEL_UPDATE,
    MODEL_UPDATE_KEY,
    MODEL_REMOVE,
    MODEL_GET,
    MODEL_GET_MANY,
    MODEL_STREAM, /* a value written in pieces */
    MODEL_RANGE,
    MODEL_CURSOR_OPEN,
    MODEL_CURSOR_CLOSE,
    MODEL_FIND,
    MODEL_NEAR,
    MODEL_BEFORE,
    MODEL_FIND_ID,
    MODEL_FIRST,
    MODEL_LAST,
    MODEL_NEXT,
    MODEL_PREV,
    MODEL_SEEK,
    MODEL_POSITION,
    MODEL_VIEW_KEY,
    MODEL_VIEW_ITEM,
    MODEL_VALUE, /* the current value, read in pieces */
    MODEL_CURSOR_UPDATE,
    MODEL_CURSOR_UPDATE_KEY,
    MODEL_CURSOR_REMOVE,
    MODEL_OPS,
};

struct model_op {
    enum model_op_kind kind;
    uint32_t name;            /* of the store */
    uint32_t cursor;          /* slot */
    struct model_facts facts; /* create, change (notes) */
    struct sop_buf key;       /* also: low bound */
    struct sop_buf other;     /* key of update_key, high bound */
    struct sop_buf ride;
    bool has_key, has_other, has_ride;
    uint64_t turn[3]; /* of a duplicate that it may insert; of find_id */
    struct sop_item_id id;
    uint64_t value_seed;
    uint32_t value_bytes;
    enum sop_put_mode mode;
    bool low_open, high_closed, prefix, reverse, keys_only;
    bool estimate;
    uint64_t position;
    uint32_t limit; /* items of a range */
    uint32_t keys_count;
    struct sop_buf keys[MODEL_KEYS_MAX];
    uint64_t answer; /* digest of what came out */
};
void model_op_fini(struct model_op *op);

struct model_answer {
    int rc;
    bool flag;       /* exact, added */
    uint64_t number; /* count, position, uid; bit set of found keys */
    uint32_t count;
    const struct model_item *items[MODEL_ITEMS_MAX];
    struct model_facts facts;
};

/* On: on the item with the key, or where it was. */
enum model_stand { MODEL_NOWHERE = 0, MODEL_ON };
struct model_cursor {
    bool open;
    uint32_t name;
    enum model_stand stand;
    struct sop_buf key;
    uint64_t turn[3];
};

/* What the engine may hold to have been read or changed. */
struct model_reach {
    uint64_t uid;
    bool has_low, has_high;
    struct sop_buf low, high;
    uint64_t low_turn[3], high_turn[3];
};
struct model_view {
    struct model_state *base; /* where it began */
    struct model_state *now;  /* with its own changes; nobody else's */
    struct model_cursor cursors[MODEL_CURSORS];
    bool notes; /* keep the lists below */
    struct model_reach *reads, *changes;
    uint32_t reads_count, reads_room, changes_count, changes_room;
    struct model_reach *seen; /* items changed other than blindly: may not have changed */
    uint32_t seen_count, seen_room;
    unsigned names_read, names_changed; /* bits */
    bool reads_all;                     /* whatever has changed may matter */
};
void model_view_init(struct model_view *v, struct model_state *base, bool notes);
void model_view_fini(struct model_view *v);
/* A reader without snapshot: goes on in another state. */
void model_view_renew(struct model_view *v, struct model_state *base);
/* Does it; op->answer is filled. Items in the answer live until the view's next operation. */
void model_do(struct model_view *v, struct model_op *op, struct model_answer *a);

/* Does the list again on `head`. 0: same answers, *after is the new state (due unref). Else the
 * number of the first one with another answer, from 1; or -1: what it changed was changed. */
int model_again(const struct model_view *v, struct model_op *ops, uint32_t count,
                struct model_state *head, struct model_state **after);
/* Might the engine say that something changed which the view read? moved: values in files have
 * been moved since it began, which may count as changes of their items. */
bool model_may_conflict(const struct model_view *v, const struct model_state *head, bool moved);
/* Might the engine say that one hinders the other? */
bool model_may_hinder(const struct model_view *a, const struct model_view *b);

/* ---- made from seeds ------------------------------------------------------------------------
 */

/* Key number `index` of a store, appended to `to`. */
void model_make_key(const struct model_facts *f, uint32_t index, struct sop_buf *to);
struct sop_key_schema model_schema(enum model_keys keys);
/* bytes[0..len) of the value with that seed, from `offset` on. */
void model_value(uint64_t seed, uint64_t offset, uint8_t *bytes, size_t len);
/* Does a stored value say it is that one? Its first bytes tell its seed. */
bool model_is_value(uint64_t seed, uint32_t bytes, struct sop_slice value);
/* Description (NUL-terminated) and custom data, which begins with u64 uid, u64 notes. */
#define MODEL_CUSTOM_BYTES 16
void model_notes(const struct model_facts *f, char description[64],
                 uint8_t custom[MODEL_CUSTOM_BYTES]);

#endif
