/* exceptions: the exception queue of a running hub: list, show, fix, retry, discard, resolve; one case
 * or all that a filter finds. What is decided about one names the version that was shown, so that of
 * two persons at once one is told to look again. */
#include "cli/commands.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/listing.h"
#include "domain/inbound.h"

#define BULK_PART 200 /* cases in one call, so that progress shows */

struct cases {
    struct cli *cli;
    struct client *client;
    struct json_parser *parser;
};

/* Status 200 or 202, else told and EXIT_FAILED. */
static int ask(struct cases *cases, const char *method, const char *path, struct str body,
               struct client_answer *answer) {
    struct fault fault;
    fault_init(&fault, &cases->cli->arena);
    struct client_request request = {.method = method, .path = path, .body = body,
                                     .timeout_ms = 120000};
    if (client_call(cases->client, &request, &cases->cli->arena, answer, &fault) != OK)
        return cli_fault(cases->cli, &fault);
    if (answer->status != 200 && answer->status != 201 && answer->status != 202) {
        (void)client_problem(answer, &fault);
        return cli_fault(cases->cli, &fault);
    }
    return EXIT_DONE;
}

/* --- list ------------------------------------------------------------------------------------- */

static const char *const filters[] = {"state", "kind", "owner", "connector", "subject", "since",
                                      "text"};
#define FILTERS (sizeof filters / sizeof *filters)

static bool filtered(const struct cli *cli) {
    for (size_t i = 0; i < FILTERS; i++)
        if (cli_value(cli, filters[i]))
            return true;
    return cli_flag(cli, "all");
}

static void path_filters(const struct cli *cli, struct buf *path) {
    for (size_t i = 0; i < FILTERS; i++) {
        const char *value = cli_value(cli, filters[i]);
        if (!value && strcmp(filters[i], "state") == 0 && !cli_flag(cli, "all"))
            value = "open";
        if (!value)
            continue;
        buf_printf(path, "&%s=", filters[i]);
        client_encode(path, str_c(value));
    }
}

/* "3 d", "4 h", "12 min" */
static void age_print(const struct json *row) {
    int64_t age = 0;
    const struct json *value = json_member(row, STR("age_s"));
    if (!value || !json_i64(value, &age))
        age = 0;
    if (age >= 2 * 86400)
        printf("%4lld d  ", (long long)(age / 86400));
    else if (age >= 2 * 3600)
        printf("%4lld h  ", (long long)(age / 3600));
    else
        printf("%4lld min", (long long)(age / 60));
}

static void row_print(const struct json *row) {
    printf("%.*s  ", STR_FMT(listing_text(row, "exception_id")));
    age_print(row);
    printf("  %-10.*s %-17.*s %-12.*s %.*s\n", STR_FMT(listing_text(row, "state")),
           STR_FMT(listing_text(row, "kind")), STR_FMT(listing_text(row, "owner")),
           STR_FMT(listing_text(row, "cause")));
}

static int cases_list(struct cases *cases) {
    struct buf path;
    buf_init(&path, 0);
    buf_lit(&path, "/ops/exceptions?limit=500");
    path_filters(cases->cli, &path);
    int code = listing_print(cases->cli, cases->client, buf_cstr(&path), row_print, "there are no such exceptions");
    buf_free(&path);
    return code;
}

static void count_print(const struct json *row) {
    printf("%6.*s  %-20.*s %-16.*s oldest %.*s\n", STR_FMT(listing_text(row, "open")),
           STR_FMT(listing_text(row, "kind")), STR_FMT(listing_text(row, "owner")),
           STR_FMT(listing_text(row, "oldest_at")));
}

static int cases_count(struct cases *cases) {
    return listing_print(cases->cli, cases->client, "/ops/exception-counts", count_print, "no case is open");
}

/* --- show --------------------------------------------------------------------------------------- */

static const char *case_path(const char *id, const char *verb, struct buf *path) {
    buf_clear(path);
    buf_lit(path, "/ops/exceptions/");
    client_encode(path, str_c(id));
    buf_printf(path, "%s%s", verb ? "/" : "", verb ? verb : "");
    return buf_cstr(path);
}

static int case_get(struct cases *cases, const char *id, bool original,
                    struct client_answer *answer) {
    struct buf path;
    buf_init(&path, 0);
    (void)case_path(id, NULL, &path);
    if (original)
        buf_lit(&path, "?original=true");
    int code = ask(cases, "GET", buf_cstr(&path), STR_NONE, answer);
    buf_free(&path);
    return code == EXIT_DONE && !answer->json
               ? cli_fail(cases->cli, EXIT_FAILED, "the hub's answer is not JSON")
               : code;
}

/* JSON, two blanks a level: a message is read by people. */
static void pretty(FILE *out, const struct json *value, int depth) {
    const struct json *at = value + 1;
    if ((value->kind != JSON_OBJECT && value->kind != JSON_ARRAY) || value->count == 0) {
        struct buf text;
        buf_init(&text, 0);
        json_write(&text, value);
        fprintf(out, "%s", buf_cstr(&text));
        buf_free(&text);
        return;
    }
    bool object = value->kind == JSON_OBJECT;
    fputs(object ? "{\n" : "[\n", out);
    for (uint32_t i = 0; i < value->count; i++) {
        fprintf(out, "%*s", 2 * depth + 2, "");
        if (object) {
            struct buf name;
            buf_init(&name, 0);
            json_write(&name, at);
            fprintf(out, "%s: ", buf_cstr(&name));
            buf_free(&name);
            at = json_next(at);
        }
        pretty(out, at, depth + 1);
        at = json_next(at);
        fputs(i + 1 < value->count ? ",\n" : "\n", out);
    }
    fprintf(out, "%*s%s", 2 * depth, "", object ? "}" : "]");
}

static void faults_print(const struct json *faults) {
    const struct json *fault = faults ? json_first(faults) : NULL;
    for (uint32_t i = 0; faults && i < faults->count; i++, fault = json_next(fault))
        printf("               %.*s: %.*s\n", STR_FMT(listing_text(fault, "pointer")),
               STR_FMT(listing_text(fault, "detail")));
}

static void preview_print(const struct json *preview) {
    if (!preview)
        return;
    struct str outcome = listing_text(preview, "outcome");
    printf("now            ");
    if (str_is(outcome, "maps"))
        printf("%.*s maps it: a retry would go on from here\n", STR_FMT(listing_text(preview, "mapping")));
    else
        printf("%.*s: %.*s\n", STR_FMT(outcome), STR_FMT(listing_text(preview, "cause")));
    faults_print(json_member(preview, STR("faults")));
    const struct json *trace = json_member(preview, STR("trace"));
    const struct json *row = trace ? json_first(trace) : NULL;
    for (uint32_t i = 0; trace && i < trace->count; i++, row = json_next(row)) {
        const struct json *sources = json_member(row, STR("sources"));
        const struct json *source = sources ? json_first(sources) : NULL;
        printf("%s%.*s <-", i ? "               " : "mapping        ", STR_FMT(listing_text(row, "target")));
        for (uint32_t k = 0; sources && k < sources->count; k++, source = json_next(source))
            printf(" %.*s", STR_FMT(source->text));
        putchar('\n');
    }
}

static void payload_print(const struct json *payload) {
    if (!payload)
        return;
    const struct json *document = json_member(payload, STR("document"));
    const struct json *versions = json_member(payload, STR("versions"));
    const struct json *version = versions ? json_first(versions) : NULL;
    printf("message        %.*s of %.*s, %.*s, received %.*s\n", STR_FMT(listing_text(payload, "payload_id")),
           STR_FMT(listing_text(payload, "connector")), STR_FMT(listing_text(payload, "topic")),
           STR_FMT(listing_text(payload, "received_at")));
    for (uint32_t i = 0; versions && i < versions->count; i++, version = json_next(version))
        printf("put right      %.*s by %.*s: %.*s\n", STR_FMT(listing_text(version, "at")),
               STR_FMT(listing_text(version, "by")), STR_FMT(listing_text(version, "reason")));
    if (document) {
        pretty(stdout, document, 0);
        putchar('\n');
        return;
    }
    static const char *const forms[] = {"text", "base64", "hidden"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (json_member(payload, str_c(forms[i])))
            printf("%-14s %.*s\n", forms[i], STR_FMT(listing_text(payload, forms[i])));
}

static int case_show(struct cases *cases, const char *id) {
    struct client_answer answer;
    int code = case_get(cases, id, cli_flag(cases->cli, "original"), &answer);
    if (code != EXIT_DONE)
        return code;
    if (cases->cli->json)
        return listing_line(cases->cli, answer.json);
    static const char *const members[] = {"exception_id", "state", "kind",  "owner",   "subject",
                                          "raised_at",    "lane",  "version", "attempts", "cause",
                                          "action"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (!str_is(listing_text(answer.json, members[i]), "-"))
            printf("%-14s %.*s\n", members[i], STR_FMT(listing_text(answer.json, members[i])));
    const struct json *raised = json_member(answer.json, STR("case"));
    const struct json *details = raised ? json_member(raised, STR("details")) : NULL;
    if (raised && !str_is(listing_text(raised, "mapping"), "-"))
        printf("mapping        %.*s %.*s\n", STR_FMT(listing_text(raised, "mapping")),
               STR_FMT(listing_text(raised, "mapping_version")));
    faults_print(details && details->kind == JSON_OBJECT ? json_member(details, STR("faults")) : NULL);
    preview_print(json_member(answer.json, STR("preview")));
    const struct json *commands = json_member(answer.json, STR("commands"));
    const struct json *line = commands ? json_first(commands) : NULL;
    for (uint32_t i = 0; commands && i < commands->count; i++, line = json_next(line))
        printf("%s%.*s\n", i ? "               " : "to do          ", STR_FMT(line->text));
    const struct json *events = json_member(answer.json, STR("events"));
    const struct json *event = events ? json_first(events) : NULL;
    for (uint32_t i = 0; events && i < events->count; i++, event = json_next(event))
        printf("%s%.*s  %.*s: %.*s\n", i ? "               " : "events         ",
               STR_FMT(listing_text(event, "at")), STR_FMT(listing_text(event, "actor")),
               STR_FMT(listing_text(event, "words")));
    payload_print(json_member(answer.json, STR("payload")));
    return EXIT_DONE;
}

/* --- deciding ----------------------------------------------------------------------------------- */

static void body_text(struct buf *body, const char *name, const char *value) {
    if (!value)
        return;
    buf_printf(body, "%s\"%s\":", body->len > 1 ? "," : "", name);
    buf_json_str(body, str_c(value));
}

/* "set":[…] of all --set POINTER=VALUE; false: told. */
static bool body_set(struct cases *cases, struct buf *body) {
    const char *set;
    for (uint32_t i = 0; (set = cli_nth(cases->cli, "set", i)); i++) {
        const char *equals = strchr(set, '=');
        if (set[0] != '/' || !equals) {
            (void)cli_fail(cases->cli, EXIT_USAGE, "--set %s: write /POINTER=VALUE", set);
            return false;
        }
        buf_str_add(body, i ? STR(",") : body->len > 1 ? STR(",\"set\":[") : STR("\"set\":["));
        buf_lit(body, "{\"pointer\":");
        buf_json_str(body, str_of(set, (size_t)(equals - set)));
        buf_lit(body, ",\"text\":");
        buf_json_str(body, str_c(equals + 1));
        buf_char(body, '}');
    }
    if (cli_nth(cases->cli, "set", 0))
        buf_char(body, ']');
    return true;
}

/* The message in an editor; its new text in the arena, absent: told, or nothing was changed. */
static struct str edit_text(struct cases *cases, const struct json *document) {
    struct cli *cli = cases->cli;
    const char *editor = getenv("VISUAL") ? getenv("VISUAL") : getenv("EDITOR");
    const char *temporary = getenv("TMPDIR");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/penstock-message-XXXXXX", temporary && temporary[0] ? temporary : "/tmp");
    struct str text = STR_NONE;
    int fd = mkstemp(path); /* 0600: it may be about a person */
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
    if (!file) {
        (void)cli_fail(cli, EXIT_FAILED, "no file for the editor can be made");
        return STR_NONE;
    }
    pretty(file, document, 0);
    fputc('\n', file);
    fclose(file);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exec $0 \"$1\"", editor ? editor : "vi", path, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    bool edited = child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
                  WEXITSTATUS(status) == 0;
    if (!edited)
        (void)cli_fail(cli, EXIT_FAILED, "the editor ended with an error: nothing was changed");
    else
        (void)cli_file_take(cli, path, (size_t)PAYLOAD_BYTES_MAX, &text);
    unlink(path);
    return text;
}

/* The whole message, from --file or an editor, as "document" or "text". */
static int body_whole(struct cases *cases, const struct json *payload, struct buf *body) {
    struct cli *cli = cases->cli;
    struct fault fault;
    struct str text;
    const char *file = cli_value(cli, "file");
    const struct json *now = payload ? json_member(payload, STR("document")) : NULL, *json;
    fault_init(&fault, &cli->arena);
    if (file && !cli_file_take(cli, file, (size_t)PAYLOAD_BYTES_MAX, &text))
        return EXIT_FAILED;
    if (!file && !now)
        return cli_fail(cli, EXIT_FAILED, "the message can not be shown (it is no JSON, or the key lacks "
                        "personal:read): use --set or --file");
    if (!file)
        text = edit_text(cases, now);
    if (!text.ptr)
        return EXIT_FAILED;
    buf_str_add(body, body->len > 1 ? STR(",") : STR(""));
    if (json_parse(cases->parser, &cli->arena, text, false, &json, &fault) == OK) {
        buf_lit(body, "\"document\":");
        json_write(body, json);
    } else if (now) {
        return cli_fail(cli, EXIT_FAILED, "what was written is no JSON: %s", fault.detail);
    } else {
        buf_lit(body, "\"text\":");
        buf_json_str(body, text);
    }
    return EXIT_DONE;
}

static int decided_print(struct cases *cases, const char *id, const char *verb,
                         const struct client_answer *answer) {
    if (client_waits(cases->cli, answer) && !cases->cli->json)
        return EXIT_DONE;
    if (cases->cli->json)
        return listing_line(cases->cli, answer->json);
    const struct json *preview = json_member(answer->json, STR("preview"));
    if (preview) {
        preview_print(preview);
        return EXIT_DONE;
    }
    printf("%s %s, version %.*s\n", id, verb, STR_FMT(listing_text(answer->json, "version")));
    return EXIT_DONE;
}

/* Sends body as the decision; the version that was shown goes with it. */
static int case_send(struct cases *cases, const char *id, const char *verb, const char *done,
                     struct buf *body) {
    struct client_answer answer;
    struct buf path;
    buf_init(&path, 0);
    int64_t version;
    if (cli_value(cases->cli, "version") &&
        !cli_integer(cases->cli, "version", 1, 1, INT64_MAX, &version))
        return EXIT_USAGE;
    if (cli_value(cases->cli, "version"))
        buf_printf(body, "%s\"version\":%lld", body->len > 1 ? "," : "", (long long)version);
    buf_char(body, '}');
    int code = ask(cases, "POST", case_path(id, verb, &path), buf_str(body), &answer);
    buf_free(&path);
    return code == EXIT_DONE ? decided_print(cases, id, done, &answer) : code;
}

static int codes_fix(struct cases *cases, const struct json *story, const char *code);

static int case_fix(struct cases *cases, const char *id) {
    struct cli *cli = cases->cli;
    struct client_answer story = {0};
    struct buf body;
    const char *code_given = cli_value(cli, "code");
    bool set = cli_nth(cli, "set", 0) != NULL;
    int code = EXIT_DONE;
    if (!set) {
        code = case_get(cases, id, false, &story);
        if (code == EXIT_DONE && code_given)
            return codes_fix(cases, story.json, code_given);
    }
    buf_init(&body, 0);
    buf_char(&body, '{');
    body_text(&body, "reason", cli_value(cli, "reason"));
    if (code == EXIT_DONE && set)
        code = body_set(cases, &body) ? EXIT_DONE : EXIT_USAGE;
    else if (code == EXIT_DONE)
        code = body_whole(cases, json_member(story.json, STR("payload")), &body);
    if (code == EXIT_DONE && !set && !cli_value(cli, "version"))
        buf_printf(&body, ",\"version\":%.*s", STR_FMT(listing_text(story.json, "version")));
    if (code == EXIT_DONE && cli_flag(cli, "dry-run"))
        buf_lit(&body, ",\"dry_run\":true");
    if (code == EXIT_DONE)
        code = case_send(cases, id, "fix", "put right: its message is processed", &body);
    buf_free(&body);
    return code;
}

static int case_decide(struct cases *cases, const char *id, const char *verb) {
    struct buf body;
    buf_init(&body, 0);
    buf_char(&body, '{');
    body_text(&body, "reason", cli_value(cases->cli, "reason"));
    if (strcmp(verb, "resolve") == 0)
        body_text(&body, "resolution", cli_value(cases->cli, "resolution")
                                           ? cli_value(cases->cli, "resolution") : "fixed");
    int code = case_send(cases, id, verb,
                         strcmp(verb, "retry") == 0     ? "is processed again"
                         : strcmp(verb, "discard") == 0 ? "discarded"
                                                        : "resolved",
                         &body);
    buf_free(&body);
    return code;
}

/* --- many --------------------------------------------------------------------------------------- */

struct bulk {
    uint64_t done, refused;
};

static int bulk_lines(struct cases *cases, struct str text, struct bulk *bulk) {
    struct fault fault;
    fault_init(&fault, &cases->cli->arena);
    while (text.len > 0) {
        struct str line = str_cut(&text, '\n');
        const struct json *json;
        int64_t status = 0;
        if (json_parse(cases->parser, &cases->cli->arena, line, false, &json, &fault) != OK)
            return cli_fault(cases->cli, &fault);
        const struct json *value = json_member(json, STR("status"));
        if (!value || !json_i64(value, &status))
            status = 500;
        bulk->done += status < 300;
        bulk->refused += status >= 300;
        const struct json *problem = json_member(json, STR("problem"));
        if (cases->cli->json)
            (void)listing_line(cases->cli, json);
        else if (problem)
            printf("%.*s  refused: %.*s\n", STR_FMT(listing_text(json, "exception_id")),
                   STR_FMT(listing_text(problem, "detail")));
        else if (cli_flag(cases->cli, "dry-run"))
            printf("%.*s  %.*s: %.*s\n", STR_FMT(listing_text(json, "exception_id")),
                   STR_FMT(listing_text(json, "kind")), STR_FMT(listing_text(json, "cause")));
    }
    return EXIT_DONE;
}

/* The body of one call; the rest of it is the same each time. */
static bool bulk_body(struct cases *cases, const char *action, const char *since, int64_t limit,
                      struct buf *body) {
    struct cli *cli = cases->cli;
    buf_printf(body, "{\"action\":\"%s\",\"limit\":%lld", action, (long long)limit);
    for (size_t i = 0; i < FILTERS; i++)
        body_text(body, filters[i],
                  strcmp(filters[i], "since") == 0 ? since : cli_value(cli, filters[i]));
    if (!cli_value(cli, "state"))
        body_text(body, "state", "open");
    body_text(body, "reason", cli_value(cli, "reason"));
    if (cli_flag(cli, "dry-run"))
        buf_lit(body, ",\"dry_run\":true");
    bool whole = body_set(cases, body);
    buf_char(body, '}');
    return whole;
}

/* Discards in parts, so that progress shows. What is processed again may fail again and be open again:
 * that is asked for once. */
static int bulk_run(struct cases *cases, const char *action) {
    struct cli *cli = cases->cli;
    struct bulk bulk = {0};
    int64_t max;
    bool dry = cli_flag(cli, "dry-run"), told = isatty(STDERR_FILENO);
    bool once = dry || strcmp(action, "discard") != 0;
    int code = EXIT_DONE;
    if (!cli_integer(cli, "max", 1000, 1, 100000, &max))
        return EXIT_USAGE;
    for (int64_t left = max; left > 0 && code == EXIT_DONE;) {
        int64_t most = once ? 1000 : BULK_PART, part = left < most ? left : most;
        struct client_answer answer;
        struct buf body;
        uint64_t before = bulk.done + bulk.refused, done = bulk.done;
        buf_init(&body, 0);
        code = bulk_body(cases, action, cli_value(cli, "since"), part, &body)
                   ? ask(cases, "POST", "/ops/exceptions/bulk", buf_str(&body), &answer)
                   : EXIT_USAGE;
        buf_free(&body);
        if (code == EXIT_DONE && client_waits(cli, &answer))
            return EXIT_DONE;
        if (code == EXIT_DONE)
            code = bulk_lines(cases, answer.body, &bulk);
        int64_t got = (int64_t)(bulk.done + bulk.refused - before);
        left -= got;
        if (told)
            fprintf(stderr, "\r%llu done, %llu refused", (unsigned long long)bulk.done,
                    (unsigned long long)bulk.refused);
        if (once || got < part || bulk.done == done)
            break;
    }
    if (told)
        fputc('\n', stderr);
    else if (code == EXIT_DONE && !cli->json)
        fprintf(stderr, "%llu %s, %llu refused\n", (unsigned long long)bulk.done,
                dry ? "would be decided" : "done", (unsigned long long)bulk.refused);
    return code == EXIT_DONE && bulk.refused > 0 ? EXIT_FAILED : code;
}

/* --- a code that is missing ----------------------------------------------------------------------- */

/* Sets the cross-reference that the case lacks, then processes all messages that lack the same. */
static int codes_fix(struct cases *cases, const struct json *story, const char *code) {
    const struct json *raised = json_member(story, STR("case"));
    const struct json *details = raised ? json_member(raised, STR("details")) : NULL;
    const struct json *unmapped = details && details->kind == JSON_OBJECT
                                      ? json_member(details, STR("unmapped")) : NULL;
    struct client_answer answer;
    struct bulk bulk = {0};
    struct buf body;
    if (!unmapped)
        return cli_fail(cases->cli, EXIT_FAILED, "this exception lacks no code: --code is for those of "
                        "kind code-unmapped");
    bool out = json_member(unmapped, STR("code")) != NULL;
    struct str text = listing_text(unmapped, out ? "code" : "value");
    buf_init(&body, 0);
    buf_lit(&body, "{\"system\":");
    buf_json_str(&body, listing_text(unmapped, "system"));
    buf_lit(&body, ",\"kind\":");
    buf_json_str(&body, listing_text(unmapped, "kind"));
    buf_str_add(&body, out ? STR(",\"code\":") : STR(",\"value\":"));
    buf_json_str(&body, text);
    buf_str_add(&body, out ? STR(",\"value\":") : STR(",\"code\":"));
    buf_json_str(&body, str_c(code));
    buf_char(&body, '}');
    int end = ask(cases, "POST", "/v1/cross-references", buf_str(&body), &answer);
    if (end == EXIT_DONE) {
        buf_clear(&body);
        buf_lit(&body, "{\"action\":\"retry\",\"kind\":\"code-unmapped\",\"reason\":\"the code is set\",\"text\":");
        struct str words = arena_printf(&cases->cli->arena, "%.*s \"%.*s\" has no",
                                        STR_FMT(listing_text(unmapped, "kind")), STR_FMT(text));
        buf_json_str(&body, words);
        buf_char(&body, '}');
        end = ask(cases, "POST", "/ops/exceptions/bulk", buf_str(&body), &answer);
    }
    if (end == EXIT_DONE && !client_waits(cases->cli, &answer))
        end = bulk_lines(cases, answer.body, &bulk);
    buf_free(&body);
    if (end == EXIT_DONE && !cases->cli->json)
        printf("%.*s of %.*s is set; %llu messages that lacked it are processed\n", STR_FMT(text),
               STR_FMT(listing_text(unmapped, "system")), (unsigned long long)bulk.done);
    return end;
}

/* --- the command ------------------------------------------------------------------------------------ */

static int cases_run(struct cases *cases, const char *verb, const char *id) {
    if (strcmp(verb, "list") == 0)
        return cases_list(cases);
    if (strcmp(verb, "counts") == 0)
        return cases_count(cases);
    if (strcmp(verb, "show") == 0)
        return case_show(cases, id);
    if (!id)
        return bulk_run(cases, verb);
    return strcmp(verb, "fix") == 0 ? case_fix(cases, id) : case_decide(cases, id, verb);
}

static int usage_check(struct cli *cli, const char *verb, const char *id) {
    static const char *const verbs[] = {"list", "counts", "show", "fix", "retry", "discard", "resolve"};
    bool known = false, many = strcmp(verb, "list") == 0 || strcmp(verb, "counts") == 0;
    bool decides = strcmp(verb, "discard") == 0 || strcmp(verb, "resolve") == 0;
    bool bulk = filtered(cli) && (strcmp(verb, "retry") == 0 || strcmp(verb, "discard") == 0 ||
                                  strcmp(verb, "fix") == 0);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        known = known || strcmp(verb, verbs[i]) == 0;
    if (!known)
        return cli_fail(cli, EXIT_USAGE, "there is no '%s': list, counts, show, fix, retry, discard or "
                        "resolve", verb);
    if (!cli_args_max(cli, many ? 1 : 2))
        return EXIT_USAGE;
    if (id && filtered(cli))
        return cli_fail(cli, EXIT_USAGE, "name one exception, or filter, not both");
    if (!many && !id && !bulk)
        return cli_fail(cli, EXIT_USAGE, "which exception? `penstock exceptions list` shows their ids; "
                        "retry, fix and discard also take filters (--kind, --owner …, --all)");
    if (decides && !cli_value(cli, "reason") && !cli_flag(cli, "dry-run"))
        return cli_fail(cli, EXIT_USAGE, "closing a case needs a --reason");
    if (!id && strcmp(verb, "fix") == 0 && !cli_nth(cli, "set", 0))
        return cli_fail(cli, EXIT_USAGE, "to put many right, say what: --set /POINTER=VALUE");
    return EXIT_DONE;
}

static int exceptions_run(struct cli *cli) {
    const char *verb = cli_arg(cli, 0), *id = cli_arg(cli, 1);
    if (!verb)
        return cli_fail(cli, EXIT_USAGE, "list, counts, show, fix, retry, discard or resolve?");
    int code = usage_check(cli, verb, id);
    if (code != EXIT_DONE)
        return code;
    struct cases cases = {.cli = cli, .client = cli_client(cli), .parser = json_parser_create()};
    code = EXIT_FAILED;
    if (cases.client && cases.parser)
        code = cases_run(&cases, verb, id);
    client_destroy(cases.client);
    json_parser_destroy(cases.parser);
    return code;
}

const struct cli_command exceptions_command = {
    .name = "exceptions",
    .synopsis = "exceptions list [--state S] [--kind K] [--owner O] [--connector C] [--subject S] "
                "[--since T] [--text T] [--all]\n"
                "exceptions counts\n"
                "exceptions show ID [--original]\n"
                "exceptions fix ID [--set /POINTER=VALUE … | --file FILE | --code CODE] [--reason TEXT] "
                "[--dry-run]\n"
                "exceptions retry|discard ID [--reason TEXT]\n"
                "exceptions retry|fix|discard FILTERS [--max N] [--dry-run] [--reason TEXT]\n"
                "exceptions resolve ID --reason TEXT [--resolution R]",
    .summary = "cases that a person must decide: list, show, fix, retry, discard",
    .help =
        "What has happened is never refused: a paid order that can not be mapped, has wrong sums or\n"
        "lacks a code is kept and becomes an exception, with its cause, owner and what to do. Later\n"
        "messages of the same key wait for it. docs/exceptions.md says what each kind means.\n"
        "\n"
        "`show` tells the cause, the message (with the scope personal:read; the audit notes it), what\n"
        "the present mapping would make of it, and the commands to type. `fix` writes another version\n"
        "of the message, which is processed; what came is kept. Without --set, --file or --code it opens\n"
        "$VISUAL or $EDITOR. --set takes a text where a text stands, else JSON. --code sets the\n"
        "cross-reference that a case of kind code-unmapped lacks, and retries all that lack the same.\n"
        "`retry` processes the message again, after its mapping was mended. `discard` gives it up, and\n"
        "what waited goes on. `resolve` closes a case that was dealt with elsewhere.\n"
        "\n"
        "With filters instead of an ID, all that they find are decided, at most --max; --all is every\n"
        "open one. --json prints a line for each. Without --state, list and decisions mean open ones.\n"
        "\n"
        "The key needs ops:read and, to decide, ops:resolve; for --code, codes:write.\n"
        "\n"
        "    penstock exceptions list --owner ecommerce\n"
        "    penstock exceptions fix exc_01m8… --set /lines/0/sku=TEE-RED-M --reason 'typing error'\n"
        "    penstock exceptions fix exc_01m8… --code DE-STD\n"
        "    penstock exceptions retry --kind mapping-failed --connector shopify --dry-run\n"
        "    penstock exceptions discard exc_01m8… --reason 'test order of the shop'\n"
        "\n"
        "EXIT CODES\n"
        "    0  done; list: told, also where there is none\n"
        "    1  refused (decided by somebody else meanwhile, being processed …), some of many were\n"
        "       refused, or the hub can not be reached\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_HUB,
        CLI_OPTION_KEY,
        {"state", 0, "STATE", false, "Only open, resolved or discarded ones"},
        {"kind", 0, "KIND", false, "Only this kind"},
        {"owner", 0, "TEAM", false, "Only this team's"},
        {"connector", 0, "NAME", false, "Only about messages of this one"},
        {"subject", 0, "ID", false, "Only about this: an order, a payload"},
        {"since", 0, "TIME", false, "Only those raised then or later (RFC 3339)"},
        {"text", 0, "TEXT", false, "Only where cause, subject or key say this"},
        {"all", 0, NULL, false, "list: closed ones, too; decisions: every open one"},
        {"original", 0, NULL, false, "show: the message as it came"},
        {"set", 0, "/POINTER=VALUE", true, "fix: put this right in the message"},
        {"file", 0, "FILE", false, "fix: the whole message"},
        {"code", 0, "CODE", false, "fix: the code that is missing"},
        {"reason", 0, "TEXT", false, "Why: kept in the journal"},
        {"resolution", 0, "WORD", false, "resolve: how (fixed)"},
        {"version", 0, "N", false, "Of the case as it was seen; where it has changed since, refused"},
        {"max", 0, "N", false, "Of many: at most so many (1000)"},
        {"dry-run", 0, NULL, false, "Only say what would be decided"},
        {0},
    },
    .run = exceptions_run,
};
