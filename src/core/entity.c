/* entity: see entity.h and entity_priv.h.
 *
 * Always true: an entity that is in memory is at least as new as the one on the shelf; only one
 * whose newest version was written leaves memory. */
#include "core/entity_priv.h"

#include "base/mem.h"
#include "base/planted.h"
#include "core/state_priv.h"

struct entity_set *entity_set_of(struct entities *entities, const struct entity_kind *kind) {
    for (uint32_t i = 0; i < entities->count; i++)
        if (entities->sets[i].kind == kind)
            return &entities->sets[i];
    must_failed("kind of entity is registered", __FILE__, __LINE__);
}

uint32_t entity_space(const struct entities *entities, const struct entity_kind *kind) {
    return (uint32_t)(entity_set_of((struct entities *)(uintptr_t)entities, kind) -
                      entities->sets);
}

void entity_set_free(struct entity_set *set) {
    mem_free(set->marks);
    mem_free(set->dirty);
    mem_free(set->gone);
    mem_free(set->loose);
    mem_free(set->written);
    map_free(&set->loose_map);
    buf_free(&set->loose_text);
}

/* --- what changes ----------------------------------------------------------------------------- */

static bool marks_room(struct entity_set *set, uint32_t slot) {
    if (slot < set->mark_cap)
        return true;
    uint32_t cap = set->mark_cap ? set->mark_cap : 64;
    while (cap <= slot)
        cap *= 2;
    uint32_t *marks = mem_resize(set->marks, (size_t)cap * sizeof *marks);
    if (!marks)
        return false;
    memset(marks + set->mark_cap, 0, (size_t)(cap - set->mark_cap) * sizeof *marks);
    set->marks = marks;
    set->mark_cap = cap;
    return true;
}

static void set_weigh(struct entity_set *set, uint32_t slot, int by) {
    if (set->kind->bytes)
        set->bytes += (size_t)by * set->kind->bytes(set->part, slot);
}

enum err entity_changed(struct state *state, const struct entity_kind *kind, uint32_t slot) {
    if (!state->entities.shelf)
        return OK;
    struct entity_set *set = entity_set_of(&state->entities, kind);
    if (!marks_room(set, slot))
        return ERR_NOMEM;
    if (set->marks[slot] & MARK_DIRTY)
        return OK;
    if (!ENTITY_ROOM(set->dirty, set->dirty_count, set->dirty_cap))
        return ERR_NOMEM;
    if (set->marks[slot] == 0)
        set_weigh(set, slot, 1);
    set->dirty[set->dirty_count++] = slot;
    set->marks[slot] |= MARK_DIRTY;
    return OK;
}

enum err entity_gone(struct state *state, const struct entity_kind *kind, uint32_t slot) {
    if (!state->entities.shelf)
        return OK;
    struct entity_set *set = entity_set_of(&state->entities, kind);
    must(slot < set->mark_cap && set->marks[slot]);
    if (set->marks[slot] & MARK_WRITTEN) {
        if (!ENTITY_ROOM(set->gone, set->gone_count, set->gone_cap))
            return ERR_NOMEM;
        set->gone[set->gone_count++] = kind->key(set->part, slot);
    }
    set_weigh(set, slot, -1);
    set->marks[slot] = 0;
    return OK;
}

static bool loose_eq(const void *ctx, uint32_t index, const void *key) {
    return hash128_eq(((const struct entity_set *)ctx)->loose[index].key,
                      *(const struct hash128 *)key);
}
static uint64_t loose_hash(const void *ctx, uint32_t index) {
    struct hash128 key = ((const struct entity_set *)ctx)->loose[index].key;
    return hash64(str_of((const char *)&key, sizeof key), 0);
}

/* The key's entry in this window, made where it has none yet. */
static struct loose *loose_of(struct entity_set *set, struct hash128 key, bool *fresh) {
    uint64_t hash = hash64(str_of((const char *)&key, sizeof key), 0);
    uint32_t index = map_find(&set->loose_map, hash, loose_eq, set, &key);
    *fresh = index == MAP_NONE;
    if (index != MAP_NONE)
        return &set->loose[index];
    if (!ENTITY_ROOM(set->loose, set->loose_count, set->loose_cap))
        return NULL;
    set->loose[set->loose_count] = (struct loose){.key = key};
    if (!map_add(&set->loose_map, hash, set->loose_count, loose_hash, set))
        return NULL;
    return &set->loose[set->loose_count++];
}

/* ptr NULL: it is gone. */
static enum err loose_note(struct state *state, const struct entity_kind *kind,
                           struct hash128 key, struct str bytes) {
    if (!state->entities.shelf)
        return OK;
    struct entity_set *set = entity_set_of(&state->entities, kind);
    bool fresh;
    struct loose *loose = loose_of(set, key, &fresh);
    if (!loose)
        return ERR_NOMEM;
    loose->there = bytes.ptr != NULL;
    loose->put_first |= fresh && loose->there;
    loose->at = set->loose_text.len;
    loose->len = bytes.len;
    buf_str_add(&set->loose_text, bytes);
    return buf_ok(&set->loose_text) ? OK : ERR_NOMEM;
}

enum err entity_put(struct state *state, const struct entity_kind *kind, struct hash128 key,
                    struct str bytes) {
    must(bytes.ptr);
    return loose_note(state, kind, key, bytes);
}

enum err entity_drop(struct state *state, const struct entity_kind *kind, struct hash128 key) {
    return loose_note(state, kind, key, STR_NONE);
}

/* --- what comes back --------------------------------------------------------------------------- */

enum err entity_written(struct entity_set *set, uint32_t slot, uint32_t mark) {
    if (set->written_count == set->written_cap) {
        uint32_t cap = set->written_cap ? set->written_cap * 2 : 1024;
        struct written_slot *ring = mem_alloc((size_t)cap * sizeof *ring);
        if (!ring)
            return ERR_NOMEM;
        for (uint32_t i = 0; i < set->written_count; i++)
            ring[i] = set->written[(set->written_first + i) % set->written_cap];
        mem_free(set->written);
        set->written = ring;
        set->written_first = 0;
        set->written_cap = cap;
    }
    set->written[(set->written_first + set->written_count++) % set->written_cap] =
        (struct written_slot){slot, mark};
    return OK;
}

enum err entity_install(struct entities *entities, struct entity_set *set, struct hash128 key,
                        struct str bytes, uint32_t *slot) {
    const struct entity_kind *kind = set->kind;
    *slot = MAP_NONE;
    enum err err = kind->load(set->part, key, bytes, slot);
    if (err != OK || !kind->key)
        return err;
    if (!marks_room(set, *slot))
        return ERR_NOMEM;
    set->marks[*slot] = MARK_WRITTEN | entities->flush_number;
    set_weigh(set, *slot, 1);
    return kind->evict ? entity_written(set, *slot, set->marks[*slot]) : OK;
}

/* From what was looked up before, or from the shelf. */
static enum err entity_read(struct entities *entities, const struct entity_set *set,
                            struct hash128 key, struct str *bytes) {
    uint32_t space = (uint32_t)(set - entities->sets);
    *bytes = STR_NONE;
    for (uint32_t i = 0; i < entities->need_count; i++) {
        const struct entity_need *need = &entities->needs[i];
        if (need->kind == set->kind && hash128_eq(need->key, key) &&
            need->evictions == entities->evictions) {
            *bytes = need->bytes;
            return OK;
        }
    }
    if (!entities->shelf->ops->maybe(entities->shelf, space, key))
        return OK;
    entities->writer_loads++;
    arena_reset(&entities->arena);
    return entities->shelf->ops->get(entities->shelf, space, key, &entities->arena, bytes,
                                     &entities->fault);
}

static void entities_fail(struct entities *entities, const struct entity_set *set, enum err err) {
    if (entities->fault.err == OK)
        fault_set(&entities->fault, err, "an entity of kind %s can not be read", set->kind->name);
    entities->failed = err;
}

uint32_t entity_get(const struct state *state, const struct entity_kind *kind,
                    struct hash128 key) {
    /* To load is no change of the state: it says the same afterwards. */
    struct entities *entities = (struct entities *)(uintptr_t)&state->entities;
    struct entity_set *set = entity_set_of(entities, kind);
    uint32_t slot = kind->find(set->part, key);
    if (slot != MAP_NONE || !entities->shelf)
        return slot;
    struct str bytes;
    enum err err = entity_read(entities, set, key, &bytes);
    if (err == OK && bytes.ptr) {
        err = entity_install(entities, set, key, bytes, &slot);
        entities->loads++;
    }
    if (err != OK) {
        entities_fail(entities, set, err);
        return MAP_NONE;
    }
    return slot;
}

bool state_unread(const struct state *state) { return state->entities.failed != OK; }

struct str entity_bytes(const struct state *state, const struct entity_kind *kind,
                        struct hash128 key) {
    struct entities *entities = (struct entities *)(uintptr_t)&state->entities;
    struct entity_set *set = entity_set_of(entities, kind);
    struct str bytes = STR_NONE;
    enum err err = entities->shelf ? entity_read(entities, set, key, &bytes) : OK;
    if (err != OK)
        entities_fail(entities, set, err);
    return err == OK ? bytes : STR_NONE;
}

/* --- what leaves --------------------------------------------------------------------------------- */

size_t entities_bytes(const struct entities *entities) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < entities->count; i++)
        bytes += entities->sets[i].bytes;
    return bytes;
}

/* One entry off the ring; true where it freed something. */
static bool set_evict(struct entities *entities, struct entity_set *set) {
    struct written_slot oldest = set->written[set->written_first];
    set->written_first = (set->written_first + 1) % set->written_cap;
    set->written_count--;
    bool plant = PLANTED(EVICT_DIRTY) && set->marks[oldest.slot] & MARK_DIRTY;
    if (set->marks[oldest.slot] != oldest.mark && !plant) /* changed since, or gone, or another */
        return false;
    uint64_t ms = entity_ms(set->kind, set->kind->key(set->part, oldest.slot));
    if (ms > entities->evicted_ms)
        entities->evicted_ms = ms;
    set_weigh(set, oldest.slot, -1);
    set->marks[oldest.slot] = 0;
    set->kind->evict(set->part, oldest.slot);
    return true;
}

/* The set with the entity that was written longest ago; NULL: none may leave. */
static struct entity_set *set_oldest(struct entities *entities) {
    struct entity_set *oldest = NULL;
    uint32_t oldest_age = 0;
    for (uint32_t i = 0; i < entities->count; i++) {
        struct entity_set *set = &entities->sets[i];
        if (!set->written_count)
            continue;
        uint32_t age = (entities->flush_number - set->written[set->written_first].mark) & MARK_FLUSH;
        if (oldest && (age < oldest_age || (age == oldest_age && set->bytes <= oldest->bytes)))
            continue;
        oldest = set;
        oldest_age = age;
    }
    return oldest;
}

void entities_evict(struct entities *entities, size_t bytes_max) {
    bool any = false;
    struct entity_set *set;
    while (entities_bytes(entities) > bytes_max && (set = set_oldest(entities)))
        for (uint32_t i = 0; i < 64 && set->written_count; i++)
            any |= set_evict(entities, set);
    entities->evictions += any;
}

/* --- all at once ---------------------------------------------------------------------------------- */

struct loading {
    struct entities *entities;
    struct entity_set *set;
    enum err err;
};

static bool load_visit(void *ctx, struct hash128 key, struct str value) {
    struct loading *loading = ctx;
    struct entity_set *set = loading->set;
    uint32_t slot;
    if (set->kind->find && set->kind->find(set->part, key) != MAP_NONE)
        return true;
    loading->err = entity_install(loading->entities, set, key, value, &slot);
    return loading->err == OK;
}

enum err entities_load_all(struct entities *entities, bool resident, struct fault *fault) {
    enum err err = OK;
    for (uint32_t i = 0; entities->shelf && i < entities->count && err == OK; i++) {
        struct entity_set *set = &entities->sets[i];
        if (!set->kind->load || !(set->kind->flags & ENTITY_RESIDENT) == resident)
            continue;
        struct loading loading = {.entities = entities, .set = set};
        err = entities->shelf->ops->each(entities->shelf, i, load_visit, &loading, fault);
        if (err == OK && loading.err != OK)
            err = fault_set(fault, loading.err, "an entity of kind %s can not be read",
                            set->kind->name);
    }
    return err;
}

/* --- bytes ----------------------------------------------------------------------------------------- */

void pack_uint(struct buf *out, uint64_t value) {
    char bytes[10];
    size_t n = 0;
    while (value >= 0x80) {
        bytes[n++] = (char)(value | 0x80);
        value >>= 7;
    }
    bytes[n++] = (char)value;
    buf_add(out, bytes, n);
}

void pack_int(struct buf *out, int64_t value) {
    pack_uint(out, (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0));
}

void pack_str(struct buf *out, struct str text) {
    pack_uint(out, text.len);
    buf_str_add(out, text);
}

void pack_hash(struct buf *out, struct hash128 hash) {
    uint64_t words[2] = {hash.lo, hash.hi}; /* little endian, as all machines it is built for */
    buf_add(out, words, sizeof words);
}

uint64_t unpack_uint(struct unpack *in) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && in->at < in->end; shift += 7) {
        uint8_t byte = (uint8_t)*in->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return value;
    }
    in->failed = true;
    return 0;
}

int64_t unpack_int(struct unpack *in) {
    uint64_t value = unpack_uint(in);
    return (int64_t)(value >> 1 ^ (value & 1 ? UINT64_MAX : 0));
}

struct str unpack_str(struct unpack *in) {
    uint64_t len = unpack_uint(in);
    if (in->failed || len > (uint64_t)(in->end - in->at)) {
        in->failed = true;
        return str_of("", 0);
    }
    struct str text = str_of(in->at, (size_t)len);
    in->at += len;
    return text;
}

struct hash128 unpack_hash(struct unpack *in) {
    uint64_t words[2] = {0, 0};
    if (in->end - in->at < (ptrdiff_t)sizeof words) {
        in->failed = true;
        in->at = in->end;
    } else {
        memcpy(words, in->at, sizeof words);
        in->at += sizeof words;
    }
    return (struct hash128){.lo = words[0], .hi = words[1]};
}

enum err unpack_end(const struct unpack *in) {
    return in->failed || in->at != in->end ? ERR_DAMAGED : OK;
}
