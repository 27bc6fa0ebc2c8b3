/* What tests of packs and of the registry share: a simulated volume behind a faulty one,
 * recognisable bytes, checks that print the library's own text. */
#ifndef SOP_TESTS_PACK_KIT_H
#define SOP_TESTS_PACK_KIT_H

#include "engine/base/codec.h"
#include "engine/pack/format.h"
#include "engine/volume/fault.h"
#include "engine/volume/sim.h"
#include "tests/lib/write_once.h"

#include <check.h>
#include <stdlib.h>

static const uint8_t kit_database[16] = {0xA1, 0xB2, 0xC3, 4,  5,  6,  7,  8,
                                         9,    10,   11,   12, 13, 14, 15, 16};

/* Succeeds or fails the test with the error's text; `err` is in scope. */
#define OK(call)                                                                               \
    do {                                                                                       \
        int ok_rc = (call);                                                                    \
        ck_assert_msg(ok_rc == 0, "%s: %s: %s", #call, sop_err_name(ok_rc), err.text);         \
    } while (0)
#define FAILS(code, call) ck_assert_int_eq((call), SOP_ERR_##code)

struct kit {
    struct sop_volume *sim;
    struct sop_volume *fault; /* wraps sim; misbehaves when told */
    struct sop_packs *packs;  /* member 7, on fault */
};

static inline struct sop_packs *kit_open(struct sop_volume *v, uint64_t member)
{
    struct sop_err err = {0};
    struct sop_packs *p = NULL;
    OK(sop_packs_open(&p, v, sop_env_system(), kit_database, member, &err));
    return p;
}

static inline struct kit kit_init(void)
{
    struct sop_err err = {0};
    struct kit k = {0};
    OK(sop_volume_sim_new(&k.sim, &err));
    write_once(k.sim);
    OK(sop_volume_fault_new(k.sim, &k.fault, &err));
    k.packs = kit_open(k.fault, 7);
    return k;
}

static inline void kit_fini(struct kit *k)
{
    sop_packs_close(&k->packs);
    sop_volume_destroy(k->fault);
    sop_volume_destroy(k->sim);
}

/* The at-th operation of the kinds `ops` from now on fails. */
static inline void kit_fail(struct kit *k, unsigned ops, uint64_t at, int sys)
{
    struct sop_fault_plan plan = {.ops = ops, .at = at, .sys = sys};
    sop_volume_fault_set(k->fault, &plan);
}

static inline void kit_heal(struct kit *k)
{
    kit_fail(k, 0, UINT64_MAX, 0);
}

/* len bytes that differ at every position and for every seed; free() them. */
static inline uint8_t *kit_bytes(size_t len, uint64_t seed)
{
    uint8_t *bytes = malloc(len + 1);
    ck_assert_ptr_nonnull(bytes);
    uint64_t x = seed * 0x9E3779B97F4A7C15u + 1;
    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        bytes[i] = (uint8_t)(x >> 24);
    }
    return bytes;
}

static inline struct sop_pack_owner kit_sheet(uint64_t page)
{
    return (struct sop_pack_owner){.type = SOP_PACK_SHEET, .store = 3, .page = page};
}

static inline struct sop_pack_owner kit_value(const char *key)
{
    return (struct sop_pack_owner){
        .type = SOP_PACK_VALUE, .store = 4, .key = sop_slice_str(key)};
}

/* Appends the kit's bytes of that length and seed. */
static inline int kit_append(struct sop_packs *p, const struct sop_pack_owner *owner,
                             size_t len, uint64_t seed, struct sop_place *place,
                             struct sop_err *err)
{
    uint8_t *bytes = kit_bytes(len, seed);
    int rc = sop_packs_append(p, owner, sop_slice(bytes, len), place, err);
    free(bytes);
    return rc;
}

/* Reads it back: 0 and the right bytes, or an error; never other bytes. */
static inline int kit_check(struct sop_packs *p, const struct sop_place *place,
                            enum sop_pack_type type, uint64_t seed, struct sop_err *err)
{
    struct sop_buf buf = {0};
    int rc = sop_packs_read(p, place, type, &buf, err);
    if (rc == 0) {
        uint8_t *bytes = kit_bytes(place->bytes, seed);
        ck_assert_uint_eq(buf.len, place->bytes);
        ck_assert_int_eq(memcmp(buf.data, bytes, buf.len), 0);
        ck_assert_uint_eq((uintptr_t)buf.data % 8, 0);
        free(bytes);
    }
    sop_buf_fini(&buf);
    return rc;
}

/* One suite of one case: the usual main. */
static inline int kit_main(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    tcase_set_timeout(tcase, 300);
    for (size_t i = 0; i < count; i++) {
        tcase_add_test(tcase, tests[i]);
    }
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
