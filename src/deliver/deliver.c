/* deliver: see deliver.h. This file owns subscriptions: reading ahead, what may go, progress.
 *
 * Order of durable things: sent_to is on disk before anything up to it is sent; what the remote
 * did is in the journal before the cursor passes it; a listed row is on disk in the same
 * transaction as the cursor that passes it. A crash at any point leaves only events beyond the
 * cursor and up to sent_to in doubt, and those are looked up. */
#include "deliver/deliver.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "deliver/batch.h"
#include "deliver/conflate.h"
#include "deliver/pull.h"
#include "deliver/subscribers.h"
#include "domain/postings.h"

#define READ_RECORDS 512     /* of the journal, at once */
#define UNREAD_US INT64_C(1000000)   /* until what could not be read is tried again */
#define READS_OF_STEP 4      /* of one subscription: one that is far behind and wants little of it must
                                not keep the others waiting */
#define SENT_AHEAD 2000      /* seqs by which sent_to is ahead of what is sent, at least */
#define FLUSH_DELIVERIES 5000

/* --- waking ------------------------------------------------------------------------------ */

/* Under the lock: the writer may call while another thread begins to listen. */
void deliver_wake(struct deliver *d) {
    pthread_mutex_lock(&d->answers_lock);
    if (d->wake != NULL)
        d->wake(d->wake_ctx);
    pthread_mutex_unlock(&d->answers_lock);
}

void deliver_wake_set(struct deliver *d, void (*wake)(void *ctx), void *ctx) {
    pthread_mutex_lock(&d->answers_lock);
    d->wake_ctx = ctx;
    d->wake = wake;
    pthread_mutex_unlock(&d->answers_lock);
}

static void published(struct tail_follower *follower) {
    deliver_wake((struct deliver *)((char *)follower - offsetof(struct deliver, follower)));
}

static void answers_came(struct command_origin *origin, struct command *first) {
    struct deliver *d = (struct deliver *)((char *)origin - offsetof(struct deliver, origin));
    struct command *last = first;
    while (last->next != NULL)
        last = last->next;
    pthread_mutex_lock(&d->answers_lock);
    if (d->answers_last != NULL)
        d->answers_last->next = first;
    else
        d->answers = first;
    d->answers_last = last;
    pthread_mutex_unlock(&d->answers_lock);
    deliver_wake(d);
}

static void answers_drain(struct deliver *d) {
    pthread_mutex_lock(&d->answers_lock);
    struct command *command = d->answers;
    d->answers = d->answers_last = NULL;
    pthread_mutex_unlock(&d->answers_lock);
    while (command != NULL) {
        struct command *next = command->next;
        attempt_answered(command->origin_ctx);
        command = next;
    }
}

/* --- progress ------------------------------------------------------------------------------ */

bool deliver_flush_locked(struct deliver *d) {
    struct fault fault = {0};
    if (d->failed)
        return false;
    for (uint32_t i = 0; i < d->count; i++) {
        struct subscription *sub = d->subs[i];
        if (sub->lanes == NULL || lanes_cursor(sub->lanes) == sub->saved)
            continue;
        progress_set(d->progress, sub->name, lanes_cursor(sub->lanes), sub->sent_to);
    }
    replays_save(d);
    if (progress_flush(d->progress, &fault) != OK) {
        log_line(LOG_ERROR, "deliver", "progress can not be written, delivery stands still",
                 "error=%s", log_quote(str_c(fault.detail)));
        d->failed = true;
        d->reload_us = clock_tick_us(d->options.clock) + DELIVER_RELOAD_MS * 1000;
        return false;
    }
    for (uint32_t i = 0; i < d->count; i++)
        if (d->subs[i]->lanes != NULL)
            d->subs[i]->saved = lanes_cursor(d->subs[i]->lanes);
    d->flushed_us = clock_tick_us(d->options.clock);
    d->unflushed = 0;
    return true;
}

enum err deliver_forget(struct deliver *d, const uint64_t *seqs, uint32_t n, struct fault *fault) {
    pthread_mutex_lock(&d->lock);
    enum err err = d->failed ? fault_set(fault, ERR_UNAVAILABLE, "delivery's progress can not be "
                                         "written now")
                             : progress_forget(d->progress, seqs, n, fault);
    if (err != OK)
        d->failed = true; /* as after a flush that failed: back to what is on disk */
    pthread_mutex_unlock(&d->lock);
    return err;
}

/* So far ahead that this, which waits for the disk, happens twice a second at most; what a crash leaves in
 * doubt is half a second's work. */
bool deliver_reserve(struct subscription *sub, uint64_t seq) {
    struct deliver *d = sub->deliver;
    if (d->failed)
        return false;
    if (seq <= sub->sent_to)
        return true;
    pthread_mutex_lock(&d->lock);
    uint64_t before = sub->sent_to;
    sub->sent_to = seq + (sub->stats.rate_per_s > 2 * SENT_AHEAD ? sub->stats.rate_per_s / 2 : SENT_AHEAD);
    progress_set(d->progress, sub->name, lanes_cursor(sub->lanes), sub->sent_to);
    bool done = PLANTED(SEND_UNMARKED) || deliver_flush_locked(d);
    if (!done)
        sub->sent_to = before;
    pthread_mutex_unlock(&d->lock);
    return done;
}

/* What is in memory is ahead of what is on disk and can not be written: back to the disk. */
static void reload(struct deliver *d, int64_t now_us) {
    if (!d->failed || d->out > 0 || now_us < d->reload_us)
        return;
    struct fault fault = {0};
    enum err err = OK;
    d->failed = false;
    pthread_mutex_lock(&d->lock);
    for (uint32_t i = 0; err == OK && i < d->count; i++)
        if (subscription_goes(d->subs[i]) || d->subs[i]->lanes != NULL)
            err = subscription_load(d->subs[i], &fault);
    if (err == OK)
        err = replays_load(d, &fault);
    pthread_mutex_unlock(&d->lock);
    if (err != OK) {
        d->failed = true;
        d->reload_us = now_us + DELIVER_RELOAD_MS * 1000;
    }
}

/* Rows say wall time: the clock's tick means nothing to the next life. Never 0. */
static int64_t wall_us(const struct deliver *d, int64_t tick_us) {
    struct clock *clock = d->options.clock;
    return (clock_now_us(clock) + (tick_us - clock_tick_us(clock))) | 1;
}

struct listing {
    struct subscription *sub;
    struct progress_row row; /* of the first */
    bool first;
};

static void list_row(void *ctx, uint64_t seq) {
    struct listing *listing = ctx;
    struct progress_row row = listing->row;
    row.seq = seq;
    if (!listing->first) {
        row.cause = STR_NONE;
        row.attempts = 0;
        row.status = 0;
        row.due_us = 0;
        row.replay = 0;
    } else if (row.replay != 0) {
        replay_listed(listing->sub, row.replay, seq);
    }
    listing->first = false;
    progress_list(listing->sub->deliver->progress, &row);
}

/* --- the end of a delivery --------------------------------------------------------------- */

static void failure_note(struct attempt *attempt, enum lane_outcome outcome, int status,
                         struct str cause) {
    struct subscription *sub = attempt->sub;
    struct deliver *d = sub->deliver;
    int64_t now_us = clock_now_us(d->options.clock);
    sub->stats.failed++;
    sub->stats.failed_us = now_us;
    snprintf(sub->stats.error, sizeof sub->stats.error, "%.*s",
             (int)(cause.len < 199 ? cause.len : 199), cause.ptr ? cause.ptr : "");
    /* During an outage the breaker's probes would only repeat the same line. */
    bool repeated = outcome == LANE_UNREACHABLE && lanes_counts(sub->lanes).broken;
    if (repeated || d->failed)
        return;
    struct progress_failure failure = {.subscription = sub->name,
                                       .seq = attempt->job.seq,
                                       .at_us = now_us,
                                       .attempt = attempt->job.attempt,
                                       .outcome = str_c(lane_outcome_name(outcome)),
                                       .status = status,
                                       .detail = cause};
    progress_failure(d->progress, &failure);
}

static void done_note(struct attempt *attempt) {
    struct subscription *sub = attempt->sub;
    struct deliver *d = sub->deliver;
    sub->stats.delivered_us = clock_now_us(d->options.clock);
    if (attempt->job.replay != 0) {
        replay_delivered(sub, attempt->job.replay, attempt->job.seq, attempt->found);
    } else {
        sub->stats.delivered += !attempt->suppressed;
        if (attempt->send->expect != NULL && !attempt->suppressed)
            traffic_received(&attempt->send->connector->counters->sent, sub->name, sub->stats.delivered_us);
        sub->stats.suppressed += attempt->suppressed;
        histogram_us(&sub->event_us, sub->stats.delivered_us - attempt->event_us);
    }
    d->unflushed++;
    if (!attempt->job.listed || d->failed)
        return;
    uint64_t next = 0;
    struct fault fault = {0};
    if (sub->send->conflate) /* what a crash may have left of those it superseded */
        lanes_superseded(sub->lanes, progress_supersede(d->progress, sub->name, attempt->job.key, 0,
                                                        attempt->job.seq));
    progress_unlist(d->progress, sub->name, attempt->job.key, attempt->job.seq);
    subscription_ended(sub, attempt->job.seq, attempt->job.key);
    if (progress_next(d->progress, sub->name, lanes_key(sub->lanes, attempt->job.lane),
                      attempt->job.seq, &next, &fault) != OK) {
        d->failed = true; /* the lanes are rebuilt from the disk */
        return;
    }
    lanes_refill(sub->lanes, attempt->job.lane, next);
}

bool deliver_ended(struct attempt *attempt, enum lane_outcome outcome, int64_t retry_after_ms,
                   int status, struct str cause) {
    struct subscription *sub = attempt->sub;
    struct deliver *d = sub->deliver;
    uint32_t lane = attempt->job.lane;
    int64_t now_us = clock_tick_us(d->options.clock);
    struct str key = arena_str(&attempt->arena, attempt->job.key);
    pthread_mutex_lock(&d->lock);
    lanes_broken_set(sub->lanes, reach_broken(sub));
    enum lane_verdict verdict = lanes_end(sub->lanes, lane, outcome, retry_after_ms, now_us);
    counter_add(&sub->outcomes[outcome], 1);
    if (verdict == LANE_DONE)
        done_note(attempt);
    else if (outcome != LANE_UNSETTLED)
        failure_note(attempt, outcome, status, cause);
    uint64_t seq = verdict == LANE_DONE ? attempt->job.seq : lanes_seq(sub->lanes, lane);
    bool listed = verdict == LANE_RETRY && attempt->job.listed &&
                  ((outcome != LANE_UNREACHABLE && outcome != LANE_UNSETTLED) || seq != attempt->job.seq);
    if (listed && seq != attempt->job.seq && !d->failed) /* a newer one has taken its place */
        lanes_superseded(sub->lanes, progress_supersede(d->progress, sub->name, key, 0, seq));
    if ((verdict == LANE_HOLD || listed) && !d->failed) {
        struct listing listing = {
            .sub = sub,
            .first = true,
            .row = {.subscription = sub->name,
                    .lane = key,
                    .seq = seq,
                    .subject = attempt->subject,
                    .type = attempt->type,
                    .attempts = attempt->job.attempt,
                    .due_us = verdict == LANE_HOLD ? 0 : wall_us(d, lanes_due_us(sub->lanes, lane)),
                    .since_us = clock_now_us(d->options.clock),
                    .status = status,
                    .cause = cause,
                    .replay = attempt->job.replay}};
        if (attempt->job.listed)
            progress_list(d->progress, &listing.row);
        if (verdict == LANE_HOLD)
            lanes_list(sub->lanes, lane, true, list_row, &listing);
    }
    if (verdict != LANE_RETRY && !attempt->job.released)
        stop_ended(sub, verdict == LANE_HOLD);
    pthread_mutex_unlock(&d->lock);
    if (verdict == LANE_HOLD)
        log_line(LOG_WARN, "deliver", "delivery held",
                 "subscription=%.*s seq=%llu key=%s cause=%s correlation=%s%s",
                 STR_FMT(sub->name), (unsigned long long)attempt->job.seq,
                 log_quote(key), log_quote(cause), log_quote(attempt->correlation),
                 log_trace(attempt->traceparent));
    return verdict == LANE_HOLD;
}

/* --- reading ahead ------------------------------------------------------------------------- */

static bool posted_already(struct subscription *sub, uint64_t seq) {
    struct core *core = sub->deliver->options.core;
    if (core == NULL)
        return false;
    core_read_begin(core);
    bool known = posting_known(core_state(core, &postings_capability), sub->name, seq);
    core_read_end(core);
    return known;
}

/* Where no order is asked for, each has a lane of its own. */
struct str subscription_key(const struct subscription *sub, const struct record *record, char own[24]) {
    if (sub->send->key != SEND_KEY_NONE && !(PLANTED(KEY_SPLIT) && record->seq % 4 == 0))
        return record->subject;
    return str_of(own, (size_t)snprintf(own, 24, "%llu", (unsigned long long)record->seq));
}

/* False: there is no room for it now. */
static bool key_put(struct subscription *sub, const struct record *record, const struct lane_event *event) {
    struct deliver *d = sub->deliver;
    int64_t now_us = clock_tick_us(d->options.clock);
    struct lane_before before = {0};
    const struct subscription_over *over = subscription_over(sub, event->seq, event->key);
    if (over != NULL && over->counted) {
        lanes_again(sub->lanes, event->seq, event->more);
        return true;
    }
    if (over != NULL ||
        (event->lookup && !sub->send->conflate && posted_already(sub, event->seq))) {
        lanes_known(sub->lanes, event->seq, event->more);
        return true;
    }
    enum lane_added added = lanes_put(sub->lanes, event, now_us, &before);
    if (added != LANE_FULL)
        backlog_took(&sub->backlog, record);
    struct progress_row row = {.subscription = sub->name,
                               .lane = event->key,
                               .seq = event->seq,
                               .subject = sub->send->availability ? event->key : record->subject,
                               .type = sub->send->availability ? STR(AVAILABILITY_CHANGED) : record->type,
                               .since_us = clock_now_us(d->options.clock)};
    if (added == LANE_ADDED && event->seq < sub->remembered && !sub->send->conflate)
        ahead_keep(&sub->ahead, record);
    if (added == LANE_LISTED && !d->failed && !PLANTED(LISTED_LOST))
        progress_list(d->progress, &row);
    if (added == LANE_SUPERSEDES) {
        row.due_us = wall_us(d, now_us);
        superseded_list(sub, &row, &before);
    }
    return added != LANE_FULL;
}

/* A stock event is for the keys whose availability it changed. */
static bool keys_put(struct subscription *sub, const struct record *record, bool suspect) {
    struct fault fault = {0};
    struct arena arena;
    struct str *keys = NULL;
    uint32_t count = 0;
    arena_init(&arena, 0);
    enum err err = availability_keys(sub->deliver, sub->send, record, &arena, &keys, &count, &fault);
    uint32_t i = sub->part_seq == record->seq ? sub->part_keys : 0;
    bool room = err == OK;
    for (; room && i < count; i += room)
        room = key_put(sub, record,
                       &(struct lane_event){.seq = record->seq,
                                            .key = keys[PLANTED(CONFLATE_KEYS) ? count - 1 : i],
                                            .lookup = suspect,
                                            .more = true});
    sub->part_seq = room ? 0 : record->seq;
    sub->part_keys = i;
    if (room)
        lanes_pass(sub->lanes, record->seq);
    if (err != OK)
        log_line(LOG_ERROR, "deliver", "a stock event can not be read", "subscription=%.*s seq=%llu error=%s",
                 STR_FMT(sub->name), (unsigned long long)record->seq, log_quote(str_c(fault.detail)));
    arena_free(&arena);
    return room;
}

static bool read_record(void *ctx, const struct record *record) {
    struct subscription *sub = ctx;
    uint64_t seq = record->seq;
    if (seq <= lanes_read_to(sub->lanes))
        return true;
    if (sub->send->availability)
        return keys_put(sub, record, seq <= sub->suspect_to);
    if (!subscription_takes(sub, record)) {
        lanes_pass(sub->lanes, seq);
        return true;
    }
    char own[24];
    return key_put(sub, record,
                   &(struct lane_event){.seq = seq, .key = subscription_key(sub, record, own),
                                        .lookup = seq <= sub->suspect_to});
}

static void unstick(struct subscription *sub) {
    uint32_t lane = lanes_stuck(sub->lanes);
    if (lane == LANE_NONE || sub->deliver->failed)
        return;
    struct listing listing = {.sub = sub,
                              .first = true,
                              .row = {.subscription = sub->name,
                                      .lane = lanes_key(sub->lanes, lane),
                                      .attempts = lanes_attempts(sub->lanes, lane),
                                      .due_us = wall_us(sub->deliver, lanes_due_us(sub->lanes, lane)),
                                      .since_us = clock_now_us(sub->deliver->options.clock),
                                      .cause = str_c(sub->stats.error),
                                      .replay = lanes_replay_of(sub->lanes, lane)}};
    lanes_list(sub->lanes, lane, false, list_row, &listing);
}

/* Reading further makes sense: there is more, and not enough is ready to go. */
static bool read_wanted(const struct subscription *sub) {
    return lanes_read_to(sub->lanes) < tail_last(sub->deliver->options.tail) &&
           (sub->send->conflate || lanes_counts(sub->lanes).ready < READ_RECORDS);
}

static void read_failed(struct subscription *sub, const struct fault *fault, int64_t now_us) {
    sub->read_us = now_us + UNREAD_US;
    if (!sub->unread)
        log_line(LOG_ERROR, "deliver", "the journal can not be read; it is tried again each second",
                 "subscription=%.*s error=%s", STR_FMT(sub->name), log_quote(str_c(fault->detail)));
    sub->unread = true;
}

/* True: there may be more to read at once. */
static bool read_ahead(struct subscription *sub, int64_t now_us) {
    struct deliver *d = sub->deliver;
    uint64_t from = lanes_read_to(sub->lanes) + 1, next;
    if (from > tail_last(d->options.tail) || now_us < sub->read_us)
        return false;
    if (!tail_near(d->options.tail, from, true)) { /* others are not kept waiting while it is unpacked */
        sub->read_us = now_us + DELIVER_COLD_US;
        return false;
    }
    struct fault fault = {0};
    pthread_mutex_lock(&d->lock);
    if (!lanes_room(sub->lanes))
        unstick(sub);
    enum err err = OK;
    ahead_pass(&sub->ahead, lanes_cursor(sub->lanes));
    sub->remembered = tail_first(d->options.tail);
    if (lanes_room(sub->lanes))
        err = tail_read(d->options.tail, from, READ_RECORDS, read_record, sub, &next, &fault);
    pthread_mutex_unlock(&d->lock);
    if (err != OK)
        read_failed(sub, &fault, now_us);
    else
        sub->unread = false;
    return err == OK && lanes_room(sub->lanes) && lanes_read_to(sub->lanes) >= from;
}

static void start_all(struct subscription *sub, int64_t now_us) {
    struct deliver *d = sub->deliver;
    struct lane_job job;
    while (!d->failed && !d->stopping && lanes_next_us(sub->lanes, now_us) <= now_us && reach_room(sub) &&
           lanes_take(sub->lanes, now_us, &job)) {
        if (!deliver_reserve(sub, job.seq)) {
            lanes_return(sub->lanes, job.lane);
            return;
        }
        attempt_start(sub, &job);
    }
}

/* --- one round ------------------------------------------------------------------------------- */

static void again_submit(struct deliver *d, int64_t now_us) {
    struct attempt *attempt = d->again, *next;
    d->again = NULL;
    for (; attempt != NULL; attempt = next) {
        next = attempt->next;
        if (d->drained) {
            attempt_abandon(attempt);
        } else if (attempt->again_us <= now_us) {
            attempt_submit(attempt);
        } else {
            attempt->next = d->again;
            d->again = attempt;
        }
    }
}

static int64_t flush_due_us(const struct deliver *d) {
    return d->flushed_us + d->options.config->settings.deliver_flush_ms * 1000;
}

static bool flush_wanted(const struct deliver *d) {
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&d->lock; /* deliver_forget changes it */
    pthread_mutex_lock(lock);
    bool wanted = progress_dirty(d->progress) || replays_dirty(d);
    pthread_mutex_unlock(lock);
    for (uint32_t i = 0; !wanted && i < d->count; i++)
        wanted = d->subs[i]->lanes != NULL && lanes_cursor(d->subs[i]->lanes) != d->subs[i]->saved;
    return wanted;
}

void deliver_step(struct deliver *d) {
    int64_t now_us = clock_tick_us(d->options.clock);
    if (d->drained && d->net != NULL)
        auth_net_drain(d->net);
    if (d->net != NULL)
        auth_net_step(d->net);
    answers_drain(d);
    reload(d, now_us);
    reach_step(d, now_us);
    subscriptions_renew(d);
    subscribers_step(d);
    wishes_grant(d);
    stops_tell(d);
    again_submit(d, now_us);
    pull_step(d, now_us);
    for (uint32_t i = 0; i < d->count; i++) {
        struct subscription *sub = d->subs[i];
        bool goes = sub->lanes != NULL && subscription_goes(sub) && !d->stopping && !d->failed;
        if (!goes) {
            batches_return(sub);
            continue;
        }
        sub->shut_us = 0; /* as asked in an earlier round */
        for (uint32_t n = 0; n < READS_OF_STEP && read_wanted(sub) && read_ahead(sub, now_us); n++)
            ;
        replay_step(sub, now_us);
        if (sub->send->batch != NULL)
            batches_start(sub, now_us);
        else if (!subscription_pulled(sub))
            start_all(sub, now_us);
    }
    pull_answer(d, now_us);
    if (flush_wanted(d) && (now_us >= flush_due_us(d) || d->unflushed >= FLUSH_DELIVERIES)) {
        pthread_mutex_lock(&d->lock);
        deliver_flush_locked(d);
        pthread_mutex_unlock(&d->lock);
    }
    figures_show(d, now_us);
}

int64_t deliver_next_us(const struct deliver *d) {
    int64_t now_us = clock_tick_us(d->options.clock), next = INT64_MAX;
    if (d->net != NULL)
        next = auth_net_next_us(d->net);
    if (next <= now_us)
        return now_us;
    if (d->failed)
        return d->out > 0 ? INT64_MAX : d->reload_us;
    int64_t pull_us = pull_next_us(d, now_us), reach_us = reach_next_us(d);
    next = pull_us < next ? pull_us : next;
    next = reach_us < next ? reach_us : next;
    for (const struct attempt *a = d->again; a != NULL; a = a->next)
        next = a->again_us < next ? a->again_us : next;
    if (flush_wanted(d) && flush_due_us(d) < next)
        next = flush_due_us(d);
    for (uint32_t i = 0; i < d->count && !d->stopping; i++) {
        const struct subscription *sub = d->subs[i];
        if (sub->lanes == NULL || !subscription_goes(sub))
            continue;
        int64_t due = subscription_pulled(sub)     ? INT64_MAX
                      : sub->send->batch != NULL ? batches_next_us(sub, now_us)
                                                 : lanes_next_us(sub->lanes, now_us);
        due = due > sub->shut_us ? due : sub->shut_us;
        int64_t again = replay_next_us(sub, now_us);
        due = again < due ? again : due;
        if (read_wanted(sub) && lanes_room(sub->lanes) && sub->read_us < due)
            due = sub->read_us > now_us ? sub->read_us : now_us;
        next = due < next ? due : next;
    }
    return next;
}

/* --- life ------------------------------------------------------------------------------------ */

void deliver_renew(struct deliver *d, const struct connectors *connectors) {
    connectors_offer(&d->renewed, &d->lock, connectors);
    deliver_wake(d);
}

static void net_wake(void *ctx) { deliver_wake(ctx); }

enum err deliver_net_wrap(struct deliver *d, bool own, struct fault *fault) {
    const struct settings *settings = &d->options.config->settings;
    struct auth_net_options options = {
        .net = d->net,
        .own = own,
        .keepers = d->options.keepers,
        .accounts = d->options.accounts,
        .limits = {.instructions_max = settings->map_instructions_max, .bytes_max = settings->map_bytes_max},
        .wake = net_wake,
        .wake_ctx = d};
    if (options.keepers == NULL && d->keepers == NULL)
        d->keepers = auth_keepers_create(
            &(struct auth_keepers_options){.clock = d->options.clock, .rng = d->options.rng});
    if (options.keepers == NULL)
        options.keepers = d->keepers;
    if (options.keepers == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for delivery");
    enum err err = auth_net_create(&options, &d->net, fault);
    if (err == OK && !own)
        d->wrapped = d->net;
    return err;
}

enum err deliver_create(const struct deliver_options *options, struct deliver **out,
                        struct fault *fault) {
    struct deliver *d = mem_zalloc(sizeof *d);
    if (d == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for delivery");
    d->options = *options;
    d->net = options->net;
    d->drain_ms = -1;
    pthread_mutex_init(&d->lock, NULL);
    pthread_mutex_init(&d->answers_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&d->decided, &monotonic);
    pthread_condattr_destroy(&monotonic);
    d->origin.deliver = answers_came;
    const struct settings *settings = &options->config->settings;
    struct mapping_limits limits = {.instructions_max = settings->map_instructions_max,
                                    .bytes_max = settings->map_bytes_max,
                                    .looks_max = settings->map_looks_max};
    arena_init(&d->names, 0);
    connectors_take(options->connectors);
    d->parser = json_parser_create();
    d->mapper = mapper_create(limits);
    d->asking = (struct asking){.core = options->core, .parser = d->parser};
    if (d->mapper)
        mapper_hub(d->mapper, &deliver_hub, d);
    enum err err = d->parser && d->mapper
                       ? progress_open(options->path, &d->progress, fault)
                       : fault_set(fault, ERR_NOMEM, "no memory for delivery");
    if (err == OK)
        err = reach_begin(d, fault);
    if (err == OK && d->net != NULL)
        err = deliver_net_wrap(d, false, fault);
    bool made;
    if (err == OK)
        err = subscribers_look(d, &made, fault);
    if (err == OK)
        err = subscriptions_follow(d, options->connectors, fault);
    if (err == OK)
        err = subscribers_purge(d, fault);
    if (err == OK)
        err = replays_load(d, fault);
    if (err != OK) {
        deliver_destroy(d);
        return err;
    }
    d->follower.wake = published;
    tail_follow(options->tail, &d->follower);
    figures_show(d, clock_tick_us(options->clock));
    *out = d;
    return OK;
}

void deliver_destroy(struct deliver *d) {
    if (d == NULL)
        return;
    if (d->follower.wake != NULL)
        tail_unfollow(d->options.tail, &d->follower);
    pull_close(d);
    while (d->again != NULL) {
        struct attempt *attempt = d->again;
        d->again = attempt->next;
        attempt_free(attempt);
    }
    while (d->free != NULL) {
        struct attempt *attempt = d->free;
        d->free = attempt->next;
        attempt_free(attempt);
    }
    replays_free(d);
    subscriptions_free(d);
    subscribers_end(d);
    if (d->wrapped != NULL)
        net_close(d->wrapped);
    reach_end(d);
    auth_keepers_destroy(d->keepers);
    progress_close(d->progress);
    mapper_destroy(d->mapper);
    json_parser_destroy(d->parser);
    pthread_mutex_destroy(&d->lock);
    pthread_mutex_destroy(&d->answers_lock);
    pthread_cond_destroy(&d->decided);
    connectors_release(d->renewed);
    connectors_release(d->options.connectors);
    mem_free(d);
}
