/* map_hub: what mappings ask, asked of a running hub over HTTP: `penstock map … --hub URL`. */
#ifndef PENSTOCK_CLI_MAP_HUB_H
#define PENSTOCK_CLI_MAP_HUB_H

#include "cli/client.h"
#include "map/mapping.h"

/* For mapper_hub; its ctx is a struct client. */
extern const struct mapping_hub map_hub;

#endif
