/* settings: prints the table of settings, with the values a configuration gives them. */
#include "cli/commands.h"

#include <inttypes.h>

#include "core/config.h"

static void row_json(struct buf *out, const struct setting_info *row, int64_t value) {
    buf_lit(out, "{\"name\":");
    buf_json_str(out, str_c(row->name));
    buf_printf(out, ",\"value\":%" PRId64 ",\"default\":%" PRId64 ",\"min\":%" PRId64
                    ",\"max\":%" PRId64 ",\"unit\":",
               value, row->dflt, row->min, row->max);
    buf_json_str(out, str_c(row->unit));
    buf_lit(out, ",\"help\":");
    buf_json_str(out, str_c(row->help));
    buf_char(out, '}');
}

static void table_write(const struct cli *cli, const struct config *config, struct buf *out) {
    const int64_t *values = config ? (const int64_t *)&config->settings : NULL;
    if (cli->json)
        buf_lit(out, "{\"items\":[");
    else
        buf_printf(out, "%-24s %12s %12s %-22s %-12s %s\n", "NAME", "VALUE", "DEFAULT", "BOUNDS",
                   "UNIT", "WHAT");
    for (uint32_t i = 0; i < setting_count; i++) {
        const struct setting_info *row = &setting_table[i];
        int64_t value = values ? values[i] : row->dflt;
        if (cli->json) {
            if (i > 0)
                buf_char(out, ',');
            row_json(out, row, value);
            continue;
        }
        char bounds[64];
        snprintf(bounds, sizeof bounds, "%" PRId64 "..%" PRId64, row->min, row->max);
        buf_printf(out, "%-24s %12" PRId64 " %12" PRId64 " %-22s %-12s %s\n", row->name, value,
                   row->dflt, bounds, row->unit, row->help);
    }
    if (cli->json)
        buf_lit(out, "]}\n");
}

static int settings_run(struct cli *cli) {
    struct config *config = NULL;
    struct fault fault;
    struct buf out;
    fault_init(&fault, &cli->arena);
    if (!cli_args_max(cli, 0))
        return EXIT_USAGE;
    const char *dir = cli_value(cli, "config");
    if (dir && config_load(dir, &config, &fault) != OK)
        return cli_fault(cli, &fault);
    buf_init(&out, 0);
    table_write(cli, config, &out);
    int code = cli_print(cli, buf_str(&out));
    buf_free(&out);
    if (config)
        config_destroy(config);
    return code;
}

const struct cli_command settings_command = {
    .name = "settings",
    .synopsis = "settings [-C DIR] [--json]",
    .summary = "list all settings with value, default, bounds and what they do",
    .help =
        "Lists every setting of the hub. With -C, VALUE is what that configuration and the\n"
        "environment give it; without, the default.\n"
        "\n"
        "A setting is set under `settings:` in penstock.yaml, or, before that, in the environment\n"
        "as PENSTOCK_ and its name in capitals: PENSTOCK_BODY_BYTES_MAX=1048576.\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_CONFIG,
        {0},
    },
    .run = settings_run,
};
