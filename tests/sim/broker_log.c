/* broker_log: what the hub publishes to the broker (broker.c): messages with their id, of which it knows one that
 * it has within its window; it refuses, says that it is too much, loses its acknowledgement after storing, stores
 * after nobody listens any more, and is down. The look-up is the hub's own (connect/nats_look.h), over the books.
 *
 * Its clock is never behind the hub's: so much is asked of a server (NATS_LOOK_SLACK_US). */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/json.h"
#include "broker_priv.h"
#include "connect/nats_look.h"
#include "connect/stream_url.h"

/* How long a message may still be on its way after nobody listens: the look-up's settle_ms. */
#define GHOST_US 1900000
#define CALL_TAG ((uintptr_t)1)
#define SUBSCRIPTION "broker-orders"

struct net_call {
    struct net_call *next;
    struct net_request request;
    net_done *done;
    void *ctx;
    uint64_t id; /* calls.c */
    struct posted record;
    int64_t until_us;
};

/* --- what the hub publishes ------------------------------------------------------------------------- */

static void text_keep(char *out, size_t size, struct str text) {
    snprintf(out, size, "%.*s", STR_FMT(text));
}

static struct str header_of(const struct net_request *request, const char *name) {
    for (uint32_t i = 0; i < request->header_count; i++)
        if (str_eq_nocase(request->headers[i].name, str_c(name)))
            return request->headers[i].value;
    return STR_NONE;
}

static void record_read(struct sim *sim, const struct net_request *request, struct posted *record) {
    struct stream_url url;
    struct fault fault = {0};
    struct arena arena;
    arena_init(&arena, 0);
    struct str id = header_of(request, "Nats-Msg-Id"); /* "sim-12" */
    if (stream_url_read(request->url, &arena, &url, &fault) != OK || !stream_subject_good(url.path, false) ||
        id.len < 5 || !str_u64(str_of(id.ptr + 4, id.len - 4), &record->seq))
        violate(sim, "partner", "the broker was sent to %.*s, under %.*s", STR_FMT(request->url), STR_FMT(id));
    text_keep(record->subject, sizeof record->subject, url.path);
    text_keep(record->id, sizeof record->id, id);
    record->asked = core_seq(sim->core);
    record->replay = header_of(request, "Penstock-Replay").len > 0;
    arena_free(&arena);
}

/* Its place in the books; *known: it was there. */
static uint32_t out_store(struct broker *b, const struct posted *record, bool *known) {
    struct sim *sim = b->sim;
    *known = false;
    for (uint32_t i = b->out_count; i-- > 0;)
        if (strcmp(b->out[i].id, record->id) == 0 && sim->tick_us - b->out[i].at_us < b->window_us) {
            *known = true;
            return i;
        }
    b->out = grown(b->out, b->out_count, &b->out_cap, sizeof *b->out);
    struct posted *stored = &b->out[b->out_count++];
    *stored = *record;
    stored->at_us = sim->tick_us;
    stored->wall_us = sim->latest_us + b->skew_us;
    sim->result->effects++;
    observe(sim, "{\"logged\":{\"subscription\":\"" SUBSCRIPTION "\",\"seq\":%llu,\"lane\":\"%s\",\"id\":\"%s\","
                 "\"asked\":%llu,\"replay\":%s}}",
            (unsigned long long)record->seq, record->subject, record->id, (unsigned long long)record->asked,
            record->replay ? "true" : "false");
    return b->out_count - 1;
}

static void haunt(struct broker *b, const struct net_call *call) {
    struct posted *ghost = mem_alloc(sizeof *ghost);
    must(ghost);
    *ghost = call->record;
    ghost->due_us = b->sim->tick_us + (int64_t)chance(b->sim, GHOST_US);
    ghost->next = b->ghosts;
    b->ghosts = ghost;
}

void broker_work(struct sim *sim) {
    struct broker *b = sim->broker;
    for (;;) { /* the earliest first */
        struct posted **first = NULL;
        for (struct posted **at = &b->ghosts; *at; at = &(*at)->next)
            if ((*at)->due_us <= sim->tick_us && (!first || (*at)->due_us < (*first)->due_us))
                first = at;
        if (!first)
            return;
        struct posted *ghost = *first;
        bool known;
        *first = ghost->next;
        out_store(b, ghost, &known);
        mem_free(ghost);
    }
}

/* --- its calls --------------------------------------------------------------------------------------- */

static enum err broker_send(struct net *net, const struct net_request *request, net_done *done, void *ctx,
                            struct net_call **out, struct fault *fault) {
    struct broker *b = (struct broker *)net;
    struct sim *sim = b->sim;
    if (!stream_url_is(request->url, NULL))
        return net_send(partner_net(sim->partner), request, done, ctx, out, fault);
    if (b->closing)
        return fault_set(fault, ERR_UNAVAILABLE, "the hub ends");
    struct net_call *call = mem_zalloc(sizeof *call), **end = &b->calls;
    must(call);
    *call = (struct net_call){.request = *request, .done = done, .ctx = ctx,
                              .until_us = sim->tick_us + request->timeout_ms * 1000};
    record_read(sim, request, &call->record);
    for (; *end; end = &(*end)->next)
        if (strcmp((*end)->record.subject, call->record.subject) == 0)
            violate(sim, "lane-alone", SUBSCRIPTION " is asked for two things of %s at once", call->record.subject);
    if (str_is(request->method, "POST") && !call->record.replay)
        held_edited(sim, SUBSCRIPTION, call->record.seq, call->record.asked, request->body);
    call->id = call_began(sim, request);
    *end = call;
    b->call_count++;
    sim->result->calls++;
    if (out)
        *out = (struct net_call *)((uintptr_t)call | CALL_TAG);
    return OK;
}

static void call_end(struct broker *b, struct net_call *call, const struct net_answer *answer) {
    struct net_call **at = &b->calls;
    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    b->call_count--;
    call_over(b->sim, call->id, answer);
    call->done(call->ctx, answer);
    mem_free(call);
    calls_wake(b->sim);
}

static void broker_cancel(struct net *net, struct net_call *call) {
    struct broker *b = (struct broker *)net;
    struct net_answer gone = {.error = NET_CANCELLED, .sent = true, .detail = "cancelled"};
    if ((uintptr_t)call & CALL_TAG)
        call_end(b, (struct net_call *)((uintptr_t)call & ~CALL_TAG), &gone);
    else
        net_cancel(partner_net(b->sim->partner), call);
}
const struct net_ops broker_ops = {.send = broker_send, .cancel = broker_cancel};

static void answer_status(struct broker *b, struct net_call *call, int status, const char *why) {
    char body[160];
    snprintf(body, sizeof body, "{\"error\":\"%s\"}", why);
    struct net_answer answer = {.sent = true, .status = status, .body = str_c(body)};
    call_end(b, call, &answer);
}

static void answer_error(struct broker *b, struct net_call *call, enum net_error error, bool sent) {
    struct net_answer answer = {.error = error, .sent = sent, .detail = "on purpose"};
    call_end(b, call, &answer);
}

static void answer_stored(struct broker *b, struct net_call *call, uint64_t seq, bool duplicate) {
    char body[96];
    snprintf(body, sizeof body, "{\"stream\":\"OUT\",\"seq\":%llu,\"duplicate\":%s}", (unsigned long long)seq,
             duplicate ? "true" : "false");
    struct net_answer answer = {.sent = true, .status = 200, .body = str_c(body)};
    if (duplicate)
        observe(b->sim, "{\"found\":{\"subscription\":\"" SUBSCRIPTION "\"}}");
    call_end(b, call, &answer);
}

/* By 100ths. */
static void answer_publish(struct broker *b, struct net_call *call) {
    static const struct {
        int status;
        const char *why;
    } refusals[] = {{503, "insufficient resources"}, {429, "too many requests"}, {503, "no responders"},
                    {400, "message size exceeds maximum allowed"}};
    uint64_t luck = b->well ? 99 : chance(b->sim, 100), how = chance(b->sim, 4);
    bool known;
    if (luck < 5) {
        answer_status(b, call, refusals[how].status, refusals[how].why);
    } else if (luck < 10) { /* on its way still */
        haunt(b, call);
        answer_error(b, call, NET_TIMEOUT, true);
    } else if (luck < 22) { /* stored, and the acknowledgement is lost */
        out_store(b, &call->record, &known);
        answer_error(b, call, NET_RESET, true);
    } else {
        uint32_t at = out_store(b, &call->record, &known);
        answer_stored(b, call, at + 1, known);
    }
}

/* STREAM.NAMES and STREAM.MSG.GET, as the server answers them. */
static void api_answer(struct broker *b, const struct nats_look *look, struct buf *out) {
    const struct json *ask;
    struct fault fault = {0};
    uint64_t from = 1;
    uint32_t found = UINT32_MAX;
    buf_clear(out);
    if (json_parse(b->sim->parser, &b->sim->arena, buf_str(&look->question), false, &ask, &fault) != OK)
        violate(b->sim, "partner", "the broker was asked %.*s", STR_FMT(buf_str(&look->question)));
    if (str_is(buf_str(&look->to), "$JS.API.STREAM.NAMES")) {
        buf_lit(out, "{\"total\":1,\"streams\":[\"OUT\"]}");
        return;
    }
    struct str last = json_member_str(ask, STR("last_by_subj")), next = json_member_str(ask, STR("next_by_subj"));
    const struct json *seq = json_member(ask, STR("seq"));
    must(!seq || str_u64(seq->text, &from));
    for (uint64_t i = from; i <= b->out_count && !(next.len && found != UINT32_MAX); i++)
        if (str_is(last.len ? last : next, b->out[i - 1].subject))
            found = (uint32_t)i - 1;
    if (found == UINT32_MAX) {
        buf_lit(out, "{\"error\":{\"code\":404,\"err_code\":10037,\"description\":\"no message found\"}}");
        return;
    }
    const struct posted *record = &b->out[found];
    struct str head = arena_printf(&b->sim->arena, "NATS/1.0\r\nNats-Msg-Id: %s\r\n\r\n", record->id);
    buf_printf(out, "{\"message\":{\"subject\":\"%s\",\"seq\":%u,\"hdrs\":\"", record->subject, found + 1);
    base64_write(out, head);
    buf_lit(out, "\",\"time\":\"");
    instant_write(out, (struct instant){.us = record->wall_us});
    buf_lit(out, "\"}}");
}

/* Each question finds the broker as it is now: its API answers at once. */
static void answer_lookup(struct broker *b, struct net_call *call) {
    struct instant at;
    struct nats_look look = {.subject = str_c(call->record.subject), .id = str_c(call->record.id)};
    struct buf out;
    if (unlucky(b, 20)) {
        answer_error(b, call, NET_TIMEOUT, true);
        return;
    }
    if (instant_parse(header_of(&call->request, "ce-time"), &at))
        look.since_us = at.us;
    buf_init(&out, 0);
    buf_init(&look.to, 0);
    buf_init(&look.question, 0);
    enum nats_look_end end = nats_look_begin(&look);
    while (end == NATS_LOOK_ASK) {
        api_answer(b, &look, &out);
        end = nats_look_answer(&look, buf_str(&out), b->sim->parser, &b->sim->arena);
    }
    buf_free(&out);
    buf_free(&look.to);
    buf_free(&look.question);
    if (end == NATS_LOOK_FOUND)
        answer_stored(b, call, look.seq, true);
    else if (end == NATS_LOOK_ABSENT)
        answer_status(b, call, 404, "the stream does not have it");
    else
        answer_status(b, call, 503, look.why);
}

void broker_call_step(struct broker *b) {
    struct sim *sim = b->sim;
    struct net_call *call = b->calls;
    int64_t wait_us;
    if (!call)
        return;
    for (uint64_t n = b->well ? 0 : chance(sim, b->call_count); n > 0; n--)
        call = call->next;
    bool publishes = str_is(call->request.method, "POST");
    if (sim->tick_us > call->until_us) {
        if (publishes && !b->well && chance(sim, 2) == 0)
            haunt(b, call);
        answer_error(b, call, NET_TIMEOUT, true);
    } else if (is_down(b) || unlucky(b, 40)) {
        answer_error(b, call, NET_REFUSED, false);
    } else if (call_is_too_much(sim, &call->request, &wait_us)) {
        answer_status(b, call, 429, "too many requests");
    } else if (publishes) {
        answer_publish(b, call);
    } else {
        answer_lookup(b, call);
    }
}

void broker_lose(struct sim *sim) {
    struct broker *b = sim->broker;
    b->closing = true;
    while (b->calls) {
        struct net_call *call = b->calls;
        if (str_is(call->request.method, "POST") && !is_down(b) && !b->well && chance(sim, 2) == 0)
            haunt(b, call);
        broker_cancel(&b->net, (struct net_call *)((uintptr_t)call | CALL_TAG));
    }
    b->closing = false;
}
