/* connector_test: `penstock connector test`: fixtures, and a dry run over recorded payloads: mapped
 * and checked as the hub would, nothing sent or stored. */
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"
#include "base/mem.h"
#include "cli/connector_priv.h"
#include "cli/fixture_tell.h"
#include "connect/fixture.h"

#define PAYLOADS_MAX 1000000u
#define PAYLOAD_BYTES_LIMIT ((size_t)64 << 20)
#define DEPTH_MAX 16
#define PROGRESS_US 200000

struct trial {
    struct cli *cli;
    struct fault fault;
    struct config *config;
    struct connectors *connectors;
    const struct connector *connector;
    struct fixture_bench bench;
    struct arena scratch; /* of one payload */
    struct buf json;
    const char *topic;    /* --topic, or NULL */
    struct str *files;
    uint32_t count, cap;
    uint32_t valid, nothing, faults;
    int64_t began_us, told_us;
};

/* --- fixtures ------------------------------------------------------------------------------ */

static void fixture_visit(void *ctx, const struct fixture_result *result) {
    struct trial *trial = ctx;
    fixture_tell(trial->cli, &trial->json, result);
}

static int fixtures_try(struct trial *trial) {
    struct connector_target targets[CONNECTOR_TARGETS_MAX];
    struct fixture_bench *bench = &trial->bench;
    bench->visit = fixture_visit;
    bench->ctx = trial;
    fixtures_run(bench, targets, connector_targets(trial->connector, STR_NONE, targets), NULL);
    if (bench->ran == 0)
        return cli_fail(trial->cli, EXIT_FAILED,
                        "the connector has no fixtures: fixtures/MAPPING/NAME.in.json beside the mapping");
    if (!trial->cli->json)
        printf("%u fixtures, %u failed\n", bench->ran, bench->failed);
    return bench->failed ? EXIT_FAILED : EXIT_DONE;
}

/* --- recorded payloads ----------------------------------------------------------------------- */

static bool file_add(struct trial *trial, const char *path) {
    struct str copy = arena_str(&trial->cli->arena, str_of(path, strlen(path) + 1));
    if (!copy.ptr || trial->count == PAYLOADS_MAX || !MEM_ROOM(trial->files, trial->count, trial->cap, 64))
        return false;
    trial->files[trial->count++] = str_of(copy.ptr, copy.len - 1);
    return true;
}

static bool files_find(struct trial *trial, const char *path, int depth) {
    DIR *folder = opendir(path);
    const struct dirent *entry;
    bool good = folder != NULL;
    while (good && (entry = readdir(folder))) {
        char below[PATH_MAX];
        struct stat st;
        size_t len = strlen(entry->d_name);
        int n = snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] == '.' || n < 0 || (size_t)n >= sizeof below || stat(below, &st) != 0)
            continue;
        if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
            good = files_find(trial, below, depth + 1);
        else if (S_ISREG(st.st_mode) && len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0)
            good = file_add(trial, below);
    }
    if (folder)
        closedir(folder);
    return good;
}

static int by_path(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Whether the path names the topic: orders-create in …/orders_create/7.json. */
static bool path_names(struct str path, struct str topic) {
    for (size_t i = 0; i + topic.len <= path.len; i++) {
        size_t k = 0;
        while (k < topic.len) {
            char a = path.ptr[i + k], b = topic.ptr[k];
            bool gap = (a == '-' || a == '_' || a == '/' || a == '.') &&
                       (b == '-' || b == '_' || b == '.');
            if (!gap && a != b)
                break;
            k++;
        }
        if (k == topic.len)
            return true;
    }
    return false;
}

/* The longest name wins: orders-create, not orders. NULL: none, or two of one length. */
static const struct connector_receive *topic_guess(const struct trial *trial, struct str path) {
    const struct connector *c = trial->connector;
    const struct connector_receive *found = NULL;
    bool twice = false;
    if (trial->topic)
        return connector_taken(c, str_c(trial->topic));
    for (uint32_t i = 0; i < c->taken_count; i++) {
        const struct connector_receive *r = c->taken[i];
        if (!path_names(path, r->topic))
            continue;
        twice = found && found->topic.len == r->topic.len;
        if (!found || r->topic.len > found->topic.len)
            found = r;
    }
    return c->taken_count == 1 ? c->taken[0] : twice ? NULL : found;
}

enum tried { TRIED_VALID, TRIED_NOTHING, TRIED_FAULT };

static void payload_tell(struct trial *trial, struct str path, const struct connector_receive *receive,
                         enum tried tried, struct str words, const struct fault *fault) {
    static const char *const names[] = {"valid", "nothing", "fault"};
    const struct fault_item *item = fault ? fault->first : NULL;
    struct str topic = receive ? receive->topic : STR("?");
    trial->valid += tried == TRIED_VALID;
    trial->nothing += tried == TRIED_NOTHING;
    trial->faults += tried == TRIED_FAULT;
    if (trial->cli->json) {
        struct buf *out = &trial->json;
        buf_str_add(out, out->len > 1 ? STR(",{\"file\":") : STR("{\"file\":"));
        buf_json_str(out, path);
        buf_lit(out, ",\"topic\":");
        buf_json_str(out, topic);
        buf_printf(out, ",\"outcome\":\"%s\",\"detail\":", names[tried]);
        buf_json_str(out, words);
        buf_lit(out, ",\"pointer\":");
        buf_json_str(out, item && item->pointer.len ? item->pointer : STR(""));
        buf_char(out, '}');
        return;
    }
    printf("%-7s %-20.*s %.*s  %.*s\n", names[tried], STR_FMT(topic), STR_FMT(path), STR_FMT(words));
    for (; item && item->next; item = item->next) /* the first is what `words` says */
        printf("%-28s   %.*s: %.*s\n", "", STR_FMT(item->next->pointer), STR_FMT(item->next->detail));
}

static enum err payload_read(struct trial *trial, struct str path, const struct json **out,
                             struct fault *fault) {
    struct buf text;
    buf_init(&text, PAYLOAD_BYTES_LIMIT);
    enum err err = files_read(path.ptr, &text, fault);
    struct str copy = err ? STR_NONE : arena_str(&trial->scratch, buf_str(&text));
    buf_free(&text);
    if (!err && !copy.ptr)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    return err ? err : json_parse(trial->bench.parser, &trial->scratch, copy, false, out, fault);
}

/* What the hub would make of it, in words. */
static enum tried payload_map(struct trial *trial, const struct connector_receive *receive,
                              struct str path, struct str *words, struct fault *fault) {
    const struct json *document, *answer;
    struct connector_target target = {trial->connector, receive->mapping, receive->source,
                                      receive->command};
    enum err err = payload_read(trial, path, &document, fault);
    if (!err)
        err = mapper_run(trial->bench.mapper, receive->source, document, &trial->scratch, &answer, fault);
    if (!err)
        err = fixture_check(&trial->bench, &target, answer, fault);
    if (err) {
        *words = str_c(fault->detail);
        return TRIED_FAULT;
    }
    if (mapping_nothing(answer, words))
        return TRIED_NOTHING;
    *words = receive->command;
    return TRIED_VALID;
}

static void progress_tell(struct trial *trial, uint32_t done) {
    int64_t now_us = clock_tick_us(&clock_system);
    if (!isatty(STDERR_FILENO) || now_us - trial->began_us < 1000000 ||
        now_us - trial->told_us < PROGRESS_US)
        return;
    trial->told_us = now_us;
    fprintf(stderr, "\r%u of %u payloads", done, trial->count);
    if (done == trial->count)
        fputc('\n', stderr);
    fflush(stderr);
}

static void payload_try(struct trial *trial, struct str path) {
    const struct connector_receive *receive = topic_guess(trial, path);
    struct fault fault;
    struct str words = STR("which topic is it? --topic says so");
    enum tried tried = TRIED_FAULT;
    arena_reset(&trial->scratch);
    fault_init(&fault, &trial->scratch);
    if (receive && receive->source)
        tried = payload_map(trial, receive, path, &words, &fault);
    payload_tell(trial, path, receive, tried, words, &fault);
}

static int payloads_try(struct trial *trial, const char *folder) {
    struct cli *cli = trial->cli;
    if (trial->topic && !connector_taken(trial->connector, str_c(trial->topic)))
        return cli_fail(cli, EXIT_FAILED, "the connector has no topic %s", trial->topic);
    if (!files_find(trial, folder, 0))
        return cli_fail(cli, EXIT_FAILED, "%s can not be read, or holds more than %u payloads", folder,
                        PAYLOADS_MAX);
    if (trial->count == 0)
        return cli_fail(cli, EXIT_FAILED, "there is no *.json below %s", folder);
    qsort(trial->files, trial->count, sizeof *trial->files, by_path);
    trial->began_us = clock_tick_us(&clock_system);
    for (uint32_t i = 0; i < trial->count; i++) {
        payload_try(trial, trial->files[i]);
        progress_tell(trial, i + 1);
    }
    if (!cli->json)
        printf("%u payloads: %u valid, %u of which nothing is to be done, %u with faults\n", trial->count,
               trial->valid, trial->nothing, trial->faults);
    return trial->faults ? EXIT_FAILED : EXIT_DONE;
}

/* --- the command ----------------------------------------------------------------------------- */

/* Of a configuration with other faults, this connector can be tried all the same. */
static enum err trial_open(struct trial *trial, const char *dir, const char *name) {
    enum err err = config_load(dir, &trial->config, &trial->fault);
    if (!err)
        err = connectors_load(dir, &trial->connectors, &trial->fault);
    if (err)
        return err;
    trial->connector = connector_find(trial->connectors, str_c(name));
    if (!trial->connector)
        return fault_set(&trial->fault, ERR_NOT_FOUND, "there is no connector %s", name);
    trial->bench.config = trial->config;
    trial->bench.arena = &trial->scratch;
    return fixture_bench_open(&trial->bench, &trial->fault);
}

int connector_test(struct cli *cli) {
    const char *name = cli_arg(cli, 1), *folder = cli_arg(cli, 2);
    struct trial trial = {.cli = cli, .topic = cli_value(cli, "topic")};
    if (!name)
        return cli_fail(cli, EXIT_USAGE, "which connector? connector test -C DIR NAME");
    fault_init(&trial.fault, &cli->arena);
    arena_init(&trial.scratch, 0);
    buf_init(&trial.json, 0);
    buf_char(&trial.json, '[');
    int code = trial_open(&trial, cli_value(cli, "config"), name) != OK ? cli_fault(cli, &trial.fault)
               : folder                                                  ? payloads_try(&trial, folder)
                                                                         : fixtures_try(&trial);
    buf_lit(&trial.json, "]\n");
    if (cli->json && code != EXIT_USAGE && trial.json.len > 3 &&
        cli_print(cli, buf_str(&trial.json)) != EXIT_DONE)
        code = EXIT_FAILED;
    buf_free(&trial.json);
    fixture_bench_close(&trial.bench);
    arena_free(&trial.scratch);
    mem_free(trial.files);
    connectors_release(trial.connectors);
    if (trial.config)
        config_destroy(trial.config);
    return code;
}
