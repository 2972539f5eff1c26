/* operation_stage: GET and POST /s/{role}/{operation}: an operation of the system that holds the role,
 * while the caller waits. The asking is done elsewhere (deliver/operate.h); here a call becomes an
 * ask and its end an answer. The loop never waits. */
#include <stdio.h>

#include "gateway/gateway_priv.h"
#include "gateway/hub_shapes.h"

#include "connect/operation.h"
#include "deliver/operate.h"

#define SCOPE_ALL "systems:call" /* every operation */

static struct call *call_of(struct operate_ask *ask) { return ask->ctx; }

/* Operate's thread. */
static void ask_done(struct operate_ask *ask) {
    struct call *call = call_of(ask);

    call->loop->origin.deliver(&call->loop->origin, &call->command);
}

static void member(struct buf *out, const char *name, struct str text) {
    buf_printf(out, ",\"%s\":", name);
    if (text.ptr)
        buf_json_str(out, text);
    else
        buf_lit(out, "null");
}

static void answer_write(const struct operate_ask *ask, struct buf *out) {
    buf_lit(out, "{\"role\":");
    buf_json_str(out, ask->role);
    member(out, "operation", ask->operation);
    member(out, "connector", ask->connector);
    buf_printf(out, ",\"fallback\":%s", ask->fallback ? "true" : "false");
    if (ask->fallback)
        member(out, "reason", ask->reason);
    buf_lit(out, ",\"answer\":");
    buf_str_add(out, ask->answer);
    buf_char(out, '}');
}

static void ask_ended(struct command *command) {
    struct call *call = command->origin_ctx;
    struct operate_ask *ask = call->ask;
    struct buf *out = &call->loop->out;

    if (ask->err != OK) {
        /* told in the hub's words: the ask's memory goes */
        enum err err = fault_set(&call->fault, ask->err, "%s", ask->fault.detail);

        arena_free(&ask->arena);
        call_problem(call, err, &call->fault);
        return;
    }
    buf_clear(out);
    answer_write(ask, out);
    arena_free(&ask->arena);
    if (!buf_ok(out)) {
        call_problem(call, fault_set(&call->fault, ERR_NOMEM, "no memory for the answer"), &call->fault);
        return;
    }
    call_answer(call, 200, STR("application/json"), buf_str(out), core_seq(call->gateway->options.core),
                STR_NONE, false);
}

static bool is_ours(struct str name) {
    return str_is(name, "region") || str_is(name, "store") || str_is(name, "key");
}

/* What is not ours is the operation's: a JSON object of texts. */
static struct str query_text(struct call *call) {
    struct buf out;
    bool any = false;

    buf_init(&out, 65536);
    for (uint32_t i = 0; i < call->query.value_count; i++) {
        const struct query_value *value = &call->query.values[i];

        if (is_ours(value->name))
            continue;
        buf_char(&out, any ? ',' : '{');
        buf_json_str(&out, value->name);
        buf_char(&out, ':');
        buf_json_str(&out, value->value);
        any = true;
    }
    buf_str_add(&out, any ? STR("}") : STR("{}"));
    struct str text = buf_ok(&out) ? arena_str(call->query.arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    return text;
}

static enum err body_check(struct call *call) {
    const struct json *ignored;

    if (call->query.body.len == 0)
        return OK;
    return json_parse(call->loop->parser, call->query.arena, call->query.body, true, &ignored, &call->fault);
}

bool operation_is(const struct route *route) { return route->query == operation_query; }

void operation_begin(struct call *call) {
    struct operate *operate = call->gateway->options.operate;
    struct operate_ask *ask = arena_new(http_exchange_arena(call->ex), struct operate_ask);
    enum err err = ask && operate ? body_check(call) : OK;

    if (!ask)
        err = fault_set(&call->fault, ERR_NOMEM, "no memory for the request");
    else if (!operate)
        err = fault_set(&call->fault, ERR_NOT_FOUND, "there are no connectors");
    if (err == OK) {
        *ask = (struct operate_ask){.role = call->match.args[0],
                                    .operation = call->match.args[1],
                                    .region = query_value(&call->query, "region"),
                                    .store = query_value(&call->query, "store"),
                                    .key = query_value(&call->query, "key"),
                                    .idempotency_key = call->context.idem_key,
                                    .correlation = call->context.correlation,
                                    .traceparent = call->context.traceparent,
                                    .query = query_text(call),
                                    .body = call->query.body.len ? call->query.body : STR_NONE,
                                    .done = ask_done,
                                    .ctx = call};
        arena_init(&ask->arena, (size_t)16 << 20);
        call->ask = ask;
        call->issuer.completed = ask_ended;
        call->command.origin_ctx = call;
        err = operate_submit(operate, ask, &call->fault);
        if (err != OK)
            arena_free(&ask->arena);
    }
    if (err != OK)
        call_problem(call, err, &call->fault);
}

/* --- who may ----------------------------------------------------------------------------- */

/* The scope of one operation: systems:tax.quote. */
static struct str scope_of(struct arena *arena, struct str role, struct str operation) {
    return arena_printf(arena, "systems:%.*s.%.*s", STR_FMT(role), STR_FMT(operation));
}

bool operation_may(struct call *call, const struct principal *principal) {
    const struct router *router = call->gateway->router;
    struct str scope;

    if (!operation_is(call->match.entry->route) || call->match.arg_count < 2)
        return false;
    scope = scope_of(http_exchange_arena(call->ex), call->match.args[0], call->match.args[1]);
    for (uint32_t i = 0; scope.ptr && i < router_scope_count(router); i++)
        if (str_is(scope, router_scope(router, i)))
            return principal_may(principal, i);
    return false;
}

enum err operation_scopes_add(struct gateway *gateway, struct fault *fault) {
    struct roster *roster = gateway->options.roster;
    const struct connectors *connectors = roster ? roster_take(roster) : NULL;
    enum err err = OK;
    uint32_t index;

    for (uint32_t c = 0; connectors && c < connectors->count; c++) {
        const struct shape_list *list = &connectors->items[c]->operations;

        for (uint32_t i = 0; err == OK && i < list->count; i++) {
            struct str rest = list_at(*list, struct connector_operation, i)->operation;
            struct str role = str_cut(&rest, '.'), scope = scope_of(&gateway->arena, role, rest);

            err = scope.ptr ? router_scope_add(gateway->router, scope.ptr, &index, fault)
                            : fault_set(fault, ERR_NOMEM, "no memory for the scopes");
        }
    }
    connectors_release(connectors);
    return err;
}
