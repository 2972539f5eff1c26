/* judge_deliveries: the rules about how deliveries are counted, apart from what became of each. */
#include <stdlib.h>

#include "oracle_priv.h"

/* conservation: nothing that came in is nowhere. */
static void judge_ledger(struct oracle *o, const struct ledger_seen *ledger) {
    const struct subscription_seen *sub =
        &LIST_AT(&o->subscriptions, struct subscription_seen, ledger->subscription);
    uint64_t ended = ledger->delivered + ledger->discarded + ledger->superseded;
    if (ledger->taken != ended + ledger->listed + ledger->waiting)
        oracle_violate(o, "conservation",
                       "%.*s took in %llu: %llu delivered, %llu discarded, %llu superseded, %llu "
                       "listed, %llu waiting",
                       STR_FMT(sub->name), (unsigned long long)ledger->taken,
                       (unsigned long long)ledger->delivered, (unsigned long long)ledger->discarded,
                       (unsigned long long)ledger->superseded, (unsigned long long)ledger->listed,
                       (unsigned long long)ledger->waiting);
    if (!ledger->ranged)
        return;
    uint64_t wanted = ledger->before;
    for (uint64_t seq = ledger->from + 1; seq <= ledger->to && seq <= o->events.count; seq++)
        wanted += subscription_wants(sub, event_at(o, (uint32_t)seq - 1)->kind);
    if (wanted + ledger->replayed != ledger->taken + ledger->again)
        oracle_violate(o, "conservation",
                       "%.*s wants %llu events (with %llu listed before) behind %llu and up to "
                       "%llu, it took in %llu and knew %llu",
                       STR_FMT(sub->name), (unsigned long long)wanted,
                       (unsigned long long)ledger->before, (unsigned long long)ledger->from,
                       (unsigned long long)ledger->to, (unsigned long long)ledger->taken,
                       (unsigned long long)ledger->again);
}

/* Whether a person had it retried before `asked`, and nobody had been answered that it is given up: a
 * crash undid that, and the journal may not have heard of the retry. */
static bool undone(const struct oracle *o, const struct effect *effect, uint64_t given_up) {
    for (uint32_t i = 0; i < o->decided.count; i++) {
        const struct decided_seen *decided = &LIST_AT(&o->decided, struct decided_seen, i);
        if (decided->subscription != effect->subscription || decided->seq != effect->seq)
            continue;
        if (decided->discard)
            return false;
        if (decided->at >= given_up && decided->at <= effect->asked)
            return true;
    }
    return false;
}

/* discarded-sent: the journal says that it was given up, and then it was sent all the same. */
void judge_discards(struct oracle *o) {
    struct index pairs = {0};
    struct list when = {0}; /* of uint64_t: seq of the discard, by pair */
    for (uint32_t i = 0; i < o->events.count; i++) {
        const struct event_seen *event = event_at(o, i);
        bool released = str_is(event->kind, "delivery.released"),
             held = str_is(event->kind, "delivery.held");
        if (!released && !held)
            continue;
        bool discard = released && str_is(member_str(event->data, "action"), "discard");
        uint32_t before = pairs.count,
                 at = index_of(&pairs,
                               pair_text(o, member_str(event->data, "subscription"),
                                         (uint64_t)member_i64(event->data, "event_seq", 0)),
                               true);
        if (at == before)
            LIST_ADD(&when, uint64_t);
        /* held or released again: a crash undid the discard, and it was said */
        LIST_AT(&when, uint64_t, at) = discard ? event->seq : UINT64_MAX;
    }
    for (uint32_t i = 0; i < o->effects.count; i++) {
        const struct effect *effect = &LIST_AT(&o->effects, struct effect, i);
        struct str name = o->subscriptions_by_name.keys[effect->subscription];
        uint32_t at = index_of(&pairs, pair_text(o, name, effect->seq), false);
        if (at != NONE && !effect->replay && effect->asked >= LIST_AT(&when, uint64_t, at) &&
            !undone(o, effect, LIST_AT(&when, uint64_t, at)))
            oracle_violate(o, "discarded-sent", "%.*s, seq %llu: discarded at %llu, sent at %llu",
                           STR_FMT(name), (unsigned long long)effect->seq,
                           (unsigned long long)LIST_AT(&when, uint64_t, at),
                           (unsigned long long)effect->asked);
    }
    index_free(&pairs);
    free(when.items);
}

void judge_ledgers(struct oracle *o) {
    for (uint32_t i = 0; i < o->ledgers.count; i++)
        judge_ledger(o, &LIST_AT(&o->ledgers, struct ledger_seen, i));
}

/* value-back, value-stale: where the newest value alone counts. */
void judge_values(struct oracle *o) {
    struct index lanes = {0};
    struct list last = {0}; /* of struct value_set, by lane */
    for (uint32_t i = 0; i < o->sets.count; i++) {
        const struct value_set *set = &LIST_AT(&o->sets, struct value_set, i);
        struct str name = o->subscriptions_by_name.keys[set->subscription];
        uint32_t before = lanes.count, at = index_of(&lanes, joined(o, name, set->lane), true);
        if (at == before)
            *LIST_ADD(&last, struct value_set) = *set;
        struct value_set *known = &LIST_AT(&last, struct value_set, at);
        if (set->version < known->version)
            oracle_violate(o, "value-back", "%.*s: %.*s was at version %lld, then told %lld",
                           STR_FMT(name), STR_FMT(set->lane), (long long)known->version,
                           (long long)set->version);
        *known = *set;
    }
    for (uint32_t k = 0; o->quiet && o->sets.count > 0 && k < o->positions.count; k++) {
        const struct position_seen *position = &LIST_AT(&o->positions, struct position_seen, k);
        const struct value_set *first = &LIST_AT(&o->sets, struct value_set, 0);
        struct str name = o->subscriptions_by_name.keys[first->subscription];
        struct str lane = arena_printf(&o->arena, "%.*s@%.*s", STR_FMT(position->sku),
                                       STR_FMT(position->location));
        uint32_t at = index_of(&lanes, joined(o, name, lane), false);
        if (at == NONE || LIST_AT(&last, struct value_set, at).available != position->values.available)
            oracle_violate(o, "value-stale", "%.*s: %.*s is %.*s, it was told %.*s", STR_FMT(name),
                           STR_FMT(lane), STR_FMT(quantity_text(o, position->values.available)),
                           STR_FMT(at == NONE ? STR("nothing")
                                              : quantity_text(o, LIST_AT(&last, struct value_set, at)
                                                                     .available)));
    }
    index_free(&lanes);
    free(last.items);
}
