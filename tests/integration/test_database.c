/* Databases through the public API: opening and what refuses it, options, read-only openings,
 * durabilities, quota, maintenance by hand, cache budget, destroying. */
#include "engine/db/db_int.h"
#include "tests/lib/api_kit.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1u << 20)

static struct db_kit kit;
static struct sop_db_options options;
static unsigned names;

static void setup(void)
{
    memset(&kit, 0, sizeof kit);
    tmpdir_init(&kit.dir);
    sop_db_options_init(&options);
    options.create = true;
}

static void teardown(void)
{
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    tmpdir_fini(&kit.dir);
}

static void open_it(void)
{
    OK(sop_db_open(&kit.db, kit.dir.path, &options, &kit.err), kit.err);
}

static void close_it(void)
{
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    ck_assert_ptr_null(kit.db);
}

static const char *in_folder(const char *name)
{
    static char path[600];
    (void)snprintf(path, sizeof path, "%s/%s", kit.dir.path, name);
    return path;
}

static void write_at(const char *name, off_t at, const void *data, size_t len)
{
    int fd = open(in_folder(name), O_WRONLY | O_CREAT, 0666);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, data, len, at), (ssize_t)len);
    ck_assert_int_eq(close(fd), 0);
}

static int open_rc(void)
{
    struct sop_db *db = NULL;
    memset(&kit.err, 0, sizeof kit.err);
    int rc = sop_db_open(&db, kit.dir.path, &options, &kit.err);
    if (rc == 0) {
        OK(sop_db_close(&db, &kit.err), kit.err);
    }
    ck_assert_ptr_null(db);
    return rc;
}

static int lsn_cmp(struct sop_lsn a, struct sop_lsn b)
{
    return a.slot != b.slot ? (a.slot < b.slot ? -1 : 1)
                            : (a.record > b.record) - (a.record < b.record);
}

/* ---- opening -------------------------------------------------------------------------------
 */

START_TEST(what_is_no_database_is_not_opened)
{
    char path[600];
    options.create = false;
    FAILS(NOT_A_DATABASE, open_rc(), kit.err); /* empty folder */
    struct sop_db *db = NULL;
    (void)snprintf(path, sizeof path, "%s", in_folder("absent/deeper"));
    FAILS(NOT_A_DATABASE, sop_db_open(&db, path, NULL, &kit.err), kit.err);
    ck_assert_ptr_nonnull(strstr(kit.err.text, path));
    FAILS(INVALID, sop_db_open(&db, "", NULL, &kit.err), kit.err);
    FAILS(INVALID, sop_db_open(&db, NULL, NULL, &kit.err), kit.err);
    write_at("letter.txt", 0, "dear", 4);
    FAILS(NOT_A_DATABASE, open_rc(), kit.err);
    options.create = true;
    FAILS(NOT_A_DATABASE, open_rc(), kit.err);
    ck_assert_ptr_nonnull(strstr(kit.err.text, "letter.txt"));
    struct stat st;
    ck_assert_int_ne(stat(in_folder("chain"), &st), 0); /* nothing was begun */
    ck_assert_int_eq(unlink(in_folder("letter.txt")), 0);
    (void)snprintf(path, sizeof path, "%s", in_folder("file"));
    write_at("file", 0, "x", 1);
    ck_assert_int_lt(sop_db_open(&db, path, &options, &kit.err), 0); /* a file, no folder */
    ck_assert_ptr_null(db);
    ck_assert_int_eq(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s", in_folder("new"));
    OK(sop_db_open(&db, path, &options, &kit.err), kit.err); /* makes the folder */
    OK(sop_db_close(&db, &kit.err), kit.err);
    OK(sop_db_close(&db, &kit.err), kit.err);
    OK(sop_db_close(NULL, &kit.err), kit.err);
}
END_TEST

static int count_name(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)path;
    (void)st;
    (void)type;
    (void)walk;
    names++;
    return 0;
}

static unsigned names_in_folder(void)
{
    names = 0;
    ck_assert_int_eq(nftw(kit.dir.path, count_name, 16, FTW_PHYS), 0);
    return names;
}

/* Nobody makes a new database over what is left of one whose sop.db is lost. */
START_TEST(a_lost_identity_file_is_no_empty_folder)
{
    open_it();
    db_kit_store(&kit, "s", NULL);
    db_kit_put(&kit, "s", "k", "v");
    if (_i == 1) {
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    }
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    char away[600];
    (void)snprintf(away, sizeof away, "%s.away", kit.dir.path);
    ck_assert_int_eq(rename(in_folder("sop.db"), away), 0);
    unsigned before = names_in_folder();
    for (int create = 0; create < 2; create++) {
        options.create = create != 0;
        FAILS(DATA_LOSS, open_rc(), kit.err);
        ck_assert_ptr_nonnull(strstr(kit.err.text, "sop.db"));
    }
    FAILS(DATA_LOSS, sop_db_destroy(kit.dir.path, &kit.err), kit.err);
    ck_assert_uint_eq(names_in_folder(), before);
    ck_assert_int_eq(rename(away, in_folder("sop.db")), 0);
    options.create = false;
    open_it();
    ck_assert_str_eq(db_kit_read(&kit, "s", "k"), "v");
}
END_TEST

START_TEST(wrong_identity_files)
{
    static const uint8_t version[] = {2, 0, 0, 0};
    static const uint8_t one[] = {0xff};
    open_it();
    close_it();
    options.create = _i == 1;
    write_at("sop.db", 8, version, 4);
    FAILS(VERSION, open_rc(), kit.err);
    ck_assert_ptr_nonnull(strstr(kit.err.text, "version 2"));
    FAILS(VERSION, sop_db_destroy(kit.dir.path, &kit.err), kit.err);
    write_at("sop.db", 8, "\1\0\0\0", 4);
    for (off_t at = 12; at < SOP_IDENTITY_BYTES; at += 41) {
        uint8_t was = 0;
        int fd = open(in_folder("sop.db"), O_RDWR);
        ck_assert_int_eq(pread(fd, &was, 1, at), 1);
        uint8_t flipped = (uint8_t)(was ^ one[0]);
        ck_assert_int_eq(pwrite(fd, &flipped, 1, at), 1);
        FAILS(DATA_LOSS, open_rc(), kit.err);
        ck_assert_int_eq(pwrite(fd, &was, 1, at), 1);
        close(fd);
    }
    OK(open_rc(), kit.err);
    write_at("sop.db", 0, "XXXXXXXX", 8);
    FAILS(NOT_A_DATABASE, open_rc(), kit.err);
    ck_assert_int_eq(truncate(in_folder("sop.db"), 100), 0);
    FAILS(DATA_LOSS, open_rc(), kit.err);
    ck_assert_int_eq(truncate(in_folder("sop.db"), 0), 0);
    FAILS(DATA_LOSS, open_rc(), kit.err);
    ck_assert_int_eq(truncate(in_folder("sop.db"), 100000), 0);
    FAILS(DATA_LOSS, open_rc(), kit.err);
    ck_assert_int_eq(unlink(in_folder("sop.db")), 0);
    FAILS(DATA_LOSS, open_rc(), kit.err);
}
END_TEST

START_TEST(bad_options_are_refused)
{
    static const struct sop_comparer none = {"x", NULL, NULL};
    struct sop_db_options good = options;
    options.size--;
    FAILS(INVALID, open_rc(), kit.err);
    options = good;
    options.durability = (enum sop_durability)3;
    FAILS(INVALID, open_rc(), kit.err);
    options = good;
    options.durability = SOP_DURABLE_INTERVAL;
    options.sync_interval_ms = 0;
    FAILS(INVALID, open_rc(), kit.err);
    options = good;
    options.max_bytes = 4u * MIB - 1;
    FAILS(INVALID, open_rc(), kit.err);
    options.max_bytes = 0;
    options.cache_bytes = 8u * MIB - 1;
    FAILS(INVALID, open_rc(), kit.err);
    options = good;
    options.registry_hash_mod = 249;
    FAILS(INVALID, open_rc(), kit.err);
    options.registry_hash_mod = 750001;
    FAILS(INVALID, open_rc(), kit.err);
    options = good;
    options.read_only = true;
    FAILS(INVALID, open_rc(), kit.err);
    options = good;
    options.comparers_count = 1;
    FAILS(INVALID, open_rc(), kit.err);
    options.comparers = &none;
    FAILS(INVALID, open_rc(), kit.err);
    options = good;
    options.create = false;
    FAILS(NOT_A_DATABASE, open_rc(), kit.err); /* nothing was made by all that */
    options = good;
    options.registry_hash_mod = 750000;
    open_it();
    ck_assert_uint_eq(stats_of(&kit).registry_hash_mod, 750000);
    close_it();
    options.registry_hash_mod = 300;
    open_it();
    ck_assert_uint_eq(stats_of(&kit).registry_hash_mod, 750000);
    ck_assert_str_eq(sop_version(), "0.1.0");
}
END_TEST

/* Opens in a child; its exit code is 0 if the opening gave `code` and a text with our pid. */
static void child_gets(int code, const char *pid)
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct sop_db *db = NULL;
        int rc = sop_db_open(&db, kit.dir.path, &options, &kit.err);
        bool good = rc == code && (code == 0 || strstr(kit.err.text, pid) != NULL);
        _exit(good && sop_db_close(&db, NULL) == 0 ? 0 : 1);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}

START_TEST(a_second_opener_is_told_who_has_it)
{
    char pid[24];
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    open_it();
    FAILS(BUSY, open_rc(), kit.err);
    ck_assert_ptr_nonnull(strstr(kit.err.text, pid));
    FAILS(BUSY, sop_db_destroy(kit.dir.path, &kit.err), kit.err);
    child_gets(SOP_ERR_BUSY, pid);
    db_kit_store(&kit, "s", NULL); /* none of this did harm */
    close_it();
    child_gets(0, "");
    open_it();
    ck_assert_uint_eq(stats_of(&kit).stores, 1);
}
END_TEST

START_TEST(a_folder_by_another_name_is_the_same_database)
{
    struct sop_db *db = NULL;
    char path[600];
    open_it();
    (void)snprintf(path, sizeof path, "%s/../%s/.", kit.dir.path,
                   strrchr(kit.dir.path, '/') + 1);
    FAILS(BUSY, sop_db_open(&db, path, &options, &kit.err), kit.err);
    (void)snprintf(path, sizeof path, "%s-link", kit.dir.path);
    ck_assert_int_eq(symlink(kit.dir.path, path), 0);
    FAILS(BUSY, sop_db_open(&db, path, &options, &kit.err), kit.err);
    ck_assert_int_eq(unlink(path), 0);
}
END_TEST

START_TEST(a_takeover_stops_the_old_owner)
{
    struct sop_db *old = NULL;
    struct sop_txn *t = NULL;
    options.manual = true;
    open_it();
    db_kit_store(&kit, "s", NULL);
    db_kit_put(&kit, "s", "k", "1");
    struct sop_txn *open_there = db_kit_begin(&kit, SOP_WRITE);
    db_kit_add(&kit, db_kit_open(&kit, open_there, "s"), "late", "1");
    old = kit.db;
    kit.db = NULL;
    options.ignore_lock = true;
    open_it();
    ck_assert_str_eq(db_kit_read(&kit, "s", "k"), "1");
    db_kit_put(&kit, "s", "k", "2");
    int rc = sop_txn_commit(&open_there, NULL, &kit.err);
    ck_assert_msg(rc < 0 && rc != SOP_ERR_UNKNOWN, "%s", sop_err_name(rc));
    rc = sop_txn_begin(&t, old, NULL, &kit.err);
    ck_assert_int_eq(sop_err_class(rc), SOP_CLASS_FATAL);
    ck_assert_int_lt(sop_maintain(old, &kit.err), 0);
    (void)sop_db_close(&old, &kit.err);
    ck_assert_ptr_null(old);
    ck_assert_str_eq(db_kit_read(&kit, "s", "k"), "2");
    ck_assert_ptr_null(db_kit_read(&kit, "s", "late"));
    db_kit_verify(&kit);
}
END_TEST

START_TEST(several_databases_in_one_process)
{
    struct db_kit others[5];
    open_it();
    db_kit_store(&kit, "s", NULL);
    for (int i = 0; i < 5; i++) {
        char value[16];
        (void)snprintf(value, sizeof value, "%d", i);
        db_kit_init(&others[i]);
        db_kit_store(&others[i], "s", NULL);
        db_kit_put(&others[i], "s", "k", value);
    }
    ck_assert_ptr_null(db_kit_read(&kit, "s", "k"));
    struct sop_db_stats a = stats_of(&others[0]);
    struct sop_db_stats b = stats_of(&others[1]);
    ck_assert_mem_ne(a.database_id, b.database_id, 16);
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(atoi(db_kit_read(&others[i], "s", "k")), i);
        db_kit_fini(&others[i]);
    }
}
END_TEST

/* ---- forks ---------------------------------------------------------------------------------
 */

#define CHILD(code, call)                                                                      \
    do {                                                                                       \
        if ((call) != SOP_ERR_##code) {                                                        \
            fprintf(stderr, "child: " #call ": %s\n", kit.err.text);                           \
            _exit(1);                                                                          \
        }                                                                                      \
    } while (0)

struct handles {
    struct sop_txn *t;
    struct sop_store *s;
    struct sop_cursor *c;
    struct sop_range *r;
    struct sop_value_writer *w;
    struct sop_value_reader *rd;
    struct sop_snapshot *pin;
};

static void use_in_child(struct handles *h)
{
    struct sop_err *err = &kit.err;
    struct sop_db_stats stats = {.size = sizeof stats};
    struct sop_view v;
    struct sop_txn *t2 = NULL;
    struct sop_snapshot *p2 = NULL;
    struct sop_store *s2 = NULL;
    size_t n = 0;
    struct sop_entry e = entry("k", "child");
    CHILD(FORKED, sop_db_stats(kit.db, &stats, err));
    CHILD(FORKED, sop_db_checkpoint(kit.db, err));
    CHILD(FORKED, sop_db_sync(kit.db, err));
    CHILD(FORKED, sop_maintain(kit.db, err));
    CHILD(FORKED, sop_db_refresh(kit.db, err));
    CHILD(FORKED, sop_txn_begin(&t2, kit.db, NULL, err));
    CHILD(FORKED, sop_snapshot_pin(&p2, kit.db, err));
    CHILD(FORKED, sop_store_open(&s2, h->t, "s", err));
    CHILD(FORKED, sop_get(h->s, text("k"), &v, err));
    CHILD(FORKED, sop_upsert(h->s, &e, err));
    CHILD(FORKED, sop_cursor_first(h->c, err));
    CHILD(FORKED, sop_range_next(h->r, &v, 1, &n, err));
    CHILD(FORKED, sop_value_write(h->w, text("x"), err));
    CHILD(FORKED, sop_value_finish(&h->w, err));
    CHILD(FORKED, sop_value_read(h->rd, 0, &n, 1, &n, err));
    CHILD(FORKED, sop_txn_prepare(&h->t, err));
    CHILD(FORKED, sop_txn_commit(&h->t, NULL, err));
    sop_value_abort(&h->w);
    sop_value_close(&h->rd);
    sop_range_close(&h->r);
    sop_cursor_close(&h->c);
    sop_snapshot_release(&h->pin);
    sop_txn_rollback(&h->t);
    CHILD(FORKED, sop_db_close(&kit.db, err));
    _exit(0);
}

/* A child as fork() makes it, or as the system does, of which no handler is told. */
static pid_t make_child(bool told)
{
    return told ? fork() : (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

/* _i: 0 = by fork(). */
START_TEST(handles_are_of_no_use_in_a_forked_child)
{
    struct handles h = {.s = NULL};
    struct sop_entry e = entry("streamed", "");
    open_it();
    db_kit_store(&kit, "s", NULL);
    db_kit_put(&kit, "s", "k", "parent");
    OK(sop_snapshot_pin(&h.pin, kit.db, &kit.err), kit.err);
    h.t = db_kit_begin(&kit, SOP_WRITE);
    h.s = db_kit_open(&kit, h.t, "s");
    OK(sop_cursor_open(&h.c, h.s, &kit.err), kit.err);
    OK(sop_cursor_first(h.c, &kit.err), kit.err);
    OK(sop_range_open(&h.r, h.s, NULL, &kit.err), kit.err);
    OK(sop_value_create(&h.w, h.s, SOP_PUT_ADD, &e, &kit.err), kit.err);
    OK(sop_value_write(h.w, text("abc"), &kit.err), kit.err);
    OK(sop_value_open(&h.rd, h.c, &kit.err), kit.err);
    pid_t child = make_child(_i == 0);
    if (child == 0) {
        use_in_child(&h);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    OK(sop_value_write(h.w, text("def"), &kit.err), kit.err); /* the parent saw nothing */
    OK(sop_value_finish(&h.w, &kit.err), kit.err);
    db_kit_commit(&kit, h.t);
    sop_snapshot_release(&h.pin);
    ck_assert_str_eq(db_kit_read(&kit, "s", "streamed"), "abcdef");
    FAILS(BUSY, open_rc(), kit.err); /* and still owns it */
}
END_TEST

/* ---- read-only -----------------------------------------------------------------------------
 */

START_TEST(readers_beside_a_writer_refresh)
{
    struct db_kit reader = kit;
    struct sop_db_options ro;
    struct sop_txn *t = NULL;
    struct sop_snapshot *pin = NULL;
    open_it();
    db_kit_store(&kit, "s", NULL);
    db_kit_put(&kit, "s", "k", "1");
    OK(sop_maintain(kit.db, &kit.err), kit.err); /* shows what was committed */
    sop_db_options_init(&ro);
    ro.read_only = true;
    OK(sop_db_open(&reader.db, kit.dir.path, &ro, &reader.err), reader.err);
    ck_assert(stats_of(&reader).read_only && !stats_of(&kit).read_only);
    ck_assert_str_eq(db_kit_read(&reader, "s", "k"), "1");
    FAILS(READ_ONLY, sop_txn_begin(&t, reader.db, NULL, &reader.err), reader.err);
    FAILS(READ_ONLY, sop_db_checkpoint(reader.db, &reader.err), reader.err);
    FAILS(READ_ONLY, sop_db_compact(reader.db, &reader.err), reader.err);
    OK(sop_maintain(reader.db, &reader.err), reader.err);
    OK(sop_db_sync(reader.db, &reader.err), reader.err);
    OK(sop_snapshot_pin(&pin, reader.db, &reader.err), reader.err);
    struct sop_txn *old = db_kit_begin(&reader, SOP_READ);
    struct sop_store *old_store = db_kit_open(&reader, old, "s");
    for (int i = 0; i < 3; i++) {
        db_kit_put(&kit, "s", "k", "2");
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        db_kit_put(&kit, "s", "l", "2");
        OK(sop_maintain(kit.db, &kit.err), kit.err);
    }
    ck_assert_str_eq(db_kit_read(&reader, "s", "k"), "1");
    OK(sop_db_refresh(reader.db, &reader.err), reader.err);
    OK(sop_db_refresh(kit.db, &kit.err), kit.err); /* nothing to do there */
    ck_assert_str_eq(db_kit_read(&reader, "s", "k"), "2");
    ck_assert_str_eq(db_kit_read(&reader, "s", "l"), "2");
    ck_assert_str_eq(db_kit_get(&reader, old_store, "k"), "1"); /* keeps its own */
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    o.at = pin;
    OK(sop_txn_begin(&t, reader.db, &o, &reader.err), reader.err); /* where it was pinned */
    ck_assert_str_eq(db_kit_get(&reader, db_kit_open(&reader, t, "s"), "k"), "1");
    ck_assert_ptr_null(db_kit_get(&reader, db_kit_open(&reader, t, "s"), "l"));
    FAILS(BUSY, sop_db_close(&reader.db, &reader.err), reader.err);
    db_kit_commit(&reader, t);
    db_kit_commit(&reader, old);
    sop_snapshot_release(&pin);
    ck_assert_int_eq(lsn_cmp(stats_of(&reader).head, stats_of(&kit).head), 0);
    db_kit_verify(&reader);
    close_it(); /* the reader goes on without the writer */
    OK(sop_db_refresh(reader.db, &reader.err), reader.err);
    ck_assert_str_eq(db_kit_read(&reader, "s", "l"), "2");
    OK(sop_db_close(&reader.db, &reader.err), reader.err);
    ro.read_only = false;
    ro.create = false;
    OK(sop_db_open(&kit.db, kit.dir.path, &ro, &kit.err), kit.err);
}
END_TEST

/* ---- durability ----------------------------------------------------------------------------
 */

START_TEST(weaker_durabilities_say_so)
{
    struct sop_commit done;
    options.manual = true;
    options.durability = _i == 0 ? SOP_DURABLE_INTERVAL : SOP_DURABLE_NONE;
    open_it();
    db_kit_store(&kit, "s", NULL);
    OK(sop_db_sync(kit.db, &kit.err), kit.err);
    ck_assert_int_eq(stats_of(&kit).durability, options.durability);
    ck_assert_int_eq(lsn_cmp(stats_of(&kit).durable, stats_of(&kit).head), 0);
    for (int way = 0; way < 3; way++) {
        uint64_t syncs = stats_of(&kit).syncs;
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_entry e = entry(numbered((unsigned)way), "v");
        OK(sop_upsert(db_kit_open(&kit, t, "s"), &e, &kit.err), kit.err);
        OK(sop_txn_commit(&t, &done, &kit.err), kit.err);
        ck_assert_int_eq(done.durable, options.durability);
        ck_assert_uint_eq(stats_of(&kit).syncs, syncs);
        ck_assert_int_lt(lsn_cmp(stats_of(&kit).durable, done.lsn), 0);
        if (way == 0) {
            OK(sop_db_sync(kit.db, &kit.err), kit.err);
        } else if (way == 1) {
            OK(sop_maintain(kit.db, &kit.err), kit.err);
        } else {
            OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        }
        bool expected = way != 1 || options.durability == SOP_DURABLE_INTERVAL;
        ck_assert_int_eq(lsn_cmp(stats_of(&kit).durable, done.lsn) >= 0, expected);
    }
    sop_db_abandon(&kit.db); /* kill -9 loses nothing */
    open_it();
    ck_assert_uint_eq(db_kit_count(&kit, "s"), 3);
    db_kit_verify(&kit);
}
END_TEST

/* ---- maintenance ---------------------------------------------------------------------------
 */

START_TEST(checkpoints_shorten_the_next_opening)
{
    options.manual = true;
    options.checkpoint_bytes = MIB;
    open_it();
    db_kit_store(&kit, "s", NULL);
    for (unsigned i = 0; i < 30; i++) {
        db_kit_put(&kit, "s", numbered(i), "v");
    }
    ck_assert_uint_gt(stats_of(&kit).journal_bytes, 0);
    struct sop_lsn before = stats_of(&kit).checkpoint;
    sop_db_abandon(&kit.db);
    open_it();
    ck_assert_uint_ge(stats_of(&kit).open_records, 30);
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    ck_assert_int_gt(lsn_cmp(stats_of(&kit).checkpoint, before), 0);
    ck_assert_uint_eq(stats_of(&kit).checkpoints, 1);
    sop_db_abandon(&kit.db);
    open_it();
    ck_assert_uint_lt(stats_of(&kit).open_records, 5);
    ck_assert_uint_gt(stats_of(&kit).open_ns, 0);
    char *value = (char *)filler(3000, 1);
    for (int i = 0; i < 3000; i++) {
        value[i] = (char)('a' + (unsigned char)value[i] % 26);
    }
    value[3000] = 0;
    for (unsigned i = 0; i < 600; i++) { /* due by journal bytes; also made by maintain only */
        db_kit_put(&kit, "s", numbered(i), value);
        if (i % 100 == 99) {
            OK(sop_maintain(kit.db, &kit.err), kit.err);
        }
    }
    free(value);
    ck_assert_uint_ge(stats_of(&kit).checkpoints, 1);
    ck_assert_uint_lt(stats_of(&kit).journal_bytes, 2u * MIB);
    struct sop_db_stats s = stats_of(&kit);
    ck_assert_uint_eq(s.size, sizeof s);
    ck_assert_uint_eq(s.commits, 600);
    ck_assert_uint_ge(s.batches, 600);
    ck_assert_uint_gt(s.volume_bytes, 0);
    ck_assert_uint_gt(s.pages, 1);
    db_kit_verify(&kit);
}
END_TEST

START_TEST(compaction_gives_space_back)
{
    open_it();
    struct sop_store_options so;
    sop_store_options_init(&so);
    so.values = SOP_VALUES_MEDIUM;
    db_kit_store(&kit, "s", &so);
    uint8_t *value = filler(100000, 5);
    for (unsigned round = 0; round < 2; round++) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "s");
        for (unsigned i = 0; i < 200; i++) {
            struct sop_entry e = {.key = text(numbered(i)), .value = bytes(value, 100000)};
            value[0] = (uint8_t)i;
            OK(sop_upsert(s, &e, &kit.err), kit.err);
        }
        db_kit_commit(&kit, t);
    }
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (unsigned i = 0; i < 200; i++) {
        if (i % 10 != 0) {
            OK(sop_remove(s, text(numbered(i)), &kit.err), kit.err);
        }
    }
    db_kit_commit(&kit, t);
    uint64_t before = stats_of(&kit).pack_bytes;
    ck_assert_uint_gt(before, 38000000);
    ck_assert_uint_lt(stats_of(&kit).pack_live_bytes, 3000000);
    struct sop_snapshot *pin = NULL;
    OK(sop_snapshot_pin(&pin, kit.db, &kit.err), kit.err);
    for (int i = 0; i < 3; i++) {
        OK(sop_db_compact(kit.db, &kit.err), kit.err);
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    }
    sop_snapshot_release(&pin);
    for (int i = 0; i < 3; i++) {
        OK(sop_db_compact(kit.db, &kit.err), kit.err);
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    }
    ck_assert_uint_lt(stats_of(&kit).pack_bytes, 6000000);
    db_kit_verify(&kit);
    db_kit_reopen(&kit);
    t = db_kit_begin(&kit, SOP_READ);
    s = db_kit_open(&kit, t, "s");
    for (unsigned i = 0; i < 200; i += 10) {
        struct sop_view v;
        OK(sop_get(s, text(numbered(i)), &v, &kit.err), kit.err);
        value[0] = (uint8_t)i;
        ck_assert_uint_eq(v.value.len, 100000);
        ck_assert_mem_eq(v.value.data, value, 100000);
    }
    db_kit_commit(&kit, t);
    free(value);
}
END_TEST

/* ---- limits --------------------------------------------------------------------------------
 */

static int put_some(unsigned first, const uint8_t *value)
{
    struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
    struct sop_store *s = db_kit_open(&kit, t, "s");
    for (unsigned i = first; i < first + 10; i++) {
        struct sop_entry e = {.key = text(numbered(i)), .value = bytes(value, 50000)};
        OK(sop_upsert(s, &e, &kit.err), kit.err);
    }
    return sop_txn_commit(&t, NULL, &kit.err);
}

START_TEST(quota_stops_growth_not_deletes)
{
    options.manual = true;
    options.max_bytes = 24u * MIB;
    open_it();
    db_kit_store(&kit, "s", NULL);
    close_it();
    options.max_bytes = 0; /* as at creation */
    open_it();
    uint8_t *value = filler(50000, 9);
    int rc = 0;
    unsigned n = 0;
    for (; rc == 0 && n < 2000; n += rc == 0 ? 10 : 0) {
        rc = put_some(n, value);
        OK(rc == 0 ? sop_maintain(kit.db, &kit.err) : 0, kit.err);
    }
    ck_assert_int_eq(rc, SOP_ERR_QUOTA);
    ck_assert_uint_gt(n, 50);
    ck_assert_uint_lt(stats_of(&kit).volume_bytes, 26u * MIB);
    ck_assert_uint_eq(db_kit_count(&kit, "s"), n);
    for (unsigned i = 0; i < n; i += 10) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        for (unsigned k = i; k < i + 10; k++) {
            OK(sop_remove(db_kit_open(&kit, t, "s"), text(numbered(k)), &kit.err), kit.err);
        }
        db_kit_commit(&kit, t);
    }
    for (int i = 0; i < 4; i++) {
        OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
        OK(sop_db_compact(kit.db, &kit.err), kit.err);
        OK(sop_maintain(kit.db, &kit.err), kit.err);
    }
    OK(put_some(0, value), kit.err); /* there is room again */
    free(value);
    db_kit_verify(&kit);
    close_it();
    options.max_bytes = 100u * MIB; /* an opening may have its own */
    open_it();
    db_kit_put(&kit, "s", "k", "v");
}
END_TEST

START_TEST(more_data_than_cache)
{
    options.manual = true;
    options.cache_bytes = 8u * MIB;
    open_it();
    struct sop_store_options so;
    sop_store_options_init(&so);
    so.slot_length = 200;
    db_kit_store(&kit, "s", &so);
    uint8_t *value = filler(1000, 11);
    const unsigned count = 30000;
    for (unsigned i = 0; i < count;) {
        struct sop_txn *t = db_kit_begin(&kit, SOP_WRITE);
        struct sop_store *s = db_kit_open(&kit, t, "s");
        for (unsigned k = 0; k < 1000; k++, i++) {
            struct sop_entry e = {.key = text(numbered(i * 7919u % count)),
                                  .value = bytes(value, 1000)};
            OK(sop_add(s, &e, &kit.err), kit.err);
        }
        db_kit_commit(&kit, t);
        OK(sop_maintain(kit.db, &kit.err), kit.err);
    }
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    struct sop_db_stats s = stats_of(&kit);
    ck_assert_uint_eq(s.cache_budget_bytes, 8u * MIB);
    ck_assert_uint_gt(s.cache_evictions, 0);
    for (int round = 0; round < 2; round++) {
        unsigned seen = 0;
        size_t n = 0;
        struct sop_view views[100];
        struct sop_range *r = NULL;
        struct sop_txn *t = db_kit_begin(&kit, SOP_READ);
        OK(sop_range_open(&r, db_kit_open(&kit, t, "s"), NULL, &kit.err), kit.err);
        do {
            OK(sop_range_next(r, views, 100, &n, &kit.err), kit.err);
            for (size_t i = 0; i < n; i++, seen++) {
                const char *key = numbered(seen);
                if (!is(views[i].key, key) || memcmp(views[i].value.data, value, 1000) != 0) {
                    ck_abort_msg("item %u", seen);
                }
            }
        } while (n > 0);
        ck_assert_uint_eq(seen, count);
        db_kit_commit(&kit, t);
        OK(sop_maintain(kit.db, &kit.err), kit.err);
        s = stats_of(&kit);
        ck_assert_uint_le(s.cache_used_bytes, s.cache_budget_bytes + MIB);
        ck_assert_uint_gt(s.cache_misses, 0);
        db_kit_reopen(&kit);
        close_it();
        open_it();
    }
    free(value);
    db_kit_verify(&kit);
}
END_TEST

/* ---- destroying ----------------------------------------------------------------------------
 */

START_TEST(destroyed_is_gone)
{
    char path[600];
    FAILS(NOT_A_DATABASE, sop_db_destroy(kit.dir.path, &kit.err), kit.err);
    FAILS(NOT_A_DATABASE, sop_db_destroy(in_folder("absent"), &kit.err), kit.err);
    FAILS(INVALID, sop_db_destroy(NULL, &kit.err), kit.err);
    FAILS(INVALID, sop_db_destroy("", &kit.err), kit.err);
    open_it();
    db_kit_store(&kit, "s", NULL);
    uint8_t *value = filler(50000, 1);
    OK(put_some(0, value), kit.err);
    free(value);
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
    close_it();
    write_at("ballast", 0, "x", 1); /* what a database may have */
    write_at("mine.txt", 0, "x", 1);
    OK(sop_db_destroy(kit.dir.path, &kit.err), kit.err);
    struct stat st;
    ck_assert_int_eq(stat(in_folder("mine.txt"), &st), 0); /* only its own files */
    ck_assert_int_eq(unlink(in_folder("mine.txt")), 0);
    (void)snprintf(path, sizeof path, "%s", kit.dir.path);
    ck_assert_int_eq(rmdir(path), 0); /* nothing is left */
    open_it();
    ck_assert_uint_eq(stats_of(&kit).stores, 0);
}
END_TEST

/* A program of an older release gets what it knows, and not a byte more. */
START_TEST(statistics_are_as_long_as_the_caller_says)
{
    struct {
        struct sop_db_stats stats;
        uint8_t behind[64];
    } room;
    const size_t all = sizeof(struct sop_db_stats);
    const size_t first = offsetof(struct sop_db_stats, checkpoints_damaged);
    const size_t wrong[] = {0, 1, first - 1, all + 1, SIZE_MAX};
    open_it();
    db_kit_store(&kit, "s", NULL);
    for (size_t size = first; size <= all; size += 8) {
        memset(&room, 0xa5, sizeof room);
        room.stats.size = size;
        OK(sop_db_stats(kit.db, &room.stats, &kit.err), kit.err);
        ck_assert_uint_eq(room.stats.size, size);
        ck_assert_uint_eq(room.stats.stores, 1);
        for (size_t i = size; i < sizeof room; i++) {
            ck_assert_uint_eq(((const uint8_t *)&room)[i], 0xa5);
        }
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        memset(&room, 0xa5, sizeof room);
        room.stats.size = wrong[i];
        FAILS(INVALID, sop_db_stats(kit.db, &room.stats, &kit.err), kit.err);
        ck_assert_uint_eq(room.stats.size, wrong[i]);
        for (size_t k = sizeof room.stats.size; k < sizeof room; k++) {
            ck_assert_uint_eq(((const uint8_t *)&room)[k], 0xa5);
        }
    }
}
END_TEST

START_TEST(closed_handles_are_refused)
{
    struct sop_db_stats s = {.size = sizeof s};
    struct sop_snapshot *p = NULL;
    FAILS(CLOSED, sop_db_stats(NULL, &s, &kit.err), kit.err);
    FAILS(CLOSED, sop_maintain(NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_db_checkpoint(NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_db_sync(NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_db_compact(NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_db_refresh(NULL, &kit.err), kit.err);
    FAILS(CLOSED, sop_snapshot_pin(&p, NULL, &kit.err), kit.err);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("database");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 300);
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, what_is_no_database_is_not_opened);
    tcase_add_loop_test(all, a_lost_identity_file_is_no_empty_folder, 0, 2);
    tcase_add_loop_test(all, wrong_identity_files, 0, 2);
    tcase_add_test(all, bad_options_are_refused);
    tcase_add_test(all, a_second_opener_is_told_who_has_it);
    tcase_add_test(all, a_folder_by_another_name_is_the_same_database);
    tcase_add_test(all, a_takeover_stops_the_old_owner);
    tcase_add_test(all, several_databases_in_one_process);
    tcase_add_loop_test(all, handles_are_of_no_use_in_a_forked_child, 0, 2);
    tcase_add_test(all, readers_beside_a_writer_refresh);
    tcase_add_loop_test(all, weaker_durabilities_say_so, 0, 2);
    tcase_add_test(all, checkpoints_shorten_the_next_opening);
    tcase_add_test(all, compaction_gives_space_back);
    tcase_add_test(all, quota_stops_growth_not_deletes);
    tcase_add_test(all, more_data_than_cache);
    tcase_add_test(all, destroyed_is_gone);
    tcase_add_test(all, statistics_are_as_long_as_the_caller_says);
    tcase_add_test(all, closed_handles_are_refused);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
