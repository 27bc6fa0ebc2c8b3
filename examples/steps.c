#include <sop/sop.h>
#include <stdio.h>

#define TEXT(s) ((struct sop_slice){(const uint8_t *)(s), sizeof(s) - 1})

int main(void)
{
    struct sop_err err = {0};
    struct sop_db *db = NULL;
    struct sop_txn *txn = NULL;
    struct sop_store *users = NULL;
    struct sop_entry ada = {.key = TEXT("ada"), .value = TEXT("wrote the first program")};
    struct sop_view found;
    struct sop_db_options options;
    sop_db_options_init(&options);
    options.create = true;

    int rc = sop_db_open(&db, "steps.db", &options, &err);
    rc = rc ? rc : sop_txn_begin(&txn, db, NULL, &err);
    rc = rc ? rc : sop_store_open(&users, txn, "users", &err);
    rc = rc == SOP_ERR_NOT_FOUND ? sop_store_create(&users, txn, "users", NULL, &err) : rc;
    rc = rc ? rc : sop_upsert(users, &ada, &err);
    rc = rc ? rc : sop_get(users, ada.key, &found, &err);
    if (rc == 0) {
        printf("ada %.*s\n", (int)found.value.len, (const char *)found.value.data);
        rc = sop_txn_commit(&txn, NULL, &err); /* on disk when it returns 0 */
    }
    sop_txn_rollback(&txn);
    int closed = db != NULL ? sop_db_close(&db, NULL) : 0;
    if (rc != 0) {
        fprintf(stderr, "steps: %s\n", err.text);
    }
    return rc != 0 || closed != 0;
}
