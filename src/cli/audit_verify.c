/* audit_verify: `penstock audit verify` and `anchor`: whether the journal, which the audit is, is
 * what it was. Work on a cell's files, beside a running hub. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/audit_priv.h"
#include "base/files.h"
#include "cli/journal_priv.h"
#include "store/journal_anchor.h"

#define ANCHOR_FILE_MAX ((size_t)1 << 30)

/* --- anchor ---------------------------------------------------------------------------------- */

int audit_anchor_run(struct cli *cli, const char *data) {
    struct journal_sqlite_options options = {.read_only = true};
    struct journal *journal;
    struct journal_anchor anchor;
    struct fault fault = {0};
    struct buf out;
    enum err err = journal_sqlite_open(data, &options, &journal, &fault);
    if (err == OK) {
        err = journal_anchor_make(journal, &clock_system, &anchor, &fault);
        journal_close(journal);
    }
    if (err != OK)
        return cli_fault(cli, &fault);
    buf_init(&out, 0);
    journal_anchor_write(&anchor, &out);
    buf_char(&out, '\n');
    int code = cli_print(cli, buf_str(&out));
    buf_free(&out);
    return code;
}

/* --- verify ---------------------------------------------------------------------------------- */

struct anchors {
    struct journal *journal;
    uint32_t count, broken, unknown;
    uint64_t holds_to; /* seq */
    int64_t holds_at_us;
    struct buf told; /* what is wrong, a line each */
};

static enum err anchor_one(struct anchors *anchors, const struct journal_anchor *anchor,
                           struct fault *fault) {
    struct fault found = {0};
    enum err err = journal_anchor_check(anchors->journal, anchor, &found);
    anchors->count++;
    if (err == OK) {
        if (anchor->seq >= anchors->holds_to) {
            anchors->holds_to = anchor->seq;
            anchors->holds_at_us = anchor->at_us;
        }
        return OK;
    }
    if (err != ERR_CONFLICT && err != ERR_UNAVAILABLE)
        return fault_set(fault, err, "%s", found.detail);
    anchors->broken += err == ERR_CONFLICT;
    anchors->unknown += err == ERR_UNAVAILABLE;
    buf_lit(&anchors->told, "anchor of ");
    instant_write(&anchors->told, (struct instant){.us = anchor->at_us});
    buf_printf(&anchors->told, " (record %" PRIu64 "): %s\n", anchor->seq, found.detail);
    return OK;
}

/* Every line that is an anchor; others (the lines of an export) are passed over. */
static enum err anchors_check(struct anchors *anchors, const char *path, struct fault *fault) {
    struct json_parser *parser = json_parser_create();
    struct arena arena;
    struct buf text;
    buf_init(&text, ANCHOR_FILE_MAX);
    arena_init(&arena, 0);
    enum err err = parser ? files_read(path, &text, fault)
                          : fault_set(fault, ERR_NOMEM, "out of memory");
    struct str rest = err == OK ? buf_str(&text) : STR_NONE;
    while (err == OK && rest.ptr) {
        struct str line = str_trim(str_cut(&rest, '\n'));
        const struct json *json;
        struct journal_anchor anchor;
        struct fault ignored = {0};
        if (!memmem(line.ptr, line.len, "penstock_anchor", 15))
            continue;
        arena_reset(&arena);
        struct str copy = arena_str(&arena, line); /* with room behind it for the parser */
        if (json_parse(parser, &arena, copy, true, &json, &ignored) == OK &&
            journal_anchor_read(json, &anchor))
            err = anchor_one(anchors, &anchor, fault);
        else
            err = fault_set(fault, ERR_INVALID, "a line of %.100s is a damaged anchor", path);
    }
    if (err == OK && anchors->count == 0)
        err = fault_set(fault, ERR_INVALID, "there is no anchor in %.150s: `penstock audit anchor` "
                                            "prints one", path);
    json_parser_destroy(parser);
    arena_free(&arena);
    buf_free(&text);
    return err;
}

static void verdict_text(const struct anchors *anchors, struct buf *out) {
    buf_str_add(out, buf_str(&anchors->told));
    if (anchors->count == 0) {
        buf_lit(out, "no anchor was given: who can write every file can have made all of it anew\n");
        return;
    }
    buf_printf(out, "%u of %u anchors hold", anchors->count - anchors->broken - anchors->unknown,
               anchors->count);
    if (anchors->unknown)
        buf_printf(out, ", %u can not be checked", anchors->unknown);
    if (anchors->holds_to && !anchors->broken) {
        buf_printf(out, ": nothing up to record %" PRIu64 " was changed, removed or inserted since ",
                   anchors->holds_to);
        instant_write(out, (struct instant){.us = anchors->holds_at_us});
    }
    buf_char(out, '\n');
}

static void verdict_json(const struct journal_report *report, const struct anchors *anchors,
                         struct buf *out) {
    buf_printf(out, "{\"ok\":%s,\"anchors\":%u,\"broken\":%u,\"unchecked\":%u,\"proven_to\":%" PRIu64,
               report->faults == 0 && anchors->broken == 0 ? "true" : "false", anchors->count,
               anchors->broken, anchors->unknown, anchors->broken ? 0 : anchors->holds_to);
    buf_lit(out, ",\"findings\":[");
    struct str rest = buf_str(&anchors->told);
    for (uint32_t i = 0; rest.ptr && rest.len > 0; i++) {
        if (i > 0)
            buf_char(out, ',');
        buf_json_str(out, str_cut(&rest, '\n'));
    }
    buf_lit(out, "],\"journal\":");
    journal_report_json(report, out);
    out->len--; /* its line's end */
    buf_lit(out, "}\n");
}

static int verdict_print(struct cli *cli, const struct journal_report *report,
                         const struct anchors *anchors) {
    struct buf out;
    buf_init(&out, 0);
    if (cli->json) {
        verdict_json(report, anchors, &out);
    } else {
        journal_report_text(report, &out);
        verdict_text(anchors, &out);
    }
    int code = cli_print(cli, buf_str(&out));
    buf_free(&out);
    return report->faults || anchors->broken ? EXIT_FAILED : code;
}

int audit_verify_run(struct cli *cli, const char *data) {
    struct journal_sqlite_options options = {.read_only = true};
    struct anchors anchors = {0};
    struct journal_report report;
    struct fault fault;
    const char *path = cli_value(cli, "anchor");
    fault_init(&fault, &cli->arena);
    enum err err = journal_sqlite_open(data, &options, &anchors.journal, &fault);
    if (err != OK)
        return cli_fault(cli, &fault);
    buf_init(&anchors.told, 0);
    err = journal_examine(anchors.journal, true, &report, &fault);
    if (err == OK && path)
        err = anchors_check(&anchors, path, &fault);
    journal_close(anchors.journal);
    int code = err == OK ? verdict_print(cli, &report, &anchors) : cli_fault(cli, &fault);
    buf_free(&anchors.told);
    return code;
}
