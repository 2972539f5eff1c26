/* deliver_shapes: what the answers about deliveries hold. */
#ifndef PENSTOCK_DELIVER_DELIVER_SHAPES_H
#define PENSTOCK_DELIVER_DELIVER_SHAPES_H

#include "shape/shape.h"

extern const struct shape subscription_shape, held_shape, held_story_shape, held_retry_shape,
    held_discard_shape, held_decided_shape, subscription_switch_shape, subscription_switched_shape;

/* Body of the calls that decide about something. */
struct ops_decision {
    uint64_t has;
    struct str reason;
};

/* As subscription_shape says. */
struct deliver_stats;
void deliver_stats_write(struct buf *out, const struct deliver_stats *stats);

#endif
