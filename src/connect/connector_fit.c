/* connector_fit: see connector_fit.h. */
#include "connect/connector_fit.h"

#include <stdio.h>

static void command_check(const struct registry *registry, struct str command, struct str place,
                          struct fault *fault) {
    const struct command_type *type = registry_command(registry, command);
    if (!type || !type->shape || type->flags & (COMMAND_INTERNAL | COMMAND_READS))
        fault_add(fault, place, "there is no command \"%.*s\"", STR_FMT(command));
}

enum err connector_commands(const struct connector *connector, const struct registry *registry,
                            struct fault *fault) {
    uint32_t before = fault->count;
    for (uint32_t i = 0; i < connector->taken_count; i++) {
        const struct connector_receive *receive = connector->taken[i];
        char place[512], at[64];
        uint32_t webhooks = connector->receive.count, polls = connector->poll.count; /* in this order */
        bool webhook = i < webhooks, poll = i < webhooks + polls;
        snprintf(at, sizeof at, "%s/%u/command", webhook ? "receive" : poll ? "poll" : "files",
                 i - (webhook ? 0 : poll ? webhooks : webhooks + polls));
        snprintf(place, sizeof place, "connectors/%.*s/connector.yaml:%u:/%s",
                 STR_FMT(connector->name), receive->line, at);
        if (receive->command.len)
            command_check(registry, receive->command, str_c(place), fault);
        for (uint32_t k = 0; k < receive->commands.count; k++) {
            snprintf(place, sizeof place, "connectors/%.*s/connector.yaml:%u:/%ss/%u",
                     STR_FMT(connector->name), receive->line, at, k);
            command_check(registry, *list_at(receive->commands, struct str, k), str_c(place), fault);
        }
    }
    return fault->count > before ? ERR_INVALID : OK;
}
