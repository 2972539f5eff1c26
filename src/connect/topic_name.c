/* topic_name: see topic_name.h. */
#include "connect/topic_name.h"

#include "base/mem.h"

bool topic_name_make(struct str connector, struct str topic, struct str *name,
                     struct str *connector_part, struct str *topic_part) {
    char *text = mem_alloc(connector.len + topic.len + 2), *at = text;
    if (!text)
        return false;
    *connector_part = str_keep(&at, connector);
    *at++ = '/';
    *topic_part = str_keep(&at, topic);
    *at = '\0';
    *name = str_of(text, (size_t)(at - text));
    return true;
}
