/* commands: the list of commands, in the order `penstock --help` shows them. */
#include "cli/commands.h"

const struct cli_command *const cli_commands[] = {
    &init_command,
    &serve_command,
    &demo_command,
    &key_command,
    &check_command,
    &contracts_command,
    &openapi_command,
    &asyncapi_command,
    &settings_command,
    &schema_command,
    &map_command,
    &codes_command,
    &trace_command,
    &exceptions_command,
    &held_command,
    &audit_command,
    &approvals_command,
    &erase_command,
    &journal_command,
    &read_model_command,
    &sandbox_command,
    &metrics_command,
    &help_command,
    NULL,
};
