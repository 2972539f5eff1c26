/* audit: what the journal says of calls that changed nothing in it: those that were denied or
 * refused, reads of what is personal, administration. Changes need no such event: they are events
 * themselves, with who, when, from where and for which case in their meta. Has no state. */
#ifndef PENSTOCK_DOMAIN_AUDIT_H
#define PENSTOCK_DOMAIN_AUDIT_H

#include "core/capability.h"

extern const struct capability audit_capability;

enum audit_kind {
    AUDIT_DENIED,  /* who asked may not, or could not show who it is */
    AUDIT_REFUSED, /* a change that was not made: not valid, or not possible */
    AUDIT_READ,    /* what is personal was shown */
    AUDIT_ADMIN,   /* something about the hub itself */
    AUDIT_KINDS
};
extern const char *const audit_kind_names[]; /* "denied" …, NULL-terminated */

/* Data of audit.noted, and body of audit.note. Nothing in it repeats a body or a header. */
struct audit_note {
    uint64_t has;
    int32_t kind;      /* enum audit_kind */
    struct str action; /* "GET /v1/orders/{order_id}": the route; or "key.created", "hub.started" */
    struct str about;  /* of which thing: path parameters, query; of the first call where count > 1 */
    struct str reason; /* denied, refused: slug of the problem */
    struct str needs;  /* denied: the scope that is missing */
    struct str claims; /* denied: the API key's id that was shown and is not valid */
    struct str detail; /* admin: further words */
    int64_t count;     /* calls alike; absent: one */
    struct instant first_at, last_at; /* of them */
};
enum audit_note_row {
    NOTE_KIND, NOTE_ACTION, NOTE_ABOUT, NOTE_REASON, NOTE_NEEDS, NOTE_CLAIMS, NOTE_DETAIL,
    NOTE_COUNT, NOTE_FIRST_AT, NOTE_LAST_AT,
};
extern const struct shape audit_note_shape;
#define EVENT_AUDIT_NOTED "audit.noted"
#define AUDIT_ABOUT_MAX 256

/* Internal. Who, from where and the case are the command's. */
extern const struct command_type audit_note_command;

#endif
