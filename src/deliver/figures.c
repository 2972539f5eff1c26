/* figures: what is seen of each subscription, by people and in /metrics. What changes with every delivery is
 * shown each round; what takes reading, once a second. Owns nothing. */
#include "deliver/deliver_priv.h"
#include "deliver/subscribers.h"

const char *const deliver_states[] = {"unusable", "stopped", "unreachable", "running", NULL};

const char *deliver_state(const struct deliver_stats *stats) {
    return deliver_states[!stats->usable ? 0 : stats->stopped ? 1 : stats->broken ? 2 : 3];
}

/* --- showing, on the loop ---------------------------------------------------------------------- */

static bool time_note(void *ctx, const struct record *record) {
    *(int64_t *)ctx = record->time_us;
    return false;
}

static bool wanted(void *ctx, const struct record *record) {
    const struct subscription *sub = ctx;
    return sub->send->availability ? str_starts(record->type, STR("stock.")) : subscription_takes(sub, record);
}

static struct drain_at drain_at(const struct subscription *sub, const struct deliver_stats *stats) {
    const struct lane_ledger *ledger = &stats->ledger;
    return (struct drain_at){stats->cursor, stats->last,
                             ledger->delivered + ledger->discarded + ledger->superseded + ledger->listed,
                             stats->behind_events, sub->backlog.wanted_m};
}

/* A few records are read, however far behind it is. */
static void behind_show(struct subscription *sub) {
    struct deliver *d = sub->deliver;
    struct deliver_stats *stats = &sub->stats;
    struct fault fault = {0};
    uint64_t next;
    stats->behind_known = sub->lanes != NULL;
    if (!stats->behind_known || stats->behind == 0)
        stats->oldest_us = 0;
    if (!stats->behind_known)
        return;
    /* in an archive that is not unpacked: as it was told before */
    if (stats->behind > 0 && tail_near(d->options.tail, stats->cursor + 1, false) &&
        tail_read(d->options.tail, stats->cursor + 1, 1, time_note, &stats->oldest_us, &next, &fault) != OK)
        stats->oldest_us = 0;
    backlog_look(&sub->backlog, d->options.tail, lanes_read_to(sub->lanes), stats->last, wanted, sub);
    stats->behind_estimated = sub->backlog.estimated;
    stats->behind_events = stats->waiting + sub->backlog.events;
    stats->behind_bytes = backlog_bytes(&sub->backlog, stats->waiting) + sub->backlog.bytes;
}

static void lanes_show(struct subscription *sub) {
    struct deliver_stats *stats = &sub->stats;
    struct lane_counts counts = lanes_counts(sub->lanes);
    stats->cursor = lanes_cursor(sub->lanes);
    stats->waiting = counts.window;
    stats->out = sub->out;
    stats->held = counts.held;
    stats->parked = counts.parked;
    subscription_ledger(sub, &stats->ledger);
    stats->batch_members =
        sub->send->batch && !sub->send->bare ? batch_size_now(&sub->batches.size, batch_size_max(sub->send)) : 0;
    stats->broken = reach_broken(sub);
    lanes_broken_set(sub->lanes, stats->broken);
}

static void second_show(struct subscription *sub, int64_t now_us) {
    struct deliver_stats *stats = &sub->stats;
    int64_t span_us = now_us - sub->rate_tick_us;
    if (span_us < 1000000)
        return;
    uint64_t n = stats->delivered - sub->rate_delivered;
    stats->rate_per_s = (uint32_t)(n * 1000000 / (uint64_t)span_us);
    sub->rate_tick_us = now_us;
    sub->rate_delivered = stats->delivered;
    if (!sub->retired)
        behind_show(sub);
    struct drain_at at = drain_at(sub, stats);
    drain_look(&sub->drain, now_us, &at);
}

void figures_show(struct deliver *d, int64_t now_us) {
    uint64_t last = tail_last(d->options.tail);
    pthread_mutex_lock(&d->lock);
    for (uint32_t i = 0; i < d->count; i++) {
        struct subscription *sub = d->subs[i];
        struct deliver_stats *stats = &sub->stats;
        stats->last = last;
        if (sub->lanes != NULL)
            lanes_show(sub);
        stats->behind = last > stats->cursor ? last - stats->cursor : 0;
        if (stats->behind == 0) { /* without waiting for the second to be over */
            stats->oldest_us = 0;
            stats->behind_events = stats->behind_bytes = 0;
            stats->behind_estimated = false;
        }
        stats->stopped = sub->stop.stopped;
        if (stats->stopped)
            stats->stop = sub->stop.as;
        second_show(sub, now_us);
        sub->shown = *stats;
    }
    pthread_mutex_unlock(&d->lock);
}

/* --- seeing, any thread ------------------------------------------------------------------------ */

uint32_t deliver_count(struct deliver *d) {
    pthread_mutex_lock(&d->lock);
    uint32_t count = d->count;
    pthread_mutex_unlock(&d->lock);
    return count;
}

/* As of now, not of the last round: a loop to which nothing happens makes none. Under the lock. */
static void stats_see(struct deliver *d, const struct subscription *sub, struct deliver_stats *out) {
    int64_t tick_us = clock_tick_us(d->options.clock), now_us = clock_now_us(d->options.clock);
    struct drain drain = sub->drain;
    *out = sub->shown;
    struct drain_at at = drain_at(sub, out);
    drain_look(&drain, tick_us, &at);
    int64_t left_us = drain_left_us(&drain), passed_us = tick_us - drain.at_us;
    out->drain_per_s = (uint32_t)drain_rate(&drain);
    out->drain_events_per_s = (uint32_t)drain_events_rate(&drain);
    if (out->behind == 0)
        left_us = 0;
    else if (!out->usable || out->stopped)
        left_us = -1;
    else if (left_us >= 0) /* or it was done a moment ago */
        left_us = left_us > passed_us ? left_us - passed_us : 1;
    out->done_in_us = left_us;
    out->done_us = out->done_in_us > 0 ? now_us + out->done_in_us : 0;
    out->oldest_age_us = out->oldest_us > 0 && now_us > out->oldest_us ? now_us - out->oldest_us : 0;
    if (tick_us - sub->rate_tick_us >= 2000000)
        out->rate_per_s = 0;
}

bool deliver_stats(struct deliver *d, uint32_t i, struct deliver_stats *out) {
    pthread_mutex_lock(&d->lock);
    must(i < d->count);
    stats_see(d, d->subs[i], out);
    bool present = !d->subs[i]->retired;
    pthread_mutex_unlock(&d->lock);
    return present;
}

/* --- /metrics ---------------------------------------------------------------------------------- */

static void histogram_figure(const struct histogram *histogram, enum metric row,
                             const struct str *labels, struct metrics *out) {
    struct histogram_sum sum = {0};
    histogram_read(histogram, &sum);
    metric_histogram(out, row, labels, &sum);
}

/* Conservation: what was taken in has ended or is still open, at any moment. */
static void ledger_figures(const struct lane_ledger *ledger, const struct str *labels,
                           struct metrics *out) {
    const struct {
        enum metric row;
        const char *state;
        uint64_t count;
    } parts[] = {{METRIC_DELIVERY_ENDED, "delivered", ledger->delivered},
                 {METRIC_DELIVERY_ENDED, "discarded", ledger->discarded},
                 {METRIC_DELIVERY_ENDED, "superseded", ledger->superseded},
                 {METRIC_DELIVERY_OPEN, "listed", ledger->listed},
                 {METRIC_DELIVERY_OPEN, "waiting", ledger->waiting}};
    uint64_t sum = 0;
    metric_add(out, METRIC_DELIVERY_TAKEN, labels, ledger->taken);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        metric_add(out, parts[i].row, METRIC_LABELS(labels[0], labels[1], str_c(parts[i].state)),
                   parts[i].count);
        sum += parts[i].count;
    }
    metric_add(out, METRIC_DELIVERY_UNACCOUNTED, labels,
               ledger->taken > sum ? ledger->taken - sum : sum - ledger->taken);
}

/* How far behind: in events, bytes, seconds; how fast it drains, and when it is done. */
static void behind_figures(const struct deliver_stats *stats, const struct str *labels, struct metrics *out) {
    metric_add(out, METRIC_DELIVERY_BEHIND, labels, stats->behind);
    if (stats->behind_known) {
        metric_add(out, METRIC_DELIVERY_BEHIND_WANTED, labels, stats->behind_events);
        metric_add(out, METRIC_DELIVERY_BEHIND_BYTES, labels, stats->behind_bytes);
    }
    metric_add(out, METRIC_DELIVERY_OLDEST, labels, (uint64_t)stats->oldest_age_us);
    metric_add(out, METRIC_DELIVERY_DRAIN, labels, stats->drain_events_per_s);
    if (stats->done_in_us >= 0)
        metric_add(out, METRIC_DELIVERY_DONE, labels, (uint64_t)stats->done_in_us);
}

static void subscription_figures(const struct subscription *sub, const struct deliver_stats *stats,
                                 struct metrics *out) {
    const struct str labels[] = {stats->connector, stats->subscription};
    for (int i = 0; i < LANE_OUTCOMES; i++)
        metric_add(out, METRIC_DELIVERIES,
                   METRIC_LABELS(labels[0], labels[1], str_c(lane_outcome_name(i))),
                   counter_read(&sub->outcomes[i]));
    histogram_figure(&sub->call_us, METRIC_DELIVERY_CALL_SECONDS, labels, out);
    histogram_figure(&sub->event_us, METRIC_DELIVERY_SECONDS, labels, out);
    metric_add(out, METRIC_DELIVERY_SUPPRESSED, labels, stats->suppressed);
    metric_add(out, METRIC_DELIVERY_LOOKUPS, labels, stats->looked_up);
    metric_add(out, METRIC_DELIVERY_FOUND, labels, stats->found);
    behind_figures(stats, labels, out);
    metric_add(out, METRIC_DELIVERY_WAITING, labels, stats->waiting);
    metric_add(out, METRIC_DELIVERY_OUT, labels, stats->out);
    metric_add(out, METRIC_DELIVERY_HELD, labels, stats->held);
    metric_add(out, METRIC_DELIVERY_PARKED, labels, stats->parked);
    ledger_figures(&stats->ledger, labels, out);
    metric_add(out, METRIC_DELIVERY_BROKEN, labels, stats->broken);
    if (stats->batch_members > 0)
        metric_add(out, METRIC_DELIVERY_BATCH_SIZE, labels, stats->batch_members);
    metric_add(out, METRIC_DELIVERY_STOPPED, labels, stats->stopped);
    metric_add(out, METRIC_DELIVERY_USABLE, labels, stats->usable);
}

void deliver_figures(struct deliver *d, struct metrics *out) {
    uint32_t count = deliver_count(d);
    for (uint32_t i = 0; i < count; i++) {
        struct deliver_stats stats;
        if (!deliver_stats(d, i, &stats))
            continue;
        pthread_mutex_lock(&d->lock); /* the list may grow; what it names stays */
        const struct subscription *sub = d->subs[i];
        pthread_mutex_unlock(&d->lock);
        subscription_figures(sub, &stats, out);
        replay_figures(d, sub, (const struct str[]){stats.connector, stats.subscription}, out);
    }
}
