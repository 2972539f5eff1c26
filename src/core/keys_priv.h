/* keys: which idempotency keys and natural keys were used, by which command, for which body.
 * An idempotency key is forgotten after its time; a natural key never. */
#ifndef PENSTOCK_CORE_KEYS_PRIV_H
#define PENSTOCK_CORE_KEYS_PRIV_H

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/map.h"

struct key_entry {
    struct hash128 key;
    uint64_t fingerprint; /* low half of the body's */
    uint64_t first_seq;   /* of the command that used it */
    int64_t time_us;      /* when; KEY_FOREVER for natural keys */
    uint32_t later;       /* next younger idempotency key, index + 1; in a free entry: next free */
};
#define KEY_FOREVER INT64_MAX

struct keys {
    struct key_entry *entries;
    uint32_t count, cap; /* entries ever used; allocated */
    uint32_t free;       /* index + 1 */
    uint32_t oldest, newest; /* of the idempotency keys, index + 1 */
    struct map map;
};

void keys_init(struct keys *keys);
void keys_free(struct keys *keys);
/* NULL where unknown, or where it was used before `since_us`. */
const struct key_entry *keys_find(const struct keys *keys, struct hash128 key, int64_t since_us);
/* Adds a key, replacing an expired one; time_us never runs backwards but for KEY_FOREVER. */
enum err keys_add(struct keys *keys, struct hash128 key, uint64_t fingerprint, uint64_t first_seq,
                  int64_t time_us) WARN_UNUSED;
/* Forgets idempotency keys used before `since_us`. */
void keys_expire(struct keys *keys, int64_t since_us);
/* Sorted text, a line a key. */
void keys_dump(const struct keys *keys, struct buf *out);

/* 32 hex digits in the order hi, lo. */
#define HASH_TEXT_LEN 32
void hash_write(char out[HASH_TEXT_LEN], struct hash128 hash);
bool hash_parse(struct str text, struct hash128 *out);

#endif
