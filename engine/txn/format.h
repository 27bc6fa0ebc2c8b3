/* The payload of a BATCH or DECIDE record: what a batch did, resolved, so that apply reads no
 * page. All integers little-endian or LEB128 varints ("v"); "blob" = v length, bytes.
 *
 *   u8   format (1)
 *   v    transactions; mask: (transactions + 7) / 8 bytes, bit i = transaction i lives
 *   sections until the end: u8 type, u32 bytes, content. An unknown type refuses the record.
 *
 *   1 IDS     v next page id, v next store id (both after the batch)
 *   2 STORES  v count, then { u8 what (1 created, 2 removed, 3 freed), v store, v root,
 *             blob catalog record (created only) }
 *   3 PAGES   v count, then { v page, v store, u8 flags, u8 level, [v source], v items,
 *             v live bytes, blob low, [blob high], v ops, ops }
 *             flags: 1 free (nothing after level), 2 has high fence, 4 source follows
 *             (0 = made from nothing; without the flag the page itself),
 *             op: u8 kind (bits 0-1 value kind, bit 2 ride follows), v transaction, blob key,
 *             [blob ride], blob value (not for tombstones)
 *   4 COUNTS  v count, then { v store, v items after the batch }
 *   5 VALUES  v count, then { v member, v file, zigzag v change of live bytes }
 *
 * A page entry says: the new content is the source's content before the batch, restricted to
 * the source's fences and to [low, high), with ops laid over it. Splits, merges, root growth
 * and shrinking are all of this one form.
 *
 * The payload of a CHECKPOINT record: u64 slot, u64 record, u64 member of the manifest.
 * The payload of a PREPARED record: u8 format (1), v stores, { v store, v keys, blob key... }:
 * the keys that the transaction reserves for writing. */
#ifndef SOP_TXN_FORMAT_H
#define SOP_TXN_FORMAT_H

#define SOP_BATCH_FORMAT 1

enum sop_batch_section {
    SOP_SECTION_IDS = 1,
    SOP_SECTION_STORES = 2,
    SOP_SECTION_PAGES = 3,
    SOP_SECTION_COUNTS = 4,
    SOP_SECTION_VALUES = 5,
};
enum sop_store_event {
    SOP_STORE_CREATED = 1,
    SOP_STORE_REMOVED = 2, /* from the catalog; its pages remain to be freed */
    SOP_STORE_FREED = 3,   /* nothing of it is left */
};
enum { SOP_PAGE_FREE = 1, SOP_PAGE_HAS_HIGH = 2, SOP_PAGE_SOURCE = 4 };
enum { SOP_OP_KIND_MASK = 3, SOP_OP_HAS_RIDE = 4 };
#define SOP_CHECKPOINT_PAYLOAD_BYTES 24

#endif
