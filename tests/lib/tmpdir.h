/* A temporary folder for one test, below $TMPDIR or /tmp. */
#ifndef SOP_TEST_TMPDIR_H
#define SOP_TEST_TMPDIR_H

struct tmpdir {
    char path[512];
};

/* Makes a new empty folder; ends the program if that fails. */
void tmpdir_init(struct tmpdir *dir);
/* Removes it with everything below it; links are removed, not followed. */
void tmpdir_fini(struct tmpdir *dir);

#endif
