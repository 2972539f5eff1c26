/* journal: looks after a cell's journal from the command line: verify, export, import. Verify
 * and export only read, also beside a running hub. */
#include "cli/commands.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/journal_file.h"
#include "domain/list.h"
#include "store/journal_sqlite.h"
#include "store/journal_verify.h"

/* The folder of the cell's files. */
static bool data_folder(const struct cli *cli, char out[PATH_MAX]) {
    const char *dir = cli_value(cli, "config"), *data = cli_value(cli, "data");
    int len = data ? snprintf(out, PATH_MAX, "%s", data)
                   : snprintf(out, PATH_MAX, "%s/data", dir ? dir : "");
    if (!dir && !data)
        cli_fail(cli, EXIT_USAGE, "which cell? -C DIR");
    else if (len >= PATH_MAX)
        cli_fail(cli, EXIT_USAGE, "the path is too long");
    return (dir || data) && len < PATH_MAX;
}

/* --- progress: on a terminal, once a second ------------------------------------------------ */

struct progress {
    const char *doing;
    uint64_t last;    /* seq at the end */
    int64_t said_us;  /* when it was told last, or began */
    bool terminal;
};
static struct progress progress_of(const char *doing, uint64_t last) {
    return (struct progress){.doing = doing,
                             .last = last,
                             .said_us = clock_tick_us(&clock_system),
                             .terminal = isatty(STDERR_FILENO)};
}
static void progress_tell(void *ctx, uint64_t seq) {
    struct progress *p = ctx;
    int64_t now = clock_tick_us(&clock_system);
    if (!p->terminal || now - p->said_us < 1000000)
        return;
    p->said_us = now;
    fprintf(stderr, "\r%s %" PRIu64 " of %" PRIu64 " (%" PRIu64 " %%)  ", p->doing, seq, p->last,
            p->last ? seq * 100 / p->last : 100);
    fflush(stderr);
}
static void progress_end(const struct progress *p) {
    if (p->terminal)
        fputs("\r\033[K", stderr);
}

/* --- verify ---------------------------------------------------------------------------------- */

static void instant_add(struct buf *out, int64_t us) { instant_write(out, (struct instant){.us = us}); }

static void report_json(const struct journal_report *report, struct buf *out) {
    buf_printf(out,
               "{\"ok\":%s,\"records\":%" PRIu64 ",\"last_seq\":%" PRIu64 ",\"bytes\":%" PRIu64
               ",\"unknown_types\":%" PRIu64 ",\"sha256\":\"%s\"",
               report->faults ? "false" : "true", report->records, report->last_seq,
               report->bytes, report->unknown, report->digest);
    if (report->records > 0) {
        buf_lit(out, ",\"first_time\":\"");
        instant_add(out, report->first_time_us);
        buf_lit(out, "\",\"last_time\":\"");
        instant_add(out, report->last_time_us);
        buf_char(out, '"');
    }
    buf_printf(out, ",\"fault_count\":%" PRIu64 ",\"faults\":[", report->faults);
    for (uint64_t i = 0; i < report->faults && i < JOURNAL_FAULTS_MAX; i++) {
        buf_printf(out, "%s{\"seq\":%" PRIu64 ",\"detail\":", i > 0 ? "," : "",
                   report->listed[i].seq);
        buf_json_str(out, str_c(report->listed[i].detail));
        buf_char(out, '}');
    }
    buf_lit(out, "]}\n");
}

static void report_text(const struct journal_report *report, struct buf *out) {
    for (uint64_t i = 0; i < report->faults && i < JOURNAL_FAULTS_MAX; i++)
        buf_printf(out, "record %" PRIu64 ": %s\n", report->listed[i].seq,
                   report->listed[i].detail);
    if (report->faults > JOURNAL_FAULTS_MAX)
        buf_printf(out, "… and %" PRIu64 " more\n", report->faults - JOURNAL_FAULTS_MAX);
    buf_printf(out, "%" PRIu64 " records", report->records);
    if (report->records > 0) {
        buf_lit(out, ", ");
        instant_add(out, report->first_time_us);
        buf_lit(out, " to ");
        instant_add(out, report->last_time_us);
    }
    buf_printf(out, ", %" PRIu64 " bytes\nsha256 %s\n", report->bytes, report->digest);
    if (report->unknown)
        buf_printf(out, "%" PRIu64 " records are of types this program does not know\n",
                   report->unknown);
    if (report->faults)
        buf_printf(out, "%" PRIu64 " faults\n", report->faults);
    else
        buf_lit(out, "no faults\n");
}

static void damage_note(struct journal_report *report, uint64_t seq, const struct fault *damage) {
    uint64_t at = report->faults < JOURNAL_FAULTS_MAX ? report->faults : JOURNAL_FAULTS_MAX - 1;
    report->listed[at].seq = seq;
    snprintf(report->listed[at].detail, sizeof report->listed[at].detail, "%s", damage->detail);
    report->faults++;
}

static enum err journal_examine(struct journal *journal, struct journal_report *report,
                                struct fault *fault) {
    uint64_t last;
    struct registry *registry = registry_create(domain_capabilities);
    enum err err = registry ? journal_last(journal, &last, fault)
                            : fault_set(fault, ERR_NOMEM, "out of memory");
    if (err == OK) {
        struct progress progress = progress_of("verified", last);
        err = journal_verify(journal, registry, progress_tell, &progress, report, fault);
        progress_end(&progress);
    }
    registry_destroy(registry);
    /* The files last: the records tell more about what is wrong. */
    struct fault damage = {0};
    struct segment segment;
    for (uint32_t i = 0; err == OK && journal_sqlite_segment(journal, i, &segment); i++)
        if (segment.state == SEGMENT_SEALED &&
            journal_sqlite_segment_check(journal, &segment, NULL, NULL, &damage) != OK)
            damage_note(report, segment.first, &damage);
    if (err == OK && journal_sqlite_check(journal, &damage) != OK)
        damage_note(report, 0, &damage);
    return err;
}

static int verify_run(struct cli *cli, const char *data) {
    struct journal_sqlite_options options = {.read_only = true};
    struct journal *journal;
    struct journal_report report;
    struct fault fault = {0};
    enum err err = journal_sqlite_open(data, &options, &journal, &fault);
    if (err == OK) {
        err = journal_examine(journal, &report, &fault);
        journal_close(journal);
    }
    if (err != OK)
        return cli_fault(cli, &fault);
    struct buf out;
    buf_init(&out, 0);
    if (cli->json)
        report_json(&report, &out);
    else
        report_text(&report, &out);
    int code = cli_print(cli, buf_str(&out));
    buf_free(&out);
    return report.faults ? EXIT_FAILED : code;
}

/* --- export and import ------------------------------------------------------------------------ */

static int export_run(struct cli *cli, const char *data) {
    struct journal_sqlite_options options = {.read_only = true};
    struct journal *journal;
    struct fault fault = {0};
    uint64_t last = 0;
    enum err err = journal_sqlite_open(data, &options, &journal, &fault);
    if (err != OK)
        return cli_fault(cli, &fault);
    err = journal_last(journal, &last, &fault);
    struct progress progress = progress_of("exported", last);
    if (err == OK)
        err = journal_file_write(journal, last, stdout, progress_tell, &progress, &fault);
    progress_end(&progress);
    journal_close(journal);
    return err == OK ? EXIT_DONE : cli_fault(cli, &fault);
}

static int import_run(struct cli *cli, const char *data, const char *path) {
    const char *dir = cli_value(cli, "config");
    struct config *config;
    struct fault fault;
    fault_init(&fault, &cli->arena);
    if (!path || !dir)
        return cli_fail(cli, EXIT_USAGE, !path ? "which file?" : "which configuration? -C DIR");
    if (config_load(dir, &config, &fault) != OK)
        return cli_fault(cli, &fault);
    struct registry *registry = registry_create(domain_capabilities);
    struct progress progress = progress_of("read", 0);
    uint64_t records = 0;
    enum err err = registry ? OK : fault_set(&fault, ERR_NOMEM, "out of memory");
    /* All of it is read and checked before anything is written. */
    if (err == OK)
        err = journal_file_check(path, registry, &progress.last, progress_tell, &progress, &fault);
    progress.doing = "imported";
    struct journal_sqlite_options options = {
        .cell = config->cell,
        .segment_bytes = (uint64_t)config->settings.journal_segment_bytes,
    };
    struct journal *journal = NULL;
    if (err == OK)
        err = journal_sqlite_open(data, &options, &journal, &fault);
    if (err == OK)
        err = journal_file_read(path, journal, &records, progress_tell, &progress, &fault);
    progress_end(&progress);
    journal_close(journal);
    registry_destroy(registry);
    config_destroy(config);
    if (err != OK)
        return cli_fault(cli, &fault);
    if (cli->json)
        printf("{\"records\":%" PRIu64 "}\n", records);
    else
        printf("%" PRIu64 " records imported\n", records);
    return EXIT_DONE;
}

static int journal_run(struct cli *cli) {
    char data[PATH_MAX];
    const char *verb = cli_arg(cli, 0);
    struct str what = str_c(verb);
    bool import = str_is(what, "import");
    if (!verb || (!import && !str_is(what, "verify") && !str_is(what, "export")))
        return cli_fail(cli, EXIT_USAGE, "verify, export or import?");
    if (!cli_args_max(cli, import ? 2 : 1) || !data_folder(cli, data))
        return EXIT_USAGE;
    if (import)
        return import_run(cli, data, cli_arg(cli, 1));
    return str_is(what, "verify") ? verify_run(cli, data) : export_run(cli, data);
}

const struct cli_command journal_command = {
    .name = "journal",
    .synopsis = "journal verify -C DIR [--data DIR] [--json]\n"
                "journal export -C DIR [--data DIR] > FILE\n"
                "journal import -C DIR [--data DIR] FILE",
    .summary = "check the journal, write it to a file, read it back",
    .help =
        "verify reads the whole journal: that no record is missing or twice, that each can be\n"
        "read as its type says, that none follows from a later one, and that the file is sound.\n"
        "It prints the SHA-256 by which two copies of a journal can be compared; exit 1 where\n"
        "there is a fault. It may run beside the hub; while it checks the file's structure, the\n"
        "hub's write-ahead log grows instead of starting over.\n"
        "\n"
        "export writes the journal to stdout as NDJSON, one record a line, with a last line that\n"
        "holds the count and the SHA-256. import reads such a file into a cell that has no\n"
        "journal yet, checking it in full before anything is written; no hub may run on it.\n"
        "\n"
        "    penstock journal verify -C shop\n"
        "    penstock journal export -C shop | zstd > journal.ndjson.zst\n"
        "    penstock journal import -C copy journal.ndjson\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_CONFIG,
        CLI_OPTION_DATA,
        {0},
    },
    .run = journal_run,
};
