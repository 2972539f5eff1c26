/* nats_options: see nats_options.h. */
#include "connect/nats_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVERS_MAX 16
#define CONNECT_TIMEOUT_MS 2000
#define PING_INTERVAL_MS 10000 /* a peer that went without a word is known after two of these */

/* "(conn.c:733): SSL handshake error: 62:hostname mismatch:expected=…" without the place. */
static const char *library_words(natsStatus status) {
    natsStatus last = NATS_OK;
    const char *words = nats_GetLastError(&last);
    if (last != status || !words || !*words)
        return natsStatus_GetText(status);
    const char *behind = *words == '(' ? strstr(words, "): ") : NULL;
    return behind ? behind + 3 : words;
}

struct str nats_failed(natsStatus status, char out[NATS_WORDS_MAX]) {
    switch (status) {
    case NATS_NO_SERVER: return STR("no NATS server can be reached there");
    case NATS_CONNECTION_AUTH_FAILED: return STR("the NATS server does not take these credentials");
    case NATS_SECURE_CONNECTION_REQUIRED: return STR("the NATS server wants TLS: nats+tls://");
    case NATS_SECURE_CONNECTION_WANTED: return STR("the NATS server does not speak TLS");
    case NATS_PROTOCOL_ERROR:
        return STR("the NATS server ended the connection when it began: where it wants a client certificate, "
                   "name one (cert, cert_key)");
    default: break;
    }
    snprintf(out, NATS_WORDS_MAX, "%s%s", status == NATS_SSL_ERROR ? "the connection is not secure: " : "",
             library_words(status));
    return str_c(out);
}

static natsStatus servers_set(natsOptions *options, const struct stream_url *url, struct arena *arena) {
    const char *servers[SERVERS_MAX];
    int count = 0;
    struct str rest = url->hosts;
    while (rest.ptr && count < SERVERS_MAX) {
        struct str host = str_cut(&rest, ',');
        struct str text = arena_printf(arena, "nats://%.*s", STR_FMT(host));
        if (!text.ptr)
            return NATS_NO_MEMORY;
        servers[count++] = text.ptr;
    }
    return natsOptions_SetServers(options, servers, count);
}

static natsStatus login_set(natsOptions *options, const struct stream_login *login) {
    if (login->user.ptr)
        return natsOptions_SetUserInfo(options, login->user.ptr, login->password.ptr);
    return login->token.ptr ? natsOptions_SetToken(options, login->token.ptr) : NATS_OK;
}

static natsStatus tls_set(natsOptions *options, const struct stream_url *url, struct arena *arena) {
    struct str ca = stream_url_option(url, "ca", arena), cert = stream_url_option(url, "cert", arena);
    struct str key = stream_url_option(url, "cert_key", arena);
    const char *bundle = ca.ptr ? ca.ptr : getenv("PENSTOCK_CA_FILE");
    natsStatus s = natsOptions_SetSecure(options, true);
    if (s == NATS_OK && bundle && *bundle)
        s = natsOptions_LoadCATrustedCertificates(options, bundle);
    if (s == NATS_OK && cert.len)
        s = natsOptions_LoadCertificatesChain(options, cert.ptr, key.len ? key.ptr : cert.ptr);
    return s;
}

enum err nats_options_make(const struct stream_url *url, struct str authorization,
                           struct arena *arena, natsOptions **out, struct fault *fault) {
    struct stream_login login;
    natsOptions *options = NULL;
    enum err err = stream_login_read(authorization, arena, &login, fault);
    if (err != OK)
        return err;
    struct str creds = stream_url_option(url, "creds", arena);
    natsStatus s = natsOptions_Create(&options);
    if (s == NATS_OK)
        s = servers_set(options, url, arena);
    if (s == NATS_OK)
        s = login_set(options, &login);
    if (s == NATS_OK && creds.len)
        s = natsOptions_SetUserCredentialsFromFiles(options, creds.ptr, NULL);
    if (s == NATS_OK && url->tls)
        s = tls_set(options, url, arena);
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(options, CONNECT_TIMEOUT_MS);
    if (s == NATS_OK)
        s = natsOptions_SetName(options, "penstock");
    if (s == NATS_OK)
        s = natsOptions_SetAllowReconnect(options, false);
    if (s == NATS_OK)
        s = natsOptions_SetPingInterval(options, PING_INTERVAL_MS);
    if (s != NATS_OK) {
        natsOptions_Destroy(options);
        return fault_set(fault, s == NATS_NO_MEMORY ? ERR_NOMEM : ERR_INVALID,
                         "the connection to NATS can not be prepared: %s", library_words(s));
    }
    *out = options;
    return OK;
}
