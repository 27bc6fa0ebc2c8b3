/* A database with a store of each kind, and a digest of everything in it. For tests that copy,
 * verify or damage databases. Link with Check. */
#ifndef SOP_TEST_SAMPLE_DB_H
#define SOP_TEST_SAMPLE_DB_H

#include "sop/sop.h"

/* The comparer "turned": memcmp the other way round. */
int sample_turned(void *arg, struct sop_slice a, struct sop_slice b);
/* Options of a manual database that knows the comparer. */
void sample_options(struct sop_db_options *options);

/* Fills it: unique and non-unique, rides, Medium and Big values, typed keys, a comparer, an
 * empty store. `items` items in the largest store. */
void sample_fill(struct sop_db *db, unsigned items);
/* As sample_fill, without the store that needs the comparer. */
void sample_fill_plain(struct sop_db *db, unsigned items);

/* Items in all stores, and a hash over names, options, keys, rides, item ids and values. */
struct sample_digest {
    uint64_t stores, items, value_bytes, hash;
};
struct sample_digest sample_digest(struct sop_db *db);
void sample_same(struct sample_digest a, struct sample_digest b);

#endif
