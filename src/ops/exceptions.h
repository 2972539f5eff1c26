/* exceptions: the exception queue as operators meet it (M5): the list and its figures, one case
 * with all that belongs to it, and what is decided about one or many: retry, fix, discard, resolve.
 *
 * Decisions are commands (domain/exceptions.h); here is what they need beside the state: rows, the
 * message and its versions, what the present mapping makes of it. A decision names the version of
 * the case that was seen (If-Match, or `version` in the body), or takes the one it finds; of two at
 * once, one is refused. */
#ifndef PENSTOCK_OPS_EXCEPTIONS_H
#define PENSTOCK_OPS_EXCEPTIONS_H

#include "ops/overview.h"

#define EXCEPTIONS_BULK_MAX 1000  /* cases in one call */
#define EXCEPTIONS_SCAN_MAX 20000 /* rows looked at for one page */

/* The ctx is a struct ops_context. */
extern const struct route exceptions_routes[];

#endif
