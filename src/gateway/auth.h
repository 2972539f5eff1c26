/* auth: who calls, and what they may: by API key, by a token of a trusted issuer or of the hub
 * itself, or by a client certificate. One per loop thread, with caches before the key file and
 * before the signatures of tokens, so that a request costs one hash. A revoked key is refused at
 * most AUTH_POLL_MS later, and so are the tokens made with it; a new one works at its first use.
 *
 * How callers are named (`actor`, in events, the audit and as the scope of idempotency keys):
 * "pk_<id>" for an API key and for the tokens made with it; "<sub>@<issuer's name>" for a token of
 * an issuer; "<caller>@certificate" for a certificate. */
#ifndef PENSTOCK_GATEWAY_AUTH_H
#define PENSTOCK_GATEWAY_AUTH_H

#include "gateway/callers.h"
#include "gateway/keys.h"
#include "gateway/route.h"

#define AUTH_POLL_MS 250
#define AUTH_ACTOR_MAX 128 /* bytes: what an event's meta takes */

struct principal {
    struct str actor; /* see above */
    struct str name;  /* for people: the key's name, the token's subject, the certificate's caller */
    uint64_t scopes[ROUTE_SCOPES_MAX / 64]; /* bit i: router_scope(i) */
};

struct auth_options {
    const char *keys_path;
    const struct router *router;
    struct clock *clock;
    const struct config *config;
    struct callers *callers;
};
struct auth;
/* ERR_INVALID: the configuration gives a scope that no route knows. */
enum err auth_create(const struct auth_options *options, struct auth **out,
                     struct fault *fault) WARN_UNUSED;
void auth_destroy(struct auth *auth);

/* `header` is the Authorization header's value, absent where there is none; peer is the
 * connection's client certificate, or NULL. The header goes first: a certificate is a caller where
 * there is none. The principal is valid until the next call. ERR_UNAUTHENTICATED;
 * ERR_UNAVAILABLE while the keys of a token's issuer are being fetched; ERR_IO where the key file
 * can not be read. */
enum err auth_check(struct auth *auth, struct str header, const struct http_peer *peer,
                    const struct principal **out, struct fault *fault) WARN_UNUSED;
static inline bool principal_may(const struct principal *principal, uint32_t scope) {
    return principal->scopes[scope / 64] >> (scope % 64) & 1;
}
/* "*", "orders:*" or "orders:read" covers the scope "orders:read". */
bool scope_covers(struct str given, struct str scope);

/* Whether the last check answered ERR_UNAVAILABLE because keys are being fetched right now: soon it
 * will be known. */
bool auth_awaits_keys(const struct auth *auth);

/* The value of WWW-Authenticate (RFC 6750 section 3) for a refusal: with 401 and credentials
 * given, invalid_token and why; with 403, insufficient_scope and the scope. In the arena. */
struct str auth_challenge(struct arena *arena, enum err err, bool given, const char *scope,
                          const struct fault *fault);

/* The valid key of a client (RFC 6749 section 2.3.1): id is "pk_<id>", secret what stands behind
 * it, or the whole key. ERR_UNAUTHENTICATED; strings of *out in the arena. */
enum err auth_client(struct auth *auth, struct str id, struct str secret, struct arena *arena,
                     struct key_record *out, struct fault *fault) WARN_UNUSED;

struct auth_counters {
    _Atomic uint64_t refused, verified;
};
const struct auth_counters *auth_counters(const struct auth *auth);

#endif
