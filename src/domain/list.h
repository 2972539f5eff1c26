/* list: all capabilities; adding one is one line in list.c. */
#ifndef PENSTOCK_DOMAIN_LIST_H
#define PENSTOCK_DOMAIN_LIST_H

#include "core/capability.h"

extern const struct capability *const domain_capabilities[]; /* NULL at the end */

#endif
