/* links: entries of the caller's array that share a key, linked in ascending order of a place: which
 * is first, and what comes behind it. A map holds the first of each chain; usually a chain is one
 * entry long. */
#ifndef PENSTOCK_BASE_LINKS_H
#define PENSTOCK_BASE_LINKS_H

#include "base/map.h"
#include "base/str.h"

/* What the entry with an index says of itself; `items` is whatever the caller hands to each call. No
 * two entries of one chain have the same place. */
struct links_ops {
    struct str (*key)(const void *items, uint32_t index);
    uint64_t (*place)(const void *items, uint32_t index);
    uint32_t *(*next)(void *items, uint32_t index); /* index + 1 of the one behind it; 0: none */
};
/* The first entry under the key, or MAP_NONE. `firsts` is the map of the chains' first entries. */
uint32_t links_first(const struct links_ops *ops, const struct map *firsts, const void *items,
                     struct str key);
/* Links the entry where its place says. False when memory is out: nothing has changed. */
bool links_add(const struct links_ops *ops, struct map *firsts, void *items, uint32_t index);
/* Takes out an entry that is linked. False when memory is out: nothing has changed. */
bool links_remove(const struct links_ops *ops, struct map *firsts, void *items, uint32_t index);

#endif
