/* auth: who calls, and what they may. One per loop thread: a cache of keys in use before the
 * key file, so that a request costs one hash. A revoked key is refused at most AUTH_POLL_MS
 * later; a new one works at its first use. */
#ifndef PENSTOCK_GATEWAY_AUTH_H
#define PENSTOCK_GATEWAY_AUTH_H

#include "gateway/keys.h"
#include "gateway/route.h"

#define AUTH_POLL_MS 250

struct principal {
    struct str actor; /* "pk_<id>": what events and the audit say */
    struct str name;
    uint64_t scopes[ROUTE_SCOPES_MAX / 64]; /* bit i: router_scope(i) */
};

struct auth;
enum err auth_create(const char *keys_path, const struct router *router, struct clock *clock,
                     struct auth **out, struct fault *fault) WARN_UNUSED;
void auth_destroy(struct auth *auth);

/* `header` is the Authorization header's value, absent where there is none. The principal is
 * valid until the next call. ERR_UNAUTHENTICATED; ERR_IO where the key file can not be read. */
enum err auth_check(struct auth *auth, struct str header, const struct principal **out,
                    struct fault *fault) WARN_UNUSED;
static inline bool principal_may(const struct principal *principal, uint32_t scope) {
    return principal->scopes[scope / 64] >> (scope % 64) & 1;
}
/* "*", "orders:*" or "orders:read" covers the scope "orders:read". */
bool scope_covers(struct str given, struct str scope);

#endif
