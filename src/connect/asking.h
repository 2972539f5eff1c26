/* asking: what mappings ask of this hub (map/mapping.h), answered on the worker's own thread from what
 * the capabilities publish: never behind the writer, never waiting. */
#ifndef PENSTOCK_CONNECT_ASKING_H
#define PENSTOCK_CONNECT_ASKING_H

#include "core/core.h"
#include "map/mapping.h"

/* One per thread that runs mappings. */
struct asking {
    struct core *core;
    struct json_parser *parser; /* the thread's */
};
/* For mapper_hub; its ctx is a struct asking.
 * look("availability", sku [, location]): {items = {…}} as GET /v1/availability answers. */
extern const struct mapping_hub asking_hub;

#endif
