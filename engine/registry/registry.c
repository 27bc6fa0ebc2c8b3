/* The files of the registry: names, and what is made durable when.
 *
 * registry/x<extent>.<slot>-<record>-<member>, checkpoints/<slot>-<record>-<member>: numbers in
 * lower-case hexadecimal, slot and record with 16 digits, so that names sort by LSN. A name
 * that we would not write ourselves is not ours. */
#include "engine/registry/format.h"

#include "engine/base/codec.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_BYTES 96 /* "registry/" and three numbers more, with the 0 */
#define REGISTRY   "registry"
#define MANIFESTS  "checkpoints"
#define ROOT       "" /* of the volume */

static void extent_name(const struct sop_extent_ref *ref, char to[NAME_BYTES])
{
    int n = snprintf(to, NAME_BYTES, "x%" PRIx64 ".%016" PRIx64 "-%016" PRIx64 "-%" PRIx64,
                     ref->extent, ref->lsn.slot, ref->lsn.record, ref->member);
    SOP_ASSERT(n > 0 && n < NAME_BYTES);
}

static void manifest_name(struct sop_lsn lsn, uint64_t member, char to[NAME_BYTES])
{
    int n = snprintf(to, NAME_BYTES, "%016" PRIx64 "-%016" PRIx64 "-%" PRIx64, lsn.slot,
                     lsn.record, member);
    SOP_ASSERT(n > 0 && n < NAME_BYTES);
}

static void path_of(const char *folder, const char *name, char to[NAME_BYTES])
{
    int n = snprintf(to, NAME_BYTES, "%s/%s", folder, name);
    SOP_ASSERT(n > 0 && n < NAME_BYTES);
}

/* Takes a hexadecimal number off *at; what it ends with is taken too. Loose: the caller prints
 * what was read and compares. */
static uint64_t take_number(const char **at, char end, bool *ok)
{
    char *stop = NULL;
    uint64_t v = strtoull(*at, &stop, 16);
    if (stop == *at || *stop != end) {
        *ok = false;
        return 0;
    }
    *at = end == '\0' ? stop : stop + 1;
    return v;
}

static bool manifest_name_parse(const char *name, struct sop_lsn *lsn, uint64_t *member)
{
    bool ok = true;
    const char *at = name;
    lsn->slot = take_number(&at, '-', &ok);
    lsn->record = ok ? take_number(&at, '-', &ok) : 0;
    *member = ok ? take_number(&at, '\0', &ok) : 0;
    char again[NAME_BYTES];
    manifest_name(*lsn, *member, again);
    return ok && strcmp(name, again) == 0;
}

static bool extent_name_parse(const char *name, struct sop_extent_ref *ref)
{
    if (name[0] != 'x') {
        return false;
    }
    bool ok = true;
    const char *at = name + 1;
    ref->extent = take_number(&at, '.', &ok);
    if (!ok || !manifest_name_parse(at, &ref->lsn, &ref->member)) {
        return false;
    }
    char again[NAME_BYTES];
    extent_name(ref, again);
    return strcmp(name, again) == 0;
}

/* Writes a new file into a folder, which is made if it is not there. The file is synced. */
static int write_new(struct sop_volume *v, const char *folder, const char *path,
                     struct sop_slice bytes, struct sop_err *err)
{
    int rc = sop_volume_write_file(v, path, bytes, err);
    if (rc != SOP_ERR_NOT_FOUND) {
        return rc;
    }
    rc = sop_volume_mkdir_if_absent(v, folder, err);
    return rc != 0 ? rc : sop_volume_write_file(v, path, bytes, err);
}

/* Names in the folder, and the name of the folder itself: it may have been made by a process
 * that died before it synced, so that seeing it proves nothing. */
static int sync_folder(struct sop_volume *v, const char *folder, struct sop_err *err)
{
    int rc = sop_volume_dir_sync(v, folder, err);
    if (rc == 0) {
        rc = sop_volume_dir_sync(v, ROOT, err);
    }
    return sop_err_wrap(err, rc, "sync folder %s", folder);
}

static int unlink_if_there(struct sop_volume *v, const char *path, struct sop_err *err)
{
    int rc = sop_volume_unlink(v, path, err);
    return rc == SOP_ERR_NOT_FOUND ? 0 : sop_err_wrap(err, rc, "unlink %s", path);
}

/* A file longer than any that we write is damage like any other. */
static int read_whole(struct sop_volume *v, const char *path, size_t max_bytes,
                      struct sop_buf *to, struct sop_err *err)
{
    int rc = sop_volume_read_file(v, path, max_bytes, to, err);
    if (rc == SOP_ERR_TOO_LARGE) {
        return SOP_ERR(err, DATA_LOSS, "%s at byte %zu: longer than it can be", path,
                       max_bytes);
    }
    return rc;
}

int sop_extent_write(struct sop_volume *v, const uint8_t database_id[16],
                     const struct sop_extent *x, const struct sop_extent_ref *ref,
                     struct sop_err *err)
{
    char name[NAME_BYTES];
    char path[NAME_BYTES];
    extent_name(ref, name);
    path_of(REGISTRY, name, path);
    struct sop_buf bytes = {0};
    int rc = sop_registry__extent_encode(database_id, x, ref, &bytes, err);
    if (rc == 0) {
        rc = write_new(v, REGISTRY, path, sop_buf_slice(&bytes), err);
    }
    sop_buf_fini(&bytes);
    return sop_err_wrap(err, rc, "write extent %" PRIu64, ref->extent);
}

int sop_extent_read(struct sop_volume *v, const uint8_t database_id[16],
                    const struct sop_extent_ref *ref, struct sop_extent *x, struct sop_err *err)
{
    char name[NAME_BYTES];
    char path[NAME_BYTES];
    extent_name(ref, name);
    path_of(REGISTRY, name, path);
    struct sop_buf bytes = {0};
    struct sop_extent_ref found;
    int rc = read_whole(v, path, SOP_EXTENT_FILE_BYTES_MAX, &bytes, err);
    if (rc == SOP_ERR_NOT_FOUND) { /* a manifest names it: never "no such item" */
        rc = SOP_ERR(err, DATA_LOSS, "%s is missing", path);
    }
    if (rc != 0) {
        goto end;
    }
    rc = sop_registry__extent_decode(database_id, sop_buf_slice(&bytes), &found, x, err);
    if (rc == 0 && (found.extent != ref->extent || sop_lsn_cmp(found.lsn, ref->lsn) != 0 ||
                    found.member != ref->member)) {
        rc = SOP_ERR(err, DATA_LOSS, "at byte %d: file holds another extent",
                     SOP_EXTENT_AT_EXTENT);
    }
    rc = sop_err_wrap(err, rc, "%s", path);
end:
    sop_buf_fini(&bytes);
    return sop_err_wrap(err, rc, "read extent %" PRIu64, ref->extent);
}

int sop_extent_unlink(struct sop_volume *v, const struct sop_extent_ref *ref,
                      struct sop_err *err)
{
    char name[NAME_BYTES];
    char path[NAME_BYTES];
    extent_name(ref, name);
    path_of(REGISTRY, name, path);
    return unlink_if_there(v, path, err);
}

int sop_registry_sync(struct sop_volume *v, struct sop_err *err)
{
    int rc = sync_folder(v, REGISTRY, err);
    return rc == SOP_ERR_NOT_FOUND ? 0 : rc; /* no extent was ever written */
}

int sop_manifest_write(struct sop_volume *v, const struct sop_manifest *m, struct sop_err *err)
{
    char name[NAME_BYTES];
    char path[NAME_BYTES];
    manifest_name(m->point.lsn, m->member, name);
    path_of(MANIFESTS, name, path);
    struct sop_buf bytes = {0};
    int rc = sop_manifest_encode(m, &bytes, err);
    if (rc == 0) {
        rc = write_new(v, MANIFESTS, path, sop_buf_slice(&bytes), err);
    }
    if (rc == 0) {
        rc = sync_folder(v, MANIFESTS, err);
    }
    sop_buf_fini(&bytes);
    return sop_err_wrap(err, rc, "write manifest %s", name);
}

int sop_manifest_read(struct sop_volume *v, struct sop_lsn lsn, uint64_t member,
                      struct sop_manifest *m, struct sop_err *err)
{
    memset(m, 0, sizeof *m);
    char name[NAME_BYTES];
    char path[NAME_BYTES];
    manifest_name(lsn, member, name);
    path_of(MANIFESTS, name, path);
    struct sop_buf bytes = {0};
    int rc = read_whole(v, path, SOP_MANIFEST_BYTES_MAX, &bytes, err);
    if (rc == 0) {
        rc = sop_manifest_decode(sop_buf_slice(&bytes), m, err);
        if (rc == 0 && (sop_lsn_cmp(m->point.lsn, lsn) != 0 || m->member != member)) {
            sop_manifest_fini(m);
            rc = SOP_ERR(err, DATA_LOSS, "at byte %d: file holds another manifest",
                         SOP_MANIFEST_HEADER_BYTES + SOP_SECTION_HEADER_BYTES);
        }
        rc = sop_err_wrap(err, rc, "%s", path);
    }
    sop_buf_fini(&bytes);
    return sop_err_wrap(err, rc, "read manifest");
}

int sop_manifest_settle(struct sop_volume *v, struct sop_lsn lsn, uint64_t member,
                        struct sop_err *err)
{
    char name[NAME_BYTES];
    char path[NAME_BYTES];
    manifest_name(lsn, member, name);
    path_of(MANIFESTS, name, path);
    struct sop_file *f = NULL;
    int rc = sop_file_open(v, path, SOP_OPEN_WRITE, &f, err);
    if (rc == 0) {
        rc = sop_file_sync(f, err);
        sop_file_close(f);
    }
    if (rc == 0) {
        rc = sync_folder(v, MANIFESTS, err);
    }
    return sop_err_wrap(err, rc, "sync manifest %s", name);
}

int sop_manifest_unlink(struct sop_volume *v, struct sop_lsn lsn, uint64_t member,
                        struct sop_err *err)
{
    char name[NAME_BYTES];
    char path[NAME_BYTES];
    manifest_name(lsn, member, name);
    path_of(MANIFESTS, name, path);
    return unlink_if_there(v, path, err);
}

int sop_manifest_sync(struct sop_volume *v, struct sop_err *err)
{
    int rc = sync_folder(v, MANIFESTS, err);
    return rc == SOP_ERR_NOT_FOUND ? 0 : rc; /* no manifest was ever written */
}

static int add_manifest_name(void *arg, const char *name, struct sop_err *err)
{
    struct sop_manifest_name found;
    if (!manifest_name_parse(name, &found.lsn, &found.member)) {
        return 0;
    }
    return sop_buf_append(arg, &found, sizeof found, err);
}

static int newest_first(const void *a, const void *b)
{
    const struct sop_manifest_name *x = a;
    const struct sop_manifest_name *y = b;
    int order = sop_lsn_cmp(y->lsn, x->lsn);
    return order != 0 ? order : (y->member > x->member) - (y->member < x->member);
}

int sop_manifest_list(struct sop_volume *v, struct sop_manifest_name **list, size_t *count,
                      struct sop_err *err)
{
    *list = NULL;
    *count = 0;
    struct sop_buf names = {0};
    int rc = sop_volume_list(v, MANIFESTS, add_manifest_name, &names, err);
    if (rc != 0 && rc != SOP_ERR_NOT_FOUND) {
        sop_buf_fini(&names);
        return sop_err_wrap(err, rc, "list %s", MANIFESTS);
    }
    *count = names.len / sizeof **list;
    if (*count != 0) {
        /* The buffer's heap block becomes the list. */
        *list = (struct sop_manifest_name *)(void *)names.data;
        qsort(*list, *count, sizeof **list, newest_first);
    } else {
        sop_buf_fini(&names);
    }
    return 0;
}

static int add_extent_ref(void *arg, const char *name, struct sop_err *err)
{
    struct sop_extent_ref found;
    return extent_name_parse(name, &found) ? sop_buf_append(arg, &found, sizeof found, err) : 0;
}

/* Names are collected before anything is done with them, so that `each` may unlink. */
int sop_extent_list(struct sop_volume *v, sop_extent_fn each, void *arg, struct sop_err *err)
{
    struct sop_buf refs = {0};
    int rc = sop_volume_list(v, REGISTRY, add_extent_ref, &refs, err);
    if (rc == SOP_ERR_NOT_FOUND) {
        rc = 0;
    }
    rc = sop_err_wrap(err, rc, "list %s", REGISTRY);
    for (size_t at = 0; rc == 0 && at < refs.len; at += sizeof(struct sop_extent_ref)) {
        struct sop_extent_ref ref;
        memcpy(&ref, refs.data + at, sizeof ref);
        rc = each(arg, &ref, err);
    }
    sop_buf_fini(&refs);
    return rc;
}
