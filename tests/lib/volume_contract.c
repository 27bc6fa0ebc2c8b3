/* What every volume promises. */
#include "tests/lib/volume_contract.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void volume_ok(int rc, const struct sop_err *err)
{
    ck_assert_msg(rc == 0, "%s: %s", sop_err_name(rc), err->text);
}

enum sop_file_kind volume_kind(struct sop_volume *v, const char *path)
{
    struct sop_err err = {0};
    struct sop_stat st;
    volume_ok(sop_volume_stat(v, path, &st, &err), &err);
    return st.kind;
}

void volume_put_file(struct sop_volume *v, const char *path, const char *content)
{
    struct sop_err err = {0};
    struct sop_file *file;
    volume_ok(sop_file_open(v, path, SOP_OPEN_WRITE | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE,
                            &file, &err),
              &err);
    volume_ok(sop_file_write(file, 0, content, strlen(content), &err), &err);
    sop_file_close(file);
}

void volume_expect_file(struct sop_volume *v, const char *path, const char *content)
{
    struct sop_err err = {0};
    struct sop_buf buf = {0};
    volume_ok(sop_volume_read_file(v, path, 4096, &buf, &err), &err);
    ck_assert_msg(sop_slice_eq(sop_buf_slice(&buf), sop_slice_str(content)),
                  "%s holds \"%.*s\" and not \"%s\"", path, (int)buf.len,
                  buf.len == 0 ? "" : (const char *)buf.data, content);
    sop_buf_fini(&buf);
}

#define CREATE (SOP_OPEN_WRITE | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE)

static void reads_give_what_was_written(struct sop_volume *v)
{
    struct sop_err err = {0};
    struct sop_file *file;
    volume_ok(sop_file_open(v, "f", CREATE, &file, &err), &err);
    enum { BYTES = 100000 };
    uint8_t *bytes = malloc(BYTES);
    uint8_t *back = malloc(BYTES);
    for (size_t i = 0; i < BYTES; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    }
    volume_ok(sop_file_write(file, 0, bytes, 50000, &err), &err);
    volume_ok(sop_file_write(file, 50000, bytes + 50000, 50000, &err), &err);
    memset(bytes + 4000, 'x', 5000);
    volume_ok(sop_file_write(file, 4000, bytes + 4000, 5000, &err), &err);
    volume_ok(sop_file_sync(file, &err), &err);
    memset(bytes + 511, 'y', 2);
    volume_ok(sop_file_write(file, 511, bytes + 511, 2, &err), &err);
    volume_ok(sop_file_read(file, 0, back, BYTES, NULL, &err), &err);
    ck_assert_mem_eq(back, bytes, BYTES);
    volume_ok(sop_file_read(file, 4095, back, 4098, NULL, &err), &err);
    ck_assert_mem_eq(back, bytes + 4095, 4098);
    uint64_t size;
    volume_ok(sop_file_size(file, &size, &err), &err);
    ck_assert_uint_eq(size, BYTES);
    free(bytes);
    free(back);
    sop_file_close(file);
}

static void reading_over_the_end_gives_what_there_is(struct sop_volume *v)
{
    struct sop_err err = {0};
    volume_put_file(v, "f", "0123456789");
    struct sop_file *file;
    volume_ok(sop_file_open(v, "f", SOP_OPEN_READ, &file, &err), &err);
    char to[20] = {0};
    size_t got = 99;
    ck_assert_int_eq(sop_file_read(file, 4, to, 10, &got, &err), SOP_ERR_END);
    ck_assert_uint_eq(got, 6);
    ck_assert_mem_eq(to, "456789", 6);
    ck_assert_int_eq(sop_file_read(file, 10, to, 1, &got, &err), SOP_ERR_END);
    ck_assert_uint_eq(got, 0);
    ck_assert_int_eq(sop_file_read(file, 1000000, to, 1, NULL, &err), SOP_ERR_END);
    ck_assert_int_eq(sop_file_read(file, 3, to, 0, &got, &err), 0);
    ck_assert_int_eq(sop_file_read(file, 0, to, 10, &got, &err), 0);
    ck_assert_uint_eq(got, 10);
    sop_file_close(file);
}

static void advice_changes_no_result(struct sop_volume *v)
{
    struct sop_err err = {0};
    volume_put_file(v, "f", "0123456789");
    struct sop_file *file;
    volume_ok(sop_file_open(v, "f", SOP_OPEN_READ | SOP_OPEN_RANDOM, &file, &err), &err);
    char to[20] = {0};
    size_t got = 99;
    volume_ok(sop_file_read(file, 7, to, 2, NULL, &err), &err);
    volume_ok(sop_file_read(file, 2, to + 2, 3, NULL, &err), &err);
    ck_assert_mem_eq(to, "78234", 5);
    ck_assert_int_eq(sop_file_read(file, 4, to, 10, &got, &err), SOP_ERR_END);
    ck_assert_uint_eq(got, 6);
    sop_file_close(file);
}

static void a_hole_reads_as_zeros(struct sop_volume *v)
{
    struct sop_err err = {0};
    struct sop_file *file;
    volume_ok(sop_file_open(v, "f", CREATE, &file, &err), &err);
    volume_ok(sop_file_write(file, 20000, "x", 1, &err), &err);
    uint8_t to[20001];
    memset(to, 1, sizeof to);
    volume_ok(sop_file_read(file, 0, to, sizeof to, NULL, &err), &err);
    for (size_t i = 0; i < 20000; i++) {
        ck_assert_uint_eq(to[i], 0);
    }
    ck_assert_uint_eq(to[20000], 'x');
    sop_file_close(file);
}

static void direct_files_work_in_blocks(struct sop_volume *v)
{
    struct sop_err err = {0};
    struct sop_file *file;
    volume_ok(sop_file_open(v, "f", CREATE | SOP_OPEN_DIRECT, &file, &err), &err);
    uint8_t *block = sop_malloc_aligned(4096, 8192);
    memset(block, 'a', 4096);
    memset(block + 4096, 'b', 4096);
    volume_ok(sop_file_write(file, 4096, block, 8192, &err), &err);
    volume_ok(sop_file_sync(file, &err), &err);
    memset(block, 0, 8192);
    volume_ok(sop_file_read(file, 8192, block, 4096, NULL, &err), &err);
    ck_assert_uint_eq(block[0], 'b');
    size_t got;
    ck_assert_int_eq(sop_file_read(file, 8192, block, 8192, &got, &err), SOP_ERR_END);
    ck_assert_uint_eq(got, 4096);
    sop_file_close(file);

    volume_put_file(v, "odd", "not a whole block");
    volume_ok(sop_file_open(v, "odd", SOP_OPEN_READ | SOP_OPEN_DIRECT, &file, &err), &err);
    ck_assert_int_eq(sop_file_read(file, 0, block, 8192, &got, &err), SOP_ERR_END);
    ck_assert_uint_eq(got, strlen("not a whole block"));
    ck_assert_mem_eq(block, "not a whole block", got);
    sop_file_close(file);
    sop_free(block);
}

static void files_are_created_once_and_never_by_accident(struct sop_volume *v)
{
    struct sop_err err = {0};
    struct sop_file *file;
    ck_assert_int_eq(sop_file_open(v, "f", SOP_OPEN_WRITE, &file, &err), SOP_ERR_NOT_FOUND);
    ck_assert_int_eq(err.sys, ENOENT);
    ck_assert_int_eq(volume_kind(v, "f"), SOP_FILE_ABSENT);
    volume_put_file(v, "f", "first");
    ck_assert_int_eq(sop_file_open(v, "f", CREATE, &file, &err), SOP_ERR_EXISTS);
    ck_assert_int_eq(sop_file_open(v, "none/f", CREATE, &file, &err), SOP_ERR_NOT_FOUND);
    ck_assert_int_eq(sop_file_open(v, "f/f", CREATE, &file, &err), SOP_ERR_NOT_FOUND);
    volume_expect_file(v, "f", "first");
}

static void an_unlinked_open_file_lives_on(struct sop_volume *v)
{
    struct sop_err err = {0};
    volume_put_file(v, "f", "still here");
    struct sop_file *file;
    volume_ok(sop_file_open(v, "f", SOP_OPEN_WRITE, &file, &err), &err);
    volume_ok(sop_volume_unlink(v, "f", &err), &err);
    ck_assert_int_eq(volume_kind(v, "f"), SOP_FILE_ABSENT);
    volume_put_file(v, "f", "another");
    char to[10];
    volume_ok(sop_file_read(file, 0, to, sizeof to, NULL, &err), &err);
    ck_assert_mem_eq(to, "still here", sizeof to);
    volume_ok(sop_file_write(file, 0, "gone", 4, &err), &err);
    sop_file_close(file);
    volume_expect_file(v, "f", "another");
    ck_assert_int_eq(sop_volume_unlink(v, "g", &err), SOP_ERR_NOT_FOUND);
}

static void a_link_is_made_once_and_shares_the_file(struct sop_volume *v)
{
    struct sop_err err = {0};
    struct sop_stat st;
    volume_ok(sop_volume_mkdir(v, "d", &err), &err);
    volume_put_file(v, "f", "one");
    volume_put_file(v, "other", "two");
    volume_ok(sop_volume_link(v, "f", "d/g", &err), &err);
    ck_assert_int_eq(sop_volume_link(v, "other", "d/g", &err), SOP_ERR_EXISTS);
    volume_expect_file(v, "d/g", "one");
    volume_ok(sop_volume_stat(v, "f", &st, &err), &err);
    ck_assert_uint_eq(st.links, 2);
    struct sop_file *file;
    volume_ok(sop_file_open(v, "d/g", SOP_OPEN_WRITE, &file, &err), &err);
    volume_ok(sop_file_write(file, 0, "ONE!", 4, &err), &err);
    sop_file_close(file);
    volume_ok(sop_volume_unlink(v, "d/g", &err), &err);
    volume_expect_file(v, "f", "ONE!");
    volume_ok(sop_volume_stat(v, "f", &st, &err), &err);
    ck_assert_uint_eq(st.links, 1);
    ck_assert_int_eq(sop_volume_link(v, "none", "h", &err), SOP_ERR_NOT_FOUND);
    ck_assert_int_eq(sop_volume_link(v, "f", "none/h", &err), SOP_ERR_NOT_FOUND);
    ck_assert_int_eq(sop_volume_link(v, "d", "h", &err), SOP_ERR_READ_ONLY); /* EPERM */
}

static void folders_hold_names(struct sop_volume *v)
{
    struct sop_err err = {0};
    volume_ok(sop_volume_mkdir(v, "a", &err), &err);
    volume_ok(sop_volume_mkdir(v, "a/b", &err), &err);
    ck_assert_int_eq(sop_volume_mkdir(v, "a/b", &err), SOP_ERR_EXISTS);
    ck_assert_int_eq(sop_volume_mkdir(v, "x/y", &err), SOP_ERR_NOT_FOUND);
    volume_ok(sop_volume_mkdir_if_absent(v, "a/b", &err), &err);
    volume_ok(sop_volume_mkdir_if_absent(v, "a/c", &err), &err);
    volume_put_file(v, "a/f", "");
    ck_assert_int_eq(sop_volume_mkdir_if_absent(v, "a/f", &err), SOP_ERR_EXISTS);
    ck_assert_int_eq(volume_kind(v, "a/b"), SOP_FILE_DIRECTORY);
    ck_assert_int_eq(volume_kind(v, "a/f"), SOP_FILE_REGULAR);
    ck_assert_int_eq(volume_kind(v, "a/f/g"), SOP_FILE_ABSENT);
    ck_assert_int_eq(volume_kind(v, ""), SOP_FILE_DIRECTORY);
    ck_assert_int_eq(volume_kind(v, "."), SOP_FILE_DIRECTORY);
    ck_assert_int_eq(sop_volume_rmdir(v, "a", &err), SOP_ERR_IO);
    ck_assert_int_eq(err.sys, ENOTEMPTY);
    ck_assert_int_eq(sop_volume_rmdir(v, "a/f", &err), SOP_ERR_NOT_FOUND); /* ENOTDIR */
    ck_assert_int_ne(sop_volume_unlink(v, "a/b", &err), 0);
    ck_assert_int_eq(err.sys, EISDIR);
    volume_ok(sop_volume_rmdir(v, "a/b", &err), &err);
    ck_assert_int_eq(volume_kind(v, "a/b"), SOP_FILE_ABSENT);
    volume_ok(sop_volume_dir_sync(v, "a", &err), &err);
    volume_ok(sop_volume_dir_sync(v, "", &err), &err);
    ck_assert_int_eq(sop_volume_dir_sync(v, "a/b", &err), SOP_ERR_NOT_FOUND);
}

struct listing {
    struct sop_volume *volume;
    unsigned seen; /* bit per name "0".."9" */
    int left;      /* names until the callback stops the listing */
};

static int note_name(void *arg, const char *name, struct sop_err *err)
{
    struct listing *l = arg;
    if (l->left-- == 0) {
        return SOP_ERR(err, CANCELLED, "enough");
    }
    ck_assert_uint_eq(strlen(name), 1);
    l->seen |= 1u << (unsigned)(name[0] - '0');
    /* The volume may be used from here. */
    return volume_kind(l->volume, "") == SOP_FILE_DIRECTORY ? 0 : -1;
}

static void a_listing_tells_every_name(struct sop_volume *v)
{
    struct sop_err err = {0};
    volume_ok(sop_volume_mkdir(v, "d", &err), &err);
    struct listing l = {.volume = v, .left = 100};
    volume_ok(sop_volume_list(v, "d", note_name, &l, &err), &err);
    ck_assert_uint_eq(l.seen, 0);
    volume_put_file(v, "d/3", "");
    volume_put_file(v, "d/7", "");
    volume_ok(sop_volume_mkdir(v, "d/0", &err), &err);
    volume_ok(sop_volume_list(v, "d", note_name, &l, &err), &err);
    ck_assert_uint_eq(l.seen, 1u << 3 | 1u << 7 | 1u);
    l.left = 1;
    ck_assert_int_eq(sop_volume_list(v, "d", note_name, &l, &err), SOP_ERR_CANCELLED);
    ck_assert_str_eq(err.text, "enough");
    ck_assert_int_eq(sop_volume_list(v, "none", note_name, &l, &err), SOP_ERR_NOT_FOUND);
    ck_assert_int_eq(sop_volume_list(v, "d/3", note_name, &l, &err), SOP_ERR_NOT_FOUND);
}

static void whole_files_are_written_once_and_read_under_a_limit(struct sop_volume *v)
{
    struct sop_err err = {0};
    struct sop_buf buf = {0};
    volume_ok(sop_volume_write_file(v, "f", sop_slice_str("content"), &err), &err);
    ck_assert_int_eq(sop_volume_write_file(v, "f", sop_slice_str("x"), &err), SOP_ERR_EXISTS);
    volume_expect_file(v, "f", "content");
    volume_ok(sop_volume_write_file(v, "empty", sop_slice(NULL, 0), &err), &err);
    volume_expect_file(v, "empty", "");
    volume_ok(sop_buf_append(&buf, "old", 3, &err), &err);
    volume_ok(sop_volume_read_file(v, "f", 7, &buf, &err), &err);
    ck_assert_uint_eq(buf.len, 7);
    ck_assert_int_eq(sop_volume_read_file(v, "f", 6, &buf, &err), SOP_ERR_TOO_LARGE);
    ck_assert_int_eq(sop_volume_read_file(v, "none", 6, &buf, &err), SOP_ERR_NOT_FOUND);
    sop_buf_fini(&buf);
}

static void a_tree_is_removed_with_everything_below(struct sop_volume *v)
{
    struct sop_err err = {0};
    volume_ok(sop_volume_remove_tree(v, "none", &err), &err);
    volume_put_file(v, "kept", "kept");
    volume_put_file(v, "file", "");
    volume_ok(sop_volume_remove_tree(v, "file", &err), &err);
    static const char *const folders[] = {"t", "t/a", "t/b", "t/a/c", "t/a/c/d", "t/e"};
    for (size_t i = 0; i < SOP_ARRAY_LEN(folders); i++) {
        volume_ok(sop_volume_mkdir(v, folders[i], &err), &err);
        for (int n = 0; n < 20; n++) {
            char path[64];
            (void)snprintf(path, sizeof path, "%s/f%d", folders[i], n);
            volume_put_file(v, path, "x");
        }
    }
    volume_ok(sop_volume_link(v, "kept", "t/a/linked", &err), &err);
    volume_ok(sop_volume_remove_tree(v, "t", &err), &err);
    ck_assert_int_eq(volume_kind(v, "t"), SOP_FILE_ABSENT);
    volume_expect_file(v, "kept", "kept");
}

static void space_and_stat_tell_sizes(struct sop_volume *v)
{
    struct sop_err err = {0};
    struct sop_stat st;
    uint64_t space = 0;
    volume_ok(sop_volume_space(v, &space, &err), &err);
    ck_assert_uint_gt(space, 0);
    struct sop_file *file;
    volume_ok(sop_file_open(v, "f", CREATE, &file, &err), &err);
    static const uint8_t bytes[10000] = {1};
    volume_ok(sop_file_write(file, 0, bytes, sizeof bytes, &err), &err);
    volume_ok(sop_file_sync(file, &err), &err);
    sop_file_close(file);
    volume_ok(sop_volume_stat(v, "f", &st, &err), &err);
    ck_assert_int_eq(st.kind, SOP_FILE_REGULAR);
    ck_assert_uint_eq(st.bytes, 10000);
    ck_assert_uint_eq(st.allocated_bytes, 12288);
    ck_assert_uint_eq(st.links, 1);
}

static void a_lock_is_free_until_taken(struct sop_volume *v)
{
    struct sop_err err = {0};
    struct sop_lock_holder holder = {.held = true, .pid = 1};
    volume_put_file(v, "f", "");
    volume_ok(sop_volume_lock_holder(v, "f", &holder, &err), &err);
    ck_assert(!holder.held);
    ck_assert_int_eq(sop_volume_lock_holder(v, "none", &holder, &err), SOP_ERR_NOT_FOUND);
    struct sop_file *file;
    volume_ok(sop_file_open(v, "f", SOP_OPEN_WRITE, &file, &err), &err);
    volume_ok(sop_file_lock(file, &err), &err);
    volume_ok(sop_file_lock(file, &err), &err);
    sop_file_close(file);
    volume_ok(sop_volume_lock_holder(v, "f", &holder, &err), &err);
    ck_assert(!holder.held);
}

static void (*const cases[])(struct sop_volume *v) = {
    reads_give_what_was_written,
    reading_over_the_end_gives_what_there_is,
    advice_changes_no_result,
    a_hole_reads_as_zeros,
    direct_files_work_in_blocks,
    files_are_created_once_and_never_by_accident,
    an_unlinked_open_file_lives_on,
    a_link_is_made_once_and_shares_the_file,
    folders_hold_names,
    a_listing_tells_every_name,
    whole_files_are_written_once_and_read_under_a_limit,
    a_tree_is_removed_with_everything_below,
    space_and_stat_tell_sizes,
    a_lock_is_free_until_taken,
};

int volume_contract_cases(void)
{
    return (int)SOP_ARRAY_LEN(cases);
}

void volume_contract_run(int i, struct sop_volume *v)
{
    cases[i](v);
}
