/* Repair of gates, offline (docs/PROTOCOL.md section 11).
 *
 * A gate is killed one way: LIVE is written at the birth of its directory and never again (I7).
 * A damaged gate counts as dead, so a single bit that rots stops every opening. Writing LIVE
 * into it again is no revival if the directory was never killed. What proves that: 1 the gate
 * itself: no unit of it is that of a kill. Whoever truncates kills durably before the first
 * slot goes (I9), so a killed gate can lose its marks only by a second accident. 2 history: the
 * directory lies on the way from a checkpoint to the head, every ticket and record of that way
 * is there, and nothing shows that history goes on behind it (end.c). A directory that is being
 * removed loses its slots, or has been left by a ROLL that is followed here; a late ROLL of a
 * sleeper leads to a directory that has no later slots. 3 checkpoints: truncation needs two
 * official ones behind the directory. The layer above counts them, from names and from records.
 *   4 nobody is there: members that have not joined are asked for their locks, the locks of
 *     joined ones are taken. Each opening asks these first, and gives BUSY, so from the proof
 * to the write nothing can change. Of members of other hosts the beats are watched, as an
 *     opening does.
 *
 * A damaged gate is overwritten in place: 64 units, each that of a live gate; then a sync. What
 * a power loss leaves of that has no unit of a kill in it: still damaged, and repaired again,
 * or live. An absent gate is made anew, file first, then its name; a crash leaves it absent,
 * damaged or live. Cost: one sync for a damaged gate, two for an absent one. */
#include "engine/chain/chain_int.h"

#include <stdio.h>

enum gate_look { GATE_LIVE, GATE_BROKEN, GATE_ABSENT, GATE_KILLED };

struct note {
    char dir[SOP_CHAIN_DIR_BYTES];
    bool absent;
};

struct sop_chain_survey {
    struct note *notes;
    size_t count, cap;
    struct sop_file **locks;
    size_t locks_count;
};

int sop_chain__survey_new(struct sop_chain_survey **out, struct sop_err *err)
{
    *out = sop_calloc(1, sizeof **out);
    return *out != NULL ? 0 : SOP_ERR(err, NOMEM, "repair of a chain");
}

void sop_chain__survey_free(struct sop_chain_survey *s)
{
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < s->locks_count; i++) {
        sop_file_close(s->locks[i]);
    }
    sop_free(s->locks);
    sop_free(s->notes);
    sop_free(s);
}

/* --- gates --- */

static int read_gate(struct sop_chain *c, const char *path, const struct sop_flag_name *name,
                     enum gate_look *look, struct sop_err *err)
{
    uint8_t *block;
    struct sop_file *f;
    size_t got = 0;
    int rc = sop_chain__blocks(&block, 1, err);
    if (rc != 0) {
        return rc;
    }
    memset(block, 0, SOP_BLOCK_BYTES);
    rc = sop_file_open(c->volume, path, SOP_OPEN_READ | sop_chain__mode(c->volume), &f, err);
    if (rc == 0) {
        rc = sop_file_read(f, 0, block, SOP_BLOCK_BYTES, &got, err);
        sop_file_close(f);
    }
    if (rc == 0 || rc == SOP_ERR_END) { /* a file that is too short may show a kill, too */
        bool live = rc == 0 && sop_flag_state(name, block) == SOP_FLAG_LIVE;
        *look = live ? GATE_LIVE : sop_flag_any_dead(block) ? GATE_KILLED : GATE_BROKEN;
        rc = 0;
    }
    sop_free(block);
    return sop_err_wrap(err, rc, "read %s", path);
}

static int look_at_gate(struct sop_chain *c, const char *dir, enum gate_look *look,
                        struct sop_err *err)
{
    struct sop_flag_name name;
    struct sop_stat found = {.kind = SOP_FILE_ABSENT};
    char path[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(path, "chain/%s", dir);
    int rc = sop_volume_stat(c->volume, path, &found, err);
    if (rc == 0 && found.kind != SOP_FILE_DIRECTORY) {
        rc = SOP_ERR(err, SEALED, "chain directory %s is gone", dir);
    }
    if (rc == 0) {
        rc = sop_chain__gate_name(c, dir, &name, path, err);
    }
    if (rc == 0) {
        rc = sop_volume_stat(c->volume, path, &found, err);
    }
    if (rc == 0 && found.kind == SOP_FILE_ABSENT) {
        *look = GATE_ABSENT;
        return 0;
    }
    return rc == 0 ? read_gate(c, path, &name, look, err) : rc;
}

static int killed(const char *dir, struct sop_err *err)
{
    return SOP_ERR(err, DATA_LOSS,
                   "chain/%s/GATE at byte 0: killed, wholly or in part, as before a directory "
                   "is removed; that is never undone: restore a backup",
                   dir);
}

int sop_chain__survey_gate(struct sop_chain *c, const char *dir, struct sop_err *err)
{
    struct sop_chain_survey *s = c->survey;
    enum gate_look look = GATE_LIVE;
    int rc = look_at_gate(c, dir, &look, err);
    if (rc != 0 || look == GATE_LIVE) {
        return rc;
    }
    if (look == GATE_KILLED) {
        return killed(dir, err);
    }
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->notes[i].dir, dir) == 0) {
            return 0;
        }
    }
    if (s->count == s->cap) {
        size_t cap = s->cap == 0 ? 4 : s->cap * 2;
        struct note *notes = sop_realloc(s->notes, cap * sizeof *notes);
        if (notes == NULL) {
            return SOP_ERR(err, NOMEM, "note a damaged gate");
        }
        s->notes = notes;
        s->cap = cap;
    }
    struct note *n = &s->notes[s->count++];
    (void)snprintf(n->dir, sizeof n->dir, "%s", dir);
    n->absent = look == GATE_ABSENT;
    return 0;
}

bool sop_chain_broken_gate(const struct sop_chain *c, size_t i,
                           struct sop_chain_broken_gate *out)
{
    if (c->survey == NULL || i >= c->survey->count) {
        return false;
    }
    const struct note *n = &c->survey->notes[i];
    (void)snprintf(out->path, sizeof out->path, "chain/%s/GATE", n->dir);
    out->absent = n->absent;
    return true;
}

/* --- is anybody there? --- */

static int ask_stranger(void *arg, const char *name, struct sop_err *err)
{
    struct sop_chain *c = arg;
    uint8_t nonce[SOP_NONCE_BYTES];
    bool alive;
    int64_t pid;
    if (!sop_chain__parse_nonce(name, nonce)) {
        return 0;
    }
    for (size_t i = 0; i < c->view.member_count; i++) {
        if (memcmp(c->view.members[i].nonce, nonce, SOP_NONCE_BYTES) == 0) {
            return 0; /* its lock is taken; asking afterwards would drop it */
        }
    }
    int rc = sop_chain__is_alive(c, name, &alive, &pid, err);
    return rc == 0 && alive ? sop_chain__busy(c, nonce, pid, err) : rc;
}

/* Takes the lock of a joined member: it is dead, and whoever opens from now on finds BUSY. */
static int take_lock(struct sop_chain *c, const struct sop_chain_member_row *m,
                     struct sop_err *err)
{
    char hex[SOP_NONCE_HEX_BYTES];
    char path[SOP_CHAIN_PATH_BYTES];
    struct sop_file *f;
    sop_chain__hex(m->nonce, hex);
    sop_chain__path(path, "members/%s/lock", hex);
    int rc = sop_file_open(c->volume, path, SOP_OPEN_WRITE, &f, err);
    if (rc == SOP_ERR_NOT_FOUND) {
        return SOP_ERR(err, DATA_LOSS,
                       "%s is missing: whether its member is alive cannot be told", path);
    }
    if (rc != 0) {
        return rc;
    }
    rc = sop_file_lock(f, err);
    if (rc == SOP_ERR_BUSY) {
        struct sop_lock_holder holder = {0};
        (void)sop_volume_lock_holder(c->volume, path, &holder, NULL);
        rc = sop_chain__busy(c, m->nonce, holder.pid, err);
    }
    if (rc != 0) {
        sop_file_close(f);
        return rc;
    }
    c->survey->locks[c->survey->locks_count++] = f;
    return c->volume->one_host ? 0 : sop_chain__watch_beat(c, m, err);
}

static int take_locks(struct sop_chain *c, struct sop_err *err)
{
    const struct sop_chain_view *v = &c->view;
    c->survey->locks = sop_calloc(v->member_count + 1, sizeof *c->survey->locks);
    if (c->survey->locks == NULL) {
        return SOP_ERR(err, NOMEM, "locks of the members");
    }
    int rc = sop_volume_list(c->volume, "members", ask_stranger, c, err);
    for (size_t i = 0; i < v->member_count && rc == 0; i++) {
        rc = take_lock(c, &v->members[i], err);
    }
    return rc;
}

/* Somebody may have joined between our reading and our locks. */
static int check_nobody_came(struct sop_chain *c, struct sop_err *err)
{
    struct sop_slot s;
    int rc = sop_chain__read_slot(c, c->view.dir, c->view.lsn.slot + 1, &s, err);
    if (rc == SOP_ERR_NOT_FOUND) {
        return 0;
    }
    if (rc == 0) {
        sop_chain__slot_fini(&s);
        rc = SOP_ERR(err, BUSY, "somebody opened it meanwhile; close that and try again");
    }
    return rc;
}

int sop_chain__survey_end(struct sop_chain *c, struct sop_err *err)
{
    struct sop_tail tail;
    int rc = take_locks(c, err);
    if (rc == 0) {
        rc = check_nobody_came(c, err);
    }
    if (rc == 0 && c->view.open) {
        rc = sop_chain__read_tail(c, &tail, err);
    }
    return rc;
}

/* --- mending --- */

static int overwrite(struct sop_chain *c, const char *path, const uint8_t *block,
                     struct sop_err *err)
{
    struct sop_file *f;
    int rc =
        sop_file_open(c->volume, path, SOP_OPEN_WRITE | sop_chain__mode(c->volume), &f, err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_file_write(f, 0, block, SOP_BLOCK_BYTES, err);
    if (rc == 0) {
        rc = sop_chain__sync_file(c, f, err);
    }
    sop_file_close(f);
    return rc;
}

static int make_anew(struct sop_chain *c, const char *dir, const char *path,
                     const uint8_t *block, struct sop_err *err)
{
    char folder[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(folder, "chain/%s", dir);
    int rc = sop_chain__create_file(c, path, block, SOP_BLOCK_BYTES, true, NULL, err);
    return rc == 0 ? sop_chain__sync_dir(c, folder, err) : rc;
}

static int mend_gate(struct sop_chain *c, const char *dir, struct sop_err *err)
{
    struct sop_flag_name name;
    char path[SOP_CHAIN_PATH_BYTES];
    uint8_t *block;
    enum gate_look look = GATE_LIVE;
    int rc = look_at_gate(c, dir, &look, err);
    if (rc != 0 || look == GATE_LIVE) {
        return rc;
    }
    if (look == GATE_KILLED) {
        return killed(dir, err);
    }
    rc = sop_chain__gate_name(c, dir, &name, path, err);
    if (rc == 0) {
        rc = sop_chain__blocks(&block, 1, err);
    }
    if (rc != 0) {
        return rc;
    }
    sop_flag_live_pattern(&name, block);
    rc = look == GATE_ABSENT ? make_anew(c, dir, path, block, err)
                             : overwrite(c, path, block, err);
    sop_free(block);
    return sop_err_wrap(err, rc, "mend %s", path);
}

int sop_chain_mend(struct sop_chain *c, struct sop_err *err)
{
    SOP_ASSERT(c->survey != NULL);
    int rc = 0;
    for (size_t i = 0; i < c->survey->count && rc == 0; i++) {
        rc = mend_gate(c, c->survey->notes[i].dir, err);
    }
    return rc;
}
