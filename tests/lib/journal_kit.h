/* What tests of the journal share: a volume, a journal on it, records whose number says what is
 * in them, and a reader that checks it. */
#ifndef SOP_TEST_JOURNAL_KIT_H
#define SOP_TEST_JOURNAL_KIT_H

#include "engine/journal/journal.h"
#include "tests/lib/write_once.h"

#include <check.h>
#include <stdlib.h>

#define DIR      "journal"
#define FILE_MIN (32u * 1024u)
#define FILE_MAX (64u * 1024u)
#define TENURE   7u
#define HASH     99u

static _Atomic uint64_t syncs;
static const uint8_t nonce[SOP_NONCE_BYTES] = "journal nonce 1";

static inline struct sop_volume *new_volume(void)
{
    struct sop_volume *v;
    ck_assert_int_eq(sop_volume_sim_new(&v, NULL), 0);
    write_once(v);
    ck_assert_int_eq(sop_volume_mkdir(v, DIR, NULL), 0);
    ck_assert_int_eq(sop_volume_dir_sync(v, "", NULL), 0);
    return v;
}

static inline int new_journal(struct sop_volume *v, struct sop_journal **out,
                              struct sop_err *err)
{
    struct sop_journal_config config = {.volume = v,
                                        .dir = DIR,
                                        .file_bytes_min = FILE_MIN,
                                        .file_bytes_max = FILE_MAX,
                                        .syncs = &syncs};
    memcpy(config.nonce, nonce, sizeof config.nonce);
    int rc = sop_journal_new(out, &config, err);
    if (rc == 0) {
        sop_journal_begin(*out, TENURE, TENURE, HASH);
    }
    return rc;
}

/* Payload of record r: r repeated, of a length that depends on r alone. */
static inline size_t payload_len(uint64_t r, size_t max)
{
    return (size_t)(r * 2654435761u % max);
}

static inline void fill(uint8_t *to, size_t len, uint64_t r)
{
    for (size_t i = 0; i < len; i++) {
        to[i] = (uint8_t)(r * 31 + i);
    }
}

static inline int append(struct sop_journal *j, uint64_t r, size_t len, uint64_t lac,
                         struct sop_err *err)
{
    uint8_t *bytes = malloc(len + 1);
    ck_assert_ptr_nonnull(bytes);
    fill(bytes, len, r);
    struct sop_slice parts[] = {sop_slice(bytes, len / 3),
                                sop_slice(bytes + len / 3, len - len / 3)};
    struct sop_journal_entry entry = {
        .kind = 1, .batch = r, .lac = lac, .parts = parts, .part_count = 2};
    uint64_t record = 0;
    int rc = sop_journal_append(j, &entry, &record, err);
    if (rc == 0) {
        ck_assert_uint_eq(record, r);
    }
    free(bytes);
    return rc;
}

static inline void start(struct sop_journal_cursor *c, struct sop_volume *v)
{
    struct sop_journal_start s = {.tenure = TENURE,
                                  .record = 1,
                                  .hash_known = true,
                                  .hash = HASH,
                                  .place = {.file = 1, .offset = 0}};
    memcpy(s.nonce, nonce, sizeof s.nonce);
    sop_journal_cursor_init(c, v, DIR, &s);
}

/* Reads and checks records up to the end; returns the number of the last one. */
static inline uint64_t read_all(struct sop_journal_cursor *c, size_t max)
{
    struct sop_journal_record r;
    int rc;
    struct sop_err err = {0};
    while ((rc = sop_journal_cursor_next(c, &r, &err)) == 0) {
        size_t len = payload_len(r.header.record, max);
        ck_assert_uint_eq(r.payload.len, len);
        uint8_t *bytes = malloc(len + 1);
        ck_assert_ptr_nonnull(bytes);
        fill(bytes, len, r.header.record);
        ck_assert_mem_eq(r.payload.data, bytes, len);
        free(bytes);
        ck_assert_uint_eq(r.header.batch, r.header.record);
    }
    ck_assert_msg(rc == SOP_ERR_END, "%s", err.text);
    return c->record - 1;
}

#endif
