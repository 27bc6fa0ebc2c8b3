/* Which mounts keep the volume contract (docs/PROTOCOL.md section 2).
 *
 * A line of mountinfo (proc(5)):
 *   36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
 *   id parent dev root point options [optional fields] - type source super-options
 * Spaces inside fields are escaped by the kernel, so splitting at spaces is right. */
#include "engine/volume/mount_int.h"

#define MAGIC_EXT4      UINT64_C(0xef53) /* ext2 and ext3 too */
#define MAGIC_XFS       UINT64_C(0x58465342)
#define MAGIC_BTRFS     UINT64_C(0x9123683e)
#define MAGIC_TMPFS     UINT64_C(0x01021994)
#define MAGIC_OVERLAYFS UINT64_C(0x794c7630)
#define MAGIC_NFS       UINT64_C(0x6969)
#define MAGIC_FUSE      UINT64_C(0x65735546)
#define MAGIC_SMB       UINT64_C(0x517b)
#define MAGIC_SMB2      UINT64_C(0xfe534d42)
#define MAGIC_CIFS      UINT64_C(0xff534d42)

/* Takes the text before the next `mark` off *rest; all of it if there is none. */
static struct sop_slice next_piece(struct sop_slice *rest, char mark)
{
    const uint8_t *hit = rest->len == 0 ? NULL : memchr(rest->data, mark, rest->len);
    size_t len = hit == NULL ? rest->len : (size_t)(hit - rest->data);
    struct sop_slice piece = sop_slice(rest->data, len);
    size_t taken = hit == NULL ? len : len + 1;
    if (taken != 0) {
        *rest = sop_slice(rest->data + taken, rest->len - taken);
    }
    return piece;
}

static bool parse_id(struct sop_slice text, uint64_t *id)
{
    *id = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        *id = *id * 10 + (uint64_t)(text.data[i] - '0');
    }
    return text.len > 0 && text.len < 20;
}

bool sop_mount__find(struct sop_slice mountinfo, uint64_t id, struct sop_mount *out)
{
    struct sop_slice rest = mountinfo;
    while (rest.len > 0) {
        struct sop_slice line = next_piece(&rest, '\n');
        uint64_t found;
        if (!parse_id(next_piece(&line, ' '), &found) || found != id) {
            continue;
        }
        while (line.len > 0) {
            if (sop_slice_eq(next_piece(&line, ' '), sop_slice_str("-"))) {
                break;
            }
        }
        out->type = next_piece(&line, ' ');
        out->source = next_piece(&line, ' ');
        out->options = next_piece(&line, ' ');
        return out->type.len > 0;
    }
    return false;
}

bool sop_mount__needed(uint64_t magic)
{
    return magic == MAGIC_NFS || magic == MAGIC_FUSE;
}

static bool has_option(struct sop_slice options, const char *wanted)
{
    while (options.len > 0) {
        if (sop_slice_eq(next_piece(&options, ','), sop_slice_str(wanted))) {
            return true;
        }
    }
    return false;
}

static bool starts_with(struct sop_slice text, const char *start)
{
    size_t len = strlen(start);
    return text.len >= len && memcmp(text.data, start, len) == 0;
}

/* File systems over object storage by the name that they mount under: no atomic link, and files
 * are written as a whole when they are closed. */
static bool is_object_store(const struct sop_mount *mount)
{
    static const char *const names[] = {
        "s3fs",    "gcsfuse",       "goofys",   "rclone", "blobfuse", "blobfuse2",
        "geesefs", "mountpoint-s3", "mount-s3", "ossfs",  "cosfs",    "obsfs",
        "s3ql",    "catfs",         "riofs",    "yas3fs",
    };
    static const char *const schemes[] = {"s3:",   "s3://",  "gs://",
                                          "az://", "oss://", "wasb://"};
    struct sop_slice type = mount->type;
    if (starts_with(type, "fuse.")) {
        type = sop_slice(type.data + 5, type.len - 5);
    }
    for (size_t i = 0; i < SOP_ARRAY_LEN(names); i++) {
        if (sop_slice_eq(type, sop_slice_str(names[i])) ||
            sop_slice_eq(mount->source, sop_slice_str(names[i]))) {
            return true;
        }
    }
    for (size_t i = 0; i < SOP_ARRAY_LEN(schemes); i++) {
        if (starts_with(mount->source, schemes[i])) {
            return true;
        }
    }
    return false;
}

int sop_mount__judge(uint64_t magic, const struct sop_mount *mount, bool *one_host,
                     struct sop_err *err)
{
    *one_host = false;
    if (sop_mount__needed(magic) && mount == NULL) {
        return SOP_ERR(err, REFUSED_VOLUME,
                       "its mount options cannot be read from /proc/self/mountinfo");
    }
    switch (magic) {
    case MAGIC_EXT4:
    case MAGIC_XFS:
    case MAGIC_BTRFS:
    case MAGIC_TMPFS:
    case MAGIC_OVERLAYFS:
        *one_host = true;
        return 0;
    case MAGIC_SMB:
    case MAGIC_SMB2:
    case MAGIC_CIFS:
        return SOP_ERR(err, REFUSED_VOLUME, "SMB does not keep what a database needs; use NFS");
    case MAGIC_NFS:
        if (has_option(mount->options, "lookupcache=none") ||
            has_option(mount->options, "lookupcache=pos") ||
            has_option(mount->options, "lookupcache=positive")) {
            return 0;
        }
        return SOP_ERR(err, REFUSED_VOLUME,
                       "NFS caches absent names; mount it with lookupcache=pos or none");
    case MAGIC_FUSE:
        if (is_object_store(mount)) {
            return SOP_ERR(err, REFUSED_VOLUME, "%.*s is a file system over object storage",
                           (int)mount->type.len, (const char *)mount->type.data);
        }
        return 0;
    default:
        return 0;
    }
}
