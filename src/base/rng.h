/* rng: randomness as a seam. rng_system is the operating system's (for ids, keys);
 * rng_seeded is reproducible (simulator, jitter in tests). */
#ifndef PENSTOCK_BASE_RNG_H
#define PENSTOCK_BASE_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/str.h"

struct rng {
    void (*fill)(struct rng *rng, void *out, size_t len);
};
extern struct rng rng_system;

struct rng_seeded {
    struct rng rng;
    uint64_t state[4]; /* xoshiro256** */
};
void rng_seeded_init(struct rng_seeded *rng, uint64_t seed);

static inline void rng_fill(struct rng *rng, void *out, size_t len) { rng->fill(rng, out, len); }
uint64_t rng_u64(struct rng *rng);
/* Even over [0, bound); bound 0 answers 0. */
uint64_t rng_below(struct rng *rng, uint64_t bound);

/* An identifier: prefix, then 26 characters of Crockford base 32 lower case: 48 bits of
 * milliseconds, 80 random bits (the ULID layout), so that ids made later sort later. */
#define ID_BYTES 16
struct id128 {
    uint8_t bytes[ID_BYTES];
};
struct id128 id_make(struct rng *rng, int64_t now_us);
/* "ord_01j…" in the arena. */
struct str id_text(struct arena *arena, const char *prefix, struct id128 id);
#define ID_TEXT_LEN 26
void id_write(char out[ID_TEXT_LEN], struct id128 id);
/* Reads what id_text wrote; false where prefix or form differ. */
bool id_parse(struct str text, const char *prefix, struct id128 *out);

/* The id as a key, evenly spread: its chance in hi, its time (and 16 bits of chance) in lo. */
static inline struct hash128 id_key(struct id128 id) {
    struct hash128 key = {0, 0};
    for (int i = 0; i < 8; i++) {
        key.lo = key.lo << 8 | id.bytes[i];
        key.hi = key.hi << 8 | id.bytes[8 + i];
    }
    return key;
}
static inline struct id128 id_of_key(struct hash128 key) {
    struct id128 id;
    for (int i = 0; i < 8; i++) {
        id.bytes[7 - i] = (uint8_t)(key.lo >> (8 * i));
        id.bytes[15 - i] = (uint8_t)(key.hi >> (8 * i));
    }
    return id;
}
static inline int64_t id_key_ms(struct hash128 key) { return (int64_t)(key.lo >> 16); }

#endif
