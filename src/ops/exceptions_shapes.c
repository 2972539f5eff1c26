/* exceptions_shapes: what the routes of the exception queue take and answer. Answers are written by
 * hand (exceptions.c); a test holds the two together. */
#include "ops/exceptions_priv.h"

static const char *const states[] = {"open", "resolved", "discarded", NULL};

#define CASE_ROWS                                                                                  \
    SHAPE_ALWAYS("exception_id", SHAPE_ID, "The hub's id of the case"),                                  \
        SHAPE_MAYBE("kind", SHAPE_CODE, "What went wrong, as a code"),                                 \
        SHAPE_MAYBE("subject", SHAPE_ID, "What it is about: an order, a payload, a position"),         \
        SHAPE_ALWAYS("state", SHAPE_ENUM, "Whether it needs a person", .values = states),                \
        SHAPE_MAYBE("owner", SHAPE_CODE, "The team that decides"),                                     \
        SHAPE_ALWAYS("raised_at", SHAPE_INSTANT, "When it was raised"),                                  \
        SHAPE_SAID("updated_at", SHAPE_INSTANT, "When it changed last"),                           \
        SHAPE_SAID("age_s", SHAPE_INTEGER, "Seconds since it was raised", .max = INT64_MAX),       \
        SHAPE_SAID("version", SHAPE_INTEGER, "Of the case: to be given with a decision",           \
                   .max = INT64_MAX),                                                              \
        SHAPE_SAID("attempts", SHAPE_INTEGER, "How often its message was processed again",         \
                   .max = INT64_MAX),                                                              \
        SHAPE_SAID("cause", SHAPE_TEXT, "What happened last, in words", .flags = SHAPE_NULL),      \
        SHAPE_SAID("connector", SHAPE_CODE, "Whose message it is about", .flags = SHAPE_NULL),     \
        SHAPE_SAID("topic", SHAPE_CODE, "What that message is", .flags = SHAPE_NULL),              \
        SHAPE_SAID("lane", SHAPE_TEXT, "Later messages of this key wait while it is open",         \
                   .max = 512, .flags = SHAPE_NULL),                                               \
        SHAPE_SAID("case", SHAPE_OBJECT, "The case as it was raised", .shape = &exception_shape)

static const struct shape_field item_rows[] = {CASE_ROWS};
SHAPE_DEFINE_SAID(case_item_shape, "exception_item", "A case in the queue", item_rows);

static const struct shape_field count_rows[] = {
    SHAPE_MAYBE("kind", SHAPE_CODE, "What went wrong, as a code"),
    SHAPE_MAYBE("owner", SHAPE_CODE, "The team that decides"),
    SHAPE_COUNT("open", "Open cases"),
    SHAPE_ALWAYS("oldest_at", SHAPE_INSTANT, "When the oldest of them was raised"),
};
SHAPE_DEFINE_SAID(case_count_shape, "exception_count", "Open cases of a kind", count_rows);

static const struct shape_field version_rows[] = {
    SHAPE_COUNT("seq", "Of the event that keeps it"),
    SHAPE_ALWAYS("at", SHAPE_INSTANT, "When it was made"),
    SHAPE_MAYBE("by", SHAPE_TEXT, "Who made it"),
    SHAPE_MAYBE("reason", SHAPE_TEXT, "Why"),
    SHAPE_ALWAYS("changed", SHAPE_LIST, "JSON Pointers of what was set; empty: the whole was written"),
};
static SHAPE_DEFINE_SAID(version_shape, "exception_payload_version",
                         "A version that a person made of a message", version_rows);
static const struct shape_field payload_rows[] = {
    SHAPE_ALWAYS("payload_id", SHAPE_ID, "The hub's id of the message"),
    SHAPE_COUNT("seq", "Of the event that keeps what came"),
    SHAPE_MAYBE("connector", SHAPE_CODE, "Who sent it"),
    SHAPE_MAYBE("topic", SHAPE_CODE, "What it is"),
    SHAPE_MAYBE("content_type", SHAPE_TEXT, "Content-Type as sent"),
    SHAPE_ALWAYS("received_at", SHAPE_INSTANT, "When it came"),
    SHAPE_COUNT("version_seq", "Of the event that keeps the version that is processed"),
    SHAPE_SAID("document", SHAPE_OPEN, "The message, where it is JSON", .privacy = PERSONAL),
    SHAPE_SAID("text", SHAPE_TEXT, "The message, where it is another text", .privacy = PERSONAL,
               .max = PAYLOAD_BYTES_MAX),
    SHAPE_SAID("base64", SHAPE_TEXT, "The message, where it is no text", .privacy = PERSONAL,
               .max = 2 * PAYLOAD_BYTES_MAX),
    SHAPE_SAID("hidden", SHAPE_TEXT, "Why it is not shown"),
    SHAPE_ALWAYS("versions", SHAPE_LIST, "Versions that persons made of it, oldest first",
           .shape = &version_shape),
};
static SHAPE_DEFINE_SAID(payload_shape_said, "exception_payload", "The message of a case",
                         payload_rows);
static const struct shape_field fault_rows[] = {
    SHAPE_ALWAYS("pointer", SHAPE_TEXT, "JSON Pointer"),
    SHAPE_ALWAYS("detail", SHAPE_TEXT, "What is wrong there"),
};
static SHAPE_DEFINE_SAID(fault_shape, "exception_fault", "What is wrong with a member", fault_rows);
static const struct shape_field trace_rows[] = {
    SHAPE_ALWAYS("target", SHAPE_TEXT, "JSON Pointer in the canonical document", .max = 4096),
    SHAPE_ALWAYS("sources", SHAPE_LIST, "JSON Pointers in the message it came from"),
};
static SHAPE_DEFINE_SAID(trace_shape_said, "exception_trace", "Where a member came from", trace_rows);
static const struct shape_field preview_rows[] = {
    SHAPE_ALWAYS("outcome", SHAPE_CODE, "maps, nothing (the mapping says there is nothing to do), "
                                  "not-tried, or the kind of exception it would be"),
    SHAPE_SAID("mapping", SHAPE_TEXT, "CONNECTOR/FILE", .max = 512),
    SHAPE_SAID("cause", SHAPE_TEXT, "Why it does not map: file and line, and what", .max = 65536),
    SHAPE_SAID("faults", SHAPE_LIST, "The members that are wrong", .shape = &fault_shape),
    SHAPE_SAID("trace", SHAPE_LIST, "Where each member of the canonical document comes from",
               .shape = &trace_shape_said),
};
static SHAPE_DEFINE_SAID(preview_shape, "exception_preview",
                         "What the present mapping makes of a message, without doing it",
                         preview_rows);
static const struct shape_field event_rows[] = {
    SHAPE_COUNT("seq", "Its position in the journal"),
    SHAPE_ALWAYS("type", SHAPE_ID, "What happened"),
    SHAPE_ALWAYS("subject", SHAPE_TEXT, "To what", .max = 512),
    SHAPE_ALWAYS("at", SHAPE_INSTANT, "When"),
    SHAPE_MAYBE("actor", SHAPE_TEXT, "By whom: a key, a connector"),
    SHAPE_ALWAYS("words", SHAPE_TEXT, "In words", .max = 65536),
};
static SHAPE_DEFINE_SAID(event_shape, "exception_event", "An event of the same business case",
                         event_rows);
static const struct shape_field story_rows[] = {
    CASE_ROWS,
    SHAPE_MAYBE("action", SHAPE_TEXT, "What to do about it"),
    SHAPE_ALWAYS("commands", SHAPE_LIST, "The same, to be typed"),
    SHAPE_SAID("payload", SHAPE_OBJECT, "The message it is about", .shape = &payload_shape_said),
    SHAPE_SAID("preview", SHAPE_OBJECT, "What the present mapping makes of it",
               .shape = &preview_shape),
    SHAPE_SAID("events", SHAPE_LIST, "Who did what: all events of the same business case",
               .shape = &event_shape),
};
SHAPE_DEFINE_SAID(case_story_shape, "exception_story", "A case with all that belongs to it",
                  story_rows);

static const char *const changes[] = {"retried", "edited", "failed", NULL};
static const struct shape_field decided_rows[] = {
    SHAPE_ALWAYS("exception_id", SHAPE_ID, "The case"),
    SHAPE_SAID("change", SHAPE_ENUM, "What was done", .values = changes),
    SHAPE_SAID("reason", SHAPE_TEXT, "Why"),
    SHAPE_SAID("by", SHAPE_TEXT, "Who decided"),
    SHAPE_SAID("edition_seq", SHAPE_INTEGER, "Of the event that keeps the new version",
               .max = INT64_MAX),
    SHAPE_SAID("attempts", SHAPE_INTEGER, "How often it was processed again", .max = INT64_MAX),
    SHAPE_COUNT("version", "Of the case, afterwards"),
    SHAPE_SAID("preview", SHAPE_OBJECT, "dry_run: what the mapping would make of it",
               .shape = &preview_shape),
};
SHAPE_DEFINE_SAID(case_decided_shape, "exception_decided", "What was decided about a case",
                  decided_rows);

static const struct shape_field line_rows[] = {
    SHAPE_COUNT("line", "From 1"),
    SHAPE_ALWAYS("exception_id", SHAPE_ID, "The case"),
    SHAPE_COUNT("status", "As a call about this case alone would have answered"),
    SHAPE_SAID("answer", SHAPE_OPEN, "Of success"),
    SHAPE_SAID("problem", SHAPE_OPEN, "Why it was refused (RFC 9457)"),
    SHAPE_SAID("kind", SHAPE_CODE, "dry_run: of the case", .flags = SHAPE_NULL),
    SHAPE_SAID("cause", SHAPE_TEXT, "dry_run: of the case", .flags = SHAPE_NULL),
    SHAPE_SAID("preview", SHAPE_OBJECT, "dry_run: what the mapping would make of it",
               .shape = &preview_shape),
};
SHAPE_DEFINE_SAID(case_bulk_line_shape, "exception_bulk_line", "What became of one case", line_rows);

/* --- bodies ------------------------------------------------------------------------------------ */

static const struct shape_field set_rows[] = {
    [SET_POINTER] = SHAPE_ROW(struct case_set, pointer, SHAPE_TEXT,
                              "Where in the message: a JSON Pointer; \"-\" adds to a list",
                              .flags = SHAPE_REQUIRED, .min = 2, .max = 1024),
    [SET_TEXT] = SHAPE_ROW(struct case_set, text, SHAPE_TEXT,
                           "What to put there, as what stands there now: a text for a text, else JSON",
                           .max = 65536),
    [SET_VALUE] = SHAPE_ROW(struct case_set, value, SHAPE_OPEN, "Or: JSON as it is"),
};
static SHAPE_DEFINE(set_shape, "exception_set", struct case_set, "A member to be put right", set_rows);

#define D(row, member, kind, help, ...)                                                            \
    [row] = SHAPE_ROW(struct case_decision, member, kind, help, ##__VA_ARGS__)
#define D_REASON(...) D(DECISION_REASON, reason, SHAPE_TEXT, "Why", ##__VA_ARGS__)
#define D_VERSION                                                                                  \
    D(DECISION_VERSION, version, SHAPE_INTEGER,                                                    \
      "Of the case as it was seen; where it has changed since: 412. As If-Match", .min = 1,        \
      .max = INT64_MAX)

static const struct shape_field retry_rows[] = {D_REASON(), D_VERSION};
SHAPE_DEFINE(case_retry_body_shape, "exception_retry", struct case_decision, "A retry", retry_rows);

static const struct shape_field discard_rows[] = {D_REASON(.flags = SHAPE_REQUIRED, .min = 1),
                                                  D_VERSION};
SHAPE_DEFINE(case_discard_body_shape, "exception_discard", struct case_decision, "A discard",
             discard_rows);

static const struct shape_field resolve_rows[] = {
    D_REASON(.flags = SHAPE_REQUIRED, .min = 1),
    D_VERSION,
    D(DECISION_RESOLUTION, resolution, SHAPE_CODE, "How: discarded (default), fixed, retried"),
};
SHAPE_DEFINE(case_resolve_body_shape, "exception_resolve", struct case_decision,
             "How a case is closed", resolve_rows);

static const struct shape_field fix_rows[] = {
    D_REASON(),
    D_VERSION,
    D(DECISION_RESOLUTION, resolution, SHAPE_CODE, "Set by the hub", .flags = SHAPE_READ_ONLY),
    D(DECISION_SET, set, SHAPE_LIST, "Members to be put right, one after the other",
      .shape = &set_shape, .max = 100),
    D(DECISION_DOCUMENT, document, SHAPE_RAW, "Or: the whole message, where it is JSON",
      .privacy = PERSONAL),
    D(DECISION_TEXT, text, SHAPE_TEXT, "Or: the whole message, where it is another text",
      .privacy = PERSONAL, .max = PAYLOAD_BYTES_MAX),
    D(DECISION_DRY_RUN, dry_run, SHAPE_BOOL, "Only say what the mapping would make of it"),
};
SHAPE_DEFINE(case_fix_body_shape, "exception_fix", struct case_decision,
             "How a message is put right: one of set, document, text", fix_rows);

static const struct shape_field choice_rows[] = {
    [CHOICE_EXCEPTION_ID] = SHAPE_ROW(struct case_choice, exception_id, SHAPE_ID, "The case",
                                      .flags = SHAPE_REQUIRED),
    [CHOICE_VERSION] = SHAPE_ROW(struct case_choice, version, SHAPE_INTEGER,
                                 "Of the case as it was seen", .min = 1, .max = INT64_MAX),
};
static SHAPE_DEFINE(choice_shape, "exception_choice", struct case_choice, "A case that is meant",
                    choice_rows);

static const char *const actions[] = {"retry", "fix", "discard", NULL};
#define B(row, member, kind, help, ...)                                                            \
    [row] = SHAPE_ROW(struct case_bulk, member, kind, help, ##__VA_ARGS__)
static const struct shape_field bulk_rows[] = {
    B(BULK_ACTION, action, SHAPE_ENUM, "What to do with each", .values = actions,
      .flags = SHAPE_REQUIRED),
    B(BULK_ITEMS, items, SHAPE_LIST, "The cases; else those that the filter finds",
      .shape = &choice_shape, .max = EXCEPTIONS_BULK_MAX),
    B(BULK_STATE, state, SHAPE_CODE, "Filter: open (default), resolved, discarded"),
    B(BULK_KIND, kind, SHAPE_CODE, "Filter"),
    B(BULK_OWNER, owner, SHAPE_CODE, "Filter"),
    B(BULK_CONNECTOR, connector, SHAPE_CODE, "Filter"),
    B(BULK_SUBJECT, subject, SHAPE_ID, "Filter"),
    B(BULK_TEXT, text, SHAPE_TEXT, "Filter: cause, subject or key say this", .max = 256),
    B(BULK_SINCE, since, SHAPE_INSTANT, "Filter: raised then or later"),
    B(BULK_REASON, reason, SHAPE_TEXT, "Why; discard needs it"),
    B(BULK_SET, set, SHAPE_LIST, "fix: members to be put right in each", .shape = &set_shape,
      .max = 100),
    B(BULK_LIMIT, limit, SHAPE_INTEGER, "At most so many (1000)", .min = 1,
      .max = EXCEPTIONS_BULK_MAX),
    B(BULK_DRY_RUN, dry_run, SHAPE_BOOL, "Only say which, and for fix what would become of them"),
};
SHAPE_DEFINE(case_bulk_body_shape, "exception_bulk", struct case_bulk,
             "A decision about many cases", bulk_rows);
