/* judge_hooks: webhooks of the API, from what those they go to were sent and did, what who made them was told, and
 * the subscriber.* events of the journal: each of those makes a version of a subscription, that holds from its seq
 * on. A call was asked for at a seq: the version that held there says who it may go to, what may be in it, and
 * what it is signed with. An event is read at some time between its own seq and the call: one of the versions that
 * held meanwhile must want it; where all of them do, it must come, and in its place. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "oracle_priv.h"

struct version {
    uint64_t seq;
    bool removed;
    const struct json *data;
};
struct made {
    struct str delivery, name;
    uint64_t after;
    struct list versions;  /* of struct version, ascending */
    struct list starts;    /* of uint64_t: seqs at which it was started, ascending */
    uint64_t started;      /* the newest of them that a call has seen */
    uint64_t failing_seen; /* the version that failed */
    int64_t failing_us;
    bool gone, dead, failing;
    bool unsure; /* the wall clock was set back: since when it has failed may lie in the future */
    uint64_t gone_at;
};
struct hooks_judging {
    struct oracle *o;
    struct index deliveries, numbers; /* of addresses */
    struct list made, number_made;    /* of struct made; of uint32_t */
    struct index bodies, lanes, seen, done, secrets, excused;
    struct list body_hashes, lane_last; /* of struct str; of uint64_t */
    int64_t wall_us;                    /* of the newest answer */
};

static struct made *made_at(struct hooks_judging *j, uint32_t i) { return &LIST_AT(&j->made, struct made, i); }
static struct version *version_at(struct made *made, uint32_t i) {
    return &LIST_AT(&made->versions, struct version, i);
}
static bool known(struct index *index, struct str key) { return index_of(index, key, false) != NONE; }

/* --- observations ------------------------------------------------------------------------------------- */

static struct hook_seen *add(struct oracle *o, int what, const struct json *doc) {
    struct hook_seen *seen = LIST_ADD(&o->hooks, struct hook_seen);
    *seen = (struct hook_seen){what, (uint64_t)member_i64(doc, "seq", 0), doc};
    return seen;
}
#define OBSERVED(name, what)                                                                                           \
    const char *observe_hook_##name(struct oracle *o, const struct json *doc) {                                        \
        add(o, what, doc);                                                                                             \
        return NULL;                                                                                                   \
    }
OBSERVED(call, HOOK_CALL)
OBSERVED(answer, HOOK_ANSWER)
OBSERVED(applied, HOOK_APPLIED)
OBSERVED(said, HOOK_SAID)
OBSERVED(secret, HOOK_SECRET)
OBSERVED(start, HOOK_START)
OBSERVED(life, HOOK_LIFE)
OBSERVED(held, HOOK_HELD)
OBSERVED(ledger, HOOK_LEDGER)
const char *observe_hook_policy(struct oracle *o, const struct json *doc) {
    o->hook_patience_us = member_i64(doc, "patience_us", 0);
    return NULL;
}

/* --- subscriptions, by the journal ----------------------------------------------------------------------- */

/* What stands behind the last slash of its address. */
static struct str number_of(const struct json *data) {
    struct str url = member_str(data, "url");
    const char *at = url.ptr ? memrchr(url.ptr, '/', url.len) : NULL;
    return at ? str_of(at + 1, (size_t)(url.ptr + url.len - at - 1)) : STR_NONE;
}

static void version_add(struct hooks_judging *j, const struct event_seen *event) {
    struct str delivery = member_str(event->data, "delivery"), number = number_of(event->data);
    uint32_t before = j->deliveries.count, at = index_of(&j->deliveries, delivery, true);
    if (at == before)
        *LIST_ADD(&j->made, struct made) = (struct made){
            .delivery = delivery, .name = event->subject, .after = (uint64_t)member_i64(event->data, "after", 0)};
    *LIST_ADD(&made_at(j, at)->versions, struct version) =
        (struct version){event->seq, str_is(event->kind, "subscriber.deleted"), event->data};
    before = j->numbers.count;
    if (index_of(&j->numbers, number, true) == before)
        *LIST_ADD(&j->number_made, uint32_t) = at;
}

static void versions_find(struct hooks_judging *j) {
    for (uint32_t i = 0; i < j->o->events.count; i++) {
        const struct event_seen *event = event_at(j->o, i);
        if (str_starts(event->kind, STR("subscriber.")) && !str_is(event->kind, "subscriber.tested") &&
            member_str(event->data, "url").ptr)
            version_add(j, event);
        uint32_t at = str_is(event->kind, "subscription.started")
                          ? index_of(&j->deliveries, member_str(event->data, "subscription"), false) : NONE;
        if (at != NONE)
            *LIST_ADD(&made_at(j, at)->starts, uint64_t) = event->seq;
        if (str_is(event->kind, "delivery.released") && str_is(member_str(event->data, "action"), "discard"))
            index_of(&j->excused, pair_text(j->o, member_str(event->data, "subscription"),
                                            (uint64_t)member_i64(event->data, "event_seq", 0)), true);
    }
}

/* The newest that held at seq; NONE: there was none yet. */
static uint32_t held_at(struct made *made, uint64_t seq) {
    uint32_t found = NONE;
    for (uint32_t i = 0; i < made->versions.count && version_at(made, i)->seq <= seq; i++)
        found = i;
    return found;
}

static bool key_wanted(const struct json *data, struct str subject) {
    const struct json *keys = member(data, "keys");
    bool any = false;
    for EACH (key, keys) {
        struct str text = key->text;
        any = true;
        if (text.len > 0 && text.ptr[text.len - 1] == '*' ? str_starts(subject, str_of(text.ptr, text.len - 1))
                                                          : str_eq(text, subject))
            return true;
    }
    return !any;
}

static bool version_wants(const struct made *made, const struct version *version, const struct event_seen *event) {
    struct subscription_seen as = {.events = member(version->data, "events")};
    if (event->seq <= made->after)
        return false;
    if (str_is(event->kind, "subscriber.tested"))
        return str_eq(event->subject, made->name);
    return subscription_wants(&as, event->kind) && key_wanted(version->data, event->subject);
}

/* Of those that held from the event's seq on and up to `to`: one wants it; each does. */
static void wanted(struct made *made, const struct event_seen *event, uint32_t to, bool *any, bool *all) {
    uint32_t from = held_at(made, event->seq);
    *any = false;
    *all = true;
    for (uint32_t i = from == NONE ? 0 : from; i <= to; i++) {
        bool wants = version_wants(made, version_at(made, i), event);
        *any = *any || wants;
        *all = *all && wants;
    }
}

/* --- one call ------------------------------------------------------------------------------------------------ */

static bool listed(const struct json *list, struct str text) {
    for EACH (item, list)
        if (str_eq(item->text, text))
            return true;
    return false;
}

static bool is_true(const struct json *object, const char *name) {
    const struct json *value = member(object, name);
    return value && value->kind == JSON_BOOL && value->count;
}

/* hook-signature: signed with each secret that counts at that time, which is told in seconds, and with no other. */
static void judge_signature(struct hooks_judging *j, const struct made *made, const struct version *version,
                            const struct hook_seen *call) {
    const struct json *keys = member(version->data, "secrets"), *signed_by = member(call->doc, "signed");
    int64_t signed_us = member_i64(call->doc, "signed_us", 0), signatures = member_i64(call->doc, "signatures", 0);
    int64_t least = 0, most = 0;
    for EACH (key, keys) {
        struct str id = member_str(key, "id"), text = member_str(key, "until");
        struct instant until = {0};
        bool ends = text.ptr && instant_parse(text, &until);
        bool ended = ends && until.us <= signed_us, counts = !ends || until.us > signed_us + 1000000;
        least += counts;
        most += !ended;
        if (counts && known(&j->secrets, id) && !listed(signed_by, id))
            oracle_violate(j->o, "hook-signature", "%.*s, seq %llu: not signed with %.*s", STR_FMT(made->delivery),
                           (unsigned long long)call->seq, STR_FMT(id));
        if (ended && listed(signed_by, id))
            oracle_violate(j->o, "hook-signature", "%.*s, seq %llu: signed with %.*s, which ended",
                           STR_FMT(made->delivery), (unsigned long long)call->seq, STR_FMT(id));
    }
    for EACH (id, signed_by) {
        bool its = false;
        for EACH (key, keys)
            its = its || str_eq(member_str(key, "id"), id->text);
        if (!its)
            oracle_violate(j->o, "hook-signature", "%.*s, seq %llu: signed with %.*s, which is not its",
                           STR_FMT(made->delivery), (unsigned long long)call->seq, STR_FMT(id->text));
    }
    if (signatures < least || signatures > most)
        oracle_violate(j->o, "hook-signature", "%.*s, seq %llu: %lld signatures, and %lld secrets count",
                       STR_FMT(made->delivery), (unsigned long long)call->seq, (long long)signatures, (long long)most);
}

/* hook-id, hook-bytes: one id for an event, whatever attempt it is; and for an id the same bytes, but where what is
 * personal may be in it or not, or a person has edited it. */
static void judge_body(struct hooks_judging *j, const struct made *made, const struct event_seen *event,
                       const struct hook_seen *call) {
    struct oracle *o = j->o;
    struct str id = member_str(call->doc, "id"), hash = member_str(call->doc, "hash"), own = event->id;
    bool edited = is_true(call->doc, "edited");
    (void)str_cut(&own, '\n'); /* of "SOURCE\nID" */
    if (edited ? !str_starts(id, own) : !str_eq(id, own))
        oracle_violate(o, "hook-id", "%.*s, seq %llu: webhook-id %.*s, and the event is %.*s",
                       STR_FMT(made->delivery), (unsigned long long)call->seq, STR_FMT(id), STR_FMT(own));
    struct str key = arena_printf(&o->arena, "%.*s %.*s %d%d", STR_FMT(made->delivery), STR_FMT(id), edited,
                                  is_true(call->doc, "personal"));
    uint32_t before = j->bodies.count, at = index_of(&j->bodies, key, true);
    if (at == before)
        *LIST_ADD(&j->body_hashes, struct str) = hash;
    else if (!str_eq(LIST_AT(&j->body_hashes, struct str, at), hash))
        oracle_violate(o, "hook-bytes", "%.*s, seq %llu: other bytes under the id %.*s", STR_FMT(made->delivery),
                       (unsigned long long)call->seq, STR_FMT(id));
}

/* hook-order: per key, those it must get are sent for the first time in order of seq. */
static void judge_place(struct hooks_judging *j, const struct made *made, const struct event_seen *event, bool all) {
    struct oracle *o = j->o;
    struct str pair = pair_text(o, made->delivery, event->seq);
    uint32_t before = j->seen.count;
    if (index_of(&j->seen, pair, true) != before)
        return;
    uint32_t lanes = j->lanes.count, at = index_of(&j->lanes, joined(o, made->delivery, event->subject), true);
    if (at == lanes)
        *LIST_ADD(&j->lane_last, uint64_t) = 0;
    uint64_t *last = &LIST_AT(&j->lane_last, uint64_t, at);
    if (*last > event->seq && all && !known(&j->excused, pair))
        oracle_violate(o, "hook-order", "%.*s, %.*s: seq %llu for the first time behind %llu", STR_FMT(made->delivery),
                       STR_FMT(event->subject), (unsigned long long)event->seq, (unsigned long long)*last);
    if (*last < event->seq)
        *last = event->seq;
}

static void anew(struct made *made) { made->gone = made->dead = made->failing = false; }

/* Between being asked to start and doing so it notes nothing. */
static void started_see(struct made *made, uint64_t asked) {
    for (uint32_t i = 0; i < made->starts.count; i++) {
        uint64_t seq = LIST_AT(&made->starts, uint64_t, i);
        if (seq > made->started && seq <= asked) {
            made->started = seq;
            made->unsure = false;
            anew(made);
        }
    }
}

/* hook-gone, hook-dead: it said 410, or has taken nothing for too long: nothing more until a person starts it. */
static void judge_rest(struct hooks_judging *j, struct made *made, const struct version *version,
                       const struct hook_seen *call) {
    if (made->gone)
        oracle_violate(j->o, "hook-gone", "%.*s answered 410, and was sent seq %llu", STR_FMT(made->delivery),
                       (unsigned long long)call->seq);
    if (version->seq != made->failing_seen)
        made->failing = made->dead = made->unsure = false;
    if (made->dead)
        oracle_violate(j->o, "hook-dead", "%.*s took nothing for %lld s, and was sent seq %llu",
                       STR_FMT(made->delivery), (long long)j->o->hook_patience_us / 1000000,
                       (unsigned long long)call->seq);
    made->failing_seen = version->seq;
}

static struct made *made_of(struct hooks_judging *j, const struct hook_seen *seen) {
    uint32_t at = index_of(&j->numbers, member_str(seen->doc, "hook"), false);
    return at == NONE ? NULL : made_at(j, LIST_AT(&j->number_made, uint32_t, at));
}

static void judge_call(struct hooks_judging *j, const struct hook_seen *call) {
    struct oracle *o = j->o;
    struct made *made = made_of(j, call);
    uint64_t asked = (uint64_t)member_i64(call->doc, "asked", 0);
    uint32_t at = made ? held_at(made, asked) : NONE;
    bool any, all;
    if (at == NONE || call->seq == 0 || call->seq > o->events.count) {
        oracle_violate(o, "hook-invented", "address %.*s was sent seq %llu", STR_FMT(member_str(call->doc, "hook")),
                       (unsigned long long)call->seq);
        return;
    }
    const struct version *version = version_at(made, at);
    const struct event_seen *event = event_at(o, (uint32_t)call->seq - 1);
    if (version->removed)
        oracle_violate(o, "hook-removed", "%.*s was removed at %llu, and sent seq %llu at %llu",
                       STR_FMT(made->delivery), (unsigned long long)version->seq, (unsigned long long)call->seq,
                       (unsigned long long)asked);
    if (!str_eq(number_of(version->data), member_str(call->doc, "hook")))
        oracle_violate(o, "hook-address", "%.*s is elsewhere since %llu, and seq %llu was sent to %.*s",
                       STR_FMT(made->delivery), (unsigned long long)version->seq, (unsigned long long)call->seq,
                       STR_FMT(member_str(call->doc, "hook")));
    wanted(made, event, at, &any, &all);
    if (!any)
        oracle_violate(o, "hook-invented", "%.*s does not want seq %llu (%.*s)", STR_FMT(made->delivery),
                       (unsigned long long)call->seq, STR_FMT(event->kind));
    if (is_true(call->doc, "personal") && !is_true(version->data, "personal"))
        oracle_violate(o, "hook-personal", "%.*s did not ask for what is personal, seq %llu", STR_FMT(made->delivery),
                       (unsigned long long)call->seq);
    judge_signature(j, made, version, call);
    judge_body(j, made, event, call);
    judge_place(j, made, event, all);
    started_see(made, asked);
    judge_rest(j, made, version, call);
}

/* --- the rest of them --------------------------------------------------------------------------------------- */

static void answer_came(struct hooks_judging *j, const struct hook_seen *seen) {
    struct made *made = made_of(j, seen);
    int64_t status = member_i64(seen->doc, "status", 0), wall_us = member_i64(seen->doc, "wall_us", 0);
    for (uint32_t i = 0; wall_us < j->wall_us && i < j->made.count; i++)
        made_at(j, i)->unsure = true;
    j->wall_us = wall_us;
    if (!made)
        return;
    made->gone = made->gone || status == 410;
    if (status >= 200 && status < 300) {
        made->failing = made->unsure = false;
        return;
    }
    if (!made->failing)
        made->failing_us = wall_us;
    made->failing = true;
    made->dead = made->dead || (!made->unsure && wall_us - made->failing_us >= j->o->hook_patience_us);
}

/* hook-acknowledged: what somebody was told to be done stands in the journal. */
static void judge_said(struct hooks_judging *j, const struct hook_seen *seen) {
    struct str delivery = member_str(seen->doc, "delivery");
    uint32_t at = index_of(&j->deliveries, delivery, false);
    for (uint32_t i = 0; at != NONE && i < made_at(j, at)->versions.count; i++) {
        const struct version *version = version_at(made_at(j, at), i);
        if (member_i64(version->data, "version", 0) == member_i64(seen->doc, "version", 0) &&
            str_eq(event_at(j->o, (uint32_t)version->seq - 1)->kind, member_str(seen->doc, "what")))
            return;
    }
    oracle_violate(j->o, "hook-acknowledged", "%.*s of %.*s is not in the journal",
                   STR_FMT(member_str(seen->doc, "what")), STR_FMT(delivery));
}

/* conservation: it took in what it wants, no more and no less; where its version was the same all the time. */
static void judge_hook_ledger(struct hooks_judging *j, const struct hook_seen *seen) {
    struct oracle *o = j->o;
    struct str delivery = member_str(seen->doc, "subscription");
    uint32_t at = index_of(&j->deliveries, delivery, false);
    int64_t taken = member_i64(seen->doc, "taken", 0), ended = 0;
    static const char *const parts[] = {"delivered", "discarded", "superseded", "listed", "waiting"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        ended += member_i64(seen->doc, parts[i], 0);
    if (taken != ended)
        oracle_violate(o, "conservation", "%.*s took in %lld, and %lld are somewhere", STR_FMT(delivery),
                       (long long)taken, (long long)ended);
    if (at == NONE || !member(seen->doc, "to"))
        return;
    struct made *made = made_at(j, at);
    uint64_t loaded = (uint64_t)member_i64(seen->doc, "loaded", 0), to = (uint64_t)member_i64(seen->doc, "to", 0);
    uint32_t version = held_at(made, loaded);
    version = version == NONE ? 0 : version;
    if (version + 1 < made->versions.count && version_at(made, version + 1)->seq <= to)
        return; /* it was changed meanwhile */
    int64_t wants = member_i64(seen->doc, "before", 0);
    for (uint64_t seq = (uint64_t)member_i64(seen->doc, "from", 0) + 1; seq <= to && seq <= o->events.count; seq++)
        wants += version_wants(made, version_at(made, version), event_at(o, (uint32_t)seq - 1));
    if (wants + member_i64(seen->doc, "replayed", 0) != taken + member_i64(seen->doc, "again", 0))
        oracle_violate(o, "conservation", "%.*s wants %lld events up to %llu, it took in %lld and knew %lld",
                       STR_FMT(delivery), (long long)wants, (unsigned long long)to, (long long)taken,
                       (long long)member_i64(seen->doc, "again", 0));
}

static void judge_seen(struct hooks_judging *j, const struct hook_seen *seen) {
    struct oracle *o = j->o;
    struct made *made = made_of(j, seen);
    uint32_t at;
    switch (seen->what) {
    case HOOK_CALL: judge_call(j, seen); break;
    case HOOK_ANSWER: answer_came(j, seen); break;
    case HOOK_APPLIED:
        if (made)
            index_of(&j->done, pair_text(o, made->delivery, seen->seq), true);
        break;
    case HOOK_SAID: judge_said(j, seen); break;
    case HOOK_SECRET: index_of(&j->secrets, member_str(seen->doc, "id"), true); break;
    case HOOK_START:
        at = index_of(&j->deliveries, member_str(seen->doc, "delivery"), false);
        if (at != NONE)
            anew(made_at(j, at));
        break;
    case HOOK_LIFE:
        for (uint32_t i = 0; i < j->made.count; i++)
            anew(made_at(j, i));
        break;
    case HOOK_HELD:
        index_of(&j->excused, pair_text(o, member_str(seen->doc, "delivery"), seen->seq), true);
        break;
    case HOOK_LEDGER: judge_hook_ledger(j, seen); break;
    }
}

/* hook-lost: what it wanted all the time it did, or it is held, or was given up. */
static void judge_lost(struct hooks_judging *j, struct made *made) {
    struct oracle *o = j->o;
    uint32_t last = made->versions.count - 1;
    bool any, all;
    if (version_at(made, last)->removed)
        return;
    for (uint32_t i = 0; i < o->events.count; i++) {
        const struct event_seen *event = event_at(o, i);
        struct str pair;
        if (event->seq <= made->after)
            continue;
        wanted(made, event, last, &any, &all);
        if (all && !known(&j->done, pair = pair_text(o, made->delivery, event->seq)) && !known(&j->excused, pair))
            oracle_violate(o, "hook-lost", "%.*s, seq %llu (%.*s)", STR_FMT(made->delivery),
                           (unsigned long long)event->seq, STR_FMT(event->kind));
    }
}

/* hook-stopped: while the journal says that it stands still, nothing is sent. */
static void judge_stopped(struct hooks_judging *j, const struct made *made) {
    struct oracle *o = j->o;
    uint64_t stopped = 0;
    for (uint32_t i = 0; i <= o->events.count; i++) {
        const struct event_seen *event = i < o->events.count ? event_at(o, i) : NULL;
        bool ours = event && str_starts(event->kind, STR("subscription.")) &&
                    str_eq(member_str(event->data, "subscription"), made->delivery);
        if (ours && str_is(event->kind, "subscription.stopped"))
            stopped = event->seq;
        if (stopped == 0 || (event && !(ours && str_is(event->kind, "subscription.started"))))
            continue;
        uint64_t until = event ? event->seq : UINT64_MAX;
        for (uint32_t k = 0; k < o->hooks.count; k++) {
            const struct hook_seen *seen = &LIST_AT(&o->hooks, struct hook_seen, k);
            uint64_t asked = seen->what == HOOK_CALL ? (uint64_t)member_i64(seen->doc, "asked", 0) : 0;
            if (asked >= stopped && asked < until && made_of(j, seen) == made)
                oracle_violate(o, "hook-stopped", "%.*s stands still since %llu, and was sent seq %llu",
                               STR_FMT(made->delivery), (unsigned long long)stopped, (unsigned long long)seen->seq);
        }
        stopped = 0;
    }
}

void judge_hooks(struct oracle *o) {
    struct hooks_judging j = {.o = o};
    struct index *indices[] = {&j.deliveries, &j.numbers, &j.bodies,  &j.lanes,
                               &j.seen,       &j.done,    &j.secrets, &j.excused};
    if (o->hooks.count == 0)
        return;
    versions_find(&j);
    for (uint32_t i = 0; i < o->hooks.count; i++)
        judge_seen(&j, &LIST_AT(&o->hooks, struct hook_seen, i));
    for (uint32_t i = 0; i < j.made.count; i++) {
        if (o->quiet)
            judge_lost(&j, made_at(&j, i));
        judge_stopped(&j, made_at(&j, i));
        free(made_at(&j, i)->versions.items);
        free(made_at(&j, i)->starts.items);
    }
    for (size_t i = 0; i < sizeof indices / sizeof *indices; i++)
        index_free(indices[i]);
    free(j.made.items);
    free(j.number_made.items);
    free(j.body_hashes.items);
    free(j.lane_last.items);
}
