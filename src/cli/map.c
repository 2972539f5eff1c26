/* map: run, test and trace a connector's mapping from the command line, with the same sandbox
 * the hub runs it in. Reads the configuration folder; a running hub only where --hub names one. */
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "cli/cli.h"
#include "cli/fixture_tell.h"
#include "cli/map_hub.h"
#include "connect/fixture.h"

#define INPUT_BYTES_MAX ((size_t)64 << 20)

/* What `penstock map` keeps while it runs. */
struct map_work {
    struct cli *cli;
    struct fault fault;
    struct config *config;
    struct connectors *connectors;
    struct fixture_bench bench;
    const struct connector *connector;
    struct connector_target targets[CONNECTOR_TARGETS_MAX];
    uint32_t target_count;
    struct buf json; /* of test: [{…},…] */
    struct mapping_given given;
    struct client *client; /* of --hub; NULL: none */
};

/* CONNECTOR or CONNECTOR/MAPPING → connector and targets. */
static enum err map_choose(struct map_work *work, struct str what) {
    struct str rest = what;
    struct str name = str_cut(&rest, '/');
    work->connector = connector_find(work->connectors, name);
    if (!work->connector)
        return fault_set(&work->fault, ERR_NOT_FOUND, "there is no connector %.*s", STR_FMT(name));
    work->target_count = connector_targets(work->connector, rest, work->targets);
    if (work->target_count == 0)
        return fault_set(&work->fault, ERR_NOT_FOUND, "connector %.*s has no mapping %.*s",
                         STR_FMT(name), STR_FMT(rest));
    return OK;
}

/* --- running --------------------------------------------------------------------------- */

static enum err read_stdin(struct buf *out, struct fault *fault) {
    char part[65536];
    ssize_t n;
    while ((n = read(STDIN_FILENO, part, sizeof part)) > 0)
        buf_add(out, part, (size_t)n);
    if (n < 0 || !buf_ok(out))
        return fault_set(fault, ERR_IO, "the standard input can not be read, or is too large");
    return OK;
}

/* The document from FILE, or from the standard input. */
static enum err read_document(struct map_work *work, const char *path, const struct json **out) {
    struct buf text;
    buf_init(&text, INPUT_BYTES_MAX);
    enum err err = path && strcmp(path, "-") != 0 ? files_read(path, &text, &work->fault)
                                                  : read_stdin(&text, &work->fault);
    if (!err)
        err = json_parse(work->bench.parser, &work->cli->arena, buf_str(&text), false, out,
                         &work->fault);
    buf_free(&text);
    return err;
}

/* What lies beside FILE: order.in.json has order.codes.json, and so has order.json. */
static enum err read_given(struct map_work *work, const char *path) {
    struct str stem = path && strcmp(path, "-") != 0 ? str_c(path) : STR_NONE;
    static const char *const ends[] = {".json", ".in"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct str end = str_c(ends[i]);
        if (stem.len > end.len && memcmp(stem.ptr + stem.len - end.len, end.ptr, end.len) == 0)
            stem.len -= end.len;
    }
    return fixture_given(&work->bench, &work->targets[0], stem, &work->given, &work->fault);
}

static int run_one(struct map_work *work, const char *file) {
    const struct json *document, *answer;
    if (read_document(work, file, &document) != OK || read_given(work, file) != OK ||
        mapper_run(work->bench.mapper, work->targets[0].source, document, &work->cli->arena, &answer,
                   &work->fault) != OK)
        return cli_fault(work->cli, &work->fault);
    struct buf out;
    buf_init(&out, 0);
    if (work->cli->json)
        json_write(&out, answer);
    else
        json_pretty(&out, answer, 0);
    buf_char(&out, '\n');
    int code = cli_print(work->cli, buf_str(&out));
    buf_free(&out);
    if (code == EXIT_DONE && fixture_check(&work->bench, &work->targets[0], answer, &work->fault) != OK)
        return cli_fault(work->cli, &work->fault);
    return code;
}

/* --- trace ----------------------------------------------------------------------------- */

static uint32_t read_percent(const struct mapping_trace *trace) {
    uint32_t read = trace->scalars - trace->unread_count;
    return trace->scalars ? (uint32_t)((uint64_t)read * 100 / trace->scalars) : 100;
}

static bool call_asks(const struct mapping_call *call) {
    return strcmp(call->name, "code") == 0 || strcmp(call->name, "value_of") == 0 ||
           strcmp(call->name, "look") == 0;
}

static void trace_json(const struct mapping_trace *trace, struct buf *out) {
    buf_lit(out, "{\"members\":[");
    for (uint32_t i = 0; i < trace->count; i++) {
        const struct mapping_trace_row *row = &trace->rows[i];
        buf_str_add(out, i ? STR(",{\"target\":") : STR("{\"target\":"));
        buf_json_str(out, row->target);
        buf_printf(out, ",\"exact\":%s,\"sources\":[", row->exact ? "true" : "false");
        for (uint32_t k = 0; k < row->source_count; k++) {
            if (k)
                buf_char(out, ',');
            buf_json_str(out, row->sources[k]);
        }
        buf_lit(out, "],\"calls\":[");
        for (uint32_t k = 0; k < row->call_count; k++) {
            buf_printf(out, "%s{\"line\":%u,\"call\":", k ? "," : "", row->calls[k]->line);
            buf_json_str(out, row->calls[k]->text);
            buf_char(out, '}');
        }
        buf_lit(out, "]}");
    }
    buf_lit(out, "],\"unread\":[");
    for (uint32_t i = 0; i < trace->unread_count; i++) {
        if (i)
            buf_char(out, ',');
        buf_json_str(out, trace->unread[i]);
    }
    buf_lit(out, "],\"asked\":[");
    for (uint32_t i = 0, n = 0; i < trace->call_count; i++) {
        if (!call_asks(&trace->calls[i]))
            continue;
        if (n++)
            buf_char(out, ',');
        buf_json_str(out, trace->calls[i].text);
    }
    buf_printf(out, "],\"members_of_source\":%u,\"read_percent\":%u}\n", trace->scalars,
               read_percent(trace));
}

static void trace_text(const struct mapping_trace *trace, struct buf *out) {
    for (uint32_t i = 0; i < trace->count; i++) {
        const struct mapping_trace_row *row = &trace->rows[i];
        buf_printf(out, "%-36.*s %s", STR_FMT(row->target), row->exact ? "<-" : "<~");
        for (uint32_t k = 0; k < row->source_count; k++)
            buf_printf(out, " %.*s", STR_FMT(row->sources[k]));
        buf_str_add(out, row->source_count ? STR("\n") : STR(" (the mapping or its settings)\n"));
        for (uint32_t k = 0; k < row->call_count; k++)
            buf_printf(out, "%36s    line %u: %.*s\n", "", row->calls[k]->line,
                       STR_FMT(row->calls[k]->text));
    }
    buf_printf(out, "\n%u of %u members of the document were read (%u %%)\n",
               trace->scalars - trace->unread_count, trace->scalars, read_percent(trace));
    uint32_t asked = 0;
    for (uint32_t i = 0; i < trace->call_count; i++)
        if (call_asks(&trace->calls[i]))
            buf_printf(out, "%s  line %u: %.*s\n", asked++ ? "" : "\nasked of the hub:\n",
                       trace->calls[i].line, STR_FMT(trace->calls[i].text));
    if (trace->unread_count > 0)
        buf_lit(out, "\nnever read:\n");
    for (uint32_t i = 0; i < trace->unread_count; i++)
        buf_printf(out, "  %.*s\n", STR_FMT(trace->unread[i]));
}

static int trace_one(struct map_work *work, const char *file) {
    const struct json *document, *answer;
    struct mapping_trace trace;
    if (read_document(work, file, &document) != OK || read_given(work, file) != OK ||
        mapper_trace(work->bench.mapper, work->targets[0].source, document, &work->cli->arena, &answer,
                     &trace, &work->fault) != OK)
        return cli_fault(work->cli, &work->fault);
    struct buf out;
    buf_init(&out, 0);
    if (work->cli->json)
        trace_json(&trace, &out);
    else
        trace_text(&trace, &out);
    int code = cli_print(work->cli, buf_str(&out));
    buf_free(&out);
    return code;
}

/* --- the command ----------------------------------------------------------------------- */

/* Fixture after fixture. */
static void test_visit(void *ctx, const struct fixture_result *result) {
    struct map_work *work = ctx;
    fixture_tell(work->cli, &work->json, result);
}

static int map_test(struct map_work *work, const char *only) {
    struct fixture_bench *bench = &work->bench;
    buf_init(&work->json, 0);
    buf_char(&work->json, '[');
    bench->update = cli_flag(work->cli, "update");
    bench->visit = test_visit;
    bench->ctx = work;
    fixtures_run(bench, work->targets, work->target_count, only);
    buf_lit(&work->json, "]\n");
    int code = bench->failed ? EXIT_FAILED : EXIT_DONE;
    if (work->cli->json)
        code = cli_print(work->cli, buf_str(&work->json)) == EXIT_DONE ? code : EXIT_FAILED;
    buf_free(&work->json);
    if (bench->ran == 0)
        return cli_fail(work->cli, EXIT_FAILED, only ? "there is no such fixture"
                                                     : "the connector has no fixtures");
    if (!work->cli->json)
        printf("%u fixtures, %u failed\n", bench->ran, bench->failed);
    return code;
}

static int work_run(struct map_work *work, const char *verb, const char *what, const char *file) {
    struct cli *cli = work->cli;
    const char *dir = cli_value(cli, "config");
    if (config_load(dir, &work->config, &work->fault) != OK ||
        connectors_load(dir, &work->connectors, &work->fault) != OK)
        return cli_fault(cli, &work->fault);
    work->bench.config = work->config;
    work->bench.arena = &cli->arena;
    if (cli_value(cli, "hub")) {
        work->client = cli_client(cli);
        if (!work->client)
            return EXIT_FAILED;
        work->bench.hub = &map_hub;
        work->bench.hub_ctx = work->client;
    }
    if (fixture_bench_open(&work->bench, &work->fault) != OK || map_choose(work, str_c(what)) != OK)
        return cli_fault(cli, &work->fault);
    if (strcmp(verb, "test") == 0)
        return map_test(work, file);
    if (work->target_count > 1)
        return cli_fail(cli, EXIT_USAGE, "the connector has several mappings: name one, as %.*s/%.*s",
                        STR_FMT(work->connector->name), STR_FMT(work->targets[0].file));
    return strcmp(verb, "run") == 0 ? run_one(work, file) : trace_one(work, file);
}

static int map_run(struct cli *cli) {
    const char *verb = cli_arg(cli, 0), *what = cli_arg(cli, 1);
    if (!verb || (strcmp(verb, "run") && strcmp(verb, "test") && strcmp(verb, "trace")))
        return cli_fail(cli, EXIT_USAGE, "run, test or trace?");
    if (!cli_value(cli, "config"))
        return cli_fail(cli, EXIT_USAGE, "which configuration? -C DIR");
    if (!what)
        return cli_fail(cli, EXIT_USAGE, "which connector? CONNECTOR or CONNECTOR/MAPPING");
    if (!cli_args_max(cli, 3))
        return EXIT_USAGE;
    struct map_work work = {.cli = cli};
    fault_init(&work.fault, &cli->arena);
    int code = work_run(&work, verb, what, cli_arg(cli, 2));
    fixture_bench_close(&work.bench);
    client_destroy(work.client);
    connectors_release(work.connectors);
    if (work.config)
        config_destroy(work.config);
    return code;
}

const struct cli_command map_command = {
    .name = "map",
    .synopsis = "map run -C DIR CONNECTOR[/MAPPING] [FILE]\n"
                "map test -C DIR CONNECTOR[/MAPPING] [FIXTURE] [--update]\n"
                "map trace -C DIR CONNECTOR[/MAPPING] [FILE]\n"
                "map run|test|trace … --hub URL [--key K]",
    .summary = "run, test and trace the mappings of a connector",
    .help =
        "run    maps FILE (or the standard input) and prints the answer; where it becomes a\n"
        "       command of the hub, it is checked as the hub would, every fault on stderr.\n"
        "test   runs the fixtures beside the mapping: fixtures/MAPPING/NAME.in.json must become\n"
        "       NAME.out.json, or fail with the text in NAME.fail.txt; NAME.settings.json\n"
        "       replaces settings of the connector. Differences are listed by JSON Pointer.\n"
        "       --update writes the answers down as what is expected.\n"
        "trace  tells for each member of the answer which members of FILE it came from, found by\n"
        "       changing each a little and mapping again (<-), or by equal text where no change\n"
        "       maps (<~); the calls of helpers it came from; then which members were never read, and\n"
        "       how many of a hundred were.\n"
        "\n"
        "What a mapping asks the hub (code, value_of, look) is taken from NAME.codes.json and\n"
        "NAME.look.json beside NAME.in.json or NAME.json; where there are none, of the hub that --hub\n"
        "names. codes: [{\"kind\":…,\"value\":…,\"code\":…}], as `penstock codes list --json` has them;\n"
        "look: [{\"look\":[\"order\",\"web-de\",\"10045\"],\"answer\":{…}}].\n"
        "\n"
        "    penstock map run -C shop shopify/order order.json\n"
        "    penstock map test -C shop shopify/order\n"
        "    penstock map trace -C shop shopify/order order.json\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_CONFIG,
        CLI_OPTION_HUB,
        CLI_OPTION_KEY,
        {"update", 0, NULL, false, "test: write the answers as what is expected"},
        {0},
    },
    .run = map_run,
};
