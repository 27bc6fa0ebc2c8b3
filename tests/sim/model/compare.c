/* Everything that can be read, against the model. */
#include "tests/sim/model/world.h"

static void report(void *arg, int severity, const char *text)
{
    struct world *w = arg;
    if (severity == 2) {
        printf("step %llu: verify: %s\n", (unsigned long long)w->step, text);
    }
}

void world_verify(struct world *w, bool deep)
{
    struct sop_err err = {0};
    struct sop_verify_result result;
    world_ok(sop_db_verify(w->db, deep, report, NULL, w, &result, &err), &err, "verify");
}

/* ---- comparing everything ------------------------------------------------------------------
 */

struct listing {
    struct world *w;
    struct sop_txn *txn;
    uint64_t digest;
};

static int digest_store(void *arg, const struct sop_store_info *info, struct sop_err *err)
{
    struct listing *l = arg;
    struct sop_store *s = NULL;
    struct sop_cursor *c = NULL;
    uint64_t items = 0;
    uint64_t uid = 0;
    uint64_t notes = 0;
    ck_assert_uint_eq(info->options.custom.len, MODEL_CUSTOM_BYTES);
    memcpy(&uid, info->options.custom.data, 8);
    memcpy(&notes, info->options.custom.data + 8, 8);
    world_ok(sop_store_open(&s, l->txn, info->name, err), err, "open a store");
    world_ok(sop_cursor_open(&c, s, err), err, "open a cursor");
    int rc = sop_cursor_first(c, err);
    for (; rc == 0; rc = sop_cursor_next(c, err)) {
        struct sop_view view;
        struct sop_value_reader *reader = NULL;
        uint8_t seed[8] = {0};
        size_t got = 0;
        world_ok(sop_cursor_key(c, &view, err), err, "key");
        world_ok(sop_value_open(&reader, c, err), err, "open a value");
        world_ok(sop_value_read(reader, 0, seed, 8, &got, err), err, "read a value");
        sop_value_close(&reader);
        uint64_t number = 0;
        memcpy(&number, seed, 8);
        items += model_item_digest(view.key, view.ride, number, (uint32_t)view.value_bytes);
    }
    if (rc != SOP_ERR_END) {
        world_ok(rc, err, "walk");
    }
    sop_cursor_close(&c);
    l->digest =
        model_store_digest(l->digest, (uint32_t)(info->name[1] - '0'), uid, notes, items);
    return 0;
}

static struct sop_txn *begin_read(struct world *w)
{
    struct sop_txn_options o;
    struct sop_txn *txn = NULL;
    struct sop_err err = {0};
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    world_ok(sop_txn_begin(&txn, w->db, &o, &err), &err, "begin reading");
    return txn;
}

uint64_t world_digest_db(struct world *w)
{
    struct listing l = {.w = w, .txn = begin_read(w)};
    struct sop_err err = {0};
    world_ok(sop_store_list(l.txn, NULL, digest_store, &l, &err), &err, "list stores");
    sop_txn_rollback(&l.txn);
    return l.digest;
}

/* An operation that must work, compared. */
static int checked(struct world *w, struct model_txn *t, struct model_op *op,
                   const char *during)
{
    struct model_got *got = malloc(sizeof *got);
    struct model_answer *a = malloc(sizeof *a);
    ck_assert(got != NULL && a != NULL);
    model_run(t, op, got);
    uint32_t name = op->kind > MODEL_CURSOR_CLOSE ? t->view.cursors[op->cursor].name : op->name;
    model_do(&t->view, op, a);
    const struct model_store *s = t->view.now->stores[name];
    if (!model_same(op, s != NULL ? &s->facts : &op->facts, a, got)) {
        char text[300];
        model_op_text(op, text, sizeof text);
        FAIL("%s: %s: %s", during, text, got->text);
    }
    int rc = a->rc;
    free(got);
    free(a);
    (void)w;
    return rc;
}

static void walk(struct world *w, struct model_txn *t, uint32_t name, bool forward,
                 const char *during)
{
    struct model_op op = {.kind = MODEL_CURSOR_OPEN, .name = name};
    (void)checked(w, t, &op, during);
    op.kind = forward ? MODEL_FIRST : MODEL_LAST;
    uint32_t i = 0;
    int rc = checked(w, t, &op, during);
    for (; rc == 0; i++) {
        struct model_op view = {.kind = forward ? MODEL_VALUE : MODEL_VIEW_ITEM};
        (void)checked(w, t, &view, during);
        if (i % 16 == 3) {
            view.kind = MODEL_POSITION;
            (void)checked(w, t, &view, during);
        }
        op.kind = forward ? MODEL_NEXT : MODEL_PREV;
        rc = checked(w, t, &op, during);
    }
    op.kind = MODEL_CURSOR_CLOSE;
    (void)checked(w, t, &op, during);
}

/* Compares all that a reader sees with a state. */
static void compare_all(struct world *w, struct model_state *state, struct sop_txn *txn,
                        const char *during)
{
    struct model_txn t = {.txn = txn, .mode = SOP_READ};
    model_view_init(&t.view, state, false);
    struct model_op list = {.kind = MODEL_STORE_LIST};
    (void)checked(w, &t, &list, during);
    for (uint32_t i = 0; i < MODEL_NAMES; i++) {
        struct model_op op = {.kind = MODEL_STORE_INFO, .name = i};
        if (checked(w, &t, &op, during) != 0) {
            continue;
        }
        op.kind = MODEL_COUNT;
        (void)checked(w, &t, &op, during);
        walk(w, &t, i, true, during);
        walk(w, &t, i, false, during);
    }
    model_view_fini(&t.view);
}

void world_compare_head(struct world *w, const char *during)
{
    struct sop_txn *txn = begin_read(w);
    compare_all(w, w->head, txn, during);
    sop_txn_rollback(&txn);
}
