/* init: writes a small retailer that works as it is: configuration, locations, the shipped
 * connectors and examples to try. Owns the texts of what it writes but for the connectors. */
#include "cli/commands.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/files.h"
#include "cli/editor.h"
#include "connect/embedded.h"

static const char penstock_yaml[] =
    "# The configuration of one hub. `penstock check -C DIR` reads it and says what is wrong,\n"
    "# with file and line. Secrets do not belong here: connectors read them from the environment\n"
    "# or from files.\n"
    "\n"
    "# The cell: one journal with its state. Part of every event's id; never change it later.\n"
    "cell: main\n"
    "\n"
    "# Where the hub listens. `penstock serve --listen HOST:PORT` overrides it.\n"
    "listen: 127.0.0.1:8480\n"
    "\n"
    "# Stores and warehouses, in a file of their own: there may be thousands.\n"
    "locations: locations.yaml\n"
    "\n"
    "# Who sells. `sourcing` names the locations that fulfil the channel's orders, tried in order.\n"
    "# `on_shortage` says what an order meets that can not be covered: refuse (409), back-order\n"
    "# (taken, goods follow), hold (taken, a person decides).\n"
    "channels:\n"
    "  - channel: web-de\n"
    "    name: Web shop Germany\n"
    "    time_zone: Europe/Berlin\n"
    "    currency: EUR\n"
    "    sourcing: [WH-HAM]\n"
    "    on_shortage: refuse\n"
    "  - channel: web-fr\n"
    "    name: Web shop France\n"
    "    time_zone: Europe/Berlin\n"
    "    currency: EUR\n"
    "    sourcing: [WH-HAM]\n"
    "    on_shortage: refuse\n"
    "\n"
    "# `penstock settings` lists all of them with their bounds. The environment goes first:\n"
    "# PENSTOCK_LOOP_THREADS=4 overrides loop_threads.\n"
    "settings:\n"
    "  loop_threads: 2\n";

static const char locations_yaml[] =
    "# Stores and warehouses. A time zone gives the business day its default.\n"
    "- {location: WH-HAM, kind: warehouse, name: Warehouse Hamburg, time_zone: Europe/Berlin}\n"
    "- {location: S01, kind: store, name: Store 1, time_zone: Europe/Berlin}\n"
    "- {location: S02, kind: store, name: Store 2, time_zone: Europe/Berlin}\n"
    "- {location: S03, kind: store, name: Store 3, time_zone: Europe/Berlin}\n";

static const char order_json[] =
    "{\n"
    "  \"channel\": \"web-de\", \"channel_order_id\": \"10045\",\n"
    "  \"placed_at\": \"2026-11-23T09:15:00+01:00\",\n"
    "  \"currency\": \"EUR\", \"prices_include_tax\": true, \"tax_rounding\": \"line\",\n"
    "  \"customer\": {\"customer_id\": \"C-1001\", \"email\": \"ann@example.org\", \"name\": \"Ann "
    "Example\"},\n"
    "  \"ship_to\": {\"name\": \"Ann Example\", \"street\": [\"Hafenstr. 1\"], \"postal_code\": "
    "\"20457\",\n"
    "              \"city\": \"Hamburg\", \"country\": \"DE\"},\n"
    "  \"lines\": [\n"
    "    {\"line_id\": \"1\", \"sku\": \"TEE-RED-M\", \"quantity\": \"2\", \"unit_price\": 1999,\n"
    "     \"discount\": 0, \"total\": 3998,\n"
    "     \"taxes\": [{\"code\": \"DE-STD\", \"rate\": \"0.19\", \"base\": 3360, \"amount\": 638}]}\n"
    "  ],\n"
    "  \"shipping\": [{\"line_id\": \"s1\", \"method\": \"parcel\", \"total\": 490,\n"
    "                \"taxes\": [{\"code\": \"DE-STD\", \"rate\": \"0.19\", \"base\": 412, "
    "\"amount\": 78}]}],\n"
    "  \"tenders\": [{\"tender_id\": \"t1\", \"kind\": \"card\", \"amount\": 4488, \"reference\": "
    "\"psp-8812\",\n"
    "               \"state\": \"authorised\"}],\n"
    "  \"totals\": {\"lines\": 3998, \"discount\": 0, \"shipping\": 490, \"tax\": 716, \"rounding\": "
    "0, \"grand\": 4488}\n"
    "}\n";

static const char count_json[] =
    "{\"sku\": \"TEE-RED-M\", \"location\": \"WH-HAM\", \"on_hand\": \"120\"}\n";

static const char examples_readme[] =
    "# Trying it\n"
    "\n"
    "In the folder above this one, with the program in the path:\n"
    "\n"
    "    export PENSTOCK_KEY=$(penstock key create -C . --name try --scope '*')\n"
    "    penstock serve -C . &\n"
    "\n"
    "Put goods on the shelf, sell two of them, look what is left:\n"
    "\n"
    "    curl -H \"Authorization: Bearer $PENSTOCK_KEY\" -H 'Content-Type: application/json' \\\n"
    "         --data @examples/count.json http://127.0.0.1:8480/v1/stock/counts\n"
    "    curl -H \"Authorization: Bearer $PENSTOCK_KEY\" -H 'Content-Type: application/json' \\\n"
    "         -H 'Idempotency-Key: first-try' \\\n"
    "         --data @examples/order.json http://127.0.0.1:8480/v1/orders\n"
    "    curl -H \"Authorization: Bearer $PENSTOCK_KEY\" \\\n"
    "         'http://127.0.0.1:8480/v1/availability?sku=TEE-RED-M&location=WH-HAM'\n"
    "\n"
    "Send the order again: it is answered as the first time, and sold once. Then ask for its\n"
    "story by the number the shop knows it by:\n"
    "\n"
    "    penstock trace 10045\n"
    "\n"
    "To see it posted to an ERP, run the stand-in one, and start the hub with its address; what\n"
    "was sold before is posted, too:\n"
    "\n"
    "    penstock sandbox erp --listen 127.0.0.1:9480 &\n"
    "    GENERIC_ERP_URL=http://127.0.0.1:9480 penstock serve -C .\n"
    "    curl http://127.0.0.1:9480/totals\n";

static const char gitignore[] = "# The cell's files: journal, read model, keys.\n/data/\n";

struct init_file {
    const char *path, *text;
};
static const struct init_file init_files[] = {
    {"penstock.yaml", penstock_yaml},       {"locations.yaml", locations_yaml},
    {"examples/order.json", order_json},    {"examples/count.json", count_json},
    {"examples/README.md", examples_readme}, {".gitignore", gitignore},
};

/* Writes one file; what was there and differs is kept as PATH.old, and said. */
static enum err file_put(const struct cli *cli, const char *dir, const char *name, struct str text,
                         struct fault *fault) {
    char path[PATH_MAX], old[PATH_MAX];
    int len = snprintf(path, sizeof path, "%s/%s", dir, name);
    int old_len = snprintf(old, sizeof old, "%s/%s.old", dir, name);
    if (len < 0 || (size_t)len >= sizeof path || old_len < 0 || (size_t)old_len >= sizeof old)
        return fault_set(fault, ERR_IO, "the path is too long");
    enum err err = files_folder_above(path, fault);
    if (err != OK)
        return err;
    if (files_exist(path)) {
        struct buf present;
        buf_init(&present, 0);
        err = files_read(path, &present, fault);
        bool same = err == OK && str_eq(buf_str(&present), text);
        buf_free(&present);
        if (err != OK || same)
            return err;
        if (rename(path, old) != 0)
            return fault_set(fault, ERR_IO, "can not keep %s as %s: %s", path, old,
                             strerror(errno));
        fprintf(stderr, "penstock %s: %s was there and differs: kept as %s\n", cli->command->name,
                path, old);
    }
    return files_write_fast(path, text, 0666, fault);
}

/* connector.yaml gets the line by which editors find its schema. */
static enum err connector_file_put(const struct cli *cli, const char *dir, const struct embedded_file *f,
                                   struct fault *fault) {
    struct str text = str_of((const char *)f->data, f->len), path = str_c(f->path);
    struct str name = STR("/connector.yaml");
    struct buf with;
    if (path.len < name.len || memcmp(path.ptr + path.len - name.len, name.ptr, name.len) != 0)
        return file_put(cli, dir, f->path, text, fault);
    buf_init(&with, 0);
    buf_lit(&with, EDITOR_LINE);
    buf_str_add(&with, text);
    enum err err = file_put(cli, dir, f->path, buf_str(&with), fault);
    buf_free(&with);
    return err;
}

static enum err files_put(const struct cli *cli, const char *dir, uint32_t *count,
                          struct fault *fault) {
    enum err err = files_folder(dir, fault);
    if (err == OK)
        err = editor_schema_put(dir, fault);
    for (size_t i = 0; err == OK && i < sizeof init_files / sizeof init_files[0]; i++, ++*count)
        err = file_put(cli, dir, init_files[i].path, str_c(init_files[i].text), fault);
    for (const struct embedded_file *f = embedded_files; err == OK && f->path; f++) {
        if (!str_starts(str_c(f->path), STR("connectors/")))
            continue;
        err = connector_file_put(cli, dir, f, fault);
        ++*count;
    }
    return err;
}

static int init_run(struct cli *cli) {
    struct fault fault;
    fault_init(&fault, &cli->arena);
    const char *dir = cli_arg(cli, 0);
    uint32_t count = 0;
    bool empty = true;
    if (!dir)
        return cli_fail(cli, EXIT_USAGE, "which folder?");
    if (!cli_args_max(cli, 1))
        return EXIT_USAGE;
    enum err err = files_folder_empty(dir, &empty, &fault);
    if (err == OK && !empty && !cli_flag(cli, "force"))
        return cli_fail(cli, EXIT_FAILED, "%s is not empty; --force adds to it all the same", dir);
    if (err == OK)
        err = files_put(cli, dir, &count, &fault);
    if (err != OK)
        return cli_fault(cli, &fault);
    if (cli->json) {
        struct buf out;
        buf_init(&out, 0);
        buf_lit(&out, "{\"dir\":");
        buf_json_str(&out, str_c(dir));
        buf_printf(&out, ",\"files\":%u}\n", (unsigned)count);
        int code = cli_print(cli, buf_str(&out));
        buf_free(&out);
        return code;
    }
    printf("%s holds a retailer that works as it is: two web shops, a warehouse, three stores.\n"
           "Next:\n"
           "    penstock key create -C %s --name first --scope '*'\n"
           "    penstock serve -C %s\n"
           "%s/examples/README.md says what to try.\n",
           dir, dir, dir, dir);
    return EXIT_DONE;
}

const struct cli_command init_command = {
    .name = "init",
    .synopsis = "init DIR [--force]",
    .summary = "write a configuration that works as it is, with examples",
    .help =
        "Writes into DIR a small retailer that works at once: the channels web-de and web-fr, the\n"
        "warehouse WH-HAM, the stores S01 to S03, all in Europe/Berlin; orders are sourced from\n"
        "WH-HAM. A SKU needs no product record.\n"
        "\n"
        "    penstock.yaml     channels, settings, where the hub listens\n"
        "    locations.yaml    stores and warehouses\n"
        "    connectors/       the shipped connectors, yours to change\n"
        "    examples/         an order, a stock count, and the calls that send them\n"
        "\n"
        "A folder that is not empty is refused. With --force it is added to; a file that is there\n"
        "and differs is kept beside the new one as NAME.old.\n"
        "\n"
        "    penstock init shop && penstock check -C shop\n",
    .options = (const struct cli_option[]){
        {"force", 0, NULL, false, "Write into a folder that is not empty"},
        {0},
    },
    .run = init_run,
};
