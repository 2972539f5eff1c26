/* auth_net: see auth_net.h. One lock for all keepers of a hub; it is held for moments, and while a
 * new refresh token is written. A call waits in its keeper's list, then in its net's inbox; it goes
 * on in auth_net_step on its own thread. */
#include "connect/auth_net.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "connect/auth_store.h"
#include "connect/gate.h"

#define SESSION_VALUE_MAX 8192
#define PAUSE_FIRST_MS 250 /* after a fetch that failed; doubled each time */
#define PAUSE_MAX_MS 60000        /* where it refuses: asking more often may lock the account */
#define PAUSE_SILENT_MAX_MS 5000  /* where it does not answer, or not now */
#define TURNS_MAX 3 /* times that a call waits for a token before it gives up */
#define WHY_MAX 200

struct keeper {
    struct keeper *next;
    char *name;
    struct hash128 print; /* of the configuration that all of this was got with */
    bool have, proven;    /* proven: it was taken at least once */
    bool fetching;
    char *value; /* of the header */
    int64_t renew_us, expires_us; /* tick */
    uint64_t generation;          /* one more each time it is dropped or replaced */
    char *refresh;                /* the newest; NULL: not read yet */
    struct net_call *waiting;
    int64_t pause_until_us;
    uint32_t failures; /* since it last went well */
    char why[WHY_MAX]; /* of the newest failure */
    uint64_t fetched, failed;
};

struct auth_keepers {
    pthread_mutex_t lock;
    struct keeper *first;
    struct clock *clock;
    struct rng *rng;
    char *path;
};

struct auth_net {
    struct net net;
    struct auth_net_options options;
    struct net *gate; /* around options.net as it was given; NULL: none */
    struct json_parser *parser;
    struct mapper *mapper;       /* at first use */
    struct net_call *calls, *free;
    struct net_call *inbox;      /* under the keepers' lock */
    struct fetch *fetch; /* under way */
    bool closing;
};

struct net_call {
    struct net_call *next, *prev; /* of the net, or free */
    struct net_call *wait_next;   /* of the keeper, or the inbox */
    struct auth_net *net;
    struct keeper *waits; /* in its list; NULL: in the inbox or none */
    bool failed;          /* in the inbox: no token was to be had */
    struct net_request request;
    net_done *done;
    void *ctx;
    struct net_call *inner;
    struct keeper *keeper; /* whose value went with it; NULL: none is kept */
    uint64_t generation;
    uint32_t turns;
    bool again; /* made once more after a 401 */
    int64_t began_us;
    char why[WHY_MAX];
    struct arena arena; /* what was added to the request */
};

struct fetch {
    struct fetch *next, *prev;
    struct auth_net *net;
    struct keeper *keeper;
    const struct connector *connector;
    struct hash128 origin; /* of the refresh token */
    struct arena arena;
};

/* --- keepers ----------------------------------------------------------------------------- */

struct auth_keepers *auth_keepers_create(const struct auth_keepers_options *options) {
    struct auth_keepers *keepers = mem_zalloc(sizeof *keepers);
    if (keepers == NULL)
        return NULL;
    pthread_mutex_init(&keepers->lock, NULL);
    keepers->clock = options->clock;
    keepers->rng = options->rng;
    if (options->path == NULL)
        return keepers;
    size_t len = strlen(options->path) + 1;
    keepers->path = mem_alloc(len);
    if (keepers->path != NULL) {
        memcpy(keepers->path, options->path, len);
        return keepers;
    }
    auth_keepers_destroy(keepers);
    return NULL;
}

static void secret_free(char **text) {
    if (*text != NULL)
        explicit_bzero(*text, strlen(*text));
    mem_free(*text);
    *text = NULL;
}

void auth_keepers_destroy(struct auth_keepers *keepers) {
    if (keepers == NULL)
        return;
    while (keepers->first != NULL) {
        struct keeper *keeper = keepers->first;
        keepers->first = keeper->next;
        secret_free(&keeper->value);
        secret_free(&keeper->refresh);
        mem_free(keeper->name);
        mem_free(keeper);
    }
    pthread_mutex_destroy(&keepers->lock);
    mem_free(keepers->path);
    mem_free(keepers);
}

static char *text_copy(struct str text) {
    char *copy = mem_alloc(text.len + 1);
    if (copy != NULL) {
        memcpy(copy, text.ptr, text.len);
        copy[text.len] = '\0';
    }
    return copy;
}

/* Under the lock: that of the connector, made at first use and empty where its configuration has
 * changed. NULL: no memory. */
static struct keeper *keeper_of(struct auth_keepers *keepers, const struct connector *connector) {
    struct keeper *keeper = keepers->first;
    while (keeper != NULL && !str_is(connector->name, keeper->name))
        keeper = keeper->next;
    if (keeper == NULL) {
        keeper = mem_zalloc(sizeof *keeper);
        if (keeper == NULL || (keeper->name = text_copy(connector->name)) == NULL) {
            mem_free(keeper);
            return NULL;
        }
        keeper->next = keepers->first;
        keepers->first = keeper;
        keeper->print = connector->auth->print;
    }
    if (!hash128_eq(keeper->print, connector->auth->print) && !keeper->fetching) {
        secret_free(&keeper->value);
        secret_free(&keeper->refresh);
        keeper->have = keeper->proven = false;
        keeper->generation++;
        keeper->pause_until_us = 0;
        keeper->failures = 0;
        keeper->print = connector->auth->print;
    }
    return keeper;
}

void auth_figures(struct auth_keepers *keepers, struct metrics *out) {
    pthread_mutex_lock(&keepers->lock);
    for (const struct keeper *keeper = keepers->first; keeper != NULL; keeper = keeper->next) {
        struct str name = str_c(keeper->name);
        metric_add(out, METRIC_CONNECTOR_SIGN_INS, METRIC_LABELS(name, STR("ok")), keeper->fetched);
        metric_add(out, METRIC_CONNECTOR_SIGN_INS, METRIC_LABELS(name, STR("failed")), keeper->failed);
    }
    pthread_mutex_unlock(&keepers->lock);
}

/* Under the lock: all who wait go on by their nets. */
static void waiting_release(struct keeper *keeper, bool failed) {
    struct net_call *call = keeper->waiting;
    keeper->waiting = NULL;
    while (call != NULL) {
        struct net_call *next = call->wait_next;
        call->waits = NULL;
        call->failed = failed;
        if (failed)
            memcpy(call->why, keeper->why, sizeof call->why);
        call->wait_next = call->net->inbox;
        call->net->inbox = call;
        call->net->options.wake(call->net->options.wake_ctx);
        call = next;
    }
}

/* --- calls ------------------------------------------------------------------------------- */

static struct net_call *call_take(struct auth_net *net) {
    struct net_call *call = net->free;
    if (call != NULL) {
        net->free = call->next;
    } else {
        call = mem_zalloc(sizeof *call);
        if (call == NULL)
            return NULL;
        arena_init(&call->arena, (size_t)1 << 20);
    }
    struct arena arena = call->arena;
    *call = (struct net_call){.net = net, .arena = arena, .next = net->calls};
    if (call->next != NULL)
        call->next->prev = call;
    net->calls = call;
    return call;
}

static void call_give_back(struct net_call *call) {
    struct auth_net *net = call->net;
    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        net->calls = call->next;
    if (call->next != NULL)
        call->next->prev = call->prev;
    arena_reset(&call->arena);
    call->next = net->free;
    net->free = call;
}

static void call_end(struct net_call *call, const struct net_answer *answer) {
    call->done(call->ctx, answer);
    call_give_back(call);
}

static void call_fail(struct net_call *call, enum net_error error, const char *why) {
    struct net_answer answer = {.error = error};
    answer.elapsed_us = clock_tick_us(call->net->options.keepers->clock) - call->began_us;
    int len = snprintf(answer.detail, sizeof answer.detail, "%s", why);
    if (error == NET_SIGN_IN && call->net->options.accounts != NULL && !call->net->closing) {
        struct str cause = arena_printf(&call->arena, "sign-in: %.*s", len, answer.detail);
        accounts_failed(call->net->options.accounts, call->request.connector, call->request.url, cause);
    }
    call_end(call, &answer);
}

static enum err call_begin(struct net_call *call, struct fault *fault);

/* What a partner repeats of a secret is not shown to anybody. */
static void answer_mask(struct net_call *call, struct net_answer *answer) {
    struct auth_keepers *keepers = call->net->options.keepers;
    struct str kept = STR_NONE;
    if (answer->error != NET_OK || answer->status < 400 || answer->body.len == 0)
        return;
    arena_reset(&call->arena); /* the request is over */
    if (call->keeper != NULL) {
        pthread_mutex_lock(&keepers->lock);
        kept = call->keeper->value ? arena_str(&call->arena, str_c(call->keeper->value)) : STR_NONE;
        pthread_mutex_unlock(&keepers->lock);
    }
    struct str masked = auth_mask(call->request.connector->auth, kept, STR_NONE, answer->body, &call->arena);
    answer->body = masked.ptr ? masked : STR("");
}

/* Status 401, or what the connector says is said instead of it (session: ended). */
static bool says_no(struct net_call *call, const struct net_answer *answer) {
    const struct connector_auth *auth = call->request.connector->auth;
    const struct connector_session_ended *how = auth->kind == AUTH_SESSION ? auth->session->ended : NULL;
    const struct json *doc = NULL;
    struct fault ignored = {0};
    if (answer->status == 401)
        return true;
    if (!how || answer->status > 299 || answer->body.len == 0 ||
        !memmem(answer->body.ptr, answer->body.len, how->is.ptr, how->is.len))
        return false;
    arena_reset(&call->arena); /* the request is over */
    struct str body = arena_str(&call->arena, answer->body);
    if (!body.ptr || json_parse(call->net->parser, &call->arena, body, false, &doc, &ignored) != OK)
        return false;
    doc = json_at(doc, how->at);
    return doc && doc->kind == JSON_STRING && str_eq(doc->text, how->is);
}

/* Whether the answer says that what is kept has ended, and the call is worth making again. */
static bool refused(struct net_call *call, const struct net_answer *answer) {
    struct auth_keepers *keepers = call->net->options.keepers;
    struct keeper *keeper = call->keeper;
    if (keeper == NULL || answer->error != NET_OK)
        return false;
    bool no = says_no(call, answer);
    pthread_mutex_lock(&keepers->lock);
    bool current = keeper->have && call->generation == keeper->generation;
    bool ended = no && (!current || keeper->proven) && !call->again;
    if (!no) {
        keeper->proven = keeper->proven || current;
    } else if (current) {
        if (!keeper->proven) { /* just given, and no good: not again at once */
            keeper->pause_until_us = clock_tick_us(keepers->clock) + PAUSE_FIRST_MS * 1000;
            snprintf(keeper->why, sizeof keeper->why, "what signing in gave is refused with status %d",
                     answer->status);
        }
        keeper->have = keeper->proven = false;
        keeper->generation++;
    }
    pthread_mutex_unlock(&keepers->lock);
    return ended;
}

static void call_done(void *ctx, const struct net_answer *answer) {
    struct net_call *call = ctx;
    struct net_answer told = *answer;
    struct fault fault = {0};
    call->inner = NULL;
    if (refused(call, answer) && !call->net->closing) {
        call->again = true;
        call->turns = 0;
        if (call_begin(call, &fault) != OK)
            call_fail(call, NET_SIGN_IN, fault.detail);
        return;
    }
    if (call->request.connector != NULL && call->request.connector->auth != NULL)
        answer_mask(call, &told);
    told.elapsed_us = clock_tick_us(call->net->options.keepers->clock) - call->began_us;
    call_end(call, &told);
}

static enum err call_send(struct net_call *call, struct str value, struct fault *fault) {
    struct auth_net *net = call->net;
    struct auth_keepers *keepers = net->options.keepers;
    const struct connector *connector = call->request.connector;
    struct net_request request = call->request;
    enum err err = connector != NULL && connector->auth != NULL
                       ? auth_apply(connector->auth, value, keepers->clock, keepers->rng, &call->arena,
                                    &request, fault)
                       : OK;
    if (err != OK)
        return err;
    request.timeout_ms -= (clock_tick_us(keepers->clock) - call->began_us) / 1000;
    if (request.timeout_ms < 1)
        return fault_set(fault, ERR_TIMEOUT, "signing in took longer than the call may");
    return net_send(net->options.net, &request, call_done, call, &call->inner, fault);
}

static void fetch_begin(struct auth_net *net, struct keeper *keeper, const struct connector *connector);

/* Sends it, or has it wait for a token. */
static enum err call_begin(struct net_call *call, struct fault *fault) {
    struct auth_net *net = call->net;
    struct auth_keepers *keepers = net->options.keepers;
    const struct connector *connector = call->request.connector;
    if (connector == NULL || connector->auth == NULL || !auth_kept(connector->auth))
        return call_send(call, STR_NONE, fault);
    struct str value = STR_NONE;
    bool fetch = false, nomem = false;
    arena_reset(&call->arena);
    pthread_mutex_lock(&keepers->lock);
    int64_t now_us = clock_tick_us(keepers->clock);
    struct keeper *keeper = call->keeper = keeper_of(keepers, connector);
    if (keeper != NULL && keeper->have && now_us < keeper->expires_us) {
        call->generation = keeper->generation;
        value = arena_str(&call->arena, str_c(keeper->value));
        nomem = value.ptr == NULL;
        fetch = now_us >= keeper->renew_us && !keeper->fetching && now_us >= keeper->pause_until_us;
    } else if (keeper != NULL) {
        bool paused = !keeper->fetching && now_us < keeper->pause_until_us;
        fetch = !keeper->fetching && !paused;
        if (!paused && call->turns++ == TURNS_MAX) {
            paused = true;
            snprintf(keeper->why, sizeof keeper->why, "no token lasts until it is used");
            fetch = false;
        }
        call->wait_next = keeper->waiting;
        keeper->waiting = call;
        call->waits = keeper;
        if (paused)
            waiting_release(keeper, true);
    }
    if (keeper != NULL)
        keeper->fetching = keeper->fetching || fetch;
    pthread_mutex_unlock(&keepers->lock);
    if (keeper == NULL || nomem)
        return fault_set(fault, ERR_NOMEM, "no memory for a token");
    /* A failure of what is begun here comes by the inbox. */
    if (fetch)
        fetch_begin(net, keeper, connector);
    return value.ptr != NULL ? call_send(call, value, fault) : OK;
}

/* --- fetching ---------------------------------------------------------------------------- */

static void fetch_free(struct fetch *fetch) {
    if (fetch->prev != NULL)
        fetch->prev->next = fetch->next;
    else
        fetch->net->fetch = fetch->next;
    if (fetch->next != NULL)
        fetch->next->prev = fetch->prev;
    connector_release(fetch->connector);
    arena_free(&fetch->arena);
    mem_free(fetch);
}

static void keeper_failed(struct auth_keepers *keepers, struct keeper *keeper, const char *why,
                          int64_t retry_after_ms, bool refuses, bool quiet) {
    pthread_mutex_lock(&keepers->lock);
    int64_t pause_ms = PAUSE_FIRST_MS << (keeper->failures < 8 ? keeper->failures : 8);
    if (pause_ms > (refuses ? PAUSE_MAX_MS : PAUSE_SILENT_MAX_MS))
        pause_ms = refuses ? PAUSE_MAX_MS : PAUSE_SILENT_MAX_MS;
    if (pause_ms < retry_after_ms)
        pause_ms = retry_after_ms < PAUSE_MAX_MS ? retry_after_ms : PAUSE_MAX_MS;
    keeper->failures++;
    keeper->failed++;
    keeper->fetching = false;
    keeper->pause_until_us = clock_tick_us(keepers->clock) + pause_ms * 1000;
    snprintf(keeper->why, sizeof keeper->why, "%s", why);
    waiting_release(keeper, true);
    pthread_mutex_unlock(&keepers->lock);
    if (quiet)
        return;
    log_line(LOG_WARN, "connect", "signing in failed", "connector=%s error=%s next_ms=%lld",
             log_quote(str_c(keeper->name)), log_quote(str_c(why)), (long long)pause_ms);
}

static void fetch_failed(struct fetch *fetch, const char *why, int64_t retry_after_ms, bool refuses) {
    struct str masked = auth_mask(fetch->connector->auth, STR_NONE,
                                  fetch->keeper->refresh ? str_c(fetch->keeper->refresh) : STR_NONE,
                                  str_c(why), &fetch->arena);
    keeper_failed(fetch->net->options.keepers, fetch->keeper, masked.ptr ? masked.ptr : "", retry_after_ms,
                  refuses, fetch->net->closing);
    fetch_free(fetch);
}

/* A server that gives a new refresh token takes the old one no more: on disk before it counts. */
static void refresh_keep(struct fetch *fetch, struct str token) {
    struct auth_keepers *keepers = fetch->net->options.keepers;
    struct keeper *keeper = fetch->keeper;
    struct fault fault = {0};
    if (!token.len || (keeper->refresh != NULL && str_is(token, keeper->refresh)))
        return;
    if (keepers->path != NULL &&
        auth_store_put(keepers->path, fetch->connector->name, fetch->origin, token, &fault) != OK)
        log_line(LOG_ERROR, "connect", "a new refresh token could not be written: it is lost at the next start",
                 "connector=%s error=%s", log_quote(fetch->connector->name), log_quote(str_c(fault.detail)));
    secret_free(&keeper->refresh);
    keeper->refresh = text_copy(token);
}

static void fetch_succeeded(struct fetch *fetch, const struct auth_token *token) {
    struct auth_keepers *keepers = fetch->net->options.keepers;
    const struct connector_auth *auth = fetch->connector->auth;
    struct keeper *keeper = fetch->keeper;
    char *value = text_copy(token->value);
    if (value == NULL) {
        fetch_failed(fetch, "no memory for a token", -1, false);
        return;
    }
    pthread_mutex_lock(&keepers->lock);
    int64_t now_us = clock_tick_us(keepers->clock);
    refresh_keep(fetch, token->refresh);
    secret_free(&keeper->value);
    keeper->value = value;
    keeper->have = true;
    keeper->proven = false;
    keeper->generation++;
    keeper->failures = 0;
    keeper->pause_until_us = 0;
    keeper->fetched++;
    keeper->fetching = false;
    keeper->expires_us = keeper->renew_us = INT64_MAX;
    if (auth->kind == AUTH_OAUTH2) {
        int64_t ahead_s = auth->oauth2->renew_ahead_s;
        if (ahead_s > token->expires_s / 2)
            ahead_s = token->expires_s / 2;
        keeper->expires_us = now_us + token->expires_s * 1000000;
        keeper->renew_us = keeper->expires_us - ahead_s * 1000000;
    }
    waiting_release(keeper, false);
    pthread_mutex_unlock(&keepers->lock);
    log_line(LOG_INFO, "connect", "signed in", "connector=%s kind=%s expires_s=%lld",
             log_quote(fetch->connector->name), auth->kind == AUTH_OAUTH2 ? "oauth2" : "session",
             (long long)(auth->kind == AUTH_OAUTH2 ? token->expires_s : 0));
    fetch_free(fetch);
}

static enum err session_check(struct auth_token *out, const char *words, struct fault *fault) {
    if (out->value.len == 0 || out->value.len > SESSION_VALUE_MAX || !auth_value_good(out->value))
        return fault_set(fault, ERR_INVALID, "%s", words);
    return OK;
}

static enum err session_read(struct fetch *fetch, const struct net_answer *answer, struct auth_token *out,
                             struct fault *fault) {
    struct auth_net *net = fetch->net;
    const struct connector_session_token *token = fetch->connector->auth->session->token;
    const struct json *doc, *made;
    if (answer->status < 200 || answer->status > 299)
        return fault_set(fault, ERR_INVALID, "status %d", answer->status);
    if (token != NULL) {
        struct str value = net_answer_header(answer, token->header);
        if (value.len)
            out->value = arena_printf(&fetch->arena, "%.*s%.*s", STR_FMT(token->prefix), STR_FMT(value));
        return session_check(out, "the answer has no session in the header that `token` names: it lets the "
                                  "user not in", fault);
    }
    if (net->mapper == NULL)
        net->mapper = mapper_create(net->options.limits);
    if (net->mapper == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for a mapping");
    enum err err = json_parse(net->parser, &fetch->arena, answer->body, false, &doc, fault);
    if (err == OK)
        err = mapper_run(net->mapper, fetch->connector->auth->session->source, doc, &fetch->arena, &made,
                         fault);
    if (err != OK)
        return err;
    out->value = made->kind == JSON_OBJECT ? json_member_str(made, STR("value")) : STR_NONE;
    return session_check(out, "the mapping must answer {value = \"…\"}, what the header gets", fault);
}

static void fetch_done(void *ctx, const struct net_answer *answer) {
    struct fetch *fetch = ctx;
    struct auth_net *net = fetch->net;
    const struct connector_auth *auth = fetch->connector->auth;
    struct auth_token token = {0};
    struct fault fault;
    fault_init(&fault, &fetch->arena);
    enum err err;
    if (answer->error != NET_OK)
        err = fault_set(&fault, ERR_UNAVAILABLE, "no answer, %s: %s", net_error_name(answer->error),
                        answer->detail);
    else if (auth->kind == AUTH_OAUTH2)
        err = auth_token_read(auth->oauth2, answer, net->parser, &fetch->arena, &token, &fault);
    else
        err = session_read(fetch, answer, &token, &fault);
    if (err == OK) {
        fetch_succeeded(fetch, &token);
    } else {
        int64_t now_us = clock_now_us(net->options.keepers->clock);
        fetch_failed(fetch, fault.detail,
                     answer->error == NET_OK ? net_answer_retry_after_ms(answer, now_us) : -1,
                     answer->error == NET_OK && answer->status < 500);
    }
    if (!net->closing)
        auth_net_step(&net->net);
}

/* The newest refresh token: what the server gave last, else the configured one. */
static enum err refresh_read(struct fetch *fetch, struct fault *fault) {
    struct auth_keepers *keepers = fetch->net->options.keepers;
    const struct auth_oauth2 *how = fetch->connector->auth->oauth2;
    struct str from = arena_printf(&fetch->arena, "%.*s\n%.*s\n%.*s", STR_FMT(how->refresh_token),
                                   STR_FMT(how->client_id), STR_FMT(how->token_url));
    struct str kept = STR_NONE;
    enum err err = OK;
    if (how->grant != AUTH_REFRESH_TOKEN)
        return OK;
    fetch->origin = hash128(from, 0);
    if (fetch->keeper->refresh != NULL)
        return OK;
    pthread_mutex_lock(&keepers->lock);
    if (keepers->path != NULL)
        err = auth_store_get(keepers->path, fetch->connector->name, fetch->origin, &fetch->arena, &kept, fault);
    pthread_mutex_unlock(&keepers->lock);
    if (err == OK)
        fetch->keeper->refresh = text_copy(kept.len ? kept : how->refresh_token);
    return err == OK && fetch->keeper->refresh == NULL ? fault_set(fault, ERR_NOMEM, "no memory for a token")
                                                       : err;
}

static enum err session_request(const struct connector_session *how, struct arena *arena,
                                struct net_request *out, struct fault *fault) {
    struct net_header *headers = arena_array(arena, how->request->header_count + 2, sizeof *headers);
    uint32_t count = 0;
    if (headers == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for signing in");
    for (uint32_t i = 0; i < how->request->header_count; i++)
        headers[count++] = (struct net_header){how->request->headers[i].name, how->request->headers[i].value};
    headers[count++] = (struct net_header){STR("Accept"), STR("application/json")};
    if (how->body.ptr != NULL)
        headers[count++] = (struct net_header){STR("Content-Type"), STR("application/json")};
    *out = (struct net_request){.method = how->request->method,
                                .url = how->request->url,
                                .headers = headers,
                                .header_count = count,
                                .body = how->body,
                                .timeout_ms = how->timeout_ms};
    return OK;
}

/* The keeper is marked as fetching already: this thread alone touches its refresh token. */
static void fetch_begin(struct auth_net *net, struct keeper *keeper, const struct connector *connector) {
    struct fetch *fetch = mem_zalloc(sizeof *fetch);
    struct net_request request = {0};
    struct fault fault = {0};
    if (fetch == NULL) {
        keeper_failed(net->options.keepers, keeper, "no memory for signing in", -1, false, false);
        return;
    }
    *fetch = (struct fetch){
        .net = net, .keeper = keeper, .connector = connector_take(connector), .next = net->fetch};
    arena_init(&fetch->arena, (size_t)4 << 20);
    if (fetch->next != NULL)
        fetch->next->prev = fetch;
    net->fetch = fetch;
    enum err err = OK;
    if (connector->auth->kind == AUTH_OAUTH2) {
        err = refresh_read(fetch, &fault);
        if (err == OK)
            err = auth_token_request(connector->auth->oauth2, keeper->refresh ? str_c(keeper->refresh) : STR_NONE,
                                     &fetch->arena, &request, &fault);
    } else {
        err = session_request(connector->auth->session, &fetch->arena, &request, &fault);
    }
    if (err == OK)
        err = net_send(net->options.net, &request, fetch_done, fetch, NULL, &fault);
    if (err != OK)
        fetch_failed(fetch, fault.detail, -1, false);
}

/* --- the net ----------------------------------------------------------------------------- */

static enum err auth_send(struct net *base, const struct net_request *request, net_done *done, void *ctx,
                          struct net_call **out, struct fault *fault) {
    struct auth_net *net = (struct auth_net *)base;
    struct net_call *call = net->closing ? NULL : call_take(net);
    if (call == NULL)
        return net->closing ? fault_set(fault, ERR_UNAVAILABLE, "the hub stops")
                            : fault_set(fault, ERR_NOMEM, "no memory for an outgoing call");
    call->request = *request;
    call->done = done;
    call->ctx = ctx;
    call->began_us = clock_tick_us(net->options.keepers->clock);
    enum err err = call_begin(call, fault);
    if (err != OK)
        call_give_back(call);
    else if (out != NULL)
        *out = call;
    return err;
}

/* Takes it out of whatever list it waits in. */
static void call_unlink(struct net_call *call) {
    struct auth_keepers *keepers = call->net->options.keepers;
    pthread_mutex_lock(&keepers->lock);
    struct net_call **at = call->waits != NULL ? &call->waits->waiting : &call->net->inbox;
    while (*at != NULL && *at != call)
        at = &(*at)->wait_next;
    if (*at != NULL)
        *at = call->wait_next;
    call->waits = NULL;
    pthread_mutex_unlock(&keepers->lock);
}

static void auth_cancel(struct net *base, struct net_call *call) {
    struct auth_net *net = (struct auth_net *)base;
    call->again = true; /* an answer that comes now is not tried again */
    if (call->inner != NULL) {
        net_cancel(net->options.net, call->inner);
        return;
    }
    call_unlink(call);
    call_fail(call, NET_CANCELLED, "cancelled");
}

/* Without `own`, whoever owns the net around which this one is has ended its calls: what is left is
 * abandoned. */
static void auth_close(struct net *base) {
    struct auth_net *net = (struct auth_net *)base;
    net->closing = true;
    if (net->options.own) {
        net_close(net->options.net); /* ends what was sent, and what was being fetched */
        must(net->fetch == NULL);
    }
    while (net->options.own && net->calls != NULL)
        auth_cancel(base, net->calls);
    while (net->fetch != NULL) {
        net->fetch->keeper->fetching = false;
        fetch_free(net->fetch);
    }
    while (net->calls != NULL) {
        if (net->calls->inner == NULL)
            call_unlink(net->calls);
        call_give_back(net->calls);
    }
    while (net->free != NULL) {
        struct net_call *call = net->free;
        net->free = call->next;
        arena_free(&call->arena);
        mem_free(call);
    }
    if (net->gate != NULL && !net->options.own)
        net_close(net->gate);
    json_parser_destroy(net->parser);
    if (net->mapper != NULL)
        mapper_destroy(net->mapper);
    mem_free(net);
}

static const struct net_ops auth_ops = {.send = auth_send, .cancel = auth_cancel, .close = auth_close};

void auth_net_drain(struct net *base) {
    struct auth_net *net = (struct auth_net *)base;
    if (net->gate != NULL)
        gate_drain(net->gate);
}

int64_t auth_net_next_us(struct net *base) {
    struct auth_net *net = (struct auth_net *)base;
    struct auth_keepers *keepers = net->options.keepers;
    pthread_mutex_lock(&keepers->lock);
    bool due = net->inbox != NULL;
    pthread_mutex_unlock(&keepers->lock);
    if (due)
        return clock_tick_us(keepers->clock);
    return net->gate != NULL ? gate_next_us(net->gate) : INT64_MAX;
}

static struct net_call *inbox_take(struct auth_net *net) {
    struct auth_keepers *keepers = net->options.keepers;
    pthread_mutex_lock(&keepers->lock);
    struct net_call *call = net->inbox;
    if (call != NULL)
        net->inbox = call->wait_next;
    pthread_mutex_unlock(&keepers->lock);
    return call;
}

void auth_net_step(struct net *base) {
    struct auth_net *net = (struct auth_net *)base;
    if (net->gate != NULL)
        gate_step(net->gate);
    /* one by one: what ends one call may cancel another */
    for (struct net_call *call; (call = inbox_take(net)) != NULL;) {
        struct fault fault = {0};
        if (call->failed)
            call_fail(call, NET_SIGN_IN, call->why);
        else if (call_begin(call, &fault) != OK)
            call_fail(call, NET_SIGN_IN, fault.detail);
    }
}

enum err auth_net_create(const struct auth_net_options *options, struct net **out, struct fault *fault) {
    struct auth_net *net = mem_zalloc(sizeof *net);
    struct json_parser *parser = json_parser_create();
    if (net == NULL || parser == NULL) {
        mem_free(net);
        json_parser_destroy(parser);
        return fault_set(fault, ERR_NOMEM, "no memory for outgoing calls");
    }
    net->net.ops = &auth_ops;
    net->options = *options;
    net->parser = parser;
    if (options->accounts != NULL) {
        struct gate_options gate = {.net = options->net, .own = options->own, .accounts = options->accounts,
                                    .wake = options->wake, .wake_ctx = options->wake_ctx};
        enum err err = gate_create(&gate, &net->gate, fault);
        if (err != OK) {
            json_parser_destroy(parser);
            mem_free(net);
            return err;
        }
        net->options.net = net->gate;
    }
    *out = &net->net;
    return OK;
}
