/* batch_size: see batch_size.h. Owns nothing. */
#include "deliver/batch_size.h"

#include "connect/account.h"

#define GROW_AFTER 2   /* full calls until the next are larger … */
#define PROBE_AFTER 128 /* … and where that was too large before */

uint32_t batch_size_max(const struct connector_send *send) {
    int64_t max = send->batch ? send->batch->max_items : 1;
    const struct connector_account *account = send->connector ? send->connector->account : NULL;
    if (account && account->batch_max > 0 && account->batch_max < max)
        max = account->batch_max;
    return (uint32_t)max;
}

uint32_t batch_size_now(const struct batch_size *size, uint32_t max) {
    return size->now > 0 && size->now < max ? size->now : max;
}

/* Those that were under way together may each say so: what they say is of their own number. */
void batch_size_halve(struct batch_size *size, uint32_t count) {
    if (size->good >= count)
        size->good = 0; /* it took as many before, and does not any more */
    uint32_t less = count / 2 > size->good ? count / 2 : size->good;
    less = less > 0 ? less : 1;
    if (size->too_large == 0 || count < size->too_large)
        size->too_large = count;
    if (size->now == 0 || less < size->now) {
        size->now = less;
        size->full = 0;
    }
}

static uint32_t more_of(uint32_t now, uint32_t part) { return now + (now / part > 0 ? now / part : 1); }

void batch_size_taken(struct batch_size *size, uint32_t count, uint32_t max) {
    if (size->now == 0 || count < size->now)
        return;
    uint32_t ceiling = size->too_large > 0 ? size->too_large - 1 : max;
    bool at_it = size->too_large > 0 && size->now >= ceiling;
    size->good = size->now;
    if (++size->full < (at_it ? PROBE_AFTER : GROW_AFTER))
        return;
    size->full = 0;
    if (at_it) {
        size->too_large = 0;
        size->now = more_of(size->now, 16);
    } else if (size->too_large > 0) {
        size->now += (ceiling - size->now + 1) / 2;
    } else {
        size->now = more_of(size->now, 4);
    }
    if (size->now >= max)
        *size = (struct batch_size){0};
}
