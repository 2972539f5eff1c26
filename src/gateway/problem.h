/* problem: refusals as RFC 9457 documents. */
#ifndef PENSTOCK_GATEWAY_PROBLEM_H
#define PENSTOCK_GATEWAY_PROBLEM_H

#include "base/buf.h"
#include "base/err.h"

/* {"type":"https://penstock.org/problems/<slug>","title":…,"status":…,"detail":…,
 * "errors":[{"pointer":…,"detail":…}],"correlation_id":…}; errors where single faults are known.
 * Correlation may be absent. */
void problem_write(struct buf *out, enum err err, const struct fault *fault,
                   struct str correlation);

#endif
