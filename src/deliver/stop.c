/* stop: see stop.h. Owns nothing: what it keeps is the subscription's. */
#include "deliver/stop.h"

#include <stdio.h>

#include "base/log.h"
#include "base/planted.h"
#include "deliver/subscribers.h"

#define SHARE_ONE INT64_C(1000000000)

/* --- the share that failed ------------------------------------------------------------------- */

bool stop_window_add(struct stop_window *window, const struct connector_stop *policy, bool held) {
    if (policy == NULL || policy->of_last <= 0 || PLANTED(STOP_NEVER))
        return false;
    uint32_t size = (uint32_t)policy->of_last;
    must(size <= STOP_OF_LAST_MAX);
    if (window->count > size || window->at >= size)
        *window = (struct stop_window){0}; /* the connector looks at fewer now: from the beginning */
    uint64_t bit = UINT64_C(1) << (window->at % 64), *word = &window->bits[window->at / 64];
    if (window->count == size)
        window->held -= (*word & bit) != 0;
    else
        window->count++;
    *word = held ? *word | bit : *word & ~bit;
    window->held += held;
    window->at = (window->at + 1) % size;
    /* held / count > share, without a fraction */
    return held && window->count >= (uint32_t)policy->at_least &&
           (int64_t)window->held * SHARE_ONE > policy->share * (int64_t)window->count;
}

void stop_ended(struct subscription *sub, bool held) {
    char cause[sizeof sub->stop.as.cause];
    const struct stop_window *window = &sub->stop.window;
    if (sub->send->webhook != NULL) /* stops by a policy of its own: webhook_stop_after_s */
        return;
    if (sub->stop.stopped || !stop_window_add(&sub->stop.window, sub->send->stop, held))
        return;
    snprintf(cause, sizeof cause, "%u of the last %u deliveries were held; the last: %.100s", window->held,
             window->count, sub->stats.error);
    subscription_stop(sub, STOP_FAILURES, str_c(cause));
}

/* --- standing still -------------------------------------------------------------------------- */

static void stop_set(struct subscription *sub, enum stop_why why, struct str cause, struct str by) {
    struct stop_state *stop = &sub->stop;
    stop->stopped = true;
    stop->as = (struct stopped){.since_us = clock_now_us(sub->deliver->options.clock), .why = why};
    snprintf(stop->as.cause, sizeof stop->as.cause, "%.*s", STR_FMT(cause));
    snprintf(stop->as.by, sizeof stop->as.by, "%.*s", STR_FMT(by));
    subscriber_rests(sub);
    log_line(LOG_WARN, "deliver", "subscription stopped: a person must start it",
             "subscription=%.*s cause=%s by=%s", STR_FMT(sub->name), log_quote(str_c(stop->as.cause)),
             log_quote(by));
}

void subscription_stop(struct subscription *sub, enum stop_why why, struct str cause) {
    if (sub->stop.stopped)
        return;
    stop_set(sub, why, cause, STR(""));
    sub->stop.to_tell = true;
}

void stop_load(struct subscription *sub) {
    struct core *core = sub->deliver->options.core;
    if (core == NULL)
        return;
    core_read_begin(core);
    sub->stop.stopped = !PLANTED(STOP_FORGOTTEN) &&
                        stops_find(core_state(core, &stops_capability), sub->name, &sub->stop.as);
    core_read_end(core);
    sub->stats.stopped = sub->stop.stopped;
    sub->stats.stop = sub->stop.as;
}

/* --- telling the journal --------------------------------------------------------------------- */

static struct subscription_stop *stop_body(struct attempt *attempt, enum stop_why why,
                                           struct str cause, struct str by) {
    const struct connector *connector = attempt->send->connector;
    struct subscription_stop *body = arena_new(&attempt->arena, struct subscription_stop);
    if (body == NULL)
        return NULL;
    *body = (struct subscription_stop){
        .has = 1u << STOP_SUBSCRIPTION | 1u << STOP_CONNECTOR | 1u << STOP_WHY | 1u << STOP_CAUSE,
        .subscription = attempt->sub->name, .connector = connector->name, .why = (int32_t)why,
        .cause = arena_str(&attempt->arena, cause), .owner = connector->owner};
    if (by.len > 0) {
        body->by = arena_str(&attempt->arena, by);
        shape_mark(body, STOP_BY);
    }
    if (attempt->send->webhook != NULL) {
        body->made = true;
        shape_mark(body, STOP_MADE);
    }
    if (body->owner.len > 0)
        shape_mark(body, STOP_OWNER);
    return body->cause.ptr ? body : NULL;
}

/* Since when, as the journal has it: everybody is told the same. */
static void stop_since(struct subscription *sub) {
    struct core *core = sub->deliver->options.core;
    struct stopped as;
    core_read_begin(core);
    if (stops_find(core_state(core, &stops_capability), sub->name, &as))
        sub->stop.as.since_us = as.since_us;
    core_read_end(core);
}

static void stop_told(struct attempt *attempt, enum err err) {
    attempt->sub->stop.telling = false;
    if (err == OK)
        stop_since(attempt->sub);
    /* refused for good: told again after the next start of the hub, should it stop again */
    attempt->sub->stop.to_tell = err != OK && err_info(err)->disposition == RETRYABLE;
}

void stops_tell(struct deliver *d) {
    for (uint32_t i = 0; i < d->count && !d->drained; i++) {
        struct subscription *sub = d->subs[i];
        struct stop_state *stop = &sub->stop;
        struct attempt *attempt = stop->to_tell && !stop->telling ? attempt_take(sub) : NULL;
        if (attempt == NULL)
            continue;
        pthread_mutex_lock(&d->lock); /* what was held is on disk before the journal knows of the stop */
        deliver_flush_locked(d);
        pthread_mutex_unlock(&d->lock);
        void *body = stop_body(attempt, (enum stop_why)stop->as.why, str_c(stop->as.cause), STR(""));
        attempt->told = stop_told;
        stop->telling = attempt_tell(attempt, &subscription_stop_command, body, 0);
    }
}

/* --- a person decides ------------------------------------------------------------------------ */

static void person_stopped(struct attempt *attempt, enum err err) {
    const struct subscription_stop *body = attempt->command.body;
    pthread_mutex_lock(&attempt->deliver->lock);
    if (err == OK && !attempt->sub->stop.stopped)
        stop_set(attempt->sub, STOP_PERSON, body->cause, body->by);
    if (err == OK)
        stop_since(attempt->sub);
    wish_told(attempt, err);
    pthread_mutex_unlock(&attempt->deliver->lock);
}

static void person_started(struct attempt *attempt, enum err err) {
    struct subscription *sub = attempt->sub;
    const struct subscription_start *body = attempt->command.body;
    pthread_mutex_lock(&attempt->deliver->lock);
    if (err == OK) {
        sub->stop = (struct stop_state){0};
        subscriber_rests(sub);
        subscriber_changed(sub);
        log_line(LOG_INFO, "deliver", "subscription started", "subscription=%.*s by=%s", STR_FMT(sub->name),
                 log_quote(body->by));
    }
    wish_told(attempt, err);
    pthread_mutex_unlock(&attempt->deliver->lock);
}

static struct subscription_start *start_body(struct attempt *attempt, const struct wish *wish) {
    struct subscription_start *body = arena_new(&attempt->arena, struct subscription_start);
    if (body == NULL)
        return NULL;
    *body = (struct subscription_start){.has = 1u << START_SUBSCRIPTION,
                                        .subscription = attempt->sub->name,
                                        .reason = arena_str(&attempt->arena, wish->reason),
                                        .by = arena_str(&attempt->arena, wish->by)};
    if (body->reason.len > 0)
        shape_mark(body, START_REASON);
    if (body->by.len > 0)
        shape_mark(body, START_BY);
    return body;
}

/* Among those made through the API also by the name that was given there. */
static struct subscription *sub_asked(struct deliver *d, struct str name) {
    struct subscription *sub = subscription_named(d, name);
    for (uint32_t i = 0; i < d->count && (sub == NULL || sub->retired); i++)
        if (d->subs[i]->send->webhook != NULL && str_eq(d->subs[i]->send->webhook->name, name))
            sub = d->subs[i];
    return sub == NULL || sub->retired ? NULL : sub;
}

enum err stop_grant(struct deliver *d, struct wish *wish) {
    struct subscription *sub = sub_asked(d, wish->subscription);
    bool stop = wish->kind == WISH_STOP;
    if (sub == NULL)
        return fault_set(wish->fault, ERR_NOT_FOUND, "there is no such subscription");
    if (sub->stop.stopped == stop)
        return fault_set(wish->fault, ERR_CONFLICT, stop ? "it is stopped already" : "it is not stopped");
    if (sub->stop.to_tell)
        return fault_set(wish->fault, ERR_UNAVAILABLE, "its stop is not recorded yet, try again");
    struct attempt *attempt = attempt_take(sub);
    bool told = false;
    if (attempt != NULL) {
        void *body = stop ? (void *)stop_body(attempt, STOP_PERSON, wish->reason, wish->by)
                          : (void *)start_body(attempt, wish);
        attempt->told = stop ? person_stopped : person_started;
        told = attempt_tell(attempt, stop ? &subscription_stop_command : &subscription_start_command, body, 0);
    }
    if (!told)
        return fault_set(wish->fault, ERR_UNAVAILABLE, "it could not be recorded now, try again");
    wish_telling(wish, attempt);
    return OK;
}
