/* asyncapi: the AsyncAPI 3.0 document of the hub's events, printed from the tables of event
 * types (https://www.asyncapi.com/docs/reference/specification/v3.0.0). */
#ifndef PENSTOCK_GATEWAY_ASYNCAPI_H
#define PENSTOCK_GATEWAY_ASYNCAPI_H

#include "gateway/api_tables.h"

/* One channel and one message per event type, each a CloudEvents 1.0.2 envelope in JSON. Check
 * buf_ok. The same tables give the same bytes. */
void asyncapi_write(const struct api_tables *tables, const char *version, struct buf *out);

#endif
