/* subscriptions: what a running hub sends to other systems: how far each is, and stopping and
 * starting one. Those made through the API are in subscriptions_made.c. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/subscriptions_priv.h"

int subscriptions_ask(struct cli *cli, struct client *client, const struct client_request *request,
                      struct client_answer *answer) {
    struct fault fault;
    fault_init(&fault, &cli->arena);
    if (client_call(client, request, &cli->arena, answer, &fault) != OK)
        return cli_fault(cli, &fault);
    if (answer->status < 200 || answer->status > 299) {
        (void)client_problem(answer, &fault);
        return cli_fault(cli, &fault);
    }
    return answer->json ? EXIT_DONE : cli_fail(cli, EXIT_FAILED, "the hub's answer is not JSON");
}

static int64_t number_of(const struct json *object, const char *name) {
    int64_t value;
    return str_i64(listing_text(object, name), &value) ? value : -1;
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
        printf(" (%.*s)\n", STR_FMT(listing_text(row, "done_at")));
    }
}

void subscriptions_stopped_print(const struct json *object) {
    const struct json *stopped = json_member(object, STR("stopped"));
    if (stopped && stopped->kind == JSON_OBJECT)
        printf("    stopped %.*s (%.*s): %.*s; by %.*s\n", STR_FMT(listing_text(stopped, "since")),
               STR_FMT(listing_text(stopped, "why")), STR_FMT(listing_text(stopped, "cause")),
               STR_FMT(listing_text(stopped, "by")));
}

static void row_print(const struct json *row) {
    printf("%-28.*s %-11.*s behind %.*s  waiting %.*s  held %.*s  %.*s/s  delivered %.*s\n",
           STR_FMT(listing_text(row, "subscription")), STR_FMT(listing_text(row, "state")),
           STR_FMT(listing_text(row, "behind")), STR_FMT(listing_text(row, "waiting")),
           STR_FMT(listing_text(row, "held")),
           STR_FMT(listing_text(row, "rate_per_s")), STR_FMT(listing_text(row, "delivered")));
    behind_print(row);
    subscriptions_stopped_print(row);
}

/* An operator's key may stop any; who may only have subscriptions of the API may stop those. */
static int switch_ask(struct cli *cli, struct client *client, const char *verb, const char *name,
                      struct client_answer *answer) {
    static const char *const paths[] = {"/ops/subscriptions/", "/v1/subscriptions/"};
    struct fault fault;
    struct buf path, body;
    enum err err = OK;
    buf_init(&path, 0);
    buf_init(&body, 0);
    fault_init(&fault, &cli->arena);
    buf_lit(&body, "{\"reason\":");
    buf_json_str(&body, str_c(cli_value(cli, "reason")));
    buf_char(&body, '}');
    answer->status = 403;
    for (int i = 0; i < 2 && err == OK && answer->status == 403; i++) {
        buf_clear(&path);
        buf_str_add(&path, str_c(paths[i]));
        client_encode(&path, str_c(name));
        buf_printf(&path, "/%s", verb);
        struct client_request request = {.method = "POST", .path = buf_cstr(&path), .body = buf_str(&body)};
        err = client_call(client, &request, &cli->arena, answer, &fault);
    }
    buf_free(&path);
    buf_free(&body);
    if (err == OK && (answer->status < 200 || answer->status > 299))
        err = client_problem(answer, &fault);
    return err == OK ? EXIT_DONE : cli_fault(cli, &fault);
}

static int switch_run(struct cli *cli, struct client *client, const char *verb, const char *name) {
    struct client_answer answer;
    int code = switch_ask(cli, client, verb, name, &answer);
    if (code != EXIT_DONE || (client_waits(cli, &answer) && !cli->json))
        return code;
    if (cli->json)
        printf("%.*s\n", STR_FMT(answer.body));
    else
        printf("%s %s\n", name, strcmp(verb, "stop") == 0 ? "stopped" : "started");
    return EXIT_DONE;
}

static bool switches(const char *verb) { return strcmp(verb, "stop") == 0 || strcmp(verb, "start") == 0; }

static const struct subscriptions_verb *made_verb(const char *verb) {
    const struct subscriptions_verb *row = subscriptions_made;
    while (row->name && strcmp(row->name, verb) != 0)
        row++;
    return row->name ? row : NULL;
}

static int subscriptions_run(struct cli *cli) {
    const char *verb = cli_arg(cli, 0), *name = cli_arg(cli, 1);
    const char *verbs = "list, stop, start, create, show, change, rotate, test, recover or remove";
    if (!verb)
        return cli_fail(cli, EXIT_USAGE, "%s?", verbs);
    bool list = strcmp(verb, "list") == 0;
    const struct subscriptions_verb *made = made_verb(verb);
    if (!list && !switches(verb) && !made)
        return cli_fail(cli, EXIT_USAGE, "there is no '%s': %s", verb, verbs);
    if (!cli_args_max(cli, list ? 1 : 2))
        return EXIT_USAGE;
    if (!list && !name)
        return cli_fail(cli, EXIT_USAGE, "which subscription? `penstock subscriptions list` names them");
    if (switches(verb) && !cli_value(cli, "reason"))
        return cli_fail(cli, EXIT_USAGE, "to %s a subscription needs a --reason", verb);
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_FAILED;
    int code = made                    ? made->run(cli, client, name)
               : !list                 ? switch_run(cli, client, verb, name)
               : cli_flag(cli, "api") ? subscriptions_made_list(cli, client)
                                       : listing_whole(cli, client, "/ops/subscriptions", row_print,
                                                       "there are no subscriptions");
    client_destroy(client);
    return code;
}

const struct cli_command subscriptions_command = {
    .name = "subscriptions",
    .synopsis = "subscriptions list [--api [--owner TEAM]] [--hub URL] [--key K] [--json]\n"
                "subscriptions stop|start NAME --reason TEXT\n"
                "subscriptions create NAME --url URL|--pull --event TYPE… [--subject S…] [--after SEQ]\n"
                "                  [--owner TEAM] [--description TEXT] [--personal]\n"
                "subscriptions show|test|remove NAME\n"
                "subscriptions change NAME [--url URL] [--event TYPE…] [--subject S…|--all-subjects]\n"
                "                  [--owner TEAM] [--description TEXT] [--personal|--no-personal]\n"
                "subscriptions rotate NAME [--overlap SECONDS]\n"
                "subscriptions recover NAME [--since TIME|--since-seq SEQ]",
    .summary = "what goes out, and to whom: how far it is; webhooks of others",
    .help =
        "`list` shows everything that goes out: what connectors describe, and what was made through\n"
        "the API (as NAME:SEQ, by the event that made it); with --api those alone, as they were made.\n"
        "\n"
        "A subscription of which too many deliveries fail stops itself (`stop` of its entry in\n"
        "connector.yaml); one made through the API stops after days without a success\n"
        "(webhook_stop_after_s), or when it answers 410. What it wants waits in the journal, and\n"
        "nothing more is held. Mend what fails, start it, and it goes on where it stood, in order. A\n"
        "person can stop any. Each is told to the journal, with who and why.\n"
        "\n"
        "`create` makes one through the API. With --url it is a webhook: each event of these types\n"
        "is posted there, signed (Standard Webhooks); the secret is printed on stdout, this once.\n"
        "With --pull its owner fetches events and acknowledges them (docs/subscriptions.md). It begins\n"
        "with the next event, or behind the seq that --after names. `rotate` makes a new secret and\n"
        "prints it; for --overlap seconds (a day) what is sent is signed with the old one, too. `test`\n"
        "sends an example event. `recover` sends again what failed and is held: of events recorded since\n"
        "a time, or from a seq on; left out: all. `remove` gives it up, and what waits for it.\n"
        "\n"
        "The key needs: list ops:read; stop, start ops:retry, or subscriptions:write for those made\n"
        "through the API; list --api and show subscriptions:read; the rest subscriptions:write, with\n"
        "--personal personal:read, too.\n"
        "\n"
        "    penstock subscriptions list\n"
        "    penstock subscriptions stop erp-orders --reason 'the new tax codes are wrong'\n"
        "    penstock subscriptions start erp-orders --reason 'mapping 1.4.2 is in'\n"
        "    penstock subscriptions create crm --url https://crm.example.com/in --event 'order.*' > secret\n"
        "    penstock subscriptions create picking --pull --event order.captured\n"
        "    penstock subscriptions recover crm --since 2026-11-27T06:00:00Z\n"
        "\n"
        "EXIT CODES\n"
        "    0  done\n"
        "    1  there is no such subscription, it is stopped (or started) already, the hub refuses, or\n"
        "       it can not be reached\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_HUB,
        CLI_OPTION_KEY,
        {"reason", 0, "TEXT", false, "stop, start: why; kept in the journal"},
        {"api", 0, NULL, false, "list: those made through the API"},
        {"url", 0, "URL", false, "create, change: where events are posted to"},
        {"pull", 0, NULL, false, "create: they are fetched"},
        {"event", 0, "TYPE", true, "create, change: of these types, as order.captured or 'order.*'"},
        {"subject", 0, "SUBJECT", true, "create, change: only about these, as ord_01… or 'SKU-1@*'"},
        {"all-subjects", 0, NULL, false, "change: about anything"},
        {"after", 0, "SEQ", false, "create: begin behind this event"},
        {"owner", 0, "TEAM", false, "create, change: who is told when it fails; list --api: only theirs"},
        {"description", 0, "TEXT", false, "create, change: what it is for"},
        {"personal", 0, NULL, false, "create, change: it may see what is personal"},
        {"no-personal", 0, NULL, false, "change: it may not"},
        {"overlap", 0, "SECONDS", false, "rotate: how long the old secret signs, too (86400)"},
        {"since", 0, "TIME", false, "recover: events recorded from then on (RFC 3339)"},
        {"since-seq", 0, "SEQ", false, "recover: events from this one on"},
        {0},
    },
    .run = subscriptions_run,
};
