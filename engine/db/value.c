/* Values in pieces: written to a pack as they come, read from any offset. */
#include "engine/base/limits.h"
#include "engine/db/db_int.h"

#define WRITER_MAGIC 0x52545257u
#define READER_MAGIC 0x52445257u

struct sop_value_writer {
    uint32_t magic;
    struct sop_value_writer *next;
    struct sop_store *store;
    enum sop_put_mode mode;
    struct sop_pack_stream *stream;
    struct sop_buf key; /* the user's */
    struct sop_buf ride;
    bool has_ride;
    uint64_t bytes;
};

struct sop_value_reader {
    uint32_t magic;
    struct sop_value_reader *next;
    struct sop_store *store;
    struct sop_place place; /* none: the bytes are here */
    struct sop_buf bytes;
    uint64_t size;
};

/* ---- writing -------------------------------------------------------------------------------
 */

void sop_writer__free(struct sop_value_writer *w)
{
    struct sop_value_writer **at = &w->store->writers;
    while (*at != w) {
        at = &(*at)->next;
    }
    *at = w->next;
    if (w->stream != NULL) {
        sop_pack_stream_abort(&w->stream);
    }
    sop_buf_fini(&w->key);
    sop_buf_fini(&w->ride);
    w->magic = 0;
    sop_free(w);
}

static int check_writer(struct sop_value_writer *w, struct sop_err *err)
{
    if (w == NULL || w->magic != WRITER_MAGIC) {
        return SOP_ERR(err, CLOSED, "the value writer is closed");
    }
    return sop_store__writable(w->store, err);
}

int sop_value_create(struct sop_value_writer **out, struct sop_store *s, enum sop_put_mode mode,
                     const struct sop_entry *entry, struct sop_err *err)
{
    struct sop_slice full;
    *out = NULL;
    int rc = sop_store__writable(s, err);
    if (rc == 0 && mode > SOP_PUT_UPDATE) {
        rc = SOP_ERR(err, INVALID, "put mode %d does not exist", (int)mode);
    }
    if (rc == 0 && entry->ride.len > SOP_RIDE_BYTES_MAX) {
        rc = SOP_ERR(err, TOO_LARGE, "the ride-on bytes have %zu bytes; the most is %u",
                     entry->ride.len, SOP_RIDE_BYTES_MAX);
    }
    if (rc == 0) {
        rc = sop_store__key(s, entry->key, NULL, &full, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_value_writer *w = sop_calloc(1, sizeof *w);
    if (w == NULL) {
        return SOP_ERR(err, NOMEM, "write a value");
    }
    w->magic = WRITER_MAGIC;
    w->store = s;
    w->mode = mode;
    w->has_ride = entry->ride.data != NULL;
    w->next = s->writers;
    s->writers = w;
    struct sop_pack_owner owner = {.type = SOP_PACK_VALUE, .store = s->tree->id, .key = full};
    rc = sop_buf_append(&w->key, entry->key.data, entry->key.len, err);
    if (rc == 0) {
        rc = sop_buf_append(&w->ride, entry->ride.data, entry->ride.len, err);
    }
    if (rc == 0) {
        rc = sop_packs_stream(s->txn->engine->packs, &owner, &w->stream, err);
    }
    if (rc != 0) {
        sop_writer__free(w);
        return rc;
    }
    *out = w;
    return 0;
}

int sop_value_write(struct sop_value_writer *w, struct sop_slice bytes, struct sop_err *err)
{
    int rc = check_writer(w, err);
    if (rc == 0 && w->stream == NULL) {
        rc = SOP_ERR(err, CLOSED, "an earlier write failed; abort and begin again");
    }
    if (rc == 0 && bytes.len > SOP_VALUE_BYTES_MAX - w->bytes) {
        rc = SOP_ERR(err, TOO_LARGE, "the value has more than %llu bytes",
                     (unsigned long long)SOP_VALUE_BYTES_MAX);
    }
    if (rc != 0) {
        return rc;
    }
    rc = sop_engine_room_for_value(w->store->txn->engine, bytes.len, err);
    if (rc == 0) {
        rc = sop_pack_stream_write(w->stream, bytes, err);
    }
    if (rc == 0) {
        w->bytes += bytes.len;
    } else {
        if (rc == SOP_ERR_NOSPACE) {
            sop_engine_short_of_space(w->store->txn->engine);
        }
        sop_pack_stream_abort(&w->stream);
    }
    return rc;
}

/* The item was looked at: may it be put, and how? */
static int put_seen(struct sop_value_writer *w, struct sop_slice full,
                    const struct sop_seen *seen, const struct sop_place *place,
                    struct sop_err *err)
{
    struct sop_store *s = w->store;
    bool add_of_present = w->mode == SOP_PUT_ADD && seen->there;
    if (add_of_present || (w->mode == SOP_PUT_UPDATE && !seen->there)) {
        int rc = sop_txn_read_point(s->txn, s->access, full, err);
        if (rc != 0) {
            return rc;
        }
        return add_of_present ? SOP_ERR(err, EXISTS, "an item with this key is there already")
                              : SOP_ERR(err, NOT_FOUND, "there is no item with this key");
    }
    struct sop_slice ride =
        w->mode == SOP_PUT_UPDATE && !w->has_ride ? seen->ride : sop_buf_slice(&w->ride);
    if (sop_place_none(place)) {
        return sop_store__put(s, full, seen, ride, sop_slice(NULL, 0), SOP_VALUE_INLINE, err);
    }
    uint8_t encoded[SOP_PLACE_BYTES];
    sop_place_encode(place, encoded);
    return sop_store__put(s, full, seen, ride, sop_slice(encoded, sizeof encoded),
                          SOP_VALUE_PLACE, err);
}

/* Puts the item that names the streamed value, as add, upsert or update would. An empty value
 * has no place: it is put inline, as everywhere. */
static int put_place(struct sop_value_writer *w, const struct sop_place *place,
                     struct sop_err *err)
{
    struct sop_store *s = w->store;
    struct sop_slice full;
    struct sop_seen seen;
    struct sop_buf first = {0};
    struct sop_item_id id;
    bool duplicate = !s->card->facts.unique && w->mode == SOP_PUT_ADD;
    int rc = 0;
    if (!s->card->facts.unique && !duplicate) {
        rc = sop_store__first(s, sop_buf_slice(&w->key), &first, err);
        duplicate = rc == SOP_ERR_NOT_FOUND && w->mode == SOP_PUT_UPSERT;
        rc = duplicate ? 0 : rc;
    }
    full = sop_buf_slice(&first);
    if (rc == 0 && (s->card->facts.unique || duplicate)) {
        if (duplicate) {
            id = sop_txn_item_id(s->txn);
        }
        rc = sop_store__key(s, sop_buf_slice(&w->key), duplicate ? &id : NULL, &full, err);
    }
    if (rc == 0) {
        rc = sop_store__see(s, full, &seen, err);
    }
    if (rc == 0) {
        rc = put_seen(w, full, &seen, place, err);
        sop_store__seen(s, &seen);
    }
    sop_buf_fini(&first);
    return rc;
}

int sop_value_finish(struct sop_value_writer **writer, struct sop_err *err)
{
    struct sop_value_writer *w = writer == NULL ? NULL : *writer;
    int rc = check_writer(w, err);
    if (rc != 0) {
        return rc;
    }
    *writer = NULL;
    struct sop_engine *e = w->store->txn->engine;
    struct sop_place place;
    memset(&place, 0, sizeof place);
    if (w->stream == NULL) {
        rc = SOP_ERR(err, CLOSED, "an earlier write failed; begin again");
    } else if (w->bytes > 0) {
        atomic_fetch_add(&e->value_writers, 1);
        rc = sop_pack_stream_finish(&w->stream, &place, err);
        if (rc == SOP_ERR_NOSPACE) {
            sop_engine_short_of_space(e);
        }
        if (rc == 0) {
            rc = sop_txn_wrote_value(w->store->txn, &place, err);
        }
        atomic_fetch_sub(&e->value_writers, 1);
    }
    if (rc == 0) {
        rc = put_place(w, &place, err);
    }
    sop_writer__free(w);
    return rc;
}

void sop_value_abort(struct sop_value_writer **writer)
{
    if (writer != NULL && *writer != NULL) {
        SOP_ASSERT((*writer)->magic == WRITER_MAGIC);
        if (!sop_txn__forked((*writer)->store->txn)) {
            sop_writer__free(*writer);
        }
        *writer = NULL;
    }
}

/* ---- reading -------------------------------------------------------------------------------
 */

void sop_reader__free(struct sop_value_reader *r)
{
    struct sop_value_reader **at = &r->store->readers;
    while (*at != r) {
        at = &(*at)->next;
    }
    *at = r->next;
    sop_buf_fini(&r->bytes);
    r->magic = 0;
    sop_free(r);
}

/* The raw value of the cursor's item: kind and bytes, copied. */
static int raw_value(struct sop_cursor *c, uint8_t *kind, struct sop_buf *value,
                     struct sop_err *err)
{
    struct sop_store *s = c->store;
    struct sop_slice full;
    struct sop_look look;
    int rc = sop_cursor__here(c, &full, err);
    if (rc == 0) {
        rc = sop_txn_read_point(s->txn, s->access, full, err);
    }
    if (rc == 0) {
        rc = sop_txn_look(s->txn, s->access, full, &look, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (look.cell == NULL && !look.found) {
        rc = SOP_ERR(err, NOT_FOUND, "the cursor's item was removed");
    } else {
        *kind = look.cell != NULL ? look.cell->kind : (uint8_t)look.item.kind;
        struct sop_slice bytes = look.cell != NULL ? look.cell->value : look.item.value;
        rc = sop_buf_append(value, bytes.data, bytes.len, err);
    }
    sop_txn_look_end(s->txn, &look);
    if (rc == 0 && *kind == SOP_VALUE_TOMBSTONE) {
        rc = SOP_ERR(err, NOT_FOUND, "the cursor's item was removed");
    }
    return rc;
}

int sop_value_open(struct sop_value_reader **out, struct sop_cursor *c, struct sop_err *err)
{
    *out = NULL;
    if (c == NULL || c->magic != SOP_CURSOR_MAGIC) {
        return SOP_ERR(err, CLOSED, "the cursor is closed");
    }
    int rc = sop_store__check(c->store, err);
    if (rc == 0 && c->stand == SOP_NOWHERE) {
        rc = SOP_ERR(err, NOT_FOUND, "the cursor stands on no item");
    }
    if (rc != 0) {
        return rc;
    }
    struct sop_value_reader *r = sop_calloc(1, sizeof *r);
    if (r == NULL) {
        return SOP_ERR(err, NOMEM, "read a value");
    }
    r->magic = READER_MAGIC;
    r->store = c->store;
    r->next = c->store->readers;
    c->store->readers = r;
    uint8_t kind = 0;
    rc = raw_value(c, &kind, &r->bytes, err);
    if (rc == 0) {
        rc = sop_store__value_of(kind, sop_buf_slice(&r->bytes), &r->size, &r->place, err);
    }
    if (rc != 0) {
        sop_reader__free(r);
        return rc;
    }
    *out = r;
    return 0;
}

uint64_t sop_value_size(const struct sop_value_reader *r)
{
    return r->size;
}

int sop_value_read(struct sop_value_reader *r, uint64_t offset, void *to, size_t len,
                   size_t *got, struct sop_err *err)
{
    *got = 0;
    if (r == NULL || r->magic != READER_MAGIC) {
        return SOP_ERR(err, CLOSED, "the value reader is closed");
    }
    int rc = sop_store__check(r->store, err);
    if (rc != 0 || offset >= r->size) {
        return rc;
    }
    size_t n = r->size - offset < len ? (size_t)(r->size - offset) : len;
    if (sop_place_none(&r->place)) {
        memcpy(to, r->bytes.data + offset, n);
    } else {
        rc = sop_packs_read_range(r->store->txn->engine->reader, &r->place, offset, to, n, err);
    }
    *got = rc == 0 ? n : 0;
    return rc;
}

void sop_value_close(struct sop_value_reader **reader)
{
    if (reader != NULL && *reader != NULL) {
        SOP_ASSERT((*reader)->magic == READER_MAGIC);
        if (!sop_txn__forked((*reader)->store->txn)) {
            sop_reader__free(*reader);
        }
        *reader = NULL;
    }
}
