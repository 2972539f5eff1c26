/* approvals: calls that need a second person (docs/operators.md). The first one's call is kept,
 * with its body sealed; another person approves or rejects it; what was approved is carried out
 * once. State: those that are not over. */
#ifndef PENSTOCK_DOMAIN_APPROVALS_H
#define PENSTOCK_DOMAIN_APPROVALS_H

#include "core/capability.h"

extern const struct capability approvals_capability;

#define APPROVALS_OPEN_MAX 1000 /* waiting at once, of a cell */
#define APPROVAL_PERSON_MAX 200 /* bytes of a person's name; longer ones may not ask */

/* Data of approval.requested, and body of approval.request. */
struct approval_request {
    uint64_t has;
    struct str approval_id;
    struct str method, path;  /* of the route: "DELETE", "/v1/customers/{customer_id}" */
    struct shape_list args;   /* of struct str: its path parameters */
    struct str query;         /* as it came, encoded */
    struct str body;          /* as it came: personal, sealed */
    struct str fingerprint;   /* of the whole, blinded where there is a keyring; hex */
    struct str requested_by;  /* the person: name of the key, subject of the token */
    struct str requester;     /* actor */
    struct instant expires_at;
    struct str state;         /* pending */
};
enum approval_request_row {
    APPROVAL_ID, APPROVAL_METHOD, APPROVAL_PATH, APPROVAL_ARGS, APPROVAL_QUERY, APPROVAL_BODY,
    APPROVAL_FINGERPRINT, APPROVAL_REQUESTED_BY, APPROVAL_REQUESTER, APPROVAL_EXPIRES_AT,
    APPROVAL_STATE,
};
extern const struct shape approval_request_shape;
/* Internal. Answers 202. */
extern const struct command_type approval_request_command;

/* Data of approval.decided and approval.executed, and bodies of the commands. */
struct approval_step {
    uint64_t has;
    struct str approval_id;
    struct str state;  /* approved, rejected; executed, failed */
    struct str by;     /* the person */
    struct str actor;
    struct str reason; /* why; of a failure what went wrong, without what is personal */
    struct str requester, requested_by; /* the first person's, in answers and events */
    int64_t request_seq;
    bool again; /* in answers: it was approved before, and perhaps carried out */
};
enum approval_step_row {
    STEP_ID, STEP_STATE, STEP_BY, STEP_ACTOR, STEP_REASON, STEP_REQUESTER, STEP_REQUESTED_BY,
    STEP_REQUEST_SEQ, STEP_AGAIN,
};
extern const struct shape approval_step_shape;
/* Internal. state approved or rejected. ERR_FORBIDDEN: the same person; ERR_CONFLICT: it is not
 * waiting (any more). Approving what is approved and not carried out answers the same again. */
extern const struct command_type approval_decide_command;
/* Internal. state executed or failed: it is over. */
extern const struct command_type approval_close_command;

/* All of them, by id, with how far they are. */
extern const struct table approvals_table;
enum {
    APPROVALS_ID, APPROVALS_STATE, APPROVALS_METHOD, APPROVALS_PATH, APPROVALS_ABOUT,
    APPROVALS_REQUESTED_BY, APPROVALS_REQUESTER, APPROVALS_REQUESTED, APPROVALS_EXPIRES,
    APPROVALS_BY, APPROVALS_ACTOR, APPROVALS_REASON, APPROVALS_UPDATED, APPROVALS_SEQ,
    APPROVALS_COLUMNS
};

#endif
