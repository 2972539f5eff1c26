/* given: a hub for mappings that is nothing but two JSON documents: what fixtures and the command line
 * give in place of a running hub. A list of cross-references, as GET /v1/cross-references answers its
 * items: [{"system":…,"kind":…,"value":…,"code":…,"direction":…}], `system` left out for the mapping's
 * own; and a list of looks: [{"look":["order","web-de","10045"],"answer":{…}}]. */
#ifndef PENSTOCK_MAP_GIVEN_H
#define PENSTOCK_MAP_GIVEN_H

#include "map/mapping.h"

struct mapping_given {
    struct str system;              /* the mapping's own */
    const struct json *codes;       /* NULL: none given … */
    const struct json *looks;
    const struct mapping_hub *next; /* … then this one is asked; NULL: nobody */
    void *next_ctx;
};
/* For mapper_hub; its ctx is a struct mapping_given. */
extern const struct mapping_hub mapping_given_hub;
/* Whether both have the form above; the fault names what has not. */
enum err mapping_given_check(const struct mapping_given *given, struct fault *fault) WARN_UNUSED;

#endif
