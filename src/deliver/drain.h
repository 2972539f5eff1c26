/* drain: how fast a subscription works off what is behind it in the journal, and when it will be done at
 * this pace. Pure, and nothing per event: told where everything is at most once a second, it remembers a
 * moving average over about ten seconds. Zeroed: nothing is known.
 *
 * It is done when both are: the events that it wants, as fast as they end less as fast as others come that it
 * wants (what delivering adds to the journal itself it hardly ever does); and the positions of the journal, as
 * fast as its cursor passes them. */
#ifndef PENSTOCK_DELIVER_DRAIN_H
#define PENSTOCK_DELIVER_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

struct drain_at {
    uint64_t cursor, last; /* of the subscription, and of the journal */
    uint64_t ended;        /* events that came to their end: delivered, discarded, held … */
    uint64_t events;       /* that it wants and that are not done */
    uint32_t wanted_m;     /* of a thousand that come now, those that it wants */
};
struct drain {
    bool begun;
    uint32_t count;     /* seconds seen, up to 10 */
    int64_t at_us;      /* tick of the last look */
    struct drain_at at; /* as it was then */
    int64_t done_m, come_m, ended_m; /* thousandths a second: positions passed, and added; events ended */
};
void drain_look(struct drain *drain, int64_t now_us, const struct drain_at *at);
/* A second: positions passed; events that it wanted and are done with. */
uint64_t drain_rate(const struct drain *drain);
uint64_t drain_events_rate(const struct drain *drain);
/* Microseconds from the last look until it has caught up; 0: it has; -1: it does not come nearer, or it is
 * not known yet. */
int64_t drain_left_us(const struct drain *drain);

#endif
