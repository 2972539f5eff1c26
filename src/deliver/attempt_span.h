/* attempt_span: the spans of an attempt (base/span.h). All of it does nothing where the event's
 * trace is not sampled. */
#ifndef PENSTOCK_DELIVER_ATTEMPT_SPAN_H
#define PENSTOCK_DELIVER_ATTEMPT_SPAN_H

#include "deliver/deliver_priv.h"

/* The event was read: from here on its trace is known. */
void attempt_span_begin(struct attempt *attempt);
/* What commands of the attempt carry on: its own span, or the event's where nothing is recorded. */
struct str attempt_trace(const struct attempt *attempt);
int64_t attempt_span_now(const struct attempt *attempt);
/* The mapping ran, since from_us. */
void attempt_mapped(const struct attempt *attempt, int64_t from_us, bool failed);
/* The traceparent of a call that goes out now; and its end. */
struct str attempt_call_trace(struct attempt *attempt);
void attempt_called(struct attempt *attempt, const struct connector_request *request,
                    const struct net_answer *answer);
void attempt_span_end(struct attempt *attempt, enum lane_outcome outcome);

#endif
