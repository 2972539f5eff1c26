/* audit_priv: what the files audit*.c of the command share. */
#ifndef PENSTOCK_CLI_AUDIT_PRIV_H
#define PENSTOCK_CLI_AUDIT_PRIV_H

#include "cli/cli.h"

/* `penstock audit verify` and `anchor`, on a cell's files; exit codes. */
int audit_verify_run(struct cli *cli, const char *data);
int audit_anchor_run(struct cli *cli, const char *data);

#endif
