/* figures: what delivery tells of each subscription in /metrics. */
#include "deliver/deliver_priv.h"

const char *const deliver_states[] = {"unusable", "stopped", "unreachable", "running", NULL};

const char *deliver_state(const struct deliver_stats *stats) {
    return deliver_states[!stats->usable ? 0 : stats->stopped ? 1 : stats->broken ? 2 : 3];
}

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
    metric_add(out, METRIC_DELIVERY_BEHIND, labels, stats->behind);
    metric_add(out, METRIC_DELIVERY_WAITING, labels, stats->waiting);
    metric_add(out, METRIC_DELIVERY_OUT, labels, stats->out);
    metric_add(out, METRIC_DELIVERY_HELD, labels, stats->held);
    metric_add(out, METRIC_DELIVERY_PARKED, labels, stats->parked);
    ledger_figures(&stats->ledger, labels, out);
    metric_add(out, METRIC_DELIVERY_BROKEN, labels, stats->broken);
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
