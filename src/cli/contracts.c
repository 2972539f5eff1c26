/* contracts: what the hub promises to whom: lists the table, prints the page about it, and writes
 * the snapshot that a later release is compared with (`penstock check --against`). */
#include "cli/commands.h"

#include "cli/tables.h"
#include "gateway/contract_snapshot.h"

static void contract_json(const struct contract *c, struct buf *out) {
    buf_printf(out, "{\"name\":\"%s\",\"help\":", c->name);
    buf_json_str(out, str_c(c->help));
    contract_members_write(c, out);
    buf_printf(out, ",\"link\":\"" CONTRACT_SITE "%s\"}", c->link);
}

static void list_write(const struct cli *cli, struct buf *out) {
    if (cli->json)
        buf_lit(out, "{\"items\":[");
    else
        buf_printf(out, "%-12s %-8s %-11s %-12s %-11s %s\n", "CONTRACT", "VERSION", "STATUS",
                   "OWNER", "ENDS", "WHAT");
    for (const struct contract *c = contracts; c->name; c++) {
        if (!cli->json) {
            buf_printf(out, "%-12s %-8s %-11s %-12s %-11s %s\n", c->name, c->version,
                       contract_status_names[c->status], c->owner, c->sunset ? c->sunset : "-",
                       c->help);
            continue;
        }
        buf_str_add(out, str_c(c == contracts ? "" : ","));
        contract_json(c, out);
    }
    if (cli->json)
        buf_lit(out, "]}\n");
}

static void rules_write(const struct cli *cli, struct buf *out) {
    if (cli->json)
        buf_lit(out, "{\"items\":[");
    for (enum compare_rule rule = 0; rule < RULE_COUNT; rule++) {
        const struct compare_rule_info *info = compare_rule_info(rule);
        if (!cli->json) {
            buf_printf(out, "%-16s breaks %s; instead: %s\n", info->slug, info->whom, info->instead);
            continue;
        }
        buf_printf(out, "%s{\"rule\":\"%s\",\"breaks\":", rule ? "," : "", info->slug);
        buf_json_str(out, str_c(info->whom));
        buf_lit(out, ",\"instead\":");
        buf_json_str(out, str_c(info->instead));
        buf_char(out, '}');
    }
    if (cli->json)
        buf_lit(out, "]}\n");
}

static int contracts_run(struct cli *cli) {
    const char *what = cli_arg(cli, 0);
    struct buf out;
    if (!what)
        return cli_fail(cli, EXIT_USAGE, "list, rules, export or page?");
    if (!cli_args_max(cli, 1))
        return EXIT_USAGE;
    buf_init(&out, 0);
    if (strcmp(what, "list") == 0)
        list_write(cli, &out);
    else if (strcmp(what, "export") == 0)
        contract_snapshot_write(cli_tables(), PENSTOCK_VERSION, &out);
    else if (strcmp(what, "rules") == 0)
        rules_write(cli, &out);
    else if (strcmp(what, "page") == 0)
        contracts_page_write(contracts, &out);
    else
        return cli_fail(cli, EXIT_USAGE, "there is no `contracts %s`: list, rules, export or page", what);
    int code = buf_ok(&out) ? cli_print(cli, buf_str(&out))
                            : cli_fail(cli, EXIT_FAILED, "out of memory");
    buf_free(&out);
    return code;
}

const struct cli_command contracts_command = {
    .name = "contracts",
    .synopsis = "contracts list|rules [--json]\ncontracts export\ncontracts page",
    .summary = "what the hub promises to whom, and until when",
    .help = "`list` prints every contract: its owner, version, status, and the day it ends. `rules` says\n"
            "what counts as breaking one. `export`\n"
            "prints what this program promises (routes, events, shapes), one thing a line: keep it\n"
            "with the release, and `penstock check --against` tells what a later program breaks of\n"
            "it. `page` prints the table of docs/contracts.md.\n"
            "\n"
            "    penstock contracts list\n"
            "    penstock contracts export > contracts/0.1.0.json\n"
            "    penstock check --against contracts\n",
    .run = contracts_run,
};
