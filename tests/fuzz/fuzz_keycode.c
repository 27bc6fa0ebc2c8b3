/* Schemas, keys and texts of unknown origin: nothing crashes, and what is accepted is exactly
 * what encoding makes. Input: a stored schema, its length in the first byte, then key or text.
 */
#include "engine/btree/keycode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Decoded values give the same key again. */
static void encode_again(const struct sop_key_schema *schema, struct sop_slice key,
                         const struct sop_key_value *values, size_t count)
{
    uint8_t *copy = sop_malloc(key.len);
    SOP_ASSERT(copy != NULL);
    struct sop_key_buf to = {.data = copy, .room = key.len};
    SOP_ASSERT(sop_key_encode(schema, values, count, &to, NULL) == 0);
    SOP_ASSERT(sop_slice_eq(sop_slice(copy, to.len), key));
    sop_free(copy);
}

static void try_key(const struct sop_key_schema *schema, struct sop_slice key)
{
    size_t fields = schema->fields_count == 0 ? 1 : schema->fields_count;
    struct sop_key_value values[SOP_KEY_FIELDS_MAX];
    uint8_t *memory = sop_malloc(key.len);
    SOP_ASSERT(memory != NULL);
    struct sop_key_buf scratch = {.data = memory, .room = key.len};
    int rc = sop_key_decode(schema, key, values, &scratch, NULL);
    SOP_ASSERT(rc == sop_keycode_verify(schema, key, NULL));
    if (rc == 0) {
        encode_again(schema, key, values, fields);
        struct sop_buf stored = {0};
        struct sop_buf spare = {0};
        struct sop_slice back;
        SOP_ASSERT(sop_keycode_delimit(schema, key, true, &stored, NULL) == 0);
        SOP_ASSERT(sop_keycode_undelimit(schema, sop_buf_slice(&stored), &spare, &back, NULL) ==
                   0);
        SOP_ASSERT(sop_slice_eq(back, key));
        sop_buf_fini(&stored);
        sop_buf_fini(&spare);
    }
    sop_free(memory);
}

static void try_delimited(const struct sop_key_schema *schema, struct sop_slice stored)
{
    struct sop_buf scratch = {0};
    struct sop_buf again = {0};
    struct sop_slice key;
    if (sop_keycode_undelimit(schema, stored, &scratch, &key, NULL) == 0) {
        SOP_ASSERT(sop_keycode_delimit(schema, key, true, &again, NULL) == 0);
        SOP_ASSERT(sop_slice_eq(sop_buf_slice(&again), stored));
    }
    sop_buf_fini(&scratch);
    sop_buf_fini(&again);
}

/* text -> key -> text -> key. */
static void try_text(const struct sop_key_schema *schema, const char *text)
{
    static char shown[1 << 20];
    static uint8_t keys[2][SOP_KEY_FIELDS_MAX * 4096];
    static uint8_t memory[1 << 20];
    struct sop_key_value values[SOP_KEY_FIELDS_MAX];
    struct sop_key_buf scratch = {.data = memory, .room = strlen(text)};
    struct sop_key_buf first = {.data = keys[0], .room = sizeof keys[0]};
    struct sop_key_buf second = {.data = keys[1], .room = sizeof keys[1]};
    struct sop_key_buf to = {.data = shown, .room = sizeof shown};
    size_t count;
    if (sop_key_parse(schema, text, values, &count, &scratch, NULL) != 0 ||
        sop_key_encode(schema, values, count, &first, NULL) != 0) {
        return;
    }
    struct sop_slice key = sop_slice(keys[0], first.len);
    SOP_ASSERT(sop_key_format(schema, key, &to, NULL) == 0);
    scratch = (struct sop_key_buf){.data = memory, .room = to.len};
    SOP_ASSERT(sop_key_parse(schema, shown, values, &count, &scratch, NULL) == 0);
    SOP_ASSERT(sop_key_encode(schema, values, count, &second, NULL) == 0);
    SOP_ASSERT(sop_slice_eq(sop_slice(keys[1], second.len), key));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 4096 || data[0] >= size) {
        return 0;
    }
    struct sop_key_schema schema;
    if (sop_key_schema_decode(sop_slice(data + 1, data[0]), &schema, NULL) != 0) {
        schema = (struct sop_key_schema){0};
    }
    struct sop_slice rest = sop_slice(data + 1 + data[0], size - 1 - data[0]);
    try_key(&schema, rest);
    try_delimited(&schema, rest);
    char *text = sop_malloc(rest.len + 1);
    SOP_ASSERT(text != NULL);
    memcpy(text, rest.data, rest.len);
    text[rest.len] = '\0';
    try_text(&schema, text);
    struct sop_key_schema parsed;
    if (sop_key_schema_parse(&parsed, text, NULL) == 0) {
        SOP_ASSERT(sop_key_schema_check(&parsed, NULL) == 0);
    }
    sop_free(text);
    return 0;
}
