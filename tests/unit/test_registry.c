/* The registry: extents and manifests come back as they were written, or not at all. */
#include "tests/lib/oom.h"
#include "tests/lib/pack_kit.h"

#include "engine/registry/format.h"

#include <errno.h>
#include <stdio.h>

static const struct sop_extent_ref ref_a = {.extent = 0x1234, .lsn = {0xAB, 5}, .member = 0x7f};

/* An extent with a handle at each `step`-th page id; free it. step 0: none. */
static struct sop_extent *extent_new(uint64_t extent, size_t step)
{
    struct sop_extent *x = calloc(1, sizeof *x);
    ck_assert_ptr_nonnull(x);
    x->extent = extent;
    for (size_t i = 0; step != 0 && i < SOP_EXTENT_HANDLES; i += step) {
        struct sop_handle *h = &x->handles[i];
        h->lsn = (struct sop_lsn){.slot = i / 7, .record = i + 1};
        h->items = (uint32_t)(i * 3);
        h->level = (uint8_t)(i % SOP_LEVELS_MAX);
        if (i % 2 == 0) {
            h->base = (struct sop_place){.member = i + 1,
                                         .offset = i * 8,
                                         .file = (uint32_t)i + 1,
                                         .bytes = (uint32_t)i};
        }
        if (i % 3 == 0) {
            h->run = (struct sop_place){.member = 0xFFFFFFFFFFFF,
                                        .offset = 0xFFFFFFFFFF,
                                        .file = UINT32_MAX,
                                        .bytes = UINT32_MAX};
        }
    }
    return x;
}

static void check_same_handles(const struct sop_extent *a, const struct sop_extent *b)
{
    ck_assert_uint_eq(a->extent, b->extent);
    for (size_t i = 0; i < SOP_EXTENT_HANDLES; i++) {
        const struct sop_handle *x = &a->handles[i];
        const struct sop_handle *y = &b->handles[i];
        ck_assert(sop_lsn_cmp(x->lsn, y->lsn) == 0 && x->items == y->items &&
                  x->level == y->level && sop_place_eq(&x->base, &y->base) &&
                  sop_place_eq(&x->run, &y->run));
    }
}

static void extent_path(const struct sop_extent_ref *r, char to[128])
{
    (void)snprintf(to, 128, "registry/x%jx.%016jx-%016jx-%jx", (uintmax_t)r->extent,
                   (uintmax_t)r->lsn.slot, (uintmax_t)r->lsn.record, (uintmax_t)r->member);
}

static uint64_t file_bytes(struct sop_volume *v, const char *path)
{
    struct sop_err err = {0};
    struct sop_stat st;
    OK(sop_volume_stat(v, path, &st, &err));
    return st.bytes;
}

START_TEST(an_extent_comes_back_as_it_was)
{
    const size_t steps[] = {0, 1, 2, 63, 64, 1000, 16127};
    const uint64_t sectors[] = {0, 256, 256, 256, 252, 17, 2};
    for (size_t i = 0; i < SOP_ARRAY_LEN(steps); i++) {
        struct sop_err err = {0};
        struct kit k = kit_init();
        struct sop_extent *x = extent_new(ref_a.extent, steps[i]);
        struct sop_extent *y = extent_new(99, 5); /* must be overwritten */
        OK(sop_extent_write(k.sim, kit_database, x, &ref_a, &err));
        OK(sop_registry_sync(k.sim, &err));
        struct sop_volume *disk = NULL;
        OK(sop_volume_sim_crash(k.sim, NULL, &disk, &err));
        OK(sop_extent_read(disk, kit_database, &ref_a, y, &err));
        check_same_handles(x, y);
        char path[128];
        extent_path(&ref_a, path);
        if (steps[i] != 64) {
            ck_assert_uint_eq(file_bytes(k.sim, path), 4096 * (1 + sectors[i]));
        }
        FAILS(EXISTS, sop_extent_write(k.sim, kit_database, x, &ref_a, &err));
        sop_volume_destroy(disk);
        free(x);
        free(y);
        kit_fini(&k);
    }
}
END_TEST

START_TEST(an_extent_is_only_read_as_what_it_is)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_extent *x = extent_new(ref_a.extent, 100);
    OK(sop_extent_write(k.sim, kit_database, x, &ref_a, &err));
    struct sop_extent_ref other = ref_a;
    other.lsn.record++;
    FAILS(DATA_LOSS, sop_extent_read(k.sim, kit_database, &other, x, &err));
    uint8_t id[16] = {1};
    FAILS(DATA_LOSS, sop_extent_read(k.sim, id, &ref_a, x, &err));

    char from[128];
    char to[128];
    struct sop_buf bytes = {0};
    extent_path(&ref_a, from);
    extent_path(&other, to);
    OK(sop_volume_read_file(k.sim, from, 1 << 21, &bytes, &err));
    OK(sop_volume_write_file(k.sim, to, sop_buf_slice(&bytes), &err));
    FAILS(DATA_LOSS, sop_extent_read(k.sim, kit_database, &other, x, &err));
    ck_assert_ptr_nonnull(strstr(err.text, to));

    /* Sectors that change places do not check either. */
    ck_assert_uint_gt(bytes.len, 3 * 4096);
    uint8_t sector[4096];
    memcpy(sector, bytes.data + 4096, 4096);
    memmove(bytes.data + 4096, bytes.data + 8192, 4096);
    memcpy(bytes.data + 8192, sector, 4096);
    struct sop_extent_ref ref;
    FAILS(DATA_LOSS,
          sop_registry__extent_decode(kit_database, sop_buf_slice(&bytes), &ref, x, &err));
    sop_buf_fini(&bytes);
    free(x);
    kit_fini(&k);
}
END_TEST

START_TEST(every_flip_in_an_extent_is_noticed)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_extent *x = extent_new(ref_a.extent, 9000);
    OK(sop_extent_write(k.sim, kit_database, x, &ref_a, &err));
    char path[128];
    extent_path(&ref_a, path);
    uint64_t bytes = file_bytes(k.sim, path);
    ck_assert_uint_eq(bytes, 3 * 4096);
    for (uint64_t byte = 0; byte < bytes; byte += byte % 4096 < 200 ? 1 : 37) {
        uint64_t bit = byte * 8 + (byte * 3 + byte / 8) % 8;
        OK(sop_volume_sim_flip(k.sim, path, bit, &err));
        ck_assert_msg(sop_extent_read(k.sim, kit_database, &ref_a, x, &err) ==
                          SOP_ERR_DATA_LOSS,
                      "byte %ju", (uintmax_t)byte);
        ck_assert_msg(strstr(err.text, path) != NULL && strstr(err.text, "at byte ") != NULL,
                      "%s", err.text);
        OK(sop_volume_sim_flip(k.sim, path, bit, &err));
    }
    OK(sop_extent_read(k.sim, kit_database, &ref_a, x, &err));
    for (uint64_t len = bytes; len-- != 0;) {
        OK(sop_volume_sim_truncate(k.sim, path, len, &err));
        FAILS(DATA_LOSS, sop_extent_read(k.sim, kit_database, &ref_a, x, &err));
        len -= len > 997 ? 997 : 0;
    }
    free(x);
    kit_fini(&k);
}
END_TEST

static const struct sop_lsn manifest_lsn = {77, 3};

/* Every field differs from zero and from its neighbours. sop_manifest_fini() it. */
static struct sop_manifest manifest_new(size_t rows)
{
    struct sop_err err = {0};
    struct sop_manifest m = {
        .point = {.lsn = manifest_lsn,
                  .hash = 0xDEADBEEF12345678,
                  .dir = "chain/d0-abcdef",
                  .dir_first = 4097,
                  .journal_member = 61,
                  .journal_file = 4,
                  .journal_offset = 8192},
        .member = 61,
        .next_page = 1000,
        .next_store = 12,
        .value_bytes = 1u << 30,
    };
    memcpy(m.database_id, kit_database, 16);
    if (rows != 0) {
        m.extents = sop_calloc(rows, sizeof *m.extents);
        m.stores = sop_calloc(rows + 1, sizeof *m.stores);
        m.files = sop_calloc(rows + 2, sizeof *m.files);
        m.free_pages = sop_calloc(rows + 3, sizeof *m.free_pages);
        m.extents_count = rows;
        m.stores_count = rows + 1;
        m.files_count = rows + 2;
        m.free_pages_count = rows + 3;
        OK(sop_buf_append(&m.chain_state, "chain state", 11, &err));
    }
    for (size_t i = 0; i < m.extents_count; i++) {
        m.extents[i] = (struct sop_extent_ref){i * 2, {i + 3, i + 4}, i + 5};
    }
    for (size_t i = 0; i < m.stores_count; i++) {
        m.stores[i] = (struct sop_manifest_store){i + 1, i + 2, i * 1000, i % 2};
    }
    for (size_t i = 0; i < m.files_count; i++) {
        m.files[i] = (struct sop_manifest_file){i + 9, (uint32_t)i + 1, i << 33};
    }
    for (size_t i = 0; i < m.free_pages_count; i++) {
        m.free_pages[i] = (struct sop_manifest_free){i + 1, i + 100};
    }
    return m;
}

static void check_same_point(const struct sop_chain_point *a, const struct sop_chain_point *b)
{
    ck_assert_int_eq(sop_lsn_cmp(a->lsn, b->lsn), 0);
    ck_assert_uint_eq(a->hash, b->hash);
    ck_assert_str_eq(a->dir, b->dir);
    ck_assert_uint_eq(a->dir_first, b->dir_first);
    ck_assert_uint_eq(a->journal_member, b->journal_member);
    ck_assert_uint_eq(a->journal_file, b->journal_file);
    ck_assert_uint_eq(a->journal_offset, b->journal_offset);
}

static void check_same_rows(const struct sop_manifest *a, const struct sop_manifest *b)
{
    ck_assert_uint_eq(a->extents_count, b->extents_count);
    ck_assert_uint_eq(a->stores_count, b->stores_count);
    ck_assert_uint_eq(a->files_count, b->files_count);
    ck_assert_uint_eq(a->free_pages_count, b->free_pages_count);
    for (size_t i = 0; i < a->extents_count; i++) {
        ck_assert_uint_eq(a->extents[i].extent, b->extents[i].extent);
        ck_assert_int_eq(sop_lsn_cmp(a->extents[i].lsn, b->extents[i].lsn), 0);
        ck_assert_uint_eq(a->extents[i].member, b->extents[i].member);
    }
    for (size_t i = 0; i < a->stores_count; i++) {
        ck_assert_uint_eq(a->stores[i].store, b->stores[i].store);
        ck_assert_uint_eq(a->stores[i].root, b->stores[i].root);
        ck_assert_uint_eq(a->stores[i].items, b->stores[i].items);
        ck_assert_uint_eq(a->stores[i].dropping, b->stores[i].dropping);
    }
    for (size_t i = 0; i < a->files_count; i++) {
        ck_assert_uint_eq(a->files[i].member, b->files[i].member);
        ck_assert_uint_eq(a->files[i].file, b->files[i].file);
        ck_assert_uint_eq(a->files[i].live_bytes, b->files[i].live_bytes);
    }
    for (size_t i = 0; i < a->free_pages_count; i++) {
        ck_assert_uint_eq(a->free_pages[i].store, b->free_pages[i].store);
        ck_assert_uint_eq(a->free_pages[i].page, b->free_pages[i].page);
    }
}

static void check_same_manifest(const struct sop_manifest *a, const struct sop_manifest *b)
{
    ck_assert_int_eq(memcmp(a->database_id, b->database_id, 16), 0);
    check_same_point(&a->point, &b->point);
    ck_assert_uint_eq(a->member, b->member);
    ck_assert_uint_eq(a->next_page, b->next_page);
    ck_assert_uint_eq(a->next_store, b->next_store);
    ck_assert_uint_eq(a->value_bytes, b->value_bytes);
    check_same_rows(a, b);
    ck_assert(sop_slice_eq(sop_buf_slice(&a->chain_state), sop_buf_slice(&b->chain_state)));
    ck_assert_uint_eq(b->more.len, 0);
}

START_TEST(a_manifest_comes_back_as_it_was)
{
    const size_t rows[] = {0, 1, 2, 300};
    for (size_t i = 0; i < SOP_ARRAY_LEN(rows); i++) {
        struct sop_err err = {0};
        struct kit k = kit_init();
        struct sop_manifest m = manifest_new(rows[i]);
        struct sop_manifest n;
        OK(sop_manifest_write(k.sim, &m, &err));
        struct sop_volume *disk = NULL;
        OK(sop_volume_sim_crash(k.sim, NULL, &disk, &err));
        OK(sop_manifest_read(disk, manifest_lsn, 61, &n, &err));
        check_same_manifest(&m, &n);
        sop_manifest_fini(&n);
        FAILS(NOT_FOUND, sop_manifest_read(disk, manifest_lsn, 62, &n, &err));
        FAILS(EXISTS, sop_manifest_write(k.sim, &m, &err));
        OK(sop_manifest_unlink(k.sim, manifest_lsn, 61, &err));
        OK(sop_manifest_unlink(k.sim, manifest_lsn, 61, &err));
        FAILS(NOT_FOUND, sop_manifest_read(k.sim, manifest_lsn, 61, &n, &err));
        sop_volume_destroy(disk);
        sop_manifest_fini(&m);
        kit_fini(&k);
    }
}
END_TEST

START_TEST(every_flip_and_cut_of_a_manifest_is_noticed)
{
    struct sop_err err = {0};
    struct sop_manifest m = manifest_new(2);
    struct sop_manifest n;
    struct sop_buf bytes = {0};
    OK(sop_manifest_encode(&m, &bytes, &err));
    for (size_t bit = 0; bit < bytes.len * 8; bit++) {
        bytes.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        ck_assert_msg(sop_manifest_decode(sop_buf_slice(&bytes), &n, &err) == SOP_ERR_DATA_LOSS,
                      "bit %zu", bit);
        ck_assert_ptr_nonnull(strstr(err.text, "at byte"));
        bytes.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (size_t len = 0; len < bytes.len; len++) {
        FAILS(DATA_LOSS, sop_manifest_decode(sop_slice(bytes.data, len), &n, &err));
        ck_assert_ptr_null(n.extents);
    }
    OK(sop_buf_append(&bytes, "", 1, &err));
    FAILS(DATA_LOSS, sop_manifest_decode(sop_buf_slice(&bytes), &n, &err));
    sop_buf_fini(&bytes);
    sop_manifest_fini(&m);
}
END_TEST

/* Makes the CRC right again, so that what is behind it is looked at. */
static void recrc(struct sop_buf *bytes)
{
    uint32_t crc = sop_crc32c(bytes->data + SOP_MANIFEST_AT_VERSION,
                              bytes->len - SOP_MANIFEST_AT_VERSION, 0);
    sop_put_u32(bytes->data + SOP_MANIFEST_AT_CRC, crc);
}

START_TEST(a_lying_manifest_with_a_right_crc_is_refused)
{
    struct sop_err err = {0};
    struct sop_manifest m = manifest_new(2);
    struct sop_manifest n;
    struct sop_buf bytes = {0};
    OK(sop_manifest_encode(&m, &bytes, &err));
    size_t state = SOP_MANIFEST_HEADER_BYTES;
    size_t extents = state + SOP_SECTION_HEADER_BYTES + SOP_STATE_BYTES;
    const struct {
        size_t at;
        uint32_t value;
        int code;
    } lies[] = {
        {SOP_MANIFEST_AT_VERSION, 2, SOP_ERR_VERSION},
        {SOP_MANIFEST_AT_SECTIONS, 5, SOP_ERR_DATA_LOSS},
        {SOP_MANIFEST_AT_SECTIONS, 7, SOP_ERR_DATA_LOSS},
        {SOP_MANIFEST_AT_SECTIONS, UINT32_MAX, SOP_ERR_DATA_LOSS},
        {state, 2, SOP_ERR_DATA_LOSS},     /* type of the first section */
        {state, 7, SOP_ERR_VERSION},       /* unknown */
        {state + 4, 2, SOP_ERR_DATA_LOSS}, /* rows */
        {extents + 4, UINT32_MAX, SOP_ERR_DATA_LOSS},
        {extents + 8, UINT32_MAX, SOP_ERR_DATA_LOSS}, /* bytes */
        {extents + 12, UINT32_MAX, SOP_ERR_DATA_LOSS},
        {extents + 4, 1, SOP_ERR_DATA_LOSS},
    };
    for (size_t i = 0; i < SOP_ARRAY_LEN(lies); i++) {
        uint32_t before = sop_get_u32(bytes.data + lies[i].at);
        sop_put_u32(bytes.data + lies[i].at, lies[i].value);
        recrc(&bytes);
        int rc = sop_manifest_decode(sop_buf_slice(&bytes), &n, &err);
        ck_assert_msg(rc == lies[i].code, "lie %zu: %d %s", i, rc, err.text);
        ck_assert_ptr_null(n.extents);
        sop_put_u32(bytes.data + lies[i].at, before);
    }
    recrc(&bytes);
    OK(sop_manifest_decode(sop_buf_slice(&bytes), &n, &err));
    sop_manifest_fini(&n);

    OK(sop_buf_append(&m.more, "x", 1, &err));
    FAILS(UNSUPPORTED, sop_manifest_encode(&m, &bytes, &err));
    sop_buf_fini(&bytes);
    sop_manifest_fini(&m);
}
END_TEST

START_TEST(a_section_that_is_not_known_refuses_the_manifest)
{
    struct sop_err err = {0};
    struct sop_manifest m = manifest_new(1);
    struct sop_manifest n;
    struct sop_buf bytes = {0};
    OK(sop_manifest_encode(&m, &bytes, &err));
    uint8_t section[SOP_SECTION_HEADER_BYTES] = {99};
    OK(sop_buf_append(&bytes, section, sizeof section, &err));
    sop_put_u64(bytes.data + SOP_MANIFEST_AT_BYTES, bytes.len);
    sop_put_u32(bytes.data + SOP_MANIFEST_AT_SECTIONS, SOP_SECTIONS + 1);
    recrc(&bytes);
    FAILS(VERSION, sop_manifest_decode(sop_buf_slice(&bytes), &n, &err));
    sop_buf_fini(&bytes);
    sop_manifest_fini(&m);
}
END_TEST

START_TEST(a_manifest_under_a_wrong_name_is_refused)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_manifest m = manifest_new(1);
    struct sop_buf bytes = {0};
    OK(sop_manifest_encode(&m, &bytes, &err));
    OK(sop_volume_mkdir(k.sim, "checkpoints", &err));
    OK(sop_volume_write_file(k.sim, "checkpoints/000000000000004d-0000000000000004-3d",
                             sop_buf_slice(&bytes), &err));
    struct sop_manifest n;
    FAILS(DATA_LOSS, sop_manifest_read(k.sim, (struct sop_lsn){77, 4}, 61, &n, &err));
    ck_assert_ptr_null(n.extents);
    sop_buf_fini(&bytes);
    sop_manifest_fini(&m);
    kit_fini(&k);
}
END_TEST

START_TEST(manifests_are_listed_newest_first)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct sop_manifest_name *list = NULL;
    size_t count = 9;
    OK(sop_manifest_list(k.sim, &list, &count, &err));
    ck_assert_uint_eq(count, 0);
    sop_free(list);
    const struct sop_manifest_name names[] = {
        {{3, 9}, 1}, {{UINT64_MAX, 0}, 2}, {{3, 10}, 1}, {{0x10, 0}, 0xabc}, {{3, 9}, 2},
    };
    const size_t order[] = {1, 3, 2, 4, 0};
    struct sop_manifest m = manifest_new(1);
    for (size_t i = 0; i < SOP_ARRAY_LEN(names); i++) {
        m.point.lsn = names[i].lsn;
        m.member = names[i].member;
        OK(sop_manifest_write(k.sim, &m, &err));
    }
    const char *const strangers[] = {
        "checkpoints/3-9-1",
        "checkpoints/000000000000004d-0000000000000004-03",
        "checkpoints/000000000000004D-0000000000000004-3",
        "checkpoints/notes",
        "checkpoints/000000000000004d-0000000000000004-3.tmp",
        "checkpoints/-00000000000004d-0000000000000004-3",
    };
    for (size_t i = 0; i < SOP_ARRAY_LEN(strangers); i++) {
        OK(sop_volume_write_file(k.sim, strangers[i], sop_slice_str("no"), &err));
    }
    OK(sop_manifest_list(k.sim, &list, &count, &err));
    ck_assert_uint_eq(count, SOP_ARRAY_LEN(names));
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(sop_lsn_cmp(list[i].lsn, names[order[i]].lsn), 0);
        ck_assert_uint_eq(list[i].member, names[order[i]].member);
    }
    sop_free(list);
    sop_manifest_fini(&m);
    kit_fini(&k);
}
END_TEST

struct refs {
    struct sop_volume *v;
    size_t count;
};

static int take_ref(void *arg, const struct sop_extent_ref *ref, struct sop_err *err)
{
    struct refs *r = arg;
    r->count++;
    return sop_extent_unlink(r->v, ref, err);
}

START_TEST(extents_are_listed_and_removed)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    struct refs r = {.v = k.sim};
    OK(sop_registry_sync(k.sim, &err)); /* nothing there is nothing to sync */
    OK(sop_extent_list(k.sim, take_ref, &r, &err));
    ck_assert_uint_eq(r.count, 0);
    struct sop_extent *x = extent_new(0, 500);
    for (uint64_t i = 0; i < 5; i++) {
        struct sop_extent_ref ref = {
            .extent = i << 60, .lsn = {i + 1, i << 50}, .member = i + 1};
        x->extent = ref.extent;
        OK(sop_extent_write(k.sim, kit_database, x, &ref, &err));
    }
    OK(sop_volume_write_file(k.sim, "registry/x01.1-1-1", sop_slice_str("no"), &err));
    OK(sop_extent_list(k.sim, take_ref, &r, &err));
    ck_assert_uint_eq(r.count, 5);
    OK(sop_extent_list(k.sim, take_ref, &r, &err));
    ck_assert_uint_eq(r.count, 5);
    OK(sop_extent_unlink(k.sim, &ref_a, &err));
    free(x);
    kit_fini(&k);
}
END_TEST

/* A checkpoint as the layer above writes one, then read back. */
static int checkpoint(struct sop_volume *v, const struct sop_extent *x,
                      const struct sop_manifest *m, struct sop_extent *into,
                      struct sop_err *err)
{
    struct sop_manifest n = {0};
    struct sop_manifest_name *list = NULL;
    size_t count = 0;
    int rc = sop_extent_write(v, kit_database, x, &ref_a, err);
    if (rc == 0) {
        rc = sop_registry_sync(v, err);
    }
    if (rc == 0) {
        rc = sop_manifest_write(v, m, err);
    }
    if (rc == 0) {
        rc = sop_manifest_list(v, &list, &count, err);
    }
    if (rc == 0) {
        ck_assert_uint_eq(count, 1);
        rc = sop_manifest_read(v, list[0].lsn, list[0].member, &n, err);
    }
    if (rc == 0) {
        check_same_manifest(m, &n);
        rc = sop_extent_read(v, kit_database, &ref_a, into, err);
    }
    sop_free(list);
    sop_manifest_fini(&n);
    return rc;
}

START_TEST(a_checkpoint_survives_every_fault)
{
    const int sys[] = {EIO, ENOSPC};
    for (size_t i = 0; i < SOP_ARRAY_LEN(sys); i++) {
        struct sop_extent *x = extent_new(ref_a.extent, 1000);
        struct sop_extent *y = extent_new(0, 1);
        struct sop_manifest m = manifest_new(2);
        int rc = -1;
        for (uint64_t step = 0; rc != 0; step++) {
            ck_assert_uint_lt(step, 100);
            struct sop_err err = {0};
            struct kit k = kit_init();
            kit_fail(&k, SOP_FAULT_ALL, step, sys[i]);
            rc = checkpoint(k.fault, x, &m, y, &err);
            if (rc != 0) {
                ck_assert_int_eq(rc, sys[i] == EIO ? SOP_ERR_IO : SOP_ERR_NOSPACE);
                ck_assert_int_eq(err.code, rc);
                kit_heal(&k);
                OK(sop_extent_unlink(k.fault, &ref_a, &err));
                OK(sop_manifest_unlink(k.fault, manifest_lsn, 61, &err));
                OK(checkpoint(k.fault, x, &m, y, &err)); /* a clean retry works */
            }
            check_same_handles(x, y);
            kit_fini(&k);
        }
        free(x);
        free(y);
        sop_manifest_fini(&m);
    }
}
END_TEST

START_TEST(a_checkpoint_survives_every_failed_allocation)
{
    struct sop_extent *x = extent_new(ref_a.extent, 1000);
    struct sop_extent *y = extent_new(0, 1);
    struct sop_manifest m = manifest_new(2);
    int rc = -1;
    for (uint64_t step = 0; rc != 0; step++) {
        ck_assert_uint_lt(step, 500);
        struct sop_err err = {0};
        struct kit k = kit_init();
        oom_fail_at(step);
        rc = checkpoint(k.sim, x, &m, y, &err);
        oom_off();
        ck_assert_msg(rc == 0 || rc == SOP_ERR_NOMEM, "step %ju: %s", (uintmax_t)step,
                      err.text);
        if (rc != 0) {
            OK(sop_extent_unlink(k.sim, &ref_a, &err));
            OK(sop_manifest_unlink(k.sim, manifest_lsn, 61, &err));
            OK(checkpoint(k.sim, x, &m, y, &err));
        }
        check_same_handles(x, y);
        kit_fini(&k);
    }
    free(x);
    free(y);
    sop_manifest_fini(&m);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        an_extent_comes_back_as_it_was,
        an_extent_is_only_read_as_what_it_is,
        every_flip_in_an_extent_is_noticed,
        a_manifest_comes_back_as_it_was,
        every_flip_and_cut_of_a_manifest_is_noticed,
        a_lying_manifest_with_a_right_crc_is_refused,
        a_section_that_is_not_known_refuses_the_manifest,
        a_manifest_under_a_wrong_name_is_refused,
        manifests_are_listed_newest_first,
        extents_are_listed_and_removed,
        a_checkpoint_survives_every_fault,
        a_checkpoint_survives_every_failed_allocation,
    };
    return kit_main("registry", tests, SOP_ARRAY_LEN(tests));
}
