/* batch_size: how many members a call may have now. At most what the file and the account allow; halved where
 * the other side says that a call is too large, or back to what it took before; grown again by what it takes,
 * half way to what was too large each time, and only now and then as far as that. Pure. Zeroed: nothing was
 * too large yet. */
#ifndef PENSTOCK_DELIVER_BATCH_SIZE_H
#define PENSTOCK_DELIVER_BATCH_SIZE_H

#include <stdint.h>

#include "connect/connector.h"

struct batch_size {
    uint32_t now;       /* 0: as many as may be */
    uint32_t too_large; /* the least that was; 0: none is known */
    uint32_t good;      /* the most that was taken since; 0: none is known */
    uint32_t full;      /* calls of `now` members in a row that were taken */
};
/* What the file and the account allow. */
uint32_t batch_size_max(const struct connector_send *send);
uint32_t batch_size_now(const struct batch_size *size, uint32_t max);
/* A call of so many, more than one, was too large, or was taken. */
void batch_size_halve(struct batch_size *size, uint32_t count);
void batch_size_taken(struct batch_size *size, uint32_t count, uint32_t max);

#endif
