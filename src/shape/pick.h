/* pick: reads a few members out of JSON that the hub itself wrote, without parsing the rest.
 *
 * shape_encode writes members in the table's order, without spaces. Where a text looks like
 * that, the members wanted are read where they stand and the others are passed over, 64 bytes
 * at a time; what follows is not looked at once all of them were found. Where it looks different in any
 * way (another writer, an escape in a member wanted), the pick says so, and the caller parses. */
#ifndef PENSTOCK_SHAPE_PICK_H
#define PENSTOCK_SHAPE_PICK_H

#include "shape/shape.h"

/* At most so many objects in one pick. */
#define SHAPE_PICK_NODES 8

struct shape_pick {
    struct shape_pick_node {
        const struct shape *shape;
        uint64_t wanted;    /* a bit per row */
        uint8_t object[64]; /* of a row of kind OBJECT: its node */
    } nodes[SHAPE_PICK_NODES];
    uint32_t count;
};

/* paths: members by name, of objects within as "order/totals/grand"; ends with NULL. Kinds: ID,
 * CODE, TEXT, MONEY, INTEGER, ENUM, BOOL, and OBJECT on the way to others. A path that the
 * shape does not have is a mistake of ours. */
void shape_pick_make(struct shape_pick *pick, const struct shape *shape,
                     const char *const *paths);

/* The members wanted, and their bits in `has`, into a zeroed struct of the shape in the arena;
 * strings point into json. False where json is not plainly what shape_encode writes, or memory
 * is out: parse it in full. */
bool shape_pick_read(const struct shape_pick *pick, struct str json, struct arena *arena,
                     void **out) WARN_UNUSED;

#endif
