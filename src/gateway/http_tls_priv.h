/* What the two files of TLS share: a set of certificates as connections hold it, and the TLS
 * half of a connection. See http_tls.h. */
#ifndef PENSTOCK_GATEWAY_HTTP_TLS_PRIV_H
#define PENSTOCK_GATEWAY_HTTP_TLS_PRIV_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "gateway/http_tls.h"

/* One reading of the files. Immutable; lives as long as a connection that began with it. */
struct tls_set {
    _Atomic uint32_t refs;
    struct http_tls *tls; /* for its ticket keys; outlives the set */
    SSL_CTX *contexts[HTTP_TLS_CERTIFICATES_MAX]; /* one a certificate */
    uint32_t count;
    int64_t expires_s, crl_expires_s; /* 0: there is no list, or it names no end */
    uint8_t trust[32]; /* SHA-256 of client CA, revocation list and rule */
};

struct tls_set *tls_set_take(struct http_tls *tls);
void tls_set_give(struct tls_set *set);
/* A connection's SSL with the first certificate; NULL when memory is out. */
SSL *tls_set_ssl(struct tls_set *set);
/* http_tls_rest.c */
struct tls_rest;
SSL *tls_rest_new(SSL_CTX *context); /* as SSL_new, in a place where it can be laid to rest */
/* From here to tls_rest_end nothing may touch the SSL. NULL: it can not rest, and goes on. */
struct tls_rest *tls_rest_begin(SSL *ssl);
void tls_rest_end(SSL *ssl, struct tls_rest *rest);
struct clock *tls_clock(const struct http_tls *tls);

#endif
