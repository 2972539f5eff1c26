/* cards: payment card numbers at the door (requirement: none enters). A request that holds one is
 * refused by its pointers, or masked and taken (setting card_numbers_refuse); either way a person is
 * told by an exception. What a webhook brings is masked where it is received (connect/receive.c).
 *
 * Holds always: neither an answer, nor a log line, nor an event names the digits. */
#include "gateway/gateway_priv.h"

#include "base/hash.h"
#include "base/log.h"
#include "domain/exceptions.h"
#include "retail/cards.h"

#define TELL_AGAIN_US (60 * INT64_C(1000000))

static const struct settings *settings_of(const struct call *call) {
    return &call->gateway->config->settings;
}

enum err cards_check(struct call *call, struct str text, struct arena *arena,
                     const struct json **document, struct str *masked, struct fault *fault) {
    const struct settings *settings = settings_of(call);
    bool strict = settings->card_numbers_strict != 0;
    struct cards_masked found;
    enum err err;

    if (settings->card_numbers_refuse)
        return cards_find(*document, text, strict, fault) > 0 ? ERR_CARD_DATA : OK;
    err = cards_mask(*document, text, strict, arena, document, &found, fault);
    if (err == OK && found.count > 0) {
        *masked = found.where;
        counter_add(&call->loop->counters.cards_masked, 1);
    }
    return err;
}

/* What is kept of a request besides its body: parts of the path, the Idempotency-Key; and the
 * bodies of routes that are no commands. These are never masked: they name something. */
enum err cards_check_rest(struct call *call) {
    const struct route *route = call->match.entry->route;
    bool strict = settings_of(call)->card_numbers_strict != 0;
    struct arena *arena = http_exchange_arena(call->ex);
    const struct json *document;
    struct fault unread = {0};

    if (cards_in_id(call->context.idem_key, strict))
        return fault_set(&call->fault, ERR_CARD_DATA,
                         "the Idempotency-Key looks like a payment card number");
    if (route->command && route->command->flags & COMMAND_READS)
        return OK;
    for (uint32_t i = 0; i < call->match.arg_count && !hub_route_receives(route); i++)
        if (cards_in_id(call->match.args[i], strict))
            return fault_set(&call->fault, ERR_CARD_DATA,
                             "a part of the path looks like a payment card number");
    if (route->query && call->query.body.len > 0 &&
        json_parse(call->loop->parser, arena, call->query.body, true, &document, &unread) == OK &&
        cards_find(document, call->query.body, strict, &call->fault) > 0)
        return ERR_CARD_DATA;
    return OK;
}

/* Not for each of a thousand requests of a client that does not know better: once a minute for a
 * caller and route, as far as this loop remembers. */
static bool tell_now(struct call *call) {
    struct cards_told *told = call->loop->cards_told, *oldest = told;
    uint64_t who = hash64(call->actor, call->match.entry->index);
    int64_t now_us = clock_tick_us(call->gateway->clock);

    for (struct cards_told *t = told; t < told + CARDS_TOLD_MAX; t++) {
        if (t->at_us && t->who == who && now_us - t->at_us < TELL_AGAIN_US)
            return false;
        if (t->at_us < oldest->at_us)
            oldest = t;
    }
    *oldest = (struct cards_told){.who = who, .at_us = now_us ? now_us : 1};
    return true;
}

static void pointers_write(struct buf *out, const struct fault *fault) {
    for (const struct fault_item *item = fault->first; item; item = item->next) {
        if (out->len + item->pointer.len + 2 > CARDS_TOLD_BYTES)
            return;
        if (out->len > 0)
            buf_lit(out, ", ");
        buf_str_add(out, item->pointer);
    }
}

bool cards_tell(struct call *call, struct arena *arena, struct command *command,
                const struct fault *fault) {
    const struct route *route = call->match.entry->route;
    struct exception *exception = arena_new(arena, struct exception);
    struct fault broken = {0};
    struct buf where;

    counter_add(&call->loop->counters.cards_refused, 1);
    if (!exception || !tell_now(call))
        return false;
    buf_init(&where, 0);
    pointers_write(&where, fault);
    log_line(LOG_WARN, "gateway", "card data refused", "actor=%s route=%s correlation=%s pointers=%s",
             log_quote(call->actor), log_quote(str_c(route->path)),
             log_quote(call->context.correlation), log_quote(buf_str(&where)));
    exception->kind = STR("card-data");
    exception->subject = call->actor.len ? call->actor : STR("nobody");
    exception->cause = arena_printf(
        arena, "%s %s held what looks like a payment card number%s%.*s: the request was refused, and "
               "nothing of it is stored", route->method, route->path, where.len ? " at " : "",
        STR_FMT(buf_str(&where)));
    exception->action = STR("Find out why this caller sends card numbers; only the payment provider may "
                            "have them. Further refusals of the next minute are not told");
    exception->owner = STR("security");
    buf_free(&where);
    shape_mark(exception, EXCEPTION_KIND);
    shape_mark(exception, EXCEPTION_SUBJECT);
    shape_mark(exception, EXCEPTION_CAUSE);
    shape_mark(exception, EXCEPTION_ACTION);
    shape_mark(exception, EXCEPTION_OWNER);
    if (!exception->cause.ptr ||
        command_prepare_fact(call->gateway->options.core, &exception_raise_command, arena, exception,
                             command, &broken) != OK)
        return false;
    command->actor = call->actor;
    command->correlation = call->context.correlation;
    command->traceparent = call->context.traceparent;
    command->origin = &call->loop->origin;
    return true;
}

static void told(struct command *command) {
    struct call *call = command->origin_ctx;

    call_problem(call, ERR_CARD_DATA, &call->fault);
}

void cards_refuse(struct call *call) {
    struct fault full = {0};

    if (cards_tell(call, http_exchange_arena(call->ex), &call->command, &call->fault)) {
        call->issuer.completed = told;
        call->command.origin_ctx = call;
        if (core_submit(call->gateway->options.core, &call->command, &full) == OK)
            return;
    }
    call_problem(call, ERR_CARD_DATA, &call->fault);
}
