/* jose: keys and tokens for tests: signs whatever it is told to, wrong things too. */
#ifndef PENSTOCK_TESTS_SUPPORT_JOSE_H
#define PENSTOCK_TESTS_SUPPORT_JOSE_H

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdio.h>

#include "base/encode.h"
#include "gateway/jwt.h"

static inline struct str jose_b64(struct arena *arena, struct str data) {
    struct buf out;
    buf_init(&out, 0);
    base64url_write(&out, data);
    struct str text = arena_str(arena, buf_str(&out));
    buf_free(&out);
    return text;
}

static inline struct str jose_number(struct arena *arena, EVP_PKEY *key, const char *name,
                                     int bytes) {
    BIGNUM *n = NULL;
    unsigned char raw[1024];
    must(EVP_PKEY_get_bn_param(key, name, &n) == 1);
    int len = bytes ? BN_bn2binpad(n, raw, bytes) : BN_bn2bin(n, raw);
    BN_free(n);
    must(len > 0);
    return jose_b64(arena, str_of((char *)raw, (size_t)len));
}

/* The public half as a JWK, with more members ("\"alg\":\"ES256\",") before the rest. */
static inline struct str jose_jwk(struct arena *arena, EVP_PKEY *key, const char *kid,
                                  const char *more) {
    if (EVP_PKEY_is_a(key, "EC"))
        return arena_printf(arena, "{\"kty\":\"EC\",%s\"kid\":\"%s\",\"crv\":\"P-256\",\"x\":\"%.*s\","
                            "\"y\":\"%.*s\"}", more, kid,
                            STR_FMT(jose_number(arena, key, OSSL_PKEY_PARAM_EC_PUB_X, 32)),
                            STR_FMT(jose_number(arena, key, OSSL_PKEY_PARAM_EC_PUB_Y, 32)));
    return arena_printf(arena, "{\"kty\":\"RSA\",%s\"kid\":\"%s\",\"n\":\"%.*s\",\"e\":\"%.*s\"}", more,
                        kid, STR_FMT(jose_number(arena, key, OSSL_PKEY_PARAM_RSA_N, 0)),
                        STR_FMT(jose_number(arena, key, OSSL_PKEY_PARAM_RSA_E, 0)));
}

static inline struct str jose_signature(struct arena *arena, EVP_PKEY *key, enum jwt_alg alg,
                                        struct str text) {
    unsigned char raw[1024];
    size_t len = sizeof raw;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx;
    must(EVP_DigestSignInit(md, &ctx, EVP_sha256(), NULL, key) == 1);
    if (alg == JWT_PS256)
        must(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1);
    must(EVP_DigestSign(md, raw, &len, (const unsigned char *)text.ptr, text.len) == 1);
    EVP_MD_CTX_free(md);
    if (alg == JWT_ES256) {
        const unsigned char *at = raw;
        unsigned char pair[64];
        ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
        must(sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), pair, 32) == 32 &&
             BN_bn2binpad(ECDSA_SIG_get0_s(sig), pair + 32, 32) == 32);
        ECDSA_SIG_free(sig);
        return jose_b64(arena, str_of((char *)pair, 64));
    }
    return jose_b64(arena, str_of((char *)raw, len));
}

static inline struct str jose_sign(struct arena *arena, EVP_PKEY *key, enum jwt_alg alg,
                                   const char *header, const char *claims) {
    struct str text = arena_printf(arena, "%.*s.%.*s", STR_FMT(jose_b64(arena, str_c(header))),
                                   STR_FMT(jose_b64(arena, str_c(claims))));
    return arena_printf(arena, "%.*s.%.*s", STR_FMT(text),
                        STR_FMT(jose_signature(arena, key, alg, text)));
}

#endif
