/* topic_name: "connector/topic", how polls and folders of files are called. */
#ifndef PENSTOCK_CONNECT_TOPIC_NAME_H
#define PENSTOCK_CONNECT_TOPIC_NAME_H

#include "base/str.h"

/* The name, and its parts within it, in a block of its own: mem_free of the name's ptr ends all three.
 * False when memory is out. */
bool topic_name_make(struct str connector, struct str topic, struct str *name,
                     struct str *connector_part, struct str *topic_part);

#endif
