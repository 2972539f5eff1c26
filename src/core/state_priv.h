/* The cell's whole state: one part per capability, and the keys the core itself keeps. */
#ifndef PENSTOCK_CORE_STATE_PRIV_H
#define PENSTOCK_CORE_STATE_PRIV_H

#include "core/capability.h"
#include "core/keys_priv.h"

struct state {
    const struct registry *registry;
    struct keys keys;
    void **parts; /* by index of the capability in the registry */
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

enum err state_create(const struct registry *registry, const struct config *config,
                      struct state **out) WARN_UNUSED;
void state_destroy(struct state *state);
/* Applies an event whole: its own apply, every observe, the core's keys. A failure (out of
 * memory) leaves the state unusable: the caller rebuilds it. */
enum err state_apply(struct state *state, const struct event *event, int64_t idempotency_us)
    WARN_UNUSED;

#endif
