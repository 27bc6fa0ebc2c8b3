/* engine/volume/posix: the contract on real files, locks between processes, refused mounts. */
#include "engine/volume/mount_int.h"
#include "engine/volume/posix.h"
#include "tests/lib/oom.h"
#include "tests/lib/tmpdir.h"
#include "tests/lib/volume_contract.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct tmpdir tmp;
static struct sop_volume *volume;
static struct sop_err err;

static void setup(void)
{
    tmpdir_init(&tmp);
    volume_ok(sop_volume_posix_open(tmp.path, &volume, &err), &err);
}

static void teardown(void)
{
    sop_volume_destroy(volume);
    tmpdir_fini(&tmp);
}

START_TEST(the_contract_holds_on_the_temporary_folder)
{
    volume_contract_run(_i, volume);
}
END_TEST

/* Memory file systems know no O_DIRECT, on some kernels: the same promises hold. */
START_TEST(the_contract_holds_on_dev_shm)
{
    if (access("/dev/shm", W_OK) != 0) {
        return;
    }
    char path[] = "/dev/shm/sop-test-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(path));
    struct sop_volume *shm;
    volume_ok(sop_volume_posix_open(path, &shm, &err), &err);
    ck_assert(shm->one_host);
    volume_ok(sop_volume_mkdir(shm, "root", &err), &err);
    sop_volume_destroy(shm);
    char root[64];
    (void)snprintf(root, sizeof root, "%s/root", path);
    volume_ok(sop_volume_posix_open(root, &shm, &err), &err);
    volume_contract_run(_i, shm);
    sop_volume_destroy(shm);
    volume_ok(sop_volume_posix_open(path, &shm, &err), &err);
    volume_ok(sop_volume_remove_tree(shm, "root", &err), &err);
    sop_volume_destroy(shm);
    ck_assert_int_eq(rmdir(path), 0);
}
END_TEST

START_TEST(a_root_must_be_a_folder)
{
    struct sop_volume *none;
    char path[600];
    ck_assert_str_eq(volume->shown, tmp.path);
    (void)snprintf(path, sizeof path, "%s/none", tmp.path);
    ck_assert_int_eq(sop_volume_posix_open(path, &none, &err), SOP_ERR_NOT_FOUND);
    ck_assert_ptr_null(none);
    volume_put_file(volume, "file", "");
    (void)snprintf(path, sizeof path, "%s/file", tmp.path);
    ck_assert_int_eq(sop_volume_posix_open(path, &none, &err), SOP_ERR_NOT_FOUND);
}
END_TEST

START_TEST(a_folder_without_permission_is_read_only)
{
    if (geteuid() == 0) {
        return; /* nothing is forbidden to root */
    }
    ck_assert_int_eq(chmod(tmp.path, 0500), 0);
    struct sop_file *file;
    int rc = sop_file_open(volume, "f", SOP_OPEN_WRITE | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE,
                           &file, &err);
    ck_assert_int_eq(chmod(tmp.path, 0700), 0);
    ck_assert_int_eq(rc, SOP_ERR_READ_ONLY);
}
END_TEST

START_TEST(a_file_system_without_direct_transfers_serves_buffered)
{
    struct sop_volume *proc;
    struct sop_file *file;
    volume_ok(sop_volume_posix_open("/proc", &proc, &err), &err);
    ck_assert(!proc->one_host); /* an unknown kind of file system is not trusted so far */
    volume_ok(sop_file_open(proc, "version", SOP_OPEN_READ | SOP_OPEN_DIRECT, &file, &err),
              &err);
    char *text = sop_malloc_aligned(4096, 4096);
    size_t got;
    ck_assert_int_eq(sop_file_read(file, 0, text, 4096, &got, &err), SOP_ERR_END);
    ck_assert_uint_gt(got, 5);
    ck_assert_mem_eq(text, "Linux", 5);
    sop_free(text);
    sop_file_close(file);
    sop_volume_destroy(proc);
}
END_TEST

START_TEST(a_full_disk_is_no_space)
{
    struct sop_volume *dev;
    struct sop_file *full;
    volume_ok(sop_volume_posix_open("/dev", &dev, &err), &err);
    volume_ok(sop_file_open(dev, "full", SOP_OPEN_WRITE, &full, &err), &err);
    ck_assert_int_eq(sop_file_write(full, 0, "x", 1, &err), SOP_ERR_NOSPACE);
    ck_assert_int_eq(err.sys, ENOSPC);
    ck_assert_ptr_nonnull(strstr(err.text, "write 1 bytes at 0 of full"));
    sop_file_close(full);
    sop_volume_destroy(dev);
}
END_TEST

/* A child that takes the lock, says so through a pipe, and waits to be killed. */
static pid_t start_locker(int *said)
{
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves no process behind */
        struct sop_volume *mine;
        struct sop_file *file;
        int rc = sop_volume_posix_open(tmp.path, &mine, NULL);
        if (rc == 0) {
            rc = sop_file_open(mine, "lock", SOP_OPEN_WRITE, &file, NULL);
        }
        if (rc == 0) {
            rc = sop_file_lock(file, NULL);
        }
        char c = rc == 0 ? 'y' : 'n';
        if (write(ends[1], &c, 1) != 1) {
            _exit(1);
        }
        for (;;) {
            (void)pause();
        }
    }
    (void)close(ends[1]);
    char c = 0;
    ck_assert_int_eq((int)read(ends[0], &c, 1), 1);
    (void)close(ends[0]);
    *said = c;
    return child;
}

START_TEST(a_lock_lives_as_long_as_its_process)
{
    struct sop_lock_holder holder;
    struct sop_file *file;
    volume_put_file(volume, "lock", "");
    int said;
    pid_t child = start_locker(&said);
    ck_assert_int_eq(said, 'y');
    volume_ok(sop_volume_lock_holder(volume, "lock", &holder, &err), &err);
    ck_assert(holder.held);
    ck_assert_int_eq(holder.pid, child);
    volume_ok(sop_file_open(volume, "lock", SOP_OPEN_WRITE, &file, &err), &err);
    ck_assert_int_eq(sop_file_lock(file, &err), SOP_ERR_BUSY);
    char pid[32];
    (void)snprintf(pid, sizeof pid, "process %ld ", (long)child);
    ck_assert_ptr_nonnull(strstr(err.text, pid));
    kill(child, SIGKILL);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    volume_ok(sop_volume_lock_holder(volume, "lock", &holder, &err), &err);
    ck_assert(!holder.held);
    volume_ok(sop_file_lock(file, &err), &err);
    sop_file_close(file);
}
END_TEST

START_TEST(removing_a_tree_does_not_follow_links)
{
    char target[600];
    char link[600];
    volume_ok(sop_volume_mkdir(volume, "kept", &err), &err);
    volume_ok(sop_volume_mkdir(volume, "tree", &err), &err);
    volume_put_file(volume, "kept/f", "kept");
    (void)snprintf(target, sizeof target, "%s/kept", tmp.path);
    (void)snprintf(link, sizeof link, "%s/tree/link", tmp.path);
    ck_assert_int_eq(symlink(target, link), 0);
    volume_ok(sop_volume_remove_tree(volume, "tree", &err), &err);
    ck_assert_int_eq(volume_kind(volume, "tree"), SOP_FILE_ABSENT);
    volume_expect_file(volume, "kept/f", "kept");
}
END_TEST

START_TEST(no_descriptor_stays_open_and_none_is_inherited)
{
    volume_put_file(volume, "f", "x");
    int first = open("/dev/null", O_RDONLY);
    (void)close(first);
    struct sop_buf buf = {0};
    struct sop_lock_holder holder;
    for (int i = 0; i < 10; i++) {
        struct sop_file *file;
        volume_ok(sop_volume_read_file(volume, "f", 10, &buf, &err), &err);
        volume_ok(sop_volume_dir_sync(volume, "", &err), &err);
        volume_ok(sop_volume_lock_holder(volume, "f", &holder, &err), &err);
        ck_assert_int_ne(sop_file_open(volume, "none", SOP_OPEN_READ, &file, &err), 0);
    }
    struct sop_file *file;
    volume_ok(sop_file_open(volume, "f", SOP_OPEN_READ, &file, &err), &err);
    ck_assert_int_eq(fcntl(first, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC); /* it got that number */
    sop_file_close(file);
    int last = open("/dev/null", O_RDONLY);
    ck_assert_int_eq(first, last);
    (void)close(last);
    sop_buf_fini(&buf);
}
END_TEST

static int use_everything(struct sop_err *e)
{
    struct sop_volume *v;
    struct sop_buf buf = {0};
    int rc = sop_volume_posix_open(tmp.path, &v, e);
    if (rc != 0) {
        return rc;
    }
    rc = sop_volume_mkdir_if_absent(v, "d", e);
    if (rc == 0) {
        rc = sop_volume_write_file(v, "d/f", sop_slice_str("x"), e);
    }
    if (rc == 0) {
        rc = sop_volume_read_file(v, "d/f", 10, &buf, e);
    }
    int rc2 = sop_volume_remove_tree(v, "d", rc == 0 ? e : NULL);
    sop_buf_fini(&buf);
    sop_volume_destroy(v);
    return rc != 0 ? rc : rc2;
}

START_TEST(every_exhausted_heap_is_survived)
{
    for (uint64_t step = 0;; step++) {
        ck_assert_uint_lt(step, 100);
        volume_ok(sop_volume_remove_tree(volume, "d", &err), &err); /* of a failed removal */
        oom_fail_at(step);
        struct sop_err e = {0};
        int rc = use_everything(&e);
        bool hit = oom_hit();
        oom_off();
        if (!hit) {
            volume_ok(rc, &e);
            ck_assert_uint_gt(step, 5);
            break;
        }
        ck_assert_int_eq(rc, SOP_ERR_NOMEM);
        ck_assert_int_eq(e.code, SOP_ERR_NOMEM);
    }
    ck_assert_int_eq(volume_kind(volume, "d"), SOP_FILE_ABSENT);
}
END_TEST

START_TEST(a_path_that_leaves_the_root_aborts)
{
    (void)volume_kind(volume, "a/../../x");
}
END_TEST

START_TEST(an_absolute_path_aborts)
{
    (void)volume_kind(volume, "/etc");
}
END_TEST

START_TEST(an_unaligned_direct_write_aborts)
{
    struct sop_file *file;
    volume_ok(
        sop_file_open(volume, "f",
                      SOP_OPEN_WRITE | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE | SOP_OPEN_DIRECT,
                      &file, &err),
        &err);
    (void)sop_file_write(file, 512, "x", 1, &err);
}
END_TEST

/* ---- mounts ---- */

static const char mountinfo[] =
    "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
    "36 21 0:40 / /mnt/all rw,relatime shared:20 - nfs4 srv:/x "
    "rw,vers=4.2,hard,local_lock=none\n"
    "37 21 0:41 / /mnt/none rw - nfs4 srv:/x rw,vers=4.2,lookupcache=none,addr=10.0.0.1\n"
    "38 21 0:42 / /mnt/pos rw shared:3 master:7 - nfs srv:/x rw,lookupcache=pos\n"
    "39 21 0:43 / /mnt/s3 rw - fuse.s3fs s3fs rw,user_id=0\n"
    "40 21 0:44 / /mnt/mp rw - fuse mountpoint-s3 rw,user_id=0\n"
    "41 21 0:45 / /mnt/dav rw - fuse gs://bucket rw\n"
    "42 21 0:46 / /mnt/good rw - fuse.ceph-fuse ceph-fuse rw\n"
    "43 21 0:47 / /mnt/tricky rw - nfs srv:/lookupcache=none rw,xlookupcache=none\n"
    "44 21 0:48 / /mnt/cut rw\n";

static int judge(uint64_t magic, uint64_t id, bool *one_host)
{
    struct sop_mount mount;
    bool found = sop_mount__find(sop_slice_str(mountinfo), id, &mount);
    return sop_mount__judge(magic, found ? &mount : NULL, one_host, &err);
}

START_TEST(mounts_are_judged_by_what_they_keep)
{
    static const struct {
        uint64_t magic;
        uint64_t id;
        int rc;
        bool one_host;
    } facts[] = {
        {0xef53, 21, 0, true},                          /* ext4 */
        {0x58465342, 0, 0, true},                       /* xfs */
        {0x9123683e, 0, 0, true},                       /* btrfs */
        {0x01021994, 0, 0, true},                       /* tmpfs */
        {0x794c7630, 0, 0, true},                       /* overlayfs */
        {0x00c36400, 0, 0, false},                      /* ceph */
        {0x517b, 0, SOP_ERR_REFUSED_VOLUME, false},     /* smb */
        {0xff534d42, 0, SOP_ERR_REFUSED_VOLUME, false}, /* cifs */
        {0xfe534d42, 0, SOP_ERR_REFUSED_VOLUME, false}, /* smb2 */
        {0x6969, 36, SOP_ERR_REFUSED_VOLUME, false},    /* nfs that caches absent names */
        {0x6969, 37, 0, false},
        {0x6969, 38, 0, false},
        {0x6969, 43, SOP_ERR_REFUSED_VOLUME, false}, /* the option's name is elsewhere */
        {0x6969, 44, SOP_ERR_REFUSED_VOLUME, false}, /* options not readable */
        {0x6969, 99, SOP_ERR_REFUSED_VOLUME, false},
        {0x65735546, 39, SOP_ERR_REFUSED_VOLUME, false}, /* fuse by type */
        {0x65735546, 40, SOP_ERR_REFUSED_VOLUME, false}, /* fuse by source */
        {0x65735546, 41, SOP_ERR_REFUSED_VOLUME, false}, /* fuse by scheme */
        {0x65735546, 42, 0, false},
        {0x65735546, 99, SOP_ERR_REFUSED_VOLUME, false},
    };
    for (size_t i = 0; i < SOP_ARRAY_LEN(facts); i++) {
        bool one_host = !facts[i].one_host;
        int rc = judge(facts[i].magic, facts[i].id, &one_host);
        ck_assert_msg(rc == facts[i].rc && one_host == facts[i].one_host, "fact %zu: %d %d", i,
                      rc, one_host);
    }
}
END_TEST

START_TEST(mountinfo_of_any_shape_is_read_safely)
{
    static const char *const texts[] = {
        "",
        "\n\n",
        "1",
        "1 ",
        "1 -",
        "1 - ",
        "1 - \n",
        "x 2 3 - nfs\n",
        "1 - nfs",
        "99999999999999999999999999 1 - ext4 x y\n",
        "1 2 3 4 5 6\n1 - late s o\n",
    };
    for (size_t i = 0; i < SOP_ARRAY_LEN(texts); i++) {
        size_t len = strlen(texts[i]);
        char *exact = malloc(len + 1);
        memcpy(exact, texts[i], len);
        struct sop_mount mount;
        bool found = sop_mount__find(sop_slice(exact, len), 1, &mount);
        ck_assert_int_eq(found, i == 8); /* only the type is indispensable */
        if (found) {
            ck_assert(sop_slice_eq(mount.type, sop_slice_str("nfs")));
            ck_assert_uint_eq(mount.options.len, 0);
        }
        free(exact);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("posix");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, the_contract_holds_on_the_temporary_folder, 0,
                        volume_contract_cases());
    tcase_add_loop_test(tc, the_contract_holds_on_dev_shm, 0, volume_contract_cases());
    tcase_add_test(tc, a_root_must_be_a_folder);
    tcase_add_test(tc, a_folder_without_permission_is_read_only);
    tcase_add_test(tc, a_file_system_without_direct_transfers_serves_buffered);
    tcase_add_test(tc, a_full_disk_is_no_space);
    tcase_add_test(tc, a_lock_lives_as_long_as_its_process);
    tcase_add_test(tc, removing_a_tree_does_not_follow_links);
    tcase_add_test(tc, no_descriptor_stays_open_and_none_is_inherited);
    tcase_add_test(tc, every_exhausted_heap_is_survived);
    TCase *aborts = tcase_create("aborts"); /* their folders are removed by the parent */
    tcase_add_unchecked_fixture(aborts, setup, teardown);
    tcase_add_test_raise_signal(aborts, a_path_that_leaves_the_root_aborts, SIGABRT);
    tcase_add_test_raise_signal(aborts, an_absolute_path_aborts, SIGABRT);
    tcase_add_test_raise_signal(aborts, an_unaligned_direct_write_aborts, SIGABRT);
    TCase *mounts = tcase_create("mounts");
    tcase_add_test(mounts, mounts_are_judged_by_what_they_keep);
    tcase_add_test(mounts, mountinfo_of_any_shape_is_read_safely);
    Suite *suite = suite_create("volume_posix");
    suite_add_tcase(suite, tc);
    suite_add_tcase(suite, aborts);
    suite_add_tcase(suite, mounts);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
