/* second: see second.h. Owns the flags of the routes. */
#include "gateway/second.h"

#include "base/encode.h"
#include "domain/approvals.h"
#include "gateway/gateway_priv.h"

static bool is_named(struct str name, const struct route_entry *entry) {
    return str_is(name, "all") || str_eq(name, entry->idem);
}

enum err second_open(struct gateway *gateway, struct fault *fault) {
    struct shape_list names = gateway->config->two_persons;

    gateway->second = arena_array(&gateway->arena, gateway->route_count, sizeof(bool));
    if (!gateway->second)
        return fault_set(fault, ERR_NOMEM, "no memory for the routes");
    for (uint32_t n = 0; n < names.count; n++) {
        struct str name = *list_at(names, struct str, n);
        bool any = false;

        for (uint32_t i = 0; i < gateway->route_count; i++) {
            const struct route_entry *entry = router_entry(gateway->router, i);

            if (!(entry->route->flags & ROUTE_TWO_PERSONS) || !is_named(name, entry))
                continue;
            must(entry->route->query);
            any = gateway->second[i] = true;
        }
        if (any)
            continue;
        fault_set(fault, ERR_INVALID, "penstock.yaml, two_persons: \"%.*s\" can not need two persons",
                  (int)(name.len < 100 ? name.len : 100), name.ptr);
        for (uint32_t i = 0; i < gateway->route_count; i++)
            if (router_entry(gateway->router, i)->route->flags & ROUTE_TWO_PERSONS)
                fault_add(fault, STR("these can"), "%.*s",
                          STR_FMT(router_entry(gateway->router, i)->idem));
        fault->err = ERR_INVALID;
        return ERR_INVALID;
    }
    return OK;
}

bool second_needed(const struct call *call) {
    return call->gateway->second[call->match.entry->index];
}

enum err second_make(struct call *call) {
    const struct http_request *request = http_exchange_request(call->ex);
    const struct route *route = call->match.entry->route;
    struct gateway *gateway = call->gateway;
    struct arena *arena = http_exchange_arena(call->ex);
    struct approval_request *r = arena_new(arena, struct approval_request);
    struct str *args = arena_array(arena, call->match.arg_count + 1, sizeof *args);
    int64_t until_us = clock_now_us(gateway->clock) +
                       gateway->config->settings.approval_seconds * 1000000;
    enum err err;

    if (!r || !args)
        return fault_set(&call->fault, ERR_NOMEM, "no memory for the request");
    if (call->person.len == 0 || call->person.len > APPROVAL_PERSON_MAX ||
        call->actor.len > APPROVAL_PERSON_MAX)
        return fault_set(&call->fault, ERR_FORBIDDEN, "a caller with a name of 1 to %d bytes must ask",
                         APPROVAL_PERSON_MAX);
    for (uint32_t i = 0; i < call->match.arg_count; i++)
        args[i] = call->match.args[i];
    *r = (struct approval_request){.method = str_c(route->method), .path = str_c(route->path),
                                   .args = {args, call->match.arg_count},
                                   .query = request->query, .body = request->body,
                                   .requested_by = call->person, .requester = call->actor,
                                   .expires_at = {.us = until_us}};
    r->has = 1u << APPROVAL_METHOD | 1u << APPROVAL_PATH | 1u << APPROVAL_ARGS |
             1u << APPROVAL_REQUESTED_BY | 1u << APPROVAL_REQUESTER | 1u << APPROVAL_EXPIRES_AT;
    if (request->query.len)
        shape_mark(r, APPROVAL_QUERY);
    if (request->body.len)
        shape_mark(r, APPROVAL_BODY);
    if (request->body.len && !utf8_valid(request->body))
        return fault_set(&call->fault, ERR_MALFORMED, "the body is not UTF-8");
    err = command_prepare(gateway->options.core, &approval_request_command, arena, r, &call->command,
                          &call->fault);
    call->command.actor = call->actor;
    call->command.correlation = call->context.correlation;
    call->command.traceparent = call->context.traceparent;
    call->command.from = call->from;
    call->command.traffic = call->traffic;
    call->command.origin = &call->loop->origin;
    call->asks = true;
    return err;
}
