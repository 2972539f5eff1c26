/* items: what the items of lists hold that the read model writes by hand (parked messages,
 * postings). For the printed documents; a test holds the two together. */
#include "domain/items.h"

#include "domain/facts.h"

static const char *const parked_states[] = {"parked", "released", "expired", NULL};

#define ALWAYS(name, kind, help, ...)                                                              \
    SHAPE_SAID(name, kind, help, .flags = SHAPE_REQUIRED, ##__VA_ARGS__)
#define OR_NULL(name, kind, help)                                                                  \
    SHAPE_SAID(name, kind, help, .flags = SHAPE_REQUIRED | SHAPE_NULL)

static const struct shape_field fact_rows[] = {
    ALWAYS("seq", SHAPE_INTEGER, "Of the event that keeps it"),
    ALWAYS("kept_at", SHAPE_INSTANT, "When this version was kept"),
    ALWAYS("connector", SHAPE_CODE, "Who says so"),
    ALWAYS("kind", SHAPE_CODE, "What it is: refund, payment, sale, product, price"),
    ALWAYS("key", SHAPE_ID, "The partner's own number of it", .max = 256),
    SHAPE_SAID("fact", SHAPE_OBJECT, "What was said", .shape = &fact_shape),
};
SHAPE_DEFINE_SAID(fact_item_shape, "fact_item", "What a partner says, in its newest version",
                  fact_rows);

static const struct shape_field parked_rows[] = {
    ALWAYS("payload_seq", SHAPE_INTEGER, "seq of the event that keeps the payload"),
    OR_NULL("payload_id", SHAPE_ID, "The hub's id of the payload"),
    OR_NULL("connector", SHAPE_CODE, "Who sent it"),
    OR_NULL("topic", SHAPE_CODE, "What it is"),
    OR_NULL("waits_for", SHAPE_TEXT, "What it waits for: \"order web-de/4711\""),
    ALWAYS("state", SHAPE_ENUM, "Whether it waits still", .values = parked_states),
    ALWAYS("parked_at", SHAPE_INSTANT, "Since when"),
    ALWAYS("until", SHAPE_INSTANT, "When a person is asked"),
};
SHAPE_DEFINE_SAID(parked_item_shape, "parked_item", "A message that waits for what it is about",
                  parked_rows);

static const struct shape_field posting_rows[] = {
    ALWAYS("subscription", SHAPE_CODE, "Which subscription posted it"),
    ALWAYS("event_seq", SHAPE_INTEGER, "The event that was posted"),
    OR_NULL("order_id", SHAPE_ID, "The order it is of"),
    OR_NULL("connector", SHAPE_CODE, "To which system"),
    OR_NULL("reference", SHAPE_TEXT, "The system's own number"),
    ALWAYS("posted_at", SHAPE_INSTANT, "When it said so"),
    ALWAYS("seq", SHAPE_INTEGER, "Of the event posting.posted"),
};
SHAPE_DEFINE_SAID(posting_item_shape, "posting_item", "What went to the books", posting_rows);
