/* A bare redo journal: the least that makes a commit durable. Records go to a ring of blocks
 * that were written before, so that a sync touches no metadata; threads that come at once share
 * one write and one sync. It is never read: a bound, not a database. */
#ifndef SOP_BENCH_LOG_H
#define SOP_BENCH_LOG_H

#include "bench/engine.h"

struct bench_log;
enum bench_log_kind { BENCH_LOG_PUT = 1, BENCH_LOG_REMOVE = 2 };

/* Makes the file in setup->folder. */
int bench_log_open(struct bench_log **log, const struct bench_setup *setup);
void bench_log_close(struct bench_log *log);
/* Appends one commit; with setup->durable returns when it is synced. Any thread. */
int bench_log_append(struct bench_log *log, enum bench_log_kind kind,
                     const struct bench_item *items, size_t count);

#endif
