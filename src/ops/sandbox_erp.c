/* sandbox_erp: see sandbox_erp.h. One HTTP loop thread owns everything: books, faults, answers
 * that wait for their latency. What was booked is in the file before the answer is begun. */
#include "ops/sandbox_erp.h"

#include <stdio.h>
#include <string.h>

#include "base/decimal.h"
#include "base/json.h"
#include "base/mem.h"
#include "gateway/http.h"
#include "ops/sandbox_books.h"
#include "ops/sandbox_order.h"

#define PAGE_MAX 10000

/* An answer on its way: after its latency, or at once. */
struct reply {
    struct reply *next; /* free */
    uv_timer_t timer;
    struct sandbox_erp *erp;
    struct http_exchange *ex;
    int status;
    int64_t rest_ms; /* of the latency, after the work */
    bool work;       /* an order that is not booked yet */
    bool drop;       /* close without a word */
    struct buf body;
};

struct sandbox_erp {
    struct http_server *server;
    struct books *books;
    struct json_parser *parser;
    struct rng_seeded rng;
    struct sandbox_erp_control control;
    struct sandbox_erp_outage outages[SANDBOX_OUTAGES_MAX];
    uint32_t outage_count;
    int64_t started_us, outage_until_us; /* of the clock's tick; the latter set by /control */
    int64_t rate_next_us;
    struct reply *free;
    uv_loop_t *loop;
    struct {
        uint64_t posts, booked, refused, failed, dropped, throttled, lookups, lost;
    } counts;
};

bool sandbox_rate_parse(struct str text, int64_t *rate) {
    bool percent = text.len > 0 && text.ptr[text.len - 1] == '%';
    if (percent)
        text.len--;
    if (!decimal_parse(text, percent ? RATE_SCALE - 2 : RATE_SCALE, rate))
        return false;
    return *rate >= 0 && *rate <= RATE_ONE;
}

static bool chance(struct sandbox_erp *erp, int64_t rate) {
    return rate > 0 && rng_below(&erp->rng.rng, RATE_ONE) < (uint64_t)rate;
}

static bool outage(const struct sandbox_erp *erp) {
    int64_t now_us = clock_tick_us(&clock_system);
    int64_t age_us = now_us - erp->started_us;
    for (uint32_t i = 0; i < erp->outage_count; i++) {
        int64_t from_us = erp->outages[i].start_s * 1000000;
        if (age_us >= from_us && age_us < from_us + erp->outages[i].seconds * 1000000)
            return true;
    }
    return now_us < erp->outage_until_us;
}

/* --- answering --------------------------------------------------------------------------- */

static void reply_send(struct reply *reply) {
    struct sandbox_erp *erp = reply->erp;
    if (reply->drop || outage(erp)) {
        http_cut(reply->ex);
    } else {
        http_answer_begin(reply->ex, reply->status);
        if (reply->status == 429)
            http_answer_header_u64(reply->ex, STR("Retry-After"), 1);
        http_answer_end(reply->ex, STR("application/json"), buf_str(&reply->body));
    }
    reply->next = erp->free;
    erp->free = reply;
}

static void order_work(struct reply *reply);

static void reply_due(uv_timer_t *timer) {
    struct reply *reply = timer->data;
    if (reply->work) {
        reply->work = false;
        order_work(reply);
        if (reply->rest_ms > 0) {
            uv_timer_start(&reply->timer, reply_due, (uint64_t)reply->rest_ms, 0);
            return;
        }
    }
    reply_send(reply);
}

/* Begins the latency. An order is booked at some point of it: a caller that goes away early
 * does not know which. */
static void reply_later(struct reply *reply) {
    struct sandbox_erp *erp = reply->erp;
    int64_t span_ms = erp->control.latency_max_ms - erp->control.latency_min_ms;
    int64_t ms = erp->control.latency_min_ms;
    if (span_ms > 0)
        ms += (int64_t)rng_below(&erp->rng.rng, (uint64_t)span_ms + 1);
    int64_t first_ms = reply->work ? (int64_t)rng_below(&erp->rng.rng, (uint64_t)ms + 1) : ms;
    reply->rest_ms = ms - first_ms;
    if (ms == 0)
        reply_due(&reply->timer);
    else
        uv_timer_start(&reply->timer, reply_due, (uint64_t)first_ms, 0);
}

static struct reply *reply_make(struct sandbox_erp *erp, struct http_exchange *ex, int status) {
    struct reply *reply = erp->free;
    if (reply != NULL) {
        erp->free = reply->next;
    } else {
        reply = mem_zalloc(sizeof *reply);
        must(reply != NULL); /* a stand-in: without memory it may as well end */
        reply->erp = erp;
        buf_init(&reply->body, 0);
        uv_timer_init(erp->loop, &reply->timer);
        reply->timer.data = reply;
    }
    buf_clear(&reply->body);
    reply->ex = ex;
    reply->status = status;
    reply->drop = reply->work = false;
    return reply;
}

static void reply_error(struct reply *reply, int status, const char *words) {
    reply->status = status;
    buf_clear(&reply->body);
    buf_lit(&reply->body, "{\"error\":");
    buf_json_str(&reply->body, str_c(words));
    buf_lit(&reply->body, "}");
}

/* --- orders ------------------------------------------------------------------------------ */

static bool throttled(struct sandbox_erp *erp) {
    if (erp->control.rate_limit <= 0)
        return false;
    int64_t now_us = clock_tick_us(&clock_system), gap_us = 1000000 / erp->control.rate_limit;
    int64_t earliest_us = now_us - 1000000; /* a burst of one second's worth */
    if (erp->rate_next_us < earliest_us)
        erp->rate_next_us = earliest_us;
    if (erp->rate_next_us > now_us)
        return true;
    erp->rate_next_us += gap_us;
    return false;
}

static void order_book(struct sandbox_erp *erp, struct http_exchange *ex, struct reply *reply) {
    struct fault fault = {0};
    const struct json *doc;
    struct booked order;
    struct arena *arena = http_exchange_arena(ex);
    struct str body = http_exchange_request(ex)->body;
    if (json_parse(erp->parser, arena, body, true, &doc, &fault) != OK) {
        erp->counts.refused++;
        reply_error(reply, 400, fault.detail);
        return;
    }
    if (sandbox_order_read(doc, &order, &fault) != OK) {
        erp->counts.refused++;
        reply_error(reply, 422, fault.detail);
        return;
    }
    uint32_t index = erp->control.idempotent ? books_find(erp->books, order.external_id)
                                             : BOOKS_NONE;
    if (index == BOOKS_NONE) {
        if (books_post(erp->books, &order, &index, &fault) != OK) {
            reply_error(reply, 500, fault.detail);
            return;
        }
        erp->counts.booked++;
        reply->status = 201;
    }
    books_write(books_at(erp->books, index), &reply->body);
}

static void order_work(struct reply *reply) {
    struct sandbox_erp *erp = reply->erp;
    if (outage(erp)) { /* it went away before it came to that */
        reply->drop = true;
        return;
    }
    order_book(erp, reply->ex, reply);
    if (reply->status < 300 && chance(erp, erp->control.ambiguous_rate)) {
        erp->counts.dropped++;
        reply->drop = true;
    }
}

static void order_post(struct sandbox_erp *erp, struct http_exchange *ex) {
    struct reply *reply = reply_make(erp, ex, 200);
    erp->counts.posts++;
    if (throttled(erp)) {
        erp->counts.throttled++;
        reply_error(reply, 429, "too many orders per second");
    } else if (chance(erp, erp->control.fail_rate)) {
        erp->counts.failed++;
        reply_error(reply, 500, "the posting period could not be locked, try again");
    } else {
        reply->work = true;
    }
    reply_later(reply);
}

static struct str query_part(struct str query, const char *name, struct arena *arena) {
    struct str rest = query;
    while (rest.ptr != NULL) {
        struct str value = str_cut(&rest, '&'), key = str_cut(&value, '=');
        if (!str_is(key, name))
            continue;
        char *out = arena_bytes(arena, value.len + 1);
        size_t n = 0;
        for (size_t i = 0; out && i < value.len; i++) {
            unsigned hex;
            char digits[3] = {0};
            if (value.ptr[i] == '%' && i + 2 < value.len) {
                memcpy(digits, value.ptr + i + 1, 2);
                if (sscanf(digits, "%2x", &hex) == 1) {
                    out[n++] = (char)hex;
                    i += 2;
                    continue;
                }
            }
            out[n++] = value.ptr[i];
        }
        return str_of(out, n);
    }
    return STR_NONE;
}

static void order_lookup(struct sandbox_erp *erp, struct http_exchange *ex, struct str id) {
    struct reply *reply = reply_make(erp, ex, 200);
    erp->counts.lookups++;
    buf_lit(&reply->body, "{\"items\":[");
    uint32_t index = books_find(erp->books, id);
    for (bool first = true; index != BOOKS_NONE; first = false) {
        if (!first)
            buf_char(&reply->body, ',');
        books_write(books_at(erp->books, index), &reply->body);
        index = books_at(erp->books, index)->earlier;
    }
    buf_lit(&reply->body, "]}");
    reply_later(reply);
}

static void order_list(struct sandbox_erp *erp, struct http_exchange *ex, struct str query) {
    struct arena *arena = http_exchange_arena(ex);
    struct reply *reply = reply_make(erp, ex, 200);
    uint64_t after = 0, limit = 1000;
    str_u64(query_part(query, "after", arena), &after);
    str_u64(query_part(query, "limit", arena), &limit);
    if (limit > PAGE_MAX)
        limit = PAGE_MAX;
    buf_lit(&reply->body, "{\"items\":[");
    uint64_t at = after, count = books_count(erp->books);
    for (; at < count && at - after < limit; at++) {
        if (at > after)
            buf_char(&reply->body, ',');
        books_write(books_at(erp->books, (uint32_t)at), &reply->body);
    }
    if (at < count)
        buf_printf(&reply->body, "],\"next_after\":%llu}", (unsigned long long)at);
    else
        buf_lit(&reply->body, "],\"next_after\":null}");
    reply_send(reply);
}

/* --- control ----------------------------------------------------------------------------- */

static void member_rate(struct buf *out, const char *name, int64_t rate) {
    buf_printf(out, ",\"%s\":\"", name);
    decimal_write(out, rate, RATE_SCALE);
    buf_char(out, '"');
}

static void control_write(const struct sandbox_erp *erp, struct buf *out) {
    const struct sandbox_erp_control *c = &erp->control;
    buf_printf(out, "{\"latency_ms\":[%lld,%lld]", (long long)c->latency_min_ms,
               (long long)c->latency_max_ms);
    member_rate(out, "fail_rate", c->fail_rate);
    member_rate(out, "ambiguous_rate", c->ambiguous_rate);
    buf_printf(out, ",\"rate_limit\":%lld,\"idempotent\":%s,\"outage\":%s",
               (long long)c->rate_limit, c->idempotent ? "true" : "false",
               outage(erp) ? "true" : "false");
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        {"posts", erp->counts.posts},     {"booked", erp->counts.booked},
        {"refused", erp->counts.refused}, {"failed", erp->counts.failed},
        {"dropped", erp->counts.dropped}, {"throttled", erp->counts.throttled},
        {"lookups", erp->counts.lookups}, {"lost", erp->counts.lost},
    };
    buf_lit(out, ",\"counts\":{");
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        buf_printf(out, "%s\"%s\":%llu", i > 0 ? "," : "", counts[i].name,
                   (unsigned long long)counts[i].value);
    buf_lit(out, "}}");
}

static bool whole(const struct json *value, int64_t max, int64_t *out) {
    int64_t n;
    if (!json_i64(value, &n) || n < 0 || n > max)
        return false;
    *out = n;
    return true;
}

static bool latency_set(const struct json *value, struct sandbox_erp_control *c) {
    if (value->kind != JSON_ARRAY) {
        if (!whole(value, 600000, &c->latency_min_ms))
            return false;
        c->latency_max_ms = c->latency_min_ms;
        return true;
    }
    return value->count == 2 && whole(json_first(value), 600000, &c->latency_min_ms) &&
           whole(json_next(json_first(value)), 600000, &c->latency_max_ms) &&
           c->latency_min_ms <= c->latency_max_ms;
}

static bool rate_set(const struct json *value, int64_t *rate) {
    return (value->kind == JSON_STRING || value->kind == JSON_NUMBER) &&
           sandbox_rate_parse(value->text, rate);
}

/* One member; `outage_s` gets seconds of outage from now on, 0 to end one. */
static bool control_member(struct str name, const struct json *value,
                           struct sandbox_erp_control *c, int64_t *outage_s) {
    if (str_is(name, "latency_ms"))
        return latency_set(value, c);
    if (str_is(name, "fail_rate"))
        return rate_set(value, &c->fail_rate);
    if (str_is(name, "ambiguous_rate"))
        return rate_set(value, &c->ambiguous_rate);
    if (str_is(name, "rate_limit"))
        return whole(value, 1000000, &c->rate_limit);
    if (str_is(name, "outage_s"))
        return whole(value, 1000000, outage_s);
    if (!str_is(name, "idempotent") || value->kind != JSON_BOOL)
        return false;
    c->idempotent = value->count == 1;
    return true;
}

static void control_post(struct sandbox_erp *erp, struct http_exchange *ex) {
    struct fault fault = {0};
    const struct json *doc;
    struct reply *reply = reply_make(erp, ex, 200);
    struct str body = http_exchange_request(ex)->body;
    struct sandbox_erp_control control = erp->control;
    int64_t outage_s = -1;
    bool good = json_parse(erp->parser, http_exchange_arena(ex), body, true, &doc, &fault) == OK &&
                doc->kind == JSON_OBJECT;
    const struct json *at = good ? json_first(doc) : NULL;
    for (uint32_t i = 0; good && i < doc->count; i++) {
        good = control_member(at->text, json_next(at), &control, &outage_s);
        at = json_next(json_next(at));
    }
    if (good) {
        erp->control = control;
        if (outage_s >= 0) { /* from now on this rules, not what was planned */
            erp->outage_count = 0;
            erp->outage_until_us = clock_tick_us(&clock_system) + outage_s * 1000000;
        }
        control_write(erp, &reply->body);
    } else {
        reply_error(reply, 422, "latency_ms (N or [N,M]), fail_rate, ambiguous_rate (0 to 1), "
                                "rate_limit (per second), outage_s, idempotent");
    }
    http_answer(ex, reply->status, STR("application/json"), buf_str(&reply->body));
    reply->next = erp->free;
    erp->free = reply;
}

/* --- the server -------------------------------------------------------------------------- */

static void plain(struct sandbox_erp *erp, struct http_exchange *ex, int status,
                  void (*write)(const struct sandbox_erp *erp, struct buf *out)) {
    struct buf body;
    buf_init(&body, 0);
    if (write != NULL)
        write(erp, &body);
    else
        buf_lit(&body, "{\"error\":\"there is no such thing here\"}");
    http_answer(ex, status, STR("application/json"), buf_str(&body));
    buf_free(&body);
}

static void totals_write(const struct sandbox_erp *erp, struct buf *out) {
    books_totals(erp->books, out);
}

static void orders_get(struct sandbox_erp *erp, struct http_exchange *ex,
                       const struct http_request *request) {
    struct str id = query_part(request->query, "external_id", http_exchange_arena(ex));
    if (id.ptr != NULL)
        order_lookup(erp, ex, id);
    else
        order_list(erp, ex, request->query);
}

static void order_get(struct sandbox_erp *erp, struct http_exchange *ex, struct str number) {
    uint32_t index = books_number(erp->books, number);
    if (index == BOOKS_NONE) {
        plain(erp, ex, 404, NULL);
        return;
    }
    struct reply *reply = reply_make(erp, ex, 200);
    books_write(books_at(erp->books, index), &reply->body);
    reply_later(reply);
}

static void handle(struct http_exchange *ex, void *ctx) {
    struct sandbox_erp *erp = ctx;
    const struct http_request *request = http_exchange_request(ex);
    bool get = request->method == HTTP_METHOD_GET, post = request->method == HTTP_METHOD_POST;
    struct str path = request->path;
    if (get && str_is(path, "/totals")) {
        plain(erp, ex, 200, totals_write);
    } else if (get && str_is(path, "/control")) {
        plain(erp, ex, 200, control_write);
    } else if (post && str_is(path, "/control")) {
        control_post(erp, ex);
    } else if (outage(erp)) {
        erp->counts.lost++;
        http_cut(ex);
    } else if (post && str_is(path, "/orders")) {
        order_post(erp, ex);
    } else if (get && str_is(path, "/orders")) {
        orders_get(erp, ex, request);
    } else if (get && str_starts(path, STR("/orders/"))) {
        order_get(erp, ex, str_of(path.ptr + 8, path.len - 8));
    } else {
        plain(erp, ex, 404, NULL);
    }
}

static enum err loop_start(struct http_loop *loop, void *ctx, struct fault *fault) {
    ((struct sandbox_erp *)ctx)->loop = http_loop_uv(loop);
    return OK;
}

static void reply_closed(uv_handle_t *handle) {
    struct reply *reply = handle->data;
    buf_free(&reply->body);
    mem_free(reply);
}

static void loop_stop(struct http_loop *loop, void *ctx) {
    struct sandbox_erp *erp = ctx;
    while (erp->free != NULL) {
        struct reply *reply = erp->free;
        erp->free = reply->next;
        uv_close((uv_handle_t *)&reply->timer, reply_closed);
    }
}

enum err sandbox_erp_start(const struct sandbox_erp_options *options, struct sandbox_erp **out,
                           struct fault *fault) {
    must(options->outage_count <= SANDBOX_OUTAGES_MAX);
    struct sandbox_erp *erp = mem_zalloc(sizeof *erp);
    if (erp == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for the sandbox");
    erp->control = options->control;
    memcpy(erp->outages, options->outages, sizeof erp->outages);
    erp->outage_count = options->outage_count;
    erp->started_us = clock_tick_us(&clock_system);
    rng_seeded_init(&erp->rng, options->seed);
    erp->parser = json_parser_create();
    enum err err = erp->parser ? books_open(options->books, &erp->books, fault)
                               : fault_set(fault, ERR_NOMEM, "no memory for the sandbox");
    struct http_options http = {.host = options->host,
                                .port = options->port,
                                .threads = 1,
                                .ctx = erp,
                                .handle = handle,
                                .loop_start = loop_start,
                                .loop_stop = loop_stop};
    if (err == OK)
        err = http_server_start(&http, &erp->server, fault);
    if (err != OK) {
        sandbox_erp_stop(erp);
        return err;
    }
    *out = erp;
    return OK;
}

uint16_t sandbox_erp_port(const struct sandbox_erp *erp) { return http_server_port(erp->server); }

void sandbox_erp_stop(struct sandbox_erp *erp) {
    if (erp == NULL)
        return;
    if (erp->server != NULL)
        http_server_stop(erp->server);
    books_close(erp->books);
    json_parser_destroy(erp->parser);
    mem_free(erp);
}
