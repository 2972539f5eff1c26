/* client: where a request came from: the address of its connection, or, where that is a proxy of
 * penstock.yaml's trusted_proxies, the one it says in Forwarded (RFC 7239) or X-Forwarded-For. What
 * others say is passed over: anybody can write such a header. */
#ifndef PENSTOCK_GATEWAY_CLIENT_H
#define PENSTOCK_GATEWAY_CLIENT_H

#include "base/inet.h"
#include "core/config.h"
#include "gateway/http.h"

/* Read from the right, each proxy's word on who called it is taken as long as it is a trusted one. */
struct inet_address client_address(const struct config *config, const struct http_request *request,
                                   struct inet_address peer);

#endif
