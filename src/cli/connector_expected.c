/* connector_expected: `penstock connector expected`: what should come to a running hub, and go from it, and
 * whether it does. */
#include <stdio.h>

#include "cli/client.h"
#include "cli/connector_priv.h"

static struct str text_of(const struct json *object, const char *name) {
    const struct json *value = json_member(object, str_c(name));
    return value && value->kind != JSON_NULL ? value->text : STR("-");
}

static void row_print(const struct json *row) {
    printf("%-16.*s %-4.*s %-24.*s %-8.*s", STR_FMT(text_of(row, "connector")), STR_FMT(text_of(row, "direction")),
           STR_FMT(text_of(row, "name")), STR_FMT(text_of(row, "state")));
    printf(" %.*s of %.*s within %.*s s; last %.*s", STR_FMT(text_of(row, "came")), STR_FMT(text_of(row, "at_least")),
           STR_FMT(text_of(row, "every_s")), STR_FMT(text_of(row, "last_at")));
    if (str_is(text_of(row, "state"), "absent"))
        printf("; absent since %.*s", STR_FMT(text_of(row, "absent_since")));
    else
        printf("; the rest by %.*s", STR_FMT(text_of(row, "deadline_at")));
    if (!str_is(text_of(row, "backstop"), "-"))
        printf("; %.*s repaired %.*s", STR_FMT(text_of(row, "backstop")), STR_FMT(text_of(row, "repaired")));
    putchar('\n');
}

int connector_expected(struct cli *cli) {
    struct client_answer answer;
    struct fault fault;
    fault_init(&fault, &cli->arena);
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_FAILED;
    enum err err = client_get(client, "/ops/expected", &cli->arena, &answer, &fault);
    client_destroy(client);
    if (err != OK)
        return cli_fault(cli, &fault);
    if (cli->json) {
        int code = cli_print(cli, answer.body);
        putchar('\n');
        return code;
    }
    const struct json *items = json_member(answer.json, STR("items"));
    const struct json *row = items ? json_first(items) : NULL;
    for (uint32_t i = 0; items && i < items->count; i++, row = json_next(row))
        row_print(row);
    if (items && items->count == 0)
        fputs("nothing is expected: no topic and no subscription says `expect`\n", stderr);
    return EXIT_DONE;
}
