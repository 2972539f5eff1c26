/* openapi, asyncapi: print the description of the HTTP side and of the events. */
#include "cli/commands.h"

#include "cli/tables.h"
#include "gateway/asyncapi.h"
#include "gateway/openapi.h"

static int document_run(struct cli *cli, void (*write)(const struct api_tables *, const char *,
                                                       struct buf *)) {
    struct buf out;
    if (!cli_args_max(cli, 0))
        return EXIT_USAGE;
    buf_init(&out, 0);
    write(cli_tables(), PENSTOCK_VERSION, &out);
    int code = buf_ok(&out) ? cli_print(cli, buf_str(&out))
                            : cli_fail(cli, EXIT_FAILED, "out of memory");
    buf_free(&out);
    return code;
}

static int openapi_run(struct cli *cli) { return document_run(cli, openapi_write); }
static int asyncapi_run(struct cli *cli) { return document_run(cli, asyncapi_write); }

const struct cli_command openapi_command = {
    .name = "openapi",
    .synopsis = "openapi",
    .summary = "print the OpenAPI 3.1 document of the HTTP side",
    .help = "Prints what a running hub also answers at /openapi.json: every route with its scope,\n"
            "parameters, bodies, answers and problems.\n"
            "\n"
            "    penstock openapi > penstock.openapi.json\n",
    .run = openapi_run,
};

const struct cli_command asyncapi_command = {
    .name = "asyncapi",
    .synopsis = "asyncapi",
    .summary = "print the AsyncAPI 3.0 document of the events",
    .help = "Prints what a running hub also answers at /asyncapi.json: every event type with its\n"
            "CloudEvents envelope and the schema of its data.\n"
            "\n"
            "    penstock asyncapi > penstock.asyncapi.json\n",
    .run = asyncapi_run,
};
