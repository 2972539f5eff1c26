/* check_against: whether this program keeps what a release promised. */
#ifndef PENSTOCK_CLI_CHECK_AGAINST_H
#define PENSTOCK_CLI_CHECK_AGAINST_H

#include "cli/cli.h"
#include "base/buf.h"

/* `place`: a snapshot's file, a folder of them (the newest counts), or "-" for standard input.
 * Rules named by --allow, and changes named in the file of --accept, break nothing. Prints;
 * answers the exit code. */
int check_against(struct cli *cli, const char *place);

#endif
