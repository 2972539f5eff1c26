/* state: see state_priv.h; and the registry of what the capabilities offer. */
#include "core/state_priv.h"

#include <stdlib.h>

#include "base/mem.h"

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
    keys_free(&state->keys);
    mem_free(state);
}

enum err state_create(const struct registry *registry, const struct config *config,
                      struct state **out) {
    struct state *state = mem_zalloc(sizeof *state);
    if (!state)
        return ERR_NOMEM;
    state->registry = registry;
    keys_init(&state->keys);
    state->parts = mem_zalloc((registry->count + 1) * sizeof *state->parts);
    if (!state->parts)
        goto nomem;
    for (uint32_t i = 0; i < registry->count; i++) {
        const struct capability *capability = registry->capabilities[i];
        if (capability->state_size == 0)
            continue;
        void *part = mem_zalloc(capability->state_size);
        if (!part)
            goto nomem;
        if (capability->state_init && capability->state_init(part, config) != OK) {
            mem_free(part);
            goto nomem;
        }
        state->parts[i] = part;
    }
    *out = state;
    return OK;
nomem:
    state_destroy(state);
    return ERR_NOMEM;
}

/* The keys a command used travel on its first event. */
static enum err state_apply_keys(struct state *state, const struct event *event,
                                 int64_t idempotency_us) {
    const struct event_meta *meta = &event->meta;
    struct hash128 fingerprint = {0}, key;
    enum err err = OK;
    if (!meta->idem.len && !meta->natural.len)
        return OK;
    must(hash_parse(meta->fingerprint, &fingerprint));
    if (meta->idem.len) {
        must(hash_parse(meta->idem, &key));
        keys_expire(&state->keys, event->time_us - idempotency_us);
        err = keys_add(&state->keys, key, fingerprint.lo, event->seq, event->time_us);
    }
    if (err == OK && meta->natural.len) {
        must(hash_parse(meta->natural, &key));
        err = keys_add(&state->keys, key, fingerprint.lo, event->seq, KEY_FOREVER);
    }
    return err;
}

enum err state_apply(struct state *state, const struct event *event, int64_t idempotency_us) {
    enum err err = event->type->apply ? event->type->apply(state, event) : OK;
    if (err == OK)
        err = state_apply_keys(state, event, idempotency_us);
    const struct capability *const *all = state->registry->capabilities;
    for (uint32_t i = 0; err == OK && i < state->registry->count; i++)
        if (all[i]->observe)
            err = all[i]->observe(state, event);
    return err;
}
