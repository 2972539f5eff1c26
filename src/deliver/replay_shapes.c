/* replay_shapes: the documents of replays: see replay.h. */
#include "deliver/deliver_shapes.h"
#include "deliver/replay_shapes.h"

static const char *const states[] = {"counting", "counted", "starting", "running",   "paused",
                                     "ending",   "done",    "cancelled", "failed", NULL};
static const char *const guards[] = {"none", "key", "lookup", NULL};

static const struct shape_field type_rows[] = {
    SHAPE_ROW(struct replay_type, type, SHAPE_CODE, "Of the event", .flags = SHAPE_REQUIRED),
    SHAPE_ROW(struct replay_type, events, SHAPE_INTEGER, "How many", .flags = SHAPE_REQUIRED, .max = INT64_MAX),
};
static SHAPE_DEFINE(type_shape, "replay_type", struct replay_type, "Events of one type", type_rows);

#define A(doc_, row, member, kind, help, ...) [row] = SHAPE_ROW(doc_, member, kind, help, ##__VA_ARGS__)
/* What may be asked for: rows of both documents. */
#define CHOICE(doc_, prefix)                                                                                       \
    A(doc_, prefix##_SUBSCRIPTION, subscription, SHAPE_CODE, "To whom", .flags = SHAPE_REQUIRED),                  \
        A(doc_, prefix##_FROM, from, SHAPE_INSTANT, "Recorded from then on"),                                      \
        A(doc_, prefix##_TO, to, SHAPE_INSTANT, "Recorded before"),                                                \
        A(doc_, prefix##_FROM_SEQ, from_seq, SHAPE_INTEGER, "From this seq on", .min = 1, .max = INT64_MAX),       \
        A(doc_, prefix##_TO_SEQ, to_seq, SHAPE_INTEGER, "Up to this seq", .min = 1, .max = INT64_MAX),             \
        A(doc_, prefix##_TYPE, type, SHAPE_TEXT, "Of this type: order.captured, or order.*", .min = 1, .max = 64), \
        A(doc_, prefix##_KEY, key, SHAPE_TEXT, "About this", .min = 1, .max = 256),                                \
        A(doc_, prefix##_CORRELATION, correlation, SHAPE_TEXT, "Of this case", .min = 1, .max = 256),              \
        A(doc_, prefix##_CONNECTOR, connector, SHAPE_CODE, "Brought by this connector"),                           \
        A(doc_, prefix##_RATE, rate_per_s, SHAPE_INTEGER, "At most so many a second", .min = 1, .max = 1000000),   \
        A(doc_, prefix##_AGAIN, again, SHAPE_BOOL,                                                                 \
          "As new ones: under an id of their own, without a look-up; only where connector.yaml says replay: again"), \
        A(doc_, prefix##_NEWEST, newest, SHAPE_BOOL,                                                               \
          "Of each key the newest alone, and only where nothing newer has gone out"),                              \
        A(doc_, prefix##_DRY_RUN, dry_run, SHAPE_BOOL, "Only say how many"),                                       \
        A(doc_, prefix##_REASON, reason, SHAPE_TEXT, "Why; kept in the journal", .max = 1024)

static const struct shape_field ask_rows[] = {CHOICE(struct replay_ask, ASK)};
SHAPE_DEFINE(replay_ask_shape, "replay_ask", struct replay_ask,
             "Events that one subscription is to be given once more", ask_rows);

#define COUNT(row, member, help) A(struct replay, row, member, SHAPE_INTEGER, help, .max = INT64_MAX)
static const struct shape_field replay_rows[] = {
    CHOICE(struct replay, REPLAY),
    A(struct replay, REPLAY_ID, id, SHAPE_INTEGER, "Its number", .flags = SHAPE_REQUIRED, .min = 1, .max = INT64_MAX),
    A(struct replay, REPLAY_STATE, state, SHAPE_ENUM, "How far it is", .flags = SHAPE_REQUIRED, .values = states),
    A(struct replay, REPLAY_BY, by, SHAPE_TEXT, "Who asked for it"),
    A(struct replay, REPLAY_ASKED_AT, asked_at, SHAPE_INSTANT, "When"),
    A(struct replay, REPLAY_ENDED_AT, ended_at, SHAPE_INSTANT, "When it was over"),
    A(struct replay, REPLAY_GUARD, guard, SHAPE_ENUM,
      "What keeps it from being done twice there: a look-up, a key that the system knows, or nothing",
      .values = guards),
    COUNT(REPLAY_LAST, last, "Nothing beyond this seq is looked at"),
    COUNT(REPLAY_POSITION, position, "All up to this seq is settled"),
    COUNT(REPLAY_CHOSEN, chosen, "Events that are to be sent"),
    COUNT(REPLAY_FIRST_SEQ, first_seq, "The first of what was found"),
    COUNT(REPLAY_LAST_SEQ, last_seq, "The last of it"),
    A(struct replay, REPLAY_TYPES, types, SHAPE_LIST, "How many of each type were found", .shape = &type_shape,
      .max = REPLAY_TYPES_MAX),
    COUNT(REPLAY_SENT, sent, "Sent"),
    COUNT(REPLAY_FOUND, found, "Found there already, and not sent"),
    COUNT(REPLAY_HELD, held, "Held, or retried aside: see /ops/held"),
    COUNT(REPLAY_SUPERSEDED, superseded, "Passed over: something newer of their key"),
    COUNT(REPLAY_WAITING, waiting, "Wait now for their key: it is busy or held"),
    A(struct replay, REPLAY_BEGAN, began, SHAPE_BOOL, "The journal was told that it began"),
    A(struct replay, REPLAY_ERROR, error, SHAPE_TEXT, "Why it failed", .max = 1024),
};
SHAPE_DEFINE(replay_shape, "replay", struct replay, "Events that one subscription is given once more",
             replay_rows);

static const struct shape_field decide_rows[] = {
    SHAPE_ROW(struct ops_decision, reason, SHAPE_TEXT, "Why; kept in the journal", .max = 1024),
};
SHAPE_DEFINE(replay_decide_shape, "replay_decision", struct ops_decision,
             "Pausing, resuming or cancelling a replay", decide_rows);
