/* Making, opening and closing a chain (docs/PROTOCOL.md section 7, "Opening exclusively").
 *
 *   step                                          syncs
 *   1 follow the chain to its newest slot          0   follow.c, end.c
 *   2 is a joined member alive? then BUSY          0
 *   3 make the folder, take the lock               6   member.c
 *   4 newest slot open: kill its TEN, read on      1
 *   5 JOIN ticket (with copies), put, gate         2
 * that is 9. If the directory is nearly full a ROLL goes first: next directory with its gate
 * (3), ticket and put (2): 14. If somebody else's ROLL is the newest slot, 1 more.
 * Closing: LEAVE (1), beat (1). */
#include "engine/chain/chain_int.h"

#include "engine/base/codec.h"

#include <stdio.h>
#include <unistd.h>

#define BEAT_DEAD_NS UINT64_C(30000000000) /* a beat unchanged for so long: dead */
#define BEAT_LOOK_NS UINT64_C(1000000000)

int sop_chain_create(struct sop_volume *v, struct sop_env *env, const uint8_t database_id[16],
                     struct sop_chain_point *genesis, struct sop_err *err)
{
    struct sop_chain *c = sop_calloc(1, sizeof *c);
    if (c == NULL) {
        return SOP_ERR(err, NOMEM, "chain");
    }
    c->volume = v;
    c->env = env;
    memcpy(c->database_id, database_id, 16);
    *genesis =
        (struct sop_chain_point){.hash = sop_chain__genesis_hash(database_id), .dir_first = 1};
    int rc = sop_volume_mkdir_if_absent(v, "members", err);
    if (rc == 0) {
        rc = sop_volume_mkdir_if_absent(v, "chain", err);
    }
    if (rc == 0) {
        rc = sop_chain__make_dir(c, 1, genesis->dir, err);
    }
    if (rc == 0) {
        rc = sop_chain__sync_dir(c, "", err);
    }
    sop_free(c);
    return sop_err_wrap(err, rc, "make the chain");
}

/* --- beginning --- */

static int start_at_genesis(struct sop_chain *c, const struct sop_chain_point *p,
                            struct sop_err *err)
{
    struct sop_chain_view *v = &c->view;
    uint64_t number;
    uint8_t nonce[SOP_NONCE_BYTES];
    if (p->lsn.slot != 0 || p->lsn.record != 0 || p->dir_first != 1 ||
        p->hash != sop_chain__genesis_hash(c->database_id) ||
        memchr(p->dir, 0, sizeof p->dir) == NULL ||
        !sop_chain__parse_dir(p->dir, &number, nonce)) {
        return SOP_ERR(err, DATA_LOSS, "the point of genesis does not belong to this database");
    }
    v->hash = p->hash;
    v->dir_first = v->dir_here_first = 1;
    memcpy(v->dir, p->dir, sizeof v->dir);
    memcpy(v->dir_here, p->dir, sizeof v->dir_here);
    return 0;
}

static int start_at_state(struct sop_chain *c, const struct sop_chain_options *o,
                          struct sop_err *err)
{
    struct sop_chain_view *v = &c->view;
    const struct sop_chain_point *p = &o->start;
    int rc = sop_chain__view_decode(v, o->state, err);
    if (rc != 0) {
        return rc;
    }
    bool fits = sop_lsn_cmp(v->lsn, p->lsn) == 0 && v->hash == p->hash &&
                memchr(p->dir, 0, sizeof p->dir) != NULL && strcmp(v->dir_here, p->dir) == 0 &&
                v->dir_here_first == p->dir_first &&
                (v->open ? v->tenure.member : 0) == p->journal_member;
    if (fits && v->open) {
        fits = v->tenure.next.file == p->journal_file &&
               v->tenure.next.offset == p->journal_offset;
    }
    return fits ? 0 : SOP_ERR(err, DATA_LOSS, "state and point of the chain differ");
}

static int chain_new(struct sop_chain **out, const struct sop_chain_options *o,
                     struct sop_err *err)
{
    if (o->dir_slots != 0 && o->dir_slots < 4) {
        return SOP_ERR(err, INVALID, "a chain directory of %" PRIu32 " slots", o->dir_slots);
    }
    struct sop_chain *c = sop_calloc(1, sizeof *c);
    if (c == NULL) {
        return SOP_ERR(err, NOMEM, "chain");
    }
    c->volume = o->volume;
    c->env = o->env;
    memcpy(c->database_id, o->database_id, 16);
    c->apply = o->apply;
    c->arg = o->arg;
    c->failpoints = o->failpoints;
    c->dir_slots = o->dir_slots != 0 ? o->dir_slots : SOP_CHAIN_DIR_SLOTS;
    c->observer = o->observer || o->repair;
    c->ignore_os_lock = o->ignore_os_lock;
    c->journal_bytes_min = o->journal_bytes_min;
    c->journal_bytes_max = o->journal_bytes_max;
    c->pid = getpid();
    c->forks = sop_forks();
    (void)snprintf(c->host, sizeof c->host, "%s", o->host != NULL ? o->host : "");
    sop_mutex_init(&c->mutex, SOP_RANK_CHAIN);
    *out = c;
    int rc = sop_volume_identity(o->volume, c->identity, err);
    return rc == 0 && o->repair ? sop_chain__survey_new(&c->survey, err) : rc;
}

static void chain_free(struct sop_chain *c)
{
    sop_journal_free(c->journal);
    sop_file_close(c->ten);
    sop_file_close(c->beat);
    sop_file_close(c->lock);
    sop_chain__survey_free(c->survey);
    sop_chain__table_leave(c);
    sop_chain__view_fini(&c->view);
    sop_mutex_fini(&c->mutex);
    sop_free(c);
}

/* --- is anybody there? --- */

int sop_chain__busy(struct sop_chain *c, const uint8_t nonce[SOP_NONCE_BYTES], int64_t pid,
                    struct sop_err *err)
{
    char member[40] = "joining";
    struct sop_beat beat = {0};
    bool known = sop_chain__read_beat(c, nonce, &beat);
    for (size_t i = 0; i < c->view.member_count; i++) {
        const struct sop_chain_member_row *m = &c->view.members[i];
        if (memcmp(m->nonce, nonce, SOP_NONCE_BYTES) == 0) {
            (void)snprintf(member, sizeof member, "member %" PRIu64, m->id);
        }
    }
    return SOP_ERR(err, BUSY, "process %lld on host \"%s\" has it open (%s)",
                   (long long)(pid != 0 ? pid : (int64_t)beat.pid), known ? beat.host : "?",
                   member);
}

/* Members of other hosts show that they live by their beats alone. A beat that cannot be read
 * says nothing: what is compared are two that could. */
int sop_chain__watch_beat(struct sop_chain *c, const struct sop_chain_member_row *m,
                          struct sop_err *err)
{
    struct sop_beat first = {0};
    bool known = sop_chain__read_beat(c, m->nonce, &first);
    if (known && ((first.flags & SOP_BEAT_LEFT) != 0 || strcmp(first.host, c->host) == 0)) {
        return 0; /* it left, or its lock on this host says that it is dead */
    }
    for (uint64_t waited = 0; waited < BEAT_DEAD_NS; waited += BEAT_LOOK_NS) {
        sop_env_sleep_ns(c->env, BEAT_LOOK_NS);
        struct sop_beat now;
        if (!sop_chain__read_beat(c, m->nonce, &now)) {
            continue;
        }
        if (known && now.sequence != first.sequence) {
            return sop_chain__busy(c, m->nonce, 0, err);
        }
        first = now;
        known = true;
    }
    return 0;
}

int sop_chain__is_alive(struct sop_chain *c, const char *member_hex, bool *alive, int64_t *pid,
                        struct sop_err *err)
{
    char path[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(path, "members/%s/lock", member_hex);
    struct sop_lock_holder holder = {0};
    int rc = sop_volume_lock_holder(c->volume, path, &holder, err);
    rc = rc == SOP_ERR_NOT_FOUND ? 0 : rc;
    *alive = rc == 0 && holder.held;
    *pid = holder.pid;
    return rc;
}

static int check_members_dead(struct sop_chain *c, struct sop_err *err)
{
    for (size_t i = 0; i < c->view.member_count; i++) {
        const struct sop_chain_member_row *m = &c->view.members[i];
        bool alive;
        int64_t pid;
        char hex[SOP_NONCE_HEX_BYTES];
        sop_chain__hex(m->nonce, hex);
        int rc = sop_chain__is_alive(c, hex, &alive, &pid, err);
        if (rc == 0 && alive) {
            rc = sop_chain__busy(c, m->nonce, pid, err);
        } else if (rc == 0 && !c->volume->one_host) {
            rc = sop_chain__watch_beat(c, m, err);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* --- joining --- */

/* Kills the TEN of the open slot: whatever its owner reads from now on, it acknowledges nothing
 * that the tail we are about to read does not hold. */
static int seal(struct sop_chain *c, struct sop_err *err)
{
    struct sop_flag_name name;
    char path[SOP_CHAIN_PATH_BYTES];
    sop_chain__flag_of_ten(c, &c->view.tenure, &name, path);
    int rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.ten_kill_before", err);
    if (rc == 0) {
        rc = sop_chain__flag_kill(c, path, name.block, err);
    }
    if (rc == SOP_ERR_NOT_FOUND) {
        rc = SOP_ERR(err, DATA_LOSS, "%s of the open slot is gone", path);
    }
    if (rc == 0) {
        rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.ten_kill_after", err);
    }
    return rc;
}

/* Puts the ticket and applies what is then in the slot. *undecided: the ticket may still get
 * there. */
static int put_and_apply(struct sop_chain *c, struct sop_ticket *t, const struct sop_tail *tail,
                         bool *undecided, struct sop_err *err)
{
    char path[SOP_CHAIN_PATH_BYTES];
    if (c->view.open) {
        t->flags |= SOP_TICKET_FOLLOWS_OPEN;
        t->cut = tail->cut;
        SOP_ASSERT(t->cut == c->view.lsn.record);
    }
    int rc = sop_chain__write_ticket(c, t, c->view.open ? tail : NULL, path, err);
    enum sop_put result = SOP_PUT_FAILED;
    if (rc == 0) {
        rc = sop_chain__put(c, path, t->nonce, &result, err);
    }
    *undecided = result == SOP_PUT_UNKNOWN;
    if (rc != 0) {
        return rc;
    }
    if (result == SOP_PUT_LOST) {
        return SOP_ERR(err, SEALED, "somebody else opened it first; open again");
    }
    *undecided = true; /* it is in the slot: the folder stays from here on */
    rc = sop_chain__gate(c, c->view.dir, err);
    struct sop_slot s;
    if (rc == 0) {
        rc = sop_chain__read_slot(c, c->view.dir, c->view.lsn.slot + 1, &s, err);
    }
    if (rc == 0) {
        SOP_ASSERT(memcmp(s.t.nonce, t->nonce, sizeof t->nonce) == 0); /* I1 */
        rc = sop_chain__apply_ticket(c, &s, err);
        sop_chain__slot_fini(&s);
    }
    return rc;
}

static int roll(struct sop_chain *c, const struct sop_tail *tail, bool *undecided,
                struct sop_err *err)
{
    uint64_t number;
    uint8_t nonce[SOP_NONCE_BYTES];
    char dir[SOP_CHAIN_DIR_BYTES];
    if (!sop_chain__parse_dir(c->view.dir, &number, nonce)) {
        SOP_UNREACHABLE("names of directories are checked when they are read");
    }
    int rc = sop_chain__make_dir(c, number + 1, dir, err);
    if (rc == 0) {
        rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.roll_put", err);
    }
    if (rc == 0) {
        struct sop_ticket t;
        sop_chain__ticket_init(c, &t, SOP_RECORD_ROLL);
        t.payload = sop_slice_str(dir);
        rc = put_and_apply(c, &t, tail, undecided, err);
    }
    if (rc != 0 && !*undecided) { /* nobody names it: a full volume needs its room */
        char path[SOP_CHAIN_PATH_BYTES];
        sop_chain__path(path, "chain/%s", dir);
        int ignored =
            sop_volume_remove_tree(c->volume, path, NULL); /* what stays, trim finds */
        (void)ignored;
    }
    return sop_err_wrap(err, rc, "roll to chain directory %" PRIu64, number + 1);
}

static int join(struct sop_chain *c, const struct sop_tail *tail, bool *undecided,
                struct sop_err *err)
{
    struct sop_buf expels = {0};
    struct sop_writer w = sop_writer(&expels);
    for (size_t i = 0; i < c->view.member_count; i++) {
        sop_write_u64(&w, c->view.members[i].id);
    }
    int rc = sop_writer_end(&w, err);
    if (rc == 0) {
        rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.join_put", err);
    }
    if (rc == 0) {
        struct sop_ticket t;
        sop_chain__ticket_init(c, &t, SOP_RECORD_JOIN);
        t.flags = SOP_TICKET_EXCLUSIVE | SOP_TICKET_OPENS;
        t.journal_file = sop_journal_next_place(c->journal).file;
        t.expels = sop_buf_slice(&expels);
        rc = put_and_apply(c, &t, tail, undecided, err);
    }
    sop_buf_fini(&expels);
    return sop_err_wrap(err, rc, "join");
}

/* Steps 4 and 5. */
static int enter(struct sop_chain *c, bool *undecided, struct sop_err *err)
{
    struct sop_chain_view *v = &c->view;
    struct sop_tail tail = {0};
    int rc = 0;
    *undecided = false;
    if (v->open) {
        rc = seal(c, err);
        rc = rc == 0 ? sop_chain__read_tail(c, &tail, err) : rc;
        rc = rc == 0 ? SOP_FAILPOINT_ERR(c->failpoints, "chain.cut_chosen", err) : rc;
    }
    bool rolled = false;
    /* Two slots stay behind a JOIN: one for the CUT of a tenure that fails, one to roll. */
    if (rc == 0 && v->lsn.slot + 1 - v->dir_first + 3 > c->dir_slots) {
        rc = roll(c, &tail, undecided, err);
        rolled = true;
    }
    if (rc == 0 && !rolled && v->lsn.slot + 1 == v->dir_first &&
        strcmp(v->dir_here, v->dir) != 0) {
        /* Somebody else rolled and may have died before its name was durable. */
        char dir[SOP_CHAIN_PATH_BYTES];
        sop_chain__path(dir, "chain/%s", v->dir_here);
        rc = sop_chain__sync_dir(c, dir, err);
    }
    if (rc == 0) {
        rc = join(c, &tail, undecided, err);
    }
    if (rc == 0) {
        c->member = v->lsn.slot;
        c->tenure = v->lsn.slot;
        c->next_batch = 1;
        c->lac = 0;
        c->lac_hash = v->hash;
        c->pin = v->lsn;
        sop_journal_begin(c->journal, c->tenure, c->member, v->hash);
        SOP_ASSERT(v->open && v->tenure.member == c->member);
        SOP_ASSERT(v->member_count == 1);
    }
    return rc;
}

static int open_exclusive(struct sop_chain *c, struct sop_err *err)
{
    int rc = c->ignore_os_lock ? 0 : check_members_dead(c, err);
    if (rc != 0) {
        return rc;
    }
    bool undecided = false;
    rc = sop_chain__member_make(c, err);
    if (rc == 0) {
        rc = enter(c, &undecided, err);
    }
    if (rc != 0 && !undecided) {
        sop_chain__member_unmake(c);
    }
    return rc;
}

/* Does the owner of the open slot live, as far as an observer can tell without doing harm? In
 * its own process it must not ask the lock: looking would drop it. */
static int owner_lives(struct sop_chain *c, bool *lives, struct sop_err *err)
{
    const struct sop_chain_member_row *m =
        sop_chain__find_member(&c->view, c->view.tenure.member);
    *lives = true;
    if (m == NULL || !c->volume->one_host || sop_chain__table_has(c)) {
        return 0;
    }
    int64_t pid;
    char hex[SOP_NONCE_HEX_BYTES];
    sop_chain__hex(m->nonce, hex);
    return sop_chain__is_alive(c, hex, lives, &pid, err);
}

static int open_observer(struct sop_chain *c, struct sop_err *err)
{
    if (!c->view.open) {
        return 0;
    }
    bool lives;
    int rc = owner_lives(c, &lives, err);
    if (rc != 0 || lives) {
        return rc != 0 ? rc : sop_chain__read_to_lac(c, err);
    }
    /* Nothing changes any more, and who opens next adopts every whole record. */
    struct sop_tail tail;
    return sop_chain__read_tail(c, &tail, err);
}

int sop_chain_open(struct sop_chain **out, const struct sop_chain_options *options,
                   struct sop_err *err)
{
    *out = NULL;
    struct sop_chain *c = NULL;
    int rc = chain_new(&c, options, err);
    if (c == NULL) {
        return rc;
    }
    if (rc == 0 && (!c->observer || c->survey != NULL) && !c->ignore_os_lock) {
        rc = sop_chain__table_enter(c, err);
    }
    if (rc == 0) {
        rc = options->state.len == 0 ? start_at_genesis(c, &options->start, err)
                                     : start_at_state(c, options, err);
    }
    if (rc == 0) {
        rc = sop_chain__follow(c, err);
    }
    if (rc == 0) {
        rc = sop_chain__check_end(c, err);
    }
    if (rc == 0) {
        rc = c->survey != NULL ? sop_chain__survey_end(c, err)
             : c->observer     ? open_observer(c, err)
                               : open_exclusive(c, err);
    }
    if (rc != 0) {
        chain_free(c);
        return sop_err_wrap(err, rc, "open the chain");
    }
    *out = c;
    return 0;
}

int sop_chain_close(struct sop_chain **chain, bool orderly, struct sop_err *err)
{
    struct sop_chain *c = *chain;
    *chain = NULL;
    if (c == NULL) {
        return 0;
    }
    int rc = 0;
    bool ours = c->pid == getpid() && !c->observer && !atomic_load(&c->stopped);
    if (orderly && ours) {
        rc = sop_chain__leave(c, err);
    }
    chain_free(c);
    return sop_err_wrap(err, rc, "close the chain");
}
