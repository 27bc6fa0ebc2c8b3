/* sopctl dump: items of one state as CSV or NDJSON that sopctl load reads back unchanged.
 *
 * A named file is written as FILE.part, synced and renamed when it is complete, so that a dump
 * that was cut short never looks like a whole one. */
#include "cli/ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct dump {
    struct sop_ctl *ctl;
    struct sop_ctl_store store;
    FILE *to;
    const char *name; /* NULL = standard output */
    char *part;
    bool ndjson, with_ride;
    uint32_t columns; /* of the key in CSV */
    uint64_t items, total;
    struct sop_ctl_buf scratch;
    struct sop_ctl_progress progress;
};

/* Quoted when it must be: libcsv takes spaces around bare fields away. */
static void csv_field(FILE *to, struct sop_slice s)
{
    static const char special[] = ",\"\r\n\t ";
    bool bare = true;
    for (size_t i = 0; i < s.len && bare; i++) {
        bare = memchr(special, s.data[i], sizeof special - 1) == NULL && s.data[i] != 0;
    }
    if (bare) {
        sop_out__write(to, s);
        return;
    }
    fputc('"', to);
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '"') {
            fputc('"', to);
        }
        fputc(s.data[i], to);
    }
    fputc('"', to);
}

/* A key of many fields: a column for each. */
static int csv_key(struct dump *d, struct sop_slice key, struct sop_err *err)
{
    size_t ends[SOP_KEY_FIELDS_MAX];
    int rc = sop_ctl__key_columns(&d->store.info.options.key, key, &d->scratch, ends, err);
    size_t from = 0;
    for (uint32_t i = 0; i < d->columns && rc == 0; i++) {
        if (i > 0) {
            fputc(',', d->to);
        }
        csv_field(d->to, (struct sop_slice){d->scratch.data + from, ends[i] - from});
        from = ends[i];
    }
    return rc;
}

static void csv_header(struct dump *d)
{
    const struct sop_key_schema *schema = &d->store.info.options.key;
    d->columns =
        schema->fields_count > 1 && sop_ctl__schema_plain(schema) ? schema->fields_count : 1;
    for (uint32_t i = 0; i < d->columns && d->columns > 1; i++) {
        fprintf(d->to, "key%" PRIu32 ",", i + 1);
    }
    fprintf(d->to, "%s%svalue\n", d->columns == 1 ? "key," : "", d->with_ride ? "ride," : "");
}

static int csv_item(struct dump *d, const struct sop_view *view, struct sop_err *err)
{
    if (view->ride.len > 0 && !d->with_ride) {
        return SOP_ERR(err, INVALID,
                       "item %" PRIu64 " has ride-on bytes; say --with-ride or "
                       "--format ndjson",
                       d->items);
    }
    int rc = d->columns > 1 ? csv_key(d, view->key, err)
                            : sop_ctl__key_text(&d->store.info, view->key, &d->scratch, err);
    if (rc != 0) {
        return rc;
    }
    if (d->columns == 1) {
        csv_field(d->to, sop_ctl__buf_slice(&d->scratch));
    }
    if (d->with_ride) {
        fputc(',', d->to);
        csv_field(d->to, view->ride);
    }
    fputc(',', d->to);
    csv_field(d->to, view->value);
    fputc('\n', d->to);
    return 0;
}

static int ndjson_item(struct dump *d, const struct sop_view *view, struct sop_err *err)
{
    json_t *item;
    int rc = sop_ctl__item_json(&d->store.info, view, false, &d->scratch, &item, err);
    if (rc == 0) {
        sop_out__json(d->to, item);
        fputc('\n', d->to);
        json_decref(item);
    }
    return rc;
}

static int dump_item(void *arg, const struct sop_view *view, struct sop_err *err)
{
    struct dump *d = arg;
    int rc = d->ndjson ? ndjson_item(d, view, err) : csv_item(d, view, err);
    d->items++;
    if (d->items % 1024 == 0) {
        sop_ctl__progress(&d->progress, d->items, d->total);
    }
    if (rc == 0 && ferror(d->to)) {
        rc = SOP_ERR_SYS(err, IO, errno, "write");
    }
    return rc;
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* CSV or NDJSON: as --format says, else the name of the file, else --output. */
static int choose_format(struct dump *d)
{
    const struct sop_ctl *ctl = d->ctl;
    const struct sop_args *args = ctl->args;
    const char *name = d->name != NULL ? d->name : "";
    bool named = true;
    if (args->given[OPT_FORMAT]) {
        d->ndjson = args->text[OPT_FORMAT][0] == 'n';
    } else if (ends_with(name, ".ndjson") || ends_with(name, ".jsonl") ||
               ends_with(name, ".json")) {
        d->ndjson = true;
    } else if (!ends_with(name, ".csv")) {
        d->ndjson = ctl->out.format == SOP_FORMAT_NDJSON;
        named = d->name != NULL; /* --output is of the closing line, then */
    }
    if (!named && args->given[OPT_OUTPUT] && !d->ndjson) {
        return SOP_ERR(&d->ctl->err, INVALID,
                       "dump writes csv (default) or ndjson, not %s; `sopctl scan %s -o %s` "
                       "prints items as %s",
                       args->text[OPT_OUTPUT], args->rest[0], args->text[OPT_OUTPUT],
                       args->text[OPT_OUTPUT]);
    }
    d->with_ride = args->given[OPT_WITH_RIDE];
    return d->with_ride && d->ndjson
               ? SOP_ERR(
                     &d->ctl->err, INVALID,
                     "--with-ride is for CSV; NDJSON has the ride of each item that has one")
               : 0;
}

static int begin_file(struct dump *d)
{
    const struct sop_args *args = d->ctl->args;
    d->to = stdout;
    if (args->count > 1 && strcmp(args->rest[1], "-") != 0) {
        d->name = args->rest[1];
    }
    int rc = choose_format(d);
    if (rc != 0 || d->name == NULL) {
        return rc;
    }
    if (asprintf(&d->part, "%s.part", d->name) < 0) {
        d->part = NULL;
        return SOP_ERR(&d->ctl->err, NOMEM, "name the file");
    }
    d->to = fopen(d->part, "wb");
    if (d->to == NULL) {
        return SOP_ERR_SYS(&d->ctl->err, INVALID, errno, "make '%s'", d->part);
    }
    return 0;
}

/* Gives the file its name, or removes it after a failure. */
static int end_file(struct dump *d, int rc)
{
    if (rc == 0 && (fflush(d->to) != 0 || (d->name != NULL && fsync(fileno(d->to)) != 0))) {
        rc =
            SOP_ERR_SYS(&d->ctl->err, IO, errno, "write '%s'", d->name != NULL ? d->name : "-");
    }
    if (d->part != NULL && d->to != NULL) {
        fclose(d->to);
        if (rc == 0 && rename(d->part, d->name) != 0) {
            rc = SOP_ERR_SYS(&d->ctl->err, IO, errno, "name '%s'", d->name);
        }
        if (rc != 0) {
            unlink(d->part);
        }
    }
    free(d->part);
    return rc;
}

int sop_ctl__dump(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    struct dump d = {.ctl = ctl};
    int rc = sop_ctl__open_store(ctl, SOP_CTL_READ, &d.store);
    if (rc != 0) {
        return rc;
    }
    d.total = sop_ctl__walk_partial(ctl) ? 0 : d.store.info.items;
    sop_ctl__progress_init(&d.progress, ctl, "dump", "");
    rc = begin_file(&d);
    if (rc == 0) {
        if (!d.ndjson) {
            csv_header(&d);
        }
        rc = sop_ctl__walk(ctl, &d.store, false, dump_item, &d);
    }
    sop_ctl__progress_end(&d.progress);
    rc = end_file(&d, rc);
    sop_ctl__buf_fini(&d.scratch);
    sop_txn_rollback(&d.store.txn);
    if (rc == 0 && d.name != NULL && !args->given[OPT_QUIET]) {
        if (ctl->out.format == SOP_FORMAT_TABLE) {
            printf("items dumped: %" PRIu64 " to %s\n", d.items, d.name);
        } else if (ctl->out.format != SOP_FORMAT_RAW) {
            sop_out__object(&ctl->out, json_pack("{s:s, s:I, s:o}", "done", "items dumped",
                                                 "items", (json_int_t)d.items, "path",
                                                 sop_out__bytes(sop_ctl__slice(d.name))));
        }
    }
    return rc;
}
