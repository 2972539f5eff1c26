/* replay_ops: what people ask of replays and see of them, over HTTP. Owns nothing. Each decision is
 * made by delivery's loop (wish_make), and is on disk before it is answered. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "deliver/deliver_shapes.h"
#include "deliver/replay_priv.h"
#include "deliver/replay_shapes.h"
#include "domain/replays.h"

#define COUNT_WAIT_S 8 /* that a dry run is waited for */

/* --- what keeps it from being done twice --------------------------------------------------------- */

static bool names_event(struct str text) {
    return memmem(text.ptr, text.len, "{event.id}", 10) != NULL ||
           memmem(text.ptr, text.len, "{event.seq}", 11) != NULL;
}

enum replay_guard replay_guard_of(const struct connector_send *send) {
    const struct connector_request *request = send->request;
    if (send->lookup != NULL || send->script.len > 0)
        return REPLAY_GUARD_LOOKUP;
    if (send->webhook != NULL) /* webhook-id is the event's */
        return REPLAY_GUARD_KEY;
    if (str_is(request->method, "PUT") || names_event(request->url))
        return REPLAY_GUARD_KEY;
    for (uint32_t i = 0; i < request->header_count; i++)
        if (names_event(request->headers[i].value))
            return REPLAY_GUARD_KEY;
    return REPLAY_GUARD_NONE;
}

/* --- seeing ---------------------------------------------------------------------------------------- */

static enum err list_query(struct query *query, struct fault *fault) {
    struct deliver *d = query->ctx;
    struct str subscription = query_value(query, "subscription");
    (void)fault;
    list_begin(query->out);
    pthread_mutex_lock(&d->lock);
    for (uint32_t i = d->replays.count; i > 0; i--) {
        const struct replay *r = &d->replays.items[i - 1]->row;
        if (subscription.ptr && !str_eq(subscription, r->subscription))
            continue;
        list_next(query->out);
        shape_encode(&replay_shape, r, query->out);
    }
    pthread_mutex_unlock(&d->lock);
    list_end(query->out, STR_NONE);
    return OK;
}

static enum err id_of(const struct query *query, uint64_t *id, struct fault *fault) {
    return str_u64(query->args[0], id) ? OK : fault_set(fault, ERR_NOT_FOUND, "there is no such replay");
}

static enum err show_query(struct query *query, struct fault *fault) {
    struct deliver *d = query->ctx;
    uint64_t id;
    enum err err = id_of(query, &id, fault);
    if (err != OK)
        return err;
    pthread_mutex_lock(&d->lock);
    const struct replay_job *job = replay_find(d, id);
    if (job != NULL)
        shape_encode(&replay_shape, &job->row, query->out);
    pthread_mutex_unlock(&d->lock);
    return job ? OK : fault_set(fault, ERR_NOT_FOUND, "there is no such replay");
}

/* --- asking ------------------------------------------------------------------------------------------ */

struct replay_wish {
    struct wish wish; /* first */
    struct replay row; /* to begin */
    uint64_t id;
    enum replay_action action;
    struct buf *out;
};

static void ask_check(const struct replay_ask *ask, struct fault *fault) {
    bool any = ask->from.us || ask->to.us || ask->from_seq || ask->to_seq || ask->type.ptr || ask->key.ptr ||
               ask->correlation.ptr || ask->connector.ptr;
    if (!any)
        fault_add(fault, STR("/from_seq"), "say which events: from_seq 1 is every one");
    if (ask->from_seq && ask->to_seq && ask->to_seq < ask->from_seq)
        fault_add(fault, STR("/to_seq"), "is before from_seq");
    if (ask->from.us && ask->to.us && ask->to.us <= ask->from.us)
        fault_add(fault, STR("/to"), "is not after from");
}

static enum err ask_read(struct query *query, struct replay *row, struct fault *fault) {
    void *body;
    enum err err = query_body(query, &replay_ask_shape, &body, fault);
    if (err != OK)
        return err;
    const struct replay_ask *ask = body;
    ask_check(ask, fault);
    if (fault->first) {
        fault->err = ERR_INVALID;
        return ERR_INVALID;
    }
    /* the first rows of both are the same */
    *row = (struct replay){.has = ask->has & ((UINT64_C(1) << ASK_ROWS) - 1),
                           .subscription = ask->subscription, .from = ask->from, .to = ask->to,
                           .from_seq = ask->from_seq, .to_seq = ask->to_seq, .type = ask->type,
                           .key = ask->key, .correlation = ask->correlation, .connector = ask->connector,
                           .rate_per_s = ask->rate_per_s, .again = ask->again, .newest = ask->newest,
                           .dry_run = ask->dry_run, .reason = ask->reason, .by = query->actor,
                           .asked_at = {.us = query->now_us}};
    if (row->by.ptr)
        row->has |= UINT64_C(1) << REPLAY_BY;
    return OK;
}

/* Whether this subscription can be given these events once more. */
static enum err allowed(const struct subscription *sub, struct replay *row, struct fault *fault) {
    if (sub == NULL || sub->lanes == NULL || sub->retired)
        return fault_set(fault, ERR_NOT_FOUND, "there is no such subscription, or it is not followed");
    if (!sub->stats.usable)
        return fault_set(fault, ERR_CONFLICT, "the subscription is switched off, or something it needs is not set");
    const struct connector_send *send = sub->send;
    if (send->conflate)
        return fault_set(fault, ERR_CONFLICT,
                         "only the newest of a key counts for the subscription: an older one would take its place");
    bool one = row->type.len > 0 && row->type.ptr[row->type.len - 1] != '*';
    if (one && !connector_wants(send, row->type))
        return fault_set(fault, ERR_CONFLICT, "the subscription does not take events of this type");
    row->guard = (int32_t)replay_guard_of(send);
    if (row->again && send->replay != SEND_REPLAY_AGAIN)
        return fault_set(fault, ERR_CONFLICT,
                         "nothing may go there as new again: the send entry does not say `replay: again`");
    if (row->guard == REPLAY_GUARD_NONE && !row->again && !row->dry_run)
        return fault_set(fault, ERR_CONFLICT,
                         "the system could not tell what it has already: there is no look-up, and the request "
                         "does not carry {event.id}; `again` can be asked for where the send entry says "
                         "`replay: again`");
    return OK;
}

/* Those that are over make room. */
static bool room(struct deliver *d) {
    uint32_t over = 0, busy = 0;
    struct replay_job *oldest = NULL;
    for (uint32_t i = 0; i < d->replays.count; i++) {
        struct replay_job *job = d->replays.items[i];
        bool is_over = replay_over(&job->row);
        if (is_over && oldest == NULL)
            oldest = job;
        over += is_over;
        busy += !is_over;
    }
    if (over >= REPLAYS_KEPT) {
        progress_replay_drop(d->progress, oldest->row.id);
        replay_drop(d, oldest);
    }
    return busy < REPLAYS_MAX;
}

enum err replay_begin(struct deliver *d, struct replay *row, uint64_t *id, struct fault *fault) {
    struct subscription *sub = subscription_named(d, row->subscription);
    enum err err = allowed(sub, row, fault);
    if (err != OK)
        return err;
    if (!room(d))
        return fault_set(fault, ERR_CONFLICT, "%d replays are under way: cancel one, or wait", REPLAYS_MAX);
    row->id = d->replays.last_id + 1;
    row->state = REPLAY_COUNTING;
    row->last = (int64_t)tail_last(d->options.tail);
    if (row->to_seq && row->to_seq < row->last)
        row->last = row->to_seq;
    const uint64_t always =
        UINT64_C(1) << REPLAY_SUBSCRIPTION | UINT64_C(1) << REPLAY_ID | UINT64_C(1) << REPLAY_STATE |
        UINT64_C(1) << REPLAY_ASKED_AT | UINT64_C(1) << REPLAY_GUARD | UINT64_C(1) << REPLAY_LAST |
        UINT64_C(1) << REPLAY_POSITION | UINT64_C(1) << REPLAY_SENT | UINT64_C(1) << REPLAY_FOUND |
        UINT64_C(1) << REPLAY_HELD | UINT64_C(1) << REPLAY_SUPERSEDED;
    row->has |= always;
    struct replay_job *job = replay_add(d, row);
    if (job == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for a replay");
    job->dirty = true;
    if (!deliver_flush_locked(d))
        return fault_set(fault, ERR_UNAVAILABLE, "it could not be recorded now, try again");
    if (sub->replay == NULL)
        replay_pick(sub);
    *id = (uint64_t)job->row.id;
    return OK;
}

static enum err begin_decide(struct deliver *d, struct wish *wish) {
    struct replay_wish *rw = (struct replay_wish *)wish;
    return replay_begin(d, &rw->row, &rw->id, wish->fault);
}

/* Under the lock, until it is counted. */
static void count_wait(struct deliver *d, uint64_t id) {
    /* a person waits: the machine's time, whatever clock delivery runs by */
    int64_t until_us = clock_tick_us(&clock_system) + COUNT_WAIT_S * INT64_C(1000000);
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    int rc = 0;
    const struct replay_job *job = replay_find(d, id);
    while (job != NULL && job->row.state == REPLAY_COUNTING && rc == 0) {
        rc = pthread_cond_timedwait(&d->decided, &d->lock, &until);
        job = replay_find(d, id);
    }
}

static enum err begin_query(struct query *query, struct fault *fault) {
    struct deliver *d = query->ctx;
    struct replay_wish rw = {.wish = {.decide = begin_decide, .fault = fault}};
    enum err err = ask_read(query, &rw.row, fault);
    if (err == OK)
        err = wish_make(d, &rw.wish);
    if (err != OK)
        return err;
    pthread_mutex_lock(&d->lock);
    if (rw.row.dry_run)
        count_wait(d, rw.id);
    const struct replay_job *job = replay_find(d, rw.id);
    if (job != NULL)
        shape_encode(&replay_shape, &job->row, query->out);
    pthread_mutex_unlock(&d->lock);
    query->status = 201;
    return job ? OK : fault_set(fault, ERR_UNAVAILABLE, "it could not be recorded now, try again");
}

/* --- deciding ------------------------------------------------------------------------------------------ */

/* What is settled behind something that is not counts as well. */
static void settled_count(struct replay_job *job) {
    struct replay *r = &job->row;
    for (uint32_t i = 0; job->window && i < job->count; i++) {
        int state = job->window[(job->first + i) % REPLAY_WINDOW].state;
        r->sent += state == ENTRY_SENT;
        r->found += state == ENTRY_FOUND;
        r->held += state == ENTRY_HELD;
        r->superseded += state == ENTRY_SUPERSEDED;
    }
}

static enum err act(struct deliver *d, struct replay_job *job, enum replay_action action, struct fault *fault) {
    int32_t state = job->row.state;
    if (replay_over(&job->row) || state == REPLAY_ENDING)
        return fault_set(fault, ERR_CONFLICT, "the replay is over");
    if ((action == REPLAY_RESUME) != (state == REPLAY_PAUSED) && action != REPLAY_CANCEL)
        return fault_set(fault, ERR_CONFLICT, state == REPLAY_PAUSED ? "the replay is paused already"
                                                                     : "the replay is not paused");
    if (state == REPLAY_STARTING)
        return fault_set(fault, ERR_CONFLICT, "the replay is just beginning: try again");
    if (action == REPLAY_PAUSE) {
        replay_state_set(job, REPLAY_PAUSED);
    } else if (action == REPLAY_RESUME) {
        replay_state_set(job, job->row.began ? REPLAY_RUNNING : REPLAY_COUNTING);
    } else {
        settled_count(job);
        job->row.ended_at = (struct instant){.us = clock_now_us(d->options.clock)};
        shape_mark(&job->row, REPLAY_ENDED_AT);
        replay_state_set(job, REPLAY_CANCELLED);
    }
    return OK;
}

enum err replay_decide(struct deliver *d, uint64_t id, enum replay_action action, struct str by,
                       struct str reason, struct fault *fault) {
    static const int32_t told[] = {[REPLAY_PAUSE] = DELIVERY_REPLAY_PAUSED,
                                   [REPLAY_RESUME] = DELIVERY_REPLAY_RESUMED,
                                   [REPLAY_CANCEL] = DELIVERY_REPLAY_CANCELLED};
    struct replay_job *job = replay_find(d, id);
    if (job == NULL)
        return fault_set(fault, ERR_NOT_FOUND, "there is no such replay");
    enum err err = act(d, job, action, fault);
    if (err != OK)
        return err;
    struct subscription *sub = subscription_named(d, job->row.subscription);
    if (sub != NULL)
        replay_pick(sub);
    if (!deliver_flush_locked(d))
        return fault_set(fault, ERR_UNAVAILABLE, "it could not be recorded now, try again");
    if (sub != NULL)
        replay_tell(sub, job, told[action], by, reason, false);
    return OK;
}

static enum err decide(struct deliver *d, struct wish *wish) {
    struct replay_wish *rw = (struct replay_wish *)wish;
    enum err err = replay_decide(d, rw->id, rw->action, wish->by, wish->reason, wish->fault);
    if (err == OK)
        shape_encode(&replay_shape, &replay_find(d, rw->id)->row, rw->out);
    return err;
}

static enum err decide_query(struct query *query, enum replay_action action, struct fault *fault) {
    struct replay_wish rw = {.wish = {.decide = decide, .by = query->actor, .fault = fault},
                             .action = action, .out = query->out};
    void *decision;
    enum err err = query_body(query, &replay_decide_shape, &decision, fault);
    if (err == OK)
        err = id_of(query, &rw.id, fault);
    if (err == OK)
        rw.wish.reason = ((const struct ops_decision *)decision)->reason;
    return err == OK ? wish_make(query->ctx, &rw.wish) : err;
}

static enum err pause_query(struct query *query, struct fault *fault) {
    return decide_query(query, REPLAY_PAUSE, fault);
}
static enum err resume_query(struct query *query, struct fault *fault) {
    return decide_query(query, REPLAY_RESUME, fault);
}
static enum err cancel_query(struct query *query, struct fault *fault) {
    return decide_query(query, REPLAY_CANCEL, fault);
}

static const struct query_param list_params[] = {
    {"subscription", false, false, "Only to this one"},
    {NULL, false, false, NULL},
};
#define DECIDES(verb, function, words)                                                             \
    {.method = "POST", .path = "/ops/replays/{id}/" verb, .scope = "ops:retry",                     \
     .traffic = CLASS_OPS, .flags = ROUTE_BODY_MAY, .query = function, .body = &replay_decide_shape, \
     .answer = &replay_shape, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT), .help = words}
const struct route replay_routes[] = {
    {.method = "GET", .path = "/ops/replays", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = list_query, .params = list_params, .answer = &replay_shape, .flags = ROUTE_LIST,
     .help = "Replays that are under way, and the last ones that are over"},
    {.method = "POST", .path = "/ops/replays", .scope = "ops:retry", .traffic = CLASS_OPS,
     .query = begin_query, .body = &replay_ask_shape, .answer = &replay_shape, .status = 201,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT),
     .help = "Give events of the journal to one subscription once more; dry_run: say how many"},
    {.method = "GET", .path = "/ops/replays/{id}", .scope = "ops:read", .traffic = CLASS_OPS,
     .query = show_query, .answer = &replay_shape, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND),
     .help = "How far a replay is"},
    DECIDES("pause", pause_query, "Send nothing more for now; what is out ends"),
    DECIDES("resume", resume_query, "Go on where it stood"),
    DECIDES("cancel", cancel_query, "End it; what was sent stays sent"),
    {.method = NULL},
};
