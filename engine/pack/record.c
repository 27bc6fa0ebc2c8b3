/* A record on its way to a file: CRCs and layout are made before room is reserved for it, so
 * that the time between reserving and writing is short.
 *
 * A small record is copied into one block and written at once. A large payload is written from
 * where it is, then its tail (piece CRCs, key), then the header: until that last write, a scan
 * does not take the record for one. */
#include "engine/pack/pack_int.h"

#include "engine/base/codec.h"

#define COPY_BYTES_MAX 65536u /* above, copying costs more than two more writes */

int sop_pack__header_of(struct sop_pack_header *h, const struct sop_packs *p,
                        const struct sop_pack_owner *owner, struct sop_err *err)
{
    SOP_ASSERT(owner->type == SOP_PACK_SHEET || owner->type == SOP_PACK_VALUE);
    *h = (struct sop_pack_header){
        .type = (uint8_t)owner->type,
        .place.member = p->member,
        .database = p->database,
        .store = owner->store,
    };
    if (owner->type == SOP_PACK_SHEET) {
        h->page = owner->page;
        return 0;
    }
    if (owner->key.len > SOP_PACK_KEY_BYTES_MAX) {
        return SOP_ERR(err, TOO_LARGE, "key of %zu bytes, at most %u", owner->key.len,
                       SOP_PACK_KEY_BYTES_MAX);
    }
    h->key_bytes = (uint32_t)owner->key.len;
    h->key_crc = sop_crc32c(owner->key.data, owner->key.len, 0);
    return 0;
}

/* Fills the table of piece CRCs, if there is one; returns the CRC for the header. */
static uint32_t payload_crc(struct sop_slice payload, uint8_t *table)
{
    uint32_t pieces = sop_pack__pieces(payload.len);
    if (pieces == 0) {
        return sop_crc32c(payload.data, payload.len, 0);
    }
    for (uint32_t i = 0; i < pieces; i++) {
        size_t from = (size_t)i * SOP_PACK_PIECE_BYTES;
        size_t left = payload.len - from;
        size_t len = left < SOP_PACK_PIECE_BYTES ? left : SOP_PACK_PIECE_BYTES;
        sop_put_u32(table + (size_t)i * 4, sop_crc32c(payload.data + from, len, 0));
    }
    return sop_crc32c(table, (size_t)pieces * 4, 0);
}

int sop_pack__record_init(struct sop_pack_record *r, const struct sop_packs *p,
                          const struct sop_pack_owner *owner, struct sop_slice payload,
                          struct sop_err *err)
{
    *r = (struct sop_pack_record){.payload = payload};
    if (payload.len > SOP_VALUE_BYTES_MAX) {
        return SOP_ERR(err, TOO_LARGE, "payload of %zu bytes, at most %llu", payload.len,
                       SOP_VALUE_BYTES_MAX);
    }
    int rc = sop_pack__header_of(&r->header, p, owner, err);
    if (rc != 0) {
        return rc;
    }
    r->header.place.bytes = (uint32_t)payload.len;
    r->bytes = sop_pack__record_bytes(&r->header);
    r->tail_bytes = (size_t)(r->bytes - SOP_PACK_HEADER_BYTES - payload.len);
    r->whole = payload.len <= COPY_BYTES_MAX;

    size_t copied = r->whole ? payload.len : 0;
    r->block = sop_malloc(SOP_PACK_HEADER_BYTES + copied + r->tail_bytes);
    if (r->block == NULL) {
        return SOP_ERR(err, NOMEM, "pack record of %zu bytes", payload.len);
    }
    r->tail = r->block + SOP_PACK_HEADER_BYTES + copied;
    if (copied != 0) {
        memcpy(r->block + SOP_PACK_HEADER_BYTES, payload.data, copied);
    }
    r->header.payload_crc = payload_crc(payload, r->tail);
    size_t table = (size_t)sop_pack__table_bytes(payload.len);
    memset(r->tail + table, 0, r->tail_bytes - table);
    if (r->header.key_bytes != 0) {
        memcpy(r->tail + table, owner->key.data, owner->key.len);
    }
    return 0;
}

void sop_pack__record_fini(struct sop_pack_record *r)
{
    sop_free(r->block);
    r->block = NULL;
}

int sop_pack__record_write(struct sop_pack_record *r, struct sop_file *file,
                           struct sop_err *err)
{
    SOP_ASSERT(r->header.place.file != 0);
    uint64_t at = r->header.place.offset;
    sop_pack__header_encode(&r->header, r->block);
    if (r->whole) {
        return sop_file_write(file, at, r->block, (size_t)r->bytes, err);
    }
    uint64_t payload_at = at + SOP_PACK_HEADER_BYTES;
    int rc = sop_file_write(file, payload_at, r->payload.data, r->payload.len, err);
    if (rc == 0) {
        rc = sop_file_write(file, payload_at + r->payload.len, r->tail, r->tail_bytes, err);
    }
    if (rc == 0) {
        rc = sop_file_write(file, at, r->block, SOP_PACK_HEADER_BYTES, err);
    }
    return rc;
}
