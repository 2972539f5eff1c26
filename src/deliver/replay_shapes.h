/* replay_shapes: rows of the documents of replays. */
#ifndef PENSTOCK_DELIVER_REPLAY_SHAPES_H
#define PENSTOCK_DELIVER_REPLAY_SHAPES_H

#include "deliver/replay.h"

/* Body of POST /ops/replays. */
struct replay_ask {
    uint64_t has;
    struct str subscription;
    struct instant from, to;
    int64_t from_seq, to_seq;
    struct str type, key, correlation, connector;
    int64_t rate_per_s;
    bool again, newest, dry_run;
    struct str reason;
};
enum {
    ASK_SUBSCRIPTION, ASK_FROM, ASK_TO, ASK_FROM_SEQ, ASK_TO_SEQ, ASK_TYPE, ASK_KEY, ASK_CORRELATION,
    ASK_CONNECTOR, ASK_RATE, ASK_AGAIN, ASK_NEWEST, ASK_DRY_RUN, ASK_REASON, ASK_ROWS,
};
/* Of struct replay: the same first. */
enum {
    REPLAY_SUBSCRIPTION, REPLAY_FROM, REPLAY_TO, REPLAY_FROM_SEQ, REPLAY_TO_SEQ, REPLAY_TYPE, REPLAY_KEY,
    REPLAY_CORRELATION, REPLAY_CONNECTOR, REPLAY_RATE, REPLAY_AGAIN, REPLAY_NEWEST, REPLAY_DRY_RUN,
    REPLAY_REASON, REPLAY_ID, REPLAY_STATE, REPLAY_BY, REPLAY_ASKED_AT, REPLAY_ENDED_AT, REPLAY_GUARD,
    REPLAY_LAST, REPLAY_POSITION, REPLAY_CHOSEN, REPLAY_FIRST_SEQ, REPLAY_LAST_SEQ, REPLAY_TYPES, REPLAY_SENT,
    REPLAY_FOUND, REPLAY_HELD, REPLAY_SUPERSEDED, REPLAY_WAITING, REPLAY_BEGAN, REPLAY_ERROR,
};
extern const struct shape replay_shape, replay_ask_shape, replay_decide_shape;

#endif
