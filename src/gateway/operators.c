/* operators: see operators.h. Owns the metadata, the key set and the list of sign-ins; what one of
 * them does with its code is in signin_redeem.c. */
#include "gateway/operators.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "gateway/operators_priv.h"

#define RETRY_US INT64_C(1000000)
#define RETRY_MAX_US INT64_C(60000000) /* while nobody asks */
#define METADATA_BYTES_MAX ((size_t)262144)
#define SECRET_MAX 4096

static int64_t tick_us(const struct operators *o) { return clock_tick_us(o->options.clock); }

/* --- metadata ------------------------------------------------------------------------------- */

static bool url_take(const struct json *document, struct str name, char out[OPERATORS_URL_MAX]) {
    struct str url = json_member_str(document, name);

    if (!url.ptr || url.len >= OPERATORS_URL_MAX || !config_url_safe(url))
        return false;
    for (size_t i = 0; i < url.len; i++)
        if (url.ptr[i] <= 0x20 || url.ptr[i] >= 0x7f || strchr("#\"<>\\", url.ptr[i]))
            return false;
    memcpy(out, url.ptr, url.len);
    out[url.len] = '\0';
    return true;
}

static bool list_has(const struct json *list, const char *text) {
    const struct json *one = list ? json_first(list) : NULL;

    for (uint32_t i = 0; list && list->kind == JSON_ARRAY && i < list->count;
         i++, one = json_next(one))
        if (one->kind == JSON_STRING && str_is(one->text, text))
            return true;
    return false;
}

static enum err metadata_read(struct operators *o, struct str text, struct metadata *out,
                              struct fault *fault) {
    const struct json *doc, *methods, *names;
    enum err err = json_parse(o->parser, &o->arena, text, false, &doc, fault);

    if (err != OK)
        return err;
    if (doc->kind != JSON_OBJECT || !str_eq(json_member_str(doc, STR("issuer")), o->config->issuer))
        return fault_set(fault, ERR_UPSTREAM, "its metadata is of another issuer than %.*s",
                         STR_FMT(o->config->issuer));
    if (!url_take(doc, STR("authorization_endpoint"), out->authorize) ||
        !url_take(doc, STR("token_endpoint"), out->token) ||
        !url_take(doc, STR("jwks_uri"), out->jwks))
        return fault_set(fault, ERR_UPSTREAM, "its metadata lacks authorization_endpoint, "
                         "token_endpoint or jwks_uri as https addresses");
    methods = json_member(doc, STR("token_endpoint_auth_methods_supported"));
    out->post = methods && !list_has(methods, "client_secret_basic") &&
                list_has(methods, "client_secret_post");
    names = json_member(doc, STR("authorization_response_iss_parameter_supported"));
    out->names_issuer = names && names->kind == JSON_BOOL && names->count == 1;
    return OK;
}

/* The key set is where the metadata says. */
static enum err keys_follow(struct operators *o, const char *url, struct fault *fault) {
    const struct settings *s = &o->options.config->settings;
    struct jwks_options options = {.sources = &o->source,
                                   .count = 1,
                                   .clock = o->options.clock,
                                   .refresh_s = s->jwks_refresh_s,
                                   .stale_s = s->jwks_stale_s,
                                   .ask_ms = s->jwks_ask_ms,
                                   .timeout_ms = s->jwks_timeout_ms,
                                   .wake = o->wake,
                                   .wake_ctx = o->wake_ctx};

    if (o->jwks && strcmp(o->jwks_url, url) == 0)
        return OK;
    jwks_destroy(o->jwks);
    snprintf(o->jwks_url, sizeof o->jwks_url, "%s", url);
    o->source = (struct jwks_source){.name = o->config->name, .url = str_c(o->jwks_url),
                                     .algs = o->config->algs};
    return jwks_create(&options, &o->jwks, fault);
}

static void actives_step(struct operators *o);

static void metadata_failed(struct operators *o, const char *why) {
    o->failed_us = tick_us(o);
    o->due_us = o->failed_us + o->retry_us;
    if (o->retry_us == RETRY_US)
        log_line(LOG_WARN, "gateway", "the metadata of the operators' identity provider can not be "
                 "fetched", "issuer=%s detail=%s", log_quote(o->config->issuer),
                 log_quote(str_c(why)));
    o->retry_us = o->retry_us * 2 < RETRY_MAX_US ? o->retry_us * 2 : RETRY_MAX_US;
}

static enum err metadata_take(struct operators *o, struct str text, struct fault *fault) {
    struct metadata *found = arena_new(&o->arena, struct metadata);
    enum err err = found ? metadata_read(o, text, found, fault)
                         : fault_set(fault, ERR_NOMEM, "no memory for metadata");

    if (err == OK)
        err = keys_follow(o, found->jwks, fault);
    if (err != OK)
        return err;
    pthread_mutex_lock(&o->lock);
    o->metadata = *found;
    o->has_metadata = true;
    pthread_mutex_unlock(&o->lock);
    o->fetched_us = tick_us(o);
    o->due_us = o->fetched_us + o->options.config->settings.jwks_refresh_s * 1000000;
    o->retry_us = RETRY_US;
    return OK;
}

static void discovered(void *ctx, const struct net_answer *answer) {
    struct operators *o = ctx;
    struct fault fault = {0};
    char why[64];

    o->discovery = NULL;
    if (answer->error == NET_CANCELLED)
        return;
    if (answer->error != NET_OK) {
        metadata_failed(o, answer->detail);
    } else if (answer->status != 200) {
        snprintf(why, sizeof why, "it answered %d", answer->status);
        metadata_failed(o, why);
    } else if (metadata_take(o, answer->body, &fault) != OK) {
        metadata_failed(o, fault.detail);
    }
    arena_reset(&o->arena);
    if (o->jwks)
        jwks_step(o->jwks, o->net);
    actives_step(o);
}

/* Again when it is due; and when somebody waits, but not more often than every RETRY_US. */
static void metadata_step(struct operators *o) {
    int64_t now_us = tick_us(o);
    bool asked = o->active && !o->has_metadata && now_us - o->failed_us >= RETRY_US;
    struct fault fault = {0};

    if (o->has_metadata &&
        now_us - o->fetched_us > o->options.config->settings.jwks_stale_s * 1000000) {
        pthread_mutex_lock(&o->lock);
        o->has_metadata = false;
        pthread_mutex_unlock(&o->lock);
    }
    if (o->discovery || (now_us < o->due_us && !asked))
        return;
    o->discovery_request = (struct net_request){
        .method = STR("GET"),
        .url = o->discovery_url,
        .timeout_ms = o->options.config->settings.jwks_timeout_ms,
        .answer_bytes_max = METADATA_BYTES_MAX};
    if (net_send(o->net, &o->discovery_request, discovered, o, &o->discovery, &fault) != OK)
        metadata_failed(o, fault.detail);
}

/* --- sign-ins ------------------------------------------------------------------------------- */

void signin_end(struct signin *signin, enum err err, const struct fault *fault) {
    signin->err = err;
    if (err != OK)
        memcpy(signin->fault.detail, fault->detail, sizeof fault->detail);
    signin->state = SIGNIN_DONE;
}

static void late(struct signin *signin) {
    struct fault fault = {0};

    fault_set(&fault, ERR_UNAVAILABLE, "the identity provider can not be asked now: try again in a "
              "moment");
    signin_end(signin, ERR_UNAVAILABLE, &fault);
}

static void signin_step(struct signin *signin) {
    struct operators *o = signin->operators;

    if (signin->state == SIGNIN_METADATA && o->has_metadata) {
        if (signin->redeems)
            signin_redeem(signin);
        else
            signin_end(signin, OK, NULL);
    } else if (signin->state == SIGNIN_METADATA && !o->discovery) {
        late(signin); /* it has just failed */
    }
    if (signin->state == SIGNIN_KEYS)
        signin_verify(signin);
    if (signin->state != SIGNIN_DONE && tick_us(o) >= signin->until_us && !signin->call)
        late(signin);
}

static void actives_step(struct operators *o) {
    struct signin **at = &o->active, *signin;

    while ((signin = *at)) {
        signin_step(signin);
        if (signin->state != SIGNIN_DONE) {
            at = &signin->next;
            continue;
        }
        *at = signin->next;
        atomic_fetch_sub(&o->count, 1);
        atomic_store_explicit(&signin->done, true, memory_order_release);
        signin_unref(signin);
    }
}

void operators_step(struct operators *o, struct net *net) {
    struct signin *queue, *next;

    o->net = net;
    pthread_mutex_lock(&o->lock);
    queue = o->queue;
    o->queue = NULL;
    pthread_mutex_unlock(&o->lock);
    for (; queue; queue = next) {
        next = queue->next;
        queue->next = o->active;
        o->active = queue;
    }
    metadata_step(o);
    if (o->jwks)
        jwks_step(o->jwks, net);
    actives_step(o);
}

void operators_stop(struct operators *o) {
    struct signin *signin;

    if (o->discovery)
        net_cancel(o->net, o->discovery);
    jwks_destroy(o->jwks);
    o->jwks = NULL;
    for (signin = o->active; signin; signin = signin->next) {
        if (signin->call)
            net_cancel(o->net, signin->call);
        if (signin->state != SIGNIN_DONE)
            late(signin);
    }
    actives_step(o);
}

void operators_wake_set(struct operators *o, void (*wake)(void *ctx), void *ctx) {
    o->wake = wake;
    o->wake_ctx = ctx;
}

/* --- any thread ----------------------------------------------------------------------------- */

struct str operators_endpoint(struct operators *o, struct arena *arena) {
    struct str url = STR_NONE;

    pthread_mutex_lock(&o->lock);
    if (o->has_metadata)
        url = arena_str(arena, str_c(o->metadata.authorize));
    pthread_mutex_unlock(&o->lock);
    return url;
}

bool operators_names_issuer(struct operators *o) {
    bool names;

    pthread_mutex_lock(&o->lock);
    names = o->has_metadata && o->metadata.names_issuer;
    pthread_mutex_unlock(&o->lock);
    return names;
}

enum err signin_start(struct operators *o, struct str code, const struct login *login,
                      struct signin **out, struct fault *fault) {
    struct signin *signin;

    *out = NULL;
    if (atomic_fetch_add(&o->count, 1) >= SIGNINS_MAX) {
        atomic_fetch_sub(&o->count, 1);
        return fault_set(fault, ERR_UNAVAILABLE, "too many are signing in at once: try again in a "
                         "moment");
    }
    must(code.len <= SIGNIN_CODE_MAX);
    signin = mem_zalloc(sizeof *signin);
    if (!signin) {
        atomic_fetch_sub(&o->count, 1);
        return fault_set(fault, ERR_NOMEM, "no memory for a sign-in");
    }
    signin->refs = 2;
    signin->operators = o;
    signin->redeems = code.ptr;
    if (code.ptr) {
        memcpy(signin->code, code.ptr, code.len);
        signin->code_len = code.len;
        signin->login = *login;
        signin->login.back = STR_NONE; /* the loop's */
    }
    signin->until_us = tick_us(o) + 3 * o->options.config->settings.jwks_timeout_ms * 1000;
    buf_init(&signin->body, 16384);
    buf_init(&signin->basic, 16384);
    buf_init(&signin->id_token, JWT_BYTES_MAX);
    buf_init(&signin->access_token, 65536);
    pthread_mutex_lock(&o->lock);
    signin->next = o->queue;
    o->queue = signin;
    pthread_mutex_unlock(&o->lock);
    o->wake(o->wake_ctx);
    *out = signin;
    return OK;
}

bool signin_done(const struct signin *signin) {
    return atomic_load_explicit(&signin->done, memory_order_acquire);
}

enum err signin_result(const struct signin *signin, struct session_who *who, struct fault *fault) {
    must(signin_done(signin));
    if (signin->err != OK)
        return fault_set(fault, signin->err, "%s", signin->fault.detail);
    *who = signin->who;
    return OK;
}

void signin_unref(struct signin *signin) {
    if (atomic_fetch_sub(&signin->refs, 1) > 1)
        return;
    buf_free(&signin->body);
    buf_free(&signin->basic);
    buf_free(&signin->id_token);
    buf_free(&signin->access_token);
    mem_free(signin);
}

/* --- begin and end -------------------------------------------------------------------------- */

/* What ${env:NAME} or ${file:PATH} stands for; absent where it is not set. */
static struct str secret_read(struct operators *o, struct str reference) {
    struct str what = str_of(reference.ptr + 2, reference.len - 3), kind = str_cut(&what, ':');
    char text[SECRET_MAX + 1], path[4096];
    size_t len;

    if (what.len == 0 || what.len >= 2048)
        return STR_NONE;
    if (str_is(kind, "env")) {
        snprintf(path, sizeof path, "%.*s", STR_FMT(what));
        return arena_str(&o->keep, str_c(getenv(path)));
    }
    if (what.ptr[0] == '/')
        snprintf(path, sizeof path, "%.*s", STR_FMT(what));
    else if (snprintf(path, sizeof path, "%.*s/%.*s", STR_FMT(o->options.config->dir),
                      STR_FMT(what)) >= (int)sizeof path)
        return STR_NONE;
    FILE *file = fopen(path, "rbe");

    if (!file)
        return STR_NONE;
    len = fread(text, 1, sizeof text, file);
    fclose(file);
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    return len > SECRET_MAX ? STR_NONE : arena_str(&o->keep, str_of(text, len));
}

static enum err operators_learn(struct operators *o, struct fault *fault) {
    struct str issuer = o->config->issuer;

    while (issuer.len > 0 && issuer.ptr[issuer.len - 1] == '/')
        issuer.len--;
    o->discovery_url = arena_printf(&o->keep, "%.*s/.well-known/openid-configuration",
                                    STR_FMT(issuer));
    o->redirect_uri = arena_printf(&o->keep, "%.*s/ops/callback", STR_FMT(o->config->url));
    o->parser = json_parser_create();
    if (!o->discovery_url.ptr || !o->redirect_uri.ptr || !o->parser)
        return fault_set(fault, ERR_NOMEM, "no memory for the operators");
    if (o->config->client_secret.ptr) {
        o->secret = secret_read(o, o->config->client_secret);
        o->secret_missing = o->secret.len == 0;
    }
    if (o->secret_missing)
        log_line(LOG_ERROR, "gateway", "operators can not sign in: the client's secret is not set",
                 "client_secret=%s", log_quote(o->config->client_secret));
    return id_rules_make(o->config, o->options.router, &o->keep, &o->rules, fault);
}

enum err operators_create(const struct operators_options *options, struct operators **out,
                          struct fault *fault) {
    struct operators *o = mem_zalloc(sizeof *o);
    enum err err;

    *out = NULL;
    if (!o)
        return fault_set(fault, ERR_NOMEM, "no memory for the operators");
    o->options = *options;
    o->config = options->config->auth->operators;
    arena_init(&o->keep, 1 << 20);
    arena_init(&o->arena, 4 << 20);
    pthread_mutex_init(&o->lock, NULL);
    o->due_us = tick_us(o);
    o->failed_us = o->due_us - RETRY_US;
    o->retry_us = RETRY_US;
    err = operators_learn(o, fault);
    if (err != OK) {
        operators_destroy(o);
        return err;
    }
    *out = o;
    return OK;
}

void operators_destroy(struct operators *o) {
    struct signin *next;

    if (!o)
        return;
    must(!o->active && !o->discovery && !o->jwks);
    for (; o->queue; o->queue = next) { /* nobody looks at them any more */
        next = o->queue->next;
        signin_unref(o->queue);
    }
    json_parser_destroy(o->parser);
    arena_free(&o->keep);
    arena_free(&o->arena);
    pthread_mutex_destroy(&o->lock);
    mem_free(o);
}
