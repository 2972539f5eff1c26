/* held: the persons who decide about deliveries that are held (deliver/wishes.c): one is retried or given
 * up, and what they were answered is observed. What a person was told to be given up must stay so; a
 * crash may undo what nobody was answered, and another may then decide otherwise. */
#include <stdio.h>

#include "deliver/deliver_priv.h"
#include "sim.h"

struct held_found {
    struct sim *sim;
    uint32_t count;
    struct str wanted; /* of this subscription; absent: of any */
    char subscription[64];
    uint64_t seq;
};
static bool held_pick(void *ctx, const struct progress_row *row) {
    struct held_found *found = ctx;
    if (found->wanted.ptr != NULL && !str_eq(found->wanted, row->subscription))
        return true;
    if (progress_row_held(row) && chance(found->sim, ++found->count) == 0) {
        snprintf(found->subscription, sizeof found->subscription, "%.*s",
                 STR_FMT(row->subscription));
        found->seq = row->seq;
    }
    return true;
}

static bool wanted_any(struct str subscription) { return subscription.ptr == NULL; }

/* As deliver_retry and deliver_discard do, but for the waiting: there is only one thread. */
void held_decide(struct sim *sim, struct str subscription) {
    struct deliver *d = sim->deliver;
    struct held_found found = {.sim = sim, .wanted = subscription};
    struct fault fault = {0};
    held_answered(sim);
    if (sim->pending.waiting)
        return; /* not yet recorded */
    if (wanted_any(subscription) && chance(sim, 2) == 0 && stops_decide(sim, false))
        return;
    if (deliver_held(d, STR_NONE, 0, 1000, held_pick, &found, &fault) != OK || found.count == 0)
        return;
    struct decision_pending *pending = &sim->pending;
    snprintf(pending->subscription, sizeof pending->subscription, "%s", found.subscription);
    pending->wish = (struct wish){.subscription = str_c(pending->subscription),
                                  .seq = found.seq,
                                  .by = STR("someone"),
                                  .reason = STR("looked at it"),
                                  .kind = chance(sim, 3) == 0 ? WISH_DISCARD : WISH_RETRY,
                                  .fault = &pending->fault};
    pending->waiting = true;
    list_line(sim, "%s %s:%llu", pending->wish.kind == WISH_DISCARD ? "discard" : "retry", found.subscription,
              (unsigned long long)found.seq);
    pending->wish.next = d->wishes;
    d->wishes = &pending->wish;
    deliver_step(d);
    held_answered(sim);
}

void held_answered(struct sim *sim) {
    struct decision_pending *pending = &sim->pending;
    const struct wish *wish = &pending->wish;
    if (!pending->waiting || !wish->done)
        return;
    pending->waiting = false;
    if (wish->err == OK && wish->kind == WISH_START)
        observe(sim, "{\"started\":{\"subscription\":\"%s\"}}", pending->subscription);
    if (wish->err == OK && (wish->kind == WISH_RETRY || wish->kind == WISH_DISCARD))
        observe(sim, "{\"decided\":{\"subscription\":\"%s\",\"seq\":%llu,\"action\":\"%s\",\"at\":%llu}}",
                pending->subscription, (unsigned long long)wish->seq, wish->kind == WISH_DISCARD ? "discard" : "retry",
                (unsigned long long)core_seq(sim->core));
}
