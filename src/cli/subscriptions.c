/* subscriptions: what a running hub sends to other systems: how far each is, and stopping and
 * starting one. */
#include <stdio.h>
#include <string.h>

#include "cli/client.h"
#include "cli/commands.h"

static int ask(struct cli *cli, struct client *client, const struct client_request *request,
               struct client_answer *answer) {
    struct fault fault;
    fault_init(&fault, &cli->arena);
    if (client_call(client, request, &cli->arena, answer, &fault) != OK)
        return cli_fault(cli, &fault);
    if (answer->status != 200 && answer->status != 202) {
        (void)client_problem(answer, &fault);
        return cli_fault(cli, &fault);
    }
    return answer->json ? EXIT_DONE : cli_fail(cli, EXIT_FAILED, "the hub's answer is not JSON");
}

static struct str text_of(const struct json *object, const char *name) {
    const struct json *value = object ? json_member(object, str_c(name)) : NULL;
    return value && value->kind != JSON_NULL ? value->text : STR("-");
}

static int64_t number_of(const struct json *object, const char *name) {
    int64_t value;
    return str_i64(text_of(object, name), &value) ? value : -1;
}

/* "1.4 MB", "3 h 12 min": as a person says it. */
static void bytes_print(int64_t bytes) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    int unit = 0;
    double value = (double)bytes;
    for (; value >= 1000 && unit < 4; unit++)
        value /= 1000;
    printf(unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

static void seconds_print(int64_t s) {
    if (s >= 86400)
        printf("%lld d %lld h", (long long)(s / 86400), (long long)(s % 86400 / 3600));
    else if (s >= 3600)
        printf("%lld h %lld min", (long long)(s / 3600), (long long)(s % 3600 / 60));
    else if (s >= 60)
        printf("%lld min %lld s", (long long)(s / 60), (long long)(s % 60));
    else
        printf("%lld s", (long long)s);
}

static bool is_true(const struct json *object, const char *name) {
    const struct json *value = json_member(object, str_c(name));
    return value && value->kind == JSON_BOOL && value->count;
}

/* How far behind in events, bytes, seconds; how fast it drains; when it will be done. */
static void behind_print(const struct json *row) {
    int64_t events = number_of(row, "behind_events"), left_s = number_of(row, "done_in_s");
    if (number_of(row, "behind") <= 0 || events < 0)
        return;
    printf("    %s%lld events to do, ", is_true(row, "behind_estimated") ? "about " : "", (long long)events);
    bytes_print(number_of(row, "behind_bytes"));
    fputs("; the oldest is ", stdout);
    seconds_print(number_of(row, "behind_s"));
    printf(" old; drains %lld events/s; ", (long long)number_of(row, "drain_events_per_s"));
    if (left_s < 0) {
        puts("no end in sight");
    } else {
        fputs("done in about ", stdout);
        seconds_print(left_s);
        printf(" (%.*s)\n", STR_FMT(text_of(row, "done_at")));
    }
}

static void row_print(const struct json *row) {
    const struct json *stopped = json_member(row, STR("stopped"));
    printf("%-28.*s %-11.*s behind %.*s  waiting %.*s  held %.*s  %.*s/s  delivered %.*s\n",
           STR_FMT(text_of(row, "subscription")), STR_FMT(text_of(row, "state")),
           STR_FMT(text_of(row, "behind")), STR_FMT(text_of(row, "waiting")), STR_FMT(text_of(row, "held")),
           STR_FMT(text_of(row, "rate_per_s")), STR_FMT(text_of(row, "delivered")));
    behind_print(row);
    if (stopped && stopped->kind == JSON_OBJECT)
        printf("    stopped %.*s (%.*s): %.*s; by %.*s\n", STR_FMT(text_of(stopped, "since")),
               STR_FMT(text_of(stopped, "why")), STR_FMT(text_of(stopped, "cause")),
               STR_FMT(text_of(stopped, "by")));
}

static int list_run(struct cli *cli, struct client *client) {
    struct client_answer answer;
    struct client_request request = {.method = "GET", .path = "/ops/subscriptions"};
    int code = ask(cli, client, &request, &answer);
    if (code != EXIT_DONE)
        return code;
    if (cli->json) {
        code = cli_print(cli, answer.body);
        putchar('\n');
        return code;
    }
    const struct json *items = json_member(answer.json, STR("items"));
    const struct json *row = items ? json_first(items) : NULL;
    for (uint32_t i = 0; items && i < items->count; i++, row = json_next(row))
        row_print(row);
    if (items && items->count == 0)
        fputs("there are no subscriptions\n", stderr);
    return EXIT_DONE;
}

static int switch_run(struct cli *cli, struct client *client, const char *verb, const char *name) {
    struct buf path, body;
    struct client_answer answer;
    buf_init(&path, 0);
    buf_init(&body, 0);
    buf_lit(&path, "/ops/subscriptions/");
    client_encode(&path, str_c(name));
    buf_printf(&path, "/%s", verb);
    buf_lit(&body, "{\"reason\":");
    buf_json_str(&body, str_c(cli_value(cli, "reason")));
    buf_char(&body, '}');
    struct client_request request = {.method = "POST", .path = buf_cstr(&path), .body = buf_str(&body)};
    int code = ask(cli, client, &request, &answer);
    buf_free(&path);
    buf_free(&body);
    if (code != EXIT_DONE || (client_waits(cli, &answer) && !cli->json))
        return code;
    if (cli->json)
        printf("%.*s\n", STR_FMT(answer.body));
    else
        printf("%s %.*s\n", name, STR_FMT(text_of(answer.json, "state")));
    return EXIT_DONE;
}

static int subscriptions_run(struct cli *cli) {
    const char *verb = cli_arg(cli, 0), *name = cli_arg(cli, 1);
    bool list = verb && strcmp(verb, "list") == 0;
    if (!verb || (!list && strcmp(verb, "stop") != 0 && strcmp(verb, "start") != 0))
        return cli_fail(cli, EXIT_USAGE, "list, stop or start?");
    if (!cli_args_max(cli, list ? 1 : 2))
        return EXIT_USAGE;
    if (!list && !name)
        return cli_fail(cli, EXIT_USAGE, "which subscription? `penstock subscriptions list` names them");
    if (!list && !cli_value(cli, "reason"))
        return cli_fail(cli, EXIT_USAGE, "to %s a subscription needs a --reason", verb);
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_FAILED;
    int code = list ? list_run(cli, client) : switch_run(cli, client, verb, name);
    client_destroy(client);
    return code;
}

const struct cli_command subscriptions_command = {
    .name = "subscriptions",
    .synopsis = "subscriptions list [--hub URL] [--key K] [--json]\n"
                "subscriptions stop NAME --reason TEXT\n"
                "subscriptions start NAME --reason TEXT",
    .summary = "what goes out to other systems: how far it is; stop and start it",
    .help =
        "A subscription of which too many deliveries fail stops itself (`stop` of its entry in\n"
        "connector.yaml): what it wants waits in the journal, and nothing more is held. Mend what\n"
        "fails, start it, and it goes on where it stood, in order. A person can stop one, too.\n"
        "Both are told to the journal, with who and why.\n"
        "\n"
        "The key needs the scopes ops:read and, to stop or start, ops:retry.\n"
        "\n"
        "    penstock subscriptions list\n"
        "    penstock subscriptions stop erp-orders --reason 'the new tax codes are wrong'\n"
        "    penstock subscriptions start erp-orders --reason 'mapping 1.4.2 is in'\n"
        "\n"
        "EXIT CODES\n"
        "    0  done\n"
        "    1  there is no such subscription, it is stopped (or started) already, or the hub can not\n"
        "       be reached\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_HUB,
        CLI_OPTION_KEY,
        {"reason", 0, "TEXT", false, "Why: kept in the journal"},
        {0},
    },
    .run = subscriptions_run,
};
