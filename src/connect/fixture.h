/* fixture: the tests beside a mapping, run by the command line and by the hub before it takes a new
 * version: fixtures/MAPPING/NAME.in.json must become NAME.out.json, or fail with the text in
 * NAME.fail.txt; NAME.settings.json replaces settings of the connector; NAME.codes.json and
 * NAME.look.json are the cross-references and the data it asks for (map/given.h). What becomes a command is
 * checked as the hub would. */
#ifndef PENSTOCK_CONNECT_FIXTURE_H
#define PENSTOCK_CONNECT_FIXTURE_H

#include "connect/connector.h"
#include "core/capability.h"
#include "core/config.h"
#include "map/given.h"

/* A mapping, and the command its answer becomes (absent: a document for the other system). */
struct connector_target {
    const struct connector *connector;
    struct str file; /* "order.lua" */
    const struct mapping_source *source;
    struct str command;
    const struct connector_receive *receive; /* with several commands; else NULL */
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
    const struct mapping_hub *hub; /* asked where a fixture gives no codes or looks; NULL: nobody */
    void *hub_ctx;
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
/* What lies beside a document (STEM.in.json): codes and looks, into *given; runs of the bench's mapper
 * that follow ask it. ERR_INVALID where they are not what they should be. */
enum err fixture_given(struct fixture_bench *bench, const struct connector_target *target,
                       struct str stem, struct mapping_given *given,
                       struct fault *fault) WARN_UNUSED;
/* What the hub would say to the answer of a mapping. */
enum err fixture_check(struct fixture_bench *bench, const struct connector_target *target,
                       const struct json *answer, struct fault *fault) WARN_UNUSED;

#endif
