/* openapi_priv: what the two halves of the OpenAPI document share: the document with its
 * components (openapi.c), and one operation (openapi_operation.c). */
#ifndef PENSTOCK_GATEWAY_OPENAPI_PRIV_H
#define PENSTOCK_GATEWAY_OPENAPI_PRIV_H

#include "gateway/openapi.h"

#define SCHEMAS "#/components/schemas/"
#define STATUSES_MAX 64
/* Every answer may carry them. */
#define RATE_HEADERS                                                                               \
    ",\"RateLimit\":{\"$ref\":\"#/components/headers/RateLimit\"},"                                 \
    "\"RateLimit-Policy\":{\"$ref\":\"#/components/headers/RateLimit-Policy\"}"
#define OAUTH_TOKEN_PATH "/oauth2/token"

struct openapi_route {
    const struct route *route;
    const struct contract *contract; /* NULL where none covers it */
    const char *tag;
    uint32_t order; /* keeps methods of one path as the tables have them */
};

/* What an operation needs to know of the whole. */
struct openapi_context {
    const struct api_tables *tables;
    bool oauth; /* the hub gives tokens itself */
};

/* "post":{…} */
void openapi_operation_write(const struct openapi_context *context, const struct openapi_route *row,
                             struct buf *out);

/* The statuses of errors.def, each once, ascending; answers how many. */
uint32_t openapi_statuses(int *out, uint32_t max);
/* ,"headers":{…} of a problem with this status. */
void openapi_problem_headers_write(int status, bool ends, struct buf *out);

bool openapi_is_get(const struct route *route);
/* Whether the route takes a command that may change something. */
bool openapi_is_change(const struct route *route);
/* Whether it answers {"items":[…]}. */
bool openapi_is_list(const struct route *route);
const struct shape *openapi_body(const struct route *route);
bool openapi_has_param(const struct route *route, const char *name);

#endif
