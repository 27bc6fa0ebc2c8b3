/* Backups and restores: what is copied, beside what, and what is left when it fails. */
#include "engine/base/thread.h"
#include "engine/db/db_int.h"
#include "tests/lib/sample_db.h"
#include "tests/lib/scale.h"
#include "tests/lib/tmpdir.h"

#include <check.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    struct tmpdir dir;
    char source[600], copy[600], again[600];
    struct sop_db *db;
};

static void fixture_init(struct fixture *f)
{
    struct sop_db_options o;
    struct sop_err err = {0};
    tmpdir_init(&f->dir);
    (void)snprintf(f->source, sizeof f->source, "%s/source", f->dir.path);
    (void)snprintf(f->copy, sizeof f->copy, "%s/copy", f->dir.path);
    (void)snprintf(f->again, sizeof f->again, "%s/again", f->dir.path);
    sample_options(&o);
    o.create = true;
    o.max_bytes = 1ull << 40;
    o.registry_hash_mod = 500;
    ck_assert_msg(sop_db_open(&f->db, f->source, &o, &err) == 0, "%s", err.text);
}

static void fixture_fini(struct fixture *f)
{
    struct sop_err err = {0};
    ck_assert_msg(sop_db_close(&f->db, &err) == 0, "%s", err.text);
    tmpdir_fini(&f->dir);
}

static struct sop_db *open_copy(const char *folder)
{
    struct sop_db *db = NULL;
    struct sop_db_options o;
    struct sop_err err = {0};
    sample_options(&o);
    ck_assert_msg(sop_db_open(&db, folder, &o, &err) == 0, "%s", err.text);
    return db;
}

static struct sample_digest digest_of(const char *folder)
{
    struct sop_db *db = open_copy(folder);
    struct sample_digest d = sample_digest(db);
    ck_assert_int_eq(sop_db_close(&db, NULL), 0);
    return d;
}

static bool exists(const char *folder, const char *name)
{
    char path[700];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &st) == 0;
}

START_TEST(a_copy_has_everything_and_its_own_id)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    sample_fill(f.db, (unsigned)test_scale(1500, 40000, 400000));
    ck_assert_int_eq(sop_db_checkpoint(f.db, &err), 0);
    struct sample_digest before = sample_digest(f.db);
    ck_assert_uint_eq(before.stores, 7);
    int rc = sop_db_backup(f.db, f.copy, NULL, NULL, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    sample_same(before, sample_digest(f.db));
    struct sop_db *copy = open_copy(f.copy);
    sample_same(before, sample_digest(copy));
    struct sop_db_stats a = {.size = sizeof a};
    struct sop_db_stats b = {.size = sizeof b};
    ck_assert_int_eq(sop_db_stats(f.db, &a, &err), 0);
    ck_assert_int_eq(sop_db_stats(copy, &b, &err), 0);
    ck_assert_int_ne(memcmp(a.database_id, b.database_id, 16), 0);
    ck_assert_uint_eq(b.registry_hash_mod, 500);
    ck_assert_uint_eq(copy->identity.max_bytes, 1ull << 40);
    ck_assert_int_eq(sop_db_close(&copy, NULL), 0);
    ck_assert(!exists(f.copy, "sop.db.unfinished"));
    fixture_fini(&f);
}
END_TEST

static uint64_t folder_bytes;
static int add_bytes(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)path;
    (void)walk;
    folder_bytes += type == FTW_F ? (uint64_t)st->st_blocks * 512 : 0;
    return 0;
}

static uint64_t bytes_below(const char *folder)
{
    folder_bytes = 0;
    ck_assert_int_eq(nftw(folder, add_bytes, 16, FTW_PHYS), 0);
    return folder_bytes;
}

/* The records by which a copy is made do not stay in it. */
START_TEST(a_copy_is_compact)
{
    struct fixture f;
    struct sop_err err = {0};
    struct sop_db_stats stats = {.size = sizeof stats};
    fixture_init(&f);
    sample_fill(f.db, (unsigned)test_scale(20000, 40000, 400000));
    ck_assert_int_eq(sop_db_compact(f.db, &err), 0);
    ck_assert_int_eq(sop_db_stats(f.db, &stats, &err), 0);
    ck_assert_msg(sop_db_backup(f.db, f.copy, NULL, NULL, &err) == 0, "%s", err.text);
    uint64_t bytes = bytes_below(f.copy);
    printf("backup: %" PRIu64 " KiB of packs are copied into %" PRIu64 " KiB of files\n",
           stats.pack_bytes / 1024, bytes / 1024);
    ck_assert_uint_lt(bytes, stats.pack_bytes * 5 / 4 + (4u << 20));
    fixture_fini(&f);
}
END_TEST

START_TEST(an_empty_database_is_copied)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    int rc = sop_db_backup(f.db, f.copy, NULL, NULL, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert_uint_eq(digest_of(f.copy).stores, 0);
    fixture_fini(&f);
}
END_TEST

START_TEST(a_backup_of_a_copy_into_a_folder_that_is_there)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    sample_fill(f.db, 300);
    struct sample_digest before = sample_digest(f.db);
    char slashed[620];
    (void)snprintf(slashed, sizeof slashed, "%s//", f.copy);
    ck_assert_msg(sop_db_backup(f.db, slashed, NULL, NULL, &err) == 0, "%s", err.text);
    ck_assert_int_eq(mkdir(f.again, 0777), 0);
    struct sop_db *copy = open_copy(f.copy);
    ck_assert_msg(sop_db_backup(copy, f.again, NULL, NULL, &err) == 0, "%s", err.text);
    ck_assert_int_eq(sop_db_close(&copy, NULL), 0);
    sample_same(before, digest_of(f.again));
    fixture_fini(&f);
}
END_TEST

/* ---- beside commits ------------------------------------------------------------------------
 */

struct writer {
    struct sop_db *db;
    _Atomic bool ends;
    _Atomic uint64_t commits;
};

static void put(struct sop_txn *txn, const char *name, const char *key, uint64_t number)
{
    struct sop_store *s = NULL;
    struct sop_err err = {0};
    ck_assert_msg(sop_store_open(&s, txn, name, &err) == 0, "%s", err.text);
    struct sop_entry e = {.key = sop_slice_str(key),
                          .value = sop_slice(&number, sizeof number)};
    ck_assert_msg(sop_upsert(s, &e, &err) == 0, "%s", err.text);
}

static uint64_t get(struct sop_txn *txn, const char *name, const char *key)
{
    struct sop_store *s = NULL;
    struct sop_view view;
    struct sop_err err = {0};
    uint64_t number = 0;
    ck_assert_msg(sop_store_open(&s, txn, name, &err) == 0, "%s", err.text);
    ck_assert_msg(sop_get(s, sop_slice_str(key), &view, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(view.value.len, sizeof number);
    memcpy(&number, view.value.data, sizeof number);
    return number;
}

/* Both stores get the same number in each transaction, and one more item each. */
static void *write_pairs(void *arg)
{
    struct writer *w = arg;
    for (uint64_t i = 1; !atomic_load(&w->ends); i++) {
        struct sop_txn *txn = NULL;
        struct sop_err err = {0};
        char key[32];
        (void)snprintf(key, sizeof key, "x%" PRIu64, i);
        ck_assert_msg(sop_txn_begin(&txn, w->db, NULL, &err) == 0, "%s", err.text);
        put(txn, "plain", "number", i);
        put(txn, "twin", "number", i);
        put(txn, "twin", key, i);
        ck_assert_msg(sop_txn_commit(&txn, NULL, &err) == 0, "%s", err.text);
        atomic_fetch_add(&w->commits, 1);
        if (i % 50 == 0) {
            ck_assert_msg(sop_db_checkpoint(w->db, &err) == 0, "%s", err.text);
        }
    }
    return NULL;
}

START_TEST(a_copy_made_beside_commits_is_one_state)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    sample_fill(f.db, 1000);
    struct sop_txn *txn = NULL;
    struct sop_store *s = NULL;
    ck_assert_int_eq(sop_txn_begin(&txn, f.db, NULL, &err), 0);
    ck_assert_int_eq(sop_store_create(&s, txn, "twin", NULL, &err), 0);
    put(txn, "plain", "number", 0);
    put(txn, "twin", "number", 0);
    ck_assert_msg(sop_txn_commit(&txn, NULL, &err) == 0, "%s", err.text);
    struct writer w = {.db = f.db};
    pthread_t thread;
    ck_assert_int_eq(sop_thread_start(&thread, write_pairs, &w, "writer", &err), 0);
    while (atomic_load(&w.commits) < 5) {
        (void)usleep(1000);
    }
    uint64_t begun = atomic_load(&w.commits);
    int rc = sop_db_backup(f.db, f.copy, NULL, NULL, &err);
    uint64_t ended = atomic_load(&w.commits);
    atomic_store(&w.ends, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert_uint_gt(ended, begun);
    struct sop_db *copy = open_copy(f.copy);
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    ck_assert_int_eq(sop_txn_begin(&txn, copy, &o, &err), 0);
    uint64_t number = get(txn, "plain", "number");
    ck_assert_uint_eq(number, get(txn, "twin", "number"));
    ck_assert_uint_ge(number, begun);
    ck_assert_uint_le(number, ended + 1);
    uint64_t items = 0;
    ck_assert_int_eq(sop_store_open(&s, txn, "twin", &err), 0);
    ck_assert_int_eq(sop_store_count(s, false, &items, &err), 0);
    ck_assert_uint_eq(items, number + 1);
    sop_txn_rollback(&txn);
    ck_assert_int_eq(sop_db_close(&copy, NULL), 0);
    fixture_fini(&f);
}
END_TEST

/* ---- what is left --------------------------------------------------------------------------
 */

struct watcher {
    const char *folder;
    unsigned calls, cancel_at;
    uint64_t done, total;
    bool was_a_database; /* before it was complete */
};

static int watch(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct watcher *w = arg;
    if (strcmp(what, "items") == 0) {
        ck_assert_uint_ge(done, w->done);
        w->done = done;
        w->total = total;
        w->was_a_database |= exists(w->folder, "sop.db");
    }
    return ++w->calls == w->cancel_at ? 1 : 0;
}

START_TEST(a_cancelled_copy_leaves_nothing)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    sample_fill(f.db, 500);
    struct watcher all = {.folder = f.copy};
    ck_assert_msg(sop_db_backup(f.db, f.copy, watch, &all, &err) == 0, "%s", err.text);
    ck_assert_uint_eq(all.done, sample_digest(f.db).items);
    ck_assert_uint_eq(all.total, all.done);
    ck_assert(!all.was_a_database);
    ck_assert(exists(f.copy, "sop.db"));
    for (unsigned at = 1; at <= all.calls; at += at < 10 ? 1 : all.calls / 10 + 1) {
        struct watcher w = {.folder = f.again, .cancel_at = at};
        bool there = at % 2 == 0;
        ck_assert(!there || mkdir(f.again, 0777) == 0);
        memset(&err, 0, sizeof err);
        ck_assert_int_eq(sop_db_backup(f.db, f.again, watch, &w, &err), SOP_ERR_CANCELLED);
        ck_assert_int_eq(err.code, SOP_ERR_CANCELLED);
        ck_assert_int_eq(exists(f.again, ""), there);
        ck_assert(!there || rmdir(f.again) == 0); /* empty as before */
    }
    fixture_fini(&f);
}
END_TEST

START_TEST(a_folder_in_use_is_refused_and_kept)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    sample_fill_plain(f.db, 50);
    ck_assert_int_eq(sop_db_backup(f.db, f.dir.path, NULL, NULL, &err), SOP_ERR_EXISTS);
    ck_assert(exists(f.source, "sop.db"));
    ck_assert_int_eq(sop_db_backup(f.db, f.source, NULL, NULL, &err), SOP_ERR_EXISTS);
    ck_assert_int_eq(sop_db_backup(f.db, "", NULL, NULL, &err), SOP_ERR_INVALID);
    (void)snprintf(f.again, sizeof f.again, "%s/no/such", f.dir.path);
    ck_assert_int_eq(sop_db_backup(f.db, f.again, NULL, NULL, &err), SOP_ERR_NOT_A_DATABASE);
    ck_assert_int_eq(sop_db_restore(f.source, f.dir.path, NULL, NULL, &err), SOP_ERR_EXISTS);
    ck_assert_uint_eq(sample_digest(f.db).stores, 6);
    fixture_fini(&f);
}
END_TEST

/* ---- restore -------------------------------------------------------------------------------
 */

START_TEST(a_restored_database_is_the_one_backed_up)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    sample_fill_plain(f.db, 400);
    struct sample_digest before = sample_digest(f.db);
    ck_assert_msg(sop_db_backup(f.db, f.copy, NULL, NULL, &err) == 0, "%s", err.text);
    ck_assert_msg(sop_db_restore(f.copy, f.again, NULL, NULL, &err) == 0, "%s", err.text);
    sample_same(before, digest_of(f.again));
    sample_same(before, digest_of(f.copy)); /* which stays as it is */
    fixture_fini(&f);
}
END_TEST

START_TEST(a_store_with_a_comparer_needs_it_to_be_restored)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    sample_fill(f.db, 100);
    ck_assert_msg(sop_db_backup(f.db, f.copy, NULL, NULL, &err) == 0, "%s", err.text);
    ck_assert_int_eq(sop_db_restore(f.copy, f.again, NULL, NULL, &err), SOP_ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "sop_db_backup()"));
    ck_assert(!exists(f.again, ""));
    fixture_fini(&f);
}
END_TEST

/* Byte `at` of a file (negative: from its end) turned round, or the reverse. */
static void flip(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    int byte = fgetc(file);
    ck_assert_int_ne(byte, EOF);
    ck_assert_int_eq(fseek(file, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    ck_assert_int_ne(fputc(byte ^ 0x40, file), EOF);
    ck_assert_int_eq(fclose(file), 0);
}

START_TEST(a_damaged_backup_is_not_restored)
{
    struct fixture f;
    struct sop_err err = {0};
    char command[1400];
    char pack[600];
    fixture_init(&f);
    sample_fill_plain(f.db, 100);
    ck_assert_msg(sop_db_backup(f.db, f.copy, NULL, NULL, &err) == 0, "%s", err.text);
    (void)snprintf(command, sizeof command, "ls -S %s/packs/*/* | head -1", f.copy);
    FILE *list = popen(command, "r");
    ck_assert_ptr_nonnull(list);
    ck_assert_ptr_nonnull(fgets(pack, sizeof pack, list));
    (void)pclose(list);
    pack[strcspn(pack, "\n")] = 0;
    flip(pack, 1000000); /* inside the film */
    ck_assert_int_eq(sop_db_restore(f.copy, f.again, NULL, NULL, &err), SOP_ERR_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(err.text, "packs/"));
    ck_assert(!exists(f.again, ""));
    flip(pack, 1000000);
    flip(pack, -8); /* the key behind it: no reader of the value would notice */
    ck_assert_int_eq(sop_db_restore(f.copy, f.again, NULL, NULL, &err), SOP_ERR_DATA_LOSS);
    flip(pack, -8);
    ck_assert_msg(sop_db_restore(f.copy, f.again, NULL, NULL, &err) == 0, "%s", err.text);
    fixture_fini(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("backup");
    TCase *t = tcase_create("backup");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, a_copy_has_everything_and_its_own_id);
    tcase_add_test(t, a_copy_is_compact);
    tcase_add_test(t, an_empty_database_is_copied);
    tcase_add_test(t, a_backup_of_a_copy_into_a_folder_that_is_there);
    tcase_add_test(t, a_copy_made_beside_commits_is_one_state);
    tcase_add_test(t, a_cancelled_copy_leaves_nothing);
    tcase_add_test(t, a_folder_in_use_is_refused_and_kept);
    tcase_add_test(t, a_restored_database_is_the_one_backed_up);
    tcase_add_test(t, a_store_with_a_comparer_needs_it_to_be_restored);
    tcase_add_test(t, a_damaged_backup_is_not_restored);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
