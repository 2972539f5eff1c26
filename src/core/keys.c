/* keys: see keys_priv.h. Entries are reused through a free list; idempotency keys form a
 * queue from oldest to newest. */
#include "core/keys_priv.h"

#include <stdlib.h>

#include "base/mem.h"

void keys_init(struct keys *keys) { *keys = (struct keys){0}; }

void keys_free(struct keys *keys) {
    mem_free(keys->entries);
    map_free(&keys->map);
    keys_init(keys);
}

static bool key_eq(const void *ctx, uint32_t index, const void *key) {
    const struct keys *keys = ctx;
    return hash128_eq(keys->entries[index].key, *(const struct hash128 *)key);
}
static uint64_t key_hash(const void *ctx, uint32_t index) {
    return ((const struct keys *)ctx)->entries[index].key.hi;
}

static uint32_t keys_index(const struct keys *keys, struct hash128 key) {
    return map_find(&keys->map, key.hi, key_eq, keys, &key);
}

const struct key_entry *keys_find(const struct keys *keys, struct hash128 key, int64_t since_us) {
    uint32_t index = keys_index(keys, key);
    if (index == MAP_NONE || keys->entries[index].time_us < since_us)
        return NULL;
    return &keys->entries[index];
}

static bool keys_room(struct keys *keys) {
    if (keys->free || keys->count < keys->cap)
        return true;
    if (keys->cap >= UINT32_MAX / 2)
        return false;
    uint32_t cap = keys->cap ? keys->cap * 2 : 1024;
    struct key_entry *entries = mem_resize(keys->entries, (size_t)cap * sizeof *entries);
    if (!entries)
        return false;
    keys->entries = entries;
    keys->cap = cap;
    return true;
}

enum err keys_add(struct keys *keys, struct hash128 key, uint64_t fingerprint, uint64_t first_seq,
                  int64_t time_us) {
    uint32_t index = keys_index(keys, key);
    if (index != MAP_NONE) /* expired, not yet forgotten: forget it and what is older */
        keys_expire(keys, keys->entries[index].time_us + 1);
    if (!keys_room(keys))
        return ERR_NOMEM;
    index = keys->free ? keys->free - 1 : keys->count;
    if (!map_add(&keys->map, key.hi, index, key_hash, keys))
        return ERR_NOMEM;
    struct key_entry *entry = &keys->entries[index];
    if (keys->free)
        keys->free = entry->later;
    else
        keys->count++;
    *entry = (struct key_entry){key, fingerprint, first_seq, time_us, 0};
    if (time_us == KEY_FOREVER)
        return OK;
    if (keys->newest)
        keys->entries[keys->newest - 1].later = index + 1;
    else
        keys->oldest = index + 1;
    keys->newest = index + 1;
    return OK;
}

void keys_expire(struct keys *keys, int64_t since_us) {
    while (keys->oldest) {
        uint32_t index = keys->oldest - 1;
        struct key_entry *entry = &keys->entries[index];
        if (entry->time_us >= since_us)
            return;
        must(map_remove(&keys->map, entry->key.hi, index));
        keys->oldest = entry->later;
        if (!keys->oldest)
            keys->newest = 0;
        entry->later = keys->free;
        entry->first_seq = 0; /* marks it free */
        keys->free = index + 1;
    }
}

static int entry_order(const void *a, const void *b) {
    const struct key_entry *x = a, *y = b;
    if (x->first_seq != y->first_seq)
        return x->first_seq < y->first_seq ? -1 : 1;
    if (x->key.hi != y->key.hi)
        return x->key.hi < y->key.hi ? -1 : 1;
    return x->key.lo < y->key.lo ? -1 : x->key.lo > y->key.lo;
}

void keys_dump(const struct keys *keys, struct buf *out) {
    if (!keys->count)
        return;
    struct key_entry *sorted = mem_alloc((size_t)keys->count * sizeof *sorted);
    if (!sorted) {
        out->failed = true;
        return;
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < keys->count; i++)
        if (keys->entries[i].first_seq)
            sorted[count++] = keys->entries[i];
    qsort(sorted, count, sizeof *sorted, entry_order);
    for (uint32_t i = 0; i < count; i++)
        buf_printf(out, "key %016llx%016llx fingerprint=%016llx seq=%llu time=%lld\n",
                   (unsigned long long)sorted[i].key.hi, (unsigned long long)sorted[i].key.lo,
                   (unsigned long long)sorted[i].fingerprint,
                   (unsigned long long)sorted[i].first_seq, (long long)sorted[i].time_us);
    mem_free(sorted);
}

void hash_write(char out[HASH_TEXT_LEN], struct hash128 hash) {
    static const char hex[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        out[i] = hex[hash.hi >> (60 - 4 * i) & 15];
        out[16 + i] = hex[hash.lo >> (60 - 4 * i) & 15];
    }
}

bool hash_parse(struct str text, struct hash128 *out) {
    uint64_t half[2] = {0, 0};
    if (text.len != HASH_TEXT_LEN)
        return false;
    for (int i = 0; i < HASH_TEXT_LEN; i++) {
        char c = text.ptr[i];
        unsigned digit;
        if (c >= '0' && c <= '9')
            digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (unsigned)(c - 'a' + 10);
        else
            return false;
        half[i / 16] = half[i / 16] << 4 | digit;
    }
    *out = (struct hash128){.hi = half[0], .lo = half[1]};
    return true;
}
