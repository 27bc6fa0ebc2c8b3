/* The kill: a process loads everything a second time and is killed with SIGKILL in the middle.
 *
 * It writes a line to a file after each commit has returned: what was acknowledged. After the
 * kill the database is opened again and each batch is counted. What must hold: an acknowledged
 * batch is there whole; of the others, each is there whole or not at all (a commit may have
 * been done whose answer the process did not live to write down), and at most one is; both
 * stores have the same number of items. Then the load goes on where it stopped, and is killed
 * again. */
#include "examples/demo/demo.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FACTS_AGAIN    "facts again"
#define BY_VALUE_AGAIN "by value again"

struct killing {
    const char *folder, *ack_path;
    struct demo_load load;
    size_t next; /* first batch that is not there yet */
};

/* ---- the process that will be killed -------------------------------------------------------
 */

static int load_and_tell(struct killing *k, struct sop_err *err)
{
    struct sop_db *db;
    int rc = sop_db_open(&db, k->folder, NULL, err);
    if (rc != 0) {
        return rc;
    }
    FILE *ack = fopen(k->ack_path, "w");
    if (ack == NULL) {
        return SOP_ERR_SYS(err, IO, errno, "open %s", k->ack_path);
    }
    for (size_t b = k->next; b < k->load.batches && rc == 0; b++) {
        rc = demo_load_batch(&k->load, db, b, err);
        if (rc == 0) {
            fprintf(ack, "%zu\n", b);
            fflush(ack);
        }
    }
    /* Done before the kill came: wait for it, so that the outcome is that of a kill anyway. */
    while (rc == 0) {
        pause();
    }
    return rc;
}

static void child(struct killing *k)
{
    struct sop_err err;
    int rc = load_and_tell(k, &err);
    fprintf(stderr, "the loading process failed: %s [%s]\n", err.text, sop_err_name(rc));
    _exit(1);
}

/* ---- the parent -----------------------------------------------------------------------------
 */

/* Lines of the file that are complete: acknowledged batches. */
static size_t acknowledged(const char *path)
{
    FILE *from = fopen(path, "r");
    size_t lines = 0;
    int c;
    while (from != NULL && (c = fgetc(from)) != EOF) {
        lines += c == '\n';
    }
    if (from != NULL) {
        fclose(from);
    }
    return lines;
}

/* Waits until `want` batches are acknowledged and a moment longer, then kills. */
static int kill_after(struct killing *k, pid_t pid, size_t want, unsigned moment_us,
                      size_t *acked, struct sop_err *err)
{
    const struct timespec tick = {0, 2000000};
    int status = 0;
    while (acknowledged(k->ack_path) < want) {
        nanosleep(&tick, NULL);
        if (waitpid(pid, &status, WNOHANG) == pid) {
            return SOP_ERR(err, IO, "the loading process ended by itself");
        }
    }
    const struct timespec moment = {0, (long)moment_us * 1000};
    nanosleep(&moment, NULL);
    kill(pid, SIGKILL);
    if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) ||
        WTERMSIG(status) != SIGKILL) {
        return SOP_ERR(err, IO, "the loading process did not die by the kill");
    }
    *acked = acknowledged(k->ack_path);
    return 0;
}

static int check_totals(struct killing *k, struct sop_txn *txn, struct sop_err *err)
{
    uint64_t facts = 0, values = 0;
    int rc = demo_count(txn, k->load.stores.facts, &facts, err);
    if (rc == 0) {
        rc = demo_count(txn, k->load.stores.by_value, &values, err);
    }
    size_t want = k->next > 0 ? demo_batch_end(&k->load, k->next - 1) : 0;
    if (rc == 0 && (facts != want || values != want)) {
        rc =
            SOP_ERR(err, DATA_LOSS, "%" PRIu64 " facts and %" PRIu64 " by value instead of %zu",
                    facts, values, want);
    }
    return rc;
}

/* Counts every batch from the first of this round to two behind the last acknowledged. */
static int check_batches(struct killing *k, struct sop_txn *txn, size_t acked,
                         struct sop_err *err)
{
    size_t first = k->next, items = 0;
    size_t last = first + acked + 2 < k->load.batches ? first + acked + 2 : k->load.batches;
    size_t unacked = 0;
    for (size_t b = first; b < last; b++) {
        size_t found = 0;
        size_t whole = demo_batch_end(&k->load, b) - b * k->load.batch_facts;
        int rc = demo_recount(&k->load, txn, b, &found, err);
        if (rc != 0) {
            return rc;
        }
        if (found != whole && (b < first + acked || found != 0)) {
            return SOP_ERR(err, DATA_LOSS, "batch %zu has %zu of %zu items", b, found, whole);
        }
        unacked += b >= first + acked && found != 0;
        k->next += found != 0;
        items += found;
        demo_progress("recount", b - first + 1, last - first);
    }
    if (unacked > 1) {
        return SOP_ERR(err, DATA_LOSS, "%zu batches without acknowledgement are there",
                       unacked);
    }
    demo_done("recounted: all %s items of the %zu acknowledged commits are there; the commit "
              "under way is %s",
              demo_number(items - unacked * k->load.batch_facts), acked,
              unacked > 0 ? "there, whole" : "not there at all");
    return 0;
}

static int check(struct killing *k, size_t acked, struct sop_err *err)
{
    struct sop_db *db;
    double began = demo_seconds();
    int rc = sop_db_open(&db, k->folder, NULL, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_db_stats stats = {.size = sizeof stats};
    rc = sop_db_stats(db, &stats, err);
    if (rc == 0) {
        demo_done("opened again in %.0f ms (%s journal records replayed)",
                  (demo_seconds() - began) * 1000, demo_number(stats.open_records));
    }
    struct sop_txn_options options;
    struct sop_txn *txn = NULL;
    sop_txn_options_init(&options);
    options.mode = SOP_READ;
    if (rc == 0) {
        rc = sop_txn_begin(&txn, db, &options, err);
    }
    if (rc == 0) {
        rc = check_batches(k, txn, acked, err);
    }
    if (rc == 0) {
        rc = check_totals(k, txn, err);
    }
    sop_txn_rollback(&txn);
    struct sop_err closing;
    int closed = sop_db_close(&db, &closing);
    if (rc == 0 && closed != 0) {
        *err = closing;
        rc = closed;
    }
    return rc;
}

static int kill_once(struct killing *k, size_t want, unsigned moment_us, struct sop_err *err)
{
    unlink(k->ack_path);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        child(k);
    }
    if (pid < 0) {
        return SOP_ERR_SYS(err, NOMEM, errno, "start the loading process");
    }
    size_t acked = 0;
    int rc = kill_after(k, pid, want, moment_us, &acked, err);
    if (rc != 0) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return rc;
    }
    demo_done("process %d was killed with -9 after %zu acknowledged commits", (int)pid, acked);
    return check(k, acked, err);
}

int demo_kill(const struct unicode *unicode, size_t batch_facts, const char *folder,
              const char *ack_path, unsigned kills, struct sop_err *err)
{
    struct killing k = {.folder = folder, .ack_path = ack_path};
    k.load.unicode = unicode;
    k.load.batch_facts = batch_facts;
    k.load.stores = (struct demo_stores){FACTS_AGAIN, BY_VALUE_AGAIN};
    struct sop_db *db;
    int rc = sop_db_open(&db, folder, NULL, err);
    if (rc == 0) {
        rc = demo_load_begin(&k.load, db, err);
        struct sop_err closing;
        int closed = sop_db_close(&db, rc == 0 ? err : &closing);
        rc = rc == 0 ? closed : rc;
    }
    for (unsigned i = 0; i < kills && rc == 0; i++) {
        size_t each = k.load.batches / (kills + 1);
        rc = kill_once(&k, each > 0 ? each : 1, 3000 + 17000 * i, err);
    }
    return rc;
}
