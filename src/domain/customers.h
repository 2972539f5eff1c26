/* customers: persons, whose data is sealed (core/seal.h), and that they were erased. The journal
 * says so first; the keys are destroyed after it, by ops/erasure.h. Has no state: what was erased
 * is a table of the read model, what can not be opened has no key. */
#ifndef PENSTOCK_DOMAIN_CUSTOMERS_H
#define PENSTOCK_DOMAIN_CUSTOMERS_H

#include "core/capability.h"

extern const struct capability customers_capability;

/* Data of customer.erased. */
struct customer_erased {
    uint64_t has;
    struct str customer_id; /* the person: a customer's number, a guest's order, a payload */
};
enum customer_erased_row { ERASED_CUSTOMER_ID };

/* Body of customer.erase, filled in by decide. */
struct customer_erasure {
    uint64_t has;
    uint64_t seq; /* of customer.erased */
    int64_t erased_us;
};
/* What who asked for it is told. */
extern const struct shape customer_erasure_shape;

/* Internal, args[0]: the person. Everything that was recorded of it before the event is to become
 * unreadable; what comes later is of a new life. */
extern const struct command_type customer_erase_command;

/* The newest erasure of each person. */
extern const struct table erasures_table;
enum { ERASURES_PERSON, ERASURES_SEQ, ERASURES_AT, ERASURES_COLUMNS };

#endif
