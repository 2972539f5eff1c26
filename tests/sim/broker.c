/* broker: a message broker with books of its own, as JetStream is: what was published, by subject, and what of
 * it was acknowledged.
 *
 * Into the hub: a producer publishes orders on a few subjects, now and then twice, now and then nonsense. The
 * hub reads them through the seam of sources (connect/stream_source.h): in order per subject, subjects in any
 * order, again what was not acknowledged, at once after a nak, else when the wait is over; it loses
 * acknowledgements, delivers what it was acknowledged once more, says nothing for a while, breaks connections.
 *
 * Out of the hub: it takes messages with their id and knows one that it has within its window; it refuses, says
 * that it is too much, loses its acknowledgement after storing, stores after nobody listens any more, and is
 * down. The look-up is the hub's own (connect/nats_look.h), over the books.
 *
 * Its clock is never behind the hub's: so much is asked of a server (NATS_LOOK_SLACK_US). */
#include "broker.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "connect/nats_look.h"
#include "connect/streams_priv.h"

#define SUBJECTS 4
#define ACK_WAIT_US INT64_C(10000000)
/* How long a message may still be on its way after nobody listens: the look-up's settle_ms. */
#define GHOST_US 1900000
#define CALL_TAG ((uintptr_t)1)
#define SUBSCRIPTION "broker-orders"
/* What the hub keeps of a message, at most; in memory of its own it is so small here alone. */
#define MESSAGE_BYTES_MAX ((size_t)200000)

/* A message of the producer. */
struct message {
    uint32_t op;     /* as the oracle knows its order; 0: nonsense */
    char id[16];     /* empty: it says none */
    uint32_t subject;
    struct str body; /* own memory */
};

/* One that is stored: IN:1, IN:2 … */
struct stored {
    uint32_t message;
    bool out, acked;
    int64_t at_us, due_us; /* tick: stored; comes again, where it is out and not acknowledged */
};

/* One of the hub's, on its way or stored. */
struct posted {
    struct posted *next;
    char subject[100], id[48];
    uint64_t seq, asked; /* of the event; the hub's */
    bool replay;
    int64_t at_us, due_us, wall_us;
};

struct net_call {
    struct net_call *next;
    struct net_request request;
    net_done *done;
    void *ctx;
    uint64_t id; /* calls.c */
    struct posted record;
    int64_t until_us;
};

struct broker {
    struct net net; /* first */
    struct sim *sim;
    struct message **messages; /* each stays where it is: the hub has their texts */
    uint32_t message_count, message_cap;
    struct stored *in;
    uint32_t in_count, in_cap;
    struct posted *out;
    uint32_t out_count, out_cap;
    struct posted *ghosts;
    struct net_call *calls; /* oldest first */
    uint32_t call_count;
    int64_t down_until_us, window_us, skew_us;
    bool well, closing;
};

/* The hub's one reader. */
struct reader_source {
    struct stream_source source;
    struct broker *broker;
    int64_t ready_us;        /* tick: what an earlier one has is given up then */
    uint32_t next[SUBJECTS]; /* in the books; what is before was handed out on this connection */
};

static void *grown(void *items, uint32_t count, uint32_t *cap, size_t size) {
    if (count < *cap)
        return items;
    *cap = *cap ? 2 * *cap : 64;
    items = mem_resize(items, *cap * size);
    must(items);
    return items;
}

static int64_t sized(const struct sim *sim, const char *name, uint64_t bound) {
    return (int64_t)(hash64(str_c(name), sim->run->seed) % bound);
}

static bool is_down(const struct broker *b) { return b->sim->tick_us < b->down_until_us; }
/* Something goes wrong, one time in so many. */
static bool unlucky(struct broker *b, uint64_t in) { return !b->well && chance(b->sim, in) == 0; }

/* --- what is published to the hub ---------------------------------------------------------------- */

static void in_store(struct broker *b, uint32_t message) {
    struct sim *sim = b->sim;
    const struct message *m = b->messages[message];
    if (is_down(b) || unlucky(b, 20))
        return; /* the producer was told so, or hears nothing */
    for (uint32_t i = b->in_count; m->id[0] && i-- > 0;)
        if (b->in[i].message == message && sim->tick_us - b->in[i].at_us < b->window_us)
            return; /* it is known */
    b->in = grown(b->in, b->in_count, &b->in_cap, sizeof *b->in);
    b->in[b->in_count++] = (struct stored){.message = message, .at_us = sim->tick_us};
    observe(sim, "{\"stored\":{\"stream\":\"sim-broker/orders\",\"place\":\"IN:%u\",\"id\":\"%s\",\"key\":"
                 "\"shop.orders.%u\"}}", b->in_count, m->id, m->subject);
}

static void publish(struct sim *sim) {
    static const char *const nonsense[] = {"{\"oder\":{}}", "{\"order\":{\"channel\":\"web-de\"}}", "no JSON", ""};
    struct broker *b = sim->broker;
    if (b->message_count > 0 && chance(sim, 4) == 0) { /* the producer heard nothing, and says it again */
        uint32_t among = b->message_count < 8 ? b->message_count : 8;
        uint32_t again = b->message_count - 1 - (uint32_t)chance(sim, among);
        list_line(sim, "message %u is published once more", again + 1);
        in_store(b, again);
        return;
    }
    b->messages = grown(b->messages, b->message_count, &b->message_cap, sizeof *b->messages);
    struct message *m = b->messages[b->message_count++] = mem_zalloc(sizeof *m);
    must(m);
    m->subject = (uint32_t)chance(sim, SUBJECTS);
    if (chance(sim, 6) > 0)
        snprintf(m->id, sizeof m->id, "p%u", b->message_count);
    struct str order = STR_NONE, body = str_c(nonsense[chance(sim, 4)]);
    if (chance(sim, 6) > 0) {
        m->op = shop_offer(sim, &order);
        body = arena_printf(&sim->arena, "{\"order\":%.*s}", STR_FMT(order));
        mem_free((char *)(uintptr_t)order.ptr);
    }
    size_t len = body.len ? body.len : MESSAGE_BYTES_MAX + 1;
    char *copy = mem_alloc(len);
    must(copy);
    memset(copy, 'x', len);
    memcpy(copy, body.ptr, body.len);
    m->body = str_of(copy, len);
    list_line(sim, "message %u is published on shop.orders.%u", b->message_count, m->subject);
    in_store(b, b->message_count - 1);
}

void broker_publish(struct sim *sim) {
    for (uint64_t n = chance(sim, 3) == 0 ? 1 + chance(sim, 5) : 1; n > 0; n--)
        publish(sim);
}

/* --- the reader ------------------------------------------------------------------------------------ */

static struct stored *stored_of(struct broker *b, const struct stream_message *message) {
    return &b->in[(uintptr_t)message->handle - 1];
}

static void hand_out(struct broker *b, uint32_t i, struct stream_message *out, uint32_t *count) {
    struct stored *stored = &b->in[i];
    const struct message *m = b->messages[stored->message];
    struct stream_message *message = &out[(*count)++];
    *message = (struct stream_message){.handle = (void *)(uintptr_t)(i + 1), .body = m->body};
    if (m->id[0])
        message->id = str_c(m->id);
    static const char *const subjects[SUBJECTS] = {"shop.orders.0", "shop.orders.1", "shop.orders.2",
                                                   "shop.orders.3"};
    message->key = str_c(subjects[m->subject]);
    snprintf(message->place, sizeof message->place, "IN:%u", i + 1);
    stored->out = true;
    stored->due_us = b->sim->tick_us + ACK_WAIT_US;
}

/* The next one of the subject that is new on this connection; UINT32_MAX: there is none. */
static uint32_t next_of(struct reader_source *source, uint32_t subject) {
    const struct broker *b = source->broker;
    for (; source->next[subject] < b->in_count; source->next[subject]++) {
        const struct stored *stored = &b->in[source->next[subject]];
        if (!stored->acked && b->messages[stored->message]->subject == subject)
            return source->next[subject]++;
    }
    return UINT32_MAX;
}

static enum err lost(struct fault *fault, const char *what) {
    return fault_set(fault, ERR_UNAVAILABLE, "the broker: %s", what);
}

static enum err reader_fetch(struct stream_source *base, struct stream_message *out, uint32_t max, int64_t wait_ms,
                             uint32_t *count, int64_t *waiting, struct fault *fault) {
    struct reader_source *source = (struct reader_source *)base;
    struct broker *b = source->broker;
    struct sim *sim = b->sim;
    (void)wait_ms;
    *count = 0;
    *waiting = -1;
    if (is_down(b) || unlucky(b, 30))
        return lost(fault, "the connection was lost");
    if (sim->tick_us < source->ready_us || unlucky(b, 6))
        return OK;
    uint32_t want = b->well ? max : 1 + (uint32_t)chance(sim, max);
    for (uint32_t i = 0; i < b->in_count && *count < want; i++) { /* whose acknowledgement was lost */
        struct stored *stored = &b->in[i];
        bool before = i < source->next[b->messages[stored->message]->subject];
        if (before && stored->out && !stored->acked && stored->due_us <= sim->tick_us)
            hand_out(b, i, out, count);
    }
    if (*count < want && b->in_count > 0 && unlucky(b, 8)) { /* once more, for no reason */
        uint32_t i = (uint32_t)chance(sim, b->in_count);
        if (b->in[i].acked)
            hand_out(b, i, out, count);
    }
    for (uint32_t empty = 0; empty < 2 * SUBJECTS && *count < want;) {
        uint32_t i = next_of(source, (uint32_t)chance(sim, SUBJECTS));
        if (i == UINT32_MAX)
            empty++;
        else
            hand_out(b, i, out, count);
    }
    return OK;
}

static struct str reader_header(const struct stream_message *message, struct str name) {
    (void)name;
    return str_is(name, "Nats-Msg-Id") ? message->id : STR_NONE;
}

static void reader_busy(struct stream_source *base, const struct stream_message *messages, uint32_t count) {
    struct broker *b = ((struct reader_source *)base)->broker;
    for (uint32_t i = 0; i < count && !is_down(b); i++)
        stored_of(b, &messages[i])->due_us = b->sim->tick_us + ACK_WAIT_US;
}

static enum err reader_done(struct stream_source *base, struct stream_message *messages, uint32_t count,
                            struct fault *fault) {
    struct broker *b = ((struct reader_source *)base)->broker;
    struct sim *sim = b->sim;
    if (vfs_fault_crashed(sim->disk) || is_down(b))
        return lost(fault, "the connection was lost");
    for (uint32_t i = 0; i < count; i++) {
        struct stored *stored = stored_of(b, &messages[i]);
        if (stored->acked || unlucky(b, 12))
            continue;
        stored->acked = true;
        observe(sim, "{\"consumed\":{\"stream\":\"sim-broker/orders\",\"place\":\"%s\",\"durable\":%llu}}",
                messages[i].place, (unsigned long long)core_seq(sim->core));
    }
    return unlucky(b, 20) ? lost(fault, "the connection was lost") : OK;
}

/* It says that it will not have them, or just goes. */
static void reader_drop(struct stream_source *base, struct stream_message *messages, uint32_t count) {
    struct broker *b = ((struct reader_source *)base)->broker;
    if (vfs_fault_crashed(b->sim->disk) || is_down(b) || unlucky(b, 2))
        return;
    for (uint32_t i = 0; i < count; i++)
        stored_of(b, &messages[i])->out = false;
}

static void reader_close(struct stream_source *base) { mem_free(base); }

static const struct stream_source_ops reader_ops = {.fetch = reader_fetch, .header = reader_header,
                                                    .busy = reader_busy, .done = reader_done,
                                                    .drop = reader_drop, .close = reader_close};

static enum err reader_open(void *ctx, const struct stream_source_options *options, struct stream_source **out,
                            struct fault *fault) {
    struct broker *b = ctx;
    (void)options;
    if (is_down(b) || unlucky(b, 10))
        return lost(fault, "no connection");
    struct reader_source *source = mem_zalloc(sizeof *source);
    must(source);
    source->source.ops = &reader_ops;
    source->broker = b;
    for (uint32_t i = 0; i < b->in_count; i++)
        if (b->in[i].out && !b->in[i].acked && b->in[i].due_us > source->ready_us)
            source->ready_us = b->in[i].due_us;
    *out = &source->source;
    return OK;
}

enum err broker_streams(struct sim *sim, struct fault *fault) {
    struct streams_options options = {.core = sim->core, .config = &sim->config, .connectors = &sim->connectors,
                                      .clock = &sim->clock, .open = reader_open, .open_ctx = sim->broker};
    return streams_create(&options, &sim->streams, fault);
}

int64_t broker_streams_step(struct sim *sim) {
    for (uint32_t i = 0; i < sim->streams->count; i++)
        for (uint32_t k = 0; k < sim->streams->entries[i]->room; k++)
            sim->streams->entries[i]->slots[k].arena.cap = MESSAGE_BYTES_MAX;
    return streams_step(sim->streams);
}

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
static const struct net_ops broker_ops = {.send = broker_send, .cancel = broker_cancel};

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

/* A call ends, somehow. */
static void call_step(struct broker *b) {
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

void broker_step(struct sim *sim) {
    struct broker *b = sim->broker;
    broker_work(sim);
    if (!is_down(b) && unlucky(b, 60)) {
        int64_t us = (int64_t)chance(sim, 60000000);
        b->down_until_us = sim->tick_us + us;
        list_line(sim, "the broker is down for %lld ms", (long long)us / 1000);
    }
    call_step(b);
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

/* --- coming to rest ---------------------------------------------------------------------------------- */

void broker_heal(struct sim *sim) {
    sim->broker->well = true;
    sim->broker->down_until_us = 0;
}

void broker_settle_step(struct sim *sim) {
    struct broker *b = sim->broker;
    broker_work(sim);
    broker_streams_step(sim);
    for (uint32_t n = b->call_count; n > 0 && b->calls; n--)
        call_step(b);
}

bool streams_rest(const struct streams *streams) {
    for (uint32_t i = 0; streams && i < streams->count; i++)
        if (streams->entries[i]->batch)
            return false;
    return true;
}

uint32_t broker_calls(const struct sim *sim) { return sim->broker->call_count; }

bool broker_quiet(const struct sim *sim) {
    const struct broker *b = sim->broker;
    for (uint32_t i = 0; i < b->in_count; i++)
        if (!b->in[i].acked)
            return false;
    return b->call_count == 0 && !b->ghosts && streams_rest(sim->streams);
}

void broker_tell(const struct sim *sim, struct buf *out) {
    const struct broker *b = sim->broker;
    uint32_t open = 0;
    for (uint32_t i = 0; i < b->in_count; i++)
        open += !b->in[i].acked;
    buf_printf(out, "; broker: %u of %u not acknowledged, %u calls", open, b->in_count, b->call_count);
    for (uint32_t i = 0; sim->streams && i < sim->streams->count; i++)
        buf_printf(out, ", %s", sim->streams->entries[i]->stats.error);
}

/* What it stored for a producer is as good as acknowledged. */
void broker_observe(struct sim *sim) {
    const struct broker *b = sim->broker;
    for (uint32_t i = 0; i < b->in_count; i++) {
        uint32_t op = b->messages[b->in[i].message]->op;
        if (op != 0)
            observe(sim, "{\"answered\":{\"op\":%u,\"status\":200}}", op);
    }
}

/* --- life --------------------------------------------------------------------------------------------- */

struct net *broker_net(struct broker *broker) { return &broker->net; }

struct broker *broker_create(struct sim *sim) {
    static const int64_t windows_us[] = {INT64_C(100000), INT64_C(2000000), INT64_C(120000000)};
    struct broker *b = mem_zalloc(sizeof *b);
    must(b);
    b->net.ops = &broker_ops;
    b->sim = sim;
    b->window_us = windows_us[sized(sim, "broker_window", 3)];
    b->skew_us = sized(sim, "broker_skew", 600) * 1000000;
    for (uint32_t i = 0; i < sim->connectors.count; i++)
        for (uint32_t k = 0; k < sim->connectors.items[i]->streams.count; k++)
            list_at(sim->connectors.items[i]->streams, struct connector_stream, k)->in_flight =
                1 + sized(sim, "broker_in_flight", 12);
    return b;
}

void broker_destroy(struct broker *b) {
    while (b->ghosts) {
        struct posted *ghost = b->ghosts;
        b->ghosts = ghost->next;
        mem_free(ghost);
    }
    for (uint32_t i = 0; i < b->message_count; i++) {
        mem_free((char *)(uintptr_t)b->messages[i]->body.ptr);
        mem_free(b->messages[i]);
    }
    mem_free(b->messages);
    mem_free(b->in);
    mem_free(b->out);
    mem_free(b);
}
