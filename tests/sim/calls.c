/* calls: what other systems are asked, counted there: each call of each of them goes to the oracle with its
 * end. What their accounts take is declared by the seed; what they really take may be less: then they say
 * so (429, with Retry-After or without).
 *
 * Always true: an end is told of each call that began in this life of the hub, or the life ends. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "connect/account.h"
#include "connect/accounts_priv.h"
#include "connect/poll_priv.h"
#include "sim.h"

struct takes { /* what the system really takes */
    int64_t gap_us, burst_us; /* 0: anything */
    int64_t full_us;          /* tick at which its bucket is full again */
};

struct calls {
    struct sim *sim;
    uint64_t last;
    bool unnoted; /* something ended since it was told that breakers are on disk */
    struct connector_account declared[ACCOUNTS_MAX];
    struct account_breaker breakers[ACCOUNTS_MAX];
    struct takes takes[ACCOUNTS_MAX];
};

static int64_t sized(const struct sim *sim, struct str connector, const char *name, uint64_t bound) {
    return (int64_t)(hash64(str_c(name), hash64(connector, sim->run->seed)) % bound);
}

/* One seed in four: no limits at all; the others a rate, and some of the rest. */
static void account_declare(struct calls *calls, uint32_t i) {
    struct sim *sim = calls->sim;
    struct connector *connector = sim->connectors.items[i];
    struct str name = connector->name;
    struct connector_account *account = &calls->declared[i];
    struct governor_limits *limits = &account->limits;
    struct account_breaker *breaker = &calls->breakers[i];
    struct takes *takes = &calls->takes[i];
    int64_t kind = sized(sim, name, "account", 4);
    if (kind > 0)
        *limits = (struct governor_limits){.calls = 4 + sized(sim, name, "rate", 60), .per_ms = 1000,
                                           .burst = 1 + sized(sim, name, "burst", 10)};
    if (kind > 1)
        limits->concurrency = 1 + (uint32_t)sized(sim, name, "concurrency", 8);
    if (kind == 3 && connector->poll.count == 0 && sized(sim, name, "quota", 3) == 0) /* polls would use it up */
        limits->quota_per_day = 150 + sized(sim, name, "quota_per_day", 300);
    limits->fixed = sized(sim, name, "fixed", 4) == 0;
    *breaker = (struct account_breaker){.after = 2 + sized(sim, name, "after", 5),
                                        .first_ms = 50 + sized(sim, name, "first_ms", 500),
                                        .max_ms = 2000 + sized(sim, name, "max_ms", 20000)};
    account->breaker = breaker;
    if (sized(sim, name, "takes", 3) == 0) {
        takes->gap_us = 1000000 / (5 + sized(sim, name, "takes_rate", 40));
        takes->burst_us = takes->gap_us * (3 + sized(sim, name, "takes_burst", 6));
    }
    connector->account = account;
    observe(sim, "{\"account\":{\"name\":\"%.*s\",\"calls\":%lld,\"per_ms\":%lld,\"burst\":%lld,\"concurrency\":%u,"
                 "\"quota\":%lld,\"after\":%lld}}", STR_FMT(name), (long long)limits->calls,
            (long long)limits->per_ms, (long long)limits->burst, limits->concurrency,
            (long long)limits->quota_per_day, (long long)breaker->after);
}

struct calls *calls_create(struct sim *sim) {
    struct calls *calls = mem_zalloc(sizeof *calls);
    must(calls && sim->connectors.count <= ACCOUNTS_MAX);
    calls->sim = sim;
    for (uint32_t i = 0; i < sim->connectors.count; i++)
        account_declare(calls, i);
    return calls;
}

void calls_destroy(struct calls *calls) { mem_free(calls); }

void calls_life(struct sim *sim) {
    observe(sim, "{\"life\":{\"at_us\":%lld}}", (long long)sim->tick_us);
}

static bool is_ours(const struct sim *sim, const struct net_request *request) {
    for (uint32_t i = 0; i < sim->connectors.count; i++)
        if (request->connector == sim->connectors.items[i])
            return true;
    return false;
}

uint64_t call_began(struct sim *sim, const struct net_request *request) {
    struct str endpoint = url_origin(request->url);
    if (!is_ours(sim, request))
        return 0;
    observe(sim, "{\"call\":{\"id\":%llu,\"account\":\"%.*s\",\"endpoint\":\"%.*s\",\"at_us\":%lld,\"wall_us\":%lld}}",
            (unsigned long long)++sim->calls->last, STR_FMT(request->connector->name), STR_FMT(endpoint),
            (long long)sim->tick_us, (long long)sim->now_us);
    return sim->calls->last;
}

/* What any system's answer says of it, by the statuses that are usual (docs/delivery.md). */
static const char *end_of(const struct net_answer *answer) {
    if (answer->error == NET_CANCELLED)
        return "nothing";
    if (answer->error != NET_OK)
        return "bad";
    switch (answer->status) {
    case 408:
    case 500:
    case 502:
    case 503:
    case 504: return "bad";
    default: return "good";
    }
}

void call_over(struct sim *sim, uint64_t id, const struct net_answer *answer) {
    int64_t pause_ms = answer->status == 429 ? net_answer_retry_after_ms(answer, sim->now_us) : 0;
    if (id == 0)
        return;
    sim->calls->unnoted = true;
    observe(sim, "{\"ended\":{\"id\":%llu,\"at_us\":%lld,\"end\":\"%s\",\"pause_ms\":%lld}}", (unsigned long long)id,
            (long long)sim->tick_us, end_of(answer), (long long)(pause_ms > 0 ? pause_ms : 0));
}

/* Whose turn has come is called at once: the loops of the hub are woken. */
void calls_wake(struct sim *sim) {
    if (!sim->up || sim->dying)
        return;
    auth_net_step(sim->deliver->net);
    auth_net_step(sim->poller->net);
}

/* It takes a bucket of so many calls, that fills evenly. */
bool call_is_too_much(struct sim *sim, const struct net_request *request, int64_t *wait_us) {
    for (uint32_t i = 0; i < sim->connectors.count; i++) {
        struct takes *takes = &sim->calls->takes[i];
        if (request->connector != sim->connectors.items[i] || takes->gap_us == 0)
            continue;
        int64_t full_us = (takes->full_us > sim->tick_us ? takes->full_us : sim->tick_us) + takes->gap_us;
        *wait_us = full_us - sim->tick_us - takes->burst_us;
        if (*wait_us > 0)
            return true;
        takes->full_us = full_us;
    }
    return false;
}

void calls_watch(struct sim *sim) {
    if (!sim->calls->unnoted || accounts_notes_due(sim->accounts))
        return;
    sim->calls->unnoted = false;
    observe_line(sim, STR("{\"noted\":{}}"));
}

bool calls_told(const struct sim *sim) {
    for (uint32_t i = 0; i < sim->accounts->count; i++) {
        const struct endpoint *endpoint = sim->accounts->endpoints[i];
        if (endpoint->dirty || endpoint->told_unknown || endpoint->told_open != endpoint->breaker.open)
            return false;
    }
    return true;
}

void calls_tell(const struct sim *sim, struct buf *out) {
    for (const struct account *a = sim->accounts->accounts; a; a = a->next)
        buf_printf(out, "; %.*s: %u wait, %u out, paused %lld ms, %lld of %lld used, due in %lld ms", STR_FMT(a->name),
                   a->waiting, a->governor.out, (long long)(a->governor.pause_us - sim->tick_us) / 1000,
                   (long long)a->governor.used, (long long)a->governor.limits.quota_per_day,
                   (long long)(a->due_us - sim->tick_us) / 1000);
    for (uint32_t i = 0; i < sim->accounts->count; i++) {
        const struct endpoint *e = sim->accounts->endpoints[i];
        buf_printf(out, "; %.*s: %s%s, probe in %lld ms", STR_FMT(e->origin), e->breaker.open ? "open" : "closed",
                   e->breaker.probing ? ", probing" : "", (long long)(e->breaker.probe_us - sim->tick_us) / 1000);
    }
}
