/* The inside of the broker: broker.c (what is published to the hub, and read), broker_log.c (what the hub
 * publishes). */
#ifndef PENSTOCK_TESTS_SIM_BROKER_PRIV_H
#define PENSTOCK_TESTS_SIM_BROKER_PRIV_H

#include "base/mem.h"
#include "broker.h"

/* A message of the producer. */
struct message {
    uint32_t op;     /* as the oracle knows its order; 0: nonsense */
    char id[16];     /* empty: it says none */
    uint32_t subject;
    struct str body; /* own memory */
};

/* One that is stored: IN:1, IN:2 … */
struct stored {
    uint32_t message;
    bool out, acked;
    int64_t at_us, due_us; /* tick: stored; comes again, where it is out and not acknowledged */
};

/* One of the hub's, on its way or stored. */
struct posted {
    struct posted *next;
    char subject[100], id[48];
    uint64_t seq, asked; /* of the event; the hub's */
    bool replay;
    int64_t at_us, due_us, wall_us;
};

struct broker {
    struct net net; /* first */
    struct sim *sim;
    struct message **messages; /* each stays where it is: the hub has their texts */
    uint32_t message_count, message_cap;
    struct stored *in;
    uint32_t in_count, in_cap;
    struct posted *out;
    uint32_t out_count, out_cap;
    struct posted *ghosts;
    struct net_call *calls; /* oldest first */
    uint32_t call_count;
    int64_t down_until_us, window_us, skew_us;
    bool well, closing;
};

static inline void *grown(void *items, uint32_t count, uint32_t *cap, size_t size) {
    if (count < *cap)
        return items;
    *cap = *cap ? 2 * *cap : 64;
    items = mem_resize(items, *cap * size);
    must(items);
    return items;
}

static inline bool is_down(const struct broker *b) { return b->sim->tick_us < b->down_until_us; }
/* Something goes wrong, one time in so many. */
static inline bool unlucky(struct broker *b, uint64_t in) { return !b->well && chance(b->sim, in) == 0; }

/* broker_log.c: takes what goes to streams. */
extern const struct net_ops broker_ops;
void broker_call_step(struct broker *b); /* one call ends, somehow */

#endif
