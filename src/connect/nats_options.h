/* nats_options: how a connection to NATS is made, from an address and what says who calls. One for what
 * goes out and what comes in. Owns nothing. */
#ifndef PENSTOCK_CONNECT_NATS_OPTIONS_H
#define PENSTOCK_CONNECT_NATS_OPTIONS_H

#include <nats/nats.h>

#include "connect/stream_url.h"

/* A connection that is lost stays lost: nothing is kept back in the library and sent later, whoever owns
 * the connection opens another. Certificates are verified: against `ca` of the address, else the
 * environment's PENSTOCK_CA_FILE, else the system's. ERR_INVALID: a file can not be used; ERR_NOMEM. */
enum err nats_options_make(const struct stream_url *url, struct str authorization,
                           struct arena *arena, natsOptions **out, struct fault *fault) WARN_UNUSED;
/* What a connection failed with, for people: at once after the failed call, on its thread, as the library
 * keeps its own words (which certificate, and what is wrong with it) for a thread. Cut where longer. */
#define NATS_WORDS_MAX 200
struct str nats_failed(natsStatus status, char out[NATS_WORDS_MAX]);

#endif
