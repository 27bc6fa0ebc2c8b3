/* Commands about the whole database: init verify repair stats backup restore compact checkpoint
 * doctor completion. */
#include "cli/ctl.h"

#include <inttypes.h>
#include <string.h>

static int done(struct sop_ctl *ctl, const char *what, const char *path)
{
    if (ctl->args->given[OPT_QUIET]) {
        return 0;
    }
    if (ctl->out.format == SOP_FORMAT_TABLE) {
        fprintf(ctl->out.to, "%s: %s\n", what, path);
    } else if (ctl->out.format != SOP_FORMAT_RAW) {
        sop_out__object(&ctl->out, json_pack("{s:s, s:o}", "done", what, "path",
                                             sop_out__bytes(sop_ctl__slice(path))));
    }
    return 0;
}

int sop_ctl__init(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    const char *path;
    (void)args;
    int rc = sop_ctl__path(ctl, 0, &path);
    if (rc != 0) {
        return rc;
    }
    /* A database that is there already must not be touched: a look that writes nothing. */
    struct sop_err err;
    rc = sop_ctl__open(ctl, SOP_CTL_READ, path);
    if (rc == 0) {
        rc = sop_db_close(&ctl->db, &err);
        return rc != 0 ? sop_err_wrap(&ctl->err, rc, "close '%s'", path)
                       : SOP_ERR(&ctl->err, EXISTS, "'%s' is a database already", path);
    }
    if (rc != SOP_ERR_NOT_A_DATABASE) {
        return rc;
    }
    rc = sop_ctl__open(ctl, SOP_CTL_CREATE, path);
    return rc != 0 ? rc : done(ctl, "made the database", path);
}

static void lsn_text(char *text, size_t bytes, struct sop_lsn lsn)
{
    snprintf(text, bytes, "%" PRIu64 ".%" PRIu64, lsn.slot, lsn.record);
}

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

/* What a look from outside can know. The counters of an opening (commits, cache, syncs, ...)
 * are those of the process that has it: this one has just come, and would show zeros. */
static json_t *stats_json(const struct sop_db_stats *s, uint64_t items)
{
    char head[48], checkpoint[48], id[33];
    lsn_text(head, sizeof head, s->head);
    lsn_text(checkpoint, sizeof checkpoint, s->checkpoint);
    for (size_t i = 0; i < 16; i++) {
        snprintf(id + 2 * i, 3, "%02x", s->database_id[i]);
    }
    json_t *o = json_object();
    json_object_set_new(o, "database_id", json_string(id));
    json_object_set_new(o, "head", json_string(head));
    json_object_set_new(o, "checkpoint", json_string(checkpoint));
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"stores", s->stores},
        {"items", items},
        {"pages", s->pages},
        {"volume_bytes", s->volume_bytes},
        {"pack_bytes", s->pack_bytes},
        {"pack_live_bytes", s->pack_live_bytes},
        {"max_bytes", s->max_bytes},
        {"open_ns", s->open_ns},
        {"open_records", s->open_records},
        {"checkpoints_damaged", s->checkpoints_damaged},
        {"registry_hash_mod", s->registry_hash_mod},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        json_object_set_new(o, numbers[i].name, number(numbers[i].value));
    }
    return o;
}

static int add_items(void *arg, const struct sop_store_info *info, struct sop_err *err)
{
    uint64_t *items = arg;
    (void)err;
    *items += info->items;
    return 0;
}

int sop_ctl__stats(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    const char *path;
    struct sop_txn *txn = NULL;
    (void)args;
    int rc = sop_ctl__path(ctl, 0, &path);
    if (rc == 0) {
        rc = sop_ctl__open(ctl, SOP_CTL_READ, path);
    }
    if (rc == 0) {
        rc = sop_ctl__begin(ctl, SOP_READ, &txn);
    }
    struct sop_db_stats stats = {.size = sizeof stats};
    uint64_t items = 0;
    if (rc == 0) {
        rc = sop_store_list(txn, "", add_items, &items, &ctl->err);
    }
    sop_txn_rollback(&txn);
    if (rc == 0) {
        rc = sop_db_stats(ctl->db, &stats, &ctl->err);
    }
    if (rc == 0) {
        sop_out__object(&ctl->out, stats_json(&stats, items));
    }
    return rc;
}

/* Findings of verify, repair and doctor: lines in a table, a list in the JSON object. */
struct findings {
    struct sop_ctl *ctl;
    struct sop_ctl_progress progress;
    json_t *list;
};

static const char *const severities[] = {"ok", "warning", "error"};

static void report(void *arg, int severity, const char *text)
{
    struct findings *f = arg;
    const char *level = severities[severity < 0 ? 0 : severity > 2 ? 2 : severity];
    if (f->ctl->out.format == SOP_FORMAT_TABLE || f->ctl->out.format == SOP_FORMAT_RAW) {
        sop_ctl__progress_end(&f->progress);
        fprintf(f->ctl->out.to, "%-8s %s\n", level, text);
        return;
    }
    json_array_append_new(f->list, json_pack("{s:s, s:o}", "severity", level, "text",
                                             sop_out__bytes(sop_ctl__slice(text))));
}

static int findings_progress(void *arg, const char *what, uint64_t progress, uint64_t total)
{
    struct findings *f = arg;
    return sop_ctl__progress_fn(&f->progress, what, progress, total);
}

int sop_ctl__verify(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    const char *path;
    int rc = sop_ctl__path(ctl, 0, &path);
    if (rc == 0) {
        rc =
            sop_ctl__open(ctl, args->given[OPT_READ_ONLY] ? SOP_CTL_READ : SOP_CTL_WRITE, path);
    }
    if (rc != 0) {
        return rc;
    }
    struct findings f = {.ctl = ctl, .list = json_array()};
    sop_ctl__progress_init(&f.progress, ctl, "verify", "");
    struct sop_verify_result r;
    memset(&r, 0, sizeof r);
    rc = sop_db_verify(ctl->db, args->given[OPT_DEEP], report, findings_progress, &f, &r,
                       &ctl->err);
    sop_ctl__progress_end(&f.progress);
    if (rc != 0 && r.errors == 0) {
        json_decref(f.list);
        return rc;
    }
    json_t *o = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "clean", r.errors == 0,
                          "errors", (json_int_t)r.errors, "stores", (json_int_t)r.stores,
                          "items", (json_int_t)r.items, "values", (json_int_t)r.values, "pages",
                          (json_int_t)r.pages, "files", (json_int_t)r.files, "bytes",
                          (json_int_t)r.bytes);
    if (json_array_size(f.list) > 0) {
        json_object_set(o, "findings", f.list);
    }
    json_decref(f.list);
    sop_out__object(&ctl->out, o);
    return rc;
}

int sop_ctl__repair(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    const char *path;
    int rc = sop_ctl__path(ctl, 0, &path);
    if (rc != 0) {
        return rc;
    }
    struct sop_repair_options options;
    struct sop_repair_result r = {0};
    struct findings f = {.ctl = ctl, .list = json_array()};
    sop_repair_options_init(&options);
    options.dry_run = args->given[OPT_DRY_RUN];
    rc = sop_db_repair(path, &options, report, &f, &r, &ctl->err);
    if (rc == 0 || r.damaged > 0) {
        json_t *o = json_pack("{s:b, s:I, s:I}", "dry_run", options.dry_run, "damaged",
                              (json_int_t)r.damaged, "repaired", (json_int_t)r.repaired);
        if (json_array_size(f.list) > 0) {
            json_object_set(o, "findings", f.list);
        }
        sop_out__object(&ctl->out, o);
    }
    json_decref(f.list);
    return rc;
}

int sop_ctl__backup(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    int rc = sop_ctl__open(ctl, SOP_CTL_READ, NULL);
    if (rc != 0) {
        return rc;
    }
    struct sop_ctl_progress progress;
    sop_ctl__progress_init(&progress, ctl, "backup", "");
    rc = sop_db_backup(ctl->db, args->rest[0], sop_ctl__progress_fn, &progress, &ctl->err);
    sop_ctl__progress_end(&progress);
    return rc != 0 ? rc : done(ctl, "backed up to", args->rest[0]);
}

int sop_ctl__restore(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    const char *path;
    int rc = sop_ctl__path(ctl, 1, &path);
    if (rc != 0) {
        return rc;
    }
    struct sop_ctl_progress progress;
    sop_ctl__progress_init(&progress, ctl, "restore", "");
    rc = sop_db_restore(args->rest[0], path, sop_ctl__progress_fn, &progress, &ctl->err);
    sop_ctl__progress_end(&progress);
    return rc != 0 ? rc : done(ctl, "restored to", path);
}

static int on_database(struct sop_ctl *ctl, int (*act)(struct sop_db *, struct sop_err *),
                       const char *what)
{
    const char *path;
    int rc = sop_ctl__path(ctl, 0, &path);
    if (rc == 0) {
        rc = sop_ctl__open(ctl, SOP_CTL_WRITE, path);
    }
    if (rc == 0) {
        rc = act(ctl->db, &ctl->err);
    }
    return rc != 0 ? rc : done(ctl, what, path);
}

int sop_ctl__compact(void *context, const struct sop_args *args)
{
    (void)args;
    return on_database(context, sop_db_compact, "compacted");
}

int sop_ctl__checkpoint(void *context, const struct sop_args *args)
{
    (void)args;
    return on_database(context, sop_db_checkpoint, "wrote a checkpoint of");
}

int sop_ctl__doctor(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    const char *path;
    int rc = sop_ctl__path(ctl, 0, &path);
    if (rc != 0) {
        return rc;
    }
    uint64_t processes = args->given[OPT_PROCESSES] ? args->number[OPT_PROCESSES] : 4;
    if (processes < 1 || processes > 64) {
        return SOP_ERR(&ctl->err, INVALID, "--processes is 1 to 64");
    }
    struct findings f = {.ctl = ctl, .list = json_array()};
    rc = sop_doctor(path, (unsigned)processes, report, &f, &ctl->err);
    if (ctl->out.format == SOP_FORMAT_JSON || ctl->out.format == SOP_FORMAT_NDJSON) {
        sop_out__object(&ctl->out, json_pack("{s:b, s:O}", "fit", rc == 0, "findings", f.list));
    } else if (rc == 0) {
        fprintf(ctl->out.to, "%s is fit for databases\n", path);
    }
    json_decref(f.list);
    return rc;
}

int sop_ctl__completion(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    return sop_args_complete(ctl->out.to, &sop_ctl__program, args->rest[0])
               ? 0
               : SOP_ERR(&ctl->err, INVALID,
                         "completion is there for bash, zsh and fish, not "
                         "for '%s'",
                         args->rest[0]);
}
