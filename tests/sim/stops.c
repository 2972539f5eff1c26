/* stops: subscriptions that stop themselves when a share of their deliveries is refused (deliver/stop.h):
 * what share that is follows from the seed; persons start them again, and now and then stop one. */
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sim.h"

#define SHARE_ONE INT64_C(1000000000)

static struct connector_send *send_at(const struct sim *sim, uint32_t connector, uint32_t i) {
    return list_at(sim->connectors.items[connector]->send, struct connector_send, i);
}

void stops_declare(struct sim *sim) {
    for (uint32_t i = 0; i < sim->connectors.count; i++)
        for (uint32_t k = 0; k < sim->connectors.items[i]->send.count; k++) {
            struct connector_send *send = send_at(sim, i, k);
            uint64_t dice = hash64(send->subscription, sim->run->seed);
            send->stop->share = SHARE_ONE / 4 * (1 + (int64_t)(dice % 3));
            send->stop->of_last = 3 + (int64_t)(dice / 8 % 8);
            send->stop->at_least = 2 + (int64_t)(dice / 128 % 2);
            if (dice / 1024 % 2 == 0)
                send->limits->concurrency = 1 + (int64_t)(dice / 2048 % 3);
        }
}

static const struct connector_send *send_named(const struct sim *sim, const char *subscription) {
    for (uint32_t i = 0; i < sim->connectors.count; i++)
        for (uint32_t k = 0; k < sim->connectors.items[i]->send.count; k++)
            if (str_is(send_at(sim, i, k)->subscription, subscription))
                return send_at(sim, i, k);
    must_failed("a subscription of the simulator", __FILE__, __LINE__);
}

/* More than a share of those that ended last, and of at least so many. */
uint32_t stops_at_most(const struct sim *sim, const char *subscription) {
    const struct connector_send *send = send_named(sim, subscription);
    int64_t most = send->stop->share * send->stop->of_last / SHARE_ONE + 1;
    return (uint32_t)((most > send->stop->at_least ? most : send->stop->at_least) + send->limits->concurrency);
}

bool stops_none(const struct sim *sim) {
    for (uint32_t i = 0; i < sim->deliver->count; i++)
        if (sim->deliver->subs[i]->stop.stopped && !sim->deliver->subs[i]->send->webhook)
            return false;
    return true;
}

bool stops_decide(struct sim *sim, bool start_only) {
    struct deliver *d = sim->deliver;
    struct decision_pending *pending = &sim->pending;
    struct subscription *found = NULL;
    uint64_t count = 0;
    for (uint32_t i = 0; i < d->count; i++)
        if (d->subs[i]->stop.stopped && !d->subs[i]->send->webhook && chance(sim, ++count) == 0)
            found = d->subs[i];
    bool start = found != NULL;
    if (!start && !start_only && chance(sim, 20) == 0)
        found = d->subs[chance(sim, d->count)];
    if (pending->waiting || found == NULL || found->send->webhook)
        return false;
    snprintf(pending->subscription, sizeof pending->subscription, "%.*s", STR_FMT(found->name));
    pending->wish = (struct wish){.subscription = str_c(pending->subscription), .by = STR("someone"),
                                  .reason = STR("looked at it"), .kind = start ? WISH_START : WISH_STOP,
                                  .fault = &pending->fault};
    pending->waiting = true;
    if (start) /* it may go on before the person has his answer */
        observe(sim, "{\"started\":{\"subscription\":\"%s\"}}", pending->subscription);
    list_line(sim, "%s %s", start ? "start" : "stop", pending->subscription);
    pending->wish.next = d->wishes;
    d->wishes = &pending->wish;
    deliver_step(d);
    held_answered(sim);
    return true;
}
