/* route: which row of the route tables a method and path mean. Built once, read by all loops.
 *
 * Paths are templates: "/v1/orders/{order_id}/cancel". A segment is matched after percent-
 * decoding (RFC 3986), so an argument may hold an escaped slash; a fixed segment wins over an
 * argument; there is no other precedence. */
#ifndef PENSTOCK_GATEWAY_ROUTE_H
#define PENSTOCK_GATEWAY_ROUTE_H

#include "base/arena.h"
#include "base/err.h"
#include "core/capability.h"
#include "gateway/http.h"

/* What the router adds to a row. */
struct route_entry {
    const struct route *route;
    void *ctx;         /* of the table it came from */
    uint32_t index;    /* 0 … router_count - 1, for counters */
    uint32_t scope;    /* index into router_scopes; ROUTE_OPEN: none needed */
    struct str idem;   /* "POST /v1/orders": route part of an idempotency scope */
};
#define ROUTE_OPEN UINT32_MAX
#define ROUTE_SCOPES_MAX 128

struct router;
struct router *router_create(void);
void router_destroy(struct router *router);
/* Adds every row of a table; ERR_CONFLICT where method and path are taken, ERR_INVALID for a
 * template that can not be read. */
enum err router_add(struct router *router, const struct route *routes, void *ctx,
                    struct fault *fault) WARN_UNUSED;
/* A scope that no route needs by itself. ERR_NOMEM: there are too many. */
enum err router_scope_add(struct router *router, const char *scope, uint32_t *index,
                          struct fault *fault) WARN_UNUSED;
uint32_t router_count(const struct router *router);
const struct route_entry *router_entry(const struct router *router, uint32_t index);
/* Distinct scopes in order of first use. */
uint32_t router_scope_count(const struct router *router);
const char *router_scope(const struct router *router, uint32_t index);

struct route_match {
    const struct route_entry *entry;
    struct str args[COMMAND_ARGS_MAX]; /* decoded; in the arena or the path itself */
    uint32_t arg_count;
    const char *allow; /* "GET, HEAD, POST": of the path, where there is one */
    bool head;         /* a HEAD answered by the GET route */
};
/* ERR_NOT_FOUND; ERR_METHOD with match->allow set; ERR_BAD_REQUEST for a bad escape, control
 * characters or text that is not UTF-8. HEAD finds GET. */
enum err router_match(const struct router *router, enum http_method method, struct str path,
                      struct arena *arena, struct route_match *match,
                      struct fault *fault) WARN_UNUSED;

/* "a=1&b=x%20y" decoded as application/x-www-form-urlencoded ('+' is a space), in order.
 * Where `known` is given, others are refused, naming the known ones: a misspelt filter that is
 * passed over would answer more than was asked for. Also refused: a parameter twice that is not
 * `repeated`, a required one missing. ERR_BAD_REQUEST with an item per fault ("?name"). */
enum err query_parse(struct str query, const struct query_param *known, struct arena *arena,
                     const struct query_value **values, uint32_t *count,
                     struct fault *fault) WARN_UNUSED;
#define QUERY_VALUES_MAX 1000

#endif
