/* endpoints: what the journal tells of other systems that do not answer, and answer again: the breaker of an
 * endpoint opened, or closed. How calls go is no state of the hub (connect/accounts.h). */
#ifndef PENSTOCK_DOMAIN_ENDPOINTS_H
#define PENSTOCK_DOMAIN_ENDPOINTS_H

#include "core/capability.h"

extern const struct capability endpoints_capability;

/* Body of command endpoint.report and data of events endpoint.opened and endpoint.closed. */
struct endpoint_report {
    uint64_t has;
    struct str connector;
    struct str endpoint; /* "https://erp.example:8443" */
    int32_t breaker;     /* enum endpoint_breaker */
    struct instant since; /* when it opened */
    int64_t failures;    /* in a row, that opened it */
    struct str cause;    /* of the last of them */
};
enum endpoint_report_row {
    ENDPOINT_CONNECTOR, ENDPOINT_ENDPOINT, ENDPOINT_BREAKER, ENDPOINT_SINCE, ENDPOINT_FAILURES, ENDPOINT_CAUSE,
};
enum endpoint_breaker { ENDPOINT_OPEN, ENDPOINT_CLOSED };
extern const struct shape endpoint_report_shape;

/* Internal; told again it answers OK and changes nothing. */
extern const struct command_type endpoint_report_command;

#endif
