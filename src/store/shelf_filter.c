/* shelf_filter: see shelf_filter.h. */
#include "store/shelf_filter.h"

#include <string.h>

#include "base/mem.h"

#define FILTER_FOLDS 64u /* a large filter may be halved six times */

static uint64_t blocks_for(uint64_t keys, uint32_t bits) {
    return (keys * bits + 511) / 512 + 1;
}

bool filter_sized(struct filter *filter, uint64_t blocks) {
    size_t bytes = blocks * FILTER_BLOCK_BYTES;
    filter->memory = mem_zalloc(bytes + 63);
    if (!filter->memory)
        return false;
    filter->words = (uint64_t *)(((uintptr_t)filter->memory + 63) & ~(uintptr_t)63);
    filter->blocks = blocks;
    return true;
}

bool filter_make(struct filter *filter, uint64_t keys, uint32_t bits) {
    uint64_t blocks = blocks_for(keys, bits);
    if (blocks > 8 * FILTER_FOLDS)
        blocks = (blocks + FILTER_FOLDS - 1) / FILTER_FOLDS * FILTER_FOLDS;
    return filter_sized(filter, blocks);
}

void filter_free(struct filter *filter) {
    mem_free(filter->memory);
    *filter = (struct filter){0};
}

/* Two neighbouring blocks become one: just what half as many blocks would have held, since
 * floor(hi * 2n / 2^32) / 2 is floor(hi * n / 2^32). */
void filter_fit(struct filter *filter, uint64_t keys, uint32_t bits) {
    uint64_t want = blocks_for(keys, bits), before = filter->blocks;
    while (filter->blocks % 2 == 0 && filter->blocks / 2 >= want) {
        filter->blocks /= 2;
        for (uint64_t b = 0; b < filter->blocks; b++)
            for (uint32_t i = 0; i < FILTER_WORDS; i++)
                filter->words[b * FILTER_WORDS + i] =
                    filter->words[2 * b * FILTER_WORDS + i] |
                    filter->words[(2 * b + 1) * FILTER_WORDS + i];
    }
    if (filter->blocks == before)
        return;
    struct filter small;
    if (!filter_sized(&small, filter->blocks)) /* it stays in the larger memory */
        return;
    memcpy(small.words, filter->words, filter->blocks * FILTER_BLOCK_BYTES);
    filter_free(filter);
    *filter = small;
}
