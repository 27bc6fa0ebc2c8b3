/* Ballast on the volume; see ballast.h. */
#include "engine/txn/ballast.h"

#define NAME        "ballast"
#define CHUNK_BYTES (1u << 20)
#define ROOM_FACTOR 4

/* Fills a fresh file; false leaves it to be removed. */
static bool fill(struct sop_volume *v, uint64_t bytes)
{
    struct sop_file *f = NULL;
    uint8_t *zeros = sop_calloc(1, CHUNK_BYTES);
    bool good = zeros != NULL &&
                sop_file_open(v, NAME, SOP_OPEN_WRITE | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE,
                              &f, NULL) == 0;
    for (uint64_t at = 0; good && at < bytes; at += CHUNK_BYTES) {
        good = sop_file_write(f, at, zeros, CHUNK_BYTES, NULL) == 0;
    }
    sop_file_close(f);
    sop_free(zeros);
    return good;
}

/* What a database of so many bytes should have; 0 = none. */
static uint64_t fitting(const struct sop_engine *e, uint64_t volume_bytes)
{
    uint64_t most = e->options.max_bytes;
    uint64_t bytes = volume_bytes / SOP_BALLAST_FRACTION;
    bytes = bytes < SOP_BALLAST_BYTES_MAX ? bytes : SOP_BALLAST_BYTES_MAX;
    bytes -= bytes % CHUNK_BYTES;
    bool none =
        bytes < SOP_BALLAST_BYTES_MIN || (most != 0 && bytes > most / SOP_BALLAST_FRACTION);
    return none ? 0 : bytes;
}

void sop_ballast_make(struct sop_engine *e)
{
    struct sop_stat st;
    uint64_t room = 0;
    if (sop_volume_stat(e->volume, NAME, &st, NULL) != 0) {
        return;
    }
    uint64_t all = atomic_load(&e->volume_bytes);
    uint64_t have = st.kind == SOP_FILE_ABSENT ? 0 : st.bytes;
    uint64_t bytes = fitting(e, all > have ? all - have : 0);
    if (have != 0 && bytes >= have / 2) {
        return;
    }
    if (have != 0) { /* the database has shrunk: its ballast shrinks with it */
        if (!sop_ballast_give_up(e)) {
            return;
        }
        atomic_fetch_sub(&e->volume_bytes, have < all ? have : all);
    }
    if (bytes == 0 || sop_volume_space(e->volume, &room, NULL) != 0 ||
        room / ROOM_FACTOR < bytes) {
        return;
    }
    if (!fill(e->volume, bytes)) {
        (void)sop_ballast_give_up(e);
    }
}

bool sop_ballast_give_up(struct sop_engine *e)
{
    return sop_volume_unlink(e->volume, NAME, NULL) == 0;
}
