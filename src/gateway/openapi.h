/* openapi: the OpenAPI 3.1 document of the hub, printed from the tables of routes, shapes and
 * errors (https://spec.openapis.org/oas/v3.1.1). */
#ifndef PENSTOCK_GATEWAY_OPENAPI_H
#define PENSTOCK_GATEWAY_OPENAPI_H

#include "gateway/api_tables.h"

/* Check buf_ok. The same tables give the same bytes. */
void openapi_write(const struct api_tables *tables, const char *version, struct buf *out);

#endif
