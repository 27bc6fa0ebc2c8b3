/* engine/volume/sim: the contract in memory, and what crashes leave. */
#include "engine/base/thread.h"
#include "engine/volume/sim.h"
#include "tests/lib/oom.h"
#include "tests/lib/volume_contract.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define CREATE (SOP_OPEN_WRITE | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE)

static struct sop_volume *volume;
static struct sop_err err;

static void setup(void)
{
    volume_ok(sop_volume_sim_new(&volume, &err), &err);
}

static void teardown(void)
{
    sop_volume_destroy(volume);
}

START_TEST(the_contract_holds)
{
    volume_contract_run(_i, volume);
}
END_TEST

static const struct sop_sim_crash keep_all = {.keep_sector = 100, .keep_names = 100};

/* The disk after a crash, due destroy. */
static struct sop_volume *crash(const struct sop_sim_crash *how)
{
    struct sop_volume *after;
    volume_ok(sop_volume_sim_crash(volume, how, &after, &err), &err);
    return after;
}

static struct sop_file *open_file(struct sop_volume *v, const char *path, unsigned flags)
{
    struct sop_file *file;
    volume_ok(sop_file_open(v, path, flags, &file, &err), &err);
    return file;
}

static void write_at(struct sop_file *file, uint64_t offset, const void *bytes, size_t len)
{
    volume_ok(sop_file_write(file, offset, bytes, len, &err), &err);
}

static void sync_root(void)
{
    volume_ok(sop_volume_dir_sync(volume, "", &err), &err);
}

static uint64_t size_of(struct sop_volume *v, const char *path)
{
    struct sop_stat st;
    volume_ok(sop_volume_stat(v, path, &st, &err), &err);
    ck_assert_int_eq(st.kind, SOP_FILE_REGULAR);
    return st.bytes;
}

START_TEST(synced_bytes_under_a_synced_name_survive)
{
    volume_ok(sop_volume_write_file(volume, "f", sop_slice_str("safe"), &err), &err);
    sync_root();
    struct sop_volume *after = crash(NULL);
    volume_expect_file(after, "f", "safe");
    sop_volume_destroy(after);
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct sop_sim_crash how = {.seed = seed, .garble_sector = 100};
        after = crash(&how);
        volume_expect_file(after, "f", "safe");
        sop_volume_destroy(after);
    }
    volume_expect_file(volume, "f", "safe");
}
END_TEST

START_TEST(a_file_without_a_durable_name_is_gone)
{
    volume_ok(sop_volume_write_file(volume, "f", sop_slice_str("synced"), &err), &err);
    struct sop_volume *after = crash(NULL);
    ck_assert_int_eq(volume_kind(after, "f"), SOP_FILE_ABSENT);
    sop_volume_destroy(after);
    after = crash(&keep_all);
    volume_expect_file(after, "f", "synced");
    sop_volume_destroy(after);
    volume_expect_file(volume, "f", "synced"); /* the crashed volume itself is unchanged */
}
END_TEST

START_TEST(unsynced_bytes_are_dropped_with_the_size)
{
    volume_put_file(volume, "f", "never synced");
    sync_root();
    struct sop_volume *after = crash(NULL);
    volume_expect_file(after, "f", "");
    sop_volume_destroy(after);
    after = crash(&keep_all);
    volume_expect_file(after, "f", "never synced");
    sop_volume_destroy(after);
}
END_TEST

START_TEST(a_dropped_overwrite_shows_the_old_bytes)
{
    struct sop_file *file = open_file(volume, "f", CREATE);
    write_at(file, 0, "old!", 4);
    volume_ok(sop_file_sync(file, &err), &err);
    sync_root();
    write_at(file, 0, "new bytes", 9);
    struct sop_volume *after = crash(NULL);
    volume_expect_file(after, "f", "old!");
    sop_volume_destroy(after);
    after = crash(&keep_all);
    volume_expect_file(after, "f", "new bytes");
    sop_volume_destroy(after);
    volume_ok(sop_file_sync(file, &err), &err);
    after = crash(NULL);
    volume_expect_file(after, "f", "new bytes");
    sop_volume_destroy(after);
    sop_file_close(file);
}
END_TEST

enum { SECTORS = 64 };

/* A file of 's' synced in its first half, then 'u' over the middle half and beyond the old end,
 * unsynced. */
static struct sop_file *half_synced(void)
{
    static uint8_t bytes[SECTORS * 512];
    struct sop_file *file = open_file(volume, "f", CREATE);
    memset(bytes, 's', sizeof bytes);
    write_at(file, 0, bytes, sizeof bytes / 2);
    volume_ok(sop_file_sync(file, &err), &err);
    sync_root();
    memset(bytes, 'u', sizeof bytes);
    write_at(file, sizeof bytes / 4, bytes, sizeof bytes / 2);
    return file;
}

static bool sector_is(const uint8_t *bytes, size_t sector, uint8_t value)
{
    for (size_t i = 0; i < 512; i++) {
        if (bytes[sector * 512 + i] != value) {
            return false;
        }
    }
    return true;
}

struct tally {
    unsigned kept, dropped, garbled;
};

/* Checks one crashed file of half_synced by sector. */
static void check_half_synced(struct sop_volume *after, struct tally *t)
{
    struct sop_buf buf = {0};
    volume_ok(sop_volume_read_file(after, "f", SECTORS * 512, &buf, &err), &err);
    size_t sectors = buf.len / 512;
    ck_assert_uint_eq(buf.len % 512, 0);
    ck_assert_uint_ge(sectors, SECTORS / 2);
    ck_assert_uint_le(sectors, SECTORS * 3 / 4);
    for (size_t i = 0; i < sectors; i++) {
        if (i < SECTORS / 4) {
            ck_assert(sector_is(buf.data, i, 's'));
        } else if (sector_is(buf.data, i, 'u')) {
            t->kept++;
        } else if (sector_is(buf.data, i, i < SECTORS / 2 ? 's' : 0)) {
            t->dropped++;
        } else {
            t->garbled++;
        }
    }
    sop_buf_fini(&buf);
}

START_TEST(each_unsynced_sector_is_kept_dropped_or_garbled)
{
    struct sop_file *file = half_synced();
    struct tally t = {0};
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct sop_sim_crash how = {.seed = seed, .keep_sector = 50, .garble_sector = 20};
        struct sop_volume *after = crash(&how);
        check_half_synced(after, &t);
        sop_volume_destroy(after);
    }
    unsigned all = t.kept + t.dropped + t.garbled;
    ck_assert_uint_gt(all, 2500);
    ck_assert_uint_gt(t.kept * 100, all * 42);
    ck_assert_uint_lt(t.kept * 100, all * 58);
    ck_assert_uint_gt(t.garbled * 100, all * 15);
    ck_assert_uint_lt(t.garbled * 100, all * 27);
    sop_file_close(file);
}
END_TEST

START_TEST(all_sectors_can_be_garbled_and_none)
{
    struct sop_file *file = half_synced();
    struct tally t = {0};
    struct sop_sim_crash how = {.seed = 3, .garble_sector = 100};
    struct sop_volume *after = crash(&how);
    check_half_synced(after, &t);
    sop_volume_destroy(after);
    ck_assert_uint_eq(t.garbled, SECTORS / 2);
    t = (struct tally){0};
    how = (struct sop_sim_crash){.seed = 3};
    after = crash(&how);
    check_half_synced(after, &t);
    sop_volume_destroy(after);
    ck_assert_uint_eq(t.dropped, SECTORS / 4); /* the size is the durable one */
    ck_assert_uint_eq(t.garbled + t.kept, 0);
    sop_file_close(file);
}
END_TEST

START_TEST(the_size_follows_the_last_kept_sector)
{
    struct sop_file *file = open_file(volume, "f", CREATE);
    sync_root();
    write_at(file, 0, "a", 1);
    write_at(file, 1300, "b", 1);
    bool sizes[1302] = {false};
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct sop_sim_crash how = {.seed = seed, .keep_sector = 40};
        struct sop_volume *after = crash(&how);
        uint64_t size = size_of(after, "f");
        ck_assert_uint_le(size, 1301);
        sizes[size] = true;
        sop_volume_destroy(after);
    }
    /* Nothing, the first sector only, or up to the last written byte. */
    for (size_t size = 0; size < SOP_ARRAY_LEN(sizes); size++) {
        ck_assert_int_eq(sizes[size], size == 0 || size == 512 || size == 1301);
    }
    sop_file_close(file);
}
END_TEST

START_TEST(a_size_can_be_kept_without_its_bytes)
{
    struct sop_file *file = open_file(volume, "f", CREATE);
    sync_root();
    uint8_t bytes[512];
    memset(bytes, 'x', sizeof bytes);
    write_at(file, 0, bytes, sizeof bytes);
    unsigned zeros = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct sop_sim_crash how = {.seed = seed, .keep_sector = 50};
        struct sop_volume *after = crash(&how);
        struct sop_buf buf = {0};
        volume_ok(sop_volume_read_file(after, "f", 512, &buf, &err), &err);
        zeros += buf.len == 512 && sector_is(buf.data, 0, 0) ? 1u : 0u;
        ck_assert(buf.len == 0 || sector_is(buf.data, 0, 0) || sector_is(buf.data, 0, 'x'));
        sop_buf_fini(&buf);
        sop_volume_destroy(after);
    }
    ck_assert_uint_gt(zeros, 5);
    sop_file_close(file);
}
END_TEST

START_TEST(growing_after_a_drop_shows_zeros)
{
    struct sop_file *file = open_file(volume, "f", CREATE);
    write_at(file, 0, "0123456789", 10);
    volume_ok(sop_file_sync(file, &err), &err);
    sync_root();
    write_at(file, 5, "XXXXXXXXXXXXXXX", 15); /* same sector, longer */
    sop_file_close(file);
    struct sop_volume *after = crash(NULL);
    volume_expect_file(after, "f", "0123456789");
    file = open_file(after, "f", SOP_OPEN_WRITE);
    write_at(file, 12, "z", 1);
    char to[13];
    volume_ok(sop_file_read(file, 0, to, 13, NULL, &err), &err);
    ck_assert_mem_eq(to, "0123456789\0\0z", 13);
    sop_file_close(file);
    sop_volume_destroy(after);
}
END_TEST

START_TEST(names_become_durable_in_order)
{
    volume_put_file(volume, "0", "");
    sync_root();
    static const char *const made[] = {"1", "2", "3", "4"};
    for (size_t i = 0; i < SOP_ARRAY_LEN(made); i++) {
        volume_put_file(volume, made[i], "");
    }
    volume_ok(sop_volume_unlink(volume, "0", &err), &err);
    bool prefixes[6] = {false};
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct sop_sim_crash how = {.seed = seed, .keep_names = 10};
        struct sop_volume *after = crash(&how);
        size_t count = 0;
        while (count < 4 && volume_kind(after, made[count]) == SOP_FILE_REGULAR) {
            count++;
        }
        for (size_t i = count; i < 4; i++) {
            ck_assert_int_eq(volume_kind(after, made[i]), SOP_FILE_ABSENT);
        }
        if (volume_kind(after, "0") == SOP_FILE_ABSENT) {
            ck_assert_uint_eq(count, 4);
            count = 5;
        }
        prefixes[count] = true;
        sop_volume_destroy(after);
    }
    for (size_t i = 0; i < SOP_ARRAY_LEN(prefixes); i++) {
        ck_assert(prefixes[i]);
    }
}
END_TEST

START_TEST(an_unlinked_name_returns_unless_the_folder_was_synced)
{
    volume_ok(sop_volume_write_file(volume, "f", sop_slice_str("back"), &err), &err);
    sync_root();
    volume_ok(sop_volume_unlink(volume, "f", &err), &err);
    struct sop_volume *after = crash(NULL);
    volume_expect_file(after, "f", "back");
    sop_volume_destroy(after);
    sync_root();
    after = crash(NULL);
    ck_assert_int_eq(volume_kind(after, "f"), SOP_FILE_ABSENT);
    sop_volume_destroy(after);
}
END_TEST

START_TEST(a_name_made_removed_and_made_again_is_one_or_the_other)
{
    volume_ok(sop_volume_write_file(volume, "f", sop_slice_str("first"), &err), &err);
    volume_ok(sop_volume_unlink(volume, "f", &err), &err);
    volume_ok(sop_volume_write_file(volume, "f", sop_slice_str("second"), &err), &err);
    unsigned seen = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct sop_sim_crash how = {.seed = seed};
        struct sop_volume *after = crash(&how);
        if (volume_kind(after, "f") == SOP_FILE_ABSENT) {
            seen |= 1;
        } else if (size_of(after, "f") == 5) {
            volume_expect_file(after, "f", "first");
            seen |= 2;
        } else {
            volume_expect_file(after, "f", "second");
            seen |= 4;
        }
        sop_volume_destroy(after);
    }
    ck_assert_uint_eq(seen, 7);
    sync_root();
    struct sop_volume *after = crash(NULL);
    volume_expect_file(after, "f", "second");
    sop_volume_destroy(after);
}
END_TEST

START_TEST(a_linked_file_needs_one_durable_name)
{
    volume_ok(sop_volume_mkdir(volume, "d", &err), &err);
    sync_root();
    volume_ok(sop_volume_write_file(volume, "temporary", sop_slice_str("shared"), &err), &err);
    volume_ok(sop_volume_link(volume, "temporary", "d/ticket", &err), &err);
    volume_ok(sop_volume_dir_sync(volume, "d", &err), &err);
    struct sop_volume *after = crash(NULL);
    ck_assert_int_eq(volume_kind(after, "temporary"), SOP_FILE_ABSENT);
    volume_expect_file(after, "d/ticket", "shared");
    struct sop_stat st;
    volume_ok(sop_volume_stat(after, "d/ticket", &st, &err), &err);
    ck_assert_uint_eq(st.links, 1);
    sop_volume_destroy(after);
    sync_root();
    after = crash(NULL);
    volume_ok(sop_volume_stat(after, "d/ticket", &st, &err), &err);
    ck_assert_uint_eq(st.links, 2);
    struct sop_file *file = open_file(after, "temporary", SOP_OPEN_WRITE);
    write_at(file, 0, "SHARED", 6);
    sop_file_close(file);
    volume_expect_file(after, "d/ticket", "SHARED");
    sop_volume_destroy(after);
}
END_TEST

START_TEST(a_folder_whose_name_is_lost_takes_everything_along)
{
    volume_ok(sop_volume_mkdir(volume, "d", &err), &err);
    volume_ok(sop_volume_write_file(volume, "d/f", sop_slice_str("x"), &err), &err);
    volume_ok(sop_volume_dir_sync(volume, "d", &err), &err);
    struct sop_volume *after = crash(NULL);
    ck_assert_int_eq(volume_kind(after, "d"), SOP_FILE_ABSENT);
    volume_ok(sop_volume_mkdir(after, "d", &err), &err);
    ck_assert_int_eq(volume_kind(after, "d/f"), SOP_FILE_ABSENT);
    sop_volume_destroy(after);
    sync_root();
    after = crash(NULL);
    volume_expect_file(after, "d/f", "x");
    sop_volume_destroy(after);
}
END_TEST

START_TEST(a_removed_folder_returns_with_its_durable_names)
{
    volume_ok(sop_volume_mkdir(volume, "d", &err), &err);
    volume_ok(sop_volume_write_file(volume, "d/f", sop_slice_str("x"), &err), &err);
    volume_ok(sop_volume_dir_sync(volume, "d", &err), &err);
    sync_root();
    volume_ok(sop_volume_remove_tree(volume, "d", &err), &err);
    struct sop_volume *after = crash(NULL);
    volume_expect_file(after, "d/f", "x");
    sop_volume_destroy(after);
    sync_root(); /* the folder is gone for good, whatever it held */
    after = crash(NULL);
    ck_assert_int_eq(volume_kind(after, "d"), SOP_FILE_ABSENT);
    sop_volume_destroy(after);
}
END_TEST

/* Everything of a volume that a reader can see, hashed by hand into a buffer of text. */
static int describe(void *arg, const char *name, struct sop_err *e)
{
    (void)e;
    struct sop_buf *to = arg;
    return sop_buf_append(to, name, strlen(name), NULL);
}

START_TEST(one_seed_gives_one_disk)
{
    struct sop_file *file = half_synced();
    volume_put_file(volume, "a", "a");
    volume_put_file(volume, "b", "b");
    volume_ok(sop_volume_unlink(volume, "a", &err), &err);
    unsigned different = 0;
    struct sop_buf before = {0};
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct sop_buf seen[2] = {{0}, {0}};
        for (int twice = 0; twice < 2; twice++) {
            struct sop_sim_crash how = {
                .seed = seed, .keep_sector = 40, .garble_sector = 20, .keep_names = 30};
            struct sop_volume *after = crash(&how);
            volume_ok(sop_volume_read_file(after, "f", 1 << 20, &seen[twice], &err), &err);
            volume_ok(sop_volume_list(after, "", describe, &seen[twice], &err), &err);
            sop_volume_destroy(after);
        }
        ck_assert(sop_slice_eq(sop_buf_slice(&seen[0]), sop_buf_slice(&seen[1])));
        different += !sop_slice_eq(sop_buf_slice(&seen[0]), sop_buf_slice(&before)) ? 1u : 0u;
        sop_buf_fini(&before);
        sop_buf_fini(&seen[1]);
        before = seen[0];
    }
    ck_assert_uint_gt(different, 15);
    sop_buf_fini(&before);
    sop_file_close(file);
}
END_TEST

START_TEST(a_copy_keeps_what_is_visible_and_what_is_durable)
{
    struct sop_file *file = open_file(volume, "f", CREATE);
    write_at(file, 0, "durable", 7);
    volume_ok(sop_file_sync(file, &err), &err);
    sync_root();
    write_at(file, 0, "VISIBLE", 7);
    volume_put_file(volume, "g", "new");
    volume_ok(sop_file_lock(file, &err), &err);

    struct sop_volume *copy;
    volume_ok(sop_volume_sim_copy(volume, &copy, &err), &err);
    write_at(file, 0, "changed", 7); /* not seen by the copy */
    sop_file_close(file);
    volume_expect_file(copy, "f", "VISIBLE");
    volume_expect_file(copy, "g", "new");
    struct sop_lock_holder holder;
    volume_ok(sop_volume_lock_holder(copy, "f", &holder, &err), &err);
    ck_assert(!holder.held);

    struct sop_volume *after;
    volume_ok(sop_volume_sim_crash(copy, NULL, &after, &err), &err);
    volume_expect_file(after, "f", "durable");
    ck_assert_int_eq(volume_kind(after, "g"), SOP_FILE_ABSENT);
    sop_volume_destroy(after);
    volume_ok(sop_volume_sim_crash(copy, &keep_all, &after, &err), &err);
    volume_expect_file(after, "f", "VISIBLE");
    volume_expect_file(after, "g", "new");
    sop_volume_destroy(after);

    file = open_file(copy, "f", SOP_OPEN_WRITE);
    write_at(file, 0, "COPY   ", 7);
    sop_file_close(file);
    sop_volume_destroy(copy);
    volume_expect_file(volume, "f", "changed");
}
END_TEST

START_TEST(a_crash_takes_locks_and_unlinked_open_files)
{
    struct sop_file *file = open_file(volume, "f", CREATE);
    write_at(file, 0, "x", 1);
    volume_ok(sop_file_sync(file, &err), &err);
    volume_ok(sop_file_lock(file, &err), &err);
    sync_root();
    struct sop_volume *after = crash(NULL);
    struct sop_lock_holder holder;
    volume_ok(sop_volume_lock_holder(after, "f", &holder, &err), &err);
    ck_assert(!holder.held);
    sop_volume_destroy(after);
    volume_ok(sop_volume_unlink(volume, "f", &err), &err);
    sync_root();
    after = crash(&keep_all);
    ck_assert_int_eq(volume_kind(after, "f"), SOP_FILE_ABSENT);
    sop_volume_destroy(after);
    sop_file_close(file);
}
END_TEST

START_TEST(a_lock_is_granted_to_one_open_file)
{
    volume_put_file(volume, "f", "");
    struct sop_file *one = open_file(volume, "f", SOP_OPEN_WRITE);
    struct sop_file *other = open_file(volume, "f", SOP_OPEN_WRITE);
    struct sop_lock_holder holder;
    volume_ok(sop_file_lock(one, &err), &err);
    ck_assert_int_eq(sop_file_lock(other, &err), SOP_ERR_BUSY);
    volume_ok(sop_volume_lock_holder(volume, "f", &holder, &err), &err);
    ck_assert(holder.held);
    sop_file_close(one);
    volume_ok(sop_file_lock(other, &err), &err);
    sop_file_close(other);
}
END_TEST

START_TEST(a_flipped_bit_stays_flipped)
{
    struct sop_file *file = open_file(volume, "f", CREATE);
    write_at(file, 0, "aaaa", 4);
    volume_ok(sop_file_sync(file, &err), &err);
    sync_root();
    volume_ok(sop_volume_sim_flip(volume, "f", 9, &err), &err); /* 'a' ^ 2 == 'c' */
    volume_expect_file(volume, "f", "acaa");
    struct sop_volume *after = crash(NULL);
    volume_expect_file(after, "f", "acaa");
    sop_volume_destroy(after);
    write_at(file, 3, "b", 1);
    volume_ok(sop_volume_sim_flip(volume, "f", 1, &err), &err);
    volume_expect_file(volume, "f", "ccab");
    after = crash(NULL);
    volume_expect_file(after, "f", "ccaa");
    sop_volume_destroy(after);
    ck_assert_int_eq(sop_volume_sim_flip(volume, "f", 32, &err), SOP_ERR_INVALID);
    ck_assert_int_eq(sop_volume_sim_flip(volume, "g", 0, &err), SOP_ERR_NOT_FOUND);
    write_at(file, 9000, "x", 1);
    volume_ok(sop_volume_sim_flip(volume, "f", 8 * 5000, &err), &err); /* in a hole */
    uint8_t byte;
    volume_ok(sop_file_read(file, 5000, &byte, 1, NULL, &err), &err);
    ck_assert_uint_eq(byte, 1);
    sop_file_close(file);
}
END_TEST

START_TEST(truncation_cuts_what_is_visible_and_durable)
{
    struct sop_file *file = half_synced(); /* 's' to 16384, 'u' from 8192 to 24576 */
    volume_ok(sop_volume_sim_truncate(volume, "f", 9000, &err), &err);
    ck_assert_uint_eq(size_of(volume, "f"), 9000);
    struct sop_volume *after = crash(NULL);
    ck_assert_uint_eq(size_of(after, "f"), 9000);
    struct sop_file *old = open_file(after, "f", SOP_OPEN_READ);
    uint8_t byte;
    volume_ok(sop_file_read(old, 8999, &byte, 1, NULL, &err), &err);
    ck_assert_uint_eq(byte, 's');
    sop_file_close(old);
    sop_volume_destroy(after);
    after = crash(&keep_all);
    old = open_file(after, "f", SOP_OPEN_READ);
    volume_ok(sop_file_read(old, 8999, &byte, 1, NULL, &err), &err);
    ck_assert_uint_eq(byte, 'u');
    sop_file_close(old);
    sop_volume_destroy(after);

    volume_ok(sop_volume_sim_truncate(volume, "f", 20000, &err), &err);
    uint8_t tail[11000];
    volume_ok(sop_file_read(file, 9000, tail, sizeof tail, NULL, &err), &err);
    for (size_t i = 0; i < sizeof tail; i++) {
        ck_assert_uint_eq(tail[i], 0);
    }
    volume_ok(sop_volume_sim_truncate(volume, "f", 0, &err), &err);
    after = crash(&keep_all);
    volume_expect_file(after, "f", "");
    sop_volume_destroy(after);
    ck_assert_int_eq(sop_volume_sim_truncate(volume, "g", 0, &err), SOP_ERR_NOT_FOUND);
    sop_file_close(file);
}
END_TEST

START_TEST(a_full_volume_refuses_and_recovers)
{
    uint64_t space;
    volume_ok(sop_volume_space(volume, &space, &err), &err);
    ck_assert_uint_eq(space, UINT64_MAX);
    sop_volume_sim_set_capacity(volume, 3 * 4096);
    static const uint8_t bytes[4 * 4096] = {7};
    struct sop_file *file = open_file(volume, "f", CREATE);
    ck_assert_int_eq(sop_file_write(file, 0, bytes, sizeof bytes, &err), SOP_ERR_NOSPACE);
    ck_assert_int_eq(err.sys, ENOSPC);
    write_at(file, 0, bytes, 3 * 4096);
    ck_assert_int_eq(sop_file_write(file, 3 * 4096, "x", 1, &err), SOP_ERR_NOSPACE);
    write_at(file, 100, "overwriting takes no room", 25);
    volume_ok(sop_volume_space(volume, &space, &err), &err);
    ck_assert_uint_eq(space, 0);
    sop_file_close(file);
    sync_root();
    volume_ok(sop_volume_unlink(volume, "f", &err), &err);
    sync_root();
    volume_ok(sop_volume_space(volume, &space, &err), &err);
    ck_assert_uint_eq(space, 3 * 4096);
}
END_TEST

START_TEST(syncs_are_counted)
{
    struct sop_file *file = open_file(volume, "f", CREATE);
    ck_assert_uint_eq(sop_volume_sim_syncs(volume), 0);
    volume_ok(sop_file_sync(file, &err), &err);
    sync_root();
    ck_assert_uint_eq(sop_volume_sim_syncs(volume), 2);
    sop_file_close(file);
}
END_TEST

/* ---- against a plain model ---- */

enum { MODEL_SECTORS = 40, MODEL_BYTES = MODEL_SECTORS * 512 };

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

struct model {
    uint8_t now[MODEL_BYTES];
    uint8_t synced[MODEL_BYTES];
    bool dirty[MODEL_SECTORS];
    size_t size;
    size_t synced_size;
};

static void model_write(struct model *m, struct sop_file *file, uint64_t *random)
{
    size_t at = next_random(random) % MODEL_BYTES;
    size_t len = 1 + next_random(random) % 3000;
    len = len > MODEL_BYTES - at ? MODEL_BYTES - at : len;
    memset(m->now + at, (int)(1 + next_random(random) % 250), len);
    write_at(file, at, m->now + at, len);
    for (size_t s = at / 512; s <= (at + len - 1) / 512; s++) {
        m->dirty[s] = true;
    }
    m->size = at + len > m->size ? at + len : m->size;
}

/* Every sector of the crashed file must be one that the model allows. */
static void model_check(const struct model *m, struct sop_volume *after)
{
    struct sop_buf buf = {0};
    volume_ok(sop_volume_read_file(after, "f", MODEL_BYTES, &buf, &err), &err);
    ck_assert_uint_ge(buf.len, m->synced_size);
    ck_assert_uint_le(buf.len, m->size);
    for (size_t s = 0; s * 512 < buf.len; s++) {
        size_t at = s * 512;
        size_t len = buf.len - at < 512 ? buf.len - at : 512;
        bool old = memcmp(buf.data + at, m->synced + at, len) == 0;
        bool now = memcmp(buf.data + at, m->now + at, len) == 0;
        ck_assert(old || (now && m->dirty[s]));
    }
    sop_buf_fini(&buf);
}

START_TEST(random_writes_and_crashes_agree_with_the_model)
{
    uint64_t random = 0x1234567 + (uint64_t)_i;
    struct model m = {.size = 0};
    struct sop_file *file = open_file(volume, "f", CREATE);
    sync_root();
    for (int step = 0; step < 150; step++) {
        if (next_random(&random) % 4 != 0) {
            model_write(&m, file, &random);
        } else {
            volume_ok(sop_file_sync(file, &err), &err);
            memcpy(m.synced, m.now, sizeof m.now);
            memset(m.dirty, 0, sizeof m.dirty);
            m.synced_size = m.size;
        }
        struct sop_sim_crash how = {.seed = (uint64_t)step, .keep_sector = 50};
        struct sop_volume *after = crash(&how);
        model_check(&m, after);
        sop_volume_destroy(after);
        uint8_t back[MODEL_BYTES];
        volume_ok(sop_file_read(file, 0, back, m.size, NULL, &err), &err);
        ck_assert_mem_eq(back, m.now, m.size);
    }
    sop_file_close(file);
}
END_TEST

/* ---- memory and threads ---- */

static int use_everything(struct sop_err *e)
{
    struct sop_volume *v;
    struct sop_volume *after = NULL;
    struct sop_sim_crash how = {.seed = 1, .keep_sector = 50, .keep_names = 50};
    int rc = sop_volume_sim_new(&v, e);
    if (rc != 0) {
        return rc;
    }
    rc = sop_volume_mkdir(v, "d", e);
    if (rc == 0) {
        rc = sop_volume_write_file(v, "d/f", sop_slice_str("content"), e);
    }
    if (rc == 0) {
        rc = sop_volume_link(v, "d/f", "g", e);
    }
    if (rc == 0) {
        rc = sop_volume_dir_sync(v, "d", e);
    }
    if (rc == 0) {
        rc = sop_volume_sim_crash(v, &how, &after, e);
    }
    sop_volume_destroy(after);
    if (rc == 0) {
        rc = sop_volume_sim_flip(v, "g", 3, e);
    }
    if (rc == 0) {
        rc = sop_volume_sim_truncate(v, "g", 5, e);
    }
    if (rc == 0) {
        rc = sop_volume_remove_tree(v, "d", e);
    }
    sop_volume_destroy(v);
    return rc;
}

START_TEST(every_exhausted_heap_is_survived)
{
    for (uint64_t step = 0;; step++) {
        ck_assert_uint_lt(step, 500);
        oom_fail_at(step);
        struct sop_err e = {0};
        int rc = use_everything(&e);
        bool hit = oom_hit();
        oom_off();
        if (!hit) {
            volume_ok(rc, &e);
            ck_assert_uint_gt(step, 20);
            break;
        }
        ck_assert_int_eq(rc, SOP_ERR_NOMEM);
        ck_assert_int_eq(e.code, SOP_ERR_NOMEM);
    }
}
END_TEST

static void *busy_thread(void *arg)
{
    const char *path = arg;
    for (int i = 0; i < 200; i++) {
        struct sop_err e = {0};
        struct sop_buf buf = {0};
        int rc = sop_volume_write_file(volume, path, sop_slice_str(path), &e);
        if (rc == 0) {
            rc = sop_volume_read_file(volume, path, 100, &buf, &e);
        }
        if (rc == 0 && !sop_slice_eq(sop_buf_slice(&buf), sop_slice_str(path))) {
            rc = -1;
        }
        sop_buf_fini(&buf);
        if (rc == 0) {
            rc = sop_volume_unlink(volume, path, &e);
        }
        if (rc == 0 && i % 10 == 0) {
            rc = sop_volume_dir_sync(volume, "", &e);
        }
        if (rc != 0) {
            return arg;
        }
    }
    return NULL;
}

START_TEST(threads_may_use_the_volume_while_it_crashes)
{
    pthread_t threads[2];
    static char paths[2][2] = {"a", "b"};
    for (size_t i = 0; i < 2; i++) {
        volume_ok(sop_thread_start(&threads[i], busy_thread, paths[i], "busy", &err), &err);
    }
    for (int i = 0; i < 50; i++) {
        struct sop_volume *after = crash(&keep_all);
        struct sop_buf names = {0};
        volume_ok(sop_volume_list(after, "", describe, &names, &err), &err);
        sop_buf_fini(&names);
        sop_volume_destroy(after);
    }
    for (size_t i = 0; i < 2; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        ck_assert_ptr_null(failed);
    }
}
END_TEST

START_TEST(a_write_to_a_file_opened_for_reading_aborts)
{
    volume_put_file(volume, "f", "x");
    struct sop_file *file = open_file(volume, "f", SOP_OPEN_READ);
    (void)sop_file_write(file, 0, "y", 1, &err);
}
END_TEST

static bool any_path(const char *path)
{
    (void)path;
    return true;
}

/* With `second` 0: writes into what was never synced, into zeros, and behind a synced block. */
static void write_where_checked(uint64_t second)
{
    static const uint8_t zeros[8192];
    sop_volume_sim_write_once(volume, any_path);
    struct sop_file *file = open_file(volume, "f", CREATE);
    write_at(file, 0, zeros, sizeof zeros);
    volume_ok(sop_file_sync(file, &err), &err);
    write_at(file, 0, "ab", 2);
    write_at(file, 2, "cd", 2);
    volume_ok(sop_file_sync(file, &err), &err);
    write_at(file, 4096, "ef", 2);
    if (second != 0) {
        write_at(file, second, "gh", 2);
    }
    sop_file_close(file);
}

START_TEST(a_checked_volume_takes_what_is_new)
{
    write_where_checked(0);
}
END_TEST

START_TEST(a_checked_volume_ends_who_writes_a_synced_block_again)
{
    write_where_checked(4095 - (uint64_t)_i * 4000);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("sim");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, the_contract_holds, 0, volume_contract_cases());
    tcase_add_test(tc, synced_bytes_under_a_synced_name_survive);
    tcase_add_test(tc, a_file_without_a_durable_name_is_gone);
    tcase_add_test(tc, unsynced_bytes_are_dropped_with_the_size);
    tcase_add_test(tc, a_dropped_overwrite_shows_the_old_bytes);
    tcase_add_test(tc, each_unsynced_sector_is_kept_dropped_or_garbled);
    tcase_add_test(tc, all_sectors_can_be_garbled_and_none);
    tcase_add_test(tc, the_size_follows_the_last_kept_sector);
    tcase_add_test(tc, a_size_can_be_kept_without_its_bytes);
    tcase_add_test(tc, growing_after_a_drop_shows_zeros);
    tcase_add_test(tc, names_become_durable_in_order);
    tcase_add_test(tc, an_unlinked_name_returns_unless_the_folder_was_synced);
    tcase_add_test(tc, a_name_made_removed_and_made_again_is_one_or_the_other);
    tcase_add_test(tc, a_linked_file_needs_one_durable_name);
    tcase_add_test(tc, a_folder_whose_name_is_lost_takes_everything_along);
    tcase_add_test(tc, a_removed_folder_returns_with_its_durable_names);
    tcase_add_test(tc, one_seed_gives_one_disk);
    tcase_add_test(tc, a_copy_keeps_what_is_visible_and_what_is_durable);
    tcase_add_test(tc, a_crash_takes_locks_and_unlinked_open_files);
    tcase_add_test(tc, a_lock_is_granted_to_one_open_file);
    tcase_add_test(tc, a_flipped_bit_stays_flipped);
    tcase_add_test(tc, truncation_cuts_what_is_visible_and_durable);
    tcase_add_test(tc, a_full_volume_refuses_and_recovers);
    tcase_add_test(tc, syncs_are_counted);
    tcase_add_loop_test(tc, random_writes_and_crashes_agree_with_the_model, 0, 4);
    tcase_add_test(tc, every_exhausted_heap_is_survived);
    tcase_add_test(tc, threads_may_use_the_volume_while_it_crashes);
    tcase_add_test_raise_signal(tc, a_write_to_a_file_opened_for_reading_aborts, SIGABRT);
    tcase_add_test(tc, a_checked_volume_takes_what_is_new);
    tcase_add_loop_test_raise_signal(tc, a_checked_volume_ends_who_writes_a_synced_block_again,
                                     SIGABRT, 0, 2);
    Suite *suite = suite_create("volume_sim");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
