/* driver_http: the net that reaches the network: libcurl's multi interface on a libuv loop.
 *
 * Connections are kept and used again; redirects are not followed; a proxy is taken from the
 * environment (http_proxy, https_proxy, no_proxy); certificates are verified. One owner: all
 * calls come from the loop's thread. */
#ifndef PENSTOCK_CONNECT_DRIVER_HTTP_H
#define PENSTOCK_CONNECT_DRIVER_HTTP_H

#include <uv.h>

#include "base/clock.h"
#include "connect/net.h"

struct driver_http_options {
    uv_loop_t *loop;
    struct clock *clock;
    uint32_t calls_max;       /* under way at once; 0: 1024 */
    uint32_t connections_max; /* kept open; 0: 256 */
    const char *ca_file; /* PEM bundle: whose certificates are trusted, copied. NULL: that of the
                            environment's PENSTOCK_CA_FILE, else the system's */
};

/* The loop must run once more after net_close for its handles to go. ERR_NOMEM, ERR_IO. */
enum err driver_http_create(const struct driver_http_options *options, struct net **out,
                            struct fault *fault) WARN_UNUSED;

#endif
