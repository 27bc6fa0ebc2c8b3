/* Runs a script (tests/lib/script.h) while something goes wrong at each point of each step,
 * once: the step is tried with the n-th point failing, n = 0, 1, 2, ..., until it is not
 * reached. After each failure the error is a typed one that may be, the database holds what was
 * acknowledged and nothing else, it goes on or (if it stopped) is reopened, and the step is
 * tried again. One thread. */
#ifndef SOP_TEST_DRIVE_H
#define SOP_TEST_DRIVE_H

#include "tests/lib/script.h"

struct drive {
    /* Filled by the caller. */
    const struct script *script;
    const char *mode; /* for messages */
    uint64_t seed;
    bool one_host;
    /* Makes and destroys `top`, the volume that the database is given, over the disk `sim`. */
    void (*wrap)(struct drive *d);
    void (*unwrap)(struct drive *d);
    struct sop_volume *sim, *top;
    void (*arm)(struct drive *d, uint64_t n);
    bool (*disarm)(struct drive *d, uint64_t n); /* was the point reached? */
    /* Is that an answer? */
    bool (*may)(const struct drive *d, int rc, enum script_do step, bool stopped);
    void *arg;
    uint64_t skip_max;   /* points left out between two, at most; drawn. 0: every point */
    uint64_t check_each; /* of so many failures one is followed by a full comparison */
    uint64_t passes_max; /* a point without effect ends its step for this run of the script */
    bool twice;          /* the step is tried a second time before what is wrong goes away */
    /* Results. */
    uint64_t points, stops, unknown, absorbed, passes;
    bool all; /* every step was tried up to the point that it does not reach, none left out */
};

/* Ends the test when a rule above does not hold. */
void drive_run(struct drive *d);

#endif
