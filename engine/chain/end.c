/* Is the newest slot that was found the newest that there is? A slot whose name was lost (a
 * damaged folder, a file deleted by hand) looks like the end of history, and all that came
 * behind it would be gone without a word. What proves that there was more:
 *   - a slot with a greater number, in this directory or in a later one (nobody puts n + 1
 *     before n is there, and names of a directory become durable in order);
 *   - the beat of a member that we have not seen join, if it confirmed records of its tenure,
 *     or a record in its journal.
 * Somebody may join while we look: then the next slot is there when it is read again.
 *
 * On the way the rows of gone members whose folder has been removed are dropped. The checkpoint
 * that removes folders has captured its state before: without this the rows would come back
 * with each opening, and every manifest would be longer than the one before. */
#include "engine/chain/chain_int.h"

#include "engine/journal/format.h"

#include <stdlib.h>

struct look {
    struct sop_chain *chain;
    char dir[SOP_CHAIN_PATH_BYTES]; /* being listed */
    uint64_t number;                /* of the directory that the next slot belongs to */
    uint64_t found;                 /* greatest slot that somebody knows */
    char proof[SOP_CHAIN_PATH_BYTES];
    bool *there; /* per row of the gone: its folder is */
};

static void note(struct look *l, uint64_t slot, const char *path)
{
    if (slot > l->found) {
        l->found = slot;
        sop_chain__path(l->proof, "%s", path);
    }
}

static int note_slot(void *arg, const char *name, struct sop_err *err)
{
    struct look *l = arg;
    char *end;
    char path[SOP_CHAIN_PATH_BYTES];
    (void)err;
    if (strlen(name) != 16) { /* GATE */
        return 0;
    }
    uint64_t slot = strtoull(name, &end, 16);
    if (*end == '\0') {
        sop_chain__path(path, "%s/%s", l->dir, name);
        note(l, slot, path);
    }
    return 0;
}

static int note_dir(void *arg, const char *name, struct sop_err *err)
{
    struct look *l = arg;
    uint8_t nonce[SOP_NONCE_BYTES];
    uint64_t number;
    if (!sop_chain__parse_dir(name, &number, nonce) || number < l->number) {
        return 0;
    }
    sop_chain__path(l->dir, "chain/%s", name);
    int rc = sop_volume_list(l->chain->volume, l->dir, note_slot, l, err);
    return rc == SOP_ERR_NOT_FOUND ? 0 : rc; /* removed meanwhile */
}

/* Has it joined as far as we have read? */
static bool is_known(struct look *l, const uint8_t nonce[SOP_NONCE_BYTES])
{
    const struct sop_chain_view *v = &l->chain->view;
    for (size_t i = 0; i < v->member_count; i++) {
        if (memcmp(v->members[i].nonce, nonce, SOP_NONCE_BYTES) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < v->gone_count; i++) {
        if (memcmp(v->gone[i].nonce, nonce, SOP_NONCE_BYTES) == 0) {
            l->there[i] = true;
            return true;
        }
    }
    return false;
}

static void forget_removed(struct look *l)
{
    struct sop_chain_view *v = &l->chain->view;
    size_t kept = 0;
    for (size_t i = 0; i < v->gone_count; i++) {
        if (l->there[i]) {
            v->gone[kept++] = v->gone[i];
        }
    }
    v->gone_count = kept;
}

/* The tenure of the first record in a journal, 0 = none. */
static uint64_t first_tenure(struct sop_chain *c, const char *path,
                             const uint8_t nonce[SOP_NONCE_BYTES])
{
    struct sop_journal_header h;
    struct sop_file *f;
    uint8_t *block;
    uint64_t tenure = 0;
    if (sop_chain__blocks(&block, 1, NULL) != 0) {
        return 0;
    }
    if (sop_file_open(c->volume, path, SOP_OPEN_READ | sop_chain__mode(c->volume), &f, NULL) ==
        0) {
        if (sop_file_read(f, 0, block, SOP_BLOCK_BYTES, NULL, NULL) == 0 &&
            sop_journal_header_decode(sop_slice(block, SOP_BLOCK_BYTES), &h) ==
                SOP_JOURNAL_VALID &&
            memcmp(h.nonce, nonce, sizeof h.nonce) == 0) {
            tenure = h.tenure;
        }
        sop_file_close(f);
    }
    sop_free(block);
    return tenure;
}

static int note_member(void *arg, const char *name, struct sop_err *err)
{
    struct look *l = arg;
    struct sop_beat beat;
    char path[SOP_CHAIN_PATH_BYTES];
    uint8_t nonce[SOP_NONCE_BYTES];
    (void)err;
    if (!sop_chain__parse_nonce(name, nonce) || is_known(l, nonce)) {
        return 0;
    }
    if (sop_chain__read_beat(l->chain, nonce, &beat)) {
        sop_chain__path(path, "members/%s/beat", name);
        note(l, beat.lac.slot, path);
    }
    sop_chain__path(path, "members/%s/journal/1", name);
    note(l, first_tenure(l->chain, path, nonce), path);
    return 0;
}

/* 0: nothing came behind the newest slot, or l->found says that something did. */
static int look_around(struct sop_chain *c, struct look *l, struct sop_err *err)
{
    uint8_t nonce[SOP_NONCE_BYTES];
    if (!sop_chain__parse_dir(c->view.dir, &l->number, nonce)) {
        SOP_UNREACHABLE("names of directories are checked when they are read");
    }
    l->there = sop_calloc(c->view.gone_count + 1, sizeof *l->there);
    if (l->there == NULL) {
        return SOP_ERR(err, NOMEM, "look for later members");
    }
    int rc = sop_volume_list(c->volume, "chain", note_dir, l, err);
    if (rc == 0) {
        rc = sop_volume_list(c->volume, "members", note_member, l, err);
    }
    if (rc == 0) {
        forget_removed(l);
    }
    sop_free(l->there);
    return rc;
}

int sop_chain__check_end(struct sop_chain *c, struct sop_err *err)
{
    struct look l = {.chain = c, .found = c->view.lsn.slot};
    int rc = look_around(c, &l, err);
    if (rc != 0 || l.found == c->view.lsn.slot) {
        return rc;
    }
    uint64_t next = c->view.lsn.slot + 1;
    struct sop_slot s;
    rc = sop_chain__read_slot(c, c->view.dir, next, &s, err);
    if (rc == 0) {
        sop_chain__slot_fini(&s);
        return SOP_ERR(err, SEALED, "somebody else opened it first; open again");
    }
    if (rc != SOP_ERR_NOT_FOUND) {
        return rc;
    }
    rc = sop_chain__gate(c, c->view.dir, err); /* truncated meanwhile? */
    return rc != 0 ? rc
                   : SOP_ERR(err, DATA_LOSS,
                             "chain/%s/%016" PRIx64 " is missing; %s shows that there was "
                             "slot %" PRIu64,
                             c->view.dir, next, l.proof, l.found);
}
