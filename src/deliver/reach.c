/* reach: see reach.h. */
#include "deliver/reach.h"

#include "base/log.h"
#include "connect/outcome.h"
#include "deliver/attempt_span.h"
#include "deliver/deliver_priv.h"
#include "domain/endpoints.h"

#define TURNED_AWAY_MS 100 /* at least, until it is tried again */

/* --- subscriptions ----------------------------------------------------------------------------- */

bool reach_room(struct subscription *sub) {
    const struct connector_send *send = sub->send;
    sub->shut_us = 0;
    return accounts_room(sub->deliver->options.accounts, send->connector, send->request->url, &sub->flow,
                         &sub->shut_us) ||
           (lanes_broken_set(sub->lanes, reach_broken(sub)), false);
}

bool reach_broken(const struct subscription *sub) {
    const struct connector_send *send = sub->send;
    return send->request != NULL &&
           accounts_broken(sub->deliver->options.accounts, send->connector, send->request->url);
}

/* --- answers ----------------------------------------------------------------------------------- */

enum lane_outcome reach_outcome(struct attempt *attempt, const struct net_answer *answer, bool changes) {
    const struct json *ignored;
    if (answer->error != NET_OK && (!answer->sent || !changes))
        return LANE_UNREACHABLE;
    if (answer->error != NET_OK) {
        attempt_suspect(attempt);
        return LANE_AMBIGUOUS;
    }
    uint8_t means = answer->judged
                        ? answer->means
                        : (uint8_t)outcome_judge(attempt->send->outcome, answer, attempt->deliver->parser,
                                                 &attempt->arena, &ignored);
    switch ((enum connector_outcome_kind)means) {
    case OUTCOME_SUCCESS: return LANE_SUCCESS;
    case OUTCOME_FINAL: return LANE_FINAL;
    case OUTCOME_THROTTLED: return LANE_THROTTLED;
    case OUTCOME_AMBIGUOUS: return changes ? LANE_AMBIGUOUS : LANE_RETRYABLE;
    case OUTCOME_UNREACHABLE:
        /* Turned away (503): hardly done, surely not at work. Where somebody in between gave up, the work
         * may have been done behind it, or still be. */
        if (changes && answer->status == 503)
            lanes_suspect(attempt->sub->lanes, attempt->job.lane, 0);
        else if (changes && answer->status >= 500)
            attempt_suspect(attempt);
        return LANE_UNREACHABLE;
    case OUTCOME_RETRYABLE:
    case OUTCOME_KINDS: break;
    }
    return LANE_RETRYABLE;
}

void reach_again(struct attempt *attempt, enum lane_outcome outcome, int64_t after_ms) {
    struct deliver *d = attempt->deliver;
    attempt_span_end(attempt, outcome);
    pthread_mutex_lock(&d->lock);
    lanes_later(attempt->sub->lanes, attempt->job.lane, clock_tick_us(d->options.clock) + after_ms * 1000);
    pthread_mutex_unlock(&d->lock);
    attempt_give_back(attempt);
}

bool reach_turned_away(struct attempt *attempt, const struct net_answer *answer) {
    if (answer->error != NET_CLOSED)
        return false;
    int64_t ms = net_answer_retry_after_ms(answer, clock_now_us(attempt->deliver->options.clock));
    reach_again(attempt, LANE_UNREACHABLE, ms < TURNED_AWAY_MS ? TURNED_AWAY_MS : ms);
    return true;
}

/* --- what is kept -------------------------------------------------------------------------------- */

static void keeper_wake(void *ctx) { deliver_wake(ctx); }

static bool note_read(void *ctx, struct str name, struct str text) {
    accounts_restore(ctx, name, text);
    return true;
}

static void reach_answered(struct command_origin *origin, struct command *first) {
    struct reach *reach = (struct reach *)((char *)origin - offsetof(struct reach, origin));
    struct deliver *d = (struct deliver *)((char *)reach - offsetof(struct deliver, reach));
    (void)first;
    atomic_store(&reach->answered, true);
    deliver_wake(d);
}

enum err reach_begin(struct deliver *d, struct fault *fault) {
    const struct settings *settings = &d->options.config->settings;
    if (d->options.accounts == NULL) {
        d->accounts = accounts_create(&(struct accounts_options){
            .clock = d->options.clock, .rng = d->options.rng,
            .breaker = accounts_breaker((uint32_t)settings->deliver_breaker_after,
                                        settings->deliver_probe_max_ms)});
        if (d->accounts == NULL)
            return fault_set(fault, ERR_NOMEM, "no memory for delivery");
        d->options.accounts = d->accounts;
    }
    arena_init(&d->reach.arena, (size_t)1 << 20);
    d->reach.origin.deliver = reach_answered;
    enum err err = progress_notes(d->progress, note_read, d->options.accounts, fault);
    if (err == OK)
        accounts_keeper_set(d->options.accounts, keeper_wake, d);
    return err;
}

void reach_end(struct deliver *d) {
    if (d->options.accounts != NULL)
        accounts_keeper_set(d->options.accounts, NULL, NULL);
    arena_free(&d->reach.arena);
    accounts_destroy(d->accounts);
}

static void note_write(void *ctx, struct str name, struct str text) { progress_note(ctx, name, text); }

/* Also while delivery stands still: calls that wait for a quota to be on disk would keep it from going back
 * to the disk. Nothing else is written then. */
static void notes_keep(struct deliver *d) {
    struct fault fault = {0};
    if (!accounts_notes_due(d->options.accounts))
        return;
    pthread_mutex_lock(&d->lock);
    accounts_notes(d->options.accounts, note_write, d->progress);
    if (d->failed ? progress_flush(d->progress, &fault) == OK : deliver_flush_locked(d))
        accounts_notes_kept(d->options.accounts);
    else
        accounts_notes_lost(d->options.accounts);
    pthread_mutex_unlock(&d->lock);
}

/* --- telling --------------------------------------------------------------------------------------- */

static enum err tell_make(struct deliver *d, struct fault *fault) {
    struct reach *reach = &d->reach;
    const struct accounts_change *change = &reach->change;
    arena_reset(&reach->arena);
    struct endpoint_report *report = arena_new(&reach->arena, struct endpoint_report);
    if (report == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for a command");
    report->connector = str_c(change->connector);
    report->endpoint = str_c(change->endpoint);
    report->breaker = change->opened ? ENDPOINT_OPEN : ENDPOINT_CLOSED;
    report->since = (struct instant){.us = change->since_us};
    report->failures = change->failures;
    report->cause = arena_str(&reach->arena, str_c(change->cause));
    report->has = 1u << ENDPOINT_CONNECTOR | 1u << ENDPOINT_ENDPOINT | 1u << ENDPOINT_BREAKER |
                  1u << ENDPOINT_SINCE | 1u << ENDPOINT_FAILURES | 1u << ENDPOINT_CAUSE;
    enum err err = command_prepare(d->options.core, &endpoint_report_command, &reach->arena, report,
                                   &reach->command, fault);
    if (err != OK)
        return err;
    reach->command.actor = STR("deliver");
    reach->command.if_match = -1;
    reach->command.origin = &reach->origin;
    reach->command.origin_ctx = d;
    return core_submit(d->options.core, &reach->command, fault);
}

static void tell_begin(struct deliver *d, int64_t now_us) {
    struct reach *reach = &d->reach;
    struct fault fault = {0};
    if (reach->telling || d->stopping || d->options.core == NULL || now_us < reach->again_us ||
        !accounts_change(d->options.accounts, &reach->change))
        return;
    atomic_store(&reach->answered, false);
    enum err err = tell_make(d, &fault);
    if (err == OK) {
        reach->telling = true;
        d->out++;
    } else if (err_info(err)->disposition == RETRYABLE) {
        reach->again_us = now_us + DELIVER_AGAIN_MS * 1000;
    } else {
        log_line(LOG_ERROR, "deliver", "could not tell the journal", "command=%s error=%s",
                 endpoint_report_command.name, log_quote(str_c(fault.detail)));
        accounts_change_told(d->options.accounts, &reach->change);
    }
}

static void tell_end(struct deliver *d, int64_t now_us) {
    struct reach *reach = &d->reach;
    if (!reach->telling || !atomic_load(&reach->answered))
        return;
    reach->telling = false;
    d->out--;
    if (reach->command.answer.err == OK || err_info(reach->command.answer.err)->disposition != RETRYABLE)
        accounts_change_told(d->options.accounts, &reach->change);
    else
        reach->again_us = now_us + DELIVER_AGAIN_MS * 1000;
}

void reach_step(struct deliver *d, int64_t now_us) {
    tell_end(d, now_us);
    notes_keep(d);
    tell_begin(d, now_us);
}

int64_t reach_next_us(const struct deliver *d) {
    bool waits = !d->reach.telling && !d->stopping && !d->failed && d->reach.again_us > 0;
    return waits && d->reach.again_us > clock_tick_us(d->options.clock) ? d->reach.again_us : INT64_MAX;
}
