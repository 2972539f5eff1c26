/* keys: see keys_priv.h. Entries are reused through a free list. */
#include "core/keys_priv.h"

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

uint32_t keys_find(const struct keys *keys, struct hash128 key) {
    return map_find(&keys->map, key.hi, key_eq, keys, &key);
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

uint32_t keys_add(struct keys *keys, struct hash128 key, uint64_t fingerprint, uint64_t first_seq,
                  int64_t time_us) {
    uint32_t index = keys_find(keys, key);
    if (index == MAP_NONE) {
        if (!keys_room(keys))
            return MAP_NONE;
        index = keys->free ? keys->free - 1 : keys->count;
        if (!map_add(&keys->map, key.hi, index, key_hash, keys))
            return MAP_NONE;
        if (keys->free)
            keys->free = (uint32_t)keys->entries[index].time_us;
        else
            keys->count++;
    }
    keys->entries[index] = (struct key_entry){key, fingerprint, first_seq, time_us};
    return index;
}

void keys_dump(const struct keys *keys, const char *kind, int64_t since_us, struct buf *out) {
    for (uint32_t i = 0; i < keys->count; i++) {
        const struct key_entry *e = &keys->entries[i];
        if (e->first_seq && e->time_us >= since_us)
            buf_printf(out, "%s %016llx%016llx fingerprint=%016llx seq=%llu time=%lld\n", kind,
                       (unsigned long long)e->key.hi, (unsigned long long)e->key.lo,
                       (unsigned long long)e->fingerprint, (unsigned long long)e->first_seq,
                       (long long)e->time_us);
    }
}

/* --- written down ------------------------------------------------------------------------- */

static struct hash128 key_key(const void *part, uint32_t slot) {
    return ((const struct keys *)part)->entries[slot].key;
}

/* Time first, as the shelf wants it of what expires; natural keys carry it for people. */
static void key_save(const void *part, uint32_t slot, struct buf *out) {
    const struct key_entry *e = &((const struct keys *)part)->entries[slot];
    buf_add(out, &e->time_us, sizeof e->time_us);
    buf_add(out, &e->fingerprint, sizeof e->fingerprint);
    pack_uint(out, e->first_seq);
}

static enum err key_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    int64_t time_us;
    uint64_t fingerprint;
    if (bytes.len < sizeof time_us + sizeof fingerprint)
        return ERR_DAMAGED;
    memcpy(&time_us, bytes.ptr, sizeof time_us);
    memcpy(&fingerprint, bytes.ptr + sizeof time_us, sizeof fingerprint);
    size_t head = sizeof time_us + sizeof fingerprint;
    struct unpack in = unpack_of(str_of(bytes.ptr + head, bytes.len - head));
    uint64_t first_seq = unpack_uint(&in);
    if (unpack_end(&in) != OK || first_seq == 0)
        return ERR_DAMAGED;
    *slot = keys_add(part, key, fingerprint, first_seq, time_us);
    return *slot == MAP_NONE ? ERR_NOMEM : OK;
}

static uint32_t key_find(const void *part, struct hash128 key) { return keys_find(part, key); }

static void key_evict(void *part, uint32_t slot) {
    struct keys *keys = part;
    struct key_entry *e = &keys->entries[slot];
    must(map_remove(&keys->map, e->key.hi, slot));
    *e = (struct key_entry){.time_us = keys->free};
    keys->free = slot + 1;
}

static size_t key_bytes(const void *part, uint32_t slot) {
    (void)part;
    (void)slot;
    return sizeof(struct key_entry) + 16 + 4 + 8; /* its places in map, marks and ring */
}

const struct entity_kind key_natural_entity = {
    .name = "key.natural", .flags = ENTITY_SPARSE, .help = "Natural keys that were used",
    .load = key_load, .key = key_key, .save = key_save, .find = key_find, .evict = key_evict,
    .bytes = key_bytes};
const struct entity_kind key_idempotent_entity = {
    .name = "key.idempotent", .flags = ENTITY_SPARSE | ENTITY_EXPIRES,
    .help = "Idempotency keys that were used", .load = key_load, .key = key_key,
    .save = key_save, .find = key_find, .evict = key_evict, .bytes = key_bytes};

/* --- text --------------------------------------------------------------------------------- */

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
