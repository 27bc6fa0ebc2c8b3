/* Readers of parts, of whole sheets and of held ones, while the cache is far too small for them
 * and somebody trims it all the time. */
#include "tests/lib/cache_kit.h"
#include "tests/lib/scale.h"
#include "tests/lib/sheet_kit.h"

#include "engine/base/thread.h"

#include <sched.h>

enum { READERS = 4, BODIES = 12, BUDGET = 300 * 1024 };

static struct cache_kit kit;
static _Atomic uint32_t readers_left;

struct reader {
    uint64_t seed;
    uint64_t rounds;
};

static void *read_all(void *arg)
{
    struct reader *reader = arg;
    struct kit_rng r = {.state = reader->seed};
    struct sop_err err = {0};
    struct sop_epoch_slot *slot = sop_epoch_take(&kit.epochs);
    ck_assert_ptr_nonnull(slot);
    for (uint64_t n = 0; n < reader->rounds; n++) {
        /* Few keys come often: the same slots are filled, replaced and emptied by several. */
        uint32_t b = kit_below(&r, n % 3 == 0 ? 2 : BODIES);
        uint32_t i = kit_below(&r, n % 3 == 0 ? 200 : 2 * CACHE_KIT_ITEMS);
        OK(cache_kit_find(&kit, slot, b, i, &err));
        if (n % 97 == 0) { /* a walk, beyond the epoch */
            const struct sop_sheet *sheet = NULL;
            sop_epoch_enter(&kit.epochs, slot);
            OK(sop_body_hold(kit.bodies[b], &sheet, &err));
            sop_epoch_leave(slot);
            ck_assert_uint_eq(sop_sheet_item(sheet, i / 2).value.len, CACHE_KIT_VALUE);
            sop_body_release(kit.bodies[b]);
        }
        if (n % 31 == 0) {
            const struct sop_sheet *front = NULL;
            sop_epoch_enter(&kit.epochs, slot);
            OK(sop_body_front(kit.bodies[b], &front, &err));
            ck_assert_uint_eq(front->page, b + 1);
            sop_epoch_leave(slot);
        }
    }
    sop_epoch_give(&kit.epochs, slot);
    atomic_fetch_sub(&readers_left, 1);
    return NULL;
}

static void *trim(void *arg)
{
    (void)arg;
    while (atomic_load(&readers_left) > 0) {
        sop_cache_trim(&kit.cache);
        sop_epoch_reclaim(&kit.epochs);
        sched_yield();
    }
    return NULL;
}

START_TEST(readers_and_the_clock_do_not_disturb_each_other)
{
    struct reader readers[READERS];
    pthread_t threads[READERS + 1];
    struct sop_err err = {0};
    cache_kit_init(&kit, BODIES, BUDGET);
    atomic_store(&readers_left, READERS);
    for (uint64_t i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.seed = i + 1, .rounds = test_scale(3000, 50000, 1000000)};
        OK(sop_thread_start(&threads[i], read_all, &readers[i], "reader", &err));
    }
    OK(sop_thread_start(&threads[READERS], trim, NULL, "trim", &err));
    for (uint32_t i = 0; i <= READERS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    sop_cache_trim(&kit.cache);
    ck_assert_uint_le(atomic_load(&kit.cache.used_bytes), BUDGET);
    ck_assert_uint_gt(atomic_load(&kit.cache.evictions), 100);
    cache_kit_fini(&kit);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {readers_and_the_clock_do_not_disturb_each_other};
    return kit_main("cache_threads", tests, SOP_ARRAY_LEN(tests));
}
