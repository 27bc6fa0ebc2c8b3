/* CSV (RFC 4180, by libcsv) for sopctl load. The parser is fed line by line, so that an error
 * can name the line; a quoted field may go over many lines. */
#include "cli/load.h"

#include <csv.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct csv {
    struct sop_load *load;
    struct sop_ctl_buf row; /* bytes of the fields, one after the other */
    size_t ends[1024];      /* where field i ends in row */
    size_t fields;
    char **header;
    size_t columns; /* of the header; without one, of the first row */
    size_t key[SOP_LOAD_FIELDS_MAX], keys;
    size_t value, ride; /* SIZE_MAX = none */
    bool resolved;
    uint64_t line, row_line;
    int rc;
};

#define PIECE_BYTES ((size_t)65536)
#define FIELDS_MAX  (sizeof((struct csv *)0)->ends / sizeof(size_t))

static struct sop_slice field(const struct csv *c, size_t i)
{
    size_t begin = i == 0 ? 0 : c->ends[i - 1];
    return (struct sop_slice){c->row.data + begin, c->ends[i] - begin};
}

static void on_field(void *bytes, size_t len, void *arg)
{
    struct csv *c = arg;
    if (c->rc != 0) {
        return;
    }
    if (c->fields == FIELDS_MAX) {
        c->rc = sop_load__complain(c->load, c->row_line, "more than 1024 fields");
        return;
    }
    c->rc = sop_ctl__buf_add(&c->row, (struct sop_slice){bytes, len}, &c->load->ctl->err);
    c->ends[c->fields++] = c->row.len;
}

static int read_header(struct csv *c)
{
    struct sop_err *err = &c->load->ctl->err;
    c->header = calloc(c->fields, sizeof *c->header);
    if (c->header == NULL) {
        return SOP_ERR(err, NOMEM, "hold the header");
    }
    c->columns = c->fields;
    for (size_t i = 0; i < c->fields; i++) {
        struct sop_slice f = field(c, i);
        if (i == 0 && f.len >= 3 && memcmp(f.data, "\xEF\xBB\xBF", 3) == 0) {
            f.data += 3; /* the byte order mark that some spreadsheets write */
            f.len -= 3;
        }
        if (f.len > 0 && memchr(f.data, 0, f.len) != NULL) {
            return SOP_ERR(err, INVALID, "the name of column %zu has a zero byte", i + 1);
        }
        c->header[i] = calloc(1, f.len + 1); /* the fields of a row do not end in 0 */
        if (c->header[i] == NULL) {
            return SOP_ERR(err, NOMEM, "hold the header");
        }
        if (f.len > 0) {
            memcpy(c->header[i], f.data, f.len);
        }
    }
    return 0;
}

/* The column with this name, or this number from 1. */
static size_t find_column(const struct csv *c, const char *name)
{
    for (size_t i = 0; c->header != NULL && i < c->columns; i++) {
        if (strcmp(c->header[i], name) == 0) {
            return i;
        }
    }
    uint64_t number;
    if (sop_args_number(name, 1000, &number) && number >= 1 && number <= c->columns) {
        return (size_t)number - 1;
    }
    return SIZE_MAX;
}

static int no_column(struct csv *c, const char *name)
{
    return SOP_ERR(
        &c->load->ctl->err, INVALID,
        "there is no column '%s' in the CSV; say --key-columns and --value-column, or "
        "--no-header and numbers",
        name);
}

/* The columns of --key-columns; otherwise 'key', or 'key1', 'key2', ... as dump writes them for
 * a key of many fields, or the first ones of a file without header. */
static int resolve_key(struct csv *c)
{
    const struct sop_load_columns *want = &c->load->columns;
    uint32_t fields = c->load->info.options.key.fields_count;
    c->keys = want->keys;
    if (!want->given && c->header == NULL) {
        c->keys = fields > 1 && c->columns > fields ? fields : 1;
    } else if (!want->given && find_column(c, "key1") != SIZE_MAX) {
        c->keys = fields;
    }
    for (size_t i = 0; i < c->keys; i++) {
        char name[24];
        snprintf(name, sizeof name, "key%zu", i + 1);
        bool numbered = !want->given && c->keys > 1;
        const char *wanted = numbered ? name : want->key[i];
        c->key[i] = !want->given && c->header == NULL ? i : find_column(c, wanted);
        if (c->key[i] == SIZE_MAX) {
            return no_column(c, wanted);
        }
    }
    return 0;
}

static bool goes_into_object(const struct csv *c, size_t column)
{
    bool other = column == c->ride;
    for (size_t k = 0; k < c->keys; k++) {
        other = other || c->key[k] == column;
    }
    return !other;
}

/* Names of columns become members of a JSON object: each must be one, and one of its own. */
static int check_names(const struct csv *c)
{
    struct sop_err *err = &c->load->ctl->err;
    for (size_t i = 0; i < c->columns; i++) {
        json_t *name = json_string(c->header[i]);
        json_decref(name);
        if (name == NULL) {
            return SOP_ERR(err, INVALID, "the name of column %zu is not UTF-8", i + 1);
        }
        for (size_t k = 0; k < i && goes_into_object(c, i); k++) {
            if (goes_into_object(c, k) && strcmp(c->header[k], c->header[i]) == 0) {
                return SOP_ERR(err, INVALID,
                               "columns %zu and %zu are both named '%s'; give them different "
                               "names, or say --value-column",
                               k + 1, i + 1, c->header[i]);
            }
        }
    }
    return 0;
}

static int resolve_columns(struct csv *c)
{
    const struct sop_load_columns *want = &c->load->columns;
    c->resolved = true;
    c->value = SIZE_MAX;
    c->ride = SIZE_MAX;
    int rc = resolve_key(c);
    if (rc != 0) {
        return rc;
    }
    if (want->value != NULL) {
        c->value = find_column(c, want->value);
        return c->value != SIZE_MAX ? 0 : no_column(c, want->value);
    }
    if (c->header == NULL) {
        c->value = !want->given && c->columns == c->keys + 1 ? c->keys : SIZE_MAX;
        return 0;
    }
    c->value = find_column(c, "value");
    if (!want->given) {
        c->ride = find_column(c, "ride");
    }
    return c->value == SIZE_MAX ? check_names(c) : 0;
}

/* All columns but the key's as one JSON object. */
static char *value_object(const struct csv *c)
{
    json_t *object = json_object();
    for (size_t i = 0; i < c->fields; i++) {
        if (goes_into_object(c, i)) {
            char number[24];
            snprintf(number, sizeof number, "%zu", i + 1);
            json_object_set_new(object, c->header != NULL ? c->header[i] : number,
                                sop_out__bytes(field(c, i)));
        }
    }
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

static int take_row(struct csv *c)
{
    struct sop_load *load = c->load;
    if (c->fields != c->columns) {
        return SOP_ERR(&load->ctl->err, INVALID, "line %llu: %zu fields instead of %zu",
                       (unsigned long long)c->row_line, c->fields, c->columns);
    }
    if (sop_load__skips(load)) {
        return 0;
    }
    struct sop_load_item item = {.keys = c->keys, .line = c->row_line};
    item.whole = sop_load__whole(load, c->keys);
    for (size_t i = 0; i < item.keys; i++) {
        item.key[i] = field(c, c->key[i]);
        if (item.key[i].len == 0) {
            item.key[i].data = NULL; /* null, where null is allowed */
        }
    }
    if (c->ride != SIZE_MAX) {
        item.ride = field(c, c->ride);
    }
    char *object = NULL;
    if (c->value != SIZE_MAX) {
        item.value = field(c, c->value);
    } else {
        object = value_object(c);
        if (object == NULL) {
            return SOP_ERR(&load->ctl->err, NOMEM, "make the value of line %llu",
                           (unsigned long long)c->row_line);
        }
        item.value = sop_ctl__slice(object);
    }
    int rc = sop_load__item(load, &item);
    free(object);
    return rc;
}

static void on_row(int end, void *arg)
{
    struct csv *c = arg;
    (void)end;
    if (c->rc == 0 && c->fields > 0) {
        bool header = !c->resolved && !c->load->ctl->args->given[OPT_NO_HEADER];
        if (header) {
            c->rc = read_header(c);
        } else if (!c->resolved) {
            c->columns = c->fields;
        }
        if (c->rc == 0 && !c->resolved) {
            c->rc = resolve_columns(c);
        }
        if (c->rc == 0 && !header) {
            c->rc = take_row(c);
        }
    }
    c->fields = 0;
    c->row.len = 0;
    c->row_line = c->line + 1;
}

/* In pieces, before each of which the parser may double its memory: of itself it grows by a
 * fixed step, and a large value would be copied again and again. */
static bool parse_line(struct csv *c, struct csv_parser *parser, const char *line, size_t len)
{
    for (size_t at = 0; at < len && c->rc == 0;) {
        size_t piece = len - at < PIECE_BYTES ? len - at : PIECE_BYTES;
        size_t room = csv_get_buffer_size(parser);
        csv_set_blk_size(parser, room < PIECE_BYTES ? PIECE_BYTES : room);
        if (csv_parse(parser, line + at, piece, on_field, on_row, c) != piece) {
            return false;
        }
        at += piece;
    }
    return true;
}

static int feed(struct csv *c, struct csv_parser *parser)
{
    struct sop_load *load = c->load;
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    while (c->rc == 0 && (len = getline(&line, &room, load->from)) > 0) {
        c->line++;
        load->bytes_read += (uint64_t)len;
        if (!parse_line(c, parser, line, (size_t)len) && c->rc == 0) {
            c->rc = sop_load__complain(load, c->line,
                                       csv_error(parser) == CSV_EPARSE
                                           ? "a quote out of place: a field with quotes is "
                                             "quoted, and each quote inside is written twice"
                                           : csv_strerror(csv_error(parser)));
        }
    }
    free(line);
    if (c->rc == 0 && ferror(load->from)) {
        c->rc = SOP_ERR_SYS(&load->ctl->err, IO, errno, "read the file");
    }
    if (c->rc == 0 && csv_fini(parser, on_field, on_row, c) != 0) {
        c->rc = sop_load__complain(load, c->row_line, "a quote that opens here is not closed");
    }
    if (c->rc == 0 && !c->resolved && !load->ctl->args->given[OPT_NO_HEADER]) {
        c->rc = SOP_ERR(&load->ctl->err, INVALID,
                        "the CSV is empty: its first line names the columns, for example "
                        "key,value; with --no-header it has none and may be empty");
    }
    return c->rc;
}

int sop_load__csv(struct sop_load *load)
{
    struct csv *c = calloc(1, sizeof *c);
    struct csv_parser parser;
    if (c == NULL || csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI) != 0) {
        free(c);
        return SOP_ERR(&load->ctl->err, NOMEM, "begin to read CSV");
    }
    c->load = load;
    c->row_line = 1;
    int rc = feed(c, &parser);
    csv_free(&parser);
    for (size_t i = 0; c->header != NULL && i < c->columns; i++) {
        free(c->header[i]);
    }
    free(c->header);
    sop_ctl__buf_fini(&c->row);
    free(c);
    return rc;
}
