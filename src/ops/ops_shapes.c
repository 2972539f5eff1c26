/* ops_shapes: what the answers of the operations side hold. Those answers are written by hand; the
 * shapes here say so to whoever reads the OpenAPI document, and a test holds the two together. */
#include "ops/ops_shapes.h"

#include "deliver/deliver.h"

static const char *const rebuild_states[] = {"none", "filling", "indexing", "catching-up", "done",
                                             "failed", NULL};
static const char *const waiting_states[] = {"retrying", "held", "stopped", "unreachable",
                                             "waiting", NULL};

static const struct shape_field counts_read_model_rows[] = {
    SHAPE_COUNT("seq", "The position the tables for queries have reached"),
    SHAPE_COUNT("behind", "Events they lack"),
    SHAPE_COUNT("behind_ms", "Age of the oldest of these, in ms"),
};
static SHAPE_DEFINE_SAID(counts_read_model_shape, "overview_read_model", "The tables for queries",
                         counts_read_model_rows);
static const struct shape_field counts_orders_rows[] = {SHAPE_COUNT("held", "Orders that are held")};
static SHAPE_DEFINE_SAID(counts_orders_shape, "overview_orders", "Orders that wait for a person",
                         counts_orders_rows);
static const struct shape_field counts_exceptions_rows[] = {SHAPE_COUNT("open", "Open cases")};
static SHAPE_DEFINE_SAID(counts_exceptions_shape, "overview_exceptions", "The exception queue",
                         counts_exceptions_rows);
static const struct shape_field counts_payloads_rows[] = {
    SHAPE_COUNT("under_way", "Messages of partners that are being processed"),
    SHAPE_COUNT("parked", "Messages that wait for what they are about"),
};
static SHAPE_DEFINE_SAID(counts_payloads_shape, "overview_payloads", "What partners sent",
                         counts_payloads_rows);
static const struct shape_field counts_connectors_rows[] = {
    SHAPE_COUNT("rejected", "Folders with a version that is not taken"),
};
static SHAPE_DEFINE_SAID(counts_connectors_shape, "overview_connectors", "Connected systems",
                         counts_connectors_rows);
static const struct shape_field outlook_rows[] = {
    SHAPE_SAID("subscription", SHAPE_ID, "Its name", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("state", SHAPE_ENUM, "How it fares", .flags = SHAPE_REQUIRED,
               .values = deliver_states),
    SHAPE_COUNT("behind", "Events not yet looked at"),
    SHAPE_COUNT("waiting", "Deliveries that wait"),
    SHAPE_COUNT("held", "Deliveries that are held"),
};
static SHAPE_DEFINE_SAID(outlook_shape, "overview_subscription", "What waits for another system",
                         outlook_rows);
static const struct shape_field overview_rows[] = {
    SHAPE_COUNT("seq", "The newest position of the journal"),
    SHAPE_SAID("ready", SHAPE_BOOL, "Whether the hub takes work", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("started_at", SHAPE_INSTANT, "When this process began", .flags = SHAPE_REQUIRED),
    SHAPE_COUNT("commands_waiting", "Commands that wait for the writer"),
    SHAPE_SAID("read_model", SHAPE_OBJECT, "The tables for queries", .flags = SHAPE_REQUIRED,
               .shape = &counts_read_model_shape),
    SHAPE_SAID("orders", SHAPE_OBJECT, "Orders", .flags = SHAPE_REQUIRED,
               .shape = &counts_orders_shape),
    SHAPE_SAID("exceptions", SHAPE_OBJECT, "Cases", .flags = SHAPE_REQUIRED,
               .shape = &counts_exceptions_shape),
    SHAPE_SAID("payloads", SHAPE_OBJECT, "Messages", .flags = SHAPE_REQUIRED,
               .shape = &counts_payloads_shape),
    SHAPE_SAID("connectors", SHAPE_OBJECT, "Connected systems", .flags = SHAPE_REQUIRED,
               .shape = &counts_connectors_shape),
    SHAPE_COUNT("counted_to", "Counts end here: this many means at least this many"),
    SHAPE_SAID("subscriptions", SHAPE_LIST, "What goes out", .flags = SHAPE_REQUIRED,
               .shape = &outlook_shape),
};
SHAPE_DEFINE_SAID(overview_shape, "overview", "The state of the hub at a glance", overview_rows);

static const struct shape_field rebuild_rows[] = {
    SHAPE_SAID("state", SHAPE_ENUM, "How far it is", .flags = SHAPE_REQUIRED,
               .values = rebuild_states),
    SHAPE_COUNT("seq", "The position it has reached"),
    SHAPE_COUNT("target", "The position it goes to"),
    SHAPE_COUNT("took_ms", "How long it took, or takes so far"),
    SHAPE_SAID("reason", SHAPE_TEXT, "Why it failed", .flags = SHAPE_REQUIRED | SHAPE_NULL),
};
static SHAPE_DEFINE_SAID(rebuild_shape, "read_model_rebuild", "Making the tables anew",
                         rebuild_rows);
static const struct shape_field read_model_rows[] = {
    SHAPE_COUNT("seq", "The position the tables have reached"),
    SHAPE_COUNT("behind", "Events they lack"),
    SHAPE_COUNT("behind_ms", "Age of the oldest of these, in ms"),
    SHAPE_SAID("rebuild", SHAPE_OBJECT, "The rebuild, under way or the last one",
               .flags = SHAPE_REQUIRED, .shape = &rebuild_shape),
};
SHAPE_DEFINE_SAID(read_model_shape, "read_model", "The tables for queries, and their rebuild",
                  read_model_rows);

static const struct shape_field trace_event_rows[] = {
    SHAPE_COUNT("seq", "Position in the journal"),
    SHAPE_SAID("time", SHAPE_INSTANT, "When it was recorded", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("type", SHAPE_ID, "The CloudEvents type", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("subject", SHAPE_TEXT, "What it is about"),
    SHAPE_SAID("correlation_id", SHAPE_TEXT, "Joins everything one case did"),
    SHAPE_SAID("actor", SHAPE_TEXT, "Who"),
    SHAPE_SAID("command", SHAPE_TEXT, "What was asked"),
    SHAPE_SAID("idempotency_key", SHAPE_TEXT, "The caller's Idempotency-Key"),
    SHAPE_SAID("cause_seq", SHAPE_INTEGER, "The event it follows from"),
    SHAPE_SAID("match", SHAPE_BOOL, "Whether the id asked for is in it", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("what", SHAPE_TEXT, "The event in words", .flags = SHAPE_REQUIRED, .max = 65536),
};
static SHAPE_DEFINE_SAID(trace_event_shape, "trace_event", "An event of a story", trace_event_rows);
static const struct shape_field trace_waiting_rows[] = {
    SHAPE_COUNT("event_seq", "What is to be delivered"),
    SHAPE_SAID("state", SHAPE_ENUM, "Why it is not there yet", .flags = SHAPE_REQUIRED,
               .values = waiting_states),
    SHAPE_COUNT("attempts", "How often it was tried"),
    SHAPE_SAID("subscription", SHAPE_TEXT, "By which subscription"),
    SHAPE_SAID("connector", SHAPE_TEXT, "To which system"),
    SHAPE_SAID("cause", SHAPE_TEXT, "What went wrong last", .max = 65536),
};
static SHAPE_DEFINE_SAID(trace_waiting_shape, "trace_waiting", "What has yet to be delivered",
                         trace_waiting_rows);
static const struct shape_field trace_story_rows[] = {
    SHAPE_SAID("subjects", SHAPE_LIST, "What its events are about", .flags = SHAPE_REQUIRED,
               .max = 1000000),
    SHAPE_SAID("correlation_ids", SHAPE_LIST, "The correlation ids in it", .flags = SHAPE_REQUIRED,
               .max = 1000000),
    SHAPE_SAID("from", SHAPE_INSTANT, "When it began", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("until", SHAPE_INSTANT, "When the last of it happened", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("events", SHAPE_LIST, "In order", .flags = SHAPE_REQUIRED, .max = 1000000,
               .shape = &trace_event_shape),
    SHAPE_SAID("waiting", SHAPE_LIST, "What has yet to reach another system",
               .flags = SHAPE_REQUIRED, .max = 1000000, .shape = &trace_waiting_shape),
};
static SHAPE_DEFINE_SAID(trace_story_shape, "trace_story", "One case, from its beginning",
                         trace_story_rows);
static const struct shape_field trace_rows[] = {
    SHAPE_SAID("id", SHAPE_TEXT, "What was asked for", .flags = SHAPE_REQUIRED),
    SHAPE_COUNT("seq", "How far the journal was read"),
    SHAPE_SAID("truncated", SHAPE_BOOL, "Whether there is more than is shown",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("matches", SHAPE_LIST, "Each case the id belongs to", .flags = SHAPE_REQUIRED,
               .shape = &trace_story_shape),
};
SHAPE_DEFINE_SAID(trace_shape, "trace", "The whole story behind an id", trace_rows);
