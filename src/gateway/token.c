/* token: the hub's own token endpoint, for those without an identity provider: client credentials
 * (RFC 6749 section 4.4), where a client is an API key: its id and its secret. What it answers is
 * a token as RFC 9068 describes it; what the hub is and where its keys are published as RFC 8414
 * and RFC 7517 say.
 *
 * Runs on the loop: one look into the key file and one signature. Wrong secrets, counted by
 * client and address, are refused before anything is computed once there were too many. */
#include "gateway/token.h"

#include <stdio.h>

#include "base/encode.h"
#include "base/hash.h"
#include "base/mem.h"

#define GUARD_US INT64_C(60000000)

/* Wrong secrets of late for a client from an address; those that share a place share the count. */
struct token_guard {
    uint32_t tag, count;
    int64_t since_us;
};

struct ask {
    struct call *call;
    struct arena *arena;
    const struct query_value *values;
    uint32_t count;
    struct str id, secret;
    bool basic; /* the client came in the Authorization header */
    struct key_record key;
    struct str scopes;
};

/* --- answers -------------------------------------------------------------------------------- */

static void answer(struct call *call, int status, bool basic) {
    http_answer_begin(call->ex, status);
    call_headers(call, core_seq(call->gateway->options.core));
    http_answer_header(call->ex, STR("Cache-Control"), STR("no-store"));
    http_answer_header(call->ex, STR("Pragma"), STR("no-cache"));
    if (status == 401 && basic)
        http_answer_header(call->ex, STR("WWW-Authenticate"), STR("Basic realm=\"penstock\""));
    call_count(call, status);
    http_answer_end(call->ex, STR("application/json"), buf_str(&call->loop->out));
}

/* RFC 6749 section 5.2. */
static void refuse(struct ask *ask, int status, const char *error, const char *why) {
    struct buf *out = &ask->call->loop->out;

    buf_clear(out);
    buf_printf(out, "{\"error\":\"%s\",\"error_description\":\"%s\"}", error, why);
    answer(ask->call, status, ask->basic);
}

/* --- the form ------------------------------------------------------------------------------- */

static struct str value_of(const struct ask *ask, const char *name) {
    for (uint32_t i = 0; i < ask->count; i++)
        if (str_is(ask->values[i].name, name))
            return ask->values[i].value;
    return STR_NONE;
}

/* No parameter may be there twice; one without a value counts as left out (section 3.2). */
static bool form_read(struct ask *ask) {
    struct fault fault = {0};

    fault_init(&fault, ask->arena);
    if (query_parse(http_exchange_request(ask->call->ex)->body, NULL, ask->arena, &ask->values,
                    &ask->count, &fault) != OK)
        return false;
    for (uint32_t i = 0; i < ask->count; i++)
        for (uint32_t k = 0; k < i; k++)
            if (str_eq(ask->values[i].name, ask->values[k].name))
                return false;
    return true;
}

/* "id:secret" in base 64, each of them form-encoded (section 2.3.1). */
static bool basic_read(struct ask *ask, struct str header) {
    struct str rest = header, scheme = str_cut(&rest, ' '), both;
    const struct query_value *values;
    struct fault fault = {0};
    uint32_t count;

    if (!str_eq_nocase(scheme, STR("basic")) || !rest.ptr)
        return false;
    both = base64_read(ask->arena, str_trim(rest));
    if (!both.ptr)
        return false;
    ask->id = str_cut(&both, ':');
    ask->secret = both;
    if (!both.ptr || memchr(ask->id.ptr, '&', ask->id.len) ||
        memchr(both.ptr, '&', both.len))
        return false;
    fault_init(&fault, ask->arena);
    both = arena_printf(ask->arena, "i=%.*s&s=%.*s", STR_FMT(ask->id), STR_FMT(both));
    if (query_parse(both, NULL, ask->arena, &values, &count, &fault) != OK || count != 2)
        return false;
    ask->id = values[0].value;
    ask->secret = values[1].value;
    return true;
}

/* False: answered. */
static bool client_read(struct ask *ask) {
    struct str header = http_request_header(http_exchange_request(ask->call->ex), "Authorization");
    struct str id = value_of(ask, "client_id"), secret = value_of(ask, "client_secret");

    ask->basic = header.ptr;
    if (header.ptr && !basic_read(ask, header)) {
        refuse(ask, 401, "invalid_client", "the Authorization header is not: Basic id:secret");
        return false;
    }
    if (header.ptr && (secret.ptr || (id.ptr && !str_eq(id, ask->id)))) {
        refuse(ask, 400, "invalid_request", "the client is there twice, in the header and the body");
        return false;
    }
    if (!header.ptr) {
        ask->id = id;
        ask->secret = secret;
    }
    if (ask->id.len > 0 && ask->secret.len > 0)
        return true;
    refuse(ask, 401, "invalid_client", "send client_id and client_secret: an API key's id "
                                       "(pk_ and 12 characters) and its secret");
    return false;
}

/* --- wrong secrets -------------------------------------------------------------------------- */

static struct token_guard *guard_of(struct ask *ask, uint32_t *tag) {
    char text[HTTP_ADDRESS_CHARS];
    struct gateway_loop *loop = ask->call->loop;
    struct str address = http_exchange_address(ask->call->ex, text);
    uint64_t hash = hash64(ask->id, hash64(address, loop->guard_seed));

    *tag = (uint32_t)(hash >> 32);
    return &loop->guards[hash % TOKEN_GUARDS];
}

static bool guard_holds(struct ask *ask) {
    uint32_t tag;
    struct token_guard *guard = guard_of(ask, &tag);
    const struct settings *s = &ask->call->gateway->config->settings;
    int64_t now_us = clock_tick_us(ask->call->gateway->clock);

    return guard->tag == tag && guard->count >= s->token_failures_max &&
           now_us - guard->since_us < GUARD_US;
}

static void guard_count(struct ask *ask) {
    uint32_t tag;
    struct token_guard *guard = guard_of(ask, &tag);
    int64_t now_us = clock_tick_us(ask->call->gateway->clock);

    if (guard->tag != tag || now_us - guard->since_us >= GUARD_US)
        *guard = (struct token_guard){.tag = tag, .since_us = now_us};
    guard->count++;
}

enum err token_guards_init(struct gateway_loop *loop, struct fault *fault) {
    loop->guard_seed = rng_u64(&rng_system);
    loop->guards = mem_zalloc(TOKEN_GUARDS * sizeof *loop->guards);
    return loop->guards ? OK : fault_set(fault, ERR_NOMEM, "no memory for the token endpoint");
}

/* --- the token ------------------------------------------------------------------------------ */

static bool key_covers(struct str scopes, struct str wanted) {
    struct str rest = scopes;
    bool covered = false;

    while (rest.ptr && rest.len > 0 && !covered)
        covered = scope_covers(str_cut(&rest, ' '), wanted);
    return covered;
}

/* What was asked for, all of it within the key's; or all of the key's. */
static bool scopes_narrow(struct ask *ask) {
    struct str wanted = value_of(ask, "scope"), rest = wanted;

    ask->scopes = ask->key.scopes;
    if (wanted.len == 0)
        return true;
    ask->scopes = STR_NONE;
    while (rest.ptr) {
        struct str one = str_cut(&rest, ' ');

        if (one.len == 0)
            continue;
        if (!key_covers(ask->key.scopes, one))
            return false;
        ask->scopes = ask->scopes.ptr
                          ? arena_printf(ask->arena, "%.*s %.*s", STR_FMT(ask->scopes), STR_FMT(one))
                          : one;
    }
    return ask->scopes.ptr;
}

static void claims_write(struct ask *ask, struct buf *out, int64_t now_s, int64_t life_s) {
    struct callers *callers = ask->call->gateway->callers;
    char id[ID_TEXT_LEN];

    id_write(id, id_make(&ask->call->loop->rng.rng, now_s * 1000000));
    buf_lit(out, "{\"iss\":");
    buf_json_str(out, callers_issuer(callers));
    buf_lit(out, ",\"aud\":");
    buf_json_str(out, callers_issuer(callers));
    buf_printf(out, ",\"sub\":\"pk_%.*s\",\"client_id\":\"pk_%.*s\",\"iat\":%lld,\"exp\":%lld,"
               "\"jti\":\"%.*s\",\"scope\":", STR_FMT(ask->key.id), STR_FMT(ask->key.id),
               (long long)now_s, (long long)(now_s + life_s), ID_TEXT_LEN, id);
    buf_json_str(out, ask->scopes);
    buf_char(out, '}');
}

static enum err token_make(struct ask *ask, struct fault *fault) {
    struct gateway *gateway = ask->call->gateway;
    struct token_keys *keys = callers_token_keys(gateway->callers);
    struct buf *out = &ask->call->loop->out, claims;
    int64_t now_us = clock_now_us(gateway->clock);
    int64_t life_s = gateway->config->settings.token_seconds;
    enum err err;

    if (ask->key.expires_us != 0 && (ask->key.expires_us - now_us) / 1000000 < life_s)
        life_s = (ask->key.expires_us - now_us) / 1000000;
    buf_init(&claims, JWT_BYTES_MAX);
    claims_write(ask, &claims, now_us / 1000000, life_s);
    buf_clear(out);
    buf_lit(out, "{\"access_token\":\"");
    err = buf_ok(&claims) ? token_sign(keys, buf_str(&claims), out, fault)
                          : fault_set(fault, ERR_NOMEM, "no memory for a token");
    buf_printf(out, "\",\"token_type\":\"Bearer\",\"expires_in\":%lld,\"scope\":", (long long)life_s);
    buf_json_str(out, ask->scopes);
    buf_char(out, '}');
    buf_free(&claims);
    token_keys_unref(keys);
    return err;
}

/* False: answered. */
static bool client_check(struct ask *ask) {
    struct call *call = ask->call;
    enum err err;

    if (guard_holds(ask)) {
        err = fault_set(&call->fault, ERR_RATE, "too many wrong secrets for this client from this "
                        "address: wait a minute");
        call_problem(call, err, &call->fault);
        return false;
    }
    err = auth_client(call->loop->auth, ask->id, ask->secret, ask->arena, &ask->key, &call->fault);
    if (err == OK)
        return true;
    if (err == ERR_UNAUTHENTICATED) {
        guard_count(ask);
        refuse(ask, 401, "invalid_client", call->fault.detail);
    } else {
        call_problem(call, err, &call->fault);
    }
    return false;
}

void token_begin(struct call *call) {
    struct ask ask = {.call = call, .arena = http_exchange_arena(call->ex)};
    struct fault fault = {0};
    struct str grant;

    if (!form_read(&ask)) {
        refuse(&ask, 400, "invalid_request", "the body is no form, or has a parameter twice");
        return;
    }
    grant = value_of(&ask, "grant_type");
    if (grant.len == 0) {
        refuse(&ask, 400, "invalid_request", "grant_type is missing");
        return;
    }
    if (!client_read(&ask) || !client_check(&ask))
        return;
    if (!str_is(grant, "client_credentials")) {
        refuse(&ask, 400, "unsupported_grant_type", "grant_type must be client_credentials");
        return;
    }
    if (!scopes_narrow(&ask)) {
        refuse(&ask, 400, "invalid_scope", "the client's key does not cover this scope");
        return;
    }
    if (token_make(&ask, &fault) != OK) {
        call_problem(call, fault.err, &fault);
        return;
    }
    counter_add(&call->loop->counters.tokens, 1);
    answer(call, 200, false);
}

/* --- what is published ---------------------------------------------------------------------- */

enum err token_jwks_query(struct query *query, struct fault *fault) {
    struct gateway *gateway = query->ctx;
    struct token_keys *keys = callers_token_keys(gateway->callers);

    buf_str_add(query->out, token_keys_jwks(keys));
    token_keys_unref(keys);
    query->media_type = "application/jwk-set+json";
    return OK;
}

enum err token_metadata_query(struct query *query, struct fault *fault) {
    struct gateway *gateway = query->ctx;
    struct str issuer = callers_issuer(gateway->callers);
    struct str rows[][2] = {{STR("token_endpoint"), STR("/oauth2/token")},
                            {STR("jwks_uri"), STR("/.well-known/jwks.json")},
                            {STR("service_documentation"), STR("/openapi.json")}};

    buf_lit(query->out, "{\"issuer\":");
    buf_json_str(query->out, issuer);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct str url = arena_printf(query->arena, "%.*s%.*s", STR_FMT(issuer), STR_FMT(rows[i][1]));

        buf_printf(query->out, ",\"%.*s\":", STR_FMT(rows[i][0]));
        buf_json_str(query->out, url);
    }
    buf_lit(query->out, ",\"grant_types_supported\":[\"client_credentials\"],"
                        "\"response_types_supported\":[],"
                        "\"token_endpoint_auth_methods_supported\":[\"client_secret_basic\","
                        "\"client_secret_post\"],\"scopes_supported\":[");
    for (uint32_t i = 0; i < router_scope_count(gateway->router); i++) {
        if (i > 0)
            buf_char(query->out, ',');
        buf_json_str(query->out, str_c(router_scope(gateway->router, i)));
    }
    buf_lit(query->out, "]}");
    return OK;
}
