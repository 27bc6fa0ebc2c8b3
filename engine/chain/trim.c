/* Freeing history that no kept manifest needs (docs/PROTOCOL.md sections 8 and 9).
 *
 * Everything is found by listing folders and by the rows of gone members, so whatever a crash
 * leaves half done is done the next time.
 *   journal files   in front of the one that `older` lies in: nobody begins before `older`
 *   gone members    LEAVE or EXPEL is <= older, and `older` does not lie in their tenure
 *   never joined    tickets first; if our TEN still lives after that, nobody can have put one
 *                   of them, and nobody can any more
 *   directories     with a number below that of older's: gate killed durably first (I9); also
 *                   those that a lost race to roll left beside the current one */
#include "engine/chain/chain_int.h"

/* --- folders of members --- */

/* Takes the id and nonce of one removable gone member out of the view; false if none is left.
 */
static bool next_gone(struct sop_chain *c, const struct sop_chain_point *older, size_t *at,
                      struct sop_chain_gone_row *out)
{
    bool found = false;
    sop_mutex_lock(&c->mutex);
    const struct sop_chain_view *v = &c->view;
    for (; !found && *at < v->gone_count; (*at)++) {
        *out = v->gone[*at];
        found = sop_lsn_cmp(out->gone, older->lsn) <= 0 && out->id != older->journal_member;
    }
    sop_mutex_unlock(&c->mutex);
    return found;
}

static void forget_gone(struct sop_chain *c, uint64_t id)
{
    sop_mutex_lock(&c->mutex);
    struct sop_chain_view *v = &c->view;
    for (size_t i = 0; i < v->gone_count; i++) {
        if (v->gone[i].id == id) {
            v->gone_count--;
            memmove(v->gone + i, v->gone + i + 1, (v->gone_count - i) * sizeof *v->gone);
            break;
        }
    }
    sop_mutex_unlock(&c->mutex);
}

static int trim_gone(struct sop_chain *c, const struct sop_chain_point *older,
                     struct sop_err *err)
{
    struct sop_chain_gone_row row;
    size_t at = 0;
    while (next_gone(c, older, &at, &row)) {
        SOP_ASSERT(row.id != c->member); /* I10 */
        char hex[SOP_NONCE_HEX_BYTES];
        char path[SOP_CHAIN_PATH_BYTES];
        sop_chain__hex(row.nonce, hex);
        sop_chain__path(path, "members/%s", hex);
        int rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.gc_unlink", err);
        rc = rc == 0 ? sop_volume_remove_tree(c->volume, path, err) : rc;
        if (rc != 0) {
            return rc;
        }
        forget_gone(c, row.id);
        at--; /* the next row moved here */
    }
    return 0;
}

/* Names of a folder, gathered before anything in it is removed. */
struct names {
    struct sop_buf text; /* each with its 0 */
};

static int add_name(void *arg, const char *name, struct sop_err *err)
{
    struct names *n = arg;
    return sop_buf_append(&n->text, name, strlen(name) + 1, err);
}

static const char *next_name(const struct names *n, size_t *at)
{
    if (*at >= n->text.len) {
        return NULL;
    }
    const char *name = (const char *)n->text.data + *at;
    *at += strlen(name) + 1;
    return name;
}

/* Is the folder that of a member that history knows? */
static bool is_known(struct sop_chain *c, const char *name)
{
    char hex[SOP_NONCE_HEX_BYTES];
    bool known = false;
    sop_mutex_lock(&c->mutex);
    const struct sop_chain_view *v = &c->view;
    for (size_t i = 0; !known && i < v->member_count; i++) {
        sop_chain__hex(v->members[i].nonce, hex);
        known = strcmp(hex, name) == 0;
    }
    for (size_t i = 0; !known && i < v->gone_count; i++) {
        sop_chain__hex(v->gone[i].nonce, hex);
        known = strcmp(hex, name) == 0;
    }
    sop_mutex_unlock(&c->mutex);
    return known;
}

static int trim_stranger(struct sop_chain *c, const char *name, struct sop_err *err)
{
    char path[SOP_CHAIN_PATH_BYTES];
    struct sop_lock_holder holder = {0};
    sop_chain__path(path, "members/%s/lock", name);
    int rc = sop_volume_lock_holder(c->volume, path, &holder, err);
    if (rc != 0 && rc != SOP_ERR_NOT_FOUND) {
        return rc;
    }
    if (rc == 0 && holder.held) {
        return 0; /* somebody is just opening; our lock will refuse him */
    }
    sop_chain__path(path, "members/%s/tickets", name);
    rc = sop_volume_remove_tree(c->volume, path, err);
    if (rc == 0) {
        rc = sop_chain_barrier(c, err);
    }
    if (rc == 0) {
        sop_chain__path(path, "members/%s", name);
        rc = sop_volume_remove_tree(c->volume, path, err);
    }
    return rc;
}

static int trim_strangers(struct sop_chain *c, struct sop_err *err)
{
    struct names names = {0};
    int rc = sop_volume_list(c->volume, "members", add_name, &names, err);
    size_t at = 0;
    const char *name;
    while (rc == 0 && (name = next_name(&names, &at)) != NULL) {
        if (strlen(name) == SOP_NONCE_HEX_BYTES - 1 && !is_known(c, name)) {
            rc = trim_stranger(c, name, err);
        }
    }
    sop_buf_fini(&names.text);
    return rc;
}

/* --- chain directories --- */

/* The gate is dead and durably so before the first slot goes (I9). */
static int kill_gate(struct sop_chain *c, const char *dir, struct sop_err *err)
{
    char path[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(path, "chain/%s/GATE", dir);
    int rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.trunc_kill", err);
    rc = rc == 0 ? sop_chain__flag_kill(c, path, 0, err) : rc;
    return rc == SOP_ERR_NOT_FOUND ? 0 : rc;
}

static int trim_dir(struct sop_chain *c, const char *dir, struct sop_err *err)
{
    int rc = kill_gate(c, dir, err);
    if (rc != 0) {
        return rc;
    }
    char path[SOP_CHAIN_PATH_BYTES];
    struct names names = {0};
    sop_chain__path(path, "chain/%s", dir);
    rc = sop_volume_list(c->volume, path, add_name, &names, err);
    size_t at = 0;
    const char *name;
    /* The gate goes last: as long as there is a slot, its absence must not look like a lie. */
    while (rc == 0 && (name = next_name(&names, &at)) != NULL) {
        if (strcmp(name, "GATE") != 0) {
            sop_chain__path(path, "chain/%s/%s", dir, name);
            rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.trunc_unlink_n", err);
            rc = rc == 0 ? sop_volume_unlink(c->volume, path, err) : rc;
        }
    }
    sop_buf_fini(&names.text);
    sop_chain__path(path, "chain/%s", dir);
    rc = rc == 0 ? SOP_FAILPOINT_ERR(c->failpoints, "chain.trunc_rmdir", err) : rc;
    return rc == 0 ? sop_volume_remove_tree(c->volume, path, err) : rc;
}

static int trim_dirs(struct sop_chain *c, const struct sop_chain_point *older,
                     struct sop_err *err)
{
    uint8_t nonce[SOP_NONCE_BYTES];
    uint64_t keep;
    uint64_t current;
    if (!sop_chain__parse_dir(older->dir, &keep, nonce)) {
        return SOP_ERR(err, INVALID, "\"%s\" is no chain directory", older->dir);
    }
    /* `dir` changes only while opening. */
    bool ok = sop_chain__parse_dir(c->view.dir, &current, nonce);
    SOP_ASSERT(ok && keep <= current);
    struct names names = {0};
    int rc = sop_volume_list(c->volume, "chain", add_name, &names, err);
    size_t at = 0;
    const char *name;
    while (rc == 0 && (name = next_name(&names, &at)) != NULL) {
        uint64_t number;
        if (!sop_chain__parse_dir(name, &number, nonce) || strcmp(name, older->dir) == 0 ||
            strcmp(name, c->view.dir) == 0) {
            continue;
        }
        if (number < keep || number == current) {
            rc = trim_dir(c, name, err);
        }
    }
    sop_buf_fini(&names.text);
    return rc;
}

int sop_chain_trim(struct sop_chain *c, const struct sop_chain_point *older,
                   struct sop_err *err)
{
    int rc = sop_chain__usable(c, err);
    /* Whoever was expelled must not remove what others live on. */
    if (rc == 0) {
        rc = sop_chain_barrier(c, err);
    }
    if (rc == 0) {
        sop_mutex_lock(&c->mutex);
        SOP_ASSERT(sop_lsn_cmp(older->lsn, c->view.lsn) <= 0); /* I10 */
        sop_mutex_unlock(&c->mutex);
        rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.gc_horizon", err);
    }
    if (rc == 0 && older->journal_member == c->member) {
        rc = sop_journal_trim(c->journal, older->journal_file, err);
    }
    if (rc == 0) {
        rc = trim_gone(c, older, err);
    }
    if (rc == 0) {
        rc = trim_strangers(c, err);
    }
    if (rc == 0) {
        rc = trim_dirs(c, older, err);
    }
    return sop_err_wrap(err, rc, "trim the chain");
}
