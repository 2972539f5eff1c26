/* connectors_shapes: see connectors_shapes.h. The answers are written by hand (connectors.c); a test
 * holds the two together. */
#include "ops/connectors_shapes.h"

#include "deliver/deliver.h"

static const char *const states[] = {"serving", "incomplete", "rejected", NULL};
static const char *const kinds[] = {"added", "changed", "removed", "rejected", NULL};

static const struct shape_field topic_rows[] = {
    SHAPE_SAID("topic", SHAPE_ID, "Of a webhook (POST /x/{connector}/{topic}), a poll or files",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("commands", SHAPE_LIST, "What it asks of the hub; one of several where its mapping routes",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("mapping", SHAPE_ID, "Version of its mapping: what came of it is recorded under it",
               .flags = SHAPE_REQUIRED),
    SHAPE_COUNT("received", "Messages that came in by it, since the start"),
    SHAPE_MAYBE("received_at", SHAPE_INSTANT, "The newest"),
    SHAPE_SAID("backstop", SHAPE_ID, "The webhook whose messages this poll brings where they were missed"),
    SHAPE_SAID("repaired", SHAPE_INTEGER, "backstop: what the webhook had not brought, since the start",
               .max = INT64_MAX),
    SHAPE_SAID("repaired_at", SHAPE_INSTANT, "The newest", .flags = SHAPE_NULL),
    SHAPE_SAID("absent_since", SHAPE_INSTANT, "expect: since when what should come does not", .flags = SHAPE_NULL),
};
static SHAPE_DEFINE_SAID(topic_shape, "connector_topic", "What it receives", topic_rows);
static const struct shape_field outlet_rows[] = {
    SHAPE_SAID("subscription", SHAPE_ID, "Its name", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("state", SHAPE_ENUM, "How it fares; unreachable: its breaker is open",
               .flags = SHAPE_REQUIRED, .values = deliver_states),
    SHAPE_COUNT("behind", "Events not yet looked at"),
    SHAPE_COUNT("held", "Deliveries that are held"),
    SHAPE_COUNT("delivered", "Since the start"),
    SHAPE_COUNT("failed", "Attempts that failed, since the start"),
    SHAPE_MAYBE("delivered_at", SHAPE_INSTANT, "The last success"),
    SHAPE_MAYBE("error", SHAPE_TEXT, "The last failure", .max = 65536),
};
static SHAPE_DEFINE_SAID(outlet_shape, "connector_subscription", "What it sends", outlet_rows);
static const char *const stream_states[] = {"unusable", "connecting", "reading", "failing", NULL};
static const struct shape_field stream_rows[] = {
    SHAPE_SAID("topic", SHAPE_ID, "Its name", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("state", SHAPE_ENUM, "How it fares", .flags = SHAPE_REQUIRED, .values = stream_states),
    SHAPE_COUNT("messages", "That are done, since the start"),
    SHAPE_MAYBE("waiting", SHAPE_INTEGER, "That wait in it, as its server said last", .max = INT64_MAX),
    SHAPE_MAYBE("error", SHAPE_TEXT, "What is wrong with it now", .max = 65536),
};
static SHAPE_DEFINE_SAID(stream_shape, "connector_stream", "A stream that it reads", stream_rows);
static const struct shape_field rejected_rows[] = {
    SHAPE_SAID("cause", SHAPE_TEXT, "The first fault, with file and line", .flags = SHAPE_REQUIRED,
               .max = 65536),
    SHAPE_COUNT("faults", "How many there are"),
    SHAPE_SAID("since", SHAPE_INSTANT, "When it was first met", .flags = SHAPE_REQUIRED),
};
static SHAPE_DEFINE_SAID(rejected_shape, "connector_rejected", "A version that was not taken",
                         rejected_rows);

static const struct shape_field status_rows[] = {
    SHAPE_SAID("connector", SHAPE_ID, "Its name", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("state", SHAPE_ENUM,
               "incomplete: something is not set; rejected: its folder has a version that is not taken",
               .flags = SHAPE_REQUIRED, .values = states),
    SHAPE_MAYBE("version", SHAPE_TEXT, "Of the connector that serves; null: none does"),
    SHAPE_MAYBE("hash", SHAPE_TEXT, "Of what its file says and its mappings"),
    SHAPE_MAYBE("owner", SHAPE_TEXT, "The team that answers for it"),
    SHAPE_MAYBE("service_level", SHAPE_TEXT, "What is promised", .max = 65536),
    SHAPE_MAYBE("missing", SHAPE_TEXT, "What is not set", .max = 65536),
    SHAPE_SAID("rejected", SHAPE_OBJECT, "The version that is not taken, where there is one",
               .shape = &rejected_shape),
    SHAPE_COUNT("received", "Messages taken, since the start"),
    SHAPE_COUNT("refused", "Messages whose signature was wrong, since the start"),
    SHAPE_COUNT("mapped", "Messages that became something, since the start"),
    SHAPE_COUNT("failed", "Messages that became an exception, since the start"),
    SHAPE_MAYBE("received_at", SHAPE_INSTANT, "The newest message"),
    SHAPE_MAYBE("mapped_at", SHAPE_INSTANT, "The newest that was processed well"),
    SHAPE_MAYBE("failed_at", SHAPE_INSTANT, "The newest that became an exception"),
    SHAPE_SAID("topics", SHAPE_LIST, "What it receives", .flags = SHAPE_REQUIRED,
               .shape = &topic_shape),
    SHAPE_SAID("streams", SHAPE_LIST, "What it reads by itself, of its topics", .flags = SHAPE_REQUIRED,
               .shape = &stream_shape),
    SHAPE_SAID("subscriptions", SHAPE_LIST, "What it sends", .flags = SHAPE_REQUIRED,
               .shape = &outlet_shape),
};
SHAPE_DEFINE_SAID(connector_status_shape, "connector_status", "A connector and how it fares",
                  status_rows);

static const struct shape_field fault_rows[] = {
    SHAPE_SAID("pointer", SHAPE_TEXT, "file:line:/place", .flags = SHAPE_REQUIRED, .max = 65536),
    SHAPE_SAID("detail", SHAPE_TEXT, "What is wrong", .flags = SHAPE_REQUIRED, .max = 65536),
};
static SHAPE_DEFINE_SAID(fault_shape, "connector_fault", "What is wrong with a version", fault_rows);
static const struct shape_field change_rows[] = {
    SHAPE_SAID("connector", SHAPE_ID, "Its name", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("change", SHAPE_ENUM, "What became of its folder", .flags = SHAPE_REQUIRED,
               .values = kinds),
    SHAPE_MAYBE("version", SHAPE_TEXT, "That serves from now on; null: none"),
    SHAPE_MAYBE("hash", SHAPE_TEXT, "Of what its file says and its mappings"),
    SHAPE_SAID("faults", SHAPE_LIST, "Why it was rejected", .flags = SHAPE_REQUIRED,
               .shape = &fault_shape),
};
static SHAPE_DEFINE_SAID(change_shape, "connector_change", "What became of a folder", change_rows);
static const struct shape_field reload_rows[] = {
    SHAPE_COUNT("unchanged", "Connectors that go on as they are"),
    SHAPE_COUNT("rejected", "Versions that were not taken"),
    SHAPE_SAID("changes", SHAPE_LIST, "The others", .flags = SHAPE_REQUIRED, .shape = &change_shape),
};
SHAPE_DEFINE_SAID(connectors_reload_shape, "connectors_reload", "What reading the folders again did",
                  reload_rows);
