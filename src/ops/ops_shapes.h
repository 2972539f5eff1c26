/* ops_shapes: what the answers of the operations side hold. */
#ifndef PENSTOCK_OPS_OPS_SHAPES_H
#define PENSTOCK_OPS_OPS_SHAPES_H

#include "shape/shape.h"

extern const struct shape overview_shape, read_model_shape, trace_shape;
extern const struct shape audit_line_shape, audit_anchor_shape;

#endif
