/* deliver_shapes: what the answers about deliveries hold. Those answers are written by hand
 * (deliver_ops.c); the shapes say so to whoever reads the OpenAPI document, and a test holds the
 * two together. */
#include "deliver/deliver_shapes.h"

#include "deliver/deliver.h"
#include "domain/stops.h"

static const char *const held_states[] = {"held", "retrying", NULL};
static const char *const decided_states[] = {"discarded", "retrying", NULL};
static const char *const switched_states[] = {"stopped", "started", NULL};

static const struct shape_field subscription_rows[] = {
    SHAPE_SAID("subscription", SHAPE_ID, "Its name", .flags = SHAPE_REQUIRED),
    SHAPE_MAYBE("connector", SHAPE_ID, "The connector that describes the system"),
    SHAPE_SAID("state", SHAPE_ENUM, "How it fares", .flags = SHAPE_REQUIRED,
               .values = deliver_states),
    SHAPE_COUNT("cursor", "All up to this seq is done, save what is held"),
    SHAPE_COUNT("last", "The newest position of the journal"),
    SHAPE_COUNT("behind", "Positions of the journal behind its cursor, wanted or not"),
    SHAPE_MAYBE("behind_events", SHAPE_INTEGER,
          "Of them events that it wants and that are not done; null: it was never followed", .max = INT64_MAX),
    SHAPE_MAYBE("behind_bytes", SHAPE_INTEGER, "What those have in the journal, about", .max = INT64_MAX),
    SHAPE_SAID("behind_estimated", SHAPE_BOOL,
               "true: both by samples of the journal, as more than 512 positions are unread; false: counted",
               .flags = SHAPE_REQUIRED),
    SHAPE_COUNT("behind_s", "Age of the first event behind its cursor, in seconds; 0: there is none"),
    SHAPE_COUNT("waiting", "Deliveries that wait"),
    SHAPE_COUNT("out", "Calls under way"),
    SHAPE_COUNT("held", "Deliveries that are held"),
    SHAPE_COUNT("parked", "Deliveries retried aside"),
    SHAPE_COUNT("delivered", "Since the start"),
    SHAPE_COUNT("superseded", "Events whose place a newer one of their key took, since the start"),
    SHAPE_COUNT("suppressed", "Not sent, because the system has that value, since the start"),
    SHAPE_COUNT("attempts", "Since the start"),
    SHAPE_COUNT("failed", "Attempts that failed, since the start"),
    SHAPE_COUNT("looked_up", "Look-ups after an end that told nothing, since the start"),
    SHAPE_COUNT("found", "Of these: was there already"),
    SHAPE_COUNT("rate_per_s", "Deliveries in the last second"),
    SHAPE_COUNT("drain_per_s", "Positions of the journal that its cursor passes a second, over ten seconds"),
    SHAPE_COUNT("drain_events_per_s", "Wanted events that it is done with a second, over ten seconds"),
    SHAPE_MAYBE("oldest_at", SHAPE_INSTANT, "Of the first event behind the cursor; null: it has caught up"),
    SHAPE_MAYBE("done_at", SHAPE_INSTANT,
          "Estimate: it will have caught up, as fast as in the last ten seconds; null: it has, or no end is in sight"),
    SHAPE_MAYBE("done_in_s", SHAPE_INTEGER,
          "The same in seconds from now; 0: it has caught up; null: no end is in sight",
          .max = INT64_MAX),
    SHAPE_MAYBE("delivered_at", SHAPE_INSTANT, "The last success"),
    SHAPE_MAYBE("failed_at", SHAPE_INSTANT, "The last failure"),
    SHAPE_MAYBE("error", SHAPE_TEXT, "What it was", .max = 65536),
    SHAPE_SAID("stopped", SHAPE_OBJECT, "Since when and why it stands still; absent: it does not",
               .shape = &stopped_shape),
};
SHAPE_DEFINE_SAID(subscription_shape, "subscription", "What goes out to one system",
                  subscription_rows);

#define HELD_ROWS                                                                                  \
    SHAPE_SAID("id", SHAPE_TEXT, "SUBSCRIPTION:SEQ", .flags = SHAPE_REQUIRED),                     \
        SHAPE_SAID("subscription", SHAPE_ID, "Which subscription", .flags = SHAPE_REQUIRED),       \
        SHAPE_COUNT("seq", "Of the event"), SHAPE_MAYBE("type", SHAPE_ID, "Of the event"),                     \
        SHAPE_MAYBE("subject", SHAPE_TEXT, "Of the event"),                                              \
        SHAPE_MAYBE("key", SHAPE_TEXT, "The lane: later deliveries of it wait"),                         \
        SHAPE_SAID("state", SHAPE_ENUM, "held: until somebody decides", .flags = SHAPE_REQUIRED,   \
                   .values = held_states),                                                         \
        SHAPE_COUNT("attempts", "How often it was tried"),                                               \
        SHAPE_SAID("status", SHAPE_INTEGER, "HTTP status of the last answer, 0: none",             \
                   .flags = SHAPE_REQUIRED),                                                       \
        SHAPE_MAYBE("cause", SHAPE_TEXT, "What went wrong", .max = 65536),                               \
        SHAPE_MAYBE("since", SHAPE_INSTANT, "When it first failed"),                                     \
        SHAPE_MAYBE("next_attempt_at", SHAPE_INSTANT, "When it is tried again"),                         \
        SHAPE_SAID("replay", SHAPE_INTEGER, "The replay that it came of; absent: the live stream", \
                   .min = 1, .max = INT64_MAX),                                                    \
        SHAPE_SAID("edit", SHAPE_INTEGER, "seq of the delivery.edited that holds; absent: not edited", \
                   .min = 1, .max = INT64_MAX)

static const struct shape_field held_rows[] = {HELD_ROWS};
SHAPE_DEFINE_SAID(held_shape, "held_delivery", "A delivery that is held or retried aside",
                  held_rows);

static const struct shape_field failure_rows[] = {
    SHAPE_COUNT("attempt", "Which one, from 1"),
    SHAPE_SAID("outcome", SHAPE_TEXT, "What became of it", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("status", SHAPE_INTEGER, "HTTP status of the answer, 0: none",
               .flags = SHAPE_REQUIRED),
    SHAPE_MAYBE("at", SHAPE_INSTANT, "When it ended"),
    SHAPE_MAYBE("cause", SHAPE_TEXT, "What went wrong", .max = 65536),
};
static SHAPE_DEFINE_SAID(failure_shape, "delivery_failure", "A failed attempt", failure_rows);
static const struct shape_field held_story_rows[] = {
    HELD_ROWS,
    SHAPE_SAID("failures", SHAPE_LIST, "The failed attempts, oldest first", .flags = SHAPE_REQUIRED,
               .shape = &failure_shape),
};
SHAPE_DEFINE_SAID(held_story_shape, "held_delivery_story",
                  "A held delivery with its failed attempts", held_story_rows);

static const struct shape_field decision_rows[] = {
    SHAPE_ROW(struct ops_decision, reason, SHAPE_TEXT, "Why; kept with the event", .max = 1024),
};
SHAPE_DEFINE(held_retry_shape, "held_retry", struct ops_decision, "Sending a held delivery again", decision_rows);
static const struct shape_field discard_rows[] = {
    SHAPE_ROW(struct ops_decision, reason, SHAPE_TEXT, "Why; kept with the event", .flags = SHAPE_REQUIRED,
              .min = 1, .max = 1024),
};
SHAPE_DEFINE(held_discard_shape, "held_discard", struct ops_decision, "Giving a held delivery up", discard_rows);
static const struct shape_field decided_rows[] = {
    SHAPE_SAID("id", SHAPE_TEXT, "SUBSCRIPTION:SEQ", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("state", SHAPE_ENUM, "What becomes of it", .flags = SHAPE_REQUIRED,
               .values = decided_states),
};
SHAPE_DEFINE_SAID(held_decided_shape, "held_decision", "What was decided", decided_rows);
SHAPE_DEFINE(subscription_switch_shape, "subscription_switch", struct ops_decision,
             "Stopping or starting a subscription", discard_rows);
static const struct shape_field switched_rows[] = {
    SHAPE_SAID("subscription", SHAPE_ID, "Its name", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("state", SHAPE_ENUM, "What it is now", .flags = SHAPE_REQUIRED, .values = switched_states),
};
SHAPE_DEFINE_SAID(subscription_switched_shape, "subscription_switched", "What was decided", switched_rows);
