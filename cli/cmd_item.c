/* sopctl put | get | del | count | scan. */
#include "cli/ctl.h"

#include <errno.h>
#include <string.h>

/* ---- put ------------------------------------------------------------------------------- */

static enum sop_put_mode put_mode(const struct sop_args *args)
{
    return args->given[OPT_ADD]      ? SOP_PUT_ADD
           : args->given[OPT_UPDATE] ? SOP_PUT_UPDATE
                                     : SOP_PUT_UPSERT;
}

/* Streams a file into the value of an item. */
static int put_stream(struct sop_ctl *ctl, struct sop_ctl_store *s,
                      const struct sop_entry *entry)
{
    const char *name = ctl->args->text[OPT_FILE];
    FILE *from = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
    if (from == NULL) {
        return SOP_ERR_SYS(&ctl->err, INVALID, errno, "open '%s'", name);
    }
    struct sop_value_writer *writer;
    int rc = sop_value_create(&writer, s->store, put_mode(ctl->args), entry, &ctl->err);
    if (rc == 0) {
        static uint8_t piece[65536];
        size_t got;
        while (rc == 0 && (got = fread(piece, 1, sizeof piece, from)) > 0) {
            rc = sop_value_write(writer, (struct sop_slice){piece, got}, &ctl->err);
        }
        if (rc == 0 && ferror(from)) {
            rc = errno == EISDIR
                     ? SOP_ERR(&ctl->err, INVALID, "'%s' is a folder, not a file", name)
                     : SOP_ERR_SYS(&ctl->err, IO, errno, "read '%s'", name);
        }
        if (rc == 0) {
            rc = sop_value_finish(&writer, &ctl->err);
        } else {
            sop_value_abort(&writer);
        }
    }
    if (from != stdin) {
        fclose(from);
    }
    return rc;
}

static int put_entry(struct sop_ctl *ctl, struct sop_ctl_store *s,
                     const struct sop_entry *entry, bool *changed)
{
    const struct sop_args *args = ctl->args;
    struct sop_err *err = &ctl->err;
    *changed = true;
    if (args->given[OPT_IF_ABSENT] && args->given[OPT_FILE]) {
        struct sop_view view;
        int rc = sop_get(s->store, entry->key, &view, err);
        *changed = rc == SOP_ERR_NOT_FOUND;
        return *changed ? put_stream(ctl, s, entry) : rc;
    }
    if (args->given[OPT_FILE]) {
        return put_stream(ctl, s, entry);
    }
    if (args->given[OPT_IF_ABSENT]) {
        return sop_add_if_absent(s->store, entry, changed, err);
    }
    switch (put_mode(args)) {
    case SOP_PUT_ADD:
        return sop_add(s->store, entry, err);
    case SOP_PUT_UPDATE:
        return sop_update(s->store, entry, err);
    case SOP_PUT_UPSERT:
        break;
    }
    return sop_upsert(s->store, entry, err);
}

int sop_ctl__put(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    if (args->given[OPT_ADD] + args->given[OPT_UPDATE] + args->given[OPT_IF_ABSENT] > 1) {
        return SOP_ERR(&ctl->err, INVALID,
                       "--add, --update and --if-absent exclude each other");
    }
    if ((args->count == 3) == args->given[OPT_FILE]) {
        return SOP_ERR(&ctl->err, INVALID, "give the value once: as argument or with --file");
    }
    struct sop_ctl_store s;
    int rc = sop_ctl__open_store(ctl, SOP_CTL_WRITE, &s);
    if (rc != 0) {
        return rc;
    }
    struct sop_ctl_buf key = {0}, value = {0}, ride = {0};
    bool changed = false;
    int key_rc = sop_ctl__key(ctl, &s.info, args->rest[1], &key);
    rc = key_rc;
    if (rc == 0 && args->count == 3) {
        rc = sop_ctl__decode(ctl, args->rest[2], &value);
    }
    if (rc == 0 && args->given[OPT_RIDE]) {
        rc = sop_ctl__decode(ctl, args->text[OPT_RIDE], &ride);
    }
    if (rc == 0) {
        struct sop_entry entry = {sop_ctl__buf_slice(&key), sop_ctl__buf_slice(&ride),
                                  sop_ctl__buf_slice(&value)};
        rc = put_entry(ctl, &s, &entry, &changed);
    }
    sop_ctl__buf_fini(&key);
    sop_ctl__buf_fini(&value);
    sop_ctl__buf_fini(&ride);
    if (rc != 0) {
        sop_txn_rollback(&s.txn);
        return key_rc != 0 ? rc
                           : sop_err_wrap(&ctl->err, rc, "put '%s' in store '%s'",
                                          args->rest[1], args->rest[0]);
    }
    return sop_ctl__commit(ctl, &s.txn, "items put", changed ? 1 : 0);
}

/* ---- get ------------------------------------------------------------------------------- */

struct printer {
    struct sop_ctl *ctl;
    const struct sop_store_info *info;
    struct sop_slice key; /* get: the items of this key only */
    bool list, values_only, keys_only;
    uint64_t seen;
    struct sop_ctl_buf scratch;
};

static int print_raw_item(struct printer *p, const struct sop_view *view, struct sop_err *err)
{
    FILE *to = p->ctl->out.to;
    if (p->values_only) {
        sop_out__write(to, view->value);
        return 0;
    }
    int rc = sop_ctl__key_text(p->info, view->key, &p->scratch, err);
    if (rc == 0) {
        sop_out__write(to, sop_ctl__buf_slice(&p->scratch));
        if (!p->keys_only) {
            fputc('\t', to);
            sop_out__write(to, view->value);
        }
        fputc('\n', to);
    }
    return rc;
}

/* In a table a composite key is shown as put and get take it, not as JSON. */
static int key_as_text(struct printer *p, const struct sop_view *view, json_t *take_item,
                       struct sop_err *err)
{
    int rc = sop_ctl__key_text(p->info, view->key, &p->scratch, err);
    if (rc == 0) {
        json_object_set_new(take_item, "key", sop_out__bytes(sop_ctl__buf_slice(&p->scratch)));
    } else {
        json_decref(take_item);
    }
    return rc;
}

static int set_encoded(struct printer *p, json_t *item, const char *name,
                       struct sop_slice bytes)
{
    int rc = sop_ctl__encode(p->ctl, bytes, &p->scratch);
    if (rc == 0) {
        json_object_set_new(item, name, sop_out__bytes(sop_ctl__buf_slice(&p->scratch)));
    }
    return rc;
}

/* Members of a table's row in hex or base64, as put and get take them with the same option. A
 * typed key is text in any case. */
static int encode_row(struct printer *p, const struct sop_view *view, json_t *take_item)
{
    int rc = 0;
    if (p->info->options.key.fields_count == 0) {
        rc = set_encoded(p, take_item, "key", view->key);
    }
    if (rc == 0 && view->ride.len > 0) {
        rc = set_encoded(p, take_item, "ride", view->ride);
    }
    if (rc == 0 && !p->keys_only) {
        rc = set_encoded(p, take_item, "value", view->value);
    }
    if (rc != 0) {
        json_decref(take_item);
    }
    return rc;
}

static int print_value(struct printer *p, const struct sop_view *view)
{
    FILE *to = p->ctl->out.to;
    if (!sop_ctl__encodes(p->ctl)) {
        sop_out__text(to, view->value);
    } else {
        int rc = sop_ctl__encode(p->ctl, view->value, &p->scratch);
        if (rc != 0) {
            return rc;
        }
        sop_out__write(to, sop_ctl__buf_slice(&p->scratch));
    }
    fputc('\n', to);
    return 0;
}

static int print_item(void *arg, const struct sop_view *view, struct sop_err *err)
{
    struct printer *p = arg;
    struct sop_out *out = &p->ctl->out;
    p->seen++;
    if (out->format == SOP_FORMAT_RAW) {
        return print_raw_item(p, view, err);
    }
    if (p->values_only && out->format == SOP_FORMAT_TABLE) {
        return print_value(p, view);
    }
    json_t *item;
    int rc = sop_ctl__item_json(p->info, view, p->keys_only, &p->scratch, &item, err);
    if (rc == 0 && out->format == SOP_FORMAT_TABLE && p->info->options.key.fields_count > 1) {
        rc = key_as_text(p, view, item, err);
    }
    if (rc == 0 && out->format == SOP_FORMAT_TABLE && sop_ctl__encodes(p->ctl)) {
        rc = encode_row(p, view, item);
    }
    if (rc != 0) {
        return rc;
    }
    if (p->list) {
        sop_out__row(out, item);
    } else {
        sop_out__object(out, item);
    }
    return ferror(out->to) ? SOP_ERR_SYS(err, IO, errno, "write the output") : 0;
}

int sop_ctl__get(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    struct sop_ctl_store s;
    int rc = sop_ctl__open_store(ctl, SOP_CTL_READ, &s);
    if (rc != 0) {
        return rc;
    }
    struct sop_ctl_buf key = {0};
    struct printer p = {.ctl = ctl, .info = &s.info, .list = args->given[OPT_ALL]};
    p.values_only = true;
    rc = sop_ctl__key(ctl, &s.info, args->rest[1], &key);
    if (rc == 0) {
        rc = sop_ctl__walk_key(ctl, &s, sop_ctl__buf_slice(&key), args->given[OPT_ALL],
                               print_item, &p);
    }
    if (p.list && rc == 0 && p.seen > 0) {
        sop_out__end(&ctl->out);
    }
    if (rc == 0 && p.seen == 0) {
        rc = SOP_ERR(&ctl->err, NOT_FOUND, "no item has the key '%s' in store '%s'",
                     args->rest[1], args->rest[0]);
    }
    sop_ctl__buf_fini(&key);
    sop_ctl__buf_fini(&p.scratch);
    sop_txn_rollback(&s.txn);
    return rc;
}

/* ---- del ------------------------------------------------------------------------------- */

static int del_key(struct sop_ctl *ctl, struct sop_ctl_store *s, const char *text,
                   uint64_t *deleted)
{
    struct sop_ctl_buf key = {0};
    int rc = sop_ctl__key(ctl, &s->info, text, &key);
    if (rc == 0) {
        rc = sop_remove(s->store, sop_ctl__buf_slice(&key), &ctl->err);
    }
    if (rc == 0) {
        ++*deleted;
        while (rc == 0 && ctl->args->given[OPT_ALL]) {
            rc = sop_remove(s->store, sop_ctl__buf_slice(&key), &ctl->err);
            *deleted += rc == 0;
        }
        rc = rc == SOP_ERR_NOT_FOUND ? 0 : rc;
    } else if (rc == SOP_ERR_NOT_FOUND) {
        rc = SOP_ERR(&ctl->err, NOT_FOUND,
                     "no item has the key '%s' in store '%s'; nothing was deleted", text,
                     ctl->args->rest[0]);
    }
    sop_ctl__buf_fini(&key);
    return rc;
}

int sop_ctl__del(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    struct sop_ctl_store s;
    int rc = sop_ctl__open_store(ctl, SOP_CTL_WRITE, &s);
    if (rc != 0) {
        return rc;
    }
    uint64_t deleted = 0;
    for (size_t i = 1; i < args->count && rc == 0; i++) {
        rc = del_key(ctl, &s, args->rest[i], &deleted);
    }
    if (rc != 0) {
        sop_txn_rollback(&s.txn);
        return rc;
    }
    return sop_ctl__commit(ctl, &s.txn, "items deleted", deleted);
}

/* ---- count and scan -------------------------------------------------------------------- */

static int count_item(void *arg, const struct sop_view *view, struct sop_err *err)
{
    uint64_t *n = arg;
    (void)view;
    (void)err;
    ++*n;
    return 0;
}

int sop_ctl__count(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    struct sop_ctl_store s;
    int rc = sop_ctl__open_store(ctl, SOP_CTL_READ, &s);
    if (rc != 0) {
        return rc;
    }
    uint64_t items = 0;
    if (sop_ctl__walk_partial(ctl)) {
        rc = sop_ctl__walk(ctl, &s, true, count_item, &items);
    } else {
        rc = sop_store_count(s.store, args->given[OPT_ESTIMATE], &items, &ctl->err);
    }
    sop_txn_rollback(&s.txn);
    if (rc != 0) {
        return rc;
    }
    if (ctl->out.format == SOP_FORMAT_TABLE || ctl->out.format == SOP_FORMAT_RAW) {
        fprintf(ctl->out.to, "%llu\n", (unsigned long long)items);
    } else {
        sop_out__object(&ctl->out, json_pack("{s:s, s:I}", "store", args->rest[0], "items",
                                             (json_int_t)items));
    }
    return 0;
}

int sop_ctl__scan(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    struct sop_ctl_store s;
    int rc = sop_ctl__open_store(ctl, SOP_CTL_READ, &s);
    if (rc != 0) {
        return rc;
    }
    struct printer p = {.ctl = ctl, .info = &s.info, .list = true};
    p.keys_only = args->given[OPT_KEYS_ONLY];
    rc = sop_ctl__walk(ctl, &s, p.keys_only, print_item, &p);
    if (rc == 0 || p.seen > 0) {
        sop_out__end(&ctl->out);
    }
    sop_ctl__buf_fini(&p.scratch);
    sop_txn_rollback(&s.txn);
    return rc;
}
