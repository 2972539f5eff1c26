/* admission_stage: where admission meets a call: on its head, before its credentials are looked at;
 * when its command goes to the writer; around each turn of a loop. */
#include "gateway/gateway_priv.h"

#include "base/hash.h"

/* Callers are told apart by what they show, not by who they are: that would have to be found out
 * first. Webhooks by their connector. */
static uint64_t caller_of(struct call *call) {
    struct str given = http_request_header(http_exchange_request(call->ex), "Authorization");

    if (hub_route_receives(call->match.entry->route))
        given = call->match.args[0];
    return given.ptr ? hash64(given, call->gateway->known_seed) : 0;
}

enum err admission_check(struct call *call) {
    static const char why[] =
        "more comes than the hub can do: calls of the class %s are not all taken at present";
    uint32_t loop = (uint32_t)http_loop_index(call->loop->http);

    if (call->match.entry->route->flags & ROUTE_NEVER_SHED ||
        admission_admits(call->gateway->admission, loop, call->traffic, caller_of(call),
                         &call->loop->rng.rng))
        return OK;
    call->retry_after_s = admission_retry_s(call->traffic);
    return fault_set(&call->fault, ERR_UNAVAILABLE, why, traffic_class_names[call->traffic]);
}

enum traffic_class command_lane(struct call *call) {
    struct http_exchange *ex = call->ex;

    call->queued = true;
    while ((ex = http_exchange_before(ex))) {
        struct call *before = http_exchange_data(ex);

        if (before && before->queued)
            return before->traffic == CLASS_BULK ? CLASS_BULK : before->command.traffic;
    }
    return call->traffic;
}

void admission_rest(uv_prepare_t *prepare) {
    struct gateway_loop *loop = prepare->data;

    admission_loop_rests(loop->gateway->admission, (uint32_t)http_loop_index(loop->http));
}

void busy_figures(struct gateway *gateway, struct metrics *out) {
    int64_t now_us = clock_tick_us(gateway->clock);

    for (uint32_t i = 0; i < gateway->loop_count; i++) {
        struct gateway_loop *loop = &gateway->loops[i];
        char name[16];
        int64_t idle_us = (int64_t)(uv_metrics_idle_time(http_loop_uv(loop->http)) / 1000);
        int64_t busy_us = now_us - loop->began_us - idle_us;

        snprintf(name, sizeof name, "%u", i);
        metric_add(out, METRIC_LOOP_BUSY, METRIC_LABELS(str_c(name)),
                   busy_us > 0 ? (uint64_t)busy_us : 0);
    }
    metric_add(out, METRIC_WORKERS_BUSY, NULL,
               atomic_load_explicit(&gateway->worked_us, memory_order_relaxed));
}
