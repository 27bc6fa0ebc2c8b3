/* Failing allocations on purpose. */
#include "tests/lib/oom.h"

#include <stdatomic.h>

/* The hook; base.c calls it before each allocation if it is linked. */
bool sop_test_alloc_fails(void);

static _Atomic uint64_t counted;
static _Atomic uint64_t fail_at = UINT64_MAX;
static atomic_bool fail_later;
static _Thread_local unsigned paused;

static void start(uint64_t nth, bool later)
{
    atomic_store(&fail_at, UINT64_MAX); /* nothing fails while the rest changes */
    atomic_store(&fail_later, later);
    atomic_store(&counted, 0);
    atomic_store(&fail_at, nth);
}

bool sop_test_alloc_fails(void)
{
    if (paused > 0) {
        return false;
    }
    uint64_t nth = atomic_fetch_add(&counted, 1);
    uint64_t at = atomic_load(&fail_at);
    return nth == at || (nth > at && atomic_load(&fail_later));
}

void oom_fail_at(uint64_t nth)
{
    start(nth, false);
}

void oom_fail_from(uint64_t nth)
{
    start(nth, true);
}

void oom_off(void)
{
    start(UINT64_MAX, false);
}

uint64_t oom_count(void)
{
    return atomic_load(&counted);
}

bool oom_hit(void)
{
    return atomic_load(&counted) > atomic_load(&fail_at);
}

void oom_pause(void)
{
    paused++;
}

void oom_resume(void)
{
    paused--;
}
