/* erase: makes what is personal of someone unreadable, in a running hub. */
#include "cli/client.h"
#include "cli/commands.h"

static int erase_ask(struct cli *cli, struct client *client, const char *id) {
    struct client_answer answer;
    struct fault fault;
    struct buf path;
    int code = EXIT_DONE;
    fault_init(&fault, &cli->arena);
    buf_init(&path, 0);
    buf_lit(&path, "/v1/customers/");
    client_encode(&path, str_c(id));
    struct client_request request = {.method = "DELETE", .path = buf_cstr(&path),
                                     .timeout_ms = 120000};
    if (client_call(client, &request, &cli->arena, &answer, &fault) != OK ||
        (answer.status != 200 && answer.status != 202 && client_problem(&answer, &fault) != OK))
        code = cli_fault(cli, &fault);
    else if (client_waits(cli, &answer))
        code = cli->json ? cli_print(cli, answer.body) : EXIT_DONE;
    else if (!answer.json)
        code = cli_fail(cli, EXIT_FAILED, "the hub's answer is not JSON");
    else if (cli->json)
        printf("%.*s\n", STR_FMT(answer.body));
    else {
        const struct json *documents = json_member(answer.json, STR("documents"));
        printf("%s is erased since %.*s; documents made unreadable now: %.*s\n", id,
               STR_FMT(json_member_str(answer.json, STR("erased_at"))),
               STR_FMT(documents ? documents->text : STR("?")));
    }
    buf_free(&path);
    return code;
}

static int erase_run(struct cli *cli) {
    const char *id = cli_arg(cli, 0);
    if (!id)
        return cli_fail(cli, EXIT_USAGE, "whom? a customer's number, or the id of a guest's order");
    if (!cli_args_max(cli, 1))
        return EXIT_USAGE;
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_FAILED;
    int code = erase_ask(cli, client, id);
    client_destroy(client);
    return code;
}

const struct cli_command erase_command = {
    .name = "erase",
    .synopsis = "erase ID [--hub URL] [--key K] [--json]",
    .summary = "erase a person: what is personal can not be read any more",
    .help =
        "Erases a person from everything the hub keeps: names, addresses and whatever else is\n"
        "personal of this person's orders, and the messages they came in, can not be read any more,\n"
        "by anybody, in no file. Orders, amounts and what was posted stay. There is no way back.\n"
        "\n"
        "ID is a customer's number (customer.customer_id of the orders); for an order without one,\n"
        "the order's id; for a message that never became an order, its payload id. What comes later\n"
        "under the same number is kept as ever. To erase again does no harm.\n"
        "\n"
        "The key needs the scope customers:erase. docs/privacy.md says what is personal, where it\n"
        "is, and what stays.\n"
        "\n"
        "    penstock erase C-1001\n"
        "    penstock erase ord_01k9xk3v9m2m8p3z6gq4h7r1ab --json\n"
        "\n"
        "EXIT CODES\n"
        "    0  erased, now or before\n"
        "    1  nobody is known by this id, or the hub can not be reached\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_HUB,
        CLI_OPTION_KEY,
        {0},
    },
    .run = erase_run,
};
