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
    struct held_status { /* of the last answer; to 0 and from 0: there was none */
        bool given;
        int32_t from, to;
    } status;
    int64_t since_us, until_us; /* when it was listed, wall clock; 0: whenever */
};
/* "422", "4xx", or "0": there was no answer. False: it is none of these. */
bool held_status_parse(struct str text, struct held_status *out);
/* "90s", "15m", "2h", "7d". False: it is none. */
bool held_age_parse(struct str text, int64_t *us);
#define HELD_STATUS_WORDS "must be an HTTP status (422), a class of them (4xx), or 0: there was no answer"
#define HELD_AGE_WORDS "must be a number and s, m, h or d: 90s, 15m, 2h, 7d"
bool held_matches(const struct held_filter *filter, const struct progress_row *row);

/* "SUBSCRIPTION:SEQ" */
bool held_id(struct str id, struct str *subscription, uint64_t *seq);

/* Query of POST /ops/held/bulk; its ctx is the deliver. */
enum err held_bulk_query(struct query *query, struct fault *fault) WARN_UNUSED;
extern const struct shape held_bulk_shape, held_bulk_line_shape;

#endif
