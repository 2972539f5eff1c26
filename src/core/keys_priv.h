/* keys: which idempotency keys and natural keys were used, by which command, for which body.
 * A table each; an idempotency key is forgotten after its time, a natural key never. */
#ifndef PENSTOCK_CORE_KEYS_PRIV_H
#define PENSTOCK_CORE_KEYS_PRIV_H

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "base/map.h"
#include "core/entity.h"

struct key_entry {
    struct hash128 key;
    uint64_t fingerprint; /* low half of the body's */
    uint64_t first_seq;   /* of the command that used it; 0: the entry is free */
    int64_t time_us;      /* when; in a free entry: the next free one, index + 1 */
};

struct keys {
    struct key_entry *entries;
    uint32_t count, cap; /* entries ever used; allocated */
    uint32_t free;       /* index + 1 */
    struct map map;
};
extern const struct entity_kind key_natural_entity, key_idempotent_entity;

void keys_init(struct keys *keys);
void keys_free(struct keys *keys);
/* MAP_NONE where it is not in memory. */
uint32_t keys_find(const struct keys *keys, struct hash128 key);
/* Adds a key, or puts it in the place of an expired one. MAP_NONE: memory is out. */
uint32_t keys_add(struct keys *keys, struct hash128 key, uint64_t fingerprint, uint64_t first_seq,
                  int64_t time_us);
/* A line a key, for those used at `since_us` or later; in no order. */
void keys_dump(const struct keys *keys, const char *kind, int64_t since_us, struct buf *out);

/* 32 hex digits in the order hi, lo. */
#define HASH_TEXT_LEN 32
void hash_write(char out[HASH_TEXT_LEN], struct hash128 hash);
bool hash_parse(struct str text, struct hash128 *out);

#endif
