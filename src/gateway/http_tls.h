/* http_tls: what a listener of http.h needs to speak TLS: certificates with their keys, whom it
 * trusts as clients, tickets for resumption. Private keys are read from files and kept in memory
 * alone.
 *
 * TLS 1.2 (RFC 5246) and 1.3 (RFC 8446) by OpenSSL, nothing older. Suites with forward secrecy
 * and authenticated encryption only, in the server's order; no compression, no renegotiation; no
 * early data, because whoever records it can send it again (RFC 8446 section 8). ALPN
 * (RFC 7301): http/1.1; a client that offers others alone is refused. A name (SNI, RFC 6066)
 * that a certificate is for gets that one, any other the first.
 *
 * Resumption is by tickets alone (RFC 5077, RFC 8446 section 2.2): the server remembers nothing.
 * Their keys are random, live in memory and change every resume_s; a ticket made under other
 * client CAs, another revocation list or another rule is not taken, so that a resumed session
 * never tells of a check that would fail today.
 *
 * What always holds: certificates change all together or not at all; connections keep those
 * they began with. */
#ifndef PENSTOCK_GATEWAY_HTTP_TLS_H
#define PENSTOCK_GATEWAY_HTTP_TLS_H

#include "base/clock.h"
#include "base/err.h"

#define HTTP_TLS_CERTIFICATES_MAX 64
#define HTTP_TLS_FILE_BYTES_MAX ((size_t)16 << 20)
#define HTTP_TLS_EXPIRY_WARNING_S (14 * 86400)

/* Whether a client shows a certificate. One that is shown is always verified. */
enum http_tls_client { HTTP_TLS_CLIENT_NONE, HTTP_TLS_CLIENT_OPTIONAL, HTTP_TLS_CLIENT_REQUIRED };

struct http_tls_pair {
    const char *certificate; /* PEM file: the server's first, then those of its issuers */
    const char *key;         /* PEM file without a passphrase */
};
/* All of it is copied. */
struct http_tls_options {
    const struct http_tls_pair *pairs;
    uint32_t count; /* 1 to HTTP_TLS_CERTIFICATES_MAX */
    enum http_tls_client client;
    const char *client_ca;  /* PEM bundle; needed unless client is none */
    const char *client_crl; /* PEM, revocation list of those who issue clients' certificates; or NULL */
    bool only_1_3;
    int64_t resume_s; /* how long a session can be resumed; 0: never */
    struct clock *clock; /* NULL: clock_system */
};

/* Idle connections take less memory with it. In main, before anything has used OpenSSL; without it,
 * or too late, all works as well. */
void http_tls_memory_begin(void);

struct http_tls;
/* Reads the files. ERR_INVALID: what a file holds is not fit, each fault listed with the file
 * as its pointer; ERR_NOMEM. */
enum err http_tls_create(const struct http_tls_options *options, struct http_tls **out,
                         struct fault *fault) WARN_UNUSED;
/* When no server uses it any more. */
void http_tls_destroy(struct http_tls *tls);

/* Not on a loop's thread: these read files. One thread at a time. */
/* Whether a file is another than at the last create or reload, by what stat says of it. */
bool http_tls_stale(const struct http_tls *tls);
/* Reads the files anew; new connections get what they hold. Where one is not fit everything
 * stays as it was. Errors as http_tls_create. */
enum err http_tls_reload(struct http_tls *tls, struct fault *fault) WARN_UNUSED;

/* Any thread. When the first of the certificates ends: seconds since 1970. */
int64_t http_tls_expires_s(struct http_tls *tls);
/* What is to be said of files that are fit, such as one that ends within 14 days. `say` gets the
 * file and one sentence. */
void http_tls_warnings(struct http_tls *tls,
                       void (*say)(void *ctx, const char *file, const char *text), void *ctx);

#endif
