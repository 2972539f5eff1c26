/* connectors_shapes: what the answers about connectors hold. */
#ifndef PENSTOCK_OPS_CONNECTORS_SHAPES_H
#define PENSTOCK_OPS_CONNECTORS_SHAPES_H

#include "shape/shape.h"

extern const struct shape connector_status_shape, connectors_reload_shape;

#endif
