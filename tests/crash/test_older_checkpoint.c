/* The newest checkpoint cannot be used: its manifest or an extent that it wrote is missing,
 * empty or damaged. Opening falls back to the one before it (while there is only one, to the
 * beginning of history) and replays more: nothing is lost, and later checkpoints replace the
 * damaged one. What both checkpoints name is really needed: DATA_LOSS with its name. */
#include "engine/db/db_int.h"
#include "engine/journal/format.h"
#include "engine/volume/sim.h"
#include "tests/lib/api_kit.h"

#define ITEMS 200u /* added before each checkpoint, and after the last */

enum damage { MISSING, EMPTY, CUT, FLIPPED, DAMAGES };

static struct sop_volume *whole, *disk;
static struct db_kit kit;
static unsigned items;

static int try_open(bool read_only)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = !read_only;
    o.read_only = read_only;
    o.manual = true;
    return sop_db_open_on(&kit.db, disk, sop_env_system(), &o, 0, &kit.err);
}

static void add_items(void)
{
    for (unsigned i = 0; i < ITEMS; i++) {
        db_kit_put(&kit, "s", numbered(items++), "value");
    }
}

/* `checkpoints` of them, each with items of its own, and more items in the journal. */
static void make_database(unsigned checkpoints)
{
    struct sop_store_options o;
    sop_store_options_init(&o);
    o.slot_length = 10;
    items = 0;
    OK(sop_volume_sim_new(&whole, &kit.err), kit.err);
    disk = whole;
    OK(try_open(false), kit.err);
    db_kit_store(&kit, "s", &o);
    for (unsigned i = 0; i < checkpoints; i++) {
        add_items();
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    }
    add_items();
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
}

static void newest_manifest(struct sop_manifest *m)
{
    struct sop_manifest_name *names = NULL;
    size_t count = 0;
    OK(sop_manifest_list(whole, &names, &count, &kit.err), kit.err);
    ck_assert_uint_ge(count, 1);
    OK(sop_manifest_read(whole, names[0].lsn, names[0].member, m, &kit.err), kit.err);
    sop_free(names);
}

static void name_of_manifest(const struct sop_manifest *m, char to[96])
{
    (void)snprintf(to, 96, "checkpoints/%016" PRIx64 "-%016" PRIx64 "-%" PRIx64,
                   m->point.lsn.slot, m->point.lsn.record, m->member);
}

static void name_of_extent(const struct sop_extent_ref *x, char to[96])
{
    (void)snprintf(to, 96, "registry/x%" PRIx64 ".%016" PRIx64 "-%016" PRIx64 "-%" PRIx64,
                   x->extent, x->lsn.slot, x->lsn.record, x->member);
}

static void damage_file(const char *path, enum damage how)
{
    struct sop_stat st;
    OK(sop_volume_stat(disk, path, &st, &kit.err), kit.err);
    if (how == MISSING) {
        OK(sop_volume_unlink(disk, path, &kit.err), kit.err);
    } else if (how == FLIPPED) {
        OK(sop_volume_sim_flip(disk, path, st.bytes * 4, &kit.err), kit.err);
    } else {
        OK(sop_volume_sim_truncate(disk, path, how == EMPTY ? 0 : st.bytes / 2, &kit.err),
           kit.err);
    }
}

static void check_items(void)
{
    ck_assert_uint_eq(db_kit_count(&kit, "s"), items);
    for (unsigned i = 0; i < items; i++) {
        IS(text(db_kit_read(&kit, "s", numbered(i))), "value");
    }
}

static uint64_t replayed(void)
{
    struct sop_db_stats stats = {.size = sizeof stats};
    OK(sop_db_stats(kit.db, &stats, &kit.err), kit.err);
    return stats.open_records;
}

static char findings[8192];

static void note_error(void *arg, int severity, const char *finding)
{
    size_t used = strlen(findings);
    (void)arg;
    if (severity == 2) {
        (void)snprintf(findings + used, sizeof findings - used, "%s\n", finding);
    }
}

static int verify(bool deep)
{
    findings[0] = 0;
    return sop_db_verify(kit.db, deep, note_error, NULL, NULL, NULL, &kit.err);
}

/* Opening went on without the file, but who asks is told. */
static void is_reported(const char *path, enum damage how)
{
    struct sop_db_stats stats = {.size = sizeof stats};
    for (int deep = 0; deep < 2; deep++) {
        FAILS(DATA_LOSS, verify(deep == 1), kit.err);
        const char *named = strstr(findings, path);
        ck_assert_msg(named != NULL, "%s is not named: %s", path, findings);
        const char *offset = strstr(named, "at byte");
        ck_assert_msg(how == MISSING || offset != NULL, "no offset: %s", findings);
    }
    OK(sop_db_stats(kit.db, &stats, &kit.err), kit.err);
    ck_assert_uint_eq(stats.checkpoints_damaged, 1);
}

static void is_reported_no_more(void)
{
    struct sop_db_stats stats = {.size = sizeof stats};
    int rc = verify(true);
    ck_assert_msg(rc == 0, "%s", findings);
    OK(sop_db_stats(kit.db, &stats, &kit.err), kit.err);
    ck_assert_uint_eq(stats.checkpoints_damaged, 0);
}

/* Opens with one file damaged: everything is there, after a longer replay, and verification
 * names the file until a checkpoint has taken its place, and after as many checkpoints as are
 * kept the database is sound. */
static void open_with(const char *path, enum damage how)
{
    OK(sop_volume_sim_copy(whole, &disk, &kit.err), kit.err);
    damage_file(path, how);
    OK(try_open(true), kit.err);
    check_items();
    ck_assert_uint_gt(replayed(), 2 * ITEMS - 1);
    is_reported(path, how);
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    OK(try_open(false), kit.err);
    check_items();
    ck_assert_uint_gt(replayed(), 2 * ITEMS - 1);
    is_reported(path, how);
    for (unsigned i = 0; i < SOP_CHECKPOINTS_KEPT; i++) {
        db_kit_put(&kit, "s", numbered(i), "value");
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        is_reported_no_more();
    }
    check_items();
    db_kit_verify(&kit);
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    struct sop_stat st;
    OK(sop_volume_stat(disk, path, &st, &kit.err), kit.err);
    ck_assert_msg(st.kind == SOP_FILE_ABSENT, "%s is still there", path);
    OK(try_open(false), kit.err);
    ck_assert_uint_eq(replayed(), 0);
    check_items();
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    sop_volume_destroy(disk);
}

/* _i: with one checkpoint, with two, with three of which two are kept. */
START_TEST(an_older_checkpoint_serves)
{
    struct sop_manifest m;
    char path[96];
    unsigned own = 0;
    make_database((unsigned)_i + 1);
    newest_manifest(&m);
    for (enum damage how = MISSING; how < DAMAGES; how++) {
        name_of_manifest(&m, path);
        open_with(path, how);
        for (size_t i = 0; i < m.extents_count; i++) {
            name_of_extent(&m.extents[i], path);
            ck_assert(sop_lsn_cmp(m.extents[i].lsn, m.point.lsn) == 0);
            open_with(path, how);
            own++;
        }
    }
    ck_assert_uint_ge(own, DAMAGES);
    sop_manifest_fini(&m);
    sop_volume_destroy(whole);
}
END_TEST

/* The manifest that would serve if the newest one were damaged. */
START_TEST(damage_of_the_older_manifest_is_reported)
{
    struct sop_manifest_name *names = NULL;
    struct sop_manifest m;
    size_t count = 0;
    char path[96];
    make_database(SOP_CHECKPOINTS_KEPT);
    OK(sop_manifest_list(whole, &names, &count, &kit.err), kit.err);
    ck_assert_uint_eq(count, SOP_CHECKPOINTS_KEPT);
    OK(sop_manifest_read(whole, names[1].lsn, names[1].member, &m, &kit.err), kit.err);
    name_of_manifest(&m, path);
    for (enum damage how = EMPTY; how < DAMAGES; how++) {
        OK(sop_volume_sim_copy(whole, &disk, &kit.err), kit.err);
        damage_file(path, how);
        OK(try_open(false), kit.err);
        check_items();
        is_reported(path, how);
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        is_reported_no_more();
        OK(sop_db_close(&kit.db, &kit.err), kit.err);
        sop_volume_destroy(disk);
    }
    sop_manifest_fini(&m);
    sop_free(names);
    sop_volume_destroy(whole);
}
END_TEST

START_TEST(what_both_checkpoints_name_is_lost)
{
    struct sop_manifest m;
    char path[96];
    make_database(SOP_CHECKPOINTS_KEPT);
    OK(try_open(false), kit.err);
    for (unsigned i = 0; i < 2 * SOP_CHECKPOINTS_KEPT; i++) { /* they change nothing */
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    }
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    newest_manifest(&m);
    ck_assert_uint_ge(m.extents_count, 1);
    ck_assert(sop_lsn_cmp(m.extents[0].lsn, m.point.lsn) < 0);
    name_of_extent(&m.extents[0], path);
    for (enum damage how = MISSING; how < DAMAGES; how++) {
        OK(sop_volume_sim_copy(whole, &disk, &kit.err), kit.err);
        damage_file(path, how);
        FAILS(DATA_LOSS, try_open(true), kit.err);
        ck_assert_msg(strstr(kit.err.text, path) != NULL, "%s: %s", path, kit.err.text);
        FAILS(DATA_LOSS, try_open(false), kit.err);
        ck_assert_msg(strstr(kit.err.text, path) != NULL, "%s: %s", path, kit.err.text);
        sop_volume_destroy(disk);
    }
    sop_manifest_fini(&m);
    sop_volume_destroy(whole);
}
END_TEST

/* ---- history before the only checkpoint ----------------------------------------------------
 */

#define FILES_MAX 64u

static struct {
    char path[160];
    uint64_t bytes;
} files[FILES_MAX];
static size_t files_count;

struct folder {
    char path[128];
};

static int note_file(void *arg, const char *name, struct sop_err *err)
{
    const struct folder *in = arg;
    struct sop_stat st;
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%.30s", in->path, name);
    int rc = sop_volume_stat(disk, path, &st, err);
    if (rc == 0 && st.kind == SOP_FILE_REGULAR && strcmp(name, "GATE") != 0) {
        ck_assert_uint_lt(files_count, FILES_MAX);
        memcpy(files[files_count].path, path, sizeof path);
        files[files_count++].bytes = st.bytes;
    }
    return rc;
}

/* Notes the journals or slots below chain/<name> or members/<name>. */
static int note_history(void *arg, const char *name, struct sop_err *err)
{
    struct folder in;
    const char *top = arg;
    (void)snprintf(in.path, sizeof in.path, "%s/%.60s%s", top, name,
                   strcmp(top, "members") == 0 ? "/journal" : "");
    return sop_volume_list(disk, in.path, note_file, &in, err);
}

/* A member that came and went, and another that wrote the first checkpoint. The files that are
 * noted are those of history as the first left it: all of it is older than the checkpoint. */
static void make_young_database(void)
{
    struct sop_manifest_name *names = NULL;
    static char tops[][8] = {"chain", "members"};
    size_t count = 0;
    make_database(0);
    files_count = 0;
    for (unsigned i = 0; i < 2; i++) {
        OK(sop_volume_list(whole, tops[i], note_history, tops[i], &kit.err), kit.err);
    }
    OK(try_open(false), kit.err);
    add_items();
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    db_kit_put(&kit, "s", numbered(items++), "value");
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    OK(sop_manifest_list(whole, &names, &count, &kit.err), kit.err);
    ck_assert_uint_eq(count, 1);
    sop_free(names);
}

/* Damages one byte. A reader needs none of this history, and a short look is content; a deep
 * one names the record. */
static void is_told_by_a_deep_look(const char *path, uint64_t at)
{
    OK(sop_volume_sim_copy(whole, &disk, &kit.err), kit.err);
    OK(sop_volume_sim_flip(disk, path, at * 8 + 3, &kit.err), kit.err);
    OK(try_open(true), kit.err);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), items);
    ck_assert_msg(verify(false) == 0, "%s at %" PRIu64 ": %s", path, at, findings);
    int rc = verify(true);
    ck_assert_msg(rc == SOP_ERR_DATA_LOSS, "%s at %" PRIu64 ": nobody says so", path, at);
    const char *named = strstr(findings, path);
    const char *offset = named != NULL ? strstr(named, "at byte ") : NULL;
    ck_assert_msg(offset != NULL, "%s at %" PRIu64 ": %s", path, at, findings);
    uint64_t said = strtoull(offset + strlen("at byte "), NULL, 10);
    ck_assert_msg(said == at / SOP_BLOCK_BYTES * SOP_BLOCK_BYTES, "%s at %" PRIu64 ": %s", path,
                  at, findings);
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    sop_volume_destroy(disk);
}

/* While there is one checkpoint, all history since the beginning may be needed. */
START_TEST(damage_before_the_only_checkpoint_is_told)
{
    unsigned slots = 0;
    unsigned records = 0;
    make_young_database();
    for (size_t i = 0; i < files_count; i++) {
        struct sop_buf file = {0};
        bool slot = strncmp(files[i].path, "chain/", 6) == 0;
        OK(sop_volume_read_file(whole, files[i].path, 64u << 20, &file, &kit.err), kit.err);
        for (uint64_t at = 0; at + SOP_BLOCK_BYTES <= file.len; at += SOP_BLOCK_BYTES) {
            struct sop_journal_header h = {0};
            bool record = sop_journal_header_decode(sop_slice(file.data + at, SOP_BLOCK_BYTES),
                                                    &h) == SOP_JOURNAL_VALID;
            if (record || (slot && at == 0)) {
                is_told_by_a_deep_look(files[i].path, at + 20);
                slots += slot;
                records += record;
            }
            if (h.payload_bytes > 0) {
                is_told_by_a_deep_look(files[i].path,
                                       at + SOP_JOURNAL_HEADER_BYTES + h.payload_bytes / 2);
            }
        }
        sop_buf_fini(&file);
    }
    ck_assert_uint_ge(slots, 1);
    ck_assert_uint_ge(records, ITEMS);
    printf("history before the only checkpoint: %u slots, %u records\n", slots, records);
    sop_volume_destroy(whole);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("older checkpoint");
    TCase *t = tcase_create("serves");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, an_older_checkpoint_serves, 0, 3);
    tcase_add_test(t, damage_of_the_older_manifest_is_reported);
    tcase_add_test(t, what_both_checkpoints_name_is_lost);
    tcase_add_test(t, damage_before_the_only_checkpoint_is_told);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
