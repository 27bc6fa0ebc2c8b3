/* What a process used: time, bytes, memory, files. From /proc and /sys; what a system does not
 * tell is 0. */
#include "bench/compare.h"

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SECTOR_BYTES 512

/* The number after "name:" in a file of /proc. */
static uint64_t field(const char *path, const char *name)
{
    char line[256];
    uint64_t value = 0;
    FILE *f = fopen(path, "r");
    size_t len = strlen(name);
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, name, len) == 0 && line[len] == ':') {
            value = strtoull(line + len + 1, NULL, 10);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return value;
}

static void device(struct bench_meter *m, const char *folder)
{
    struct stat st;
    char path[64];
    if (stat(folder, &st) != 0) {
        return;
    }
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/stat", major(st.st_dev),
             minor(st.st_dev));
    FILE *f = fopen(path, "r");
    uint64_t n[7] = {0};
    if (f != NULL) {
        size_t got = 0;
        while (got < 7 && fscanf(f, "%" SCNu64, &n[got]) == 1) {
            got++;
        }
        fclose(f);
    }
    m->device_reads = n[2] * SECTOR_BYTES;
    m->device_writes = n[6] * SECTOR_BYTES;
}

static uint64_t ns_of(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_usec * 1000U;
}

void bench_meter_read(struct bench_meter *m, const char *folder)
{
    struct rusage use;
    memset(m, 0, sizeof *m);
    getrusage(RUSAGE_SELF, &use);
    m->cpu_ns = ns_of(use.ru_utime) + ns_of(use.ru_stime);
    m->read_bytes = field("/proc/self/io", "read_bytes");
    m->write_bytes = field("/proc/self/io", "write_bytes");
    device(m, folder);
    m->ns = sop_bench__now_ns();
}

uint64_t bench_process_bytes(void)
{
    return field("/proc/self/io", "read_bytes") + field("/proc/self/io", "write_bytes");
}

/* ---- folders: nftw() takes no argument, and one thread asks -------------------------------
 */

static uint64_t walked_bytes;

static int add_bytes(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)path;
    (void)where;
    if (kind == FTW_F) {
        walked_bytes += (uint64_t)st->st_blocks * SECTOR_BYTES;
    }
    return 0;
}

uint64_t bench_folder_bytes(const char *folder)
{
    walked_bytes = 0;
    nftw(folder, add_bytes, 16, FTW_PHYS);
    return walked_bytes;
}

static int drop_file(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)where;
    int fd = kind == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fdatasync(fd); /* dirty pages would stay */
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    return 0;
}

/* Pages that a process has mapped are not dropped from the cache: unmaps them first. */
static void drop_maps(const char *folder)
{
    char line[4352];
    FILE *f = fopen("/proc/self/maps", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        char *end;
        uintptr_t from = (uintptr_t)strtoull(line, &end, 16);
        uintptr_t to = *end == '-' ? (uintptr_t)strtoull(end + 1, &end, 16) : from;
        bool shared = strlen(end) > 4 && end[4] == 's';
        const char *path = strchr(line, '/');
        if (shared && path != NULL && strncmp(path, folder, strlen(folder)) == 0) {
            madvise((void *)from, to - from,
                    MADV_DONTNEED); // NOLINT(performance-no-int-to-ptr)
        }
    }
    if (f != NULL) {
        fclose(f);
    }
}

void bench_folder_drop(const char *folder)
{
    drop_maps(folder);
    nftw(folder, drop_file, 16, FTW_PHYS);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    if (where->level > 0) {
        remove(path);
    }
    return 0;
}

void bench_folder_empty(const char *folder)
{
    nftw(folder, remove_one, 16, FTW_PHYS | FTW_DEPTH);
}

void bench_folder_remove(const char *folder)
{
    bench_folder_empty(folder);
    rmdir(folder);
}

void bench_peak_reset(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (f != NULL) {
        fputs("5", f);
        fclose(f);
    }
}

uint64_t bench_peak_bytes(void)
{
    return field("/proc/self/status", "VmHWM") * 1024;
}

uint64_t bench_resident_bytes(void)
{
    return field("/proc/self/status", "VmRSS") * 1024;
}
