/* connector_load_auth: section `auth` of connector.yaml: its tables, and what is made of them once
 * their references are resolved. A secret that stands in the file itself is refused. */
#include <string.h>

#include "base/encode.h"
#include "connect/auth.h"
#include "connect/connector_priv.h"

#define AUTH_EXPIRES_S 3600
#define AUTH_RENEW_AHEAD_S 60
#define AUTH_TIMEOUT_MS 10000

/* A row whose member of the struct is not called like the member of the document. */
#define ROW_AS(as, type, member, kind_, help_text, ...)                                            \
    {.name = as, .kind = kind_, .offset = offsetof(type, member), .since = 1, .help = help_text,   \
     ##__VA_ARGS__}
#define SECRET_HELP ", as ${env:NAME} or ${file:PATH}"

static const struct shape_field basic_rows[] = {
    SHAPE_ROW(struct auth_basic, username, SHAPE_TEXT, "User", .flags = SHAPE_REQUIRED, .min = 1),
    SHAPE_ROW(struct auth_basic, password, SHAPE_TEXT, "Password" SECRET_HELP,
              .flags = SHAPE_REQUIRED, .min = 1, .privacy = SECRET),
};
static SHAPE_DEFINE(basic_shape, "connector_auth_basic", struct auth_basic,
                    "User and password (RFC 7617)", basic_rows);

enum { KEY_HEADER, KEY_QUERY };
static const struct shape_field key_rows[] = {
    [KEY_HEADER] = SHAPE_ROW(struct auth_api_key, header, SHAPE_CODE, "Header that carries it"),
    [KEY_QUERY] = SHAPE_ROW(struct auth_api_key, query, SHAPE_CODE,
                            "Or the parameter of the URL; a header is better: URLs are written down"),
    SHAPE_ROW(struct auth_api_key, prefix, SHAPE_TEXT, "Text before it in the header: \"Token \"",
              .max = 64),
    SHAPE_ROW(struct auth_api_key, value, SHAPE_TEXT, "The key" SECRET_HELP,
              .flags = SHAPE_REQUIRED, .min = 1, .privacy = SECRET),
};
static SHAPE_DEFINE(key_shape, "connector_auth_api_key", struct auth_api_key, "A key in a header or the URL",
                    key_rows);

static const struct shape_field bearer_rows[] = {
    SHAPE_ROW(struct auth_bearer, token, SHAPE_TEXT, "The token" SECRET_HELP,
              .flags = SHAPE_REQUIRED, .min = 1, .privacy = SECRET),
};
static SHAPE_DEFINE(bearer_shape, "connector_auth_bearer", struct auth_bearer,
                    "A token that stays the same (RFC 6750)", bearer_rows);

static const char *const client_auths[] = {"basic", "post", NULL};
static const struct shape_field oauth2_rows[] = {
    SHAPE_ROW(struct auth_oauth2, token_url, SHAPE_TEXT, "Address of the token endpoint",
              .flags = SHAPE_REQUIRED, .min = 1),
    SHAPE_ROW(struct auth_oauth2, client_id, SHAPE_TEXT, "The client's id",
              .flags = SHAPE_REQUIRED, .min = 1),
    SHAPE_ROW(struct auth_oauth2, client_secret, SHAPE_TEXT, "The client's secret" SECRET_HELP,
              .min = 1, .privacy = SECRET),
    SHAPE_ROW(struct auth_oauth2, client_auth, SHAPE_ENUM,
              "Where id and secret go: basic (a header), post (the body) (basic)", .values = client_auths),
    SHAPE_ROW(struct auth_oauth2, scope, SHAPE_TEXT, "Scopes, with spaces between them"),
    SHAPE_ROW(struct auth_oauth2, audience, SHAPE_TEXT, "Whom the token is for, where the server asks"),
    SHAPE_ROW(struct auth_oauth2, refresh_token, SHAPE_TEXT,
              "The refresh token that the authorisation gave" SECRET_HELP
              "; without it: client credentials. What the server gives in its place is kept",
              .min = 1, .privacy = SECRET),
    ROW_AS("parameters", struct auth_oauth2, parameters_open, SHAPE_OPEN,
           "Further members of the token request, names and texts: {resource: …}"),
    SHAPE_ROW(struct auth_oauth2, header, SHAPE_CODE, "Header that gets the token (Authorization)"),
    SHAPE_ROW(struct auth_oauth2, prefix, SHAPE_TEXT, "Text before it (\"Bearer \")", .max = 64),
    SHAPE_ROW(struct auth_oauth2, expires_s, SHAPE_INTEGER,
              "Life of a token where the server does not say (3600)", .min = 1, .max = 31536000),
    SHAPE_ROW(struct auth_oauth2, renew_ahead_s, SHAPE_INTEGER,
              "How long before its end it is renewed, at most half its life (60)", .min = 1, .max = 86400),
    SHAPE_ROW(struct auth_oauth2, timeout_ms, SHAPE_INTEGER, "Time to get a token (10000)", .min = 10,
              .max = 600000),
};
enum { OAUTH_PREFIX = 9 };
static SHAPE_DEFINE(oauth2_shape, "connector_auth_oauth2", struct auth_oauth2,
                    "A token that is fetched and renewed (RFC 6749): client credentials, or a refresh token",
                    oauth2_rows);

static const char *const digests[] = {"sha256", "sha512", NULL};
static const char *const forms[] = {"hex", "base64", NULL};
static const char *const secret_forms[] = {"text", "hex", "base64", NULL};
static const char *const times[] = {"seconds", "milliseconds", "rfc3339", "http-date", NULL};
static const struct shape_field hmac_rows[] = {
    SHAPE_ROW(struct auth_hmac, secret, SHAPE_TEXT, "The shared secret" SECRET_HELP,
              .flags = SHAPE_REQUIRED, .min = 1, .privacy = SECRET),
    SHAPE_ROW(struct auth_hmac, secret_form, SHAPE_ENUM, "How the secret is written (text)",
              .values = secret_forms),
    SHAPE_ROW(struct auth_hmac, digest, SHAPE_ENUM, "Digest (sha256)", .values = digests),
    SHAPE_ROW(struct auth_hmac, form, SHAPE_ENUM, "How {signature} is written (hex)", .values = forms),
    SHAPE_ROW(struct auth_hmac, timestamp, SHAPE_ENUM, "How {timestamp} is written (seconds)",
              .values = times),
    SHAPE_ROW(struct auth_hmac, string, SHAPE_TEXT,
              "What is signed, with {method} {host} {path} {query} {target} {url} {timestamp} {nonce} {body} "
              "{body_sha256} {body_sha256_base64} {body_sha512} {body_sha512_base64}",
              .flags = SHAPE_REQUIRED, .min = 1),
    ROW_AS("headers", struct auth_hmac, headers_open, SHAPE_OPEN,
           "Headers that carry it, names and texts with the same placeholders and {signature}",
           .flags = SHAPE_REQUIRED),
};
static SHAPE_DEFINE(hmac_shape, "connector_auth_hmac", struct auth_hmac,
                    "Each request is signed with a shared secret (RFC 2104)", hmac_rows);

static const struct shape_field auth_rows[] = {
    [AUTH_BASIC] = SHAPE_ROW(struct connector_auth, basic, SHAPE_OBJECT, "User and password",
                             .shape = &basic_shape),
    [AUTH_API_KEY] = SHAPE_ROW(struct connector_auth, api_key, SHAPE_OBJECT, "A key in a header or the URL",
                               .shape = &key_shape),
    [AUTH_BEARER] = SHAPE_ROW(struct connector_auth, bearer, SHAPE_OBJECT, "A token that stays the same",
                              .shape = &bearer_shape),
    [AUTH_OAUTH2] = SHAPE_ROW(struct connector_auth, oauth2, SHAPE_OBJECT,
                              "A token that is fetched and renewed", .shape = &oauth2_shape),
    [AUTH_HMAC] = SHAPE_ROW(struct connector_auth, hmac, SHAPE_OBJECT, "Each request is signed",
                            .shape = &hmac_shape),
    [AUTH_SESSION] = SHAPE_ROW(struct connector_auth, session, SHAPE_OBJECT,
                               "A call that signs in, and a mapping of its answer",
                               .shape = &connector_session_shape),
};
SHAPE_DEFINE(connector_auth_shape, "connector_auth", struct connector_auth,
             "How calls say who makes them: exactly one of these", auth_rows);

/* --- reading ----------------------------------------------------------------------------- */

struct auth_load {
    struct loader *l;
    struct connector_auth *auth;
    struct buf missing;
    struct buf print; /* all that was resolved: what the fingerprint is of */
};

static struct str part(struct auth_load *a, struct str in, const char *at) {
    struct str text = in.len ? load_text(a->l, in, &a->missing, load_pointer(a->l, "/auth/%s", at)).text : in;
    buf_str_add(&a->print, text);
    buf_char(&a->print, '\0');
    return text;
}

static void secret_note(struct connector_auth *auth, struct str secret) {
    /* a short one would be found in innocent words */
    if (secret.len >= 6 && auth->secret_count < sizeof auth->secrets / sizeof auth->secrets[0])
        auth->secrets[auth->secret_count++] = secret;
}

static struct str secret(struct auth_load *a, struct str in, const char *at) {
    struct loader *l = a->l;
    if (in.len && !memmem(in.ptr, in.len, "${env:", 6) && !memmem(in.ptr, in.len, "${file:", 7)) {
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "/auth/%s", at),
                   "secrets are not kept in files of the configuration: name one as ${env:NAME} or "
                   "${file:PATH}");
        return STR_NONE;
    }
    struct str text = part(a, in, at);
    if (text.len && !auth_value_good(text))
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "/auth/%s", at),
                   "%.*s has line ends or other control characters", STR_FMT(in));
    secret_note(a->auth, text);
    return text;
}

static struct str basic_value(struct auth_load *a, struct str user, struct str password) {
    struct buf out;
    struct str pair = arena_printf(a->l->arena, "%.*s:%.*s", STR_FMT(user), STR_FMT(password));
    buf_init(&out, LOAD_TEXT_BYTES_MAX * 2);
    buf_lit(&out, "Basic ");
    base64_write(&out, pair);
    struct str value = arena_str(a->l->arena, buf_str(&out));
    buf_free(&out);
    if (value.len > 6)
        secret_note(a->auth, str_of(value.ptr + 6, value.len - 6));
    return value;
}

static void load_basic(struct auth_load *a, struct auth_basic *basic) {
    basic->username = part(a, basic->username, "basic/username");
    basic->password = secret(a, basic->password, "basic/password");
    if (basic->username.len && memchr(basic->username.ptr, ':', basic->username.len))
        yaml_fault(&a->l->yaml, a->l->fault, STR("/auth/basic/username"),
                   "may not hold a colon (RFC 7617): the password begins behind it");
    if (basic->username.ptr && basic->password.ptr)
        basic->value = basic_value(a, basic->username, basic->password);
}

static void load_api_key(struct auth_load *a, struct auth_api_key *key) {
    if (shape_has(key, KEY_HEADER) == shape_has(key, KEY_QUERY))
        yaml_fault(&a->l->yaml, a->l->fault, STR("/auth/api_key"), "either header or query");
    struct str value = secret(a, key->value, "api_key/value");
    key->value = value.ptr && key->prefix.len && key->header.len
                     ? arena_printf(a->l->arena, "%.*s%.*s", STR_FMT(key->prefix), STR_FMT(value))
                     : value;
}

void form_encode(struct buf *out, struct str value) {
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
            c == '.' || c == '_' || c == '~')
            buf_char(out, (char)c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

/* "&name=value" of each, as application/x-www-form-urlencoded. */
static struct str load_parameters(struct auth_load *a, const struct json *from) {
    struct loader *l = a->l;
    struct str at = STR("/auth/oauth2/parameters");
    if (!from || from->kind == JSON_NULL)
        return STR_NONE;
    if (from->kind != JSON_OBJECT || from->count > LOAD_HEADERS_MAX) {
        yaml_fault(&l->yaml, l->fault, at, "must be an object of at most %d texts", LOAD_HEADERS_MAX);
        return STR_NONE;
    }
    struct buf out;
    buf_init(&out, LOAD_TEXT_BYTES_MAX);
    const struct json *name = json_first(from);
    for (uint32_t i = 0; i < from->count; i++) {
        const struct json *value = json_next(name);
        struct resolved r = {0};
        if (value->kind == JSON_STRING || value->kind == JSON_NUMBER)
            r = load_text(l, value->text, &a->missing, at);
        else
            yaml_fault(&l->yaml, l->fault, at, "%.*s must be a text", STR_FMT(name->text));
        if (r.secret)
            secret_note(a->auth, r.text);
        buf_char(&out, '&');
        form_encode(&out, name->text);
        buf_char(&out, '=');
        form_encode(&out, r.text);
        name = json_next(value);
    }
    struct str text = arena_str(l->arena, buf_str(&out));
    buf_str_add(&a->print, text);
    buf_free(&out);
    return text;
}

static void load_oauth2(struct auth_load *a, struct auth_oauth2 *how) {
    struct loader *l = a->l;
    how->token_url = part(a, how->token_url, "oauth2/token_url");
    how->client_id = part(a, how->client_id, "oauth2/client_id");
    how->client_secret = secret(a, how->client_secret, "oauth2/client_secret");
    how->scope = part(a, how->scope, "oauth2/scope");
    how->audience = part(a, how->audience, "oauth2/audience");
    how->grant = how->refresh_token.ptr ? AUTH_REFRESH_TOKEN : AUTH_CLIENT_CREDENTIALS;
    how->refresh_token = secret(a, how->refresh_token, "oauth2/refresh_token");
    how->parameters = load_parameters(a, how->parameters_open);
    if (!how->header.len)
        how->header = STR("Authorization");
    if (!shape_has(how, OAUTH_PREFIX))
        how->prefix = STR("Bearer ");
    if (!how->expires_s)
        how->expires_s = AUTH_EXPIRES_S;
    if (!how->renew_ahead_s)
        how->renew_ahead_s = AUTH_RENEW_AHEAD_S;
    if (!how->timeout_ms)
        how->timeout_ms = AUTH_TIMEOUT_MS;
    if (how->client_auth == AUTH_CLIENT_BASIC && how->client_id.ptr && how->client_secret.len) {
        struct buf id, word;
        buf_init(&id, LOAD_TEXT_BYTES_MAX);
        buf_init(&word, LOAD_TEXT_BYTES_MAX);
        form_encode(&id, how->client_id); /* RFC 6749, 2.3.1 */
        form_encode(&word, how->client_secret);
        how->basic = basic_value(a, buf_str(&id), buf_str(&word));
        buf_free(&id);
        buf_free(&word);
    }
    if (how->token_url.len && !str_starts(how->token_url, STR("https://")) &&
        !str_starts(how->token_url, STR("http://")))
        yaml_fault(&l->yaml, l->fault, STR("/auth/oauth2/token_url"), "must begin with https://");
}

static bool hex_read(struct arena *arena, struct str text, struct str *out) {
    char *bytes = arena_bytes(arena, text.len / 2 + 1);
    if (!bytes || text.len % 2)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return false;
        bytes[i / 2] = (char)(i % 2 ? bytes[i / 2] | digit : digit << 4);
    }
    *out = str_of(bytes, text.len / 2);
    return true;
}

static void load_hmac(struct auth_load *a, struct auth_hmac *how) {
    struct loader *l = a->l;
    struct connector_request carry = {.url = STR("/"), .headers_open = how->headers_open};
    struct str written = secret(a, how->secret, "hmac/secret"), bytes = written;
    if (written.len && how->secret_form == AUTH_SECRET_HEX && !hex_read(l->arena, written, &bytes))
        bytes = STR_NONE;
    if (written.len && how->secret_form == AUTH_SECRET_BASE64)
        bytes = base64_read(l->arena, written);
    if (written.len && !bytes.ptr)
        yaml_fault(&l->yaml, l->fault, STR("/auth/hmac/secret"), "what it names is not %s",
                   secret_forms[how->secret_form]);
    how->secret = bytes;
    how->string = part(a, how->string, "hmac/string");
    load_request(l, &carry, "GET", &a->missing, STR("/auth/hmac"));
    how->headers = carry.headers;
    how->header_count = carry.header_count;
    bool told = false;
    for (uint32_t i = 0; i < how->header_count; i++)
        told = told || memmem(how->headers[i].value.ptr, how->headers[i].value.len, "{signature}", 11);
    if (carry.headers_open && carry.headers_open->kind == JSON_OBJECT && !told)
        yaml_fault(&l->yaml, l->fault, STR("/auth/hmac/headers"), "one of them must carry {signature}");
}

static void load_session(struct auth_load *a, struct connector_session *session, struct str at) {
    struct loader *l = a->l;
    load_request(l, session->request, "POST", &a->missing, load_pointer(l, "%.*s/request", STR_FMT(at)));
    if (session->body_open && session->body_open->kind != JSON_NULL)
        session->body = load_document(l, session->body_open, &a->missing,
                                      load_pointer(l, "%.*s/body", STR_FMT(at)));
    load_mapping(l, session->mapping, load_pointer(l, "%.*s/mapping", STR_FMT(at)), &session->source);
    if ((session->mapping.len > 0) == (session->token != NULL))
        yaml_fault(&l->yaml, l->fault, at, "exactly one of mapping, token: where the session comes from");
    if (session->ended && session->ended->at.len && session->ended->at.ptr[0] != '/')
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "%.*s/ended/at", STR_FMT(at)),
                   "must be a JSON Pointer: /errors/0/code");
    if (!session->header.len)
        session->header = STR("Authorization");
    if (!session->timeout_ms)
        session->timeout_ms = AUTH_TIMEOUT_MS;
    buf_str_add(&a->print, session->request->url);
    buf_str_add(&a->print, session->body);
    if (session->source)
        buf_str_add(&a->print, session->source->code);
}

static void load_kind(struct auth_load *a, struct str session_at) {
    struct connector_auth *auth = a->auth;
    switch (auth->kind) {
    case AUTH_BASIC: load_basic(a, auth->basic); break;
    case AUTH_API_KEY: load_api_key(a, auth->api_key); break;
    case AUTH_BEARER:
        auth->bearer->token = secret(a, auth->bearer->token, "bearer/token");
        break;
    case AUTH_OAUTH2: load_oauth2(a, auth->oauth2); break;
    case AUTH_HMAC: load_hmac(a, auth->hmac); break;
    case AUTH_SESSION: load_session(a, auth->session, session_at); break;
    }
}

enum err load_auth(struct loader *l) {
    struct connector *connector = l->connector;
    struct auth_load a = {.l = l};
    struct str session_at = STR("/auth/session");
    uint32_t given = 0;
    if (connector->session && connector->auth)
        yaml_fault(&l->yaml, l->fault, STR("/session"), "is `auth: {session: …}` now: one of the two");
    if (connector->session && !connector->auth) { /* as it was written before there was `auth` */
        connector->auth = arena_new(l->arena, struct connector_auth);
        if (!connector->auth)
            return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
        connector->auth->session = connector->session;
        shape_mark(connector->auth, AUTH_SESSION);
        session_at = STR("/session");
    }
    if (!connector->auth)
        return OK;
    a.auth = connector->auth;
    for (uint32_t kind = 0; kind <= AUTH_SESSION; kind++) {
        if (!shape_has(a.auth, kind))
            continue;
        a.auth->kind = (enum auth_kind)kind;
        given++;
    }
    if (given != 1) {
        yaml_fault(&l->yaml, l->fault, STR("/auth"),
                   "exactly one of basic, api_key, bearer, oauth2, hmac, session");
        return OK;
    }
    buf_init(&a.missing, LOAD_TEXT_BYTES_MAX);
    buf_init(&a.print, 0);
    load_kind(&a, session_at);
    a.auth->print = hash128(buf_str(&a.print), 0);
    if (a.missing.len > 0) {
        a.auth->missing = arena_str(l->arena, buf_str(&a.missing));
        buf_printf(&l->missing, "%s%.*s", l->missing.len ? ", " : "", STR_FMT(a.auth->missing));
    }
    buf_free(&a.missing);
    if (a.print.data)
        explicit_bzero(a.print.data, a.print.len);
    buf_free(&a.print);
    return OK;
}

void load_note_auth(const struct loader *l, struct buf *missing) {
    struct str rest = l->connector->auth ? l->connector->auth->missing : STR_NONE;
    while (rest.len > 0) {
        struct str one = str_trim(str_cut(&rest, ','));
        if (missing->len == 0 || !memmem(missing->data, missing->len, one.ptr, one.len))
            buf_printf(missing, "%s%.*s", missing->len ? ", " : "", STR_FMT(one));
    }
}
