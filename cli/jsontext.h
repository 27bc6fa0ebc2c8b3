/* JSON as text: checks it and finds values in it without reading them into other types, so that
 * what is kept of a file is kept to the byte. A JSON library would turn 1.10 into a double and
 * could not hold numbers of more than 64 bits.
 *
 * The grammar is that of RFC 8259, nothing beyond it; a value may be nested 512 deep. */
#ifndef SOP_CLI_JSONTEXT_H
#define SOP_CLI_JSONTEXT_H

#include "sop/sop_types.h"

#include <stdbool.h>

/* Checks that text is one JSON value in valid UTF-8, blanks around it aside, and puts it into
 * *value. NULL: it is. Otherwise what is wrong, and *at is the place of the first wrong byte.
 */
const char *sop_jsontext__check(struct sop_slice text, struct sop_slice *value, size_t *at);

/* Steps through the elements of a list or the members of an object that was checked. *at is 0
 * before the first call. *name: in its quotes as written; of a list it stays as it is. False:
 * no more. */
bool sop_jsontext__next(struct sop_slice container, size_t *at, struct sop_slice *name,
                        struct sop_slice *value);

/* The bytes of a checked string in its quotes. *take: to be freed, NULL when *bytes points into
 * string. False: an escape of half a character (a surrogate alone), or no memory. */
bool sop_jsontext__string(struct sop_slice string, struct sop_slice *bytes, uint8_t **take);

#endif
