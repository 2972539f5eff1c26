/* kafka_absent: in place of driver_kafka.c and source_kafka.c where the build is without librdkafka: with the
 * thread sanitizer, which crashes once that library starts. */
#include "connect/driver_kafka.h"
#include "connect/stream_source.h"

enum err driver_kafka_create(const struct driver_kafka_options *options, struct net **out,
                             struct fault *fault) {
    return fault_set(fault, ERR_INVALID, "this build is without Kafka");
}

enum err source_kafka_open(const struct stream_source_options *options, struct stream_source **out,
                           struct fault *fault) {
    return fault_set(fault, ERR_INVALID, "this build is without Kafka");
}
