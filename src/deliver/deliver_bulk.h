/* deliver_bulk: which held deliveries are meant, and a decision about many of them at once. */
#ifndef PENSTOCK_DELIVER_DELIVER_BULK_H
#define PENSTOCK_DELIVER_DELIVER_BULK_H

#include "deliver/deliver.h"
#include "deliver/progress.h"

#define HELD_BULK_MAX 1000
#define HELD_SCAN_MAX 1000000u /* rows that are looked at */

/* Absent: any. */
struct held_filter {
    struct str subscription, type, subject, key, state;
    struct str text; /* that the cause says, in any case */
};
bool held_matches(const struct held_filter *filter, const struct progress_row *row);

/* "SUBSCRIPTION:SEQ" */
bool held_id(struct str id, struct str *subscription, uint64_t *seq);

/* Query of POST /ops/held/bulk; its ctx is the deliver. */
enum err held_bulk_query(struct query *query, struct fault *fault) WARN_UNUSED;
extern const struct shape held_bulk_shape, held_bulk_line_shape;

#endif
