/* Ballast on the volume; see ballast.h. */
#include "engine/txn/ballast.h"

#include "engine/base/codec.h"

#define CHUNK_BYTES (256u << 10)
#define STEP_BYTES  4096u        /* of the size of the one for openings */
#define ROOM_FACTOR 2            /* room for so many times as much: it is made in full */
#define LEFT_PART   8            /* of less room, which is left to journals */
#define LEFT_BYTES  (256u << 10) /* and at least so much */
#define ENOUGH_PART 2            /* of what it should be: less is missing */
#define RETRY_NS    UINT64_C(30000000000) /* after a quota or something else said no */

static const char *const names[] = {
    [SOP_BALLAST_OPEN] = SOP_BALLAST_OPEN_NAME, [SOP_BALLAST_CHECKPOINT] = SOP_BALLAST_NAME};

/* What no file system can compress: zeros would take no room. */
static void make_noise(uint8_t *to, size_t len)
{
    uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i + 8 <= len; i += 8) { /* splitmix64 (Steele and others, 2014) */
        uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        sop_put_u64(to + i, z ^ (z >> 31));
    }
}

/* Makes the file, or makes it longer. False: there may be part of it. */
static bool fill(struct sop_volume *v, const char *name, uint64_t from, uint64_t to)
{
    struct sop_file *f = NULL;
    uint8_t *noise = sop_malloc(CHUNK_BYTES);
    unsigned flags = from == 0 ? SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE : 0u;
    if (noise != NULL) {
        make_noise(noise, CHUNK_BYTES);
    }
    bool good = noise != NULL && sop_file_open(v, name, SOP_OPEN_WRITE | flags, &f, NULL) == 0;
    for (uint64_t at = from; good && at < to; at += CHUNK_BYTES) {
        uint64_t left = to - at;
        size_t len = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        good = sop_file_write(f, at, noise, len, NULL) == 0;
    }
    if (f != NULL) {
        sop_file_close(f);
    }
    sop_free(noise);
    return good;
}

bool sop_ballast_give_up(struct sop_volume *v, enum sop_ballast which)
{
    return sop_volume_unlink(v, names[which], NULL) == 0;
}

uint64_t sop_ballast_bytes(struct sop_volume *v, enum sop_ballast which)
{
    struct sop_stat st;
    return sop_volume_stat(v, names[which], &st, NULL) == 0 ? st.allocated_bytes : 0;
}

bool sop_ballast_make_for_opening(struct sop_volume *v, uint64_t *made)
{
    struct sop_stat st;
    uint64_t room = 0;
    if (sop_volume_stat(v, SOP_BALLAST_OPEN_NAME, &st, NULL) != 0) {
        return false;
    }
    uint64_t have = st.kind == SOP_FILE_ABSENT ? 0 : st.bytes;
    if (have >= SOP_BALLAST_OPEN_BYTES) {
        return true;
    }
    if (sop_volume_space(v, &room, NULL) != 0) {
        return false;
    }
    room -= room % STEP_BYTES;
    uint64_t more = SOP_BALLAST_OPEN_BYTES - have;
    uint64_t bytes = have + (room < more ? room : more);
    if (bytes < SOP_BALLAST_OPEN_BYTES_MIN || bytes == have) {
        return false;
    }
    /* An empty file is what a power loss may leave. */
    bool good =
        (st.kind == SOP_FILE_ABSENT || have > 0 || sop_ballast_give_up(v, SOP_BALLAST_OPEN)) &&
        fill(v, SOP_BALLAST_OPEN_NAME, have, bytes);
    if (!good) { /* others were faster in taking the room */
        (void)sop_ballast_give_up(v, SOP_BALLAST_OPEN);
    } else if (made != NULL) {
        *made += bytes - have;
    }
    return good && bytes == SOP_BALLAST_OPEN_BYTES;
}

/* What a database of so many bytes should have for checkpoints; 0 = none. */
static uint64_t fitting(const struct sop_engine *e, uint64_t volume_bytes)
{
    uint64_t most = e->options.max_bytes;
    uint64_t bytes = volume_bytes / SOP_BALLAST_FRACTION;
    bytes = bytes < SOP_BALLAST_BYTES_MAX ? bytes : SOP_BALLAST_BYTES_MAX;
    bytes -= bytes % SOP_BALLAST_BYTES_MIN;
    return most != 0 && bytes > most / SOP_BALLAST_FRACTION ? 0 : bytes;
}

uint64_t sop_ballast_wanted(const struct sop_engine *e)
{
    return fitting(e, atomic_load(&e->volume_bytes));
}

/* Makes, shrinks or lengthens it. True: it is about as it should be, or there should be none.
 */
static bool make_for_checkpoints(struct sop_engine *e)
{
    struct sop_stat st;
    uint64_t room = 0;
    if (sop_volume_stat(e->volume, SOP_BALLAST_NAME, &st, NULL) != 0) {
        return false;
    }
    bool there = st.kind != SOP_FILE_ABSENT;
    uint64_t all = atomic_load(&e->volume_bytes);
    uint64_t have = there ? st.bytes : 0;
    uint64_t bytes = fitting(e, all > have ? all - have : 0);
    if (there && (have == 0 || bytes < have / 2)) { /* the database has shrunk: so does this */
        if (!sop_ballast_give_up(e->volume, SOP_BALLAST_CHECKPOINT)) {
            return false;
        }
        atomic_fetch_sub(&e->volume_bytes, have < all ? have : all);
        have = 0;
    } else if (there && bytes < have * ENOUGH_PART) {
        return true;
    }
    if (bytes == 0) {
        return true;
    }
    if (sop_volume_space(e->volume, &room, NULL) != 0) {
        return false;
    }
    uint64_t least = bytes / ENOUGH_PART;
    if (room / ROOM_FACTOR < bytes - have) { /* it comes before what commits would add */
        uint64_t left = room / LEFT_PART > LEFT_BYTES ? room / LEFT_PART : LEFT_BYTES;
        bytes = have + (room > left ? room - left : 0);
        bytes -= bytes % CHUNK_BYTES;
    }
    uint64_t now = sop_env_mono_ns(e->env);
    if (bytes > have && now >= e->ballast_retry_ns) {
        if (!fill(e->volume, SOP_BALLAST_NAME, have, bytes)) {
            e->ballast_retry_ns = now + RETRY_NS;
            (void)sop_ballast_give_up(e->volume, SOP_BALLAST_CHECKPOINT);
            return false;
        }
        atomic_fetch_add(&e->volume_bytes, bytes - have);
        have = bytes;
    }
    return have >= least;
}

void sop_ballast_make(struct sop_engine *e, bool all)
{
    uint64_t made = 0;
    e->ballast_open_missing = !sop_ballast_make_for_opening(e->volume, &made);
    atomic_fetch_add(&e->volume_bytes, made);
    if (all) {
        e->ballast_missing = !make_for_checkpoints(e);
    }
}
