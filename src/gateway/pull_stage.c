/* pull_stage: POST /v1/subscriptions/{name}/pull, ack, nack and extend: delivery's thread answers
 * (deliver/pull.h), at once or when there is something to hand out. Here a call becomes an ask and its
 * end an answer. Neither the loop nor a worker waits. */
#include "gateway/gateway_priv.h"

#include "deliver/pull.h"

/* Delivery's thread. */
static void ask_done(struct pull_ask *ask) {
    struct call *call = ask->ctx;

    call->loop->origin.deliver(&call->loop->origin, &call->command);
}

static void ask_ended(struct command *command) {
    struct call *call = command->origin_ctx;
    struct pull_ask *ask = call->pull;
    enum err err = ask->err;

    if (err != OK)
        call_problem(call, fault_set(&call->fault, err, "%s", ask->fault.detail), &call->fault);
    else
        call_answer(call, 200, STR("application/json"), buf_str(&ask->answer),
                    core_seq(call->gateway->options.core), STR_NONE, false);
    buf_free(&ask->answer);
}

static enum pull_what what_of(const struct route *route) {
    return route->body == &pull_take_shape  ? PULL_TAKE
           : route->body == &pull_ack_shape ? PULL_ACK
           : route->body == &pull_nack_shape ? PULL_NACK
                                             : PULL_EXTEND;
}

static enum err body_read(struct call *call, struct pull_body **out) {
    static const char empty[2 + JSON_PADDING] = "{}";
    const struct route *route = call->match.entry->route;
    struct str text = call->query.body.len ? call->query.body : (struct str){empty, 2};
    const struct json *document;
    enum err err = json_parse(call->loop->parser, call->query.arena, text, true, &document, &call->fault);

    return err == OK ? shape_decode(route->body, document, call->query.arena, STR(""), (void **)out,
                                    &call->fault)
                     : err;
}

bool pull_is(const struct route *route) { return route->query == pull_query; }

void pull_begin(struct call *call) {
    struct pull_ask *ask = arena_new(http_exchange_arena(call->ex), struct pull_ask);
    struct pull_body *body;
    enum err err = ask ? body_read(call, &body) : fault_set(&call->fault, ERR_NOMEM, "no memory for the request");

    if (err == OK) {
        enum pull_what what = what_of(call->match.entry->route);

        *ask = (struct pull_ask){.what = what,
                                 .name = call->match.args[0],
                                 .max = body->max ? body->max : 10,
                                 .wait_s = body->wait_s,
                                 .lease_s = body->lease_s ? body->lease_s : 60,
                                 .delay_s = body->has & 2u ? body->delay_s : -1,
                                 .leases = body->leases.items,
                                 .lease_count = body->leases.count,
                                 .done = ask_done,
                                 .ctx = call};
        buf_init(&ask->answer, 0);
        call->pull = ask;
        call->issuer.completed = ask_ended;
        call->command.origin_ctx = call;
        err = pull_submit(call->match.entry->ctx, ask, &call->fault);
    }
    if (err != OK)
        call_problem(call, err, &call->fault);
}
