/* The inside of lanes, shared by lane.c (the rules of order) and lane_queue.c (where lanes are kept and
 * found: by key, in the queue of those that are ready, in the heap of those that wait). */
#ifndef PENSTOCK_DELIVER_LANE_PRIV_H
#define PENSTOCK_DELIVER_LANE_PRIV_H

#include "base/map.h"
#include "deliver/lane.h"

enum lane_state { LANE_FREE, LANE_READY, LANE_OUT, LANE_ANSWERED, LANE_WAITING, LANE_HELD };

struct entry {
    uint64_t seq;
    uint32_t next; /* of the same lane, as ring index; LANE_NONE at the end */
    uint32_t lane;
    bool done;     /* or listed, or superseded */
    bool lookup;
};

struct lane {
    uint64_t hash;
    char *key;
    uint32_t key_len, key_cap;
    uint32_t head, tail; /* ring indexes; LANE_NONE for a listed lane */
    uint32_t link;       /* next in the ready queue, or next free */
    uint32_t heap_at;
    uint64_t seq;        /* of the first event */
    uint64_t listed_to;  /* last seq that is a row of the store */
    uint64_t replay;     /* its first event is a replayed one, of this replay: not in the ring; 0: none */
    int64_t first_us;    /* first failed attempt that counts; 0: none */
    int64_t refused_us;  /* first of those that came to nobody; 0: none */
    int64_t due_us;
    int64_t settled_us;
    uint32_t attempts;
    uint32_t refused; /* times that it came to nobody */
    uint8_t state;
    bool listed, lookup, alone, released;
};

struct lanes {
    struct lane_policy policy;
    struct rng *rng;
    struct entry *ring;
    uint32_t ring_mask, ring_first, ring_count;
    uint32_t live; /* of them not done */
    bool together, counted; /* lanes_together; the next end of one has been counted */
    uint64_t read_to;
    int64_t settled_us; /* of what an earlier life may have sent */
    struct lane *lanes;
    uint32_t lane_count, lane_cap, lane_free;
    struct map map;
    uint32_t ready_first, ready_last, ready_count;
    uint32_t *heap;
    uint32_t heap_count, heap_cap;
    uint32_t out, answered, held, listed;
    struct lane_ledger ledger;
    int64_t next_send_us; /* rate: not before */
    int64_t pause_us;     /* throttled: not before */
    uint32_t unreachable; /* in a row */
    bool broken;
};

/* Its first event has not been tried. */
static inline void lane_afresh(struct lane *lane) {
    lane->attempts = lane->refused = 0;
    lane->first_us = lane->refused_us = 0;
}
/* MAP_NONE where the key has no lane. */
uint32_t lane_find(const struct lanes *lanes, struct str key, uint64_t hash);
/* A lane for a key that has none, not queued; LANE_NONE: no memory. */
uint32_t lane_make(struct lanes *lanes, struct str key, uint64_t hash);
/* It has nothing any more. */
void lane_drop(struct lanes *lanes, uint32_t i);
/* The queue of lanes that may go, and the heap of those that are due later. */
void ready_push(struct lanes *lanes, uint32_t i, bool front);
/* LANE_NONE: none is ready. */
uint32_t ready_pop(struct lanes *lanes);
/* Its place in the heap has changed. */
void heap_sift(struct lanes *lanes, uint32_t at);
void wait_push(struct lanes *lanes, uint32_t i, int64_t due_us);
void wait_remove(struct lanes *lanes, uint32_t i);

#endif
