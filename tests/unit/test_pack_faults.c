/* Packs when anything fails: every operation of the volume and every allocation, one at a time.
 * After each round nothing leaks (the sanitizer says so), what a sync acknowledged is there
 * after power loss, and another member works on. */
#include "tests/lib/oom.h"
#include "tests/lib/pack_kit.h"

#include <errno.h>

enum { SHEET, LARGE, STREAMED, LATER, PLACES };

/* One session of a member, and how far it came. */
struct session {
    struct sop_packs *packs;
    struct sop_place places[PLACES];
    size_t synced; /* places[0..synced) survive power loss */
    size_t records;
};

static int stream(struct session *s, struct sop_err *err)
{
    struct sop_pack_owner owner = kit_value("streamed");
    struct sop_pack_stream *out = NULL;
    int rc = sop_packs_stream(s->packs, &owner, &out, err);
    if (rc != 0) {
        return rc;
    }
    uint8_t *bytes = kit_bytes(140000, STREAMED);
    rc = sop_pack_stream_write(out, sop_slice(bytes, 1000), err);
    if (rc == 0) {
        rc = sop_pack_stream_write(out, sop_slice(bytes + 1000, 139000), err);
    }
    free(bytes);
    if (rc != 0) {
        ck_assert_int_eq(sop_pack_stream_write(out, sop_slice_str("more"), NULL),
                         SOP_ERR_INVALID);
        sop_pack_stream_abort(&out);
        return rc;
    }
    rc = sop_pack_stream_finish(&out, &s->places[STREAMED], err);
    ck_assert_ptr_null(out); /* freed also when it fails */
    return rc;
}

static int write_all(struct session *s, struct sop_err *err)
{
    struct sop_pack_owner sheet = kit_sheet(5);
    struct sop_pack_owner value = kit_value("large");
    int rc = kit_append(s->packs, &sheet, 500, SHEET, &s->places[SHEET], err);
    if (rc == 0) {
        rc = kit_append(s->packs, &value, 90000, LARGE, &s->places[LARGE], err);
    }
    if (rc == 0) {
        rc = stream(s, err);
    }
    if (rc == 0) {
        rc = sop_packs_sync(s->packs, err);
    }
    if (rc == 0) {
        s->synced = LATER;
        rc = kit_append(s->packs, &sheet, 600, LATER, &s->places[LATER], err);
    }
    if (rc == 0) {
        rc = sop_packs_sync(s->packs, err);
    }
    if (rc == 0) {
        s->synced = PLACES;
    }
    return rc;
}

static enum sop_pack_type type_of(size_t i)
{
    return i == SHEET || i == LATER ? SOP_PACK_SHEET : SOP_PACK_VALUE;
}

static int count(void *arg, const struct sop_pack_owner *owner, const struct sop_place *place,
                 struct sop_err *err)
{
    struct session *s = arg;
    (void)owner;
    (void)place;
    (void)err;
    s->records++;
    return 0;
}

static int scan_file(void *arg, uint64_t member, uint32_t file, uint64_t bytes, bool writing,
                     struct sop_err *err)
{
    struct session *s = arg;
    (void)bytes;
    return member != s->places[SHEET].member || writing
               ? 0
               : sop_packs_scan(s->packs, member, file, true, count, s, err);
}

static int read_all(struct session *s, struct sop_err *err)
{
    uint8_t part[4000];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < PLACES; i++) {
        rc = kit_check(s->packs, &s->places[i], type_of(i), i, err);
    }
    if (rc == 0) {
        rc = sop_packs_read_range(s->packs, &s->places[LARGE], 64000, part, sizeof part, err);
    }
    sop_packs_cut(s->packs);
    if (rc == 0) {
        rc = sop_packs_files(s->packs, scan_file, s, err);
    }
    ck_assert(rc != 0 || s->records == PLACES);
    return rc;
}

static int session_run(struct session *s, struct sop_volume *v, uint64_t member,
                       struct sop_err *err)
{
    memset(s, 0, sizeof *s);
    int rc = sop_packs_open(&s->packs, v, sop_env_system(), kit_database, member, err);
    if (rc == 0) {
        rc = write_all(s, err);
    }
    if (rc == 0) {
        rc = read_all(s, err);
    }
    sop_packs_close(&s->packs);
    return rc;
}

static void check_synced(struct sop_volume *v, const struct session *s)
{
    struct sop_err err = {0};
    struct sop_volume *disk = NULL;
    OK(sop_volume_sim_crash(v, NULL, &disk, &err));
    struct sop_packs *p = kit_open(disk, 99);
    for (size_t i = 0; i < s->synced; i++) {
        OK(kit_check(p, &s->places[i], type_of(i), i, &err));
    }
    sop_packs_close(&p);
    sop_volume_destroy(disk);
}

static void every_fault(int sys, int code, bool half_write)
{
    int rc = -1;
    for (uint64_t step = 0; rc != 0; step++) {
        ck_assert_uint_lt(step, 200);
        struct sop_err err = {0};
        struct kit k = kit_init();
        struct session s;
        struct sop_fault_plan plan = {
            .ops = SOP_FAULT_ALL, .at = step, .sys = sys, .half_write = half_write};
        sop_volume_fault_set(k.fault, &plan);
        rc = session_run(&s, k.fault, 5, &err);
        ck_assert_msg(rc == 0 || rc == code, "step %ju: %s", (uintmax_t)step, err.text);
        ck_assert_int_eq(rc == 0 ? code : err.code, code);
        kit_heal(&k);
        check_synced(k.sim, &s);
        OK(session_run(&s, k.fault, 6, &err));
        check_synced(k.sim, &s);
        kit_fini(&k);
    }
}

START_TEST(every_volume_operation_may_fail_with_eio)
{
    every_fault(EIO, SOP_ERR_IO, false);
}
END_TEST

START_TEST(every_volume_operation_may_find_no_space)
{
    every_fault(ENOSPC, SOP_ERR_NOSPACE, true);
}
END_TEST

START_TEST(every_allocation_may_fail)
{
    int rc = -1;
    for (uint64_t step = 0; rc != 0; step++) {
        ck_assert_uint_lt(step, 500);
        struct sop_err err = {0};
        struct kit k = kit_init();
        struct session s;
        oom_fail_at(step);
        rc = session_run(&s, k.sim, 5, &err);
        bool hit = oom_hit();
        oom_off();
        ck_assert_msg(rc == 0 || hit, "step %ju: %s", (uintmax_t)step, err.text);
        ck_assert_msg(rc == 0 || rc == SOP_ERR_NOMEM, "step %ju: %s", (uintmax_t)step,
                      err.text);
        check_synced(k.sim, &s);
        OK(session_run(&s, k.sim, 6, &err));
        kit_fini(&k);
    }
}
END_TEST

START_TEST(unlink_may_fail_anywhere)
{
    int rc = -1;
    for (uint64_t step = 0; rc != 0; step++) {
        ck_assert_uint_lt(step, 20);
        struct sop_err err = {0};
        struct kit k = kit_init();
        struct session s;
        OK(session_run(&s, k.fault, 5, &err));
        OK(sop_packs_unlink(k.packs, 5, s.places[STREAMED].file, &err));
        kit_fail(&k, SOP_FAULT_ALL, step, EIO);
        rc = sop_packs_unlink(k.packs, 5, s.places[SHEET].file, &err);
        ck_assert(rc == 0 || rc == SOP_ERR_IO);
        kit_heal(&k);
        OK(sop_packs_unlink(k.packs, 5, s.places[SHEET].file, &err));
        struct sop_stat st;
        OK(sop_volume_stat(k.sim, "packs/5", &st, &err));
        ck_assert_int_eq(st.kind, SOP_FILE_ABSENT);
        kit_fini(&k);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        every_volume_operation_may_fail_with_eio,
        every_volume_operation_may_find_no_space,
        every_allocation_may_fail,
        unlink_may_fail_anywhere,
    };
    return kit_main("pack_faults", tests, SOP_ARRAY_LEN(tests));
}
