#include "bench/engines/map.h"

#include <stdlib.h>
#include <sys/mman.h>

#define SLOTS        64
#define LINE_WORDS   8 /* of a line of the processor's cache */
#define DEPTH_MOST   16
#define GROUP        8 /* look-ups side by side */
#define AHEAD        8 /* values fetched ahead by a scan */
#define CHUNK_BYTES  (4u << 20)
#define HUGE_BYTES   (2u << 20)
#define CHUNK_SHARED (CHUNK_BYTES / 4) /* larger values have a chunk of their own */

struct key {
    uint64_t high, low; /* big-endian: compares as the bytes do */
};

struct value {
    uint32_t len, room;
    uint8_t key_len;
    uint8_t data[];
};

/* A leaf holds keys and values, the others separators: child i has the keys >= key i - 1. */
struct node {
    uint64_t high[SLOTS], low[SLOTS];
    union {
        struct value *values[SLOTS];
        struct node *children[SLOTS + 1];
    };
    struct node *next; /* of a leaf */
    unsigned count;
};

struct chunk {
    struct chunk *next;
    size_t used, room;
    uint8_t data[];
};

struct bench_map {
    struct node *root;
    unsigned levels; /* above the leaves */
    struct chunk *chunks;
};

static struct key key_of(struct sop_slice s)
{
    uint8_t bytes[16] = {0};
    memcpy(bytes, s.data, s.len < sizeof bytes ? s.len : sizeof bytes);
    return (struct key){__builtin_bswap64(bench_word(bytes)),
                        __builtin_bswap64(bench_word(bytes + 8))};
}

/* All keys of a node at once: searching would fetch its lines one after the other. */
static inline void fetch(const struct node *n)
{
    __builtin_prefetch(&n->count);
    for (unsigned i = 0; i < SLOTS; i += LINE_WORDS) {
        __builtin_prefetch(&n->high[i]);
    }
}

/* Keys of n that are below k (below or equal with `equal`). The first words decide nearly
 * always; where they are equal there are few such keys. */
static inline unsigned below(const struct node *n, struct key k, bool equal)
{
    unsigned at = 0, left = n->count;
    while (left > 0) {
        unsigned half = left / 2;
        bool less = n->high[at + half] < k.high;
        at += less ? half + 1 : 0;
        left = less ? left - half - 1 : half;
    }
    while (at < n->count && n->high[at] == k.high &&
           (n->low[at] < k.low || (equal && n->low[at] == k.low))) {
        at++;
    }
    return at;
}

static inline bool is_at(const struct node *leaf, unsigned at, struct key k)
{
    return at < leaf->count && leaf->high[at] == k.high && leaf->low[at] == k.low;
}

/* ---- memory ----------------------------------------------------------------------------- */

static struct chunk *chunk_new(size_t bytes)
{
    struct chunk *c;
    if (bytes > CHUNK_SHARED) {
        c = malloc(sizeof *c + bytes);
    } else {
        c = aligned_alloc(HUGE_BYTES, CHUNK_BYTES);
        bytes = CHUNK_BYTES - sizeof *c;
        if (c != NULL) {
            madvise(c, CHUNK_BYTES, MADV_HUGEPAGE); /* fewer misses of the TLB; a wish */
        }
    }
    if (c != NULL) {
        *c = (struct chunk){.room = bytes};
    }
    return c;
}

static void *carve(struct bench_map *map, size_t bytes)
{
    bytes = (bytes + 7) & ~(size_t)7;
    struct chunk *c = map->chunks;
    if (c == NULL || c->room - c->used < bytes) {
        struct chunk *fresh = chunk_new(bytes);
        if (fresh == NULL) {
            return NULL;
        }
        if (bytes > CHUNK_SHARED && c != NULL) { /* the shared one stays in front */
            fresh->next = c->next;
            c->next = fresh;
        } else {
            fresh->next = c;
            map->chunks = fresh;
        }
        c = fresh;
    }
    void *at = c->data + c->used;
    c->used += bytes;
    return at;
}

static struct value *make_value(struct bench_map *map, const struct bench_item *item)
{
    struct value *v = carve(map, sizeof *v + item->value.len);
    if (v != NULL) {
        v->len = v->room = (uint32_t)item->value.len;
        v->key_len = (uint8_t)item->key.len;
        memcpy(v->data, item->value.data, item->value.len);
    }
    return v;
}

static struct node *node_new(struct bench_map *map)
{
    struct node *n = carve(map, sizeof *n);
    if (n != NULL) {
        n->count = 0;
        n->next = NULL;
    }
    return n;
}

int bench_map_new(struct bench_map **out)
{
    struct bench_map *map = calloc(1, sizeof *map);
    *out = map;
    if (map == NULL || (map->root = node_new(map)) == NULL) {
        return bench_fail("memory: no memory");
    }
    return 0;
}

void bench_map_free(struct bench_map *map)
{
    while (map->chunks != NULL) {
        struct chunk *c = map->chunks;
        map->chunks = c->next;
        free(c);
    }
    free(map);
}

/* ---- changes ---------------------------------------------------------------------------- */

struct path {
    struct node *node[DEPTH_MOST];
    unsigned at[DEPTH_MOST];
};

static void open_slot(struct node *n, unsigned at, struct key k)
{
    size_t bytes = (n->count - at) * sizeof n->high[0];
    memmove(&n->high[at + 1], &n->high[at], bytes);
    memmove(&n->low[at + 1], &n->low[at], bytes);
    n->high[at] = k.high;
    n->low[at] = k.low;
}

/* Moves the keys from `keep` on to a new node; *up becomes its first. Of an inner node the key
 * that goes up leaves. */
static struct node *split(struct bench_map *map, struct node *n, unsigned keep, bool leaf,
                          struct key *up)
{
    struct node *right = node_new(map);
    if (right == NULL) {
        return NULL;
    }
    unsigned from = leaf ? keep : keep + 1;
    right->count = n->count - from;
    *up = (struct key){n->high[keep < n->count ? keep : n->count - 1],
                       n->low[keep < n->count ? keep : n->count - 1]};
    memcpy(right->high, &n->high[from], right->count * sizeof n->high[0]);
    memcpy(right->low, &n->low[from], right->count * sizeof n->low[0]);
    if (leaf) {
        memcpy(right->values, &n->values[from], right->count * sizeof n->values[0]);
        right->next = n->next;
        n->next = right;
    } else {
        memcpy(right->children, &n->children[from], (right->count + 1) * sizeof n->children[0]);
    }
    n->count = keep;
    return right;
}

static int new_root(struct bench_map *map, struct key up, struct node *right)
{
    struct node *root = node_new(map);
    if (root == NULL) {
        return -1;
    }
    root->count = 1;
    root->high[0] = up.high;
    root->low[0] = up.low;
    root->children[0] = map->root;
    root->children[1] = right;
    map->root = root;
    map->levels++;
    return 0;
}

/* Puts `right`, which begins with `up`, behind its left half in the nodes above. */
static int grow(struct bench_map *map, struct path *p, struct key up, struct node *right)
{
    for (unsigned level = map->levels; level-- > 0;) {
        struct node *n = p->node[level];
        unsigned at = p->at[level];
        struct node *half = NULL;
        struct key middle = {0, 0};
        if (n->count == SLOTS) {
            unsigned keep = at == SLOTS ? SLOTS - 2 : SLOTS / 2;
            half = split(map, n, keep, false, &middle);
            if (half == NULL) {
                return -1;
            }
            if (at > keep) {
                n = half;
                at -= keep + 1;
            }
        }
        open_slot(n, at, up);
        memmove(&n->children[at + 2], &n->children[at + 1],
                (n->count - at) * sizeof n->children[0]);
        n->children[at + 1] = right;
        n->count++;
        if (half == NULL) {
            return 0;
        }
        up = middle;
        right = half;
    }
    return new_root(map, up, right);
}

static struct node *descend(const struct bench_map *map, struct key k, struct path *p)
{
    struct node *n = map->root;
    for (unsigned level = 0; level < map->levels; level++) {
        unsigned at = below(n, k, true);
        if (p != NULL) {
            p->node[level] = n;
            p->at[level] = at;
        }
        n = n->children[at];
        fetch(n);
    }
    return n;
}

static int replace(struct bench_map *map, struct value **slot, const struct bench_item *item)
{
    if ((*slot)->room < item->value.len) {
        struct value *v = make_value(map, item);
        *slot = v != NULL ? v : *slot;
        return v != NULL ? 0 : -1;
    }
    (*slot)->len = (uint32_t)item->value.len;
    memcpy((*slot)->data, item->value.data, item->value.len);
    return 0;
}

int bench_map_put(struct bench_map *map, const struct bench_item *item)
{
    struct key k = key_of(item->key);
    struct path path;
    struct node *leaf = descend(map, k, &path), *right = NULL;
    struct key up = {0, 0};
    unsigned at = below(leaf, k, false);
    if (is_at(leaf, at, k)) {
        return replace(map, &leaf->values[at], item);
    }
    struct value *value = make_value(map, item);
    if (value == NULL) {
        return -1;
    }
    if (leaf->count == SLOTS) {
        /* Keys that come in order leave full leaves behind. */
        bool last = at == SLOTS && leaf->next == NULL;
        unsigned keep = last ? SLOTS : SLOTS / 2;
        right = split(map, leaf, keep, true, &up);
        if (right == NULL) {
            return -1;
        }
        up = last ? k : up;
        if (at > keep || last) {
            leaf = right;
            at -= keep;
        }
    }
    open_slot(leaf, at, k);
    memmove(&leaf->values[at + 1], &leaf->values[at],
            (leaf->count - at) * sizeof leaf->values[0]);
    leaf->values[at] = value;
    leaf->count++;
    return right != NULL ? grow(map, &path, up, right) : 0;
}

/* Leaves that become empty stay. */
bool bench_map_remove(struct bench_map *map, struct sop_slice key)
{
    struct key k = key_of(key);
    struct node *leaf = descend(map, k, NULL);
    unsigned at = below(leaf, k, false);
    if (!is_at(leaf, at, k)) {
        return false;
    }
    size_t bytes = (leaf->count - at - 1) * sizeof leaf->high[0];
    memmove(&leaf->high[at], &leaf->high[at + 1], bytes);
    memmove(&leaf->low[at], &leaf->low[at + 1], bytes);
    memmove(&leaf->values[at], &leaf->values[at + 1], bytes);
    leaf->count--;
    return true;
}

/* ---- reads ------------------------------------------------------------------------------ */

static void get_group(const struct bench_map *map, const struct bench_item *keys,
                      unsigned count, struct bench_seen *seen)
{
    struct key k[GROUP];
    const struct node *n[GROUP];
    const struct value *v[GROUP];
    for (unsigned i = 0; i < count; i++) {
        k[i] = key_of(keys[i].key);
        n[i] = map->root;
    }
    for (unsigned level = 0; level < map->levels; level++) {
        for (unsigned i = 0; i < count; i++) {
            n[i] = n[i]->children[below(n[i], k[i], true)];
            fetch(n[i]);
        }
    }
    for (unsigned i = 0; i < count; i++) {
        unsigned at = below(n[i], k[i], false);
        v[i] = is_at(n[i], at, k[i]) ? n[i]->values[at] : NULL;
        __builtin_prefetch(v[i]);
    }
    for (unsigned i = 0; i < count; i++) {
        if (v[i] != NULL) {
            bench_see(seen, keys[i].key.data, keys[i].key.len, v[i]->data, v[i]->len);
        } else {
            seen->missing++;
        }
    }
}

void bench_map_get(const struct bench_map *map, const struct bench_item *keys, size_t count,
                   struct bench_seen *seen)
{
    for (size_t at = 0; at < count; at += GROUP) {
        get_group(map, keys + at, count - at < GROUP ? (unsigned)(count - at) : GROUP, seen);
    }
}

void bench_map_scan(const struct bench_map *map, struct sop_slice from, size_t limit,
                    struct bench_seen *seen)
{
    struct key k = key_of(from);
    const struct node *n = descend(map, k, NULL);
    unsigned at = below(n, k, false);
    while (n != NULL && limit > 0) {
        __builtin_prefetch(n->next);
        for (; at < n->count && limit > 0; at++, limit--) {
            const struct value *v = n->values[at];
            if (at + AHEAD < n->count) {
                __builtin_prefetch(n->values[at + AHEAD]);
                __builtin_prefetch((const uint8_t *)n->values[at + AHEAD] + 64);
            }
            uint64_t key[2] = {__builtin_bswap64(n->high[at]), __builtin_bswap64(n->low[at])};
            bench_see(seen, key, v->key_len, v->data, v->len);
        }
        n = n->next;
        at = 0;
    }
}
