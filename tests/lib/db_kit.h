/* A database in a temporary folder, and short words for what tests do with it. Every call that
 * is not meant to fail ends the test with the error's text. */
#ifndef SOP_TEST_DB_KIT_H
#define SOP_TEST_DB_KIT_H

#include "sop/sop.h"
#include "tests/lib/tmpdir.h"

#include <check.h>
#include <string.h>

struct db_kit {
    struct tmpdir dir;
    struct sop_db *db;
    struct sop_err err;
};

/* Expects 0. `e` is the struct sop_err that the call was given. */
#define OK(call, e)                                                                            \
    do {                                                                                       \
        int ok_rc_ = (call);                                                                   \
        ck_assert_msg(ok_rc_ == 0, "%s: %s: %s", #call, sop_err_name(ok_rc_), (e).text);       \
    } while (0)
/* Expects one code by its short name. */
#define FAILS(code, call, e)                                                                   \
    do {                                                                                       \
        int fails_rc_ = (call);                                                                \
        ck_assert_msg(fails_rc_ == SOP_ERR_##code, "%s: got %s (%s), not " #code, #call,       \
                      sop_err_name(fails_rc_), (e).text);                                      \
        ck_assert_msg((e).text[0] != 0, "%s: no text", #call);                                 \
    } while (0)

static inline struct sop_slice text(const char *s)
{
    return (struct sop_slice){.data = (const uint8_t *)s, .len = strlen(s)};
}

void db_kit_init(struct db_kit *k);
void db_kit_fini(struct db_kit *k);
void db_kit_reopen(struct db_kit *k);
/* Begins a transaction; mode SOP_WRITE and so on. */
struct sop_txn *db_kit_begin(struct db_kit *k, enum sop_txn_mode mode);
/* Commits / expects CONFLICT. */
void db_kit_commit(struct db_kit *k, struct sop_txn *t);
void db_kit_conflicts(struct db_kit *k, struct sop_txn *t);
/* A store made in a transaction of its own. */
void db_kit_store(struct db_kit *k, const char *name, const struct sop_store_options *o);
struct sop_store *db_kit_open(struct db_kit *k, struct sop_txn *t, const char *name);
void db_kit_add(struct db_kit *k, struct sop_store *s, const char *key, const char *value);
/* Value of a key in the transaction's eyes, or NULL; valid until the next call. */
const char *db_kit_get(struct db_kit *k, struct sop_store *s, const char *key);
/* One put in a transaction of its own. */
void db_kit_put(struct db_kit *k, const char *store, const char *key, const char *value);
const char *db_kit_read(struct db_kit *k, const char *store, const char *key);
uint64_t db_kit_count(struct db_kit *k, const char *store);
/* Ends the test unless sop_db_verify(deep) finds nothing. */
void db_kit_verify(struct db_kit *k);

#endif
