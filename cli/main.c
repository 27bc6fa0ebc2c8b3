/* sopctl: the program. Parses, runs one command, prints its error, closes the database. */
#include "cli/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int usage_error(const char *format, const char *message)
{
    enum { USAGE_EXIT = 2 };
    struct sop_out out;
    sop_out__init(&out, stderr, format);
    struct sop_err err;
    sop_err_set(&err, SOP_ERR_INVALID, 0, __FILE__, __LINE__, "%s", message);
    sop_out__error(out.format, "", &err);
    return USAGE_EXIT;
}

/* --output of a command line that could not be parsed: errors should have its format too. */
static const char *wanted_format(int argc, const char **argv)
{
    for (int i = 1; i + 1 < argc; i++) {
        if (strcmp(argv[i], "--output") == 0 || strcmp(argv[i], "-o") == 0) {
            return argv[i + 1];
        }
    }
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--output=", 9) == 0) {
            return argv[i] + 9;
        }
    }
    return NULL;
}

/* Runs the command and closes the database; the first error counts. */
static int run(const struct sop_args *args)
{
    struct sop_ctl ctl = {.args = args};
    sop_out__init(&ctl.out, stdout, args->text[OPT_OUTPUT]);
    int rc = args->command->run(&ctl, args);
    sop_out__fini(&ctl.out);
    if (ctl.db != NULL) {
        struct sop_err err;
        int closed = sop_db_close(&ctl.db, &err);
        if (rc == 0 && closed != 0) {
            rc = sop_err_wrap(&err, closed, "close the database");
            ctl.err = err;
        }
    }
    if (rc == 0 && (fflush(stdout) != 0 || ferror(stdout))) {
        rc = SOP_ERR_SYS(&ctl.err, IO, errno, "write the output");
    }
    fflush(stdout);
    if (rc != 0) {
        ctl.err.code = rc;
        sop_out__error(ctl.out.format, args->command->name, &ctl.err);
    }
    return sop_out__exit_status(rc);
}

int main(int argc, char **argv)
{
    const char **words = calloc((size_t)argc + 1, sizeof *words);
    if (words == NULL) {
        return sop_out__exit_status(SOP_ERR_NOMEM);
    }
    for (int i = 0; i < argc; i++) {
        words[i] = argv[i];
    }
    const char *format = wanted_format(argc, words);
    struct sop_args args;
    char message[256];
    int status = 0;
    if (!sop_args_parse(&args, &sop_ctl__program, argc, words, message, sizeof message)) {
        if (strncmp(message, "--output wants", strlen("--output wants")) == 0 &&
            strpbrk(message, "./") != NULL) {
            size_t len = strlen(message);
            snprintf(message + len, sizeof message - len,
                     " (files are arguments: sopctl dump STORE [FILE])");
        }
        status = usage_error(format, message);
    } else if (args.version) {
        printf("sopctl %s\n", sop_version());
    } else if (args.help) {
        sop_args_help(stdout, &sop_ctl__program, args.command);
    } else {
        status = run(&args);
    }
    free(words);
    return status;
}
