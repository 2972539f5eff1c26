/* held: the persons who decide about deliveries that are held (deliver/wishes.c): one is retried, edited or
 * given up, and what they were answered is observed. What a person was told to be given up must stay so, and
 * what is sent after an edit must be what was edited; a crash may undo what nobody was answered, and another
 * may then decide otherwise. */
#include <stdio.h>
#include <string.h>

#include "deliver/deliver_priv.h"
#include "sim.h"

struct held_found {
    struct sim *sim;
    uint32_t count;
    struct str wanted; /* of this subscription; absent: of any */
    char subscription[64];
    uint64_t seq, edit;
    int32_t status;
};
static bool held_pick(void *ctx, const struct progress_row *row) {
    struct held_found *found = ctx;
    if (fetcher_has(row->subscription) || (found->wanted.ptr != NULL && !str_eq(found->wanted, row->subscription)))
        return true;
    if (progress_row_held(row) && chance(found->sim, ++found->count) == 0) {
        snprintf(found->subscription, sizeof found->subscription, "%.*s",
                 STR_FMT(row->subscription));
        found->seq = row->seq;
        found->edit = row->edit;
        found->status = row->status;
    }
    return true;
}

static bool wanted_any(struct str subscription) { return subscription.ptr == NULL; }

/* A member that no mapping looks at. */
static struct str edited_member[] = {{"/" EDITED_MARK, sizeof EDITED_MARK}};
static void edit_ask(struct decision_pending *pending, const struct held_found *found) {
    struct delivery_edit *edit = &pending->edit;
    *edit = (struct delivery_edit){.subscription = pending->wish.subscription, .event_seq = (int64_t)found->seq,
                                   .patch = STR("{\"" EDITED_MARK "\":true}"), .changed = {edited_member, 1},
                                   .reason = pending->wish.reason, .by = pending->wish.by,
                                   .replaces = (int64_t)found->edit,
                                   .has = (1u << EDITED_MAPPING_VERSION) - 1};
    shape_mark(edit, EDITED_REASON);
    shape_mark(edit, EDITED_BY);
    if (found->edit > 0)
        shape_mark(edit, EDITED_REPLACES);
    if (found->status == 422)
        shape_mark(edit, EDITED_ID_SEQ);
    pending->wish.edit = edit;
}

void held_edited(struct sim *sim, const char *subscription, uint64_t seq, uint64_t asked, struct str body) {
    for (uint32_t i = 0; i < EDITED_MAX && i < sim->edited_count; i++) {
        const struct edited *edited = &sim->edited[i];
        if (edited->seq == seq && edited->at <= asked && strcmp(edited->subscription, subscription) == 0 &&
            !memmem(body.ptr, body.len, EDITED_MARK, sizeof EDITED_MARK - 1))
            violate(sim, "edit-lost", "%s, seq %llu: edited at %llu, and sent as it was at %llu", subscription,
                    (unsigned long long)seq, (unsigned long long)edited->at, (unsigned long long)asked);
    }
}

static const char *const kinds[] = {[WISH_RETRY] = "retry", [WISH_DISCARD] = "discard", [WISH_EDIT] = "edit"};

/* As deliver_retry, deliver_edit and deliver_discard do, but for the waiting: there is only one thread. */
void held_decide(struct sim *sim, struct str subscription) {
    static const enum wish_kind ways[] = {WISH_DISCARD, WISH_RETRY, WISH_EDIT};
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
                                  .kind = ways[chance(sim, 3)],
                                  .fault = &pending->fault};
    if (pending->wish.kind == WISH_EDIT)
        edit_ask(pending, &found);
    pending->waiting = true;
    list_line(sim, "%s %s:%llu", kinds[pending->wish.kind], found.subscription,
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
    if (wish->err == OK && wish->kind == WISH_EDIT) {
        struct edited *edited = &sim->edited[sim->edited_count++ % EDITED_MAX];
        *edited = (struct edited){.seq = wish->seq, .at = wish->edit_seq};
        memcpy(edited->subscription, pending->subscription, sizeof edited->subscription);
    }
    if (wish->err == OK && !hooks_has(wish->subscription) &&
        (wish->kind == WISH_RETRY || wish->kind == WISH_EDIT || wish->kind == WISH_DISCARD))
        observe(sim, "{\"decided\":{\"subscription\":\"%s\",\"seq\":%llu,\"action\":\"%s\",\"at\":%llu}}",
                pending->subscription, (unsigned long long)wish->seq, kinds[wish->kind],
                (unsigned long long)core_seq(sim->core));
}
