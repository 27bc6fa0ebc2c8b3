/* Walks over the part of a store that the range options name. */
#include "cli/ctl.h"

#include <stdlib.h>
#include <string.h>

#define BATCH 256

struct walk {
    struct sop_ctl *ctl;
    struct sop_ctl_store *store;
    bool keys_only;
    uint64_t left; /* of --limit */
    sop_ctl_item_fn each;
    void *arg;
    struct sop_ctl_buf value;
    struct sop_cursor
        *values; /* stands on the item whose value is fetched; NULL until needed */
};

bool sop_ctl__walk_partial(const struct sop_ctl *ctl)
{
    const bool *given = ctl->args->given;
    return given[OPT_FROM] || given[OPT_AFTER] || given[OPT_TO] || given[OPT_THROUGH] ||
           given[OPT_PREFIX] || given[OPT_LIMIT];
}

/* Reads the value under the cursor into w->value. */
static int fetch_at(struct walk *w, struct sop_cursor *cursor, struct sop_err *err)
{
    struct sop_value_reader *reader;
    int rc = sop_value_open(&reader, cursor, err);
    if (rc != 0) {
        return rc;
    }
    w->value.len = 0;
    uint64_t size = sop_value_size(reader);
    rc = sop_ctl__buf_room(&w->value, (size_t)size, err);
    while (rc == 0 && w->value.len < size) {
        size_t got = 0;
        rc = sop_value_read(reader, w->value.len, w->value.data + w->value.len,
                            (size_t)size - w->value.len, &got, err);
        w->value.len += got;
        if (rc == 0 && got == 0) {
            rc = SOP_ERR(err, IO, "a value ended after %zu of %zu bytes", w->value.len,
                         (size_t)size);
        }
    }
    sop_value_close(&reader);
    return rc;
}

/* Makes view->value whole; cursor is NULL or stands on the item. */
static int load_value(struct walk *w, struct sop_cursor *cursor, struct sop_view *view,
                      struct sop_err *err)
{
    if (w->keys_only || view->loaded) {
        return 0;
    }
    int rc = 0;
    if (cursor == NULL) {
        if (w->values == NULL) {
            rc = sop_cursor_open(&w->values, w->store->store, err);
        }
        if (rc == 0) {
            rc = w->store->info.options.unique
                     ? sop_cursor_find(w->values, view->key, err)
                     : sop_cursor_find_id(w->values, view->key, &view->id, err);
        }
        cursor = w->values;
    }
    if (rc == 0) {
        rc = fetch_at(w, cursor, err);
    }
    view->value = sop_ctl__buf_slice(&w->value);
    view->loaded = rc == 0;
    return rc;
}

static int visit(struct walk *w, struct sop_cursor *cursor, struct sop_view *view)
{
    if (w->left == 0) {
        return SOP_CTL_STOP;
    }
    w->left--;
    int rc = load_value(w, cursor, view, &w->ctl->err);
    return rc != 0 ? rc : w->each(w->arg, view, &w->ctl->err);
}

static int walk_positions(struct walk *w)
{
    const struct sop_args *args = w->ctl->args;
    struct sop_err *err = &w->ctl->err;
    struct sop_cursor *c;
    int rc = sop_cursor_open(&c, w->store->store, err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_cursor_seek(c, args->number[OPT_POSITION], err);
    while (rc == 0) {
        struct sop_view view;
        rc = w->keys_only ? sop_cursor_key(c, &view, err) : sop_cursor_item(c, &view, err);
        if (rc == 0) {
            rc = visit(w, c, &view);
        }
        if (rc == 0) {
            rc = args->given[OPT_REVERSE] ? sop_cursor_prev(c, err) : sop_cursor_next(c, err);
        }
    }
    sop_cursor_close(&c);
    return rc == SOP_ERR_END || rc == SOP_ERR_NOT_FOUND ? 0 : rc;
}

/* Says which option holds the key that is wrong. */
static int of_option(struct sop_ctl *ctl, enum sop_ctl_option option, int rc)
{
    return rc == 0 ? 0
                   : sop_err_wrap(&ctl->err, rc, "--%s", sop_ctl__program.options[option].name);
}

/* A bound; of a composite key the last fields may be left out. *past: the bound lies behind the
 * keys that are equal to it (--after, --through), so behind all that begin with those fields.
 */
static int bound(struct sop_ctl *ctl, const struct sop_store_info *info, const char *text,
                 bool *past, struct sop_ctl_buf *to)
{
    bool whole;
    int rc = sop_ctl__key_bound(ctl, info, text, to, &whole);
    if (rc != 0 || whole || !*past) {
        return rc;
    }
    struct sop_ctl_buf prefix = {0};
    rc = sop_ctl__buf_add(&prefix, sop_ctl__buf_slice(to), &ctl->err);
    struct sop_key_buf end = {to->data, to->room, 0};
    bool none = false;
    if (rc == 0) {
        rc = sop_key_prefix_end(sop_ctl__buf_slice(&prefix), &end, &none, &ctl->err);
    }
    if (rc == 0 && !none) {
        to->len = end.len;
        *past = false;
    }
    sop_ctl__buf_fini(&prefix);
    return rc;
}

/* Fills options from the command line; low and high hold the encoded bounds. */
static int range_options(struct walk *w, struct sop_range_options *options,
                         struct sop_ctl_buf *low, struct sop_ctl_buf *high)
{
    struct sop_ctl *ctl = w->ctl;
    const struct sop_args *args = ctl->args;
    const bool *given = args->given;
    sop_range_options_init(options);
    options->reverse = given[OPT_REVERSE];
    options->keys_only = w->keys_only;
    options->low_open = given[OPT_AFTER];
    options->high_closed = given[OPT_THROUGH];
    options->prefix = given[OPT_PREFIX];
    if (given[OPT_FROM] + given[OPT_AFTER] + given[OPT_PREFIX] > 1 ||
        given[OPT_TO] + given[OPT_THROUGH] + given[OPT_PREFIX] > 1) {
        return SOP_ERR(&ctl->err, INVALID,
                       "give one beginning (--from, --after or --prefix) and one end (--to, "
                       "--through or --prefix)");
    }
    enum sop_ctl_option from = given[OPT_FROM] ? OPT_FROM : OPT_AFTER;
    enum sop_ctl_option to = given[OPT_TO] ? OPT_TO : OPT_THROUGH;
    int rc = 0;
    if (given[OPT_PREFIX]) {
        rc = sop_ctl__key_prefix(ctl, &w->store->info, args->text[OPT_PREFIX], low);
        rc = of_option(ctl, OPT_PREFIX, rc);
        options->low = sop_ctl__buf_slice(low);
    } else if (given[from]) {
        rc = bound(ctl, &w->store->info, args->text[from], &options->low_open, low);
        rc = of_option(ctl, from, rc);
        options->low = sop_ctl__buf_slice(low);
    }
    if (rc == 0 && given[to]) {
        rc = bound(ctl, &w->store->info, args->text[to], &options->high_closed, high);
        rc = of_option(ctl, to, rc);
        options->high = sop_ctl__buf_slice(high);
    }
    return rc;
}

static int run_range(struct walk *w, const struct sop_range_options *options)
{
    struct sop_err *err = &w->ctl->err;
    struct sop_range *range;
    int rc = sop_range_open(&range, w->store->store, options, err);
    if (rc != 0) {
        return rc;
    }
    while (rc == 0) {
        struct sop_view views[BATCH];
        size_t count = 0;
        size_t most = w->left < BATCH ? (size_t)w->left : BATCH;
        if (most == 0) {
            break;
        }
        rc = sop_range_next(range, views, most, &count, err);
        for (size_t i = 0; i < count && rc == 0; i++) {
            rc = visit(w, NULL, &views[i]);
        }
        if (count == 0) {
            break;
        }
    }
    sop_range_close(&range);
    return rc;
}

static int walk_range(struct walk *w)
{
    struct sop_ctl_buf low = {0}, high = {0};
    struct sop_range_options options;
    int rc = range_options(w, &options, &low, &high);
    if (rc == 0) {
        rc = run_range(w, &options);
    }
    sop_ctl__buf_fini(&low);
    sop_ctl__buf_fini(&high);
    return rc;
}

static int walk_end(struct walk *w, int rc)
{
    if (w->values != NULL) {
        sop_cursor_close(&w->values);
    }
    sop_ctl__buf_fini(&w->value);
    return rc == SOP_CTL_STOP ? 0 : rc;
}

int sop_ctl__walk_key(struct sop_ctl *ctl, struct sop_ctl_store *store, struct sop_slice key,
                      bool all, sop_ctl_item_fn each, void *arg)
{
    struct walk w = {.ctl = ctl, .store = store, .each = each, .arg = arg};
    w.left = all ? UINT64_MAX : 1;
    struct sop_range_options options;
    sop_range_options_init(&options);
    options.low = key;
    options.high = key;
    options.high_closed = true;
    return walk_end(&w, run_range(&w, &options));
}

int sop_ctl__walk(struct sop_ctl *ctl, struct sop_ctl_store *store, bool keys_only,
                  sop_ctl_item_fn each, void *arg)
{
    const struct sop_args *args = ctl->args;
    struct walk w = {
        .ctl = ctl, .store = store, .keys_only = keys_only, .each = each, .arg = arg};
    w.left = args->given[OPT_LIMIT] ? args->number[OPT_LIMIT] : UINT64_MAX;
    int rc;
    if (!args->given[OPT_POSITION]) {
        rc = walk_range(&w);
    } else if (args->given[OPT_FROM] || args->given[OPT_AFTER] || args->given[OPT_PREFIX] ||
               args->given[OPT_TO] || args->given[OPT_THROUGH]) {
        rc = SOP_ERR(&ctl->err, INVALID,
                     "--position counts in the whole store: leave out the "
                     "bounds, use --limit");
    } else {
        rc = walk_positions(&w);
    }
    return walk_end(&w, rc);
}
