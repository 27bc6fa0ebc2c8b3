/* Scripts: building them, running their steps, comparing a database with them. */
#include "tests/lib/script.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define VALUE_BYTES_MAX 20000u
#define KEY_BYTES_MAX   128u

static const char *const store_names[SCRIPT_STORES] = {"tiny", "plain", "medium",
                                                       "big",  "many",  "wide"};

static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* ---- time and randomness ------------------------------------------------------------------
 */

static uint64_t env_mono(struct sop_env *e)
{
    return ((struct script_env *)e)->now_ns += 1000;
}
static uint64_t env_wall(struct sop_env *e)
{
    (void)e;
    return 1700000000000u;
}
static void env_sleep(struct sop_env *e, uint64_t ns)
{
    ((struct script_env *)e)->now_ns += ns;
}
static void env_random(struct sop_env *e, void *to, size_t len)
{
    uint8_t *at = to;
    for (size_t i = 0; i < len; i++) {
        at[i] = (uint8_t)draw(&((struct script_env *)e)->random);
    }
}

void script_env_init(struct script_env *env, uint64_t seed)
{
    static const struct sop_env_ops ops = {
        .mono_ns = env_mono, .wall_ms = env_wall, .sleep_ns = env_sleep, .random = env_random};
    *env = (struct script_env){.base.ops = &ops, .now_ns = 1000000000u, .random = seed};
}

/* ---- keys and values -----------------------------------------------------------------------
 */

static struct sop_slice key_of(unsigned key, char to[KEY_BYTES_MAX])
{
    int n = snprintf(to, KEY_BYTES_MAX, "key-%05u%s", key,
                     key % 7 == 0 ? "-with-a-tail-that-makes-it-much-longer-than-others" : "");
    return sop_slice(to, (size_t)n);
}

static unsigned number_of(struct sop_slice key)
{
    unsigned n = 0;
    for (size_t i = 4; i < 9 && i < key.len; i++) {
        n = n * 10 + (unsigned)(key.data[i] - '0');
    }
    return n;
}

static size_t value_bytes(unsigned store, unsigned key, unsigned version)
{
    switch (store) {
    case SCRIPT_TINY:
        return key % 40;
    case SCRIPT_MEDIUM:
        return 200 + (key * 37 + version * 11) % 3000;
    case SCRIPT_BIG:
        return 3000 + (key * 371 + version * 113) % 12000;
    case SCRIPT_WIDE:
        return 15000;
    default:
        return 60 + (key + version) % 50;
    }
}

static struct sop_slice value_of(unsigned store, unsigned key, unsigned version, uint8_t *to)
{
    uint64_t state = ((uint64_t)store << 48) ^ ((uint64_t)key << 32) ^ version;
    size_t len = value_bytes(store, key, version);
    for (size_t i = 0; i < len; i += 8) {
        uint64_t word = draw(&state);
        memcpy(to + i, &word, len - i < 8 ? len - i : 8);
    }
    return sop_slice(to, len);
}

/* ---- building ------------------------------------------------------------------------------
 */

static void *grow(void *at, size_t count, size_t *cap, size_t each)
{
    if (count < *cap) {
        return at;
    }
    *cap = *cap == 0 ? 16 : *cap * 2;
    at = realloc(at, *cap * each);
    if (at == NULL) {
        abort();
    }
    return at;
}

static void step(struct script *s, enum script_do what)
{
    s->steps = grow(s->steps, s->steps_count, &s->steps_cap, sizeof *s->steps);
    s->steps[s->steps_count++] = (struct script_step){.what = what, .txn = s->txns_count};
}

/* A new transaction, that the calls after it fill. */
static void txn(struct script *s)
{
    step(s, SCRIPT_TXN);
    s->txns = grow(s->txns, s->txns_count, &s->txns_cap, sizeof *s->txns);
    s->txns[s->txns_count++] = (struct script_txn){0};
}

static void apply_op(struct script_state *state, const struct script_op *op, uint32_t number)
{
    switch (op->what) {
    case SCRIPT_PUT:
        state->version[op->store][op->key] = number;
        break;
    case SCRIPT_DEL:
        state->version[op->store][op->key] = 0;
        break;
    default:
        state->exists[op->store] = op->what == SCRIPT_CREATE;
        memset(state->version[op->store], 0, sizeof state->version[op->store]);
        break;
    }
}

static void op(struct script *s, enum script_what what, unsigned store, unsigned key)
{
    struct script_txn *t = &s->txns[s->txns_count - 1];
    if (what == SCRIPT_DEL && s->state.version[store][key] == 0) {
        return;
    }
    if (what == SCRIPT_PUT && !s->state.exists[store]) {
        op(s, SCRIPT_CREATE, store, 0);
    }
    t->ops = grow(t->ops, t->count, &t->cap, sizeof *t->ops);
    t->ops[t->count] = (struct script_op){
        .what = (uint8_t)what, .store = (uint8_t)store, .key = (uint16_t)key};
    apply_op(&s->state, &t->ops[t->count++], (uint32_t)s->txns_count);
}

/* Transactions of `each` keys, `stride` apart, over [from, to). */
static void spread(struct script *s, enum script_what what, unsigned store, unsigned from,
                   unsigned to, unsigned each)
{
    unsigned n = to - from;
    unsigned stride = n > 64 ? 37 : 1;
    for (unsigned i = 0; i < n; i++) {
        if (i % each == 0) {
            txn(s);
        }
        op(s, what, store, from + i * stride % n);
    }
}

static void reopen(struct script *s)
{
    step(s, SCRIPT_CLOSE);
    step(s, SCRIPT_OPEN);
}

static void random_txn(struct script *s, unsigned stores, unsigned keys, unsigned most)
{
    unsigned n = 1 + (unsigned)(draw(&s->random) % most);
    txn(s);
    for (unsigned i = 0; i < n; i++) {
        unsigned store = (unsigned)(draw(&s->random) % stores);
        unsigned key = (unsigned)(draw(&s->random) % keys);
        unsigned what = (unsigned)(draw(&s->random) % 64);
        if (what == 0 && s->state.exists[store]) {
            op(s, SCRIPT_DROP, store, 0);
            return; /* nothing else in this one: the name is free again afterwards */
        }
        op(s, what < 20 ? SCRIPT_DEL : SCRIPT_PUT, store, key);
    }
}

/* ---- the scripts ---------------------------------------------------------------------------
 */

static void build_create(struct script *s)
{
    for (int i = 0; i < 3; i++) {
        reopen(s);
        spread(s, SCRIPT_PUT, SCRIPT_TINY, (unsigned)i, (unsigned)i + 1, 1);
    }
}

static void build_load(struct script *s)
{
    spread(s, SCRIPT_PUT, SCRIPT_TINY, 0, 240, 20);
    spread(s, SCRIPT_PUT, SCRIPT_MANY, 0, 40, 10);
    step(s, SCRIPT_CHECKPOINT);
    spread(s, SCRIPT_PUT, SCRIPT_TINY, 100, 200, 25);
}

static void build_merge(struct script *s)
{
    spread(s, SCRIPT_PUT, SCRIPT_TINY, 0, 200, 100);
    step(s, SCRIPT_CHECKPOINT);
    spread(s, SCRIPT_DEL, SCRIPT_TINY, 0, 120, 15);
    step(s, SCRIPT_CHECKPOINT);
    spread(s, SCRIPT_DEL, SCRIPT_TINY, 100, 200, 20);
    reopen(s);
    spread(s, SCRIPT_PUT, SCRIPT_TINY, 50, 60, 10);
}

static void build_checkpoint(struct script *s)
{
    for (unsigned i = 0; i < 8; i++) {
        random_txn(s, 2, 60, 12);
        random_txn(s, 2, 60, 12);
        step(s, i % 3 == 2 ? SCRIPT_MAINTAIN : SCRIPT_CHECKPOINT);
    }
    step(s, SCRIPT_CHECKPOINT);
    step(s, SCRIPT_CHECKPOINT);
}

static void build_roll(struct script *s)
{
    for (unsigned i = 0; i < 22; i++) {
        random_txn(s, 1, 10, 2);
        if (i % 3 == 1) {
            step(s, SCRIPT_CHECKPOINT);
        }
        reopen(s);
    }
    step(s, SCRIPT_CHECKPOINT);
    step(s, SCRIPT_CHECKPOINT);
}

static void build_values(struct script *s)
{
    spread(s, SCRIPT_PUT, SCRIPT_MEDIUM, 0, 20, 5);
    spread(s, SCRIPT_PUT, SCRIPT_BIG, 0, 6, 2);
    step(s, SCRIPT_ROLLBACK);
    spread(s, SCRIPT_PUT, SCRIPT_MEDIUM, 5, 15, 5);
    step(s, SCRIPT_CHECKPOINT);
    spread(s, SCRIPT_PUT, SCRIPT_BIG, 2, 6, 2);
    spread(s, SCRIPT_DEL, SCRIPT_MEDIUM, 0, 10, 10);
    reopen(s);
    spread(s, SCRIPT_PUT, SCRIPT_BIG, 0, 3, 1);
    step(s, SCRIPT_CHECKPOINT);
    spread(s, SCRIPT_PUT, SCRIPT_MEDIUM, 0, 5, 5);
}

static void build_compact(struct script *s)
{
    spread(s, SCRIPT_PUT, SCRIPT_MEDIUM, 0, 30, 10);
    spread(s, SCRIPT_PUT, SCRIPT_PLAIN, 0, 60, 30);
    step(s, SCRIPT_CHECKPOINT);
    reopen(s);
    spread(s, SCRIPT_PUT, SCRIPT_MEDIUM, 0, 24, 12);
    spread(s, SCRIPT_DEL, SCRIPT_PLAIN, 0, 40, 20);
    step(s, SCRIPT_CHECKPOINT);
    step(s, SCRIPT_COMPACT);
    spread(s, SCRIPT_PUT, SCRIPT_MEDIUM, 0, 6, 6);
    step(s, SCRIPT_COMPACT);
}

static void build_drop(struct script *s)
{
    spread(s, SCRIPT_PUT, SCRIPT_PLAIN, 0, 60, 30);
    spread(s, SCRIPT_PUT, SCRIPT_MEDIUM, 0, 12, 12);
    spread(s, SCRIPT_PUT, SCRIPT_TINY, 0, 10, 10);
    step(s, SCRIPT_CHECKPOINT);
    txn(s);
    op(s, SCRIPT_DROP, SCRIPT_PLAIN, 0);
    step(s, SCRIPT_MAINTAIN);
    txn(s);
    op(s, SCRIPT_DROP, SCRIPT_MEDIUM, 0);
    op(s, SCRIPT_PUT, SCRIPT_TINY, 3);
    spread(s, SCRIPT_PUT, SCRIPT_PLAIN, 0, 10, 10);
    step(s, SCRIPT_CHECKPOINT);
    step(s, SCRIPT_MAINTAIN);
    reopen(s);
    step(s, SCRIPT_MAINTAIN);
    step(s, SCRIPT_CHECKPOINT);
    step(s, SCRIPT_COMPACT);
}

/* Records that fill journal files, and one that needs a file of its own. */
static void build_journal(struct script *s)
{
    spread(s, SCRIPT_PUT, SCRIPT_WIDE, 0, 60, 20);
    step(s, SCRIPT_MAINTAIN);
    spread(s, SCRIPT_PUT, SCRIPT_WIDE, 0, 90, 90);
    spread(s, SCRIPT_PUT, SCRIPT_WIDE, 0, 10, 5);
    step(s, SCRIPT_CHECKPOINT);
    spread(s, SCRIPT_DEL, SCRIPT_WIDE, 0, 80, 40);
    step(s, SCRIPT_CHECKPOINT);
    step(s, SCRIPT_CHECKPOINT);
    spread(s, SCRIPT_PUT, SCRIPT_WIDE, 0, 5, 5);
}

/* Large records in a row, which go into files with reserved room; small ones in between, and
 * enough of them to lead back. */
static void build_bulk(struct script *s)
{
    spread(s, SCRIPT_PUT, SCRIPT_WIDE, 0, 120, 30);
    spread(s, SCRIPT_PUT, SCRIPT_TINY, 0, 2, 1);
    spread(s, SCRIPT_PUT, SCRIPT_WIDE, 0, 30, 30);
    spread(s, SCRIPT_PUT, SCRIPT_TINY, 0, 10, 1);
    step(s, SCRIPT_CHECKPOINT);
    spread(s, SCRIPT_PUT, SCRIPT_WIDE, 0, 60, 30);
    reopen(s);
    spread(s, SCRIPT_PUT, SCRIPT_WIDE, 0, 90, 30);
}

static void build_relaxed(struct script *s)
{
    for (unsigned i = 0; i < 12; i++) {
        random_txn(s, 4, 40, 8);
        random_txn(s, 4, 40, 8);
        if (i % 3 == 0) {
            step(s, SCRIPT_SYNC);
        } else if (i % 3 == 1) {
            step(s, i == 4 ? SCRIPT_CHECKPOINT : SCRIPT_MAINTAIN);
        }
        if (i == 7) {
            reopen(s);
        }
    }
}

static void build_mixed(struct script *s)
{
    static const enum script_do rest[] = {SCRIPT_CHECKPOINT, SCRIPT_MAINTAIN, SCRIPT_COMPACT,
                                          SCRIPT_ROLLBACK,   SCRIPT_CLOSE,    SCRIPT_VERIFY};
    for (unsigned i = 0; i < 40; i++) {
        uint64_t what = draw(&s->random) % 20;
        if (what < SOP_ARRAY_LEN(rest) && rest[what] == SCRIPT_CLOSE) {
            reopen(s);
        } else if (what < SOP_ARRAY_LEN(rest)) {
            step(s, rest[what]);
        } else {
            random_txn(s, 5, 80, 20);
        }
    }
}

static const struct {
    const char *name;
    void (*build)(struct script *s);
    enum sop_durability durability;
    uint32_t slot_length, dir_slots;
    uint64_t checkpoint_bytes;
} scripts[] = {
    {"create", build_create, SOP_DURABLE_COMMIT, 4, 8, 1 << 20},
    {"load", build_load, SOP_DURABLE_COMMIT, 4, 8, 1 << 20},
    {"merge", build_merge, SOP_DURABLE_COMMIT, 4, 8, 1 << 20},
    {"checkpoint", build_checkpoint, SOP_DURABLE_COMMIT, 6, 8, 1},
    {"roll", build_roll, SOP_DURABLE_COMMIT, 8, 8, 1 << 20},
    {"values", build_values, SOP_DURABLE_COMMIT, 4, 8, 1 << 20},
    {"compact", build_compact, SOP_DURABLE_COMMIT, 8, 8, 1 << 20},
    {"drop", build_drop, SOP_DURABLE_COMMIT, 4, 8, 1 << 20},
    {"journal", build_journal, SOP_DURABLE_COMMIT, 16, 8, 1 << 30},
    {"bulk", build_bulk, SOP_DURABLE_COMMIT, 16, 8, 1 << 30},
    {"interval", build_relaxed, SOP_DURABLE_INTERVAL, 6, 8, 1 << 20},
    {"none", build_relaxed, SOP_DURABLE_NONE, 6, 8, 1 << 20},
    {"mixed", build_mixed, SOP_DURABLE_COMMIT, 4, 8, 40000},
};

size_t script_count(void)
{
    return SOP_ARRAY_LEN(scripts);
}

const char *script_name(size_t which)
{
    return scripts[which].name;
}

bool script_wanted(size_t which)
{
    const char *only = getenv("SOP_TEST_SCRIPT");
    return only == NULL || strcmp(only, scripts[which].name) == 0;
}

void script_init(struct script *s, size_t which, uint64_t seed)
{
    memset(s, 0, sizeof *s);
    s->name = scripts[which].name;
    s->durability = scripts[which].durability;
    s->slot_length = scripts[which].slot_length;
    s->dir_slots = scripts[which].dir_slots;
    s->checkpoint_bytes = scripts[which].checkpoint_bytes;
    s->random = seed;
    step(s, SCRIPT_OPEN);
    scripts[which].build(s);
    step(s, SCRIPT_CLOSE);
}

void script_fini(struct script *s)
{
    for (size_t i = 0; i < s->txns_count; i++) {
        free(s->txns[i].ops);
    }
    free(s->txns);
    free(s->steps);
}

void script_state_after(const struct script *s, uint64_t n, struct script_state *state)
{
    memset(state, 0, sizeof *state);
    for (uint64_t i = 0; i < n; i++) {
        for (size_t k = 0; k < s->txns[i].count; k++) {
            apply_op(state, &s->txns[i].ops[k], (uint32_t)i + 1);
        }
    }
}

/* ---- running -------------------------------------------------------------------------------
 */

void script_world_init(struct script_world *w, const struct script *s, struct sop_volume *v,
                       uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->script = s;
    w->volume = v;
    script_env_init(&w->env, seed);
}

void script_world_fini(struct script_world *w)
{
    sop_db_abandon(&w->db);
}

int script_open(struct script_world *w, bool create, struct sop_err *err)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = create;
    o.manual = true;
    o.durability = w->script->durability;
    o.cache_bytes = 8u << 20;
    o.checkpoint_bytes = w->script->checkpoint_bytes;
    return sop_db_open_on(&w->db, w->volume, &w->env.base, &o, w->script->dir_slots, err);
}

static int make_store(struct script_world *w, struct sop_txn *t, unsigned store,
                      struct sop_err *err)
{
    static const enum sop_value_class classes[SCRIPT_STORES] = {
        SOP_VALUES_SMALL, SOP_VALUES_SMALL, SOP_VALUES_MEDIUM,
        SOP_VALUES_BIG,   SOP_VALUES_SMALL, SOP_VALUES_SMALL};
    struct sop_store_options o;
    struct sop_store *made = NULL;
    sop_store_options_init(&o);
    o.slot_length = w->script->slot_length;
    o.values = classes[store];
    o.unique = store != SCRIPT_MANY;
    return sop_store_create(&made, t, store_names[store], &o, err);
}

static int put_streamed(struct sop_store *store, const struct sop_entry *e, struct sop_err *err)
{
    struct sop_value_writer *out = NULL;
    int rc = sop_value_create(&out, store, SOP_PUT_UPSERT, e, err);
    for (size_t at = 0; at < e->value.len && rc == 0; at += 2500) {
        size_t len = e->value.len - at < 2500 ? e->value.len - at : 2500;
        rc = sop_value_write(out, sop_slice(e->value.data + at, len), err);
    }
    if (rc == 0) {
        return sop_value_finish(&out, err);
    }
    sop_value_abort(&out);
    return rc;
}

static int do_op(struct script_world *w, struct sop_txn *t, const struct script_op *o,
                 uint32_t number, struct sop_err *err)
{
    static uint8_t bytes[VALUE_BYTES_MAX];
    char key[KEY_BYTES_MAX];
    struct sop_store *store = NULL;
    if (o->what == SCRIPT_CREATE) {
        return make_store(w, t, o->store, err);
    }
    if (o->what == SCRIPT_DROP) {
        return sop_store_remove(t, store_names[o->store], err);
    }
    int rc = sop_store_open(&store, t, store_names[o->store], err);
    if (rc != 0) {
        return rc;
    }
    struct sop_entry e = {.key = key_of(o->key, key)};
    if (o->what == SCRIPT_DEL) {
        return sop_remove(store, e.key, err);
    }
    e.value = value_of(o->store, o->key, number, bytes);
    if (o->store == SCRIPT_BIG) {
        return put_streamed(store, &e, err);
    }
    return sop_upsert(store, &e, err);
}

static int put_number(struct sop_txn *t, const char *name, uint64_t number, struct sop_err *err)
{
    struct sop_store *store = NULL;
    struct sop_err why = {0};
    int rc = sop_store_open(&store, t, name, &why);
    if (rc == SOP_ERR_NOT_FOUND) {
        rc = sop_store_create(&store, t, name, NULL, err);
    } else if (rc != 0) {
        *err = why;
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_entry e = {.key = sop_slice_str("number"),
                          .value = sop_slice(&number, sizeof number)};
    return sop_upsert(store, &e, err);
}

static int work(struct script_world *w, struct sop_txn *t, size_t index, struct sop_err *err)
{
    const struct script_txn *x = &w->script->txns[index];
    int rc = 0;
    for (size_t i = 0; i < x->count && rc == 0; i++) {
        rc = do_op(w, t, &x->ops[i], (uint32_t)index + 1, err);
    }
    return rc == 0 ? put_number(t, "seq", index + 1, err) : rc;
}

static int run_txn(struct script_world *w, size_t index, bool commit, struct sop_err *err)
{
    struct sop_txn *t = NULL;
    memset(&w->last, 0, sizeof w->last);
    int rc = sop_txn_begin(&t, w->db, NULL, err);
    if (rc != 0) {
        return rc;
    }
    rc = work(w, t, index, err);
    if (rc != 0 || !commit) {
        sop_txn_rollback(&t);
        return rc;
    }
    uint64_t number = index + 1;
    w->attempted = number > w->attempted ? number : w->attempted;
    rc = sop_txn_commit(&t, &w->last, err);
    ck_assert_ptr_null(t);
    if (rc == 0) {
        ck_assert_uint_eq(w->acked + 1, number);
        w->acked = number;
        if (w->script->durability == SOP_DURABLE_COMMIT) {
            w->synced = number;
        }
    }
    return rc;
}

int script_step(struct script_world *w, size_t at, struct sop_err *err)
{
    const struct script_step *x = &w->script->steps[at];
    struct sop_verify_result result;
    int rc = 0;
    switch (x->what) {
    case SCRIPT_OPEN:
        rc = script_open(w, !w->made, err);
        w->made = w->made || rc == 0;
        break;
    case SCRIPT_CLOSE:
        rc = sop_db_close(&w->db, err);
        ck_assert_ptr_null(w->db);
        w->synced = rc == 0 ? w->acked : w->synced;
        break;
    case SCRIPT_TXN:
        return run_txn(w, x->txn, true, err);
    case SCRIPT_ROLLBACK:
        return x->txn < w->script->txns_count ? run_txn(w, x->txn, false, err) : 0;
    case SCRIPT_CHECKPOINT:
        rc = sop_db_checkpoint(w->db, err);
        w->synced = rc == 0 ? w->acked : w->synced;
        break;
    case SCRIPT_MAINTAIN:
        w->env.now_ns += 1000000000u;
        rc = sop_maintain(w->db, err);
        break;
    case SCRIPT_SYNC:
        rc = sop_db_sync(w->db, err);
        w->synced = rc == 0 ? w->acked : w->synced;
        break;
    case SCRIPT_COMPACT:
        rc = sop_db_compact(w->db, err);
        break;
    case SCRIPT_VERIFY:
        rc = sop_db_verify(w->db, true, NULL, NULL, NULL, &result, err);
        break;
    }
    return rc;
}

/* ---- comparing -----------------------------------------------------------------------------
 */

void script_typed(int rc, const struct sop_err *err, const char *context)
{
    if (rc == 0) {
        return;
    }
    ck_assert_msg(strcmp(sop_err_name(rc), "?") != 0, "%s: code %d is not in the table: %s",
                  context, rc, err->text);
    ck_assert_msg(err->code == rc, "%s: %s returned, but the error says %s: %s", context,
                  sop_err_name(rc), sop_err_name(err->code), err->text);
    ck_assert_msg(err->text[0] != 0, "%s: %s without a text", context, sop_err_name(rc));
}

/* One comparison: who asks, and where it is. */
struct compare {
    struct sop_txn *txn;
    const struct script_state *state;
    const char *context;
    unsigned listed;
    struct sop_err err;
};

#define FINE(c, call)                                                                          \
    do {                                                                                       \
        int fine_rc_ = (call);                                                                 \
        ck_assert_msg(fine_rc_ == 0, "%s: %s: %s: %s", (c)->context, #call,                    \
                      sop_err_name(fine_rc_), (c)->err.text);                                  \
    } while (0)

static uint64_t get_number(struct compare *c, const char *name)
{
    struct sop_store *store = NULL;
    struct sop_view view;
    uint64_t number = 0;
    int rc = sop_store_open(&store, c->txn, name, &c->err);
    if (rc == SOP_ERR_NOT_FOUND) {
        return 0;
    }
    FINE(c, rc);
    FINE(c, sop_get(store, sop_slice_str("number"), &view, &c->err));
    ck_assert_uint_eq(view.value.len, sizeof number);
    memcpy(&number, view.value.data, sizeof number);
    return number;
}

static void compare_value(struct compare *c, struct sop_cursor *cursor,
                          const struct sop_view *view, struct sop_slice want)
{
    static uint8_t got[VALUE_BYTES_MAX];
    struct sop_slice value = view->value;
    ck_assert_msg(view->value_bytes == want.len, "%s: a value has %" PRIu64 " bytes, not %zu",
                  c->context, view->value_bytes, want.len);
    if (!view->loaded) {
        struct sop_value_reader *reader = NULL;
        size_t len = 0;
        FINE(c, sop_value_open(&reader, cursor, &c->err));
        FINE(c, sop_value_read(reader, 0, got, want.len, &len, &c->err));
        sop_value_close(&reader);
        value = sop_slice(got, len);
    }
    ck_assert_msg(sop_slice_eq(value, want), "%s: a value has other bytes", c->context);
}

static void compare_store(struct compare *c, unsigned store)
{
    static uint8_t bytes[VALUE_BYTES_MAX];
    const char *name = store_names[store];
    struct sop_store *s = NULL;
    struct sop_cursor *cursor = NULL;
    uint64_t items = 0;
    uint64_t seen = 0;
    FINE(c, sop_store_open(&s, c->txn, name, &c->err));
    FINE(c, sop_store_count(s, false, &items, &c->err));
    FINE(c, sop_cursor_open(&cursor, s, &c->err));
    int rc = sop_cursor_first(cursor, &c->err);
    for (unsigned key = 0; key < SCRIPT_KEYS; key++) {
        unsigned version = c->state->version[store][key];
        if (version == 0) {
            continue;
        }
        struct sop_view view;
        ck_assert_msg(rc != SOP_ERR_END && rc != SOP_ERR_NOT_FOUND, "%s: %s ends before key %u",
                      c->context, name, key);
        FINE(c, rc);
        FINE(c, sop_cursor_item(cursor, &view, &c->err));
        ck_assert_msg(number_of(view.key) == key, "%s: %s has key %u where %u should be",
                      c->context, name, number_of(view.key), key);
        compare_value(c, cursor, &view, value_of(store, key, version, bytes));
        seen++;
        rc = sop_cursor_next(cursor, &c->err);
    }
    ck_assert_msg(rc == SOP_ERR_END, "%s: %s has more items than it should (%d)", c->context,
                  name, rc);
    ck_assert_msg(items == seen, "%s: %s counts %" PRIu64 " items and has %" PRIu64, c->context,
                  name, items, seen);
    sop_cursor_close(&cursor);
}

static int list_store(void *arg, const struct sop_store_info *info, struct sop_err *err)
{
    struct compare *c = arg;
    (void)err;
    for (unsigned i = 0; i < SCRIPT_STORES; i++) {
        if (strcmp(info->name, store_names[i]) == 0) {
            ck_assert_msg(c->state->exists[i], "%s: store %s should not be there", c->context,
                          info->name);
            c->listed++;
            return 0;
        }
    }
    ck_assert_msg(strcmp(info->name, "seq") == 0 || strcmp(info->name, "after") == 0,
                  "%s: a store \"%s\"", c->context, info->name);
    return 0;
}

uint64_t script_check(struct sop_db *db, const struct script *s, uint64_t low, uint64_t high,
                      const char *context)
{
    static struct script_state state;
    struct compare c = {.context = context, .state = &state};
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    FINE(&c, sop_txn_begin(&c.txn, db, &o, &c.err));
    uint64_t n = get_number(&c, "seq");
    ck_assert_msg(n >= low, "%s: transaction %" PRIu64 " was acknowledged, %" PRIu64 " is last",
                  context, low, n);
    ck_assert_msg(n <= high, "%s: transaction %" PRIu64 " is there, %" PRIu64 " was asked for",
                  context, n, high);
    script_state_after(s, n, &state);
    FINE(&c, sop_store_list(c.txn, "", list_store, &c, &c.err));
    unsigned exist = 0;
    for (unsigned i = 0; i < SCRIPT_STORES; i++) {
        if (state.exists[i]) {
            exist++;
            compare_store(&c, i);
        }
    }
    ck_assert_msg(exist == c.listed, "%s: %u stores are listed, not %u", context, c.listed,
                  exist);
    sop_txn_rollback(&c.txn);
    return n;
}

static void first_finding(void *arg, int severity, const char *text)
{
    char *to = arg;
    if (severity > 1 && to[0] == 0) {
        (void)snprintf(to, 512, "%s", text);
    }
}

void script_verify(struct sop_db *db, bool deep, const char *context)
{
    char found[512] = "";
    struct sop_verify_result result;
    struct sop_err err = {0};
    int rc = sop_db_verify(db, deep, first_finding, NULL, found, &result, &err);
    ck_assert_msg(rc == 0, "%s: verify: %s: %s (%s)", context, sop_err_name(rc), err.text,
                  found);
    ck_assert_msg(result.errors == 0, "%s: verify: %s", context, found);
}

int script_after_put(struct sop_db *db, uint64_t number, struct sop_err *err)
{
    struct sop_txn *t = NULL;
    int rc = sop_txn_begin(&t, db, NULL, err);
    if (rc == 0) {
        rc = put_number(t, "after", number, err);
        if (rc == 0) {
            return sop_txn_commit(&t, NULL, err);
        }
        sop_txn_rollback(&t);
    }
    return rc;
}

uint64_t script_after_get(struct sop_db *db, const char *context)
{
    struct compare c = {.context = context};
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    FINE(&c, sop_txn_begin(&c.txn, db, &o, &c.err));
    uint64_t n = get_number(&c, "after");
    sop_txn_rollback(&c.txn);
    return n;
}
