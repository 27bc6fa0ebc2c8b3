/* Random operations that make sense in a state: most keys exist or nearly do, stores grow and
 * shrink in turns, some keys are hot. */
#ifndef SOP_TEST_MODEL_MAKE_H
#define SOP_TEST_MODEL_MAKE_H

#include "tests/lib/model_run.h"

/* Numbers that must not be used twice. */
struct model_maker {
    struct kit_rng rng;
    uint64_t turns, uids, notes;
    uint64_t made; /* operations so far: moves the tides */
    bool calm;     /* no stores are created and removed */
    bool fat;      /* values fill the pages, so that not all of them fit into the cache */
};
/* The next operation of t; due model_op_fini(). */
void model_make(struct model_maker *m, const struct model_txn *t, struct model_op *op);
/* Chance of `of` in 1000. */
bool model_chance(struct kit_rng *r, uint32_t of);

#endif
