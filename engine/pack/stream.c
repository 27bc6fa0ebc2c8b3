/* A value written as it comes. Its file holds that one record: payload first, then the tail
 * (piece CRCs, key), the header last, when the length is known. Until then the file begins with
 * a hole and holds no record for anybody. */
#include "engine/pack/pack_int.h"

#include "engine/base/codec.h"

#define STREAM_MAGIC 0x5354524Du

struct sop_pack_stream {
    uint32_t magic;
    bool failed; /* a write failed: only abort is left */
    struct sop_packs *packs;
    struct sop_pack_file *file;
    struct sop_pack_header header;
    uint64_t bytes;       /* payload in the file; a multiple of a piece */
    struct sop_buf piece; /* payload that is not, less than a piece; has room for one */
    struct sop_buf table; /* CRC of each piece in the file */
    struct sop_buf key;
};

static void stream_free(struct sop_pack_stream *s)
{
    sop_buf_fini(&s->piece);
    sop_buf_fini(&s->table);
    sop_buf_fini(&s->key);
    s->magic = 0;
    sop_free(s);
}

static int stream_file(struct sop_pack_stream *s, struct sop_err *err)
{
    struct sop_packs *p = s->packs;
    sop_mutex_lock(&p->lock);
    int rc = p->stopped ? SOP_ERR(err, STOPPED, "packs stopped after a failed sync")
                        : sop_pack__file_new(p, &s->file, err);
    sop_mutex_unlock(&p->lock);
    if (rc == 0) {
        s->header.place.file = s->file->number;
    }
    return rc;
}

int sop_packs_stream(struct sop_packs *p, const struct sop_pack_owner *owner,
                     struct sop_pack_stream **out, struct sop_err *err)
{
    SOP_ASSERT(owner->type == SOP_PACK_VALUE);
    *out = NULL;
    if (p->member == 0) {
        return SOP_ERR(err, READ_ONLY, "stream to packs opened for reading");
    }
    struct sop_pack_stream *s = sop_calloc(1, sizeof *s);
    if (s == NULL) {
        return SOP_ERR(err, NOMEM, "pack stream");
    }
    s->magic = STREAM_MAGIC;
    s->packs = p;
    int rc = sop_pack__header_of(&s->header, p, owner, err);
    if (rc != 0) {
        goto undo_new;
    }
    rc = sop_buf_append(&s->key, owner->key.data, owner->key.len, err);
    if (rc != 0) {
        goto undo_new;
    }
    rc = sop_buf_reserve(&s->piece, SOP_PACK_PIECE_BYTES, err);
    if (rc != 0) {
        goto undo_new;
    }
    rc = stream_file(s, err);
    if (rc != 0) {
        goto undo_new;
    }
    *out = s;
    return 0;

undo_new:
    stream_free(s);
    return rc;
}

/* Writes payload at the end of what is in the file, and notes the CRC of each piece. Whole
 * pieces, or the last bytes of all. */
static int put_pieces(struct sop_pack_stream *s, struct sop_slice bytes, struct sop_err *err)
{
    SOP_ASSERT(s->bytes % SOP_PACK_PIECE_BYTES == 0);
    for (size_t at = 0; at < bytes.len; at += SOP_PACK_PIECE_BYTES) {
        size_t left = bytes.len - at;
        size_t len = left < SOP_PACK_PIECE_BYTES ? left : SOP_PACK_PIECE_BYTES;
        uint8_t crc[4];
        sop_put_u32(crc, sop_crc32c(bytes.data + at, len, 0));
        int rc = sop_buf_append(&s->table, crc, sizeof crc, err);
        if (rc != 0) {
            return rc;
        }
    }
    int rc = sop_file_write(s->file->file, SOP_PACK_HEADER_BYTES + s->bytes, bytes.data,
                            bytes.len, err);
    if (rc == 0) {
        s->bytes += bytes.len;
    }
    return rc;
}

/* Completes the piece that was begun, writes what is whole, keeps the rest. */
static int write_bytes(struct sop_pack_stream *s, struct sop_slice bytes, struct sop_err *err)
{
    int rc = 0;
    if (s->piece.len != 0) {
        size_t room = SOP_PACK_PIECE_BYTES - s->piece.len;
        size_t len = bytes.len < room ? bytes.len : room;
        rc = sop_buf_append(&s->piece, bytes.data, len, err);
        bytes = sop_slice(bytes.data + len, bytes.len - len);
        if (rc == 0 && s->piece.len == SOP_PACK_PIECE_BYTES) {
            rc = put_pieces(s, sop_buf_slice(&s->piece), err);
            sop_buf_clear(&s->piece);
        }
    }
    size_t whole = bytes.len - bytes.len % SOP_PACK_PIECE_BYTES;
    if (rc == 0 && whole != 0) {
        rc = put_pieces(s, sop_slice(bytes.data, whole), err);
    }
    if (rc == 0 && bytes.len > whole) {
        rc = sop_buf_append(&s->piece, bytes.data + whole, bytes.len - whole, err);
    }
    return rc;
}

int sop_pack_stream_write(struct sop_pack_stream *s, struct sop_slice bytes,
                          struct sop_err *err)
{
    SOP_ASSERT(s->magic == STREAM_MAGIC);
    if (s->failed) {
        return SOP_ERR(err, INVALID, "this stream failed earlier; abort it");
    }
    if (bytes.len == 0) {
        return 0;
    }
    int rc = 0;
    if (bytes.len > SOP_VALUE_BYTES_MAX - s->bytes - s->piece.len) {
        rc = SOP_ERR(err, TOO_LARGE, "streamed value of more than %llu bytes",
                     SOP_VALUE_BYTES_MAX);
    } else {
        rc = write_bytes(s, bytes, err);
    }
    s->failed = rc != 0;
    return sop_err_wrap(err, rc, "stream to packs/%" PRIx64 "/%" PRIu32, s->packs->member,
                        s->file->number);
}

/* The tail: CRCs, key, padding. */
static int write_tail(struct sop_pack_stream *s, struct sop_err *err)
{
    static const uint8_t zeros[SOP_PACK_ALIGN];
    struct sop_pack_header *h = &s->header;
    h->place.bytes = (uint32_t)s->bytes;
    if (sop_pack__pieces(s->bytes) == 0) {
        h->payload_crc = s->table.len == 0 ? 0 : sop_get_u32(s->table.data);
        sop_buf_clear(&s->table);
    } else {
        SOP_ASSERT(s->table.len == sop_pack__table_bytes(s->bytes));
        h->payload_crc = sop_crc32c(s->table.data, s->table.len, 0);
    }
    uint64_t end = SOP_PACK_HEADER_BYTES + s->bytes + s->table.len + s->key.len;
    size_t pad = (size_t)(sop_pack__record_bytes(h) - end);
    int rc = sop_buf_append(&s->table, s->key.data, s->key.len, err);
    if (rc == 0) {
        rc = sop_buf_append(&s->table, zeros, pad, err);
    }
    if (rc == 0 && s->table.len != 0) {
        rc = sop_file_write(s->file->file, SOP_PACK_HEADER_BYTES + s->bytes, s->table.data,
                            s->table.len, err);
    }
    return rc;
}

static int stream_end(struct sop_pack_stream *s, struct sop_err *err)
{
    if (s->failed) {
        return SOP_ERR(err, INVALID, "this stream failed earlier");
    }
    int rc = 0;
    if (s->piece.len != 0) {
        rc = put_pieces(s, sop_buf_slice(&s->piece), err);
    }
    if (rc == 0) {
        rc = write_tail(s, err);
    }
    if (rc != 0) {
        return rc;
    }
    uint8_t header[SOP_PACK_HEADER_BYTES];
    sop_pack__header_encode(&s->header, header);
    return sop_file_write(s->file->file, 0, header, sizeof header, err);
}

int sop_pack_stream_finish(struct sop_pack_stream **stream, struct sop_place *place,
                           struct sop_err *err)
{
    struct sop_pack_stream *s = *stream;
    struct sop_packs *p = s->packs;
    SOP_ASSERT(s->magic == STREAM_MAGIC);
    sop_mutex_lock(&p->lock);
    bool stopped = p->stopped;
    sop_mutex_unlock(&p->lock);

    int rc = stopped ? SOP_ERR(err, STOPPED, "packs stopped after a failed sync")
                     : stream_end(s, err);
    if (rc != 0) {
        rc = sop_err_wrap(err, rc, "finish stream packs/%" PRIx64 "/%" PRIu32, p->member,
                          s->file->number);
        sop_pack_stream_abort(stream);
        return rc;
    }
    atomic_fetch_add_explicit(&p->appended_bytes, sop_pack__record_bytes(&s->header),
                              memory_order_relaxed);
    sop_pack__file_release(p, s->file, s->file->turn, true);
    *place = s->header.place;
    *stream = NULL;
    stream_free(s);
    return 0;
}

void sop_pack_stream_abort(struct sop_pack_stream **stream)
{
    struct sop_pack_stream *s = *stream;
    *stream = NULL;
    if (s == NULL) {
        return;
    }
    SOP_ASSERT(s->magic == STREAM_MAGIC);
    struct sop_packs *p = s->packs;
    char path[SOP_PACK_PATH_BYTES];
    sop_pack__file_path(p->member, s->file->number, path);
    sop_pack__file_release(p, s->file, s->file->turn, false);
    /* If this fails the file stays, without a record and named by nobody: garbage that the
     * sweep finds by its name. */
    int rc = sop_volume_unlink(p->volume, path, NULL);
    (void)rc;
    stream_free(s);
}
