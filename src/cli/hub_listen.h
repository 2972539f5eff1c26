/* hub_listen: where a hub listens, from its configuration and its command line, and the
 * certificates it does so with: read at start, when their files change and when told to. */
#ifndef PENSTOCK_CLI_HUB_LISTEN_H
#define PENSTOCK_CLI_HUB_LISTEN_H

#include <stdatomic.h>

#include "cli/hub.h"
#include "gateway/gateway.h"
#include "gateway/http_tls.h"

struct hub_listen {
    char hosts[HTTP_LISTENERS_MAX][128];
    struct http_listen items[HTTP_LISTENERS_MAX];
    uint32_t count;
    struct http_tls *tls; /* NULL: everything is plain */
    uint32_t looks;
    _Atomic bool wanted; /* a reload */
};

/* Zeroed before. Errors as hub_start. */
enum err hub_listen_make(struct hub_listen *listen, const struct config *config,
                         const struct hub_options *options, struct fault *fault) WARN_UNUSED;
void hub_listen_free(struct hub_listen *listen);
/* "http://127.0.0.1:8480, https://0.0.0.0:8443" */
void hub_listen_urls(const struct hub_listen *listen, const struct gateway *gateway,
                     struct buf *out);
/* Warns of what listens in plain where others reach it, and of what its certificates need. */
void hub_listen_tell(const struct hub_listen *listen);
/* Now and then, not on a loop's thread. */
void hub_listen_tidy(struct hub_listen *listen);

/* The certificates of a configuration. */
enum err hub_tls_create(const struct config *config, const struct config_tls *tls,
                        struct http_tls **out, struct fault *fault) WARN_UNUSED;

#endif
