/* hub_shapes: what the gateway's own answers hold. */
#ifndef PENSTOCK_GATEWAY_HUB_SHAPES_H
#define PENSTOCK_GATEWAY_HUB_SHAPES_H

#include "shape/shape.h"

extern const struct shape alive_shape, ready_shape, token_answer_shape, token_error_shape,
    jwks_shape, token_metadata_shape, location_shape, me_shape, logout_shape;

extern const struct shape operation_body_shape, operation_answer_shape;

#endif
