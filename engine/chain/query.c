/* What the layer above asks a chain: places, state, outcomes, load. */
#include "engine/chain/chain_int.h"

#include <stdio.h>

uint64_t sop_chain_member(const struct sop_chain *c)
{
    return c->member;
}
const char *sop_chain_member_dir(const struct sop_chain *c)
{
    return c->member_dir;
}
uint64_t sop_chain_next_batch(const struct sop_chain *c)
{
    return c->next_batch;
}

void sop_chain_point(struct sop_chain *c, struct sop_chain_point *out)
{
    sop_mutex_lock(&c->mutex);
    const struct sop_chain_view *v = &c->view;
    *out = (struct sop_chain_point){
        .lsn = v->lsn, .hash = v->hash, .dir_first = v->dir_here_first};
    memcpy(out->dir, v->dir_here, sizeof out->dir);
    if (v->open) {
        out->journal_member = v->tenure.member;
        out->journal_file = v->tenure.next.file;
        out->journal_offset = v->tenure.next.offset;
    }
    sop_mutex_unlock(&c->mutex);
}

int sop_chain_state(struct sop_chain *c, struct sop_buf *out, struct sop_err *err)
{
    sop_mutex_lock(&c->mutex);
    int rc = sop_chain__view_encode(&c->view, out, err);
    sop_mutex_unlock(&c->mutex);
    return rc;
}

enum sop_decided sop_chain_decided(struct sop_chain *c, uint64_t member, uint64_t batch)
{
    sop_mutex_lock(&c->mutex);
    const struct sop_chain_decided_row *row = sop_chain__find_decided(&c->view, member);
    enum sop_decided result = SOP_DECIDED_TOO_OLD;
    if (row != NULL && member == c->member && c->end_unclear) {
        /* What lies behind the last confirmed batch, reopening tells. */
        result = batch == c->lac_batch ? SOP_DECIDED_YES : SOP_DECIDED_TOO_OLD;
    } else if (row != NULL && batch > row->batch) {
        result = SOP_DECIDED_NO;
    } else if (row != NULL && batch == row->batch) {
        result = SOP_DECIDED_YES;
    }
    sop_mutex_unlock(&c->mutex);
    return result;
}

void sop_chain_load(struct sop_chain *c, const struct sop_chain_point *since,
                    struct sop_chain_load *out)
{
    *out = (struct sop_chain_load){.syncs = atomic_load(&c->syncs)};
    bool own = c->member != 0 && since->journal_member == c->member;
    sop_mutex_lock(&c->mutex);
    const struct sop_chain_view *v = &c->view;
    out->slots = v->lsn.slot > since->lsn.slot ? v->lsn.slot - since->lsn.slot : 0;
    for (size_t i = 0; i < v->gone_count; i++) {
        out->members_gone += sop_lsn_cmp(v->gone[i].gone, since->lsn) > 0;
    }
    out->journal_bytes = own ? 0 : c->replayed_bytes;
    out->journal_records = v->lsn.slot == c->tenure ? v->lsn.record : 0;
    if (!own) {
        out->journal_records += c->replayed_records;
    } else if (since->lsn.slot == c->tenure) {
        out->journal_records -= since->lsn.record;
    }
    sop_mutex_unlock(&c->mutex);
    if (c->journal != NULL) {
        struct sop_journal_place place = {.file = own ? since->journal_file : 0,
                                          .offset = own ? since->journal_offset : 0};
        out->journal_bytes += sop_journal_bytes_since(c->journal, &place);
    }
}

/* --- care --- */

bool sop_chain_wants_care(const struct sop_chain *c)
{
    return c->journal != NULL && !atomic_load(&c->stopped) &&
           sop_journal_wants_prepare(c->journal);
}

int sop_chain_prepare(struct sop_chain *c, struct sop_err *err)
{
    int rc = sop_chain__usable(c, err);
    return rc == 0 && sop_journal_wants_prepare(c->journal)
               ? sop_journal_prepare(c->journal, err)
               : rc;
}

int sop_chain_care(struct sop_chain *c, struct sop_lsn oldest_pin, struct sop_err *err)
{
    int rc = sop_chain__usable(c, err);
    if (rc != 0) {
        return rc;
    }
    sop_mutex_lock(&c->mutex);
    c->pin = oldest_pin;
    sop_mutex_unlock(&c->mutex);
    rc = SOP_FAILPOINT_ERR(c->failpoints, "chain.lac_publish", err);
    if (rc == 0) {
        rc = sop_chain__write_beat(c, 0, err);
    }
    if (rc == 0) {
        rc = sop_journal_prepare(c->journal, err);
    }
    return rc;
}
