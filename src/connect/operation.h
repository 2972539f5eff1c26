/* operation: what a connector does for a caller of the hub while the caller waits: a tax quote, the
 * authorisation of a payment, a look for a customer. This file owns the description (section
 * `operations` of connector.yaml); deliver/operate.h carries them out. */
#ifndef PENSTOCK_CONNECT_OPERATION_H
#define PENSTOCK_CONNECT_OPERATION_H

#include "connect/connector.h"

struct connector_operation {
    uint64_t has;
    struct str operation; /* "tax.quote": {role}.{operation} of GET|POST /s/{role}/{operation} */
    struct connector_request *request;
    struct str mapping_in;  /* {query, body, region, store} → what is sent; absent: the body */
    struct str mapping_out; /* {status, body} → what the caller gets; absent: the body */
    struct connector_outcome *outcome; /* never NULL once loaded */
    struct connector_limits *limits;   /* never NULL once loaded */
    int64_t timeout_ms;                /* all of it, waiting for a turn included */
    int32_t priority;                  /* enum net_class */
    const struct json *fallback_open;  /* a document; absent: the caller is refused */
    /* not in the file */
    const struct mapping_source *source_in, *source_out; /* NULL: none */
    struct str fallback; /* JSON text; absent: none */
    struct str missing;  /* names of references that are not set; absent: usable */
};

/* NULL where it declares none of that name. */
const struct connector_operation *connector_operation(const struct connector *connector,
                                                      struct str name);

#endif
