/* hash: see hash.h. */
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash64(struct str data, uint64_t seed) {
    return XXH3_64bits_withSeed(data.ptr ? data.ptr : "", data.len, seed);
}

struct hash128 hash128(struct str data, uint64_t seed) {
    XXH128_hash_t h = XXH3_128bits_withSeed(data.ptr ? data.ptr : "", data.len, seed);
    return (struct hash128){.lo = h.low64, .hi = h.high64};
}
