/* caller: the stage that asks who calls and whether they may. A call whose token names a key that
 * is being fetched from its issuer just now waits for that, whole, for a moment: so that an issuer
 * may change its keys without a call of its callers being refused.
 *
 * What holds always: a call waits at most WAIT_US, and no longer than a fetch is under way; at most
 * UNSURE_MAX wait on a loop. Bulk calls and large bodies do not wait, because who nobody knows may not
 * fill memory: they are told to come again. */
#include "gateway/gateway_priv.h"

#define WAIT_US INT64_C(2000000)
#define UNSURE_MAX 1024
#define BODY_MAX 65536 /* of a call whose caller is not known yet */

static void personal_allow(struct call *call, bool may) {
    struct keyring *keyring = core_keyring(call->gateway->options.core);

    call->personal = may && keyring;
    if (call->personal)
        audit_keyring_init(&call->keyring, keyring);
}

static enum err caller_find(struct call *call) {
    struct arena *arena = http_exchange_arena(call->ex);
    struct str header = http_request_header(http_exchange_request(call->ex), "Authorization");
    const struct route_entry *entry = call->match.entry;
    const struct principal *principal;
    enum err err = header.ptr ? ERR_NOT_FOUND : session_caller(call, &principal, NULL);

    if (err == ERR_NOT_FOUND) {
        fault_init(&call->fault, arena); /* no session: that is no fault yet */
        err = auth_check(call->loop->auth, header, http_exchange_peer(call->ex), &principal,
                         &call->fault);
    }
    if (err == ERR_UNAUTHENTICATED) {
        limit_failed(call);
        call->challenge = auth_challenge(arena, err, header.ptr, NULL, &call->fault);
    }
    if (err != OK)
        return err;
    limit_passed(call);
    call->principal = principal;
    call->actor = arena_str(arena, principal->actor);
    if (!call->actor.ptr)
        return fault_set(&call->fault, ERR_NOMEM, "no memory for the request");
    if (entry->route->query)
        call->person = arena_str(arena, principal->name.len ? principal->name : principal->actor);
    personal_allow(call, principal_may(principal, call->gateway->personal_scope));
    call->audit = principal_may(principal, call->gateway->audit_scope);
    if (principal_may(principal, entry->scope) || operation_may(call, principal))
        return limit_caller(call);
    err = fault_set(&call->fault, ERR_FORBIDDEN, "this caller lacks the scope %s",
                    entry->route->scope);
    call->challenge = auth_challenge(arena, err, true, entry->route->scope, &call->fault);
    return err;
}

static bool body_is_small(const struct http_request *request) {
    uint64_t len;

    return !request->has_body ||
           (str_u64(http_request_header(request, "Content-Length"), &len) && len <= BODY_MAX);
}

enum err caller_check(struct call *call) {
    enum err err = limit_guard(call);

    if (err != OK || call->match.entry->scope == ROUTE_OPEN)
        return err;
    err = caller_find(call);
    if (err != ERR_UNAVAILABLE || !auth_awaits_keys(call->loop->auth) ||
        call->traffic == CLASS_BULK || !body_is_small(http_exchange_request(call->ex)))
        return err;
    call->unsure_until_us = clock_tick_us(call->gateway->clock) + WAIT_US;
    fault_init(&call->fault, http_exchange_arena(call->ex));
    return OK;
}

bool caller_unsure(struct call *call) {
    struct gateway_loop *loop = call->loop;
    enum err err;

    if (call->unsure_until_us == 0)
        return false;
    if (clock_tick_us(call->gateway->clock) < call->unsure_until_us &&
        loop->unsure_count < UNSURE_MAX && !atomic_load(&call->gateway->draining) &&
        jwks_busy(callers_jwks(call->gateway->callers))) {
        call->next = loop->unsure;
        loop->unsure = call;
        loop->unsure_count++;
        loop_tick_set(loop);
        return true;
    }
    call->unsure_until_us = 0;
    err = caller_find(call);
    if (err != OK)
        call_problem(call, err, &call->fault);
    return err != OK;
}

/* Takes all of them off the list; who must wait longer puts itself there again. */
void callers_unsure_tick(struct gateway_loop *loop) {
    struct call *first = loop->unsure, *call;

    loop->unsure = NULL;
    loop->unsure_count = 0;
    while ((call = first)) {
        first = call->next;
        call_handle(call->ex, call->gateway);
    }
    loop_tick_set(loop);
}
