/* Verification: what a sound database gives, and that damage is found and named. */
#include "engine/db/db_int.h"
#include "tests/lib/sample_db.h"
#include "tests/lib/scale.h"
#include "tests/lib/tmpdir.h"

#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct heard {
    unsigned good, warnings, errors;
    char text[16384];
};

static void hear(void *arg, int severity, const char *text)
{
    struct heard *h = arg;
    *(severity == 0 ? &h->good : severity == 1 ? &h->warnings : &h->errors) += 1;
    size_t used = strlen(h->text);
    (void)snprintf(h->text + used, sizeof h->text - used, "%d %s\n", severity, text);
}

struct fixture {
    struct tmpdir dir;
    char folder[600];
    struct sop_db *db;
    struct heard heard;
    struct sop_verify_result result;
};

static int reopen(struct fixture *f, bool read_only, struct sop_err *err)
{
    struct sop_db_options o;
    ck_assert_int_eq(sop_db_close(&f->db, NULL), 0);
    sample_options(&o);
    o.read_only = read_only;
    return sop_db_open(&f->db, f->folder, &o, err);
}

static void fixture_init(struct fixture *f)
{
    struct sop_db_options o;
    struct sop_err err = {0};
    memset(f, 0, sizeof *f);
    tmpdir_init(&f->dir);
    (void)snprintf(f->folder, sizeof f->folder, "%s/db", f->dir.path);
    sample_options(&o);
    o.create = true;
    ck_assert_msg(sop_db_open(&f->db, f->folder, &o, &err) == 0, "%s", err.text);
}

static void fixture_fini(struct fixture *f)
{
    ck_assert_int_eq(sop_db_close(&f->db, NULL), 0);
    tmpdir_fini(&f->dir);
}

static int verify(struct fixture *f, bool deep, struct sop_err *err)
{
    memset(&f->heard, 0, sizeof f->heard);
    return sop_db_verify(f->db, deep, hear, NULL, &f->heard, &f->result, err);
}

/* No error, no warning, and the counts of the digest. */
static void verify_clean(struct fixture *f, bool deep, struct sample_digest d)
{
    struct sop_err err = {0};
    int rc = verify(f, deep, &err);
    ck_assert_msg(rc == 0, "%s\n%s", err.text, f->heard.text);
    ck_assert_msg(f->heard.errors + f->heard.warnings == 0, "%s", f->heard.text);
    ck_assert_uint_eq(f->result.errors, 0);
    ck_assert_uint_eq(f->result.stores, d.stores);
    ck_assert_uint_eq(f->result.items, d.items);
}

static void checkpoint(struct fixture *f)
{
    struct sop_err err = {0};
    ck_assert_msg(sop_db_checkpoint(f->db, &err) == 0, "%s", err.text);
}

START_TEST(a_sound_database_is_clean_in_every_state)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    verify_clean(&f, true, (struct sample_digest){0}); /* nothing was ever written */
    sample_fill(f.db, (unsigned)test_scale(2000, 50000, 500000));
    struct sample_digest d = sample_digest(f.db);
    verify_clean(&f, false, d);                 /* all of it in memory and in the journal */
    ck_assert_uint_eq(f.result.values, 11 + 1); /* the empty one needs no place */
    ck_assert_uint_ge(f.result.pages, 2000 / 50 + 7);
    checkpoint(&f);
    verify_clean(&f, false, d); /* in memory and in packs */
    ck_assert_uint_gt(f.result.files, 2);
    ck_assert_uint_gt(f.result.bytes, 5u << 20);
    verify_clean(&f, true, d);
    ck_assert_int_eq(reopen(&f, false, &err), 0);
    verify_clean(&f, false, d); /* in packs */
    ck_assert_int_eq(reopen(&f, true, &err), 0);
    verify_clean(&f, true, d); /* without a lock */
    fixture_fini(&f);
}
END_TEST

/* ---- after all kinds of work ---------------------------------------------------------------
 */

/* Adds, changes or removes `count` items with keys from `from` on, in steps. */
static void work(struct fixture *f, const char *name, unsigned from, unsigned count,
                 unsigned step, bool removes)
{
    struct sop_txn *txn = NULL;
    struct sop_store *s = NULL;
    struct sop_err err = {0};
    ck_assert_int_eq(sop_txn_begin(&txn, f->db, NULL, &err), 0);
    int rc = sop_store_open(&s, txn, name, &err);
    if (rc == SOP_ERR_NOT_FOUND) {
        rc = sop_store_create(&s, txn, name, NULL, &err);
    }
    ck_assert_msg(rc == 0, "%s", err.text);
    for (unsigned i = 0; i < count; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "k%09u", from + i * step);
        struct sop_entry e = {.key = sop_slice_str(key), .value = sop_slice(key, 20)};
        rc = removes ? sop_remove(s, e.key, &err) : sop_upsert(s, &e, &err);
        ck_assert_msg(rc == 0 || (removes && rc == SOP_ERR_NOT_FOUND), "%s", err.text);
    }
    ck_assert_msg(sop_txn_commit(&txn, NULL, &err) == 0, "%s", err.text);
}

START_TEST(growth_in_order_keeps_fences)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    for (unsigned i = 0; i < 8; i++) {
        work(&f, "grows", i * 1000, 1000, 1, false);
        verify_clean(&f, false, sample_digest(f.db));
        checkpoint(&f);
        verify_clean(&f, false, sample_digest(f.db));
    }
    ck_assert_int_eq(reopen(&f, false, &err), 0);
    verify_clean(&f, true, sample_digest(f.db));
    fixture_fini(&f);
}
END_TEST

START_TEST(splits_merges_and_removals_keep_it_sound)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    unsigned rounds = (unsigned)test_scale(12, 60, 600);
    for (unsigned i = 0; i < rounds; i++) {
        unsigned n = 500 + 700 * (i % 4);
        work(&f, "a", i * 37 % 500, n, 1 + i % 5, false);
        work(&f, "b", i * 900, 900, 1, false);
        work(&f, "a", i * 91 % 2000, n, 1 + i % 2, true);
        if (i % 3 == 1) {
            checkpoint(&f);
        }
        verify_clean(&f, i % 4 == 0, sample_digest(f.db));
        if (i % 5 == 4) {
            ck_assert_msg(reopen(&f, false, &err) == 0, "%s", err.text);
            verify_clean(&f, false, sample_digest(f.db));
        }
    }
    fixture_fini(&f);
}
END_TEST

START_TEST(removed_stores_leave_no_pages)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    sample_fill(f.db, 2000);
    checkpoint(&f);
    static const char *const names[] = {"plain", "big", "twice"};
    for (unsigned i = 0; i < 3; i++) {
        struct sop_txn *txn = NULL;
        ck_assert_int_eq(sop_txn_begin(&txn, f.db, NULL, &err), 0);
        ck_assert_msg(sop_store_remove(txn, names[i], &err) == 0, "%s", err.text);
        ck_assert_msg(sop_txn_commit(&txn, NULL, &err) == 0, "%s", err.text);
        struct sample_digest d = sample_digest(f.db);
        ck_assert_uint_eq(d.stores, 6 - i);
        verify_clean(&f, false, d); /* its pages are still to be freed */
        ck_assert_msg(sop_maintain(f.db, &err) == 0, "%s", err.text);
        verify_clean(&f, false, d);
        checkpoint(&f);
        verify_clean(&f, true, d);
    }
    ck_assert_msg(sop_db_compact(f.db, &err) == 0, "%s", err.text);
    verify_clean(&f, true, sample_digest(f.db));
    ck_assert_int_eq(reopen(&f, false, &err), 0);
    verify_clean(&f, true, sample_digest(f.db));
    fixture_fini(&f);
}
END_TEST

/* ---- damage --------------------------------------------------------------------------------
 */

/* The largest file that a pattern of the shell names. */
static void largest(const struct fixture *f, const char *pattern, char to[700], long *bytes)
{
    char command[1500];
    (void)snprintf(command, sizeof command, "ls -S %s/%s | head -1", f->folder, pattern);
    FILE *list = popen(command, "r");
    ck_assert_ptr_nonnull(list);
    ck_assert_ptr_nonnull(fgets(to, 700, list));
    (void)pclose(list);
    to[strcspn(to, "\n")] = 0;
    FILE *file = fopen(to, "rb");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
    *bytes = ftell(file);
    (void)fclose(file);
}

static void flip(const char *path, long at)
{
    FILE *file = fopen(path, "r+b");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, at, SEEK_SET), 0);
    int byte = fgetc(file);
    ck_assert_int_ne(byte, EOF);
    ck_assert_int_eq(fseek(file, at, SEEK_SET), 0);
    ck_assert_int_ne(fputc(byte ^ 0x10, file), EOF);
    ck_assert_int_eq(fclose(file), 0);
}

/* Opens and verifies; either says DATA_LOSS. Whose text holds `word`. */
static void found_by_somebody(struct fixture *f, bool deep, const char *word)
{
    struct sop_err err = {0};
    struct sop_db_options o;
    sample_options(&o);
    o.read_only = true;
    int rc = sop_db_open(&f->db, f->folder, &o, &err);
    if (rc == 0) {
        rc = verify(f, deep, &err);
        ck_assert_uint_eq(f->result.errors, f->heard.errors);
        ck_assert_msg(f->result.errors > 0, "%s\n%s", err.text, f->heard.text);
        ck_assert_int_eq(sop_db_close(&f->db, NULL), 0);
    }
    ck_assert_int_eq(rc, SOP_ERR_DATA_LOSS);
    ck_assert_msg(strstr(err.text, word) != NULL, "%s", err.text);
}

static void close_with_checkpoint(struct fixture *f)
{
    checkpoint(f);
    checkpoint(f);
    ck_assert_int_eq(sop_db_close(&f->db, NULL), 0);
}

START_TEST(damage_in_a_value_is_found_by_a_deep_look)
{
    struct fixture f;
    char path[700];
    long bytes = 0;
    fixture_init(&f);
    sample_fill(f.db, 500);
    close_with_checkpoint(&f);
    largest(&f, "packs/*/*", path, &bytes);
    flip(path, bytes / 2); /* inside the film */
    found_by_somebody(&f, true, strstr(path, "packs/"));
    flip(path, bytes / 2);
    flip(path, 20); /* its header: a short look suffices */
    found_by_somebody(&f, false, strstr(path, "packs/"));
    flip(path, 20);
    flip(path, bytes - 8); /* the key behind it, which only a scan reads */
    found_by_somebody(&f, true, "needs them");
    flip(path, bytes - 8);
    struct sop_err err = {0};
    struct sop_db_options o;
    sample_options(&o);
    ck_assert_int_eq(sop_db_open(&f.db, f.folder, &o, &err), 0);
    verify_clean(&f, true, sample_digest(f.db));
    fixture_fini(&f);
}
END_TEST

START_TEST(a_pack_file_that_is_gone_is_named)
{
    struct fixture f;
    char path[700];
    long bytes = 0;
    fixture_init(&f);
    sample_fill(f.db, 500);
    close_with_checkpoint(&f);
    largest(&f, "packs/*/*", path, &bytes);
    ck_assert_int_eq(remove(path), 0);
    found_by_somebody(&f, false, strstr(path, "packs/"));
    tmpdir_fini(&f.dir);
}
END_TEST

/* Every byte of the pack with the sheets: at some places nobody looks (padding of records that
 * are garbage), but what a database needs is never damaged in silence. */
START_TEST(damage_in_sheets_is_found)
{
    struct fixture f;
    char path[700];
    long bytes = 0;
    unsigned found = 0;
    fixture_init(&f);
    work(&f, "only", 0, 3000, 1, false);
    checkpoint(&f);
    largest(&f, "packs/*/*", path, &bytes);
    flip(path, bytes / 2); /* memory still has the sheet: the volume is asked all the same */
    struct sop_err warm = {0};
    ck_assert_int_eq(verify(&f, false, &warm), SOP_ERR_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(warm.text, "packs/"));
    flip(path, bytes / 2);
    close_with_checkpoint(&f);
    largest(&f, "packs/*/*", path, &bytes);
    long step = bytes / (long)test_scale(25, 400, 4000) + 1;
    for (long at = 100; at < bytes; at += step) {
        struct sop_err err = {0};
        struct sop_db_options o;
        flip(path, at);
        sample_options(&o);
        o.read_only = true;
        int rc = sop_db_open(&f.db, f.folder, &o, &err);
        if (rc == 0) {
            rc = verify(&f, true, &err);
            ck_assert_msg(rc == SOP_ERR_DATA_LOSS || (rc == 0 && f.heard.warnings > 0),
                          "byte %ld: %s\n%s", at, err.text, f.heard.text);
            ck_assert_int_eq(sop_db_close(&f.db, NULL), 0);
        }
        found += rc == SOP_ERR_DATA_LOSS;
        flip(path, at);
    }
    ck_assert_uint_gt(found, 20);
    tmpdir_fini(&f.dir);
}
END_TEST

START_TEST(damage_in_extents_and_checkpoints_is_found)
{
    static const char *const patterns[] = {"registry/x*", "checkpoints/*"};
    struct fixture f;
    char path[700];
    long bytes = 0;
    fixture_init(&f);
    sample_fill(f.db, 500);
    checkpoint(&f);
    struct sop_err err = {0};
    ck_assert_msg(reopen(&f, false, &err) == 0, "%s", err.text);
    struct sample_digest d = sample_digest(f.db);
    verify_clean(&f, false, d);
    for (unsigned i = 0; i < 2;
         i++) { /* beneath a database that is open: memory is still right */
        largest(&f, patterns[i], path, &bytes);
        flip(path, i == 0 ? 64 + 20 : bytes / 2);
        ck_assert_int_eq(verify(&f, false, &err), SOP_ERR_DATA_LOSS);
        ck_assert_uint_ge(f.result.errors, 1);
        ck_assert_msg(strstr(f.heard.text, i == 0 ? "registry/" : "checkpoint") != NULL, "%s",
                      f.heard.text);
        flip(path, i == 0 ? 64 + 20 : bytes / 2);
        verify_clean(&f, false, d);
    }
    for (int i = 0; i < 2; i++) { /* the older checkpoint has the same ones then */
        checkpoint(&f);
    }
    ck_assert_int_eq(sop_db_close(&f.db, NULL), 0);
    largest(&f, "registry/x*", path, &bytes);
    flip(path, 64 + 20);
    found_by_somebody(&f, false, "registry/");
    tmpdir_fini(&f.dir);
}
END_TEST

/* ---- what does not belong there ------------------------------------------------------------
 */

static char below[64][700]; /* folders of members/ and chain/, and these two */
static unsigned below_count;

static int note_folder(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    if (type == FTW_D && (strstr(path, "/db/members") != NULL || strstr(path, "/db/chain"))) {
        ck_assert_uint_lt(below_count, 64);
        (void)snprintf(below[below_count++], sizeof below[0], "%s", path);
    }
    return 0;
}

static void note_folders(const struct fixture *f)
{
    below_count = 0;
    ck_assert_int_eq(nftw(f->folder, note_folder, 16, FTW_PHYS), 0);
}

/* Somebody's file with the longest name that a file system takes, or a folder of that name. */
static void lay_foreign(const char *folder, bool is_folder)
{
    char path[1024];
    char name[256];
    memset(name, is_folder ? 'd' : 'f', sizeof name - 1);
    name[sizeof name - 1] = 0;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    if (is_folder) {
        ck_assert_int_eq(mkdir(path, 0700), 0);
        return;
    }
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs("not of this database", file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

/* Foreign files and folders with very long names, everywhere where history lies: they are
 * reported one by one, and nothing else happens to them or to the database. */
START_TEST(long_foreign_names_are_reported)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    work(&f, "s", 0, 100, 1, false);
    ck_assert_int_eq(reopen(&f, false, &err), 0); /* now there is a member that is gone */
    work(&f, "s", 100, 100, 1, false);
    ck_assert_int_eq(sop_db_close(&f.db, NULL), 0);
    note_folders(&f);
    ck_assert_uint_gt(below_count, 6); /* chain, a directory, members, and of each three */
    for (unsigned i = 0; i < below_count; i++) {
        lay_foreign(below[i], false);
        lay_foreign(below[i], true);
    }
    for (unsigned round = 0; round < 3; round++) {
        struct sop_db_options o;
        sample_options(&o);
        ck_assert_msg(sop_db_open(&f.db, f.folder, &o, &err) == 0, "%s", err.text);
        ck_assert_msg(verify(&f, true, &err) == 0, "%s", err.text);
        if (round == 0) {
            ck_assert_uint_eq(f.heard.warnings, 2 * below_count);
            const char *at = f.heard.text;
            for (unsigned i = 0; i < 2 * below_count; i++) {
                at = strstr(at, "...: not a file of a database");
                ck_assert_msg(at != NULL, "%u: %s", i, f.heard.text);
                at++;
            }
        }
        ck_assert_uint_gt(f.heard.warnings, 0);
        checkpoint(&f); /* sweeps what members have left, beside what is not theirs */
        ck_assert_msg(sop_maintain(f.db, &err) == 0, "%s", err.text);
        ck_assert_uint_eq(sample_digest(f.db).items, 200);
        ck_assert_int_eq(sop_db_close(&f.db, NULL), 0);
    }
    tmpdir_fini(&f.dir);
}
END_TEST

/* ---- mistakes of our own -------------------------------------------------------------------
 */

/* Facts in memory that contradict the pages are findings, too. */
START_TEST(wrong_facts_in_memory_are_found)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    sample_fill(f.db, 2000);
    checkpoint(&f);
    struct sample_digest d = sample_digest(f.db);
    struct sop_engine *e = f.db->now->engine;
    struct sop_tree *t = sop_engine_tree(e, 2); /* "plain" */
    t->counts[t->counts_count - 1].items++;
    ck_assert_int_eq(verify(&f, false, &err), SOP_ERR_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(err.text, "its leaves hold 2000 items, and it says 2001"));
    t->counts[t->counts_count - 1].items--;
    ck_assert_int_eq(sop_tree_reserve(t, &e->pages, 2, &err), 0);
    t->free_pages[t->free_count++] = t->root;
    ck_assert_int_eq(verify(&f, false, &err), SOP_ERR_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(err.text, "is in use"));
    t->free_count--;
    t->slot_length += 2;
    ck_assert_int_eq(verify(&f, false, &err), SOP_ERR_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(err.text, "catalog, store \"plain\""));
    t->slot_length -= 2;
    struct sop_place place = {.member = sop_chain_member(e->chain), .file = 1};
    sop_files_add(&e->files, &place, SOP_FILES_LIVE, 8);
    ck_assert_int_eq(verify(&f, false, &err), 0);
    ck_assert_uint_eq(f.heard.warnings, 1);
    ck_assert_ptr_nonnull(strstr(f.heard.text, "bytes of it are named, the table says"));
    sop_files_add(&e->files, &place, SOP_FILES_LIVE, -8);
    uint64_t root = t->root;
    t->root = sop_engine_tree(e, 3)->root; /* two trees over the same pages, and orphans */
    ck_assert_int_eq(verify(&f, false, &err), SOP_ERR_DATA_LOSS);
    ck_assert_ptr_nonnull(strstr(f.heard.text, "is named twice"));
    t->root = root;
    verify_clean(&f, true, d);
    fixture_fini(&f);
}
END_TEST

/* The leftmost leaf of a tree, as memory has it. */
static struct sop_version *first_leaf(struct sop_engine *e, struct sop_tree *t,
                                      struct sop_epoch_slot *slot)
{
    struct sop_version *v = NULL;
    struct sop_err err = {0};
    sop_epoch_enter(&e->epochs, slot);
    int rc = sop_tree_descend(&e->pages, t, atomic_load(&e->pages.moment), SOP_WAY_FIRST,
                              sop_slice(NULL, 0), 0, &v, NULL, &err);
    sop_epoch_leave(slot);
    ck_assert_msg(rc == 0, "%s", err.text);
    return v;
}

static void finds(struct fixture *f, const char *text)
{
    struct sop_err err = {0};
    ck_assert_int_eq(verify(f, false, &err), SOP_ERR_DATA_LOSS);
    ck_assert_msg(strstr(f->heard.text, text) != NULL, "not \"%s\":\n%s", text, f->heard.text);
}

START_TEST(wrong_pages_in_memory_are_found)
{
    struct fixture f;
    fixture_init(&f);
    sample_fill(f.db, 2000);
    checkpoint(&f);
    struct sop_engine *e = f.db->now->engine;
    struct sop_epoch_slot *slot = sop_epoch_take(&e->epochs);
    struct sop_version *v = first_leaf(e, sop_engine_tree(e, 2), slot);
    ck_assert(v->level == 0 && v->has_high && v->items > 1);
    v->items++;
    finds(&f, "items, and it says");
    finds(&f, "its handle says");
    v->items--;
    v->high.len--;
    finds(&f, "its fences are not the separators of its parent");
    v->high.len++;
    v->level = 1;
    finds(&f, "it has a sheet of store 2");
    v->level = 0;
    v->free = true; /* an orphan for its parent */
    finds(&f, "is free at moment");
    v->free = false;
    struct sop_tree *nothing = sop_engine_tree(e, 3);
    nothing->created = SOP_NEVER; /* its root belongs to nobody then */
    finds(&f, "belongs to no store");
    finds(&f, "catalog, store \"nothing in it\" (3): there is no such store");
    nothing->created = 0;
    verify_clean(&f, false, sample_digest(f.db));
    sop_epoch_give(&e->epochs, slot);
    fixture_fini(&f);
}
END_TEST

/* A read-only database beside its owner, who sweeps what is old. */
START_TEST(a_follower_that_was_overtaken_blames_nobody)
{
    struct fixture f;
    struct fixture follower;
    struct sop_err err = {0};
    struct sop_db_options o;
    fixture_init(&f);
    sample_fill(f.db, 2000);
    checkpoint(&f);
    memset(&follower, 0, sizeof follower);
    sample_options(&o);
    o.read_only = true;
    ck_assert_msg(sop_db_open(&follower.db, f.folder, &o, &err) == 0, "%s", err.text);
    for (unsigned i = 0; i < 4; i++) {
        work(&f, "more", i * 1000, 1000, 1, false);
        checkpoint(&f);
    }
    ck_assert_msg(sop_db_compact(f.db, &err) == 0, "%s", err.text);
    int rc = verify(&follower, true, &err);
    ck_assert_msg(rc == SOP_ERR_BUSY, "%d %s\n%s", rc, err.text, follower.heard.text);
    ck_assert_uint_eq(follower.heard.errors, 0);
    ck_assert_uint_gt(follower.heard.warnings, 0);
    ck_assert_msg(sop_db_refresh(follower.db, &err) == 0, "%s", err.text);
    verify_clean(&follower, true, sample_digest(f.db));
    ck_assert_int_eq(sop_db_close(&follower.db, NULL), 0);
    fixture_fini(&f);
}
END_TEST

static int stop_at(void *arg, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    (void)done;
    (void)total;
    unsigned *left = arg;
    return --*left == 0;
}

START_TEST(it_can_be_cancelled_anywhere)
{
    struct fixture f;
    struct sop_err err = {0};
    fixture_init(&f);
    sample_fill(f.db, 500);
    checkpoint(&f);
    unsigned at = 0;
    int rc = SOP_ERR_CANCELLED;
    while (rc == SOP_ERR_CANCELLED) {
        unsigned left = ++at;
        rc = sop_db_verify(f.db, true, NULL, stop_at, &left, NULL, &err);
    }
    ck_assert_int_eq(rc, 0);
    ck_assert_uint_gt(at, 20);
    fixture_fini(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("verify");
    TCase *t = tcase_create("verify");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, a_sound_database_is_clean_in_every_state);
    tcase_add_test(t, growth_in_order_keeps_fences);
    tcase_add_test(t, splits_merges_and_removals_keep_it_sound);
    tcase_add_test(t, removed_stores_leave_no_pages);
    tcase_add_test(t, damage_in_a_value_is_found_by_a_deep_look);
    tcase_add_test(t, a_pack_file_that_is_gone_is_named);
    tcase_add_test(t, damage_in_sheets_is_found);
    tcase_add_test(t, damage_in_extents_and_checkpoints_is_found);
    tcase_add_test(t, long_foreign_names_are_reported);
    tcase_add_test(t, wrong_facts_in_memory_are_found);
    tcase_add_test(t, wrong_pages_in_memory_are_found);
    tcase_add_test(t, a_follower_that_was_overtaken_blames_nobody);
    tcase_add_test(t, it_can_be_cancelled_anywhere);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
