/* Reads the files of the Unicode Character Database; see unicode.h. */
#include "examples/demo/unicode.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CODES      0x110000u
#define FIELDS_MAX 20

enum kind {
    UNICODE_DATA, /* the main file: fixed fields, ranges as First and Last */
    VALUE,        /* code[..code] ; value               of one property */
    PROPERTY,     /* code[..code] ; property [; value]  */
    TABBED,       /* U+code TAB property TAB value      */
    FOLDING,      /* code ; status ; mapping */
};

static const struct source {
    const char *file;
    enum kind kind;
    const char *property; /* VALUE only */
    bool unihan;          /* lies in the folder of the unpacked Unihan files */
} sources[] = {
    {"UnicodeData.txt", UNICODE_DATA, NULL, false}, /* first: tells what is assigned */
    {"Blocks.txt", VALUE, "Block", false},
    {"Scripts.txt", VALUE, "Script", false},
    {"ScriptExtensions.txt", VALUE, "Script_Extensions", false},
    {"DerivedAge.txt", VALUE, "Age", false},
    {"EastAsianWidth.txt", VALUE, "East_Asian_Width", false},
    {"LineBreak.txt", VALUE, "Line_Break", false},
    {"VerticalOrientation.txt", VALUE, "Vertical_Orientation", false},
    {"HangulSyllableType.txt", VALUE, "Hangul_Syllable_Type", false},
    {"IndicPositionalCategory.txt", VALUE, "Indic_Positional_Category", false},
    {"IndicSyllabicCategory.txt", VALUE, "Indic_Syllabic_Category", false},
    {"Jamo.txt", VALUE, "Jamo_Short_Name", false},
    {"BidiMirroring.txt", VALUE, "Bidi_Mirroring_Glyph", false},
    {"EquivalentUnifiedIdeograph.txt", VALUE, "Equivalent_Unified_Ideograph", false},
    {"NameAliases.txt", VALUE, "Name_Alias", false},
    {"auxiliary/GraphemeBreakProperty.txt", VALUE, "Grapheme_Cluster_Break", false},
    {"auxiliary/SentenceBreakProperty.txt", VALUE, "Sentence_Break", false},
    {"auxiliary/WordBreakProperty.txt", VALUE, "Word_Break", false},
    {"extracted/DerivedJoiningGroup.txt", VALUE, "Joining_Group", false},
    {"extracted/DerivedJoiningType.txt", VALUE, "Joining_Type", false},
    {"extracted/DerivedNumericType.txt", VALUE, "Numeric_Type", false},
    {"DerivedCoreProperties.txt", PROPERTY, NULL, false},
    {"PropList.txt", PROPERTY, NULL, false},
    {"DerivedNormalizationProps.txt", PROPERTY, NULL, false},
    {"emoji/emoji-data.txt", PROPERTY, NULL, false},
    {"CaseFolding.txt", FOLDING, NULL, false},
    {"NushuSources.txt", TABBED, NULL, false},
    {"TangutSources.txt", TABBED, NULL, false},
    {"Unihan_DictionaryIndices.txt", TABBED, NULL, true},
    {"Unihan_DictionaryLikeData.txt", TABBED, NULL, true},
    {"Unihan_IRGSources.txt", TABBED, NULL, true},
    {"Unihan_NumericValues.txt", TABBED, NULL, true},
    {"Unihan_OtherMappings.txt", TABBED, NULL, true},
    {"Unihan_RadicalStrokeCounts.txt", TABBED, NULL, true},
    {"Unihan_Readings.txt", TABBED, NULL, true},
    {"Unihan_Variants.txt", TABBED, NULL, true},
};
#define SOURCES (sizeof sources / sizeof sources[0])

/* ---- memory ------------------------------------------------------------------------------ */

static bool grow(void **data, size_t *room, size_t want, size_t each)
{
    if (want <= *room) {
        return true;
    }
    size_t more = *room * 2 > want ? *room * 2 : want + 1024;
    void *moved = realloc(*data, more * each);
    if (moved == NULL) {
        return false;
    }
    *data = moved;
    *room = more;
    return true;
}

static uint64_t hash(const char *text, size_t len)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < len; i++) {
        h = (h ^ (uint8_t)text[i]) * UINT64_C(1099511628211);
    }
    return h ^ (h >> 29);
}

static bool grow_table(struct unicode *u)
{
    size_t size = u->table == NULL ? 65536 : (u->table_mask + 1) * 2;
    uint32_t *table = calloc(size, sizeof *table);
    if (table == NULL) {
        return false;
    }
    for (size_t i = 0; u->table != NULL && i <= u->table_mask; i++) {
        if (u->table[i] != 0) {
            const char *text = u->pool + u->table[i] - 1;
            size_t at = hash(text, strlen(text)) & (size - 1);
            while (table[at] != 0) {
                at = (at + 1) & (size - 1);
            }
            table[at] = u->table[i];
        }
    }
    free(u->table);
    u->table = table;
    u->table_mask = size - 1;
    return true;
}

/* The offset of the string in the pool, put there once. */
static bool intern(struct unicode *u, const char *text, size_t len, uint32_t *offset)
{
    if (u->table_used * 2 >= u->table_mask && !grow_table(u)) {
        return false;
    }
    size_t at = hash(text, len) & u->table_mask;
    for (; u->table[at] != 0; at = (at + 1) & u->table_mask) {
        const char *have = u->pool + u->table[at] - 1;
        if (strncmp(have, text, len) == 0 && have[len] == '\0') {
            *offset = u->table[at] - 1;
            return true;
        }
    }
    void *pool = u->pool;
    if (u->pool_bytes + len + 1 > UINT32_MAX - 1 ||
        !grow(&pool, &u->pool_room, u->pool_bytes + len + 1, 1)) {
        return false;
    }
    u->pool = pool;
    memcpy(u->pool + u->pool_bytes, text, len);
    u->pool[u->pool_bytes + len] = '\0';
    *offset = (uint32_t)u->pool_bytes;
    u->pool_bytes += len + 1;
    u->table[at] = *offset + 1;
    u->table_used++;
    return true;
}

static bool property_id(struct unicode *u, const char *name, size_t len, uint32_t *id)
{
    for (size_t i = u->names_count; i-- > 0;) { /* mostly the one used last */
        if (strncmp(u->names[i], name, len) == 0 && u->names[i][len] == '\0') {
            *id = (uint32_t)i;
            return true;
        }
    }
    char **names = realloc(u->names, (u->names_count + 1) * sizeof *names);
    if (names == NULL) {
        return false;
    }
    u->names = names;
    names[u->names_count] = strndup(name, len);
    *id = (uint32_t)u->names_count;
    return names[u->names_count++] != NULL;
}

/* ---- facts --------------------------------------------------------------------------------
 */

struct text {
    const char *at;
    size_t len;
};

static bool is_assigned(const struct unicode *u, uint32_t code)
{
    return code < CODES && ((u->assigned[code / 8] >> (code % 8)) & 1) != 0;
}

/* A fact for each assigned code point of first..last; none when the value is empty. */
static bool add_range(struct unicode *u, uint32_t first, uint32_t last, struct text property,
                      struct text value)
{
    uint32_t id, offset;
    if (value.len == 0) {
        return true;
    }
    if (!property_id(u, property.at, property.len, &id) ||
        !intern(u, value.at, value.len, &offset)) {
        return false;
    }
    for (uint32_t code = first; code <= last && code < CODES; code++) {
        if (!is_assigned(u, code)) {
            continue;
        }
        void *facts = u->facts;
        if (!grow(&facts, &u->room, u->count + 1, sizeof *u->facts)) {
            return false;
        }
        u->facts = facts;
        u->facts[u->count++] = (struct unicode_fact){code, id, offset};
    }
    return true;
}

static struct text trim(const char *at, size_t len)
{
    while (len > 0 && (at[0] == ' ' || at[0] == '\t')) {
        at++;
        len--;
    }
    while (len > 0 && strchr(" \t\r\n", at[len - 1]) != NULL) {
        len--;
    }
    return (struct text){at, len};
}

static struct text literal(const char *text)
{
    return (struct text){text, strlen(text)};
}

/* Cuts a line at its semicolons, a comment taken off before. */
static size_t cut(const char *line, bool comments, struct text *fields)
{
    size_t len = comments ? strcspn(line, "#") : strlen(line);
    size_t count = 0;
    for (const char *at = line; count < FIELDS_MAX;) {
        size_t rest = len - (size_t)(at - line);
        const char *semicolon = memchr(at, ';', rest);
        fields[count++] = trim(at, semicolon != NULL ? (size_t)(semicolon - at) : rest);
        if (semicolon == NULL) {
            break;
        }
        at = semicolon + 1;
    }
    return count;
}

/* "0041" or "0041..005A"; false for sequences and anything else. */
static bool parse_codes(struct text field, uint32_t *first, uint32_t *last)
{
    char *end;
    if (field.len == 0) {
        return false;
    }
    *first = (uint32_t)strtoul(field.at, &end, 16);
    *last = *first;
    if (end > field.at && end[0] == '.' && end[1] == '.') {
        *last = (uint32_t)strtoul(end + 2, &end, 16);
    }
    return end == field.at + field.len && *first <= *last && *last < CODES;
}

/* ---- lines --------------------------------------------------------------------------------
 */

static bool starts_with(struct text t, const char *start)
{
    return t.len >= strlen(start) && memcmp(t.at, start, strlen(start)) == 0;
}

/* The name of one character of a range, by the rules of the standard. */
static bool add_range_names(struct unicode *u, uint32_t first, uint32_t last, struct text range)
{
    const char *stem = starts_with(range, "<CJK Ideograph") ? "CJK UNIFIED IDEOGRAPH"
                       : starts_with(range, "<Tangut")      ? "TANGUT IDEOGRAPH"
                                                            : NULL;
    for (uint32_t code = first; stem != NULL && code <= last; code++) {
        char name[48];
        int len = snprintf(name, sizeof name, "%s-%04X", stem, (unsigned)code);
        if (!add_range(u, code, code, literal("Name"), (struct text){name, (size_t)len})) {
            return false;
        }
    }
    return true;
}

static bool unicode_data(struct unicode *u, const char *line, uint32_t *range_first)
{
    static const char *const names[15] = {NULL,
                                          "Name",
                                          "General_Category",
                                          "Canonical_Combining_Class",
                                          "Bidi_Class",
                                          "Decomposition_Mapping",
                                          NULL,
                                          NULL,
                                          "Numeric_Value",
                                          "Bidi_Mirrored",
                                          "Unicode_1_Name",
                                          NULL,
                                          "Simple_Uppercase_Mapping",
                                          "Simple_Lowercase_Mapping",
                                          "Simple_Titlecase_Mapping"};
    struct text f[FIELDS_MAX];
    uint32_t first, last;
    if (cut(line, false, f) != 15 || !parse_codes(f[0], &first, &last)) {
        return true;
    }
    bool ranged = f[1].len > 6 && memcmp(f[1].at + f[1].len - 6, " Last>", 6) == 0;
    if (f[1].len > 7 && memcmp(f[1].at + f[1].len - 7, " First>", 7) == 0) {
        *range_first = first;
        return true;
    }
    first = ranged ? *range_first : first;
    if (starts_with(f[2], "Cs") || starts_with(f[2], "Co")) {
        return true;
    }
    for (uint32_t code = first; code <= last; code++) {
        u->assigned[code / 8] |= (uint8_t)(1u << (code % 8));
    }
    if (ranged && !add_range_names(u, first, last, f[1])) {
        return false;
    }
    for (size_t i = ranged ? 2 : 1; i < 15; i++) {
        /* The values that nearly all characters have are left out, as in the files. */
        bool usual = (i == 3 && f[i].len == 1 && f[i].at[0] == '0') ||
                     (i == 9 && f[i].len == 1 && f[i].at[0] == 'N');
        if (names[i] != NULL && !usual && !add_range(u, first, last, literal(names[i]), f[i])) {
            return false;
        }
    }
    return true;
}

static bool tabbed(struct unicode *u, const char *line)
{
    const char *tab = strchr(line, '\t');
    const char *second = tab != NULL ? strchr(tab + 1, '\t') : NULL;
    uint32_t first, last;
    if (strncmp(line, "U+", 2) != 0 || second == NULL ||
        !parse_codes((struct text){line + 2, (size_t)(tab - line) - 2}, &first, &last)) {
        return true;
    }
    return add_range(u, first, last, (struct text){tab + 1, (size_t)(second - tab) - 1},
                     trim(second + 1, strlen(second + 1)));
}

static bool take_line(struct unicode *u, const struct source *s, const char *line,
                      uint32_t *range_first)
{
    if (line[0] == '#' || line[0] == '@' || line[0] == '\n') {
        return true;
    }
    if (s->kind == UNICODE_DATA) {
        return unicode_data(u, line, range_first);
    }
    if (s->kind == TABBED) {
        return tabbed(u, line);
    }
    struct text f[FIELDS_MAX];
    size_t count = cut(line, true, f);
    uint32_t first, last;
    if (count < 2 || !parse_codes(f[0], &first, &last)) {
        return true;
    }
    switch (s->kind) {
    case VALUE:
        return add_range(u, first, last, literal(s->property), f[1]);
    case PROPERTY:
        return add_range(u, first, last, f[1],
                         count > 2 && f[2].len > 0 ? f[2] : literal("Yes"));
    case FOLDING: {
        char name[32];
        snprintf(name, sizeof name, "Case_Folding_%.*s", (int)f[1].len, f[1].at);
        return count < 3 || add_range(u, first, last, literal(name), f[2]);
    }
    case UNICODE_DATA:
    case TABBED:
        break;
    }
    return true;
}

/* ---- everything ----------------------------------------------------------------------------
 */

static bool read_source(struct unicode *u, const struct source *s, const char *folder,
                        char *message, size_t message_bytes)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, s->file);
    FILE *from = fopen(path, "r");
    if (from == NULL) {
        snprintf(message, message_bytes, "open %s: %s; install the package unicode-data", path,
                 strerror(errno));
        return false;
    }
    char *line = NULL;
    size_t room = 0;
    uint32_t range_first = 0;
    bool ok = true;
    while (ok && getline(&line, &room, from) > 0) {
        u->lines++;
        ok = take_line(u, s, line, &range_first);
    }
    free(line);
    fclose(from);
    if (!ok) {
        snprintf(message, message_bytes, "out of memory at %s", s->file);
    }
    return ok;
}

/* Sorting needs the names of properties in their order: ids become ranks first. */
static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool rank_properties(struct unicode *u)
{
    char **sorted = malloc(u->names_count * sizeof *sorted);
    uint32_t *rank = malloc(u->names_count * sizeof *rank);
    bool ok = sorted != NULL && rank != NULL;
    if (ok) {
        memcpy(sorted, u->names, u->names_count * sizeof *sorted);
        qsort(sorted, u->names_count, sizeof *sorted, by_name);
        for (size_t i = 0; i < u->names_count; i++) {
            char **at = bsearch(&u->names[i], sorted, u->names_count, sizeof *sorted, by_name);
            rank[i] = (uint32_t)(at - sorted);
        }
        for (size_t i = 0; i < u->count; i++) {
            u->facts[i].property = rank[u->facts[i].property];
        }
        memcpy(u->names, sorted, u->names_count * sizeof *sorted);
    }
    free(sorted);
    free(rank);
    return ok;
}

static int by_key(const void *a, const void *b)
{
    const struct unicode_fact *x = a, *y = b;
    if (x->code != y->code) {
        return x->code < y->code ? -1 : 1;
    }
    if (x->property != y->property) {
        return x->property < y->property ? -1 : 1;
    }
    return x->value < y->value ? -1 : x->value > y->value;
}

/* Facts with the same key become one, their values joined. */
static bool join_duplicates(struct unicode *u)
{
    size_t kept = 0;
    for (size_t i = 0; i < u->count; i++) {
        struct unicode_fact *last = kept > 0 ? &u->facts[kept - 1] : NULL;
        if (last == NULL || last->code != u->facts[i].code ||
            last->property != u->facts[i].property) {
            u->facts[kept++] = u->facts[i];
        } else if (last->value != u->facts[i].value) {
            char joined[1024];
            int len = snprintf(joined, sizeof joined, "%s; %s", u->pool + last->value,
                               u->pool + u->facts[i].value);
            size_t used = (size_t)len < sizeof joined ? (size_t)len : sizeof joined - 1;
            if (!intern(u, joined, used, &last->value)) {
                return false;
            }
        }
    }
    u->count = kept;
    return true;
}

bool unicode_read(struct unicode *u, const char *folder, const char *unihan_folder,
                  void (*progress)(uint64_t done, uint64_t total), char *message,
                  size_t message_bytes)
{
    memset(u, 0, sizeof *u);
    u->assigned = calloc(CODES / 8, 1);
    bool ok = u->assigned != NULL;
    snprintf(message, message_bytes, "out of memory");
    for (size_t i = 0; i < SOURCES && ok; i++) {
        ok = read_source(u, &sources[i], sources[i].unihan ? unihan_folder : folder, message,
                         message_bytes);
        u->files++;
        progress(i + 1, SOURCES);
    }
    if (ok && (ok = rank_properties(u))) {
        qsort(u->facts, u->count, sizeof *u->facts, by_key);
        ok = join_duplicates(u);
    }
    if (!ok) {
        unicode_free(u);
    }
    return ok;
}

void unicode_free(struct unicode *u)
{
    for (size_t i = 0; i < u->names_count; i++) {
        free(u->names[i]);
    }
    free(u->names);
    free(u->facts);
    free(u->pool);
    free(u->table);
    free(u->assigned);
    memset(u, 0, sizeof *u);
}
