/* The inside of exceptions: rows and answers (exceptions.c), messages and what the mapping makes of
 * them (exceptions_payload.c), decisions (exceptions_decide.c), shapes (exceptions_shapes.c). */
#ifndef PENSTOCK_OPS_EXCEPTIONS_PRIV_H
#define PENSTOCK_OPS_EXCEPTIONS_PRIV_H

#include "domain/exceptions.h"
#include "domain/inbound.h"
#include "ops/exceptions.h"

/* A row of the table, copied. */
struct case_row {
    struct str id, kind, subject, state, owner, connector, topic, lane, cause;
    int64_t raised_us, updated_us, seq, payload_seq, edition_seq, version, attempts, changed_seq;
};

/* --- exceptions.c */
/* What a list is narrowed to; absent: not at all. */
struct case_filter {
    struct str state, kind, owner, connector, subject, text;
    int64_t since_us, updated_since_us; /* 0: none */
};
/* Visits what matches, least recently changed first, from the cursor on, at most `limit` rows and
 * EXCEPTIONS_SCAN_MAX looked at; *next absent at the end. */
enum err cases_each(struct query *query, const struct case_filter *filter, struct str cursor,
                    uint32_t limit, bool (*visit)(void *ctx, const struct case_row *row), void *ctx,
                    struct str *next, struct fault *fault) WARN_UNUSED;
/* Waits until the rows show what was acknowledged. ERR_NOT_FOUND. */
enum err case_read(struct query *query, struct str id, struct case_row *out,
                   struct fault *fault) WARN_UNUSED;
void case_write(struct query *query, const struct case_row *row);

/* --- exceptions_payload.c */
struct message {
    struct str payload_id, connector, topic, content_type;
    int64_t seq, received_us;
    struct str text;              /* the bytes, where they are text; absent: not shown, or erased */
    const struct json *document;  /* the same as nodes; NULL: it is no JSON */
    struct str base64;            /* the bytes, where they are no text */
};
/* The message of a case in its newest version, or (`original`) as it came; `keyring` NULL: without
 * its bytes. ERR_NOT_FOUND: the case has none. */
enum err message_read(struct query *query, const struct case_row *row, bool original,
                      struct keyring *keyring, struct message *out, struct fault *fault) WARN_UNUSED;
/* One more level of pointer: the document with a value put at `pointer`, as text; ERR_INVALID where
 * there is no such place. Where `text` is given, it is taken for what stands there now: a text for a
 * text, else JSON. */
enum err document_set(struct query *query, const struct json *document, struct str pointer,
                      const struct json *value, struct str text, struct str *out,
                      struct fault *fault) WARN_UNUSED;
/* What the present mapping makes of it: "preview":{…}. */
void preview_write(struct query *query, const struct message *message, struct buf *out);
/* "payload":{…}, with its versions. */
enum err message_write(struct query *query, const struct case_row *row, const struct message *message,
                       struct fault *fault) WARN_UNUSED;

/* --- exceptions_decide.c */
enum err case_retry_query(struct query *query, struct fault *fault) WARN_UNUSED;
enum err case_fix_query(struct query *query, struct fault *fault) WARN_UNUSED;
enum err case_discard_query(struct query *query, struct fault *fault) WARN_UNUSED;
enum err case_resolve_query(struct query *query, struct fault *fault) WARN_UNUSED;
enum err cases_bulk_query(struct query *query, struct fault *fault) WARN_UNUSED;

/* --- exceptions_shapes.c */
extern const struct shape case_item_shape, case_story_shape, case_count_shape, case_decided_shape,
    case_bulk_line_shape;
/* Bodies of decisions. */
struct case_set {
    uint64_t has;
    struct str pointer, text;
    const struct json *value;
};
enum case_set_row { SET_POINTER, SET_TEXT, SET_VALUE };
struct case_decision {
    uint64_t has;
    struct str reason, resolution;
    int64_t version;
    bool dry_run;
    struct shape_list set; /* of struct case_set */
    struct str document, text;
};
enum case_decision_row {
    DECISION_REASON, DECISION_VERSION, DECISION_RESOLUTION, DECISION_SET, DECISION_DOCUMENT,
    DECISION_TEXT, DECISION_DRY_RUN,
};
struct case_choice {
    uint64_t has;
    struct str exception_id;
    int64_t version;
};
enum case_choice_row { CHOICE_EXCEPTION_ID, CHOICE_VERSION };
enum case_action { ACTION_RETRY, ACTION_FIX, ACTION_DISCARD };
struct case_bulk {
    uint64_t has;
    int32_t action;
    struct shape_list items; /* of struct case_choice */
    struct str state, kind, owner, connector, subject, text;
    struct instant since;
    struct str reason;
    struct shape_list set;
    int64_t limit;
    bool dry_run;
};
enum case_bulk_row {
    BULK_ACTION, BULK_ITEMS, BULK_STATE, BULK_KIND, BULK_OWNER, BULK_CONNECTOR, BULK_SUBJECT,
    BULK_TEXT, BULK_SINCE, BULK_REASON, BULK_SET, BULK_LIMIT, BULK_DRY_RUN,
};
extern const struct shape case_retry_body_shape, case_fix_body_shape, case_discard_body_shape,
    case_resolve_body_shape, case_bulk_body_shape;

#endif
