/* map: open addressing from a 64-bit hash to a 32-bit index; the caller keeps the entries in
 * an array of its own and says whether an entry equals a key. 8 bytes a slot, at most 7/8
 * full. Iteration is over the caller's array, never in hash order. */
#ifndef PENSTOCK_BASE_MAP_H
#define PENSTOCK_BASE_MAP_H

#include <stdbool.h>
#include <stdint.h>

struct map {
    uint64_t *slots; /* upper 32 bits: tag of the hash, lower 32: index + 1; 0 empty */
    uint32_t mask;   /* slots - 1 */
    uint32_t count, used; /* live entries; live and deleted */
};

typedef bool map_eq_fn(const void *ctx, uint32_t index, const void *key);
typedef uint64_t map_hash_fn(const void *ctx, uint32_t index);

#define MAP_NONE UINT32_MAX
void map_init(struct map *map);
void map_free(struct map *map);
/* The index under key, or MAP_NONE. */
uint32_t map_find(const struct map *map, uint64_t hash, map_eq_fn *eq, const void *ctx,
                  const void *key);
/* Adds index under hash; the key must not be there yet. hash_of answers the hash of an entry
 * when the table grows. False when memory is out (nothing changed). */
bool map_add(struct map *map, uint64_t hash, uint32_t index, map_hash_fn *hash_of,
             const void *ctx);
/* Takes out the entry with this hash and index; false where it was not. */
bool map_remove(struct map *map, uint64_t hash, uint32_t index);

#endif
