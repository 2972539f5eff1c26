/* The cell's whole state: one part per capability, and the keys the core itself keeps. */
#ifndef PENSTOCK_CORE_STATE_PRIV_H
#define PENSTOCK_CORE_STATE_PRIV_H

#include "core/capability.h"
#include "core/entity_priv.h"
#include "core/keys_priv.h"

struct state {
    const struct registry *registry;
    struct keys natural, idempotent;
    int64_t time_us; /* of the newest event: never runs backwards */
    uint64_t sum;    /* of the newest event's record: whether a shelf belongs to a journal */
    void **parts; /* by index of the capability in the registry */
    struct entities entities;
};

struct registry {
    const struct capability *const *capabilities;
    uint32_t count;
    /* Sorted by name, for look-up. */
    const struct event_type **events;
    uint32_t event_count;
    const struct command_type **commands;
    uint32_t command_count;
};

extern const struct entity_kind clock_entity;

uint64_t record_sum(const struct record *record);

/* Every kind of entity, in the order of the shelf's spaces. */
uint32_t core_kinds(const struct capability *const *capabilities,
                    const struct entity_kind *out[SHELF_SPACES_MAX]);

enum err state_create(const struct registry *registry, const struct config *config,
                      struct shelf *shelf, struct state **out) WARN_UNUSED;
void state_destroy(struct state *state);
/* Applies an event whole: its own apply, every observe, the core's keys. A failure (out of
 * memory, the shelf can not be read) leaves the state unusable: the caller rebuilds it. */
enum err state_apply(struct state *state, const struct event *event) WARN_UNUSED;

#endif
