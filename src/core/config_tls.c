/* config_tls: where the hub listens, and the tls section of penstock.yaml. Files are named
 * here, read elsewhere. */
#include <limits.h>
#include <stdio.h>

#include "core/config_priv.h"

#define LISTEN_MAX 8 /* plain, and as many with TLS */

#define AT(type, member) .offset = offsetof(struct type, member), .since = 1
static const struct shape_field certificate_fields[] = {
    [CERTIFICATE_CERTIFICATE] = {.name = "certificate", .kind = SHAPE_TEXT, .max = 1024,
                                 .flags = SHAPE_REQUIRED, AT(config_certificate, certificate),
                                 .help = "PEM file: the hub's certificate, then those of its issuers"},
    [CERTIFICATE_KEY] = {.name = "key", .kind = SHAPE_TEXT, .max = 1024, .flags = SHAPE_REQUIRED,
                         AT(config_certificate, key),
                         .help = "PEM file: its private key, without a passphrase"},
};
static SHAPE_DEFINE(certificate_shape, "a certificate", struct config_certificate,
                    "A certificate with its key", certificate_fields);

static const char *const client_names[] = {"none", "optional", "required", NULL};
static const char *const version_names[] = {"tls1.2", "tls1.3", NULL};
static const struct shape_field tls_fields[] = {
    [TLS_LISTEN] = {.name = "listen", .kind = SHAPE_OPEN, AT(config_tls, listen_value),
                    .help = "HOST:PORT, or a list of them, that speak TLS. Without it those of the "
                            "configuration's own `listen` do"},
    [TLS_CERTIFICATES] = {.name = "certificates", .kind = SHAPE_LIST, .flags = SHAPE_REQUIRED,
                          AT(config_tls, certificates), .min = 1, .max = 64,
                          .shape = &certificate_shape,
                          .help = "A client gets the one that is for the name it asks for, else the "
                                  "first"},
    [TLS_CLIENT_CERTIFICATES] = {.name = "client_certificates", .kind = SHAPE_ENUM,
                                 AT(config_tls, clients), .values = client_names,
                                 .help = "Whether clients show certificates: none (the default), "
                                         "optional, required"},
    [TLS_CLIENT_CA] = {.name = "client_ca", .kind = SHAPE_TEXT, .max = 1024,
                       AT(config_tls, client_ca),
                       .help = "PEM file: who issues the certificates of clients"},
    [TLS_CLIENT_CRL] = {.name = "client_crl", .kind = SHAPE_TEXT, .max = 1024,
                        AT(config_tls, client_crl),
                        .help = "PEM file: the issuers' lists of what they revoked"},
    [TLS_MIN_VERSION] = {.name = "min_version", .kind = SHAPE_ENUM, AT(config_tls, min_version),
                         .values = version_names, .help = "tls1.2 (the default) or tls1.3"},
};
SHAPE_DEFINE(config_tls_shape, "tls", struct config_tls, "TLS", tls_fields);

static bool address_valid(struct str address) {
    uint64_t port;
    const char *colon = memrchr(address.ptr, ':', address.len);

    if (!colon || colon == address.ptr || address.len > 128)
        return false;
    struct str text = str_of(colon + 1, address.len - (size_t)(colon + 1 - address.ptr));
    return str_u64(text, &port) && port <= 65535;
}

enum err listen_read(struct config *config, const struct json *value, const struct yaml *yaml,
                     const char *pointer, struct shape_list *out, struct fault *fault) {
    bool list = value->kind == JSON_ARRAY;
    uint32_t count = list ? value->count : 1;
    const struct json *item = list ? json_first(value) : value;
    struct str *items = arena_array(&config->arena, count + 1, sizeof *items);

    if (!items)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    *out = (struct shape_list){.items = items};
    if (count == 0 || count > LISTEN_MAX)
        yaml_fault(yaml, fault, str_c(pointer), "must be HOST:PORT, or a list of 1 to %d of them",
                   LISTEN_MAX);
    for (uint32_t i = 0; i < count && i < LISTEN_MAX; i++, item = json_next(item)) {
        char at[64];

        snprintf(at, sizeof at, list ? "%s/%u" : "%s", pointer, i);
        if (item->kind != JSON_STRING || !address_valid(item->text))
            yaml_fault(yaml, fault, str_c(at), "must be HOST:PORT with a port of at most 65535");
        else
            items[out->count++] = item->text;
    }
    return OK;
}

/* As written, or within the configuration's folder. */
static bool path_settle(struct config *config, struct str *path) {
    if (path->len > 0 && path->ptr[0] != '/')
        *path = arena_printf(&config->arena, "%.*s/%.*s", STR_FMT(config->dir), STR_FMT(*path));
    else if (path->ptr)
        *path = arena_str(&config->arena, *path); /* with a NUL behind it */
    return path->ptr != NULL;
}

enum err tls_read(struct config *config, struct config_tls *tls, const struct yaml *yaml,
                  struct fault *fault) {
    bool fine = true;
    enum err err = OK;

    if (shape_has(tls, TLS_LISTEN))
        err = listen_read(config, tls->listen_value, yaml, "/tls/listen", &tls->listen, fault);
    for (uint32_t i = 0; i < tls->certificates.count; i++) {
        struct config_certificate *c = list_at(tls->certificates, struct config_certificate, i);

        fine = path_settle(config, &c->certificate) && path_settle(config, &c->key) && fine;
    }
    if (tls->clients != CLIENTS_NONE && !shape_has(tls, TLS_CLIENT_CA))
        yaml_fault(yaml, fault, STR("/tls/client_certificates"),
                   "needs client_ca: who issues the certificates of clients");
    if (tls->clients == CLIENTS_NONE &&
        (shape_has(tls, TLS_CLIENT_CA) || shape_has(tls, TLS_CLIENT_CRL)))
        yaml_fault(yaml, fault, STR("/tls"), "client_ca and client_crl do nothing without "
                   "client_certificates: say optional or required");
    if (shape_has(tls, TLS_CLIENT_CA))
        fine = path_settle(config, &tls->client_ca) && fine;
    if (shape_has(tls, TLS_CLIENT_CRL))
        fine = path_settle(config, &tls->client_crl) && fine;
    config->tls = tls;
    return fine ? err : fault_set(fault, ERR_NOMEM, "out of memory");
}
