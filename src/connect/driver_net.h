/* driver_net: the net of a loop, whatever the address: http:// and https:// go to driver_http, nats:// to
 * driver_nats, kafka:// to driver_kafka. Those who send need not know which. A driver for streams is made
 * when the first call needs it, so that a hub without streams starts no thread of their libraries. */
#ifndef PENSTOCK_CONNECT_DRIVER_NET_H
#define PENSTOCK_CONNECT_DRIVER_NET_H

#include "connect/driver_http.h"

/* As driver_http_create; the loop must run once more after net_close. ERR_NOMEM, ERR_IO. */
enum err driver_net_create(const struct driver_http_options *options, struct net **out,
                           struct fault *fault) WARN_UNUSED;

#endif
