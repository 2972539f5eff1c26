/* judge_accounts: what systems were asked, counted there: the limits of an account, and that one which
 * does not answer is left alone. Breakers are modelled from what each call was answered. */
#include <stdlib.h>

#include "oracle_priv.h"

#define DAY_US (INT64_C(86400) * 1000000)
#define LATE_NS_MAX INT64_C(5000000) /* what an even pace may be ahead by, where timers come late */

/* One endpoint of an account. */
struct endpoint_model {
    uint32_t failures; /* in a row, while closed */
    bool open, kept;   /* kept: it is on disk that it is open */
    uint64_t probe;    /* the call that tries; 0: none is out */
    bool good;         /* how the last call ended */
    uint64_t told;     /* seq of the last event about it; 0: none */
    bool told_open;
};

struct account_model {
    int64_t fill_ns, at_us; /* of the bucket, then */
    uint32_t out;
    int64_t pause_us; /* it asked for none before */
    int64_t day, used;
};

struct accounts_judging {
    struct oracle *o;
    struct account_model *accounts;
    struct endpoint_model *endpoints;
    uint32_t endpoint_count;
    struct index endpoint_names; /* "account\nendpoint" */
    uint32_t *began;             /* by number of a call: where it stands in calls, + 1; 0: it is over */
};

static const struct account_seen *account_seen(const struct oracle *o, const struct call_seen *call) {
    return &LIST_AT(&o->accounts, struct account_seen, call->account);
}

/* account-rate, account-concurrency, account-paused, account-quota. */
static void judge_limits(struct accounts_judging *j, const struct call_seen *call) {
    struct oracle *o = j->o;
    const struct account_seen *says = account_seen(o, call);
    struct account_model *is = &j->accounts[call->account];
    if (says->calls > 0) {
        int64_t gap = says->per_ms * 1000000 / says->calls, passed = (call->at_us - is->at_us) * 1000;
        int64_t late = gap / 8 < LATE_NS_MAX ? gap / 8 : LATE_NS_MAX;
        is->fill_ns = (is->fill_ns > passed ? is->fill_ns - passed : 0) + gap;
        if (is->fill_ns > says->burst * gap + late)
            oracle_violate(o, "account-rate", "%.*s takes %lld calls in %lld ms and %lld at once; at %lld us there "
                           "were %lld thousandths of a call more", STR_FMT(says->name), (long long)says->calls,
                           (long long)says->per_ms, (long long)says->burst, (long long)call->at_us,
                           (long long)((is->fill_ns - says->burst * gap) * 1000 / gap));
    }
    is->at_us = call->at_us;
    if (++is->out > says->concurrency && says->concurrency > 0)
        oracle_violate(o, "account-concurrency", "%.*s takes %u calls at once; at %lld us there were %u",
                       STR_FMT(says->name), says->concurrency, (long long)call->at_us, is->out);
    if (call->at_us < is->pause_us)
        oracle_violate(o, "account-paused", "%.*s asked for a pause of %lld us more; it was called at %lld us",
                       STR_FMT(says->name), (long long)(is->pause_us - call->at_us), (long long)call->at_us);
    int64_t day = call->wall_us / DAY_US;
    is->used = day == is->day ? is->used + 1 : 1;
    is->day = day;
    if (says->quota > 0 && is->used > says->quota && !o->clock_set_back)
        oracle_violate(o, "account-quota", "%.*s takes %lld calls a day; this was %lld.", STR_FMT(says->name),
                       (long long)says->quota, (long long)is->used);
}

static struct endpoint_model *endpoint_of(struct accounts_judging *j, const struct call_seen *call) {
    struct str name = joined(j->o, account_seen(j->o, call)->name, call->endpoint);
    return &j->endpoints[index_of(&j->endpoint_names, name, true)];
}

/* probe-alone: while it is open, one call at a time, and that is the probe. */
static void call_began(struct accounts_judging *j, const struct call_seen *call, uint32_t at) {
    struct endpoint_model *is = endpoint_of(j, call);
    j->began[call->id] = at + 1;
    judge_limits(j, call);
    if (!is->open)
        return;
    if (is->probe)
        oracle_violate(j->o, "probe-alone", "%.*s does not answer; call %llu at %lld us went beside call %llu",
                       STR_FMT(call->endpoint), (unsigned long long)call->id, (long long)call->at_us,
                       (unsigned long long)is->probe);
    is->probe = call->id;
}

static void call_ended(struct accounts_judging *j, const struct call_seen *end) {
    if (j->began[end->id] == 0)
        return;
    const struct call_seen *call = &LIST_AT(&j->o->calls, struct call_seen, j->began[end->id] - 1);
    const struct account_seen *says = account_seen(j->o, call);
    struct account_model *account = &j->accounts[call->account];
    struct endpoint_model *is = endpoint_of(j, call);
    j->began[end->id] = 0;
    account->out--;
    if (end->pause_ms > 0 && end->at_us + end->pause_ms * 1000 > account->pause_us)
        account->pause_us = end->at_us + end->pause_ms * 1000;
    if (is->probe == end->id)
        is->probe = 0;
    if (end->end == CALL_GOOD) {
        is->failures = 0;
        is->open = is->kept = false; /* what the disk says by now is not known */
        is->probe = 0;
        is->good = true;
    } else if (end->end == CALL_BAD) {
        is->good = false;
        is->failures += !is->open;
        is->open = is->open || is->failures >= says->after;
    }
}

/* Another life of the hub: what was under way is gone, what is on disk is not. What the life before called
 * counts on the other side all the same: a life may begin with one call, not with a burst. */
static void life_began(struct accounts_judging *j) {
    for (uint32_t i = 0; i < j->o->accounts.count; i++) {
        const struct account_seen *says = &LIST_AT(&j->o->accounts, struct account_seen, i);
        struct account_model *account = &j->accounts[i];
        int64_t gap = says->calls > 0 ? says->per_ms * 1000000 / says->calls : 0;
        *account = (struct account_model){.fill_ns = account->fill_ns > gap ? account->fill_ns - gap : 0,
                                          .at_us = account->at_us, .day = account->day, .used = account->used};
    }
    for (uint32_t i = 0; i < j->endpoint_names.count; i++) {
        struct endpoint_model *is = &j->endpoints[i];
        is->open = is->open && is->kept;
        is->probe = 0;
        is->failures = 0;
    }
    for (uint64_t i = 0; i <= j->o->call_last; i++)
        j->began[i] = 0;
}

static void noted(struct accounts_judging *j) {
    for (uint32_t i = 0; i < j->endpoint_names.count; i++)
        j->endpoints[i].kept = j->endpoints[i].open;
}

/* breaker-told: opened and closed take turns in the journal, and at rest what answered last is closed. */
static void judge_told(struct accounts_judging *j) {
    struct oracle *o = j->o;
    for (uint32_t i = 0; i < o->events.count; i++) {
        const struct event_seen *event = event_at(o, i);
        bool opened = str_is(event->kind, "endpoint.opened");
        if (!opened && !str_is(event->kind, "endpoint.closed"))
            continue;
        struct str endpoint = member_str(event->data, "endpoint");
        if (index_of(&o->accounts_by_name, member_str(event->data, "connector"), false) == NONE)
            continue; /* a webhook's: its calls are not counted */
        uint32_t at = index_of(&j->endpoint_names, joined(o, member_str(event->data, "connector"), endpoint), false);
        if (at == NONE) {
            oracle_violate(o, "breaker-told", "%.*s was never called, and seq %llu is about it", STR_FMT(endpoint),
                           (unsigned long long)event->seq);
            continue;
        }
        struct endpoint_model *is = &j->endpoints[at];
        if (is->told ? is->told_open == opened : !opened)
            oracle_violate(o, "breaker-told", "%.*s %s twice, at seq %llu and %llu", STR_FMT(endpoint),
                           opened ? "opened" : "closed", (unsigned long long)is->told,
                           (unsigned long long)event->seq);
        is->told = event->seq;
        is->told_open = opened;
    }
    for (uint32_t i = 0; o->quiet && i < j->endpoint_names.count; i++)
        if (j->endpoints[i].good && j->endpoints[i].told_open)
            oracle_violate(o, "breaker-told", "%.*s answers, and is told to be open since seq %llu",
                           STR_FMT(j->endpoint_names.keys[i]), (unsigned long long)j->endpoints[i].told);
}

void judge_accounts(struct oracle *o) {
    struct accounts_judging j = {.o = o};
    if (o->calls.count == 0)
        return;
    j.accounts = calloc(o->accounts.count + 1, sizeof *j.accounts);
    j.endpoints = calloc(o->calls.count + 1, sizeof *j.endpoints);
    j.began = calloc(o->call_last + 1, sizeof *j.began);
    must(j.accounts && j.endpoints && j.began);
    for (uint32_t i = 0; i < o->calls.count; i++) {
        const struct call_seen *call = &LIST_AT(&o->calls, struct call_seen, i);
        switch (call->what) {
        case CALL_BEGAN: call_began(&j, call, i); break;
        case CALL_ENDED: call_ended(&j, call); break;
        case CALL_LIFE: life_began(&j); break;
        case CALL_NOTED: noted(&j); break;
        }
    }
    judge_told(&j);
    free(j.accounts);
    free(j.endpoints);
    free(j.began);
    index_free(&j.endpoint_names);
}
