/* The parser of args.h. */
#include "cli/args.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Edits that turn a into b, at most 9; for "did you mean". */
static size_t distance(const char *a, const char *b)
{
    size_t row[33];
    size_t n = strlen(b);
    if (n > 32 || strlen(a) > 32) {
        return 9;
    }
    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[n] > 9 ? 9 : row[n];
}

/* Advice is a name with fewer edits than this: at most half of the word changed, so that it is
 * not just any short name. */
static size_t too_far(const char *name)
{
    size_t len = strlen(name);
    return len >= 6 ? 3 : len >= 3 ? 2 : 0;
}

static const char *nearest_option(const struct sop_program *p, const char *name)
{
    const char *best = NULL;
    size_t least = too_far(name);
    for (size_t i = 0; i < p->options_count; i++) {
        size_t d = distance(name, p->options[i].name);
        if (d < least) {
            least = d;
            best = p->options[i].name;
        }
    }
    return best;
}

static const char *nearest_command(const struct sop_program *p, const char *name)
{
    const char *best = NULL;
    size_t least = too_far(name);
    for (size_t i = 0; i < p->commands_count; i++) {
        size_t d = distance(name, p->commands[i].name);
        if (d < least) {
            least = d;
            best = p->commands[i].name;
        }
    }
    return best;
}

const struct sop_command *sop_args_find(const struct sop_program *program, const char *name)
{
    for (size_t i = 0; i < program->commands_count; i++) {
        if (strcmp(program->commands[i].name, name) == 0) {
            return &program->commands[i];
        }
    }
    return NULL;
}

bool sop_args_takes(const struct sop_program *program, const struct sop_command *command,
                    size_t option)
{
    return (((program->globals | command->options) >> option) & 1) != 0;
}

bool sop_args_number(const char *text, uint64_t unit, uint64_t *number)
{
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    errno = 0;
    char *end;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0) {
        return false;
    }
    unsigned power = 0;
    static const char letters[] = "KMGT";
    if (*end != '\0') {
        const char *at = strchr(letters, toupper((unsigned char)*end));
        if (at == NULL) {
            return false;
        }
        power = (unsigned)(at - letters) + 1;
        end++;
        if (unit == 1024 && strcmp(end, "iB") == 0) {
            end += 2;
        }
    }
    for (; power > 0; power--) {
        if (n > UINT64_MAX / unit) {
            return false;
        }
        n *= unit;
    }
    *number = n;
    return *end == '\0';
}

static bool in_choices(const char *choices, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = choices; at != NULL; at = strchr(at, '|')) {
        at += *at == '|';
        if (len > 0 && strncmp(at, word, len) == 0 && (at[len] == '|' || at[len] == '\0')) {
            return true;
        }
    }
    return false;
}

struct parse {
    struct sop_args *args;
    const struct sop_program *program;
    const char **argv;
    int argc, at;
    char *message;
    size_t message_bytes;
};

#define COMPLAIN(p, ...) (snprintf((p)->message, (p)->message_bytes, __VA_ARGS__), false)

static bool take_value(struct parse *p, size_t i, const char *value)
{
    const struct sop_arg_option *o = &p->program->options[i];
    p->args->given[i] = true;
    p->args->text[i] = value;
    switch (o->kind) {
    case SOP_ARG_COUNT:
        if (!sop_args_number(value, 1000, &p->args->number[i])) {
            return COMPLAIN(p, "--%s wants a whole number such as 500 or 10k, not '%s'",
                            o->name, value);
        }
        break;
    case SOP_ARG_BYTES:
        if (!sop_args_number(value, 1024, &p->args->number[i])) {
            return COMPLAIN(p, "--%s wants a size such as 4096, 64M or 2G, not '%s'", o->name,
                            value);
        }
        break;
    case SOP_ARG_CHOICE:
        if (!in_choices(o->choices, value)) {
            return COMPLAIN(p, "--%s wants one of %s, not '%s'", o->name, o->choices, value);
        }
        break;
    case SOP_ARG_FLAG:
    case SOP_ARG_TEXT:
    case SOP_ARG_FILE:
        break;
    }
    return true;
}

/* --name, --name=value, --name value */
static bool take_long(struct parse *p, const char *word)
{
    char name[64];
    size_t len = strcspn(word, "=");
    if (len >= sizeof name) {
        return COMPLAIN(p, "there is no option '--%s'", word);
    }
    memcpy(name, word, len);
    name[len] = '\0';
    const char *value = word[len] == '=' ? word + len + 1 : NULL;
    if (strcmp(name, "help") == 0 || strcmp(name, "version") == 0) {
        *(name[0] == 'h' ? &p->args->help : &p->args->version) = true;
        return true;
    }
    for (size_t i = 0; i < p->program->options_count; i++) {
        const struct sop_arg_option *o = &p->program->options[i];
        if (strcmp(o->name, name) != 0) {
            continue;
        }
        if (o->kind == SOP_ARG_FLAG) {
            return value == NULL ? take_value(p, i, "")
                                 : COMPLAIN(p, "--%s takes no value", name);
        }
        if (value == NULL && ++p->at >= p->argc) {
            return COMPLAIN(p, "--%s needs its %s after it", name, o->value);
        }
        return take_value(p, i, value != NULL ? value : p->argv[p->at]);
    }
    const char *near = nearest_option(p->program, name);
    return near != NULL
               ? COMPLAIN(p, "there is no option '--%s'; did you mean --%s?", name, near)
               : COMPLAIN(p, "there is no option '--%s'", name);
}

/* -n value, -nvalue, flags in one word: -qf */
static bool take_letters(struct parse *p, const char *word)
{
    for (; *word != '\0'; word++) {
        if (*word == 'h') {
            p->args->help = true;
            continue;
        }
        size_t i = 0;
        while (i < p->program->options_count && p->program->options[i].letter != *word) {
            i++;
        }
        if (i == p->program->options_count) {
            return COMPLAIN(p, "there is no option '-%c'", *word);
        }
        const struct sop_arg_option *o = &p->program->options[i];
        if (o->kind == SOP_ARG_FLAG) {
            if (!take_value(p, i, "")) {
                return false;
            }
            continue;
        }
        if (word[1] == '\0' && ++p->at >= p->argc) {
            return COMPLAIN(p, "-%c needs its %s after it", *word, o->value);
        }
        return take_value(p, i, word[1] != '\0' ? word + 1 : p->argv[p->at]);
    }
    return true;
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0' && !isdigit((unsigned char)word[1]) &&
           word[1] != '.';
}

/* "create, list" for the commands "store create" and "store list"; false if `first` begins
 * none. */
static bool second_words(const struct sop_program *program, const char *first, char *words,
                         size_t bytes)
{
    size_t len = strlen(first), used = 0;
    for (size_t i = 0; i < program->commands_count && used < bytes; i++) {
        const char *full = program->commands[i].name;
        if (strncmp(full, first, len) == 0 && full[len] == ' ') {
            used += (size_t)snprintf(words + used, bytes - used, "%s%s", used > 0 ? ", " : "",
                                     full + len + 1);
        }
    }
    return used > 0;
}

/* The first word begins commands; what comes after it, if anything, ends none of them. */
static bool second_word_wrong(struct parse *p, const char *words)
{
    const char *first = p->args->rest[0];
    if (p->args->count < 2) {
        return COMPLAIN(p, "after '%s' comes one of: %s", first, words);
    }
    char name[80];
    snprintf(name, sizeof name, "%s %s", first, p->args->rest[1]);
    const char *near = nearest_command(p->program, name);
    return near != NULL ? COMPLAIN(p, "there is no command '%s'; did you mean %s?", name, near)
                        : COMPLAIN(p, "there is no command '%s'; after '%s' comes one of: %s",
                                   name, first, words);
}

/* Finds the command in rest[0] and perhaps rest[1] and drops those words. */
static bool take_command(struct parse *p)
{
    struct sop_args *a = p->args;
    if (p->program->commands_count == 1 && p->program->commands[0].name[0] == '\0') {
        a->command = &p->program->commands[0];
        return true;
    }
    if (a->count > 0 && strcmp(a->rest[0], "help") == 0) { /* help [COMMAND] */
        a->help = true;
        a->rest++;
        a->count--;
    }
    if (a->count == 0) {
        return a->help || a->version
                   ? true
                   : COMPLAIN(p, "which command? '%s --help' lists them", p->program->name);
    }
    char name[80];
    size_t words = 2;
    if (a->count > 1) {
        snprintf(name, sizeof name, "%s %s", a->rest[0], a->rest[1]);
        a->command = sop_args_find(p->program, name);
    }
    if (a->command == NULL) {
        words = 1;
        snprintf(name, sizeof name, "%s", a->rest[0]);
        a->command = sop_args_find(p->program, name);
    }
    if (a->command != NULL) {
        a->rest += words;
        a->count -= words;
        return true;
    }
    char words_after[128];
    if (second_words(p->program, a->rest[0], words_after, sizeof words_after)) {
        return a->help ? true : second_word_wrong(p, words_after);
    }
    const char *near = nearest_command(p->program, name);
    return near != NULL ? COMPLAIN(p, "there is no command '%s'; did you mean %s?", name, near)
                        : COMPLAIN(p, "there is no command '%s'; '%s --help' lists them", name,
                                   p->program->name);
}

static bool check_shape(struct parse *p)
{
    const struct sop_args *a = p->args;
    const char *gap = a->command->name[0] != '\0' ? " " : "";
    for (size_t i = 0; i < p->program->options_count; i++) {
        if (a->given[i] && !sop_args_takes(p->program, a->command, i)) {
            return COMPLAIN(p, "%s%s%s does not take --%s; see '%s%s%s --help'",
                            p->program->name, gap, a->command->name,
                            p->program->options[i].name, p->program->name, gap,
                            a->command->name);
        }
    }
    if (a->count < a->command->least || a->count > a->command->most) {
        return COMPLAIN(p, "too %s arguments; usage: %s%s%s %s [options]",
                        a->count < a->command->least ? "few" : "many", p->program->name, gap,
                        a->command->name, a->command->usage);
    }
    return true;
}

bool sop_args_parse(struct sop_args *args, const struct sop_program *program, int argc,
                    const char **argv, char *message, size_t message_bytes)
{
    memset(args, 0, sizeof *args);
    args->program = program;
    args->rest = argv + 1;
    struct parse p = {args, program, argv, argc, 1, message, message_bytes};
    bool only_arguments = false;
    for (; p.at < argc; p.at++) {
        const char *word = argv[p.at];
        if (only_arguments || !is_option(word)) {
            args->rest[args->count++] = word;
        } else if (strcmp(word, "--") == 0) {
            only_arguments = true;
        } else if (!(word[1] == '-' ? take_long(&p, word + 2) : take_letters(&p, word + 1))) {
            return false;
        }
    }
    if (!take_command(&p)) {
        return false;
    }
    return args->help || args->version || check_shape(&p);
}
