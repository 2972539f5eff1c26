/* key_tree: many keys from one secret, of which each can be destroyed by itself.
 *
 * A block of KEY_TREE_LEAVES keys is a binary tree: each node is 32 bytes, its children are made
 * from it by SHA-256, the leaves are the keys (Goldreich, Goldwasser, Micali 1986). Kept is the
 * root alone. To destroy a key, the root is replaced by the siblings along the path to that
 * key's leaf: every other key of the block can still be made, that one can not. So what is stored
 * grows with what was erased, not with what was sealed. Pure: no I/O, no state. */
#ifndef PENSTOCK_STORE_KEY_TREE_H
#define PENSTOCK_STORE_KEY_TREE_H

#include <stdbool.h>
#include <stdint.h>

#define KEY_TREE_LEVELS 12u /* below the root */
#define KEY_TREE_LEAVES (1u << KEY_TREE_LEVELS)
#define KEY_NODE_BYTES 32

struct key_node {
    uint32_t level; /* 0: the root; KEY_TREE_LEVELS: a leaf */
    uint32_t index; /* within its level, from the left */
    uint8_t bytes[KEY_NODE_BYTES];
};

/* The ancestor of a leaf at a level: its index. */
static inline uint32_t key_tree_index(uint32_t leaf, uint32_t level) {
    return leaf >> (KEY_TREE_LEVELS - level);
}

/* The leaf's key, from the node above it (or the leaf itself). False when memory is out. */
bool key_tree_leaf(const struct key_node *above, uint32_t leaf, uint8_t key[KEY_NODE_BYTES]);

/* The nodes that stay when a leaf below `above` is destroyed: out[0 … count), at most one per
 * level. False when memory is out. */
bool key_tree_punch(const struct key_node *above, uint32_t leaf,
                    struct key_node out[KEY_TREE_LEVELS], uint32_t *count);

/* Walks the leaves of a block from left to right, with two nodes to make for each. */
struct key_walk {
    uint32_t next; /* leaf; KEY_TREE_LEAVES: at the end */
    uint8_t path[KEY_TREE_LEVELS + 1][KEY_NODE_BYTES]; /* of leaf next - 1; [0] is the root */
};
void key_walk_begin(struct key_walk *walk, const uint8_t root[KEY_NODE_BYTES]);
/* The key of leaf walk->next. False at the end, or when memory is out (walk unchanged). */
bool key_walk_next(struct key_walk *walk, uint8_t key[KEY_NODE_BYTES]);

#endif
