/* token: POST /oauth2/token and what is published beside it. See token.c and docs/security.md. */
#ifndef PENSTOCK_GATEWAY_TOKEN_H
#define PENSTOCK_GATEWAY_TOKEN_H

#include "gateway/gateway_priv.h"

#define TOKEN_GUARDS 1024 /* clients and addresses whose wrong secrets are counted, per loop */

enum err token_guards_init(struct gateway_loop *loop, struct fault *fault) WARN_UNUSED;
/* The whole request is there: answers it. */
void token_begin(struct call *call);

enum err token_jwks_query(struct query *query, struct fault *fault);
enum err token_metadata_query(struct query *query, struct fault *fault);

#endif
