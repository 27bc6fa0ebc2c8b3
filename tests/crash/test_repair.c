/* A gate is damaged: no opening succeeds until it is repaired, and repair mends it exactly when
 * its directory was never given up and nobody has the database. On the simulated volume: every
 * kind of damage, databases with one and with many directories and checkpoints, killed and
 * closed; repairs that are cut off, fail or run out of memory at each step; and directories
 * that are being removed, of which no gate must ever look alive again. */
#include "engine/chain/format.h"
#include "engine/db/db_int.h"
#include "engine/volume/fault.h"
#include "engine/volume/sim.h"
#include "tests/lib/api_kit.h"
#include "tests/lib/oom.h"

#include <errno.h>

#define DIR_SLOTS 4u /* two openings to a directory */
#define PATH_SIZE 256

enum damage { FLIPPED_FIRST, FLIPPED_LAST, TORN, ZEROS, GARBAGE, EMPTY, CUT, MISSING, DAMAGES };
enum how { CLOSED, KILLED, HOWS };

static struct sop_volume *whole, *disk;
static struct db_kit kit;
static unsigned items;
static char told[4096];
static struct sop_repair_result result;

static int try_open(bool read_only)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = !read_only;
    o.read_only = read_only;
    o.manual = true;
    return sop_db_open_on(&kit.db, disk, sop_env_system(), &o, DIR_SLOTS, &kit.err);
}

static void end(enum how how)
{
    if (how == CLOSED) {
        OK(sop_db_close(&kit.db, &kit.err), kit.err);
    } else {
        sop_db_abandon(&kit.db);
    }
}

/* `openings` of it, each with a few items; a checkpoint in those that `checkpoints` has as
 * bits. */
static void make_database(unsigned openings, unsigned checkpoints, enum how how)
{
    items = 0;
    OK(sop_volume_sim_new(&whole, &kit.err), kit.err);
    disk = whole;
    for (unsigned i = 0; i < openings; i++) {
        OK(try_open(false), kit.err);
        if (i == 0) {
            db_kit_store(&kit, "s", NULL);
        }
        for (unsigned n = 0; n < 20; n++) {
            db_kit_put(&kit, "s", numbered(items++), "value");
            if (n == 10 && (checkpoints >> i & 1) != 0) {
                OK(sop_db_checkpoint(kit.db, &kit.err), kit.err);
            }
        }
        end(how);
    }
}

static void copy_disk(void)
{
    OK(sop_volume_sim_copy(whole, &disk, &kit.err), kit.err);
}

/* --- gates --- */

struct dirs {
    char name[16][SOP_CHAIN_DIR_BYTES]; /* by number */
    unsigned newest;
};

static int note_dir(void *arg, const char *name, struct sop_err *err)
{
    struct dirs *d = arg;
    unsigned number = (unsigned)strtoul(name + 1, NULL, 10);
    (void)err;
    ck_assert_uint_lt(number, SOP_ARRAY_LEN(d->name));
    (void)snprintf(d->name[number], sizeof d->name[number], "%s", name);
    d->newest = number > d->newest ? number : d->newest;
    return 0;
}

static struct dirs dirs_of(struct sop_volume *v)
{
    struct dirs d = {.newest = 0};
    OK(sop_volume_list(v, "chain", note_dir, &d, &kit.err), kit.err);
    return d;
}

/* 0 = the newest directory. */
static void gate_of(unsigned number, char path[PATH_SIZE])
{
    struct dirs d = dirs_of(disk);
    number = number == 0 ? d.newest : number;
    ck_assert_msg(d.name[number][0] != 0, "no directory %u", number);
    (void)snprintf(path, PATH_SIZE, "chain/%s/GATE", d.name[number]);
}

static void overwrite(const char *path, uint64_t at, const void *from, size_t len)
{
    struct sop_file *f;
    OK(sop_file_open(disk, path, SOP_OPEN_WRITE, &f, &kit.err), kit.err);
    OK(sop_file_write(f, at, from, len, &kit.err), kit.err);
    OK(sop_file_sync(f, &kit.err), kit.err);
    sop_file_close(f);
}

static void damage_gate(const char *path, enum damage how)
{
    uint8_t *noise = filler(SOP_BLOCK_BYTES, 7);
    switch (how) {
    case FLIPPED_FIRST:
        OK(sop_volume_sim_flip(disk, path, 3, &kit.err), kit.err);
        break;
    case FLIPPED_LAST:
        OK(sop_volume_sim_flip(disk, path, 8 * SOP_BLOCK_BYTES - 1, &kit.err), kit.err);
        break;
    case TORN:
        overwrite(path, 1024, noise, 512);
        break;
    case ZEROS:
        memset(noise, 0, SOP_BLOCK_BYTES);
        overwrite(path, 0, noise, SOP_BLOCK_BYTES);
        break;
    case GARBAGE:
        overwrite(path, 0, noise, SOP_BLOCK_BYTES);
        break;
    case EMPTY:
    case CUT:
        OK(sop_volume_sim_truncate(disk, path, how == EMPTY ? 0 : 1000, &kit.err), kit.err);
        break;
    default:
        OK(sop_volume_unlink(disk, path, &kit.err), kit.err);
    }
    free(noise);
}

static void read_gate(const char *path, uint8_t block[SOP_BLOCK_BYTES])
{
    struct sop_file *f;
    memset(block, 0, SOP_BLOCK_BYTES);
    if (sop_file_open(disk, path, SOP_OPEN_READ, &f, NULL) == 0) {
        (void)sop_file_read(f, 0, block, SOP_BLOCK_BYTES, NULL, NULL);
        sop_file_close(f);
    }
}

static bool is_live(const char *path)
{
    static uint8_t block[SOP_BLOCK_BYTES];
    read_gate(path, block);
    for (size_t at = 0; at < SOP_BLOCK_BYTES; at += SOP_FLAG_UNIT_BYTES) {
        if (memcmp(block + at, "SOPLIVE\n", 8) != 0) {
            return false;
        }
    }
    return true;
}

/* --- repairs --- */

static void note(void *arg, int severity, const char *line)
{
    size_t used = strlen(told);
    (void)arg;
    (void)snprintf(told + used, sizeof told - used, "%d %s\n", severity, line);
}

static struct sop_env *env;
static const char *host = "here";

static int repair_on(struct sop_volume *v, bool dry_run)
{
    struct sop_db_repair_call call = {.volume = v,
                                      .env = env != NULL ? env : sop_env_system(),
                                      .host = host,
                                      .dry_run = dry_run,
                                      .report = note};
    told[0] = 0;
    memset(&kit.err, 0, sizeof kit.err);
    return sop_db__repair(&call, &result, &kit.err);
}

static int repair(void)
{
    return repair_on(disk, false);
}

static void opening_fails(void)
{
    for (int read_only = 0; read_only < 2; read_only++) {
        FAILS(DATA_LOSS, try_open(read_only == 1), kit.err);
        ck_assert_msg(strstr(kit.err.text, "/GATE") != NULL, "%s", kit.err.text);
        ck_assert_msg(strstr(kit.err.text, "sopctl repair") != NULL, "%s", kit.err.text);
    }
}

static void check_database(void)
{
    ck_assert_uint_eq(db_kit_count(&kit, "s"), items);
    for (unsigned i = 0; i < items; i++) {
        IS(text(db_kit_read(&kit, "s", numbered(i))), "value");
    }
    db_kit_verify(&kit);
}

static void opens_and_is_whole(void)
{
    OK(try_open(false), kit.err);
    check_database();
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    OK(try_open(true), kit.err);
    check_database();
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
}

/* Some databases: openings and, as bits, which of them wrote checkpoints. */
static const struct {
    unsigned openings, checkpoints;
} shapes[] = {{1, 0}, {1, 1}, {3, 0}, {4, 3}, {6, 0x24}, {9, 0x1ff}};
#define SHAPES ((int)SOP_ARRAY_LEN(shapes))

START_TEST(every_damage_of_the_newest_gate_is_mended)
{
    char path[PATH_SIZE];
    for (enum how how = CLOSED; how < HOWS; how++) {
        make_database(shapes[_i].openings, shapes[_i].checkpoints, how);
        for (enum damage d = FLIPPED_FIRST; d < DAMAGES; d++) {
            copy_disk();
            gate_of(0, path);
            OK(repair(), kit.err);
            ck_assert_uint_eq(result.damaged, 0);
            damage_gate(path, d);
            opening_fails();
            FAILS(DATA_LOSS, repair_on(disk, true), kit.err);
            ck_assert_uint_eq(result.damaged, 1);
            ck_assert_uint_eq(result.repaired, 0);
            ck_assert_msg(strstr(told, path) != NULL, "%s", told);
            opening_fails();
            OK(repair(), kit.err);
            ck_assert_uint_eq(result.damaged, 1);
            ck_assert_uint_eq(result.repaired, 1);
            ck_assert(is_live(path));
            opens_and_is_whole();
            OK(repair(), kit.err);
            ck_assert_uint_eq(result.damaged, 0);
            sop_volume_destroy(disk);
        }
        sop_volume_destroy(whole);
    }
}
END_TEST

/* A directory that history has left by a ROLL and that an opening still follows: one checkpoint
 * lies in it or before it. */
START_TEST(gates_on_the_way_are_mended)
{
    char first[PATH_SIZE];
    char second[PATH_SIZE];
    char last[PATH_SIZE];
    static const unsigned checkpoints[] = {0, 1, 0x10, 0x18};
    make_database(6, checkpoints[_i], CLOSED);
    for (enum damage d = FLIPPED_FIRST; d < DAMAGES; d++) {
        copy_disk();
        gate_of(0, last);
        gate_of(2, second);
        damage_gate(second, d);
        damage_gate(last, (enum damage)((d + 1) % DAMAGES));
        unsigned damaged = 2;
        if (checkpoints[_i] != 0x18) { /* then it is truncated */
            gate_of(1, first);
            damage_gate(first, d);
            damaged = 3;
        }
        opening_fails();
        OK(repair(), kit.err);
        ck_assert_msg(result.repaired == damaged, "%s", told);
        opens_and_is_whole();
        sop_volume_destroy(disk);
    }
    sop_volume_destroy(whole);
}
END_TEST

/* The newest checkpoint begins behind it; only a fall-back to the older one would need it. */
START_TEST(a_gate_that_only_the_older_checkpoint_needs_is_mended)
{
    char path[PATH_SIZE];
    make_database(6, 0x24, CLOSED);
    copy_disk();
    gate_of(2, path);
    damage_gate(path, GARBAGE);
    OK(repair(), kit.err);
    ck_assert_uint_eq(result.repaired, 1);
    opens_and_is_whole();
    sop_volume_destroy(disk);
    sop_volume_destroy(whole);
}
END_TEST

/* --- what is not mended --- */

static void is_refused(const char *path, const char *why)
{
    uint8_t before[SOP_BLOCK_BYTES];
    uint8_t after[SOP_BLOCK_BYTES];
    read_gate(path, before);
    FAILS(DATA_LOSS, repair(), kit.err);
    ck_assert_msg(strstr(kit.err.text, why) != NULL, "%s", kit.err.text);
    ck_assert_uint_eq(result.repaired, 0);
    read_gate(path, after);
    ck_assert(memcmp(before, after, sizeof before) == 0);
    ck_assert(!is_live(path));
    ck_assert_int_ne(try_open(false), 0);
}

START_TEST(a_killed_gate_stays_dead)
{
    char path[PATH_SIZE];
    uint8_t dead[SOP_BLOCK_BYTES];
    sop_flag_dead_pattern(dead);
    make_database(4, 3, CLOSED);
    static const size_t parts[] = {SOP_BLOCK_BYTES, 512, SOP_FLAG_UNIT_BYTES};
    for (size_t i = 0; i < SOP_ARRAY_LEN(parts); i++) {
        for (enum damage d = FLIPPED_FIRST; d < MISSING; d++) {
            copy_disk();
            gate_of(0, path);
            damage_gate(path, d);
            overwrite(path, 2048, dead, SOP_BLOCK_BYTES - 2048);
            overwrite(path, 0, dead, parts[i]);
            if (d == FLIPPED_LAST) { /* of a kill that is damaged itself */
                damage_gate(path, d);
            }
            is_refused(path, "killed");
            sop_volume_destroy(disk);
        }
    }
    sop_volume_destroy(whole);
}
END_TEST

static char last_name[64];

static int note_last(void *arg, const char *name, struct sop_err *err)
{
    (void)arg;
    (void)err;
    if (strlen(name) == 16 && strcmp(name, last_name) > 0) {
        (void)snprintf(last_name, sizeof last_name, "%s", name);
    }
    return 0;
}

/* Removes the newest slot of a directory. */
static void lose_slot(unsigned number)
{
    struct dirs d = dirs_of(disk);
    char path[PATH_SIZE];
    number = number == 0 ? d.newest : number;
    (void)snprintf(path, sizeof path, "chain/%s", d.name[number]);
    last_name[0] = 0;
    OK(sop_volume_list(disk, path, note_last, NULL, &kit.err), kit.err);
    (void)snprintf(path, sizeof path, "chain/%s/%s", d.name[number], last_name);
    OK(sop_volume_unlink(disk, path, &kit.err), kit.err);
}

/* History must be whole: a directory that lost a slot may be one that is being removed. */
START_TEST(damage_beside_the_gate_is_not_painted_over)
{
    char path[PATH_SIZE];
    make_database(4, 0, CLOSED);
    for (unsigned number = 0; number < 2; number++) {
        copy_disk();
        gate_of(number, path);
        damage_gate(path, GARBAGE);
        lose_slot(number);
        is_refused(path, "is missing");
        sop_volume_destroy(disk);
    }
    sop_volume_destroy(whole);
}
END_TEST

static int remove_name(void *arg, const char *name, struct sop_err *err)
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof path, "checkpoints/%s", name);
    (void)arg;
    return sop_volume_unlink(disk, path, err);
}

static void remove_newest_manifest(void)
{
    struct sop_manifest_name *names = NULL;
    size_t count = 0;
    char name[96];
    OK(sop_manifest_list(disk, &names, &count, &kit.err), kit.err);
    ck_assert_uint_eq(count, SOP_CHECKPOINTS_KEPT);
    (void)snprintf(name, sizeof name, "%016" PRIx64 "-%016" PRIx64 "-%" PRIx64,
                   names[0].lsn.slot, names[0].lsn.record, names[0].member);
    OK(remove_name(NULL, name, &kit.err), kit.err);
    sop_free(names);
}

/* Nothing of history is missing, and yet two checkpoints may have had the directory truncated:
 * its gate may be one that was killed, and rotted afterwards. With one of the two at hand the
 * other one alone could not have. */
START_TEST(what_checkpoints_may_have_truncated_stays_dead)
{
    char path[PATH_SIZE];
    make_database(4, 3, CLOSED);
    copy_disk();
    gate_of(1, path);
    damage_gate(path, GARBAGE);
    OK(sop_volume_list(disk, "checkpoints", remove_name, NULL, &kit.err), kit.err);
    is_refused(path, "two checkpoints");
    sop_volume_destroy(disk);
    copy_disk();
    damage_gate(path, GARBAGE);
    remove_newest_manifest();
    OK(repair(), kit.err);
    ck_assert_uint_eq(result.repaired, 1);
    OK(try_open(false), kit.err);
    OK(sop_db_checkpoint(kit.db, &kit.err), kit.err); /* instead of the one that is lost */
    OK(sop_db_close(&kit.db, &kit.err), kit.err);
    opens_and_is_whole();
    sop_volume_destroy(disk);
    sop_volume_destroy(whole);
}
END_TEST

/* A trim is stopped at each removal of a name; whatever it left, and whatever rots in it
 * afterwards, even with all checkpoints that explain it: no gate comes to life. */
static struct sop_volume *stopped;

static void take_copy(void *arg)
{
    OK(sop_volume_sim_copy(arg, &stopped, &kit.err), kit.err);
}

/* Directories whose gate is not live are given up; damages those gates. How many? */
static unsigned damage_dead_gates(struct dirs *given_up)
{
    struct dirs d = dirs_of(disk);
    char path[PATH_SIZE];
    unsigned count = 0;
    memset(given_up, 0, sizeof *given_up);
    for (unsigned i = 1; i <= d.newest; i++) {
        (void)snprintf(path, sizeof path, "chain/%s/GATE", d.name[i]);
        struct sop_stat st = {.kind = SOP_FILE_ABSENT};
        if (d.name[i][0] != 0) {
            OK(sop_volume_stat(disk, path, &st, &kit.err), kit.err);
        }
        if (st.kind != SOP_FILE_ABSENT && !is_live(path)) {
            damage_gate(path, GARBAGE);
            memcpy(given_up->name[i], d.name[i], sizeof d.name[i]);
            count++;
        }
    }
    return count;
}

static void none_is_live(const struct dirs *given_up)
{
    char path[PATH_SIZE];
    for (unsigned i = 0; i < SOP_ARRAY_LEN(given_up->name); i++) {
        if (given_up->name[i][0] != 0) {
            (void)snprintf(path, sizeof path, "chain/%s/GATE", given_up->name[i]);
            ck_assert_msg(!is_live(path), "%s came to life", path);
        }
    }
}

/* false: the checkpoint was not stopped. */
static bool stop_a_trim_at(uint64_t n)
{
    struct sop_volume *faulty;
    copy_disk();
    struct sop_volume *under = disk;
    OK(sop_volume_fault_new(under, &faulty, &kit.err), kit.err);
    disk = faulty;
    OK(try_open(false), kit.err);
    struct sop_fault_plan plan = {.ops = SOP_FAULT_BIT(SOP_FAULT_UNLINK) |
                                         SOP_FAULT_BIT(SOP_FAULT_RMDIR),
                                  .at = n,
                                  .sys = EIO,
                                  .stop = take_copy,
                                  .arg = under};
    stopped = NULL;
    sop_volume_fault_set(faulty, &plan);
    int rc = sop_db_checkpoint(kit.db, &kit.err);
    ck_assert(rc == 0 || stopped != NULL);
    sop_db_abandon(&kit.db);
    sop_volume_destroy(faulty);
    sop_volume_destroy(under);
    return stopped != NULL;
}

START_TEST(directories_that_are_being_removed_stay_dead)
{
    unsigned seen = 0;
    make_database(7, 0x40, CLOSED);
    for (uint64_t n = 0; stop_a_trim_at(n); n++) {
        struct dirs given_up;
        disk = stopped;
        unsigned count = damage_dead_gates(&given_up);
        seen += count;
        OK(repair(), kit.err); /* no opening asks them */
        ck_assert_uint_eq(result.damaged, 0);
        none_is_live(&given_up);
        struct sop_volume *before = stopped;
        OK(sop_volume_sim_copy(before, &disk, &kit.err), kit.err);
        opens_and_is_whole();
        sop_volume_destroy(disk);
        disk = before;
        OK(sop_volume_list(disk, "checkpoints", remove_name, NULL, &kit.err), kit.err);
        int rc = repair();
        ck_assert_msg(count == 0 || rc == SOP_ERR_DATA_LOSS, "%s", told);
        ck_assert_uint_eq(result.repaired, 0);
        none_is_live(&given_up);
        sop_volume_destroy(disk);
    }
    ck_assert_uint_gt(seen, 0);
    sop_volume_destroy(whole);
}
END_TEST

/* --- somebody is there --- */

static void is_busy(const char *path)
{
    FAILS(BUSY, repair(), kit.err);
    FAILS(BUSY, repair_on(disk, true), kit.err);
    ck_assert_uint_eq(result.repaired, 0);
    ck_assert(!is_live(path));
}

/* _i: seen in the table of this process; seen by its lock alone. */
START_TEST(an_owner_is_left_alone)
{
    char path[PATH_SIZE];
    struct sop_db_options o;
    make_database(3, 1, KILLED);
    copy_disk();
    sop_db_options_init(&o);
    o.manual = true;
    o.ignore_lock = _i == 1; /* such an opening is not in the table */
    OK(sop_db_open_on(&kit.db, disk, sop_env_system(), &o, DIR_SLOTS, &kit.err), kit.err);
    gate_of(0, path);
    damage_gate(path, GARBAGE);
    is_busy(path);
    db_kit_put(&kit, "s", numbered(items++), "value"); /* it goes on, and its lock holds */
    is_busy(path);
    sop_db_abandon(&kit.db);
    OK(repair(), kit.err);
    opens_and_is_whole();
    sop_volume_destroy(disk);
    sop_volume_destroy(whole);
}
END_TEST

/* It has its folder and lock, and has not joined yet. */
START_TEST(somebody_who_is_opening_is_left_alone)
{
    static const char folder[] = "members/00112233445566778899aabbccddeeff";
    char path[PATH_SIZE];
    char lock[PATH_SIZE];
    struct sop_file *f;
    make_database(3, 1, CLOSED);
    copy_disk();
    (void)snprintf(lock, sizeof lock, "%s/lock", folder);
    OK(sop_volume_mkdir(disk, folder, &kit.err), kit.err);
    OK(sop_file_open(disk, lock, SOP_OPEN_WRITE | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE, &f,
                     &kit.err),
       kit.err);
    OK(sop_file_lock(f, &kit.err), kit.err);
    gate_of(0, path);
    damage_gate(path, ZEROS);
    is_busy(path);
    sop_file_close(f);
    OK(repair(), kit.err);
    opens_and_is_whole();
    sop_volume_destroy(disk);
    sop_volume_destroy(whole);
}
END_TEST

/* A repair keeps others out: an opening, and a second repair. */
static int open_meanwhile(struct sop_volume *v)
{
    struct sop_db *db = NULL;
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.manual = true;
    int rc = sop_db_open_on(&db, v, sop_env_system(), &o, DIR_SLOTS, NULL);
    if (rc == 0) {
        sop_db_abandon(&db);
    }
    return rc;
}

static int opened_meanwhile, repaired_meanwhile;

static void intrude(void *arg)
{
    struct sop_db_repair_call call = {.volume = arg, .env = sop_env_system(), .host = "here"};
    struct sop_repair_result r;
    opened_meanwhile = open_meanwhile(arg);
    repaired_meanwhile = sop_db__repair(&call, &r, NULL);
}

START_TEST(a_repair_keeps_others_out)
{
    char path[PATH_SIZE];
    struct sop_volume *faulty;
    make_database(3, 1, CLOSED);
    copy_disk();
    gate_of(0, path);
    damage_gate(path, ZEROS);
    OK(sop_volume_fault_new(disk, &faulty, &kit.err), kit.err);
    struct sop_fault_plan plan = {.ops = SOP_FAULT_BIT(SOP_FAULT_SYNC), /* it is live already */
                                  .sys = EIO,
                                  .stop = intrude,
                                  .arg = disk};
    sop_volume_fault_set(faulty, &plan);
    FAILS(IO, repair_on(faulty, false), kit.err);
    ck_assert_int_eq(opened_meanwhile, SOP_ERR_BUSY);
    ck_assert_int_eq(repaired_meanwhile, SOP_ERR_BUSY);
    sop_volume_destroy(faulty);
    OK(repair(), kit.err);
    opens_and_is_whole();
    sop_volume_destroy(disk);
    sop_volume_destroy(whole);
}
END_TEST

/* --- a volume of several hosts --- */

static char beat_path[PATH_SIZE];
static bool beats;
static unsigned sleeps;

static int note_member(void *arg, const char *name, struct sop_err *err)
{
    char path[PATH_SIZE];
    struct sop_beat beat;
    uint8_t block[SOP_BLOCK_BYTES];
    uint64_t *greatest = arg;
    (void)err;
    (void)snprintf(path, sizeof path, "members/%s/beat", name);
    read_gate(path, block);
    if (sop_beat_decode(block, &beat) && beat.head.slot >= *greatest) {
        *greatest = beat.head.slot;
        (void)snprintf(beat_path, sizeof beat_path, "%s", path);
    }
    return 0;
}

static void sleep_and_beat(struct sop_env *e, uint64_t ns)
{
    uint8_t block[SOP_BLOCK_BYTES];
    struct sop_beat beat;
    (void)e;
    (void)ns;
    sleeps++;
    if (beats) {
        read_gate(beat_path, block);
        ck_assert(sop_beat_decode(block, &beat));
        beat.sequence++;
        sop_beat_encode(&beat, block);
        overwrite(beat_path, 0, block, sizeof block);
    }
}

START_TEST(beats_of_other_hosts_are_watched)
{
    char path[PATH_SIZE];
    uint64_t greatest = 0;
    struct sop_env_ops ops = *sop_env_system()->ops;
    struct sop_env other = {.ops = &ops};
    ops.sleep_ns = sleep_and_beat;
    make_database(3, 1, KILLED);
    copy_disk();
    disk->one_host = false;
    gate_of(0, path);
    damage_gate(path, GARBAGE);
    OK(sop_volume_list(disk, "members", note_member, &greatest, &kit.err), kit.err);
    env = &other;
    host = "another";
    beats = true;
    is_busy(path);
    beats = false;
    sleeps = 0;
    OK(repair(), kit.err);
    ck_assert_uint_ge(sleeps, 30);
    ck_assert(is_live(path));
    env = NULL;
    host = "here";
    opens_and_is_whole();
    sop_volume_destroy(disk);
    sop_volume_destroy(whole);
}
END_TEST

/* --- repairs that do not come to their end --- */

static unsigned crash_seed;

static void take_crash(void *arg)
{
    struct sop_sim_crash how = {.seed = crash_seed,
                                .keep_sector = 40,
                                .garble_sector = 30,
                                .keep_names = crash_seed % 2 == 0 ? 100 : 0};
    OK(sop_volume_sim_crash(arg, &how, &stopped, &kit.err), kit.err);
}

/* Repairs, stopped at operation n; what the power loss leaves is repaired again. */
static int try_at(uint64_t n)
{
    struct sop_volume *faulty;
    struct sop_fault_plan plan = {
        .ops = SOP_FAULT_ALL, .at = n, .sys = EIO, .stop = take_crash, .arg = disk};
    stopped = NULL;
    OK(sop_volume_fault_new(disk, &faulty, &kit.err), kit.err);
    sop_volume_fault_set(faulty, &plan);
    int rc = repair_on(faulty, false);
    sop_volume_destroy(faulty);
    if (stopped == NULL) {
        take_crash(disk); /* after its end nothing of it is lost */
        struct sop_volume *whole_disk = disk;
        disk = stopped;
        opens_and_is_whole();
        disk = whole_disk;
    } else {
        ck_assert_int_ne(rc, 0);
    }
    sop_volume_destroy(disk);
    disk = stopped;
    OK(repair(), kit.err);
    opens_and_is_whole();
    sop_volume_destroy(disk);
    return rc;
}

START_TEST(a_repair_that_is_cut_off_is_repeated)
{
    char path[PATH_SIZE];
    unsigned stops = 0;
    make_database(3, _i % 2 == 0 ? 0 : 3, KILLED);
    static const enum damage damages[] = {GARBAGE, EMPTY, MISSING};
    for (size_t i = 0; i < SOP_ARRAY_LEN(damages); i++) {
        int rc = -1;
        for (uint64_t n = 0; rc != 0; n++) {
            copy_disk();
            gate_of(0, path);
            damage_gate(path, damages[i]);
            OK(sop_volume_dir_sync(disk, "", &kit.err), kit.err);
            crash_seed = (unsigned)n * 7 + (unsigned)_i;
            rc = try_at(n);
            stops++;
            ck_assert_uint_lt(n, 1000);
        }
    }
    ck_assert_uint_gt(stops, 100);
    sop_volume_destroy(whole);
}
END_TEST

START_TEST(a_repair_that_fails_can_be_repeated)
{
    char path[PATH_SIZE];
    make_database(3, 1, CLOSED);
    for (enum damage d = GARBAGE; d < DAMAGES; d += MISSING - GARBAGE) {
        int rc = -1;
        for (uint64_t n = 0; rc != 0; n++) {
            struct sop_volume *faulty;
            struct sop_fault_plan plan = {.ops = SOP_FAULT_ALL,
                                          .at = n,
                                          .sys = _i == 0 ? EIO : ENOSPC,
                                          .half_write = true};
            copy_disk();
            gate_of(0, path);
            damage_gate(path, d);
            OK(sop_volume_fault_new(disk, &faulty, &kit.err), kit.err);
            sop_volume_fault_set(faulty, &plan);
            rc = repair_on(faulty, false);
            ck_assert(rc == 0 || kit.err.text[0] != 0);
            uint64_t done = sop_volume_fault_count(faulty);
            sop_volume_destroy(faulty);
            if (rc == 0 && done > n) { /* what failed was not needed */
                rc = -1;
            }
            OK(repair(), kit.err);
            opens_and_is_whole();
            sop_volume_destroy(disk);
        }
    }
    sop_volume_destroy(whole);
}
END_TEST

START_TEST(a_repair_without_memory_does_nothing)
{
    char path[PATH_SIZE];
    bool hit = true;
    make_database(3, 1, CLOSED);
    for (uint64_t n = 0; hit; n++) {
        copy_disk();
        gate_of(0, path);
        damage_gate(path, TORN);
        oom_fail_at(n);
        int rc = repair();
        hit = oom_hit();
        oom_off();
        ck_assert(rc == 0 || rc == SOP_ERR_NOMEM);
        OK(repair(), kit.err);
        opens_and_is_whole();
        sop_volume_destroy(disk);
    }
    sop_volume_destroy(whole);
}
END_TEST

START_TEST(arguments_are_checked)
{
    struct sop_repair_options o;
    FAILS(INVALID, sop_db_repair("", NULL, NULL, NULL, NULL, &kit.err), kit.err);
    memset(&o, 0, sizeof o);
    FAILS(INVALID, sop_db_repair(".", &o, NULL, NULL, NULL, &kit.err), kit.err);
    sop_repair_options_init(&o);
    FAILS(NOT_A_DATABASE, sop_db_repair("no such folder", &o, NULL, NULL, NULL, &kit.err),
          kit.err);
    OK(sop_volume_sim_new(&disk, &kit.err), kit.err);
    FAILS(NOT_A_DATABASE, repair(), kit.err);
    sop_volume_destroy(disk);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("repair");
    TCase *mended = tcase_create("mended");
    TCase *refused = tcase_create("refused");
    TCase *busy = tcase_create("busy");
    TCase *stops = tcase_create("stops");
    TCase *all[] = {mended, refused, busy, stops};
    tcase_add_loop_test(mended, every_damage_of_the_newest_gate_is_mended, 0, SHAPES);
    tcase_add_loop_test(mended, gates_on_the_way_are_mended, 0, 4);
    tcase_add_test(mended, a_gate_that_only_the_older_checkpoint_needs_is_mended);
    tcase_add_test(refused, a_killed_gate_stays_dead);
    tcase_add_test(refused, damage_beside_the_gate_is_not_painted_over);
    tcase_add_test(refused, what_checkpoints_may_have_truncated_stays_dead);
    tcase_add_test(refused, directories_that_are_being_removed_stay_dead);
    tcase_add_test(refused, arguments_are_checked);
    tcase_add_loop_test(busy, an_owner_is_left_alone, 0, 2);
    tcase_add_test(busy, somebody_who_is_opening_is_left_alone);
    tcase_add_test(busy, a_repair_keeps_others_out);
    tcase_add_test(busy, beats_of_other_hosts_are_watched);
    tcase_add_loop_test(stops, a_repair_that_is_cut_off_is_repeated, 0, 2);
    tcase_add_loop_test(stops, a_repair_that_fails_can_be_repeated, 0, 2);
    tcase_add_test(stops, a_repair_without_memory_does_nothing);
    for (size_t i = 0; i < SOP_ARRAY_LEN(all); i++) {
        tcase_set_timeout(all[i], 600);
        suite_add_tcase(s, all[i]);
    }
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
