/* exceptions: the business exception queue (M5): a case a person must decide, with cause,
 * owner, payload and next action. */
#ifndef PENSTOCK_DOMAIN_EXCEPTIONS_H
#define PENSTOCK_DOMAIN_EXCEPTIONS_H

#include "core/capability.h"

extern const struct capability exceptions_capability;
extern const struct event_type exception_raised_event;

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
    int64_t version; /* of the case: 1; set by the hub. exception.resolved is 2 */
};
enum exception_row {
    EXCEPTION_ID, EXCEPTION_KIND, EXCEPTION_SUBJECT, EXCEPTION_CAUSE, EXCEPTION_ACTION,
    EXCEPTION_OWNER, EXCEPTION_PAYLOAD_SEQ, EXCEPTION_DETAILS,
    EXCEPTION_VERSION,
};
extern const struct shape exception_shape;

/* Internal command: body struct exception without id. */
extern const struct command_type exception_raise_command;

/* From another capability's decide: raises one beside its own events. `exception` is copied,
 * its id made from the command's and `nth` (0 for the first of a decision). */
enum err exception_raise(struct decision *decision, const struct exception *exception,
                         uint32_t nth) WARN_UNUSED;

#endif
