/* sop-demo: an embedded database with real data, from an empty folder to a killed process.
 *
 * usage: sop-demo FOLDER UNICODE-FOLDER UNIHAN-FOLDER [KILLS [BATCH]]. FOLDER is made; it
 * holds the database and the list of acknowledged commits. scripts/demo.sh calls this. */
#include "examples/demo/demo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void reading(uint64_t done, uint64_t total)
{
    demo_progress("read", done, total);
}

static int read_files(struct unicode *u, char **argv)
{
    char message[512];
    demo_heading("The Unicode Character Database, with all Unihan files");
    double began = demo_seconds();
    if (!unicode_read(u, argv[2], argv[3], reading, message, sizeof message)) {
        fprintf(stderr, "sop-demo: %s\n", message);
        return -1;
    }
    demo_done("%zu files, %s lines: %s facts of %zu properties, in %.1f s", u->files,
              demo_number(u->lines), demo_number(u->count), u->names_count,
              demo_seconds() - began);
    return 0;
}

static int load_all(struct demo_load *load, struct sop_db *db, struct sop_err *err)
{
    const struct unicode *u = load->unicode;
    double began = demo_seconds();
    int rc = demo_load_begin(load, db, err);
    for (size_t b = 0; b < load->batches && rc == 0; b++) {
        rc = demo_load_batch(load, db, b, err);
        demo_progress("load", demo_batch_end(load, b), u->count);
    }
    double took = demo_seconds() - began;
    if (rc == 0) {
        demo_done("%s facts into two stores in %zu commits: %.1f s, %s items a second",
                  demo_number(u->count), load->batches, took,
                  demo_number((uint64_t)(2 * (double)u->count / took)));
        demo_done("each commit was synced to the disk before it was acknowledged");
    }
    return rc;
}

static int first_half(struct demo_load *load, const char *folder, struct sop_err *err)
{
    demo_heading("Load: one store by {code point, property}, one by {property, value}");
    struct sop_db *db;
    struct sop_db_options options;
    sop_db_options_init(&options);
    options.create = true;
    int rc = sop_db_open(&db, folder, &options, err);
    if (rc != 0) {
        return rc;
    }
    rc = load_all(load, db, err);
    if (rc == 0) {
        demo_heading("Questions");
        rc = demo_questions(load, db, err);
    }
    double began = demo_seconds();
    struct sop_err closing;
    int closed = sop_db_close(&db, rc == 0 ? err : &closing);
    if (rc == 0 && closed == 0) {
        demo_done("closed in %.1f s", demo_seconds() - began);
    }
    return rc == 0 ? closed : rc;
}

static void finding(void *arg, int severity, const char *text)
{
    (void)arg;
    if (severity > 0) {
        demo_done("%s: %s", severity == 1 ? "warning" : "error", text);
    }
}

static int verifying(void *arg, const char *what, uint64_t done, uint64_t total)
{
    (void)arg;
    (void)what;
    demo_progress("verify", done, total);
    return 0;
}

static int verify(const char *folder, struct sop_err *err)
{
    demo_heading("Verify: every page, key, value and checksum");
    struct sop_db *db;
    struct sop_verify_result r = {0};
    struct sop_db_stats s = {.size = sizeof s};
    int rc = sop_db_open(&db, folder, NULL, err);
    if (rc != 0) {
        return rc;
    }
    double began = demo_seconds();
    rc = sop_db_verify(db, true, finding, verifying, NULL, &r, err);
    if (rc == 0) {
        demo_done("clean: %s stores, %s items, %s pages, %s files, %.0f MB, in %.1f s",
                  demo_number(r.stores), demo_number(r.items), demo_number(r.pages),
                  demo_number(r.files), (double)r.bytes / 1e6, demo_seconds() - began);
        rc = sop_db_stats(db, &s, err);
    }
    if (rc == 0) {
        demo_done("the folder holds %.0f MB; the cache used %.0f of its %.0f MB",
                  (double)s.volume_bytes / 1e6, (double)s.cache_used_bytes / 1e6,
                  (double)s.cache_budget_bytes / 1e6);
    }
    struct sop_err closing;
    int closed = sop_db_close(&db, rc == 0 ? err : &closing);
    return rc == 0 ? closed : rc;
}

int main(int argc, char **argv)
{
    unsigned long kills = argc > 4 ? strtoul(argv[4], NULL, 10) : 3;
    unsigned long batch = argc > 5 ? strtoul(argv[5], NULL, 10) : DEMO_BATCH;
    if (argc < 4 || argc > 6 || kills > 100 || batch < 1 || batch > 1000000) {
        fprintf(stderr,
                "usage: sop-demo FOLDER UNICODE-FOLDER UNIHAN-FOLDER [KILLS [BATCH]]\n");
        return 2;
    }
    char folder[4096], ack[4096];
    snprintf(folder, sizeof folder, "%s/unicode", argv[1]);
    snprintf(ack, sizeof ack, "%s/acknowledged", argv[1]);
    if (mkdir(argv[1], 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "sop-demo: make %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    double began = demo_seconds();
    struct unicode u;
    if (read_files(&u, argv) != 0) {
        return 1;
    }
    struct sop_err err = {.code = 0};
    struct demo_load load = {&u, {"facts", "by value"}, batch, 0};
    int rc = first_half(&load, folder, &err);
    if (rc == 0) {
        demo_heading("Kill: load everything a second time, kill -9 in the middle, %lu times",
                     kills);
        rc = demo_kill(&u, batch, folder, ack, (unsigned)kills, &err);
    }
    if (rc == 0) {
        rc = verify(folder, &err);
    }
    unicode_free(&u);
    if (rc != 0) {
        fprintf(stderr, "sop-demo: %s [%s]\n", err.text, sop_err_name(rc));
        return 1;
    }
    demo_heading("Done in %.1f s: nothing acknowledged was lost.", demo_seconds() - began);
    return 0;
}
