/* market: a marketplace that sends nothing: the hub asks it for what changed (section `poll`). It has a
 * clock of its own, lists an order a moment after it is dated, lists it again when somebody touched it,
 * gives few at once, and is slow, refuses and fails as others do. Whatever it lists must be in the hub
 * once all has come to rest. */
#include <stdio.h>

#include "base/mem.h"
#include "connect/poll_priv.h"
#include "sim.h"

#define LAG_MS 2000 /* an order is listed at most so long after its date: less than overlap_s */
#define PAGE 3

struct offer {
    uint32_t op; /* as the oracle knows it */
    struct str order;
    int64_t updated_ms, listed_ms;
};

struct net_call {
    struct net_call *next;
    uint64_t id; /* calls.c */
    char url[256];
    net_done *done;
    void *ctx;
    int64_t until_us;
};

struct market {
    struct net net; /* first */
    struct sim *sim;
    struct offer *offers;
    uint32_t count, cap;
    struct net_call *calls;
    bool well, closing;
    int64_t skew_ms, down_until_us;
    uint64_t rounds; /* of polls, that were done when it was asked to come to rest */
};

static int64_t now_ms(const struct market *market) {
    return INT64_C(1795421700000) + market->sim->tick_us / 1000 + market->skew_ms;
}

/* --- its orders ------------------------------------------------------------------------------------ */

static void offer_date(struct market *market, struct offer *offer) {
    offer->updated_ms = now_ms(market);
    offer->listed_ms = offer->updated_ms + (int64_t)chance(market->sim, LAG_MS);
}

void market_step(struct sim *sim) {
    struct market *market = sim->market;
    if (chance(sim, 16) == 0) {
        market->down_until_us = sim->tick_us + (int64_t)chance(sim, 60000000);
        list_line(sim, "the market is down");
        return;
    }
    if (market->count > 0 && chance(sim, 4) == 0) {
        struct offer *offer = &market->offers[chance(sim, market->count)];
        if (offer->listed_ms <= now_ms(market))
            offer_date(market, offer);
        list_line(sim, "the market touches c%u", offer->op);
        return;
    }
    if (market->count == market->cap) {
        market->cap = market->cap ? 2 * market->cap : 64;
        market->offers = mem_resize(market->offers, market->cap * sizeof *market->offers);
        must(market->offers);
    }
    struct offer *offer = &market->offers[market->count++];
    *offer = (struct offer){0};
    offer->op = shop_offer(sim, &offer->order);
    offer_date(market, offer);
}

/* --- calls ------------------------------------------------------------------------------------------ */

static enum err market_send(struct net *net, const struct net_request *request, net_done *done,
                            void *ctx, struct net_call **out, struct fault *fault) {
    struct market *market = (struct market *)net;
    if (market->closing)
        return fault_set(fault, ERR_UNAVAILABLE, "the hub ends");
    struct net_call *call = mem_zalloc(sizeof *call), **end = &market->calls;
    must(call && request->url.len < sizeof call->url);
    *call = (struct net_call){.done = done, .ctx = ctx,
                              .until_us = market->sim->tick_us + request->timeout_ms * 1000};
    memcpy(call->url, request->url.ptr, request->url.len);
    call->id = call_began(market->sim, request);
    while (*end)
        end = &(*end)->next;
    *end = call;
    market->sim->result->calls++;
    if (out)
        *out = call;
    return OK;
}

static void call_end(struct market *market, struct net_call *call, const struct net_answer *answer) {
    struct net_call **at = &market->calls;
    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    call_over(market->sim, call->id, answer);
    call->done(call->ctx, answer);
    mem_free(call);
    calls_wake(market->sim);
}

static void market_cancel(struct net *net, struct net_call *call) {
    struct net_answer gone = {.error = NET_CANCELLED, .sent = true, .detail = "cancelled"};
    call_end((struct market *)net, call, &gone);
}
static const struct net_ops market_ops = {.send = market_send, .cancel = market_cancel};

static int64_t param(const char *url, const char *name) {
    const char *at = strstr(url, name);
    int64_t value = 0;
    if (!at)
        return 0;
    for (at += strlen(name); *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (*at - '0');
    return value;
}

/* By date, so that what is touched moves to the end; pages by the date that was listed last. */
static const struct offer *offer_next(const struct market *market, int64_t updated_ms, uint32_t op) {
    const struct offer *best = NULL;
    for (uint32_t i = 0; i < market->count; i++) {
        const struct offer *offer = &market->offers[i];
        bool behind = offer->updated_ms > updated_ms ||
                      (offer->updated_ms == updated_ms && offer->op > op);
        if (offer->listed_ms > now_ms(market) || !behind)
            continue;
        if (!best || offer->updated_ms < best->updated_ms ||
            (offer->updated_ms == best->updated_ms && offer->op < best->op))
            best = offer;
    }
    return best;
}

static void call_answer(struct market *market, struct net_call *call) {
    int64_t since = param(call->url, "since="), cursor = param(call->url, "cursor=");
    uint32_t op = (uint32_t)param(call->url, "after=");
    int64_t updated = cursor ? cursor : since - 1;
    const struct offer *offer = NULL;
    struct buf body;
    buf_init(&body, 0);
    buf_lit(&body, "{\"items\":[");
    if (!cursor)
        op = UINT32_MAX;
    for (uint32_t n = 0; n < PAGE && (offer = offer_next(market, updated, op)); n++) {
        buf_printf(&body, "%s{\"message\":\"x%u-%lld\",\"number\":\"x%u\",\"updated\":%lld,\"order\":%.*s}",
                   n ? "," : "", offer->op, (long long)offer->updated_ms, offer->op,
                   (long long)offer->updated_ms, STR_FMT(offer->order));
        updated = offer->updated_ms;
        op = offer->op;
    }
    buf_lit(&body, "],\"next\":");
    if (offer && offer_next(market, updated, op))
        buf_printf(&body, "\"http://market/?cursor=%lld&after=%u\"}", (long long)updated, op);
    else
        buf_lit(&body, "null}");
    struct net_answer answer = {.sent = true, .status = 200, .body = buf_str(&body)};
    call_end(market, call, &answer);
    buf_free(&body);
}

/* A call ends, somehow. */
void market_answer(struct sim *sim) {
    struct market *market = sim->market;
    struct net_call *call = market->calls;
    static const int statuses[] = {429, 500, 503, 502, 408};
    static struct net_header wait = {{"Retry-After", 11}, {"2", 1}};
    uint64_t luck = market->well ? 99 : chance(sim, 100);
    if (!call)
        return;
    struct net_answer bad = {.sent = true, .detail = "on purpose"};
    if (sim->tick_us > call->until_us || luck < 4) {
        bad.error = NET_TIMEOUT;
    } else if (sim->tick_us < market->down_until_us) {
        bad.error = NET_REFUSED;
    } else if (luck < 12) {
        bad.status = statuses[chance(sim, sizeof statuses / sizeof *statuses)];
        bad.headers = &wait;
        bad.header_count = chance(sim, 2) ? 1 : 0;
    } else if (luck < 14) {
        bad.status = 200;
        bad.body = STR("{\"items\":[{\"nonsense\"");
    } else {
        call_answer(market, call);
        return;
    }
    call_end(market, call, &bad);
}

void market_lose(struct sim *sim) {
    struct market *market = sim->market;
    market->closing = true;
    while (market->calls)
        market_cancel(&market->net, market->calls);
    market->closing = false;
}

/* --- coming to rest ----------------------------------------------------------------------------------- */

/* From now on it is well; all that it has is to be fetched in a round from here on. */
void market_settle(struct sim *sim) {
    struct market *market = sim->market;
    market->well = true;
    market->down_until_us = 0;
    for (uint32_t i = 0; i < market->count; i++)
        if (market->offers[i].listed_ms > now_ms(market))
            market->offers[i].listed_ms = now_ms(market);
    struct poll_entry *entry = sim->poller->entries[0];
    /* a round under way may be past it */
    market->rounds = entry->stats.rounds + 1 + (entry->state != ENTRY_IDLE);
}

bool market_quiet(const struct sim *sim) {
    const struct poll_entry *entry = sim->poller->entries[0];
    return entry->state == ENTRY_IDLE && entry->stats.rounds >= sim->market->rounds;
}

/* What it listed is as good as acknowledged. */
void market_observe(struct sim *sim) {
    for (uint32_t i = 0; i < sim->market->count; i++)
        observe(sim, "{\"answered\":{\"op\":%u,\"status\":200}}", sim->market->offers[i].op);
}

bool poller_rests(const struct poller *poller) {
    for (uint32_t i = 0; i < poller->count; i++)
        if (poller->entries[i]->busy > 0 || poller->entries[i]->call)
            return false;
    return true;
}

/* --- life --------------------------------------------------------------------------------------------- */

struct net *market_net(struct market *market) { return &market->net; }

struct market *market_create(struct sim *sim) {
    struct market *market = mem_zalloc(sizeof *market);
    must(market);
    market->net.ops = &market_ops;
    market->sim = sim;
    market->skew_ms = (int64_t)(sim->run->seed % 7) * 1000 - 3000;
    return market;
}

void market_destroy(struct market *market) {
    for (uint32_t i = 0; i < market->count; i++)
        mem_free((void *)(uintptr_t)market->offers[i].order.ptr);
    mem_free(market->offers);
    mem_free(market);
}
