/* journal: looks after a cell's journal from the command line. Here: verify, export, import; the
 * verbs for whole segments are in journal_segments.c. */
#include "cli/commands.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/cell_audit.h"
#include "cli/journal_file.h"
#include "cli/journal_priv.h"
#include "domain/list.h"
#include "store/journal_sqlite.h"
#include "store/journal_verify.h"

/* The folder of the cell's files. */
bool journal_data_folder(const struct cli *cli, char out[PATH_MAX]) {
    const char *dir = cli_value(cli, "config"), *data = cli_value(cli, "data");
    int len = data ? snprintf(out, PATH_MAX, "%s", data)
                   : snprintf(out, PATH_MAX, "%s/data", dir ? dir : "");
    if (!dir && !data)
        cli_fail(cli, EXIT_USAGE, "which cell? -C DIR");
    else if (len >= PATH_MAX)
        cli_fail(cli, EXIT_USAGE, "the path is too long");
    return (dir || data) && len < PATH_MAX;
}

/* --- progress -------------------------------------------------------------------------------- */

struct progress progress_of(const char *doing, uint64_t last) {
    return (struct progress){.doing = doing,
                             .last = last,
                             .said_us = clock_tick_us(&clock_system),
                             .terminal = isatty(STDERR_FILENO)};
}
void progress_tell(void *ctx, uint64_t seq) {
    struct progress *p = ctx;
    int64_t now = clock_tick_us(&clock_system);
    if (!p->terminal || now - p->said_us < 1000000)
        return;
    p->said_us = now;
    fprintf(stderr, "\r%s %" PRIu64 " of %" PRIu64 " (%" PRIu64 " %%)  ", p->doing, seq, p->last,
            p->last ? seq * 100 / p->last : 100);
    fflush(stderr);
}
void progress_end(const struct progress *p) {
    if (p->terminal)
        fputs("\r\033[K", stderr);
}

/* --- verify ---------------------------------------------------------------------------------- */

static void instant_add(struct buf *out, int64_t us) { instant_write(out, (struct instant){.us = us}); }

void journal_report_json(const struct journal_report *report, struct buf *out) {
    buf_printf(out,
               "{\"ok\":%s,\"records\":%" PRIu64 ",\"last_seq\":%" PRIu64 ",\"bytes\":%" PRIu64
               ",\"first_seq\":%" PRIu64 ",\"segments\":%" PRIu64 ",\"archived\":%" PRIu64
               ",\"offline\":%" PRIu64 ",\"removed\":%" PRIu64 ",\"hashed_bytes\":%" PRIu64,
               report->faults ? "false" : "true", report->records, report->last_seq,
               report->bytes, report->first_seq, report->segments, report->archived,
               report->offline, report->removed, report->hashed_bytes);
    if (report->head[0])
        buf_printf(out, ",\"head_sha256\":\"%s\"", report->head);
    if (report->digest[0])
        buf_printf(out, ",\"unknown_types\":%" PRIu64 ",\"sha256\":\"%s\"", report->unknown,
                   report->digest);
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

void journal_report_text(const struct journal_report *report, struct buf *out) {
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
    buf_printf(out, ", %" PRIu64 " bytes\n", report->bytes);
    if (report->digest[0])
        buf_printf(out, "sha256 %s\n", report->digest);
    buf_printf(out, "%" PRIu64 " segment%s", report->segments, report->segments == 1 ? "" : "s");
    if (report->head[0])
        buf_printf(out, ", the newest sealed one has sha256 %s", report->head);
    buf_char(out, '\n');
    if (report->removed)
        buf_printf(out, "%" PRIu64 " segments were removed by retention: verified from record "
                        "%" PRIu64 " on\n", report->removed, report->first_seq);
    if (report->offline)
        buf_printf(out, "%" PRIu64 " archived segments are not there: not verified\n",
                   report->offline);
    if (report->unknown)
        buf_printf(out, "%" PRIu64 " records are of types this program does not know\n",
                   report->unknown);
    if (report->faults)
        buf_printf(out, "%" PRIu64 " faults\n", report->faults);
    else
        buf_lit(out, "no faults\n");
}

enum err journal_examine(struct journal *journal, bool full, struct journal_report *report,
                         struct fault *fault) {
    uint64_t last;
    struct registry *registry = full ? registry_create(domain_capabilities) : NULL;
    enum err err = full && !registry ? fault_set(fault, ERR_NOMEM, "out of memory")
                                     : journal_last(journal, &last, fault);
    if (err == OK) {
        struct progress progress = progress_of("verified", last);
        err = journal_chain_verify(journal, registry, progress_tell, &progress, report, fault);
        progress_end(&progress);
    }
    registry_destroy(registry);
    return err;
}

static int verify_run(struct cli *cli, const char *data) {
    struct journal_sqlite_options options = {.read_only = true};
    struct journal *journal;
    struct journal_report report;
    struct fault fault = {0};
    enum err err = journal_sqlite_open(data, &options, &journal, &fault);
    if (err == OK) {
        err = journal_examine(journal, cli_flag(cli, "full"), &report, &fault);
        journal_close(journal);
    }
    if (err != OK)
        return cli_fault(cli, &fault);
    struct buf out;
    buf_init(&out, 0);
    if (cli->json)
        journal_report_json(&report, &out);
    else
        journal_report_text(&report, &out);
    int code = cli_print(cli, buf_str(&out));
    buf_free(&out);
    return report.faults ? EXIT_FAILED : code;
}

/* --- export and import ------------------------------------------------------------------------ */

/* The oldest record that retention left. */
static uint64_t first_kept(struct journal *journal) {
    struct segment segment;
    for (uint32_t i = 0; journal_sqlite_segment(journal, i, &segment); i++)
        if (segment.state != SEGMENT_REMOVED)
            return segment.first;
    return 1;
}

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
        err = journal_file_write(journal, first_kept(journal), last, stdout, progress_tell, &progress, &fault);
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

static int verify_or_export(struct cli *cli, const char *data) {
    return str_is(str_c(cli_arg(cli, 0)), "verify") ? verify_run(cli, data) : export_run(cli, data);
}
static int import_verb(struct cli *cli, const char *data) {
    return import_run(cli, data, cli_arg(cli, 1));
}

static const struct verb {
    const char *name;
    uint32_t args; /* the verb among them */
    int (*run)(struct cli *cli, const char *data);
} verbs[] = {
    {"archive", 1, journal_archive_run}, {"export", 1, verify_or_export},
    {"import", 2, import_verb},          {"list", 1, journal_list_run},
    {"restore", 1, journal_restore_run}, {"retain", 1, journal_retain_run},
    {"verify", 1, verify_or_export},
};

/* What takes records out of the cell, or brings others in, is told to the audit first. */
static int verb_audit(struct cli *cli, const char *data, const char *verb) {
    char action[32];
    if (str_is(str_c(verb), "list") || str_is(str_c(verb), "verify") ||
        (str_is(str_c(verb), "retain") && !cli_flag(cli, "remove")))
        return EXIT_DONE;
    snprintf(action, sizeof action, "journal.%s", verb);
    return cell_audit_leave(cli, data, action, cli_value(cli, "before"));
}

static int journal_run(struct cli *cli) {
    char data[PATH_MAX];
    const char *word = cli_arg(cli, 0);
    for (size_t i = 0; word && i < sizeof verbs / sizeof verbs[0]; i++) {
        if (!str_is(str_c(word), verbs[i].name))
            continue;
        if (!cli_args_max(cli, verbs[i].args) || !journal_data_folder(cli, data))
            return EXIT_USAGE;
        int code = verb_audit(cli, data, word);
        return code == EXIT_DONE ? verbs[i].run(cli, data) : code;
    }
    return cli_fail(cli, EXIT_USAGE,
                    "archive, export, import, list, restore, retain or verify?");
}

const struct cli_command journal_command = {
    .name = "journal",
    .synopsis = "journal list    -C DIR [--data DIR] [--json]\n"
                "journal verify  -C DIR [--data DIR] [--full] [--json]\n"
                "journal archive -C DIR [--data DIR] [--before DATE|SEQ] [--to FOLDER] [--json]\n"
                "journal restore -C DIR [--data DIR] [--before DATE|SEQ] [--from FOLDER] [--json]\n"
                "journal retain  -C DIR [--data DIR] [--before DATE|SEQ] [--remove] [--json]\n"
                "journal export  -C DIR [--data DIR] > FILE\n"
                "journal import  -C DIR [--data DIR] FILE",
    .summary = "list, check, archive and copy the journal",
    .help =
        "The journal is a chain of files. When one has reached journal_segment_bytes, the hub\n"
        "goes on in the next and seals the one it left: that never changes again, and its\n"
        "SHA-256 is kept in the next one. All but import may run beside the hub.\n"
        "\n"
        "list shows the segments: state, records, length, times, SHA-256, where archived.\n"
        "\n"
        "verify checks that each sealed segment is what was sealed and follows the one before,\n"
        "that no record is missing, and that each matches its checksum. With --full it reads\n"
        "every record as its type says, too, and prints the SHA-256 over all records, by which\n"
        "two copies of a journal can be compared. Exit 1 where there is a fault.\n"
        "\n"
        "archive compresses sealed segments (zstd) into --to, or beside the others; records in\n"
        "them can still be read, as long as the files stay where they were put. restore brings\n"
        "them back. --before takes those that lie wholly before a date, an instant or a seq.\n"
        "\n"
        "retain shows which segments neither the hub nor journal_keep_days needs any more;\n"
        "--remove deletes them for good. Their hashes stay.\n"
        "\n"
        "export writes the journal to stdout as NDJSON, one record a line, with a last line that\n"
        "holds the count and the SHA-256. import reads such a file into a cell that has no\n"
        "journal yet, checking it in full before anything is written; no hub may run on it.\n"
        "\n"
        "    penstock journal verify -C shop\n"
        "    penstock journal archive -C shop --before 2026-01-01 --to /mnt/archive\n"
        "    penstock journal export -C shop | zstd > journal.ndjson.zst\n"
        "    penstock journal import -C copy journal.ndjson\n",
    .options = (const struct cli_option[]){
        CLI_OPTION_CONFIG,
        CLI_OPTION_DATA,
        {"full", 0, NULL, false, "verify: read every record as its type says"},
        {"before", 0, "DATE|SEQ", false, "Only segments that lie wholly before it"},
        {"to", 0, "FOLDER", false, "archive: where to (default: beside the segments)"},
        {"from", 0, "FOLDER", false, "restore: where they are (default: where they were put)"},
        {"remove", 0, NULL, false, "retain: delete them (default: only say which)"},
        {0},
    },
    .run = journal_run,
};
