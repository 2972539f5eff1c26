/* signin_stage: where operators meet the hub: the routes /ops/login, /ops/callback, /ops/me and
 * /ops/logout, and the cookie of a session as a credential of any call.
 *
 * What always holds: a cookie changes something only for pages of the hub's own origin; the browser
 * is sent to the provider's own address or to a path of the hub and nowhere else; a callback counts
 * only with the cookie of the browser that began, and once; a new sign-in has a new token. */
#include <stdio.h>

#include "base/encode.h"
#include "gateway/gateway_priv.h"
#include "gateway/operators_priv.h"

#define BACK_DEFAULT STR("/ops/me")
#define ANEW "begin again at /ops/login"

/* --- cookies -------------------------------------------------------------------------------- */

static const struct config_operators *config_of(const struct call *call) {
    return call->gateway->config->auth->operators;
}

/* Over TLS with a name that only this very host can have set (RFC 6265bis, section 4.1.3.2). */
static bool is_secure(const struct call *call) {
    return str_starts(config_of(call)->url, STR("https://"));
}
static struct str session_name(const struct call *call) {
    return is_secure(call) ? STR("__Host-penstock_session") : STR("penstock_session");
}
static struct str login_name(const struct call *call) {
    return is_secure(call) ? STR("__Host-penstock_login") : STR("penstock_login");
}

/* The first of this name; absent where there is none. */
static struct str cookie_of(const struct call *call, struct str name) {
    const struct http_request *request = http_exchange_request(call->ex);

    for (uint32_t i = 0; i < request->header_count; i++) {
        struct str rest = request->headers[i].value;

        if (!str_eq_nocase(request->headers[i].name, STR("Cookie")))
            continue;
        while (rest.ptr) {
            struct str value = str_trim(str_cut(&rest, ';')), given = str_cut(&value, '=');

            if (value.ptr && str_eq(given, name))
                return value;
        }
    }
    return STR_NONE;
}

static void cookie_set(struct call *call, struct str name, struct str value, int64_t life_s) {
    struct str text = arena_printf(http_exchange_arena(call->ex),
                                   "%.*s=%.*s; Path=/; Max-Age=%lld; HttpOnly; SameSite=Lax%s",
                                   STR_FMT(name), STR_FMT(value), (long long)life_s,
                                   is_secure(call) ? "; Secure" : "");

    if (text.ptr)
        http_answer_header(call->ex, STR("Set-Cookie"), text);
}

/* --- a session as a credential ---------------------------------------------------------------- */

/* Whether a page of the hub's own made the browser send this: by what browsers say themselves, or
 * by a header that a page of another origin can not set without being allowed to. */
static enum err same_origin(struct call *call) {
    const struct http_request *request = http_exchange_request(call->ex);
    struct str site = http_request_header(request, "Sec-Fetch-Site");
    struct str origin = http_request_header(request, "Origin");
    struct str header = http_request_header(request, "X-Penstock-Csrf");
    bool site_good = str_is(site, "same-origin") || str_is(site, "none");
    bool origin_good = str_eq(origin, config_of(call)->url);

    if (request->method == HTTP_METHOD_GET || request->method == HTTP_METHOD_HEAD ||
        request->method == HTTP_METHOD_OPTIONS)
        return OK;
    if ((site.ptr && !site_good) || (origin.ptr && !origin_good))
        return fault_set(&call->fault, ERR_FORBIDDEN, "a page of another origin asked for this with "
                         "an operator's session");
    if (site_good || (origin.ptr && origin_good) || header.len > 0)
        return OK;
    return fault_set(&call->fault, ERR_FORBIDDEN, "with a session's cookie a change needs the header "
                     "Origin, Sec-Fetch-Site or X-Penstock-Csrf");
}

enum err session_caller(struct call *call, const struct principal **out, int64_t *left_us) {
    struct gateway_loop *loop = call->loop;
    struct session_table *sessions = call->gateway->sessions;
    struct session_who *who = &loop->session_who;
    struct str cookie = sessions ? cookie_of(call, session_name(call)) : STR_NONE;

    *out = NULL;
    if (!cookie.ptr)
        return fault_set(&call->fault, ERR_NOT_FOUND, "nobody has signed in: /ops/login");
    if (!session_find(sessions, cookie, who, left_us))
        return fault_set(&call->fault, ERR_NOT_FOUND, "the session has ended: " ANEW);
    loop->session_principal = (struct principal){.actor = str_c(who->actor),
                                                 .name = str_c(who->subject)};
    memcpy(loop->session_principal.scopes, who->scopes, sizeof who->scopes);
    call->actor = arena_str(http_exchange_arena(call->ex), str_c(who->actor));
    if (!call->actor.ptr)
        return fault_set(&call->fault, ERR_NOMEM, "no memory for the request");
    *out = &loop->session_principal;
    return same_origin(call);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void answer_begin(struct call *call, int status) {
    http_answer_begin(call->ex, status);
    call_headers(call, core_seq(call->gateway->options.core));
    http_answer_header(call->ex, STR("Cache-Control"), STR("no-store"));
}

static void answer_end(struct call *call, int status) {
    call_count(call, status);
    http_answer_end(call->ex, STR("application/json"), buf_str(&call->loop->out));
}

static void problem(struct call *call, enum err err, const char *why) {
    (void)fault_set(&call->fault, err, "%s", why);
    call_problem(call, err, &call->fault);
}

/* The body says where to, like the header. */
static void location_set(struct call *call, struct str url) {
    struct buf *out = &call->loop->out;

    http_answer_header(call->ex, STR("Location"), url);
    buf_clear(out);
    buf_lit(out, "{\"location\":");
    buf_json_str(out, url);
    buf_char(out, '}');
}

/* --- /ops/login ------------------------------------------------------------------------------- */

/* Section 3.1.2.1 of OpenID Connect Core. */
static void authorize_write(struct call *call, struct str endpoint, const struct login *login,
                            struct buf *out) {
    const struct config_operators *config = config_of(call);

    buf_str_add(out, endpoint);
    buf_char(out, memchr(endpoint.ptr, '?', endpoint.len) ? '&' : '?');
    form_add(out, "response_type", STR("code"));
    form_add(out, "client_id", config->client_id);
    form_add(out, "redirect_uri", call->gateway->operators->redirect_uri);
    form_add(out, "scope", config->ask);
    form_add(out, "state", str_of(login->state, LOGIN_WORD_LEN));
    form_add(out, "nonce", str_of(login->nonce, LOGIN_WORD_LEN));
    form_add(out, "code_challenge", str_of(login->challenge, LOGIN_WORD_LEN));
    form_add(out, "code_challenge_method", STR("S256"));
}

static struct str back_of(const struct call *call) {
    struct str back = query_value(&call->query, "return");

    return back.ptr ? back : BACK_DEFAULT;
}

static void login_answer(struct call *call, struct str endpoint) {
    struct arena *arena = http_exchange_arena(call->ex);
    struct login login;
    struct str cookie = login_begin(call->gateway->logins, back_of(call), arena, &login);
    struct str url = STR_NONE;
    struct buf text;

    buf_init(&text, 16384);
    authorize_write(call, endpoint, &login, &text);
    if (cookie.ptr && buf_ok(&text))
        url = arena_str(arena, buf_str(&text));
    buf_free(&text);
    if (!url.ptr) {
        problem(call, ERR_NOMEM, "no memory for a sign-in");
        return;
    }
    answer_begin(call, 302);
    cookie_set(call, login_name(call), cookie, call->gateway->config->settings.operator_login_s);
    location_set(call, url);
    answer_end(call, 302);
}

static void signin_wait(struct call *call, struct str code, const struct login *login) {
    enum err err = signin_start(call->gateway->operators, code, login, &call->signin, &call->fault);

    if (err != OK) {
        call_problem(call, err, &call->fault);
        return;
    }
    call->next = call->loop->signing;
    call->loop->signing = call;
    loop_tick_set(call->loop);
}

static void login_route(struct call *call) {
    struct str endpoint;

    if (!login_back_ok(back_of(call))) {
        problem(call, ERR_BAD_REQUEST, "return must be a path of this hub: one slash at its beginning, "
                "at most 512 printable characters without spaces and backslashes");
        return;
    }
    endpoint = operators_endpoint(call->gateway->operators, http_exchange_arena(call->ex));
    if (endpoint.ptr)
        login_answer(call, endpoint);
    else
        signin_wait(call, STR_NONE, NULL);
}

static void login_finish(struct call *call) {
    struct session_who who;
    enum err err = signin_result(call->signin, &who, &call->fault);
    struct str endpoint = operators_endpoint(call->gateway->operators, http_exchange_arena(call->ex));

    if (err != OK)
        call_problem(call, err, &call->fault);
    else if (!endpoint.ptr)
        problem(call, ERR_UNAVAILABLE, "the identity provider can not be asked now: try again in a "
                                       "moment");
    else
        login_answer(call, endpoint);
}

/* --- /ops/callback ---------------------------------------------------------------------------- */

/* Nothing of an answer may be there twice (RFC 6749, section 3.1). */
static bool is_single(const struct call *call, const char *name) {
    uint32_t count = 0;

    for (uint32_t i = 0; i < call->query.value_count; i++)
        count += str_is(call->query.values[i].name, name);
    return count <= 1;
}

/* What the provider said, seen by itself; the sign-in is over or goes on with the code. */
static void callback_follow(struct call *call, const struct login *login) {
    struct str iss = query_value(&call->query, "iss"), code = query_value(&call->query, "code");
    struct str error = query_value(&call->query, "error");

    if (iss.ptr ? !str_eq(iss, config_of(call)->issuer)
                : operators_names_issuer(call->gateway->operators)) {
        problem(call, ERR_UNAUTHENTICATED, "another identity provider answered than was asked (iss)");
    } else if (error.ptr) {
        struct str words = words_of(http_exchange_arena(call->ex), error,
                                    query_value(&call->query, "error_description"));

        fault_set(&call->fault, ERR_UNAUTHENTICATED, "the identity provider says no: %.*s",
                  STR_FMT(words));
        call_problem(call, ERR_UNAUTHENTICATED, &call->fault);
    } else if (code.len == 0 || code.len > SIGNIN_CODE_MAX) {
        problem(call, ERR_BAD_REQUEST, "the identity provider sent no code of 1 to 2048 bytes");
    } else {
        signin_wait(call, code, login);
    }
}

static void callback_route(struct call *call) {
    struct str state = query_value(&call->query, "state");
    struct login *login = arena_new(http_exchange_arena(call->ex), struct login);

    if (!login) {
        problem(call, ERR_NOMEM, "no memory for a sign-in");
        return;
    }
    if (!is_single(call, "state") || !is_single(call, "code") || !is_single(call, "error") ||
        !is_single(call, "iss")) {
        problem(call, ERR_BAD_REQUEST, "a parameter is there twice");
        return;
    }
    if (!login_read(call->gateway->logins, cookie_of(call, login_name(call)),
                    http_exchange_arena(call->ex), login) ||
        !str_eq_secret(state, str_of(login->state, LOGIN_WORD_LEN))) {
        problem(call, ERR_BAD_REQUEST, "this sign-in did not begin in this browser, or too long ago: "
                ANEW);
        return;
    }
    if (!login_end(call->gateway->logins, login)) {
        problem(call, ERR_BAD_REQUEST, "this sign-in is over: " ANEW);
        return;
    }
    call->back = login->back;
    callback_follow(call, login);
}

static void callback_finish(struct call *call) {
    struct session_table *sessions = call->gateway->sessions;
    char token[SESSION_TOKEN_LEN];
    struct session_who who;
    enum err err = signin_result(call->signin, &who, &call->fault);

    if (err == OK)
        err = session_begin(sessions, &who, token, &call->fault);
    if (err != OK) {
        call_problem(call, err, &call->fault);
        return;
    }
    (void)session_end(sessions, cookie_of(call, session_name(call)));
    call->actor = arena_str(http_exchange_arena(call->ex), str_c(who.actor));
    audit_done(call);
    answer_begin(call, 303);
    cookie_set(call, session_name(call), str_of(token, sizeof token),
               call->gateway->config->settings.operator_session_s);
    cookie_set(call, login_name(call), STR(""), 0);
    location_set(call, call->back);
    answer_end(call, 303);
}

void signins_tick(struct gateway_loop *loop) {
    bool draining = atomic_load(&loop->gateway->draining);
    struct call *first = loop->signing, *call;

    loop->signing = NULL;
    while ((call = first)) {
        first = call->next;
        if (!signin_done(call->signin) && !draining) {
            call->next = loop->signing;
            loop->signing = call;
            continue;
        }
        struct signin *signin = call->signin;

        if (!signin_done(signin))
            problem(call, ERR_UNAVAILABLE, "the hub is stopping");
        else if (call->back.ptr)
            callback_finish(call);
        else
            login_finish(call);
        signin_unref(signin);
    }
    loop_tick_set(loop);
}

/* --- /ops/me, /ops/logout --------------------------------------------------------------------- */

static bool session_needed(struct call *call, int64_t *left_us) {
    const struct principal *principal;
    enum err err = session_caller(call, &principal, left_us);

    if (err == OK)
        return true;
    call_problem(call, err == ERR_NOT_FOUND ? ERR_UNAUTHENTICATED : err, &call->fault);
    return false;
}

static void me_route(struct call *call) {
    const struct session_who *who = &call->loop->session_who;
    const struct router *router = call->gateway->router;
    struct buf *out = &call->loop->out;
    int64_t left_us, now_us = clock_now_us(call->gateway->clock);
    bool first = true;

    if (!session_needed(call, &left_us))
        return;
    answer_begin(call, 200);
    buf_clear(out);
    buf_lit(out, "{\"subject\":");
    buf_json_str(out, str_c(who->subject));
    buf_lit(out, ",\"name\":");
    buf_json_str(out, str_c(who->name));
    buf_lit(out, ",\"caller\":");
    buf_json_str(out, str_c(who->actor));
    buf_lit(out, ",\"scopes\":[");
    for (uint32_t i = 0; i < router_scope_count(router); i++) {
        if (!principal_may(&call->loop->session_principal, i))
            continue;
        if (!first)
            buf_char(out, ',');
        first = false;
        buf_json_str(out, str_c(router_scope(router, i)));
    }
    buf_lit(out, "],\"until\":\"");
    instant_write(out, (struct instant){(now_us + left_us) / 1000000 * 1000000, 0});
    buf_printf(out, "\",\"idle_seconds\":%lld}",
               (long long)call->gateway->config->settings.operator_idle_s);
    answer_end(call, 200);
}

static void logout_route(struct call *call) {
    struct buf *out = &call->loop->out;

    if (!session_needed(call, NULL))
        return;
    (void)session_end(call->gateway->sessions, cookie_of(call, session_name(call)));
    audit_done(call);
    answer_begin(call, 200);
    cookie_set(call, session_name(call), STR(""), 0);
    buf_clear(out);
    buf_lit(out, "{\"ended\":true}");
    answer_end(call, 200);
}

/* --- which of them ---------------------------------------------------------------------------- */

enum err signin_query(struct query *query, struct fault *fault) {
    return fault_set(fault, ERR_INTERNAL, "the sign-in was not reached");
}

bool signin_is(const struct route *route) { return route->query == signin_query; }

void signin_begin(struct call *call) {
    const char *path = call->match.entry->route->path;

    if (strcmp(path, "/ops/me") == 0)
        me_route(call);
    else if (strcmp(path, "/ops/logout") == 0)
        logout_route(call);
    else if (!call->gateway->operators)
        problem(call, ERR_CONFLICT, "nobody signs in here: penstock.yaml has no auth.operators");
    else if (strcmp(path, "/ops/login") == 0)
        login_route(call);
    else
        callback_route(call);
}

/* --- begin and end ---------------------------------------------------------------------------- */

enum err signins_create(struct gateway *gateway, struct fault *fault) {
    const struct settings *s = &gateway->config->settings;
    struct operators_options options = {.config = gateway->config, .router = gateway->router,
                                        .clock = gateway->clock};
    struct session_table_options sessions = {.max = (uint32_t)s->operator_sessions_max,
                                        .idle_us = s->operator_idle_s * 1000000,
                                        .life_us = s->operator_session_s * 1000000,
                                        .clock = gateway->clock};
    enum err err;

    if (!gateway->config->auth->operators)
        return OK;
    err = operators_create(&options, &gateway->operators, fault);
    if (err == OK)
        err = session_table_create(&sessions, &gateway->sessions, fault);
    if (err != OK)
        return err;
    gateway->logins = logins_create(gateway->clock, s->operator_login_s);
    return gateway->logins ? OK : fault_set(fault, ERR_NOMEM, "no memory for sign-ins");
}

void signins_destroy(struct gateway *gateway) {
    operators_destroy(gateway->operators);
    session_table_destroy(gateway->sessions);
    logins_destroy(gateway->logins);
}
