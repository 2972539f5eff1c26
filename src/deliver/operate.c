/* operate: see operate.h. A line is what is kept of one operation of one connector: who waits for a
 * turn, who is out, its pace, its breaker. Lines live as long as the hub. */
#include "deliver/operate.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/log.h"
#include "base/mem.h"
#include "connect/driver_http.h"
#include "connect/gate.h"
#include "connect/operation.h"

#define WORDS_MAX 200 /* of what the system says */
#define URL_MAX 16384

enum outcome { ANSWERED, REFUSED, FALLBACK, FAILED, OUTCOMES };
static const char *const ends[OUTCOMES] = {"answered", "refused", "fallback", "failed"};

struct operate_line {
    struct operate_line *next;
    char *connector, *operation;
    struct operate_ask *first, *last; /* that wait for a turn, by next */
    uint32_t out;
    int64_t paced_us; /* when the next one would go at an even pace (tick) */
    struct net_flow flow; /* its turns at the account */
    _Atomic uint64_t outcomes[OUTCOMES];
    struct histogram seconds;
};

struct operate {
    struct operate_options options;
    pthread_mutex_t lock; /* of what follows */
    const struct connectors *connectors;
    struct operate_ask *inbox, *inbox_last;
    uint32_t count; /* taken and not done */
    _Atomic bool stopping;
    struct operate_line *lines; /* the loop adds, others read them under the lock */

    struct operate_ask *out; /* sent, by next and prev */
    struct net *net;
    struct mapper *mapper;
    struct json_parser *parser;
    uv_loop_t loop;
    uv_async_t async;
    uv_timer_t timer;
    pthread_t thread;
    bool started;
};

static int64_t tick_us(const struct operate *operate) { return clock_tick_us(operate->options.clock); }

/* --- ends -------------------------------------------------------------------------------- */

static void ask_end(struct operate_ask *ask, enum outcome outcome) {
    struct operate *operate = ask->operate;
    if (ask->line) {
        atomic_fetch_add(&ask->line->outcomes[outcome], 1);
        histogram_us(&ask->line->seconds, tick_us(operate) - ask->began_us);
    }
    if (ask->held)
        connector_release(ask->held);
    ask->held = NULL;
    pthread_mutex_lock(&operate->lock);
    operate->count--;
    pthread_mutex_unlock(&operate->lock);
    ask->done(ask);
}

static void ask_refuse(struct operate_ask *ask, enum err err, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void ask_refuse(struct operate_ask *ask, enum err err, const char *fmt, ...) {
    char words[sizeof ask->fault.detail];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    ask->err = fault_set(&ask->fault, err, "%s", words);
    ask_end(ask, err == ERR_INVALID || err == ERR_NOT_FOUND ? REFUSED : FAILED);
}

/* The system gives no answer that can be used: the declared one, or a refusal. */
static void ask_fail(struct operate_ask *ask, enum err err, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void ask_fail(struct operate_ask *ask, enum err err, const char *fmt, ...) {
    char words[WORDS_MAX + 56];
    va_list args;
    va_start(args, fmt);
    vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    if (!ask->what->fallback.ptr || ask->operate->stopping) {
        ask_refuse(ask, err, "%s", words);
        return;
    }
    ask->answer = arena_str(&ask->arena, ask->what->fallback);
    ask->reason = arena_str(&ask->arena, str_c(words));
    ask->fallback = true;
    if (!ask->answer.ptr || !ask->reason.ptr)
        ask_refuse(ask, ERR_NOMEM, "no memory for the answer");
    else
        ask_end(ask, FALLBACK);
}

/* --- what is sent ------------------------------------------------------------------------ */

static struct str text_of(const struct json *value) {
    bool scalar = value && (value->kind == JSON_STRING || value->kind == JSON_NUMBER);
    return scalar ? value->text
                  : value && value->kind == JSON_BOOL ? (value->count ? STR("true") : STR("false"))
                                                      : STR("");
}

/* Absent: no placeholder of ours. */
static struct str placeholder(const struct operate_ask *ask, struct str name) {
    const struct json *query = json_member(ask->document, STR("query"));
    if (str_starts(name, STR("query.")))
        return query && query->kind == JSON_OBJECT
                   ? text_of(json_member(query, str_of(name.ptr + 6, name.len - 6)))
                   : STR("");
    struct str value = str_is(name, "region")            ? ask->region
                       : str_is(name, "store")           ? ask->store
                       : str_is(name, "idempotency_key") ? ask->idempotency_key
                       : str_is(name, "correlation")     ? ask->correlation
                                                         : STR_NONE;
    bool known = str_is(name, "region") || str_is(name, "store") || str_is(name, "idempotency_key") ||
                 str_is(name, "correlation");
    return known && !value.ptr ? STR("") : value;
}

static bool unreserved(unsigned char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static struct str expand(struct operate_ask *ask, struct str pattern, bool url) {
    struct buf out;
    buf_init(&out, URL_MAX);
    for (size_t i = 0; i < pattern.len; i++) {
        const char *end = pattern.ptr[i] == '{' ? memchr(pattern.ptr + i, '}', pattern.len - i) : NULL;
        struct str value = STR_NONE;
        if (end)
            value = placeholder(ask, str_of(pattern.ptr + i + 1, (size_t)(end - pattern.ptr) - i - 1));
        if (!value.ptr) {
            buf_char(&out, pattern.ptr[i]);
            continue;
        }
        i = (size_t)(end - pattern.ptr);
        for (size_t k = 0; k < value.len; k++)
            if (!url && (unsigned char)value.ptr[k] >= 0x20)
                buf_char(&out, value.ptr[k]);
            else if (unreserved((unsigned char)value.ptr[k]))
                buf_char(&out, value.ptr[k]);
            else
                buf_printf(&out, "%%%02X", (unsigned char)value.ptr[k]);
    }
    struct str text = buf_ok(&out) ? arena_str(&ask->arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    return text;
}

static void member(struct buf *out, const char *name, struct str json, struct str text) {
    buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
    if (json.len)
        buf_str_add(out, json);
    else if (text.ptr)
        buf_json_str(out, text);
    else
        buf_lit(out, "null");
}

static enum err document_make(struct operate_ask *ask) {
    struct buf out;
    buf_init(&out, 0);
    buf_char(&out, '{');
    member(&out, "query", ask->query.len ? ask->query : STR("{}"), STR_NONE);
    member(&out, "body", ask->body, STR_NONE);
    member(&out, "region", STR_NONE, ask->region);
    member(&out, "store", STR_NONE, ask->store);
    member(&out, "idempotency_key", STR_NONE, ask->idempotency_key);
    buf_char(&out, '}');
    struct str text = buf_ok(&out) ? arena_str(&ask->arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    if (!text.ptr)
        return fault_set(&ask->fault, ERR_NOMEM, "no memory for the request");
    return json_parse(ask->operate->parser, &ask->arena, text, false, &ask->document, &ask->fault);
}

/* Absent where the mapping answers null or there is nothing to send. */
static enum err body_make(struct operate_ask *ask, struct str *out) {
    const struct json *made;
    struct buf text;
    *out = ask->body;
    if (!ask->what->source_in)
        return OK;
    enum err err = mapper_run(ask->operate->mapper, ask->what->source_in, ask->document, &ask->arena, &made,
                              &ask->fault);
    if (err != OK || made->kind == JSON_NULL) {
        *out = STR_NONE;
        return err;
    }
    buf_init(&text, 0);
    json_write(&text, made);
    *out = buf_ok(&text) ? arena_str(&ask->arena, buf_str(&text)) : STR_NONE;
    buf_free(&text);
    return out->ptr ? OK : fault_set(&ask->fault, ERR_NOMEM, "no memory for the request");
}

/* --- what comes back --------------------------------------------------------------------- */

/* What the system says went wrong, one line. */
static struct str words_of(struct operate_ask *ask, const struct net_answer *answer) {
    static const char *const members[] = {"detail", "message", "error_description", "error", "title"};
    const struct json *doc = NULL;
    struct fault ignored = {0};
    struct str words = STR_NONE;
    if (answer->body.len > 0 &&
        json_parse(ask->operate->parser, &ask->arena, answer->body, false, &doc, &ignored) == OK &&
        doc->kind == JSON_OBJECT)
        for (size_t i = 0; !words.len && i < sizeof members / sizeof *members; i++) {
            const struct json *value = json_member(doc, str_c(members[i]));
            if (value && value->kind == JSON_OBJECT)
                value = json_member(value, STR("message"));
            words = text_of(value);
        }
    if (words.len > WORDS_MAX)
        words.len = WORDS_MAX;
    while (words.len > 0 && words.len == WORDS_MAX && ((unsigned char)words.ptr[words.len - 1] & 0x80))
        words.len--; /* not in the middle of a character */
    words = arena_str(&ask->arena, words);
    for (size_t i = 0; i < words.len; i++)
        if ((unsigned char)words.ptr[i] < ' ')
            ((char *)(uintptr_t)words.ptr)[i] = ' ';
    return words;
}

/* *out in the ask's arena. */
static enum err answer_make(struct operate_ask *ask, const struct net_answer *answer, struct str *out) {
    const struct json *doc = NULL, *made;
    struct buf text;
    struct str body = answer->body.len ? answer->body : STR("null");
    enum err err = json_parse(ask->operate->parser, &ask->arena, body, false, &doc, &ask->fault);
    if (err != OK)
        return fault_set(&ask->fault, ERR_INVALID, "its answer is not JSON");
    buf_init(&text, 0);
    if (ask->what->source_out) {
        struct str wrapped = arena_printf(&ask->arena, "{\"status\":%d,\"body\":%.*s}", answer->status,
                                          STR_FMT(body));
        err = wrapped.ptr ? json_parse(ask->operate->parser, &ask->arena, wrapped, false, &doc, &ask->fault)
                          : ERR_NOMEM;
        if (err == OK)
            err = mapper_run(ask->operate->mapper, ask->what->source_out, doc, &ask->arena, &made, &ask->fault);
        doc = err == OK ? made : NULL;
    }
    if (doc)
        json_write(&text, doc);
    *out = doc && buf_ok(&text) ? arena_str(&ask->arena, buf_str(&text)) : STR_NONE;
    buf_free(&text);
    return err == OK && !out->ptr ? ERR_NOMEM : err;
}

static void ask_succeeded(struct operate_ask *ask, const struct net_answer *answer) {
    enum err err = answer_make(ask, answer, &ask->answer);
    if (err == OK)
        ask_end(ask, ANSWERED);
    else
        ask_fail(ask, ERR_UPSTREAM, "its answer can not be used: %.*s", WORDS_MAX, ask->fault.detail);
}

static void ask_out(struct operate_ask *ask, bool out) {
    struct operate *operate = ask->operate;
    ask->out = out;
    if (out) {
        ask->prev = NULL;
        ask->next = operate->out;
        if (ask->next)
            ask->next->prev = ask;
        operate->out = ask;
        ask->line->out++;
        return;
    }
    if (ask->prev)
        ask->prev->next = ask->next;
    else
        operate->out = ask->next;
    if (ask->next)
        ask->next->prev = ask->prev;
    ask->next = ask->prev = NULL;
    ask->line->out--;
}

static void line_go(struct operate *operate, struct operate_line *line);
static void timer_set(struct operate *operate);

static void turn_missed(struct operate_ask *ask) {
    ask_fail(ask, ERR_UPSTREAM_TIMEOUT, "no turn came within %lld ms: the system has as many calls as it may",
             (long long)ask->what->timeout_ms);
}

static void ask_failed(struct operate_ask *ask, const struct net_answer *answer) {
    bool changes = !str_is(ask->what->request->method, "GET");
    const char *perhaps = changes && answer->sent && (answer->error != NET_OK || answer->status >= 500)
                              ? "; it may have been done there" : "";
    if (ask->operate->stopping) {
        ask_refuse(ask, ERR_UNAVAILABLE, "the hub is stopping%s", perhaps);
        return;
    }
    if (answer->error == NET_CLOSED)
        ask_fail(ask, ERR_UNAVAILABLE, "no call was made: %.200s", answer->detail);
    else if (ask->late && answer->error == NET_CANCELLED && str_is(str_c(answer->detail), GATE_NO_TURN))
        turn_missed(ask);
    else if (ask->late || answer->error == NET_TIMEOUT)
        ask_fail(ask, ERR_UPSTREAM_TIMEOUT, "the system did not answer within %lld ms%s",
                 (long long)ask->what->timeout_ms, perhaps);
    else if (answer->error != NET_OK)
        ask_fail(ask, ERR_UPSTREAM, "%s: %.150s%s", net_error_name(answer->error), answer->detail, perhaps);
    else {
        struct str words = words_of(ask, answer);
        ask_fail(ask, ERR_UPSTREAM, "the system answered %d%s%.*s%s", answer->status, words.len ? ": " : "",
                 STR_FMT(words), perhaps);
    }
}

static void ask_done(void *ctx, const struct net_answer *answer) {
    struct operate_ask *ask = ctx;
    struct operate *operate = ask->operate;
    struct operate_line *line = ask->line;
    enum connector_outcome_kind kind = OUTCOME_RETRYABLE;
    ask->call = NULL;
    ask_out(ask, false);
    if (answer->judged)
        kind = (enum connector_outcome_kind)answer->means;
    if (answer->error == NET_OK && kind == OUTCOME_SUCCESS) {
        ask_succeeded(ask, answer);
    } else if (answer->error == NET_OK && kind == OUTCOME_FINAL) {
        struct str words = words_of(ask, answer);
        ask_refuse(ask, ERR_INVALID, "the system refuses this with status %d%s%.*s", answer->status,
                   words.len ? ": " : "", STR_FMT(words));
    } else {
        ask_failed(ask, answer);
    }
    line_go(operate, line);
    if (!operate->stopping)
        timer_set(operate);
}

/* --- turns ------------------------------------------------------------------------------- */

static enum err ask_request(struct operate_ask *ask, struct net_request *out) {
    const struct connector_request *request = ask->what->request;
    struct net_header *headers = arena_array(&ask->arena, request->header_count + 4, sizeof *headers);
    uint32_t count = 0;
    bool typed = false;
    struct str body, url = expand(ask, request->url, true);
    enum err err = body_make(ask, &body);
    if (err != OK)
        return err;
    if (!headers || !url.ptr)
        return fault_set(&ask->fault, ERR_NOMEM, "no memory for the request");
    for (uint32_t i = 0; i < request->header_count; i++) {
        headers[count] = (struct net_header){request->headers[i].name,
                                             expand(ask, request->headers[i].value, false)};
        if (!headers[count].value.ptr) /* without it, it would be another request */
            return fault_set(&ask->fault, ERR_NOMEM, "no memory for the request");
        typed = typed || str_eq_nocase(headers[count].name, STR("Content-Type"));
        count += headers[count].value.len > 0;
    }
    if (body.ptr && !typed)
        headers[count++] = (struct net_header){STR("Content-Type"), STR("application/json")};
    headers[count++] = (struct net_header){STR("Accept"), STR("application/json")};
    if (ask->correlation.len)
        headers[count++] = (struct net_header){STR("X-Correlation-ID"), ask->correlation};
    if (ask->traceparent.len)
        headers[count++] = (struct net_header){STR("traceparent"), ask->traceparent};
    int64_t left_ms = (ask->deadline_us - tick_us(ask->operate)) / 1000;
    *out = (struct net_request){.connector = ask->held, .method = request->method, .url = url,
                                .headers = headers, .header_count = count, .body = body,
                                .timeout_ms = left_ms < 1 ? 1 : left_ms};
    return OK;
}

static void ask_send(struct operate_ask *ask) {
    struct operate_line *line = ask->line;
    struct net_request request;
    enum err err = ask_request(ask, &request);
    if (err == ERR_INVALID) {
        ask_refuse(ask, ERR_INVALID, "mapping: %.*s", WORDS_MAX, ask->fault.detail);
        return;
    }
    net_flow_class(&line->flow, (enum net_class)ask->what->priority);
    request.outcome = ask->what->outcome;
    request.flow = &line->flow;
    ask_out(ask, true);
    if (err == OK)
        err = net_send(ask->operate->net, &request, ask_done, ask, &ask->call, &ask->fault);
    if (err == OK)
        return;
    ask_out(ask, false);
    ask_fail(ask, ERR_UNAVAILABLE, "%.*s", WORDS_MAX, ask->fault.detail);
}

/* At most rate_per_s in any second, at once where the second has room. */
static bool pace_allows(struct operate_line *line, int64_t rate_per_s, int64_t now_us) {
    if (rate_per_s <= 0)
        return true;
    int64_t step_us = 1000000 / rate_per_s;
    if (line->paced_us < now_us)
        line->paced_us = now_us;
    if (line->paced_us - now_us > 1000000 - step_us)
        return false;
    line->paced_us += step_us;
    return true;
}

static struct operate_ask *line_take(struct operate_line *line) {
    struct operate_ask *ask = line->first;
    line->first = ask->next;
    if (!line->first)
        line->last = NULL;
    ask->next = NULL;
    return ask;
}

/* What would be sent after this could hardly be answered in time. */
static int64_t turn_until_us(const struct operate_ask *ask) {
    return ask->deadline_us - ask->what->timeout_ms * 100;
}

/* Those that wait, as far as the limits and the time go. */
static void line_go(struct operate *operate, struct operate_line *line) {
    while (line->first) {
        struct operate_ask *ask = line->first;
        int64_t now_us = tick_us(operate);
        if (now_us >= turn_until_us(ask)) {
            ask = line_take(line);
            turn_missed(ask);
        } else if (line->out < ask->what->limits->concurrency &&
                   pace_allows(line, ask->what->limits->rate_per_s, now_us)) {
            ask_send(line_take(line));
        } else {
            return;
        }
    }
}

static struct operate_line *line_of(struct operate *operate, struct str connector, struct str operation) {
    struct operate_line *line = operate->lines;
    while (line && !(str_is(connector, line->connector) && str_is(operation, line->operation)))
        line = line->next;
    if (line)
        return line;
    line = mem_zalloc(sizeof *line);
    char *names = mem_alloc(connector.len + operation.len + 2);
    if (!line || !names) {
        mem_free(line);
        mem_free(names);
        return NULL;
    }
    line->connector = names;
    line->operation = names + connector.len + 1;
    memcpy(names, connector.ptr, connector.len);
    names[connector.len] = '\0';
    memcpy(line->operation, operation.ptr, operation.len);
    line->operation[operation.len] = '\0';
    pthread_mutex_lock(&operate->lock);
    line->next = operate->lines;
    operate->lines = line;
    pthread_mutex_unlock(&operate->lock);
    return line;
}

/* Who holds the role. */
static enum err ask_find(struct operate_ask *ask) {
    struct operate *operate = ask->operate;
    struct str key = ask->key.len     ? ask->key
                     : ask->store.len ? ask->store
                     : ask->idempotency_key.len ? ask->idempotency_key : ask->correlation;
    const struct config_role *row =
        config_role_find(operate->options.config, ask->role, ask->region, ask->store, key);
    struct str name = arena_printf(&ask->arena, "%.*s.%.*s", STR_FMT(ask->role), STR_FMT(ask->operation));
    if (!row)
        return fault_set(&ask->fault, ERR_NOT_FOUND, "nobody holds the role %.*s%s: see `roles` in penstock.yaml",
                         STR_FMT(ask->role), ask->region.len || ask->store.len ? " there" : "");
    ask->connector = row->connector;
    pthread_mutex_lock(&operate->lock);
    const struct connector *connector = connector_find(operate->connectors, row->connector);
    ask->held = connector ? connector_take(connector) : NULL;
    pthread_mutex_unlock(&operate->lock);
    ask->what = connector ? connector_operation(connector, name) : NULL;
    if (!ask->what)
        return fault_set(&ask->fault, ERR_NOT_FOUND, "the connector %.*s has no operation %.*s",
                         STR_FMT(row->connector), STR_FMT(name));
    ask->line = line_of(operate, row->connector, name);
    return ask->line ? document_make(ask) : fault_set(&ask->fault, ERR_NOMEM, "no memory for the request");
}

static void ask_begin(struct operate_ask *ask) {
    ask->began_us = tick_us(ask->operate);
    fault_init(&ask->fault, &ask->arena);
    enum err err = ask_find(ask);
    if (err != OK) {
        ask->err = err;
        ask_end(ask, REFUSED);
        return;
    }
    ask->deadline_us = ask->began_us + ask->what->timeout_ms * 1000;
    if (ask->what->missing.len) {
        ask_fail(ask, ERR_UNAVAILABLE, "the operation is not usable: not set: %.*s", STR_FMT(ask->what->missing));
        return;
    }
    if (ask->line->last)
        ask->line->last->next = ask;
    else
        ask->line->first = ask;
    ask->line->last = ask;
}

/* --- the loop ---------------------------------------------------------------------------- */

static struct operate_ask *inbox_take(struct operate *operate) {
    pthread_mutex_lock(&operate->lock);
    struct operate_ask *ask = operate->inbox;
    if (ask) {
        operate->inbox = ask->next;
        if (!operate->inbox)
            operate->inbox_last = NULL;
        ask->next = NULL;
    }
    pthread_mutex_unlock(&operate->lock);
    return ask;
}

/* Out for longer than they may: whatever keeps them (a token, too). */
static void late_cancel(struct operate *operate) {
    int64_t now_us = tick_us(operate);
    for (struct operate_ask *ask = operate->out; ask;) {
        if (now_us < ask->deadline_us) {
            ask = ask->next;
            continue;
        }
        ask->late = true;
        net_cancel(operate->net, ask->call);
        ask = operate->out; /* others may have begun or ended */
    }
}

static void timer_due(uv_timer_t *timer);

static void timer_set(struct operate *operate) {
    int64_t next_us = auth_net_next_us(operate->net), now_us = tick_us(operate);
    for (const struct operate_ask *ask = operate->out; ask; ask = ask->next)
        next_us = ask->deadline_us < next_us ? ask->deadline_us : next_us;
    for (const struct operate_line *line = operate->lines; line; line = line->next) {
        if (!line->first)
            continue;
        next_us = turn_until_us(line->first) < next_us ? turn_until_us(line->first) : next_us;
        int64_t rate = line->first->what->limits->rate_per_s;
        if (rate > 0 && line->out < line->first->what->limits->concurrency) {
            int64_t turn_us = line->paced_us - 1000000 + 1000000 / rate;
            next_us = turn_us < next_us ? turn_us : next_us;
        }
    }
    if (next_us == INT64_MAX) {
        uv_timer_stop(&operate->timer);
        return;
    }
    uv_update_time(&operate->loop);
    int64_t wait_ms = (next_us - now_us + 999) / 1000;
    uv_timer_start(&operate->timer, timer_due, wait_ms > 0 ? (uint64_t)wait_ms : 0, 0);
}

static void operate_step(struct operate *operate) {
    auth_net_step(operate->net);
    for (struct operate_ask *ask; (ask = inbox_take(operate));)
        ask_begin(ask);
    late_cancel(operate);
    for (struct operate_line *line = operate->lines; line; line = line->next)
        line_go(operate, line);
    timer_set(operate);
}

static void timer_due(uv_timer_t *timer) { operate_step(timer->data); }

static void handle_closed(uv_handle_t *handle) {}

static void operate_end(struct operate *operate) {
    struct net *net = operate->net;
    for (struct operate_line *line = operate->lines; line; line = line->next)
        while (line->first)
            ask_refuse(line_take(line), ERR_UNAVAILABLE, "the hub is stopping");
    for (struct operate_ask *ask; (ask = inbox_take(operate));) {
        ask->err = fault_set(&ask->fault, ERR_UNAVAILABLE, "the hub is stopping");
        ask_end(ask, FAILED);
    }
    net_close(net); /* what is out ends */
    uv_close((uv_handle_t *)&operate->async, handle_closed);
    uv_close((uv_handle_t *)&operate->timer, handle_closed);
}

static void woken(uv_async_t *async) {
    struct operate *operate = async->data;
    pthread_mutex_lock(&operate->lock);
    bool stopping = operate->stopping;
    pthread_mutex_unlock(&operate->lock);
    if (stopping)
        operate_end(operate);
    else
        operate_step(operate);
}

static void *operate_run(void *arg) {
    struct operate *operate = arg;
    pthread_setname_np(pthread_self(), "operate");
    uv_run(&operate->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* --- life -------------------------------------------------------------------------------- */

static void wake(void *ctx) { uv_async_send(&((struct operate *)ctx)->async); }

static enum err net_make(struct operate *operate, struct fault *fault) {
    const struct settings *settings = &operate->options.config->settings;
    struct driver_http_options driver = {.loop = &operate->loop,
                                         .clock = operate->options.clock,
                                         .calls_max = (uint32_t)settings->operations_max,
                                         .connections_max = (uint32_t)settings->operations_max};
    struct auth_net_options auth = {.own = true,
                                    .keepers = operate->options.keepers,
                                    .accounts = operate->options.accounts,
                                    .limits = {.instructions_max = settings->map_instructions_max,
                                               .bytes_max = settings->map_bytes_max},
                                    .wake = wake,
                                    .wake_ctx = operate};
    enum err err = driver_http_create(&driver, &auth.net, fault);
    if (err == OK && (err = auth_net_create(&auth, &operate->net, fault)) != OK) {
        net_close(auth.net);
        uv_run(&operate->loop, UV_RUN_DEFAULT);
    }
    return err;
}

enum err operate_start(const struct operate_options *options, struct operate **out, struct fault *fault) {
    struct operate *operate = mem_zalloc(sizeof *operate);
    const struct settings *settings = &options->config->settings;
    if (!operate || uv_loop_init(&operate->loop) != 0) {
        mem_free(operate);
        return fault_set(fault, ERR_NOMEM, "no memory for operations");
    }
    operate->options = *options;
    operate->connectors = connectors_take(options->connectors);
    pthread_mutex_init(&operate->lock, NULL);
    operate->parser = json_parser_create();
    operate->mapper = mapper_create((struct mapping_limits){
        .instructions_max = settings->map_instructions_max, .bytes_max = settings->map_bytes_max});
    enum err err = operate->parser && operate->mapper ? net_make(operate, fault)
                                                      : fault_set(fault, ERR_NOMEM, "no memory for operations");
    if (err == OK && uv_async_init(&operate->loop, &operate->async, woken) != 0) {
        err = fault_set(fault, ERR_IO, "no file descriptor left for the loop of operations");
        net_close(operate->net);
        uv_run(&operate->loop, UV_RUN_DEFAULT);
    }
    if (err == OK) {
        uv_timer_init(&operate->loop, &operate->timer);
        operate->async.data = operate->timer.data = operate;
        if (pthread_create(&operate->thread, NULL, operate_run, operate) == 0) {
            operate->started = true;
        } else {
            err = fault_set(fault, ERR_NOMEM, "no thread for operations");
            operate_end(operate);
            uv_run(&operate->loop, UV_RUN_DEFAULT);
        }
    }
    if (err == OK) {
        *out = operate;
        return OK;
    }
    uv_loop_close(&operate->loop);
    operate_destroy(operate);
    return err;
}

void operate_stop(struct operate *operate) {
    if (!operate || !operate->started)
        return;
    pthread_mutex_lock(&operate->lock);
    operate->stopping = true;
    pthread_mutex_unlock(&operate->lock);
    uv_async_send(&operate->async);
    pthread_join(operate->thread, NULL);
    uv_loop_close(&operate->loop);
    operate->started = false;
}

void operate_destroy(struct operate *operate) {
    if (!operate)
        return;
    while (operate->lines) {
        struct operate_line *line = operate->lines;
        operate->lines = line->next;
        mem_free(line->connector);
        mem_free(line);
    }
    connectors_release(operate->connectors);
    if (operate->mapper)
        mapper_destroy(operate->mapper);
    json_parser_destroy(operate->parser);
    pthread_mutex_destroy(&operate->lock);
    mem_free(operate);
}

void operate_renew(struct operate *operate, const struct connectors *connectors) {
    connectors_offer(&operate->connectors, &operate->lock, connectors);
}

enum err operate_submit(struct operate *operate, struct operate_ask *ask, struct fault *fault) {
    uint32_t max = (uint32_t)operate->options.config->settings.operations_max;
    enum err err = OK;
    ask->operate = operate;
    ask->next = NULL;
    pthread_mutex_lock(&operate->lock);
    if (operate->stopping) {
        err = fault_set(fault, ERR_UNAVAILABLE, "the hub is stopping");
    } else if (operate->count >= max) {
        err = fault_set(fault, ERR_UNAVAILABLE, "%u operations are under way (operations_max)", max);
    } else {
        operate->count++;
        if (operate->inbox_last)
            operate->inbox_last->next = ask;
        else
            operate->inbox = ask;
        operate->inbox_last = ask;
        uv_async_send(&operate->async);
    }
    pthread_mutex_unlock(&operate->lock);
    return err;
}

/* Under the lock. */
static bool line_broken(struct operate *operate, const struct operate_line *line) {
    const struct connector *connector = connector_find(operate->connectors, str_c(line->connector));
    const struct connector_operation *what =
        connector ? connector_operation(connector, str_c(line->operation)) : NULL;
    return what && what->request->url.len &&
           accounts_broken(operate->options.accounts, connector, what->request->url);
}

void operate_figures(struct operate *operate, struct metrics *out) {
    pthread_mutex_lock(&operate->lock);
    for (struct operate_line *line = operate->lines; line; line = line->next) {
        struct str connector = str_c(line->connector), operation = str_c(line->operation);
        struct histogram_sum seconds = {0};
        for (int i = 0; i < OUTCOMES; i++)
            metric_add(out, METRIC_OPERATIONS, METRIC_LABELS(connector, operation, str_c(ends[i])),
                       counter_read(&line->outcomes[i]));
        histogram_read(&line->seconds, &seconds);
        metric_histogram(out, METRIC_OPERATION_SECONDS, METRIC_LABELS(connector, operation), &seconds);
        metric_add(out, METRIC_OPERATION_BROKEN, METRIC_LABELS(connector, operation),
                   line_broken(operate, line));
    }
    pthread_mutex_unlock(&operate->lock);
}
