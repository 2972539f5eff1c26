/* read-model: the tables that people query: made anew from the journal, and what is in them. */
#include "cli/commands.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/journal_priv.h"
#include "core/config.h"
#include "domain/list.h"
#include "store/journal_sqlite.h"
#include "store/read_model.h"
#include "store/reporting.h"

#define POLL_MS 200

static int done_tell(const struct cli *cli, uint64_t events, int64_t took_ms) {
    int64_t rate = took_ms > 0 ? (int64_t)events * 1000 / took_ms : (int64_t)events;
    if (cli->json)
        printf("{\"seq\":%" PRIu64 ",\"took_ms\":%" PRId64 ",\"events_per_s\":%" PRId64 "}\n",
               events, took_ms, rate);
    else
        printf("the read model was made anew: %" PRIu64 " events in %" PRId64 ".%" PRId64
               " s, %" PRId64 " events/s\n",
               events, took_ms / 1000, took_ms % 1000 / 100, rate);
    return EXIT_DONE;
}

/* --- of a folder that no hub serves ----------------------------------------------------------- */

struct offline {
    struct config *config;
    struct registry *registry;
    struct journal *journal;
    struct tail *tail;
    struct read_model *model;
};

static void offline_close(struct offline *off) {
    read_model_close(off->model);
    tail_destroy(off->tail);
    journal_close(off->journal);
    registry_destroy(off->registry);
    config_destroy(off->config);
}

static enum err offline_open(struct offline *off, const char *dir, const char *data,
                             struct fault *fault) {
    char path[PATH_MAX + 16];
    *off = (struct offline){0};
    enum err err = config_load(dir, &off->config, fault);
    if (err != OK)
        return err;
    struct journal_sqlite_options journal = {.cell = off->config->cell};
    off->registry = registry_create(domain_capabilities);
    err = off->registry ? journal_sqlite_open(data, &journal, &off->journal, fault)
                        : fault_set(fault, ERR_NOMEM, "out of memory");
    if (err == ERR_CONFLICT)
        return fault_set(fault, err,
                         "a hub serves %s: have it done by that hub, while it serves, with --hub "
                         "URL --key KEY in place of -C",
                         data);
    if (err != OK)
        return err;
    off->tail = tail_create(off->journal, (size_t)1 << 20);
    if (!off->tail)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    snprintf(path, sizeof path, "%s/read.db", data);
    struct read_model_options options = {
        .path = path,
        .registry = off->registry,
        .journal = off->journal,
        .tail = off->tail,
        .clock = &clock_system,
        .batch_events = (uint32_t)off->config->settings.read_model_batch,
    };
    return read_model_open(&options, &off->model, fault);
}

static int rebuild_offline(struct cli *cli, const char *dir) {
    char data[PATH_MAX];
    const char *given = cli_value(cli, "data");
    struct offline off;
    struct fault fault;
    struct read_model_rebuilding now = {0};
    fault_init(&fault, &cli->arena);
    int len = given ? snprintf(data, sizeof data, "%s", given)
                    : snprintf(data, sizeof data, "%s/data", dir);
    if (len >= PATH_MAX)
        return cli_fail(cli, EXIT_USAGE, "the path is too long");
    enum err err = offline_open(&off, dir, data, &fault);
    if (err == OK) {
        struct progress progress = progress_of("written", tail_last(off.tail));
        err = read_model_rebuild(off.model, progress_tell, &progress, &fault);
        progress_end(&progress);
        read_model_rebuild_look(off.model, &now);
    }
    offline_close(&off);
    return err == OK ? done_tell(cli, now.seq, now.took_us / 1000) : cli_fault(cli, &fault);
}

/* --- of a running hub ------------------------------------------------------------------------- */

static int64_t number_of(const struct json *object, const char *name) {
    const struct json *value = object ? json_member(object, str_c(name)) : NULL;
    int64_t number = 0;
    return value && json_i64(value, &number) ? number : 0;
}

/* The hub's answer to one call, which must have the status. */
static enum err hub_ask(struct cli *cli, struct client *client, const char *method,
                        const char *path, int status, struct client_answer *answer,
                        struct fault *fault) {
    struct client_request request = {.method = method, .path = path};
    enum err err = client_call(client, &request, &cli->arena, answer, fault);
    if (err == OK && answer->status != status)
        err = client_problem(answer, fault);
    if (err == OK && !answer->json)
        err = fault_set(fault, ERR_UPSTREAM, "the hub's answer is not JSON");
    return err;
}

static int hub_follow(struct cli *cli, struct client *client) {
    struct progress progress = progress_of("written", 0);
    struct client_answer answer;
    struct fault fault;
    for (;;) {
        fault_init(&fault, &cli->arena);
        enum err err = hub_ask(cli, client, "GET", "/ops/read-model", 200, &answer, &fault);
        if (err != OK) {
            progress_end(&progress);
            return cli_fault(cli, &fault);
        }
        const struct json *rebuild = json_member(answer.json, STR("rebuild"));
        struct str state = rebuild ? json_member_str(rebuild, STR("state")) : STR_NONE;
        progress.last = (uint64_t)number_of(rebuild, "target");
        progress_tell(&progress, (uint64_t)number_of(rebuild, "seq"));
        if (str_is(state, "done") || str_is(state, "failed") || str_is(state, "none")) {
            progress_end(&progress);
            if (str_is(state, "done"))
                return done_tell(cli, (uint64_t)number_of(rebuild, "seq"),
                                 number_of(rebuild, "took_ms"));
            struct str reason = rebuild ? json_member_str(rebuild, STR("reason")) : STR_NONE;
            return cli_fail(cli, EXIT_FAILED, "the read model was not made anew: %.*s",
                            STR_FMT(reason.ptr ? reason : STR("the hub was restarted")));
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
}

static int rebuild_online(struct cli *cli) {
    struct client_answer answer;
    struct fault fault;
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_FAILED;
    fault_init(&fault, &cli->arena);
    enum err err = hub_ask(cli, client, "POST", "/ops/read-model/rebuild", 202, &answer, &fault);
    int code = err == OK ? hub_follow(cli, client) : cli_fault(cli, &fault);
    client_destroy(client);
    return code;
}

static int status_run(struct cli *cli) {
    struct client_answer answer;
    struct fault fault;
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_FAILED;
    fault_init(&fault, &cli->arena);
    enum err err = hub_ask(cli, client, "GET", "/ops/read-model", 200, &answer, &fault);
    client_destroy(client);
    if (err != OK)
        return cli_fault(cli, &fault);
    const struct json *rebuild = json_member(answer.json, STR("rebuild"));
    struct str state = rebuild ? json_member_str(rebuild, STR("state")) : STR("?");
    if (cli->json)
        printf("%.*s\n", STR_FMT(answer.body));
    else
        printf("seq %" PRId64 ", %" PRId64 " events (%" PRId64 " ms) behind; rebuild: %.*s\n",
               number_of(answer.json, "seq"), number_of(answer.json, "behind"),
               number_of(answer.json, "behind_ms"), STR_FMT(state));
    return EXIT_DONE;
}

/* --- the command -------------------------------------------------------------------------------- */

static int schema_run(struct cli *cli) {
    struct buf out;
    buf_init(&out, 0);
    if (cli->json)
        reporting_json(domain_capabilities, &out);
    else if (cli_flag(cli, "markdown"))
        reporting_markdown(domain_capabilities, &out);
    else
        reporting_sql(domain_capabilities, &out);
    int code = cli_print(cli, buf_str(&out));
    buf_free(&out);
    return code;
}

static int read_model_run(struct cli *cli) {
    const char *verb = cli_arg(cli, 0), *dir = cli_value(cli, "config");
    if (!verb || !cli_args_max(cli, 1))
        return verb ? EXIT_USAGE : cli_fail(cli, EXIT_USAGE, "rebuild, status or schema?");
    if (strcmp(verb, "schema") == 0)
        return schema_run(cli);
    if (strcmp(verb, "status") == 0)
        return status_run(cli);
    if (strcmp(verb, "rebuild") != 0)
        return cli_fail(cli, EXIT_USAGE, "there is no '%s': rebuild, status or schema", verb);
    if (dir && cli_value(cli, "hub"))
        return cli_fail(cli, EXIT_USAGE, "-C for a folder, or --hub for a running hub, not both");
    return dir ? rebuild_offline(cli, dir) : rebuild_online(cli);
}

const struct cli_command read_model_command = {
    .name = "read-model",
    .synopsis = "read-model rebuild [--hub URL] [--key K] [--json]\n"
                "read-model rebuild -C DIR [--data DIR] [--json]\n"
                "read-model status [--hub URL] [--key K] [--json]\n"
                "read-model schema [--markdown] [--json]",
    .summary = "make the tables for queries anew from the journal; what is in them",
    .help =
        "The read model (read.db) holds what lists, trace and reports are answered from. Everything\n"
        "in it follows from the journal.\n"
        "\n"
        "rebuild fills a second file beside the present one from the journal and puts it in its\n"
        "place at once. A running hub does that while it serves: the old tables answer until the\n"
        "new ones are up to date. With -C it is done on a folder that no hub serves. Ended in the\n"
        "middle, by whatever, the old one stays.\n"
        "\n"
        "status says how far it is behind the journal. schema prints the views that people may\n"
        "query with SQLite, as SQL; docs/reporting.md says how.\n"
        "\n"
        "The key needs the scopes ops:read and, for rebuild, ops:rebuild.\n"
        "\n"
        "    penstock read-model rebuild\n"
        "    penstock read-model rebuild -C shop\n"
        "    penstock read-model schema\n"
        "\n"
        "EXIT CODES\n"
        "    0  done\n"
        "    1  refused or failed; the present tables stay as they are\n"
        "    2  the command line is wrong\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_HUB,
        CLI_OPTION_KEY,
        CLI_OPTION_CONFIG,
        CLI_OPTION_DATA,
        {"markdown", 0, NULL, false, "schema: as in docs/reporting.md"},
        {0},
    },
    .run = read_model_run,
};
