/* replays: see replays.h. */
#include "domain/replays.h"

static const char *const actions[] = {"started", "paused", "resumed", "cancelled", "done", "failed", NULL};
#define R(row, member, kind, help, ...)                                                            \
    [row] = SHAPE_ROW(struct delivery_replay, member, kind, help, ##__VA_ARGS__)
#define N(row, member, help) R(row, member, SHAPE_INTEGER, help, .max = INT64_MAX)
static const struct shape_field replay_rows[] = {
    R(REPLAYED_SUBSCRIPTION, subscription, SHAPE_CODE, "Which subscription", .flags = SHAPE_REQUIRED),
    R(REPLAYED_CONNECTOR, connector, SHAPE_CODE, "To which system"),
    R(REPLAYED_REPLAY, replay, SHAPE_INTEGER, "Number of the replay", .flags = SHAPE_REQUIRED, .min = 1,
      .max = INT64_MAX),
    R(REPLAYED_ACTION, action, SHAPE_ENUM, "What became of it", .values = actions, .flags = SHAPE_REQUIRED),
    R(REPLAYED_BY, by, SHAPE_TEXT, "Who asked for that"),
    R(REPLAYED_REASON, reason, SHAPE_TEXT, "Why"),
    R(REPLAYED_CHOSEN_BY, chosen_by, SHAPE_TEXT, "Which events were meant", .max = 8192),
    R(REPLAYED_AGAIN, again, SHAPE_BOOL, "They were to look like new ones to the other system"),
    N(REPLAYED_CHOSEN, chosen, "Events that were to be sent"),
    N(REPLAYED_SENT, sent, "Of these: sent"),
    N(REPLAYED_FOUND, found, "Found there already, and not sent"),
    N(REPLAYED_HELD, held, "Held, or retried aside"),
    N(REPLAYED_SUPERSEDED, superseded, "Passed over: something newer of their key had gone out"),
};
SHAPE_DEFINE(delivery_replay_shape, "delivery_replay", struct delivery_replay,
             "Events that one subscription is given once more", replay_rows);

static const struct event_type replayed_event = {
    .name = "delivery.replayed", .shape = &delivery_replay_shape,
    .help = "A replay was started, paused, resumed or cancelled, or came to its end"};
static const struct event_type *const replay_events[] = {&replayed_event, NULL};

static enum err replay_decide(struct decision *decision, const struct command *command) {
    const struct delivery_replay *given = command->body;
    struct delivery_replay *told;
    if (!decision_event(decision, &replayed_event, given->subscription, (void **)&told))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *told = *given;
    return decision_answer(decision, 201, &delivery_replay_shape, told);
}
const struct command_type delivery_replay_command = {
    .name = "delivery.replay", .shape = &delivery_replay_shape, .decide = replay_decide,
    .flags = COMMAND_INTERNAL, .help = "Tells what becomes of a replay"};
static const struct command_type *const replay_commands[] = {&delivery_replay_command, NULL};

const struct capability replays_capability = {
    .name = "replays",
    .help = "What is sent once more to a subscription",
    .commands = replay_commands,
    .events = replay_events,
};
