/* sopctl store create | list | info | change | drop. */
#include "cli/ctl.h"

#include <string.h>

static const char *class_text(enum sop_value_class values)
{
    return values == SOP_VALUES_BIG ? "big" : values == SOP_VALUES_MEDIUM ? "medium" : "small";
}

static int seconds(struct sop_ctl *ctl, enum sop_ctl_option option, uint32_t *to)
{
    const struct sop_args *args = ctl->args;
    if (!args->given[option]) {
        return 0;
    }
    if (args->number[option] > UINT32_MAX) {
        return SOP_ERR(&ctl->err, INVALID, "--%s is too large",
                       sop_ctl__program.options[option].name);
    }
    *to = (uint32_t)args->number[option];
    return 0;
}

/* The options that store change may give too. */
static int soft_options(struct sop_ctl *ctl, struct sop_store_options *options)
{
    const struct sop_args *args = ctl->args;
    if (args->given[OPT_DESCRIPTION]) {
        options->description = args->text[OPT_DESCRIPTION];
    }
    if (args->given[OPT_CUSTOM]) {
        options->custom = sop_ctl__slice(args->text[OPT_CUSTOM]);
    }
    int rc = seconds(ctl, OPT_CACHE_PAGE, &options->cache_page_seconds);
    if (rc == 0) {
        rc = seconds(ctl, OPT_CACHE_VALUE, &options->cache_value_seconds);
    }
    return rc == 0 ? seconds(ctl, OPT_CACHE_INFO, &options->cache_info_seconds) : rc;
}

int sop_ctl__store_options(struct sop_ctl *ctl, struct sop_store_options *options)
{
    const struct sop_args *args = ctl->args;
    sop_store_options_init(options);
    options->unique = !args->given[OPT_DUPLICATES];
    if (args->given[OPT_BLOB_KEY]) {
        options->blob_key = args->text[OPT_BLOB_KEY];
    }
    if (args->given[OPT_VALUES]) {
        options->values = args->text[OPT_VALUES][0] == 'b'   ? SOP_VALUES_BIG
                          : args->text[OPT_VALUES][0] == 'm' ? SOP_VALUES_MEDIUM
                                                             : SOP_VALUES_SMALL;
    }
    int rc = seconds(ctl, OPT_SLOT_LENGTH, &options->slot_length);
    if (rc == 0 && args->given[OPT_KEY]) {
        rc = sop_ctl__schema_parse(args->text[OPT_KEY], &options->key, &ctl->err);
    }
    return rc == 0 ? soft_options(ctl, options) : rc;
}

int sop_ctl__store_create(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    struct sop_store_options options;
    int rc = sop_ctl__store_options(ctl, &options);
    if (rc == 0) {
        rc = sop_ctl__open(ctl, SOP_CTL_WRITE, NULL);
    }
    struct sop_txn *txn = NULL;
    if (rc == 0) {
        rc = sop_ctl__begin(ctl, SOP_WRITE, &txn);
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_store *store;
    rc = sop_store_create(&store, txn, args->rest[0], &options, &ctl->err);
    if (rc != 0) {
        sop_txn_rollback(&txn);
        return rc;
    }
    return sop_ctl__commit(ctl, &txn, "stores made", 1);
}

json_t *sop_ctl__store_json(const struct sop_store_info *info, bool with_items)
{
    const struct sop_store_options *o = &info->options;
    char schema[256];
    sop_ctl__schema_text(&o->key, schema, sizeof schema);
    json_t *j = json_pack("{s:o}", "name", sop_out__bytes(sop_ctl__slice(info->name)));
    if (with_items) {
        json_object_set_new(j, "items", json_integer((json_int_t)info->items));
    }
    json_object_set_new(j, "key", json_string(o->comparer != NULL ? o->comparer : schema));
    json_object_set_new(j, "unique", json_boolean(o->unique));
    json_object_set_new(j, "slot_length", json_integer(o->slot_length));
    json_object_set_new(j, "values", json_string(class_text(o->values)));
    const char *description = o->description != NULL ? o->description : "";
    json_object_set_new(j, "description", sop_out__bytes(sop_ctl__slice(description)));
    return j;
}

static int list_one(void *arg, const struct sop_store_info *info, struct sop_err *err)
{
    struct sop_ctl *ctl = arg;
    (void)err;
    sop_out__row(&ctl->out, sop_ctl__store_json(info, true));
    return 0;
}

int sop_ctl__store_list(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    const char *path;
    (void)args;
    int rc = sop_ctl__path(ctl, 0, &path);
    if (rc == 0) {
        rc = sop_ctl__open(ctl, SOP_CTL_READ, path);
    }
    struct sop_txn *txn = NULL;
    if (rc == 0) {
        rc = sop_ctl__begin(ctl, SOP_READ, &txn);
    }
    if (rc != 0) {
        return rc;
    }
    rc = sop_store_list(txn, "", list_one, ctl, &ctl->err);
    sop_out__end(&ctl->out);
    sop_txn_rollback(&txn);
    return rc;
}

int sop_ctl__store_info(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    (void)args;
    struct sop_ctl_store s;
    int rc = sop_ctl__open_store(ctl, SOP_CTL_READ, &s);
    if (rc != 0) {
        return rc;
    }
    const struct sop_store_options *o = &s.info.options;
    json_t *j = sop_ctl__store_json(&s.info, true);
    json_object_set_new(j, "id", json_integer((json_int_t)s.info.id));
    json_object_set_new(j, "blob_key", json_string(o->blob_key != NULL ? o->blob_key : ""));
    json_object_set_new(j, "custom", sop_out__bytes(o->custom));
    json_object_set_new(j, "cache_page_seconds", json_integer(o->cache_page_seconds));
    json_object_set_new(j, "cache_value_seconds", json_integer(o->cache_value_seconds));
    json_object_set_new(j, "cache_info_seconds", json_integer(o->cache_info_seconds));
    sop_out__object(&ctl->out, j);
    sop_txn_rollback(&s.txn);
    return 0;
}

int sop_ctl__store_change(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    struct sop_ctl_store s;
    const bool *given = args->given;
    if (!given[OPT_DESCRIPTION] && !given[OPT_CUSTOM] && !given[OPT_CACHE_PAGE] &&
        !given[OPT_CACHE_VALUE] && !given[OPT_CACHE_INFO]) {
        return SOP_ERR(&ctl->err, INVALID,
                       "nothing to change; give --description, --custom or a cache time");
    }
    int rc = sop_ctl__open_store(ctl, SOP_CTL_WRITE, &s);
    if (rc != 0) {
        return rc;
    }
    struct sop_store_options options = s.info.options;
    options.size = sizeof options;
    rc = soft_options(ctl, &options);
    if (rc == 0) {
        rc = sop_store_change(s.store, &options, &ctl->err);
    }
    if (rc != 0) {
        sop_txn_rollback(&s.txn);
        return rc;
    }
    return sop_ctl__commit(ctl, &s.txn, "stores changed", 1);
}

int sop_ctl__store_drop(void *context, const struct sop_args *args)
{
    struct sop_ctl *ctl = context;
    int rc = sop_ctl__open(ctl, SOP_CTL_WRITE, NULL);
    struct sop_txn *txn = NULL;
    if (rc == 0) {
        rc = sop_ctl__begin(ctl, SOP_WRITE, &txn);
    }
    if (rc != 0) {
        return rc;
    }
    rc = sop_store_remove(txn, args->rest[0], &ctl->err);
    if (rc != 0) {
        sop_txn_rollback(&txn);
        return rc == SOP_ERR_NOT_FOUND ? sop_ctl__no_store(ctl) : rc;
    }
    return sop_ctl__commit(ctl, &txn, "stores dropped", 1);
}
