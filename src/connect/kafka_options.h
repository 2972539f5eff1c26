/* kafka_options: how librdkafka is set up, from an address and what says who calls. One for what goes out and
 * what comes in. Owns nothing. */
#ifndef PENSTOCK_CONNECT_KAFKA_OPTIONS_H
#define PENSTOCK_CONNECT_KAFKA_OPTIONS_H

#include <librdkafka/rdkafka.h>

#include "connect/stream_url.h"

/* Certificates are verified: against `ca` of the address, else the environment's PENSTOCK_CA_FILE, else the
 * system's. SASL: where there is a user; PLAIN unless `sasl` says otherwise. ERR_INVALID, ERR_NOMEM. */
enum err kafka_options_make(const struct stream_url *url, struct str authorization, struct arena *arena,
                            rd_kafka_conf_t **out, struct fault *fault) WARN_UNUSED;
/* One property. ERR_INVALID. */
enum err kafka_option(rd_kafka_conf_t *conf, const char *name, const char *value,
                      struct fault *fault) WARN_UNUSED;
enum err kafka_option_number(rd_kafka_conf_t *conf, const char *name, int64_t value,
                             struct fault *fault) WARN_UNUSED;

#endif
