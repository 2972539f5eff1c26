/* query: what routes ask of their query parameters. See capability.h. */
#include "core/capability.h"

struct str query_value(const struct query *query, const char *name) {
    for (uint32_t i = 0; i < query->value_count; i++)
        if (str_is(query->values[i].name, name))
            return query->values[i].value;
    return STR_NONE;
}

enum err query_limit(const struct query *query, uint32_t dflt, uint32_t max, uint32_t *out,
                     struct fault *fault) {
    struct str text = query_value(query, "limit");
    uint64_t limit = dflt;
    if (text.ptr && (!str_u64(text, &limit) || limit < 1 || limit > max)) {
        fault_add(fault, STR("limit"), "must be a whole number from 1 to %u", max);
        return ERR_INVALID;
    }
    *out = (uint32_t)limit;
    return OK;
}
