/* A temporary folder for one test. */
#include "tests/lib/tmpdir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

void tmpdir_init(struct tmpdir *dir)
{
    const char *base = getenv("TMPDIR");
    if (base == NULL || base[0] == '\0') {
        base = "/tmp";
    }
    int len = snprintf(dir->path, sizeof dir->path, "%s/sop-test-XXXXXX", base);
    if (len < 0 || (size_t)len >= sizeof dir->path || mkdtemp(dir->path) == NULL) {
        perror("make a temporary folder");
        exit(2);
    }
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

void tmpdir_fini(struct tmpdir *dir)
{
    if (nftw(dir->path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0) {
        perror(dir->path);
    }
    dir->path[0] = '\0';
}
