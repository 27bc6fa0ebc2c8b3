/* The bound "memory": an ordered map in memory, and the bare journal for what changes it. No
 * checkpoint, no recovery, no snapshots: what every database with a redo journal does at least.
 */
#include "bench/engines/log.h"
#include "bench/engines/map.h"

#include <pthread.h>
#include <stdlib.h>

/* Readers take a lock of their own, on a cache line of its own; a writer takes all. */
struct reader {
    _Alignas(64) pthread_spinlock_t lock;
};

struct db {
    struct bench_log *log;
    struct bench_map *map;
    pthread_mutex_t writer;
    struct reader *readers;
    unsigned readers_count, used;
};

struct session {
    struct db *db;
    struct reader *own;
    bool reading;
};

static const char *version(void)
{
    return "";
}

static const char *describe(const struct bench_setup *s)
{
    return s->durable
               ? "B+-tree of 64-slot nodes in memory + the journal, synced; no checkpoint, "
                 "no recovery, no snapshots"
               : "B+-tree of 64-slot nodes in memory + the journal, not synced";
}

static int open_db(void **out, const struct bench_setup *s)
{
    struct db *db = calloc(1, sizeof *db);
    *out = db;
    db->readers_count = s->threads;
    db->readers = aligned_alloc(64, s->threads * sizeof *db->readers);
    if (db->readers == NULL) {
        return bench_fail("memory: no memory");
    }
    for (unsigned i = 0; i < s->threads; i++) {
        pthread_spin_init(&db->readers[i].lock, PTHREAD_PROCESS_PRIVATE);
    }
    pthread_mutex_init(&db->writer, NULL);
    int rc = bench_log_open(&db->log, s);
    return rc == 0 ? bench_map_new(&db->map) : rc;
}

static int close_db(void *arg)
{
    struct db *db = arg;
    bench_log_close(db->log);
    bench_map_free(db->map);
    pthread_mutex_destroy(&db->writer);
    free(db->readers);
    free(db);
    return 0;
}

static int session_open(void **session, void *arg)
{
    struct session *s = calloc(1, sizeof *s);
    struct db *db = arg;
    *session = s;
    if (s == NULL) {
        return bench_fail("memory: no memory");
    }
    s->db = db;
    pthread_mutex_lock(&db->writer);
    s->own = &db->readers[db->used++ % db->readers_count];
    pthread_mutex_unlock(&db->writer);
    return 0;
}

static void session_close(void *session)
{
    free(session);
}

static void lock_all(struct db *db)
{
    pthread_mutex_lock(&db->writer);
    for (unsigned i = 0; i < db->readers_count; i++) {
        pthread_spin_lock(&db->readers[i].lock);
    }
}

static void unlock_all(struct db *db)
{
    for (unsigned i = 0; i < db->readers_count; i++) {
        pthread_spin_unlock(&db->readers[i].lock);
    }
    pthread_mutex_unlock(&db->writer);
}

static int put(void *session, const struct bench_item *items, size_t count)
{
    struct db *db = ((struct session *)session)->db;
    int rc = 0;
    lock_all(db);
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = bench_map_put(db->map, &items[i]);
    }
    unlock_all(db);
    return rc == 0 ? bench_log_append(db->log, BENCH_LOG_PUT, items, count)
                   : bench_fail("memory: no memory");
}

static int remove_items(void *session, const struct bench_item *items, size_t count)
{
    struct db *db = ((struct session *)session)->db;
    bool all = true;
    lock_all(db);
    for (size_t i = 0; i < count; i++) {
        all = bench_map_remove(db->map, items[i].key) && all;
    }
    unlock_all(db);
    return all ? bench_log_append(db->log, BENCH_LOG_REMOVE, items, count)
               : bench_fail("memory: nothing to remove");
}

static int modify(void *session, const struct bench_item *item, struct bench_seen *seen)
{
    struct db *db = ((struct session *)session)->db;
    lock_all(db);
    bench_map_get(db->map, item, 1, seen);
    int rc = bench_map_put(db->map, item);
    unlock_all(db);
    return rc == 0 ? bench_log_append(db->log, BENCH_LOG_PUT, item, 1)
                   : bench_fail("memory: no memory");
}

static int read_begin(void *session)
{
    struct session *s = session;
    pthread_spin_lock(&s->own->lock);
    s->reading = true;
    return 0;
}

static int read_end(void *session)
{
    struct session *s = session;
    s->reading = false;
    pthread_spin_unlock(&s->own->lock);
    return 0;
}

static int get(void *session, const struct bench_item *keys, size_t count,
               struct bench_seen *seen)
{
    struct session *s = session;
    if (s->reading) {
        bench_map_get(s->db->map, keys, count, seen);
        return 0;
    }
    pthread_spin_lock(&s->own->lock);
    bench_map_get(s->db->map, keys, count, seen);
    pthread_spin_unlock(&s->own->lock);
    return 0;
}

static int scan(void *session, struct sop_slice from, size_t limit, struct bench_seen *seen)
{
    struct session *s = session;
    if (s->reading) {
        bench_map_scan(s->db->map, from, limit, seen);
        return 0;
    }
    pthread_spin_lock(&s->own->lock);
    bench_map_scan(s->db->map, from, limit, seen);
    pthread_spin_unlock(&s->own->lock);
    return 0;
}

const struct bench_engine bench_memory = {
    .name = "memory",
    .bound = true,
    .can = BENCH_READS,
    .version = version,
    .describe = describe,
    .open = open_db,
    .close = close_db,
    .session_open = session_open,
    .session_close = session_close,
    .insert = put,
    .update = put,
    .remove = remove_items,
    .read_begin = read_begin,
    .read_end = read_end,
    .get = get,
    .scan = scan,
    .modify = modify,
};
