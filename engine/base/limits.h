/* Every maximum of the engine in one place, with what happens there. */
#ifndef SOP_LIMITS_H
#define SOP_LIMITS_H

#define SOP_BLOCK_BYTES          4096u  /* journal records, flags and tickets align to it */
#define SOP_KEY_BYTES_MAX        65536u /* longer: SOP_ERR_TOO_LARGE */
#define SOP_RIDE_BYTES_MAX       65536u /* ride-on key bytes; longer: SOP_ERR_TOO_LARGE */
#define SOP_VALUE_BYTES_MAX      (1ull << 30) /* longer: SOP_ERR_TOO_LARGE */
#define SOP_STORE_NAME_BYTES_MAX 128u         /* longer: SOP_ERR_TOO_LARGE */
#define SOP_SLOT_LENGTH_MIN      2u           /* even; else SOP_ERR_INVALID */
#define SOP_SLOT_LENGTH_MAX      20000u
#define SOP_SLOT_LENGTH_DEFAULT  2000u
#define SOP_PAGE_BYTES_SOFT      (256u * 1024) /* a page that grows over it is split */
#define SOP_SHEETS_MAX           6   /* base + runs of a page version; more are merged */
#define SOP_INNER_SLOTS_MIN      16  /* least slot length of inner pages: keeps trees low */
#define SOP_LEVELS_MAX           24  /* height of a tree; more is DATA_LOSS */
#define SOP_BATCH_TXNS_MAX       256 /* transactions in a batch; the rest wait */
#define SOP_BATCH_BYTES_SOFT     (1u << 20) /* a batch stops taking more transactions here */
#define SOP_CHAIN_DIR_SLOTS      64 /* slots of one chain directory (docs/ARCHITECTURE.md 8) */
#define SOP_JOURNAL_BYTES_MIN    (1u << 20)   /* first journal file of a member */
#define SOP_JOURNAL_BYTES_LEAST  (64u * 1024) /* the same when the volume is nearly full */
#define SOP_JOURNAL_BYTES_MAX    (64u << 20)  /* files double up to it */
#define SOP_EXTENT_SECTORS       256u
#define SOP_SECTOR_HANDLES       63u
#define SOP_PACK_FILE_BYTES      (64u << 20) /* a pack file is closed when it reaches this */
#define SOP_DECIDED_SLOTS        (1u << 20)  /* decided[] rows of gone members live this long */
#define SOP_DECIDED_ROWS_MAX     4096
#define SOP_CHECKPOINTS_KEPT     2

#endif
