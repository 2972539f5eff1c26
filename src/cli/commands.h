/* commands: every command of the program, each defined in the file of its name. */
#ifndef PENSTOCK_CLI_COMMANDS_H
#define PENSTOCK_CLI_COMMANDS_H

#include "cli/cli.h"

extern const struct cli_command asyncapi_command, check_command, help_command, init_command,
    journal_command, key_command, map_command, metrics_command, openapi_command, sandbox_command,
    schema_command, serve_command, settings_command, trace_command;

#endif
