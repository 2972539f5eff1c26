/* auth: how an outgoing call says who makes it: section `auth` of connector.yaml, one for all calls
 * of a connector (deliveries, look-ups, scripts, polls, operations). This file owns the description
 * and what is computed from it; tokens and sessions are got and kept by connect/auth_net.h.
 *
 * What always holds: a secret comes from the environment or a file, never from connector.yaml; it
 * is in what goes to the partner and nowhere else (auth_mask). */
#ifndef PENSTOCK_CONNECT_AUTH_H
#define PENSTOCK_CONNECT_AUTH_H

#include "base/clock.h"
#include "base/hash.h"
#include "base/rng.h"
#include "connect/connector.h"
#include "connect/net.h"

/* RFC 7617 */
struct auth_basic {
    uint64_t has;
    struct str username, password;
    struct str value; /* not in the file: "Basic …" */
};
struct auth_api_key {
    uint64_t has;
    struct str header, query; /* exactly one */
    struct str prefix;        /* before it, in a header: "Token " */
    struct str value;
};
/* RFC 6750, a token that does not change by itself */
struct auth_bearer {
    uint64_t has;
    struct str token;
};

/* RFC 6749: client_credentials (4.4) or refresh_token (6). */
enum auth_grant { AUTH_CLIENT_CREDENTIALS, AUTH_REFRESH_TOKEN };
enum auth_client { AUTH_CLIENT_BASIC, AUTH_CLIENT_POST }; /* RFC 6749, 2.3.1 */
struct auth_oauth2 {
    uint64_t has;
    struct str token_url, client_id, client_secret;
    int32_t client_auth; /* enum auth_client */
    struct str scope, audience;
    struct str refresh_token;           /* the first; what the server gives in its place is kept */
    const struct json *parameters_open; /* further members of the request: {resource: …} */
    struct str header, prefix;          /* Authorization, "Bearer " */
    int64_t expires_s;                  /* where the server does not say; default 3600 */
    int64_t renew_ahead_s;              /* before it expires; default 60, at most half its life */
    int64_t timeout_ms;
    /* not in the file */
    enum auth_grant grant;
    struct str basic;      /* "Basic …" of the client, where client_auth is basic */
    struct str parameters; /* "&resource=…", encoded */
};

enum auth_digest { AUTH_SHA256, AUTH_SHA512 };
enum auth_form { AUTH_HEX, AUTH_BASE64 };
enum auth_secret_form { AUTH_SECRET_TEXT, AUTH_SECRET_HEX, AUTH_SECRET_BASE64 };
enum auth_time { AUTH_TIME_SECONDS, AUTH_TIME_MILLISECONDS, AUTH_TIME_RFC3339, AUTH_TIME_HTTP };
/* A digest of each request under a shared secret. In `string` and in the values of `headers` stand
 * {method} {host} {path} {query} {target} {url} {timestamp} {nonce} {body} {body_sha256}
 * {body_sha256_base64} {body_sha512} {body_sha512_base64}, and in the headers {signature}. */
struct auth_hmac {
    uint64_t has;
    struct str secret;
    int32_t secret_form, digest, form, timestamp;
    struct str string;
    const struct json *headers_open;
    /* not in the file */
    struct connector_header *headers;
    uint32_t header_count;
};

enum auth_kind { AUTH_BASIC, AUTH_API_KEY, AUTH_BEARER, AUTH_OAUTH2, AUTH_HMAC, AUTH_SESSION };
struct connector_auth {
    uint64_t has;
    struct auth_basic *basic; /* exactly one of these */
    struct auth_api_key *api_key;
    struct auth_bearer *bearer;
    struct auth_oauth2 *oauth2;
    struct auth_hmac *hmac;
    struct connector_session *session;
    /* not in the file */
    enum auth_kind kind;
    struct str missing;    /* names of references that are not set; absent: usable */
    struct str secrets[4]; /* what must not be told */
    uint32_t secret_count;
    struct hash128 print; /* of all of it: what was got with another one is of no use */
};
/* What is got from somewhere and kept for a while: a token, a session. */
static inline bool auth_kept(const struct connector_auth *auth) {
    return auth->kind == AUTH_OAUTH2 || auth->kind == AUTH_SESSION;
}

/* `request` with what says who calls, in the arena; `value` is the token or session where one is
 * kept. ERR_NOMEM; ERR_INTERNAL: no digest could be made. */
enum err auth_apply(const struct connector_auth *auth, struct str value, struct clock *clock,
                    struct rng *rng, struct arena *arena, struct net_request *request,
                    struct fault *fault) WARN_UNUSED;

/* --- OAuth 2: the request for a token, and its answer ---------------------------------------- */
enum err auth_token_request(const struct auth_oauth2 *how, struct str refresh, struct arena *arena,
                            struct net_request *out, struct fault *fault) WARN_UNUSED;
struct auth_token {
    struct str value;   /* "Bearer …", as the header takes it */
    int64_t expires_s;  /* life from now */
    struct str refresh; /* in place of the one used; absent: that goes on */
};
/* What the server answered. ERR_INVALID: no token, and why in words a person can act on (RFC 6749,
 * 5.2): nothing secret is in them. */
enum err auth_token_read(const struct auth_oauth2 *how, const struct net_answer *answer,
                         struct json_parser *parser, struct arena *arena, struct auth_token *out,
                         struct fault *fault) WARN_UNUSED;

/* Whether a header can carry it. */
bool auth_value_good(struct str value);
/* `text` without the secrets of `auth` and without `kept` and `refresh` (may be absent): itself
 * where none is in it, else a copy in the arena with "…" in their place. Absent: no memory. */
struct str auth_mask(const struct connector_auth *auth, struct str kept, struct str refresh,
                     struct str text, struct arena *arena);

#endif
