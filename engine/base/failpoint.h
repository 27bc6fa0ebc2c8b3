/* Named points in the code where a test can stop or fail us.
 *
 * The owner of an operation carries a borrowed `const struct sop_failpoints *`; NULL (always so
 * in production) makes each point one comparison. Names are "module.place". */
#ifndef SOP_FAILPOINT_H
#define SOP_FAILPOINT_H

#include "engine/base/base.h"

struct sop_failpoints {
    /* Called at each point on the thread that reaches it, with whatever locks it holds.
     * 0: go on; a SOP error code: the point fails with it. */
    int (*hit)(void *arg, const char *name);
    void *arg;
};

/* Asks the callback; a failure fills *err and names the point. */
int sop_failpoint_hit(const struct sop_failpoints *fp, const char *name,
                      struct sop_err *err) SOP_MUST_USE;

/* 0 or the code to fail with. SOP_FAILPOINT_ERR also fills *err, for use where nothing else
 * will. */
#define SOP_FAILPOINT_ERR(fp, name, err)                                                       \
    (__builtin_expect((fp) == NULL, 1) ? 0 : sop_failpoint_hit((fp), (name), (err)))
#define SOP_FAILPOINT(fp, name) SOP_FAILPOINT_ERR(fp, name, NULL)

#endif
