/* --help and the man page from the table of a program. */
#include "cli/args.h"

#include <ctype.h>
#include <string.h>

#define COLUMNS 90

/* Prints text from column `at` on, breaking lines before COLUMNS and indenting them by indent.
 */
static void wrap(FILE *to, const char *text, int indent, int at)
{
    while (*text != '\0') {
        int word = (int)strcspn(text, " \n");
        if (at > indent && at + 1 + word > COLUMNS) {
            fprintf(to, "\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            fputc(' ', to);
            at++;
        }
        fprintf(to, "%.*s", word, text);
        at += word;
        text += word;
        text += *text != '\0';
    }
    fputc('\n', to);
}

/* Each line of text by its own paragraph. */
static void paragraphs(FILE *to, const char *text, int indent)
{
    char line[1024];
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        size_t kept = len < sizeof line ? len : sizeof line - 1;
        memcpy(line, text, kept);
        line[kept] = '\0';
        fprintf(to, "%*s", indent, "");
        wrap(to, line, indent, indent);
        text += len + (text[len] == '\n');
    }
}

static void verbatim(FILE *to, const char *text, const char *before)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        fprintf(to, "%s%.*s\n", before, (int)len, text);
        text += len + (text[len] == '\n');
    }
}

static void option_lines(FILE *to, const struct sop_program *p, uint64_t mask)
{
    for (size_t i = 0; i < p->options_count; i++) {
        if (((mask >> i) & 1) == 0) {
            continue;
        }
        const struct sop_arg_option *o = &p->options[i];
        char head[96];
        char letter[8] = "    ";
        if (o->letter != 0) {
            snprintf(letter, sizeof letter, "-%c, ", o->letter);
        }
        snprintf(head, sizeof head, "  %s--%s%s%s", letter, o->name,
                 o->value != NULL ? " " : "", o->value != NULL ? o->value : "");
        fprintf(to, "%-28s", head);
        if (strlen(head) >= 28) {
            fprintf(to, "\n%28s", "");
        }
        wrap(to, o->help, 28, 28);
        if (o->kind == SOP_ARG_CHOICE) {
            fprintf(to, "%28sone of %s\n", "", o->choices);
        }
    }
}

static void program_help(FILE *to, const struct sop_program *p)
{
    fprintf(to, "%s: %s\n\nusage: %s COMMAND [arguments] [options]\n\ncommands:\n", p->name,
            p->purpose, p->name);
    for (size_t i = 0; i < p->commands_count; i++) {
        fprintf(to, "  %-14s  %s\n", p->commands[i].name, p->commands[i].summary);
    }
    fprintf(to, "\noptions of every command:\n");
    option_lines(to, p, p->globals);
    fprintf(to, "  -h, --help                explain a command, with examples\n"
                "      --version             print the version\n\n");
    paragraphs(to, p->details, 0);
    fprintf(to, "\n'%s COMMAND --help' explains one command.\n", p->name);
}

void sop_args_help(FILE *to, const struct sop_program *program,
                   const struct sop_command *command)
{
    if (command == NULL) {
        program_help(to, program);
        return;
    }
    const char *gap = command->name[0] != '\0' ? " " : "";
    fprintf(to, "%s%s%s: %s\n\nusage: %s%s%s%s%s [options]\n", program->name, gap,
            command->name, command->summary, program->name, gap, command->name,
            command->usage[0] != '\0' ? " " : "", command->usage);
    if (command->details != NULL) {
        fputc('\n', to);
        paragraphs(to, command->details, 0);
    }
    if (command->options != 0) {
        fprintf(to, "\noptions:\n");
        option_lines(to, program, command->options);
    }
    if (program->globals != 0) {
        fprintf(to, "\noptions of every command:\n");
        option_lines(to, program, program->globals);
    }
    if (command->examples != NULL) {
        fprintf(to, "\nexamples:\n");
        verbatim(to, command->examples, "  ");
    }
}

/* ---- the man page ---------------------------------------------------------------------- */

static void mdoc_char(FILE *to, char c)
{
    if (c == '\\') {
        fputs("\\e", to);
    } else if (c == '~') {
        fputs("\\(ti", to);
    } else {
        fputc(c, to);
    }
}

/* A line as it is; a leading dot or quote means itself. */
static void mdoc_line(FILE *to, const char *text, size_t len)
{
    if (len > 0 && (text[0] == '.' || text[0] == '\'')) {
        fputs("\\&", to);
    }
    for (size_t i = 0; i < len; i++) {
        mdoc_char(to, text[i]);
    }
    fputc('\n', to);
}

/* Running text, ended by `end`: lines are short and end where sentences do. */
static void mdoc_text(FILE *to, const char *text, size_t len, const char *end)
{
    size_t at = 0;
    for (size_t i = 0; i < len;) {
        size_t word = 0;
        while (i + word < len && text[i + word] != ' ') {
            word++;
        }
        if (at > 0 && at + word > 76) {
            fputc('\n', to);
            at = 0;
        }
        if (at == 0 && (text[i] == '.' || text[i] == '\'')) {
            fputs("\\&", to);
        } else if (at > 0) {
            fputc(' ', to);
        }
        for (size_t k = 0; k < word; k++) {
            mdoc_char(to, text[i + k]);
        }
        at += word + 1;
        i += word + 1;
        if (i < len && word > 0 && text[i - 2] == '.') {
            fputc('\n', to);
            at = 0;
        }
    }
    fprintf(to, "%s\n", end);
}

static void mdoc_options(FILE *to, const struct sop_program *p, uint64_t mask)
{
    fprintf(to, ".Bl -tag -width Ds\n");
    for (size_t i = 0; i < p->options_count; i++) {
        if (((mask >> i) & 1) == 0) {
            continue;
        }
        const struct sop_arg_option *o = &p->options[i];
        fprintf(to, ".It");
        if (o->letter != 0) {
            fprintf(to, " Fl %c , ", o->letter);
        }
        fprintf(to, " Fl Fl %s", o->name);
        if (o->value != NULL) {
            fprintf(to, " Ar %s", o->value);
        }
        fputc('\n', to);
        bool choice = o->kind == SOP_ARG_CHOICE;
        mdoc_text(to, o->help, strlen(o->help), choice ? ":" : ".");
        if (choice) {
            fprintf(to, ".Ql %s .\n", o->choices);
        }
    }
    fprintf(to, ".El\n");
}

static void mdoc_paragraphs(FILE *to, const char *text, bool first_break)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        if (first_break) {
            fprintf(to, ".Pp\n");
        }
        first_break = true;
        mdoc_text(to, text, len, "");
        text += len + (text[len] == '\n');
    }
}

static void mdoc_examples(FILE *to, const char *text)
{
    fprintf(to, ".Bd -literal -offset indent\n");
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        mdoc_line(to, text, len);
        text += len + (text[len] == '\n');
    }
    fprintf(to, ".Ed\n");
}

static void mdoc_command(FILE *to, const struct sop_program *p, const struct sop_command *c)
{
    const char *gap = c->name[0] != '\0' ? " " : "";
    fprintf(to, ".Ss %s\n", c->name[0] != '\0' ? c->name : p->name);
    mdoc_text(to, c->summary, strlen(c->summary), ".");
    fprintf(to, ".Dl %s%s%s%s%s\n", p->name, gap, c->name, c->usage[0] != '\0' ? " " : "",
            c->usage);
    if (c->details != NULL) {
        mdoc_paragraphs(to, c->details, true);
    }
    if (c->options != 0) {
        mdoc_options(to, p, c->options);
    }
    if (c->examples != NULL) {
        fprintf(to, ".Pp\nExamples:\n");
        mdoc_examples(to, c->examples);
    }
}

void sop_args_mdoc(FILE *to, const struct sop_program *program)
{
    fprintf(to, ".\\\" Written by '%s completion mdoc' from its table of commands.\n",
            program->name);
    fprintf(to, ".Dd November 21, 2026\n.Dt ");
    for (const char *c = program->name; *c != '\0'; c++) {
        fputc(toupper((unsigned char)*c), to);
    }
    fprintf(to, " 1\n.Os\n.Sh NAME\n.Nm %s\n.Nd %s\n", program->name, program->purpose);
    fprintf(to, ".Sh SYNOPSIS\n.Nm %s\n.Ar command\n.Op Ar argument ...\n.Op Ar options\n",
            program->name);
    fprintf(to, ".Sh DESCRIPTION\n");
    mdoc_paragraphs(to, program->details, false);
    fprintf(to, ".Pp\nOptions of every command:\n");
    mdoc_options(to, program, program->globals);
    fprintf(to, ".Sh COMMANDS\n");
    for (size_t i = 0; i < program->commands_count; i++) {
        mdoc_command(to, program, &program->commands[i]);
    }
    fputs(program->manual, to);
}
