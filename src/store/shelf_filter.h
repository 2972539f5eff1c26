/* shelf_filter: a Bloom filter in blocks of one cache line: which keys a run can not hold.
 *
 * A key's block is chosen by its place among all keys (key.hi), so that a run, which is sorted,
 * fills its filter from one end to the other; eight bits in it, one per word, by key.lo. */
#ifndef PENSTOCK_STORE_SHELF_FILTER_H
#define PENSTOCK_STORE_SHELF_FILTER_H

#include "base/hash.h"

#define FILTER_WORDS 8u /* of a block */
#define FILTER_BLOCK_BYTES (FILTER_WORDS * sizeof(uint64_t))

struct filter { /* at most 2^32 blocks */
    uint64_t *words; /* blocks * FILTER_WORDS; on a cache line's border */
    uint64_t blocks;
    void *memory; /* what words lie in */
};

/* For about `keys` keys at `bits` each. False: no memory. */
bool filter_make(struct filter *filter, uint64_t keys, uint32_t bits);
/* Of just so many blocks, all zero. */
bool filter_sized(struct filter *filter, uint64_t blocks);
void filter_free(struct filter *filter);
/* Smaller, where there came fewer keys than it was made for. */
void filter_fit(struct filter *filter, uint64_t keys, uint32_t bits);

static inline uint64_t *filter_block(const struct filter *filter, struct hash128 key) {
    uint64_t block = (key.hi >> 32) * filter->blocks >> 32;
    return filter->words + block * FILTER_WORDS;
}
/* One bit in each word. Multiplying spreads a key's bits over all that are used. */
static inline uint64_t filter_spread(struct hash128 key) {
    return (key.lo ^ key.hi << 21) * UINT64_C(0x9e3779b97f4a7c15);
}
static inline void filter_add(struct filter *filter, struct hash128 key) {
    uint64_t *block = filter_block(filter, key), bits = filter_spread(key);
    for (uint32_t i = 0; i < FILTER_WORDS; i++)
        block[i] |= UINT64_C(1) << (bits >> (16 + 6 * i) & 63);
}
/* False is certain. */
static inline bool filter_test(const struct filter *filter, struct hash128 key) {
    const uint64_t *block = filter_block(filter, key);
    uint64_t bits = filter_spread(key), all = 1;
    for (uint32_t i = 0; i < FILTER_WORDS; i++)
        all &= block[i] >> (bits >> (16 + 6 * i) & 63);
    return all & 1;
}

#endif
