/* Mutexes with ranks, condition variables, threads. Debug builds (SOP_DEEP_CHECKS) abort when
 * a thread takes a mutex whose rank is not greater than the greatest rank it holds
 * (docs/LOCKS.md). The rank table is the enum below: greater = taken later (inner). */
#ifndef SOP_THREAD_H
#define SOP_THREAD_H

#include "engine/base/base.h"

#include <pthread.h>
#include <stdatomic.h>

enum sop_rank {
    SOP_RANK_DATABASE = 1, /* generations and users of an open database */
    SOP_RANK_MAINTAIN = 2, /* one checkpoint / compaction / sweep at a time */
    SOP_RANK_COMMIT = 3,   /* one committing leader at a time */
    SOP_RANK_QUEUE = 4,    /* commit queue */
    SOP_RANK_STATE = 5,    /* database state: stores, pins, page ids */
    SOP_RANK_CHAIN = 6,    /* chain and membership */
    SOP_RANK_JOURNAL = 7,  /* journal files */
    SOP_RANK_PACK = 8,     /* pack files */
    SOP_RANK_CACHE = 9,    /* eviction lists */
    SOP_RANK_PAGE = 10,    /* page frames (striped) */
    SOP_RANK_VOLUME = 11,  /* simulated volumes' own state */
    SOP_RANK_LEAF = 12,    /* takes none but that of the heap */
    SOP_RANK_HEAP = 13,    /* large blocks of the heap: taken by whoever allocates */
};

struct sop_mutex {
    pthread_mutex_t mutex;
    enum sop_rank rank;
};
void sop_mutex_init(struct sop_mutex *m, enum sop_rank rank);
void sop_mutex_fini(struct sop_mutex *m);
void sop_mutex_lock(struct sop_mutex *m);
void sop_mutex_unlock(struct sop_mutex *m);

struct sop_cond {
    pthread_cond_t cond; /* on CLOCK_MONOTONIC */
};
void sop_cond_init(struct sop_cond *c);
void sop_cond_fini(struct sop_cond *c);
void sop_cond_signal(struct sop_cond *c);
void sop_cond_broadcast(struct sop_cond *c);
void sop_cond_wait(struct sop_cond *c, struct sop_mutex *m);
/* false when the time ran out; ns relative, may wake early. */
bool sop_cond_wait_for(struct sop_cond *c, struct sop_mutex *m, uint64_t ns);

/* 0 or SOP_ERR_LIMIT / SOP_ERR_NOMEM. Signals are blocked in the new thread. */
int sop_thread_start(pthread_t *out, void *(*run)(void *), void *arg, const char *name,
                     struct sop_err *err) SOP_MUST_USE;

/* A number that is another one in every child of this process: a handle that notes it when it
 * is made can tell, for the price of a load, that it is in a child. Never 0. Any thread. */
uint64_t sop_forks(void);
extern _Atomic uint64_t *sop_fork_mark; /* written by sop_forks() alone */
/* The same after the first call; 0 in a child that has not called sop_forks(). */
static inline uint64_t sop_forks_since(void)
{
    return atomic_load_explicit(sop_fork_mark, memory_order_relaxed);
}

#endif
