/* metrics: asks a running hub for its figures: Prometheus text as it is, or as JSON; or lists what
 * there is to ask for. */
#include "cli/commands.h"

#include "base/metric.h"
#include "cli/client.h"

struct family {
    struct str help, kind; /* of the family that is being read */
};

/* name{a="b",c="d"} → members; label values keep their escapes, which JSON shares. */
static void labels_write(struct str labels, struct buf *out) {
    buf_lit(out, ",\"labels\":{");
    for (bool first = true; labels.len > 0; first = false) {
        struct str name = str_cut(&labels, '=');
        size_t end = 1;
        while (end < labels.len && labels.ptr[end] != '"')
            end += labels.ptr[end] == '\\' ? 2 : 1;
        if (labels.len == 0 || end >= labels.len)
            break;
        if (!first)
            buf_char(out, ',');
        buf_json_str(out, name);
        buf_char(out, ':');
        buf_add(out, labels.ptr, end + 1);
        labels = str_of(labels.ptr + end + 1, labels.len - end - 1);
        if (labels.len > 0 && labels.ptr[0] == ',')
            labels = str_of(labels.ptr + 1, labels.len - 1);
    }
    buf_char(out, '}');
}

static void sample_write(const struct family *family, struct str line, bool first,
                         struct buf *out) {
    size_t name = 0, value = line.len;
    struct str labels = STR_NONE;
    while (name < line.len && line.ptr[name] != '{' && line.ptr[name] != ' ')
        name++;
    while (value > 0 && line.ptr[value - 1] != ' ')
        value--;
    if (name < line.len && line.ptr[name] == '{' && value > name + 2)
        labels = str_of(line.ptr + name + 1, value - name - 3);
    buf_printf(out, "%s{\"name\":", first ? "" : ",");
    buf_json_str(out, str_of(line.ptr, name));
    buf_lit(out, ",\"kind\":");
    buf_json_str(out, family->kind);
    buf_lit(out, ",\"help\":");
    buf_json_str(out, family->help);
    labels_write(labels, out);
    buf_lit(out, ",\"value\":");
    buf_json_str(out, str_of(line.ptr + value, line.len - value));
    buf_char(out, '}');
}

/* "# HELP name text" → text. */
static bool comment_is(struct str line, struct str kind, struct str *text) {
    if (!str_starts(line, kind))
        return false;
    *text = str_of(line.ptr + kind.len, line.len - kind.len);
    str_cut(text, ' ');
    return true;
}

static void metrics_json(struct str text, struct buf *out) {
    struct family family = {STR(""), STR("")};
    bool first = true;
    buf_lit(out, "{\"items\":[");
    while (text.ptr) {
        struct str line = str_cut(&text, '\n');
        if (line.len == 0 || comment_is(line, STR("# HELP "), &family.help) ||
            comment_is(line, STR("# TYPE "), &family.kind) || line.ptr[0] == '#')
            continue;
        sample_write(&family, line, first, out);
        first = false;
    }
    buf_lit(out, "]}\n");
}

static int list_run(struct cli *cli, bool markdown) {
    struct buf out;
    buf_init(&out, 0);
    if (cli->json)
        metric_list_json(&out);
    else if (markdown)
        metric_list_markdown(&out);
    else
        metric_list_text(&out);
    int code = cli_print(cli, buf_str(&out));
    buf_free(&out);
    return code;
}

static int metrics_run(struct cli *cli) {
    struct fault fault;
    struct client_answer answer;
    struct client_request request = {.path = "/metrics"};
    struct buf out;
    fault_init(&fault, &cli->arena);
    if (!cli_args_max(cli, 0))
        return EXIT_USAGE;
    if (cli_flag(cli, "list") || cli_flag(cli, "markdown"))
        return list_run(cli, cli_flag(cli, "markdown"));
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_FAILED;
    enum err err = client_call(client, &request, &cli->arena, &answer, &fault);
    if (err == OK && answer.status != 200)
        err = client_problem(&answer, &fault);
    client_destroy(client);
    if (err != OK)
        return cli_fault(cli, &fault);
    if (!cli->json)
        return cli_print(cli, answer.body);
    buf_init(&out, 0);
    metrics_json(answer.body, &out);
    int code = cli_print(cli, buf_str(&out));
    buf_free(&out);
    return code;
}

const struct cli_command metrics_command = {
    .name = "metrics",
    .synopsis = "metrics [--list [--markdown]] [--hub URL] [--key K] [--json]",
    .summary = "print the figures of a running hub, or list what there is",
    .help = "Asks a running hub for its figures and prints them as Prometheus text, each with its help\n"
            "and kind, or with --json as a list. The key needs the scope ops:read. A Prometheus\n"
            "server reads the same at GET /metrics.\n"
            "\n"
            "    penstock metrics | grep penstock_http_requests_total\n"
            "    penstock metrics --list          every figure: kind, unit, labels, what it says\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_HUB,
        CLI_OPTION_KEY,
        {"list", 0, NULL, false, "List the figures there are; needs no hub"},
        {"markdown", 0, NULL, false, "With --list: as the page docs/metrics.md"},
        {0},
    },
    .run = metrics_run,
};
