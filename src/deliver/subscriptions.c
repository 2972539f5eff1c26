/* subscriptions: which there are, while connectors come, change and go: each is made once for its
 * name, and stays until delivery ends.
 *
 * What always holds: a subscription keeps its lanes over every change of its connector, so nothing
 * is read twice or sent twice because of one; an attempt under way ends with the version it began
 * with; one that is not wanted any more rests with its lanes, and goes on where it stood when its
 * name comes back. A changed filter or key holds for what is read from then on. */
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "deliver/conflate.h"
#include "deliver/edit.h"
#include "deliver/subscribers.h"

/* A send that was made by hand has one schedule for all. */
static struct lane_schedule schedule_of(const struct connector_retry *retry, enum retry_class class, int64_t max_ms) {
    const struct connector_schedule all = {.first_ms = retry->first_ms, .factor = retry->factor,
                                           .max_ms = class == RETRY_UNREACHABLE ? 0 : retry->max_ms,
                                           .attempts_max = class < RETRY_THROTTLED ? retry->attempts_max : 0,
                                           .age_max_s = class < RETRY_THROTTLED ? retry->age_max_s : 0};
    const struct connector_schedule *from = retry->of[class] ? retry->of[class] : &all;
    return (struct lane_schedule){
        .first_ms = from->first_ms > 0 ? from->first_ms : 1,
        .max_ms = from->max_ms > 0 ? from->max_ms : max_ms,
        .factor = from->factor > 0 ? from->factor : 1,
        .attempts_max = (uint32_t)from->attempts_max,
        .age_max_us = from->age_max_s * 1000000};
}

static struct lane_policy policy_of(const struct deliver *d, const struct connector_send *send) {
    const struct settings *settings = &d->options.config->settings;
    const struct connector_retry *retry = send->retry;
    uint32_t pause_count;
    const int64_t *pauses = subscription_pauses(send, &pause_count);
    int64_t calls = send->limits->concurrency > 0 ? send->limits->concurrency : 1;
    struct lane_policy policy = {
        .pauses_ms = pauses,
        .pause_count = pause_count,
        .window_max = (uint32_t)settings->deliver_window,
        .listed_max = (uint32_t)settings->deliver_listed_max,
        /* of a batch, what is limited is calls (batch.c): one more set of members may wait */
        .concurrency = (uint32_t)(send->batch ? (calls + 1) * batch_size_max(send) : calls),
        .rate_per_s = send->batch ? 0 : (uint32_t)send->limits->rate_per_s,
        .conflate = send->conflate == SEND_CONFLATE_LATEST,
        .jitter = retry->jitter == JITTER_FULL,
    };
    policy.again[LANE_RETRYABLE] = schedule_of(retry, RETRY_RETRYABLE, 1);
    policy.again[LANE_AMBIGUOUS] = schedule_of(retry, RETRY_AMBIGUOUS, 1);
    policy.again[LANE_THROTTLED] = schedule_of(retry, RETRY_THROTTLED, 1);
    /* until the breaker opens: what comes back then, comes back at once */
    policy.again[LANE_UNREACHABLE] = schedule_of(retry, RETRY_UNREACHABLE,
                                                 pauses ? WEBHOOK_PROBE_MAX_MS : settings->deliver_probe_max_ms);
    return policy;
}

int64_t settle_us(const struct connector_send *send) {
    return (send->lookup ? send->lookup->settle_ms : send->settle_ms) * 1000;
}

struct loading {
    struct subscription *sub;
    enum err err;
};

static bool load_lane(void *ctx, const struct progress_row *row, uint64_t last_seq) {
    struct loading *loading = ctx;
    struct subscription *sub = loading->sub;
    int64_t now_us = clock_tick_us(sub->deliver->options.clock);
    /* what was parked, or has come to the front of a listed lane, goes now */
    bool held = progress_row_held(row);
    loading->err = lanes_load(sub->lanes, row->lane, row->seq, last_seq, row->attempts,
                              held ? 0 : now_us | 1, now_us);
    if (loading->err == OK && row->replay != 0)
        lanes_replayed(sub->lanes, row->lane, row->replay);
    if (loading->err == OK && held) {
        edit_loaded(sub, row);
        attempt_tell_held(sub, row);
    }
    if (loading->err == OK)
        superseded_loaded(sub, row, last_seq);
    return loading->err == OK;
}

static bool over_put(struct subscription *sub, struct subscription_over over) {
    if (sub->over_count == sub->over_cap) {
        uint32_t cap = sub->over_cap ? 2 * sub->over_cap : 64;
        struct subscription_over *more = mem_resize(sub->over, cap * sizeof *more);
        if (more == NULL)
            return false;
        sub->over = more;
        sub->over_cap = cap;
    }
    uint32_t at = sub->over_count++;
    for (; at > 0 && sub->over[at - 1].seq > over.seq; at--)
        sub->over[at] = sub->over[at - 1];
    sub->over[at] = over;
    return true;
}

static bool over_add(void *ctx, uint64_t seq, struct str lane) {
    struct loading *loading = ctx;
    if (!over_put(loading->sub, (struct subscription_over){.seq = seq, .lane = hash64(lane, 0)}))
        loading->err = ERR_NOMEM;
    return loading->err == OK;
}

void subscription_ended(struct subscription *sub, uint64_t seq, struct str lane) {
    struct deliver *d = sub->deliver;
    if (seq > lanes_cursor(sub->lanes))
        progress_over(d->progress, sub->name, lane, seq);
    if (seq > lanes_read_to(sub->lanes) &&
        !over_put(sub, (struct subscription_over){.seq = seq, .lane = hash64(lane, 0), .counted = true}))
        d->failed = true; /* back to what is on disk: that knows it */
}

const struct subscription_over *subscription_over(const struct subscription *sub, uint64_t seq, struct str lane) {
    uint32_t from = 0, to = sub->over_count;
    while (from < to) {
        uint32_t at = from + (to - from) / 2;
        if (sub->over[at].seq < seq)
            from = at + 1;
        else
            to = at;
    }
    for (; from < sub->over_count && sub->over[from].seq == seq; from++)
        if (sub->over[from].lane == hash64(lane, 0))
            return &sub->over[from];
    return NULL;
}

/* What was in memory is taken in again by the lanes that come; what has ended stays counted. */
static void ledger_close(struct subscription *sub) {
    if (sub->lanes == NULL)
        return;
    const struct lane_ledger *now = lanes_ledger(sub->lanes);
    sub->ended.delivered += now->delivered;
    sub->ended.discarded += now->discarded;
    sub->ended.superseded += now->superseded;
    sub->ended.taken += now->delivered + now->discarded + now->superseded;
}

void subscription_ledger(const struct subscription *sub, struct lane_ledger *out) {
    *out = sub->ended;
    if (sub->lanes == NULL)
        return;
    const struct lane_ledger *now = lanes_ledger(sub->lanes);
    out->taken += now->taken;
    out->delivered += now->delivered;
    out->discarded += now->discarded;
    out->superseded += now->superseded;
    out->listed += now->listed;
    out->waiting += now->waiting;
}

enum err subscription_load(struct subscription *sub, struct fault *fault) {
    struct deliver *d = sub->deliver;
    struct str name = sub->name;
    struct progress_cursor cursor;
    enum err err = progress_load(d->progress, name, &cursor, fault);
    if (err != OK)
        return err;
    /* Without progress of its own, what the hub posted before is in its books (postings), and
     * all else is looked up: the file may have been lost. */
    if (!cursor.known)
        cursor.sent_to = tail_last(d->options.tail);
    ledger_close(sub);
    if (cursor.cursor < subscription_after(sub))
        cursor.cursor = subscription_after(sub);
    sub->failing_us = subscriber_failing(sub);
    if (sub->send->webhook != NULL)
        progress_made(d->progress, name);
    sub->part_seq = 0;
    lanes_destroy(sub->lanes);
    ahead_clear(&sub->ahead);
    struct lane_policy policy = policy_of(d, sub->send);
    int64_t settled_us = clock_tick_us(d->options.clock) + settle_us(sub->send);
    sub->lanes = lanes_create(&policy, d->options.rng, cursor.cursor, settled_us);
    if (sub->lanes == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for a subscription's lanes");
    sub->saved = cursor.cursor;
    sub->sent_to = sub->suspect_to = cursor.sent_to;
    struct loading loading = {.sub = sub};
    sub->over_count = 0;
    err = progress_over_visit(d->progress, name, over_add, &loading, fault);
    if (err == OK && loading.err == OK)
        err = progress_lanes(d->progress, name, load_lane, &loading, fault);
    if (err == OK && loading.err != OK)
        err = fault_set(fault, loading.err, "no memory for held deliveries");
    uint64_t rows = 0;
    if (err == OK)
        err = progress_count(d->progress, name, &rows, fault);
    if (err == OK)
        lanes_loaded(sub->lanes, rows);
    return err;
}

bool subscription_goes(const struct subscription *sub) {
    return !sub->retired && sub->stats.usable && !sub->stop.stopped;
}

/* --- following connectors ------------------------------------------------------------------ */

struct subscription *subscription_named(struct deliver *d, struct str name) {
    for (uint32_t i = 0; i < d->count; i++)
        if (str_eq(d->subs[i]->name, name))
            return d->subs[i];
    return NULL;
}

static void usable_tell(const struct connector_send *send) {
    if (send->missing.ptr != NULL && send->enabled)
        log_line(LOG_DEBUG, "deliver", "subscription is not followed: something is not set",
                 "subscription=%.*s missing=%s", STR_FMT(send->subscription),
                 log_quote(send->missing));
}

/* From now on by this version. ERR_NOMEM leaves the subscription as it was. */
static enum err subscription_change(struct subscription *sub, const struct connector_send *send,
                                    struct fault *fault) {
    struct deliver *d = sub->deliver;
    struct str connector = sub->stats.connector;
    if (!str_eq(connector, send->connector->name))
        connector = arena_str(&d->names, send->connector->name);
    if (!connector.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory for a subscription");
    const struct connector *before = sub->send ? sub->send->connector : NULL;
    connector_take(send->connector);
    sub->send = send;
    backlog_forget(&sub->backlog);
    sub->batches.size = (struct batch_size){0};
    sub->stats.connector = connector;
    sub->stats.enabled = send->enabled;
    sub->stats.usable = send->enabled && send->missing.ptr == NULL && send->request != NULL;
    if (sub->lanes != NULL) {
        struct lane_policy policy = policy_of(d, send);
        lanes_policy_set(sub->lanes, &policy);
    }
    connector_release(before);
    subscriber_changed(sub);
    usable_tell(send);
    return OK;
}

/* Room for one more in the list, which others read under the lock. */
static bool list_grow(struct deliver *d) {
    if (d->count < d->cap)
        return true;
    uint32_t cap = d->cap ? 2 * d->cap : 16;
    void *more = mem_resize(d->subs, cap * sizeof(struct subscription *));
    if (more == NULL)
        return false;
    d->subs = more;
    d->cap = cap;
    return true;
}

static enum err subscription_add(struct deliver *d, const struct connector_send *send,
                                 struct subscription **out, struct fault *fault) {
    struct subscription *sub = list_grow(d) ? mem_zalloc(sizeof *sub) : NULL;
    if (sub == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for a subscription");
    sub->deliver = d;
    ahead_init(&sub->ahead, (size_t)d->options.config->settings.deliver_ahead_bytes);
    sub->name = sub->stats.subscription = arena_str(&d->names, send->subscription);
    sub->retired = true; /* until it is followed */
    enum err err = sub->name.ptr ? subscription_change(sub, send, fault)
                                 : fault_set(fault, ERR_NOMEM, "no memory for a subscription");
    if (err != OK) {
        mem_free(sub);
        return err;
    }
    stop_load(sub);
    sub->shown = sub->stats;
    d->subs[d->count++] = sub;
    *out = sub;
    return OK;
}

static enum err send_follow(struct deliver *d, const struct connector_send *send,
                            struct fault *fault) {
    struct subscription *sub = subscription_named(d, send->subscription);
    enum err err = OK;
    if (sub == NULL)
        err = subscription_add(d, send, &sub, fault);
    else if (sub->send != send)
        err = subscription_change(sub, send, fault);
    if (err == OK && sub->stats.usable && sub->lanes == NULL)
        err = subscription_load(sub, fault);
    if (err == OK)
        sub->wanted = true;
    return err;
}

/* Caller has the lock, or is the only thread. */
enum err subscriptions_follow(struct deliver *d, const struct connectors *connectors,
                              struct fault *fault) {
    enum err err = OK;
    for (uint32_t i = 0; i < d->count; i++)
        d->subs[i]->wanted = false;
    for (uint32_t c = 0; err == OK && c < connectors->count; c++) {
        const struct connector *connector = connectors->items[c];
        for (uint32_t i = 0; err == OK && i < connector->send.count; i++)
            err = send_follow(d, list_at(connector->send, struct connector_send, i), fault);
    }
    for (uint32_t i = 0; err == OK && i < d->made_count; i++)
        err = send_follow(d, list_at(d->made[i].connector->send, struct connector_send, 0), fault);
    for (uint32_t i = 0; err == OK && i < d->count; i++) {
        struct subscription *sub = d->subs[i];
        if (!sub->wanted && !sub->retired)
            log_line(LOG_INFO, "deliver", "subscription is not followed any more",
                     "subscription=%.*s cursor=%llu", STR_FMT(sub->name),
                     (unsigned long long)(sub->lanes ? lanes_cursor(sub->lanes) : 0));
        sub->retired = !sub->wanted && !(PLANTED(REMOVED_SENT) && sub->send->webhook);
    }
    return err;
}

static bool mapping_wanted(void *ctx, uint64_t id) { return connectors_have_mapping(ctx, id); }

static enum err set_follow(void *ctx, const struct connectors *set, struct fault *fault) {
    return subscriptions_follow(ctx, set, fault);
}

void subscriptions_renew(struct deliver *d) {
    struct connectors_follower follower = {&d->renewed, &d->options.connectors, &d->lock, set_follow, d, "deliver"};
    if (!d->failed && connectors_follow(&follower))
        mapper_keep(d->mapper, mapping_wanted, (void *)(uintptr_t)d->options.connectors);
}

void subscriptions_free(struct deliver *d) {
    for (uint32_t i = 0; i < d->count; i++) {
        struct subscription *sub = d->subs[i];
        lanes_destroy(sub->lanes);
        mem_free(sub->over);
        ahead_clear(&sub->ahead);
        connector_release(sub->send->connector);
        mem_free(sub);
    }
    mem_free(d->subs);
    arena_free(&d->names);
}
