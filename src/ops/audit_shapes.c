/* audit_shapes: what the answers of the audit hold (audit_list.c writes them by hand). */
#include "ops/ops_shapes.h"


static const char *const kinds[] = {"change", "denied", "refused", "read", "admin", NULL};

static const struct shape_field event_rows[] = {
    SHAPE_SAID("seq", SHAPE_INTEGER, "Position in the journal", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("type", SHAPE_CODE, "Its type", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("subject", SHAPE_TEXT, "What it is about", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("before", SHAPE_INTEGER,
               "The change before about the same subject; absent: there was none"),
};
static SHAPE_DEFINE_SAID(event_shape, "audit_event", "A change, by reference", event_rows);
static const struct shape_field line_rows[] = {
    SHAPE_SAID("seq", SHAPE_INTEGER, "Position in the journal", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("time", SHAPE_INSTANT, "When it was recorded", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("actor", SHAPE_TEXT, "Who: pk_…, a person, connector:NAME, timer, os:user@host"),
    SHAPE_SAID("from", SHAPE_CODE, "The client's address"),
    SHAPE_SAID("correlation_id", SHAPE_TEXT, "Joins everything one case did"),
    SHAPE_SAID("kind", SHAPE_ENUM, "What kind of line", .flags = SHAPE_REQUIRED, .values = kinds),
    SHAPE_SAID("action", SHAPE_TEXT, "The command of a change; else the route, or what was done",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("events", SHAPE_LIST, "Of a change: its events", .shape = &event_shape),
    SHAPE_SAID("more_events", SHAPE_INTEGER, "How many of them are not listed"),
    SHAPE_SAID("about", SHAPE_TEXT, "What it was about; of several calls the first one's, or absent"),
    SHAPE_SAID("reason", SHAPE_CODE, "Why it was not done: last part of the problem's type"),
    SHAPE_SAID("needs", SHAPE_CODE, "The scope that is missing"),
    SHAPE_SAID("claims", SHAPE_CODE, "The id of the API key that was shown and is not valid"),
    SHAPE_SAID("detail", SHAPE_TEXT, "Further words"),
    SHAPE_SAID("count", SHAPE_INTEGER, "How many calls alike it stands for; absent: one"),
    SHAPE_SAID("first_at", SHAPE_INSTANT, "When the first of them was"),
    SHAPE_SAID("last_at", SHAPE_INSTANT, "When the last of them was"),
};
SHAPE_DEFINE_SAID(audit_line_shape, "audit_line", "Who did what, when, from where", line_rows);

static const struct shape_field anchor_rows[] = {
    SHAPE_SAID("penstock_anchor", SHAPE_INTEGER, "1: the form of this", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("at", SHAPE_INSTANT, "When it was made", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("seq", SHAPE_INTEGER, "The last record it speaks of", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("segment", SHAPE_INTEGER, "The newest sealed segment"),
    SHAPE_SAID("sha256", SHAPE_CODE, "Its SHA-256, which covers those before it"),
    SHAPE_SAID("tail_from", SHAPE_INTEGER, "The first record behind it", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("tail_sha256", SHAPE_CODE, "SHA-256 over the records from there to seq",
               .flags = SHAPE_REQUIRED),
};
SHAPE_DEFINE_SAID(audit_anchor_shape, "audit_anchor", "Hashes of the journal, to be kept elsewhere",
                  anchor_rows);
