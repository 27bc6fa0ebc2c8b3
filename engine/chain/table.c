/* Databases that this process has open exclusively: the only global of the engine.
 *
 * It exists because fcntl locks do not exclude openings of one process from each other, and
 * because closing any descriptor of a lock file drops the process's lock. Entries of a parent
 * process mean nothing in a forked child: there the OS lock speaks. */
#include "engine/chain/chain_int.h"

#include <unistd.h>

struct entry {
    struct entry *next;
    const struct sop_chain *chain;
    uint8_t database_id[16];
    uint8_t identity[16];
    pid_t pid;
};

static struct entry *entries;
static struct sop_mutex table_mutex;
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_init(void)
{
    sop_mutex_init(&table_mutex, SOP_RANK_LEAF);
}

static void table_lock(void)
{
    int rc = pthread_once(&table_once, table_init);
    SOP_ASSERT(rc == 0);
    sop_mutex_lock(&table_mutex);
}

/* Under the lock. */
static bool is_open(const struct sop_chain *c)
{
    for (const struct entry *e = entries; e != NULL; e = e->next) {
        if (e->pid == c->pid && memcmp(e->database_id, c->database_id, 16) == 0 &&
            memcmp(e->identity, c->identity, 16) == 0) {
            return true;
        }
    }
    return false;
}

int sop_chain__table_enter(struct sop_chain *c, struct sop_err *err)
{
    struct entry *e = sop_malloc(sizeof *e);
    if (e == NULL) {
        return SOP_ERR(err, NOMEM, "table of open databases");
    }
    *e = (struct entry){.chain = c, .pid = c->pid};
    memcpy(e->database_id, c->database_id, 16);
    memcpy(e->identity, c->identity, 16);
    table_lock();
    bool busy = is_open(c);
    if (!busy) {
        e->next = entries;
        entries = e;
    }
    sop_mutex_unlock(&table_mutex);
    if (busy) {
        sop_free(e);
        return SOP_ERR(err, BUSY, "%s is open in this process already (pid %lld)",
                       c->volume->shown, (long long)c->pid);
    }
    c->in_table = true;
    return 0;
}

void sop_chain__table_leave(struct sop_chain *c)
{
    if (!c->in_table) {
        return;
    }
    table_lock();
    struct entry **at = &entries;
    while (*at != NULL && (*at)->chain != c) {
        at = &(*at)->next;
    }
    struct entry *e = *at;
    SOP_ASSERT(e != NULL);
    *at = e->next;
    sop_mutex_unlock(&table_mutex);
    sop_free(e);
    c->in_table = false;
}

bool sop_chain__table_has(const struct sop_chain *c)
{
    table_lock();
    bool open = is_open(c);
    sop_mutex_unlock(&table_mutex);
    return open;
}
