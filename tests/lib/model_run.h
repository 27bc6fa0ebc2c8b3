/* Does an operation of the model on a real database, by the public API alone, and compares. */
#ifndef SOP_TEST_MODEL_RUN_H
#define SOP_TEST_MODEL_RUN_H

#include "tests/lib/model.h"

/* A transaction of the database and its model. */
struct model_txn {
    struct sop_txn *txn;
    enum sop_txn_mode mode;
    struct model_view view;
    struct sop_cursor *cursors[MODEL_CURSORS];
    struct model_op *ops; /* what it did, to be done again */
    uint32_t ops_count, ops_room;
    bool prepared;
    uint64_t compactions; /* of the database when it began */
};

/* One item as the database gave it. */
struct model_seen {
    uint64_t name; /* hash of key and ride */
    uint32_t value_bytes;
    bool loaded;
    uint64_t value_seed;
    struct sop_item_id id;
};
struct model_got {
    int rc;
    bool flag;
    uint64_t number;
    struct model_facts facts;
    uint32_t count;
    struct model_seen items[MODEL_ITEMS_MAX];
    bool wrong; /* a value's bytes are not those of any value; text says more */
    char text[512];
};

/* Does op on the database. Cursors of t->cursors follow. */
void model_run(struct model_txn *t, struct model_op *op, struct model_got *got);
/* Does it say the same as the model? If not, *text says what differs. Ids of items are learned.
 */
bool model_same(const struct model_op *op, const struct model_facts *facts,
                const struct model_answer *a, struct model_got *got);
/* What a view handed out; false: the bytes of the value are wrong. */
bool model_see(const struct sop_view *view, struct model_seen *seen);

const char *model_op_name(enum model_op_kind kind);
/* "s3: update key 6b3.. value 77/120" */
void model_op_text(const struct model_op *op, char *text, size_t room);
void model_name(uint32_t name, char text[4]);
void model_options(const struct model_facts *f, struct sop_store_options *o,
                   char description[64], uint8_t custom[MODEL_CUSTOM_BYTES]);

#endif
