/* deliver_ops: what the questions and answers about deliveries share. */
#ifndef PENSTOCK_DELIVER_DELIVER_OPS_H
#define PENSTOCK_DELIVER_DELIVER_OPS_H

#include "deliver/deliver.h"

/* stop_ops.c */
/* ,"stopped":… */
void stopped_write(struct buf *out, const struct deliver_stats *stats);
enum err subscription_stop_query(struct query *query, struct fault *fault) WARN_UNUSED;
enum err subscription_start_query(struct query *query, struct fault *fault) WARN_UNUSED;

#endif
