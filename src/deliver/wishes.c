/* wishes: what a person decides about a held delivery or a subscription: asked for by any thread,
 * granted by the loop between two rounds.
 *
 * What always holds: the journal knows of a discard before the delivery is gone; what a person is
 * answered to be done is on disk; a delivery that is not the first of its lane can not be decided
 * about; who asks waits at most WISH_TIMEOUT_S. */
#include <time.h>

#include "base/mem.h"
#include "deliver/deliver_priv.h"
#include "deliver/edit.h"

#define WISH_TIMEOUT_S INT64_C(10)

struct row_copy {
    struct arena *arena;
    struct progress_row row;
    bool found;
};
static bool copy_row(void *ctx, const struct progress_row *row) {
    struct row_copy *copy = ctx;
    copy->row = *row;
    copy->row.subscription = arena_str(copy->arena, row->subscription);
    copy->row.lane = arena_str(copy->arena, row->lane);
    copy->row.subject = arena_str(copy->arena, row->subject);
    copy->row.type = arena_str(copy->arena, row->type);
    copy->row.cause = row->cause.ptr ? arena_str(copy->arena, row->cause) : STR_NONE;
    copy->found = true;
    return false;
}

static enum err not_recorded(struct wish *wish) {
    return fault_set(wish->fault, ERR_UNAVAILABLE, "it could not be recorded now, try again");
}

/* The held delivery goes again, and the journal is told. Caller has the lock. */
static enum err held_release(struct subscription *sub, struct progress_row *row, struct str by,
                             struct str reason) {
    struct deliver *d = sub->deliver;
    row->due_us = clock_now_us(d->options.clock) | 1; /* after a crash it goes on by itself */
    progress_list(d->progress, row);
    lanes_release(sub->lanes, lanes_held(sub->lanes, row->lane));
    if (!deliver_flush_locked(d))
        return ERR_UNAVAILABLE;
    attempt_tell_released(sub, row, NULL, by, reason);
    return OK;
}

/* Whether it may be edited, and what it names is what there is. Caller has the lock. */
static enum err edit_grant(struct subscription *sub, const struct progress_row *row, struct wish *wish) {
    const struct delivery_edit *edit = wish->edit;
    uint64_t replaces = shape_has(edit, EDITED_REPLACES) ? (uint64_t)edit->replaces : 0;
    enum err err = edit_possible(sub->send, edit, wish->fault);
    if (err != OK)
        return err;
    if (replaces != row->edit)
        return fault_set(wish->fault, ERR_CONFLICT, "somebody else has edited it meanwhile: look again");
    return attempt_tell_edited(sub, row, wish) ? OK : fault_set(wish->fault, ERR_NOMEM, "no memory to edit it");
}

/* Caller has the lock. */
static enum err wish_grant(struct deliver *d, struct wish *wish, struct arena *arena) {
    struct subscription *sub = subscription_named(d, wish->subscription);
    struct row_copy copy = {.arena = arena};
    if (sub != NULL && sub->lanes != NULL && wish->seq > 0) {
        enum err err = progress_rows(d->progress, wish->subscription, wish->subscription,
                                     wish->seq - 1, false, 1, copy_row, &copy, wish->fault);
        if (err != OK)
            return err;
    }
    if (!copy.found || copy.row.seq != wish->seq)
        return fault_set(wish->fault, ERR_NOT_FOUND, "no such delivery is held");
    uint32_t lane = lanes_held(sub->lanes, copy.row.lane);
    if (lane == LANE_NONE)
        return fault_set(wish->fault, ERR_CONFLICT, "it is being retried already");
    uint64_t first = 0, next = 0;
    enum err err = progress_next(d->progress, wish->subscription, copy.row.lane, 0, &first,
                                 wish->fault);
    if (err == OK)
        err = progress_next(d->progress, wish->subscription, copy.row.lane, wish->seq, &next,
                            wish->fault);
    if (err != OK)
        return err;
    if (first != wish->seq)
        return fault_set(wish->fault, ERR_CONFLICT, "it waits behind delivery %llu of its key",
                         (unsigned long long)first);
    /* it is held on disk before the journal knows that it is given up: what is undone is held again */
    if (wish->kind == WISH_DISCARD && !deliver_flush_locked(d))
        return not_recorded(wish);
    if (wish->kind == WISH_DISCARD)
        return attempt_tell_released(sub, &copy.row, wish, wish->by, wish->reason)
                   ? OK
                   : fault_set(wish->fault, ERR_NOMEM, "no memory to discard it");
    if (wish->kind == WISH_EDIT)
        return edit_grant(sub, &copy.row, wish);
    return held_release(sub, &copy.row, wish->by, wish->reason) == OK ? OK : not_recorded(wish);
}

void wish_telling(struct wish *wish, struct attempt *attempt) {
    wish->telling = attempt;
    attempt->wish = wish;
    attempt->deliver->deciding = true;
}

void wish_told(struct attempt *attempt, enum err err) {
    struct deliver *d = attempt->deliver;
    d->deciding = false;
    if (attempt->wish == NULL)
        return;
    attempt->wish->err = err == OK ? OK : not_recorded(attempt->wish);
    attempt->wish->done = true;
    pthread_cond_broadcast(&d->decided);
}

/* Not before the journal knows: else a crash would leave an event that was neither delivered nor
 * held, and nobody to say why. */
void deliver_discarded(struct attempt *attempt, enum err err) {
    struct deliver *d = attempt->deliver;
    struct lanes *lanes = attempt->sub->lanes;
    struct str subscription = attempt->sub->name;
    struct fault fault = {0};
    uint64_t next = 0;
    pthread_mutex_lock(&d->lock);
    uint32_t lane = err == OK && !d->failed ? lanes_held(lanes, attempt->job.key) : LANE_NONE;
    if (lane != LANE_NONE)
        err = progress_next(d->progress, subscription, attempt->job.key, attempt->job.seq, &next,
                            &fault);
    else if (err == OK)
        err = ERR_UNAVAILABLE;
    if (err == OK) {
        progress_unlist(d->progress, subscription, attempt->job.key, attempt->job.seq);
        subscription_ended(attempt->sub, attempt->job.seq, attempt->job.key);
        lanes_refill(lanes, lane, next);
        if (!deliver_flush_locked(d))
            err = ERR_UNAVAILABLE; /* it is held again */
    }
    wish_told(attempt, err);
    pthread_mutex_unlock(&d->lock);
}

/* The journal knows what is changed: the delivery goes again, so. Where this can not be written, or a crash
 * comes between, the next load takes it from the state (edit_loaded): then it is held still, and edited. */
void deliver_edited(struct attempt *attempt, enum err err) {
    struct deliver *d = attempt->deliver;
    struct subscription *sub = attempt->sub;
    const struct delivery_edit *edit = attempt->command.body;
    struct row_copy copy = {.arena = &attempt->arena};
    struct fault fault = {0};
    pthread_mutex_lock(&d->lock);
    bool held = err == OK && !d->failed && lanes_held(sub->lanes, attempt->job.key) != LANE_NONE;
    if (held)
        err = progress_rows(d->progress, sub->name, sub->name, attempt->job.seq - 1, false, 1, copy_row, &copy,
                            &fault);
    else if (err == OK)
        err = ERR_UNAVAILABLE;
    if (err == OK && copy.found && copy.row.seq == attempt->job.seq) {
        uint64_t newest = edit_newest(sub, attempt->job.seq);
        progress_edit_set(d->progress, sub->name, attempt->job.key, attempt->job.seq, newest);
        if (attempt->wish != NULL)
            attempt->wish->edit_seq = newest;
        err = held_release(sub, &copy.row, edit->by, edit->reason);
    }
    wish_told(attempt, err);
    pthread_mutex_unlock(&d->lock);
}

static enum err wish_decide(struct deliver *d, struct wish *wish, struct arena *arena) {
    if (d->failed)
        return fault_set(wish->fault, ERR_UNAVAILABLE, "delivery stands still, try again");
    if (d->drained) /* what the journal was not told of yet, it is not told any more: that comes first */
        return fault_set(wish->fault, ERR_UNAVAILABLE, "the hub is stopping");
    if (wish->decide != NULL)
        return wish->decide(d, wish);
    bool stop = wish->kind == WISH_STOP || wish->kind == WISH_START;
    return stop ? stop_grant(d, wish) : wish_grant(d, wish, arena);
}

void wishes_grant(struct deliver *d) {
    pthread_mutex_lock(&d->lock);
    struct wish *wish = d->wishes;
    d->wishes = NULL;
    bool any = wish != NULL;
    struct arena arena;
    arena_init(&arena, 0);
    while (wish != NULL) {
        struct wish *next = wish->next; /* gone once it is done */
        /* The journal hears first what happened, then what was decided about it. */
        if (d->deciding || (wish->kind != WISH_RETRY && d->telling > 0)) {
            wish->next = d->wishes;
            d->wishes = wish;
        } else {
            wish->err = wish_decide(d, wish, &arena);
            wish->done = wish->telling == NULL;
        }
        wish = next;
    }
    if (any)
        pthread_cond_broadcast(&d->decided);
    pthread_mutex_unlock(&d->lock);
    arena_free(&arena);
}

enum err wish_make(struct deliver *d, struct wish *wish) {
    /* a person waits: the machine's time, whatever clock delivery runs by */
    int64_t until_us = clock_tick_us(&clock_system) + WISH_TIMEOUT_S * 1000000;
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    pthread_mutex_lock(&d->lock);
    wish->next = d->wishes;
    d->wishes = wish;
    pthread_mutex_unlock(&d->lock);
    deliver_wake(d);
    if (d->options.alone)
        deliver_step(d);
    pthread_mutex_lock(&d->lock);
    int rc = 0;
    while (!wish->done && rc == 0 && !d->options.alone)
        rc = pthread_cond_timedwait(&d->decided, &d->lock, &until);
    if (!wish->done) { /* take it back: it lives on our stack */
        struct wish **at = &d->wishes;
        while (*at != NULL && *at != wish)
            at = &(*at)->next;
        if (*at != NULL)
            *at = wish->next;
        else
            wish->telling->wish = NULL;
        wish->err = fault_set(wish->fault, ERR_TIMEOUT, "delivery is not running");
    }
    pthread_mutex_unlock(&d->lock);
    return wish->err;
}

enum err deliver_retry(struct deliver *d, struct str subscription, uint64_t seq, struct str by,
                       struct str reason, struct fault *fault) {
    struct wish wish = {.subscription = subscription, .seq = seq, .by = by, .reason = reason,
                        .fault = fault};
    return wish_make(d, &wish);
}

enum err deliver_discard(struct deliver *d, struct str subscription, uint64_t seq, struct str by,
                         struct str reason, struct fault *fault) {
    struct wish wish = {.subscription = subscription, .seq = seq, .by = by, .reason = reason,
                        .kind = WISH_DISCARD, .fault = fault};
    return wish_make(d, &wish);
}

enum err deliver_edit(struct deliver *d, const struct delivery_edit *edit, uint64_t *edit_seq,
                      struct fault *fault) {
    struct wish wish = {.subscription = edit->subscription, .seq = (uint64_t)edit->event_seq, .by = edit->by,
                        .reason = edit->reason, .kind = WISH_EDIT, .edit = edit, .fault = fault};
    enum err err = wish_make(d, &wish);
    *edit_seq = wish.edit_seq;
    return err;
}

enum err deliver_subscription_stop(struct deliver *d, struct str subscription, struct str by,
                                   struct str reason, struct fault *fault) {
    struct wish wish = {.kind = WISH_STOP, .subscription = subscription, .by = by, .reason = reason,
                        .fault = fault};
    return wish_make(d, &wish);
}

enum err deliver_subscription_start(struct deliver *d, struct str subscription, struct str by,
                                    struct str reason, struct fault *fault) {
    struct wish wish = {.kind = WISH_START, .subscription = subscription, .by = by, .reason = reason,
                        .fault = fault};
    return wish_make(d, &wish);
}

enum err deliver_held(struct deliver *d, struct str after_subscription, uint64_t after_seq,
                      uint32_t limit, bool (*visit)(void *ctx, const struct progress_row *row),
                      void *ctx, struct fault *fault) {
    pthread_mutex_lock(&d->lock);
    enum err err = progress_rows(d->progress, STR_NONE, after_subscription, after_seq, true, limit,
                                 visit, ctx, fault);
    pthread_mutex_unlock(&d->lock);
    return err;
}
