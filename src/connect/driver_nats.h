/* driver_nats: the net that publishes to NATS JetStream, for addresses nats:// and nats+tls://.
 *
 * A request becomes a message on the subject that its path is, with its headers (Nats-Msg-Id among them,
 * by which JetStream knows one that it has); the stream's acknowledgement becomes the answer: status 200,
 * {"stream":"ORDERS","seq":42,"duplicate":false}. Where no stream takes the subject the status is 503; what
 * the stream refuses has the status it says. A message that was published and not acknowledged in time, or
 * whose connection broke, ends as `sent`: it may be there.
 *
 * A request of method GET publishes nothing: it asks whether a message with its Nats-Msg-Id is in the stream
 * on that subject (nats_look.h): status 200 with the same document, or 404.
 *
 * One owner: all calls come from the loop's thread. */
#ifndef PENSTOCK_CONNECT_DRIVER_NATS_H
#define PENSTOCK_CONNECT_DRIVER_NATS_H

#include <uv.h>

#include "base/clock.h"
#include "connect/net.h"

struct driver_nats_options {
    uv_loop_t *loop;
    struct clock *clock;
    uint32_t calls_max; /* under way at once; 0: 1024 */
};
#define DRIVER_NATS_LINKS_MAX 32 /* connections: one for each server list and who calls */

/* The loop must run once more after net_close for its handles to go. ERR_NOMEM. */
enum err driver_nats_create(const struct driver_nats_options *options, struct net **out,
                            struct fault *fault) WARN_UNUSED;

#endif
