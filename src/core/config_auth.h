/* config_auth: the section `auth` of penstock.yaml: whose tokens and certificates are taken, and
 * what they may. Read with the rest of the configuration (core/config.h). */
#ifndef PENSTOCK_CORE_CONFIG_AUTH_H
#define PENSTOCK_CORE_CONFIG_AUTH_H

#include "shape/shape.h"

#define CONFIG_ISSUERS_MAX 16
#define CONFIG_CLIENTS_MAX 100000

/* One scope as an issuer names it, and what it means here. */
struct config_grant {
    struct str given;
    struct shape_list scopes; /* of struct str: "orders:write", "orders:*", "*" */
};

struct config_issuer {
    uint64_t has;
    struct str name;   /* "corp": callers are SUBJECT@corp */
    struct str issuer; /* as in the claim iss, exactly */
    struct shape_list audience;   /* of struct str: one of them must be in aud */
    struct str jwks_url, jwks_file; /* one of them */
    struct shape_list algorithms; /* of struct str: RS256, PS256, ES256 */
    struct str scope_claim;       /* absent: the first of scope, scp, roles that is there */
    const struct json *scopes;    /* as written; read into grants */
    bool typed;                   /* only tokens of type at+jwt (RFC 9068) */
    int64_t leeway_s;
    uint32_t algs;                /* mask, bit i: i-th of config_algorithms; never 0 */
    struct str jwks_path;         /* jwks_file below the configuration's folder */
    const struct config_grant *grants; /* NULL: scopes are taken as they are named */
    uint32_t grant_count;
};
enum config_issuer_row {
    ISSUER_NAME, ISSUER_ISSUER, ISSUER_AUDIENCE, ISSUER_JWKS_URL, ISSUER_JWKS_FILE,
    ISSUER_ALGORITHMS, ISSUER_SCOPE_CLAIM, ISSUER_SCOPES, ISSUER_TYPED, ISSUER_LEEWAY_S,
};
extern const char *const config_algorithms[]; /* RS256, PS256, ES256, NULL */

/* Whose verified client certificate says one of these names is this caller. */
struct config_client {
    uint64_t has;
    struct str caller;                               /* "till-7": the caller is till-7@certificate */
    struct str dns, uri, email, subject, fingerprint; /* one of them */
    struct shape_list scopes;                        /* of struct str */
};
enum config_client_row {
    CLIENT_CALLER, CLIENT_DNS, CLIENT_URI, CLIENT_EMAIL, CLIENT_SUBJECT,
    CLIENT_FINGERPRINT, CLIENT_SCOPES,
};

/* Where operators sign in with a browser: one OpenID Connect provider (gateway/signin.h). */
struct config_operators {
    uint64_t has;
    struct str name;          /* "staff": operators are SUBJECT@staff */
    struct str issuer;        /* as in the claim iss, exactly; its metadata is found below it */
    struct str client_id;
    struct str client_secret; /* ${env:NAME} or ${file:PATH}, as written; absent: a public client */
    struct str url;           /* the hub's origin as browsers see it: "https://hub.example" */
    struct str ask;           /* scopes asked of the provider; never absent once loaded */
    struct shape_list algorithms;
    struct str scope_claim;    /* never absent once loaded */
    const struct json *scopes; /* as written; read into grants */
    uint32_t algs;             /* as in config_issuer */
    const struct config_grant *grants;
    uint32_t grant_count;
};
enum config_operators_row {
    OPERATORS_NAME, OPERATORS_ISSUER, OPERATORS_CLIENT_ID, OPERATORS_CLIENT_SECRET, OPERATORS_URL,
    OPERATORS_ASK, OPERATORS_ALGORITHMS, OPERATORS_SCOPE_CLAIM, OPERATORS_SCOPES,
};

struct config_auth {
    uint64_t has;
    struct str url; /* the hub as callers reach it: issuer and audience of its own tokens */
    struct shape_list issuers;      /* of struct config_issuer */
    struct shape_list certificates; /* of struct config_client */
    struct config_operators *operators; /* NULL: nobody signs in */
};
extern const struct shape config_auth_shape;

/* https, or http to this machine: whoever can change what comes from there can sign anything. */
bool config_url_safe(struct str url);

#endif
