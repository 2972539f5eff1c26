/* config_auth: see config_auth.h. What the shapes can not say is checked here: an https address,
 * algorithms that exist, one name per certificate, mappings of scopes. */
#include "core/config_auth.h"

#include <stdio.h>

#include "core/config_priv.h"

#define LEEWAY_S_DEFAULT 30
#define LEEWAY_S_MAX 300

const char *const config_algorithms[] = {"RS256", "PS256", "ES256", NULL};

#define AT(type, member) .offset = offsetof(struct type, member), .since = 1
static const struct shape_field issuer_fields[] = {
    [ISSUER_NAME] = {.name = "name", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED, .max = 24,
                     AT(config_issuer, name),
                     .help = "Short name: callers are SUBJECT@NAME in events and the audit"},
    [ISSUER_ISSUER] = {.name = "issuer", .kind = SHAPE_ID, .flags = SHAPE_REQUIRED, .max = 512,
                       AT(config_issuer, issuer), .help = "The claim iss of its tokens, exactly"},
    [ISSUER_AUDIENCE] = {.name = "audience", .kind = SHAPE_LIST, .flags = SHAPE_REQUIRED, .min = 1,
                         .max = 16, AT(config_issuer, audience),
                         .help = "What this hub is called in the claim aud; one of them must be there"},
    [ISSUER_JWKS_URL] = {.name = "jwks_url", .kind = SHAPE_ID, .max = 2048,
                         AT(config_issuer, jwks_url), .help = "Where its key set is fetched, https"},
    [ISSUER_JWKS_FILE] = {.name = "jwks_file", .kind = SHAPE_ID, .max = 2048,
                          AT(config_issuer, jwks_file), .help = "Or a file with its key set"},
    [ISSUER_ALGORITHMS] = {.name = "algorithms", .kind = SHAPE_LIST, .min = 1, .max = 3,
                           AT(config_issuer, algorithms),
                           .help = "Those it signs with: RS256, PS256, ES256; all where left out"},
    [ISSUER_SCOPE_CLAIM] = {.name = "scope_claim", .kind = SHAPE_ID, .max = 200,
                            AT(config_issuer, scope_claim),
                            .help = "The claim with the scopes, by name or JSON Pointer "
                                    "(/realm_access/roles). Default: the first of scope, scp, "
                                    "roles that is there"},
    [ISSUER_SCOPES] = {.name = "scopes", .kind = SHAPE_OPEN, AT(config_issuer, scopes),
                       .help = "What its scopes mean here: {retail.write: [orders:write]}. Without "
                               "it scopes are taken as they are named; others mean nothing"},
    [ISSUER_TYPED] = {.name = "typed", .kind = SHAPE_BOOL, AT(config_issuer, typed),
                      .help = "Take only tokens whose typ is at+jwt (RFC 9068)"},
    [ISSUER_LEEWAY_S] = {.name = "leeway_s", .kind = SHAPE_INTEGER, .min = 0, .max = LEEWAY_S_MAX,
                         AT(config_issuer, leeway_s),
                         .help = "Seconds its clock may be off. Default: 30"},
};
static SHAPE_DEFINE(issuer_shape, "issuer", struct config_issuer, "Whose tokens are taken",
                    issuer_fields);

static const struct shape_field certificate_fields[] = {
    [CLIENT_CALLER] = {.name = "caller", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED, .max = 64,
                            AT(config_client, caller),
                            .help = "Name of the caller: CALLER@certificate in events and the audit"},
    [CLIENT_DNS] = {.name = "dns", .kind = SHAPE_ID, .max = 256, AT(config_client, dns),
                         .help = "A DNS name among the certificate's alternative names"},
    [CLIENT_URI] = {.name = "uri", .kind = SHAPE_ID, .max = 1024, AT(config_client, uri),
                         .help = "Or a URI among them"},
    [CLIENT_EMAIL] = {.name = "email", .kind = SHAPE_ID, .max = 320,
                           AT(config_client, email), .help = "Or an e-mail address among them"},
    [CLIENT_SUBJECT] = {.name = "subject", .kind = SHAPE_ID, .max = 1024,
                             AT(config_client, subject),
                             .help = "Or the whole subject as RFC 4514 writes it: CN=till-7,O=Shop"},
    [CLIENT_FINGERPRINT] = {.name = "fingerprint", .kind = SHAPE_ID, .min = 64, .max = 64,
                                 AT(config_client, fingerprint),
                                 .help = "Or SHA-256 of the certificate, 64 hex digits, lower case"},
    [CLIENT_SCOPES] = {.name = "scopes", .kind = SHAPE_LIST, .flags = SHAPE_REQUIRED, .min = 1,
                            .max = 64, AT(config_client, scopes),
                            .help = "What the caller may: see `penstock key scopes`"},
};
static SHAPE_DEFINE(certificate_shape, "certificate", struct config_client,
                    "Whose client certificate is taken for whom", certificate_fields);

static const struct shape_field operators_fields[] = {
    [OPERATORS_NAME] = {.name = "name", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED, .max = 24,
                        AT(config_operators, name),
                        .help = "Short name: operators are SUBJECT@NAME in events and the audit"},
    [OPERATORS_ISSUER] = {.name = "issuer", .kind = SHAPE_ID, .flags = SHAPE_REQUIRED, .max = 512,
                          AT(config_operators, issuer),
                          .help = "The provider, as in the claim iss, exactly; its metadata is "
                                  "found at ISSUER/.well-known/openid-configuration"},
    [OPERATORS_CLIENT_ID] = {.name = "client_id", .kind = SHAPE_ID, .flags = SHAPE_REQUIRED,
                             .max = 256, AT(config_operators, client_id),
                             .help = "What the hub is called there"},
    [OPERATORS_CLIENT_SECRET] = {.name = "client_secret", .kind = SHAPE_ID, .max = 512,
                                 AT(config_operators, client_secret),
                                 .help = "${env:NAME} or ${file:PATH}. Default: none, a public client"},
    [OPERATORS_URL] = {.name = "url", .kind = SHAPE_ID, .max = 256, AT(config_operators, url),
                       .help = "The hub as browsers see it, without a path: https://hub.example. The "
                               "provider must know URL/ops/callback. Default: auth.url"},
    [OPERATORS_ASK] = {.name = "ask", .kind = SHAPE_ID, .max = 512, AT(config_operators, ask),
                       .help = "Scopes asked of the provider. Default: openid profile email"},
    [OPERATORS_ALGORITHMS] = {.name = "algorithms", .kind = SHAPE_LIST, .min = 1, .max = 3,
                              AT(config_operators, algorithms),
                              .help = "Those it signs with: RS256, PS256, ES256; all where left out"},
    [OPERATORS_SCOPE_CLAIM] = {.name = "scope_claim", .kind = SHAPE_ID, .max = 200,
                               AT(config_operators, scope_claim),
                               .help = "The claim of the ID token with groups or roles, by name or "
                                       "JSON Pointer. Default: groups"},
    [OPERATORS_SCOPES] = {.name = "scopes", .kind = SHAPE_OPEN, .flags = SHAPE_REQUIRED,
                          AT(config_operators, scopes),
                          .help = "What these may do here: {hub-admins: [\"ops:*\"]}"},
};
static SHAPE_DEFINE(operators_shape, "operators", struct config_operators,
                    "Where operators sign in (OpenID Connect)", operators_fields);

static const struct shape_field auth_fields[] = {
    {.name = "url", .kind = SHAPE_ID, .max = 512, AT(config_auth, url),
     .help = "The hub as callers reach it, https://hub.example: issuer and audience of the tokens "
             "it makes. Default: http:// and `listen`"},
    {.name = "issuers", .kind = SHAPE_LIST, .max = CONFIG_ISSUERS_MAX, AT(config_auth, issuers),
     .shape = &issuer_shape, .help = "Identity providers whose tokens are taken"},
    {.name = "certificates", .kind = SHAPE_LIST, .max = CONFIG_CLIENTS_MAX,
     AT(config_auth, certificates), .shape = &certificate_shape,
     .help = "Client certificates that are callers"},
    {.name = "operators", .kind = SHAPE_OBJECT, AT(config_auth, operators),
     .shape = &operators_shape, .help = "Where operators sign in with a browser (OpenID Connect)"},
};
SHAPE_DEFINE(config_auth_shape, "auth", struct config_auth, "Who may call", auth_fields);

/* --- what the shapes can not say ------------------------------------------------------------ */

struct agree {
    struct config *config;
    const struct yaml *yaml;
    struct fault *fault;
    const char *list; /* NULL: operators */
    uint32_t at;
};

static void tell(const struct agree *a, const char *member, const char *why) {
    char pointer[128];

    if (a->list)
        snprintf(pointer, sizeof pointer, "/auth/%s/%u%s%s", a->list, a->at, member[0] ? "/" : "",
                 member);
    else
        snprintf(pointer, sizeof pointer, "/auth/operators/%s", member);
    yaml_fault(a->yaml, a->fault, str_c(pointer), "%s", why);
}

bool config_url_safe(struct str url) {
    static const char *const starts[] = {"https://", "http://127.0.0.1:", "http://127.0.0.1/",
                                         "http://localhost:", "http://localhost/", "http://[::1]:",
                                         "http://[::1]/"};

    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        if (str_starts(url, str_c(starts[i])))
            return url.len > strlen(starts[i]);
    return false;
}

/* As a mask; all of them where none is named. */
static uint32_t algorithms_read(const struct agree *a, struct shape_list names) {
    uint32_t algs = 0;

    for (uint32_t i = 0; i < names.count; i++) {
        struct str name = *list_at(names, struct str, i);
        uint32_t bit = 0;

        while (config_algorithms[bit] && !str_is(name, config_algorithms[bit]))
            bit++;
        if (config_algorithms[bit])
            algs |= 1u << bit;
        else
            tell(a, "algorithms", "must be RS256, PS256 or ES256");
    }
    return names.count ? algs : 7;
}

/* "x" or ["x", "y"] as a list of texts; false where it is neither. */
static bool texts_read(struct arena *arena, const struct json *value, struct shape_list *out) {
    uint32_t count = value->kind == JSON_ARRAY ? value->count : 1;
    const struct json *one = value->kind == JSON_ARRAY ? json_first(value) : value;
    struct str *texts = arena_array(arena, count ? count : 1, sizeof *texts);

    for (uint32_t i = 0; texts && i < count; i++, one = json_next(one)) {
        if (one->kind != JSON_STRING || one->text.len == 0)
            return false;
        texts[i] = one->text;
    }
    *out = (struct shape_list){texts, count};
    return texts && count > 0;
}

static void grants_read(const struct agree *a, const struct json *map,
                        const struct config_grant **out, uint32_t *count) {
    struct config_grant *grants;

    if (map->kind != JSON_OBJECT || map->count == 0) {
        tell(a, "scopes", "must be a mapping of its scopes to lists of ours");
        return;
    }
    grants = arena_array(&a->config->arena, map->count, sizeof *grants);
    if (!grants) {
        tell(a, "scopes", "is more than memory takes");
        return;
    }
    const struct json *key = json_first(map);
    for (uint32_t i = 0; i < map->count; i++, key = json_next(key + 1)) {
        grants[i].given = key->text;
        if (!texts_read(&a->config->arena, key + 1, &grants[i].scopes))
            tell(a, "scopes", "must give each of its scopes a list of ours");
    }
    *out = grants;
    *count = map->count;
}

static void issuer_agree(const struct agree *a, struct config_issuer *issuer) {
    if (shape_has(issuer, ISSUER_JWKS_URL) == shape_has(issuer, ISSUER_JWKS_FILE))
        tell(a, "", "needs jwks_url or jwks_file, one of them");
    else if (shape_has(issuer, ISSUER_JWKS_URL) && !config_url_safe(issuer->jwks_url))
        tell(a, "jwks_url", "must begin with https:// (http:// only to this machine itself)");
    if (shape_has(issuer, ISSUER_JWKS_FILE))
        issuer->jwks_path = issuer->jwks_file.ptr[0] == '/'
                                ? issuer->jwks_file
                                : arena_printf(&a->config->arena, "%.*s/%.*s",
                                               STR_FMT(a->config->dir), STR_FMT(issuer->jwks_file));
    if (!shape_has(issuer, ISSUER_LEEWAY_S))
        issuer->leeway_s = LEEWAY_S_DEFAULT;
    if (str_is(issuer->name, "certificate"))
        tell(a, "name", "is taken: callers with a certificate are called so");
    issuer->algs = algorithms_read(a, issuer->algorithms);
    if (shape_has(issuer, ISSUER_SCOPES))
        grants_read(a, issuer->scopes, &issuer->grants, &issuer->grant_count);
}

static void certificate_agree(const struct agree *a, const struct config_client *c) {
    uint64_t names = c->has & (1u << CLIENT_DNS | 1u << CLIENT_URI |
                               1u << CLIENT_EMAIL | 1u << CLIENT_SUBJECT |
                               1u << CLIENT_FINGERPRINT);

    if (names == 0 || (names & (names - 1)) != 0)
        tell(a, "", "needs one of dns, uri, email, subject, fingerprint");
    for (size_t i = 0; i < c->fingerprint.len; i++)
        if (!strchr("0123456789abcdef", c->fingerprint.ptr[i])) {
            tell(a, "fingerprint", "must be 64 hex digits in lower case");
            break;
        }
}

/* scheme://host[:port] and nothing behind it: what a browser sends as Origin. */
static bool is_origin(struct str url) {
    const char *host = memmem(url.ptr, url.len, "://", 3);

    if (!config_url_safe(url) || !host)
        return false;
    if ((str_starts(url, STR("https:")) && url.len > 4 && memcmp(url.ptr + url.len - 4, ":443", 4) == 0) ||
        (str_starts(url, STR("http:")) && memcmp(url.ptr + url.len - 3, ":80", 3) == 0))
        return false; /* browsers leave it out */
    for (const char *c = host + 3; c < url.ptr + url.len; c++)
        if (!strchr("0123456789abcdefghijklmnopqrstuvwxyz.-:[]", *c))
            return false;
    return true;
}

static bool is_reference(struct str text) {
    return text.len > 7 && text.ptr[text.len - 1] == '}' &&
           (str_starts(text, STR("${env:")) || str_starts(text, STR("${file:")));
}

static bool asks_openid(struct str ask) {
    bool found = false;

    while (ask.ptr && !found)
        found = str_is(str_cut(&ask, ' '), "openid");
    return found;
}

/* A subject of one name is one person, whatever they came with: so one name is one provider. */
static void operators_name_agree(const struct agree *a, const struct config_operators *o) {
    if (str_is(o->name, "certificate"))
        tell(a, "name", "is taken: callers with a certificate are called so");
    for (uint32_t i = 0; i < a->config->auth->issuers.count; i++) {
        const struct config_issuer *other = list_at(a->config->auth->issuers, struct config_issuer, i);

        if (str_eq(other->name, o->name) != str_eq(other->issuer, o->issuer))
            tell(a, "name", "must be that of the same issuer in auth.issuers, and of no other");
    }
}

static void operators_agree(const struct agree *a, struct config_operators *o) {
    if (!shape_has(o, OPERATORS_URL))
        o->url = a->config->auth->url;
    if (!shape_has(o, OPERATORS_ASK))
        o->ask = STR("openid profile email");
    if (!shape_has(o, OPERATORS_SCOPE_CLAIM))
        o->scope_claim = STR("groups");
    if (!config_url_safe(o->issuer))
        tell(a, "issuer", "must begin with https:// (http:// only to this machine itself)");
    if (!o->url.ptr || !is_origin(o->url))
        tell(a, "url", "must be the hub's address without a path or a default port, in lower case: "
                       "https://hub.example (http:// only for this machine itself)");
    if (o->client_secret.ptr && !is_reference(o->client_secret))
        tell(a, "client_secret", "must be ${env:NAME} or ${file:PATH}: secrets are not written here");
    if (!asks_openid(o->ask))
        tell(a, "ask", "must have openid among its words");
    operators_name_agree(a, o);
    o->algs = algorithms_read(a, o->algorithms);
    grants_read(a, o->scopes, &o->grants, &o->grant_count);
}

void auth_agree(struct config *config, const struct yaml *yaml, struct fault *fault) {
    struct agree a = {.config = config, .yaml = yaml, .fault = fault, .list = "issuers"};
    struct shape_list *issuers = &config->auth->issuers;

    if (config->auth->url.ptr && !str_starts(config->auth->url, STR("https://")) &&
        !str_starts(config->auth->url, STR("http://")))
        yaml_fault(yaml, fault, STR("/auth/url"), "must begin with https:// or http://");
    for (; a.at < issuers->count; a.at++) {
        struct config_issuer *issuer = list_at(*issuers, struct config_issuer, a.at);

        issuer_agree(&a, issuer);
        for (uint32_t k = 0; k < a.at; k++) {
            const struct config_issuer *other = list_at(*issuers, struct config_issuer, k);

            if (str_eq(other->name, issuer->name))
                tell(&a, "name", "is there twice");
            if (str_eq(other->issuer, issuer->issuer))
                tell(&a, "issuer", "is there twice");
        }
    }
    a.list = "certificates";
    for (a.at = 0; a.at < config->auth->certificates.count; a.at++)
        certificate_agree(&a, list_at(config->auth->certificates, struct config_client, a.at));
    a.list = NULL;
    if (config->auth->operators)
        operators_agree(&a, config->auth->operators);
}
