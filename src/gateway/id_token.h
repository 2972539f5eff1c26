/* id_token: what an ID token must be (OpenID Connect Core 1.0, section 3.1.3.7) and what it makes of
 * a person here. Pure. */
#ifndef PENSTOCK_GATEWAY_ID_TOKEN_H
#define PENSTOCK_GATEWAY_ID_TOKEN_H

#include "gateway/jwt.h"
#include "gateway/session.h"

/* What a group of the provider may do here. */
struct id_grant {
    struct str given;
    uint64_t scopes[ROUTE_SCOPES_MAX / 64];
};
struct id_rules {
    const struct config_operators *config;
    const struct id_grant *grants;
    uint32_t grant_count;
};
/* ERR_INVALID: the configuration gives a scope that no route knows. *out in the arena. */
enum err id_rules_make(const struct config_operators *config, const struct router *router,
                       struct arena *arena, struct id_rules *out, struct fault *fault) WARN_UNUSED;

/* All but the signature: typ, iss, aud, azp, exp, nbf, iat, nonce; at_hash where it is there.
 * access_token may be absent. ERR_UNAUTHENTICATED. */
enum err id_token_check(const struct id_rules *rules, const struct jwt *jwt, struct str nonce,
                        struct str access_token, int64_t now_us, struct fault *fault) WARN_UNUSED;
/* Who it is. ERR_UNAUTHENTICATED: a subject that can not be one; ERR_FORBIDDEN: it may do nothing. */
enum err id_token_person(const struct id_rules *rules, const struct jwt *jwt,
                         struct session_who *who, struct fault *fault) WARN_UNUSED;

#endif
