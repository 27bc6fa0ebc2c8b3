/* Tables, JSON and errors; see output.h. */
#include "cli/output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void sop_out__init(struct sop_out *out, FILE *to, const char *format)
{
    memset(out, 0, sizeof *out);
    out->to = to;
    if (format != NULL && strcmp(format, "json") == 0) {
        out->format = SOP_FORMAT_JSON;
    } else if (format != NULL && strcmp(format, "ndjson") == 0) {
        out->format = SOP_FORMAT_NDJSON;
    } else if (format != NULL && strcmp(format, "raw") == 0) {
        out->format = SOP_FORMAT_RAW;
    }
}

void sop_out__fini(struct sop_out *out)
{
    json_decref(out->held);
    json_decref(out->header);
    out->held = NULL;
    out->header = NULL;
}

/* ---- bytes and text -------------------------------------------------------------------- */

/* Length of the UTF-8 character at p (of n bytes), 0 if there is none. Refuses overlong forms,
 * surrogates and what is past U+10FFFF. */
static size_t utf8_len(const uint8_t *p, size_t n)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (len == 0 || p[0] > 0xF4 || len > n) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    bool bad = (p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
               (p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F);
    return bad ? 0 : len;
}

size_t sop_out__not_utf8(struct sop_slice bytes)
{
    for (size_t i = 0; i < bytes.len;) {
        size_t len = utf8_len(bytes.data + i, bytes.len - i);
        if (len == 0) {
            return i;
        }
        i += len;
    }
    return bytes.len;
}

bool sop_out__is_utf8(struct sop_slice bytes)
{
    return sop_out__not_utf8(bytes) == bytes.len;
}

/* Columns on a terminal: 2 for the blocks of East Asian wide characters. */
static int char_columns(const uint8_t *p, size_t len)
{
    uint32_t c = p[0];
    if (len == 3) {
        c = (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    } else if (len == 4) {
        c = (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12;
    }
    bool wide = (c >= 0x1100 && c <= 0x115F) || (c >= 0x2E80 && c <= 0xA4CF) ||
                (c >= 0xAC00 && c <= 0xD7A3) || (c >= 0xF900 && c <= 0xFAFF) ||
                (c >= 0xFF00 && c <= 0xFF60) || (c >= 0x1F000 && c <= 0x1FFFF) ||
                (c >= 0x20000 && c <= 0x3FFFF);
    return wide ? 2 : 1;
}

/* Writes bytes as one line of text; returns its columns. */
static int text_columns(FILE *to, struct sop_slice bytes)
{
    int columns = 0;
    for (size_t i = 0; i < bytes.len;) {
        const uint8_t *p = bytes.data + i;
        size_t len = utf8_len(p, bytes.len - i);
        if (len == 0 || p[0] < 0x20 || p[0] == 0x7F || (p[0] == 0xC2 && p[1] < 0xA0)) {
            const char *at = p[0] != '\0' ? strchr("\nn\tt\rr", p[0]) : NULL;
            columns += at != NULL ? fprintf(to, "\\%c", at[1]) : fprintf(to, "\\x%02x", p[0]);
            i++;
            continue;
        }
        fwrite(p, 1, len, to);
        columns += char_columns(p, len);
        i += len;
    }
    return columns;
}

void sop_out__write(FILE *to, struct sop_slice bytes)
{
    if (bytes.len > 0) { /* of none there may be no place, which fwrite() may not be given */
        fwrite(bytes.data, 1, bytes.len, to);
    }
}

void sop_out__text(FILE *to, struct sop_slice bytes)
{
    text_columns(to, bytes);
}

static const char digits64[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *sop_out__base64(struct sop_slice bytes)
{
    char *text = malloc((bytes.len + 2) / 3 * 4 + 1);
    if (text == NULL) {
        return NULL;
    }
    char *at = text;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t have = bytes.len - i < 3 ? bytes.len - i : 3;
        uint32_t v = (uint32_t)bytes.data[i] << 16;
        v |= have > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0;
        v |= have > 2 ? (uint32_t)bytes.data[i + 2] : 0;
        *at++ = digits64[v >> 18];
        *at++ = digits64[(v >> 12) & 63];
        *at++ = have > 1 ? digits64[(v >> 6) & 63] : '=';
        *at++ = have > 2 ? digits64[v & 63] : '=';
    }
    *at = '\0';
    return text;
}

uint8_t *sop_out__base64_decode(const char *text, size_t len, size_t *bytes)
{
    size_t pad = len >= 1 && text[len - 1] == '=' ? 1 : 0;
    pad += len >= 2 && text[len - 2] == '=' ? 1 : 0;
    uint8_t *out = len % 4 == 0 ? malloc(len / 4 * 3 + 1) : NULL;
    if (out == NULL) {
        return NULL;
    }
    size_t used = 0;
    for (size_t i = 0; i < len; i += 4) {
        uint32_t v = 0;
        size_t have = i + 4 == len ? 4 - pad : 4;
        for (size_t j = 0; j < 4; j++) {
            const char *at =
                j < have && text[i + j] != '\0' ? strchr(digits64, text[i + j]) : NULL;
            if (j < have && at == NULL) {
                free(out);
                return NULL;
            }
            v = v << 6 | (at != NULL ? (uint32_t)(at - digits64) : 0);
        }
        for (size_t j = 0; j + 1 < have; j++) {
            out[used++] = (uint8_t)(v >> (16 - 8 * j));
        }
    }
    *bytes = used;
    return out;
}

json_t *sop_out__bytes(struct sop_slice bytes)
{
    const char *text = bytes.len > 0 ? (const char *)bytes.data : "";
    if (sop_out__is_utf8(bytes)) {
        return json_stringn_nocheck(text, bytes.len);
    }
    char *coded = sop_out__base64(bytes);
    json_t *object = coded != NULL ? json_pack("{s:s}", "base64", coded) : NULL;
    free(coded);
    return object;
}

bool sop_out__bytes_from(const json_t *value, struct sop_slice *bytes, uint8_t **take)
{
    *take = NULL;
    if (json_is_string(value)) {
        bytes->data = (const uint8_t *)json_string_value(value);
        bytes->len = json_string_length(value);
        return true;
    }
    const json_t *coded = json_object_get(value, "base64");
    if (!json_is_string(coded) || json_object_size(value) != 1) {
        return false;
    }
    *take = sop_out__base64_decode(json_string_value(coded), json_string_length(coded),
                                   &bytes->len);
    bytes->data = *take;
    return *take != NULL;
}

/* ---- objects and rows ------------------------------------------------------------------ */

/* The fewest digits (15 to 17) that tell this double from every other. */
static int real_digits(const json_t *value)
{
    char text[64];
    double real = json_real_value(value);
    int digits = 15;
    do {
        snprintf(text, sizeof text, "%.*g", digits, real);
    } while (digits++ < 17 && strtod(text, NULL) != real);
    return digits - 1;
}

/* The digits that the doubles in a key need: a key is one value or a list of values. */
static int key_digits(const json_t *key)
{
    int most = json_is_real(key) ? real_digits(key) : 15;
    size_t i;
    json_t *field;
    json_array_foreach(key, i, field)
    {
        int digits = json_is_real(field) ? real_digits(field) : 15;
        most = digits > most ? digits : most;
    }
    return most;
}

void sop_out__json(FILE *to, const json_t *value)
{
    const json_t *key = json_is_object(value) ? json_object_get(value, "key") : value;
    json_dumpf(value, to,
               JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION((size_t)key_digits(key)));
}

/* A size for people. */
static int print_bytes(FILE *to, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 1024 && u < 6) {
        v /= 1024;
        u++;
    }
    return fprintf(to, u == 0 ? "%.0f %s" : "%.1f %s", v, units[u]);
}

void sop_out__duration(char *text, size_t bytes, double seconds)
{
    if (seconds < 0.9995) {
        snprintf(text, bytes, seconds < 0.001 ? "%.3f ms" : "%.3g ms", seconds * 1e3);
    } else if (seconds < 59.95) {
        snprintf(text, bytes, "%.1f s", seconds);
    } else {
        uint64_t s = (uint64_t)(seconds + 0.5);
        if (s < 3600) {
            snprintf(text, bytes, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
        } else {
            snprintf(text, bytes, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
        }
    }
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* One cell of a table; returns its columns. Members named *_bytes and *_ns get units. */
static int print_cell(FILE *to, const char *name, const json_t *value)
{
    if (json_is_string(value)) {
        struct sop_slice s = {(const uint8_t *)json_string_value(value),
                              json_string_length(value)};
        return text_columns(to, s);
    }
    if (json_is_integer(value)) {
        json_int_t n = json_integer_value(value);
        if (n >= 0 && ends_with(name, "bytes")) {
            return print_bytes(to, (uint64_t)n);
        }
        if (n >= 0 && ends_with(name, "_ns")) {
            char took[32];
            sop_out__duration(took, sizeof took, (double)n / 1e9);
            return fprintf(to, "%s", took);
        }
        return fprintf(to, "%" JSON_INTEGER_FORMAT, n);
    }
    if (json_is_boolean(value)) {
        return fprintf(to, "%s", json_is_true(value) ? "yes" : "no");
    }
    struct sop_slice bytes;
    uint8_t *take = NULL;
    if (json_is_object(value) && sop_out__bytes_from(value, &bytes, &take)) {
        int columns = text_columns(to, bytes);
        free(take);
        return columns;
    }
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY |
                                       JSON_REAL_PRECISION((size_t)key_digits(value)));
    int columns = fprintf(to, "%s", text != NULL ? text : "?");
    free(text);
    return columns;
}

/* Raw: the bytes, nothing more. */
static void print_raw(FILE *to, const json_t *value)
{
    struct sop_slice bytes;
    uint8_t *take = NULL;
    if (sop_out__bytes_from(value, &bytes, &take)) {
        sop_out__write(to, bytes);
        free(take);
    } else {
        sop_out__json(to, value);
    }
}

static void raw_row(FILE *to, json_t *row, const char *between)
{
    const char *name;
    json_t *value;
    bool first = true;
    json_object_foreach(row, name, value)
    {
        if (!first) {
            fputs(between, to);
        }
        first = false;
        print_raw(to, value);
    }
    fputc('\n', to);
}

void sop_out__object(struct sop_out *out, json_t *take_object)
{
    const char *name;
    json_t *value;
    switch (out->format) {
    case SOP_FORMAT_JSON:
    case SOP_FORMAT_NDJSON:
        sop_out__json(out->to, take_object);
        fputc('\n', out->to);
        break;
    case SOP_FORMAT_RAW:
        raw_row(out->to, take_object, "\n");
        break;
    case SOP_FORMAT_TABLE: {
        int width = 0;
        json_object_foreach(take_object, name, value)
        {
            int len = (int)strlen(name);
            width = len > width ? len : width;
        }
        json_object_foreach(take_object, name, value)
        {
            bool blank = json_is_string(value) && json_string_length(value) == 0;
            fprintf(out->to, "%-*s%s", blank ? 0 : width, name, blank ? "" : "  ");
            print_cell(out->to, name, value);
            fputc('\n', out->to);
        }
        break;
    }
    }
    json_decref(take_object);
}

/* Members by the columns of the header; those that it has not come last, by their names. */
static void table_row(struct sop_out *out, json_t *row)
{
    const char *name;
    json_t *value;
    int gap = 0;
    size_t i = 0;
    json_object_foreach(out->header, name, value)
    {
        const json_t *cell = json_object_get(row, name);
        int width = i < 16 ? out->widths[i++] : 0;
        if (cell == NULL || (json_is_string(cell) && json_string_length(cell) == 0)) {
            gap += width + 2;
            continue;
        }
        fprintf(out->to, "%*s", gap, "");
        int used = print_cell(out->to, name, cell);
        gap = width > used ? width - used + 2 : 2;
    }
    json_object_foreach(row, name, value)
    {
        if (json_object_get(out->header, name) == NULL) {
            fprintf(out->to, "%*s%s=", gap, "", name);
            print_cell(out->to, name, value);
            gap = 2;
        }
    }
    fputc('\n', out->to);
}

/* Widest cell of each column of the header in the rows that are held. */
static void measure(struct sop_out *out)
{
    size_t at;
    json_t *row, *value;
    const char *name;
    FILE *nowhere = fopen("/dev/null", "w");
    json_array_foreach(out->held, at, row)
    {
        size_t i = 0;
        json_object_foreach(out->header, name, value)
        {
            const json_t *cell = json_object_get(row, name);
            int header = (int)strlen(name);
            int width = nowhere != NULL && cell != NULL ? print_cell(nowhere, name, cell) : 0;
            width = header > width ? header : width;
            if (i < 16) {
                out->widths[i] = width > out->widths[i] ? width : out->widths[i];
            }
            i++;
        }
    }
    if (nowhere != NULL) {
        fclose(nowhere);
    }
}

/* Measures the rows that are held, prints the header and them. */
static void table_release(struct sop_out *out)
{
    size_t at;
    json_t *row, *value;
    const char *name;
    json_array_foreach(out->held, at, row)
    {
        if (json_object_size(row) > json_object_size(out->header)) {
            json_decref(out->header);
            out->header = json_incref(row);
        }
    }
    memset(out->widths, 0, sizeof out->widths);
    measure(out);
    size_t i = 0, last = json_object_size(out->header);
    json_object_foreach(out->header, name, value)
    {
        bool padded = ++i < last && i <= 16;
        fprintf(out->to, "%-*s%s", padded ? out->widths[i - 1] : 0, name,
                i < last ? "  " : "\n");
    }
    json_array_foreach(out->held, at, row)
    {
        table_row(out, row);
    }
    json_decref(out->held);
    out->held = NULL;
}

void sop_out__row(struct sop_out *out, json_t *take_row)
{
    switch (out->format) {
    case SOP_FORMAT_JSON:
        fputs(out->rows == 0 ? "[" : ",\n", out->to);
        sop_out__json(out->to, take_row);
        break;
    case SOP_FORMAT_NDJSON:
        sop_out__json(out->to, take_row);
        fputc('\n', out->to);
        break;
    case SOP_FORMAT_RAW:
        raw_row(out->to, take_row, "\t");
        break;
    case SOP_FORMAT_TABLE:
        if (out->rows == 0) {
            out->held = json_array();
        }
        if (out->held != NULL) {
            json_array_append(out->held, take_row);
            if (json_array_size(out->held) == SOP_OUT_ROWS_HELD) {
                table_release(out);
            }
        } else {
            table_row(out, take_row);
        }
        break;
    }
    out->rows++;
    json_decref(take_row);
}

void sop_out__end(struct sop_out *out)
{
    if (out->format == SOP_FORMAT_JSON) {
        fputs(out->rows == 0 ? "[]\n" : "]\n", out->to);
    }
    if (out->held != NULL) {
        table_release(out);
    }
    json_decref(out->header);
    out->header = NULL;
    out->rows = 0;
}

/* ---- errors ---------------------------------------------------------------------------- */

int sop_out__exit_status(int code)
{
    switch (code) {
    case SOP_OK:
        return 0;
    case SOP_ERR_NOT_FOUND:
    case SOP_ERR_END:
        return 1;
    case SOP_ERR_INVALID:
        return 2;
    case SOP_ERR_DATA_LOSS:
        return 5;
    case SOP_ERR_UNKNOWN:
        return 7;
    default:
        break;
    }
    switch (sop_err_class(code)) {
    case SOP_CLASS_RETRY:
    case SOP_CLASS_RESTART:
        return 4;
    case SOP_CLASS_REFUSE:
        return 3;
    case SOP_CLASS_NONE:
    case SOP_CLASS_FATAL:
        break;
    }
    return 6;
}

/* What to do, or NULL. What the table of errors says is for programs, too; where a command can
 * say more, it does. */
static const char *hint_of(const char *command, const struct sop_err *err)
{
    if (err->sys == EACCES || err->sys == EPERM) {
        return "give this user the rights to do so, or run the command as one who has them";
    }
    if (err->sys == EROFS) {
        return "the file system is mounted read-only: choose another or mount it for writing";
    }
    if (err->code == SOP_ERR_IO) { /* here nothing is left to close */
        return err->sys == ENOSPC ? "free space there and run the command again"
                                  : "check the disk, then run the command again";
    }
    if (err->code == SOP_ERR_NOT_A_DATABASE) {
        static const char *const makers[] = {"init", "backup", "restore", "doctor"};
        for (size_t i = 0; i < sizeof makers / sizeof makers[0]; i++) {
            if (strcmp(command, makers[i]) == 0) {
                return NULL; /* the message tells what is wrong with the folder */
            }
        }
        return "`sopctl init PATH` makes a database";
    }
    if (strstr(err->text, "sopctl repair") != NULL || strstr(err->text, "restore ") != NULL ||
        strstr(err->text, "put sop.db back") != NULL) {
        return NULL; /* the message knows better */
    }
    const char *hint = strstr(sop_err_text(err->code), "; ");
    char self[64];
    snprintf(self, sizeof self, "`sopctl %s`", command);
    if (hint != NULL && strstr(hint, self) != NULL) {
        return NULL; /* no command advises to run itself */
    }
    return hint != NULL ? hint + 2 : NULL;
}

void sop_out__error(enum sop_format format, const char *command, const struct sop_err *err)
{
    static const char *const classes[] = {"none", "retry", "restart", "refuse", "fatal"};
    const char *text = sop_err_text(err->code);
    const char *hint = hint_of(command, err);
    if (format == SOP_FORMAT_JSON || format == SOP_FORMAT_NDJSON) {
        json_t *e = json_pack(
            "{s:s, s:s, s:o, s:s?, s:i}", "code", sop_err_name(err->code), "class",
            classes[sop_err_class(err->code)], "message",
            sop_out__bytes((struct sop_slice){(const uint8_t *)err->text, strlen(err->text)}),
            "hint", hint, "exit", sop_out__exit_status(err->code));
        json_t *whole = json_pack("{s:o}", "error", e);
        sop_out__json(stderr, whole);
        fputc('\n', stderr);
        json_decref(whole);
        return;
    }
    fprintf(stderr, "sopctl%s%s: %s [%s]\n", command[0] != '\0' ? " " : "", command,
            err->text[0] != '\0' ? err->text : text, sop_err_name(err->code));
    if (hint != NULL && strstr(err->text, hint) == NULL) {
        fprintf(stderr, "  what to do: %s\n", hint);
    }
}
