/* batch: deliveries of one subscription that go out in one call; see batch.c. */
#ifndef PENSTOCK_DELIVER_BATCH_H
#define PENSTOCK_DELIVER_BATCH_H

#include "deliver/deliver_priv.h"

/* What may go, goes: takes from the lanes, fills batches, makes calls. Each round. */
void batches_start(struct subscription *sub, int64_t now_us);
/* Gives back what waits in batches: delivery stops, stands still, or the subscription rests. */
void batches_return(struct subscription *sub);
/* When batches_start has something to do; INT64_MAX: only after something happens. */
int64_t batches_next_us(const struct subscription *sub, int64_t now_us);

/* An attempt of such a subscription begins. */
void batch_begin(struct attempt *attempt);
/* It is mapped, to `document`. */
void batch_join(struct attempt *attempt, struct str document);

#endif
