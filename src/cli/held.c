/* held: deliveries of a running hub that wait for a person: list, show, edit, retry, discard. */
#include "cli/commands.h"

#include <string.h>

#include "cli/listing.h"

#define EDIT_FILE_MAX 1048576

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

static void row_print(const struct json *row) {
    printf("%-28.*s %-9.*s %-30.*s %3.*s attempts  %.*s\n", STR_FMT(listing_text(row, "id")),
           STR_FMT(listing_text(row, "state")), STR_FMT(listing_text(row, "subject")),
           STR_FMT(listing_text(row, "attempts")), STR_FMT(listing_text(row, "cause")));
}

/* As options and as the hub calls them: --key is the API key. */
static const struct {
    const char *option, *member;
} filters[] = {{"subscription", "subscription"}, {"type", "type"}, {"subject", "subject"},
               {"lane", "key"}, {"state", "state"}, {"text", "text"}, {"status", "status"},
               {"since", "since"}, {"older-than", "older_than"}};
#define FILTERS (sizeof filters / sizeof *filters)

/* Whether more than one is meant. */
static bool filtered(const struct cli *cli) {
    bool any = cli_flag(cli, "all");
    for (size_t i = 0; i < FILTERS; i++)
        any = any || cli_value(cli, filters[i].option);
    return any;
}

static int held_list(struct held *held) {
    struct buf path;
    buf_init(&path, 0);
    buf_lit(&path, "/ops/held?limit=1000");
    for (size_t i = 0; i < FILTERS; i++) {
        const char *value = cli_value(held->cli, filters[i].option);
        if (!value)
            continue;
        buf_printf(&path, "&%s=", filters[i].member);
        client_encode(&path, str_c(value));
    }
    int code = listing_print(held->cli, held->client, buf_cstr(&path), row_print, "no delivery is held");
    buf_free(&path);
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
                                          "next_attempt_at", "edit"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        printf("%-16s %.*s\n", members[i], STR_FMT(listing_text(answer.json, members[i])));
    const struct json *failures = json_member(answer.json, STR("failures"));
    const struct json *failure = failures ? json_first(failures) : NULL;
    for (uint32_t i = 0; failures && i < failures->count; i++, failure = json_next(failure))
        printf("%s %.*s  %-12.*s %.*s\n", i == 0 ? "failures        " : "                ",
               STR_FMT(listing_text(failure, "at")), STR_FMT(listing_text(failure, "outcome")),
               STR_FMT(listing_text(failure, "cause")));
    return EXIT_DONE;
}

/* --patch: JSON, a file, or standard input ("-"). False: told. */
static bool patch_take(struct cli *cli, struct buf *body) {
    const char *patch = cli_value(cli, "patch");
    struct str text = str_c(patch);
    if (!patch)
        return true;
    if (patch[0] != '{' && !cli_file_take(cli, patch, EDIT_FILE_MAX, &text))
        return false;
    buf_lit(body, ",\"patch\":");
    buf_str_add(body, text);
    return true;
}

/* The members that every decision has, behind what is there. False: told. */
static bool decision_put(struct held *held, struct buf *body) {
    struct cli *cli = held->cli;
    static const char *const texts[][2] = {{"reason", "reason"}, {"mapping-version", "mapping_version"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *value = cli_value(cli, texts[i][0]);
        if (!value)
            continue;
        buf_printf(body, ",\"%s\":", texts[i][1]);
        buf_json_str(body, str_c(value));
    }
    if (cli_flag(cli, "dry-run"))
        buf_lit(body, ",\"dry_run\":true");
    return patch_take(cli, body);
}

/* What would go out of an edited delivery. */
static void preview_print(const struct json *preview) {
    static const char *const members[] = {"outcome", "mapping", "mapping_version", "cause", "hidden"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (json_member(preview, str_c(members[i])))
            printf("%-16s %.*s\n", members[i], STR_FMT(listing_text(preview, members[i])));
    const struct json *document = json_member(preview, STR("document"));
    const struct json *trace = json_member(preview, STR("trace"));
    const struct json *row = trace ? json_first(trace) : NULL;
    if (document) {
        struct buf out;
        buf_init(&out, 0);
        json_pretty(&out, document, 0);
        printf("%s\n", buf_cstr(&out));
        buf_free(&out);
    }
    for (uint32_t i = 0; trace && i < trace->count; i++, row = json_next(row)) {
        const struct json *sources = json_member(row, STR("sources"));
        printf("%-32.*s", STR_FMT(listing_text(row, "target")));
        const struct json *source = sources ? json_first(sources) : NULL;
        for (uint32_t k = 0; sources && k < sources->count; k++, source = json_next(source))
            printf(" %.*s", STR_FMT(source->text));
        putchar('\n');
    }
}

static int held_decide(struct held *held, struct str id, const char *verb) {
    struct buf path, body;
    struct client_answer answer;
    struct str name = arena_printf(&held->cli->arena, "%.*s", STR_FMT(id));
    if (!name.ptr)
        return cli_fail(held->cli, EXIT_FAILED, "out of memory");
    buf_init(&path, 0);
    buf_init(&body, 0);
    if (!decision_put(held, &body)) {
        buf_free(&body);
        return EXIT_FAILED;
    }
    if (body.len > 0)
        body.data[0] = '{';
    buf_str_add(&body, body.len > 0 ? STR("}") : STR("{}"));
    int code = held_ask(held, "POST", held_path(held, name.ptr, verb, &path), buf_str(&body),
                        &answer);
    buf_free(&path);
    buf_free(&body);
    if (code == EXIT_DONE && client_waits(held->cli, &answer) && !held->cli->json)
        return EXIT_DONE;
    if (code == EXIT_DONE && held->cli->json)
        printf("%.*s\n", STR_FMT(answer.body));
    else if (code == EXIT_DONE)
        printf("%.*s %.*s\n", STR_FMT(id), STR_FMT(listing_text(answer.json, "state")));
    const struct json *preview = code == EXIT_DONE ? json_member(answer.json, STR("preview")) : NULL;
    if (preview && !held->cli->json)
        preview_print(preview);
    return code;
}

/* A line for each: what became of it. */
static int bulk_told(struct held *held, struct str text) {
    struct json_parser *parser = json_parser_create();
    uint32_t done = 0, refused = 0;
    struct str found = STR_NONE;
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
        const struct json *all = json_member(json, STR("found")), *preview = json_member(json, STR("preview"));
        if (all)
            found = all->text;
        if (held->cli->json)
            printf("%.*s\n", STR_FMT(line));
        else
            printf("%.*s  %.*s\n", STR_FMT(listing_text(json, "id")),
                   STR_FMT(problem  ? listing_text(problem, "detail")
                           : answer ? listing_text(answer, "state")
                                    : listing_text(json, "cause")));
        if (preview && !held->cli->json)
            preview_print(preview);
    }
    json_parser_destroy(parser);
    if (!held->cli->json)
        fprintf(stderr, "%u %s%s%.*s, %u refused\n", done,
                cli_flag(held->cli, "dry-run") ? "would be decided" : "done", found.len ? " of " : "",
                STR_FMT(found), refused);
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
    if (!decision_put(held, &body)) {
        buf_free(&body);
        return EXIT_FAILED;
    }
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

/* What the options must say for the verb; EXIT_DONE, or told. */
static int options_check(struct cli *cli, bool edit, bool discard) {
    bool changes = cli_value(cli, "patch") || cli_value(cli, "mapping-version");
    if (edit && !changes)
        return cli_fail(cli, EXIT_USAGE, "what is to be other? --patch '{\"member\":\"value\"}' or a file");
    if (!edit && changes)
        return cli_fail(cli, EXIT_USAGE, "--patch and --mapping-version are for edit");
    if ((discard || edit) && !cli_value(cli, "reason") && !cli_flag(cli, "dry-run"))
        return cli_fail(cli, EXIT_USAGE, "%s a delivery needs a --reason", edit ? "editing" : "giving up");
    return EXIT_DONE;
}

static int held_run(struct cli *cli) {
    const char *verb = cli_arg(cli, 0), *id = cli_arg(cli, 1);
    if (!verb)
        return cli_fail(cli, EXIT_USAGE, "list, show, edit, retry or discard?");
    bool list = strcmp(verb, "list") == 0, retry = strcmp(verb, "retry") == 0;
    bool discard = strcmp(verb, "discard") == 0, edit = strcmp(verb, "edit") == 0;
    if (!list && !retry && !discard && !edit && strcmp(verb, "show") != 0)
        return cli_fail(cli, EXIT_USAGE, "there is no '%s': list, show, edit, retry or discard", verb);
    bool all = (retry || discard || edit) && filtered(cli);
    if (id && all)
        return cli_fail(cli, EXIT_USAGE, "name one delivery, or filter, not both");
    if (!cli_args_max(cli, list || all ? 1 : 2))
        return EXIT_USAGE;
    if (!list && !all && !id)
        return cli_fail(cli, EXIT_USAGE, "which delivery? `penstock held list` shows their ids");
    if (options_check(cli, edit, discard) != EXIT_DONE)
        return EXIT_USAGE;
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
                "held edit ID|FILTERS --patch JSON|FILE --reason TEXT [--mapping-version V] [--dry-run]\n"
                "held retry ID|FILTERS [--reason TEXT] [--max N] [--dry-run]\n"
                "held discard ID|FILTERS --reason TEXT [--max N] [--dry-run]",
    .summary = "deliveries that wait for a person: list, show, edit, retry, discard",
    .help =
        "A delivery that a system refuses for good is held, with the system's words; what is about\n"
        "the same thing waits behind it, everything else goes on. Mend the cause, then retry; or\n"
        "give it up with a reason: then what waited behind it goes on. Both are told to the journal.\n"
        "\n"
        "`list` shows the first of each key, also those that are retried by themselves (state\n"
        "retrying). An ID is SUBSCRIPTION:SEQ. With --json, `list` prints one object a line.\n"
        "\n"
        "`edit` changes what goes out of this one delivery: --patch is a JSON Merge Patch (RFC 7396) of the\n"
        "event's data, which the mapping then sees; null takes a member away. The event stays what it is, who\n"
        "and why is told to the journal, and the delivery is sent again. With --dry-run, what would go out is\n"
        "shown, and where each member of it comes from. A second edit takes the place of the first.\n"
        "--mapping-version: it goes out by this version of the mapping or not at all.\n"
        "\n"
        "With filters (--subscription, --type, --subject, --lane, --text, --status, --since, --older-than, or\n"
        "--all) instead of an ID, all that they find are decided, at most --max; a line each says what became\n"
        "of it. With --dry-run: which, and how many the filter finds in all.\n"
        "\n"
        "The key needs the scopes ops:read and, to decide, ops:retry.\n"
        "\n"
        "    penstock held list\n"
        "    penstock held show erp-orders:4711\n"
        "    penstock held retry --all\n"
        "    penstock held retry --subscription erp-orders --text 'unknown article' --dry-run\n"
        "    penstock held edit erp-orders:4711 --patch '{\"order\":{\"currency\":\"EUR\"}}' --dry-run\n"
        "    penstock held retry --status 5xx --older-than 15m\n"
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
        {"status", 0, "CODE", false, "Only with this last answer: 422, 4xx, or 0: none"},
        {"since", 0, "TIME", false, "Only those listed then or later (RFC 3339)"},
        {"older-than", 0, "AGE", false, "Only those listed at least so long ago: 90s, 15m, 2h, 7d"},
        {"patch", 0, "JSON|FILE", false, "edit: what is to be other in the event's data; - is standard input"},
        {"mapping-version", 0, "V", false, "edit: only this version of the mapping may make the document"},
        {"max", 0, "N", false, "Of many: at most so many (1000)"},
        {"dry-run", 0, NULL, false, "Only say which"},
        {"reason", 0, "TEXT", false, "Why: kept in the journal"},
        {0},
    },
    .run = held_run,
};
