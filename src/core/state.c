/* state: see state_priv.h; and the registry of what the capabilities offer. */
#include "core/state_priv.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/planted.h"
#include "core/core.h"

static int event_type_order(const void *a, const void *b) {
    return strcmp((*(const struct event_type *const *)a)->name,
                  (*(const struct event_type *const *)b)->name);
}
static int command_type_order(const void *a, const void *b) {
    return strcmp((*(const struct command_type *const *)a)->name,
                  (*(const struct command_type *const *)b)->name);
}

static void registry_count(struct registry *registry) {
    for (const struct capability *const *c = registry->capabilities; *c; c++) {
        registry->count++;
        for (const struct event_type *const *e = (*c)->events; e && *e; e++)
            registry->event_count++;
        for (const struct command_type *const *t = (*c)->commands; t && *t; t++)
            registry->command_count++;
    }
}

static void registry_fill(struct registry *registry) {
    uint32_t events = 0, commands = 0;
    for (const struct capability *const *c = registry->capabilities; *c; c++) {
        for (const struct event_type *const *e = (*c)->events; e && *e; e++)
            registry->events[events++] = *e;
        for (const struct command_type *const *t = (*c)->commands; t && *t; t++)
            registry->commands[commands++] = *t;
    }
    qsort(registry->events, events, sizeof *registry->events, event_type_order);
    qsort(registry->commands, commands, sizeof *registry->commands, command_type_order);
    for (uint32_t i = 1; i < events; i++)
        must(event_type_order(&registry->events[i - 1], &registry->events[i]) < 0);
    for (uint32_t i = 1; i < commands; i++)
        must(command_type_order(&registry->commands[i - 1], &registry->commands[i]) < 0);
}

struct registry *registry_create(const struct capability *const *capabilities) {
    struct registry *registry = mem_zalloc(sizeof *registry);
    if (!registry)
        return NULL;
    registry->capabilities = capabilities;
    registry_count(registry);
    registry->events = mem_zalloc((registry->event_count + 1) * sizeof *registry->events);
    registry->commands = mem_zalloc((registry->command_count + 1) * sizeof *registry->commands);
    if (!registry->events || !registry->commands) {
        registry_destroy(registry);
        return NULL;
    }
    registry_fill(registry);
    return registry;
}

void registry_destroy(struct registry *registry) {
    if (!registry)
        return;
    mem_free(registry->events);
    mem_free(registry->commands);
    mem_free(registry);
}

const struct capability *const *registry_capabilities(const struct registry *registry) {
    return registry->capabilities;
}

const struct event_type *registry_event(const struct registry *registry, struct str name) {
    uint32_t low = 0, high = registry->event_count;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        int order = str_cmp(str_c(registry->events[mid]->name), name);
        if (order == 0)
            return registry->events[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

const struct command_type *registry_command(const struct registry *registry, struct str name) {
    for (uint32_t i = 0; i < registry->command_count; i++)
        if (str_is(name, registry->commands[i]->name))
            return registry->commands[i];
    return NULL;
}

void *state_of(struct state *state, const struct capability *capability) {
    const struct capability *const *all = state->registry->capabilities;
    for (uint32_t i = 0; i < state->registry->count; i++)
        if (all[i] == capability)
            return state->parts[i];
    must_failed("capability is registered", __FILE__, __LINE__);
}

const void *state_part(const struct state *state, const struct capability *capability) {
    return state_of((struct state *)(uintptr_t)state, capability);
}

void state_destroy(struct state *state) {
    if (!state)
        return;
    for (uint32_t i = 0; state->parts && i < state->registry->count; i++) {
        const struct capability *capability = state->registry->capabilities[i];
        if (state->parts[i] && capability->state_free)
            capability->state_free(state->parts[i]);
        mem_free(state->parts[i]);
    }
    mem_free(state->parts);
    keys_free(&state->natural);
    keys_free(&state->idempotent);
    for (uint32_t i = 0; state->entities.sets && i < state->entities.count; i++)
        entity_set_free(&state->entities.sets[i]);
    mem_free(state->entities.sets);
    arena_free(&state->entities.arena);
    mem_free(state);
}

static void set_add(struct state *state, const struct entity_kind *kind, void *part) {
    struct entity_set *set = &state->entities.sets[state->entities.count++];
    must(!kind->evict || (kind->find && kind->bytes && kind->key));
    *set = (struct entity_set){.kind = kind, .part = part};
    map_init(&set->loose_map);
    buf_init(&set->loose_text, SIZE_MAX / 4);
}

static uint32_t kinds_count(const struct registry *registry) {
    uint32_t n = 3; /* the core's own */
    for (uint32_t i = 0; i < registry->count; i++)
        for (const struct entity_kind *const *k = registry->capabilities[i]->entities; k && *k; k++)
            n++;
    return n;
}

/* The order is that of the spaces in the shelf. */
static enum err sets_create(struct state *state, struct shelf *shelf) {
    const struct registry *registry = state->registry;
    struct entities *entities = &state->entities;
    entities->shelf = shelf;
    arena_init(&entities->arena, SIZE_MAX / 4);
    fault_init(&entities->fault, NULL);
    entities->sets = mem_zalloc(kinds_count(registry) * sizeof *entities->sets);
    if (!entities->sets)
        return ERR_NOMEM;
    set_add(state, &clock_entity, state);
    set_add(state, &key_natural_entity, &state->natural);
    set_add(state, &key_idempotent_entity, &state->idempotent);
    for (uint32_t i = 0; i < registry->count; i++)
        for (const struct entity_kind *const *k = registry->capabilities[i]->entities; k && *k; k++)
            set_add(state, *k, state->parts[i]);
    must(entities->count <= SHELF_SPACES_MAX);
    return OK;
}

uint32_t core_kinds(const struct capability *const *capabilities,
                    const struct entity_kind *out[SHELF_SPACES_MAX]) {
    uint32_t n = 0;
    out[n++] = &clock_entity;
    out[n++] = &key_natural_entity;
    out[n++] = &key_idempotent_entity;
    for (; *capabilities; capabilities++)
        for (const struct entity_kind *const *k = (*capabilities)->entities; k && *k; k++) {
            must(n < SHELF_SPACES_MAX);
            out[n++] = *k;
        }
    return n;
}

uint32_t core_spaces(const struct capability *const *capabilities,
                     struct shelf_space out[SHELF_SPACES_MAX]) {
    const struct entity_kind *kinds[SHELF_SPACES_MAX];
    uint32_t n = core_kinds(capabilities, kinds);
    for (uint32_t i = 0; i < n; i++)
        out[i] = (struct shelf_space){.name = kinds[i]->name,
                                      .sparse = (kinds[i]->flags & ENTITY_SPARSE) != 0,
                                      .expires = (kinds[i]->flags & ENTITY_EXPIRES) != 0};
    return n;
}

uint64_t record_sum(const struct record *record) {
    uint64_t sum = hash64(record->data, record->seq);
    sum = hash64(record->meta, sum ^ (uint64_t)record->time_us);
    return hash64(record->subject, hash64(record->type, sum));
}

/* When the newest event happened: time never runs backwards over a restart. And which it was. */
static enum err clock_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    (void)key;
    (void)slot;
    struct unpack in = unpack_of(bytes);
    ((struct state *)part)->time_us = unpack_int(&in);
    ((struct state *)part)->sum = unpack_uint(&in);
    return unpack_end(&in);
}
const struct entity_kind clock_entity = {.name = "clock", .flags = ENTITY_RESIDENT,
                                         .help = "Time and sum of the newest event", .load = clock_load};

enum err state_create(const struct registry *registry, const struct config *config,
                      struct shelf *shelf, struct state **out) {
    struct state *state = mem_zalloc(sizeof *state);
    if (!state)
        return ERR_NOMEM;
    state->registry = registry;
    keys_init(&state->natural);
    keys_init(&state->idempotent);
    state->parts = mem_zalloc((registry->count + 1) * sizeof *state->parts);
    if (!state->parts)
        goto nomem;
    for (uint32_t i = 0; i < registry->count; i++) {
        const struct capability *capability = registry->capabilities[i];
        if (capability->state_size == 0)
            continue;
        must(capability->entities); /* else a restart would forget it */
        void *part = mem_zalloc(capability->state_size);
        if (!part)
            goto nomem;
        if (capability->state_init && capability->state_init(part, config) != OK) {
            mem_free(part);
            goto nomem;
        }
        state->parts[i] = part;
    }
    if (sets_create(state, shelf) != OK)
        goto nomem;
    *out = state;
    return OK;
nomem:
    state_destroy(state);
    return ERR_NOMEM;
}

static enum err key_apply(struct state *state, const struct entity_kind *kind, struct keys *keys,
                          struct str hash, const struct event *event) {
    struct hash128 fingerprint = {0}, key;
    if (!hash.len || (PLANTED(FORGET_KEY) && kind == &key_idempotent_entity && event->seq % 4 == 0))
        return OK;
    must(hash_parse(event->meta.fingerprint, &fingerprint) && hash_parse(hash, &key));
    uint32_t slot = keys_add(keys, key, fingerprint.lo, event->seq, event->time_us);
    return slot == MAP_NONE ? ERR_NOMEM : entity_changed(state, kind, slot);
}

/* The keys a command used travel on its first event. */
static enum err state_apply_keys(struct state *state, const struct event *event) {
    enum err err = key_apply(state, &key_idempotent_entity, &state->idempotent, event->meta.idem,
                             event);
    if (err == OK)
        err = key_apply(state, &key_natural_entity, &state->natural, event->meta.natural, event);
    return err;
}

enum err state_apply(struct state *state, const struct event *event) {
    enum err err = event->type->apply ? event->type->apply(state, event) : OK;
    if (err == OK)
        err = state_apply_keys(state, event);
    const struct capability *const *all = state->registry->capabilities;
    for (uint32_t i = 0; err == OK && i < state->registry->count; i++)
        if (all[i]->observe)
            err = all[i]->observe(state, event);
    state->time_us = event->time_us;
    return err == OK ? state->entities.failed : err;
}
