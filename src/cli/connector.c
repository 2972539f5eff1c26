/* connector: a partner's folder from the first file to going live: new writes it, test says what is
 * still to be done, list how all fare. */
#include <ctype.h>
#include <limits.h>
#include <string.h>

#include "base/files.h"
#include "cli/commands.h"
#include "cli/connector_priv.h"
#include "cli/editor.h"
#include "connect/embedded.h"

#define NAME_MAX_BYTES 48

/* Text with @NAME@ and @UPPER@ replaced. */
static void fill(struct str text, const char *name, struct buf *out) {
    for (size_t i = 0; i < text.len; i++) {
        struct str rest = str_of(text.ptr + i, text.len - i);
        bool upper = str_starts(rest, STR("@UPPER@"));
        if (!upper && !str_starts(rest, STR("@NAME@"))) {
            buf_char(out, text.ptr[i]);
            continue;
        }
        for (const char *c = name; *c; c++)
            buf_char(out, !upper ? *c : isalnum((unsigned char)*c) ? (char)toupper((unsigned char)*c) : '_');
        i += upper ? 6 : 5;
    }
}

static enum err template_put(const char *folder, const struct embedded_file *file, size_t prefix,
                             const char *name, struct fault *fault) {
    char path[PATH_MAX];
    struct buf text;
    int n = snprintf(path, sizeof path, "%s/%s", folder, file->path + prefix);
    if (n < 0 || (size_t)n >= sizeof path)
        return fault_set(fault, ERR_IO, "the path is too long");
    buf_init(&text, 0);
    fill(str_of((const char *)file->data, file->len), name, &text);
    enum err err = files_folder_above(path, fault);
    if (err == OK)
        err = files_write(path, buf_str(&text), 0666, fault);
    buf_free(&text);
    return err;
}

static bool name_good(const char *name) {
    size_t len = strlen(name);
    bool good = len > 0 && len <= NAME_MAX_BYTES && islower((unsigned char)name[0]);
    for (size_t i = 0; i < len; i++)
        good = good && (islower((unsigned char)name[i]) || isdigit((unsigned char)name[i]) || name[i] == '-');
    return good;
}

static enum err templates_put(const char *folder, const char *kind, const char *name, uint32_t *count,
                              struct fault *fault) {
    char prefix[64];
    enum err err = OK;
    snprintf(prefix, sizeof prefix, "templates/%s/", kind);
    for (const struct embedded_file *f = embedded_files; err == OK && f->path; f++)
        if (str_starts(str_c(f->path), str_c(prefix))) {
            err = template_put(folder, f, strlen(prefix), name, fault);
            ++*count;
        }
    return err;
}

int connector_new(struct cli *cli) {
    const char *dir = cli_value(cli, "config"), *name = cli_arg(cli, 1), *kind = cli_value(cli, "kind");
    char folder[PATH_MAX], config[PATH_MAX];
    struct fault fault;
    uint32_t count = 0;
    fault_init(&fault, &cli->arena);
    if (!name)
        return cli_fail(cli, EXIT_USAGE, "which name? connector new NAME -C DIR");
    if (!name_good(name))
        return cli_fail(cli, EXIT_USAGE, "a name is small letters, digits and -, a letter first: bazaar");
    kind = kind ? kind : "shop";
    if (snprintf(folder, sizeof folder, "%s/connectors/%s", dir, name) >= (int)sizeof folder ||
        snprintf(config, sizeof config, "%s/penstock.yaml", dir) >= (int)sizeof config)
        return cli_fail(cli, EXIT_USAGE, "the path is too long");
    if (strcmp(kind, "shop") != 0 && strcmp(kind, "erp") != 0)
        return cli_fail(cli, EXIT_USAGE, "--kind is shop (orders come in by webhook) or erp (orders go out)");
    if (!files_exist(config))
        return cli_fail(cli, EXIT_FAILED, "%s is no configuration folder: `penstock init %s` makes one",
                        dir, dir);
    if (files_exist(folder))
        return cli_fail(cli, EXIT_FAILED, "%s is there already", folder);
    enum err err = templates_put(folder, kind, name, &count, &fault);
    if (err == OK)
        err = editor_schema_put(dir, &fault);
    if (err != OK)
        return cli_fault(cli, &fault);
    if (cli->json)
        printf("{\"connector\":\"%s\",\"folder\":\"%s\",\"files\":%u}\n", name, folder, count);
    else
        printf("%s holds a connector that is not finished; its fixture says what to do, step by step:\n"
               "    penstock connector test -C %s %s\n", folder, dir, name);
    return EXIT_DONE;
}

static int connector_run(struct cli *cli) {
    const char *verb = cli_arg(cli, 0);
    if (verb && strcmp(verb, "expected") == 0)
        return cli_args_max(cli, 1) ? connector_expected(cli) : EXIT_USAGE;
    if (!verb || (strcmp(verb, "new") && strcmp(verb, "test") && strcmp(verb, "list")))
        return cli_fail(cli, EXIT_USAGE, "new, test, list or expected?");
    if (!cli_value(cli, "config"))
        return cli_fail(cli, EXIT_USAGE, "which configuration? -C DIR");
    if (!cli_args_max(cli, strcmp(verb, "list") == 0 ? 1 : strcmp(verb, "new") == 0 ? 2 : 3))
        return EXIT_USAGE;
    return strcmp(verb, "new") == 0    ? connector_new(cli)
           : strcmp(verb, "test") == 0 ? connector_test(cli)
                                       : connector_list(cli);
}

const struct cli_command connector_command = {
    .name = "connector",
    .synopsis = "connector new NAME -C DIR [--kind shop|erp]\n"
                "connector test -C DIR NAME [FOLDER] [--topic TOPIC] [--json]\n"
                "connector list -C DIR [--hub URL --key KEY] [--json]\n"
                "connector expected [--hub URL] [--key KEY] [--json]",
    .summary = "connect a new system, try recorded payloads, see how all fare",
    .help =
        "new    writes DIR/connectors/NAME: a connector.yaml with comments, a mapping, and a fixture\n"
        "       that fails and says what to do next until the mapping is done. --kind shop: orders\n"
        "       come in by webhook; erp: captured orders go out.\n"
        "test   runs all fixtures of the connector; with FOLDER, tries its mappings on every *.json\n"
        "       below it (recorded payloads), as the hub would, and says for each what it would\n"
        "       become, or what is wrong and where. Nothing is sent or stored. The topic of a file is\n"
        "       told by --topic, else by its path where that names one topic only.\n"
        "list   shows version, owner, what comes in and goes out, and what is not set; with --hub how\n"
        "       each fares there: the key needs the scope ops:read.\n"
        "expected   of a running hub: what should come and go by the `expect` of each topic and\n"
        "       subscription: what last did, until when more must, what does not, and what backstops\n"
        "       brought that webhooks had not.\n"
        "\n"
        "A hub that serves takes up a finished connector by itself (setting connectors_watch_s), at\n"
        "SIGHUP, or at POST /ops/connectors/reload.\n"
        "\n"
        "    penstock connector new bazaar -C shop\n"
        "    penstock connector test -C shop bazaar recorded/ --topic orders\n"
        "    penstock connector list -C shop\n"
        "\n"
        "EXIT CODES\n"
        "    0  done; test: all fixtures pass, no payload has a fault\n"
        "    1  test: at least one does not; or it could not be done\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_CONFIG,
        {"kind", 0, "KIND", false, "new: shop (the default) or erp"},
        {"topic", 0, "TOPIC", false, "test: what the payloads of FOLDER are"},
        CLI_OPTION_HUB,
        CLI_OPTION_KEY,
        {0},
    },
    .run = connector_run,
};
