/* Records of the catalog store: name -> what a store is.
 *
 * u64 id, u64 root, u8 format (1), u8 unique, v slot length, u8 value class, then blobs: key
 * schema, comparer, description, blob key, custom; then v page, value and info cache seconds.
 */
#include "engine/base/codec.h"
#include "engine/base/limits.h"
#include "engine/btree/keycode.h"
#include "engine/db/db_int.h"

#define CATALOG_FORMAT 1

int sop_catalog_encode(const struct sop_catalog_record *r, struct sop_buf *to,
                       struct sop_err *err)
{
    struct sop_buf schema = {0};
    int rc = sop_key_schema_encode(&r->key, &schema, err);
    if (rc == 0) {
        struct sop_writer w = sop_writer(to);
        sop_write_u64(&w, r->id);
        sop_write_u64(&w, r->root);
        sop_write_u8(&w, CATALOG_FORMAT);
        sop_write_u8(&w, r->unique ? 1 : 0);
        sop_write_varint(&w, r->slot_length);
        sop_write_u8(&w, r->values);
        sop_write_blob(&w, sop_buf_slice(&schema));
        sop_write_blob(&w, r->comparer);
        sop_write_blob(&w, r->description);
        sop_write_blob(&w, r->blob_key);
        sop_write_blob(&w, r->custom);
        sop_write_varint(&w, r->cache_page_seconds);
        sop_write_varint(&w, r->cache_value_seconds);
        sop_write_varint(&w, r->cache_info_seconds);
        rc = sop_writer_end(&w, err);
    }
    sop_buf_fini(&schema);
    return rc;
}

int sop_catalog_decode(struct sop_slice from, struct sop_catalog_record *r, struct sop_err *err)
{
    memset(r, 0, sizeof *r);
    struct sop_reader in = sop_reader(from);
    r->id = sop_read_u64(&in);
    r->root = sop_read_u64(&in);
    uint8_t format = sop_read_u8(&in);
    if (!in.bad && format != CATALOG_FORMAT) {
        return SOP_ERR(err, VERSION, "a catalog record has format %u", format);
    }
    uint8_t unique = sop_read_u8(&in);
    uint64_t slot_length = sop_read_varint(&in);
    r->values = sop_read_u8(&in);
    struct sop_slice schema = sop_read_blob(&in);
    r->comparer = sop_read_blob(&in);
    r->description = sop_read_blob(&in);
    r->blob_key = sop_read_blob(&in);
    r->custom = sop_read_blob(&in);
    uint64_t seconds[3];
    for (size_t i = 0; i < SOP_ARRAY_LEN(seconds); i++) {
        seconds[i] = sop_read_varint(&in);
        in.bad = in.bad || seconds[i] > UINT32_MAX;
    }
    if (in.bad || in.at != in.end || unique > 1 || r->values > SOP_VALUES_BIG ||
        slot_length < SOP_SLOT_LENGTH_MIN || slot_length > SOP_SLOT_LENGTH_MAX) {
        return SOP_ERR(err, DATA_LOSS, "a catalog record is damaged");
    }
    r->unique = unique != 0;
    r->slot_length = (uint32_t)slot_length;
    r->cache_page_seconds = (uint32_t)seconds[0];
    r->cache_value_seconds = (uint32_t)seconds[1];
    r->cache_info_seconds = (uint32_t)seconds[2];
    return sop_key_schema_decode(schema, &r->key, err);
}

/* Of a store whose comparer was not given nothing is ever compared: better no process than a
 * wrong order. */
static int no_order(void *arg, struct sop_slice a, struct sop_slice b)
{
    (void)arg;
    (void)a;
    (void)b;
    SOP_UNREACHABLE("keys of a store without its comparer are compared");
}

int sop_catalog_describe(void *arg, struct sop_slice info, struct sop_tree *tree,
                         struct sop_err *err)
{
    struct sop_db *db = arg;
    struct sop_catalog_record r;
    int rc = sop_catalog_decode(info, &r, err);
    if (rc != 0) {
        return rc;
    }
    if (r.id != tree->id || r.root != tree->root) {
        return SOP_ERR(err, DATA_LOSS,
                       "the catalog says store %" PRIu64 " where store %" PRIu64 " is", r.id,
                       tree->id);
    }
    tree->unique = r.unique;
    tree->slot_length = r.slot_length;
    tree->values = r.values;
    tree->order.id_bytes = r.unique ? 0 : SOP_ITEM_ID_BYTES;
    if (r.comparer.len == 0) {
        return 0;
    }
    for (size_t i = 0; i < db->comparers_count; i++) {
        if (sop_slice_eq(sop_slice_str(db->comparers[i].name), r.comparer)) {
            tree->order.compare = db->comparers[i].compare;
            tree->order.arg = db->comparers[i].arg;
            return 0;
        }
    }
    if (db->options.read_only) {
        tree->needs_comparer = true;
        tree->order.compare = no_order;
        return 0;
    }
    return SOP_ERR(err, UNSUPPORTED,
                   "a store is ordered by the comparer \"%.*s\"; register it in "
                   "sop_db_options.comparers, or open the database read-only",
                   (int)r.comparer.len, (const char *)r.comparer.data);
}
