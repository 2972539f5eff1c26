/* journal_priv: what the files journal*.c of the command share. */
#ifndef PENSTOCK_CLI_JOURNAL_PRIV_H
#define PENSTOCK_CLI_JOURNAL_PRIV_H

#include <limits.h>

#include "base/clock.h"
#include "cli/cli.h"
#include "store/journal_verify.h"

/* Progress: on a terminal, once a second. */
struct progress {
    const char *doing; /* "verified" */
    uint64_t last;     /* seq at the end; 0: not known */
    int64_t said_us;   /* when it was told last, or began */
    bool terminal;
};
struct progress progress_of(const char *doing, uint64_t last);
void progress_tell(void *progress, uint64_t seq);
void progress_end(const struct progress *progress);

/* The folder of the cell's files, of -C DIR and --data; false: told what is missing. */
bool journal_data_folder(const struct cli *cli, char out[PATH_MAX]);

/* Verifies the chain, full: and every record; in words, or as a line of JSON. */
enum err journal_examine(struct journal *journal, bool full, struct journal_report *report,
                         struct fault *fault) WARN_UNUSED;
void journal_report_text(const struct journal_report *report, struct buf *out);
void journal_report_json(const struct journal_report *report, struct buf *out);

/* The verbs of journal_segments.c; each an exit code. */
int journal_list_run(struct cli *cli, const char *data);
int journal_archive_run(struct cli *cli, const char *data);
int journal_restore_run(struct cli *cli, const char *data);
int journal_retain_run(struct cli *cli, const char *data);

#endif
