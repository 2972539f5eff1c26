/* fixture_tell: how commands that run fixtures say what each came to. */
#ifndef PENSTOCK_CLI_FIXTURE_TELL_H
#define PENSTOCK_CLI_FIXTURE_TELL_H

#include "cli/cli.h"
#include "connect/fixture.h"

/* A line at once; with --json one more member of the list in `json`, which begins with "[". */
void fixture_tell(const struct cli *cli, struct buf *json, const struct fixture_result *result);

#endif
