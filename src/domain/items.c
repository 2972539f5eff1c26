/* items: what the items of lists hold that the read model writes by hand (parked messages,
 * postings). For the printed documents; a test holds the two together. */
#include "domain/items.h"

#include "domain/facts.h"

static const char *const parked_states[] = {"parked", "released", "expired", NULL};

static const struct shape_field fact_rows[] = {
    SHAPE_ALWAYS("seq", SHAPE_INTEGER, "Of the event that keeps it"),
    SHAPE_ALWAYS("kept_at", SHAPE_INSTANT, "When this version was kept"),
    SHAPE_ALWAYS("connector", SHAPE_CODE, "Who says so"),
    SHAPE_ALWAYS("kind", SHAPE_CODE, "What it is: refund, payment, sale, product, price"),
    SHAPE_ALWAYS("key", SHAPE_ID, "The partner's own number of it", .max = 256),
    SHAPE_SAID("fact", SHAPE_OBJECT, "What was said", .shape = &fact_shape),
};
SHAPE_DEFINE_SAID(fact_item_shape, "fact_item", "What a partner says, in its newest version",
                  fact_rows);

static const struct shape_field parked_rows[] = {
    SHAPE_ALWAYS("payload_seq", SHAPE_INTEGER, "seq of the event that keeps the payload"),
    SHAPE_MAYBE("payload_id", SHAPE_ID, "The hub's id of the payload"),
    SHAPE_MAYBE("connector", SHAPE_CODE, "Who sent it"),
    SHAPE_MAYBE("topic", SHAPE_CODE, "What it is"),
    SHAPE_MAYBE("waits_for", SHAPE_TEXT, "What it waits for: \"order web-de/4711\""),
    SHAPE_ALWAYS("state", SHAPE_ENUM, "Whether it waits still", .values = parked_states),
    SHAPE_ALWAYS("parked_at", SHAPE_INSTANT, "Since when"),
    SHAPE_ALWAYS("until", SHAPE_INSTANT, "When a person is asked"),
};
SHAPE_DEFINE_SAID(parked_item_shape, "parked_item", "A message that waits for what it is about",
                  parked_rows);

static const struct shape_field posting_rows[] = {
    SHAPE_ALWAYS("subscription", SHAPE_CODE, "Which subscription posted it"),
    SHAPE_ALWAYS("event_seq", SHAPE_INTEGER, "The event that was posted"),
    SHAPE_MAYBE("order_id", SHAPE_ID, "The order it is of"),
    SHAPE_MAYBE("connector", SHAPE_CODE, "To which system"),
    SHAPE_MAYBE("reference", SHAPE_TEXT, "The system's own number"),
    SHAPE_ALWAYS("posted_at", SHAPE_INSTANT, "When it said so"),
    SHAPE_ALWAYS("seq", SHAPE_INTEGER, "Of the event posting.posted"),
};
SHAPE_DEFINE_SAID(posting_item_shape, "posting_item", "What went to the books", posting_rows);
