/* trace: asks a running hub for the story behind an id and prints it for a person. */
#include "cli/commands.h"

#include "cli/client.h"

static int trace_ask(const struct cli *cli, struct client *client, const char *id,
                     struct arena *arena, struct client_answer *answer) {
    struct buf path;
    struct fault fault;
    fault_init(&fault, arena);
    buf_init(&path, 0);
    buf_lit(&path, "/ops/trace/");
    client_encode(&path, str_c(id));
    struct client_request request = {.path = buf_cstr(&path)};
    enum err err = client_call(client, &request, arena, answer, &fault);
    buf_free(&path);
    if (err != OK)
        return cli_fault(cli, &fault);
    if (answer->status == 404)
        return cli_fail(cli, EXIT_FAILED, "nothing is known under '%s'", id);
    if (answer->status != 200) {
        (void)client_problem(answer, &fault);
        return cli_fault(cli, &fault);
    }
    return answer->json ? EXIT_DONE
                        : cli_fail(cli, EXIT_FAILED, "the hub's answer is not JSON");
}

/* "2026-11-23T08:15:00.123456Z" → "08:15:00.123". */
static struct str time_of_day(struct str time, char out[13]) {
    memcpy(out, "            ", 12);
    if (time.len >= 19)
        memcpy(out, time.ptr + 11, 8);
    if (time.len > 20 && time.ptr[19] == '.') {
        struct str fraction = str_of(time.ptr + 19, time.len - 20);
        memcpy(out + 8, ".000", 4);
        memcpy(out + 8, fraction.ptr, fraction.len < 4 ? fraction.len : 4);
    } else {
        memcpy(out + 8, ".000", 4);
    }
    return str_of(out, 12);
}

static void texts_print(const struct json *list) {
    const struct json *item = list ? json_first(list) : NULL;
    for (uint32_t i = 0; list && i < list->count; i++, item = json_next(item))
        printf("%s%.*s", i > 0 ? ", " : "", STR_FMT(item->text));
}

static void waiting_print(const struct json *waiting) {
    const struct json *item = waiting ? json_first(waiting) : NULL;
    for (uint32_t i = 0; waiting && i < waiting->count; i++, item = json_next(item)) {
        const struct json *seq = json_member(item, STR("event_seq"));
        struct str cause = json_member_str(item, STR("cause"));
        printf("  still to come   #%.*s to %.*s: %.*s%s%.*s\n", STR_FMT(seq ? seq->text : STR_NONE),
               STR_FMT(json_member_str(item, STR("connector"))),
               STR_FMT(json_member_str(item, STR("state"))), cause.len ? ", " : "", STR_FMT(cause));
    }
}

static void match_print(const struct json *match) {
    struct str day = STR_NONE;
    const struct json *events = json_member(match, STR("events"));
    const struct json *event = events ? json_first(events) : NULL;
    char text[13];
    texts_print(json_member(match, STR("subjects")));
    printf("\n");
    for (uint32_t i = 0; events && i < events->count; i++, event = json_next(event)) {
        struct str time = json_member_str(event, STR("time"));
        struct str actor = json_member_str(event, STR("actor"));
        const struct json *seq = json_member(event, STR("seq"));
        struct str date = str_of(time.ptr, time.len >= 10 ? 10 : time.len);
        if (!str_eq(date, day))
            printf("  %.*s (UTC)\n", STR_FMT(date));
        day = date;
        printf("  %.*s  #%-7.*s %.*s", STR_FMT(time_of_day(time, text)),
               STR_FMT(seq ? seq->text : STR_NONE),
               STR_FMT(json_member_str(event, STR("what"))));
        printf("%s%.*s%s\n", actor.len ? "  (" : "", STR_FMT(actor), actor.len ? ")" : "");
    }
    waiting_print(json_member(match, STR("waiting")));
    const struct json *cases = json_member(match, STR("correlation_ids"));
    if (cases && cases->count > 0) {
        printf("  correlation id: ");
        texts_print(cases);
        printf("\n");
    }
}

static void story_print(const struct json *trace) {
    const struct json *matches = json_member(trace, STR("matches"));
    const struct json *more = json_member(trace, STR("truncated"));
    const struct json *match = matches ? json_first(matches) : NULL;
    for (uint32_t i = 0; matches && i < matches->count; i++, match = json_next(match)) {
        if (i > 0)
            printf("\n");
        if (matches->count > 1)
            printf("match %u of %u: ", (unsigned)(i + 1), (unsigned)matches->count);
        match_print(match);
    }
    if (more && more->count)
        fputs("There is more than is shown: ask for one of the ids above.\n", stderr);
}

static int trace_run(struct cli *cli) {
    const char *id = cli_arg(cli, 0);
    struct client_answer answer;
    if (!id || id[0] == '\0')
        return cli_fail(cli, EXIT_USAGE, "which id?");
    if (!cli_args_max(cli, 1))
        return EXIT_USAGE;
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_FAILED;
    int code = trace_ask(cli, client, id, &cli->arena, &answer);
    if (code == EXIT_DONE && cli->json) {
        code = cli_print(cli, answer.body);
        putchar('\n');
    } else if (code == EXIT_DONE) {
        story_print(answer.json);
    }
    client_destroy(client);
    return code;
}

const struct cli_command trace_command = {
    .name = "trace",
    .synopsis = "trace ID [--hub URL] [--key K] [--json]",
    .summary = "tell the whole story behind any id a person holds",
    .help =
        "Asks a running hub what is known under ID: a hub id (ord_…), a channel's order number, an\n"
        "idempotency key, a correlation id, the ERP's number, a payload's id. Prints every match,\n"
        "its events in order: when, what, and who. A write that was acknowledged is never missed.\n"
        "\n"
        "The key needs the scope ops:read.\n"
        "\n"
        "    penstock trace 10045\n"
        "    penstock trace ord_01jd3… --json\n"
        "\n"
        "EXIT CODES\n"
        "    0  told\n"
        "    1  nothing is known under that id, or the hub can not be reached\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_HUB,
        CLI_OPTION_KEY,
        {0},
    },
    .run = trace_run,
};
