/* audit: who did what, when and from where: list and export, of a running hub or of a cell's
 * files; verify and anchor are in audit_verify.c. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli/audit_priv.h"
#include "cli/cell_audit.h"
#include "cli/listing.h"
#include "cli/commands.h"
#include "cli/journal_priv.h"
#include "ops/audit_list.h"
#include "store/journal_anchor.h"

#define PAGE 1000

static const char *const filter_names[] = {"since", "until", "kind",  "actor",
                                           "from",  "route", "about", "correlation"};
#define FILTERS (sizeof filter_names / sizeof *filter_names)

struct listing {
    struct cli *cli;
    bool lines; /* of JSON; else for people */
    uint64_t count;
};

/* --- lines ----------------------------------------------------------------------------------- */

static struct str text_of(const struct json *object, const char *name) {
    const struct json *value = json_member(object, str_c(name));
    return value && value->kind != JSON_NULL ? value->text : STR_NONE;
}

static void word_print(const char *before, struct str text) {
    if (text.len)
        printf("%s%.*s", before, STR_FMT(text));
}

static void line_print(const struct json *line) {
    struct str time = text_of(line, "time");
    const struct json *events = json_member(line, STR("events"));
    printf("%-27.*s %-7.*s %-24.*s %-15.*s %.*s", STR_FMT(time), STR_FMT(text_of(line, "kind")),
           STR_FMT(text_of(line, "actor")), STR_FMT(text_of(line, "from")),
           STR_FMT(text_of(line, "action")));
    word_print(" of ", text_of(line, "about"));
    word_print(": ", text_of(line, "reason"));
    word_print(", needs ", text_of(line, "needs"));
    word_print(", claims to be ", text_of(line, "claims"));
    word_print(", ", text_of(line, "detail"));
    word_print(", times: ", text_of(line, "count"));
    const struct json *event = events ? json_first(events) : NULL;
    for (uint32_t i = 0; events && i < events->count; i++, event = json_next(event)) {
        printf("%s#%.*s %.*s of %.*s", i > 0 ? ", " : ": ", STR_FMT(text_of(event, "seq")),
               STR_FMT(text_of(event, "type")), STR_FMT(text_of(event, "subject")));
        word_print(" (before: #", text_of(event, "before"));
        if (text_of(event, "before").len)
            putchar(')');
    }
    putchar('\n');
}

static int line_tell(void *ctx, const struct json *line) {
    struct listing *listing = ctx;
    listing->count++;
    if (listing->lines)
        return listing_line(listing->cli, line);
    line_print(line);
    return EXIT_DONE;
}

/* --- of a running hub ------------------------------------------------------------------------ */

static int hub_list(struct listing *listing, struct client *client) {
    struct buf path;
    buf_init(&path, 0);
    buf_printf(&path, "/ops/audit?limit=%d", PAGE);
    for (size_t i = 0; i < FILTERS; i++) {
        if (!cli_value(listing->cli, filter_names[i]))
            continue;
        buf_printf(&path, "&%s=", filter_names[i]);
        client_encode(&path, str_c(cli_value(listing->cli, filter_names[i])));
    }
    int code = listing_each(listing->cli, client, buf_cstr(&path), line_tell, listing);
    buf_free(&path);
    return code;
}

static int hub_run(struct listing *listing, bool anchor) {
    struct client *client = cli_client(listing->cli);
    struct client_answer answer;
    struct fault fault;
    if (!client)
        return EXIT_FAILED;
    fault_init(&fault, &listing->cli->arena);
    int code = hub_list(listing, client);
    if (code == EXIT_DONE && anchor) {
        code = client_get(client, "/ops/audit/anchor", &listing->cli->arena, &answer, &fault) == OK
                   ? cli_print(listing->cli, answer.body)
                   : cli_fault(listing->cli, &fault);
        if (code == EXIT_DONE)
            putchar('\n');
    }
    client_destroy(client);
    return code;
}

/* --- of a cell's files ----------------------------------------------------------------------- */

static bool filter_read(struct cli *cli, struct audit_filter *filter) {
    const char *since = cli_value(cli, "since"), *until = cli_value(cli, "until");
    *filter = (struct audit_filter){.kind = str_c(cli_value(cli, "kind")),
                                    .actor = str_c(cli_value(cli, "actor")),
                                    .from = str_c(cli_value(cli, "from")),
                                    .route = str_c(cli_value(cli, "route")),
                                    .about = str_c(cli_value(cli, "about")),
                                    .correlation = str_c(cli_value(cli, "correlation"))};
    if ((since && !audit_time_parse(str_c(since), &filter->since_us)) ||
        (until && !audit_time_parse(str_c(until), &filter->until_us))) {
        cli_fail(cli, EXIT_USAGE, "--since and --until take an instant or a date (2026-01-31, UTC)");
        return false;
    }
    return true;
}

static int lines_tell(struct listing *listing, struct str text, struct json_parser *parser) {
    struct arena arena;
    struct fault fault = {0};
    int code = EXIT_DONE;
    arena_init(&arena, 0);
    while (code == EXIT_DONE && text.ptr && text.len > 0) {
        const struct json *json;
        arena_reset(&arena);
        struct str line = arena_str(&arena, str_cut(&text, '\n'));
        if (json_parse(parser, &arena, line, true, &json, &fault) != OK)
            code = cli_fault(listing->cli, &fault);
        else
            code = line_tell(listing, json);
    }
    arena_free(&arena);
    return code;
}

static int files_list(struct listing *listing, struct audit_list *list) {
    struct fault fault;
    struct arena arena;
    struct buf out;
    int code = EXIT_DONE;
    fault_init(&fault, &listing->cli->arena);
    arena_init(&arena, 0);
    buf_init(&out, 0);
    do {
        buf_clear(&out);
        if (audit_list_write(list, &arena, &out, &fault) != OK)
            code = cli_fault(listing->cli, &fault);
        else
            code = lines_tell(listing, buf_str(&out), list->parser);
        list->from = list->next;
    } while (code == EXIT_DONE && list->next);
    buf_free(&out);
    arena_free(&arena);
    return code;
}

static int files_run(struct listing *listing, const char *data, bool anchor) {
    struct journal_sqlite_options options = {.read_only = true};
    struct audit_list list = {.limit = PAGE, .sep = '\n'};
    struct fault fault;
    fault_init(&fault, &listing->cli->arena);
    if (!filter_read(listing->cli, &list.filter))
        return EXIT_USAGE;
    int code = cell_audit_leave(listing->cli, data, anchor ? "audit.export" : "audit.list", NULL);
    if (code != EXIT_DONE)
        return code;
    if (journal_sqlite_open(data, &options, &list.journal, &fault) != OK)
        return cli_fault(listing->cli, &fault);
    list.parser = json_parser_create();
    code = list.parser ? files_list(listing, &list)
                       : cli_fail(listing->cli, EXIT_FAILED, "out of memory");
    json_parser_destroy(list.parser);
    journal_close(list.journal);
    return code == EXIT_DONE && anchor ? audit_anchor_run(listing->cli, data) : code;
}

/* --- the command ----------------------------------------------------------------------------- */

static int audit_run(struct cli *cli) {
    const char *word = cli_arg(cli, 0);
    char data[PATH_MAX];
    bool files = cli_value(cli, "config") || cli_value(cli, "data");
    struct str verb = str_c(word);
    bool export = str_is(verb, "export"), list = str_is(verb, "list");
    if (!export && !list && !str_is(verb, "verify") && !str_is(verb, "anchor"))
        return cli_fail(cli, EXIT_USAGE, "anchor, export, list or verify?");
    if (!cli_args_max(cli, 1))
        return EXIT_USAGE;
    if (!files && !export && !list)
        return cli_fail(cli, EXIT_USAGE, "which cell? -C DIR");
    if (files && !journal_data_folder(cli, data))
        return EXIT_USAGE;
    if (str_is(verb, "verify"))
        return audit_verify_run(cli, data);
    if (str_is(verb, "anchor"))
        return audit_anchor_run(cli, data);
    struct listing listing = {.cli = cli, .lines = export || cli->json};
    int code = files ? files_run(&listing, data, export) : hub_run(&listing, export);
    if (code == EXIT_DONE && listing.count == 0 && list)
        fputs("nothing of that is in the audit\n", stderr);
    return code;
}

const struct cli_command audit_command = {
    .name = "audit",
    .synopsis = "audit list   [-C DIR | --hub URL --key K] [filters] [--json]\n"
                "audit export [-C DIR | --hub URL --key K] [filters] > FILE\n"
                "audit anchor -C DIR [--data DIR] >> ANCHORS\n"
                "audit verify -C DIR [--data DIR] [--anchor ANCHORS] [--json]",
    .summary = "who did what, when, from where; and whether that is still what it was",
    .help =
        "list prints the audit in the journal's order: every change (with its events, and the\n"
        "event before about the same thing), every call that was denied or refused, reads of what\n"
        "is personal, and what was done to the hub itself. Asks a running hub (the key needs the\n"
        "scope audit:read), or with -C reads a cell's files, without the events before. Reading is\n"
        "told to the audit as well.\n"
        "\n"
        "export writes the same as NDJSON; its last line is an anchor.\n"
        "\n"
        "anchor prints one line: the SHA-256 of the newest sealed segment, which covers all\n"
        "before it, and of the records behind that. Keep anchors where nobody who can write the\n"
        "cell's files can change them.\n"
        "\n"
        "verify checks the journal's chain as `penstock journal verify --full` does; with --anchor\n"
        "it also proves that nothing up to the newest anchor was changed, removed or inserted.\n"
        "Exit 1 where something was. docs/audit.md says what each of them proves.\n"
        "\n"
        "    penstock audit list --kind denied --since 2026-11-23\n"
        "    penstock audit list --about ord_01k9xk3v9m2m8p3z6gq4h7r1ab --json\n"
        "    penstock audit anchor -C shop | ssh vault 'cat >> shop.anchors'\n"
        "    penstock audit verify -C shop --anchor shop.anchors\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_CONFIG,
        CLI_OPTION_DATA,
        CLI_OPTION_HUB,
        CLI_OPTION_KEY,
        {"since", 0, "TIME", false, "From this instant, or date (UTC), on"},
        {"until", 0, "TIME", false, "Before it"},
        {"kind", 0, "KIND", false, "change, denied, refused, read or admin"},
        {"actor", 0, "WHO", false, "pk_…, connector:NAME, …"},
        {"from", 0, "ADDRESS", false, "The client's address"},
        {"route", 0, "ACTION", false, "\"POST /v1/orders\", order.cancel; * at the end for all such"},
        {"about", 0, "ID", false, "What it was about: ord_…, SKU@LOCATION"},
        {"correlation", 0, "ID", false, "Of this case"},
        {"anchor", 0, "FILE", false, "verify: anchors that were kept, or an export"},
        {0},
    },
    .run = audit_run,
};
