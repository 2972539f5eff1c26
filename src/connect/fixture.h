/* fixture: the tests beside a mapping, run by the command line and by the hub before it takes a new
 * version: fixtures/MAPPING/NAME.in.json must become NAME.out.json, or fail with the text in
 * NAME.fail.txt; NAME.settings.json replaces settings of the connector. What becomes a command is
 * checked as the hub would. */
#ifndef PENSTOCK_CONNECT_FIXTURE_H
#define PENSTOCK_CONNECT_FIXTURE_H

#include "connect/connector.h"
#include "core/capability.h"
#include "core/config.h"

/* A mapping, and the command its answer becomes (absent: a document for the other system). */
struct connector_target {
    const struct connector *connector;
    struct str file; /* "order.lua" */
    const struct mapping_source *source;
    struct str command;
};
#define CONNECTOR_TARGETS_MAX 64
/* The mappings of a connector, each once; only the one called `name` ("order", "order.lua") where it
 * is not absent. How many. */
uint32_t connector_targets(const struct connector *connector, struct str name,
                           struct connector_target out[CONNECTOR_TARGETS_MAX]);

struct fixture_result {
    struct str mapping, name; /* "shopify/order.lua", "two-lines" */
    struct str path;          /* of NAME.in.json */
    bool good;
    struct str said; /* what differs, a line each, indented; empty when good */
};
/* What they run on. */
struct fixture_bench {
    const struct config *config;
    struct arena *arena; /* grows with each */
    bool update;         /* write answers down as what is expected */
    void (*visit)(void *ctx, const struct fixture_result *result); /* NULL: nobody */
    void *ctx;
    /* made by open */
    struct json_parser *parser;
    struct registry *registry;
    struct mapper *mapper;
    uint32_t ran, failed;
};
/* Config and arena must be set. Close in any case. ERR_NOMEM. */
enum err fixture_bench_open(struct fixture_bench *bench, struct fault *fault) WARN_UNUSED;
void fixture_bench_close(struct fixture_bench *bench);
/* The fixtures of these mappings; `only` names one, or NULL. */
void fixtures_run(struct fixture_bench *bench, const struct connector_target *targets,
                  uint32_t count, const char *only);
/* What the hub would say to the answer of a mapping. */
enum err fixture_check(struct fixture_bench *bench, const struct connector_target *target,
                       const struct json *answer, struct fault *fault) WARN_UNUSED;

#endif
