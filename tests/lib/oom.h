/* Failing allocations on purpose: sop_malloc and its kin return NULL where a test says so.
 *
 * Calling any of these links the hook that engine/base/base.c looks for. Counting starts anew
 * with each oom_fail_at, oom_fail_from and oom_off. Any thread; the counter is one for all.
 *
 *     for (uint64_t step = 0;; step++) {
 *         oom_fail_at(step);
 *         int rc = the_call(&err);
 *         bool failed = oom_hit();
 *         oom_off();
 *         if (!failed) { ck_assert_int_eq(rc, 0); break; }
 *         ck_assert_int_eq(rc, SOP_ERR_NOMEM);
 *     }
 */
#ifndef SOP_TEST_OOM_H
#define SOP_TEST_OOM_H

#include <stdbool.h>
#include <stdint.h>

/* The nth allocation from now fails (0: the next one), and only that one. */
void oom_fail_at(uint64_t nth);
/* The nth allocation from now and all later ones fail. */
void oom_fail_from(uint64_t nth);
/* Nothing fails from now on. */
void oom_off(void);
/* Allocations asked for since counting started, the failed ones included. */
uint64_t oom_count(void);
/* Whether one has failed since counting started. */
bool oom_hit(void);
/* While paused (calls nest) the calling thread's allocations neither count nor fail: for what
 * is not under test, such as a simulated volume. */
void oom_pause(void);
void oom_resume(void);

#endif
