/* hub: the composition root: starts the parts of one cell in order and stops them in reverse.
 * Only this file knows all of them. One hub per process and data folder. */
#ifndef PENSTOCK_CLI_HUB_H
#define PENSTOCK_CLI_HUB_H

#include "base/err.h"
#include "core/config.h"

struct hub_options {
    const char *dir;    /* the configuration folder */
    const char *data;   /* NULL: DIR/data; made where it is missing */
    const char *listen; /* "HOST:PORT", "[::1]:PORT"; NULL: of the configuration; port 0: any */
    const char *tls_listen;        /* as much, in place of the tls section's; NULL: that one */
    const char *tls_cert, *tls_key; /* in place of the tls section's certificates; NULL: those */
};

struct hub;
/* Serves when it answers. ERR_CONFLICT: another program has the data folder; ERR_INVALID: the
 * configuration is wrong, every fault listed; ERR_IO; ERR_NOMEM. */
enum err hub_start(const struct hub_options *options, struct hub **out,
                   struct fault *fault) WARN_UNUSED;
/* "http://127.0.0.1:8480", with the real port; several with ", " between them. */
const char *hub_url(struct hub *hub);
uint64_t hub_seq(const struct hub *hub);
const struct config *hub_config(const struct hub *hub);
/* Any thread: certificates are read anew, soon; where they are not fit the present ones stay. The
 * log says what became of it. */
void hub_reload(struct hub *hub);
/* Stops accepting, lets what is under way end within the drain_timeout_ms of the settings,
 * stops every part and frees. True when all requests had ended by then. */
bool hub_stop(struct hub *hub);

/* "HOST:PORT" in its two parts; brackets of an IPv6 address are taken off. */
enum err hub_listen_parse(const char *listen, char *host, size_t size, uint16_t *port,
                          struct fault *fault) WARN_UNUSED;

#endif
