/* json_query MEMBER...: reads JSON from standard input, goes down by the members (numbers are
 * places of lists) and prints what is there: strings as they are, the rest as JSON. With
 * --lines each line is a JSON value of its own. Fails when the input is not JSON or the member
 * is absent. Only for the tests of the programs. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int query(json_t *value, int count, char **members)
{
    json_t *at = value;
    for (int i = 0; i < count && at != NULL; i++) {
        at = json_is_array(at) ? json_array_get(at, strtoul(members[i], NULL, 10))
                               : json_object_get(at, members[i]);
    }
    if (at == NULL) {
        fprintf(stderr, "json_query: no such member\n");
        return 1;
    }
    if (json_is_string(at)) {
        fwrite(json_string_value(at), 1, json_string_length(at), stdout);
    } else {
        json_dumpf(at, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
    }
    putchar('\n');
    return 0;
}

int main(int argc, char **argv)
{
    size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES;
    int first = argc > 1 && strcmp(argv[1], "--lines") == 0 ? 2 : 1;
    char *line = NULL;
    size_t room = 0;
    ssize_t len;
    int rc = 0;
    /* Without --lines: one "line" up to the end of the input. */
    while (rc == 0 && (len = getdelim(&line, &room, first == 2 ? '\n' : -1, stdin)) > 0) {
        json_error_t problem;
        json_t *value = json_loadb(line, (size_t)len, flags, &problem);
        if (value == NULL) {
            fprintf(stderr, "json_query: %s\n", problem.text);
            rc = 1;
        } else {
            rc = query(value, argc - first, argv + first);
        }
        json_decref(value);
    }
    free(line);
    return rc;
}
