/* list: all capabilities of the hub. Adding one is one file in this folder and one line in list.c. */
#ifndef PENSTOCK_DOMAIN_LIST_H
#define PENSTOCK_DOMAIN_LIST_H

#include "core/capability.h"

/* In the order that state, schemas and documents show them; NULL at the end. */
extern const struct capability *const domain_capabilities[];

#endif
