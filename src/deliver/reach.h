/* reach: what deliveries have to do with the accounts they call (connect/accounts.h): whether a subscription
 * may begin another one, what an answer means for a lane; and what all of the hub leaves to the thread of
 * deliveries: keeping breakers and quotas on disk (delivery.db), and telling the journal of breakers. */
#ifndef PENSTOCK_DELIVER_REACH_H
#define PENSTOCK_DELIVER_REACH_H

#include "connect/accounts.h"
#include "core/command.h"
#include "deliver/lane.h"

struct deliver;
struct subscription;
struct attempt;
struct connector_request;

/* The telling of one breaker; one at a time. */
struct reach {
    struct command_origin origin;
    struct command command;
    struct arena arena;
    struct accounts_change change;
    bool telling;
    _Atomic bool answered;
    int64_t again_us; /* not before: the core took nothing */
};

/* Before subscriptions are made: the set of the hub, or one of its own, and what was kept of it. */
enum err reach_begin(struct deliver *d, struct fault *fault) WARN_UNUSED;
void reach_end(struct deliver *d);
/* Each round. */
void reach_step(struct deliver *d, int64_t now_us);
int64_t reach_next_us(const struct deliver *d);

/* Whether the subscription may begin another attempt now; false: sub->shut_us says when to ask again. */
bool reach_room(struct subscription *sub);
/* Whether the system that it sends to is known to be away. */
bool reach_broken(const struct subscription *sub);

/* What an answer means for the lane; `changes`: the request may have done something there. */
enum lane_outcome reach_outcome(struct attempt *attempt, const struct net_answer *answer, bool changes);
/* True: nothing was sent, because the account takes nothing now: the attempt has ended, and its lane comes
 * again by then. */
bool reach_turned_away(struct attempt *attempt, const struct net_answer *answer);
/* The attempt ends as if it had not been made: nothing was done there. Its lane comes again after so long. */
void reach_again(struct attempt *attempt, enum lane_outcome outcome, int64_t after_ms);

#endif
