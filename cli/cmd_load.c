/* sopctl load: gathers items from a reader into batches and commits them.
 *
 * What is promised: when a batch is counted as committed, it is (and --acknowledged says so
 * after the commit, never before). Items go in the order of the file, so after any failure the
 * items of the file up to `committed` are in the store, none behind, and --skip resumes there.
 */
#include "cli/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BATCH_DEFAULT   10000
#define BATCH_MAX       1000000
#define BATCH_BYTES_MAX (16u << 20) /* a batch is cut here too: memory of a transaction */
#define STREAM_BYTES    (1u << 20)  /* values from here on do not go through that memory */

/* Offsets into load->bytes, which moves as it grows. */
struct sop_load_entry {
    size_t key, key_len, ride_len, value_len; /* one after the other */
    uint64_t line;
};

int sop_load__complain(struct sop_load *load, uint64_t line, const char *text)
{
    return SOP_ERR(&load->ctl->err, INVALID, "line %" PRIu64 ": %s", line, text);
}

bool sop_load__whole(const struct sop_load *load, size_t keys)
{
    const struct sop_key_schema *schema = &load->info.options.key;
    return keys == 1 && (schema->fields_count > 1 || !sop_ctl__schema_plain(schema));
}

bool sop_load__skips(struct sop_load *load)
{
    if (load->seen < load->skip) {
        load->seen++;
        return true;
    }
    return false;
}

/* ---- a batch ---------------------------------------------------------------------------- */

/* A large value goes past the memory of the transaction. */
static int stream_entry(struct sop_load *load, struct sop_store *store,
                        const struct sop_entry *entry, bool *added, struct sop_err *err)
{
    const struct sop_args *args = load->ctl->args;
    struct sop_view view;
    *added = true;
    if (args->given[OPT_IF_ABSENT]) {
        int rc = sop_get(store, entry->key, &view, err);
        *added = rc == SOP_ERR_NOT_FOUND;
        if (!*added) {
            return rc;
        }
    }
    bool add = args->given[OPT_IF_ABSENT] || args->given[OPT_ADD] || !load->info.options.unique;
    struct sop_value_writer *writer;
    int rc = sop_value_create(&writer, store, add ? SOP_PUT_ADD : SOP_PUT_UPSERT, entry, err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_value_write(writer, entry->value, err);
    if (rc != 0) {
        sop_value_abort(&writer);
        return rc;
    }
    return sop_value_finish(&writer, err);
}

static int write_entry(struct sop_load *load, struct sop_store *store, size_t i,
                       uint64_t *changed, struct sop_err *err)
{
    const struct sop_args *args = load->ctl->args;
    const struct sop_load_entry *e = &load->entries[i];
    const uint8_t *at = load->bytes.data + e->key;
    struct sop_entry entry = {{at, e->key_len},
                              {at + e->key_len, e->ride_len},
                              {at + e->key_len + e->ride_len, e->value_len}};
    bool added = true;
    int rc = e->value_len >= STREAM_BYTES ? stream_entry(load, store, &entry, &added, err)
             : args->given[OPT_IF_ABSENT] ? sop_add_if_absent(store, &entry, &added, err)
             : args->given[OPT_ADD] || !load->info.options.unique
                 ? sop_add(store, &entry, err)
                 : sop_upsert(store, &entry, err);
    if (rc != 0) {
        load->bad_line = e->line;
    } else {
        *changed += added;
    }
    return rc;
}

static int write_batch(void *arg, struct sop_txn *txn, struct sop_err *err)
{
    struct sop_load *load = arg;
    struct sop_store *store;
    uint64_t changed = 0;
    load->bad_line = 0;
    int rc = load->create ? sop_store_create(&store, txn, load->info.name, &load->options, err)
                          : sop_store_open(&store, txn, load->info.name, err);
    for (size_t i = 0; i < load->count && rc == 0; i++) {
        rc = write_entry(load, store, i, &changed, err);
    }
    load->changed += rc == 0 ? changed : 0;
    return rc;
}

static int acknowledge(struct sop_load *load)
{
    if (load->acknowledged == NULL) {
        return 0;
    }
    if (fprintf(load->acknowledged, "%" PRIu64 "\n", load->committed) < 0 ||
        fflush(load->acknowledged) != 0) {
        return SOP_ERR_SYS(&load->ctl->err, IO, errno, "write '%s'",
                           load->ctl->args->text[OPT_ACKNOWLEDGED]);
    }
    return 0;
}

static int flush_batch(struct sop_load *load)
{
    if (load->count == 0 && !load->create) {
        return 0;
    }
    struct sop_commit commit;
    int rc = sop_txn_run(load->ctl->db, NULL, 0, write_batch, load, &commit, &load->ctl->err);
    if (rc != 0) {
        return load->bad_line == 0
                   ? rc
                   : sop_err_wrap(&load->ctl->err, rc, "line %" PRIu64, load->bad_line);
    }
    load->create = false;
    load->committed += load->count;
    load->count = 0;
    load->bytes.len = 0;
    sop_ctl__progress(&load->progress,
                      load->bytes_total > 0 ? load->bytes_read : load->committed,
                      load->bytes_total);
    return acknowledge(load);
}

static int grow_entries(struct sop_load *load)
{
    if (load->count < load->room) {
        return 0;
    }
    size_t room = load->room == 0 ? 1024 : load->room * 2;
    struct sop_load_entry *entries = realloc(load->entries, room * sizeof *entries);
    if (entries == NULL) {
        return SOP_ERR(&load->ctl->err, NOMEM, "gather %zu items of a batch", room);
    }
    load->entries = entries;
    load->room = room;
    return 0;
}

int sop_load__item(struct sop_load *load, const struct sop_load_item *item)
{
    struct sop_err *err = &load->ctl->err;
    int rc = grow_entries(load);
    if (rc != 0) {
        return rc;
    }
    struct sop_load_entry *e = &load->entries[load->count];
    e->key = load->bytes.len;
    e->line = item->line;
    rc = item->whole
             ? sop_ctl__key_whole(&load->info, item->key[0], &load->bytes, err)
             : sop_ctl__key_fields(&load->info, item->key, item->keys, &load->bytes, err);
    if (rc != 0) {
        return sop_err_wrap(err, rc, "line %" PRIu64, item->line);
    }
    e->key_len = load->bytes.len - e->key;
    e->ride_len = item->ride.len;
    e->value_len = item->value.len;
    rc = sop_ctl__buf_add(&load->bytes, item->ride, err);
    if (rc == 0) {
        rc = sop_ctl__buf_add(&load->bytes, item->value, err);
    }
    if (rc != 0) {
        return rc;
    }
    load->count++;
    load->seen++;
    return load->count == load->most || load->bytes.len > BATCH_BYTES_MAX ? flush_batch(load)
                                                                          : 0;
}

/* ---- set-up ------------------------------------------------------------------------------ */

/* Cuts --key-columns at its commas. */
static int find_columns(struct sop_load *load)
{
    struct sop_ctl *ctl = load->ctl;
    struct sop_load_columns *c = &load->columns;
    c->given = ctl->args->given[OPT_KEY_COLUMNS];
    c->value = ctl->args->text[OPT_VALUE_COLUMN];
    c->names = strdup(c->given ? ctl->args->text[OPT_KEY_COLUMNS] : "key");
    if (c->names == NULL) {
        return SOP_ERR(&ctl->err, NOMEM, "hold the names of columns");
    }
    for (char *at = c->names; at != NULL;) {
        char *comma = strchr(at, ',');
        if (c->keys == SOP_LOAD_FIELDS_MAX || at[0] == '\0' || at == comma) {
            return SOP_ERR(&ctl->err, INVALID, "--key-columns wants 1 to %d names, as in A,B",
                           SOP_LOAD_FIELDS_MAX);
        }
        c->key[c->keys++] = at;
        if (comma != NULL) {
            *comma++ = '\0';
        }
        at = comma;
    }
    return 0;
}

static bool file_is_ndjson(const struct sop_args *args)
{
    if (args->given[OPT_FORMAT]) {
        return args->text[OPT_FORMAT][0] == 'n';
    }
    const char *dot = args->count > 1 ? strrchr(args->rest[1], '.') : NULL;
    return dot != NULL && (strcmp(dot, ".ndjson") == 0 || strcmp(dot, ".jsonl") == 0 ||
                           strcmp(dot, ".json") == 0);
}

static int open_file(struct sop_load *load)
{
    const struct sop_args *args = load->ctl->args;
    const char *name = args->count > 1 ? args->rest[1] : "-";
    load->from = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
    if (load->from == NULL) {
        return SOP_ERR_SYS(&load->ctl->err, INVALID, errno, "open '%s'", name);
    }
    struct stat st;
    if (fstat(fileno(load->from), &st) == 0) {
        if (S_ISDIR(st.st_mode)) {
            return SOP_ERR(&load->ctl->err, INVALID, "'%s' is a folder, not a file", name);
        }
        load->bytes_total = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    }
    if (args->given[OPT_ACKNOWLEDGED]) {
        load->acknowledged = fopen(args->text[OPT_ACKNOWLEDGED], "a");
        if (load->acknowledged == NULL) {
            return SOP_ERR_SYS(&load->ctl->err, INVALID, errno, "open '%s'",
                               args->text[OPT_ACKNOWLEDGED]);
        }
    }
    return 0;
}

/* Refuses a --key that is not the one of the store that is there. */
static int same_key(struct sop_ctl *ctl, const struct sop_key_schema *is,
                    const struct sop_key_schema *given)
{
    char is_text[512], given_text[512];
    sop_ctl__schema_text(is, is_text, sizeof is_text);
    sop_ctl__schema_text(given, given_text, sizeof given_text);
    return strcmp(is_text, given_text) == 0
               ? 0
               : SOP_ERR(&ctl->err, WRONG_TYPE, "the keys of store '%s' are %s, not %s",
                         ctl->args->rest[0], is_text, given_text);
}

/* Learns the key schema of the store, or decides that the first batch makes it. Options that
 * no store can have are refused here, before the file is read. */
static int prepare_store(struct sop_load *load)
{
    struct sop_ctl *ctl = load->ctl;
    struct sop_store_options *options = &load->options;
    int rc = sop_ctl__store_options(ctl, options);
    struct sop_txn *txn = NULL;
    if (rc == 0) {
        rc = sop_ctl__begin(ctl, SOP_WRITE, &txn);
    }
    if (rc != 0) {
        return rc;
    }
    load->info.name = ctl->args->rest[0];
    struct sop_store *store;
    struct sop_store_info info;
    rc = sop_store_open(&store, txn, load->info.name, &ctl->err);
    load->create = rc == SOP_ERR_NOT_FOUND && ctl->args->given[OPT_CREATE];
    if (load->create) {
        rc = sop_store_create(&store, txn, load->info.name, options, &ctl->err);
    } else if (rc == SOP_ERR_NOT_FOUND) {
        rc = SOP_ERR(&ctl->err, NOT_FOUND, "there is no store '%s'; --create makes it",
                     load->info.name);
    }
    if (rc == 0) {
        rc = sop_store_info(store, &info, &ctl->err);
    }
    if (rc == 0 && !load->create && ctl->args->given[OPT_KEY]) {
        rc = same_key(ctl, &info.options.key, &options->key);
    }
    if (rc == 0) {
        load->info.options.key = info.options.key;
        load->info.options.unique = info.options.unique;
    }
    sop_txn_rollback(&txn);
    return rc;
}

static void load_fini(struct sop_load *load)
{
    if (load->from != NULL && load->from != stdin) {
        fclose(load->from);
    }
    if (load->acknowledged != NULL) {
        fclose(load->acknowledged);
    }
    free(load->columns.names);
    free(load->entries);
    sop_ctl__buf_fini(&load->bytes);
}

static void load_summary(struct sop_load *load)
{
    struct sop_out *out = &load->ctl->out;
    double seconds = (double)(sop_ctl__now_ns() - load->progress.began_ns) / 1e9;
    uint64_t items = load->committed - load->skip;
    double rate = seconds > 0 ? (double)items / seconds : 0;
    if (load->ctl->args->given[OPT_QUIET] || out->format == SOP_FORMAT_RAW) {
        return;
    }
    if (out->format == SOP_FORMAT_TABLE) {
        char took[32];
        sop_out__duration(took, sizeof took, seconds);
        fprintf(out->to, "items loaded: %" PRIu64 " in %s (%.0f a second)", items, took, rate);
        if (load->changed < items) {
            fprintf(out->to, ", %" PRIu64 " of them there already and left alone",
                    items - load->changed);
        }
        fputc('\n', out->to);
        return;
    }
    sop_out__object(out, json_pack("{s:s, s:I, s:I, s:I, s:f}", "done", "items loaded", "items",
                                   (json_int_t)items, "changed", (json_int_t)load->changed,
                                   "skipped", (json_int_t)load->skip, "seconds", seconds));
}

/* What an error means for the items of the file, and how to go on. */
static int advise(struct sop_load *load, int rc)
{
    struct sop_err *err = &load->ctl->err;
    uint64_t n = load->committed;
    if (rc == SOP_ERR_UNKNOWN) {
        return sop_err_wrap(err, rc,
                            "%" PRIu64 " items of the file are committed, perhaps %zu more; "
                            "count the store before you go on with --skip",
                            n, load->count);
    }
    return n == 0 ? sop_err_wrap(err, rc, "nothing was loaded")
                  : sop_err_wrap(err, rc,
                                 "items of the file that are committed: %" PRIu64
                                 "; go on with --skip %" PRIu64,
                                 n, n);
}

/* Reads everything and commits the last batch. On failure the message tells how to go on. */
static int load_all(struct sop_load *load)
{
    struct sop_ctl *ctl = load->ctl;
    load->committed = load->skip;
    sop_ctl__progress_init(&load->progress, ctl, "load", load->bytes_total > 0 ? "B" : "");
    int rc = file_is_ndjson(ctl->args) ? sop_load__ndjson(load) : sop_load__csv(load);
    if (rc == 0 && load->seen < load->skip) {
        sop_ctl__progress_end(&load->progress);
        return SOP_ERR(&ctl->err, INVALID,
                       "--skip says %" PRIu64 ", the file has fewer items: %" PRIu64,
                       load->skip, load->seen);
    }
    if (rc == 0) {
        rc = flush_batch(load);
    }
    sop_ctl__progress_end(&load->progress);
    return rc != 0 ? advise(load, rc) : 0;
}

int sop_ctl__load(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    struct sop_load load = {.ctl = ctl, .most = BATCH_DEFAULT};
    if (args->given[OPT_ADD] && args->given[OPT_IF_ABSENT]) {
        return SOP_ERR(&ctl->err, INVALID, "--add and --if-absent exclude each other");
    }
    if (args->given[OPT_BATCH]) {
        if (args->number[OPT_BATCH] < 1 || args->number[OPT_BATCH] > BATCH_MAX) {
            return SOP_ERR(&ctl->err, INVALID, "--batch is 1 to %d", BATCH_MAX);
        }
        load.most = (size_t)args->number[OPT_BATCH];
    }
    load.skip = args->given[OPT_SKIP] ? args->number[OPT_SKIP] : 0;
    int rc = find_columns(&load);
    if (rc == 0) {
        rc = open_file(&load);
    }
    if (rc == 0) {
        rc = sop_ctl__open(ctl, SOP_CTL_WRITE, NULL);
    }
    if (rc == 0) {
        rc = prepare_store(&load);
    }
    if (rc == 0) {
        rc = load_all(&load);
    }
    if (rc == 0) {
        load_summary(&load);
    }
    load_fini(&load);
    return rc;
}
