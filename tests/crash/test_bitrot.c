/* Bits flip, files get shorter, empty or lost: each file of a database is damaged at many
 * places, one at a time, and the database is opened and read as a whole. Either it is exactly
 * what it was (nothing names those bytes any more, or there is another copy), or there is an
 * error of a type that says so and names the file and the offset of the damaged record. Never
 * wrong data, never less of it. And whoever asks (verification of the whole database) is told
 * of every damage, by name and offset, also of one that nothing depends on.
 *
 * One exception, of docs/FAULTS.md: rot of the very last journal record looks like a write that
 * never finished. Only there the state may be that before it.
 *
 * Three scenes: closed in order, killed, and power lost. On the simulated volume, where a copy
 * of a folder costs nothing. SOP_TEST_SEED, which is printed, decides ids, names and the places
 * that are hit: the same seed is the same run. CK_RUN_CASE names one scene. */
#include "engine/base/codec.h"
#include "engine/db/db_int.h"
#include "engine/chain/format.h"
#include "engine/journal/format.h"
#include "engine/pack/format.h"
#include "engine/volume/sim.h"
#include "tests/lib/scale.h"

#include <check.h>
#include <stdio.h>

#define SEED        42
#define DIR_SLOTS   6 /* the chain rolls often */
#define FILES_MAX   256
#define STATES_MAX  128
#define PATH_BYTES  160
#define HEADER_MOST 256 /* each byte of these is hit */

/* ---- a world that can be repeated ----------------------------------------------------------
 */

static uint64_t seed; /* of this run */

static uint64_t mix(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    return sop_hash64(state, sizeof *state, 0);
}

static struct world {
    struct sop_env env;
    uint64_t randomness, ns;
} world;

static uint64_t world_mono_ns(struct sop_env *env)
{
    (void)env;
    return world.ns += 1000;
}

static uint64_t world_wall_ms(struct sop_env *env)
{
    return UINT64_C(1700000000000) + world_mono_ns(env) / 1000000;
}

static void world_sleep_ns(struct sop_env *env, uint64_t ns)
{
    (void)env;
    world.ns += ns;
}

static void world_random(struct sop_env *env, void *to, size_t len)
{
    (void)env;
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)to)[i] = (uint8_t)mix(&world.randomness);
    }
}

/* Time and randomness from here on; every damage begins with its own, so that it can be
 * repeated without those before it. */
static void begin_world(uint64_t salt)
{
    static const struct sop_env_ops ops = {.mono_ns = world_mono_ns,
                                           .wall_ms = world_wall_ms,
                                           .sleep_ns = world_sleep_ns,
                                           .random = world_random};
    world.env.ops = &ops;
    world.ns = UINT64_C(1000000000);
    world.randomness = sop_hash64(&salt, sizeof salt, seed);
}

/* ---- what the database holds ---------------------------------------------------------------
 */

static const char *const names[] = {"plain", "many", "medium", "big"};
#define STORES SOP_ARRAY_LEN(names)

/* A hash of each store, 0 = it is not there. */
struct state {
    uint64_t store[STORES];
};

struct scene {
    const char *name;
    struct sop_volume *disk;
    struct state states[STATES_MAX]; /* after each commit */
    size_t count;
    struct {
        char path[PATH_BYTES];
        uint64_t bytes;
    } files[FILES_MAX];
    size_t files_count;
    char last_path[PATH_BYTES]; /* of the last journal record */
    uint64_t last_at, last_end;
};

/* What came of the damages, by kind of file. */
static const char *const kinds[] = {
    "sop.db",    "dboptions", "GATE",      "chain/",       "/lock",  "/TEN",    "/beat",
    "/tickets/", "/journal/", "registry/", "checkpoints/", "packs/", "ballast", ""};
#define KINDS SOP_ARRAY_LEN(kinds)
static struct tally {
    uint64_t trials, refused, found, right, lost_last, silent;
    uint64_t told[4]; /* by enum damage */
} tallies[KINDS], *total;
static char silent_shown[PATH_BYTES + SOP_ERR_TEXT_BYTES + 200]; /* the last silent damage */

static void tally_for(const char *path)
{
    size_t i = 0;
    while (strstr(path, kinds[i]) == NULL) {
        i++;
    }
    total = &tallies[i];
}

static void fine(int rc, const struct sop_err *err)
{
    ck_assert_msg(rc == 0, "%s: %s", sop_err_name(rc), err->text);
}

static struct sop_slice key_of(unsigned i, char to[24])
{
    int n = snprintf(to, 24, "key %06u", i * 7919u % 100000u);
    return sop_slice(to, (size_t)n);
}

static struct sop_slice value_of(unsigned i, size_t bytes, uint8_t *to)
{
    for (size_t k = 0; k < bytes; k++) {
        to[k] = (uint8_t)(i * 31 + k * 7 + (k >> 8));
    }
    return sop_slice(to, bytes);
}

static void hash_bytes(uint64_t *hash, struct sop_slice s)
{
    *hash = sop_hash64(s.data, s.len, *hash + s.len + 1);
}

/* Reads one store from end to end. */
static int hash_store(struct sop_txn *t, const char *name, uint64_t *hash, struct sop_err *err)
{
    struct sop_store *s = NULL;
    struct sop_cursor *c = NULL;
    *hash = 0;
    int rc = sop_store_open(&s, t, name, err);
    if (rc != 0) {
        return rc == SOP_ERR_NOT_FOUND ? 0 : rc;
    }
    *hash = 1;
    uint64_t items = 0, count = 0;
    rc = sop_cursor_open(&c, s, err);
    rc = rc != 0 ? rc : sop_cursor_first(c, err);
    while (rc == 0) {
        struct sop_view v;
        struct sop_value_reader *r = NULL;
        static uint8_t value[100000];
        size_t got = 0;
        rc = sop_cursor_item(c, &v, err);
        if (rc != 0) {
            return rc;
        }
        hash_bytes(hash, v.key);
        hash_bytes(hash, v.ride);
        hash_bytes(hash, v.value);
        if (!v.loaded) {
            rc = sop_value_open(&r, c, err);
            rc = rc != 0 ? rc : sop_value_read(r, 0, value, sizeof value, &got, err);
            if (rc != 0) {
                return rc;
            }
            hash_bytes(hash, sop_slice(value, got));
            sop_value_close(&r);
        }
        items++;
        rc = sop_cursor_next(c, err);
    }
    if (rc != SOP_ERR_END) {
        return rc;
    }
    rc = sop_store_count(s, false, &count, err);
    ck_assert(rc != 0 || count == items);
    return rc;
}

static void take_state(struct sop_db *db, struct scene *s)
{
    struct sop_err err = {0};
    struct sop_txn *t = NULL;
    ck_assert_uint_lt(s->count, STATES_MAX);
    struct state *to = &s->states[s->count++];
    fine(sop_txn_begin(&t, db, NULL, &err), &err);
    for (size_t i = 0; i < STORES; i++) {
        fine(hash_store(t, names[i], &to->store[i], &err), &err);
    }
    sop_txn_rollback(&t);
}

/* ---- a database with a bit of everything ---------------------------------------------------
 */

static int open_it(struct sop_db **db, struct sop_volume *v, bool create, bool read_only,
                   struct sop_err *err)
{
    struct sop_db_options o;
    sop_db_options_init(&o);
    o.create = create;
    o.read_only = read_only;
    o.manual = true;
    o.cache_bytes = 8u << 20;
    return sop_db_open_on(db, v, &world.env, &o, DIR_SLOTS, err);
}

static void make(struct sop_db *db, struct scene *s)
{
    struct sop_err err = {0};
    struct sop_txn *t = NULL;
    struct sop_store *store = NULL;
    fine(sop_txn_begin(&t, db, NULL, &err), &err);
    for (size_t i = 0; i < STORES; i++) {
        struct sop_store_options o;
        sop_store_options_init(&o);
        o.slot_length = 20;
        o.unique = i != 1;
        o.values = i == 2 ? SOP_VALUES_MEDIUM : i == 3 ? SOP_VALUES_BIG : SOP_VALUES_SMALL;
        o.description = "made to be damaged";
        fine(sop_store_create(&store, t, names[i], &o, &err), &err);
    }
    fine(sop_txn_commit(&t, NULL, &err), &err);
    take_state(db, s);
}

/* One commit that adds, changes and removes in each store. */
static void change(struct sop_db *db, struct scene *s, unsigned from, unsigned count)
{
    static uint8_t bytes[100000];
    char key[24];
    struct sop_err err = {0};
    struct sop_txn *t = NULL;
    struct sop_store *store = NULL;
    fine(sop_txn_begin(&t, db, NULL, &err), &err);
    for (size_t i = 0; i < STORES; i++) {
        unsigned here = i < 2 ? count : i == 2 ? count / 8 + 1 : 1;
        fine(sop_store_open(&store, t, names[i], &err), &err);
        for (unsigned k = from; k < from + here; k++) {
            size_t len = i < 2 ? 10 + k % 90 : i == 2 ? 300 + k % 700 : 90000 - k % 9000;
            struct sop_entry e = {.key = key_of(i == 1 ? k / 3 : k, key),
                                  .ride = sop_slice("ride", k % 3),
                                  .value = value_of(k + s->count % 256, len, bytes)};
            fine(i == 1 ? sop_add(store, &e, &err) : sop_upsert(store, &e, &err), &err);
        }
        for (unsigned k = from; i != 3 && k < from + here; k += 5) {
            fine(sop_remove(store, key_of(i == 1 ? k / 3 : k, key), &err), &err);
        }
    }
    fine(sop_txn_commit(&t, NULL, &err), &err);
    take_state(db, s);
}

/* Sessions with checkpoints between, and commits behind the last one. */
static void build(struct scene *s, struct sop_volume *v, bool close)
{
    struct sop_db *db = NULL;
    struct sop_err err = {0};
    unsigned at = 0;
    for (unsigned session = 0; session < 6; session++) {
        fine(open_it(&db, v, session == 0, false, &err), &err);
        if (session == 0) {
            make(db, s);
        }
        for (unsigned i = 0; i < 4; i++) {
            change(db, s, at, 40);
            at += 25;
            if (session % 2 == 0 && i == 1) {
                fine(sop_db_checkpoint(db, &err), &err);
            }
        }
        if (session == 3) {
            fine(sop_db_compact(db, &err), &err);
        }
        if (session < 5 || close) {
            fine(sop_db_close(&db, &err), &err);
        }
    }
    if (!close) {
        fine(sop_maintain(db, &err), &err); /* the beat */
        change(db, s, at, 12);              /* several blocks, and one that fits into one */
        change(db, s, at + 5, 1);
        sop_db_abandon(&db);
    }
}

/* ---- its files -----------------------------------------------------------------------------
 */

struct listing {
    struct scene *scene;
    char dirs[FILES_MAX][PATH_BYTES];
    size_t at, count;
};

static int note_name(void *arg, const char *name, struct sop_err *err)
{
    struct listing *l = arg;
    char path[PATH_BYTES];
    struct sop_stat st;
    const char *dir = l->dirs[l->at];
    (void)snprintf(path, sizeof path, "%.100s%s%.50s", dir, dir[0] != 0 ? "/" : "", name);
    fine(sop_volume_stat(l->scene->disk, path, &st, err), err);
    ck_assert_uint_lt(l->count, FILES_MAX);
    ck_assert_uint_lt(l->scene->files_count, FILES_MAX);
    if (st.kind == SOP_FILE_DIRECTORY) {
        memcpy(l->dirs[l->count++], path, sizeof path);
    } else {
        memcpy(l->scene->files[l->scene->files_count].path, path, sizeof path);
        l->scene->files[l->scene->files_count++].bytes = st.bytes;
    }
    return 0;
}

/* Where the last journal record lies. */
static void find_last(struct scene *s, const char *path)
{
    static uint64_t tenure, record;
    struct sop_err err = {0};
    struct sop_buf file = {0};
    if (s->last_path[0] == 0) {
        tenure = record = 0;
    }
    fine(sop_volume_read_file(s->disk, path, 64u << 20, &file, &err), &err);
    for (size_t at = 0; at + SOP_JOURNAL_HEADER_BYTES <= file.len; at += SOP_JOURNAL_UNIT) {
        struct sop_journal_header h;
        if (sop_journal_header_decode(sop_slice(file.data + at, file.len - at), &h) ==
                SOP_JOURNAL_VALID &&
            h.kind != SOP_JOURNAL_END &&
            (h.tenure > tenure || (h.tenure == tenure && h.record > record))) {
            tenure = h.tenure;
            record = h.record;
            (void)snprintf(s->last_path, sizeof s->last_path, "%s", path);
            s->last_at = at;
            s->last_end = at + sop_journal_record_bytes(h.payload_bytes);
        }
    }
    sop_buf_fini(&file);
}

static void list_files(struct scene *s)
{
    static struct listing l;
    struct sop_err err = {0};
    memset(&l, 0, sizeof l);
    l.scene = s;
    for (l.count = 1; l.at < l.count; l.at++) {
        fine(sop_volume_list(s->disk, l.dirs[l.at], note_name, &l, &err), &err);
    }
    for (size_t i = 0; i < s->files_count; i++) {
        if (strstr(s->files[i].path, "/journal/") != NULL) {
            find_last(s, s->files[i].path);
        }
    }
    ck_assert_int_ne(s->last_path[0], 0);
}

/* ---- one damage ----------------------------------------------------------------------------
 */

enum damage { FLIP, CUT, EMPTY, REMOVE };
struct harm {
    const struct scene *scene;
    const char *path;
    enum damage what;
    uint64_t at;                   /* bit, or bytes that stay */
    const struct sop_buf *content; /* of the file as it was */
    bool told;                     /* some text said what and where */
    char shown[PATH_BYTES + 64];
};

/* ---- does a text say where? ----------------------------------------------------------------
 *
 * "<path> at byte 4096: ..." means the record that lies there, "at bytes 8 to 900" says itself
 * how far it reaches. */

/* The end of the record of a pack that covers `at`. */
static uint64_t pack_record_end(const struct sop_buf *file, uint64_t at)
{
    struct sop_pack_header h;
    for (uint64_t from = 0; from + SOP_PACK_HEADER_BYTES <= file->len;) {
        if (sop_pack__header_decode(file->data + from, &h, NULL) != 0) {
            from += 8; /* what is left to the next block */
            continue;
        }
        uint64_t end = from + sop_pack__record_bytes(&h);
        if (at < end) {
            return end;
        }
        from = end;
    }
    return file->len;
}

static uint64_t record_end(const struct harm *h, uint64_t at)
{
    const struct sop_buf *file = h->content;
    struct sop_journal_header j;
    if (strstr(h->path, "packs/") != NULL) {
        return pack_record_end(file, at);
    }
    if (at + SOP_BLOCK_BYTES <= file->len &&
        sop_journal_header_decode(sop_slice(file->data + at, SOP_BLOCK_BYTES), &j) ==
            SOP_JOURNAL_VALID) {
        return at + sop_journal_record_bytes(j.payload_bytes);
    }
    size_t head = at == 0 && file->len >= SOP_BLOCK_BYTES
                      ? sop_ticket_head_bytes(sop_slice(file->data, SOP_BLOCK_BYTES))
                      : 0;
    return at + (head > SOP_BLOCK_BYTES ? head : SOP_BLOCK_BYTES);
}

/* Does the offset behind a name fit the damage? What was cut off is damaged up to its end. */
static bool fits(const struct harm *h, const char *text)
{
    uint64_t from = 0;
    uint64_t to = 0;
    const char *at = strstr(text, "byte");
    const char *missing = strstr(text, "missing");
    if (at == NULL) {
        return h->what == REMOVE || (missing != NULL && h->what == EMPTY);
    }
    if (sscanf(at, "bytes %" SCNu64 " to %" SCNu64, &from, &to) != 2) {
        if (sscanf(at, "byte %" SCNu64, &from) != 1) {
            return false;
        }
        to = record_end(h, from);
    }
    if (h->what == FLIP) {
        return from <= h->at / 8 && h->at / 8 < to;
    }
    return h->what == REMOVE || to >= h->at;
}

/* Names under which the file is known: a ticket also by its slot, a record by its journal. */
static bool names_it(const struct harm *h, const char *text)
{
    const char *named = strstr(text, h->path);
    if (named == NULL && strstr(h->path, "/tickets/") != NULL) {
        named = strstr(text, "chain/");
    }
    if (named == NULL && h->what == REMOVE) { /* its folder will do */
        char folder[PATH_BYTES];
        (void)snprintf(folder, sizeof folder, "%s", h->path);
        char *slash = strrchr(folder, '/');
        if (slash != NULL) {
            *slash = 0;
            const char *last = strrchr(folder, '/');
            named = strstr(text, last != NULL ? last + 1 : folder);
        }
    }
    return named != NULL && fits(h, named);
}

static void typed(struct harm *h, int rc, const struct sop_err *err, const char *where)
{
    bool code =
        rc == SOP_ERR_DATA_LOSS || rc == SOP_ERR_VERSION || rc == SOP_ERR_NOT_A_DATABASE;
    ck_assert_msg(code && err->code == rc, "%s: %s: %s: %s", h->shown, where, sop_err_name(rc),
                  err->text);
    ck_assert_msg(names_it(h, err->text), "%s: %s: %s: %s does not say where", h->shown, where,
                  sop_err_name(rc), err->text);
    h->told = true;
    if (getenv("SOP_TEST_SHOW") != NULL) {
        printf("%s: %s: %s: %s\n", h->shown, where, sop_err_name(rc), err->text);
    }
}

/* Does it touch nothing but the last journal record? */
static bool is_last(const struct harm *h)
{
    const struct scene *s = h->scene;
    if (strcmp(h->path, s->last_path) != 0) {
        return false;
    }
    uint64_t byte = h->what == FLIP ? h->at / 8 : h->at;
    return (h->what == FLIP || h->what == CUT) && byte >= s->last_at && byte < s->last_end;
}

/* Everything that is there is right; gives whether reading met an error. */
static bool read_all(struct harm *h, struct sop_db *db)
{
    const struct scene *s = h->scene;
    struct sop_err err = {0};
    struct sop_txn *t = NULL;
    bool bad = false, last = true, before = true;
    struct sop_txn_options o;
    sop_txn_options_init(&o);
    o.mode = SOP_READ;
    int rc = sop_txn_begin(&t, db, &o, &err);
    fine(rc, &err);
    for (size_t i = 0; i < STORES; i++) {
        uint64_t hash = 0;
        rc = hash_store(t, names[i], &hash, &err);
        if (rc != 0) {
            typed(h, rc, &err, names[i]);
            bad = true;
            continue;
        }
        last = last && hash == s->states[s->count - 1].store[i];
        before = before && hash == s->states[s->count - 2].store[i];
    }
    ck_assert_msg(last || (before && is_last(h)), "%s: %s", h->shown,
                  before ? "the last commit is missing" : "wrong data");
    total->lost_last += !last;
    sop_txn_rollback(&t);
    return bad;
}

static void verify_finding(void *arg, int severity, const char *text)
{
    struct harm *h = arg;
    if (severity == 0) {
        return;
    }
    if (getenv("SOP_TEST_SHOW") != NULL) {
        printf("%s: verify: %s\n", h->shown, text);
    }
    h->told = h->told || names_it(h, text);
}

/* Has opening written over the damage, or removed the file? A whole unit is compared: what is
 * written over a flipped bit may have that bit, too (a byte of a nonce that was a power of two
 * and lost its bit is zero, as in the dead pattern of TEN). */
static bool is_mended(const struct harm *h, struct sop_volume *v)
{
    struct sop_err err = {0};
    struct sop_buf now = {0};
    uint64_t left = h->what == CUT ? h->at : h->what == EMPTY ? 0 : h->content->len;
    int rc = sop_volume_read_file(v, h->path, 64u << 20, &now, &err);
    bool mended = rc != 0 || now.len != left;
    uint64_t from = h->at / 8 / SOP_FLAG_UNIT_BYTES * SOP_FLAG_UNIT_BYTES;
    for (uint64_t i = from; i < from + SOP_FLAG_UNIT_BYTES && i < left; i++) {
        unsigned flipped = i == h->at / 8 ? 1u << h->at % 8 : 0;
        mended = mended || (h->what == FLIP && now.data[i] != (h->content->data[i] ^ flipped));
    }
    sop_buf_fini(&now);
    return mended;
}

/* What nobody can know of: a file that is not there, unless something names it; zeros that are
 * missing at the end of a journal; the padding of its records, which is not verified. A reader
 * beside an owner does not look at what that may be writing. */
static bool may_be_silent(const struct harm *h, bool read_only)
{
    bool of_members =
        strncmp(h->path, "members/", 8) == 0 || strncmp(h->path, "chain/", 6) == 0;
    bool of_nothing = strncmp(h->path, "ballast", 7) == 0; /* takes room, says nothing */
    if (h->what == REMOVE || is_last(h) || (read_only && of_members) || of_nothing) {
        return true;
    }
    if (strstr(h->path, "/journal/") == NULL) {
        return false;
    }
    uint64_t from = h->what == FLIP ? h->at / 8 : h->at;
    uint64_t until = h->what == FLIP ? from + 1 : h->content->len;
    while (from < until && h->content->data[from] == 0) {
        from++;
    }
    return from == until;
}

static void spoil(const struct harm *h, struct sop_volume **out)
{
    struct sop_err err = {0};
    fine(sop_volume_sim_copy(h->scene->disk, out, &err), &err);
    switch (h->what) {
    case FLIP:
        fine(sop_volume_sim_flip(*out, h->path, h->at, &err), &err);
        break;
    case CUT:
    case EMPTY:
        fine(sop_volume_sim_truncate(*out, h->path, h->what == CUT ? h->at : 0, &err), &err);
        break;
    case REMOVE:
        fine(sop_volume_unlink(*out, h->path, &err), &err);
        break;
    }
}

/* Opens the damaged copy, reads and verifies it. */
static void look(struct harm *h, bool read_only)
{
    struct sop_err err = {0};
    struct sop_volume *v = NULL;
    struct sop_db *db = NULL;
    begin_world(sop_hash64(h->shown, strlen(h->shown), read_only));
    spoil(h, &v);
    h->told = false;
    total->trials++;
    int rc = open_it(&db, v, false, read_only, &err);
    if (rc != 0) {
        typed(h, rc, &err, "open");
        total->refused++;
        total->told[h->what]++;
        sop_volume_destroy(v);
        return;
    }
    struct sop_verify_result result;
    bool bad = read_all(h, db);
    rc = sop_db_verify(db, true, verify_finding, NULL, h, &result, &err);
    ck_assert_msg(rc == 0 || rc == SOP_ERR_DATA_LOSS, "%s: verify: %s", h->shown, err.text);
    total->told[h->what] += h->told;
    if (!h->told && !is_mended(h, v) && !may_be_silent(h, read_only)) {
        total->silent++;
        (void)snprintf(silent_shown, sizeof silent_shown, "%s%s: nobody says so (%s)", h->shown,
                       read_only ? " (read-only)" : "", rc != 0 ? err.text : "verify is clean");
        printf("%s\n", silent_shown);
    }
    ck_assert_msg(!bad || rc != 0, "%s: reading met damage, verify did not", h->shown);
    total->found += rc != 0;
    total->right += rc == 0;
    if (rc == 0 && getenv("SOP_TEST_SHOW") != NULL) {
        printf("%s: without effect\n", h->shown);
    }
    if (!read_only && !bad) { /* it goes on, or says why not */
        struct sop_txn *t = NULL;
        rc = sop_db_checkpoint(db, &err);
        ck_assert_msg(rc == 0 || rc == SOP_ERR_DATA_LOSS || rc == SOP_ERR_STOPPED,
                      "%s: checkpoint: %s", h->shown, err.text);
        if (rc == 0 && sop_txn_begin(&t, db, NULL, &err) == 0) {
            sop_txn_rollback(&t);
            (void)read_all(h, db);
        }
    }
    sop_db_abandon(&db);
    sop_volume_destroy(v);
}

static void hurt(const struct scene *s, const char *path, enum damage what, uint64_t at)
{
    static const char *const words[] = {"bit", "cut at", "emptied", "removed"};
    struct sop_buf content = {0};
    struct sop_err err = {0};
    fine(sop_volume_read_file(s->disk, path, 64u << 20, &content, &err), &err);
    struct harm h = {.scene = s, .path = path, .what = what, .at = at, .content = &content};
    (void)snprintf(h.shown, sizeof h.shown, "%s: %s: %s %" PRIu64, s->name, path, words[what],
                   at);
    tally_for(path);
    look(&h, false);
    if ((at + (uint64_t)what) % 3 == 0) {
        look(&h, true);
    }
    sop_buf_fini(&content);
}

/* ---- the tests -----------------------------------------------------------------------------
 */

static uint64_t random_state;
static uint64_t draw(uint64_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (random_state >> 33) % below;
}

static void flip_many(const struct scene *s, const char *path, uint64_t bytes)
{
    uint64_t step = test_scale(37, 4, 1);
    uint64_t each = test_scale(6, 40, 2000);
    uint64_t head = bytes < HEADER_MOST ? bytes : HEADER_MOST;
    for (uint64_t at = draw(step); at < head; at += step) {
        hurt(s, path, FLIP, at * 8 + draw(8));
    }
    struct sop_err err = {0};
    struct sop_buf file = {0};
    fine(sop_volume_read_file(s->disk, path, 64u << 20, &file, &err), &err);
    for (uint64_t i = 0; i < each && bytes > head; i++) {
        uint64_t at = head + draw(bytes - head);
        for (int k = 0; k < 20 && file.data[at] == 0; k++) { /* where something is */
            at = head + draw(bytes - head);
        }
        hurt(s, path, FLIP, at * 8 + draw(8));
    }
    sop_buf_fini(&file);
}

static void hurt_all(struct scene *s)
{
    list_files(s);
    for (size_t i = 0; i < s->files_count; i++) {
        const char *path = s->files[i].path;
        uint64_t bytes = s->files[i].bytes;
        hurt(s, path, REMOVE, 0);
        if (bytes == 0) {
            continue;
        }
        hurt(s, path, EMPTY, 0);
        hurt(s, path, CUT, bytes - 1);
        for (uint64_t k = test_scale(2, 10, 100); k > 0; k--) {
            hurt(s, path, CUT, draw(bytes));
        }
        flip_many(s, path, bytes);
        if (strstr(path, "/TEN") != NULL) { /* "SOPOPEN", where "SOPDEAD" has the flipped bit */
            hurt(s, path, FLIP, 5 * 8 + 2);
        }
    }
    /* The last record and those before it, byte by byte. */
    uint64_t from = s->last_at > 5 * SOP_BLOCK_BYTES ? s->last_at - 5 * SOP_BLOCK_BYTES : 0;
    for (uint64_t at = from; at < s->last_end; at += test_scale(251, 13, 1)) {
        hurt(s, s->last_path, FLIP, at * 8 + draw(8));
        if (at % SOP_BLOCK_BYTES < 7) {
            hurt(s, s->last_path, CUT, at);
        }
    }
}

static uint64_t print_tallies(const struct scene *s)
{
    uint64_t lost = 0;
    uint64_t silent = 0;
    for (size_t i = 0; i < KINDS; i++) {
        const struct tally *t = &tallies[i];
        if (t->trials > 0) {
            printf("%-10s  %-12s %6" PRIu64 " damages: %6" PRIu64
                   " refused at opening, %6" PRIu64 " found by verify, %6" PRIu64
                   " without effect, %4" PRIu64 " took it for torn, %" PRIu64
                   " told to nobody\n",
                   s->name, kinds[i], t->trials, t->refused, t->found, t->right, t->lost_last,
                   t->silent);
        }
        lost += t->lost_last;
        silent += t->silent;
        /* A lock is empty, ballast means nothing. */
        for (int what = FLIP; what <= EMPTY && t->trials > 0; what++) {
            ck_assert_msg(t->told[what] > 0 || strcmp(kinds[i], "/lock") == 0 ||
                              strcmp(kinds[i], "ballast") == 0,
                          "%s: no text told of damage %d", kinds[i], what);
        }
    }
    (void)fflush(stdout); /* a test that fails leaves without it */
    ck_assert_msg(silent == 0, "SOP_TEST_SEED=%" PRIu64 ": %" PRIu64 " silent, the last: %s",
                  seed, silent, silent_shown);
    memset(tallies, 0, sizeof tallies);
    return lost;
}

static struct scene scene;
static void begin(const char *name, struct sop_volume **v)
{
    struct sop_err err = {0};
    memset(&scene, 0, sizeof scene);
    scene.name = name;
    random_state = seed;
    begin_world(0);
    fine(sop_volume_sim_new(v, &err), &err);
}

START_TEST(damage_of_a_closed_database)
{
    begin("closed", &scene.disk);
    build(&scene, scene.disk, true);
    hurt_all(&scene);
    ck_assert_uint_eq(print_tallies(&scene), 0);
    sop_volume_destroy(scene.disk);
}
END_TEST

START_TEST(damage_of_a_killed_database)
{
    begin("killed", &scene.disk);
    build(&scene, scene.disk, false);
    hurt_all(&scene);
    (void)print_tallies(&scene);
    sop_volume_destroy(scene.disk);
}
END_TEST

START_TEST(damage_after_power_loss)
{
    struct sop_volume *v;
    struct sop_err err = {0};
    begin("power lost", &v);
    build(&scene, v, false);
    fine(sop_volume_sim_crash(v, NULL, &scene.disk, &err), &err);
    hurt_all(&scene);
    (void)print_tallies(&scene);
    sop_volume_destroy(scene.disk);
    sop_volume_destroy(v);
}
END_TEST

static void add_scene(Suite *s, const char *name, const TTest *test)
{
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, (double)test_scale(300, 800, 86400));
    tcase_add_test(t, test);
    suite_add_tcase(s, t);
}

int main(void)
{
    Suite *s = suite_create("bitrot");
    const char *text = getenv("SOP_TEST_SEED");
    seed = text != NULL ? strtoull(text, NULL, 10) : SEED;
    printf("SOP_TEST_SEED=%" PRIu64 "\n", seed);
    add_scene(s, "closed", damage_of_a_closed_database);
    add_scene(s, "killed", damage_of_a_killed_database);
    add_scene(s, "power", damage_after_power_loss);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
