/* Write set: an in-memory B+tree of cells that only grows.
 *
 * Leaves and inner nodes begin alike: up to NODE_SLOTS cells in order and, beside them, a head
 * per cell: 8 bytes of its key as a big-endian integer, taken at the node's `skip`. A search is
 * a branch-free binary search over one or two cache lines' worth of heads; keys are looked at
 * only where heads tie. In an inner node cell i separates child i - 1 from child i (it is the
 * first cell that child i had when it was split off), so child 0 needs none. With a registered
 * comparer every head is 0: all tie, and the comparer decides.
 *
 * Invariants:
 * 1. All keys of a node share their first `skip` bytes, and so does every key that the descent
 *    leads there. For a node with separators on both sides that follows from what the two have
 *    in common; the nodes on the left and right edge of the tree use at most `prefix`, the
 *    common prefix of all keys.
 * 2. Leaves are linked in order; none is empty.
 * 3. The number of cells equals `count`; `stamp` grows whenever a cell may have another place.
 * 4. Cells never move, and nodes are never freed: memory goes back with the arena only.
 *
 * The finger remembers the leaf of the newest look-up and the place found there. Keys that come
 * near one another need no descent: a head strictly between two heads of a leaf, with the
 * leaf's first `skip` bytes before it, has its place between them (by 1 and the order of the
 * leaf).
 *
 * All memory that a put needs is taken before anything changes, so a put that fails leaves the
 * tree as it was (perhaps with a spare node for the next one). */
#include "engine/btree/wset.h"

#include "engine/base/codec.h"

#define NODE_SLOTS 64u
/* Every level but the edges is at least half full: 32^12 cells fit nowhere. */
#define LEVELS_MAX       12u
#define CACHE_LINE_BYTES 64u

struct node {
    uint32_t count;
    uint32_t level; /* 0 = leaf */
    size_t skip;
    uint64_t heads[NODE_SLOTS];
    struct sop_cell *cells[NODE_SLOTS];
};

struct leaf {
    struct node node;
    struct leaf *prev;
    struct leaf *next;
};

struct inner {
    struct node
        node; /* cells[0] = low bound of the node, NULL on the left edge; never searched */
    struct node *children[NODE_SLOTS];
};

struct sop_wset {
    struct sop_arena *arena;
    struct sop_order order;
    struct node *root; /* NULL while empty */
    struct leaf *first;
    struct leaf *last;
    struct sop_slice prefix; /* of all keys; empty with a comparer */
    size_t count;
    uint64_t stamp;
    struct leaf *finger;       /* leaf of the newest look-up; NULL = none yet */
    uint32_t finger_at;        /* lower bound that it found there */
    struct leaf *spare_leaf;   /* taken from the arena, not yet used */
    struct inner *spare_inner; /* likewise; linked by children[0] */
    uint32_t spare_inner_count;
};

/* The way from the root to a leaf: path.inner[l] is the node of level l (1 = above the leaf).
 */
struct path {
    struct leaf *leaf;
    uint32_t at; /* lower bound in the leaf */
    bool exact;
    uint32_t levels; /* level of the root */
    struct inner *inner[LEVELS_MAX];
    uint32_t child[LEVELS_MAX];
};

static inline uint64_t head_at(const struct sop_wset *w, struct sop_slice key, size_t skip)
{
    if (w->order.compare != NULL) {
        return 0;
    }
    SOP_DEEP_ASSERT(key.len >= skip);
    uint64_t head = 0;
    size_t len = key.len - skip;
    if (__builtin_expect(len >= sizeof head, 1)) {
        memcpy(&head, key.data + skip, sizeof head);
    } else if (len != 0) {
        memcpy(&head, key.data + skip, len);
    }
    return __builtin_bswap64(head);
}

static inline int key_cmp(const struct sop_wset *w, struct sop_slice a, struct sop_slice b)
{
    return w->order.compare == NULL ? sop_slice_cmp(a, b) : sop_order_cmp(&w->order, a, b);
}

static inline size_t common_prefix(struct sop_slice a, struct sop_slice b)
{
    size_t least = a.len < b.len ? a.len : b.len;
    size_t len = 0;
    while (len < least && a.data[len] == b.data[len]) {
        len++;
    }
    return len;
}

/* Are the first len bytes the same? What keys have in common is mostly short: then two words
 * that may overlap are compared without a call. */
static inline bool same_bytes(const uint8_t *a, const uint8_t *b, size_t len)
{
    if (len == 0) {
        return true;
    }
    if (len > 2 * sizeof(uint64_t)) {
        return memcmp(a, b, len) == 0;
    }
    if (len >= sizeof(uint64_t)) {
        size_t last = len - sizeof(uint64_t);
        return sop_get_u64(a) == sop_get_u64(b) &&
               sop_get_u64(a + last) == sop_get_u64(b + last);
    }
    if (len >= sizeof(uint32_t)) {
        size_t last = len - sizeof(uint32_t);
        return sop_get_u32(a) == sop_get_u32(b) &&
               sop_get_u32(a + last) == sop_get_u32(b + last);
    }
    return a[0] == b[0] && a[len / 2] == b[len / 2] && a[len - 1] == b[len - 1];
}

static inline bool has_prefix(const struct sop_wset *w, struct sop_slice key)
{
    return key.len >= w->prefix.len && same_bytes(key.data, w->prefix.data, w->prefix.len);
}

static inline struct inner *as_inner(struct node *n)
{
    SOP_DEEP_ASSERT(n->level != 0);
    return (struct inner *)n;
}

static inline struct leaf *as_leaf(struct node *n)
{
    SOP_DEEP_ASSERT(n->level == 0);
    return (struct leaf *)n;
}

/* The heads of a node tie with the key's at `at`: the keys decide. */
static uint32_t search_tie(const struct sop_wset *w, const struct node *n, uint32_t at,
                           struct sop_slice key, bool *exact)
{
    /* The bytes of a key lie behind its cell: both lines come together. */
    __builtin_prefetch(n->cells[at] + 1);
    uint32_t end = at + 1;
    while (end < n->count && n->heads[end] == n->heads[at]) {
        end++;
    }
    while (at < end) {
        uint32_t middle = at + (end - at) / 2;
        int order = key_cmp(w, n->cells[middle]->key, key);
        if (order == 0) {
            *exact = true;
            return middle;
        }
        if (order < 0) {
            at = middle + 1;
        } else {
            end = middle;
        }
    }
    return at;
}

/* Lower bound of key among the cells from..count of a node, in from..count. */
static inline uint32_t search(const struct sop_wset *w, const struct node *n, uint32_t from,
                              struct sop_slice key, bool *exact)
{
    uint64_t head = head_at(w, key, n->skip);
    const uint64_t *base = n->heads + from;
    uint32_t len = n->count - from;
    while (len > 1) {
        uint32_t half = len / 2;
        base += base[half - 1] < head ? half : 0;
        len -= half;
    }
    uint32_t at = (uint32_t)(base - n->heads);
    if (len == 1 && *base < head) {
        at++;
    }
    *exact = false;
    if (at == n->count || n->heads[at] != head) {
        return at;
    }
    return search_tie(w, n, at, key, exact);
}

static inline uint32_t child_of(const struct sop_wset *w, const struct inner *inner,
                                struct sop_slice key)
{
    bool exact;
    uint32_t at = search(w, &inner->node, 1, key, &exact);
    return exact ? at : at - 1;
}

/* A leaf is seldom in the cache: its heads are fetched at once, not one line per step of the
 * search. (Inner nodes are few and stay there.) */
static inline void fetch_ahead(const struct node *n)
{
    for (size_t at = 0; at < sizeof n->heads; at += CACHE_LINE_BYTES) {
        __builtin_prefetch((const uint8_t *)n->heads + at);
    }
}

/* Is the key's place inside the finger's leaf, not at its edges? Gives its head there. */
static inline bool near_finger(const struct sop_wset *w, struct sop_slice key, uint64_t *head)
{
    if (w->finger == NULL) {
        return false;
    }
    const struct node *n = &w->finger->node;
    if (key.len < n->skip || !same_bytes(key.data, n->cells[0]->key.data, n->skip)) {
        return false;
    }
    *head = head_at(w, key, n->skip);
    return n->heads[0] < *head && *head < n->heads[n->count - 1];
}

/* The place of key: its cell, or where it would be (perhaps behind the last cell of a leaf).
 * The tree is not empty. */
static struct leaf *locate(const struct sop_wset *w, struct sop_slice key, uint32_t *at,
                           bool *exact)
{
    uint64_t head;
    struct node *n = &w->last->node;
    if (near_finger(w, key, &head)) { /* between two keys: the tree's prefix is its own, too */
        n = &w->finger->node;
        *at = w->finger_at; /* or right behind it, as ascending keys come */
        *at += *at < n->count && n->heads[*at] < head;
        if (*at > 0 && *at < n->count && n->heads[*at - 1] < head && n->heads[*at] > head) {
            *exact = false;
            return w->finger;
        }
    } else if (!has_prefix(w, key)) {
        *exact = false;
        bool before = sop_slice_cmp(key, w->prefix) < 0;
        *at = before ? 0 : w->last->node.count;
        return before ? w->first : w->last;
    } else if (head_at(w, key, n->skip) > n->heads[n->count - 1]) {
        *exact = false; /* ascending keys end behind the last cell */
        *at = n->count;
        return w->last;
    } else {
        n = w->root;
    }
    while (n->level != 0) {
        struct inner *inner = as_inner(n);
        n = inner->children[child_of(w, inner, key)];
        if (inner->node.level == 1) {
            fetch_ahead(n);
        }
    }
    *at = search(w, n, 0, key, exact);
    return as_leaf(n);
}

/* Like locate, and remembers the way. The key has the tree's prefix. */
static void descend(const struct sop_wset *w, struct sop_slice key, struct path *path)
{
    struct node *n = w->root;
    SOP_ASSERT(n->level < LEVELS_MAX);
    path->levels = n->level;
    while (n->level != 0) {
        struct inner *inner = as_inner(n);
        uint32_t child = child_of(w, inner, key);
        path->inner[n->level] = inner;
        path->child[n->level] = child;
        n = inner->children[child];
        if (inner->node.level == 1) {
            fetch_ahead(n);
        }
    }
    path->leaf = as_leaf(n);
    path->at = search(w, n, 0, key, &path->exact);
}

static void set_heads(const struct sop_wset *w, struct node *n, size_t skip)
{
    n->skip = skip;
    for (uint32_t i = n->level != 0; i < n->count; i++) {
        n->heads[i] = head_at(w, n->cells[i]->key, skip);
    }
}

/* Takes the heads farther to the right, if the bounds allow and heads tie (otherwise they are
 * good as they are, and the keys need not be fetched). low or high NULL: no such bound. */
static void sharpen(const struct sop_wset *w, struct node *n, const struct sop_cell *low,
                    const struct sop_cell *high)
{
    if (low == NULL || high == NULL || w->order.compare != NULL) {
        return;
    }
    size_t skip = common_prefix(low->key, high->key);
    SOP_DEEP_ASSERT(skip >= n->skip);
    if (skip <= n->skip) {
        return;
    }
    for (uint32_t i = (n->level != 0) + 1; i < n->count; i++) {
        if (n->heads[i] == n->heads[i - 1]) {
            set_heads(w, n, skip);
            return;
        }
    }
}

/* A key arrived that has less in common with the others: the edges of the tree forget what is
 * common no more. */
static void shrink_prefix(struct sop_wset *w, struct sop_slice key)
{
    w->prefix.len = common_prefix(w->prefix, key);
    for (int side = 0; side < 2; side++) {
        struct node *n = w->root;
        for (;;) {
            if (n->skip > w->prefix.len) {
                set_heads(w, n, w->prefix.len);
            }
            if (n->level == 0) {
                break;
            }
            n = as_inner(n)->children[side == 0 ? 0 : n->count - 1];
        }
    }
}

/* Opens a gap at `at` and puts the cell (and in an inner node the child) into it. */
static void node_insert(const struct sop_wset *w, struct node *n, uint32_t at,
                        struct sop_cell *cell, struct node *child)
{
    SOP_ASSERT(n->count < NODE_SLOTS && at <= n->count);
    size_t moved = n->count - at;
    if (moved > 0) {
        memmove(n->heads + at + 1, n->heads + at, moved * sizeof n->heads[0]);
        memmove(n->cells + at + 1, n->cells + at, moved * sizeof(void *));
    }
    n->heads[at] = head_at(w, cell->key, n->skip);
    n->cells[at] = cell;
    if (child != NULL) {
        struct node **children = as_inner(n)->children;
        memmove(children + at + 1, children + at, moved * sizeof(void *));
        children[at] = child;
    }
    n->count++;
}

/* Moves what is from `middle` on to the empty node `to`. */
static void node_move(struct node *from, uint32_t middle, struct node *to)
{
    SOP_ASSERT(to->count == 0 && middle <= from->count);
    size_t moved = from->count - middle;
    to->level = from->level;
    to->skip = from->skip;
    memcpy(to->heads, from->heads + middle, moved * sizeof from->heads[0]);
    memcpy(to->cells, from->cells + middle, moved * sizeof(void *));
    if (from->level != 0) {
        memcpy(as_inner(to)->children, as_inner(from)->children + middle,
               moved * sizeof(void *));
    }
    to->count = (uint32_t)moved;
    from->count = middle;
}

static int no_memory(const struct sop_wset *w, struct sop_err *err)
{
    return SOP_ERR(err, NOMEM, "write set of %zu cells: %zu of a budget of %zu bytes are held",
                   w->count, w->arena->used, w->arena->budget);
}

/* Has the nodes ready that splitting the leaf at the end of the path can need. */
static int reserve(struct sop_wset *w, const struct path *path, struct sop_err *err)
{
    if (w->spare_leaf == NULL) {
        w->spare_leaf = sop_arena_alloc(w->arena, sizeof *w->spare_leaf);
        if (w->spare_leaf == NULL) {
            return no_memory(w, err);
        }
    }
    uint32_t level = 1;
    while (level <= path->levels && path->inner[level]->node.count == NODE_SLOTS) {
        level++;
    }
    /* One for each full node; one more for a new root if all are full. */
    uint32_t needed = level > path->levels ? level : level - 1;
    while (w->spare_inner_count < needed) {
        struct inner *inner = sop_arena_alloc(w->arena, sizeof *inner);
        if (inner == NULL) {
            return no_memory(w, err);
        }
        inner->children[0] = w->spare_inner == NULL ? NULL : &w->spare_inner->node;
        inner->node.level = 1;
        w->spare_inner = inner;
        w->spare_inner_count++;
    }
    return 0;
}

static struct leaf *take_leaf(struct sop_wset *w)
{
    struct leaf *leaf = w->spare_leaf;
    SOP_ASSERT(leaf != NULL);
    w->spare_leaf = NULL;
    leaf->node.count = 0;
    leaf->node.level = 0;
    leaf->node.skip = 0;
    leaf->prev = NULL;
    leaf->next = NULL;
    return leaf;
}

static struct inner *take_inner(struct sop_wset *w)
{
    struct inner *inner = w->spare_inner;
    SOP_ASSERT(inner != NULL);
    w->spare_inner = inner->children[0] == NULL ? NULL : as_inner(inner->children[0]);
    w->spare_inner_count--;
    inner->node.count = 0;
    return inner;
}

/* Bounds of the node of `level` on the path; NULL = the edge of the tree. */
static const struct sop_cell *low_bound(const struct path *path, uint32_t level)
{
    while (++level <= path->levels) {
        if (path->child[level] > 0) {
            return path->inner[level]->node.cells[path->child[level]];
        }
    }
    return NULL;
}

static const struct sop_cell *high_bound(const struct path *path, uint32_t level)
{
    while (++level <= path->levels) {
        if (path->child[level] + 1 < path->inner[level]->node.count) {
            return path->inner[level]->node.cells[path->child[level] + 1];
        }
    }
    return NULL;
}

static void grow_root(struct sop_wset *w, struct node *left, struct sop_cell *separator,
                      struct node *right)
{
    struct inner *root = take_inner(w);
    root->node.level = left->level + 1;
    root->node.skip = w->prefix.len;
    root->node.count = 1;
    root->node.heads[0] = 0;
    root->node.cells[0] = NULL;
    root->children[0] = left;
    node_insert(w, &root->node, 1, separator, right);
    w->root = &root->node;
    SOP_ASSERT(root->node.level < LEVELS_MAX);
}

/* Makes `right` known above the node of level 0 that was split. */
static void insert_above(struct sop_wset *w, const struct path *path, struct node *right)
{
    struct node *left = &path->leaf->node;
    for (uint32_t level = 1; level <= path->levels; level++) {
        struct node *n = &path->inner[level]->node;
        uint32_t at = path->child[level] + 1;
        struct sop_cell *separator = right->cells[0];
        if (n->count < NODE_SLOTS) {
            node_insert(w, n, at, separator, right);
            return;
        }
        const struct sop_cell *low = low_bound(path, level);
        const struct sop_cell *high = high_bound(path, level);
        /* Ascending keys fill their nodes. */
        uint32_t middle = at == n->count && high == NULL ? n->count : n->count / 2;
        struct inner *half = take_inner(w);
        node_move(n, middle, &half->node);
        bool in_half = at > middle || middle == NODE_SLOTS;
        node_insert(w, in_half ? &half->node : n, in_half ? at - middle : at, separator, right);
        sharpen(w, n, low, half->node.cells[0]);
        sharpen(w, &half->node, half->node.cells[0], high);
        left = n;
        right = &half->node;
    }
    grow_root(w, left, right->cells[0], right);
}

/* The leaf is full; everything needed is reserved. */
static void split_insert(struct sop_wset *w, const struct path *path, struct sop_cell *cell)
{
    struct leaf *leaf = path->leaf;
    struct leaf *right = take_leaf(w);
    const struct sop_cell *low = low_bound(path, 0);
    const struct sop_cell *high = high_bound(path, 0);
    uint32_t middle = NODE_SLOTS / 2;
    /* Keys that come in order, either way, leave full leaves behind. */
    if (leaf->next == NULL && path->at == NODE_SLOTS) {
        middle = NODE_SLOTS;
    } else if (leaf->prev == NULL && path->at == 0) {
        middle = 0;
    }
    node_move(&leaf->node, middle, &right->node);
    if (path->at > middle || middle == NODE_SLOTS) {
        node_insert(w, &right->node, path->at - middle, cell, NULL);
    } else {
        node_insert(w, &leaf->node, path->at, cell, NULL);
    }
    right->prev = leaf;
    right->next = leaf->next;
    if (leaf->next == NULL) {
        w->last = right;
    } else {
        leaf->next->prev = right;
    }
    leaf->next = right;
    sharpen(w, &leaf->node, low, right->node.cells[0]);
    sharpen(w, &right->node, right->node.cells[0], high);
    insert_above(w, path, &right->node);
}

static struct sop_cell *cell_new(struct sop_wset *w, const struct sop_wset_want *want)
{
    struct sop_slice key = want->key;
    if (key.len > SIZE_MAX / 4 || want->room > SIZE_MAX / 4) {
        return NULL;
    }
    struct sop_cell *cell = sop_arena_alloc(w->arena, sizeof *cell + key.len + want->room);
    if (cell == NULL) {
        return NULL;
    }
    uint8_t *copy = (uint8_t *)(cell + 1);
    sop_copy(copy, key.data, key.len);
    *cell = (struct sop_cell){.key = sop_slice(copy, key.len)};
    return cell;
}

static int put_first(struct sop_wset *w, const struct sop_wset_want *want,
                     struct sop_cell **cell, struct sop_err *err)
{
    if (w->spare_leaf == NULL) {
        w->spare_leaf = sop_arena_alloc(w->arena, sizeof *w->spare_leaf);
    }
    *cell = w->spare_leaf == NULL ? NULL : cell_new(w, want);
    if (*cell == NULL) {
        return no_memory(w, err);
    }
    w->first = take_leaf(w);
    w->last = w->first;
    w->root = &w->first->node;
    if (w->order.compare == NULL) {
        w->prefix = (*cell)->key;
        w->root->skip = w->prefix.len;
    }
    node_insert(w, w->root, 0, *cell, NULL);
    return 0;
}

/* Adds a cell to a leaf that is full. The key has the tree's prefix and is not in the tree. */
static int put_full(struct sop_wset *w, const struct sop_wset_want *want,
                    struct sop_cell **cell, struct sop_err *err)
{
    struct path path;
    descend(w, want->key, &path);
    SOP_ASSERT(!path.exact && path.leaf->node.count == NODE_SLOTS);
    int rc = reserve(w, &path, err);
    if (rc != 0) {
        return rc;
    }
    *cell = cell_new(w, want);
    if (*cell == NULL) {
        return no_memory(w, err);
    }
    split_insert(w, &path, *cell);
    w->finger = path.leaf;
    w->finger_at = path.at;
    return 0;
}

/* Finds the place of a key to be put; the tree's prefix is one of the key, too, afterwards. */
static bool place_to_put(struct sop_wset *w, const struct sop_wset_want *want)
{
    const struct sop_wset_place *known = want->place;
    bool exact = false;
    if (known != NULL && known->leaf != NULL && known->stamp == w->stamp) {
        w->finger = known->leaf;
        w->finger_at = known->at;
        exact = known->exact;
    } else if (has_prefix(w, want->key)) {
        w->finger = locate(w, want->key, &w->finger_at, &exact);
    } else {
        shrink_prefix(w, want->key);
        bool before = sop_slice_cmp(want->key, w->first->node.cells[0]->key) < 0;
        w->finger = before ? w->first : w->last;
        w->finger_at = before ? 0 : w->last->node.count;
    }
    return exact;
}

int sop_wset_new(struct sop_wset **out, struct sop_arena *arena, const struct sop_order *order,
                 struct sop_err *err)
{
    *out = NULL;
    struct sop_wset *w = sop_arena_alloc(arena, sizeof *w);
    if (w == NULL) {
        return SOP_ERR(err, NOMEM, "new write set: %zu of a budget of %zu bytes are held",
                       arena->used, arena->budget);
    }
    *w = (struct sop_wset){.arena = arena, .order = *order};
    *out = w;
    return 0;
}

size_t sop_wset_count(const struct sop_wset *w)
{
    return w->count;
}

size_t sop_wset_bytes(const struct sop_wset *w)
{
    /* Rides and values change under our feet, through the cells: only a walk knows. */
    size_t bytes = 0;
    for (const struct leaf *leaf = w->first; leaf != NULL; leaf = leaf->next) {
        for (uint32_t i = 0; i < leaf->node.count; i++) {
            const struct sop_cell *cell = leaf->node.cells[i];
            bytes += cell->key.len + cell->ride.len + cell->value.len;
        }
    }
    return bytes;
}

struct sop_cell *sop_wset_find(const struct sop_wset *w, struct sop_slice key)
{
    if (w->root == NULL) {
        return NULL;
    }
    uint32_t at;
    bool exact;
    struct leaf *leaf = locate(w, key, &at, &exact);
    return exact ? leaf->node.cells[at] : NULL;
}

struct sop_cell *sop_wset_locate(struct sop_wset *w, struct sop_slice key,
                                 struct sop_wset_place *place)
{
    if (w->root == NULL) {
        *place = (struct sop_wset_place){0};
        return NULL;
    }
    w->finger = locate(w, key, &place->at, &place->exact);
    w->finger_at = place->at;
    place->leaf = has_prefix(w, key) ? w->finger : NULL; /* else the tree changes before the put
                                                          */
    place->stamp = w->stamp;
    return place->exact ? w->finger->node.cells[place->at] : NULL;
}

int sop_wset_want(struct sop_wset *w, const struct sop_wset_want *want, struct sop_cell **cell,
                  bool *added, struct sop_err *err)
{
    *cell = NULL;
    *added = false;
    int rc = 0;
    if (w->root == NULL) {
        rc = put_first(w, want, cell, err);
    } else if (place_to_put(w, want)) {
        *cell = w->finger->node.cells[w->finger_at];
        return 0;
    } else if (w->finger->node.count == NODE_SLOTS) {
        rc = put_full(w, want, cell, err);
    } else {
        *cell = cell_new(w, want);
        if (*cell == NULL) {
            return no_memory(w, err);
        }
        node_insert(w, &w->finger->node, w->finger_at, *cell, NULL);
    }
    if (rc == 0) {
        w->count++;
        w->stamp++;
        *added = true;
    }
    return rc;
}

int sop_wset_put(struct sop_wset *w, struct sop_slice key, struct sop_cell **cell, bool *added,
                 struct sop_err *err)
{
    const struct sop_wset_want want = {.key = key};
    return sop_wset_want(w, &want, cell, added, err);
}

void sop_wset_cursor_init(struct sop_wset_cursor *c, const struct sop_wset *w)
{
    *c = (struct sop_wset_cursor){.wset = w};
}

/* Stands on cell `at` of the leaf; a place behind a leaf's last cell is the first of the next.
 * leaf NULL: nowhere. */
static struct sop_cell *stand(struct sop_wset_cursor *c, struct leaf *leaf, uint32_t at)
{
    if (leaf != NULL && at == leaf->node.count) {
        leaf = leaf->next;
        at = 0;
    }
    c->leaf = leaf;
    c->at = at;
    c->stamp = c->wset->stamp;
    c->cell = leaf == NULL ? NULL : leaf->node.cells[at];
    return c->cell;
}

static struct sop_cell *stand_before(struct sop_wset_cursor *c, struct leaf *leaf, uint32_t at)
{
    if (at > 0) {
        return stand(c, leaf, at - 1);
    }
    leaf = leaf->prev;
    return stand(c, leaf, leaf == NULL ? 0 : leaf->node.count - 1);
}

/* The current cell may have moved to another place: finds it. */
static void catch_up(struct sop_wset_cursor *c)
{
    if (c->stamp == c->wset->stamp) {
        return;
    }
    bool exact;
    c->leaf = locate(c->wset, c->cell->key, &c->at, &exact);
    c->stamp = c->wset->stamp;
    SOP_ASSERT(exact && ((struct leaf *)c->leaf)->node.cells[c->at] == c->cell);
}

struct sop_cell *sop_wset_first(struct sop_wset_cursor *c)
{
    return stand(c, c->wset->first, 0);
}

struct sop_cell *sop_wset_last(struct sop_wset_cursor *c)
{
    struct leaf *leaf = c->wset->last;
    return stand(c, leaf, leaf == NULL ? 0 : leaf->node.count - 1);
}

struct sop_cell *sop_wset_seek(struct sop_wset_cursor *c, struct sop_slice key)
{
    if (c->wset->root == NULL) {
        return stand(c, NULL, 0);
    }
    uint32_t at;
    bool exact;
    struct leaf *leaf = locate(c->wset, key, &at, &exact);
    return stand(c, leaf, at);
}

struct sop_cell *sop_wset_floor(struct sop_wset_cursor *c, struct sop_slice key)
{
    if (c->wset->root == NULL) {
        return stand(c, NULL, 0);
    }
    uint32_t at;
    bool exact;
    struct leaf *leaf = locate(c->wset, key, &at, &exact);
    return exact ? stand(c, leaf, at) : stand_before(c, leaf, at);
}

struct sop_cell *sop_wset_next(struct sop_wset_cursor *c)
{
    if (c->cell == NULL) {
        return NULL;
    }
    catch_up(c);
    return stand(c, c->leaf, c->at + 1);
}

struct sop_cell *sop_wset_prev(struct sop_wset_cursor *c)
{
    if (c->cell == NULL) {
        return NULL;
    }
    catch_up(c);
    return stand_before(c, c->leaf, c->at);
}

void sop_wset_check(const struct sop_wset *w)
{
    size_t count = 0;
    const struct leaf *before = NULL;
    const struct sop_cell *last = NULL;
    for (struct leaf *leaf = w->first; leaf != NULL; before = leaf, leaf = leaf->next) {
        const struct node *n = &leaf->node;
        SOP_ASSERT(leaf->prev == before);
        SOP_ASSERT(n->count > 0 && n->count <= NODE_SLOTS);
        for (uint32_t i = 0; i < n->count; i++) {
            struct sop_cell *cell = n->cells[i];
            SOP_ASSERT(last == NULL || key_cmp(w, last->key, cell->key) < 0);
            SOP_ASSERT(has_prefix(w, cell->key));
            SOP_ASSERT(cell->key.len >= n->skip);
            SOP_ASSERT(n->heads[i] == head_at(w, cell->key, n->skip));
            struct path path;
            descend(w, cell->key, &path);
            SOP_ASSERT(path.exact && path.leaf == leaf && path.at == i);
            const struct sop_cell *low = low_bound(&path, 0);
            const struct sop_cell *high = high_bound(&path, 0);
            SOP_ASSERT(low == NULL || key_cmp(w, low->key, cell->key) <= 0);
            SOP_ASSERT(high == NULL || key_cmp(w, cell->key, high->key) < 0);
            SOP_ASSERT(n->skip == 0 || n->skip <= w->prefix.len ||
                       n->skip <= common_prefix(low->key, high->key));
            last = cell;
            count++;
        }
    }
    SOP_ASSERT(w->last == before);
    SOP_ASSERT(count == w->count);
}
