/* hub_routes: what the gateway itself serves: health, metrics, documents, the event feed and the
 * entrance for webhooks. The table's ctx is the gateway. */
#include <inttypes.h>

#include "domain/inbound.h"
#include "domain/stops.h"
#include "gateway/gateway_priv.h"
#include "gateway/hub_shapes.h"
#include "gateway/token.h"

#define WEBHOOK_MORE                                                                               \
    "Authentic by the platform's own signature, as connector.yaml says. A message that comes "     \
    "twice is answered as the first time."

static enum err livez_query(struct query *query, struct fault *fault) {
    buf_lit(query->out, "{\"alive\":true}");
    return OK;
}

static enum err readyz_query(struct query *query, struct fault *fault) {
    struct gateway *gateway = query->ctx;
    struct reader_lag lag;

    if (atomic_load(&gateway->draining))
        return fault_set(fault, ERR_UNAVAILABLE, "the hub is stopping");
    if (!core_ready(gateway->options.core)) {
        char why[256];

        core_why(gateway->options.core, why);
        return fault_set(fault, ERR_UNAVAILABLE, "%s", why);
    }
    buf_lit(query->out, "{\"ready\":true,\"seq\":");
    buf_u64(query->out, core_seq(gateway->options.core));
    query->reader->ops->lag(query->reader, &lag);
    if (gateway->options.roster)
        buf_printf(query->out, ",\"connectors\":{\"rejected\":%u}",
                   roster_rejected(gateway->options.roster));
    core_read_begin(gateway->options.core);
    uint32_t stopped = stops_count(core_state(gateway->options.core, &stops_capability));
    core_read_end(gateway->options.core);
    buf_printf(query->out, ",\"subscriptions\":{\"stopped\":%u}", stopped);
    buf_printf(query->out, ",\"read_model\":{\"behind\":%" PRIu64
                           ",\"behind_ms\":%" PRId64 ",\"bulk\":%s}}",
               lag.events, lag.us / 1000,
               lag_is_too_long(gateway, &lag) ? "\"waits\"" : "\"taken\"");
    return OK;
}

static enum err openapi_query(struct query *query, struct fault *fault) {
    query->packed = ((struct gateway *)query->ctx)->openapi_gzip;
    buf_str_add(query->out, ((struct gateway *)query->ctx)->openapi);
    return OK;
}

static enum err asyncapi_query(struct query *query, struct fault *fault) {
    query->packed = ((struct gateway *)query->ctx)->asyncapi_gzip;
    buf_str_add(query->out, ((struct gateway *)query->ctx)->asyncapi);
    return OK;
}

static const struct query_param events_params[] = {
    {"after", false, false, "Events behind this seq; 0, the default: from the first", QUERY_WHOLE, 0,
     INT64_MAX},
    {"type", false, true, "Only events of this type: order.captured, or the full CloudEvents type"},
    {"key", false, true, "Only events about this subject"},
    {"limit", false, false, "Events in one answer, 1 to 10000; 1000 is the default", QUERY_WHOLE, 1,
     10000},
    {"wait", false, false,
     "Seconds to wait for the first event where there is none yet (long poll)", QUERY_WHOLE, 0,
     86400},
    {0},
};

/* Never run: the pipeline gives this route to token_begin, which answers in OAuth's own words. */
static enum err token_query(struct query *query, struct fault *fault) {
    return fault_set(fault, ERR_INTERNAL, "the token endpoint was not reached");
}

static const struct query_param login_params[] = {
    {"return", false, false, "The path of this hub to go to afterwards; default /ops/me"},
    {0},
};

/* Never run: operation_begin answers when the other system has. */
enum err operation_query(struct query *query, struct fault *fault) {
    return fault_set(fault, ERR_INTERNAL, "the operation was not asked");
}

static const struct query_param operation_params[] = {
    {"region", false, false, "For which region: `roles` of penstock.yaml say who holds the role there"},
    {"store", false, false, "For which store, likewise"},
    {"key", false, false,
     "What a percentage of `roles` goes by: the same key has the same system always. Default: the store, "
     "else the Idempotency-Key"},
    {0},
};
#define OPERATION_REFUSALS                                                                         \
    ROUTE_REFUSES(ERR_NOT_FOUND, ERR_INVALID, ERR_UPSTREAM, ERR_UPSTREAM_TIMEOUT, ERR_UNAVAILABLE)
#define OPERATION_MORE                                                                             \
    "Answered within the time limit of the operation (connector.yaml): by the system, or with the "  \
    "declared fallback, which `fallback` says. Further parameters are the operation's own. A key "   \
    "needs the scope systems:call, or that of the operation: systems:tax.quote."

const struct route hub_routes[] = {
    {.method = "GET", .path = "/v1/events", .scope = "events:read", .traffic = CLASS_CATALOGUE,
     .params = events_params,
     .help = "The journal as a feed of CloudEvents: by pages, by long poll (wait), or as "
             "server-sent events (Accept: text/event-stream; Last-Event-ID is the seq to go on "
             "from)"},
    /* no customer waits for these, and platforms send them again */
    {.method = "POST", .path = "/x/{connector}/{topic}", .traffic = CLASS_STOCK,
     .answer = &payload_answer_shape, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .more = WEBHOOK_MORE,
     .help = "A partner's own payload under its own signature; stored before anything looks at "
             "what it says"},
    {.method = "POST", .path = "/x/{connector}/{topic}/{part}", .traffic = CLASS_STOCK,
     .answer = &payload_answer_shape, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .more = WEBHOOK_MORE,
     .help = "The same for platforms whose topics have a slash: orders/create is orders-create"},
    {.method = "GET", .path = "/s/{role}/{operation}", .scope = "systems:call", .traffic = CLASS_CHECKOUT,
     .query = operation_query, .params = operation_params, .answer = &operation_answer_shape,
     .refusals = OPERATION_REFUSALS, .more = OPERATION_MORE,
     .help = "Asks the system that holds the role: an operation that reads"},
    {.method = "POST", .path = "/s/{role}/{operation}", .scope = "systems:call", .traffic = CLASS_CHECKOUT,
     .query = operation_query, .params = operation_params, .answer = &operation_answer_shape,
     .body = &operation_body_shape, .flags = ROUTE_BODY_MAY, .refusals = OPERATION_REFUSALS,
     .more = OPERATION_MORE,
     .help = "Asks the system that holds the role: a tax quote, the authorisation of a payment …"},
    {.method = "GET", .path = "/livez", .traffic = CLASS_OPS, .query = livez_query, .answer = &alive_shape,
     .flags = ROUTE_INLINE | ROUTE_NEVER_SHED, .help = "The process lives"},
    {.method = "GET", .path = "/readyz", .traffic = CLASS_OPS, .query = readyz_query, .answer = &ready_shape,
     .flags = ROUTE_INLINE | ROUTE_NEVER_SHED, .help = "The hub takes work: 503 while it can not or is stopping"},
    {.method = "GET", .path = "/metrics", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = metrics_query, .flags = ROUTE_INLINE | ROUTE_NEVER_SHED, .help = "Figures as Prometheus text"},
    {.method = "GET", .path = "/openapi.json", .traffic = CLASS_OPS, .query = openapi_query,
     .flags = ROUTE_INLINE, .help = "This side of the hub as OpenAPI 3.1"},
    {.method = "GET", .path = "/asyncapi.json", .traffic = CLASS_OPS, .query = asyncapi_query,
     .flags = ROUTE_INLINE, .help = "The events of the hub as AsyncAPI 3"},
    {.method = "GET", .path = "/ops/login", .traffic = CLASS_OPS, .query = signin_query,
     .params = login_params, .answer = &location_shape, .status = 302,
     .refusals = ROUTE_REFUSES(ERR_CONFLICT),
     .help = "Begins to sign in with a browser, at the operators' identity provider"},
    {.method = "GET", .path = "/ops/callback", .traffic = CLASS_OPS, .query = signin_query,
     .answer = &location_shape, .status = 303, .flags = ROUTE_AUDITED,
     .refusals = ROUTE_REFUSES(ERR_UNAUTHENTICATED, ERR_FORBIDDEN, ERR_CONFLICT),
     .more = "With state and code, or error, as OpenID Connect has them. The answer sets the cookie "
             "of the session.",
     .help = "Where the identity provider sends the browser back to"},
    {.method = "GET", .path = "/ops/me", .traffic = CLASS_OPS, .query = signin_query,
     .answer = &me_shape, .refusals = ROUTE_REFUSES(ERR_UNAUTHENTICATED),
     .help = "Who has signed in with this browser, what they may, and until when"},
    {.method = "POST", .path = "/ops/logout", .traffic = CLASS_OPS, .query = signin_query,
     .answer = &logout_shape, .refusals = ROUTE_REFUSES(ERR_UNAUTHENTICATED, ERR_FORBIDDEN),
     .more = "A change with the cookie of a session, like any other: with Origin, Sec-Fetch-Site or "
             "X-Penstock-Csrf.",
     .help = "Ends the session of this browser"},
    {.method = "POST", .path = "/oauth2/token", .traffic = CLASS_OPS, .query = token_query,
     .answer = &token_answer_shape,
     .help = "A token for a client (OAuth 2 client credentials: an API key's id and secret), as "
             "application/x-www-form-urlencoded with grant_type, client_id, client_secret, scope"},
    {.method = "GET", .path = "/.well-known/jwks.json", .traffic = CLASS_OPS,
     .query = token_jwks_query, .answer = &jwks_shape, .flags = ROUTE_INLINE,
     .help = "The public keys that verify the hub's own tokens (RFC 7517)"},
    {.method = "GET", .path = "/.well-known/oauth-authorization-server", .traffic = CLASS_OPS,
     .query = token_metadata_query, .answer = &token_metadata_shape, .flags = ROUTE_INLINE,
     .help = "The hub as an authorization server (RFC 8414)"},
    {.method = NULL},
};
const struct route *const hub_route_events = &hub_routes[0];
const struct route *const hub_route_token =
    &hub_routes[sizeof hub_routes / sizeof hub_routes[0] - 4];
bool hub_route_receives(const struct route *route) {
    return route == &hub_routes[1] || route == &hub_routes[2];
}
