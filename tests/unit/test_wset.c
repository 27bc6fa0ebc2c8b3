/* The write set against a sorted array of the same keys. */
#include "engine/btree/wset.h"
#include "tests/lib/scale.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY_BYTES 40
#define KEYS_MAX  20000

struct key {
    size_t len;
    uint8_t bytes[KEY_BYTES];
};

/* The model: keys in order, beside the write set under test. */
struct kit {
    struct sop_wset_place stale;
    struct sop_arena arena;
    struct sop_order order;
    struct sop_wset *wset;
    struct key *keys; /* sorted */
    size_t count;
    uint64_t seed;
};

static const struct sop_order plain = {0};

static uint64_t next_random(uint64_t *seed)
{
    *seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t v = *seed;
    v = (v ^ (v >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    v = (v ^ (v >> 27)) * UINT64_C(0x94d049bb133111eb);
    return v ^ (v >> 31);
}

static size_t below(struct kit *k, size_t limit)
{
    return (size_t)(next_random(&k->seed) % limit);
}

static struct kit *kit_new(const struct sop_order *order, uint64_t seed)
{
    struct kit *k = calloc(1, sizeof *k);
    ck_assert_ptr_nonnull(k);
    sop_arena_init(&k->arena, 0);
    k->order = *order;
    k->seed = seed;
    k->keys = calloc(KEYS_MAX, sizeof *k->keys);
    ck_assert_ptr_nonnull(k->keys);
    ck_assert_int_eq(sop_wset_new(&k->wset, &k->arena, &k->order, NULL), 0);
    return k;
}

static void kit_free(struct kit *k)
{
    sop_wset_check(k->wset);
    ck_assert_uint_eq(sop_wset_count(k->wset), k->count);
    sop_arena_fini(&k->arena);
    free(k->keys);
    free(k);
}

static struct sop_slice slice_of(const struct key *key)
{
    return sop_slice(key->bytes, key->len);
}

/* First model index with a key >= this one. */
static size_t model_bound(const struct kit *k, const struct key *key, bool *exact)
{
    size_t low = 0;
    size_t high = k->count;
    *exact = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = sop_order_cmp(&k->order, slice_of(&k->keys[middle]), slice_of(key));
        if (order == 0) {
            *exact = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Puts into both; they must agree on whether it was there. */
static struct sop_cell *put(struct kit *k, const struct key *key)
{
    bool exact;
    size_t at = model_bound(k, key, &exact);
    struct sop_cell *cell = NULL;
    bool added = false;
    struct sop_wset_place place = k->stale; /* of another key, before a cell was added */
    struct sop_wset_place other;
    if (k->count % 3 != 0) { /* most puts come after a look-up, of the same key or near it */
        struct sop_cell *found = sop_wset_locate(k->wset, slice_of(key), &place);
        ck_assert((found != NULL) == exact);
        if (k->count % 3 == 2 && at < k->count) {
            ck_assert_ptr_nonnull(sop_wset_locate(k->wset, slice_of(&k->keys[at]), &other));
        }
    }
    struct sop_wset_want want = {.key = slice_of(key), .room = k->count % 5, .place = &place};
    ck_assert_int_eq(sop_wset_want(k->wset, &want, &cell, &added, NULL), 0);
    if (added) {
        k->stale = place;
        memset(sop_cell_room(cell), 0xee, want.room);
    }
    ck_assert_ptr_nonnull(cell);
    ck_assert(added == !exact);
    ck_assert(sop_slice_eq(cell->key, exact ? slice_of(&k->keys[at]) : slice_of(key)));
    ck_assert_ptr_ne(cell->key.data, key->bytes);
    if (!exact) {
        ck_assert_uint_lt(k->count, KEYS_MAX);
        memmove(k->keys + at + 1, k->keys + at, (k->count - at) * sizeof *k->keys);
        k->keys[at] = *key;
        k->count++;
    }
    return cell;
}

/* cell is model key `at`, or NULL if there is no such. */
static void same(const struct kit *k, const struct sop_cell *cell, size_t at)
{
    if (at >= k->count) {
        ck_assert_ptr_null(cell);
    } else {
        ck_assert_ptr_nonnull(cell);
        ck_assert(sop_slice_eq(cell->key, slice_of(&k->keys[at])));
    }
}

/* Everything a cursor and find can say about one key. */
static void compare_at(struct kit *k, const struct key *key)
{
    bool exact;
    size_t at = model_bound(k, key, &exact);
    struct sop_cell *found = sop_wset_find(k->wset, slice_of(key));
    ck_assert_int_eq(found != NULL, exact);
    struct sop_wset_cursor c;
    sop_wset_cursor_init(&c, k->wset);
    same(k, sop_wset_seek(&c, slice_of(key)), at);
    if (exact) {
        ck_assert_ptr_eq(found, c.cell);
    }
    if (c.cell != NULL) {
        same(k, sop_wset_next(&c), at + 1);
    }
    size_t floor = exact ? at : at - 1; /* wraps to "none" */
    same(k, sop_wset_floor(&c, slice_of(key)), floor);
    if (c.cell != NULL) {
        same(k, sop_wset_prev(&c), floor - 1);
    }
}

static void compare_all(struct kit *k)
{
    struct sop_wset_cursor c;
    sop_wset_cursor_init(&c, k->wset);
    size_t at = 0;
    for (struct sop_cell *cell = sop_wset_first(&c); cell != NULL; cell = sop_wset_next(&c)) {
        same(k, cell, at++);
    }
    ck_assert_uint_eq(at, k->count);
    ck_assert_ptr_null(sop_wset_next(&c));
    for (struct sop_cell *cell = sop_wset_last(&c); cell != NULL; cell = sop_wset_prev(&c)) {
        same(k, cell, --at);
    }
    ck_assert_uint_eq(at, 0);
    ck_assert_ptr_null(sop_wset_prev(&c));
}

static struct key key_text(const char *prefix, int digits, uint64_t number)
{
    struct key key;
    char text[KEY_BYTES + 1];
    int len = snprintf(text, sizeof text, "%s%0*" PRIu64, prefix, digits, number);
    ck_assert(len > 0 && len <= KEY_BYTES);
    key.len = (size_t)len;
    memcpy(key.bytes, text, key.len);
    return key;
}

/* Few letters, so that prefixes, ties and the empty key are common; zero bytes included. */
static struct key key_random(struct kit *k)
{
    static const uint8_t letters[] = {0, 0, 1, 'a', 'a', 'a', 0xFF};
    struct key key = {.len = below(k, KEY_BYTES + 1)};
    if (below(k, 2) == 0) {
        key.len = below(k, 6);
    }
    size_t plain_bytes = below(k, key.len + 1);
    for (size_t i = 0; i < key.len; i++) {
        key.bytes[i] = i < plain_bytes ? 'a' : letters[below(k, sizeof letters)];
    }
    return key;
}

/* The kinds of key sequences that take different ways through the code. */
static struct key key_of_kind(struct kit *k, int kind, size_t i)
{
    switch (kind) {
    case 0:
        return key_random(k);
    case 1:
        return key_text("key_", 1, below(k, 100000));
    case 2:
        return key_text("tenant/orders/", 12, i); /* ascending, long common prefix */
    case 3:
        return key_text("tenant/orders/", 12, KEYS_MAX - i); /* descending */
    case 4: /* the common prefix shrinks now and then */
        return i % 500 == 499 ? key_text("tenant/", 1, below(k, 1000))
                              : key_text("tenant/orders/", 12, below(k, 1000000));
    default: /* ascending runs at random places */
        return key_text("", 20, (i / 100) * 7919 % 200 * 1000 + i % 100);
    }
}
#define KINDS 6

START_TEST(agrees_with_sorted_array)
{
    struct kit *k = kit_new(&plain, (uint64_t)_i + 1);
    size_t puts = test_scale(3000, 12000, 19000);
    for (size_t i = 0; i < puts; i++) {
        struct key key = key_of_kind(k, _i, i);
        put(k, &key);
        if (i % 16 == 0) {
            key = key_of_kind(k, _i, below(k, puts));
            compare_at(k, &key);
            key = key_random(k);
            compare_at(k, &key);
        }
        if (i % 1024 == 0) {
            sop_wset_check(k->wset);
        }
    }
    for (size_t i = 0; i < k->count; i++) {
        compare_at(k, &k->keys[i]);
    }
    compare_all(k);
    kit_free(k);
}
END_TEST

/* Reverse order of bytes, shorter first in ties. */
static int backwards(void *arg, struct sop_slice a, struct sop_slice b)
{
    ++*(size_t *)arg;
    return sop_slice_cmp(b, a);
}

START_TEST(comparer_decides_the_order)
{
    size_t calls = 0;
    struct sop_order order = {
        .compare = backwards, .arg = &calls, .id_bytes = (uint32_t)_i * 24};
    struct kit *k = kit_new(&order, 77);
    for (size_t i = 0; i < 3000; i++) {
        struct key key = key_text("k", 1, below(k, 500));
        if (order.id_bytes != 0) { /* equal keys with different ids */
            uint64_t id = below(k, 10);
            memset(key.bytes + key.len, 0, 24);
            memcpy(key.bytes + key.len, &id, sizeof id);
            key.len += 24;
        }
        put(k, &key);
        compare_at(k, &key);
    }
    ck_assert_uint_gt(calls, 0);
    ck_assert_uint_gt(k->count, 400);
    compare_all(k);
    kit_free(k);
}
END_TEST

/* A walk while keys arrive sees, in order, every key that was there before it came by. */
START_TEST(cursor_survives_puts)
{
    struct kit *k = kit_new(&plain, 5);
    for (size_t i = 0; i < 1000; i++) {
        struct key key = key_text("key_", 1, below(k, 1000000));
        put(k, &key);
    }
    struct sop_wset_cursor up;
    struct sop_wset_cursor down;
    sop_wset_cursor_init(&up, k->wset);
    sop_wset_cursor_init(&down, k->wset);
    struct sop_cell *low = sop_wset_first(&up);
    struct sop_cell *high = sop_wset_last(&down);
    size_t steps = 0;
    while (low != NULL && high != NULL) {
        struct key at_low = {.len = low->key.len};
        memcpy(at_low.bytes, low->key.data, low->key.len);
        struct key at_high = {.len = high->key.len};
        memcpy(at_high.bytes, high->key.data, high->key.len);
        for (size_t i = 0; i < steps % 4 && k->count < 10000; i++) {
            struct key key = key_text("key_", 1, below(k, 1000000));
            put(k, &key);
        }
        bool exact;
        size_t at = model_bound(k, &at_low, &exact);
        ck_assert(exact);
        low = sop_wset_next(&up);
        same(k, low, at + 1);
        at = model_bound(k, &at_high, &exact);
        ck_assert(exact);
        high = sop_wset_prev(&down);
        same(k, high, at - 1);
        steps++;
    }
    ck_assert_uint_gt(steps, 1000);
    kit_free(k);
}
END_TEST

START_TEST(cells_keep_their_address_and_content)
{
    struct kit *k = kit_new(&plain, 6);
    struct key first = key_text("key_", 1, 500);
    struct sop_cell *cell = put(k, &first);
    ck_assert_uint_eq(cell->ride.len, 0);
    ck_assert_uint_eq(cell->change, 0);
    ck_assert_ptr_null(cell->old_place);
    const uint8_t *key_data = cell->key.data;
    cell->value = sop_slice_str("value");
    cell->ride = sop_slice_str("ride");
    cell->change = SOP_CHANGE_UPSERT;
    size_t key_bytes = first.len;
    for (size_t i = 0; i < 5000; i++) {
        struct key key = key_text("key_", 1, 1000 + i * 7919 % 5000);
        key_bytes += key.len;
        put(k, &key);
    }
    struct sop_cell *again = put(k, &first);
    ck_assert_ptr_eq(again, cell);
    ck_assert_ptr_eq(again->key.data, key_data);
    ck_assert_int_eq(again->change, SOP_CHANGE_UPSERT);
    ck_assert(sop_slice_eq(again->value, sop_slice_str("value")));
    ck_assert_uint_eq(sop_wset_bytes(k->wset), key_bytes + 4 + 5);
    kit_free(k);
}
END_TEST

START_TEST(empty_set_has_no_cells)
{
    struct kit *k = kit_new(&plain, 7);
    struct key key = key_text("key_", 1, 1);
    struct sop_wset_cursor c;
    sop_wset_cursor_init(&c, k->wset);
    ck_assert_ptr_null(sop_wset_next(&c));
    ck_assert_ptr_null(sop_wset_prev(&c));
    ck_assert_ptr_null(sop_wset_first(&c));
    ck_assert_ptr_null(sop_wset_last(&c));
    ck_assert_ptr_null(sop_wset_seek(&c, slice_of(&key)));
    ck_assert_ptr_null(sop_wset_floor(&c, slice_of(&key)));
    ck_assert_ptr_null(sop_wset_find(k->wset, slice_of(&key)));
    ck_assert_uint_eq(sop_wset_bytes(k->wset), 0);
    put(k, &key);
    key.len = 0; /* the empty key is a key */
    put(k, &key);
    compare_all(k);
    compare_at(k, &key);
    kit_free(k);
}
END_TEST

/* The budget is raised a little after each failure, so every allocation of every kind of put
 * fails at some time; each time the tree must be whole and a retry must work. */
START_TEST(survives_exhaustion_at_every_allocation)
{
    struct kit *k = kit_new(&plain, 8);
    k->arena.budget = k->arena.used;
    size_t failures = 0;
    for (size_t i = 0; i < 2500; i++) {
        struct key key = key_of_kind(k, _i, i);
        struct sop_cell *cell;
        bool added;
        struct sop_err err = {0};
        for (;;) {
            size_t before = sop_wset_count(k->wset);
            int rc = sop_wset_put(k->wset, slice_of(&key), &cell, &added, &err);
            if (rc == 0) {
                break;
            }
            ck_assert_int_eq(rc, SOP_ERR_NOMEM);
            ck_assert_ptr_null(cell);
            ck_assert(!added);
            ck_assert_uint_eq(sop_wset_count(k->wset), before);
            if (failures++ % 64 == 0) {
                sop_wset_check(k->wset);
            }
            compare_at(k, &key);
            k->arena.budget = k->arena.used + 24 + below(k, 2000);
        }
        bool exact;
        size_t at = model_bound(k, &key, &exact);
        ck_assert(added == !exact);
        if (!exact) {
            memmove(k->keys + at + 1, k->keys + at, (k->count - at) * sizeof *k->keys);
            k->keys[at] = key;
            k->count++;
        }
    }
    ck_assert_uint_gt(failures, 100);
    compare_all(k);
    kit_free(k);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("wset");
    TCase *t = tcase_create("wset");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, agrees_with_sorted_array, 0, KINDS);
    tcase_add_loop_test(t, comparer_decides_the_order, 0, 2);
    tcase_add_test(t, cursor_survives_puts);
    tcase_add_test(t, cells_keep_their_address_and_content);
    tcase_add_test(t, empty_set_has_no_cells);
    tcase_add_loop_test(t, survives_exhaustion_at_every_allocation, 0, KINDS);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
