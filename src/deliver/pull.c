/* pull: see pull.h. */
#include "deliver/pull.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/planted.h"
#include "connect/webhook.h"
#include "domain/subscribers.h"

bool subscription_pulled(const struct subscription *sub) {
    return sub->send->webhook != NULL && sub->send->webhook->pull;
}

/* --- asks ------------------------------------------------------------------------------------ */

enum err pull_submit(struct deliver *d, struct pull_ask *ask, struct fault *fault) {
    uint32_t max = (uint32_t)d->options.config->settings.pull_asks_max;
    enum err err = OK;
    pthread_mutex_lock(&d->lock);
    if (d->pull_closed || d->pull_count >= max) {
        err = fault_set(fault, ERR_UNAVAILABLE,
                        d->pull_closed ? "the hub is stopping" : "too many wait for events (pull_asks_max)");
    } else {
        d->pull_count++;
        ask->until_us = -1;
        ask->next = d->pull_inbox;
        d->pull_inbox = ask;
    }
    pthread_mutex_unlock(&d->lock);
    if (err == OK)
        deliver_wake(d);
    return err;
}

void pull_drain(struct deliver *d) {
    pthread_mutex_lock(&d->lock);
    d->pull_draining = true;
    pthread_mutex_unlock(&d->lock);
    deliver_wake(d);
}

static void ask_end(struct deliver *d, struct pull_ask *ask, enum err err) {
    pthread_mutex_lock(&d->lock);
    d->pull_count--;
    pthread_mutex_unlock(&d->lock);
    ask->err = err != OK || buf_ok(&ask->answer)
                   ? err
                   : fault_set(&ask->fault, ERR_NOMEM, "no memory for the answer");
    ask->done(ask);
}

/* Those that came, behind those that wait: who came first is answered first. */
static void inbox_take(struct deliver *d, int64_t now_us) {
    struct pull_ask *came, *first = NULL, **last = &d->pull_waiting;
    pthread_mutex_lock(&d->lock);
    came = d->pull_inbox;
    d->pull_inbox = NULL;
    pthread_mutex_unlock(&d->lock);
    while (came != NULL) { /* the newest is first */
        struct pull_ask *next = came->next;
        came->next = first;
        came->until_us = now_us + came->wait_s * 1000000;
        first = came;
        came = next;
    }
    while (*last != NULL)
        last = &(*last)->next;
    *last = first;
}

/* --- leases ---------------------------------------------------------------------------------- */

static struct attempt **lease_at(struct subscription *sub, uint64_t seq) {
    struct attempt **at = &sub->leases;
    while (*at != NULL && (*at)->job.seq != seq)
        at = &(*at)->lease_next;
    return at;
}

static struct attempt *lease_take(struct subscription *sub, struct attempt **at) {
    struct attempt *lease = *at;
    *at = lease->lease_next;
    lease->lease_next = NULL;
    sub->lease_count--;
    return lease;
}

/* As if it had not been handed out. */
static void lease_return(struct subscription *sub, struct attempt **at) {
    struct attempt *lease = lease_take(sub, at);
    lanes_return(sub->lanes, lease->job.lane);
    attempt_give_back(lease);
}

void pull_step(struct deliver *d, int64_t now_us) {
    for (uint32_t i = 0; i < d->count; i++) {
        struct subscription *sub = d->subs[i];
        struct attempt **at = &sub->leases;
        while (*at != NULL && (d->failed || d->stopping))
            lease_return(sub, at);
        while (*at != NULL)
            if ((*at)->lease_until_us <= now_us)
                attempt_finish(lease_take(sub, at), LANE_RETRYABLE, 0, 0,
                               STR("its lease ended, and nothing was said"));
            else
                at = &(*at)->lease_next;
    }
}

int64_t pull_next_us(const struct deliver *d, int64_t now_us) {
    int64_t next = INT64_MAX;
    for (const struct pull_ask *ask = d->pull_waiting; ask != NULL; ask = ask->next)
        next = ask->until_us < next ? ask->until_us : next;
    for (uint32_t i = 0; i < d->count; i++) {
        const struct subscription *sub = d->subs[i];
        for (const struct attempt *lease = sub->leases; lease != NULL; lease = lease->lease_next)
            next = lease->lease_until_us < next ? lease->lease_until_us : next;
        if (d->pull_waiting == NULL || !subscription_pulled(sub) || sub->lanes == NULL ||
            !subscription_goes(sub))
            continue;
        int64_t due = lanes_next_us(sub->lanes, now_us);
        next = due > now_us && due < next ? due : next; /* what is due now nobody who waits wants */
    }
    return next;
}

/* --- handing out ----------------------------------------------------------------------------- */

/* True: it is in the answer. */
static bool hand_out(struct subscription *sub, const struct lane_job *job, struct pull_ask *ask,
                     int64_t now_us, uint32_t n) {
    struct deliver *d = sub->deliver;
    struct attempt *lease = attempt_take(sub);
    struct fault fault = {0};
    if (lease == NULL) {
        lanes_return(sub->lanes, job->lane);
        return false;
    }
    lease->job = *job;
    lease->stage = STAGE_SEND;
    enum err err = attempt_event_read(lease, &fault);
    if (err == ERR_INVALID) { /* it can not be had so: a person decides */
        attempt_unmapped(lease, &fault);
        return false;
    }
    if (err != OK) {
        attempt_finish(lease, LANE_RETRYABLE, -1, 0, arena_str(&lease->arena, str_c(fault.detail)));
        return false;
    }
    lease->lease_token = rng_u64(d->options.rng);
    lease->lease_until_us = now_us + ask->lease_s * 1000000;
    buf_printf(&ask->answer, "%s{\"lease\":\"%llu.%016llx\",\"delivery\":%u,\"event\":", n ? "," : "",
               (unsigned long long)job->seq, (unsigned long long)lease->lease_token, job->attempt);
    buf_str_add(&ask->answer, lease->data);
    buf_char(&ask->answer, '}');
    buf_free(&lease->text); /* it may be many, and long */
    buf_init(&lease->text, 0);
    lease->data = STR_NONE;
    lease->lease_next = sub->leases;
    sub->leases = lease;
    sub->lease_count++;
    sub->stats.attempts++;
    return true;
}

/* False: there is nothing yet. */
static bool take(struct subscription *sub, struct pull_ask *ask, int64_t now_us) {
    struct deliver *d = sub->deliver;
    uint32_t most = (uint32_t)d->options.config->settings.pull_leases_max, n = 0;
    struct lane_job job;
    buf_clear(&ask->answer);
    buf_lit(&ask->answer, "{\"items\":[");
    while ((int64_t)n < ask->max && sub->lease_count < most && ask->answer.len < (4u << 20) &&
           buf_ok(&ask->answer) && lanes_take(sub->lanes, now_us, &job)) {
        if (!deliver_reserve(sub, job.seq)) {
            lanes_return(sub->lanes, job.lane);
            break;
        }
        if (!hand_out(sub, &job, ask, now_us, n))
            break;
        n++;
    }
    buf_lit(&ask->answer, "],\"lease_until\":\"");
    int64_t until_us = clock_now_us(d->options.clock) + ask->lease_s * 1000000;
    instant_write(&ask->answer, (struct instant){.us = until_us - until_us % 1000});
    buf_lit(&ask->answer, "\"}");
    return n > 0;
}

/* --- acknowledging --------------------------------------------------------------------------- */

static bool lease_read(struct str text, uint64_t *seq, uint64_t *token) {
    struct str rest = text, number = str_cut(&rest, '.');
    *token = 0;
    if (!rest.ptr || rest.len != 16 || !str_u64(number, seq) || *seq == 0)
        return false;
    for (size_t i = 0; i < rest.len; i++) {
        const char *digits = "0123456789abcdef", *at = strchr(digits, rest.ptr[i]);
        if (at == NULL || rest.ptr[i] == '\0')
            return false;
        *token = *token << 4 | (uint64_t)(at - digits);
    }
    return true;
}

static bool subject_note(void *ctx, const struct record *record) {
    struct attempt *lease = ctx;
    lease->subject = arena_str(&lease->arena, record->subject);
    lease->type = arena_str(&lease->arena, record->type);
    lease->event_us = record->time_us;
    return false;
}

/* Its lease ended, here or with an earlier life of the hub: it counts while nobody else has it. *out
 * NULL and OK: it is done already. */
static enum err claim(struct subscription *sub, uint64_t seq, struct attempt **out, struct fault *fault) {
    struct deliver *d = sub->deliver;
    struct attempt *lease = attempt_take(sub);
    uint64_t next;
    *out = NULL;
    if (lease == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for the lease");
    enum err err = tail_read(d->options.tail, seq, 1, subject_note, lease, &next, fault);
    enum lane_claimed claimed = LANE_UNREAD;
    if (err == OK && lease->subject.ptr != NULL)
        claimed = lanes_claim(sub->lanes, seq, lease->subject, &lease->job);
    if (claimed == LANE_CLAIMED) {
        *out = lease;
        return OK;
    }
    attempt_give_back(lease);
    if (err != OK)
        return err;
    if (claimed == LANE_SETTLED)
        return OK;
    if (claimed == LANE_UNREAD)
        return fault_set(fault, ERR_UNAVAILABLE, "event %llu is not at hand yet: say it again",
                         (unsigned long long)seq);
    return fault_set(fault, ERR_CONFLICT, "event %llu %s", (unsigned long long)seq,
                     claimed == LANE_KEPT ? "is held: a person decides"
                                          : "waits behind another one of its key");
}

/* What the others of this ask will find is looked at first: all of it happens, or nothing. */
static enum err lease_check(struct subscription *sub, const struct pull_ask *ask, struct str text,
                            struct fault *fault) {
    uint64_t seq, token;
    if (!lease_read(text, &seq, &token) || seq > tail_last(sub->deliver->options.tail))
        return fault_set(fault, ERR_CONFLICT, "\"%.*s\" is no lease", (int)(text.len < 64 ? text.len : 64),
                         text.ptr);
    struct attempt *lease = *lease_at(sub, seq);
    if (lease != NULL ? lease->lease_token == token : ask->what != PULL_EXTEND)
        return OK;
    return fault_set(fault, ERR_CONFLICT,
                     lease ? "the lease of event %llu ended, and another one has it"
                           : "the lease of event %llu has ended",
                     (unsigned long long)seq);
}

static enum err ack_one(struct subscription *sub, uint64_t seq, struct fault *fault) {
    struct deliver *d = sub->deliver;
    struct attempt **at = lease_at(sub, seq), *lease = NULL;
    enum err err = OK;
    if (PLANTED(LEASE_TWICE) && *at == NULL) /* whose lease has ended has another's */
        at = &sub->leases;
    if (*at != NULL)
        lease = lease_take(sub, at);
    else
        err = claim(sub, seq, &lease, fault);
    if (lease == NULL)
        return err;
    char key[1024];
    struct str lane = lease->job.key;
    must(lane.len <= sizeof key);
    memcpy(key, lane.ptr, lane.len); /* gone with the lane */
    lane = str_of(key, lane.len);
    attempt_finish(lease, LANE_SUCCESS, -1, 0, STR_NONE);
    pthread_mutex_lock(&d->lock);
    if (!d->failed && seq > lanes_cursor(sub->lanes))
        progress_over(d->progress, sub->name, lane, seq);
    pthread_mutex_unlock(&d->lock);
    return OK;
}

static enum err lease_end(struct subscription *sub, const struct pull_ask *ask, struct str text,
                          int64_t now_us, struct fault *fault) {
    uint64_t seq, token;
    must(lease_read(text, &seq, &token));
    struct attempt **at = lease_at(sub, seq);
    if (ask->what == PULL_ACK)
        return ack_one(sub, seq, fault);
    if (*at == NULL)
        return OK; /* given back what has come back */
    if (ask->what == PULL_EXTEND)
        (*at)->lease_until_us = now_us + ask->lease_s * 1000000;
    else
        attempt_finish(lease_take(sub, at), LANE_RETRYABLE, ask->delay_s * 1000, 0,
                       STR("it was given back"));
    return OK;
}

static enum err leases_end(struct subscription *sub, struct pull_ask *ask, int64_t now_us) {
    struct deliver *d = sub->deliver;
    enum err err = OK;
    for (uint32_t i = 0; i < ask->lease_count && err == OK; i++)
        err = lease_check(sub, ask, ask->leases[i], &ask->fault);
    if (err != OK)
        return err;
    for (uint32_t i = 0; i < ask->lease_count && err == OK; i++)
        err = lease_end(sub, ask, ask->leases[i], now_us, &ask->fault);
    pthread_mutex_lock(&d->lock);
    bool written = deliver_flush_locked(d);
    pthread_mutex_unlock(&d->lock);
    if (!written)
        return fault_set(&ask->fault, ERR_UNAVAILABLE, "it can not be written now: say it again");
    if (err == OK)
        buf_printf(&ask->answer, "{\"leases\":%u}", ask->lease_count);
    return err;
}

/* --- answering ------------------------------------------------------------------------------- */

static struct subscription *pulled_named(struct deliver *d, struct str name) {
    for (uint32_t i = 0; i < d->count; i++)
        if (d->subs[i]->send->webhook != NULL && !d->subs[i]->retired &&
            str_eq(d->subs[i]->send->webhook->name, name))
            return d->subs[i];
    return NULL;
}

static bool unfollowed(struct deliver *d, const struct pull_ask *ask) {
    const struct subscription *sub = pulled_named(d, ask->name);
    return sub == NULL || sub->lanes == NULL || !subscription_goes(sub);
}

/* False: it waits. */
static bool ask_answer(struct deliver *d, struct pull_ask *ask, int64_t now_us, bool hurry, enum err *err) {
    struct subscription *sub = pulled_named(d, ask->name);
    *err = OK;
    if (d->failed)
        *err = fault_set(&ask->fault, ERR_UNAVAILABLE, "delivery stands still, try again");
    else if (sub == NULL)
        *err = fault_set(&ask->fault, ERR_NOT_FOUND, "there is no subscription %.*s",
                         (int)(ask->name.len < 64 ? ask->name.len : 64), ask->name.ptr);
    else if (!subscription_pulled(sub))
        *err = fault_set(&ask->fault, ERR_CONFLICT, "it is a webhook: nothing is pulled from it");
    else if (ask->what == PULL_TAKE && sub->stop.stopped)
        *err = fault_set(&ask->fault, ERR_CONFLICT, "it is stopped (%s): %s", stop_whys[sub->stop.as.why],
                         sub->stop.as.cause);
    else if (sub->lanes == NULL)
        *err = fault_set(&ask->fault, ERR_UNAVAILABLE, "it is being taken up: ask again");
    else if (ask->what != PULL_TAKE)
        *err = leases_end(sub, ask, now_us);
    else
        return take(sub, ask, now_us) || hurry || ask->until_us <= now_us;
    return true;
}

void pull_answer(struct deliver *d, int64_t now_us) {
    inbox_take(d, now_us);
    pthread_mutex_lock(&d->lock);
    bool hurry = d->pull_draining || d->stopping;
    pthread_mutex_unlock(&d->lock);
    for (struct pull_ask **at = &d->pull_waiting; *at != NULL;) {
        struct pull_ask *ask = *at;
        enum err err;
        bool answered = ask_answer(d, ask, now_us, hurry, &err);
        if (answered && err != OK && !ask->again && unfollowed(d, ask)) {
            /* what was made or enabled during this round is followed from the next one on */
            ask->again = true;
            answered = false;
            fault_init(&ask->fault, NULL);
            deliver_wake(d);
        }
        if (!answered) {
            at = &ask->next;
            continue;
        }
        *at = ask->next;
        ask_end(d, ask, err);
    }
}

void pull_close(struct deliver *d) {
    pthread_mutex_lock(&d->lock);
    d->pull_closed = true;
    pthread_mutex_unlock(&d->lock);
    inbox_take(d, 0);
    while (d->pull_waiting != NULL) {
        struct pull_ask *ask = d->pull_waiting;
        d->pull_waiting = ask->next;
        ask_end(d, ask, fault_set(&ask->fault, ERR_UNAVAILABLE, "the hub is stopping"));
    }
    for (uint32_t i = 0; i < d->count; i++)
        while (d->subs[i]->leases != NULL)
            lease_return(d->subs[i], &d->subs[i]->leases);
}
