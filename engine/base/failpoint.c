/* Named points where a test can stop or fail us. */
#include "engine/base/failpoint.h"

int sop_failpoint_hit(const struct sop_failpoints *fp, const char *name, struct sop_err *err)
{
    int rc = fp->hit(fp->arg, name);
    SOP_ASSERT(rc <= 0);
    if (rc == 0) {
        return 0;
    }
    return sop_err_set(err, rc, 0, __FILE__, __LINE__, "failpoint %s", name);
}
