/* token_key: the keys that the hub signs its own tokens with (ES256), kept in the key file.
 *
 * A snapshot of them never changes once made; references are counted, any thread may hold one.
 * What always holds: a key is published TOKEN_KEY_LEAD_S before it signs (but for the first), and
 * stays published until the last token it signed has ended, so that whoever verifies with a copy
 * of the published set never meets a key it does not know. */
#ifndef PENSTOCK_GATEWAY_TOKEN_KEY_H
#define PENSTOCK_GATEWAY_TOKEN_KEY_H

#include "gateway/jwt.h"
#include "gateway/keys.h"

#define TOKEN_KEY_LEAD_S 3600
#define TOKEN_KEYS_MAX 16 /* in the file at once */

struct token_keys;
struct token_key_rules {
    int64_t age_us;  /* at which another key is made */
    int64_t life_us; /* of a token at most, leeway included */
};
/* Reads the keys; makes one where there is none yet or the newest is too old, takes those away
 * that no token can be signed with any more. ERR_IO, ERR_DAMAGED, ERR_NOMEM. */
enum err token_keys_load(struct key_store *store, const struct token_key_rules *rules,
                         struct clock *clock, struct json_parser *parser, struct token_keys **out,
                         struct fault *fault) WARN_UNUSED;
struct token_keys *token_keys_ref(struct token_keys *keys);
void token_keys_unref(struct token_keys *keys);
struct jwk_set *token_keys_set(struct token_keys *keys); /* theirs, not a new reference */
struct str token_keys_jwks(const struct token_keys *keys); /* as published */
/* header.claims.signature, of claims that are a JSON object. */
enum err token_sign(const struct token_keys *keys, struct str claims, struct buf *out,
                    struct fault *fault) WARN_UNUSED;

/* Puts another key into the file. With `alone` all others go: what they signed is refused from
 * now on (a key that may have become known to others). */
enum err token_key_rotate(struct key_store *store, struct clock *clock, bool alone,
                          struct fault *fault) WARN_UNUSED;

#endif
