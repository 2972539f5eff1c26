/* connector_fit: whether a connector that was read can serve: what reading alone does not see. */
#ifndef PENSTOCK_CONNECT_CONNECTOR_FIT_H
#define PENSTOCK_CONNECT_CONNECTOR_FIT_H

#include "connect/connector.h"
#include "core/capability.h"

/* Every topic's command exists, takes a document and is no internal one. Each that is not is an item
 * of the fault, with file and line. ERR_INVALID. */
enum err connector_commands(const struct connector *connector, const struct registry *registry,
                            struct fault *fault) WARN_UNUSED;

#endif
