/* hash: 64 and 128 bit hashes of bytes (XXH3, keyed by a seed), for tables, fingerprints of
 * bodies and keys. Not for secrets. */
#ifndef PENSTOCK_BASE_HASH_H
#define PENSTOCK_BASE_HASH_H

#include <stdint.h>

#include "base/str.h"

struct hash128 {
    uint64_t lo, hi;
};
uint64_t hash64(struct str data, uint64_t seed);
struct hash128 hash128(struct str data, uint64_t seed);
static inline bool hash128_eq(struct hash128 a, struct hash128 b) {
    return a.lo == b.lo && a.hi == b.hi;
}

#endif
