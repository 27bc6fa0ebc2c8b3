/* Write set: the pending changes of one transaction in one store, ordered by full key.
 *
 * An in-memory B+tree of cells with 8-byte heads in its nodes, made for 2-3 M inserts/s in
 * random and ascending order (an insert at the end costs no search). Memory comes from the
 * transaction's arena; a replaced cell's memory is given back only with the arena. One thread.
 * A cell, once in, keeps its address (cells are separate from nodes), so slices stay valid
 * until the key is set again. */
#ifndef SOP_WSET_H
#define SOP_WSET_H

#include "engine/base/arena.h"
#include "engine/btree/order.h"
#include "engine/btree/sheet.h"

/* What was known when the change was made; decides conflict checks and counts. */
enum sop_change {
    SOP_CHANGE_INSERT = 1,  /* the key was absent at the snapshot */
    SOP_CHANGE_UPDATE = 2,  /* it was there */
    SOP_CHANGE_DELETE = 3,  /* it was there, now to be removed */
    SOP_CHANGE_UPSERT = 4,  /* blind: resolved at commit */
    SOP_CHANGE_NOTHING = 5, /* inserted and removed again in this transaction: no effect, but
                               the absence was read */
};

struct sop_cell {
    struct sop_slice key;
    struct sop_slice ride;
    struct sop_slice value;   /* inline bytes or encoded place, by kind */
    uint8_t kind;             /* enum sop_value_kind; TOMBSTONE for DELETE and NOTHING */
    uint8_t change;           /* enum sop_change */
    uint8_t was;              /* what was at the snapshot: 0 unknown, 1 absent, 2 present */
    uint8_t flags;            /* for the transaction layer */
    const uint8_t *old_place; /* encoded place of the value that it replaces, or NULL; arena */
};

struct sop_wset;
int sop_wset_new(struct sop_wset **out, struct sop_arena *arena, const struct sop_order *order,
                 struct sop_err *err) SOP_MUST_USE;
/* Number of cells, and bytes of keys + rides + values in them (a walk over all cells, because
 * callers change rides and values through the cells). */
size_t sop_wset_count(const struct sop_wset *w);
size_t sop_wset_bytes(const struct sop_wset *w);
/* The cell of key, or NULL. The caller may change everything but key through it (slices must
 * live in the arena). */
struct sop_cell *sop_wset_find(const struct sop_wset *w, struct sop_slice key);
/* Where a key is, or would be. All zero: nothing is known. Good until the next cell is added;
 * then it says nothing any more, which whoever takes it finds out. */
struct sop_wset_place {
    void *leaf;
    uint32_t at;
    bool exact;
    uint64_t stamp;
};
/* As sop_wset_find, by the owner: tells the place as well, and remembers it, so that a look-up
 * near it costs no descent. */
struct sop_cell *sop_wset_locate(struct sop_wset *w, struct sop_slice key,
                                 struct sop_wset_place *place);

struct sop_wset_want {
    struct sop_slice key;
    size_t
        room; /* bytes of the owner's that a new cell has behind its key; see sop_cell_room */
    const struct sop_wset_place
        *place; /* of this key, so that it is not searched again; or NULL
                 */
};
/* Adds a cell with a copy of key (other fields zero), or gives the one that is there (*added
 * false; it has the room that it was made with). */
int sop_wset_want(struct sop_wset *w, const struct sop_wset_want *want, struct sop_cell **cell,
                  bool *added, struct sop_err *err) SOP_MUST_USE;
/* The same for a key alone. */
int sop_wset_put(struct sop_wset *w, struct sop_slice key, struct sop_cell **cell, bool *added,
                 struct sop_err *err) SOP_MUST_USE;
/* The room of a cell that was just added: unaligned, right behind its key. */
static inline uint8_t *sop_cell_room(struct sop_cell *cell)
{
    return (uint8_t *)(cell + 1) + cell->key.len;
}

/* Cursor over cells; survives puts (it finds its place again by key). Standing nowhere (cell
 * NULL), next and prev stay there; first, last, seek and floor stand anew. */
struct sop_wset_cursor {
    const struct sop_wset *wset;
    void *leaf;
    uint32_t at;
    uint64_t stamp;        /* of the tree when leaf/at were found */
    struct sop_cell *cell; /* current, NULL = none */
};
void sop_wset_cursor_init(struct sop_wset_cursor *c, const struct sop_wset *w);
struct sop_cell *sop_wset_first(struct sop_wset_cursor *c);
struct sop_cell *sop_wset_last(struct sop_wset_cursor *c);
struct sop_cell *sop_wset_seek(struct sop_wset_cursor *c, struct sop_slice key);  /* >= key */
struct sop_cell *sop_wset_floor(struct sop_wset_cursor *c, struct sop_slice key); /* <= key */
struct sop_cell *sop_wset_next(struct sop_wset_cursor *c);
struct sop_cell *sop_wset_prev(struct sop_wset_cursor *c);

/* Asserts the invariants of wset.c; looks every cell up. For tests. */
void sop_wset_check(const struct sop_wset *w);

#endif
