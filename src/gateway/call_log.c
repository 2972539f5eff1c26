/* call_log: a line of the log about a request that was answered: for a sample of them
 * (request_log_per_million), and for each that was answered 500, because that is a mistake of ours.
 * The route's template and no path, no body: nothing of it is personal or secret. */
#include "gateway/gateway_priv.h"

#include "base/log.h"

struct str call_caller(const struct call *call) {
    struct str actor = call->actor;
    const char *issuer = actor.ptr ? memrchr(actor.ptr, '@', actor.len) : NULL;

    if (issuer && memchr(actor.ptr, '@', (size_t)(issuer - actor.ptr)))
        return str_of(issuer, actor.len - (size_t)(issuer - actor.ptr));
    return actor;
}

static bool is_told(struct call *call, int status) {
    int64_t of = call->gateway->config->settings.request_log_per_million;

    return status == 500 || of == 1000000 ||
           (of > 0 && rng_below(&call->loop->rng.rng, 1000000) < (uint64_t)of);
}

void call_log(struct call *call, int status, int64_t us) {
    const struct route_entry *entry = call->match.entry;
    struct str caller = call_caller(call);

    if (!is_told(call, status))
        return;
    log_line(status == 500 ? LOG_ERROR : LOG_INFO, "gateway", "request",
             "method=%s route=%s status=%d us=%lld caller=%s correlation=%s%s",
             log_quote(http_exchange_request(call->ex)->method_name),
             entry ? entry->route->path : "none", status, (long long)us, log_quote(caller.ptr ? caller : STR("none")),
             log_quote(call->context.correlation), log_trace(call->context.traceparent));
}
