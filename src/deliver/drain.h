/* drain: how fast a subscription works off what is behind it in the journal, and when it will be done at
 * this pace. Pure; counted in positions of the journal, those that it does not want among them, so that
 * it costs nothing per event. An estimate: told what the cursor and the journal's end are at most once a
 * second, it remembers a moving average over about ten of those. Zeroed: nothing is known. */
#ifndef PENSTOCK_DELIVER_DRAIN_H
#define PENSTOCK_DELIVER_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

struct drain {
    bool begun;
    uint32_t count;         /* spans seen, up to 10 */
    int64_t at_us;          /* tick of the last look */
    uint64_t cursor, last;  /* as they were then */
    int64_t done_m, come_m; /* a thousandth of a position a second: passed, and added behind it */
};
void drain_look(struct drain *drain, int64_t now_us, uint64_t cursor, uint64_t last);
/* Positions passed a second. */
uint64_t drain_rate(const struct drain *drain);
/* Microseconds from the last look until it has caught up with the journal as it grows; 0: it has; -1: it
 * does not come nearer, or it is not known yet. */
int64_t drain_left_us(const struct drain *drain);

#endif
