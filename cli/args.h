/* Command lines from one table: parsing, --help, shell completion and the man page all read the
 * same struct sop_program, so they cannot disagree.
 *
 * Grammar: options stand anywhere (`--name value`, `--name=value`, `-n value`, `-nvalue`, flags
 * bundled `-qf`), `--` ends them, a lone `-` and anything like a negative number is an
 * argument. The command is the first one or two arguments ("store create"). */
#ifndef SOP_CLI_ARGS_H
#define SOP_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SOP_ARGS_OPTIONS_MAX 64 /* one bit of a mask each */

enum sop_arg_kind {
    SOP_ARG_FLAG,
    SOP_ARG_TEXT,
    SOP_ARG_FILE,   /* a text that the shell completes with paths */
    SOP_ARG_COUNT,  /* a whole number; 10k and 2M mean thousands and millions */
    SOP_ARG_BYTES,  /* a size; K, M, G, T are powers of 1024 */
    SOP_ARG_CHOICE, /* one word of `choices` */
};

struct sop_arg_option {
    const char *name; /* without the dashes */
    char letter;      /* 0 = none */
    enum sop_arg_kind kind;
    const char *value;   /* name of its value in help; NULL for flags */
    const char *choices; /* "a|b|c" for SOP_ARG_CHOICE */
    const char *help;    /* a sentence without its full stop */
};

struct sop_args;
typedef int (*sop_command_fn)(void *context, const struct sop_args *args);

/* A paragraph or an example per line. */
struct sop_command {
    const char *name;  /* "get", "store create"; "" in a program without commands */
    const char *usage; /* its arguments: "STORE KEY" */
    size_t least, most;
    uint64_t options;     /* bit i: takes program->options[i], beside the global ones */
    const char *summary;  /* one line, no full stop */
    const char *details;  /* lines of help; NULL = none */
    const char *examples; /* "command line  # what it does" per line */
    sop_command_fn run;
};

struct sop_program {
    const char *name, *version, *purpose;
    const char *details; /* shown by --help of the program; one paragraph per line */
    const struct sop_arg_option *options;
    size_t options_count;
    uint64_t globals; /* bit i: options[i] goes with every command */
    const struct sop_command *commands;
    size_t commands_count;
    /* Sections of the man page in mdoc(7) after the commands; NULL = none. */
    const char *manual;
};

struct sop_args {
    const struct sop_program *program;
    const struct sop_command *command; /* NULL: only help or version was asked */
    const char *text[SOP_ARGS_OPTIONS_MAX];
    uint64_t number[SOP_ARGS_OPTIONS_MAX];
    bool given[SOP_ARGS_OPTIONS_MAX];
    bool help, version;
    const char **rest; /* arguments after the command; points into argv */
    size_t count;
};

/* Reads argv[1..argc). argv is reordered: arguments move to the front. False: message says what
 * is wrong and what to do. args borrows argv. */
bool sop_args_parse(struct sop_args *args, const struct sop_program *program, int argc,
                    const char **argv, char *message, size_t message_bytes);

/* "12k" -> 12000 (unit 1000), "12K" -> 12288 (unit 1024). False when it is not a number. */
bool sop_args_number(const char *text, uint64_t unit, uint64_t *number);

/* The command with this name, or NULL. */
const struct sop_command *sop_args_find(const struct sop_program *program, const char *name);
bool sop_args_takes(const struct sop_program *program, const struct sop_command *command,
                    size_t option);

/* --help of the program (command NULL) or of one command. */
void sop_args_help(FILE *to, const struct sop_program *program,
                   const struct sop_command *command);
/* A completion script for "bash", "zsh" or "fish"; "mdoc" writes the man page. False: unknown.
 */
bool sop_args_complete(FILE *to, const struct sop_program *program, const char *shell);
/* The man page in mdoc(7). */
void sop_args_mdoc(FILE *to, const struct sop_program *program);

#endif
