/* driver_kafka: the net that produces to Kafka, for addresses kafka:// and kafka+tls://.
 *
 * A request becomes a record of the topic that its path is, under the key that its parameter `key` is: records
 * with one key are in one partition, in order. The producer is idempotent and waits for all replicas
 * (enable.idempotence, acks=all); the delivery report becomes the answer: status 200,
 * {"topic":"orders","partition":3,"offset":42}. What was not persisted ends as not `sent`; what may have been
 * ends as `sent`.
 *
 * A request of method GET produces nothing: it asks whether the topic has a record of its penstock_id (or ce_id)
 * under that key (kafka_look.h): status 200 with the same document, 404, or 422 where more records came since its
 * ce_time than are looked through. A record has penstock_id only where it is not its ce_id: of a replay, or edited.
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
#define DRIVER_KAFKA_LOOKERS_MAX 8    /* one for each cluster and who calls, of those where something was in doubt */

/* The loop must run once more after net_close for its handles to go. ERR_NOMEM; ERR_INVALID: this build is
 * without Kafka. */
enum err driver_kafka_create(const struct driver_kafka_options *options, struct net **out,
                             struct fault *fault) WARN_UNUSED;

#endif
