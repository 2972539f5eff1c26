/* driver_kafka: the net that produces to Kafka, for addresses kafka:// and kafka+tls://.
 *
 * A request becomes a record of the topic that its path is, under the key that its parameter `key` is: records
 * with one key are in one partition, in order. The producer is idempotent and waits for all replicas
 * (enable.idempotence, acks=all); the delivery report becomes the answer: status 200,
 * {"topic":"orders","partition":3,"offset":42}. What was not persisted ends as not `sent`; what may have been
 * ends as `sent`, and is sent again: who reads the topic knows it by its header ce_id.
 *
 * One owner: all calls come from the loop's thread. */
#ifndef PENSTOCK_CONNECT_DRIVER_KAFKA_H
#define PENSTOCK_CONNECT_DRIVER_KAFKA_H

#include <uv.h>

#include "base/clock.h"
#include "connect/net.h"

struct driver_kafka_options {
    uv_loop_t *loop;
    struct clock *clock;
    uint32_t calls_max; /* under way at once; 0: 1024 */
};
#define DRIVER_KAFKA_PRODUCERS_MAX 16 /* one for each cluster, who calls and time limit */

/* The loop must run once more after net_close for its handles to go. ERR_NOMEM; ERR_INVALID: this build is
 * without Kafka. */
enum err driver_kafka_create(const struct driver_kafka_options *options, struct net **out,
                             struct fault *fault) WARN_UNUSED;

#endif
