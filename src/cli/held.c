/* held: deliveries of a running hub that wait for a person: list, show, retry, discard. */
#include "cli/commands.h"

#include <string.h>

#include "cli/client.h"

struct held {
    struct cli *cli;
    struct client *client;
};

/* Status 200 and JSON, else told and EXIT_FAILED. */
static int held_ask(struct held *held, const char *method, const char *path, struct str body,
                    struct client_answer *answer) {
    struct fault fault;
    fault_init(&fault, &held->cli->arena);
    struct client_request request = {.method = method, .path = path, .body = body};
    if (client_call(held->client, &request, &held->cli->arena, answer, &fault) != OK)
        return cli_fault(held->cli, &fault);
    if (answer->status != 200 && answer->status != 202) {
        (void)client_problem(answer, &fault);
        return cli_fault(held->cli, &fault);
    }
    return answer->json ? EXIT_DONE
                        : cli_fail(held->cli, EXIT_FAILED, "the hub's answer is not JSON");
}

static const char *held_path(struct held *held, const char *id, const char *verb, struct buf *path) {
    buf_clear(path);
    buf_lit(path, "/ops/held/");
    client_encode(path, str_c(id));
    if (verb)
        buf_printf(path, "/%s", verb);
    return buf_cstr(path);
}

static struct str text_of(const struct json *object, const char *name) {
    const struct json *value = json_member(object, str_c(name));
    return value && value->kind != JSON_NULL ? value->text : STR("-");
}

static void row_print(const struct json *row) {
    printf("%-28.*s %-9.*s %-30.*s %3.*s attempts  %.*s\n", STR_FMT(text_of(row, "id")),
           STR_FMT(text_of(row, "state")), STR_FMT(text_of(row, "subject")),
           STR_FMT(text_of(row, "attempts")), STR_FMT(text_of(row, "cause")));
}

/* As options and as the hub calls them: --key is the API key. */
static const struct {
    const char *option, *member;
} filters[] = {{"subscription", "subscription"}, {"type", "type"}, {"subject", "subject"},
               {"lane", "key"}, {"state", "state"}, {"text", "text"}};
#define FILTERS (sizeof filters / sizeof *filters)

/* Whether more than one is meant. */
static bool filtered(const struct cli *cli) {
    bool any = cli_flag(cli, "all");
    for (size_t i = 0; i < FILTERS; i++)
        any = any || cli_value(cli, filters[i].option);
    return any;
}

static void list_path(struct held *held, struct str cursor, struct buf *path) {
    buf_clear(path);
    buf_lit(path, "/ops/held?limit=1000");
    for (size_t i = 0; i < FILTERS; i++) {
        const char *value = cli_value(held->cli, filters[i].option);
        if (!value)
            continue;
        buf_printf(path, "&%s=", filters[i].member);
        client_encode(path, str_c(value));
    }
    if (cursor.len) {
        buf_lit(path, "&cursor=");
        client_encode(path, cursor);
    }
}

/* Every page. visit answers an exit code; the first that is not EXIT_DONE ends it. */
static int held_each(struct held *held, int (*visit)(struct held *held, const struct json *row),
                     uint32_t *count) {
    struct buf path;
    buf_init(&path, 0);
    list_path(held, STR(""), &path);
    int code = EXIT_DONE;
    for (bool more = true; more && code == EXIT_DONE;) {
        struct client_answer answer;
        code = held_ask(held, "GET", buf_cstr(&path), STR_NONE, &answer);
        if (code != EXIT_DONE)
            break;
        const struct json *items = json_member(answer.json, STR("items"));
        const struct json *row = items ? json_first(items) : NULL;
        for (uint32_t i = 0; items && i < items->count && code == EXIT_DONE; i++) {
            code = visit(held, row);
            row = json_next(row);
            (*count)++;
        }
        struct str cursor = json_member_str(answer.json, STR("next_cursor"));
        more = cursor.len > 0;
        list_path(held, cursor, &path);
    }
    buf_free(&path);
    return code;
}

static int row_list(struct held *held, const struct json *row) {
    (void)held;
    row_print(row);
    return EXIT_DONE;
}

static int row_list_json(struct held *held, const struct json *row) {
    struct buf line;
    buf_init(&line, 0);
    json_write(&line, row);
    buf_char(&line, '\n');
    int code = cli_print(held->cli, buf_str(&line));
    buf_free(&line);
    return code;
}

static int held_list(struct held *held) {
    uint32_t count = 0;
    int code = held_each(held, held->cli->json ? row_list_json : row_list, &count);
    if (code == EXIT_DONE && count == 0 && !held->cli->json)
        fputs("no delivery is held\n", stderr);
    return code;
}

static int held_show(struct held *held, const char *id) {
    struct buf path;
    struct client_answer answer;
    buf_init(&path, 0);
    int code = held_ask(held, "GET", held_path(held, id, NULL, &path), STR_NONE, &answer);
    buf_free(&path);
    if (code != EXIT_DONE)
        return code;
    if (held->cli->json) {
        code = cli_print(held->cli, answer.body);
        putchar('\n');
        return code;
    }
    static const char *const members[] = {"id",     "subscription", "type",  "subject", "key",
                                          "state",  "since",        "cause", "status",  "attempts",
                                          "next_attempt_at"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        printf("%-16s %.*s\n", members[i], STR_FMT(text_of(answer.json, members[i])));
    const struct json *failures = json_member(answer.json, STR("failures"));
    const struct json *failure = failures ? json_first(failures) : NULL;
    for (uint32_t i = 0; failures && i < failures->count; i++, failure = json_next(failure))
        printf("%s %.*s  %-12.*s %.*s\n", i == 0 ? "failures        " : "                ",
               STR_FMT(text_of(failure, "at")), STR_FMT(text_of(failure, "outcome")),
               STR_FMT(text_of(failure, "cause")));
    return EXIT_DONE;
}

static int held_decide(struct held *held, struct str id, const char *verb) {
    struct buf path, body;
    struct client_answer answer;
    const char *reason = cli_value(held->cli, "reason");
    struct str name = arena_printf(&held->cli->arena, "%.*s", STR_FMT(id));
    if (!name.ptr)
        return cli_fail(held->cli, EXIT_FAILED, "out of memory");
    buf_init(&path, 0);
    buf_init(&body, 0);
    buf_lit(&body, "{\"reason\":");
    buf_json_str(&body, str_c(reason ? reason : ""));
    buf_lit(&body, "}");
    int code = held_ask(held, "POST", held_path(held, name.ptr, verb, &path), buf_str(&body),
                        &answer);
    buf_free(&path);
    buf_free(&body);
    if (code == EXIT_DONE && client_waits(held->cli, &answer) && !held->cli->json)
        return EXIT_DONE;
    if (code == EXIT_DONE && held->cli->json)
        printf("%.*s\n", STR_FMT(answer.body));
    else if (code == EXIT_DONE)
        printf("%.*s %.*s\n", STR_FMT(id), STR_FMT(text_of(answer.json, "state")));
    return code;
}

/* A line for each: what became of it. */
static int bulk_told(struct held *held, struct str text) {
    struct json_parser *parser = json_parser_create();
    uint32_t done = 0, refused = 0;
    while (parser && text.len > 0) {
        struct str line = str_cut(&text, '\n');
        struct fault ignored = {0};
        const struct json *json;
        if (json_parse(parser, &held->cli->arena, line, false, &json, &ignored) != OK)
            continue;
        const struct json *problem = json_member(json, STR("problem"));
        const struct json *answer = json_member(json, STR("answer"));
        done += !problem;
        refused += problem != NULL;
        if (held->cli->json)
            printf("%.*s\n", STR_FMT(line));
        else
            printf("%.*s  %.*s\n", STR_FMT(text_of(json, "id")),
                   STR_FMT(problem  ? text_of(problem, "detail")
                           : answer ? text_of(answer, "state")
                                    : text_of(json, "cause")));
    }
    json_parser_destroy(parser);
    if (!held->cli->json)
        fprintf(stderr, "%u %s, %u refused\n", done,
                cli_flag(held->cli, "dry-run") ? "would be decided" : "done", refused);
    return refused ? EXIT_FAILED : EXIT_DONE;
}

/* What is decided by somebody else meanwhile, or goes on by itself, does not stop the rest. */
static int held_bulk(struct held *held, const char *verb) {
    struct cli *cli = held->cli;
    struct buf body;
    int64_t max;
    if (!cli_integer(cli, "max", 1000, 1, 1000, &max))
        return EXIT_USAGE;
    buf_init(&body, 0);
    buf_printf(&body, "{\"action\":\"%s\",\"limit\":%lld", verb, (long long)max);
    for (size_t i = 0; i < FILTERS; i++) {
        const char *value = cli_value(cli, filters[i].option);
        if (!value || strcmp(filters[i].option, "state") == 0)
            continue; /* only what is held can be decided */
        buf_printf(&body, ",\"%s\":", filters[i].member);
        buf_json_str(&body, str_c(value));
    }
    if (cli_value(cli, "reason")) {
        buf_lit(&body, ",\"reason\":");
        buf_json_str(&body, str_c(cli_value(cli, "reason")));
    }
    if (cli_flag(cli, "dry-run"))
        buf_lit(&body, ",\"dry_run\":true");
    buf_str_add(&body, cli_flag(cli, "all") ? STR(",\"all\":true}") : STR("}"));
    struct fault fault;
    struct client_answer answer;
    fault_init(&fault, &cli->arena);
    struct client_request request = {.method = "POST", .path = "/ops/held/bulk",
                                     .body = buf_str(&body), .timeout_ms = 120000};
    int code = EXIT_DONE;
    if (client_call(held->client, &request, &cli->arena, &answer, &fault) != OK)
        code = cli_fault(cli, &fault);
    buf_free(&body);
    if (code == EXIT_DONE && answer.status != 200 && answer.status != 202) {
        (void)client_problem(&answer, &fault);
        code = cli_fault(cli, &fault);
    }
    return code != EXIT_DONE || client_waits(cli, &answer) ? code : bulk_told(held, answer.body);
}

static int held_command_run(struct held *held, const char *verb, const char *id) {
    if (strcmp(verb, "list") == 0)
        return held_list(held);
    if (!id)
        return held_bulk(held, verb);
    if (strcmp(verb, "show") == 0)
        return held_show(held, id);
    return held_decide(held, str_c(id), verb);
}

static int held_run(struct cli *cli) {
    const char *verb = cli_arg(cli, 0), *id = cli_arg(cli, 1);
    if (!verb)
        return cli_fail(cli, EXIT_USAGE, "list, show, retry or discard?");
    bool list = strcmp(verb, "list") == 0, retry = strcmp(verb, "retry") == 0;
    bool discard = strcmp(verb, "discard") == 0;
    if (!list && !retry && !discard && strcmp(verb, "show") != 0)
        return cli_fail(cli, EXIT_USAGE, "there is no '%s': list, show, retry or discard", verb);
    bool all = (retry || discard) && filtered(cli);
    if (id && all)
        return cli_fail(cli, EXIT_USAGE, "name one delivery, or filter, not both");
    if (!cli_args_max(cli, list || all ? 1 : 2))
        return EXIT_USAGE;
    if (!list && !all && !id)
        return cli_fail(cli, EXIT_USAGE, "which delivery? `penstock held list` shows their ids");
    if (discard && !cli_value(cli, "reason") && !cli_flag(cli, "dry-run"))
        return cli_fail(cli, EXIT_USAGE, "giving up a delivery needs a --reason");
    struct held held = {.cli = cli, .client = cli_client(cli)};
    if (!held.client)
        return EXIT_FAILED;
    int code = held_command_run(&held, verb, id);
    client_destroy(held.client);
    return code;
}

const struct cli_command held_command = {
    .name = "held",
    .synopsis = "held list [FILTERS] [--hub URL] [--key K] [--json]\n"
                "held show ID\n"
                "held retry ID|FILTERS [--reason TEXT] [--max N] [--dry-run]\n"
                "held discard ID|FILTERS --reason TEXT [--max N] [--dry-run]",
    .summary = "deliveries that wait for a person: list, show, retry, discard",
    .help =
        "A delivery that a system refuses for good is held, with the system's words; what is about\n"
        "the same thing waits behind it, everything else goes on. Mend the cause, then retry; or\n"
        "give it up with a reason: then what waited behind it goes on. Both are told to the journal.\n"
        "\n"
        "`list` shows the first of each key, also those that are retried by themselves (state\n"
        "retrying). An ID is SUBSCRIPTION:SEQ. With --json, `list` prints one object a line.\n"
        "\n"
        "With filters (--subscription, --type, --subject, --lane, --text, or --all) instead of an ID, all\n"
        "that they find are decided, at most --max; a line each says what became of it.\n"
        "\n"
        "The key needs the scopes ops:read and, to decide, ops:retry.\n"
        "\n"
        "    penstock held list\n"
        "    penstock held show erp-orders:4711\n"
        "    penstock held retry --all\n"
        "    penstock held retry --subscription erp-orders --text 'unknown article' --dry-run\n"
        "    penstock held discard erp-orders:4711 --reason 'booked by hand as SO-000815'\n"
        "\n"
        "EXIT CODES\n"
        "    0  done; list: told, also where nothing is held\n"
        "    1  there is no such delivery, or the hub can not be reached\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_HUB,
        CLI_OPTION_KEY,
        {"all", 0, NULL, false, "Everything that is held"},
        {"subscription", 0, "NAME", false, "Only of this one"},
        {"type", 0, "TYPE", false, "Only of events of this type"},
        {"subject", 0, "ID", false, "Only of events about this"},
        {"lane", 0, "KEY", false, "Only of this key"},
        {"state", 0, "STATE", false, "list: held or retrying"},
        {"text", 0, "TEXT", false, "Only where the cause says this"},
        {"max", 0, "N", false, "Of many: at most so many (1000)"},
        {"dry-run", 0, NULL, false, "Only say which"},
        {"reason", 0, "TEXT", false, "Why: kept in the journal"},
        {0},
    },
    .run = held_run,
};
