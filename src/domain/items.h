/* items: what the items of lists hold that the read model writes by hand. */
#ifndef PENSTOCK_DOMAIN_ITEMS_H
#define PENSTOCK_DOMAIN_ITEMS_H

#include "shape/shape.h"

extern const struct shape fact_item_shape, parked_item_shape, posting_item_shape;

#endif
