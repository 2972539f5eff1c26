/* replay_find: which events a replay means, and which of them nothing newer follows: see replay.h. */
#include "deliver/replay.h"

#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/event.h"

/* The actor of what a connector brought: "connector:NAME". */
static bool came_by(struct str actor, struct str connector) {
    const struct str prefix = STR("connector:");
    return str_starts(actor, prefix) && str_eq(str_of(actor.ptr + prefix.len, actor.len - prefix.len), connector);
}

static bool type_is(struct str wanted, struct str type) {
    if (wanted.len > 0 && wanted.ptr[wanted.len - 1] == '*')
        return str_starts(type, str_of(wanted.ptr, wanted.len - 1));
    return str_eq(wanted, type);
}

bool replay_chosen(const struct replay *r, const struct record *record, struct json_parser *parser,
                   struct arena *arena) {
    int64_t seq = (int64_t)record->seq;
    if (seq > r->last || (r->from_seq && seq < r->from_seq) || (r->to_seq && seq > r->to_seq))
        return false;
    if ((r->from.us && record->time_us < r->from.us) || (r->to.us && record->time_us >= r->to.us))
        return false;
    if (r->type.ptr && !type_is(r->type, record->type))
        return false;
    if (r->key.ptr && !str_eq(r->key, record->subject))
        return false;
    if (!r->correlation.ptr && !r->connector.ptr)
        return true;
    struct event_meta meta = {0};
    struct fault ignored = {0};
    if (event_meta_load(record->meta, parser, arena, &meta, &ignored) != OK)
        return false;
    return (!r->correlation.ptr || str_eq(r->correlation, meta.correlation)) &&
           (!r->connector.ptr || came_by(meta.actor, r->connector));
}

/* --- the newest of each key --------------------------------------------------------------------- */

struct key_entry {
    struct hash128 key;
    uint64_t newest;
    bool chosen; /* the newest is */
};
struct replay_keys {
    struct map map;
    struct key_entry *entries;
    uint32_t count, cap, max;
};

struct replay_keys *replay_keys_create(uint32_t max) {
    struct replay_keys *keys = mem_zalloc(sizeof *keys);
    if (keys == NULL)
        return NULL;
    map_init(&keys->map);
    keys->max = max;
    return keys;
}

void replay_keys_destroy(struct replay_keys *keys) {
    if (keys == NULL)
        return;
    map_free(&keys->map);
    mem_free(keys->entries);
    mem_free(keys);
}

static bool entry_eq(const void *ctx, uint32_t index, const void *key) {
    const struct replay_keys *keys = ctx;
    return hash128_eq(keys->entries[index].key, *(const struct hash128 *)key);
}

static uint64_t entry_hash(const void *ctx, uint32_t index) {
    return ((const struct replay_keys *)ctx)->entries[index].key.lo;
}

static struct key_entry *entry_find(const struct replay_keys *keys, struct str key, struct hash128 *hash) {
    *hash = hash128(key, 0);
    uint32_t i = map_find(&keys->map, hash->lo, entry_eq, keys, hash);
    return i == MAP_NONE ? NULL : &keys->entries[i];
}

bool replay_keys_add(struct replay_keys *keys, struct str key, uint64_t seq) {
    struct hash128 hash;
    struct key_entry *entry = entry_find(keys, key, &hash);
    if (entry != NULL) {
        if (seq > entry->newest)
            *entry = (struct key_entry){hash, seq, true};
        return true;
    }
    if (keys->count >= keys->max || !MEM_ROOM(keys->entries, keys->count, keys->cap, 64))
        return false;
    keys->entries[keys->count] = (struct key_entry){hash, seq, true};
    if (!map_add(&keys->map, hash.lo, keys->count, entry_hash, keys))
        return false;
    keys->count++;
    return true;
}

void replay_keys_saw(struct replay_keys *keys, struct str key, uint64_t seq) {
    struct hash128 hash;
    struct key_entry *entry = entry_find(keys, key, &hash);
    if (entry != NULL && seq > entry->newest)
        *entry = (struct key_entry){hash, seq, false};
}

bool replay_keys_newest(const struct replay_keys *keys, struct str key, uint64_t seq) {
    struct hash128 hash;
    const struct key_entry *entry = entry_find(keys, key, &hash);
    return entry == NULL || entry->newest <= seq;
}

uint32_t replay_keys_chosen(const struct replay_keys *keys) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < keys->count; i++)
        n += keys->entries[i].chosen;
    return n;
}
