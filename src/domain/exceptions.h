/* exceptions: the business exception queue (M5): a case a person must decide, with cause,
 * owner, payload and next action.
 *
 * A case is open until it is resolved (what was asked for is done: a retry or a mended payload went
 * through, or the cause went away by itself) or discarded with a reason. Each event about it counts
 * its version up, so that two persons never decide the same state of it.
 *
 * Where a stored message could not be processed, the case is about that message, and the message
 * waits for it: processed again without success it is the same case with a new cause, with success
 * the case is resolved in the same commit. With a `lane` (the connector's key), what came later
 * with the same key waits as well (domain/inbound_lanes.c). */
#ifndef PENSTOCK_DOMAIN_EXCEPTIONS_H
#define PENSTOCK_DOMAIN_EXCEPTIONS_H

#include "core/capability.h"

extern const struct capability exceptions_capability;
extern const struct event_type exception_raised_event, exception_changed_event,
    exception_resolved_event;
extern const struct table exceptions_table;
/* Columns of exceptions_table. */
enum exception_column {
    CASE_ID, CASE_KIND, CASE_SUBJECT, CASE_STATE, CASE_OWNER, CASE_RAISED, CASE_UPDATED, CASE_SEQ,
    CASE_CONNECTOR, CASE_TOPIC, CASE_LANE, CASE_PAYLOAD_SEQ, CASE_EDITION_SEQ, CASE_VERSION,
    CASE_ATTEMPTS, CASE_CAUSE, CASE_CHANGED_SEQ, CASE_COLUMNS,
};

/* Body of command exception.raise and data of event exception.raised. */
struct exception {
    uint64_t has;
    struct str exception_id; /* "exc_…"; set by the hub */
    struct str kind;         /* shortage, mapping-failed, document-invalid, unbalanced … */
    struct str subject;      /* what it is about: order id, payload id … */
    struct str cause;        /* in the words of the trade */
    struct str action;       /* what to do about it */
    struct str owner;        /* team: from the connector or the kind */
    int64_t payload_seq;     /* of the event that keeps the payload; 0: none */
    const struct json *details; /* faults with their pointers, quantities wanted … */
    int64_t version; /* of the case: 1; set by the hub */
    struct str connector, topic;         /* whose message it is about; absent: no message's */
    struct str lane;                     /* messages of this key wait until it is closed; absent: none */
    struct str mapping, mapping_version; /* mapping_source.name, .version; absent: none */
};
enum exception_row {
    EXCEPTION_ID, EXCEPTION_KIND, EXCEPTION_SUBJECT, EXCEPTION_CAUSE, EXCEPTION_ACTION,
    EXCEPTION_OWNER, EXCEPTION_PAYLOAD_SEQ, EXCEPTION_DETAILS,
    EXCEPTION_VERSION, EXCEPTION_CONNECTOR, EXCEPTION_TOPIC, EXCEPTION_LANE, EXCEPTION_MAPPING,
    EXCEPTION_MAPPING_VERSION,
};
extern const struct shape exception_shape;

/* Internal command: body struct exception without id. */
extern const struct command_type exception_raise_command;

/* From another capability's decide: raises one beside its own events. `exception` is copied,
 * its id made from the command's and `nth` (0 for the first of a decision). Where it is about a
 * message of which a case is open, that case gets the new cause instead. */
enum err exception_raise(struct decision *decision, const struct exception *exception,
                         uint32_t nth) WARN_UNUSED;

/* Data of event exception.changed: what was tried. */
struct exception_change {
    uint64_t has;
    struct str exception_id;
    int32_t change;          /* enum exception_change_kind */
    struct str kind, cause, action; /* CASE_FAILED: the new ones */
    struct str reason, by;   /* a person's */
    const struct json *details;
    struct str mapping, mapping_version;
    int64_t edition_seq;     /* CASE_EDITED: of the event that keeps the new version */
    int64_t attempts;        /* times that it was processed again, so far */
    int64_t version;         /* of the case, afterwards */
};
enum exception_change_row {
    TRIED_EXCEPTION_ID, TRIED_CHANGE, TRIED_KIND, TRIED_CAUSE, TRIED_ACTION, TRIED_REASON,
    TRIED_BY, TRIED_DETAILS, TRIED_MAPPING, TRIED_MAPPING_VERSION, TRIED_EDITION_SEQ,
    TRIED_ATTEMPTS, TRIED_VERSION,
};
enum exception_change_kind { CASE_RETRIED, CASE_EDITED, CASE_FAILED };
extern const struct shape exception_change_shape;

/* --- what a person decides: internal commands, args[0] is the case; ops/exceptions.h issues them.
 * if_match (the command's): the version the person saw; another one is ERR_STALE. ERR_NOT_FOUND,
 * ERR_CONFLICT (closed; being processed; nothing to process). */

/* Body of exception.resolve and data of exception.resolved. */
struct resolution {
    uint64_t has;
    struct str exception_id;
    struct str resolution; /* discarded, fixed, retried; by itself: processed, cancelled,
                              started, arrived, mended */
    struct str reason;
    int64_t version;
    struct str lane; /* what waited for it goes on; absent: nothing did */
    struct str by;   /* who decided; absent: nobody, the cause went away */
    int64_t payload_seq;
};
enum resolution_row {
    RESOLUTION_EXCEPTION_ID, RESOLUTION_RESOLUTION, RESOLUTION_REASON, RESOLUTION_VERSION,
    RESOLUTION_LANE, RESOLUTION_BY, RESOLUTION_PAYLOAD_SEQ,
};
extern const struct shape resolution_shape;
#define RESOLUTION_DISCARDED "discarded"

/* Body of exception.retry: the message is processed once more. */
struct exception_retry {
    uint64_t has;
    struct str reason, by;
};
enum exception_retry_row { CASE_RETRY_REASON, CASE_RETRY_BY };

/* Body of exception.edit: another version of the message is kept beside what came, and processed;
 * data of event payload.edited. */
struct payload_edit {
    uint64_t has;
    struct str payload_id;
    int64_t payload_seq;
    struct str exception_id;
    struct str document;       /* RAW, JSON: exactly one of the two */
    struct str text;
    struct str reason, by;
    struct shape_list changed; /* of struct str: pointers of what was set; empty: the whole */
};
enum payload_edit_row {
    EDIT_PAYLOAD_ID, EDIT_PAYLOAD_SEQ, EDIT_EXCEPTION_ID, EDIT_DOCUMENT, EDIT_TEXT, EDIT_REASON,
    EDIT_BY, EDIT_CHANGED,
};
extern const struct shape payload_edit_shape;
extern const struct command_type exception_retry_command, exception_edit_command,
    exception_resolve_command;
#define EVENT_PAYLOAD_EDITED "payload.edited"

/* --- for domain/inbound*.c ------------------------------------------------------------------- */

/* Whether an open case about a message before `seq` keeps those of the lane waiting. */
bool exceptions_hold(const struct state *state, struct str lane, uint64_t seq);
/* The newest version that was made of a message whose case is open: seq of payload.edited, 0 where
 * it was not edited. `part` is exceptions_capability's state. */
uint64_t exceptions_edition(const void *part, uint64_t payload_seq);

/* --- for who raised cases and sees their cause go away ------------------------------------------------- */

/* One open case of the kind after the other, from *at on (0 at first); false: there are no more. Id and
 * subject are in the arena; absent where memory is out. `part` is exceptions_capability's state. */
bool exceptions_next(const void *part, struct str kind, uint32_t *at, struct arena *arena, struct str *id,
                     struct str *subject);

#endif
