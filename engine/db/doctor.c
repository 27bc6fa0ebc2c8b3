/* The doctor: does a volume keep the contract of docs/PROTOCOL.md section 2?
 *
 * In a temporary sub-folder child processes do what members of a database do, and the parent
 * judges by what they wrote down in shared memory:
 *
 *   names      all link() their own ticket to the same new name; one wins, and all read the
 * same ticket back (what link() answered is only a hint: replies get lost) absence    all look
 * a name up that is not there; then one makes it, and all must see it bytes      one writes and
 * syncs a block; all must read what it wrote lock       one takes the lock of a file and dies
 * with it syncs      how long they take (the parent alone)
 *
 * Steps of a round are separated by barriers, so that each rests on what came before it. A
 * child ends by itself when its time is over or the parent says so; one that does not is
 * killed. A child does nothing but call the volume, and leaves by _exit(). */
#include "engine/base/codec.h"
#include "engine/base/env.h"
#include "engine/db/db_int.h"
#include "engine/volume/posix.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES_DEFAULT 4
#define PROCESSES_MAX     64
#define ROUNDS            40
#define TIME_NS           (20ull * 1000000000)
#define GRACE_NS          (2ull * 1000000000) /* for children to notice that time is over */
#define BLOCK_BYTES       4096u
#define SYNCS_MAX         100
#define SYNCS_TIME_NS     (2ull * 1000000000) /* for each kind of sync */
#define SYNCS_BYTES       (1u << 20)
#define FAST_SYNC_NS      4000 /* no device is so fast: nothing was written to one */
#define TICKET_BYTES      64
#define PATH_BYTES        128

/* What one child saw in one round. */
struct sight {
    int linked;     /* code of link() */
    int64_t winner; /* whose ticket lies under the name; -1: could not be read */
    int absent;     /* the name was absent before it was made: 1 yes, 0 no, <0 error */
    int64_t maker;  /* who made it, as seen afterwards */
    uint64_t block; /* the number read from the block */
    int block_rc;
};

struct shared {
    _Atomic uint32_t arrived; /* at barriers, in all */
    _Atomic int stop;         /* give up */
    _Atomic uint32_t ready, finished;
    _Atomic int lock_rc;
    _Atomic int lock_may_end;
    struct sight sights[]; /* [round][process] */
};

struct doctor {
    struct sop_volume *volume;
    struct sop_env *env;
    sop_report_fn report;
    void *arg;
    unsigned processes;
    uint64_t failures;
    char folder[PATH_BYTES / 2];
    uint8_t nonce[16];
    struct shared *shared;
    size_t shared_bytes;
    uint64_t deadline_ns;
    pid_t children[PROCESSES_MAX];
    unsigned children_count;
    struct sop_err first;
};

static void find(struct doctor *d, int severity, const char *fmt, ...) SOP_PRINTF(3, 4);
static void find(struct doctor *d, int severity, const char *fmt, ...)
{
    char text[SOP_ERR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (severity == 2 && d->failures++ == 0) {
        (void)SOP_ERR(&d->first, REFUSED_VOLUME, "%s", text);
    }
    if (d->report != NULL) {
        d->report(d->arg, severity, text);
    }
}

static void path_of(const struct doctor *d, char to[PATH_BYTES], const char *kind, unsigned i)
{
    (void)snprintf(to, PATH_BYTES, "%s/%s%u", d->folder, kind, i);
}

/* ---- what a child does ---------------------------------------------------------------------
 */

static bool over(const struct doctor *d)
{
    return atomic_load(&d->shared->stop) != 0 || sop_env_mono_ns(d->env) > d->deadline_ns;
}

/* Waits until all have come `steps` times. false: time is over. */
static bool barrier(struct doctor *d, uint32_t *steps)
{
    ++*steps;
    atomic_fetch_add(&d->shared->arrived, 1);
    for (unsigned i = 0; atomic_load(&d->shared->arrived) < *steps * d->processes; i++) {
        if (i % 64 == 63 && over(d)) {
            atomic_store(&d->shared->stop, 1);
            return false;
        }
        sched_yield();
    }
    return true;
}

/* A ticket says whose it is, and in which run. */
static void ticket_make(const struct doctor *d, unsigned self, uint8_t to[TICKET_BYTES])
{
    memset(to, 0, TICKET_BYTES);
    memcpy(to, d->nonce, sizeof d->nonce);
    sop_put_u64(to + 16, self);
    sop_put_u32(to + 24, sop_crc32c(to, 24, 0));
}

/* Whose ticket lies under this name; -1: none that checks. */
static int64_t ticket_read(struct doctor *d, const char *path)
{
    struct sop_buf file = {0};
    int64_t who = -1;
    if (sop_volume_read_file(d->volume, path, TICKET_BYTES, &file, NULL) == 0 &&
        file.len == TICKET_BYTES && memcmp(file.data, d->nonce, sizeof d->nonce) == 0 &&
        sop_get_u32(file.data + 24) == sop_crc32c(file.data, 24, 0)) {
        who = (int64_t)sop_get_u64(file.data + 16);
    }
    sop_buf_fini(&file);
    return who;
}

static void race_for_name(struct doctor *d, unsigned round, const char *ticket, struct sight *s)
{
    char name[PATH_BYTES];
    path_of(d, name, "slot", round);
    s->linked = sop_volume_link(d->volume, ticket, name, NULL);
    s->winner = ticket_read(d, name);
}

static int look_for_absent(struct doctor *d, const char *name)
{
    struct sop_stat st;
    struct sop_file *f = NULL;
    int rc = sop_volume_stat(d->volume, name, &st, NULL);
    if (rc != 0 || st.kind != SOP_FILE_ABSENT) {
        return rc;
    }
    rc = sop_file_open(d->volume, name, SOP_OPEN_READ, &f, NULL);
    if (rc == 0) {
        sop_file_close(f);
    }
    return rc == 0 ? 0 : rc == SOP_ERR_NOT_FOUND ? 1 : rc;
}

static unsigned block_mode(const struct doctor *d)
{
    return d->volume->one_host ? 0 : SOP_OPEN_DIRECT; /* flag blocks of real databases, too */
}

static int write_block(struct doctor *d, uint8_t *block, uint64_t number)
{
    char path[PATH_BYTES];
    struct sop_file *f = NULL;
    path_of(d, path, "block", 0);
    for (size_t at = 0; at < BLOCK_BYTES; at += 8) {
        sop_put_u64(block + at, number);
    }
    int rc = sop_file_open(d->volume, path, SOP_OPEN_WRITE | block_mode(d), &f, NULL);
    if (rc == 0) {
        rc = sop_file_write(f, 0, block, BLOCK_BYTES, NULL);
        if (rc == 0) {
            rc = sop_file_sync(f, NULL);
        }
        sop_file_close(f);
    }
    return rc;
}

/* Reads the block through a file that has been open all the time. */
static int read_block(struct sop_file *f, uint8_t *block, uint64_t *number)
{
    int rc = sop_file_read(f, 0, block, BLOCK_BYTES, NULL, NULL);
    *number = sop_get_u64(block);
    for (size_t at = 0; rc == 0 && at < BLOCK_BYTES; at += 8) {
        if (sop_get_u64(block + at) != *number) {
            rc = SOP_ERR_DATA_LOSS;
        }
    }
    return rc;
}

/* One round: race; look up what is absent; one makes it and writes the block; all look. */
static bool one_round(struct doctor *d, unsigned self, unsigned round, const char *ticket,
                      struct sop_file *open, uint8_t *block, uint32_t *steps)
{
    struct sight *s = &d->shared->sights[round * d->processes + self];
    char name[PATH_BYTES];
    path_of(d, name, "absent", round);
    if (!barrier(d, steps)) {
        return false;
    }
    race_for_name(d, round, ticket, s);
    s->absent = look_for_absent(d, name);
    if (!barrier(d, steps)) {
        return false;
    }
    if (round % d->processes == self) {
        int rc = sop_volume_link(d->volume, ticket, name, NULL);
        (void)rc; /* what the others see tells */
        s->block_rc = write_block(d, block, round + 1);
    }
    if (!barrier(d, steps)) {
        return false;
    }
    s->maker = ticket_read(d, name);
    int rc = read_block(open, block, &s->block);
    s->block_rc = s->block_rc != 0 ? s->block_rc : rc;
    return true;
}

static void child(struct doctor *d, unsigned self)
{
    char ticket[PATH_BYTES];
    char path[PATH_BYTES];
    uint8_t bytes[TICKET_BYTES];
    uint32_t steps = 0;
    struct sop_file *open = NULL;
    uint8_t *block = sop_malloc_aligned(BLOCK_BYTES, BLOCK_BYTES);
    path_of(d, ticket, "ticket", self);
    path_of(d, path, "block", 0);
    ticket_make(d, self, bytes);
    int rc = block == NULL ? SOP_ERR_NOMEM : 0;
    if (rc == 0) {
        rc = sop_volume_write_file(d->volume, ticket, sop_slice(bytes, sizeof bytes), NULL);
    }
    if (rc == 0) {
        rc = sop_file_open(d->volume, path, SOP_OPEN_READ | block_mode(d), &open, NULL);
    }
    if (rc != 0) {
        atomic_store(&d->shared->stop, 1);
        _exit(1);
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        if (!one_round(d, self, round, ticket, open, block, &steps)) {
            _exit(1);
        }
    }
    atomic_fetch_add(&d->shared->finished, 1);
    _exit(0);
}

/* Takes the lock and dies with it when the parent has seen it. */
static void lock_child(struct doctor *d)
{
    char path[PATH_BYTES];
    struct sop_file *f = NULL;
    path_of(d, path, "lock", 0);
    int rc = sop_file_open(d->volume, path, SOP_OPEN_WRITE, &f, NULL);
    if (rc == 0) {
        rc = sop_file_lock(f, NULL);
    }
    atomic_store(&d->shared->lock_rc, rc);
    atomic_store(&d->shared->ready, 1);
    while (atomic_load(&d->shared->lock_may_end) == 0 && !over(d)) {
        sop_env_sleep_ns(d->env, 1000000);
    }
    _exit(0); /* the file stays open: its end is the end of the process */
}

/* ---- children, as seen by the parent -------------------------------------------------------
 */

static int start(struct doctor *d, unsigned self, bool locks, struct sop_err *err)
{
    pid_t pid = fork();
    if (pid < 0) {
        return SOP_ERR_SYS(err, LIMIT, errno, "start a process");
    }
    if (pid == 0) {
        if (locks) {
            lock_child(d);
        } else {
            child(d, self);
        }
        _exit(1);
    }
    d->children[d->children_count++] = pid;
    return 0;
}

/* Waits for one child; kills it when its time is over. false: it had to be killed. */
static bool wait_for(struct doctor *d, pid_t pid, uint64_t until_ns)
{
    for (;;) {
        int status = 0;
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid || (got < 0 && errno != EINTR)) {
            return true; /* ended; ECHILD: the program reaps its children itself */
        }
        if (sop_env_mono_ns(d->env) > until_ns) {
            (void)kill(pid, SIGKILL);
            while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
            }
            return false;
        }
        sop_env_sleep_ns(d->env, 1000000);
    }
}

static bool wait_for_all(struct doctor *d)
{
    bool all = true;
    for (unsigned i = 0; i < d->children_count; i++) {
        all = wait_for(d, d->children[i], d->deadline_ns + GRACE_NS) && all;
    }
    d->children_count = 0;
    return all;
}

/* ---- judging -------------------------------------------------------------------------------
 */

struct verdict {
    unsigned split, unread, lost, hints; /* rounds of the race */
    unsigned not_absent, unseen;
    unsigned stale, block_errors;
};

static void judge_round(const struct doctor *d, unsigned round, struct verdict *v)
{
    const struct sight *s = &d->shared->sights[round * d->processes];
    int64_t winner = s[0].winner;
    bool same = true;
    bool read = true;
    bool hinted = false;
    for (unsigned i = 0; i < d->processes; i++) {
        read = read && s[i].winner >= 0;
        same = same && s[i].winner == winner;
        hinted = hinted || (s[i].linked == 0) != (s[i].winner == (int64_t)i);
        v->not_absent += s[i].absent != 1;
        v->unseen += s[i].maker != (int64_t)(round % d->processes);
        v->block_errors += s[i].block_rc != 0;
        v->stale += s[i].block_rc == 0 && s[i].block != round + 1;
    }
    v->unread += !read;
    v->split += read && !same;
    v->hints += read && same && hinted;
}

static void report_verdict(struct doctor *d, const struct verdict *v)
{
    if (v->split + v->unread > 0) {
        find(d, 2,
             "link() is not create-if-absent: in %u of %u races the processes saw different "
             "winners, in %u the name could not be read",
             v->split, ROUNDS, v->unread);
    } else {
        find(d, 0, "%u races of %u processes for a name: one winner each", ROUNDS,
             d->processes);
    }
    if (v->hints > 0) {
        find(
            d, 1,
            "in %u races link() told a process the wrong outcome; only the content counts, and "
            "it was right",
            v->hints);
    }
    if (v->not_absent + v->unseen > 0) {
        find(d, 2,
             "names: %u look-ups found a name before it was made, %u did not see it afterwards",
             v->not_absent, v->unseen);
    } else {
        find(d, 0, "%u names looked up while absent, and seen by all once they were made",
             ROUNDS);
    }
    if (v->stale + v->block_errors > 0) {
        find(d, 2, "bytes: %u reads gave old content after a sync, %u failed", v->stale,
             v->block_errors);
    } else {
        find(d, 0, "%u blocks read by all processes as one had written and synced them",
             ROUNDS);
    }
}

/* ---- the probes ----------------------------------------------------------------------------
 */

/* A file of zeros with its final size, as flags and journals are born. */
static int zero_file(struct doctor *d, const char *path, size_t bytes, struct sop_err *err)
{
    uint8_t *zeros = sop_calloc(1, bytes);
    if (zeros == NULL) {
        return SOP_ERR(err, NOMEM, "a file of zeros");
    }
    int rc = sop_volume_write_file(d->volume, path, sop_slice(zeros, bytes), err);
    sop_free(zeros);
    return rc == 0 ? sop_volume_dir_sync(d->volume, d->folder, err) : rc;
}

static int probe_processes(struct doctor *d, struct sop_err *err)
{
    char path[PATH_BYTES];
    path_of(d, path, "block", 0);
    int rc = zero_file(d, path, BLOCK_BYTES, err);
    d->deadline_ns = sop_env_mono_ns(d->env) + TIME_NS;
    for (unsigned i = 0; i < d->processes && rc == 0; i++) {
        rc = start(d, i, false, err);
    }
    if (rc != 0) {
        atomic_store(&d->shared->stop, 1);
    }
    bool ended = wait_for_all(d);
    if (rc != 0) {
        return rc;
    }
    if (!ended || atomic_load(&d->shared->finished) != d->processes) {
        find(d, 2, "%u of %u processes failed or did not finish in %llu s",
             d->processes - atomic_load(&d->shared->finished), d->processes,
             TIME_NS / 1000000000);
        return 0;
    }
    struct verdict v = {0};
    for (unsigned round = 0; round < ROUNDS; round++) {
        judge_round(d, round, &v);
    }
    report_verdict(d, &v);
    return 0;
}

/* Whether the other process' lock can be seen, and goes when it dies. */
static const char *judge_lock(struct doctor *d, const char *path)
{
    struct sop_lock_holder holder = {0};
    pid_t pid = d->children[0];
    while (atomic_load(&d->shared->ready) == 0 && !over(d)) {
        sop_env_sleep_ns(d->env, 1000000);
    }
    const char *what = NULL;
    if (atomic_load(&d->shared->ready) == 0) {
        what = "the process that locks a file did not answer";
    } else if (atomic_load(&d->shared->lock_rc) != 0) {
        what = "files cannot be locked";
    } else if (sop_volume_lock_holder(d->volume, path, &holder, NULL) != 0 || !holder.held ||
               (holder.pid != 0 && holder.pid != (int64_t)pid)) {
        what = "the lock of another process is not seen";
    }
    atomic_store(&d->shared->lock_may_end, 1);
    if (!wait_for_all(d) && what == NULL) {
        what = "the process that locks a file did not end";
    }
    if (what == NULL &&
        (sop_volume_lock_holder(d->volume, path, &holder, NULL) != 0 || holder.held)) {
        what = "the lock of a process stays when it dies";
    }
    return what;
}

static int probe_lock(struct doctor *d, struct sop_err *err)
{
    char path[PATH_BYTES];
    path_of(d, path, "lock", 0);
    int rc = zero_file(d, path, 1, err);
    d->deadline_ns = sop_env_mono_ns(d->env) + TIME_NS;
    if (rc == 0) {
        rc = start(d, 0, true, err);
    }
    if (rc != 0) {
        return rc;
    }
    const char *what = judge_lock(d, path);
    if (what != NULL) { /* on a shared volume the beat tells who is alive */
        find(d, d->volume->one_host ? 2 : 1, "%s", what);
    } else {
        find(d, 0, "a file's lock is seen by other processes, and goes with its holder");
    }
    return 0;
}

/* Aligned direct writes and reads of one file. */
static int probe_direct(struct doctor *d, struct sop_err *err)
{
    char path[PATH_BYTES];
    struct sop_file *f = NULL;
    struct sop_err why = {0};
    path_of(d, path, "direct", 0);
    uint8_t *block = sop_malloc_aligned(BLOCK_BYTES, 2 * BLOCK_BYTES);
    if (block == NULL) {
        return SOP_ERR(err, NOMEM, "a block");
    }
    int rc = zero_file(d, path, 2 * BLOCK_BYTES, err);
    if (rc != 0) {
        sop_free(block);
        return rc;
    }
    memset(block, 0xa5, 2 * BLOCK_BYTES);
    rc = sop_file_open(d->volume, path, SOP_OPEN_WRITE | SOP_OPEN_DIRECT, &f, &why);
    if (rc == 0) {
        rc = sop_file_write(f, BLOCK_BYTES, block, BLOCK_BYTES, &why);
        rc = rc == 0 ? sop_file_sync(f, &why) : rc;
        memset(block, 0, 2 * BLOCK_BYTES);
        rc = rc == 0 ? sop_file_read(f, 0, block, 2 * BLOCK_BYTES, NULL, &why) : rc;
        sop_file_close(f);
    }
    bool right = rc == 0;
    for (size_t i = 0; i < 2 * BLOCK_BYTES && right; i++) {
        right = block[i] == (i < BLOCK_BYTES ? 0 : 0xa5);
    }
    if (right) {
        find(d, 0, "direct I/O of aligned blocks works");
    } else {
        find(d, 2, "direct I/O of aligned blocks: %s", rc != 0 ? why.text : "wrong content");
    }
    sop_free(block);
    return 0;
}

/* ---- measuring -----------------------------------------------------------------------------
 */

enum sync_kind { SYNC_OVERWRITE, SYNC_APPEND, SYNC_LINK };

struct timing {
    struct sop_file *file;
    uint8_t *block;
    char first[PATH_BYTES]; /* the file that links are made of */
};

static int one_sync(struct doctor *d, enum sync_kind kind, struct timing *t, unsigned i,
                    struct sop_err *err)
{
    char name[PATH_BYTES];
    if (kind == SYNC_LINK) {
        path_of(d, name, "name", i);
        int rc = sop_volume_link(d->volume, t->first, name, err);
        return rc == 0 ? sop_volume_dir_sync(d->volume, d->folder, err) : rc;
    }
    uint64_t at = (uint64_t)i * BLOCK_BYTES;
    at = kind == SYNC_OVERWRITE ? at % SYNCS_BYTES : at + BLOCK_BYTES;
    int rc = sop_file_write(t->file, at, t->block, BLOCK_BYTES, err);
    return rc == 0 ? sop_file_sync(t->file, err) : rc;
}

static int cmp_u64(const void *a, const void *b)
{
    uint64_t x = 0;
    uint64_t y = 0;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return x < y ? -1 : x > y;
}

static void report_times(struct doctor *d, enum sync_kind kind, uint64_t *times, unsigned count)
{
    static const char *const what[] = {"overwrite and sync of 4 KiB",
                                       "append and sync of 4 KiB",
                                       "new name and sync of its folder"};
    if (count == 0) {
        return;
    }
    qsort(times, count, sizeof *times, cmp_u64);
    uint64_t p50 = times[count / 2];
    uint64_t p99 = times[(count * 99 + 99) / 100 - 1];
    find(d, 0, "%s: p50 %.1f us, p99 %.1f us (%u times)", what[kind], (double)p50 / 1000,
         (double)p99 / 1000, count);
    if (kind == SYNC_OVERWRITE && p50 < FAST_SYNC_NS) {
        find(d, 1,
             "syncs return at once: files here live in memory, or syncs are ignored; what is "
             "acknowledged would not survive a loss of power");
    }
}

static int measure(struct doctor *d, enum sync_kind kind, struct sop_err *err)
{
    char path[PATH_BYTES];
    struct timing t = {0};
    uint64_t times[SYNCS_MAX];
    unsigned count = 0;
    struct sop_err why = {0};
    path_of(d, path, "sync", (unsigned)kind);
    path_of(d, t.first, "sync", (unsigned)SYNC_OVERWRITE);
    t.block = sop_calloc(1, BLOCK_BYTES);
    int rc = t.block == NULL ? SOP_ERR(err, NOMEM, "a block") : 0;
    if (rc == 0) {
        memset(t.block, 0x5a, BLOCK_BYTES);
        rc = zero_file(d, path, kind == SYNC_OVERWRITE ? SYNCS_BYTES : BLOCK_BYTES, err);
    }
    if (rc == 0) {
        rc = sop_file_open(d->volume, path, SOP_OPEN_WRITE, &t.file, err);
    }
    if (rc != 0) {
        sop_free(t.block);
        return rc;
    }
    uint64_t begin = sop_env_mono_ns(d->env);
    for (uint64_t now = begin; rc == 0 && count < SYNCS_MAX && now - begin < SYNCS_TIME_NS;) {
        rc = one_sync(d, kind, &t, count, &why);
        uint64_t after = sop_env_mono_ns(d->env);
        if (rc == 0) {
            times[count++] = after - now;
        }
        now = after;
    }
    if (rc != 0) {
        find(d, 2, "%s", why.text);
    }
    report_times(d, kind, times, count);
    sop_file_close(t.file);
    sop_free(t.block);
    return 0;
}

/* ---- all of it -----------------------------------------------------------------------------
 */

static int prepare(struct doctor *d, struct sop_err *err)
{
    char hex[17];
    sop_env_random(d->env, d->nonce, sizeof d->nonce);
    (void)snprintf(hex, sizeof hex, "%016" PRIx64, sop_get_u64(d->nonce));
    (void)snprintf(d->folder, sizeof d->folder, "sop-doctor-%s", hex);
    d->shared_bytes =
        sizeof *d->shared + (size_t)ROUNDS * d->processes * sizeof d->shared->sights[0];
    void *shared =
        mmap(NULL, d->shared_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        return SOP_ERR_SYS(err, NOMEM, errno, "memory for the doctor");
    }
    d->shared = shared; /* zeros */
    int rc = sop_volume_mkdir(d->volume, d->folder, err);
    if (rc == SOP_ERR_NOT_FOUND) { /* the folder is open, so it is there */
        return SOP_ERR(err, REFUSED_VOLUME,
                       "%s takes no new files and folders, as file systems of the kernel "
                       "(/proc and the like) do not; choose a folder on a disk",
                       d->volume->shown);
    }
    if (rc != 0) {
        return sop_err_wrap(err, rc, "%s takes no new folder", d->volume->shown);
    }
    return sop_volume_dir_sync(d->volume, "", err);
}

static int examine(struct doctor *d, struct sop_err *err)
{
    find(d, 0, "%s: the file system and its mount options are not refused; %s",
         d->volume->shown,
         d->volume->one_host ? "one host uses it" : "several hosts may share it");
    int rc = probe_processes(d, err);
    if (rc == 0) {
        rc = probe_lock(d, err);
    }
    if (rc == 0) {
        rc = probe_direct(d, err);
    }
    for (int kind = SYNC_OVERWRITE; kind <= SYNC_LINK && rc == 0; kind++) {
        rc = measure(d, (enum sync_kind)kind, err);
    }
    return rc;
}

/* Errors that say that the volume cannot do what it should are findings, too. */
static int conclude(struct doctor *d, int rc, struct sop_err *why, struct sop_err *err)
{
    if (rc == SOP_ERR_IO || rc == SOP_ERR_EXISTS || rc == SOP_ERR_NOT_FOUND) {
        find(d, 2, "%s", why->text);
        rc = 0;
    } else if (rc == SOP_ERR_REFUSED_VOLUME) {
        find(d, 2, "%s", why->text);
    }
    if (rc == 0 && d->failures > 0) {
        return SOP_ERR(err, REFUSED_VOLUME, "failed checks: %" PRIu64 "; the first: %s",
                       d->failures, d->first.text);
    }
    if (rc != 0 && err != NULL) {
        *err = *why;
    }
    return rc;
}

int sop_doctor(const char *folder, unsigned processes, sop_report_fn report, void *arg,
               struct sop_err *err)
{
    struct doctor d = {.env = sop_env_system(),
                       .report = report,
                       .arg = arg,
                       .processes = processes == 0 ? PROCESSES_DEFAULT : processes};
    struct sop_err why = {0};
    if (folder == NULL || folder[0] == '\0') {
        return SOP_ERR(err, INVALID, "the folder's path is empty");
    }
    if (d.processes > PROCESSES_MAX) {
        return SOP_ERR(err, INVALID, "%u processes; the most is %u", processes, PROCESSES_MAX);
    }
    int rc = sop_volume_posix_open(folder, &d.volume, &why);
    if (rc == SOP_ERR_NOT_FOUND) {
        return sop_db__no_folder(folder, &why, err);
    }
    if (rc != 0) {
        if (rc == SOP_ERR_REFUSED_VOLUME) {
            find(&d, 2, "%s", why.text);
        }
        if (err != NULL) {
            *err = why;
        }
        return rc;
    }
    rc = prepare(&d, &why);
    if (rc == 0) {
        rc = examine(&d, &why);
    }
    if (d.shared != NULL) {
        int gone = sop_volume_remove_tree(d.volume, d.folder, NULL);
        (void)gone; /* a temporary folder that stays does no harm */
        (void)munmap(d.shared, d.shared_bytes);
    }
    rc = conclude(&d, rc, &why, err);
    sop_volume_destroy(d.volume);
    return rc;
}
