/* subscriptions_made: subscriptions that are made through the API: webhooks, and those to pull from: make,
 * show, change, rotate, recover, test, remove. A secret is printed once, alone, on stdout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/subscriptions_priv.h"

/* Of `/v1/subscriptions/NAME` and what follows it. */
static int made_ask(struct cli *cli, struct client *client, const char *method, const char *name,
                    const char *verb, struct str body, struct client_answer *answer) {
    struct buf path;
    buf_init(&path, 0);
    buf_lit(&path, "/v1/subscriptions/");
    client_encode(&path, str_c(name));
    buf_str_add(&path, str_c(verb));
    struct client_request request = {.method = method, .path = buf_cstr(&path), .body = body,
                                     .timeout_ms = 120000};
    int code = subscriptions_ask(cli, client, &request, answer);
    buf_free(&path);
    return code;
}

static int json_print(struct cli *cli, const struct client_answer *answer) {
    int code = cli_print(cli, answer->body);
    putchar('\n');
    return code;
}

/* --- bodies ---------------------------------------------------------------------------------- */

static void member(struct buf *body, const char *name) {
    if (body->len > 1)
        buf_char(body, ',');
    buf_json_str(body, str_c(name));
    buf_char(body, ':');
}

static void member_text(struct buf *body, const char *name, const char *value) {
    if (!value)
        return;
    member(body, name);
    buf_json_str(body, str_c(value));
}

static void member_list(struct cli *cli, struct buf *body, const char *name, const char *option) {
    const char *value;
    for (uint32_t i = 0; (value = cli_nth(cli, option, i)) != NULL; i++) {
        if (i == 0)
            member(body, name);
        buf_char(body, i ? ',' : '[');
        buf_json_str(body, str_c(value));
    }
    if (cli_nth(cli, option, 0))
        buf_char(body, ']');
}

/* Everything that both making and changing take; false: told. */
static bool body_write(struct cli *cli, struct buf *body) {
    bool personal = cli_flag(cli, "personal"), blind = cli_flag(cli, "no-personal");
    buf_init(body, 0);
    buf_char(body, '{');
    if (personal && blind) {
        buf_free(body);
        (void)cli_fail(cli, EXIT_USAGE, "--personal or --no-personal?");
        return false;
    }
    member_text(body, "url", cli_value(cli, "url"));
    member_list(cli, body, "events", "event");
    if (cli_flag(cli, "all-subjects")) {
        member(body, "keys");
        buf_lit(body, "[]");
    } else {
        member_list(cli, body, "keys", "subject");
    }
    member_text(body, "owner", cli_value(cli, "owner"));
    member_text(body, "description", cli_value(cli, "description"));
    if (personal || blind) {
        member(body, "personal");
        buf_str_add(body, personal ? STR("true") : STR("false"));
    }
    return true;
}

/* --- telling ----------------------------------------------------------------------------------- */

static void list_print(const struct json *doc, const char *name, const char *title) {
    const struct json *list = json_member(doc, str_c(name));
    const struct json *item = list ? json_first(list) : NULL;
    for (uint32_t i = 0; list && i < list->count; i++, item = json_next(item))
        printf("%-12s %.*s\n", i ? "" : title, STR_FMT(item->text));
}

static void made_print(const struct json *doc) {
    static const char *const members[] = {"name",       "kind",       "url",   "state", "owner",
                                          "description", "personal", "after", "delivery",
                                          "created_by",  "created_at", "changed_at", "version"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (!str_is(listing_text(doc, members[i]), "-"))
            printf("%-12s %.*s\n", members[i], STR_FMT(listing_text(doc, members[i])));
    list_print(doc, "events", "events");
    list_print(doc, "keys", "subjects");
    const struct json *secrets = json_member(doc, STR("secrets"));
    const struct json *one = secrets ? json_first(secrets) : NULL;
    for (uint32_t i = 0; secrets && i < secrets->count; i++, one = json_next(one))
        printf("%-12s %.*s since %.*s until %.*s\n", i ? "" : "secrets", STR_FMT(listing_text(one, "id")),
               STR_FMT(listing_text(one, "since")), STR_FMT(listing_text(one, "until")));
    subscriptions_stopped_print(doc);
}

/* The secret is shown in this answer alone: it alone goes to stdout. */
static int secret_print(struct cli *cli, const struct client_answer *answer) {
    if (cli->json)
        return json_print(cli, answer);
    struct str secret = listing_text(answer->json, "secret");
    if (str_is(secret, "-"))
        return EXIT_DONE;
    printf("%.*s\n", STR_FMT(secret));
    fputs("this is the only time that the secret is shown\n", stderr);
    return EXIT_DONE;
}

/* --- making ------------------------------------------------------------------------------------ */

static int create_run(struct cli *cli, struct client *client, const char *name) {
    const char *url = cli_value(cli, "url");
    bool pull = cli_flag(cli, "pull");
    struct client_answer answer;
    struct buf body;
    int64_t after;
    if (pull == (url != NULL))
        return cli_fail(cli, EXIT_USAGE, "a webhook has a --url that events are posted to; what they fetch "
                        "themselves is --pull");
    if (!cli_nth(cli, "event", 0))
        return cli_fail(cli, EXIT_USAGE, "of which events? --event order.captured, --event 'stock.*' …");
    if (!cli_integer(cli, "after", 0, 0, INT64_MAX, &after) || !body_write(cli, &body))
        return EXIT_USAGE;
    member_text(&body, "name", name);
    member_text(&body, "kind", pull ? "pull" : "webhook");
    if (cli_value(cli, "after")) {
        member(&body, "after");
        buf_printf(&body, "%lld", (long long)after);
    }
    buf_char(&body, '}');
    struct client_request request = {.method = "POST", .path = "/v1/subscriptions", .body = buf_str(&body)};
    int code = subscriptions_ask(cli, client, &request, &answer);
    buf_free(&body);
    if (code != EXIT_DONE)
        return code;
    if (!cli->json)
        fprintf(stderr, "subscription %s is made; among the deliveries it is %.*s\n", name,
                STR_FMT(listing_text(answer.json, "delivery")));
    return secret_print(cli, &answer);
}

static int change_run(struct cli *cli, struct client *client, const char *name) {
    struct client_answer answer;
    struct buf body;
    if (!body_write(cli, &body))
        return EXIT_USAGE;
    bool any = body.len > 1;
    buf_char(&body, '}');
    int code = any ? made_ask(cli, client, "PATCH", name, "", buf_str(&body), &answer)
                   : cli_fail(cli, EXIT_USAGE, "what is to be different? --url, --event, --subject …");
    buf_free(&body);
    if (code == EXIT_DONE && cli->json)
        return json_print(cli, &answer);
    if (code == EXIT_DONE)
        made_print(answer.json);
    return code;
}

static int remove_run(struct cli *cli, struct client *client, const char *name) {
    struct client_answer answer;
    int code = made_ask(cli, client, "DELETE", name, "", STR_NONE, &answer);
    if (code == EXIT_DONE && cli->json)
        return json_print(cli, &answer);
    if (code == EXIT_DONE)
        printf("%s removed\n", name);
    return code;
}

static int rotate_run(struct cli *cli, struct client *client, const char *name) {
    struct client_answer answer;
    char body[64] = "{}";
    int64_t overlap_s;
    if (!cli_integer(cli, "overlap", 86400, 0, 2592000, &overlap_s))
        return EXIT_USAGE;
    snprintf(body, sizeof body, "{\"overlap_s\":%lld}", (long long)overlap_s);
    int code = made_ask(cli, client, "POST", name, "/rotate", str_c(body), &answer);
    if (code == EXIT_DONE && !cli->json)
        fprintf(stderr, "what is sent is signed with the old secret, too, for %lld s\n", (long long)overlap_s);
    return code == EXIT_DONE ? secret_print(cli, &answer) : code;
}

/* --- seeing ------------------------------------------------------------------------------------ */

static int show_run(struct cli *cli, struct client *client, const char *name) {
    struct client_answer answer, progress;
    int code = made_ask(cli, client, "GET", name, "", STR_NONE, &answer);
    if (code != EXIT_DONE || cli->json)
        return code == EXIT_DONE ? json_print(cli, &answer) : code;
    made_print(answer.json);
    code = made_ask(cli, client, "GET", name, "/progress", STR_NONE, &progress);
    if (code != EXIT_DONE)
        return code;
    printf("%-12s delivered %.*s  behind %.*s  waiting %.*s  held %.*s  failed %.*s\n", "progress",
           STR_FMT(listing_text(progress.json, "delivered")),
           STR_FMT(listing_text(progress.json, "behind")),
           STR_FMT(listing_text(progress.json, "waiting")),
           STR_FMT(listing_text(progress.json, "held")),
           STR_FMT(listing_text(progress.json, "failed")));
    if (!str_is(listing_text(progress.json, "error"), "-"))
        printf("%-12s %.*s: %.*s\n", "last failure", STR_FMT(listing_text(progress.json, "failed_at")),
               STR_FMT(listing_text(progress.json, "error")));
    return EXIT_DONE;
}

static void row_print(const struct json *row) {
    printf("%-28.*s %-8.*s %-8.*s %.*s\n", STR_FMT(listing_text(row, "name")),
           STR_FMT(listing_text(row, "kind")), STR_FMT(listing_text(row, "state")),
           STR_FMT(listing_text(row, "url")));
    subscriptions_stopped_print(row);
}

int subscriptions_made_list(struct cli *cli, struct client *client) {
    struct buf path;
    buf_init(&path, 0);
    buf_lit(&path, "/v1/subscriptions?limit=1000");
    if (cli_value(cli, "owner")) {
        buf_lit(&path, "&owner=");
        client_encode(&path, str_c(cli_value(cli, "owner")));
    }
    int code = listing_print(cli, client, buf_cstr(&path), row_print,
                             "there are no subscriptions that were made through the API");
    buf_free(&path);
    return code;
}

/* --- sending ------------------------------------------------------------------------------------- */

/* The hub takes so many in a call; what it has let go is not held any more, so the same call goes on. */
static int recover_run(struct cli *cli, struct client *client, const char *name) {
    const char *since = cli_value(cli, "since");
    int64_t seq, total = 0;
    struct client_answer answer;
    struct buf body;
    if (!cli_integer(cli, "since-seq", 1, 1, INT64_MAX, &seq))
        return EXIT_USAGE;
    if (since && cli_value(cli, "since-seq"))
        return cli_fail(cli, EXIT_USAGE, "--since or --since-seq, not both");
    buf_init(&body, 0);
    buf_char(&body, '{');
    member_text(&body, "since", since);
    if (cli_value(cli, "since-seq")) {
        member(&body, "since_seq");
        buf_printf(&body, "%lld", (long long)seq);
    }
    buf_char(&body, '}');
    int code = EXIT_DONE;
    for (bool more = true; more && code == EXIT_DONE;) {
        int64_t part = 0;
        code = made_ask(cli, client, "POST", name, "/recover", buf_str(&body), &answer);
        const struct json *count = code == EXIT_DONE ? json_member(answer.json, STR("recovered")) : NULL;
        if (count && json_i64(count, &part))
            total += part;
        more = part > 0 && str_is(listing_text(answer.json, "more"), "true");
    }
    buf_free(&body);
    if (code == EXIT_DONE && cli->json)
        printf("{\"recovered\":%lld}\n", (long long)total);
    else if (code == EXIT_DONE)
        printf("%lld deliveries are sent again, and what waits behind each\n", (long long)total);
    return code;
}

static int test_run(struct cli *cli, struct client *client, const char *name) {
    struct client_answer answer;
    int code = made_ask(cli, client, "POST", name, "/test", STR_NONE, &answer);
    if (code == EXIT_DONE && cli->json)
        return json_print(cli, &answer);
    if (code == EXIT_DONE)
        printf("an example is on its way: `penstock subscriptions show %s` says what became of it\n", name);
    return code;
}

const struct subscriptions_verb subscriptions_made[] = {
    {"create", create_run}, {"show", show_run},       {"change", change_run}, {"rotate", rotate_run},
    {"test", test_run},     {"recover", recover_run}, {"remove", remove_run}, {NULL, NULL},
};
