/* rng: see rng.h. xoshiro256** by Blackman and Vigna, seeded through splitmix64. */
#include "base/rng.h"

#include <string.h>
#include <sys/random.h>

#include "base/err.h"

/* Ids are small and many, a system call each would be a tenth of what deciding costs: they are
 * cut from a piece of this thread's. Larger requests (keys, seeds) always go to the system. */
#define POOL_BYTES 256
#define POOLED_MAX 16
static _Thread_local struct {
    char bytes[POOL_BYTES];
    size_t left;
} pool;

static void direct_fill(void *out, size_t len) {
    char *at = out;
    while (len > 0) {
        ssize_t got = getrandom(at, len < 256 ? len : 256, 0);
        must(got > 0);
        at += got;
        len -= (size_t)got;
    }
}

static void system_fill(struct rng *rng, void *out, size_t len) {
    (void)rng;
    if (len > POOLED_MAX) {
        direct_fill(out, len);
        return;
    }
    if (pool.left < len) {
        direct_fill(pool.bytes, sizeof pool.bytes);
        pool.left = sizeof pool.bytes;
    }
    pool.left -= len;
    memcpy(out, pool.bytes + pool.left, len);
    memset(pool.bytes + pool.left, 0, len); /* given out once */
}
struct rng rng_system = {.fill = system_fill};

static uint64_t rotl(uint64_t x, int k) { return x << k | x >> (64 - k); }

static uint64_t seeded_next(struct rng_seeded *rng) {
    uint64_t *s = rng->state;
    uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

static void seeded_fill(struct rng *base, void *out, size_t len) {
    struct rng_seeded *rng = (struct rng_seeded *)base;
    char *at = out;
    while (len > 0) {
        uint64_t value = seeded_next(rng);
        size_t take = len < sizeof value ? len : sizeof value;
        memcpy(at, &value, take);
        at += take;
        len -= take;
    }
}

void rng_seeded_init(struct rng_seeded *rng, uint64_t seed) {
    rng->rng.fill = seeded_fill;
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        rng->state[i] = z ^ (z >> 31);
    }
}

uint64_t rng_u64(struct rng *rng) {
    uint64_t value;
    rng_fill(rng, &value, sizeof value);
    return value;
}

uint64_t rng_below(struct rng *rng, uint64_t bound) {
    if (bound == 0)
        return 0;
    uint64_t least = (0 - bound) % bound; /* below it the low values would be favoured */
    for (;;) {
        uint64_t value = rng_u64(rng);
        if (value >= least)
            return value % bound;
    }
}

static const char crockford[] = "0123456789abcdefghjkmnpqrstvwxyz";

struct id128 id_make(struct rng *rng, int64_t now_us) {
    struct id128 id;
    uint64_t ms = (uint64_t)(now_us / 1000);
    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    rng_fill(rng, id.bytes + 6, ID_BYTES - 6);
    return id;
}

void id_write(char out[ID_TEXT_LEN], struct id128 id) {
    /* 130 bits from 128: two zero bits lead. */
    uint64_t hi = 0, lo = 0;
    for (int i = 0; i < 8; i++) {
        hi = hi << 8 | id.bytes[i];
        lo = lo << 8 | id.bytes[8 + i];
    }
    for (int i = ID_TEXT_LEN - 1; i >= 0; i--) {
        out[i] = crockford[lo & 31];
        lo = lo >> 5 | hi << 59;
        hi >>= 5;
    }
}

struct str id_text(struct arena *arena, const char *prefix, struct id128 id) {
    size_t head = strlen(prefix);
    char *text = arena_bytes(arena, head + ID_TEXT_LEN + 1);
    if (!text)
        return STR_NONE;
    memcpy(text, prefix, head);
    id_write(text + head, id);
    text[head + ID_TEXT_LEN] = '\0';
    return str_of(text, head + ID_TEXT_LEN);
}

bool id_parse(struct str text, const char *prefix, struct id128 *out) {
    struct str head = str_c(prefix);
    if (!str_starts(text, head) || text.len != head.len + ID_TEXT_LEN)
        return false;
    uint64_t hi = 0, lo = 0;
    for (size_t i = 0; i < ID_TEXT_LEN; i++) {
        const char *at = memchr(crockford, text.ptr[head.len + i], 32);
        if (!at || (i == 0 && at - crockford > 7))
            return false;
        hi = hi << 5 | lo >> 59;
        lo = lo << 5 | (uint64_t)(at - crockford);
    }
    for (int i = 0; i < 8; i++) {
        out->bytes[i] = (uint8_t)(hi >> (56 - 8 * i));
        out->bytes[8 + i] = (uint8_t)(lo >> (56 - 8 * i));
    }
    return true;
}
