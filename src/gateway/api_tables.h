/* api_tables: the tables that the OpenAPI and AsyncAPI documents are printed from, and the set
 * of shapes a document uses. The documents never say anything the tables do not. */
#ifndef PENSTOCK_GATEWAY_API_TABLES_H
#define PENSTOCK_GATEWAY_API_TABLES_H

#include "core/capability.h"

#define API_ROUTES_MAX 512
#define API_SHAPES_MAX 512
#define API_VERSION "1"

/* A request with its answer, or an event, as the documents show it: generated from the files in
 * contracts/examples/ (scripts/embed_examples.py), which tests send to a real hub. Texts are JSON. */
struct api_example_param {
    const char *name, *value; /* value: JSON, a string or a list of strings */
};
struct api_example {
    const char *name;          /* of its file: "020-capture" */
    const char *title;
    const char *method, *path; /* of the route; method NULL: path is an event's name */
    const struct api_example_param *params; /* of path and query; end with name NULL */
    const char *body_media, *body;          /* body NULL: none */
    int status;
    const char *answer_media, *answer;      /* of an event: the CloudEvent */
};
extern const struct api_example api_examples[]; /* name NULL at the end */

struct contract;
struct api_tables {
    const struct capability *const *capabilities; /* ends with NULL */
    /* Routes that belong to no capability, each table with the name it is filed under. */
    const struct api_extra {
        const char *name, *help;
        const struct route *routes; /* ends with method NULL */
    } *extras; /* ends with name NULL; may be NULL */
    const struct contract *contracts;   /* ends with name NULL; may be NULL */
    const struct api_example *examples; /* ends with name NULL; may be NULL */
};

/* A set of shapes, each with all it uses, in the order of first use. */
struct api_shapes {
    const struct shape *shapes[API_SHAPES_MAX];
    uint32_t count;
};
/* Adds a shape and what it uses; NULL is passed over. */
void api_shapes_add(struct api_shapes *set, const struct shape *shape);
/* "name":{schema},… of all of them, without braces. */
void api_shapes_write(const struct api_shapes *set, const char *ref_prefix, struct buf *out);

/* "cloudevent":{schema}: CloudEvents 1.0.2, JSON format, with the extensions every event of the hub
 * carries. */
void api_envelope_write(struct buf *out);
/* The schema of a query parameter's value. */
void api_param_schema_write(const struct query_param *param, struct buf *out);

/* Visits the shapes of commands, answers and events of all tables. */
void api_shapes_all(struct api_shapes *set, const struct api_tables *tables);

#endif
