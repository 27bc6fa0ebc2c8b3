/* Keys and schemas as text for people: the command line, logs, error messages.
 *
 * What is formatted parses back to the same values. Nothing here depends on the locale. */
#include "engine/btree/keycode.h"

#include <langinfo.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NS_PER_S    INT64_C(1000000000)
#define TOKEN_BYTES 128u /* longest number, timestamp, uuid or word */
#define UUID_CHARS  36u

static const char *const type_names[] = {
    [SOP_KEY_NULL] = "null",     [SOP_KEY_BOOL] = "bool",     [SOP_KEY_INT64] = "int64",
    [SOP_KEY_UINT64] = "uint64", [SOP_KEY_DOUBLE] = "double", [SOP_KEY_TIMESTAMP] = "timestamp",
    [SOP_KEY_UUID] = "uuid",     [SOP_KEY_STRING] = "string", [SOP_KEY_BYTES] = "bytes",
    [SOP_KEY_ANY] = "any",
};

/* ---- output ------------------------------------------------------------------------------ */

static void put(struct sop_key_buf *to, const char *text, size_t len)
{
    if (len != 0 && to->len <= to->room && len <= to->room - to->len) {
        memcpy((char *)to->data + to->len, text, len);
    }
    to->len += len;
}

static void put_text(struct sop_key_buf *to, const char *text)
{
    put(to, text, strlen(text));
}

/* The final NUL, which len does not count. */
static int finish(struct sop_key_buf *to, struct sop_err *err)
{
    if (to->len >= to->room) {
        to->len++; /* tells what room would have had to be */
        return SOP_ERR(err, TOO_LARGE, "text of %zu bytes does not fit into %zu", to->len,
                       to->room);
    }
    ((char *)to->data)[to->len] = '\0';
    return 0;
}

int sop_key_schema_format(const struct sop_key_schema *schema, struct sop_key_buf *text,
                          struct sop_err *err)
{
    int rc = sop_key_schema_check(schema, err);
    if (rc != 0) {
        return rc;
    }
    if (schema->fields_count == 0) {
        put_text(text, "raw");
    }
    for (uint32_t i = 0; i < schema->fields_count; i++) {
        const struct sop_key_field *field = &schema->fields[i];
        put_text(text, i == 0 ? "" : ",");
        put_text(text, type_names[field->type]);
        put_text(text, field->nullable ? "?" : "");
        put_text(text, field->descending ? " desc" : "");
    }
    return finish(text, err);
}

static void put_hex(struct sop_key_buf *to, struct sop_slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes.len; i++) {
        char pair[2] = {digits[bytes.data[i] >> 4], digits[bytes.data[i] & 15]};
        put(to, pair, sizeof pair);
    }
}

static void put_quoted(struct sop_key_buf *to, struct sop_slice text)
{
    put_text(to, "\"");
    for (size_t i = 0; i < text.len; i++) {
        char c = (char)text.data[i];
        char code[8];
        switch (c) {
        case '"':
        case '\\':
            put_text(to, "\\");
            put(to, &c, 1);
            break;
        case '\n':
            put_text(to, "\\n");
            break;
        case '\r':
            put_text(to, "\\r");
            break;
        case '\t':
            put_text(to, "\\t");
            break;
        default:
            if (text.data[i] < 0x20 || text.data[i] == 0x7F) {
                (void)snprintf(code, sizeof code, "\\u%04x", text.data[i]);
                put_text(to, code);
            } else {
                put(to, &c, 1);
            }
        }
    }
    put_text(to, "\"");
}

static bool printable(struct sop_slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] < 0x20 || bytes.data[i] > 0x7E) {
            return false;
        }
    }
    return true;
}

/* Bytes that look like text are shown as text where a reader knows that they are bytes. */
static void put_bytes(struct sop_key_buf *to, struct sop_slice bytes, bool typed)
{
    if (typed && printable(bytes)) {
        put_quoted(to, bytes);
    } else {
        put_text(to, "0x");
        put_hex(to, bytes);
    }
}

/* The shortest decimal that gives this double again. */
static void put_double(struct sop_key_buf *to, double real)
{
    if (isinf(real)) {
        put_text(to, real > 0 ? "inf" : "-inf");
        return;
    }
    char text[64];
    int precision = 15;
    do {
        (void)snprintf(text, sizeof text, "%.*g", precision, real);
    } while (precision++ < 17 && strtod(text, NULL) != real);
    /* Whatever the locale has between the digits is a point. */
    bool point = false;
    for (const char *c = text; *c != '\0'; c++) {
        if ((*c >= '0' && *c <= '9') || strchr("+-e", *c) != NULL) {
            put(to, c, 1);
            point = false;
        } else if (!point) {
            put_text(to, ".");
            point = true;
        }
    }
}

static void put_uuid(struct sop_key_buf *to, const uint8_t uuid[16])
{
    static const uint8_t groups[] = {4, 2, 2, 2, 6};
    size_t at = 0;
    for (size_t i = 0; i < sizeof groups; i++) {
        put_text(to, i == 0 ? "" : "-");
        put_hex(to, sop_slice(uuid + at, groups[i]));
        at += groups[i];
    }
}

/* Days since 1970-01-01 <-> civil date of the Gregorian calendar. Years begin in March here, so
 * that the leap day is the last one; 400 years always have 146097 days. */
static void civil_from_days(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
    days += 719468; /* from 0000-03-01 */
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned in_era = (unsigned)(days - era * 146097);
    unsigned years = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    unsigned in_year = in_era - (365 * years + years / 4 - years / 100);
    unsigned shifted = (5 * in_year + 2) / 153; /* March = 0 */
    *day = in_year - (153 * shifted + 2) / 5 + 1;
    *month = shifted < 10 ? shifted + 3 : shifted - 9;
    *year = (int64_t)years + era * 400 + (*month <= 2);
}

static int64_t days_from_civil(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    unsigned years = (unsigned)(year - era * 400);
    unsigned in_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    unsigned in_era = years * 365 + years / 4 - years / 100 + in_year;
    return era * 146097 + (int64_t)in_era - 719468;
}

static void put_timestamp(struct sop_key_buf *to, int64_t ns)
{
    int64_t fraction = ns % NS_PER_S;
    int64_t seconds = ns / NS_PER_S;
    if (fraction < 0) {
        fraction += NS_PER_S;
        seconds--;
    }
    int64_t days = seconds / 86400;
    int64_t in_day = seconds % 86400;
    if (in_day < 0) {
        in_day += 86400;
        days--;
    }
    int64_t year;
    unsigned month;
    unsigned day;
    civil_from_days(days, &year, &month, &day);
    char text[64];
    (void)snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d", (int)year, month, day,
                   (int)(in_day / 3600), (int)(in_day / 60 % 60), (int)(in_day % 60));
    put_text(to, text);
    if (fraction != 0) {
        int len = snprintf(text, sizeof text, ".%09d", (int)fraction);
        while (text[len - 1] == '0') {
            len--;
        }
        put(to, text, (size_t)len);
    }
    put_text(to, "Z");
}

/* `typed`: the reader knows the type from the schema. */
static void put_value(struct sop_key_buf *to, const struct sop_key_value *value, bool typed)
{
    char text[32];
    switch (value->type) {
    case SOP_KEY_NULL:
        put_text(to, "null");
        break;
    case SOP_KEY_BOOL:
        put_text(to, value->as.boolean ? "true" : "false");
        break;
    case SOP_KEY_INT64:
        (void)snprintf(text, sizeof text, "%" PRId64, value->as.int64);
        put_text(to, text);
        break;
    case SOP_KEY_UINT64:
        (void)snprintf(text, sizeof text, "%" PRIu64, value->as.uint64);
        put_text(to, text);
        break;
    case SOP_KEY_DOUBLE:
        put_double(to, value->as.real);
        break;
    case SOP_KEY_TIMESTAMP:
        put_timestamp(to, value->as.timestamp);
        break;
    case SOP_KEY_UUID:
        put_uuid(to, value->as.uuid);
        break;
    case SOP_KEY_STRING:
        put_quoted(to, value->as.bytes);
        break;
    case SOP_KEY_BYTES:
        put_bytes(to, value->as.bytes, typed);
        break;
    case SOP_KEY_ANY:
    default:
        SOP_UNREACHABLE("decoding gives no such value");
    }
}

int sop_key_format(const struct sop_key_schema *schema, struct sop_slice key,
                   struct sop_key_buf *text, struct sop_err *err)
{
    struct sop_key_value values[SOP_KEY_FIELDS_MAX];
    void *copy = sop_malloc(key.len);
    if (copy == NULL) {
        return SOP_ERR(err, NOMEM, "copy a key of %zu bytes", key.len);
    }
    struct sop_key_buf scratch = {.data = copy, .room = key.len};
    int rc = sop_key_decode(schema, key, values, &scratch, err);
    if (rc != 0) {
        sop_free(copy);
        return rc;
    }
    uint32_t count = schema->fields_count == 0 ? 1 : schema->fields_count;
    put_text(text, count == 1 ? "" : "{");
    for (uint32_t i = 0; i < count; i++) {
        bool typed = schema->fields_count == 0 || schema->fields[i].type != SOP_KEY_ANY;
        put_text(text, i == 0 ? "" : ", ");
        put_value(text, &values[i], typed);
    }
    put_text(text, count == 1 ? "" : "}");
    sop_free(copy);
    return finish(text, err);
}

/* ---- input ------------------------------------------------------------------------------- */

struct parser {
    const char *text;
    const char *at;
    const char *bad; /* what is wrong, at `at`; latched */
    struct sop_key_buf *scratch;
};

static void refuse(struct parser *p, const char *why)
{
    if (p->bad == NULL) {
        p->bad = why;
    }
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void skip_spaces(struct parser *p)
{
    while (is_space(*p->at)) {
        p->at++;
    }
}

static bool accept(struct parser *p, char c)
{
    skip_spaces(p);
    if (*p->at != c) {
        return false;
    }
    p->at++;
    return true;
}

static int report(const struct parser *p, struct sop_err *err)
{
    return SOP_ERR(err, INVALID, "character %zu: %s", (size_t)(p->at - p->text) + 1, p->bad);
}

/* Takes a word of lower-case letters and digits. */
static struct sop_slice take_word(struct parser *p)
{
    skip_spaces(p);
    const char *from = p->at;
    while ((*p->at >= 'a' && *p->at <= 'z') || (*p->at >= '0' && *p->at <= '9')) {
        p->at++;
    }
    return sop_slice(from, (size_t)(p->at - from));
}

static bool is_word(struct sop_slice word, const char *text)
{
    return sop_slice_eq(word, sop_slice_str(text));
}

static void parse_field(struct parser *p, struct sop_key_field *field)
{
    const char *from = p->at;
    struct sop_slice word = take_word(p);
    field->type = SOP_KEY_NULL;
    for (int type = SOP_KEY_BOOL; type <= SOP_KEY_ANY; type++) {
        if (is_word(word, type_names[type])) {
            field->type = (enum sop_key_type)type;
        }
    }
    if (field->type == SOP_KEY_NULL) {
        p->at = from;
        refuse(p,
               "expected bool, int64, uint64, double, timestamp, uuid, string, bytes or any");
        return;
    }
    field->nullable = accept(p, '?');
    if (field->nullable && field->type == SOP_KEY_ANY) {
        refuse(p, "any is nullable by itself");
    }
    word = take_word(p);
    field->descending = is_word(word, "desc");
    if (word.len != 0 && !field->descending && !is_word(word, "asc")) {
        refuse(p, "expected asc or desc");
    }
}

int sop_key_schema_parse(struct sop_key_schema *schema, const char *text, struct sop_err *err)
{
    struct parser p = {.text = text, .at = text};
    struct sop_key_schema read = {0};
    *schema = read;
    if (is_word(take_word(&p), "raw")) {
        skip_spaces(&p);
    } else {
        p.at = text;
        do {
            if (read.fields_count == SOP_KEY_FIELDS_MAX) {
                refuse(&p, "too many fields; at most 16");
                break;
            }
            parse_field(&p, &read.fields[read.fields_count++]);
        } while (p.bad == NULL && accept(&p, ','));
    }
    if (*p.at != '\0') {
        refuse(&p, "expected a comma or the end");
    }
    if (p.bad != NULL) {
        return sop_err_wrap(err, report(&p, err), "key schema \"%.100s\"", text);
    }
    *schema = read;
    return 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Exactly `digits` hexadecimal digits. */
static unsigned take_hex(struct parser *p, unsigned digits)
{
    unsigned v = 0;
    for (unsigned i = 0; i < digits; i++) {
        int digit = hex_digit(*p->at);
        if (digit < 0) {
            refuse(p, "expected a hexadecimal digit");
            return 0;
        }
        v = v << 4 | (unsigned)digit;
        p->at++;
    }
    return v;
}

static void put_character(struct parser *p, unsigned code)
{
    char utf8[3];
    if (code < 0x80) {
        utf8[0] = (char)code;
        put(p->scratch, utf8, 1);
    } else if (code < 0x800) {
        utf8[0] = (char)(0xC0 | code >> 6);
        utf8[1] = (char)(0x80 | (code & 0x3F));
        put(p->scratch, utf8, 2);
    } else if (code >= 0xD800 && code <= 0xDFFF) {
        refuse(p, "\\u takes no surrogates; write the character itself");
    } else {
        utf8[0] = (char)(0xE0 | code >> 12);
        utf8[1] = (char)(0x80 | (code >> 6 & 0x3F));
        utf8[2] = (char)(0x80 | (code & 0x3F));
        put(p->scratch, utf8, 3);
    }
}

static void take_escape(struct parser *p)
{
    char c = *p->at;
    char byte;
    switch (c) {
    case '"':
    case '\\':
        byte = c;
        break;
    case 'n':
        byte = '\n';
        break;
    case 'r':
        byte = '\r';
        break;
    case 't':
        byte = '\t';
        break;
    case 'x':
        p->at++;
        byte = (char)take_hex(p, 2);
        put(p->scratch, &byte, 1);
        return;
    case 'u':
        p->at++;
        put_character(p, take_hex(p, 4));
        return;
    default:
        refuse(p, "unknown escape; there are \\\" \\\\ \\n \\r \\t \\xHH \\uHHHH");
        return;
    }
    p->at++;
    put(p->scratch, &byte, 1);
}

/* What was put into scratch from `start` on; if it did not fit, the whole call fails. */
static struct sop_slice from_scratch(const struct parser *p, size_t start)
{
    const struct sop_key_buf *s = p->scratch;
    if (s->len > s->room || s->len == start) {
        return sop_slice(NULL, 0);
    }
    return sop_slice((const uint8_t *)s->data + start, s->len - start);
}

/* Behind the opening quote. */
static struct sop_slice take_quoted(struct parser *p)
{
    size_t start = p->scratch->len;
    while (p->bad == NULL && *p->at != '"') {
        if (*p->at == '\0') {
            refuse(p, "the quote does not end");
        } else if (*p->at == '\\') {
            p->at++;
            take_escape(p);
        } else {
            put(p->scratch, p->at++, 1);
        }
    }
    if (p->bad == NULL) {
        p->at++;
    }
    return from_scratch(p, start);
}

/* Behind 0x. */
static struct sop_slice take_hex_bytes(struct parser *p)
{
    size_t start = p->scratch->len;
    while (p->bad == NULL && hex_digit(*p->at) >= 0) {
        char byte = (char)take_hex(p, 2);
        put(p->scratch, &byte, 1);
    }
    return from_scratch(p, start);
}

static bool parse_digits(const char **at, unsigned least, unsigned most, uint64_t *v)
{
    unsigned count = 0;
    *v = 0;
    while (**at >= '0' && **at <= '9' && count < most) {
        uint64_t digit = (uint64_t)(**at - '0');
        if (*v > (UINT64_MAX - digit) / 10) {
            return false;
        }
        *v = *v * 10 + digit;
        ++*at;
        count++;
    }
    return count >= least;
}

/* All of token. */
static bool parse_integer(const char *token, bool *negative, uint64_t *magnitude)
{
    *negative = *token == '-';
    token += *token == '-' || *token == '+';
    return parse_digits(&token, 1, TOKEN_BYTES, magnitude) && *token == '\0';
}

static bool parse_int64(const char *token, int64_t *v)
{
    bool negative;
    uint64_t magnitude;
    if (!parse_integer(token, &negative, &magnitude) ||
        magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        return false;
    }
    *v = (int64_t)(negative ? 0 - magnitude : magnitude);
    return true;
}

static bool parse_uint64(const char *token, uint64_t *v)
{
    bool negative;
    return parse_integer(token, &negative, v) && (!negative || *v == 0);
}

/* Decimal, or inf; the point is a point in every locale. */
static bool parse_double(const char *token, double *v)
{
    const char *digits = token + (*token == '-' || *token == '+');
    if (strcmp(digits, "inf") == 0) {
        *v = *token == '-' ? -HUGE_VAL : HUGE_VAL;
        return true;
    }
    if (strspn(digits, "0123456789.eE+-") != strlen(digits)) {
        return false;
    }
    char text[TOKEN_BYTES + 16];
    const char *point = strchr(token, '.');
    if (point == NULL) {
        (void)snprintf(text, sizeof text, "%s", token);
    } else {
        (void)snprintf(text, sizeof text, "%.*s%.8s%s", (int)(point - token), token,
                       nl_langinfo(RADIXCHAR), point + 1);
    }
    char *end;
    *v = strtod(text, &end);
    return *digits != '\0' && end != text && *end == '\0' && !isinf(*v);
}

static bool parse_uuid(const char *token, uint8_t uuid[16])
{
    size_t at = 0;
    for (size_t i = 0; i < UUID_CHARS; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (token[i] != '-') {
                return false;
            }
            continue;
        }
        int high = hex_digit(token[i]);
        int low = high < 0 ? -1 : hex_digit(token[i + 1]);
        if (low < 0) {
            return false;
        }
        uuid[at++] = (uint8_t)(high << 4 | low);
        i++;
    }
    return token[UUID_CHARS] == '\0';
}

static bool take_part(const char **at, char before, unsigned digits, uint64_t most, int64_t *v)
{
    if (before != '\0' && *(*at)++ != before) {
        return false;
    }
    uint64_t read;
    if (!parse_digits(at, digits, digits, &read) || read > most) {
        return false;
    }
    *v = (int64_t)read;
    return true;
}

/* ".123" or nothing. */
static bool take_fraction(const char **at, int64_t *ns)
{
    *ns = 0;
    if (**at != '.') {
        return true;
    }
    const char *from = ++*at;
    uint64_t digits;
    if (!parse_digits(at, 1, 9, &digits)) {
        return false;
    }
    for (long count = *at - from; count < 9; count++) {
        digits *= 10;
    }
    *ns = (int64_t)digits;
    return true;
}

/* "Z", "+01:30", "-08:00". */
static bool take_offset(const char **at, int64_t *seconds)
{
    *seconds = 0;
    if (**at == 'Z' || **at == 'z') {
        ++*at;
        return true;
    }
    char sign = **at;
    if (sign != '+' && sign != '-') {
        return false;
    }
    ++*at;
    int64_t hours;
    int64_t minutes;
    if (!take_part(at, '\0', 2, 23, &hours) || !take_part(at, ':', 2, 59, &minutes)) {
        return false;
    }
    *seconds = (hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
    return true;
}

/* RFC 3339 with an offset, in the range of int64 nanoseconds (1677..2262). */
static bool parse_timestamp(const char *at, int64_t *ns)
{
    int64_t year;
    int64_t month;
    int64_t day;
    int64_t hour;
    int64_t minute;
    int64_t second;
    int64_t fraction;
    int64_t offset;
    if (!take_part(&at, '\0', 4, 9999, &year) || !take_part(&at, '-', 2, 12, &month) ||
        !take_part(&at, '-', 2, 31, &day) || (*at != 'T' && *at != 't' && *at != ' ')) {
        return false;
    }
    at++;
    if (!take_part(&at, '\0', 2, 23, &hour) || !take_part(&at, ':', 2, 59, &minute) ||
        !take_part(&at, ':', 2, 59, &second) || !take_fraction(&at, &fraction) ||
        !take_offset(&at, &offset) || *at != '\0' || month == 0 || day == 0) {
        return false;
    }
    int64_t days = days_from_civil(year, (unsigned)month, (unsigned)day);
    int64_t same_year;
    unsigned same_month;
    unsigned same_day;
    civil_from_days(days, &same_year, &same_month, &same_day);
    if (same_day != (unsigned)day) {
        return false; /* February 30 */
    }
    int64_t seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset;
    if (seconds < 0 && fraction != 0) { /* keeps the product in range at the smallest time */
        seconds++;
        fraction -= NS_PER_S;
    }
    return !__builtin_mul_overflow(seconds, NS_PER_S, ns) &&
           !__builtin_add_overflow(*ns, fraction, ns);
}

/* What an unquoted token can be in a field of type any. */
static bool parse_any(const char *token, struct sop_key_value *value)
{
    if (strcmp(token, "null") == 0) {
        value->type = SOP_KEY_NULL;
    } else if (strcmp(token, "true") == 0 || strcmp(token, "false") == 0) {
        value->type = SOP_KEY_BOOL;
        value->as.boolean = token[0] == 't';
    } else if (strlen(token) == UUID_CHARS && parse_uuid(token, value->as.uuid)) {
        value->type = SOP_KEY_UUID;
    } else if (parse_timestamp(token, &value->as.timestamp)) {
        value->type = SOP_KEY_TIMESTAMP;
    } else if (parse_int64(token, &value->as.int64)) {
        value->type = SOP_KEY_INT64;
    } else if (parse_uint64(token, &value->as.uint64)) {
        value->type = SOP_KEY_UINT64;
    } else if (strpbrk(token, ".eEn") != NULL && parse_double(token, &value->as.real)) {
        value->type = SOP_KEY_DOUBLE;
    } else {
        return false;
    }
    return true;
}

static bool parse_typed(const char *token, enum sop_key_type type, struct sop_key_value *value)
{
    value->type = type;
    switch (type) {
    case SOP_KEY_BOOL:
        value->as.boolean = strcmp(token, "true") == 0;
        return value->as.boolean || strcmp(token, "false") == 0;
    case SOP_KEY_INT64:
        return parse_int64(token, &value->as.int64);
    case SOP_KEY_UINT64:
        return parse_uint64(token, &value->as.uint64);
    case SOP_KEY_DOUBLE:
        return parse_double(token, &value->as.real);
    case SOP_KEY_TIMESTAMP:
        return parse_timestamp(token, &value->as.timestamp) ||
               parse_int64(token, &value->as.timestamp);
    case SOP_KEY_UUID:
        return strlen(token) == UUID_CHARS && parse_uuid(token, value->as.uuid);
    case SOP_KEY_ANY:
        return parse_any(token, value);
    case SOP_KEY_NULL:
    case SOP_KEY_STRING:
    case SOP_KEY_BYTES:
    default:
        SOP_UNREACHABLE("strings are parsed by the caller");
    }
}

static const char *expected(enum sop_key_type type)
{
    static const char *const texts[] = {
        [SOP_KEY_NULL] = "expected null",
        [SOP_KEY_BOOL] = "expected true or false",
        [SOP_KEY_INT64] = "expected an integer of 64 bits",
        [SOP_KEY_UINT64] = "expected an unsigned integer of 64 bits",
        [SOP_KEY_DOUBLE] = "expected a number",
        [SOP_KEY_TIMESTAMP] = "expected a time like 2024-12-31T23:59:59Z, from 1677 to 2262",
        [SOP_KEY_UUID] = "expected a UUID",
        [SOP_KEY_STRING] = "expected a string",
        [SOP_KEY_BYTES] = "expected bytes: 0x and hexadecimal digits, or text",
        [SOP_KEY_ANY] =
            "expected null, true, false, a number, \"text\", 0x bytes, UUID or time",
    };
    return texts[type];
}

/* Up to the next comma, brace or the end; without spaces behind. */
static struct sop_slice take_bare(struct parser *p)
{
    const char *from = p->at;
    size_t len = strcspn(from, ",}");
    p->at += len;
    while (len > 0 && is_space(from[len - 1])) {
        len--;
    }
    return sop_slice(from, len);
}

static bool is_text(enum sop_key_type type)
{
    return type == SOP_KEY_STRING || type == SOP_KEY_BYTES;
}

/* A string without quotes, a word or a number. */
static void parse_bare(struct parser *p, const struct sop_key_field *field,
                       struct sop_slice bare, struct sop_key_value *value)
{
    char token[TOKEN_BYTES];
    bool null = field->nullable && is_word(bare, "null");
    if (null) {
        value->type = SOP_KEY_NULL;
    } else if (is_text(field->type)) {
        size_t start = p->scratch->len;
        put(p->scratch, (const char *)bare.data, bare.len);
        value->type = field->type;
        value->as.bytes = from_scratch(p, start);
    } else {
        bool fits = bare.len < sizeof token;
        if (fits) {
            memcpy(token, bare.data, bare.len);
            token[bare.len] = '\0';
        }
        if (!fits || !parse_typed(token, field->type, value)) {
            p->at = (const char *)bare.data;
            refuse(p, expected(field->type));
        }
    }
}

/* `whole`: nothing but this value can follow, so an unquoted string is taken as it is. */
static void parse_value(struct parser *p, const struct sop_key_field *field, bool whole,
                        struct sop_key_value *value)
{
    *value = (struct sop_key_value){.type = SOP_KEY_NULL};
    const char *from = p->at;
    skip_spaces(p);
    bool any = field->type == SOP_KEY_ANY;
    if (*p->at == '"' && (any || is_text(field->type))) {
        p->at++;
        value->type = any ? SOP_KEY_STRING : field->type;
        value->as.bytes = take_quoted(p);
    } else if (p->at[0] == '0' && p->at[1] == 'x' && (any || field->type == SOP_KEY_BYTES)) {
        p->at += 2;
        value->type = SOP_KEY_BYTES;
        value->as.bytes = take_hex_bytes(p);
    } else if (whole && is_text(field->type)) {
        p->at = from + strlen(from);
        parse_bare(p, field, sop_slice(from, strlen(from)), value);
    } else {
        const char *token = p->at;
        struct sop_slice bare = take_bare(p);
        if (bare.len == 0) {
            p->at = token;
            refuse(p, expected(field->type));
            return;
        }
        parse_bare(p, field, bare, value);
    }
}

static void parse_values(struct parser *p, const struct sop_key_schema *schema,
                         struct sop_key_value *values, size_t *count)
{
    static const struct sop_key_field raw = {.type = SOP_KEY_BYTES};
    const struct sop_key_field *fields = schema->fields_count == 0 ? &raw : schema->fields;
    size_t most = schema->fields_count == 0 ? 1 : schema->fields_count;
    bool whole = most == 1 && is_text(fields[0].type);
    bool braces = !whole && accept(p, '{');
    skip_spaces(p);
    if (!whole && (*p->at == '\0' || *p->at == '}')) {
        goto end; /* no values */
    }
    if (whole) {
        p->at = p->text; /* spaces count in an unquoted string */
    }
    do {
        if (*count == most) {
            refuse(p, "more values than the key has fields");
            return;
        }
        parse_value(p, &fields[*count], whole, &values[*count]);
        ++*count;
    } while (p->bad == NULL && accept(p, ','));
end:
    if (p->bad == NULL && braces && !accept(p, '}')) {
        refuse(p, "expected a comma or }");
    }
    skip_spaces(p);
    if (*p->at != '\0') {
        refuse(p, "expected a comma or the end");
    }
}

int sop_key_parse(const struct sop_key_schema *schema, const char *text,
                  struct sop_key_value *values, size_t *count, struct sop_key_buf *scratch,
                  struct sop_err *err)
{
    *count = 0;
    int rc = sop_key_schema_check(schema, err);
    if (rc != 0) {
        return rc;
    }
    struct parser p = {.text = text, .at = text, .scratch = scratch};
    size_t start = scratch->len;
    parse_values(&p, schema, values, count);
    if (p.bad != NULL) {
        scratch->len = start;
        *count = 0;
        return sop_err_wrap(err, report(&p, err), "key \"%.100s\"", text);
    }
    if (scratch->len > scratch->room) {
        return SOP_ERR(err, TOO_LARGE, "%zu bytes do not fit into %zu", scratch->len,
                       scratch->room);
    }
    return 0;
}
