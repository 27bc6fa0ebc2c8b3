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
    struct sop_db_options options;
    sop_db_options_init(&options);
    options.create = true;

    bool done = !sop_db_open(&db, "hello.db", &options, &err) &&
                !sop_txn_begin(&txn, db, NULL, &err) &&
                !sop_store_create(&users, txn, "users", NULL, &err) &&
                !sop_add(users, &ada, &err) && !sop_txn_commit(&txn, NULL, &err);
    puts(done ? "ada is on disk" : err.text);
    sop_txn_rollback(&txn); /* of what was not committed; otherwise nothing */
    return sop_db_close(&db, NULL) != 0 || !done;
}
