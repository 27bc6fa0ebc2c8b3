/* What sopctl prints: results as table, json, ndjson or raw; errors as text or JSON.
 *
 * A result is one object (stats) or a list of rows of the same shape (scan). Rows are made as
 * JSON objects whose members keep their order; a table prints them as columns. Bytes that are
 * not UTF-8 are {"base64": "..."} in JSON, escapes (\xff) in tables and themselves in raw. */
#ifndef SOP_CLI_OUTPUT_H
#define SOP_CLI_OUTPUT_H

#include "sop/sop.h"

#include <jansson.h>
#include <stdio.h>

enum sop_format { SOP_FORMAT_TABLE, SOP_FORMAT_JSON, SOP_FORMAT_NDJSON, SOP_FORMAT_RAW };

/* Rows of a table that are held to find the widths of its columns. */
#define SOP_OUT_ROWS_HELD 200

struct sop_out {
    FILE *to;
    enum sop_format format;
    size_t rows;    /* of the list so far */
    json_t *held;   /* table: rows not yet printed; NULL once the widths are known */
    json_t *header; /* table: the row that has the most members names the columns */
    int widths[16];
};

void sop_out__init(struct sop_out *out, FILE *to, const char *format);
void sop_out__fini(struct sop_out *out);

/* Prints one object; takes it. Table: a line per member. */
void sop_out__object(struct sop_out *out, json_t *take_object);
/* A list: rows, then end. Each row is taken. */
void sop_out__row(struct sop_out *out, json_t *take_row);
void sop_out__end(struct sop_out *out);

/* JSON on one line; doubles of a key have the digits that they need and no more. */
void sop_out__json(FILE *to, const json_t *value);

/* A JSON string, or {"base64": ...} for bytes that are not UTF-8. */
json_t *sop_out__bytes(struct sop_slice bytes);
/* Reads what sop_out__bytes() wrote. False: neither. *take (may be NULL inside) is to be freed;
 * *bytes points into it or into value. */
bool sop_out__bytes_from(const json_t *value, struct sop_slice *bytes, uint8_t **take);
/* The bytes themselves. */
void sop_out__write(FILE *to, struct sop_slice bytes);
/* Bytes as text on one line: UTF-8 stays, control characters and other bytes become \n, \xff.
 */
void sop_out__text(FILE *to, struct sop_slice bytes);

/* A time for people: "1.68 ms", "3.2 s", "20 min 34 s", "2 h 5 min". */
void sop_out__duration(char *text, size_t bytes, double seconds);

/* base64 (RFC 4648, padded). Results are from malloc. decode: NULL when text is not base64. */
char *sop_out__base64(struct sop_slice bytes);
uint8_t *sop_out__base64_decode(const char *text, size_t len, size_t *bytes);
bool sop_out__is_utf8(struct sop_slice bytes);
/* The place of the first byte that is not UTF-8; the length if there is none. */
size_t sop_out__not_utf8(struct sop_slice bytes);

/* The exit status that goes with a code, and the error itself on stderr. */
int sop_out__exit_status(int code);
void sop_out__error(enum sop_format format, const char *command, const struct sop_err *err);

#endif
