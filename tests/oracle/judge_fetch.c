/* judge_fetch: a system that fetches its events, with leases: each at least once, in order per key, none
 * again that it was answered to have acknowledged. */
#include <stdlib.h>

#include "oracle_priv.h"

struct fetch_judging {
    uint8_t *done, *acked; /* by seq */
};

static bool discarded(struct oracle *o, struct str name, uint64_t seq) {
    for (uint32_t i = 0; i < o->events.count; i++) {
        const struct event_seen *event = event_at(o, i);
        if (str_is(event->kind, "delivery.released") &&
            (uint64_t)member_i64(event->data, "event_seq", 0) == seq &&
            str_eq(member_str(event->data, "subscription"), name))
            return true;
    }
    return false;
}

/* Those of its key before it were done, each. */
static void judge_order(struct oracle *o, struct fetch_judging *j, const struct fetch_seen *fetched) {
    for (uint64_t seq = o->fetcher_after + 1; seq < fetched->seq && seq <= o->events.count; seq++) {
        const struct event_seen *event = event_at(o, (uint32_t)seq - 1);
        if (j->done[seq] || !str_eq(event->subject, fetched->lane) ||
            !subscription_wants(&o->fetcher, event->kind) || discarded(o, o->fetcher.name, seq))
            continue;
        oracle_violate(o, "fetch-order", "seq %llu of %.*s was handed out before seq %llu was done",
                       (unsigned long long)fetched->seq, STR_FMT(fetched->lane), (unsigned long long)seq);
    }
}

void judge_fetches(struct oracle *o) {
    struct fetch_judging j = {.done = calloc(o->events.count + 2, 1), .acked = calloc(o->events.count + 2, 1)};
    must(j.done && j.acked);
    for (uint32_t i = 0; o->fetcher.name.ptr && i < o->fetches.count; i++) {
        const struct fetch_seen *fetch = &LIST_AT(&o->fetches, struct fetch_seen, i);
        if (fetch->seq == 0 || fetch->seq > o->events.count) {
            oracle_violate(o, "fetch-invented", "seq %llu", (unsigned long long)fetch->seq);
            continue;
        }
        if (fetch->what == FETCH_DONE)
            j.done[fetch->seq] = 1;
        if (fetch->what == FETCH_ACKED)
            j.acked[fetch->seq] = 1;
        if (fetch->what != FETCHED)
            continue;
        if (fetch->seq <= o->fetcher_after ||
            !subscription_wants(&o->fetcher, event_at(o, (uint32_t)fetch->seq - 1)->kind))
            oracle_violate(o, "fetch-invented", "seq %llu is not for it", (unsigned long long)fetch->seq);
        if (j.acked[fetch->seq])
            oracle_violate(o, "fetch-again", "seq %llu was acknowledged, and handed out again",
                           (unsigned long long)fetch->seq);
        judge_order(o, &j, fetch);
    }
    for (uint64_t seq = o->fetcher_after + 1; o->quiet && o->fetcher.name.ptr && seq <= o->events.count; seq++)
        if (subscription_wants(&o->fetcher, event_at(o, (uint32_t)seq - 1)->kind) && !j.done[seq] &&
            !discarded(o, o->fetcher.name, seq))
            oracle_violate(o, "fetch-lost", "seq %llu was never done", (unsigned long long)seq);
    free(j.done);
    free(j.acked);
}
