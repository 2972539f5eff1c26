/* hub_listen: see hub_listen.h. */
#include "cli/hub_listen.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"

#define LOOKS 15 /* of the tidying thread, about 3 s: so often the files are looked at */

enum err hub_tls_create(const struct config *config, const struct config_tls *tls,
                        struct http_tls **out, struct fault *fault) {
    struct http_tls_pair pairs[HTTP_TLS_CERTIFICATES_MAX];
    struct http_tls_options options = {
        .pairs = pairs,
        .count = tls->certificates.count,
        .client = tls->clients == CLIENTS_REQUIRED   ? HTTP_TLS_CLIENT_REQUIRED
                  : tls->clients == CLIENTS_OPTIONAL ? HTTP_TLS_CLIENT_OPTIONAL
                                                     : HTTP_TLS_CLIENT_NONE,
        .client_ca = tls->client_ca.ptr,
        .client_crl = tls->client_crl.ptr,
        .only_1_3 = tls->min_version == 1,
        .resume_s = config->settings.tls_resume_s,
    };
    must(options.count <= HTTP_TLS_CERTIFICATES_MAX);
    for (uint32_t i = 0; i < options.count; i++) {
        const struct config_certificate *c =
            list_at(tls->certificates, struct config_certificate, i);
        pairs[i] = (struct http_tls_pair){.certificate = c->certificate.ptr, .key = c->key.ptr};
    }
    return http_tls_create(&options, out, fault);
}

/* The command line's certificate stands for those of the configuration; the rest of its tls
 * section holds. */
static enum err tls_make(struct hub_listen *listen, const struct config *config,
                         const struct hub_options *options, struct fault *fault) {
    struct config_certificate given = {0};
    struct config_tls tls = {0};
    if (config->tls)
        tls = *config->tls;
    if (options->tls_cert) {
        given.certificate = str_c(options->tls_cert);
        given.key = str_c(options->tls_key);
        tls.certificates = (struct shape_list){.items = &given, .count = 1};
    }
    return hub_tls_create(config, &tls, &listen->tls, fault);
}

static enum err address_add(struct hub_listen *listen, struct str address, struct http_tls *tls,
                            struct fault *fault) {
    char text[160];
    struct http_listen *item = &listen->items[listen->count];
    char *host = listen->hosts[listen->count];
    if (listen->count == HTTP_LISTENERS_MAX)
        return fault_set(fault, ERR_INVALID, "a hub listens on at most %d addresses",
                         HTTP_LISTENERS_MAX);
    snprintf(text, sizeof text, "%.*s", STR_FMT(address));
    *item = (struct http_listen){.host = host, .tls = tls};
    enum err err = hub_listen_parse(text, host, sizeof listen->hosts[0], &item->port, fault);
    if (err == OK)
        listen->count++;
    return err;
}

/* One from the command line, or those of the configuration. */
static enum err addresses_add(struct hub_listen *listen, const char *given,
                              const struct shape_list *list, struct http_tls *tls,
                              struct fault *fault) {
    enum err err = OK;
    if (given)
        return address_add(listen, str_c(given), tls, fault);
    for (uint32_t i = 0; err == OK && i < list->count; i++)
        err = address_add(listen, *list_at(*list, struct str, i), tls, fault);
    return err;
}

enum err hub_listen_make(struct hub_listen *listen, const struct config *config,
                         const struct hub_options *options, struct fault *fault) {
    static const struct shape_list none = {0};
    const struct shape_list *secure = config->tls ? &config->tls->listen : &none;
    bool beside = options->tls_listen || secure->count > 0; /* plain and TLS, each its own */
    enum err err = OK;
    if (!options->tls_cert != !options->tls_key)
        return fault_set(fault, ERR_INVALID, "--tls-cert and --tls-key go together");
    if (options->tls_listen && !config->tls && !options->tls_cert)
        return fault_set(fault, ERR_INVALID,
                         "--tls-listen needs a certificate: --tls-cert and --tls-key, or the "
                         "section tls of penstock.yaml");
    if (config->tls || options->tls_cert)
        err = tls_make(listen, config, options, fault);
    if (err == OK)
        err = addresses_add(listen, options->listen, &config->listen,
                            beside ? NULL : listen->tls, fault);
    if (err == OK && beside)
        err = addresses_add(listen, options->tls_listen, secure, listen->tls, fault);
    return err;
}

void hub_listen_free(struct hub_listen *listen) {
    http_tls_destroy(listen->tls);
    listen->tls = NULL;
}

void hub_listen_urls(const struct hub_listen *listen, const struct gateway *gateway,
                     struct buf *out) {
    for (uint32_t i = 0; i < listen->count; i++) {
        bool six = strchr(listen->hosts[i], ':') != NULL;
        buf_printf(out, "%s%s://%s%s%s:%u", i > 0 ? ", " : "",
                   listen->items[i].tls ? "https" : "http", six ? "[" : "", listen->hosts[i],
                   six ? "]" : "", (unsigned)gateway_port(gateway, i));
    }
}

static void warning_say(void *ctx, const char *file, const char *text) {
    (void)ctx;
    log_line(LOG_WARN, "cli", text, "file=%s", log_quote(str_c(file)));
}

void hub_listen_tell(const struct hub_listen *listen) {
    for (uint32_t i = 0; i < listen->count; i++)
        if (!listen->items[i].tls && !str_starts(str_c(listen->hosts[i]), STR("127.")) &&
            !str_is(str_c(listen->hosts[i]), "::1"))
            log_line(LOG_WARN, "cli",
                     "plain HTTP where other machines reach it: keys and orders can be read on "
                     "the way. Set up TLS (docs/tls.md), or let a proxy do it",
                     "listen=%s", log_quote(str_c(listen->hosts[i])));
    if (listen->tls)
        http_tls_warnings(listen->tls, warning_say, NULL);
}

static void faults_say(const struct fault *fault) {
    if (!fault->first)
        log_line(LOG_ERROR, "cli", "the new certificates are not taken, the present ones stay",
                 "detail=%s", log_quote(str_c(fault->detail)));
    for (const struct fault_item *i = fault->first; i; i = i->next)
        log_line(LOG_ERROR, "cli", "the new certificates are not taken, the present ones stay",
                 "file=%s detail=%s", log_quote(i->pointer), log_quote(i->detail));
}

void hub_listen_tidy(struct hub_listen *listen) {
    bool wanted = atomic_exchange(&listen->wanted, false);
    if (!listen->tls) {
        if (wanted)
            log_line(LOG_INFO, "cli", "nothing to read anew: there are no certificates", "tls=no");
        return;
    }
    if (!wanted && (listen->looks++ % LOOKS || !http_tls_stale(listen->tls)))
        return;
    struct arena arena;
    struct fault fault;
    arena_init(&arena, 0);
    fault_init(&fault, &arena);
    if (http_tls_reload(listen->tls, &fault) == OK) {
        log_line(LOG_INFO, "cli", "certificates were read anew", "ends_in_days=%" PRId64,
                 (http_tls_expires_s(listen->tls) - clock_now_us(&clock_system) / 1000000) / 86400);
        http_tls_warnings(listen->tls, warning_say, NULL);
    } else {
        faults_say(&fault);
    }
    arena_free(&arena);
}
