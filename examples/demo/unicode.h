/* The Unicode Character Database as facts: code point, property, value.
 *
 * Read from the files of Debian's package unicode-data (the Unihan files unpacked). A range of
 * code points becomes one fact for each assigned character in it; surrogates, private use and
 * unassigned code points have no facts. A property with many values in the files (name aliases)
 * becomes one fact, its values joined by "; ". */
#ifndef SOP_DEMO_UNICODE_H
#define SOP_DEMO_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct unicode_fact {
    uint32_t code;
    uint32_t property; /* place of the property in names */
    uint32_t value;    /* offset of a string in the pool */
};

struct unicode {
    struct unicode_fact *facts; /* in the order of code point, then property name */
    size_t count, room;
    char **names; /* of properties */
    size_t names_count;
    char *pool; /* strings, one after the other, each ended by a zero byte */
    size_t pool_bytes, pool_room;
    uint32_t *table; /* of strings in the pool: offset + 1, open addressing */
    size_t table_mask, table_used;
    uint8_t *assigned; /* a bit per code point */
    size_t files, lines;
};

/* Reads all files; progress(arg, done, total) counts files. False: message says why. */
bool unicode_read(struct unicode *u, const char *folder, const char *unihan_folder,
                  void (*progress)(uint64_t done, uint64_t total), char *message,
                  size_t message_bytes);
void unicode_free(struct unicode *u);

static inline const char *unicode_value(const struct unicode *u, size_t i)
{
    return u->pool + u->facts[i].value;
}
static inline const char *unicode_property(const struct unicode *u, size_t i)
{
    return u->names[u->facts[i].property];
}

#endif
