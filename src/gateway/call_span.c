/* call_span: the server span of a call that was answered, where its trace is sampled: OpenTelemetry's
 * semantic conventions for HTTP servers, and what the hub knows beyond them. */
#include "gateway/gateway_priv.h"

#include "base/span.h"

/* A path that matches no route may hold anything; those of persons say who: of these the template
 * alone goes out. */
static struct str path_shown(const struct call *call) {
    const struct route *route = call->match.entry ? call->match.entry->route : NULL;

    if (!route)
        return STR_NONE;
    if (strstr(route->path, "customer"))
        return str_c(route->path);
    return http_exchange_request(call->ex)->path;
}

void call_span(const struct call *call, int status) {
    static const char *const classes[] = {"checkout", "stock", "catalogue", "bulk", "ops"};
    const struct http_request *request = http_exchange_request(call->ex);
    const struct route *route = call->match.entry ? call->match.entry->route : NULL;
    struct clock *clock = call->gateway->clock;
    const struct call_context *context = &call->context;
    bool known = request->method != HTTP_METHOD_OTHER;
    int64_t now_us = clock_now_us(clock);
    int64_t took_us = request->arrived_us ? clock_tick_us(clock) - request->arrived_us : 0;
    struct span *span =
        span_begin(SPAN_SERVER, context->traceparent, traceparent_span(context->traceparent),
                   context->parent_span.ptr, now_us - took_us, now_us);

    if (route)
        span_name(span, "%.*s %s", STR_FMT(request->method_name), route->path);
    else
        span_name(span, known ? "%.*s" : "HTTP", STR_FMT(request->method_name));
    span_text(span, "http.request.method", known ? request->method_name : STR("_OTHER"));
    span_text(span, "url.path", path_shown(call));
    span_text(span, "url.scheme", http_exchange_secure(call->ex) ? STR("https") : STR("http"));
    span_number(span, "http.response.status_code", status);
    if (route) {
        span_text(span, "http.route", str_c(route->path));
        span_text(span, "penstock.class", str_c(classes[route->traffic]));
    }
    span_text(span, "penstock.caller", call_caller(call));
    span_text(span, "penstock.correlation", context->correlation);
    if (status >= 500)
        span_text(span, "error.type", str_of((const char[]){(char)('0' + status / 100),
                                                            (char)('0' + status / 10 % 10),
                                                            (char)('0' + status % 10)}, 3));
    span_end(span, status >= 500);
}
