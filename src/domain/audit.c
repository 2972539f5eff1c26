/* audit: see audit.h. */
#include "domain/audit.h"

const char *const audit_kind_names[] = {"denied", "refused", "read", "admin", NULL};

static const struct shape_field note_rows[] = {
    [NOTE_KIND] = SHAPE_ROW(struct audit_note, kind, SHAPE_ENUM, "What kind of call",
                            .flags = SHAPE_REQUIRED, .values = audit_kind_names),
    [NOTE_ACTION] = SHAPE_ROW(struct audit_note, action, SHAPE_TEXT,
                              "The route that was called, or what was done to the hub",
                              .flags = SHAPE_REQUIRED, .max = 256),
    [NOTE_ABOUT] = SHAPE_ROW(struct audit_note, about, SHAPE_TEXT,
                             "Which thing it was about; of several calls the first one's, or absent",
                             .max = AUDIT_ABOUT_MAX),
    [NOTE_REASON] = SHAPE_ROW(struct audit_note, reason, SHAPE_CODE,
                              "Why it was not done: last part of the problem's type"),
    [NOTE_NEEDS] = SHAPE_ROW(struct audit_note, needs, SHAPE_CODE, "The scope that is missing"),
    [NOTE_CLAIMS] = SHAPE_ROW(struct audit_note, claims, SHAPE_CODE,
                              "The id of the API key that was shown and is not valid"),
    [NOTE_DETAIL] = SHAPE_ROW(struct audit_note, detail, SHAPE_TEXT, "Further words", .max = 1024),
    [NOTE_COUNT] = SHAPE_ROW(struct audit_note, count, SHAPE_INTEGER,
                             "How many calls alike this line stands for; absent: one", .min = 1,
                             .max = INT64_MAX),
    [NOTE_FIRST_AT] = SHAPE_ROW(struct audit_note, first_at, SHAPE_INSTANT, "When the first was"),
    [NOTE_LAST_AT] = SHAPE_ROW(struct audit_note, last_at, SHAPE_INSTANT, "When the last was"),
};
SHAPE_DEFINE(audit_note_shape, "audit_note", struct audit_note,
             "A call that changed nothing in the journal, for the audit", note_rows);

static const struct event_type audit_noted_event = {
    .name = EVENT_AUDIT_NOTED, .shape = &audit_note_shape,
    .help = "Someone was denied or refused, read what is personal, or administered the hub; only "
            "for who asks for this type and has the scope audit:read"};
static const struct event_type *const audit_events[] = {&audit_noted_event, NULL};

static enum err note_decide(struct decision *decision, const struct command *command) {
    struct audit_note *note;
    struct str subject = str_c(audit_kind_names[((const struct audit_note *)command->body)->kind]);
    if (!decision_event(decision, &audit_noted_event, subject, (void **)&note))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *note = *(const struct audit_note *)command->body;
    return OK;
}
const struct command_type audit_note_command = {
    .name = "audit.note", .shape = &audit_note_shape, .decide = note_decide,
    .flags = COMMAND_INTERNAL, .help = "Tells the audit of a call"};
static const struct command_type *const audit_commands[] = {&audit_note_command, NULL};

const struct capability audit_capability = {
    .name = "audit",
    .help = "Calls that changed nothing in the journal: denied, refused, reading, administering",
    .commands = audit_commands,
    .events = audit_events,
};
