/* Any bytes as sop.db of a database: opening it for reading is refused with a typed error, or
 * the database is all there. If the first byte is odd, magic and CRC are made right first. */
#include "engine/base/codec.h"
#include "engine/db/db_int.h"
#include "engine/volume/sim.h"

#include <stdio.h>
#include <stdlib.h>

static struct sop_volume *disk;

static void fine(int rc, const struct sop_err *err)
{
    if (rc != 0) {
        fprintf(stderr, "%s\n", err->text);
        abort();
    }
}

static int open_on(struct sop_volume *v, bool create, struct sop_db **db, struct sop_err *err)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = create;
    o.read_only = !create;
    o.manual = true;
    o.cache_bytes = 8u << 20;
    return sop_db_open_on(db, v, sop_env_system(), &o, 0, err);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct sop_err err = {0};
    struct sop_db *db = NULL;
    struct sop_txn *t = NULL;
    struct sop_store *s = NULL;
    (void)argc;
    (void)argv;
    fine(sop_volume_sim_new(&disk, &err), &err);
    fine(open_on(disk, true, &db, &err), &err);
    fine(sop_txn_begin(&t, db, NULL, &err), &err);
    fine(sop_store_create(&s, t, "s", NULL, &err), &err);
    fine(sop_txn_commit(&t, NULL, &err), &err);
    fine(sop_db_close(&db, &err), &err);
    return 0;
}

/* Gives sop.db these bytes; what the input lacks stays as it is. */
static void replace(struct sop_volume *v, const uint8_t *data, size_t len)
{
    struct sop_err err = {0};
    struct sop_buf file = {0};
    fine(sop_volume_read_file(v, "sop.db", 4096, &file, &err), &err);
    size_t n = len - 1 < file.len ? len - 1 : file.len;
    for (size_t i = 0; i < n; i++) {
        file.data[i] ^= data[i + 1];
    }
    if ((data[0] & 1) != 0) {
        sop_put_u64(file.data, SOP_IDENTITY_MAGIC);
        sop_put_u32(file.data + 12, sop_crc32c(file.data + 16, file.len - 16, 0));
    }
    if ((data[0] & 0xfe) == 2) {
        file.len = n;
    }
    fine(sop_volume_unlink(v, "sop.db", &err), &err);
    fine(sop_volume_write_file(v, "sop.db", sop_buf_slice(&file), &err), &err);
    sop_buf_fini(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sop_err err = {0};
    struct sop_volume *v = NULL;
    struct sop_db *db = NULL;
    if (len == 0) {
        return 0;
    }
    fine(sop_volume_sim_copy(disk, &v, &err), &err);
    replace(v, data, len);
    int rc = open_on(v, false, &db, &err);
    if (rc == 0) {
        struct sop_txn *t = NULL;
        struct sop_store *s = NULL;
        struct sop_txn_options o;
        sop_txn_options_init(&o);
        o.mode = SOP_READ;
        fine(sop_txn_begin(&t, db, &o, &err), &err);
        fine(sop_store_open(&s, t, "s", &err), &err);
        sop_txn_rollback(&t);
        sop_db_abandon(&db);
    } else {
        SOP_ASSERT(rc == SOP_ERR_DATA_LOSS || rc == SOP_ERR_VERSION ||
                   rc == SOP_ERR_NOT_A_DATABASE);
    }
    sop_volume_destroy(v);
    return 0;
}
