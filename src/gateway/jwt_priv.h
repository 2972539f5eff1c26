/* jwt_priv: what jwt.c and jwk.c share. */
#ifndef PENSTOCK_GATEWAY_JWT_PRIV_H
#define PENSTOCK_GATEWAY_JWT_PRIV_H

#include <openssl/types.h>
#include <stdatomic.h>

#include "gateway/jwt.h"

struct jwk {
    struct str kid; /* absent where it has none */
    unsigned algs;  /* mask: never 0, never of two kinds of key */
    EVP_PKEY *key;
};

struct jwk_set {
    _Atomic uint32_t refs;
    struct arena arena; /* the kids */
    uint32_t count;
    struct jwk keys[JWK_SET_KEYS_MAX];
};

/* Whether an object has a member twice, or more than JWT_MEMBERS_MAX. */
bool json_has_twins(const struct json *object);

#endif
