/* schema: prints JSON Schemas (2020-12) of the documents the hub takes, answers, journals and
 * is configured with. */
#include "cli/commands.h"

#include "connect/connector.h"
#include "core/config.h"
#include "domain/list.h"
#include "gateway/api_tables.h"

/* All shapes with a name of their own. */
static void shapes_all(struct api_shapes *set) {
    struct api_tables tables = {.capabilities = domain_capabilities};
    api_shapes_all(set, &tables);
    api_shapes_add(set, &event_meta_shape);
    api_shapes_add(set, &config_channel_shape);
    api_shapes_add(set, &config_location_shape);
    api_shapes_add(set, &connector_shape);
}

static void list_write(const struct cli *cli, const struct api_shapes *set, struct buf *out) {
    if (cli->json)
        buf_lit(out, "{\"items\":[");
    for (uint32_t i = 0; i < set->count; i++) {
        const struct shape *shape = set->shapes[i];
        if (!cli->json) {
            buf_printf(out, "%-28s %s\n", shape->name, shape->help ? shape->help : "");
            continue;
        }
        buf_printf(out, "%s{\"name\":\"%s\",\"help\":", i > 0 ? "," : "", shape->name);
        buf_json_str(out, str_c(shape->help ? shape->help : ""));
        buf_char(out, '}');
    }
    if (cli->json)
        buf_lit(out, "]}\n");
}

static int schema_run(struct cli *cli) {
    struct api_shapes set = {.count = 0};
    const struct shape *found = NULL;
    const char *name = cli_arg(cli, 0);
    struct buf out;
    if (!name)
        return cli_fail(cli, EXIT_USAGE, "which schema? `penstock schema list` names them");
    if (!cli_args_max(cli, 1))
        return EXIT_USAGE;
    shapes_all(&set);
    buf_init(&out, 0);
    for (uint32_t i = 0; i < set.count; i++)
        if (strcmp(set.shapes[i]->name, name) == 0)
            found = set.shapes[i];
    if (found) {
        shape_schema(found, &out);
        buf_char(&out, '\n');
    } else if (strcmp(name, "list") == 0) {
        list_write(cli, &set, &out);
    } else {
        return cli_fail(cli, EXIT_FAILED, "there is no schema '%s'; `penstock schema list` names them",
                        name);
    }
    int code = cli_print(cli, buf_str(&out));
    buf_free(&out);
    return code;
}

const struct cli_command schema_command = {
    .name = "schema",
    .synopsis = "schema NAME\nschema list [--json]",
    .summary = "print the JSON Schema of a document",
    .help = "Prints JSON Schema (2020-12) of a document: what a request may hold, what an answer or an\n"
            "event holds, what a connector is described by. The schemas are printed from the tables\n"
            "the hub itself reads documents with.\n"
            "\n"
            "    penstock schema list\n"
            "    penstock schema order > order.schema.json\n",
    .run = schema_run,
};
