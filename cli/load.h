/* Between the readers of sopctl load (load_csv.c, load_json.c) and its writer (cmd_load.c). */
#ifndef SOP_CLI_LOAD_H
#define SOP_CLI_LOAD_H

#include "cli/ctl.h"

#define SOP_LOAD_FIELDS_MAX 32

/* Which columns make the key and the value; names or numbers from 1. */
struct sop_load_columns {
    char *names; /* what --key-columns said, cut at its commas */
    const char *key[SOP_LOAD_FIELDS_MAX];
    size_t keys;
    bool given;        /* by --key-columns; otherwise key[0] is "key" */
    const char *value; /* --value-column, or NULL */
};

/* One item of the file. key: one text per field of the schema, or the whole key as one text
 * when `whole` (as sop_ctl__key_text() wrote it); data NULL is null. Borrowed for the call. */
struct sop_load_item {
    struct sop_slice key[SOP_LOAD_FIELDS_MAX];
    size_t keys;
    bool whole;
    struct sop_slice ride, value;
    uint64_t line; /* where it began */
};

struct sop_load {
    struct sop_ctl *ctl;
    struct sop_load_columns columns;
    struct sop_store_info info; /* name, key schema and unique only */
    struct sop_store_options options;
    bool create; /* the store is absent: the first batch makes it, with options */
    FILE *from;
    uint64_t bytes_read, bytes_total; /* total 0 = not known */
    struct sop_ctl_progress progress;
    uint64_t seen, committed, changed, skip;

    /* The batch that is being gathered. */
    struct sop_ctl_buf bytes;
    struct sop_load_entry *entries;
    size_t count, room, most;
    uint64_t bad_line; /* of the entry that a commit stumbled over, 0 = none */
    FILE *acknowledged;
};

/* How a key of `keys` columns is meant: as one text of all fields, or a text per field. */
bool sop_load__whole(const struct sop_load *load, size_t keys);
/* True when the next item is one of those to skip: call instead of making it. */
bool sop_load__skips(struct sop_load *load);
/* Takes one item; commits when the batch is full. */
int sop_load__item(struct sop_load *load, const struct sop_load_item *item);
/* "line N: text". */
int sop_load__complain(struct sop_load *load, uint64_t line, const char *text);

int sop_load__csv(struct sop_load *load);
int sop_load__ndjson(struct sop_load *load);

#endif
