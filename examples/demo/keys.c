/* Typed keys: fields of a schema, encoded so that byte order is the order of the values. */
#include "examples/demo/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct sop_key_schema fact_schema = {
    .fields_count = 2,
    .fields = {{.type = SOP_KEY_INT64}, {.type = SOP_KEY_STRING}},
};
static const struct sop_key_schema value_schema = {
    .fields_count = 2,
    .fields = {{.type = SOP_KEY_STRING}, {.type = SOP_KEY_STRING}},
};

void demo_fact_schema(struct sop_key_schema *schema)
{
    *schema = fact_schema;
}
void demo_value_schema(struct sop_key_schema *schema)
{
    *schema = value_schema;
}

static struct sop_key_value string(const char *text)
{
    return (struct sop_key_value){.type = SOP_KEY_STRING,
                                  .as.bytes = {(const uint8_t *)text, strlen(text)}};
}

static struct sop_key_value number(uint32_t n)
{
    return (struct sop_key_value){.type = SOP_KEY_INT64, .as.int64 = n};
}

int demo_fact_key(struct demo_key *key, uint32_t code, const char *property,
                  struct sop_err *err)
{
    const struct sop_key_value values[2] = {number(code), string(property)};
    struct sop_key_buf buf = {key->bytes, sizeof key->bytes, 0};
    int rc = sop_key_encode(&fact_schema, values, 2, &buf, err);
    key->len = buf.len;
    return rc;
}

int demo_value_key(struct demo_key *key, const char *property, const char *value,
                   struct sop_err *err)
{
    const struct sop_key_value values[2] = {string(property), string(value)};
    struct sop_key_buf buf = {key->bytes, sizeof key->bytes, 0};
    int rc = sop_key_encode(&value_schema, values, 2, &buf, err);
    key->len = buf.len;
    return rc;
}

int demo_code_prefix(struct demo_key *prefix, uint32_t code, struct sop_err *err)
{
    const struct sop_key_value value = number(code);
    struct sop_key_buf buf = {prefix->bytes, sizeof prefix->bytes, 0};
    int rc = sop_key_encode_prefix(&fact_schema, &value, 1, &buf, err);
    prefix->len = buf.len;
    return rc;
}

int demo_print_fact(struct sop_slice key, struct sop_slice value, struct sop_err *err)
{
    struct sop_key_value values[SOP_KEY_FIELDS_MAX];
    uint8_t room[4096];
    struct sop_key_buf scratch = {room, sizeof room, 0};
    int rc = sop_key_decode(&fact_schema, key, values, &scratch, err);
    if (rc == 0) {
        printf("    U+%04" PRIX64 " %.*s: %.*s\n", (uint64_t)values[0].as.int64,
               (int)values[1].as.bytes.len, (const char *)values[1].as.bytes.data,
               (int)value.len, (const char *)value.data);
    }
    return rc;
}
