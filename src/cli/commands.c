/* commands: the list of commands, in the order `penstock --help` shows them. */
#include "cli/commands.h"

const struct cli_command *const cli_commands[] = {
    &trace_command,
    &help_command,
    NULL,
};
