/* inbound_versions: the newest version of each partner's entity that was applied, so that what
 * comes late never overwrites it. An entity is a connector's key; its version is what the
 * connector's `version` names: whole numbers, or times (RFC 3339; without
 * an offset: UTC). Versions of two kinds can not be compared: the later arrival then counts as the newer one. */
#include "domain/inbound_priv.h"

#include "base/mem.h"

/* Version texts are as long as the ids of receive at most; persons are ids as well. */
static struct str entry_version(const struct partner_entry *entry) {
    return str_of(entry->texts, entry->version_len);
}
static struct str entry_person(const struct partner_entry *entry) {
    return entry->person_len ? str_of(entry->texts + entry->version_len, entry->person_len)
                             : STR_NONE;
}

static struct hash128 partner_key(struct str entity) { return hash128(entity, 0); }

static bool partner_eq(const void *ctx, uint32_t index, const void *key) {
    return hash128_eq(((const struct partner_state *)ctx)->items[index].key,
                      *(const struct hash128 *)key);
}
static uint64_t partner_hash(const void *ctx, uint32_t index) {
    return ((const struct partner_state *)ctx)->items[index].key.hi;
}
static uint32_t partner_slot(const void *part, struct hash128 key) {
    const struct partner_state *s = &((const struct inbound_state *)part)->partners;
    return map_find(&s->by_key, key.hi, partner_eq, s, &key);
}

/* Texts as one block; NULL: memory is out. */
static char *texts_of(struct str version, struct str person) {
    char *texts = mem_alloc(version.len + person.len + 1);
    if (!texts)
        return NULL;
    if (version.len)
        memcpy(texts, version.ptr, version.len);
    if (person.len)
        memcpy(texts + version.len, person.ptr, person.len);
    return texts;
}

/* MAP_NONE: memory is out. */
static uint32_t partner_put(struct partner_state *s, struct hash128 key, struct str version,
                            struct str person) {
    if (!s->free && !MEM_ROOM(s->items, s->count, s->cap, 64))
        return MAP_NONE;
    char *texts = texts_of(version, person);
    if (!texts)
        return MAP_NONE;
    uint32_t slot = s->free ? s->free - 1 : s->count;
    if (s->free)
        s->free = s->items[slot].next_free;
    else
        s->count++;
    s->items[slot] = (struct partner_entry){.key = key, .texts = texts,
                                            .version_len = (uint32_t)version.len,
                                            .person_len = (uint32_t)person.len};
    return map_add(&s->by_key, key.hi, slot, partner_hash, s) ? slot : MAP_NONE;
}

/* A time without offset, as some systems write their UTC, is one of UTC. */
static bool version_time(struct str text, struct instant *out) {
    char utc[40];
    if (instant_parse(text, out))
        return true;
    if (text.len == 0 || text.len >= sizeof utc)
        return false;
    if (text.len)
        memcpy(utc, text.ptr, text.len);
    utc[text.len] = 'Z';
    return instant_parse(str_of(utc, text.len + 1), out);
}

bool inbound_version_older(struct str a, struct str b) {
    int64_t x, y;
    struct instant at, than;
    if (str_i64(a, &x))
        return str_i64(b, &y) && x < y;
    return version_time(a, &at) && version_time(b, &than) && at.us < than.us;
}

enum err partner_applied(struct state *state, const struct event *event) {
    const struct event_meta *meta = &event->meta;
    if (!meta->partner.len || !meta->partner_version.len)
        return OK;
    struct partner_state *s =
        &((struct inbound_state *)state_of(state, &inbound_capability))->partners;
    struct hash128 key = partner_key(meta->partner);
    uint32_t slot = entity_get(state, &partner_entity, key);
    if (slot == MAP_NONE) {
        if (state_unread(state))
            return ERR_UNAVAILABLE;
        slot = partner_put(s, key, meta->partner_version, meta->person);
        return slot == MAP_NONE ? ERR_NOMEM : entity_changed(state, &partner_entity, slot);
    }
    struct partner_entry *entry = &s->items[slot];
    struct str person = meta->person.len ? meta->person : entry_person(entry);
    char *texts = texts_of(meta->partner_version, person);
    if (!texts)
        return ERR_NOMEM;
    mem_free(entry->texts);
    entry->texts = texts;
    entry->version_len = (uint32_t)meta->partner_version.len;
    entry->person_len = (uint32_t)person.len;
    return entity_changed(state, &partner_entity, slot);
}

enum err partner_admit(struct decision *decision, const struct command *command, bool *done) {
    const struct command_source *source = command->source;
    if (!source->entity.len || !source->version.len)
        return OK;
    const struct inbound_state *s = decision_state(decision, &inbound_capability);
    uint32_t slot = entity_get(decision_whole_state(decision), &partner_entity,
                               partner_key(source->entity));
    if (slot == MAP_NONE)
        return OK;
    const struct partner_entry *entry = &s->partners.items[slot];
    if (!inbound_version_older(source->version, entry_version(entry)))
        return OK;
    *done = true;
    struct str reason = arena_printf(
        decision_arena(decision),
        "%.*s is older (version %.*s) than what was applied already (version %.*s)",
        STR_FMT(source->entity), STR_FMT(source->version), STR_FMT(entry_version(entry)));
    return payload_settle_now(decision, command, "stale", reason, entry_person(entry));
}

static struct str entity_of(struct arena *arena, struct str connector, struct str key) {
    return arena_printf(arena, "%.*s/%.*s", STR_FMT(connector), STR_FMT(key));
}

void partner_need(struct command *command, struct str connector, struct str key) {
    struct str entity = entity_of(command->arena, connector, key);
    if (entity.ptr)
        command_need(command, &partner_entity, partner_key(entity));
}

bool partner_has(struct decision *decision, struct str connector, struct str key, struct str version) {
    struct str entity = entity_of(decision_arena(decision), connector, key);
    const struct inbound_state *s = decision_state(decision, &inbound_capability);
    uint32_t slot = entity.ptr ? entity_get(decision_whole_state(decision), &partner_entity, partner_key(entity))
                               : MAP_NONE;
    if (slot == MAP_NONE)
        return false;
    return inbound_version_older(version, entry_version(&s->partners.items[slot]));
}

void inbound_needs(struct command *command) {
    const struct command_source *source = command->source;
    if (source && source->entity.len && source->version.len)
        command_need(command, &partner_entity, partner_key(source->entity));
}

void partners_free(struct partner_state *s) {
    for (uint32_t i = 0; i < s->count; i++)
        mem_free(s->items[i].texts);
    mem_free(s->items);
    map_free(&s->by_key);
}

void partners_dump(const struct partner_state *s, struct buf *out) {
    for (uint32_t i = 0; i < s->count; i++) {
        const struct partner_entry *entry = &s->items[i];
        if (entry->texts)
            buf_printf(out, "partner %016llx%016llx version=%.*s person=%.*s\n",
                       (unsigned long long)entry->key.hi, (unsigned long long)entry->key.lo,
                       STR_FMT(entry_version(entry)), STR_FMT(entry_person(entry)));
    }
}

/* --- as bytes ------------------------------------------------------------------------------ */

static struct hash128 partner_entity_key(const void *part, uint32_t slot) {
    return ((const struct inbound_state *)part)->partners.items[slot].key;
}

static void partner_save(const void *part, uint32_t slot, struct buf *out) {
    const struct partner_entry *entry = &((const struct inbound_state *)part)->partners.items[slot];
    pack_str(out, entry_version(entry));
    pack_str(out, entry_person(entry));
}

static enum err partner_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct unpack in = unpack_of(bytes);
    struct str version = unpack_str(&in), person = unpack_str(&in);
    if (unpack_end(&in) != OK)
        return ERR_DAMAGED;
    *slot = partner_put(&((struct inbound_state *)part)->partners, key, version, person);
    return *slot == MAP_NONE ? ERR_NOMEM : OK;
}

static void partner_evict(void *part, uint32_t slot) {
    struct partner_state *s = &((struct inbound_state *)part)->partners;
    struct partner_entry *entry = &s->items[slot];
    must(map_remove(&s->by_key, entry->key.hi, slot));
    mem_free(entry->texts);
    *entry = (struct partner_entry){.next_free = s->free};
    s->free = slot + 1;
}

static size_t partner_bytes(const void *part, uint32_t slot) {
    (void)part;
    (void)slot;
    return sizeof(struct partner_entry) + 96; /* its texts and its place in the map */
}

const struct entity_kind partner_entity = {
    .name = "partner.version", .flags = ENTITY_SPARSE,
    .help = "The newest version of a partner's entity that was applied",
    .load = partner_load, .key = partner_entity_key, .save = partner_save, .find = partner_slot,
    .evict = partner_evict, .bytes = partner_bytes};
