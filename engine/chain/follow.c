/* Replay: from the view to the newest slot, and from an open slot's journal to its end.
 *
 * Records and slots go to the layer above as they are read. If history turns out to have moved
 * (SEALED) or to be damaged, the caller throws away what it was given; so nothing is staged.
 * The gate is read before a ROLL is followed and after the first absent slot: a late ROLL and
 * absence can be lies of a directory that is being removed; any other ticket that is there is
 * the decided one (I1). */
#include "engine/chain/chain_int.h"

#include "engine/base/codec.h"

static int hand_up(struct sop_chain *c, struct sop_lsn lsn, enum sop_record_kind kind,
                   uint64_t member, uint64_t batch, struct sop_slice payload,
                   struct sop_err *err)
{
    if (c->apply == NULL) {
        return 0;
    }
    int rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.apply_mid", err);
    if (rc == 0) {
        rc = c->apply(c->arg, lsn, kind, member, batch, payload, err);
    }
    return sop_err_wrap(err, rc, "apply record %" PRIu64 " of slot %" PRIu64, lsn.record,
                        lsn.slot);
}

static int hand_up_member(struct sop_chain *c, struct sop_lsn lsn, enum sop_record_kind kind,
                          uint64_t writer, uint64_t id, struct sop_err *err)
{
    uint8_t bytes[8];
    sop_put_u64(bytes, id);
    return hand_up(c, lsn, kind, writer, 0, sop_slice(bytes, sizeof bytes), err);
}

/* --- records of a tenure --- */

static bool takes_batch(uint16_t kind)
{
    return kind == SOP_RECORD_BATCH || kind == SOP_RECORD_PREPARED || kind == SOP_RECORD_DECIDE;
}

/* Changes the view for one record; what does not fit is damage. */
static int count_record(struct sop_chain *c, const struct sop_journal_record *r,
                        struct sop_err *err)
{
    const struct sop_journal_header *h = &r->header;
    struct sop_chain_view *v = &c->view;
    struct sop_chain_decided_row *row = sop_chain__find_decided(v, h->member);
    bool joined = sop_chain__find_member(v, h->member) != NULL;
    if (h->member != v->tenure.member || !joined || row == NULL) {
        return SOP_ERR(err, DATA_LOSS, "record of member %" PRIu64 " that is not joined",
                       h->member);
    }
    if (takes_batch(h->kind)) {
        if (h->batch != row->batch + 1) {
            return SOP_ERR(err, DATA_LOSS, "batch %" PRIu64 " follows batch %" PRIu64, h->batch,
                           row->batch);
        }
        row->batch = h->batch;
        return 0;
    }
    if (h->kind == SOP_RECORD_CHECKPOINT || h->kind == SOP_RECORD_SNAPSHOT) {
        return 0;
    }
    if (h->kind != SOP_RECORD_LEAVE) {
        return SOP_ERR(err, VERSION, "journal record of kind %u", (unsigned)h->kind);
    }
    int rc = sop_chain__view_reserve(v, err);
    if (rc == 0) {
        struct sop_lsn at = {.slot = h->tenure, .record = h->record};
        sop_chain__view_gone(v, h->member, at, false);
    }
    return rc;
}

/* Applies the record that the cursor has just read. */
static int apply_record(struct sop_chain *c, const struct sop_journal_cursor *cursor,
                        const struct sop_journal_record *r, struct sop_err *err)
{
    struct sop_chain_view *v = &c->view;
    const struct sop_journal_header *h = &r->header;
    SOP_ASSERT(v->open && h->tenure == v->lsn.slot && h->record == v->lsn.record + 1);
    SOP_ASSERT(h->hash_before == v->hash);
    struct sop_lsn lsn = {.slot = h->tenure, .record = h->record};
    int rc = count_record(c, r, err);
    if (rc == 0 && h->kind == SOP_RECORD_LEAVE) {
        rc = hand_up_member(c, lsn, SOP_RECORD_LEAVE, h->member, h->member, err);
    } else if (rc == 0) {
        rc = hand_up(c, lsn, (enum sop_record_kind)h->kind, h->member, h->batch, r->payload,
                     err);
    }
    if (rc != 0) {
        return sop_err_wrap(err, rc, "journal %s file %" PRIu32 " at %" PRIu64, cursor->path,
                            r->place.file, r->place.offset);
    }
    v->lsn = lsn;
    v->hash = cursor->hash;
    if (cursor->end == 0) {
        v->tenure.next = cursor->next;
    }
    c->replayed_bytes += r->raw.len;
    c->replayed_records++;
    return 0;
}

/* A cursor at the record behind the view. */
static void open_cursor(struct sop_chain *c, struct sop_journal_cursor *cursor)
{
    const struct sop_chain_view *v = &c->view;
    struct sop_journal_start start = {.tenure = v->tenure.slot,
                                      .record = v->lsn.record + 1,
                                      .hash_known = true,
                                      .hash = v->hash,
                                      .place = v->tenure.next};
    memcpy(start.nonce, v->tenure.nonce, sizeof start.nonce);
    char hex[SOP_NONCE_HEX_BYTES];
    char dir[SOP_CHAIN_PATH_BYTES];
    sop_chain__hex(v->tenure.nonce, hex);
    sop_chain__path(dir, "members/%s/journal", hex);
    sop_journal_cursor_init(cursor, c->volume, dir, &start);
}

/* A record that history counts on is not there. If its whole file is gone, then because nobody
 * who knows a newer manifest needs it any more; otherwise it is damaged. */
static int lost_record(struct sop_chain *c, const struct sop_journal_cursor *cursor,
                       struct sop_err *err)
{
    char path[SOP_CHAIN_PATH_BYTES];
    if (cursor->end != 0) {
        sop_chain__path(path, "%s", cursor->path);
    } else {
        sop_journal_path(path, sizeof path, cursor->path, cursor->next.file);
    }
    struct sop_stat found;
    int rc = sop_volume_stat(c->volume, path, &found, err);
    if (rc != 0) {
        return rc;
    }
    if (found.kind == SOP_FILE_ABSENT) {
        return SOP_ERR(err, SEALED, "%s was truncated; a newer manifest helps", path);
    }
    return SOP_ERR(err, DATA_LOSS,
                   "record %" PRIu64 " of slot %" PRIu64
                   " was durable and is damaged: %s at byte %" PRIu64,
                   cursor->record, cursor->tenure, path, cursor->missing);
}

/* Applies records until `last`, all of which must be there. */
static int replay_journal(struct sop_chain *c, uint64_t last, struct sop_err *err)
{
    struct sop_journal_cursor cursor;
    open_cursor(c, &cursor);
    int rc = 0;
    while (rc == 0 && c->view.lsn.record < last) {
        struct sop_journal_record r;
        rc = sop_journal_cursor_next(&cursor, &r, err);
        if (rc == SOP_ERR_END) {
            rc = lost_record(c, &cursor, err);
        } else if (rc == 0) {
            rc = apply_record(c, &cursor, &r, err);
        }
    }
    sop_journal_cursor_fini(&cursor);
    return rc;
}

/* The same from the copies in the ticket that ended the tenure. */
static int replay_copies(struct sop_chain *c, const struct sop_slot *s, struct sop_err *err)
{
    const struct sop_chain_view *v = &c->view;
    struct sop_journal_start start = {.tenure = v->tenure.slot,
                                      .record = s->t.copies_from,
                                      .hash_known = s->t.copies_from == v->lsn.record + 1,
                                      .hash = v->hash,
                                      .place = {.offset = s->t.copies_at}};
    memcpy(start.nonce, v->tenure.nonce, sizeof start.nonce);
    struct sop_journal_cursor cursor;
    sop_journal_cursor_init_copies(&cursor, c->volume, s->path,
                                   s->t.copies_at + s->t.copies_bytes, &start);
    int rc = 0;
    while (rc == 0 && v->lsn.record < s->t.cut) {
        struct sop_journal_record r;
        rc = sop_journal_cursor_next(&cursor, &r, err);
        if (rc == SOP_ERR_END) {
            rc = lost_record(c, &cursor, err);
        } else if (rc == 0 && r.header.record > v->lsn.record) {
            rc = r.header.hash_before == v->hash
                     ? apply_record(c, &cursor, &r, err)
                     : SOP_ERR(err, DATA_LOSS, "rolling hash of copies in %s does not fit",
                               s->path);
        }
    }
    sop_journal_cursor_fini(&cursor);
    return rc;
}

/* Reads the open slot up to the cut that its successor says. */
static int replay_tenure(struct sop_chain *c, const struct sop_slot *s, struct sop_err *err)
{
    const struct sop_ticket *t = &s->t;
    if ((t->flags & SOP_TICKET_FOLLOWS_OPEN) == 0) {
        return SOP_ERR(err, DATA_LOSS, "%s follows an open slot and has no cut", s->path);
    }
    if (c->view.lsn.record > t->cut) {
        return SOP_ERR(err, DATA_LOSS,
                       "history of slot %" PRIu64 " ends at record %" PRIu64
                       ", the start lies behind it at %" PRIu64,
                       c->view.lsn.slot, t->cut, c->view.lsn.record);
    }
    uint64_t in_journal = t->copies_from != 0 ? t->copies_from - 1 : t->cut;
    int rc = replay_journal(c, in_journal, err);
    if (rc == 0 && c->view.lsn.record < t->cut) {
        rc = replay_copies(c, s, err);
    }
    SOP_ASSERT(rc != 0 || c->view.lsn.record == t->cut);
    return rc;
}

/* --- tickets --- */

/* I12: every ticket carries the rolling hash at its base. */
static int check_base(struct sop_chain *c, const struct sop_slot *s, struct sop_err *err)
{
    int order = sop_lsn_cmp(s->t.base, c->view.lsn);
    if (order > 0 || (order == 0 && s->t.base_hash != c->view.hash)) {
        return SOP_ERR(err, DATA_LOSS, "rolling hash in %s does not fit", s->path);
    }
    return 0;
}

static int apply_expels(struct sop_chain *c, const struct sop_slot *s, struct sop_lsn lsn,
                        uint64_t writer, struct sop_err *err)
{
    for (size_t i = 0; i < s->t.expels.len; i += 8) {
        uint64_t id = sop_get_u64(s->t.expels.data + i);
        if (sop_chain__find_member(&c->view, id) == NULL) {
            return SOP_ERR(err, DATA_LOSS, "%s expels member %" PRIu64 " that is not joined",
                           s->path, id);
        }
        int rc = sop_chain__view_reserve(&c->view, err);
        if (rc == 0) {
            sop_chain__view_gone(&c->view, id, lsn, true);
            rc = hand_up_member(c, lsn, SOP_RECORD_EXPEL, writer, id, err);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int apply_join(struct sop_chain *c, const struct sop_slot *s, struct sop_lsn lsn,
                      struct sop_err *err)
{
    struct sop_chain_member_row row = {.id = lsn.slot,
                                       .flags = s->t.flags & SOP_TICKET_EXCLUSIVE,
                                       .ten_file = s->t.ten_file,
                                       .ten_block = s->t.ten_block};
    memcpy(row.nonce, s->t.member_nonce, sizeof row.nonce);
    int rc = sop_chain__view_reserve(&c->view, err);
    if (rc != 0) {
        return rc;
    }
    sop_chain__view_join(&c->view, &row);
    return hand_up_member(c, lsn, SOP_RECORD_JOIN, lsn.slot, lsn.slot, err);
}

static int apply_roll(struct sop_chain *c, const struct sop_slot *s, struct sop_lsn lsn,
                      struct sop_err *err)
{
    struct sop_chain_view *v = &c->view;
    char dir[SOP_CHAIN_DIR_BYTES] = {0};
    uint64_t number;
    uint64_t before;
    uint8_t nonce[SOP_NONCE_BYTES];
    if (s->t.payload.len < sizeof dir) {
        memcpy(dir, s->t.payload.data, s->t.payload.len);
    }
    if (!sop_chain__parse_dir(v->dir, &before, nonce) ||
        !sop_chain__parse_dir(dir, &number, nonce) || number != before + 1) {
        return SOP_ERR(err, DATA_LOSS, "%s names no next directory", s->path);
    }
    /* A sleeper's ROLL may land in a directory that was truncated meanwhile, while that one's
     * folder still stands; its next directory would have a live gate of its own. So the gate of
     * the directory that is left is asked before it is left (model roll, gate_at_tail). */
    int rc = sop_chain__gate(c, v->dir, err);
    if (rc != 0) {
        return rc;
    }
    memcpy(v->dir, dir, sizeof v->dir);
    v->dir_first = lsn.slot + 1;
    return 0;
}

static int apply_kind(struct sop_chain *c, const struct sop_slot *s, struct sop_lsn lsn,
                      struct sop_err *err)
{
    switch (s->t.kind) {
    case SOP_RECORD_JOIN:
        return apply_join(c, s, lsn, err);
    case SOP_RECORD_ROLL:
        return apply_roll(c, s, lsn, err);
    case SOP_RECORD_CUT:
        return 0;
    default:
        return SOP_ERR(err, VERSION, "%s holds a record of kind %u", s->path,
                       (unsigned)s->t.kind);
    }
}

static void open_tenure(struct sop_chain_view *v, const struct sop_ticket *t, uint64_t member)
{
    v->open = true;
    v->tenure = (struct sop_chain_tenure){
        .slot = v->lsn.slot,
        .member = member,
        .ten_file = t->ten_file,
        .ten_block = t->ten_block,
        .next = {.file = t->journal_file, .offset = t->journal_offset},
    };
    memcpy(v->tenure.nonce, t->member_nonce, sizeof v->tenure.nonce);
}

int sop_chain__apply_ticket(struct sop_chain *c, const struct sop_slot *s, struct sop_err *err)
{
    struct sop_chain_view *v = &c->view;
    const struct sop_ticket *t = &s->t;
    struct sop_lsn lsn = {.slot = v->lsn.slot + 1};
    bool opens = (t->flags & SOP_TICKET_OPENS) != 0;
    if ((opens && (t->kind != SOP_RECORD_JOIN || t->ten_block >= SOP_TEN_BLOCKS)) ||
        t->mask.len != 0 || (t->kind != SOP_RECORD_JOIN && t->expels.len != 0)) {
        return SOP_ERR(err, VERSION, "%s holds what this release does not know", s->path);
    }
    int rc = check_base(c, s, err);
    if (rc != 0) {
        return rc;
    }
    memcpy(v->dir_here, v->dir, sizeof v->dir_here);
    v->dir_here_first = v->dir_first;
    rc = apply_expels(c, s, lsn, lsn.slot, err);
    v->open = false;
    v->lsn = lsn;
    if (rc == 0) {
        rc = apply_kind(c, s, lsn, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_history_step step = {.lsn = lsn,
                                    .kind = t->kind,
                                    .member = t->member,
                                    .batch = t->batch,
                                    .payload_bytes = s->head_bytes,
                                    .payload_crc = s->crc};
    v->hash = sop_history_hash(&step, v->hash);
    if (opens) {
        open_tenure(v, t, lsn.slot);
    }
    sop_chain__view_check(v);
    return 0;
}

int sop_chain__follow(struct sop_chain *c, struct sop_err *err)
{
    for (;;) {
        struct sop_slot s;
        int rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.refresh_probe", err);
        if (rc != 0) {
            return rc;
        }
        rc = sop_chain__read_slot(c, c->view.dir, c->view.lsn.slot + 1, &s, err);
        if (rc == SOP_ERR_NOT_FOUND) {
            rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.refresh_gate", err);
            return rc == 0 ? sop_chain__gate(c, c->view.dir, err) : rc;
        }
        if (rc != 0) {
            return rc;
        }
        if (c->view.open) {
            rc = replay_tenure(c, &s, err);
        }
        if (rc == 0) {
            rc = sop_chain__apply_ticket(c, &s, err);
        }
        sop_chain__slot_fini(&s);
        if (rc != 0) {
            return rc;
        }
    }
}

/* --- the newest slot, if it is open --- */

bool sop_chain__read_beat(struct sop_chain *c, const uint8_t nonce[SOP_NONCE_BYTES],
                          struct sop_beat *beat)
{
    char hex[SOP_NONCE_HEX_BYTES];
    char path[SOP_CHAIN_PATH_BYTES];
    sop_chain__hex(nonce, hex);
    sop_chain__path(path, "members/%s/beat", hex);
    uint8_t *block;
    if (sop_chain__blocks(&block, 1, NULL) != 0) {
        return false;
    }
    struct sop_file *f;
    bool ok = false;
    if (sop_file_open(c->volume, path, SOP_OPEN_READ | sop_chain__mode(c->volume), &f, NULL) ==
        0) {
        ok = sop_file_read(f, 0, block, SOP_BLOCK_BYTES, NULL, NULL) == 0 &&
             sop_beat_decode(block, beat) &&
             memcmp(beat->nonce, nonce, sizeof beat->nonce) == 0 &&
             memcmp(beat->database_id, c->database_id, 16) == 0;
        sop_file_close(f);
    }
    sop_free(block);
    return ok;
}

/* Greatest record of the open slot that the owner's beat says is durable. */
static uint64_t beat_lac(struct sop_chain *c, bool *left)
{
    struct sop_beat beat;
    *left = false;
    if (!sop_chain__read_beat(c, c->view.tenure.nonce, &beat) ||
        beat.lac.slot != c->view.tenure.slot) {
        return 0;
    }
    *left = (beat.flags & SOP_BEAT_LEFT) != 0;
    return beat.lac.record;
}

/* Copies must begin at record LAC + 1 or before; the LAC is known for sure only at the end of
 * the journal. The record that first shows a LAC lies behind LAC + 1, as far as the owner
 * appended while it synced; but then it is in front of the next LAC + 1. So two marks are kept,
 * and what is copied goes back by no more than one sync. */
static void mark_unproven(struct sop_tail *tail, const struct sop_journal_record *r)
{
    const struct sop_journal_header *h = &r->header;
    if (h->lac > tail->shown) {
        tail->shown = h->lac;
        if (tail->later.record <= h->lac + 1) {
            tail->copies = tail->later;
        }
        tail->later = (struct sop_tail_mark){.record = h->record,
                                             .place = r->place,
                                             .hash = h->hash_before,
                                             .before = tail->bytes};
        if (h->record == h->lac + 1) {
            tail->copies = tail->later;
        }
    }
    tail->bytes += r->raw.len;
}

/* Says what is to be copied, now that the whole tail was read. */
static void settle_copies(struct sop_tail *tail)
{
    if (tail->shown > tail->lac) {
        tail->lac = tail->shown;
    }
    if (tail->later.record <= tail->lac + 1) {
        tail->copies = tail->later;
    }
    if (tail->lac < tail->cut && tail->copies.record <= tail->cut) {
        tail->copies_from = tail->copies.record;
        tail->copies_bytes = sop_journal_block_border(tail->bytes - tail->copies.before);
        SOP_ASSERT(tail->copies_bytes > 0);
    }
}

/* A journal file has its size from birth, and a record leaves room behind it for an END and a
 * LEAVE; so a file that is too short for that has lost its end, and what looks like a torn tail
 * may have been whole. Not asked of a file that only an END leads to: nothing may have been
 * written there. `first`: the file where reading began, known to have been whole. */
static int check_room(struct sop_chain *c, const struct sop_journal_cursor *cursor,
                      const struct sop_journal_place *first, bool left, struct sop_err *err)
{
    const struct sop_journal_place *at = &cursor->next;
    if (at->offset == 0 && (first->offset != 0 || at->file != first->file)) {
        return 0;
    }
    char path[SOP_CHAIN_PATH_BYTES];
    struct sop_stat found;
    sop_journal_path(path, sizeof path, cursor->path, at->file);
    int rc = sop_volume_stat(c->volume, path, &found, err);
    if (rc != 0) {
        return rc;
    }
    if (found.kind == SOP_FILE_ABSENT) {
        return lost_record(c, cursor, err);
    }
    uint64_t least = sop_journal_block_border(at->offset) + (left ? 1u : 2u) * SOP_BLOCK_BYTES;
    if (found.bytes < least) {
        return SOP_ERR(err, DATA_LOSS,
                       "%s at byte %" PRIu64 ": the file is shorter than it was, at least "
                       "%" PRIu64 " bytes were in use",
                       path, found.bytes, least);
    }
    return 0;
}

int sop_chain__read_tail(struct sop_chain *c, struct sop_tail *tail, struct sop_err *err)
{
    struct sop_chain_view *v = &c->view;
    SOP_ASSERT(v->open);
    struct sop_tail_mark begin = {
        .record = v->lsn.record + 1, .place = v->tenure.next, .hash = v->hash};
    *tail = (struct sop_tail){.copies = begin, .later = begin};
    bool closed;
    tail->lac = beat_lac(c, &closed);
    int rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.tail_read", err);
    if (rc != 0) {
        return rc;
    }
    struct sop_journal_cursor cursor;
    struct sop_journal_place first = v->tenure.next;
    open_cursor(c, &cursor);
    while (rc == 0) {
        struct sop_journal_record r;
        rc = sop_journal_cursor_next(&cursor, &r, err);
        if (rc == 0) {
            mark_unproven(tail, &r);
            tail->left = tail->left || r.header.kind == SOP_RECORD_LEAVE;
            rc = apply_record(c, &cursor, &r, err);
        }
    }
    tail->cut = v->lsn.record;
    /* After an orderly close nothing follows; otherwise look for proof of damage. */
    if (rc == SOP_ERR_END && !(closed && tail->lac == tail->cut)) {
        uint64_t proven;
        rc = sop_journal_cursor_scan(&cursor, &proven, err);
        if (rc == 0 && proven > tail->lac) {
            tail->lac = proven;
        }
    } else if (rc == SOP_ERR_END) {
        rc = 0;
    }
    if (rc == 0 && tail->lac > tail->cut) {
        rc = lost_record(c, &cursor, err);
    }
    if (rc == 0) {
        rc = check_room(c, &cursor, &first, tail->left, err);
    }
    sop_journal_cursor_fini(&cursor);
    if (rc == 0) {
        settle_copies(tail);
    }
    return rc;
}

/* The greatest LAC in the records behind the view. */
static int find_lac(struct sop_chain *c, uint64_t *lac, struct sop_err *err)
{
    struct sop_journal_cursor cursor;
    open_cursor(c, &cursor);
    int rc = 0;
    while (rc == 0) {
        struct sop_journal_record r;
        rc = sop_journal_cursor_next(&cursor, &r, err);
        if (rc == 0 && r.header.lac > *lac) {
            *lac = r.header.lac;
        }
    }
    sop_journal_cursor_fini(&cursor);
    return rc == SOP_ERR_END ? 0 : rc;
}

int sop_chain__read_to_lac(struct sop_chain *c, struct sop_err *err)
{
    SOP_ASSERT(c->view.open);
    bool left;
    /* The beat first: what it says is durable was written before we begin to read. */
    uint64_t lac = beat_lac(c, &left);
    int rc = find_lac(c, &lac, err);
    if (rc == 0 && lac > c->view.lsn.record) {
        rc = replay_journal(c, lac, err);
    }
    return rc;
}
