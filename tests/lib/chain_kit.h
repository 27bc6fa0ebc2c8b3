/* What tests of the chain share: a disk, one opening after another, and a log of what the chain
 * hands up, checked against what was acknowledged.
 *
 * Each appended record carries a token of its own (a growing number, repeated to some length),
 * so that "acknowledged records are replayed once, in order" is a comparison of numbers. */
#ifndef SOP_TESTS_CHAIN_KIT_H
#define SOP_TESTS_CHAIN_KIT_H

#include "engine/base/codec.h"
#include "engine/base/env.h"
#include "engine/chain/chain.h"
#include "engine/volume/fault.h"
#include "engine/volume/sim.h"
#include "tests/lib/write_once.h"

#include <check.h>
#include <stdlib.h>

#define CHAIN_LOG_MAX 4096

struct chain_log {
    struct sop_lsn lsn[CHAIN_LOG_MAX];
    enum sop_record_kind kind[CHAIN_LOG_MAX];
    uint64_t token[CHAIN_LOG_MAX]; /* or the member of JOIN, LEAVE, EXPEL */
    size_t count;
};

/* Appends to the log in *arg; checks order and payload. */
static inline int chain_log_apply(void *arg, struct sop_lsn lsn, enum sop_record_kind kind,
                                  uint64_t member, uint64_t batch, struct sop_slice payload,
                                  struct sop_err *err)
{
    (void)err;
    struct chain_log *log = arg;
    ck_assert_uint_lt(log->count, CHAIN_LOG_MAX);
    ck_assert_uint_gt(member, 0);
    if (log->count > 0) {
        int order = sop_lsn_cmp(log->lsn[log->count - 1], lsn);
        /* Several EXPEL and the JOIN that says them have one LSN. */
        bool same = lsn.record == 0 && log->kind[log->count - 1] == SOP_RECORD_EXPEL;
        ck_assert_msg(order < 0 || (order == 0 && same), "out of order");
    }
    ck_assert_uint_ge(payload.len, 8);
    uint64_t token = sop_get_u64(payload.data);
    bool whole = true; /* one check at the end: each costs Check a system call */
    for (size_t i = 0; i + 8 <= payload.len; i += 8) {
        whole = whole && sop_get_u64(payload.data + i) == token;
    }
    ck_assert(whole);
    ck_assert_int_eq(kind == SOP_RECORD_BATCH, batch != 0);
    log->lsn[log->count] = lsn;
    log->kind[log->count] = kind;
    log->token[log->count] = token;
    log->count++;
    return 0;
}

static inline size_t chain_log_find(const struct chain_log *log, enum sop_record_kind kind,
                                    uint64_t token)
{
    size_t found = 0;
    for (size_t i = 0; i < log->count; i++) {
        found += log->kind[i] == kind && log->token[i] == token;
    }
    return found;
}

static inline struct sop_chain_options
chain_options(struct sop_volume *v, const struct sop_chain_point *start, struct chain_log *log)
{
    struct sop_chain_options o = {.volume = v,
                                  .env = sop_env_system(),
                                  .start = *start,
                                  .apply = chain_log_apply,
                                  .arg = log,
                                  .host = "kit",
                                  .dir_slots = 8,
                                  .journal_bytes_min = 32 * 1024,
                                  .journal_bytes_max = 128 * 1024};
    memcpy(o.database_id, "chain kit tests", 16);
    log->count = 0;
    return o;
}

static inline struct sop_volume *chain_disk(struct sop_chain_point *genesis)
{
    struct sop_volume *v;
    struct sop_err err = {0};
    ck_assert_int_eq(sop_volume_sim_new(&v, &err), 0);
    write_once(v);
    int rc = sop_chain_create(v, sop_env_system(), (const uint8_t *)"chain kit tests", genesis,
                              &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    return v;
}

/* Appends token, repeated to `len` bytes (a multiple of 8), as `kind`. */
static inline int chain_append(struct sop_chain *c, enum sop_record_kind kind, uint64_t token,
                               size_t len, bool sync, struct sop_lsn *lsn, bool *decided,
                               struct sop_err *err)
{
    uint8_t *bytes = malloc(len);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < len; i += 8) {
        sop_put_u64(bytes + i, token);
    }
    struct sop_slice parts[] = {sop_slice(bytes, len / 2),
                                sop_slice(bytes + len / 2, len - len / 2)};
    const struct sop_chain_sync at_once = {.meanwhile = NULL};
    int rc = sop_chain_append(c, kind, parts, 2, sync ? &at_once : NULL, lsn, decided, err);
    free(bytes);
    return rc;
}

/* Appends and expects success. */
static inline void chain_commit(struct sop_chain *c, uint64_t token, size_t len)
{
    struct sop_lsn lsn;
    bool decided;
    struct sop_err err = {0};
    int rc = chain_append(c, SOP_RECORD_BATCH, token, len, true, &lsn, &decided, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert(decided);
}

static inline struct sop_chain *chain_open(const struct sop_chain_options *o)
{
    struct sop_chain *c = NULL;
    struct sop_err err = {0};
    int rc = sop_chain_open(&c, o, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    return c;
}

static inline void chain_close(struct sop_chain **c, bool orderly)
{
    struct sop_err err = {0};
    int rc = sop_chain_close(c, orderly, &err);
    ck_assert_msg(rc == 0, "%s", err.text);
    ck_assert_ptr_null(*c);
}

static struct chain_log log_a;
static struct chain_log log_b;

/* A saved place to start from. */
struct chain_saved {
    struct sop_chain_point point;
    struct sop_buf state;
};

static inline void save(struct sop_chain *c, struct chain_saved *s)
{
    sop_buf_clear(&s->state);
    sop_chain_point(c, &s->point);
    ck_assert_int_eq(sop_chain_state(c, &s->state, NULL), 0);
}

static inline void start_from(struct sop_chain_options *o, const struct chain_saved *s)
{
    o->start = s->point;
    o->state = sop_buf_slice(&s->state);
}

static inline uint64_t hash_of(struct sop_volume *v, const struct sop_chain_point *genesis)
{
    struct sop_chain_options o = chain_options(v, genesis, &log_b);
    o.observer = true;
    struct sop_chain *c = chain_open(&o);
    struct sop_chain_point p;
    sop_chain_point(c, &p);
    chain_close(&c, true);
    return p.hash;
}

/* What a run was told. */
struct chain_told {
    uint64_t acknowledged; /* tokens 1..acknowledged are decided */
    uint64_t doubt;        /* this one may be; 0 = none */
    uint64_t refused;      /* this one is not; 0 = none */
};

static inline void check_told(struct sop_volume *v, const struct sop_chain_point *genesis,
                              const struct chain_told *told)
{
    struct sop_chain_options o = chain_options(v, genesis, &log_a);
    struct sop_chain *c = chain_open(&o);
    for (uint64_t t = 1; t <= told->acknowledged; t++) {
        ck_assert_msg(chain_log_find(&log_a, SOP_RECORD_BATCH, t) == 1,
                      "token %" PRIu64 " of %" PRIu64, t, told->acknowledged);
    }
    if (told->refused != 0) {
        ck_assert_uint_eq(chain_log_find(&log_a, SOP_RECORD_BATCH, told->refused), 0);
    }
    size_t maybe = 0;
    for (uint64_t t = told->acknowledged + 1; t < told->acknowledged + 10; t++) {
        size_t found = chain_log_find(&log_a, SOP_RECORD_BATCH, t);
        ck_assert_uint_le(found, 1);
        maybe += found;
    }
    ck_assert_uint_le(maybe, 1);
    /* And it works again. */
    chain_commit(c, 500, 8);
    struct sop_chain_point p;
    sop_chain_point(c, &p);
    ck_assert_int_eq(sop_chain_barrier(c, NULL), 0);
    chain_close(&c, false);
    ck_assert_uint_eq(hash_of(v, genesis), p.hash);
    ck_assert_uint_eq(chain_log_find(&log_b, SOP_RECORD_BATCH, 500), 1);
}

#endif
