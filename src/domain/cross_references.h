/* cross_references: what other systems call what the hub has a code for: a tax, a location, a unit,
 * a SKU, a payment method, a customer. An entry says of one system and kind that its `value` is the
 * hub's `code`, in one direction or both:
 *   both  comes in as the code, and the code goes out as the value (the usual case)
 *   in    comes in alone: further values of a code that goes out as another one ("visa" and
 *         "mastercard" are both "card")
 *   out   goes out alone: further codes that a system does not tell apart
 * So a value has one code, and a code goes out as one value: what two entries would answer
 * differently is refused when it is set. Mappings ask with code() and value_of(). */
#ifndef PENSTOCK_DOMAIN_CROSS_REFERENCES_H
#define PENSTOCK_DOMAIN_CROSS_REFERENCES_H

#include "core/capability.h"

extern const struct capability cross_references_capability;

enum cross_direction { CROSS_BOTH, CROSS_IN, CROSS_OUT };
extern const char *const cross_directions[]; /* "both", "in", "out", NULL */

/* Body of cross_reference.set, data of cross_reference.changed and cross_reference.removed, answer. */
struct cross_reference {
    uint64_t has;
    struct str system; /* "shopify": a connector, or any other name */
    struct str kind;   /* "tax" */
    struct str value;  /* what the system calls it */
    struct str code;   /* what the hub does */
    int32_t direction; /* enum cross_direction */
    int64_t version;   /* counted up with every change; set by the hub */
};
enum cross_reference_row {
    CROSS_SYSTEM, CROSS_KIND, CROSS_VALUE, CROSS_CODE, CROSS_DIRECTION, CROSS_VERSION,
};
extern const struct shape cross_reference_shape;
#define CROSS_TEXT_MAX 256 /* bytes of a value, of a code */

/* Body struct cross_reference. The same again changes nothing. Another code for a value takes the
 * place of the one before. ERR_CONFLICT where a code would go out as two values, and beyond the
 * setting cross_references_max. */
extern const struct command_type cross_reference_set_command;

/* The code of a value; with `out` the value of a code; absent: there is no such entry. Copied into the
 * arena (ERR_NOMEM). Any thread, between core_read_begin and core_read_end; as of the last commit. */
enum err cross_reference_find(const void *state, struct str system, struct str kind, struct str text,
                              bool out, struct arena *arena, struct str *found) WARN_UNUSED;

#endif
