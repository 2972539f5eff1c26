/* attempt_span: the spans of an attempt to deliver, where the event's trace is sampled: the attempt
 * itself under the span of whoever made the event, and below it the mapping and each call; the call's
 * span goes to the other system as traceparent. */
#include "deliver/attempt_span.h"

#include <stdio.h>

static int64_t now_us(const struct attempt *attempt) {
    return clock_now_us(attempt->deliver->options.clock);
}

void attempt_span_begin(struct attempt *attempt) {
    attempt->traced = span_sampled(attempt->traceparent);
    if (!attempt->traced)
        return;
    attempt->began_us = now_us(attempt);
    span_id_make(attempt->span);
    attempt->under = span_child(attempt->under_text, attempt->traceparent, attempt->span);
}

struct str attempt_trace(const struct attempt *attempt) {
    return attempt->traced ? attempt->under : attempt->traceparent;
}

int64_t attempt_span_now(const struct attempt *attempt) {
    return attempt->traced ? now_us(attempt) : 0;
}

void attempt_mapped(const struct attempt *attempt, int64_t from_us, bool failed) {
    const struct connector_send *send = attempt->send;
    if (!attempt->traced)
        return;
    struct span *span = span_begin(SPAN_INTERNAL, attempt->under, NULL, attempt->span, from_us,
                                   now_us(attempt));
    span_name(span, "map %.*s", STR_FMT(send->mapping));
    span_text(span, "penstock.connector", send->connector->name);
    span_text(span, "penstock.mapping", send->mapping);
    span_end(span, failed);
}

struct str attempt_call_trace(struct attempt *attempt) {
    if (!attempt->traced)
        return attempt->traceparent;
    attempt->call_us = now_us(attempt);
    span_id_make(attempt->call_span);
    return span_child(attempt->call_text, attempt->traceparent, attempt->call_span);
}

/* Of a URL what is neither secret nor personal: paths and queries of webhooks hold tokens, others
 * the ids of persons. "https://host:8443/REDACTED", as the conventions write what was left out. */
static struct str origin_read(struct str url, char shown[300], struct str *host, int64_t *port) {
    const char *from = memmem(url.ptr, url.len, "://", 3), *end = url.ptr + url.len;
    *host = STR_NONE;
    *port = url.len > 5 && url.ptr[4] == 's' ? 443 : 80;
    if (!from)
        return STR_NONE;
    from += 3;
    const char *path = from;
    while (path < end && *path != '/' && *path != '?' && *path != '#')
        path++;
    const char *user = memrchr(from, '@', (size_t)(path - from));
    if (user)
        from = user + 1;
    const char *colon = path;
    while (colon > from && colon[-1] >= '0' && colon[-1] <= '9')
        colon--;
    uint64_t number;
    *host = str_of(from, (size_t)(path - from));
    if (colon > from + 1 && colon[-1] == ':' &&
        str_u64(str_of(colon, (size_t)(path - colon)), &number)) {
        *host = str_of(from, (size_t)(colon - 1 - from));
        *port = (int64_t)number;
    }
    int len = snprintf(shown, 300, "%s://%.*s/REDACTED", url.ptr[4] == 's' ? "https" : "http",
                       (int)(path - from < 256 ? path - from : 256), from);
    return str_of(shown, len > 0 && len < 300 ? (size_t)len : 0);
}

void attempt_called(struct attempt *attempt, const struct connector_request *request,
                    const struct net_answer *answer) {
    struct str host;
    int64_t port;
    char shown[300];
    if (!attempt->traced)
        return;
    bool failed = answer->error != NET_OK || answer->status >= 400;
    struct span *span = span_begin(SPAN_CLIENT, attempt->under, attempt->call_span, attempt->span,
                                   attempt->call_us, now_us(attempt));
    span_name(span, "%.*s", STR_FMT(request->method));
    span_text(span, "http.request.method", request->method);
    span_text(span, "url.full", origin_read(attempt->call_url, shown, &host, &port));
    span_text(span, "server.address", host);
    span_number(span, "server.port", port);
    if (answer->error != NET_OK)
        span_text(span, "error.type", str_c(net_error_name(answer->error)));
    else
        span_number(span, "http.response.status_code", answer->status);
    if (attempt->job.attempt > 1)
        span_number(span, "http.request.resend_count", attempt->job.attempt - 1);
    span_end(span, failed);
}

void attempt_span_end(struct attempt *attempt, enum lane_outcome outcome) {
    const struct connector_send *send = attempt->send;
    if (!attempt->traced)
        return;
    struct span *span = span_begin(SPAN_CONSUMER, attempt->traceparent, attempt->span,
                                   traceparent_span(attempt->traceparent), attempt->began_us,
                                   now_us(attempt));
    span_name(span, "process %.*s", STR_FMT(send->subscription));
    span_text(span, "messaging.system", STR("penstock"));
    span_text(span, "messaging.operation.type", STR("process"));
    span_text(span, "messaging.operation.name", STR("deliver"));
    span_text(span, "messaging.destination.name", send->subscription);
    span_text(span, "messaging.message.id", attempt->id);
    span_text(span, "messaging.message.conversation_id", attempt->correlation);
    span_text(span, "penstock.connector", send->connector->name);
    span_text(span, "penstock.event", attempt->type);
    span_number(span, "penstock.seq", (int64_t)attempt->job.seq);
    span_number(span, "penstock.attempt", attempt->job.attempt);
    span_flag(span, "penstock.found", attempt->found);
    span_text(span, "penstock.outcome", str_c(lane_outcome_name(outcome)));
    span_end(span, outcome != LANE_SUCCESS);
    attempt->traced = false;
}
