/* replay: events of a running hub's journal, given to one subscription once more. */
#include "cli/commands.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "cli/listing.h"

#define REPLAY_LOOK_MS 500 /* between two looks at how far it is */

struct replaying {
    struct cli *cli;
    struct client *client;
};

/* Success and JSON, else told and EXIT_FAILED. */
static int replay_ask(struct replaying *r, const char *method, const char *path, struct str body,
                      struct client_answer *answer) {
    struct fault fault;
    fault_init(&fault, &r->cli->arena);
    struct client_request request = {.method = method, .path = path, .body = body};
    if (client_call(r->client, &request, &r->cli->arena, answer, &fault) != OK)
        return cli_fault(r->cli, &fault);
    if (answer->status < 200 || answer->status > 299) {
        (void)client_problem(answer, &fault);
        return cli_fault(r->cli, &fault);
    }
    return answer->json ? EXIT_DONE : cli_fail(r->cli, EXIT_FAILED, "the hub's answer is not JSON");
}

static int64_t number_of(const struct json *object, const char *name) {
    int64_t n = 0;
    const struct json *value = json_member(object, str_c(name));
    return value && value->kind == JSON_NUMBER && str_i64(value->text, &n) ? n : 0;
}

static bool over(const struct json *replay) {
    struct str state = listing_text(replay, "state");
    return str_is(state, "counted") || str_is(state, "done") || str_is(state, "cancelled") ||
           str_is(state, "failed");
}

static int64_t settled(const struct json *replay) {
    return number_of(replay, "sent") + number_of(replay, "found") + number_of(replay, "held");
}

/* --- telling --------------------------------------------------------------------------------------- */

static void line_print(const struct json *replay) {
    printf("%-5.*s %-10.*s %-24.*s %" PRId64 " of %" PRId64 "  sent %" PRId64 ", found %" PRId64 ", held %" PRId64
           ", superseded %" PRId64 ", waiting %" PRId64 "\n",
           STR_FMT(listing_text(replay, "id")), STR_FMT(listing_text(replay, "state")),
           STR_FMT(listing_text(replay, "subscription")), settled(replay), number_of(replay, "chosen"),
           number_of(replay, "sent"), number_of(replay, "found"), number_of(replay, "held"),
           number_of(replay, "superseded"), number_of(replay, "waiting"));
}

static void counted_print(const struct json *replay) {
    printf("%" PRId64 " events would go to %.*s", number_of(replay, "chosen"),
           STR_FMT(listing_text(replay, "subscription")));
    if (number_of(replay, "first_seq") > 0)
        printf(", seq %" PRId64 " to %" PRId64, number_of(replay, "first_seq"), number_of(replay, "last_seq"));
    printf("\n");
    const struct json *types = json_member(replay, STR("types"));
    const struct json *type = types ? json_first(types) : NULL;
    for (uint32_t i = 0; types && i < types->count; i++, type = json_next(type))
        printf("  %-32.*s %" PRId64 "\n", STR_FMT(listing_text(type, "type")), number_of(type, "events"));
    if (str_is(listing_text(replay, "guard"), "none"))
        printf("  the system could not tell what it has already: only --again can be asked for\n");
}

static int told(struct replaying *r, const struct client_answer *answer) {
    if (r->cli->json)
        printf("%.*s\n", STR_FMT(answer->body));
    else if (str_is(listing_text(answer->json, "state"), "counted"))
        counted_print(answer->json);
    else
        line_print(answer->json);
    if (str_is(listing_text(answer->json, "state"), "failed"))
        return cli_fail(r->cli, EXIT_FAILED, "%.*s", STR_FMT(listing_text(answer->json, "error")));
    return EXIT_DONE;
}

/* Until it is over, with a line on a terminal. Ending this command ends no replay. */
static int follow(struct replaying *r, struct client_answer *answer) {
    bool terminal = isatty(STDERR_FILENO);
    char path[64];
    snprintf(path, sizeof path, "/ops/replays/%" PRId64, number_of(answer->json, "id"));
    int64_t before = 0;
    int code = EXIT_DONE;
    for (uint32_t n = 0; code == EXIT_DONE && !over(answer->json); n++) {
        usleep(n == 0 ? 50000 : REPLAY_LOOK_MS * 1000);
        code = replay_ask(r, "GET", path, STR_NONE, answer);
        if (code != EXIT_DONE)
            break;
        const struct json *now = answer->json;
        int64_t done = settled(now), rate = n ? (done - before) * 1000 / REPLAY_LOOK_MS : 0;
        int64_t left = number_of(now, "chosen") - done;
        before = done;
        if (terminal)
            fprintf(stderr, "\r%.*s: %" PRId64 " of %" PRId64 ", %" PRId64 "/s, %" PRId64 " s left, %" PRId64
                    " wait for their key     ", STR_FMT(listing_text(now, "state")), done, number_of(now, "chosen"),
                    rate, rate > 0 ? left / rate : 0, number_of(now, "waiting"));
    }
    if (terminal)
        fputc('\n', stderr);
    return code;
}

/* --- asking ------------------------------------------------------------------------------------------ */

/* As options and as the hub calls them. */
static const struct {
    const char *option, *member;
    bool chooses, number;
} asked[] = {{"subscription", "subscription", false, false},
             {"from", "from", true, false},
             {"to", "to", true, false},
             {"from-seq", "from_seq", true, true},
             {"to-seq", "to_seq", true, true},
             {"type", "type", true, false},
             {"correlation", "correlation", true, false},
             {"connector", "connector", true, false},
             {"rate", "rate_per_s", false, true},
             {"reason", "reason", false, false}};
static const struct {
    const char *option, *member;
} flags[] = {{"again", "again"}, {"newest", "newest"}, {"dry-run", "dry_run"}};

/* --key is the key of events, and that of who asks, as with all commands that talk to a hub. API keys
 * and tokens look like nothing else. NULL where it was not given. */
static const char *key_given(const struct cli *cli, bool api) {
    const char *value;
    for (uint32_t i = 0; (value = cli_nth(cli, "key", i)) != NULL; i++) {
        struct str text = str_c(value);
        if ((str_starts(text, STR("pk_")) || str_starts(text, STR("eyJ"))) == api)
            return value;
    }
    return NULL;
}

/* False: told. */
static bool body_write(struct cli *cli, struct buf *body) {
    const char *key = key_given(cli, false);
    bool chosen = key != NULL; /* but for the subscription, the rate and the reason */
    buf_char(body, '{');
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        const char *value = cli_value(cli, asked[i].option);
        int64_t n;
        if (!value)
            continue;
        chosen |= asked[i].chooses;
        buf_printf(body, "%s\"%s\":", body->len > 1 ? "," : "", asked[i].member);
        if (!asked[i].number) {
            buf_json_str(body, str_c(value));
            continue;
        }
        if (!cli_integer(cli, asked[i].option, 0, 1, INT64_MAX, &n))
            return false;
        buf_i64(body, n);
    }
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (cli_flag(cli, flags[i].option))
            buf_printf(body, ",\"%s\":true", flags[i].member);
    if (key) {
        buf_lit(body, ",\"key\":");
        buf_json_str(body, str_c(key));
    }
    if (!chosen)
        buf_lit(body, ",\"from_seq\":1");
    buf_char(body, '}');
    return true;
}

static int begin(struct replaying *r) {
    struct buf body;
    struct client_answer answer;
    buf_init(&body, 0);
    int code = body_write(r->cli, &body) ? replay_ask(r, "POST", "/ops/replays", buf_str(&body), &answer)
                                         : EXIT_USAGE;
    buf_free(&body);
    if (code == EXIT_DONE && !cli_flag(r->cli, "detach"))
        code = follow(r, &answer);
    return code == EXIT_DONE ? told(r, &answer) : code;
}

static int one(struct replaying *r, const char *verb, const char *id) {
    struct buf path, body;
    struct client_answer answer;
    const char *reason = cli_value(r->cli, "reason");
    bool show = strcmp(verb, "show") == 0;
    buf_init(&path, 0);
    buf_init(&body, 0);
    buf_lit(&path, "/ops/replays/");
    client_encode(&path, str_c(id));
    if (!show)
        buf_printf(&path, "/%s", verb);
    buf_lit(&body, "{\"reason\":");
    buf_json_str(&body, str_c(reason ? reason : ""));
    buf_char(&body, '}');
    int code = replay_ask(r, show ? "GET" : "POST", buf_cstr(&path), show ? STR_NONE : buf_str(&body), &answer);
    buf_free(&path);
    buf_free(&body);
    return code == EXIT_DONE ? told(r, &answer) : code;
}

static int replay_run(struct cli *cli) {
    static const char *const verbs[] = {"show", "pause", "resume", "cancel"};
    const char *verb = cli_arg(cli, 0), *id = cli_arg(cli, 1);
    bool known = !verb || strcmp(verb, "list") == 0;
    for (size_t i = 0; verb && i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verb, verbs[i]) == 0) {
            known = true;
            if (!id)
                return cli_fail(cli, EXIT_USAGE, "which replay? `penstock replay list` shows their numbers");
        }
    if (!known)
        return cli_fail(cli, EXIT_USAGE, "there is no '%s': list, show, pause, resume or cancel", verb);
    if (!verb && !cli_value(cli, "subscription"))
        return cli_fail(cli, EXIT_USAGE, "to whom? --subscription NAME");
    if (!cli_args_max(cli, id && strcmp(verb, "list") != 0 ? 2 : 1))
        return EXIT_USAGE;
    struct replaying r = {.cli = cli, .client = client_create(cli_value(cli, "hub"), key_given(cli, true))};
    if (!r.client)
        return cli_fail(cli, EXIT_FAILED, "out of memory");
    int code = !verb ? begin(&r) : strcmp(verb, "list") == 0
                     ? listing_whole(cli, r.client, "/ops/replays", line_print, "there was no replay")
                     : one(&r, verb, id);
    client_destroy(r.client);
    return code;
}

const struct cli_command replay_command = {
    .name = "replay",
    .synopsis = "replay --subscription NAME [--from TIME] [--to TIME] [--type TYPE] [--key KEY] [--from-seq N]\n"
                "       [--to-seq N] [--correlation ID] [--connector NAME] [--rate N] [--newest] [--again]\n"
                "       [--reason TEXT] [--dry-run] [--detach] [--hub URL] [--key K] [--json]\n"
                "replay list\n"
                "replay show|pause|resume|cancel ID [--reason TEXT]",
    .summary = "events of the journal, given to one subscription once more",
    .help =
        "Chooses events of the journal among those that the subscription takes, counts them, and has them\n"
        "delivered once more, in order, beside the live stream: within a key nothing passes anything, and at\n"
        "most half of the subscription's concurrency is used. --dry-run only counts. What the system has\n"
        "already is found where the connector can look it up; else the request carries the same id as ever.\n"
        "Where nothing says which, it is all of them. With --again everything is sent as new, under an id of\n"
        "its own; only where the subscription says `replay: again`. With --newest only the newest event of\n"
        "each key is sent, and only where nothing newer has gone out. A delivery that fails is held like any\n"
        "other (`penstock held list`).\n"
        "\n"
        "The hub goes on with it when this command ends, and after a restart; --detach does not wait.\n"
        "Every replay is told to the journal (delivery.replayed), with who asked for it and why.\n"
        "\n"
        "The key needs the scopes ops:read and ops:retry.\n"
        "\n"
        "    penstock replay --subscription erp-orders --from 2026-11-27T00:00:00Z --rate 50 --dry-run\n"
        "    penstock replay --subscription erp-orders --from-seq 81000 --rate 50 --reason 'ERP restored from backup'\n"
        "    penstock replay --subscription warehouse --key ord_01JD6Q3 --dry-run\n"
        "    penstock replay pause 3\n"
        "\n"
        "EXIT CODES\n"
        "    0  done\n"
        "    1  it can not be done, or the hub can not be reached\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_HUB,
        {"key", 0, "KEY", true, "Only of this key; or, by its look, an API key of that hub"},
        {"subscription", 0, "NAME", false, "To whom"},
        {"from", 0, "TIME", false, "Recorded from then on (RFC 3339)"},
        {"to", 0, "TIME", false, "Recorded before"},
        {"from-seq", 0, "N", false, "From this seq on"},
        {"to-seq", 0, "N", false, "Up to this seq"},
        {"type", 0, "TYPE", false, "Only of this type: order.captured, or order.*"},
        {"correlation", 0, "ID", false, "Only of this case"},
        {"connector", 0, "NAME", false, "Only what came in by this connector"},
        {"rate", 0, "N", false, "At most so many a second"},
        {"newest", 0, NULL, false, "Of each key the newest alone"},
        {"again", 0, NULL, false, "As new ones"},
        {"reason", 0, "TEXT", false, "Why: kept in the journal"},
        {"dry-run", 0, NULL, false, "Only say how many"},
        {"detach", 0, NULL, false, "Do not wait for its end"},
        {0},
    },
    .run = replay_run,
};
