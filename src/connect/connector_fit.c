/* connector_fit: see connector_fit.h. */
#include "connect/connector_fit.h"

#include <stdio.h>

enum err connector_commands(const struct connector *connector, const struct registry *registry,
                            struct fault *fault) {
    uint32_t before = fault->count;
    for (uint32_t i = 0; i < connector->taken_count; i++) {
        const struct connector_receive *receive = connector->taken[i];
        const struct command_type *type = registry_command(registry, receive->command);
        if (type && type->shape && !(type->flags & (COMMAND_INTERNAL | COMMAND_READS)))
            continue;
        char place[512];
        bool webhook = i < connector->receive.count; /* they come first */
        snprintf(place, sizeof place, "connectors/%.*s/connector.yaml:%u:/%s/%u/command",
                 STR_FMT(connector->name), receive->line, webhook ? "receive" : "poll",
                 webhook ? i : i - connector->receive.count);
        fault_add(fault, str_c(place), "there is no command \"%.*s\"", STR_FMT(receive->command));
    }
    return fault->count > before ? ERR_INVALID : OK;
}
