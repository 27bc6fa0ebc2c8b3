/* Any bytes as the payload of a BATCH record, against an engine with a few stores: refused with
 * a typed error, or decoded and finished into new page versions, which are dropped. Nothing is
 * published.
 *
 * SOP_FUZZ_SEEDS=folder makes it write real payloads there that fit this engine. */
#include "engine/base/codec.h"
#include "engine/db/db_int.h"
#include "engine/journal/format.h"
#include "engine/txn/plan.h"
#include "engine/volume/sim.h"

#include <stdio.h>
#include <stdlib.h>

#define ITEMS        120
#define SEEDS        24
#define REOPEN_EVERY 4096 /* stores that a decoded record creates stay in the engine */

/* Time and randomness that repeat: seeds fit every run. */
static uint64_t clock_ns, random_state = 1;
static uint64_t same_mono(struct sop_env *env)
{
    (void)env;
    return clock_ns += 1000;
}
static void same_sleep(struct sop_env *env, uint64_t ns)
{
    (void)env;
    clock_ns += ns;
}
static void same_random(struct sop_env *env, void *to, size_t len)
{
    (void)env;
    for (size_t i = 0; i < len; i++) {
        random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
        ((uint8_t *)to)[i] = (uint8_t)(random_state >> 56);
    }
}
static const struct sop_env_ops same_ops = {
    .mono_ns = same_mono, .wall_ms = same_mono, .sleep_ns = same_sleep, .random = same_random};
static struct sop_env same = {.ops = &same_ops};

static struct sop_volume *disk; /* as the engine was opened on */
static struct sop_volume *volume;
static struct sop_db *db;
static uint64_t inputs;

static void fine(int rc, const struct sop_err *err)
{
    if (rc != 0) {
        fprintf(stderr, "%s\n", err->text);
        abort();
    }
}

static struct sop_db *open_on(struct sop_volume *v)
{
    struct sop_db *opened = NULL;
    struct sop_err err = {0};
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = true;
    o.manual = true;
    o.cache_bytes = 8u << 20;
    fine(sop_db_open_on(&opened, v, &same, &o, 0, &err), &err);
    return opened;
}

static void put(struct sop_db *to, const char *store, unsigned from, unsigned count,
                bool remove)
{
    struct sop_err err = {0};
    struct sop_txn *t = NULL;
    struct sop_store *s = NULL;
    fine(sop_txn_begin(&t, to, NULL, &err), &err);
    int rc = sop_store_open(&s, t, store, &err);
    if (rc == SOP_ERR_NOT_FOUND) {
        struct sop_store_options o;
        sop_store_options_init(&o);
        o.slot_length = 8;
        o.unique = store[0] != 'n';
        o.values = store[0] == 'm' ? SOP_VALUES_MEDIUM : SOP_VALUES_SMALL;
        rc = sop_store_create(&s, t, store, &o, &err);
    }
    fine(rc, &err);
    for (unsigned i = from; i < from + count; i++) {
        char key[16];
        struct sop_entry e = {.key =
                                  sop_slice(key, (size_t)snprintf(key, sizeof key, "k%03u", i)),
                              .ride = sop_slice("ride", i % 5),
                              .value = sop_slice("a value of an item", i % 18)};
        if (remove) {
            rc = sop_remove(s, e.key, &err);
            rc = rc == SOP_ERR_NOT_FOUND ? 0 : rc;
        } else {
            rc = store[0] == 'n' ? sop_add(s, &e, &err) : sop_upsert(s, &e, &err);
        }
        fine(rc, &err);
    }
    fine(sop_txn_commit(&t, NULL, &err), &err);
}

static void drop(struct sop_db *from, const char *store)
{
    struct sop_err err = {0};
    struct sop_txn *t = NULL;
    fine(sop_txn_begin(&t, from, NULL, &err), &err);
    fine(sop_store_remove(t, store, &err), &err);
    fine(sop_txn_commit(&t, NULL, &err), &err);
}

/* Half of it in a checkpoint, half in the journal; pages that are free. */
static void build(void)
{
    struct sop_err err = {0};
    fine(sop_volume_sim_new(&disk, &err), &err);
    struct sop_db *made = open_on(disk);
    put(made, "unique", 0, ITEMS, false);
    put(made, "nothing", 0, ITEMS, false);
    put(made, "medium", 0, ITEMS / 4, false);
    put(made, "going", 0, 20, false);
    fine(sop_db_checkpoint(made, &err), &err);
    put(made, "unique", ITEMS / 3, ITEMS / 3, true);
    put(made, "unique", ITEMS, 20, false);
    drop(made, "going");
    sop_db_abandon(&made);
}

static void reopen(void)
{
    struct sop_err err = {0};
    if (db != NULL) {
        sop_db_abandon(&db);
        sop_volume_destroy(volume);
    }
    random_state = 7;
    fine(sop_volume_sim_copy(disk, &volume, &err), &err);
    db = open_on(volume);
}

/* ---- seeds ---------------------------------------------------------------------------------
 */

static int last_record(void *arg, const char *name, struct sop_err *err)
{
    struct sop_buf *last = arg;
    char path[256];
    struct sop_buf file = {0};
    (void)snprintf(path, sizeof path, "members/%s/journal/1", name);
    int rc = sop_volume_read_file(volume, path, 64u << 20, &file, err);
    for (size_t at = 0; rc == 0 && at + SOP_BLOCK_BYTES <= file.len; at += SOP_BLOCK_BYTES) {
        struct sop_journal_header h;
        if (sop_journal_header_decode(sop_slice(file.data + at, SOP_BLOCK_BYTES), &h) ==
                SOP_JOURNAL_VALID &&
            h.kind == SOP_RECORD_BATCH &&
            h.tenure == sop_chain_member(db->now->engine->chain)) {
            sop_buf_clear(last);
            rc = sop_buf_append(last, file.data + at + SOP_JOURNAL_HEADER_BYTES,
                                (size_t)h.payload_bytes, err);
        }
    }
    sop_buf_fini(&file);
    return rc;
}

static void write_seeds(const char *folder)
{
    for (unsigned i = 0; i < SEEDS; i++) {
        static const char *const stores[] = {"unique", "nothing", "medium", "fresh"};
        struct sop_err err = {0};
        struct sop_buf last = {0};
        char path[512];
        reopen();
        if (i == 0) {
            drop(db, "medium");
        } else {
            put(db, stores[i % 4], i * 7 % ITEMS, 1 + i * i % 40, i % 3 == 0);
        }
        fine(sop_volume_list(volume, "members", last_record, &last, &err), &err);
        (void)snprintf(path, sizeof path, "%s/seed%02u", folder, i);
        FILE *f = fopen(path, "wb");
        if (f == NULL || fwrite(last.data, 1, last.len, f) != last.len || fclose(f) != 0) {
            abort();
        }
        sop_buf_fini(&last);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    build();
    const char *seeds = getenv("SOP_FUZZ_SEEDS");
    if (seeds != NULL) {
        write_seeds(seeds);
    }
    reopen();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (++inputs % REOPEN_EVERY == 0) {
        reopen();
    }
    uint8_t *copy = malloc(len + 1); /* its end is where the sanitizer looks */
    if (copy == NULL) {
        return 0;
    }
    memcpy(copy, data, len);
    struct sop_engine *e = db->now->engine;
    struct sop_err err = {0};
    struct sop_plan plan;
    sop_epoch_enter(&e->epochs, e->leader_slot);
    sop_plan_init(&plan, e, true);
    int rc = sop_plan_decode(&plan, sop_slice(copy, len), &err);
    if (rc == 0) {
        rc = sop_plan_finish(&plan, &err);
    }
    sop_epoch_leave(e->leader_slot);
    sop_plan_fini(&plan);
    sop_epoch_reclaim(&e->epochs);
    SOP_ASSERT(rc == 0 || rc == SOP_ERR_DATA_LOSS || rc == SOP_ERR_VERSION ||
               rc == SOP_ERR_UNSUPPORTED || rc == SOP_ERR_NOMEM);
    free(copy);
    return 0;
}
