/* What the engine may know of the world besides files: time and randomness, behind tables of
 * functions so that the simulator can replace them. Any thread. */
#ifndef SOP_ENV_H
#define SOP_ENV_H

#include "engine/base/base.h"

struct sop_env;
struct sop_env_ops {
    /* Nanoseconds since some start; never goes back; keeps counting in suspend where the
     * system can. Only for liveness, never for correctness. */
    uint64_t (*mono_ns)(struct sop_env *env);
    /* Milliseconds since 1970; may jump; only shown to people. */
    uint64_t (*wall_ms)(struct sop_env *env);
    void (*sleep_ns)(struct sop_env *env, uint64_t ns);
    /* Unpredictable bytes (ids, nonces). Never fails. */
    void (*random)(struct sop_env *env, void *to, size_t len);
};
struct sop_env {
    const struct sop_env_ops *ops;
};
static inline uint64_t sop_env_mono_ns(struct sop_env *e)
{
    return e->ops->mono_ns(e);
}
static inline uint64_t sop_env_wall_ms(struct sop_env *e)
{
    return e->ops->wall_ms(e);
}
static inline void sop_env_sleep_ns(struct sop_env *e, uint64_t ns)
{
    e->ops->sleep_ns(e, ns);
}
static inline void sop_env_random(struct sop_env *e, void *to, size_t n)
{
    e->ops->random(e, to, n);
}

/* The real one: CLOCK_BOOTTIME, CLOCK_REALTIME, getrandom. Static storage, stateless. */
struct sop_env *sop_env_system(void);

#endif
