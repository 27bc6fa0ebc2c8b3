/* Large blocks of the process, in huge pages.
 *
 * Most of the memory of a database are sheets of up to some hundred KiB, that live for long and
 * end in no order. From the C library each is a mapping of its own, or a hole in a heap that
 * never shrinks: a page fault for every 4 KiB, a third more memory than is in use. Here they
 * lie side by side in chunks of 2 MiB, which the system backs with one page each if it can.
 *
 * sop_malloc() and its kin use it for what is neither small nor huge; nobody else needs to. Any
 * thread; a fork() beside it is fine. */
#ifndef SOP_HEAP_H
#define SOP_HEAP_H

#include <stdbool.h>
#include <stddef.h>

#define SOP_HEAP_BYTES_MIN ((size_t)16 << 10) /* smaller ones are the C library's */
#define SOP_HEAP_BYTES_MAX ((size_t)1 << 20)  /* and so are larger ones */

/* A block of `bytes`, aligned to `align` (a power of two, at most 4096). NULL: none from here,
 * ask the C library. */
void *sop_heap_take(size_t bytes, size_t align);
/* Is it a block from here, or inside of one? */
bool sop_heap_has(const void *block);
/* Bytes that the block has, at least those asked for. */
size_t sop_heap_bytes(const void *block);
/* Ends a block. Chunks without blocks go back to the system, but for a few. */
void sop_heap_give(void *block);

/* What it holds now; for tests and statistics. */
struct sop_heap_stats {
    size_t chunk_bytes; /* of all chunks that the system may back with memory */
    size_t block_bytes; /* of all blocks, their rounding included */
};
void sop_heap_stats(struct sop_heap_stats *stats);

#endif
