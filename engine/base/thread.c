/* Mutexes with ranks, condition variables, threads.
 *
 * With SOP_DEEP_CHECKS each thread knows which ranks it holds, one bit each: a mutex may be
 * taken only if no rank at or above its own is held, so no rank is ever held twice. */
#include "engine/base/thread.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#ifdef SOP_DEEP_CHECKS
static _Thread_local unsigned held_ranks;

static void rank_take(enum sop_rank rank)
{
    SOP_ASSERT(held_ranks >> (unsigned)rank == 0); /* else locks are taken out of order */
    held_ranks |= 1u << (unsigned)rank;
}

static void rank_drop(enum sop_rank rank)
{
    SOP_ASSERT((held_ranks >> (unsigned)rank & 1u) == 1); /* else not held by this thread */
    held_ranks &= ~(1u << (unsigned)rank);
}

static void rank_check_held(enum sop_rank rank)
{
    SOP_ASSERT((held_ranks >> (unsigned)rank & 1u) == 1);
}
#else
static inline void rank_take(enum sop_rank rank)
{
    (void)rank;
}
static inline void rank_drop(enum sop_rank rank)
{
    (void)rank;
}
static inline void rank_check_held(enum sop_rank rank)
{
    (void)rank;
}
#endif
_Static_assert(SOP_RANK_LEAF < sizeof(unsigned) * CHAR_BIT, "ranks fit the bits");

/* glibc's default mutexes and conditions cannot fail to be made, locked or destroyed except by
 * misuse; misuse is ours, hence the assertions. */
void sop_mutex_init(struct sop_mutex *m, enum sop_rank rank)
{
    int rc = pthread_mutex_init(&m->mutex, NULL);
    SOP_ASSERT(rc == 0);
    m->rank = rank;
}

void sop_mutex_fini(struct sop_mutex *m)
{
    int rc = pthread_mutex_destroy(&m->mutex);
    SOP_ASSERT(rc == 0);
}

void sop_mutex_lock(struct sop_mutex *m)
{
    rank_take(m->rank);
    int rc = pthread_mutex_lock(&m->mutex);
    SOP_ASSERT(rc == 0);
}

void sop_mutex_unlock(struct sop_mutex *m)
{
    rank_drop(m->rank);
    int rc = pthread_mutex_unlock(&m->mutex);
    SOP_ASSERT(rc == 0);
}

void sop_cond_init(struct sop_cond *c)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);
    SOP_ASSERT(rc == 0);
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    SOP_ASSERT(rc == 0);
    rc = pthread_cond_init(&c->cond, &attr);
    SOP_ASSERT(rc == 0);
    rc = pthread_condattr_destroy(&attr);
    SOP_ASSERT(rc == 0);
}

void sop_cond_fini(struct sop_cond *c)
{
    int rc = pthread_cond_destroy(&c->cond);
    SOP_ASSERT(rc == 0);
}

void sop_cond_signal(struct sop_cond *c)
{
    int rc = pthread_cond_signal(&c->cond);
    SOP_ASSERT(rc == 0);
}

void sop_cond_broadcast(struct sop_cond *c)
{
    int rc = pthread_cond_broadcast(&c->cond);
    SOP_ASSERT(rc == 0);
}

void sop_cond_wait(struct sop_cond *c, struct sop_mutex *m)
{
    rank_check_held(m->rank);
    int rc = pthread_cond_wait(&c->cond, &m->mutex);
    SOP_ASSERT(rc == 0);
}

#define NS_PER_S UINT64_C(1000000000)
/* A wait of centuries would overflow time_t arithmetic; a hundred years is as good. */
#define WAIT_S_MAX (UINT64_C(100) * 366 * 24 * 3600)

bool sop_cond_wait_for(struct sop_cond *c, struct sop_mutex *m, uint64_t ns)
{
    rank_check_held(m->rank);
    struct timespec until;
    int rc = clock_gettime(CLOCK_MONOTONIC, &until);
    SOP_ASSERT(rc == 0);
    uint64_t seconds = ns / NS_PER_S < WAIT_S_MAX ? ns / NS_PER_S : WAIT_S_MAX;
    uint64_t rest = (uint64_t)until.tv_nsec + ns % NS_PER_S;
    until.tv_sec += (time_t)(seconds + rest / NS_PER_S);
    until.tv_nsec = (long)(rest % NS_PER_S);
    rc = pthread_cond_timedwait(&c->cond, &m->mutex, &until);
    SOP_ASSERT(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}

#define THREAD_NAME_BYTES 16 /* of Linux, the final zero included */

int sop_thread_start(pthread_t *out, void *(*run)(void *), void *arg, const char *name,
                     struct sop_err *err)
{
    /* The new thread inherits the mask, so signals never interrupt or run handlers in it. */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    int rc = pthread_sigmask(SIG_SETMASK, &all, &before);
    SOP_ASSERT(rc == 0);
    int started = pthread_create(out, NULL, run, arg);
    rc = pthread_sigmask(SIG_SETMASK, &before, NULL);
    SOP_ASSERT(rc == 0);
    if (started == ENOMEM) {
        return SOP_ERR_SYS(err, NOMEM, started, "start thread %s", name);
    }
    if (started != 0) {
        return SOP_ERR_SYS(err, LIMIT, started, "start thread %s", name);
    }
    char shown[THREAD_NAME_BYTES] = {0};
    memcpy(shown, name, strnlen(name, sizeof shown - 1));
    (void)pthread_setname_np(*out, shown); /* only for people */
    return 0;
}

/* ---- forks ---------------------------------------------------------------------------------
 *
 * A page that the system hands to a child as zeros (MADV_WIPEONFORK, Linux 4.14) holds a number
 * that is not 0. So a child finds out with one load, however it was made: by fork() or by
 * clone(), which calls no handler. Where the system has no such page, a handler of fork()
 * clears the number. */

#define PAGE_BYTES 4096

static _Atomic uint64_t unwiped;
static _Atomic uint64_t last_mark; /* copied into the child, as all memory but that page */

_Atomic uint64_t *sop_fork_mark = &unwiped;

static void clear_mark(void)
{
    atomic_store_explicit(&unwiped, 0, memory_order_relaxed);
}

static void make_page(void)
{
    void *page =
        mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED && madvise(page, PAGE_BYTES, MADV_WIPEONFORK) == 0) {
        sop_fork_mark = page;
        return;
    }
    if (page != MAP_FAILED) {
        (void)munmap(page, PAGE_BYTES);
    }
    (void)pthread_atfork(NULL, NULL, clear_mark);
}

uint64_t sop_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_page);
    uint64_t mark = sop_forks_since();
    if (mark == 0) { /* the first call here, or in this child */
        uint64_t fresh = atomic_fetch_add(&last_mark, 1) + 1;
        if (atomic_compare_exchange_strong(sop_fork_mark, &mark, fresh)) {
            mark = fresh;
        }
    }
    return mark;
}
