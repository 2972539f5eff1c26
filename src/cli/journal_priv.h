/* journal_priv: what the files journal*.c of the command share. */
#ifndef PENSTOCK_CLI_JOURNAL_PRIV_H
#define PENSTOCK_CLI_JOURNAL_PRIV_H

#include "base/clock.h"
#include "cli/cli.h"

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

/* The verbs of journal_segments.c; each an exit code. */
int journal_list_run(struct cli *cli, const char *data);
int journal_archive_run(struct cli *cli, const char *data);
int journal_restore_run(struct cli *cli, const char *data);
int journal_retain_run(struct cli *cli, const char *data);

#endif
