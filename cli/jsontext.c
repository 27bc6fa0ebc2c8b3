/* The grammar of jsontext.h, by hand: a stack of open brackets instead of recursion. */
#include "cli/jsontext.h"

#include "cli/output.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 512

struct scan {
    const uint8_t *text;
    size_t len, at;
    const char *problem; /* of the byte at `at` */
};

static bool refuse(struct scan *s, const char *problem)
{
    s->problem = problem;
    return false;
}

/* The byte at `at`, -1 at the end. */
static int look(const struct scan *s)
{
    return s->at < s->len ? s->text[s->at] : -1;
}

static void skip_blanks(struct scan *s)
{
    int c = look(s);
    while (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        s->at++;
        c = look(s);
    }
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(int c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool take_digits(struct scan *s)
{
    if (!is_digit(look(s))) {
        return refuse(s, "expected a digit");
    }
    while (is_digit(look(s))) {
        s->at++;
    }
    return true;
}

static bool take_number(struct scan *s)
{
    s->at += look(s) == '-';
    if (look(s) == '0') {
        s->at++; /* a zero in front of digits is no number */
    } else if (!take_digits(s)) {
        return false;
    }
    if (look(s) == '.') {
        s->at++;
        if (!take_digits(s)) {
            return false;
        }
    }
    if (look(s) == 'e' || look(s) == 'E') {
        s->at++;
        s->at += look(s) == '+' || look(s) == '-';
        return take_digits(s);
    }
    return true;
}

/* From a backslash on. */
static bool take_escape(struct scan *s)
{
    static const char letters[] = "\"\\/bfnrt";
    int c = s->at + 1 < s->len ? s->text[s->at + 1] : -1;
    if (c == 'u') {
        for (size_t i = s->at + 2; i < s->at + 6; i++) {
            if (i >= s->len || !is_hex(s->text[i])) {
                return refuse(s, "\\u wants four hexadecimal digits");
            }
        }
        s->at += 6;
        return true;
    }
    if (c <= 0 || strchr(letters, c) == NULL) {
        return refuse(s, "unknown escape");
    }
    s->at += 2;
    return true;
}

/* From a quote to behind the one that ends it. */
static bool take_string(struct scan *s)
{
    size_t begin = s->at++;
    for (int c = look(s); c != '"'; c = look(s)) {
        if (c < 0) {
            s->at = begin;
            return refuse(s, "the quote that opens here does not end");
        }
        if (c < 0x20) {
            return refuse(s, "a control character; in quotes it is written as \\u00XX");
        }
        if (c != '\\') {
            s->at++;
        } else if (!take_escape(s)) {
            return false;
        }
    }
    s->at++;
    return true;
}

static bool take_word(struct scan *s, const char *word)
{
    size_t len = strlen(word);
    if (s->len - s->at < len || memcmp(s->text + s->at, word, len) != 0) {
        return refuse(s, "expected a value (text stands in double quotes)");
    }
    s->at += len;
    return true;
}

/* Anything but a list or an object. */
static bool take_scalar(struct scan *s)
{
    int c = look(s);
    if (c == '"') {
        return take_string(s);
    }
    if (c == '-' || is_digit(c)) {
        return take_number(s);
    }
    return take_word(s, c == 't' ? "true" : c == 'f' ? "false" : "null");
}

/* A member's name and the colon. */
static bool take_name(struct scan *s)
{
    skip_blanks(s);
    if (look(s) != '"') {
        return refuse(s, "expected a name in double quotes");
    }
    if (!take_string(s)) {
        return false;
    }
    skip_blanks(s);
    if (look(s) != ':') {
        return refuse(s, "expected a colon");
    }
    s->at++;
    return true;
}

/* Closes what ends behind a value. *more: another value follows. */
static bool take_ends(struct scan *s, const uint8_t *open, size_t *depth, bool *more)
{
    while (*depth > 0) {
        skip_blanks(s);
        bool object = open[*depth - 1] == '{';
        int c = look(s);
        if (c == ',') {
            s->at++;
            *more = true;
            return !object || take_name(s);
        }
        if (c != (object ? '}' : ']')) {
            return refuse(s, object ? "expected a comma or }" : "expected a comma or ]");
        }
        s->at++;
        --*depth;
    }
    *more = false;
    return true;
}

static bool take_value(struct scan *s)
{
    uint8_t open[DEPTH_MAX];
    size_t depth = 0;
    bool more = true;
    while (more) {
        skip_blanks(s);
        int c = look(s);
        if (c == '{' || c == '[') {
            if (depth == DEPTH_MAX) {
                return refuse(s, "nested too deep");
            }
            open[depth++] = (uint8_t)c;
            s->at++;
            skip_blanks(s);
            if (look(s) != (c == '{' ? '}' : ']')) { /* not empty */
                if (c == '{' && !take_name(s)) {
                    return false;
                }
                continue;
            }
        } else if (!take_scalar(s)) {
            return false;
        }
        if (!take_ends(s, open, &depth, &more)) {
            return false;
        }
    }
    return true;
}

const char *sop_jsontext__check(struct sop_slice text, struct sop_slice *value, size_t *at)
{
    struct scan s = {.text = text.data, .len = text.len};
    size_t bad = sop_out__not_utf8(text);
    if (bad < text.len) {
        *at = bad;
        return "not UTF-8";
    }
    skip_blanks(&s);
    size_t begin = s.at;
    bool ok = take_value(&s);
    *value = (struct sop_slice){text.data + begin, s.at - begin};
    if (ok) {
        skip_blanks(&s);
        ok = s.at == s.len || refuse(&s, "expected the end of the line");
    }
    *at = s.at;
    return ok ? NULL : s.problem;
}

bool sop_jsontext__next(struct sop_slice container, size_t *at, struct sop_slice *name,
                        struct sop_slice *value)
{
    struct scan s = {.text = container.data, .len = container.len, .at = *at};
    bool object = container.data[0] == '{';
    s.at += s.at == 0; /* the bracket */
    skip_blanks(&s);
    if (look(&s) == ',') {
        s.at++;
        skip_blanks(&s);
    }
    size_t begin = s.at;
    if (look(&s) == (object ? '}' : ']')) {
        return false;
    }
    if (object) {
        if (!take_string(&s)) {
            return false;
        }
        *name = (struct sop_slice){s.text + begin, s.at - begin};
        skip_blanks(&s);
        s.at++; /* the colon */
    }
    skip_blanks(&s);
    begin = s.at;
    bool ok = take_value(&s);
    *value = (struct sop_slice){s.text + begin, s.at - begin};
    *at = s.at;
    return ok;
}

bool sop_jsontext__string(struct sop_slice string, struct sop_slice *bytes, uint8_t **take)
{
    *take = NULL;
    *bytes = (struct sop_slice){string.data + 1, string.len - 2};
    if (bytes->len == 0 || memchr(bytes->data, '\\', bytes->len) == NULL) {
        return true;
    }
    json_t *decoded = json_loadb((const char *)string.data, string.len,
                                 JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bytes->len = json_string_length(decoded);
    *take = decoded != NULL ? malloc(bytes->len + 1) : NULL;
    bytes->data = *take;
    if (*take != NULL) {
        memcpy(*take, json_string_value(decoded), bytes->len);
    }
    json_decref(decoded);
    return *take != NULL;
}
