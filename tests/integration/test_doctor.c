/* The doctor on the volume of temporary folders, and where there is nothing to examine. */
#include "sop/sop.h"
#include "tests/lib/tmpdir.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct heard {
    unsigned good, warnings, errors;
    bool races, absence, bytes, locks, direct, overwrite, append, names;
    char text[4096];
};

static void hear(void *arg, int severity, const char *text)
{
    struct heard *h = arg;
    *(severity == 0 ? &h->good : severity == 1 ? &h->warnings : &h->errors) += 1;
    h->races |= strstr(text, "races of") != NULL && strstr(text, "one winner each") != NULL;
    h->absence |= strstr(text, "looked up while absent") != NULL;
    h->bytes |= strstr(text, "blocks read by all") != NULL;
    h->locks |= strstr(text, "goes with its holder") != NULL;
    h->direct |= strstr(text, "direct I/O of aligned blocks works") != NULL;
    h->overwrite |= strstr(text, "overwrite and sync") != NULL && strstr(text, "p99") != NULL;
    h->append |= strstr(text, "append and sync") != NULL;
    h->names |= strstr(text, "new name and sync") != NULL;
    size_t used = strlen(h->text);
    (void)snprintf(h->text + used, sizeof h->text - used, "%d %s\n", severity, text);
}

static unsigned names_in(const char *path)
{
    unsigned count = 0;
    DIR *dir = opendir(path);
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    }
    closedir(dir);
    return count;
}

START_TEST(a_good_volume_passes_all_probes)
{
    static const unsigned processes[] = {0, 1, 7};
    struct tmpdir dir;
    struct heard h = {0};
    struct sop_err err = {0};
    tmpdir_init(&dir);
    int rc = sop_doctor(dir.path, processes[_i], hear, &h, &err);
    ck_assert_msg(rc == 0, "%s\n%s", err.text, h.text);
    ck_assert_uint_eq(h.errors, 0);
    ck_assert_msg(h.races && h.absence && h.bytes && h.locks && h.direct && h.overwrite &&
                      h.append && h.names,
                  "a probe is missing:\n%s", h.text);
    ck_assert_uint_eq(names_in(dir.path), 0); /* nothing is left behind */
    tmpdir_fini(&dir);
}
END_TEST

START_TEST(it_needs_no_report)
{
    struct tmpdir dir;
    tmpdir_init(&dir);
    ck_assert_int_eq(sop_doctor(dir.path, 2, NULL, NULL, NULL), 0);
    tmpdir_fini(&dir);
}
END_TEST

START_TEST(an_absent_folder_is_not_made)
{
    struct tmpdir dir;
    struct sop_err err = {0};
    char path[600];
    tmpdir_init(&dir);
    (void)snprintf(path, sizeof path, "%s/absent", dir.path);
    ck_assert_int_eq(sop_doctor(path, 2, NULL, NULL, &err), SOP_ERR_NOT_A_DATABASE);
    ck_assert_uint_eq(names_in(dir.path), 0);
    ck_assert_int_eq(sop_doctor(dir.path, 65, NULL, NULL, &err), SOP_ERR_INVALID);
    ck_assert_int_eq(sop_doctor("", 2, NULL, NULL, &err), SOP_ERR_INVALID);
    tmpdir_fini(&dir);
}
END_TEST

/* /proc takes no folders: the refusal is an error, not a crash or a success. */
START_TEST(a_volume_that_takes_no_files_fails)
{
    struct heard h = {0};
    struct sop_err err = {0};
    ck_assert_int_ne(sop_doctor("/proc", 2, hear, &h, &err), 0);
    ck_assert_int_ne(err.code, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("doctor");
    TCase *t = tcase_create("doctor");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, a_good_volume_passes_all_probes, 0, 3);
    tcase_add_test(t, it_needs_no_report);
    tcase_add_test(t, an_absent_folder_is_not_made);
    tcase_add_test(t, a_volume_that_takes_no_files_fails);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
