/* The system's time and randomness. */
#include "engine/base/env.h"

#include <errno.h>
#include <sys/random.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)

static uint64_t system_mono_ns(struct sop_env *env)
{
    (void)env;
    struct timespec now;
    int rc = clock_gettime(CLOCK_BOOTTIME, &now);
    SOP_ASSERT(rc == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t system_wall_ms(struct sop_env *env)
{
    (void)env;
    struct timespec now;
    int rc = clock_gettime(CLOCK_REALTIME, &now);
    SOP_ASSERT(rc == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void system_sleep_ns(struct sop_env *env, uint64_t ns)
{
    (void)env;
    struct timespec left = {.tv_sec = (time_t)(ns / NS_PER_S),
                            .tv_nsec = (long)(ns % NS_PER_S)};
    int rc;
    do {
        rc = clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left);
    } while (rc == EINTR);
    SOP_ASSERT(rc == 0);
}

static void system_random(struct sop_env *env, void *to, size_t len)
{
    (void)env;
    uint8_t *at = to;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);
        SOP_ASSERT(got > 0 || (got < 0 && errno == EINTR));
        if (got > 0) {
            at += got;
            len -= (size_t)got;
        }
    }
}

static const struct sop_env_ops system_ops = {
    .mono_ns = system_mono_ns,
    .wall_ms = system_wall_ms,
    .sleep_ns = system_sleep_ns,
    .random = system_random,
};

struct sop_env *sop_env_system(void)
{
    static struct sop_env env = {.ops = &system_ops};
    return &env;
}
