/* map_priv: what `penstock map` keeps while it runs, shared by map.c (run, trace) and
 * map_test.c (fixtures). */
#ifndef PENSTOCK_CLI_MAP_PRIV_H
#define PENSTOCK_CLI_MAP_PRIV_H

#include "cli/cli.h"
#include "connect/connector.h"
#include "core/capability.h"
#include "core/config.h"

#define MAP_TARGETS_MAX 64

/* A mapping, and the command its answer becomes (absent: a document for the other system). */
struct map_target {
    struct str file; /* "order.lua" */
    const struct mapping_source *source;
    struct str command;
};

struct map_work {
    struct cli *cli;
    struct fault fault;
    struct config *config;
    struct connectors *connectors;
    struct registry *registry;
    struct json_parser *parser;
    struct mapper *mapper;
    const struct connector *connector;
    struct map_target targets[MAP_TARGETS_MAX];
    uint32_t target_count;
};

/* Makes what mappings run with; cli, fault and config must be set. Close in any case. */
enum err map_work_open(struct map_work *work) WARN_UNUSED;
void map_work_close(struct map_work *work);
/* CONNECTOR or CONNECTOR/MAPPING: sets connector and targets. ERR_NOT_FOUND into work->fault. */
enum err map_choose(struct map_work *work, struct str what) WARN_UNUSED;
/* What the hub would say to the answer. */
enum err map_check(struct map_work *work, const struct map_target *target,
                   const struct json *answer, struct fault *fault) WARN_UNUSED;
/* JSON with a member a line. */
void map_pretty(struct buf *out, const struct json *value, uint32_t depth);
/* Runs the fixtures of all targets; `only` names one, or NULL. */
int map_test(struct map_work *work, const char *only);
/* Runs the fixtures of all targets without a word; a failed one is an item of `fault`, with its
 * file as pointer. Answers how many ran. */
uint32_t map_fixtures(struct map_work *work, struct fault *fault);

#endif
