/* What history amounts to for the chain: members, decided batches, the open slot, the current
 * chain directory; and its stored form inside a manifest.
 *
 * State (all little-endian): magic "SOPS" (4), CRC32C of everything behind it (4), version (2),
 * flags (2; 1 = open slot), zero (4), LSN (16), hash (8), directory of the next slot (blob),
 * its first slot (8), directory of this slot (blob), its first slot (8), if open: slot, member
 * (8 each), nonce (16), TEN file, TEN block, journal file (4 each), journal offset (8);
 * members: count (varint), each id (8), nonce (16), flags, TEN file, TEN block (4 each); gone
 * members: count, each id, nonce, LSN; decided: count, each member, batch (8 each), nonce (16),
 * slot of its expulsion (8), mask (blob). */
#include "engine/chain/chain_int.h"

#include "engine/base/codec.h"

#define STATE_MAGIC   0x53504f53u
#define STATE_VERSION 1
#define STATE_OPEN    1u
#define ROWS_MAX      (1u << 20) /* more of any kind in a state is damage */

void sop_chain__view_fini(struct sop_chain_view *v)
{
    sop_free(v->members);
    sop_free(v->gone);
    sop_free(v->decided);
    memset(v, 0, sizeof *v);
}

uint64_t sop_chain__genesis_hash(const uint8_t database_id[16])
{
    return sop_hash64(database_id, 16, 0);
}

struct sop_chain_member_row *sop_chain__find_member(struct sop_chain_view *v, uint64_t id)
{
    for (size_t i = 0; i < v->member_count; i++) {
        if (v->members[i].id == id) {
            return &v->members[i];
        }
    }
    return NULL;
}

struct sop_chain_decided_row *sop_chain__find_decided(struct sop_chain_view *v, uint64_t id)
{
    for (size_t i = 0; i < v->decided_count; i++) {
        if (v->decided[i].member == id) {
            return &v->decided[i];
        }
    }
    return NULL;
}

static int reserve(void *rows, size_t *cap, size_t count, size_t row_bytes, struct sop_err *err)
{
    if (count < *cap) {
        return 0;
    }
    size_t more = *cap == 0 ? 4 : *cap * 2;
    void *old;
    memcpy(&old, rows, sizeof old);
    void *grown = sop_realloc(old, more * row_bytes);
    if (grown == NULL) {
        return SOP_ERR(err, NOMEM, "rows of members");
    }
    memcpy(rows, &grown, sizeof grown);
    *cap = more;
    return 0;
}

int sop_chain__view_reserve(struct sop_chain_view *v, struct sop_err *err)
{
    int rc = reserve(&v->members, &v->member_cap, v->member_count, sizeof *v->members, err);
    if (rc == 0) {
        rc = reserve(&v->gone, &v->gone_cap, v->gone_count, sizeof *v->gone, err);
    }
    if (rc == 0) {
        rc = reserve(&v->decided, &v->decided_cap, v->decided_count, sizeof *v->decided, err);
    }
    return rc;
}

void sop_chain__view_join(struct sop_chain_view *v, const struct sop_chain_member_row *row)
{
    SOP_ASSERT(v->member_count < v->member_cap && v->decided_count < v->decided_cap);
    SOP_ASSERT(sop_chain__find_member(v, row->id) == NULL);
    v->members[v->member_count++] = *row;
    v->decided[v->decided_count++] = (struct sop_chain_decided_row){.member = row->id};
}

static void remove_decided(struct sop_chain_view *v, size_t i)
{
    v->decided_count--;
    memmove(v->decided + i, v->decided + i + 1, (v->decided_count - i) * sizeof *v->decided);
}

/* Rows of expelled members live SOP_DECIDED_SLOTS slots, at most the newest
 * SOP_DECIDED_ROWS_MAX of them. Rows are in the order of joining. */
static void prune_decided(struct sop_chain_view *v)
{
    size_t gone = 0;
    for (size_t i = 0; i < v->decided_count; i++) {
        gone += v->decided[i].gone_slot != 0;
    }
    for (size_t i = 0; i < v->decided_count;) {
        uint64_t slot = v->decided[i].gone_slot;
        bool old = slot != 0 && v->lsn.slot > slot && v->lsn.slot - slot > SOP_DECIDED_SLOTS;
        if (slot != 0 && (old || gone > SOP_DECIDED_ROWS_MAX)) {
            remove_decided(v, i);
            gone--;
        } else {
            i++;
        }
    }
}

void sop_chain__view_gone(struct sop_chain_view *v, uint64_t id, struct sop_lsn at,
                          bool expelled)
{
    struct sop_chain_member_row *row = sop_chain__find_member(v, id);
    SOP_ASSERT(row != NULL && v->gone_count < v->gone_cap);
    struct sop_chain_gone_row gone = {.id = id, .gone = at};
    memcpy(gone.nonce, row->nonce, sizeof gone.nonce);
    v->gone[v->gone_count++] = gone;
    size_t i = (size_t)(row - v->members);
    v->member_count--;
    memmove(row, row + 1, (v->member_count - i) * sizeof *row);
    struct sop_chain_decided_row *decided = sop_chain__find_decided(v, id);
    SOP_ASSERT(decided != NULL);
    if (expelled) {
        decided->gone_slot = at.slot;
    } else {
        remove_decided(v, (size_t)(decided - v->decided));
    }
    prune_decided(v);
}

void sop_chain__view_check(const struct sop_chain_view *v)
{
    SOP_ASSERT(v->dir_here_first <= v->dir_first);
    SOP_ASSERT(v->lsn.slot + 1 >= v->dir_first);
    SOP_ASSERT(!v->open || v->tenure.slot == v->lsn.slot);
    SOP_ASSERT(v->open || v->lsn.record == 0 || v->lsn.slot > 0);
    for (size_t i = 0; i < v->member_count; i++) {
        SOP_ASSERT(v->members[i].id <= v->lsn.slot);
    }
}

/* --- stored form --- */

static void write_rows(struct sop_writer *w, const struct sop_chain_view *v)
{
    sop_write_varint(w, v->member_count);
    for (size_t i = 0; i < v->member_count; i++) {
        const struct sop_chain_member_row *m = &v->members[i];
        sop_write_u64(w, m->id);
        sop_write_bytes(w, sop_slice(m->nonce, sizeof m->nonce));
        sop_write_u32(w, m->flags);
        sop_write_u32(w, m->ten_file);
        sop_write_u32(w, m->ten_block);
    }
    sop_write_varint(w, v->gone_count);
    for (size_t i = 0; i < v->gone_count; i++) {
        sop_write_u64(w, v->gone[i].id);
        sop_write_bytes(w, sop_slice(v->gone[i].nonce, sizeof v->gone[i].nonce));
        sop_write_lsn(w, v->gone[i].gone);
    }
    sop_write_varint(w, v->decided_count);
    for (size_t i = 0; i < v->decided_count; i++) {
        const struct sop_chain_decided_row *d = &v->decided[i];
        sop_write_u64(w, d->member);
        sop_write_u64(w, d->batch);
        sop_write_bytes(w, sop_slice(d->nonce, sizeof d->nonce));
        sop_write_u64(w, d->gone_slot);
        sop_write_blob(w, sop_slice(d->mask, d->mask_bytes));
    }
}

int sop_chain__view_encode(const struct sop_chain_view *v, struct sop_buf *out,
                           struct sop_err *err)
{
    sop_chain__view_check(v);
    size_t begin = out->len;
    struct sop_writer w = sop_writer(out);
    sop_write_u32(&w, STATE_MAGIC);
    sop_write_u32(&w, 0);
    sop_write_u16(&w, STATE_VERSION);
    sop_write_u16(&w, v->open ? STATE_OPEN : 0);
    sop_write_u32(&w, 0);
    sop_write_lsn(&w, v->lsn);
    sop_write_u64(&w, v->hash);
    sop_write_blob(&w, sop_slice_str(v->dir));
    sop_write_u64(&w, v->dir_first);
    sop_write_blob(&w, sop_slice_str(v->dir_here));
    sop_write_u64(&w, v->dir_here_first);
    if (v->open) {
        const struct sop_chain_tenure *t = &v->tenure;
        sop_write_u64(&w, t->slot);
        sop_write_u64(&w, t->member);
        sop_write_bytes(&w, sop_slice(t->nonce, sizeof t->nonce));
        sop_write_u32(&w, t->ten_file);
        sop_write_u32(&w, t->ten_block);
        sop_write_u32(&w, t->next.file);
        sop_write_u64(&w, t->next.offset);
    }
    write_rows(&w, v);
    int rc = sop_writer_end(&w, err);
    if (rc != 0) {
        out->len = begin;
        return rc;
    }
    uint8_t *p = out->data + begin;
    sop_put_u32(p + 4, sop_crc32c(p + 8, out->len - begin - 8, 0));
    return 0;
}

static void read_bytes(struct sop_reader *r, uint8_t *to, size_t len)
{
    struct sop_slice s = sop_read_bytes(r, len);
    if (!r->bad) {
        memcpy(to, s.data, len);
    }
}

static void read_dir(struct sop_reader *r, char to[SOP_CHAIN_DIR_BYTES])
{
    struct sop_slice s = sop_read_blob(r);
    if (r->bad || s.len == 0 || s.len >= SOP_CHAIN_DIR_BYTES ||
        memchr(s.data, '/', s.len) != NULL || memchr(s.data, 0, s.len) != NULL) {
        r->bad = true;
        return;
    }
    memcpy(to, s.data, s.len);
    to[s.len] = '\0';
}

/* A count that the rest of the input can hold; zero and `bad` otherwise. */
static size_t read_count(struct sop_reader *r, size_t row_bytes)
{
    uint64_t count = sop_read_varint(r);
    if (count > ROWS_MAX || count * row_bytes > sop_reader_left(r)) {
        r->bad = true;
    }
    return r->bad ? 0 : (size_t)count;
}

static int read_members(struct sop_reader *r, struct sop_chain_view *v, struct sop_err *err)
{
    size_t count = read_count(r, 36);
    for (size_t i = 0; i < count; i++) {
        struct sop_chain_member_row m = {.id = sop_read_u64(r)};
        read_bytes(r, m.nonce, sizeof m.nonce);
        m.flags = sop_read_u32(r);
        m.ten_file = sop_read_u32(r);
        m.ten_block = sop_read_u32(r);
        r->bad = r->bad || m.id == 0 || m.id > v->lsn.slot || m.ten_block >= SOP_TEN_BLOCKS ||
                 (i > 0 && v->members[i - 1].id >= m.id);
        int rc = reserve(&v->members, &v->member_cap, v->member_count, sizeof m, err);
        if (rc != 0) {
            return rc;
        }
        v->members[v->member_count++] = m;
    }
    return 0;
}

static int read_gone(struct sop_reader *r, struct sop_chain_view *v, struct sop_err *err)
{
    size_t count = read_count(r, 40);
    for (size_t i = 0; i < count; i++) {
        struct sop_chain_gone_row g = {.id = sop_read_u64(r)};
        read_bytes(r, g.nonce, sizeof g.nonce);
        g.gone = sop_read_lsn(r);
        r->bad = r->bad || sop_lsn_cmp(g.gone, v->lsn) > 0;
        int rc = reserve(&v->gone, &v->gone_cap, v->gone_count, sizeof g, err);
        if (rc != 0) {
            return rc;
        }
        v->gone[v->gone_count++] = g;
    }
    return 0;
}

static int read_decided(struct sop_reader *r, struct sop_chain_view *v, struct sop_err *err)
{
    size_t count = read_count(r, 41);
    for (size_t i = 0; i < count; i++) {
        struct sop_chain_decided_row d = {.member = sop_read_u64(r), .batch = sop_read_u64(r)};
        read_bytes(r, d.nonce, sizeof d.nonce);
        d.gone_slot = sop_read_u64(r);
        struct sop_slice mask = sop_read_blob(r);
        if (r->bad || mask.len > sizeof d.mask ||
            (i > 0 && v->decided[i - 1].member >= d.member)) {
            r->bad = true;
            return 0;
        }
        d.mask_bytes = (uint32_t)mask.len;
        if (mask.len > 0) {
            memcpy(d.mask, mask.data, mask.len);
        }
        int rc = reserve(&v->decided, &v->decided_cap, v->decided_count, sizeof d, err);
        if (rc != 0) {
            return rc;
        }
        v->decided[v->decided_count++] = d;
    }
    return 0;
}

/* A joined member has a row; a row without a member was expelled. */
static bool rows_fit(struct sop_chain_view *v)
{
    size_t joined = 0;
    for (size_t i = 0; i < v->decided_count; i++) {
        const struct sop_chain_decided_row *d = &v->decided[i];
        bool member = sop_chain__find_member(v, d->member) != NULL;
        if (member != (d->gone_slot == 0) || d->gone_slot > v->lsn.slot) {
            return false;
        }
        joined += member;
    }
    return joined == v->member_count;
}

static void read_tenure(struct sop_reader *r, struct sop_chain_view *v)
{
    struct sop_chain_tenure *t = &v->tenure;
    t->slot = sop_read_u64(r);
    t->member = sop_read_u64(r);
    read_bytes(r, t->nonce, sizeof t->nonce);
    t->ten_file = sop_read_u32(r);
    t->ten_block = sop_read_u32(r);
    t->next.file = sop_read_u32(r);
    t->next.offset = sop_read_u64(r);
    if (t->slot != v->lsn.slot || t->slot == 0 || t->member == 0 ||
        t->ten_block >= SOP_TEN_BLOCKS || t->next.file == 0 ||
        t->next.offset % SOP_JOURNAL_UNIT != 0) {
        r->bad = true;
    }
}

static int decode(struct sop_chain_view *v, struct sop_reader *r, uint16_t flags,
                  struct sop_err *err)
{
    v->lsn = sop_read_lsn(r);
    v->hash = sop_read_u64(r);
    read_dir(r, v->dir);
    v->dir_first = sop_read_u64(r);
    read_dir(r, v->dir_here);
    v->dir_here_first = sop_read_u64(r);
    if (v->dir_first == 0 || v->dir_first > v->lsn.slot + 1 || v->lsn.slot == UINT64_MAX ||
        v->dir_here_first > v->dir_first || (flags & ~STATE_OPEN) != 0) {
        r->bad = true;
    }
    v->open = (flags & STATE_OPEN) != 0;
    if (v->open) {
        read_tenure(r, v);
    }
    int rc = r->bad ? 0 : read_members(r, v, err);
    if (rc == 0 && !r->bad) {
        rc = read_gone(r, v, err);
    }
    if (rc == 0 && !r->bad) {
        rc = read_decided(r, v, err);
    }
    if (rc == 0 && (r->bad || sop_reader_left(r) != 0 || !rows_fit(v))) {
        rc = SOP_ERR(err, DATA_LOSS, "a chain state that contradicts itself");
    }
    return rc;
}

int sop_chain__view_decode(struct sop_chain_view *v, struct sop_slice from, struct sop_err *err)
{
    if (from.len < 16 || sop_get_u32(from.data) != STATE_MAGIC ||
        sop_get_u32(from.data + 4) != sop_crc32c(from.data + 8, from.len - 8, 0)) {
        return SOP_ERR(err, DATA_LOSS, "not a whole chain state");
    }
    if (sop_get_u16(from.data + 8) != STATE_VERSION) {
        return SOP_ERR(err, VERSION, "chain state of format version %u",
                       (unsigned)sop_get_u16(from.data + 8));
    }
    uint16_t flags = sop_get_u16(from.data + 10);
    if (sop_get_u32(from.data + 12) != 0) {
        return SOP_ERR(err, DATA_LOSS, "a chain state that contradicts itself");
    }
    struct sop_reader r = sop_reader(sop_slice(from.data + 16, from.len - 16));
    memset(v, 0, sizeof *v);
    int rc = decode(v, &r, flags, err);
    if (rc != 0) {
        sop_chain__view_fini(v);
    }
    return rc;
}
