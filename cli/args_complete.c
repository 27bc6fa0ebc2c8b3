/* Completion scripts for bash, zsh and fish from the table of a program. */
#include "cli/args.h"

#include <string.h>

/* The words of choices, separated by spaces instead of bars. */
static void choices(FILE *to, const char *bars)
{
    for (; *bars != '\0'; bars++) {
        fputc(*bars == '|' ? ' ' : *bars, to);
    }
}

/* First words of the commands, each once. */
static bool first_of_its_word(const struct sop_program *p, size_t i)
{
    size_t len = strcspn(p->commands[i].name, " ");
    for (size_t j = 0; j < i; j++) {
        if (strcspn(p->commands[j].name, " ") == len &&
            strncmp(p->commands[j].name, p->commands[i].name, len) == 0) {
            return false;
        }
    }
    return true;
}

/* Identifier of the program in shell functions: dashes become underscores. */
static void identifier(FILE *to, const char *name)
{
    for (; *name != '\0'; name++) {
        fputc(*name == '-' ? '_' : *name, to);
    }
}

static void bash_values(FILE *to, const struct sop_program *p)
{
    fprintf(to, "    case \"$prev\" in\n");
    for (size_t i = 0; i < p->options_count; i++) {
        const struct sop_arg_option *o = &p->options[i];
        if (o->kind == SOP_ARG_FLAG) {
            continue;
        }
        fprintf(to, "    --%s", o->name);
        if (o->letter != 0) {
            fprintf(to, " | -%c", o->letter);
        }
        if (o->kind == SOP_ARG_CHOICE) {
            fprintf(to, ") mapfile -t COMPREPLY < <(compgen -W '");
            choices(to, o->choices);
            fprintf(to, "' -- \"$cur\") && return ;;\n");
        } else if (o->kind == SOP_ARG_FILE) {
            fprintf(to, ") mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") && return ;;\n");
        } else {
            fprintf(to, ") return ;;\n");
        }
    }
    fprintf(to, "    esac\n");
}

static void bash_options(FILE *to, const struct sop_program *p, uint64_t mask)
{
    for (size_t i = 0; i < p->options_count; i++) {
        if (((mask >> i) & 1) != 0) {
            fprintf(to, " --%s", p->options[i].name);
        }
    }
}

/* Second words of the commands that begin with the first word of command i. */
static void second_words(FILE *to, const struct sop_program *p, size_t i)
{
    size_t len = strcspn(p->commands[i].name, " ");
    for (size_t j = i; j < p->commands_count; j++) {
        if (strncmp(p->commands[j].name, p->commands[i].name, len) == 0 &&
            p->commands[j].name[len] == ' ') {
            fprintf(to, "%s%s", j == i ? "" : " ", p->commands[j].name + len + 1);
        }
    }
}

static void bash(FILE *to, const struct sop_program *p)
{
    fprintf(to, "# bash completion for %s; written by '%s completion bash'\n_", p->name,
            p->name);
    identifier(to, p->name);
    fprintf(to,
            "()\n{\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
            "    local i word words=() global=' --help");
    bash_options(to, p, p->globals);
    fprintf(to, "'\n");
    bash_values(to, p);
    fprintf(to, "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                "        word=${COMP_WORDS[i]}\n"
                "        [[ $word == -* ]] || words+=(\"$word\")\n"
                "    done\n"
                "    case \"${words[0]} ${words[1]}\" in\n");
    for (size_t i = 0; i < p->commands_count; i++) {
        const char *name = p->commands[i].name;
        fprintf(to, strchr(name, ' ') != NULL ? "    '%s') word='" : "    '%s '*) word='",
                name);
        bash_options(to, p, p->commands[i].options);
        fprintf(to, "' ;;\n");
    }
    for (size_t i = 0; i < p->commands_count; i++) {
        const char *name = p->commands[i].name;
        if (strchr(name, ' ') != NULL && first_of_its_word(p, i)) {
            fprintf(to, "    '%.*s '*) mapfile -t COMPREPLY < <(compgen -W '",
                    (int)strcspn(name, " "), name);
            second_words(to, p, i);
            fprintf(to, "' -- \"$cur\"); return ;;\n");
        }
    }
    fprintf(to, "    *) word='");
    for (size_t i = 0; i < p->commands_count; i++) {
        if (first_of_its_word(p, i)) {
            fprintf(to, " %.*s", (int)strcspn(p->commands[i].name, " "), p->commands[i].name);
        }
    }
    fprintf(to, "' ;;\n    esac\n"
                "    if [[ $cur == -* || ${#words[@]} -eq 0 ]]; then\n"
                "        mapfile -t COMPREPLY < <(compgen -W \"$word$global\" -- \"$cur\")\n"
                "    else\n"
                "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
                "    fi\n}\ncomplete -o filenames -F _");
    identifier(to, p->name);
    fprintf(to, " %s\n", p->name);
}

/* Help text inside single quotes of zsh's [ ] or of fish. */
static void quoted(FILE *to, const char *text, const char *escaped)
{
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            fputs("'\\''", to);
            continue;
        }
        if (strchr(escaped, *text) != NULL) {
            fputc('\\', to);
        }
        fputc(*text, to);
    }
}

static void zsh_options(FILE *to, const struct sop_program *p, uint64_t mask)
{
    for (size_t i = 0; i < p->options_count; i++) {
        if (((mask >> i) & 1) == 0) {
            continue;
        }
        const struct sop_arg_option *o = &p->options[i];
        fprintf(to, " \\\n            '--%s[", o->name);
        quoted(to, o->help, "[]:");
        fputc(']', to);
        if (o->kind == SOP_ARG_CHOICE) {
            fprintf(to, ":%s:(", o->value);
            choices(to, o->choices);
            fputc(')', to);
        } else if (o->kind != SOP_ARG_FLAG) {
            fprintf(to, ":%s:%s", o->value, o->kind == SOP_ARG_FILE ? "_files" : "");
        }
        fputc('\'', to);
    }
}

static void zsh(FILE *to, const struct sop_program *p)
{
    fprintf(to, "#compdef %s\n# zsh completion; written by '%s completion zsh'\n_", p->name,
            p->name);
    identifier(to, p->name);
    fprintf(to, "()\n{\n    local -a commands seen\n    commands=(\n");
    for (size_t i = 0; i < p->commands_count; i++) {
        fprintf(to, "        '");
        quoted(to, p->commands[i].name, ":");
        fputc(':', to);
        quoted(to, p->commands[i].summary, "");
        fprintf(to, "'\n");
    }
    fprintf(to, "    )\n    seen=(${words[2,CURRENT-1]:#-*})\n"
                "    if (( ${#seen} == 0 )); then\n"
                "        _describe command commands\n        return\n    fi\n"
                "    case \"${seen[1]} ${seen[2]}\" in\n");
    for (size_t i = 0; i < p->commands_count; i++) {
        const char *name = p->commands[i].name;
        fprintf(to, strchr(name, ' ') != NULL ? "    '%s')" : "    '%s '*)", name);
        fprintf(to, "\n        _arguments");
        zsh_options(to, p, p->commands[i].options | p->globals);
        fprintf(to, " \\\n            '*:argument:_files'\n        ;;\n");
    }
    for (size_t i = 0; i < p->commands_count; i++) {
        const char *name = p->commands[i].name;
        if (strchr(name, ' ') != NULL && first_of_its_word(p, i)) {
            fprintf(to, "    '%.*s '*) compadd ", (int)strcspn(name, " "), name);
            second_words(to, p, i);
            fprintf(to, " ;;\n");
        }
    }
    fprintf(to, "    esac\n}\n_");
    identifier(to, p->name);
    fprintf(to, " \"$@\"\n");
}

static void fish_option(FILE *to, const struct sop_program *p, const struct sop_command *c,
                        const struct sop_arg_option *o)
{
    fprintf(to, "complete -c %s", p->name);
    if (c != NULL) {
        fprintf(to, " -n '__fish_seen_subcommand_from %.*s", (int)strcspn(c->name, " "),
                c->name);
        const char *second = strchr(c->name, ' ');
        if (second != NULL) {
            fprintf(to, "; and __fish_seen_subcommand_from%s", second);
        }
        fputc('\'', to);
    }
    fprintf(to, " -l %s", o->name);
    if (o->letter != 0) {
        fprintf(to, " -s %c", o->letter);
    }
    if (o->kind == SOP_ARG_CHOICE) {
        fprintf(to, " -x -a '");
        choices(to, o->choices);
        fputc('\'', to);
    } else if (o->kind != SOP_ARG_FLAG) {
        fputs(o->kind == SOP_ARG_FILE ? " -r" : " -x", to);
    }
    fprintf(to, " -d '");
    for (const char *t = o->help; *t != '\0'; t++) {
        fputs(*t == '\'' ? "\\'" : (const char[]){*t, '\0'}, to);
    }
    fprintf(to, "'\n");
}

static void fish(FILE *to, const struct sop_program *p)
{
    fprintf(to, "# fish completion for %s; written by '%s completion fish'\n", p->name,
            p->name);
    for (size_t i = 0; i < p->commands_count; i++) {
        const char *name = p->commands[i].name;
        const char *second = strchr(name, ' ');
        if (second == NULL) {
            fprintf(to, "complete -c %s -n __fish_use_subcommand -f -a %s -d '%s'\n", p->name,
                    name, p->commands[i].summary);
            continue;
        }
        int len = (int)(second - name);
        if (first_of_its_word(p, i)) {
            fprintf(to, "complete -c %s -n __fish_use_subcommand -f -a %.*s\n", p->name, len,
                    name);
        }
        fprintf(to, "complete -c %s -n '__fish_seen_subcommand_from %.*s' -f -a '%s' -d '%s'\n",
                p->name, len, name, second + 1, p->commands[i].summary);
    }
    for (size_t o = 0; o < p->options_count; o++) {
        if (((p->globals >> o) & 1) != 0) {
            fish_option(to, p, NULL, &p->options[o]);
        }
        for (size_t i = 0; i < p->commands_count; i++) {
            if (((p->commands[i].options >> o) & 1) != 0) {
                fish_option(to, p, &p->commands[i], &p->options[o]);
            }
        }
    }
}

bool sop_args_complete(FILE *to, const struct sop_program *program, const char *shell)
{
    if (strcmp(shell, "bash") == 0) {
        bash(to, program);
    } else if (strcmp(shell, "zsh") == 0) {
        zsh(to, program);
    } else if (strcmp(shell, "fish") == 0) {
        fish(to, program);
    } else if (strcmp(shell, "mdoc") == 0) {
        sop_args_mdoc(to, program);
    } else {
        return false;
    }
    return true;
}
