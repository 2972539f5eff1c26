/* map: see map.h. Linear probing; a deleted slot keeps a tombstone (index part all ones)
 * until the next growth. */
#include "base/map.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define TOMBSTONE UINT32_MAX
#define SLOTS_FIRST 16u

static uint64_t slot_of(uint64_t hash, uint32_t index) {
    return (hash & 0xffffffff00000000u) | (uint64_t)(index + 1);
}
static uint32_t slot_start(uint64_t hash, uint32_t mask) {
    return (uint32_t)(hash * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask;
}

void map_init(struct map *map) { *map = (struct map){0}; }

void map_free(struct map *map) {
    mem_free(map->slots);
    map_init(map);
}

uint32_t map_find(const struct map *map, uint64_t hash, map_eq_fn *eq, const void *ctx,
                  const void *key) {
    if (!map->slots)
        return MAP_NONE;
    uint64_t tag = hash >> 32;
    for (uint32_t i = slot_start(hash, map->mask);; i = (i + 1) & map->mask) {
        uint64_t slot = map->slots[i];
        if (slot == 0)
            return MAP_NONE;
        uint32_t index = (uint32_t)slot;
        if (index != TOMBSTONE && slot >> 32 == tag && eq(ctx, index - 1, key))
            return index - 1;
    }
}

static void slot_put(uint64_t *slots, uint32_t mask, uint64_t hash, uint32_t index) {
    uint32_t i = slot_start(hash, mask);
    while (slots[i])
        i = (i + 1) & mask;
    slots[i] = slot_of(hash, index);
}

static bool map_rehash(struct map *map, map_hash_fn *hash_of, const void *ctx) {
    uint32_t slots = SLOTS_FIRST;
    /* At most half full after growing. */
    while (slots / 2 < map->count + 1) {
        if (slots > UINT32_MAX / 2)
            return false;
        slots *= 2;
    }
    uint64_t *fresh = mem_zalloc((size_t)slots * sizeof *fresh);
    if (!fresh)
        return false;
    if (map->slots) {
        for (uint64_t i = 0; i <= map->mask; i++) {
            uint32_t index = (uint32_t)map->slots[i];
            if (index != 0 && index != TOMBSTONE)
                slot_put(fresh, slots - 1, hash_of(ctx, index - 1), index - 1);
        }
    }
    mem_free(map->slots);
    map->slots = fresh;
    map->mask = slots - 1;
    map->used = map->count;
    return true;
}

bool map_add(struct map *map, uint64_t hash, uint32_t index, map_hash_fn *hash_of,
             const void *ctx) {
    must(index < TOMBSTONE - 1);
    if (!map->slots || (uint64_t)(map->used + 1) * 8 > ((uint64_t)map->mask + 1) * 7) {
        if (!map_rehash(map, hash_of, ctx))
            return false;
    }
    slot_put(map->slots, map->mask, hash, index);
    map->count++;
    map->used++;
    return true;
}

bool map_remove(struct map *map, uint64_t hash, uint32_t index) {
    if (!map->slots)
        return false;
    uint64_t wanted = slot_of(hash, index);
    for (uint32_t i = slot_start(hash, map->mask);; i = (i + 1) & map->mask) {
        if (map->slots[i] == 0)
            return false;
        if (map->slots[i] == wanted) {
            map->slots[i] |= TOMBSTONE;
            map->count--;
            return true;
        }
    }
}
