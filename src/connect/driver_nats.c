/* driver_nats: see driver_nats.h. Owns the calls under way, and a link (nats_link.h) for each account.
 * Links signal through one uv_async; everything else happens on the loop's thread. */
#include "connect/driver_nats.h"

#include <stdio.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "connect/nats_link.h"
#include "connect/nats_look.h"
#include "connect/nats_options.h"

#define TICK_MS 20 /* how exact a call's time limit is */
#define SLOT_BITS 20

struct account {
    struct nats_link *link;
    struct hash128 print; /* of servers, options and credentials */
    uint32_t calls;
    int64_t used_us;
};

struct net_call {
    struct driver_nats *driver;
    struct net_call *free; /* the next one */
    uint32_t slot;
    bool busy, looking;
    struct account *account;
    uint64_t token;
    net_done *done;
    void *ctx;
    int64_t started_us, deadline_us;
    struct arena arena;
    struct buf body; /* of the answer */
    struct nats_look look;
};

struct driver_nats {
    struct net net;
    uv_loop_t *loop;
    struct clock *clock;
    uv_async_t async;
    uv_timer_t timer;
    struct net_call **calls; /* by slot; made when first needed */
    struct net_call *free;
    uint32_t made, busy, calls_max, handles;
    uint64_t serial;
    struct account accounts[DRIVER_NATS_LINKS_MAX];
    struct json_parser *parser;
    bool reading; /* replies: no link may go meanwhile */
    bool closing;
};

/* --- ending a call --------------------------------------------------------------------------- */

static void call_end(struct net_call *call, struct net_answer *answer) {
    struct driver_nats *driver = call->driver;
    static const struct net_header json[] = {{{"Content-Type", 12}, {"application/json", 16}}};
    answer->elapsed_us = clock_tick_us(driver->clock) - call->started_us;
    if (answer->error == NET_OK) {
        answer->headers = json;
        answer->header_count = 1;
        answer->body = buf_str(&call->body);
    }
    call->busy = false;
    call->account->calls--;
    driver->busy--;
    call->done(call->ctx, answer);
    arena_reset(&call->arena);
    call->free = driver->free;
    driver->free = call;
    if (driver->busy == 0)
        uv_timer_stop(&driver->timer);
}

static void call_failed(struct net_call *call, enum net_error error, bool sent, const char *why) {
    struct net_answer answer = {.error = error, .sent = sent};
    snprintf(answer.detail, sizeof answer.detail, "%s", why);
    call_end(call, &answer);
}

/* An answer in words of ours: {"error": …}. */
static void call_refused(struct net_call *call, int status, bool sent, struct str why) {
    struct net_answer answer = {.error = NET_OK, .sent = sent, .status = status};
    buf_clear(&call->body);
    buf_lit(&call->body, "{\"error\":");
    buf_json_str(&call->body, why);
    buf_char(&call->body, '}');
    call_end(call, &answer);
}

static void call_stored(struct net_call *call, struct str stream, uint64_t seq, bool duplicate) {
    struct net_answer answer = {.error = NET_OK, .sent = true, .status = 200};
    buf_clear(&call->body);
    buf_lit(&call->body, "{\"stream\":");
    buf_json_str(&call->body, stream);
    buf_printf(&call->body, ",\"seq\":%llu,\"duplicate\":%s}", (unsigned long long)seq,
               duplicate ? "true" : "false");
    call_end(call, &answer);
}

/* It went nowhere. */
static void call_unsent(struct net_call *call, natsStatus status, struct str words) {
    const char *why = words.ptr;
    switch (status) {
    case NATS_CONNECTION_AUTH_FAILED:
    case NATS_NOT_PERMITTED:
        call_refused(call, 401, false, words);
        return;
    case NATS_MAX_PAYLOAD:
        call_refused(call, 413, false, STR("the message is longer than the NATS server takes"));
        return;
    case NATS_SSL_ERROR:
    case NATS_SECURE_CONNECTION_WANTED:
    case NATS_SECURE_CONNECTION_REQUIRED:
        call_failed(call, NET_TLS, false, why);
        return;
    case NATS_NO_MEMORY:
    case NATS_INVALID_ARG:
    case NATS_INVALID_SUBJECT:
    case NATS_NO_SERVER_SUPPORT:
        call_failed(call, NET_FAILED, false, why);
        return;
    default:
        call_failed(call, NET_REFUSED, false, why);
    }
}

/* --- putting messages on the link ------------------------------------------------------------- */

static bool text_good(struct str text) {
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 0x7f)
            return false;
    return true;
}

/* An attribute's value in a header: percent-encoded where it is not printable ASCII (CloudEvents HTTP
 * binding 1.0.2, 3.1.3.2, which the NATS binding takes over). */
static struct str attribute_value(struct str value, struct arena *arena) {
    char *out = arena_bytes(arena, value.len * 3 + 1);
    size_t n = 0;
    if (!out)
        return STR_NONE;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c > ' ' && c < 0x7f && c != '"' && c != '%')
            out[n++] = (char)c;
        else
            n += (size_t)snprintf(out + n, 4, "%%%02X", c);
    }
    out[n] = '\0';
    return str_of(out, n);
}

static natsStatus headers_set(natsMsg *message, const struct net_request *request, struct arena *arena) {
    natsStatus s = NATS_OK;
    for (uint32_t i = 0; s == NATS_OK && i < request->header_count; i++) {
        const struct net_header *header = &request->headers[i];
        if (str_eq_nocase(header->name, STR("Authorization")) || str_eq_nocase(header->name, STR("Accept")))
            continue; /* who calls is said to the server, not to those who read the stream */
        struct str name = arena_str(arena, header->name);
        struct str value = str_starts(header->name, STR("ce-")) ? attribute_value(header->value, arena)
                                                                : arena_str(arena, header->value);
        if (!name.ptr || (header->value.len && !value.ptr))
            return NATS_NO_MEMORY;
        if (!text_good(name) || !text_good(value))
            return NATS_INVALID_ARG;
        s = natsMsgHeader_Set(message, name.ptr, value.ptr ? value.ptr : "");
    }
    return s;
}

/* Under a new token, to which the reply will be. */
static natsStatus call_put(struct net_call *call, const char *subject, const struct net_request *request,
                           struct str body) {
    struct driver_nats *driver = call->driver;
    char inbox[NATS_INBOX_BYTES];
    natsMsg *message = NULL;
    call->token = ++driver->serial << SLOT_BITS | call->slot;
    nats_link_inbox(call->account->link, call->token, inbox);
    natsStatus s = natsMsg_Create(&message, subject, inbox, body.ptr ? body.ptr : "", (int)body.len);
    if (s == NATS_OK && request)
        s = headers_set(message, request, &call->arena);
    if (s != NATS_OK) {
        natsMsg_Destroy(message);
        return s;
    }
    return nats_link_put(call->account->link, message, call->token) ? NATS_OK : NATS_NO_MEMORY;
}

static void look_on(struct net_call *call, enum nats_look_end end) {
    struct nats_look *look = &call->look;
    switch (end) {
    case NATS_LOOK_ASK: {
        natsStatus s = call_put(call, buf_cstr(&look->to), NULL, buf_str(&look->question));
        char text[NATS_WORDS_MAX];
        if (s != NATS_OK)
            call_unsent(call, s, nats_failed(s, text));
        return;
    }
    case NATS_LOOK_FOUND:
        call_stored(call, str_c(look->stream), look->seq, true);
        return;
    case NATS_LOOK_ABSENT:
        call_refused(call, 404, true, STR("the stream does not have it"));
        return;
    case NATS_LOOK_UNKNOWN:
        call_refused(call, 503, true, str_c(look->why));
        return;
    }
}

/* --- replies ----------------------------------------------------------------------------------- */

static void ack_read(struct net_call *call, struct str text) {
    const struct json *doc = NULL;
    struct fault fault = {0};
    uint64_t seq = 0;
    if (json_parse(call->driver->parser, &call->arena, text, false, &doc, &fault) != OK)
        doc = NULL;
    const struct json *error = doc ? json_member(doc, STR("error")) : NULL;
    const struct json *at = doc ? json_member(doc, STR("seq")) : NULL;
    struct str stream = doc ? json_member_str(doc, STR("stream")) : STR_NONE;
    if (error) {
        int64_t code = 500;
        const struct json *member = json_member(error, STR("code"));
        if (member && (!json_i64(member, &code) || code < 400 || code > 599))
            code = 500;
        call_refused(call, (int)code, true, json_member_str(error, STR("description")));
    } else if (stream.len && at && str_u64(at->text, &seq)) {
        const struct json *duplicate = json_member(doc, STR("duplicate"));
        call_stored(call, stream, seq, duplicate && duplicate->kind == JSON_BOOL && duplicate->count == 1);
    } else {
        call_refused(call, 502, true, STR("who answered is no JetStream stream"));
    }
}

static void reply_read(struct net_call *call, const struct nats_reply *reply) {
    if (reply->kind == NATS_UNSENT)
        call_unsent(call, reply->status, reply->text);
    else if (reply->kind == NATS_NOBODY)
        call_refused(call, 503, false,
                     call->looking ? STR("the NATS server has no JetStream")
                                   : STR("no stream takes the subject: JetStream is off there, or none is made yet"));
    else if (call->looking)
        look_on(call, nats_look_answer(&call->look, reply->text, call->driver->parser, &call->arena));
    else
        ack_read(call, reply->text);
}

static void account_lost(struct driver_nats *driver, struct account *account, uint64_t token) {
    for (uint32_t i = 0; i < driver->made; i++) {
        struct net_call *call = driver->calls[i];
        if (call->busy && call->account == account && call->token <= token)
            call_failed(call, NET_RESET, true, "the connection to the NATS server was lost");
    }
}

static void replies_read(struct driver_nats *driver, struct account *account) {
    struct nats_reply *reply = nats_link_take(account->link);
    while (reply) {
        struct nats_reply *next = reply->next;
        uint64_t slot = reply->token & ((UINT64_C(1) << SLOT_BITS) - 1);
        struct net_call *call = slot < driver->made ? driver->calls[slot] : NULL;
        if (reply->kind == NATS_LOST)
            account_lost(driver, account, reply->token);
        else if (call && call->busy && call->token == reply->token)
            reply_read(call, reply);
        mem_free(reply);
        reply = next;
    }
}

static void woken(uv_async_t *async) {
    struct driver_nats *driver = async->data;
    driver->reading = true;
    for (uint32_t i = 0; i < DRIVER_NATS_LINKS_MAX; i++)
        if (driver->accounts[i].link)
            replies_read(driver, &driver->accounts[i]);
    driver->reading = false;
}

static void wake_loop(void *ctx) { uv_async_send(&((struct driver_nats *)ctx)->async); }

/* --- time limits --------------------------------------------------------------------------------- */

static void call_stop(struct net_call *call, enum net_error error, const char *why) {
    bool unsent = nats_link_withdraw(call->account->link, call->token);
    call_failed(call, error, !unsent, unsent && error == NET_TIMEOUT ? "the NATS server could not be reached in time"
                                                                      : why);
}

static void tick(uv_timer_t *timer) {
    struct driver_nats *driver = timer->data;
    int64_t now_us = clock_tick_us(driver->clock);
    for (uint32_t i = 0; i < driver->made; i++)
        if (driver->calls[i]->busy && driver->calls[i]->deadline_us <= now_us)
            call_stop(driver->calls[i], NET_TIMEOUT, "no stream acknowledged it in time");
}

/* --- beginning ------------------------------------------------------------------------------------ */

static struct net_call *call_take(struct driver_nats *driver) {
    struct net_call *call = driver->free;
    if (call) {
        driver->free = call->free;
        return call;
    }
    call = driver->made < driver->calls_max ? mem_zalloc(sizeof *call) : NULL;
    if (!call)
        return NULL;
    call->driver = driver;
    call->slot = driver->made;
    arena_init(&call->arena, 0);
    buf_init(&call->body, 65536);
    buf_init(&call->look.to, 65536);
    buf_init(&call->look.question, 65536);
    driver->calls[driver->made++] = call;
    return call;
}

static struct account *account_room(struct driver_nats *driver) {
    struct account *oldest = NULL;
    for (uint32_t i = 0; i < DRIVER_NATS_LINKS_MAX; i++) {
        struct account *account = &driver->accounts[i];
        if (!account->link)
            return account;
        if (account->calls == 0 && (!oldest || account->used_us < oldest->used_us))
            oldest = account;
    }
    if (!oldest || driver->reading)
        return NULL;
    nats_link_close(oldest->link);
    *oldest = (struct account){0};
    return oldest;
}

static enum err account_of(struct driver_nats *driver, const struct stream_url *url,
                           struct str authorization, struct arena *arena, struct account **out,
                           struct fault *fault) {
    struct hash128 print = hash128(url->hosts, url->tls);
    print = hash128(url->query, print.hi ^ print.lo);
    print = hash128(authorization, print.hi ^ print.lo);
    for (uint32_t i = 0; i < DRIVER_NATS_LINKS_MAX; i++) {
        struct account *account = &driver->accounts[i];
        *out = account;
        if (account->link && account->print.hi == print.hi && account->print.lo == print.lo)
            return OK;
    }
    struct account *account = account_room(driver);
    if (!account)
        return fault_set(fault, ERR_UNAVAILABLE, "as many connections to NATS as there may be are in use");
    struct nats_link_options options = {.wake = wake_loop, .wake_ctx = driver};
    enum err err = nats_options_make(url, authorization, arena, &options.options, fault);
    if (err != OK)
        return err;
    account->link = nats_link_create(&options);
    if (!account->link)
        return fault_set(fault, ERR_NOMEM, "no memory for a connection to NATS");
    account->print = print;
    *out = account;
    return OK;
}

static struct str header_of(const struct net_request *request, struct str name) {
    for (uint32_t i = 0; i < request->header_count; i++)
        if (str_eq_nocase(request->headers[i].name, name))
            return request->headers[i].value;
    return STR_NONE;
}

static enum err look_begin(struct net_call *call, const struct net_request *request,
                           const struct stream_url *url, struct fault *fault) {
    struct nats_look *look = &call->look;
    struct instant at;
    look->subject = url->path;
    look->id = arena_str(&call->arena, header_of(request, STR("Nats-Msg-Id")));
    look->domain = stream_url_option(url, "domain", &call->arena);
    look->since_us = instant_parse(header_of(request, STR("ce-time")), &at) ? at.us : 0;
    if (!look->id.len)
        return fault_set(fault, ERR_INVALID, "a look-up in a stream needs the header Nats-Msg-Id");
    if (nats_look_begin(look) != NATS_LOOK_ASK ||
        call_put(call, buf_cstr(&look->to), NULL, buf_str(&look->question)) != NATS_OK)
        return fault_set(fault, ERR_NOMEM, "no memory for a look-up");
    return OK;
}

static enum err call_begin(struct net_call *call, const struct net_request *request, struct fault *fault) {
    struct stream_url url;
    struct str authorization = header_of(request, STR("Authorization"));
    enum err err = stream_url_read(request->url, &call->arena, &url, fault);
    if (err != OK)
        return err;
    if (url.kind != STREAM_NATS || !stream_subject_good(url.path, false))
        return fault_set(fault, ERR_INVALID, "%.200s is no subject that can be published to", url.path.ptr);
    err = account_of(call->driver, &url, authorization, &call->arena, &call->account, fault);
    if (err != OK)
        return err;
    call->looking = str_is(request->method, "GET");
    if (call->looking)
        return look_begin(call, request, &url, fault);
    natsStatus s = call_put(call, url.path.ptr, request, request->body);
    if (s == NATS_INVALID_ARG)
        return fault_set(fault, ERR_INVALID, "a header has characters that can not stand in one");
    return s == NATS_OK ? OK : fault_set(fault, ERR_NOMEM, "no memory for a message");
}

static enum err nats_send(struct net *net, const struct net_request *request, net_done *done, void *ctx,
                          struct net_call **out, struct fault *fault) {
    struct driver_nats *driver = (struct driver_nats *)net;
    struct net_call *call = driver->closing ? NULL : call_take(driver);
    if (!call)
        return fault_set(fault, ERR_UNAVAILABLE, "too many messages are under way");
    enum err err = call_begin(call, request, fault);
    if (err != OK) {
        arena_reset(&call->arena);
        call->free = driver->free;
        driver->free = call;
        return err;
    }
    call->done = done;
    call->ctx = ctx;
    call->busy = true;
    call->started_us = clock_tick_us(driver->clock);
    call->deadline_us = call->started_us + request->timeout_ms * 1000;
    call->account->calls++;
    call->account->used_us = call->started_us;
    if (driver->busy++ == 0)
        uv_timer_start(&driver->timer, tick, TICK_MS, TICK_MS);
    if (out)
        *out = call;
    return OK;
}

static void nats_cancel(struct net *net, struct net_call *call) {
    call_stop(call, NET_CANCELLED, "the call was given up");
}

/* --- its life ---------------------------------------------------------------------------------------- */

static void driver_free(struct driver_nats *driver) {
    for (uint32_t i = 0; i < driver->made; i++) {
        struct net_call *call = driver->calls[i];
        arena_free(&call->arena);
        buf_free(&call->body);
        buf_free(&call->look.to);
        buf_free(&call->look.question);
        mem_free(call);
    }
    json_parser_destroy(driver->parser);
    mem_free(driver->calls);
    mem_free(driver);
}

static void handle_closed(uv_handle_t *handle) {
    struct driver_nats *driver = handle->data;
    if (--driver->handles == 0)
        driver_free(driver);
}

static void nats_close(struct net *net) {
    struct driver_nats *driver = (struct driver_nats *)net;
    driver->closing = true;
    for (uint32_t i = 0; i < driver->made; i++)
        if (driver->calls[i]->busy)
            call_stop(driver->calls[i], NET_CANCELLED, "the hub stopped");
    for (uint32_t i = 0; i < DRIVER_NATS_LINKS_MAX; i++)
        if (driver->accounts[i].link)
            nats_link_close(driver->accounts[i].link);
    uv_close((uv_handle_t *)&driver->async, handle_closed);
    uv_close((uv_handle_t *)&driver->timer, handle_closed);
}

static const struct net_ops nats_ops = {.send = nats_send, .cancel = nats_cancel, .close = nats_close};

enum err driver_nats_create(const struct driver_nats_options *options, struct net **out,
                            struct fault *fault) {
    struct driver_nats *driver = mem_zalloc(sizeof *driver);
    uint32_t calls_max = options->calls_max ? options->calls_max : 1024;
    if (driver) {
        driver->calls = mem_zalloc(calls_max * sizeof *driver->calls);
        driver->parser = json_parser_create();
    }
    if (!driver || !driver->calls || !driver->parser ||
        uv_async_init(options->loop, &driver->async, woken) != 0) {
        if (driver)
            driver_free(driver);
        return fault_set(fault, ERR_NOMEM, "no memory for the NATS driver");
    }
    must(calls_max < 1u << SLOT_BITS);
    uv_timer_init(options->loop, &driver->timer);
    driver->net.ops = &nats_ops;
    driver->loop = options->loop;
    driver->clock = options->clock;
    driver->calls_max = calls_max;
    driver->async.data = driver->timer.data = driver;
    driver->handles = 2;
    *out = &driver->net;
    return OK;
}
