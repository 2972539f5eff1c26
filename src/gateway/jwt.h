/* jwt: JSON Web Tokens as a hub meets them: read, and verified against a set of public keys
 * (RFC 7515, 7517, 7518, 7519, with the advice of RFC 8725). Pure: no I/O, no clock.
 *
 * What always holds: the keys of a set say which algorithms they are for, the token merely names
 * one of them; three algorithms exist here, all with public keys; nothing in a token's header
 * leads to a key (jku, x5u, jwk and x5c are never looked at); a critical extension, a member that
 * is there twice, or a text beyond its bounds is refused before anything is computed.
 *
 * The order for a caller: jwt_parse, find the rules and the key set of jwt->issuer, jwt_check (which
 * costs little), jwt_verify. What jwt_parse found is hearsay until both others answered OK. */
#ifndef PENSTOCK_GATEWAY_JWT_H
#define PENSTOCK_GATEWAY_JWT_H

#include "base/arena.h"
#include "base/err.h"
#include "base/json.h"

#define JWT_BYTES_MAX 8192      /* of a token */
#define JWT_MEMBERS_MAX 128     /* of one object in it */
#define JWT_KID_MAX 256
#define JWK_SET_BYTES_MAX 262144 /* of a key set's text */
#define JWK_SET_KEYS_MAX 64
#define JWK_RSA_BITS_MIN 2048
#define JWK_RSA_BITS_MAX 8192

/* RFC 7518 section 3.1. A set of them is a mask of JWT_MASK. */
enum jwt_alg { JWT_RS256, JWT_PS256, JWT_ES256, JWT_ALGS };
#define JWT_MASK(alg) (1u << (alg))
#define JWT_MASK_ALL ((1u << JWT_ALGS) - 1)
extern const char *const jwt_alg_names[]; /* ends with NULL */

/* --- keys ----------------------------------------------------------------------------------- */

/* Public keys of one issuer. Never changes once made; references are counted, any thread. */
struct jwk_set;
/* A JWK Set (RFC 7517 section 5). Of its keys those are taken that can verify one of `algs`: RSA
 * of JWK_RSA_BITS_MIN and more, EC on P-256; not those for encryption, symmetric ones, or ones
 * with a private part (whoever publishes that has no secret any more). Others are passed over, as
 * the standard asks. ERR_MALFORMED, ERR_INVALID: it is no key set, or holds no key to use;
 * ERR_TOO_LARGE, ERR_NOMEM. */
enum err jwk_set_parse(struct json_parser *parser, struct str text, unsigned algs,
                       struct jwk_set **out, struct fault *fault) WARN_UNUSED;
struct jwk_set *jwk_set_ref(struct jwk_set *set);
void jwk_set_unref(struct jwk_set *set); /* NULL is fine */
uint32_t jwk_set_count(const struct jwk_set *set);
bool jwk_set_has(const struct jwk_set *set, struct str kid);

/* --- tokens --------------------------------------------------------------------------------- */

/* All in the arena of jwt_parse or in the token's text. */
struct jwt {
    enum jwt_alg alg;
    struct str kid, typ; /* absent where they are */
    struct str issuer;   /* claim iss; absent where it is none */
    struct str subject;  /* claim sub, likewise */
    const struct json *header, *claims;
    struct str signed_part, signature;
};

/* Whether a bearer's text is to be read as a JWT: it has two dots. */
bool jwt_looks_like(struct str text);
/* ERR_UNAUTHENTICATED with what is wrong with its form; ERR_NOMEM. */
enum err jwt_parse(struct json_parser *parser, struct arena *arena, struct str text,
                   struct jwt *out, struct fault *fault) WARN_UNUSED;
/* Whether one of the keys made the signature. ERR_NOT_FOUND: the set has no key of this kid and
 * algorithm (it may be newer than the set); ERR_UNAUTHENTICATED: it has, and that did not. A token
 * without kid is taken where only one key of the set is for its algorithm. */
enum err jwt_verify(const struct jwt *jwt, const struct jwk_set *keys,
                    struct fault *fault) WARN_UNUSED;

/* What kind of token by its header's typ (RFC 8725 section 3.11). An access token: none, "JWT",
 * "at+jwt" (RFC 9068); strictly: "at+jwt" alone; an OpenID Connect ID token: none or "JWT". */
enum jwt_type { JWT_ACCESS, JWT_ACCESS_STRICT, JWT_ID };

struct jwt_rules {
    enum jwt_type type;
    struct str issuer;
    const struct str *audiences; /* one of them must be in aud */
    uint32_t audience_count;
    int64_t leeway_s; /* how far the issuer's clock may be off */
};
/* iss, aud, exp (needed), nbf, iat (where there), sub, typ. ERR_UNAUTHENTICATED. *expires_us:
 * when it ends, leeway included. */
enum err jwt_check(const struct jwt *jwt, const struct jwt_rules *rules, int64_t now_us,
                   int64_t *expires_us, struct fault *fault) WARN_UNUSED;

/* A claim by its name, or by a JSON Pointer (RFC 6901) where `claim` begins with a slash:
 * "/realm_access/roles". NULL where there is none. */
const struct json *jwt_claim(const struct jwt *jwt, struct str claim);
/* A NumericDate (RFC 7519 section 2) in whole seconds, a fraction cut off; false where it is none
 * between 1970 and 9999. */
bool jwt_seconds(const struct json *value, int64_t *out);

#endif
