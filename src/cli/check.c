/* check: reads a configuration as the hub would, without running it: settings, channels,
 * locations, connectors and their mappings. Every fault of all of them, with file and line. */
#include "cli/commands.h"

#include "cli/check_against.h"
#include "cli/hub_listen.h"
#include "cli/tables.h"
#include "connect/connector_fit.h"
#include "connect/fixture.h"
#include "connect/operation.h"
#include "gateway/jwks.h"

struct check {
    struct cli *cli;
    struct fault fault;
    struct config *config;
    struct connectors *connectors;
    uint32_t fixtures; /* that ran */
    struct buf warnings, warnings_json;
};

/* "file:line:/pointer" in its parts; line 0 where it has none. */
static void place_split(struct str place, struct str *file, uint64_t *line, struct str *pointer) {
    struct str rest = place;
    *file = str_cut(&rest, ':');
    *line = 0;
    *pointer = STR_NONE;
    if (rest.ptr && str_u64(str_cut(&rest, ':'), line)) {
        *pointer = rest;
    } else {
        *line = 0;
        *file = place;
    }
}

static void item_json(struct buf *out, const struct fault_item *item) {
    struct str file, pointer;
    uint64_t line;
    place_split(item->pointer, &file, &line, &pointer);
    buf_lit(out, "{\"file\":");
    buf_json_str(out, file);
    buf_printf(out, ",\"line\":%llu,\"pointer\":", (unsigned long long)line);
    buf_json_str(out, pointer.ptr ? pointer : STR(""));
    buf_lit(out, ",\"detail\":");
    buf_json_str(out, item->detail);
    buf_char(out, '}');
}

static void faults_json(const struct check *check, struct buf *out) {
    const struct fault *fault = &check->fault;
    buf_printf(out, "{\"ok\":%s,\"count\":%u,\"items\":[", fault->err == OK ? "true" : "false",
               (unsigned)fault->count);
    for (const struct fault_item *i = fault->first; i; i = i->next) {
        if (i != fault->first)
            buf_char(out, ',');
        item_json(out, i);
    }
    if (!fault->first && fault->err != OK) {
        struct fault_item only = {.pointer = STR(""), .detail = str_c(fault->detail)};
        item_json(out, &only);
    }
    buf_lit(out, "],\"warnings\":[");
    buf_str_add(out, buf_str(&check->warnings_json));
    buf_lit(out, "]}\n");
}

static void connectors_say(const struct connectors *connectors) {
    for (uint32_t i = 0; i < connectors->count; i++) {
        const struct connector *c = connectors->items[i];
        printf("connector %.*s: %u received, %u sent", STR_FMT(c->name),
               (unsigned)c->receive.count, (unsigned)c->send.count);
        if (c->poll.count > 0)
            printf(", %u polled", (unsigned)c->poll.count);
        if (c->files.count > 0)
            printf(", %u from files", (unsigned)c->files.count);
        if (c->streams.count > 0)
            printf(", %u from streams", (unsigned)c->streams.count);
        if (c->missing.len > 0)
            printf("; not set: %.*s", STR_FMT(c->missing));
        putchar('\n');
    }
}

static void warning_keep(void *ctx, const char *file, const char *text) {
    struct check *check = ctx;
    struct fault_item item = {.pointer = str_c(file), .detail = str_c(text)};
    buf_printf(&check->warnings, "warning: %s: %s\n", file, text);
    if (check->warnings_json.len > 0)
        buf_char(&check->warnings_json, ',');
    item_json(&check->warnings_json, &item);
}

/* A connector is a contract with a partner: the file must name its owner and version, and should
 * say what is promised. */
static void levels_check(struct check *check) {
    for (uint32_t i = 0; i < check->connectors->count; i++) {
        const struct connector *c = check->connectors->items[i];
        struct str file = arena_printf(&check->cli->arena, "connectors/%.*s/connector.yaml",
                                       STR_FMT(c->name));
        if (c->service_level.len == 0 && file.ptr)
            warning_keep(check, file.ptr, "says no service_level: what is promised to and expected of "
                                          "this system, in a line");
    }
}

/* The files of TLS, as the hub would read them. */
static enum err tls_check(struct check *check) {
    struct http_tls *tls;
    enum err err = hub_tls_create(check->config, check->config->tls, &tls, &check->fault);
    if (err == OK)
        http_tls_warnings(tls, warning_keep, check);
    http_tls_destroy(tls);
    return err;
}

static void scopes_check(struct check *check, const char *list, struct str name,
                         const struct shape_list *scopes) {
    char place[128];
    snprintf(place, sizeof place, "penstock.yaml: auth.%s, %.*s", list, STR_FMT(name));
    for (uint32_t i = 0; i < scopes->count; i++) {
        struct str scope = *list_at(*scopes, struct str, i);
        if (!cli_scope_known(scope))
            fault_add(&check->fault, str_c(place),
                      "there is no scope %.*s: `penstock key scopes` lists them", STR_FMT(scope));
    }
}

/* The key sets that are files, as the hub would read them. */
static void key_sets_check(struct check *check) {
    const struct shape_list *issuers = &check->config->auth->issuers;
    for (uint32_t i = 0; i < issuers->count; i++) {
        const struct config_issuer *issuer = list_at(*issuers, struct config_issuer, i);
        struct jwks_source source = {
            .name = issuer->name, .file = issuer->jwks_path, .algs = issuer->algs};
        struct jwks_options options = {.sources = &source, .count = 1, .clock = &clock_system};
        struct fault fault = {0};
        struct jwks *jwks;
        if (issuer->jwks_path.ptr && jwks_create(&options, &jwks, &fault) != OK)
            fault_add(&check->fault, issuer->jwks_file, "%s", fault.detail);
        else if (issuer->jwks_path.ptr)
            jwks_destroy(jwks);
    }
}

/* Scopes that nobody could ever use: which there are, only the whole program knows. */
static void auth_check_scopes(struct check *check) {
    const struct config_auth *auth = check->config->auth;
    for (uint32_t i = 0; i < auth->issuers.count; i++) {
        const struct config_issuer *issuer = list_at(auth->issuers, struct config_issuer, i);
        for (uint32_t k = 0; k < issuer->grant_count; k++)
            scopes_check(check, "issuers", issuer->name, &issuer->grants[k].scopes);
    }
    for (uint32_t i = 0; i < auth->certificates.count; i++) {
        const struct config_client *c = list_at(auth->certificates, struct config_client, i);
        scopes_check(check, "certificates", c->caller, &c->scopes);
    }
}

/* A role that a connector holds which is not there, or which can do nothing for it. */
static void roles_check(struct check *check) {
    const struct shape_list *roles = &check->config->roles;
    for (uint32_t i = 0; i < roles->count; i++) {
        const struct config_role *row = list_at(*roles, struct config_role, i);
        const struct connector *connector = connector_find(check->connectors, row->connector);
        struct str role = str_c(config_role_values[row->role]);
        char place[96];
        bool does = false;
        for (uint32_t k = 0; connector && k < connector->operations.count; k++) {
            struct str rest = list_at(connector->operations, struct connector_operation, k)->operation;
            does = does || str_eq(str_cut(&rest, '.'), role);
        }
        snprintf(place, sizeof place, "penstock.yaml:%u:/roles/%u/connector", (unsigned)row->line, (unsigned)i);
        if (!connector)
            fault_add(&check->fault, arena_str(&check->cli->arena, str_c(place)), "there is no connector %.*s",
                      STR_FMT(row->connector));
        else if (!does)
            fault_add(&check->fault, arena_str(&check->cli->arena, str_c(place)),
                      "the connector %.*s has no operation of the role %.*s", STR_FMT(row->connector),
                      STR_FMT(role));
    }
}

static int check_say(const struct check *check) {
    struct buf out;
    const struct fault *fault = &check->fault;
    if (check->cli->json) {
        buf_init(&out, 0);
        faults_json(check, &out);
        int code = cli_print(check->cli, buf_str(&out));
        buf_free(&out);
        return code != EXIT_DONE ? code : fault->err == OK ? EXIT_DONE : EXIT_FAILED;
    }
    if (check->warnings.len > 0)
        fputs(buf_cstr((struct buf *)&check->warnings), stderr);
    if (fault->err != OK)
        return cli_fault(check->cli, fault);
    printf("%u channels, %u locations\n", (unsigned)check->config->channels.count,
           (unsigned)check->config->locations.count);
    connectors_say(check->connectors);
    printf("%u fixtures of mappings\nno faults\n", (unsigned)check->fixtures);
    return EXIT_DONE;
}

static void fixture_visit(void *ctx, const struct fixture_result *result) {
    struct check *check = ctx;
    if (!result->good)
        fault_add(&check->fault, result->path, "%.*s", STR_FMT(str_trim(result->said)));
}

/* The commands that connectors name, and the fixtures of all as `penstock map test` runs them. */
static enum err fixtures_check(struct check *check) {
    struct fixture_bench bench = {.config = check->config, .arena = &check->cli->arena,
                                  .visit = fixture_visit, .ctx = check};
    struct connector_target targets[CONNECTOR_TARGETS_MAX];
    struct fault fault = {0};
    enum err err = fixture_bench_open(&bench, &fault);
    for (uint32_t i = 0; err == OK && i < check->connectors->count; i++)
        err = connector_commands(check->connectors->items[i], bench.registry, &check->fault) == ERR_NOMEM
                  ? ERR_NOMEM : OK;
    for (uint32_t i = 0; err == OK && check->fault.err == OK && i < check->connectors->count; i++)
        fixtures_run(&bench, targets,
                     connector_targets(check->connectors->items[i], STR_NONE, targets), NULL);
    check->fixtures = bench.ran;
    fixture_bench_close(&bench);
    return err;
}

static int check_config(struct cli *cli, const char *dir) {
    struct check check = {.cli = cli};
    fault_init(&check.fault, &cli->arena);
    buf_init(&check.warnings, 0);
    buf_init(&check.warnings_json, 0);
    /* Both, so that one run lists everything. */
    enum err config = config_load(dir, &check.config, &check.fault);
    enum err connectors = connectors_load(dir, &check.connectors, &check.fault);
    if (config == OK) {
        auth_check_scopes(&check);
        key_sets_check(&check);
    }
    if (config == OK && connectors == OK)
        roles_check(&check);
    if (config == OK && check.config->tls)
        config = tls_check(&check);
    if (check.fault.err == OK && (config != OK || connectors != OK))
        check.fault.err = config != OK ? config : connectors;
    if (check.fault.err == OK && fixtures_check(&check) != OK)
        check.fault.err = ERR_NOMEM;
    if (check.connectors)
        levels_check(&check);
    int code = check_say(&check);
    buf_free(&check.warnings);
    buf_free(&check.warnings_json);
    if (check.connectors)
        connectors_release(check.connectors);
    if (check.config)
        config_destroy(check.config);
    return code;
}

static int check_run(struct cli *cli) {
    const char *dir = cli_value(cli, "config"), *release = cli_value(cli, "against");
    if (!dir && !release)
        return cli_fail(cli, EXIT_USAGE, "which configuration? -C DIR; or which release? --against");
    if (dir && release && cli->json)
        return cli_fail(cli, EXIT_USAGE, "with --json one at a time: -C or --against");
    if (!release && (cli_value(cli, "allow") || cli_value(cli, "accept")))
        return cli_fail(cli, EXIT_USAGE, "--allow and --accept go with --against");
    if (!cli_args_max(cli, 0))
        return EXIT_USAGE;
    int code = dir ? check_config(cli, dir) : EXIT_DONE;
    int kept = release ? check_against(cli, release) : EXIT_DONE;
    return code != EXIT_DONE ? code : kept;
}

const struct cli_command check_command = {
    .name = "check",
    .synopsis = "check -C DIR [--json]\ncheck --against RELEASE [--allow RULE…] [--accept FILE] [--json]",
    .summary = "lint configuration, connectors, mappings and contracts",
    .help =
        "Reads a configuration as the hub would, without running it: penstock.yaml and the files\n"
        "it names, every connector, every mapping; runs the connectors' fixtures. Lists every\n"
        "fault, not only the first, with file, line and the place within the document. References\n"
        "to the environment that are not set are named; what needs them is not usable until they\n"
        "are.\n"
        "\n"
        "--against compares what this program promises (routes, events, shapes: `penstock contracts\n"
        "export`) with what a release promised, and refuses what breaks somebody, each change with\n"
        "its contract and owner, whom it breaks, and what to do instead; `penstock contracts rules`\n"
        "lists what counts. Changes of a draft, and of what has passed its sunset, pass. RELEASE is\n"
        "a snapshot, a folder of snapshots (the newest counts), or - for standard input. A file of\n"
        "--accept names single changes that were agreed with those they break, a line each: RULE\n"
        "PLACE # why.\n"
        "\n"
        "    penstock check --against contracts\n"
        "    git show v1.2.0:contracts/1.2.0.json | penstock check --against - --allow value-added\n"
        "\n"
        "    penstock check -C shop\n"
        "    penstock check -C shop --json | jq '.items[]'\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_CONFIG,
        {"against", 0, "RELEASE", false, "Compare the contracts with those of this release"},
        {"allow", 0, "RULE", true, "With --against: changes of this kind pass"},
        {"accept", 0, "FILE", false, "With --against: the changes named in it pass"},
        {0},
    },
    .run = check_run,
};
