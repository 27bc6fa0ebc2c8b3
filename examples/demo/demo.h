/* What the parts of sop-demo share. */
#ifndef SOP_DEMO_H
#define SOP_DEMO_H

#include "examples/demo/unicode.h"
#include "sop/sop.h"

/* Facts of a commit, each an item of both stores, unless the command line says otherwise. */
#define DEMO_BATCH 20000

/* Names of the two stores of a load. facts: {code point int64, property string} -> value,
 * unique. by_value: {property string, value string} -> "U+4E2D", with duplicates. */
struct demo_stores {
    const char *facts, *by_value;
};

/* One load of all facts in batches of DEMO_BATCH. */
struct demo_load {
    const struct unicode *unicode;
    struct demo_stores stores;
    size_t batch_facts, batches;
};
static inline size_t demo_batch_end(const struct demo_load *load, size_t batch)
{
    size_t end = (batch + 1) * load->batch_facts;
    return end < load->unicode->count ? end : load->unicode->count;
}

/* Makes the stores. load->unicode, stores and batch_facts are set by the caller. */
int demo_load_begin(struct demo_load *load, struct sop_db *db, struct sop_err *err);
/* Commits one batch into both stores. */
int demo_load_batch(const struct demo_load *load, struct sop_db *db, size_t batch,
                    struct sop_err *err);

/* How much of a batch is in the facts store, values compared; *found is 0 to its size. */
int demo_recount(const struct demo_load *load, struct sop_txn *txn, size_t batch, size_t *found,
                 struct sop_err *err);
int demo_count(struct sop_txn *txn, const char *store, uint64_t *items, struct sop_err *err);

/* Answers the questions of the demo from the stores of a finished load. */
int demo_questions(const struct demo_load *load, struct sop_db *db, struct sop_err *err);
/* Loads again in another process, kills it, recounts; see kill.c. */
int demo_kill(const struct unicode *unicode, size_t batch_facts, const char *folder,
              const char *ack_path, unsigned kills, struct sop_err *err);

/* ---- the terminal ---------------------------------------------------------------------- */

/* A bar on a terminal; elsewhere one line at the end. */
void demo_heading(const char *format, ...) __attribute__((format(printf, 1, 2)));
void demo_progress(const char *what, uint64_t done, uint64_t total);
/* Ends the bar with a line of its own. */
void demo_done(const char *format, ...) __attribute__((format(printf, 1, 2)));
double demo_seconds(void);
/* "4168931" -> "4,168,931"; one of eight static buffers. */
const char *demo_number(uint64_t n);

#endif
