/* A volume that wraps another one and tells a test before and after each operation. Owned apart
 * from the wrapped volume, which must outlive it. Closing files is not told. */
#ifndef SOP_TEST_WATCH_VOLUME_H
#define SOP_TEST_WATCH_VOLUME_H

#include "engine/volume/fault.h"

struct watch_calls {
    /* On the thread that calls, with whatever locks it holds; either may be NULL. */
    void (*before)(void *arg, enum sop_fault_op op);
    void (*after)(void *arg, enum sop_fault_op op);
    /* After a successful read or write of so many bytes; may be NULL. */
    void (*moved)(void *arg, enum sop_fault_op op, uint64_t bytes);
    void *arg;
};

/* Due sop_volume_destroy(). Ends the program without memory. */
struct sop_volume *watch_volume_new(struct sop_volume *wrapped,
                                    const struct watch_calls *calls);

#endif
