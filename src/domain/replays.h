/* replays: what the journal tells of replays (deliver/replay.h): who had which events sent once more
 * to which subscription, why, and what became of it. No state. */
#ifndef PENSTOCK_DOMAIN_REPLAYS_H
#define PENSTOCK_DOMAIN_REPLAYS_H

#include "core/capability.h"

extern const struct capability replays_capability;

enum delivery_replay_action {
    DELIVERY_REPLAY_STARTED, DELIVERY_REPLAY_PAUSED, DELIVERY_REPLAY_RESUMED, DELIVERY_REPLAY_CANCELLED,
    DELIVERY_REPLAY_DONE, DELIVERY_REPLAY_FAILED,
};
/* Body of command delivery.replay and data of event delivery.replayed. After a crash it may be told
 * again, under the same number. */
struct delivery_replay {
    uint64_t has;
    struct str subscription, connector;
    int64_t replay;
    int32_t action; /* enum delivery_replay_action */
    struct str by, reason;
    struct str chosen_by; /* what was asked for, as text */
    bool again;
    int64_t chosen, sent, found, held, superseded;
};
enum delivery_replay_row {
    REPLAYED_SUBSCRIPTION, REPLAYED_CONNECTOR, REPLAYED_REPLAY, REPLAYED_ACTION, REPLAYED_BY, REPLAYED_REASON,
    REPLAYED_CHOSEN_BY, REPLAYED_AGAIN, REPLAYED_CHOSEN, REPLAYED_SENT, REPLAYED_FOUND, REPLAYED_HELD,
    REPLAYED_SUPERSEDED,
};
extern const struct shape delivery_replay_shape;
extern const struct command_type delivery_replay_command; /* internal */

#endif
