/* gate: a net around a net: each request that names its connector goes when the connector's account takes it
 * (accounts.h), and its answer is judged (outcome.h) and counted there. Deliveries, look-ups, scripts, polls
 * and operations call through it by auth_net.h, whose own repetitions go through it, too.
 *
 * What always holds: a call that must wait costs no thread; it goes in the order of classes and turns; where
 * its endpoint's breaker is open, or the account takes nothing for longer than moments (a pause that was
 * asked for, maintenance, the day's quota), it ends with NET_CLOSED, nothing sent, and a Retry-After that
 * says when to come again. */
#ifndef PENSTOCK_CONNECT_GATE_H
#define PENSTOCK_CONNECT_GATE_H

#include "connect/accounts.h"
#include "connect/net.h"

/* How the answer to a call says that was cancelled while it waited. */
#define GATE_NO_TURN "cancelled before it was its turn"

struct gate_options {
    struct net *net; /* around which */
    bool own;        /* net_close closes it, too */
    struct accounts *accounts;
    /* Any thread: gate_step is due on the owner's; it only signals. */
    void (*wake)(void *ctx);
    void *wake_ctx;
};
/* ERR_NOMEM */
enum err gate_create(const struct gate_options *options, struct net **out, struct fault *fault) WARN_UNUSED;
/* The owner's thread: calls whose turn has come go, or end. */
void gate_step(struct net *net);
/* The owner's thread: what still waits for its turn ends with NET_CANCELLED. */
void gate_drain(struct net *net);
/* The tick at which that is due; INT64_MAX: after a wake only. The owner's thread. */
int64_t gate_next_us(struct net *net);

#endif
