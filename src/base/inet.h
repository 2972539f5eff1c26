/* inet: addresses and networks of the Internet, both families as 16 bytes: an IPv4 address is
 * kept mapped into IPv6 (RFC 4291 section 2.5.5.2). Asks no resolver. */
#ifndef PENSTOCK_BASE_INET_H
#define PENSTOCK_BASE_INET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define INET_TEXT_MAX 46 /* with the NUL */

struct inet_address {
    uint8_t bytes[16];
};
struct inet_net {
    struct inet_address address;
    uint32_t bits; /* of the 128 */
};

/* "203.0.113.7", "2001:db8::7"; also as proxies write it: "[2001:db8::7]:4711", "10.1.2.3:80". */
bool inet_parse(struct str text, struct inet_address *out);
struct str inet_write(const struct inet_address *address, char out[INET_TEXT_MAX]);
/* An address, or one with a prefix: "10.0.0.0/8", "2001:db8::/32". */
bool inet_net_parse(struct str text, struct inet_net *out);
bool inet_net_holds(const struct inet_net *net, const struct inet_address *address);
/* Whether it is an address of the open Internet: not this machine, not of a private or local network,
 * no group (IANA's special-purpose registries, RFC 6890 and successors). */
bool inet_public(const struct inet_address *address);
/* The network it is in, of /24 or /48: what is left where the whole must not be kept. */
struct inet_address inet_net_of(const struct inet_address *address);

#endif
