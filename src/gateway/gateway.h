/* gateway: the HTTP side of the hub: routes of the capabilities and of extra tables, API keys,
 * the pipeline from request to command or query and back, the event feed, health, metrics.
 *
 * Owns its loop threads and their connections. Everything in the options must outlive it. */
#ifndef PENSTOCK_GATEWAY_GATEWAY_H
#define PENSTOCK_GATEWAY_GATEWAY_H

#include "connect/roster.h"
#include "core/core.h"
#include "gateway/api_tables.h"
#include "gateway/http.h"

/* Makes what a worker thread reads with (store/read_model.h); called at most once per worker
 * thread of the gateway, on any thread. NULL and fault where it fails. */
struct gateway_readers {
    struct reader *(*create)(void *ctx, struct fault *fault);
    void (*destroy)(struct reader *reader);
    void *ctx;
};

/* Routes beside those of the capabilities (operations side, trace): their queries get ctx as
 * query->ctx. Paths must not clash with others. */
struct gateway_table {
    const struct route *routes; /* ends with method NULL; a row with routes NULL ends the list */
    void *ctx;
};

struct operate;
struct gateway_options {
    struct core *core;
    struct tail *tail;
    const struct config *config;
    struct roster *roster; /* of connectors; NULL: /x answers 404 */
    struct operate *operate;       /* NULL: /s answers 404 */
    const char *keys_path;         /* "DIR/data/keys.db"; made where missing */
    const struct http_listen *listen; /* where, plain and with TLS; lives as long as this */
    uint32_t listen_count;            /* one at least */
    const char *limits_path;       /* "DIR/data/limits.db"; NULL: quotas begin anew at each start */
    struct gateway_readers readers;
    const struct gateway_table *tables; /* may be NULL */
    /* What others than gateway and core tell in /metrics: on a loop thread, so it waits for
     * nothing. May be NULL. */
    void (*figures)(void *ctx, struct metrics *out);
    void *figures_ctx;
    const struct api_tables *api; /* what /openapi.json and /asyncapi.json are printed from;
                                  NULL: the capabilities alone */
};

struct gateway;
/* Listens and serves when it answers. */
enum err gateway_start(const struct gateway_options *options, struct gateway **out,
                       struct fault *fault) WARN_UNUSED;
/* The real port of the listener of that number. */
uint16_t gateway_port(const struct gateway *gateway, uint32_t listener);
/* Stops accepting, lets what is under way end, at most timeout_ms; true when all has ended.
 * /readyz answers 503 from here on. */
bool gateway_drain(struct gateway *gateway, int64_t timeout_ms);
/* Closes what is left and frees all. The core must still answer what was submitted: stop the
 * core after the gateway. */
void gateway_stop(struct gateway *gateway);

/* All route tables a gateway serves with no options at all: capabilities' and its own. The
 * list ends with NULL; static. For `penstock openapi` and `penstock key scopes`. */
const struct route *const *gateway_routes(const struct capability *const *capabilities);

#endif
