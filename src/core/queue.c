/* queue: see queue_priv.h. */
#include "core/queue_priv.h"

#define SHARE 16       /* a lane that waits gets one in so many, at least */
#define BULK_PART 8    /* beside others, bulk gets one in so many, at most */
#define URGENT_LASTS 8 /* batches */

/* Most important first. */
static const enum traffic_class order[TRAFFIC_CLASSES] = {CLASS_CHECKOUT, CLASS_STOCK,
                                                          CLASS_CATALOGUE, CLASS_OPS, CLASS_BULK};
/* How full the queue may be for each class to be let in, in percent. */
static const uint64_t room[TRAFFIC_CLASSES] = {[CLASS_CHECKOUT] = 100, [CLASS_STOCK] = 80,
                                               [CLASS_CATALOGUE] = 65, [CLASS_BULK] = 50,
                                               [CLASS_OPS] = 100};

void queue_init(struct queue *queue) {
    *queue = (struct queue){0};
    for (int i = 0; i < TRAFFIC_CLASSES; i++)
        atomic_store(&queue->least_us[i], INT64_MAX);
}

void queue_put(struct queue *queue, struct command *command) {
    struct queue_lane *lane = &queue->lanes[command->traffic];
    command->next = NULL;
    if (lane->last)
        lane->last->next = command;
    else
        lane->first = command;
    lane->last = command;
    lane->count++;
    queue->count++;
}

bool queue_has_room(const struct queue *queue, enum traffic_class traffic, uint64_t waiting,
                    uint64_t max) {
    return (queue->count + waiting) * 100 < max * room[traffic];
}

static void delay_note(struct queue *queue, enum traffic_class traffic, int64_t us) {
    _Atomic int64_t *least = &queue->least_us[traffic];
    if (us < atomic_load_explicit(least, memory_order_relaxed))
        atomic_store_explicit(least, us, memory_order_relaxed);
}

/* n commands from the front of a lane go to the end of the list. */
static void lane_move(struct queue *queue, struct queue_lane *lane, uint32_t n,
                      struct command **first, struct command **last) {
    struct command *from = lane->first, *to = from;
    for (uint32_t i = 1; i < n; i++)
        to = to->next;
    lane->first = to->next;
    if (!lane->first)
        lane->last = NULL;
    lane->count -= n;
    queue->count -= n;
    to->next = NULL;
    if (*last)
        (*last)->next = from;
    else
        *first = from;
    *last = to;
}

/* What the lanes behind this one must get of a batch. */
static uint32_t kept_for_others(const struct queue *queue, int from, uint32_t share) {
    uint32_t kept = 0;
    for (int i = from; i < TRAFFIC_CLASSES; i++) {
        uint32_t count = queue->lanes[order[i]].count;
        kept += count < share ? count : share;
    }
    return kept;
}

struct command *queue_take(struct queue *queue, uint32_t max, int64_t now_us, uint32_t *count) {
    struct command *first = NULL, *last = NULL;
    uint32_t left = max, share = max / SHARE > 0 ? max / SHARE : 1;
    if (queue->count > queue->lanes[CLASS_BULK].count)
        queue->urgent = URGENT_LASTS;
    else if (queue->urgent > 0)
        queue->urgent--;
    for (int i = 0; i < TRAFFIC_CLASSES && left > 0; i++) {
        struct queue_lane *lane = &queue->lanes[order[i]];
        uint32_t kept = kept_for_others(queue, i + 1, share), n = lane->count;
        uint32_t most = left > kept ? left - kept : 1;
        if (order[i] == CLASS_BULK && queue->urgent > 0 && most > max / BULK_PART)
            most = max / BULK_PART > 0 ? max / BULK_PART : 1;
        n = n < most ? n : most;
        if (n == 0)
            continue;
        delay_note(queue, order[i], now_us - lane->first->queued_us);
        lane_move(queue, lane, n, &first, &last);
        left -= n;
    }
    *count = max - left;
    return first;
}

void queue_delays(struct queue *queue, int64_t now_us, int64_t out[TRAFFIC_CLASSES]) {
    for (int i = 0; i < TRAFFIC_CLASSES; i++) {
        const struct command *head = queue->lanes[i].first;
        out[i] = atomic_exchange(&queue->least_us[i], INT64_MAX);
        if (out[i] == INT64_MAX) /* none was taken: how long the first waits by now */
            out[i] = head ? now_us - head->queued_us : 0;
    }
}
