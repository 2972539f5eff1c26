/* broker: what the simulator's world and run see of its message broker (broker.c), and of the hub's streams. */
#ifndef PENSTOCK_TESTS_SIM_BROKER_H
#define PENSTOCK_TESTS_SIM_BROKER_H

#include "connect/streams.h"
#include "sim.h"

struct broker *broker_create(struct sim *sim);
void broker_destroy(struct broker *broker);
/* Takes what goes to streams, and hands all else to the partners. */
struct net *broker_net(struct broker *broker);
enum err broker_streams(struct sim *sim, struct fault *fault) WARN_UNUSED; /* makes sim->streams, which read it */
int64_t broker_streams_step(struct sim *sim);                              /* streams_step, with small arenas */
bool streams_rest(const struct streams *streams);                          /* nothing of theirs is under way */

void broker_publish(struct sim *sim); /* somebody does, to the hub */
void broker_step(struct sim *sim);    /* a call ends, somehow; or it goes down */
void broker_work(struct sim *sim);    /* what is due by now is stored */
void broker_lose(struct sim *sim);    /* nobody listens any more */
void broker_heal(struct sim *sim);    /* from now on it is well */
void broker_settle_step(struct sim *sim);
uint32_t broker_calls(const struct sim *sim); /* under way */
bool broker_quiet(const struct sim *sim); /* all is read and acknowledged, nothing under way */
void broker_tell(const struct sim *sim, struct buf *out); /* for who looks why nothing moves */
void broker_observe(struct sim *sim);

#endif
