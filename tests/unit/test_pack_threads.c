/* Packs from four threads at once: appends to one file, streams, reads through few descriptors,
 * syncs. */
#include "tests/lib/pack_kit.h"

#include "engine/base/thread.h"

#include <stdatomic.h>

enum { THREADS = 4, RECORDS = 120, HURRIED = 500 };

struct worker {
    struct sop_packs *packs;
    uint64_t number;
    uint64_t gone_member;  /* whose files are unlinked meanwhile */
    _Atomic size_t synced; /* places[0..synced) were covered by a sync that succeeded */
    struct sop_place places[HURRIED];
};

static uint64_t seed_of(const struct worker *w, size_t i)
{
    return w->number * 1000 + i;
}

static void worker_write(struct worker *w, size_t i)
{
    struct sop_err err = {0};
    struct sop_pack_owner owner = kit_value("shared");
    size_t len = i % 10 == 9 ? 80000 + i : i * 37;
    uint8_t *bytes = kit_bytes(len, seed_of(w, i));
    if (i % 12 == 5) {
        struct sop_pack_stream *s = NULL;
        OK(sop_packs_stream(w->packs, &owner, &s, &err));
        OK(sop_pack_stream_write(s, sop_slice(bytes, len / 2), &err));
        OK(sop_pack_stream_write(s, sop_slice(bytes + len / 2, len - len / 2), &err));
        OK(sop_pack_stream_finish(&s, &w->places[i], &err));
    } else {
        OK(sop_packs_append(w->packs, &owner, sop_slice(bytes, len), &w->places[i], &err));
    }
    free(bytes);
}

static void *worker_run(void *arg)
{
    struct worker *w = arg;
    struct sop_err err = {0};
    for (size_t i = 0; i < RECORDS; i++) {
        worker_write(w, i);
        OK(kit_check(w->packs, &w->places[i], SOP_PACK_VALUE, seed_of(w, i), &err));
        size_t old = (i * 7) % (i + 1);
        OK(kit_check(w->packs, &w->places[old], SOP_PACK_VALUE, seed_of(w, old), &err));
        if (i % 16 == w->number) {
            OK(sop_packs_sync(w->packs, &err));
            atomic_store(&w->synced, i + 1);
        }
        if (i % 25 == w->number) {
            sop_packs_cut(w->packs);
        }
        if (i % 10 == 0) {
            OK(sop_packs_unlink(w->packs, w->gone_member, (uint32_t)(i / 10 + 1), &err));
        }
    }
    OK(sop_packs_sync(w->packs, &err));
    return NULL;
}

static int count_record(void *arg, const struct sop_pack_owner *owner,
                        const struct sop_place *place, struct sop_err *err)
{
    (void)owner;
    (void)place;
    (void)err;
    ++*(size_t *)arg;
    return 0;
}

struct census {
    struct sop_packs *packs;
    size_t records;
};

static int count_file(void *arg, uint64_t member, uint32_t file, uint64_t bytes, bool writing,
                      struct sop_err *err)
{
    struct census *c = arg;
    (void)bytes;
    ck_assert(!writing);
    return sop_packs_scan(c->packs, member, file, true, count_record, &c->records, err);
}

/* 12 files of a member that is gone, for the workers to remove. */
static void leave_garbage(struct sop_volume *v, uint64_t member)
{
    struct sop_err err = {0};
    struct sop_packs *p = kit_open(v, member);
    struct sop_pack_owner owner = kit_sheet(1);
    struct sop_place place;
    for (int i = 0; i < 12; i++) {
        OK(kit_append(p, &owner, 100, 1, &place, &err));
        sop_packs_cut(p);
    }
    sop_packs_close(&p);
}

START_TEST(four_threads_share_one_instance)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    sop_volume_sim_write_once(k.sim, NULL); /* threads append while others sync */
    struct worker *workers = calloc(THREADS, sizeof *workers);
    ck_assert_ptr_nonnull(workers);
    leave_garbage(k.sim, 0x99);
    pthread_t threads[THREADS];
    for (uint64_t i = 0; i < THREADS; i++) {
        workers[i].packs = k.packs;
        workers[i].number = i;
        workers[i].gone_member = 0x99;
        OK(sop_thread_start(&threads[i], worker_run, &workers[i], "pack-test", &err));
    }
    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    /* All of it is durable, readable by another member, and found by scans. */
    struct sop_volume *disk = NULL;
    OK(sop_volume_sim_crash(k.sim, NULL, &disk, &err));
    struct sop_packs *after = kit_open(disk, 8);
    for (size_t i = 0; i < THREADS; i++) {
        for (size_t j = 0; j < RECORDS; j++) {
            OK(kit_check(after, &workers[i].places[j], SOP_PACK_VALUE, seed_of(&workers[i], j),
                         &err));
        }
    }
    struct census c = {.packs = after};
    OK(sop_packs_unlink(after, 0x99, 1, &err));
    struct sop_stat st;
    OK(sop_volume_stat(k.sim, "packs/99", &st, &err));
    ck_assert_int_eq(st.kind, SOP_FILE_ABSENT);
    for (uint32_t i = 1; i <= 12; i++) { /* the crash may have brought names back */
        OK(sop_packs_unlink(after, 0x99, i, &err));
    }
    OK(sop_packs_files(after, count_file, &c, &err));
    ck_assert_uint_eq(c.records, THREADS * RECORDS);
    sop_packs_close(&after);
    sop_volume_destroy(disk);
    free(workers);
    kit_fini(&k);
}
END_TEST

/* Writes and syncs small records as fast as it can, so that syncs and appends overlap. */
static void *hurry(void *arg)
{
    struct worker *w = arg;
    struct sop_err err = {0};
    struct sop_pack_owner owner = kit_value("hurry");
    for (size_t i = 0; i < HURRIED; i++) {
        OK(kit_append(w->packs, &owner, 150 + i % 700, seed_of(w, i), &w->places[i], &err));
        if (i % 3 == w->number % 3) {
            OK(sop_packs_sync(w->packs, &err));
            atomic_store(&w->synced, i + 1);
        }
    }
    return NULL;
}

/* Power loss in the middle: what was synced by then, as noted before the crash. Nonzero when
 * all workers were done. */
static bool crash_and_check(struct kit *k, struct worker *workers, uint64_t seed)
{
    struct sop_err err = {0};
    size_t synced[THREADS];
    bool done = true;
    for (size_t i = 0; i < THREADS; i++) {
        synced[i] = atomic_load(&workers[i].synced);
        done = done && synced[i] + 3 > HURRIED;
    }
    struct sop_sim_crash how = {
        .seed = seed, .keep_sector = 30, .garble_sector = 50, .keep_names = 50};
    struct sop_volume *disk = NULL;
    OK(sop_volume_sim_crash(k->sim, &how, &disk, &err));
    struct sop_packs *after = kit_open(disk, 8);
    for (size_t i = 0; i < THREADS; i++) {
        for (size_t j = 0; j < synced[i]; j++) {
            OK(kit_check(after, &workers[i].places[j], SOP_PACK_VALUE, seed_of(&workers[i], j),
                         &err));
        }
    }
    sop_packs_close(&after);
    sop_volume_destroy(disk);
    return done;
}

START_TEST(power_loss_between_threads_spares_what_was_synced)
{
    struct sop_err err = {0};
    struct kit k = kit_init();
    sop_volume_sim_write_once(k.sim, NULL); /* threads append while others sync */
    struct worker *workers = calloc(THREADS, sizeof *workers);
    ck_assert_ptr_nonnull(workers);
    pthread_t threads[THREADS];
    for (uint64_t i = 0; i < THREADS; i++) {
        workers[i].packs = k.packs;
        workers[i].number = i;
        OK(sop_thread_start(&threads[i], hurry, &workers[i], "pack-test", &err));
    }
    for (uint64_t seed = 1; !crash_and_check(&k, workers, seed); seed++) {
    }
    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    ck_assert(crash_and_check(&k, workers, 0));
    free(workers);
    kit_fini(&k);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {four_threads_share_one_instance,
                                  power_loss_between_threads_spares_what_was_synced};
    return kit_main("pack_threads", tests, SOP_ARRAY_LEN(tests));
}
