/* judge_stops: subscriptions that stop themselves when a share of their deliveries is held. */
#include <stdlib.h>

#include "oracle_priv.h"

/* A person had it sent again: the hub counts that neither way. */
static bool was_retried(const struct oracle *o, const struct stop_seen *stop) {
    for (uint32_t i = 0; i < o->decided.count; i++) {
        const struct decided_seen *decided = &LIST_AT(&o->decided, struct decided_seen, i);
        if (decided->subscription == stop->subscription && decided->seq == stop->seq)
            return true;
    }
    return false;
}

/* stopped-late: counts those that were refused for the first time, in a row. */
static void judge_late(struct oracle *o, uint32_t which) {
    struct index refused = {0};
    uint64_t at_most = 0, count = 0;
    for (uint32_t i = 0; i < o->stops.count; i++) {
        const struct stop_seen *stop = &LIST_AT(&o->stops, struct stop_seen, i);
        if (stop->what == STOP_LIFE)
            count = 0;
        if (stop->subscription != which)
            continue;
        if (stop->what != STOP_REFUSED) {
            count = 0;
            at_most = stop->what == STOP_BAD ? stop->at_most : stop->what == STOP_WELL ? 0 : at_most;
            continue;
        }
        struct str seq = arena_printf(&o->arena, "%llu", (unsigned long long)stop->seq);
        uint32_t before = refused.count;
        if (at_most == 0 || stop->replay || index_of(&refused, seq, true) != before || was_retried(o, stop))
            continue;
        if (++count == at_most + 1)
            oracle_violate(o, "stopped-late", "%.*s went on after %llu refused deliveries in a row",
                           STR_FMT(LIST_AT(&o->subscriptions, struct subscription_seen, which).name),
                           (unsigned long long)at_most);
    }
    index_free(&refused);
}

/* stopped-sent: what was asked for while the journal said that it stands still. */
static void judge_still(struct oracle *o, uint32_t which) {
    const struct subscription_seen *sub = &LIST_AT(&o->subscriptions, struct subscription_seen, which);
    uint64_t stopped = 0;
    for (uint32_t i = 0; i <= o->events.count; i++) {
        const struct event_seen *event = i < o->events.count ? event_at(o, i) : NULL;
        bool ours = event && str_eq(member_str(event->data, "subscription"), sub->name);
        if (ours && str_is(event->kind, "subscription.stopped"))
            stopped = event->seq;
        if (stopped == 0 || (event && !(ours && str_is(event->kind, "subscription.started"))))
            continue;
        uint64_t until = event ? event->seq : UINT64_MAX, count = 0;
        for (uint32_t k = 0; k < o->effects.count; k++) {
            const struct effect *effect = &LIST_AT(&o->effects, struct effect, k);
            count += effect->subscription == which && effect->asked >= stopped && effect->asked < until;
        }
        if (count > sub->at_once)
            oracle_violate(o, "stopped-sent", "%.*s stands still since seq %llu, and did %llu things more",
                           STR_FMT(sub->name), (unsigned long long)stopped, (unsigned long long)count);
        stopped = 0;
    }
}

void judge_stops(struct oracle *o) {
    for (uint32_t i = 0; i < o->subscriptions.count; i++) {
        judge_late(o, i);
        if (LIST_AT(&o->subscriptions, struct subscription_seen, i).at_once > 0)
            judge_still(o, i);
    }
}
