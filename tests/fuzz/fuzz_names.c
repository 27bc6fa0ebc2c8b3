/* Bytes as the name of a file in the folders of checkpoints and extents: foreign, or read as
 * what it says. A name that is read must be found again under what was read, or a sweep would
 * remove another file than it looked at. */
#include "engine/registry/registry.h"
#include "engine/volume/sim.h"

#include <stdio.h>

#define NAME_BYTES_MAX 120

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sop_volume *volume; /* of one input: it remembers what was not synced */

static void make(const char *folder, const char *name, char path[NAME_BYTES_MAX * 2])
{
    (void)snprintf(path, NAME_BYTES_MAX * 2, "%s/%s", folder, name);
    SOP_ASSERT(sop_volume_write_file(volume, path, sop_slice("x", 1), NULL) == 0);
}

static bool is_there(const char *path)
{
    struct sop_stat st;
    return sop_volume_stat(volume, path, &st, NULL) == 0 && st.kind == SOP_FILE_REGULAR;
}

static void as_manifest(const char *name)
{
    char path[NAME_BYTES_MAX * 2];
    struct sop_manifest_name *names = NULL;
    size_t count = 0;
    make("checkpoints", name, path);
    SOP_ASSERT(sop_manifest_list(volume, &names, &count, NULL) == 0);
    SOP_ASSERT(count <= 1);
    if (count == 1) {
        SOP_ASSERT(sop_manifest_unlink(volume, names[0].lsn, names[0].member, NULL) == 0);
        SOP_ASSERT(!is_there(path));
    } else {
        SOP_ASSERT(sop_volume_unlink(volume, path, NULL) == 0);
    }
    sop_free(names);
}

static int remove_it(void *arg, const struct sop_extent_ref *ref, struct sop_err *err)
{
    *(bool *)arg = true;
    return sop_extent_unlink(volume, ref, err);
}

static void as_extent(const char *name)
{
    char path[NAME_BYTES_MAX * 2];
    bool found = false;
    make("registry", name, path);
    SOP_ASSERT(sop_extent_list(volume, remove_it, &found, NULL) == 0);
    if (found) {
        SOP_ASSERT(!is_there(path));
    } else {
        SOP_ASSERT(sop_volume_unlink(volume, path, NULL) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[NAME_BYTES_MAX + 1];
    size_t len = 0;
    while (len < size && len < NAME_BYTES_MAX) {
        if (data[len] == 0 || data[len] == '/') {
            return 0; /* no name has these */
        }
        name[len] = (char)data[len];
        len++;
    }
    name[len] = 0;
    if (len == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return 0;
    }
    SOP_ASSERT(sop_volume_sim_new(&volume, NULL) == 0);
    SOP_ASSERT(sop_volume_mkdir(volume, "checkpoints", NULL) == 0);
    SOP_ASSERT(sop_volume_mkdir(volume, "registry", NULL) == 0);
    as_manifest(name);
    as_extent(name);
    sop_volume_destroy(volume);
    return 0;
}
