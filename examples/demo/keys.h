/* Keys of the two stores of the demo. */
#ifndef SOP_DEMO_KEYS_H
#define SOP_DEMO_KEYS_H

#include "sop/sop.h"

struct demo_key {
    uint8_t bytes[4096];
    size_t len;
};

/* {int64, string} and {string, string}. */
void demo_fact_schema(struct sop_key_schema *schema);
void demo_value_schema(struct sop_key_schema *schema);

int demo_fact_key(struct demo_key *key, uint32_t code, const char *property,
                  struct sop_err *err);
int demo_value_key(struct demo_key *key, const char *property, const char *value,
                   struct sop_err *err);
/* What the keys of all facts of a code point begin with. */
int demo_code_prefix(struct demo_key *prefix, uint32_t code, struct sop_err *err);
/* Prints "    U+4E2D kMandarin: ..." */
int demo_print_fact(struct sop_slice key, struct sop_slice value, struct sop_err *err);

#endif
