/* codes: cross-references of a running hub: list, set, import from CSV, remove. */
#include "cli/commands.h"

#include <stdlib.h>
#include <string.h>

#include "cli/listing.h"
#include "base/files.h"

#define IMPORT_BYTES_MAX ((size_t)256 << 20)
#define IMPORT_LINES 2000 /* lines of one call */

struct codes {
    struct cli *cli;
    struct client *client;
    uint32_t line; /* import: of the file, from 1 */
    uint32_t done, refused;
};

static int codes_call(struct codes *codes, const struct client_request *request,
                      struct client_answer *answer) {
    struct fault fault;
    fault_init(&fault, &codes->cli->arena);
    if (client_call(codes->client, request, &codes->cli->arena, answer, &fault) != OK)
        return cli_fault(codes->cli, &fault);
    if (answer->status < 200 || answer->status > 299) {
        (void)client_problem(answer, &fault);
        return cli_fault(codes->cli, &fault);
    }
    return EXIT_DONE;
}

static void row_print(const struct json *row) {
    struct str direction = listing_text(row, "direction");
    printf("%-16.*s %-16.*s %-32.*s %-3s %.*s\n", STR_FMT(listing_text(row, "system")),
           STR_FMT(listing_text(row, "kind")), STR_FMT(listing_text(row, "value")),
           str_is(direction, "both") ? "<->" : str_is(direction, "in") ? "-->" : "<--",
           STR_FMT(listing_text(row, "code")));
}

/* --- list ------------------------------------------------------------------------------------- */

static int codes_list(struct codes *codes) {
    static const char *const filters[] = {"system", "kind", "value", "code"};
    struct buf path;
    buf_init(&path, 0);
    buf_lit(&path, "/v1/cross-references?limit=1000");
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        const char *value = cli_arg(codes->cli, (uint32_t)i + 1);
        value = i < 2 && value ? value : cli_value(codes->cli, filters[i]);
        if (!value)
            continue;
        buf_printf(&path, "&%s=", filters[i]);
        client_encode(&path, str_c(value));
    }
    int code = listing_print(codes->cli, codes->client, buf_cstr(&path), row_print,
                             "there are no such cross-references");
    buf_free(&path);
    return code;
}

/* --- set, remove ------------------------------------------------------------------------------ */

static void body_write(struct buf *out, const struct str part[5]) {
    static const char *const names[] = {"system", "kind", "value", "code", "direction"};
    buf_char(out, '{');
    for (int i = 0; i < 5; i++) {
        if (i == 4 && !part[i].len)
            continue;
        buf_printf(out, "%s\"%s\":", i ? "," : "", names[i]);
        buf_json_str(out, part[i]);
    }
    buf_char(out, '}');
}

static int told(struct codes *codes, const struct client_answer *answer) {
    if (codes->cli->json)
        printf("%.*s\n", STR_FMT(answer->body));
    else if (answer->json)
        row_print(answer->json);
    return EXIT_DONE;
}

static int codes_set(struct codes *codes) {
    struct cli *cli = codes->cli;
    const struct str part[5] = {str_c(cli_arg(cli, 1)), str_c(cli_arg(cli, 2)), str_c(cli_arg(cli, 3)),
                                str_c(cli_arg(cli, 4)), str_c(cli_value(cli, "direction"))};
    struct buf body;
    struct client_answer answer;
    buf_init(&body, 0);
    body_write(&body, part);
    struct client_request request = {.method = "POST", .path = "/v1/cross-references",
                                     .body = buf_str(&body)};
    int code = codes_call(codes, &request, &answer);
    buf_free(&body);
    return code == EXIT_DONE ? told(codes, &answer) : code;
}

static int codes_remove(struct codes *codes) {
    struct cli *cli = codes->cli;
    struct buf path;
    struct client_answer answer;
    buf_init(&path, 0);
    buf_lit(&path, "/v1/cross-references/");
    client_encode(&path, str_c(cli_arg(cli, 1)));
    buf_char(&path, '/');
    client_encode(&path, str_c(cli_arg(cli, 2)));
    buf_str_add(&path, cli_flag(cli, "out") ? STR("/out/") : STR("/"));
    client_encode(&path, str_c(cli_arg(cli, 3)));
    struct client_request request = {.method = "DELETE", .path = buf_cstr(&path)};
    int code = codes_call(codes, &request, &answer);
    buf_free(&path);
    return code == EXIT_DONE ? told(codes, &answer) : code;
}

/* --- import ----------------------------------------------------------------------------------- */

/* One field of a line (RFC 4180); *rest: what is behind its comma, absent at the line's end. Quotes in
 * quotes are doubled. False: a quote is not closed. */
static bool field_read(struct arena *arena, struct str *rest, struct str *out) {
    if (!rest->len || rest->ptr[0] != '"') {
        *out = str_trim(str_cut(rest, ','));
        return true;
    }
    char *text = arena_bytes(arena, rest->len);
    size_t n = 0, i = 1;
    for (; text && i < rest->len; i++) {
        if (rest->ptr[i] == '"' && (i + 1 == rest->len || rest->ptr[i + 1] != '"'))
            break;
        i += rest->ptr[i] == '"';
        text[n++] = rest->ptr[i];
    }
    if (!text || i >= rest->len || (i + 1 < rest->len && rest->ptr[i + 1] != ','))
        return false;
    *out = str_of(text, n);
    *rest = i + 1 < rest->len ? str_of(rest->ptr + i + 2, rest->len - i - 2) : STR_NONE;
    return true;
}

/* system,kind,code,value[,direction] as a line of NDJSON. */
static int line_write(struct codes *codes, struct str line, struct buf *out) {
    static const int place[5] = {0, 1, 3, 2, 4};
    struct str part[5] = {{0}}, rest = line;
    uint32_t n = 0;
    bool good = true;
    while (good && rest.ptr && n < 5)
        good = field_read(&codes->cli->arena, &rest, &part[place[n++]]);
    if (!good || n < 4 || rest.ptr)
        return cli_fail(codes->cli, EXIT_FAILED, "line %u: system,kind,code,value[,direction] is wanted",
                        codes->line);
    body_write(out, part);
    buf_char(out, '\n');
    return EXIT_DONE;
}

/* Tells of the lines that were refused. */
static void answers_read(struct codes *codes, struct str body, const uint32_t *lines) {
    struct json_parser *parser = json_parser_create();
    for (uint32_t i = 0; parser && body.ptr && body.len; i++) {
        struct str line = str_cut(&body, '\n');
        const struct json *json, *status, *problem;
        struct fault ignored = {0};
        int64_t number = 0;
        if (!line.len || json_parse(parser, &codes->cli->arena, line, false, &json, &ignored) != OK)
            continue;
        status = json_member(json, STR("status"));
        if (status && json_i64(status, &number) && number < 300) {
            codes->done++;
            continue;
        }
        codes->refused++;
        problem = json_member(json, STR("problem"));
        fprintf(stderr, "line %u: %.*s\n", lines[i],
                STR_FMT(problem ? listing_text(problem, "detail") : STR("refused")));
    }
    json_parser_destroy(parser);
}

static int part_send(struct codes *codes, struct buf *part, const uint32_t *lines) {
    struct client_answer answer;
    struct client_request request = {.method = "POST", .path = "/v1/cross-references",
                                     .body = buf_str(part), .media = "application/x-ndjson",
                                     .timeout_ms = 120000};
    int code = part->len ? codes_call(codes, &request, &answer) : EXIT_DONE;
    if (code == EXIT_DONE && part->len)
        answers_read(codes, answer.body, lines);
    buf_clear(part);
    return code;
}

static int codes_import(struct codes *codes) {
    struct buf text, part;
    struct fault fault = {0};
    uint32_t lines[IMPORT_LINES], count = 0;
    buf_init(&text, IMPORT_BYTES_MAX);
    buf_init(&part, 0);
    int code = files_read(cli_arg(codes->cli, 1), &text, &fault) == OK ? EXIT_DONE
                                                                       : cli_fault(codes->cli, &fault);
    struct str rest = buf_str(&text);
    while (code == EXIT_DONE && rest.ptr && rest.len) {
        struct str line = str_trim(str_cut(&rest, '\n'));
        codes->line++;
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (!line.len || line.ptr[0] == '#' ||
            (codes->line == 1 && str_starts(line, STR("system,kind,code,value"))))
            continue;
        code = line_write(codes, line, &part);
        lines[count++] = codes->line;
        if (code == EXIT_DONE && count == IMPORT_LINES) {
            code = part_send(codes, &part, lines);
            count = 0;
        }
    }
    if (code == EXIT_DONE)
        code = part_send(codes, &part, lines);
    buf_free(&text);
    buf_free(&part);
    if (codes->cli->json)
        printf("{\"set\":%u,\"refused\":%u}\n", codes->done, codes->refused);
    else
        printf("%u set, %u refused\n", codes->done, codes->refused);
    return code == EXIT_DONE && codes->refused ? EXIT_FAILED : code;
}

static int codes_run(struct cli *cli) {
    static const struct verb {
        const char *name;
        uint32_t least, most;
        int (*run)(struct codes *codes);
    } verbs[] = {{"list", 0, 2, codes_list}, {"set", 4, 4, codes_set},
                 {"import", 1, 1, codes_import}, {"remove", 3, 3, codes_remove}};
    const char *name = cli_arg(cli, 0);
    const struct verb *verb = NULL;
    for (size_t i = 0; name && i < sizeof verbs / sizeof *verbs; i++)
        verb = strcmp(name, verbs[i].name) == 0 ? &verbs[i] : verb;
    if (!verb)
        return cli_fail(cli, EXIT_USAGE, "list, set, import or remove?");
    if (!cli_args_max(cli, 1 + verb->most))
        return EXIT_USAGE;
    if (verb->least && !cli_arg(cli, verb->least))
        return cli_fail(cli, EXIT_USAGE, "%s wants more", name);
    struct codes codes = {.cli = cli, .client = cli_client(cli)};
    if (!codes.client)
        return EXIT_FAILED;
    int code = verb->run(&codes);
    client_destroy(codes.client);
    return code;
}

const struct cli_command codes_command = {
    .name = "codes",
    .synopsis = "codes list [SYSTEM [KIND]] [--code CODE] [--value VALUE] [--hub URL] [--key K] [--json]\n"
                "codes set SYSTEM KIND VALUE CODE [--direction both|in|out]\n"
                "codes import FILE.csv\n"
                "codes remove SYSTEM KIND VALUE\n"
                "codes remove SYSTEM KIND CODE --out",
    .summary = "cross-references: what other systems call what the hub has a code for",
    .help =
        "An entry says that a SYSTEM (a connector, or any other name) calls VALUE what the hub calls\n"
        "CODE, of a KIND: sku, tax, location, unit, payment-method, customer. Mappings use them with\n"
        "code() and value_of(); a value that is missing is an exception, which can be processed again\n"
        "once it is set.\n"
        "\n"
        "Direction both (default): the value comes in as the code, and the code goes out as the value.\n"
        "in: further values of a code that goes out as another one. out: further codes that the system\n"
        "does not tell apart. A value has one code, a code goes out as one value.\n"
        "\n"
        "`import` takes lines of system,kind,code,value[,direction], quoted as CSV (RFC 4180) where they\n"
        "need it; a first line with these names, empty lines and lines that begin with # are passed over.\n"
        "Each line is an entry by itself: those refused are told with their number.\n"
        "\n"
        "The key needs the scopes codes:read and codes:write.\n"
        "\n"
        "    penstock codes set shopify tax 'MwSt 19%' DE-STD\n"
        "    penstock codes import codes.csv\n"
        "    penstock codes list shopify tax\n"
        "\n"
        "EXIT CODES\n"
        "    0  done\n"
        "    1  something was refused, or the hub can not be reached\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_HUB,
        CLI_OPTION_KEY,
        {"direction", 0, "WAY", false, "set: both, in or out"},
        {"code", 0, "CODE", false, "list: only this code's"},
        {"value", 0, "VALUE", false, "list: only this value's"},
        {"out", 0, NULL, false, "remove: what CODE goes out as alone"},
        {0},
    },
    .run = codes_run,
};
