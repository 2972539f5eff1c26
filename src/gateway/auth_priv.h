/* auth_priv: what the files of auth share. All of it belongs to one loop thread. */
#ifndef PENSTOCK_GATEWAY_AUTH_PRIV_H
#define PENSTOCK_GATEWAY_AUTH_PRIV_H

#include <openssl/types.h>

#include "base/map.h"
#include "gateway/auth.h"

#define KEY_SLOTS 1024 /* direct mapped: keys in use at once are tens */
#define TOKEN_WAYS 4   /* places a token's entry may be in */
#define PRINT_BYTES 32 /* SHA-256 */
#define USE_NOTE_US INT64_C(60000000)

struct key_slot {
    char actor[3 + KEY_ID_LEN]; /* "pk_" and the id */
    char name[KEY_NAME_MAX];
    uint8_t hash[PRINT_BYTES];
    bool used;
    int64_t expires_us; /* 0: never */
    int64_t noted_us;   /* when its use was noted */
    struct principal principal;
};

/* A token whose signature was verified. */
struct token_slot {
    uint8_t print[PRINT_BYTES];
    int64_t expires_us;  /* 0: nothing here */
    uint64_t generation; /* of the key set that verified it */
    int64_t version;     /* of the key file; only where the hub made it */
    uint32_t source;     /* issuer, or SOURCE_OWN */
    uint64_t turn;       /* when it was used last, in checks */
    bool bound;          /* to the certificate with this fingerprint (RFC 8705) */
    uint8_t thumb[PRINT_BYTES];
    int64_t noted_us;
    char actor[AUTH_ACTOR_MAX], name[AUTH_ACTOR_MAX];
    struct principal principal;
};
#define SOURCE_OWN UINT32_MAX

/* A row of auth.certificates. */
struct peer_entry {
    char kind; /* 'd'ns, 'u'ri, 'e'mail, 's'ubject, 'f'ingerprint */
    struct str value;
    struct principal principal;
};

/* What a scope of an issuer means. */
struct grant {
    struct str given;
    uint64_t scopes[ROUTE_SCOPES_MAX / 64];
};
struct issuer_entry {
    const struct config_issuer *config;
    struct grant *grants; /* NULL: scopes are taken as they are named */
};

struct auth {
    struct auth_options options;
    const struct router *router;
    struct clock *clock;
    struct key_store *store;
    EVP_MD *md;
    EVP_MD_CTX *md_ctx;
    uint64_t seed;
    int64_t version, looked_us;
    struct key_slot *slots;
    struct arena config;  /* what was computed of the configuration */
    struct arena scratch; /* of one check */
    struct json_parser *parser;
    struct token_slot *tokens;
    uint32_t token_sets; /* of TOKEN_WAYS each, a power of two */
    uint64_t turn;
    struct token_keys *own;
    uint64_t own_generation;
    bool awaits_keys;
    struct issuer_entry issuers[CONFIG_ISSUERS_MAX];
    uint32_t issuer_count;
    struct peer_entry *peers;
    uint32_t peer_count;
    struct map peer_map;
    struct auth_counters counters;
};

void auth_print(struct auth *auth, struct str text, uint8_t out[PRINT_BYTES]);
/* Adds what `given` covers. False where it covers nothing. */
bool scopes_add(const struct router *router, struct str given, uint64_t *scopes);
void auth_note(struct auth *auth, struct str id, int64_t *noted_us, int64_t now_us);
/* The key of an id, whether valid or not; ERR_NOT_FOUND. */
enum err auth_key_find(struct auth *auth, struct str id, struct arena *arena,
                       struct key_record *out, struct fault *fault) WARN_UNUSED;

/* auth_token.c */
enum err auth_tokens_init(struct auth *auth, struct fault *fault) WARN_UNUSED;
void auth_tokens_free(struct auth *auth);
enum err auth_token_check(struct auth *auth, struct str token, const struct http_peer *peer,
                          const struct principal **out, struct fault *fault) WARN_UNUSED;

/* auth_peer.c */
enum err auth_peers_init(struct auth *auth, struct fault *fault) WARN_UNUSED;
void auth_peers_free(struct auth *auth);
/* ERR_UNAUTHENTICATED where no row names this certificate. */
enum err auth_peer_check(struct auth *auth, const struct http_peer *peer,
                         const struct principal **out, struct fault *fault) WARN_UNUSED;
/* Whether the peer's certificate has this SHA-256. */
bool peer_is(const struct http_peer *peer, const uint8_t thumb[PRINT_BYTES]);

#endif
