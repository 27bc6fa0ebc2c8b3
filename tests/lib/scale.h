/* How much a test does: SOP_TEST_SCALE is small (sanitizers, coverage: seconds), full (release
 * builds: minutes over all tests) or long (hours). Not set means small. */
#ifndef SOP_TEST_SCALE_H
#define SOP_TEST_SCALE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The one of three amounts that the scale asks for. An unknown scale ends the program: a test
 * that silently does little would look like one that passed. */
static inline uint64_t test_scale(uint64_t small, uint64_t full, uint64_t longest)
{
    const char *scale = getenv("SOP_TEST_SCALE");
    if (scale == NULL || strcmp(scale, "small") == 0) {
        return small;
    }
    if (strcmp(scale, "full") == 0) {
        return full;
    }
    if (strcmp(scale, "long") == 0) {
        return longest;
    }
    fprintf(stderr, "SOP_TEST_SCALE=%s: small, full or long\n", scale);
    exit(2);
}

#endif
