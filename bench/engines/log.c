#include "bench/engines/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RING_BYTES_LEAST (UINT64_C(16) << 20)
#define RING_BYTES_MOST  (UINT64_C(192) << 20)
#define BUFFER_BYTES     (UINT64_C(4) << 20)
#define HEAD_BYTES       8 /* of a record: kind, key length, value length */

struct buffer {
    uint8_t *data;
    size_t used, room;
};

struct bench_log {
    int fd;
    bool durable;
    uint64_t ring_bytes, at;
    pthread_mutex_t lock;
    pthread_cond_t flushed;
    struct buffer filling, writing;
    uint64_t generation; /* of the buffer that is filled */
    uint64_t done;       /* all generations below are written */
    bool busy, broken;
};

static int zero_fill(struct bench_log *log)
{
    uint8_t *zeros = calloc(1, BUFFER_BYTES);
    int rc = zeros != NULL ? 0 : -1;
    for (uint64_t at = 0; at < log->ring_bytes && rc == 0; at += BUFFER_BYTES) {
        rc = pwrite(log->fd, zeros, BUFFER_BYTES, (off_t)at) == (ssize_t)BUFFER_BYTES ? 0 : -1;
    }
    free(zeros);
    return rc == 0 ? fsync(log->fd) : rc;
}

int bench_log_open(struct bench_log **out, const struct bench_setup *setup)
{
    char path[4352];
    struct bench_log *log = calloc(1, sizeof *log);
    *out = log;
    if (log == NULL) {
        return bench_fail("journal: no memory");
    }
    uint64_t want = 2 * setup->data_bytes;
    want = want < RING_BYTES_LEAST ? RING_BYTES_LEAST : want;
    want = want > RING_BYTES_MOST ? RING_BYTES_MOST : want;
    log->ring_bytes = (want + BUFFER_BYTES - 1) / BUFFER_BYTES * BUFFER_BYTES;
    log->durable = setup->durable;
    log->done = 1;
    log->generation = 1;
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->flushed, NULL);
    snprintf(path, sizeof path, "%s/journal", setup->folder);
    log->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (log->fd < 0 || zero_fill(log) != 0) {
        return bench_fail("journal: make %s: %s", path, strerror(errno));
    }
    return 0;
}

void bench_log_close(struct bench_log *log)
{
    close(log->fd);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->flushed);
    free(log->filling.data);
    free(log->writing.data);
    free(log);
}

static bool reserve(struct buffer *b, size_t more)
{
    if (b->room - b->used >= more) {
        return true;
    }
    size_t room = 2 * (b->used + more);
    uint8_t *data = realloc(b->data, room);
    if (data == NULL) {
        return false;
    }
    b->data = data;
    b->room = room;
    return true;
}

static void copy(struct buffer *b, const struct bench_item *item, enum bench_log_kind kind)
{
    uint8_t *to = b->data + b->used;
    uint32_t value_len = kind == BENCH_LOG_PUT ? (uint32_t)item->value.len : 0;
    uint16_t head[2] = {(uint16_t)kind, (uint16_t)item->key.len};
    memcpy(to, head, sizeof head);
    memcpy(to + sizeof head, &value_len, sizeof value_len);
    memcpy(to + HEAD_BYTES, item->key.data, item->key.len);
    if (value_len > 0) {
        memcpy(to + HEAD_BYTES + item->key.len, item->value.data, value_len);
    }
    b->used += HEAD_BYTES + item->key.len + value_len;
}

static int flush(struct bench_log *log, const struct buffer *b)
{
    size_t done = 0;
    while (done < b->used) {
        size_t n = b->used - done;
        n = n < log->ring_bytes - log->at ? n : (size_t)(log->ring_bytes - log->at);
        ssize_t wrote = pwrite(log->fd, b->data + done, n, (off_t)log->at);
        if (wrote <= 0) {
            return -1;
        }
        done += (size_t)wrote;
        log->at = (log->at + (uint64_t)wrote) % log->ring_bytes;
    }
    return log->durable ? fdatasync(log->fd) : 0;
}

/* Called and left with the lock held; the lock is free while it writes. */
static void lead(struct bench_log *log)
{
    struct buffer full = log->filling;
    log->filling = log->writing;
    log->filling.used = 0;
    log->writing = full;
    uint64_t generation = log->generation++;
    log->busy = true;
    pthread_mutex_unlock(&log->lock);
    int rc = flush(log, &full);
    pthread_mutex_lock(&log->lock);
    log->busy = false;
    log->broken = log->broken || rc != 0;
    log->done = generation + 1;
    pthread_cond_broadcast(&log->flushed);
}

int bench_log_append(struct bench_log *log, enum bench_log_kind kind,
                     const struct bench_item *items, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += HEAD_BYTES + items[i].key.len + items[i].value.len;
    }
    pthread_mutex_lock(&log->lock);
    if (!reserve(&log->filling, bytes)) {
        log->broken = true;
    }
    for (size_t i = 0; i < count && !log->broken; i++) {
        copy(&log->filling, &items[i], kind);
    }
    uint64_t mine = log->generation;
    while (log->done <= mine && !log->broken) {
        if (log->busy) {
            pthread_cond_wait(&log->flushed, &log->lock);
        } else {
            lead(log);
        }
    }
    bool broken = log->broken;
    pthread_mutex_unlock(&log->lock);
    return broken ? bench_fail("journal: a write failed") : 0;
}
