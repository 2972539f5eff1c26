/* The entries of the cross-references, in memory always, because mappings on other threads read
 * them. A change makes a new entry and leaves the old one to the readers until its batch is on disk;
 * the slot is free after that. */
#include "domain/cross_references_priv.h"

#include "base/hash.h"
#include "base/mem.h"

struct cross_key {
    struct str system, kind, text;
    bool out, writer;
};

static struct str text_at(const struct cross_entry *e, size_t from, uint16_t len) {
    return str_of(e->texts + from, len);
}
static struct str entry_system(const struct cross_entry *e) { return text_at(e, 0, e->system_len); }
static struct str entry_kind(const struct cross_entry *e) {
    return text_at(e, e->system_len, e->kind_len);
}
static struct str entry_value(const struct cross_entry *e) {
    return text_at(e, (size_t)e->system_len + e->kind_len, e->value_len);
}
static struct str entry_code(const struct cross_entry *e) {
    return text_at(e, (size_t)e->system_len + e->kind_len + e->value_len, e->code_len);
}
static size_t entry_size(const struct cross_entry *e) {
    return (size_t)e->system_len + e->kind_len + e->value_len + e->code_len;
}

static uint64_t key_hash(struct str system, struct str kind, struct str text) {
    return hash64(text, hash64(kind, hash64(system, 0)));
}
static bool comes_in(const struct cross_entry *e) { return e->direction != CROSS_OUT; }
static bool goes_out(const struct cross_entry *e) { return e->direction != CROSS_IN; }

static bool cross_eq(const void *ctx, uint32_t index, const void *wanted) {
    const struct cross_entry *e = &((const struct cross_state *)ctx)->items[index];
    const struct cross_key *key = wanted;
    return (key->writer ? !e->gone : e->seen) &&
           str_eq(key->out ? entry_code(e) : entry_value(e), key->text) &&
           str_eq(entry_kind(e), key->kind) && str_eq(entry_system(e), key->system);
}
static uint64_t value_hash(const void *ctx, uint32_t index) {
    const struct cross_entry *e = &((const struct cross_state *)ctx)->items[index];
    return key_hash(entry_system(e), entry_kind(e), entry_value(e));
}
static uint64_t code_hash(const void *ctx, uint32_t index) {
    const struct cross_entry *e = &((const struct cross_state *)ctx)->items[index];
    return key_hash(entry_system(e), entry_kind(e), entry_code(e));
}

static uint32_t slot_find(const struct cross_state *s, const struct cross_key *key) {
    return map_find(key->out ? &s->by_code : &s->by_value,
                    key_hash(key->system, key->kind, key->text), cross_eq, s, key);
}

const struct cross_entry *cross_find(const struct cross_state *s, struct str system, struct str kind,
                                     struct str text, bool out) {
    uint32_t slot = slot_find(s, &(struct cross_key){system, kind, text, out, true});
    return slot == MAP_NONE ? NULL : &s->items[slot];
}

bool cross_copy(struct arena *arena, struct cross_reference *ref) {
    ref->system = arena_str(arena, ref->system);
    ref->kind = arena_str(arena, ref->kind);
    ref->value = arena_str(arena, ref->value);
    ref->code = arena_str(arena, ref->code);
    return ref->system.ptr && ref->kind.ptr && ref->value.ptr && ref->code.ptr;
}

struct cross_reference cross_document(const struct cross_entry *e) {
    return (struct cross_reference){.has = (1u << (CROSS_VERSION + 1)) - 1,
                                    .system = entry_system(e), .kind = entry_kind(e),
                                    .value = entry_value(e), .code = entry_code(e),
                                    .direction = e->direction, .version = e->version};
}

enum err cross_reference_get(const void *state, struct str system, struct str kind, struct str text,
                             bool out, struct arena *arena, struct cross_reference *found) {
    struct cross_state *s = (struct cross_state *)(uintptr_t)state;
    enum err err = ERR_NOT_FOUND;
    pthread_rwlock_rdlock(&s->lock);
    uint32_t slot = slot_find(s, &(struct cross_key){system, kind, text, out, false});
    if (slot != MAP_NONE) {
        *found = cross_document(&s->items[slot]);
        err = cross_copy(arena, found) ? OK : ERR_NOMEM;
    }
    pthread_rwlock_unlock(&s->lock);
    return err;
}

enum err cross_reference_find(const void *state, struct str system, struct str kind, struct str text,
                              bool out, struct arena *arena, struct str *found) {
    struct cross_state *s = (struct cross_state *)(uintptr_t)state;
    *found = STR_NONE;
    pthread_rwlock_rdlock(&s->lock);
    uint32_t slot = slot_find(s, &(struct cross_key){system, kind, text, out, false});
    bool there = slot != MAP_NONE;
    if (there)
        *found = arena_str(arena, out ? entry_value(&s->items[slot]) : entry_code(&s->items[slot]));
    pthread_rwlock_unlock(&s->lock);
    return there && !found->ptr ? ERR_NOMEM : OK;
}

/* --- changes ----------------------------------------------------------------------------- */

static char *texts_put(char *to, struct str text) {
    if (text.len)
        memcpy(to, text.ptr, text.len);
    return to + text.len;
}

/* A new entry in a slot; the caller holds the lock. MAP_NONE: memory is out. */
static uint32_t entry_make(struct cross_state *s, const struct cross_reference *ref, uint64_t seq) {
    if (!s->free && !MEM_ROOM(s->items, s->count, s->cap, 64))
        return MAP_NONE;
    struct cross_entry e = {.seq = seq, .system_len = (uint16_t)ref->system.len, .kind_len = (uint16_t)ref->kind.len,
                            .value_len = (uint16_t)ref->value.len, .code_len = (uint16_t)ref->code.len,
                            .direction = (uint8_t)ref->direction, .version = (uint32_t)ref->version};
    e.texts = mem_alloc(entry_size(&e) + 1);
    if (!e.texts)
        return MAP_NONE;
    texts_put(texts_put(texts_put(texts_put(e.texts, ref->system), ref->kind), ref->value), ref->code);
    uint32_t slot = s->free ? s->free - 1 : s->count;
    if (s->free)
        s->free = s->items[slot].next_free;
    else
        s->count++;
    s->items[slot] = e;
    s->live++;
    s->bytes += entry_size(&e);
    if ((comes_in(&e) && !map_add(&s->by_value, value_hash(s, slot), slot, value_hash, s)) ||
        (goes_out(&e) && !map_add(&s->by_code, code_hash(s, slot), slot, code_hash, s)))
        return MAP_NONE;
    return slot;
}

static void entry_free(struct cross_state *s, uint32_t slot) {
    struct cross_entry *e = &s->items[slot];
    if (comes_in(e))
        must(map_remove(&s->by_value, value_hash(s, slot), slot));
    if (goes_out(e))
        must(map_remove(&s->by_code, code_hash(s, slot), slot));
    s->bytes -= entry_size(e);
    mem_free(e->texts);
    *e = (struct cross_entry){.next_free = s->free};
    s->free = slot + 1;
}

static enum err dirty_add(struct cross_state *s, uint32_t slot) {
    if (!MEM_ROOM(s->dirty, s->dirty_count, s->dirty_cap, 64))
        return ERR_NOMEM;
    s->dirty[s->dirty_count++] = slot;
    return OK;
}

static enum err entry_leave(struct state *state, struct cross_state *s, uint32_t slot) {
    enum err err = entity_gone(state, &cross_entity, slot);
    if (err == OK)
        err = dirty_add(s, slot);
    if (err)
        return err;
    s->items[slot].gone = true;
    s->live--;
    return OK;
}

enum err cross_take(struct state *state, const struct cross_reference *ref) {
    struct cross_state *s = state_of(state, &cross_references_capability);
    bool out = ref->direction == CROSS_OUT;
    uint32_t slot = slot_find(s, &(struct cross_key){ref->system, ref->kind,
                                                     out ? ref->code : ref->value, out, true});
    return slot == MAP_NONE ? OK : entry_leave(state, s, slot);
}

enum err cross_put(struct state *state, const struct cross_reference *ref, uint64_t seq) {
    struct cross_state *s = state_of(state, &cross_references_capability);
    enum err err = cross_take(state, ref);
    if (err)
        return err;
    pthread_rwlock_wrlock(&s->lock);
    uint32_t slot = entry_make(s, ref, seq);
    pthread_rwlock_unlock(&s->lock);
    if (slot == MAP_NONE || dirty_add(s, slot) != OK)
        return ERR_NOMEM;
    return entity_changed(state, &cross_entity, slot);
}

void cross_publish(void *part) {
    struct cross_state *s = part;
    if (!s->dirty_count)
        return;
    pthread_rwlock_wrlock(&s->lock);
    for (uint32_t i = 0; i < s->dirty_count; i++) {
        struct cross_entry *e = &s->items[s->dirty[i]];
        if (e->gone)
            entry_free(s, s->dirty[i]);
        else if (e->texts)
            e->seen = true;
    }
    pthread_rwlock_unlock(&s->lock);
    s->dirty_count = 0;
}

/* --- as bytes ------------------------------------------------------------------------------ */

/* What takes the place of another has another key: it may be that both are written in one go. */
static struct hash128 cross_key_of(const void *part, uint32_t slot) {
    return entity_number_key(0, ((const struct cross_state *)part)->items[slot].seq);
}

static void cross_save(const void *part, uint32_t slot, struct buf *out) {
    const struct cross_entry *e = &((const struct cross_state *)part)->items[slot];
    pack_str(out, entry_system(e));
    pack_str(out, entry_kind(e));
    pack_str(out, entry_value(e));
    pack_str(out, entry_code(e));
    pack_uint(out, e->direction);
    pack_uint(out, e->version);
}

static enum err cross_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct cross_state *s = part;
    struct unpack in = unpack_of(bytes);
    struct cross_reference ref = {.system = unpack_str(&in)};
    ref.kind = unpack_str(&in);
    ref.value = unpack_str(&in);
    ref.code = unpack_str(&in);
    uint64_t direction = unpack_uint(&in);
    ref.version = (int64_t)unpack_uint(&in);
    if (unpack_end(&in) != OK || direction > CROSS_OUT || ref.system.len > CROSS_TEXT_MAX ||
        ref.kind.len > CROSS_TEXT_MAX || ref.value.len > CROSS_TEXT_MAX ||
        ref.code.len > CROSS_TEXT_MAX)
        return ERR_DAMAGED;
    ref.direction = (int32_t)direction;
    *slot = entry_make(s, &ref, key.lo);
    if (*slot == MAP_NONE)
        return ERR_NOMEM;
    s->items[*slot].seen = true;
    return OK;
}

const struct entity_kind cross_entity = {
    .name = "cross_reference", .flags = ENTITY_RESIDENT,
    .help = "What other systems call what the hub has a code for", .load = cross_load,
    .key = cross_key_of, .save = cross_save};

/* --- life ---------------------------------------------------------------------------------- */

enum err cross_state_init(void *part, const struct config *config) {
    struct cross_state *s = part;
    (void)config;
    pthread_rwlock_init(&s->lock, NULL);
    return OK;
}

void cross_state_free(void *part) {
    struct cross_state *s = part;
    for (uint32_t i = 0; i < s->count; i++)
        mem_free(s->items[i].texts);
    mem_free(s->items);
    mem_free(s->dirty);
    map_free(&s->by_value);
    map_free(&s->by_code);
    pthread_rwlock_destroy(&s->lock);
}

size_t cross_memory(const void *part) {
    const struct cross_state *s = part;
    return s->cap * sizeof *s->items + s->bytes + s->live * (size_t)40;
}

void cross_dump(const void *part, struct buf *out) {
    const struct cross_state *s = part;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct cross_entry *e = &s->items[i];
        if (e->texts && !e->gone)
            buf_printf(out, "%.*s %.*s \"%.*s\" \"%.*s\" %s version=%u seq=%llu\n", STR_FMT(entry_system(e)),
                       STR_FMT(entry_kind(e)), STR_FMT(entry_value(e)), STR_FMT(entry_code(e)),
                       cross_directions[e->direction], e->version, (unsigned long long)e->seq);
    }
}
