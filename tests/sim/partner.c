/* partner: the systems behind the hub, each with books of its own: they refuse, answer late, drop
 * the answer after doing the work, do the work after nobody listens any more, and are down for a
 * while. What they did is what counts: an effect, in order of arrival.
 *
 * The ERP takes an order as often as it is sent. The CRM does so, too. The shop front knows
 * Idempotency-Keys. */
#include <stdio.h>
#include <stdlib.h>

#include "base/decimal.h"
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "sim.h"

enum who { ERP, CRM, FRONT, SHELF, PARTNERS };
static const struct {
    const char *host, *subscription;
} partners[PARTNERS] = {
    [ERP] = {"http://erp/", "erp-orders"},
    [CRM] = {"http://crm/", "crm-orders"},
    [FRONT] = {"http://front/", "front-stock"},
    [SHELF] = {"http://shelf/", "shelf-stock"},
};
/* How long a request may still be at work after nobody listens: the look-ups' settle_ms. */
#define GHOST_US 1900000

struct net_call {
    struct net_call *next;
    struct net_request request;
    net_done *done;
    void *ctx;
    enum who who;
    uint64_t id;      /* calls.c */
    uint64_t asked;   /* the hub's seq */
    int64_t until_us; /* the caller's time limit */
};

/* A request as a partner takes it: what it needs to do the work. */
struct work {
    struct work *next;
    enum who who;
    uint64_t seq;   /* of the event */
    uint64_t asked; /* the hub's, when it asked */
    bool replay;    /* a person asked for it once more */
    char lane[80], order_id[80], currency[8];
    int64_t total, due_us;
    char *body; /* of the shelf; own memory */
};

struct booked {
    char order_id[80], currency[8];
    int64_t total;
    uint32_t number;
};

struct partner {
    struct net net; /* first */
    struct sim *sim;
    struct net_call *calls; /* oldest first */
    uint32_t call_count;
    struct work *ghosts;
    bool closing, well;
    int64_t down_until_us[PARTNERS];
    struct { /* it refuses everything: so many times, and at most so long */
        uint32_t left;
        int64_t until_us;
    } bad[PARTNERS];
    struct booked *books; /* the ERP's */
    uint32_t book_count, book_cap;
    uint64_t *done[PARTNERS]; /* seqs that had their effect, CRM and FRONT */
    uint32_t done_count[PARTNERS], done_cap[PARTNERS];
};

static void *grown(void *items, uint32_t count, uint32_t *cap, size_t size) {
    if (count < *cap)
        return items;
    *cap = *cap ? 2 * *cap : 64;
    items = mem_resize(items, *cap * size);
    must(items);
    return items;
}

/* --- the work ------------------------------------------------------------------------------------- */

static uint64_t digits_at(const char *at, const char *end) {
    uint64_t value = 0;
    while (at < end && *at >= '0' && *at <= '9')
        value = value * 10 + (uint64_t)(*at++ - '0');
    return value;
}

static struct str header_of(const struct net_request *request, const char *name) {
    for (uint32_t i = 0; i < request->header_count; i++)
        if (str_eq_nocase(request->headers[i].name, str_c(name)))
            return request->headers[i].value;
    return STR_NONE;
}

static void text_keep(char *out, size_t size, struct str text) {
    size_t len = text.len < size - 1 ? text.len : size - 1;
    if (len > 0)
        memcpy(out, text.ptr, len);
    out[len] = '\0';
}

/* The ERP's document: {"external_id":…,"currency":…,"totals":{"grand":"12.34"}}. */
static void work_read_order(struct sim *sim, struct str body, struct work *work) {
    const struct json *doc;
    struct fault fault = {0};
    if (json_parse(sim->parser, &sim->arena, body, false, &doc, &fault) != OK ||
        doc->kind != JSON_OBJECT)
        violate(sim, "partner", "the ERP was sent no JSON object: %s", fault.detail);
    struct str grand = json_member_str(json_member(doc, STR("totals")), STR("grand"));
    text_keep(work->order_id, sizeof work->order_id, json_member_str(doc, STR("external_id")));
    text_keep(work->currency, sizeof work->currency, json_member_str(doc, STR("currency")));
    text_keep(work->lane, sizeof work->lane, str_c(work->order_id));
    for (size_t i = 0; i < grand.len; i++) /* minor units, whatever the currency's decimals */
        if (grand.ptr[i] >= '0' && grand.ptr[i] <= '9')
            work->total = work->total * 10 + (grand.ptr[i] - '0');
}

static void work_read(struct sim *sim, const struct net_call *call, struct work *work) {
    const struct net_request *request = &call->request;
    *work = (struct work){.who = call->who,
                          .asked = call->asked,
                          .replay = header_of(request, "Penstock-Replay").len > 0};
    if (call->who == ERP) {
        struct str key = header_of(request, "Idempotency-Key"); /* "sim-12" */
        work->seq = key.len > 4 ? digits_at(key.ptr + 4, key.ptr + key.len) : 0;
        work_read_order(sim, request->body, work);
        return;
    }
    if (call->who == SHELF)
        return;
    size_t host = strlen(partners[call->who].host);
    work->seq = digits_at(request->url.ptr + host, request->url.ptr + request->url.len);
    text_keep(work->lane, sizeof work->lane, header_of(request, "X-Lane"));
    if (!work->replay && !str_is(request->method, "GET")) /* a look-up says nothing of it */
        held_edited(sim, partners[call->who].subscription, work->seq, call->asked, request->body);
}

static bool is_done(const struct partner *p, enum who who, uint64_t seq) {
    for (uint32_t i = p->done_count[who]; i-- > 0;)
        if (p->done[who][i] == seq)
            return true;
    return false;
}

static void effect(struct partner *p, const struct work *work) {
    struct sim *sim = p->sim;
    if (work->who == SHELF) {
        shelf_take(sim, str_c(work->body), UINT32_MAX, NULL);
        return;
    }
    if (work->who == FRONT && is_done(p, FRONT, work->seq))
        return; /* it knows the key */
    p->done[work->who] = grown(p->done[work->who], p->done_count[work->who],
                               &p->done_cap[work->who], sizeof *p->done[0]);
    p->done[work->who][p->done_count[work->who]++] = work->seq;
    if (work->who == ERP) {
        p->books = grown(p->books, p->book_count, &p->book_cap, sizeof *p->books);
        struct booked *booked = &p->books[p->book_count++];
        *booked = (struct booked){.total = work->total, .number = p->book_count};
        memcpy(booked->order_id, work->order_id, sizeof booked->order_id);
        memcpy(booked->currency, work->currency, sizeof booked->currency);
    }
    sim->result->effects++;
    observe(sim,
            "{\"effect\":{\"subscription\":\"%s\",\"seq\":%llu,\"lane\":\"%s\",\"asked\":%llu,"
            "\"replay\":%s}}",
            partners[work->who].subscription, (unsigned long long)work->seq, work->lane,
            (unsigned long long)work->asked, work->replay ? "true" : "false");
}

/* At work although nobody listens any more. */
static void haunt(struct partner *p, const struct net_call *call) {
    struct work *ghost = mem_zalloc(sizeof *ghost);
    must(ghost);
    work_read(p->sim, call, ghost);
    if (ghost->who == SHELF) {
        ghost->body = mem_alloc(call->request.body.len + 1);
        must(ghost->body);
        text_keep(ghost->body, call->request.body.len + 1, call->request.body);
    }
    ghost->due_us = p->sim->tick_us + (int64_t)chance(p->sim, GHOST_US);
    ghost->next = p->ghosts;
    p->ghosts = ghost;
}

void partner_work(struct sim *sim) {
    struct partner *p = sim->partner;
    for (;;) { /* the earliest first */
        struct work **first = NULL;
        for (struct work **at = &p->ghosts; *at; at = &(*at)->next)
            if ((*at)->due_us <= sim->tick_us && (!first || (*at)->due_us < (*first)->due_us))
                first = at;
        if (!first)
            return;
        struct work *ghost = *first;
        *first = ghost->next;
        effect(p, ghost);
        mem_free(ghost->body);
        mem_free(ghost);
    }
}

/* --- calls ------------------------------------------------------------------------------------------ */

/* Per key one after the other, also beside a replay: two requests at once may change places. */
static void lane_alone(struct partner *p, const struct net_call *call) {
    struct str lane = header_of(&call->request, "X-Lane");
    for (const struct net_call *at = p->calls; lane.ptr && at; at = at->next)
        if (at->who == call->who && str_eq(header_of(&at->request, "X-Lane"), lane))
            violate(p->sim, "lane-alone", "%s is asked for two things of %.*s at once",
                    partners[call->who].subscription, STR_FMT(lane));
}

static enum err partner_send(struct net *net, const struct net_request *request, net_done *done,
                             void *ctx, struct net_call **out, struct fault *fault) {
    struct partner *p = (struct partner *)net;
    if (p->closing)
        return fault_set(fault, ERR_UNAVAILABLE, "the hub ends");
    struct net_call *call = mem_zalloc(sizeof *call), **end = &p->calls;
    must(call);
    *call = (struct net_call){.request = *request,
                              .done = done,
                              .ctx = ctx,
                              .who = PARTNERS,
                              .asked = core_seq(p->sim->core),
                              .until_us = p->sim->tick_us + request->timeout_ms * 1000};
    for (enum who i = 0; i < PARTNERS; i++)
        if (str_starts(request->url, str_c(partners[i].host)))
            call->who = i;
    must(call->who != PARTNERS);
    lane_alone(p, call);
    call->id = call_began(p->sim, request);
    while (*end)
        end = &(*end)->next;
    *end = call;
    p->call_count++;
    p->sim->result->calls++;
    if (out)
        *out = call;
    return OK;
}

static void call_end(struct partner *p, struct net_call *call, const struct net_answer *answer) {
    struct net_call **at = &p->calls;
    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    p->call_count--;
    call_over(p->sim, call->id, answer);
    call->done(call->ctx, answer);
    mem_free(call);
    calls_wake(p->sim);
}

static void partner_cancel(struct net *net, struct net_call *call) {
    struct net_answer gone = {.error = NET_CANCELLED, .sent = true, .detail = "cancelled"};
    call_end((struct partner *)net, call, &gone);
}
static const struct net_ops partner_ops = {.send = partner_send, .cancel = partner_cancel};

static bool is_post(const struct net_call *call) { return str_is(call->request.method, "POST"); }

/* One that is done, among those that are refused. */
static void found_tell(struct partner *p, enum who who) {
    observe(p->sim, "{\"found\":{\"subscription\":\"%s\"}}", partners[who].subscription);
}

static void answer_lookup(struct partner *p, struct net_call *call) {
    char body[160] = "{\"items\":[]}";
    struct net_answer answer = {.sent = true, .status = 200};
    bool found = false;
    if (call->who == ERP) {
        struct str url = call->request.url;
        const char *at = memchr(url.ptr, '=', url.len);
        struct str id = at ? str_of(at + 1, (size_t)(url.ptr + url.len - at - 1)) : STR("");
        for (uint32_t i = 0; i < p->book_count; i++)
            if (str_is(id, p->books[i].order_id))
                snprintf(body, sizeof body, "{\"items\":[{\"number\":\"SO-%u\"}]}",
                         p->books[i].number), found = true;
    } else {
        struct work work;
        work_read(p->sim, call, &work);
        snprintf(body, sizeof body, "{\"item\":%s}",
                 (found = is_done(p, call->who, work.seq)) ? "1" : "null");
    }
    if (found)
        found_tell(p, call->who);
    answer.body = str_c(body);
    call_end(p, call, &answer);
}

/* It takes all, or all but one; and the answer may be dropped. */
static void answer_shelf(struct partner *p, struct net_call *call, uint64_t luck) {
    struct buf out;
    buf_init(&out, 0);
    uint64_t fails = chance(p->sim, 12); /* also where all else is well */
    shelf_take(p->sim, call->request.body, fails < 4 ? (uint32_t)fails : UINT32_MAX, &out);
    struct net_answer answer = {.sent = true, .status = 200, .body = buf_str(&out)};
    if (luck < 22)
        answer = (struct net_answer){.error = NET_RESET, .sent = true, .detail = "reset"};
    call_end(p, call, &answer);
    buf_free(&out);
}

/* Who knows keys has one answer for a key: that of the request which is still at work. */
static bool answer_again(struct partner *p, struct net_call *call) {
    struct work work;
    if (call->who != FRONT)
        return false;
    work_read(p->sim, call, &work);
    for (struct work **at = &p->ghosts; *at; at = &(*at)->next) {
        struct work *ghost = *at;
        if (ghost->who != FRONT || ghost->seq != work.seq)
            continue;
        *at = ghost->next;
        effect(p, ghost);
        mem_free(ghost);
        found_tell(p, FRONT);
        struct net_answer answer = {.sent = true, .status = 201, .body = STR("{}")};
        call_end(p, call, &answer);
        return true;
    }
    return false;
}

static bool is_bad(struct partner *p, enum who who) {
    if (p->bad[who].left > 0 && p->sim->tick_us < p->bad[who].until_us)
        return true;
    if (p->bad[who].until_us != 0)
        observe(p->sim, "{\"well\":{\"subscription\":\"%s\"}}", partners[who].subscription);
    p->bad[who].left = 0;
    p->bad[who].until_us = 0;
    return false;
}

static void answer_bad(struct partner *p, struct net_call *call) {
    struct net_answer answer = {.sent = true, .status = 422, .body = STR("{\"error\":\"no such field\"}")};
    struct work work;
    work_read(p->sim, call, &work);
    p->bad[call->who].left--;
    observe(p->sim, "{\"refused\":{\"subscription\":\"%s\",\"seq\":%llu,\"lane\":\"%s\",\"replay\":%s}}",
            partners[call->who].subscription, (unsigned long long)work.seq, work.lane,
            work.replay ? "true" : "false");
    call_end(p, call, &answer);
}

/* One of several ways that a request can end; by 100ths, in the order they are listed. */
static void answer_post(struct partner *p, struct net_call *call) {
    struct sim *sim = p->sim;
    uint64_t luck = p->well ? 99 : chance(sim, 100);
    struct net_answer answer = {.sent = true};
    char body[64];
    if (luck < 6) {
        static const int statuses[] = {429, 500, 503, 502, 504, 408};
        answer.status = statuses[chance(sim, sizeof statuses / sizeof *statuses)];
        if (answer.status == 502 || answer.status == 504)
            haunt(p, call);
    } else if (luck < 8 && call->who != SHELF) {
        answer.status = 422;
        answer.body = STR("{\"error\":\"the customer is blocked\"}");
    } else if (luck < 13) { /* it will be done, but nobody waits so long */
        haunt(p, call);
        answer = (struct net_answer){.error = NET_TIMEOUT, .sent = true, .detail = "slow"};
    } else if (call->who == SHELF) {
        answer_shelf(p, call, luck);
        return;
    } else {
        struct work work;
        work_read(sim, call, &work);
        effect(p, &work);
        answer.status = 201;
        snprintf(body, sizeof body, "{\"number\":\"SO-%u\"}", p->book_count);
        answer.body = str_c(body);
        if (luck < 22) /* done, and the answer is dropped */
            answer = (struct net_answer){.error = NET_RESET, .sent = true, .detail = "reset"};
    }
    call_end(p, call, &answer);
}

/* It says that it is too much, and perhaps when to come again. */
static void answer_too_much(struct partner *p, struct net_call *call, int64_t wait_us) {
    char seconds[24];
    snprintf(seconds, sizeof seconds, "%lld", (long long)(wait_us + 999999) / 1000000);
    struct net_header wait = {STR("Retry-After"), str_c(seconds)};
    struct net_answer answer = {.sent = true, .status = 429, .headers = &wait,
                                .header_count = chance(p->sim, 3) > 0};
    call_end(p, call, &answer);
}

uint32_t partner_calls(const struct sim *sim) { return sim->partner->call_count; }

void partner_step(struct sim *sim) {
    struct partner *p = sim->partner;
    struct net_call *call = p->calls;
    partner_work(sim);
    if (!call)
        return;
    for (uint64_t n = p->well ? 0 : chance(sim, p->call_count); n > 0; n--)
        call = call->next;
    int64_t wait_us;
    struct net_answer refused = {.error = NET_REFUSED, .detail = "refused"};
    struct net_answer late = {.error = NET_TIMEOUT, .sent = true, .detail = "too late"};
    if (sim->tick_us > call->until_us) {
        if (is_post(call) && !p->well && chance(sim, 2) == 0)
            haunt(p, call);
        call_end(p, call, &late);
    } else if (sim->tick_us < p->down_until_us[call->who] || (!p->well && chance(sim, 40) == 0)) {
        call_end(p, call, &refused);
    } else if (call_is_too_much(sim, &call->request, &wait_us)) {
        answer_too_much(p, call, wait_us);
    } else if (is_post(call)) {
        if (answer_again(p, call))
            return;
        if (call->who != SHELF && is_bad(p, call->who))
            answer_bad(p, call);
        else
            answer_post(p, call);
    } else {
        answer_lookup(p, call);
    }
}

void partner_down(struct sim *sim) {
    enum who who = (enum who)chance(sim, PARTNERS);
    int64_t us = (int64_t)chance(sim, 60000000);
    sim->partner->down_until_us[who] = sim->tick_us + us;
    list_line(sim, "%s is down for %lld ms", partners[who].subscription, (long long)us / 1000);
}

static void bad_begin(struct partner *p, enum who who, uint32_t times, int64_t us) {
    struct sim *sim = p->sim;
    p->bad[who].left = times;
    p->bad[who].until_us = sim->tick_us + us;
    list_line(sim, "%s refuses everything", partners[who].subscription);
    observe(sim, "{\"bad\":{\"subscription\":\"%s\",\"at_most\":%u}}", partners[who].subscription,
            stops_at_most(sim, partners[who].subscription));
}

void partner_bad(struct sim *sim) {
    enum who who = (enum who)chance(sim, SHELF);
    uint32_t times = 8 + (uint32_t)chance(sim, 40);
    if (!is_bad(sim->partner, who))
        bad_begin(sim->partner, who, times, (int64_t)chance(sim, 1800000000));
}

void partner_bad_now(struct sim *sim) {
    struct partner *p = sim->partner;
    enum who who = (enum who)chance(sim, SHELF);
    p->well = true;
    memset(p->down_until_us, 0, sizeof p->down_until_us);
    if (!is_bad(p, who))
        bad_begin(p, who, UINT32_MAX, INT64_MAX / 4);
}

void partner_heal(struct sim *sim) {
    sim->partner->well = true;
    for (int i = 0; i < PARTNERS; i++) {
        sim->partner->bad[i].left = 0;
        (void)is_bad(sim->partner, (enum who)i);
    }
    memset(sim->partner->down_until_us, 0, sizeof sim->partner->down_until_us);
}

void partner_lose(struct sim *sim) {
    struct partner *p = sim->partner;
    p->closing = true;
    while (p->calls) {
        struct net_call *call = p->calls;
        bool down = sim->tick_us < p->down_until_us[call->who];
        if (is_post(call) && !down && !p->well && chance(sim, 2) == 0)
            haunt(p, call);
        partner_cancel(&p->net, call);
    }
    p->closing = false;
}

/* --- life --------------------------------------------------------------------------------------------- */

void partner_observe(struct sim *sim) {
    const struct partner *p = sim->partner;
    for (uint32_t i = 0; i < p->book_count; i++)
        observe(sim,
                "{\"booked\":{\"order_id\":\"%s\",\"total\":%lld,\"currency\":\"%s\",\"number\":"
                "\"SO-%u\"}}",
                p->books[i].order_id, (long long)p->books[i].total, p->books[i].currency,
                p->books[i].number);
}

struct net *partner_net(struct partner *partner) {
    return &partner->net;
}

struct partner *partner_create(struct sim *sim) {
    struct partner *p = mem_zalloc(sizeof *p);
    must(p);
    p->net.ops = &partner_ops;
    p->sim = sim;
    /* what they are to be told, so that the oracle knows */
    for (uint32_t i = 0; i < sim->connectors.count; i++) {
        const struct connector *connector = sim->connectors.items[i];
        for (uint32_t k = 0; k < connector->send.count; k++) {
            const struct connector_send *send = list_at(connector->send, struct connector_send, k);
            struct buf line;
            buf_init(&line, 0);
            buf_printf(&line, "{\"subscription\":{\"name\":\"%.*s\",\"events\":[",
                       STR_FMT(send->subscription));
            for (uint32_t n = 0; n < send->events.count; n++)
                buf_printf(&line, "%s\"%.*s\"", n ? "," : "",
                           STR_FMT(*list_at(send->events, struct str, n)));
            buf_printf(&line, "],\"at_once\":%u}}", (unsigned)send->limits->concurrency);
            observe_line(sim, buf_str(&line));
            buf_free(&line);
        }
    }
    return p;
}

void partner_destroy(struct partner *p) {
    while (p->ghosts) {
        struct work *ghost = p->ghosts;
        p->ghosts = ghost->next;
        mem_free(ghost->body);
        mem_free(ghost);
    }
    for (int i = 0; i < PARTNERS; i++)
        mem_free(p->done[i]);
    mem_free(p->books);
    mem_free(p);
}
