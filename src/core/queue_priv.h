/* The writer's queue: a lane for each traffic class. Private to the core; its lock is the core's. */
#ifndef PENSTOCK_CORE_QUEUE_PRIV_H
#define PENSTOCK_CORE_QUEUE_PRIV_H

#include <stdatomic.h>

#include "core/command.h"

struct queue {
    struct queue_lane {
        struct command *first, *last;
        uint32_t count;
    } lanes[TRAFFIC_CLASSES];
    uint32_t count;  /* of all lanes */
    uint32_t urgent; /* batches until bulk may fill one alone */
    /* The shortest wait of a batch's oldest command since it was asked for; INT64_MAX: none was
     * taken. */
    _Atomic int64_t least_us[TRAFFIC_CLASSES];
};

void queue_init(struct queue *queue);
void queue_put(struct queue *queue, struct command *command);
/* At most max, the most important first, each lane in its order; a linked list. Every lane that
 * waits gets a share of the batch, however much there is before it; where something more
 * important was there lately bulk gets no more than a part of it, so that commits stay short. */
struct command *queue_take(struct queue *queue, uint32_t max, int64_t now_us, uint32_t *count);
/* Whether another of this class may wait beside those there are: less important ones leave room
 * for the others. */
bool queue_has_room(const struct queue *queue, enum traffic_class traffic, uint64_t waiting,
                    uint64_t max);
void queue_delays(struct queue *queue, int64_t now_us, int64_t out[TRAFFIC_CLASSES]);

#endif
