/* commands: every command of the program, each defined in the file of its name. */
#ifndef PENSTOCK_CLI_COMMANDS_H
#define PENSTOCK_CLI_COMMANDS_H

#include "cli/cli.h"

extern const struct cli_command help_command;

#endif
