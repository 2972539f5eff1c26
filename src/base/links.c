/* links: see links.h. */
#include "base/links.h"

#include "base/err.h"
#include "base/hash.h"
#include "base/mem.h"

struct view {
    const struct links_ops *ops;
    const void *items;
};

static bool key_eq(const void *ctx, uint32_t index, const void *key) {
    const struct view *view = ctx;
    return str_eq(view->ops->key(view->items, index), *(const struct str *)key);
}

static uint64_t key_hash(const void *ctx, uint32_t index) {
    const struct view *view = ctx;
    return hash64(view->ops->key(view->items, index), 0);
}

uint32_t links_first(const struct links_ops *ops, const struct map *firsts, const void *items,
                     struct str key) {
    struct view view = {ops, items};
    return map_find(firsts, hash64(key, 0), key_eq, &view, &key);
}

static bool first_add(const struct links_ops *ops, struct map *firsts, const void *items, uint32_t index) {
    struct view view = {ops, items};
    return map_add(firsts, key_hash(&view, index), index, key_hash, &view);
}

static void first_remove(const struct links_ops *ops, struct map *firsts, const void *items, uint32_t index) {
    must(map_remove(firsts, hash64(ops->key(items, index), 0), index));
}

bool links_add(const struct links_ops *ops, struct map *firsts, void *items, uint32_t index) {
    uint64_t place = ops->place(items, index);
    uint32_t at = links_first(ops, firsts, items, ops->key(items, index));
    if (at == MAP_NONE || ops->place(items, at) > place) {
        if (!first_add(ops, firsts, items, index))
            return false;
        if (at != MAP_NONE)
            first_remove(ops, firsts, items, at);
        *ops->next(items, index) = at == MAP_NONE ? 0 : at + 1;
        return true;
    }
    uint32_t next;
    while ((next = *ops->next(items, at)) != 0 && ops->place(items, next - 1) < place)
        at = next - 1;
    *ops->next(items, index) = next;
    *ops->next(items, at) = index + 1;
    return true;
}

bool links_remove(const struct links_ops *ops, struct map *firsts, void *items, uint32_t index) {
    uint32_t at = links_first(ops, firsts, items, ops->key(items, index));
    must(at != MAP_NONE);
    uint32_t next = *ops->next(items, index);
    if (at == index) {
        if (next != 0 && !first_add(ops, firsts, items, next - 1))
            return false;
        first_remove(ops, firsts, items, index);
        return true;
    }
    while (*ops->next(items, at) != index + 1)
        at = *ops->next(items, at) - 1;
    *ops->next(items, at) = next;
    return true;
}
