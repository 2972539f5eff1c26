/* operators_priv: what the files of operators share. */
#ifndef PENSTOCK_GATEWAY_OPERATORS_PRIV_H
#define PENSTOCK_GATEWAY_OPERATORS_PRIV_H

#include <pthread.h>

#include "gateway/id_token.h"
#include "gateway/operators.h"

#define OPERATORS_URL_MAX 2048

struct metadata {
    char authorize[OPERATORS_URL_MAX], token[OPERATORS_URL_MAX], jwks[OPERATORS_URL_MAX];
    bool post;         /* the client's secret goes into the form */
    bool names_issuer; /* RFC 9207 */
};

enum signin_state { SIGNIN_METADATA, SIGNIN_TOKEN, SIGNIN_KEYS, SIGNIN_DONE };

/* A sign-in on its way. The loop that made it writes it before it is handed over and reads it after
 * `done`; in between it is the owner's thread's. */
struct signin {
    _Atomic uint32_t refs;
    _Atomic bool done;
    struct operators *operators;
    struct signin *next;
    bool redeems; /* has a code; else it waits for the metadata */
    char code[SIGNIN_CODE_MAX];
    size_t code_len;
    struct login login;
    enum signin_state state;
    bool asked;       /* for the provider's keys, because of this one: once is enough */
    int64_t until_us; /* clock_tick_us */
    struct net_call *call;
    struct net_request request;
    struct net_header headers[3];
    struct buf body, basic;
    struct buf id_token, access_token;
    enum err err;
    struct fault fault;
    struct session_who who;
};

struct operators {
    struct operators_options options;
    const struct config_operators *config;
    struct id_rules rules;
    struct arena keep; /* rules, secret, addresses */
    struct str secret; /* absent: none, or it is not set */
    bool secret_missing;
    struct str discovery_url, redirect_uri;
    void (*wake)(void *ctx);
    void *wake_ctx;
    _Atomic uint32_t count; /* sign-ins under way */
    pthread_mutex_t lock;
    /* under the lock */
    struct signin *queue;
    struct metadata metadata;
    bool has_metadata;
    /* the owner's thread's alone */
    struct json_parser *parser;
    struct arena arena; /* of one step */
    struct net *net;
    struct net_call *discovery;
    struct net_request discovery_request;
    int64_t fetched_us, failed_us, due_us, retry_us;
    struct jwks_source source;
    char jwks_url[OPERATORS_URL_MAX];
    struct jwks *jwks;
    struct signin *active;
};

/* signin_redeem.c, on the owner's thread: sends the code to the token endpoint; reads what came;
 * verifies. They end the sign-in, or leave it in another state. */
void signin_redeem(struct signin *signin);
void signin_verify(struct signin *signin);
/* It has ended. */
void signin_end(struct signin *signin, enum err err, const struct fault *fault);

/* Percent-encoded as a form has it. */
void form_add(struct buf *out, const char *name, struct str value);
/* What another system said, as far as it can be shown: printable ASCII, at most 160 bytes. */
struct str words_of(struct arena *arena, struct str code, struct str description);

#endif
