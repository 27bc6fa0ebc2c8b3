/* Layouts of the registry: extents, their sectors and handles, and manifests.
 *
 * An extent file is a header block of 4096 bytes and the sectors that exist, in order of their
 * number, 4096 bytes each; a sector without any handle is not there. A manifest is one file: a
 * header and typed sections. All of it is written once and carries CRC32C over all bytes. */
#ifndef SOP_REGISTRY_FORMAT_H
#define SOP_REGISTRY_FORMAT_H

#include "engine/base/limits.h"
#include "engine/registry/registry.h"

/* Handle, 64 bytes; a free page id is all zero:
 *
 *   offset  bytes  meaning
 *        0     16  LSN of the page version (slot, record)
 *       16      4  items, of an inner page children
 *       20      1  level, 0 = leaf
 *       21     19  place of the base, zero = none
 *       40     19  place of the run, zero = none
 *       59      5  zero */
enum {
    SOP_HANDLE_AT_LSN = 0,
    SOP_HANDLE_AT_ITEMS = 16,
    SOP_HANDLE_AT_LEVEL = 20,
    SOP_HANDLE_AT_BASE = 21,
    SOP_HANDLE_AT_RUN = 40,
    SOP_HANDLE_AT_ZERO = 59,
    SOP_HANDLE_BYTES = 64,
};
_Static_assert(SOP_HANDLE_AT_BASE + SOP_PLACE_BYTES == SOP_HANDLE_AT_RUN, "base, then run");
_Static_assert(SOP_HANDLE_AT_RUN + SOP_PLACE_BYTES == SOP_HANDLE_AT_ZERO, "run, then zeros");

/* Sector, 4096 bytes: the stamp, then 63 handles:
 *
 *   offset  bytes  meaning
 *        0      4  magic "SOPH"
 *        4      4  CRC32C of bytes 8..4095
 *        8      8  extent
 *       16     16  LSN of the checkpoint that wrote it
 *       32      8  first 8 bytes of the database id
 *       40      8  member that wrote it
 *       48      4  number of the sector in its extent
 *       52      4  handles in use, at least 1
 *       56      8  zero
 *       64   4032  63 handles */
enum {
    SOP_SECTOR_AT_MAGIC = 0,
    SOP_SECTOR_AT_CRC = 4,
    SOP_SECTOR_AT_EXTENT = 8,
    SOP_SECTOR_AT_LSN = 16,
    SOP_SECTOR_AT_DATABASE = 32,
    SOP_SECTOR_AT_MEMBER = 40,
    SOP_SECTOR_AT_NUMBER = 48,
    SOP_SECTOR_AT_COUNT = 52,
    SOP_SECTOR_AT_ZERO = 56,
    SOP_SECTOR_AT_HANDLES = 64,
    SOP_SECTOR_BYTES = 4096,
};
_Static_assert(SOP_SECTOR_AT_HANDLES + SOP_SECTOR_HANDLES * SOP_HANDLE_BYTES ==
                   SOP_SECTOR_BYTES,
               "63 handles fill a sector");
_Static_assert(SOP_EXTENT_HANDLES ==
                   sizeof(((struct sop_extent *)0)->handles) / sizeof(struct sop_handle),
               "an extent in memory has a handle for each stored one");

/* Header of an extent file, 4096 bytes:
 *
 *   offset  bytes  meaning
 *        0      8  magic "SOPEXTNT"
 *        8      4  CRC32C of bytes 12..4095
 *       12      4  format version, 1
 *       16     16  database id
 *       32      8  extent
 *       40     16  LSN of the checkpoint that wrote it
 *       56      8  member that wrote it
 *       64     32  bitmap: bit i of byte i/8 set = sector i is in the file
 *       96   4000  zero */
enum {
    SOP_EXTENT_AT_MAGIC = 0,
    SOP_EXTENT_AT_CRC = 8,
    SOP_EXTENT_AT_VERSION = 12,
    SOP_EXTENT_AT_DATABASE = 16,
    SOP_EXTENT_AT_EXTENT = 32,
    SOP_EXTENT_AT_LSN = 40,
    SOP_EXTENT_AT_MEMBER = 56,
    SOP_EXTENT_AT_BITMAP = 64,
    SOP_EXTENT_AT_ZERO = 96,
    SOP_EXTENT_HEADER_BYTES = 4096,
};
_Static_assert(SOP_EXTENT_AT_ZERO - SOP_EXTENT_AT_BITMAP == SOP_EXTENT_SECTORS / 8,
               "one bit for each sector");
#define SOP_EXTENT_FILE_BYTES_MAX                                                              \
    (SOP_EXTENT_HEADER_BYTES + SOP_EXTENT_SECTORS * (size_t)SOP_SECTOR_BYTES)

#define SOP_SECTOR_MAGIC       0x48504F53u           /* "SOPH" */
#define SOP_EXTENT_MAGIC       0x544E545845504F53ull /* "SOPEXTNT" */
#define SOP_MANIFEST_MAGIC     0x54534E414D504F53ull /* "SOPMANST" */
#define SOP_REGISTRY_VERSION   1                     /* of extents and manifests */
#define SOP_MANIFEST_BYTES_MAX ((size_t)1 << 30)     /* a longer file is not read */

/* Manifest header, 48 bytes, then the sections, each padded with zeros to a multiple of 8:
 *
 *   offset  bytes  meaning
 *        0      8  magic "SOPMANST"
 *        8      4  CRC32C of bytes 12..end of file
 *       12      4  format version, 1
 *       16      8  bytes of the file
 *       24     16  database id
 *       40      4  number of sections
 *       44      4  zero
 *
 * Section header, 16 bytes: type (4), rows (4), bytes of the body without padding (8).
 * Each section of the table below occurs exactly once, in this order. */
enum {
    SOP_MANIFEST_AT_MAGIC = 0,
    SOP_MANIFEST_AT_CRC = 8,
    SOP_MANIFEST_AT_VERSION = 12,
    SOP_MANIFEST_AT_BYTES = 16,
    SOP_MANIFEST_AT_DATABASE = 24,
    SOP_MANIFEST_AT_SECTIONS = 40,
    SOP_MANIFEST_AT_ZERO = 44,
    SOP_MANIFEST_HEADER_BYTES = 48,
    SOP_SECTION_HEADER_BYTES = 16,
};

enum sop_section {
    SOP_SECTION_STATE = 1,   /* 1 row */
    SOP_SECTION_EXTENTS = 2, /* extent (8), LSN (16), member (8) */
    SOP_SECTION_STORES = 3,  /* store (8), root (8), items (8), dropping 0/1 (1), zero (7) */
    SOP_SECTION_FILES = 4,   /* member (8), file (4), zero (4), live bytes (8) */
    SOP_SECTION_FREE = 5,    /* store (8), page (8) */
    SOP_SECTION_CHAIN = 6,   /* 1 row, opaque: sop_chain_state() */
    SOP_SECTIONS = 6,
};

/* The row of STATE, 160 bytes:
 *
 *   offset  bytes  meaning
 *        0     16  point: LSN
 *       16      8  point: rolling hash
 *       24      8  point: first slot of its chain directory
 *       32      8  point: journal member, 0 = not in an open slot
 *       40      4  point: journal file
 *       44      4  zero
 *       48      8  point: journal offset
 *       56      8  member that wrote the manifest
 *       64      8  next page id
 *       72      8  next store id
 *       80      8  live bytes of values
 *       88     64  point: name of the chain directory, zero-padded, at least one zero
 *      152      8  zero */
enum {
    SOP_STATE_BYTES = 160,
    SOP_ROW_EXTENT_BYTES = 32,
    SOP_ROW_STORE_BYTES = 32,
    SOP_ROW_FILE_BYTES = 24,
    SOP_ROW_FREE_BYTES = 16,
};
_Static_assert(88 + SOP_CHAIN_DIR_BYTES + 8 == SOP_STATE_BYTES, "the name, then zeros");
_Static_assert(sizeof(struct sop_extent_ref) <= SOP_ROW_EXTENT_BYTES, "decoding takes no more");
_Static_assert(sizeof(struct sop_manifest_store) <= SOP_ROW_STORE_BYTES, "memory than the");
_Static_assert(sizeof(struct sop_manifest_file) <= SOP_ROW_FILE_BYTES, "rows that are really");
_Static_assert(sizeof(struct sop_manifest_free) <= SOP_ROW_FREE_BYTES, "there in the file");

void sop_registry__handle_encode(const struct sop_handle *h, uint8_t to[SOP_HANDLE_BYTES]);
/* False when the bytes are no handle. */
bool sop_registry__handle_decode(const uint8_t from[SOP_HANDLE_BYTES], struct sop_handle *h);

/* Appends a whole extent file to *to (replaced). NOMEM. */
int sop_registry__extent_encode(const uint8_t database_id[16], const struct sop_extent *x,
                                const struct sop_extent_ref *ref, struct sop_buf *to,
                                struct sop_err *err) SOP_MUST_USE;
/* Fills *x and, with what the header says, *ref. The text of a failure names the offset.
 * DATA_LOSS, VERSION. */
int sop_registry__extent_decode(const uint8_t database_id[16], struct sop_slice bytes,
                                struct sop_extent_ref *ref, struct sop_extent *x,
                                struct sop_err *err) SOP_MUST_USE;

#endif
