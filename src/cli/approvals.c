/* approvals: calls of a running hub that need a second person: list, show, approve, reject. */
#include <stdio.h>

#include "cli/listing.h"
#include "cli/commands.h"

static int ask(struct cli *cli, struct client *client, const char *method, const char *path,
               struct str body, struct client_answer *answer) {
    struct fault fault;
    fault_init(&fault, &cli->arena);
    struct client_request request = {.method = method, .path = path, .body = body,
                                     .timeout_ms = 120000};
    if (client_call(client, &request, &cli->arena, answer, &fault) != OK)
        return cli_fault(cli, &fault);
    if (answer->status != 200) {
        (void)client_problem(answer, &fault);
        return cli_fault(cli, &fault);
    }
    return answer->json ? EXIT_DONE : cli_fail(cli, EXIT_FAILED, "the hub's answer is not JSON");
}

static void row_print(const struct json *row) {
    printf("%-31.*s %-9.*s %.*s %.*s of %.*s, asked by %.*s until %.*s\n",
           STR_FMT(listing_text(row, "approval_id")), STR_FMT(listing_text(row, "state")),
           STR_FMT(listing_text(row, "method")), STR_FMT(listing_text(row, "path")),
           STR_FMT(listing_text(row, "about")), STR_FMT(listing_text(row, "requested_by")),
           STR_FMT(listing_text(row, "expires_at")));
    if (!str_is(listing_text(row, "hint"), "-"))
        printf("    %.*s\n", STR_FMT(listing_text(row, "hint")));
}

struct approvals {
    struct cli *cli;
    uint32_t count;
};
static int row_tell(void *ctx, const struct json *row) {
    struct approvals *a = ctx;
    bool open = str_is(listing_text(row, "state"), "pending") || str_is(listing_text(row, "state"), "approved");
    if (!open && !cli_flag(a->cli, "all"))
        return EXIT_DONE;
    a->count++;
    if (a->cli->json)
        return listing_line(a->cli, row);
    row_print(row);
    return EXIT_DONE;
}

static int list_run(struct cli *cli, struct client *client) {
    struct approvals a = {.cli = cli};
    int code = listing_each(cli, client, "/ops/approvals?limit=1000", row_tell, &a);
    if (code == EXIT_DONE && a.count == 0)
        fputs("nothing waits for a second person\n", stderr);
    return code;
}

static int one_run(struct cli *cli, struct client *client, const char *verb, const char *id) {
    struct client_answer answer;
    struct buf path, body;
    bool show = str_is(str_c(verb), "show");
    buf_init(&path, 0);
    buf_init(&body, 0);
    buf_lit(&path, "/ops/approvals/");
    client_encode(&path, str_c(id));
    if (!show)
        buf_printf(&path, "/%s", verb);
    if (cli_value(cli, "reason")) {
        buf_lit(&body, "{\"reason\":");
        buf_json_str(&body, str_c(cli_value(cli, "reason")));
        buf_char(&body, '}');
    }
    int code = ask(cli, client, show ? "GET" : "POST", buf_cstr(&path),
                   body.len ? buf_str(&body) : STR_NONE, &answer);
    bool failed = code == EXIT_DONE && !show && !str_is(listing_text(answer.json, "state"), "executed") &&
                  !str_is(listing_text(answer.json, "state"), "rejected");
    if (code == EXIT_DONE && (show || cli->json)) {
        code = cli_print(cli, answer.body);
        putchar('\n');
    } else if (code == EXIT_DONE) {
        printf("%s is %.*s", id, STR_FMT(listing_text(answer.json, "state")));
        if (failed)
            printf(": %.*s", STR_FMT(listing_text(answer.json, "reason")));
        putchar('\n');
    }
    buf_free(&body);
    buf_free(&path);
    return code == EXIT_DONE && failed ? EXIT_FAILED : code;
}

static int approvals_run(struct cli *cli) {
    const char *verb = cli_arg(cli, 0), *id = cli_arg(cli, 1);
    bool list = str_is(str_c(verb), "list");
    if (!list && !str_is(str_c(verb), "show") && !str_is(str_c(verb), "approve") &&
        !str_is(str_c(verb), "reject"))
        return cli_fail(cli, EXIT_USAGE, "list, show, approve or reject?");
    if (!cli_args_max(cli, list ? 1 : 2))
        return EXIT_USAGE;
    if (!list && !id)
        return cli_fail(cli, EXIT_USAGE, "which? apr_…");
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_FAILED;
    int code = list ? list_run(cli, client) : one_run(cli, client, verb, id);
    client_destroy(client);
    return code;
}

const struct cli_command approvals_command = {
    .name = "approvals",
    .synopsis = "approvals list [--all] [--hub URL] [--key K] [--json]\n"
                "approvals show ID [--hub URL] [--key K]\n"
                "approvals approve ID [--reason TEXT] [--hub URL] [--key K] [--json]\n"
                "approvals reject ID [--reason TEXT] [--hub URL] [--key K] [--json]",
    .summary = "calls that need a second person",
    .help =
        "penstock.yaml can make dangerous calls need a second person (two_persons). Such a call is\n"
        "answered 202 with an id, and waits (approval_seconds) until another person decides it.\n"
        "\n"
        "list     those that wait, and approved ones that are not carried out (the hub died in between,\n"
        "         or it was not possible then): approve these again; --all: those that are over, too\n"
        "show     one of them, with the call\n"
        "approve  carries it out, now, in both names. Not by the person who asked: an API key is\n"
        "         the person whose name it has, a token the person it is made for.\n"
        "reject   it is not to be done; who asked may take it back so\n"
        "\n"
        "The key needs the scope ops:approve. docs/operators.md says which calls can need it.\n"
        "\n"
        "    penstock approvals list\n"
        "    penstock approvals approve apr_01k9xk3v9m2m8p3z6gq4h7r1ab --reason 'letter of 3 May'\n"
        "\n"
        "EXIT CODES\n"
        "    0  done\n"
        "    1  refused, or carried out in vain, or the hub can not be reached\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_HUB,
        CLI_OPTION_KEY,
        {"all", 0, NULL, false, "list: those that are over, too"},
        {"reason", 0, "TEXT", false, "Why; it is kept in the audit"},
        {0},
    },
    .run = approvals_run,
};
