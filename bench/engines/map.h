/* An ordered map in memory: a B+-tree of 64-slot nodes that are searched as arrays of keys of
 * 128 bits. Keys have at most 16 bytes (all of the comparison's have), zeros at the end do not
 * count. Nothing is given back before the whole map is. One writer at a time and no readers
 * beside it: the caller sees to that. */
#ifndef SOP_BENCH_MAP_H
#define SOP_BENCH_MAP_H

#include "bench/engine.h"

struct bench_map;
int bench_map_new(struct bench_map **map);
void bench_map_free(struct bench_map *map);
/* Puts the item in, or gives it its new value. */
int bench_map_put(struct bench_map *map, const struct bench_item *item);
bool bench_map_remove(struct bench_map *map, struct sop_slice key);
/* Several look-ups side by side, so that their misses of the processor's cache overlap. */
void bench_map_get(const struct bench_map *map, const struct bench_item *keys, size_t count,
                   struct bench_seen *seen);
void bench_map_scan(const struct bench_map *map, struct sop_slice from, size_t limit,
                    struct bench_seen *seen);

#endif
