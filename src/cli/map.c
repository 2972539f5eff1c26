/* map: run, test and trace a connector's mapping from the command line, with the same sandbox
 * the hub runs it in. Reads the configuration folder, never a running hub. */
#include "cli/commands.h"

#include <stdlib.h>
#include <unistd.h>

#include "cli/files.h"
#include "cli/map_priv.h"
#include "connect/auth.h"
#include "core/capability.h"
#include "domain/list.h"

#define INPUT_BYTES_MAX ((size_t)64 << 20)

/* --- choosing -------------------------------------------------------------------------- */

static bool mapping_named(struct str file, struct str name) {
    return !name.ptr || str_eq(file, name) ||
           (file.len == name.len + 4 && str_starts(file, name)); /* without ".lua" */
}

static void target_add(struct map_work *work, struct str file, const struct mapping_source *source,
                       struct str command) {
    for (uint32_t i = 0; i < work->target_count; i++) {
        if (work->targets[i].source == source)
            return;
    }
    if (source && work->target_count < MAP_TARGETS_MAX)
        work->targets[work->target_count++] = (struct map_target){file, source, command};
}

/* CONNECTOR or CONNECTOR/MAPPING → connector and targets. */
enum err map_choose(struct map_work *work, struct str what) {
    struct str rest = what;
    struct str name = str_cut(&rest, '/');
    work->connector = connector_find(work->connectors, name);
    if (!work->connector)
        return fault_set(&work->fault, ERR_NOT_FOUND, "there is no connector %.*s", STR_FMT(name));
    const struct connector *c = work->connector;
    work->target_count = 0;
    for (uint32_t i = 0; i < c->receive.count; i++) {
        const struct connector_receive *r = list_at(c->receive, struct connector_receive, i);
        if (mapping_named(r->mapping, rest))
            target_add(work, r->mapping, r->source, r->command);
    }
    for (uint32_t i = 0; i < c->send.count; i++) {
        const struct connector_send *s = list_at(c->send, struct connector_send, i);
        struct str file = s->script.len ? s->script : s->mapping;
        if (s->source && mapping_named(file, rest))
            target_add(work, file, s->source, STR_NONE);
    }
    const struct connector_session *session = c->auth ? c->auth->session : NULL;
    if (session && mapping_named(session->mapping, rest))
        target_add(work, session->mapping, session->source, STR_NONE);
    if (work->target_count == 0)
        return fault_set(&work->fault, ERR_NOT_FOUND, "connector %.*s has no mapping %.*s",
                         STR_FMT(name), STR_FMT(rest));
    return OK;
}

/* --- running --------------------------------------------------------------------------- */

enum err map_check(struct map_work *work, const struct map_target *target,
                   const struct json *answer, struct fault *fault) {
    if (!target->command.ptr)
        return OK; /* a document of the other system: its shape is not ours */
    const struct command_type *type = registry_command(work->registry, target->command);
    if (!type || !type->shape)
        return fault_set(fault, ERR_INVALID, "there is no command %.*s", STR_FMT(target->command));
    struct str words;
    if (mapping_nothing(answer, &words))
        return OK;
    void *body;
    enum err err = shape_decode(type->shape, answer, &work->cli->arena, STR(""), &body, fault);
    struct command_context context = {.config = work->config, .clock = &clock_system, .fact = true};
    if (!err && type->check)
        err = type->check(&context, body, &work->cli->arena, fault);
    return err;
}

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
        err = json_parse(work->parser, &work->cli->arena, buf_str(&text), false, out,
                         &work->fault);
    buf_free(&text);
    return err;
}

static void indent(struct buf *out, uint32_t depth) {
    buf_char(out, '\n');
    for (uint32_t i = 0; i < depth; i++)
        buf_lit(out, "  ");
}

void map_pretty(struct buf *out, const struct json *value, uint32_t depth) {
    bool object = value->kind == JSON_OBJECT;
    if ((!object && value->kind != JSON_ARRAY) || value->count == 0) {
        json_write(out, value);
        return;
    }
    buf_char(out, object ? '{' : '[');
    const struct json *at = json_first(value);
    for (uint32_t i = 0; i < value->count; i++) {
        if (i > 0)
            buf_char(out, ',');
        indent(out, depth + 1);
        if (object) {
            buf_json_str(out, at->text);
            buf_lit(out, ": ");
            at = json_next(at);
        }
        map_pretty(out, at, depth + 1);
        at = json_next(at);
    }
    indent(out, depth);
    buf_char(out, object ? '}' : ']');
}

static int run_one(struct map_work *work, const char *file) {
    const struct json *document, *answer;
    if (read_document(work, file, &document) != OK ||
        mapper_run(work->mapper, work->targets[0].source, document, &work->cli->arena, &answer,
                   &work->fault) != OK)
        return cli_fault(work->cli, &work->fault);
    struct buf out;
    buf_init(&out, 0);
    if (work->cli->json)
        json_write(&out, answer);
    else
        map_pretty(&out, answer, 0);
    buf_char(&out, '\n');
    int code = cli_print(work->cli, buf_str(&out));
    buf_free(&out);
    if (code == EXIT_DONE && map_check(work, &work->targets[0], answer, &work->fault) != OK)
        return cli_fault(work->cli, &work->fault);
    return code;
}

/* --- trace ----------------------------------------------------------------------------- */

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
        buf_lit(out, "]}");
    }
    buf_lit(out, "],\"unread\":[");
    for (uint32_t i = 0; i < trace->unread_count; i++) {
        if (i)
            buf_char(out, ',');
        buf_json_str(out, trace->unread[i]);
    }
    buf_lit(out, "]}\n");
}

static void trace_text(const struct mapping_trace *trace, struct buf *out) {
    for (uint32_t i = 0; i < trace->count; i++) {
        const struct mapping_trace_row *row = &trace->rows[i];
        buf_printf(out, "%-36.*s %s", STR_FMT(row->target), row->exact ? "<-" : "<~");
        for (uint32_t k = 0; k < row->source_count; k++)
            buf_printf(out, " %.*s", STR_FMT(row->sources[k]));
        buf_str_add(out, row->source_count ? STR("\n") : STR(" (the mapping or its settings)\n"));
    }
    if (trace->unread_count > 0)
        buf_lit(out, "\nnever read:\n");
    for (uint32_t i = 0; i < trace->unread_count; i++)
        buf_printf(out, "  %.*s\n", STR_FMT(trace->unread[i]));
}

static int trace_one(struct map_work *work, const char *file) {
    const struct json *document, *answer;
    struct mapping_trace trace;
    if (read_document(work, file, &document) != OK ||
        mapper_trace(work->mapper, work->targets[0].source, document, &work->cli->arena, &answer,
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

enum err map_work_open(struct map_work *work) {
    work->parser = json_parser_create();
    work->registry = registry_create(domain_capabilities);
    work->mapper = mapper_create((struct mapping_limits){
        .instructions_max = work->config->settings.map_instructions_max,
        .bytes_max = work->config->settings.map_bytes_max,
        .looks_max = work->config->settings.map_looks_max});
    return work->parser && work->registry && work->mapper
               ? OK
               : fault_set(&work->fault, ERR_NOMEM, "out of memory");
}

void map_work_close(struct map_work *work) {
    mapper_destroy(work->mapper);
    if (work->registry)
        registry_destroy(work->registry);
    if (work->parser)
        json_parser_destroy(work->parser);
}

static int work_run(struct map_work *work, const char *verb, const char *what, const char *file) {
    struct cli *cli = work->cli;
    const char *dir = cli_value(cli, "config");
    if (config_load(dir, &work->config, &work->fault) != OK ||
        connectors_load(dir, &work->connectors, &work->fault) != OK)
        return cli_fault(cli, &work->fault);
    if (map_work_open(work) != OK || map_choose(work, str_c(what)) != OK)
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
    map_work_close(&work);
    connectors_release(work.connectors);
    if (work.config)
        config_destroy(work.config);
    return code;
}

const struct cli_command map_command = {
    .name = "map",
    .synopsis = "map run -C DIR CONNECTOR[/MAPPING] [FILE]\n"
                "map test -C DIR CONNECTOR[/MAPPING] [FIXTURE] [--update]\n"
                "map trace -C DIR CONNECTOR[/MAPPING] [FILE]",
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
        "       maps (<~); then which members were never read.\n"
        "\n"
        "    penstock map run -C shop shopify/order order.json\n"
        "    penstock map test -C shop shopify/order\n"
        "    penstock map trace -C shop shopify/order order.json\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_CONFIG,
        {"update", 0, NULL, false, "test: write the answers as what is expected"},
        {0},
    },
    .run = map_run,
};
