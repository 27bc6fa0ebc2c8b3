/* The own folder: members/<nonce>/ with lock, TEN, beat, journal and tickets.
 *
 * Syncs of member_make: TEN, journal file and its folder, spare ticket, the member's folder,
 * members/ (6). The beat needs none: an unreadable beat only means more records to copy. The
 * names of tickets need none: a ticket counts by its link in the chain directory. */
#include "engine/chain/chain_int.h"

#include <stdio.h>

#define COPY_BYTES (256u * 1024u) /* copies of adopted records, written at a time */

static int make_folders(struct sop_chain *c, struct sop_err *err)
{
    char path[SOP_CHAIN_PATH_BYTES];
    int rc = sop_volume_mkdir(c->volume, c->member_dir, err);
    if (rc != 0) {
        return rc;
    }
    c->member_made = true;
    sop_chain__path(path, "%s/tickets", c->member_dir);
    rc = sop_volume_mkdir(c->volume, path, err);
    if (rc == 0) {
        sop_chain__path(path, "%s/journal", c->member_dir);
        rc = sop_volume_mkdir(c->volume, path, err);
    }
    return rc;
}

/* The lock file is opened once: closing any descriptor of it would drop the lock. */
static int make_lock(struct sop_chain *c, struct sop_err *err)
{
    char path[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(path, "%s/lock", c->member_dir);
    int rc = sop_file_open(
        c->volume, path, SOP_OPEN_WRITE | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE, &c->lock, err);
    if (rc != 0) {
        c->lock = NULL;
        return rc;
    }
    return sop_file_lock(c->lock, err);
}

static int make_ten(struct sop_chain *c, struct sop_err *err)
{
    struct sop_flag_name name = {.kind = SOP_FLAG_TEN};
    memcpy(name.database_id, c->database_id, 16);
    memcpy(name.nonce, c->nonce, sizeof name.nonce);
    uint8_t *blocks;
    int rc = sop_chain__blocks(&blocks, SOP_TEN_BLOCKS, err);
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < SOP_TEN_BLOCKS; i++) {
        name.block = i;
        sop_flag_live_pattern(&name, blocks + (size_t)i * SOP_BLOCK_BYTES);
    }
    memcpy(c->ten_live, blocks, SOP_BLOCK_BYTES);
    char path[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(path, "%s/TEN", c->member_dir);
    rc = sop_chain__create_file(c, path, blocks, (size_t)SOP_TEN_BLOCKS * SOP_BLOCK_BYTES, true,
                                &c->ten, err);
    sop_free(blocks);
    return rc;
}

static void fill_beat(struct sop_chain *c, uint16_t flags, struct sop_beat *b)
{
    memset(b, 0, sizeof *b);
    b->flags = flags;
    memcpy(b->database_id, c->database_id, 16);
    memcpy(b->nonce, c->nonce, sizeof b->nonce);
    b->sequence = ++c->beat_sequence;
    b->head = c->view.lsn;
    b->lac = (struct sop_lsn){.slot = c->tenure, .record = c->lac};
    b->pin = c->pin;
    b->pid = (uint64_t)c->pid;
    (void)snprintf(b->host, sizeof b->host, "%s", c->host);
}

int sop_chain__write_beat(struct sop_chain *c, uint16_t flags, struct sop_err *err)
{
    uint8_t *block;
    int rc = sop_chain__blocks(&block, 1, err);
    if (rc == 0) {
        rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.beat_write", err);
        struct sop_beat b;
        sop_mutex_lock(&c->mutex); /* one writer at a time, in the order of the sequence */
        fill_beat(c, flags, &b);
        sop_beat_encode(&b, block);
        if (rc == 0) {
            rc = sop_file_write(c->beat, 0, block, SOP_BLOCK_BYTES, err);
        }
        sop_mutex_unlock(&c->mutex);
        sop_free(block);
    }
    return sop_err_wrap(err, rc, "write %s/beat", c->member_dir);
}

static int make_beat(struct sop_chain *c, struct sop_err *err)
{
    struct sop_beat b;
    uint8_t *block;
    int rc = sop_chain__blocks(&block, 1, err);
    if (rc != 0) {
        return rc;
    }
    fill_beat(c, 0, &b);
    sop_beat_encode(&b, block);
    char path[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(path, "%s/beat", c->member_dir);
    rc = sop_chain__create_file(c, path, block, SOP_BLOCK_BYTES, false, &c->beat, err);
    sop_free(block);
    return rc;
}

static int make_journal(struct sop_chain *c, struct sop_err *err)
{
    char path[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(path, "%s/journal", c->member_dir);
    struct sop_journal_config config = {.volume = c->volume,
                                        .dir = path,
                                        .file_bytes_min = c->journal_bytes_min,
                                        .file_bytes_max = c->journal_bytes_max,
                                        .syncs = &c->syncs,
                                        .failpoints = c->failpoints};
    memcpy(config.nonce, c->nonce, sizeof config.nonce);
    return sop_journal_new(&c->journal, &config, err);
}

/* Room for a CUT, so that a tenure can be ended even on a full volume. */
static int make_spare(struct sop_chain *c, struct sop_err *err)
{
    uint8_t *block;
    int rc = sop_chain__blocks(&block, 1, err);
    if (rc != 0) {
        return rc;
    }
    memset(block, 0, SOP_BLOCK_BYTES);
    char path[SOP_CHAIN_PATH_BYTES];
    sop_chain__path(path, "%s/tickets/t%" PRIu32, c->member_dir, c->tickets++);
    rc = sop_chain__create_file(c, path, block, SOP_BLOCK_BYTES, true, NULL, err);
    sop_free(block);
    c->spare = rc == 0;
    return rc;
}

int sop_chain__member_make(struct sop_chain *c, struct sop_err *err)
{
    char hex[SOP_NONCE_HEX_BYTES];
    sop_env_random(c->env, c->nonce, sizeof c->nonce);
    sop_chain__hex(c->nonce, hex);
    sop_chain__path(c->member_dir, "members/%s", hex);
    int (*const steps[])(struct sop_chain *, struct sop_err *) = {
        make_folders, make_lock, make_ten, make_beat, make_journal, make_spare};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < SOP_ARRAY_LEN(steps); i++) {
        rc = steps[i](c, err);
    }
    if (rc == 0) {
        rc = sop_chain__sync_dir(c, c->member_dir, err);
    }
    if (rc == 0) {
        rc = sop_chain__sync_dir(c, "members", err);
    }
    return sop_err_wrap(err, rc, "make member %s", hex);
}

void sop_chain__member_unmake(struct sop_chain *c)
{
    SOP_ASSERT(c->member == 0);
    if (!c->member_made) {
        return;
    }
    sop_journal_free(c->journal);
    sop_file_close(c->ten);
    sop_file_close(c->beat);
    sop_file_close(c->lock);
    c->journal = NULL;
    c->ten = c->beat = c->lock = NULL;
    c->member_made = false;
    /* What stays is found by trim, which knows that it never joined. */
    int ignored = sop_volume_remove_tree(c->volume, c->member_dir, NULL);
    (void)ignored;
}

/* --- tickets --- */

void sop_chain__ticket_init(struct sop_chain *c, struct sop_ticket *t, uint16_t kind)
{
    *t = (struct sop_ticket){.kind = kind,
                             .member = c->member,
                             .base = c->view.lsn,
                             .base_hash = c->view.hash,
                             .pid = (uint64_t)c->pid,
                             .wall_ms = sop_env_wall_ms(c->env),
                             .host = sop_slice_str(c->host)};
    memcpy(t->database_id, c->database_id, 16);
    memcpy(t->member_nonce, c->nonce, sizeof t->member_nonce);
    sop_env_random(c->env, t->nonce, sizeof t->nonce);
}

/* Gathers copies, record behind record, and writes whole blocks of them. */
struct copier {
    struct sop_file *to;
    uint64_t at;
    uint8_t *stage; /* aligned, as a file opened for direct I/O demands */
    size_t len;
};

static int copy_bytes(struct copier *w, struct sop_slice from, struct sop_err *err)
{
    int rc = 0;
    while (rc == 0 && from.len > 0) {
        size_t room = COPY_BYTES - w->len;
        size_t take = from.len < room ? from.len : room;
        memcpy(w->stage + w->len, from.data, take);
        w->len += take;
        from = sop_slice(from.data + take, from.len - take);
        if (w->len == COPY_BYTES) {
            rc = sop_file_write(w->to, w->at, w->stage, w->len, err);
            w->at += w->len;
            w->len = 0;
        }
    }
    return rc;
}

/* What is left, with zeros to the end of its block. */
static int copy_rest(struct copier *w, struct sop_err *err)
{
    size_t len = (size_t)sop_journal_block_border(w->len);
    memset(w->stage + w->len, 0, len - w->len);
    int rc = len > 0 ? sop_file_write(w->to, w->at, w->stage, len, err) : 0;
    w->at += len;
    return rc;
}

static int copy_records(struct sop_chain *c, struct sop_journal_cursor *cursor, uint64_t cut,
                        struct copier *w, struct sop_err *err)
{
    int rc = 0;
    while (rc == 0 && cursor->record <= cut) {
        struct sop_journal_record r;
        rc = sop_journal_cursor_next(cursor, &r, err);
        if (rc == SOP_ERR_END) {
            rc = SOP_ERR(err, DATA_LOSS, "a record of %s changed while it was copied",
                         cursor->path);
        } else if (rc == 0) {
            rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.adopt_copy", err);
            rc = rc == 0 ? copy_bytes(w, r.raw, err) : rc;
        }
    }
    return rc == 0 ? copy_rest(w, err) : rc;
}

/* Copies the records that the tail marked behind the head of the ticket. They are read again:
 * what is copied is what was verified a second time. */
static int write_copies(struct sop_chain *c, const struct sop_ticket *t,
                        const struct sop_tail *tail, struct sop_file *to, struct sop_err *err)
{
    const struct sop_chain_tenure *tenure = &c->view.tenure;
    struct sop_journal_start start = {.tenure = tenure->slot,
                                      .record = tail->copies.record,
                                      .hash_known = true,
                                      .hash = tail->copies.hash,
                                      .place = tail->copies.place};
    memcpy(start.nonce, tenure->nonce, sizeof start.nonce);
    char hex[SOP_NONCE_HEX_BYTES];
    char dir[SOP_CHAIN_PATH_BYTES];
    sop_chain__hex(tenure->nonce, hex);
    sop_chain__path(dir, "members/%s/journal", hex);
    struct copier w = {.to = to, .at = t->copies_at};
    int rc = sop_chain__blocks(&w.stage, COPY_BYTES / SOP_BLOCK_BYTES, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_journal_cursor cursor;
    sop_journal_cursor_init(&cursor, c->volume, dir, &start);
    rc = copy_records(c, &cursor, tail->cut, &w, err);
    SOP_ASSERT(rc != 0 || w.at == t->copies_at + t->copies_bytes);
    SOP_ASSERT(rc != 0 || cursor.hash == c->view.hash);
    sop_journal_cursor_fini(&cursor);
    sop_free(w.stage);
    return rc;
}

static int open_ticket(struct sop_chain *c, const struct sop_ticket *t, size_t head,
                       char path[SOP_CHAIN_PATH_BYTES], struct sop_file **out,
                       struct sop_err *err)
{
    if (c->spare && t->kind == SOP_RECORD_CUT && head == SOP_BLOCK_BYTES) {
        c->spare = false;
        sop_chain__path(path, "%s/tickets/t0", c->member_dir);
        return sop_file_open(c->volume, path, SOP_OPEN_WRITE | sop_chain__mode(c->volume), out,
                             err);
    }
    sop_chain__path(path, "%s/tickets/t%" PRIu32, c->member_dir, c->tickets++);
    return sop_file_open(c->volume, path,
                         SOP_OPEN_WRITE | SOP_OPEN_CREATE | SOP_OPEN_EXCLUSIVE |
                             sop_chain__mode(c->volume),
                         out, err);
}

/* Aligned copy of the head, as a file opened for direct I/O demands. */
static int write_head(struct sop_file *f, const struct sop_buf *head, struct sop_err *err)
{
    uint8_t *blocks;
    int rc = sop_chain__blocks(&blocks, head->len / SOP_BLOCK_BYTES, err);
    if (rc == 0) {
        memcpy(blocks, head->data, head->len);
        rc = sop_file_write(f, 0, blocks, head->len, err);
        sop_free(blocks);
    }
    return rc;
}

int sop_chain__write_ticket(struct sop_chain *c, struct sop_ticket *t,
                            const struct sop_tail *tail, char path[SOP_CHAIN_PATH_BYTES],
                            struct sop_err *err)
{
    if (tail != NULL) {
        t->copies_from = tail->copies_from;
        t->copies_bytes = tail->copies_bytes;
    }
    int rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.ticket_write_before", err);
    if (rc != 0) {
        return rc;
    }
    struct sop_buf head = {0};
    rc = sop_ticket_encode(t, &head, err);
    if (rc != 0) {
        return rc;
    }
    struct sop_file *f = NULL;
    rc = open_ticket(c, t, head.len, path, &f, err);
    if (rc == 0) {
        rc = write_head(f, &head, err);
    } else {
        f = NULL;
    }
    if (rc == 0) {
        rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.ticket_write_mid", err);
    }
    if (rc == 0 && t->copies_from != 0) {
        rc = write_copies(c, t, tail, f, err);
    }
    if (rc == 0) {
        rc = sop_chain__sync_file(c, f, err);
    }
    if (rc == 0) {
        rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.ticket_write_after", err);
    }
    sop_file_close(f);
    sop_buf_fini(&head);
    return sop_err_wrap(err, rc, "write ticket %s", path);
}

void sop_chain__flag_of_ten(const struct sop_chain *c, const struct sop_chain_tenure *t,
                            struct sop_flag_name *name, char path[SOP_CHAIN_PATH_BYTES])
{
    *name = (struct sop_flag_name){
        .kind = SOP_FLAG_TEN, .file = t->ten_file, .block = t->ten_block};
    memcpy(name->database_id, c->database_id, 16);
    memcpy(name->nonce, t->nonce, sizeof name->nonce);
    char hex[SOP_NONCE_HEX_BYTES];
    sop_chain__hex(t->nonce, hex);
    if (t->ten_file == 0) {
        sop_chain__path(path, "members/%s/TEN", hex);
    } else {
        sop_chain__path(path, "members/%s/TEN.%" PRIu32, hex, t->ten_file);
    }
}
