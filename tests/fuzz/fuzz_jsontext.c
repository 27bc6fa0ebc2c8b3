/* Any bytes as a line of NDJSON: refused at a place inside it, or a value whose parts are
 * values again, inside of it, and whose strings can be read. */
#include "engine/base/base.h"

#include "cli/jsontext.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 520 /* what the reader allows, and some */

static void check_string(struct sop_slice s)
{
    struct sop_slice bytes = {0};
    uint8_t *own = NULL;
    if (sop_jsontext__string(s, &bytes, &own)) {
        SOP_ASSERT(bytes.len < s.len); /* the quotes are gone */
        SOP_ASSERT(own != NULL || (bytes.data > s.data && bytes.data < s.data + s.len));
    }
    free(own);
}

/* Inside of the whole, and a value itself: no byte more, none less. */
static void check_part(struct sop_slice part, struct sop_slice whole)
{
    struct sop_slice alone = {0};
    size_t at = 0;
    SOP_ASSERT(part.len > 0 && part.data >= whole.data &&
               part.data + part.len <= whole.data + whole.len);
    SOP_ASSERT(sop_jsontext__check(part, &alone, &at) == NULL);
    SOP_ASSERT(alone.data == part.data && alone.len == part.len);
}

/* Each part of a checked value, without recursion. */
static void walk(struct sop_slice value)
{
    struct {
        struct sop_slice container;
        size_t at;
    } open[DEPTH_MAX];
    size_t depth = 0;
    for (;;) {
        if (value.data[0] == '"') {
            check_string(value);
        } else if (value.data[0] == '{' || value.data[0] == '[') {
            SOP_ASSERT(depth < DEPTH_MAX);
            open[depth].container = value;
            open[depth++].at = 0;
        }
        struct sop_slice name = {0};
        while (depth > 0 && !sop_jsontext__next(open[depth - 1].container, &open[depth - 1].at,
                                                &name, &value)) {
            depth--;
        }
        if (depth == 0) {
            return;
        }
        check_part(value, open[depth - 1].container);
        if (open[depth - 1].container.data[0] == '{') {
            check_part(name, open[depth - 1].container);
            check_string(name);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sop_slice value = {0};
    size_t at = 0;
    uint8_t *copy = malloc(len + 1); /* of the exact size below: reading past it is seen */
    if (copy == NULL) {
        return 0;
    }
    uint8_t *text = copy + 1;
    if (len > 0) {
        memcpy(text, data, len);
    }
    struct sop_slice all = {text, len};
    if (sop_jsontext__check(all, &value, &at) == NULL) {
        check_part(value, all);
        walk(value);
    } else {
        SOP_ASSERT(at <= len);
    }
    free(copy);
    return 0;
}
