/* Compaction of files with a hole: a write that failed, and whose room could not even be marked
 * as void, leaves bytes in a pack file that are no record. Nobody names them. And what is
 * removed is given back to the volume. */
#include "engine/db/db_int.h"
#include "engine/volume/fault.h"
#include "engine/volume/sim.h"
#include "tests/lib/db_kit.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define VALUES      100
#define VALUE_BYTES 4000
#define KEPT        7 /* each KEPT-th value is not replaced */

static struct sop_volume *disk, *volume;
static struct db_kit kit;

static void open_it(bool create)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = create;
    o.manual = true;
    OK(sop_db_open_on(&kit.db, volume, sop_env_system(), &o, 0, &kit.err), kit.err);
}

static struct sop_slice value_of(unsigned i, unsigned version)
{
    static uint8_t bytes[VALUE_BYTES];
    memset(bytes, (int)(i * 31 + version), sizeof bytes);
    return (struct sop_slice){.data = bytes, .len = sizeof bytes};
}

static int put(struct sop_store *s, unsigned i, unsigned version)
{
    char key[16];
    (void)snprintf(key, sizeof key, "%08u", i);
    struct sop_entry e = {.key = text(key), .value = value_of(i, version)};
    return sop_upsert(s, &e, &kit.err);
}

static bool is_kept(unsigned i)
{
    return i % KEPT == 0;
}

/* Puts all values (version 1), or those that are not kept (version 2). */
static void put_all(unsigned version)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (unsigned i = 0; i < VALUES; i++) {
        if (version == 1 || !is_kept(i)) {
            OK(put(s, i, version), kit.err);
        }
    }
    db_kit_commit(&kit, t);
}

static void check_all(void)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (unsigned i = 0; i < VALUES; i++) {
        char key[16];
        struct sop_view view;
        (void)snprintf(key, sizeof key, "%08u", i);
        OK(sop_get(s, text(key), &view, &kit.err), kit.err);
        struct sop_slice want = value_of(i, is_kept(i) ? 1 : 2);
        ck_assert_uint_eq(view.value.len, want.len);
        ck_assert_int_eq(memcmp(view.value.data, want.data, want.len), 0);
    }
    sop_txn_rollback(&t);
}

/* One value whose record cannot be written, and no VOID record in its place either. */
static void leave_a_hole(bool half_write)
{
    struct sop_fault_plan broken = {.ops = SOP_FAULT_BIT(SOP_FAULT_WRITE),
                                    .sys = EIO,
                                    .sticky = true,
                                    .half_write = half_write};
    struct sop_fault_plan well = {.at = UINT64_MAX};
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    sop_volume_fault_set(volume, &broken);
    FAILS(IO, put(s, VALUES, 1), kit.err);
    ck_assert_uint_eq(sop_volume_fault_count(volume), 2); /* the record, its burial */
    sop_volume_fault_set(volume, &well);
    sop_txn_rollback(&t);
}

static uint64_t live_bytes_of_first_file(void)
{
    struct sop_file_use use = sop_files_get(&kit.db->now->engine->files,
                                            sop_chain_member(kit.db->now->engine->chain), 1);
    return (uint64_t)use.live;
}

START_TEST(a_hole_in_an_own_file_does_not_keep_it)
{
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.values = SOP_VALUES_MEDIUM;
    OK(sop_volume_sim_new(&disk, &kit.err), kit.err);
    OK(sop_volume_fault_new(disk, &volume, &kit.err), kit.err);
    open_it(true);
    db_kit_store(&kit, "s", &o);
    put_all(1);
    leave_a_hole(_i == 1);
    put_all(2);
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    ck_assert_uint_gt(live_bytes_of_first_file(), VALUES / KEPT * VALUE_BYTES);
    OK(sop_db_compact(kit.db, &kit.err), kit.err);
    ck_assert_uint_eq(live_bytes_of_first_file(), 0);
    check_all();
    db_kit_verify(&kit);
    sop_db_abandon(&kit.db);
    open_it(false);
    check_all();
    db_kit_verify(&kit);
    sop_db_abandon(&kit.db);
    sop_volume_destroy(volume);
    sop_volume_destroy(disk);
}
END_TEST

/* Descriptors of this process whose pack file has no name any more. */
static unsigned nameless_packs(void)
{
    unsigned count = 0;
    DIR *folder = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(folder);
    for (struct dirent *e = readdir(folder); e != NULL; e = readdir(folder)) {
        char file[1024];
        ssize_t len = readlinkat(dirfd(folder), e->d_name, file, sizeof file - 1);
        file[len > 0 ? len : 0] = 0;
        count += strstr(file, "/packs/") != NULL && strstr(file, " (deleted)") != NULL;
    }
    (void)closedir(folder);
    return count;
}

START_TEST(removed_files_are_let_go_of)
{
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.values = SOP_VALUES_MEDIUM;
    db_kit_init(&kit);
    db_kit_store(&kit, "s", &o);
    put_all(1);
    OK(sop_db_compact(kit.db, &kit.err), kit.err); /* ends the file that was written */
    for (unsigned i = 0; i < 3; i++) {
        put_all(2);
        check_all(); /* has the files open for reading */
        OK(sop_db_compact(kit.db, &kit.err), kit.err);
        ck_assert_uint_eq(nameless_packs(), 0);
    }
    db_kit_fini(&kit);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("compaction");
    TCase *t = tcase_create("holes");
    tcase_add_loop_test(t, a_hole_in_an_own_file_does_not_keep_it, 0, 2);
    suite_add_tcase(s, t);
    t = tcase_create("space");
    tcase_add_test(t, removed_files_are_let_go_of);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
